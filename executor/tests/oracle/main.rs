//! Layer W: the whole engine under random changes, rescales, backfills, drops, failures of single
//! jobs and crashes; every view equals its query, evaluated by the batch engine, at every single
//! epoch, also when state is on disk alone whenever it can be. A view that has failed shows its rows of before until it is up to date again.
//!
//! `SEEDS=n` chooses how many seeds run (default 12), `SEED=0x…` replays one. Inputs, operations
//! and crash damage come from the seed; how tasks interleave is the machine's.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests may"
)]

mod burst;
mod database;
mod failures;
mod slow_barrier;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

use database::Database;
use executor::{Engine, EngineOptions, Error, JobSpec, RescaleOptions, RescaleTarget};
use planner::{Statement, TableDefinition, parse, plan_table};
use scaling::{KeyGroup, Strategy};
use sqlparser::ast;
use storage::memory_kv::MemoryKv;
use storage::{CatalogChange, Storage};

/// What is created in every run, in this order.
const VIEWS: [&str; 32] = [
    "create materialized view agg as
       select a, count(*) as n, count(c) as nc, sum(b) as s, min(b) as lo, max(c) as hi, avg(b) as m
       from t group by a",
    "create materialized view whole as select count(*) as n, sum(b) as s, min(c) as lo from t",
    "create materialized view words as select distinct c from t",
    "create materialized view pairs as
       select t.id, t.a, u.x from t join u on t.a = u.a where t.b > u.x",
    "create materialized view per_pair as
       select a, count(*) as n, sum(x) as s from pairs group by a having count(*) > 1",
    "create materialized view both as select a from t union all select a from u",
    "create materialized view fresh as
       select id, a, b from t where timestamptz '2020-01-01 00:00:00+00' + b * interval '1 second' > now()",
    "create materialized view due as
       select a, count(*) as n, min(x) as lo from u
       where timestamptz '2020-01-01 00:00:00+00' + x * interval '1 second'
             between now() - interval '4 seconds' and now()
       group by a",
    "create materialized view windows as
       select w, k, count(*) as n, max(v) as hi, count(distinct v) as d from
         (select date_bin('10 seconds', at, timestamp '2020-01-01') as w, k, v from e) x
       group by w, k",
    "create materialized view closed as
       select w, k, count(*) as n, max(v) as hi, count(distinct v) as d from
         (select date_bin('10 seconds', at, timestamp '2020-01-01') as w, k, v from e) x
       group by w, k emit on window close",
    "create materialized view above as select w, sum(n) as n from closed group by w emit on window close",
    "create materialized view moments as select distinct at, k from e",
    "create materialized view near as
       select e.k, e.at as eat, f.at as fat from e join f on e.k = f.k
         and e.at between f.at - interval '3 seconds' and f.at + interval '2 seconds'",
    "create materialized view nearest as
       select e.at, e.v, f.v as fv from e left join f on e.at = f.at and e.k = f.k",
    "create materialized view selves as
       select l.id as l, r.id as r from t l join t r on l.a = r.a and l.b < r.b",
    "create materialized view plain as
       select id, upper(c) as c, b * 2 as b2 from t where b % 2 = 0",
    "create materialized view three as
       select t.c, sum(u.x) as s, count(*) as n from t join u on t.a = u.a join p on p.id = u.x
       group by t.c",
    "create materialized view top as select max(n) as n, count(*) as k from agg",
    "create materialized view once as select distinct a, b from t union all select id, v from p",
    "create materialized view spread as
       select count(distinct b) as n, a from t group by a",
    "create materialized view maybe as
       select t.id, t.a, t.b, u.x from t left join u on t.a = u.a and t.b <> u.x",
    "create materialized view either as
       select t.id, u.x, p.v from t full join u on t.a = u.a left join p on p.id = u.x",
    "create materialized view known as
       select id, b from t where a in (select a from u) and exists (select 1 from p where p.id = t.b)",
    "create materialized view unknown as select a, x from u where x not in (select v from p)",
    "create materialized view lonely as
       select id from t where not exists (select 1 from u where u.a = t.a and u.x > t.b)",
    "create materialized view compared as
       select a, b from t where b > (select avg(x) from u) or exists (select 1 from p where v = a)",
    "create materialized view ranked as
       select a, id, rank() over (partition by a order by b) as r,
              sum(b) over (partition by a) as s, count(*) over (partition by a) as n
       from t",
    "create materialized view first_two as
       select a, id, b, c from (
         select *, row_number() over (partition by a order by b, id, c) as n from t) x
       where n <= 2",
    "create materialized view best as select id, v from p order by v desc, id limit 5",
    "create materialized view described as
       select a, round(stddev(b)::numeric, 9) as d, string_agg(c, ',' order by c) as cs, median(b) as m
       from t group by a",
    "create materialized view rolled as
       select a, c, count(*) as n, sum(b) as s from t group by rollup (a, c)",
    "create materialized view rest as select a from t except select a from u",
];

struct Table {
    id: u32,
    schema: SchemaRef,
    rows: Vec<Vec<Option<i64>>>,
    primary_key: bool,
    /// How far time has come, if rows come in about its order, and are never changed.
    time: Option<i64>,
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

impl Table {
    fn random_row(&self, rng: &mut StdRng) -> Vec<Option<i64>> {
        let mut row: Vec<Option<i64>> = (0..self.schema.fields().len())
            .map(|_| (!rng.random_bool(0.1)).then(|| rng.random_range(0..12)))
            .collect();
        if let Some(time) = self.time {
            row[0] = row[0].map(|late| time + late);
        }
        if self.primary_key {
            let free = (0..).find(|id| self.rows.iter().all(|row| row[0] != Some(*id)));
            row[0] = free;
        }
        row
    }

    /// Random insertions, deletions and updates, applied to the model, as a change.
    fn change(&mut self, rng: &mut StdRng) -> (RecordBatch, Vec<i64>) {
        let mut changed = Vec::new();
        let mut weights = Vec::new();
        self.time = self.time.map(|time| time + rng.random_range(0..6));
        for _ in 0..rng.random_range(1..20) {
            let growing = self.rows.len() < 40;
            if self.time.is_some()
                || self.rows.is_empty()
                || rng.random_bool(if growing { 0.7 } else { 0.3 })
            {
                let row = self.random_row(rng);
                self.rows.push(row.clone());
                changed.push(row);
                weights.push(1);
                continue;
            }
            let at = rng.random_range(0..self.rows.len());
            let old = self.rows.swap_remove(at);
            if rng.random_bool(0.5) {
                let mut new = self.random_row(rng);
                new[0] = old[0];
                self.rows.push(new.clone());
                changed.push(new);
                weights.push(1);
            }
            changed.push(old);
            weights.push(-1);
        }
        (self.batch(&changed), weights)
    }

    fn batch(&self, rows: &[Vec<Option<i64>>]) -> RecordBatch {
        let columns = self.schema.fields().iter().enumerate().map(|(at, field)| {
            let values = rows.iter().map(|row| row[at]);
            let column: ArrayRef = match field.data_type() {
                DataType::Int32 => {
                    Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>())
                }
                DataType::Int64 => Arc::new(values.collect::<Int64Array>()),
                DataType::Timestamp(..) => Arc::new(
                    values
                        .map(|v| v.map(|v| database::EPOCH_START + v * 1_000_000))
                        .collect::<TimestampMicrosecondArray>(),
                ),
                _ => Arc::new(
                    values
                        .map(|v| v.map(|v| format!("w{v}")))
                        .collect::<StringArray>(),
                ),
            };
            column
        });
        RecordBatch::try_new(self.schema.clone(), columns.collect()).unwrap()
    }
}

fn timed() -> Vec<Field> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let number = DataType::Int64;
    vec![
        field("at", time),
        field("k", number.clone()),
        field("v", number),
    ]
}

async fn tables(database: &mut Database, rng: &mut StdRng) -> Vec<Table> {
    let mut made = Vec::new();
    for (sql, fields) in [
        (
            "create table t (id int, a int, b bigint, c varchar)",
            vec![
                field("id", DataType::Int32),
                field("a", DataType::Int32),
                field("b", DataType::Int64),
                field("c", DataType::Utf8),
            ],
        ),
        (
            "create table u (a int, x bigint)",
            vec![field("a", DataType::Int32), field("x", DataType::Int64)],
        ),
        (
            "create table p (id bigint primary key, v bigint)",
            vec![field("id", DataType::Int64), field("v", DataType::Int64)],
        ),
        (
            "create table e (at timestamp, k bigint, v bigint,
               watermark for at as at - interval '6 seconds') append only",
            timed(),
        ),
        (
            "create table f (at timestamp, k bigint, v bigint, watermark for at as at) append only",
            timed(),
        ),
    ] {
        let id = database.create(sql, rng.random_range(1..4)).await.unwrap();
        let primary_key = sql.contains("primary key");
        made.push(Table {
            id,
            schema: Arc::new(Schema::new(fields)),
            rows: Vec::new(),
            primary_key,
            time: sql.contains("watermark").then_some(0),
        });
    }
    made
}

async fn run(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    // Two in three have no memory for state: whatever can be is on disk alone.
    let limit = match seed % 3 {
        0 => u64::MAX,
        _ => 0,
    };
    let mut evicted = false;
    let mut database = Database::new(limit).await;
    let mut tables = tables(&mut database, &mut rng).await;
    let mut pending = VIEWS.to_vec();
    let mut rescales = Vec::new();
    let steps = 200;
    for step in 0..steps {
        if step % 6 == 4 && !pending.is_empty() {
            let sql = pending.remove(0);
            let created = database.create(sql, rng.random_range(1..5)).await;
            if !not_hindered(created.map(|_| ())) {
                pending.insert(0, sql);
            }
        }
        match rng.random_range(0..104) {
            100.. => {
                let jobs = database.jobs();
                // Of tables, which take everything with them, now and then.
                let views = database.views();
                let among = if views.is_empty() || rng.random_bool(0.1) {
                    jobs
                } else {
                    views
                };
                let job = among[rng.random_range(0..among.len())];
                let injector = failures::random(job, &mut rng);
                database.engine().inject_faults(Some(injector));
            }
            0..60 => {
                let at = rng.random_range(0..tables.len());
                let (batch, weights) = tables[at].change(&mut rng);
                database
                    .engine()
                    .write(tables[at].id, batch, weights)
                    .await
                    .unwrap();
            }
            60..75 => {
                database.engine().flush().await.unwrap();
            }
            75..95 => {
                let jobs = database.jobs();
                let job = jobs[rng.random_range(0..jobs.len())];
                let engine = database.engine().clone();
                let options = options(&engine, job, &mut rng).await;
                if let RescaleTarget::Parallelism(parallelism) = options.target {
                    database.set_parallelism(job, parallelism);
                }
                let strategy = options.strategy;
                rescales.push(tokio::spawn(async move {
                    let (progress, _seen) = mpsc::unbounded_channel();
                    let catalog = Box::new(|_| CatalogChange::default());
                    let outcome = engine.rescale(job, options, catalog, progress).await;
                    match outcome {
                        // The job may be dropped, or the executor gone, before it is its turn.
                        Ok(_) | Err(Error::UnknownJob { .. } | Error::UnknownExecutor { .. }) => {
                            Ok(())
                        }
                        Err(Error::Restarting { .. } | Error::JobFailed { .. }) => Ok(()),
                        Err(error) => Err(format!("{strategy}: {error:?}")),
                    }
                }));
                if rng.random_range(0..6) == 0 {
                    let known = database.engine().observe().await.unwrap().rescales;
                    if let Some(last) = known.last() {
                        // It may be over by now.
                        let _ = database.engine().cancel_rescale(last.id).await;
                    }
                }
            }
            95..97 => {
                // Half-done rescales are part of the damage.
                for rescale in rescales.drain(..) {
                    rescale.abort();
                    let _ = rescale.await;
                }
                if rng.random_bool(0.3) {
                    database.clock.go_back(Duration::from_secs(2));
                }
                database.crash(rng.random()).await;
            }
            _ => {
                if let Some(&last) = database.views().last() {
                    let name = VIEWS[VIEWS.len() - pending.len() - 1];
                    if database.drop(last).await.is_ok() {
                        pending.insert(0, name);
                    }
                }
            }
        }
        database
            .clock
            .pass(Duration::from_millis(rng.random_range(0..250)));
        if step % 10 == 9 {
            let key_groups = database.engine().observe().await.unwrap().key_groups;
            evicted |= key_groups.iter().any(|group| group.evicted_bytes > 0);
            database.check().await;
        }
    }
    for rescale in rescales {
        rescale.await.unwrap().unwrap();
    }
    database.engine().inject_faults(None);
    database.engine().flush().await.unwrap();
    database.settle().await;
    database.check().await;
    // Of the others late rows were dropped.
    for table in tables.iter().filter(|table| table.time.is_none()) {
        let rows = database.engine().snapshot().tables[&table.id].rows();
        assert_eq!(rows, table.rows.len() as u64, "rows of table {}", table.id);
    }
    database.engine().shutdown().await.unwrap();
    assert_eq!(evicted, limit == 0, "state was on disk alone");
    database.checked
}

/// Whether a statement was done, and not kept from it by a job that failed.
fn not_hindered(outcome: Result<(), Error>) -> bool {
    match outcome {
        Err(Error::Restarting { .. } | Error::JobFailed { .. }) => false,
        other => {
            other.unwrap();
            true
        }
    }
}

/// A rescale of any kind that views must stay correct under.
async fn options(engine: &Engine, job: u32, rng: &mut StdRng) -> RescaleOptions {
    let mut options = RescaleOptions::to_parallelism(rng.random_range(1..6));
    let known = engine.observe().await.unwrap().executors;
    let owners: Vec<_> = known
        .iter()
        .filter(|e| e.job == job && !e.is_root)
        .collect();
    match rng.random_range(0..10) {
        0 => options.target = RescaleTarget::Rebalance,
        1 if !owners.is_empty() => {
            let executor = owners[rng.random_range(0..owners.len())].executor;
            let key_group = KeyGroup(rng.random_range(0..database::KEY_GROUPS));
            options.target = RescaleTarget::MoveKeyGroup {
                key_group,
                executor,
            };
        }
        _ => {}
    }
    if rng.random_bool(0.4) {
        let correct: Vec<_> = Strategy::ALL
            .into_iter()
            .filter(|s| s.is_correct())
            .collect();
        options.strategy = correct[rng.random_range(0..correct.len())];
    }
    if rng.random_bool(0.3) {
        options.max_pause = Some(Duration::from_micros(rng.random_range(1..5000)));
    }
    options
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn every_view_equals_its_query_at_every_epoch() {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(12)).collect(),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let outcome = std::panic::catch_unwind(|| runtime.block_on(run(seed)));
        runtime.shutdown_background();
        match outcome {
            Ok(epochs) => println!("seed {seed:#x}: {epochs} epochs compared"),
            Err(panic) => {
                println!("FAILED oracle seed={seed:#x}: make oracle SEED={seed:#x}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Rows beyond `checkpoint_bytes` are durable long before a checkpoint is due.
#[tokio::test(flavor = "multi_thread")]
async fn many_changes_ask_for_a_checkpoint() {
    let storage = Arc::new(Storage::open(Arc::new(MemoryKv::new())).unwrap());
    let options = EngineOptions {
        barrier_interval: Duration::from_millis(1),
        checkpoint_interval: Duration::from_secs(3600),
        checkpoint_bytes: 10_000,
        ..EngineOptions::default()
    };
    let engine = Engine::open(Arc::clone(&storage), Vec::new(), options)
        .await
        .unwrap();
    create_table(&engine, "create table t (id bigint primary key)").await;
    for round in 0..20 {
        let before = storage.committed_epoch();
        let rows = numbers(round);
        let weights = vec![1; rows.num_rows()];
        engine.write(1, rows, weights).await.unwrap();
        while storage.committed_epoch() == before {
            engine.flush().await.unwrap();
        }
    }
    assert_eq!(engine.snapshot().tables[&1].rows(), 20_000);
}

/// Creates table 1.
async fn create_table(engine: &Engine, sql: &str) {
    let Statement::Pg(statement) = parse(sql).unwrap().remove(0).statement else {
        panic!("{sql}")
    };
    let ast::Statement::CreateTable(create) = *statement else {
        panic!("{sql}")
    };
    let table = TableDefinition::from_ast(&create).unwrap();
    let spec = JobSpec {
        id: 1,
        name: "t".to_owned(),
        dataflow: plan_table(&table).unwrap(),
        parallelism: 2,
        backfill_rate_limit: None,
        resumable: false,
    };
    let created = engine.create_job(spec, CatalogChange::default()).await;
    created.unwrap();
}

/// A thousand numbers that no other round has.
fn numbers(round: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(round * 1000..(round + 1) * 1000);
    RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap()
}
