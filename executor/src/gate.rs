//! Holds input back while checkpoints cannot keep up with it.
//!
//! Rows that changed since the last checkpoint are in memory twice while they are written. So if
//! there are many, and the checkpoint before is still being written, tables take no writes and
//! backfills and sources bring no rows until it is. What is in the channels goes on, and so do
//! barriers.

use std::sync::atomic::{AtomicBool, Ordering};

/// Open unless the conductor says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
}

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Whoever waits looks again after some milliseconds.
    pub(crate) fn set_open(&self, open: bool) {
        self.closed.store(!open, Ordering::Relaxed);
    }
}
