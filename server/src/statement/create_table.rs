//! CREATE TABLE: with a column list, `AS` a query, or `LIKE` another relation.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use planner::parse::TableExtras;
use planner::types::declared_type;
use planner::{Parsed, TableDefinition};
use sqlparser::ast::{
    CreateTable, CreateTableLike, CreateTableLikeDefaults, CreateTableLikeKind, OnCommit, Query,
};

use crate::catalog::{Column, ConflictPolicy, Entry, Kind, WatermarkFor};
use crate::error::{Error, Result};
use crate::server::table_job;
use crate::session::Session;
use crate::session::transaction::Write;
use crate::statement::Outcome;
use crate::statement::coerce::{TextInput, assign};
use crate::statement::ddl::NewName;
use crate::wire::column::WireColumn;
use planner::values::types::SqlType;

/// Columns of a table, as in PostgreSQL (`MaxHeapAttributeNumber`).
const TABLE_COLUMNS_MAX: usize = 1600;

impl Session {
    pub(crate) async fn create_table(
        &mut self,
        parsed: &Parsed,
        table: &CreateTable,
        extras: TableExtras,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        let drops = self.drops_at_commit(table)?;
        let name = match table.temporary {
            true => self.new_temporary_name(&table.name, table.if_not_exists)?,
            false => self.new_name(&table.name, table.if_not_exists)?,
        };
        let Some(name) = name else {
            return Outcome::done(if table.query.is_some() {
                "CREATE TABLE AS"
            } else {
                "CREATE TABLE"
            });
        };
        let full_name = (name.schema.clone(), name.local.clone());
        let outcome = match (&table.query, &table.like) {
            (Some(query), _) => {
                let created = self.create_table_as(name, parsed, table, extras, query);
                created.await
            }
            (None, Some(like)) => {
                let columns = self.columns_like(like)?;
                let mut entry = self.new_entry(name, Kind::Table, columns, &parsed.text);
                set_extras(&mut entry, extras)?;
                set_watermark(&mut entry, parsed)?;
                let spec = table_job(&entry)?;
                self.start_job(entry, spec, Vec::new()).await?;
                Outcome::done("CREATE TABLE")
            }
            (None, None) => {
                let created = self.create_defined_table(name, parsed, table, extras);
                created.await
            }
        }?;
        if drops {
            let catalog = self.shared.catalog.read();
            let made = catalog.find(&full_name.0, &full_name.1);
            self.drop_at_block_end.extend(made.map(|table| table.id));
        }
        Ok(outcome)
    }

    /// Whether a table goes with the block that it is made in.
    fn drops_at_commit(&self, table: &CreateTable) -> Result<bool> {
        if table.on_commit.is_some() && !table.temporary {
            return Err(Error::InvalidDefinition {
                message: "ON COMMIT can only be used on temporary tables".to_owned(),
            });
        }
        match table.on_commit {
            None | Some(OnCommit::PreserveRows) => Ok(false),
            Some(OnCommit::Drop) if self.transaction.is_open() => Ok(true),
            Some(OnCommit::Drop) => Err(Error::unsupported(
                "ON COMMIT DROP outside of a transaction block is not supported",
                "The table would be gone at once: BEGIN a block first.",
            )),
            Some(OnCommit::DeleteRows) => Err(Error::unsupported(
                "ON COMMIT DELETE ROWS is not supported",
                "Use TRUNCATE, or ON COMMIT DROP.",
            )),
        }
    }

    async fn create_defined_table(
        &mut self,
        name: NewName,
        parsed: &Parsed,
        table: &CreateTable,
        extras: TableExtras,
    ) -> Result<Outcome> {
        check_width(table.columns.len())?;
        let mut table = table.clone();
        for column in &mut table.columns {
            column.data_type = self.resolved_type(&column.data_type)?;
        }
        let definition = TableDefinition::from_ast(&table)?;
        self.check_defaults(&definition).await?;
        let columns = definition
            .columns
            .iter()
            .zip(&table.columns)
            .map(|(column, written)| Column {
                not_null: column.not_null,
                default: column.default.as_ref().map(ToString::to_string),
                generated: column.generated.as_ref().map(ToString::to_string),
                ..Column::new(
                    &column.name,
                    declared_type(&written.data_type, &column.data_type),
                )
            })
            .collect();
        let mut entry = self.new_entry(name, Kind::Table, columns, &parsed.text);
        entry.primary_key.clone_from(&definition.primary_key);
        entry.unique_key.clone_from(&definition.primary_key);
        set_extras(&mut entry, extras)?;
        set_watermark(&mut entry, parsed)?;
        self.check_generated(&entry, &definition).await?;
        let mut sequences = Vec::new();
        for (at, column) in definition.columns.iter().enumerate() {
            if let Some(own) = &column.sequence {
                sequences.push(self.own_sequence(&mut entry, at, own)?);
            }
        }
        let spec = table_job(&entry)?;
        self.start_job(entry, spec, sequences).await?;
        Outcome::done("CREATE TABLE")
    }

    /// The query runs first: a fault in it leaves no table.
    async fn create_table_as(
        &mut self,
        name: NewName,
        parsed: &Parsed,
        table: &CreateTable,
        extras: TableExtras,
        query: &Query,
    ) -> Result<Outcome> {
        let rows = self.select(query, Vec::new()).await?;
        let schema = Arc::clone(&rows.schema);
        check_width(schema.fields().len())?;
        let definition = TableDefinition::from_query(table, &schema)?;
        let interrupt = self.interrupt.clone();
        let rows = concat_batches(&schema, &interrupt.guard(rows.collect()).await?)?;
        let columns = definition
            .columns
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                let declared = WireColumn::declared_type(field);
                let sql_type = if declared.arrow() == column.data_type {
                    declared
                } else {
                    SqlType::of(&column.data_type)
                };
                Column::new(&column.name, sql_type)
            })
            .collect();
        let mut entry = self.new_entry(name, Kind::Table, columns, &parsed.text);
        set_extras(&mut entry, extras)?;
        set_watermark(&mut entry, parsed)?;
        let rows = self.fitted(&entry, &rows)?;
        let (id, count, spec) = (entry.id, rows.num_rows(), table_job(&entry)?);
        self.start_job(entry, spec, Vec::new()).await?;
        let write = Write {
            table: id,
            weights: vec![1; count],
            rows,
        };
        if let Err(error) = self.write_all(vec![write]).await {
            let catalog = self.shared.catalog.read();
            self.drop_entries(&catalog, BTreeSet::from([id])).await?;
            return Err(error);
        }
        Ok(Outcome::Done(format!("SELECT {count}")))
    }

    fn fitted(&self, entry: &Entry, rows: &RecordBatch) -> Result<RecordBatch> {
        let zone = self.style().zone;
        let columns = entry.columns.iter().zip(rows.columns());
        let fitted = columns.map(|(column, values)| {
            let (name, sql_type) = (&column.name, &column.sql_type);
            assign(values, name, sql_type, TextInput::Parse, zone)
        });
        let columns = fitted.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(entry.schema(), columns)?)
    }

    /// Names, types and NOT NULL of another relation's columns; their defaults if it says so.
    fn columns_like(&self, like: &CreateTableLikeKind) -> Result<Vec<Column>> {
        let (CreateTableLikeKind::Parenthesized(CreateTableLike { name, defaults })
        | CreateTableLikeKind::Plain(CreateTableLike { name, defaults })) = like;
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.relation(&name)?;
        let with_defaults = matches!(defaults, Some(CreateTableLikeDefaults::Including));
        let column = |column: &Column| Column {
            not_null: column.not_null,
            default: column
                .default
                .clone()
                .filter(|_| with_defaults && column.identity.is_none()),
            ..Column::new(&column.name, column.sql_type.clone())
        };
        Ok(entry.columns.iter().map(column).collect())
    }
}

fn set_extras(entry: &mut Entry, extras: TableExtras) -> Result<()> {
    entry.append_only = extras.append_only;
    entry.on_conflict = extras.on_conflict.map(|policy| match policy {
        planner::parse::ConflictPolicy::Ignore => ConflictPolicy::Ignore,
        planner::parse::ConflictPolicy::Overwrite => ConflictPolicy::Overwrite,
    });
    if entry.on_conflict.is_some() && entry.primary_key.is_empty() {
        return Err(Error::InvalidDefinition {
            message: "ON CONFLICT of a table needs a primary key".to_owned(),
        });
    }
    Ok(())
}

/// Gives a table or source its `WATERMARK FOR`.
pub(crate) fn set_watermark(entry: &mut Entry, parsed: &Parsed) -> Result<()> {
    let Some(clause) = &parsed.watermark else {
        return Ok(());
    };
    if !entry.append_only {
        return Err(Error::unsupported(
            "a watermark on a table whose rows can change is not supported",
            "Write APPEND ONLY behind the column list.",
        ));
    }
    if !entry.primary_key.is_empty() {
        return Err(Error::unsupported(
            "a watermark on a table with a primary key is not supported",
            "A late row is dropped, but its key would be taken: leave the primary key out.",
        ));
    }
    let name = planner::names::identifier(&clause.column);
    let Some(column) = entry.column(&name) else {
        return Err(Error::UndefinedColumn {
            column: name,
            relation: entry.name.clone(),
        });
    };
    entry.watermark = Some(WatermarkFor {
        column,
        expr: clause.expr.to_string(),
        idle_timeout: clause.idle_timeout,
    });
    Ok(())
}

pub(crate) fn check_width(columns: usize) -> Result<()> {
    if columns > TABLE_COLUMNS_MAX {
        return Err(Error::TooManyColumns {
            what: "tables",
            columns: "columns",
            limit: TABLE_COLUMNS_MAX,
        });
    }
    Ok(())
}
