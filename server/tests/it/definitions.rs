//! CREATE and DROP: names, kinds, dependencies.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_once() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int)").await;
    assert_eq!(
        db.error("CREATE TABLE t (a int)").await,
        ("42P07".into(), "relation \"t\" already exists".into())
    );
    assert_eq!(db.code("CREATE VIEW t AS SELECT 1").await, "42P07");
    db.run("CREATE TABLE IF NOT EXISTS t (b int)").await;
    assert_eq!(db.notices(), ["relation \"t\" already exists, skipping"]);
    assert_eq!(db.code("CREATE TABLE u (a int, a int)").await, "42701");
    assert_eq!(db.code("CREATE TABLE u (a nothing)").await, "42704");
    assert_eq!(
        db.code("CREATE TABLE u (a int PRIMARY KEY, b int PRIMARY KEY)")
            .await,
        "42P16"
    );
    assert_eq!(db.code("CREATE TABLE nowhere.u (a int)").await, "3F000");
    assert_eq!(db.code("CREATE TABLE pg_catalog.u (a int)").await, "42501");
    db.run("CREATE TABLE \"dev\".public.\"Odd \"\"name\"\"\" (\"A b\" int)")
        .await;
    assert_eq!(db.rows("SHOW TABLES").await, ["Odd \"name\"", "t"]);
    server_end(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_mind_dependents_and_kinds() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t; CREATE MATERIALIZED VIEW m AS SELECT a FROM v").await;
    let error = db.client.batch_execute("DROP TABLE t").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "2BP01");
    assert_eq!(
        error.message(),
        "cannot drop table t because other objects depend on it"
    );
    assert_eq!(
        error.detail(),
        Some("view v depends on table t\nmaterialized view m depends on table t")
    );
    assert_eq!(
        error.hint(),
        Some("Use DROP ... CASCADE to drop the dependent objects too.")
    );
    assert_eq!(
        db.error("DROP TABLE m").await,
        ("42809".into(), "\"m\" is not a table".into())
    );
    assert_eq!(db.error("DROP VIEW m").await.0, "42809");
    assert_eq!(
        db.error("DROP TABLE nothing").await,
        ("42P01".into(), "table \"nothing\" does not exist".into())
    );
    db.run("DROP MATERIALIZED VIEW IF EXISTS nothing").await;
    assert_eq!(
        db.notices(),
        ["materialized view \"nothing\" does not exist, skipping"]
    );
    db.run("DROP TABLE t CASCADE").await;
    assert_eq!(db.notices(), ["drop cascades to 2 other objects"]);
    assert_eq!(db.code("SELECT * FROM v").await, "42P01");
    assert!(db.rows("SHOW ALL").await.len() > 20);
    db.run("CREATE TABLE t (a int)").await;
    assert!(
        db.rows("SELECT * FROM t").await.is_empty(),
        "a new table of the same name is empty"
    );
    server_end(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_refused_by_their_cause() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int)").await;
    for (sql, code) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nothing", "42P01"),
        ("SELECT b FROM t", "42703"),
        ("SELECT no_such_function(1)", "42883"),
        ("SELECT 1/0", "22012"),
        ("SET no_such = 1", "42704"),
        ("SHOW no_such", "42704"),
        ("SET streaming_parallelism = 0", "22023"),
        ("GRANT SELECT (a) ON t TO root", "0A000"),
        ("DEALLOCATE nothing", "26000"),
        (
            "ALTER MATERIALIZED VIEW nothing SET PARALLELISM = 2",
            "42P01",
        ),
        ("ALTER MATERIALIZED VIEW t SET PARALLELISM = 2", "42809"),
        ("ALTER TABLE t SET PARALLELISM = 0", "22023"),
        ("ALTER TABLE t SET PARALLELISM = -1", "22023"),
        ("ALTER TABLE t SET PARALLELISM = 1000000000", "22023"),
        ("ALTER TABLE t SET PARALLELISM = 257", "22023"),
        ("DROP SCHEMA public", "0A000"),
    ] {
        assert_eq!(db.code(sql).await, code, "{sql}");
    }
    server_end(server).await;
}

async fn server_end(mut server: TestServer) {
    server.shutdown().await;
}
