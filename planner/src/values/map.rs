//! Maps, and the text of their values.
//!
//! ```text
//!   {k:1,"a b":NULL}  ◄──►  Map { "a b" → NULL, "k" → 1 }
//! ```
//!
//! Every map is made by [`maps_of`], which sorts its entries by their keys: maps that hold the same
//! entries have the same bytes, which is what state tables compare.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, MapArray, StringArray, StructArray, UInt32Array, make_comparator,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, Fields};

use crate::values::column::{Style, Values};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::input::{BadValue, parse_column};
use crate::values::temporal::utc;
use crate::values::text::{column_texts, write_item, write_quoted, write_value};
use crate::values::types::{SCALARS, SqlType};

/// Oid of all map types.
pub const MAP_OID: u32 = 9901;

/// Oid of arrays of them.
pub const MAP_ARRAY_OID: u32 = 9902;

/// The types that keys can have.
const KEYS: [SqlType; 4] = [SqlType::Text, SqlType::Int2, SqlType::Int4, SqlType::Int8];

/// The Arrow type of maps.
#[must_use]
pub fn map_type(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", key, false),
        Field::new("value", value, true),
    ]);
    let entries = Field::new("entries", DataType::Struct(entries), false);
    DataType::Map(Arc::new(entries), true)
}

/// The types of a map's keys and values.
#[must_use]
pub fn parts(map: &DataType) -> Option<(&DataType, &DataType)> {
    let DataType::Map(entries, _) = map else {
        return None;
    };
    match entries.data_type() {
        DataType::Struct(fields) => match &fields[..] {
            [key, value] => Some((key.data_type(), value.data_type())),
            _ => None,
        },
        _ => None,
    }
}

/// Whether keys can be of a type.
#[must_use]
pub fn is_key(data_type: &DataType) -> bool {
    KEYS.iter().any(|key| key.arrow() == *data_type)
}

/// Whether values of a type are maps or hold maps, so that they are not compared.
#[must_use]
pub fn holds_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_map(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        _ => false,
    }
}

/// Makes a map of the entries of each row that is not NULL.
///
/// # Errors
/// A key that is NULL, or that a map has twice.
pub fn maps_of(
    keys: &ArrayRef,
    values: &ArrayRef,
    offsets: &OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let compare =
        make_comparator(keys, keys, SortOptions::default()).expect("the types of keys are ordered");
    let mut order: Vec<u32> = Vec::with_capacity(keys.len());
    let mut lengths = Vec::with_capacity(offsets.len());
    for (row, bounds) in offsets.windows(2).enumerate() {
        let first = order.len();
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            order.extend(bounds[0] as u32..bounds[1] as u32);
        }
        let entries = &mut order[first..];
        if entries.iter().any(|at| keys.is_null(*at as usize)) {
            return Err(ValueError::refused(
                Fault::Null,
                "map keys must not be NULL",
            ));
        }
        entries.sort_by(|a, b| compare(*a as usize, *b as usize));
        let twice = entries
            .windows(2)
            .find(|pair| compare(pair[0] as usize, pair[1] as usize) == Ordering::Equal);
        if let Some(pair) = twice {
            return Err(duplicate(&keys.slice(pair[0] as usize, 1)));
        }
        lengths.push(entries.len());
    }
    let order = UInt32Array::from(order);
    let picked = |column: &ArrayRef| {
        take(column, &order, None).expect("the indices are those of the column's rows")
    };
    let map = map_type(keys.data_type().clone(), values.data_type().clone());
    let DataType::Map(field, ordered) = map else {
        unreachable!("the type of maps is a map")
    };
    let DataType::Struct(fields) = field.data_type().clone() else {
        unreachable!("entries are structs")
    };
    let entries = StructArray::new(fields, vec![picked(keys), picked(values)], None);
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::new(
        field, offsets, entries, nulls, ordered,
    )))
}

fn duplicate(key: &ArrayRef) -> ValueError {
    let shown = column_texts(key, Style { zone: utc() }).unwrap_or_default();
    let shown = shown.into_iter().flatten().next().unwrap_or_default();
    let message = format!("map keys must be unique, but \"{shown}\" is there twice");
    ValueError::refused(Fault::Parameter, message)
}

/// Reads a column of maps.
///
/// # Errors
/// The first row that cannot be read.
pub(crate) fn parse_maps(
    texts: &StringArray,
    key: &SqlType,
    value: &SqlType,
    zone: Tz,
) -> std::result::Result<ArrayRef, BadValue> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let entries = match text {
            Some(text) => split(text).ok_or_else(|| BadValue {
                row,
                error: ValueError::InvalidText {
                    type_name: SqlType::Map(Box::new(key.clone()), Box::new(value.clone()))
                        .base_name(),
                    value: text.to_owned(),
                },
            })?,
            None => Vec::new(),
        };
        lengths.push(entries.len());
        for (key, value) in entries {
            rows.push(row);
            keys.push(key);
            values.push(value);
        }
    }
    let read = |texts: Vec<Option<String>>, sql_type| {
        let read = parse_column(&StringArray::from(texts), sql_type, zone);
        read.map_err(|bad| BadValue {
            row: rows[bad.row],
            error: bad.error,
        })
    };
    let (keys, values) = (read(keys, key)?, read(values, value)?);
    let offsets = OffsetBuffer::from_lengths(lengths);
    maps_of(&keys, &values, &offsets, texts.nulls().cloned()).map_err(|error| {
        // Which one it is, is found by reading them one by one.
        let fails = |row: &usize| {
            let row = offsets.slice(*row, 1);
            maps_of(&keys, &values, &row, None).is_err()
        };
        let row = (0..texts.len()).find(fails).unwrap_or_default();
        BadValue { row, error }
    })
}

type Entry = (Option<String>, Option<String>);

/// The texts of the entries of `{k:1,"a b":NULL}`.
fn split(text: &str) -> Option<Vec<Entry>> {
    let whole = text.trim_matches(is_blank);
    let mut rest = whole.strip_prefix('{')?.strip_suffix('}')?;
    rest = rest.trim_matches(is_blank);
    let mut entries = Vec::new();
    if rest.is_empty() {
        return Some(entries);
    }
    loop {
        let (key, behind) = item(rest)?;
        let (value, behind) = item(behind.strip_prefix(':')?)?;
        entries.push((key, value));
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None if behind.is_empty() => return Some(entries),
            None => return None,
        }
    }
}

/// A key or a value in front of a text, and what is behind it. Bare ones end at `:` or `,`; `NULL` is
/// one of them.
fn item(text: &str) -> Option<(Option<String>, &str)> {
    let text = text.trim_start_matches(is_blank);
    if let Some(quoted) = text.strip_prefix('"') {
        let mut item = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => {
                    let rest = chars.as_str().trim_start_matches(is_blank);
                    return Some((Some(item), rest));
                }
                '\\' => item.push(chars.next()?),
                c => item.push(c),
            }
        }
    }
    let end = text.find([':', ',']).unwrap_or(text.len());
    let (bare, rest) = text.split_at(end);
    let bare = bare.trim_end_matches(is_blank);
    if bare.is_empty() || bare.contains(['{', '}', '"', '\\']) {
        return None;
    }
    let is_null = bare.eq_ignore_ascii_case("null");
    Some(((!is_null).then(|| bare.to_owned()), rest))
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Writes the entries of a map.
pub(crate) fn write_map(
    keys: &Values,
    values: &Values,
    range: Range<usize>,
    style: Style,
    out: &mut String,
) {
    let text = |values: &Values, at: usize| {
        let mut text = String::new();
        (!values.is_null(at)).then(|| {
            write_value(values, at, style, &mut text);
            text
        })
    };
    write_entries(range.map(|at| (text(keys, at), text(values, at))), out);
}

/// Writes a map of the texts of its keys and values.
pub(crate) fn write_entries(entries: impl Iterator<Item = Entry>, out: &mut String) {
    out.push('{');
    for (at, (key, value)) in entries.enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        for (part, before) in [(key, ""), (value, ":")] {
            out.push_str(before);
            match part {
                Some(text) if text.contains(':') => write_quoted(&text, out),
                Some(text) => write_item(&text, out),
                None => out.push_str("NULL"),
            }
        }
    }
    out.push('}');
}

/// Numbers that a modifier is made of, the last one first, and how many of each there are.
const BASES: [i32; 5] = [128, 128, 8, 32, 4];

/// `atttypmod` of a map: what its keys and values are, so that `format_type` can say it; -1 if values
/// are of users' types, structs or maps.
pub(crate) fn modifier(key: &SqlType, value: &SqlType) -> i32 {
    let element = value.element();
    let same = |one: &SqlType, other: &SqlType| {
        std::mem::discriminant(one) == std::mem::discriminant(other)
    };
    let key = KEYS.iter().position(|known| same(known, key));
    let scalar = SCALARS.iter().position(|(known, _)| same(known, element));
    let (Some(key), Some(scalar)) = (key, scalar) else {
        return -1;
    };
    let (precision, scale) = match element {
        SqlType::Numeric(Some((precision, scale))) => (i32::from(*precision), i32::from(*scale)),
        _ => (0, 0),
    };
    let parts = [
        scale,
        precision,
        value.dimensions() as i32,
        scalar as i32,
        key as i32,
    ];
    let packed = parts.into_iter().zip(BASES).rev();
    packed.fold(0, |packed, (part, base)| packed * base + part)
}

/// The map type that has a modifier.
#[must_use]
pub fn of_modifier(modifier: i32) -> Option<SqlType> {
    let mut rest = u32::try_from(modifier).ok()?;
    let [scale, precision, dimensions, scalar, key] = BASES.map(|base| {
        let part = rest % base as u32;
        rest /= base as u32;
        part
    });
    let key = KEYS.get(key as usize)?.clone();
    let element = match SCALARS.get(scalar as usize)?.0.clone() {
        SqlType::Numeric(_) if precision > 0 => {
            SqlType::Numeric(Some((precision as u8, scale as i8)))
        }
        other => other,
    };
    let array = |element, _| SqlType::Array(Box::new(element));
    let value = (0..dimensions).fold(element, array);
    Some(SqlType::Map(Box::new(key), Box::new(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key: SqlType, value: SqlType) -> SqlType {
        SqlType::Map(Box::new(key), Box::new(value))
    }

    #[test]
    fn text_goes_both_ways() {
        let sql_type = map(SqlType::Text, SqlType::Text);
        for (written, shown) in [
            ("{}", "{}"),
            (" { } ", "{}"),
            ("{l:2,k:1}", "{k:1,l:2}"),
            (" { l : 2 , \"a b\" : NULL } ", "{\"a b\":NULL,l:2}"),
            (r#"{"":"","null":"a:b"}"#, r#"{"":"","null":"a:b"}"#),
            (r#"{"q\"\\":"{1,2}"}"#, r#"{"q\"\\":"{1,2}"}"#),
        ] {
            let read = parse_column(&StringArray::from(vec![written]), &sql_type, utc()).unwrap();
            let texts = column_texts(&read, Style { zone: utc() }).unwrap();
            assert_eq!(texts, [Some(shown.to_owned())], "{written}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let sql_type = map(SqlType::Text, SqlType::Int4);
        for written in [
            "",
            "{",
            "a",
            "{a}",
            "{a:}",
            "{:1}",
            "{a:1,}",
            "{a:1:2}",
            "{a:1}x",
            "{a:{}}",
            "{\"a:1}",
            "{a b\"c:1}",
            "{a:x}",
            "{NULL:1}",
            "{a:1,a:2}",
        ] {
            let texts = StringArray::from(vec!["{}", written]);
            let bad = parse_column(&texts, &sql_type, utc()).unwrap_err();
            assert_eq!(bad.row, 1, "{written}");
        }
    }

    #[test]
    fn equal_maps_have_equal_bytes() {
        let texts = StringArray::from(vec![Some("{2:b,1:a}"), None, Some("{1:a,2:b}")]);
        let read = parse_column(&texts, &map(SqlType::Int4, SqlType::Text), utc()).unwrap();
        assert_eq!(read.slice(0, 1).as_ref(), read.slice(2, 1).as_ref());
        assert!(read.is_null(1));
    }

    #[test]
    fn a_modifier_says_what_a_map_holds() {
        let array = |element| SqlType::Array(Box::new(element));
        for (sql_type, shown) in [
            (
                map(SqlType::Text, SqlType::Int4),
                "map(character varying,integer)",
            ),
            (
                map(SqlType::Int2, array(array(SqlType::Numeric(Some((50, 2)))))),
                "map(smallint,numeric(50,2)[][])",
            ),
            (map(SqlType::Int8, SqlType::Jsonb), "map(bigint,jsonb)"),
        ] {
            assert_eq!(sql_type.to_string(), shown);
            assert_eq!(of_modifier(sql_type.modifier()).unwrap().to_string(), shown);
            assert_eq!(SqlType::of(&sql_type.arrow()), sql_type);
        }
        let nested = map(SqlType::Text, map(SqlType::Text, SqlType::Bool));
        assert_eq!(nested.modifier(), -1);
        assert_eq!(of_modifier(-1), None);
    }
}
