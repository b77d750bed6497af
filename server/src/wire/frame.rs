//! Reads one client message at a time, bounded and strict.
//!
//! ```text
//!   start-up   | length i32 | code i32 | body …|          at most 10 KB
//!   afterwards | type u8 | length i32 | body …|           limit by type and state
//! ```
//!
//! Rules: a declared length allocates nothing, bytes are buffered as they come; a message is
//! decoded from exactly its own bytes, every byte of it must be used, strings end with NUL and
//! are UTF-8. Whatever breaks a rule is [`FrameError::Violation`]; the session answers 08P01 and
//! closes, and nothing of that message is executed.
//!
//! Why not pgwire's decoders: several kinds of short messages panic there, a message's tail is
//! decoded as the next one, and up to 1 GiB is buffered before authentication.

use bytes::{Buf, Bytes, BytesMut};
use storage::canary;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest start-up packet, in bytes, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// Longest message whose body is only a name or nothing, in bytes.
const SMALL_BYTES_MAX: usize = 10_000;

/// Longest piece of COPY data, in bytes.
const COPY_DATA_BYTES_MAX: usize = 64 << 20;

/// Most parameters one statement may have: the count is a signed 16 bit number on the wire.
const PARAMETERS_MAX: usize = 65_535;

const CODE_CANCEL: u32 = 80_877_102;
const CODE_SSL: u32 = 80_877_103;
const CODE_GSS: u32 = 80_877_104;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The client closed the connection, between messages or inside one.
    #[error("connection closed by the client")]
    Closed,
    /// The socket failed.
    #[error("could not read from the client")]
    Io(#[source] std::io::Error),
    /// The bytes are not a message that is allowed here.
    #[error("{0}")]
    Violation(String),
}

type Result<T> = std::result::Result<T, FrameError>;

/// What a client may send before it is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    GssEncryption,
    /// Asks to cancel what another connection runs.
    Cancel {
        /// The other connection's process id.
        process_id: u32,
        /// The key that was given to it.
        secret: u32,
    },
    /// Opens a session.
    Parameters {
        /// Minor protocol version that the client asks for.
        minor: u16,
        /// Names and values, in the order sent.
        parameters: Vec<(String, String)>,
    },
}

/// Encoding of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As psql shows it.
    Text,
    /// Big-endian, by type.
    Binary,
}

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal: a statement with its parameters.
    Portal,
}

/// A message of a connected client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Simple protocol: run these statements.
    Query(String),
    /// Prepares a statement.
    Parse {
        /// Statement name, empty for the unnamed one.
        name: String,
        /// Its text.
        sql: String,
        /// Type oids of its parameters, 0 for "find out".
        parameter_oids: Vec<u32>,
    },
    /// Makes a portal of a prepared statement.
    Bind {
        /// Portal name, empty for the unnamed one.
        portal: String,
        /// Statement name.
        statement: String,
        /// None, one for all, or one a parameter.
        parameter_formats: Vec<Format>,
        /// The values; `None` is NULL.
        parameters: Vec<Option<Bytes>>,
        /// None, one for all, or one a result column.
        result_formats: Vec<Format>,
    },
    /// Asks for parameter types and columns.
    Describe(Target, String),
    /// Runs a portal.
    Execute {
        /// Portal name.
        portal: String,
        /// Most rows to return; 0 is all.
        rows_max: usize,
    },
    /// Forgets a statement or a portal.
    Close(Target, String),
    /// Asks for all answers so far.
    Flush,
    /// Ends a series of extended messages.
    Sync,
    /// A piece of COPY input.
    CopyData(Bytes),
    /// End of COPY input.
    CopyDone,
    /// COPY input failed at the client, with its reason.
    CopyFail(String),
    /// Ends the session.
    Terminate,
}

/// How a client begins to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslInitial {
    /// What it chose of the mechanisms.
    pub mechanism: String,
    /// Its first message.
    pub data: Bytes,
}

/// What the session is ready to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The next statement.
    Command,
    /// COPY input.
    CopyData,
}

/// Bytes that are read ahead to see whether a client is still there.
const AHEAD_BYTES_MAX: usize = 64 << 10;

/// Reads messages from one client.
pub struct FrameReader<R> {
    stream: R,
    statement_bytes_max: usize,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader whose statements and parameters may have `statement_bytes_max` bytes a message.
    pub fn new(stream: R, statement_bytes_max: usize) -> Self {
        FrameReader {
            stream,
            statement_bytes_max,
            buffer: BytesMut::with_capacity(8192),
        }
    }

    /// The stream that it reads from.
    pub fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The stream, without what was read ahead of it.
    pub fn into_stream(self) -> R {
        self.stream
    }

    /// The same over one half of the stream.
    pub fn split<H, W>(self, split: impl FnOnce(R) -> (H, W)) -> (FrameReader<H>, W) {
        let (stream, other) = split(self.stream);
        let reader = FrameReader {
            stream,
            statement_bytes_max: self.statement_bytes_max,
            buffer: self.buffer,
        };
        (reader, other)
    }

    /// Whether bytes beyond the last message were already read. After an answer to
    /// [`Startup::Ssl`] there must be none: they came in plain text.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether a whole message, or the beginning of a bad one, can be taken without reading.
    #[must_use]
    pub fn has_message(&self) -> bool {
        let Some(field) = self.buffer.get(1..5) else {
            return false;
        };
        let length = i32::from_be_bytes([field[0], field[1], field[2], field[3]]);
        usize::try_from(length).is_ok_and(|length| self.buffer.len() > length)
    }

    /// Reads a start-up packet.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is then of no more use.
    pub async fn startup(&mut self) -> Result<Startup> {
        self.fill(4).await?;
        let length = declared_length(&self.buffer[..4], STARTUP_BYTES_MAX, "startup packet")?;
        self.fill(length).await?;
        let mut body = self.buffer.split_to(length).freeze();
        body.advance(4);
        decode_startup(body)
    }

    /// Reads the first answer to a request to log in by SASL.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is then of no more use.
    pub async fn sasl_initial(&mut self) -> Result<SaslInitial> {
        let bytes = self.sasl_response().await?;
        let mut body = Body { bytes };
        let mechanism = body.string()?;
        let data = match body.value()? {
            Some(data) => data,
            None => return violation("malformed SCRAM message"),
        };
        body.end()?;
        Ok(SaslInitial { mechanism, data })
    }

    /// Reads a further answer: the body of a message of type `p`, whose meaning depends on what was
    /// asked.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is then of no more use.
    pub async fn sasl_response(&mut self) -> Result<Bytes> {
        self.fill(5).await?;
        let kind = self.buffer[0];
        if kind != b'p' {
            return violation(format!("expected SASL response, got message type {kind}"));
        }
        let length = declared_length(&self.buffer[1..5], SMALL_BYTES_MAX, "message")?;
        self.fill(1 + length).await?;
        let mut body = self.buffer.split_to(1 + length).freeze();
        body.advance(5);
        Ok(body)
    }

    /// Reads the next message that is meaningful in state `expect`.
    ///
    /// COPY messages outside a COPY are skipped: a client may have sent them before it learned
    /// that the COPY failed. So are Flush and Sync inside one.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is then of no more use.
    pub async fn message(&mut self, expect: Expect) -> Result<Message> {
        loop {
            self.fill(5).await?;
            let kind = self.buffer[0];
            let limit = self.limit(kind)?;
            let length = declared_length(&self.buffer[1..5], limit, "message")?;
            self.fill(1 + length).await?;
            let mut body = self.buffer.split_to(1 + length).freeze();
            body.advance(5);
            let message = decode_message(kind, body)?;
            match (expect, &message) {
                (
                    Expect::Command,
                    Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_),
                ) => {}
                (Expect::CopyData, Message::Flush | Message::Sync) => {}
                (Expect::Command, _)
                | (
                    Expect::CopyData,
                    Message::CopyData(_)
                    | Message::CopyDone
                    | Message::CopyFail(_)
                    | Message::Terminate,
                ) => {
                    return Ok(message);
                }
                (Expect::CopyData, _) => {
                    return violation(format!(
                        "unexpected message type 0x{kind:02X} during COPY from stdin"
                    ));
                }
            }
        }
    }

    /// Gives back the memory of an empty buffer, which may have grown with a large message.
    pub fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Waits until the client closes its end. What it sends meanwhile is kept for
    /// [`FrameReader::message`]; beyond some bytes of that, its end is not looked at any more.
    pub async fn closed(&mut self) {
        while self.buffer.len() < AHEAD_BYTES_MAX {
            self.buffer.reserve(4096);
            if matches!(self.stream.read_buf(&mut self.buffer).await, Ok(0) | Err(_)) {
                return;
            }
        }
        std::future::pending().await
    }

    fn limit(&self, kind: u8) -> Result<usize> {
        match kind {
            b'Q' | b'P' | b'B' => Ok(self.statement_bytes_max.saturating_add(SMALL_BYTES_MAX)),
            b'd' => Ok(COPY_DATA_BYTES_MAX),
            b'D' | b'E' | b'C' | b'f' => Ok(SMALL_BYTES_MAX),
            b'H' | b'S' | b'c' | b'X' => Ok(4),
            _ => violation(format!("invalid frontend message type {kind}")),
        }
    }

    /// Reads until the buffer holds `length` bytes. It grows with what really came.
    async fn fill(&mut self, length: usize) -> Result<()> {
        if canary!("frame.bounded") {
            self.buffer.reserve(length);
        }
        while self.buffer.len() < length {
            self.buffer.reserve(4096);
            if self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(FrameError::Io)?
                == 0
            {
                return Err(FrameError::Closed);
            }
        }
        Ok(())
    }
}

fn violation<T>(message: impl Into<String>) -> Result<T> {
    Err(FrameError::Violation(message.into()))
}

/// The length field: it counts itself, so at least 4.
fn declared_length(field: &[u8], limit: usize, what: &str) -> Result<usize> {
    let length = i32::from_be_bytes([field[0], field[1], field[2], field[3]]);
    match usize::try_from(length) {
        Ok(length) if (4..=limit.max(4)).contains(&length) => Ok(length),
        _ => violation(format!("invalid length of {what}: {length}")),
    }
}

fn decode_startup(bytes: Bytes) -> Result<Startup> {
    let mut body = Body { bytes };
    let code = body.u32()?;
    let startup = match code {
        CODE_SSL => Startup::Ssl,
        CODE_GSS => Startup::GssEncryption,
        CODE_CANCEL => Startup::Cancel {
            process_id: body.u32()?,
            secret: body.u32()?,
        },
        _ if code >> 16 == 3 => {
            let mut parameters = Vec::new();
            loop {
                let name = body.string()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.string()?));
            }
            Startup::Parameters {
                minor: (code & 0xffff) as u16,
                parameters,
            }
        }
        _ => {
            return violation(format!(
                "unsupported frontend protocol {}.{}: server supports 3.0",
                code >> 16,
                code & 0xffff
            ));
        }
    };
    body.end()?;
    Ok(startup)
}

fn decode_message(kind: u8, bytes: Bytes) -> Result<Message> {
    let mut body = Body { bytes };
    let message = match kind {
        b'Q' => Message::Query(body.string()?),
        b'P' => {
            let (name, sql) = (body.string()?, body.string()?);
            let count = body.count()?;
            let parameter_oids = (0..count).map(|_| body.u32()).collect::<Result<_>>()?;
            Message::Parse {
                name,
                sql,
                parameter_oids,
            }
        }
        b'B' => decode_bind(&mut body)?,
        b'D' => {
            let target = body.target()?;
            Message::Describe(target, body.string()?)
        }
        b'C' => {
            let target = body.target()?;
            Message::Close(target, body.string()?)
        }
        // A negative limit means "all", as in PostgreSQL.
        b'E' => Message::Execute {
            portal: body.string()?,
            rows_max: usize::try_from(body.u32()? as i32).unwrap_or(0),
        },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'd' => Message::CopyData(std::mem::take(&mut body.bytes)),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(body.string()?),
        b'X' => Message::Terminate,
        _ => return violation(format!("invalid frontend message type {kind}")),
    };
    body.end()?;
    Ok(message)
}

fn decode_bind(body: &mut Body) -> Result<Message> {
    let (portal, statement) = (body.string()?, body.string()?);
    let parameter_formats = body.formats()?;
    let count = body.count()?;
    let parameters = (0..count).map(|_| body.value()).collect::<Result<_>>()?;
    let result_formats = body.formats()?;
    Ok(Message::Bind {
        portal,
        statement,
        parameter_formats,
        parameters,
        result_formats,
    })
}

/// The bytes of one message, taken from the front.
struct Body {
    bytes: Bytes,
}

impl Body {
    fn need(&self, length: usize) -> Result<()> {
        if self.bytes.len() < length {
            return violation("insufficient data left in message");
        }
        Ok(())
    }

    fn u32(&mut self) -> Result<u32> {
        self.need(4)?;
        Ok(self.bytes.get_u32())
    }

    fn u16(&mut self) -> Result<u16> {
        self.need(2)?;
        Ok(self.bytes.get_u16())
    }

    /// A count of things of which each needs at least two bytes of the message.
    fn count(&mut self) -> Result<usize> {
        let count = usize::from(self.u16()?);
        if count > PARAMETERS_MAX || count * 2 > self.bytes.len() {
            return violation("insufficient data left in message");
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String> {
        let Some(end) = self.bytes.iter().position(|&b| b == 0) else {
            return violation("invalid string in message");
        };
        let text = self.bytes.split_to(end);
        self.bytes.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => violation("invalid byte sequence for encoding \"UTF8\" in message"),
        }
    }

    fn target(&mut self) -> Result<Target> {
        self.need(1)?;
        match self.bytes.get_u8() {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => violation(format!("invalid message subtype {other}")),
        }
    }

    fn formats(&mut self) -> Result<Vec<Format>> {
        let count = self.count()?;
        (0..count)
            .map(|_| match self.u16()? {
                0 => Ok(Format::Text),
                1 => Ok(Format::Binary),
                other => violation(format!("unsupported format code: {other}")),
            })
            .collect()
    }

    fn value(&mut self) -> Result<Option<Bytes>> {
        let length = self.u32()? as i32;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(length) => {
                self.need(length)?;
                Ok(Some(self.bytes.split_to(length)))
            }
            Err(_) => violation(format!("invalid length of parameter: {length}")),
        }
    }

    fn end(&self) -> Result<()> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            violation("invalid message format: bytes left at its end")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    async fn read(bytes: &[u8]) -> Result<Message> {
        FrameReader::new(bytes, 1 << 20)
            .message(Expect::Command)
            .await
    }

    async fn is_violation(bytes: &[u8]) {
        let got = read(bytes).await;
        assert!(
            matches!(got, Err(FrameError::Violation(_))),
            "{bytes:?}: {got:?}"
        );
    }

    #[tokio::test]
    async fn reads_queries_one_after_the_other() {
        let bytes = [
            frame(b'Q', b"select 1\0"),
            frame(b'S', b""),
            frame(b'X', b""),
        ]
        .concat();
        let mut reader = FrameReader::new(&bytes[..], 1 << 20);
        assert_eq!(
            reader.message(Expect::Command).await.unwrap(),
            Message::Query("select 1".into())
        );
        assert_eq!(
            reader.message(Expect::Command).await.unwrap(),
            Message::Sync
        );
        assert_eq!(
            reader.message(Expect::Command).await.unwrap(),
            Message::Terminate
        );
        assert!(matches!(
            reader.message(Expect::Command).await,
            Err(FrameError::Closed)
        ));
    }

    #[tokio::test]
    async fn reads_bind_with_null_and_formats() {
        let body = b"p\0s\0\x00\x01\x00\x01\x00\x02\x00\x00\x00\x02ab\xff\xff\xff\xff\x00\x00";
        let Message::Bind {
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
        } = read(&frame(b'B', body)).await.unwrap()
        else {
            panic!("not a Bind")
        };
        assert_eq!((portal.as_str(), statement.as_str()), ("p", "s"));
        assert_eq!(parameter_formats, [Format::Binary]);
        assert_eq!(parameters, [Some(Bytes::from_static(b"ab")), None]);
        assert!(result_formats.is_empty());
    }

    #[tokio::test]
    async fn refuses_what_is_not_exactly_one_message() {
        is_violation(&frame(b'Q', b"select 1")).await; // no NUL
        is_violation(&frame(b'Q', b"select 1\0x")).await; // a tail
        is_violation(&frame(b'Q', b"\xff\0")).await; // not UTF-8
        is_violation(&frame(b'S', b"x")).await; // too long for its type
        is_violation(&frame(b'z', b"")).await; // unknown
        is_violation(&frame(b'D', b"X\0")).await; // neither statement nor portal
        is_violation(&frame(b'P', b"\0\0\xff\xff")).await; // more oids than bytes
        is_violation(&frame(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0")).await; // value longer than message
        is_violation(&frame(b'B', b"\0\0\0\x01\0\x09\0\0\0\0")).await; // unknown format
        is_violation(b"Q\xff\xff\xff\xff").await; // negative length
        is_violation(b"Q\x7f\xff\xff\xff").await; // longer than allowed, refused before any byte of it
        is_violation(b"Q\x00\x00\x00\x03").await; // shorter than the field
    }

    #[tokio::test]
    async fn every_prefix_is_just_closed() {
        let whole = frame(b'B', b"p\0s\0\x00\x00\x00\x01\x00\x00\x00\x02ab\x00\x00");
        for end in 0..whole.len() {
            assert!(
                matches!(read(&whole[..end]).await, Err(FrameError::Closed)),
                "prefix {end}"
            );
        }
        assert!(read(&whole).await.is_ok());
    }

    #[tokio::test]
    async fn startup_packets() {
        let startup =
            |bytes: Vec<u8>| async move { FrameReader::new(&bytes[..], 1 << 20).startup().await };
        assert_eq!(
            startup(vec![0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap(),
            Startup::Ssl
        );
        let mut bytes = vec![0, 0, 0, 20, 0, 3, 0, 0];
        bytes.extend(b"user\0root\0\0\0");
        assert!(
            matches!(startup(bytes).await, Err(FrameError::Violation(_))),
            "a byte behind the end"
        );
        let mut bytes = vec![0, 0, 0, 19, 0, 3, 0, 0];
        bytes.extend(b"user\0root\0\0");
        let got = startup(bytes).await.unwrap();
        assert_eq!(
            got,
            Startup::Parameters {
                minor: 0,
                parameters: vec![("user".into(), "root".into())]
            }
        );
        assert!(
            matches!(
                startup(vec![0, 0, 0x4e, 0x20]).await,
                Err(FrameError::Violation(_))
            ),
            "over 10 KB"
        );
        assert!(
            matches!(
                startup(vec![0, 0, 0, 8, 0, 2, 0, 0]).await,
                Err(FrameError::Violation(_))
            ),
            "protocol 2"
        );
    }

    #[tokio::test]
    async fn copy_messages_only_inside_a_copy() {
        let bytes = [frame(b'd', b"1\n"), frame(b'c', b""), frame(b'S', b"")].concat();
        let mut reader = FrameReader::new(&bytes[..], 1 << 20);
        assert_eq!(
            reader.message(Expect::Command).await.unwrap(),
            Message::Sync
        );
        let bytes = frame(b'Q', b"select 1\0");
        let got = FrameReader::new(&bytes[..], 1 << 20)
            .message(Expect::CopyData)
            .await;
        assert!(matches!(got, Err(FrameError::Violation(_))));
    }
}
