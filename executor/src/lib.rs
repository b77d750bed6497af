//! Runs dataflow plans: operators over change batches, and the executors, channels and barriers
//! that drive them.
//!
//! ```text
//!   engine ─► conductor ─► job, rescale, writer      what runs, and when an epoch ends
//!                 │ barriers, control
//!                 ▼
//!   executor ─► pipeline ─► operators, sources       what happens to a row
//!      │ dispatch
//!      ▼
//!   channel                                          the only way from one executor to another
//! ```
//!
//! Start reading at `executor`. Invariants: no operator knows its parallelism or that scaling
//! exists; what outlives a call is in a state table; weights are negative inside an epoch only;
//! topology changes only at a barrier.

pub mod change;
pub mod engine;
pub mod error;
pub mod operator;
pub mod operators;
pub mod pipeline;
pub mod sources;

mod channel;
mod conductor;
mod credit;
mod dispatch;
mod executor;
mod faults;
mod gate;
mod held;
mod job;
mod load;
mod message;
mod rescale;
mod throttle;
mod wal;
mod wire;
mod world;
mod writer;

pub use change::ChangeBatch;
pub use conductor::barriers::{BarrierStatus, BarrierWait};
pub use engine::{
    BatchObserver, Engine, EngineOptions, EpochObserver, ExecutorStatus, HandledBatch, JobState,
    JobStatus, KeyGroupStatus, Observation,
};
pub use error::{Error, Result};
pub use executor::MoveFigures;
pub use faults::{FaultInjector, FaultSite, FaultStep};
pub use job::JobSpec;
pub use load::{KeyGroupLoad, OperatorStatus, RowCounts, TableStatus, Times};
pub use operator::{Barrier, Operator, Output, Watermarks};
pub use operators::{Lateness, RowError};
pub use pipeline::Pipeline;
pub use rescale::{
    CatalogOfParallelism, Placing, RESCALES_KEPT, RescaleOptions, RescalePlan, RescaleProgress,
    RescaleState, RescaleSummary, RescaleTarget, SubscaleState, SubscaleStatus,
};
pub use throttle::Throttle;
