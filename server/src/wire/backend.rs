//! Encodes the server's messages into one buffer that the session sends when it is full or due.
//!
//! Layouts: PostgreSQL manual, "Message Formats". Every message is written whole before the
//! buffer is handed out, so a client never sees half of one.

use bytes::{Buf, BufMut, BytesMut};

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
        self.message(b'R', |b| b.put_i32(0));
    }

    /// The newest minor protocol version we speak, and the options we do not know.
    pub fn negotiate_protocol(&mut self, unknown: &[&str]) {
        self.message(b'v', |b| {
            b.put_i32(0);
            b.put_i32(unknown.len() as i32);
            unknown.iter().for_each(|name| put_string(b, name));
        });
    }

    /// ParameterStatus.
    pub fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |b| {
            put_string(b, name);
            put_string(b, value);
        });
    }

    /// BackendKeyData.
    pub fn key_data(&mut self, process_id: u32, secret: u32) {
        self.message(b'K', |b| {
            b.put_u32(process_id);
            b.put_u32(secret);
        });
    }

    /// ReadyForQuery.
    pub fn ready(&mut self, status: TransactionStatus) {
        self.message(b'Z', |b| {
            b.put_u8(match status {
                TransactionStatus::Idle => b'I',
                TransactionStatus::InBlock => b'T',
                TransactionStatus::Failed => b'E',
            });
        });
    }

    /// RowDescription.
    pub fn row_description(&mut self, columns: &[ColumnDescription]) {
        self.message(b'T', |b| {
            b.put_i16(columns.len() as i16);
            for column in columns {
                put_string(b, &column.name);
                b.put_i32(0);
                b.put_i16(0);
                b.put_u32(column.type_oid);
                b.put_i16(column.type_bytes);
                b.put_i32(column.type_modifier);
                b.put_i16(format_code(column.format));
            }
        });
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
        self.message(b'C', |b| put_string(b, tag));
    }

    /// EmptyQueryResponse.
    pub fn empty_query(&mut self) {
        self.message(b'I', |_| {});
    }

    /// ErrorResponse or NoticeResponse.
    pub fn report(&mut self, severity: Severity, report: &Report) {
        let kind = match severity {
            Severity::Error | Severity::Fatal => b'E',
            Severity::Warning | Severity::Notice => b'N',
        };
        self.message(kind, |b| {
            let mut field = |code: u8, text: &str| {
                b.put_u8(code);
                put_string(b, text);
            };
            field(b'S', severity.as_str());
            field(b'V', severity.as_str());
            field(b'C', report.code);
            field(b'M', &report.message);
            for (code, text) in [
                (b'D', &report.detail),
                (b'H', &report.hint),
                (b'W', &report.context),
            ] {
                if let Some(text) = text {
                    field(code, text);
                }
            }
            if let Some(position) = report.position {
                field(b'P', &position.to_string());
            }
            b.put_u8(0);
        });
    }

    /// ParseComplete.
    pub fn parse_complete(&mut self) {
        self.message(b'1', |_| {});
    }

    /// BindComplete.
    pub fn bind_complete(&mut self) {
        self.message(b'2', |_| {});
    }

    /// CloseComplete.
    pub fn close_complete(&mut self) {
        self.message(b'3', |_| {});
    }

    /// NoData: the statement returns no rows.
    pub fn no_data(&mut self) {
        self.message(b'n', |_| {});
    }

    /// PortalSuspended: the row limit was reached.
    pub fn portal_suspended(&mut self) {
        self.message(b's', |_| {});
    }

    /// ParameterDescription.
    pub fn parameter_description(&mut self, oids: &[u32]) {
        self.message(b't', |b| {
            b.put_u16(oids.len() as u16);
            oids.iter().for_each(|&oid| b.put_u32(oid));
        });
    }

    /// CopyInResponse for text rows of `columns` columns.
    pub fn copy_in(&mut self, columns: usize) {
        self.copy_response(b'G', columns);
    }

    /// CopyOutResponse for text rows of `columns` columns.
    pub fn copy_out(&mut self, columns: usize) {
        self.copy_response(b'H', columns);
    }

    fn copy_response(&mut self, kind: u8, columns: usize) {
        self.message(kind, |b| {
            b.put_u8(0);
            b.put_i16(columns as i16);
            (0..columns).for_each(|_| b.put_i16(0));
        });
    }

    /// CopyData with what `body` writes.
    pub fn copy_data(&mut self, body: impl FnOnce(&mut BytesMut)) {
        self.message(b'd', body);
    }

    /// CopyDone.
    pub fn copy_done(&mut self) {
        self.message(b'c', |_| {});
    }
}

fn format_code(format: Format) -> i16 {
    match format {
        Format::Text => 0,
        Format::Binary => 1,
    }
}

/// A NUL inside the text would end it early for the client, so it is left out.
fn put_string(bytes: &mut BytesMut, text: &str) {
    text.split('\0')
        .for_each(|part| bytes.put_slice(part.as_bytes()));
    bytes.put_u8(0);
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
