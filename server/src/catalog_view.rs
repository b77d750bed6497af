//! One consistent state of the database, as the planner sees it: catalog, rows of one epoch, and
//! the system tables made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};
use planner::values::types::SqlType;
use planner::{Relation, RelationId, RelationKind, SqlFunction};
use scaling::Epoch;
use storage::{DatabaseSnapshot, TableSnapshot};

use crate::access::actor::Actor;
use crate::access::privilege::Privileges;
use crate::catalog::{Catalog, Entry, Kind, SCHEMA};
use crate::error::{Error, Result};
use crate::index_read::access_path::AccessPath;
use crate::namespace::{self, Name};
use crate::pg_catalog;
use crate::pg_catalog::roles::SECRET;
use crate::session::transaction::Write;
use crate::snapshot_table::{SnapshotTable, TableChanges};
use crate::temporary_schema;

/// The id of a relation whose rows are given with the query. No other has it.
const GIVEN_ID: RelationId = RelationId(0);

/// Catalog and rows of one moment.
#[derive(Debug, Clone)]
pub struct CatalogView {
    catalog: Arc<Catalog>,
    snapshot: Option<Arc<DatabaseSnapshot>>,
    system: pg_catalog::Context,
    changes: BTreeMap<u32, TableChanges>,
    given: Option<(Arc<Relation>, RecordBatch)>,
    /// Schemas that names without one are looked for in.
    path: Vec<String>,
    /// Whose rights are asked: the session's, and within a view those of its owner. `None`: nobody's.
    role: Option<u32>,
    /// A relation that may be read, since the statement has asked for other rights on it.
    open: Option<u32>,
    /// The view whose query this is for.
    reader: Option<Arc<Entry>>,
    /// What names meant so far.
    met: Bindings,
}

/// What names meant so far.
pub type Bindings = Arc<Mutex<Met>>;

/// What names meant, as they were written.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// The ids of relations.
    pub relations: BTreeMap<String, u32>,
    /// The ids of functions, and what they were.
    pub functions: BTreeMap<String, (u32, SqlFunction)>,
    /// The ids of users' types.
    pub types: BTreeSet<u32>,
}

impl CatalogView {
    /// The state that a query sees.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        snapshot: Option<Arc<DatabaseSnapshot>>,
        system: pg_catalog::Context,
    ) -> CatalogView {
        let mut path = system.path.clone();
        // What a role may not name is not there, unless it is named with its schema.
        if let Some(role) = system.role {
            let actor = Actor {
                catalog: &catalog,
                role,
            };
            path.retain(|schema| actor.may_in_schema(schema, Privileges::USAGE));
        }
        CatalogView {
            role: system.role,
            open: None,
            path,
            catalog,
            snapshot,
            system,
            changes: BTreeMap::new(),
            given: None,
            reader: None,
            met: Bindings::default(),
        }
    }

    /// What names will have meant when a query is planned.
    #[must_use]
    pub fn bindings(&self) -> Bindings {
        Arc::clone(&self.met)
    }

    /// The same with changes that are not in the snapshot.
    #[must_use]
    pub fn with_changes<'a>(mut self, writes: impl Iterator<Item = &'a Write>) -> CatalogView {
        for write in writes {
            let of_table = self.changes.entry(write.table).or_default();
            of_table.push((write.rows.clone(), write.weights.clone()));
        }
        self
    }

    /// The same with one more relation, of these rows. It comes before all others of its name.
    #[must_use]
    pub fn with_rows(mut self, name: &str, schema: SchemaRef, rows: RecordBatch) -> CatalogView {
        let relation = Relation {
            id: GIVEN_ID,
            schema_name: SCHEMA.to_owned(),
            name: name.to_owned(),
            kind: RelationKind::Table,
            schema,
            primary_key: Vec::new(),
            append_only: false,
            watermark: None,
            watermarks: Vec::new(),
            stored: None,
        };
        self.given = Some((Arc::new(relation), rows));
        self
    }

    /// For planning only: no rows, empty system tables.
    #[must_use]
    pub fn without_rows(catalog: Arc<Catalog>) -> CatalogView {
        CatalogView {
            catalog,
            snapshot: None,
            system: pg_catalog::Context::default(),
            changes: BTreeMap::new(),
            given: None,
            role: None,
            open: None,
            path: namespace::default_path(),
            reader: None,
            met: Bindings::default(),
        }
    }

    /// Relations that have failed, with the epoch that their rows are of.
    #[must_use]
    pub fn stale(&self) -> BTreeMap<u32, Epoch> {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or_else(BTreeMap::new, |snapshot| snapshot.stale.clone())
    }

    /// The same for a statement that changes a relation, and has asked for its rights on it.
    #[must_use]
    pub fn changing(mut self, relation: u32) -> CatalogView {
        self.open = Some(relation);
        self
    }

    /// The same without asking for rights: those of a view's query are asked when it is read.
    #[must_use]
    pub fn for_definition(mut self) -> CatalogView {
        self.role = None;
        self
    }

    /// The same as the query of a view means it: relations have the columns of its time, and are
    /// read with the rights of its owner.
    #[must_use]
    pub fn read_by(mut self, view: &Entry) -> CatalogView {
        self.role = self.role.map(|_| view.owner);
        self.open = None;
        self.reader = Some(Arc::new(view.clone()));
        self
    }
}

impl CatalogView {
    /// The rows of a relation; none if there never were any.
    ///
    /// # Errors
    /// If it failed, and has not been computed anew since the server was started.
    fn stored_rows(&self, relation: &Relation) -> Result<Option<Arc<TableSnapshot>>> {
        let Some(snapshot) = &self.snapshot else {
            return Ok(None);
        };
        let id = relation.id.0;
        match snapshot.tables.get(&id) {
            None if snapshot.stale.contains_key(&id) => {
                Err(Error::Executor(executor::Error::Restarting {
                    name: relation.name.clone(),
                    reason: String::new(),
                }))
            }
            rows => Ok(rows.cloned()),
        }
    }

    /// The relation of users that a name means: for the query of a view what it meant when the
    /// view was created.
    fn entry(&self, schema: Option<&str>, name: &str) -> Option<&Arc<Entry>> {
        let mut path = self.path.iter();
        let own = path.find(|schema| temporary_schema::is_temporary(schema));
        let schema = match schema {
            Some(temporary_schema::ALIAS) => Some(own?.as_str()),
            // Temporary relations of other sessions are not there.
            Some(other) if temporary_schema::is_temporary(other) => {
                Some(own.filter(|own| *own == other)?.as_str())
            }
            written => written,
        };
        let written = Name {
            schema: schema.map(str::to_owned),
            local: name.to_owned(),
            path: self.path.clone(),
        };
        let key = written.to_string();
        let reader = self.reader.as_ref();
        if let Some(id) = reader.and_then(|reader| reader.bindings.get(&key)) {
            return self.catalog.by_id(*id);
        }
        let entry = self.catalog.by_name(&written)?;
        if self.reader.is_none() {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            met.relations.insert(key, entry.id);
        }
        Some(entry)
    }
}

impl planner::Catalog for CatalogView {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        if let Some((given, _)) = self.given.as_ref().filter(|(given, _)| given.name == name)
            && schema.is_none()
        {
            return Some(Arc::clone(given));
        }
        // pg_catalog is in front of the search path, as in PostgreSQL.
        let system = schema.unwrap_or(pg_catalog::SCHEMA);
        if let Some(relation) = pg_catalog::relation(system, name) {
            return Some(Arc::new(relation));
        }
        let entry = self.entry(schema, name)?;
        if matches!(
            entry.kind,
            Kind::Sequence(_) | Kind::Index(_) | Kind::Sink(_) | Kind::Function(_) | Kind::Type(_)
        ) {
            return None;
        }
        let relation = entry
            .relation(self.reader.as_ref().map(|reader| reader.id))
            .inspect_err(|error| tracing::error!(%error, name, "cannot describe a relation"));
        relation.ok().map(Arc::new)
    }

    fn check_read(&self, relation: &Relation) -> planner::Result<()> {
        let id = relation.id;
        if self.catalog.by_id(id.0).is_some_and(|entry| entry.creating) {
            let name = relation.name.clone();
            return Err(planner::Error::NotPopulated { name });
        }
        let Some(role) = self.role else {
            return Ok(());
        };
        let actor = Actor {
            catalog: &self.catalog,
            role,
        };
        let denied = |kind, name: &str| planner::Error::Denied {
            kind,
            name: name.to_owned(),
        };
        if pg_catalog::is_schema(&relation.schema_name) {
            let is_secret = SECRET.contains(&relation.name.as_str());
            return match is_secret && !actor.is_superuser() {
                true => Err(denied("table", &relation.name)),
                false => Ok(()),
            };
        }
        if id == GIVEN_ID || self.open == Some(id.0) {
            return Ok(());
        }
        // What a view's query names was looked up when the view was made.
        let schema = &relation.schema_name;
        if self.reader.is_none() && !actor.may_in_schema(schema, Privileges::USAGE) {
            return Err(denied("schema", schema));
        }
        match self.catalog.by_id(id.0) {
            Some(entry) if actor.check(entry, Privileges::SELECT).is_err() => {
                Err(denied(entry.kind_name(), &entry.name))
            }
            _ => Ok(()),
        }
    }

    fn database(&self) -> &str {
        &self.catalog.database().name
    }

    fn schema_exists(&self, schema: &str) -> bool {
        pg_catalog::is_schema(schema)
            || schema == temporary_schema::ALIAS
            || self.catalog.schema_oid(schema).is_some()
    }

    fn function(
        &self,
        schema: Option<&str>,
        name: &str,
        arguments: usize,
    ) -> Option<Arc<SqlFunction>> {
        let written = Name {
            schema: schema.map(str::to_owned),
            local: name.to_owned(),
            path: self.path.clone(),
        };
        let key = format!("{written}/{arguments}");
        if let Some(reader) = &self.reader {
            // As it was when the view was created.
            return reader.functions.get(&key).cloned().map(Arc::new);
        }
        let is_called = |function: &SqlFunction| {
            function.name == name && function.parameters.len() == arguments
        };
        let (id, function) = written.schemas().find_map(|schema| {
            let mut functions = self.catalog.functions();
            functions.find_map(|entry| {
                let function = entry.function().filter(|function| is_called(function))?;
                (entry.schema_name == schema).then_some((entry.id, function))
            })
        })?;
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.functions.insert(key, (id, function.clone()));
        Some(Arc::new(function.clone()))
    }

    fn named_type(&self, schema: Option<&str>, name: &str) -> Option<SqlType> {
        let entry = self.entry(schema, name)?;
        let composite = entry.composite()?;
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.types.insert(entry.id);
        Some(composite)
    }

    fn within(&self, view: RelationId) -> Option<Arc<dyn planner::Catalog>> {
        let view = self.catalog.by_id(view.0)?;
        Some(Arc::new(self.clone().read_by(view)))
    }

    fn is_system_schema(&self, schema: &str) -> bool {
        pg_catalog::is_schema(schema)
    }

    fn rows(&self, relation: &Relation) -> planner::Result<Arc<dyn TableProvider>> {
        if pg_catalog::is_schema(&relation.schema_name) {
            return pg_catalog::rows(
                relation,
                &self.catalog,
                self.snapshot.as_deref(),
                &self.system,
            )
            .map_err(in_planning);
        }
        if let Some((_, rows)) = self.given.as_ref().filter(|_| relation.id == GIVEN_ID) {
            let batches = vec![vec![rows.clone()]];
            return Ok(Arc::new(MemTable::try_new(rows.schema(), batches)?));
        }
        debug_assert!(matches!(
            relation.kind,
            RelationKind::Table | RelationKind::MaterializedView
        ));
        let rows = self.stored_rows(relation).map_err(in_planning)?;
        let places = relation.stored.as_ref().map(|stored| stored.places.clone());
        let table = SnapshotTable::new(Arc::clone(&relation.schema), places, rows);
        let paths = self.snapshot.as_ref().map_or_else(Vec::new, |snapshot| {
            access_paths(&self.catalog, snapshot, relation)
        });
        let table = table.with_paths(paths);
        let changes = self.changes.get(&relation.id.0).cloned();
        Ok(Arc::new(table.with_changes(changes.unwrap_or_default())))
    }
}

/// What the rows of a relation are hashed by, and its indexes.
pub(crate) fn access_paths(
    catalog: &Catalog,
    snapshot: &DatabaseSnapshot,
    relation: &Relation,
) -> Vec<AccessPath> {
    let id = relation.id.0;
    let Some(entry) = catalog.by_id(id) else {
        return Vec::new();
    };
    let place = |at: usize| relation.stored.as_ref().map_or(at, |s| s.places[at]);
    let columns = relation.schema.fields().len();
    let mut paths = Vec::new();
    let own = match entry.kind {
        Kind::Table => Some((entry.primary_key_name(), relation.primary_key.clone())),
        _ => entry.hashed_by.clone().map(|by| (entry.name.clone(), by)),
    };
    if let Some((name, key)) = own.filter(|(_, key)| !key.is_empty())
        && let Some(rows) = snapshot.tables.get(&id)
    {
        paths.push(AccessPath {
            name,
            key,
            unique: entry.kind == Kind::Table,
            places: (0..columns).map(|at| Some(place(at))).collect(),
            rows: Arc::clone(rows),
        });
    }
    for index in catalog.indexes_of(id) {
        let (Kind::Index(by), Some(rows)) = (&index.kind, snapshot.tables.get(&index.id)) else {
            continue;
        };
        if snapshot.stale.get(&index.id) != snapshot.stale.get(&id) {
            continue; // Its rows are of another epoch.
        }
        let column_at = |stored: &usize| (0..columns).find(|&at| place(at) == *stored);
        let Some(key) = by.places.iter().map(column_at).collect() else {
            continue;
        };
        let has = |at| (place(at) < by.width).then(|| place(at));
        paths.push(AccessPath {
            name: index.name.clone(),
            key,
            unique: false,
            places: (0..columns).map(has).collect(),
            rows: Arc::clone(rows),
        });
    }
    paths
}

fn in_planning(error: Error) -> planner::Error {
    planner::Error::DataFusion(Box::new(datafusion::error::DataFusionError::External(
        Box::new(error),
    )))
}
