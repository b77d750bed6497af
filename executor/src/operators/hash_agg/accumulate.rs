//! What rows add to the measures of a group (`planner::measures`), and how results follow from them.
//!
//! A mean of integers or decimals is computed of sum and count behind the aggregation, by the plan.
//!
//! NaN and the infinities cannot be subtracted from a sum again, so they are counted beside it. A
//! sum is kept wider than its type and checked when it is emitted: inside an epoch it may pass the
//! limit. One that is beyond the limit at the barrier is NULL, and counted as a row error.
//!
//! All functions are over whole columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Decimal256Array, Float64Array,
    Int64Array, PrimitiveArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Float64Type, Int64Type, SchemaRef,
    UInt64Type, i256,
};
use datafusion::error::DataFusionError;
use planner::dataflow::AggFunction;
use planner::measures::Measure;
use planner::values::{Fault, ValueError};
use storage::{FloatSum, MeasureColumn, MeasureType, Measures};

use super::super::RowErrors;
use super::AggPlan;
use super::best::{self, Wanted};
use crate::error::{Error, Result};

/// What a call's result is made of; numbers are indexes of measures.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Count {
        measure: usize,
    },
    Sum {
        values: usize,
        sum: Sum,
        output: DataType,
    },
    Average {
        values: usize,
        sum: Sum,
        output: DataType,
    },
    /// The best value is a measure.
    Best {
        measure: usize,
        wanted: Wanted,
        output: DataType,
    },
    /// The value is in the extremes, at this place.
    Extreme {
        place: usize,
    },
}

/// The measures of a sum.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    Integer(usize),
    Decimal {
        sum: usize,
        scale: i8,
    },
    Float {
        sum: usize,
        nan: usize,
        positive: usize,
        negative: usize,
    },
}

/// The measures that some calls need.
#[derive(Debug, Clone)]
pub(super) struct Accumulators {
    pub(super) measures: Vec<Measure>,
    pub(super) calls: Vec<Call>,
}

impl Accumulators {
    /// Chooses measures for the calls of `plan` over columns of `input`.
    ///
    /// # Errors
    /// If there is no such aggregate of that type.
    pub(super) fn new(plan: AggPlan<'_>, input: &SchemaRef) -> Result<Self> {
        let measures = Measure::of_calls(plan.calls, input, plan.append_only);
        let mut extremes = 0;
        let mut calls = Vec::with_capacity(plan.calls.len());
        for call in plan.calls {
            calls.push(match (call.function, call.argument) {
                (AggFunction::Count, None) => Call::Count { measure: 0 },
                (AggFunction::Count, Some(column)) => Call::Count {
                    measure: place(&measures, Measure::Values(column))?,
                },
                (AggFunction::Sum, Some(column)) => Call::Sum {
                    values: place(&measures, Measure::Values(column))?,
                    sum: sum(&measures, column, input.field(column).data_type())?,
                    output: call.output_type.clone(),
                },
                (AggFunction::Avg, Some(column)) => Call::Average {
                    values: place(&measures, Measure::Values(column))?,
                    sum: sum(&measures, column, input.field(column).data_type())?,
                    output: call.output_type.clone(),
                },
                (AggFunction::Min | AggFunction::Max, Some(column))
                    if call.is_greatest(input, plan.append_only) =>
                {
                    Call::Best {
                        measure: place(&measures, Measure::Best(column, call.function))?,
                        wanted: Wanted::of(call.function),
                        output: call.output_type.clone(),
                    }
                }
                (AggFunction::Min | AggFunction::Max, Some(_)) => {
                    extremes += 1;
                    Call::Extreme {
                        place: extremes - 1,
                    }
                }
                (function, None) => {
                    return Err(Error::Plan {
                        reason: format!("{function:?} without an argument"),
                    });
                }
            });
        }
        Ok(Self { measures, calls })
    }

    /// The types of the measures, in order.
    pub(super) fn types(&self) -> Vec<MeasureType> {
        self.measures.iter().copied().map(measure_type).collect()
    }

    /// What each row of a batch adds to the measures of its group.
    ///
    /// # Errors
    /// If a column does not have the type of the plan.
    pub(super) fn deltas(&self, columns: &[ArrayRef], weights: &[i64]) -> Result<Measures> {
        let deltas = self
            .measures
            .iter()
            .map(|measure| delta(*measure, columns, weights))
            .collect::<Result<_>>()?;
        Ok(Measures(deltas))
    }

    /// The results of a call over groups with these measures; not for extremes. Results beyond the
    /// limits of their type are NULL and counted in `errors`.
    ///
    /// # Errors
    /// If the plan asks for a result type that no sum has.
    pub(super) fn result(
        &self,
        call: &Call,
        measures: &Measures,
        errors: &RowErrors,
    ) -> Result<ArrayRef> {
        match call {
            Call::Count { measure } => {
                let counts = Int64Array::from(int64(measures, *measure).to_vec());
                Ok(Arc::new(counts))
            }
            Call::Sum {
                values,
                sum,
                output,
            } => {
                let values = int64(measures, *values);
                match *sum {
                    Sum::Float { .. } => {
                        as_type(&float_sums(measures, *sum, values, |sum, _| sum), output)
                    }
                    Sum::Integer(_) | Sum::Decimal { .. } => {
                        exact(measures, *sum, values, output, errors)
                    }
                }
            }
            Call::Average {
                values,
                sum,
                output,
            } => {
                let values = int64(measures, *values);
                match *sum {
                    Sum::Float { .. } => as_type(
                        &float_sums(measures, *sum, values, |sum, values| sum / values),
                        output,
                    ),
                    Sum::Integer(_) | Sum::Decimal { .. } => Err(Error::Plan {
                        reason: "a mean of exact numbers is computed of their sum".into(),
                    }),
                }
            }
            Call::Best {
                measure,
                wanted,
                output,
            } => match &measures.0[*measure] {
                MeasureColumn::Greatest(numbers) => best::values(numbers, *wanted, output),
                _ => unreachable!("best values are kept as greatest numbers"),
            },
            Call::Extreme { .. } => Err(Error::Plan {
                reason: "this min or max has no measure".into(),
            }),
        }
    }
}

/// How a group keeps a measure.
pub(super) const fn measure_type(measure: Measure) -> MeasureType {
    match measure {
        Measure::IntegerSum(_) => MeasureType::Int128,
        Measure::DecimalSum(_) => MeasureType::Int256,
        Measure::FloatSum(_) => MeasureType::Float64,
        Measure::Best(..) => MeasureType::Greatest,
        Measure::Rows
        | Measure::Values(_)
        | Measure::NaN(_)
        | Measure::PositiveInfinity(_)
        | Measure::NegativeInfinity(_) => MeasureType::Int64,
    }
}

fn place(measures: &[Measure], wanted: Measure) -> Result<usize> {
    let found = measures.iter().position(|measure| *measure == wanted);
    found.ok_or_else(|| Error::Plan {
        reason: format!("no measure {wanted:?}"),
    })
}

/// The measures of the sum of a column.
fn sum(measures: &[Measure], column: usize, data_type: &DataType) -> Result<Sum> {
    let place = |measure| place(measures, measure);
    Ok(match data_type {
        integer if integer.is_integer() => Sum::Integer(place(Measure::IntegerSum(column))?),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Sum::Decimal {
            sum: place(Measure::DecimalSum(column))?,
            scale: *scale,
        },
        float if float.is_floating() => Sum::Float {
            sum: place(Measure::FloatSum(column))?,
            nan: place(Measure::NaN(column))?,
            positive: place(Measure::PositiveInfinity(column))?,
            negative: place(Measure::NegativeInfinity(column))?,
        },
        other => {
            return Err(Error::Plan {
                reason: format!("a sum over {other}"),
            });
        }
    })
}

/// What each row adds to one measure.
fn delta(measure: Measure, columns: &[ArrayRef], weights: &[i64]) -> Result<MeasureColumn> {
    Ok(match measure {
        Measure::Rows => MeasureColumn::Int64(weights.to_vec()),
        Measure::Best(column, function) => {
            best::numbers(&columns[column], weights, Wanted::of(function))?
        }
        Measure::Values(column) => MeasureColumn::Int64(match columns[column].logical_nulls() {
            None => weights.to_vec(),
            Some(nulls) => nulls
                .iter()
                .zip(weights)
                .map(|(valid, &weight)| if valid { weight } else { 0 })
                .collect(),
        }),
        Measure::IntegerSum(column) => integer_deltas(&columns[column], weights)?,
        Measure::DecimalSum(column) => decimal_deltas(&columns[column], weights)?,
        Measure::FloatSum(column) => {
            let values = floats(&columns[column])?;
            MeasureColumn::Float64(map_values(&values, weights, FloatSum::default(), weighted))
        }
        Measure::NaN(column) => count_floats(&columns[column], weights, f64::is_nan)?,
        Measure::PositiveInfinity(column) => {
            count_floats(&columns[column], weights, |value| value == f64::INFINITY)?
        }
        Measure::NegativeInfinity(column) => count_floats(&columns[column], weights, |value| {
            value == f64::NEG_INFINITY
        })?,
    })
}

/// `value * weight` for valid rows, `zero` for NULLs.
pub(super) fn map_values<T: ArrowPrimitiveType, M: Copy>(
    values: &PrimitiveArray<T>,
    weights: &[i64],
    zero: M,
    times: impl Fn(T::Native, i64) -> M,
) -> Vec<M> {
    let pairs = values.values().iter().zip(weights);
    match values.nulls() {
        None => pairs
            .map(|(&value, &weight)| times(value, weight))
            .collect(),
        Some(nulls) => pairs
            .zip(nulls.iter())
            .map(|((&value, &weight), valid)| if valid { times(value, weight) } else { zero })
            .collect(),
    }
}

fn integer_deltas(column: &ArrayRef, weights: &[i64]) -> Result<MeasureColumn> {
    let deltas = if column.data_type() == &DataType::UInt64 {
        let values: &UInt64Array = column.as_primitive::<UInt64Type>();
        map_values(values, weights, 0, |value, weight| {
            i128::from(value).wrapping_mul(i128::from(weight))
        })
    } else {
        let column = cast(column, &DataType::Int64)?;
        map_values(
            column.as_primitive::<Int64Type>(),
            weights,
            0,
            |value, weight| i128::from(value) * i128::from(weight),
        )
    };
    Ok(MeasureColumn::Int128(deltas))
}

fn decimal_deltas(column: &ArrayRef, weights: &[i64]) -> Result<MeasureColumn> {
    let times = |value: i256, weight: i64| match weight {
        1 => value,
        -1 => value.wrapping_neg(),
        weight => value.wrapping_mul(i256::from_i128(i128::from(weight))),
    };
    let column = match column.data_type() {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            cast(column, &DataType::Decimal128(38, *scale))?
        }
        _ => Arc::clone(column),
    };
    let deltas = if let Some(values) = column.as_primitive_opt::<Decimal256Type>() {
        map_values(values, weights, i256::ZERO, times)
    } else {
        let values: &Decimal128Array = column.as_primitive::<Decimal128Type>();
        map_values(values, weights, i256::ZERO, |value, weight| {
            times(i256::from_i128(value), weight)
        })
    };
    Ok(MeasureColumn::Int256(deltas))
}

fn floats(column: &ArrayRef) -> Result<Float64Array> {
    let column = cast(column, &DataType::Float64)?;
    Ok(column.as_primitive::<Float64Type>().clone())
}

/// A finite value times its weight, without rounding; zero for the others, which are counted.
fn weighted(value: f64, weight: i64) -> FloatSum {
    if !value.is_finite() {
        return FloatSum::default();
    }
    match weight {
        1 => FloatSum::new(value),
        -1 => FloatSum::new(-value),
        weight => {
            let weight = weight as f64;
            let high = value * weight;
            if !high.is_finite() {
                return FloatSum::new(high);
            }
            FloatSum {
                high,
                low: value.mul_add(weight, -high),
            }
        }
    }
}

fn count_floats(
    column: &ArrayRef,
    weights: &[i64],
    counts: impl Fn(f64) -> bool,
) -> Result<MeasureColumn> {
    let values = floats(column)?;
    let deltas = map_values(
        &values,
        weights,
        0,
        |value, weight| {
            if counts(value) { weight } else { 0 }
        },
    );
    Ok(MeasureColumn::Int64(deltas))
}

fn int64(measures: &Measures, measure: usize) -> &[i64] {
    measures.int64(measure).expect("counts are 64 bits wide")
}

/// Float sums, or what `finish` makes of sum and number of values; NULL without values.
fn float_sums(
    measures: &Measures,
    sum: Sum,
    values: &[i64],
    finish: impl Fn(f64, f64) -> f64,
) -> ArrayRef {
    let Sum::Float {
        sum,
        nan,
        positive,
        negative,
    } = sum
    else {
        unreachable!("the caller has a float sum");
    };
    let MeasureColumn::Float64(sums) = &measures.0[sum] else {
        unreachable!("float sums are kept as float sums");
    };
    let (nan, positive) = (int64(measures, nan), int64(measures, positive));
    let negative = int64(measures, negative);
    let results: Float64Array = (0..values.len())
        .map(|row| {
            if values[row] <= 0 {
                return None;
            }
            let sum = match (nan[row] != 0, positive[row] != 0, negative[row] != 0) {
                (true, _, _) | (_, true, true) => f64::NAN,
                (_, true, _) => f64::INFINITY,
                (_, _, true) => f64::NEG_INFINITY,
                _ => sums[row].value(),
            };
            Some(finish(sum, values[row] as f64))
        })
        .collect();
    Arc::new(results)
}

/// Results of exact sums: integers and decimals, in 256 bits until they are known to fit.
fn exact(
    measures: &Measures,
    sum: Sum,
    values: &[i64],
    output: &DataType,
    errors: &RowErrors,
) -> Result<ArrayRef> {
    let (sums, scale): (Box<dyn Fn(usize) -> i256 + '_>, i8) = match sum {
        Sum::Integer(measure) => match &measures.0[measure] {
            MeasureColumn::Int128(sums) => (Box::new(|row| i256::from_i128(sums[row])), 0),
            _ => unreachable!("integer sums are 128 bits wide"),
        },
        Sum::Decimal { sum, scale } => match &measures.0[sum] {
            MeasureColumn::Int256(sums) => (Box::new(|row| sums[row]), scale),
            _ => unreachable!("decimal sums are 256 bits wide"),
        },
        Sum::Float { .. } => unreachable!("the caller has an exact sum"),
    };
    let output_scale = match output {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        integer if integer.is_integer() => 0,
        other => {
            return Err(Error::Plan {
                reason: format!("a sum of type {other}"),
            });
        }
    };
    let Some(factor) = power_of_ten(i32::from(output_scale) - i32::from(scale)) else {
        return Err(Error::Plan {
            reason: format!("a sum of scale {output_scale} over values of scale {scale}"),
        });
    };
    let number = |row: usize| sums(row).checked_mul(factor);
    narrow(&number, values, output, errors)
}

/// Puts exact numbers into an array of type `output`: NULL without values, NULL and counted when
/// they do not fit.
fn narrow(
    number: &dyn Fn(usize) -> Option<i256>,
    values: &[i64],
    output: &DataType,
    errors: &RowErrors,
) -> Result<ArrayRef> {
    let mut misfits = 0;
    let mut fit = |row: usize| -> Option<i256> {
        if values[row] <= 0 {
            return None;
        }
        let number = number(row).filter(|&number| fits(number, output));
        misfits += u64::from(number.is_none());
        number
    };
    let rows = 0..values.len();
    let array: ArrayRef = match output {
        DataType::Decimal256(precision, scale) => {
            let numbers: Decimal256Array = rows.map(&mut fit).collect();
            Arc::new(numbers.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Decimal128(precision, scale) => {
            let numbers: Decimal128Array =
                rows.map(|row| fit(row).and_then(i256::to_i128)).collect();
            Arc::new(numbers.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::UInt64 => {
            let narrow = |number: i256| number.to_i128().and_then(|n| u64::try_from(n).ok());
            Arc::new(
                rows.map(|row| fit(row).and_then(narrow))
                    .collect::<UInt64Array>(),
            )
        }
        _ => {
            let narrow = |number: i256| number.to_i128().and_then(|n| i64::try_from(n).ok());
            let numbers: Int64Array = rows.map(|row| fit(row).and_then(narrow)).collect();
            as_type(&(Arc::new(numbers) as ArrayRef), output)?
        }
    };
    let fault = ValueError::refused(Fault::OutOfRange, "a sum is out of range");
    errors.add(misfits, DataFusionError::External(Box::new(fault)), None);
    Ok(array)
}

fn fits(number: i256, output: &DataType) -> bool {
    let narrow = number.to_i128();
    match output {
        DataType::Decimal256(precision, scale) => {
            Decimal256Type::validate_decimal_precision(number, *precision, *scale).is_ok()
        }
        DataType::Decimal128(precision, scale) => narrow.is_some_and(|number| {
            Decimal128Type::validate_decimal_precision(number, *precision, *scale).is_ok()
        }),
        DataType::UInt64 => narrow.is_some_and(|number| u64::try_from(number).is_ok()),
        _ => narrow.is_some_and(|number| i64::try_from(number).is_ok()),
    }
}

/// Ten to a power, if that is a whole number of at most 76 digits.
fn power_of_ten(exponent: i32) -> Option<i256> {
    let exponent = u32::try_from(exponent).ok()?;
    i256::from_i128(10).checked_pow(exponent)
}

pub(super) fn as_type(array: &ArrayRef, output: &DataType) -> Result<ArrayRef> {
    if array.data_type() == output {
        return Ok(Arc::clone(array));
    }
    Ok(cast(array, output)?)
}
