//! Generated columns: `GENERATED ALWAYS AS (expression) STORED`, and who may give values to
//! columns that have a source of their own.
//!
//! The expressions are computed as RETURNING is: by a query over the rows to be written.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use planner::TableDefinition;
use planner::names::identifier;
use sqlparser::ast;
use sqlparser::ast::{Expr, Ident, Insert, SelectItem, SetExpr};

use crate::catalog::{Entry, Identity};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::coerce::{TextInput, assign};
use crate::statement::insert::{default_expr, is_default};
use crate::statement::returning::Returning;

/// Functions whose value is another one each time, or each day.
const NOT_IMMUTABLE: [&str; 12] = [
    "now",
    "random",
    "nextval",
    "currval",
    "lastval",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "current_timestamp",
    "current_date",
    "gen_random_uuid",
    "timeofday",
];

impl Session {
    /// Rows with their generated columns computed.
    pub(crate) async fn with_generated(
        &mut self,
        entry: &Entry,
        rows: RecordBatch,
    ) -> Result<RecordBatch> {
        let generated: Vec<usize> = (0..entry.columns.len())
            .filter(|&at| entry.columns[at].generated.is_some())
            .collect();
        if generated.is_empty() || rows.num_rows() == 0 {
            return Ok(rows);
        }
        let texts = generated
            .iter()
            .filter_map(|&at| entry.columns[at].generated.as_deref());
        let items = texts
            .map(|text| Ok(SelectItem::UnnamedExpr(default_expr(text)?)))
            .collect::<Result<Vec<_>>>()?;
        let table = Ident::with_quote('"', &entry.name);
        let returning = Returning {
            items: &items,
            table: &table,
            reads_others: false,
        };
        let computed = self
            .returned(entry, Some(returning), &rows, &Vec::new())
            .await?;
        let Some((schema, batches)) = computed else {
            return Ok(rows);
        };
        let values = concat_batches(&schema, &batches)?;
        let zone = self.style().zone;
        let mut columns = rows.columns().to_vec();
        for (value, &at) in values.columns().iter().zip(&generated) {
            let column = &entry.columns[at];
            let text = TextInput::Refuse;
            columns[at] = assign(value, &column.name, &column.sql_type, text, zone)?;
        }
        Ok(RecordBatch::try_new(entry.schema(), columns)?)
    }

    /// Checks the expressions of a new table: they read its other columns, and nothing else.
    pub(crate) async fn check_generated(
        &mut self,
        entry: &Entry,
        definition: &TableDefinition,
    ) -> Result<()> {
        for column in &definition.columns {
            let Some(expr) = &column.generated else {
                continue;
            };
            check_expression(expr, definition)?;
        }
        // One row of NULLs finds wrong names and types.
        let nulls = entry.schema();
        let nulls = nulls
            .fields()
            .iter()
            .map(|field| arrow::array::new_null_array(field.data_type(), 1));
        let row = RecordBatch::try_new(entry.schema(), nulls.collect())?;
        self.with_generated(entry, row).await.map(drop)
    }
}

fn check_expression(expr: &Expr, definition: &TableDefinition) -> Result<()> {
    let refused = |message: String| ControlFlow::Break(Error::InvalidObjectDefinition { message });
    let found = ast::visit_expressions(expr, |part| match part {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(
            Error::not_supported("cannot use subquery in column generation expression"),
        ),
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            if NOT_IMMUTABLE.contains(&name.as_str()) {
                return refused("generation expression is not immutable".to_owned());
            }
            ControlFlow::Continue(())
        }
        Expr::Identifier(ident) => {
            let name = identifier(ident);
            let generated = definition
                .columns
                .iter()
                .any(|column| column.name == name && column.generated.is_some());
            if generated {
                return refused(format!(
                    "cannot use generated column \"{name}\" in column generation expression"
                ));
            }
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The table as `OVERRIDING SYSTEM VALUE`, which the parser gives as `OVERWRITE`, takes it: identities take values.
pub(crate) fn overriding(entry: &Entry) -> Arc<Entry> {
    let mut entry = entry.clone();
    for column in &mut entry.columns {
        column.identity = column.identity.map(|_| Identity::ByDefault);
    }
    Arc::new(entry)
}

/// VALUES must leave columns to their own source: generated ones, and identities that are always.
pub(crate) fn check_insert(entry: &Entry, insert: &Insert, targets: &[usize]) -> Result<()> {
    let Some(SetExpr::Values(values)) = insert.source.as_deref().map(|query| &*query.body) else {
        return Ok(());
    };
    for (at, &target) in targets.iter().enumerate() {
        let is_given = |row: &Vec<Expr>| row.get(at).is_some_and(|cell| !is_default(cell));
        if values.rows.iter().any(|row| is_given(row)) {
            check_given(entry, target)?;
        }
    }
    Ok(())
}

/// A column that gets a value by INSERT must not have its own source.
pub(crate) fn check_given(entry: &Entry, column: usize) -> Result<()> {
    match own_source(entry, column) {
        None => Ok(()),
        Some(detail) => Err(Error::GeneratedAlways {
            message: format!(
                "cannot insert a non-DEFAULT value into column \"{}\"",
                entry.columns[column].name
            ),
            detail,
        }),
    }
}

/// SET must leave such columns alone; `value` is not DEFAULT.
pub(crate) fn check_set(entry: &Entry, column: usize) -> Result<()> {
    match own_source(entry, column) {
        None => Ok(()),
        Some(detail) => Err(Error::GeneratedAlways {
            message: format!(
                "column \"{}\" can only be updated to DEFAULT",
                entry.columns[column].name
            ),
            detail,
        }),
    }
}

/// Why a column takes no values from statements, if it does not.
fn own_source(entry: &Entry, column: usize) -> Option<String> {
    let column = &entry.columns[column];
    if column.generated.is_some() {
        Some(format!("Column \"{}\" is a generated column.", column.name))
    } else if column.identity == Some(Identity::Always) {
        Some(format!(
            "Column \"{}\" is an identity column defined as GENERATED ALWAYS.",
            column.name
        ))
    } else {
        None
    }
}

/// A row that comes by COPY has no DEFAULT for such columns.
pub(crate) fn check_copy(entry: &Arc<Entry>, targets: &[usize]) -> Result<()> {
    match targets
        .iter()
        .find(|&&at| entry.columns[at].generated.is_some())
    {
        None => Ok(()),
        Some(&at) => Err(Error::InvalidColumnReference {
            message: format!(
                "column \"{}\" is a generated column",
                entry.columns[at].name
            ),
            detail: "Generated columns cannot be used in COPY.".to_owned(),
        }),
    }
}
