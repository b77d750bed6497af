//! INSERT, UPDATE, DELETE and what they check.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_its_own_writes() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b text DEFAULT 'none', c numeric(6,2))")
        .await;
    db.run("INSERT INTO t VALUES (1, 'x', 1.005), (2, DEFAULT, NULL)")
        .await;
    db.run("INSERT INTO t (c, a) VALUES ('7.5', 3)").await;
    db.run("INSERT INTO t SELECT a + 10, b, c FROM t WHERE a < 3")
        .await;
    assert_eq!(
        db.rows("SELECT * FROM t").await,
        [
            "11|x|1.01",
            "12|none|NULL",
            "1|x|1.01",
            "2|none|NULL",
            "3|none|7.50"
        ]
    );
    db.run("UPDATE t SET b = 'y', c = c * 2 WHERE a > 10").await;
    db.run("DELETE FROM t WHERE b = 'none'").await;
    assert_eq!(
        db.rows("SELECT * FROM t").await,
        ["11|y|2.02", "12|y|NULL", "1|x|1.01"]
    );
    assert_eq!(db.value("SELECT count(*) FROM t").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_must_fit_their_columns() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a smallint NOT NULL, b varchar(3), c date, d numeric(4,1), e boolean)")
        .await;
    for (values, code, message) in [
        ("(40000, NULL)", "22003", "smallint out of range"),
        (
            "('x', NULL)",
            "22P02",
            "invalid input syntax for type smallint: \"x\"",
        ),
        (
            "('40000', NULL)",
            "22003",
            "value \"40000\" is out of range for type smallint",
        ),
        (
            "(NULL, 'a')",
            "23502",
            "null value in column \"a\" of relation \"t\" violates not-null constraint",
        ),
        (
            "(1, 'abcd')",
            "22001",
            "value too long for type character varying(3)",
        ),
        (
            "(1, 'a', 'yesterday-ish')",
            "22007",
            "invalid input syntax for type date: \"yesterday-ish\"",
        ),
        (
            "(1, 'a', '2024-02-30')",
            "22008",
            "date/time field value out of range: \"2024-02-30\"",
        ),
        ("(1, 'a', NULL, 12345)", "22003", "numeric field overflow"),
        (
            "(1, 'a', NULL, NULL, 1)",
            "42804",
            "column \"e\" is of type boolean but expression is of type integer",
        ),
        (
            "(1, 'a', NULL, NULL, true, 7)",
            "42601",
            "INSERT has more expressions than target columns",
        ),
    ] {
        let got = db.error(&format!("INSERT INTO t VALUES {values}")).await;
        assert_eq!(got, (code.to_owned(), message.to_owned()), "{values}");
    }
    assert_eq!(db.code("INSERT INTO t (a, b) VALUES (1)").await, "42601");
    assert_eq!(db.code("INSERT INTO t (a, z) VALUES (1, 2)").await, "42703");
    assert_eq!(db.code("INSERT INTO t (a, a) VALUES (1, 2)").await, "42701");
    assert_eq!(db.code("INSERT INTO t SELECT 'x' || 'y'").await, "42804");
    assert_eq!(db.code("UPDATE t SET z = 1").await, "42703");
    db.run("INSERT INTO t VALUES (1, 'ab   ', '2024-01-31', 12.35, 'yes')")
        .await;
    assert_eq!(
        db.rows("SELECT * FROM t").await,
        ["1|ab |2024-01-31|12.4|t"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_keys_are_unique() {
    let mut server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))")
        .await;
    db.run("INSERT INTO t VALUES (1, 'x', 0), (2, 'x', 0)")
        .await;
    let error = db
        .client
        .batch_execute("INSERT INTO t VALUES (3, 'x', 0), (1, 'x', 9)")
        .await
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "23505");
    assert_eq!(
        error.message(),
        "duplicate key value violates unique constraint \"t_pkey\""
    );
    assert_eq!(error.detail(), Some("Key (a, b)=(1, x) already exists."));
    assert_eq!(
        db.code("INSERT INTO t VALUES (NULL, 'x', 0)").await,
        "23502"
    );
    assert_eq!(db.code("UPDATE t SET a = 1").await, "23505");
    db.run("INSERT INTO t VALUES (3, 'x', 0)").await;
    db.run("UPDATE t SET a = a + 1").await;
    db.run("DELETE FROM t WHERE a = 2").await;
    db.run("INSERT INTO t VALUES (2, 'x', 5)").await;
    assert_eq!(
        db.rows("SELECT * FROM t").await,
        ["2|x|5", "3|x|0", "4|x|0"]
    );
    drop(db);
    server.restart().await;
    let db = server.connect().await;
    assert_eq!(db.code("INSERT INTO t VALUES (4, 'x', 0)").await, "23505");
    db.run("INSERT INTO t VALUES (5, 'x', 0)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_key_are_multisets() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1), (2), (NULL)")
        .await;
    db.run("UPDATE t SET a = 3 WHERE a = 1").await;
    assert_eq!(db.rows("SELECT a FROM t").await, ["2", "3", "3", "NULL"]);
    db.run("DELETE FROM t WHERE a = 3").await;
    assert_eq!(db.rows("SELECT a FROM t").await, ["2", "NULL"]);
    db.run("DELETE FROM t").await;
    assert_eq!(db.value("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tables_are_written() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int); CREATE MATERIALIZED VIEW m AS SELECT a FROM t; CREATE VIEW v AS SELECT a FROM t").await;
    assert_eq!(
        db.error("INSERT INTO m VALUES (1)").await,
        (
            "42809".into(),
            "cannot insert into materialized view \"m\"".into()
        )
    );
    assert_eq!(db.code("UPDATE v SET a = 1").await, "42809");
    assert_eq!(db.code("DELETE FROM nothing").await, "42P01");
    assert_eq!(db.code("INSERT INTO pg_class VALUES (1)").await, "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_a_part_of_a_large_statement() {
    let server = TestServer::start().await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run("CREATE TABLE t (id int, v int)").await;
    db.run("CREATE MATERIALIZED VIEW per_v AS SELECT v, count(*) AS n FROM t GROUP BY v")
        .await;
    db.run("INSERT INTO t SELECT x, 0 FROM generate_series(1, 100000) AS g(x)")
        .await;
    assert_eq!(db.rows("SELECT v, n FROM per_v").await, ["0|100000"]);
    let update = db.run("UPDATE t SET v = v + 1");
    let read = async {
        loop {
            let rows = reader.rows("SELECT v, n FROM per_v").await;
            assert!(rows == ["0|100000"] || rows == ["1|100000"], "{rows:?}");
            let rows = reader.rows("SELECT v, count(*) FROM t GROUP BY v").await;
            assert!(rows == ["0|100000"] || rows == ["1|100000"], "{rows:?}");
        }
    };
    tokio::select! {
        () = update => {}
        () = read => unreachable!(),
    }
    assert_eq!(db.rows("SELECT v, n FROM per_v").await, ["1|100000"]);
}
