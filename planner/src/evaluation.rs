//! The part of a plan that the batch engine evaluates, again and again, over rows that change.
//!
//! ```text
//!   rows of some keys ──slot──► DataFusion's physical plan ──► their results
//! ```
//!
//! The leaves of the plan are *slots*: tables whose rows are put there before each run. A plan is
//! shared; each executor starts an [`Evaluator`] of its own, with slots of its own. A run reads
//! memory only, so it ends within the call.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, reset_plan_states,
};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use futures::TryStreamExt;

use crate::error::Result;

type DataFusionResult<T> = std::result::Result<T, DataFusionError>;

/// A plan over slots, as data.
#[derive(Clone)]
pub struct Evaluation {
    plan: Arc<dyn ExecutionPlan>,
    slots: Vec<SchemaRef>,
    context: Arc<TaskContext>,
    description: String,
}

impl Evaluation {
    /// Plans `logical`, whose leaves are [`slot`]s with columns of `slots`. `description` is for
    /// `EXPLAIN`.
    ///
    /// # Errors
    /// What DataFusion cannot run.
    pub(crate) fn plan(
        state: &SessionState,
        logical: &LogicalPlan,
        slots: Vec<SchemaRef>,
        description: String,
    ) -> Result<Self> {
        // One task, and nothing that learns while it runs: a plan is run many times.
        let mut config = state.config().clone().with_target_partitions(1);
        let options = config.options_mut();
        options.optimizer.enable_dynamic_filter_pushdown = false;
        // Else large sorts become tasks of their own.
        options.execution.sort_in_place_threshold_bytes = usize::MAX;
        let state = SessionStateBuilder::new_from_existing(state.clone())
            .with_config(config)
            .build();
        let planner = Arc::clone(state.query_planner());
        let plan = at_once(planner.create_physical_plan(logical, &state))?;
        Ok(Self {
            plan,
            slots,
            context: state.task_ctx(),
            description,
        })
    }

    /// What it computes, in the words of the query.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The evaluation with only those rows of its result that pass a predicate over its columns
    /// from the `offset`th on. `None` if the predicate could fail, which may not stop a view.
    pub(crate) fn filtered(
        &self,
        predicate: &Arc<dyn PhysicalExpr>,
        offset: usize,
    ) -> Option<Self> {
        if !cannot_fail(predicate) {
            return None;
        }
        let schema = self.plan.schema();
        let shifted = Arc::clone(predicate).transform_up(|part| {
            Ok(match part.downcast_ref::<Column>() {
                Some(column) => {
                    let at = column.index() + offset;
                    let column = Column::new(schema.field(at).name(), at);
                    Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>)
                }
                None => Transformed::no(part),
            })
        });
        let filter = FilterExec::try_new(shifted.ok()?.data, Arc::clone(&self.plan)).ok()?;
        Some(Self {
            plan: Arc::new(filter),
            description: format!("{} where {}", self.description, fmt_sql(predicate.as_ref())),
            ..self.clone()
        })
    }

    /// A copy with slots of its own.
    ///
    /// # Errors
    /// If the plan cannot be copied.
    pub fn start(&self) -> DataFusionResult<Evaluator> {
        let rows: Vec<Rows> = self.slots.iter().map(|_| Rows::default()).collect();
        let plan = Arc::clone(&self.plan).transform_up(|node| {
            Ok(match node.downcast_ref::<SlotExec>() {
                Some(slot) => Transformed::yes(Arc::new(SlotExec {
                    rows: Arc::clone(&rows[slot.index]),
                    ..slot.clone()
                }) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        });
        Ok(Evaluator {
            plan: plan.data()?,
            rows,
            slots: self.slots.clone(),
            context: Arc::clone(&self.context),
        })
    }
}

/// Whether an expression only compares and combines columns and constants.
fn cannot_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let is_plain = match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) => binary.op().supports_propagation() || binary.op().is_logic_operator(),
        None => {
            expr.is::<Column>()
                || expr.is::<Literal>()
                || expr.is::<NotExpr>()
                || expr.is::<IsNullExpr>()
                || expr.is::<IsNotNullExpr>()
        }
    };
    is_plain && expr.children().into_iter().all(cannot_fail)
}

impl fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evaluation({})", self.description)
    }
}

/// Runs an [`Evaluation`].
pub struct Evaluator {
    plan: Arc<dyn ExecutionPlan>,
    rows: Vec<Rows>,
    slots: Vec<SchemaRef>,
    context: Arc<TaskContext>,
}

impl Evaluator {
    /// The result for these rows, one batch a slot. Their columns must have the types of the
    /// slots'.
    ///
    /// # Errors
    /// What the batch engine fails with.
    pub fn run(&self, inputs: Vec<RecordBatch>) -> DataFusionResult<RecordBatch> {
        for ((rows, schema), batch) in self.rows.iter().zip(&self.slots).zip(inputs) {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
            *rows.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch);
        }
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let stream = plan.execute(0, Arc::clone(&self.context))?;
        let schema = stream.schema();
        let batches = at_once(stream.try_collect::<Vec<_>>())?;
        Ok(concat_batches(&schema, &batches)?)
    }
}

/// Polls of a future that has nothing to wait for.
const POLLS_MAX: usize = 10_000;

/// The outcome of a future that waits for nobody, though it may ask to be polled again.
fn at_once<T>(future: impl Future<Output = DataFusionResult<T>>) -> DataFusionResult<T> {
    // Streams take part in tokio's budget of a task, which must not run out here.
    let mut future = pin!(tokio::task::unconstrained(future));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return outcome;
        }
    }
    Err(DataFusionError::Execution(
        "a part of a view waits for something".to_owned(),
    ))
}

/// A slot of a logical plan, under the name `slot`; its columns must have distinct names.
pub(crate) fn slot(index: usize, schema: &SchemaRef) -> Result<LogicalPlan> {
    let table = Arc::new(SlotTable {
        index,
        schema: Arc::clone(schema),
    });
    let name = format!("slot{index}");
    let scan = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?;
    Ok(scan.build()?)
}

type Rows = Arc<Mutex<Option<RecordBatch>>>;

#[derive(Debug)]
struct SlotTable {
    index: usize,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for SlotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(SlotExec {
            index: self.index,
            projection: projection.cloned(),
            rows: Rows::default(),
            properties: Arc::new(properties),
        }))
    }
}

/// The leaf that yields the rows of a slot.
#[derive(Debug, Clone)]
struct SlotExec {
    index: usize,
    projection: Option<Vec<usize>>,
    rows: Rows,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for SlotExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot {}", self.index)
    }
}

impl ExecutionPlan for SlotExec {
    fn name(&self) -> &'static str {
        "SlotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let batches = match (rows.as_ref(), &self.projection) {
            (None, _) => Vec::new(),
            (Some(rows), None) => vec![rows.clone()],
            (Some(rows), Some(columns)) => vec![rows.project(columns)?],
        };
        Ok(Box::pin(MemoryStream::try_new(batches, schema, None)?))
    }
}
