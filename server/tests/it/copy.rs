//! COPY in both directions.

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt, pin_mut};

use crate::harness::{Connection, TestServer, described};

async fn copy_in(db: &Connection, sql: &str, data: &str) -> Result<u64, tokio_postgres::Error> {
    let sink = db.client.copy_in::<_, Bytes>(sql).await?;
    pin_mut!(sink);
    for piece in data.as_bytes().chunks(7) {
        sink.send(Bytes::copy_from_slice(piece)).await?;
    }
    sink.finish().await
}

async fn copy_out(db: &Connection, sql: &str) -> String {
    let stream = db.client.copy_out(sql).await.unwrap();
    let parts: Vec<Bytes> = stream.try_collect().await.unwrap();
    parts
        .iter()
        .map(|part| String::from_utf8(part.to_vec()).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_comes_in_and_goes_out() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int, b text, c timestamp)").await;
    let data =
        "a,b,c\n1,\"x,\"\"y\"\"\nz\",2013-01-01 05:15:00\n2,,\n3,\"\",2013-01-01T05:15:00.5\n";
    let count = copy_in(&db, "COPY t FROM STDIN WITH (FORMAT csv, HEADER)", data)
        .await
        .unwrap();
    assert_eq!(count, 3);
    assert_eq!(
        db.value("SELECT count(*) FROM t WHERE b IS NULL").await,
        "1"
    );
    let out = copy_out(
        &db,
        "COPY (SELECT * FROM t ORDER BY a) TO STDOUT WITH (FORMAT csv, HEADER)",
    )
    .await;
    assert_eq!(
        out,
        "a,b,c\n1,\"x,\"\"y\"\"\nz\",2013-01-01 05:15:00\n2,,\n3,\"\",2013-01-01 05:15:00.5\n"
    );
    let text = copy_out(&db, "COPY (SELECT * FROM t ORDER BY a) TO STDOUT").await;
    assert_eq!(
        text,
        "1\tx,\"y\"\\nz\t2013-01-01 05:15:00\n2\t\\N\t\\N\n3\t\t2013-01-01 05:15:00.5\n"
    );
    copy_in(&db, "COPY t (b, a) FROM STDIN", "four\t4\n")
        .await
        .unwrap();
    assert_eq!(
        db.rows("SELECT * FROM t WHERE a = 4").await,
        ["4|four|NULL"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_fails_the_whole_copy_and_says_where() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL)")
        .await;
    for (data, code, context) in [
        ("1,1\n2,x\n", "22P02", "COPY t, line 2, column b: \"x\""),
        ("1,1\n2\n", "22P04", "COPY t, line 2"),
        ("1,1\n2,2,2\n", "22P04", "COPY t, line 2"),
        (
            "1,1\n2,99999999999\n",
            "22003",
            "COPY t, line 2, column b: \"99999999999\"",
        ),
    ] {
        let error = copy_in(&db, "COPY t FROM STDIN CSV", data)
            .await
            .unwrap_err();
        let shown = described(&error);
        let error = error
            .as_db_error()
            .unwrap_or_else(|| panic!("{data}: {shown}"));
        assert_eq!(
            (error.code().code(), error.where_()),
            (code, Some(context)),
            "{data}: {shown}"
        );
    }
    for data in ["1,\n", "1,1\n1,2\n"] {
        assert!(
            copy_in(&db, "COPY t FROM STDIN CSV", data).await.is_err(),
            "{data}"
        );
    }
    assert_eq!(db.value("SELECT count(*) FROM t").await, "0");
    assert_eq!(
        copy_in(&db, "COPY t FROM STDIN CSV", "1,1\n2,2\n")
            .await
            .unwrap(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beyond_its_limit_writes_nothing() {
    let server = TestServer::with(|config| config.copy_bytes_max = 100_000).await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int)").await;
    let data: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    let error = copy_in(&db, "COPY t FROM STDIN", &data).await.unwrap_err();
    assert_eq!(
        error.code().map(|code| code.code()),
        Some("54000"),
        "{}",
        described(&error)
    );
    assert_eq!(db.value("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_server_are_out_of_reach() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a text)").await;
    assert_eq!(db.code("COPY t FROM '/etc/passwd'").await, "0A000");
    assert_eq!(db.code("COPY t TO '/tmp/x'").await, "0A000");
    assert_eq!(db.code("COPY t FROM PROGRAM 'id'").await, "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_goes_out_and_comes_in() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    db.run("CREATE TABLE t (a int PRIMARY KEY, b text, n numeric(10,2), ts timestamp, l int[], j jsonb)")
        .await;
    db.run("CREATE TABLE u (LIKE t)").await;
    db.run("INSERT INTO t VALUES (1, 'x', 1.5, '2024-01-01', '{1,NULL}', '{\"a\": 1}'), (2, NULL, NULL, NULL, NULL, NULL)")
        .await;
    let stream = db.client.copy_out("COPY t TO STDOUT (FORMAT binary)").await;
    let parts: Vec<Bytes> = stream.unwrap().try_collect().await.unwrap();
    let bytes = parts.concat();
    for sql in [
        "COPY u FROM STDIN (FORMAT binary)",
        "COPY u FROM STDIN BINARY",
    ] {
        db.run("DELETE FROM u").await;
        let sink = db.client.copy_in::<_, Bytes>(sql).await.unwrap();
        pin_mut!(sink);
        for piece in bytes.chunks(5) {
            sink.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 2);
        assert_eq!(
            db.rows("SELECT * FROM u").await,
            db.rows("SELECT * FROM t").await
        );
    }
    let broken = copy_in(&db, "COPY u FROM STDIN (FORMAT binary)", "1\tx\n").await;
    let broken = broken.unwrap_err();
    assert_eq!(
        broken.code().unwrap().code(),
        "22P04",
        "{}",
        described(&broken)
    );
    assert_eq!(
        db.code("COPY u TO STDOUT (FORMAT binary, HEADER)").await,
        "42601"
    );
}
