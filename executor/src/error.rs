//! What can go wrong while a job runs, by what the engine can do about it.

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// An error of the executor crate.
///
/// Errors of single rows (a division by zero in a view) are not among them: they are contained where they occur and
/// counted. Each of these ends the job, which is then started again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An Arrow kernel failed on whole batches.
    #[error("columnar computation failed")]
    Arrow(#[from] ArrowError),
    /// DataFusion failed on whole batches, or could not build what the plan asks for.
    #[error("query engine failed")]
    DataFusion(#[from] DataFusionError),
    /// State could not be read, changed or kept.
    #[error("state failed")]
    Storage(#[from] storage::Error),
    /// A socket between executors failed.
    #[error("a socket between executors failed")]
    Socket(#[from] std::io::Error),
    /// The plan asks for something no operator does: planner and executor disagree.
    #[error("plan cannot be executed: {reason}")]
    Plan {
        /// What is not understood.
        reason: String,
    },
    /// An operator produced a batch with another schema than its node has.
    #[error(
        "operator {operator} of fragment {fragment} produced columns {found}, expected {expected}"
    )]
    Schema {
        /// The operator's index in its pipeline.
        operator: usize,
        /// The fragment's index in its job.
        fragment: usize,
        /// The types found.
        found: String,
        /// The types the plan promises.
        expected: String,
    },
    /// The scaling protocol was violated: a bug, or a message that was lost.
    #[error("scaling protocol failed")]
    Protocol(#[from] scaling::ProtocolError),
    /// An executor panicked.
    #[error("an executor panicked: {message}")]
    Panic {
        /// What the panic said.
        message: String,
    },
    /// The engine has been shut down.
    #[error("the engine has stopped")]
    Stopped,
    /// No such job is running.
    #[error("job {job} is not running")]
    UnknownJob {
        /// The id asked for.
        job: u32,
    },
    /// A job cannot be dropped while another one reads it.
    #[error("job {by} reads from it")]
    JobInUse {
        /// The reader.
        by: u32,
    },
    /// A parallelism outside what the key groups allow.
    #[error("parallelism {asked} is not between 1 and {max}")]
    Parallelism {
        /// What was asked for.
        asked: usize,
        /// The number of key groups.
        max: usize,
    },
    /// No executor of the job that could own a key group has this id.
    #[error("executor {executor} does not own key groups of this job")]
    UnknownExecutor {
        /// The id asked for.
        executor: scaling::ExecutorId,
    },
    /// There are fewer key groups.
    #[error("there is no key group {key_group}")]
    UnknownKeyGroup {
        /// The number asked for.
        key_group: scaling::KeyGroup,
    },
    /// No such rescale can be ended.
    #[error("there is no rescale {id} to end")]
    UnknownRescale {
        /// The number asked for.
        id: u64,
    },
    /// The creation of a job was cancelled.
    #[error("canceling statement due to CANCEL JOBS")]
    Cancelled,
    /// A job failed while a statement waited for it.
    #[error("the job failed")]
    JobFailed {
        /// Why it failed.
        #[source]
        cause: Arc<Error>,
    },
    /// What is asked needs a job to run that has failed and is being started again.
    #[error("\"{name}\" is being started again after a failure")]
    Restarting {
        /// The job's name.
        name: String,
        /// Why it failed.
        reason: String,
    },
    /// A log record or a checkpoint could not be written.
    #[error("could not be made durable")]
    Write {
        /// Why, shared by everything that waited for it.
        #[source]
        cause: Arc<Error>,
    },
    /// A source has an option nobody knows, or a value that does not fit.
    #[error("invalid value for option \"{option}\": {reason}")]
    SourceOption {
        /// The option's name as the user wrote it.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
