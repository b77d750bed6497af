//! Functions in `FROM` that return rows and read the rows in front of them: `FROM t, unnest(t.a) AS u`,
//! also `WITH ORDINALITY`.
//!
//! ```text
//!   t, unnest(t.a) AS u(x)  ──fold──►  one relation: (t CROSS JOIN unnest(t.a) AS u(x))
//!   that relation           ──plan──►  t ─► t.*, the array ─► Unnest ─► t.*, u.x
//! ```
//!
//! DataFusion plans such a function without columns to read. So what stands in front of it and the
//! function become one relation with a mark on it before names are resolved. Functions of several columns
//! are `unnest` of several arrays (`functions/syntax.rs`). `LEFT JOIN LATERAL` keeps a row without
//! elements: an array of one element, which is not shown, is beside the others.
//!
//! `ASOF JOIN` takes the same way (`asof_join`).

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, NullHandling, UnnestOptions};
use datafusion::error::DataFusionError;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, JoinType, LogicalPlan, LogicalPlanBuilder, cast, lit,
};
use sqlparser::ast;
use sqlparser::ast::{
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Join,
    JoinConstraint, JoinOperator, ObjectName, Query, Select, TableAlias, TableFactor,
    TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use crate::asof_join;
use crate::error::Error;
use crate::functions::call;
use crate::names::identifier;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The alias that marks the relations.
const MARK: &str = "lateral rows";

/// Makes one relation of each function that reads rows in front of it, and these.
pub(crate) fn fold(query: &mut Query) {
    let visited = query.visit(&mut Folder);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

struct Folder;

impl VisitorMut for Folder {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let from = std::mem::take(&mut select.from);
        select.from = folded(from);
        ControlFlow::Continue(())
    }
}

fn folded(from: Vec<TableWithJoins>) -> Vec<TableWithJoins> {
    let mut done: Vec<TableWithJoins> = Vec::with_capacity(from.len());
    for item in from {
        let is_lateral = |join: &Join| reads_rows(&join.relation);
        let leads = reads_rows(&item.relation) && !done.is_empty();
        if !leads && !item.joins.iter().any(is_lateral) {
            done.push(with_marked_asof(item));
            continue;
        }
        // What it may read: all that stands in front of it.
        let first = Join {
            relation: item.relation,
            global: false,
            join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
        };
        let mut joins = std::iter::once(first).chain(item.joins);
        let before = std::mem::take(&mut done);
        let mut front = match crossed(before) {
            Some(front) => front,
            None => TableWithJoins {
                relation: joins.next().map(|join| join.relation).expect("it is there"),
                joins: Vec::new(),
            },
        };
        for join in joins {
            let is_last = is_lateral(&join) || asof_type(&join.join_operator).is_some();
            front.joins.push(join);
            if is_last {
                front = marked(front);
            }
        }
        done.push(front);
    }
    done
}

/// What stands in front of an `ASOF JOIN` and its right side, as one relation.
fn with_marked_asof(item: TableWithJoins) -> TableWithJoins {
    let mut front = TableWithJoins {
        relation: item.relation,
        joins: Vec::new(),
    };
    for join in item.joins {
        let is_asof = asof_type(&join.join_operator).is_some();
        front.joins.push(join);
        if is_asof {
            front = marked(front);
        }
    }
    front
}

/// The words of the parser that stand for `ASOF JOIN` and `ASOF LEFT JOIN`.
fn asof_type(operator: &JoinOperator) -> Option<JoinType> {
    match operator {
        JoinOperator::Semi(_) => Some(JoinType::Inner),
        JoinOperator::Anti(_) => Some(JoinType::Left),
        _ => None,
    }
}

fn marked(front: TableWithJoins) -> TableWithJoins {
    TableWithJoins {
        relation: TableFactor::NestedJoin {
            table_with_joins: Box::new(front),
            alias: Some(alias(Ident::with_quote('"', MARK))),
        },
        joins: Vec::new(),
    }
}

/// Relations behind commas as one.
fn crossed(items: Vec<TableWithJoins>) -> Option<TableWithJoins> {
    items.into_iter().reduce(|mut all, item| {
        let relation = match item.joins.is_empty() {
            true => item.relation,
            false => TableFactor::NestedJoin {
                table_with_joins: Box::new(item),
                alias: None,
            },
        };
        all.joins.push(Join {
            relation,
            global: false,
            join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
        });
        all
    })
}

fn alias(name: Ident) -> TableAlias {
    TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
        at: None,
    }
}

/// Whether it is a function in whose arguments columns are named.
fn reads_rows(relation: &TableFactor) -> bool {
    let named = |exprs: &[ast::Expr]| exprs.iter().any(|e| e.visit(&mut Columns).is_break());
    Rows::of(relation).is_some_and(|rows| named(&rows.arrays))
}

/// Stops at the name of a column.
struct Columns;

impl Visitor for Columns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What a function in `FROM` asks for.
struct Rows {
    /// One a column.
    arrays: Vec<ast::Expr>,
    name: Ident,
    columns: Vec<Ident>,
    /// Whether the rows are counted in one column more.
    numbered: bool,
}

impl Rows {
    fn of(relation: &TableFactor) -> Option<Self> {
        let (arrays, function, alias, numbered) = match relation {
            TableFactor::UNNEST {
                array_exprs,
                alias,
                with_offset: false,
                with_ordinality,
                ..
            } => (array_exprs.clone(), "unnest", alias, *with_ordinality),
            TableFactor::Table {
                name,
                args: Some(args),
                alias,
                with_ordinality,
                ..
            } => {
                let (arrays, function) = arrays_of(name, &args.args)?;
                (arrays, function, alias, *with_ordinality)
            }
            TableFactor::Function {
                name,
                args,
                alias,
                with_ordinality,
                ..
            } => {
                let (arrays, function) = arrays_of(name, args)?;
                (arrays, function, alias, *with_ordinality)
            }
            _ => return None,
        };
        let (name, mut columns) = match alias {
            Some(alias) => {
                let columns = alias.columns.iter().map(|column| column.name.clone());
                (alias.name.clone(), columns.collect())
            }
            None => (Ident::new(function), Vec::new()),
        };
        // One column is called as the rows are; of several, each as the function.
        for _ in columns.len()..arrays.len() {
            columns.push(match arrays.len() {
                1 => name.clone(),
                _ => Ident::new(function),
            });
        }
        if numbered && columns.len() == arrays.len() {
            columns.push(Ident::new("ordinality"));
        }
        Some(Self {
            arrays,
            name,
            columns,
            numbered,
        })
    }

    /// The rows for each row of a plan, whose columns the arrays may read, beside it.
    fn beside(
        self,
        input: LogicalPlan,
        keeps_all: bool,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let kept = input.schema().columns();
        let all = |plan: &LogicalPlan| -> Vec<Expr> {
            plan.schema()
                .columns()
                .into_iter()
                .map(Expr::from)
                .collect()
        };
        let array = |at: usize| format!("{} array {at}", self.name.value);
        let number = |at: usize| format!("{} number {at}", self.name.value);
        let count = self.arrays.len();
        let mut with_arrays = all(&input);
        for (at, expr) in self.arrays.into_iter().enumerate() {
            let expr = context.sql_to_expr(expr, input.schema())?;
            check_array(&expr, input.schema())?;
            with_arrays.push(expr.alias(array(at)));
        }
        let mut plan = LogicalPlanBuilder::from(input)
            .project(with_arrays)?
            .build()?;
        let mut lists: Vec<String> = (0..count).map(array).collect();
        if self.numbered || keeps_all {
            let mut with_numbers = all(&plan);
            if self.numbered {
                for at in 0..count {
                    let numbers = call("pg_subscripts", vec![column(array(at)), lit(1)]);
                    with_numbers.push(numbers.alias(number(at)));
                    lists.push(number(at));
                }
            }
            if keeps_all {
                let one = call("pg_copies", vec![lit(1_i64)]);
                let name = format!("{} row", self.name.value);
                with_numbers.push(one.alias(&name));
                lists.push(name);
            }
            plan = LogicalPlanBuilder::from(plan)
                .project(with_numbers)?
                .build()?;
        }
        let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
        let lists = lists.into_iter().map(Column::from_name).collect();
        let table = identifier(&self.name);
        let mut values: Vec<Expr> = (0..count).map(|at| column(array(at))).collect();
        if self.numbered {
            let numbers = (0..count).map(|at| column(number(at))).collect::<Vec<_>>();
            let longest = match &numbers[..] {
                [one] => one.clone(),
                _ => coalesce(numbers),
            };
            values.push(cast(longest, DataType::Int64));
        }
        let named = values.into_iter().zip(&self.columns);
        let named = named
            .map(|(value, name)| value.alias_qualified(Some(table.as_str()), identifier(name)));
        let kept = kept.into_iter().map(Expr::from);
        LogicalPlanBuilder::from(plan)
            .unnest_columns_with_options(lists, options)?
            .project(kept.chain(named).collect::<Vec<_>>())?
            .build()
    }
}

fn column(name: String) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn check_array(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let data_type = expr.get_type(schema)?;
    if matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    ) {
        return Ok(());
    }
    Err(external(Error::UndefinedFunction {
        name: format!("unnest({})", crate::types::sql_name(&data_type)),
    }))
}

/// The arrays of a function that is not `UNNEST` to the parser.
fn arrays_of(name: &ObjectName, args: &[FunctionArg]) -> Option<(Vec<ast::Expr>, &'static str)> {
    let function = identifier(name.0.last()?.as_ident()?);
    let values = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    let values: Vec<ast::Expr> = values.collect::<Option<_>>()?;
    match function.as_str() {
        "unnest" => Some((values, "unnest")),
        "generate_series" => {
            let series = ast::Expr::Function(ast::Function {
                name: ObjectName::from(vec![Ident::new("generate_series")]),
                uses_odbc_syntax: false,
                parameters: FunctionArguments::None,
                args: FunctionArguments::List(FunctionArgumentList {
                    duplicate_treatment: None,
                    args: args.to_vec(),
                    clauses: Vec::new(),
                }),
                filter: None,
                null_treatment: None,
                over: None,
                within_group: Vec::new(),
            });
            Some((vec![series], "generate_series"))
        }
        _ => None,
    }
}

/// Plans the relations that are marked, and functions whose rows are counted.
#[derive(Debug)]
pub(crate) struct LateralRows;

impl RelationPlanner for LateralRows {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let plan = match relation {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: Some(alias),
            } if alias.name.value == MARK => lateral(*table_with_joins, context)?,
            other => match Rows::of(&other) {
                Some(rows) if rows.numbered => {
                    let nothing = LogicalPlanBuilder::empty(true).build()?;
                    rows.beside(nothing, false, context)?
                }
                _ => return Ok(RelationPlanning::Original(Box::new(other))),
            },
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

/// The last join is that of the function, or an `ASOF JOIN`.
fn lateral(
    mut front: TableWithJoins,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let Some(Join {
        relation,
        join_operator: operator,
        ..
    }) = front.joins.pop()
    else {
        return Err(DataFusionError::Internal("no join to plan".to_owned()));
    };
    let input = match front.joins.is_empty() {
        true => front.relation,
        false => TableFactor::NestedJoin {
            table_with_joins: Box::new(front),
            alias: None,
        },
    };
    let input = context.plan(input)?;
    if let Some(join_type) = asof_type(&operator) {
        let right = context.plan(relation)?;
        let (JoinOperator::Semi(JoinConstraint::On(on))
        | JoinOperator::Anti(JoinConstraint::On(on))) = operator
        else {
            return Err(external(Error::unsupported(
                "an ASOF JOIN without ON",
                "write ASOF JOIN b ON a.k = b.k AND a.t >= b.t",
            )));
        };
        let both = input.schema().join(right.schema())?;
        let on = context.sql_to_expr(on, &both)?;
        return asof_join::plan(input, right, on, join_type);
    }
    let Some(rows) = Rows::of(&relation) else {
        return Err(DataFusionError::Internal("no function in FROM".to_owned()));
    };
    match operator {
        JoinOperator::CrossJoin(JoinConstraint::None) => rows.beside(input, false, context),
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition)) => {
            let plan = rows.beside(input, false, context)?;
            let condition = context.sql_to_expr(condition, plan.schema())?;
            LogicalPlanBuilder::from(plan).filter(condition)?.build()
        }
        JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
            if is_true(&condition) =>
        {
            rows.beside(input, true, context)
        }
        _ => Err(external(Error::unsupported(
            "this join with a function that reads the rows in front of it",
            "use CROSS JOIN LATERAL, JOIN LATERAL … ON, or LEFT JOIN LATERAL … ON true",
        ))),
    }
}

fn is_true(condition: &ast::Expr) -> bool {
    match condition {
        ast::Expr::Nested(inner) => is_true(inner),
        ast::Expr::Value(value) => value.value == Value::Boolean(true),
        _ => false,
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
