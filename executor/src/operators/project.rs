//! Projection: computes columns, `SELECT a + b, f(c) FROM s`. Linear: weights and key groups stay
//! as they are.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::expression::evaluate;
use super::row_errors::RowErrors;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Operator, Output};

/// Computes one output column per expression.
///
/// Input: any schema the expressions fit. Output: `schema`, the same rows with the same weights. An
/// expression that fails in a row yields NULL there.
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use planner::dataflow::Node;

    use super::*;
    use crate::operators::testing::{
        assert_equals_batch_query, expression, output_to_text, schema, two_columns,
    };

    #[test]
    fn only_the_failing_expression_of_the_failing_row_is_null() {
        let columns = two_columns();
        let errors = RowErrors::new();
        let expressions = vec![expression(&columns, "a / b"), expression(&columns, "a + b")];
        let output = schema(&[("q", DataType::Int64), ("s", DataType::Int64)]);
        let mut project = Project::new(expressions, output, errors.clone());
        let text: String = (0..100)
            .map(|row| format!("+1 | 60 | {}\n", row % 4))
            .collect();
        let mut out = Output::new();
        project
            .on_batch(0, ChangeBatch::from_text(&columns, &text), &mut out)
            .unwrap();
        let lines = output_to_text(&mut out);
        let expected = "+1 | NULL | 60\n+1 | 60 | 61\n+1 | 30 | 62\n+1 | 20 | 63\n".repeat(25);
        assert_eq!(lines, expected);
        assert_eq!(errors.count(), 25);
    }

    #[test]
    fn a_bad_cast_is_null() {
        let columns = schema(&[("a", DataType::Utf8)]);
        let errors = RowErrors::new();
        let expressions = vec![expression(&columns, "cast(a as bigint)")];
        let mut project = Project::new(
            expressions,
            schema(&[("a", DataType::Int64)]),
            errors.clone(),
        );
        let mut out = Output::new();
        let batch = ChangeBatch::from_text(&columns, "+1 | 1\n-2 | one\n+1 | NULL");
        project.on_batch(0, batch, &mut out).unwrap();
        assert_eq!(output_to_text(&mut out), "+1 | 1\n-2 | NULL\n+1 | NULL\n");
        assert_eq!(errors.count(), 1);
    }

    #[test]
    fn equals_the_batch_engine() {
        let project = |input| Node::Project {
            input,
            exprs: vec![
                expression(&two_columns(), "a % b"),
                expression(&two_columns(), "a * b - 1"),
            ],
            schema: schema(&[("m", DataType::Int64), ("c", DataType::Int64)]),
        };
        let query = "select a % nullif(b, 0), a * b - 1 from t";
        assert_equals_batch_query(project, 1, query);
    }
}
