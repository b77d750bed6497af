//! The bytes on disk: keys and values of each column family.
//!
//! ```text
//!   family  key                                                     value
//!   meta    "format"                                                u32 BE, FORMAT
//!           "epoch"                                                 u64 BE, last checkpoint
//!           "time"                                                  i64 BE, of that epoch, microseconds
//!           "catalog/" ++ key of the caller                         value of the caller
//!           "digest/" ++ table ++ key group                         u128 BE, see below
//!           "rebuilding/" ++ job u32 BE                             nothing; its rows are not whole
//!   state   table ++ key group ++ row                               measures of the row
//!           table ++ key group ++ key hash ++ row                   the same, of tables that can evict
//!   wal     job u32 BE ++ sequence number u64 BE                    bytes of the caller
//!
//!   table      job u32 BE ++ number u16 BE                          6 bytes
//!   key group  u16 BE                                               2 bytes
//!   key hash   u64 BE, hash of the look-up key                      8 bytes
//!   row        Arrow row format of all columns, ascending, NULLs first
//!   measures   one after the other, little-endian: i64 | i128 (sum or greatest) | i256 | two f64 (high, low)
//! ```
//!
//! The digest of a key group is the sum of the digests of its rows (see `digest.rs`), compared
//! with the rows that a restart reads. All tables of a job, and all rows of a key group, are
//! neighbours, so dropping a job is one range and loading a table is one scan.

use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use scaling::KeyGroup;

use crate::error::{Error, Result};
use crate::schema::TableId;

/// Version of everything drawn above and of [`hash_rows`](crate::hash_rows).
pub const FORMAT: u32 = 3;

/// Key of the format number in `meta`.
pub const FORMAT_KEY: &[u8] = b"format";

/// Key of the committed epoch in `meta`.
pub const EPOCH_KEY: &[u8] = b"epoch";

/// Key in `meta` that is there while a table of rows waits to become part of `state`.
pub const INCOMING_KEY: &[u8] = b"incoming";

/// Key of the time of the committed epoch in `meta`.
pub const TIME_KEY: &[u8] = b"time";

/// What the keys of catalog rows begin with, in `meta`.
pub const CATALOG_PREFIX: &[u8] = b"catalog/";

/// What the keys of digests begin with, in `meta`.
pub const DIGEST_PREFIX: &[u8] = b"digest/";

/// What the keys begin with, in `meta`, that say which jobs' rows are not whole.
pub const REBUILDING_PREFIX: &[u8] = b"rebuilding/";

/// Bytes in front of the row in a key of `state`, or of its key hash, if there is one.
pub const STATE_PREFIX_BYTES: usize = 8;

/// Bytes in front of the row where there is a key hash.
pub const KEY_PREFIX_BYTES: usize = 16;

/// What the keys of all rows of a key hash begin with, in `state`.
pub type KeyPrefix = [u8; KEY_PREFIX_BYTES];

/// What the keys of all rows of a job begin with, in `state` and `wal`.
#[must_use]
pub fn job_prefix(job: u32) -> [u8; 4] {
    job.to_be_bytes()
}

/// What the keys of all rows of a table begin with, in `state`.
#[must_use]
pub fn table_prefix(table: TableId) -> [u8; 6] {
    let mut bytes = [0; 6];
    bytes[..4].copy_from_slice(&table.job.to_be_bytes());
    bytes[4..].copy_from_slice(&table.table.to_be_bytes());
    bytes
}

/// What the keys of all rows of a key group of a table begin with, in `state`.
#[must_use]
pub fn partition_prefix(table: TableId, key_group: KeyGroup) -> [u8; STATE_PREFIX_BYTES] {
    let mut bytes = [0; STATE_PREFIX_BYTES];
    bytes[..6].copy_from_slice(&table_prefix(table));
    bytes[6..].copy_from_slice(&key_group.0.to_be_bytes());
    bytes
}

/// What the keys of all rows of a key hash begin with, in `state`.
#[must_use]
pub fn key_prefix(table: TableId, key_group: KeyGroup, key_hash: u64) -> KeyPrefix {
    let mut bytes = [0; KEY_PREFIX_BYTES];
    bytes[..STATE_PREFIX_BYTES].copy_from_slice(&partition_prefix(table, key_group));
    bytes[STATE_PREFIX_BYTES..].copy_from_slice(&key_hash.to_be_bytes());
    bytes
}

/// Key of a change in `wal`.
#[must_use]
pub fn wal_key(job: u32, sequence: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&job.to_be_bytes());
    bytes[4..].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

/// Key of the digest of a key group, in `meta`.
#[must_use]
pub fn digest_key(table: TableId, key_group: KeyGroup) -> Vec<u8> {
    [DIGEST_PREFIX, &partition_prefix(table, key_group)].concat()
}

/// Key that is there while the stored rows of a job are not whole, in `meta`.
#[must_use]
pub fn rebuilding_key(job: u32) -> Vec<u8> {
    [REBUILDING_PREFIX, &job_prefix(job)].concat()
}

/// Key of a catalog row, in `meta`.
#[must_use]
pub fn catalog_key(key: &[u8]) -> Vec<u8> {
    [CATALOG_PREFIX, key].concat()
}

/// The first key after all that begin with `prefix`.
///
/// # Panics
/// When every byte of the prefix is 255. No prefix of ours is: job `u32::MAX` is not used.
#[must_use]
pub fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let last = prefix.iter().rposition(|&byte| byte != 255);
    let last = last.expect("no stored prefix consists of 255 only");
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

/// The converter between the columns of a table and the row bytes of its keys.
///
/// # Errors
/// When a column has a type without row format.
pub fn row_converter(columns: &SchemaRef) -> Result<RowConverter> {
    let fields = columns
        .fields()
        .iter()
        .map(|field| SortField::new(field.data_type().clone()))
        .collect();
    Ok(RowConverter::new(fields)?)
}

/// Splits a key of `state` behind its table: the key group, and the bytes of the row with its key hash,
/// if it has one.
///
/// # Errors
/// When the key is too short.
pub fn split_state_key(table: TableId, key: &[u8]) -> Result<(KeyGroup, &[u8])> {
    match key.get(6..STATE_PREFIX_BYTES) {
        Some(&[high, low]) => {
            let key_group = KeyGroup(u16::from_be_bytes([high, low]));
            Ok((key_group, &key[STATE_PREFIX_BYTES..]))
        }
        _ => Err(Error::Corrupt {
            place: table.to_string(),
            detail: format!("a key of {} bytes", key.len()),
        }),
    }
}
