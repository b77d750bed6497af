//! Filter: keeps the rows for which a predicate is true, `SELECT * FROM s WHERE p`. Linear: weights
//! stay as they are.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use datafusion::physical_expr::PhysicalExpr;
use storage::Run;

use super::expression::evaluate;
use super::row_errors::RowErrors;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{Operator, Output};

/// Keeps rows whose predicate is true; false, NULL and failed rows are dropped.
///
/// Output: the input's schema.
pub struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
    errors: RowErrors,
}

impl Filter {
    /// A filter by a boolean expression.
    #[must_use]
    pub fn new(predicate: Arc<dyn PhysicalExpr>, errors: RowErrors) -> Self {
        Self { predicate, errors }
    }
}

impl Operator for Filter {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let mask = passing(&self.predicate, batch.columns(), &self.errors)?;
        out.push(keep(batch, &mask)?);
        Ok(())
    }
}

/// For each row whether it passes a predicate; NULL if that is unknown, or fails.
///
/// # Errors
/// If the predicate does not fit the rows.
pub(crate) fn passing(
    predicate: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    errors: &RowErrors,
) -> Result<BooleanArray> {
    let mask = evaluate(predicate, rows, errors)?;
    match mask.as_boolean_opt() {
        Some(mask) => Ok(mask.clone()),
        None => Err(Error::Plan {
            reason: format!("a filter of type {}", mask.data_type()),
        }),
    }
}

/// The rows of `batch` where `mask` is true.
///
/// # Errors
/// If a column cannot be filtered.
pub(crate) fn keep(batch: ChangeBatch, mask: &BooleanArray) -> Result<ChangeBatch> {
    let mask = match mask.null_count() {
        0 => mask.clone(),
        _ => prep_null_mask_filter(mask),
    };
    if mask.true_count() == batch.num_rows() {
        return Ok(batch);
    }
    let columns = filter_record_batch(batch.columns(), &mask)?;
    let weights = batch.weights().map(|weights| {
        mask.values()
            .set_indices()
            .map(|row| weights[row])
            .collect()
    });
    let runs = kept_runs(batch.runs(), mask.values());
    Ok(ChangeBatch::new(columns, weights, runs.into()))
}

/// What is left of `runs` when only the rows of `mask` are kept.
fn kept_runs(runs: &[Run], mask: &BooleanBuffer) -> Vec<Run> {
    let mut start = 0;
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs {
        let rows = mask.slice(run.rows.start, run.rows.len()).count_set_bits();
        if rows > 0 {
            kept.push(Run {
                key_group: run.key_group,
                rows: start..start + rows,
            });
            start += rows;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use planner::dataflow::Node;

    use super::*;
    use crate::operators::testing::{
        assert_equals_batch_query, expression, output_to_text, runs_to_text, schema, two_columns,
    };

    #[test]
    fn runs_shrink_with_their_rows() {
        let columns = schema(&[("a", DataType::Int64)]);
        let batch = ChangeBatch::from_text(&columns, "+1 | 1\n-1 | 2\n+3 | 3\n+1 | NULL\n+1 | 4");
        let run = |key_group, rows| Run {
            key_group: scaling::KeyGroup(key_group),
            rows,
        };
        let runs = Arc::from([run(1, 0..2), run(2, 2..4), run(3, 4..5)]);
        let batch = ChangeBatch::new(batch.columns().clone(), batch.weights().cloned(), runs);
        let mut filter = Filter::new(expression(&columns, "a between 2 and 3"), RowErrors::new());
        let mut out = Output::new();
        filter.on_batch(0, batch, &mut out).unwrap();
        assert_eq!(runs_to_text(out.batches()[0].runs()), "1: 0..1, 2: 1..2");
        assert_eq!(output_to_text(&mut out), "-1 | 2\n+3 | 3\n");
    }

    #[test]
    fn a_row_that_fails_is_dropped_and_counted_and_so_is_its_retraction() {
        let columns = two_columns();
        let errors = RowErrors::new();
        let mut filter = Filter::new(expression(&columns, "a / b > 1"), errors.clone());
        let mut out = Output::new();
        let text = "+1 | 4 | 2\n+1 | 4 | 0\n+1 | 1 | 1\n-1 | 4 | 0\n+1 | 9 | 3";
        filter
            .on_batch(0, ChangeBatch::from_text(&columns, text), &mut out)
            .unwrap();
        assert_eq!(output_to_text(&mut out), "+1 | 4 | 2\n+1 | 9 | 3\n");
        assert_eq!(errors.count(), 2);
    }

    #[test]
    fn equals_the_batch_engine() {
        let filter = |input| Node::Filter {
            input,
            predicate: expression(&two_columns(), "12 / b > a"),
        };
        let query = "select * from t where 12 / nullif(b, 0) > a";
        assert_equals_batch_query(filter, 0, query);
    }
}
