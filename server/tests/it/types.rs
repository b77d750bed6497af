//! Values as PostgreSQL prints them, and the same by text and binary.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_stored_and_printed() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(
        "CREATE TABLE t (a boolean, b int2, c int4, d int8, e float4, f float8, g numeric(10,3), h varchar(10), \
         i text, j date, k time, l timestamp, m timestamptz, n interval, o bytea, p numeric)",
    )
    .await;
    db.run(
        "INSERT INTO t VALUES (true, -1, 2, 3000000000, 1.5, 1e20, 12.5, 'abc', 'é', '2024-02-29', '04:05:06.7', \
         '2024-02-29 23:59:59.999999', '2024-02-29 12:00:00+02', '1 year 2 days 03:04:05', '\\x00ff', 1.25)",
    )
    .await;
    assert_eq!(
        db.value("SELECT * FROM t").await,
        "t|-1|2|3000000000|1.5|1e+20|12.500|abc|é|2024-02-29|04:05:06.7|2024-02-29 23:59:59.999999|\
         2024-02-29 10:00:00+00|1 year 2 days 03:04:05|\\x00ff|1.25"
    );
    db.run("SET timezone = 'America/New_York'").await;
    assert_eq!(db.value("SELECT m FROM t").await, "2024-02-29 05:00:00-05");
    let row = db
        .client
        .query_one("SELECT a, b, c, d, e, f, i, o FROM t", &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, i16>(1), -1);
    assert_eq!(row.get::<_, i64>(3), 3_000_000_000);
    assert_eq!(row.get::<_, f32>(4), 1.5);
    assert_eq!(row.get::<_, f64>(5), 1e20);
    assert_eq!(row.get::<_, &str>(6), "é");
    assert_eq!(row.get::<_, &[u8]>(7), [0, 255]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_print_as_in_postgres() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    for (sql, printed) in [
        ("SELECT 1", "1"),
        ("SELECT 1.50", "1.50"),
        ("SELECT 0.1::float8 + 0.2::float8", "0.30000000000000004"),
        ("SELECT NULL", "NULL"),
        ("SELECT 'a' || 'b'", "ab"),
        ("SELECT true AND NULL", "NULL"),
        ("SELECT ARRAY[1, 2, 3]", "{1,2,3}"),
        ("SELECT '2024-01-01'::date", "2024-01-01"),
        ("SELECT 'infinity'::float8", "Infinity"),
        ("SELECT count(*) FROM generate_series(1, 10)", "10"),
    ] {
        assert_eq!(db.value(sql).await, printed, "{sql}");
    }
}
