//! PostgreSQL's types that we have, and the Arrow types that carry them.
//!
//! | SQL | Arrow | | SQL | Arrow |
//! |---|---|---|---|---|
//! | boolean | Boolean | | date | Date32 |
//! | smallint, integer, bigint | Int16, Int32, Int64 | | time | Time64(µs) |
//! | real, double precision | Float32, Float64 | | timestamp | Timestamp(µs) |
//! | numeric(p, s) | Decimal128(p, s), Decimal256 beyond 38 digits | | timestamptz | Timestamp(µs, "+00:00") |
//! | text, varchar, char(n) | Utf8 | | interval | Interval(MonthDayNano) |
//! | bytea | Binary | | oid | UInt32 |
//! | jsonb | LargeUtf8, canonical text | | uuid | FixedSizeBinary(16) |
//! | T[] | List(T) | | composite types | Struct, see `values/record.rs` |
//! | map(K, V) | Map(K, V), see `values/map.rs` | | | |
//!
//! Each SQL type has an Arrow type that no other one has, so that a type survives whatever rewrites
//! plans: text is never `LargeUtf8`, and `bytea` never of fixed size.
//!
//! Results of DataFusion may have other Arrow types; [`SqlType::of`] says what they are shown as.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::types::sql_name;
use crate::values::map::{self, MAP_ARRAY_OID, MAP_OID};
use crate::values::record::Record;

/// Precision of `numeric` without one: all that 128 bits hold.
pub const NUMERIC_PRECISION_MAX: u8 = 38;

/// Scale of `numeric` without one.
pub const NUMERIC_SCALE_DEFAULT: i8 = 10;

/// Bytes of a `uuid`.
pub const UUID_BYTES: i32 = 16;

/// Time zone of the stored instants.
pub const UTC: &str = "+00:00";

/// A type as SQL names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SqlType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, with precision and scale if they were given
    Numeric(Option<(u8, i8)>),
    /// `text`
    Text,
    /// `character varying`, with its length in characters if it was given
    Varchar(Option<u32>),
    /// `character(n)`
    Char(u32),
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval`
    Interval,
    /// `bytea`
    Bytea,
    /// `oid`
    Oid,
    /// `jsonb`
    Jsonb,
    /// `uuid`
    Uuid,
    /// An array of another type; of several dimensions, an array of arrays. PostgreSQL knows arrays of
    /// any dimensions as one type, that of their innermost elements.
    Array(Box<SqlType>),
    /// A composite type
    Record(Record),
    /// A map of keys to values. Neither type has a modifier or a length.
    Map(Box<SqlType>, Box<SqlType>),
}

impl SqlType {
    /// What a value of an Arrow type is shown as. Anything unknown is text.
    #[must_use]
    pub fn of(data_type: &DataType) -> SqlType {
        match data_type {
            DataType::Boolean => SqlType::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => SqlType::Int2,
            DataType::Int32 | DataType::UInt16 => SqlType::Int4,
            DataType::Int64 => SqlType::Int8,
            DataType::UInt32 => SqlType::Oid,
            DataType::UInt64 => SqlType::Int8,
            DataType::Float16 | DataType::Float32 => SqlType::Float4,
            DataType::Float64 => SqlType::Float8,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => SqlType::Numeric(Some((*p, *s))),
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Time32(_) | DataType::Time64(_) => SqlType::Time,
            DataType::Timestamp(_, None) => SqlType::Timestamp,
            DataType::Timestamp(_, Some(_)) => SqlType::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => SqlType::Interval,
            DataType::LargeUtf8 => SqlType::Jsonb,
            DataType::FixedSizeBinary(UUID_BYTES) => SqlType::Uuid,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => SqlType::Bytea,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                SqlType::Array(Box::new(SqlType::of(item.data_type())))
            }
            DataType::Dictionary(_, value) => SqlType::of(value),
            DataType::Struct(fields) => SqlType::Record(Record::of(fields)),
            DataType::Map(..) => match map::parts(data_type) {
                Some((key, value)) => {
                    SqlType::Map(Box::new(SqlType::of(key)), Box::new(SqlType::of(value)))
                }
                None => SqlType::Text,
            },
            _ => SqlType::Text,
        }
    }

    /// The type with this oid, if we have it.
    #[must_use]
    pub fn from_oid(oid: u32) -> Option<SqlType> {
        SCALARS
            .iter()
            .find_map(|(sql_type, row)| {
                if row.oid == oid {
                    Some(sql_type.clone())
                } else if row.array_oid == oid {
                    Some(SqlType::Array(Box::new(sql_type.clone())))
                } else {
                    None
                }
            })
            // char(n) without n in it, "char", name and unknown are read as text.
            .or_else(|| matches!(oid, 18 | 19 | 705 | 1042).then_some(SqlType::Text))
    }

    /// The type with this oid and modifier, if we have it.
    #[must_use]
    pub fn declared(oid: u32, modifier: i32) -> Option<SqlType> {
        let length = u32::try_from(modifier - 4).ok();
        Some(match SqlType::from_oid(oid)? {
            SqlType::Varchar(_) => SqlType::Varchar(length),
            SqlType::Char(_) => SqlType::Char(length?),
            SqlType::Numeric(_) => SqlType::Numeric(length.map(|digits| {
                let scale = (digits & 0x7ff) as i8;
                ((digits >> 16) as u8, scale)
            })),
            other => other,
        })
    }

    /// `pg_type.oid`.
    #[must_use]
    pub fn oid(&self) -> u32 {
        match self {
            SqlType::Array(_) => match self.element() {
                SqlType::Record(record) => record.array_oid(),
                SqlType::Map(..) => MAP_ARRAY_OID,
                element => element.row().array_oid,
            },
            SqlType::Record(record) => record.oid(),
            SqlType::Map(..) => MAP_OID,
            _ => self.row().oid,
        }
    }

    /// `pg_type.typlen`: bytes of a value, -1 if they differ.
    #[must_use]
    pub fn value_bytes(&self) -> i16 {
        match self {
            SqlType::Array(_) | SqlType::Record(_) | SqlType::Map(..) => -1,
            _ => self.row().value_bytes,
        }
    }

    /// `pg_attribute.atttypmod`.
    #[must_use]
    pub fn modifier(&self) -> i32 {
        match self {
            SqlType::Numeric(Some((precision, scale))) => {
                ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
            }
            SqlType::Varchar(Some(length)) | SqlType::Char(length) => *length as i32 + 4,
            SqlType::Map(key, value) => map::modifier(key, value),
            _ => -1,
        }
    }

    /// The Arrow type of a table column of this type.
    #[must_use]
    pub fn arrow(&self) -> DataType {
        match self {
            SqlType::Bool => DataType::Boolean,
            SqlType::Int2 => DataType::Int16,
            SqlType::Int4 => DataType::Int32,
            SqlType::Int8 => DataType::Int64,
            SqlType::Float4 => DataType::Float32,
            SqlType::Float8 => DataType::Float64,
            SqlType::Numeric(Some((precision, scale))) if *precision > NUMERIC_PRECISION_MAX => {
                DataType::Decimal256(*precision, *scale)
            }
            SqlType::Numeric(Some((precision, scale))) => DataType::Decimal128(*precision, *scale),
            SqlType::Numeric(None) => {
                DataType::Decimal128(NUMERIC_PRECISION_MAX, NUMERIC_SCALE_DEFAULT)
            }
            SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) => DataType::Utf8,
            SqlType::Date => DataType::Date32,
            SqlType::Time => DataType::Time64(TimeUnit::Microsecond),
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            SqlType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            SqlType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Bytea => DataType::Binary,
            SqlType::Oid => DataType::UInt32,
            SqlType::Jsonb => DataType::LargeUtf8,
            SqlType::Uuid => DataType::FixedSizeBinary(UUID_BYTES),
            SqlType::Array(element) => {
                DataType::List(Arc::new(Field::new("item", element.arrow(), true)))
            }
            SqlType::Record(record) => DataType::Struct(record.arrow_fields()),
            SqlType::Map(key, value) => map::map_type(key.arrow(), value.arrow()),
        }
    }

    /// The type without a name of its own and without lengths of texts: every value of it is one of
    /// this.
    #[must_use]
    pub fn open(&self) -> SqlType {
        match self {
            SqlType::Varchar(_) | SqlType::Char(_) => SqlType::Text,
            SqlType::Array(element) => SqlType::Array(Box::new(element.open())),
            SqlType::Record(record) => {
                let fields = record.fields.iter();
                SqlType::Record(Record {
                    named: None,
                    fields: fields
                        .map(|(name, part)| (name.clone(), part.open()))
                        .collect(),
                })
            }
            SqlType::Map(key, value) => SqlType::Map(Box::new(key.open()), Box::new(value.open())),
            other => other.clone(),
        }
    }

    /// The type of the innermost elements of an array; what is no array, itself.
    #[must_use]
    pub fn element(&self) -> &SqlType {
        match self {
            SqlType::Array(element) => element.element(),
            other => other,
        }
    }

    /// Dimensions of an array; 0 of what is none.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        match self {
            SqlType::Array(element) => 1 + element.dimensions(),
            _ => 0,
        }
    }

    /// Arrays of as many dimensions as the values of an Arrow type have; what is no array, itself.
    #[must_use]
    pub fn in_shape_of(self, data_type: &DataType) -> SqlType {
        if !matches!(self, SqlType::Array(_)) {
            return self;
        }
        let dimensions = SqlType::of(data_type).dimensions();
        let element = self.element().clone();
        (0..dimensions).fold(element, |inner, _| SqlType::Array(Box::new(inner)))
    }

    /// Whether it holds composite values or maps.
    #[must_use]
    pub fn is_structured(&self) -> bool {
        match self {
            SqlType::Array(element) => element.is_structured(),
            SqlType::Record(_) | SqlType::Map(..) => true,
            _ => false,
        }
    }

    /// Whether it is a composite type of this number, or made of it.
    #[must_use]
    pub fn is_made_of(&self, oid: u32) -> bool {
        match self {
            SqlType::Array(element) | SqlType::Map(_, element) => element.is_made_of(oid),
            SqlType::Record(record) => {
                record.oid() == oid || record.fields.iter().any(|(_, part)| part.is_made_of(oid))
            }
            _ => false,
        }
    }

    /// Whether its values are character strings.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_))
    }

    /// Its name without a modifier, as `pg_typeof` and error messages give it.
    #[must_use]
    pub fn base_name(&self) -> String {
        match self {
            SqlType::Array(_) => format!("{}[]", self.element().base_name()),
            SqlType::Record(record) => record.name().to_owned(),
            SqlType::Map(..) => self.to_string(),
            _ => self.row().sql_name.to_owned(),
        }
    }

    fn row(&self) -> &'static TypeRow {
        let wanted = std::mem::discriminant(self);
        SCALARS
            .iter()
            .find(|(sql_type, _)| std::mem::discriminant(sql_type) == wanted)
            .map_or(&TEXT, |(_, row)| row)
    }
}

impl fmt::Display for SqlType {
    /// As `format_type` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            SqlType::Varchar(Some(length)) => write!(f, "character varying({length})"),
            SqlType::Char(length) => write!(f, "character({length})"),
            SqlType::Array(element) => write!(f, "{element}[]"),
            SqlType::Record(record) => record.fmt(f),
            SqlType::Map(..) => f.write_str(&sql_name(&self.arrow())),
            _ => f.write_str(self.row().sql_name),
        }
    }
}

/// One row of `pg_type`, with its array type's oid.
#[derive(Debug)]
pub struct TypeRow {
    /// `oid`
    pub oid: u32,
    /// Oid of its array type.
    pub array_oid: u32,
    /// `typname`
    pub name: &'static str,
    /// As `format_type` prints it.
    pub sql_name: &'static str,
    /// `typlen`
    pub value_bytes: i16,
    /// `typcategory`
    pub category: &'static str,
    /// `typalign`
    pub align: &'static str,
    /// `typstorage`
    pub storage: &'static str,
}

#[allow(
    clippy::too_many_arguments,
    reason = "a table of constants reads best as rows"
)]
const fn row(
    oid: u32,
    array_oid: u32,
    name: &'static str,
    sql_name: &'static str,
    value_bytes: i16,
    category: &'static str,
    align: &'static str,
    storage: &'static str,
) -> TypeRow {
    TypeRow {
        oid,
        array_oid,
        name,
        sql_name,
        value_bytes,
        category,
        align,
        storage,
    }
}

static TEXT: TypeRow = row(25, 1009, "text", "text", -1, "S", "i", "x");

/// The scalar types, in the order of their oids in PostgreSQL's `pg_type.dat`.
pub static SCALARS: [(SqlType, TypeRow); 19] = [
    (
        SqlType::Bool,
        row(16, 1000, "bool", "boolean", 1, "B", "c", "p"),
    ),
    (
        SqlType::Bytea,
        row(17, 1001, "bytea", "bytea", -1, "U", "i", "x"),
    ),
    (
        SqlType::Int8,
        row(20, 1016, "int8", "bigint", 8, "N", "d", "p"),
    ),
    (
        SqlType::Int2,
        row(21, 1005, "int2", "smallint", 2, "N", "s", "p"),
    ),
    (
        SqlType::Int4,
        row(23, 1007, "int4", "integer", 4, "N", "i", "p"),
    ),
    (
        SqlType::Text,
        row(25, 1009, "text", "text", -1, "S", "i", "x"),
    ),
    (SqlType::Oid, row(26, 1028, "oid", "oid", 4, "N", "i", "p")),
    (
        SqlType::Float4,
        row(700, 1021, "float4", "real", 4, "N", "i", "p"),
    ),
    (
        SqlType::Float8,
        row(701, 1022, "float8", "double precision", 8, "N", "d", "p"),
    ),
    (
        SqlType::Char(1),
        row(1042, 1014, "bpchar", "character", -1, "S", "i", "x"),
    ),
    (
        SqlType::Varchar(None),
        row(
            1043,
            1015,
            "varchar",
            "character varying",
            -1,
            "S",
            "i",
            "x",
        ),
    ),
    (
        SqlType::Date,
        row(1082, 1182, "date", "date", 4, "D", "i", "p"),
    ),
    (
        SqlType::Time,
        row(
            1083,
            1183,
            "time",
            "time without time zone",
            8,
            "D",
            "d",
            "p",
        ),
    ),
    (
        SqlType::Timestamp,
        row(
            1114,
            1115,
            "timestamp",
            "timestamp without time zone",
            8,
            "D",
            "d",
            "p",
        ),
    ),
    (
        SqlType::Timestamptz,
        row(
            1184,
            1185,
            "timestamptz",
            "timestamp with time zone",
            8,
            "D",
            "d",
            "p",
        ),
    ),
    (
        SqlType::Interval,
        row(1186, 1187, "interval", "interval", 16, "T", "d", "p"),
    ),
    (
        SqlType::Numeric(None),
        row(1700, 1231, "numeric", "numeric", -1, "N", "i", "m"),
    ),
    (
        SqlType::Uuid,
        row(2950, 2951, "uuid", "uuid", 16, "U", "c", "p"),
    ),
    (
        SqlType::Jsonb,
        row(3802, 3807, "jsonb", "jsonb", -1, "U", "i", "x"),
    ),
];

/// The type whose `typname` or SQL name this is, without modifier.
#[must_use]
pub fn by_name(name: &str) -> Option<SqlType> {
    let name = name.trim().to_ascii_lowercase();
    if let Some(element) = name.strip_suffix("[]") {
        return Some(SqlType::Array(Box::new(by_name(element)?)));
    }
    let alias = match name.as_str() {
        "int" => "int4",
        "decimal" => "numeric",
        "float" => "float8",
        "char" => "bpchar",
        "time with time zone" => return None,
        other => other,
    };
    SCALARS
        .iter()
        .find(|(_, row)| row.name == alias || row.sql_name == alias)
        .map(|(sql_type, _)| sql_type.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_and_arrow_types_go_both_ways() {
        for (sql_type, row) in &SCALARS {
            if !matches!(sql_type, SqlType::Char(_)) {
                assert_eq!(SqlType::from_oid(row.oid).as_ref(), Some(sql_type));
            }
            let shown = SqlType::of(&sql_type.arrow());
            let same =
                shown.oid() == sql_type.oid() || (sql_type.is_text() && shown == SqlType::Text);
            assert!(same, "{sql_type:?} becomes {shown:?}");
        }
        assert_eq!(
            SqlType::from_oid(1231),
            Some(SqlType::Array(Box::new(SqlType::Numeric(None))))
        );
    }

    #[test]
    fn names_as_format_type_prints_them() {
        assert_eq!(SqlType::Numeric(Some((10, 2))).to_string(), "numeric(10,2)");
        assert_eq!(SqlType::Numeric(Some((10, 2))).modifier(), 655_366);
        assert_eq!(
            SqlType::Varchar(Some(5)).to_string(),
            "character varying(5)"
        );
        assert_eq!(
            SqlType::Array(Box::new(SqlType::Int4)).to_string(),
            "integer[]"
        );
        assert_eq!(
            by_name("timestamp with time zone"),
            Some(SqlType::Timestamptz)
        );
        assert_eq!(
            by_name("int4[]"),
            Some(SqlType::Array(Box::new(SqlType::Int4)))
        );
    }
}
