//! One connected client: messages in, answers out.

use pgwire::messages::response::SslResponse;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::sqlstate::{Report, is_fatal};
use crate::wire::backend::{Outbox, Severity};
use crate::wire::frame::{Expect, FrameError, FrameReader, Message, Startup};

/// Answers that may wait before they are sent, in bytes.
const OUTBOX_BYTES_MAX: usize = 64 << 10;

/// The two directions of a client's connection.
pub struct Client {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Answers not yet sent.
    pub outbox: Outbox,
    /// The least severe reports that it wants besides errors: `client_min_messages`.
    pub wanted: Severity,
}

impl Client {
    /// A client on this socket.
    #[must_use]
    pub fn new(socket: TcpStream, statement_bytes_max: usize) -> Client {
        let (reader, writer) = socket.into_split();
        Client {
            reader: FrameReader::new(reader, statement_bytes_max),
            writer,
            outbox: Outbox::default(),
            wanted: Severity::Notice,
        }
    }

    /// Reads a start-up packet; encryption is declined on the way.
    ///
    /// # Errors
    /// [`Error::ClientGone`], or [`Error::Protocol`].
    pub async fn startup(&mut self) -> Result<Startup> {
        loop {
            match self.reader.startup().await.map_err(frame_error)? {
                Startup::Ssl | Startup::GssEncryption => {
                    if self.reader.has_buffered() {
                        return Err(Error::Protocol(
                            "received unencrypted data after an encryption request".to_owned(),
                        ));
                    }
                    self.writer
                        .write_all(&[SslResponse::BYTE_REFUSE])
                        .await
                        .map_err(|_| Error::ClientGone)?;
                }
                other => return Ok(other),
            }
        }
    }

    /// Reads the next message.
    ///
    /// # Errors
    /// [`Error::ClientGone`], or [`Error::Protocol`] after which nothing can be read any more.
    pub async fn message(&mut self, expect: Expect) -> Result<Message> {
        self.reader.message(expect).await.map_err(frame_error)
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
        Ok(())
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

fn frame_error(error: FrameError) -> Error {
    match error {
        FrameError::Closed | FrameError::Io(_) => Error::ClientGone,
        FrameError::Violation(message) => Error::Protocol(message),
    }
}
