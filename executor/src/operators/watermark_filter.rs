//! Where a source's watermark is made: `WATERMARK FOR ts AS ts - INTERVAL '5 seconds'`.
//!
//! ```text
//!   rows ──► earlier than the watermark? ── yes ─► dropped and counted
//!                     │ no
//!                     └──► output; the watermark grows to the greatest value that a row makes
//! ```
//!
//! Lateness is decided here alone, once, in the order in which rows enter the dataflow. So it depends
//! on the input and not on epochs, parallelism or restarts, and what is derived from the rows needs
//! no rule of its own. A source that is idle leaves its watermark where it is, and so that of all that
//! is derived from it and others; unless it has a timeout, after which its watermark goes on with the
//! clock. Rows that then come may be late, as decided here.
//!
//! A row whose time is NULL is never late.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use planner::dataflow::Watermark;
use storage::{
    MeasureColumn, MeasureType, Measures, NullEquality, Run, StateTable, TableId, TableSchema,
};

use super::expression::evaluate;
use super::filter::keep;
use super::row_errors::RowErrors;
use crate::change::{ChangeBatch, empty_key_group};
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output, Watermarks};

/// Whose watermark a row is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// That of the batches before: the rows of a write have no order.
    Batches,
    /// That of the rows before: how a source's rows come in batches depends on the clock.
    Rows,
}

/// What the watermark of a source has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lateness {
    /// Name of its column.
    pub column: String,
    /// The watermark in microseconds since 1970. `None` before the first row.
    pub watermark: Option<i64>,
    /// Rows that came too late.
    pub late_rows: u64,
}

/// The state: dates in days, times in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    watermark: Option<i64>,
    late_rows: u64,
    /// Whether rows have come since the last barrier.
    busy: bool,
    /// Time of the last epoch with rows, or up to which the clock has stood in for them; 0 before.
    since: i64,
}

impl Mark {
    /// As measures; the first one says that there is a mark.
    fn to_measures(self) -> [i64; 6] {
        [
            1,
            i64::from(self.watermark.is_some()),
            self.watermark.unwrap_or(0),
            self.late_rows.cast_signed(),
            i64::from(self.busy),
            self.since,
        ]
    }

    fn of_measures([_, known, watermark, late_rows, busy, since]: [i64; 6]) -> Self {
        Self {
            watermark: (known != 0).then_some(watermark),
            late_rows: late_rows.cast_unsigned(),
            busy: busy != 0,
            since,
        }
    }
}

/// A watermark that rows make, and the rows that are too late for it.
pub struct WatermarkFilter {
    // Fixed by the plan.
    watermark: Watermark,
    column: FieldRef,
    order: Order,
    key_groups: u16,
    errors: RowErrors,
    // One row, see `Mark`.
    state: StateTable,
}

impl WatermarkFilter {
    /// The filter of a table's writes.
    #[must_use]
    pub fn of_writes(
        watermark: Watermark,
        schema: &SchemaRef,
        key_groups: u16,
        errors: RowErrors,
        state: StateTable,
    ) -> Self {
        Self {
            column: Arc::clone(&schema.fields()[watermark.column]),
            watermark,
            order: Order::Batches,
            key_groups,
            errors,
            state,
        }
    }

    /// The filter of a source's rows.
    #[must_use]
    pub fn of_rows(
        watermark: Watermark,
        schema: &SchemaRef,
        key_groups: u16,
        errors: RowErrors,
        state: StateTable,
    ) -> Self {
        Self {
            order: Order::Rows,
            ..Self::of_writes(watermark, schema, key_groups, errors, state)
        }
    }

    /// The schema of its state table.
    #[must_use]
    pub fn table_schema() -> TableSchema {
        let key_group = Field::new("key_group", DataType::Int32, true);
        TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::new(Schema::new(vec![key_group])),
            key: vec![0],
            ordered_by: None,
            measures: vec![MeasureType::Int64; 6],
            visible: false,
            evictable: false,
        }
    }

    /// Its state table.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.state
    }

    /// The rows that are not too late.
    ///
    /// # Errors
    /// If state cannot be changed.
    pub fn admit(&mut self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let before = self.mark()?;
        let times = numbers(batch.column(self.watermark.column))?;
        let made = evaluate(&self.watermark.value, batch.columns(), &self.errors)?;
        let made = numbers(&made)?;
        let mut after = Mark {
            busy: true,
            ..before
        };
        let mut in_time = Vec::with_capacity(times.len());
        for (time, made) in times.iter().zip(made.iter()) {
            let limit = match self.order {
                Order::Batches => before.watermark,
                Order::Rows => after.watermark,
            };
            let late = time.zip(limit).is_some_and(|(time, limit)| time < limit);
            after.late_rows += u64::from(late);
            after.watermark = after.watermark.max(made.filter(|_| time.is_some()));
            in_time.push(!late);
        }
        self.remember(before, after)?;
        keep(batch, &BooleanArray::from(in_time))
    }

    /// What the watermark has come to.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn lateness(&self) -> Result<Lateness> {
        let mark = self.mark()?;
        Ok(Lateness {
            column: self.column.name().clone(),
            watermark: mark
                .watermark
                .map(|value| value.saturating_mul(self.unit())),
            late_rows: mark.late_rows,
        })
    }

    /// Ends an epoch at this time. A source that has been idle for too long is taken to be as far
    /// behind as it was: its watermark goes on with the clock.
    ///
    /// # Errors
    /// If state cannot be changed.
    pub fn end_epoch(&mut self, time: i64) -> Result<()> {
        let Some(timeout) = self.watermark.idle_timeout else {
            return Ok(());
        };
        let timeout = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
        let before = self.mark()?;
        let mut after = before;
        let idle = time.saturating_sub(before.since).saturating_sub(timeout);
        if before.busy || before.since == 0 {
            after.busy = false;
            after.since = time;
        } else if idle >= self.unit() {
            let units = idle / self.unit();
            after.since += units * self.unit();
            after.watermark = Some(match before.watermark {
                Some(watermark) => watermark.saturating_add(units),
                None => (time - timeout) / self.unit(),
            });
        }
        self.remember(before, after)
    }

    /// Microseconds that one of the watermark's steps takes.
    fn unit(&self) -> i64 {
        match self.column.data_type() {
            DataType::Date32 => 86_400_000_000,
            _ => 1,
        }
    }

    fn mark(&self) -> Result<Mark> {
        Ok(self
            .measures()?
            .map_or_else(Mark::default, Mark::of_measures))
    }

    fn measures(&self) -> Result<Option<[i64; 6]>> {
        let (columns, runs) = self.row();
        let found = self
            .state
            .find(&columns, &runs, NullEquality::NullEqualsNull)?;
        if found.rows.is_empty() {
            return Ok(None);
        }
        let measures = self.state.measures_of(&found.rows);
        let value = |measure: usize| measures.int64(measure).map_or(0, |values| values[0]);
        Ok(Some(std::array::from_fn(value)))
    }

    fn remember(&mut self, before: Mark, after: Mark) -> Result<()> {
        if before == after {
            return Ok(());
        }
        let old = self.measures()?.unwrap_or_default();
        let new = after.to_measures();
        let deltas = new.iter().zip(old).map(|(new, old)| new.wrapping_sub(old));
        let deltas = deltas.map(|delta| MeasureColumn::Int64(vec![delta]));
        let (columns, runs) = self.row();
        let deltas = Measures(deltas.collect());
        self.state.add(&columns, &deltas, &runs)?;
        Ok(())
    }

    /// Where the state is.
    fn row(&self) -> ([ArrayRef; 1], [Run; 1]) {
        let key_group = empty_key_group(self.key_groups);
        let column = Int32Array::from(vec![i32::from(key_group.0)]);
        let run = Run {
            key_group,
            rows: 0..1,
        };
        ([Arc::new(column)], [run])
    }
}

impl Operator for WatermarkFilter {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        out.push(self.admit(batch)?);
        Ok(())
    }

    fn on_barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<()> {
        self.end_epoch(barrier.time)
    }

    fn watermarks(&self) -> Result<Watermarks> {
        let mut watermarks = Watermarks::default();
        if let Some(value) = self.mark()?.watermark {
            watermarks.set(self.watermark.column, value);
        }
        Ok(watermarks)
    }

    fn lateness(&self) -> Result<Option<Lateness>> {
        WatermarkFilter::lateness(self).map(Some)
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.state]
    }
}

/// Numbers in the order of a column: of dates the days, of times the microseconds, of lists the
/// least of their elements.
pub(crate) fn numbers(column: &ArrayRef) -> Result<Int64Array> {
    if let Some(lists) = column.as_list_opt::<i32>() {
        let least = lists.iter().map(|elements| match elements {
            Some(elements) => Ok(arrow::compute::min(&numbers(&elements)?)),
            None => Ok(None),
        });
        return least.collect::<Result<_>>();
    }
    let numbers = cast(column, &DataType::Int64)?;
    Ok(numbers.as_primitive::<Int64Type>().clone())
}

#[cfg(test)]
mod tests {
    use planner::dataflow::{Fragment, Node};
    use scaling::KeyGroup;
    use storage::PartitionState;

    use super::*;
    use crate::operator::Barrier;
    use crate::operators::testing::{context, expression, output_to_text, two_columns};
    use crate::pipeline::Pipeline;

    fn watermark() -> Watermark {
        Watermark {
            column: 1,
            value: expression(&two_columns(), "b - 5"),
            idle_timeout: None,
        }
    }

    fn table() -> Pipeline {
        table_of(watermark())
    }

    fn table_of(watermark: Watermark) -> Pipeline {
        let fragment = Fragment {
            root: Node::Dml {
                schema: two_columns(),
                watermark: Some(watermark),
            },
            inputs: Vec::new(),
        };
        Pipeline::build(&fragment, 1, 0, (0..4).map(KeyGroup), &context()).unwrap()
    }

    fn watermark_of(table: &mut Pipeline) -> Option<i64> {
        watermark_at(table, 0)
    }

    fn watermark_at(table: &mut Pipeline, time: i64) -> Option<i64> {
        let barrier = Barrier {
            epoch: scaling::Epoch(1),
            durable: true,
            time,
        };
        let watermarks = table.on_barrier(&barrier, &[], &mut Output::new());
        watermarks.unwrap().get(1)
    }

    #[test]
    fn late_rows_of_a_table_are_dropped_and_counted_also_after_a_restart() {
        let columns = two_columns();
        let mut first = table();
        let mut out = Output::new();
        assert_eq!(watermark_of(&mut first), None);
        let write = |text| ChangeBatch::from_text(&columns, text);
        // The rows of a write are not late for each other.
        first
            .write(1, write("+1 | 1 | 20\n+1 | 2 | -3"), &mut out)
            .unwrap();
        assert_eq!(output_to_text(&mut out), "+1 | 1 | 20\n+1 | 2 | -3\n");
        assert_eq!(watermark_of(&mut first), Some(15));
        first
            .write(
                2,
                write("+1 | 3 | 14\n+1 | 4 | 15\n+1 | 5 | NULL"),
                &mut out,
            )
            .unwrap();
        assert_eq!(output_to_text(&mut out), "+1 | 4 | 15\n+1 | 5 | NULL\n");

        let mut restarted = table();
        for (old, new) in first.tables().into_iter().zip(restarted.tables()) {
            let state = old.extract(KeyGroup(0)).unwrap().encode().unwrap();
            let _ = new.extract(KeyGroup(0));
            new.install(KeyGroup(0), PartitionState::decode(&state).unwrap())
                .unwrap();
        }
        restarted.write(3, write("+1 | 6 | 0"), &mut out).unwrap();
        assert!(out.is_empty());
        let lateness = Lateness {
            column: "b".to_owned(),
            watermark: Some(15),
            late_rows: 2,
        };
        assert_eq!(restarted.lateness().unwrap(), [lateness]);
    }

    #[test]
    fn the_watermark_of_an_idle_source_goes_on_with_the_clock() {
        let columns = two_columns();
        let mut table = table_of(Watermark {
            idle_timeout: Some(std::time::Duration::from_micros(10)),
            ..watermark()
        });
        let mut out = Output::new();
        let write = |text| ChangeBatch::from_text(&columns, text);
        assert_eq!(watermark_at(&mut table, 1000), None);
        assert_eq!(watermark_at(&mut table, 1010), None);
        assert_eq!(
            watermark_at(&mut table, 1013),
            Some(1003),
            "it never had rows"
        );
        table.write(1, write("+1 | 1 | 2005"), &mut out).unwrap();
        assert_eq!(watermark_at(&mut table, 1100), Some(2000));
        assert_eq!(watermark_at(&mut table, 1110), Some(2000));
        assert_eq!(watermark_at(&mut table, 1111), Some(2001));
        assert_eq!(watermark_at(&mut table, 1150), Some(2040));
        out.drain().for_each(drop);
        table
            .write(2, write("+1 | 2 | 2039\n+1 | 3 | 2040"), &mut out)
            .unwrap();
        assert_eq!(output_to_text(&mut out), "+1 | 3 | 2040\n");
        assert_eq!(watermark_at(&mut table, 1200), Some(2040), "it is back");
        assert_eq!(watermark_at(&mut table, 1211), Some(2041));
    }

    #[test]
    fn how_rows_of_a_source_come_in_batches_makes_no_difference() {
        let columns = two_columns();
        let rows = [
            "+1 | 1 | 20",
            "+1 | 2 | 14",
            "+1 | 3 | 15",
            "+1 | 4 | 30",
            "+1 | 5 | 24",
        ];
        let run = |pieces: &[&[&str]]| {
            let state = StateTable::new(WatermarkFilter::table_schema(), [KeyGroup(0)]);
            let errors = RowErrors::new();
            let mut filter = WatermarkFilter::of_rows(watermark(), &columns, 4, errors, state);
            let mut out = Output::new();
            for piece in pieces {
                let batch = ChangeBatch::from_text(&columns, &piece.join("\n"));
                filter.on_batch(0, batch, &mut out).unwrap();
            }
            output_to_text(&mut out)
        };
        let expected = "+1 | 1 | 20\n+1 | 3 | 15\n+1 | 4 | 30\n";
        assert_eq!(run(&[&rows]), expected);
        assert_eq!(run(&[&rows[..1], &rows[1..3], &rows[3..]]), expected);
    }
}
