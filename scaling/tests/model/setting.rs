//! What a search is about: sizes, rows, where the key groups go, and which rules hold.

use scaling::{KeyGroup, Release, Rules};

use crate::message::{Bits, PREDECESSORS, Row, State};

/// What happens to the scaling that a crash interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterCrash {
    /// It starts again, from the owners as they then are.
    Again,
    /// It is forgotten.
    Forgotten,
}

/// How the migration channels of a scaling come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// With a barrier, which also adds and retires executors.
    ByBarrier,
    /// The world begins, and begins again after a crash, where they are open, and ends with the
    /// moves. For one scaling only.
    Standing,
}

/// Which steps are taken each in its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interleavings {
    /// Those that make a difference, see [`crate::world`].
    Different,
    /// All that the model has.
    All,
}

/// One bounded world.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// The batches each predecessor makes, each as the key groups of its rows.
    pub(crate) batches: [&'static [&'static [u16]]; PREDECESSORS],
    /// The executor that owns each key group in the beginning.
    pub(crate) owners: &'static [usize],
    /// The owners each scaling is to reach, one after the other.
    pub(crate) targets: &'static [&'static [usize]],
    pub(crate) release: Release,
    pub(crate) hold_limit_rows: u64,
    /// Batches a predecessor can have sent on a channel that the executor has not read.
    pub(crate) channel_batches_max: usize,
    pub(crate) migration_messages_max: usize,
    pub(crate) subscale_key_groups_max: usize,
    pub(crate) open_subscales_max: usize,
    /// Barriers without a change of topology, and how many barriers may be under way.
    pub(crate) barriers: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) cancel: bool,
    pub(crate) topology: Topology,
    pub(crate) interleavings: Interleavings,
    pub(crate) after_crash: AfterCrash,
    pub(crate) rules: Rules,
}

impl Setting {
    pub(crate) fn key_groups(&self) -> impl Iterator<Item = KeyGroup> + use<> {
        (0..self.owners.len() as u16).map(KeyGroup)
    }

    /// The rows of the first `batches` batches of a predecessor.
    pub(crate) fn rows(
        &self,
        predecessor: usize,
        batches: usize,
    ) -> impl Iterator<Item = Row> + '_ {
        let made = self.batches[predecessor][..batches].iter();
        made.flat_map(|batch| batch.iter())
            .enumerate()
            .map(move |(number, key_group)| Row {
                predecessor,
                number,
                key_group: KeyGroup(*key_group),
            })
    }

    /// The rows of one batch of a predecessor.
    pub(crate) fn batch(&self, predecessor: usize, batch: usize) -> Vec<Row> {
        let before = self.rows(predecessor, batch).count();
        self.rows(predecessor, batch + 1).skip(before).collect()
    }

    /// The state of a key group that has seen just the rows in front of a cut, given in batches.
    pub(crate) fn state_at(&self, key_group: KeyGroup, cuts: [usize; PREDECESSORS]) -> State {
        let mut state = State::default();
        for (predecessor, seen) in state.iter_mut().enumerate() {
            let rows = self.rows(predecessor, cuts[predecessor]);
            *seen = rows
                .filter(|row| row.key_group == key_group)
                .map(|row| row.number)
                .collect();
        }
        state
    }

    /// Rows of the same predecessor and key group in front of this one.
    pub(crate) fn older(&self, row: &Row) -> Bits {
        let all = self.batches[row.predecessor].len();
        self.rows(row.predecessor, all)
            .filter(|older| older.key_group == row.key_group && older.number < row.number)
            .map(|older| older.number)
            .collect()
    }
}
