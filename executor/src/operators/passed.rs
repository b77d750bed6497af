//! What a scan has passed on of a relation, as long as it has not passed on all of a key group: with it a
//! backfill goes on after a restart.
//!
//! ```text
//!   passed     rows of the pinned snapshot, and changes since then     } of key groups that
//!   left       the relation as it is in the checkpoint − passed        } are not complete
//! ```
//!
//! The pinned snapshot is lost with the process, but what is left of it follows from the two things that a
//! checkpoint has: the relation is the snapshot and the changes since, so without what has been passed on it
//! is the rows of the snapshot that have not been. Nothing is done twice or undone, so it is right for
//! operators that take nothing back, too.
//!
//! Of a key group that is complete nothing is kept. Backfills go from key group to key group, so what is
//! kept is a part of one, and the changes of those whose turn has not come.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use scaling::KeyGroup;
use storage::{
    MeasureType, Measures, PartitionState, Run, StateTable, Storage, TableId, TableSchema,
    TableSnapshot,
};

use super::progress::Progress;
use crate::change::ChangeBatch;
use crate::error::Result;

/// The rows that were passed on, with their weights added up.
pub(super) struct Passed {
    table: StateTable,
}

impl Passed {
    /// What `table` keeps, whose schema is [`Passed::table_schema`].
    pub(super) fn new(table: StateTable) -> Self {
        Self { table }
    }

    /// The schema of the state table; its id is the caller's to set.
    pub(super) fn table_schema(columns: &SchemaRef) -> TableSchema {
        TableSchema {
            id: TableId { job: 0, table: 0 },
            columns: Arc::clone(columns),
            key: (0..columns.fields().len()).collect(),
            ordered_by: None,
            measures: vec![MeasureType::Int64],
            visible: false,
            evictable: false,
        }
    }

    pub(super) fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Adds the rows of a batch in these runs of it.
    pub(super) fn add(&mut self, batch: &ChangeBatch, runs: &[Run]) -> Result<()> {
        let weights = Measures::weights(batch.weights_to_vec());
        self.table.add(batch.columns().columns(), &weights, runs)?;
        Ok(())
    }

    /// Forgets a key group.
    pub(super) fn forget(&mut self, key_group: KeyGroup) -> Result<()> {
        let rows = self.table.rows_of(key_group);
        if rows.is_empty() {
            return Ok(());
        }
        let all: Vec<usize> = (0..self.table.schema().columns.fields().len()).collect();
        let columns = self.table.gather(&rows, &all)?;
        let weights = negated(&self.table.measures_of(&rows));
        let run = Run {
            key_group,
            rows: 0..rows.len(),
        };
        self.table.add(&columns, &weights, &[run])?;
        Ok(())
    }
}

/// The opposite weights.
fn negated(weights: &Measures) -> Measures {
    let weights = weights.int64(0).expect("rows have a weight");
    Measures::weights(weights.iter().map(|weight| -weight).collect())
}

/// How far a scan has come with a key group, as its [`Progress`] has it: an even number of halves is
/// rows pushed, and an odd one says that those were all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Rows of the snapshot, in all runs of the server.
    pub(super) rows: u64,
    pub(super) is_complete: bool,
}

impl Pushed {
    /// What the number grows by with so many rows.
    pub(super) fn step(rows: u64) -> u64 {
        2 * rows
    }

    /// What it grows by when the key group is complete.
    pub(super) const COMPLETE: u64 = 1;
}

impl From<u64> for Pushed {
    fn from(number: u64) -> Pushed {
        Pushed {
            rows: number / 2,
            is_complete: number % 2 == Pushed::COMPLETE,
        }
    }
}

/// Rows that a scan has to push.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    pub(crate) snapshot: Arc<TableSnapshot>,
    /// By key group, rows that were pushed of it before the snapshot was pinned; none if empty.
    pub(crate) pushed_before: Vec<u64>,
}

impl From<Arc<TableSnapshot>> for Backlog {
    /// All rows of a relation.
    fn from(snapshot: Arc<TableSnapshot>) -> Backlog {
        Backlog {
            snapshot,
            pushed_before: Vec::new(),
        }
    }
}

/// The state tables of a scan, and the relation it reads.
#[derive(Debug, Clone)]
pub(crate) struct ScanTables {
    pub(crate) relation: u32,
    pub(crate) progress: TableSchema,
    pub(crate) passed: TableSchema,
}

impl ScanTables {
    /// What a scan has left, as of the last checkpoint. `relation` is the table of the rows that it
    /// reads.
    ///
    /// # Errors
    /// If the stored rows cannot be read.
    pub(crate) fn backlog(
        &self,
        storage: &Storage,
        relation: &TableSchema,
        key_groups: u16,
    ) -> Result<Backlog> {
        let all: Vec<KeyGroup> = (0..key_groups).map(KeyGroup).collect();
        let mut progress = StateTable::new(self.progress.clone(), all.iter().copied());
        storage.load_table(&self.progress, &mut |key_group, state| {
            progress.install(key_group, state)
        })?;
        let pushed = Progress::new(progress).get(&all);
        let pushed: Vec<Pushed> = pushed.into_iter().map(Pushed::from).collect();
        let is_open = |key_group: KeyGroup| !pushed[key_group.index()].is_complete;

        let schema = TableSchema {
            visible: true,
            ..self.passed.clone()
        };
        let width = schema.columns.fields().len();
        let mut left = StateTable::new(schema, all.iter().copied());
        let mut add = |key_group: KeyGroup, state: &PartitionState, weights: &Measures| {
            let columns: Vec<ArrayRef> = state.columns.columns()[..width].to_vec();
            let run = Run {
                key_group,
                rows: 0..state.rows(),
            };
            left.add(&columns, weights, &[run])
        };
        storage.load_table(relation, &mut |key_group, state| match is_open(key_group) {
            true => add(key_group, &state, &state.measures),
            false => Ok(()),
        })?;
        storage.load_table(&self.passed, &mut |key_group, state| {
            add(key_group, &state, &negated(&state.measures))
        })?;
        let mut partitions = vec![None; all.len()];
        for (key_group, rows) in left.commit(false)?.snapshots {
            partitions[key_group.index()] = Some(rows);
        }
        Ok(Backlog {
            snapshot: Arc::new(TableSnapshot { partitions }),
            pushed_before: pushed.iter().map(|pushed| pushed.rows).collect(),
        })
    }
}
