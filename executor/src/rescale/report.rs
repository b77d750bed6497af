//! What a statement asks of a rescale, and what is told of one: its plan, its progress, its result.

use std::time::{Duration, SystemTime};

use scaling::{ExecutorId, KeyGroup, KeyGroupSet, Strategy, SubscaleId};
use serde::{Deserialize, Serialize};

use crate::executor::MoveFigures;

/// How many rescales that are over are remembered.
pub const RESCALES_KEPT: usize = 1000;

/// Where the key groups of a job shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescaleTarget {
    /// So many executors for each fragment that has inputs.
    Parallelism(usize),
    /// The same executors, one key group at another of them.
    MoveKeyGroup {
        /// The key group.
        key_group: KeyGroup,
        /// An executor of the job; it names the fragment too.
        executor: ExecutorId,
    },
    /// The same executors, key groups moved until none is much busier than the others.
    Rebalance,
}

/// Which key groups each executor shall have when the parallelism changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Placing {
    /// Those that it has, and as few others as make the numbers even.
    #[default]
    LeastMove,
    /// A contiguous range, as Flink places them: most key groups move.
    Ranges,
}

/// How to rescale a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescaleOptions {
    /// Where to.
    pub target: RescaleTarget,
    /// What executors have when it is done, if it changes the parallelism.
    pub placing: Placing,
    /// By which strategy.
    pub strategy: Strategy,
    /// The longest time rows of a key group may wait for its state, if the user says so.
    pub max_pause: Option<Duration>,
    /// Who asks.
    pub by: String,
}

impl RescaleOptions {
    /// DRRS to so many executors.
    #[must_use]
    pub fn to_parallelism(parallelism: usize) -> RescaleOptions {
        RescaleOptions {
            target: RescaleTarget::Parallelism(parallelism),
            placing: Placing::LeastMove,
            strategy: Strategy::Drrs,
            max_pause: None,
            by: String::new(),
        }
    }
}

/// How far a rescale has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RescaleProgress {
    /// The rescale.
    pub id: u64,
    /// Subscales that are done.
    pub subscales_done: usize,
    /// Subscales in all.
    pub subscales: usize,
    /// Key groups that have moved.
    pub key_groups_done: usize,
    /// Key groups that move in all.
    pub key_groups: usize,
}

/// Where a rescale stands, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RescaleState {
    /// Another operation has to end first.
    Queued,
    /// Executors and migration channels are being opened, by a barrier.
    Opening,
    /// Key groups are moving.
    Moving,
    /// The last barrier closes migration channels and ends executors; then it is made durable.
    Closing,
    /// Done.
    Completed,
    /// Ended early by `CANCEL RESCALE`, or a `DROP`; what had moved has moved.
    Cancelled,
    /// Ended early by a later statement about the same job.
    Superseded,
    /// The job failed; it runs again as it was before.
    Failed,
}

impl RescaleState {
    /// Its name in `tide.rescales`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            RescaleState::Queued => "queued",
            RescaleState::Opening => "opening",
            RescaleState::Moving => "moving",
            RescaleState::Closing => "closing",
            RescaleState::Completed => "completed",
            RescaleState::Cancelled => "cancelled",
            RescaleState::Superseded => "superseded",
            RescaleState::Failed => "failed",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            RescaleState::Completed
                | RescaleState::Cancelled
                | RescaleState::Superseded
                | RescaleState::Failed
        )
    }
}

/// What a rescale did, so far or in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescaleSummary {
    /// The rescale.
    pub id: u64,
    /// The job.
    pub job: u32,
    /// Who asked for it.
    pub by: String,
    /// By which strategy.
    #[serde(with = "by_name")]
    pub strategy: Strategy,
    /// When it was asked for.
    pub asked: SystemTime,
    /// Where it stands.
    pub state: RescaleState,
    /// Parallelism before.
    pub from: usize,
    /// Parallelism after; if it ended early, what has been reached.
    pub to: usize,
    /// Subscales in all.
    pub subscales: usize,
    /// Key groups that move in all.
    pub key_groups: usize,
    /// From the statement to the end of the last hand-over.
    pub moved_after: Option<Duration>,
    /// From the statement to the checkpoint that makes it durable.
    pub duration: Option<Duration>,
    /// What moved, over all executors.
    pub moved: MoveFigures,
    /// The longest time from a barrier's start to its end meanwhile.
    pub barrier_max: Duration,
    /// The longest time a key group was on its way, its rows waiting, or a barrier waited for one.
    pub pause_max: Duration,
    /// From opening a subscale to its first hand-over, summed over subscales (drrs.md 8.13).
    pub propagation: Duration,
    /// From opening a subscale to the installing of a key group of it, the mean over key groups.
    pub dependency: Duration,
}

/// Where a subscale stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscaleState {
    /// Not opened yet.
    Waiting,
    /// Opened, and not done.
    Moving,
    /// Done.
    Done,
}

impl SubscaleState {
    /// Its name in `tide.subscales`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SubscaleState::Waiting => "waiting",
            SubscaleState::Moving => "moving",
            SubscaleState::Done => "done",
        }
    }
}

/// A part of a rescale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscaleStatus {
    /// The rescale it is part of.
    pub rescale: u64,
    /// Its name in every message about it.
    pub id: SubscaleId,
    /// The fragment of the job whose state it moves.
    pub fragment: usize,
    /// The executor the key groups leave.
    pub old_owner: ExecutorId,
    /// The executor they go to.
    pub new_owner: ExecutorId,
    /// What moves.
    pub key_groups: KeyGroupSet,
    /// Bytes of their state: as of the last checkpoint, and once it is done as sent.
    pub bytes: u64,
    /// Where it stands.
    pub state: SubscaleState,
    /// From the statement to its opening.
    pub opened_after: Option<Duration>,
    /// From its opening to its end.
    pub took: Option<Duration>,
    /// The longest time a key group of it was on its way.
    pub pause_max: Duration,
}

/// What a rescale would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescalePlan {
    /// Parallelism before.
    pub from: usize,
    /// Parallelism after.
    pub to: usize,
    /// By which strategy.
    pub strategy: Strategy,
    /// Its parts, in the order of their ids.
    pub subscales: Vec<SubscaleStatus>,
    /// Bytes of state that would move.
    pub bytes: u64,
    /// From the statement to the end of the last hand-over.
    pub duration: Duration,
    /// The longest time rows of a key group would wait.
    pub pause: Duration,
}

/// A strategy is written as its name.
mod by_name {
    use scaling::Strategy;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(strategy: &Strategy, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(strategy.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Strategy, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
