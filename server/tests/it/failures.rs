//! A view whose executors fail: what its users see, and that all others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use executor::{Error, FaultInjector, FaultSite, FaultStep};

use crate::harness::{Connection, TestServer};

/// Executors of a job fail when rows come, as long as `on` is true.
fn failing(job: u32, on: &Arc<AtomicBool>) -> FaultInjector {
    let on = Arc::clone(on);
    Arc::new(move |site: FaultSite| {
        let is_it = site.job == job && site.step == FaultStep::Rows;
        if is_it && on.load(Ordering::SeqCst) {
            return Err(Error::Plan {
                reason: "as the test wants it".to_owned(),
            });
        }
        Ok(())
    })
}

fn job(server: &TestServer, name: &str) -> u32 {
    let jobs = server.engine().jobs();
    jobs.iter().find(|job| job.name == name).unwrap().id
}

/// The row of SHOW JOBS about a job, once it contains a text.
async fn shown(db: &Connection, name: &str, text: &str) -> String {
    let look = async {
        loop {
            let jobs = db.rows("SHOW JOBS").await;
            let of_job = jobs.iter().find(|job| job.contains(&format!("|{name}|")));
            if let Some(found) = of_job.filter(|job| job.contains(text)) {
                return found.clone();
            }
            db.run("FLUSH").await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), look).await;
    waited.unwrap_or_else(|_| panic!("{name} never was {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_view_is_shown_and_others_go_on() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (k int, v int);
         INSERT INTO t SELECT x % 10, x FROM generate_series(1, 100) AS g(x);
         CREATE MATERIALIZED VIEW m AS SELECT k, sum(v) AS s FROM t GROUP BY k;
         CREATE MATERIALIZED VIEW over AS SELECT count(*) AS n FROM m WHERE s > 0;
         CREATE INDEX by_s ON m (s);
         CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM t",
    )
    .await;
    let before = db.rows("SELECT * FROM m").await;
    let on = Arc::new(AtomicBool::new(true));
    server
        .engine()
        .inject_faults(Some(failing(job(&server, "m"), &on)));
    // Acknowledged, and seen in all that has not failed.
    db.run("INSERT INTO t VALUES (1, 1000)").await;
    assert_eq!(db.value("SELECT n FROM other").await, "101");
    let job = shown(&db, "m", "|restarting").await;
    let reason = "plan cannot be executed: as the test wants it";
    assert!(job.contains(reason), "{job}");
    let reader = shown(&db, "over", "|restarting").await;
    assert!(reader.contains("\"m\", which it reads, failed"), "{reader}");
    shown(&db, "by_s", "|restarting").await;
    assert!(
        shown(&db, "other", "|running")
            .await
            .contains("|running|0|NULL|NULL")
    );
    // It shows what it had, and says so.
    db.notices();
    assert_eq!(db.rows("SELECT * FROM m").await, before);
    let warned = db.notices();
    assert!(
        warned[0].starts_with(
            "\"m\" is being started again after a failure: its rows are those of epoch "
        ),
        "{warned:?}"
    );
    for refused in [
        "ALTER MATERIALIZED VIEW m SET PARALLELISM = 3",
        "ALTER MATERIALIZED VIEW over SET PARALLELISM = 3",
        "EXPLAIN ALTER MATERIALIZED VIEW m SET PARALLELISM = 3",
        "CREATE MATERIALIZED VIEW late AS SELECT s FROM m",
        "CREATE INDEX late ON m (k)",
        "VERIFY MATERIALIZED VIEW m",
    ] {
        let (code, message) = db.error(refused).await;
        assert_eq!(code, "55000", "{refused}: {message}");
        assert!(
            message.ends_with("is being started again after a failure"),
            "{message}"
        );
    }
    db.run("ALTER MATERIALIZED VIEW other SET PARALLELISM = 3")
        .await;
    // It comes back by itself, and remembers.
    on.store(false, Ordering::SeqCst);
    shown(&db, "over", "|running").await;
    shown(&db, "by_s", "|running").await;
    let job = shown(&db, "m", "|running").await;
    assert!(
        job.contains(reason) && !job.contains("|running|0|"),
        "{job}"
    );
    db.notices();
    assert_eq!(db.value("SELECT s FROM m WHERE k = 1").await, "1460");
    assert_eq!(db.value("SELECT k FROM m WHERE s = 1460").await, "1");
    assert!(db.notices().is_empty());
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 3")
        .await;
    for view in ["m", "over", "other"] {
        let verified = db.rows(&format!("VERIFY MATERIALIZED VIEW {view}")).await;
        assert!(verified[0].ends_with("|t"), "{verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_view_can_be_dropped() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (v int);
         CREATE MATERIALIZED VIEW m AS SELECT sum(v) AS s FROM t;
         CREATE MATERIALIZED VIEW over AS SELECT s + 1 AS s FROM m",
    )
    .await;
    let on = Arc::new(AtomicBool::new(true));
    server
        .engine()
        .inject_faults(Some(failing(job(&server, "m"), &on)));
    db.run("INSERT INTO t VALUES (1)").await;
    shown(&db, "m", "|restarting").await;
    assert_eq!(db.code("DROP MATERIALIZED VIEW m").await, "2BP01");
    db.run("DROP MATERIALIZED VIEW m CASCADE").await;
    assert_eq!(db.rows("SHOW JOBS").await.len(), 1);
    on.store(false, Ordering::SeqCst);
    db.run("CREATE MATERIALIZED VIEW m AS SELECT sum(v) AS s FROM t")
        .await;
    assert_eq!(db.value("SELECT s FROM m").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_failed_is_computed_anew_when_the_server_starts() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (v int); CREATE MATERIALIZED VIEW m AS SELECT sum(v) AS s FROM t")
        .await;
    let on = Arc::new(AtomicBool::new(true));
    server
        .engine()
        .inject_faults(Some(failing(job(&server, "m"), &on)));
    db.run("INSERT INTO t VALUES (1), (2)").await;
    shown(&db, "m", "|restarting").await;
    drop(db);
    // The last checkpoint is one without the view.
    server.restart().await;
    let db = server.connect().await;
    // Until it is there again reading it is an error, never an answer that is not whole.
    let read = async {
        loop {
            match db.client.query_one("SELECT s FROM m", &[]).await {
                Ok(row) => return row.get::<_, i64>(0),
                Err(error) => assert_eq!(error.code().unwrap().code(), "55000"),
            }
            db.run("FLUSH").await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), read).await;
    assert_eq!(waited.unwrap(), 3);
    db.run("INSERT INTO t VALUES (4)").await;
    assert_eq!(db.value("SELECT s FROM m").await, "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_on_over_a_failure() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (k int, v int); INSERT INTO t VALUES (1, 1), (2, 2);
         CREATE MATERIALIZED VIEW m AS SELECT k, sum(v) AS s FROM t GROUP BY k",
    )
    .await;
    let reader = server.connect().await;
    reader
        .run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO m WITH (snapshot = false)")
        .await;
    let on = Arc::new(AtomicBool::new(true));
    server
        .engine()
        .inject_faults(Some(failing(job(&server, "m"), &on)));
    db.run("INSERT INTO t VALUES (1, 10)").await;
    shown(&db, "m", "|restarting").await;
    db.run("INSERT INTO t VALUES (1, 100)").await;
    on.store(false, Ordering::SeqCst);
    shown(&db, "m", "|running").await;
    // What differs between its rows of before and of now, and nothing else.
    let changes = reader.unsorted("FETCH 2 FROM c").await;
    let rows = changes.iter().map(|row| row.split_once('|').unwrap().1);
    let mut rows: Vec<&str> = rows.collect();
    rows.sort_unstable();
    assert_eq!(rows, ["-1|1|1", "1|1|111"], "{changes:?}");
}

/// How long it takes until a view of a million keys is fresh again, and a server that has it:
/// `cargo nextest run --workspace --run-ignored all -E 'test(a_million_keys)' --no-capture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
#[allow(clippy::print_stdout, reason = "the figures")]
async fn recovery_of_a_million_keys() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (k int, v int);
         CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k;
         CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM t;
         INSERT INTO t SELECT x, x % 7 FROM generate_series(1, 1000000) AS g(x)",
    )
    .await;
    assert_eq!(db.value("SELECT count(*) FROM m").await, "1000000");
    let on = Arc::new(AtomicBool::new(true));
    let fault = failing(job(&server, "m"), &on);
    let once = Arc::new(move |site: FaultSite| {
        let outcome = fault(site);
        if outcome.is_err() {
            on.store(false, Ordering::SeqCst);
        }
        outcome
    });
    server.engine().inject_faults(Some(once));
    let mut epochs = server.engine().epochs();
    let started = std::time::Instant::now();
    db.run("INSERT INTO t VALUES (1, 100)").await;
    let (mut last, mut slowest, mut count) = (started, std::time::Duration::ZERO, 0);
    let mut failed = false;
    loop {
        epochs.changed().await.unwrap();
        let is_stale = !epochs.borrow_and_update().stale.is_empty();
        (slowest, count) = (slowest.max(last.elapsed()), count + 1);
        last = std::time::Instant::now();
        if failed && !is_stale {
            break;
        }
        failed |= is_stale;
    }
    println!(
        "fresh again after {:.1?}; {count} epochs meanwhile, the longest {slowest:.1?}",
        started.elapsed()
    );
    assert_eq!(db.value("SELECT n FROM m WHERE k = 1").await, "2");
    assert_eq!(db.value("SELECT n FROM other").await, "1000001");
    drop(db);
    server.shutdown().await;
    let started = std::time::Instant::now();
    server.start_again().await;
    let db = server.connect().await;
    assert_eq!(db.value("SELECT n FROM m WHERE k = 1").await, "2");
    println!(
        "a server that starts answers after {:.1?}",
        started.elapsed()
    );
    db.run("INSERT INTO t VALUES (1, 100)").await;
    assert_eq!(db.value("SELECT n FROM m WHERE k = 1").await, "3");
    println!("and is fresh after {:.1?}", started.elapsed());
}
