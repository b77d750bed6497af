//! INSERT: literals are read as their columns' types, without a plan; all else is a query whose
//! rows are assigned to the columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::{concat, concat_batches};
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use sqlparser::ast::{
    Expr, Ident, Insert, OnConflictAction, OnInsert, Query, SetExpr, TableObject, UnaryOperator,
    Value,
};

use crate::access::privilege::Privileges;
use crate::big_stack;
use crate::catalog::{Column, Entry};
use crate::error::{Error, Result};
use crate::pg_catalog;
use crate::session::{Parameters, Session};
use crate::statement::Outcome;
use crate::statement::coerce::{TextInput, assign};
use crate::statement::generated;
use crate::statement::returning::{self, Returning};
use crate::statement::upsert::Clause;
use crate::table_locks::Mode;
use planner::values::input::parse_column;
use planner::values::types::SqlType;

/// What may be done to a table whose rows are never changed.
const ADDS: [&str; 2] = ["insert into", "copy to"];

/// A value of a VALUES list that needs no plan.
#[derive(Debug, Clone)]
enum Cell {
    Null,
    Default,
    /// A string: read as the column's type.
    Text(String),
    Number(String),
    Bool(bool),
    /// `$n`, counted from 0.
    Parameter(usize),
}

impl Session {
    pub(crate) async fn insert(
        &mut self,
        insert: &Insert,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let entry = self.insert_target(insert)?;
        let taking = match insert.overwrite {
            true => generated::overriding(&entry),
            false => Arc::clone(&entry),
        };
        let targets = target_columns(&entry, insert)?;
        generated::check_insert(&taking, insert, &targets)?;
        let listed = !insert.columns.is_empty();
        let rows = match insert.source.as_deref() {
            None => self.default_rows(&entry).await?,
            Some(query) => match literal_rows(query) {
                Some(cells) => {
                    self.literal_batch(&entry, &targets, listed, cells, &parameters)
                        .await?
                }
                None => {
                    let parameters = parameters.clone();
                    self.query_batch(&taking, &targets, listed, query, parameters)
                        .await?
                }
            },
        };
        let table = insert_name(&entry, insert);
        let returning = insert.returning.as_ref().map(|items| Returning {
            items,
            table: &table,
            reads_others: false,
        });
        if let Some(clause) = Clause::of_insert(insert, &entry)? {
            return self
                .upsert(&entry, rows, &clause, returning, parameters)
                .await;
        }
        let returned = self.returned(&entry, returning, &rows, &parameters).await?;
        let count = rows.num_rows();
        self.add_rows(&entry, rows).await?;
        Ok(returning::outcome("INSERT 0", count, returned))
    }

    /// The table that an INSERT writes.
    pub(crate) fn insert_target(&self, insert: &Insert) -> Result<Arc<Entry>> {
        match &insert.table {
            TableObject::TableName(name) => {
                let entry = self.writable(name, "insert into")?;
                let (mut wanted, mut reads) = (Privileges::INSERT, insert.returning.is_some());
                if let Some(OnInsert::OnConflict(clause)) = &insert.on {
                    reads |= clause.conflict_target.is_some();
                    if let OnConflictAction::DoUpdate(_) = clause.action {
                        wanted = wanted | Privileges::UPDATE;
                    }
                }
                self.check_change(&entry, wanted, reads)?;
                Ok(entry)
            }
            _ => Err(Error::not_supported(
                "INSERT into this target is not supported",
            )),
        }
    }

    /// A table that can be written; other relations are refused by kind.
    pub(crate) fn writable(
        &self,
        name: &ast::ObjectName,
        action: &'static str,
    ) -> Result<Arc<Entry>> {
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        match catalog.by_name(&name) {
            Some(entry) if entry.append_only && !ADDS.contains(&action) => {
                Err(Error::NotWritable {
                    action,
                    kind: "append-only table",
                    name: name.to_string(),
                })
            }
            Some(entry) if entry.kind == crate::catalog::Kind::Table => Ok(Arc::clone(entry)),
            Some(entry) => Err(Error::NotWritable {
                action,
                kind: entry.kind.name(),
                name: name.to_string(),
            }),
            None if pg_catalog::relation(pg_catalog::SCHEMA, &name.local).is_some() => {
                Err(Error::SystemCatalog {
                    name: name.to_string(),
                })
            }
            None => Err(Error::UndefinedRelation {
                name: name.to_string(),
            }),
        }
    }

    /// Claims keys, takes the lock, and writes new rows now or at COMMIT.
    pub(crate) async fn add_rows(&mut self, entry: &Entry, rows: RecordBatch) -> Result<()> {
        let guard = self.lock_table(entry, Mode::Shared).await?;
        let keys = self.replace_keys(entry, None, Some(&rows))?;
        let none = RecordBatch::new_empty(entry.schema());
        self.keep_or_write(entry.id, &none, &rows, keys, guard)
            .await
    }

    async fn default_rows(&mut self, entry: &Arc<Entry>) -> Result<RecordBatch> {
        self.complete(entry, vec![None; entry.columns.len()], 1)
            .await
    }

    async fn literal_batch(
        &mut self,
        entry: &Arc<Entry>,
        targets: &[usize],
        listed: bool,
        rows: Vec<Vec<Cell>>,
        parameters: &[ScalarValue],
    ) -> Result<RecordBatch> {
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return Err(Error::Syntax {
                message: "VALUES lists must all be the same length".to_owned(),
            });
        }
        check_width(targets.len(), width, listed)?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; entry.columns.len()];
        for (at, &target) in targets.iter().take(width).enumerate() {
            let cells: Vec<&Cell> = rows.iter().map(|row| &row[at]).collect();
            let column = &entry.columns[target];
            let values = self
                .literal_column(entry, target, column, &cells, parameters)
                .await?;
            columns[target] = Some(values);
        }
        self.complete(entry, columns, rows.len()).await
    }

    async fn literal_column(
        &mut self,
        entry: &Arc<Entry>,
        target: usize,
        column: &Column,
        cells: &[&Cell],
        parameters: &[ScalarValue],
    ) -> Result<ArrayRef> {
        let zone = self.style().zone;
        let simple = cells
            .iter()
            .all(|cell| !matches!(cell, Cell::Default | Cell::Parameter(_)));
        if simple {
            let texts = cells
                .iter()
                .map(|cell| cell_text(cell, column))
                .collect::<Result<StringArray>>()?;
            return parse_column(&texts, &column.sql_type, zone).map_err(|bad| bad.error.into());
        }
        let mut parts = Vec::with_capacity(cells.len());
        for cell in cells {
            parts.push(match cell {
                Cell::Default => self.defaults(entry, target, 1).await?,
                Cell::Parameter(at) => {
                    let value = parameters.get(*at).ok_or_else(|| no_parameter(*at))?;
                    assign(
                        &value.to_array_of_size(1)?,
                        &column.name,
                        &column.sql_type,
                        TextInput::Parse,
                        zone,
                    )?
                }
                other => {
                    let text = StringArray::from(vec![cell_text(other, column)?]);
                    parse_column(&text, &column.sql_type, zone).map_err(|bad| bad.error)?
                }
            });
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }

    async fn query_batch(
        &mut self,
        entry: &Arc<Entry>,
        targets: &[usize],
        listed: bool,
        query: &Query,
        parameters: Parameters,
    ) -> Result<RecordBatch> {
        let mut query = query.clone();
        let is_values = matches!(*query.body, SetExpr::Values(_));
        fill_defaults(&mut query, entry, targets)?;
        type_structures(&mut query, entry, targets);
        let literal_items = literal_items(&query);
        let rows = self.select(&query, parameters).await?;
        let width = rows.schema.fields().len();
        check_width(targets.len(), width, listed)?;
        if !is_values {
            for &target in targets.iter().take(width) {
                generated::check_given(entry, target)?;
            }
        }
        let zone = self.style().zone;
        let mut rows = rows;
        let mut batches = Vec::new();
        let interrupt = self.interrupt.clone();
        while let Some(batch) = interrupt.guard(rows.next()).await? {
            let mut columns: Vec<Option<ArrayRef>> = vec![None; entry.columns.len()];
            for (at, &target) in targets.iter().take(width).enumerate() {
                let column = &entry.columns[target];
                let is_literal = is_values || literal_items.get(at).copied().unwrap_or(false);
                let text = if is_literal {
                    TextInput::Parse
                } else {
                    TextInput::Refuse
                };
                columns[target] = Some(assign(
                    batch.column(at),
                    &column.name,
                    &column.sql_type,
                    text,
                    zone,
                )?);
            }
            let count = batch.num_rows();
            batches.push(self.complete(entry, columns, count).await?);
        }
        Ok(concat_batches(&entry.schema(), &batches)?)
    }

    /// Adds defaults for the columns left out, and checks NOT NULL.
    pub(crate) async fn complete(
        &mut self,
        entry: &Arc<Entry>,
        columns: Vec<Option<ArrayRef>>,
        rows: usize,
    ) -> Result<RecordBatch> {
        let mut complete = Vec::with_capacity(columns.len());
        for (at, column) in columns.into_iter().enumerate() {
            complete.push(match column {
                Some(column) => column,
                None => self.defaults(entry, at, rows).await?,
            });
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(entry.schema(), complete, &options)?;
        let batch = self.with_generated(entry, batch).await?;
        self.check_not_null(entry, &batch)?;
        Ok(batch)
    }

    /// `rows` values of a column's default.
    pub(crate) async fn defaults(
        &mut self,
        entry: &Arc<Entry>,
        column: usize,
        rows: usize,
    ) -> Result<ArrayRef> {
        let definition = &entry.columns[column];
        let data_type = definition.sql_type.arrow();
        let Some(text) = &definition.default else {
            return Ok(arrow::array::new_null_array(&data_type, rows));
        };
        let expr = default_expr(text)?;
        let session = self.planner();
        let (name, sql_type, zone) = (
            definition.name.clone(),
            definition.sql_type.clone(),
            self.style().zone,
        );
        big_stack::run(move |_| {
            let values = session.evaluate(&expr, &data_type, rows)?;
            assign(&values, &name, &sql_type, TextInput::Parse, zone)
        })
        .await
    }
}

/// What an INSERT calls its table.
pub(crate) fn insert_name(entry: &Entry, insert: &Insert) -> Ident {
    match &insert.table_alias {
        Some(alias) => alias.alias.clone(),
        None => Ident::with_quote('"', &entry.name),
    }
}

/// The stored text of a default, as an expression.
pub(crate) fn default_expr(text: &str) -> Result<Expr> {
    let dialect = sqlparser::dialect::PostgreSqlDialect {};
    let mut expr = sqlparser::parser::Parser::new(&dialect)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|error| Error::Corrupt(format!("default \"{text}\": {error}")))?;
    pg_catalog::rewrite::rewrite(&mut expr);
    Ok(expr)
}

fn no_parameter(at: usize) -> Error {
    Error::Bind(format!("there is no parameter ${}", at + 1))
}

/// Columns that the statement fills, in its order.
pub(crate) fn target_columns(entry: &Entry, insert: &Insert) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..entry.columns.len()).collect());
    }
    let names =
        insert.columns.iter().map(
            |name| match name.0.last().and_then(|part| part.as_ident()) {
                Some(ident) => Ok(planner::names::identifier(ident)),
                None => Err(Error::Syntax {
                    message: format!("improper name: {name}"),
                }),
            },
        );
    named_columns(entry, names)
}

/// Indexes of named columns, each at most once.
pub(crate) fn named_columns(
    entry: &Entry,
    names: impl Iterator<Item = Result<String>>,
) -> Result<Vec<usize>> {
    let mut targets = Vec::new();
    for name in names {
        let name = name?;
        let at = entry.column(&name).ok_or_else(|| Error::UndefinedColumn {
            column: name.clone(),
            relation: entry.name.clone(),
        })?;
        if targets.contains(&at) {
            return Err(Error::DuplicateColumn { name });
        }
        targets.push(at);
    }
    Ok(targets)
}

fn check_width(targets: usize, width: usize, listed: bool) -> Result<()> {
    if width > targets {
        return Err(Error::ColumnCount {
            more: "expressions",
            fewer: "target columns",
        });
    }
    if listed && width < targets {
        return Err(Error::ColumnCount {
            more: "target columns",
            fewer: "expressions",
        });
    }
    Ok(())
}

/// The cells of `VALUES` if none needs a plan.
fn literal_rows(query: &Query) -> Option<Vec<Vec<Cell>>> {
    if query.with.is_some()
        || query.order_by.is_some()
        || query.limit_clause.is_some()
        || query.fetch.is_some()
    {
        return None;
    }
    let SetExpr::Values(values) = &*query.body else {
        return None;
    };
    values
        .rows
        .iter()
        .map(|row| row.iter().map(literal_cell).collect())
        .collect()
}

fn literal_cell(expr: &Expr) -> Option<Cell> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(Cell::Number(number.to_string())),
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::DollarQuotedString(ast::DollarQuotedString { value: text, .. }) => {
                Some(Cell::Text(text.clone()))
            }
            Value::Boolean(value) => Some(Cell::Bool(*value)),
            Value::Null => Some(Cell::Null),
            Value::Placeholder(name) => parameter_index(name).map(Cell::Parameter),
            _ => None,
        },
        Expr::UnaryOp { op, expr } => match (op, literal_cell(expr)?) {
            (UnaryOperator::Minus, Cell::Number(number)) if !number.starts_with('-') => {
                Some(Cell::Number(format!("-{number}")))
            }
            (UnaryOperator::Plus, number @ Cell::Number(_)) => Some(number),
            _ => None,
        },
        Expr::Nested(inner) => literal_cell(inner),
        _ if is_default(expr) => Some(Cell::Default),
        _ => None,
    }
}

/// `$3` as 2.
pub(crate) fn parameter_index(name: &str) -> Option<usize> {
    name.strip_prefix('$')?
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}

pub(crate) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// Parameters used as whole cells of a VALUES list, with the column that takes them.
pub(crate) fn parameter_columns(query: &Query, targets: &[usize]) -> Option<Vec<(usize, usize)>> {
    let rows = literal_rows(query)?;
    let cells = rows.iter().flat_map(|row| row.iter().zip(targets));
    Some(
        cells
            .filter_map(|(cell, target)| match cell {
                Cell::Parameter(at) => Some((*at, *target)),
                _ => None,
            })
            .collect(),
    )
}

/// The text that a literal is read from, in a column of its type.
fn cell_text(cell: &Cell, column: &Column) -> Result<Option<String>> {
    let mismatch = |source: &str| Error::TypeMismatch {
        message: format!(
            "column \"{}\" is of type {} but expression is of type {source}",
            column.name,
            column.sql_type.base_name()
        ),
        hint: Some("You will need to rewrite or cast the expression.".to_owned()),
    };
    use SqlType as T;
    match (cell, &column.sql_type) {
        (Cell::Null, _) => Ok(None),
        (Cell::Text(text), _) => Ok(Some(text.clone())),
        (Cell::Bool(value), T::Bool) => Ok(Some(value.to_string())),
        (Cell::Bool(value), target) if target.is_text() => Ok(Some(value.to_string())),
        (Cell::Bool(_), _) => Err(mismatch("boolean")),
        (Cell::Number(number), T::Int2 | T::Int4 | T::Int8 | T::Oid) => {
            whole_number(number, &column.sql_type)
        }
        (Cell::Number(number), T::Float4 | T::Float8 | T::Numeric(_)) => Ok(Some(number.clone())),
        (Cell::Number(number), target) if target.is_text() => Ok(Some(number.clone())),
        (Cell::Number(number), _) => Err(mismatch(if number.contains(['.', 'e', 'E']) {
            "numeric"
        } else {
            "integer"
        })),
        (Cell::Default | Cell::Parameter(_), _) => Err(Error::Internal("not a literal".to_owned())),
    }
}

/// A number literal for a whole-number column: rounded, and named as a number when out of range.
fn whole_number(number: &str, target: &SqlType) -> Result<Option<String>> {
    let out_of_range = || Error::NumberOutOfRange {
        type_name: target.base_name(),
    };
    let whole =
        planner::values::numeric::parse_decimal(number, 38, 0).map_err(|_| out_of_range())?;
    let range = match target {
        SqlType::Int2 => i128::from(i16::MIN)..=i128::from(i16::MAX),
        SqlType::Int4 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        SqlType::Oid => 0..=i128::from(u32::MAX),
        _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
    };
    if range.contains(&whole) {
        Ok(Some(whole.to_string()))
    } else {
        Err(out_of_range())
    }
}

/// Gives the values of a VALUES list that needs a plan one type, in columns of composite types and maps.
fn type_structures(query: &mut Query, entry: &Entry, targets: &[usize]) {
    let SetExpr::Values(values) = &mut *query.body else {
        return;
    };
    for row in &mut values.rows {
        for (cell, target) in row.iter_mut().zip(targets) {
            let sql_type = &entry.columns[*target].sql_type;
            if sql_type.is_structured() {
                let value = std::mem::replace(cell, Expr::value(Value::Null));
                *cell = Expr::Cast {
                    kind: ast::CastKind::DoubleColon,
                    expr: Box::new(value),
                    data_type: planner::named_types::written(&sql_type.open()),
                    array: false,
                    format: None,
                };
            }
        }
    }
}

/// Puts default expressions where a VALUES list that needs a plan says DEFAULT.
fn fill_defaults(query: &mut Query, entry: &Entry, targets: &[usize]) -> Result<()> {
    let SetExpr::Values(values) = &mut *query.body else {
        return Ok(());
    };
    for row in &mut values.rows {
        for (cell, target) in row.iter_mut().zip(targets) {
            if is_default(cell) {
                *cell = match &entry.columns[*target].default {
                    Some(text) => default_expr(text)?,
                    None => Expr::value(Value::Null),
                };
            }
        }
    }
    Ok(())
}

/// Which outputs of a SELECT are string literals, whose type is open.
fn literal_items(query: &Query) -> Vec<bool> {
    let SetExpr::Select(select) = &*query.body else {
        return Vec::new();
    };
    let is_literal = |expr: &Expr| {
        matches!(
            literal_cell(expr),
            Some(Cell::Text(_) | Cell::Null | Cell::Parameter(_))
        )
    };
    select
        .projection
        .iter()
        .map(|item| match item {
            ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => {
                is_literal(expr)
            }
            _ => false,
        })
        .collect()
}
