//! Inner equi-join of two streams of changes: `SELECT * FROM l JOIN r ON l.a = r.b`.
//!
//! ```text
//!   changes of one side ──► look up the other side's rows ──► pairs, weights multiplied
//!                      └──► added to this side's rows
//! ```
//!
//! The join is bilinear: `(L + dL) ⋈ (R + dR) = L⋈R + dL⋈R + L⋈dR + dL⋈dR`. Taken one batch after
//! the other, each joined with the other side as it is and then added to its own, the terms come
//! out once each, in whatever order the batches arrive. So output is emitted at once and nothing is
//! left for the barrier.
//!
//! Both sides keep a Z-set of rows found by the join key. A NULL key matches nothing: such rows are
//! dropped, for what never joins need not be kept. Weights multiply modulo 2^64, as they add.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use storage::{
    Matches, MeasureType, Measures, NullEquality, Run, StateTable, TableId, TableSchema,
};

use super::filter::keep;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{Operator, Output};

/// Most rows of an output batch: a batch that joins with many rows is emitted in pieces.
const OUTPUT_ROWS_MAX: usize = 8192;

/// Joins two inputs, 0 the left and 1 the right one.
///
/// Output: the left columns, then the right ones; at once, in batches of at most 8192 rows.
pub struct HashJoin {
    // Fixed by the plan.
    keys: [Vec<usize>; 2],
    schema: SchemaRef,
    // One row per distinct row of each side, with its weight.
    rows: [StateTable; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left = 0,
    Right = 1,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

impl HashJoin {
    /// A join on equality of `left_keys` and `right_keys`, with the rows of both sides in `rows`.
    #[must_use]
    pub fn new(
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        schema: SchemaRef,
        rows: [StateTable; 2],
    ) -> Self {
        Self {
            keys: [left_keys, right_keys],
            schema,
            rows,
        }
    }

    /// The schemas of its state tables, left and right.
    ///
    /// # Errors
    /// If the keys do not pair up with equal types.
    pub fn table_schemas(inputs: [&SchemaRef; 2], keys: [&[usize]; 2]) -> Result<Vec<TableSchema>> {
        let types = |side: usize| -> Vec<_> {
            let key = keys[side].iter();
            key.map(|&column| inputs[side].field(column).data_type())
                .collect()
        };
        if types(0) != types(1) {
            return Err(Error::Plan {
                reason: format!("a join of keys {:?} with {:?}", types(0), types(1)),
            });
        }
        let schema = |side: usize| TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::clone(inputs[side]),
            key: keys[side].to_vec(),
            measures: vec![MeasureType::Int64],
            visible: false,
        };
        Ok(vec![schema(0), schema(1)])
    }

    /// Pushes the pairs of `batch` with the matching rows of the other side.
    fn emit(
        &self,
        side: Side,
        batch: &ChangeBatch,
        matches: &Matches,
        out: &mut Output,
    ) -> Result<()> {
        let other = &self.rows[side.other() as usize];
        let other_columns: Vec<usize> = (0..other.schema().columns.fields().len()).collect();
        for start in (0..matches.probe.len()).step_by(OUTPUT_ROWS_MAX) {
            let end = matches.probe.len().min(start + OUTPUT_ROWS_MAX);
            let (probe, rows) = (&matches.probe[start..end], &matches.rows[start..end]);
            let own = take_all(batch.columns().columns(), probe)?;
            let found = other.gather(rows, &other_columns)?;
            let columns = match side {
                Side::Left => own.into_iter().chain(found),
                Side::Right => found.into_iter().chain(own),
            };
            let columns = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?;
            let weights = products(batch, probe, &other.measures_of(rows));
            let runs = runs_of_probe(batch.runs(), probe);
            out.push(ChangeBatch::new(columns, Some(weights), runs));
        }
        Ok(())
    }
}

impl Operator for HashJoin {
    fn on_batch(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let side = match input {
            0 => Side::Left,
            _ => Side::Right,
        };
        let batch = without_null_keys(batch, &self.keys[side as usize])?;
        if batch.is_empty() {
            return Ok(());
        }
        let key = batch.project(&self.keys[side as usize]);
        let matches = self.rows[side.other() as usize].lookup(
            &key,
            batch.runs(),
            NullEquality::NullEqualsNothing,
        )?;
        self.emit(side, &batch, &matches, out)?;
        let weights = Measures::weights(batch.weights_to_vec());
        self.rows[side as usize].add(batch.columns().columns(), &weights, batch.runs())?;
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.rows.iter_mut().collect()
    }
}

/// The rows of `batch` without a NULL in any of the `key` columns.
fn without_null_keys(batch: ChangeBatch, key: &[usize]) -> Result<ChangeBatch> {
    let nulls = key.iter().fold(None, |nulls, &column| {
        let column = batch.column(column).logical_nulls();
        NullBuffer::union(nulls.as_ref(), column.as_ref())
    });
    match nulls {
        Some(nulls) if nulls.null_count() > 0 => {
            keep(batch, &BooleanArray::new(nulls.into_inner(), None))
        }
        _ => Ok(batch),
    }
}

fn take_all(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows.to_vec());
    columns
        .iter()
        .map(|column| Ok(take(column, &rows, None)?))
        .collect()
}

/// The weight of each pair: that of the probing row times that of the row found.
fn products(batch: &ChangeBatch, probe: &[u32], found: &Measures) -> Arc<[i64]> {
    let found = found.int64(0).expect("a side of a join keeps weights");
    match batch.weights() {
        None => found.into(),
        Some(weights) => probe
            .iter()
            .zip(found)
            .map(|(&row, &weight)| weights[row as usize].wrapping_mul(weight))
            .collect(),
    }
}

/// The runs of an output whose rows come from the ascending rows `probe` of a batch with `runs`.
fn runs_of_probe(runs: &[Run], probe: &[u32]) -> Arc<[Run]> {
    let mut made = Vec::new();
    let mut start = 0;
    for run in runs {
        let length = probe[start..].partition_point(|&row| (row as usize) < run.rows.end);
        if length > 0 {
            made.push(Run {
                key_group: run.key_group,
                rows: start..start + length,
            });
            start += length;
        }
        if start == probe.len() {
            break;
        }
    }
    made.into()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use planner::dataflow::Node;
    use rand::Rng;

    use super::*;
    use crate::operators::testing::{
        RandomInput, Twins, batch_query, context, for_seeds, fragment, input_node, schema,
        small_or_null,
    };

    fn columns(names: [&str; 3]) -> SchemaRef {
        let [key, second, value] = names;
        schema(&[
            (key, DataType::Int64),
            (second, DataType::Utf8),
            (value, DataType::Int64),
        ])
    }

    fn join(left: &SchemaRef, right: &SchemaRef, keys: [Vec<usize>; 2]) -> Node {
        let fields: Vec<_> = left
            .fields()
            .iter()
            .chain(right.fields())
            .cloned()
            .collect();
        let [left_keys, right_keys] = keys;
        Node::HashJoin {
            left: Box::new(input_node(&[0], left)),
            right: Box::new(input_node(&[1], right)),
            left_keys,
            right_keys,
            schema: Arc::new(arrow::datatypes::Schema::new(fields)),
        }
    }

    fn twins(keys: [Vec<usize>; 2]) -> (SchemaRef, SchemaRef, Twins) {
        let (left, right) = (columns(["a", "b", "c"]), columns(["d", "e", "f"]));
        let inputs = [
            (left.clone(), keys[0].clone()),
            (right.clone(), keys[1].clone()),
        ];
        let twins = Twins::new(&fragment(join(&left, &right, keys), &inputs), &context());
        (left, right, twins)
    }

    #[test]
    fn weights_multiply_and_a_retraction_may_come_first() {
        let (left, right, mut twins) = twins([vec![0], vec![0]]);
        twins.send(0, &ChangeBatch::from_text(&left, "-1 | 1 | x | 10"));
        twins.send(
            1,
            &ChangeBatch::from_text(&right, "+3 | 1 | y | 20\n+1 | 2 | y | 30"),
        );
        twins.send(0, &ChangeBatch::from_text(&left, "+3 | 1 | x | 10"));
        twins.barrier(true);
        let rows: Vec<_> = twins.result.0.iter().collect();
        assert_eq!(rows, [(&"1 | x | 10 | 1 | y | 20".to_owned(), &6)]);
    }

    #[test]
    fn null_keys_match_nothing() {
        let (left, right, mut twins) = twins([vec![0, 1], vec![0, 1]]);
        twins.send(
            0,
            &ChangeBatch::from_text(&left, "+1 | NULL | x | 1\n+1 | 1 | NULL | 2"),
        );
        twins.send(
            1,
            &ChangeBatch::from_text(&right, "+1 | NULL | x | 1\n+1 | 1 | NULL | 2"),
        );
        twins.barrier(true);
        assert!(twins.result.0.is_empty(), "{:?}", twins.result);
        let tables = twins
            .instances
            .iter_mut()
            .flat_map(|instance| instance.tables());
        for table in tables {
            let kept: u64 = table.owned().iter().map(|group| table.rows(group)).sum();
            assert_eq!(kept, 0, "what never joins is not kept");
        }
    }

    #[test]
    fn output_comes_in_bounded_batches() {
        let (left, right) = (columns(["a", "b", "c"]), columns(["d", "e", "f"]));
        let inputs = [(left.clone(), vec![0]), (right.clone(), vec![0])];
        let node = join(&left, &right, [vec![0], vec![0]]);
        let owned = (0..4).map(scaling::KeyGroup);
        let fragment = fragment(node, &inputs);
        let mut pipeline = crate::Pipeline::build(&fragment, 1, 0, owned, &context()).unwrap();
        let many = |count: i64| -> String {
            (0..count)
                .map(|row| format!("+1 | 1 | x | {row}\n"))
                .collect()
        };
        let mut out = Output::new();
        let left = ChangeBatch::from_text(&left, &many(150)).keyed(&[0], 4);
        pipeline.on_batch(0, left, &mut out).unwrap();
        let right = ChangeBatch::from_text(&right, &many(100)).keyed(&[0], 4);
        pipeline.on_batch(1, right, &mut out).unwrap();
        let rows: Vec<usize> = out.batches().iter().map(ChangeBatch::num_rows).collect();
        assert_eq!(rows, [OUTPUT_ROWS_MAX, 15_000 - OUTPUT_ROWS_MAX]);
    }

    #[test]
    fn keys_of_other_types_are_refused() {
        let left = columns(["a", "b", "c"]);
        let wanted = HashJoin::table_schemas([&left, &left], [&[0], &[1]]);
        assert!(matches!(wanted, Err(Error::Plan { .. })));
    }

    #[test]
    fn equals_the_batch_engine() {
        for_seeds(|random| {
            let (left, right, mut twins) = twins([vec![1, 0], vec![1, 0]]);
            let row = |random: &mut rand::rngs::StdRng| {
                let text = ["x", "y", "NULL"][random.random_range(0..3)];
                let value = random.random_range(0..4);
                format!("{} | {text} | {value}", small_or_null(random, 6))
            };
            let mut inputs = [RandomInput::new(&left, row), RandomInput::new(&right, row)];
            for _ in 0..10 {
                let mut batches: Vec<_> = inputs
                    .iter_mut()
                    .enumerate()
                    .flat_map(|(side, input)| {
                        input
                            .epoch(random)
                            .into_iter()
                            .map(move |batch| (side, batch))
                    })
                    .collect();
                rand::seq::SliceRandom::shuffle(&mut batches[..], random);
                for (side, batch) in batches {
                    twins.send(side, &batch);
                    if random.random_bool(0.3) {
                        twins.move_key_groups(random);
                    }
                }
                twins.barrier(random.random_bool(0.5));
                let tables = [("l", inputs[0].rows()), ("r", inputs[1].rows())];
                let query = "select * from l join r on l.a = r.d and l.b = r.e";
                assert_eq!(twins.result, batch_query(&tables, query));
            }
        });
    }
}
