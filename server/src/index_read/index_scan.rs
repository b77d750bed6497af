//! Reads the rows of some keys: between bounds (`IndexRange`), or in the order of the keys (`OrderedScan`).
//!
//! One task reads, as there is little to read. The filters above it become its own, so that a limit does
//! too and reading ends with the last row that is wanted. Batches are small at first: the rows that
//! filters leave may be enough.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, conjunction};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::sorts::sort::sort_batch;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;
use storage::{Direction, KeyRead};

use crate::index_read::access_path::AccessPath;
use crate::index_read::key_conditions::KeyConditions;
use crate::index_read::scan_source::ScanSource;

/// Rows of a batch, once a read has gone on for a while.
const BATCH_ROWS: usize = 8192;
/// Rows of the first batch where filters are still to leave some out.
const FIRST_ROWS: usize = 64;
/// The part of the rows that are read in order for a limit. If filters leave too few rows of it, the others
/// are read in no order and sorted: that is as much faster.
const ORDERED_PART: usize = 32;
/// A read of more rows, in no order and without a limit, takes them a chunk at a time.
const LONG_READ_ROWS: usize = 16 * BATCH_ROWS;

/// The rows of some keys.
#[derive(Debug, Clone)]
pub struct IndexScan {
    source: ScanSource,
    index: String,
    conditions: String,
    /// Where the columns lie in the rows.
    places: Vec<usize>,
    /// What is read, one after the other.
    reads: Vec<KeyRead>,
    order: Option<(LexOrdering, Direction)>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl IndexScan {
    /// The rows of `reads`, which have the keys of `path` that fulfil `conditions`.
    #[must_use]
    pub fn new(
        source: ScanSource,
        path: &AccessPath,
        conditions: &KeyConditions,
        reads: Vec<KeyRead>,
    ) -> IndexScan {
        let columns = source.projection.iter();
        let equivalences = EquivalenceProperties::new(Arc::clone(&source.output));
        IndexScan {
            index: path.name.clone(),
            conditions: conditions.to_string(),
            places: columns.filter_map(|&column| path.places[column]).collect(),
            reads,
            order: None,
            filter: None,
            fetch: None,
            properties: properties(equivalences),
            source,
        }
    }

    /// The same in the order of the keys, which is one by these columns of the scan.
    #[must_use]
    pub fn in_order(self, order: &LexOrdering, direction: Direction) -> IndexScan {
        let output = Arc::clone(&self.source.output);
        let equivalences = EquivalenceProperties::new_with_orderings(output, [order.clone()]);
        IndexScan {
            order: Some((order.clone(), direction)),
            properties: properties(equivalences),
            ..self
        }
    }

    /// The rows of which a filter is true.
    #[must_use]
    pub fn with_filter(self, filter: Arc<dyn PhysicalExpr>) -> IndexScan {
        let filter = conjunction(self.filter.iter().cloned().chain([filter]));
        IndexScan {
            filter: Some(filter),
            ..self
        }
    }

    /// The first rows, if a number of them is given.
    #[must_use]
    pub fn first(self, fetch: Option<usize>) -> IndexScan {
        IndexScan { fetch, ..self }
    }

    /// All rows at once.
    ///
    /// # Errors
    /// If the filter fails.
    pub fn collect(&self) -> Result<Vec<RecordBatch>> {
        let mut reading = self.reading();
        std::iter::from_fn(|| reading.next().transpose()).collect()
    }

    /// What is scanned.
    #[must_use]
    pub fn source(&self) -> &ScanSource {
        &self.source
    }

    /// Distinct rows of these keys, at most.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.reads.iter().map(KeyRead::rows).sum()
    }

    fn reading(&self) -> Reading {
        let direction = match &self.order {
            Some((_, direction)) => *direction,
            None => Direction::Any,
        };
        let reads = self.reads.iter().cloned();
        let fetch = self.fetch.unwrap_or(usize::MAX);
        let ordered_rows = match (&self.order, &self.filter) {
            (Some(_), Some(_)) => (self.rows() / ORDERED_PART).max(BATCH_ROWS),
            _ => usize::MAX,
        };
        Reading {
            reads: reads.map(|read| read.in_order(direction)).collect(),
            order: self.order.as_ref().map(|(order, _)| order.clone()),
            places: self.places.clone(),
            output: Arc::clone(&self.source.output),
            filter: self.filter.clone(),
            left: fetch,
            batch_rows: match self.filter {
                Some(_) => fetch.clamp(FIRST_ROWS, BATCH_ROWS),
                None => fetch.min(BATCH_ROWS),
            },
            ordered_rows,
            by_chunks: self.order.is_none() && self.fetch.is_none() && self.rows() > LONG_READ_ROWS,
        }
    }
}

fn properties(equivalences: EquivalenceProperties) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        equivalences,
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

impl DisplayAs for IndexScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: index={}", self.name(), self.index)?;
        if let Some((order, _)) = &self.order {
            write!(f, ", order=[{order}]")?;
        }
        if !self.conditions.is_empty() {
            write!(f, ", keys=[{}]", self.conditions)?;
        }
        if let Some(filter) = &self.filter {
            write!(f, ", filter={filter}")?;
        }
        match self.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for IndexScan {
    fn name(&self) -> &str {
        match self.order {
            Some(_) => "OrderedScan",
            None => "IndexRange",
        }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.filter {
            Some(filter) => visit(filter),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut reading = self.reading();
        let batches = stream::iter(std::iter::from_fn(move || reading.next().transpose()));
        let output = Arc::clone(&self.source.output);
        let rows = RecordBatchStreamAdapter::new(output, batches);
        Ok(make_cooperative(Box::pin(rows)))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = self.rows().min(self.fetch.unwrap_or(usize::MAX));
        let mut statistics = Statistics::new_unknown(&self.source.output);
        statistics.num_rows = Precision::Inexact(rows);
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.clone().first(limit)))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        offered: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        if phase != FilterPushdownPhase::Pre
            || self.fetch.is_some()
            || offered.parent_filters.is_empty()
        {
            return Ok(FilterPushdownPropagation::all_unsupported(offered));
        }
        let taken = vec![PushedDown::Yes; offered.parent_filters.len()];
        let filters = offered.parent_filters.into_iter().map(|given| given.filter);
        let scan = self.clone().with_filter(conjunction(filters));
        let taken = FilterPushdownPropagation::with_parent_pushdown_result(taken);
        Ok(taken.with_updated_node(Arc::new(scan)))
    }
}

/// A scan under way.
struct Reading {
    reads: VecDeque<KeyRead>,
    order: Option<LexOrdering>,
    places: Vec<usize>,
    output: SchemaRef,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Rows that are still wanted.
    left: usize,
    /// Rows of the next batch.
    batch_rows: usize,
    /// Rows that may still be read in order; the greatest number if there is no bound.
    ordered_rows: usize,
    /// Whether the order of rows does not matter any more.
    by_chunks: bool,
}

impl Reading {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 && !self.reads.is_empty() {
            if self.ordered_rows == 0 {
                return self.rest().map(Some);
            }
            if let Some(rows) = self.next_rows()? {
                let rows = rows.slice(0, rows.num_rows().min(self.left));
                self.left -= rows.num_rows();
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// The rows of a batch that the filter leaves, if there are any.
    fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(read) = self.reads.front_mut() else {
            return Ok(None);
        };
        let rows = match self.filter {
            Some(_) => self.batch_rows.min(self.ordered_rows),
            None => self.batch_rows.min(self.left),
        };
        self.batch_rows = (self.batch_rows * 2).min(BATCH_ROWS);
        let batch = match self.by_chunks {
            true => read.next_chunk(&self.places),
            false => read.next(&self.places, rows),
        };
        let batch = batch.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let Some(batch) = batch else {
            self.reads.pop_front();
            return Ok(None);
        };
        if self.ordered_rows < usize::MAX {
            self.ordered_rows -= batch.num_rows();
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?;
        let Some(filter) = &self.filter else {
            return Ok(Some(batch));
        };
        let kept = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
        let batch = filter_record_batch(&batch, kept.as_boolean())?;
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    /// All rows that are left, read in no order and sorted.
    fn rest(&mut self) -> Result<RecordBatch> {
        self.by_chunks = true;
        self.ordered_rows = usize::MAX;
        let mut first = RecordBatch::new_empty(Arc::clone(&self.output));
        let mut found = Vec::new();
        let mut count = 0;
        while !self.reads.is_empty() {
            if let Some(batch) = self.next_rows()? {
                count += batch.num_rows();
                found.push(batch);
            }
            if count > self.left.saturating_add(BATCH_ROWS) {
                first = self.first_of(&first, &std::mem::take(&mut found))?;
                count = 0;
            }
        }
        let rows = self.first_of(&first, &found)?;
        self.left = 0;
        Ok(rows)
    }

    /// The first of some rows that are in order, and others that are not.
    fn first_of(&self, sorted: &RecordBatch, others: &[RecordBatch]) -> Result<RecordBatch> {
        let all = std::iter::once(sorted).chain(others);
        let rows = concat_batches(&self.output, all)?;
        match &self.order {
            Some(order) => sort_batch(&rows, order, Some(self.left)),
            None => Ok(rows),
        }
    }
}
