//! Virtual time, and what happens when.
//!
//! Events of one instant happen in the order in which they were put down, so a run is the same to
//! the last event whenever it is repeated; [`Agenda::trace_hash`] is the witness.
//!
//! An executor has one date at a time: the end of what it is doing, or the moment something comes
//! that it waits for. An earlier date replaces a later one, which is passed over when it comes up.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nanoseconds since the start of the run, or of a duration.
pub(super) type Nanos = u64;

const NEVER: Nanos = Nanos::MAX;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// An executor may go on.
    Executor(u32),
    /// New rows exist at a predecessor.
    Source(u32),
    /// The link of a predecessor takes more.
    PredecessorLink(u32),
    /// The link of an executor takes more.
    ExecutorLink(u32),
    /// A control message arrives: which link of the control path, and its number there.
    Control { link: u32, number: u32 },
    /// It is time for the next barrier.
    Barrier,
    /// A user asks for a scaling.
    Scaling,
    /// Everything fails.
    Crash,
    /// Everything has come up again.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Nanos,
    number: u64,
    due: Due,
}

impl Ord for Entry {
    /// The greatest is the one that is due first, as the heap wants it.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The events to come.
#[derive(Debug)]
pub(super) struct Agenda {
    now: Nanos,
    entries: BinaryHeap<Entry>,
    next_number: u64,
    /// By executor: its date, and until when it does nothing else.
    dates: Vec<(Nanos, Nanos)>,
    trace_hash: u64,
}

impl Agenda {
    pub(super) fn new(executors: usize) -> Agenda {
        Agenda {
            now: 0,
            entries: BinaryHeap::new(),
            next_number: 0,
            dates: vec![(NEVER, 0); executors],
            trace_hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    /// A number that two runs share only if the same happened at the same times.
    pub(super) fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// How many events were put down so far.
    pub(super) fn events(&self) -> u64 {
        self.next_number
    }

    pub(super) fn put(&mut self, at: Nanos, due: Due) {
        let number = self.next_number;
        self.next_number += 1;
        self.entries.push(Entry { at, number, due });
    }

    /// Lets an executor look around at this time, or as soon after it as it is free.
    pub(super) fn wake(&mut self, executor: u32, at: Nanos) {
        let (date, busy_until) = &mut self.dates[executor as usize];
        let at = at.max(*busy_until).max(self.now);
        if at < *date {
            *date = at;
            self.put(at, Due::Executor(executor));
        }
    }

    /// Keeps an executor busy for so long from now.
    pub(super) fn occupy(&mut self, executor: u32, for_nanos: Nanos) {
        self.dates[executor as usize] = (NEVER, self.now + for_nanos);
        self.wake(executor, self.now);
    }

    /// Forgets all that was to come: everything has failed.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.dates.fill((NEVER, 0));
    }

    /// Goes to the next event; `None` if there is none.
    pub(super) fn next(&mut self) -> Option<Due> {
        loop {
            let Entry { at, due, .. } = self.entries.pop()?;
            if let Due::Executor(executor) = due {
                let date = &mut self.dates[executor as usize].0;
                if *date != at {
                    continue;
                }
                *date = NEVER;
            }
            self.now = at;
            self.record(at);
            self.record(code(due));
            return Some(due);
        }
    }

    fn record(&mut self, value: u64) {
        self.trace_hash = (self.trace_hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
        self.trace_hash ^= self.trace_hash >> 29;
    }
}

fn code(due: Due) -> u64 {
    let (kind, index, number) = match due {
        Due::Executor(executor) => (0, executor, 0),
        Due::Source(predecessor) => (1, predecessor, 0),
        Due::PredecessorLink(predecessor) => (2, predecessor, 0),
        Due::ExecutorLink(executor) => (3, executor, 0),
        Due::Control { link, number } => (4, link, number),
        Due::Barrier => (5, 0, 0),
        Due::Scaling => (6, 0, 0),
        Due::Crash => (7, 0, 0),
        Due::Restart => (8, 0, 0),
    };
    kind << 60 | u64::from(index) << 32 | u64::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_put_down() {
        let mut agenda = Agenda::new(0);
        agenda.put(5, Due::Barrier);
        agenda.put(3, Due::Crash);
        agenda.put(5, Due::Scaling);
        let order: Vec<_> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(order, [Due::Crash, Due::Barrier, Due::Scaling]);
        assert_eq!(agenda.now(), 5);
    }

    #[test]
    fn an_executor_has_one_date_and_is_not_disturbed() {
        let mut agenda = Agenda::new(1);
        agenda.wake(0, 9);
        agenda.wake(0, 4);
        agenda.wake(0, 7);
        assert_eq!(agenda.next(), Some(Due::Executor(0)));
        assert_eq!(agenda.now(), 4);
        agenda.occupy(0, 10);
        agenda.wake(0, 6);
        assert_eq!(agenda.next(), Some(Due::Executor(0)));
        assert_eq!((agenda.now(), agenda.next()), (14, None));
    }
}
