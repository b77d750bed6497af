//! Rows of Arrow batches as DataRow messages, or as lines of COPY output.
//!
//! Each column is looked at once per batch (`Values`); per value there is one `match`.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationNanosecondType, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Schema, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt32Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use pgwire::messages::data::{FORMAT_CODE_BINARY, FORMAT_CODE_TEXT, FieldDescription};

use crate::error::Result;
use crate::wire::backend::{Outbox, without_nul};
use crate::wire::frame::Format;
use crate::wire::types::SqlType;
use crate::wire::{binary, text};

/// What the look of a value depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// `TimeZone` of the session.
    pub zone: Tz,
}

/// A column, downcast.
#[derive(Debug)]
pub(crate) enum Values {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(UInt32Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    Text(StringArray),
    Bytea(BinaryArray),
    Date(Int32Array),
    Time(Int64Array),
    Timestamp(Int64Array),
    Timestamptz(Int64Array),
    Interval(IntervalMonthDayNanoArray),
    Array {
        lists: ListArray,
        items: Box<Values>,
        element_oid: u32,
    },
}

impl Values {
    /// Looks at a column. Types without a form of their own are shown as Arrow displays them.
    ///
    /// # Errors
    /// If a value cannot be converted, such as a `bigint` beyond 63 bits.
    pub(crate) fn new(column: &ArrayRef) -> Result<Values> {
        let micros = |array: &ArrayRef| {
            array
                .as_primitive::<TimestampMicrosecondType>()
                .reinterpret_cast::<Int64Type>()
        };
        Ok(match column.data_type() {
            DataType::Boolean => Values::Bool(column.as_boolean().clone()),
            DataType::Int16 => Values::Int2(column.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Values::Int4(column.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Values::Int8(column.as_primitive::<Int64Type>().clone()),
            DataType::UInt32 => Values::Oid(column.as_primitive::<UInt32Type>().clone()),
            DataType::Float32 => Values::Float4(column.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Values::Float8(column.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, scale) => {
                Values::Decimal128(column.as_primitive().clone(), *scale)
            }
            DataType::Decimal256(_, scale) => {
                Values::Decimal256(column.as_primitive().clone(), *scale)
            }
            DataType::Utf8 => Values::Text(column.as_string().clone()),
            DataType::Binary => Values::Bytea(column.as_binary().clone()),
            DataType::Date32 => {
                Values::Date(column.as_primitive::<Date32Type>().reinterpret_cast())
            }
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(
                column
                    .as_primitive::<Time64MicrosecondType>()
                    .reinterpret_cast(),
            ),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Values::Timestamp(micros(column)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Values::Timestamptz(micros(column))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Values::Interval(column.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            DataType::List(item) => {
                let lists = column.as_list::<i32>().clone();
                let items = Values::new(lists.values())?;
                let element_oid = match SqlType::of(item.data_type()) {
                    SqlType::Array(innermost) => innermost.oid(),
                    element => element.oid(),
                };
                Values::Array {
                    lists,
                    items: Box::new(items),
                    element_oid,
                }
            }
            other => return Self::converted(column, other),
        })
    }

    fn converted(column: &ArrayRef, data_type: &DataType) -> Result<Values> {
        let target = match data_type {
            DataType::Int8 | DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt64 => DataType::Int64,
            DataType::Float16 => DataType::Float32,
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                DataType::Decimal128(38, *scale)
            }
            DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                DataType::Binary
            }
            DataType::Date64 => DataType::Date32,
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Duration(_) => return Self::of_duration(column),
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                DataType::List(Arc::clone(item))
            }
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            _ => return Ok(Values::Text(displayed(column)?)),
        };
        // Checked: a value that does not fit is an error, not NULL.
        let options = arrow::compute::CastOptions {
            safe: false,
            ..Default::default()
        };
        Self::new(&arrow::compute::cast_with_options(
            column, &target, &options,
        )?)
    }

    /// A difference of two timestamps is an interval of days and time, as in PostgreSQL.
    fn of_duration(column: &ArrayRef) -> Result<Values> {
        let nanos = cast(column, &DataType::Duration(TimeUnit::Nanosecond))?;
        let day = super::temporal::MICROS_DAY * 1000;
        let intervals: IntervalMonthDayNanoArray = nanos
            .as_primitive::<DurationNanosecondType>()
            .iter()
            .map(|value| {
                value.map(|n| IntervalMonthDayNanoType::make_value(0, (n / day) as i32, n % day))
            })
            .collect();
        Ok(Values::Interval(intervals))
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Bool(a) => a.is_null(row),
            Values::Int2(a) => a.is_null(row),
            Values::Int4(a) | Values::Date(a) => a.is_null(row),
            Values::Int8(a) | Values::Time(a) | Values::Timestamp(a) | Values::Timestamptz(a) => {
                a.is_null(row)
            }
            Values::Oid(a) => a.is_null(row),
            Values::Float4(a) => a.is_null(row),
            Values::Float8(a) => a.is_null(row),
            Values::Decimal128(a, _) => a.is_null(row),
            Values::Decimal256(a, _) => a.is_null(row),
            Values::Text(a) => a.is_null(row),
            Values::Bytea(a) => a.is_null(row),
            Values::Interval(a) => a.is_null(row),
            Values::Array { lists, .. } => lists.is_null(row),
        }
    }
}

fn displayed(column: &ArrayRef) -> Result<StringArray> {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
    (0..column.len())
        .map(|row| {
            Ok(column
                .is_valid(row)
                .then(|| formatter.value(row).try_to_string())
                .transpose()?)
        })
        .collect()
}

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
                    Format::Binary => {
                        with_length(bytes, |bytes| binary::put_value(values, row, bytes))
                    }
                }
            }
        });
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
            let sql_type = SqlType::of(field.data_type());
            let format = match formats.get(index) {
                None | Some(Format::Text) => FORMAT_CODE_TEXT,
                Some(Format::Binary) => FORMAT_CODE_BINARY,
            };
            // No column is known as one of a table.
            let (table, column) = (0, 0);
            FieldDescription::new(
                without_nul(field.name()),
                table,
                column,
                sql_type.oid(),
                sql_type.value_bytes(),
                sql_type.modifier(),
                format,
            )
        })
        .collect()
}
