//! What differs between two snapshots of a table: rows with signed weights.
//!
//! ```text
//!   partition   shared whole            nothing changed
//!   chunk       same rows               its weights are compared, if they are not shared too
//!               in one snapshot only    all its rows come, or all go
//! ```
//!
//! So the cost follows what changed. Rows that only moved (chunks were merged, a key group was
//! handed over or read from disk) cancel out: candidates are summed up by their whole content.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use crate::error::Result;
use crate::layout::row_converter;
use crate::snapshot::{PartitionSnapshot, Rows, SnapshotChunk, TableSnapshot};

/// Rows, each distinct one once, with what its weight changed by: never zero.
pub type RowChanges = Vec<(RecordBatch, Vec<i64>)>;

impl TableSnapshot {
    /// What turns the rows of `earlier` into these. In no order; no batch is empty.
    ///
    /// # Errors
    /// When an Arrow kernel fails.
    pub fn changes_since(&self, earlier: &TableSnapshot) -> Result<RowChanges> {
        let mut changes = Vec::new();
        let key_groups = self.partitions.len().max(earlier.partitions.len());
        for key_group in 0..key_groups {
            let of = |table: &TableSnapshot| table.partitions.get(key_group).cloned().flatten();
            changes.extend(partition_changes(of(earlier).as_ref(), of(self).as_ref())?);
        }
        Ok(changes)
    }
}

fn partition_changes(
    before: Option<&PartitionSnapshot>,
    after: Option<&PartitionSnapshot>,
) -> Result<Option<(RecordBatch, Vec<i64>)>> {
    let schema = match (before, after) {
        (Some(before), Some(after)) if Arc::ptr_eq(&before.inner, &after.inner) => return Ok(None),
        (_, Some(snapshot)) | (Some(snapshot), None) => snapshot.schema(),
        (None, None) => return Ok(None),
    };
    let mut candidates = Candidates::default();
    let mut old: BTreeMap<_, &SnapshotChunk> = chunks(before).map(|c| (c.identity(), c)).collect();
    for chunk in chunks(after) {
        let before = old.remove(&chunk.identity());
        if before.is_some_and(|before| Arc::ptr_eq(&before.measures, &chunk.measures)) {
            continue;
        }
        candidates.add(after, chunk, |row| {
            chunk.weights()[row] - before.map_or(0, |before| before.weights()[row])
        })?;
    }
    for chunk in old.into_values() {
        candidates.add(before, chunk, |row| -chunk.weights()[row])?;
    }
    candidates.summed_up(&schema)
}

fn chunks(partition: Option<&PartitionSnapshot>) -> impl Iterator<Item = &SnapshotChunk> {
    partition.into_iter().flat_map(|p| &p.inner.chunks)
}

/// Rows that may have changed, some perhaps more than once.
#[derive(Default)]
struct Candidates {
    batches: Vec<RecordBatch>,
    weights: Vec<i64>,
}

impl Candidates {
    fn add(
        &mut self,
        partition: Option<&PartitionSnapshot>,
        chunk: &SnapshotChunk,
        change: impl Fn(usize) -> i64,
    ) -> Result<()> {
        let changed: Vec<u32> = (0u32..)
            .take(chunk.weights().len())
            .filter(|&row| change(row as usize) != 0)
            .collect();
        let Some(partition) = partition.filter(|_| !changed.is_empty()) else {
            return Ok(());
        };
        self.weights
            .extend(changed.iter().map(|&row| change(row as usize)));
        self.batches
            .push(partition.batch(chunk, Rows::Some(changed), None)?);
        Ok(())
    }

    /// Each distinct row once, without those whose changes cancel out.
    fn summed_up(self, schema: &SchemaRef) -> Result<Option<(RecordBatch, Vec<i64>)>> {
        if self.batches.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(schema, &self.batches)?;
        if self.batches.len() == 1 {
            return Ok(Some((rows, self.weights)));
        }
        let (kept, weights) = sums(&rows, &self.weights)?;
        if kept.is_empty() {
            return Ok(None);
        }
        Ok(Some((
            take_record_batch(&rows, &UInt32Array::from(kept))?,
            weights,
        )))
    }
}

/// The first occurrence of each distinct row, and the sum of the weights of all of them; only
/// where that is not zero.
fn sums(rows: &RecordBatch, weights: &[i64]) -> Result<(Vec<u32>, Vec<i64>)> {
    if rows.num_columns() == 0 {
        // Rows without columns are all the same one.
        let sum: i64 = weights.iter().sum();
        return Ok(if sum == 0 {
            Default::default()
        } else {
            (vec![0], vec![sum])
        });
    }
    let keys = row_converter(&rows.schema())?.convert_columns(rows.columns())?;
    let mut sums: Vec<(u32, i64)> = Vec::new();
    let mut found: HashMap<&[u8], usize> = HashMap::new();
    for ((row, key), &weight) in (0u32..).zip(&keys).zip(weights) {
        let at = *found.entry(key.data()).or_insert(sums.len());
        match sums.get_mut(at) {
            Some((_, sum)) => *sum += weight,
            None => sums.push((row, weight)),
        }
    }
    Ok(sums.into_iter().filter(|(_, sum)| *sum != 0).unzip())
}
