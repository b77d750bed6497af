//! State tables: the rows that an operator keeps, one partition a key group.
//!
//! ```text
//!              add(columns, deltas, runs)      lookup(key columns, runs) ─► gather, measures_of
//!                        │                               ▲
//!                        ▼                               │
//!   StateTable   [ partition 0 ]  [ partition 7 ]  [ partition 9 ] …   owned key groups only
//!                        │ changed ─► what the epoch did to each row
//!                        │ commit  ─► deltas for the checkpoint, snapshots for readers
//!                        └ extract / install ─► to and from another owner, or from a checkpoint
//! ```
//!
//! A row is all its columns; its measures change by addition. A row is there while any measure is
//! not zero. Floats are made canonical when a row comes in (-0.0 is 0.0, all NaN are one), and
//! NULL equals NULL in the identity of a row.
//!
//! A table that is given the memory it shares ([`StateTable::share`]) and is evictable leaves rows on disk
//! alone when there is too little of it ([`StateTable::relieve`]), and reads them back when a change or a
//! look-up asks for their key. Nobody else notices.
//!
//! Not here: which key groups are owned (`scaling`), when an epoch ends (`executor`), the bytes on
//! disk (`storage.rs`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::row::{RowConverter, SortField};
use scaling::{Epoch, KeyGroup, KeyGroupSet};

use crate::cells::{Cells, canonical};
use crate::chunk::{ChunkData, Sharing};
use crate::error::{Error, Result};
use crate::gather::{Gather, compacted};
use crate::hash::hash_cells;
use crate::measures::Measures;
use crate::partition::{Partition, Shape};
use crate::partition_state::PartitionState;
use crate::rows::{Incoming, Place};
use crate::schema::{Run, TableId, TableSchema};
use crate::snapshot::PartitionSnapshot;
use crate::state_memory::{Account, StateMemory};
use crate::state_size::StateSize;

/// What a new row takes beside its columns, in slots and indexes: about, a commit looks closely.
const ROW_BYTES: usize = 64;

/// Whether NULL finds NULL in a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullEquality {
    /// NULL equals NULL, as in `GROUP BY` and `DISTINCT`.
    NullEqualsNull,
    /// NULL equals nothing, as in the condition of a join.
    NullEqualsNothing,
}

/// Where a row lies. Valid until the table is next changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    key_group: KeyGroup,
    chunk: u32,
    row: u32,
}

impl RowRef {
    /// The key group of the row.
    #[must_use]
    pub fn key_group(&self) -> KeyGroup {
        self.key_group
    }

    fn place(&self) -> Place {
        Place {
            chunk: self.chunk,
            row: self.row,
        }
    }
}

/// What a look-up found: pairs of a probe row and a row of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Row indexes in the probe batch, in the order of its runs: ascending, if the runs are.
    pub probe: Vec<u32>,
    /// The matching row for each entry of `probe`.
    pub rows: Vec<RowRef>,
}

/// The rows of a key group that were touched since the last commit, each once.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The key group.
    pub key_group: KeyGroup,
    /// The rows: all columns of the table.
    pub columns: Vec<ArrayRef>,
    /// Their measures at the last commit; zeros for rows that were not there.
    pub old: Measures,
    /// Their measures now; may equal the old ones.
    pub new: Measures,
}

/// The rows of a key group that a checkpoint must write.
#[derive(Debug, Clone)]
pub struct StateDelta {
    /// The table.
    pub table: TableId,
    /// The key group.
    pub key_group: KeyGroup,
    /// The rows, each once.
    pub columns: RecordBatch,
    /// Their measures; a row whose measures are zero is to be deleted.
    pub measures: Measures,
    /// The hashes of their keys, if the table can evict; else none.
    pub key_hashes: Vec<u64>,
    /// Digest of all rows of the key group, written ones and others.
    pub digest: u128,
    /// Whether these are all rows, and what is stored of the key group is of an older shape.
    pub replaces: bool,
}

/// What a commit hands out. Dropping it loses an epoch.
#[must_use = "the changes of an epoch go to the checkpoint and to readers"]
#[derive(Debug, Default)]
pub struct Committed {
    /// All rows changed since the last durable commit; empty if this one is not durable.
    pub deltas: Vec<StateDelta>,
    /// New snapshots of the key groups that changed or were installed; only of visible tables.
    pub snapshots: Vec<(KeyGroup, PartitionSnapshot)>,
    /// About how many bytes of rows changed since the last durable commit, this one included.
    pub changed_bytes: usize,
    /// Key groups that may have other rows than at the last commit of this kind.
    pub key_groups: KeyGroupSet,
}

/// Rows of an operator, by key group.
#[derive(Debug)]
pub struct StateTable {
    // Fixed.
    shape: Shape,
    /// Indexed by key group; `None` where not owned.
    partitions: Vec<Option<Box<Partition>>>,
    /// What it takes of the memory that tables share; `None` if it shares none.
    account: Option<Account>,
    /// What it had at the last look.
    measured: StateSize,
    /// Rows on disk alone.
    evicted_rows: u64,
    /// Key groups with rows of a checkpoint that may not be written yet; only where rows can be evicted.
    writing: KeyGroupSet,
    /// The checkpoint that was the last written one when they were looked at.
    settled: Epoch,
    /// The key group to evict from next.
    hand: usize,
    /// Bytes in memory when next to nothing of it could be evicted, since the last commit.
    exhausted: Option<u64>,
    /// Key groups that have changed or come since the last commit. A commit looks at no others: a
    /// table without changes must cost next to nothing.
    touched: KeyGroupSet,
    /// The same since the last durable commit.
    dirty: KeyGroupSet,
    // Kept for their memory only; empty between calls.
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    hashes: Vec<u64>,
    key_hashes: Vec<u64>,
    slots: Vec<u32>,
    /// Rows of the batch that are new, in the order of their places.
    fresh: Vec<u32>,
    /// Chunks that wait for their columns.
    pending: Vec<(KeyGroup, u32)>,
}

/// Keys to be looked up.
struct Probe {
    cells: Vec<Cells>,
    hashes: Vec<u64>,
    nulls: NullEquality,
}

impl Probe {
    /// Whether a row's key finds nothing, whatever there is.
    fn skips(&self, row: usize) -> bool {
        self.nulls == NullEquality::NullEqualsNothing && self.cells.iter().any(|c| c.is_null(row))
    }
}

impl StateTable {
    /// A table whose owned key groups are empty.
    ///
    /// # Panics
    /// When the schema has no measures, names a key column that does not exist, or has a column
    /// type without an Arrow row format: the planner admits none of these.
    #[must_use]
    pub fn new(schema: TableSchema, owned: impl IntoIterator<Item = KeyGroup>) -> Self {
        assert!(
            !schema.measures.is_empty(),
            "a row has at least one measure"
        );
        let fields = schema.columns.fields();
        assert!(
            schema.key.iter().all(|&column| column < fields.len()),
            "key columns exist"
        );
        let sort_fields: Vec<_> = fields
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        assert!(
            RowConverter::supports_fields(&sort_fields),
            "every column has a row format"
        );
        assert!(
            !schema.evictable || !schema.visible && schema.ordered_by.is_none(),
            "rows that are evicted are looked for by their key only"
        );
        let mut table = Self {
            shape: Shape::new(schema),
            partitions: Vec::new(),
            account: None,
            measured: StateSize::default(),
            evicted_rows: 0,
            writing: KeyGroupSet::new(),
            settled: Epoch(0),
            hand: 0,
            exhausted: None,
            touched: KeyGroupSet::new(),
            dirty: KeyGroupSet::new(),
            scratch: Scratch::default(),
        };
        for key_group in owned {
            let partition = Box::new(Partition::new(&table.shape));
            *table.entry(key_group) = Some(partition);
        }
        table
    }

    /// The shape of the table.
    #[must_use]
    pub fn schema(&self) -> &TableSchema {
        &self.shape.schema
    }

    /// The key groups that the table owns.
    #[must_use]
    pub fn owned(&self) -> KeyGroupSet {
        self.partitions().map(|(key_group, _)| key_group).collect()
    }

    /// Makes the table share memory with others. Rows that are evicted are those of the last
    /// checkpoint in its storage: to that the deltas of every durable commit must go, before the next
    /// one.
    pub fn share(&mut self, memory: Arc<StateMemory>) {
        self.account = Some(Account::new(memory, self.shape.schema.evictable));
    }

    /// Number of distinct rows of a key group, with those whose deletion is not durable yet and those
    /// on disk alone; zero if it is not owned.
    #[must_use]
    pub fn rows(&self, key_group: KeyGroup) -> u64 {
        self.partition(key_group)
            .map_or(0, |p| p.len() as u64 + p.evicted().rows)
    }

    /// Whether rows are on disk alone, so that a change or a look-up may have to wait for them.
    #[must_use]
    pub fn has_evicted(&self) -> bool {
        self.account.as_ref().is_some_and(|a| a.evicted_rows() > 0)
    }

    /// What a key group has; nothing if it is not owned.
    #[must_use]
    pub fn size_of(&self, key_group: KeyGroup) -> StateSize {
        let partition = self.partition(key_group);
        partition.map_or_else(StateSize::default, |p| p.size(&self.shape))
    }

    /// What all key groups have, as of the last commit; nothing if the table shares no memory.
    #[must_use]
    pub fn size(&self) -> StateSize {
        self.measured
    }

    /// Adds to the measures of rows, which begin at zero. `columns` are all columns of the table,
    /// `deltas` has one row each; a row may come more than once. Rows outside the runs are
    /// ignored.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::NotOwned`], with nothing changed; [`Error::Arrow`] when the new
    /// rows do not fit an Arrow array, after which the table must be dropped.
    pub fn add(&mut self, columns: &[ArrayRef], deltas: &Measures, runs: &[Run]) -> Result<()> {
        self.check(columns, deltas)?;
        self.check_runs(runs, deltas.len())?;
        let columns = canonical(columns);
        let cells: Vec<Cells> = columns.iter().map(Cells::new).collect();
        let mut scratch = std::mem::take(&mut self.scratch);
        hash_cells(cells.iter(), deltas.len(), &mut scratch.hashes);
        scratch.key_hashes.clear();
        if !self.shape.key_is_identity {
            let key = self.shape.schema.key.iter().map(|&column| &cells[column]);
            hash_cells(key, deltas.len(), &mut scratch.key_hashes);
        }
        let key_hashes = match self.shape.key_is_identity {
            true => &scratch.hashes,
            false => &scratch.key_hashes,
        };
        self.recall(key_hashes, runs, |_| false)?;
        let Self {
            shape,
            partitions,
            touched,
            dirty,
            ..
        } = self;
        let order = shape.order_keys(&columns)?;
        let batch = Incoming {
            cells: &cells,
            order: order.as_ref(),
            hashes: &scratch.hashes,
            key_hashes: &scratch.key_hashes,
            deltas,
        };
        scratch.fresh.clear();
        scratch.pending.clear();
        for run in runs.iter().filter(|run| !run.rows.is_empty()) {
            let partition = partitions[usize::from(run.key_group.0)]
                .as_mut()
                .expect("ownership was checked above");
            touched.insert(run.key_group);
            dirty.insert(run.key_group);
            let (fresh, slots) = (&mut scratch.fresh, &mut scratch.slots);
            let chunk = partition.add(shape, &batch, run.rows.clone(), fresh, slots);
            scratch
                .pending
                .extend(chunk.map(|chunk| (run.key_group, chunk)));
        }
        self.place_new_rows(&columns, &mut scratch)?;
        self.scratch = scratch;
        Ok(())
    }

    /// Gathers the new rows of a batch, once for all key groups.
    fn place_new_rows(&mut self, columns: &[ArrayRef], scratch: &mut Scratch) -> Result<()> {
        if scratch.pending.is_empty() {
            return Ok(());
        }
        let fresh = std::mem::take(&mut scratch.fresh);
        let count = fresh.len();
        let indexes = UInt32Array::from(fresh);
        let taken: std::result::Result<Vec<_>, _> =
            columns.iter().map(|c| take(c, &indexes, None)).collect();
        let sharing = match scratch.pending.len() {
            1 => Sharing::Own,
            _ => Sharing::Shared,
        };
        let data = Arc::new(ChunkData::new(compacted(taken?), count, sharing));
        for &(key_group, chunk) in &scratch.pending {
            if let Some(partition) = &mut self.partitions[usize::from(key_group.0)] {
                partition.set_data(chunk, &data);
            }
        }
        if let Some(account) = &mut self.account {
            account.grow((count * (data.bytes_per_row + ROW_BYTES)) as u64);
        }
        Ok(())
    }

    /// Finds all rows whose look-up key equals that of a probe row, and whose first measure is not
    /// zero. `key_columns` are in the order of [`TableSchema::key`]. Rows outside the runs are
    /// not looked up.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::NotOwned`].
    pub fn lookup(
        &mut self,
        key_columns: &[ArrayRef],
        runs: &[Run],
        nulls: NullEquality,
    ) -> Result<Matches> {
        let probe = self.probe(key_columns, runs, nulls)?;
        self.recall(&probe.hashes, runs, |row| probe.skips(row))?;
        Ok(self.matches(&probe, runs))
    }

    /// As [`lookup`](Self::lookup), in a table all of whose rows are in memory.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    ///
    /// # Panics
    /// When the table may evict rows.
    pub fn find(
        &self,
        key_columns: &[ArrayRef],
        runs: &[Run],
        nulls: NullEquality,
    ) -> Result<Matches> {
        assert!(!self.shape.schema.evictable, "rows may be on disk");
        let probe = self.probe(key_columns, runs, nulls)?;
        Ok(self.matches(&probe, runs))
    }

    fn probe(&self, key_columns: &[ArrayRef], runs: &[Run], nulls: NullEquality) -> Result<Probe> {
        let key = &self.shape.schema.key;
        self.check_columns(key_columns, key)?;
        let rows = match key_columns.first() {
            Some(column) => column.len(),
            None => runs.iter().map(|run| run.rows.end).max().unwrap_or(0),
        };
        self.check_runs(runs, rows)?;
        let cells: Vec<Cells> = canonical(key_columns).iter().map(Cells::new).collect();
        let mut hashes = Vec::new();
        if self.shape.key_is_identity {
            // The identity index hashes the columns in the order of the table.
            let mut order: Vec<usize> = (0..key.len()).collect();
            order.sort_unstable_by_key(|&index| key[index]);
            hash_cells(order.iter().map(|&index| &cells[index]), rows, &mut hashes);
        } else {
            hash_cells(cells.iter(), rows, &mut hashes);
        }
        Ok(Probe {
            cells,
            hashes,
            nulls,
        })
    }

    /// The rows in memory that a probe finds.
    fn matches(&self, probe: &Probe, runs: &[Run]) -> Matches {
        let mut matches = Matches::default();
        for run in runs {
            let Some(partition) = self.partition(run.key_group) else {
                continue;
            };
            for row in run.rows.clone().filter(|&row| !probe.skips(row)) {
                let (cells, hash) = (&probe.cells, probe.hashes[row]);
                partition.lookup(&self.shape, cells, hash, row, |place| {
                    matches.probe.push(row as u32);
                    matches.rows.push(RowRef {
                        key_group: run.key_group,
                        chunk: place.chunk,
                        row: place.row,
                    });
                });
            }
        }
        matches
    }

    /// Reads rows back that are on disk alone and whose key hash is among those of a batch.
    fn recall(
        &mut self,
        key_hashes: &[u64],
        runs: &[Run],
        skips: impl Fn(usize) -> bool,
    ) -> Result<()> {
        if !self.has_evicted() {
            return Ok(());
        }
        let mut missing = Vec::new();
        for run in runs {
            let partition = self.partitions.get_mut(usize::from(run.key_group.0));
            let Some(Some(partition)) = partition else {
                continue;
            };
            if partition.evicted().rows == 0 {
                continue;
            }
            for row in run.rows.clone().filter(|&row| !skips(row)) {
                if !partition.use_key(&self.shape, key_hashes[row]) {
                    missing.push((run.key_group, key_hashes[row]));
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        self.restore(&missing)
    }

    /// Reads the rows of some key hashes back.
    fn restore(&mut self, missing: &[(KeyGroup, u64)]) -> Result<()> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        if missing.is_empty() {
            return Ok(());
        }
        let storage = account.memory.storage();
        let (restored, runs) = storage.read_keys(&self.shape.schema, missing)?;
        let count = restored.hashes.len();
        for run in runs {
            let partition = self.partitions[run.key_group.index()].as_mut();
            let partition = partition.expect("only key groups that are owned miss rows");
            partition.restore(&self.shape, run.key_group, &restored, run.rows)?;
            // The next commit merges chunks, and measures.
            self.touched.insert(run.key_group);
            self.dirty.insert(run.key_group);
        }
        self.evicted_rows -= count as u64;
        if let Some(account) = &mut self.account {
            let bytes = count * (restored.data.bytes_per_row + ROW_BYTES);
            account.take_back(count as u64, bytes as u64);
        }
        Ok(())
    }

    /// Leaves this table's share of what is too much in memory on disk alone: rows that the last
    /// checkpoint has, and that were not used lately. What was looked up before must be looked up again.
    ///
    /// # Errors
    /// As [`StateTable::commit`].
    pub fn relieve(&mut self) -> Result<()> {
        let Some(account) = self
            .account
            .as_ref()
            .filter(|_| self.shape.schema.evictable)
        else {
            return Ok(());
        };
        let all = account.memory.evicts_all();
        let Some(share) = account.memory.share_to_evict() else {
            return Ok(());
        };
        // Trying again is worth it once an eighth has been added.
        let tried = |bytes: u64| account.resident() < bytes + bytes / 8;
        if !all && self.exhausted.is_some_and(tried) {
            return Ok(());
        }
        let committed = account.memory.storage().committed_epoch();
        let wanted = (account.resident() as f64 * share).ceil() as usize;
        let mut freed = 0;
        let mut changed = KeyGroupSet::new();
        // What is in use the first time round may not be the second time.
        for _ in 0..2 * self.partitions.len() {
            if freed >= wanted {
                break;
            }
            self.hand = (self.hand + 1) % self.partitions.len();
            let key_group = KeyGroup(self.hand as u16);
            if let Some(partition) = &mut self.partitions[self.hand] {
                partition.settle_written(&self.shape, committed);
                let before = partition.evicted().rows;
                freed += partition.evict(&self.shape, key_group, all)?;
                self.evicted_rows += partition.evicted().rows - before;
                changed.insert(key_group);
                self.dirty.insert(key_group);
            }
        }
        self.measure(&changed);
        let left = self.account.as_ref().map(Account::resident);
        self.exhausted = left.filter(|_| freed < wanted / 2);
        Ok(())
    }

    /// Notes which checkpoint is the last one that is written: rows that are deleted by then need not
    /// stay.
    fn settle_written(&mut self, written: Epoch) {
        if written == self.settled {
            return;
        }
        self.settled = written;
        for key_group in &std::mem::take(&mut self.writing) {
            if let Some(Some(partition)) = self.partitions.get_mut(key_group.index()) {
                let before = partition.len();
                partition.settle_written(&self.shape, written);
                if partition.len() != before {
                    self.dirty.insert(key_group);
                }
                if partition.is_writing() {
                    self.writing.insert(key_group);
                }
            }
        }
    }

    /// Counts what the table has, some key groups being larger or smaller than before.
    fn measure(&mut self, key_groups: &KeyGroupSet) {
        if self.account.is_none() {
            return;
        }
        for key_group in key_groups {
            if let Some(Some(partition)) = self.partitions.get_mut(key_group.index()) {
                self.measured.subtract(&partition.measured);
                partition.measured = partition.size(&self.shape);
                self.measured.add(&partition.measured);
            }
        }
        self.settle_account();
    }

    fn settle_account(&mut self) {
        if let Some(account) = &mut self.account {
            account.set(self.measured.bytes, self.evicted_rows);
        }
    }

    /// Finds all rows whose column [`TableSchema::ordered_by`] is below a limit (days of dates,
    /// microseconds of times), and whose first measure is not zero: key group by key group, in the
    /// order of the column, in a time that grows with what is found (and with the rows below the
    /// limit that are zero and whose end is not committed yet). NULL is below nothing.
    #[must_use]
    pub fn below(&self, limit: i64) -> Vec<RowRef> {
        let mut rows = Vec::new();
        for (key_group, partition) in self.partitions() {
            rows.extend(partition.below(limit).map(|place| RowRef {
                key_group,
                chunk: place.chunk,
                row: place.row,
            }));
        }
        rows
    }

    /// All rows whose first measure is not zero: key group by key group.
    #[must_use]
    pub fn all(&self) -> Vec<RowRef> {
        let mut rows = Vec::new();
        for (key_group, partition) in self.partitions() {
            rows.extend(partition.all().map(|place| RowRef {
                key_group,
                chunk: place.chunk,
                row: place.row,
            }));
        }
        rows
    }

    /// All rows of a key group whose first measure is not zero; none if it is not owned.
    #[must_use]
    pub fn rows_of(&self, key_group: KeyGroup) -> Vec<RowRef> {
        let partition = self.partition(key_group).into_iter();
        let places = partition.flat_map(|partition| partition.all());
        let row = |place: Place| RowRef {
            key_group,
            chunk: place.chunk,
            row: place.row,
        };
        places.map(row).collect()
    }

    /// The given columns of rows that a look-up found, in the order given.
    ///
    /// # Errors
    /// [`Error::Arrow`] when they do not fit an Arrow array.
    ///
    /// # Panics
    /// When the table has changed since the look-up and a row is no longer there.
    pub fn gather(&self, rows: &[RowRef], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut gather = Gather::default();
        for part in rows.chunk_by(|a, b| a.key_group == b.key_group) {
            let partition = self.partition(part[0].key_group);
            let partition = partition.expect("rows of a look-up stay until the table changes");
            partition.pick(part.iter().map(RowRef::place), &mut gather);
        }
        gather.columns(&self.shape.schema.columns, columns)
    }

    /// The measures of rows that a look-up found, in the order given.
    ///
    /// # Panics
    /// As [`StateTable::gather`].
    #[must_use]
    pub fn measures_of(&self, rows: &[RowRef]) -> Measures {
        let mut measures = Measures::zeros(&self.shape.schema.measures, 0);
        for part in rows.chunk_by(|a, b| a.key_group == b.key_group) {
            let partition = self.partition(part[0].key_group);
            let partition = partition.expect("rows of a look-up stay until the table changes");
            for row in part {
                partition.push_measures(row.place(), &mut measures);
            }
        }
        measures
    }

    /// The rows touched since the last commit, by key group, ascending; those without are left
    /// out.
    pub fn changed(&self) -> impl Iterator<Item = Result<Changed>> + '_ {
        let touched = self.touched.iter();
        touched
            .filter_map(|key_group| Some((key_group, self.partition(key_group)?)))
            .filter(|(_, partition)| partition.is_touched())
            .map(|(key_group, partition)| partition.changed(&self.shape, key_group))
    }

    /// Ends an epoch. A durable commit also hands out every row changed since the last durable one.
    ///
    /// # Errors
    /// [`Error::Arrow`] when rows do not fit an Arrow array; the table must then be dropped.
    pub fn commit(&mut self, durable: bool) -> Result<Committed> {
        let mut committed = Committed {
            key_groups: std::mem::take(&mut self.touched),
            ..Committed::default()
        };
        let account = self.account.as_ref();
        let evicts = account.filter(|_| self.shape.schema.evictable);
        let written = evicts.map(|account| account.memory.storage().committed_epoch());
        if let Some(written) = written {
            self.settle_written(written);
        }
        if durable {
            committed.key_groups = std::mem::take(&mut self.dirty);
        }
        for key_group in &committed.key_groups {
            let Some(partition) = &mut self.partitions[key_group.index()] else {
                continue;
            };
            let commit = partition.commit(&self.shape, key_group, durable, written)?;
            if partition.is_writing() {
                self.writing.insert(key_group);
            }
            committed.deltas.extend(commit.delta);
            let snapshot = commit.snapshot.map(|snapshot| (key_group, snapshot));
            committed.snapshots.extend(snapshot);
        }
        self.exhausted = None;
        self.measure(&committed.key_groups);
        let dirty = self.dirty.iter().filter_map(|kg| self.partition(kg));
        committed.changed_bytes = dirty.map(|p| p.dirty_bytes(&self.shape)).sum();
        Ok(committed)
    }

    /// Takes a key group out of the table, with the changes that no commit has seen. The table
    /// does not own it any more.
    ///
    /// # Errors
    /// [`Error::NotOwned`]; [`Error::Arrow`] when the rows do not fit an Arrow array, and the key
    /// group stays.
    pub fn extract(&mut self, key_group: KeyGroup) -> Result<PartitionState> {
        let Some(partition) = self.partition(key_group) else {
            return Err(self.not_owned(key_group));
        };
        let state = partition.extract(&self.shape)?;
        let measured = partition.measured;
        *self.entry(key_group) = None;
        self.measured.subtract(&measured);
        self.evicted_rows -= state.evicted.rows;
        self.settle_account();
        Ok(state)
    }

    /// Puts a key group into the table, which owns it from now on. It may be owned already if it
    /// is empty. The next commit publishes its rows if the table is visible.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the state does not have the shape of the table or the digest of its
    /// rows; [`Error::AlreadyOwned`]. Nothing is changed then.
    pub fn install(&mut self, key_group: KeyGroup, state: PartitionState) -> Result<()> {
        if self.rows(key_group) > 0 {
            return Err(Error::AlreadyOwned {
                table: self.shape.schema.id,
                key_group,
            });
        }
        assert!(
            state.evicted.rows == 0 || self.account.is_some(),
            "rows are on disk, and the table does not know where"
        );
        let partition = Partition::install(&self.shape, key_group, &state)?;
        let (evicted_rows, writes) = (state.evicted.rows, partition.is_writing());
        if let Some(empty) = self.entry(key_group).replace(Box::new(partition)) {
            self.measured.subtract(&empty.measured);
        }
        self.touched.insert(key_group);
        self.dirty.insert(key_group);
        self.evicted_rows += evicted_rows;
        if writes {
            self.writing.insert(key_group);
        }
        self.measure(&[key_group].into_iter().collect());
        Ok(())
    }

    /// Makes the table own a key group that it does not have, without rows.
    pub fn open(&mut self, key_group: KeyGroup) {
        let empty = Partition::new(&self.shape);
        self.entry(key_group).get_or_insert(Box::new(empty));
    }

    /// Gives every row more columns, each of one value: `values` has an array of one value for each.
    /// `schema` is the table's, wider. Rows keep measures and key groups. Readers and the next
    /// checkpoint get all rows anew.
    ///
    /// # Errors
    /// [`Error::Arrow`] when rows do not fit an Arrow array; the table must then be dropped.
    ///
    /// # Panics
    /// When a partition with other columns is made of the schema, which is a bug of the caller.
    pub fn widen(&mut self, schema: TableSchema, values: &[ArrayRef]) -> Result<()> {
        assert_eq!(
            schema.columns.fields().len(),
            self.shape.all_columns.len() + values.len(),
            "each new column has a value"
        );
        let shape = Shape::new(schema);
        for (key_group, partition) in (0u16..).map(KeyGroup).zip(&mut self.partitions) {
            if let Some(partition) = partition {
                let mut widened = partition.widened(&self.shape, &shape, key_group, values)?;
                widened.measured = partition.measured;
                **partition = widened;
                self.touched.insert(key_group);
                self.dirty.insert(key_group);
            }
        }
        self.shape = shape;
        Ok(())
    }

    fn partition(&self, key_group: KeyGroup) -> Option<&Partition> {
        self.partitions.get(usize::from(key_group.0))?.as_deref()
    }

    fn partitions(&self) -> impl Iterator<Item = (KeyGroup, &Partition)> {
        (0u16..)
            .zip(&self.partitions)
            .filter_map(|(index, partition)| Some((KeyGroup(index), partition.as_deref()?)))
    }

    /// The place of a key group, owned or not.
    fn entry(&mut self, key_group: KeyGroup) -> &mut Option<Box<Partition>> {
        let index = usize::from(key_group.0);
        if index >= self.partitions.len() {
            self.partitions.resize_with(index + 1, || None);
        }
        &mut self.partitions[index]
    }

    fn not_owned(&self, key_group: KeyGroup) -> Error {
        Error::NotOwned {
            table: self.shape.schema.id,
            key_group,
        }
    }

    fn misshapen(&self, detail: String) -> Error {
        Error::Shape {
            table: self.shape.schema.id,
            detail,
        }
    }

    fn check(&self, columns: &[ArrayRef], deltas: &Measures) -> Result<()> {
        self.check_columns(columns, &self.shape.all_columns)?;
        let (types, expected) = (deltas.types(), &self.shape.schema.measures);
        if types != *expected {
            return Err(self.misshapen(format!("measures {types:?} instead of {expected:?}")));
        }
        let lengths = columns.iter().map(|column| column.len());
        let lengths = lengths.chain(deltas.0.iter().map(|measure| measure.len()));
        match lengths.into_iter().find(|&length| length != deltas.len()) {
            Some(length) => Err(self.misshapen(format!("{length} rows of {}", deltas.len()))),
            None => Ok(()),
        }
    }

    /// Checks that `columns` have the types of the columns of the table that `expected` names.
    fn check_columns(&self, columns: &[ArrayRef], expected: &[usize]) -> Result<()> {
        if columns.len() != expected.len() {
            let detail = format!("{} columns instead of {}", columns.len(), expected.len());
            return Err(self.misshapen(detail));
        }
        for (column, &index) in columns.iter().zip(expected) {
            let field = self.shape.schema.columns.field(index);
            if column.data_type() != field.data_type() {
                let (name, found, wanted) = (field.name(), column.data_type(), field.data_type());
                return Err(self.misshapen(format!("\"{name}\" is {found}, not {wanted}")));
            }
        }
        Ok(())
    }

    /// Checks that every key group is owned and every run lies within the batch.
    fn check_runs(&self, runs: &[Run], rows: usize) -> Result<()> {
        for run in runs.iter().filter(|run| !run.rows.is_empty()) {
            if self.partition(run.key_group).is_none() {
                return Err(self.not_owned(run.key_group));
            }
            if run.rows.end > rows {
                return Err(self.misshapen(format!("a run ends at {} of {rows}", run.rows.end)));
            }
        }
        Ok(())
    }
}
