//! Grouped aggregation: `SELECT g, agg(x) FROM s GROUP BY g` over a stream of changes.
//!
//! ```text
//!   ChangeBatch ──► fold rows into their groups ──► groups: one row a group, its measures
//!                 └─► values of min and max     ──► extremes: a Z-set (group, value) a call, unless
//!                                                  rows stay, and the best is a measure
//!   Barrier     ──► each group changed since the last barrier: its old and its new row
//! ```
//!
//! A group touched a thousand times in an epoch emits one pair of changes; one whose result did not
//! change emits nothing; one whose row count returns to zero emits only its old row. The old row
//! needs no copy: it follows from the measures at the last barrier. Without calls this is
//! `DISTINCT`. A global aggregate (no group columns) has one group, in the key group of the empty
//! key; that it exists without input is the plan's affair, which feeds it one row of NULLs.
//!
//! The rows may come as partial results: what many of them add to a group at once ([`LocalAgg`]).
//!
//! A group that the watermark of one of its columns has passed gets no more rows: it is forgotten, and
//! what was emitted stays.
//!
//! While a view is backfilled a group's row count may be negative; it then does not exist yet.
//!
//! Equal floats are one group: the state table stores -0.0 as 0.0 and every NaN as the same one.
//! Not here: alignment and commit (`executor`), where a group lives (`scaling`).

mod accumulate;
mod best;
mod extremes;
mod local;
mod partial;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{interleave, take};
use arrow::datatypes::{Schema, SchemaRef};
use planner::dataflow::AggCall;
use storage::{Measures, Run, StateTable, TableId, TableSchema};

use self::accumulate::{Accumulators, Call};
use self::extremes::{ExtremeCall, Extremes};
pub use self::local::LocalAgg;
use self::partial::from_array;
use super::RowErrors;
use super::changed::{ChangedRows, TableRows};
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{Barrier, Operator, Output, Watermarks};

/// What an aggregation does.
#[derive(Debug, Clone, Copy)]
pub struct AggPlan<'a> {
    /// Columns of the input.
    pub group_by: &'a [usize],
    /// Aggregates, in output order.
    pub calls: &'a [AggCall],
    /// The group column whose watermark ends groups.
    pub forgets: Option<usize>,
    /// Whether no row is ever taken back.
    pub append_only: bool,
    /// If the input is partial results: the columns of the rows that [`LocalAgg`] read.
    pub partial_of: Option<&'a SchemaRef>,
}

impl<'a> AggPlan<'a> {
    /// The columns of the rows that the calls are over.
    fn rows(&self, input: &'a SchemaRef) -> &'a SchemaRef {
        self.partial_of.unwrap_or(input)
    }
}

/// Folds changes into one state row per group.
///
/// Input: any schema that holds `group_by` and the arguments of `calls`.
/// Output: the group columns, then one column a call; at each barrier, at most one pair a group.
pub struct HashAgg {
    // Fixed by the plan.
    group_by: Vec<usize>,
    /// The group column whose watermark ends groups.
    forgets: Option<usize>,
    accumulators: Accumulators,
    /// Whether the input is the measures, not the rows.
    is_partial: bool,
    schema: SchemaRef,
    errors: RowErrors,
    // Changes with every row; moves with its key group.
    groups: StateTable,
    extremes: Extremes,
}

impl HashAgg {
    /// An aggregation over `input` with its state in `tables`, whose schemas are
    /// [`HashAgg::table_schemas`].
    ///
    /// # Errors
    /// If there is no such aggregate of that type.
    pub fn new(
        plan: AggPlan<'_>,
        input: &SchemaRef,
        schema: SchemaRef,
        errors: RowErrors,
        tables: Vec<StateTable>,
    ) -> Result<Self> {
        let rows = plan.rows(input);
        let accumulators = Accumulators::new(plan, rows)?;
        let mut tables = tables.into_iter();
        let groups = tables.next().ok_or_else(|| Error::Plan {
            reason: "an aggregation without a state table".into(),
        })?;
        let (calls, groups_of) = (ExtremeCall::of(plan, rows), plan.group_by.len());
        Ok(Self {
            group_by: plan.group_by.to_vec(),
            forgets: plan.forgets,
            accumulators,
            is_partial: plan.partial_of.is_some(),
            schema,
            errors,
            groups,
            extremes: Extremes::new(calls, groups_of, tables.collect()),
        })
    }

    /// The schemas of its state tables: the groups; if there is a `min` or `max` that is no measure,
    /// the extremes last emitted and one table of values for each of them.
    ///
    /// # Errors
    /// If there is no such aggregate of that type.
    pub fn table_schemas(plan: AggPlan<'_>, input: &SchemaRef) -> Result<Vec<TableSchema>> {
        let AggPlan {
            group_by, forgets, ..
        } = plan;
        let input = plan.rows(input);
        let group_fields: Vec<_> = group_by
            .iter()
            .map(|&column| Arc::clone(&input.fields()[column]))
            .collect();
        let groups = TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::new(Schema::new(group_fields.clone())),
            key: (0..group_by.len()).collect(),
            ordered_by: forgets,
            measures: Accumulators::new(plan, input)?.types(),
            visible: false,
            evictable: forgets.is_none(),
        };
        let mut tables = vec![groups];
        tables.extend(Extremes::table_schemas(
            &group_fields,
            forgets,
            &ExtremeCall::of(plan, input),
            input,
        ));
        Ok(tables)
    }

    /// The measures of partial results.
    fn handed_on(&self, columns: &[ArrayRef]) -> Result<Measures> {
        let types = self.accumulators.types();
        let measures = columns.iter().zip(types);
        let measures = measures.map(|(column, measure)| from_array(column, measure));
        Ok(Measures(measures.collect::<Result<_>>()?))
    }

    /// Pushes what changed in some key groups: for each group its old and its new row, unless they
    /// are equal.
    fn emit(&mut self, changed: &ChangedRows, out: &mut Output) -> Result<()> {
        let (old_there, new_there) = (there(&changed.old), there(&changed.new));
        let extremes = self.extremes.at_barrier(changed, &new_there)?;
        let mut results = Vec::with_capacity(self.accumulators.calls.len());
        for call in &self.accumulators.calls {
            results.push(match call {
                Call::Extreme { place } => extremes[*place].clone(),
                call => {
                    // What did not fit was counted when the old row was new.
                    let uncounted = RowErrors::new();
                    let old = self.accumulators.result(call, &changed.old, &uncounted)?;
                    let new = self.accumulators.result(call, &changed.new, &self.errors)?;
                    (old, new)
                }
            });
        }
        let same = unchanged(&results, changed.len());
        let pairs = Pairs::choose(&changed.runs, &old_there, &new_there, &same);
        out.push(pairs.batch(&self.schema, &changed.columns, &results)?);
        Ok(())
    }
}

impl Operator for HashAgg {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        let group = batch.project(&self.group_by);
        let columns = batch.columns().columns();
        let deltas = if self.is_partial {
            self.handed_on(&columns[group.len()..])?
        } else {
            let weights = batch.weights_to_vec();
            self.accumulators.deltas(columns, &weights)?
        };
        self.groups.add(&group, &deltas, batch.runs())?;
        self.extremes.add(&group, &batch)
    }

    fn on_barrier(&mut self, _barrier: &Barrier, out: &mut Output) -> Result<()> {
        self.extremes.begin_barrier()?;
        for changed in ChangedRows::pieces(&self.groups)? {
            self.emit(&changed, out)?;
        }
        self.extremes.end_barrier();
        Ok(())
    }

    fn on_watermarks(&mut self, inputs: &[Watermarks], _out: &mut Output) -> Result<()> {
        let Some(forgets) = self.forgets else {
            return Ok(());
        };
        if let Some(watermark) = inputs[0].get(self.group_by[forgets]) {
            for table in self.tables() {
                TableRows::forget_below(table, watermark)?;
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        let mut tables = vec![&mut self.groups];
        tables.extend(self.extremes.tables());
        tables
    }
}

/// Which groups exist: those with a positive number of rows.
fn there(measures: &Measures) -> Vec<bool> {
    let rows = measures.int64(0).unwrap_or_default();
    rows.iter().map(|&rows| rows > 0).collect()
}

/// For each group, whether all results are the same before and after.
fn unchanged(results: &[(ArrayRef, ArrayRef)], groups: usize) -> Vec<bool> {
    let mut same = vec![true; groups];
    for (old, new) in results {
        // Types Arrow cannot compare count as changed: the pair then cancels further down.
        let equal =
            not_distinct(old, new).unwrap_or_else(|_| BooleanArray::from(vec![false; groups]));
        for (same, equal) in same.iter_mut().zip(equal.values()) {
            *same &= equal;
        }
    }
    same
}

/// The rows to emit: which group, old or new, with which weight.
struct Pairs {
    groups: Vec<u32>,
    /// Which of old (0) and new (1), and the group: what `interleave` wants.
    sides: Vec<(usize, usize)>,
    weights: Vec<i64>,
    runs: Vec<Run>,
}

impl Pairs {
    fn choose(runs: &[Run], old_there: &[bool], new_there: &[bool], same: &[bool]) -> Self {
        let mut pairs = Self {
            groups: Vec::new(),
            sides: Vec::new(),
            weights: Vec::new(),
            runs: Vec::with_capacity(runs.len()),
        };
        for run in runs {
            let start = pairs.groups.len();
            for group in run.rows.clone() {
                if old_there[group] && new_there[group] && same[group] {
                    continue;
                }
                for (side, there, weight) in [(0, old_there, -1), (1, new_there, 1)] {
                    if there[group] {
                        pairs.groups.push(group as u32);
                        pairs.sides.push((side, group));
                        pairs.weights.push(weight);
                    }
                }
            }
            if pairs.groups.len() > start {
                pairs.runs.push(Run {
                    key_group: run.key_group,
                    rows: start..pairs.groups.len(),
                });
            }
        }
        pairs
    }

    fn batch(
        self,
        schema: &SchemaRef,
        groups: &[ArrayRef],
        results: &[(ArrayRef, ArrayRef)],
    ) -> Result<ChangeBatch> {
        let rows = UInt32Array::from(self.groups);
        let mut columns = Vec::with_capacity(groups.len() + results.len());
        for column in groups {
            columns.push(take(column, &rows, None)?);
        }
        for (old, new) in results {
            columns.push(interleave(&[old.as_ref(), new.as_ref()], &self.sides)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
        Ok(ChangeBatch::new(
            columns,
            Some(self.weights.into()),
            self.runs.into(),
        ))
    }
}
