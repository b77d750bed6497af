//! Creating, dropping and widening jobs, and starting them again, one at a time, each with its
//! barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use scaling::ExecutorId;
use storage::{CatalogChange, DatabaseSnapshot, crash_point};
use tokio::sync::oneshot;

use super::{
    Backfill, Carried, Conductor, Creation, Failure, Operation, Persisting, Queued, WidenRequest,
};
use crate::error::{Error, Result};
use crate::job::{JobSpec, Placement};
use crate::message::FragmentKey;
use crate::rescale::RescaleState;
use crate::throttle::Throttle;

impl Conductor {
    /// Takes what can begin now.
    pub(super) fn begin_operation(&mut self) {
        while let Some(command) = self.next_to_begin() {
            let begun = match command {
                Queued::Create {
                    spec,
                    catalog,
                    reply,
                } => self.begin_create(*spec, catalog, reply),
                Queued::Drop {
                    jobs,
                    catalog,
                    reply,
                } => self.begin_drop(jobs, catalog, reply),
                Queued::Widen(request) => self.begin_widen(request),
                Queued::Rescale(asked) => {
                    self.begin_rescale(*asked);
                    None
                }
            };
            self.begin(begun);
        }
        if self.operation.is_none() && self.shutdown.is_none() && !self.stopping {
            let begun = self.begin_restart();
            self.begin(begun);
        }
    }

    fn begin(&mut self, begun: Option<Operation>) {
        if let Some(operation) = begun {
            self.operation = Some(operation);
            self.carried.push(Carried::Operation);
        }
    }

    fn begin_create(
        &mut self,
        spec: JobSpec,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    ) -> Option<Operation> {
        let job = spec.id;
        let upstream = spec.upstream_jobs();
        let mut runs = upstream.iter().try_for_each(|job| self.check_runs(*job));
        if self.discarded.contains(&job) {
            // What is stored of it goes with the next checkpoint.
            let (name, reason) = (spec.name.clone(), String::new());
            runs = Err(Error::Restarting { name, reason });
        }
        if let Err(error) = runs {
            let _ = reply.send(Err(error));
            return None;
        }
        self.jobs.place(spec);
        let missing = self.jobs.get(job).and_then(|placed| {
            placed
                .upstream_jobs()
                .into_iter()
                .find(|upstream| self.jobs.get(*upstream).is_none())
        });
        if let Some(missing) = missing {
            self.jobs.remove(job);
            let _ = reply.send(Err(Error::UnknownJob { job: missing }));
            return None;
        }
        self.jobs.connect(job, &mut self.topology);
        crash_point!("create.begun");
        Some(Operation::Create {
            job,
            catalog,
            reply,
        })
    }

    fn begin_drop(
        &mut self,
        jobs: Vec<u32>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    ) -> Option<Operation> {
        let jobs: BTreeSet<u32> = jobs.into_iter().collect();
        let reads = |failure: &&Failure| !failure.spec.upstream_jobs().is_disjoint(&jobs);
        let failed = self.failures.values().filter(reads);
        let mut dependents = failed.map(|failure| failure.spec.id);
        let failed = dependents.find(|job| !jobs.contains(job));
        if let Some(by) = self.jobs.dependents(&jobs).first().copied().or(failed) {
            let _ = reply.send(Err(Error::JobInUse { by }));
            return None;
        }
        self.jobs.disconnect(&jobs, &mut self.topology);
        crash_point!("drop.begun");
        Some(Operation::Drop {
            jobs,
            catalog,
            reply,
        })
    }

    /// Gives up those of these jobs that are being created, their statements with them.
    pub(super) fn cancel_jobs(&mut self, jobs: &[u32]) -> Vec<u32> {
        let mut cancelled = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Create { spec, reply, .. } if jobs.contains(&spec.id) => {
                    cancelled.push(spec.id);
                    let _ = reply.send(Err(Error::Cancelled));
                }
                other => self.queue.push_back(other),
            }
        }
        for backfill in std::mem::take(&mut self.backfills) {
            if !backfill.is_creation() || !jobs.contains(&backfill.job) {
                self.backfills.push(backfill);
                continue;
            }
            cancelled.push(backfill.job);
            self.end_rescales_of(backfill.job, &RescaleState::Cancelled);
            // Nothing of it is durable or known: what runs goes like a job that is dropped.
            let (reply, _) = oneshot::channel();
            self.queue.push_back(Queued::Drop {
                jobs: vec![backfill.job],
                catalog: CatalogChange::default(),
                reply,
            });
            if let Some(creation) = backfill.creation {
                let _ = creation.reply.send(Err(Error::Cancelled));
            }
        }
        cancelled
    }

    /// Changes how fast a job that is being created, or is to be, may read what exists. Of any other
    /// nothing changes.
    pub(super) fn limit_backfill(&mut self, job: u32, limit: Option<u64>) {
        for queued in &mut self.queue {
            if let Queued::Create { spec, .. } = queued
                && spec.id == job
            {
                spec.backfill_rate_limit = limit;
            }
        }
        if let Some(placed) = self.jobs.get_mut(job) {
            placed.spec.backfill_rate_limit = limit;
        }
        let mut backfills = self.backfills.iter();
        if let Some(backfill) = backfills.find(|b| b.job == job && b.is_creation()) {
            backfill.throttle.set(limit);
        }
    }

    /// Whether a job is being dropped, or about to be.
    pub(super) fn is_ending(&self, job: u32) -> bool {
        let of_queue =
            |queued: &Queued| matches!(queued, Queued::Drop { jobs, .. } if jobs.contains(&job));
        let of_operation =
            matches!(&self.operation, Some(Operation::Drop { jobs, .. }) if jobs.contains(&job));
        of_operation || self.queue.iter().any(of_queue)
    }

    fn begin_widen(&mut self, request: WidenRequest) -> Option<Operation> {
        let Some(job) = self.jobs.get(request.job) else {
            let _ = request
                .reply
                .send(Err(Error::UnknownJob { job: request.job }));
            return None;
        };
        let widening = Arc::new(request.widening.clone());
        for executor in job.executors() {
            self.topology.of(executor).widen = Some(Arc::clone(&widening));
        }
        crash_point!("widen.begun");
        Some(Operation::Widen(request))
    }

    /// Carries on with the operation whose barrier has just ended.
    pub(super) async fn continue_operation(&mut self, persisting: &mut Persisting) -> Result<()> {
        match self.operation.take() {
            None => Ok(()),
            Some(Operation::Create {
                job,
                catalog,
                reply,
            }) => {
                crash_point!("create.opened");
                let creation = Creation { catalog, reply };
                self.start_opened(job, Some(creation)).await
            }
            Some(Operation::Restart { job }) => self.start_opened(job, None).await,
            Some(Operation::Drop {
                jobs,
                catalog: _,
                reply,
            }) => {
                crash_point!("drop.stopped");
                for job in jobs {
                    self.forget(job);
                }
                crash_point!("drop.forgotten");
                persisting.replies.push(reply);
                Ok(())
            }
            Some(Operation::Widen(request)) => {
                crash_point!("widen.done");
                let job = self.jobs.get_mut(request.job).expect("it is running");
                let before = std::mem::replace(&mut job.spec.dataflow, request.widening.dataflow);
                persisting.widened = Some((request.job, before));
                persisting.replies.push(request.reply);
                Ok(())
            }
        }
    }

    /// Starts a job whose channels are open since the barrier just ended.
    async fn start_opened(&mut self, job: u32, creation: Option<Creation>) -> Result<()> {
        match self.start_executors(job, creation) {
            Ok(()) => self.replay(job, 0).await,
            Err(error) => self.fail(job, error),
        }
    }

    fn start_executors(&mut self, job: u32, creation: Option<Creation>) -> Result<()> {
        let snapshot = Arc::clone(&self.visible.borrow());
        let placed = self.jobs.get(job).expect("a job being created is placed");
        let upstream = placed.upstream_jobs();
        let pinned: BTreeMap<_, _> = upstream
            .iter()
            .filter_map(|id| Some((*id, Arc::clone(snapshot.tables.get(id)?))))
            .collect();
        let rows_remaining = pinned.values().map(|table| table.rows()).sum();
        // A job that is started again has been waited for long enough.
        let limit = placed
            .spec
            .backfill_rate_limit
            .filter(|_| creation.is_some());
        self.jobs.get_mut(job).expect("placed").pinned = pinned;
        self.backfills.push(Backfill {
            job,
            creation,
            awaits_statement: false,
            rows_remaining,
            rows: rows_remaining,
            since: self.epoch,
            backfilling: Arc::new(AtomicBool::new(true)),
            throttle: Arc::new(Throttle::new(limit)),
        });
        for (key, executor) in self.executors_of(job) {
            let parts = self.parts(key, executor, Vec::new())?;
            self.spawn(parts)?;
        }
        crash_point!("create.started");
        Ok(())
    }

    pub(super) fn executors_of(&self, job: u32) -> Vec<(FragmentKey, ExecutorId)> {
        let job = self.jobs.get(job).expect("placed");
        let of_fragment = |(key, _, placement): (FragmentKey, _, &Placement)| {
            placement
                .executors
                .iter()
                .map(move |&executor| (key, executor))
                .collect::<Vec<_>>()
        };
        job.fragments().flat_map(of_fragment).collect()
    }

    /// Lets go of a job that has ended for good.
    pub(super) fn forget(&mut self, job: u32) {
        self.failures.remove(&job);
        self.restarts.remove(&job);
        self.rebuilding.remove(&job);
        self.backfills.retain(|backfill| backfill.job != job);
        self.unpublish(job);
        let Some(job) = self.jobs.remove(job) else {
            return;
        };
        for executor in job.executors().chain([job.outside]) {
            self.tasks.remove(&executor);
            self.network.remove(executor);
            self.state_sizes.retain(|(of, _), _| *of != executor);
            self.loads.remove(&executor);
        }
        self.writes_applied.remove(&job.spec.id);
        self.shared
            .writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job.spec.id);
    }

    fn unpublish(&mut self, job: u32) {
        let mut snapshot = DatabaseSnapshot::clone(&self.visible.borrow());
        snapshot.tables.remove(&job);
        snapshot.stale.remove(&job);
        self.visible.send_replace(Arc::new(snapshot));
    }
}
