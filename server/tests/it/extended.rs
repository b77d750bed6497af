//! Prepared statements, parameters, portals.

use futures::{TryStreamExt, pin_mut};
use tokio_postgres::types::Type;

use crate::harness::{TestServer, described};

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_the_types_of_their_columns() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b text, c bigint, d double precision, e date)")
        .await;
    let insert = db
        .client
        .prepare("INSERT INTO t VALUES ($1, $2, $3, $4, $5)")
        .await
        .unwrap();
    assert_eq!(
        insert.params(),
        [Type::INT4, Type::TEXT, Type::INT8, Type::FLOAT8, Type::DATE]
    );
    let none: Option<String> = None;
    for a in 1..=3i32 {
        let day = chrono::NaiveDate::from_ymd_opt(2024, 1, a as u32).unwrap();
        let count = db
            .client
            .execute(&insert, &[&a, &none, &i64::from(a * 10), &0.5f64, &day])
            .await
            .unwrap();
        assert_eq!(count, 1);
    }
    let select = db
        .client
        .prepare("SELECT a, b, c, d, e FROM t WHERE a >= $1 AND c < $2 ORDER BY a")
        .await
        .unwrap();
    assert_eq!(
        select
            .columns()
            .iter()
            .map(|c| c.type_().clone())
            .collect::<Vec<_>>(),
        [Type::INT4, Type::TEXT, Type::INT8, Type::FLOAT8, Type::DATE]
    );
    let rows = db.client.query(&select, &[&2i32, &1000i64]).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].get::<_, i32>(0), 2);
    assert_eq!(rows[0].get::<_, Option<String>>(1), None);
    assert_eq!(
        rows[1].get::<_, chrono::NaiveDate>(4),
        chrono::NaiveDate::from_ymd_opt(2024, 1, 3).unwrap()
    );
    let updated = db
        .client
        .execute("UPDATE t SET b = $1 WHERE a = $2", &[&"new", &1i32])
        .await
        .unwrap();
    assert_eq!(updated, 1);
    assert_eq!(
        db.client
            .execute("DELETE FROM t WHERE b IS NULL", &[])
            .await
            .unwrap(),
        2
    );
    assert_eq!(db.rows("SELECT a, b FROM t").await, ["1|new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_do_not_end_the_session() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    for (sql, code) in [
        ("SELECT * FROM nothing", "42P01"),
        ("SELECT 1; SELECT 2", "42601"),
        ("SELEC", "42601"),
    ] {
        let error = db
            .client
            .prepare(sql)
            .await
            .err()
            .unwrap_or_else(|| panic!("{sql}"));
        assert_eq!(
            error.code().map(|c| c.code()),
            Some(code),
            "{sql}: {}",
            described(&error)
        );
    }
    assert_eq!(
        db.client
            .query_one("SELECT 1 + $1::int", &[&2i32])
            .await
            .unwrap()
            .get::<_, i32>(0),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_give_rows_in_pieces() {
    let server = TestServer::start().await;
    let mut db = server.connect().await;
    let transaction = db.client.transaction().await.unwrap();
    let portal = transaction
        .bind(
            "SELECT x FROM generate_series(1, 10) AS g(x) ORDER BY x",
            &[],
        )
        .await
        .unwrap();
    let mut seen = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 4).await.unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(rows.len() <= 4);
        seen.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
    }
    assert_eq!(seen, (1..=10).collect::<Vec<i64>>());
    transaction.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_stream() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    let rows = db
        .client
        .query_raw(
            "SELECT x FROM generate_series(1, 200000) AS g(x)",
            Vec::<i32>::new(),
        )
        .await
        .unwrap();
    pin_mut!(rows);
    let mut count = 0i64;
    while let Some(row) = rows.try_next().await.unwrap() {
        count += i64::from(row.get::<_, i64>(0) > 0);
    }
    assert_eq!(count, 200_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_query_is_answered() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("").await;
    db.run(" ; -- nothing\n").await;
    assert_eq!(db.client.execute("", &[]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_can_be_cancelled() {
    let server = TestServer::start().await;
    let (db, other) = (server.connect().await, server.connect().await);
    let token = db.client.cancel_token();
    let process_id = db.value("SELECT pg_backend_pid()").await;
    let running = db.error(
        "SELECT count(*) FROM generate_series(1, 10000000) AS a(x), generate_series(1, 10000000) AS b(y)",
    );
    // One request, once the statement runs: an earlier one is for nobody, and a second one could
    // reach the next statement.
    let runs = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE pid = {process_id} AND state = 'active' AND query LIKE '%generate_series%'"
    );
    let cancel = async {
        while other.value(&runs).await == "0" {}
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let ((code, message), ()) = tokio::join!(running, cancel);
    assert_eq!(code, "57014", "{message}");
    db.run("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_return_rows() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY, b text, n bigint)")
        .await;
    let upsert = db
        .client
        .prepare(
            "INSERT INTO t AS old VALUES ($1, $2, $3)
             ON CONFLICT (a) DO UPDATE SET b = $2, n = old.n + excluded.n WHERE old.n < $4 RETURNING n, b",
        )
        .await
        .unwrap();
    assert_eq!(
        upsert.params(),
        [Type::INT4, Type::TEXT, Type::INT8, Type::INT8]
    );
    assert_eq!(upsert.columns()[0].type_(), &Type::INT8);
    for (name, n) in [("x", 1i64), ("y", 11)] {
        let row = db
            .client
            .query_one(&upsert, &[&7i32, &name, &n.min(10), &5i64])
            .await
            .unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (n, name));
    }
    assert!(
        db.client
            .query(&upsert, &[&7i32, &"z", &1i64, &5i64])
            .await
            .unwrap()
            .is_empty()
    );
    let deleted = db
        .client
        .query_one(
            "DELETE FROM t WHERE a = $1 RETURNING a + $2",
            &[&7i32, &1i32],
        )
        .await
        .unwrap();
    assert_eq!(deleted.get::<_, i32>(0), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_and_portals_are_the_same() {
    let server = TestServer::start().await;
    let mut db = server.connect().await;
    let block = db.client.transaction().await.unwrap();
    let count = block
        .execute(
            "DECLARE c CURSOR FOR SELECT g::int FROM generate_series(1, 9) AS g WHERE g <= $1",
            &[&5i64],
        )
        .await
        .unwrap();
    assert_eq!(count, 0);
    let rows = block.query("FETCH 2 FROM c", &[]).await.unwrap();
    let values: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(values, [1, 2]);
    assert_eq!(block.execute("MOVE 1 FROM c", &[]).await.unwrap(), 1);
    let statement = block.prepare("SELECT 10 + $1::int").await.unwrap();
    let portal = block.bind(&statement, &[&1i32]).await.unwrap();
    let rows = block.query_portal(&portal, 1).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 11);
    let rows = block.query("FETCH ALL FROM c", &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
    block.execute("CLOSE c", &[]).await.unwrap();
    let error = block.query("FETCH c", &[]).await.unwrap_err();
    assert!(described(&error).starts_with("34000"), "{error}");
}
