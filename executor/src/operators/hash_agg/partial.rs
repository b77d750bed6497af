//! Partial results on their way from one phase of an aggregation to the other: each measure is a
//! column of the type that [`Measure::data_type`] says. No number is copied or changed but float sums,
//! whose two halves become 16 bytes.
//!
//! [`Measure::data_type`]: planner::measures::Measure::data_type

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Int64Array,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{Decimal128Type, Decimal256Type, Int64Type};
use storage::{FloatSum, MeasureColumn, MeasureType};

use crate::error::{Error, Result};

/// Bytes of a float sum.
const FLOAT_SUM_BYTES: i32 = 16;

/// The column of a measure.
///
/// # Errors
/// None: the types are those of the measures.
pub(super) fn to_array(measure: MeasureColumn) -> Result<ArrayRef> {
    Ok(match measure {
        MeasureColumn::Int64(values) => Arc::new(Int64Array::from(values)),
        MeasureColumn::Int128(values) | MeasureColumn::Greatest(values) => {
            let numbers = Decimal128Array::new(ScalarBuffer::from(values), None);
            Arc::new(numbers.with_data_type(planner::measures::INTEGER))
        }
        MeasureColumn::Int256(values) => {
            let numbers = Decimal256Array::new(ScalarBuffer::from(values), None);
            Arc::new(numbers.with_data_type(planner::measures::WIDE_INTEGER))
        }
        MeasureColumn::Float64(sums) => {
            let halves: Vec<f64> = sums.iter().flat_map(|sum| [sum.high, sum.low]).collect();
            let bytes = Buffer::from_vec(halves);
            Arc::new(FixedSizeBinaryArray::try_new(FLOAT_SUM_BYTES, bytes, None)?)
        }
    })
}

/// The measure of a column.
///
/// # Errors
/// If the column is not of the type of the measure.
pub(super) fn from_array(column: &ArrayRef, measure: MeasureType) -> Result<MeasureColumn> {
    let numbers = || {
        Some(
            column
                .as_primitive_opt::<Decimal128Type>()?
                .values()
                .to_vec(),
        )
    };
    let read = match measure {
        MeasureType::Int64 => column
            .as_primitive_opt::<Int64Type>()
            .map(|values| MeasureColumn::Int64(values.values().to_vec())),
        MeasureType::Int128 => numbers().map(MeasureColumn::Int128),
        MeasureType::Greatest => numbers().map(MeasureColumn::Greatest),
        MeasureType::Int256 => column
            .as_primitive_opt::<Decimal256Type>()
            .map(|values| MeasureColumn::Int256(values.values().to_vec())),
        MeasureType::Float64 => column.as_fixed_size_binary_opt().map(float_sums),
    };
    read.ok_or_else(|| Error::Plan {
        reason: format!(
            "a measure {measure:?} in a column of {}",
            column.data_type()
        ),
    })
}

fn float_sums(column: &FixedSizeBinaryArray) -> MeasureColumn {
    let half = |bytes: &[u8]| {
        let bytes: [u8; 8] = bytes.try_into().unwrap_or_default();
        f64::from_ne_bytes(bytes)
    };
    let rows = (0..column.len()).map(|row| {
        let bytes = column.value(row);
        let (high, low) = bytes.split_at(bytes.len() / 2);
        FloatSum {
            high: half(high),
            low: half(low),
        }
    });
    MeasureColumn::Float64(rows.collect())
}
