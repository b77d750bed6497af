//! The stable hash of rows, and the key group it gives.
//!
//! Rows are hashed column by column, whole vectors at a time: every cell becomes one 64-bit word,
//! which is folded into the hash of its row by a 64 × 64 → 128 bit multiplication (as in wyhash):
//!
//! ```text
//!   h₀ = SEED      hᵢ₊₁ = fold(hᵢ ^ word(cellᵢ), MULTIPLIER)      hash = mix(hₙ)
//! ```
//!
//! | cell | word |
//! | --- | --- |
//! | NULL | `NULL_WORD`, whatever the type |
//! | boolean | 0 or 1 |
//! | integers, dates, times, timestamps, durations | the number, sign-extended |
//! | floats | the bits as 64-bit float; -0.0 as 0.0, every NaN as one |
//! | decimals and intervals of 128 or 256 bits | their 64-bit words folded, the lowest first |
//! | text and binary, of any offset width | XXH3-64 of the bytes |
//! | everything else | XXH3-64 of its Arrow row format |
//!
//! So an equal number has an equal hash in every integer type, and text in every layout. Stored
//! state depends on these values: golden tests pin them, and a change is a new storage format.

use arrow::array::{Array, ArrayRef};
use scaling::KeyGroup;
use xxhash_rust::xxh3::xxh3_64;

use crate::cells::Cells;

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL_WORD: u64 = 0xa409_3822_299f_31d0;

/// The hash of every row of `columns`, which have one length; empty if there are no columns.
///
/// # Panics
/// When a column has a type without an Arrow row format; no state table has such columns.
#[must_use]
pub fn hash_rows(columns: &[ArrayRef]) -> Vec<u64> {
    let rows = columns.first().map_or(0, |column| column.len());
    let cells: Vec<Cells> = columns.iter().map(Cells::new).collect();
    let mut hashes = Vec::new();
    hash_cells(cells.iter(), rows, &mut hashes);
    hashes
}

/// The key group of a hash: the 32 bits in its middle, scaled to `0..key_groups`.
///
/// The top bits and the low ones stay free for the hash tables inside one key group.
///
/// # Panics
/// When `key_groups` is zero.
#[must_use]
pub fn key_group(hash: u64, key_groups: u16) -> KeyGroup {
    assert!(key_groups > 0, "there is at least one key group");
    let middle = (hash >> 16) & 0xffff_ffff;
    KeyGroup(((middle * u64::from(key_groups)) >> 32) as u16)
}

/// Replaces `hashes` by the hashes of `rows` rows.
pub(crate) fn hash_cells<'a>(
    columns: impl Iterator<Item = &'a Cells>,
    rows: usize,
    hashes: &mut Vec<u64>,
) {
    hashes.clear();
    hashes.resize(rows, SEED);
    for column in columns {
        column.fold_words(NULL_WORD, hashes);
    }
    for hash in hashes {
        *hash = mix(*hash);
    }
}

/// Folds a word into the hash of a row.
#[inline]
pub(crate) fn fold(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

/// One word of several, in which their order matters.
#[inline]
pub(crate) fn word_of_words(words: &[u64]) -> u64 {
    words.iter().fold(0, |word, &next| mix(fold(word, next)))
}

/// Spreads every bit over the whole word (the finalizer of SplitMix64).
#[inline]
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The word of a text or binary cell.
#[inline]
pub(crate) fn word_of_bytes(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}
