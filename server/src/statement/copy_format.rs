//! COPY's two formats of text: bytes to records of fields, and records to lines.
//!
//! Our own splitter, not the `csv` crate: PostgreSQL tells `""` (empty string) from nothing (NULL),
//! which that crate does not, and wants the number of the line in errors.
//!
//! Input comes in pieces of any size. A record is split once its end is seen; only an unfinished
//! one is kept.

use crate::error::{Error, Result};
use crate::wire::parameter::utf8;

/// Longest record, in bytes. An unclosed quote would otherwise take all of the input as one field.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Backslash escapes, tabs, `\N`.
    Text,
    /// RFC 4180 with PostgreSQL's rules for NULL.
    Csv,
    /// Values as in binary results; see `copy_binary.rs`.
    Binary,
}

/// The options of a COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// `FORMAT`
    pub format: CopyFormat,
    /// `HEADER`
    pub header: bool,
    /// `DELIMITER`
    pub delimiter: u8,
    /// `NULL`
    pub null: String,
    /// `QUOTE`
    pub quote: u8,
    /// `ESCAPE`
    pub escape: u8,
    /// Columns of which every value is quoted; empty: none.
    pub force_quote: Vec<bool>,
    /// Columns that are never NULL, whatever is written; empty: none.
    pub force_not_null: Vec<bool>,
    /// Columns in which also a quoted text may mean NULL; empty: none.
    pub force_null: Vec<bool>,
}

fn is_in(columns: &[bool], at: usize) -> bool {
    columns.get(at).copied().unwrap_or_default()
}

impl CopyOptions {
    /// PostgreSQL's defaults of a format.
    #[must_use]
    pub fn new(format: CopyFormat) -> CopyOptions {
        CopyOptions {
            format,
            header: false,
            delimiter: if format == CopyFormat::Csv {
                b','
            } else {
                b'\t'
            },
            null: if format == CopyFormat::Csv {
                String::new()
            } else {
                "\\N".to_owned()
            },
            quote: b'"',
            escape: b'"',
            force_quote: Vec::new(),
            force_not_null: Vec::new(),
            force_null: Vec::new(),
        }
    }
}

/// One record of the input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Number of its last line, counted from 1.
    pub line: u64,
    /// Its fields; `None` is NULL.
    pub fields: Vec<Option<String>>,
}

/// Splits input into records.
#[derive(Debug)]
pub struct Splitter {
    options: CopyOptions,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were looked at for the end of the record.
    scanned: usize,
    in_quotes: bool,
    line: u64,
    header_pending: bool,
    /// `\.` was seen: what follows is ignored.
    ended: bool,
}

impl Splitter {
    /// A splitter at the start of the input.
    #[must_use]
    pub fn new(options: CopyOptions) -> Splitter {
        let header_pending = options.header;
        Splitter {
            options,
            buffer: Vec::new(),
            scanned: 0,
            in_quotes: false,
            line: 0,
            header_pending,
            ended: false,
        }
    }

    /// Takes a piece of input and gives its whole records to `take`.
    ///
    /// # Errors
    /// Input that breaks the format, or what `take` returns; both with the line.
    pub fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = self.record_end(from) {
            let record = self.buffer[from..end].to_vec();
            from = end + 1;
            self.scanned = from;
            self.record(&record, take)?;
        }
        self.buffer.drain(..from);
        self.scanned -= from;
        if self.buffer.len() > RECORD_BYTES_MAX {
            let message = format!("record longer than {RECORD_BYTES_MAX} bytes");
            return Err(Error::LimitExceeded {
                message,
                hint: Some("Look for an unclosed quote.".to_owned()),
            });
        }
        Ok(())
    }

    /// Ends the input: a last record needs no line end.
    ///
    /// # Errors
    /// As [`Splitter::push`]; an unclosed quote.
    pub fn finish(&mut self, take: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        if self.in_quotes {
            return Err(bad("unterminated CSV quoted field"));
        }
        let rest = std::mem::take(&mut self.buffer);
        self.scanned = 0;
        if rest.is_empty() {
            Ok(())
        } else {
            self.record(&rest, take)
        }
    }

    /// Number of the line that was read last.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Where the record that starts at `from` ends, if its end has come.
    fn record_end(&mut self, from: usize) -> Option<usize> {
        let csv = self.options.format == CopyFormat::Csv;
        let mut at = self.scanned.max(from);
        while at < self.buffer.len() {
            let byte = self.buffer[at];
            if csv && self.in_quotes && byte == self.options.escape && byte != self.options.quote {
                // An escaped byte says nothing, but it must have come.
                if at + 1 >= self.buffer.len() {
                    break;
                }
                at += 1;
            } else if csv && byte == self.options.quote {
                // A doubled quote toggles twice.
                self.in_quotes = !self.in_quotes;
            } else if !csv && byte == b'\\' {
                if at + 1 >= self.buffer.len() {
                    break;
                }
                at += 1;
            } else if byte == b'\n' && !self.in_quotes {
                self.scanned = at;
                return Some(at);
            }
            at += 1;
        }
        self.scanned = at;
        None
    }

    fn record(&mut self, bytes: &[u8], take: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
        let lines = 1 + bytes.iter().filter(|&&b| b == b'\n').count() as u64;
        self.line += lines;
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if self.ended || bytes == b"\\." {
            self.ended = true;
            return Ok(());
        }
        if std::mem::take(&mut self.header_pending) {
            return Ok(());
        }
        let text = utf8(bytes)?;
        let fields = match self.options.format {
            CopyFormat::Text => self.text_fields(text)?,
            CopyFormat::Csv => self.csv_fields(text),
            CopyFormat::Binary => return Err(bad("binary rows are no lines")),
        };
        take(Record {
            line: self.line,
            fields,
        })
    }

    fn text_fields(&self, text: &str) -> Result<Vec<Option<String>>> {
        let bytes = text.as_bytes();
        let mut fields = Vec::new();
        let mut start = 0;
        let mut at = 0;
        loop {
            if at >= bytes.len() || bytes[at] == self.options.delimiter {
                let raw = &text[start..at.min(bytes.len())];
                fields.push(if raw == self.options.null {
                    None
                } else {
                    Some(unescape(raw)?)
                });
                if at >= bytes.len() {
                    return Ok(fields);
                }
                start = at + 1;
            } else if bytes[at] == b'\\' {
                at += 1;
            }
            at += 1;
        }
    }

    /// The quotes are balanced: the record ended outside of them.
    fn csv_fields(&self, text: &str) -> Vec<Option<String>> {
        let (quote, escape, delimiter) = (
            self.options.quote,
            self.options.escape,
            self.options.delimiter,
        );
        let bytes = text.as_bytes();
        let mut fields = Vec::new();
        let mut field: Vec<u8> = Vec::new();
        let (mut quoted, mut in_quotes) = (false, false);
        let mut finish = |field: &mut Vec<u8>, quoted: &mut bool| {
            // Cut at ASCII bytes only, so it stays UTF-8.
            let value = String::from_utf8_lossy(field).into_owned();
            let at = fields.len();
            let may_be_null = match quoted {
                true => is_in(&self.options.force_null, at),
                false => !is_in(&self.options.force_not_null, at),
            };
            let is_null = may_be_null && value == self.options.null;
            fields.push((!is_null).then_some(value));
            field.clear();
            *quoted = false;
        };
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            let next = bytes.get(at + 1).copied();
            if in_quotes && byte == escape && next.is_some_and(|n| n == quote || n == escape) {
                field.extend(next);
                at += 1;
            } else if byte == quote {
                in_quotes = !in_quotes;
                quoted = true;
            } else if byte == delimiter && !in_quotes {
                finish(&mut field, &mut quoted);
            } else {
                field.push(byte);
            }
            at += 1;
        }
        finish(&mut field, &mut quoted);
        fields
    }
}

fn bad(message: &str) -> Error {
    Error::CopyFormat {
        message: message.to_owned(),
    }
}

/// The escapes of the text format.
fn unescape(raw: &str) -> Result<String> {
    if !raw.contains('\\') {
        return Ok(raw.to_owned());
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' || at + 1 == bytes.len() {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let digits = |radix: u32, start: usize, most: usize| {
            let count = bytes[start..]
                .iter()
                .take(most)
                .take_while(|b| char::from(**b).is_digit(radix))
                .count();
            let value = bytes[start..start + count].iter().fold(0u32, |sum, b| {
                sum * radix + char::from(*b).to_digit(radix).unwrap_or(0)
            });
            (value as u8, count)
        };
        let (byte, used) = match bytes[at + 1] {
            b'b' => (8, 1),
            b'f' => (12, 1),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'v' => (11, 1),
            b'0'..=b'7' => digits(8, at + 1, 3),
            b'x' => match digits(16, at + 2, 2) {
                (_, 0) => (b'x', 1),
                (value, count) => (value, count + 1),
            },
            other => (other, 1),
        };
        out.push(byte);
        at += 1 + used;
    }
    // Escapes can make bytes that are no text.
    utf8(&out).map(str::to_owned)
}

/// Appends one line of output, with its line end.
pub fn write_line(options: &CopyOptions, fields: &[Option<String>], out: &mut Vec<u8>) {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.push(options.delimiter);
        }
        match (field, options.format) {
            (None, _) | (_, CopyFormat::Binary) => out.extend_from_slice(options.null.as_bytes()),
            (Some(value), CopyFormat::Text) => write_escaped(options, value, out),
            (Some(value), CopyFormat::Csv) => {
                let forced = is_in(&options.force_quote, at);
                write_quoted(options, value, fields.len() == 1, forced, out);
            }
        }
    }
    out.push(b'\n');
}

fn write_escaped(options: &CopyOptions, value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        let escape = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            _ if byte == options.delimiter => byte,
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend([b'\\', escape]);
    }
}

fn write_quoted(options: &CopyOptions, value: &str, alone: bool, forced: bool, out: &mut Vec<u8>) {
    let special = |b: u8| b == options.delimiter || b == options.quote || b == b'\n' || b == b'\r';
    let must = value == options.null || value.bytes().any(special) || (alone && value == "\\.");
    if !must && !forced {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(options.quote);
    for byte in value.bytes() {
        if byte == options.quote || byte == options.escape {
            out.push(options.escape);
        }
        out.push(byte);
    }
    out.push(options.quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits `input` cut into pieces of every size; all cuts must agree.
    fn records(options: &CopyOptions, input: &str) -> Result<Vec<Record>> {
        let mut results = Vec::new();
        for piece in 1..=input.len().max(1) {
            let mut splitter = Splitter::new(options.clone());
            let mut records = Vec::new();
            let mut take = |record| {
                records.push(record);
                Ok(())
            };
            for bytes in input.as_bytes().chunks(piece) {
                splitter.push(bytes, &mut take)?;
            }
            splitter.finish(&mut take)?;
            results.push(records);
        }
        assert!(
            results.windows(2).all(|w| w[0] == w[1]),
            "cuts change the result of {input:?}"
        );
        Ok(results.pop().unwrap_or_default())
    }

    fn fields(options: &CopyOptions, input: &str) -> Vec<Vec<Option<String>>> {
        records(options, input)
            .unwrap()
            .into_iter()
            .map(|record| record.fields)
            .collect()
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values
            .iter()
            .map(|v| (*v != "NULL").then(|| (*v).to_owned()))
            .collect()
    }

    #[test]
    fn csv_tells_empty_strings_from_null() {
        let csv = CopyOptions::new(CopyFormat::Csv);
        assert_eq!(fields(&csv, "a,,\"\"\n"), [some(&["a", "NULL", ""])]);
        assert_eq!(
            fields(&csv, "\"a\"\"b\",\"c,d\r\ne\"\r\nx,y\n"),
            [some(&["a\"b", "c,d\r\ne"]), some(&["x", "y"])]
        );
        assert_eq!(fields(&csv, "last,line"), [some(&["last", "line"])]);
    }

    #[test]
    fn records_know_their_lines() {
        let csv = CopyOptions {
            header: true,
            ..CopyOptions::new(CopyFormat::Csv)
        };
        let lines: Vec<u64> = records(&csv, "h\n\"a\nb\"\nc\n")
            .unwrap()
            .iter()
            .map(|r| r.line)
            .collect();
        assert_eq!(lines, [3, 4]);
    }

    #[test]
    fn csv_with_its_own_quote_and_escape() {
        let csv = CopyOptions {
            quote: b'\'',
            escape: b'\\',
            delimiter: b';',
            ..CopyOptions::new(CopyFormat::Csv)
        };
        assert_eq!(
            fields(&csv, "'a\\'b';'\\\\';c\n"),
            [some(&["a'b", "\\", "c"])]
        );
        let csv = CopyOptions {
            null: "NULL".into(),
            ..CopyOptions::new(CopyFormat::Csv)
        };
        assert_eq!(
            fields(&csv, "NULL,\"NULL\",\n"),
            [vec![None, Some("NULL".into()), Some(String::new())]]
        );
    }

    #[test]
    fn quotes_and_nulls_are_forced() {
        let csv = CopyOptions {
            force_not_null: vec![true, false],
            force_null: vec![false, true],
            force_quote: vec![false, true],
            ..CopyOptions::new(CopyFormat::Csv)
        };
        assert_eq!(fields(&csv, ",\"\"\n"), [vec![Some(String::new()), None]]);
        let mut out = Vec::new();
        write_line(&csv, &some(&["a", "b"]), &mut out);
        write_line(&csv, &some(&["a", "NULL"]), &mut out);
        assert_eq!(out, b"a,\"b\"\na,\n");
    }

    #[test]
    fn unclosed_quotes_are_an_error() {
        assert!(matches!(
            records(&CopyOptions::new(CopyFormat::Csv), "\"a\n"),
            Err(Error::CopyFormat { .. })
        ));
    }

    #[test]
    fn text_has_escapes() {
        let text = CopyOptions::new(CopyFormat::Text);
        assert_eq!(
            fields(&text, "a\\tb\t\\N\t\\\\N\n"),
            [some(&["a\tb", "NULL", "\\N"])]
        );
        assert_eq!(fields(&text, "\\x41\\102\t\\\n\n"), [some(&["AB", "\n"])]);
        assert_eq!(fields(&text, "a\n\\.\nb\n"), [some(&["a"])]);
        assert!(matches!(
            records(&text, "\\377\n"),
            Err(Error::InvalidUtf8 { .. })
        ));
    }

    #[test]
    fn output_reads_back() {
        let row = vec![
            Some("a,\"b\"\n\t\\".to_owned()),
            None,
            Some(String::new()),
            Some("\\N".to_owned()),
        ];
        for format in [CopyFormat::Csv, CopyFormat::Text] {
            let options = CopyOptions::new(format);
            let mut out = Vec::new();
            write_line(&options, &row, &mut out);
            assert_eq!(
                fields(&options, std::str::from_utf8(&out).unwrap()),
                std::slice::from_ref(&row)
            );
        }
    }
}
