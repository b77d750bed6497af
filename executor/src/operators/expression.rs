//! Evaluates an expression over a batch so that a row which fails does not take the others along.
//!
//! ```text
//!   whole batch ── fails ──► halves ── fail ──► … ──► the failing rows: NULL, counted
//! ```
//!
//! A division by zero in one row of a view must not stop the view (`on_row_error = null`). The
//! error of a vectorised kernel does not say which row it was, so the batch is bisected; rows that
//! evaluate keep their vectorised result. A row fails alone exactly when it fails in a batch, so
//! its retraction fails the same way and cancels.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;

use super::row_errors::RowErrors;
use crate::error::Result;

/// `expression` over all rows of `batch`; NULL in rows where it fails, which are counted in
/// `errors`.
///
/// # Errors
/// If the expression does not fit the batch at all, whatever its rows: planner and executor
/// disagree.
pub(crate) fn evaluate(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    errors: &RowErrors,
) -> Result<ArrayRef> {
    match vectorised(expression, batch) {
        Ok(array) => Ok(array),
        Err(error) if is_broken(expression, batch, &error) => Err(error.into()),
        Err(error) => {
            let data_type = expression.data_type(batch.schema().as_ref())?;
            let mut pieces = Vec::new();
            bisect(expression, batch, error, &data_type, errors, &mut pieces);
            let pieces: Vec<_> = pieces.iter().map(AsRef::as_ref).collect();
            Ok(concat(&pieces)?)
        }
    }
}

/// Whether an expression fails for what it is, not for the data: without rows it fails too, and
/// not by computing (`1 / 0` does that without rows).
fn is_broken(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    error: &DataFusionError,
) -> bool {
    let of_the_plan = matches!(
        error.find_root(),
        DataFusionError::Internal(_)
            | DataFusionError::Plan(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::SchemaError(..)
    );
    of_the_plan && vectorised(expression, &batch.slice(0, 0)).is_err()
}

fn vectorised(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> std::result::Result<ArrayRef, DataFusionError> {
    expression.evaluate(batch)?.into_array(batch.num_rows())
}

/// Appends the values of a batch that is known to fail as a whole, with this error, in row order.
fn bisect(
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    error: DataFusionError,
    data_type: &DataType,
    errors: &RowErrors,
    pieces: &mut Vec<ArrayRef>,
) {
    let rows = batch.num_rows();
    if rows <= 1 {
        errors.add(rows as u64, error, Some(batch));
        pieces.push(new_null_array(data_type, rows));
        return;
    }
    let middle = rows / 2;
    for half in [batch.slice(0, middle), batch.slice(middle, rows - middle)] {
        match vectorised(expression, &half) {
            Ok(array) => pieces.push(array),
            Err(error) => bisect(expression, &half, error, data_type, errors, pieces),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::change::ChangeBatch;
    use crate::operators::testing::{expression, schema, two_columns};

    #[test]
    fn a_constant_that_fails_is_null_in_every_row() {
        let columns = schema(&[("a", DataType::Int64)]);
        let errors = RowErrors::new();
        let batch = ChangeBatch::from_text(&columns, "+1 | 1\n+1 | 2\n+1 | 3");
        let values = evaluate(&expression(&columns, "1 / 0"), batch.columns(), &errors).unwrap();
        assert_eq!((values.len(), values.null_count()), (3, 3));
        assert_eq!(errors.count(), 3);
        let kinds = errors.kinds();
        assert_eq!((kinds.len(), kinds[0].failures), (1, 3));
        assert_eq!(kinds[0].example.as_deref(), Some("a = 1"));
    }

    #[test]
    fn an_expression_that_cannot_be_evaluated_at_all_is_an_error() {
        // The planner's optimizer rewrites coalesce; as it is, no row could be evaluated.
        let columns = two_columns();
        let errors = RowErrors::new();
        let batch = ChangeBatch::from_text(&columns, "+1 | 1 | 2");
        let broken = expression(&columns, "coalesce(a, b)");
        assert!(evaluate(&broken, batch.columns(), &errors).is_err());
        assert_eq!(errors.count(), 0);
    }
}
