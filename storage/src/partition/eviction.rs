//! Rows that are on disk alone: how they go there, and come back.
//!
//! ```text
//!   commit, durable ─► being written ─► checkpoint written ─► clean ─► not used since the last look ─► evicted
//!         ▲                                                    ▲                                          │
//!         └──────────────────── changed ───────────────────────┴────────── a look-up, or a change ◄───────┘
//! ```
//!
//! All rows of a hash of the look-up key are in memory, or none is: so whether a key's rows are here is
//! seen in the index, and reading them back is one look at the disk, by that hash. A row that changed
//! stays until the checkpoint that has the change is written. One that was deleted stays as well, or the
//! disk would bring it back.
//!
//! What is on disk alone is counted, with its digest: so the digest of the key group still tells whether
//! a row was lost.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashSet;
use scaling::{Epoch, KeyGroup};

use super::{Partition, Shape};
use crate::chunk::{ChunkData, ChunkMeasures};
use crate::digest::digest;
use crate::error::Result;
use crate::measures::Measures;
use crate::rows::{DIRTY, STORED, TOUCHED, USED, WRITING};

/// Rows of a key group that are on disk alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Number of rows.
    pub rows: u64,
    /// What they took in memory, about.
    pub bytes: u64,
    /// Their digest.
    pub digest: u128,
}

/// Rows read back from disk, several key groups' together.
pub(crate) struct Restored {
    pub(crate) data: Arc<ChunkData>,
    pub(crate) measures: Measures,
    pub(crate) hashes: Vec<u64>,
    /// Empty if look-ups go by identity.
    pub(crate) key_hashes: Vec<u64>,
}

/// A partition is made anew when less than one in so many of its rows would stay where they are.
const WORTHWHILE: usize = 8;

impl Partition {
    /// What is on disk alone.
    pub(crate) fn evicted(&self) -> &Evicted {
        &self.evicted
    }

    /// Notes that the rows of a key hash are used. Whether they are in memory, if there are any.
    pub(crate) fn use_key(&mut self, shape: &Shape, hash: u64) -> bool {
        let slot = match shape.key_is_identity {
            true => {
                let hashes = &self.rows.hashes;
                let of_hash = |slot: &u32| hashes[*slot as usize] == hash;
                self.identity.find(hash, of_hash).copied()
            }
            false => self.keys.first(hash),
        };
        if let Some(slot) = slot {
            self.rows.flags[slot as usize] |= USED;
        }
        slot.is_some()
    }

    /// Whether rows of the last durable commit may not be on disk yet.
    pub(crate) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Notes that checkpoints up to an epoch are written.
    pub(crate) fn settle_written(&mut self, shape: &Shape, committed: Epoch) {
        if self.writing.is_empty() || committed <= self.written_after {
            return;
        }
        let mut dead = Vec::new();
        for slot in std::mem::take(&mut self.writing) {
            let (measures, row) = self.rows.measures(slot);
            let zero = measures.is_zero(row);
            let flags = &mut self.rows.flags[slot as usize];
            *flags &= !WRITING;
            if zero && *flags & (TOUCHED | DIRTY) == 0 {
                dead.push(slot);
            }
        }
        self.drop_rows(shape, &dead);
    }

    /// Leaves the rows of clean keys that were not used since the last call on disk alone, if that is
    /// worth it, or `always`. About how many bytes were freed.
    pub(crate) fn evict(
        &mut self,
        shape: &Shape,
        key_group: KeyGroup,
        always: bool,
    ) -> Result<usize> {
        const STAYS: u8 = TOUCHED | DIRTY | WRITING | USED;
        let slots = self.slots();
        let key_hashes = match shape.key_is_identity {
            true => &self.rows.hashes,
            false => &self.rows.key_hashes,
        };
        let mut staying = HashSet::new();
        for &slot in &slots {
            let flags = &mut self.rows.flags[slot as usize];
            if *flags & STAYS != 0 {
                staying.insert(key_hashes[slot as usize]);
            }
            *flags &= !USED;
        }
        let stays = |slot: &u32| staying.contains(&key_hashes[*slot as usize]);
        let (kept, gone): (Vec<u32>, Vec<u32>) = slots.iter().partition(|slot| stays(slot));
        if gone.is_empty() || (!always && gone.len() * WORTHWHILE < slots.len()) {
            return Ok(0);
        }
        let before = self.bytes(shape);
        let measures = self.rows.measures_of(&gone, shape.zeros(0));
        let there = (0..gone.len()).filter(|&row| !measures.is_zero(row));
        let mut evicted = self.evicted;
        evicted.rows += there.count() as u64;
        let gone = digest(&self.rows.hashes_of(&gone), &measures);
        evicted.digest = evicted.digest.wrapping_add(gone);
        let mut state = self.extract_rows(shape, &kept)?;
        state.evicted = evicted;
        // It compares the digest, too.
        let mut next = Self::install(shape, key_group, &state)?;
        let freed = before.saturating_sub(next.bytes(shape));
        next.evicted.bytes += freed as u64;
        next.measured = self.measured;
        *self = next;
        Ok(freed)
    }

    /// Takes back rows that were on disk alone: some of those restored. They have no row with them
    /// whose key hash is in memory already.
    pub(crate) fn restore(
        &mut self,
        shape: &Shape,
        key_group: KeyGroup,
        restored: &Restored,
        range: Range<usize>,
    ) -> Result<()> {
        let count = range.len() as u64;
        let measures = restored.measures.slice(range.clone());
        let of_rows = digest(&restored.hashes[range.clone()], &measures);
        let evicted = &mut self.evicted;
        let left = evicted.rows.checked_sub(count);
        let left = left.ok_or_else(|| shape.corrupt(key_group, "more rows than were evicted"))?;
        evicted.bytes =
            (u128::from(evicted.bytes) * u128::from(left) / u128::from(evicted.rows.max(1))) as u64;
        evicted.rows = left;
        evicted.digest = evicted.digest.wrapping_sub(of_rows);
        if left == 0 && evicted.digest != 0 {
            return Err(shape.corrupt(key_group, "the digest differs from the rows read back"));
        }
        let chunk = self
            .rows
            .begin_chunk(Some(Arc::clone(&restored.data)), range.start as u32);
        self.rows.chunks[chunk as usize].measures = ChunkMeasures::Own(measures);
        for row in range {
            let hash = restored.hashes[row];
            let key_hash = restored.key_hashes.get(row).copied();
            let slot = self.rows.allocate(chunk, hash, key_hash);
            self.rows.flags[slot as usize] = STORED | USED;
            let rows = &self.rows;
            self.identity
                .insert_unique(hash, slot, |&slot| rows.hashes[slot as usize]);
            if let Some(key_hash) = key_hash {
                self.keys.insert(key_hash, slot, |first| {
                    let place = rows.places[first as usize];
                    rows.equal(place, &restored.data.cells, row, &[], shape.key())
                });
            }
        }
        self.restored = true;
        Ok(())
    }
}
