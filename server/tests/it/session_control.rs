//! What ends, limits and shows sessions: timeouts, cancelling, read-only transactions, activity.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_block_reads_one_epoch_and_writes_nothing() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    db.run("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); FLUSH")
        .await;
    db.run("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t")
        .await;
    for begin in [
        "BEGIN READ ONLY",
        "BEGIN; SET TRANSACTION READ ONLY",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    ] {
        db.run(begin).await;
        let before = db.value("SELECT count(*) FROM t").await;
        let key: i64 = before.parse().unwrap();
        other
            .run(&format!("INSERT INTO t VALUES ({}); FLUSH", key + 1))
            .await;
        assert_eq!(db.value("SELECT count(*) FROM t").await, before, "{begin}");
        assert_eq!(db.value("SELECT n FROM m").await, before, "{begin}");
        db.run("COMMIT").await;
        assert_ne!(db.value("SELECT n FROM m").await, before, "{begin}");
    }
    db.run("BEGIN READ ONLY").await;
    assert_eq!(
        db.error("INSERT INTO t VALUES (100)").await,
        (
            "25006".to_owned(),
            "cannot execute INSERT in a read-only transaction".to_owned()
        )
    );
    db.run("ROLLBACK; BEGIN READ ONLY").await;
    assert_eq!(db.code("CREATE TABLE u (a int)").await, "25006");
    db.run("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await;
    assert_eq!(db.code("DELETE FROM t").await, "0A000");
    db.run("ROLLBACK").await;
    db.run("INSERT INTO t VALUES (100)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_settings() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int)").await;
    db.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(
        db.value("SHOW transaction_isolation").await,
        "repeatable read"
    );
    db.run("COMMIT").await;
    assert_eq!(
        db.value("SHOW transaction_isolation").await,
        "read committed"
    );
    db.run("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        .await;
    assert_eq!(db.value("SHOW transaction_read_only").await, "on");
    assert_eq!(db.code("INSERT INTO t VALUES (1)").await, "25006");
    db.run("BEGIN READ WRITE; INSERT INTO t VALUES (1); COMMIT")
        .await;
    db.run("SET default_transaction_read_only = off").await;
    db.run("INSERT INTO t VALUES (2)").await;
    db.run("BEGIN; INSERT INTO t VALUES (3)").await;
    assert_eq!(
        db.code("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            .await,
        "25001"
    );
    db.run("ROLLBACK").await;
    db.run("SET TRANSACTION READ ONLY").await;
    assert_eq!(
        db.notices(),
        ["SET TRANSACTION can only be used in transaction blocks"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_ends_by_timeout_and_by_cancel() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    assert_eq!(db.value("SELECT pg_sleep(0)").await, "");
    db.run("SET statement_timeout = 20").await;
    assert_eq!(db.code("SELECT pg_sleep(1000)").await, "57014");
    db.run("RESET statement_timeout").await;
    let process_id = db.value("SELECT pg_backend_pid()").await;
    let sleeping = tokio::spawn(async move { db.code("SELECT pg_sleep(1000)").await });
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {process_id} AND state = 'active' AND query LIKE '%pg_sleep%'"
    );
    while other.value(&asleep).await == "0" {}
    assert_eq!(
        other
            .value(&format!("SELECT pg_cancel_backend({process_id})"))
            .await,
        "t"
    );
    assert_eq!(sleeping.await.unwrap(), "57014");
    assert_eq!(other.value("SELECT pg_cancel_backend(1000000)").await, "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shown_and_ended() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    db.run(
        "SET application_name = 'shown'; CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1)",
    )
    .await;
    let shown = "SELECT state, query, xact_start IS NOT NULL, usename, client_addr FROM pg_stat_activity WHERE application_name = 'shown'";
    while other.rows(shown).await
        != ["idle in transaction|INSERT INTO t VALUES (1)|t|root|127.0.0.1"]
    {}
    let process_id = db.value("SELECT pg_backend_pid()").await;
    assert_eq!(
        other
            .value(&format!("SELECT pg_terminate_backend({process_id})"))
            .await,
        "t"
    );
    while other.rows(shown).await != Vec::<String>::new() {}
    assert!(db.client.simple_query("SELECT 1").await.is_err());
    assert_eq!(other.value("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_are_left() {
    let server = TestServer::start().await;
    for setting in [
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
    ] {
        let (db, other) = (server.connect().await, server.connect().await);
        let block = if setting == "idle_session_timeout" {
            ""
        } else {
            "; BEGIN"
        };
        db.run(&format!("SET {setting} = 10{block}")).await;
        while other.value("SELECT count(*) FROM pg_stat_activity").await != "1" {}
        assert!(
            db.client.simple_query("SELECT 1").await.is_err(),
            "{setting}"
        );
        drop(other);
        let last = server.connect().await;
        while last.value("SELECT count(*) FROM pg_stat_activity").await != "1" {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_point_into_the_statement() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b int)").await;
    for (sql, position) in [
        ("SELECT nothing FROM t", Some(8)),
        ("SELECT * FROM nothing", Some(15)),
        ("SELECT t.nothing FROM t", Some(8)),
        ("SELECT nothing(a) FROM t", Some(8)),
        ("SELECT a, count(*) FROM t", Some(8)),
        ("SELECT 1 +;", Some(11)),
        ("SELECT 1 / 0", None),
    ] {
        let error = db.client.simple_query(sql).await.unwrap_err();
        let found = match error.as_db_error().unwrap().position() {
            Some(tokio_postgres::error::ErrorPosition::Original(at)) => Some(*at),
            _ => None,
        };
        assert_eq!(found, position, "{sql}");
    }
}
