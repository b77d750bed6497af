//! Names in queries to relations: what DataFusion's SQL planner asks while it binds a query.
//!
//! Relations are looked up in our [`Catalog`] alone; functions and operators are those of the
//! session. A plain view is replaced by the plan of its definition. Every relation met on the way,
//! inside of views too, is remembered as a dependency.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::{Session as DataFusionSession, TableFunctionArgs, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    Constraint, Constraints, DFSchema, ScalarValue, Statistics, TableReference,
};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF,
    TableProviderFilterPushDown, TableSource, TableType, WindowUDF, lit,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast;
use sqlparser::ast::Query;

use crate::catalog::{Catalog, Relation, RelationKind};
use crate::checked_integers::checked;
use crate::error::{Error, Result};
use crate::functions::casts::with_casts;
use crate::functions::syntax;
use crate::ignored;
use crate::integer_literals;
use crate::join_conditions;
use crate::lateral;
use crate::named_types;
use crate::names::{alias_beside_stars, alias_outputs, output_names};
use crate::parse::{Statement, parse};
use crate::record_stars;
use crate::set_operations;
use crate::sql_function;
use crate::values_subqueries;
use crate::window_tables;

/// Views within views that are followed.
const VIEW_DEPTH_MAX: usize = 32;

/// What a query is bound for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rows of one epoch: relations come with their rows.
    Batch,
    /// A continuous view: relations come without rows, sources may be read.
    Stream,
    /// The columns of a plain view: relations of all kinds, without rows.
    Define,
}

/// A query with its names resolved: not yet coerced, checked or optimized.
pub(crate) struct Bound {
    pub(crate) plan: LogicalPlan,
    /// PostgreSQL's names of the outputs.
    pub(crate) names: Vec<String>,
    /// Every relation that the query reads, views included, without repetition, in order met.
    pub(crate) relations: Vec<Arc<Relation>>,
}

/// Resolves the names of a query. `parameters` are the types of `$1`, `$2`, … that are known.
///
/// # Errors
/// Undefined or ambiguous names, wrong grouping, wrong types, unsupported syntax.
pub(crate) fn bind(
    state: &SessionState,
    catalog: &dyn Catalog,
    query: &Query,
    parameters: &[Option<DataType>],
    purpose: Purpose,
) -> Result<Bound> {
    let typed = |(at, known): (usize, &Option<DataType>)| {
        let name = format!("${}", at + 1);
        let field = Field::new(name, known.clone()?, true);
        Some(Arc::new(field))
    };
    let binder = Binder {
        state,
        catalog,
        purpose,
        parameters: parameters.iter().enumerate().map(typed).collect(),
        depth: 0,
        relations: RefCell::default(),
    };
    let query = &*binder.without_record_stars(query)?;
    let plan = binder.plan(query)?;
    let names = output_names(query, plan.schema());
    Ok(Bound {
        plan,
        names,
        relations: binder.relations.into_inner(),
    })
}

/// Resolves the names of an expression over some columns.
pub(crate) fn bind_expression(
    state: &SessionState,
    catalog: &dyn Catalog,
    expr: &ast::Expr,
    columns: &DFSchema,
) -> Result<Expr> {
    let binder = Binder {
        state,
        catalog,
        purpose: Purpose::Batch,
        parameters: Vec::new(),
        depth: 0,
        relations: RefCell::default(),
    };
    let planner = SqlToRel::new_with_options(&binder, binder.parser_options());
    let mut context = PlannerContext::new();
    let mut expr = expr.clone();
    sql_function::inline(&mut expr, catalog)?;
    named_types::resolve(&mut expr, catalog)?;
    syntax::rewrite(&mut expr);
    integer_literals::mark(&mut expr);
    Ok(planner.sql_to_expr(expr, columns, &mut context)?)
}

struct Binder<'a> {
    state: &'a SessionState,
    catalog: &'a dyn Catalog,
    purpose: Purpose,
    /// Types of parameters, where they are known.
    parameters: Vec<Option<FieldRef>>,
    /// How many views this one is inside of.
    depth: usize,
    relations: RefCell<Vec<Arc<Relation>>>,
}

impl Binder<'_> {
    fn parser_options(&self) -> ParserOptions {
        ParserOptions::from(&self.state.config_options().sql_parser)
    }

    /// The query with `(expr).*` written out.
    fn without_record_stars<'q>(&self, query: &'q Query) -> Result<Cow<'q, Query>> {
        if !record_stars::has_any(query) {
            return Ok(Cow::Borrowed(query));
        }
        let mut expanded = query.clone();
        record_stars::expand(&mut expanded, |probe| self.plan(probe))?;
        Ok(Cow::Owned(expanded))
    }

    fn plan(&self, query: &Query) -> Result<LogicalPlan> {
        let planner = SqlToRel::new_with_options(self, self.parser_options());
        let plan = |alias: fn(&mut Query)| {
            let mut query = query.clone();
            ignored::refuse(&query).map_err(|error| DataFusionError::External(Box::new(error)))?;
            window_tables::expand(&mut query)
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            alias(&mut query);
            sql_function::inline(&mut query, self.catalog)?;
            named_types::resolve(&mut query, self.catalog)
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            syntax::rewrite(&mut query);
            join_conditions::lift(&mut query);
            values_subqueries::as_selects(&mut query);
            lateral::fold(&mut query);
            set_operations::mark(&mut query);
            integer_literals::mark(&mut query);
            let statement = ast::Statement::Query(Box::new(query));
            let mut context =
                PlannerContext::new().with_prepare_param_data_types(self.parameters.clone());
            planner.sql_statement_to_plan_with_context(statement, &mut context)
        };
        match plan(alias_outputs) {
            Err(error) if is_duplicate_output(&error) => Ok(plan(alias_beside_stars)?),
            other => Ok(other?),
        }
    }

    fn relation(&self, name: &TableReference) -> Result<Arc<Relation>> {
        if let Some(database) = name
            .catalog()
            .filter(|database| *database != self.catalog.database())
        {
            return Err(Error::OtherDatabase {
                name: format!("{database}.{}", without_database(name)),
            });
        }
        let found = self.catalog.relation(name.schema(), name.table());
        match (found, name.schema()) {
            (Some(relation), _) => Ok(relation),
            (None, Some(schema)) if !self.catalog.schema_exists(schema) => {
                Err(Error::UndefinedSchema {
                    name: schema.to_owned(),
                })
            }
            (None, _) => Err(Error::UndefinedTable {
                name: without_database(name),
            }),
        }
    }

    fn provider(&self, name: &TableReference) -> Result<Arc<dyn TableProvider>> {
        let relation = self.relation(name)?;
        self.catalog.check_read(&relation)?;
        let mut relations = self.relations.borrow_mut();
        if !relations
            .iter()
            .any(|known| known.id == relation.id && known.name == relation.name)
        {
            relations.push(Arc::clone(&relation));
        }
        drop(relations);
        if let RelationKind::View { definition } = &relation.kind {
            return self.view(&relation, definition);
        }
        let rows = match (self.purpose, &relation.kind) {
            (Purpose::Batch, RelationKind::Source(_)) => {
                return Err(Error::unsupported(
                    format!("SELECT from source \"{}\"", relation.name),
                    "create a materialized view over it",
                ));
            }
            (Purpose::Batch, _) => Some(self.catalog.rows(&relation)?),
            (Purpose::Stream, _) if self.catalog.is_system_schema(&relation.schema_name) => {
                return Err(Error::unsupported(
                    format!("a continuous view over system table \"{}\"", relation.name),
                    "read it with SELECT",
                ));
            }
            (Purpose::Stream | Purpose::Define, _) => None,
        };
        Ok(Arc::new(RelationTable::new(relation, rows)))
    }

    /// The plan of a view's definition, under the view's column names.
    fn view(&self, view: &Relation, definition: &str) -> Result<Arc<dyn TableProvider>> {
        if self.depth >= VIEW_DEPTH_MAX {
            return Err(Error::TooComplex {
                limit: VIEW_DEPTH_MAX,
            });
        }
        let mut statements = parse(definition)?;
        let Some(Statement::Pg(statement)) = statements.pop().map(|parsed| parsed.statement) else {
            return Err(Error::unsupported(format!("view \"{}\"", view.name), ""));
        };
        let ast::Statement::Query(query) = *statement else {
            return Err(Error::unsupported(format!("view \"{}\"", view.name), ""));
        };
        let within = self.catalog.within(view.id);
        let inner = Binder {
            catalog: within.as_deref().unwrap_or(self.catalog),
            depth: self.depth + 1,
            parameters: Vec::new(),
            relations: RefCell::default(),
            ..*self
        };
        let plan = inner.plan(&*inner.without_record_stars(&query)?)?;
        let mut relations = self.relations.borrow_mut();
        for relation in inner.relations.into_inner() {
            if !relations
                .iter()
                .any(|known| known.id == relation.id && known.name == relation.name)
            {
                relations.push(relation);
            }
        }
        let columns: Vec<Expr> = plan
            .schema()
            .iter()
            .zip(view.schema.fields())
            .map(|(column, field)| Expr::from(column).alias(field.name()))
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// Table functions take integers as `bigint` and timestamps in nanoseconds only.
fn widened(arg: Expr) -> Expr {
    match arg {
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => lit(i64::from(value)),
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(value), zone), _) => {
            let nanos = value.checked_mul(1000);
            lit(ScalarValue::TimestampNanosecond(nanos, zone))
        }
        other => other,
    }
}

fn is_duplicate_output(error: &DataFusionError) -> bool {
    let text = error.to_string();
    text.contains("unique expression names") || text.contains("duplicate")
}

fn without_database(name: &TableReference) -> String {
    match name.schema() {
        Some(schema) => format!("{schema}.{}", name.table()),
        None => name.table().to_owned(),
    }
}

impl ContextProvider for Binder<'_> {
    fn get_table_source(
        &self,
        name: TableReference,
    ) -> Result<Arc<dyn TableSource>, DataFusionError> {
        match self.provider(&name) {
            Ok(provider) => Ok(provider_as_source(provider)),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        }
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>, DataFusionError> {
        let Some(function) = self.state.table_functions().get(name) else {
            let error = Error::UndefinedFunction {
                name: name.to_owned(),
            };
            return Err(DataFusionError::External(Box::new(error)));
        };
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let args = args
            .into_iter()
            .map(|arg| {
                let coerced = simplifier.coerce(arg, &schema)?;
                let cast = with_casts(coerced, &schema)?;
                Ok(widened(simplifier.simplify(checked(cast, &schema)?)?))
            })
            .collect::<Result<Vec<_>, DataFusionError>>()?;
        let args = TableFunctionArgs::new(&args, self.state);
        Ok(provider_as_source(
            function.create_table_provider_with_args(args)?,
        ))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> Result<Arc<dyn TableSource>, DataFusionError> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(
            name, schema,
        ))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(crate::types::PgTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state
            .higher_order_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

/// A relation in a plan: recognised by the streaming planner, scanned by the batch engine.
#[derive(Clone, Debug)]
pub(crate) struct RelationTable {
    pub(crate) relation: Arc<Relation>,
    /// Absent in plans of continuous views.
    rows: Option<Arc<dyn TableProvider>>,
    /// The primary key of a table. Other columns depend on it, so that `GROUP BY id` may select
    /// them, as in PostgreSQL.
    constraints: Constraints,
    /// Whether it is written with `FOR SYSTEM_TIME AS OF PROCTIME()`.
    as_of_now: bool,
}

impl RelationTable {
    fn new(relation: Arc<Relation>, rows: Option<Arc<dyn TableProvider>>) -> Self {
        let has_key =
            matches!(relation.kind, RelationKind::Table) && !relation.primary_key.is_empty();
        let key = has_key.then(|| Constraint::PrimaryKey(relation.primary_key.clone()));
        Self {
            relation,
            rows,
            constraints: Constraints::new_unverified(key.into_iter().collect()),
            as_of_now: false,
        }
    }

    /// The same relation with or without `FOR SYSTEM_TIME AS OF PROCTIME()`.
    pub(crate) fn with_mark(&self, as_of_now: bool) -> Self {
        Self {
            as_of_now,
            ..self.clone()
        }
    }

    /// Whether it is written with `FOR SYSTEM_TIME AS OF PROCTIME()`.
    pub(crate) fn is_as_of_now(&self) -> bool {
        self.as_of_now
    }
}

#[async_trait]
impl TableProvider for RelationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.schema)
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn DataFusionSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        match &self.rows {
            Some(rows) => rows.scan(state, projection, filters, limit).await,
            None => Err(DataFusionError::Internal(format!(
                "relation \"{}\" was bound without rows",
                self.relation.name
            ))),
        }
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        match &self.rows {
            Some(rows) => rows.supports_filters_pushdown(filters),
            None => Ok(vec![
                TableProviderFilterPushDown::Unsupported;
                filters.len()
            ]),
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        self.rows.as_ref()?.statistics()
    }
}
