//! What an operator is: a passive transformer of change batches whose memory is its state tables.
//!
//! ```text
//!   batch   ──► on_batch    ──► output batches ──► parent operator, at last the dispatcher
//!   barrier ──► on_barrier  ──► the difference the epoch made, then (executor) commit, then forward
//!   idle    ──► poll        ──► rows of a source or of a backfill
//! ```
//!
//! An operator keeps nothing across calls except in its state tables: a key group may leave between
//! any two calls, and what is not in a state table stays behind. So no operator knows that scaling
//! exists. What is fixed by the plan, and what can be derived again (compiled expressions,
//! generator handles), may be kept.
//!
//! Weights may be negative inside an epoch, never at its barrier.
//!
//! Not here: alignment, commit, forwarding, migration (`executor`), how operators are chained, and
//! what is counted of them (`pipeline`).

use std::collections::BTreeMap;

use scaling::Epoch;
use storage::StateTable;

use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operators::{Dml, Lateness};

/// The end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Barrier {
    /// The epoch that ends here.
    pub epoch: Epoch,
    /// Whether the state at this barrier is also made durable: a checkpoint.
    pub durable: bool,
    /// What `now()` is in this epoch: microseconds since 1970. Never goes back.
    pub time: i64,
}

/// Promises about columns of rows: no row of a later epoch has a smaller value there. They travel
/// with the barriers, so they are the same in all executors of a fragment, whatever moves.
///
/// Dates count in days, times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermarks(BTreeMap<usize, i64>);

impl Watermarks {
    /// The watermark of a column, if it has one.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<i64> {
        self.0.get(&column).copied()
    }

    /// The watermarks by column.
    #[must_use]
    pub fn by_column(&self) -> &BTreeMap<usize, i64> {
        &self.0
    }

    /// Sets the watermark of a column.
    pub fn set(&mut self, column: usize, value: i64) {
        self.0.insert(column, value);
    }

    /// What is promised about the rows of some streams together: of each column the least. `None`
    /// if there are no streams.
    pub fn least<'a>(streams: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut streams = streams.into_iter();
        let first = streams.next()?.clone();
        Some(streams.fold(first, |mut all, stream| {
            all.0.retain(|column, value| match stream.get(*column) {
                Some(other) => {
                    *value = other.min(*value);
                    true
                }
                None => false,
            });
            all
        }))
    }
}

/// Transforms change batches; all it remembers is in its state tables.
pub trait Operator: Send {
    /// Takes the next changes of one of its inputs (0 for the first or only one).
    ///
    /// # Errors
    /// When state or data cannot be handled; the job then restarts from its last checkpoint. Errors
    /// of single rows are contained and counted, not returned.
    fn on_batch(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()>;

    /// Ends the epoch: pushes what only its consolidated changes tell. Does not commit the state
    /// tables.
    ///
    /// # Errors
    /// As for [`on_batch`](Self::on_batch).
    fn on_barrier(&mut self, _barrier: &Barrier, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// Acts on what is promised about the rows of later epochs, by input; after
    /// [`on_barrier`](Self::on_barrier).
    ///
    /// # Errors
    /// As for [`on_batch`](Self::on_batch).
    fn on_watermarks(&mut self, _inputs: &[Watermarks], _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// Promises that the operator makes on its own, about columns of its output: a source's.
    ///
    /// # Errors
    /// If state cannot be read.
    fn watermarks(&self) -> Result<Watermarks> {
        Ok(Watermarks::default())
    }

    /// Whether what is promised about its inputs holds for its output: not while it pushes rows that
    /// were there before.
    fn passes_watermarks(&self) -> bool {
        true
    }

    /// What the operator's own watermark has come to, if it makes one.
    ///
    /// # Errors
    /// If state cannot be read.
    fn lateness(&self) -> Result<Option<Lateness>> {
        Ok(None)
    }

    /// The operator's state tables, always the same ones in the same order.
    fn tables(&mut self) -> Vec<&mut StateTable> {
        Vec::new()
    }

    /// Pushes a bounded piece of what the operator has on its own: a source's rows, a backfill's.
    /// Whether it pushed any.
    ///
    /// # Errors
    /// As for [`on_batch`](Self::on_batch).
    fn poll(&mut self, _out: &mut Output) -> Result<bool> {
        Ok(false)
    }

    /// Rows of a pinned snapshot that [`poll`](Self::poll) has yet to push.
    fn backfill_remaining(&self) -> u64 {
        0
    }

    /// Lets go of the pinned snapshot: no executor of the job has rows of it left to push.
    fn end_backfill(&mut self) {}

    /// The operator as the root of a table's writes, if it is one.
    fn as_dml(&mut self) -> Option<&mut Dml> {
        None
    }
}

/// Where an operator puts its change batches, in order. Empty ones are dropped.
#[derive(Debug, Default)]
pub struct Output {
    batches: Vec<ChangeBatch>,
}

impl Output {
    /// An empty output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch unless it has no rows.
    pub fn push(&mut self, batch: ChangeBatch) {
        if !batch.is_empty() {
            self.batches.push(batch);
        }
    }

    /// Whether nothing was pushed since the last [`drain`](Self::drain).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The batches pushed so far, in order.
    #[must_use]
    pub fn batches(&self) -> &[ChangeBatch] {
        &self.batches
    }

    /// Takes the batches out, in order; the output is empty afterwards and keeps its allocation.
    pub fn drain(&mut self) -> impl Iterator<Item = ChangeBatch> + '_ {
        self.batches.drain(..)
    }
}
