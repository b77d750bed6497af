//! The rows of one partition: where each lies, and its hashes and flags.
//!
//! ```text
//!   identity index, key index ──► slot ──► place (chunk, row) ──► cells, measures
//!                                   └───► hash, key hash, flags
//! ```
//!
//! A row keeps its slot for as long as it exists; when chunks are merged only its place changes,
//! so neither index needs to know. Rows of the batch that is being added have a place already,
//! in a chunk whose columns are gathered when the whole batch is through ([`Chunk::data`]).

use std::sync::Arc;

use arrow::array::Int64Array;

use crate::cells::Cells;
use crate::chunk::{ChunkData, ChunkMeasures};
use crate::gather::Gather;
use crate::measures::{MeasureColumn, Measures};
use crate::sorted_rows::ChunkOrders;

/// A slot that no row has.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// The row changed since the last commit.
pub(crate) const TOUCHED: u8 = 1;
/// The row changed since the last durable commit.
pub(crate) const DIRTY: u8 = 2;
/// The row may be in a checkpoint, so its end must be reported to one.
pub(crate) const STORED: u8 = 4;
/// The row is being dropped.
pub(crate) const DEAD: u8 = 8;
/// The row changed in the last durable commit, whose checkpoint may not be written yet.
pub(crate) const WRITING: u8 = 16;
/// The row's key was used since rows were last evicted; known where some have been.
pub(crate) const USED: u8 = 32;

/// Where a row lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) chunk: u32,
    pub(crate) row: u32,
}

/// Some rows of a partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The columns; `None` while the batch that brings the rows is being added.
    pub(crate) data: Option<Arc<ChunkData>>,
    /// Where in the columns (or among the new rows of the batch) the rows begin.
    pub(crate) offset: u32,
    /// The slot of each row, [`NO_SLOT`] for dropped ones.
    pub(crate) slots: Vec<u32>,
    pub(crate) measures: ChunkMeasures,
    /// Number of rows that are not dropped.
    pub(crate) live: u32,
    /// What readers have sorted; `None` if they never saw the chunk.
    pub(crate) orders: Option<Arc<ChunkOrders>>,
}

impl Chunk {
    /// The columns of a chunk that is not being added.
    pub(crate) fn data(&self) -> &Arc<ChunkData> {
        self.data
            .as_ref()
            .expect("columns are set before adding a batch returns")
    }
}

/// A batch on its way into a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    /// Canonical columns of the table.
    pub(crate) cells: &'a [Cells],
    pub(crate) hashes: &'a [u64],
    /// Empty if look-ups go by identity.
    pub(crate) key_hashes: &'a [u64],
    /// What rows are ordered by, if they are.
    pub(crate) order: Option<&'a Int64Array>,
    pub(crate) deltas: &'a Measures,
}

/// Chunks and slots.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) chunks: Vec<Chunk>,
    free_chunks: Vec<u32>,
    pub(crate) places: Vec<Place>,
    pub(crate) hashes: Vec<u64>,
    /// Empty if look-ups go by identity.
    pub(crate) key_hashes: Vec<u64>,
    pub(crate) flags: Vec<u8>,
    free_slots: Vec<u32>,
}

impl Rows {
    /// Begins a chunk without rows, whose columns begin at `offset`, and gives its id.
    pub(crate) fn begin_chunk(&mut self, data: Option<Arc<ChunkData>>, offset: u32) -> u32 {
        let chunk = Chunk {
            data,
            offset,
            slots: Vec::new(),
            measures: ChunkMeasures::Own(Measures::default()),
            live: 0,
            orders: None,
        };
        match self.free_chunks.pop() {
            Some(id) => {
                self.chunks[id as usize] = chunk;
                id
            }
            None => {
                self.chunks.push(chunk);
                (self.chunks.len() - 1) as u32
            }
        }
    }

    /// Gives a new row a slot, at the end of a chunk. `key_hash` is `None` if look-ups go by
    /// identity.
    pub(crate) fn allocate(&mut self, chunk: u32, hash: u64, key_hash: Option<u64>) -> u32 {
        let slot = self.free_slots.pop().unwrap_or(self.places.len() as u32);
        let place = self.append(chunk, slot);
        if (slot as usize) < self.places.len() {
            let index = slot as usize;
            self.places[index] = place;
            self.hashes[index] = hash;
            self.flags[index] = 0;
            if let Some(key_hash) = key_hash {
                self.key_hashes[index] = key_hash;
            }
        } else {
            self.places.push(place);
            self.hashes.push(hash);
            self.flags.push(0);
            self.key_hashes.extend(key_hash);
        }
        slot
    }

    /// Puts the row of a slot at the end of a chunk.
    fn append(&mut self, chunk: u32, slot: u32) -> Place {
        let to = &mut self.chunks[chunk as usize];
        let row = to.slots.len() as u32;
        to.slots.push(slot);
        to.live += 1;
        Place { chunk, row }
    }

    /// Moves the row of a slot to the end of a chunk; its old chunk is about to be freed.
    pub(crate) fn relocate(&mut self, chunk: u32, slot: u32) {
        self.places[slot as usize] = self.append(chunk, slot);
    }

    /// Drops a chunk; the places of its rows, if any are left, have been changed.
    pub(crate) fn free_chunk(&mut self, id: u32) {
        self.chunks[id as usize] = Chunk {
            data: None,
            offset: 0,
            slots: Vec::new(),
            measures: ChunkMeasures::Own(Measures::default()),
            live: 0,
            orders: None,
        };
        self.free_chunks.push(id);
    }

    /// Takes a row out of its chunk and frees its slot; the indexes have forgotten it.
    pub(crate) fn free_slot(&mut self, slot: u32) {
        let place = self.places[slot as usize];
        let chunk = &mut self.chunks[place.chunk as usize];
        chunk.slots[place.row as usize] = NO_SLOT;
        chunk.live -= 1;
        if chunk.live == 0 {
            self.free_chunk(place.chunk);
        }
        self.free_slots.push(slot);
    }

    /// Whether the row at a place equals a row of a batch, in pairs of columns (ours, theirs).
    ///
    /// `fresh` has the rows of the batch that are new, in the order of their places.
    #[inline]
    pub(crate) fn equal(
        &self,
        place: Place,
        cells: &[Cells],
        row: usize,
        fresh: &[u32],
        mut columns: impl Iterator<Item = (usize, usize)>,
    ) -> bool {
        let chunk = &self.chunks[place.chunk as usize];
        let index = (chunk.offset + place.row) as usize;
        match &chunk.data {
            Some(data) => {
                columns.all(|(ours, theirs)| data.cells[ours].equal(index, &cells[theirs], row))
            }
            None => pending_equal(fresh[index] as usize, cells, row, columns),
        }
    }

    /// The measures of the chunk of a slot, and the row in them.
    #[inline]
    pub(crate) fn measures(&self, slot: u32) -> (&Measures, usize) {
        let place = self.places[slot as usize];
        let chunk = &self.chunks[place.chunk as usize];
        (chunk.measures.get(), place.row as usize)
    }

    /// The measures of the given slots.
    pub(crate) fn measures_of(&self, slots: &[u32], mut measures: Measures) -> Measures {
        self.append_measures(slots, &mut measures);
        measures
    }

    /// Appends the measures of the given slots.
    pub(crate) fn append_measures(&self, slots: &[u32], measures: &mut Measures) {
        macro_rules! append_all {
            ($index:expr, $type:ident, $to:expr) => {
                $to.extend(slots.iter().map(|&slot| {
                    let place = self.places[slot as usize];
                    let chunk = &self.chunks[place.chunk as usize];
                    match &chunk.measures.get().0[$index] {
                        MeasureColumn::$type(values) => values[place.row as usize],
                        _ => unreachable!("all chunks have the measures of the table"),
                    }
                }))
            };
        }
        for (index, column) in measures.0.iter_mut().enumerate() {
            match column {
                MeasureColumn::Int64(to) => append_all!(index, Int64, to),
                MeasureColumn::Int128(to) => append_all!(index, Int128, to),
                MeasureColumn::Int256(to) => append_all!(index, Int256, to),
                MeasureColumn::Float64(to) => append_all!(index, Float64, to),
                MeasureColumn::Greatest(to) => append_all!(index, Greatest, to),
            }
        }
    }

    /// The hashes of the given slots.
    pub(crate) fn hashes_of(&self, slots: &[u32]) -> Vec<u64> {
        slots.iter().map(|&s| self.hashes[s as usize]).collect()
    }

    /// The key hashes of the given slots.
    pub(crate) fn key_hashes_of(&self, slots: &[u32]) -> Vec<u64> {
        slots.iter().map(|&s| self.key_hashes[s as usize]).collect()
    }

    /// Adds to the measures of rows: `slots[i]` gets row `first + i` of the deltas.
    pub(crate) fn add_measures(&mut self, slots: &[u32], deltas: &Measures, first: usize) {
        macro_rules! add_all {
            ($index:expr, $type:ident, $deltas:expr, $add:expr) => {
                for (&slot, &delta) in slots.iter().zip(&$deltas[first..]) {
                    let place = self.places[slot as usize];
                    let chunk = &mut self.chunks[place.chunk as usize];
                    if let MeasureColumn::$type(values) = &mut chunk.measures.change().0[$index] {
                        let value = &mut values[place.row as usize];
                        *value = $add(*value, delta);
                    }
                }
            };
        }
        for (index, column) in deltas.0.iter().enumerate() {
            match column {
                MeasureColumn::Int64(d) => add_all!(index, Int64, d, i64::wrapping_add),
                MeasureColumn::Int128(d) => add_all!(index, Int128, d, i128::wrapping_add),
                MeasureColumn::Int256(d) => {
                    add_all!(index, Int256, d, arrow::datatypes::i256::wrapping_add);
                }
                MeasureColumn::Float64(d) => {
                    add_all!(index, Float64, d, crate::measures::FloatSum::plus);
                }
                MeasureColumn::Greatest(d) => add_all!(index, Greatest, d, i128::max),
            }
        }
    }

    /// Picks rows, to gather their columns.
    pub(crate) fn pick<'a>(&'a self, rows: impl Iterator<Item = Place>, gather: &mut Gather<'a>) {
        const UNKNOWN: usize = usize::MAX;
        let mut sources = vec![UNKNOWN; self.chunks.len()];
        for place in rows {
            let chunk = &self.chunks[place.chunk as usize];
            let source = &mut sources[place.chunk as usize];
            if *source == UNKNOWN {
                *source = gather.source(chunk.data());
            }
            gather.pick(*source, (chunk.offset + place.row) as usize);
        }
    }

    /// Picks the rows of slots.
    pub(crate) fn gather(&self, slots: &[u32]) -> Gather<'_> {
        let mut gather = Gather::default();
        self.pick(slots.iter().map(|&s| self.places[s as usize]), &mut gather);
        gather
    }
}

/// Whether two rows of one batch are equal; a row equals itself without looking.
fn pending_equal(
    other: usize,
    cells: &[Cells],
    row: usize,
    mut columns: impl Iterator<Item = (usize, usize)>,
) -> bool {
    // A new row of a batch is compared only while that batch is added, so its columns are ours.
    other == row || columns.all(|(ours, theirs)| cells[ours].equal(other, &cells[theirs], row))
}
