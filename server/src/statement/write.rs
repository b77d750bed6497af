//! What all statements that write share: locks, keys, NOT NULL, block or no block.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;

use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::key_set::KeyChange;
use crate::session::Session;
use crate::session::transaction::{self, Write};
use crate::table_locks::{Guard, Mode};
use crate::wire::encode::RowEncoder;
use crate::wire::frame::Format;

impl Session {
    /// Waits for a table; nothing if the open block holds it already. A statement that waited while
    /// the columns changed was planned for other rows than the table has then.
    pub(crate) async fn lock_table(&mut self, entry: &Entry, mode: Mode) -> Result<Option<Guard>> {
        let guard = self.wait_for_table(entry.id, mode).await?;
        let catalog = self.shared.catalog.read();
        match catalog.by_id(entry.id) {
            Some(now) if now.columns != entry.columns => Err(Error::TableAltered {
                name: entry.name.clone(),
            }),
            _ => Ok(guard),
        }
    }

    async fn wait_for_table(&mut self, table: u32, mode: Mode) -> Result<Option<Guard>> {
        match (self.transaction.held(table), mode) {
            (Some(Mode::Exclusive), _) | (Some(Mode::Shared), Mode::Shared) => return Ok(None),
            // Two that share a table and wait for it to be theirs alone would wait for ever. What
            // the block has added is claimed and not yet visible: nobody else can change it.
            (Some(Mode::Shared), Mode::Exclusive) => self.transaction.unlock(table),
            (None, _) => {}
        }
        let timeout = self.settings().lock_timeout();
        let wait = self
            .shared
            .locks
            .lock(table, mode, timeout, self.transaction.holds_any());
        self.interrupt.guard(wait).await.map(Some)
    }

    /// Keeps the primary keys in step; the new ones must be free.
    pub(crate) fn replace_keys(
        &self,
        entry: &Entry,
        old: Option<&RecordBatch>,
        new: Option<&RecordBatch>,
    ) -> Result<Option<KeyChange>> {
        let Some(set) = self.shared.keys.get(entry.id) else {
            return Ok(None);
        };
        let replaced = set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(old, new)?;
        replaced
            .map(Some)
            .map_err(|row| self.duplicate_key(entry, new, row))
    }

    fn duplicate_key(&self, entry: &Entry, new: Option<&RecordBatch>, row: usize) -> Error {
        let names: Vec<&str> = entry
            .primary_key
            .iter()
            .map(|&c| entry.columns[c].name.as_str())
            .collect();
        let texts = new.map(|new| self.row_texts(new, row)).unwrap_or_default();
        let values: Vec<&str> = entry
            .primary_key
            .iter()
            .filter_map(|&c| texts.get(c).map(String::as_str))
            .collect();
        Error::DuplicateKey {
            constraint: entry.primary_key_name(),
            detail: format!(
                "Key ({})=({}) already exists.",
                names.join(", "),
                values.join(", ")
            ),
        }
    }

    pub(crate) fn check_not_null(&self, entry: &Entry, rows: &RecordBatch) -> Result<()> {
        for (column, values) in entry.columns.iter().zip(rows.columns()) {
            if column.not_null && values.null_count() > 0 {
                let row = (0..values.len())
                    .find(|&row| values.is_null(row))
                    .unwrap_or(0);
                return Err(Error::NotNull {
                    column: column.name.clone(),
                    relation: entry.name.clone(),
                    detail: format!(
                        "Failing row contains ({}).",
                        self.row_texts(rows, row).join(", ")
                    ),
                });
            }
        }
        Ok(())
    }

    /// A row as messages show it.
    pub(crate) fn row_texts(&self, rows: &RecordBatch, row: usize) -> Vec<String> {
        let formats = vec![Format::Text; rows.num_columns()];
        let one = rows.slice(row, 1);
        match RowEncoder::new(&one, &formats, self.style()) {
            Ok(encoder) => (0..rows.num_columns())
                .map(|column| encoder.text(column, 0).unwrap_or_else(|| "null".to_owned()))
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    /// Replaces rows. Inside a block the change waits for COMMIT; outside it is written now.
    pub(crate) async fn keep_or_write(
        &mut self,
        table: u32,
        old: &RecordBatch,
        new: &RecordBatch,
        keys: Option<KeyChange>,
        guard: Option<Guard>,
    ) -> Result<()> {
        // Most writes only add rows or only take them away: they are not copied.
        let rows = match (old.num_rows(), new.num_rows()) {
            (0, _) => new.clone(),
            (_, 0) => old.clone(),
            _ => concat_batches(&new.schema(), [old, new])?,
        };
        let write = Write {
            table,
            rows,
            weights: [vec![-1; old.num_rows()], vec![1; new.num_rows()]].concat(),
        };
        if let Some((write, keys, guard)) = self.transaction.keep(write, keys, guard) {
            let written = self.write_all(vec![write]).await;
            let keys = keys.map(|keys| (table, keys)).into_iter().collect();
            self.release_keys(&written, keys);
            drop(guard);
            written?;
        }
        Ok(())
    }

    /// Of a write that has found no space, keys are as before. On other errors the rows may have
    /// been written: the keys stay as claimed.
    pub(crate) fn release_keys(&self, written: &Result<()>, keys: Vec<(u32, KeyChange)>) {
        if matches!(written, Err(error) if wrote_nothing(error)) {
            transaction::undo(&self.shared.keys, keys);
        }
    }

    /// Rows of a table as they are stored.
    fn as_stored(&self, table: u32, rows: RecordBatch) -> Result<RecordBatch> {
        let catalog = self.shared.catalog.read();
        let Some(entry) = catalog.by_id(table) else {
            return Ok(rows);
        };
        match &entry.layout {
            Some(layout) => layout.to_stored(&rows),
            None => Ok(rows),
        }
    }

    /// Writes changes durably, all or none and in one epoch; they are on their way to the views
    /// when it returns. Never stopped half-way by a cancel request.
    pub(crate) async fn write_all(&mut self, writes: Vec<Write>) -> Result<()> {
        let mut changes = BTreeMap::new();
        for write in transaction::by_table(writes)? {
            if !write.weights.is_empty() {
                let rows = self.as_stored(write.table, write.rows)?;
                changes.insert(write.table, (rows, write.weights));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let had_unseen_writes = std::mem::replace(&mut self.has_unseen_writes, true);
        let written = self.shared.engine.write_all(changes).await;
        let written = written.map_err(|error| match error {
            executor::Error::UnknownJob { job } => Error::UndefinedRelation {
                name: format!("with OID {job}"),
            },
            other => Error::Executor(other),
        });
        if matches!(&written, Err(error) if wrote_nothing(error)) {
            self.has_unseen_writes = had_unseen_writes;
        }
        written
    }
}

/// Whether a write that failed with this error has surely not happened.
fn wrote_nothing(error: &Error) -> bool {
    fn found_no_space(error: &executor::Error) -> bool {
        match error {
            executor::Error::Storage(error) => matches!(error, storage::Error::DiskFull { .. }),
            executor::Error::Write { cause } => found_no_space(cause),
            _ => false,
        }
    }
    matches!(error, Error::Executor(error) if found_no_space(error))
}
