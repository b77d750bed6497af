//! A database without a server: the planner, the engine and storage in memory, with a catalog of
//! its own, and the batch engine beside it as the oracle.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use executor::sources::Clock;
use executor::{Engine, EngineOptions, Error, JobSpec};
use planner::batch::{Session, Settings, session};
use planner::{
    Catalog, Emit, Relation, RelationId, RelationKind, Statement, TableDefinition,
    WatermarkDefinition, parse, plan_table, plan_view,
};
use scaling::Epoch;
use sqlparser::ast;
use storage::memory_kv::MemoryKv;
use storage::{CatalogChange, DatabaseSnapshot, Storage, TableSnapshot};

/// 2020-01-01 00:00:00 UTC, where the time of a run begins, in microseconds since 1970.
pub(crate) const EPOCH_START: i64 = 1_577_836_800_000_000;

/// Key groups of every fragment.
pub(crate) const KEY_GROUPS: u16 = 32;

/// Tables and views by name, over the rows of one epoch.
#[derive(Clone, Debug, Default)]
struct Names {
    relations: BTreeMap<String, Arc<Relation>>,
    rows: Option<Arc<DatabaseSnapshot>>,
}

impl Catalog for Names {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        if schema.is_some_and(|schema| schema != "public") {
            return None;
        }
        self.relations.get(name).cloned()
    }

    fn rows(&self, relation: &Relation) -> planner::Result<Arc<dyn TableProvider>> {
        let snapshot = self.rows.as_ref().expect("only planning goes without rows");
        let batches = snapshot
            .tables
            .get(&relation.id.0)
            .map_or_else(Vec::new, |table| {
                table.batches(None).expect("rows in memory can be read")
            });
        let schema = batches
            .first()
            .map_or_else(|| relation.schema.clone(), |b| b.schema());
        Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
    }
}

struct Job {
    spec: JobSpec,
    /// The query of a view; a table has none.
    query: Option<Box<ast::Query>>,
    /// The column whose watermark lets rows come.
    emitted_by: Option<usize>,
    /// The first epoch at which a view is known to be complete.
    complete: Epoch,
}

/// A running engine with what has been created in it.
pub(crate) struct Database {
    /// Absent only while it is started again.
    engine: Option<Engine>,
    names: Names,
    jobs: BTreeMap<u32, Job>,
    kv: Arc<MemoryKv>,
    epochs: Arc<Mutex<Vec<Arc<DatabaseSnapshot>>>>,
    /// The time of day.
    pub(crate) clock: Arc<DrivenClock>,
    state_memory_limit: u64,
    next_id: u32,
    /// Epochs compared so far.
    pub(crate) checked: usize,
    /// The rows that each view showed last that had not failed.
    shown: BTreeMap<u32, Arc<TableSnapshot>>,
}

/// A clock that the test moves, in both directions.
#[derive(Debug)]
pub(crate) struct DrivenClock(AtomicI64);

impl DrivenClock {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    pub(crate) fn go_back(&self, time: Duration) {
        self.0.fetch_sub(time.as_micros() as i64, Ordering::Relaxed);
    }
}

impl Clock for DrivenClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn time_of_day(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn options(
    epochs: &Arc<Mutex<Vec<Arc<DatabaseSnapshot>>>>,
    clock: &Arc<DrivenClock>,
    state_memory_limit: u64,
) -> EngineOptions {
    let epochs = Arc::clone(epochs);
    EngineOptions {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        barrier_interval: Duration::from_millis(2),
        checkpoint_interval: Duration::from_millis(10),
        checkpoint_bytes: 32 << 10,
        state_memory_limit,
        job_restart_delay: (Duration::from_millis(1), Duration::from_millis(8)),
        key_groups: KEY_GROUPS,
        observer: Some(Arc::new(move |snapshot| {
            let mut epochs = epochs.lock().unwrap();
            // An epoch without changes says nothing that the one before did not.
            if !epochs.last().is_some_and(|last| same_rows(last, snapshot)) {
                epochs.push(Arc::clone(snapshot));
            }
        })),
        ..EngineOptions::default()
    }
}

impl Database {
    /// With a limit for state; 0 leaves on disk alone whatever can be.
    pub(crate) async fn new(state_memory_limit: u64) -> Database {
        let kv = Arc::new(MemoryKv::new());
        let epochs = Arc::default();
        let clock = Arc::new(DrivenClock(AtomicI64::new(EPOCH_START)));
        let storage = Arc::new(Storage::open(kv.clone()).unwrap());
        let engine = Engine::open(
            storage,
            Vec::new(),
            options(&epochs, &clock, state_memory_limit),
        )
        .await
        .unwrap();
        Database {
            engine: Some(engine),
            names: Names::default(),
            jobs: BTreeMap::new(),
            kv,
            epochs,
            clock,
            state_memory_limit,
            next_id: 1,
            checked: 0,
            shown: BTreeMap::new(),
        }
    }

    /// The epoch of the last checkpoint.
    pub(crate) fn committed(&self) -> Epoch {
        Storage::open(self.kv.clone()).unwrap().committed_epoch()
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("started")
    }

    /// Loses what is not durable, as a crash of the machine does, and starts again.
    pub(crate) async fn crash(&mut self, seed: u64) {
        self.check().await;
        self.engine = None;
        // The process that crashes does nothing after it: wait until the old engine is gone.
        while Arc::strong_count(&self.kv) > 1 {
            tokio::task::yield_now().await;
        }
        self.kv.crash(seed);
        self.epochs = Arc::default();
        self.shown.clear();
        let storage = Arc::new(Storage::open(self.kv.clone()).unwrap());
        let specs = self.jobs.values().map(|job| job.spec.clone()).collect();
        let options = options(&self.epochs, &self.clock, self.state_memory_limit);
        let engine = Engine::open(storage, specs, options).await;
        self.engine = Some(engine.unwrap());
        for job in self.jobs.values_mut() {
            job.complete = Epoch(0);
        }
    }

    /// `CREATE TABLE` or `CREATE MATERIALIZED VIEW`.
    pub(crate) async fn create(&mut self, sql: &str, parallelism: usize) -> Result<u32, Error> {
        let id = self.next_id;
        self.next_id += 1;
        let parsed = parse(sql).unwrap().remove(0);
        let statement = match parsed.statement {
            Statement::Pg(statement) => *statement,
            Statement::CreateTable { table, .. } => ast::Statement::CreateTable(*table),
            _ => panic!("{sql}"),
        };
        let (name, kind, dataflow, query) = match statement {
            ast::Statement::CreateTable(create) => {
                let mut table = TableDefinition::from_ast(&create).unwrap();
                table.watermark = parsed.watermark.map(|clause| WatermarkDefinition {
                    column: {
                        let mut columns = table.columns.iter();
                        columns.position(|c| c.name == clause.column.value).unwrap()
                    },
                    expr: clause.expr.to_string(),
                    time_zone: "UTC".to_owned(),
                    idle_timeout: clause.idle_timeout,
                });
                let kind = RelationKind::Table;
                (
                    create.name.to_string(),
                    kind,
                    plan_table(&table).unwrap(),
                    None,
                )
            }
            ast::Statement::CreateView(create) => {
                let session = self.session(None);
                let plan = plan_view(&session, &create.query, &[], parsed.emit)
                    .await
                    .unwrap();
                let kind = RelationKind::MaterializedView;
                (
                    create.name.to_string(),
                    kind,
                    plan.dataflow,
                    Some(create.query),
                )
            }
            other => panic!("{other}"),
        };
        let relation = Relation {
            id: RelationId(id),
            schema_name: "public".to_owned(),
            name: name.clone(),
            kind,
            schema: dataflow.schema.clone(),
            primary_key: dataflow.stream_key.clone(),
            append_only: dataflow.append_only,
            watermark: None,
            watermarks: dataflow.watermarks.clone(),
            stored: None,
        };
        let emitted_by = match parsed.emit {
            Emit::OnWindowClose => dataflow.emitted_by,
            Emit::Immediately => None,
        };
        let spec = JobSpec {
            id,
            name: name.clone(),
            dataflow,
            parallelism,
            backfill_rate_limit: None,
            resumable: false,
        };
        self.engine()
            .create_job(spec.clone(), CatalogChange::default())
            .await?;
        self.names.relations.insert(name, Arc::new(relation));
        let complete = self.engine().snapshot().epoch;
        self.jobs.insert(
            id,
            Job {
                spec,
                query,
                emitted_by,
                complete,
            },
        );
        Ok(id)
    }

    /// `DROP` of one view or table that nothing reads.
    pub(crate) async fn drop(&mut self, id: u32) -> Result<(), Error> {
        self.engine()
            .drop_jobs(vec![id], CatalogChange::default())
            .await?;
        self.names
            .relations
            .retain(|_, relation| relation.id.0 != id);
        self.jobs.remove(&id);
        Ok(())
    }

    /// Ends epochs until no view is stale.
    pub(crate) async fn settle(&self) {
        // What has just failed is stale from the next epoch on.
        self.engine().flush().await.unwrap();
        self.flush_until(|snapshot| snapshot.stale.is_empty()).await;
    }

    /// Ends epochs until what is visible is as wanted.
    pub(crate) async fn flush_until(&self, is_wanted: impl Fn(&DatabaseSnapshot) -> bool) {
        let flushes = async {
            while !is_wanted(&self.engine().snapshot()) {
                self.engine().flush().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), flushes).await;
        assert!(waited.is_ok(), "jobs: {:#?}", self.engine().jobs());
    }

    pub(crate) fn views(&self) -> Vec<u32> {
        let views = self.jobs.iter().filter(|(_, job)| job.query.is_some());
        views.map(|(id, _)| *id).collect()
    }

    pub(crate) fn jobs(&self) -> Vec<u32> {
        self.jobs.keys().copied().collect()
    }

    /// Remembers a parallelism for the next start.
    pub(crate) fn set_parallelism(&mut self, id: u32, parallelism: usize) {
        self.jobs.get_mut(&id).unwrap().spec.parallelism = parallelism;
    }

    fn session(&self, rows: Option<Arc<DatabaseSnapshot>>) -> Session {
        let names = Names {
            rows,
            relations: self.names.relations.clone(),
        };
        session(
            Arc::new(names),
            &Settings {
                target_partitions: 1,
                ..Settings::default()
            },
        )
    }

    /// Compares every view with its query at each epoch since the last call.
    pub(crate) async fn check(&mut self) {
        let epochs = {
            let mut seen = self.epochs.lock().unwrap();
            let last = seen.last().cloned();
            // The last one stays, to be compared with the next.
            std::mem::replace(&mut *seen, last.into_iter().collect())
        };
        for snapshot in epochs {
            let session = self.session(Some(Arc::clone(&snapshot)));
            let session = session.at_time(snapshot.time);
            for (id, job) in &self.jobs {
                let (Some(query), Some(view)) = (&job.query, snapshot.tables.get(id)) else {
                    continue;
                };
                if snapshot.epoch < job.complete {
                    continue;
                }
                if snapshot.stale.contains_key(id) {
                    let last = self.shown.get(id);
                    assert!(
                        last.is_none_or(|last| Arc::ptr_eq(last, view)),
                        "view {} has failed, and shows other rows at epoch {:?}",
                        job.spec.name,
                        snapshot.epoch
                    );
                    continue;
                }
                self.shown.insert(*id, Arc::clone(view));
                let batch = session
                    .plan(query)
                    .unwrap()
                    .collect(&session)
                    .await
                    .unwrap();
                let batch = match job.emitted_by {
                    Some(column) => {
                        let watermarks = snapshot.watermarks.get(id);
                        let watermark = watermarks.and_then(|all| all.get(&column));
                        closed(&batch, column, watermark.copied().unwrap_or(i64::MIN))
                    }
                    None => batch,
                };
                let expected = rows(&batch);
                let found = rows(&view.batches(None).unwrap());
                assert_eq!(
                    found, expected,
                    "view {} at epoch {:?}, left: the view, right: its query",
                    job.spec.name, snapshot.epoch
                );
            }
            self.checked += 1;
        }
    }
}

/// The rows whose time the watermark has passed.
fn closed(batches: &[RecordBatch], column: usize, watermark: i64) -> Vec<RecordBatch> {
    let closed = batches.iter().map(|batch| {
        let times = cast(batch.column(column), &DataType::Int64).unwrap();
        let times = times.as_primitive::<Int64Type>().iter();
        let closed: BooleanArray = times
            .map(|time| Some(time.is_some_and(|time| time < watermark)))
            .collect();
        filter_record_batch(batch, &closed).unwrap()
    });
    closed.collect()
}

/// Rows as sorted lines: equal exactly if the multisets are.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let cells: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = cells.iter().map(|c| c.value(row).to_string()).collect();
            lines.push(cells.join("|"));
        }
    }
    lines.sort();
    lines
}

fn same_rows(left: &DatabaseSnapshot, right: &DatabaseSnapshot) -> bool {
    left.time == right.time
        && left.stale == right.stale
        && left.tables.len() == right.tables.len()
        && left.tables.iter().all(|(id, table)| {
            right
                .tables
                .get(id)
                .is_some_and(|other| Arc::ptr_eq(table, other))
        })
}
