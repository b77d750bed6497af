//! SELECT: a DataFusion plan over one snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use planner::{BatchPlan, Origin};
use scaling::Epoch;
use sqlparser::ast::Query;

use crate::big_stack;
use crate::catalog::{Catalog, Kind};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::pg_catalog;
use crate::session::transaction::Moment;
use crate::session::{Parameters, Session};
use crate::statement::coerce;
use crate::statement::rows::Rows;
use crate::wire::column::WireColumn;

/// Columns of a result, as in PostgreSQL (`MaxTupleAttributeNumber`).
const RESULT_COLUMNS_MAX: usize = 1664;

impl Session {
    /// Starts a query of the client.
    ///
    /// # Errors
    /// What planning finds; a table that the open block has changed (0A000).
    pub(crate) async fn select(&mut self, query: &Query, parameters: Parameters) -> Result<Rows> {
        let unlocked;
        let query = match query.locks.is_empty() {
            true => query,
            false => {
                unlocked = self.lock_rows(query).await?;
                &unlocked
            }
        };
        self.see_own_writes().await?;
        if let Some(rows) = self.look_up(query, &parameters).await? {
            return Ok(rows);
        }
        let view = self.present_view();
        self.select_over(view, query, parameters).await
    }

    /// As [`Session::select`], over what is visible.
    pub(crate) async fn select_over(
        &mut self,
        view: CatalogView,
        query: &Query,
        parameters: Parameters,
    ) -> Result<Rows> {
        let stale = view.stale();
        let session = self.planner_over(view);
        let (plan, session) = self.plan_batch(query, session, parameters).await?;
        self.refuse_changed(&plan)?;
        self.warn_of_stale(&plan, &stale);
        self.run_plan(plan, session).await
    }

    /// Starts a planned query.
    pub(crate) async fn run_plan(
        &mut self,
        plan: BatchPlan,
        session: planner::Session,
    ) -> Result<Rows> {
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
        let types = parameters.iter().map(|value| Some(value.data_type()));
        let types = types.collect();
        self.plan_typed(query, session, types, parameters).await
    }

    /// As [`Session::plan_batch`], with types of parameters that have no values yet.
    pub(crate) async fn plan_typed(
        &mut self,
        query: &Query,
        session: planner::Session,
        types: Vec<Option<DataType>>,
        parameters: Parameters,
    ) -> Result<(BatchPlan, planner::Session)> {
        let mut query = query.clone();
        let zone = self.style().zone;
        let interrupt = self.interrupt.clone();
        let catalog = self.shared.catalog.read();
        let planned = big_stack::run(move |_| {
            pg_catalog::rewrite::rewrite(&mut query);
            let mut plan = session.plan_with(&query, &types)?;
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
            Ok((with_declared_types(plan, &catalog), session))
        });
        interrupt.guard(planned).await
    }

    /// A planner session over the rows that are visible now: catalog and rows of one moment.
    pub(crate) fn reading_planner(&mut self) -> planner::Session {
        let view = self.present_view();
        self.planner_over(view)
    }

    /// What is visible now, to this session's open block.
    pub(crate) fn present_view(&mut self) -> CatalogView {
        let (catalog, snapshot) = self.moment();
        CatalogView::new(catalog, Some(snapshot), self.system_context())
            .with_changes(self.transaction.writes())
    }

    /// Catalog and rows of one moment: now, or what the block's first statement read.
    pub(crate) fn moment(&mut self) -> Moment {
        if let Some(moment) = self.transaction.moment() {
            return moment;
        }
        let moment = loop {
            let catalog = self.shared.catalog.read();
            let snapshot = self.shared.engine.snapshot();
            // A drop leaves the catalog first, so an unchanged catalog fits the snapshot.
            if Arc::ptr_eq(&catalog, &self.shared.catalog.read()) {
                break (catalog, snapshot);
            }
        };
        if self.settings().reads_one_epoch() {
            self.transaction.fix_moment(&moment);
        }
        moment
    }

    /// Views that have failed do not show what this session has written since.
    fn warn_of_stale(&mut self, plan: &BatchPlan, stale: &BTreeMap<u32, Epoch>) {
        if stale.is_empty() {
            return;
        }
        let catalog = self.shared.catalog.read();
        let read: BTreeSet<u32> = plan.relations().map(|id| id.0).collect();
        for (id, epoch) in stale.iter().filter(|(id, _)| read.contains(id)) {
            if let Some(entry) = catalog.by_id(*id) {
                self.client.notice(&Notice::Stale {
                    view: entry.name.clone(),
                    epoch: epoch.0,
                });
            }
        }
    }

    /// A block's own changes are not in any view yet.
    pub(crate) fn refuse_changed(&self, plan: &BatchPlan) -> Result<()> {
        let changed = self.transaction.writes().map(|write| write.table).collect();
        let stale = self.shared.catalog.read().dependents(&changed);
        let read: BTreeSet<u32> = plan.relations().map(|id| id.0).collect();
        let view = stale
            .iter()
            .find(|entry| entry.kind == Kind::MaterializedView && read.contains(&entry.id));
        match view {
            None => Ok(()),
            Some(view) => Err(Error::unsupported(
                format!(
                    "reading \"{}\" after this transaction changed what it reads is not supported",
                    view.name
                ),
                "COMMIT first: views follow the changes of a transaction when it ends.",
            )),
        }
    }
}

/// Columns that are columns of a relation are described as they were declared there.
fn with_declared_types(plan: BatchPlan, catalog: &Catalog) -> BatchPlan {
    let metadata = plan.origins().into_iter();
    let metadata = metadata.map(|origin| declared_metadata(origin, catalog));
    let metadata = metadata.collect();
    plan.with_metadata(metadata)
}

/// The same for the columns of a continuous view.
pub(crate) fn declared_schema(
    schema: &Schema,
    origins: &[Option<Origin>],
    catalog: &Catalog,
) -> SchemaRef {
    let fields = schema.fields().iter().zip(origins);
    let fields = fields.map(|(field, origin)| {
        let metadata = declared_metadata(*origin, catalog);
        field.as_ref().clone().with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What a client is told of a column that is one of a relation.
pub(crate) fn declared_metadata(
    origin: Option<Origin>,
    catalog: &Catalog,
) -> HashMap<String, String> {
    let known = origin.and_then(|origin| {
        let (relation, column) = (origin.relation.0, origin.column);
        let described = match catalog.by_id(relation) {
            Some(entry) => WireColumn::of_type(&entry.columns.get(column)?.sql_type),
            None => pg_catalog::wire_column(relation, column)?,
        };
        Some(WireColumn {
            relation,
            number: i16::try_from(column + 1).ok()?,
            ..described
        })
    });
    known.map_or_else(HashMap::new, WireColumn::metadata)
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
