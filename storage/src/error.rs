//! What can go wrong in storage, by what a caller can do about it.

use std::path::PathBuf;

use scaling::KeyGroup;

use crate::schema::TableId;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of storage. Data, peers and disks cause these; bugs panic.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the directory open. Nothing was changed.
    #[error("data directory \"{}\" is in use by another server", path.display())]
    Locked {
        /// The directory that was to be opened.
        path: PathBuf,
        /// What RocksDB said, with the process id of the holder where it knows it.
        #[source]
        source: rocksdb::Error,
    },
    /// Stored or received bytes are not what was written. Nothing built on them can be trusted.
    #[error("corrupt data in {place}: {detail}")]
    Corrupt {
        /// File, table or message in which the bytes were found.
        place: String,
        /// What is wrong with them.
        detail: String,
    },
    /// The directory was written by a newer, or no longer supported, version. It is untouched.
    #[error("data format {found} is not supported by this server, which reads format {supported}")]
    Format {
        /// The format number found.
        found: u32,
        /// The format number that this version reads and writes.
        supported: u32,
    },
    /// No space left. Nothing of the write was applied; it may be tried again.
    #[error("no space left on the device that holds the data directory")]
    DiskFull {
        /// What the device or RocksDB said.
        #[source]
        source: rocksdb::Error,
    },
    /// A write failed earlier and what reached the disk is not known: writes stay refused.
    #[error("storage refuses writes after an earlier write error; restart the server")]
    WritesStopped,
    /// A file of ours outside RocksDB could not be read or written.
    #[error("cannot access \"{}\"", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// RocksDB failed in a way that none of the other variants names.
    #[error("storage engine error")]
    RocksDb(#[source] rocksdb::Error),
    /// An Arrow kernel refused its input.
    #[error("cannot process rows of a state table")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A row or a state for a key group that this table does not own.
    #[error("{table} does not own key group {key_group}")]
    NotOwned {
        /// The table.
        table: TableId,
        /// The key group.
        key_group: KeyGroup,
    },
    /// State for a key group whose partition is here already, and not empty.
    #[error("{table} already has rows of key group {key_group}")]
    AlreadyOwned {
        /// The table.
        table: TableId,
        /// The key group.
        key_group: KeyGroup,
    },
    /// Columns or measures that do not have the shape of the table.
    #[error("rows do not have the shape of {table}: {detail}")]
    Shape {
        /// The table.
        table: TableId,
        /// What differs.
        detail: String,
    },
}
