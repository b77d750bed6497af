//! UPDATE and DELETE, and what all writes share: locks, keys, NOT NULL, block or no block.
//!
//! The rows to change are found by a query over the newest epoch, while the table is locked and
//! everything written before has been flushed. An update is the old rows with weight -1 and the
//! new ones with +1. Tables without a primary key are multisets: equal rows change together.

use std::sync::{Arc, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use sqlparser::ast;
use sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, Ident, ObjectName, Query, SelectItem, SetExpr,
    TableFactor, TableWithJoins, Update,
};

use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::key_set::KeyChange;
use crate::session::transaction::Write;
use crate::session::{Parameters, Session};
use crate::statement::coerce::{TextInput, assign};
use crate::statement::insert::{default_expr, is_default, parameter_index};
use crate::statement::{Outcome, select_all};
use crate::table_locks::{Guard, Mode};
use crate::wire::encode::RowEncoder;
use crate::wire::frame::Format;

/// One column that an UPDATE sets.
pub(crate) struct Assigned {
    pub(crate) column: usize,
    /// Whether a text result is a literal.
    text: TextInput,
    /// The parameter that is the whole value, if it is one.
    pub(crate) parameter: Option<usize>,
}

impl Session {
    pub(crate) async fn update(
        &mut self,
        update: &Update,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let (entry, query, assigned) = self.update_query(update)?;
        let (old, outputs, guard) = self.rows_to_change(&entry, &query, parameters).await?;
        let zone = self.style().zone;
        let mut columns: Vec<ArrayRef> = old.columns().to_vec();
        for (at, set) in assigned.iter().enumerate() {
            let column = &entry.columns[set.column];
            columns[set.column] = assign(
                outputs.column(at),
                &column.name,
                &column.sql_type,
                set.text,
                zone,
            )?;
        }
        let new = RecordBatch::try_new(entry.schema(), columns)?;
        self.check_not_null(&entry, &new)?;
        let keys = self.replace_keys(&entry, Some(&old), Some(&new))?;
        let rows = concat_batches(&entry.schema(), [&old, &new])?;
        let weights = [vec![-1; old.num_rows()], vec![1; new.num_rows()]].concat();
        self.keep_or_write(entry.id, rows, weights, keys, guard)
            .await?;
        Ok(Outcome::Done(format!("UPDATE {}", old.num_rows())))
    }

    pub(crate) async fn delete(
        &mut self,
        delete: &Delete,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let (entry, query) = self.delete_query(delete)?;
        let (old, _, guard) = self.rows_to_change(&entry, &query, parameters).await?;
        let keys = self.replace_keys(&entry, Some(&old), None)?;
        let count = old.num_rows();
        self.keep_or_write(entry.id, old, vec![-1; count], keys, guard)
            .await?;
        Ok(Outcome::Done(format!("DELETE {count}")))
    }

    /// The query that finds the rows of an UPDATE: `SELECT *, value, … FROM table WHERE …`.
    pub(crate) fn update_query(
        &self,
        update: &Update,
    ) -> Result<(Arc<Entry>, Query, Vec<Assigned>)> {
        if update.returning.is_some() {
            return Err(Error::unsupported(
                "RETURNING is not supported",
                "SELECT the rows after the statement.",
            ));
        }
        if update.from.is_some() {
            return Err(Error::unsupported(
                "UPDATE ... FROM is not supported",
                "Use a sub-select in SET and WHERE.",
            ));
        }
        let entry = self.changed_table(&update.table, "update")?;
        let mut assigned = Vec::new();
        let mut items = Vec::new();
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(Error::unsupported(
                    "SET (a, b) = ... is not supported",
                    "Set each column by itself.",
                ));
            };
            let ident = name.0.last().and_then(|part| part.as_ident());
            let name = ident.map(planner::names::identifier).unwrap_or_default();
            let column = entry.column(&name).ok_or_else(|| Error::UndefinedColumn {
                column: name.clone(),
                relation: entry.name.clone(),
            })?;
            if assigned
                .iter()
                .any(|other: &Assigned| other.column == column)
            {
                let message = format!("multiple assignments to same column \"{name}\"");
                return Err(Error::Syntax { message });
            }
            let value = set_value(&assignment.value, entry.columns[column].default.as_deref())?;
            assigned.push(Assigned {
                column,
                text: if is_literal(&value) {
                    TextInput::Parse
                } else {
                    TextInput::Refuse
                },
                parameter: placeholder(&value),
            });
            let alias = Ident::with_quote('"', format!("?set{}?", assigned.len()));
            items.push(SelectItem::ExprWithAlias { expr: value, alias });
        }
        let query = finding_query(update.table.clone(), update.selection.clone(), items)?;
        Ok((entry, query, assigned))
    }

    /// The query that finds the rows of a DELETE.
    pub(crate) fn delete_query(&self, delete: &Delete) -> Result<(Arc<Entry>, Query)> {
        if delete.returning.is_some() {
            return Err(Error::unsupported(
                "RETURNING is not supported",
                "SELECT the rows before the statement.",
            ));
        }
        if delete.using.is_some() || !delete.tables.is_empty() {
            return Err(Error::unsupported(
                "DELETE ... USING is not supported",
                "Use a sub-select in WHERE.",
            ));
        }
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = &tables[..] else {
            return Err(Error::not_supported(
                "DELETE of several tables is not supported",
            ));
        };
        let entry = self.changed_table(table, "delete from")?;
        let query = finding_query(table.clone(), delete.selection.clone(), Vec::new())?;
        Ok((entry, query))
    }

    fn changed_table(&self, table: &TableWithJoins, action: &'static str) -> Result<Arc<Entry>> {
        match &table.relation {
            TableFactor::Table { name, .. } if table.joins.is_empty() => {
                self.writable(name, action)
            }
            _ => Err(Error::not_supported("changing a join is not supported")),
        }
    }

    /// Locks the table and reads: the rows to change, and what else the query computes for them.
    async fn rows_to_change(
        &mut self,
        entry: &Arc<Entry>,
        query: &Query,
        parameters: Parameters,
    ) -> Result<(RecordBatch, RecordBatch, Option<Guard>)> {
        if self.transaction.has_changed(entry.id) {
            return Err(Error::unsupported(
                format!(
                    "changing \"{}\" twice in one transaction is not supported",
                    entry.name
                ),
                "COMMIT between the statements, or make them one.",
            ));
        }
        let guard = self.lock_table(entry.id, Mode::Exclusive).await?;
        // Writes of other sessions are acknowledged before they are visible.
        self.has_unseen_writes = true;
        let rows = self.select(query, parameters).await?;
        let schema = Arc::clone(&rows.schema);
        let interrupt = self.interrupt.clone();
        let batches = interrupt.guard(rows.collect()).await?;
        let all = concat_batches(&schema, &batches)?;
        let width = entry.columns.len();
        let old = RecordBatch::try_new_with_options(
            entry.schema(),
            all.columns()[..width].to_vec(),
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(all.num_rows())),
        )?;
        let outputs = all.project(&(width..all.num_columns()).collect::<Vec<_>>())?;
        Ok((old, outputs, guard))
    }

    /// Waits for a table; nothing if the open block holds it already.
    pub(crate) async fn lock_table(&mut self, table: u32, mode: Mode) -> Result<Option<Guard>> {
        if self.transaction.holds(table) {
            return Ok(None);
        }
        let timeout = self.settings().lock_timeout();
        let wait = self
            .shared
            .locks
            .lock(table, mode, timeout, self.transaction.holds_any());
        self.interrupt.guard(wait).await.map(Some)
    }

    /// Keeps the primary keys in step; the new ones must be free.
    pub(crate) fn replace_keys(
        &self,
        entry: &Entry,
        old: Option<&RecordBatch>,
        new: Option<&RecordBatch>,
    ) -> Result<Option<KeyChange>> {
        let Some(set) = self.shared.keys.get(entry.id) else {
            return Ok(None);
        };
        let replaced = set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(old, new)?;
        replaced
            .map(Some)
            .map_err(|row| self.duplicate_key(entry, new, row))
    }

    fn duplicate_key(&self, entry: &Entry, new: Option<&RecordBatch>, row: usize) -> Error {
        let names: Vec<&str> = entry
            .primary_key
            .iter()
            .map(|&c| entry.columns[c].name.as_str())
            .collect();
        let texts = new.map(|new| self.row_texts(new, row)).unwrap_or_default();
        let values: Vec<&str> = entry
            .primary_key
            .iter()
            .filter_map(|&c| texts.get(c).map(String::as_str))
            .collect();
        Error::DuplicateKey {
            constraint: entry.primary_key_name(),
            detail: format!(
                "Key ({})=({}) already exists.",
                names.join(", "),
                values.join(", ")
            ),
        }
    }

    pub(crate) fn check_not_null(&self, entry: &Entry, rows: &RecordBatch) -> Result<()> {
        for (column, values) in entry.columns.iter().zip(rows.columns()) {
            if column.not_null && values.null_count() > 0 {
                let row = (0..values.len())
                    .find(|&row| values.is_null(row))
                    .unwrap_or(0);
                return Err(Error::NotNull {
                    column: column.name.clone(),
                    relation: entry.name.clone(),
                    detail: format!(
                        "Failing row contains ({}).",
                        self.row_texts(rows, row).join(", ")
                    ),
                });
            }
        }
        Ok(())
    }

    /// A row as messages show it.
    pub(crate) fn row_texts(&self, rows: &RecordBatch, row: usize) -> Vec<String> {
        let formats = vec![Format::Text; rows.num_columns()];
        let one = rows.slice(row, 1);
        match RowEncoder::new(&one, &formats, self.style()) {
            Ok(encoder) => (0..rows.num_columns())
                .map(|column| encoder.text(column, 0).unwrap_or_else(|| "null".to_owned()))
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Inside a block the change waits for COMMIT; outside it is written now.
    pub(crate) async fn keep_or_write(
        &mut self,
        table: u32,
        rows: RecordBatch,
        weights: Vec<i64>,
        keys: Option<KeyChange>,
        guard: Option<Guard>,
    ) -> Result<()> {
        let write = Write {
            table,
            rows,
            weights,
        };
        if let Some((write, _keys, guard)) = self.transaction.keep(write, keys, guard) {
            // On an error the rows may have been written: the keys stay as claimed.
            let written = self.write(write).await;
            drop(guard);
            written?;
        }
        Ok(())
    }
}

fn set_value(value: &Expr, default: Option<&str>) -> Result<Expr> {
    if !is_default(value) {
        return Ok(value.clone());
    }
    match default {
        Some(text) => default_expr(text),
        None => Ok(Expr::value(ast::Value::Null)),
    }
}

/// Whether a value's text is open to be read as any type.
pub(crate) fn is_literal(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => matches!(
            value.value,
            ast::Value::SingleQuotedString(_)
                | ast::Value::EscapedStringLiteral(_)
                | ast::Value::DollarQuotedString(_)
                | ast::Value::Placeholder(_)
        ),
        Expr::Nested(inner) => is_literal(inner),
        _ => false,
    }
}

fn placeholder(value: &Expr) -> Option<usize> {
    match value {
        Expr::Value(value) => match &value.value {
            ast::Value::Placeholder(name) => parameter_index(name),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

/// `SELECT *, items FROM table WHERE selection`, made from a parsed pattern.
fn finding_query(
    table: TableWithJoins,
    selection: Option<Expr>,
    items: Vec<SelectItem>,
) -> Result<Query> {
    let mut query = select_all(ObjectName::from(vec![Ident::new("t")]))?;
    if let SetExpr::Select(select) = &mut *query.body {
        select.from = vec![table];
        select.selection = selection;
        select.projection.extend(items);
    }
    Ok(query)
}
