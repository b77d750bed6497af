//! A table or view as DataFusion scans it: the partitions of one snapshot, without a copy.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use storage::TableSnapshot;

/// The rows of one relation at one epoch.
#[derive(Debug)]
pub struct SnapshotTable {
    schema: SchemaRef,
    /// `None`: the relation has no rows yet.
    rows: Option<Arc<TableSnapshot>>,
}

impl SnapshotTable {
    /// The rows of `rows`, with the columns of `schema`.
    #[must_use]
    pub fn new(schema: SchemaRef, rows: Option<Arc<TableSnapshot>>) -> SnapshotTable {
        SnapshotTable { schema, rows }
    }

    /// Batches for each of `count` tasks; a key group's rows stay together.
    fn partitions(
        &self,
        projection: Option<&[usize]>,
        schema: &SchemaRef,
        count: usize,
    ) -> Result<Vec<Vec<RecordBatch>>> {
        let mut partitions = vec![Vec::new(); count.max(1)];
        let mut row_counts = vec![0usize; partitions.len()];
        for key_group in self
            .rows
            .iter()
            .flat_map(|rows| rows.partitions.iter().flatten())
        {
            let least = (0..partitions.len())
                .min_by_key(|&i| row_counts[i])
                .unwrap_or(0);
            for batch in key_group
                .batches(projection)
                .map_err(|e| DataFusionError::External(Box::new(e)))?
            {
                row_counts[least] += batch.num_rows();
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = batch.columns().to_vec();
                partitions[least].push(RecordBatch::try_new_with_options(
                    Arc::clone(schema),
                    columns,
                    &options,
                )?);
            }
        }
        Ok(partitions)
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let count = state.config_options().execution.target_partitions;
        let partitions = self.partitions(projection.map(Vec::as_slice), &schema, count)?;
        Ok(MemorySourceConfig::try_new_exec(&partitions, schema, None)?)
    }
}
