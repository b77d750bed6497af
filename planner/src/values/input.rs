//! Text to columns, as PostgreSQL's input functions read it: literals of INSERT, text parameters,
//! COPY, and text that is assigned to another type.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Decimal256Builder, FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, LargeStringBuilder, ListArray,
    StringArray, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
    UInt32Builder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, IntervalMonthDayNano};

use crate::types::NUMERIC_DEFAULT;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::json::Json;
use crate::values::map::parse_maps;
use crate::values::numeric::{parse_decimal, parse_decimal256};
use crate::values::record::parse_records;
use crate::values::types::{NUMERIC_PRECISION_MAX, SqlType, UTC, UUID_BYTES};
use crate::values::{datetime, interval};

/// Dimensions that an array may have, as in PostgreSQL (`MAXDIM`).
pub(crate) const DIMENSIONS_MAX: usize = 6;

/// A text that is no value of its column's type.
#[derive(Debug)]
pub struct BadValue {
    /// Which row of the column, counted from 0.
    pub row: usize,
    /// Why.
    pub error: ValueError,
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
        SqlType::Numeric(digits) => match digits.unwrap_or(NUMERIC_DEFAULT) {
            (precision, scale) if precision > NUMERIC_PRECISION_MAX => {
                let builder = Decimal256Builder::new().with_data_type(sql_type.arrow());
                read!(builder, |t| parse_decimal256(t, precision, scale))
            }
            (precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(sql_type.arrow());
                read!(builder, |t| parse_decimal(t, precision, scale))
            }
        },
        SqlType::Text => Arc::new(texts.clone()),
        SqlType::Varchar(None) => Arc::new(texts.clone()),
        SqlType::Varchar(Some(length)) => {
            read!(StringBuilder::new(), |t| fit_text(t, *length, sql_type))
        }
        SqlType::Char(length) => read!(StringBuilder::new(), |t| pad_text(t, *length, sql_type)),
        SqlType::Bytea => read!(BinaryBuilder::new(), parse_bytea),
        SqlType::Jsonb => read!(LargeStringBuilder::new(), |t| Json::parse(t)
            .map(|json| json.to_string())),
        SqlType::Uuid => {
            let mut builder = FixedSizeBinaryBuilder::new(UUID_BYTES);
            for (row, text) in texts.iter().enumerate() {
                match text.map(parse_uuid).transpose() {
                    Ok(Some(bytes)) => builder
                        .append_value(bytes)
                        .expect("a uuid has as many bytes as the builder's values"),
                    Ok(None) => builder.append_null(),
                    Err(error) => return Err(BadValue { row, error }),
                }
            }
            Arc::new(builder.finish())
        }
        SqlType::Date => read!(Date32Builder::new(), datetime::parse_date),
        SqlType::Time => read!(Time64MicrosecondBuilder::new(), datetime::parse_time),
        SqlType::Timestamp => read!(
            TimestampMicrosecondBuilder::new(),
            datetime::parse_timestamp
        ),
        SqlType::Timestamptz => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone(UTC);
            read!(builder, |t| datetime::parse_timestamptz(t, zone))
        }
        SqlType::Interval => read!(IntervalMonthDayNanoBuilder::new(), parse_interval),
        SqlType::Array(_) => {
            return parse_arrays(texts, sql_type.element(), sql_type.dimensions(), zone);
        }
        SqlType::Record(record) => return parse_records(texts, record, zone),
        SqlType::Map(key, value) => return parse_maps(texts, key, value, zone),
    })
}

fn invalid(type_name: &str, value: &str) -> ValueError {
    ValueError::InvalidText {
        type_name: type_name.to_owned(),
        value: value.to_owned(),
    }
}

pub(crate) fn parse_bool(text: &str) -> Result<bool> {
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
pub fn parse_integer<T: TryFrom<i128>>(text: &str, type_name: &str) -> Result<T> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(type_name, text));
    }
    trimmed
        .parse::<i128>()
        .ok()
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| ValueError::ValueOutOfRange {
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
        return Err(float_out_of_range("double precision", trimmed));
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
        return Err(float_out_of_range("real", trimmed));
    }
    Ok(value)
}

fn float_out_of_range(type_name: &str, value: &str) -> ValueError {
    let message = format!("\"{value}\" is out of range for type {type_name}");
    ValueError::refused(Fault::OutOfRange, message)
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
        Some(_) => Err(ValueError::StringTooLong {
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

pub(crate) fn parse_bytea(text: &str) -> Result<Vec<u8>> {
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
    parse_bytea_escape(text)
}

/// Reads `\\` and `\ooo` as bytes, everything else as itself.
pub(crate) fn parse_bytea_escape(text: &str) -> Result<Vec<u8>> {
    let bad = || invalid("bytea", text);
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

/// 32 hexadecimal digits, with hyphens behind any four of them, in braces or not.
pub(crate) fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let bad = || invalid("uuid", text);
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(bad)?,
        None => text,
    };
    let mut digits = Vec::with_capacity(32);
    for c in inner.chars() {
        match c.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if c == '-' && !digits.is_empty() && digits.len().is_multiple_of(4) => {}
            None => return Err(bad()),
        }
    }
    if inner.ends_with('-') || inner.contains("--") {
        return Err(bad());
    }
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |b, d| b * 16 + d))
        .collect();
    <[u8; 16]>::try_from(bytes)
        .ok()
        .filter(|_| digits.len() == 32)
        .ok_or_else(bad)
}

fn parse_interval(text: &str) -> Result<IntervalMonthDayNano> {
    let (months, days, micros) = interval::parse_interval(text)?;
    let nanos = micros
        .checked_mul(1000)
        .ok_or_else(|| ValueError::DatetimeOverflow {
            value: text.to_owned(),
        })?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// Reads a column of arrays of `dimensions`.
///
/// # Errors
/// The first row that cannot be read, or has another number of dimensions.
pub(crate) fn parse_arrays(
    texts: &StringArray,
    element: &SqlType,
    dimensions: usize,
    zone: Tz,
) -> std::result::Result<ArrayRef, BadValue> {
    let refused = |row: usize, fault: Fault, message: String| BadValue {
        row,
        error: ValueError::refused(fault, message),
    };
    let mut lists = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            lists.push(Item::Value(None));
            continue;
        };
        let list = read_array(text).ok_or_else(|| {
            let message = format!("malformed array literal: \"{text}\"");
            refused(row, Fault::Text, message)
        })?;
        if list.depth() != dimensions && !list.is_empty() {
            let message = format!(
                "an array of {} dimensions is not supported here",
                list.depth()
            );
            return Err(refused(row, Fault::Unsupported, message));
        }
        lists.push(list);
    }
    nested_lists(lists, dimensions, element, zone)
}

/// A part of an array's text.
enum Item {
    Value(Option<String>),
    List(Vec<Item>),
}

impl Item {
    fn is_empty(&self) -> bool {
        matches!(self, Item::List(items) if items.is_empty())
    }

    fn depth(&self) -> usize {
        match self {
            Item::Value(_) => 0,
            Item::List(items) => 1 + items.first().map_or(0, Item::depth),
        }
    }
}

/// Lists of `depth` dimensions. What is no list there is NULL.
fn nested_lists(
    rows: Vec<Item>,
    depth: usize,
    element: &SqlType,
    zone: Tz,
) -> std::result::Result<ArrayRef, BadValue> {
    let mut lengths = Vec::with_capacity(rows.len());
    let mut valid = Vec::with_capacity(rows.len());
    let mut items = Vec::new();
    let mut row_of = Vec::new();
    for (row, item) in rows.into_iter().enumerate() {
        let list = match item {
            Item::List(list) => Some(list),
            Item::Value(_) => None,
        };
        valid.push(list.is_some());
        let list = list.unwrap_or_default();
        lengths.push(list.len());
        row_of.extend(std::iter::repeat_n(row, list.len()));
        items.extend(list);
    }
    let inner = if depth > 1 {
        nested_lists(items, depth - 1, element, zone)
    } else {
        let texts = items.into_iter().map(|item| match item {
            Item::Value(text) => text,
            Item::List(_) => None,
        });
        parse_column(&texts.collect(), element, zone)
    };
    let values = inner.map_err(|bad| BadValue {
        row: row_of.get(bad.row).copied().unwrap_or(0),
        error: bad.error,
    })?;
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let nulls = NullBuffer::from(valid);
    Ok(Arc::new(ListArray::new(
        field,
        offsets,
        values,
        Some(nulls),
    )))
}

/// The elements of `{a,"b c",NULL}`; `None` if it is not a one-dimensional array.
pub fn split_array(text: &str, items: &mut Vec<Option<String>>) -> Option<()> {
    let Item::List(list) = read_array(text)? else {
        return None;
    };
    for item in list {
        match item {
            Item::Value(text) => items.push(text),
            Item::List(_) => return None,
        }
    }
    Some(())
}

/// Reads the text of an array. All lists of one dimension have one length.
fn read_array(text: &str) -> Option<Item> {
    let mut chars = text.trim().chars().peekable();
    let list = read_list(&mut chars, 0)?;
    if chars.next().is_some() || !is_regular(&list) {
        return None;
    }
    Some(list)
}

fn is_regular(item: &Item) -> bool {
    let shape = |item: &Item| match item {
        Item::Value(_) => None,
        Item::List(items) => Some(items.len()),
    };
    match item {
        Item::Value(_) => true,
        Item::List(items) => {
            let first = items.first().map(shape);
            items
                .iter()
                .all(|item| Some(shape(item)) == first && is_regular(item))
        }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_blanks(chars: &mut Chars<'_>) {
    while chars.next_if(char::is_ascii_whitespace).is_some() {}
}

fn read_list(chars: &mut Chars<'_>, depth: usize) -> Option<Item> {
    if chars.next()? != '{' || depth > DIMENSIONS_MAX {
        return None;
    }
    let mut items = Vec::new();
    skip_blanks(chars);
    if chars.next_if_eq(&'}').is_some() {
        return Some(Item::List(items));
    }
    loop {
        skip_blanks(chars);
        items.push(match chars.peek()? {
            '{' => read_list(chars, depth + 1)?,
            '"' => Item::Value(Some(read_quoted(chars)?)),
            _ => read_plain(chars)?,
        });
        skip_blanks(chars);
        match chars.next()? {
            '}' => return Some(Item::List(items)),
            ',' => {}
            _ => return None,
        }
    }
}

fn read_quoted(chars: &mut Chars<'_>) -> Option<String> {
    chars.next();
    let mut item = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(item),
            '\\' => item.push(chars.next()?),
            c => item.push(c),
        }
    }
}

fn read_plain(chars: &mut Chars<'_>) -> Option<Item> {
    let mut item = String::new();
    while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '}')) {
        match c {
            '{' | '"' => return None,
            '\\' => item.push(chars.next()?),
            c => item.push(c),
        }
    }
    let item = item.trim_end();
    if item.is_empty() {
        return None;
    }
    Some(Item::Value(
        (!item.eq_ignore_ascii_case("null")).then(|| item.to_owned()),
    ))
}
#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int16Type, Int32Type};

    use super::*;

    fn parse(text: &str, sql_type: &SqlType) -> std::result::Result<ArrayRef, ValueError> {
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
            Err(ValueError::ValueOutOfRange { .. })
        ));
        assert!(matches!(
            parse("1.5", &SqlType::Int4),
            Err(ValueError::InvalidText { .. })
        ));
        assert!(matches!(
            parse("", &SqlType::Int8),
            Err(ValueError::InvalidText { .. })
        ));
    }

    #[test]
    fn floats_refuse_what_they_cannot_hold() {
        assert!(matches!(
            parse("1e400", &SqlType::Float8),
            Err(ValueError::Refused { .. })
        ));
        assert!(matches!(
            parse("1e-400", &SqlType::Float8),
            Err(ValueError::Refused { .. })
        ));
        assert!(parse("-Infinity", &SqlType::Float8).is_ok());
        assert!(matches!(
            parse("x", &SqlType::Float8),
            Err(ValueError::InvalidText { .. })
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
            Err(ValueError::StringTooLong { .. })
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
        for bad in ["1", "{1", "{1,}", "{{1},2}", "{\"a}"] {
            assert!(
                parse(bad, &SqlType::Array(Box::new(SqlType::Int4))).is_err(),
                "{bad}"
            );
        }
    }
}
