//! Schema `tide`: executors, key groups and rescales as tables.
//!
//! ```text
//!   SELECT … FROM tide.executors ─► scan ─► Lens: engine.observe(), once a query ─► rows
//! ```
//!
//! The engine is asked when a query runs and not before, so queries of other tables pay nothing,
//! and the tables of one query show one moment.

mod tables;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use executor::{Observation, RowError};
use tokio::sync::OnceCell;

use crate::adaptive::ScalingDecision;
use crate::catalog::Catalog;
use crate::pg_catalog::Context;
use crate::pg_catalog::table::{Source, SystemTable};
use crate::server::Shared;

pub(crate) use tables::{TABLES, key_groups_done, moved_by_rescale};

/// The schema's name.
pub const SCHEMA: &str = "tide";

/// Its oid.
pub const SCHEMA_OID: u32 = 13_200;

/// What the tables are made from.
#[derive(Debug)]
pub struct Seen {
    /// Executors, key groups and rescales.
    pub observation: Observation,
    /// By relation, rows on which an expression failed.
    pub row_errors: Vec<(u32, RowError)>,
    /// The bound on the bytes of state in memory.
    pub state_memory_limit: u64,
    /// Bytes that queries take.
    pub query_bytes: u64,
    /// The bound on them.
    pub query_memory_limit: u64,
    /// What adaptive relations decided, oldest first.
    pub decisions: Vec<ScalingDecision>,
}

/// One query's look at the engine: all its tables show the moment at which it first looked.
#[derive(Debug)]
pub struct Lens {
    shared: Arc<Shared>,
    seen: OnceCell<Seen>,
}

impl Lens {
    /// A lens that has not been looked through.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Lens {
        Lens {
            shared,
            seen: OnceCell::new(),
        }
    }

    async fn look(&self) -> executor::Result<&Seen> {
        let look = async || {
            let mut observation = self.shared.engine.observe().await?;
            let mut row_errors = self.shared.engine.row_errors();
            // What other databases have is theirs.
            let elsewhere = self.shared.catalog.elsewhere();
            let is_here = |job: u32| !elsewhere.contains(&job);
            observation
                .executors
                .retain(|executor| is_here(executor.job));
            observation.key_groups.retain(|group| is_here(group.job));
            observation.rescales.retain(|rescale| is_here(rescale.job));
            observation.lateness.retain(|(job, _)| is_here(*job));
            row_errors.retain(|(job, _)| is_here(*job));
            Ok(Seen {
                observation,
                row_errors,
                state_memory_limit: self.shared.config.state_memory_limit,
                query_bytes: self.shared.query_memory.used() as u64,
                query_memory_limit: self.shared.config.query_memory_limit as u64,
                decisions: self.shared.decisions.all(),
            })
        };
        self.seen.get_or_try_init(look).await
    }
}

/// A table of the schema, for one query.
#[derive(Debug)]
pub struct TideTable {
    table: &'static SystemTable,
    catalog: Arc<Catalog>,
    context: Context,
}

impl TideTable {
    /// The table as a query with this catalog and context sees it.
    #[must_use]
    pub fn new(table: &'static SystemTable, catalog: Arc<Catalog>, context: Context) -> TideTable {
        TideTable {
            table,
            catalog,
            context,
        }
    }
}

#[async_trait]
impl TableProvider for TideTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let seen = match &self.context.lens {
            Some(lens) => Some(lens.look().await.map_err(external)?),
            None => None,
        };
        let batch = self.table.batch(&Source {
            catalog: &self.catalog,
            snapshot: None,
            context: &self.context,
            seen,
        });
        let partitions = [vec![batch.map_err(external)?]];
        let columns = projection.cloned();
        Ok(MemorySourceConfig::try_new_exec(
            &partitions,
            self.table.schema(),
            columns,
        )?)
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
