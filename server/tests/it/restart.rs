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
async fn types_and_what_is_made_of_them_are_there_again() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TYPE inner_type AS (x int); CREATE TYPE pair AS (a inner_type, b varchar(3))")
        .await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, p pair, s struct<n int>[])")
        .await;
    db.run("INSERT INTO t VALUES (1, '(\"(7)\",x)', '{(1)}'), (2, NULL, NULL)")
        .await;
    db.run("CREATE MATERIALIZED VIEW m AS SELECT p, count(*) FROM t GROUP BY p")
        .await;
    db.run("CREATE VIEW v AS SELECT ((p).a).x, ROW(ROW(8), 'y')::pair AS q FROM t")
        .await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    assert_eq!(
        db.rows("SELECT * FROM v").await,
        ["7|(\"(8)\",y)", "NULL|(\"(8)\",y)"]
    );
    db.run("INSERT INTO t VALUES (3, ROW(ROW(7), 'x'), NULL)")
        .await;
    assert_eq!(
        db.rows("SELECT * FROM m ORDER BY 1").await,
        ["(\"(7)\",x)|2", "NULL|1"]
    );
    assert_eq!(
        db.rows("VERIFY MATERIALIZED VIEW m").await.len(),
        1,
        "a view that is as its query"
    );
    assert_eq!(
        db.rows("SELECT format_type('pair'::regtype, NULL)").await,
        ["pair"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_there_again_and_move_with_their_rows() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TYPE pair AS (a int, b varchar)").await;
    db.run("CREATE TABLE t (m map(varchar, pair), n map(int, double precision))")
        .await;
    db.run(
        "CREATE MATERIALIZED VIEW kept AS SELECT n, (m['k']).b FROM t WHERE map_contains(m, 'k')",
    )
    .await;
    db.run("CREATE MATERIALIZED VIEW counted AS SELECT (m['k']).a, count(*) FROM t GROUP BY (m['k']).a")
        .await;
    for n in 0..20 {
        let map = format!("MAP {{'l': NULL, 'k': ROW({}, 'x')::pair}}", n % 3);
        let numbers = format!("MAP {{2: -0.0, 1: {n}}}");
        db.run(&format!("INSERT INTO t VALUES ({map}, {numbers})"))
            .await;
    }
    db.run("ALTER TABLE t SET PARALLELISM = 3; ALTER MATERIALIZED VIEW kept SET PARALLELISM = 2")
        .await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    db.run("DELETE FROM t WHERE n[1] > 1").await;
    db.run("ALTER MATERIALIZED VIEW kept SET PARALLELISM = 1")
        .await;
    assert_eq!(
        db.rows("SELECT * FROM kept ORDER BY n[1]").await,
        ["{1:0,2:0}|x", "{1:1,2:0}|x"]
    );
    assert_eq!(
        db.rows("SELECT * FROM counted ORDER BY 1").await,
        ["0|1", "1|1"]
    );
    for view in ["kept", "counted"] {
        let verified = db.rows(&format!("VERIFY MATERIALIZED VIEW {view}")).await;
        assert_eq!(verified.len(), 1, "{view} is as its query: {verified:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_rescales_goes_on() {
    const HISTORY: &str = "SELECT id, relation, from_parallelism, to_parallelism, state, \
                           key_groups_done = key_groups AND key_groups > 0 FROM tide.rescales ORDER BY id";
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int); ALTER TABLE t SET PARALLELISM = 3; ALTER TABLE t SET PARALLELISM = 2")
        .await;
    let before = ["1|t|2|3|completed|t", "2|t|3|2|completed|t"];
    assert_eq!(db.rows(HISTORY).await, before);
    let figures = db.rows("SELECT * FROM tide.rescales ORDER BY id").await;
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    assert_eq!(
        db.rows("SELECT * FROM tide.rescales ORDER BY id").await,
        figures
    );
    db.run("ALTER TABLE t SET PARALLELISM = 4").await;
    assert_eq!(
        db.rows(HISTORY).await,
        [before[0], before[1], "3|t|2|4|completed|t"]
    );
    assert_eq!(db.rows("SHOW RESCALES").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_there_again() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (id serial PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED) ON CONFLICT DO NOTHING;
         COMMENT ON COLUMN t.a IS 'what counts';
         CREATE SEQUENCE s;
         CREATE VIEW of_session AS SELECT current_setting('TimeZone') AS zone, nextval('s') AS n;
         INSERT INTO t (a) VALUES (1), (2);
         ALTER TABLE t RENAME TO u",
    )
    .await;
    let code = db
        .code("CREATE MATERIALIZED VIEW m AS SELECT nextval('s') AS n FROM u")
        .await;
    assert_eq!(
        code, "0A000",
        "a view that is maintained cannot take numbers"
    );
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    db.run("INSERT INTO u (a) VALUES (3); INSERT INTO u (id, a) VALUES (1, 100)")
        .await;
    assert_eq!(db.rows("SELECT a, b FROM u").await, ["1|2", "2|4", "3|6"]);
    assert_eq!(db.value("SELECT count(DISTINCT id) FROM u").await, "3");
    assert_eq!(
        db.value("SELECT description FROM pg_description").await,
        "what counts"
    );
    assert_eq!(db.value("SELECT zone, n FROM of_session").await, "UTC|1");
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
