//! `ALTER TABLE`: columns are added, dropped and renamed, their defaults and NOT NULL change.
//!
//! The table is nobody else's meanwhile; views go on. A new column is added to all rows at one
//! barrier. A dropped one leaves the catalog first, then its values are set to NULL as an `UPDATE`
//! would: what a crash leaves of that is done at the next start.
//! Not here: where columns lie in stored rows (`layout.rs`), `RENAME TO` (`rename.rs`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{concat_batches, filter, filter_record_batch, is_not_null};
use executor::Engine;
use planner::names::identifier;
use planner::types::declared_type;
use planner::{RelationId, TableDefinition};
use sqlparser::ast;
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, DropBehavior, Expr, Ident,
};
use storage::{Storage, crash_point};

use crate::big_stack;
use crate::catalog::{Column, Entry, Kind, SharedCatalog, numbered_change, update_change};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::notice::Notice;
use crate::pg_catalog::relations::quoted;
use crate::server::table_dataflow;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::create_table::check_width;
use crate::statement::ddl::stored_query;
use crate::statement::insert::default_expr;
use crate::table_locks::Mode;

/// Functions that have another value for each row.
const VOLATILE: [&str; 5] = [
    "random",
    "nextval",
    "gen_random_uuid",
    "clock_timestamp",
    "timeofday",
];

impl Session {
    pub(crate) async fn alter_table(&mut self, alter: &AlterTable) -> Result<Outcome> {
        let [operation] = &alter.operations[..] else {
            return Err(Error::unsupported(
                "several changes in one ALTER TABLE are not supported",
                "Use a statement for each.",
            ));
        };
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let name = self.local_name(&alter.name)?;
        let found = self.shared.catalog.read().by_name(&name).cloned();
        let entry = match found {
            Some(entry) if entry.kind == Kind::Table => entry,
            Some(_) => {
                return Err(Error::WrongKind {
                    name: name.to_string(),
                    expected: "table",
                    hint: Some("Only tables have columns that can be altered.".to_owned()),
                });
            }
            None if alter.if_exists => {
                self.client.notice(&Notice::DoesNotExist {
                    kind: "relation",
                    name: name.to_string(),
                });
                return Outcome::done("ALTER TABLE");
            }
            None => {
                return Err(Error::UndefinedRelation {
                    name: name.to_string(),
                });
            }
        };
        self.check_owner(&entry)?;
        self.check_sinks(&entry, operation)?;
        let of_rows = !matches!(operation, AlterTableOperation::AlterColumn { .. });
        if of_rows && entry.watermark.is_some() {
            return Err(Error::unsupported(
                "columns of a table with a watermark cannot be altered",
                "Create another table and copy the rows.",
            ));
        }
        let _alone = self.lock_table(&entry, Mode::Exclusive).await?;
        self.has_unseen_writes = true;
        self.see_own_writes().await?;
        match operation {
            AlterTableOperation::AddColumn {
                if_not_exists,
                column_def,
                ..
            } => self.add_column(&entry, column_def, *if_not_exists).await?,
            AlterTableOperation::DropColumn {
                column_names,
                if_exists,
                drop_behavior,
                ..
            } => {
                let cascade = *drop_behavior == Some(DropBehavior::Cascade);
                for name in column_names {
                    let name = identifier(name);
                    self.drop_column(&entry, &name, *if_exists, cascade).await?;
                }
            }
            AlterTableOperation::RenameColumn {
                old_column_name,
                new_column_name,
            } => {
                self.rename_column(&entry, old_column_name, new_column_name)
                    .await?;
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(&entry, column_name, op).await?;
            }
            other => {
                return Err(Error::not_supported(format!(
                    "ALTER TABLE {other} is not supported"
                )));
            }
        }
        Outcome::done("ALTER TABLE")
    }

    async fn add_column(
        &mut self,
        entry: &Entry,
        written: &ColumnDef,
        if_not_exists: bool,
    ) -> Result<()> {
        let mut written = written.clone();
        written.data_type = self.resolved_type(&written.data_type)?;
        let definition = TableDefinition::added_column(&written)?;
        if entry.column(&definition.name).is_some() {
            let exists = Error::ColumnExists {
                column: definition.name,
                relation: entry.name.clone(),
            };
            if !if_not_exists {
                return Err(exists);
            }
            let text = format!("{exists}, skipping");
            self.client.notice(&Notice::Progress(text));
            return Ok(());
        }
        check_width(entry.columns.len() + 1)?;
        if let Some(default) = &definition.default {
            refuse_volatile(default)?;
        }
        let mut altered = altered(entry);
        altered.columns.push(Column {
            not_null: definition.not_null,
            default: definition.default.as_ref().map(ToString::to_string),
            ..Column::new(
                &definition.name,
                declared_type(&written.data_type, &definition.data_type),
            )
        });
        let altered = Arc::new(altered);
        let value = self.defaults(&altered, entry.columns.len(), 1).await?;
        if definition.not_null && value.is_null(0) && self.stored_rows(entry.id) > 0 {
            return Err(Error::ContainsNulls {
                column: definition.name,
                relation: entry.name.clone(),
            });
        }
        let mut altered = Arc::unwrap_or_clone(altered);
        let number = self.shared.catalog.take_id();
        let sql_type = altered.columns[entry.columns.len()].sql_type.clone();
        layout(&mut altered).add(number, &sql_type);
        altered.statement = create_statement(&altered);
        let change = numbered_change(&altered, number)?;
        let engine = self.shared.engine.clone();
        let (id, dataflow) = (entry.id, table_dataflow(&altered)?);
        let shared = Arc::clone(&self.shared);
        // Carried to its end even if the client goes away.
        let widened = tokio::spawn(async move {
            let widened = engine.widen_table(id, dataflow, vec![value], change).await;
            widened.inspect(|()| shared.catalog.put(altered))
        });
        let widened = widened.await;
        widened.map_err(|error| Error::Internal(error.to_string()))??;
        Ok(())
    }

    pub(super) async fn drop_column(
        &mut self,
        entry: &Entry,
        name: &str,
        if_exists: bool,
        cascade: bool,
    ) -> Result<()> {
        let Some(at) = entry.column(name) else {
            let missing = undefined(entry, name);
            if !if_exists {
                return Err(missing);
            }
            let text = format!("{missing}, skipping");
            self.client.notice(&Notice::Progress(text));
            return Ok(());
        };
        if entry.primary_key.contains(&at) {
            return Err(Error::unsupported(
                format!("dropping column \"{name}\" of the primary key is not supported"),
                "Create another table and copy the rows.",
            ));
        }
        if entry.columns.len() == 1 {
            return Err(Error::unsupported(
                "a table without columns is not supported",
                "Drop the table.",
            ));
        }
        refuse_used_in_generated(entry, at)?;
        let catalog = self.shared.catalog.read();
        let place = entry.places().map_or(at, |places| places[at]);
        let readers = self.readers_of_column(entry, place).await?;
        if !readers.is_empty() {
            if !cascade {
                let line = |reader: &Arc<Entry>| {
                    let (kind, view) = (reader.kind_name(), &reader.name);
                    format!(
                        "{kind} {view} depends on column {name} of table {}",
                        entry.name
                    )
                };
                return Err(Error::DependsOnColumn {
                    column: name.to_owned(),
                    relation: entry.name.clone(),
                    detail: readers.iter().map(line).collect::<Vec<_>>().join("\n"),
                });
            }
            let mut ids: BTreeSet<u32> = readers.iter().map(|reader| reader.id).collect();
            ids.extend(catalog.dependents(&ids).iter().map(|entry| entry.id));
            self.notice_cascade(ids.iter().filter_map(|id| catalog.by_id(*id)).cloned());
            self.drop_entries(&catalog, ids).await?;
        }
        let by_column = |index: &&Arc<Entry>| match &index.kind {
            Kind::Index(index) => index.places.contains(&place),
            _ => false,
        };
        let indexes = catalog.indexes_of(entry.id).filter(by_column);
        let indexes: BTreeSet<u32> = indexes.map(|index| index.id).collect();
        if !indexes.is_empty() {
            self.drop_entries(&catalog, indexes).await?;
        }
        let mut altered = altered(entry);
        let number = self.shared.catalog.take_id();
        let column = altered.columns.remove(at);
        let layout = layout(&mut altered);
        layout.drop_column(number, at, column);
        if entry.append_only {
            // Its rows are never looked for by content.
            layout.clearing = None;
        }
        for key in [&mut altered.primary_key, &mut altered.unique_key] {
            key.iter_mut()
                .filter(|key| **key > at)
                .for_each(|key| *key -= 1);
        }
        altered.statement = create_statement(&altered);
        let mut change = numbered_change(&altered, number)?;
        let (moved, dropped) = sequences_after_drop(&catalog, entry.id, at);
        for sequence in &moved {
            change.puts.extend(update_change(sequence)?.puts);
        }
        let gone = crate::catalog::delete_change(&dropped);
        change.deletes.extend(gone.deletes);
        self.write_catalog(change).await?;
        self.shared.catalog.put(altered.clone());
        moved.into_iter().for_each(|s| self.shared.catalog.put(s));
        self.shared.catalog.remove(&dropped);
        if let Some(keys) = self.shared.keys.get(entry.id) {
            let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.move_columns(&altered.primary_key);
        }
        if altered
            .layout
            .as_ref()
            .is_some_and(|l| l.clearing.is_some())
        {
            let (engine, storage) = (self.shared.engine.clone(), Arc::clone(&self.shared.storage));
            let cleared = finish_drop(altered, &engine, &storage).await?;
            self.shared.catalog.put(cleared);
        }
        Ok(())
    }

    /// A sink gives the rows that the table had when it was made.
    fn check_sinks(&self, entry: &Entry, operation: &AlterTableOperation) -> Result<()> {
        let changes_rows = match operation {
            AlterTableOperation::AlterColumn { op, .. } => {
                matches!(op, AlterColumnOperation::SetNotNull)
            }
            AlterTableOperation::RenameColumn { .. } => false,
            _ => true,
        };
        let catalog = self.shared.catalog.read();
        let into = |sink: &&Arc<Entry>| match &sink.kind {
            Kind::Sink(into) => into.table == entry.id,
            _ => false,
        };
        let mut sinks = catalog.entries();
        match sinks.find(into).filter(|_| changes_rows) {
            None => Ok(()),
            Some(sink) => Err(Error::unsupported(
                format!(
                    "altering table \"{}\" while sink {} writes to it is not supported",
                    entry.name, sink.name
                ),
                "Drop the sink, alter the table, and create the sink again.",
            )),
        }
    }

    async fn rename_column(&mut self, entry: &Entry, old: &Ident, new: &Ident) -> Result<()> {
        let (old, new) = (identifier(old), identifier(new));
        let at = entry.column(&old).ok_or_else(|| undefined(entry, &old))?;
        if entry.column(&new).is_some() {
            return Err(Error::ColumnExists {
                column: new,
                relation: entry.name.clone(),
            });
        }
        refuse_used_in_generated(entry, at)?;
        let mut altered = altered(entry);
        let number = self.shared.catalog.take_id();
        layout(&mut altered).rename(number, at, old);
        altered.columns[at].name = new;
        self.put_altered(altered, Some(number)).await
    }

    async fn alter_column(
        &mut self,
        entry: &Entry,
        name: &Ident,
        change: &AlterColumnOperation,
    ) -> Result<()> {
        let name = identifier(name);
        let at = entry.column(&name).ok_or_else(|| undefined(entry, &name))?;
        let mut altered = altered(entry);
        let column = &mut altered.columns[at];
        match change {
            AlterColumnOperation::SetNotNull => {
                column.not_null = true;
                if self.has_null(entry, at)? {
                    return Err(Error::ContainsNulls {
                        column: name,
                        relation: entry.name.clone(),
                    });
                }
            }
            AlterColumnOperation::DropNotNull => {
                if entry.primary_key.contains(&at) {
                    return Err(Error::InvalidDefinition {
                        message: format!("column \"{name}\" is in a primary key"),
                    });
                }
                column.not_null = false;
            }
            AlterColumnOperation::SetDefault { .. } | AlterColumnOperation::DropDefault
                if column.identity.is_some() || column.generated.is_some() =>
            {
                let kind = match column.identity {
                    Some(_) => "an identity column",
                    None => "a generated column",
                };
                return Err(Error::Syntax {
                    message: format!("column \"{name}\" of relation \"{}\" is {kind}", entry.name),
                });
            }
            AlterColumnOperation::SetDefault { value } => {
                column.default = Some(value.to_string());
                self.defaults(&Arc::new(altered.clone()), at, 0).await?;
            }
            AlterColumnOperation::DropDefault => column.default = None,
            other => {
                return Err(Error::not_supported(format!(
                    "ALTER COLUMN {other} is not supported"
                )));
            }
        }
        self.put_altered(altered, None).await
    }

    async fn put_altered(&mut self, mut altered: Entry, number: Option<u32>) -> Result<()> {
        altered.statement = create_statement(&altered);
        let change = match number {
            Some(number) => numbered_change(&altered, number)?,
            None => update_change(&altered)?,
        };
        self.write_catalog(change).await?;
        self.shared.catalog.put(altered);
        Ok(())
    }

    fn stored_rows(&self, table: u32) -> u64 {
        let snapshot = self.shared.engine.snapshot();
        snapshot.tables.get(&table).map_or(0, |rows| rows.rows())
    }

    fn has_null(&self, entry: &Entry, at: usize) -> Result<bool> {
        let snapshot = self.shared.engine.snapshot();
        let Some(rows) = snapshot.tables.get(&entry.id) else {
            return Ok(false);
        };
        let place = entry.places().map_or(at, |places| places[at]);
        let batches = rows.batches(Some(&[place]))?;
        Ok(batches.iter().any(|batch| batch.column(0).null_count() > 0))
    }

    /// Views whose queries read this stored column of a table.
    async fn readers_of_column(&mut self, entry: &Entry, place: usize) -> Result<Vec<Arc<Entry>>> {
        let catalog = self.shared.catalog.read();
        let mut readers = Vec::new();
        for reader in catalog.dependents(&BTreeSet::from([entry.id])) {
            // An index has the stored rows, whatever they mean.
            let is_index = matches!(reader.kind, Kind::Index(_));
            if is_index || !reader.dependencies.contains(&entry.id) {
                continue;
            }
            let reads = match stored_query(&reader) {
                Ok(stored) => {
                    let query = stored.query;
                    let view = CatalogView::new(Arc::clone(&catalog), None, self.system_context());
                    let session = self.planner_over(view.read_by(&reader));
                    let read = move |_: &_| Ok(planner::columns_read(&session, &query)?);
                    big_stack::run(read).await.ok()
                }
                Err(_) => None,
            };
            let table = RelationId(entry.id);
            // What cannot be planned here may read it.
            if reads.is_none_or(|read| read.get(&table).is_some_and(|r| r.contains(&place))) {
                readers.push(reader);
            }
        }
        Ok(readers)
    }
}

/// The entry to be changed, with a layout.
fn altered(entry: &Entry) -> Entry {
    let mut altered = entry.clone();
    layout(&mut altered);
    altered
}

fn layout(entry: &mut Entry) -> &mut Layout {
    let columns = &entry.columns;
    entry.layout.get_or_insert_with(|| Layout::of(columns))
}

fn undefined(entry: &Entry, name: &str) -> Error {
    Error::UndefinedColumn {
        column: name.to_owned(),
        relation: entry.name.clone(),
    }
}

fn refuse_volatile(default: &Expr) -> Result<()> {
    let found = ast::visit_expressions(default, |part| match part {
        Expr::Function(function)
            if VOLATILE.contains(&&*function.name.to_string().to_lowercase()) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::unsupported(
            "adding a column with a default that differs from row to row is not supported",
            "Add the column, then set its default, then UPDATE the rows.",
        )),
    }
}

/// Generated columns are kept as text that names what they are computed from.
fn refuse_used_in_generated(entry: &Entry, at: usize) -> Result<()> {
    let name = &entry.columns[at].name;
    for column in &entry.columns {
        let Some(text) = &column.generated else {
            continue;
        };
        let uses = ast::visit_expressions(&default_expr(text)?, |part| match part {
            Expr::Identifier(ident) if identifier(ident) == *name => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        if uses.is_break() {
            return Err(Error::DependsOnColumn {
                column: name.clone(),
                relation: entry.name.clone(),
                detail: format!(
                    "column {} of table {} depends on column {name} of table {}",
                    column.name, entry.name, entry.name
                ),
            });
        }
    }
    Ok(())
}

/// The sequences of a table's columns without the one at `at`: those of columns behind it, and the
/// ids of its own.
fn sequences_after_drop(
    catalog: &crate::catalog::Catalog,
    table: u32,
    at: usize,
) -> (Vec<Entry>, BTreeSet<u32>) {
    let (mut moved, mut dropped) = (Vec::new(), BTreeSet::new());
    for id in catalog.owned_sequences(&BTreeSet::from([table])) {
        let Some(mut entry) = catalog.by_id(id).map(|entry| Entry::clone(entry)) else {
            continue;
        };
        let Kind::Sequence(sequence) = &mut entry.kind else {
            continue;
        };
        match &mut sequence.owner {
            Some((_, column)) if *column == at => drop(dropped.insert(id)),
            Some((_, column)) if *column > at => {
                *column -= 1;
                moved.push(entry);
            }
            _ => {}
        }
    }
    (moved, dropped)
}

/// A CREATE TABLE that makes a table of these columns.
fn create_statement(entry: &Entry) -> String {
    let mut parts: Vec<String> = entry.columns.iter().map(column_clause).collect();
    if !entry.primary_key.is_empty() {
        let key = entry.primary_key.iter();
        let names: Vec<String> = key.map(|&at| quoted(&entry.columns[at].name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    let end = if entry.append_only {
        " APPEND ONLY"
    } else {
        ""
    };
    format!(
        "CREATE TABLE {} ({}){end}",
        quoted(&entry.name),
        parts.join(", ")
    )
}

fn column_clause(column: &Column) -> String {
    let mut clause = format!("{} {}", quoted(&column.name), column.sql_type);
    if let Some(expression) = &column.generated {
        clause.push_str(&format!(" GENERATED ALWAYS AS ({expression}) STORED"));
    } else if let Some(default) = &column.default {
        clause.push_str(&format!(" DEFAULT {default}"));
    }
    if column.not_null {
        clause.push_str(" NOT NULL");
    }
    clause
}

/// Finishes what a crash left of dropped columns.
///
/// # Errors
/// If the rows or the catalog cannot be written.
pub async fn finish_drops(
    catalog: &SharedCatalog,
    engine: &Engine,
    storage: &Arc<Storage>,
) -> Result<()> {
    for entry in catalog.read().entries() {
        if entry.layout.as_ref().is_some_and(|l| l.clearing.is_some()) {
            catalog.put(finish_drop(Entry::clone(entry), engine, storage).await?);
        }
    }
    Ok(())
}

/// Sets what is left of a dropped column to NULL; nobody else writes to the table.
async fn finish_drop(mut entry: Entry, engine: &Engine, storage: &Arc<Storage>) -> Result<Entry> {
    let Some(layout) = &mut entry.layout else {
        return Ok(entry);
    };
    let Some(place) = layout.clearing.take() else {
        return Ok(entry);
    };
    let snapshot = engine.snapshot();
    let (mut rows, mut weights) = (Vec::new(), Vec::new());
    if let Some(table) = snapshot.tables.get(&entry.id) {
        for partition in table.partitions.iter().flatten() {
            for (batch, of_batch) in partition.batches_with_weights(None)? {
                let (old, new, counts) = cleared(&batch, place, of_batch)?;
                rows.extend([old, new]);
                weights.extend(counts.iter().map(|weight| -weight));
                weights.extend(counts);
            }
        }
    }
    if let Some(first) = rows.first().filter(|_| !weights.is_empty()) {
        let all = concat_batches(&first.schema(), &rows)?;
        engine.write(entry.id, all, weights).await?;
        crash_point!("drop_column.cleared");
        engine.flush().await?;
        crash_point!("drop_column.flushed");
    }
    let (change, storage) = (update_change(&entry)?, Arc::clone(storage));
    let written = tokio::task::spawn_blocking(move || storage.write_catalog(change)).await;
    written.map_err(|error| Error::Internal(error.to_string()))??;
    Ok(entry)
}

/// The rows that have a value at `place`, the same without it, and their weights.
fn cleared(
    batch: &RecordBatch,
    place: usize,
    weights: Vec<i64>,
) -> Result<(RecordBatch, RecordBatch, Vec<i64>)> {
    let has_value = is_not_null(batch.column(place))?;
    let old = filter_record_batch(batch, &has_value)?;
    let mut columns: Vec<ArrayRef> = old.columns().to_vec();
    columns[place] = new_null_array(columns[place].data_type(), old.num_rows());
    let new = RecordBatch::try_new(old.schema(), columns)?;
    let weights = filter(&Int64Array::from(weights), &has_value)?;
    let weights = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&weights);
    Ok((old, new, weights.values().to_vec()))
}
