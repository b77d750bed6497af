//! `SET background_ddl`: views that are created while the session goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use executor::{Error, FaultSite, FaultStep};

use crate::harness::{Connection, TestServer};

/// What SHOW JOBS says of the view `m`, once it says so.
async fn job_becomes(db: &Connection, is_it: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let jobs = db.rows("SHOW JOBS").await;
        let job = jobs.into_iter().find(|job| job.contains("|m|"));
        let job = job.unwrap_or_default();
        if is_it(&job) {
            return job;
        }
        assert!(Instant::now() < until, "{job}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Rows that the view `m` has still to read.
fn rows_left(job: &str) -> u64 {
    let (_, rest) = job.split_once(" % done, ").unwrap();
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_as_fast_as_it_may() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20000);
         SET background_ddl = true; SET backfill_rate_limit = 0;
         CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t",
    )
    .await;
    let paused = job_becomes(&db, |job| job.contains("paused")).await;
    assert!(
        paused.contains("backfilling, 0 % done, 20000 rows left, paused"),
        "{paused}"
    );
    // Everybody else goes on.
    db.run("INSERT INTO t VALUES (0), (20001); DELETE FROM t WHERE a = 7; UPDATE t SET a = 20002 WHERE a = 8")
        .await;
    assert_eq!(db.value("SELECT count(*) FROM t").await, "20001");
    assert_eq!(db.code("SELECT * FROM m").await, "55000");
    for wrong in ["-2", "'fast'", "1.5", "99999999999"] {
        let sql = format!("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = {wrong}");
        assert_eq!(db.code(&sql).await, "22023", "{sql}");
    }
    db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = 2000")
        .await;
    let slow = job_becomes(&db, |job| {
        job.contains("rows left") && rows_left(job) < 20000
    })
    .await;
    assert!(slow.contains("at most 2000 a second"), "{slow}");
    db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT TO 0")
        .await;
    job_becomes(&db, |job| job.contains("paused")).await;
    db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = DEFAULT; WAIT")
        .await;
    assert_eq!(
        db.value("SELECT s FROM m").await,
        db.value("SELECT sum(a) FROM t").await
    );
    db.notices();
    db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = 10")
        .await;
    let notices = db.notices();
    assert!(notices[0].contains("\"m\" is complete"), "{notices:?}");
}

/// Views of a table with a key that they read twice, or once, of one without, and of one from which
/// nothing is taken back.
const VIEWS: [(&str, &str); 4] = [
    (
        "m",
        "SELECT x.b, count(*) AS n, sum(y.a) AS s, max(x.a) AS hi FROM t AS x JOIN t AS y ON x.a = y.a GROUP BY x.b",
    ),
    ("copied", "SELECT * FROM t"),
    ("counted", "SELECT a, count(*) AS n FROM bag GROUP BY a"),
    ("highest", "SELECT a, max(b) AS hi FROM log GROUP BY a"),
];

/// Lets the views that are being created read so many rows a second.
async fn limit(db: &Connection, limit: &str) {
    for (view, _) in VIEWS {
        let sql = format!("ALTER MATERIALIZED VIEW {view} SET BACKFILL_RATE_LIMIT = {limit}");
        db.run(&sql).await;
    }
}

async fn check_views(db: &Connection) {
    for (view, query) in VIEWS {
        let rows = db.rows(&format!("SELECT * FROM {view}")).await;
        assert_eq!(rows, db.rows(query).await, "{view}");
        db.run(&format!("VERIFY MATERIALIZED VIEW {view}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_after_a_restart() {
    let mut server = TestServer::start().await;
    let mut db = server.connect().await;
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY, b int); CREATE TABLE bag (a int);
         CREATE TABLE log (a int, b int) APPEND ONLY;
         INSERT INTO t SELECT x, x % 100 FROM generate_series(1, 3000) AS g(x);
         INSERT INTO bag SELECT x % 700 FROM generate_series(1, 3000) AS g(x);
         INSERT INTO log SELECT x % 90, x FROM generate_series(1, 3000) AS g(x);
         SET background_ddl = true; SET backfill_rate_limit = 0",
    )
    .await;
    for (view, query) in VIEWS {
        db.run(&format!("CREATE MATERIALIZED VIEW {view} AS {query}"))
            .await;
    }
    job_becomes(&db, |job| job.contains("paused")).await;
    // It reads t twice.
    let mut left = 6000;
    for round in 0..3 {
        limit(&db, "1000").await;
        job_becomes(&db, |job| rows_left(job) < left - 500).await;
        limit(&db, "0").await;
        db.run(&format!(
            "INSERT INTO t SELECT x, x % 7 FROM generate_series({}, {}) AS g(x);
             DELETE FROM t WHERE a % 50 = {round}; UPDATE t SET b = b + 1 WHERE a % 13 = {round};
             UPDATE t SET a = -a WHERE a % 101 = {round};
             DELETE FROM bag WHERE a % 60 = {round}; INSERT INTO bag SELECT a + 1 FROM bag WHERE a % 9 = {round};
             INSERT INTO log SELECT a + 1, b + 1 FROM log WHERE a % 11 = {round}; FLUSH",
            3001 + 100 * round,
            3100 + 100 * round,
        ))
        .await;
        let before = job_becomes(&db, |job| job.contains("paused")).await;
        drop(db);
        server.restart().await;
        db = server.connect().await;
        let after = job_becomes(&db, |job| job.contains("rows left")).await;
        assert!(after.contains("paused"), "{after}");
        left = rows_left(&after);
        assert_eq!(left, rows_left(&before), "{before} {after}");
        assert_eq!(db.code("SELECT * FROM m").await, "55000");
        db.run(&format!(
            "DELETE FROM t WHERE a % 50 = {0}; DELETE FROM bag WHERE a % 60 = {0}",
            round + 10
        ))
        .await;
    }
    limit(&db, "DEFAULT").await;
    db.run("WAIT").await;
    check_views(&db).await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    db.run("DELETE FROM t WHERE a % 11 = 3; DELETE FROM bag WHERE a % 2 = 0; INSERT INTO log VALUES (1, 100000)")
        .await;
    check_views(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_after_a_failure_of_all_jobs() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY, b int);
         INSERT INTO t SELECT x, x % 100 FROM generate_series(1, 3000) AS g(x);
         SET background_ddl = true; SET backfill_rate_limit = 0;
         CREATE MATERIALIZED VIEW m AS SELECT b, count(*) AS n, sum(a) AS s FROM t GROUP BY b",
    )
    .await;
    let job = job_becomes(&db, |job| job.contains("paused")).await;
    let table = server.engine().jobs().iter().map(|job| job.id).min();
    let mut left = rows_left(&job);
    let steps = [
        FaultStep::Barrier { durable: false },
        FaultStep::Barrier { durable: true },
        FaultStep::Committed { durable: true },
    ];
    for (round, step) in steps.into_iter().enumerate() {
        db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = 2000")
            .await;
        job_becomes(&db, |job| rows_left(job) + 300 < left).await;
        db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = 0; FLUSH")
            .await;
        // Whoever creates a table waits for a checkpoint.
        db.run(&format!("CREATE TABLE checkpoint_{round} (a int)"))
            .await;
        let before = job_becomes(&db, |job| job.contains("paused")).await;
        db.run(&format!(
            "DELETE FROM t WHERE a % 50 = {round}; UPDATE t SET b = b + 1 WHERE a % 13 = {round}"
        ))
        .await;
        // A table does not fail alone.
        let is_due = Arc::new(AtomicBool::new(true));
        let due = Arc::clone(&is_due);
        server
            .engine()
            .inject_faults(Some(Arc::new(move |site: FaultSite| {
                let is_it = Some(site.job) == table && site.step == step;
                match is_it && due.swap(false, Ordering::SeqCst) {
                    true => Err(Error::Plan {
                        reason: "as the test wants it".to_owned(),
                    }),
                    false => Ok(()),
                }
            })));
        while is_due.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        db.run("FLUSH").await;
        let after = job_becomes(&db, |job| job.contains("rows left")).await;
        left = rows_left(&after);
        assert_eq!(left, rows_left(&before), "{before} {after}");
    }
    db.run("ALTER MATERIALIZED VIEW m SET BACKFILL_RATE_LIMIT = DEFAULT; WAIT")
        .await;
    let query = "SELECT b, count(*), sum(a) FROM t GROUP BY b";
    assert_eq!(db.rows("SELECT * FROM m").await, db.rows(query).await);
    db.run("DELETE FROM t WHERE a % 3 = 0; VERIFY MATERIALIZED VIEW m")
        .await;
    assert_eq!(db.rows("SELECT * FROM m").await, db.rows(query).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_in_the_foreground_is_slowed_down_too() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t SELECT x, x FROM generate_series(1, 3000) AS g(x)")
        .await;
    db.run("SET backfill_rate_limit = 10000").await;
    for sql in [
        "CREATE INDEX i ON t (b)",
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
    ] {
        let began = Instant::now();
        db.run(sql).await;
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(250), "{sql}: {took:?}");
    }
    assert_eq!(db.value("SELECT count(*) FROM m").await, "3000");
    // Paused for good, and given up.
    db.run("SET backfill_rate_limit = 0; SET statement_timeout = '300ms'")
        .await;
    assert_eq!(
        db.code("CREATE MATERIALIZED VIEW n AS SELECT * FROM t")
            .await,
        "57014"
    );
    db.run("RESET backfill_rate_limit; RESET statement_timeout; CREATE MATERIALIZED VIEW n AS SELECT * FROM m")
        .await;
    assert_eq!(db.value("SELECT count(*) FROM n").await, "3000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_there_at_once_and_complete_later() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20000);
         SET background_ddl = true; CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t",
    )
    .await;
    // Whether it is complete or not, its name is taken, and t is read.
    assert_eq!(
        db.code("CREATE MATERIALIZED VIEW m AS SELECT 1 AS one")
            .await,
        "42P07"
    );
    assert_eq!(db.code("DROP TABLE t").await, "2BP01");
    db.run("WAIT").await;
    assert_eq!(db.value("SELECT s FROM m").await, "200010000");
    assert_eq!(
        db.value("SELECT ispopulated FROM pg_matviews WHERE matviewname = 'm'")
            .await,
        "t"
    );
    db.run("ALTER MATERIALIZED VIEW m RENAME TO total; INSERT INTO t VALUES (0)")
        .await;
    // What is not complete when the server ends is created by the next one.
    db.run("CREATE MATERIALIZED VIEW later AS SELECT count(*) AS n FROM total AS x, t")
        .await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    db.run("WAIT").await;
    assert_eq!(db.value("SELECT n FROM later").await, "20001");
    assert_eq!(db.value("SELECT s FROM total").await, "200010000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_complete_can_be_dropped() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 3000);
         SET background_ddl = true",
    )
    .await;
    for _ in 0..3 {
        // A join that is never complete in time; it is given up wherever it is.
        db.run(
            "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t AS x JOIN t AS y ON x.a < y.a;
             DROP MATERIALIZED VIEW m; WAIT",
        )
        .await;
        assert_eq!(db.code("SELECT * FROM m").await, "42P01");
    }
    db.run(
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t AS x JOIN t AS y ON x.a < y.a",
    )
    .await;
    let running = "SELECT oid FROM pg_class WHERE relname = 'm'";
    let id = db.value(running).await;
    let cancelled = db.rows(&format!("CANCEL JOBS {id}")).await;
    db.run("WAIT").await;
    // Either it was given up, or it was complete before.
    assert_eq!(db.rows(running).await.is_empty(), !cancelled.is_empty());
    db.run("DROP TABLE t CASCADE").await;
    assert_eq!(db.rows("SHOW JOBS").await.len(), 0);
}
