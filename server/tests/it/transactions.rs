//! BEGIN, COMMIT, ROLLBACK and savepoints.

use crate::harness::{Connection, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_block_appear_together() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    db.run("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await;
    db.run("BEGIN; INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)")
        .await;
    other.run("FLUSH").await;
    assert_eq!(other.rows("SELECT a FROM t").await, ["1"]);
    assert_eq!(other.code("INSERT INTO t VALUES (2)").await, "23505");
    db.run("COMMIT").await;
    other.run("FLUSH").await;
    assert_eq!(other.rows("SELECT a FROM t").await, ["1", "2", "3"]);
    db.run("BEGIN; INSERT INTO t VALUES (4); ROLLBACK").await;
    other.run("INSERT INTO t VALUES (4)").await;
    assert_eq!(other.value("SELECT count(*) FROM t").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_block_takes_only_its_end() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY); BEGIN; INSERT INTO t VALUES (1)")
        .await;
    assert_eq!(db.code("SELECT 1/0").await, "22012");
    assert_eq!(db.code("SELECT 1").await, "25P02");
    db.run("COMMIT").await;
    assert_eq!(db.value("SELECT count(*) FROM t").await, "0");
    db.run("INSERT INTO t VALUES (1)").await;
    db.run("COMMIT").await;
    assert_eq!(db.notices(), ["there is no transaction in progress"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_go_back() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY)").await;
    db.run("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2); ROLLBACK TO s")
        .await;
    db.run("INSERT INTO t VALUES (3); RELEASE s; COMMIT").await;
    assert_eq!(db.rows("SELECT a FROM t").await, ["1", "3"]);
    assert_eq!(db.code("SAVEPOINT s").await, "25P01");
    db.run("BEGIN").await;
    assert_eq!(db.code("RELEASE nothing").await, "3B001");
    db.run("ROLLBACK").await;
    db.run("BEGIN; SAVEPOINT s").await;
    assert_eq!(db.code("SELECT * FROM nothing").await, "42P01");
    db.run("ROLLBACK TO s; COMMIT").await;
    db.run("BEGIN; INSERT INTO t VALUES (5); SAVEPOINT s; INSERT INTO t VALUES (6)")
        .await;
    assert_eq!(db.code("INSERT INTO t VALUES (5)").await, "23505");
    db.run("ROLLBACK TO s; COMMIT").await;
    assert_eq!(db.rows("SELECT a FROM t").await, ["1", "3", "5"]);
    db.run("INSERT INTO t VALUES (6)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_block_cannot_do_is_refused() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int); CREATE TABLE u (a int); CREATE MATERIALIZED VIEW m AS SELECT a FROM t").await;
    db.run("CREATE MATERIALIZED VIEW mm AS SELECT a FROM m")
        .await;
    for sql in [
        "SELECT * FROM m",
        "SELECT * FROM t, mm",
        "CREATE TABLE w (a int)",
    ] {
        db.run("BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
            .await;
        assert_eq!(db.code(sql).await, "0A000", "{sql}");
        db.run("ROLLBACK").await;
    }
    db.run("BEGIN; INSERT INTO t VALUES (1); SELECT * FROM u; COMMIT")
        .await;
    assert_eq!(db.value("SELECT count(*) FROM t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_go_back_with_a_rollback() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("BEGIN; SET timezone = 'Asia/Kolkata'; ROLLBACK")
        .await;
    assert_eq!(db.value("SHOW timezone").await, "UTC");
    db.run("BEGIN; SET timezone = 'Asia/Kolkata'; COMMIT").await;
    assert_eq!(db.value("SHOW timezone").await, "Asia/Kolkata");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_several_tables_are_of_one_epoch() {
    let server = TestServer::start().await;
    let (db, other, reader) = (
        server.connect().await,
        server.connect().await,
        server.connect().await,
    );
    db.run("CREATE TABLE debit (x int); CREATE TABLE credit (x int)")
        .await;
    db.run(
        "CREATE MATERIALIZED VIEW balance AS SELECT sum(x) AS x FROM
         (SELECT x FROM debit UNION ALL SELECT -x FROM credit) AS moved GROUP BY true",
    )
    .await;
    db.run("BEGIN; INSERT INTO debit VALUES (0); INSERT INTO credit VALUES (0); COMMIT; FLUSH")
        .await;
    reader
        .run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO balance WITH (SNAPSHOT = false)")
        .await;
    let write = async |db: &Connection| {
        for x in 1..60 {
            db.run(&format!(
                "BEGIN; INSERT INTO debit VALUES ({x}); INSERT INTO credit VALUES ({x}); COMMIT"
            ))
            .await;
        }
    };
    let flush = async {
        for _ in 0..60 {
            reader.run("FLUSH").await;
        }
    };
    tokio::join!(write(&db), write(&other), flush);
    db.run("FLUSH").await;
    assert_eq!(
        reader
            .unsorted("FETCH ALL FROM c WITH (timeout = '500ms')")
            .await,
        [""; 0],
        "no epoch has a part of a transaction"
    );
    assert_eq!(db.value("SELECT * FROM balance").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_blocks_that_insert_and_update_take_turns() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    db.run("CREATE TABLE t (a int PRIMARY KEY, n int); INSERT INTO t VALUES (0, 0)")
        .await;
    db.run("BEGIN; INSERT INTO t VALUES (1, 0)").await;
    other.run("BEGIN; INSERT INTO t VALUES (2, 0)").await;
    // Each has added rows and wants the table for itself: no deadlock.
    tokio::join!(
        db.run("UPDATE t SET n = n + 1 WHERE a < 2; COMMIT"),
        other.run("UPDATE t SET n = n + 1 WHERE a = 0; COMMIT"),
    );
    assert_eq!(db.rows("SELECT * FROM t").await, ["0|2", "1|1", "2|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_locked_are_not_changed_by_others() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    db.run("CREATE TABLE t (a int PRIMARY KEY, b int); CREATE TABLE u (a int)")
        .await;
    db.run("INSERT INTO t VALUES (1, 10)").await;
    db.run("BEGIN").await;
    let locked = "SELECT b FROM t LEFT JOIN u USING (a) FOR UPDATE OF t";
    assert_eq!(db.rows(locked).await, ["10"]);
    other.run("SET lock_timeout = '10ms'").await;
    for statement in [
        "UPDATE t SET b = 0",
        "DELETE FROM t",
        "SELECT * FROM t FOR SHARE",
    ] {
        assert_eq!(other.code(statement).await, "55P03", "{statement}");
    }
    other.run("INSERT INTO u VALUES (1)").await;
    assert_eq!(other.rows("SELECT b FROM t").await, ["10"]);
    db.run("UPDATE t SET b = b + 1; COMMIT").await;
    other.run("SET lock_timeout = 0").await;
    assert_eq!(other.rows("SELECT b FROM t FOR UPDATE").await, ["11"]);
    // Outside of a block nothing stays locked.
    db.run("UPDATE t SET b = b + 1").await;
    assert_eq!(
        other.code("SELECT * FROM t FOR UPDATE NOWAIT").await,
        "0A000"
    );
}
