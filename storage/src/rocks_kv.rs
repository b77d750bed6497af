//! RocksDB behind the [`Kv`] seam.
//!
//! ```text
//!   small write set ─► one write batch: log, memtable ──► flush ─┐
//!   large one ─► rows of `state`, in order ─► table file ────────┴─► levels
//!                └─► the rest, and a mark that the file is to come: one write batch
//! ```
//!
//! A checkpoint of many rows goes into a table file of its own, past log and memtable, which take
//! three times the work. It is committed with the mark, in the batch of its other changes; then
//! the file is taken in and the mark removed. Opening does what a crash in between has left.
//!
//! Options that promises rest on: a write set is one write batch over all column families, synced
//! if asked to; recovery tolerates a torn tail of the log and nothing else (the default would drop
//! what follows a bad record in silence); logs are not recycled, and the manifest knows those that
//! must be there. After a write that found no space RocksDB takes no other until it is opened again,
//! which the next operation does. The rest keeps memory and work
//! small: hot state lives in state tables, and RocksDB is read at start, and where memory does not hold
//! all state: then by the key hashes in front of rows, for which table files have Bloom filters, as many
//! keys of a stream are new. LZ4 throughout, as
//! Zstandard in the last level takes a tenth of all CPU time of a load for a third of the bytes.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Deref};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use rocksdb::compaction_filter::{CompactionFilter, Decision as CompactionDecision};
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, ErrorKind, IngestExternalFileOptions, IteratorMode, Options, PrefixRange,
    ReadOptions, SliceTransform, SstFileWriter, WriteBatch, WriteOptions,
};

use crate::error::{Error, Result};
use crate::kv::{ColumnFamily, Durability, Kv, Operation, Visit, WriteSet};
use crate::layout::{self, KeyPrefix};
use crate::{canary, crash, crash_point};

/// Name of the table file that waits, within the directory.
const INCOMING: &str = "incoming.table";
/// Bytes of rows from which a write set gets a table file.
const TABLE_BYTES_MIN: usize = 1 << 20;
/// The same where crash points are tested, which a short run shall reach.
const TABLE_BYTES_MIN_TESTED: usize = 32 << 10;
const BLOCK_CACHE_BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 16 << 10;
/// Of the Bloom filters: one in a hundred absent keys is looked for in vain.
const FILTER_BITS: f64 = 10.0;
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// The same where crash points are tested.
const WRITE_BUFFER_BYTES_TESTED: usize = 64 << 10;
const WRITE_BUFFERS_BYTES_MAX: usize = 96 << 20;
const LOG_BYTES_MAX: u64 = 128 << 20;
const OPEN_FILES_MAX: i32 = 512;
const BACKGROUND_JOBS_MAX: i32 = 2;
const INFO_LOGS_KEPT: usize = 3;

/// Keys and values in RocksDB. One process at a time may have a directory open.
pub struct RocksKv {
    path: PathBuf,
    /// `None` when it could not be opened again.
    db: RwLock<Option<DB>>,
    /// Set when there was no space: RocksDB then takes no writes until it is opened again.
    was_full: AtomicBool,
    /// Set when a synced write failed: what is on disk is not known from then on.
    stopped: AtomicBool,
    /// Where the rows of a large write set are until they are taken in.
    incoming: PathBuf,
    /// Whether a table that is committed waits there.
    waits: Mutex<bool>,
    family_options: Options,
}

impl std::fmt::Debug for RocksKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksKv").field("path", &self.path).finish()
    }
}

impl RocksKv {
    /// Opens a directory, or makes it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process, or another `RocksKv`, has it open;
    /// [`Error::Corrupt`] when what is in it cannot be trusted.
    pub fn open(path: &Path) -> Result<Self> {
        let kv = Self {
            path: path.to_owned(),
            db: RwLock::new(None),
            was_full: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            incoming: path.join(INCOMING),
            waits: Mutex::new(false),
            family_options: options().1,
        };
        kv.open_again()?;
        Ok(kv)
    }

    /// The database; opened again if there was no space.
    fn opened(&self) -> Result<Opened<'_>> {
        if self.was_full.load(Ordering::Acquire) && !self.stopped.load(Ordering::Acquire) {
            self.open_again()?;
        }
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match db.is_some() {
            true => Ok(Opened(db)),
            false => Err(Error::WritesStopped),
        }
    }

    /// Opens the database, and does what a crash has left undone.
    fn open_again(&self) -> Result<()> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if !self.was_full.load(Ordering::Acquire) {
            return Ok(()); // Another thread has.
        }
        // One has to be closed before the next is opened.
        drop(db.take());
        let opened = open_database(&self.path)?;
        let committed = get(&opened, ColumnFamily::Meta, layout::INCOMING_KEY)?.is_some();
        *self.waits() = committed;
        match committed {
            true => self.take_in(&opened)?,
            // Begun and never committed.
            false => self.remove_incoming()?,
        }
        *db = Some(opened);
        self.was_full.store(false, Ordering::Release);
        Ok(())
    }

    /// Remembers that there was no space.
    fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        if matches!(outcome, Err(Error::DiskFull { .. })) {
            self.was_full.store(true, Ordering::Release);
        }
        outcome
    }

    fn waits(&self) -> MutexGuard<'_, bool> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_incoming(&self) -> Result<()> {
        match std::fs::remove_file(&self.incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(error)),
            _ => Ok(()),
        }
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io {
            path: self.incoming.clone(),
            source,
        }
    }

    /// Takes in the table that waits, if one does.
    fn take_in(&self, db: &DB) -> Result<()> {
        let mut waits = self.waits();
        if !*waits {
            return Ok(());
        }
        crash_point!("checkpoint.taking_in");
        // Taking it in moves it: if it is gone, only the mark was left.
        if self.incoming.try_exists().map_err(|error| self.io(error))? {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            let state = handle(db, ColumnFamily::State);
            db.ingest_external_file_cf_opts(&state, &options, vec![&self.incoming])?;
        }
        crash_point!("checkpoint.taken_in");
        let meta = handle(db, ColumnFamily::Meta);
        db.delete_cf(&meta, layout::INCOMING_KEY)?;
        crash_point!("checkpoint.mark_removed");
        *waits = false;
        Ok(())
    }

    /// Writes rows of `state`, which ascend, to a table file that is durable when this returns.
    fn write_table(&self, writes: &WriteSet) -> Result<()> {
        self.remove_incoming()?;
        let mut table = SstFileWriter::create(&self.family_options);
        table.open(&self.incoming)?;
        for operation in writes.operations() {
            match operation {
                Operation::Put {
                    family: ColumnFamily::State,
                    key,
                    value,
                } => table.put(key, value)?,
                Operation::Delete {
                    family: ColumnFamily::State,
                    key,
                } => table.delete(key)?,
                _ => {}
            }
        }
        table.finish()?;
        crash_point!("checkpoint.table_finished");
        if canary!("table.directory_synced") {
            return Ok(());
        }
        let directory = self.incoming.parent().unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.io(error))
    }

    fn write_batch(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        db.write_opt(batch, &options).map_err(|source| {
            let error = Error::from(source);
            if !matches!(error, Error::DiskFull { .. }) {
                // A failed sync may have dropped pages that a second one would not write again.
                self.stopped.store(true, Ordering::Release);
            }
            error
        })
    }

    fn write_to(&self, db: &DB, writes: &WriteSet, durability: Durability) -> Result<()> {
        self.take_in(db)?;
        let bytes_min = match crash::is_tested() {
            false => TABLE_BYTES_MIN,
            true => TABLE_BYTES_MIN_TESTED,
        };
        if writes.bytes() < bytes_min || ascending_bytes(writes) < bytes_min {
            return self.write_batch(db, batch(db, writes, |_| true), durability);
        }
        self.write_table(writes)?;
        crash_point!("checkpoint.table");
        let mut batch = batch(db, writes, |operation| !is_row(operation));
        batch.put_cf(&handle(db, ColumnFamily::Meta), layout::INCOMING_KEY, []);
        // The file is durable already: the batch commits it.
        self.write_batch(db, batch, Durability::Synced)?;
        *self.waits() = true;
        crash_point!("checkpoint.incoming");
        self.take_in(db)
    }

    fn scan_in(
        &self,
        db: &DB,
        family: ColumnFamily,
        prefix: &[u8],
        visit: Visit<'_>,
    ) -> Result<()> {
        self.take_in(db)?;
        let mut options = ReadOptions::default();
        options.set_iterate_range(PrefixRange(prefix));
        options.set_total_order_seek(true);
        // What a scan reads is read once; it must not push other blocks out.
        options.fill_cache(false);
        for entry in db.iterator_cf_opt(&handle(db, family), options, IteratorMode::Start) {
            let (key, value) = entry?;
            if let ControlFlow::Break(()) = visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn scan_rows_in(
        &self,
        db: &DB,
        prefixes: &[KeyPrefix],
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.take_in(db)?;
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        let mut rows = db.raw_iterator_cf_opt(&handle(db, ColumnFamily::State), options);
        for prefix in prefixes {
            rows.seek(prefix);
            while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(prefix)) {
                visit(key, value);
                rows.next();
            }
            rows.status()?;
        }
        Ok(())
    }
}

/// The database while it is open.
struct Opened<'a>(RwLockReadGuard<'a, Option<DB>>);

impl Deref for Opened<'_> {
    type Target = DB;

    fn deref(&self) -> &DB {
        self.0.as_ref().expect("it was when this was made")
    }
}

fn open_database(path: &Path) -> Result<DB> {
    let (options, family_options) = options();
    let families = ColumnFamily::ALL
        .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options.clone()));
    let db = DB::open_cf_descriptors(&options, path, families);
    db.map_err(|source| match is_lock(&source) {
        true => Error::Locked {
            path: path.to_owned(),
            source,
        },
        false => source.into(),
    })
}

fn handle(db: &DB, family: ColumnFamily) -> Arc<BoundColumnFamily<'_>> {
    db.cf_handle(family.name())
        .expect("all column families are created when the database is opened")
}

fn get(db: &DB, family: ColumnFamily, key: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(db.get_cf(&handle(db, family), key)?)
}

/// The changes that `part` chooses.
fn batch(db: &DB, writes: &WriteSet, part: impl Fn(&Operation<'_>) -> bool) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let [meta, state, wal] = ColumnFamily::ALL.map(|family| handle(db, family));
    let handle = |family| match family {
        ColumnFamily::Meta => &meta,
        ColumnFamily::State => &state,
        ColumnFamily::Wal => &wal,
    };
    for operation in writes.operations().filter(|o| part(o)) {
        match operation {
            Operation::Put { family, key, value } => batch.put_cf(handle(family), key, value),
            Operation::Delete { family, key } => batch.delete_cf(handle(family), key),
            Operation::DeleteRange { family, start, end } => {
                batch.delete_range_cf(handle(family), start, end);
            }
        }
    }
    batch
}

impl Kv for RocksKv {
    fn get(&self, family: ColumnFamily, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(&*self.opened()?, family, key)
    }

    fn scan(&self, family: ColumnFamily, prefix: &[u8], visit: Visit<'_>) -> Result<()> {
        let db = self.opened()?;
        self.noted(self.scan_in(&db, family, prefix, visit))
    }

    fn scan_rows(&self, prefixes: &[KeyPrefix], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let db = self.opened()?;
        self.noted(self.scan_rows_in(&db, prefixes, visit))
    }

    fn write(&self, writes: WriteSet, durability: Durability) -> Result<()> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(Error::WritesStopped);
        }
        let db = self.opened()?;
        self.noted(self.write_to(&db, &writes, durability))
    }
}

/// Whether an operation sets or removes one row of `state`.
fn is_row(operation: &Operation<'_>) -> bool {
    match operation {
        Operation::Put { family, .. } | Operation::Delete { family, .. } => {
            *family == ColumnFamily::State
        }
        Operation::DeleteRange { .. } => false,
    }
}

/// The bytes of the rows of `state`; none unless they ascend, each once, and no range of them is
/// removed after a row.
fn ascending_bytes(writes: &WriteSet) -> usize {
    let mut last: Option<&[u8]> = None;
    let mut bytes = 0;
    for operation in writes.operations() {
        match operation {
            Operation::Put { key, .. } | Operation::Delete { key, .. } if is_row(&operation) => {
                if last.is_some_and(|last| last >= key) {
                    return 0;
                }
                last = Some(key);
                bytes += key.len();
                if let Operation::Put { value, .. } = operation {
                    bytes += value.len();
                }
            }
            Operation::DeleteRange {
                family: ColumnFamily::State,
                ..
            } if last.is_some() => return 0,
            _ => {}
        }
    }
    bytes
}

impl From<rocksdb::Error> for Error {
    fn from(source: rocksdb::Error) -> Self {
        // A sync that finds no space has lost what it was to sync, as any that fails.
        let text = source.as_ref();
        if text.contains("No space left") && !text.contains("sync") {
            return Self::DiskFull { source };
        }
        match source.kind() {
            ErrorKind::Corruption => Self::Corrupt {
                place: "the database".to_owned(),
                detail: source.into_string(),
            },
            _ => Self::RocksDb(source),
        }
    }
}

/// Whether opening failed because the directory is open already.
fn is_lock(error: &rocksdb::Error) -> bool {
    let text = error.as_ref();
    error.kind() == ErrorKind::IOError
        && (text.contains("While lock file") || text.contains("lock hold by"))
}

/// Options of the database and of each column family.
fn options() -> (Options, Options) {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_recycle_log_file_num(0);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);

    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_bloom_filter(FILTER_BITS, false);
    blocks.set_whole_key_filtering(false);
    let mut family = Options::default();
    family.set_block_based_table_factory(&blocks);
    family.set_write_buffer_size(WRITE_BUFFER_BYTES);
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_compression_type(DBCompressionType::Lz4);
    // For keys of `state` that have a key hash. All other scans are in total order.
    family.set_prefix_extractor(SliceTransform::create_fixed_prefix(
        layout::KEY_PREFIX_BYTES,
    ));
    if crash::is_tested() {
        family.set_write_buffer_size(WRITE_BUFFER_BYTES_TESTED);
        family.set_level_zero_file_num_compaction_trigger(2);
        family.set_compaction_filter_factory(CompactionWatch);
    }
    (options, family)
}

/// Keeps everything, and has crash points where a compaction begins and ends.
struct CompactionWatch;

impl CompactionFilterFactory for CompactionWatch {
    type Filter = Compaction;

    fn create(&mut self, _context: CompactionFilterContext) -> Compaction {
        crash_point!("compaction.begun");
        Compaction
    }

    fn name(&self) -> &CStr {
        c"crash points"
    }
}

/// One compaction.
struct Compaction;

impl CompactionFilter for Compaction {
    fn filter(&mut self, _level: u32, _key: &[u8], _value: &[u8]) -> CompactionDecision {
        CompactionDecision::Keep
    }

    fn name(&self) -> &CStr {
        c"crash points"
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        crash_point!("compaction.ended");
    }
}
