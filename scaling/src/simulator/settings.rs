//! The set-up in the units of a run: nanoseconds, and tables by key group.

use std::time::Duration;

use crate::simulator::agenda::Nanos;
use crate::simulator::random::nth;
use crate::simulator::setup::Setup;
use crate::simulator::skew::Skew;
use crate::{Assignment, ExecutorId, KeyGroup};

/// Bytes of a message that is no row and no state.
pub(super) const SIGNAL_BYTES: u64 = 64;

const SECOND: u64 = 1_000_000_000;

pub(super) struct Settings {
    pub(super) setup: Setup,
    pub(super) portion: Nanos,
    pub(super) service: Nanos,
    pub(super) link_delay: Nanos,
    pub(super) bucket: Nanos,
    pub(super) input_ends: Nanos,
    /// Executors there can ever be.
    pub(super) executors_max: usize,
    /// By key group: whether some scaling moves it.
    pub(super) moving: Vec<bool>,
    keys: Skew,
    state_bytes: Vec<u64>,
    backlog_rows: u64,
}

/// Executors count from 0, predecessors from here.
const PREDECESSORS: u32 = 1 << 20;

pub(super) fn executor_id(index: usize) -> ExecutorId {
    ExecutorId(u32::try_from(index).expect("ids of executors have 32 bits"))
}

pub(super) fn predecessor_id(index: usize) -> ExecutorId {
    ExecutorId(PREDECESSORS + executor_id(index).0)
}

/// Its place among the executors, or among the predecessors.
pub(super) fn index_of(id: ExecutorId) -> usize {
    (id.0 & (PREDECESSORS - 1)) as usize
}

pub(super) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).expect("a run of less than 584 years")
}

impl Settings {
    pub(super) fn new(setup: &Setup, moving: Vec<bool>) -> Settings {
        setup.check();
        let (key_groups, seed) = (setup.key_groups, setup.seed);
        let most = setup.scalings.iter().map(|scaling| scaling.executors).max();
        let backlog = u128::from(setup.rows_per_second) * setup.backlog.as_nanos();
        let each = backlog / (u128::from(SECOND) * setup.predecessors as u128);
        Settings {
            portion: nanos(setup.portion),
            service: nanos(setup.service),
            link_delay: nanos(setup.link_delay),
            bucket: nanos(setup.bucket),
            input_ends: nanos(setup.input_ends),
            executors_max: setup.executors.max(most.unwrap_or(0)),
            moving,
            keys: Skew::new(key_groups, setup.zipf_exponent, seed),
            state_bytes: Skew::new(key_groups, setup.state_zipf_exponent, !seed)
                .divide(setup.state_bytes),
            backlog_rows: u64::try_from(each).expect("a backlog that can be counted"),
            setup: setup.clone(),
        }
    }

    pub(super) fn key_groups(&self) -> impl Iterator<Item = KeyGroup> + use<> {
        (0..self.setup.key_groups).map(KeyGroup)
    }

    /// How long so many bytes take.
    pub(super) fn duration(bytes: u64, bytes_per_second: u64) -> Nanos {
        match bytes.checked_mul(SECOND) {
            Some(scaled) => scaled / bytes_per_second,
            None => (bytes / bytes_per_second).saturating_mul(SECOND),
        }
    }

    /// Time a link needs to send so many bytes.
    pub(super) fn sending(&self, bytes: u64) -> Nanos {
        Settings::duration(bytes, self.setup.link_bytes_per_second)
    }

    /// Time an executor needs to extract or install so much state.
    pub(super) fn copying(&self, bytes: u64) -> Nanos {
        Settings::duration(bytes, self.setup.copy_bytes_per_second)
    }

    /// Time storage needs to write or to read the state of a fragment: that of the executor that
    /// has most.
    pub(super) fn storing(&self, owners: &Assignment, rows: &[u64]) -> Nanos {
        let mut held = vec![0; self.executors_max];
        for key_group in self.key_groups() {
            let bytes = self.state_bytes(key_group, rows[key_group.index()]);
            held[index_of(owners.owner(key_group))] += bytes;
        }
        let most = held.into_iter().max().unwrap_or(0);
        Settings::duration(most, self.setup.storage_bytes_per_second)
    }

    /// The state of a key group that has seen so many rows, in bytes.
    pub(super) fn state_bytes(&self, key_group: KeyGroup, rows: u64) -> u64 {
        self.state_bytes[key_group.index()] + rows * self.setup.state_bytes_per_row
    }

    // The input. Portions of all predecessors are spread over the interval.

    /// When a portion of rows comes to exist.
    pub(super) fn portion_at(&self, predecessor: usize, portion: u64) -> Nanos {
        let offset = self.portion * predecessor as u64 / self.setup.predecessors as u64;
        portion * self.portion + offset
    }

    /// The last portion of a predecessor.
    pub(super) fn last_portion(&self) -> u64 {
        self.input_ends / self.portion
    }

    /// Rows of a predecessor that exist with a portion.
    pub(super) fn rows_with(&self, portion: u64) -> u64 {
        let time = u128::from(portion.min(self.last_portion()) * self.portion);
        let made = time * u128::from(self.setup.rows_per_second)
            / (u128::from(SECOND) * self.setup.predecessors as u128);
        self.backlog_rows + u64::try_from(made).expect("rows that can be counted")
    }

    /// The key group of a predecessor's `position`-th row.
    pub(super) fn key_group_of(&self, predecessor: usize, position: u64) -> KeyGroup {
        let stream = nth(self.setup.seed, predecessor as u64 + 1);
        self.keys.pick(nth(stream, position))
    }

    /// How many rows there will ever be, by key group.
    pub(super) fn rows_in_all(&self) -> Vec<u64> {
        let mut rows = vec![0; usize::from(self.setup.key_groups)];
        let each = self.rows_with(self.last_portion());
        for predecessor in 0..self.setup.predecessors {
            for position in 0..each {
                rows[self.key_group_of(predecessor, position).index()] += 1;
            }
        }
        rows
    }
}
