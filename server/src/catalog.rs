//! The catalog: which relations exist, what they are made of, what depends on what.
//!
//! A [`Catalog`] is an immutable value; DDL makes the next one and swaps it in, so that a query
//! sees one state from its first name to its last. Durable form: one JSON row per relation, plus
//! the next free id, written together with the job they describe (`storage`'s `CatalogChange`).
//!
//! A relation's id is its job's id and its oid for clients. Ids are never used again.
//! Not here: rows (`snapshot_table.rs`), the system tables (`pg_catalog`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};
use planner::{RelationId, SqlFunction};
use serde::{Deserialize, Serialize};
use storage::CatalogChange;

use crate::access::Access;
use crate::access::privilege::{Acl, Class};
use crate::access::role::ROOT_ID;
use crate::catalog_view::Met;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::namespace::{Name, Namespace};
use crate::pg_catalog::relations::quoted;
use crate::sequence::{self, Sequence};
use planner::values::types::SqlType;

/// First id of a user's relation, as in PostgreSQL (`FirstNormalObjectId` + 1).
pub const FIRST_ID: u32 = 16_385;

/// The schema of users' relations that is always there.
pub const SCHEMA: &str = "public";

const NEXT_ID_KEY: &[u8] = b"next_id";
const RELATION_PREFIX: &str = "relation/";
const SCHEMA_PREFIX: &str = "schema/";

/// What a relation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Keeps rows that users write.
    Table,
    /// Generates rows.
    Source {
        /// The `WITH` options.
        options: BTreeMap<String, String>,
    },
    /// A named query.
    View,
    /// A continuously maintained view.
    MaterializedView,
    /// Numbers that are given once.
    Sequence(Sequence),
    /// The rows of a table or view once more, found by other columns.
    Index(Index),
    /// A function of a user. It is no relation; its name is its signature.
    Function(SqlFunction),
}

/// What an index is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The table or materialized view.
    pub relation: u32,
    /// Where the columns that it is by lie in the rows of the relation.
    pub places: Vec<usize>,
    /// Columns that the rows had when it was created; it has no others.
    pub width: usize,
}

/// What becomes of a row whose primary key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The row that exists stays.
    Ignore,
    /// The new row takes its place.
    Overwrite,
}

/// Who gives the values of an identity column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Its sequence alone.
    Always,
    /// Its sequence, if a statement does not.
    ByDefault,
}

impl Kind {
    /// As messages name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::Source { .. } => "source",
            Kind::View => "view",
            Kind::MaterializedView => "materialized view",
            Kind::Sequence(_) => "sequence",
            Kind::Index(_) => "index",
            Kind::Function(_) => "function",
        }
    }

    /// What privileges there are on it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Kind::Sequence(_) => Class::Sequence,
            _ => Class::Table,
        }
    }

    /// Whether a job keeps its rows.
    #[must_use]
    pub fn has_job(&self) -> bool {
        matches!(self, Kind::Table | Kind::MaterializedView | Kind::Index(_))
    }
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, with length or precision.
    pub sql_type: SqlType,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// SQL text of its `DEFAULT`.
    pub default: Option<String>,
    /// Whether it is an identity; its default then takes the next number of its sequence.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// SQL text of what it is computed from.
    #[serde(default)]
    pub generated: Option<String>,
    /// Its `COMMENT`.
    #[serde(default)]
    pub comment: Option<String>,
}

impl Column {
    /// A column that may be NULL.
    #[must_use]
    pub fn new(name: &str, sql_type: SqlType) -> Column {
        Column {
            name: name.to_owned(),
            sql_type,
            not_null: false,
            default: None,
            identity: None,
            generated: None,
            comment: None,
        }
    }
}

/// How a relation's parallelism follows its load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adaptivity {
    /// Fewest executors.
    pub min: usize,
    /// Most executors.
    pub max: usize,
    /// Share of the time that executors shall be busy.
    pub target_utilization: f64,
}

/// `WATERMARK FOR column AS expr`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkFor {
    /// The column.
    pub column: usize,
    /// SQL text of the watermark that each row makes.
    pub expr: String,
    /// After which time without rows the watermark goes on with the clock.
    #[serde(default)]
    pub idle_timeout: Option<Duration>,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of it, of its job, and oid.
    pub id: u32,
    /// Its schema.
    #[serde(default = "public")]
    pub schema_name: String,
    /// Its name within the schema.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Columns of the primary key, in its order.
    pub primary_key: Vec<usize>,
    /// Columns that are unique among its rows: primary key, or stream key of a view.
    pub unique_key: Vec<usize>,
    /// Whether rows are never updated or deleted.
    pub append_only: bool,
    /// `WATERMARK FOR` of a table or source.
    #[serde(default)]
    pub watermark: Option<WatermarkFor>,
    /// Columns of a materialized view that have a watermark.
    #[serde(default)]
    pub watermarks: Vec<usize>,
    /// The column of a materialized view whose watermark lets rows come, if it tells.
    #[serde(default)]
    pub emitted_by: Option<usize>,
    /// What becomes of a new row whose primary key exists, if that is no error.
    #[serde(default)]
    pub on_conflict: Option<ConflictPolicy>,
    /// SQL text of a view's query.
    pub definition: Option<String>,
    /// The statement that made it.
    pub statement: String,
    /// Relations that it reads, plain views and what they read included.
    pub dependencies: BTreeSet<u32>,
    /// Executors of its job's fragments; 0 without a job.
    pub parallelism: usize,
    /// `None`: the parallelism stays until a statement changes it.
    #[serde(default)]
    pub adaptivity: Option<Adaptivity>,
    /// `TimeZone` of the session that made it: its query means the same for ever.
    pub time_zone: String,
    /// Its `COMMENT`.
    #[serde(default)]
    pub comment: Option<String>,
    /// The role that owns it; what it reads as a view, it reads as that role.
    #[serde(default = "root")]
    pub owner: u32,
    /// Who may do what with it; `None`: as nothing was granted.
    #[serde(default)]
    pub acl: Option<Acl>,
    /// Whether it lives only as long as its reader (`temporary_view.rs`).
    #[serde(default)]
    pub temporary: bool,
    /// What each name in a view's query means, as it is written there.
    #[serde(default)]
    pub bindings: BTreeMap<String, u32>,
    /// The functions that a view's query calls, by how it calls them, as they were when it was made.
    #[serde(default)]
    pub functions: BTreeMap<String, SqlFunction>,
    /// Where the columns of a table lie in its rows, if they were altered.
    #[serde(default)]
    pub layout: Option<Layout>,
    /// Columns that the rows of a materialized view are hashed by. Not durable: they follow from its
    /// query.
    #[serde(skip)]
    pub hashed_by: Option<Vec<usize>>,
    /// Arrow columns of a view. Not durable: they follow from its query.
    #[serde(skip)]
    pub planned: Option<SchemaRef>,
}

impl Entry {
    /// The Arrow schema of its rows; every field is nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        if let Some(planned) = &self.planned {
            return Arc::clone(planned);
        }
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.sql_type.arrow(), true))
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Keeps what the names in its query mean. It depends on the functions that it calls.
    pub fn bind(&mut self, met: Met) {
        self.bindings = met.relations;
        self.dependencies
            .extend(met.functions.values().map(|(id, _)| *id));
        let functions = met.functions.into_iter();
        self.functions = functions
            .map(|(call, (_, function))| (call, function))
            .collect();
    }

    /// The function that it is, if it is one.
    #[must_use]
    pub fn function(&self) -> Option<&SqlFunction> {
        match &self.kind {
            Kind::Function(function) => Some(function),
            _ => None,
        }
    }

    /// What it is, as messages name it.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        if self.temporary {
            "subscription"
        } else {
            self.kind.name()
        }
    }

    /// Its name with its schema, quoted where that must be; without `public`.
    #[must_use]
    pub fn reference(&self) -> String {
        if self.schema_name == SCHEMA {
            return quoted(&self.name);
        }
        format!("{}.{}", quoted(&self.schema_name), quoted(&self.name))
    }

    /// Name of the primary key's constraint and index.
    #[must_use]
    pub fn primary_key_name(&self) -> String {
        format!("{}_pkey", self.name)
    }

    /// Where its columns lie in its rows; `None`: one by one.
    #[must_use]
    pub fn places(&self) -> Option<&[usize]> {
        self.layout.as_ref().map(Layout::places)
    }

    /// Columns of its rows, those of dropped columns included.
    #[must_use]
    pub fn stored_width(&self) -> usize {
        self.layout
            .as_ref()
            .map_or(self.columns.len(), Layout::width)
    }

    /// Index of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// `WATERMARK FOR`, as the planner sees it.
    #[must_use]
    pub fn watermark_definition(&self) -> Option<planner::WatermarkDefinition> {
        let watermark = self.watermark.as_ref()?;
        Some(planner::WatermarkDefinition {
            column: watermark.column,
            expr: watermark.expr.clone(),
            time_zone: self.time_zone.clone(),
            idle_timeout: watermark.idle_timeout,
        })
    }

    /// As the planner sees it; for the query of a view of the number `reader` with the columns that
    /// it had when that was created.
    ///
    /// # Errors
    /// If the options of a source are not what they were when it was created.
    pub fn relation(&self, reader: Option<u32>) -> Result<planner::Relation> {
        let kind = match &self.kind {
            Kind::Table => planner::RelationKind::Table,
            Kind::MaterializedView => planner::RelationKind::MaterializedView,
            Kind::View => planner::RelationKind::View {
                definition: self.definition.clone().unwrap_or_default(),
            },
            Kind::Source { options } => {
                let (source, _) = planner::source::source_definition(&[], options)?;
                planner::RelationKind::Source(source)
            }
            Kind::Sequence(_) => {
                return Err(Error::not_supported("a sequence cannot be read as a table"));
            }
            Kind::Index(_) => {
                return Err(Error::not_supported("an index cannot be read as a table"));
            }
            Kind::Function(_) => {
                return Err(Error::not_supported("a function cannot be read as a table"));
            }
        };
        let mut relation = planner::Relation {
            id: RelationId(self.id),
            schema_name: self.schema_name.clone(),
            name: self.name.clone(),
            kind,
            schema: self.schema(),
            primary_key: self.unique_key.clone(),
            append_only: self.append_only,
            watermark: self.watermark_definition(),
            watermarks: match &self.watermark {
                Some(watermark) => vec![watermark.column],
                None => self.watermarks.clone(),
            },
            stored: None,
        };
        if let Some(layout) = &self.layout {
            let seen = layout.seen_by(&self.columns, reader.unwrap_or(u32::MAX));
            let place_of = |at: &usize| layout.places()[*at];
            let position = |place| seen.iter().position(|(at, _)| *at == place);
            let key = self.unique_key.iter().map(place_of).filter_map(position);
            relation.primary_key = key.collect();
            let field = |(_, c): &(usize, Column)| Field::new(&c.name, c.sql_type.arrow(), true);
            relation.schema = Arc::new(Schema::new(seen.iter().map(field).collect::<Vec<_>>()));
            relation.stored = Some(planner::StoredColumns {
                schema: layout.schema(),
                places: seen.iter().map(|(place, _)| *place).collect(),
            });
        }
        Ok(relation)
    }
}

/// All relations at one moment.
#[derive(Debug, Clone)]
pub struct Catalog {
    entries: BTreeMap<u32, Arc<Entry>>,
    names: BTreeMap<(String, String), u32>,
    schemas: BTreeMap<String, Namespace>,
    next_id: u32,
    /// Roles, and rights that belong to no relation or schema.
    pub access: Access,
}

fn public() -> String {
    SCHEMA.to_owned()
}

fn root() -> u32 {
    ROOT_ID
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog {
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            schemas: BTreeMap::from([(public(), Namespace::public())]),
            next_id: FIRST_ID,
            access: Access::default(),
        }
    }
}

impl Catalog {
    /// Reads the durable rows.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a row is not what we write.
    pub fn from_rows(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        for (key, value) in rows {
            let corrupt = |what: &str| {
                Error::Corrupt(format!(
                    "{what} in row \"{}\"",
                    String::from_utf8_lossy(key)
                ))
            };
            if key == NEXT_ID_KEY {
                let bytes: [u8; 4] = value
                    .as_slice()
                    .try_into()
                    .map_err(|_| corrupt("not a number"))?;
                catalog.next_id = catalog.next_id.max(u32::from_be_bytes(bytes));
            } else if key.starts_with(RELATION_PREFIX.as_bytes()) {
                let entry: Entry =
                    serde_json::from_slice(value).map_err(|e| corrupt(&e.to_string()))?;
                catalog.next_id = catalog.next_id.max(entry.id + 1);
                catalog.insert(entry);
            } else if key.starts_with(SCHEMA_PREFIX.as_bytes()) {
                let schema: Namespace =
                    serde_json::from_slice(value).map_err(|e| corrupt(&e.to_string()))?;
                catalog.next_id = catalog.next_id.max(schema.id + 1);
                catalog.schemas.insert(schema.name.clone(), schema);
            } else {
                let used = catalog.access.read_row(key, value);
                let used = used.map_err(|e| corrupt(&e.to_string()))?;
                catalog.next_id = catalog.next_id.max(used.map_or(0, |id| id + 1));
            }
        }
        Ok(catalog)
    }

    /// The id that the next relation gets.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// The relation of this name within a schema.
    #[must_use]
    pub fn find(&self, schema: &str, name: &str) -> Option<&Arc<Entry>> {
        let id = self.names.get(&(schema.to_owned(), name.to_owned()))?;
        self.entries.get(id)
    }

    /// The relation that a name means.
    #[must_use]
    pub fn by_name(&self, name: &Name) -> Option<&Arc<Entry>> {
        name.schemas()
            .find_map(|schema| self.find(schema, &name.local))
    }

    /// Users' schemas with their oids, `public` included.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, u32)> {
        self.namespaces()
            .map(|schema| (schema.name.as_str(), schema.id))
    }

    /// Users' schemas, `public` first.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let others = self.schemas.values().filter(|s| s.name != SCHEMA);
        self.schemas.get(SCHEMA).into_iter().chain(others)
    }

    /// One of users' schemas.
    #[must_use]
    pub fn schema(&self, name: &str) -> Option<&Namespace> {
        self.schemas.get(name)
    }

    /// The oid of one of users' schemas.
    #[must_use]
    pub fn schema_oid(&self, name: &str) -> Option<u32> {
        self.schema(name).map(|schema| schema.id)
    }

    /// The relation of this id.
    #[must_use]
    pub fn by_id(&self, id: u32) -> Option<&Arc<Entry>> {
        self.entries.get(&id)
    }

    /// All relations but temporary ones, by id: a relation comes after those that it reads.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let entries = self.entries.values();
        entries.filter(|entry| !entry.temporary && entry.function().is_none())
    }

    /// All functions, by id.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries
            .values()
            .filter(|entry| entry.function().is_some())
    }

    /// Forgets temporary relations; gives their ids.
    pub fn remove_temporary(&mut self) -> BTreeSet<u32> {
        let temporary = self.entries.values().filter(|entry| entry.temporary);
        let ids: BTreeSet<u32> = temporary.map(|entry| entry.id).collect();
        ids.iter().for_each(|id| self.remove(*id));
        ids
    }

    /// The table of which a column takes its numbers from this sequence.
    #[must_use]
    pub fn table_of_numbers(&self, sequence: &Entry) -> Option<&Arc<Entry>> {
        let Kind::Sequence(_) = &sequence.kind else {
            return None;
        };
        let call = format!("nextval('{}'", sequence.reference());
        let uses = |column: &Column| column.default.as_ref().is_some_and(|d| d.contains(&call));
        self.entries().find(|table| table.columns.iter().any(uses))
    }

    /// Whether a sequence gives the numbers of an identity column.
    #[must_use]
    pub fn is_identity(&self, sequence: &Entry) -> bool {
        let Kind::Sequence(Sequence {
            owner: Some((table, column)),
            ..
        }) = &sequence.kind
        else {
            return false;
        };
        let column = self.by_id(*table).and_then(|t| t.columns.get(*column));
        column.is_some_and(|column| column.identity.is_some())
    }

    /// The sequences of columns of these tables.
    #[must_use]
    pub fn owned_sequences(&self, ids: &BTreeSet<u32>) -> BTreeSet<u32> {
        let owned = |entry: &&Arc<Entry>| match &entry.kind {
            Kind::Sequence(sequence) => sequence
                .owner
                .is_some_and(|(table, _)| ids.contains(&table)),
            _ => false,
        };
        self.entries().filter(owned).map(|entry| entry.id).collect()
    }

    /// The indexes of a relation.
    pub fn indexes_of(&self, relation: u32) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries().filter(
            move |entry| matches!(&entry.kind, Kind::Index(index) if index.relation == relation),
        )
    }

    /// The indexes of these relations: they go with them.
    #[must_use]
    pub fn owned_indexes(&self, ids: &BTreeSet<u32>) -> BTreeSet<u32> {
        let indexes = ids.iter().flat_map(|id| self.indexes_of(*id));
        indexes.map(|entry| entry.id).collect()
    }

    /// Relations that read one of `ids`, directly or not, without `ids`; by id.
    #[must_use]
    pub fn dependents(&self, ids: &BTreeSet<u32>) -> Vec<Arc<Entry>> {
        let mut found = ids.clone();
        // Readers have larger ids than what they read, so one pass finds all.
        for entry in self.entries.values() {
            if !entry.dependencies.is_disjoint(&found) {
                found.insert(entry.id);
            }
        }
        found
            .difference(ids)
            .filter_map(|id| self.entries.get(id).cloned())
            .collect()
    }

    /// The same schemas and used ids, without a relation.
    #[must_use]
    pub fn without_relations(&self) -> Catalog {
        Catalog {
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            schemas: self.schemas.clone(),
            next_id: self.next_id,
            access: self.access.clone(),
        }
    }

    fn insert(&mut self, entry: Entry) {
        self.remove(entry.id);
        if !entry.temporary {
            let name = (entry.schema_name.clone(), entry.name.clone());
            self.names.insert(name, entry.id);
        }
        self.entries.insert(entry.id, Arc::new(entry));
    }

    fn remove(&mut self, id: u32) {
        if let Some(entry) = self.entries.remove(&id).filter(|entry| !entry.temporary) {
            let name = (entry.schema_name.clone(), entry.name.clone());
            self.names.remove(&name);
        }
    }
}

/// The durable rows that add or replace a relation.
///
/// # Errors
/// If it cannot be written as JSON, which no value of ours does.
pub fn put_change(entry: &Entry) -> Result<CatalogChange> {
    let value = serde_json::to_vec(entry).map_err(|e| Error::Internal(e.to_string()))?;
    let next_id = (entry.id + 1).to_be_bytes().to_vec();
    Ok(CatalogChange {
        puts: vec![
            (relation_key(entry.id), value),
            (NEXT_ID_KEY.to_vec(), next_id),
        ],
        deletes: Vec::new(),
    })
}

/// The durable change of one relation that exists: the counter of ids stays as it is.
///
/// # Errors
/// As [`put_change`].
pub fn update_change(entry: &Entry) -> Result<CatalogChange> {
    let mut change = put_change(entry)?;
    change.puts.truncate(1);
    Ok(change)
}

/// The durable change of one relation that exists, of this number.
///
/// # Errors
/// As [`put_change`].
pub fn numbered_change(entry: &Entry, number: u32) -> Result<CatalogChange> {
    Ok(with_new_id(update_change(entry)?, number))
}

/// The durable change that removes relations.
#[must_use]
pub fn delete_change(ids: &BTreeSet<u32>) -> CatalogChange {
    CatalogChange {
        puts: Vec::new(),
        deletes: ids
            .iter()
            .flat_map(|id| [relation_key(*id), sequence::key(*id)])
            .collect(),
    }
}

/// The durable change of a schema that exists.
///
/// # Errors
/// As [`put_change`].
pub fn update_schema_change(schema: &Namespace) -> Result<CatalogChange> {
    let value = serde_json::to_vec(schema).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(CatalogChange {
        puts: vec![(schema_key(schema.id), value)],
        deletes: Vec::new(),
    })
}

/// A change that uses an id for the first time.
#[must_use]
pub fn with_new_id(mut change: CatalogChange, id: u32) -> CatalogChange {
    let next_id = (id + 1).to_be_bytes().to_vec();
    change.puts.push((NEXT_ID_KEY.to_vec(), next_id));
    change
}

/// The durable change that removes a schema.
#[must_use]
pub fn delete_schema_change(id: u32) -> CatalogChange {
    CatalogChange {
        puts: Vec::new(),
        deletes: vec![schema_key(id)],
    }
}

fn schema_key(id: u32) -> Vec<u8> {
    format!("{SCHEMA_PREFIX}{id:010}").into_bytes()
}

fn relation_key(id: u32) -> Vec<u8> {
    format!("{RELATION_PREFIX}{id:010}").into_bytes()
}

/// The catalog that sessions share.
#[derive(Debug, Default)]
pub struct SharedCatalog {
    current: RwLock<Arc<Catalog>>,
}

impl SharedCatalog {
    /// A shared catalog that starts as this one.
    #[must_use]
    pub fn new(catalog: Catalog) -> SharedCatalog {
        SharedCatalog {
            current: RwLock::new(Arc::new(catalog)),
        }
    }

    /// The catalog as it is now.
    #[must_use]
    pub fn read(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the next free id, for good.
    #[must_use]
    pub fn take_id(&self) -> u32 {
        self.change(|catalog| {
            catalog.next_id += 1;
            catalog.next_id - 1
        })
    }

    /// Adds a relation, or replaces it.
    pub fn put(&self, entry: Entry) {
        self.change(|catalog| catalog.insert(entry));
    }

    /// Sets the parallelism of a relation, if it still exists.
    pub fn set_parallelism(&self, id: u32, parallelism: usize) {
        self.change(|catalog| {
            if let Some(entry) = catalog.entries.get_mut(&id) {
                Arc::make_mut(entry).parallelism = parallelism;
            }
        });
    }

    /// Sets whether and how a relation's parallelism follows its load; what it is then, if it
    /// still exists.
    pub fn set_adaptivity(&self, id: u32, adaptivity: Option<Adaptivity>) -> Option<Arc<Entry>> {
        self.change(|catalog| {
            let entry = catalog.entries.get_mut(&id)?;
            Arc::make_mut(entry).adaptivity = adaptivity;
            Some(Arc::clone(entry))
        })
    }

    /// Adds a schema, or replaces it.
    pub fn put_schema(&self, schema: Namespace) {
        self.change(|catalog| {
            catalog.schemas.insert(schema.name.clone(), schema);
        });
    }

    /// Changes roles, or rights that belong to no relation or schema.
    pub fn change_access(&self, change: impl FnOnce(&mut Access)) {
        self.change(|catalog| change(&mut catalog.access));
    }

    /// Removes a schema, which is empty.
    pub fn remove_schema(&self, name: &str) {
        self.change(|catalog| {
            catalog.schemas.remove(name);
        });
    }

    /// Removes relations.
    pub fn remove(&self, ids: &BTreeSet<u32>) {
        self.change(|catalog| ids.iter().for_each(|id| catalog.remove(*id)));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> T {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalog::clone(&current);
        let result = change(&mut next);
        *current = Arc::new(next);
        result
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(id: u32, name: &str, dependencies: &[u32]) -> Entry {
        Entry {
            id,
            schema_name: public(),
            name: name.to_owned(),
            kind: if dependencies.is_empty() {
                Kind::Table
            } else {
                Kind::MaterializedView
            },
            columns: vec![Column {
                not_null: true,
                ..Column::new("a", SqlType::Int4)
            }],
            primary_key: vec![0],
            unique_key: vec![0],
            append_only: false,
            watermark: None,
            watermarks: Vec::new(),
            emitted_by: None,
            on_conflict: None,
            definition: None,
            statement: String::new(),
            dependencies: dependencies.iter().copied().collect(),
            parallelism: 1,
            adaptivity: None,
            time_zone: "UTC".into(),
            comment: None,
            owner: ROOT_ID,
            acl: None,
            temporary: false,
            bindings: BTreeMap::new(),
            functions: BTreeMap::new(),
            layout: None,
            hashed_by: None,
            planned: None,
        }
    }

    #[test]
    fn durable_rows_bring_everything_back() {
        let first = entry(FIRST_ID, "t", &[]);
        let second = entry(FIRST_ID + 1, "v", &[FIRST_ID]);
        let mut rows = put_change(&first).unwrap().puts;
        rows.extend(put_change(&second).unwrap().puts);
        let catalog = Catalog::from_rows(&rows).unwrap();
        assert_eq!(catalog.find(SCHEMA, "v").unwrap().as_ref(), &second);
        assert_eq!(catalog.next_id(), FIRST_ID + 2);
        assert!(matches!(
            Catalog::from_rows(&[(b"relation/1".to_vec(), b"x".to_vec())]),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn rows_from_before_adaptivity_are_read() {
        let written = entry(FIRST_ID, "t", &[]);
        let mut json = serde_json::to_value(&written).unwrap();
        json.as_object_mut().unwrap().remove("adaptivity").unwrap();
        let row = (relation_key(FIRST_ID), serde_json::to_vec(&json).unwrap());
        let catalog = Catalog::from_rows(&[row]).unwrap();
        assert_eq!(catalog.find(SCHEMA, "t").unwrap().as_ref(), &written);
    }

    #[test]
    fn ids_are_not_used_again() {
        let shared = SharedCatalog::default();
        let id = shared.take_id();
        shared.put(entry(id, "t", &[]));
        shared.remove(&BTreeSet::from([id]));
        assert_eq!(shared.take_id(), id + 1);
        assert!(shared.read().find(SCHEMA, "t").is_none());
    }

    #[test]
    fn dependents_are_found_through_others() {
        let shared = SharedCatalog::default();
        for (id, name, dependencies) in [
            (1, "t", &[][..]),
            (2, "a", &[1]),
            (3, "b", &[2]),
            (4, "u", &[]),
        ] {
            shared.put(entry(id, name, dependencies));
        }
        let names: Vec<String> = shared
            .read()
            .dependents(&BTreeSet::from([1]))
            .iter()
            .map(|e| e.name.clone())
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}
