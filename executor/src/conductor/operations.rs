//! Operations: create, drop and rescale, one at a time, each with its barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use scaling::{CoordinatorAction, CoordinatorEvent, ExecutorId};
use storage::{CatalogChange, DatabaseSnapshot, crash_point};
use tokio::sync::oneshot;

use super::{Backfill, Command, Conductor, Operation, Persisting};
use crate::error::{Error, Result};
use crate::job::{JobSpec, Placement};
use crate::message::{Control, FragmentKey, Topology};
use crate::rescale::{Phase, Rescale, RescaleRequest};
use crate::world;

impl Conductor {
    /// Takes the next operation when none is under way.
    pub(super) fn begin_operation(&mut self) {
        while self.operation.is_none() && self.shutdown.is_none() {
            let Some(command) = self.queue.pop_front() else {
                return;
            };
            let begun = match command {
                Command::Create {
                    spec,
                    catalog,
                    reply,
                } => self.begin_create(*spec, catalog, reply),
                Command::Drop {
                    jobs,
                    catalog,
                    reply,
                } => self.begin_drop(jobs, catalog, reply),
                Command::Rescale(request) => self.begin_rescale(request),
                Command::Flush { .. } | Command::Shutdown { .. } => None,
            };
            if let Some((operation, topology)) = begun {
                self.operation = Some(operation);
                self.topology = Some(topology);
            }
        }
    }

    fn begin_create(
        &mut self,
        spec: JobSpec,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    ) -> Option<(Operation, Topology)> {
        let job = spec.id;
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
        let mut topology = Topology::default();
        self.jobs.connect(job, &mut topology);
        Some((
            Operation::Create {
                job,
                catalog,
                reply,
            },
            topology,
        ))
    }

    fn begin_drop(
        &mut self,
        jobs: Vec<u32>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    ) -> Option<(Operation, Topology)> {
        let jobs: BTreeSet<u32> = jobs.into_iter().collect();
        if let Some(&dependent) = self.jobs.dependents(&jobs).first() {
            let _ = reply.send(Err(Error::JobInUse { by: dependent }));
            return None;
        }
        let mut topology = Topology::default();
        self.jobs.disconnect(&jobs, &mut topology);
        Some((
            Operation::Drop {
                jobs,
                catalog,
                reply,
            },
            topology,
        ))
    }

    fn begin_rescale(&mut self, request: RescaleRequest) -> Option<(Operation, Topology)> {
        let Some(job) = self.jobs.get(request.job) else {
            let _ = request
                .reply
                .send(Err(Error::UnknownJob { job: request.job }));
            return None;
        };
        let max = usize::from(self.jobs.key_groups());
        if request.parallelism == 0 || request.parallelism > max {
            let error = Error::Parallelism {
                asked: request.parallelism,
                max,
            };
            let _ = request.reply.send(Err(error));
            return None;
        }
        debug_assert!(!job.placements.is_empty(), "a job has fragments");
        let mut topology = Topology::default();
        let rescale = Rescale::plan(
            request,
            &mut self.jobs,
            &self.state_bytes,
            &mut self.next_subscale,
            world::now(),
            &mut topology,
        );
        Some((Operation::Rescale(Box::new(rescale)), topology))
    }

    /// Carries on with the operation whose barrier has just ended.
    pub(super) async fn continue_operation(&mut self, persisting: &mut Persisting) -> Result<()> {
        match self.operation.take() {
            None => Ok(()),
            Some(Operation::Create {
                job,
                catalog,
                reply,
            }) => self.start_created(job, catalog, reply).await,
            Some(Operation::Drop {
                jobs,
                catalog: _,
                reply,
            }) => {
                crash_point!("drop.stopped");
                for job in jobs {
                    self.forget(job);
                }
                persisting.replies.push(reply);
                Ok(())
            }
            Some(Operation::Rescale(mut rescale)) => match rescale.phase {
                Phase::Opening => {
                    for (key, executor) in rescale.added.clone() {
                        let parts = self.parts(key, executor, rescale.migrations_to(executor))?;
                        self.spawn(parts)?;
                    }
                    crash_point!("rescale.opened");
                    let mut actions = Vec::new();
                    rescale.start(&self.jobs, &mut actions)?;
                    self.carry_out(&mut rescale, actions);
                    self.operation = Some(Operation::Rescale(rescale));
                    Ok(())
                }
                Phase::Moving => {
                    self.operation = Some(Operation::Rescale(rescale));
                    Ok(())
                }
                Phase::Closing => {
                    for executor in rescale.retired() {
                        self.tasks.remove(&executor);
                        self.network.remove(executor);
                    }
                    for (from, to) in rescale.migrations() {
                        self.network.remove_migration(from, to);
                    }
                    crash_point!("rescale.closed");
                    persisting.rescale = Some(rescale);
                    Ok(())
                }
            },
        }
    }

    /// Starts the executors of a job whose channels are open since the barrier just ended.
    async fn start_created(
        &mut self,
        job: u32,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    ) -> Result<()> {
        crash_point!("create.opened");
        let snapshot = Arc::clone(&self.visible.borrow());
        let placed = self.jobs.get(job).expect("a job being created is placed");
        let upstream = placed.upstream_jobs();
        let pinned: BTreeMap<_, _> = upstream
            .iter()
            .filter_map(|id| Some((*id, Arc::clone(snapshot.tables.get(id)?))))
            .collect();
        let rows_remaining = pinned.values().map(|table| table.rows()).sum();
        self.jobs.get_mut(job).expect("placed").pinned = pinned;
        self.backfills.push(Backfill {
            job,
            catalog,
            reply,
            rows_remaining,
            since: self.epoch,
            backfilling: Arc::new(AtomicBool::new(true)),
        });
        for (key, executor) in self.executors_of(job) {
            let mut parts = self.parts(key, executor, Vec::new())?;
            parts.pipeline.seed()?;
            self.spawn(parts)?;
        }
        self.replay(job, 0).await
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

    pub(super) fn forget(&mut self, job: u32) {
        let Some(job) = self.jobs.remove(job) else {
            return;
        };
        for executor in job.executors().chain([job.outside]) {
            self.tasks.remove(&executor);
            self.network.remove(executor);
            self.state_bytes.retain(|(of, _), _| *of != executor);
        }
        self.writes_applied.remove(&job.spec.id);
        self.shared
            .writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job.spec.id);
        let mut snapshot = DatabaseSnapshot::clone(&self.visible.borrow());
        snapshot.tables.remove(&job.spec.id);
        self.visible.send_replace(Arc::new(snapshot));
    }

    fn carry_out(&mut self, rescale: &mut Rescale, actions: Vec<CoordinatorAction>) {
        for action in actions {
            match action {
                CoordinatorAction::PrepareNew { to, subscale } => {
                    self.network
                        .control_sender(to)
                        .push(Control::PrepareNew(subscale));
                }
                CoordinatorAction::PrepareOld { to, subscale } => {
                    self.network
                        .control_sender(to)
                        .push(Control::PrepareOld(subscale));
                }
                CoordinatorAction::Switch {
                    predecessor,
                    subscale,
                } => {
                    crash_point!("rescale.switching");
                    let fragment = rescale.fragment(subscale.id);
                    let lane = self.network.control_sender(predecessor);
                    lane.push(Control::Switch { fragment, subscale });
                }
                CoordinatorAction::SubscaleDone { subscale } => {
                    rescale.subscale_done(&subscale, &mut self.jobs);
                    crash_point!("rescale.subscale_done");
                }
                CoordinatorAction::Finished => {
                    let mut topology = Topology::default();
                    crash_point!("rescale.moved");
                    rescale.close(&mut self.jobs, &mut topology);
                    self.topology = Some(topology);
                }
            }
        }
    }

    pub(super) fn on_coordinator_event(&mut self, event: CoordinatorEvent) -> Result<()> {
        let Some(Operation::Rescale(mut rescale)) = self.operation.take() else {
            return Err(Error::Plan {
                reason: "a subscale without a rescale".to_owned(),
            });
        };
        let mut actions = Vec::new();
        rescale.step(event, &mut actions)?;
        self.carry_out(&mut rescale, actions);
        self.operation = Some(Operation::Rescale(rescale));
        Ok(())
    }
}
