//! Values as text, byte for byte as PostgreSQL's output functions write them.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef};

use crate::values::column::{Style, Values};
use crate::values::error::Result;
use crate::values::map::write_map;
use crate::values::record::write_field;
use crate::values::{interval, numeric, temporal};

/// Writes a value that is not NULL.
pub fn write_value(values: &Values, row: usize, style: Style, out: &mut String) {
    match values {
        Values::Bool(a) => out.push(if a.value(row) { 't' } else { 'f' }),
        Values::Int2(a) => display(a.value(row), out),
        Values::Int4(a) => display(a.value(row), out),
        Values::Int8(a) => display(a.value(row), out),
        Values::Oid(a) => display(a.value(row), out),
        Values::Float4(a) => numeric::write_float4(a.value(row), out),
        Values::Float8(a) => numeric::write_float8(a.value(row), out),
        Values::Decimal128(a, scale) => {
            numeric::write_decimal128(a.value(row), a.precision(), *scale, out)
        }
        Values::Decimal256(a, scale) => {
            numeric::write_decimal256(a.value(row), a.precision(), *scale, out)
        }
        Values::Text(a) => out.push_str(a.value(row)),
        Values::Jsonb(a) => out.push_str(a.value(row)),
        Values::Uuid(a) => write_uuid(a.value(row), out),
        Values::Bytea(a) => {
            out.push_str("\\x");
            a.value(row).iter().for_each(|b| {
                let _ = write!(out, "{b:02x}");
            });
        }
        Values::Date(a) => temporal::write_date(i64::from(a.value(row)), out),
        Values::Time(a) => temporal::write_time(a.value(row), out),
        Values::Timestamp(a) => temporal::write_timestamp(a.value(row), out),
        Values::Timestamptz(a) => temporal::write_timestamptz(a.value(row), style.zone, out),
        Values::Interval(a) => {
            let value = a.value(row);
            interval::write_interval(value.months, value.days, value.nanoseconds / 1000, out);
        }
        Values::Array { lists, items, .. } => {
            let offsets = lists.value_offsets();
            write_array(
                items,
                offsets[row] as usize..offsets[row + 1] as usize,
                style,
                out,
            );
        }
        Values::Record { fields, .. } => {
            out.push('(');
            for (at, field) in fields.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                if !field.is_null(row) {
                    let mut text = String::new();
                    write_value(field, row, style, &mut text);
                    write_field(&text, out);
                }
            }
            out.push(')');
        }
        Values::Map { maps, keys, values } => {
            let offsets = maps.value_offsets();
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            write_map(keys, values, range, style, out);
        }
    }
}

/// Writes a uuid in groups of hexadecimal digits.
pub(crate) fn write_uuid(bytes: &[u8], out: &mut String) {
    for (at, byte) in bytes.iter().enumerate() {
        out.push_str(if matches!(at, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        });
        let _ = write!(out, "{byte:02x}");
    }
}

/// All values of a column.
pub fn column_texts(column: &ArrayRef, style: Style) -> Result<Vec<Option<String>>> {
    let values = Values::new(column)?;
    let text = |row| {
        let mut out = String::new();
        write_value(&values, row, style, &mut out);
        out
    };
    Ok((0..column.len())
        .map(|row| (!values.is_null(row)).then(|| text(row)))
        .collect())
}

fn display(value: impl std::fmt::Display, out: &mut String) {
    let _ = write!(out, "{value}");
}

fn write_array(items: &Values, range: std::ops::Range<usize>, style: Style, out: &mut String) {
    out.push('{');
    let first = range.start;
    let mut item = String::new();
    for index in range {
        if index > first {
            out.push(',');
        }
        if items.is_null(index) {
            out.push_str("NULL");
            continue;
        }
        item.clear();
        write_value(items, index, style, &mut item);
        if matches!(items, Values::Array { .. }) {
            out.push_str(&item);
        } else {
            write_item(&item, out);
        }
    }
    out.push('}');
}

/// Writes an element of an array that is not NULL.
pub fn write_item(item: &str, out: &mut String) {
    if !needs_quotes(item) {
        out.push_str(item);
    } else {
        write_quoted(item, out);
    }
}

/// Writes a text in quotes.
pub(crate) fn write_quoted(item: &str, out: &mut String) {
    out.push('"');
    for c in item.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// PostgreSQL's `array_out`: quotes what would otherwise read back differently.
fn needs_quotes(item: &str) -> bool {
    item.is_empty()
        || item.eq_ignore_ascii_case("null")
        || item.chars().any(|c| {
            matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace() || c == '\x0b'
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array,
        IntervalMonthDayNanoArray, ListArray, StringArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Int32Type, IntervalMonthDayNano};

    use super::*;

    fn texts(column: ArrayRef) -> Vec<String> {
        let values = Values::new(&column).unwrap();
        let style = Style {
            zone: "UTC".parse().unwrap(),
        };
        (0..column.len())
            .map(|row| {
                let mut out = String::new();
                if values.is_null(row) {
                    out.push_str("<null>");
                } else {
                    write_value(&values, row, style, &mut out);
                }
                out
            })
            .collect()
    }

    #[test]
    fn scalars() {
        assert_eq!(
            texts(Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None
            ]))),
            ["t", "f", "<null>"]
        );
        assert_eq!(texts(Arc::new(Int32Array::from(vec![-1]))), ["-1"]);
        assert_eq!(texts(Arc::new(UInt64Array::from(vec![7]))), ["7"]);
        assert_eq!(texts(Arc::new(Float64Array::from(vec![1e20]))), ["1e+20"]);
        let decimals = Decimal128Array::from(vec![150])
            .with_precision_and_scale(10, 2)
            .unwrap();
        assert_eq!(texts(Arc::new(decimals)), ["1.50"]);
        assert_eq!(
            texts(Arc::new(BinaryArray::from(vec![&[0u8, 255][..]]))),
            ["\\x00ff"]
        );
        assert_eq!(
            texts(Arc::new(TimestampNanosecondArray::from(vec![1_500]))),
            ["1970-01-01 00:00:00.000001"]
        );
        let interval = IntervalMonthDayNano::new(14, 3, 1_000_000_000);
        assert_eq!(
            texts(Arc::new(IntervalMonthDayNanoArray::from(vec![interval]))),
            ["1 year 2 mons 3 days 00:00:01"]
        );
    }

    #[test]
    fn arrays() {
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            Some(vec![]),
        ]);
        assert_eq!(texts(Arc::new(numbers)), ["{1,NULL}", "{}"]);
        let strings = StringArray::from(vec!["a", "b c", "", "null", "q\"\\"]);
        let field = Arc::new(arrow::datatypes::Field::new(
            "item",
            arrow::datatypes::DataType::Utf8,
            true,
        ));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([5]);
        let list = ListArray::new(field, offsets, Arc::new(strings), None);
        assert_eq!(texts(Arc::new(list)), [r#"{a,"b c","","null","q\"\\"}"#]);
    }
}
