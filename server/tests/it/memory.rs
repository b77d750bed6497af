//! Bounds on memory: of state, whose rows go to disk and come back, and of queries.

use std::time::Duration;

use crate::harness::{Connection, TestServer};

/// Rows of each side of the join.
const ROWS: usize = 3000;

/// Bytes of the state of `pairs` in memory and on disk alone, at the last checkpoint.
async fn state(db: &Connection) -> (u64, u64) {
    let sql = "SELECT sum(bytes), sum(evicted_bytes) FROM tide.key_groups WHERE relation = 'pairs'";
    let row = db.rows(sql).await.pop().unwrap();
    let (bytes, evicted) = row.split_once('|').unwrap();
    (bytes.parse().unwrap(), evicted.parse().unwrap())
}

/// Waits until most of the state is on disk alone.
async fn wait_until_evicted(db: &Connection) {
    let evicted = async {
        loop {
            db.run("FLUSH").await;
            let (bytes, evicted) = state(db).await;
            if evicted > 4 * bytes {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), evicted).await;
    assert!(waited.is_ok(), "{:?}", state(db).await);
}

async fn verify(db: &Connection) {
    let verdict = db.rows("VERIFY MATERIALIZED VIEW pairs").await;
    assert!(verdict.iter().all(|row| row.ends_with("|t")), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_is_larger_than_its_memory() {
    let mut server = TestServer::with(|config| config.state_memory_limit = 256 << 10).await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE l (k int, a text); CREATE TABLE r (k int, b text);
         CREATE MATERIALIZED VIEW pairs AS SELECT r.k % 10 AS g, count(*) AS n, max(a) AS a
           FROM r LEFT JOIN l ON l.k = r.k GROUP BY 1",
    )
    .await;
    for (table, text) in [("l", "left"), ("r", "right")] {
        let insert = format!(
            "INSERT INTO {table} SELECT g, repeat('{text} ', 20) || g FROM generate_series(1, {ROWS}) AS g"
        );
        db.run(&insert).await;
    }
    wait_until_evicted(&db).await;
    verify(&db).await;
    // Rows that are on disk alone find matches, lose them, and go.
    db.run("DELETE FROM l WHERE k % 3 = 0; UPDATE r SET b = 'other' WHERE k % 5 = 0; INSERT INTO l VALUES (7, 'zz')")
        .await;
    verify(&db).await;
    wait_until_evicted(&db).await;
    db.run("ALTER MATERIALIZED VIEW pairs SET PARALLELISM = 5")
        .await;
    let (_, evicted) = state(&db).await;
    db.run("DELETE FROM l WHERE k % 7 = 0").await;
    verify(&db).await;
    assert!(evicted > 0, "moving reads nothing back");
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    verify(&db).await;
    wait_until_evicted(&db).await;
    db.run("DELETE FROM r WHERE k % 2 = 0; INSERT INTO l SELECT g, 'new' FROM generate_series(1, 100) AS g")
        .await;
    verify(&db).await;
    let names = db.rows("SELECT name FROM tide.memory").await;
    assert_eq!(names, ["channels", "evicted state", "queries", "state"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_its_limit_ends_alone() {
    let server = TestServer::with(|config| config.query_memory_limit = 4 << 20).await;
    let db = server.connect().await;
    let large = "SELECT count(*) FROM (SELECT g * 7919 % 1000003, count(*) FROM generate_series(1, 1000000) AS g GROUP BY 1) AS s";
    assert_eq!(db.code(large).await, "53200");
    assert_eq!(
        db.rows("SELECT sum(g) FROM generate_series(1, 1000) AS g")
            .await,
        ["500500"]
    );
    // A query has ended when its first task has failed; the others end by themselves.
    let used = "SELECT bytes FROM tide.memory WHERE name = 'queries'";
    let freed = async { while db.rows(used).await != ["0"] {} };
    let freed = tokio::time::timeout(Duration::from_secs(60), freed).await;
    assert!(freed.is_ok(), "what it had is free again");
}
