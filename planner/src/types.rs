//! SQL types to Arrow types: one mapping for column definitions and for casts in queries.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | `boolean` | `Boolean` |
//! | `smallint`, `integer`, `bigint` | `Int16`, `Int32`, `Int64` |
//! | `real`, `double precision` | `Float32`, `Float64` |
//! | `numeric(p, s)` | `Decimal128(p, s)` up to 38 digits, `Decimal256(p, s)` up to 76 |
//! | `numeric` | `Decimal128(38, 10)`: 28 digits before the point and 10 behind it. PostgreSQL's is unbounded; Arrow has no such type |
//! | quotients and means, variances, standard deviations | `Decimal256(62, 24)`, `(61, 24)`, `(60, 24)`; what is computed of them is at least as wide |
//! | `varchar`, `varchar(n)`, `text`, `char(n)` | `Utf8`; a length is accepted and not enforced |
//! | `date`, `time`, `timestamp`, `timestamptz` | `Date32`, `Time64`, `Timestamp`, `Timestamp` of UTC; microseconds |
//! | `interval` | `Interval(MonthDayNano)` |
//! | `bytea` | `Binary` |
//! | `jsonb` | `LargeUtf8`, see `values/json.rs` |
//! | `uuid` | `FixedSizeBinary(16)` |
//! | `T[]` | `List(T)` |
//! | composite types, `struct<…>` | `Struct`, see `values/record.rs` and `named_types.rs` |
//! | `map(K, V)` | `Map`, see `values/map.rs` |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use sqlparser::ast;
use sqlparser::ast::{ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};

use crate::error::{Error, Result};
use crate::named_types::read_structured;
use crate::values::input::DIMENSIONS_MAX;
use crate::values::map;
use crate::values::record::Record;
use crate::values::types::{SqlType, UUID_BYTES};

/// Digits of a `numeric` without precision, and how many of them stand behind the point.
pub const NUMERIC_DEFAULT: (u8, i8) = (38, 10);

/// Digits of a quotient, and how many of them stand behind the point. It is shown with as many as
/// PostgreSQL gives a quotient of that size.
pub const QUOTIENT: (u8, i8) = (62, 24);

/// As [`QUOTIENT`], of variances: zero has no digits behind the point.
pub const VARIANCE: (u8, i8) = (61, 24);

/// As [`VARIANCE`], of standard deviations, which have as many digits as the variance.
pub const DEVIATION: (u8, i8) = (60, 24);

/// Whether numbers of these digits are quotients, or were computed of them.
#[must_use]
pub const fn is_quotient(precision: u8, scale: i8) -> bool {
    precision >= DEVIATION.0 && scale >= DEVIATION.1
}

/// The Arrow type of a SQL type.
///
/// # Errors
/// [`Error::Unsupported`] for types of PostgreSQL that are not offered, [`Error::UndefinedType`]
/// for others, [`Error::InvalidParameter`] for a precision that cannot be.
pub fn arrow_type(sql: &ast::DataType) -> Result<DataType> {
    use ast::DataType as Sql;
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::SmallInt(None) | Sql::Int2(None) => DataType::Int16,
        Sql::Int(None) | Sql::Integer(None) | Sql::Int4(None) => DataType::Int32,
        Sql::BigInt(None) | Sql::Int8(None) => DataType::Int64,
        Sql::Real | Sql::Float4 => DataType::Float32,
        Sql::DoublePrecision | Sql::Float8 | Sql::Double(ExactNumberInfo::None) => {
            DataType::Float64
        }
        Sql::Float(precision) => float_type(precision)?,
        Sql::Numeric(digits) | Sql::Decimal(digits) | Sql::Dec(digits) => decimal_type(digits)?,
        Sql::Varchar(_)
        | Sql::CharacterVarying(_)
        | Sql::CharVarying(_)
        | Sql::Character(_)
        | Sql::Char(_)
        | Sql::String(_)
        | Sql::Text => DataType::Utf8,
        Sql::Date => DataType::Date32,
        Sql::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        Sql::Timestamp(_, zone) => timestamp_type(*zone),
        Sql::TimestampNtz(_) => timestamp_type(TimezoneInfo::None),
        Sql::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        Sql::Bytea => DataType::Binary,
        Sql::JSONB => SqlType::Jsonb.arrow(),
        Sql::Uuid => SqlType::Uuid.arrow(),
        Sql::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => array_type(arrow_type(element)?),
        Sql::JSON => return Err(Error::unsupported("type json", "use jsonb")),
        Sql::Custom(name, modifiers) => return custom_type(name, modifiers),
        other => {
            return Err(Error::unsupported(
                format!("type {}", other.to_string().to_lowercase()),
                "",
            ));
        }
    })
}

/// An array's Arrow type. Its field is named as DataFusion's own, since Arrow compares the names too.
pub(crate) fn array_type(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", element, true)))
}

/// The SQL type of a written type: its Arrow type, with what SQL says beyond it.
#[must_use]
pub fn declared_type(written: &ast::DataType, arrow: &DataType) -> SqlType {
    use ast::DataType as Sql;
    let characters = |length: &Option<ast::CharacterLength>| match length {
        Some(ast::CharacterLength::IntegerLength { length, .. }) => u32::try_from(*length).ok(),
        _ => None,
    };
    match written {
        Sql::Varchar(length) | Sql::CharacterVarying(length) | Sql::CharVarying(length) => {
            SqlType::Varchar(characters(length))
        }
        Sql::Character(length) | Sql::Char(length) => {
            SqlType::Char(characters(length).unwrap_or(1))
        }
        Sql::Numeric(ExactNumberInfo::None)
        | Sql::Decimal(ExactNumberInfo::None)
        | Sql::Dec(ExactNumberInfo::None) => SqlType::Numeric(None),
        _ => SqlType::of(arrow),
    }
}

/// Types that `sqlparser` knows by no keyword.
fn custom_type(name: &ast::ObjectName, modifiers: &[String]) -> Result<DataType> {
    if let Some(structured) = read_structured(name) {
        return structured.map(|sql_type| sql_type.arrow());
    }
    let written = name.to_string().to_lowercase();
    match written.trim_start_matches("pg_catalog.") {
        "name" | "bpchar" | "\"char\"" => Ok(DataType::Utf8),
        "oid" => Ok(SqlType::Oid.arrow()),
        // The parser of statements has read all that are right.
        "map" if !modifiers.is_empty() => Err(wrong_key(&modifiers[0])),
        known @ ("money" | "inet" | "cidr" | "macaddr" | "xml" | "tsvector" | "point" | "box"
        | "serial" | "bigserial" | "smallserial") => {
            Err(Error::unsupported(format!("type {known}"), ""))
        }
        _ => Err(Error::UndefinedType { name: written }),
    }
}

fn timestamp_type(zone: TimezoneInfo) -> DataType {
    let zone = match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => Some("+00:00".into()),
    };
    DataType::Timestamp(TimeUnit::Microsecond, zone)
}

/// `float(n)`: n binary digits, 24 of which fit a `real`.
fn float_type(digits: &ExactNumberInfo) -> Result<DataType> {
    match digits {
        ExactNumberInfo::None => Ok(DataType::Float64),
        ExactNumberInfo::Precision(1..=24) => Ok(DataType::Float32),
        ExactNumberInfo::Precision(25..=53) => Ok(DataType::Float64),
        _ => Err(Error::InvalidParameter {
            message: "precision for type float must be between 1 and 53 bits".to_owned(),
        }),
    }
}

fn decimal_type(digits: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match *digits {
        ExactNumberInfo::None => {
            let (precision, scale) = NUMERIC_DEFAULT;
            return Ok(DataType::Decimal128(precision, scale));
        }
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=1000).contains(&precision) {
        return Err(Error::InvalidParameter {
            message: format!("NUMERIC precision {precision} must be between 1 and 1000"),
        });
    }
    let digits = u8::try_from(precision).ok().filter(|digits| *digits <= 76);
    let Some(digits) = digits else {
        return Err(Error::unsupported(
            format!("NUMERIC precision {precision}"),
            "use at most 76 digits",
        ));
    };
    let scale = i8::try_from(scale)
        .ok()
        .filter(|scale| (0..=i64::from(digits)).contains(&i64::from(*scale)))
        .ok_or_else(|| Error::InvalidParameter {
            message: format!("NUMERIC scale {scale} must be between 0 and precision {precision}"),
        })?;
    Ok(if digits <= 38 {
        DataType::Decimal128(digits, scale)
    } else {
        DataType::Decimal256(digits, scale)
    })
}

/// The type under which a view keeps values of another type: itself if columns of tables can have
/// it, else the one that PostgreSQL would give them.
///
/// # Errors
/// [`Error::Unsupported`] for types that tables have no column of.
pub fn column_type(computed: &DataType) -> Result<DataType> {
    Ok(match computed {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::FixedSizeBinary(UUID_BYTES)
        | DataType::Date32
        | DataType::Binary => computed.clone(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let dimensions = SqlType::of(computed).dimensions();
            if dimensions > DIMENSIONS_MAX {
                return Err(Error::TooManyDimensions {
                    dimensions,
                    limit: DIMENSIONS_MAX,
                });
            }
            array_type(column_type(item.data_type())?)
        }
        DataType::Struct(fields) => {
            let kept = |field: &FieldRef| {
                let data_type = column_type(field.data_type())?;
                Ok(field
                    .as_ref()
                    .clone()
                    .with_data_type(data_type)
                    .with_nullable(true))
            };
            DataType::Struct(fields.iter().map(kept).collect::<Result<_>>()?)
        }
        DataType::Map(..) => {
            let (key, value) = map::parts(computed).ok_or_else(|| no_column(computed))?;
            let key = column_type(key)?;
            if !map::is_key(&key) {
                return Err(wrong_key(&sql_name(&key)));
            }
            map::map_type(key, column_type(value)?)
        }
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        // Of 64 bits without sign are numbers of rows.
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Null | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => timestamp_type(TimezoneInfo::None),
        DataType::Timestamp(_, Some(_)) => timestamp_type(TimezoneInfo::Tz),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Dictionary(_, values) => column_type(values)?,
        other => return Err(no_column(other)),
    })
}

fn no_column(data_type: &DataType) -> Error {
    Error::unsupported(
        format!("a column of type {data_type}"),
        "cast it to a type that tables have",
    )
}

/// Refuses a type whose values have no equality: maps, and what holds maps.
///
/// # Errors
/// [`Error::NotCompared`].
pub fn check_compared(data_type: &DataType) -> Result<()> {
    check_operator(data_type, "an equality")
}

/// As [`check_compared`], of an operator that is named with its article.
pub(crate) fn check_operator(data_type: &DataType, operator: &'static str) -> Result<()> {
    if !map::holds_map(data_type) {
        return Ok(());
    }
    Err(Error::NotCompared {
        operator,
        type_name: sql_name(data_type),
    })
}

/// Why keys of maps cannot be of a type.
pub(crate) fn wrong_key(type_name: &str) -> Error {
    Error::InvalidDefinition {
        message: format!(
            "keys of maps are of type varchar, text, smallint, integer or bigint, not {type_name}"
        ),
    }
}

/// Refuses columns that state cannot keep.
pub(crate) fn check_kept(schema: &Schema) -> Result<()> {
    schema
        .fields()
        .iter()
        .try_for_each(|field| column_type(field.data_type()).map(|_| ()))
}

/// PostgreSQL's name of an Arrow type, for messages and `SHOW CREATE`; Arrow's own if it has none.
#[must_use]
pub fn sql_name(arrow: &DataType) -> String {
    match arrow {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint".to_owned(),
        DataType::UInt16 | DataType::Int32 => "integer".to_owned(),
        DataType::UInt32 | DataType::UInt64 | DataType::Int64 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(precision, scale) if (*precision, *scale) == NUMERIC_DEFAULT => {
            "numeric".to_owned()
        }
        DataType::Decimal256(precision, scale) if is_quotient(*precision, *scale) => {
            "numeric".to_owned()
        }
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        DataType::LargeUtf8 => "jsonb".to_owned(),
        DataType::FixedSizeBinary(UUID_BYTES) => "uuid".to_owned(),
        DataType::List(item) => format!("{}[]", sql_name(item.data_type())),
        DataType::Struct(fields) => Record::of(fields).to_string(),
        DataType::Map(..) => match map::parts(arrow) {
            Some((key, value)) => format!("map({},{})", sql_name(key), sql_name(value)),
            None => arrow.to_string(),
        },
        DataType::Utf8 | DataType::Utf8View => "character varying".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        other => other.to_string(),
    }
}

/// Gives DataFusion's SQL planner this mapping for casts and typed literals.
#[derive(Debug)]
pub(crate) struct PgTypes;

impl TypePlanner for PgTypes {
    fn plan_type(&self, sql: &ast::DataType) -> Result<Option<DataType>, DataFusionError> {
        match sql {
            // Catalog types are the server's affair.
            ast::DataType::Regclass => Ok(None),
            other => match arrow_type(other) {
                Ok(arrow) => Ok(Some(arrow)),
                Err(error) => Err(DataFusionError::External(Box::new(error))),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use super::*;

    fn of(sql: &str) -> Result<DataType> {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let mut parser = sqlparser::parser::Parser::new(&dialect)
            .try_with_sql(sql)
            .unwrap();
        arrow_type(&parser.parse_data_type().unwrap())
    }

    #[test]
    fn every_type_of_the_table_is_mapped_and_named_back() {
        for (sql, name) in [
            ("boolean", "boolean"),
            ("int2", "smallint"),
            ("smallint", "smallint"),
            ("int", "integer"),
            ("int4", "integer"),
            ("bigint", "bigint"),
            ("int8", "bigint"),
            ("real", "real"),
            ("float4", "real"),
            ("float(10)", "real"),
            ("float", "double precision"),
            ("float8", "double precision"),
            ("double precision", "double precision"),
            ("numeric", "numeric"),
            ("numeric(10)", "numeric(10,0)"),
            ("decimal(10, 2)", "numeric(10,2)"),
            ("numeric(50, 2)", "numeric(50,2)"),
            ("varchar(7)", "character varying"),
            ("character varying", "character varying"),
            ("char(3)", "character varying"),
            ("text", "character varying"),
            ("date", "date"),
            ("time", "time without time zone"),
            ("timestamp", "timestamp without time zone"),
            ("timestamp(3)", "timestamp without time zone"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamp with time zone", "timestamp with time zone"),
            ("interval", "interval"),
            ("bytea", "bytea"),
            ("jsonb", "jsonb"),
            ("uuid", "uuid"),
            ("int[]", "integer[]"),
            ("text[][]", "character varying[][]"),
        ] {
            assert_eq!(sql_name(&of(sql).unwrap()), name, "{sql}");
        }
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for (sql, message) in [
            ("json", "type json is not supported"),
            ("serial", "type serial is not supported"),
            (
                "time with time zone",
                "type time with time zone is not supported",
            ),
            ("numeric(100)", "NUMERIC precision 100 is not supported"),
            (
                "numeric(0)",
                "NUMERIC precision 0 must be between 1 and 1000",
            ),
            (
                "numeric(3, 5)",
                "NUMERIC scale 5 must be between 0 and precision 3",
            ),
            (
                "float(99)",
                "precision for type float must be between 1 and 53 bits",
            ),
            ("strange", "type \"strange\" does not exist"),
        ] {
            assert_eq!(of(sql).unwrap_err().to_string(), message, "{sql}");
        }
    }
}
