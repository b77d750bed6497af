//! `kill -9` of the real server at random moments, while rows are written and views are scaled.
//!
//! A model outside the server knows which rows were acknowledged. After each restart every
//! acknowledged row is there once, no row is there that was not sent, each statement is there as a
//! whole or not at all, and each view equals its query. `SEED=n` repeats a run's statements and how many rows it writes before each
//! kill; what the server is doing then is chance. (`crash` kills it at every crash point.)

#![allow(clippy::print_stdout, reason = "the seed of the run")]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater_sqllogictest::ServerProcess;
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const KILLS: usize = 6;

const VIEWS: [(&str, &str); 3] = [
    (
        "per_group",
        "select g, count(*) as n, sum(id) as s, max(id) as hi from t group by g",
    ),
    (
        "named",
        "select t.id, names.name from t join names on t.g = names.g",
    ),
    (
        "counted",
        "select name, count(*) as n from named group by name",
    ),
];

async fn connect(server: &ServerProcess) -> Client {
    let (client, connection) = server
        .config()
        .connect(NoTls)
        .await
        .expect("a listening server");
    // Ends with the server, which is killed.
    tokio::spawn(connection);
    client
}

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut rows: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let cells: Vec<&str> = (0..row.len())
                    .map(|at| row.get(at).unwrap_or("NULL"))
                    .collect();
                Some(cells.join("|"))
            }
            _ => None,
        })
        .collect();
    rows.sort();
    rows
}

/// Inserts rows of rising ids until the server is gone; the first id that was not acknowledged.
async fn write(client: Client, mut id: u64, progress: watch::Sender<u64>) -> u64 {
    loop {
        progress.send_replace(id);
        let sql = format!("insert into t values ({id}, {})", id % 7);
        if client.batch_execute(&sql).await.is_err() {
            return id;
        }
        id += 1;
    }
}

/// Alters views until the server is gone.
async fn alter(client: Client, mut rng: StdRng) {
    loop {
        let (view, _) = VIEWS[rng.random_range(0..VIEWS.len())];
        let parallelism = rng.random_range(1..6);
        let sql = format!("alter materialized view {view} set parallelism = {parallelism}");
        if client.batch_execute(&sql).await.is_err() {
            return;
        }
    }
}

async fn check(client: &Client, acknowledged: u64) {
    let ids = rows(client, "select id from t").await;
    let mut ids: Vec<u64> = ids.iter().map(|id| id.parse().expect("an id")).collect();
    ids.sort_unstable();
    // The write under way when the server was killed may have been made durable, or not.
    let whole: Vec<u64> = (0..ids.len() as u64).collect();
    assert_eq!(ids, whole, "rows are lost or doubled");
    let found = ids.len() as u64;
    assert!(
        found == acknowledged || found == acknowledged + 1,
        "{found} rows are there, {acknowledged} were acknowledged"
    );
    for (view, query) in VIEWS {
        let expected = rows(client, query).await;
        assert_eq!(
            rows(client, &format!("select * from {view}")).await,
            expected,
            "view {view}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_doubled() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    println!("SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = ServerProcess::start();
    let client = connect(&server).await;
    for sql in setup() {
        client.batch_execute(&sql).await.expect("created");
    }
    client
        .batch_execute(
            "insert into names values (0, 'a'), (1, 'b'), (2, 'c'), (3, 'a'), (4, 'b'), (4, 'd')",
        )
        .await
        .expect("inserted");
    let mut next = 0;
    for _ in 0..KILLS {
        let (progress, mut written) = watch::channel(next);
        let writer = tokio::spawn(write(connect(&server).await, next, progress));
        let alterer = tokio::spawn(alter(
            connect(&server).await,
            StdRng::seed_from_u64(rng.random()),
        ));
        let enough = next + rng.random_range(1..400);
        written
            .wait_for(|id| *id >= enough)
            .await
            .expect("the writer writes until the kill");
        server.kill_and_restart();
        let acknowledged = writer.await.expect("the writer ends with the server");
        alterer.await.expect("the alterer ends with the server");
        let client = connect(&server).await;
        check(&client, acknowledged).await;
        next = rows(&client, "select id from t").await.len() as u64;
    }
}

/// Tables and views, as often as one likes.
fn setup() -> Vec<String> {
    let mut statements = vec![
        "create table if not exists t (id bigint primary key, g int)".to_owned(),
        "create table if not exists names (g int, name varchar)".to_owned(),
    ];
    let views = VIEWS.iter();
    statements.extend(
        views.map(|(view, query)| {
            format!("create materialized view if not exists {view} as {query}")
        }),
    );
    statements
}

/// How many existing rows a view that is being created has still to read.
async fn rows_left(client: &Client, view: &str) -> u64 {
    let jobs = rows(client, "show jobs").await;
    let job = jobs.iter().find(|job| job.contains(&format!("|{view}|")));
    let left = job.and_then(|job| job.split(" % done, ").nth(1)?.split(' ').next());
    left.map_or(0, |left| left.parse().expect("a number of rows"))
}

/// A view that is created in the background goes on where it was at the last checkpoint, and rows that
/// change meanwhile are in it once.
#[tokio::test(flavor = "multi_thread")]
async fn creating_a_view_goes_on() {
    const QUERY: &str = "select x.b, count(*) as n, sum(y.a) as s from t as x join t as y on x.a = y.a group by x.b";
    let mut server = ServerProcess::start();
    let client = connect(&server).await;
    let setup = format!(
        "create table t (a int primary key, b int);
         insert into t select x, x % 50 from generate_series(1, 6000) as g(x);
         set background_ddl = true; set backfill_rate_limit = 0;
         create materialized view v as {QUERY}"
    );
    client.batch_execute(&setup).await.expect("created");
    let mut client = client;
    for round in 0..3 {
        while rows_left(&client, "v").await == 0 {
            tokio::task::yield_now().await;
        }
        let begun = rows_left(&client, "v").await;
        let go_on = "alter materialized view v set backfill_rate_limit = 3000";
        client.batch_execute(go_on).await.expect("altered");
        let mut left = begun;
        while left + 500 > begun {
            left = rows_left(&client, "v").await;
        }
        let change = format!(
            "alter materialized view v set backfill_rate_limit = 0;
             insert into t select x, x % 7 from generate_series({}, {}) as g(x);
             delete from t where a % 20 = {round}; update t set b = b + 1 where a % 13 = {round};
             create table checkpoint_{round} (a int);
             delete from t where a % 20 = {round} + 10;
             insert into t values (-{round}, 1)",
            10_001 + 100 * round,
            10_100 + 100 * round,
        );
        // A table that is created is in a checkpoint; what comes behind it is not, perhaps.
        client.batch_execute(&change).await.expect("changed");
        server.kill_and_restart();
        client = connect(&server).await;
        let after = rows_left(&client, "v").await;
        assert!(after <= left, "{after} rows left, {left} before the kill");
    }
    let finish = "alter materialized view v set backfill_rate_limit = default; wait";
    client.batch_execute(finish).await.expect("complete");
    assert_eq!(
        rows(&client, "select * from v").await,
        rows(&client, QUERY).await
    );
    server.kill_and_restart();
    let client = connect(&server).await;
    client
        .batch_execute("delete from t where a % 3 = 0")
        .await
        .expect("deleted");
    assert_eq!(
        rows(&client, "select * from v").await,
        rows(&client, QUERY).await
    );
}

/// The second write of a server is ended before and after it is logged: a statement of 200,000 rows
/// has happened as a whole, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_statement_is_one_write() {
    for (armed, expected) in [
        ("wal.append.before:2", "0|200000"),
        ("write.logged:2", "1|200000"),
    ] {
        let mut server = ServerProcess::start_to_crash(armed);
        let client = connect(&server).await;
        for sql in [
            "create table t (id int, v int)",
            "create materialized view per_v as select v, count(*) as n from t group by v",
            "insert into t select x, 0 from generate_series(1, 200000) as g(x)",
        ] {
            client.batch_execute(sql).await.expect("done");
        }
        let updated = client.batch_execute("update t set v = 1").await;
        assert!(updated.is_err(), "{armed}: the server outlived the update");
        server.wait_for_end();
        server.kill_and_restart();
        let client = connect(&server).await;
        for sql in [
            "select v, count(*) from t group by v",
            "select v, n from per_v",
        ] {
            assert_eq!(rows(&client, sql).await, [expected], "{armed}: {sql}");
        }
    }
}

/// A server is ended before and after it has logged a transaction over two tables: both have its
/// rows, or neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_one_write() {
    for (armed, expected) in [
        ("wal.append.before:2", "1|0"),
        ("transaction.logged", "2|1"),
    ] {
        let mut server = ServerProcess::start_to_crash(armed);
        let client = connect(&server).await;
        for sql in [
            "create table a (v int)",
            "create table b (v int)",
            "create materialized view both as select count(*) as n from a union all select count(*) from b",
            "insert into a values (0)",
            "begin; insert into b values (1); insert into a values (1)",
        ] {
            client.batch_execute(sql).await.expect("done");
        }
        let committed = client.batch_execute("commit").await;
        assert!(
            committed.is_err(),
            "{armed}: the server outlived the commit"
        );
        server.wait_for_end();
        server.kill_and_restart();
        let client = connect(&server).await;
        let counts = "select (select count(*) from a), (select count(*) from b)";
        assert_eq!(rows(&client, counts).await, [expected], "{armed}");
        let mut of_view: Vec<&str> = expected.split('|').collect();
        of_view.sort_unstable();
        assert_eq!(
            rows(&client, "select n from both").await,
            of_view,
            "{armed}"
        );
    }
}

/// What a subscription had is gone with its server, and no epoch comes again.
#[tokio::test(flavor = "multi_thread")]
async fn epochs_do_not_come_again() {
    let mut server = ServerProcess::start();
    let client = connect(&server).await;
    for sql in [
        "create table t (v int)",
        "begin; declare c cursor for subscribe (select v + 1 as v from t) with (progress)",
    ] {
        client.batch_execute(sql).await.expect("done");
    }
    let epoch = |row: &str| row.split('|').next().and_then(|e| e.parse::<u64>().ok());
    let seen = rows(&client, "fetch 3 from c").await;
    let last = seen
        .iter()
        .filter_map(|row| epoch(row))
        .max()
        .expect("rows");
    server.kill_and_restart();
    let client = connect(&server).await;
    assert_eq!(rows(&client, "show jobs").await.len(), 1);
    client
        .batch_execute("begin; declare c cursor for subscribe to t with (progress)")
        .await
        .expect("declared");
    let again = rows(&client, "fetch 1 from c").await;
    assert!(
        again
            .iter()
            .filter_map(|row| epoch(row))
            .all(|epoch| epoch > last)
    );
}
