//! Which primary keys exist: one in-memory set per table, rebuilt at start.
//!
//! A key is claimed before its row is written, so that two sessions cannot both insert it. The
//! set knows claims of open transactions too: a second insert of the same key fails at once
//! instead of waiting for the first transaction to end, as PostgreSQL would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashSet;

use crate::error::Result;

type Key = Box<[u8]>;

/// What one statement changed in a key set, so that it can be taken back.
#[derive(Debug, Default)]
pub struct KeyChange {
    added: Vec<Key>,
    removed: Vec<Key>,
}

/// The keys of one table.
#[derive(Debug)]
pub struct KeySet {
    columns: Vec<usize>,
    converter: RowConverter,
    keys: HashSet<Key>,
}

impl KeySet {
    /// An empty set for keys in `columns` of `schema`'s rows.
    ///
    /// # Errors
    /// If a column's type has no row encoding.
    pub fn new(schema: &arrow::datatypes::Schema, columns: &[usize]) -> Result<KeySet> {
        let fields = columns
            .iter()
            .map(|&c| SortField::new(schema.field(c).data_type().clone()))
            .collect();
        Ok(KeySet {
            columns: columns.to_vec(),
            converter: RowConverter::new(fields)?,
            keys: HashSet::new(),
        })
    }

    /// The key's columns lie elsewhere in the rows from now on.
    pub fn move_columns(&mut self, columns: &[usize]) {
        self.columns = columns.to_vec();
    }

    /// Adds the keys of rows that exist.
    ///
    /// # Errors
    /// If the columns cannot be encoded.
    pub fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = self.keys_of(rows)?;
        self.keys.extend(keys);
        Ok(())
    }

    /// Replaces the keys of `old` rows by those of `new` rows. The inner error is the first row
    /// of `new` whose key exists; nothing is changed then.
    ///
    /// # Errors
    /// If the columns cannot be encoded.
    pub fn replace(
        &mut self,
        old: Option<&RecordBatch>,
        new: Option<&RecordBatch>,
    ) -> Result<std::result::Result<KeyChange, usize>> {
        let mut change = KeyChange::default();
        if let Some(old) = old {
            for key in self.keys_of(old)? {
                if self.keys.remove(&key) {
                    change.removed.push(key);
                }
            }
        }
        let Some(new) = new else {
            return Ok(Ok(change));
        };
        for (row, key) in self.keys_of(new)?.into_iter().enumerate() {
            if !self.keys.insert(key.clone()) {
                self.undo(change);
                return Ok(Err(row));
            }
            change.added.push(key);
        }
        Ok(Ok(change))
    }

    /// Takes a change back.
    pub fn undo(&mut self, change: KeyChange) {
        change.added.iter().for_each(|key| {
            self.keys.remove(key);
        });
        self.keys.extend(change.removed);
    }

    fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<Key>> {
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|&c| Arc::clone(rows.column(c)))
            .collect();
        let encoded = self.converter.convert_columns(&columns)?;
        Ok(encoded.iter().map(|row| row.as_ref().into()).collect())
    }
}

/// The key sets of all tables that have a primary key.
#[derive(Debug, Default)]
pub struct KeySets {
    tables: Mutex<BTreeMap<u32, Arc<Mutex<KeySet>>>>,
}

impl KeySets {
    /// The set of a table, if it has one.
    #[must_use]
    pub fn get(&self, table: u32) -> Option<Arc<Mutex<KeySet>>> {
        self.lock().get(&table).cloned()
    }

    /// Adds a table's set.
    pub fn insert(&self, table: u32, keys: KeySet) {
        self.lock().insert(table, Arc::new(Mutex::new(keys)));
    }

    /// Forgets a table.
    pub fn remove(&self, table: u32) {
        self.lock().remove(&table);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Mutex<KeySet>>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(keys: &[(i32, &str)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let a = Int32Array::from_iter_values(keys.iter().map(|k| k.0));
        let b = StringArray::from_iter_values(keys.iter().map(|k| k.1));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(a), Arc::new(b)]).unwrap()
    }

    #[test]
    fn a_key_is_claimed_once() {
        let mut set = KeySet::new(&rows(&[]).schema(), &[0]).unwrap();
        set.load(&rows(&[(1, "x")])).unwrap();
        assert_eq!(
            set.replace(None, Some(&rows(&[(2, ""), (1, "")])))
                .unwrap()
                .unwrap_err(),
            1
        );
        assert_eq!(
            set.replace(None, Some(&rows(&[(3, ""), (3, "")])))
                .unwrap()
                .unwrap_err(),
            1
        );
        let change = set.replace(None, Some(&rows(&[(2, "")]))).unwrap().unwrap();
        set.undo(change);
        assert!(set.replace(None, Some(&rows(&[(2, "")]))).unwrap().is_ok());
    }

    #[test]
    fn an_update_may_swap_keys() {
        let mut set = KeySet::new(&rows(&[]).schema(), &[0]).unwrap();
        set.load(&rows(&[(1, ""), (2, "")])).unwrap();
        let swapped = set
            .replace(
                Some(&rows(&[(1, ""), (2, "")])),
                Some(&rows(&[(2, ""), (1, "")])),
            )
            .unwrap();
        assert!(swapped.is_ok());
        let taken = set
            .replace(Some(&rows(&[(1, "")])), Some(&rows(&[(2, "")])))
            .unwrap();
        assert_eq!(taken.unwrap_err(), 0);
        assert!(
            set.replace(None, Some(&rows(&[(1, "")]))).unwrap().is_err(),
            "the old key is back"
        );
    }
}
