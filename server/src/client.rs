//! One connected client: messages in, answers out, over a plain or an encrypted connection.

use bytes::Bytes;
use pgwire::messages::response::SslResponse;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::sqlstate::{Report, is_fatal};
use crate::tls::{Encryption, Tls};
use crate::wire::backend::{Outbox, Severity};
use crate::wire::frame::{Expect, FrameError, FrameReader, Message, SaslInitial, Startup};

/// Answers that may wait before they are sent, in bytes.
const OUTBOX_BYTES_MAX: usize = 64 << 10;

type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// The two directions of a client's connection.
pub struct Client {
    reader: FrameReader<Reader>,
    writer: Writer,
    /// How the connection is encrypted, if it is.
    pub encryption: Option<Encryption>,
    /// Answers not yet sent.
    pub outbox: Outbox,
    /// The least severe reports that it wants besides errors: `client_min_messages`.
    pub wanted: Severity,
}

impl Client {
    /// A client on this socket, with its start-up packet, or why that is none. The connection is
    /// encrypted on the way if the client asks for it and the server can.
    ///
    /// # Errors
    /// [`Error::ClientGone`].
    pub async fn accept(
        socket: TcpStream,
        statement_bytes_max: usize,
        tls: Option<&Tls>,
    ) -> Result<(Client, Result<Startup>)> {
        let is_direct = tls.is_some() && Tls::is_direct(&socket).await;
        let mut plain = FrameReader::new(socket, statement_bytes_max);
        let startup = if is_direct {
            Ok(Startup::Ssl)
        } else {
            startup(&mut plain, tls.is_some()).await
        };
        let (Some(tls), Ok(Startup::Ssl)) = (tls, &startup) else {
            let (reader, writer) = plain.split(|socket| {
                let (reader, writer) = socket.into_split();
                (Box::new(reader) as Reader, Box::new(writer) as Writer)
            });
            return Ok((Client::over(reader, writer, None), startup));
        };
        // Nothing is in its buffer: what came in plain text must not count as encrypted.
        let accepted = tls.accept(plain.into_stream(), is_direct).await;
        let (stream, encryption) = accepted?;
        let mut encrypted = FrameReader::new(stream, statement_bytes_max);
        let startup = startup_again(&mut encrypted).await;
        let (reader, writer) = encrypted.split(|stream| {
            let (reader, writer) = tokio::io::split(stream);
            (Box::new(reader) as Reader, Box::new(writer) as Writer)
        });
        Ok((Client::over(reader, writer, Some(encryption)), startup))
    }

    fn over(reader: FrameReader<Reader>, writer: Writer, encryption: Option<Encryption>) -> Client {
        Client {
            reader,
            writer,
            encryption,
            outbox: Outbox::default(),
            wanted: Severity::Notice,
        }
    }

    /// Reads what a client chose of the ways to log in, and how it begins.
    ///
    /// # Errors
    /// As [`Client::message`].
    pub async fn sasl_initial(&mut self) -> Result<SaslInitial> {
        self.reader.sasl_initial().await.map_err(frame_error)
    }

    /// Reads a client's next step in logging in.
    ///
    /// # Errors
    /// As [`Client::message`].
    pub async fn sasl_response(&mut self) -> Result<Bytes> {
        self.reader.sasl_response().await.map_err(frame_error)
    }

    /// Reads the next message.
    ///
    /// # Errors
    /// [`Error::ClientGone`], or [`Error::Protocol`] after which nothing can be read any more.
    pub async fn message(&mut self, expect: Expect) -> Result<Message> {
        self.reader.message(expect).await.map_err(frame_error)
    }

    /// Gives back the memory of empty buffers.
    pub fn release(&mut self) {
        self.reader.release();
        self.outbox.release();
    }

    /// Waits until the client closes its connection.
    pub async fn closed(&mut self) {
        self.reader.closed().await;
    }

    /// Queues a notice, if the client wants to have it.
    pub fn notice(&mut self, notice: &Notice) {
        let severity = notice.severity();
        let wanted = match severity {
            Severity::Notice => self.wanted == Severity::Notice,
            _ => self.wanted != Severity::Error,
        };
        if wanted {
            self.outbox.report(severity, &Report::of_notice(notice));
        }
    }

    /// Queues an error of the statement `sql`.
    pub fn error(&mut self, error: &Error, sql: &str) {
        let severity = if is_fatal(error) {
            Severity::Fatal
        } else {
            Severity::Error
        };
        self.outbox
            .report(severity, &Report::of_error_in(error, sql));
    }

    /// Sends all that is queued. It may be stopped at any point: what was not sent stays queued.
    ///
    /// # Errors
    /// [`Error::ClientGone`].
    pub async fn flush(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match self.writer.write(self.outbox.bytes()).await {
                Ok(sent) if sent > 0 => self.outbox.advance(sent),
                Ok(_) | Err(_) => return Err(Error::ClientGone),
            }
        }
        // TLS may hold back the end of what it took.
        self.writer.flush().await.map_err(|_| Error::ClientGone)
    }

    /// Sends what is queued, unless the client has sent its next message already and so does not
    /// wait for it.
    ///
    /// # Errors
    /// [`Error::ClientGone`].
    pub async fn flush_if_awaited(&mut self) -> Result<()> {
        if self.reader.has_message() {
            self.flush_if_full().await
        } else {
            self.flush().await
        }
    }

    /// Sends what is queued if it is much.
    ///
    /// # Errors
    /// [`Error::ClientGone`].
    pub async fn flush_if_full(&mut self) -> Result<()> {
        if self.outbox.len() < OUTBOX_BYTES_MAX {
            Ok(())
        } else {
            self.flush().await
        }
    }

    /// Sends what is queued and says goodbye.
    pub async fn close(&mut self) {
        if self.flush().await.is_ok() {
            // The client may be gone already.
            drop(self.writer.shutdown().await);
        }
    }
}

/// Reads a start-up packet in plain text. A request for TLS is answered, and given back if it was
/// granted; one for GSSAPI encryption is declined.
async fn startup(reader: &mut FrameReader<TcpStream>, has_tls: bool) -> Result<Startup> {
    loop {
        let startup = reader.startup().await.map_err(frame_error)?;
        if !matches!(startup, Startup::Ssl | Startup::GssEncryption) {
            return Ok(startup);
        }
        if reader.has_buffered() {
            return Err(Error::Protocol(
                "received unencrypted data after an encryption request".to_owned(),
            ));
        }
        let granted = has_tls && startup == Startup::Ssl;
        let answer = match granted {
            true => SslResponse::BYTE_ACCEPT,
            false => SslResponse::BYTE_REFUSE,
        };
        let answered = reader.stream().write_all(&[answer]).await;
        answered.map_err(|_| Error::ClientGone)?;
        if granted {
            return Ok(startup);
        }
    }
}

/// Reads the start-up packet of an encrypted connection.
async fn startup_again<S: AsyncRead + Unpin>(reader: &mut FrameReader<S>) -> Result<Startup> {
    match reader.startup().await.map_err(frame_error)? {
        Startup::Ssl | Startup::GssEncryption => Err(Error::Protocol(
            "the connection is encrypted already".to_owned(),
        )),
        startup => Ok(startup),
    }
}

fn frame_error(error: FrameError) -> Error {
    match error {
        FrameError::Closed | FrameError::Io(_) => Error::ClientGone,
        FrameError::Violation(message) => Error::Protocol(message),
    }
}
