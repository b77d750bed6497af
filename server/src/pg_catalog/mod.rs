//! PostgreSQL's system catalogs, made from ours when a query names them.
//!
//! ```text
//!   query ─► rewrite (syntax that DataFusion does not take) ─► planner ─┬─► tables, built on demand
//!                                                                     └─► functions
//! ```
//!
//! Object ids: a relation's oid is its id. What belongs to a relation has an oid made from it
//! ([`INDEX_OID`] and the like), so it is stable too. Sources are foreign tables of the server
//! `nexmark`.
//! Aim: what psql 15 and drivers ask gets PostgreSQL's answer for the same objects.

mod column_types;
#[cfg(test)]
mod documented;
pub mod empty;
pub(crate) mod function;
pub mod functions;
pub mod information_schema;
mod procedures;
pub mod relations;
pub mod rewrite;
mod role_functions;
pub mod roles;
mod sequence_functions;
pub mod server_tables;
mod sleep;
pub mod table;
pub(crate) mod type_functions;
pub mod types;

use std::sync::{Arc, Mutex};

use datafusion::catalog::{MemTable, TableProvider};
use planner::{Relation, RelationId, RelationKind};
use storage::DatabaseSnapshot;

use crate::activity::Activity;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::pg_catalog::table::{Source, SystemTable};
use crate::sequence::LastNumbers;
use crate::server::Shared;
use crate::settings::{SettingRow, Settings};
use crate::tide::{self, Lens, TideTable};
use crate::wire::column::WireColumn;

/// Schema of the system tables.
pub const SCHEMA: &str = "pg_catalog";

/// Schema of the SQL standard's views.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// Oid of schema `pg_catalog`.
pub const PG_CATALOG_OID: u32 = 11;

/// Oid of schema `public`.
pub const PUBLIC_OID: u32 = 2200;

/// Oid of schema `information_schema`.
pub const INFORMATION_SCHEMA_OID: u32 = 13_000;

/// Added to a table's id: oid of its primary key's index.
pub const INDEX_OID: u32 = 1 << 30;

/// Added to a table's id: oid of its primary key's constraint.
pub const CONSTRAINT_OID: u32 = 2 << 30;

/// Added to a view's id: oid of its rewrite rule.
pub const RULE_OID: u32 = 3 << 30;

/// Where the oids of defaults start: 64 for each relation.
pub const DEFAULT_OID: u32 = 3 << 29;

/// What the system tables show besides the catalog.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Settings of the session.
    pub settings: Vec<SettingRow>,
    /// The role that reads; `None`: nobody's rights are asked.
    pub role: Option<u32>,
    /// Schemas that names without one are looked for in.
    pub path: Vec<String>,
    /// What all sessions do.
    pub activity: Vec<Activity>,
    /// The session's own process id.
    pub process_id: u32,
    /// The session's cursors and named portals.
    pub cursors: Vec<CursorRow>,
    /// The session's named prepared statements.
    pub prepared: Vec<PreparedRow>,
    /// The query's look at the engine; `None`: it only plans.
    pub lens: Option<Arc<Lens>>,
}

/// A cursor of the session.
#[derive(Debug, Clone)]
pub struct CursorRow {
    /// Its name.
    pub name: String,
    /// The statement that made it.
    pub statement: String,
    /// Whether it outlives its transaction.
    pub is_holdable: bool,
}

/// A prepared statement of the session.
#[derive(Debug, Clone)]
pub struct PreparedRow {
    /// Its name.
    pub name: String,
    /// Its text.
    pub statement: String,
    /// Names of the types of its parameters.
    pub parameter_types: Vec<String>,
}

/// The schemas of system tables, with their oids.
pub const SCHEMAS: [(&str, u32); 3] = [
    (SCHEMA, PG_CATALOG_OID),
    (INFORMATION_SCHEMA, INFORMATION_SCHEMA_OID),
    (tide::SCHEMA, tide::SCHEMA_OID),
];

fn oid_of_schema(name: &str) -> Option<u32> {
    let found = SCHEMAS.into_iter().find(|(schema, _)| *schema == name);
    found.map(|(_, oid)| oid)
}

/// Whether a schema is one of ours.
#[must_use]
pub fn is_schema(name: &str) -> bool {
    oid_of_schema(name).is_some()
}

/// All system tables with their schema.
pub fn tables() -> impl Iterator<Item = (&'static str, &'static SystemTable)> {
    let catalog = relations::TABLES
        .iter()
        .chain(types::TABLES)
        .chain(server_tables::TABLES)
        .chain(roles::TABLES)
        .chain(procedures::TABLES)
        .chain(empty::TABLES);
    let information = information_schema::TABLES
        .iter()
        .map(|table| (INFORMATION_SCHEMA, table));
    let tide = tide::TABLES.iter().map(|table| (tide::SCHEMA, table));
    catalog
        .map(|table| (SCHEMA, table))
        .chain(information)
        .chain(tide)
}

/// The system table of this name.
#[must_use]
pub fn find(schema: &str, name: &str) -> Option<&'static SystemTable> {
    tables()
        .find(|(s, table)| *s == schema && table.name == name)
        .map(|(_, table)| table)
}

/// A system table as the planner sees it.
#[must_use]
pub fn relation(schema: &str, name: &str) -> Option<Relation> {
    let table = find(schema, name)?;
    Some(Relation {
        id: RelationId(table.oid),
        schema_name: schema.to_owned(),
        name: name.to_owned(),
        kind: RelationKind::Table,
        schema: table.schema(),
        primary_key: Vec::new(),
        append_only: false,
        watermark: None,
        watermarks: Vec::new(),
        stored: None,
    })
}

/// How a column of a system table is described to clients.
#[must_use]
pub fn wire_column(relation: u32, column: usize) -> Option<WireColumn> {
    let (schema, table) = tables().find(|(_, table)| table.oid == relation)?;
    let (name, data_type) = table.columns.get(column)?;
    Some(column_types::wire_column(schema, name, *data_type))
}

/// The rows of a system table.
///
/// # Errors
/// If it does not exist, or its rows are not as its columns, which is a bug.
pub fn rows(
    relation: &Relation,
    catalog: &Arc<Catalog>,
    snapshot: Option<&DatabaseSnapshot>,
    context: &Context,
) -> Result<Arc<dyn TableProvider>> {
    let table =
        find(&relation.schema_name, &relation.name).ok_or_else(|| Error::UndefinedRelation {
            name: relation.name.clone(),
        })?;
    if relation.schema_name == tide::SCHEMA {
        let (catalog, context) = (Arc::clone(catalog), context.clone());
        return Ok(Arc::new(TideTable::new(table, catalog, context)));
    }
    let batch = table.batch(&Source {
        catalog,
        snapshot,
        context,
        seen: None,
    })?;
    Ok(Arc::new(MemTable::try_new(
        batch.schema(),
        vec![vec![batch]],
    )?))
}

/// Adds the functions that depend on their arguments only.
pub fn register_pure(session: &planner::Session) {
    functions::pure()
        .into_iter()
        .for_each(|function| session.register_udf(function));
}

/// Adds the functions that depend on catalog, session or server.
pub fn register_session(
    session: &planner::Session,
    shared: &Arc<Shared>,
    settings: &Arc<Mutex<Settings>>,
    last_numbers: &Arc<Mutex<LastNumbers>>,
    process_id: u32,
) {
    functions::of_session(shared, settings, process_id)
        .into_iter()
        .chain(sequence_functions::of_session(
            shared,
            settings,
            last_numbers,
        ))
        .chain(role_functions::of_session(shared, settings))
        .for_each(|function| session.register_udf(function));
}
