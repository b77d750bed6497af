//! Clients that break the protocol. Each connection ends by itself; others do not notice.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::TestServer;

async fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything.
    drop(socket.write_all(bytes).await);
    drop(socket.shutdown().await);
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    answer
}

fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for (name, value) in parameters {
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn good_startup() -> Vec<u8> {
    startup(&[("user", "root"), ("database", "dev")])
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn has(answer: &[u8], text: &str) -> bool {
    answer
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_their_own_connection() {
    let server = TestServer::start().await;
    let probe = server.connect().await;
    probe.run("CREATE TABLE t (a int)").await;
    let insert = b"INSERT INTO t VALUES (1)";
    let broken: Vec<Vec<u8>> = vec![
        frame(b'Q', insert),                                // no NUL
        frame(b'Q', &[insert, &b"\0tail"[..]].concat()),    // a tail
        frame(b'Q', b"INSERT INTO t VALUES (1) -- \xff\0"), // not UTF-8
        vec![b'Q', 0x7f, 0xff, 0xff, 0xff],                 // two gigabytes
        vec![b'Q', 0, 0, 0, 1],                             // shorter than its length field
        frame(b'!', b""),                                   // unknown
        frame(b'B', b"\0\0\0\0\x7f\xff"),                   // parameters that are not there
        frame(b'P', b"\0INSERT INTO t VALUES (1)\0\0\x09"), // oids that are not there
        frame(b'p', b"password\0"),                         // not asked for
    ];
    for bytes in &broken {
        let answer = send(server.address(), &[good_startup(), bytes.clone()].concat()).await;
        assert!(
            has(&answer, "08P01"),
            "{bytes:?}: {:?}",
            String::from_utf8_lossy(&answer)
        );
        probe.run("SELECT 1").await;
    }
    assert_eq!(probe.value("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cut_of_a_conversation_is_survived() {
    let server = TestServer::start().await;
    let probe = server.connect().await;
    let whole = [
        good_startup(),
        frame(b'P', b"s\0SELECT $1::int\0\0\x01\0\0\0\x17"),
        frame(b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\0"),
        frame(b'E', b"p\0\0\0\0\0"),
        frame(b'S', b""),
        frame(b'X', b""),
    ]
    .concat();
    for end in 0..=whole.len() {
        send(server.address(), &whole[..end]).await;
    }
    let answer = send(server.address(), &whole).await;
    assert!(
        has(&answer, "SELECT 1"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    probe.run("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn startups_that_are_refused() {
    let server = TestServer::start().await;
    for (bytes, code) in [
        (startup(&[("database", "dev")]), "28000"),
        (startup(&[("user", "root"), ("database", "other")]), "3D000"),
        (
            startup(&[
                ("user", "root"),
                ("database", "dev"),
                ("client_encoding", "LATIN1"),
            ]),
            "22023",
        ),
        (
            startup(&[("user", "root"), ("database", "dev"), ("no_such", "1")]),
            "42704",
        ),
        (vec![0, 0, 0, 8, 0, 2, 0, 0], "08P01"),
        (vec![0, 0, 0x4e, 0x20, 0, 3, 0, 0], "08P01"),
        (vec![0, 0, 0, 3], "08P01"),
    ] {
        let answer = send(server.address(), &bytes).await;
        assert!(
            has(&answer, code),
            "{code}: {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    let ssl = send(server.address(), &[0, 0, 0, 8, 4, 210, 22, 47]).await;
    assert_eq!(ssl, b"N");
    let smuggled = send(
        server.address(),
        &[&[0, 0, 0, 8, 4, 210, 22, 47][..], &good_startup()].concat(),
    )
    .await;
    assert!(
        !has(&smuggled, "server_version"),
        "bytes sent ahead of the answer are not taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_cancel_key_cancels_nothing() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    let mut request = vec![0, 0, 0, 16, 4, 210, 22, 46];
    request.extend(1u32.to_be_bytes());
    request.extend(0u32.to_be_bytes());
    assert!(send(server.address(), &request).await.is_empty());
    db.run("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited() {
    let server = TestServer::with(|config| config.connections_max = 2).await;
    let (first, _second) = (server.connect().await, server.connect().await);
    let answer = send(server.address(), &good_startup()).await;
    assert!(
        has(&answer, "53300"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    first.run("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_long_statements_are_refused_or_run() {
    let server = TestServer::start().await;
    let db = server.connect().await;
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(db.code(&deep).await, "54001");
    let chain = format!("SELECT 1{}", " + 1".repeat(20_000));
    assert_eq!(db.code(&chain).await, "54001");
    let list: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    assert_eq!(
        db.value(&format!("SELECT 7 IN ({})", list.join(", ")))
            .await,
        "t"
    );
    let wide = format!("SELECT {}", vec!["1"; 1665].join(", "));
    assert_eq!(db.code(&wide).await, "54011");
    let columns: Vec<String> = (0..1601).map(|n| format!("c{n} int")).collect();
    let wide = format!("CREATE TABLE wide ({})", columns.join(", "));
    assert_eq!(db.code(&wide).await, "54011");
    let name = "x".repeat(100_000);
    db.run(&format!("SET application_name = '{name}'")).await;
    assert_eq!(db.value("SHOW application_name").await, name[..63]);
    db.run("SELECT 1").await;
}
