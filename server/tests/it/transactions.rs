//! BEGIN, COMMIT, ROLLBACK and savepoints.

use crate::harness::TestServer;

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
    for sql in [
        "SELECT * FROM t",
        "SELECT * FROM m",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
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
