//! A job that fails alone. It ends with the jobs that read it; everything else goes on, and it is
//! started again.
//!
//! ```text
//!   an executor fails ─► the job and its readers end; the epoch under way goes on without them
//!         ▲                │ back-off, and everything that the job reads runs
//!         │                ▼
//!         └── Starting ─ barrier opens its channels ─► Backfilling ─ rows are whole ─► Settling ─► over
//! ```
//!
//! A view and an index follow from what they read, so they are computed anew, as if they had just
//! been created. Their stored rows go with the first checkpoint after the failure, which also says
//! so (`Checkpoint::rebuilding`): whatever is written until the job is whole is not taken for its
//! rows by a later start. Readers see the rows of the last epoch before the failure all the while
//! (`DatabaseSnapshot::stale`), and the new ones at once.
//!
//! Tables, and views of sources, do not follow from anything that is kept: their failure is one of
//! all jobs (`start`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scaling::{Epoch, ExecutorId};
use storage::{DatabaseSnapshot, TableSnapshot};
use tokio::time::Instant;

use super::{Backfill, Carried, Conductor, Operation, Queued, error_chain};
use crate::engine::JobState;
use crate::error::{Error, Result};
use crate::executor::Collected;
use crate::job::{Job, JobSpec};
use crate::operator::Watermarks;
use crate::rescale::{Phase, RescaleState};
use crate::world;

/// A job that has run for so long after a failure starts its back-off anew.
const STEADY: Duration = Duration::from_secs(60);

/// A job that has failed and does not show its rows of now.
pub(super) struct Failure {
    pub(super) spec: JobSpec,
    /// The epoch that its visible rows are of.
    rows_of: Epoch,
    step: Step,
}

/// How far a job has come since it failed.
enum Step {
    /// It does not run, and is tried again then, or when what it reads runs. `shown` is that time
    /// for people, if it is not now.
    Down {
        until: Instant,
        shown: Option<SystemTime>,
    },
    /// It runs, or a barrier opens its channels.
    Up {
        rows: Arc<TableSnapshot>,
        watermarks: Option<Watermarks>,
        /// When its rows are whole: the first epoch that shows them.
        visible_from: Option<Epoch>,
    },
}

/// What is remembered of a job that has failed, also when it runs again.
pub(super) struct Restarts {
    /// How often it was started again.
    pub(super) count: u64,
    /// Why it failed last.
    pub(super) reason: String,
    /// How long it waits when it fails next.
    delay: Duration,
    /// Since when it has shown its rows again.
    up_since: Instant,
}

impl Failure {
    /// One that is tried again after a time.
    pub(super) fn down(spec: JobSpec, rows_of: Epoch, wait: Duration) -> Failure {
        let step = Step::Down {
            until: world::now() + wait,
            shown: (!wait.is_zero()).then(|| world::wall_clock() + wait),
        };
        Failure {
            spec,
            rows_of,
            step,
        }
    }

    /// Takes an executor's rows, which nobody sees yet.
    pub(super) fn keep_back(&mut self, key_groups: usize, part: &mut Collected) {
        let Step::Up {
            rows, watermarks, ..
        } = &mut self.step
        else {
            return;
        };
        add_rows(Arc::make_mut(rows), key_groups, part);
        if part.watermarks.is_some() {
            watermarks.clone_from(&part.watermarks);
        }
    }

    /// Its rows are whole, and are shown from an epoch on.
    pub(super) fn settle(&mut self, from: Epoch) {
        if let Step::Up { visible_from, .. } = &mut self.step {
            *visible_from = Some(from);
        }
    }

    /// What it is doing; its backfill, if there is one.
    pub(super) fn state(&self, backfill: Option<&Backfill>) -> JobState {
        match (&self.step, backfill) {
            (Step::Down { shown, .. }, _) => JobState::Restarting { next_try: *shown },
            (Step::Up { .. }, Some(backfill)) => JobState::Rebuilding {
                rows_remaining: backfill.rows_remaining,
                rows: backfill.rows,
            },
            (Step::Up { .. }, None) => JobState::Restarting { next_try: None },
        }
    }

    fn is_settling(&self) -> bool {
        matches!(&self.step, Step::Up { visible_from, .. } if visible_from.is_some())
    }

    fn is_shown_at(&self, epoch: Epoch) -> bool {
        matches!(&self.step, Step::Up { visible_from: Some(from), .. } if epoch >= *from)
    }
}

/// Enters the changed key groups of one executor.
pub(super) fn add_rows(table: &mut TableSnapshot, key_groups: usize, part: &mut Collected) {
    table.partitions.resize(key_groups, None);
    for (key_group, rows) in part.snapshots.drain(..) {
        table.partitions[usize::from(key_group.0)] = Some(rows);
    }
}

impl Conductor {
    /// An executor has failed: its job ends alone, with its readers.
    ///
    /// # Errors
    /// With the same error, if it cannot be computed anew: then all jobs have to start again.
    pub(super) fn on_failure(&mut self, executor: ExecutorId, error: Error) -> Result<()> {
        match self.job_of(executor) {
            Some(job) => self.fail(job, error),
            None => Err(error),
        }
    }

    /// As [`Conductor::on_failure`], of a job.
    pub(super) fn fail(&mut self, job: u32, error: Error) -> Result<()> {
        let mut failed = BTreeSet::from([job]);
        failed.extend(self.jobs.dependents(&failed));
        if !self.can_fail_alone(&failed) {
            return Err(error);
        }
        self.end_failed(job, &failed, &Arc::new(error));
        Ok(())
    }

    fn job_of(&self, executor: ExecutorId) -> Option<u32> {
        let placed = self.jobs.by_executor().get(&executor).copied();
        // An executor that ends with the barrier under way is placed no more.
        let retired = || {
            let mut rescales = self.rescales.values();
            let of = rescales.find(|rescale| rescale.retired().any(|e| e == executor));
            of.map(|rescale| rescale.job)
        };
        placed.or_else(retired)
    }

    fn can_fail_alone(&self, failed: &BTreeSet<u32>) -> bool {
        let mut rescales = self.rescales.values();
        let all_stop = self.stopping || rescales.any(|r| r.phase == Phase::Stopping);
        let is_derived = |job: &u32| self.jobs.get(*job).is_some_and(|job| job.spec.is_derived());
        !all_stop && failed.iter().all(is_derived)
    }

    /// Ends the jobs of `failed`, `first` having failed and the others reading it.
    fn end_failed(&mut self, first: u32, failed: &BTreeSet<u32>, cause: &Arc<Error>) {
        let reason = error_chain(&**cause);
        let wait = self.back_off(first, &reason);
        let name = |job: &Job| job.spec.name.clone();
        let name = self.jobs.get(first).map(name).unwrap_or_default();
        tracing::error!(
            job = name,
            reason,
            readers = failed.len() - 1,
            "a job failed"
        );
        let gone = self.executors_with_retired(failed);
        self.jobs.disconnect(failed, &mut self.topology);
        self.topology.forget(failed, &gone);
        self.fail_rescales_of(failed, cause);
        let created = self.fail_creations_of(failed, cause);
        self.end_executors(&gone);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight
                .waiting
                .retain(|executor| !gone.contains(executor));
            in_flight
                .collected
                .retain(|part| !gone.contains(&part.executor));
        }
        self.backfilled.retain(|job| !failed.contains(job));
        let visible = self.visible.borrow().epoch;
        for &job in failed {
            if created.contains(&job) {
                self.forget(job);
                self.discarded.push(job);
                continue;
            }
            let Some(placed) = self.jobs.remove(job) else {
                continue;
            };
            let mut wait = wait;
            if job != first {
                wait = Duration::ZERO;
                let reason = format!("\"{name}\", which it reads, failed");
                self.remember_failure(job, &reason);
            }
            let rows_of = self
                .failures
                .get(&job)
                .map_or(visible, |known| known.rows_of);
            let failure = Failure::down(placed.spec, rows_of, wait);
            self.failures.insert(job, failure);
            self.rebuilding.insert(job);
        }
    }

    /// How long a job waits that has just failed.
    fn back_off(&mut self, job: u32, reason: &str) -> Duration {
        let (first, max) = self.shared.options.job_restart_delay;
        let is_down = self.failures.contains_key(&job);
        let known = self.remember_failure(job, reason);
        if !is_down && world::now() - known.up_since >= STEADY {
            known.delay = first;
        }
        let wait = known.delay;
        known.delay = (wait * 2).min(max);
        wait
    }

    fn remember_failure(&mut self, job: u32, reason: &str) -> &mut Restarts {
        let delay = self.shared.options.job_restart_delay.0;
        let known = self.restarts.entry(job).or_insert_with(|| Restarts {
            count: 0,
            reason: String::new(),
            delay,
            up_since: world::now(),
        });
        reason.clone_into(&mut known.reason);
        known
    }

    /// The executors of some jobs, those that are about to end included.
    fn executors_with_retired(&self, jobs: &BTreeSet<u32>) -> BTreeSet<ExecutorId> {
        let placed = jobs.iter().filter_map(|job| self.jobs.get(*job));
        let placed = placed.flat_map(|job| job.executors().chain([job.outside]));
        let rescales = self.rescales.values();
        let rescales = rescales.filter(|rescale| jobs.contains(&rescale.job));
        placed
            .chain(rescales.flat_map(|rescale| rescale.retired()))
            .collect()
    }

    fn end_executors(&mut self, gone: &BTreeSet<ExecutorId>) {
        for &executor in gone {
            if let Some(task) = self.tasks.remove(&executor) {
                task.abort();
            }
            self.network.close(executor, self.epoch);
            self.loads.remove(&executor);
            self.lateness.remove(&executor);
        }
        self.state_sizes.retain(|(of, _), _| !gone.contains(of));
    }

    fn fail_rescales_of(&mut self, failed: &BTreeSet<u32>, cause: &Arc<Error>) {
        let error = || Error::JobFailed {
            cause: Arc::clone(cause),
        };
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Rescale(asked) if failed.contains(&asked.request.job) => {
                    let mut summary = asked.summary;
                    summary.state = RescaleState::Failed;
                    summary.to = summary.from;
                    self.remember(summary, Vec::new());
                    let _ = asked.request.reply.send(Err(error()));
                }
                other => self.queue.push_back(other),
            }
        }
        let ids: Vec<u64> = self
            .rescales
            .iter()
            .filter(|(_, rescale)| failed.contains(&rescale.job))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.drop_carried(|carried| matches!(carried, Carried::Rescale(of, _) if *of == id));
            if let Some(rescale) = self.rescales.remove(&id) {
                self.fail_rescale(rescale, error());
            }
        }
    }

    /// Gives up creating the jobs of `failed` that are not there yet: which ones.
    fn fail_creations_of(&mut self, failed: &BTreeSet<u32>, cause: &Arc<Error>) -> BTreeSet<u32> {
        let error = || Error::JobFailed {
            cause: Arc::clone(cause),
        };
        let mut created = BTreeSet::new();
        match self.operation.take() {
            Some(Operation::Create { job, reply, .. }) if failed.contains(&job) => {
                self.drop_carried(|carried| *carried == Carried::Operation);
                created.insert(job);
                let _ = reply.send(Err(error()));
            }
            Some(Operation::Restart { job }) if failed.contains(&job) => {
                self.drop_carried(|carried| *carried == Carried::Operation);
            }
            other => self.operation = other,
        }
        for backfill in std::mem::take(&mut self.backfills) {
            if !failed.contains(&backfill.job) {
                self.backfills.push(backfill);
                continue;
            }
            if backfill.is_creation() {
                created.insert(backfill.job);
            }
            if let Some(creation) = backfill.creation {
                let _ = creation.reply.send(Err(error()));
            }
        }
        created
    }

    /// A barrier that is asked for, or under way, is no more for this.
    fn drop_carried(&mut self, is_it: impl Fn(&Carried) -> bool) {
        self.carried.retain(|carried| !is_it(carried));
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.carried.retain(|carried| !is_it(carried));
        }
    }

    /// Starts one job again for which it is time.
    pub(super) fn begin_restart(&mut self) -> Option<Operation> {
        let now = world::now();
        let is_due = |(job, failure): &(&u32, &Failure)| {
            let upstream = failure.spec.upstream_jobs();
            // Where key groups move, channels must not change.
            let moves = self.rescales.values().any(|r| upstream.contains(&r.job));
            let reads =
                |job: &u32| self.jobs.get(*job).is_some() && !self.failures.contains_key(job);
            matches!(failure.step, Step::Down { until, .. } if until <= now)
                && !moves
                && upstream.iter().all(reads)
                && !self.is_ending(**job)
        };
        let job = self.failures.iter().find(is_due).map(|(job, _)| *job)?;
        let failure = self.failures.get_mut(&job)?;
        failure.step = Step::Up {
            rows: Arc::default(),
            watermarks: None,
            visible_from: None,
        };
        self.jobs.place(failure.spec.clone());
        self.jobs.connect(job, &mut self.topology);
        if let Some(known) = self.restarts.get_mut(&job) {
            known.count += 1;
        }
        tracing::info!(job = failure.spec.name, "a job is started again");
        Some(Operation::Restart { job })
    }

    /// Shows the rows of jobs that are whole again, and says which are not.
    pub(super) fn show_restarted(&mut self, snapshot: &mut DatabaseSnapshot) {
        let shown: Vec<u32> = self
            .failures
            .iter()
            .filter(|(_, failure)| failure.is_shown_at(snapshot.epoch))
            .map(|(job, _)| *job)
            .collect();
        for job in shown {
            let Some(failure) = self.failures.remove(&job) else {
                continue;
            };
            let Step::Up {
                rows, watermarks, ..
            } = failure.step
            else {
                continue;
            };
            snapshot.tables.insert(job, rows);
            if let Some(watermarks) = watermarks {
                let watermarks = watermarks.by_column().clone();
                snapshot.watermarks.insert(job, watermarks);
            }
            if let Some(known) = self.restarts.get_mut(&job) {
                known.up_since = world::now();
            }
            tracing::info!(job = failure.spec.name, epoch = %snapshot.epoch, "a job is up to date again");
        }
        let stale = self.failures.iter();
        snapshot.stale = stale
            .map(|(job, failure)| (*job, failure.rows_of))
            .collect();
    }

    /// Whether a job has only an epoch to wait for.
    pub(super) fn is_settling(&self) -> bool {
        let has_failed = |job: &u32| self.failures.contains_key(job);
        self.backfilled.iter().any(has_failed) || self.failures.values().any(Failure::is_settling)
    }

    /// The error of what needs a job to run, if it has failed.
    pub(super) fn check_runs(&self, job: u32) -> Result<()> {
        let Some(failure) = self.failures.get(&job) else {
            return Ok(());
        };
        let reason = self.restarts.get(&job).map(|known| known.reason.clone());
        Err(Error::Restarting {
            name: failure.spec.name.clone(),
            reason: reason.unwrap_or_default(),
        })
    }

    /// All jobs, those that have failed included.
    pub(super) fn all_specs(&self) -> Vec<JobSpec> {
        let failed = self.failures.values().map(|failure| &failure.spec);
        let running = self.jobs.iter().map(|job| &job.spec);
        let all: BTreeMap<u32, &JobSpec> =
            failed.chain(running).map(|spec| (spec.id, spec)).collect();
        all.into_values().cloned().collect()
    }

    /// Everything is about to be started from storage: the jobs that can be, out of all. The others,
    /// whose rows there are not whole, are started again as after a failure.
    pub(super) fn startable(&mut self, specs: Vec<JobSpec>) -> Result<Vec<JobSpec>> {
        let marked = self.shared.storage.rebuilding()?;
        let visible = self.visible.borrow().epoch;
        let mut startable = Vec::new();
        self.rebuilding.clear();
        for spec in specs {
            let id = spec.id;
            let known = self.failures.remove(&id);
            if !marked.contains(&id) {
                startable.push(spec);
                continue;
            }
            if !self.restarts.contains_key(&id) {
                self.remember_failure(id, "the server ended before the job was up to date again");
            }
            let failure = match known {
                Some(down) if matches!(down.step, Step::Down { .. }) => down,
                known => {
                    let rows_of = known.map_or(visible, |known| known.rows_of);
                    Failure::down(spec, rows_of, Duration::ZERO)
                }
            };
            self.failures.insert(id, failure);
            self.rebuilding.insert(id);
        }
        Ok(startable)
    }
}
