//! Text to columns, as PostgreSQL's input functions read it: literals of INSERT, text parameters,
//! COPY, and text that is assigned to another type.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Decimal256Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, ListArray, StringArray, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano};

use crate::error::{Error, Result};
use crate::wire::numeric::{parse_decimal, parse_decimal256};
use crate::wire::types::{SqlType, UTC};
use crate::wire::{interval, temporal};

/// A text that is no value of its column's type.
#[derive(Debug)]
pub struct BadValue {
    /// Which row of the column, counted from 0.
    pub row: usize,
    /// Why.
    pub error: Error,
}

/// Reads a column of texts as `sql_type`. The result has the type's Arrow type and as many rows.
///
/// # Errors
/// The first row that cannot be read.
pub fn parse_column(
    texts: &StringArray,
    sql_type: &SqlType,
    zone: Tz,
) -> std::result::Result<ArrayRef, BadValue> {
    macro_rules! read {
        ($builder:expr, $parse:expr) => {{
            let mut builder = $builder;
            let parse = $parse;
            for (row, text) in texts.iter().enumerate() {
                match text.map(|text| parse(text)).transpose() {
                    Ok(value) => builder.append_option(value),
                    Err(error) => return Err(BadValue { row, error }),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    Ok(match sql_type {
        SqlType::Bool => read!(BooleanBuilder::new(), parse_bool),
        SqlType::Int2 => read!(Int16Builder::new(), |t| parse_integer::<i16>(t, "smallint")),
        SqlType::Int4 => read!(Int32Builder::new(), |t| parse_integer::<i32>(t, "integer")),
        SqlType::Int8 => read!(Int64Builder::new(), |t| parse_integer::<i64>(t, "bigint")),
        SqlType::Oid => read!(UInt32Builder::new(), |t| parse_integer::<u32>(t, "oid")),
        SqlType::Float4 => read!(Float32Builder::new(), parse_float4),
        SqlType::Float8 => read!(Float64Builder::new(), parse_float8),
        SqlType::Numeric(_) => match sql_type.arrow() {
            DataType::Decimal256(precision, scale) => {
                let builder = Decimal256Builder::new().with_data_type(sql_type.arrow());
                read!(builder, |t| parse_decimal256(t, precision, scale))
            }
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(sql_type.arrow());
                read!(builder, |t| parse_decimal(t, precision, scale))
            }
            other => {
                return Err(BadValue {
                    row: 0,
                    error: Error::Internal(format!("numeric as {other}")),
                });
            }
        },
        SqlType::Text => Arc::new(texts.clone()),
        SqlType::Varchar(None) => Arc::new(texts.clone()),
        SqlType::Varchar(Some(length)) => {
            read!(StringBuilder::new(), |t| fit_text(t, *length, sql_type))
        }
        SqlType::Char(length) => read!(StringBuilder::new(), |t| pad_text(t, *length, sql_type)),
        SqlType::Bytea => read!(BinaryBuilder::new(), parse_bytea),
        SqlType::Date => read!(Date32Builder::new(), temporal::parse_date),
        SqlType::Time => read!(Time64MicrosecondBuilder::new(), temporal::parse_time),
        SqlType::Timestamp => read!(
            TimestampMicrosecondBuilder::new(),
            temporal::parse_timestamp
        ),
        SqlType::Timestamptz => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone(UTC);
            read!(builder, |t| temporal::parse_timestamptz(t, zone))
        }
        SqlType::Interval => read!(IntervalMonthDayNanoBuilder::new(), parse_interval),
        SqlType::Array(element) => return parse_arrays(texts, element, zone),
    })
}

fn invalid(type_name: &str, value: &str) -> Error {
    Error::InvalidText {
        type_name: type_name.to_owned(),
        value: value.to_owned(),
    }
}

fn parse_bool(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    let is_prefix = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if word == "1" || is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2) {
        Ok(true)
    } else if word == "0" || is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) {
        Ok(false)
    } else {
        Err(invalid("boolean", text))
    }
}

/// An integer of any width, between blanks.
pub(crate) fn parse_integer<T: TryFrom<i128>>(text: &str, type_name: &str) -> Result<T> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(type_name, text));
    }
    trimmed
        .parse::<i128>()
        .ok()
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| Error::ValueOutOfRange {
            type_name: type_name.to_owned(),
            value: text.to_owned(),
        })
}

fn is_float_syntax(trimmed: &str) -> bool {
    let lower = trimmed.trim_start_matches(['-', '+']).to_ascii_lowercase();
    matches!(lower.as_str(), "nan" | "inf" | "infinity")
        || lower.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

fn parse_float8(text: &str) -> Result<f64> {
    let trimmed = text.trim();
    let value: f64 = Some(trimmed)
        .filter(|t| is_float_syntax(t))
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| invalid("double precision", text))?;
    if is_overflow(value.is_infinite(), value == 0.0, trimmed) {
        return Err(Error::ValueOutOfRange {
            type_name: "double precision".to_owned(),
            value: trimmed.to_owned(),
        });
    }
    Ok(value)
}

fn parse_float4(text: &str) -> Result<f32> {
    let trimmed = text.trim();
    let value: f32 = Some(trimmed)
        .filter(|t| is_float_syntax(t))
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| invalid("real", text))?;
    if is_overflow(value.is_infinite(), value == 0.0, trimmed) {
        return Err(Error::ValueOutOfRange {
            type_name: "real".to_owned(),
            value: trimmed.to_owned(),
        });
    }
    Ok(value)
}

/// Digits that became infinity, or other digits than 0 that became 0.
fn is_overflow(is_infinite: bool, is_zero: bool, text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let has_digits = mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    has_digits && (is_infinite || is_zero)
}

/// A string that fits, or whose rest is only blanks, which are cut (SQL standard).
fn fit_text(text: &str, length: u32, sql_type: &SqlType) -> Result<String> {
    match text.char_indices().nth(length as usize) {
        None => Ok(text.to_owned()),
        Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => Ok(text[..end].to_owned()),
        Some(_) => Err(Error::StringTooLong {
            type_name: sql_type.to_string(),
        }),
    }
}

fn pad_text(text: &str, length: u32, sql_type: &SqlType) -> Result<String> {
    let mut fitted = fit_text(text, length, sql_type)?;
    let missing = (length as usize).saturating_sub(fitted.chars().count());
    fitted.extend(std::iter::repeat_n(' ', missing));
    Ok(fitted)
}

fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    let bad = || invalid("bytea", text);
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        if !digits.len().is_multiple_of(2) {
            return Err(bad());
        }
        let nibble = |d: u8| char::from(d).to_digit(16).ok_or_else(bad);
        return digits
            .chunks(2)
            .map(|pair| Ok((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8))
            .collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
        } else if tail.first() == Some(&b'\\') {
            bytes.push(b'\\');
            rest = &tail[1..];
        } else {
            let octal = tail
                .get(..3)
                .filter(|o| o[0] <= b'3' && o.iter().all(|d| (b'0'..=b'7').contains(d)));
            let octal = octal.ok_or_else(bad)?;
            bytes.push(octal.iter().fold(0, |sum, d| sum * 8 + (d - b'0')));
            rest = &tail[3..];
        }
    }
    Ok(bytes)
}

fn parse_interval(text: &str) -> Result<IntervalMonthDayNano> {
    let (months, days, micros) = interval::parse_interval(text)?;
    let nanos = micros
        .checked_mul(1000)
        .ok_or_else(|| Error::DatetimeOverflow {
            value: text.to_owned(),
        })?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

fn parse_arrays(
    texts: &StringArray,
    element: &SqlType,
    zone: Tz,
) -> std::result::Result<ArrayRef, BadValue> {
    let mut items: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let before = items.len();
        if let Some(text) = text {
            split_array(text, &mut items).ok_or_else(|| BadValue {
                row,
                error: Error::InvalidText {
                    type_name: "array".to_owned(),
                    value: text.to_owned(),
                },
            })?;
        }
        lengths.push(items.len() - before);
    }
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let values =
        parse_column(&StringArray::from(items), element, zone).map_err(|bad| BadValue {
            row: offsets
                .windows(2)
                .position(|w| bad.row < w[1] as usize)
                .unwrap_or(0),
            error: bad.error,
        })?;
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let nulls: Option<NullBuffer> = texts.nulls().cloned();
    Ok(Arc::new(ListArray::new(field, offsets, values, nulls)))
}

/// Splits `{a,"b c",NULL}`; `None` if it is not a one-dimensional array.
pub(crate) fn split_array(text: &str, items: &mut Vec<Option<String>>) -> Option<()> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(());
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            chars.next();
        }
        if chars.peek() == Some(&'"') {
            chars.next();
            let mut item = String::new();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => item.push(chars.next()?),
                    c => item.push(c),
                }
            }
            items.push(Some(item));
            while chars.peek().is_some_and(|c| c.is_ascii_whitespace()) {
                chars.next();
            }
        } else {
            let mut item = String::new();
            while let Some(c) = chars.next_if(|&c| c != ',') {
                match c {
                    '{' | '}' | '"' => return None,
                    '\\' => item.push(chars.next()?),
                    c => item.push(c),
                }
            }
            let item = item.trim_end();
            if item.is_empty() {
                return None;
            }
            items.push((!item.eq_ignore_ascii_case("null")).then(|| item.to_owned()));
        }
        match chars.next() {
            None => return Some(()),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int16Type, Int32Type};

    use super::*;

    fn parse(text: &str, sql_type: &SqlType) -> std::result::Result<ArrayRef, Error> {
        parse_column(
            &StringArray::from(vec![Some("1"), None, Some(text)][2..].to_vec()),
            sql_type,
            zone(),
        )
        .map_err(|bad| bad.error)
    }

    fn zone() -> Tz {
        "UTC".parse().unwrap()
    }

    #[test]
    fn integers_have_their_ranges() {
        assert_eq!(
            parse(" -7 ", &SqlType::Int2)
                .unwrap()
                .as_primitive::<Int16Type>()
                .value(0),
            -7
        );
        assert!(matches!(
            parse("32768", &SqlType::Int2),
            Err(Error::ValueOutOfRange { .. })
        ));
        assert!(matches!(
            parse("1.5", &SqlType::Int4),
            Err(Error::InvalidText { .. })
        ));
        assert!(matches!(
            parse("", &SqlType::Int8),
            Err(Error::InvalidText { .. })
        ));
    }

    #[test]
    fn floats_refuse_what_they_cannot_hold() {
        assert!(matches!(
            parse("1e400", &SqlType::Float8),
            Err(Error::ValueOutOfRange { .. })
        ));
        assert!(matches!(
            parse("1e-400", &SqlType::Float8),
            Err(Error::ValueOutOfRange { .. })
        ));
        assert!(parse("-Infinity", &SqlType::Float8).is_ok());
        assert!(matches!(
            parse("x", &SqlType::Float8),
            Err(Error::InvalidText { .. })
        ));
    }

    #[test]
    fn booleans_and_strings() {
        assert!(parse("YES", &SqlType::Bool).unwrap().as_boolean().value(0));
        assert!(!parse("of", &SqlType::Bool).unwrap().as_boolean().value(0));
        assert!(parse("o", &SqlType::Bool).is_err());
        assert_eq!(
            parse("ab  ", &SqlType::Varchar(Some(2)))
                .unwrap()
                .as_string::<i32>()
                .value(0),
            "ab"
        );
        assert!(matches!(
            parse("abc", &SqlType::Varchar(Some(2))),
            Err(Error::StringTooLong { .. })
        ));
        assert_eq!(
            parse("é", &SqlType::Char(2))
                .unwrap()
                .as_string::<i32>()
                .value(0),
            "é "
        );
    }

    #[test]
    fn bytea_in_both_notations() {
        assert_eq!(
            parse("\\xDEad", &SqlType::Bytea)
                .unwrap()
                .as_binary::<i32>()
                .value(0),
            [0xde, 0xad]
        );
        assert_eq!(
            parse("a\\\\b\\001", &SqlType::Bytea)
                .unwrap()
                .as_binary::<i32>()
                .value(0),
            b"a\\b\x01"
        );
        assert!(parse("\\x1", &SqlType::Bytea).is_err());
        assert!(parse("\\9", &SqlType::Bytea).is_err());
    }

    #[test]
    fn arrays_with_quotes_and_nulls() {
        let list = parse("{1, NULL ,3}", &SqlType::Array(Box::new(SqlType::Int4))).unwrap();
        let list = list.as_list::<i32>().value(0);
        assert_eq!(
            list.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(),
            [Some(1), None, Some(3)]
        );
        let list = parse(
            r#"{"a,b","q\"", x}"#,
            &SqlType::Array(Box::new(SqlType::Text)),
        )
        .unwrap();
        let list = list.as_list::<i32>().value(0);
        assert_eq!(
            list.as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["a,b", "q\"", "x"]
        );
        for bad in ["1", "{1", "{1,}", "{{1}}", "{\"a}"] {
            assert!(
                parse(bad, &SqlType::Array(Box::new(SqlType::Int4))).is_err(),
                "{bad}"
            );
        }
    }
}
