//! The seam to the disk: ordered keys and values in three column families.
//!
//! `Storage` reaches its bytes only through [`Kv`]. RocksDB implements it for the server
//! ([`RocksKv`](crate::rocks_kv::RocksKv)), and memory with a durable and a pending half for tests
//! of crashes ([`MemoryKv`](crate::memory_kv::MemoryKv)). One contract test runs on both.
//!
//! A [`WriteSet`] is atomic over all column families, and write sets become durable in the order
//! in which they were written: a crash loses a suffix of those not synced, never one in between.

use std::fmt::Debug;
use std::ops::ControlFlow;

use crate::error::Result;

/// A separate key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnFamily {
    /// Format number, committed epoch, catalog rows, digests.
    Meta,
    /// Rows of state tables.
    State,
    /// Changes of base tables that no checkpoint holds yet.
    Wal,
}

impl ColumnFamily {
    /// Every column family.
    pub const ALL: [Self; 3] = [Self::Meta, Self::State, Self::Wal];

    /// Its name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::State => "state",
            Self::Wal => "wal",
        }
    }
}

/// What must be true when a write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// This write, and every one before it, survives a crash of the machine.
    Synced,
    /// The write is visible; a crash may lose it.
    Unsynced,
}

/// One change of a [`WriteSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets the value of a key.
    Put {
        /// Where.
        family: ColumnFamily,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key; no error if it is not there.
    Delete {
        /// Where.
        family: ColumnFamily,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key in `start..end`.
    DeleteRange {
        /// Where.
        family: ColumnFamily,
        /// First key to go.
        start: Vec<u8>,
        /// First key to stay.
        end: Vec<u8>,
    },
}

/// Changes that become visible and durable together; a later one wins over an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet {
    operations: Vec<Operation>,
}

impl WriteSet {
    /// Sets the value of a key.
    pub fn put(&mut self, family: ColumnFamily, key: Vec<u8>, value: Vec<u8>) {
        self.operations.push(Operation::Put { family, key, value });
    }

    /// Removes a key; no error if it is not there.
    pub fn delete(&mut self, family: ColumnFamily, key: Vec<u8>) {
        self.operations.push(Operation::Delete { family, key });
    }

    /// Removes every key in `start..end`.
    pub fn delete_range(&mut self, family: ColumnFamily, start: Vec<u8>, end: Vec<u8>) {
        self.operations
            .push(Operation::DeleteRange { family, start, end });
    }

    /// The changes in order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

/// Called with each key and value of a scan; `Break` ends it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Ordered keys and values. All methods may be called from any thread.
pub trait Kv: Send + Sync + Debug {
    /// The value of a key.
    ///
    /// # Errors
    /// When the bytes cannot be read, or are not what was written.
    fn get(&self, family: ColumnFamily, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits all keys that begin with `prefix`, in order of their bytes, as they are now: writes
    /// made meanwhile are not seen.
    ///
    /// # Errors
    /// As [`Kv::get`].
    fn scan(&self, family: ColumnFamily, prefix: &[u8], visit: Visit<'_>) -> Result<()>;

    /// Applies a write set, whole or not at all.
    ///
    /// # Errors
    /// When the disk is full or fails. After a failed sync nothing more is written
    /// ([`Error::WritesStopped`](crate::Error::WritesStopped)).
    fn write(&self, writes: WriteSet, durability: Durability) -> Result<()>;
}
