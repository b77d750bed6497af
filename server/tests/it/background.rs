//! `SET background_ddl`: views that are created while the session goes on.

use crate::harness::TestServer;

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
