//! The transaction block of a session.
//!
//! Outside a block each statement stands for itself. Inside one, the changes of INSERT, UPDATE and
//! DELETE are computed at once and kept here; COMMIT writes them all as one, ROLLBACK drops them.
//! So other sessions, and views, never see half of what a block does. The block itself sees its
//! changes of tables. What it cannot do is refused (0A000): to read a materialized view of a table
//! that it has changed, and DDL after changes. Settings changed in a block go back with it. Reads
//! see the last epoch, or all of them one epoch, by the block's modes (`statement/transaction_mode.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use pgwire::messages::response::TransactionStatus;
use storage::DatabaseSnapshot;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::key_set::{KeyChange, KeySets};
use crate::settings::Settings;
use crate::table_locks::{Guard, Mode};

/// Rows of one table with their weights.
#[derive(Debug, Clone)]
pub struct Write {
    /// The table.
    pub table: u32,
    /// Rows of the table's columns.
    pub rows: RecordBatch,
    /// One weight a row.
    pub weights: Vec<i64>,
}

/// Where a block may go back to.
#[derive(Debug)]
struct Savepoint {
    name: String,
    writes: usize,
    key_changes: usize,
    settings: Settings,
}

/// Catalog and rows of one moment.
pub type Moment = (Arc<Catalog>, Arc<DatabaseSnapshot>);

/// An open block.
#[derive(Debug)]
struct Block {
    failed: bool,
    settings: Settings,
    /// What all its statements read, if that is one epoch.
    moment: Option<Moment>,
    writes: Vec<Write>,
    key_changes: Vec<(u32, KeyChange)>,
    guards: BTreeMap<u32, Guard>,
    savepoints: Vec<Savepoint>,
}

/// A session's transaction state.
#[derive(Debug, Default)]
pub struct Transaction {
    block: Option<Block>,
}

impl Transaction {
    /// For ReadyForQuery.
    #[must_use]
    pub fn status(&self) -> TransactionStatus {
        match &self.block {
            None => TransactionStatus::Idle,
            Some(block) if block.failed => TransactionStatus::Error,
            Some(_) => TransactionStatus::Transaction,
        }
    }

    /// Whether a block is open, failed or not.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.block.is_some()
    }

    /// Whether a statement failed in the open block.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.failed)
    }

    /// Opens a block.
    pub fn begin(&mut self, settings: Settings) {
        self.block = Some(Block {
            failed: false,
            settings,
            moment: None,
            writes: Vec::new(),
            key_changes: Vec::new(),
            guards: BTreeMap::new(),
            savepoints: Vec::new(),
        });
    }

    /// What the block's statements read, if one has fixed it.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        self.block.as_ref()?.moment.clone()
    }

    /// Lets all later statements of the block read this moment.
    pub fn fix_moment(&mut self, moment: &Moment) {
        if let Some(block) = &mut self.block {
            block.moment = Some(moment.clone());
        }
    }

    /// Whether the block has read its one epoch, or changed something.
    #[must_use]
    pub fn has_begun_work(&self) -> bool {
        self.has_writes() || self.moment().is_some()
    }

    /// Whether the block has changes that are not written yet.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        self.block
            .as_ref()
            .is_some_and(|block| !block.writes.is_empty())
    }

    /// The changes that the block has made, in their order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.block.iter().flat_map(|block| &block.writes)
    }

    /// How the block holds this table's lock, if it does.
    #[must_use]
    pub fn held(&self, table: u32) -> Option<Mode> {
        Some(self.block.as_ref()?.guards.get(&table)?.mode())
    }

    /// Gives a table's lock back before the block ends.
    pub fn unlock(&mut self, table: u32) {
        if let Some(block) = &mut self.block {
            block.guards.remove(&table);
        }
    }

    /// Keeps a table's lock until the block ends; outside of one it is let go of.
    pub fn hold(&mut self, table: u32, guard: Option<Guard>) {
        if let (Some(block), Some(guard)) = (&mut self.block, guard) {
            block.guards.insert(table, guard);
        }
    }

    /// Whether the block holds any lock.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.block
            .as_ref()
            .is_some_and(|block| !block.guards.is_empty())
    }

    /// Keeps changes until COMMIT. Outside a block they are given back, to be written now.
    pub fn keep(
        &mut self,
        write: Write,
        keys: Option<KeyChange>,
        guard: Option<Guard>,
    ) -> Option<(Write, Option<KeyChange>, Option<Guard>)> {
        let Some(block) = &mut self.block else {
            return Some((write, keys, guard));
        };
        if let Some(guard) = guard {
            block.guards.insert(write.table, guard);
        }
        if let Some(keys) = keys {
            block.key_changes.push((write.table, keys));
        }
        if !write.weights.is_empty() {
            block.writes.push(write);
        }
        None
    }

    /// Marks the block failed. Without a savepoint to go back to, its changes are dropped at once,
    /// so that others may go on.
    pub fn fail(&mut self, keys: &KeySets) {
        if let Some(block) = &mut self.block {
            block.failed = true;
            if block.savepoints.is_empty() {
                undo(keys, std::mem::take(&mut block.key_changes));
                block.writes.clear();
                block.guards.clear();
            }
        }
    }

    /// Ends the block and gives what is to be written, with the locks that protect it, and the
    /// changes of keys, in case writing fails.
    #[must_use]
    pub fn commit(&mut self) -> (Vec<Write>, Vec<(u32, KeyChange)>, Vec<Guard>) {
        match self.block.take() {
            Some(block) => (
                block.writes,
                block.key_changes,
                block.guards.into_values().collect(),
            ),
            None => (Vec::new(), Vec::new(), Vec::new()),
        }
    }

    /// Ends the block without a trace; gives the settings to go back to.
    pub fn roll_back(&mut self, keys: &KeySets) -> Option<Settings> {
        let block = self.block.take()?;
        undo(keys, block.key_changes);
        Some(block.settings)
    }

    /// Marks a place to go back to.
    ///
    /// # Errors
    /// [`Error::NoTransaction`].
    pub fn savepoint(&mut self, name: String, settings: Settings) -> Result<()> {
        let block = self.block.as_mut().ok_or(Error::NoTransaction {
            statement: "SAVEPOINT",
        })?;
        let (writes, key_changes) = (block.writes.len(), block.key_changes.len());
        block.savepoints.push(Savepoint {
            name,
            writes,
            key_changes,
            settings,
        });
        Ok(())
    }

    /// Forgets a place, and those after it.
    ///
    /// # Errors
    /// [`Error::NoTransaction`], [`Error::UndefinedSavepoint`].
    pub fn release(&mut self, name: &str) -> Result<()> {
        let block = self.block.as_mut().ok_or(Error::NoTransaction {
            statement: "RELEASE SAVEPOINT",
        })?;
        let at = find(block, name)?;
        block.savepoints.truncate(at);
        Ok(())
    }

    /// Goes back to a place; gives its settings.
    ///
    /// # Errors
    /// [`Error::NoTransaction`], [`Error::UndefinedSavepoint`].
    pub fn roll_back_to(&mut self, name: &str, keys: &KeySets) -> Result<Settings> {
        let block = self.block.as_mut().ok_or(Error::NoTransaction {
            statement: "ROLLBACK TO SAVEPOINT",
        })?;
        let at = find(block, name)?;
        let savepoint = &block.savepoints[at];
        let (writes, key_changes, settings) = (
            savepoint.writes,
            savepoint.key_changes,
            savepoint.settings.clone(),
        );
        block.savepoints.truncate(at + 1);
        block.writes.truncate(writes);
        if block.key_changes.len() > key_changes {
            undo(keys, block.key_changes.split_off(key_changes));
        }
        block.failed = false;
        Ok(settings)
    }
}

fn find(block: &Block, name: &str) -> Result<usize> {
    let at = block
        .savepoints
        .iter()
        .rposition(|savepoint| savepoint.name == name);
    at.ok_or_else(|| Error::UndefinedSavepoint {
        name: name.to_owned(),
    })
}

/// The changes of each table as one write.
///
/// # Errors
/// If a table's rows are more than one batch can hold.
pub fn by_table(writes: Vec<Write>) -> Result<Vec<Write>> {
    let mut tables: BTreeMap<u32, Vec<Write>> = BTreeMap::new();
    for write in writes {
        tables.entry(write.table).or_default().push(write);
    }
    let joined = tables.into_iter().map(|(table, mut writes)| {
        if writes.len() == 1
            && let Some(only) = writes.pop()
        {
            return Ok(only);
        }
        let batches = writes.iter().map(|write| &write.rows);
        Ok(Write {
            table,
            rows: concat_batches(&writes[0].rows.schema(), batches)?,
            weights: writes.iter().flat_map(|w| &w.weights).copied().collect(),
        })
    });
    joined.collect()
}

/// Takes back changes of keys, last first.
pub fn undo(keys: &KeySets, changes: Vec<(u32, KeyChange)>) {
    for (table, change) in changes.into_iter().rev() {
        if let Some(set) = keys.get(table) {
            set.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .undo(change);
        }
    }
}
