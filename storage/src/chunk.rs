//! Rows in Arrow columns, as partitions and snapshots share them.
//!
//! The rows that one batch adds are gathered once for all key groups ([`ChunkData`]); each
//! partition refers to its part by offset and length, until a commit gives it a copy of its own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};

use crate::cells::Cells;
use crate::measures::Measures;

/// Immutable columns with the bytes of their cells.
#[derive(Debug)]
pub(crate) struct ChunkData {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) cells: Vec<Cells>,
    /// Memory of the columns, divided by their rows.
    pub(crate) bytes_per_row: usize,
    /// Who refers to them.
    pub(crate) sharing: Sharing,
}

/// Whose rows the columns of a chunk hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One key group's.
    Own,
    /// Several key groups'. None of them may hold on to the others' rows for long.
    Shared,
}

impl ChunkData {
    /// The columns, which are canonical and of `rows` rows.
    pub(crate) fn new(columns: Vec<ArrayRef>, rows: usize, sharing: Sharing) -> Self {
        let bytes: usize = columns.iter().map(|c| c.get_array_memory_size()).sum();
        Self {
            cells: columns.iter().map(Cells::new).collect(),
            columns,
            bytes_per_row: bytes / rows.max(1),
            sharing,
        }
    }
}

/// Measures that a partition changes and snapshots keep: copied on the first change after a
/// snapshot took them, and free of atomic operations while no snapshot has them.
#[derive(Debug)]
pub(crate) enum ChunkMeasures {
    Own(Measures),
    Shared(Arc<Measures>),
}

impl ChunkMeasures {
    /// The values.
    #[inline]
    pub(crate) fn get(&self) -> &Measures {
        match self {
            Self::Own(measures) => measures,
            Self::Shared(measures) => measures,
        }
    }

    /// The values, to be changed.
    #[inline]
    pub(crate) fn change(&mut self) -> &mut Measures {
        if let Self::Shared(measures) = self {
            let measures = Arc::unwrap_or_clone(std::mem::take(measures));
            *self = Self::Own(measures);
        }
        match self {
            Self::Own(measures) => measures,
            Self::Shared(_) => unreachable!("made our own above"),
        }
    }

    /// The values as they are now, for a snapshot.
    pub(crate) fn share(&mut self) -> Arc<Measures> {
        if let Self::Own(measures) = self {
            *self = Self::Shared(Arc::new(std::mem::take(measures)));
        }
        match self {
            Self::Shared(measures) => Arc::clone(measures),
            Self::Own(_) => unreachable!("shared above"),
        }
    }
}
