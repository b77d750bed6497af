//! Rows for tests: columns of every kind, each with a small pool of values, so that rows meet.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeStringArray, ListArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Field, Int32Type, IntervalMonthDayNano, Schema, SchemaRef, i256};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use scaling::KeyGroup;
use storage::{PartitionState, Storage, TableSchema};

/// One pool of values a column. Equal values of a pool (0.0 and -0.0) print alike.
pub(crate) fn pools() -> Vec<ArrayRef> {
    let interval =
        |months, days, nanoseconds| Some(IntervalMonthDayNano::new(months, days, nanoseconds));
    let long = "a text that is longer than twelve bytes";
    vec![
        Arc::new(Int64Array::from(vec![
            Some(1),
            Some(-1),
            Some(i64::MAX),
            None,
        ])),
        Arc::new(StringArray::from(vec![
            Some(""),
            Some("a"),
            Some(long),
            None,
        ])),
        Arc::new(Float64Array::from(vec![
            Some(0.0),
            Some(-0.0),
            Some(f64::NAN),
            Some(-f64::NAN),
            Some(1.5),
            Some(f64::INFINITY),
            None,
        ])),
        Arc::new(Float32Array::from(vec![
            Some(-0.0),
            Some(0.0),
            Some(f32::NAN),
            Some(2.5),
        ])),
        Arc::new(
            Decimal128Array::from(vec![Some(1), Some(-(1 << 100)), None])
                .with_precision_and_scale(38, 4)
                .unwrap(),
        ),
        Arc::new(
            Decimal256Array::from(vec![
                Some(i256::from_i128(7)),
                Some(i256::from_parts(1, 1)),
                None,
            ])
            .with_precision_and_scale(76, 2)
            .unwrap(),
        ),
        Arc::new(
            TimestampMicrosecondArray::from(vec![Some(0), Some(1_700_000_000_000_000), None])
                .with_timezone("UTC"),
        ),
        Arc::new(IntervalMonthDayNanoArray::from(vec![
            interval(1, 0, 0),
            interval(0, 30, 0),
            interval(0, 0, -5),
            None,
        ])),
        Arc::new(BinaryArray::from(vec![
            Some(&[0u8][..]),
            Some(&[0, 0]),
            None,
        ])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Int32Array::from(vec![Some(3), Some(-3)])),
        Arc::new(Date32Array::from(vec![Some(3), None])),
        Arc::new(StringViewArray::from(vec![Some("v"), Some(long), None])),
        Arc::new(LargeStringArray::from(vec![Some("large"), None])),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            Some(vec![]),
            None,
        ])),
    ]
}

/// A schema of the given pools, named `c0`, `c1` ...
pub(crate) fn schema_of(columns: &[ArrayRef]) -> SchemaRef {
    let field = |(index, column): (usize, &ArrayRef)| {
        Field::new(format!("c{index}"), column.data_type().clone(), true)
    };
    Arc::new(Schema::new(
        columns.iter().enumerate().map(field).collect::<Vec<_>>(),
    ))
}

/// The rows that take value `picks[row][column]` of each pool.
pub(crate) fn build(pools: &[ArrayRef], picks: &[Vec<u32>]) -> Vec<ArrayRef> {
    let column = |(index, pool): (usize, &ArrayRef)| {
        let rows: UInt32Array = picks.iter().map(|row| Some(row[index])).collect();
        take(pool, &rows, None).unwrap()
    };
    pools.iter().enumerate().map(column).collect()
}

/// Each row as text, in which equal values are equal.
pub(crate) fn texts(columns: &[ArrayRef], rows: usize) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters: Vec<_> = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let cell = |formatter: &ArrayFormatter<'_>, row| {
        let text = formatter.value(row).to_string();
        if text == "-0.0" {
            "0.0".to_owned()
        } else {
            text
        }
    };
    (0..rows)
        .map(|row| formatters.iter().map(|f| cell(f, row)).collect())
        .collect()
}

/// The rows of all key groups of a table.
pub(crate) fn load_all(
    storage: &Storage,
    schema: &TableSchema,
) -> storage::Result<Vec<(KeyGroup, PartitionState)>> {
    let mut states = Vec::new();
    storage.load_table(schema, &mut |key_group, state| {
        states.push((key_group, state));
        Ok(())
    })?;
    Ok(states)
}
