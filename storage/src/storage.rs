//! The durable half: checkpoints, the write-ahead changes of base tables, catalog rows.
//!
//! ```text
//!   StateDelta ─┐
//!   catalog ────┼─► checkpoint(epoch) ─► one write set, synced ─► epoch witness
//!   applied ────┘                          │
//!                                          └─► committed_epoch, load_table, wal_read after a restart
//! ```
//!
//! A checkpoint is whole or not there, so a restart finds one epoch. Layout of keys and values:
//! [`layout`].
//!
//! Rows that operators have no room for in memory are read back from here, key by key
//! (`Storage::read_keys`).
//!
//! Not here: when to take a checkpoint, and what catalog rows and write-ahead changes mean.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::row::{RowConverter, Rows};
use scaling::{Epoch, KeyGroup};

use crate::chunk::{ChunkData, Sharing};
use crate::error::{Error, Result};
use crate::gather::compacted;
use crate::hash::hash_cells;
use crate::kv::{ColumnFamily, Durability, Kv, WriteSet};
use crate::layout;
use crate::measures::Measures;
use crate::partition::{Evicted, Restored};
use crate::partition_state::{PartitionState, columns_batch};
use crate::rocks_kv::RocksKv;
use crate::schema::{Run, TableId, TableSchema};
use crate::state_table::StateDelta;
use crate::witness::Witness;
use crate::{canary, crash_point};

/// Name of the RocksDB directory within a data directory.
const DATABASE: &str = "db";
/// Name of the epoch witness within a data directory.
const WITNESS: &str = "epoch";

/// Changes of catalog rows, which are opaque here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogChange {
    /// Rows to set: key and value.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys of rows to remove.
    pub deletes: Vec<Vec<u8>>,
}

/// Takes a key group's rows.
pub type Take<'a> = &'a mut dyn FnMut(KeyGroup, PartitionState) -> Result<()>;

/// Everything that becomes durable with one epoch.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// The epoch, not before the committed one.
    pub epoch: Epoch,
    /// The time of the epoch, in microseconds since 1970.
    pub time: i64,
    /// Changed rows of all state tables.
    pub deltas: Vec<StateDelta>,
    /// Jobs to remove with all their rows. Their deltas are ignored.
    pub dropped: Vec<u32>,
    /// Jobs whose stored rows are worth nothing since they failed: those rows are removed before
    /// deltas are written, and until the job is among `rebuilt` what is stored of it is not whole.
    pub rebuilding: Vec<u32>,
    /// Jobs whose stored rows are whole again with this checkpoint.
    pub rebuilt: Vec<u32>,
    /// Changes of catalog rows.
    pub catalog: CatalogChange,
    /// By job, the last write-ahead change whose rows are in this checkpoint; it and those before
    /// it are removed.
    pub wal_applied: BTreeMap<u32, u64>,
}

/// Durable state of a server. All methods may be called from any thread.
#[derive(Debug)]
pub struct Storage {
    kv: Arc<dyn Kv>,
    /// `None` if there is no directory.
    witness: Option<Mutex<Witness>>,
    /// The committed epoch.
    epoch: AtomicU64,
}

impl Storage {
    /// Storage over any keys and values.
    ///
    /// # Errors
    /// [`Error::Format`] when another version wrote them.
    pub fn open(kv: Arc<dyn Kv>) -> Result<Self> {
        match kv.get(ColumnFamily::Meta, layout::FORMAT_KEY)? {
            Some(bytes) => check_format(&bytes)?,
            None => {
                let mut writes = WriteSet::default();
                let format = layout::FORMAT.to_be_bytes();
                writes.put(ColumnFamily::Meta, layout::FORMAT_KEY, &format);
                kv.write(writes, Durability::Synced)?;
                crash_point!("storage.open.created");
            }
        }
        let epoch = match kv.get(ColumnFamily::Meta, layout::EPOCH_KEY)? {
            Some(bytes) => {
                let bytes = bytes.try_into();
                u64::from_be_bytes(bytes.map_err(|_| corrupt("meta", "bad epoch"))?)
            }
            None => 0,
        };
        Ok(Self {
            kv,
            witness: None,
            epoch: AtomicU64::new(epoch),
        })
    }

    /// Storage in a data directory, which is made if it is not there. RocksDB is in `db`, the
    /// epoch witness in `epoch`.
    ///
    /// # Errors
    /// [`Error::Locked`] when another server has it open; [`Error::Format`] when a version that
    /// this one does not read wrote it; [`Error::Corrupt`] when it has lost a checkpoint.
    pub fn open_dir(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        make_directory(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let witness_path = path.join(WITNESS);
        let witnessed = Witness::read(&witness_path)?;
        crash_point!("storage.open.directory");
        let kv = RocksKv::open(&path.join(DATABASE))?;
        crash_point!("storage.open.database");
        let mut storage = Self::open(Arc::new(kv))?;
        let epoch = storage.committed_epoch();
        match witnessed {
            Some(witnessed) if witnessed > epoch && !canary!("witness.compared") => {
                let detail = format!("it is at epoch {epoch}, but {witnessed} was committed");
                return Err(corrupt(&path.display().to_string(), &detail));
            }
            None if epoch > Epoch(0) => {
                tracing::warn!(%epoch, "epoch witness is missing and is made anew");
            }
            _ => {}
        }
        storage.witness = Some(Mutex::new(Witness::open(&witness_path, epoch)?));
        crash_point!("storage.open.done");
        Ok(storage)
    }

    /// The epoch of the last checkpoint; zero before the first.
    #[must_use]
    pub fn committed_epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// The time of the epoch of the last checkpoint, in microseconds since 1970; zero before the
    /// first.
    ///
    /// # Errors
    /// When the disk fails, or [`Error::Corrupt`].
    pub fn committed_time(&self) -> Result<i64> {
        let Some(bytes) = self.kv.get(ColumnFamily::Meta, layout::TIME_KEY)? else {
            return Ok(0);
        };
        let bytes = bytes.try_into();
        bytes
            .map(i64::from_be_bytes)
            .map_err(|_| corrupt("meta", "bad time"))
    }

    /// Writes a checkpoint. It is durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails: the checkpoint is then not there, or, if only the witness
    /// failed, whole.
    ///
    /// # Panics
    /// When the epoch is before the committed one.
    pub fn checkpoint(&self, checkpoint: Checkpoint) -> Result<()> {
        crash_point!("checkpoint.begun");
        let epoch = checkpoint.epoch;
        assert!(epoch >= self.committed_epoch(), "epochs never go back");
        let mut writes = WriteSet::default();
        for &job in &checkpoint.dropped {
            drop_job(&mut writes, job);
        }
        for &job in &checkpoint.rebuilding {
            drop_rows(&mut writes, job);
            writes.put(ColumnFamily::Meta, &layout::rebuilding_key(job), &[]);
        }
        for &job in &checkpoint.rebuilt {
            writes.delete(ColumnFamily::Meta, &layout::rebuilding_key(job));
        }
        let mut converters = BTreeMap::new();
        // In the order of their keys; one by one, so that rows are not in memory twice.
        let mut deltas = checkpoint.deltas;
        deltas.sort_unstable_by_key(|delta| (delta.table, delta.key_group));
        for delta in deltas {
            if !checkpoint.dropped.contains(&delta.table.job) {
                write_delta(&mut writes, &mut converters, &delta)?;
            }
        }
        for (&job, &sequence) in &checkpoint.wal_applied {
            let start = layout::wal_key(job, 0);
            let end = layout::end_of_prefix(&layout::wal_key(job, sequence));
            writes.delete_range(ColumnFamily::Wal, &start, &end);
        }
        write_catalog_rows(&mut writes, checkpoint.catalog);
        let number = epoch.0.to_be_bytes();
        writes.put(ColumnFamily::Meta, layout::EPOCH_KEY, &number);
        if checkpoint.time != 0 {
            let time = checkpoint.time.to_be_bytes();
            writes.put(ColumnFamily::Meta, layout::TIME_KEY, &time);
        }
        crash_point!("checkpoint.before");
        self.kv
            .write(writes, synced_unless(canary!("checkpoint.synced")))?;
        crash_point!("checkpoint.written");
        self.epoch.store(epoch.0, Ordering::Release);
        if let Some(witness) = &self.witness {
            let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
            witness.write(epoch)?;
        }
        crash_point!("checkpoint.witnessed");
        Ok(())
    }

    /// The rows of a key group as of the committed epoch, all clean; to be installed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the stored bytes are not rows of the table.
    pub fn load(&self, schema: &TableSchema, key_group: KeyGroup) -> Result<PartitionState> {
        let prefix = layout::partition_prefix(schema.id, key_group);
        let mut found = None;
        self.load_prefix(schema, &prefix, &mut |_, state| {
            found = Some(state);
            Ok(())
        })?;
        match found {
            Some(state) => Ok(state),
            None => StoredRows::new(schema).into_state(schema, &converter(schema)?, 0),
        }
    }

    /// Gives the rows of all key groups that have any, ascending, one after the other, by one scan; see
    /// [`Storage::load`].
    ///
    /// # Errors
    /// As [`Storage::load`], and those of `take`.
    pub fn load_table(&self, schema: &TableSchema, take: Take<'_>) -> Result<()> {
        self.load_prefix(schema, &layout::table_prefix(schema.id), take)
    }

    fn load_prefix(&self, schema: &TableSchema, prefix: &[u8], take: Take<'_>) -> Result<()> {
        let converter = converter(schema)?;
        let mut digests = self.digests(schema.id, prefix)?;
        let mut loading: Option<(KeyGroup, StoredRows)> = None;
        let mut finish = |(key_group, rows): (KeyGroup, StoredRows)| {
            let digest = digests.remove(&key_group);
            let digest = digest.ok_or_else(|| lost(schema.id, key_group))?;
            take(key_group, rows.into_state(schema, &converter, digest)?)
        };
        let mut read = |key: &[u8], value: &[u8]| -> Result<()> {
            let (key_group, row) = stored_row(schema, key)?;
            if let Some(done) = loading.take_if(|(loading, _)| *loading != key_group) {
                finish(done)?;
            }
            let (_, rows) = loading.get_or_insert_with(|| (key_group, StoredRows::new(schema)));
            rows.push(schema, row, value)
        };
        let mut failed = Ok(());
        self.kv
            .scan(ColumnFamily::State, prefix, &mut |key, value| {
                failed = read(key, value);
                match failed {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })?;
        failed?;
        if let Some(done) = loading {
            finish(done)?;
        }
        match digests.keys().next() {
            Some(&key_group) => Err(lost(schema.id, key_group)),
            None => Ok(()),
        }
    }

    /// The rows of some key hashes of a table that can evict: key groups and hashes, which ascend. With
    /// the key group of each part of the rows; those of one hash are neighbours.
    pub(crate) fn read_keys(
        &self,
        schema: &TableSchema,
        keys: &[(KeyGroup, u64)],
    ) -> Result<(Restored, Vec<Run>)> {
        let prefixes: Vec<_> = keys
            .iter()
            .map(|&(key_group, hash)| layout::key_prefix(schema.id, key_group, hash))
            .collect();
        let mut rows = StoredRows::new(schema);
        let mut runs: Vec<Run> = Vec::new();
        let mut key_hashes = Vec::new();
        let mut read = |key: &[u8], value: &[u8]| -> Result<()> {
            let (key_group, row) = stored_row(schema, key)?;
            let at = rows.ends.len();
            match runs.last_mut() {
                Some(run) if run.key_group == key_group => run.rows.end = at + 1,
                _ => runs.push(Run {
                    key_group,
                    rows: at..at + 1,
                }),
            }
            let hash = &key[layout::STATE_PREFIX_BYTES..layout::KEY_PREFIX_BYTES];
            key_hashes.push(u64::from_be_bytes(
                hash.try_into().expect("a key hash has eight bytes"),
            ));
            rows.push(schema, row, value)
        };
        let mut outcome = Ok(());
        self.kv.scan_rows(&prefixes, &mut |key, value| {
            if outcome.is_ok() {
                outcome = read(key, value);
            }
        })?;
        outcome?;
        let count = rows.ends.len();
        let measures = std::mem::take(&mut rows.measures);
        let columns = compacted(rows.columns(schema, &converter(schema)?)?);
        let sharing = match runs.len() {
            0 | 1 => Sharing::Own,
            _ => Sharing::Shared,
        };
        let data = ChunkData::new(columns, count, sharing);
        let mut hashes = Vec::new();
        hash_cells(data.cells.iter(), count, &mut hashes);
        if schema.key_is_identity() {
            key_hashes.clear();
        }
        let restored = Restored {
            data: Arc::new(data),
            measures,
            hashes,
            key_hashes,
        };
        Ok((restored, runs))
    }

    /// The digests of the key groups of a table that have rows.
    fn digests(&self, table: TableId, prefix: &[u8]) -> Result<BTreeMap<KeyGroup, u128>> {
        let prefix = [layout::DIGEST_PREFIX, prefix].concat();
        let mut digests = BTreeMap::new();
        let mut failed = Ok(());
        self.kv
            .scan(ColumnFamily::Meta, &prefix, &mut |key, value| {
                let key = &key[layout::DIGEST_PREFIX.len()..];
                match (layout::split_state_key(table, key), value.try_into()) {
                    (Ok((key_group, [])), Ok(value)) => {
                        digests.insert(key_group, u128::from_be_bytes(value));
                        ControlFlow::Continue(())
                    }
                    _ => {
                        failed = Err(corrupt(&table.to_string(), "bad digest"));
                        ControlFlow::Break(())
                    }
                }
            })?;
        failed.map(|()| digests)
    }

    /// Jobs whose stored rows are not whole, as of the committed epoch: see
    /// [`Checkpoint::rebuilding`].
    ///
    /// # Errors
    /// When the disk fails, or [`Error::Corrupt`].
    pub fn rebuilding(&self) -> Result<BTreeSet<u32>> {
        let prefix = layout::REBUILDING_PREFIX;
        let mut jobs = BTreeSet::new();
        let mut failed = Ok(());
        self.kv.scan(
            ColumnFamily::Meta,
            prefix,
            &mut |key, _| match key[prefix.len()..].try_into() {
                Ok(job) => {
                    jobs.insert(u32::from_be_bytes(job));
                    ControlFlow::Continue(())
                }
                Err(_) => {
                    failed = Err(corrupt("meta", "bad job number"));
                    ControlFlow::Break(())
                }
            },
        )?;
        failed.map(|()| jobs)
    }

    /// Appends a write-ahead change of a base table. It is durable when this returns. Sequence
    /// numbers of a job ascend.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn wal_append(&self, job: u32, sequence: u64, bytes: Vec<u8>) -> Result<()> {
        self.wal_append_all(vec![(job, sequence, bytes)])
    }

    /// Appends write-ahead changes of several base tables, each with its job and sequence number:
    /// all or none. They are durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn wal_append_all(&self, changes: Vec<(u32, u64, Vec<u8>)>) -> Result<()> {
        let mut writes = WriteSet::default();
        for (job, sequence, bytes) in changes {
            writes.put(ColumnFamily::Wal, &layout::wal_key(job, sequence), &bytes);
        }
        crash_point!("wal.append.before");
        self.kv
            .write(writes, synced_unless(canary!("wal.synced")))?;
        crash_point!("wal.append.after");
        Ok(())
    }

    /// The write-ahead changes of a job after a sequence number, ascending. A checkpoint removes
    /// what it applied, so after a restart these are the changes to be applied again.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn wal_read(&self, job: u32, after: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut changes = Vec::new();
        let prefix = layout::job_prefix(job);
        let mut failed = Ok(());
        self.kv
            .scan(ColumnFamily::Wal, &prefix, &mut |key, value| {
                let Ok(sequence) = key[prefix.len()..].try_into() else {
                    failed = Err(corrupt("wal", "bad key"));
                    return ControlFlow::Break(());
                };
                let sequence = u64::from_be_bytes(sequence);
                if sequence > after {
                    changes.push((sequence, value.to_vec()));
                }
                ControlFlow::Continue(())
            })?;
        failed.map(|()| changes)
    }

    /// All catalog rows, ascending by key.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn catalog_rows(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let prefix = layout::CATALOG_PREFIX;
        let mut rows = Vec::new();
        self.kv
            .scan(ColumnFamily::Meta, prefix, &mut |key, value| {
                rows.push((key[prefix.len()..].to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })?;
        Ok(rows)
    }

    /// Changes catalog rows outside a checkpoint. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn write_catalog(&self, change: CatalogChange) -> Result<()> {
        let mut writes = WriteSet::default();
        write_catalog_rows(&mut writes, change);
        crash_point!("catalog.write.before");
        self.kv.write(writes, Durability::Synced)?;
        crash_point!("catalog.write.after");
        Ok(())
    }
}

/// Makes a directory that outlasts a loss of power, if it is not there.
fn make_directory(path: &Path) -> std::io::Result<()> {
    let ancestors = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty());
    let missing: Vec<&Path> = ancestors.take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(path)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// What a write must be, unless a test takes the guard away.
fn synced_unless(canary: bool) -> Durability {
    match canary {
        false => Durability::Synced,
        true => Durability::Unsynced,
    }
}

fn corrupt(place: &str, detail: &str) -> Error {
    Error::Corrupt {
        place: place.to_owned(),
        detail: detail.to_owned(),
    }
}

fn lost(table: TableId, key_group: KeyGroup) -> Error {
    let place = format!("key group {key_group} of {table}");
    corrupt(&place, "rows or digest are missing")
}

fn check_format(bytes: &[u8]) -> Result<()> {
    let bytes = bytes.try_into();
    let found = u32::from_be_bytes(bytes.map_err(|_| corrupt("meta", "bad format number"))?);
    if found == layout::FORMAT || canary!("format.compared") {
        return Ok(());
    }
    Err(Error::Format {
        found,
        supported: layout::FORMAT,
    })
}

fn write_catalog_rows(writes: &mut WriteSet, change: CatalogChange) {
    for key in change.deletes {
        writes.delete(ColumnFamily::Meta, &layout::catalog_key(&key));
    }
    for (key, value) in change.puts {
        writes.put(ColumnFamily::Meta, &layout::catalog_key(&key), &value);
    }
}

fn drop_job(writes: &mut WriteSet, job: u32) {
    drop_rows(writes, job);
    delete_prefix(writes, ColumnFamily::Wal, &layout::job_prefix(job));
    writes.delete(ColumnFamily::Meta, &layout::rebuilding_key(job));
}

fn drop_rows(writes: &mut WriteSet, job: u32) {
    let prefix = layout::job_prefix(job);
    delete_prefix(writes, ColumnFamily::State, &prefix);
    let digests = [layout::DIGEST_PREFIX, &prefix].concat();
    delete_prefix(writes, ColumnFamily::Meta, &digests);
}

fn delete_prefix(writes: &mut WriteSet, family: ColumnFamily, prefix: &[u8]) {
    writes.delete_range(family, prefix, &layout::end_of_prefix(prefix));
}

fn write_delta(
    writes: &mut WriteSet,
    converters: &mut BTreeMap<TableId, RowConverter>,
    delta: &StateDelta,
) -> Result<()> {
    let converter = match converters.entry(delta.table) {
        Entry::Occupied(converter) => converter.into_mut(),
        Entry::Vacant(entry) => entry.insert(layout::row_converter(&delta.columns.schema())?),
    };
    let prefix = layout::partition_prefix(delta.table, delta.key_group);
    if delta.replaces {
        let end = layout::end_of_prefix(&prefix);
        writes.delete_range(ColumnFamily::State, &prefix, &end);
    }
    let hash = |row: usize| delta.key_hashes.get(row).copied();
    // Without columns there is one row, of no bytes.
    let rows = match delta.columns.num_columns() {
        0 => None,
        _ => Some(converter.convert_columns(delta.columns.columns())?),
    };
    let (mut key, mut value) = (prefix.to_vec(), Vec::new());
    let in_order = || (0..delta.columns.num_rows()).collect();
    let ascending = |rows: &Rows| ascending(rows, hash);
    for row in rows.as_ref().map_or_else(in_order, ascending) {
        key.truncate(prefix.len());
        key.extend(hash(row).map(u64::to_be_bytes).into_iter().flatten());
        if let Some(rows) = &rows {
            key.extend_from_slice(rows.row(row).as_ref());
        }
        if delta.measures.is_zero(row) {
            writes.delete(ColumnFamily::State, &key);
        } else {
            value.clear();
            delta.measures.write_row(row, &mut value);
            writes.put(ColumnFamily::State, &key, &value);
        }
    }
    let key = layout::digest_key(delta.table, delta.key_group);
    match delta.digest {
        0 => writes.delete(ColumnFamily::Meta, &key),
        digest => writes.put(ColumnFamily::Meta, &key, &digest.to_be_bytes()),
    }
    Ok(())
}

/// The numbers of rows in the order of their bytes, behind those of their key hashes if they have any.
fn ascending(rows: &Rows, hash: impl Fn(usize) -> Option<u64>) -> Vec<usize> {
    // Most rows differ in the first bytes, which are compared at once.
    const PREFIX: usize = size_of::<u128>();
    let prefix = |bytes: &[u8]| {
        let mut prefix = [0; PREFIX];
        let length = bytes.len().min(PREFIX);
        prefix[..length].copy_from_slice(&bytes[..length]);
        u128::from_be_bytes(prefix)
    };
    let mut order: Vec<(u128, usize)> = (0..rows.num_rows())
        .map(|row| {
            let bytes = prefix(rows.row(row).as_ref());
            let first = hash(row).map_or(bytes, |hash| u128::from(hash) << 64 | bytes >> 64);
            (first, row)
        })
        .collect();
    order.sort_unstable_by(|(a, first), (b, second)| {
        a.cmp(b)
            .then_with(|| rows.row(*first).cmp(&rows.row(*second)))
    });
    order.into_iter().map(|(_, row)| row).collect()
}

fn converter(schema: &TableSchema) -> Result<RowConverter> {
    layout::row_converter(&schema.columns)
}

/// Rows of one key group as they are read.
struct StoredRows {
    /// Row bytes, one row after the other.
    bytes: Vec<u8>,
    /// Where each row ends in `bytes`.
    ends: Vec<usize>,
    measures: Measures,
}

impl StoredRows {
    fn new(schema: &TableSchema) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            measures: Measures::zeros(&schema.measures, 0),
        }
    }

    fn into_state(
        self,
        schema: &TableSchema,
        converter: &RowConverter,
        digest: u128,
    ) -> Result<PartitionState> {
        let count = self.ends.len();
        let columns = self.columns(schema, converter)?;
        let clean = BooleanArray::from(vec![false; count]);
        Ok(PartitionState {
            columns: columns_batch(Arc::clone(&schema.columns), columns, count)?,
            measures: self.measures,
            dirty: clean.clone(),
            touched: clean.clone(),
            writing: clean,
            written_after: Epoch(0),
            old: Measures::zeros(&schema.measures, 0),
            digest,
            evicted: Evicted::default(),
        })
    }

    fn columns(&self, schema: &TableSchema, converter: &RowConverter) -> Result<Vec<ArrayRef>> {
        if schema.columns.fields().is_empty() {
            return Ok(Vec::new());
        }
        let parser = converter.parser();
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let rows = starts.zip(&self.ends);
        let rows = rows.map(|(start, &end)| parser.parse(&self.bytes[start..end]));
        Ok(converter.convert_rows(rows)?)
    }

    /// Appends a stored row.
    fn push(&mut self, schema: &TableSchema, row: &[u8], value: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
        match self.measures.read_row(value) {
            true => Ok(()),
            false => Err(corrupt(&schema.id.to_string(), "measures of another width")),
        }
    }
}

/// The key group of a row, and its bytes.
fn stored_row<'a>(schema: &TableSchema, key: &'a [u8]) -> Result<(KeyGroup, &'a [u8])> {
    let (key_group, row) = layout::split_state_key(schema.id, key)?;
    if !schema.evictable {
        return Ok((key_group, row));
    }
    let row = row.get(size_of::<u64>()..);
    let row = row.ok_or_else(|| corrupt(&schema.id.to_string(), "a key without its hash"))?;
    Ok((key_group, row))
}
