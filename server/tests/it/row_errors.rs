//! Rows on which an expression of a view fails.

use crate::harness::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_fails_is_null_and_told_of() {
    const TOLD: &str =
        "SELECT relation, code, error, failures, example, first_at <= last_at FROM tide.row_errors";
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b int)").await;
    db.run("CREATE MATERIALIZED VIEW quotients AS SELECT a, a / b AS q FROM t")
        .await;
    assert!(db.rows(TOLD).await.is_empty());
    db.run("INSERT INTO t VALUES (4, 2), (1, 0), (9, 3)").await;
    let quotients = "SELECT a, coalesce(q::text, 'none') FROM quotients ORDER BY a";
    assert_eq!(db.rows(quotients).await, ["1|none", "4|2", "9|3"]);
    let told = db.rows(TOLD).await;
    assert_eq!(told, ["quotients|22012|division by zero|1|a = 1, b = 0|t"]);
    // Its retraction fails the same way, cancels, and counts.
    db.run("DELETE FROM t WHERE a = 1").await;
    assert_eq!(db.rows(quotients).await, ["4|2", "9|3"]);
    let told = db.rows("SELECT failures FROM tide.row_errors").await;
    assert_eq!(told, ["2"]);
}
