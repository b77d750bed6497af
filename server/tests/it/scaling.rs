//! Rescales as clients see them: notices, errors, EXPLAIN, CANCEL, schema `tide`, ADAPTIVE.

use std::time::Duration;

use crate::harness::{Connection, TestServer};

/// A table, and a view over it with some state.
async fn with_view(server: &TestServer) -> Connection {
    let db = server.connect().await;
    db.run("CREATE TABLE t (k int, v int)").await;
    db.run("CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS n FROM t GROUP BY k")
        .await;
    db.run("INSERT INTO t SELECT x % 997, x FROM generate_series(1, 5000) AS g(x)")
        .await;
    db
}

/// Waits until a query has this one value.
async fn becomes(db: &Connection, sql: &str, value: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while db.value(sql).await != value {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{sql} did not become {value}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_tells_strategy_and_pause() {
    let server = TestServer::start().await;
    let db = with_view(&server).await;
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 4 WITH (max_pause = '10s')")
        .await;
    let summary = db.notices().pop().unwrap();
    assert!(
        summary.starts_with("scaled \"m\" from 2 to 4 in "),
        "{summary}"
    );
    assert!(summary.contains(" by drrs, rescale "), "{summary}");
    assert!(
        summary.ends_with(" ms, within max_pause 10000.000 ms"),
        "{summary}"
    );
    db.run("SET rescale_strategy = otfs; ALTER MATERIALIZED VIEW m SET PARALLELISM = 3 WITH (max_pause = '1us')").await;
    let summary = db.notices().pop().unwrap();
    assert!(summary.contains(" by otfs, "), "{summary}");
    assert!(
        summary.ends_with(" ms, above max_pause 0.001 ms"),
        "{summary}"
    );
}

/// The line of a running view's plan that begins so, without figures that depend on time.
async fn explained(db: &Connection, begin: &str) -> String {
    let lines = db.unsorted("EXPLAIN ANALYZE MATERIALIZED VIEW m").await;
    let line = lines.iter().rfind(|line| line.trim().starts_with(begin));
    let line = line.unwrap_or_else(|| panic!("{begin}: {lines:#?}"));
    let mut kept = Vec::new();
    for part in line.trim().split("; ") {
        let (rows, _) = part.split_once(" rows,").unwrap_or((part, ""));
        kept.push(rows);
    }
    kept.pop_if(|part| part.starts_with("busy"));
    kept.join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_count_rows_across_rescales() {
    let server = TestServer::start().await;
    let db = with_view(&server).await;
    db.run("FLUSH").await;
    let aggregation = "HashAgg: group by (k); count(*)";
    let groups = "state: HashAgg groups (k), measures (rows)";
    assert_eq!(
        explained(&db, aggregation).await,
        format!("{aggregation}  (in 5000; out 997")
    );
    assert_eq!(explained(&db, groups).await, format!("{groups}: 997"));
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 3; ALTER MATERIALIZED VIEW m SET PARALLELISM = 1")
        .await;
    // A group that goes, one that comes, and one that changes: the old row and the new one.
    db.run("DELETE FROM t WHERE k = 0; FLUSH; INSERT INTO t VALUES (1000, 1), (1, 1); FLUSH")
        .await;
    assert_eq!(
        explained(&db, aggregation).await,
        format!("{aggregation}  (in 5007; out 1001")
    );
    assert_eq!(
        explained(&db, "Materialize: ").await,
        "Materialize: key (k)  (in 1001; out 1001"
    );
    let scan = explained(&db, "Project: k  ").await;
    assert_eq!(scan, "Project: k  (in 5007; out 5007");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_groups_are_moved_by_hand() {
    let server = TestServer::start().await;
    let db = with_view(&server).await;
    let owner =
        "SELECT owner FROM tide.key_groups WHERE relation = 'm' AND fragment = 1 AND key_group = 7";
    let other = format!(
        "SELECT executor FROM tide.executors WHERE relation = 'm' AND fragment = 1 AND executor <> ({owner})"
    );
    let to = db.value(&other).await;
    db.run(&format!(
        "ALTER MATERIALIZED VIEW m MOVE KEY GROUP 7 TO EXECUTOR {to}"
    ))
    .await;
    assert_eq!(db.value(owner).await, to);
    let moved = db.notices().pop().unwrap();
    let expected = format!("moved key group 7 of \"m\" to executor {to} in ");
    assert!(moved.starts_with(&expected), "{moved}");
    db.run("ALTER MATERIALIZED VIEW m REBALANCE").await;
    let rebalanced = db.notices().pop().unwrap();
    assert!(
        rebalanced.starts_with("rebalanced \"m\" in "),
        "{rebalanced}"
    );
    for sql in [
        "ALTER MATERIALIZED VIEW m MOVE KEY GROUP 7 TO EXECUTOR 12345",
        "ALTER MATERIALIZED VIEW m MOVE KEY GROUP 7 TO EXECUTOR 12345678901",
        &format!("ALTER MATERIALIZED VIEW m MOVE KEY GROUP 256 TO EXECUTOR {to}"),
        &format!("ALTER MATERIALIZED VIEW m MOVE KEY GROUP 70000 TO EXECUTOR {to}"),
    ] {
        let error = db.client.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "22023", "{sql}");
        assert!(error.hint().unwrap().contains("tide."), "{sql}");
    }
    assert_eq!(db.value("SELECT sum(n) FROM m").await, "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_what_would_move() {
    let server = TestServer::start().await;
    let db = with_view(&server).await;
    let plan = db
        .unsorted("EXPLAIN ALTER MATERIALIZED VIEW m SET PARALLELISM = 4")
        .await;
    assert!(
        plan[0].starts_with("Rescale m from 2 to 4 executors by drrs  (expected time="),
        "{plan:#?}"
    );
    assert!(
        plan[1].starts_with("  ->  Subscale 1 of fragment 0: executor "),
        "{plan:#?}"
    );
    assert!(plan[2].starts_with("        Key Groups: "), "{plan:#?}");
    assert_eq!(db.value("SELECT count(*) FROM tide.rescales").await, "0");
    let done = db
        .unsorted("EXPLAIN ANALYZE ALTER MATERIALIZED VIEW m SET PARALLELISM = 4")
        .await;
    assert!(
        done[0].contains("(expected time=") && done[0].contains("(actual time="),
        "{done:#?}"
    );
    assert_eq!(
        db.rows("SELECT from_parallelism, to_parallelism, state FROM tide.rescales")
            .await,
        ["2|4|completed"]
    );
    // The extended protocol knows the one column too.
    let prepared = db
        .client
        .prepare("EXPLAIN ALTER MATERIALIZED VIEW m REBALANCE")
        .await
        .unwrap();
    assert_eq!(prepared.columns()[0].name(), "QUERY PLAN");
}

/// A rescale in many steps, so that there is time to end it.
const SLOW: &str = "ALTER MATERIALIZED VIEW m SET PARALLELISM = 7 WITH (strategy = megaphone)";

/// Starts [`SLOW`] from another session and waits until it moves; its number and its outcome.
async fn start_slow(
    server: &TestServer,
    db: &Connection,
) -> (String, tokio::task::JoinHandle<(String, String)>) {
    let other = server.connect().await;
    let slow = tokio::spawn(async move { other.error(SLOW).await });
    let moving = "SELECT coalesce(max(id), 0) FROM tide.rescales WHERE state = 'moving' AND to_parallelism = 7";
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let id = db.value(moving).await;
            if id != "0" {
                return id;
            }
        }
    });
    (waited.await.unwrap(), slow)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescale_is_cancelled() {
    let server = TestServer::start().await;
    let db = with_view(&server).await;
    let (id, slow) = start_slow(&server, &db).await;
    db.run(&format!("CANCEL RESCALE {id}")).await;
    let (code, message) = slow.await.unwrap();
    assert_eq!(code, "57014");
    let expected = format!("rescale {id} was cancelled; \"m\" runs with ");
    assert!(message.starts_with(&expected), "{message}");
    let runs_with = message[expected.len()..].trim_end_matches(" executors");
    let jobs = db.rows("SHOW JOBS").await;
    let job = format!("|m|materialized view|{runs_with}|running");
    assert!(jobs.iter().any(|shown| shown.contains(&job)), "{jobs:?}");
    let shown = db.rows("SHOW RESCALES").await;
    let row = format!("{id}|m|megaphone|2|{runs_with}|cancelled|");
    assert!(shown[0].starts_with(&row), "{shown:?}");
    assert_eq!(db.code(&format!("CANCEL RESCALE {id}")).await, "42704");
    assert_eq!(db.value("SELECT sum(n) FROM m").await, "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_statement_ends_an_earlier_one() {
    let server = TestServer::start().await;
    let db = with_view(&server).await;
    let (id, slow) = start_slow(&server, &db).await;
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 3")
        .await;
    let (code, message) = slow.await.unwrap();
    assert_eq!(code, "57014");
    let expected = format!("rescale {id} was ended by a later one; \"m\" runs with ");
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(
        db.rows("SELECT state FROM tide.rescales ORDER BY id").await,
        ["completed", "superseded"]
    );
    let jobs = db.rows("SHOW JOBS").await;
    let job = "|m|materialized view|3|running";
    assert!(jobs.iter().any(|shown| shown.contains(job)), "{jobs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn adaptive_follows_its_bounds_and_survives_a_restart() {
    let mut server = TestServer::start().await;
    let db = with_view(&server).await;
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = ADAPTIVE WITH (min = 3, max = 4)")
        .await;
    let told = db.notices().pop().unwrap();
    assert!(told.contains("with 3 to 4"), "{told}");
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    becomes(
        &db,
        "SELECT count(*) FROM tide.scaling_decisions WHERE outcome = 'completed'",
        "1",
    )
    .await;
    assert_eq!(
        db.rows(
            "SELECT relation, from_parallelism, to_parallelism, needed FROM tide.scaling_decisions"
        )
        .await,
        ["m|2|3|1"]
    );
    assert_eq!(
        db.rows("SELECT relation, started_by, state FROM tide.rescales")
            .await,
        ["m|adaptive|completed"]
    );
    let shows = |jobs: Vec<String>, parallelism: &str| {
        let job = format!("|m|materialized view|{parallelism}|running");
        assert!(jobs.iter().any(|shown| shown.contains(&job)), "{jobs:?}");
    };
    shows(db.rows("SHOW JOBS").await, "ADAPTIVE, now 3");
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    shows(db.rows("SHOW JOBS").await, "ADAPTIVE, now 3");
    // A number ends it, for good.
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 1")
        .await;
    shows(db.rows("SHOW JOBS").await, "1");
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    shows(db.rows("SHOW JOBS").await, "1");
    assert_eq!(db.value("SELECT sum(n) FROM m").await, "5000");
}
