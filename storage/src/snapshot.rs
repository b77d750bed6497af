//! What readers see: tables and views as they were at one barrier.
//!
//! A snapshot shares chunks and measures with the partition it was taken from; the partition
//! copies measures before it changes them. So taking one costs nothing that grows with the rows,
//! and reading one takes no lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, Scalar, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::eq;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use scaling::Epoch;

use crate::chunk::ChunkData;
use crate::error::Result;
use crate::measures::Measures;
use crate::sorted_rows::ChunkOrders;

/// The rows of one key group of a visible table at one barrier. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PartitionSnapshot {
    pub(crate) inner: Arc<PartitionRows>,
}

#[derive(Debug)]
pub(crate) struct PartitionRows {
    pub(crate) columns: SchemaRef,
    pub(crate) chunks: Vec<SnapshotChunk>,
    pub(crate) rows: u64,
}

/// A part of a chunk with the weights of its rows.
#[derive(Debug)]
pub(crate) struct SnapshotChunk {
    pub(crate) data: Arc<ChunkData>,
    pub(crate) offset: usize,
    pub(crate) measures: Arc<Measures>,
    pub(crate) orders: Arc<ChunkOrders>,
}

impl PartitionSnapshot {
    /// Number of rows, each counted as often as its weight says.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.inner.rows
    }

    /// The columns of the table.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.inner.columns)
    }

    /// The rows, each as often as its weight says; in no order. `projection` chooses columns by
    /// index, all if `None`; it may be empty. No batch is empty.
    ///
    /// # Errors
    /// When an Arrow kernel fails or a column of the projection does not exist.
    pub fn batches(&self, projection: Option<&[usize]>) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for chunk in &self.inner.chunks {
            let weights = chunk.weights();
            if weights.iter().all(|&weight| weight == 1) {
                batches.push(self.batch(chunk, Rows::All(weights.len()), projection)?);
                continue;
            }
            let rows = repeated(weights);
            if !rows.is_empty() {
                batches.push(self.batch(chunk, Rows::Some(rows), projection)?);
            }
        }
        Ok(batches)
    }

    /// At most `limit` of the distinct rows, those after the first `skip`; otherwise as
    /// [`PartitionSnapshot::batches_with_weights`], of which it is a part. Only what is asked for is
    /// copied.
    ///
    /// # Errors
    /// As [`PartitionSnapshot::batches`].
    pub fn part_with_weights(
        &self,
        projection: &[usize],
        mut skip: usize,
        mut limit: usize,
    ) -> Result<Vec<(RecordBatch, Vec<i64>)>> {
        let mut batches = Vec::new();
        for chunk in &self.inner.chunks {
            let weights = chunk.weights();
            let live = weights.iter().filter(|&&weight| weight != 0).count();
            if skip >= live {
                skip -= live;
                continue;
            }
            let count = limit.min(live - skip);
            if count == 0 {
                break;
            }
            if live == weights.len() {
                let all = self.batch(chunk, Rows::All(live), Some(projection))?;
                batches.push((all.slice(skip, count), weights[skip..skip + count].to_vec()));
            } else {
                let (rows, kept): (Vec<u32>, Vec<i64>) = (0u32..)
                    .zip(weights.iter().copied())
                    .filter(|(_, weight)| *weight != 0)
                    .skip(skip)
                    .take(count)
                    .unzip();
                let batch = self.batch(chunk, Rows::Some(rows), Some(projection))?;
                batches.push((batch, kept));
            }
            (skip, limit) = (0, limit - count);
        }
        Ok(batches)
    }

    /// The rows whose columns have these values, each an array of one, compared as Arrow compares;
    /// otherwise as [`PartitionSnapshot::batches`].
    ///
    /// # Errors
    /// When an Arrow kernel fails, or a value is not of its column's type.
    pub fn rows_with(
        &self,
        values: &[(usize, ArrayRef)],
        projection: &[usize],
    ) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for chunk in &self.inner.chunks {
            let weights = chunk.weights();
            let mut equal = BooleanBuffer::new_set(weights.len());
            for (column, value) in values {
                let cells = chunk.data.columns[*column].slice(chunk.offset, weights.len());
                let (same, nulls) = eq(&cells, &Scalar::new(value))?.into_parts();
                equal = &equal & &same;
                if let Some(nulls) = nulls {
                    equal = &equal & nulls.inner();
                }
            }
            let mut rows = Vec::new();
            for row in equal.set_indices() {
                rows.extend((0..weights[row].max(0)).map(|_| row as u32));
            }
            if !rows.is_empty() {
                batches.push(self.batch(chunk, Rows::Some(rows), Some(projection))?);
            }
        }
        Ok(batches)
    }

    /// Each distinct row once, with its weight, which is never zero; in no order. No batch is
    /// empty.
    ///
    /// # Errors
    /// As [`PartitionSnapshot::batches`].
    pub fn batches_with_weights(
        &self,
        projection: Option<&[usize]>,
    ) -> Result<Vec<(RecordBatch, Vec<i64>)>> {
        let mut batches = Vec::new();
        for chunk in &self.inner.chunks {
            let weights = chunk.weights();
            let (rows, kept): (Vec<u32>, Vec<i64>) = (0u32..)
                .zip(weights.iter().copied())
                .filter(|(_, weight)| *weight != 0)
                .unzip();
            let rows = match kept.len() {
                0 => continue,
                all if all == weights.len() => Rows::All(all),
                _ => Rows::Some(rows),
            };
            batches.push((self.batch(chunk, rows, projection)?, kept));
        }
        Ok(batches)
    }

    pub(crate) fn batch(
        &self,
        chunk: &SnapshotChunk,
        rows: Rows,
        projection: Option<&[usize]>,
    ) -> Result<RecordBatch> {
        let schema = match projection {
            None => Arc::clone(&self.inner.columns),
            Some(columns) => Arc::new(self.inner.columns.project(columns)?),
        };
        let all: Vec<usize>;
        let projection = match projection {
            Some(columns) => columns,
            None => {
                all = (0..chunk.data.columns.len()).collect();
                &all
            }
        };
        let columns = projection.iter().map(|&column| &chunk.data.columns[column]);
        let (columns, rows) = match rows {
            Rows::All(rows) => {
                let slices = columns.map(|column| column.slice(chunk.offset, rows));
                (slices.collect(), rows)
            }
            Rows::Some(rows) => {
                let count = rows.len();
                let offset = chunk.offset as u32;
                let rows: UInt32Array = rows.into_iter().map(|row| row + offset).collect();
                let taken: Result<Vec<_>> = columns
                    .map(|column| Ok(take(column, &rows, None)?))
                    .collect();
                (taken?, count)
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

/// Rows of a chunk, each as often as its weight says.
pub(crate) fn repeated(weights: &[i64]) -> Vec<u32> {
    let mut rows = Vec::with_capacity(weights.len());
    for (row, &weight) in (0u32..).zip(weights) {
        rows.extend((0..weight.max(0)).map(|_| row));
    }
    rows
}

/// Which rows of a chunk, some perhaps more than once.
pub(crate) enum Rows {
    All(usize),
    Some(Vec<u32>),
}

impl SnapshotChunk {
    /// Tells the rows of chunks apart, among snapshots that are alive.
    pub(crate) fn identity(&self) -> (*const ChunkData, usize) {
        (Arc::as_ptr(&self.data), self.offset)
    }

    pub(crate) fn weights(&self) -> &[i64] {
        self.measures
            .int64(0)
            .expect("the first measure of a visible table is its weight")
    }
}

/// All key groups of one table at one barrier.
#[derive(Debug, Clone, Default)]
pub struct TableSnapshot {
    /// Indexed by key group; `None` where there are no rows.
    pub partitions: Vec<Option<PartitionSnapshot>>,
}

impl TableSnapshot {
    /// Number of rows, each counted as often as its weight says.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.partitions
            .iter()
            .flatten()
            .map(PartitionSnapshot::rows)
            .sum()
    }

    /// The rows of all key groups; see [`PartitionSnapshot::batches`].
    ///
    /// # Errors
    /// As [`PartitionSnapshot::batches`].
    pub fn batches(&self, projection: Option<&[usize]>) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for partition in self.partitions.iter().flatten() {
            batches.extend(partition.batches(projection)?);
        }
        Ok(batches)
    }
}

/// All visible tables at one epoch: what one query reads.
#[derive(Debug, Clone, Default)]
pub struct DatabaseSnapshot {
    /// The epoch whose barrier ended what is in it.
    pub epoch: Epoch,
    /// The time of that epoch, microseconds since 1970: what `now()` is in its views.
    pub time: i64,
    /// By job and column, the watermarks of their rows: days of dates, microseconds of times.
    pub watermarks: BTreeMap<u32, BTreeMap<usize, i64>>,
    /// Tables and views by job.
    pub tables: BTreeMap<u32, Arc<TableSnapshot>>,
    /// Jobs that are being started again after a failure, with the epoch that their rows are of.
    /// One that is not among the tables has no rows yet.
    pub stale: BTreeMap<u32, Epoch>,
}
