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
use crate::layout::KeyPrefix;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets the value of a key.
    Put {
        /// Where.
        family: ColumnFamily,
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// Removes a key; no error if it is not there.
    Delete {
        /// Where.
        family: ColumnFamily,
        /// The key.
        key: &'a [u8],
    },
    /// Removes every key in `start..end`.
    DeleteRange {
        /// Where.
        family: ColumnFamily,
        /// First key to go.
        start: &'a [u8],
        /// First key to stay.
        end: &'a [u8],
    },
}

/// Changes that become visible and durable together; a later one wins over an earlier one.
///
/// A checkpoint has millions of them, so keys and values lie in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet {
    entries: Vec<Entry>,
    /// For each entry its two parts, one after the other.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    family: ColumnFamily,
    /// Bytes of the key, or of the first key to go.
    first: u32,
    /// Bytes of the value, or of the first key to stay.
    second: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
}

impl WriteSet {
    /// Sets the value of a key. Either is shorter than 4 GiB, here and below.
    pub fn put(&mut self, family: ColumnFamily, key: &[u8], value: &[u8]) {
        self.push(Kind::Put, family, key, value);
    }

    /// Removes a key; no error if it is not there.
    pub fn delete(&mut self, family: ColumnFamily, key: &[u8]) {
        self.push(Kind::Delete, family, key, &[]);
    }

    /// Removes every key in `start..end`.
    pub fn delete_range(&mut self, family: ColumnFamily, start: &[u8], end: &[u8]) {
        self.push(Kind::DeleteRange, family, start, end);
    }

    fn push(&mut self, kind: Kind, family: ColumnFamily, first: &[u8], second: &[u8]) {
        let length = |part: &[u8]| u32::try_from(part.len()).expect("shorter than 4 GiB");
        self.entries.push(Entry {
            kind,
            family,
            first: length(first),
            second: length(second),
        });
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(second);
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The changes in order.
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |entry| {
            let (first, others) = rest.split_at(entry.first as usize);
            let (second, others) = others.split_at(entry.second as usize);
            rest = others;
            let family = entry.family;
            match entry.kind {
                Kind::Put => Operation::Put {
                    family,
                    key: first,
                    value: second,
                },
                Kind::Delete => Operation::Delete { family, key: first },
                Kind::DeleteRange => Operation::DeleteRange {
                    family,
                    start: first,
                    end: second,
                },
            }
        })
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

    /// Visits all keys of `state` that begin with one of these prefixes, which ascend, prefix by prefix.
    /// A visit cannot end it.
    ///
    /// # Errors
    /// As [`Kv::get`].
    fn scan_rows(&self, prefixes: &[KeyPrefix], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()>;

    /// Applies a write set, whole or not at all.
    ///
    /// # Errors
    /// When the disk is full or fails. After a failed sync nothing more is written
    /// ([`Error::WritesStopped`](crate::Error::WritesStopped)).
    fn write(&self, writes: WriteSet, durability: Durability) -> Result<()>;
}
