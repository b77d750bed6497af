//! Databases: what is in one is not in another.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn each_has_its_own_relations_schemas_and_functions() {
    let mut server = TestServer::start().await;
    let dev = server.connect().await;
    dev.run("CREATE DATABASE shop; CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await;
    let shop = server.connect_to("shop").await;
    assert_eq!(
        shop.value("SELECT current_database() || current_catalog")
            .await,
        "shopshop"
    );
    assert_eq!(shop.code("SELECT * FROM t").await, "42P01");
    shop.run(
        "CREATE TABLE t (b text PRIMARY KEY, n serial); INSERT INTO t VALUES ('x');
         CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM shop.public.t;
         CREATE SCHEMA s; CREATE TABLE s.u (c int);
         CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'",
    )
    .await;
    for (sql, code) in [
        ("SELECT * FROM dev.public.t", "0A000"),
        ("INSERT INTO dev.public.t VALUES (2)", "0A000"),
        ("CREATE TABLE dev.public.u (a int)", "0A000"),
    ] {
        assert_eq!(shop.code(sql).await, code, "{sql}");
    }
    for (sql, code) in [
        ("SELECT * FROM m", "42P01"),
        ("SELECT * FROM s.u", "3F000"),
        ("CREATE TABLE s.v (a int)", "3F000"),
        ("SELECT twice(1)", "42883"),
    ] {
        assert_eq!(dev.code(sql).await, code, "{sql}");
    }
    const RELATIONS: &str = "SELECT table_catalog, table_name FROM information_schema.tables WHERE table_schema = 'public'";
    const JOBS: &str = "SELECT DISTINCT relation FROM tide.executors ORDER BY 1";
    for _ in 0..2 {
        let dev = server.connect().await;
        let shop = server.connect_to("shop").await;
        assert_eq!(dev.rows("SELECT * FROM t").await, ["1"]);
        assert_eq!(shop.rows("SELECT * FROM t").await, ["x|1"]);
        assert_eq!(shop.rows("SELECT * FROM m").await, ["1"]);
        assert_eq!(dev.rows(RELATIONS).await, ["dev|t"]);
        assert_eq!(shop.rows(RELATIONS).await, ["shop|t"]);
        assert_eq!(dev.rows(JOBS).await, ["t"]);
        assert_eq!(shop.rows(JOBS).await, ["m", "t", "u"]);
        assert_eq!(dev.rows("SHOW JOBS").await.len(), 1);
        assert_eq!(dev.rows("SHOW DATABASES").await, ["dev", "shop"]);
        assert_eq!(shop.value("SELECT twice(2)").await, "4");
        server.restart().await;
    }
    let shop = server.connect_to("shop").await;
    shop.run("INSERT INTO t VALUES ('y')").await;
    assert_eq!(shop.rows("SELECT * FROM m").await, ["2"]);
    let verified = shop.value("VERIFY MATERIALIZED VIEW m").await;
    assert!(verified.ends_with("|t"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_dropped_with_all_that_is_in_it() {
    let mut server = TestServer::start().await;
    let dev = server.connect().await;
    dev.run("CREATE DATABASE shop").await;
    let shop = server.connect_to("shop").await;
    shop.run("CREATE TABLE t (a serial); CREATE VIEW v AS SELECT * FROM t; CREATE SCHEMA s")
        .await;
    let (code, message) = dev.error("DROP DATABASE shop").await;
    assert_eq!(code, "55006");
    assert_eq!(
        message,
        "database \"shop\" is being accessed by other users"
    );
    assert_eq!(shop.code("DROP DATABASE shop").await, "55006");
    assert_eq!(dev.code("DROP DATABASE dev").await, "55006");
    assert_eq!(shop.code("DROP DATABASE dev").await, "0A000");
    assert_eq!(dev.code("ALTER DATABASE shop RENAME TO x").await, "55006");
    assert_eq!(shop.rows("SELECT * FROM v").await.len(), 0);
    dev.run("DROP DATABASE shop WITH (FORCE)").await;
    assert_eq!(dev.code("DROP DATABASE shop").await, "3D000");
    dev.run("DROP DATABASE IF EXISTS shop").await;
    assert_eq!(dev.rows("SHOW JOBS").await.len(), 0);
    dev.run("CREATE DATABASE shop; ALTER DATABASE shop RENAME TO mall; CREATE DATABASE shop")
        .await;
    drop(dev);
    server.restart().await;
    let dev = server.connect().await;
    assert_eq!(dev.rows("SHOW DATABASES").await, ["dev", "mall", "shop"]);
    let shop = server.connect_to("shop").await;
    assert_eq!(shop.code("SELECT * FROM t").await, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_on_databases() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN CREATEDB; SET SESSION AUTHORIZATION ann")
        .await;
    assert_eq!(db.code("CREATE DATABASE d").await, "42501");
    db.run("SET SESSION AUTHORIZATION bob; CREATE DATABASE d; REVOKE CONNECT ON DATABASE d FROM PUBLIC; SET SESSION AUTHORIZATION ann")
        .await;
    assert_eq!(db.code("DROP DATABASE d").await, "42501");
    db.run("RESET SESSION AUTHORIZATION").await;
    assert_eq!(
        db.value("SELECT has_database_privilege('ann', 'd', 'CONNECT')")
            .await,
        "f"
    );
    assert_eq!(
        db.value("SELECT has_database_privilege('ann', 'dev', 'CONNECT')")
            .await,
        "t"
    );
    let refused = server.log_in_to("ann", "d").await.err().unwrap();
    assert_eq!(refused.code().unwrap().code(), "42501");
    let unknown = server.log_in_to("ann", "nothing").await.err().unwrap();
    assert_eq!(unknown.code().unwrap().code(), "3D000");
    // What its owner makes in it is kept from others, and keeps the role.
    let bob = server.log_in_to("bob", "d").await.unwrap();
    bob.run("CREATE TABLE mine (a int)").await;
    let (code, _) = db.error("DROP ROLE bob").await;
    assert_eq!(code, "2BP01");
    db.run("ALTER DATABASE d OWNER TO ann").await;
    let (_, message) = db.error("DROP ROLE bob").await;
    assert!(message.contains("bob"), "{message}");
    assert_eq!(db.code("CREATE DATABASE d").await, "42P04");
    assert_eq!(
        db.code("BEGIN; CREATE DATABASE e").await,
        "25001",
        "not in a block"
    );
}
