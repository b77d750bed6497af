//! The schema of a table, with what its partitions derive from it.

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use scaling::KeyGroup;

use crate::error::{Error, Result};
use crate::gather::Gather;
use crate::measures::Measures;
use crate::schema::TableSchema;

/// What a table knows about itself, once for all its partitions.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) schema: TableSchema,
    pub(crate) key_is_identity: bool,
    pub(crate) all_columns: Vec<usize>,
    /// Whether a measure is set to zero when its row goes.
    pub(super) resets: bool,
}

impl Shape {
    pub(crate) fn new(schema: TableSchema) -> Self {
        Self {
            key_is_identity: schema.key_is_identity(),
            all_columns: (0..schema.columns.fields().len()).collect(),
            resets: schema.measures.iter().any(|measure| measure.is_reset()),
            schema,
        }
    }

    /// Measures of rows that are not there.
    pub(super) fn zeros(&self, rows: usize) -> Measures {
        Measures::zeros(&self.schema.measures, rows)
    }

    /// The columns of gathered rows.
    pub(super) fn columns(&self, gather: &Gather<'_>) -> Result<Vec<ArrayRef>> {
        gather.columns(&self.schema.columns, &self.all_columns)
    }

    /// The values that rows of a batch for the table are ordered by; `None` if they are not.
    pub(crate) fn order_keys(&self, columns: &[ArrayRef]) -> Result<Option<Int64Array>> {
        match self.schema.ordered_by {
            Some(column) => order_keys(&columns[column]).map(Some),
            None => Ok(None),
        }
    }

    /// All columns, paired with those of a batch for the table.
    pub(super) fn identity(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.all_columns.len()).map(|column| (column, column))
    }

    /// Look-up columns as they stand in the rows of a batch for the table.
    pub(super) fn key(&self) -> impl Iterator<Item = (usize, usize)> {
        self.schema.key.iter().map(|&column| (column, column))
    }

    /// Look-up columns as they stand in a batch that has nothing but them.
    pub(super) fn probe_key(&self) -> impl Iterator<Item = (usize, usize)> {
        self.schema
            .key
            .iter()
            .enumerate()
            .map(|(theirs, &ours)| (ours, theirs))
    }

    /// The error for a state that cannot be that of the key group.
    pub(super) fn corrupt(&self, key_group: KeyGroup, detail: &str) -> Error {
        Error::Corrupt {
            place: format!("key group {key_group} of {}", self.schema.id),
            detail: detail.to_owned(),
        }
    }
}

/// Numbers in the order of a column: of dates the days, of times the microseconds.
///
/// # Errors
/// If the values are no numbers, dates or times.
fn order_keys(column: &ArrayRef) -> Result<Int64Array> {
    let numbers = cast(column, &DataType::Int64)?;
    Ok(numbers.as_primitive::<Int64Type>().clone())
}
