//! Sinks: what reaches their tables, whatever happens in between.

use crate::harness::{Connection, TestServer};

/// What the table must be when all has been delivered.
const DIFFERENCE: &str = "SELECT count(*) FROM (
    (SELECT k, s FROM target EXCEPT SELECT k, s FROM sums) UNION ALL (SELECT k, s FROM sums EXCEPT SELECT k, s FROM target)) AS d";

async fn make(db: &Connection) {
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, k int, v int);
         CREATE MATERIALIZED VIEW sums AS SELECT k, sum(v) AS s FROM t GROUP BY k;
         CREATE TABLE target (k int PRIMARY KEY, s bigint, noted text DEFAULT 'by a sink');
         CREATE MATERIALIZED VIEW over_target AS SELECT count(*) AS n, sum(s) AS s FROM target;
         INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 100) AS g(i);
         CREATE SINK flow INTO target (k, s) FROM sums; FLUSH",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_gets_there_once_over_restarts_and_rescales() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    make(&db).await;
    assert_eq!(db.value(DIFFERENCE).await, "0");
    assert_eq!(db.value("SELECT n FROM over_target").await, "7");
    assert_eq!(
        db.value("SELECT DISTINCT noted FROM target").await,
        "by a sink"
    );
    db.run("UPDATE t SET v = v + 1 WHERE k = 3; DELETE FROM t WHERE k = 5; FLUSH")
        .await;
    assert_eq!(db.value(DIFFERENCE).await, "0");
    assert_eq!(db.value("SELECT n FROM over_target").await, "6");
    // What is not yet delivered when the server ends is delivered by the next one.
    db.run("UPDATE t SET v = v * 2; INSERT INTO t VALUES (1000, 5, 1)")
        .await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    db.run("FLUSH").await;
    assert_eq!(db.value(DIFFERENCE).await, "0");
    db.run(
        "ALTER MATERIALIZED VIEW sums SET PARALLELISM = 3; UPDATE t SET v = v + 1;
         ALTER SINK flow SET PARALLELISM = 1; ALTER TABLE target SET PARALLELISM = 3; DELETE FROM t WHERE id % 2 = 0;
         DROP SINK flow; INSERT INTO t VALUES (2000, 6, 1)",
    )
    .await;
    assert_eq!(db.code("SELECT * FROM flow").await, "42P01");
    // Another one brings the table to what its query gives.
    db.run("DELETE FROM target; CREATE SINK flow INTO target (k, s) FROM sums; FLUSH")
        .await;
    assert_eq!(db.value(DIFFERENCE).await, "0");
    assert_eq!(
        db.value("SELECT s FROM over_target").await,
        db.value("SELECT sum(v) FROM t").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_flow_into_one_table() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int);
         CREATE TABLE logged (source text, id int, at int DEFAULT 7) APPEND ONLY;
         CREATE TABLE target (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED);
         CREATE SINK from_a INTO target FROM a;
         CREATE SINK from_b INTO target AS SELECT id + 100, v FROM b WHERE v IS NOT NULL;
         CREATE SINK noted INTO logged (source, id) AS SELECT 'a', id FROM a
             WITH (type = 'append-only', force_append_only = 'true');
         INSERT INTO a VALUES (1, 10), (2, 20); INSERT INTO b VALUES (1, 30), (2, NULL); FLUSH",
    )
    .await;
    assert_eq!(
        db.rows("SELECT * FROM target").await,
        ["101|30|60", "1|10|20", "2|20|40"]
    );
    // A statement and a sink overwrite each other.
    db.run("UPDATE target SET v = 0 WHERE id = 1; DELETE FROM a WHERE id = 2; FLUSH")
        .await;
    assert_eq!(
        db.rows("SELECT * FROM target").await,
        ["101|30|60", "1|0|0"]
    );
    db.run("UPDATE a SET v = 11 WHERE id = 1; FLUSH").await;
    assert_eq!(
        db.rows("SELECT * FROM target").await,
        ["101|30|60", "1|11|22"]
    );
    for _ in 0..2 {
        let db = server.connect().await;
        db.run("FLUSH").await;
        assert_eq!(db.rows("SELECT * FROM logged").await, ["a|1|7", "a|2|7"]);
        assert_eq!(db.rows("SHOW SINKS").await, ["from_a", "from_b", "noted"]);
        server.restart().await;
    }
}
