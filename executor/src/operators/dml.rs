//! The writes of a table: `INSERT`, `UPDATE`, `DELETE` and `COPY` enter the dataflow here.
//!
//! A write is acknowledged when it is in the write-ahead log; the number of the last one that is
//! part of the state is kept with the state. After a crash the log is read again from there:
//! nothing lost, nothing doubled.

use storage::{StateTable, TableSchema};

use super::progress::Progress;
use super::watermark_filter::{Lateness, WatermarkFilter};
use crate::change::{ChangeBatch, empty_key_group};
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output, Watermarks};

/// Passes writes on and remembers the number of the last one.
///
/// Output: the table's columns.
pub struct Dml {
    key_groups: u16,
    applied: Progress,
    watermark: Option<WatermarkFilter>,
}

impl Dml {
    /// A root for the writes of a table, of which late rows are dropped if it has a watermark.
    #[must_use]
    pub fn new(key_groups: u16, applied: StateTable, watermark: Option<WatermarkFilter>) -> Self {
        Self {
            key_groups,
            applied: Progress::new(applied),
            watermark,
        }
    }

    /// The schemas of its state tables.
    #[must_use]
    pub fn table_schemas(watermark: bool) -> Vec<TableSchema> {
        let mut tables = vec![Progress::table_schema()];
        tables.extend(watermark.then(WatermarkFilter::table_schema));
        tables
    }

    /// The number of the last write that is part of the state; 0 if there was none.
    #[must_use]
    pub fn last_applied(&self) -> u64 {
        self.applied.get(&[empty_key_group(self.key_groups)])[0]
    }

    /// Remembers that the write of this number is part of the state, and gives its rows that are not
    /// too late.
    ///
    /// # Errors
    /// If state cannot be changed.
    pub fn apply(&mut self, sequence: u64, batch: ChangeBatch) -> Result<ChangeBatch> {
        let step = sequence.saturating_sub(self.last_applied());
        if step > 0 {
            let key_group = empty_key_group(self.key_groups);
            self.applied.advance(&[(key_group, step)])?;
        }
        match &mut self.watermark {
            Some(watermark) => watermark.admit(batch),
            None => Ok(batch),
        }
    }
}

impl Operator for Dml {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        out.push(batch);
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        let mut tables = vec![self.applied.table()];
        tables.extend(self.watermark.as_mut().map(WatermarkFilter::table));
        tables
    }

    fn on_barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<()> {
        match &mut self.watermark {
            Some(watermark) => watermark.end_epoch(barrier.time),
            None => Ok(()),
        }
    }

    fn watermarks(&self) -> Result<Watermarks> {
        match &self.watermark {
            Some(watermark) => watermark.watermarks(),
            None => Ok(Watermarks::default()),
        }
    }

    fn lateness(&self) -> Result<Option<Lateness>> {
        let watermark = self.watermark.as_ref();
        watermark.map(WatermarkFilter::lateness).transpose()
    }

    fn as_dml(&mut self) -> Option<&mut Dml> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use planner::dataflow::{Fragment, Node};
    use scaling::KeyGroup;
    use storage::PartitionState;

    use super::*;
    use crate::operators::testing::{context, output_to_text, schema};
    use crate::pipeline::Pipeline;

    #[test]
    fn the_last_write_is_remembered_with_the_state() {
        let columns = schema(&[("a", DataType::Int64)]);
        let root = Node::Dml {
            schema: columns.clone(),
            watermark: None,
        };
        let fragment = Fragment {
            root,
            inputs: Vec::new(),
        };
        let key_groups = || (0..4).map(KeyGroup);
        let mut table = Pipeline::build(&fragment, 1, 0, key_groups(), &context()).unwrap();
        assert_eq!(table.last_write().unwrap(), Some(0));
        let mut out = Output::new();
        for sequence in [3, 7] {
            let batch = ChangeBatch::from_text(&columns, &format!("-1 | {sequence}"));
            table.write(sequence, batch, &mut out).unwrap();
        }
        assert_eq!(output_to_text(&mut out), "-1 | 3\n-1 | 7\n");
        assert_eq!(table.last_write().unwrap(), Some(7));

        let state = table.tables()[0]
            .extract(KeyGroup(0))
            .unwrap()
            .encode()
            .unwrap();
        let mut restarted = Pipeline::build(&fragment, 1, 0, key_groups(), &context()).unwrap();
        let state = PartitionState::decode(&state).unwrap();
        restarted.tables()[0].install(KeyGroup(0), state).unwrap();
        assert_eq!(restarted.last_write().unwrap(), Some(7));
    }
}
