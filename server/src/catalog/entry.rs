//! One relation of the catalog: what it is, what it is made of, what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};
use planner::measures::TwoPhaseAgg;
use planner::values::record::{Record, TypeName};
use planner::values::types::SqlType;
use planner::{RelationId, SqlFunction};
use serde::{Deserialize, Serialize};

use super::SCHEMA;
use crate::access::database::{dev_id, is_dev};
use crate::access::privilege::{Acl, Class};
use crate::access::role::ROOT_ID;
use crate::catalog_view::Met;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::pg_catalog::relations::quoted;
use crate::sequence::Sequence;
use crate::sink::Sink;

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
    /// The changes of a query, on their way into a table.
    Sink(Sink),
    /// A function of a user. It is no relation; its name is its signature.
    Function(SqlFunction),
    /// A composite type, whose fields are its columns. It has its name among the relations.
    Type(CompositeType),
}

/// What `CREATE TYPE … AS (…)` makes beside its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompositeType {
    /// Oid of its arrays.
    pub array_oid: u32,
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
            Kind::Sink(_) => "sink",
            Kind::Function(_) => "function",
            Kind::Type(_) => "type",
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
        matches!(
            self,
            Kind::Table | Kind::MaterializedView | Kind::Index(_) | Kind::Sink(_)
        )
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
    /// Its database.
    #[serde(default = "dev_id", skip_serializing_if = "is_dev")]
    pub database: u32,
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
    /// Which aggregations of its query have two phases.
    #[serde(default)]
    pub two_phase_agg: TwoPhaseAgg,
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
    /// Whether it is still being created, in the background (`background.rs`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub creating: bool,
    /// How many existing rows a second it reads while it is created in the background, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill_rate_limit: Option<u64>,
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
        self.dependencies.extend(met.types);
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

    /// The type that it is, if it is one.
    #[must_use]
    pub fn composite(&self) -> Option<SqlType> {
        let Kind::Type(CompositeType { array_oid }) = &self.kind else {
            return None;
        };
        let fields = self.columns.iter();
        Some(SqlType::Record(Record {
            named: Some(TypeName {
                oid: self.id,
                array_oid: *array_oid,
                name: self.reference(),
            }),
            fields: fields
                .map(|c| (c.name.clone(), c.sql_type.clone()))
                .collect(),
        }))
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
            Kind::Sink(_) => {
                return Err(Error::not_supported("a sink cannot be read as a table"));
            }
            Kind::Function(_) => {
                return Err(Error::not_supported("a function cannot be read as a table"));
            }
            Kind::Type(_) => {
                return Err(Error::not_supported("a type cannot be read as a table"));
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

pub(super) fn public() -> String {
    SCHEMA.to_owned()
}

fn root() -> u32 {
    ROOT_ID
}
