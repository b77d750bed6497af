//! Building executors: for a new job, for a rescale, and all of them from the last checkpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use planner::dataflow::{Fragment, Input, Node, Upstream};
use scaling::{ExecutorId, Migration, Rules};
use storage::{canary, crash_point};
use tokio::sync::mpsc;

use super::{
    Command, Conductor, Creation, Operation, Queued, RESTART_DELAY_MAX, error_chain, wait_for,
};
use crate::channel::Network;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
use crate::executor::{Executor, ExecutorParts};
use crate::job::{Job, JobSpec, Jobs};
use crate::message::{FragmentKey, Message};
use crate::pipeline::{Context, Pipeline};
use crate::wal;
use crate::world;
use crate::writer::{Root, TableWriter};

impl Conductor {
    /// Everything an executor starts with, its operators with empty state.
    pub(super) fn parts(
        &self,
        key: FragmentKey,
        executor: ExecutorId,
        migrations_from: Vec<ExecutorId>,
    ) -> Result<ExecutorParts> {
        let job = self.jobs.get(key.job).expect("placed");
        let fragment = &job.spec.dataflow.fragments[key.fragment];
        self.network.is_outside(job.outside);
        let owned = job.placements[key.fragment].assignment.owned_by(executor);
        let context = self.context(job, fragment);
        let pipeline = Pipeline::build(fragment, key.job, key.fragment, owned.iter(), &context)?;
        let mut dispatcher = Dispatcher::new(executor, Arc::clone(&self.network));
        for edge in self.jobs.edges_from(key) {
            dispatcher.open(edge);
        }
        let mut migration = Migration::new(
            executor,
            self.epoch,
            self.shared.options.release,
            Rules::default(),
        );
        migration.own(&owned);
        Ok(ExecutorParts {
            id: executor,
            network: Arc::clone(&self.network),
            channels: self.jobs.channels_into(key, executor),
            migrations_from,
            dispatcher,
            pipeline,
            paced: has_source(fragment),
            gate: Arc::clone(&self.shared.gate),
            throttle: context.throttle,
            faults: Arc::clone(&self.shared.faults),
            migration,
            reports: self.report_to.clone(),
            fragment: key,
            observer: self.shared.options.batch_observer.clone(),
            scalable: self.shared.options.scalable,
        })
    }

    fn context(&self, job: &Job, fragment: &Fragment) -> Context {
        let pinned = |input: &Input| match input.from {
            Upstream::Relation(id) => job.pinned.get(&id.0).cloned(),
            Upstream::Fragment(_) => None,
        };
        // A job is not complete before the jobs it reads are.
        let incomplete = self
            .backfills
            .iter()
            .find(|backfill| backfill.job == job.spec.id);
        Context {
            key_groups: self.jobs.key_groups(),
            memory: Arc::clone(&self.shared.memory),
            errors: self.shared.row_errors_of(job.spec.id),
            backfilling: incomplete
                .map_or_else(Arc::default, |backfill| Arc::clone(&backfill.backfilling)),
            throttle: incomplete
                .map_or_else(Arc::default, |backfill| Arc::clone(&backfill.throttle)),
            clock: Arc::clone(&self.shared.options.clock),
            nexmark_events: self.shared.options.nexmark_events.clone(),
            snapshots: fragment.inputs.iter().map(pinned).collect(),
            backlogs: job.backlogs.clone(),
            resumable: job.spec.resumable,
        }
    }

    pub(super) fn spawn(&mut self, parts: ExecutorParts) -> Result<()> {
        let id = parts.id;
        let executor = Executor::new(parts)?;
        self.tasks.insert(id, world::spawn(executor.run()));
        Ok(())
    }

    /// Builds all jobs from storage: state of the last checkpoint, then the logged writes. Those of
    /// which nothing whole is stored are started again afterwards.
    pub(super) async fn start(&mut self, specs: Vec<JobSpec>) -> Result<()> {
        let startable = self.startable(specs)?;
        let mut ordered = self.with_inputs(startable);
        ordered.sort_by_key(|spec| spec.id);
        let ids: Vec<u32> = ordered.iter().map(|spec| spec.id).collect();
        for spec in ordered {
            self.jobs.place(spec);
        }
        crash_point!("recovery.placed");
        self.resume(&ids)?;
        let mut applied = BTreeMap::new();
        let mut ready = Vec::new();
        for &job in &ids {
            let loaded = self.load(job, &mut applied)?;
            ready.extend(loaded);
        }
        crash_point!("recovery.loaded");
        // Installed rows are published by their first commit: readers keep what they see until
        // the first epoch, which shows everything anew.
        self.republish = true;
        for parts in ready {
            self.spawn(parts)?;
        }
        crash_point!("recovery.started");
        for &job in &ids {
            self.replay(job, applied.get(&job).copied().unwrap_or(0))
                .await?;
        }
        crash_point!("recovery.replayed");
        Ok(())
    }

    /// The executors of a job with the state that storage has for them.
    fn load(&self, job: u32, applied: &mut BTreeMap<u32, u64>) -> Result<Vec<ExecutorParts>> {
        let mut ready: BTreeMap<ExecutorId, ExecutorParts> = BTreeMap::new();
        for (key, executor) in self.executors_of(job) {
            ready.insert(executor, self.parts(key, executor, Vec::new())?);
        }
        let placed = self.jobs.get(job).expect("placed");
        for (key, fragment, placement) in placed.fragments() {
            let schemas = Pipeline::table_schemas(fragment, key.job, key.fragment)?;
            for (index, schema) in schemas.iter().enumerate() {
                self.shared
                    .storage
                    .load_table(schema, &mut |key_group, state| {
                        let owner = placement.assignment.owner(key_group);
                        let parts = ready.get_mut(&owner).expect("an owner is an executor");
                        let table = &mut parts.pipeline.tables()[index];
                        table.install(key_group, state)?;
                        // Of what there is no room for, disk has the rest.
                        table.relieve()
                    })?;
            }
            for executor in &placement.executors {
                let parts = ready.get_mut(executor).expect("just built");
                if let Some(sequence) = parts.pipeline.last_write()? {
                    applied.insert(job, sequence);
                }
            }
        }
        Ok(ready.into_values().collect())
    }

    /// Sends a table's logged writes again that its last checkpoint does not hold.
    pub(super) async fn replay(&mut self, job: u32, applied: u64) -> Result<()> {
        let running = self.shared.writer(job);
        let Some(root) = self.jobs.get(job).and_then(|placed| {
            let (key, _, placement) = placed
                .fragments()
                .find(|(_, fragment, _)| is_table(fragment))?;
            Some(self.jobs.channels_into(key, placement.executors[0])[0])
        }) else {
            return Ok(());
        };
        // A running writer is kept waiting from before the log is read until it writes to the
        // new root, so that no write is missed and none comes twice.
        let mut guard = match &running {
            Some(writer) => Some(writer.root().await),
            None => None,
        };
        let lane = self.network.sender(root);
        let mut last = applied;
        let mut logged = self.shared.storage.wal_read(job, applied)?;
        if canary!("recovery.replayed") {
            logged.clear();
        }
        for (sequence, record) in logged {
            lane.push(Message::Write {
                sequence,
                batch: wal::decode(&record)?,
            });
            last = sequence;
        }
        let next = Root {
            lane,
            inbox: self.network.inbox(root.from),
            next_sequence: last + 1,
        };
        if let Some(guard) = &mut guard {
            **guard = next;
        } else {
            let writer = TableWriter::start(job, &self.shared, next);
            self.shared
                .writers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(job, writer);
        }
        self.writes_applied.insert(job, applied);
        Ok(())
    }

    /// Ends every executor and starts the known jobs again from the last checkpoint.
    pub(super) async fn restart(&mut self, cause: Error) {
        let mut cause = Arc::new(cause);
        // What it writes is whole; the restart must not read storage while it does.
        if self.checkpoint.is_some() {
            let outcome = wait_for(&mut self.checkpoint).await;
            // The jobs start again in any case.
            let _ = Box::pin(self.answer_checkpoint(outcome.map_err(Arc::new))).await;
        }
        let mut tries = 0;
        loop {
            self.fail_operations(&cause);
            match tries {
                0 => world::sleep(self.restart_delay).await,
                // It may take long, as when the disk is full.
                _ => self.refuse_commands(&cause).await,
            }
            if self.commands.is_closed() {
                return;
            }
            tries += 1;
            self.restart_delay = (self.restart_delay * 2).min(RESTART_DELAY_MAX);
            let specs = self.all_specs();
            tracing::warn!(
                jobs = specs.len(),
                "starting again from the last checkpoint"
            );
            self.jobs = Jobs::new(self.shared.options.key_groups);
            match self.start(specs.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), "the jobs could not be started");
                    self.end_all();
                    self.jobs = Jobs::new(self.shared.options.key_groups);
                    for spec in specs {
                        self.jobs.place(spec);
                    }
                    cause = Arc::new(error);
                }
            }
        }
    }

    /// Waits until the next try, and refuses what is asked for meanwhile.
    async fn refuse_commands(&mut self, cause: &Arc<Error>) {
        let until = world::now() + self.restart_delay;
        let failed = || Error::JobFailed {
            cause: Arc::clone(cause),
        };
        for flush in std::mem::take(&mut self.flushes) {
            let _ = flush.send(Err(failed()));
        }
        while let Ok(Some(command)) = tokio::time::timeout_at(until, self.commands.recv()).await {
            match command {
                Command::Shutdown { reply } => {
                    let _ = reply.send(Err(failed()));
                    self.commands.close();
                    return;
                }
                other => other.refuse(failed()),
            }
        }
        world::sleep(until.saturating_duration_since(world::now())).await;
    }

    /// Ends executors, answers the statements under way, and drops what is not durable.
    fn fail_operations(&mut self, cause: &Arc<Error>) {
        self.end_all();
        self.changed_bytes = 0;
        self.bound_changes();
        let failed = || Error::JobFailed {
            cause: Arc::clone(cause),
        };
        match self.operation.take() {
            Some(Operation::Create {
                job,
                catalog,
                reply,
            }) if self.is_resumable(job) => {
                self.creations.insert(job, Creation { catalog, reply });
            }
            Some(Operation::Create { job, reply, .. }) => {
                self.forget(job);
                let _ = reply.send(Err(failed()));
            }
            Some(Operation::Restart { .. }) => {}
            Some(Operation::Drop {
                jobs,
                catalog,
                reply,
            }) => {
                // Nothing of it has happened; it is tried again.
                let jobs = jobs.into_iter().collect();
                self.queue.push_front(Queued::Drop {
                    jobs,
                    catalog,
                    reply,
                });
            }
            Some(Operation::Widen(request)) => {
                let _ = request.reply.send(Err(failed()));
            }
            None => {}
        }
        self.fail_rescales(failed);
        for backfill in std::mem::take(&mut self.backfills) {
            let Some(creation) = backfill.creation else {
                continue;
            };
            if self.is_resumable(backfill.job) {
                self.creations.insert(backfill.job, creation);
            } else {
                self.forget(backfill.job);
                self.discarded.push(backfill.job);
                let _ = creation.reply.send(Err(failed()));
            }
        }
        self.backfilled.clear();
        (self.topology, self.carried) = Default::default();
        self.stopping = false;
        if let Some(in_flight) = self.in_flight.take() {
            self.flushes.extend(in_flight.flushes);
        }
    }

    pub(super) fn end_all(&mut self) {
        for task in std::mem::take(&mut self.tasks).into_values() {
            task.abort();
        }
        self.network = Arc::new(Network::new(self.shared.options.link_bytes_per_second));
        self.state_sizes.clear();
        self.loads.clear();
        (self.report_to, self.reports) = mpsc::unbounded_channel();
    }
}

/// Whether a fragment is the root of a table.
fn is_table(fragment: &Fragment) -> bool {
    matches!(fragment.root, Node::Dml { .. })
}

/// Whether a fragment generates rows by the clock.
fn has_source(fragment: &Fragment) -> bool {
    fn leaf(node: &Node) -> bool {
        matches!(node, Node::Nexmark { .. }) || node.children().into_iter().any(leaf)
    }
    leaf(&fragment.root)
}
