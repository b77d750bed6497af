//! SUBSCRIBE in cursors and COPY: every change once, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt;
use server::Config;
use tokio_postgres::NoTls;

use crate::harness::{Connection, TestServer};

/// What a reader has: rows by what follows the epoch and the weight, and the last epoch.
#[derive(Default)]
struct Replica {
    rows: BTreeMap<String, i64>,
    epoch: u64,
}

impl Replica {
    /// Takes lines such as `17|-1|x|2`.
    fn take(&mut self, lines: Vec<String>) {
        for line in lines {
            let parts: Vec<&str> = line.splitn(3, '|').collect();
            let epoch = parts[0].parse().unwrap();
            assert!(epoch >= self.epoch, "{line} after {}", self.epoch);
            self.epoch = epoch;
            *self.rows.entry(parts[2].to_owned()).or_default() += parts[1].parse::<i64>().unwrap();
        }
    }

    async fn fetch(&mut self, db: &Connection, cursor: &str) {
        let fetch = format!("FETCH ALL FROM {cursor} WITH (timeout = '300ms')");
        self.take(db.unsorted(&fetch).await);
    }

    /// Each row as often as its weight says, sorted.
    fn rows(&self) -> Vec<String> {
        let weighted = self.rows.iter();
        weighted
            .flat_map(|(row, weight)| {
                let times = usize::try_from(*weight).expect("no row is owed");
                std::iter::repeat_n(row.clone(), times)
            })
            .collect()
    }
}

const TABLES: &str = "CREATE TABLE t (a int, b text);
    INSERT INTO t VALUES (1, 'x'), (2, 'y'), (2, 'y');
    CREATE MATERIALIZED VIEW v AS SELECT b, count(*) AS n, sum(a) AS s FROM t GROUP BY b";

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_gives_rows_and_then_changes() {
    let server = TestServer::start().await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run(TABLES).await;
    reader
        .run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO t; DECLARE d CURSOR FOR SUBSCRIBE v")
        .await;
    let (mut t, mut v) = (Replica::default(), Replica::default());
    t.fetch(&reader, "c").await;
    assert_eq!(t.rows(), ["1|x", "2|y", "2|y"]);
    assert_eq!(t.rows["2|y"], 2, "equal rows come as one with weight 2");
    db.run("UPDATE t SET a = 5 WHERE b = 'x'; DELETE FROM t WHERE b = 'y'; FLUSH")
        .await;
    t.fetch(&reader, "c").await;
    v.fetch(&reader, "d").await;
    assert_eq!(t.rows(), ["5|x"]);
    assert_eq!(v.rows(), ["x|1|5"]);
    assert_eq!(
        reader.rows("FETCH ALL FROM c WITH (timeout = 0)").await,
        [""; 0]
    );
    db.run("INSERT INTO t VALUES (7, 'z')").await;
    // Without a timeout it waits for a row.
    t.take(reader.unsorted("FETCH ALL FROM c").await);
    assert_eq!(t.rows(), ["5|x", "7|z"]);
    reader.run("COMMIT").await;
    assert_eq!(reader.code("FETCH c").await, "34000");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_exact_across_rescales() {
    let server = TestServer::start().await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run(TABLES).await;
    reader
        .run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO v")
        .await;
    let mut replica = Replica::default();
    for (round, parallelism) in [4, 1, 3].into_iter().enumerate() {
        db.run("INSERT INTO t SELECT g, 'k' || g % 40 FROM generate_series(1, 400) AS g")
            .await;
        let alter = format!("ALTER MATERIALIZED VIEW v SET PARALLELISM = {parallelism}");
        let (altered, ()) =
            tokio::join!(db.client.batch_execute(&alter), replica.fetch(&reader, "c"),);
        altered.unwrap();
        db.run(&format!("DELETE FROM t WHERE a % 7 = {round}; FLUSH"))
            .await;
    }
    replica.fetch(&reader, "c").await;
    assert_eq!(replica.rows(), db.rows("SELECT * FROM v").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_behind_its_epoch() {
    let server = TestServer::start().await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run(TABLES).await;
    let mut replica = Replica::default();
    reader
        .run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO v")
        .await;
    replica.fetch(&reader, "c").await;
    reader.run("COMMIT").await;
    db.run("UPDATE t SET a = a + 1; FLUSH; INSERT INTO t VALUES (9, 'x'); FLUSH")
        .await;
    let behind = |epoch: u64| {
        format!("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO v WITH (SNAPSHOT = false) AS OF {epoch}")
    };
    reader.run(&behind(replica.epoch)).await;
    replica.fetch(&reader, "c").await;
    assert_eq!(replica.rows(), db.rows("SELECT * FROM v").await);
    reader.run("ROLLBACK").await;
    assert_eq!(reader.code(&behind(1 << 40)).await, "22023");
    reader.run("ROLLBACK").await;
    assert_eq!(reader.code(&behind(1)).await, "55000");
    reader.run("ROLLBACK").await;
    let up_to = format!("SUBSCRIBE TO v WITH (PROGRESS) UP TO {}", 1u64 << 40);
    reader
        .run(&format!("BEGIN; DECLARE c CURSOR FOR {up_to}"))
        .await;
    let progress = reader.unsorted("FETCH 4 FROM c").await;
    assert!(
        progress.iter().any(|row| row.contains("|t|NULL|NULL")),
        "{progress:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_a_view_while_it_is_read() {
    let mut server = TestServer::start().await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run(TABLES).await;
    let subscribe = "SUBSCRIBE (SELECT a * 2 AS d FROM t WHERE b = 'y')";
    reader
        .run(&format!("BEGIN; DECLARE c CURSOR FOR {subscribe}"))
        .await;
    let mut replica = Replica::default();
    replica.fetch(&reader, "c").await;
    assert_eq!(replica.rows(), ["4", "4"]);
    db.run("INSERT INTO t VALUES (10, 'y'), (11, 'x')").await;
    replica.fetch(&reader, "c").await;
    assert_eq!(replica.rows(), ["20", "4", "4"]);
    let (code, _) = db.error("DROP MATERIALIZED VIEW v; DROP TABLE t").await;
    assert_eq!(code, "2BP01");
    assert_eq!(db.value("SELECT count(*) FROM pg_matviews").await, "0");
    db.run("DROP TABLE t CASCADE").await;
    assert_eq!(
        db.notices(),
        ["drop cascades to subscription subscription_16387"]
    );
    assert_eq!(reader.code("FETCH c").await, "55000");
    reader.run("ROLLBACK; CREATE TABLE t (a int, b text)").await;
    reader
        .run(&format!("BEGIN; DECLARE c CURSOR FOR {subscribe}"))
        .await;
    // A restart leaves nothing of it.
    server.restart().await;
    let db = server.connect().await;
    assert_eq!(db.rows("SHOW JOBS").await.len(), 1);
    db.run("INSERT INTO t VALUES (1, 'y'); DROP TABLE t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_sends_changes_until_it_is_cancelled() {
    let server = TestServer::start().await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run(TABLES).await;
    let copy = "COPY (SUBSCRIBE TO v WITH (SNAPSHOT = false)) TO STDOUT (FORMAT csv)";
    let mut lines = pin!(reader.client.copy_out(copy).await.unwrap());
    db.run("INSERT INTO t VALUES (40, 'new')").await;
    let line = String::from_utf8(lines.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(line.ends_with(",1,new,1,40\n"), "{line}");
    let cancel = reader.client.cancel_token();
    cancel.cancel_query(NoTls).await.unwrap();
    let error = lines.next().await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    reader.run("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_too_far_behind_is_told() {
    let server = TestServer::with(|config: &mut Config| config.subscription_bytes_max = 1).await;
    let (db, reader) = (server.connect().await, server.connect().await);
    db.run(TABLES).await;
    reader
        .run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO t WITH (SNAPSHOT = false)")
        .await;
    db.run("INSERT INTO t VALUES (1, 'x'); FLUSH").await;
    assert_eq!(reader.code("FETCH c WITH (timeout = '10s')").await, "55000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_view_says_so() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run(TABLES).await;
    let verified = db.value("VERIFY MATERIALIZED VIEW v").await;
    assert!(
        verified.starts_with("v|") && verified.ends_with("|2|2|0|t"),
        "{verified}"
    );
    assert_eq!(db.code("VERIFY MATERIALIZED VIEW t").await, "42809");
    assert_eq!(db.code("VERIFY MATERIALIZED VIEW nothing").await, "42P01");
    db.run(
        "CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.event.num = 10);
         CREATE MATERIALIZED VIEW b AS SELECT auction FROM bid;
         CREATE MATERIALIZED VIEW bb AS SELECT count(*) FROM b",
    )
    .await;
    assert_eq!(db.code("VERIFY MATERIALIZED VIEW b").await, "0A000");
    assert!(
        db.value("VERIFY MATERIALIZED VIEW bb")
            .await
            .ends_with("|t")
    );
}
