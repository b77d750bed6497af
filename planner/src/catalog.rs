//! Tables and views as the planner sees them: a trait that the server implements.
//!
//! Names reach the catalog as the user's query means them: folded to lower case unless quoted,
//! without the database. The search path is the catalog's: a lookup without a schema tries
//! `public`, then `pg_catalog`.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;

use crate::dataflow::{NexmarkOptions, NexmarkTable};
use crate::error::Result;
use crate::sql_function::SqlFunction;
use crate::values::types::SqlType;

/// Finds relations and their rows. One implementation value is one consistent state: the rows of
/// all relations are of one epoch.
pub trait Catalog: Send + Sync + std::fmt::Debug {
    /// The relation of this name. Without a schema, the first one on the search path.
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>>;

    /// The database that the query is run in. Names of others are refused.
    fn database(&self) -> &str {
        "dev"
    }

    /// Whether a schema of this name exists, so that an unknown one gets its own error.
    fn schema_exists(&self, schema: &str) -> bool {
        schema == "public" || self.is_system_schema(schema)
    }

    /// Whether a schema holds the server's own tables, which continuous views cannot read.
    fn is_system_schema(&self, schema: &str) -> bool {
        matches!(schema, "pg_catalog" | "information_schema")
    }

    /// The rows of a relation for a batch query, with the relation's schema. Never asked for
    /// [`RelationKind::Source`] and [`RelationKind::View`].
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn rows(&self, relation: &Relation) -> Result<Arc<dyn TableProvider>>;

    /// Whether the query may read a relation. Views are asked for, and what they read as well:
    /// that by the catalog of [`Catalog::within`].
    ///
    /// # Errors
    /// [`crate::Error::Denied`].
    fn check_read(&self, _relation: &Relation) -> Result<()> {
        Ok(())
    }

    /// The function of a user that a call of this name with so many arguments means.
    fn function(
        &self,
        _schema: Option<&str>,
        _name: &str,
        _arguments: usize,
    ) -> Option<Arc<SqlFunction>> {
        None
    }

    /// The type of a user that a name means.
    fn named_type(&self, _schema: Option<&str>, _name: &str) -> Option<SqlType> {
        None
    }

    /// The same as the query of a view means it: what has got other columns since the view was
    /// created has those that it had then. `None` if nothing differs.
    fn within(&self, _view: RelationId) -> Option<Arc<dyn Catalog>> {
        None
    }
}

/// Identifies a relation for as long as the database lives; also the id of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub u32);

impl std::fmt::Display for RelationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A table, source or view.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Identity.
    pub id: RelationId,
    /// Schema, such as `public`.
    pub schema_name: String,
    /// Name within the schema.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Columns; for a view with a column list, under the names of that list.
    pub schema: SchemaRef,
    /// Columns of `schema` that are unique among its rows: a table's primary key, a view's stream
    /// key. Empty if there is none.
    pub primary_key: Vec<usize>,
    /// Whether rows are never updated or deleted.
    pub append_only: bool,
    /// `WATERMARK FOR` of a table or source.
    pub watermark: Option<WatermarkDefinition>,
    /// Columns of `schema` that have a watermark.
    pub watermarks: Vec<usize>,
    /// Where the columns lie in the rows, if not one by one.
    pub stored: Option<StoredColumns>,
}

/// `WATERMARK FOR column AS expr`, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkDefinition {
    /// The column.
    pub column: usize,
    /// SQL text of the watermark that each row makes.
    pub expr: String,
    /// The time zone that it was written in.
    pub time_zone: String,
    /// After which time without rows the watermark goes on with the clock.
    pub idle_timeout: Option<Duration>,
}

/// How the columns of a table lie in its rows, which may have others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredColumns {
    /// The columns of the rows.
    pub schema: SchemaRef,
    /// For each column of the relation, its place among them.
    pub places: Vec<usize>,
}

/// The kinds of relations.
#[derive(Clone, Debug)]
pub enum RelationKind {
    /// A base table, or a system table: rows by [`Catalog::rows`]. A continuous view may read it
    /// only if its schema is not a system schema.
    Table,
    /// A generated stream that keeps no rows.
    Source(NexmarkSource),
    /// A continuously maintained view.
    MaterializedView,
    /// A named query.
    View {
        /// The query's SQL text, without `CREATE VIEW … AS`.
        definition: String,
    },
}

/// A source on the NEXMark generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexmarkSource {
    /// Options of the generator. Sources of equal options show one and the same stream.
    pub options: NexmarkOptions,
    /// Which of the generator's streams.
    pub table: NexmarkTable,
}
