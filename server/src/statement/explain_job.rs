//! `EXPLAIN ANALYZE MATERIALIZED VIEW`: what a running job does, operator by operator.
//!
//! ```text
//!   fragment 1
//!     2 executors, busy 12 % (most 20 %), waiting for output 0 %, 5000 rows a second
//!     state: 1024 rows, 96 kB
//!     input 0: …
//!     HashAgg: …  (in 90000 rows, 5000 a second; out 2048 rows, 20 a second; busy 9 % (most 15 %))
//!     …
//!     state: HashAgg groups …: 1024 rows, 96 kB (most 64 kB)
//! ```
//!
//! Rows are those since the job was started, shares and rates averages of some seconds; the state is
//! that of the last epoch. `most` is the executor that has most.

use executor::{ExecutorStatus, Observation, OperatorStatus};
use planner::Dataflow;
use planner::explain::{Figures, explain_with};
use planner::parse::ObjectKind;
use sqlparser::ast::ObjectName;
use storage::StateSize;

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
        let figures = JobFigures {
            job: entry.id,
            observation: self.shared.engine.observe().await?,
            operators: self.shared.engine.operators(entry.id).await?,
        };
        let names = relation_names(&catalog);
        plan_rows(explain_with(&dataflow, &names, &figures))
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

/// What is shown with the plan of a job.
struct JobFigures {
    job: u32,
    observation: Observation,
    /// By fragment and operator; nothing of a job that does not run.
    operators: Vec<Vec<OperatorStatus>>,
}

impl JobFigures {
    fn operator(&self, fragment: usize, operator: usize) -> Option<&OperatorStatus> {
        self.operators.get(fragment)?.get(operator)
    }
}

impl Figures for JobFigures {
    fn of_fragment(&self, fragment: usize) -> Vec<String> {
        let executors = self.observation.executors.iter();
        let executors: Vec<&ExecutorStatus> = executors
            .filter(|executor| executor.job == self.job && executor.fragment == fragment)
            .collect();
        let count = executors.len().max(1) as f64;
        let mean = |share: fn(&ExecutorStatus) -> f64| {
            let shares = executors.iter().map(|executor| share(executor));
            percent(shares.sum::<f64>() / count)
        };
        let shares = executors.iter().map(|executor| executor.busy);
        let most = shares.fold(0.0, f64::max);
        let rate: f64 = executors.iter().map(|executor| executor.row_rate).sum();
        let operators = self.operators.get(fragment).into_iter().flatten();
        let mut state = StateSize::default();
        for table in operators.flat_map(|operator| &operator.tables) {
            state.add(&table.size);
        }
        vec![
            format!(
                "{} executor{}, busy {} (most {}), waiting for output {}, {rate:.0} rows a second",
                executors.len(),
                if executors.len() == 1 { "" } else { "s" },
                mean(|executor| executor.busy),
                percent(most),
                mean(|executor| executor.backpressured),
            ),
            format!("state: {}", size(&state)),
        ]
    }

    fn of_operator(&self, fragment: usize, operator: usize) -> Option<String> {
        let status = self.operator(fragment, operator)?;
        Some(format!(
            "in {} rows, {:.0} a second; out {} rows, {:.0} a second; busy {} (most {})",
            status.rows.input,
            status.input_rate,
            status.rows.output,
            status.output_rate,
            percent(status.busy),
            percent(status.busy_max),
        ))
    }

    fn of_table(&self, fragment: usize, operator: usize, table: usize) -> Option<String> {
        let table = self.operator(fragment, operator)?.tables.get(table)?;
        let most = size_pretty(table.bytes_max.cast_signed());
        Some(format!("{} (most {most})", size(&table.size)))
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn size(state: &StateSize) -> String {
    let on_disk = match state.evicted_bytes {
        0 => String::new(),
        evicted => format!(", {} on disk alone", size_pretty(evicted.cast_signed())),
    };
    let (rows, bytes) = (state.rows, size_pretty(state.bytes.cast_signed()));
    format!("{rows} rows, {bytes}{on_disk}")
}
