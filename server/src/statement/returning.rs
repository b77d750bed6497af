//! RETURNING: expressions over the rows that a statement has written, as a query over just these.
//!
//! The query is planned and run before anything is written, so that a fault in it leaves nothing.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use sqlparser::ast::{Ident, ObjectName, Query, SelectItem, SetExpr, TableAlias, TableFactor};

use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::session::{Parameters, Session};
use crate::statement::rows::Rows;
use crate::statement::{Outcome, select_all};

/// The name under which the written rows are found: no table is called so.
const WRITTEN: &str = "?written?";

/// A RETURNING clause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returning<'a> {
    /// Its expressions.
    pub(crate) items: &'a [SelectItem],
    /// What the statement calls its table.
    pub(crate) table: &'a Ident,
    /// Whether the statement reads other tables too.
    pub(crate) reads_others: bool,
}

/// Rows for the client, if the statement wants any.
pub(crate) type Returned = Option<(SchemaRef, Vec<RecordBatch>)>;

impl Session {
    /// Computes what a statement returns for the rows that it will have written.
    pub(crate) async fn returned(
        &mut self,
        entry: &Entry,
        returning: Option<Returning<'_>>,
        rows: &RecordBatch,
        parameters: &Parameters,
    ) -> Result<Returned> {
        let Some(returning) = returning else {
            return Ok(None);
        };
        let (query, planner) = self.returning_query(entry, returning, rows)?;
        let planned = self.plan_batch(&query, planner, parameters.clone()).await;
        let (plan, session) = planned.map_err(|error| explained(error, returning))?;
        let rows = self.run_plan(plan, session).await?;
        let schema = Arc::clone(&rows.schema);
        let interrupt = self.interrupt.clone();
        Ok(Some((schema, interrupt.guard(rows.collect()).await?)))
    }

    /// The query of a RETURNING clause, and a planner that knows the written rows.
    pub(crate) fn returning_query(
        &mut self,
        entry: &Entry,
        returning: Returning<'_>,
        rows: &RecordBatch,
    ) -> Result<(Query, planner::Session)> {
        let mut query = select_all(ObjectName::from(vec![Ident::with_quote('"', WRITTEN)]))?;
        if let SetExpr::Select(select) = &mut *query.body {
            select.projection = returning.items.to_vec();
            if let Some(TableFactor::Table { alias, .. }) =
                select.from.first_mut().map(|from| &mut from.relation)
            {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: returning.table.clone(),
                    columns: Vec::new(),
                    at: None,
                });
            }
        }
        let view = self
            .present_view()
            .with_rows(WRITTEN, entry.schema(), rows.clone());
        Ok((query, self.planner_over(view)))
    }
}

/// `tag n`, or the rows with that tag.
pub(crate) fn outcome(tag: &'static str, count: usize, returned: Returned) -> Outcome {
    match returned {
        None => Outcome::Done(format!("{tag} {count}")),
        Some((schema, batches)) => Outcome::Rows(Rows::of_batches(schema, batches, tag)),
    }
}

fn explained(error: Error, returning: Returning<'_>) -> Error {
    use planner::Error as Planner;
    match error {
        Error::Planner(
            Planner::UndefinedTable { .. }
            | Planner::UndefinedColumn { .. }
            | Planner::MissingFrom { .. },
        ) if returning.reads_others => Error::unsupported(
            "RETURNING columns of other tables is not supported",
            "Return columns of the table that is changed, and join them with the others later.",
        ),
        other => other,
    }
}
