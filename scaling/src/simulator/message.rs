//! What travels: rows, what regular and migration channels carry, what the control path carries.

use crate::{ChannelId, CoordinatorEvent, Epoch, Event, KeyGroup, Subscale, SubscaleId};

/// Some rows of one key group from one predecessor that came to exist together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) key_group: KeyGroup,
    pub(super) count: u32,
    /// The portion of the predecessor's input they came with.
    pub(super) portion: u32,
    /// Number of the first among all rows of the key group from this predecessor.
    pub(super) first: u32,
}

pub(super) fn count(rows: &[Rows]) -> u64 {
    rows.iter().map(|rows| u64::from(rows.count)).sum()
}

/// What a regular channel carries.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Batch(Vec<Rows>),
    Barrier(Epoch),
    Confirm(SubscaleId),
}

impl Data {
    pub(super) fn rows(&self) -> u64 {
        match self {
            Data::Batch(rows) => count(rows),
            Data::Barrier(_) | Data::Confirm(_) => 0,
        }
    }
}

/// The state of one key group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Rows it has seen.
    pub(super) rows: u64,
    /// Which ones, by predecessor, if the run is checked.
    pub(super) seen: Vec<Seen>,
}

/// A set of row numbers: all below `below`, and the ranges `beyond`, ascending and apart. Equal
/// sets are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    below: u32,
    beyond: Vec<(u32, u32)>,
}

impl Seen {
    /// Adds the numbers `first..first + count`; false if one of them was there.
    pub(super) fn insert(&mut self, first: u32, count: u32) -> bool {
        let end = first + count;
        let at = self.beyond.partition_point(|(_, other)| *other <= first);
        let apart = self.beyond.get(at).is_none_or(|(other, _)| end <= *other);
        if first < self.below || !apart {
            return false;
        }
        self.beyond.insert(at, (first, end));
        if at + 1 < self.beyond.len() && self.beyond[at + 1].0 == end {
            self.beyond[at].1 = self.beyond.remove(at + 1).1;
        }
        if at > 0 && self.beyond[at - 1].1 == first {
            self.beyond[at - 1].1 = self.beyond.remove(at).1;
        }
        if self.beyond[0].0 == self.below {
            self.below = self.beyond.remove(0).1;
        }
        true
    }

    /// Whether these are exactly the first `count` rows.
    pub(super) fn is_first(&self, count: u32) -> bool {
        self.below == count && self.beyond.is_empty()
    }
}

/// What a migration channel carries.
#[derive(Clone, Debug)]
pub(super) enum Transfer {
    State {
        subscale: SubscaleId,
        key_group: KeyGroup,
        state: State,
    },
    Rows {
        subscale: SubscaleId,
        channel: ChannelId,
        rows: Vec<Rows>,
    },
    Confirm {
        subscale: SubscaleId,
        channel: ChannelId,
    },
    Barrier(Epoch),
    Closed(SubscaleId),
}

impl Transfer {
    pub(super) fn subscale(&self) -> Option<SubscaleId> {
        match self {
            Transfer::State { subscale, .. }
            | Transfer::Rows { subscale, .. }
            | Transfer::Confirm { subscale, .. }
            | Transfer::Closed(subscale) => Some(*subscale),
            Transfer::Barrier(_) => None,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        match self {
            Transfer::Rows { rows, .. } => count(rows),
            _ => 0,
        }
    }
}

/// What the control path carries.
#[derive(Clone, Debug)]
pub(super) enum Control {
    /// To an executor.
    Event(Event),
    /// To a predecessor: route a subscale to its new owner.
    Switch(Subscale),
    /// To a predecessor: make the barrier of an epoch.
    Barrier(Epoch),
    /// To a predecessor: take no more input.
    Stop,
    /// To the conductor, for its coordinator.
    Coordinator(CoordinatorEvent),
    /// To the conductor: the sender has committed an epoch.
    Committed(Epoch),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_numbers_join() {
        let mut seen = Seen::default();
        assert!(seen.insert(4, 2) && seen.insert(8, 1) && seen.insert(0, 2));
        assert!(!seen.insert(5, 1) && !seen.insert(3, 2) && !seen.insert(1, 1));
        assert!(seen.insert(6, 2) && !seen.is_first(9));
        assert!(seen.insert(2, 2) && seen.is_first(9));
        assert!(seen.insert(9, 3) && seen.is_first(12) && !seen.insert(0, 1));
    }
}
