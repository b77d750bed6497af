//! Creating a job goes on when all jobs start again.
//!
//! ```text
//!   checkpoint ─► relation, what the job has passed on of it ─► what is left ─► a backfill as any other
//!        └─► state of the job's operators                                        │
//!   create_job, again ──────────────────────────────────────────────────────► answered when it is whole
//! ```
//!
//! Such a job is started with all others, from the same checkpoint, so it misses no change. Of one that
//! has nothing stored all is left. The statement that waits for it comes later if the process was
//! started anew; until it is there the job is not complete.
//!
//! Not here: what is left of a relation (`operators/passed`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use storage::{CatalogChange, TableId, TableSchema};
use tokio::sync::oneshot;

use super::{Backfill, Conductor, Creation, Queued};
use crate::error::{Error, Result};
use crate::job::JobSpec;
use crate::operators::Backlog;
use crate::pipeline::Pipeline;
use crate::throttle::Throttle;

impl Conductor {
    /// A statement creates a job, or waits for one that is being created already.
    pub(super) fn on_create(
        &mut self,
        spec: JobSpec,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    ) {
        let mut backfills = self.backfills.iter_mut();
        match backfills.find(|backfill| backfill.job == spec.id && backfill.awaits_statement) {
            Some(backfill) => {
                backfill.awaits_statement = false;
                backfill.throttle.set(spec.backfill_rate_limit);
                backfill.creation = Some(Creation { catalog, reply });
            }
            None => self.queue.push_back(Queued::Create {
                spec: Box::new(spec),
                catalog,
                reply,
            }),
        }
    }

    /// Those of some jobs that can be started from storage. One that is being created and reads what
    /// cannot be is left to its statement, and what is stored of it goes.
    pub(super) fn with_inputs(&mut self, mut specs: Vec<JobSpec>) -> Vec<JobSpec> {
        let there: BTreeSet<u32> = specs.iter().map(|spec| spec.id).collect();
        specs.retain(|spec| {
            let has_inputs = spec.upstream_jobs().is_subset(&there);
            if spec.resumable && !has_inputs {
                self.discarded.push(spec.id);
                if let Some(creation) = self.creations.remove(&spec.id) {
                    let (name, reason) = (spec.name.clone(), String::new());
                    let _ = creation.reply.send(Err(Error::Restarting { name, reason }));
                }
            }
            has_inputs || !spec.resumable
        });
        specs
    }

    /// Whether a job is being created, and that goes on when all jobs start again.
    pub(super) fn is_resumable(&self, job: u32) -> bool {
        self.jobs.get(job).is_some_and(|job| job.spec.resumable)
    }

    /// Takes up the backfills of jobs that are being created, all of which are placed.
    pub(super) fn resume(&mut self, jobs: &[u32]) -> Result<()> {
        for &job in jobs {
            let placed = self.jobs.get(job).expect("placed");
            if !placed.spec.resumable {
                continue;
            }
            let backlogs = self.backlogs(job)?;
            let rows = |backlog: &Backlog| backlog.snapshot.rows();
            let rows_remaining = backlogs.values().map(rows).sum();
            let before = backlogs.values().flat_map(|backlog| &backlog.pushed_before);
            let rows_before: u64 = before.sum();
            let limit = placed.spec.backfill_rate_limit;
            let creation = self.creations.remove(&job);
            tracing::info!(
                job = placed.spec.name,
                rows_before,
                rows_remaining,
                "creating a job goes on"
            );
            self.backfills.push(Backfill {
                job,
                awaits_statement: creation.is_none(),
                creation,
                rows_remaining,
                rows: rows_before + rows_remaining,
                since: self.epoch,
                backfilling: Arc::new(AtomicBool::new(true)),
                throttle: Arc::new(Throttle::new(limit)),
            });
            self.jobs.get_mut(job).expect("placed").backlogs = backlogs;
        }
        Ok(())
    }

    /// What a job has left of the relations that it reads, by scan.
    fn backlogs(&self, job: u32) -> Result<BTreeMap<TableId, Backlog>> {
        let placed = self.jobs.get(job).expect("placed");
        let mut backlogs = BTreeMap::new();
        for (key, fragment, _) in placed.fragments() {
            for scan in Pipeline::scans(fragment, key.job, key.fragment)? {
                let relation = self.rows_table(scan.relation)?;
                let (storage, key_groups) = (&self.shared.storage, self.jobs.key_groups());
                let backlog = scan.backlog(storage, &relation, key_groups)?;
                backlogs.insert(scan.progress.id, backlog);
            }
        }
        Ok(backlogs)
    }

    /// The table of the rows of a job that readers see.
    fn rows_table(&self, job: u32) -> Result<TableSchema> {
        let unknown = || Error::UnknownJob { job };
        let placed = self.jobs.get(job).ok_or_else(unknown)?;
        let last = placed.last_fragment();
        let fragment = &placed.spec.dataflow.fragments[last];
        let tables = Pipeline::table_schemas(fragment, job, last)?;
        tables
            .into_iter()
            .find(|table| table.visible)
            .ok_or_else(unknown)
    }
}
