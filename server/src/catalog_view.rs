//! One consistent state of the database, as the planner sees it: catalog, rows of one epoch, and
//! the system tables made from them.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use planner::{Relation, RelationKind};
use storage::DatabaseSnapshot;

use crate::catalog::{Catalog, SCHEMA};
use crate::error::Error;
use crate::pg_catalog;
use crate::snapshot_table::SnapshotTable;

/// Catalog and rows of one moment.
#[derive(Debug)]
pub struct CatalogView {
    catalog: Arc<Catalog>,
    snapshot: Option<Arc<DatabaseSnapshot>>,
    system: pg_catalog::Context,
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
        }
    }

    /// For planning only: no rows, empty system tables.
    #[must_use]
    pub fn without_rows(catalog: Arc<Catalog>) -> CatalogView {
        CatalogView {
            catalog,
            snapshot: None,
            system: pg_catalog::Context::default(),
        }
    }
}

impl planner::Catalog for CatalogView {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let system = |schema: &str| pg_catalog::relation(schema, name).map(Arc::new);
        let user = || {
            let entry = self.catalog.by_name(name)?;
            entry
                .relation()
                .inspect_err(|error| tracing::error!(%error, name, "cannot describe a relation"))
                .ok()
        };
        match schema {
            Some(schema) if schema == SCHEMA => user().map(Arc::new),
            Some(schema) => system(schema),
            // pg_catalog is in front of the search path, as in PostgreSQL.
            None => system(pg_catalog::SCHEMA).or_else(|| user().map(Arc::new)),
        }
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
        debug_assert!(matches!(
            relation.kind,
            RelationKind::Table | RelationKind::MaterializedView
        ));
        let rows = self
            .snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.tables.get(&relation.id.0).cloned());
        Ok(Arc::new(SnapshotTable::new(
            Arc::clone(&relation.schema),
            rows,
        )))
    }
}

fn in_planning(error: Error) -> planner::Error {
    planner::Error::DataFusion(Box::new(datafusion::error::DataFusionError::External(
        Box::new(error),
    )))
}
