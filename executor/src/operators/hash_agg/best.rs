//! Least and greatest values where rows are never taken back: each value has a number above zero, the
//! better the greater, and a group keeps the greatest one as a measure.
//!
//! ```text
//!   max: ORIGIN + ordinal        min: ORIGIN - ordinal        no value: 0
//! ```
//!
//! The ordinal of a value is an integer that orders as PostgreSQL orders the values. A row counts once
//! however often it comes, and one that is taken back and replaced by an equal one, as when a column
//! of a table is dropped, changes nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use planner::dataflow::AggFunction;
use storage::MeasureColumn;

use super::accumulate::{as_type, map_values};
use crate::error::Result;

/// Which value is best.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    Least,
    Greatest,
}

/// Above all ordinals: those of decimals have 37 digits at most.
const ORIGIN: i128 = 1 << 126;

impl Wanted {
    /// What `min` wants; other functions want the greatest value.
    pub(super) fn of(function: AggFunction) -> Self {
        match function {
            AggFunction::Min => Self::Least,
            _ => Self::Greatest,
        }
    }

    /// From an ordinal to its number, and back.
    fn mirror(self, ordinal: i128) -> i128 {
        match self {
            Self::Least => ORIGIN - ordinal,
            Self::Greatest => ORIGIN + ordinal,
        }
    }

    fn ordinal(self, number: i128) -> i128 {
        match self {
            Self::Least => ORIGIN - number,
            Self::Greatest => number - ORIGIN,
        }
    }
}

/// The numbers of values; zero for NULL, and for rows that are taken back.
///
/// # Errors
/// If the column is not of a type that has ordinals.
pub(super) fn numbers(column: &ArrayRef, weights: &[i64], wanted: Wanted) -> Result<MeasureColumn> {
    let number = |ordinal: i128, weight: i64| match weight {
        1.. => wanted.mirror(ordinal),
        _ => 0,
    };
    let numbers = match column.data_type() {
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>();
            map_values(values, weights, 0, number)
        }
        DataType::Float32 | DataType::Float64 => {
            let values = cast(column, &DataType::Float64)?;
            let values = values.as_primitive::<Float64Type>();
            map_values(values, weights, 0, |value, weight| {
                number(ordinal_of_float(value), weight)
            })
        }
        _ => {
            let values = integers(column)?;
            let values = values.as_primitive::<Int64Type>();
            map_values(values, weights, 0, |value, weight| {
                number(i128::from(value), weight)
            })
        }
    };
    Ok(MeasureColumn::Greatest(numbers))
}

/// The values that numbers stand for; NULL for zero.
///
/// # Errors
/// If the type has no ordinals.
pub(super) fn values(numbers: &[i128], wanted: Wanted, output: &DataType) -> Result<ArrayRef> {
    let ordinals = numbers
        .iter()
        .map(|&number| (number != 0).then(|| wanted.ordinal(number)));
    let array: ArrayRef = match output {
        DataType::Decimal128(precision, scale) => {
            let values: Decimal128Array = ordinals.collect();
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Float32 | DataType::Float64 => {
            let values: Float64Array = ordinals.map(|o| o.map(float_of_ordinal)).collect();
            Arc::new(values)
        }
        // What came in were 64 bits.
        _ => Arc::new(Int64Array::from_iter(ordinals.map(|o| o.map(|o| o as i64)))),
    };
    match output {
        DataType::Date32 => as_type(&cast(&array, &DataType::Int32)?, output),
        _ => as_type(&array, output),
    }
}

/// Integers, dates and times as 64 bits.
fn integers(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Date32 => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    })
}

/// The bits of a float, ordered as integers: -Inf, …, 0, …, Inf, NaN. There is one zero, one NaN.
fn ordinal_of_float(value: f64) -> i128 {
    let canonical = if value.is_nan() {
        f64::NAN.abs()
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    i128::from(flipped(canonical.to_bits().cast_signed()))
}

fn float_of_ordinal(ordinal: i128) -> f64 {
    f64::from_bits(flipped(ordinal as i64).cast_unsigned())
}

/// Negative floats order the other way round than their bits.
fn flipped(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Float32Array, Int16Array, TimestampMicrosecondArray,
    };

    use super::*;

    fn kept(column: &ArrayRef, wanted: Wanted) -> ArrayRef {
        let ones = vec![1; column.len()];
        let MeasureColumn::Greatest(numbers) = numbers(column, &ones, wanted).unwrap() else {
            panic!("greatest numbers");
        };
        values(&numbers, wanted, column.data_type()).unwrap()
    }

    #[test]
    fn values_come_back() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![
                Some(i64::MIN),
                Some(i64::MAX),
                Some(0),
                None,
            ])),
            Arc::new(Int16Array::from(vec![Some(-7), None])),
            Arc::new(Float64Array::from(vec![
                -1.5,
                0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                1e-300,
            ])),
            Arc::new(Float32Array::from(vec![-1.5, 3.25])),
            Arc::new(Date32Array::from(vec![-1, 20_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![-1, i64::MAX]).with_timezone("+00:00")),
            Arc::new(
                Decimal128Array::from(vec![10_i128.pow(37) - 1, 1 - 10_i128.pow(37)])
                    .with_precision_and_scale(37, 5)
                    .unwrap(),
            ),
        ];
        for column in columns {
            for wanted in [Wanted::Least, Wanted::Greatest] {
                assert_eq!(&kept(&column, wanted), &column, "{wanted:?}");
            }
        }
    }

    #[test]
    fn better_values_have_greater_numbers() {
        let floats = [
            f64::NEG_INFINITY,
            -2.0,
            -1e-300,
            0.0,
            1e-300,
            2.0,
            f64::INFINITY,
            f64::NAN,
        ];
        let column: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
        let of = |wanted| match numbers(&column, &[1; 8], wanted).unwrap() {
            MeasureColumn::Greatest(numbers) => numbers,
            _ => panic!("greatest numbers"),
        };
        assert!(of(Wanted::Greatest).is_sorted_by(|a, b| a < b));
        assert!(of(Wanted::Least).is_sorted_by(|a, b| a > b));
        assert!(of(Wanted::Least).iter().all(|number| *number > 0));
    }

    #[test]
    fn rows_that_are_taken_back_have_no_number() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), Some(5), None]));
        let numbers = numbers(&column, &[-1, 2, 1], Wanted::Greatest).unwrap();
        assert_eq!(numbers, MeasureColumn::Greatest(vec![0, ORIGIN + 5, 0]));
    }
}
