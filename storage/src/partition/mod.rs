//! One key group of one state table: distinct rows with their measures.
//!
//! ```text
//!   identity   hash of the whole row ──► slot     finds the row to add measures to
//!   keys       hash of the look-up key ──► slots  finds the rows of a key (if key ≠ whole row)
//!   order      value of the ordered column ──► slots  finds the rows below a value (if there is one)
//!   rows       slot ──► place, flags; chunks of Arrow columns, each with its measures
//!   touched    slots changed since the last commit, and the measures they had then
//!   dirty      slots changed since the last durable commit
//! ```
//!
//! The new rows of a batch become a chunk; a commit merges small chunks, size-tiered, so that a
//! row is copied a logarithmic number of times. Chunks stop growing at [`CHUNK_ROWS`]: that bounds
//! what the first change after a snapshot must copy.
//!
//! A row whose measures return to zero stays, dead, until its end has been reported: to
//! `changed()` by the next commit, and to a checkpoint by the next durable one, unless no
//! checkpoint can have it.
//!
//! Not here: how a partition leaves and enters a table (`transfer.rs`), and how rows leave memory and
//! come back (`eviction.rs`).

mod eviction;
mod shape;
mod transfer;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use scaling::{Epoch, KeyGroup};

use crate::cells::Cells;
use crate::chunk::{ChunkData, ChunkMeasures, Sharing};
use crate::digest::digest;
use crate::error::Result;
use crate::gather::{Gather, compacted};
use crate::key_index::KeyIndex;
use crate::measures::Measures;
use crate::order_index::OrderIndex;
use crate::partition_state::columns_batch;
use crate::rows::{DEAD, DIRTY, Incoming, NO_SLOT, Place, Rows, STORED, TOUCHED, USED, WRITING};
use crate::snapshot::{PartitionRows, PartitionSnapshot, SnapshotChunk};
use crate::state_size::StateSize;
use crate::state_table::{Changed, StateDelta};

pub use eviction::Evicted;
pub(crate) use eviction::Restored;
pub(crate) use shape::Shape;

/// Rows at which a chunk is no longer merged with others.
const CHUNK_ROWS: usize = 8192;
/// Chunks smaller than that which a partition may have before a commit merges some.
const SMALL_CHUNKS_MAX: usize = 8;

/// The rows of one key group.
#[derive(Debug)]
pub(crate) struct Partition {
    rows: Rows,
    identity: HashTable<u32>,
    /// Empty if look-ups go by identity.
    keys: KeyIndex,
    order: OrderIndex,
    touched: Vec<u32>,
    /// Measures of the touched rows at the last commit.
    old: Measures,
    dirty: Vec<u32>,
    /// Rows of the last durable commit that may not be on disk yet, deleted ones among them; only
    /// where rows can be evicted.
    writing: Vec<u32>,
    /// They are on disk once a checkpoint after this one is.
    written_after: Epoch,
    /// Rows that are on disk alone.
    evicted: Evicted,
    /// Whether some came back since the last commit.
    restored: bool,
    /// What it had when the table looked last.
    pub(crate) measured: StateSize,
    /// Whether readers have not seen the rows at all yet.
    unpublished: bool,
    /// Whether stored rows are of an older shape.
    replaces: bool,
    /// Of the rows as they were at the last commit, those on disk alone among them.
    digest: u128,
    /// Rows times weights at the last commit, for visible tables.
    visible_rows: u64,
}

/// What one partition gives for a commit.
#[derive(Debug, Default)]
pub(crate) struct PartitionCommit {
    pub(crate) delta: Option<StateDelta>,
    pub(crate) snapshot: Option<PartitionSnapshot>,
}

impl Partition {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            rows: Rows::default(),
            identity: HashTable::new(),
            keys: KeyIndex::default(),
            order: OrderIndex::default(),
            touched: Vec::new(),
            old: shape.zeros(0),
            dirty: Vec::new(),
            writing: Vec::new(),
            written_after: Epoch(0),
            evicted: Evicted::default(),
            restored: false,
            measured: StateSize::default(),
            unpublished: false,
            replaces: false,
            digest: 0,
            visible_rows: 0,
        }
    }

    /// Number of distinct rows in memory.
    pub(crate) fn len(&self) -> usize {
        self.identity.len()
    }

    /// The slots of all rows in memory.
    fn slots(&self) -> Vec<u32> {
        let chunks = self.rows.chunks.iter();
        chunks
            .flat_map(|chunk| chunk.slots.iter().copied())
            .filter(|&slot| slot != NO_SLOT)
            .collect()
    }

    /// Whether rows changed since the last commit.
    pub(crate) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// How much it has.
    pub(crate) fn size(&self, shape: &Shape) -> StateSize {
        StateSize {
            rows: self.len() as u64 + self.evicted.rows,
            bytes: self.bytes(shape) as u64,
            evicted_bytes: self.evicted.bytes,
        }
    }

    /// Memory in bytes, about.
    pub(crate) fn bytes(&self, shape: &Shape) -> usize {
        // Per slot: place 8, hash 8, flags 1, and its number in the chunk 4.
        const SLOT_BYTES: usize = 21;
        let measures = Measures::row_bytes(&shape.schema.measures);
        let chunks = &self.rows.chunks;
        let columns: usize = chunks
            .iter()
            .filter_map(|chunk| Some(chunk.data.as_ref()?.bytes_per_row * chunk.slots.len()))
            .sum();
        let orders = chunks.iter().filter_map(|chunk| chunk.orders.as_ref());
        let orders: usize = orders.map(|orders| orders.bytes()).sum();
        let slots = self.rows.places.len() * (SLOT_BYTES + measures);
        let lists = (self.dirty.len() + self.writing.len()) * 4;
        let touched = self.touched.len() * (4 + measures) + lists;
        columns
            + orders
            + slots
            + self.rows.key_hashes.len() * 8
            + self.identity.allocation_size()
            + self.keys.bytes(self.rows.key_hashes.len())
            + self.order.bytes()
            + touched
    }

    /// About how much a durable commit would hand out, in bytes.
    pub(crate) fn dirty_bytes(&self, shape: &Shape) -> usize {
        match self.dirty.len() {
            0 => 0,
            dirty => dirty * (self.bytes(shape) / self.len().max(1)),
        }
    }

    /// Adds the measures of a run. Rows that are new are appended to `fresh`; if there are any,
    /// the id of their chunk is returned, which waits for its columns ([`Partition::set_data`]).
    /// `slots` is scratch space.
    pub(crate) fn add(
        &mut self,
        shape: &Shape,
        batch: &Incoming<'_>,
        run: Range<usize>,
        fresh: &mut Vec<u32>,
        slots: &mut Vec<u32>,
    ) -> Option<u32> {
        let offset = fresh.len();
        let chunk = self.rows.begin_chunk(None, offset as u32);
        slots.clear();
        slots.extend(
            run.clone()
                .map(|row| self.find_by_hash(batch, row, chunk, fresh)),
        );
        self.resolve_collisions(shape, batch, run.start, chunk, fresh, slots);
        let first = fresh.len() == offset;
        if !first {
            self.index_chunk(shape, batch, chunk, fresh);
        }
        self.touch(slots);
        self.rows.add_measures(slots, batch.deltas, run.start);
        if first {
            self.rows.free_chunk(chunk);
            return None;
        }
        Some(chunk)
    }

    /// The first slot with the hash of a row, which nearly always is the row's; else a new one.
    #[inline]
    fn find_by_hash(
        &mut self,
        batch: &Incoming<'_>,
        row: usize,
        chunk: u32,
        fresh: &mut Vec<u32>,
    ) -> u32 {
        let hash = batch.hashes[row];
        let hash_of = |slot: &u32| self.rows.hashes[*slot as usize];
        match self
            .identity
            .entry(hash, |slot| hash_of(slot) == hash, hash_of)
        {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let key_hash = batch.key_hashes.get(row).copied();
                let slot = self.rows.allocate(chunk, hash, key_hash);
                fresh.push(row as u32);
                entry.insert(slot);
                slot
            }
        }
    }

    /// Compares each row with the one found by its hash, and corrects the slot where they differ.
    fn resolve_collisions(
        &mut self,
        shape: &Shape,
        batch: &Incoming<'_>,
        first: usize,
        chunk: u32,
        fresh: &mut Vec<u32>,
        slots: &mut [u32],
    ) {
        for (row, slot) in (first..).zip(slots) {
            let rows = &self.rows;
            let equal = |slot: u32| {
                let place = rows.places[slot as usize];
                rows.equal(place, batch.cells, row, fresh, shape.identity())
            };
            if equal(*slot) {
                continue;
            }
            let hash = batch.hashes[row];
            let hash_of = |slot: &u32| rows.hashes[*slot as usize];
            let found = self
                .identity
                .find(hash, |slot| hash_of(slot) == hash && equal(*slot));
            *slot = match found {
                Some(&found) => found,
                None => {
                    let key_hash = batch.key_hashes.get(row).copied();
                    let new = self.rows.allocate(chunk, hash, key_hash);
                    fresh.push(row as u32);
                    let rows = &self.rows;
                    self.identity
                        .insert_unique(hash, new, |slot| rows.hashes[*slot as usize]);
                    new
                }
            };
        }
    }

    /// Gives the new rows of a chunk their measures and their entries in the index of keys.
    fn index_chunk(&mut self, shape: &Shape, batch: &Incoming<'_>, chunk: u32, fresh: &[u32]) {
        let new = &mut self.rows.chunks[chunk as usize];
        new.measures = ChunkMeasures::Own(shape.zeros(new.slots.len()));
        let new = &self.rows.chunks[chunk as usize];
        if let Some(order) = batch.order {
            let rows = fresh[new.offset as usize..].iter();
            for (&slot, &row) in new.slots.iter().zip(rows) {
                self.order.insert(order, row as usize, slot);
            }
        }
        if shape.key_is_identity {
            return;
        }
        let new = &self.rows.chunks[chunk as usize];
        let rows = &fresh[new.offset as usize..];
        for (&slot, &row) in new.slots.iter().zip(rows) {
            self.keys
                .insert(self.rows.key_hashes[slot as usize], slot, |first| {
                    let place = self.rows.places[first as usize];
                    self.rows
                        .equal(place, batch.cells, row as usize, fresh, shape.key())
                });
        }
    }

    /// Notes rows as changed, with the measures they have now if they were not noted yet.
    fn touch(&mut self, slots: &[u32]) {
        let known = self.touched.len();
        for &slot in slots {
            let flags = &mut self.rows.flags[slot as usize];
            if *flags & TOUCHED != 0 {
                continue;
            }
            if *flags & DIRTY == 0 {
                self.dirty.push(slot);
            }
            *flags |= TOUCHED | DIRTY | USED;
            self.touched.push(slot);
        }
        self.rows
            .append_measures(&self.touched[known..], &mut self.old);
    }

    /// Gives a chunk its columns.
    pub(crate) fn set_data(&mut self, chunk: u32, data: &Arc<ChunkData>) {
        self.rows.chunks[chunk as usize].data = Some(Arc::clone(data));
    }

    /// Appends the rows whose key equals that of a probe row and whose first measure is not zero.
    pub(crate) fn lookup(
        &self,
        shape: &Shape,
        cells: &[Cells],
        hash: u64,
        row: usize,
        mut found: impl FnMut(Place),
    ) {
        let equal = |slot: u32| {
            let place = self.rows.places[slot as usize];
            self.rows.equal(place, cells, row, &[], shape.probe_key())
        };
        let slots = if shape.key_is_identity {
            let slot = self.identity.find(hash, |&slot| {
                self.rows.hashes[slot as usize] == hash && equal(slot)
            });
            slot.map_or(&[] as &[u32], std::slice::from_ref)
        } else {
            self.keys.find(hash, equal)
        };
        for &slot in slots {
            let (measures, row) = self.rows.measures(slot);
            if !measures.0[0].is_zero(row) {
                found(self.rows.places[slot as usize]);
            }
        }
    }

    /// The rows whose ordered column is below a limit, and whose first measure is not zero.
    pub(crate) fn below(&self, limit: i64) -> impl Iterator<Item = Place> + '_ {
        self.order.below(limit).filter_map(|slot| {
            let (measures, row) = self.rows.measures(slot);
            let there = !measures.0[0].is_zero(row);
            there.then(|| self.rows.places[slot as usize])
        })
    }

    /// The rows whose first measure is not zero.
    pub(crate) fn all(&self) -> impl Iterator<Item = Place> + '_ {
        self.identity.iter().filter_map(|&slot| {
            let (measures, row) = self.rows.measures(slot);
            let there = !measures.0[0].is_zero(row);
            there.then(|| self.rows.places[slot as usize])
        })
    }

    /// Picks rows that a look-up found.
    pub(crate) fn pick<'a>(&'a self, places: impl Iterator<Item = Place>, gather: &mut Gather<'a>) {
        self.rows.pick(places, gather);
    }

    /// Appends the measures of a row that a look-up found.
    pub(crate) fn push_measures(&self, place: Place, measures: &mut Measures) {
        let chunk = &self.rows.chunks[place.chunk as usize];
        measures.push_from(chunk.measures.get(), place.row as usize);
    }

    /// The rows touched since the last commit, in the order in which they were first touched.
    pub(crate) fn changed(&self, shape: &Shape, key_group: KeyGroup) -> Result<Changed> {
        Ok(Changed {
            key_group,
            columns: shape.columns(&self.rows.gather(&self.touched))?,
            old: self.old.clone(),
            new: self.rows.measures_of(&self.touched, shape.zeros(0)),
        })
    }

    /// Ends an epoch: what was touched becomes what is. `written` is the last checkpoint on disk, where
    /// rows can be evicted. See [`StateTable::commit`].
    ///
    /// [`StateTable::commit`]: crate::StateTable::commit
    pub(crate) fn commit(
        &mut self,
        shape: &Shape,
        key_group: KeyGroup,
        durable: bool,
        written: Option<Epoch>,
    ) -> Result<PartitionCommit> {
        if let Some(written) = written {
            self.settle_written(shape, written);
        }
        let mut commit = PartitionCommit::default();
        let changed = self.is_touched();
        if changed {
            self.settle(shape);
        }
        if durable && !self.dirty.is_empty() {
            commit.delta = Some(self.delta(shape, key_group)?);
            self.replaces = false;
        }
        if changed || durable {
            self.drop_dead(shape, durable, written);
        }
        if changed || durable || std::mem::take(&mut self.restored) {
            self.merge_chunks(shape, durable)?;
        }
        if shape.schema.visible && (changed || self.unpublished) {
            commit.snapshot = Some(self.snapshot(shape));
            self.unpublished = false;
        }
        Ok(commit)
    }

    /// Brings digest and row count up to the touched rows.
    fn settle(&mut self, shape: &Shape) {
        if shape.resets {
            for &slot in &self.touched {
                let (measures, row) = self.rows.measures(slot);
                if measures.is_zero(row) {
                    let chunk = self.rows.places[slot as usize].chunk as usize;
                    self.rows.chunks[chunk].measures.change().reset(row);
                }
            }
        }
        let new = self.rows.measures_of(&self.touched, shape.zeros(0));
        let hashes = self.rows.hashes_of(&self.touched);
        self.digest = self
            .digest
            .wrapping_sub(digest(&hashes, &self.old))
            .wrapping_add(digest(&hashes, &new));
        if shape.schema.visible {
            self.visible_rows = self
                .visible_rows
                .wrapping_sub(positive_weights(&self.old))
                .wrapping_add(positive_weights(&new));
        }
    }

    /// The rows changed since the last durable commit.
    fn delta(&self, shape: &Shape, key_group: KeyGroup) -> Result<StateDelta> {
        let columns = shape.columns(&self.rows.gather(&self.dirty))?;
        Ok(StateDelta {
            table: shape.schema.id,
            key_group,
            columns: columns_batch(Arc::clone(&shape.schema.columns), columns, self.dirty.len())?,
            measures: self.rows.measures_of(&self.dirty, shape.zeros(0)),
            key_hashes: match (shape.schema.evictable, shape.key_is_identity) {
                (false, _) => Vec::new(),
                (true, true) => self.rows.hashes_of(&self.dirty),
                (true, false) => self.rows.key_hashes_of(&self.dirty),
            },
            digest: self.digest,
            replaces: self.replaces,
        })
    }

    /// Clears what the commit ends and drops the rows whose end is reported or nobody's business. Where
    /// rows can be evicted, one whose end a checkpoint has to write stays until it has.
    fn drop_dead(&mut self, shape: &Shape, durable: bool, written: Option<Epoch>) {
        let mut dead = Vec::new();
        let ended = if durable { &self.dirty } else { &self.touched };
        for &slot in ended {
            let (measures, row) = self.rows.measures(slot);
            let zero = measures.is_zero(row);
            let flags = &mut self.rows.flags[slot as usize];
            let stored = *flags & STORED != 0;
            if zero && (!stored || (durable && written.is_none())) {
                dead.push(slot);
            }
            if !durable {
                *flags &= !TOUCHED;
                continue;
            }
            *flags = STORED | *flags & (USED | WRITING);
            if written.is_some() && (stored || !zero) && *flags & WRITING == 0 {
                *flags |= WRITING;
                self.writing.push(slot);
            }
        }
        if let (true, Some(written)) = (durable, written) {
            self.written_after = written;
        }
        self.touched.clear();
        self.old.clear();
        if durable {
            self.dirty.clear();
        }
        self.drop_rows(shape, &dead);
    }

    /// Drops rows from chunks and indexes.
    fn drop_rows(&mut self, shape: &Shape, dead: &[u32]) {
        if dead.is_empty() {
            return;
        }
        for &slot in dead {
            self.rows.flags[slot as usize] |= DEAD;
        }
        self.dirty
            .retain(|&slot| self.rows.flags[slot as usize] & DEAD == 0);
        for &slot in dead {
            let hash = self.rows.hashes[slot as usize];
            if let Ok(entry) = self.identity.find_entry(hash, |&other| other == slot) {
                entry.remove();
            }
        }
        if !shape.key_is_identity {
            let hashes = dead.iter().map(|&s| self.rows.key_hashes[s as usize]);
            self.keys.remove(hashes.collect(), |slot| {
                self.rows.flags[slot as usize] & DEAD == 0
            });
        }
        for &slot in dead {
            self.order.remove(slot);
            self.rows.free_slot(slot);
        }
    }

    /// Merges small chunks once there are many, and rewrites those of mostly dropped rows. With a
    /// durable commit, which is rarer, chunks whose columns other key groups share are rewritten.
    fn merge_chunks(&mut self, shape: &Shape, durable: bool) -> Result<()> {
        let merged = self.chunks_to_merge(durable);
        if merged.is_empty() {
            return Ok(());
        }
        let chunks = &self.rows.chunks;
        let slots: Vec<u32> = merged
            .iter()
            .flat_map(|&id| chunks[id as usize].slots.iter().copied())
            .filter(|&slot| slot != NO_SLOT)
            .collect();
        let columns = compacted(shape.columns(&self.rows.gather(&slots))?);
        let measures = self.rows.measures_of(&slots, shape.zeros(0));
        let data = Arc::new(ChunkData::new(columns, slots.len(), Sharing::Own));
        let chunk = self.rows.begin_chunk(Some(data), 0);
        self.rows.chunks[chunk as usize].measures = ChunkMeasures::Own(measures);
        for &slot in &slots {
            self.rows.relocate(chunk, slot);
        }
        for id in merged {
            self.rows.free_chunk(id);
        }
        Ok(())
    }

    fn chunks_to_merge(&self, durable: bool) -> Vec<u32> {
        let mut small = Vec::new();
        let mut merged = Vec::new();
        for (id, chunk) in (0u32..).zip(&self.rows.chunks) {
            let (live, rows) = (chunk.live as usize, chunk.slots.len());
            if live == 0 {
                continue;
            }
            let shared = chunk.data().sharing == Sharing::Shared;
            if live * 2 < rows || (durable && shared) {
                merged.push(id);
            } else if live < CHUNK_ROWS {
                small.push((live, id));
            }
        }
        if small.len() > SMALL_CHUNKS_MAX {
            merged.extend(smallest_tier(small));
        }
        merged
    }

    /// The rows as readers see them from now on.
    fn snapshot(&mut self, shape: &Shape) -> PartitionSnapshot {
        let chunks = self
            .rows
            .chunks
            .iter_mut()
            .filter(|chunk| chunk.live > 0)
            .map(|chunk| SnapshotChunk {
                data: Arc::clone(chunk.data()),
                offset: chunk.offset as usize,
                measures: chunk.measures.share(),
                orders: Arc::clone(chunk.orders.get_or_insert_default()),
            })
            .collect();
        PartitionSnapshot {
            inner: Arc::new(PartitionRows {
                columns: Arc::clone(&shape.schema.columns),
                chunks,
                rows: self.visible_rows,
            }),
        }
    }
}

/// The smallest chunks that are worth merging: each next one has at most twice the rows of those
/// before it together, which bounds how often a row is copied. None if that is a single one.
fn smallest_tier(mut chunks: Vec<(usize, u32)>) -> impl Iterator<Item = u32> {
    chunks.sort_unstable();
    let mut total = 0;
    let mut count = 0;
    for &(live, _) in &chunks {
        if total >= CHUNK_ROWS || (total > 0 && live > 2 * total) {
            break;
        }
        total += live;
        count += 1;
    }
    chunks.truncate(if count > 1 { count } else { 0 });
    chunks.into_iter().map(|(_, id)| id)
}

/// Rows times weights, without those of negative weight.
fn positive_weights(measures: &Measures) -> u64 {
    let weights = measures.int64(0).unwrap_or_default();
    weights
        .iter()
        .map(|&weight| weight.max(0) as u64)
        .fold(0, u64::wrapping_add)
}
