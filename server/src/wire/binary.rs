//! Values in PostgreSQL's binary format: big-endian, dates and times counted from 2000-01-01.

use bytes::{BufMut, BytesMut};

use planner::values::column::{Style, Values};
use planner::values::temporal::{MICROS_DAY, utc};
use planner::values::text::write_value;

use crate::wire::encode::with_length;
use crate::wire::numeric;

/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;

/// Microseconds from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * MICROS_DAY;

/// First byte of a `jsonb`; its text follows.
pub(crate) const JSONB_VERSION: u8 = 1;

/// Writes a value that is not NULL, without its length.
pub(crate) fn put_value(values: &Values, row: usize, out: &mut BytesMut) {
    match values {
        Values::Bool(a) => out.put_u8(u8::from(a.value(row))),
        Values::Int2(a) => out.put_i16(a.value(row)),
        Values::Int4(a) => out.put_i32(a.value(row)),
        Values::Int8(a) | Values::Time(a) => out.put_i64(a.value(row)),
        Values::Oid(a) => out.put_u32(a.value(row)),
        Values::Float4(a) => out.put_f32(a.value(row)),
        Values::Float8(a) => out.put_f64(a.value(row)),
        Values::Decimal128(a, scale) => {
            numeric::put_decimal128(a.value(row), a.precision(), *scale, out)
        }
        Values::Decimal256(a, scale) => {
            numeric::put_decimal256(a.value(row), a.precision(), *scale, out)
        }
        Values::Text(a) => out.put_slice(a.value(row).as_bytes()),
        Values::Jsonb(a) => {
            out.put_u8(JSONB_VERSION);
            out.put_slice(a.value(row).as_bytes());
        }
        Values::Uuid(a) => out.put_slice(a.value(row)),
        Values::Bytea(a) => out.put_slice(a.value(row)),
        Values::Date(a) => out.put_i32(a.value(row).saturating_sub(EPOCH_DAYS)),
        Values::Timestamp(a) | Values::Timestamptz(a) => {
            out.put_i64(a.value(row).saturating_sub(EPOCH_MICROS))
        }
        Values::Interval(a) => {
            let value = a.value(row);
            out.put_i64(value.nanoseconds / 1000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        Values::Array {
            lists,
            items,
            element_oid,
        } => {
            let offsets = lists.value_offsets();
            put_array(
                items,
                offsets[row] as usize..offsets[row + 1] as usize,
                *element_oid,
                out,
            );
        }
        Values::Record { fields, oids, .. } => {
            out.put_i32(fields.len() as i32);
            for (field, oid) in fields.iter().zip(oids) {
                out.put_u32(*oid);
                if field.is_null(row) {
                    out.put_i32(-1);
                } else {
                    with_length(out, |out| put_value(field, row, out));
                }
            }
        }
        // There is no binary format of them.
        Values::Map { .. } => {
            let mut text = String::new();
            write_value(values, row, Style { zone: utc() }, &mut text);
            out.put_slice(text.as_bytes());
        }
    }
}

/// Array format: dimensions, whether it has NULLs, element type, extent and lower bound of each
/// dimension, elements. Lists in lists become further dimensions if they are all of one length.
fn put_array(items: &Values, range: std::ops::Range<usize>, element_oid: u32, out: &mut BytesMut) {
    let mut extents = Vec::new();
    let mut leaves = (items, range);
    while !leaves.1.is_empty() {
        extents.push(leaves.1.len() / extents.iter().product::<usize>().max(1));
        let (Values::Array { lists, items, .. }, range) = &leaves else {
            break;
        };
        let offsets = lists.value_offsets();
        leaves = (
            items.as_ref(),
            offsets[range.start] as usize..offsets[range.end] as usize,
        );
    }
    let (items, range) = leaves;
    out.put_i32(extents.len() as i32);
    out.put_i32(i32::from(range.clone().any(|index| items.is_null(index))));
    out.put_u32(element_oid);
    for extent in &extents {
        out.put_i32(*extent as i32);
        out.put_i32(1);
    }
    for index in range {
        if items.is_null(index) {
            out.put_i32(-1);
        } else {
            with_length(out, |out| put_value(items, index, out));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Int32Array, ListArray, TimestampMicrosecondArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn bytes(column: ArrayRef) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_value(&Values::new(&column).unwrap(), 0, &mut out);
        out.to_vec()
    }

    #[test]
    fn counts_from_the_year_2000() {
        assert_eq!(bytes(Arc::new(Date32Array::from(vec![EPOCH_DAYS]))), [0; 4]);
        assert_eq!(
            bytes(Arc::new(TimestampMicrosecondArray::from(vec![
                EPOCH_MICROS + 1
            ]))),
            1i64.to_be_bytes()
        );
        assert_eq!(bytes(Arc::new(Int32Array::from(vec![258]))), [0, 0, 1, 2]);
    }

    #[test]
    fn arrays_say_their_shape() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        #[rustfmt::skip]
        let expected = [
            0, 0, 0, 1,  0, 0, 0, 1,  0, 0, 0, 23,  0, 0, 0, 2,  0, 0, 0, 1,
            0, 0, 0, 4,  0, 0, 0, 1,  255, 255, 255, 255,
        ];
        assert_eq!(bytes(Arc::new(list)), expected);
    }
}
