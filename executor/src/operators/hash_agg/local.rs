//! The first of two phases of an aggregation: the rows of each batch by group, where they are.
//!
//! ```text
//!   batch ──► measures of each row ──► added up by group ──► (group, measures), once a group
//! ```
//!
//! Nothing is kept: a batch's result leaves at once, and what it adds to the groups is kept behind the
//! exchange. So a group with most of the rows costs its owner a row a batch, not a row a row.
//!
//! Where most rows have a group of their own there is nothing to gain: a batch that does not shrink
//! lets the next ones through row by row, still as measures.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use storage::{Measures, Run};

use super::AggPlan;
use super::accumulate::Accumulators;
use super::partial::to_array;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Operator, Output};

/// How many batches go through row by row after one that did not shrink.
const BATCHES_PASSED: u32 = 15;
/// Rows below which a batch tells nothing about the next ones.
const ROWS_TELLING: usize = 64;

/// Folds each batch into one row a group: the group columns, then the measures of the calls.
pub struct LocalAgg {
    group_by: Vec<usize>,
    accumulators: Accumulators,
    schema: SchemaRef,
    /// Finds the groups of a batch; empty between two.
    groups: Box<dyn GroupValues>,
    /// Batches that are still to go through row by row.
    to_pass: u32,
}

impl LocalAgg {
    /// The first phase of an aggregation over `input`, with results under `schema`.
    ///
    /// # Errors
    /// If there is no such aggregate of that type.
    pub fn new(plan: AggPlan<'_>, input: &SchemaRef, schema: SchemaRef) -> Result<Self> {
        let fields = plan
            .group_by
            .iter()
            .map(|&at| Arc::clone(&input.fields()[at]));
        let keys = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self {
            group_by: plan.group_by.to_vec(),
            accumulators: Accumulators::new(plan, input)?,
            schema,
            groups: new_group_values(keys, &GroupOrdering::None)?,
            to_pass: 0,
        })
    }

    /// Lets the next batches through row by row.
    #[cfg(test)]
    pub(super) fn pass_rows(&mut self, batches: u32) {
        self.to_pass = batches;
    }

    /// The groups of a batch, and their measures.
    fn fold(&mut self, keys: &[ArrayRef], deltas: &Measures) -> Result<(Vec<ArrayRef>, Measures)> {
        let rows = deltas.len();
        if keys.is_empty() {
            return Ok((Vec::new(), deltas.fold(&vec![0; rows], 1)));
        }
        let mut group_of_row = Vec::with_capacity(rows);
        self.groups.intern(keys, &mut group_of_row)?;
        let count = self.groups.len();
        if rows >= ROWS_TELLING && count > rows / 2 {
            self.to_pass = BATCHES_PASSED;
        }
        let keys = self.groups.emit(EmitTo::All)?;
        // What is emitted is not yet forgotten.
        self.groups.clear_shrink(rows);
        Ok((keys, deltas.fold(&group_of_row, count)))
    }
}

impl Operator for LocalAgg {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let keys = batch.project(&self.group_by);
        let columns = batch.columns().columns();
        let deltas = self.accumulators.deltas(columns, &batch.weights_to_vec())?;
        if self.to_pass > 0 && !keys.is_empty() {
            self.to_pass -= 1;
            return push(&self.schema, keys, deltas, Arc::clone(batch.runs()), out);
        }
        let (keys, measures) = self.fold(&keys, &deltas)?;
        // What the rows' key groups were ends here: an exchange follows.
        let run = batch.runs().first().map(|run| Run {
            key_group: run.key_group,
            rows: 0..measures.len(),
        });
        push(&self.schema, keys, measures, run.into_iter().collect(), out)
    }
}

fn push(
    schema: &SchemaRef,
    keys: Vec<ArrayRef>,
    measures: Measures,
    runs: Arc<[Run]>,
    out: &mut Output,
) -> Result<()> {
    let options = RecordBatchOptions::new().with_row_count(Some(measures.len()));
    let mut columns = keys;
    for measure in measures.0 {
        columns.push(to_array(measure)?);
    }
    let columns = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
    out.push(ChangeBatch::new(columns, None, runs));
    Ok(())
}
