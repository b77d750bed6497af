//! One value, as the bodies of functions see it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeStringArray, ListArray, NullArray, StringArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields, IntervalMonthDayNano, TimeUnit};

use crate::functions::decimal::Decimal;
use crate::values::column::Values;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::json::Json;
use crate::values::map::{self, maps_of, write_entries};
use crate::values::record::write_field;
use crate::values::temporal::{self, MICROS_DAY};
use crate::values::types::UUID_BYTES;
use crate::values::{interval, numeric, text};

/// A value, or NULL.
#[derive(Debug, Clone)]
pub(crate) enum Datum<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Float4(f32),
    Numeric(Decimal),
    Text(Cow<'a, str>),
    Json(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Uuid([u8; 16]),
    /// Days since 1970-01-01.
    Date(i64),
    /// Microseconds of the day.
    Time(i64),
    /// Microseconds since 1970-01-01, in no zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 UTC.
    Timestamptz(i64),
    Interval(Interval),
    Array(Vec<Datum<'a>>),
    /// A composite value, with the fields of its type.
    Record(Fields, Vec<Datum<'a>>),
    /// The entries of a map.
    Map(Vec<(Datum<'a>, Datum<'a>)>),
}

/// Months, days and microseconds, which are not converted into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interval {
    pub(crate) months: i64,
    pub(crate) days: i64,
    pub(crate) micros: i64,
}

impl Interval {
    /// What intervals are ordered by: a month has 30 days, a day 24 hours.
    pub(crate) fn span(self) -> i128 {
        let days = i128::from(self.months) * 30 + i128::from(self.days);
        days * i128::from(MICROS_DAY) + i128::from(self.micros)
    }
}

impl<'a> Datum<'a> {
    /// The value of a row.
    pub(crate) fn of(values: &'a Values, row: usize) -> Self {
        if values.is_null(row) {
            return Datum::Null;
        }
        match values {
            Values::Bool(a) => Datum::Bool(a.value(row)),
            Values::Int2(a) => Datum::Int(a.value(row).into()),
            Values::Int4(a) => Datum::Int(a.value(row).into()),
            Values::Int8(a) => Datum::Int(a.value(row)),
            Values::Oid(a) => Datum::Int(a.value(row).into()),
            Values::Float4(a) => Datum::Float4(a.value(row)),
            Values::Float8(a) => Datum::Float(a.value(row)),
            Values::Decimal128(a, scale) => {
                Datum::Numeric(Decimal::of_column(a.value(row), a.precision(), *scale))
            }
            Values::Decimal256(a, scale) => {
                match Decimal::of_wide_column(a.value(row), a.precision(), *scale) {
                    Some(value) => Datum::Numeric(value),
                    // No decimal of ours: `numeric` refuses it.
                    None => Datum::Float(f64::NAN),
                }
            }
            Values::Text(a) => Datum::Text(Cow::Borrowed(a.value(row))),
            Values::Jsonb(a) => Datum::Json(Cow::Borrowed(a.value(row))),
            Values::Uuid(a) => Datum::Uuid(
                a.value(row)
                    .try_into()
                    .expect("the column's values have the bytes of a uuid"),
            ),
            Values::Bytea(a) => Datum::Bytes(Cow::Borrowed(a.value(row))),
            Values::Date(a) => Datum::Date(a.value(row).into()),
            Values::Time(a) => Datum::Time(a.value(row)),
            Values::Timestamp(a) => Datum::Timestamp(a.value(row)),
            Values::Timestamptz(a) => Datum::Timestamptz(a.value(row)),
            Values::Interval(a) => {
                let value = a.value(row);
                Datum::Interval(Interval {
                    months: value.months.into(),
                    days: value.days.into(),
                    micros: value.nanoseconds / 1000,
                })
            }
            Values::Array { lists, items, .. } => {
                let offsets = lists.value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                Datum::Array(range.map(|at| Datum::of(items, at)).collect())
            }
            Values::Record {
                structs, fields, ..
            } => {
                let values = fields.iter().map(|field| Datum::of(field, row));
                Datum::Record(structs.fields().clone(), values.collect())
            }
            Values::Map { maps, keys, values } => {
                let offsets = maps.value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                let entry = |at| (Datum::of(keys, at), Datum::of(values, at));
                Datum::Map(range.map(entry).collect())
            }
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    pub(crate) fn text(value: impl Into<String>) -> Self {
        Datum::Text(Cow::Owned(value.into()))
    }

    pub(crate) fn json(value: &Json) -> Self {
        Datum::Json(Cow::Owned(value.to_string()))
    }

    pub(crate) fn bytes(value: impl Into<Vec<u8>>) -> Self {
        Datum::Bytes(Cow::Owned(value.into()))
    }

    pub(crate) fn texts(values: impl IntoIterator<Item = String>) -> Self {
        Datum::Array(values.into_iter().map(Datum::text).collect())
    }

    /// A whole number. Arguments have the types of their parameters, so nothing else comes here;
    /// neither to the methods below.
    pub(crate) fn int(&self) -> i64 {
        match self {
            Datum::Int(value) => *value,
            other => unreachable!("{other:?} is no whole number"),
        }
    }

    pub(crate) fn float(&self) -> f64 {
        match self {
            Datum::Float(value) => *value,
            Datum::Float4(value) => (*value).into(),
            other => unreachable!("{other:?} is no float"),
        }
    }

    pub(crate) fn numeric(&self) -> Result<Decimal> {
        match self {
            Datum::Numeric(value) => Ok(*value),
            Datum::Int(value) => Ok(Decimal::from(*value)),
            _ => Err(ValueError::refused(
                Fault::OutOfRange,
                "numeric value has more than 38 digits",
            )),
        }
    }

    pub(crate) fn bool(&self) -> bool {
        matches!(self, Datum::Bool(true))
    }

    /// A text; `jsonb` as its text.
    pub(crate) fn str(&self) -> &str {
        match self {
            Datum::Text(value) | Datum::Json(value) => value,
            other => unreachable!("{other:?} is no text"),
        }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Datum::Bytes(value) => value,
            other => unreachable!("{other:?} is no bytea"),
        }
    }

    pub(crate) fn interval(&self) -> Interval {
        match self {
            Datum::Interval(value) => *value,
            other => unreachable!("{other:?} is no interval"),
        }
    }

    /// The number of a date, a time or a timestamp.
    pub(crate) fn count(&self) -> i64 {
        match self {
            Datum::Date(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::Timestamptz(n) => *n,
            other => unreachable!("{other:?} is no date or time"),
        }
    }

    pub(crate) fn elements(&self) -> &[Datum<'a>] {
        match self {
            Datum::Array(elements) => elements,
            other => unreachable!("{other:?} is no array"),
        }
    }

    pub(crate) fn entries(&self) -> &[(Datum<'a>, Datum<'a>)] {
        match self {
            Datum::Map(entries) => entries,
            other => unreachable!("{other:?} is no map"),
        }
    }

    pub(crate) fn parsed_json(&self) -> Result<Json> {
        Json::parse(self.str())
    }

    /// As its output function prints it; `None` for NULL.
    pub(crate) fn shown(&self, zone: Tz) -> Option<String> {
        let mut out = String::new();
        match self {
            Datum::Null => return None,
            Datum::Bool(value) => out.push(if *value { 't' } else { 'f' }),
            Datum::Int(value) => out = value.to_string(),
            Datum::Float(value) => numeric::write_float8(*value, &mut out),
            Datum::Float4(value) => numeric::write_float4(*value, &mut out),
            Datum::Numeric(value) => out = value.to_string(),
            Datum::Text(value) | Datum::Json(value) => out.push_str(value),
            Datum::Bytes(value) => {
                out.push_str("\\x");
                out.extend(value.iter().map(|byte| format!("{byte:02x}")));
            }
            Datum::Uuid(value) => text::write_uuid(value, &mut out),
            Datum::Date(days) => temporal::write_date(*days, &mut out),
            Datum::Time(micros) => temporal::write_time(*micros, &mut out),
            Datum::Timestamp(micros) => temporal::write_timestamp(*micros, &mut out),
            Datum::Timestamptz(micros) => temporal::write_timestamptz(*micros, zone, &mut out),
            Datum::Interval(value) => interval::write_interval(
                value.months as i32,
                value.days as i32,
                value.micros,
                &mut out,
            ),
            Datum::Array(elements) => write_array(elements, zone, &mut out),
            Datum::Record(_, values) => write_record(values, zone, &mut out),
            Datum::Map(entries) => {
                let texts = entries.iter().map(|(k, v)| (k.shown(zone), v.shown(zone)));
                write_entries(texts, &mut out);
            }
        }
        Some(out)
    }

    /// The order of two values of one type; NULLs are equal and last.
    pub(crate) fn order(&self, other: &Datum<'_>) -> Ordering {
        match (self, other) {
            (Datum::Null, Datum::Null) => Ordering::Equal,
            (Datum::Null, _) => Ordering::Greater,
            (_, Datum::Null) => Ordering::Less,
            (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
            (Datum::Int(a), Datum::Int(b)) => a.cmp(b),
            (Datum::Float(_) | Datum::Float4(_), Datum::Float(_) | Datum::Float4(_)) => {
                order_floats(self.float(), other.float())
            }
            (Datum::Numeric(a), Datum::Numeric(b)) => a.order(*b),
            (Datum::Text(a), Datum::Text(b)) => a.cmp(b),
            (Datum::Json(a), Datum::Json(b)) => match (Json::parse(a), Json::parse(b)) {
                (Ok(a), Ok(b)) => a.order(&b),
                _ => a.cmp(b),
            },
            (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
            (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
            (Datum::Interval(a), Datum::Interval(b)) => a.span().cmp(&b.span()),
            (Datum::Array(a), Datum::Array(b)) => {
                let mut elements = a.iter().zip(b).map(|(a, b)| a.order(b));
                let first = elements.find(|order| order.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Datum::Record(_, a), Datum::Record(_, b)) => {
                let mut values = a.iter().zip(b).map(|(a, b)| a.order(b));
                values
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }
            (Datum::Map(a), Datum::Map(b)) => {
                let mut entries = a.iter().zip(b).map(|((key, value), (other, with))| {
                    key.order(other).then_with(|| value.order(with))
                });
                let first = entries.find(|order| order.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => self.count().cmp(&other.count()),
        }
    }
}

/// NaN is equal to itself and the greatest; zeros of both signs are equal.
pub(crate) fn order_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

fn write_array(elements: &[Datum<'_>], zone: Tz, out: &mut String) {
    out.push('{');
    for (at, element) in elements.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        match (element, element.shown(zone)) {
            (Datum::Array(_), Some(shown)) => out.push_str(&shown),
            (_, Some(shown)) => text::write_item(&shown, out),
            (_, None) => out.push_str("NULL"),
        }
    }
    out.push('}');
}

fn write_record(values: &[Datum<'_>], zone: Tz, out: &mut String) {
    out.push('(');
    for (at, value) in values.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        if let Some(shown) = value.shown(zone) {
            write_field(&shown, out);
        }
    }
    out.push(')');
}

/// A column of computed values.
///
/// # Errors
/// A value that its type cannot hold.
pub(crate) fn build_column(data_type: &DataType, values: Vec<Datum<'_>>) -> Result<ArrayRef> {
    macro_rules! collect {
        ($array:ty, $datum:ident => $value:expr) => {{
            let column = values.iter().map(|value| match value {
                Datum::Null => Ok(None),
                $datum => $value.map(Some),
            });
            Arc::new(column.collect::<Result<$array>>()?)
        }};
    }
    Ok(match data_type {
        DataType::Null => Arc::new(NullArray::new(values.len())),
        DataType::Boolean => collect!(BooleanArray, d => Ok(d.bool())),
        DataType::Int16 => collect!(Int16Array, d => narrow(d.int(), "smallint")),
        DataType::Int32 => collect!(Int32Array, d => narrow(d.int(), "integer")),
        DataType::Int64 => collect!(Int64Array, d => Ok(d.int())),
        DataType::UInt32 => collect!(UInt32Array, d => narrow(d.int(), "oid")),
        DataType::Float32 => collect!(Float32Array, d => Ok(d.float() as f32)),
        DataType::Float64 => collect!(Float64Array, d => Ok(d.float())),
        DataType::Decimal128(precision, scale) => {
            let column = values.iter().map(|value| match value {
                Datum::Null => Ok(None),
                value => value.numeric()?.fit(*precision, *scale).map(Some),
            });
            let column: Decimal128Array = column.collect::<Result<_>>()?;
            Arc::new(column.with_data_type(data_type.clone()))
        }
        DataType::Decimal256(precision, scale) => {
            let column = values.iter().map(|value| match value {
                Datum::Null => Ok(None),
                value => value.numeric()?.fit_wide(*precision, *scale).map(Some),
            });
            let column: Decimal256Array = column.collect::<Result<_>>()?;
            Arc::new(column.with_data_type(data_type.clone()))
        }
        DataType::LargeUtf8 => {
            collect!(LargeStringArray, d => Ok::<_, ValueError>(d.str()))
        }
        DataType::Binary => collect!(BinaryArray, d => Ok::<_, ValueError>(d.octets())),
        DataType::FixedSizeBinary(_) => uuids(&values),
        DataType::Date32 => collect!(Date32Array, d => narrow(d.count(), "date")),
        DataType::Time64(_) => collect!(Time64MicrosecondArray, d => Ok(d.count())),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let column = values.iter().map(|value| match value {
                Datum::Null => None,
                value => Some(value.count()),
            });
            let column: TimestampMicrosecondArray = column.collect();
            Arc::new(column.with_timezone_opt(zone.clone()))
        }
        DataType::Interval(_) => {
            collect!(IntervalMonthDayNanoArray, d => arrow_interval(d.interval()))
        }
        DataType::List(item) => lists(item, values)?,
        DataType::Struct(fields) => structs(fields, values)?,
        DataType::Map(..) => maps(data_type, values)?,
        _ => collect!(StringArray, d => Ok::<_, ValueError>(d.str())),
    })
}

fn narrow<T: TryFrom<i64>>(value: i64, type_name: &str) -> Result<T> {
    T::try_from(value)
        .map_err(|_| ValueError::refused(Fault::OutOfRange, format!("{type_name} out of range")))
}

fn arrow_interval(value: Interval) -> Result<IntervalMonthDayNano> {
    let fits = || {
        Some(IntervalMonthDayNano::new(
            i32::try_from(value.months).ok()?,
            i32::try_from(value.days).ok()?,
            value.micros.checked_mul(1000)?,
        ))
    };
    fits().ok_or_else(|| ValueError::refused(Fault::DatetimeOverflow, "interval out of range"))
}

fn uuids(values: &[Datum<'_>]) -> ArrayRef {
    let bytes = values.iter().map(|value| match value {
        Datum::Uuid(bytes) => Some(*bytes),
        _ => None,
    });
    let column = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, UUID_BYTES);
    Arc::new(column.expect("every value has the bytes of a uuid"))
}

fn structs(fields: &Fields, values: Vec<Datum<'_>>) -> Result<ArrayRef> {
    let mut parts: Vec<Vec<Datum<'_>>> = vec![Vec::with_capacity(values.len()); fields.len()];
    let mut valid = Vec::with_capacity(values.len());
    for value in values {
        let (is_valid, values) = match value {
            Datum::Record(_, values) => (true, values),
            _ => (false, Vec::new()),
        };
        valid.push(is_valid);
        let mut values = values.into_iter();
        for part in &mut parts {
            part.push(values.next().unwrap_or(Datum::Null));
        }
    }
    let columns = fields.iter().zip(parts);
    let columns = columns.map(|(field, part)| build_column(field.data_type(), part));
    let columns = columns.collect::<Result<_>>()?;
    let nulls = Some(NullBuffer::from(valid));
    Ok(Arc::new(StructArray::new(fields.clone(), columns, nulls)))
}

fn lists(item: &FieldRef, values: Vec<Datum<'_>>) -> Result<ArrayRef> {
    let mut lengths = Vec::with_capacity(values.len());
    let mut valid = Vec::with_capacity(values.len());
    let mut items = Vec::new();
    for value in values {
        match value {
            Datum::Array(elements) => {
                valid.push(true);
                lengths.push(elements.len());
                items.extend(elements);
            }
            _ => {
                valid.push(false);
                lengths.push(0);
            }
        }
    }
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let items = build_column(item.data_type(), items)?;
    let lists = ListArray::new(
        Arc::clone(item),
        offsets,
        items,
        Some(NullBuffer::from(valid)),
    );
    debug_assert!(lists.offsets().len() == lists.len() + 1);
    Ok(Arc::new(lists))
}

fn maps(data_type: &DataType, values: Vec<Datum<'_>>) -> Result<ArrayRef> {
    let (key, value) = map::parts(data_type).expect("a map has keys and values");
    let mut lengths = Vec::with_capacity(values.len());
    let mut valid = Vec::with_capacity(values.len());
    let mut entries = Vec::new();
    for map in values {
        let (is_valid, map) = match map {
            Datum::Map(map) => (true, map),
            _ => (false, Vec::new()),
        };
        valid.push(is_valid);
        lengths.push(map.len());
        entries.extend(map);
    }
    let (keys, values) = entries.into_iter().unzip();
    maps_of(
        &build_column(key, keys)?,
        &build_column(value, values)?,
        &OffsetBuffer::from_lengths(lengths),
        Some(NullBuffer::from(valid)),
    )
}
