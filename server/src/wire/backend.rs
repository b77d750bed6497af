//! Encodes the server's messages into one buffer that the session sends when it is full or due.
//!
//! Layouts are pgwire's, all but those of rows, which are written value by value without a message
//! in between. Every message is written whole before the buffer is handed out, so a client never
//! sees half of one.

use bytes::{Buf, BufMut, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    self, CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

use crate::sqlstate::Report;
use crate::wire::frame::Format;

/// How a session stands towards transactions, for ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction block.
    Idle,
    /// Inside a block.
    InBlock,
    /// Inside a block in which a statement failed.
    Failed,
}

/// One column of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Type oid.
    pub type_oid: u32,
    /// `pg_type.typlen`.
    pub type_bytes: i16,
    /// Type modifier, -1 for none.
    pub type_modifier: i32,
    /// How its values will be sent.
    pub format: Format,
}

/// How serious a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// Something the user should look at.
    Warning,
    /// Something the user may want to know.
    Notice,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

/// Messages on their way to one client.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: BytesMut,
}

impl Outbox {
    /// Bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes to be sent next.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the first `count` bytes: they were sent.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn send(&mut self, message: &PgWireBackendMessage) {
        message
            .encode(&mut self.bytes)
            .expect("encoding into memory has nothing to fail on");
    }

    /// A message whose body is written in place.
    fn message(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        self.bytes.put_u8(kind);
        let at = self.bytes.len();
        self.bytes.put_i32(0);
        body(&mut self.bytes);
        let length = (self.bytes.len() - at) as i32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// AuthenticationOk.
    pub fn authentication_ok(&mut self) {
        self.send(&PgWireBackendMessage::Authentication(Authentication::Ok));
    }

    /// The newest minor protocol version we speak, and the options we do not know.
    pub fn negotiate_protocol(&mut self, unknown: &[&str]) {
        let unknown = unknown.iter().map(|name| text(name)).collect();
        let message = NegotiateProtocolVersion::new(0, unknown);
        self.send(&PgWireBackendMessage::NegotiateProtocolVersion(message));
    }

    /// ParameterStatus.
    pub fn parameter_status(&mut self, name: &str, value: &str) {
        let message = ParameterStatus::new(text(name), text(value));
        self.send(&PgWireBackendMessage::ParameterStatus(message));
    }

    /// BackendKeyData.
    pub fn key_data(&mut self, process_id: u32, secret: u32) {
        let secret = SecretKey::I32(secret.cast_signed());
        let message = BackendKeyData::new(process_id.cast_signed(), secret);
        self.send(&PgWireBackendMessage::BackendKeyData(message));
    }

    /// ReadyForQuery.
    pub fn ready(&mut self, status: TransactionStatus) {
        let status = match status {
            TransactionStatus::Idle => response::TransactionStatus::Idle,
            TransactionStatus::InBlock => response::TransactionStatus::Transaction,
            TransactionStatus::Failed => response::TransactionStatus::Error,
        };
        self.send(&PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(
            status,
        )));
    }

    /// RowDescription.
    pub fn row_description(&mut self, columns: &[ColumnDescription]) {
        let fields = columns.iter().map(|column| {
            FieldDescription::new(
                text(&column.name),
                0,
                0,
                column.type_oid,
                column.type_bytes,
                column.type_modifier,
                format_code(column.format),
            )
        });
        let message = RowDescription::new(fields.collect());
        self.send(&PgWireBackendMessage::RowDescription(message));
    }

    /// DataRow with `columns` values that `body` writes, each with its length in front.
    pub fn data_row(&mut self, columns: usize, body: impl FnOnce(&mut BytesMut)) {
        self.message(b'D', |b| {
            b.put_i16(columns as i16);
            body(b);
        });
    }

    /// CommandComplete.
    pub fn complete(&mut self, tag: &str) {
        let message = CommandComplete::new(text(tag));
        self.send(&PgWireBackendMessage::CommandComplete(message));
    }

    /// EmptyQueryResponse.
    pub fn empty_query(&mut self) {
        self.send(&PgWireBackendMessage::EmptyQueryResponse(
            EmptyQueryResponse::new(),
        ));
    }

    /// ErrorResponse or NoticeResponse.
    pub fn report(&mut self, severity: Severity, report: &Report) {
        let mut fields = vec![
            (b'S', severity.as_str().to_owned()),
            (b'V', severity.as_str().to_owned()),
            (b'C', report.code.to_owned()),
            (b'M', text(&report.message)),
        ];
        let optional = [
            (b'D', &report.detail),
            (b'H', &report.hint),
            (b'W', &report.context),
        ];
        let given = optional
            .into_iter()
            .filter_map(|(code, field)| Some((code, text(field.as_ref()?))));
        fields.extend(given);
        fields.extend(report.position.map(|position| (b'P', position.to_string())));
        self.send(&match severity {
            Severity::Error | Severity::Fatal => {
                PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields))
            }
            Severity::Warning | Severity::Notice => {
                PgWireBackendMessage::NoticeResponse(NoticeResponse::new(fields))
            }
        });
    }

    /// ParseComplete.
    pub fn parse_complete(&mut self) {
        self.send(&PgWireBackendMessage::ParseComplete(ParseComplete::new()));
    }

    /// BindComplete.
    pub fn bind_complete(&mut self) {
        self.send(&PgWireBackendMessage::BindComplete(BindComplete::new()));
    }

    /// CloseComplete.
    pub fn close_complete(&mut self) {
        self.send(&PgWireBackendMessage::CloseComplete(CloseComplete::new()));
    }

    /// NoData: the statement returns no rows.
    pub fn no_data(&mut self) {
        self.send(&PgWireBackendMessage::NoData(NoData::new()));
    }

    /// PortalSuspended: the row limit was reached.
    pub fn portal_suspended(&mut self) {
        self.send(&PgWireBackendMessage::PortalSuspended(
            PortalSuspended::new(),
        ));
    }

    /// ParameterDescription.
    pub fn parameter_description(&mut self, oids: &[u32]) {
        let message = ParameterDescription::new(oids.to_vec());
        self.send(&PgWireBackendMessage::ParameterDescription(message));
    }

    /// CopyInResponse for text rows of `columns` columns.
    pub fn copy_in(&mut self, columns: usize) {
        let message = CopyInResponse::new(0, columns as i16, vec![0; columns]);
        self.send(&PgWireBackendMessage::CopyInResponse(message));
    }

    /// CopyOutResponse for text rows of `columns` columns.
    pub fn copy_out(&mut self, columns: usize) {
        let message = CopyOutResponse::new(0, columns as i16, vec![0; columns]);
        self.send(&PgWireBackendMessage::CopyOutResponse(message));
    }

    /// CopyData with what `body` writes.
    pub fn copy_data(&mut self, body: impl FnOnce(&mut BytesMut)) {
        self.message(b'd', body);
    }

    /// CopyDone.
    pub fn copy_done(&mut self) {
        self.send(&PgWireBackendMessage::CopyDone(CopyDone::new()));
    }
}

fn format_code(format: Format) -> i16 {
    match format {
        Format::Text => 0,
        Format::Binary => 1,
    }
}

/// A NUL inside the text would end it early for the client, so it is left out.
fn text(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves_and_not_the_type() {
        let mut outbox = Outbox::default();
        outbox.complete("SELECT 1");
        outbox.ready(TransactionStatus::Idle);
        assert_eq!(outbox.bytes(), b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I");
        outbox.advance(outbox.len());
        assert!(outbox.is_empty());
    }
}
