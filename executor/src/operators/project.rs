//! Projection: computes columns, `SELECT a + b, f(c) FROM s`. Linear: weights and key groups stay as they are.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::expression::{RowErrors, evaluate};
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Operator, Output};

/// Computes one output column per expression.
///
/// Input: any schema the expressions fit. Output: `schema`, the same rows with the same weights. An expression that
/// fails in a row yields NULL there.
pub struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    errors: RowErrors,
}

impl Project {
    /// A projection to `schema`, whose fields are those of `expressions`.
    #[must_use]
    pub fn new(
        expressions: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
        errors: RowErrors,
    ) -> Self {
        Self {
            expressions,
            schema,
            errors,
        }
    }
}

impl Operator for Project {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let columns = self
            .expressions
            .iter()
            .map(|expression| evaluate(expression, batch.columns(), &self.errors))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        out.push(batch.with_columns(columns));
        Ok(())
    }
}
