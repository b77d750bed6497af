//! Filter: keeps the rows for which a predicate is true, `SELECT * FROM s WHERE p`. Linear: weights stay as they are.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use datafusion::physical_expr::PhysicalExpr;
use storage::Run;

use super::expression::{RowErrors, evaluate};
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
        let mask = evaluate(&self.predicate, batch.columns(), &self.errors)?;
        let Some(mask) = mask.as_boolean_opt() else {
            return Err(Error::Plan {
                reason: format!("a filter of type {}", mask.data_type()),
            });
        };
        out.push(keep(batch, mask)?);
        Ok(())
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
    let weights = batch
        .weights()
        .map(|weights| mask.values().set_indices().map(|row| weights[row]).collect());
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
