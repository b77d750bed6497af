//! The runs: which point, which time; what is checked after each.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use storage::crash::{LOG_VARIABLE, POINTS, VARIABLE};
use tidewater_sqllogictest::ServerProcess;
use tokio_postgres::Client;

use crate::load::{Shared, connect, load, lock, rows, set_up};
use crate::model::{Accounts, Facts, Rows, VIEWS, World};

/// Many epochs and checkpoints in a short time.
const SETTINGS: [(&str, &str); 2] = [
    ("TIDEWATER_BARRIER_INTERVAL", "20ms"),
    ("TIDEWATER_CHECKPOINT_INTERVAL", "100ms"),
];
/// A load takes seconds, on a slow machine a minute.
const PATIENCE: Duration = Duration::from_secs(600);
/// Servers at a time.
const LANES: usize = 2;
/// Points that wait for a movement of another client may be missed by one load, and not by many.
const TRIES: usize = 8;

/// One crash.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) point: &'static str,
    /// The time at which the point is reached, counted from the start of the server.
    pub(crate) nth: usize,
    /// Only a server that makes its data directory reaches it.
    pub(crate) fresh: bool,
}

/// How often each point is reached: by a server that makes its directory, and by one that opens it.
pub(crate) struct Counts {
    made: BTreeMap<String, usize>,
    opened: BTreeMap<String, usize>,
}

/// A server and what it must hold.
pub(crate) struct Database {
    pub(crate) server: ServerProcess,
    pub(crate) world: Shared,
}

impl Database {
    pub(crate) async fn new() -> Database {
        let server = ServerProcess::start_with(&SETTINGS);
        set_up(&session(&server).await).await;
        Database {
            server,
            world: Shared::default(),
        }
    }

    /// Starts the server again with more variables, gives it the load, and asks it to end.
    /// Whether it ended itself by a crash.
    pub(crate) async fn run(&mut self, variables: &[(&str, &str)], seed: u64) -> bool {
        self.server.restart_with(&[&SETTINGS, variables].concat());
        if self.server.listens() {
            let loaded = tokio::time::timeout(PATIENCE, load(&self.server, &self.world, seed));
            let waits = "a statement waits for ever";
            assert!(loaded.await.is_ok(), "{waits}: {}", self.server.log());
            self.server.terminate();
        }
        let status = self.server.wait_for_end();
        status.signal().is_some()
    }

    /// Starts the server again and compares what it holds with the model.
    pub(crate) async fn check(&mut self) {
        self.server.restart_with(&SETTINGS);
        let client = session(&self.server).await;
        set_up(&client).await;
        let mut world = std::mem::take(&mut *lock(&self.world));
        check(&client, &mut world).await;
        *lock(&self.world) = world;
    }
}

async fn session(server: &ServerProcess) -> Client {
    assert!(server.listens(), "{}", server.log());
    connect(server).await.expect("a listening server")
}

/// Counts by two loads.
pub(crate) async fn count(seed: u64) -> Counts {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut counts = Vec::new();
    let (first, second) = (folder.path().join("made"), folder.path().join("opened"));
    let mut database: Option<Database> = None;
    for path in [first, second] {
        let name = path.display().to_string();
        let variable = (LOG_VARIABLE, name.as_str());
        match &mut database {
            None => {
                let mut variables = SETTINGS.to_vec();
                variables.push(variable);
                let mut server = ServerProcess::start_with(&variables);
                set_up(&session(&server).await).await;
                server.terminate();
                server.wait_for_end();
                let world = Shared::default();
                database = Some(Database { server, world });
            }
            Some(database) => {
                let crashed = database.run(&[variable], seed).await;
                assert!(!crashed, "{}", database.server.log());
                database.check().await;
            }
        }
        let mut reached = BTreeMap::new();
        for point in std::fs::read_to_string(&path).expect("points").lines() {
            *reached.entry(point.to_owned()).or_default() += 1;
        }
        counts.push(reached);
    }
    let opened = counts.pop().unwrap_or_default();
    let made = counts.pop().unwrap_or_default();
    Counts { made, opened }
}

/// The first, second and last time of each point.
pub(crate) fn plan(counts: &Counts) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut never = Vec::new();
    for point in POINTS.concat() {
        let (count, fresh) = match (counts.opened.get(point), counts.made.get(point)) {
            (Some(&count), _) => (count, false),
            (None, Some(&count)) => (count, true),
            (None, None) => {
                never.push(point);
                continue;
            }
        };
        let mut times = vec![1, 2.min(count), count];
        times.dedup();
        runs.extend(times.into_iter().map(|nth| Run { point, nth, fresh }));
    }
    assert!(never.is_empty(), "never reached: {never:?}");
    runs
}

/// Carries the runs out, some at a time.
pub(crate) async fn play(runs: Vec<Run>, seed: u64) {
    let started = Instant::now();
    let count = runs.len();
    let queue = Arc::new(Mutex::new(runs.into_iter().enumerate()));
    let lanes: Vec<_> = (0..LANES)
        .map(|_| tokio::spawn(lane(Arc::clone(&queue), seed)))
        .collect();
    for lane in lanes {
        lane.await.expect("no run failed");
    }
    let points = POINTS.concat().len();
    println!("{count} passed, 0 failed");
    println!(
        "{{\"layer\":\"crash\",\"seed\":{seed},\"points\":{points},\"runs\":{count},\"seconds\":{}}}",
        started.elapsed().as_secs()
    );
}

type Queue = Arc<Mutex<std::iter::Enumerate<std::vec::IntoIter<Run>>>>;

async fn lane(queue: Queue, seed: u64) {
    let mut database = Database::new().await;
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((number, run)) = next else { return };
        let seed = seed.wrapping_mul(1_000_003) + number as u64;
        // Shown when a check fails.
        println!(
            "{}:{} {}",
            run.point,
            run.nth,
            if run.fresh { "fresh" } else { "" }
        );
        if run.fresh {
            let armed = format!("{}:{}", run.point, run.nth);
            let mut server = ServerProcess::launch_with(&[(VARIABLE, &armed)]);
            assert!(!server.listens(), "{armed}: it is not reached");
            server.wait_for_end();
            database = Database {
                server,
                world: Shared::default(),
            };
            database.check().await;
            continue;
        }
        let mut nth = run.nth;
        for attempt in 1.. {
            let armed = format!("{}:{nth}", run.point);
            let crashed = database.run(&[(VARIABLE, &armed)], seed + attempt).await;
            database.check().await;
            if crashed {
                break;
            }
            assert!(attempt < TRIES as u64, "{armed}: it is not reached");
            nth = (nth / 2).max(1);
        }
    }
}

/// Compares everything with the model.
async fn check(client: &Client, world: &mut World) {
    let found = |sql: &'static str| rows(client, sql);
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let t = found("select id, g, v from t").await;
    let count = t.len();
    let t: Rows = t
        .iter()
        .map(|row| {
            let cells: Vec<i64> = row.split('|').map(number).collect();
            (cells[0], (cells[1], cells[2]))
        })
        .collect();
    assert_eq!(t.len(), count, "a row of t is there twice");
    world.rows.settle(t, "table t");
    let mut accounts = Vec::new();
    for sql in ["select n, v from a", "select n, v from b"] {
        let rows = found(sql).await;
        let account: BTreeMap<i64, i64> = rows
            .iter()
            .filter_map(|row| row.split_once('|'))
            .map(|(n, v)| (number(n), number(v)))
            .collect();
        assert_eq!(rows.len(), account.len(), "a row is there twice");
        accounts.push(account);
    }
    let b = accounts.pop().unwrap_or_default();
    let accounts: Accounts = (accounts.pop().unwrap_or_default(), b);
    world.accounts.settle(accounts, "tables a and b");
    world.facts.settle(facts(client).await, "definitions");
    for (view, query, expected) in VIEWS {
        let mut expected = expected(world);
        expected.sort();
        let shown = rows(client, &format!("select * from {view}")).await;
        assert_eq!(shown, expected, "view {view}");
        assert_eq!(rows(client, query).await, expected, "query of {view}");
    }
    let mut others = vec![("extra", "select g, count(*) as n from t group by g")];
    others.push(("dv", "select b, count(*) as n from d group by b"));
    for (view, query) in others {
        if world.facts.now().contains_key(view) {
            let shown = rows(client, &format!("select * from {view}")).await;
            assert_eq!(shown, rows(client, query).await, "view {view}");
        }
    }
}

/// What stands where.
async fn facts(client: &Client) -> Facts {
    let mut facts = Facts::new();
    for name in ["extra", "dv", "d_b"] {
        let there = format!("select 1 from pg_class where relname = '{name}'");
        if !rows(client, &there).await.is_empty() {
            facts.insert(name.to_owned(), String::new());
        }
    }
    let columns = "select string_agg(column_name, ',' order by ordinal_position) from information_schema.columns where table_name = 'd' having count(*) > 0";
    for columns in rows(client, columns).await {
        let of_default = columns
            .contains('b')
            .then_some(", count(b) filter (where b = 7)");
        facts.insert("d".to_owned(), columns);
        let count = format!("select count(*){} from d", of_default.unwrap_or_default());
        for count in rows(client, &count).await {
            let (all, of_default) = count.split_once('|').unwrap_or((&count, &count));
            assert_eq!(all, of_default, "the new column is not in all rows");
            if all != "0" {
                facts.insert("d rows".to_owned(), all.to_owned());
            }
        }
    }
    for row in rows(client, "select n, count(*) from bulk group by n").await {
        let (batch, count) = row.split_once('|').expect("two columns");
        facts.insert(format!("bulk {batch}"), count.to_owned());
    }
    facts
}
