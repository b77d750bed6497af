//! What an epoch shows when it has ended: its rows to readers, its figures, and what jobs do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use scaling::ExecutorId;
use storage::DatabaseSnapshot;

use super::Conductor;
use super::failures::add_rows;
use crate::engine::{JobState, JobStatus};
use crate::executor::Collected;
use crate::job::{JobSpec, Placement};
use crate::load::{LoadAverage, OperatorStatus, RowCounts, statuses};
use crate::operator::Barrier;

impl Conductor {
    /// Makes the rows of an epoch visible, all at once.
    pub(super) fn publish(
        &mut self,
        barrier: &Barrier,
        owner: &BTreeMap<ExecutorId, u32>,
        collected: &mut [Collected],
    ) {
        let mut snapshot = DatabaseSnapshot::clone(&self.visible.borrow());
        snapshot.epoch = barrier.epoch;
        snapshot.time = barrier.time;
        if std::mem::take(&mut self.republish) {
            let failures = &self.failures;
            snapshot.tables.retain(|job, _| failures.contains_key(job));
        }
        let key_groups = usize::from(self.jobs.key_groups());
        for part in collected {
            let Some(job) = owner.get(&part.executor) else {
                continue;
            };
            if let Some(failure) = self.failures.get_mut(job) {
                failure.keep_back(key_groups, part);
                continue;
            }
            if let Some(watermarks) = &part.watermarks {
                let watermarks = watermarks.by_column().clone();
                snapshot.watermarks.insert(*job, watermarks);
            }
            if part.snapshots.is_empty() && snapshot.tables.contains_key(job) {
                continue;
            }
            let table = snapshot.tables.entry(*job).or_default();
            add_rows(Arc::make_mut(table), key_groups, part);
        }
        self.show_restarted(&mut snapshot);
        let snapshot = Arc::new(snapshot);
        self.visible.send_replace(Arc::clone(&snapshot));
        if let Some(observer) = &self.shared.options.observer {
            observer(&snapshot);
        }
    }

    pub(super) fn take_figures(
        &mut self,
        owner: &BTreeMap<ExecutorId, u32>,
        collected: &mut [Collected],
        duration: Duration,
    ) {
        let mut remaining: BTreeMap<u32, u64> = BTreeMap::new();
        for part in &*collected {
            let Some(&job) = owner.get(&part.executor) else {
                continue;
            };
            *remaining.entry(job).or_default() += part.backfill_remaining;
            if !part.lateness.is_empty() {
                self.lateness.insert(part.executor, part.lateness.clone());
            }
            if let Some(sequence) = part.write_applied {
                self.writes_applied.insert(job, sequence);
            }
        }
        for part in &mut *collected {
            let operators = std::mem::take(&mut part.operators);
            if let Some(job) = self.jobs.get_mut(part.fragment.job) {
                job.count(part.fragment.fragment, &operators);
            }
            let average = self.loads.entry(part.executor).or_default();
            average.add(&part.load, operators);
            let sizes = part.state_sizes.iter();
            self.state_sizes
                .extend(sizes.map(|(&key_group, &size)| ((part.executor, key_group), size)));
        }
        self.barrier_mean = (self.barrier_mean * 9 + duration) / 10;
        for backfill in &mut self.backfills {
            // A job whose executors have not reported yet has everything to do.
            if let Some(&rows) = remaining.get(&backfill.job) {
                backfill.rows_remaining = rows;
            }
        }
        for rescale in self.rescales.values_mut() {
            let job = rescale.job;
            // They are placed no more while their last barrier is under way.
            let retired: BTreeSet<_> = rescale.retired().collect();
            let of_job = collected.iter().filter(|part| {
                owner.get(&part.executor) == Some(&job) || retired.contains(&part.executor)
            });
            rescale.take_figures(duration, of_job);
        }
    }

    /// What the operators of a job do, by fragment and in the order of the plan; nothing of one that
    /// does not run.
    pub(super) fn operators(&self, job: u32) -> Vec<Vec<OperatorStatus>> {
        let Some(job) = self.jobs.get(job) else {
            return Vec::new();
        };
        let of_fragment = |(rows, placement): (&Vec<RowCounts>, &Placement)| {
            let loads = placement.executors.iter().map(|e| self.loads.get(e));
            let executors: Vec<_> = loads.flatten().map(LoadAverage::operators).collect();
            statuses(rows, &executors)
        };
        let fragments = job.operator_rows.iter().zip(&job.placements);
        fragments.map(of_fragment).collect()
    }

    /// Shows what jobs do.
    pub(super) fn publish_status(&self) {
        let status = |spec: &JobSpec| {
            let backfill = self
                .backfills
                .iter()
                .find(|backfill| backfill.job == spec.id);
            let failure = self.failures.get(&spec.id);
            let restarts = self.restarts.get(&spec.id);
            let state = match (failure, backfill, self.rescale_of(spec.id)) {
                _ if self.is_ending(spec.id) => JobState::Ending,
                (Some(failure), backfill, _) => failure.state(backfill),
                (_, Some(backfill), _) => JobState::Backfilling {
                    rows_remaining: backfill.rows_remaining,
                    rows: backfill.rows,
                    rate_limit: backfill.throttle.limit(),
                },
                (_, _, Some(rescale)) => JobState::Rescaling {
                    parallelism: rescale.summary.to,
                },
                (None, None, None) => JobState::Running,
            };
            JobStatus {
                id: spec.id,
                name: spec.name.clone(),
                parallelism: spec.parallelism,
                state,
                restarts: restarts.map_or(0, |known| known.count),
                failure: restarts.map(|known| known.reason.clone()),
            }
        };
        let running = self.jobs.iter().map(|job| &job.spec);
        let failed = self.failures.values().map(|failure| &failure.spec);
        let down = failed.filter(|spec| self.jobs.get(spec.id).is_none());
        let mut jobs: Vec<JobStatus> = running.chain(down).map(status).collect();
        jobs.sort_by_key(|job| job.id);
        *self
            .shared
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = jobs;
    }
}
