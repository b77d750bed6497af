//! Composite types, and the text of their values.
//!
//! ```text
//!   (1,"a b",)  ◄──►  Struct { a: 1, b: "a b", c: NULL }
//! ```
//!
//! A type that was created by name is carried by its Arrow type: the first field of the struct has its
//! name as metadata, so that neither a plan nor a row loses it. A struct without is anonymous:
//! `struct<…>`, or the result of `ROW(…)`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, StringArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use serde::{Deserialize, Serialize};

use crate::values::error::{Result, ValueError};
use crate::values::input::{BadValue, parse_column};
use crate::values::types::SqlType;

/// Oid of composite types without a name.
pub const RECORD_OID: u32 = 2249;

/// Oid of arrays of them.
const RECORD_ARRAY_OID: u32 = 2287;

/// Key of the metadata that carries a type's name.
const NAMED: &str = "tidewater.type";

/// Key of the metadata that carries oid and modifier of a field, if they do not follow from its Arrow
/// type.
const DECLARED: &str = "tidewater.declared";

/// A composite type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// What `CREATE TYPE` gave it.
    pub named: Option<TypeName>,
    /// Its fields, at least one.
    pub fields: Vec<(String, SqlType)>,
}

/// The name of a type that a user created.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TypeName {
    /// Its oid.
    pub oid: u32,
    /// Oid of its arrays.
    pub array_oid: u32,
    /// As queries write it: with its schema unless that is `public`, quoted where that must be.
    pub name: String,
}

impl TypeName {
    fn carried(&self) -> String {
        format!("{} {} {}", self.oid, self.array_oid, self.name)
    }

    fn parse(carried: &str) -> Option<Self> {
        let mut words = carried.splitn(3, ' ');
        Some(Self {
            oid: words.next()?.parse().ok()?,
            array_oid: words.next()?.parse().ok()?,
            name: words.next()?.to_owned(),
        })
    }
}

impl Record {
    /// The type of a struct.
    #[must_use]
    pub fn of(fields: &Fields) -> Self {
        let declared = |field: &Field| {
            let (oid, modifier) = field.metadata().get(DECLARED)?.split_once(' ')?;
            SqlType::declared(oid.parse().ok()?, modifier.parse().ok()?)
        };
        let part = |field: &Arc<Field>| {
            let data_type = field.data_type();
            let declared = declared(field).map(|declared| declared.in_shape_of(data_type));
            let sql_type = declared.unwrap_or_else(|| SqlType::of(data_type));
            (field.name().clone(), sql_type)
        };
        let first = fields.first();
        Self {
            named: first.and_then(|first| TypeName::parse(first.metadata().get(NAMED)?)),
            fields: fields.iter().map(part).collect(),
        }
    }

    /// The fields of its struct.
    #[must_use]
    pub fn arrow_fields(&self) -> Fields {
        let mut named = self.named.as_ref();
        let field = |(name, sql_type): &(String, SqlType)| {
            let data_type = sql_type.arrow();
            let mut metadata = HashMap::new();
            if let Some(named) = named.take() {
                metadata.insert(NAMED.to_owned(), named.carried());
            }
            if SqlType::of(&data_type) != *sql_type {
                let declared = format!("{} {}", sql_type.oid(), sql_type.modifier());
                metadata.insert(DECLARED.to_owned(), declared);
            }
            Field::new(name, data_type, true).with_metadata(metadata)
        };
        self.fields.iter().map(field).collect()
    }

    /// `pg_type.oid`.
    #[must_use]
    pub fn oid(&self) -> u32 {
        self.named.as_ref().map_or(RECORD_OID, |named| named.oid)
    }

    /// The oid of its arrays.
    #[must_use]
    pub fn array_oid(&self) -> u32 {
        let named = self.named.as_ref();
        named.map_or(RECORD_ARRAY_OID, |named| named.array_oid)
    }

    /// Its name; `record` without one.
    #[must_use]
    pub fn name(&self) -> &str {
        let named = self.named.as_ref();
        named.map_or("record", |named| &named.name)
    }

    /// The types of its fields.
    pub fn types(&self) -> impl Iterator<Item = &SqlType> {
        self.fields.iter().map(|(_, sql_type)| sql_type)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(named) = &self.named {
            return f.write_str(&named.name);
        }
        f.write_str("struct<")?;
        for (at, (name, sql_type)) in self.fields.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let name = crate::names::quoted_identifier(name);
            write!(f, "{comma}{name} {sql_type}")?;
        }
        f.write_str(">")
    }
}

/// A struct of columns, whose rows are NULL where `nulls` says so.
///
/// # Panics
/// When a column is not of its field's type.
#[must_use]
pub fn struct_of(record: &Record, columns: Vec<ArrayRef>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(StructArray::new(record.arrow_fields(), columns, nulls))
}

/// Reads a column of composite values, as PostgreSQL's `record_in` does.
///
/// # Errors
/// The first row that cannot be read.
pub(crate) fn parse_records(
    texts: &StringArray,
    record: &Record,
    zone: Tz,
) -> std::result::Result<ArrayRef, BadValue> {
    let mut parts: Vec<Vec<Option<String>>> = vec![Vec::new(); record.fields.len()];
    for (row, text) in texts.iter().enumerate() {
        let read = text
            .map(|text| split(text, record.fields.len()))
            .transpose();
        let mut values = read
            .map_err(|error| BadValue { row, error })?
            .into_iter()
            .flatten();
        parts
            .iter_mut()
            .for_each(|part| part.push(values.next().flatten()));
    }
    let columns = parts
        .into_iter()
        .zip(record.types())
        .map(|(part, sql_type)| parse_column(&StringArray::from(part), sql_type, zone));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(struct_of(record, columns, texts.nulls().cloned()))
}

/// The texts of the fields of `(1,"a b",)`, as many as there must be.
fn split(text: &str, fields: usize) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &'static str| ValueError::MalformedRecord {
        value: text.to_owned(),
        detail,
    };
    let blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let inner = text.trim_start_matches(blank).strip_prefix('(');
    let mut rest = inner
        .ok_or_else(|| malformed("Missing left parenthesis."))?
        .chars()
        .peekable();
    let mut values = Vec::with_capacity(fields);
    for at in 0..fields {
        if at > 0 && rest.next_if_eq(&',').is_none() {
            return Err(malformed("Too few columns."));
        }
        if matches!(rest.peek(), Some(',' | ')')) {
            values.push(None);
        } else {
            let value = read_field(&mut rest);
            values.push(Some(
                value.ok_or_else(|| malformed("Unexpected end of input."))?,
            ));
        }
    }
    if rest.next() != Some(')') {
        return Err(malformed("Too many columns."));
    }
    if !rest.all(blank) {
        return Err(malformed("Junk after right parenthesis."));
    }
    Ok(values)
}

/// A field up to the comma or bracket behind it; `None` if that does not come.
fn read_field(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut value = String::new();
    let mut is_quoted = false;
    loop {
        match *rest.peek()? {
            ',' | ')' if !is_quoted => return Some(value),
            '\\' => {
                rest.next();
                value.push(rest.next()?);
            }
            '"' => {
                rest.next();
                if is_quoted && rest.next_if_eq(&'"').is_some() {
                    value.push('"');
                } else {
                    is_quoted = !is_quoted;
                }
            }
            c => {
                rest.next();
                value.push(c);
            }
        }
    }
}

/// Appends a field that is not NULL: quotes and backslashes are doubled.
pub(crate) fn write_field(field: &str, out: &mut String) {
    let is_special =
        |c: char| matches!(c, '"' | '\\' | '(' | ')' | ',' | '\x0b') || c.is_ascii_whitespace();
    if !field.is_empty() && !field.contains(is_special) {
        out.push_str(field);
        return;
    }
    out.push('"');
    for c in field.chars() {
        if matches!(c, '"' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('"');
}

/// The type of the field of this name.
#[must_use]
pub fn field_type<'a>(record: &'a DataType, name: &str) -> Option<&'a DataType> {
    let DataType::Struct(fields) = record else {
        return None;
    };
    fields.find(name).map(|(_, field)| field.data_type())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::column::Style;
    use crate::values::temporal::utc;
    use crate::values::text::column_texts;

    fn address() -> Record {
        Record {
            named: Some(TypeName {
                oid: 20_001,
                array_oid: 20_000,
                name: "address".to_owned(),
            }),
            fields: vec![
                ("street".to_owned(), SqlType::Varchar(Some(9))),
                ("zip".to_owned(), SqlType::Int4),
            ],
        }
    }

    #[test]
    fn a_named_type_survives_its_arrow_type() {
        let outer = SqlType::Record(Record {
            named: None,
            fields: vec![
                ("at".to_owned(), SqlType::Record(address())),
                (
                    "n".to_owned(),
                    SqlType::Array(Box::new(SqlType::Record(address()))),
                ),
            ],
        });
        assert_eq!(SqlType::of(&outer.arrow()), outer);
        assert_eq!(outer.to_string(), "struct<at address, n address[]>");
        assert_eq!(
            (outer.oid(), outer.base_name()),
            (RECORD_OID, "record".to_owned())
        );
        let arrays = SqlType::Array(Box::new(SqlType::Record(address())));
        assert_eq!(arrays.oid(), 20_000);
        assert!(outer.is_made_of(20_001) && !outer.is_made_of(20_002));
    }

    #[test]
    fn text_goes_both_ways() {
        for (written, shown) in [
            ("(a,1)", "(a,1)"),
            (" ( a,1)\t", "(\" a\",1)"),
            ("(,)", "(,)"),
            ("(\"\",)", "(\"\",)"),
            ("(\"a,\"\"b\\\\\",-5)", "(\"a,\"\"b\\\\\",-5)"),
            ("(a\"(x)\"b,7)", "(\"a(x)b\",7)"),
            ("(\\),7)", "(\")\",7)"),
        ] {
            let read = parse_records(&StringArray::from(vec![written]), &address(), utc()).unwrap();
            let texts = column_texts(&read, Style { zone: utc() }).unwrap();
            assert_eq!(texts, [Some(shown.to_owned())], "{written}");
        }
    }

    #[test]
    fn malformed_texts_say_why() {
        for (written, why) in [
            ("a,1)", "Missing left parenthesis."),
            ("", "Missing left parenthesis."),
            ("(a)", "Too few columns."),
            ("(a,1,2)", "Too many columns."),
            ("(a,1", "Unexpected end of input."),
            ("(\"a,1)", "Unexpected end of input."),
            ("(a\\", "Unexpected end of input."),
            ("(a,1) x", "Junk after right parenthesis."),
        ] {
            match split(written, 2) {
                Err(ValueError::MalformedRecord { detail, .. }) => assert_eq!(detail, why),
                other => panic!("{written}: {other:?}"),
            }
        }
    }
}
