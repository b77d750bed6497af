//! The running server: opens storage, catalog and engine, serves clients, ends in order.
//!
//! ```text
//!   start:    storage ─► catalog ─► dataflows of all jobs ─► engine (visible) ─► key sets ─► listen
//!   shutdown: stop accepting ─► 57P01 to sessions ─► last checkpoint
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use executor::{Engine, EngineOptions, JobSpec};
use planner::{QueryMemory, Settings as PlanSettings, TableDefinition};
use storage::{CatalogChange, Storage, crash_point};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::access::Access;
use crate::access::guessing::Guessing;
use crate::access::password::{Mock, random};
use crate::activity::Sessions;
use crate::adaptive::Decisions;
use crate::catalog::{Catalog, Catalogs, Entry, Kind, SharedCatalog};
use crate::catalog_view::CatalogView;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::feed::{Feeds, Retention};
use crate::key_set::{KeySet, KeySets};
use crate::listener;
use crate::rescale::history;
use crate::sequence::Sequences;
use crate::settings::Settings;
use crate::sink::{self, Sinks};
use crate::statement::alter_table;
use crate::table_locks::TableLocks;
use crate::tls::Tls;
use crate::{adaptive, background, big_stack, pg_catalog, temporary_view};

/// Looks at handles that should be gone, and the time between two of them.
const RELEASE_TRIES: u32 = 1000;
const RELEASE_PAUSE: Duration = Duration::from_millis(2);

/// What the sessions of one database share: its catalog, and all that the server has.
#[derive(Debug)]
pub struct Shared {
    /// All relations of the database.
    pub catalog: SharedCatalog,
    instance: Arc<Instance>,
}

impl Shared {
    /// What the sessions of another database share.
    #[must_use]
    pub fn of_database(&self, database: u32) -> Arc<Shared> {
        Arc::new(Shared {
            catalog: self.catalog.of_database(database),
            instance: Arc::clone(&self.instance),
        })
    }
}

impl Deref for Shared {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

/// What all sessions share.
#[derive(Debug)]
pub struct Instance {
    /// The effective configuration.
    pub config: Config,
    /// The running dataflows.
    pub engine: Engine,
    /// The memory that queries share.
    pub query_memory: QueryMemory,
    /// What is durable.
    pub storage: Arc<Storage>,
    /// Primary keys.
    pub keys: KeySets,
    /// Who writes which table.
    pub locks: TableLocks,
    /// Serializes CREATE and DROP.
    pub ddl: Arc<tokio::sync::Mutex<()>>,
    /// What adaptive relations decided.
    pub decisions: Decisions,
    /// Changes, for subscriptions.
    pub feeds: Feeds,
    /// Woken when a view was created in the background, or not.
    pub created: watch::Sender<()>,
    /// How far sinks are.
    pub sinks: Sinks,
    /// Where sequences are.
    pub sequences: Sequences,
    /// Who is connected.
    pub sessions: Sessions,
    /// Connections that have not logged in yet, at most as many as there may be sessions.
    pub starting: Semaphore,
    /// Who gave wrong passwords.
    pub guessing: Guessing,
    /// Stands in for the passwords of users who have none.
    pub mock: Mock,
    /// How connections are encrypted.
    pub tls: Option<Tls>,
}

/// Where the secret of [`Mock`] is kept.
const MOCK_KEY: &[u8] = b"mock_secret";

fn mock(storage: &Storage, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<Mock> {
    if let Some((_, secret)) = rows.iter().find(|(key, _)| key == MOCK_KEY) {
        return Ok(Mock::new(secret));
    }
    let secret = random::<32>()?;
    storage.write_catalog(CatalogChange {
        puts: vec![(MOCK_KEY.to_vec(), secret.to_vec())],
        deletes: Vec::new(),
    })?;
    Ok(Mock::new(&secret))
}

/// Refuses to be reached by others than this machine without what keeps them out.
fn check_exposure(config: &Config, tls: Option<&Tls>, access: Option<&Access>) -> Result<()> {
    if config.listen.ip().is_loopback() {
        return Ok(());
    }
    let mut missing = Vec::new();
    if tls.is_none() {
        missing.push("a certificate (--tls-cert FILE --tls-key FILE)");
    }
    if !access.is_some_and(Access::has_guarded_superuser) {
        missing.push(
            "a superuser with a password (start once on 127.0.0.1 and run ALTER ROLE root PASSWORD '...')",
        );
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Configuration(format!(
        "refusing to listen on {}: beyond loopback the server needs {}",
        config.listen,
        missing.join(", and ")
    )))
}

/// Where the number of key groups of a data directory is kept.
const KEY_GROUPS_KEY: &[u8] = b"key_groups";

/// Stored rows are found by their key group, so another number of them would lose all state.
fn pin_key_groups(storage: &Storage, rows: &[(Vec<u8>, Vec<u8>)], key_groups: u16) -> Result<()> {
    let wanted = key_groups.to_be_bytes();
    match rows.iter().find(|(key, _)| key == KEY_GROUPS_KEY) {
        Some((_, stored)) if *stored == wanted => Ok(()),
        Some((_, stored)) => Err(Error::Configuration(format!(
            "the data directory has {} key groups, not {key_groups}: their number is fixed when it is created",
            u16::from_be_bytes(stored.as_slice().try_into().unwrap_or_default()),
        ))),
        None => Ok(storage.write_catalog(CatalogChange {
            puts: vec![(KEY_GROUPS_KEY.to_vec(), wanted.to_vec())],
            deletes: Vec::new(),
        })?),
    }
}

/// A server that accepts clients until it is shut down.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    shutdown: watch::Sender<bool>,
    /// Closed once the listener and every session have ended.
    ended: mpsc::Receiver<()>,
}

impl Server {
    /// Brings back what is stored, and listens. Clients are served when it returns.
    ///
    /// # Errors
    /// If the configuration, the data directory, the stored data or the address cannot be used.
    pub async fn start(config: Config) -> Result<Server> {
        config.check()?;
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::load(certificate, key)?),
            _ => None,
        };
        let data_dir = config.data_dir.clone();
        let storage = tokio::task::spawn_blocking(move || Storage::open_dir(&data_dir))
            .await
            .map_err(|e| Error::Internal(e.to_string()))??;
        let storage = Arc::new(storage);
        let rows = storage.catalog_rows()?;
        pin_key_groups(&storage, &rows, config.key_groups)?;
        let mut catalogs = Catalogs::from_rows(&rows)?;
        crash_point!("recovery.catalog_read");
        check_exposure(&config, tls.as_ref(), catalogs.access())?;
        let mock = mock(&storage, &rows)?;
        let mut jobs = Vec::new();
        for catalog in catalogs.catalogs.values_mut() {
            temporary_view::remove_left_behind(catalog, &storage)?;
            let (planned, of_catalog) = plan_jobs(catalog.clone()).await?;
            *catalog = planned;
            jobs.extend(of_catalog);
        }
        jobs.sort_by_key(|job| job.id);
        let creating = jobs.iter().filter(|job| job.resumable);
        let creating: Vec<JobSpec> = creating.cloned().collect();
        crash_point!("recovery.planned");
        let options = EngineOptions {
            barrier_interval: config.barrier_interval,
            checkpoint_interval: config.checkpoint_interval,
            key_groups: config.key_groups,
            state_memory_limit: config.state_memory_limit,
            past_rescales: history::from_rows(&rows)?,
            ..EngineOptions::default()
        };
        let engine = Engine::open(Arc::clone(&storage), jobs, options).await?;
        crash_point!("recovery.opened");
        let keys = load_keys(&catalogs, &engine)?;
        let catalog = SharedCatalog::new(catalogs);
        for database in catalog.databases() {
            let catalog = catalog.of_database(database);
            alter_table::finish_drops(&catalog, &engine, &storage).await?;
        }
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| Error::Io {
                what: format!("cannot listen on {}", config.listen),
                source,
            })?;
        let address = listener.local_addr().map_err(|source| Error::Io {
            what: "cannot read the listening address".to_owned(),
            source,
        })?;
        crash_point!("recovery.listening");
        let sequences = Sequences::from_rows(Arc::clone(&storage), &rows)?;
        let feeds = Feeds::new(Retention {
            time: config.subscription_retention,
            bytes_max: config.subscription_bytes_max,
        });
        let sessions = Sessions::new(config.connections_max);
        let starting = Semaphore::new(config.connections_max);
        let query_memory = QueryMemory::new(config.query_memory_limit)?;
        let instance = Arc::new(Instance {
            config,
            engine,
            query_memory,
            storage,
            keys,
            locks: TableLocks::default(),
            ddl: Arc::default(),
            decisions: Decisions::default(),
            feeds,
            created: watch::Sender::new(()),
            sinks: Sinks::default(),
            sequences,
            sessions,
            starting,
            guessing: Guessing::default(),
            mock,
            tls,
        });
        let shared = Arc::new(Shared { catalog, instance });
        for database in shared.catalog.databases() {
            let shared = shared.of_database(database);
            sink::start_all(&shared);
            background::start_again(&shared, &creating);
        }
        let (shutdown, stop) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let adaptive = adaptive::run(Arc::clone(&shared), stop.clone(), alive.clone());
        tokio::spawn(adaptive);
        tokio::spawn(listener::accept(listener, Arc::clone(&shared), stop, alive));
        Ok(Server {
            shared,
            address,
            shutdown,
            ended,
        })
    }

    /// Where it listens; with the real port if 0 was configured.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engine, for tests that look behind the socket.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends all sessions and takes a last checkpoint.
    ///
    /// # Errors
    /// If the checkpoint cannot be written; nothing acknowledged is lost even so.
    pub async fn shutdown(mut self) -> Result<()> {
        self.shutdown.send_replace(true);
        // Nothing is ever sent: it yields when the listener and all sessions have dropped theirs.
        let _none = self.ended.recv().await;
        self.shared.engine.shutdown().await?;
        let storage = Arc::clone(&self.shared.storage);
        drop(self.shared);
        release(storage).await;
        Ok(())
    }
}

/// Waits until the data directory is free for another server: tasks that have ended may still
/// be on their way to dropping their handles.
async fn release(storage: Arc<Storage>) {
    let mut tries = 0;
    while Arc::strong_count(&storage) > 1 && tries < RELEASE_TRIES {
        tokio::time::sleep(RELEASE_PAUSE).await;
        tries += 1;
    }
    if tries == RELEASE_TRIES {
        tracing::warn!("storage is still in use after the shutdown");
    }
}

/// Plans the job of every table and view again, upstream first, from what is stored.
async fn plan_jobs(stored: Catalog) -> Result<(Catalog, Vec<JobSpec>)> {
    big_stack::run(move |handle| {
        let growing = stored.without_relations();
        let database = growing.database().id;
        let growing = SharedCatalog::new(Catalogs {
            catalogs: BTreeMap::from([(database, growing)]),
            next_id: 0,
        });
        let growing = growing.of_database(database);
        let mut jobs = Vec::new();
        for entry in stored.functions().chain(stored.types()) {
            growing.put(Entry::clone(entry));
        }
        for entry in stored.entries() {
            let mut entry = Entry::clone(entry);
            let settings = PlanSettings {
                time_zone: entry.time_zone.clone(),
                ..PlanSettings::default()
            };
            let view = CatalogView::without_rows(growing.read()).read_by(&entry);
            let session = planner::batch::session(Arc::new(view), &settings)
                .with_two_phase_agg(entry.two_phase_agg);
            pg_catalog::register_pure(&session);
            match entry.kind {
                Kind::Table => jobs.push(table_job(&entry)?),
                Kind::MaterializedView | Kind::Sink(_) => {
                    let stored = crate::statement::ddl::stored_query(&entry)?;
                    let (query, columns, emit) = (stored.query, stored.columns, stored.emit);
                    let plan = planner::plan_view(&session, &query, &columns, emit);
                    let plan = handle.block_on(plan)?;
                    entry.planned = Some(Arc::clone(&plan.dataflow.schema));
                    entry.hashed_by = plan.hashed_by;
                    jobs.push(job(&entry, plan.dataflow));
                    if let Kind::Sink(sink) = &entry.kind {
                        jobs.push(sink::delivered_job(&entry, sink)?);
                    }
                }
                Kind::View => {
                    // Its query may need a session, as `current_setting` does: its columns then
                    // are of their stored types.
                    let stored = crate::statement::ddl::stored_query(&entry)?;
                    let plan = session.plan(&stored.query).ok();
                    entry.planned = plan
                        .map(|plan| crate::statement::ddl::renamed(plan.schema(), &entry.columns));
                }
                Kind::Index(_) => {
                    let dataflow = index_dataflow(&entry, &growing.read())?;
                    jobs.push(job(&entry, dataflow));
                }
                Kind::Source { .. } | Kind::Sequence(_) | Kind::Function(_) | Kind::Type(_) => {}
            }
            growing.put(entry);
        }
        Ok((Catalog::clone(&growing.read()), jobs))
    })
    .await
}

/// The job that keeps a table's rows.
///
/// # Errors
/// Faults of its watermark.
pub fn table_job(entry: &Entry) -> Result<JobSpec> {
    Ok(job(entry, table_dataflow(entry)?))
}

/// The dataflow of a table.
///
/// # Errors
/// Faults of its watermark.
pub fn table_dataflow(entry: &Entry) -> Result<planner::Dataflow> {
    let watermark = entry.watermark_definition();
    if let Some(layout) = &entry.layout {
        let places = layout.places();
        let key: Vec<usize> = entry.primary_key.iter().map(|&at| places[at]).collect();
        let (rows, hashed_by) = (layout.schema(), layout.hashed_by());
        return Ok(planner::plan_rows(
            &rows,
            &key,
            hashed_by,
            watermark.as_ref(),
        )?);
    }
    let definition = TableDefinition {
        columns: entry
            .columns
            .iter()
            .map(|column| planner::table::ColumnDefinition {
                not_null: column.not_null,
                ..planner::table::ColumnDefinition::plain(
                    column.name.clone(),
                    column.sql_type.arrow(),
                )
            })
            .collect(),
        primary_key: entry.primary_key.clone(),
        watermark,
    };
    Ok(planner::plan_table(&definition)?)
}

/// The dataflow of an index.
///
/// # Errors
/// [`Error::Corrupt`] if there is not what it is of.
pub fn index_dataflow(entry: &Entry, catalog: &Catalog) -> Result<planner::Dataflow> {
    let Kind::Index(index) = &entry.kind else {
        return Err(Error::Internal(format!("\"{}\" is no index", entry.name)));
    };
    let of = catalog.by_id(index.relation);
    let of = of.ok_or_else(|| Error::Corrupt(format!("index \"{}\" of nothing", entry.name)))?;
    let all = match &of.layout {
        Some(layout) => layout.schema(),
        None => of.schema(),
    };
    let columns = all.project(&(0..index.width).collect::<Vec<_>>())?;
    let relation = planner::RelationId(index.relation);
    Ok(planner::plan_index(relation, &columns, &index.places))
}

/// A relation's job.
#[must_use]
pub fn job(entry: &Entry, dataflow: planner::Dataflow) -> JobSpec {
    JobSpec {
        id: entry.id,
        name: entry.name.clone(),
        dataflow,
        parallelism: entry.parallelism,
        backfill_rate_limit: entry.backfill_rate_limit,
        resumable: entry.creating,
    }
}

fn load_keys(catalogs: &Catalogs, engine: &Engine) -> Result<KeySets> {
    let snapshot = engine.snapshot();
    let sets = KeySets::default();
    let entries = catalogs.catalogs.values().flat_map(Catalog::entries);
    for entry in entries.filter(|e| e.kind == Kind::Table && !e.primary_key.is_empty()) {
        let mut set = KeySet::new(&entry.schema(), &entry.primary_key)?;
        if let Some(rows) = snapshot.tables.get(&entry.id) {
            for batch in rows.batches(entry.places())? {
                set.load(&batch)?;
            }
        }
        sets.insert(entry.id, set);
    }
    Ok(sets)
}

/// The settings of a session before its client says anything.
#[must_use]
pub fn initial_settings(config: &Config) -> Settings {
    Settings::new(config.streaming_parallelism, config.key_groups)
}

/// Relations that no job keeps, among these.
#[must_use]
pub fn with_jobs(catalog: &Catalog, ids: &BTreeSet<u32>) -> Vec<u32> {
    let entries = ids.iter().filter_map(|id| catalog.by_id(*id));
    let with_jobs = entries.filter(|entry| entry.kind.has_job());
    let jobs = |entry: &Arc<Entry>| {
        let delivered = match &entry.kind {
            Kind::Sink(sink) => Some(sink.delivered),
            _ => None,
        };
        std::iter::once(entry.id).chain(delivered)
    };
    with_jobs.flat_map(jobs).collect()
}
