//! What one sink has to deliver, and how a table takes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use storage::{DatabaseSnapshot, TableSnapshot};

use crate::catalog::{Entry, Kind};
use crate::error::{Error, Result};
use crate::server::Shared;
use crate::sink::Sink;
use crate::table_locks::Mode;

/// Rows that differ, each distinct one once, with what its weight differs by.
type Changes = Vec<(RecordBatch, Vec<i64>)>;

/// The delivery of one sink.
pub(super) struct Delivery {
    id: u32,
    /// The rows that the table has been brought to; `None`: what was noted as delivered says.
    known: Option<Arc<TableSnapshot>>,
}

/// What a table is changed by.
struct Taken {
    rows: RecordBatch,
    weights: Vec<i64>,
    keys: Option<crate::key_set::KeyChange>,
}

impl Delivery {
    pub(super) fn new(id: u32) -> Delivery {
        Delivery { id, known: None }
    }

    /// Delivers what an epoch has brought; whether there was something.
    ///
    /// # Errors
    /// If it cannot be written now. What came of that is looked up the next time.
    pub(super) async fn deliver(
        &mut self,
        shared: &Shared,
        snapshot: &DatabaseSnapshot,
    ) -> Result<bool> {
        let noted;
        let snapshot = match &self.known {
            Some(_) => snapshot,
            None => {
                // What was noted is acknowledged before it is visible.
                shared.engine.flush().await?;
                noted = shared.engine.snapshot();
                &noted
            }
        };
        let catalog = shared.catalog.read();
        let Some(entry) = catalog.by_id(self.id) else {
            return Ok(false);
        };
        let Kind::Sink(sink) = &entry.kind else {
            return Ok(false);
        };
        if snapshot.stale.contains_key(&self.id) {
            return Ok(false); // Its rows are those of before it failed.
        }
        let Some(rows) = snapshot.tables.get(&self.id) else {
            return Ok(false);
        };
        let changes = match &self.known {
            Some(known) if Arc::ptr_eq(known, rows) => return Ok(false),
            Some(known) => rows.changes_since(known)?,
            None => match snapshot.tables.get(&sink.delivered) {
                Some(delivered) => difference(&entry.schema(), rows, delivered)?,
                None => return Ok(false),
            },
        };
        // Until it is written nobody knows whether it was.
        self.known = None;
        let wrote = !changes.is_empty();
        if wrote {
            let (rows, weights) = as_one(&entry.schema(), changes)?;
            write(shared, sink, rows, weights).await?;
        }
        self.known = Some(Arc::clone(rows));
        Ok(wrote)
    }
}

/// What turns the rows that were delivered into these.
fn difference(
    schema: &SchemaRef,
    rows: &TableSnapshot,
    delivered: &TableSnapshot,
) -> Result<Changes> {
    let mut sums: HashMap<OwnedRow, i64> = HashMap::new();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let converter = converter(schema, &all)?;
    for (table, sign) in [(rows, 1), (delivered, -1)] {
        for partition in table.partitions.iter().flatten() {
            for (batch, weights) in partition.batches_with_weights(None)? {
                let encoded = converter.convert_columns(batch.columns())?;
                for (row, weight) in encoded.iter().zip(weights) {
                    *sums.entry(row.owned()).or_default() += sign * weight;
                }
            }
        }
    }
    sums.retain(|_, weight| *weight != 0);
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    let columns = converter.convert_rows(sums.keys().map(OwnedRow::row))?;
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)?;
    Ok(vec![(batch, sums.into_values().collect())])
}

fn as_one(schema: &SchemaRef, changes: Changes) -> Result<(RecordBatch, Vec<i64>)> {
    let batches = changes.iter().map(|(rows, _)| rows.columns().to_vec());
    let batches: Vec<RecordBatch> = batches
        .map(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
        .collect::<std::result::Result<_, _>>()?;
    let rows = concat_batches(schema, &batches)?;
    let weights = changes.into_iter().flat_map(|(_, weights)| weights);
    Ok((rows, weights.collect()))
}

/// Writes changes to the table, and that they were delivered.
async fn write(shared: &Shared, sink: &Sink, rows: RecordBatch, weights: Vec<i64>) -> Result<()> {
    let guard = shared
        .locks
        .lock(sink.table, Mode::Exclusive, None, false)
        .await?;
    // What others have written is acknowledged before it is visible.
    shared.engine.flush().await?;
    let catalog = shared.catalog.read();
    let table = catalog
        .by_id(sink.table)
        .ok_or_else(|| Error::UndefinedRelation {
            name: format!("with OID {}", sink.table),
        })?;
    let taken = match table.primary_key.is_empty() {
        true => added(table, &rows, &weights)?,
        false => by_key(shared, table, sink, &rows, &weights)?,
    };
    let mut changes = BTreeMap::new();
    if !taken.weights.is_empty() {
        let stored = match &table.layout {
            Some(layout) => layout.to_stored(&taken.rows)?,
            None => taken.rows,
        };
        changes.insert(sink.table, (stored, taken.weights));
    }
    changes.insert(sink.delivered, (rows, weights));
    let written = shared.engine.write_all(changes).await;
    if written.is_err()
        && let (Some(set), Some(keys)) = (shared.keys.get(sink.table), taken.keys)
    {
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        set.undo(keys);
    }
    drop(guard);
    Ok(written?)
}

/// Rows that come, each as often as its weight says; those that go stay.
fn added(table: &Entry, rows: &RecordBatch, weights: &[i64]) -> Result<Taken> {
    let coming: Vec<u32> = (0u32..)
        .zip(weights)
        .filter(|(_, weight)| **weight > 0)
        .map(|(row, _)| row)
        .collect();
    Ok(Taken {
        weights: weights.iter().copied().filter(|w| *w > 0).collect(),
        rows: chosen(table, rows, coming)?,
        keys: None,
    })
}

/// The rows of the table whose keys changed, and those that take their place.
fn by_key(
    shared: &Shared,
    table: &Entry,
    sink: &Sink,
    rows: &RecordBatch,
    weights: &[i64],
) -> Result<Taken> {
    let converter = converter(&table.schema(), &table.primary_key)?;
    let key_columns = |rows: &RecordBatch| -> Vec<ArrayRef> {
        let columns = table.primary_key.iter().map(|&at| rows.column(at));
        columns.cloned().collect()
    };
    let columns = key_columns(rows);
    let keys = converter.convert_columns(&columns)?;
    let mut coming: HashMap<OwnedRow, u32> = HashMap::new();
    let mut changed: HashSet<OwnedRow> = HashSet::new();
    for ((row, key), weight) in (0u32..).zip(keys.iter()).zip(weights) {
        if *weight > 0 {
            coming.insert(key.owned(), row);
        }
        if *weight > 0 || !sink.only_adds {
            changed.insert(key.owned());
        }
    }
    let mut old = Vec::new();
    let snapshot = shared.engine.snapshot();
    if let Some(stored) = snapshot.tables.get(&table.id) {
        let key_groups = u16::try_from(stored.partitions.len()).unwrap_or(u16::MAX);
        let hashes = storage::hash_rows(&columns).into_iter();
        let groups: HashSet<u16> = hashes
            .map(|hash| storage::key_group(hash, key_groups).0)
            .collect();
        for group in groups {
            let Some(partition) = &stored.partitions[usize::from(group)] else {
                continue;
            };
            for batch in partition.batches(table.places())? {
                let keys = converter.convert_columns(&key_columns(&batch))?;
                let found = (0u32..).zip(keys.iter());
                let found = found.filter(|(_, key)| changed.contains(&key.owned()));
                let found: Vec<u32> = found.map(|(row, _)| row).collect();
                if !found.is_empty() {
                    old.push(chosen(table, &batch, found)?);
                }
            }
        }
    }
    let mut coming: Vec<u32> = coming.into_values().collect();
    coming.sort_unstable();
    let schema = table.schema();
    let old = concat_batches(&schema, &old)?;
    let new = chosen(table, rows, coming)?;
    let mut change = None;
    if let Some(set) = shared.keys.get(table.id) {
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = set.replace(Some(&old), Some(&new))?;
        let taken =
            |_| Error::Internal("a key is claimed by nobody who holds the table".to_owned());
        change = Some(replaced.map_err(taken)?);
    }
    Ok(Taken {
        weights: [vec![-1; old.num_rows()], vec![1; new.num_rows()]].concat(),
        rows: concat_batches(&schema, [&old, &new])?,
        keys: change,
    })
}

/// Some rows, with the table's names of the columns.
fn chosen(table: &Entry, rows: &RecordBatch, chosen: Vec<u32>) -> Result<RecordBatch> {
    let rows = take_record_batch(rows, &UInt32Array::from(chosen))?;
    Ok(RecordBatch::try_new(
        table.schema(),
        rows.columns().to_vec(),
    )?)
}

fn converter(schema: &Schema, columns: &[usize]) -> Result<RowConverter> {
    let field = |at: &usize| SortField::new(schema.field(*at).data_type().clone());
    Ok(RowConverter::new(columns.iter().map(field).collect())?)
}
