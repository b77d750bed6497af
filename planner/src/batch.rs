//! Batch queries: the DataFusion session behind `SELECT`, and behind the planning of views.
//!
//! A [`Session`] pairs a catalog, which is one consistent state of the database, with functions
//! and settings. Settings differ from DataFusion's defaults where PostgreSQL does: strings are
//! `Utf8`, numbers with a point are decimals, whole ones as small as they can be, integers do not
//! wrap around, NULLs are the greatest values, timestamps have microseconds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableFunctionImpl;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ParamValues, ScalarValue};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, LogicalPlan, ScalarUDF, cast};
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use sqlparser::ast;
use sqlparser::ast::Query;

use crate::bind::{Bound, Purpose, bind, bind_expression};
use crate::catalog::{Catalog, Relation, RelationId};
use crate::checked_integers::{CheckedIntegers, checked};
use crate::distinct_statistics::DistinctPairs;
use crate::error::{Error, Result};
use crate::float_rule::FloatOverDecimal;
use crate::functions;
use crate::functions::MapComparisons;
use crate::functions::casts::{PgCasts, with_casts};
use crate::functions::now::{now_at, now_of_epochs, now_of_statements};
use crate::functions::operators::PgOperators;
use crate::functions::records::RecordNulls;
use crate::functions::sort_keys::SortKeys;
use crate::in_subqueries::InSubqueries;
use crate::integer_literals::IntegerLiterals;
use crate::lateral::LateralRows;
use crate::lateral_limit::LateralLimit;
use crate::measures::TwoPhaseAgg;
use crate::number_aggregates::{NumberAggregates, number_aggregates};
use crate::origins::{Origin, origins};
use crate::query_memory::QueryMemory;
use crate::set_operations::SetOperations;
use crate::sort_subqueries::SortSubqueries;
use crate::temporal_join::{CurrentRows, has_mark};
use crate::types::array_type;

/// What DataFusion takes a name's database to be. Names are resolved without it.
const DATABASE: &str = "dev";

/// Settings of a session that change plans or results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// IANA name or offset; what `now()` and displayed dates of instants refer to.
    pub time_zone: String,
    /// Tasks that one query may run at once.
    pub target_partitions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            target_partitions: 2,
        }
    }
}

/// A rule that changes physical plans.
pub type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// Plans queries against one state of the database.
#[derive(Clone)]
pub struct Session {
    catalog: Arc<dyn Catalog>,
    context: SessionContext,
    /// What running queries share with others; without a bound if `None`.
    memory: Option<QueryMemory>,
    two_phase_agg: TwoPhaseAgg,
}

/// A session over a catalog, with DataFusion's functions and PostgreSQL's.
#[must_use]
pub fn session(catalog: Arc<dyn Catalog>, settings: &Settings) -> Session {
    session_with_rules(catalog, settings, Vec::new())
}

/// As [`session`], with rules for physical plans in front of DataFusion's.
#[must_use]
pub fn session_with_rules(
    catalog: Arc<dyn Catalog>,
    settings: &Settings,
    mut rules: Vec<PhysicalRule>,
) -> Session {
    rules.extend(PhysicalOptimizer::new().rules);
    let mut config = SessionConfig::new()
        .with_target_partitions(settings.target_partitions)
        .with_default_catalog_and_schema(DATABASE, "public")
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.execution.time_zone = Some(settings.time_zone.clone());
    // A view's join drops NULL keys before it keeps them as state.
    options.optimizer.filter_null_join_keys = true;
    options.optimizer.skip_failed_rules = false;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(vec![
            Arc::new(IntegerLiterals),
            Arc::new(PgOperators::new(&settings.time_zone)),
        ])
        .with_relation_planners(vec![
            Arc::new(CurrentRows),
            Arc::new(SetOperations),
            Arc::new(LateralRows),
        ])
        .with_default_features()
        .with_analyzer_rules(vec![
            Arc::new(ResolveGroupingFunction::new()),
            Arc::new(SortSubqueries),
            Arc::new(LateralLimit),
            Arc::new(InSubqueries),
            Arc::new(FloatOverDecimal),
            Arc::new(MapComparisons),
            Arc::new(TypeCoercion::new()),
            Arc::new(NumberAggregates),
            Arc::new(DistinctPairs),
            Arc::new(SortKeys),
            Arc::new(RecordNulls),
            Arc::new(PgCasts),
            Arc::new(CheckedIntegers),
        ])
        .with_physical_optimizer_rules(rules)
        .build();
    let context = SessionContext::new_with_state(state);
    for function in functions::all() {
        context.register_udf(function.as_ref().clone());
    }
    context.register_udf(now_of_statements());
    context.register_udf(functions::random_uuid());
    context.register_udaf(functions::string_agg());
    for function in number_aggregates() {
        context.register_udaf(function);
    }
    Session {
        catalog,
        context,
        memory: None,
        two_phase_agg: TwoPhaseAgg::default(),
    }
}

impl Session {
    /// The same session over another state of the database. Functions are shared.
    #[must_use]
    pub fn with_catalog(&self, catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            ..self.clone()
        }
    }

    /// The same session, whose queries share memory with those of others.
    #[must_use]
    pub fn with_memory(&self, memory: &QueryMemory) -> Self {
        Self {
            memory: Some(memory.clone()),
            ..self.clone()
        }
    }

    /// The same session, whose views aggregate in two phases as said; at first
    /// [`TwoPhaseAgg::WithoutGroups`].
    #[must_use]
    pub fn with_two_phase_agg(&self, two_phase_agg: TwoPhaseAgg) -> Self {
        Self {
            two_phase_agg,
            ..self.clone()
        }
    }

    pub(crate) fn two_phase_agg(&self) -> TwoPhaseAgg {
        self.two_phase_agg
    }

    /// The same session at another time: `now()` is so many microseconds since 1970.
    #[must_use]
    pub fn at_time(&self, time: i64) -> Self {
        self.with_now(now_at(time))
    }

    /// The same session with `now()` being the time of the epoch that a continuous view is at.
    pub(crate) fn of_epochs(&self) -> Self {
        self.with_now(now_of_epochs())
    }

    fn with_now(&self, now: ScalarUDF) -> Self {
        let context = SessionContext::new_with_state(self.context.state());
        context.register_udf(now);
        Self {
            context,
            ..self.clone()
        }
    }

    /// Adds a scalar function, or replaces the one of its name.
    pub fn register_udf(&self, function: ScalarUDF) {
        self.context.register_udf(function);
    }

    /// Adds an aggregate function, or replaces the one of its name.
    pub fn register_udaf(&self, function: AggregateUDF) {
        self.context.register_udaf(function);
    }

    /// Adds a table function, or replaces the one of its name.
    pub fn register_udtf(&self, name: &str, function: Arc<dyn TableFunctionImpl>) {
        self.context.register_udtf(name, function);
    }

    /// DataFusion's side of the session.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The state of the database that this session sees.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Plans a query. Nothing runs yet.
    ///
    /// # Errors
    /// Undefined or ambiguous names, wrong grouping or types, unsupported syntax.
    pub fn plan(&self, query: &Query) -> Result<BatchPlan> {
        self.plan_with(query, &[])
    }

    /// As [`Session::plan`], for a query some of whose parameters have types already.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub fn plan_with(&self, query: &Query, parameters: &[Option<DataType>]) -> Result<BatchPlan> {
        let Bound {
            plan,
            names,
            relations,
        } = self.bind(query, parameters, Purpose::Batch)?;
        // Coerced here, so that wrong types are found by Parse and Describe, not by Execute.
        let state = self.context.state();
        let plan = analyze(&state, plan)?;
        let schema = named_schema(plan.schema(), &names);
        Ok(BatchPlan {
            plan,
            schema,
            relations,
        })
    }

    /// Evaluates an expression without columns, as a `DEFAULT` is, into `rows` values of a type.
    /// Volatile functions are called for each row. With 0 rows the expression is only checked.
    ///
    /// # Errors
    /// Faults of the expression, and values that the type cannot hold.
    pub fn evaluate(
        &self,
        expr: &ast::Expr,
        data_type: &DataType,
        rows: usize,
    ) -> Result<ArrayRef> {
        let physical = self.expression(expr, data_type, &DFSchema::empty())?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let empty = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(empty, Vec::new(), &options)?;
        Ok(physical.evaluate(&batch)?.into_array(rows)?)
    }

    /// An expression over some columns, as a value of a type.
    pub(crate) fn expression(
        &self,
        expr: &ast::Expr,
        data_type: &DataType,
        schema: &DFSchema,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let state = self.context.state();
        let bound = bind_expression(&state, self.catalog.as_ref(), expr, schema)?;
        // DataFusion does not know that our casts read texts as composite values and maps.
        let typed = match data_type {
            DataType::Struct(_) | DataType::Map(..) => cast(bound, data_type.clone()),
            _ => bound.cast_to(data_type, schema)?,
        };
        // now() and the like are values only after simplification.
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let coerced = simplifier.coerce(typed, schema)?;
        let simple = simplifier.simplify(checked(with_casts(coerced, schema)?, schema)?)?;
        Ok(state.create_physical_expr(simple, schema)?)
    }

    pub(crate) fn bind(
        &self,
        query: &Query,
        parameters: &[Option<DataType>],
        purpose: Purpose,
    ) -> Result<Bound> {
        let state = self.context.state();
        bind(&state, self.catalog.as_ref(), query, parameters, purpose)
    }
}

/// Type coercion and DataFusion's other checks.
pub(crate) fn analyze(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})?)
}

/// The parameters that are the array of `x = ANY ($1)`, with the type of an array of x.
fn quantified_parameters(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        let columns = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && matches!(call.name(), "pg_any" | "pg_all")
                    && let [_, value, array] = &call.args[..]
                    && let Expr::Placeholder(array) = without_cast(array)
                    && let Ok(element) = value.get_type(&columns)
                {
                    found.push((array.id.clone(), array_type(element)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn without_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => without_cast(&cast.expr),
        other => other,
    }
}

/// The columns of a plan under PostgreSQL's names; all nullable.
pub(crate) fn named_schema(planned: &DFSchema, names: &[String]) -> SchemaRef {
    let fields = planned
        .fields()
        .iter()
        .zip(names)
        .map(|(field, name)| Field::new(name, field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A planned query.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    plan: LogicalPlan,
    schema: SchemaRef,
    relations: Vec<Arc<Relation>>,
}

impl BatchPlan {
    /// Columns of the result, named as PostgreSQL names them; names may repeat.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The column of a relation that each column of the result is, if it is one.
    #[must_use]
    pub fn origins(&self) -> Vec<Option<Origin>> {
        origins(&self.plan)
    }

    /// Whether it has a temporal join: then a view of it is not what the query gives later.
    ///
    /// # Errors
    /// If the plan cannot be walked.
    pub fn joins_current_rows(&self) -> Result<bool> {
        Ok(has_mark(&self.plan)?)
    }

    /// Gives the columns of the result metadata, one map a column.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Vec<HashMap<String, String>>) -> Self {
        let fields = self.schema.fields().iter().zip(metadata);
        let fields = fields.map(|(field, known)| field.as_ref().clone().with_metadata(known));
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        self
    }

    /// Every relation that the query reads, views included.
    pub fn relations(&self) -> impl Iterator<Item = RelationId> + '_ {
        self.relations.iter().map(|relation| relation.id)
    }

    /// Types of the parameters `$1`, `$2`, …; `None` where the query does not say.
    ///
    /// # Errors
    /// If one parameter is used as two types.
    pub fn parameter_types(&self) -> Result<Vec<Option<DataType>>> {
        let mut types = Vec::new();
        let mut found = self.plan.get_parameter_types()?;
        for (name, data_type) in quantified_parameters(&self.plan)? {
            let known = found.entry(name).or_default();
            *known = known.take().or(Some(data_type));
        }
        for (name, data_type) in found {
            let number = name.trim_start_matches('$').parse::<usize>().ok();
            let Some(at) = number.and_then(|number| number.checked_sub(1)) else {
                return Err(Error::Syntax {
                    message: format!("syntax error at or near \"{name}\""),
                    position: 1,
                });
            };
            if at > usize::from(u16::MAX) {
                return Err(Error::TooComplex {
                    limit: usize::from(u16::MAX),
                });
            }
            if types.len() <= at {
                types.resize(at + 1, None);
            }
            types[at] = data_type;
        }
        Ok(types)
    }

    /// The plan with its parameters replaced by values, `$1` first.
    ///
    /// # Errors
    /// If there are too few values or their types do not fit.
    pub fn bind(&self, values: Vec<ScalarValue>) -> Result<Self> {
        let plan = self
            .plan
            .clone()
            .with_param_values(ParamValues::from(values))?;
        let names: Vec<String> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        Ok(Self {
            schema: named_schema(plan.schema(), &names),
            plan,
            relations: self.relations.clone(),
        })
    }

    /// Starts the query. Batches have the schema of [`BatchPlan::schema`].
    ///
    /// # Errors
    /// If planning fails; faults of rows come through the stream.
    pub async fn execute(&self, session: &Session) -> Result<SendableRecordBatchStream> {
        let physical = self.physical(session).await?;
        let schema = renamed(&physical.schema(), &self.schema);
        let task = TaskContext::from(&session.context.state());
        let task = match &session.memory {
            Some(memory) => task.with_runtime(memory.runtime()),
            None => task,
        };
        let rows = execute_stream(physical, Arc::new(task))?;
        let target = Arc::clone(&schema);
        let named = rows.map(move |batch| {
            let batch = batch?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            Ok(RecordBatch::try_new_with_options(
                Arc::clone(&target),
                columns,
                &options,
            )?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, named)))
    }

    /// Runs the query to its end.
    ///
    /// # Errors
    /// Faults of planning and of rows.
    pub async fn collect(&self, session: &Session) -> Result<Vec<RecordBatch>> {
        let rows = self.execute(session).await?;
        Ok(rows.try_collect().await?)
    }

    /// The physical plan as indented lines; with all that is known of it if `verbose`.
    ///
    /// # Errors
    /// If planning fails.
    pub async fn explain(&self, session: &Session, verbose: bool) -> Result<Vec<String>> {
        let physical = self.physical(session).await?;
        let text = displayable(physical.as_ref()).indent(verbose).to_string();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The physical plan as a tree.
    ///
    /// # Errors
    /// If planning fails.
    pub async fn explain_tree(&self, session: &Session) -> Result<PlanNode> {
        Ok(PlanNode::of(self.physical(session).await?.as_ref()))
    }

    async fn physical(&self, session: &Session) -> Result<Arc<dyn ExecutionPlan>> {
        let state = session.context.state();
        Ok(state.create_physical_plan(&self.plan).await?)
    }
}

/// A step of a physical plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanNode {
    /// What kind of step it is.
    pub name: String,
    /// What exactly, in a line.
    pub details: String,
    /// The steps whose rows it takes.
    pub inputs: Vec<PlanNode>,
}

impl PlanNode {
    fn of(plan: &dyn ExecutionPlan) -> Self {
        let line = displayable(plan).one_line().to_string();
        let details = line.trim().trim_start_matches(plan.name());
        Self {
            name: plan.name().to_owned(),
            details: details.trim_start_matches(':').trim().to_owned(),
            inputs: plan
                .children()
                .into_iter()
                .map(|input| Self::of(input.as_ref()))
                .collect(),
        }
    }
}

/// The types of the physical plan under the names of the planned schema.
fn renamed(physical: &Schema, names: &Schema) -> SchemaRef {
    let fields = physical
        .fields()
        .iter()
        .zip(names.fields())
        .map(|(field, name)| {
            Field::new(name.name(), field.data_type().clone(), true)
                .with_metadata(name.metadata().clone())
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
