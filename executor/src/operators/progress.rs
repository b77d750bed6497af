//! How far something has come, as a number in a state table: a backfill's rows, a source's offset,
//! a write's number.
//!
//! One row a key group, whose one measure is the number. So it is checkpointed with the rows it
//! speaks of, and moves with its key group.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use arrow::datatypes::{DataType, Field, Schema};
use scaling::{KeyGroup, KeyGroupSet};
use storage::{MeasureType, Measures, NullEquality, Run, StateTable, TableId, TableSchema};

use crate::error::Result;

/// Numbers that only grow, one a key group; 0 where none was set.
pub struct Progress {
    table: StateTable,
}

impl Progress {
    /// The progress that `table` keeps, whose schema is [`Progress::table_schema`].
    #[must_use]
    pub fn new(table: StateTable) -> Self {
        Self { table }
    }

    /// The schema of the state table; its id is the caller's to set.
    #[must_use]
    pub fn table_schema() -> TableSchema {
        let key_group = Field::new("key_group", DataType::Int32, true);
        TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::new(Schema::new(vec![key_group])),
            key: vec![0],
            ordered_by: None,
            measures: vec![MeasureType::Int64],
            visible: false,
            evictable: false,
        }
    }

    /// The state table.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// The key groups whose numbers are kept here.
    #[must_use]
    pub fn owned(&self) -> KeyGroupSet {
        self.table.owned()
    }

    /// Whether the number of `key_group` is kept here.
    #[must_use]
    pub fn owns(&self, key_group: KeyGroup) -> bool {
        self.table.owned().contains(key_group)
    }

    /// The numbers of some key groups, in their order.
    ///
    /// # Panics
    /// If a key group is not owned.
    #[must_use]
    pub fn get(&self, key_groups: &[KeyGroup]) -> Vec<u64> {
        const SHAPE: &str = "the table has the schema of progress and owns the key groups";
        let mut numbers = vec![0; key_groups.len()];
        let (columns, runs) = rows_of(key_groups);
        let matches = self
            .table
            .find(&columns, &runs, NullEquality::NullEqualsNothing)
            .expect(SHAPE);
        let measures = self.table.measures_of(&matches.rows);
        let found = measures.int64(0).expect(SHAPE);
        for (&probe, &number) in matches.probe.iter().zip(found) {
            numbers[probe as usize] = number as u64;
        }
        numbers
    }

    /// Adds to the numbers of some key groups.
    ///
    /// # Errors
    /// If a key group is not owned.
    pub fn advance(&mut self, steps: &[(KeyGroup, u64)]) -> Result<()> {
        let key_groups: Vec<KeyGroup> = steps.iter().map(|&(key_group, _)| key_group).collect();
        let deltas = steps.iter().map(|&(_, step)| step as i64).collect();
        let (columns, runs) = rows_of(&key_groups);
        self.table
            .add(&columns, &Measures::weights(deltas), &runs)?;
        Ok(())
    }
}

/// One row a key group, in its key group.
fn rows_of(key_groups: &[KeyGroup]) -> ([ArrayRef; 1], Vec<Run>) {
    let column: Int32Array = key_groups
        .iter()
        .map(|key_group| Some(i32::from(key_group.0)))
        .collect();
    let runs = key_groups
        .iter()
        .enumerate()
        .map(|(row, &key_group)| Run {
            key_group,
            rows: row..row + 1,
        })
        .collect();
    ([Arc::new(column) as ArrayRef], runs)
}
