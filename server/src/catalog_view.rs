//! One consistent state of the database, as the planner sees it: catalog, rows of one epoch, and
//! the system tables made from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};
use planner::{Relation, RelationId, RelationKind};
use storage::DatabaseSnapshot;

use crate::catalog::{Catalog, Kind, SCHEMA};
use crate::error::Error;
use crate::pg_catalog;
use crate::session::transaction::Write;
use crate::snapshot_table::{SnapshotTable, TableChanges};

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
    /// The view whose query this is for.
    reader: Option<u32>,
}

impl CatalogView {
    /// The state that a query sees.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        snapshot: Option<Arc<DatabaseSnapshot>>,
        system: pg_catalog::Context,
    ) -> CatalogView {
        CatalogView {
            catalog,
            snapshot,
            system,
            changes: BTreeMap::new(),
            given: None,
            reader: None,
        }
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
            reader: None,
        }
    }

    /// The same as the query of a view means it: relations have the columns of its time.
    #[must_use]
    pub fn read_by(mut self, view: u32) -> CatalogView {
        self.reader = Some(view);
        self
    }
}

impl planner::Catalog for CatalogView {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let system = |schema: &str| pg_catalog::relation(schema, name).map(Arc::new);
        let user = || {
            let entry = self.catalog.by_name(name)?;
            if matches!(entry.kind, Kind::Sequence(_)) {
                return None;
            }
            entry
                .relation(self.reader)
                .inspect_err(|error| tracing::error!(%error, name, "cannot describe a relation"))
                .ok()
        };
        match schema {
            Some(schema) if schema == SCHEMA => user().map(Arc::new),
            Some(schema) => system(schema),
            None if self
                .given
                .as_ref()
                .is_some_and(|(given, _)| given.name == name) =>
            {
                self.given.as_ref().map(|(given, _)| Arc::clone(given))
            }
            // pg_catalog is in front of the search path, as in PostgreSQL.
            None => system(pg_catalog::SCHEMA).or_else(|| user().map(Arc::new)),
        }
    }

    fn within(&self, view: RelationId) -> Option<Arc<dyn planner::Catalog>> {
        Some(Arc::new(self.clone().read_by(view.0)))
    }

    fn is_system_schema(&self, schema: &str) -> bool {
        pg_catalog::is_schema(schema)
    }

    fn rows(&self, relation: &Relation) -> planner::Result<Arc<dyn TableProvider>> {
        if relation.schema_name != SCHEMA {
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
        let rows = self
            .snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.tables.get(&relation.id.0).cloned());
        let places = relation.stored.as_ref().map(|stored| stored.places.clone());
        let table = SnapshotTable::new(Arc::clone(&relation.schema), places, rows);
        let changes = self.changes.get(&relation.id.0).cloned();
        Ok(Arc::new(table.with_changes(changes.unwrap_or_default())))
    }
}

fn in_planning(error: Error) -> planner::Error {
    planner::Error::DataFusion(Box::new(datafusion::error::DataFusionError::External(
        Box::new(error),
    )))
}
