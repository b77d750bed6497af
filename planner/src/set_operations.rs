//! `INTERSECT ALL` and `EXCEPT ALL`: rows that are in both inputs, or in the left one only, as often as
//! there are of them.
//!
//! ```text
//!   left  ─(row, 1, 0)─┐
//!                      ├─ union ─► count both by row ─► the row, as often as follows from the counts
//!   right ─(row, 0, 1)─┘
//! ```
//!
//! DataFusion makes semi and anti joins of them, which keep all equal rows or none. So they become a
//! relation in `FROM` with a mark on it before names are resolved, and a plan of counts when they are.
//! NULLs are equal, as in groups.

use std::ops::ControlFlow;

use datafusion::common::{Column, NullHandling, UnnestOptions};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit, when};
use sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, Query, SetExpr, SetOperator, SetQuantifier,
    TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::error::Error;
use crate::functions::call;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The aliases that mark the relations.
const INTERSECT: &str = "intersect all";
const EXCEPT: &str = "except all";

/// Marks the operations of a query.
pub(crate) fn mark(query: &mut Query) {
    let visited = query.visit(&mut Marker);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

struct Marker;

impl VisitorMut for Marker {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        mark_body(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn mark_body(body: &mut SetExpr) {
    let SetExpr::SetOperation {
        op,
        set_quantifier,
        left,
        right,
    } = body
    else {
        return;
    };
    mark_body(left);
    mark_body(right);
    let mark = match (op, set_quantifier) {
        (SetOperator::Intersect, SetQuantifier::All) => INTERSECT,
        (SetOperator::Except, SetQuantifier::All) => EXCEPT,
        _ => return,
    };
    let [left, right] = [left, right].map(|side| derived(std::mem::replace(side, template().body)));
    let alias = TableAlias {
        explicit: true,
        name: Ident::with_quote('"', mark),
        columns: Vec::new(),
        at: None,
    };
    let join = Join {
        relation: right,
        global: false,
        join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
    };
    *body = all_of(TableFactor::NestedJoin {
        table_with_joins: Box::new(TableWithJoins {
            relation: left,
            joins: vec![join],
        }),
        alias: Some(alias),
    });
}

/// `SELECT * FROM` a relation.
fn all_of(relation: TableFactor) -> SetExpr {
    let mut body = *template().body;
    if let SetExpr::Select(select) = &mut body {
        select.from = vec![TableWithJoins {
            relation,
            joins: Vec::new(),
        }];
    }
    body
}

fn derived(body: Box<SetExpr>) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(Query { body, ..template() }),
        alias: None,
        sample: None,
    }
}

fn template() -> Query {
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql("SELECT *")
        .and_then(|mut parser| parser.parse_query());
    *parsed.expect("a query")
}

/// Plans the relations that are marked.
#[derive(Debug)]
pub(crate) struct SetOperations;

impl RelationPlanner for SetOperations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let operator = match &relation {
            TableFactor::NestedJoin {
                alias: Some(alias), ..
            } if alias.name.value == INTERSECT => SetOperator::Intersect,
            TableFactor::NestedJoin {
                alias: Some(alias), ..
            } if alias.name.value == EXCEPT => SetOperator::Except,
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let TableFactor::NestedJoin {
            table_with_joins: sides,
            ..
        } = relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let left = context.plan(sides.relation)?;
        let mut right = sides.joins.into_iter().map(|join| join.relation);
        let right = right.next().map(|right| context.plan(right)).transpose()?;
        let Some(right) = right else {
            return Err(DataFusionError::Internal("one side of two".to_owned()));
        };
        let plan = by_counts(operator, left, right)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

fn by_counts(operator: SetOperator, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
    let names: Vec<String> = left
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    if right.schema().fields().len() != names.len() {
        return Err(DataFusionError::External(Box::new(Error::Syntax {
            message: format!("each {operator} query must have the same number of columns"),
            position: 1,
        })));
    }
    let column = |at: usize| format!("column {at}");
    let side = |plan: LogicalPlan, in_left: i64| {
        let columns = plan.schema().columns().into_iter().enumerate();
        let columns = columns.map(|(at, found)| Expr::Column(found).alias(column(at)));
        let counted = [lit(in_left).alias("left"), lit(1 - in_left).alias("right")];
        let exprs: Vec<Expr> = columns.chain(counted).collect();
        LogicalPlanBuilder::from(plan).project(exprs)?.build()
    };
    let groups: Vec<Expr> = (0..names.len()).map(|at| quoted(&column(at))).collect();
    let counts = [
        sum(col("left")).alias("left rows"),
        sum(col("right")).alias("right rows"),
    ];
    let (in_left, in_right) = (quoted("left rows"), quoted("right rows"));
    let times = match operator {
        SetOperator::Intersect => {
            when(in_left.clone().lt(in_right.clone()), in_left).otherwise(in_right)?
        }
        _ => in_left - in_right,
    };
    let copies = call("pg_copies", vec![times]).alias("copies");
    let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
    LogicalPlanBuilder::from(side(left, 1)?)
        .union(side(right, 0)?)?
        .aggregate(groups.clone(), counts)?
        .project(groups.iter().cloned().chain([copies]))?
        .unnest_columns_with_options(vec![Column::from_name("copies")], options)?
        .project(
            groups
                .into_iter()
                .zip(names)
                .map(|(group, name)| group.alias(name)),
        )?
        .build()
}

fn quoted(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}
