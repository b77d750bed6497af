//! Connections that are many, slow, half open, or gone.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::{check_answer, conversations, frame, has, query, send, startup};
use crate::{PATIENCE, Use, Victim};

async fn open(victim: &Victim, bytes: &[u8]) -> TcpStream {
    let address = victim.server.address();
    let mut socket = TcpStream::connect(address)
        .await
        .expect("a listening server");
    socket.write_all(bytes).await.expect("sent");
    socket
}

/// Waits until the server has said this.
async fn hear(socket: &mut TcpStream, text: &str) {
    let mut heard = Vec::new();
    let listen = async {
        while !has(&heard, text) {
            let count = socket.read_buf(&mut heard).await.expect("an answer");
            assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        }
    };
    tokio::time::timeout(PATIENCE, listen)
        .await
        .expect("an answer");
}

const READY: &str = "Z\0\0\0\x05";

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_idle_connections_are_kept_and_the_rest_refused() {
    let victim = Victim::new().await;
    let mut idle = Vec::new();
    // The probe and the client have two of the 700.
    for _ in 0..698 {
        let mut socket = open(&victim, &startup()).await;
        hear(&mut socket, READY).await;
        idle.push(socket);
    }
    let refused = send(victim.server.address(), &startup()).await;
    assert!(
        has(&refused, "53300"),
        "{}",
        String::from_utf8_lossy(&refused)
    );
    // They work.
    for socket in idle.iter_mut().step_by(97) {
        socket
            .write_all(&query("select count(*) from t"))
            .await
            .expect("sent");
        hear(socket, "2000").await;
    }
    let cases = idle.len();
    drop(idle);
    victim.check("idle", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_leave_nothing() {
    let victim = Victim::new().await;
    let rows: Vec<u8> = (0..1000)
        .flat_map(|n| format!("{}\tx\n", 10_000 + n).into_bytes())
        .collect();
    let ways: Vec<(Vec<Vec<u8>>, &str)> = vec![
        // In the middle of COPY, of a transaction, of a cursor.
        (
            vec![
                query("copy t from stdin"),
                frame(b'd', &rows),
                frame(b'd', b"9"),
            ],
            "G\0\0\0",
        ),
        (
            vec![query(
                "begin; insert into t values (9000, 'x'); delete from t",
            )],
            "DELETE",
        ),
        (
            vec![query(
                "begin; declare c cursor for select * from t; fetch 10 from c",
            )],
            "FETCH",
        ),
        (
            vec![query(
                "begin; declare c cursor for subscribe to t; fetch 1 from c",
            )],
            "FETCH",
        ),
        // Of a result that nobody reads.
        (
            vec![query("select x.a, y.b from t as x cross join t as y")],
            "T\0\0\0",
        ),
        // Of a statement that takes long.
        (
            vec![query(
                "select count(*) from t as x cross join t as y cross join t as z where x.a + y.a = z.a",
            )],
            "",
        ),
    ];
    let mut cases = 0;
    for _ in 0..5 {
        let mut gone = Vec::new();
        for (messages, heard) in &ways {
            let mut socket = open(&victim, &startup()).await;
            hear(&mut socket, READY).await;
            socket.write_all(&messages.concat()).await.expect("sent");
            hear(&mut socket, heard).await;
            gone.push(socket);
        }
        cases += gone.len();
        drop(gone);
    }
    victim.check("vanished", cases).await;
}

/// A byte at a time.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_get_their_answers() {
    let victim = Victim::new().await;
    let mut clients = Vec::new();
    for messages in conversations() {
        let mut socket = open(&victim, &[]).await;
        socket.set_nodelay(true).expect("a socket");
        clients.push(tokio::spawn(async move {
            let bytes = messages.concat();
            for byte in &bytes {
                if socket.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut answer = Vec::new();
            drop(socket.read_to_end(&mut answer).await);
            check_answer(&answer, &bytes);
        }));
    }
    let cases = clients.len();
    for client in clients {
        client.await.expect("whole messages");
    }
    victim.check("slow", cases).await;
}

/// Large messages are announced, and do not come.
#[tokio::test(flavor = "multi_thread")]
async fn declared_lengths_take_no_memory() {
    let victim = Victim::new().await;
    let mut announced = Vec::new();
    for number in 0..200u32 {
        let mut socket = open(&victim, &startup()).await;
        hear(&mut socket, READY).await;
        let kind = [b'Q', b'P', b'B'][number as usize % 3];
        let mut bytes = vec![kind];
        bytes.extend((16u32 << 20).to_be_bytes());
        bytes.extend([b' '; 1000]);
        socket.write_all(&bytes).await.expect("sent");
        announced.push(socket);
    }
    // The last ones have been read once these are answered.
    for _ in 0..10 {
        assert_eq!(victim.value("select 1").await, "1");
    }
    let grown = Use::of(victim.server.pid())
        .mapped_kib
        .saturating_sub(victim.before.mapped_kib);
    // 200 announced messages have 3,200 MiB.
    assert!(grown < 1 << 20, "{grown} KiB more are mapped");
    let cases = announced.len();
    drop(announced);
    victim.check("declared", cases).await;
}

/// Connections that never say who they are. They have a minute for it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute: make hostile"]
async fn half_open_connections_end() {
    let victim = Victim::new().await;
    let whole = startup();
    let mut silent = Vec::new();
    for number in 0..300 {
        silent.push(open(&victim, &whole[..number % whole.len()]).await);
    }
    let cases = silent.len();
    for socket in &mut silent {
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(2 * PATIENCE, socket.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "a silent connection is kept");
    }
    victim.check("half open", cases).await;
}
