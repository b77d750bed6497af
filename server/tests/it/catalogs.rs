//! System catalogs: what psql and drivers ask.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn relations_are_described() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY, b varchar(5) NOT NULL DEFAULT 'x')")
        .await;
    db.run("CREATE VIEW v AS SELECT a FROM t; CREATE MATERIALIZED VIEW m AS SELECT b FROM t")
        .await;
    assert_eq!(
        db.rows("SELECT relname, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'public'").await,
        ["m|m", "t_pkey|i", "t|r", "v|v"]
    );
    assert_eq!(
        db.rows(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute \
             WHERE attrelid = 't'::regclass AND attnum > 0"
        )
        .await,
        ["a|integer|t", "b|character varying(5)|t"]
    );
    assert_eq!(
        db.rows("SELECT pg_get_indexdef(indexrelid), indisprimary FROM pg_index")
            .await,
        ["CREATE UNIQUE INDEX t_pkey ON public.t USING btree (a)|t"]
    );
    assert_eq!(
        db.value("SELECT pg_get_viewdef('v'::regclass)").await,
        " SELECT a FROM t;"
    );
    assert_eq!(db.rows("SELECT matviewname FROM pg_matviews").await, ["m"]);
    assert_eq!(
        db.rows("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public'").await,
        ["t|BASE TABLE", "v|VIEW"]
    );
    assert_eq!(
        db.rows("SELECT column_name, data_type, character_maximum_length, is_nullable FROM information_schema.columns WHERE table_name = 't'").await,
        ["a|integer|NULL|NO", "b|character varying|5|NO"]
    );
    assert_eq!(
        db.rows("DESCRIBE t").await,
        [
            "a|integer|not null|NULL|primary key",
            "b|character varying(5)|not null|'x'|NULL"
        ]
    );
    assert_eq!(db.code("SELECT 'nothing'::regclass").await, "42P01");
    assert_eq!(
        db.rows("SELECT nspname, count(*) > 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE pg_table_is_visible(c.oid) GROUP BY nspname").await,
        ["pg_catalog|t", "public|t"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn session_functions() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    for (sql, value) in [
        ("SELECT current_database()", "dev"),
        ("SELECT current_user", "root"),
        ("SELECT current_schema()", "public"),
        (
            "SELECT pg_catalog.current_setting('server_version')",
            "15.0",
        ),
        ("SHOW server_version_num", "150000"),
        ("SELECT pg_typeof(1.5)", "numeric"),
        ("SELECT pg_size_pretty(20971520)", "20 MB"),
        ("SELECT quote_ident('A b')", "\"A b\""),
        ("SHOW transaction isolation level", "read committed"),
        ("SELECT count(*) FROM pg_stat_activity", "1"),
    ] {
        assert_eq!(db.value(sql).await, value, "{sql}");
    }
    assert!(
        db.value("SELECT version()")
            .await
            .starts_with("PostgreSQL 15.0 (Tidewater")
    );
    assert_eq!(
        db.value("SELECT set_config('timezone', 'Asia/Tokyo', false)")
            .await,
        "Asia/Tokyo"
    );
    assert_eq!(db.value("SHOW timezone").await, "Asia/Tokyo");
}
