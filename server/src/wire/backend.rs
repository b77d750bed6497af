//! Encodes the server's messages into one buffer that the session sends when it is full or due.
//!
//! Layouts are pgwire's. Only rows, of results and of COPY, are written value by value, without a
//! message in between. Every message is written whole before the buffer is handed out, so a client
//! never sees half of one.

use bytes::{Buf, BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::copy::{
    CopyDone, CopyInResponse, CopyOutResponse, MESSAGE_TYPE_BYTE_COPY_DATA,
};
use pgwire::messages::data::{
    FieldDescription, MESSAGE_TYPE_BYTE_DATA_ROW, NoData, ParameterDescription, RowDescription,
};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

use crate::sqlstate::Report;

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

    /// Gives back the memory of an empty buffer, which may have grown with a large result.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Appends a message.
    fn send(&mut self, message: &impl Message) {
        message
            .encode(&mut self.bytes)
            .expect("settings, tags and numbers of columns stay far below pgwire's limits");
    }

    /// Appends a message whose body is written in place.
    fn send_written(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        self.bytes.put_u8(kind);
        let at = self.bytes.len();
        self.bytes.put_i32(0);
        body(&mut self.bytes);
        let length = (self.bytes.len() - at) as i32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// AuthenticationOk.
    pub fn authentication_ok(&mut self) {
        self.send(&Authentication::Ok);
    }

    /// AuthenticationSASL: the mechanisms that a client may choose of.
    pub fn authentication_sasl(&mut self, mechanisms: &[&str]) {
        let mechanisms = mechanisms.iter().map(|name| (*name).to_owned()).collect();
        self.send(&Authentication::SASL(mechanisms));
    }

    /// AuthenticationSASLContinue.
    pub fn sasl_continue(&mut self, data: String) {
        self.send(&Authentication::SASLContinue(data.into()));
    }

    /// AuthenticationSASLFinal.
    pub fn sasl_final(&mut self, data: String) {
        self.send(&Authentication::SASLFinal(data.into()));
    }

    /// The newest minor protocol version we speak, and the options we do not know.
    pub fn negotiate_protocol(&mut self, unknown: &[&str]) {
        let unknown = unknown.iter().map(|name| without_nul(name)).collect();
        self.send(&NegotiateProtocolVersion::new(0, unknown));
    }

    /// ParameterStatus.
    pub fn parameter_status(&mut self, name: &str, value: &str) {
        self.send(&ParameterStatus::new(without_nul(name), without_nul(value)));
    }

    /// BackendKeyData.
    pub fn key_data(&mut self, process_id: u32, secret: u32) {
        let secret = SecretKey::I32(secret.cast_signed());
        self.send(&BackendKeyData::new(process_id.cast_signed(), secret));
    }

    /// ReadyForQuery.
    pub fn ready(&mut self, status: TransactionStatus) {
        self.send(&ReadyForQuery::new(status));
    }

    /// RowDescription.
    pub fn row_description(&mut self, fields: Vec<FieldDescription>) {
        self.send(&RowDescription::new(fields));
    }

    /// DataRow with `columns` values that `body` writes, each with its length in front.
    pub fn data_row(&mut self, columns: usize, body: impl FnOnce(&mut BytesMut)) {
        self.send_written(MESSAGE_TYPE_BYTE_DATA_ROW, |b| {
            b.put_i16(columns as i16);
            body(b);
        });
    }

    /// CommandComplete.
    pub fn complete(&mut self, tag: &str) {
        self.send(&CommandComplete::new(without_nul(tag)));
    }

    /// EmptyQueryResponse.
    pub fn empty_query(&mut self) {
        self.send(&EmptyQueryResponse::new());
    }

    /// ErrorResponse or NoticeResponse.
    pub fn report(&mut self, severity: Severity, report: &Report) {
        let mut fields = vec![
            (b'S', severity.as_str().to_owned()),
            (b'V', severity.as_str().to_owned()),
            (b'C', report.code.to_owned()),
            (b'M', without_nul(&report.message)),
        ];
        for (code, text) in [
            (b'D', &report.detail),
            (b'H', &report.hint),
            (b'W', &report.context),
        ] {
            fields.extend(text.as_ref().map(|text| (code, without_nul(text))));
        }
        fields.extend(report.position.map(|position| (b'P', position.to_string())));
        match severity {
            Severity::Error | Severity::Fatal => self.send(&ErrorResponse::new(fields)),
            Severity::Warning | Severity::Notice => self.send(&NoticeResponse::new(fields)),
        }
    }

    /// ParseComplete.
    pub fn parse_complete(&mut self) {
        self.send(&ParseComplete::new());
    }

    /// BindComplete.
    pub fn bind_complete(&mut self) {
        self.send(&BindComplete::new());
    }

    /// CloseComplete.
    pub fn close_complete(&mut self) {
        self.send(&CloseComplete::new());
    }

    /// NoData: the statement returns no rows.
    pub fn no_data(&mut self) {
        self.send(&NoData::new());
    }

    /// PortalSuspended: the row limit was reached.
    pub fn portal_suspended(&mut self) {
        self.send(&PortalSuspended::new());
    }

    /// ParameterDescription.
    pub fn parameter_description(&mut self, oids: &[u32]) {
        self.send(&ParameterDescription::new(oids.to_vec()));
    }

    /// CopyInResponse for rows of `columns` columns, in this format.
    pub fn copy_in(&mut self, columns: usize, format: i16) {
        let formats = vec![format; columns];
        self.send(&CopyInResponse::new(format as i8, columns as i16, formats));
    }

    /// CopyOutResponse for rows of `columns` columns, in this format.
    pub fn copy_out(&mut self, columns: usize, format: i16) {
        let formats = vec![format; columns];
        self.send(&CopyOutResponse::new(format as i8, columns as i16, formats));
    }

    /// CopyData with what `body` writes.
    pub fn copy_data(&mut self, body: impl FnOnce(&mut BytesMut)) {
        self.send_written(MESSAGE_TYPE_BYTE_COPY_DATA, body);
    }

    /// CopyDone.
    pub fn copy_done(&mut self) {
        self.send(&CopyDone::new());
    }
}

/// A NUL inside the text would end it early for the client, so it is left out.
pub(crate) fn without_nul(text: &str) -> String {
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
