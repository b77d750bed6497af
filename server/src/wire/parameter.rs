//! Parameters of Bind, text and binary, as one-row columns.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::{Field, IntervalMonthDayNano};
use bytes::{Buf, Bytes};

use crate::error::{Error, Result};
use crate::wire::binary::{EPOCH_DAYS, EPOCH_MICROS, JSONB_VERSION};
use crate::wire::frame::Format;
use crate::wire::numeric;
use planner::values::input::parse_column;
use planner::values::record::{Record, struct_of};
use planner::values::temporal::utc;
use planner::values::types::{SqlType, UTC};

/// Reads one parameter as `sql_type`: an array of one row with the type's Arrow type.
///
/// # Errors
/// [`Error::InvalidUtf8`] for text that is none, [`Error::BinaryFormat`] for bytes that are no
/// value of the type, and what reading text can give.
pub fn decode(
    value: Option<&Bytes>,
    format: Format,
    sql_type: &SqlType,
    zone: Tz,
) -> Result<ArrayRef> {
    let Some(bytes) = value else {
        return Ok(new_null_array(&sql_type.arrow(), 1));
    };
    match format {
        Format::Text => decode_text(utf8(bytes)?, sql_type, zone),
        Format::Binary => decode_binary(bytes, sql_type, zone),
    }
}

fn decode_text(text: &str, sql_type: &SqlType, zone: Tz) -> Result<ArrayRef> {
    parse_column(&StringArray::from(vec![text]), sql_type, zone).map_err(|bad| bad.error.into())
}

/// Checks that bytes are UTF-8 without NUL.
///
/// # Errors
/// [`Error::InvalidUtf8`] with the first bad bytes.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    let bad = |at: usize, length: usize| {
        let shown: Vec<String> = bytes[at..bytes.len().min(at + length)]
            .iter()
            .map(|b| format!("0x{b:02x}"))
            .collect();
        Error::InvalidUtf8 {
            bytes: shown.join(" "),
        }
    };
    let text =
        std::str::from_utf8(bytes).map_err(|e| bad(e.valid_up_to(), e.error_len().unwrap_or(1)))?;
    match text.find('\0') {
        Some(at) => Err(bad(at, 1)),
        None => Ok(text),
    }
}

fn decode_binary(mut bytes: &[u8], sql_type: &SqlType, zone: Tz) -> Result<ArrayRef> {
    let broken = || Error::BinaryFormat {
        type_name: sql_type.base_name(),
    };
    let sized = |length: usize| {
        if bytes.len() == length {
            Ok(())
        } else {
            Err(broken())
        }
    };
    Ok(match sql_type {
        SqlType::Bool => {
            sized(1)?;
            Arc::new(BooleanArray::from(vec![bytes[0] != 0]))
        }
        SqlType::Int2 => {
            sized(2)?;
            Arc::new(Int16Array::from(vec![bytes.get_i16()]))
        }
        SqlType::Int4 => {
            sized(4)?;
            Arc::new(Int32Array::from(vec![bytes.get_i32()]))
        }
        SqlType::Int8 => {
            sized(8)?;
            Arc::new(Int64Array::from(vec![bytes.get_i64()]))
        }
        SqlType::Oid => {
            sized(4)?;
            Arc::new(UInt32Array::from(vec![bytes.get_u32()]))
        }
        SqlType::Float4 => {
            sized(4)?;
            Arc::new(Float32Array::from(vec![bytes.get_f32()]))
        }
        SqlType::Float8 => {
            sized(8)?;
            Arc::new(Float64Array::from(vec![bytes.get_f64()]))
        }
        SqlType::Numeric(_) => return decode_text(&numeric::decimal_text(bytes)?, sql_type, zone),
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) => {
            return decode_text(utf8(bytes)?, sql_type, zone);
        }
        SqlType::Bytea => Arc::new(BinaryArray::from(vec![bytes])),
        SqlType::Jsonb => match bytes.split_first() {
            Some((&JSONB_VERSION, text)) => return decode_text(utf8(text)?, sql_type, zone),
            _ => return Err(broken()),
        },
        SqlType::Uuid => {
            sized(16)?;
            let value = FixedSizeBinaryArray::try_from_iter([bytes].into_iter());
            Arc::new(value.map_err(|_| broken())?)
        }
        SqlType::Date => {
            sized(4)?;
            let days = bytes.get_i32().checked_add(EPOCH_DAYS).ok_or_else(broken)?;
            Arc::new(Date32Array::from(vec![days]))
        }
        SqlType::Time => {
            sized(8)?;
            let micros = bytes.get_i64();
            if !(0..=planner::values::temporal::MICROS_DAY).contains(&micros) {
                return Err(broken());
            }
            Arc::new(Time64MicrosecondArray::from(vec![micros]))
        }
        SqlType::Timestamp | SqlType::Timestamptz => {
            sized(8)?;
            let micros = bytes
                .get_i64()
                .checked_add(EPOCH_MICROS)
                .ok_or_else(broken)?;
            let array = TimestampMicrosecondArray::from(vec![micros]);
            if *sql_type == SqlType::Timestamptz {
                Arc::new(array.with_timezone(UTC))
            } else {
                Arc::new(array)
            }
        }
        SqlType::Interval => {
            sized(16)?;
            let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            let nanos = micros.checked_mul(1000).ok_or_else(broken)?;
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                IntervalMonthDayNano::new(months, days, nanos),
            ]))
        }
        SqlType::Array(_) => return decode_array(bytes, sql_type, zone),
        SqlType::Record(record) => return decode_record(bytes, record, zone),
        SqlType::Map(..) => return decode_text(utf8(bytes)?, sql_type, utc()),
    })
}

/// An array of the dimensions of its type, or an empty one: how many dimensions, whether it has NULLs,
/// the type of its elements, extent and lower bound of each dimension, elements.
fn decode_array(mut bytes: &[u8], sql_type: &SqlType, zone: Tz) -> Result<ArrayRef> {
    let broken = || Error::BinaryFormat {
        type_name: sql_type.base_name(),
    };
    let element = sql_type.element();
    if bytes.len() < 12 {
        return Err(broken());
    }
    let (dimensions, _has_nulls, element_oid) = (bytes.get_i32(), bytes.get_i32(), bytes.get_u32());
    let dimensions = usize::try_from(dimensions).map_err(|_| broken())?;
    if element_oid != element.oid() || bytes.len() / 8 < dimensions {
        return Err(broken());
    }
    if dimensions != 0 && dimensions != sql_type.dimensions() {
        return Err(Error::not_supported(format!(
            "an array of {dimensions} dimensions is not supported here"
        )));
    }
    // The extents of the outer dimensions first, then that of the elements.
    let mut extents = vec![0usize; sql_type.dimensions()];
    for extent in extents.iter_mut().take(dimensions) {
        let (length, _lower_bound) = (bytes.get_i32(), bytes.get_i32());
        *extent = usize::try_from(length).map_err(|_| broken())?;
    }
    let count = extents
        .iter()
        .try_fold(1usize, |all, extent| all.checked_mul(*extent));
    // Each element has its length, at least.
    let count = count
        .filter(|count| *count <= bytes.len() / 4)
        .ok_or_else(broken)?;
    let mut items: Vec<ArrayRef> = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(decode_item(&mut bytes, element, zone)?.ok_or_else(broken)?);
    }
    if !bytes.is_empty() {
        return Err(broken());
    }
    let parts: Vec<&dyn arrow::array::Array> = items.iter().map(AsRef::as_ref).collect();
    let mut values = if parts.is_empty() {
        arrow::array::new_empty_array(&element.arrow())
    } else {
        concat(&parts)?
    };
    // As many lists in each dimension as there are places in those around it.
    for at in (0..extents.len()).rev() {
        let lists = if count == 0 && at > 0 {
            0
        } else {
            extents[..at].iter().product()
        };
        let extent = if count == 0 { 0 } else { extents[at] };
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(extent, lists));
        values = Arc::new(ListArray::new(field, offsets, values, None));
    }
    Ok(values)
}

/// A composite value: how many fields, then type, length and bytes of each.
fn decode_record(mut bytes: &[u8], record: &Record, zone: Tz) -> Result<ArrayRef> {
    let broken = || Error::BinaryFormat {
        type_name: record.name().to_owned(),
    };
    if bytes.len() < 4 || usize::try_from(bytes.get_i32()) != Ok(record.fields.len()) {
        return Err(broken());
    }
    let mut columns = Vec::with_capacity(record.fields.len());
    for sql_type in record.types() {
        if bytes.len() < 8 || bytes.get_u32() != sql_type.oid() {
            return Err(broken());
        }
        columns.push(decode_item(&mut bytes, sql_type, zone)?.ok_or_else(broken)?);
    }
    if !bytes.is_empty() {
        return Err(broken());
    }
    Ok(struct_of(record, columns, None))
}

/// A value behind its length, which is -1 for NULL; `None` if there are too few bytes.
fn decode_item(bytes: &mut &[u8], sql_type: &SqlType, zone: Tz) -> Result<Option<ArrayRef>> {
    if bytes.len() < 4 {
        return Ok(None);
    }
    let Ok(length) = usize::try_from(bytes.get_i32()) else {
        return Ok(Some(new_null_array(&sql_type.arrow(), 1)));
    };
    if bytes.len() < length {
        return Ok(None);
    }
    let value = decode_binary(&bytes[..length], sql_type, zone)?;
    bytes.advance(length);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use bytes::BytesMut;

    use super::*;
    use crate::wire::binary::put_value;
    use planner::values::column::Values;
    use planner::values::record::TypeName;

    fn zone() -> Tz {
        "UTC".parse().unwrap()
    }

    fn matrix() -> SqlType {
        let row = SqlType::Array(Box::new(SqlType::Int4));
        SqlType::Array(Box::new(row))
    }

    fn pair() -> SqlType {
        SqlType::Record(Record {
            named: Some(TypeName {
                oid: 20_001,
                array_oid: 20_000,
                name: "pair".to_owned(),
            }),
            fields: vec![
                ("a".to_owned(), SqlType::Int4),
                ("b".to_owned(), SqlType::Varchar(Some(5))),
            ],
        })
    }

    #[test]
    fn composite_values_say_the_types_of_their_fields() {
        let text = Bytes::from_static(b"(258,)");
        let read = decode(Some(&text), Format::Text, &pair(), zone()).unwrap();
        let mut bytes = BytesMut::new();
        put_value(&Values::new(&read).unwrap(), 0, &mut bytes);
        #[rustfmt::skip]
        let expected = [
            0, 0, 0, 2,  0, 0, 0, 23,  0, 0, 0, 4,  0, 0, 1, 2,  0, 0, 4, 19,  255, 255, 255, 255,
        ];
        assert_eq!(bytes[..], expected);
        for wrong in [&expected[..3], &expected[..20], &[0, 0, 0, 1][..]] {
            let wrong = Bytes::copy_from_slice(wrong);
            let refused = decode(Some(&wrong), Format::Binary, &pair(), zone());
            assert!(matches!(refused, Err(Error::BinaryFormat { .. })));
        }
    }

    #[test]
    fn binary_results_are_binary_parameters() {
        for (sql_type, text) in [
            (SqlType::Bool, "t"),
            (SqlType::Int2, "-3"),
            (SqlType::Int4, "70000"),
            (SqlType::Int8, "-9000000000"),
            (SqlType::Oid, "4000000000"),
            (SqlType::Float4, "1.5"),
            (SqlType::Float8, "-0.25"),
            (SqlType::Numeric(Some((20, 4))), "-12345.6700"),
            (SqlType::Text, "häh"),
            (SqlType::Bytea, "\\x00ff"),
            (SqlType::Date, "1999-12-31"),
            (SqlType::Time, "12:34:56.789"),
            (SqlType::Timestamp, "1999-12-31 23:59:59"),
            (SqlType::Timestamptz, "2024-01-01 00:00:00+00"),
            (SqlType::Interval, "1 mon -2 days 03:00:00"),
            (SqlType::Array(Box::new(SqlType::Int4)), "{1,NULL,3}"),
            (SqlType::Array(Box::new(SqlType::Text)), "{}"),
            (pair(), "(7,\"a b\")"),
            (matrix(), "{{1,2,3},{4,NULL,6}}"),
            (matrix(), "{}"),
            (pair(), "(,)"),
            (SqlType::Array(Box::new(pair())), "{\"(1,x)\",NULL}"),
        ] {
            let read = decode(Some(&Bytes::from(text)), Format::Text, &sql_type, zone()).unwrap();
            let mut bytes = BytesMut::new();
            put_value(&Values::new(&read).unwrap(), 0, &mut bytes);
            let back = decode(Some(&bytes.freeze()), Format::Binary, &sql_type, zone()).unwrap();
            assert_eq!(back.to_data(), read.to_data(), "{sql_type} {text}");
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let binary = |bytes: &'static [u8], sql_type: SqlType| {
            decode(
                Some(&Bytes::from_static(bytes)),
                Format::Binary,
                &sql_type,
                zone(),
            )
        };
        assert!(matches!(
            binary(&[0, 1], SqlType::Int4),
            Err(Error::BinaryFormat { .. })
        ));
        assert!(matches!(
            binary(&[255], SqlType::Text),
            Err(Error::InvalidUtf8 { .. })
        ));
        assert!(matches!(
            binary(b"a\0b", SqlType::Text),
            Err(Error::InvalidUtf8 { .. })
        ));
        let array = SqlType::Array(Box::new(SqlType::Int4));
        let claims_too_much = &[
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 127, 255, 255, 255, 0, 0, 0, 1,
        ];
        assert!(matches!(
            binary(claims_too_much, array),
            Err(Error::BinaryFormat { .. })
        ));
        assert!(
            decode(None, Format::Binary, &SqlType::Date, zone())
                .unwrap()
                .is_null(0)
        );
    }
}
