//! What an executor tells the conductor: of barriers, of moves, of its end.

use std::collections::BTreeMap;
use std::time::Duration;

use scaling::{Epoch, ExecutorId, KeyGroup, SubscaleId};
use serde::{Deserialize, Serialize};
use storage::{PartitionSnapshot, StateDelta, StateSize};
use tokio::time::Instant;

use crate::error::Error;
use crate::load::{Load, OperatorLoad};
use crate::message::FragmentKey;
use crate::operator::Watermarks;
use crate::operators::Lateness;

/// What an executor tells the conductor.
#[derive(Debug)]
pub(crate) enum Report {
    /// It has committed an epoch and forwarded its barrier.
    Collected(Box<Collected>),
    /// It has acted on a trigger barrier.
    Prepared {
        executor: ExecutorId,
        subscale: SubscaleId,
    },
    /// As new owner, it has all state of a subscale.
    Installed {
        executor: ExecutorId,
        subscale: SubscaleId,
        hand_overs: Vec<HandOver>,
    },
    /// As new owner, it has all of a subscale.
    Done {
        executor: ExecutorId,
        subscale: SubscaleId,
    },
    /// It has ended, and its job with it.
    Failed { executor: ExecutorId, error: Error },
}

impl Report {
    /// Who reports.
    pub(crate) fn executor(&self) -> ExecutorId {
        match self {
            Report::Collected(collected) => collected.executor,
            Report::Prepared { executor, .. }
            | Report::Installed { executor, .. }
            | Report::Done { executor, .. }
            | Report::Failed { executor, .. } => *executor,
        }
    }
}

/// One executor's part of an epoch.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) executor: ExecutorId,
    pub(crate) fragment: FragmentKey,
    pub(crate) epoch: Epoch,
    /// Rows of state changed since the last checkpoint; only at a durable barrier.
    pub(crate) deltas: Vec<StateDelta>,
    /// Visible rows, for each key group that changed.
    pub(crate) snapshots: Vec<(KeyGroup, PartitionSnapshot)>,
    /// Rows of pinned snapshots that are still to come.
    pub(crate) backfill_remaining: u64,
    /// The last write of the table that the epoch holds, at a table's root.
    pub(crate) write_applied: Option<u64>,
    /// The watermarks of the visible rows, where there are any.
    pub(crate) watermarks: Option<Watermarks>,
    /// What the watermarks that are made here have come to.
    pub(crate) lateness: Vec<Lateness>,
    /// The state of each key group, over all tables; only at a durable barrier.
    pub(crate) state_sizes: BTreeMap<KeyGroup, StateSize>,
    /// About how many bytes of state changed since the last checkpoint.
    pub(crate) changed_bytes: usize,
    /// What moving cost since the last report.
    pub(crate) moved: MoveFigures,
    /// Where the time went since the last report.
    pub(crate) load: Load,
    /// What each operator did since the last report, in the order of the plan.
    pub(crate) operators: Vec<OperatorLoad>,
}

/// The way of one key group to its new owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) bytes: u64,
    /// When it left the old owner; its rows wait from here on.
    pub(crate) sent: Instant,
    /// When they went on.
    pub(crate) installed: Instant,
}

/// What moving key groups cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveFigures {
    /// Key groups sent, as old owner.
    pub key_groups: u64,
    /// Bytes of state sent.
    pub state_bytes: u64,
    /// Rows passed on to the new owner after the key group had left.
    pub rows_rerouted: u64,
    /// Rows that waited for the state of their key group.
    pub rows_held: u64,
    /// Rows taken back from the lanes of old owners.
    pub rows_taken_back: u64,
    /// Time executors had input and could take none of it, summed over executors.
    pub suspended: Duration,
    /// The longest time a barrier waited at one executor for state under way to it.
    pub barrier_wait_max: Duration,
}

impl MoveFigures {
    /// Adds the figures of another executor or period.
    pub fn add(&mut self, other: &MoveFigures) {
        self.key_groups += other.key_groups;
        self.state_bytes += other.state_bytes;
        self.rows_rerouted += other.rows_rerouted;
        self.rows_held += other.rows_held;
        self.rows_taken_back += other.rows_taken_back;
        self.suspended += other.suspended;
        self.barrier_wait_max = self.barrier_wait_max.max(other.barrier_wait_max);
    }
}
