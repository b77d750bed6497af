//! Reading the rows of a table whose keys are in some ranges, and no others; in the order of the keys if
//! that is asked for.
//!
//! ```text
//!   each chunk, sorted   ──── binary search ───► its places in the range: a run
//!   runs                 ──── heap of heads ───► rows, the least key first (or the greatest)
//! ```
//!
//! Key groups are by hash, so every chunk may have rows of a range: a search costs a few comparisons a
//! chunk, whatever it has, and what is read then follows what is taken. Comparisons in the heap are of
//! the first bytes of keys, which stand in it.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::gather::Gather;
use crate::snapshot::{PartitionSnapshot, Rows, SnapshotChunk, TableSnapshot, repeated};
use crate::sorted_rows::{KeyOrder, KeyRange, SortedRows};

/// In which order rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// In none, which is the fastest.
    Any,
    /// The least key first, NULL last.
    Ascending,
    /// The greatest key first, NULL before it.
    Descending,
}

/// Rows that are being read.
#[derive(Debug, Clone)]
pub struct KeyRead {
    schema: SchemaRef,
    direction: Direction,
    runs: Vec<Run>,
    /// Of a read in no order, the run that is being read.
    current: usize,
    /// Of an ordered read, the runs that have rows, as a binary heap.
    heads: Vec<Head>,
    /// The run and the row that was read last, and how often it is still to come.
    again: Option<(usize, usize, i64)>,
}

/// What is left of a chunk.
#[derive(Debug, Clone)]
struct Run {
    partition: PartitionSnapshot,
    chunk: usize,
    sorted: Arc<SortedRows>,
    places: Range<usize>,
}

/// The next row of a run.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// The first bytes of its key.
    prefix: u128,
    run: u32,
}

impl TableSnapshot {
    /// The rows whose keys are in any of `ranges`, which do not overlap.
    ///
    /// # Errors
    /// If the order is not one of this table's columns.
    pub fn read(
        &self,
        order: &KeyOrder,
        ranges: &[KeyRange],
        direction: Direction,
    ) -> Result<KeyRead> {
        let mut runs = Vec::new();
        let mut schema = None;
        for partition in self.partitions.iter().flatten() {
            schema.get_or_insert_with(|| partition.schema());
            for (at, chunk) in partition.inner.chunks.iter().enumerate() {
                let sorted = chunk.sorted(order)?;
                for range in ranges {
                    let places = sorted.places(range);
                    if !places.is_empty() {
                        runs.push(Run {
                            partition: partition.clone(),
                            chunk: at,
                            sorted: Arc::clone(sorted),
                            places,
                        });
                    }
                }
            }
        }
        let mut read = KeyRead {
            schema: schema.unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty())),
            direction,
            runs,
            current: 0,
            heads: Vec::new(),
            again: None,
        };
        read.make_heap();
        Ok(read)
    }
}

impl KeyRead {
    /// The distinct rows that are left, some of which may be deleted ones.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.runs.iter().map(|run| run.places.len()).sum()
    }

    /// The same, whose rows come in this order from now on.
    #[must_use]
    pub fn in_order(mut self, direction: Direction) -> KeyRead {
        self.direction = direction;
        self.make_heap();
        self
    }

    /// The next rows, at most `limit`, each as often as its weight says; `None` at the end.
    ///
    /// # Errors
    /// When an Arrow kernel fails.
    pub fn next(&mut self, projection: &[usize], limit: usize) -> Result<Option<RecordBatch>> {
        let mut picks: Vec<(usize, usize)> = Vec::new();
        while picks.len() < limit {
            let Some((run, row, weight)) = self.again.take().or_else(|| self.take_row()) else {
                break;
            };
            let room = limit - picks.len();
            let times = usize::try_from(weight).map_or(room, |weight| weight.min(room));
            picks.extend(std::iter::repeat_n((run, row), times));
            if weight > times as i64 {
                self.again = Some((run, row, weight - times as i64));
            }
        }
        if picks.is_empty() {
            return Ok(None);
        }
        let count = picks.len();
        let mut gather = Gather::default();
        for (run, row) in picks {
            let chunk = self.runs[run].chunk();
            let source = gather.source(&chunk.data);
            gather.pick(source, chunk.offset + row);
        }
        let columns = gather.columns(&self.schema, projection)?;
        let schema = Arc::new(self.schema.project(projection)?);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?))
    }

    /// What is left of the next chunk, in no order, each row as often as its weight says; `None` at the
    /// end. Where most rows of chunks are read, that is faster than [`KeyRead::next`].
    ///
    /// # Errors
    /// When an Arrow kernel fails.
    pub fn next_chunk(&mut self, projection: &[usize]) -> Result<Option<RecordBatch>> {
        self.heads.clear();
        self.direction = Direction::Any;
        if let Some((_, _, times)) = self.again {
            return self.next(projection, usize::try_from(times).unwrap_or(usize::MAX));
        }
        while let Some(run) = self.runs.get_mut(self.current) {
            self.current += 1;
            let places = std::mem::replace(&mut run.places, 0..0);
            let chunk = run.chunk();
            let mut times = vec![0; chunk.weights().len()];
            for at in places {
                let row = run.sorted.row(at);
                times[row] = chunk.weights()[row];
            }
            let rows = match times.iter().all(|&times| times == 1) {
                true => Rows::All(times.len()),
                false => Rows::Some(repeated(&times)),
            };
            let batch = run.partition.batch(chunk, rows, Some(projection))?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The run, row and weight of the next row that is there.
    fn take_row(&mut self) -> Option<(usize, usize, i64)> {
        let at = match self.direction {
            Direction::Any => loop {
                let run = self.runs.get_mut(self.current)?;
                run.skip_deleted(self.direction);
                if !run.places.is_empty() {
                    break self.current;
                }
                self.current += 1;
            },
            Direction::Ascending | Direction::Descending => self.heads.first()?.run as usize,
        };
        let run = &mut self.runs[at];
        let row = run.sorted.row(run.head(self.direction));
        let weight = run.chunk().weights()[row];
        run.step(self.direction);
        if self.direction != Direction::Any {
            self.renew_first();
        }
        Some((at, row, weight))
    }

    fn make_heap(&mut self) {
        self.heads.clear();
        self.current = 0;
        if self.direction == Direction::Any {
            return;
        }
        for at in 0..self.runs.len() {
            self.runs[at].skip_deleted(self.direction);
            self.heads.extend(self.head_of(at));
        }
        for at in (0..self.heads.len() / 2).rev() {
            self.sift_down(at);
        }
    }

    /// Puts the next row of the first run into the place of the one that was taken.
    fn renew_first(&mut self) {
        let at = self.heads[0].run as usize;
        self.runs[at].skip_deleted(self.direction);
        match self.head_of(at) {
            Some(head) => self.heads[0] = head,
            None => {
                self.heads.swap_remove(0);
            }
        }
        self.sift_down(0);
    }

    fn head_of(&self, at: usize) -> Option<Head> {
        let run = &self.runs[at];
        let place = (!run.places.is_empty()).then(|| run.head(self.direction))?;
        Some(Head {
            prefix: prefix(run.sorted.key(place)),
            run: at as u32,
        })
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let children = [2 * at + 1, 2 * at + 2];
            let among = children
                .into_iter()
                .filter(|&child| child < self.heads.len());
            let first = among.fold(at, |first, child| match self.is_before(child, first) {
                true => child,
                false => first,
            });
            if first == at {
                return;
            }
            self.heads.swap(first, at);
            at = first;
        }
    }

    /// Whether the row of one head comes before that of another.
    fn is_before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heads[a], self.heads[b]);
        let key = |head: Head| {
            let run = &self.runs[head.run as usize];
            run.sorted.key(run.head(self.direction))
        };
        let ordering = a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b)));
        match self.direction {
            Direction::Descending => ordering == Ordering::Greater,
            Direction::Any | Direction::Ascending => ordering == Ordering::Less,
        }
    }
}

impl Run {
    fn chunk(&self) -> &SnapshotChunk {
        &self.partition.inner.chunks[self.chunk]
    }

    /// The place that is read next; there is one.
    fn head(&self, direction: Direction) -> usize {
        match direction {
            Direction::Any | Direction::Ascending => self.places.start,
            Direction::Descending => self.places.end - 1,
        }
    }

    fn step(&mut self, direction: Direction) {
        match direction {
            Direction::Any | Direction::Ascending => self.places.start += 1,
            Direction::Descending => self.places.end -= 1,
        }
    }

    /// Leaves out rows that were deleted, up to one that is there.
    fn skip_deleted(&mut self, direction: Direction) {
        while !self.places.is_empty()
            && self.chunk().weights()[self.sorted.row(self.head(direction))] <= 0
        {
            self.step(direction);
        }
    }
}

impl SnapshotChunk {
    /// The rows in an order, which is made if nobody has asked for it before.
    fn sorted(&self, order: &KeyOrder) -> Result<&Arc<SortedRows>> {
        let rows = self.weights().len();
        self.orders.sorted(order, |columns| {
            let of = |&column: &usize| -> ArrayRef {
                self.data.columns[column].slice(self.offset, rows)
            };
            columns.iter().map(of).collect()
        })
    }
}

/// The first bytes of a key, which compare as the keys do where they differ.
fn prefix(key: &[u8]) -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}
