//! What travels in the model: rows, what regular and migration channels carry.

use std::collections::VecDeque;
use std::fmt;

use scaling::{Epoch, ExecutorId, KeyGroup, Rules, Subscale, SubscaleId, confirm_position};

/// Predecessors of the fragment that is scaled.
pub(crate) const PREDECESSORS: usize = 2;
/// Most executors it has at a time, old and new ones.
pub(crate) const EXECUTORS: usize = 4;
/// Most key groups it has.
pub(crate) const KEY_GROUPS: usize = 4;

/// A set of small numbers as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bits(pub(crate) u8);

impl Bits {
    pub(crate) fn contains(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }

    /// Adds a number; false if it was there.
    pub(crate) fn insert(&mut self, number: usize) -> bool {
        let absent = !self.contains(number);
        self.0 |= 1 << number;
        absent
    }

    /// Takes a number out; false if it was not there.
    pub(crate) fn remove(&mut self, number: usize) -> bool {
        let present = self.contains(number);
        self.0 &= !(1 << number);
        present
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..u8::BITS as usize).filter(move |number| self.contains(*number))
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Bits {
        let mut bits = Bits::default();
        for number in numbers {
            bits.insert(number);
        }
        bits
    }
}

/// One row; `number` counts all rows of its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) predecessor: usize,
    pub(crate) number: usize,
    pub(crate) key_group: KeyGroup,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row {
            predecessor,
            number,
            key_group,
        } = self;
        write!(f, "row {number} of p{predecessor} (key group {key_group})")
    }
}

/// Rows by their names, joined.
pub(crate) fn names(rows: &[Row]) -> String {
    let names: Vec<_> = rows.iter().map(Row::to_string).collect();
    names.join(", ")
}

/// The state of one key group: the numbers of the rows it has seen, by predecessor.
pub(crate) type State = [Bits; PREDECESSORS];

/// What a regular channel carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Data {
    Batch(Vec<Row>),
    Barrier(Epoch),
    Confirm(SubscaleId),
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Batch(rows) => write!(f, "{}", names(rows)),
            Data::Barrier(epoch) => write!(f, "barrier {epoch}"),
            Data::Confirm(subscale) => write!(f, "the confirm barrier of {subscale}"),
        }
    }
}

/// A regular channel from the end of the predecessor's queue to the executor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Regular {
    pub(crate) queue: VecDeque<Data>,
    /// So many at the front have been sent for certain; of the others it is decided when it
    /// matters, at a switch.
    sent: usize,
}

impl Regular {
    /// Takes the head.
    pub(crate) fn take(&mut self) -> Option<Data> {
        self.sent = self.sent.saturating_sub(1);
        self.queue.pop_front()
    }

    /// Leaves the rest of a head of which the executor has run a part.
    pub(crate) fn put_back(&mut self, rest: Data) {
        self.queue.push_front(rest);
        self.sent = self.sent.max(1);
    }

    /// How many messages can have been sent when a switch comes, as far as that makes a difference
    /// to it. Batches take room on the channel, signals none.
    pub(crate) fn sent_at_switch(&self, batches_max: usize, rules: Rules) -> Vec<usize> {
        let batches = |sent: usize| {
            let sent = self.queue.iter().take(sent);
            sent.filter(|m| matches!(m, Data::Batch(_))).count()
        };
        let possible = (self.sent..=self.queue.len())
            .take_while(|sent| *sent == self.sent || batches(*sent) <= batches_max);
        let mut different: Vec<(usize, usize)> = Vec::new();
        for sent in possible {
            let position = self.position(sent, rules);
            if different.last().is_none_or(|(_, last)| *last != position) {
                different.push((sent, position));
            }
        }
        different.into_iter().map(|(sent, _)| sent).collect()
    }

    /// Splits what is unsent behind the confirm barrier and returns what goes to the new owner.
    pub(crate) fn switch(&mut self, subscale: &Subscale, sent: usize, rules: Rules) -> Vec<Data> {
        let behind = self.queue.split_off(self.position(sent, rules));
        self.sent = sent;
        self.queue.push_back(Data::Confirm(subscale.id));
        let mut moved = Vec::new();
        for message in behind {
            let Data::Batch(rows) = message else {
                self.queue.push_back(message);
                continue;
            };
            let (moving, staying): (Vec<_>, Vec<_>) = rows
                .into_iter()
                .partition(|row| subscale.key_groups.contains(row.key_group));
            moved.extend((!moving.is_empty()).then_some(Data::Batch(moving)));
            self.queue
                .extend((!staying.is_empty()).then_some(Data::Batch(staying)));
        }
        moved
    }

    fn position(&self, sent: usize, rules: Rules) -> usize {
        let is_fence = |m: &Data| matches!(m, Data::Barrier(_)) && rules.confirm_behind_barriers;
        sent + confirm_position(self.queue.iter().skip(sent), is_fence)
    }
}

/// What a migration channel carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transfer {
    State {
        subscale: SubscaleId,
        key_group: KeyGroup,
        state: State,
    },
    Rows {
        subscale: SubscaleId,
        predecessor: usize,
        rows: Vec<Row>,
    },
    Confirm {
        subscale: SubscaleId,
        predecessor: usize,
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

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transfer::State { key_group, .. } => write!(f, "the state of key group {key_group}"),
            Transfer::Rows { rows, .. } => write!(f, "{}, re-routed", names(rows)),
            Transfer::Confirm {
                subscale,
                predecessor,
            } => {
                write!(
                    f,
                    "the confirm barrier of {subscale} by p{predecessor}, re-routed"
                )
            }
            Transfer::Barrier(epoch) => write!(f, "barrier {epoch}"),
            Transfer::Closed(subscale) => write!(f, "that nothing more of {subscale} comes"),
        }
    }
}

/// The index of an executor in the tables of the model.
pub(crate) fn index(executor: ExecutorId) -> usize {
    executor.0 as usize
}

/// The executor at an index of the tables of the model.
pub(crate) fn executor(index: usize) -> ExecutorId {
    ExecutorId(index as u32)
}
