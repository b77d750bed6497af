//! How the columns of an altered table lie in its stored rows, and which it had before.
//!
//! ```text
//!   columns   a   c   d          CREATE TABLE t (a, b, c); ADD COLUMN d; DROP COLUMN b
//!             │    ╲   ╲
//!   stored    a  -  c   d        a place is never used again; dropped ones are NULL
//! ```
//!
//! Rows only ever get longer, so that views which read them go on as they are. A view means the
//! columns that a table had when the view was created: changes are numbered by the same counter
//! as relations, and those later than a view are undone for it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use planner::values::types::SqlType;
use serde::{Deserialize, Serialize};

use crate::catalog::Column;
use crate::error::Result;

/// The stored columns of an altered table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Types of all stored columns.
    stored: Vec<SqlType>,
    /// Where each column of the table lies, in the order of the columns.
    places: Vec<usize>,
    /// How many columns the table was created with.
    created_with: usize,
    /// Oldest first.
    changes: Vec<(u32, Change)>,
    /// A dropped column whose values are still to be set to NULL.
    pub clearing: Option<usize>,
}

/// A change of a table's columns, as it is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Added { place: usize },
    Dropped { place: usize, column: Column },
    Renamed { place: usize, from: String },
}

impl Layout {
    /// The layout of a table as it was created.
    #[must_use]
    pub fn of(columns: &[Column]) -> Layout {
        Layout {
            stored: columns.iter().map(|c| c.sql_type.clone()).collect(),
            places: (0..columns.len()).collect(),
            created_with: columns.len(),
            changes: Vec::new(),
            clearing: None,
        }
    }

    /// A column was added behind the others, by the change of this number.
    pub fn add(&mut self, number: u32, sql_type: &SqlType) {
        let place = self.stored.len();
        self.stored.push(sql_type.clone());
        self.places.push(place);
        self.changes.push((number, Change::Added { place }));
    }

    /// The column at this index was dropped, by the change of this number.
    pub fn drop_column(&mut self, number: u32, at: usize, column: Column) {
        let place = self.places.remove(at);
        self.changes
            .push((number, Change::Dropped { place, column }));
        self.clearing = Some(place);
    }

    /// The column at this index had another name, up to the change of this number.
    pub fn rename(&mut self, number: u32, at: usize, from: String) {
        let place = self.places[at];
        self.changes.push((number, Change::Renamed { place, from }));
    }

    /// The columns and their places as a view sees them whose number is `reader`.
    #[must_use]
    pub fn seen_by(&self, columns: &[Column], reader: u32) -> Vec<(usize, Column)> {
        let mut seen: Vec<(usize, Column)> = self
            .places
            .iter()
            .copied()
            .zip(columns.iter().cloned())
            .collect();
        let later = |(number, _): &&(u32, Change)| *number > reader;
        for (_, change) in self.changes.iter().rev().take_while(later) {
            match change {
                Change::Added { place } => seen.retain(|(at, _)| at != place),
                Change::Dropped { place, column } => {
                    let index = seen.partition_point(|(at, _)| at < place);
                    seen.insert(index, (*place, column.clone()));
                }
                Change::Renamed { place, from } => {
                    for (_, column) in seen.iter_mut().filter(|(at, _)| at == place) {
                        column.name.clone_from(from);
                    }
                }
            }
        }
        seen
    }

    /// How many columns are stored.
    #[must_use]
    pub fn width(&self) -> usize {
        self.stored.len()
    }

    /// Where each column lies.
    #[must_use]
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// The stored columns; their names mean nothing.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let field = |(place, stored): (usize, &SqlType)| {
            Field::new(format!("stored {place}"), stored.arrow(), true)
        };
        let fields: Vec<Field> = self.stored.iter().enumerate().map(field).collect();
        Arc::new(Schema::new(fields))
    }

    /// What the rows of a table without a primary key are hashed by.
    #[must_use]
    pub fn hashed_by(&self) -> Vec<usize> {
        (0..self.created_with).collect()
    }

    /// Rows of the table as they are stored.
    ///
    /// # Errors
    /// If the rows are not of the table's columns.
    pub fn to_stored(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let schema = self.schema();
        let mut columns: Vec<ArrayRef> = schema
            .fields()
            .iter()
            .map(|field| new_null_array(field.data_type(), rows.num_rows()))
            .collect();
        for (&place, values) in self.places.iter().zip(rows.columns()) {
            columns[place] = Arc::clone(values);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<Column> {
        let column = |name: &&str| Column::new(name, SqlType::Int4);
        names.iter().map(column).collect()
    }

    fn names(seen: &[(usize, Column)]) -> Vec<String> {
        let name = |(place, column): &(usize, Column)| format!("{place} {}", column.name);
        seen.iter().map(name).collect()
    }

    #[test]
    fn a_view_sees_the_columns_of_its_time() {
        let mut now = columns(&["a", "b", "c"]);
        let mut layout = Layout::of(&now);
        now.push(Column::new("d", SqlType::Int4));
        layout.add(10, &SqlType::Int4);
        layout.drop_column(20, 1, now.remove(1));
        layout.rename(30, 1, std::mem::replace(&mut now[1].name, "b".into()));
        assert_eq!(names(&layout.seen_by(&now, 5)), ["0 a", "1 b", "2 c"]);
        assert_eq!(
            names(&layout.seen_by(&now, 15)),
            ["0 a", "1 b", "2 c", "3 d"]
        );
        assert_eq!(names(&layout.seen_by(&now, 25)), ["0 a", "2 c", "3 d"]);
        assert_eq!(names(&layout.seen_by(&now, 35)), ["0 a", "2 b", "3 d"]);
    }

    #[test]
    fn dropped_columns_are_stored_as_null() {
        let mut now = columns(&["a", "b"]);
        let mut layout = Layout::of(&now);
        layout.drop_column(1, 0, now.remove(0));
        let values: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![7]));
        let rows = RecordBatch::try_from_iter([("b", values)]).unwrap();
        let stored = layout.to_stored(&rows).unwrap();
        assert_eq!(stored.column(0).null_count(), 1);
        assert_eq!(stored.column(1), rows.column(0));
    }
}
