//! Keeps the rows of a table or view where readers find them, and passes the changes on to the
//! views above.
//!
//! ```text
//!   ChangeBatch ─┬─► visible StateTable ── commit ──► snapshots for readers
//!                └─► output, for the views that read this one
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use storage::{MeasureType, Measures, StateTable, TableId, TableSchema};

use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output};

/// Adds the weights of its input to a visible state table.
///
/// Output: the input, unchanged.
pub struct Materialize {
    backfilling: Arc<AtomicBool>,
    rows: StateTable,
}

impl Materialize {
    /// A view kept in `rows`. Weights are not checked while `backfilling` is true.
    #[must_use]
    pub fn new(backfilling: Arc<AtomicBool>, rows: StateTable) -> Self {
        Self { backfilling, rows }
    }

    /// The schemas of its state tables. Rows are found by `key`, or as a whole if it is empty.
    #[must_use]
    pub fn table_schemas(columns: &SchemaRef, key: &[usize]) -> Vec<TableSchema> {
        let key = match key {
            [] => (0..columns.fields().len()).collect(),
            key => key.to_vec(),
        };
        vec![TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::clone(columns),
            key,
            ordered_by: None,
            measures: vec![MeasureType::Int64],
            visible: true,
            evictable: false,
        }]
    }

    /// At a barrier every row is there a whole number of times, none is owed.
    fn assert_valid(&self) -> Result<()> {
        for change in self.rows.changed() {
            let change = change?;
            let weights = change.new.int64(0).unwrap_or_default();
            assert!(
                weights.iter().all(|&weight| weight >= 0),
                "a row of {} has a negative weight at a barrier (key group {})",
                self.rows.schema().id,
                change.key_group,
            );
        }
        Ok(())
    }
}

impl Operator for Materialize {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let weights = Measures::weights(batch.weights_to_vec());
        self.rows
            .add(batch.columns().columns(), &weights, batch.runs())?;
        out.push(batch);
        Ok(())
    }

    fn on_barrier(&mut self, _barrier: &Barrier, _out: &mut Output) -> Result<()> {
        if cfg!(debug_assertions) && !self.backfilling.load(Ordering::Relaxed) {
            self.assert_valid()?;
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.rows]
    }
}

#[cfg(test)]
mod tests {
    use planner::dataflow::Node;
    use rand::Rng;

    use super::*;
    use crate::operators::testing::{
        RandomInput, TextRows, Twins, context, for_seeds, fragment, input_node, small_or_null,
        two_columns,
    };

    fn twins(columns: &SchemaRef, context: &crate::pipeline::Context) -> Twins {
        let node = Node::Materialize {
            input: Box::new(input_node(&[0], columns)),
            key: vec![],
        };
        Twins::new(&fragment(node, &[(columns.clone(), vec![0, 1])]), context)
    }

    #[test]
    fn readers_see_the_input_and_dependent_views_its_changes() {
        let columns = two_columns();
        for_seeds(|random| {
            let mut input = RandomInput::new(&columns, |random| {
                format!(
                    "{} | {}",
                    small_or_null(random, 6),
                    small_or_null(random, 6)
                )
            });
            let mut twins = twins(&columns, &context());
            for _ in 0..10 {
                for batch in input.epoch(random) {
                    twins.send(0, &batch);
                    twins.move_key_groups(random);
                }
                twins.barrier(random.random_bool(0.5));
                let expected = TextRows::of(&[input.rows()]);
                assert_eq!(twins.visible_rows(), expected);
                assert_eq!(twins.result, expected);
            }
        });
    }

    #[test]
    #[should_panic(expected = "negative weight at a barrier")]
    fn a_row_owed_at_a_barrier_is_a_bug() {
        let columns = two_columns();
        let mut twins = twins(&columns, &context());
        twins.send(0, &ChangeBatch::from_text(&columns, "-1 | 1 | 1"));
        twins.barrier(true);
    }

    #[test]
    fn unless_a_backfill_will_still_bring_it() {
        let columns = two_columns();
        let context = context();
        context.backfilling.store(true, Ordering::Relaxed);
        let mut twins = twins(&columns, &context);
        twins.send(
            0,
            &ChangeBatch::from_text(&columns, "-1 | 1 | 1\n+1 | 2 | 2"),
        );
        twins.barrier(true);
        assert_eq!(twins.visible_rows().0.keys().collect::<Vec<_>>(), ["2 | 2"]);
    }
}
