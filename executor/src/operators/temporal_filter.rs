//! Rows by whether a bound that only grows has passed them: `WHERE ts > now() - interval '1 hour'`,
//! and the results of closed windows (`EMIT ON WINDOW CLOSE`).
//!
//! ```text
//!                    bound at the last barrier      bound now
//!   ordered column ───────────┼────────────────────────┼──────────────► values
//!                    passed   │      passed since      │   ahead: kept in `rows`
//!   Ahead  (ts > now() …)     │      emitted with -1   │   emitted
//!   Passed (ts <= now() …)    │      emitted with +1   │   held back
//! ```
//!
//! The bound moves at barriers alone, to the same value in all executors; the rows of an epoch are
//! compared with the bound at its end. Only rows ahead of the bound are state: a change of a row
//! that the bound has passed is passed on, or dropped, and an epoch costs as much as it has changes
//! and rows that the bound passes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use planner::dataflow::{Bound, Side};
use storage::{MeasureType, Measures, StateTable, TableId, TableSchema};

use super::changed::{ChangedRows, TableRows};
use super::filter::keep;
use super::watermark_filter::numbers;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output, Watermarks};

/// Keeps rows on one side of a bound.
///
/// Output: the input's schema; at the barrier.
pub struct TemporalFilter {
    // Fixed by the plan.
    column: usize,
    side: Side,
    bound: Bound,
    // The rows ahead of the bound.
    rows: StateTable,
}

impl TemporalFilter {
    /// A filter by the values of a column.
    #[must_use]
    pub fn new(column: usize, side: Side, bound: Bound, rows: StateTable) -> Self {
        Self {
            column,
            side,
            bound,
            rows,
        }
    }

    /// The schemas of its state tables.
    #[must_use]
    pub fn table_schemas(columns: &SchemaRef, column: usize) -> Vec<TableSchema> {
        vec![TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::clone(columns),
            key: (0..columns.fields().len()).collect(),
            ordered_by: Some(column),
            measures: vec![MeasureType::Int64],
            visible: false,
            evictable: false,
        }]
    }

    /// Moves the bound: values below `limit` are passed.
    fn advance(&mut self, limit: i64, out: &mut Output) -> Result<()> {
        for changed in ChangedRows::pieces(&self.rows)? {
            self.settle(changed, limit, out)?;
        }
        // What is left below the limit did not change, so it is as it was emitted, or held back.
        for below in TableRows::below(&self.rows, limit)? {
            let weights = below.measures.int64(0).unwrap_or_default().to_vec();
            let taken: Vec<i64> = weights.iter().map(|weight| -weight).collect();
            let emitted = match self.side {
                Side::Ahead => taken.clone(),
                Side::Passed => weights,
            };
            self.rows
                .add(&below.columns, &Measures::weights(taken), &below.runs)?;
            let columns = self.batch(below.columns)?;
            out.push(ChangeBatch::new(
                columns,
                Some(emitted.into()),
                below.runs.into(),
            ));
        }
        Ok(())
    }

    /// Emits what the epoch changed, and keeps of it what is ahead.
    fn settle(&mut self, changed: ChangedRows, limit: i64, out: &mut Output) -> Result<()> {
        let values = numbers(&changed.columns[self.column])?;
        let (old, new) = (changed.old.int64(0), changed.new.int64(0));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let mut emitted = Vec::with_capacity(values.len());
        let mut taken = Vec::with_capacity(values.len());
        for (row, (old, new)) in old.iter().zip(new).enumerate() {
            // A comparison with NULL is never true, whatever the bound.
            let ahead = values.is_valid(row) && values.value(row) >= limit;
            emitted.push(match (self.side, ahead) {
                _ if values.is_null(row) => 0,
                (Side::Ahead, true) => new - old,
                (Side::Ahead, false) => -old,
                (Side::Passed, true) => 0,
                (Side::Passed, false) => *new,
            });
            taken.push(if ahead { 0 } else { -new });
        }
        if taken.iter().any(|&weight| weight != 0) {
            self.rows
                .add(&changed.columns, &Measures::weights(taken), &changed.runs)?;
        }
        let differs = emitted.iter().map(|&weight| Some(weight != 0)).collect();
        let columns = self.batch(changed.columns)?;
        let all = ChangeBatch::new(columns, Some(emitted.into()), changed.runs.into());
        out.push(keep(all, &differs)?);
        Ok(())
    }

    fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let schema = Arc::clone(&self.rows.schema().columns);
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

impl Operator for TemporalFilter {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        let weights = Measures::weights(batch.weights_to_vec());
        self.rows
            .add(batch.columns().columns(), &weights, batch.runs())?;
        Ok(())
    }

    fn on_barrier(&mut self, barrier: &Barrier, out: &mut Output) -> Result<()> {
        let Bound::Now { value, inclusive } = &self.bound else {
            return Ok(());
        };
        let value = numbers(&value.evaluate(&moment(barrier.time)?)?.into_array(1)?)?;
        // Without a bound no comparison is true.
        let limit = match (value.is_valid(0), self.side) {
            (true, _) => value.value(0).saturating_add(i64::from(*inclusive)),
            (false, Side::Ahead) => i64::MAX,
            (false, Side::Passed) => i64::MIN,
        };
        self.advance(limit, out)
    }

    fn on_watermarks(&mut self, inputs: &[Watermarks], out: &mut Output) -> Result<()> {
        if let Bound::Watermark = self.bound {
            let watermark = inputs[0].get(self.column);
            self.advance(watermark.unwrap_or(i64::MIN), out)?;
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.rows]
    }
}

/// The one row that expressions over `now()` are evaluated on.
fn moment(time: i64) -> Result<RecordBatch> {
    let utc = Some("+00:00".into());
    let now = TimestampMicrosecondArray::from(vec![time]).with_timezone_opt(utc.clone());
    let field = Field::new("now", DataType::Timestamp(TimeUnit::Microsecond, utc), true);
    let schema = Arc::new(Schema::new(vec![field]));
    Ok(RecordBatch::try_new(schema, vec![Arc::new(now)])?)
}

#[cfg(test)]
mod tests {
    use planner::dataflow::Node;
    use rand::Rng;

    use super::*;
    use crate::operators::testing::{
        RandomInput, Twins, batch_query, context, expression, for_seeds, fragment, input_node,
        small_or_null, two_columns,
    };

    fn twins(side: Side, bound: Bound) -> Twins {
        let columns = two_columns();
        let node = Node::TemporalFilter {
            input: Box::new(input_node(&[0], &columns)),
            column: 1,
            side,
            bound,
        };
        Twins::new(&fragment(node, &[(columns, vec![0])]), &context())
    }

    fn random_rows() -> RandomInput {
        RandomInput::new(&two_columns(), |random| {
            format!(
                "{} | {}",
                small_or_null(random, 5),
                small_or_null(random, 60)
            )
        })
    }

    #[test]
    fn rows_come_and_go_as_time_passes() {
        let now = moment(0).unwrap().schema();
        for (side, inclusive, comparison) in [
            (Side::Ahead, true, ">"),
            (Side::Ahead, false, ">="),
            (Side::Passed, true, "<="),
            (Side::Passed, false, "<"),
        ] {
            for_seeds(|random| {
                let mut input = random_rows();
                let value = expression(&now, "cast(now as bigint) - 3");
                let mut twins = twins(side, Bound::Now { value, inclusive });
                for _ in 0..20 {
                    for batch in input.epoch(random) {
                        twins.send(0, &batch);
                        twins.move_key_groups(random);
                    }
                    twins.time += random.random_range(0..6);
                    twins.barrier(random.random_bool(0.5));
                    let query = format!("select * from t where b {comparison} {}", twins.time - 3);
                    assert_eq!(twins.result, batch_query(&[("t", input.rows())], &query));
                }
            });
        }
    }

    #[test]
    fn what_has_expired_is_no_state() {
        let now = moment(0).unwrap().schema();
        let value = expression(&now, "cast(now as bigint)");
        let inclusive = true;
        let mut twins = twins(Side::Ahead, Bound::Now { value, inclusive });
        let rows = "+1 | 1 | 10\n+2 | 1 | 20\n+1 | 2 | NULL\n+1 | 3 | 5";
        twins.time = 5;
        twins.send(0, &ChangeBatch::from_text(&two_columns(), rows));
        twins.barrier(true);
        assert_eq!(rows_kept(&mut twins), 2);
        twins.time = 15;
        twins.barrier(true);
        assert_eq!(rows_kept(&mut twins), 1);
        // Taken back after it has expired.
        twins.send(0, &ChangeBatch::from_text(&two_columns(), "-1 | 1 | 10"));
        twins.time = 20;
        twins.barrier(true);
        assert_eq!(rows_kept(&mut twins), 0);
        assert!(twins.result.0.is_empty());
    }

    #[test]
    fn rows_are_held_back_until_the_watermark_has_passed() {
        let columns = two_columns();
        let mut twins = twins(Side::Passed, Bound::Watermark);
        let rows = "+1 | 1 | 10\n+1 | 1 | 20\n-1 | 1 | 10\n+1 | 2 | 11\n+1 | 2 | NULL";
        twins.send(0, &ChangeBatch::from_text(&columns, rows));
        twins.barrier(true);
        assert!(twins.result.0.is_empty(), "there is no watermark yet");
        twins.watermarks[0].set(1, 11);
        twins.barrier(false);
        assert!(twins.result.0.is_empty());
        twins.watermarks[0].set(1, 12);
        twins.barrier(false);
        assert_eq!(twins.result.0.keys().collect::<Vec<_>>(), ["2 | 11"]);
        twins.watermarks[0].set(1, 100);
        twins.barrier(true);
        assert_eq!(
            twins.result.0.keys().collect::<Vec<_>>(),
            ["1 | 20", "2 | 11"]
        );
    }

    fn rows_kept(twins: &mut Twins) -> u64 {
        let instances = twins.instances.iter_mut();
        instances
            .flat_map(|instance| {
                let tables = instance.tables().into_iter();
                tables.map(|table| {
                    table
                        .owned()
                        .iter()
                        .map(|group| table.rows(group))
                        .sum::<u64>()
                })
            })
            .sum()
    }
}
