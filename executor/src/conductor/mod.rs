//! The conductor: one task that ends epochs, and changes what runs only at their barriers.
//!
//! ```text
//!   tick, flush, operation ─► inject barrier n at every root
//!   every executor reports n ─► publish the rows of n ─► readers, waiting flushes
//!                          └─► n is durable: one checkpoint, off this task ─► waiting statements
//!
//!   operations, one at a time:  create   barrier opens channels ─► start ─► backfill ─► checkpoint
//!                               restart  the same, of a job that has failed: see `failures`
//!                               drop     barrier stops executors ─► checkpoint without their state
//!   rescales, side by side:     see `rescale` and `rescales`
//! ```
//!
//! One barrier is under way at a time; under a backlog epochs become longer, not more. A job that
//! fails and follows from others ends alone, with its readers (`failures`). Any other failure ends
//! all jobs and starts everything again from the last checkpoint and the write-ahead logs, as after
//! a crash of the process.
//!
//! Not here: placement and channels (`job`), what a barrier does inside an executor
//! (`executor`), the moves of a rescale (`rescale`), what an ended epoch shows (`publish`).

pub(crate) mod barriers;
mod failures;
mod operations;
mod publish;
mod rescales;
mod resume;
mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use planner::Dataflow;
use scaling::{CoordinatorEvent, Epoch, ExecutorId, HandOverSpeed, KeyGroup};
use storage::{CatalogChange, Checkpoint, DatabaseSnapshot, StateSize, crash_point};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::channel::Network;
use crate::engine::{Observation, Shared};
use crate::error::{Error, Result};
use crate::executor::{Collected, Report};
use crate::job::{Job, JobSpec, Jobs, is_root};
use crate::load::{LoadAverage, OperatorStatus};
use crate::message::{Message, Topology, Widening};
use crate::operator::Barrier;
use crate::operators::Lateness;
use crate::rescale::{
    Phase, Rescale, RescaleOptions, RescalePlan, RescaleRequest, RescaleState, RescaleSummary,
};
use crate::throttle::Throttle;
use crate::world;
use barriers::{Patience, Writing};
use failures::{Failure, Restarts};

/// Time before all jobs are started again after a failure, doubled while they go on failing.
const RESTART_DELAY: Duration = Duration::from_millis(50);
/// The longest time between two restarts.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);

/// What handles ask for.
pub(crate) enum Command {
    Create {
        spec: Box<JobSpec>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    },
    Drop {
        jobs: Vec<u32>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    },
    CancelJobs {
        jobs: Vec<u32>,
        reply: oneshot::Sender<Result<Vec<u32>>>,
    },
    LimitBackfill {
        job: u32,
        limit: Option<u64>,
        reply: oneshot::Sender<Result<()>>,
    },
    Widen(WidenRequest),
    Rescale(RescaleRequest),
    CancelRescale {
        id: u64,
        reply: oneshot::Sender<Result<()>>,
    },
    ExplainRescale {
        job: u32,
        options: RescaleOptions,
        reply: oneshot::Sender<Result<RescalePlan>>,
    },
    Observe {
        reply: oneshot::Sender<Result<Observation>>,
    },
    Operators {
        job: u32,
        reply: oneshot::Sender<Result<Vec<Vec<OperatorStatus>>>>,
    },
    Flush {
        reply: oneshot::Sender<Result<Epoch>>,
    },
    Shutdown {
        reply: oneshot::Sender<Result<()>>,
    },
}

impl Command {
    /// Answers it with an error.
    fn refuse(self, error: Error) {
        // Whoever asked may have gone.
        match self {
            Command::Create { reply, .. }
            | Command::Drop { reply, .. }
            | Command::LimitBackfill { reply, .. }
            | Command::CancelRescale { reply, .. }
            | Command::Shutdown { reply } => drop(reply.send(Err(error))),
            Command::CancelJobs { reply, .. } => drop(reply.send(Err(error))),
            Command::Widen(request) => drop(request.reply.send(Err(error))),
            Command::Rescale(request) => drop(request.reply.send(Err(error))),
            Command::ExplainRescale { reply, .. } => drop(reply.send(Err(error))),
            Command::Observe { reply } => drop(reply.send(Err(error))),
            Command::Operators { reply, .. } => drop(reply.send(Err(error))),
            Command::Flush { reply } => drop(reply.send(Err(error))),
        }
    }
}

/// A table to get more columns.
pub(crate) struct WidenRequest {
    pub(crate) job: u32,
    pub(crate) widening: Widening,
    pub(crate) catalog: CatalogChange,
    pub(crate) reply: oneshot::Sender<Result<()>>,
}

/// What waits until it can begin.
enum Queued {
    Create {
        spec: Box<JobSpec>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    },
    Drop {
        jobs: Vec<u32>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    },
    Widen(WidenRequest),
    Rescale(Box<AskedRescale>),
}

/// A rescale that has its number and has not begun.
struct AskedRescale {
    request: RescaleRequest,
    summary: RescaleSummary,
    since: Instant,
}

/// An operation whose barrier has been asked for or is under way.
enum Operation {
    Create {
        job: u32,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    },
    Drop {
        jobs: BTreeSet<u32>,
        catalog: CatalogChange,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Of a job that has failed.
    Restart {
        job: u32,
    },
    Widen(WidenRequest),
}

/// What a barrier's change of topology is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    Operation,
    /// With its phase when it asked for the barrier.
    Rescale(u64, Phase),
}

/// A job that still reads the rows that existed when it was created, or started again.
struct Backfill {
    job: u32,
    /// The statement that waits for it; a job that is started again has none.
    creation: Option<Creation>,
    /// Whether there will be one, and the job is not complete before.
    awaits_statement: bool,
    rows_remaining: u64,
    /// Rows that there were when it began.
    rows: u64,
    /// The barrier that opened its channels; its executors report the later ones.
    since: Epoch,
    /// Cleared before the first barrier that has all of the job's rows in front of it.
    backfilling: Arc<AtomicBool>,
    throttle: Arc<Throttle>,
}

/// A statement that creates a job.
struct Creation {
    catalog: CatalogChange,
    reply: oneshot::Sender<Result<()>>,
}

impl Backfill {
    /// Whether the job is being created, and not started again.
    fn is_creation(&self) -> bool {
        self.creation.is_some() || self.awaits_statement
    }

    fn is_complete(&self) -> bool {
        self.rows_remaining == 0 && !self.awaits_statement
    }
}

/// The barrier under way.
struct InFlight {
    barrier: Barrier,
    /// Whose changes of topology it carries.
    carried: Vec<Carried>,
    /// Whether it is the last one.
    last: bool,
    patience: Patience,
    waiting: BTreeSet<ExecutorId>,
    /// The job of each executor when it began; a rescale may retire some before it ends.
    owner: BTreeMap<ExecutorId, u32>,
    collected: Vec<Collected>,
    flushes: Vec<oneshot::Sender<Result<Epoch>>>,
}

/// Statements that wait for a checkpoint.
#[derive(Default)]
struct Persisting {
    replies: Vec<oneshot::Sender<Result<()>>>,
    rescales: Vec<Rescale>,
    /// Jobs whose creation goes on after a restart, and ends with this checkpoint.
    completed: Vec<u32>,
    /// A table's dataflow before it got more columns.
    widened: Option<(u32, Dataflow)>,
    shutdown: Option<oneshot::Sender<Result<()>>>,
}

/// Ends epochs and changes what runs.
pub(crate) struct Conductor {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    visible: watch::Sender<Arc<DatabaseSnapshot>>,

    network: Arc<Network>,
    reports: mpsc::UnboundedReceiver<Report>,
    report_to: mpsc::UnboundedSender<Report>,
    tasks: BTreeMap<ExecutorId, JoinHandle<()>>,
    jobs: Jobs,

    epoch: Epoch,
    /// The time of that epoch.
    time: i64,
    in_flight: Option<InFlight>,
    next_tick: Instant,
    next_checkpoint: Instant,
    checkpoint: Option<Writing>,
    flushes: Vec<oneshot::Sender<Result<Epoch>>>,
    shutdown: Option<oneshot::Sender<Result<()>>>,

    queue: VecDeque<Queued>,
    operation: Option<Operation>,
    rescales: BTreeMap<u64, Rescale>,
    history: VecDeque<rescales::PastRescale>,
    next_rescale: u64,
    /// A `stop_restart` waits for its checkpoint: no barrier until everything runs again.
    stopping: bool,
    /// What the next barrier carries, and for whom.
    topology: Topology,
    carried: Vec<Carried>,
    backfills: Vec<Backfill>,
    /// Statements that create jobs, while all jobs start again.
    creations: BTreeMap<u32, Creation>,
    /// Jobs that have failed and are not up to date again.
    failures: BTreeMap<u32, Failure>,
    /// Jobs that have failed since the start.
    restarts: BTreeMap<u32, Restarts>,
    /// Jobs whose stored rows are to go with the next checkpoint, which says that they are not whole.
    rebuilding: BTreeSet<u32>,
    /// Jobs that could not be created, of which the next checkpoint leaves nothing.
    discarded: Vec<u32>,
    /// Jobs whose executors can let go of the rows they were backfilled from.
    backfilled: Vec<u32>,
    state_sizes: BTreeMap<(ExecutorId, KeyGroup), StateSize>,
    loads: BTreeMap<ExecutorId, LoadAverage>,
    /// About how many bytes of state changed since the last checkpoint.
    changed_bytes: usize,
    speed: HandOverSpeed,
    /// How long barriers take, an average.
    barrier_mean: Duration,
    writes_applied: BTreeMap<u32, u64>,
    /// What watermarks have come to, by where they are made.
    lateness: BTreeMap<ExecutorId, Vec<Lateness>>,
    next_subscale: u64,
    restart_delay: Duration,
    /// Whether the next epoch shows all rows anew, the executors having been built from storage.
    republish: bool,
}

type Opened = (Conductor, watch::Receiver<Arc<DatabaseSnapshot>>);

impl Conductor {
    /// Builds the jobs from the last checkpoint.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        specs: Vec<JobSpec>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<Opened> {
        let (report_to, reports) = mpsc::unbounded_channel();
        let epoch = first_epoch(shared.storage.committed_epoch());
        let time = shared.storage.committed_time()?;
        let (visible, visible_to_readers) = watch::channel(Arc::new(DatabaseSnapshot {
            epoch,
            time,
            ..DatabaseSnapshot::default()
        }));
        let now = world::now();
        let past: VecDeque<rescales::PastRescale> = shared
            .options
            .past_rescales
            .iter()
            .map(Into::into)
            .collect();
        let mut conductor = Conductor {
            network: Arc::new(Network::new(shared.options.link_bytes_per_second)),
            tasks: BTreeMap::new(),
            jobs: Jobs::new(shared.options.key_groups),
            in_flight: None,
            next_tick: now,
            next_checkpoint: now + shared.options.checkpoint_interval,
            checkpoint: None,
            flushes: Vec::new(),
            shutdown: None,
            queue: VecDeque::new(),
            operation: None,
            rescales: BTreeMap::new(),
            next_rescale: past.back().map_or(1, |past| past.summary.id + 1),
            history: past,
            stopping: false,
            topology: Topology::default(),
            carried: Vec::new(),
            backfills: Vec::new(),
            creations: BTreeMap::new(),
            failures: BTreeMap::new(),
            restarts: BTreeMap::new(),
            rebuilding: BTreeSet::new(),
            discarded: Vec::new(),
            backfilled: Vec::new(),
            state_sizes: BTreeMap::new(),
            loads: BTreeMap::new(),
            changed_bytes: 0,
            speed: HandOverSpeed::default(),
            barrier_mean: Duration::ZERO,
            writes_applied: BTreeMap::new(),
            lateness: BTreeMap::new(),
            next_subscale: 1,
            restart_delay: RESTART_DELAY,
            republish: true,
            shared,
            commands,
            visible,
            reports,
            report_to,
            epoch,
            time,
        };
        conductor.start(specs).await?;
        Ok((conductor, visible_to_readers))
    }

    /// Runs until shut down, or until every handle is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let until_tick = self.next_tick;
            let patience_ends = self.patience_ends();
            // In this order: what has happened before what is asked for.
            tokio::select! {
                biased;
                Some(report) = self.reports.recv() => {
                    let is_collected = matches!(report, Report::Collected(_));
                    self.on_report(report).await;
                    // Most reports are of barriers that others have not reported yet.
                    if is_collected && self.in_flight.is_some() {
                        continue;
                    }
                }
                result = wait_for(&mut self.checkpoint) => self.on_checkpoint(result).await,
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                () = tokio::time::sleep_until(until_tick), if self.in_flight.is_none() => {}
                () = sleep_until(patience_ends) => {
                    self.say_what_is_slow();
                    continue;
                }
            }
            self.begin_operation();
            self.maybe_inject();
            // Without executors there is nobody to wait for.
            if let Err(error) = self.end_epoch().await {
                self.restart(error).await;
            }
            if self.is_shut_down() {
                break;
            }
            self.publish_status();
        }
        self.end_all();
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Flush { reply } => self.flushes.push(reply),
            Command::Shutdown { reply } => {
                crash_point!("shutdown.asked");
                self.shutdown = Some(reply);
            }
            Command::Create {
                spec,
                catalog,
                reply,
            } => self.on_create(*spec, catalog, reply),
            Command::Drop {
                jobs,
                catalog,
                reply,
            } => {
                // A dropped job is not worth moving.
                for &job in &jobs {
                    self.end_rescales_of(job, &RescaleState::Cancelled);
                }
                self.queue.push_back(Queued::Drop {
                    jobs,
                    catalog,
                    reply,
                });
            }
            Command::CancelJobs { jobs, reply } => {
                let _ = reply.send(Ok(self.cancel_jobs(&jobs)));
            }
            Command::LimitBackfill { job, limit, reply } => {
                self.limit_backfill(job, limit);
                let _ = reply.send(Ok(()));
            }
            Command::Widen(request) => self.queue.push_back(Queued::Widen(request)),
            Command::Rescale(request) => self.on_rescale(request),
            Command::CancelRescale { id, reply } => self.on_cancel(id, reply),
            Command::ExplainRescale {
                job,
                options,
                reply,
            } => {
                let _ = reply.send(self.explain(job, &options));
            }
            Command::Observe { reply } => {
                let _ = reply.send(Ok(self.observe()));
            }
            Command::Operators { job, reply } => {
                let _ = reply.send(Ok(self.operators(job)));
            }
        }
    }

    /// Starts the next epoch's end if it is time for it, or somebody waits for it.
    fn maybe_inject(&mut self) {
        if self.in_flight.is_some() || self.stopping {
            return;
        }
        let now = world::now();
        let complete = self.backfills.iter().any(Backfill::is_complete);
        let wanted = now >= self.next_tick
            || !self.flushes.is_empty()
            || !self.carried.is_empty()
            || self.shutdown.is_some()
            || self.is_settling()
            // It becomes durable with the next checkpoint, and the one before may still be written.
            || complete && self.checkpoint.is_none();
        if !wanted {
            return;
        }
        // A drop, a widened table, a finished backfill and a finished rescale answer at a checkpoint. One that
        // is being written has to end first.
        let persists = |carried: &Carried| match carried {
            Carried::Operation => !matches!(
                self.operation,
                Some(Operation::Create { .. } | Operation::Restart { .. })
            ),
            Carried::Rescale(_, phase) => matches!(phase, Phase::Closing | Phase::Stopping),
        };
        let persist = self.carried.iter().any(persists);
        if self.checkpoint.is_some() && (self.shutdown.is_some() || persist) {
            self.next_tick = now + self.shared.options.barrier_interval;
            return;
        }
        let persist = persist || complete || self.shutdown.is_some();
        let durable = self.checkpoint.is_none() && (persist || now >= self.next_checkpoint);
        self.inject(now, durable);
    }

    fn inject(&mut self, now: Instant, durable: bool) {
        crash_point!("epoch.injecting");
        self.epoch = self.epoch.next();
        self.time = self.time.max(self.shared.options.clock.time_of_day());
        let barrier = Barrier {
            epoch: self.epoch,
            durable,
            time: self.time,
        };
        // Their executors have reported that all rows were sent in front of the last barrier.
        for backfill in &self.backfills {
            if backfill.is_complete() && backfill.since.next() < self.epoch {
                backfill.backfilling.store(false, Ordering::Relaxed);
            }
        }
        let mut topology = std::mem::take(&mut self.topology);
        for job in std::mem::take(&mut self.backfilled) {
            if let Some(failure) = self.failures.get_mut(&job) {
                // In the epoch after this one its watermarks have been acted on, too.
                failure.settle(self.epoch.next());
            }
            for executor in self.jobs.get(job).into_iter().flat_map(Job::executors) {
                topology.of(executor).end_backfill = true;
            }
        }
        let topology = Arc::new(topology);
        let waiting: BTreeSet<ExecutorId> = self.tasks.keys().copied().collect();
        let root_lanes = self.shared.root_lanes.lock();
        for (key, fragment, placement) in self.jobs.iter().flat_map(Job::fragments) {
            let root = placement.executors[0];
            if is_root(fragment) && waiting.contains(&root) {
                for channel in self.jobs.channels_into(key, root) {
                    let lane = self.network.sender(channel);
                    let topology = Arc::clone(&topology);
                    lane.push(Message::Barrier(barrier, topology, Arc::default()));
                }
            }
        }
        drop(root_lanes);
        self.next_tick = now + self.shared.options.barrier_interval;
        if durable {
            self.next_checkpoint = now + self.shared.options.checkpoint_interval;
        }
        crash_point!("epoch.injected");
        self.in_flight = Some(InFlight {
            barrier,
            carried: std::mem::take(&mut self.carried),
            last: self.shutdown.is_some(),
            patience: Patience::begin(),
            waiting,
            owner: self.jobs.by_executor(),
            collected: Vec::new(),
            flushes: std::mem::take(&mut self.flushes),
        });
    }

    async fn on_report(&mut self, report: Report) {
        if !self.tasks.contains_key(&report.executor()) {
            // It has failed with its job, and does not know yet.
            return;
        }
        let outcome = match report {
            Report::Collected(collected) => {
                self.collect(*collected);
                Ok(())
            }
            Report::Prepared { executor, subscale } => {
                self.on_subscale(subscale, CoordinatorEvent::Prepared { subscale, executor })
            }
            Report::Installed {
                subscale,
                hand_overs,
                ..
            } => {
                self.on_hand_overs(subscale, &hand_overs);
                self.on_subscale(subscale, CoordinatorEvent::Installed { subscale })
            }
            Report::Done { subscale, .. } => {
                self.on_subscale(subscale, CoordinatorEvent::Done { subscale })
            }
            Report::Failed { executor, error } => {
                tracing::error!(%executor, error = %error_chain(&error), "an executor failed");
                self.on_failure(executor, error)
            }
        };
        let outcome = match outcome {
            Ok(()) => self.end_epoch().await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.restart(error).await;
        }
    }

    fn collect(&mut self, collected: Collected) {
        let in_flight = self
            .in_flight
            .as_mut()
            .expect("executors report the barrier under way");
        assert_eq!(
            collected.epoch, in_flight.barrier.epoch,
            "one barrier is under way at a time"
        );
        in_flight.waiting.remove(&collected.executor);
        in_flight.collected.push(collected);
    }

    /// Publishes the epoch under way once every executor has reported it.
    async fn end_epoch(&mut self) -> Result<()> {
        let Some(in_flight) = self.in_flight.take_if(|epoch| epoch.waiting.is_empty()) else {
            return Ok(());
        };
        crash_point!("epoch.collected");
        self.restart_delay = RESTART_DELAY;
        let duration = world::now() - in_flight.patience.since;
        let InFlight {
            barrier,
            carried,
            last,
            owner,
            mut collected,
            flushes,
            ..
        } = in_flight;
        self.network.passed(barrier.epoch);
        self.publish(&barrier, &owner, &mut collected);
        crash_point!("epoch.published");
        self.take_figures(&owner, &mut collected, duration);
        self.changed_bytes = collected.iter().map(|part| part.changed_bytes).sum();
        for flush in flushes {
            let _ = flush.send(Ok(barrier.epoch));
        }
        crash_point!("epoch.flushed");
        let mut persisting = Persisting::default();
        let mut checkpoint = Checkpoint {
            epoch: barrier.epoch,
            time: barrier.time,
            deltas: collected
                .iter_mut()
                .flat_map(|part| std::mem::take(&mut part.deltas))
                .collect(),
            ..Checkpoint::default()
        };
        for carried in carried {
            self.add_to_checkpoint(carried, &mut checkpoint);
            match carried {
                Carried::Operation => self.continue_operation(&mut persisting).await?,
                Carried::Rescale(id, phase) => {
                    self.continue_rescale(id, phase, &mut persisting)?;
                }
            }
        }
        if barrier.durable {
            self.finish_backfills(&mut checkpoint, &mut persisting);
            checkpoint.rebuilding = std::mem::take(&mut self.rebuilding).into_iter().collect();
            checkpoint.dropped.append(&mut self.discarded);
            checkpoint.wal_applied = self.writes_applied.clone();
            persisting.shutdown = self.shutdown.take_if(|_| last);
            self.write_checkpoint(checkpoint, persisting);
        }
        self.bound_changes();
        Ok(())
    }

    /// What ends with this epoch stores with it.
    fn add_to_checkpoint(&self, carried: Carried, checkpoint: &mut Checkpoint) {
        let changed = match (carried, &self.operation) {
            (Carried::Operation, Some(Operation::Drop { jobs, catalog, .. })) => {
                checkpoint.dropped.extend(jobs.iter().copied());
                catalog.clone()
            }
            (Carried::Operation, Some(Operation::Widen(request))) => request.catalog.clone(),
            (Carried::Operation, _) => return,
            (Carried::Rescale(id, Phase::Closing | Phase::Stopping), _) => {
                match self.rescales.get(&id) {
                    Some(rescale) => (rescale.catalog)(rescale.summary.to),
                    None => return,
                }
            }
            (Carried::Rescale(..), _) => return,
        };
        checkpoint.catalog.puts.extend(changed.puts);
        checkpoint.catalog.deletes.extend(changed.deletes);
    }

    /// Created jobs whose rows are complete become durable, and known, with this checkpoint; those
    /// of jobs that are started again can be started from.
    fn finish_backfills(&mut self, checkpoint: &mut Checkpoint, persisting: &mut Persisting) {
        let (done, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.backfills)
            .into_iter()
            .partition(|backfill| !backfill.backfilling.load(Ordering::Relaxed));
        self.backfills = open;
        for backfill in done {
            crash_point!("create.backfilled");
            backfill.throttle.set(None);
            if let Some(job) = self.jobs.get_mut(backfill.job) {
                job.pinned.clear();
                job.backlogs.clear();
                if std::mem::take(&mut job.spec.resumable) {
                    persisting.completed.push(backfill.job);
                }
                self.backfilled.push(backfill.job);
            }
            let Some(creation) = backfill.creation else {
                checkpoint.rebuilt.push(backfill.job);
                continue;
            };
            checkpoint.catalog.puts.extend(creation.catalog.puts);
            checkpoint.catalog.deletes.extend(creation.catalog.deletes);
            persisting.replies.push(creation.reply);
        }
    }

    /// What changed since the last checkpoint is bounded: too much of it asks for one at once, and
    /// holds input back as long as none can be taken.
    pub(super) fn bound_changes(&mut self) {
        let many = self.changed_bytes >= self.shared.checkpoint_bytes;
        if many && self.checkpoint.is_none() {
            self.next_checkpoint = world::now();
            self.next_tick = self.next_checkpoint;
        }
        let open = !many || self.checkpoint.is_none();
        self.shared.gate.set_open(open);
    }

    fn write_checkpoint(&mut self, checkpoint: Checkpoint, persisting: Persisting) {
        let storage = Arc::clone(&self.shared.storage);
        self.checkpoint = Some(Writing {
            epoch: checkpoint.epoch,
            task: world::spawn_blocking(move || storage.checkpoint(checkpoint)),
            persisting,
            patience: Patience::begin(),
        });
        crash_point!("checkpoint.handed_over");
    }

    async fn on_checkpoint(&mut self, outcome: Result<()>) {
        let outcome = outcome.map_err(Arc::new);
        let restarted = self.answer_checkpoint(outcome.clone()).await;
        self.bound_changes();
        // What waited for this one to be written.
        if !self.carried.is_empty() {
            self.next_tick = world::now();
        }
        if let Err(cause) = outcome {
            self.restart(Error::Write { cause }).await;
        } else if let Err(error) = restarted {
            self.restart(error).await;
        }
    }

    /// Answers the statements that waited for a checkpoint.
    async fn answer_checkpoint(&mut self, outcome: Result<(), Arc<Error>>) -> Result<()> {
        let writing = self.checkpoint.take();
        let mut persisting = writing.expect("a checkpoint was being written").persisting;
        let answer = || outcome.clone().map_err(|cause| Error::Write { cause });
        for reply in persisting.replies {
            let _ = reply.send(answer());
        }
        if let (Err(_), Some((job, dataflow))) = (&outcome, persisting.widened.take())
            && let Some(job) = self.jobs.get_mut(job)
        {
            job.spec.dataflow = dataflow;
        }
        for job in std::mem::take(&mut persisting.completed) {
            if let Some(job) = self.jobs.get_mut(job) {
                // What is stored is not whole yet.
                job.spec.resumable = outcome.is_err();
            }
        }
        let mut restarted = Ok(());
        if outcome.is_ok() {
            restarted = self.restart_rescaled(&mut persisting.rescales).await;
        }
        for rescale in persisting.rescales {
            self.finish_rescale(rescale, answer());
        }
        if let Some(reply) = persisting.shutdown {
            crash_point!("shutdown.persisted");
            let _ = reply.send(answer());
            self.commands.close();
        }
        crash_point!("checkpoint.answered");
        restarted
    }

    fn is_shut_down(&self) -> bool {
        self.commands.is_closed() && self.checkpoint.is_none()
    }
}

/// Where epochs go on after a restart of the process. Epochs after the last checkpoint were
/// visible and are lost: no later one may have the number of one of them.
fn first_epoch(committed: Epoch) -> Epoch {
    /// More epochs than come between two checkpoints.
    const LOST_MAX: u64 = 100_000;
    match committed {
        Epoch(0) => committed,
        Epoch(last) => Epoch((last + LOST_MAX).next_multiple_of(LOST_MAX)),
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn wait_for(checkpoint: &mut Option<Writing>) -> Result<()> {
    match checkpoint {
        Some(writing) => match (&mut writing.task).await {
            Ok(outcome) => Ok(outcome?),
            Err(panic) => Err(Error::Panic {
                message: panic.to_string(),
            }),
        },
        None => std::future::pending().await,
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
