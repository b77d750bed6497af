//! Lists to rows: `SELECT a, unnest(list) FROM s`.
//!
//! A row comes out once for each place of its longest list; shorter lists are NULL there. A row
//! without elements does not come out. Linear, so it keeps nothing and emits at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use planner::dataflow::UnnestColumn;

use super::hash_join::runs_of_probe;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Operator, Output};

/// Replaces lists by their elements.
pub struct Unnest {
    columns: Vec<UnnestColumn>,
    schema: SchemaRef,
}

impl Unnest {
    /// Output columns in terms of the input's.
    #[must_use]
    pub fn new(columns: Vec<UnnestColumn>, schema: SchemaRef) -> Self {
        Self { columns, schema }
    }
}

impl Operator for Unnest {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let mut lists: Vec<Option<ListArray>> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            lists.push(match *column {
                UnnestColumn::Kept(_) => None,
                UnnestColumn::Elements(column) => Some(as_list(batch.column(column))?),
            });
        }
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let lengths = lists.iter().flatten().map(|list| length(list, row));
            for place in 0..lengths.max().unwrap_or(0) {
                rows.push(row as u32);
                places.push(place);
            }
        }
        let order = UInt32Array::from(rows.clone());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, list) in self.columns.iter().zip(&lists) {
            columns.push(match (column, list) {
                (UnnestColumn::Elements(_), Some(list)) => elements(list, &rows, &places)?,
                (UnnestColumn::Kept(at) | UnnestColumn::Elements(at), _) => {
                    take(batch.column(*at), &order, None)?
                }
            });
        }
        let columns = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let weights = batch
            .weights()
            .map(|weights| rows.iter().map(|&row| weights[row as usize]).collect());
        let runs = runs_of_probe(batch.runs(), &rows);
        out.push(ChangeBatch::new(columns, weights, runs));
        Ok(())
    }
}

fn as_list(column: &ArrayRef) -> Result<ListArray> {
    let list = match column.data_type() {
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            cast(column, &DataType::List(Arc::clone(field)))?
        }
        _ => Arc::clone(column),
    };
    Ok(list.as_list::<i32>().clone())
}

fn length(list: &ListArray, row: usize) -> usize {
    match list.is_null(row) {
        true => 0,
        false => list.value_length(row) as usize,
    }
}

/// The elements at `places` of the lists of `rows`.
fn elements(list: &ListArray, rows: &[u32], places: &[usize]) -> Result<ArrayRef> {
    let index = rows.iter().zip(places).map(|(&row, &place)| {
        let row = row as usize;
        let start = list.value_offsets()[row] as usize;
        (place < length(list, row)).then_some((start + place) as u32)
    });
    let index: UInt32Array = index.collect();
    Ok(take(list.values(), &index, None)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray};
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;
    use crate::operators::testing::{output_to_text, schema};

    #[test]
    fn a_row_comes_out_once_an_element() {
        let long = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None, Some(3)]),
            None,
            Some(vec![]),
            Some(vec![Some(4)]),
        ]);
        let short = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(7)]),
            None,
            Some(vec![]),
            Some(vec![Some(8), Some(9)]),
        ]);
        let input = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("x", long.data_type().clone(), true),
            Field::new("y", short.data_type().clone(), true),
        ]);
        let a: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let columns = vec![a, Arc::new(long), Arc::new(short)];
        let rows = RecordBatch::try_new(Arc::new(input), columns).unwrap();
        let weights: Arc<[i64]> = vec![1, 1, 1, -2].into();
        let output = schema(&[
            ("a", DataType::Int64),
            ("x", DataType::Int64),
            ("y", DataType::Int64),
        ]);
        let columns = vec![
            UnnestColumn::Kept(0),
            UnnestColumn::Elements(1),
            UnnestColumn::Elements(2),
        ];
        let mut unnest = Unnest::new(columns, output);
        let mut out = Output::new();
        let batch = ChangeBatch::unkeyed(rows, Some(weights));
        unnest.on_batch(0, batch, &mut out).unwrap();
        let expected = "+1 | 1 | 1 | 7\n+1 | 1 | NULL | NULL\n+1 | 1 | 3 | NULL\n\
                        -2 | 4 | 4 | 8\n-2 | 4 | NULL | 9\n";
        assert_eq!(output_to_text(&mut out), expected);
    }
}
