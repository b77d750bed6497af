//! How a partition leaves a table and enters another one, or comes back from a checkpoint.
//!
//! What leaves is the rows with their measures and flags. Indexes are built anew where they
//! enter, and the digest that was kept along all changes is compared with the rows that came.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use scaling::KeyGroup;

use super::{CHUNK_ROWS, Partition, Shape, positive_weights};
use crate::cells::{Cells, canonical};
use crate::chunk::{ChunkData, ChunkMeasures, Sharing};
use crate::digest::digest;
use crate::error::Result;
use crate::gather::compacted;
use crate::hash::hash_cells;
use crate::measures::Measures;
use crate::partition_state::{PartitionState, columns_batch};
use crate::rows::{DIRTY, STORED, TOUCHED, WRITING};

impl Partition {
    /// All rows, with what no commit has seen yet.
    pub(crate) fn extract(&self, shape: &Shape) -> Result<PartitionState> {
        self.extract_rows(shape, &self.slots())
    }

    /// Some rows, the others of which are on disk alone or about to be: all that changed are among them.
    pub(super) fn extract_rows(&self, shape: &Shape, slots: &[u32]) -> Result<PartitionState> {
        let flag = |flag: u8| -> BooleanArray {
            let set = |&slot: &u32| Some(self.rows.flags[slot as usize] & flag != 0);
            slots.iter().map(set).collect()
        };
        let measures = self.rows.measures_of(slots, shape.zeros(0));
        // Where each touched slot has its old measures.
        let mut order = vec![0; self.rows.places.len()];
        for (position, &slot) in (0u32..).zip(&self.touched) {
            order[slot as usize] = position;
        }
        let touched = slots
            .iter()
            .filter(|&&slot| self.rows.flags[slot as usize] & TOUCHED != 0)
            .map(|&slot| order[slot as usize]);
        let columns = shape.columns(&self.rows.gather(slots))?;
        let new = self.rows.measures_of(&self.touched, shape.zeros(0));
        let hashes = self.rows.hashes_of(&self.touched);
        Ok(PartitionState {
            columns: columns_batch(Arc::clone(&shape.schema.columns), columns, slots.len())?,
            measures,
            dirty: flag(DIRTY),
            touched: flag(TOUCHED),
            writing: flag(WRITING),
            written_after: self.written_after,
            old: self.old.take(&touched.collect::<Vec<_>>()),
            // The digest kept along the changes: comparing it with the rows finds what broke here.
            digest: self
                .digest
                .wrapping_sub(digest(&hashes, &self.old))
                .wrapping_add(digest(&hashes, &new)),
            evicted: self.evicted,
        })
    }

    /// A partition of the rows of a state.
    pub(crate) fn install(
        shape: &Shape,
        key_group: KeyGroup,
        state: &PartitionState,
    ) -> Result<Self> {
        check_state(shape, key_group, state)?;
        let rows = state.rows();
        let columns = compacted(state.columns.columns().to_vec());
        let data = Arc::new(ChunkData::new(columns, rows, Sharing::Own));
        let mut hashes = Vec::new();
        hash_cells(data.cells.iter(), rows, &mut hashes);
        let here = state.digest.wrapping_sub(state.evicted.digest);
        if digest(&hashes, &state.measures) != here {
            return Err(shape.corrupt(key_group, "the digest differs from the rows"));
        }
        let mut key_hashes = Vec::new();
        if !shape.key_is_identity {
            let key = shape.schema.key.iter().map(|&column| &data.cells[column]);
            hash_cells(key, rows, &mut key_hashes);
        }
        let mut partition = Self::new(shape);
        partition.unpublished = true;
        partition.evicted = state.evicted;
        partition.written_after = state.written_after;
        partition.index_state(shape, &data, &hashes, &key_hashes, &state.measures);
        if let Some(order) = shape.order_keys(&data.columns)? {
            for slot in 0..rows {
                partition.order.insert(&order, slot, slot as u32);
            }
        }
        partition.restore_flags(shape, state);
        let hashes = partition.rows.hashes_of(&partition.touched);
        let new = partition
            .rows
            .measures_of(&partition.touched, shape.zeros(0));
        partition.digest = state
            .digest
            .wrapping_sub(digest(&hashes, &new))
            .wrapping_add(digest(&hashes, &partition.old));
        if shape.schema.visible {
            partition.visible_rows = positive_weights(&state.measures)
                .wrapping_sub(positive_weights(&new))
                .wrapping_add(positive_weights(&partition.old));
        }
        Ok(partition)
    }

    /// The same rows with more columns, each of one value.
    pub(crate) fn widened(
        &self,
        from: &Shape,
        to: &Shape,
        key_group: KeyGroup,
        values: &[ArrayRef],
    ) -> Result<Self> {
        let mut state = self.extract(from)?;
        let rows = state.rows();
        let mut columns = state.columns.columns().to_vec();
        let first = UInt32Array::from(vec![0; rows]);
        for value in canonical(values) {
            columns.push(take(&value, &first, None)?);
        }
        let cells: Vec<Cells> = columns.iter().map(Cells::new).collect();
        let mut hashes = Vec::new();
        hash_cells(cells.iter(), rows, &mut hashes);
        state.digest = digest(&hashes, &state.measures);
        state.columns = columns_batch(Arc::clone(&to.schema.columns), columns, rows)?;
        state.dirty = BooleanArray::from(vec![true; rows]);
        let mut partition = Self::install(to, key_group, &state)?;
        partition.replaces = true;
        Ok(partition)
    }

    /// Fills chunks and indexes of an empty partition; slot `i` becomes row `i`.
    fn index_state(
        &mut self,
        shape: &Shape,
        data: &Arc<ChunkData>,
        hashes: &[u64],
        key_hashes: &[u64],
        measures: &Measures,
    ) {
        for start in (0..hashes.len()).step_by(CHUNK_ROWS) {
            let end = hashes.len().min(start + CHUNK_ROWS);
            let chunk = self.rows.begin_chunk(Some(Arc::clone(data)), start as u32);
            let part = measures.slice(start..end);
            self.rows.chunks[chunk as usize].measures = ChunkMeasures::Own(part);
            for (row, &hash) in (start..end).zip(&hashes[start..end]) {
                let key_hash = key_hashes.get(row).copied();
                self.rows.allocate(chunk, hash, key_hash);
            }
        }
        self.identity
            .reserve(hashes.len(), |&slot| hashes[slot as usize]);
        for (slot, &hash) in (0u32..).zip(hashes) {
            self.identity
                .insert_unique(hash, slot, |&slot| hashes[slot as usize]);
        }
        for (slot, &hash) in (0u32..).zip(key_hashes) {
            self.keys.insert(hash, slot, |first| {
                let place = self.rows.places[first as usize];
                self.rows
                    .equal(place, &data.cells, slot as usize, &[], shape.key())
            });
        }
    }

    /// Sets the flags that a state came with. Whether a checkpoint has a row is not known here, so
    /// its end will be reported in any case.
    fn restore_flags(&mut self, shape: &Shape, state: &PartitionState) {
        for row in 0..state.rows() {
            let mut flags = STORED;
            if state.touched.value(row) {
                flags |= TOUCHED;
                self.touched.push(row as u32);
            }
            if flags & TOUCHED != 0 || state.dirty.value(row) {
                flags |= DIRTY;
                self.dirty.push(row as u32);
            }
            if state.writing.value(row) {
                flags |= WRITING;
                self.writing.push(row as u32);
            }
            self.rows.flags[row] = flags;
        }
        self.old = shape.zeros(0);
        for row in 0..state.old.len() {
            self.old.push_from(&state.old, row);
        }
    }
}

/// Checks types and lengths; the digest is compared later.
fn check_state(shape: &Shape, key_group: KeyGroup, state: &PartitionState) -> Result<()> {
    let rows = state.rows();
    let types = |schema: &SchemaRef| -> Vec<DataType> {
        let fields = schema.fields().iter();
        fields.map(|field| field.data_type().clone()).collect()
    };
    let detail = if types(&state.columns.schema()) != types(&shape.schema.columns) {
        "the columns differ from those of the table"
    } else if state.measures.types() != shape.schema.measures
        || state.old.types() != shape.schema.measures
    {
        "the measures differ from those of the table"
    } else if state.measures.len() != rows
        || state.dirty.len() != rows
        || state.touched.len() != rows
        || state.writing.len() != rows
        || state.old.len() != state.touched.true_count()
    {
        "the parts differ in length"
    } else {
        return Ok(());
    };
    Err(shape.corrupt(key_group, detail))
}
