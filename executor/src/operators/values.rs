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
        let key_group = empty_key_group(self.key_groups);
        if !self.emitted.owns(key_group) || self.emitted.get(&[key_group])[0] > 0 {
            return Ok(false);
        }
        out.push(ChangeBatch::unkeyed(self.batch.clone(), None));
        self.emitted.advance(&[(key_group, 1)])?;
        Ok(true)
    }
}
