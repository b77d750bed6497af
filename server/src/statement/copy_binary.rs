//! COPY's binary format.
//!
//! ```text
//!   signature 11 bytes | flags i32 | length of an extension i32 | extension
//!   each row:  number of fields i16 | for each: length i32, or -1 for NULL | value
//!   end:       -1 i16
//! ```
//!
//! Values are those of binary results and parameters. Input comes in pieces of any size; only an
//! unfinished row is kept.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Error, Result};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Bytes before the first row, without an extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;

/// Flags that change how rows are read; the low half may be ignored.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

/// Longest row, in bytes.
const ROW_BYTES_MAX: usize = 64 << 20;

/// What stands in front of the rows.
pub(crate) fn header() -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

/// What stands behind the rows.
pub(crate) const TRAILER: [u8; 2] = (-1i16).to_be_bytes();

/// The fields of a row; `None` is NULL.
pub(crate) type Fields = Vec<Option<Bytes>>;

/// Splits input into rows.
#[derive(Debug)]
pub(crate) struct RowSplitter {
    columns: usize,
    buffer: BytesMut,
    has_header: bool,
    has_ended: bool,
    rows: u64,
}

impl RowSplitter {
    /// A splitter at the start of the input, for rows of so many columns.
    pub(crate) fn new(columns: usize) -> RowSplitter {
        RowSplitter {
            columns,
            buffer: BytesMut::new(),
            has_header: false,
            has_ended: false,
            rows: 0,
        }
    }

    /// Rows read so far; in messages, the line.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes a piece of input and gives its whole rows to `take`.
    ///
    /// # Errors
    /// Input that breaks the format, or what `take` returns.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Fields) -> Result<()>,
    ) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if !self.has_header && !self.header()? {
            return Ok(());
        }
        while let Some(fields) = self.row()? {
            take(fields)?;
        }
        if self.buffer.len() > ROW_BYTES_MAX {
            return Err(Error::LimitExceeded {
                message: format!("row longer than {ROW_BYTES_MAX} bytes"),
                hint: None,
            });
        }
        Ok(())
    }

    /// Ends the input.
    ///
    /// # Errors
    /// If a row is unfinished.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.buffer.is_empty() && self.has_header {
            true => Ok(()),
            false => Err(broken("unexpected EOF in COPY data")),
        }
    }

    /// Reads what stands in front of the rows, if all of it has come.
    fn header(&mut self) -> Result<bool> {
        let seen = self.buffer.len().min(SIGNATURE.len());
        if self.buffer[..seen] != SIGNATURE[..seen] {
            return Err(broken("COPY file signature not recognized"));
        }
        if self.buffer.len() < HEADER_BYTES {
            return Ok(false);
        }
        let mut rest = &self.buffer[SIGNATURE.len()..];
        let (flags, extension) = (rest.get_u32(), rest.get_i32());
        if flags & CRITICAL_FLAGS != 0 {
            return Err(broken("unrecognized critical flags in COPY file header"));
        }
        let extension = usize::try_from(extension)
            .ok()
            .filter(|length| *length <= ROW_BYTES_MAX)
            .ok_or_else(|| broken("invalid COPY file header (missing length)"))?;
        if rest.len() < extension {
            return Ok(false);
        }
        self.buffer.advance(HEADER_BYTES + extension);
        self.has_header = true;
        Ok(true)
    }

    /// The next row, if all of it has come.
    fn row(&mut self) -> Result<Option<Fields>> {
        if self.has_ended {
            return match self.buffer.is_empty() {
                true => Ok(None),
                false => Err(broken("received copy data after EOF marker")),
            };
        }
        let mut rest = &self.buffer[..];
        if rest.len() < 2 {
            return Ok(None);
        }
        let count = rest.get_i16();
        if count == -1 {
            self.buffer.advance(2);
            self.has_ended = true;
            return self.row();
        }
        if usize::try_from(count) != Ok(self.columns) {
            let message = format!("row field count is {count}, expected {}", self.columns);
            return Err(Error::CopyFormat { message });
        }
        // Where each field is; nothing is taken before all of the row is there.
        let mut lengths = Vec::with_capacity(self.columns);
        for _ in 0..self.columns {
            if rest.len() < 4 {
                return Ok(None);
            }
            let length = rest.get_i32();
            if length < -1 {
                return Err(broken("invalid field size"));
            }
            let length = usize::try_from(length).ok();
            if rest.len() < length.unwrap_or(0) {
                return Ok(None);
            }
            rest.advance(length.unwrap_or(0));
            lengths.push(length);
        }
        self.buffer.advance(2);
        let fields = lengths.into_iter().map(|length| {
            self.buffer.advance(4);
            length.map(|length| self.buffer.split_to(length).freeze())
        });
        let fields = fields.collect();
        self.rows += 1;
        Ok(Some(fields))
    }
}

fn broken(message: &str) -> Error {
    Error::CopyFormat {
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Vec<u8> {
        let mut bytes = header();
        bytes.extend_from_slice(&[0, 2, 0, 0, 0, 1, b'x', 255, 255, 255, 255]);
        bytes.extend_from_slice(&[0, 2, 255, 255, 255, 255, 0, 0, 0, 0]);
        bytes.extend_from_slice(&TRAILER);
        bytes
    }

    #[test]
    fn rows_come_out_whatever_the_pieces() {
        let expected = vec![
            vec![Some(Bytes::from("x")), None],
            vec![None, Some(Bytes::new())],
        ];
        for piece in [1, 2, 3, 7, 100] {
            let (mut splitter, mut rows) = (RowSplitter::new(2), Vec::new());
            for bytes in input().chunks(piece) {
                let take = |row| {
                    rows.push(row);
                    Ok(())
                };
                splitter.push(bytes, take).unwrap();
            }
            splitter.finish().unwrap();
            assert_eq!(rows, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn broken_input_is_refused() {
        let push = |bytes: &[u8]| RowSplitter::new(2).push(bytes, |_| Ok(()));
        assert!(push(b"1\t2\n").is_err());
        let mut other_count = header();
        other_count.extend_from_slice(&[0, 3]);
        assert!(push(&other_count).is_err());
        let mut behind_the_end = input();
        behind_the_end.push(0);
        assert!(push(&behind_the_end).is_err());
        let mut splitter = RowSplitter::new(2);
        let all = input();
        splitter.push(&all[..all.len() - 8], |_| Ok(())).unwrap();
        assert!(splitter.finish().is_err());
    }
}
