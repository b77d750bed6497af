//! SELECT: a DataFusion plan over one snapshot.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use planner::BatchPlan;
use sqlparser::ast::Query;
use storage::DatabaseSnapshot;

use crate::big_stack;
use crate::catalog::{Catalog, FIRST_ID};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::pg_catalog;
use crate::session::{Parameters, Session};
use crate::statement::coerce;
use crate::statement::rows::Rows;

/// Columns of a result, as in PostgreSQL (`MaxTupleAttributeNumber`).
const RESULT_COLUMNS_MAX: usize = 1664;

impl Session {
    /// Starts a query of the client.
    ///
    /// # Errors
    /// What planning finds; a table that the open block has changed (0A000).
    pub(crate) async fn select(&mut self, query: &Query, parameters: Parameters) -> Result<Rows> {
        self.see_own_writes().await?;
        let session = self.reading_planner();
        let (plan, session) = self.plan_batch(query, session, parameters).await?;
        self.refuse_changed(&plan)?;
        let interrupt = self.interrupt.clone();
        let started = big_stack::run(move |handle| Ok(handle.block_on(plan.execute(&session))?));
        Ok(Rows::of_stream(interrupt.guard(started).await?))
    }

    /// Plans a query, with its parameters if there are any.
    pub(crate) async fn plan_batch(
        &mut self,
        query: &Query,
        session: planner::Session,
        parameters: Parameters,
    ) -> Result<(BatchPlan, planner::Session)> {
        let mut query = query.clone();
        let zone = self.style().zone;
        let interrupt = self.interrupt.clone();
        let planned = big_stack::run(move |_| {
            pg_catalog::rewrite::rewrite(&mut query);
            let mut plan = session.plan(&query)?;
            if plan.schema().fields().len() > RESULT_COLUMNS_MAX {
                return Err(Error::TooManyColumns {
                    what: "target lists",
                    columns: "entries",
                    limit: RESULT_COLUMNS_MAX,
                });
            }
            if !parameters.is_empty() {
                let types = plan.parameter_types()?;
                let typed = parameters
                    .into_iter()
                    .enumerate()
                    .map(|(at, value)| match types.get(at).cloned().flatten() {
                        Some(wanted) if wanted != value.data_type() => {
                            fit_parameter(&value, &wanted, zone)
                        }
                        _ => Ok(value),
                    })
                    .collect::<Result<Vec<_>>>()?;
                plan = plan.bind(typed)?;
            }
            Ok((plan, session))
        });
        interrupt.guard(planned).await
    }

    /// A planner session over the rows that are visible now: catalog and rows of one moment.
    pub(crate) fn reading_planner(&mut self) -> planner::Session {
        let (catalog, snapshot) = self.moment();
        let view = CatalogView::new(catalog, Some(snapshot), self.system_context());
        self.planner_over(view)
    }

    /// Catalog and rows of one moment.
    pub(crate) fn moment(&self) -> (Arc<Catalog>, Arc<DatabaseSnapshot>) {
        loop {
            let catalog = self.shared.catalog.read();
            let snapshot = self.shared.engine.snapshot();
            // A drop leaves the catalog first, so an unchanged catalog fits the snapshot.
            if Arc::ptr_eq(&catalog, &self.shared.catalog.read()) {
                return (catalog, snapshot);
            }
        }
    }

    /// A block's own changes are not in any snapshot yet.
    pub(crate) fn refuse_changed(&self, plan: &BatchPlan) -> Result<()> {
        let catalog: Arc<Catalog> = self.shared.catalog.read();
        let upstream_changed = |id: u32| {
            self.transaction.has_changed(id)
                || catalog.by_id(id).is_some_and(|entry| {
                    entry
                        .dependencies
                        .iter()
                        .any(|d| self.transaction.has_changed(*d))
                })
        };
        match plan
            .relations()
            .find(|id| id.0 >= FIRST_ID && upstream_changed(id.0))
        {
            None => Ok(()),
            Some(id) => {
                let name = catalog
                    .by_id(id.0)
                    .map_or_else(String::new, |entry| entry.name.clone());
                Err(Error::unsupported(
                    format!(
                        "reading \"{name}\" after this transaction changed it is not supported"
                    ),
                    "COMMIT first: changes of a transaction become visible when it ends.",
                ))
            }
        }
    }
}

/// Brings a parameter to the type that the plan found for it.
fn fit_parameter(
    value: &ScalarValue,
    wanted: &DataType,
    zone: arrow::array::timezone::Tz,
) -> Result<ScalarValue> {
    let column = value.to_array_of_size(1)?;
    let fitted = coerce::to_arrow(&column, wanted, zone)?;
    Ok(ScalarValue::try_from_array(&fitted, 0)?)
}
