//! What a state table is made of: its id, its columns, its look-up key, its measures; and runs,
//! the unit in which rows reach it.

use std::fmt;
use std::ops::Range;

use arrow::datatypes::SchemaRef;
use scaling::KeyGroup;

use crate::measures::MeasureType;

/// One state table of one job. In stored keys: six bytes, big-endian, the job first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId {
    /// The job (table, view or source) that the state table belongs to. `u32::MAX` is not used.
    pub job: u32,
    /// Number of the state table within its job.
    pub table: u16,
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state table {}.{}", self.job, self.table)
    }
}

/// The shape of a state table, fixed when its job is created.
#[derive(Debug, Clone)]
pub struct TableSchema {
    /// Which table.
    pub id: TableId,
    /// The columns. Together they are a row's identity; there may be none (one global group).
    pub columns: SchemaRef,
    /// Columns that [`StateTable::lookup`](crate::StateTable::lookup) finds rows by, as indexes
    /// into `columns`. All columns if rows are found by identity only; empty if a look-up
    /// finds every row of its key group.
    pub key: Vec<usize>,
    /// A column of numbers, dates or times that
    /// [`StateTable::below`](crate::StateTable::below) finds rows by in its order.
    pub ordered_by: Option<usize>,
    /// Type of each measure, at least one. The first says whether a row is there for a look-up.
    pub measures: Vec<MeasureType>,
    /// Whether a commit publishes snapshots for readers. Then the first measure is the weight.
    pub visible: bool,
    /// Whether rows that are not used may be on disk alone, where they are then found by the hash of
    /// their key. Not for visible and ordered tables, whose rows are looked for in other ways, too.
    pub evictable: bool,
}

impl TableSchema {
    /// Whether the look-up key is the whole row, so that the identity index serves look-ups.
    pub(crate) fn key_is_identity(&self) -> bool {
        let mut key = self.key.clone();
        key.sort_unstable();
        key.dedup();
        key.len() == self.columns.fields().len()
    }
}

/// Neighbouring rows of a batch that belong to one key group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    /// The key group of all rows in the range.
    pub key_group: KeyGroup,
    /// Row indexes in the batch.
    pub rows: Range<usize>,
}
