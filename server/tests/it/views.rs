//! Materialized views follow their tables, also while their parallelism changes.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_inserts_updates_and_deletes() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (k text, v int); INSERT INTO t VALUES ('a', 1), ('b', 2), ('a', 3)")
        .await;
    db.run("CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k")
        .await;
    assert_eq!(db.rows("SELECT * FROM m").await, ["a|2|4", "b|1|2"]);
    db.run("INSERT INTO t VALUES ('c', 9); UPDATE t SET v = 10 WHERE v = 1; DELETE FROM t WHERE k = 'b'").await;
    assert_eq!(db.rows("SELECT * FROM m").await, ["a|2|13", "c|1|9"]);
    db.run("CREATE MATERIALIZED VIEW over AS SELECT sum(s) AS total FROM m")
        .await;
    assert_eq!(db.rows("SELECT * FROM over").await, ["22"]);
    assert_eq!(
        db.rows("SELECT m.k, t.v FROM m JOIN t ON m.k = t.k WHERE m.n = 1")
            .await,
        ["c|9"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parallelism_changes_while_rows_flow() {
    let server = TestServer::start().await;
    let (db, writer) = (server.connect().await, server.connect().await);
    db.run("CREATE TABLE t (k int, v int)").await;
    db.run("CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k")
        .await;
    db.run("INSERT INTO t SELECT x % 97, x FROM generate_series(1, 5000) AS g(x)")
        .await;
    let writes = tokio::spawn(async move {
        for round in 0..20 {
            writer
                .run(&format!(
                    "INSERT INTO t SELECT x % 97, {round} FROM generate_series(1, 500) AS g(x)"
                ))
                .await;
        }
    });
    for parallelism in [4, 1, 3] {
        db.run(&format!(
            "ALTER MATERIALIZED VIEW m SET PARALLELISM = {parallelism}"
        ))
        .await;
        let notices = db.notices();
        assert!(
            notices.last().unwrap().starts_with("scaled \"m\" from"),
            "{notices:?}"
        );
        let shown = db.value("SELECT count(*) FROM m").await;
        assert_eq!(shown, "97");
    }
    writes.await.unwrap();
    db.run("FLUSH").await;
    let view = db.rows("SELECT k, n, s FROM m").await;
    assert_eq!(
        view,
        db.rows("SELECT k, count(*), sum(v) FROM t GROUP BY k")
            .await
    );
    let jobs = db.rows("SHOW JOBS").await;
    assert!(
        jobs.iter()
            .any(|job| job.contains("|m|materialized view|3|running")),
        "{jobs:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_fragments() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (k int, v int)").await;
    let lines = db
        .unsorted("EXPLAIN CREATE MATERIALIZED VIEW m AS SELECT k, sum(v) FROM t GROUP BY k")
        .await;
    assert!(!lines.is_empty());
    assert!(!db.unsorted("EXPLAIN SELECT * FROM t").await.is_empty());
    assert_eq!(
        db.rows("SHOW MATERIALIZED VIEWS").await,
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_overflows_is_null_in_a_view_and_an_error_in_a_query() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b bigint)").await;
    db.run("CREATE MATERIALIZED VIEW m AS SELECT a, a + 1 AS next, b * 2 AS twice FROM t")
        .await;
    db.run("INSERT INTO t VALUES (1, 1), (2147483647, 2), (3, 9223372036854775807)")
        .await;
    assert_eq!(
        db.rows("SELECT * FROM m").await,
        ["1|2|2", "2147483647|NULL|4", "3|4|NULL"]
    );
    for (sql, message) in [
        ("SELECT a + 1 FROM t", "integer out of range"),
        ("SELECT b * 2 FROM t", "bigint out of range"),
        (
            "INSERT INTO t SELECT a * 2, b FROM t",
            "integer out of range",
        ),
        (
            "INSERT INTO t VALUES (2147483647 + 1, 0)",
            "integer out of range",
        ),
        ("UPDATE t SET a = a + 1", "integer out of range"),
    ] {
        let expected = ("22003".to_owned(), message.to_owned());
        assert_eq!(db.error(sql).await, expected, "{sql}");
    }
    db.run("DELETE FROM t WHERE a > 3 OR b > 4").await;
    assert_eq!(db.rows("SELECT * FROM m").await, ["1|2|2"]);
}
