//! The least and greatest values of groups: `min` and `max` under retraction.
//!
//! ```text
//!   values    a Z-set (group, value) a call       all values, found by group
//!   emitted   (group, one value a call)           what the last barrier emitted
//!
//!   barrier   new extreme = best of the values that became live in this epoch
//!                           and the old extreme, if it is still live
//!                         = best of all values of the group, if it is not
//! ```
//!
//! A sum can be subtracted from; an extreme cannot, so the values are kept. Reading all of a
//! group's values at each barrier would cost the size of the group for every change. With the
//! extreme last emitted kept beside, only the retraction of that very value does.
//!
//! Values are compared by Arrow's row format, which orders as PostgreSQL does: NaN is the greatest
//! number. The state tables keep one zero and one NaN, so equal values have equal bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use planner::dataflow::{AggCall, AggFunction};
use scaling::KeyGroup;
use storage::{
    Changed, MeasureType, Measures, NullEquality, Run, StateTable, TableId, TableSchema,
};

use super::super::changed::{ChangedRows, changed_by_key_group};
use super::super::filter::keep;
use super::AggPlan;
use super::best::Wanted;
use crate::change::ChangeBatch;
use crate::error::Result;

/// A `min` or `max`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExtremeCall {
    argument: usize,
    wanted: Wanted,
}

impl ExtremeCall {
    /// The calls of an aggregation that are `min` or `max` and have no measure, in order.
    pub(super) fn of(plan: AggPlan<'_>, input: &Schema) -> Vec<Self> {
        let kept_here = |call: &&AggCall| !call.is_greatest(input, plan.append_only);
        plan.calls
            .iter()
            .filter(kept_here)
            .filter_map(|call| {
                matches!(call.function, AggFunction::Min | AggFunction::Max).then_some(Self {
                    argument: call.argument?,
                    wanted: Wanted::of(call.function),
                })
            })
            .collect()
    }
}

/// The values of every `min` and `max` of an aggregation.
pub(super) struct Extremes {
    // Fixed by the plan.
    calls: Vec<ExtremeCall>,
    group_columns: usize,
    // State.
    emitted: Option<StateTable>,
    values: Vec<StateTable>,
    // Of the barrier being worked on: changed values by call and key group.
    changed: Vec<BTreeMap<KeyGroup, Changed>>,
}

/// Where a group's new extreme is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Best {
    /// There is none: the group has no value.
    None,
    /// The extreme last emitted.
    Old,
    /// A row of the changed values.
    Changed(usize),
    /// A row found by reading the group.
    Found(usize),
}

impl Extremes {
    /// The extremes of `calls`, with state in `tables` (see [`Extremes::table_schemas`]).
    pub(super) fn new(
        calls: Vec<ExtremeCall>,
        group_columns: usize,
        tables: Vec<StateTable>,
    ) -> Self {
        let mut tables = tables.into_iter();
        Self {
            calls,
            group_columns,
            emitted: tables.next(),
            values: tables.collect(),
            changed: Vec::new(),
        }
    }

    /// The schemas of the state tables: what was emitted, then the values of each call. None
    /// without calls.
    pub(super) fn table_schemas(
        group: &[FieldRef],
        forgets: Option<usize>,
        calls: &[ExtremeCall],
        input: &SchemaRef,
    ) -> Vec<TableSchema> {
        if calls.is_empty() {
            return Vec::new();
        }
        let table = |values: Vec<FieldRef>| TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::new(Schema::new([group, values.as_slice()].concat())),
            key: (0..group.len()).collect(),
            ordered_by: forgets,
            measures: vec![MeasureType::Int64],
            visible: false,
            evictable: forgets.is_none(),
        };
        let value = |call: &ExtremeCall| {
            let data_type = input.field(call.argument).data_type().clone();
            Arc::new(Field::new("value", data_type, true))
        };
        let emitted = table(calls.iter().map(value).collect());
        let values = calls.iter().map(|call| table(vec![value(call)]));
        std::iter::once(emitted).chain(values).collect()
    }

    /// The state tables, in the order of the schemas.
    pub(super) fn tables(&mut self) -> impl Iterator<Item = &mut StateTable> {
        self.emitted.iter_mut().chain(&mut self.values)
    }

    /// Adds the values of a batch, whose rows belong to the groups `group`. NULLs are no values.
    pub(super) fn add(&mut self, group: &[ArrayRef], batch: &ChangeBatch) -> Result<()> {
        for (call, table) in self.calls.iter().zip(&mut self.values) {
            let value = Arc::clone(batch.column(call.argument));
            let nulls = value.logical_nulls();
            let columns = [group, &[value]].concat();
            let columns = RecordBatch::try_new(Arc::clone(&table.schema().columns), columns)?;
            let mut rows = batch.with_columns(columns);
            if let Some(nulls) = nulls {
                rows = keep(rows, &BooleanArray::new(nulls.into_inner(), None))?;
            }
            let weights = Measures::weights(rows.weights_to_vec());
            table.add(rows.columns().columns(), &weights, rows.runs())?;
        }
        Ok(())
    }

    /// Reads which values the epoch changed.
    pub(super) fn begin_barrier(&mut self) -> Result<()> {
        self.changed = self
            .values
            .iter()
            .map(changed_by_key_group)
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// Forgets what [`begin_barrier`](Self::begin_barrier) read.
    pub(super) fn end_barrier(&mut self) {
        self.changed.clear();
    }

    /// For each call, the extremes of the given groups at the last barrier and now; those of groups
    /// that are not `there` any more are of no meaning. Remembers the new ones as emitted.
    pub(super) fn at_barrier(
        &mut self,
        groups: &ChangedRows,
        there: &[bool],
    ) -> Result<Vec<(ArrayRef, ArrayRef)>> {
        let Some(emitted) = &mut self.emitted else {
            return Ok(Vec::new());
        };
        let emitted_rows = EmittedRows::read(emitted, groups, self.group_columns)?;
        let index = GroupIndex::new(groups, self.group_columns)?;
        let mut same = vec![true; groups.len()];
        let mut extremes = Vec::with_capacity(self.calls.len());
        for place in 0..self.calls.len() {
            let changed: Vec<Changed> = groups
                .runs
                .iter()
                .filter_map(|run| self.changed[place].remove(&run.key_group))
                .collect();
            let changed = ChangedRows::concat(changed)?;
            let old = &emitted_rows.values[place];
            let (new, is_old) = self.new_extremes(place, groups, &index, changed, old)?;
            for (same, is_old) in same.iter_mut().zip(is_old) {
                *same &= is_old;
            }
            extremes.push((Arc::clone(old), new));
        }
        self.remember(groups, there, &emitted_rows.there, &same, &extremes)?;
        Ok(extremes)
    }

    /// The new extremes of a call, and for each group whether it is the old one.
    fn new_extremes(
        &mut self,
        place: usize,
        groups: &ChangedRows,
        index: &GroupIndex,
        changed: Option<ChangedRows>,
        old: &ArrayRef,
    ) -> Result<(ArrayRef, Vec<bool>)> {
        let wanted = self.calls[place].wanted;
        let converter = RowConverter::new(vec![SortField::new(old.data_type().clone())])?;
        let old_rows = converter.convert_columns(&[Arc::clone(old)])?;
        let mut best = vec![Best::None; groups.len()];
        let mut reread = vec![false; groups.len()];

        let mut changed_values = new_null_array(old.data_type(), 0);
        if let Some(changed) = changed {
            changed_values = Arc::clone(&changed.columns[self.group_columns]);
            let rows = converter.convert_columns(&[Arc::clone(&changed_values)])?;
            let owners = index.owners(&changed, self.group_columns)?;
            let weights = changed.new.int64(0).expect("values keep weights");
            for (row, (&owner, &weight)) in owners.iter().zip(weights).enumerate() {
                if weight > 0 {
                    offer(
                        &mut best[owner],
                        Best::Changed(row),
                        wanted,
                        &|best| match best {
                            Best::Changed(row) => Some(rows.row(row)),
                            _ => None,
                        },
                    );
                } else if old.is_valid(owner) && rows.row(row) == old_rows.row(owner) {
                    reread[owner] = true;
                }
            }
            for (owner, best) in best.iter_mut().enumerate() {
                if old.is_valid(owner) {
                    keep_old(best, &rows, &old_rows, owner, wanted);
                }
            }
        } else {
            for (owner, best) in best.iter_mut().enumerate() {
                if old.is_valid(owner) {
                    *best = Best::Old;
                }
            }
        }
        let found = self.reread(place, groups, &reread, &converter, &mut best)?;
        let is_old = (0..best.len())
            .map(|group| match best[group] {
                Best::Old => true,
                Best::None => old.is_null(group),
                Best::Changed(_) | Best::Found(_) => false,
            })
            .collect();
        Ok((pick(&best, old, &changed_values, &found)?, is_old))
    }

    /// Finds the best of all values of the groups marked in `reread`; returns the values
    /// `Best::Found` points into.
    fn reread(
        &mut self,
        place: usize,
        groups: &ChangedRows,
        reread: &[bool],
        converter: &RowConverter,
        best: &mut [Best],
    ) -> Result<ArrayRef> {
        let table = &mut self.values[place];
        let (chosen, runs) = chosen_rows(&groups.runs, reread);
        let mut found = new_null_array(
            table.schema().columns.field(self.group_columns).data_type(),
            0,
        );
        if chosen.is_empty() {
            return Ok(found);
        }
        for &group in &chosen {
            best[group as usize] = Best::None;
        }
        let key = take_rows(&groups.columns, &chosen)?;
        let matches = table.lookup(&key, &runs, NullEquality::NullEqualsNull)?;
        let measures = table.measures_of(&matches.rows);
        let weights = measures.int64(0).expect("values keep weights");
        if let Some(values) = table.gather(&matches.rows, &[self.group_columns])?.pop() {
            found = values;
        }
        let rows = converter.convert_columns(&[Arc::clone(&found)])?;
        for (row, (&probe, &weight)) in matches.probe.iter().zip(weights).enumerate() {
            if weight > 0 {
                let group = chosen[probe as usize] as usize;
                let wanted = self.calls[place].wanted;
                offer(
                    &mut best[group],
                    Best::Found(row),
                    wanted,
                    &|best| match best {
                        Best::Found(row) => Some(rows.row(row)),
                        _ => None,
                    },
                );
            }
        }
        Ok(found)
    }

    /// Replaces what is kept as emitted, for groups where it is another.
    fn remember(
        &mut self,
        groups: &ChangedRows,
        there: &[bool],
        was_there: &[bool],
        same: &[bool],
        extremes: &[(ArrayRef, ArrayRef)],
    ) -> Result<()> {
        let Some(emitted) = &mut self.emitted else {
            return Ok(());
        };
        let old: Vec<_> = extremes.iter().map(|(old, _)| Arc::clone(old)).collect();
        let new: Vec<_> = extremes.iter().map(|(_, new)| Arc::clone(new)).collect();
        for (values, of, weight) in [(old, was_there, -1), (new, there, 1)] {
            let chosen: Vec<bool> = (0..groups.len())
                .map(|group| of[group] && !(there[group] && was_there[group] && same[group]))
                .collect();
            let (rows, runs) = chosen_rows(&groups.runs, &chosen);
            if rows.is_empty() {
                continue;
            }
            let columns = take_rows(&[groups.columns.as_slice(), &values].concat(), &rows)?;
            let weights = Measures::weights(vec![weight; rows.len()]);
            emitted.add(&columns, &weights, &runs)?;
        }
        Ok(())
    }
}

/// What the last barrier emitted for some groups.
struct EmittedRows {
    /// By call, one value a group.
    values: Vec<ArrayRef>,
    /// Which groups were there.
    there: Vec<bool>,
}

impl EmittedRows {
    fn read(emitted: &mut StateTable, groups: &ChangedRows, group_columns: usize) -> Result<Self> {
        let key = &groups.columns[..group_columns];
        let matches = emitted.lookup(key, &groups.runs, NullEquality::NullEqualsNull)?;
        let columns = emitted.schema().columns.fields().len();
        let values: Vec<usize> = (group_columns..columns).collect();
        let found = emitted.gather(&matches.rows, &values)?;
        let mut place: Vec<Option<u32>> = vec![None; groups.len()];
        for (row, &probe) in (0_u32..).zip(&matches.probe) {
            place[probe as usize] = Some(row);
        }
        let there = place.iter().map(Option::is_some).collect();
        let place = UInt32Array::from(place);
        let values = found
            .iter()
            .map(|values| Ok(take(values, &place, None)?))
            .collect::<Result<_>>()?;
        Ok(Self { values, there })
    }
}

/// Finds groups of a piece by their columns.
enum GroupIndex {
    /// There are no group columns: there is one group.
    One,
    /// The groups' columns, and their order.
    Rows {
        converter: RowConverter,
        rows: Rows,
        order: Vec<usize>,
    },
}

impl GroupIndex {
    fn new(groups: &ChangedRows, group_columns: usize) -> Result<Self> {
        if group_columns == 0 {
            return Ok(Self::One);
        }
        let columns = &groups.columns[..group_columns];
        let converter = RowConverter::new(fields(columns))?;
        let rows = converter.convert_columns(columns)?;
        let mut order: Vec<usize> = (0..rows.num_rows()).collect();
        order.sort_unstable_by(|&a, &b| rows.row(a).cmp(&rows.row(b)));
        Ok(Self::Rows {
            converter,
            rows,
            order,
        })
    }

    /// For each changed value the group it belongs to. A value never changes without its group.
    fn owners(&self, changed: &ChangedRows, group_columns: usize) -> Result<Vec<usize>> {
        let Self::Rows {
            converter,
            rows,
            order,
        } = self
        else {
            return Ok(vec![0; changed.len()]);
        };
        let values = converter.convert_columns(&changed.columns[..group_columns])?;
        Ok(values
            .iter()
            .map(|value| {
                let place = order.binary_search_by(|&group| rows.row(group).cmp(&value));
                order[place.expect("a value changes together with its group")]
            })
            .collect())
    }
}

fn fields(columns: &[ArrayRef]) -> Vec<SortField> {
    let types = columns.iter().map(|column| column.data_type());
    types.cloned().map(SortField::new).collect()
}

/// Takes `candidate` if it is better than what is best so far.
fn offer<'a>(
    best: &mut Best,
    candidate: Best,
    wanted: Wanted,
    row: &dyn Fn(Best) -> Option<arrow::row::Row<'a>>,
) {
    let better = match (row(candidate), row(*best)) {
        (_, None) => true,
        (candidate, best) => match wanted {
            Wanted::Least => candidate < best,
            Wanted::Greatest => candidate > best,
        },
    };
    if better {
        *best = candidate;
    }
}

/// Goes back to the old extreme, which is still live, unless a changed value is better. Ties keep
/// the old one.
fn keep_old(best: &mut Best, changed: &Rows, old: &Rows, group: usize, wanted: Wanted) {
    let better = match *best {
        Best::Changed(row) => match wanted {
            Wanted::Least => changed.row(row) < old.row(group),
            Wanted::Greatest => changed.row(row) > old.row(group),
        },
        _ => false,
    };
    if !better {
        *best = Best::Old;
    }
}

/// The values that `best` points to, one a group.
fn pick(best: &[Best], old: &ArrayRef, changed: &ArrayRef, found: &ArrayRef) -> Result<ArrayRef> {
    if best.iter().all(|best| *best == Best::Old) {
        return Ok(Arc::clone(old));
    }
    let none = new_null_array(old.data_type(), 1);
    let places: Vec<(usize, usize)> = best
        .iter()
        .enumerate()
        .map(|(group, best)| match *best {
            Best::None => (0, 0),
            Best::Old => (1, group),
            Best::Changed(row) => (2, row),
            Best::Found(row) => (3, row),
        })
        .collect();
    let arrays: [&dyn Array; 4] = [&none, old, changed, found];
    Ok(interleave(&arrays, &places)?)
}

/// The rows for which `chosen` is true, and the runs they make.
fn chosen_rows(runs: &[Run], chosen: &[bool]) -> (Vec<u32>, Vec<Run>) {
    let mut rows = Vec::new();
    let mut made = Vec::new();
    for run in runs {
        let start = rows.len();
        rows.extend(
            run.rows
                .clone()
                .filter(|&row| chosen[row])
                .map(|row| row as u32),
        );
        if rows.len() > start {
            made.push(Run {
                key_group: run.key_group,
                rows: start..rows.len(),
            });
        }
    }
    (rows, made)
}

fn take_rows(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows.to_vec());
    columns
        .iter()
        .map(|column| Ok(take(column, &rows, None)?))
        .collect()
}
