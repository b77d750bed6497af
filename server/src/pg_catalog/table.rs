//! System tables as data: columns, and a function that makes the rows.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, ListBuilder, PrimitiveBuilder, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Int16Type, IntervalMonthDayNano, IntervalUnit, Schema,
    SchemaRef, TimeUnit, UInt32Type,
};
use storage::DatabaseSnapshot;

use crate::catalog::Catalog;
use crate::error::Result;
use crate::pg_catalog::Context;
use crate::tide::Seen;
use planner::values::types::UTC;

/// Type of a system table's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `oid`, and the reg* types
    Oid,
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
    /// `text`, `name`, `"char"`, `pg_node_tree`
    Text,
    /// `text[]`, `aclitem[]`
    Texts,
    /// `smallint[]`, `int2vector`
    Int2s,
    /// `oid[]`, `oidvector`
    Oids,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval` of time alone
    Interval,
}

impl Type {
    pub(crate) fn arrow(self) -> DataType {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        match self {
            Type::Oid => DataType::UInt32,
            Type::Bool => DataType::Boolean,
            Type::Int2 => DataType::Int16,
            Type::Int4 => DataType::Int32,
            Type::Int8 => DataType::Int64,
            Type::Float4 => DataType::Float32,
            Type::Float8 => DataType::Float64,
            Type::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Type::Text => DataType::Utf8,
            Type::Texts => list(DataType::Utf8),
            Type::Int2s => list(DataType::Int16),
            Type::Oids => list(DataType::UInt32),
            Type::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        }
    }
}

/// A value of a system table.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number of any width, microseconds for times and intervals.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of numbers.
    Ints(Vec<i64>),
}

macro_rules! value_from {
    ($($source:ty => |$v:ident| $value:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($v: $source) -> Value {
                $value
            }
        })*
    };
}

value_from! {
    bool => |v| Value::Bool(v);
    i32 => |v| Value::Int(i64::from(v));
    i64 => |v| Value::Int(v);
    u32 => |v| Value::Int(i64::from(v));
    i16 => |v| Value::Int(i64::from(v));
    u64 => |v| Value::Int(v as i64);
    usize => |v| Value::Int(v as i64);
    f64 => |v| Value::Float(v);
    Duration => |v| Value::Int(v.as_micros() as i64);
    SystemTime => |v| v.duration_since(UNIX_EPOCH).unwrap_or_default().into();
    &str => |v| Value::Text(v.to_owned());
    String => |v| Value::Text(v);
    Vec<String> => |v| Value::Texts(v);
    Vec<i64> => |v| Value::Ints(v);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// One row of values of different types.
macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$($crate::pg_catalog::table::Value::from($value)),*] };
}
pub(crate) use row;

/// A NULL for [`row`].
pub(crate) const NULL: Value = Value::Null;

/// What system tables are made from.
pub struct Source<'a> {
    /// Users' relations.
    pub catalog: &'a Catalog,
    /// Their rows.
    pub snapshot: Option<&'a DatabaseSnapshot>,
    /// Session and server.
    pub context: &'a Context,
    /// What the engine does, for the tables of schema `tide`.
    pub seen: Option<&'a Seen>,
}

/// A system table.
#[derive(Debug)]
pub struct SystemTable {
    /// Its oid, as in PostgreSQL where it has a fixed one.
    pub oid: u32,
    /// Its name.
    pub name: &'static str,
    /// Names and types of its columns.
    pub columns: &'static [(&'static str, Type)],
    /// Makes its rows.
    pub rows: fn(&Source<'_>) -> Vec<Vec<Value>>,
}

/// The rows of a table that is always empty.
pub(crate) fn no_rows(_: &Source<'_>) -> Vec<Vec<Value>> {
    Vec::new()
}

impl SystemTable {
    /// Its columns; all nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.arrow(), true))
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Whether it never has rows.
    #[must_use]
    pub fn is_always_empty(&self) -> bool {
        std::ptr::fn_addr_eq(self.rows, no_rows as fn(&Source<'_>) -> Vec<Vec<Value>>)
    }

    /// Its rows as a batch.
    ///
    /// # Errors
    /// If a row has another number of values than columns, which is a bug.
    pub fn batch(&self, source: &Source<'_>) -> Result<RecordBatch> {
        let rows = (self.rows)(source);
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, column))| build(*column, at, &rows))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(
            self.schema(),
            columns,
            &options,
        )?)
    }
}

fn build(column: Type, at: usize, rows: &[Vec<Value>]) -> ArrayRef {
    let values = rows.iter().map(|row| row.get(at).unwrap_or(&NULL));
    let ints = values.clone().map(|value| match value {
        Value::Int(n) => Some(*n),
        _ => None,
    });
    match column {
        Type::Oid => Arc::new(ints.map(|n| n.map(|n| n as u32)).collect::<UInt32Array>()),
        Type::Int2 => Arc::new(ints.map(|n| n.map(|n| n as i16)).collect::<Int16Array>()),
        Type::Int4 => Arc::new(ints.map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        Type::Int8 => Arc::new(ints.collect::<Int64Array>()),
        Type::Float4 => Arc::new(ints.map(|n| n.map(|n| n as f32)).collect::<Float32Array>()),
        Type::Float8 => {
            let floats = values.map(|value| match value {
                Value::Float(x) => Some(*x),
                _ => None,
            });
            Arc::new(floats.collect::<Float64Array>())
        }
        Type::Interval => {
            let nanos = ints.map(|n| n.map(|n| IntervalMonthDayNano::new(0, 0, n * 1000)));
            Arc::new(nanos.collect::<IntervalMonthDayNanoArray>())
        }
        Type::Timestamptz => Arc::new(
            ints.collect::<TimestampMicrosecondArray>()
                .with_timezone(UTC),
        ),
        Type::Bool => {
            let bools = values.map(|value| match value {
                Value::Bool(b) => Some(*b),
                _ => None,
            });
            Arc::new(bools.collect::<BooleanArray>())
        }
        Type::Text => {
            let texts = values.map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            });
            Arc::new(texts.collect::<StringArray>())
        }
        Type::Texts => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            for value in values {
                match value {
                    Value::Texts(items) => builder.append_value(items.iter().map(Some)),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        Type::Int2s => build_list::<Int16Type>(values, |n| n as i16),
        Type::Oids => build_list::<UInt32Type>(values, |n| n as u32),
    }
}

fn build_list<'a, T: ArrowPrimitiveType>(
    values: impl Iterator<Item = &'a Value>,
    narrow: fn(i64) -> T::Native,
) -> ArrayRef {
    let mut builder = ListBuilder::new(PrimitiveBuilder::<T>::new());
    for value in values {
        match value {
            Value::Ints(items) => builder.append_value(items.iter().map(|n| Some(narrow(*n)))),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}
