//! Look-ups by a key: `SELECT columns FROM relation WHERE key = value [AND …] [ORDER BY … LIMIT …]`,
//! without a plan.
//!
//! To plan a query takes many times as long as to find a row. So a query that compares columns of
//! one relation with values, the whole key of an access path among them, is answered from the key
//! group that the values hash to; one with bounds of a key or in its order, by the sorted keys
//! (`lookup_range.rs`). What is not plainly such a query is planned, and so is one whose
//! values have other types than their columns; the answers are the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::Operator;
use datafusion::scalar::ScalarValue;
use planner::names::identifier;
use planner::values::types::SqlType;
use planner::{Origin, RelationId};
use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, LimitClause, ObjectName, OrderBy, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, UnaryOperator, Value,
    WildcardAdditionalOptions,
};

use crate::access::privilege::Privileges;
use crate::big_stack;
use crate::catalog::{Catalog, Entry, Kind};
use crate::catalog_view::access_paths;
use crate::error::Result;
use crate::index_read::access_path::AccessPath;
use crate::index_read::point_lookup::as_key;
use crate::namespace::Name;
use crate::pg_catalog;
use crate::session::{Parameters, Session};
use crate::statement::insert::parameter_index;
use crate::statement::query::declared_metadata;
use crate::statement::rows::Rows;
use crate::temporary_schema::is_temporary;

/// A query that looks rows of one relation up.
pub(crate) struct Lookup {
    entry: Arc<Entry>,
    /// Columns of the relation that the result has.
    pub(super) columns: Vec<usize>,
    /// The result.
    schema: SchemaRef,
    /// What must be true of a row.
    pub(super) wanted: Vec<Condition>,
    /// The columns of `ORDER BY`.
    pub(super) order: Vec<(usize, SortOptions)>,
    limit: Option<Operand>,
    offset: Option<Operand>,
}

/// A column that is compared with a value.
pub(super) struct Condition {
    pub(super) column: usize,
    pub(super) op: Operator,
    pub(super) operand: Operand,
}

pub(super) enum Operand {
    Value(ScalarValue),
    /// Counted from 0.
    Parameter(usize),
}

impl Session {
    /// The rows of a query that is a look-up; `None`: it must be planned.
    pub(crate) async fn look_up(
        &mut self,
        query: &Query,
        parameters: &Parameters,
    ) -> Result<Option<Rows>> {
        if self.transaction.writes().next().is_some() {
            return Ok(None);
        }
        let Some(lookup) = self.as_lookup(query) else {
            return Ok(None);
        };
        let (catalog, snapshot) = self.moment();
        if snapshot.stale.contains_key(&lookup.entry.id) {
            return Ok(None);
        }
        let relation = lookup.entry.relation(None)?;
        let paths = access_paths(&catalog, &snapshot, &relation);
        if lookup.is_point()
            && let Some(rows) = lookup.rows(&relation.schema, &paths, parameters)?
        {
            return Ok(Some(rows));
        }
        if !lookup.may_read_by_key(&paths) {
            return Ok(None);
        }
        let parameters = parameters.clone();
        let found = big_stack::run(move |_| {
            let rows = snapshot.tables.get(&lookup.entry.id);
            let rows = rows.map_or(0, |rows| rows.rows());
            lookup.rows_by_key(relation.schema, paths, rows, &parameters)
        });
        self.interrupt.clone().guard(found).await
    }

    /// What a query looks up, if that is all it does.
    pub(crate) fn as_lookup(&mut self, query: &Query) -> Option<Lookup> {
        let select = plain_select(query)?;
        let [from] = select.from.as_slice() else {
            return None;
        };
        if !from.joins.is_empty() {
            return None;
        }
        let (table, alias) = plain_table(&from.relation)?;
        let (catalog, _) = self.moment();
        let entry = self.looked_up_relation(&catalog, table)?;
        let known_as = alias.map_or_else(|| entry.name.clone(), identifier);
        let scope = Scope { entry, known_as };
        let mut wanted = Vec::new();
        if let Some(filter) = &select.selection {
            scope.conditions(filter, &mut wanted)?;
        }
        let (mut columns, mut names) = (Vec::new(), Vec::new());
        for item in &select.projection {
            scope.output(item, &mut columns, &mut names)?;
        }
        let mut order = scope.order(query.order_by.as_ref(), &columns, &names)?;
        // Rows with one value of a column are in every order of it.
        let is_value = |c: &Condition, at: usize| c.op == Operator::Eq && c.column == at;
        order.retain(|(at, _)| !wanted.iter().any(|condition| is_value(condition, *at)));
        let (limit, offset) = limits(query.limit_clause.as_ref())?;
        // Without any of these all rows are wanted; a parameter has one type.
        let all = wanted.is_empty() && order.is_empty();
        let counts = limit.iter().chain(&offset);
        let operands = wanted
            .iter()
            .map(|condition| &condition.operand)
            .chain(counts);
        let mut used: Vec<usize> = operands.filter_map(Operand::parameter).collect();
        used.sort_unstable();
        if all || columns.is_empty() || used.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        Some(Lookup {
            order,
            limit,
            offset,
            schema: described(&scope.entry, &columns, names, &catalog),
            entry: scope.entry,
            columns,
            wanted,
        })
    }

    fn looked_up_relation(&self, catalog: &Catalog, table: &ObjectName) -> Option<Arc<Entry>> {
        let mut parts = table.0.iter().rev().map(|part| part.as_ident());
        let local = identifier(parts.next()??);
        let schema = match parts.next() {
            Some(part) => Some(identifier(part?)),
            None => None,
        };
        let system = schema.as_deref().unwrap_or(pg_catalog::SCHEMA);
        if parts.next().is_some() || pg_catalog::relation(system, &local).is_some() {
            return None;
        }
        let path = self.settings().search_path();
        if let Some(schema) = schema.as_ref().filter(|schema| is_temporary(schema))
            && !path.contains(schema)
        {
            return None;
        }
        let name = Name {
            schema,
            local,
            path,
        };
        let entry = catalog.by_name(&name)?;
        // What may not be read is refused where queries are planned.
        let actor = self.actor(catalog);
        let may = actor.may_in_schema(&entry.schema_name, Privileges::USAGE)
            && actor.check(entry, Privileges::SELECT).is_ok();
        (may && matches!(entry.kind, Kind::Table | Kind::MaterializedView))
            .then(|| Arc::clone(entry))
    }
}

impl Lookup {
    /// The columns of the result.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Parameters, counted from 0, with the types of the columns that they are compared with.
    pub(crate) fn parameter_types(&self) -> impl Iterator<Item = (usize, SqlType)> {
        let columns = self.entry.schema();
        let of_columns = self.wanted.iter().filter_map(move |condition| {
            let at = condition.operand.parameter()?;
            let data_type = columns.field(condition.column).data_type();
            Some((at, SqlType::of(data_type)))
        });
        let counts = self.limit.iter().chain(&self.offset);
        let counts = counts.filter_map(Operand::parameter);
        of_columns.chain(counts.map(|at| (at, SqlType::Int8)))
    }

    /// Whether it has values of columns, and no order.
    fn is_point(&self) -> bool {
        let is_value = |condition: &Condition| condition.op == Operator::Eq;
        self.order.is_empty() && self.wanted.iter().all(is_value)
    }

    /// The rows; `None` if no access path has the whole key, or a value is NULL or of another type.
    fn rows(
        &self,
        relation: &Schema,
        paths: &[AccessPath],
        parameters: &Parameters,
    ) -> Result<Option<Rows>> {
        let Some(values) = self.values(relation, parameters) else {
            return Ok(None);
        };
        let needed = self.columns.iter().chain(values.iter().map(|(at, _)| at));
        let needed: Vec<usize> = needed.copied().collect();
        let path = paths.iter().find(|path| {
            let has = |column: &usize| values.iter().any(|(at, _)| at == column);
            path.covers(Some(&needed)) && path.key.iter().all(has)
        });
        let Some(path) = path else {
            return Ok(None);
        };
        let Some((skip, fetch)) = self.part(parameters) else {
            return Ok(None);
        };
        let mut found = Vec::new();
        if let Some(partition) = path.partition_of(&values) {
            let place = |column: usize| path.places[column].unwrap_or(column);
            let values: Vec<(usize, ArrayRef)> = values
                .into_iter()
                .map(|(column, value)| (place(column), value))
                .collect();
            let projection: Vec<usize> = self.columns.iter().map(|&c| place(c)).collect();
            found = partition.rows_with(&values, &projection)?;
        }
        Ok(Some(self.result(found, skip, fetch)?))
    }

    /// How many of the first rows are not wanted, and how many are with those, if not all; `None` if a
    /// number is NULL or negative.
    pub(super) fn part(&self, parameters: &Parameters) -> Option<(usize, Option<usize>)> {
        let count = |operand: &Option<Operand>| match operand {
            None => Some(None),
            Some(operand) => match operand.given(parameters)? {
                ScalarValue::Int64(Some(count)) => usize::try_from(*count).ok().map(Some),
                _ => None,
            },
        };
        let skip = count(&self.offset)?.unwrap_or(0);
        let limit = count(&self.limit)?;
        Some((skip, limit.map(|limit| limit.saturating_add(skip))))
    }

    /// The columns of the result, of the rows behind the first `skip` and among the first `fetch`.
    pub(super) fn result(
        &self,
        found: Vec<RecordBatch>,
        mut skip: usize,
        fetch: Option<usize>,
    ) -> Result<Rows> {
        let mut left = fetch.map_or(usize::MAX, |fetch| fetch - skip);
        let mut batches = Vec::new();
        for batch in found {
            let skipped = skip.min(batch.num_rows());
            skip -= skipped;
            let count = left.min(batch.num_rows() - skipped);
            left -= count;
            let rows = batch.slice(skipped, count);
            let columns = rows.columns()[..self.columns.len()].to_vec();
            batches.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        }
        let schema = Arc::clone(&self.schema);
        Ok(Rows::of_batches(schema, batches, "SELECT"))
    }

    /// The values as their columns have them, each an array of one.
    fn values(&self, schema: &Schema, parameters: &Parameters) -> Option<Vec<(usize, ArrayRef)>> {
        let value = |condition: &Condition| {
            let value = condition.value(schema, parameters)?;
            Some((condition.column, value.to_array_of_size(1).ok()?))
        };
        self.wanted.iter().map(value).collect()
    }
}

impl Condition {
    /// The value as its column has it; `None` if it is NULL or of another type.
    pub(super) fn value(&self, schema: &Schema, parameters: &Parameters) -> Option<ScalarValue> {
        let data_type = schema.field(self.column).data_type();
        let value = as_key(self.operand.given(parameters)?.clone(), data_type)?;
        (!value.is_null() && is_equal_if_same(data_type)).then_some(value)
    }
}

impl Operand {
    fn parameter(&self) -> Option<usize> {
        match self {
            Operand::Value(_) => None,
            Operand::Parameter(at) => Some(*at),
        }
    }

    fn given<'a>(&'a self, parameters: &'a Parameters) -> Option<&'a ScalarValue> {
        match self {
            Operand::Value(value) => Some(value),
            Operand::Parameter(at) => parameters.get(*at),
        }
    }
}

/// Types of which two values are equal if and only if they are the same.
fn is_equal_if_same(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Utf8
            | DataType::FixedSizeBinary(_)
            | DataType::Date32
            | DataType::Timestamp(..)
    )
}

/// What names mean within the query.
struct Scope {
    entry: Arc<Entry>,
    known_as: String,
}

impl Scope {
    /// The column that a name means.
    fn column(&self, expr: &Expr) -> Option<usize> {
        let name = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] if identifier(table) == self.known_as => name,
                _ => return None,
            },
            _ => return None,
        };
        if is_word_of_sql(name) {
            return None;
        }
        self.entry.column(&identifier(name))
    }

    /// Adds what `column = value AND …` says.
    fn conditions(&self, expr: &Expr, wanted: &mut Vec<Condition>) -> Option<()> {
        match expr {
            Expr::Nested(inner) => self.conditions(inner, wanted),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => {
                self.conditions(left, wanted)?;
                self.conditions(right, wanted)
            }
            Expr::BinaryOp { left, op, right } => {
                let op = comparison(op)?;
                wanted.push(match self.column(left) {
                    Some(column) => self.condition(column, op, right)?,
                    None => self.condition(self.column(right)?, op.swap()?, left)?,
                });
                Some(())
            }
            Expr::Between {
                expr,
                negated: false,
                low,
                high,
            } => {
                let column = self.column(expr)?;
                wanted.push(self.condition(column, Operator::GtEq, low)?);
                wanted.push(self.condition(column, Operator::LtEq, high)?);
                Some(())
            }
            _ => None,
        }
    }

    fn condition(&self, column: usize, op: Operator, value: &Expr) -> Option<Condition> {
        let operand = operand(value, &self.entry.columns[column].sql_type)?;
        Some(Condition {
            column,
            op,
            operand,
        })
    }

    /// The columns of `ORDER BY`: a name is that of the result first.
    fn order(
        &self,
        by: Option<&OrderBy>,
        columns: &[usize],
        names: &[String],
    ) -> Option<Vec<(usize, SortOptions)>> {
        let Some(by) = by else {
            return Some(Vec::new());
        };
        let OrderByKind::Expressions(keys) = &by.kind else {
            return None;
        };
        let key = |key: &OrderByExpr| {
            let named = match &key.expr {
                Expr::Identifier(name) => identifier(name),
                _ => String::new(),
            };
            let mut of_result = names
                .iter()
                .zip(columns)
                .filter(|(name, _)| **name == named);
            let column = match (of_result.next(), of_result.next()) {
                (None, _) => self.column(&key.expr)?,
                (Some((_, column)), None) => *column,
                _ => return None,
            };
            // Blanks at its end do not count.
            let is_plain = !matches!(self.entry.columns[column].sql_type, SqlType::Char(_));
            let descending = key.options.asc == Some(false);
            let options = SortOptions {
                descending,
                nulls_first: key.options.nulls_first.unwrap_or(descending),
            };
            (is_plain && key.with_fill.is_none()).then_some((column, options))
        };
        keys.iter().map(key).collect()
    }

    /// Adds the columns of an item of the target list, and their names.
    fn output(
        &self,
        item: &SelectItem,
        columns: &mut Vec<usize>,
        names: &mut Vec<String>,
    ) -> Option<()> {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(identifier(alias))),
            SelectItem::Wildcard(options) if *options == WildcardAdditionalOptions::default() => {
                columns.extend(0..self.entry.columns.len());
                names.extend(self.entry.columns.iter().map(|column| column.name.clone()));
                return Some(());
            }
            _ => return None,
        };
        let column = self.column(expr)?;
        columns.push(column);
        names.push(alias.unwrap_or_else(|| self.entry.columns[column].name.clone()));
        Some(())
    }
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

/// The numbers of `LIMIT` and `OFFSET`.
fn limits(clause: Option<&LimitClause>) -> Option<(Option<Operand>, Option<Operand>)> {
    let Some(clause) = clause else {
        return Some((None, None));
    };
    let LimitClause::LimitOffset {
        limit,
        offset,
        limit_by,
    } = clause
    else {
        return None;
    };
    let number = |expr: Option<&Expr>| match expr {
        None => Some(None),
        Some(expr) => operand(expr, &SqlType::Int8).map(Some),
    };
    let offset = offset.as_ref().map(|offset| &offset.value);
    let limits = (number(limit.as_ref())?, number(offset)?);
    limit_by.is_empty().then_some(limits)
}

/// Words that mean something else than a column if they are not quoted.
fn is_word_of_sql(name: &Ident) -> bool {
    let word = name.value.to_lowercase();
    name.quote_style.is_none()
        && (word == "user"
            || word.starts_with("current_")
            || word.starts_with("session_")
            || word.starts_with("local"))
}

/// A value that is compared with a column of a type, if it can only mean one of that type.
fn operand(expr: &Expr, sql_type: &SqlType) -> Option<Operand> {
    let value = match expr {
        Expr::Value(value) => &value.value,
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match &**expr {
            Expr::Value(value) if matches!(value.value, Value::Number(..)) => {
                return whole_number(&format!("-{}", value.value), sql_type);
            }
            _ => return None,
        },
        _ => return None,
    };
    match value {
        // Blanks at its end do not count.
        _ if matches!(sql_type, SqlType::Char(_)) => None,
        Value::Placeholder(name) => parameter_index(name).map(Operand::Parameter),
        Value::Number(text, _) => whole_number(text, sql_type),
        Value::SingleQuotedString(text)
            if matches!(sql_type, SqlType::Text | SqlType::Varchar(_)) =>
        {
            Some(Operand::Value(ScalarValue::Utf8(Some(text.clone()))))
        }
        _ => None,
    }
}

fn whole_number(text: &str, sql_type: &SqlType) -> Option<Operand> {
    let value = match sql_type {
        SqlType::Int2 => ScalarValue::Int16(Some(text.parse().ok()?)),
        SqlType::Int4 => ScalarValue::Int32(Some(text.parse().ok()?)),
        SqlType::Int8 => ScalarValue::Int64(Some(text.parse().ok()?)),
        _ => return None,
    };
    Some(Operand::Value(value))
}

/// The SELECT of a query that has nothing but a target list, FROM, WHERE, ORDER BY and LIMIT.
fn plain_select(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let is_plain = query.with.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
        && query.for_clause.is_none()
        && select.distinct.is_none()
        && select.into.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && select.qualify.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, modifiers)
            if keys.is_empty() && modifiers.is_empty());
    is_plain.then_some(select)
}

/// A relation by its name, and another name that it may have here.
fn plain_table(factor: &TableFactor) -> Option<(&ObjectName, Option<&Ident>)> {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            version: None,
            with_ordinality: false,
            sample: None,
            ..
        } => match alias {
            None => Some((name, None)),
            Some(alias) if alias.columns.is_empty() => Some((name, Some(&alias.name))),
            Some(_) => None,
        },
        _ => None,
    }
}

/// Columns of a relation as a client is told of them.
fn described(entry: &Entry, columns: &[usize], names: Vec<String>, catalog: &Catalog) -> SchemaRef {
    let schema = entry.schema();
    let field = |(&column, name): (&usize, String)| {
        let origin = Origin {
            relation: RelationId(entry.id),
            column,
        };
        Field::new(name, schema.field(column).data_type().clone(), true)
            .with_metadata(declared_metadata(Some(origin), catalog))
    };
    let fields: Vec<Field> = columns.iter().zip(names).map(field).collect();
    Arc::new(Schema::new(fields))
}
