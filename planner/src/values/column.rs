//! Columns, downcast once: what is written as text or in binary value by value.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeStringArray, ListArray, MapArray, StringArray, StructArray,
    UInt32Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationNanosecondType, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt32Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::values::error::{Fault, Result, ValueError};
use crate::values::record::Record;
use crate::values::types::{SqlType, UUID_BYTES};

/// What the look of a value depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// `TimeZone` of the session.
    pub zone: Tz,
}

/// A column, downcast.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant is what its name says")]
pub enum Values {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(UInt32Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    Text(StringArray),
    Jsonb(LargeStringArray),
    Uuid(FixedSizeBinaryArray),
    Bytea(BinaryArray),
    Date(Int32Array),
    Time(Int64Array),
    Timestamp(Int64Array),
    Timestamptz(Int64Array),
    Interval(IntervalMonthDayNanoArray),
    Array {
        lists: ListArray,
        items: Box<Values>,
        element_oid: u32,
    },
    Record {
        structs: StructArray,
        fields: Vec<Values>,
        /// The oids of the fields' types.
        oids: Vec<u32>,
    },
    Map {
        maps: MapArray,
        keys: Box<Values>,
        values: Box<Values>,
    },
}

impl Values {
    /// Looks at a column. Types without a form of their own are shown as Arrow displays them.
    ///
    /// # Errors
    /// If a value cannot be converted, such as a `bigint` beyond 63 bits.
    pub fn new(column: &ArrayRef) -> Result<Values> {
        let micros = |array: &ArrayRef| {
            array
                .as_primitive::<TimestampMicrosecondType>()
                .reinterpret_cast::<Int64Type>()
        };
        Ok(match column.data_type() {
            DataType::Boolean => Values::Bool(column.as_boolean().clone()),
            DataType::Int16 => Values::Int2(column.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Values::Int4(column.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Values::Int8(column.as_primitive::<Int64Type>().clone()),
            DataType::UInt32 => Values::Oid(column.as_primitive::<UInt32Type>().clone()),
            DataType::Float32 => Values::Float4(column.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Values::Float8(column.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, scale) => {
                Values::Decimal128(column.as_primitive().clone(), *scale)
            }
            DataType::Decimal256(_, scale) => {
                Values::Decimal256(column.as_primitive().clone(), *scale)
            }
            DataType::Utf8 => Values::Text(column.as_string().clone()),
            DataType::LargeUtf8 => Values::Jsonb(column.as_string().clone()),
            DataType::FixedSizeBinary(UUID_BYTES) => {
                Values::Uuid(column.as_fixed_size_binary().clone())
            }
            DataType::Binary => Values::Bytea(column.as_binary().clone()),
            DataType::Date32 => {
                Values::Date(column.as_primitive::<Date32Type>().reinterpret_cast())
            }
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(
                column
                    .as_primitive::<Time64MicrosecondType>()
                    .reinterpret_cast(),
            ),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Values::Timestamp(micros(column)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Values::Timestamptz(micros(column))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Values::Interval(column.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            DataType::List(item) => {
                let lists = column.as_list::<i32>().clone();
                let items = Values::new(lists.values())?;
                let element_oid = SqlType::of(item.data_type()).element().oid();
                Values::Array {
                    lists,
                    items: Box::new(items),
                    element_oid,
                }
            }
            DataType::Struct(fields) => {
                let structs = column.as_struct().clone();
                Values::Record {
                    fields: structs
                        .columns()
                        .iter()
                        .map(Values::new)
                        .collect::<Result<_>>()?,
                    oids: Record::of(fields).types().map(SqlType::oid).collect(),
                    structs,
                }
            }
            DataType::Map(..) => {
                let maps = column.as_map().clone();
                Values::Map {
                    keys: Box::new(Values::new(maps.keys())?),
                    values: Box::new(Values::new(maps.values())?),
                    maps,
                }
            }
            other => return Self::converted(column, other),
        })
    }

    fn converted(column: &ArrayRef, data_type: &DataType) -> Result<Values> {
        let target = match data_type {
            DataType::Int8 | DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt64 => DataType::Int64,
            DataType::Float16 => DataType::Float32,
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                DataType::Decimal128(38, *scale)
            }
            DataType::Utf8View | DataType::Null => DataType::Utf8,
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                DataType::Binary
            }
            DataType::Date64 => DataType::Date32,
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Duration(_) => return Self::of_duration(column),
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                DataType::List(Arc::clone(item))
            }
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            _ => return Ok(Values::Text(displayed(column)?)),
        };
        // Checked: a value that does not fit is an error, not NULL.
        let options = arrow::compute::CastOptions {
            safe: false,
            ..Default::default()
        };
        Self::new(&arrow::compute::cast_with_options(column, &target, &options).map_err(unshown)?)
    }

    /// A difference of two timestamps is an interval of days and time, as in PostgreSQL.
    fn of_duration(column: &ArrayRef) -> Result<Values> {
        let nanos = cast(column, &DataType::Duration(TimeUnit::Nanosecond)).map_err(unshown)?;
        let day = crate::values::temporal::MICROS_DAY * 1000;
        let intervals: IntervalMonthDayNanoArray = nanos
            .as_primitive::<DurationNanosecondType>()
            .iter()
            .map(|value| {
                value.map(|n| IntervalMonthDayNanoType::make_value(0, (n / day) as i32, n % day))
            })
            .collect();
        Ok(Values::Interval(intervals))
    }

    /// Whether the value of a row is NULL.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Bool(a) => a.is_null(row),
            Values::Int2(a) => a.is_null(row),
            Values::Int4(a) | Values::Date(a) => a.is_null(row),
            Values::Int8(a) | Values::Time(a) | Values::Timestamp(a) | Values::Timestamptz(a) => {
                a.is_null(row)
            }
            Values::Oid(a) => a.is_null(row),
            Values::Float4(a) => a.is_null(row),
            Values::Float8(a) => a.is_null(row),
            Values::Decimal128(a, _) => a.is_null(row),
            Values::Decimal256(a, _) => a.is_null(row),
            Values::Text(a) => a.is_null(row),
            Values::Jsonb(a) => a.is_null(row),
            Values::Uuid(a) => a.is_null(row),
            Values::Bytea(a) => a.is_null(row),
            Values::Interval(a) => a.is_null(row),
            Values::Array { lists, .. } => lists.is_null(row),
            Values::Record { structs, .. } => structs.is_null(row),
            Values::Map { maps, .. } => maps.is_null(row),
        }
    }
}

fn unshown(error: arrow::error::ArrowError) -> ValueError {
    ValueError::refused(Fault::OutOfRange, error.to_string())
}

fn displayed(column: &ArrayRef) -> Result<StringArray> {
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default()).map_err(unshown)?;
    (0..column.len())
        .map(|row| {
            column
                .is_valid(row)
                .then(|| formatter.value(row).try_to_string())
                .transpose()
                .map_err(unshown)
        })
        .collect()
}
