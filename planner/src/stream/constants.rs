//! Parts of a plan that read no relation: `VALUES`, `generate_series`, a `SELECT` without `FROM`.
//! They are computed once, when the view is planned, by the batch engine.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::temporal::knows_time;
use crate::bind::RelationTable;
use crate::error::{Error, Result};

/// Most rows that a constant part of a view may have.
pub(super) const CONSTANT_ROWS_MAX: usize = 1_000_000;

/// Computes the largest constant parts of a plan, in the order in which a walk from the top, left
/// before right, meets them.
pub(super) async fn evaluate(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<VecDeque<RecordBatch>> {
    let mut found = Vec::new();
    plan.apply(|node| {
        if is_constant(node)? {
            found.push(node.clone());
            return Ok(TreeNodeRecursion::Jump);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut batches = VecDeque::with_capacity(found.len());
    for node in found {
        batches.push_back(evaluate_one(state, &node).await?);
    }
    Ok(batches)
}

/// Whether no relation is read below a node, and no time.
pub(super) fn is_constant(plan: &LogicalPlan) -> Result<bool, datafusion::error::DataFusionError> {
    let mut constant = true;
    plan.apply(|node| {
        constant = match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                provider.downcast_ref::<RelationTable>().is_none()
            }
            LogicalPlan::Filter(filter) => !knows_time(&filter.predicate),
            _ => true,
        };
        Ok(if constant {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    })?;
    Ok(constant)
}

async fn evaluate_one(state: &SessionState, plan: &LogicalPlan) -> Result<RecordBatch> {
    let physical = state.create_physical_plan(plan).await?;
    let mut stream = execute_stream(physical, state.task_ctx())?;
    let schema = stream.schema();
    let mut batches = Vec::new();
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        if rows > CONSTANT_ROWS_MAX {
            return Err(Error::unsupported(
                format!(
                    "a constant relation of more than {CONSTANT_ROWS_MAX} rows in a materialized view"
                ),
                "insert the rows into a table, and read that",
            ));
        }
        batches.push(batch);
    }
    Ok(concat_batches(&schema, &batches)?)
}
