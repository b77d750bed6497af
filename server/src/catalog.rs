//! The catalog: which relations exist, what they are made of, what depends on what.
//!
//! A [`Catalog`] is an immutable value, of one database; DDL makes the next one and swaps it in, so that a query
//! sees one state from its first name to its last. Durable form: one JSON row per relation, plus
//! the next free id, written together with the job they describe (`storage`'s `CatalogChange`).
//!
//! A relation's id is its job's id and its oid for clients. Ids are never used again.
//! Not here: rows (`snapshot_table.rs`), the system tables (`pg_catalog`).

mod catalogs;
mod entry;
mod rows;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use planner::values::types::SqlType;

use crate::access::Access;
use crate::access::database::Database;
use crate::access::privilege::{Acl, Class};
use crate::error::{Error, Result};
use crate::namespace::{Name, Namespace};
use crate::sequence::Sequence;
use crate::temporary_schema;

pub use catalogs::Catalogs;
pub use entry::{
    Adaptivity, Column, CompositeType, ConflictPolicy, Entry, Identity, Index, Kind, WatermarkFor,
};
pub use rows::{
    delete_change, delete_schema_change, numbered_change, put_change, update_change,
    update_schema_change, with_new_id,
};
pub use shared::SharedCatalog;

/// First id of a user's relation, as in PostgreSQL (`FirstNormalObjectId` + 1).
pub const FIRST_ID: u32 = 16_385;

/// The schema of users' relations that is always there.
pub const SCHEMA: &str = "public";

/// All relations of a database at one moment.
#[derive(Debug, Clone)]
pub struct Catalog {
    database: Database,
    entries: BTreeMap<u32, Arc<Entry>>,
    names: BTreeMap<(String, String), u32>,
    schemas: BTreeMap<String, Namespace>,
    /// Roles, databases, and rights that belong to no relation or schema: of the whole server.
    pub access: Access,
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog::of(Database::dev(), Access::default())
    }
}

impl Catalog {
    /// The catalog of an empty database.
    #[must_use]
    pub fn of(database: Database, access: Access) -> Catalog {
        let public = Namespace::public(database.id, database.owner);
        Catalog {
            database,
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            schemas: BTreeMap::from([(public.name.clone(), public)]),
            access,
        }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
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

    /// As [`by_name`](Self::by_name), for a name that has to mean one.
    ///
    /// # Errors
    /// [`Error::UndefinedRelation`].
    pub fn relation(&self, name: &Name) -> Result<&Arc<Entry>> {
        self.by_name(name).ok_or_else(|| Error::UndefinedRelation {
            name: name.to_string(),
        })
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

    /// All relations but those of subscriptions, by id: a relation comes after those that it reads.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let is_relation = |kind: &Kind| !matches!(kind, Kind::Function(_) | Kind::Type(_));
        let entries = self.entries.values();
        entries.filter(move |entry| !entry.temporary && is_relation(&entry.kind))
    }

    /// All composite types, by id.
    pub fn types(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let entries = self.entries.values();
        entries.filter(|entry| matches!(entry.kind, Kind::Type(_)))
    }

    /// The type of this oid: one that is always there, a user's, or an array of one.
    #[must_use]
    pub fn type_of_oid(&self, oid: u32) -> Option<SqlType> {
        if let Some(known) = SqlType::from_oid(oid) {
            return Some(known);
        }
        self.types().find_map(|entry| {
            let composite = entry.composite()?;
            if entry.id == oid {
                return Some(composite);
            }
            let arrays = SqlType::Array(Box::new(composite));
            (arrays.oid() == oid).then_some(arrays)
        })
    }

    /// The relations and types that have columns of a type.
    pub fn users_of_type(&self, oid: u32) -> impl Iterator<Item = &Arc<Entry>> {
        let entries = self.entries.values();
        entries.filter(move |entry| entry.columns.iter().any(|c| c.sql_type.is_made_of(oid)))
    }

    /// Those of them that queries and the system catalogs know: all but sinks.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries()
            .filter(|entry| !matches!(entry.kind, Kind::Sink(_)))
    }

    /// Relations, functions and types: all that a schema holds.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries().chain(self.functions()).chain(self.types())
    }

    /// All functions, by id.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries
            .values()
            .filter(|entry| entry.function().is_some())
    }

    /// Forgets relations of sessions and subscriptions; gives their ids.
    pub fn remove_temporary(&mut self) -> BTreeSet<u32> {
        let is_temporary = |entry: &&Arc<Entry>| {
            entry.temporary || temporary_schema::is_temporary(&entry.schema_name)
        };
        let temporary = self.entries.values().filter(is_temporary);
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

    /// Everything in it, functions and what belongs to subscriptions included.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.entries.keys().copied()
    }

    /// The ids of everything, and of jobs that work for it.
    pub fn jobs(&self) -> impl Iterator<Item = u32> {
        self.entries.values().flat_map(|entry| {
            let delivered = match &entry.kind {
                Kind::Sink(sink) => Some(sink.delivered),
                _ => None,
            };
            std::iter::once(entry.id).chain(delivered)
        })
    }

    /// What a new object is granted; `None`: nothing but what every such object has.
    #[must_use]
    pub fn default_acl(&self, owner: u32, schema: Option<u32>, class: Class) -> Option<Acl> {
        self.access
            .default_acl(self.database.id, owner, schema, class)
    }

    /// The same schemas, without a relation.
    #[must_use]
    pub fn without_relations(&self) -> Catalog {
        Catalog {
            database: self.database.clone(),
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            schemas: self.schemas.clone(),
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

#[cfg(test)]
pub(crate) mod tests {
    use planner::measures::TwoPhaseAgg;
    use planner::values::types::SqlType;

    use super::entry::public;
    use super::rows::relation_key;
    use super::*;
    use crate::access::database::DEV_ID;
    use crate::access::role::ROOT_ID;
    use crate::error::Error;

    pub(crate) fn entry(id: u32, name: &str, dependencies: &[u32]) -> Entry {
        Entry {
            id,
            database: DEV_ID,
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
            two_phase_agg: TwoPhaseAgg::default(),
            comment: None,
            owner: ROOT_ID,
            acl: None,
            temporary: false,
            creating: false,
            backfill_rate_limit: None,
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
        let read = Catalogs::from_rows(&rows).unwrap();
        let catalog = &read.catalogs[&DEV_ID];
        assert_eq!(catalog.find(SCHEMA, "v").unwrap().as_ref(), &second);
        assert_eq!(read.next_id, FIRST_ID + 2);
        assert!(matches!(
            Catalogs::from_rows(&[(b"relation/1".to_vec(), b"x".to_vec())]),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn rows_from_before_adaptivity_are_read() {
        let written = entry(FIRST_ID, "t", &[]);
        let mut json = serde_json::to_value(&written).unwrap();
        json.as_object_mut().unwrap().remove("adaptivity").unwrap();
        let row = (relation_key(FIRST_ID), serde_json::to_vec(&json).unwrap());
        let read = Catalogs::from_rows(&[row]).unwrap();
        let catalog = &read.catalogs[&DEV_ID];
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
