//! Look-ups by a key: `SELECT columns FROM relation WHERE key = value [AND …]`, without a plan.
//!
//! To plan a query takes many times as long as to find a row. So a query that compares columns of
//! one relation with values, the whole key of an access path among them, is answered from the key
//! group that the values hash to. What is not plainly such a query is planned, and so is one whose
//! values have other types than their columns; the answers are the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use planner::names::identifier;
use planner::values::types::SqlType;
use planner::{Origin, RelationId};
use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor, UnaryOperator, Value, WildcardAdditionalOptions,
};
use storage::DatabaseSnapshot;

use crate::access::privilege::Privileges;
use crate::catalog::{Catalog, Entry, Kind};
use crate::catalog_view::access_paths;
use crate::error::Result;
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
    columns: Vec<usize>,
    /// The result.
    schema: SchemaRef,
    /// Columns, and the value that each must have.
    wanted: Vec<(usize, Operand)>,
}

enum Operand {
    Value(ScalarValue),
    /// Counted from 0.
    Parameter(usize),
}

impl Session {
    /// The rows of a query that is a look-up; `None`: it must be planned.
    pub(crate) fn look_up(
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
        lookup.rows(&catalog, &snapshot, parameters)
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
        scope.conditions(select.selection.as_ref()?, &mut wanted)?;
        let (mut columns, mut names) = (Vec::new(), Vec::new());
        for item in &select.projection {
            scope.output(item, &mut columns, &mut names)?;
        }
        Some(Lookup {
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
        self.wanted.iter().filter_map(move |(column, operand)| {
            let Operand::Parameter(at) = operand else {
                return None;
            };
            Some((*at, SqlType::of(columns.field(*column).data_type())))
        })
    }

    /// The rows; `None` if no access path has the whole key, or a value is NULL or of another type.
    fn rows(
        &self,
        catalog: &Catalog,
        snapshot: &DatabaseSnapshot,
        parameters: &Parameters,
    ) -> Result<Option<Rows>> {
        let relation = self.entry.relation(None)?;
        let Some(values) = self.values(&relation.schema, parameters) else {
            return Ok(None);
        };
        let needed = self.columns.iter().chain(values.iter().map(|(at, _)| at));
        let needed: Vec<usize> = needed.copied().collect();
        let paths = access_paths(catalog, snapshot, &relation);
        let path = paths.into_iter().find(|path| {
            let has = |column: &usize| values.iter().any(|(at, _)| at == column);
            path.covers(Some(&needed)) && path.key.iter().all(has)
        });
        let Some(path) = path else {
            return Ok(None);
        };
        let mut batches = Vec::new();
        if let Some(partition) = path.partition_of(&values) {
            let place = |column: usize| path.places[column].unwrap_or(column);
            let values: Vec<(usize, ArrayRef)> = values
                .into_iter()
                .map(|(column, value)| (place(column), value))
                .collect();
            let projection: Vec<usize> = self.columns.iter().map(|&c| place(c)).collect();
            for found in partition.rows_with(&values, &projection)? {
                let columns = found.columns().to_vec();
                batches.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
            }
        }
        let schema = Arc::clone(&self.schema);
        Ok(Some(Rows::of_batches(schema, batches, "SELECT")))
    }

    /// The values as their columns have them, each an array of one.
    fn values(&self, schema: &Schema, parameters: &Parameters) -> Option<Vec<(usize, ArrayRef)>> {
        let value = |(column, operand): &(usize, Operand)| {
            let data_type = schema.field(*column).data_type();
            let given = match operand {
                Operand::Value(value) => value,
                Operand::Parameter(at) => parameters.get(*at)?,
            };
            let value = as_key(given.clone(), data_type)?;
            let value = (!value.is_null() && is_equal_if_same(data_type)).then_some(value)?;
            Some((*column, value.to_array_of_size(1).ok()?))
        };
        self.wanted.iter().map(value).collect()
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
    fn conditions(&self, expr: &Expr, wanted: &mut Vec<(usize, Operand)>) -> Option<()> {
        match expr {
            Expr::Nested(inner) => self.conditions(inner, wanted),
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::And => {
                    self.conditions(left, wanted)?;
                    self.conditions(right, wanted)
                }
                BinaryOperator::Eq => {
                    let (column, value) = match self.column(left) {
                        Some(column) => (column, right),
                        None => (self.column(right)?, left),
                    };
                    let operand = operand(value, &self.entry.columns[column].sql_type)?;
                    let is_again = |other: &Operand| match (other, &operand) {
                        (Operand::Parameter(a), Operand::Parameter(b)) => a == b,
                        _ => false,
                    };
                    // A parameter that is compared twice must have one type: the planner says so.
                    if wanted.iter().any(|(_, other)| is_again(other)) {
                        return None;
                    }
                    wanted.push((column, operand));
                    Some(())
                }
                _ => None,
            },
            _ => None,
        }
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

/// The SELECT of a query that has nothing but a target list, FROM and WHERE.
fn plain_select(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let is_plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
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
