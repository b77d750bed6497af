//! Who may do what: every statement, with and without the rights that it needs.

use futures::TryStreamExt;

use crate::harness::{Connection, TestServer, described};

/// What a role does to objects of another one.
const SETTING: &str = "
    CREATE TABLE t (a int PRIMARY KEY, b int);
    CREATE TABLE log (a int) APPEND ONLY;
    CREATE TABLE mine (a int);
    INSERT INTO t VALUES (1, 10), (2, 20);
    CREATE VIEW v AS SELECT a FROM t;
    CREATE MATERIALIZED VIEW m AS SELECT b, count(*) AS n FROM t GROUP BY b;
    CREATE SEQUENCE s;
    CREATE SOURCE bids WITH (connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.event.num = '0');
    CREATE SCHEMA apart;
    CREATE ROLE ann LOGIN;
    GRANT INSERT, SELECT ON mine TO ann;
";

/// Statements, and the least that each needs. What one changes, the next may find changed.
const GRANTED: &[(&str, &[&str])] = &[
    ("SELECT * FROM t", &["SELECT ON t"]),
    ("SELECT count(*) FROM t WHERE a = 1", &["SELECT ON t"]),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM t)", &["SELECT ON t"]),
    (
        "WITH x AS (SELECT * FROM t) SELECT * FROM x",
        &["SELECT ON t"],
    ),
    ("SELECT * FROM v", &["SELECT ON v"]),
    ("SELECT * FROM m", &["SELECT ON m"]),
    ("SELECT * FROM m, t", &["SELECT ON m", "SELECT ON t"]),
    ("EXPLAIN SELECT * FROM t", &["SELECT ON t"]),
    (
        "EXPLAIN CREATE MATERIALIZED VIEW x AS SELECT a FROM t",
        &["SELECT ON t"],
    ),
    ("EXPLAIN ANALYZE MATERIALIZED VIEW m", &["SELECT ON m"]),
    ("VERIFY MATERIALIZED VIEW m", &["SELECT ON m"]),
    ("COPY t TO STDOUT", &["SELECT ON t"]),
    ("COPY (SELECT * FROM m) TO STDOUT", &["SELECT ON m"]),
    ("COPY (SUBSCRIBE TO t UP TO 0) TO STDOUT", &["SELECT ON t"]),
    (
        "COPY (SUBSCRIBE (SELECT a FROM t) UP TO 0) TO STDOUT",
        &["SELECT ON t"],
    ),
    (
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; COMMIT",
        &["SELECT ON t"],
    ),
    (
        "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO m; COMMIT",
        &["SELECT ON m"],
    ),
    (
        "PREPARE p AS SELECT * FROM t; EXECUTE p; DEALLOCATE p",
        &["SELECT ON t"],
    ),
    (
        "CREATE MATERIALIZED VIEW x AS SELECT a FROM t; DROP MATERIALIZED VIEW x",
        &["SELECT ON t", "CREATE ON SCHEMA public"],
    ),
    (
        "CREATE TABLE x AS SELECT a FROM t; DROP TABLE x",
        &["SELECT ON t", "CREATE ON SCHEMA public"],
    ),
    ("INSERT INTO t VALUES (3, 30)", &["INSERT ON t"]),
    (
        "INSERT INTO t VALUES (4, 40) RETURNING a",
        &["INSERT ON t", "SELECT ON t"],
    ),
    (
        "INSERT INTO t VALUES (4, 40) ON CONFLICT DO NOTHING",
        &["INSERT ON t"],
    ),
    (
        "INSERT INTO t VALUES (4, 40) ON CONFLICT (a) DO UPDATE SET b = 41",
        &["INSERT ON t", "UPDATE ON t", "SELECT ON t"],
    ),
    ("INSERT INTO mine SELECT a FROM t", &["SELECT ON t"]),
    ("INSERT INTO log VALUES (1)", &["INSERT ON log"]),
    ("UPDATE t SET b = 0", &["UPDATE ON t"]),
    ("UPDATE t SET b = b + 1", &["UPDATE ON t", "SELECT ON t"]),
    (
        "UPDATE t SET b = 7 WHERE a = 1",
        &["UPDATE ON t", "SELECT ON t"],
    ),
    (
        "UPDATE t SET b = 7 FROM mine WHERE mine.a = t.a",
        &["UPDATE ON t", "SELECT ON t"],
    ),
    ("DELETE FROM t WHERE a = 3", &["DELETE ON t", "SELECT ON t"]),
    (
        "DELETE FROM t USING m WHERE m.b = t.a",
        &["DELETE ON t", "SELECT ON t", "SELECT ON m"],
    ),
    ("DELETE FROM t", &["DELETE ON t"]),
    ("TRUNCATE t", &["TRUNCATE ON t"]),
    ("SELECT nextval('s')", &["USAGE ON SEQUENCE s"]),
    ("SELECT currval('s')", &["SELECT ON SEQUENCE s"]),
    ("SELECT setval('s', 5)", &["UPDATE ON SEQUENCE s"]),
    (
        "CREATE TABLE x (a int); DROP TABLE x",
        &["CREATE ON SCHEMA public"],
    ),
    (
        "CREATE VIEW x AS SELECT 1 AS a; DROP VIEW x",
        &["CREATE ON SCHEMA public"],
    ),
    (
        "CREATE SEQUENCE x; DROP SEQUENCE x",
        &["CREATE ON SCHEMA public"],
    ),
    (
        "CREATE TABLE apart.x (a int); DROP TABLE apart.x",
        &["CREATE ON SCHEMA apart", "USAGE ON SCHEMA apart"],
    ),
    (
        "CREATE SCHEMA x; DROP SCHEMA x",
        &["CREATE ON DATABASE dev"],
    ),
];

/// Statements for owners alone.
const OWNED: &[&str] = &[
    "ALTER TABLE t ADD COLUMN c int",
    "ALTER TABLE t ALTER COLUMN b SET DEFAULT 5",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE t SET SCHEMA apart",
    "ALTER TABLE t OWNER TO ann",
    "ALTER TABLE t SET PARALLELISM = 3",
    "ALTER MATERIALIZED VIEW m SET PARALLELISM = 3",
    "ALTER MATERIALIZED VIEW m SET PARALLELISM = ADAPTIVE",
    "ALTER MATERIALIZED VIEW m MOVE KEY GROUP 1 TO EXECUTOR 1",
    "ALTER MATERIALIZED VIEW m REBALANCE",
    "EXPLAIN ALTER MATERIALIZED VIEW m SET PARALLELISM = 3",
    "EXPLAIN ANALYZE ALTER MATERIALIZED VIEW m SET PARALLELISM = 3",
    "CREATE INDEX ON t (b)",
    "COMMENT ON TABLE t IS 'x'",
    "COMMENT ON COLUMN t.a IS 'x'",
    "CREATE OR REPLACE VIEW v AS SELECT a FROM t",
    "DROP VIEW v",
    "DROP MATERIALIZED VIEW m",
    "DROP TABLE t CASCADE",
    "DROP SOURCE bids",
    "DROP SEQUENCE s",
    "DROP SCHEMA apart",
    "ALTER SCHEMA apart OWNER TO ann",
    "ALTER DATABASE dev OWNER TO ann",
    "REASSIGN OWNED BY root TO ann",
    "GRANT CREATE ON SCHEMA apart TO ann",
    "ALTER DEFAULT PRIVILEGES FOR ROLE root GRANT SELECT ON TABLES TO ann",
    "CREATE ROLE other",
    "ALTER ROLE ann CREATEROLE",
    "ALTER ROLE root PASSWORD 'x'",
    "DROP ROLE root",
    "GRANT root TO ann",
    "CANCEL JOBS 1",
    "SET ROLE root",
    "SET SESSION AUTHORIZATION root",
];

/// Runs statements to their end.
async fn run(db: &Connection, sql: &str) -> Result<(), tokio_postgres::Error> {
    if !sql.starts_with("COPY") {
        return db.client.simple_query(sql).await.map(drop);
    }
    let rows = std::pin::pin!(db.client.copy_out(sql).await?);
    rows.try_for_each(|_| std::future::ready(Ok(()))).await
}

/// SQLSTATE of a statement, or "" if it succeeds. An open block is ended.
async fn code(db: &Connection, sql: &str) -> String {
    let code = match run(db, sql).await {
        Ok(()) => String::new(),
        Err(error) => match error.as_db_error() {
            Some(error) => error.code().code().to_owned(),
            None => panic!("{sql}: {error}"),
        },
    };
    if !code.is_empty() {
        db.run("ROLLBACK").await;
    }
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_need_their_rights_and_no_others() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run(SETTING).await;
    let ann = server.log_in("ann", None).await.unwrap();
    let mut wrong = Vec::new();
    for (sql, rights) in GRANTED {
        // Each right alone is too little, if it needs several.
        for held in std::iter::once(None).chain((0..rights.len()).map(Some)) {
            if held.is_some() && rights.len() == 1 {
                continue;
            }
            if let Some(held) = held {
                root.run(&format!("GRANT {} TO ann", rights[held])).await;
            }
            let code = code(&ann, sql).await;
            if code != "42501" {
                wrong.push(format!("{sql} with {held:?} of {rights:?}: \"{code}\""));
            }
            if let Some(held) = held {
                root.run(&format!("REVOKE {} FROM ann", rights[held])).await;
            }
        }
        for right in *rights {
            root.run(&format!("GRANT {right} TO ann")).await;
        }
        if let Err(error) = run(&ann, sql).await {
            wrong.push(format!("{sql} with {rights:?}: {}", described(&error)));
            ann.run("ROLLBACK").await;
        }
        for right in *rights {
            root.run(&format!("REVOKE {right} FROM ann")).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_alone_change_objects() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run(SETTING).await;
    root.run("GRANT ALL ON t, v, m, s, bids TO ann").await;
    let ann = server.log_in("ann", None).await.unwrap();
    let mut wrong = Vec::new();
    for sql in OWNED {
        let code = code(&ann, sql).await;
        if code != "42501" {
            wrong.push(format!("{sql}: \"{code}\""));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let denied = ann.error("ALTER TABLE t ADD COLUMN c int").await.1;
    assert_eq!(denied, "must be owner of table t");
    let denied = ann.error("ALTER MATERIALIZED VIEW m REBALANCE").await.1;
    assert_eq!(denied, "must be owner of materialized view m");

    root.run("GRANT CREATE ON SCHEMA public TO ann; ALTER MATERIALIZED VIEW m OWNER TO ann")
        .await;
    ann.run("ALTER MATERIALIZED VIEW m SET PARALLELISM = 3; COMMENT ON MATERIALIZED VIEW m IS 'x'")
        .await;
    let by = ann.value("SELECT started_by FROM tide.rescales").await;
    assert_eq!(by, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_and_bulk_statements_check_before_they_read() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run(SETTING).await;
    let ann = server.log_in("ann", None).await.unwrap();
    assert_eq!(ann.code("COPY t FROM STDIN").await, "42501");
    // By the extended protocol, too.
    for sql in [
        "SELECT * FROM t",
        "INSERT INTO t VALUES ($1, 1)",
        "DELETE FROM t WHERE a = $1",
    ] {
        let error = ann.client.prepare(sql).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{sql}");
    }
    // What was prepared before a right was taken is refused when it runs.
    root.run("GRANT SELECT ON t TO ann").await;
    let prepared = ann.client.prepare("SELECT * FROM t").await.unwrap();
    assert_eq!(ann.client.query(&prepared, &[]).await.unwrap().len(), 2);
    root.run("REVOKE SELECT ON t FROM ann").await;
    let error = ann.client.query(&prepared, &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_others_are_left_alone() {
    let server = TestServer::start().await;
    let root = server.connect().await;
    root.run("CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN")
        .await;
    let ann = server.log_in("ann", None).await.unwrap();
    let bob = server.log_in("bob", None).await.unwrap();
    for (target, way) in [(&root, "pg_cancel_backend"), (&bob, "pg_terminate_backend")] {
        let pid = target.value("SELECT pg_backend_pid()").await;
        assert_eq!(ann.code(&format!("SELECT {way}({pid})")).await, "42501");
    }
    let seen = ann
        .rows("SELECT usename, query FROM pg_stat_activity ORDER BY 1")
        .await;
    assert_eq!(seen[1], "bob|<insufficient privilege>");
    assert!(seen[0].starts_with("ann|SELECT usename"));
    // One's own, and those of roles that one is a member of.
    root.run("GRANT bob TO ann").await;
    let pid = bob.value("SELECT pg_backend_pid()").await;
    assert_eq!(
        ann.value(&format!("SELECT pg_cancel_backend({pid})")).await,
        "t"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_rights_are_there_after_a_restart() {
    let mut server = TestServer::start().await;
    let root = server.connect().await;
    root.run(SETTING).await;
    root.run(
        "CREATE ROLE staff; GRANT staff TO ann; GRANT SELECT ON t TO staff; GRANT USAGE ON SCHEMA apart TO ann;
         GRANT TEMPORARY ON DATABASE dev TO ann; REVOKE USAGE ON SCHEMA public FROM PUBLIC;
         GRANT USAGE ON SCHEMA public TO staff;
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ann; ALTER VIEW v OWNER TO staff",
    )
    .await;
    let queries = [
        "SELECT * FROM pg_authid ORDER BY 1",
        "SELECT * FROM pg_auth_members",
        "SELECT relname, relowner, relacl FROM pg_class WHERE oid > 16000 AND oid < 20000 ORDER BY 1",
        "SELECT nspname, nspowner, nspacl FROM pg_namespace ORDER BY 1",
        "SELECT datacl FROM pg_database",
        "SELECT * FROM pg_default_acl",
    ];
    let mut before = Vec::new();
    for sql in queries {
        before.push(root.rows(sql).await);
    }
    drop(root);
    server.restart().await;
    let root = server.connect().await;
    for (sql, before) in queries.into_iter().zip(before) {
        assert_eq!(root.rows(sql).await, before, "{sql}");
    }
    let ann = server.log_in("ann", None).await.unwrap();
    assert_eq!(ann.rows("SELECT a FROM t").await, ["1", "2"]);
    assert_eq!(ann.code("INSERT INTO t VALUES (5, 5)").await, "42501");
    // The next role gets an oid of its own.
    root.run("CREATE ROLE more").await;
    let twice = "SELECT oid FROM pg_authid GROUP BY oid HAVING count(*) > 1";
    assert!(root.rows(twice).await.is_empty());
}
