//! A way to rows by the values of some columns.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use storage::{KeyOrder, PartitionSnapshot, TableSnapshot};

/// Rows of a relation that are found by the hash of some of its columns.
#[derive(Debug, Clone)]
pub struct AccessPath {
    /// The index, as `EXPLAIN` names it.
    pub name: String,
    /// The columns that rows are hashed by, as columns of the relation, in this order.
    pub key: Vec<usize>,
    /// Whether each key is that of one row, and without NULL.
    pub unique: bool,
    /// Where each column of the relation lies in these rows; `None`: they do not have it.
    pub places: Vec<Option<usize>>,
    /// The rows.
    pub rows: Arc<TableSnapshot>,
}

impl AccessPath {
    /// Whether it has these columns of the relation; `None`: all.
    #[must_use]
    pub fn covers(&self, columns: Option<&Vec<usize>>) -> bool {
        match columns {
            Some(columns) => columns.iter().all(|&column| self.places[column].is_some()),
            None => self.places.iter().all(Option::is_some),
        }
    }

    /// The key group where rows with these values of columns are, each an array of one; `None` if
    /// there are no such rows.
    ///
    /// # Panics
    /// If a column of the key has no value.
    #[must_use]
    pub(crate) fn partition_of(&self, values: &[(usize, ArrayRef)]) -> Option<&PartitionSnapshot> {
        let value = |column: &usize| {
            let given = values.iter().find(|(at, _)| at == column);
            Arc::clone(&given.expect("the whole key is given").1)
        };
        let cells: Vec<ArrayRef> = self.key.iter().map(value).collect();
        let hash = storage::hash_rows(&cells)[0];
        let key_groups = u16::try_from(self.rows.partitions.len()).ok()?;
        let group = storage::key_group(hash, key_groups);
        self.rows.partitions[usize::from(group.0)].as_ref()
    }

    /// The order of its rows by the key; `None` if it has no rows, or its key has a type whose order is
    /// not that of its columns.
    #[must_use]
    pub fn order(&self) -> Option<KeyOrder> {
        let stored = self.rows.partitions.iter().flatten().next()?.schema();
        let places: Option<Vec<usize>> = self.key.iter().map(|&at| self.places[at]).collect();
        let places = places?;
        let is_ordered = |&at: &usize| is_ordered(stored.field(at).data_type());
        places.iter().all(is_ordered).then_some(())?;
        KeyOrder::new(&stored, &places).ok()
    }
}

/// Types whose columns are in the order of their values.
fn is_ordered(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Utf8
            | DataType::Binary
            | DataType::FixedSizeBinary(_)
            | DataType::Date32
            | DataType::Time64(_)
            | DataType::Timestamp(..)
    )
}
