//! Rows of Arrow batches as DataRow messages, or as lines of COPY output.
//!
//! Each column is looked at once per batch (`Values`); per value there is one `match`.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::{BufMut, BytesMut};
use pgwire::messages::data::{FORMAT_CODE_BINARY, FORMAT_CODE_TEXT, FieldDescription};
pub use planner::values::column::Style;
use planner::values::column::Values;
use planner::values::text;

use crate::error::Result;
use crate::wire::backend::{Outbox, without_nul};
use crate::wire::binary;
use crate::wire::column::WireColumn;
use crate::wire::frame::Format;

/// The rows of one batch, ready to be written.
pub struct RowEncoder {
    columns: Vec<(Values, Format)>,
    rows: usize,
    style: Style,
}

impl RowEncoder {
    /// Looks at the columns of a batch; `formats` has one entry a column.
    ///
    /// # Errors
    /// If a value has no form in PostgreSQL.
    pub fn new(batch: &RecordBatch, formats: &[Format], style: Style) -> Result<RowEncoder> {
        let columns = batch
            .columns()
            .iter()
            .zip(formats)
            .map(|(column, format)| Ok((Values::new(column)?, *format)))
            .collect::<Result<_>>()?;
        Ok(RowEncoder {
            columns,
            rows: batch.num_rows(),
            style,
        })
    }

    /// Rows of the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends row `row` as a DataRow.
    pub fn write_row(&self, row: usize, scratch: &mut String, outbox: &mut Outbox) {
        outbox.data_row(self.columns.len(), |bytes| {
            self.write_values(row, scratch, bytes)
        });
    }

    /// Appends row `row` as a piece of COPY data in binary: what a DataRow holds.
    pub fn write_copy_row(&self, row: usize, scratch: &mut String, outbox: &mut Outbox) {
        outbox.copy_data(|bytes| {
            bytes.put_i16(self.columns.len() as i16);
            self.write_values(row, scratch, bytes);
        });
    }

    /// Appends the values of a row, each with its length.
    fn write_values(&self, row: usize, scratch: &mut String, bytes: &mut BytesMut) {
        for (values, format) in &self.columns {
            if values.is_null(row) {
                bytes.put_i32(-1);
                continue;
            }
            match format {
                Format::Text => {
                    scratch.clear();
                    text::write_value(values, row, self.style, scratch);
                    bytes.put_i32(scratch.len() as i32);
                    bytes.put_slice(scratch.as_bytes());
                }
                Format::Binary => with_length(bytes, |bytes| binary::put_value(values, row, bytes)),
            }
        }
    }

    /// The text of one value, `None` for NULL.
    #[must_use]
    pub fn text(&self, column: usize, row: usize) -> Option<String> {
        let (values, _) = &self.columns[column];
        (!values.is_null(row)).then(|| {
            let mut out = String::new();
            text::write_value(values, row, self.style, &mut out);
            out
        })
    }
}

/// Writes a length in front of what `body` writes.
pub(crate) fn with_length(bytes: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let at = bytes.len();
    bytes.put_i32(0);
    body(bytes);
    let length = (bytes.len() - at - 4) as i32;
    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// One format a column from what Bind said: none, one for all, or one each.
#[must_use]
pub fn spread_formats(formats: &[Format], columns: usize) -> Option<Vec<Format>> {
    match formats {
        [] => Some(vec![Format::Text; columns]),
        [one] => Some(vec![*one; columns]),
        each if each.len() == columns => Some(each.to_vec()),
        _ => None,
    }
}

/// Describes the columns of a result.
#[must_use]
pub fn describe(schema: &Schema, formats: &[Format]) -> Vec<FieldDescription> {
    schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let column = WireColumn::of_field(field);
            let format = match formats.get(index) {
                None | Some(Format::Text) => FORMAT_CODE_TEXT,
                Some(Format::Binary) => FORMAT_CODE_BINARY,
            };
            FieldDescription::new(
                without_nul(field.name()),
                column.relation.cast_signed(),
                column.number,
                column.type_oid,
                column.value_bytes,
                column.modifier,
                format,
            )
        })
        .collect()
}
