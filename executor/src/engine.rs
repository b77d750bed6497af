//! The engine: a handle on the running dataflows.
//!
//! ```text
//!   create_job, drop_jobs, rescale, flush ─► conductor (one task) ─► barriers, executors
//!   write ─► table writer ─► write-ahead log ─► root of the table
//!   snapshot ◄─ the rows of every table and view at the last visible epoch
//! ```
//!
//! Reads never wait for the dataflow and never block it: a snapshot is a set of shared,
//! immutable partitions, all of one epoch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, RecordBatch};
use planner::Dataflow;
use scaling::{Epoch, ExecutorId, KeyGroup, Release};
use storage::{CatalogChange, DatabaseSnapshot, StateMemory, Storage};
use tokio::sync::{mpsc, oneshot, watch};

use crate::change::ChangeBatch;
use crate::conductor::barriers::BarrierStatus;
use crate::conductor::{Command, Conductor, WidenRequest};
use crate::error::{Error, Result};
use crate::faults::{FaultInjector, Faults};
use crate::gate::Gate;
use crate::job::JobSpec;
use crate::load::OperatorStatus;
use crate::message::Widening;
use crate::operators::{Lateness, RowError, RowErrors};
use crate::rescale::{
    CatalogOfParallelism, RescaleOptions, RescalePlan, RescaleProgress, RescaleRequest,
    RescaleSummary, SubscaleStatus,
};
use crate::sources::{Clock, NexmarkEvents, SystemClock};
use crate::world;
use crate::writer::{TableWrite, TableWriter, write_together};

/// Told of every epoch when it becomes visible, in order. Test harnesses check views there.
pub type EpochObserver = Arc<dyn Fn(&Arc<DatabaseSnapshot>) + Send + Sync>;

/// A batch that an executor has handled.
#[derive(Debug, Clone, Copy)]
pub struct HandledBatch<'a> {
    /// The job.
    pub job: u32,
    /// The fragment of the job.
    pub fragment: usize,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// Its rows, those of a key group side by side.
    pub batch: &'a ChangeBatch,
}

/// Told of every batch that an executor has handled, on the executor's thread. Benchmarks measure
/// there.
pub type BatchObserver = Arc<dyn Fn(HandledBatch<'_>) + Send + Sync>;

/// How an engine runs.
#[derive(Clone)]
pub struct EngineOptions {
    /// Time between two barriers: how fresh views are. Default 100 ms.
    pub barrier_interval: Duration,
    /// Time between two checkpoints: how much is done again after a crash. Default 1 s.
    pub checkpoint_interval: Duration,
    /// Bytes of changed rows at which a checkpoint is taken at once; as long as another one is being
    /// written, input then waits. Default 256 MB; at most a quarter of `state_memory_limit`.
    pub checkpoint_bytes: usize,
    /// Bytes that the state of all jobs may take in memory. Of joins and aggregations, what is more is
    /// on disk alone. With 0, everything that can be is: for tests. Default: no limit.
    pub state_memory_limit: u64,
    /// Key groups of every fragment; fixed for the life of the data directory. Default 256.
    pub key_groups: u16,
    /// Rescales that ended before the start, oldest first: observed as those since, whose numbers
    /// follow theirs.
    pub past_rescales: Vec<RescaleSummary>,
    /// When a held row may be processed. Default: once its key group's state is there.
    pub release: Release,
    /// Sees every visible epoch.
    pub observer: Option<EpochObserver>,
    /// Sees every batch that an executor has handled.
    pub batch_observer: Option<BatchObserver>,
    /// What NEXMark sources give instead of what they would generate: for measuring.
    pub nexmark_events: Option<Arc<NexmarkEvents>>,
    /// If set, every row and state between executors is Arrow-IPC encoded and crosses a loopback
    /// socket, and an executor sends at most so many bytes a second: for measuring what moving
    /// costs between machines. Default: pointers, within the process.
    pub link_bytes_per_second: Option<u64>,
    /// The time of epochs, and that which paces sources. Default: the system's.
    pub clock: Arc<dyn Clock>,
    /// Time before a job that has failed is started again, and the longest such time: it doubles
    /// while the job goes on failing. Default 100 ms and 30 s.
    pub job_restart_delay: (Duration, Duration),
    /// Whether jobs can be rescaled. Default true. If not, executors take the next message of any
    /// channel, without record scheduling, verdicts, hand-overs and measuring loads: what being able
    /// to scale costs is measured against that.
    pub scalable: bool,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            barrier_interval: Duration::from_millis(100),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 256 << 20,
            state_memory_limit: u64::MAX,
            key_groups: scaling::KEY_GROUPS_DEFAULT,
            past_rescales: Vec::new(),
            release: Release::Commutative,
            observer: None,
            batch_observer: None,
            nexmark_events: None,
            link_bytes_per_second: None,
            clock: Arc::new(SystemClock::start()),
            job_restart_delay: (Duration::from_millis(100), Duration::from_secs(30)),
            scalable: true,
        }
    }
}

/// Bytes of changed rows at which a checkpoint is taken at once: they cannot leave memory before one.
fn checkpoint_bytes(options: &EngineOptions) -> usize {
    /// So many are worth a checkpoint, whatever the limit.
    const LEAST: usize = 1 << 20;
    let quarter = usize::try_from(options.state_memory_limit / 4).unwrap_or(usize::MAX);
    options.checkpoint_bytes.min(quarter.max(LEAST))
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("barrier_interval", &self.barrier_interval)
            .field("checkpoint_interval", &self.checkpoint_interval)
            .field("checkpoint_bytes", &self.checkpoint_bytes)
            .field("state_memory_limit", &self.state_memory_limit)
            .field("key_groups", &self.key_groups)
            .field("release", &self.release)
            .field("link_bytes_per_second", &self.link_bytes_per_second)
            .field("job_restart_delay", &self.job_restart_delay)
            .field("scalable", &self.scalable)
            .finish_non_exhaustive()
    }
}

/// A running job, as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Executors of each scalable fragment.
    pub parallelism: usize,
    /// What it is doing.
    pub state: JobState,
    /// How often it was started again after a failure, since the server was started.
    pub restarts: u64,
    /// Why it failed last, if it did since then.
    pub failure: Option<String>,
}

/// What a job is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Keeps its rows up to date.
    Running,
    /// Reads the rows that existed when it was created; so many are left.
    Backfilling {
        /// Rows still to be read.
        rows_remaining: u64,
        /// All rows that there were.
        rows: u64,
        /// How many are read a second, at most.
        rate_limit: Option<u64>,
    },
    /// Has failed, and will be started again: at this time, or when what it reads runs again, or
    /// any moment.
    Restarting {
        /// When it is tried next.
        next_try: Option<SystemTime>,
    },
    /// Has failed, and reads the rows of what it reads anew; so many are left.
    Rebuilding {
        /// Rows still to be read.
        rows_remaining: u64,
        /// All rows that there were.
        rows: u64,
    },
    /// Is dropped, or its creation was cancelled.
    Ending,
    /// Changes its parallelism to this.
    Rescaling {
        /// The target.
        parallelism: usize,
    },
}

/// An executor, as users see it. Shares of time are averages of some seconds, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorStatus {
    /// Its job.
    pub job: u32,
    /// Its fragment of the job.
    pub fragment: usize,
    /// Whether the fragment starts a stream, and cannot be scaled.
    pub is_root: bool,
    /// Its id.
    pub executor: ExecutorId,
    /// Key groups it owns.
    pub key_groups: usize,
    /// Share of the time it handled messages.
    pub busy: f64,
    /// Share of the time it waited for room in an output.
    pub backpressured: f64,
    /// Share of the time it had input and could take none because of a move.
    pub suspended: f64,
    /// Rows handled a second.
    pub row_rate: f64,
}

/// A key group of a fragment, as users see it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyGroupStatus {
    /// The job.
    pub job: u32,
    /// The fragment of the job.
    pub fragment: usize,
    /// The key group.
    pub key_group: KeyGroup,
    /// The executor that owns it.
    pub owner: ExecutorId,
    /// Rows of state, as of the last checkpoint.
    pub rows: u64,
    /// Bytes of state in memory, as of the last checkpoint.
    pub bytes: u64,
    /// Bytes that state took in memory which is on disk alone, as of the last checkpoint.
    pub evicted_bytes: u64,
    /// Share of its owner's time that its rows take.
    pub busy: f64,
    /// Rows a second.
    pub row_rate: f64,
}

/// What is known of executors, key groups and rescales at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// All executors.
    pub executors: Vec<ExecutorStatus>,
    /// All key groups of all fragments.
    pub key_groups: Vec<KeyGroupStatus>,
    /// Rescales, the last thousand, in the order they were asked for.
    pub rescales: Vec<RescaleSummary>,
    /// Parts of those since the start.
    pub subscales: Vec<SubscaleStatus>,
    /// Bytes of all state in memory, about.
    pub state_bytes: u64,
    /// Bytes of rows that wait in channels, and of writes that wait for their turn.
    pub queued_bytes: u64,
    /// By job, what the watermarks that it makes have come to.
    pub lateness: Vec<(u32, Lateness)>,
    /// What the epoch under way, and the checkpoint being written, wait for.
    pub barriers: Vec<BarrierStatus>,
}

/// State shared by the conductor and the handles.
pub(crate) struct Shared {
    pub(crate) storage: Arc<Storage>,
    pub(crate) options: EngineOptions,
    /// The memory that all state tables share.
    pub(crate) memory: Arc<StateMemory>,
    /// Bytes of changed rows at which a checkpoint is taken at once.
    pub(crate) checkpoint_bytes: usize,
    /// What brings rows into the dataflows passes it.
    pub(crate) gate: Arc<Gate>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) writers: Mutex<BTreeMap<u32, TableWriter>>,
    /// Held while a barrier, or what several tables write together, is put into root lanes: the
    /// parts of a write are all in front of a barrier or all behind it.
    pub(crate) root_lanes: Mutex<()>,
    pub(crate) jobs: Mutex<Vec<JobStatus>>,
    /// By job, rows whose expression failed and became NULL, since the start.
    pub(crate) row_errors: Mutex<BTreeMap<u32, RowErrors>>,
}

impl Shared {
    /// Where a job notes rows that failed.
    pub(crate) fn row_errors_of(&self, job: u32) -> RowErrors {
        let of_jobs = self.row_errors.lock();
        let mut of_jobs = of_jobs.unwrap_or_else(PoisonError::into_inner);
        of_jobs.entry(job).or_default().clone()
    }

    pub(crate) fn writer(&self, table: u32) -> Option<TableWriter> {
        self.writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&table)
            .cloned()
    }
}

/// A handle on the running dataflows; clones are handles on the same ones.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    visible: watch::Receiver<Arc<DatabaseSnapshot>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("epoch", &self.visible.borrow().epoch)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the jobs from the last checkpoint in `storage`, and writes that came after it
    /// are applied again; it returns when they are visible.
    ///
    /// # Errors
    /// If the stored state cannot be read or does not fit the jobs.
    pub async fn open(
        storage: Arc<Storage>,
        jobs: Vec<JobSpec>,
        options: EngineOptions,
    ) -> Result<Engine> {
        let limit = options.state_memory_limit;
        let shared = Arc::new(Shared {
            memory: Arc::new(StateMemory::new(Arc::clone(&storage), limit)),
            checkpoint_bytes: checkpoint_bytes(&options),
            storage,
            options,
            gate: Arc::default(),
            faults: Arc::default(),
            writers: Mutex::default(),
            root_lanes: Mutex::default(),
            jobs: Mutex::default(),
            row_errors: Mutex::default(),
        });
        let (commands, received) = mpsc::unbounded_channel();
        let (conductor, visible) = Conductor::open(Arc::clone(&shared), jobs, received).await?;
        world::spawn(conductor.run());
        let engine = Engine {
            shared,
            commands,
            visible,
        };
        engine.flush().await?;
        Ok(engine)
    }

    fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| Error::Stopped)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// Adds a job. It returns when the rows that existed have been read, the result is visible,
    /// and job and `catalog` are durable; a crash before that leaves nothing of it.
    ///
    /// # Errors
    /// If the job cannot be built, or fails while it reads the existing rows;
    /// [`Error::Restarting`] if one that it reads has failed.
    pub async fn create_job(&self, spec: JobSpec, catalog: CatalogChange) -> Result<()> {
        self.ask(|reply| Command::Create {
            spec: Box::new(spec),
            catalog,
            reply,
        })
        .await
    }

    /// Gives up creating jobs, which fail with [`Error::Cancelled`]; which of these were being
    /// created.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn cancel_jobs(&self, jobs: Vec<u32>) -> Result<Vec<u32>> {
        self.ask(|reply| Command::CancelJobs { jobs, reply }).await
    }

    /// Changes how many rows a second a job that is being created reads of those that exist: `None`
    /// as many as it can, 0 none until another limit is set. Of a job that is complete nothing changes.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn limit_backfill(&self, job: u32, limit: Option<u64>) -> Result<()> {
        self.ask(|reply| Command::LimitBackfill { job, limit, reply })
            .await
    }

    /// Ends jobs and deletes their rows; durable, with `catalog`, when it returns. Jobs that
    /// read them must be among them.
    ///
    /// # Errors
    /// If a job that stays reads one of them, or storage fails.
    pub async fn drop_jobs(&self, jobs: Vec<u32>, catalog: CatalogChange) -> Result<()> {
        self.ask(|reply| Command::Drop {
            jobs,
            catalog,
            reply,
        })
        .await
    }

    /// Gives the rows of a table more columns: `dataflow` is the table's with them, `values` has an
    /// array of one value for each. Views go on as they are. Visible and durable, with `catalog`,
    /// when it returns; nobody may write to the table meanwhile.
    ///
    /// # Errors
    /// If the job is not running, or fails meanwhile; nothing has changed then.
    pub async fn widen_table(
        &self,
        table: u32,
        dataflow: Dataflow,
        values: Vec<ArrayRef>,
        catalog: CatalogChange,
    ) -> Result<()> {
        self.ask(|reply| {
            Command::Widen(WidenRequest {
                job: table,
                widening: Widening { dataflow, values },
                catalog,
                reply,
            })
        })
        .await
    }

    /// Moves key groups of a job while it runs; durable, with `catalog` of the parallelism then
    /// reached, when it returns. It goes on if the caller stops waiting. A later one about the same
    /// job ends it early, as [`Engine::cancel_rescale`] does; [`RescaleSummary::state`] says so.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::UnknownExecutor`], [`Error::UnknownKeyGroup`];
    /// [`Error::Parallelism`] if it is not within 1 and the number of key groups;
    /// [`Error::Restarting`] if the job has failed, [`Error::JobFailed`] if it does meanwhile.
    pub async fn rescale(
        &self,
        job: u32,
        options: RescaleOptions,
        catalog: CatalogOfParallelism,
        progress: mpsc::UnboundedSender<RescaleProgress>,
    ) -> Result<RescaleSummary> {
        self.ask(|reply| {
            Command::Rescale(RescaleRequest {
                job,
                options,
                catalog,
                progress,
                reply,
            })
        })
        .await
    }

    /// Ends a rescale early: what has moved has moved.
    ///
    /// # Errors
    /// [`Error::UnknownRescale`] if it is over, or closing.
    pub async fn cancel_rescale(&self, id: u64) -> Result<()> {
        self.ask(|reply| Command::CancelRescale { id, reply }).await
    }

    /// What a rescale would do, estimated from measured state and speeds.
    ///
    /// # Errors
    /// As [`Engine::rescale`].
    pub async fn explain_rescale(&self, job: u32, options: RescaleOptions) -> Result<RescalePlan> {
        self.ask(|reply| Command::ExplainRescale {
            job,
            options,
            reply,
        })
        .await
    }

    /// Executors, key groups and rescales.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn observe(&self) -> Result<Observation> {
        self.ask(|reply| Command::Observe { reply }).await
    }

    /// What the operators of a job do: by fragment, and there in the order of the plan, each operator
    /// in front of those that it reads from. Nothing of a job that does not run.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn operators(&self, job: u32) -> Result<Vec<Vec<OperatorStatus>>> {
        self.ask(|reply| Command::Operators { job, reply }).await
    }

    /// Writes changes to a table: rows of the table's columns, with a weight each. Durable, and
    /// on its way to the views, when it returns; a [`flush`](Engine::flush) makes it visible. However
    /// many rows they are, a crash leaves all of them or none, and they belong to one epoch.
    ///
    /// # Errors
    /// If the job is not a running table, or the log cannot be written.
    pub async fn write(&self, table: u32, batch: RecordBatch, weights: Vec<i64>) -> Result<()> {
        let writer = self
            .shared
            .writer(table)
            .ok_or(Error::UnknownJob { job: table })?;
        writer
            .write(ChangeBatch::unkeyed(batch, Some(weights.into())))
            .await
    }

    /// Writes changes to several tables, as [`write`](Engine::write) does to one: a crash leaves
    /// all of them or none, and they belong to one epoch.
    ///
    /// # Errors
    /// As [`write`](Engine::write); nothing is written then.
    pub async fn write_all(&self, changes: BTreeMap<u32, (RecordBatch, Vec<i64>)>) -> Result<()> {
        let mut writes = Vec::with_capacity(changes.len());
        for (table, (rows, weights)) in changes {
            let writer = self.shared.writer(table);
            let writer = writer.ok_or(Error::UnknownJob { job: table })?;
            let batch = ChangeBatch::unkeyed(rows, Some(weights.into()));
            writes.push(TableWrite {
                table,
                writer,
                batch,
            });
        }
        write_together(Arc::clone(&self.shared), writes).await
    }

    /// Ends the epoch now. Everything written before is visible when it returns.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub async fn flush(&self) -> Result<Epoch> {
        self.ask(|reply| Command::Flush { reply }).await
    }

    /// The rows of all tables and views at the last visible epoch.
    #[must_use]
    pub fn snapshot(&self) -> Arc<DatabaseSnapshot> {
        Arc::clone(&self.visible.borrow())
    }

    /// The visible epochs as they come; a slow reader misses some. Closed when the engine stops.
    #[must_use]
    pub fn epochs(&self) -> watch::Receiver<Arc<DatabaseSnapshot>> {
        self.visible.clone()
    }

    /// All jobs, by id.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.shared
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// By job, rows on which an expression failed and became NULL, since the start.
    #[must_use]
    pub fn row_errors(&self) -> Vec<(u32, RowError)> {
        let of_jobs = self.shared.row_errors.lock();
        let of_jobs = of_jobs.unwrap_or_else(PoisonError::into_inner);
        let kinds = |(job, errors): (&u32, &RowErrors)| {
            let job = *job;
            errors.kinds().into_iter().map(move |kind| (job, kind))
        };
        of_jobs.iter().flat_map(kinds).collect()
    }

    /// Lets executors fail where `injector` says so, from now on: for tests. Release builds ignore
    /// it.
    pub fn inject_faults(&self, injector: Option<FaultInjector>) {
        self.shared.faults.inject(injector);
    }

    /// Takes a last checkpoint and ends every executor.
    ///
    /// # Errors
    /// If the checkpoint cannot be written; nothing acknowledged is lost even so.
    pub async fn shutdown(&self) -> Result<()> {
        self.ask(|reply| Command::Shutdown { reply }).await
    }
}
