//! What a restart brings back.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_again() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY, b varchar(5) DEFAULT 'x'); INSERT INTO t VALUES (1), (2)").await;
    db.run("CREATE VIEW v AS SELECT a + 1 AS c FROM t; CREATE MATERIALIZED VIEW m AS SELECT sum(c) AS s FROM v").await;
    db.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 3")
        .await;
    let before = db
        .rows("SELECT oid, relname, relkind FROM pg_class WHERE oid > 16384")
        .await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    assert_eq!(
        db.rows("SELECT oid, relname, relkind FROM pg_class WHERE oid > 16384")
            .await,
        before
    );
    assert_eq!(db.rows("SELECT * FROM t").await, ["1|x", "2|x"]);
    assert_eq!(db.rows("SELECT * FROM v").await, ["2", "3"]);
    assert_eq!(db.rows("SELECT * FROM m").await, ["5"]);
    db.run("INSERT INTO t VALUES (10)").await;
    assert_eq!(db.rows("SELECT * FROM m").await, ["16"]);
    let jobs = db.rows("SHOW JOBS").await;
    assert!(
        jobs.iter()
            .any(|job| job.contains("|m|materialized view|3|")),
        "{jobs:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_of_the_shutdown() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("SELECT 1").await;
    server.shutdown().await;
    let error = db.client.batch_execute("SELECT 1").await.unwrap_err();
    let told = error
        .as_db_error()
        .is_some_and(|error| error.code().code() == "57P01");
    assert!(told || error.is_closed(), "{error}");
}
