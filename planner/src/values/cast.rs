//! Casts between types as PostgreSQL does them, where Arrow's differ.
//!
//! | from | to | as |
//! | --- | --- | --- |
//! | text | any type | its input function |
//! | any type | text | its output function |
//! | numbers | whole numbers | floats half to even, `numeric` half away from zero; errors 22003 |
//! | dates, times | instants, and back | by the clocks of the session's zone |
//! | arrays | arrays | each element |
//! | composite types | composite types | each field, by its place |
//! | maps | maps | each key, each value |
//! | `jsonb` | numbers, `boolean` | if it holds one |

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, IntervalMonthDayNanoArray, ListArray, PrimitiveArray,
    StringArray, Time64MicrosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

use crate::types::NUMERIC_DEFAULT;
use crate::values::column::Style;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::input::{parse_arrays, parse_column};
use crate::values::json::Json;
use crate::values::map::maps_of;
use crate::values::record::{Record, struct_of};
use crate::values::temporal::{MICROS_DAY, instant_of, local_micros};
use crate::values::text::column_texts;
use crate::values::types::SqlType;

/// Whether a cast is one of ours; the others are as Arrow does them.
#[must_use]
pub fn differs(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    if from == to || *from == T::Null {
        return false;
    }
    match (from, to) {
        (T::List(from), T::List(to)) => differs(from.data_type(), to.data_type()),
        (T::Utf8 | T::Utf8View, T::Utf8 | T::Utf8View) => false,
        (T::Utf8 | T::Utf8View | T::LargeUtf8, _) => true,
        (_, T::Utf8) => true,
        (T::Dictionary(..), _) => false,
        (T::Struct(_), T::Struct(_)) | (T::Map(..), T::Map(..)) => true,
        (from, to) if is_number(from) && is_number(to) => !is_wider(from, to),
        (T::Date32, T::Timestamp(_, zone)) => zone.is_some(),
        (T::Timestamp(_, None), T::Timestamp(_, Some(_)))
        | (T::Timestamp(_, Some(_)), T::Timestamp(_, None) | T::Date32 | T::Time64(_)) => true,
        (T::Interval(_), T::Time64(_)) | (T::Time64(_), T::Interval(_)) => true,
        _ => false,
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || data_type.is_decimal()
}

/// Whether every number of one type is one of the other, so that Arrow's cast cannot be wrong.
fn is_wider(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let digits = |data_type: &DataType| match data_type {
        T::Int8 | T::UInt8 => Some((3, 0)),
        T::Int16 | T::UInt16 => Some((5, 0)),
        T::Int32 | T::UInt32 => Some((10, 0)),
        T::Int64 => Some((19, 0)),
        T::UInt64 => Some((20, 0)),
        T::Decimal128(p, s) | T::Decimal256(p, s) => Some((i16::from(*p), i16::from(*s))),
        _ => None,
    };
    match (from, to) {
        (T::Float32, T::Float64) => true,
        (T::Float64 | T::Float32, _) => false,
        (from, T::Float64 | T::Float32) if from.is_decimal() => false,
        (_, T::Float64) => true,
        (_, T::Float32) => from.is_integer(),
        (from, to) if from.is_integer() && to.is_integer() => {
            from.primitive_width() < to.primitive_width()
        }
        (from, to) => match (digits(from), digits(to)) {
            (Some((p, s)), Some((to_p, to_s))) => {
                to.is_decimal() && to_s >= s && to_p - to_s >= p - s
            }
            _ => false,
        },
    }
}

/// Casts a column. Instants are read and shown in `zone`.
///
/// # Errors
/// The first value that has no counterpart.
pub fn cast(column: &ArrayRef, to: &DataType, zone: Tz) -> Result<ArrayRef> {
    let from = column.data_type();
    if from == to {
        return Ok(Arc::clone(column));
    }
    if *from == DataType::Null {
        return Ok(new_null_array(to, column.len()));
    }
    let target = SqlType::of(to);
    match (SqlType::of(from), &target) {
        (_, SqlType::Text) => texts(column, zone),
        (SqlType::Text, SqlType::Array(_)) => {
            let texts = plain(column, &DataType::Utf8)?;
            let read = parse_arrays(
                texts.as_string(),
                target.element(),
                target.dimensions(),
                zone,
            );
            plain(&read.map_err(|bad| bad.error)?, to)
        }
        (SqlType::Record(_), SqlType::Record(target)) => records(column, target, zone),
        (SqlType::Map(..), SqlType::Map(key, value)) => maps(column, key, value, zone),
        (SqlType::Text, _) => {
            let texts = plain(column, &DataType::Utf8)?;
            let read = parse_column(texts.as_string(), &target, zone).map_err(|bad| bad.error)?;
            plain(&read, to)
        }
        (SqlType::Jsonb, _) => from_json(column, to, zone),
        (SqlType::Array(_), SqlType::Array(_)) => lists(column, to, zone),
        (SqlType::Date | SqlType::Timestamp, SqlType::Timestamptz) => instants(column, to, zone),
        (SqlType::Timestamptz, SqlType::Date | SqlType::Time | SqlType::Timestamp) => {
            locals(column, to, zone)
        }
        (SqlType::Interval, SqlType::Time) => Ok(times_of_intervals(column)),
        (SqlType::Time, SqlType::Interval) => intervals_of_times(column),
        _ if is_number(from) && is_number(to) => numbers(column, to, &target),
        _ => plain(column, to),
    }
}

fn checked() -> CastOptions<'static> {
    CastOptions {
        safe: false,
        ..CastOptions::default()
    }
}

/// Arrow's cast.
fn plain(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    cast_with_options(column, to, &checked()).map_err(|_| {
        let (from, to) = (SqlType::of(column.data_type()), SqlType::of(to));
        let message = format!(
            "cannot cast type {} to {}",
            from.base_name(),
            to.base_name()
        );
        ValueError::refused(Fault::Type, message)
    })
}

/// As the output function prints values, except that a cast to text spells booleans out.
fn texts(column: &ArrayRef, zone: Tz) -> Result<ArrayRef> {
    if let Some(bools) = column.as_boolean_opt() {
        let spelled = |value| if value { "true" } else { "false" };
        let texts: StringArray = bools.iter().map(|value| value.map(spelled)).collect();
        return Ok(Arc::new(texts));
    }
    if SqlType::of(column.data_type()).is_text() && !column.data_type().is_nested() {
        return plain(column, &DataType::Utf8);
    }
    let texts = column_texts(column, Style { zone })?;
    Ok(Arc::new(texts.into_iter().collect::<StringArray>()))
}

fn out_of_range(target: &SqlType) -> ValueError {
    match target {
        SqlType::Numeric(digits) => {
            let (precision, scale) = digits.unwrap_or(NUMERIC_DEFAULT);
            ValueError::NumericOverflow { precision, scale }
        }
        SqlType::Float4 => ValueError::refused(Fault::OutOfRange, "value out of range: overflow"),
        other => ValueError::refused(
            Fault::OutOfRange,
            format!("{} out of range", other.base_name()),
        ),
    }
}

fn numbers(column: &ArrayRef, to: &DataType, target: &SqlType) -> Result<ArrayRef> {
    if to.is_decimal() && column.data_type().is_floating() {
        // By its text: 0.1 is 0.1, and not what is nearest to it in base two.
        let texts = plain_floats(column)?;
        let read = parse_column(texts.as_string(), target, crate::values::temporal::utc())
            .map_err(|bad| bad.error)?;
        return plain(&read, to);
    }
    if to.is_floating() && column.data_type().is_decimal() {
        // By its text, so that the nearest float is found.
        let texts = texts(column, crate::values::temporal::utc())?;
        let read = parse_column(texts.as_string(), target, crate::values::temporal::utc());
        return read.map_err(|bad| bad.error);
    }
    if *to == DataType::Float32 && *column.data_type() == DataType::Float64 {
        return narrow_floats(column);
    }
    let whole = if to.is_integer() {
        rounded(column, target)?
    } else {
        Arc::clone(column)
    };
    cast_with_options(&whole, to, &checked()).map_err(|_| out_of_range(target))
}

/// The digits that PostgreSQL keeps of a float in a `numeric`: 15, or 6 of a `real`.
fn plain_floats(column: &ArrayRef) -> Result<ArrayRef> {
    let digits = if *column.data_type() == DataType::Float32 {
        5
    } else {
        14
    };
    let floats = plain(column, &DataType::Float64)?;
    let shown = |value: f64| {
        if value.is_finite() {
            format!("{value:.digits$e}")
        } else {
            value.to_string()
        }
    };
    let texts = floats.as_primitive::<Float64Type>().iter();
    let texts: StringArray = texts.map(|value| value.map(shown)).collect();
    Ok(Arc::new(texts))
}

fn narrow_floats(column: &ArrayRef) -> Result<ArrayRef> {
    let narrow = |value: f64| {
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            return Err(out_of_range(&SqlType::Float4));
        }
        if narrow == 0.0 && value != 0.0 {
            return Err(ValueError::refused(
                Fault::OutOfRange,
                "value out of range: underflow",
            ));
        }
        Ok(narrow)
    };
    let floats = column.as_primitive::<Float64Type>().iter();
    let narrowed: Float32Array = floats
        .map(|value| value.map(narrow).transpose())
        .collect::<Result<_>>()?;
    Ok(Arc::new(narrowed))
}

/// Fractions to whole numbers.
fn rounded(column: &ArrayRef, target: &SqlType) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Float32 => Arc::new(
            column
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(f32::round_ties_even),
        ),
        DataType::Float64 => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(f64::round_ties_even),
        ),
        DataType::Decimal128(_, scale) if *scale > 0 => {
            cast_with_options(column, &DataType::Decimal128(38, 0), &checked())
                .map_err(|_| out_of_range(target))?
        }
        DataType::Decimal256(_, scale) if *scale > 0 => {
            cast_with_options(column, &DataType::Decimal256(76, 0), &checked())
                .map_err(|_| out_of_range(target))?
        }
        _ => Arc::clone(column),
    })
}

fn micros(column: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let unzoned = match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            // The same instants: their stored numbers.
            let unit = DataType::Timestamp(*unit, Some(crate::values::types::UTC.into()));
            plain(column, &unit)?
        }
        _ => Arc::clone(column),
    };
    let zone = match unzoned.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = plain(&unzoned, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>().clone();
    Ok(micros.with_timezone_opt(None::<Arc<str>>))
}

fn instants(column: &ArrayRef, to: &DataType, zone: Tz) -> Result<ArrayRef> {
    let instants = micros(column)?.unary::<_, TimestampMicrosecondType>(|at| instant_of(at, zone));
    plain(
        &(Arc::new(instants.with_timezone(crate::values::types::UTC)) as ArrayRef),
        to,
    )
}

fn locals(column: &ArrayRef, to: &DataType, zone: Tz) -> Result<ArrayRef> {
    let locals = micros(column)?.unary::<_, TimestampMicrosecondType>(|at| local_micros(at, zone));
    plain(&(Arc::new(locals) as ArrayRef), to)
}

fn times_of_intervals(column: &ArrayRef) -> ArrayRef {
    let of_day = |value: IntervalMonthDayNano| (value.nanoseconds / 1000).rem_euclid(MICROS_DAY);
    let intervals = column.as_primitive::<IntervalMonthDayNanoType>();
    let times: Time64MicrosecondArray = intervals.unary(of_day);
    Arc::new(times)
}

fn intervals_of_times(column: &ArrayRef) -> Result<ArrayRef> {
    let times = plain(column, &DataType::Time64(TimeUnit::Microsecond))?;
    let times = times.as_primitive::<Time64MicrosecondType>();
    let intervals: IntervalMonthDayNanoArray =
        times.unary(|micros| IntervalMonthDayNano::new(0, 0, micros * 1000));
    debug_assert_eq!(
        *intervals.data_type(),
        DataType::Interval(IntervalUnit::MonthDayNano)
    );
    Ok(Arc::new(intervals))
}

fn lists(column: &ArrayRef, to: &DataType, zone: Tz) -> Result<ArrayRef> {
    let DataType::List(item) = to else {
        return plain(column, to);
    };
    let as_lists = match column.data_type() {
        DataType::List(_) => Arc::clone(column),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            plain(column, &DataType::List(Arc::clone(item)))?
        }
        _ => return plain(column, to),
    };
    let lists = as_lists.as_list::<i32>();
    let values = cast(lists.values(), item.data_type(), zone)?;
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let cast = ListArray::new(
        field,
        lists.offsets().clone(),
        values,
        lists.nulls().cloned(),
    );
    plain(&(Arc::new(cast) as ArrayRef), to)
}

/// Composite values field by field, in their order; names do not matter.
fn records(column: &ArrayRef, target: &Record, zone: Tz) -> Result<ArrayRef> {
    let structs = column.as_struct();
    let (given, wanted) = (structs.num_columns(), target.fields.len());
    if given != wanted {
        return Err(ValueError::Fields {
            from: SqlType::of(column.data_type()).base_name(),
            to: target.name().to_owned(),
            too_many: given > wanted,
        });
    }
    let columns = structs.columns().iter().zip(target.types());
    let columns = columns.map(|(column, sql_type)| {
        let cast = cast(column, &sql_type.arrow(), zone)?;
        Ok(match sql_type {
            SqlType::Varchar(Some(length)) => cut(&cast, *length, false),
            SqlType::Char(length) => cut(&cast, *length, true),
            _ => cast,
        })
    });
    let columns = columns.collect::<Result<_>>()?;
    Ok(struct_of(target, columns, structs.nulls().cloned()))
}

/// Maps key by key and value by value; keys that become equal are refused.
fn maps(column: &ArrayRef, key: &SqlType, value: &SqlType, zone: Tz) -> Result<ArrayRef> {
    let maps = column.as_map();
    let keys = cast(maps.keys(), &key.arrow(), zone)?;
    let values = cast(maps.values(), &value.arrow(), zone)?;
    maps_of(&keys, &values, maps.offsets(), maps.nulls().cloned())
}

/// Texts of at most `length` characters; of exactly so many if they are padded.
fn cut(column: &ArrayRef, length: u32, padded: bool) -> ArrayRef {
    let length = length as usize;
    let cut = |text: &str| {
        let mut cut: String = text.chars().take(length).collect();
        if padded {
            let missing = length - cut.chars().count();
            cut.extend(std::iter::repeat_n(' ', missing));
        }
        cut
    };
    let texts = column.as_string::<i32>().iter();
    Arc::new(texts.map(|text| text.map(cut)).collect::<StringArray>())
}

/// Numbers and booleans out of `jsonb`.
fn from_json(column: &ArrayRef, to: &DataType, zone: Tz) -> Result<ArrayRef> {
    let target = SqlType::of(to);
    let number = is_number(to);
    if !number && target != SqlType::Bool {
        return plain(column, to);
    }
    let scalar = |text: &str| match Json::parse(text)? {
        Json::Number(value) if number => Ok(value),
        Json::Bool(value) if !number => Ok(value.to_string()),
        other => {
            let kind = match other.kind() {
                "array" | "object" => "array or object",
                kind => kind,
            };
            let name = target.base_name();
            let message = match &other {
                Json::Array(_) => format!("cannot cast jsonb array to type {name}"),
                Json::Object(_) => format!("cannot cast jsonb object to type {name}"),
                _ => format!("cannot cast jsonb {kind} to type {name}"),
            };
            Err(ValueError::refused(Fault::Parameter, message))
        }
    };
    let texts: StringArray = column
        .as_string::<i64>()
        .iter()
        .map(|text| text.map(scalar).transpose())
        .collect::<Result<_>>()?;
    if !to.is_integer() {
        let read = parse_column(&texts, &target, zone).map_err(|bad| bad.error)?;
        return plain(&read, to);
    }
    // Whole numbers are rounded as those of a numeric.
    let digits = SqlType::Numeric(None);
    let read = parse_column(&texts, &digits, zone).map_err(|bad| bad.error)?;
    numbers(&read, to, &target)
}
