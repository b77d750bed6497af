//! UPDATE, DELETE and TRUNCATE.
//!
//! The rows to change are found by a query over the newest epoch, with what the open block has
//! changed, while the table is locked and everything written before has been flushed. An update
//! is the old rows with weight -1 and the new ones with +1. Tables without a primary key are
//! multisets: equal rows change together.
//! Not here: INSERT (`insert.rs`, `upsert.rs`), and what all writes share (`write.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int64Type;
use planner::names::identifier;
use sqlparser::ast;
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, ObjectName, Query, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, Truncate,
    TruncateIdentityOption, Update, UpdateTableFromKind,
};

use crate::access::privilege::Privileges;
use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::sequence;
use crate::session::{Parameters, Session};
use crate::statement::coerce::{TextInput, assign};
use crate::statement::generated;
use crate::statement::insert::{default_expr, is_default, parameter_index};
use crate::statement::returning::{self, Returning};
use crate::statement::rights::reads_columns;
use crate::statement::{Outcome, select_all};
use crate::table_locks::{Guard, Mode};

/// Number of a row of the changed table, where a statement reads other tables too.
const ROW: &str = "?row?";

/// One column that a statement sets.
pub(crate) struct Assigned {
    pub(crate) column: usize,
    /// Whether a text result is a literal.
    text: TextInput,
    /// The parameter that is the whole value, if it is one.
    pub(crate) parameter: Option<usize>,
}

/// How an UPDATE or DELETE finds its rows.
pub(crate) struct Finding {
    pub(crate) entry: Arc<Entry>,
    /// What the statement calls the table.
    pub(crate) table: Ident,
    /// Gives the table's columns, the number of the row if there are other tables, and the values
    /// that are set.
    pub(crate) query: Query,
    pub(crate) assigned: Vec<Assigned>,
    pub(crate) reads_others: bool,
}

impl Finding {
    /// The statement's RETURNING clause.
    pub(crate) fn returning<'a>(
        &'a self,
        items: Option<&'a Vec<SelectItem>>,
    ) -> Option<Returning<'a>> {
        Some(Returning {
            items: items?,
            table: &self.table,
            reads_others: self.reads_others,
        })
    }
}

impl Session {
    pub(crate) async fn update(
        &mut self,
        update: &Update,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let finding = self.update_finding(update)?;
        let entry = &finding.entry;
        let (old, outputs, guard) = self.rows_to_change(&finding, parameters.clone()).await?;
        let new = self.with_assigned(entry, &old, &outputs, &finding.assigned)?;
        let new = self.with_generated(entry, new).await?;
        self.check_not_null(entry, &new)?;
        let returning = finding.returning(update.returning.as_ref());
        let returned = self.returned(entry, returning, &new, &parameters).await?;
        let keys = self.replace_keys(entry, Some(&old), Some(&new))?;
        self.keep_or_write(entry.id, &old, &new, keys, guard)
            .await?;
        Ok(returning::outcome("UPDATE", old.num_rows(), returned))
    }

    pub(crate) async fn delete(
        &mut self,
        delete: &Delete,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let finding = self.delete_finding(delete)?;
        let entry = &finding.entry;
        let (old, _, guard) = self.rows_to_change(&finding, parameters.clone()).await?;
        let returning = finding.returning(delete.returning.as_ref());
        let returned = self.returned(entry, returning, &old, &parameters).await?;
        self.remove(entry, &old, guard).await?;
        Ok(returning::outcome("DELETE", old.num_rows(), returned))
    }

    pub(crate) async fn truncate(&mut self, truncate: &Truncate) -> Result<Outcome> {
        let restarts = matches!(truncate.identity, Some(TruncateIdentityOption::Restart));
        if restarts && self.transaction.is_open() {
            return Err(Error::unsupported(
                "TRUNCATE ... RESTART IDENTITY in a transaction block is not supported",
                "A sequence cannot be rolled back: truncate outside of a block, or use setval() after COMMIT.",
            ));
        }
        let mut findings = Vec::new();
        for target in &truncate.table_names {
            let entry = self.writable(&target.name, "truncate")?;
            self.check_privilege(&entry, Privileges::TRUNCATE)?;
            findings.push(Finding {
                table: Ident::with_quote('"', &entry.name),
                query: select_all(target.name.clone())?,
                assigned: Vec::new(),
                reads_others: false,
                entry,
            });
        }
        let tables = findings.iter().map(|finding| finding.entry.id).collect();
        for finding in findings {
            let (old, _, guard) = self.rows_to_change(&finding, Vec::new()).await?;
            self.remove(&finding.entry, &old, guard).await?;
        }
        if restarts {
            self.restart_sequences(&tables)?;
        }
        Outcome::done("TRUNCATE TABLE")
    }

    /// Sequences that columns of these tables own begin anew.
    fn restart_sequences(&self, tables: &BTreeSet<u32>) -> Result<()> {
        let catalog = self.shared.catalog.read();
        for id in catalog.owned_sequences(tables) {
            if let Some(entry) = catalog.by_id(id) {
                let start = sequence::definition(entry)?.start;
                self.shared.sequences.set(entry, start, false)?;
            }
        }
        Ok(())
    }

    async fn remove(
        &mut self,
        entry: &Entry,
        old: &RecordBatch,
        guard: Option<Guard>,
    ) -> Result<()> {
        let keys = self.replace_keys(entry, Some(old), None)?;
        let none = RecordBatch::new_empty(entry.schema());
        self.keep_or_write(entry.id, old, &none, keys, guard).await
    }

    pub(crate) fn update_finding(&self, update: &Update) -> Result<Finding> {
        let others = match &update.from {
            None => &[][..],
            Some(
                UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables),
            ) => tables,
        };
        let (entry, table) = self.changed_table(&update.table, "update")?;
        let values = pairs(&update.assignments)?;
        let mut values = values.iter().filter(|(_, value)| !is_default(value));
        let reads = values.any(|(_, value)| reads_columns(*value))
            || reads_columns(&update.selection)
            || update.returning.is_some();
        self.check_change(&entry, Privileges::UPDATE, reads)?;
        let (assigned, items) = Assigned::of(&entry, &update.assignments)?;
        let query = finding_query(&update.table, &table, others, &update.selection, items)?;
        Ok(Finding {
            entry,
            table,
            query,
            assigned,
            reads_others: !others.is_empty(),
        })
    }

    pub(crate) fn delete_finding(&self, delete: &Delete) -> Result<Finding> {
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let ([changed], true) = (&tables[..], delete.tables.is_empty()) else {
            return Err(Error::not_supported(
                "DELETE of several tables is not supported",
            ));
        };
        let others = delete.using.as_deref().unwrap_or_default();
        let (entry, table) = self.changed_table(changed, "delete from")?;
        let reads = reads_columns(&delete.selection) || delete.returning.is_some();
        self.check_change(&entry, Privileges::DELETE, reads)?;
        let query = finding_query(changed, &table, others, &delete.selection, Vec::new())?;
        Ok(Finding {
            entry,
            table,
            query,
            assigned: Vec::new(),
            reads_others: !others.is_empty(),
        })
    }

    /// Checks the right to change a table, and that to read it if the statement does.
    pub(crate) fn check_change(
        &self,
        entry: &Entry,
        change: Privileges,
        reads: bool,
    ) -> Result<()> {
        let read = if reads {
            Privileges::SELECT
        } else {
            Privileges::NONE
        };
        self.check_privilege(entry, change | read)
    }

    /// The table that a statement changes, and what the statement calls it.
    fn changed_table(
        &self,
        table: &TableWithJoins,
        action: &'static str,
    ) -> Result<(Arc<Entry>, Ident)> {
        match &table.relation {
            TableFactor::Table { name, alias, .. } if table.joins.is_empty() => {
                let entry = self.writable(name, action)?;
                let table = match alias {
                    Some(alias) => alias.name.clone(),
                    None => Ident::with_quote('"', &entry.name),
                };
                Ok((entry, table))
            }
            _ => Err(Error::not_supported("changing a join is not supported")),
        }
    }

    /// Locks the table and reads: the rows to change, and what else the query computes for them.
    async fn rows_to_change(
        &mut self,
        finding: &Finding,
        parameters: Parameters,
    ) -> Result<(RecordBatch, RecordBatch, Option<Guard>)> {
        let entry = &finding.entry;
        let guard = self.lock_table(entry, Mode::Exclusive).await?;
        // Writes of other sessions are acknowledged before they are visible.
        self.has_unseen_writes = true;
        self.see_own_writes().await?;
        // The rights to change it, and to read it if need be, were asked before.
        let view = self.present_view().changing(entry.id);
        let rows = self.select_over(view, &finding.query, parameters).await?;
        let schema = Arc::clone(&rows.schema);
        let interrupt = self.interrupt.clone();
        let batches = interrupt.guard(rows.collect()).await?;
        let mut all = concat_batches(&schema, &batches)?;
        let mut width = entry.columns.len();
        if finding.reads_others {
            all = first_of_each_row(&all, width)?;
            width += 1;
        }
        let old = RecordBatch::try_new_with_options(
            entry.schema(),
            all.columns()[..entry.columns.len()].to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(all.num_rows())),
        )?;
        let outputs = all.project(&(width..all.num_columns()).collect::<Vec<_>>())?;
        Ok((old, outputs, guard))
    }

    /// Rows with the values that a statement sets, which come in the order of `assigned`.
    pub(crate) fn with_assigned(
        &self,
        entry: &Entry,
        old: &RecordBatch,
        values: &RecordBatch,
        assigned: &[Assigned],
    ) -> Result<RecordBatch> {
        let zone = self.style().zone;
        let mut columns: Vec<ArrayRef> = old.columns().to_vec();
        for (at, set) in assigned.iter().enumerate() {
            let column = &entry.columns[set.column];
            columns[set.column] = assign(
                values.column(at),
                &column.name,
                &column.sql_type,
                set.text,
                zone,
            )?;
        }
        let count = RecordBatchOptions::new().with_row_count(Some(old.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            entry.schema(),
            columns,
            &count,
        )?)
    }
}

impl Assigned {
    /// A column that is set to a value of its own type.
    pub(crate) fn value_of_its_type(column: usize) -> Assigned {
        Assigned {
            column,
            text: TextInput::Refuse,
            parameter: None,
        }
    }

    /// The columns that SET names, and the values as items of a SELECT, in the same order.
    pub(crate) fn of(
        entry: &Entry,
        assignments: &[Assignment],
    ) -> Result<(Vec<Assigned>, Vec<SelectItem>)> {
        let (mut assigned, mut items) = (Vec::<Assigned>::new(), Vec::new());
        for (name, value) in pairs(assignments)? {
            let ident = name.0.last().and_then(|part| part.as_ident());
            let name = ident.map(identifier).unwrap_or_default();
            let column = entry.column(&name).ok_or_else(|| Error::UndefinedColumn {
                column: name.clone(),
                relation: entry.name.clone(),
            })?;
            if assigned.iter().any(|other| other.column == column) {
                let message = format!("multiple assignments to same column \"{name}\"");
                return Err(Error::Syntax { message });
            }
            if !is_default(value) {
                generated::check_set(entry, column)?;
            }
            let value = set_value(value, entry.columns[column].default.as_deref())?;
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
        Ok((assigned, items))
    }
}

/// Each column with its value; `(a, b) = (1, 2)` is two of them.
fn pairs(assignments: &[Assignment]) -> Result<Vec<(&ObjectName, &Expr)>> {
    let mut pairs = Vec::new();
    for assignment in assignments {
        match (&assignment.target, &assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => pairs.push((name, value)),
            (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                if names.len() == values.len() =>
            {
                pairs.extend(names.iter().zip(values));
            }
            (AssignmentTarget::Tuple(_), Expr::Tuple(_)) => {
                return Err(Error::Syntax {
                    message: "number of columns does not match number of values".to_owned(),
                });
            }
            (AssignmentTarget::Tuple(_), _) => {
                return Err(Error::unsupported(
                    "SET (a, b) = (SELECT ...) is not supported",
                    "Set each column by itself.",
                ));
            }
        }
    }
    Ok(pairs)
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

/// `SELECT *, items FROM table WHERE selection`. With other tables the rows of the changed one are
/// numbered: each changes once, however many rows of the others it meets.
fn finding_query(
    changed: &TableWithJoins,
    table: &Ident,
    others: &[TableWithJoins],
    selection: &Option<Expr>,
    items: Vec<SelectItem>,
) -> Result<Query> {
    let mut query = select_all(ObjectName::from(vec![Ident::new("t")]))?;
    if let SetExpr::Select(select) = &mut *query.body {
        select.selection.clone_from(selection);
        select.from = if others.is_empty() {
            vec![changed.clone()]
        } else {
            let all = SelectItemQualifiedWildcardKind::ObjectName(table.clone().into());
            select.projection = vec![SelectItem::QualifiedWildcard(all, Default::default())];
            let mut from = vec![numbered_rows(changed, table)?];
            from.extend_from_slice(others);
            from
        };
        select.projection.extend(items);
    }
    Ok(query)
}

/// `(SELECT *, row_number() OVER () AS "?row?" FROM table) AS table`
fn numbered_rows(changed: &TableWithJoins, table: &Ident) -> Result<TableWithJoins> {
    let number = default_expr("row_number() OVER ()")?;
    let mut rows = select_all(ObjectName::from(vec![Ident::new("t")]))?;
    if let SetExpr::Select(select) = &mut *rows.body {
        select.from = vec![changed.clone()];
        select.projection.push(SelectItem::ExprWithAlias {
            expr: number,
            alias: Ident::with_quote('"', ROW),
        });
    }
    Ok(TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(rows),
            alias: Some(TableAlias {
                explicit: true,
                name: table.clone(),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    })
}

/// Rows whose number, in this column, did not come before.
fn first_of_each_row(all: &RecordBatch, number: usize) -> Result<RecordBatch> {
    let numbers = arrow::compute::cast(all.column(number), &arrow::datatypes::DataType::Int64)?;
    let mut seen = BTreeSet::new();
    let firsts: Vec<u32> = (0u32..)
        .zip(numbers.as_primitive::<Int64Type>().values())
        .filter(|(_, number)| seen.insert(**number))
        .map(|(row, _)| row)
        .collect();
    Ok(take_record_batch(all, &UInt32Array::from(firsts))?)
}
