//! Temporary relations: whose they are, and when they end.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn no_other_session_finds_them() {
    let server = TestServer::start().await;
    let (one, two) = (server.connect().await, server.connect().await);
    one.run("CREATE TEMP TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await;
    let schema = one.value("SELECT pg_my_temp_schema()::regnamespace").await;
    for name in ["t", "pg_temp.t"] {
        assert_eq!(two.code(&format!("SELECT * FROM {name}")).await, "42P01");
        assert_eq!(two.code(&format!("DELETE FROM {name}")).await, "42P01");
    }
    let qualified = format!("{schema}.t");
    assert_eq!(
        two.code(&format!("SELECT a FROM {qualified}")).await,
        "42P01"
    );
    assert_eq!(
        two.code(&format!("SELECT a FROM {qualified} WHERE a = 1"))
            .await,
        "42P01"
    );
    assert_eq!(two.code(&format!("DELETE FROM {qualified}")).await, "0A000");
    two.run("CREATE TEMP TABLE t (b text); INSERT INTO t VALUES ('x')")
        .await;
    assert_eq!(one.rows("SELECT * FROM t").await, ["1"]);
    assert_eq!(two.rows("SELECT * FROM t").await, ["x"]);
    assert_eq!(
        two.value("SELECT count(*) FROM information_schema.tables WHERE table_name = 't'")
            .await,
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn they_end_with_their_session_and_with_the_server() {
    const COUNT: &str = "SELECT count(*) FROM pg_class WHERE relname LIKE 'mine%'";
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    let other = server.connect().await;
    other
        .run("CREATE TEMP TABLE mine (a serial); INSERT INTO mine DEFAULT VALUES; CREATE VIEW mine_too AS SELECT * FROM mine")
        .await;
    assert_eq!(db.value(COUNT).await, "3", "a table, its sequence, a view");
    drop(other);
    const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pg_temp%'";
    while db.value(COUNT).await != "0" || db.value(SCHEMAS).await != "0" {}
    db.run("CREATE TEMP TABLE mine (a serial); INSERT INTO mine DEFAULT VALUES")
        .await;
    server.restart().await;
    let db = server.connect().await;
    assert_eq!(db.value(COUNT).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn having_them_is_a_right() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE ROLE ann; REVOKE TEMPORARY ON DATABASE dev FROM PUBLIC; SET SESSION AUTHORIZATION ann")
        .await;
    assert_eq!(db.code("CREATE TEMP TABLE t (a int)").await, "42501");
    db.run("RESET SESSION AUTHORIZATION; GRANT TEMPORARY ON DATABASE dev TO ann; SET SESSION AUTHORIZATION ann")
        .await;
    db.run("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)")
        .await;
    assert_eq!(db.rows("SELECT * FROM t").await, ["1"]);
}
