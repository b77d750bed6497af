//! What the state tables of a server take in memory together, and how much of it has to go.
//!
//! ```text
//!   resident ──────────────────────────────┐
//!   0 ─────────────────── 7/8 limit ──── limit
//!                             ▲             │ above it, each table evicts its share of
//!                             └─────────────┘ what is too much, down to here
//! ```
//!
//! Every table counts; only those whose rows are found by key alone can evict
//! ([`TableSchema::evictable`](crate::TableSchema::evictable)). They keep an eighth of the limit in any
//! case, so that tables that cannot evict do not push out every row that is being worked on.
//!
//! Not here: which rows go, and how they come back (`partition/eviction.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::Storage;

/// The part of the limit that an eviction frees, and that tables which evict may always have.
const PART: u64 = 8;

/// The memory that all state tables of a server share. All methods may be called from any thread.
#[derive(Debug)]
pub struct StateMemory {
    limit: u64,
    /// Where evicted rows are.
    storage: Arc<Storage>,
    resident: AtomicU64,
    /// Of the resident bytes, those of tables that can evict.
    evictable: AtomicU64,
    evicted_rows: AtomicU64,
}

impl StateMemory {
    /// Memory for so many bytes of state. With a limit of 0, tables evict whatever they can whenever
    /// they are asked to: for tests.
    #[must_use]
    pub fn new(storage: Arc<Storage>, limit: u64) -> Self {
        Self {
            limit,
            storage,
            resident: AtomicU64::new(0),
            evictable: AtomicU64::new(0),
            evicted_rows: AtomicU64::new(0),
        }
    }

    /// Bytes of all state tables in memory, about.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Whether tables take more than they may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.resident() > self.limit
    }

    /// Whether rows of any table are on disk alone, so that work may have to wait for them.
    #[must_use]
    pub fn has_evicted(&self) -> bool {
        self.evicted_rows.load(Ordering::Relaxed) > 0
    }

    /// Where evicted rows are.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Whether everything that can go is to go.
    pub(crate) fn evicts_all(&self) -> bool {
        self.limit == 0
    }

    /// The share of what a table has that it is to evict.
    pub(crate) fn share_to_evict(&self) -> Option<f64> {
        if !self.is_over() {
            return None;
        }
        let evictable = self.evictable.load(Ordering::Relaxed);
        let excess = self.resident() - (self.limit - self.limit / PART);
        let most = evictable.saturating_sub(self.limit / PART);
        (most > 0).then(|| excess.min(most) as f64 / evictable as f64)
    }
}

/// What one table has, as the shared memory knows it.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) memory: Arc<StateMemory>,
    is_evictable: bool,
    resident: u64,
    evicted_rows: u64,
}

impl Account {
    pub(crate) fn new(memory: Arc<StateMemory>, is_evictable: bool) -> Self {
        Self {
            memory,
            is_evictable,
            resident: 0,
            evicted_rows: 0,
        }
    }

    /// Bytes of the table in memory.
    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }

    /// Rows of the table that are on disk alone.
    pub(crate) fn evicted_rows(&self) -> u64 {
        self.evicted_rows
    }

    /// Sets what the table has.
    pub(crate) fn set(&mut self, resident: u64, evicted_rows: u64) {
        let change = |total: &AtomicU64, from: u64, to: u64| match to >= from {
            true => total.fetch_add(to - from, Ordering::Relaxed),
            false => total.fetch_sub(from - to, Ordering::Relaxed),
        };
        change(&self.memory.resident, self.resident, resident);
        if self.is_evictable {
            change(&self.memory.evictable, self.resident, resident);
        }
        change(&self.memory.evicted_rows, self.evicted_rows, evicted_rows);
        (self.resident, self.evicted_rows) = (resident, evicted_rows);
    }

    /// Adds evicted rows that came back.
    pub(crate) fn take_back(&mut self, rows: u64, bytes: u64) {
        self.set(self.resident + bytes, self.evicted_rows - rows);
    }

    /// Adds bytes of new rows.
    pub(crate) fn grow(&mut self, bytes: u64) {
        self.set(self.resident + bytes, self.evicted_rows);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}
