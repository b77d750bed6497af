//! Messages as bytes, and a socket that sends them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client that has sent everything does not wait longer for the server to close.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) fn startup() -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    body.extend(b"user\0root\0database\0dev\0\0");
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// Conversations of all kinds. None of them changes what `t` holds in the end.
pub(crate) fn conversations() -> Vec<Vec<Vec<u8>>> {
    let extended = vec![
        startup(),
        frame(
            b'P',
            b"s\0SELECT $1::int, b FROM t WHERE a < $1 LIMIT 2\0\0\x01\0\0\0\x17",
        ),
        frame(b'D', b"Ss\0"),
        frame(b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\0"),
        frame(b'D', b"Pp\0"),
        frame(b'E', b"p\0\0\0\0\x01"),
        frame(b'H', b""),
        frame(b'E', b"p\0\0\0\0\0"),
        frame(b'C', b"Pp\0"),
        frame(b'C', b"Ss\0"),
        frame(b'S', b""),
        frame(b'X', b""),
    ];
    let copy = vec![
        startup(),
        query("BEGIN; COPY t FROM STDIN"),
        frame(b'd', b"5000\tx\n5001\t\\N\n"),
        frame(b'd', b"50"),
        frame(b'd', b"02\ty\n"),
        frame(b'c', b""),
        query("ROLLBACK"),
        frame(b'X', b""),
    ];
    let failed_copy = vec![
        startup(),
        query("COPY t FROM STDIN WITH (FORMAT csv)"),
        frame(b'd', b"5000,\"x"),
        frame(b'f', b"never mind\0"),
        query("COPY t TO STDOUT"),
        frame(b'X', b""),
    ];
    let cursor = vec![
        startup(),
        query("BEGIN; DECLARE c CURSOR FOR SELECT * FROM t ORDER BY a"),
        query("FETCH 3 FROM c; INSERT INTO t VALUES (6000, 'x'); UPDATE t SET b = 'y' WHERE a = 1"),
        query("SELECT 1/0"),
        query("ROLLBACK; SELECT now() IS NULL"),
        frame(b'X', b""),
    ];
    let before_startup = vec![
        vec![0, 0, 0, 8, 4, 210, 22, 47],
        startup(),
        query("SELECT g, n FROM v"),
        frame(b'X', b""),
    ];
    let cancel = vec![vec![0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 1]];
    vec![extended, copy, failed_copy, cursor, before_startup, cancel]
}

/// Sends bytes, says that no more come, and reads what the server answers until it closes.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address)
        .await
        .expect("a listening server");
    let (mut reader, mut writer) = socket.split();
    let mut answer = Vec::new();
    let read = reader.read_to_end(&mut answer);
    let write = async {
        // The server may close before it has read everything.
        drop(writer.write_all(bytes).await);
        drop(writer.shutdown().await);
    };
    let both = async { tokio::join!(read, write) };
    let ended = tokio::time::timeout(ANSWER_WAIT_MAX, both).await;
    drop(ended.expect("the server closes a connection whose client has gone"));
    answer
}

/// That what the server says is whole messages, whatever it was sent.
pub(crate) fn check_answer(answer: &[u8], sent: &[u8]) {
    // The answer to a request for TLS is a letter.
    let mut rest = match answer {
        [b'N', rest @ ..] if rest.is_empty() || rest[0] == b'R' || rest[0] == b'E' => rest,
        whole => whole,
    };
    while !rest.is_empty() {
        let length = rest.get(1..5).and_then(|length| length.try_into().ok());
        let length = length.map_or(0, u32::from_be_bytes) as usize;
        assert!(
            length >= 4 && rest.len() > length && b"RSKZTDCEINn12st3GHcdVvA".contains(&rest[0]),
            "to {sent:?} the server answers {:?}",
            String::from_utf8_lossy(answer)
        );
        rest = &rest[1 + length..];
    }
}

/// Whether an answer contains a text, which may be empty.
pub(crate) fn has(answer: &[u8], text: &str) -> bool {
    let mut windows = answer.windows(text.len().max(1));
    text.is_empty() || windows.any(|window| window == text.as_bytes())
}
