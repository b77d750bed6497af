//! Reads all rows of a relation, a part of its key groups each task.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;
use storage::{PartitionSnapshot, TableSnapshot};

use crate::index_read::scan_source::ScanSource;

/// All rows of a relation.
#[derive(Debug)]
pub struct TableScan {
    source: ScanSource,
    /// Where the columns lie in the rows.
    places: Vec<usize>,
    /// The key groups of each task.
    partitions: Vec<Vec<PartitionSnapshot>>,
    properties: Arc<PlanProperties>,
}

impl TableScan {
    /// The rows of a relation in about equal parts for `count` tasks; the columns of the scan lie at
    /// `places`.
    #[must_use]
    pub fn new(
        source: ScanSource,
        places: Vec<usize>,
        rows: Option<&TableSnapshot>,
        count: usize,
    ) -> TableScan {
        let partitions = parts(rows, count);
        let equivalences = EquivalenceProperties::new(Arc::clone(&source.output));
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        TableScan {
            properties: Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)),
            source,
            places,
            partitions,
        }
    }

    /// What is scanned.
    #[must_use]
    pub fn source(&self) -> &ScanSource {
        &self.source
    }
}

/// Key groups for each of `count` tasks.
fn parts(rows: Option<&TableSnapshot>, count: usize) -> Vec<Vec<PartitionSnapshot>> {
    let mut parts = vec![Vec::new(); count.max(1)];
    let mut row_counts = vec![0; parts.len()];
    let key_groups = rows
        .iter()
        .flat_map(|rows| rows.partitions.iter().flatten());
    for key_group in key_groups {
        let least = (0..parts.len()).min_by_key(|&at| row_counts[at]);
        let least = least.unwrap_or(0);
        row_counts[least] += key_group.rows();
        parts[least].push(key_group.clone());
    }
    parts
}

/// The rows of a key group as a scan gives them.
pub(crate) fn batches(
    key_group: &PartitionSnapshot,
    places: &[usize],
    output: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let batches = key_group.batches(Some(places));
    let batches = batches.map_err(|error| DataFusionError::External(Box::new(error)))?;
    let named = batches.into_iter().map(|batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        let output = Arc::clone(output);
        Ok(RecordBatch::try_new_with_options(
            output, columns, &options,
        )?)
    });
    named.collect()
}

impl DisplayAs for TableScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (partitions, rows) = (self.partitions.len(), self.source.rows);
        write!(f, "TableScan: partitions={partitions}, rows={rows}")
    }
}

impl ExecutionPlan for TableScan {
    fn name(&self) -> &str {
        "TableScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let key_groups = self.partitions[partition].clone().into_iter();
        let places = self.places.clone();
        let output = Arc::clone(&self.source.output);
        let named = Arc::clone(&output);
        let rows =
            key_groups.flat_map(
                move |key_group| match batches(&key_group, &places, &named) {
                    Ok(batches) => batches.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                },
            );
        let rows = RecordBatchStreamAdapter::new(output, stream::iter(rows));
        Ok(make_cooperative(Box::pin(rows)))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = |part: &Vec<PartitionSnapshot>| part.iter().map(PartitionSnapshot::rows).sum();
        let rows: u64 = match args.partition() {
            Some(partition) => rows(&self.partitions[partition]),
            None => self.partitions.iter().map(rows).sum(),
        };
        let mut statistics = Statistics::new_unknown(&self.source.output);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(Arc::new(statistics))
    }
}
