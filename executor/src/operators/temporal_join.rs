//! Temporal joins: `l JOIN r FOR SYSTEM_TIME AS OF PROCTIME() ON l.a = r.id`.
//!
//! ```text
//!   rows of l    ──► kept until the barrier ─┐
//!                                            ├─► barrier: each with the rows of r of its key ──► output
//!   changes of r ──► rows of r ──────────────┘           then forgotten
//! ```
//!
//! A row of the left side is joined once, with the right side as it is at the end of the row's epoch: so the result
//! does not depend on the order within the epoch, nor on where key groups are, and later changes of the right side do
//! not change it. Left rows are never taken back.
//!
//! While the view is backfilled left rows wait: the right side is not whole before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use storage::{Matches, MeasureType, Measures, NullEquality, StateTable, TableId, TableSchema};

use super::changed::TableRows;
use super::filter::{keep, passing};
use super::hash_join::{products, rows_of, runs_of_probe, take_all, without_null_keys};
use super::row_errors::RowErrors;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output};

/// What a temporal join does, fixed by the plan.
#[derive(Clone)]
pub struct TemporalJoinPlan {
    /// Whether left rows without a match come out, with NULLs for the right columns.
    pub keeps_all: bool,
    /// The keys of the left and of the right side, of equal types in pairs.
    pub keys: [Vec<usize>; 2],
    /// Whether a NULL key matches a NULL key.
    pub nulls: NullEquality,
    /// What a pair must pass besides: over the left columns, then the right ones. NULL is false.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Columns of the right side.
    pub right: SchemaRef,
    /// Columns of the output: those of both sides.
    pub schema: SchemaRef,
}

/// Joins the rows of an epoch, input 0, with the rows of input 1 at its end.
///
/// Output: pairs, and left rows without a match if they are kept; at the barrier.
pub struct TemporalJoin {
    // Fixed by the plan.
    plan: TemporalJoinPlan,
    errors: RowErrors,
    /// Whether rows that existed when the view was created are still to come; it changes between two barriers.
    backfilling: Arc<AtomicBool>,
    // Left rows that wait, and all right rows.
    rows: [StateTable; 2],
}

impl TemporalJoin {
    /// A join with the rows of both sides in `rows`.
    #[must_use]
    pub fn new(
        plan: TemporalJoinPlan,
        errors: RowErrors,
        backfilling: Arc<AtomicBool>,
        rows: [StateTable; 2],
    ) -> Self {
        Self {
            plan,
            errors,
            backfilling,
            rows,
        }
    }

    /// The schemas of its state tables, left and right.
    #[must_use]
    pub fn table_schemas(inputs: [&SchemaRef; 2], right_key: &[usize]) -> Vec<TableSchema> {
        let schema = |columns: &SchemaRef, key: Vec<usize>, evictable: bool| TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::clone(columns),
            key,
            ordered_by: None,
            measures: vec![MeasureType::Int64],
            visible: false,
            evictable,
        };
        let [left, right] = inputs;
        vec![
            schema(left, (0..left.fields().len()).collect(), false),
            schema(right, right_key.to_vec(), true),
        ]
    }

    fn join(&mut self, left: &ChangeBatch, out: &mut Output) -> Result<()> {
        let right = &mut self.rows[1];
        let key = left.project(&self.plan.keys[0]);
        let matches = right.lookup(&key, left.runs(), self.plan.nulls)?;
        let pairs = self.pairs(left, &matches)?;
        let passed = match &self.plan.residual {
            Some(residual) => passing(residual, pairs.columns(), &self.errors)?,
            None => BooleanArray::from(vec![true; pairs.num_rows()]),
        };
        if self.plan.keeps_all {
            out.push(self.unmatched(left, &matches, &passed)?);
        }
        out.push(keep(pairs, &passed)?);
        Ok(())
    }

    fn pairs(&self, left: &ChangeBatch, matches: &Matches) -> Result<ChangeBatch> {
        let all: Vec<usize> = (0..self.plan.right.fields().len()).collect();
        let own = take_all(left.columns().columns(), &matches.probe)?;
        let found = self.rows[1].gather(&matches.rows, &all)?;
        let columns = own.into_iter().chain(found).collect();
        let columns = rows_of(&self.plan.schema, columns, matches.probe.len())?;
        let weights = products(
            left,
            &matches.probe,
            &self.rows[1].measures_of(&matches.rows),
        );
        let runs = runs_of_probe(left.runs(), &matches.probe);
        Ok(ChangeBatch::new(columns, Some(weights), runs))
    }

    /// The left rows of which no pair has passed.
    fn unmatched(
        &self,
        left: &ChangeBatch,
        matches: &Matches,
        passed: &BooleanArray,
    ) -> Result<ChangeBatch> {
        let mut is_matched = vec![false; left.num_rows()];
        for (pair, &row) in matches.probe.iter().enumerate() {
            is_matched[row as usize] |= passed.value(pair);
        }
        let rows = is_matched.len();
        let nulls = self.plan.right.fields().iter();
        let nulls = nulls.map(|field| new_null_array(field.data_type(), rows));
        let columns = left.columns().columns().iter().cloned().chain(nulls);
        let columns = rows_of(&self.plan.schema, columns.collect(), rows)?;
        let alone = is_matched.into_iter().map(|matched| Some(!matched));
        keep(left.with_columns(columns), &alone.collect())
    }
}

impl Operator for TemporalJoin {
    fn on_batch(&mut self, input: usize, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        let finds_nothing = self.plan.nulls == NullEquality::NullEqualsNothing;
        let batch = match finds_nothing && !(input == 0 && self.plan.keeps_all) {
            true => without_null_keys(batch, &self.plan.keys[input])?,
            false => batch,
        };
        let weights = Measures::weights(batch.weights_to_vec());
        self.rows[input].add(batch.columns().columns(), &weights, batch.runs())?;
        Ok(())
    }

    fn on_barrier(&mut self, _barrier: &Barrier, out: &mut Output) -> Result<()> {
        if self.backfilling.load(Ordering::Relaxed) {
            return Ok(());
        }
        for waiting in TableRows::all(&self.rows[0])? {
            let schema = Arc::clone(&self.rows[0].schema().columns);
            let columns = RecordBatch::try_new(schema, waiting.columns.clone())?;
            let weights = waiting.measures.int64(0).unwrap_or_default().to_vec();
            let runs = waiting.runs.clone().into();
            self.join(&ChangeBatch::new(columns, Some(weights.into()), runs), out)?;
            self.rows[0].add(&waiting.columns, &waiting.measures.negated(), &waiting.runs)?;
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.rows.iter_mut().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::{DataType, Schema};
    use planner::dataflow::Node;
    use rand::Rng;

    use super::*;
    use crate::operators::testing::{
        Twins, context, expression, for_seeds, fragment, input_node, schema,
    };

    fn node(keeps_all: bool) -> (SchemaRef, SchemaRef, Node) {
        let left = schema(&[("a", DataType::Int64), ("n", DataType::Int64)]);
        let right = schema(&[("id", DataType::Int64), ("v", DataType::Int64)]);
        let fields = left.fields().iter().chain(right.fields()).cloned();
        let pairs = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let node = Node::TemporalJoin {
            keeps_all,
            left: Box::new(input_node(&[0], &left)),
            right: Box::new(input_node(&[1], &right)),
            left_keys: vec![0],
            right_keys: vec![0],
            nulls_match: false,
            residual: Some(expression(&pairs, "v <> 3")),
            schema: pairs,
        };
        (left, right, node)
    }

    #[test]
    fn rows_are_joined_with_what_is_there_at_the_end_of_their_epoch() {
        for_seeds(|random| {
            for keeps_all in [false, true] {
                let (left, right, node) = node(keeps_all);
                let inputs = [(left.clone(), vec![0]), (right.clone(), vec![0])];
                let mut twins = Twins::new(&fragment(node, &inputs), &context());
                let mut table: BTreeMap<i64, i64> = BTreeMap::new();
                let mut expected: BTreeMap<String, i64> = BTreeMap::new();
                let mut number = 0;
                for _ in 0..12 {
                    let mut batches = Vec::new();
                    let mut new = Vec::new();
                    for _ in 0..random.random_range(0..8) {
                        number += 1;
                        let key = random.random_range(0..6);
                        new.push((key, number));
                        batches.push((0, format!("+1 | {key} | {number}")));
                    }
                    for _ in 0..random.random_range(0..4) {
                        let (key, value) = (random.random_range(0..5), random.random_range(0..5));
                        let old = table.insert(key, value);
                        if let Some(old) = old {
                            batches.push((1, format!("-1 | {key} | {old}")));
                        }
                        batches.push((1, format!("+1 | {key} | {value}")));
                    }
                    rand::seq::SliceRandom::shuffle(&mut batches[..], random);
                    for (side, text) in batches {
                        let schema = [&left, &right][side];
                        twins.send(side, &ChangeBatch::from_text(schema, &text));
                        if random.random_bool(0.3) {
                            twins.move_key_groups(random);
                        }
                    }
                    twins.barrier(random.random_bool(0.5));
                    for (key, number) in new {
                        let found = table.get(&key).filter(|value| **value != 3);
                        let row = match found {
                            Some(value) => format!("{key} | {number} | {key} | {value}"),
                            None if keeps_all => format!("{key} | {number} | NULL | NULL"),
                            None => continue,
                        };
                        *expected.entry(row).or_default() += 1;
                    }
                    assert_eq!(twins.result.0, expected);
                }
            }
        });
    }

    #[test]
    fn rows_wait_for_the_end_of_the_backfill() {
        let (left, right, node) = node(false);
        let inputs = [(left.clone(), vec![0]), (right.clone(), vec![0])];
        let context = context();
        context.backfilling.store(true, Ordering::Relaxed);
        let mut twins = Twins::new(&fragment(node, &inputs), &context);
        twins.send(0, &ChangeBatch::from_text(&left, "+1 | 1 | 10"));
        twins.barrier(true);
        assert!(twins.result.0.is_empty());
        twins.send(1, &ChangeBatch::from_text(&right, "+1 | 1 | 7"));
        twins.barrier(false);
        assert!(twins.result.0.is_empty());
        context.backfilling.store(false, Ordering::Relaxed);
        twins.barrier(true);
        let rows: Vec<_> = twins.result.0.iter().collect();
        assert_eq!(rows, [(&"1 | 10 | 1 | 7".to_owned(), &1)]);
    }
}
