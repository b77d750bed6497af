//! What travels in a simulated run: rows, what regular and migration channels carry, what the
//! control plane carries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scaling::{
    ChannelId, CoordinatorEvent, Epoch, Event, ExecutorId, KeyGroup, Subscale, SubscaleId,
};

/// One row. `number` counts the rows of one key group from one predecessor on one input, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) key_group: KeyGroup,
    pub(crate) predecessor: ExecutorId,
    pub(crate) input: u16,
    pub(crate) number: u32,
}

/// The state of one key group: which rows it has seen, by predecessor and input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(pub(crate) BTreeMap<(ExecutorId, u16), Seen>);

/// A set of row numbers: all below `first`, and those `beyond`. Equal sets are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    first: u32,
    beyond: BTreeSet<u32>,
}

impl Seen {
    /// Adds a row; false if it was there.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let new = number >= self.first && self.beyond.insert(number);
        while self.beyond.remove(&self.first) {
            self.first += 1;
        }
        new
    }

    /// Whether these are exactly the first `count` rows.
    pub(crate) fn is_first(&self, count: u32) -> bool {
        self.first == count && self.beyond.is_empty()
    }
}

/// What a regular channel carries.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Batch(Vec<Row>),
    Barrier(Epoch),
    Confirm(SubscaleId),
}

/// What a migration channel carries.
#[derive(Clone, Debug)]
pub(crate) enum Transfer {
    State {
        subscale: SubscaleId,
        key_group: KeyGroup,
        state: State,
    },
    Rows {
        subscale: SubscaleId,
        channel: ChannelId,
        rows: Vec<Row>,
    },
    Confirm {
        subscale: SubscaleId,
        channel: ChannelId,
    },
    Barrier(Epoch),
    Closed(SubscaleId),
}

impl Transfer {
    pub(crate) fn subscale(&self) -> Option<SubscaleId> {
        match self {
            Transfer::State { subscale, .. }
            | Transfer::Rows { subscale, .. }
            | Transfer::Confirm { subscale, .. }
            | Transfer::Closed(subscale) => Some(*subscale),
            Transfer::Barrier(_) => None,
        }
    }
}

/// What the control plane carries, in any order.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Control {
    ToExecutor(ExecutorId, Event),
    Switch(ExecutorId, Subscale),
    ToCoordinator(CoordinatorEvent),
}

/// Whom the choice of a step takes the coordinator for.
const COORDINATOR: ExecutorId = ExecutorId(99);

impl Control {
    pub(crate) fn receiver(&self) -> ExecutorId {
        match self {
            Control::ToExecutor(id, _) | Control::Switch(id, _) => *id,
            Control::ToCoordinator(_) => COORDINATOR,
        }
    }
}

/// Everything that is under way.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) regular: BTreeMap<ChannelId, VecDeque<Data>>,
    pub(crate) migration: BTreeMap<(ExecutorId, ExecutorId), VecDeque<Transfer>>,
    pub(crate) control: Vec<Control>,
}
