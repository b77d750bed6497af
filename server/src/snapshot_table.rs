//! A table or view as DataFusion scans it: the partitions of one snapshot, without a copy.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, SchemaRef};
use arrow::row::{Row, RowConverter, SortField};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use storage::TableSnapshot;

use crate::index_read::access_path::AccessPath;
use crate::index_read::key_conditions::limits_column;
use crate::index_read::point_lookup::{PointLookup, PointLookupExec, gives_values};
use crate::index_read::scan_source::ScanSource;
use crate::index_read::table_scan::{TableScan, batches};

/// The rows of one relation at one epoch.
#[derive(Debug)]
pub struct SnapshotTable {
    schema: SchemaRef,
    /// Where the columns lie in the rows, which may have others.
    places: Vec<usize>,
    /// `None`: the relation has no rows yet.
    rows: Option<Arc<TableSnapshot>>,
    /// What the reader has changed since.
    changes: TableChanges,
    /// Where rows of some values are found.
    paths: Arc<[AccessPath]>,
}

/// Changes of a table that are not in its snapshot: rows, and a weight for each.
pub type TableChanges = Vec<(RecordBatch, Vec<i64>)>;

impl SnapshotTable {
    /// The rows of `rows`, with the columns of `schema`, which lie at `places`, or else one by one.
    #[must_use]
    pub fn new(
        schema: SchemaRef,
        places: Option<Vec<usize>>,
        rows: Option<Arc<TableSnapshot>>,
    ) -> SnapshotTable {
        SnapshotTable {
            places: places.unwrap_or_else(|| (0..schema.fields().len()).collect()),
            schema,
            rows,
            changes: Vec::new(),
            paths: Arc::default(),
        }
    }

    /// The same rows, changed.
    #[must_use]
    pub fn with_changes(self, changes: TableChanges) -> SnapshotTable {
        SnapshotTable { changes, ..self }
    }

    /// The same rows, some of which can be looked up.
    #[must_use]
    pub fn with_paths(self, paths: Vec<AccessPath>) -> SnapshotTable {
        SnapshotTable {
            paths: paths.into(),
            ..self
        }
    }

    /// The best way to what the filters ask for, if it need not read all rows.
    fn look_up(&self, projection: Option<&Vec<usize>>, filters: &[Expr]) -> Option<PointLookup> {
        if filters.is_empty() {
            return None;
        }
        let paths = self.paths.iter().filter(|path| path.covers(projection));
        let lookups = paths.filter_map(|path| path.look_up(&self.schema, filters));
        // The longest key leaves the fewest rows.
        lookups.min_by_key(|lookup| (lookup.partitions.len(), usize::MAX - lookup.path.key.len()))
    }

    fn scan_looked_up(
        &self,
        lookup: PointLookup,
        source: ScanSource,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !lookup.path.unique
            && let Some(range) = source.range_within(&lookup.path.key, lookup.rows())?
        {
            return Ok(Arc::new(range));
        }
        let columns = source.projection.iter();
        let places = columns.filter_map(|&column| lookup.path.places[column]);
        let places: Vec<usize> = places.collect();
        let mut found = Vec::new();
        for partition in &lookup.partitions {
            found.extend(batches(partition, &places, &source.output)?);
        }
        let schema = Arc::clone(&source.output);
        let rows = MemorySourceConfig::try_new_exec(&[found], schema, None)?;
        Ok(Arc::new(PointLookupExec::new(source, rows, lookup)))
    }

    /// All rows, those of the changes added and taken away.
    fn changed_rows(&self, projection: Option<&Vec<usize>>) -> Result<Vec<RecordBatch>> {
        let mut changed = Changed::new(&self.schema, &self.changes)?;
        let mut rows = Vec::new();
        let key_groups = self.rows.iter().flat_map(|rows| &rows.partitions);
        for key_group in key_groups.flatten() {
            for batch in batches(key_group, &self.places, &self.schema)? {
                rows.push(changed.without_deleted(&batch)?);
            }
        }
        rows.extend(changed.inserted(&self.changes)?);
        let projected = rows.iter().map(|batch| match projection {
            Some(columns) => Ok(batch.project(columns)?),
            None => Ok(batch.clone()),
        });
        projected.collect()
    }
}

/// The sum of all changes, by row.
struct Changed {
    converter: RowConverter,
    weights: HashMap<Box<[u8]>, i64>,
}

impl Changed {
    fn new(schema: &SchemaRef, changes: &TableChanges) -> Result<Changed> {
        let field = |field: &Arc<Field>| SortField::new(field.data_type().clone());
        let converter = RowConverter::new(schema.fields().iter().map(field).collect())?;
        let mut weights: HashMap<Box<[u8]>, i64> = HashMap::new();
        for (rows, of_rows) in changes {
            let keys = converter.convert_columns(rows.columns())?;
            for (row, weight) in keys.iter().zip(of_rows) {
                *weights.entry(row.data().into()).or_default() += weight;
            }
        }
        Ok(Changed { converter, weights })
    }

    /// Rows without those that are deleted, each as often as it is.
    fn without_deleted(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let keys = self.converter.convert_columns(rows.columns())?;
        let keep = |row: Row<'_>| match self.weights.get_mut(row.data()) {
            Some(weight) if *weight < 0 => {
                *weight += 1;
                false
            }
            _ => true,
        };
        let kept: BooleanArray = keys.iter().map(keep).map(Some).collect();
        Ok(filter_record_batch(rows, &kept)?)
    }

    /// The rows that are added, each as often as it is.
    fn inserted(&mut self, changes: &TableChanges) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for (rows, _) in changes {
            let keys = self.converter.convert_columns(rows.columns())?;
            let mut added = Vec::new();
            for (row, key) in (0u32..).zip(&keys) {
                let weight = self.weights.remove(key.data()).unwrap_or(0);
                added.extend((0..weight).map(|_| row));
            }
            batches.push(take_record_batch(rows, &UInt32Array::from(added))?);
        }
        Ok(batches)
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

    /// Filters that give values or bounds to a column of a path are worth knowing; the rows that are
    /// found are filtered all the same.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let keys = || self.paths.iter().flat_map(|path| &path.key);
        let is_useful = |filter: &&Expr| {
            keys().any(|&column| {
                let field = self.schema.field(column);
                gives_values(filter, field.name())
                    || limits_column(filter, field.name(), field.data_type())
            })
        };
        let support = |filter: &&Expr| match is_useful(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        if !self.changes.is_empty() {
            let rows = self.changed_rows(projection)?;
            return Ok(MemorySourceConfig::try_new_exec(&[rows], schema, None)?);
        }
        let all = || (0..self.places.len()).collect();
        let rows = self.rows.as_deref().map_or(0, TableSnapshot::rows);
        let source = ScanSource {
            schema: Arc::clone(&self.schema),
            paths: Arc::clone(&self.paths),
            projection: projection.cloned().unwrap_or_else(all),
            output: schema,
            filters: filters.to_vec(),
            rows: usize::try_from(rows).unwrap_or(usize::MAX),
        };
        if let Some(lookup) = self.look_up(projection, filters) {
            return self.scan_looked_up(lookup, source);
        }
        if let Some(range) = source.range()? {
            return Ok(Arc::new(range));
        }
        let places = source.projection.iter();
        let places = places.map(|&column| self.places[column]).collect();
        let count = state.config_options().execution.target_partitions;
        let rows = self.rows.as_deref();
        Ok(Arc::new(TableScan::new(source, places, rows, count)))
    }
}
