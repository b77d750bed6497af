//! `EXPLAIN ANALYZE MATERIALIZED VIEW`: what a running job does, fragment by fragment.
//!
//! ```text
//!   fragment 1
//!     2 executors, busy 12 % (most 20 %), waiting for output 0 %, 5000 rows a second
//!     state: 1024 rows, 96 kB
//!     input 0: …
//! ```
//!
//! Shares and rates are averages of some seconds; the state is that of the last checkpoint.

use executor::{ExecutorStatus, KeyGroupStatus, Observation};
use planner::Dataflow;
use planner::parse::ObjectKind;
use sqlparser::ast::ObjectName;

use crate::access::privilege::Privileges;
use crate::big_stack;
use crate::catalog::{Entry, Kind};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::pg_catalog::functions::size_pretty;
use crate::server::{index_dataflow, table_dataflow};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name, relation_names, stored_query, wrong_kind};
use crate::statement::explain::plan_rows;

impl Session {
    pub(crate) async fn explain_job(
        &mut self,
        kind: ObjectKind,
        name: &ObjectName,
    ) -> Result<Outcome> {
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.by_name(&name).cloned();
        let entry = entry.ok_or_else(|| Error::UndefinedObject {
            kind: kind_name(kind),
            name: name.to_string(),
        })?;
        if !is_kind(&entry.kind, kind) {
            return Err(wrong_kind(&entry, kind, "EXPLAIN ANALYZE"));
        }
        self.check_privilege(&entry, Privileges::SELECT)?;
        let dataflow = match &entry.kind {
            Kind::Index(_) => index_dataflow(&entry, &catalog)?,
            Kind::MaterializedView => self.planned_again(&entry).await?,
            _ => table_dataflow(&entry)?,
        };
        let observation = self.shared.engine.observe().await?;
        let names = relation_names(&catalog);
        let figures = |fragment| figures(&observation, entry.id, fragment);
        plan_rows(planner::explain::explain_with(&dataflow, &names, &figures))
    }

    /// The dataflow of a view, which follows from its query.
    async fn planned_again(&mut self, entry: &Entry) -> Result<Dataflow> {
        let stored = stored_query(entry)?;
        let view = CatalogView::new(self.shared.catalog.read(), None, self.system_context());
        let session = self.planner_over(view.read_by(entry));
        let session = session.with_two_phase_agg(entry.two_phase_agg);
        let plan = big_stack::run(move |handle| {
            let plan = planner::plan_view(&session, &stored.query, &stored.columns, stored.emit);
            Ok(handle.block_on(plan)?)
        });
        Ok(plan.await?.dataflow)
    }
}

fn figures(observation: &Observation, job: u32, fragment: usize) -> Vec<String> {
    let executors = observation.executors.iter();
    let executors: Vec<&ExecutorStatus> = executors
        .filter(|executor| executor.job == job && executor.fragment == fragment)
        .collect();
    let state = observation.key_groups.iter();
    let state: Vec<&KeyGroupStatus> = state
        .filter(|group| group.job == job && group.fragment == fragment)
        .collect();
    let count = executors.len().max(1) as f64;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let mean = |share: fn(&ExecutorStatus) -> f64| {
        percent(
            executors
                .iter()
                .map(|executor| share(executor))
                .sum::<f64>()
                / count,
        )
    };
    let most = executors
        .iter()
        .map(|executor| executor.busy)
        .fold(0.0, f64::max);
    let rate: f64 = executors.iter().map(|executor| executor.row_rate).sum();
    let rows: u64 = state.iter().map(|group| group.rows).sum();
    let bytes: u64 = state.iter().map(|group| group.bytes).sum();
    let evicted: u64 = state.iter().map(|group| group.evicted_bytes).sum();
    let on_disk = match evicted {
        0 => String::new(),
        evicted => format!(", {} on disk alone", size_pretty(evicted.cast_signed())),
    };
    vec![
        format!(
            "{} executor{}, busy {} (most {}), waiting for output {}, {rate:.0} rows a second",
            executors.len(),
            if executors.len() == 1 { "" } else { "s" },
            mean(|executor| executor.busy),
            percent(most),
            mean(|executor| executor.backpressured),
        ),
        format!(
            "state: {rows} rows, {}{on_disk}",
            size_pretty(bytes.cast_signed())
        ),
    ]
}
