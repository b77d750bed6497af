//! Rows known when the plan was made, inserted once in the life of the job.

use arrow::array::RecordBatch;
use storage::{StateTable, TableSchema};

use super::progress::Progress;
use crate::change::{ChangeBatch, empty_key_group};
use crate::error::Result;
use crate::operator::{Operator, Output};

/// Emits its rows when first polled; the state table remembers that it did.
///
/// Output: the batch's schema, in one batch of one run.
pub struct Values {
    batch: RecordBatch,
    key_groups: u16,
    emitted: Progress,
}

impl Values {
    /// A root that inserts `batch`.
    #[must_use]
    pub fn new(batch: RecordBatch, key_groups: u16, emitted: StateTable) -> Self {
        Self {
            batch,
            key_groups,
            emitted: Progress::new(emitted),
        }
    }

    /// The schemas of its state tables.
    #[must_use]
    pub fn table_schemas() -> Vec<TableSchema> {
        vec![Progress::table_schema()]
    }
}

impl Operator for Values {
    fn on_batch(&mut self, _input: usize, _batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        unreachable!("values have no input");
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.emitted.table()]
    }

    fn poll(&mut self, out: &mut Output) -> Result<bool> {
        if !self.is_pending() {
            return Ok(false);
        }
        out.push(ChangeBatch::unkeyed(self.batch.clone(), None));
        let key_group = empty_key_group(self.key_groups);
        self.emitted.advance(&[(key_group, 1)])?;
        Ok(true)
    }

    /// A view over constants is complete once they are in it.
    fn backfill_remaining(&self) -> u64 {
        if self.is_pending() {
            self.batch.num_rows() as u64
        } else {
            0
        }
    }
}

impl Values {
    fn is_pending(&self) -> bool {
        let key_group = empty_key_group(self.key_groups);
        self.emitted.owns(key_group) && self.emitted.get(&[key_group])[0] == 0
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use planner::dataflow::{Fragment, Node};
    use scaling::KeyGroup;

    use super::*;
    use crate::operators::testing::{context, output_to_text, schema};
    use crate::pipeline::Pipeline;

    #[test]
    fn emits_once_even_after_a_restart() {
        let columns = schema(&[("a", DataType::Int64)]);
        let rows = ChangeBatch::from_text(&columns, "+1 | 1\n+1 | NULL");
        let root = Node::Values {
            batch: rows.columns().clone(),
        };
        let fragment = Fragment {
            root,
            inputs: Vec::new(),
        };
        let key_groups = || (0..4).map(KeyGroup);
        let mut values = Pipeline::build(&fragment, 1, 0, key_groups(), &context()).unwrap();
        let mut out = Output::new();
        assert!(values.poll(&mut out).unwrap());
        assert_eq!(output_to_text(&mut out), "+1 | 1\n+1 | NULL\n");
        assert!(!values.poll(&mut out).unwrap());

        let state = values.tables()[0].extract(KeyGroup(0)).unwrap();
        assert!(
            !values.poll(&mut out).unwrap(),
            "without its state it stays silent"
        );
        let mut restarted = Pipeline::build(&fragment, 1, 0, key_groups(), &context()).unwrap();
        restarted.tables()[0].install(KeyGroup(0), state).unwrap();
        assert!(!restarted.poll(&mut out).unwrap());
        assert!(out.is_empty());
    }
}
