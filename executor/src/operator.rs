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
//! Not here: alignment, commit, forwarding, migration (`executor`), how operators are chained
//! (`pipeline`).

use scaling::Epoch;
use storage::StateTable;

use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operators::Dml;

/// The end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Barrier {
    /// The epoch that ends here.
    pub epoch: Epoch,
    /// Whether the state at this barrier is also made durable: a checkpoint.
    pub durable: bool,
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
