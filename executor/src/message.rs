//! What travels between executors, and the changes of topology that a barrier carries.
//!
//! ```text
//!   data lane       Batch, Write, Barrier, Confirm        in order, bounded
//!   migration lane  State, Rerouted, Confirm, Barrier, …  in order, old owner → new owner
//!   control lane    Prepare…, Switch                      overtakes all rows (the priority lane)
//! ```
//!
//! All of it is plain data: executors and channels are named by id, rows and state are Arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::ArrayRef;
use planner::Dataflow;
use scaling::{ChannelId, Epoch, ExecutorId, KeyGroup, Mechanism, Subscale, SubscaleId};
use storage::PartitionState;
use tokio::time::Instant;

use crate::change::ChangeBatch;
use crate::channel::Queued;
use crate::operator::{Barrier, Watermarks};

/// An entry of a data lane.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Changes of rows.
    Batch(ChangeBatch),
    /// A table's write with its sequence number in the write-ahead log; from outside only.
    Write {
        /// Its number in the table's write-ahead log.
        sequence: u64,
        /// The changes.
        batch: ChangeBatch,
    },
    /// The end of an epoch, what changes in the topology there, and what is promised about the
    /// channel's rows of later epochs.
    Barrier(Barrier, Arc<Topology>, Arc<Watermarks>),
    /// On this channel every later row of the subscale's key groups goes to the new owner.
    Confirm(SubscaleId),
}

impl Message {
    /// Whether a confirm barrier may not be put in front of it (`drrs.md` 8.2, the fence rule).
    #[must_use]
    pub(crate) fn is_fence(&self) -> bool {
        matches!(self, Message::Barrier(..))
    }
}

impl Queued for Message {
    const PACED: bool = true;

    fn bytes(&self) -> u64 {
        match self {
            Message::Batch(batch) | Message::Write { batch, .. } => batch.bytes() as u64,
            Message::Barrier(..) | Message::Confirm(_) => 0,
        }
    }
}

/// An entry of a migration channel.
#[derive(Debug)]
pub(crate) enum MigrationMessage {
    /// A key group with all the state tables of its fragment, in their order.
    State {
        /// The subscale that moves it.
        subscale: SubscaleId,
        /// The key group.
        key_group: KeyGroup,
        /// One partition a state table.
        tables: Vec<PartitionState>,
        /// When it left.
        sent: Instant,
    },
    /// Rows that reached the old owner after the key group had left.
    Rerouted {
        /// The subscale that moved their key groups.
        subscale: SubscaleId,
        /// The channel they came by.
        channel: ChannelId,
        /// The rows.
        batch: ChangeBatch,
    },
    /// The confirm barrier of a channel, re-routed behind the rows it follows.
    Confirm {
        /// The subscale it confirms.
        subscale: SubscaleId,
        /// The channel it came by.
        channel: ChannelId,
    },
    /// The end of an epoch on this channel.
    Barrier(Epoch),
    /// Nothing more will come for this subscale.
    Closed(SubscaleId),
}

impl Queued for MigrationMessage {
    fn bytes(&self) -> u64 {
        match self {
            MigrationMessage::State { tables, .. } => {
                tables.iter().map(|table| table.bytes() as u64).sum()
            }
            MigrationMessage::Rerouted { batch, .. } => batch.bytes() as u64,
            MigrationMessage::Confirm { .. }
            | MigrationMessage::Barrier(_)
            | MigrationMessage::Closed(_) => 0,
        }
    }

    /// A key group leaves when the lane has run dry, or when a barrier must not wait: it does not
    /// keep its old owner from reading rows.
    fn credit(&self) -> u64 {
        match self {
            MigrationMessage::State { .. } => 0,
            _ => self.bytes(),
        }
    }
}

/// An entry of the control lane.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    /// The trigger barrier for the new owner.
    PrepareNew(Subscale, Mechanism),
    /// The trigger barrier for the old owner.
    PrepareOld(Subscale, Mechanism),
    /// To the old owner: rows wait for this key group.
    Wanted {
        /// The subscale that moves it.
        subscale: SubscaleId,
        /// What they wait for.
        key_group: KeyGroup,
    },
    /// To a predecessor: route the subscale's key groups to the new owner from here on.
    Switch {
        /// The fragment whose executors are owners.
        fragment: FragmentKey,
        /// What moves.
        subscale: Subscale,
    },
}

impl Queued for Control {
    fn bytes(&self) -> u64 {
        0
    }
}

/// A fragment of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FragmentKey {
    /// The job.
    pub(crate) job: u32,
    /// The fragment's index in the job's dataflow.
    pub(crate) fragment: usize,
}

/// An exchange, named by its receiving end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EdgeKey {
    /// The fragment that receives.
    pub(crate) fragment: FragmentKey,
    /// Which of its inputs.
    pub(crate) input: u16,
}

/// How rows find their executor across an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Routing {
    /// By the hash of these columns.
    Hash(Vec<usize>),
    /// By the key groups that the rows carry.
    Forward,
}

/// An exchange as a sender sees it when it is opened.
#[derive(Debug, Clone)]
pub(crate) struct EdgeSpec {
    /// Its name.
    pub(crate) key: EdgeKey,
    /// How rows are routed.
    pub(crate) routing: Routing,
    /// Who owns each key group of the receiving fragment, by key group.
    pub(crate) owners: Vec<ExecutorId>,
    /// All executors of the receiving fragment; one that owns nothing still gets barriers.
    pub(crate) receivers: Vec<ExecutorId>,
}

/// A table that gets more columns.
#[derive(Debug, Clone)]
pub(crate) struct Widening {
    /// The table's dataflow with them.
    pub(crate) dataflow: Dataflow,
    /// An array of one value for each.
    pub(crate) values: Vec<ArrayRef>,
}

/// What one executor changes about itself, right after it has committed the barrier that says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopologyChange {
    /// Exchanges to open towards new fragments.
    pub(crate) open_edges: Vec<EdgeSpec>,
    /// Exchanges to close, their fragment being dropped.
    pub(crate) close_edges: Vec<EdgeKey>,
    /// Receiving executors added to an exchange; they own nothing yet.
    pub(crate) add_receivers: Vec<(EdgeKey, ExecutorId)>,
    /// Receiving executors that own nothing any more.
    pub(crate) remove_receivers: Vec<(EdgeKey, ExecutorId)>,
    /// Channels from new predecessors.
    pub(crate) open_channels: Vec<ChannelId>,
    /// Channels from predecessors that stop at this barrier.
    pub(crate) close_channels: Vec<ChannelId>,
    /// Migration channels to new owners.
    pub(crate) open_migrations_to: Vec<ExecutorId>,
    /// Migration channels from old owners.
    pub(crate) open_migrations_from: Vec<ExecutorId>,
    /// Migration channels that are done with, as old owner.
    pub(crate) close_migrations_to: Vec<ExecutorId>,
    /// Migration channels that are done with, as new owner.
    pub(crate) close_migrations_from: Vec<ExecutorId>,
    /// Subscales to route to their new owners, this barrier being their signal.
    pub(crate) switch: Vec<(FragmentKey, Subscale)>,
    /// Subscales that come here, this barrier being their signal.
    pub(crate) prepare_new: Vec<(Subscale, Mechanism)>,
    /// Subscales that leave, this barrier being their signal.
    pub(crate) prepare_old: Vec<(Subscale, Mechanism)>,
    /// More columns for the rows here, already in the epoch that the barrier ends.
    pub(crate) widen: Option<Arc<Widening>>,
    /// The job's backfill is complete; what it read from is not needed any more.
    pub(crate) end_backfill: bool,
    /// This executor ends here.
    pub(crate) stop: bool,
}

/// The changes of topology that a barrier carries, by executor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    /// What each executor changes; absent means nothing.
    pub(crate) changes: BTreeMap<ExecutorId, TopologyChange>,
}

impl Topology {
    /// The change of one executor, to be filled in.
    pub(crate) fn of(&mut self, executor: ExecutorId) -> &mut TopologyChange {
        self.changes.entry(executor).or_default()
    }

    /// Takes back all that is said of jobs that have failed: to their executors, which are `gone`,
    /// and to those that send to them.
    pub(crate) fn forget(&mut self, jobs: &BTreeSet<u32>, gone: &BTreeSet<ExecutorId>) {
        self.changes.retain(|executor, _| !gone.contains(executor));
        let stays = |fragment: &FragmentKey| !jobs.contains(&fragment.job);
        for change in self.changes.values_mut() {
            change.open_edges.retain(|edge| stays(&edge.key.fragment));
            change
                .add_receivers
                .retain(|(edge, _)| stays(&edge.fragment));
            change
                .remove_receivers
                .retain(|(edge, _)| stays(&edge.fragment));
            change.switch.retain(|(fragment, _)| stays(fragment));
        }
    }
}
