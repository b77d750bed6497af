//! Equi-joins of two streams of changes: `SELECT * FROM l [LEFT | …] JOIN r ON l.a = r.b [AND …]`.
//!
//! ```text
//!   changes of one side ──► look up the other side's rows ──► pairs, weights multiplied ──► output
//!                      └──► added to this side's rows            └──► matches of both rows
//!   barrier ──► kept rows that found or lost their matches ──► output
//! ```
//!
//! The join is bilinear: `(L + dL) ⋈ (R + dR) = L⋈R + dL⋈R + L⋈dR + dL⋈dR`. Taken one batch after
//! the other, each joined with the other side as it is and then added to its own, the terms come
//! out once each, in whatever order the batches arrive. So pairs are emitted at once.
//!
//! Outer, semi and anti joins ask of a row whether it has a match. Its *matches*, the weights of its
//! pairs added up, are a second measure beside its weight; whether they are zero is looked at when
//! the epoch ends, of the rows that it touched.
//!
//! A row that can have no more matches, the other side's watermark being what it is, is forgotten.
//!
//! Both sides keep a Z-set of rows found by the join key. A NULL key matches nothing (unless asked
//! to): such rows are dropped where a row without a match is not emitted either. Without keys every
//! pair of rows is tried. Weights multiply modulo 2^64, as they add.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use planner::dataflow::{Expiry, JoinKind};
use storage::{
    Matches, MeasureColumn, MeasureType, Measures, NullEquality, Run, StateTable, TableId,
    TableSchema,
};

use super::changed::{ChangedRows, TableRows};
use super::filter::{keep, passing};
use super::row_errors::RowErrors;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{Barrier, Operator, Output, Watermarks};

/// Most rows of an output batch: a batch that joins with many rows is emitted in pieces.
const OUTPUT_ROWS_MAX: usize = 8192;

/// What a join does, fixed by the plan.
#[derive(Clone)]
pub struct JoinPlan {
    /// Which rows come out.
    pub kind: JoinKind,
    /// The keys of the left and of the right side, of equal types in pairs. May be empty.
    pub keys: [Vec<usize>; 2],
    /// Whether a NULL key matches a NULL key.
    pub nulls: NullEquality,
    /// What a pair must pass besides: over the left columns, then the right ones. NULL is false.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// When rows of the two sides can have no more matches.
    pub forgets: [Option<Expiry>; 2],
    /// Columns of the two sides.
    pub inputs: [SchemaRef; 2],
    /// Columns of the output.
    pub schema: SchemaRef,
}

/// Joins two inputs, 0 the left and 1 the right one.
///
/// Output: what the kind of join says ([`JoinKind`]); pairs at once, in batches of at most 8192
/// rows, and rows whose matches count at the barrier.
pub struct HashJoin {
    // Fixed by the plan.
    plan: JoinPlan,
    pair_schema: SchemaRef,
    errors: RowErrors,
    // One row per distinct row of each side, with its weight and, where it counts, its matches.
    rows: [StateTable; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left = 0,
    Right = 1,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Left, Self::Right];

    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Whether rows of this side come out by whether they have matches.
    fn counts_matches(self, kind: JoinKind) -> bool {
        match kind {
            JoinKind::Inner => false,
            JoinKind::Full => true,
            JoinKind::Right => self == Self::Right,
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => {
                self == Self::Left
            }
        }
    }
}

/// Rows that come out at the barrier: those with matches, or those without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Matched,
    Unmatched,
}

impl HashJoin {
    /// A join with the rows of both sides in `rows`.
    #[must_use]
    pub fn new(plan: JoinPlan, errors: RowErrors, rows: [StateTable; 2]) -> Self {
        let fields = plan.inputs.iter().flat_map(|side| side.fields().iter());
        let pair_schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        Self {
            plan,
            pair_schema,
            errors,
            rows,
        }
    }

    /// The schemas of its state tables, left and right.
    ///
    /// # Errors
    /// If the keys do not pair up with equal types.
    pub fn table_schemas(
        kind: JoinKind,
        inputs: [&SchemaRef; 2],
        keys: [&[usize]; 2],
        forgets: &[Option<Expiry>; 2],
    ) -> Result<Vec<TableSchema>> {
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
        let schema = |side: Side| TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::clone(inputs[side as usize]),
            key: keys[side as usize].to_vec(),
            ordered_by: forgets[side as usize].map(|expiry| expiry.column),
            measures: match side.counts_matches(kind) {
                true => vec![MeasureType::Int64, MeasureType::Int64],
                false => vec![MeasureType::Int64],
            },
            visible: false,
            evictable: forgets[side as usize].is_none(),
        };
        Ok(Side::BOTH.map(schema).into())
    }

    /// The pairs of `batch` with the matching rows of the other side, in bounded batches.
    fn pairs(
        &self,
        side: Side,
        batch: &ChangeBatch,
        matches: &Matches,
    ) -> Result<Vec<ChangeBatch>> {
        let other = &self.rows[side.other() as usize];
        let other_columns: Vec<usize> = (0..other.schema().columns.fields().len()).collect();
        let mut pairs = Vec::new();
        for start in (0..matches.probe.len()).step_by(OUTPUT_ROWS_MAX) {
            let end = matches.probe.len().min(start + OUTPUT_ROWS_MAX);
            let (probe, rows) = (&matches.probe[start..end], &matches.rows[start..end]);
            let own = take_all(batch.columns().columns(), probe)?;
            let found = other.gather(rows, &other_columns)?;
            let columns = match side {
                Side::Left => own.into_iter().chain(found),
                Side::Right => found.into_iter().chain(own),
            };
            let columns = rows_of(&self.pair_schema, columns.collect(), probe.len())?;
            let weights = products(batch, probe, &other.measures_of(rows));
            let runs = runs_of_probe(batch.runs(), probe);
            let pair = ChangeBatch::new(columns, Some(weights), runs);
            pairs.push(match &self.plan.residual {
                None => pair,
                Some(residual) => {
                    let passed = passing(residual, pair.columns(), &self.errors)?;
                    keep(pair, &passed)?
                }
            });
        }
        Ok(pairs)
    }

    /// Adds the weights of pairs to the matches of the rows that they are made of.
    fn count_matches(&mut self, pairs: &[ChangeBatch]) -> Result<()> {
        let left_width = self.plan.inputs[0].fields().len();
        for side in Side::BOTH {
            if !side.counts_matches(self.plan.kind) {
                continue;
            }
            for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
                let columns = pair.columns().columns();
                let own = match side {
                    Side::Left => &columns[..left_width],
                    Side::Right => &columns[left_width..],
                };
                let weights = vec![0; pair.num_rows()];
                let measures = Measures(vec![
                    MeasureColumn::Int64(weights),
                    MeasureColumn::Int64(pair.weights_to_vec()),
                ]);
                self.rows[side as usize].add(own, &measures, pair.runs())?;
            }
        }
        Ok(())
    }

    /// Pushes how the epoch changed the rows of a side with, or without, matches.
    fn emit_kept(&self, side: Side, kept: Kept, changed: &ChangedRows) -> Result<ChangeBatch> {
        let before = kept_weights(&changed.old, kept);
        let after = kept_weights(&changed.new, kept);
        let (mut rows, mut weights, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for run in &changed.runs {
            let start = rows.len();
            for row in run.rows.clone() {
                let weight = after[row].wrapping_sub(before[row]);
                if weight != 0 {
                    rows.push(row as u32);
                    weights.push(weight);
                }
            }
            if rows.len() > start {
                runs.push(Run {
                    key_group: run.key_group,
                    rows: start..rows.len(),
                });
            }
        }
        let own = take_all(&changed.columns, &rows)?;
        let columns = self.padded(side, kept, own, rows.len());
        let columns = rows_of(&self.plan.schema, columns, rows.len())?;
        Ok(ChangeBatch::new(columns, Some(weights.into()), runs.into()))
    }

    /// Rows of a side as the output has them.
    fn padded(&self, side: Side, kept: Kept, own: Vec<ArrayRef>, rows: usize) -> Vec<ArrayRef> {
        let nulls = || {
            let fields = self.plan.inputs[side.other() as usize].fields().iter();
            fields.map(move |field| new_null_array(field.data_type(), rows))
        };
        match self.plan.kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::Inner => own,
            JoinKind::LeftMark => {
                let mark = BooleanArray::from(vec![kept == Kept::Matched; rows]);
                own.into_iter()
                    .chain([Arc::new(mark) as ArrayRef])
                    .collect()
            }
            JoinKind::Left | JoinKind::Right | JoinKind::Full => match side {
                Side::Left => own.into_iter().chain(nulls()).collect(),
                Side::Right => nulls().chain(own).collect(),
            },
        }
    }
}

impl Operator for HashJoin {
    fn on_batch(&mut self, input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        let side = match input {
            0 => Side::Left,
            _ => Side::Right,
        };
        let counts = side.counts_matches(self.plan.kind);
        let batch = match self.plan.nulls {
            NullEquality::NullEqualsNothing if !counts => {
                without_null_keys(batch, &self.plan.keys[side as usize])?
            }
            _ => batch,
        };
        if batch.is_empty() {
            return Ok(());
        }
        let key = batch.project(&self.plan.keys[side as usize]);
        let other = &mut self.rows[side.other() as usize];
        let matches = other.lookup(&key, batch.runs(), self.plan.nulls)?;
        let pairs = self.pairs(side, &batch, &matches)?;
        self.count_matches(&pairs)?;
        if self.plan.kind.emits_pairs() {
            pairs.into_iter().for_each(|pair| out.push(pair));
        }
        let mut measures = Measures::weights(batch.weights_to_vec());
        if counts {
            measures
                .0
                .push(MeasureColumn::Int64(vec![0; batch.num_rows()]));
        }
        self.rows[side as usize].add(batch.columns().columns(), &measures, batch.runs())?;
        Ok(())
    }

    fn on_barrier(&mut self, _barrier: &Barrier, out: &mut Output) -> Result<()> {
        let kept: &[Kept] = match self.plan.kind {
            JoinKind::Inner => return Ok(()),
            JoinKind::LeftSemi => &[Kept::Matched],
            JoinKind::LeftMark => &[Kept::Matched, Kept::Unmatched],
            JoinKind::LeftAnti | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                &[Kept::Unmatched]
            }
        };
        for side in Side::BOTH {
            if !side.counts_matches(self.plan.kind) {
                continue;
            }
            for changed in ChangedRows::pieces(&self.rows[side as usize])? {
                for &kept in kept {
                    out.push(self.emit_kept(side, kept, &changed)?);
                }
            }
        }
        Ok(())
    }

    fn on_watermarks(&mut self, inputs: &[Watermarks], _out: &mut Output) -> Result<()> {
        for side in Side::BOTH {
            let Some(expiry) = self.plan.forgets[side as usize] else {
                continue;
            };
            let watermark = inputs[side.other() as usize].get(expiry.other);
            if let Some(limit) = watermark.and_then(|value| value.checked_add(expiry.micros)) {
                TableRows::forget_below(&mut self.rows[side as usize], limit)?;
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.rows.iter_mut().collect()
    }
}

/// The weights of the rows that are kept for having matches, or for having none; 0 for others.
fn kept_weights(measures: &Measures, kept: Kept) -> Vec<i64> {
    let column = |index| {
        let column = measures.int64(index);
        column.expect("a side that counts matches has two measures")
    };
    let (weights, matches) = (column(0), column(1));
    let both = weights.iter().zip(matches);
    both.map(|(&weight, &matches)| match (kept, matches == 0) {
        (Kept::Matched, false) | (Kept::Unmatched, true) => weight,
        _ => 0,
    })
    .collect()
}

pub(super) fn rows_of(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// The rows of `batch` without a NULL in any of the `key` columns.
pub(super) fn without_null_keys(batch: ChangeBatch, key: &[usize]) -> Result<ChangeBatch> {
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

pub(super) fn take_all(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows.to_vec());
    columns
        .iter()
        .map(|column| Ok(take(column, &rows, None)?))
        .collect()
}

/// The weight of each pair: that of the probing row times that of the row found.
pub(super) fn products(batch: &ChangeBatch, probe: &[u32], found: &Measures) -> Arc<[i64]> {
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
pub(crate) fn runs_of_probe(runs: &[Run], probe: &[u32]) -> Arc<[Run]> {
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
        RandomInput, Twins, batch_query, context, expression, for_seeds, fragment, input_node,
        schema, small_or_null,
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
        join_of(JoinKind::Inner, left, right, keys, None)
    }

    fn join_of(
        kind: JoinKind,
        left: &SchemaRef,
        right: &SchemaRef,
        keys: [Vec<usize>; 2],
        residual: Option<&str>,
    ) -> Node {
        let mut pairs: Vec<_> = left.fields().iter().cloned().collect();
        pairs.extend(right.fields().iter().cloned());
        let pairs = Arc::new(arrow::datatypes::Schema::new(pairs));
        let residual = residual.map(|sql| expression(&pairs, sql));
        let mut fields: Vec<_> = left.fields().iter().cloned().collect();
        match kind {
            kind if kind.emits_pairs() => fields.extend(right.fields().iter().cloned()),
            JoinKind::LeftMark => fields.push(Arc::new(arrow::datatypes::Field::new(
                "mark",
                DataType::Boolean,
                true,
            ))),
            _ => {}
        }
        let [left_keys, right_keys] = keys;
        Node::HashJoin {
            left: Box::new(input_node(&[0], left)),
            right: Box::new(input_node(&[1], right)),
            left_keys,
            right_keys,
            kind,
            nulls_match: false,
            residual,
            forgets: [None, None],
            schema: Arc::new(arrow::datatypes::Schema::new(fields)),
        }
    }

    fn twins(keys: [Vec<usize>; 2]) -> (SchemaRef, SchemaRef, Twins) {
        twins_of(JoinKind::Inner, keys, None)
    }

    fn twins_of(
        kind: JoinKind,
        keys: [Vec<usize>; 2],
        residual: Option<&str>,
    ) -> (SchemaRef, SchemaRef, Twins) {
        let (left, right) = (columns(["a", "b", "c"]), columns(["d", "e", "f"]));
        let inputs = [
            (left.clone(), keys[0].clone()),
            (right.clone(), keys[1].clone()),
        ];
        let node = join_of(kind, &left, &right, keys, residual);
        let twins = Twins::new(&fragment(node, &inputs), &context());
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

    /// Rows of both sides that match within five of each other, with the watermarks that allow it.
    fn interval_join(kind: JoinKind) -> (SchemaRef, SchemaRef, Twins) {
        let (left, right) = (columns(["a", "b", "c"]), columns(["d", "e", "f"]));
        let inputs = [(left.clone(), vec![0]), (right.clone(), vec![0])];
        let within = Some("c >= f - 5 and c <= f + 5");
        let mut node = join_of(kind, &left, &right, [vec![0], vec![0]], within);
        if let Node::HashJoin { forgets, .. } = &mut node {
            *forgets = [Some(Expiry {
                column: 2,
                other: 2,
                micros: -5,
            }); 2];
        }
        let twins = Twins::new(&fragment(node, &inputs), &context());
        (left, right, twins)
    }

    #[test]
    fn rows_that_can_have_no_more_matches_are_forgotten() {
        for (kind, name) in [
            (JoinKind::Inner, "join"),
            (JoinKind::Left, "left join"),
            (JoinKind::Full, "full join"),
        ] {
            for_seeds(|random| {
                let (left, right, mut twins) = interval_join(kind);
                let mut rows = [Vec::new(), Vec::new()];
                let mut watermarks = [0, 0];
                for _ in 0..20 {
                    for (side, schema) in [&left, &right].into_iter().enumerate() {
                        let mut text = Vec::new();
                        for _ in 0..random.random_range(0..12) {
                            let key = small_or_null(random, 3);
                            let time = watermarks[side] + random.random_range(0..20);
                            text.push(format!("+1 | {key} | x | {time}"));
                        }
                        let batch = ChangeBatch::from_text(schema, &text.join("\n"));
                        twins.send(side, &batch);
                        twins.move_key_groups(random);
                        rows[side].push(batch.columns().clone());
                        watermarks[side] += random.random_range(0..15);
                        twins.watermarks[side].set(2, watermarks[side]);
                    }
                    twins.barrier(random.random_bool(0.5));
                    let all = |side: usize, schema: &SchemaRef| {
                        arrow::compute::concat_batches(schema, &rows[side]).unwrap()
                    };
                    let tables = [("l", all(0, &left)), ("r", all(1, &right))];
                    let query =
                        format!("select * from l {name} r on a = d and c >= f - 5 and c <= f + 5");
                    assert_eq!(twins.result, batch_query(&tables, &query));
                }
                for side in 0..2 {
                    twins.watermarks[side].set(2, i64::MAX);
                }
                twins.barrier(true);
                let tables = twins.instances.iter_mut().flat_map(|twin| twin.tables());
                for table in tables {
                    let kept: u64 = table.owned().iter().map(|group| table.rows(group)).sum();
                    assert_eq!(kept, 0);
                }
            });
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
        let wanted =
            HashJoin::table_schemas(JoinKind::Inner, [&left, &left], [&[0], &[1]], &[None, None]);
        assert!(matches!(wanted, Err(Error::Plan { .. })));
    }

    /// Random changes of both sides through a join, which adds up to the query at each barrier.
    fn assert_equals(kind: JoinKind, keys: &[Vec<usize>; 2], residual: Option<&str>, query: &str) {
        for_seeds(|random| {
            let (left, right, mut twins) = twins_of(kind, keys.clone(), residual);
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
                assert_eq!(twins.result, batch_query(&tables, query), "{query}");
            }
        });
    }

    #[test]
    fn every_kind_equals_the_batch_engine() {
        let keys = [vec![1, 0], vec![1, 0]];
        let on = "l.a = r.d and l.b = r.e";
        for (kind, join) in [
            (JoinKind::Inner, "join"),
            (JoinKind::Left, "left join"),
            (JoinKind::Right, "right join"),
            (JoinKind::Full, "full join"),
            (JoinKind::LeftSemi, "left semi join"),
            (JoinKind::LeftAnti, "left anti join"),
        ] {
            assert_equals(
                kind,
                &keys,
                None,
                &format!("select * from l {join} r on {on}"),
            );
            let residual = format!("select * from l {join} r on {on} and l.c < r.f");
            assert_equals(kind, &keys, Some("c < f"), &residual);
        }
    }

    #[test]
    fn without_keys_every_pair_is_tried() {
        for (kind, join) in [
            (JoinKind::Inner, "join"),
            (JoinKind::Left, "left join"),
            (JoinKind::Full, "full join"),
            (JoinKind::LeftAnti, "left anti join"),
        ] {
            let query = format!("select * from l {join} r on l.c < r.f");
            assert_equals(kind, &[vec![], vec![]], Some("c < f"), &query);
        }
    }

    #[test]
    fn a_mark_says_whether_there_is_a_match() {
        let query = "select l.*, k.d is not null from l
                     left join (select distinct d from r) k on l.a = k.d";
        assert_equals(JoinKind::LeftMark, &[vec![0], vec![0]], None, query);
    }
}
