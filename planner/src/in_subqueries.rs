//! `x IN (SELECT y …)`, `x > ANY (SELECT y …)` and `EXISTS` wherever they stand, with PostgreSQL's three-valued logic.
//!
//! DataFusion makes joins of them in `WHERE`: a semi join, a null-aware anti join of `NOT IN`, and a join
//! that marks rows where they stand beside `OR`. A mark is false where the comparison is NULL. That is
//! right as long as nothing negates it, since `WHERE` takes NULL for false. Elsewhere this rule puts
//! scalar subqueries in their place, which may stand anywhere:
//!
//! ```text
//!   x IN q = CASE WHEN (rows of q where y = x) > 0 THEN true
//!                 WHEN q has no rows               THEN false
//!                 WHEN x IS NULL OR y IS NULL for a row of q THEN NULL
//!                 ELSE false END
//! ```
//!
//! | in `WHERE` | becomes |
//! | --- | --- |
//! | `x IN q`, beside `AND` and `OR` too; `EXISTS` | stays |
//! | `x NOT IN q`, alone or beside `AND` | stays, unless q reads the outer row: `NOT EXISTS (… WHERE (y = x) IS NOT FALSE)` |
//! | `x NOT IN q` beside `OR`, `NOT (x IN q …)` | `x NOT IN q`, by marks, and that q has no NULLs and x is none, or no rows at all |
//! | any other | the `CASE` |

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue, Spans};
use datafusion::error::DataFusionError;
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, col,
    lit, when,
};
use datafusion::optimizer::AnalyzerRule;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Replaces subqueries that are no joins. To be run before type coercion.
#[derive(Debug)]
pub(crate) struct InSubqueries;

impl AnalyzerRule for InSubqueries {
    fn name(&self) -> &'static str {
        "in_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) => filtered(filter),
            LogicalPlan::Aggregate(aggregate) => aggregated(aggregate),
            LogicalPlan::Projection(_) => {
                let schema = merge_schema(&node.inputs());
                let names = NamePreserver::new(&node);
                node.map_expressions(|expr| {
                    let name = names.save(&expr);
                    let rewritten = as_values(expr, &schema)?;
                    Ok(rewritten.update_data(|expr| name.restore(expr)))
                })
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
        ))
    };
    expr.exists(is_subquery).unwrap_or(false)
}

fn filtered(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    if !has_subquery(&filter.predicate) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(filter.input.schema());
    let parts = split_conjunction_owned(filter.predicate).into_iter();
    let parts = parts.map(|part| match without_not(part) {
        Expr::InSubquery(subquery) if subquery.negated => not_in(subquery, &schema),
        other => condition(other, true, &schema),
    });
    let predicate = conjunction(parts.collect::<Result<Vec<_>>>()?).unwrap_or_else(|| lit(true));
    let filter = Filter::try_new(predicate, filter.input)?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

/// `NOT (x IN q)` as `x NOT IN q`.
fn without_not(expr: Expr) -> Expr {
    match expr {
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(subquery) => Expr::InSubquery(InSubquery {
                negated: !subquery.negated,
                ..subquery
            }),
            inner => !inner,
        },
        other => other,
    }
}

/// A condition of `WHERE` as it stands beside `AND`, `OR` and `NOT`. `is_plain` if it has to be true
/// for the row to stay, and not to be false.
fn condition(expr: Expr, is_plain: bool, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            Ok(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(condition(*left, is_plain, schema)?),
                op,
                right: Box::new(condition(*right, is_plain, schema)?),
            }))
        }
        Expr::Not(inner) => Ok(!condition(*inner, !is_plain, schema)?),
        // DataFusion makes three-valued conditions of comparisons with ANY and ALL itself.
        Expr::Exists(_) | Expr::SetComparison(_) => Ok(expr),
        Expr::InSubquery(subquery) if is_plain != subquery.negated => {
            Ok(Expr::InSubquery(subquery))
        }
        Expr::InSubquery(subquery) => {
            let is_out = marked_not_in(subquery, schema)?;
            Ok(if is_plain { is_out } else { !is_out })
        }
        other => Ok(as_values(other, schema)?.data),
    }
}

/// `x NOT IN q` that has to be true.
fn not_in(subquery: InSubquery, schema: &DFSchema) -> Result<Expr> {
    if subquery.subquery.outer_ref_columns.is_empty() {
        return Ok(Expr::InSubquery(subquery));
    }
    let value = outer(*subquery.expr, schema)?;
    let plan = values(&subquery.subquery)?
        .filter(col(VALUE).eq(value).is_not_false())?
        .build()?;
    Ok(Expr::Exists(Exists::new(of_plan(plan), true)))
}

/// `x NOT IN q` that has to be true, beside `OR`: no row is marked, and nothing is unknown. Of an `IN` that
/// has to be false it is the same.
fn marked_not_in(subquery: InSubquery, schema: &DFSchema) -> Result<Expr> {
    if !subquery.subquery.outer_ref_columns.is_empty() {
        return not_in(subquery, schema);
    }
    let value = subquery.expr.as_ref().clone();
    let unknown = when(value.is_null(), lit(1_i64)).otherwise(lit(0_i64))?;
    let nulls = nulls_among(values(&subquery.subquery)?)?;
    let is_out = Expr::InSubquery(InSubquery {
        negated: true,
        ..subquery
    });
    Ok(is_out.and((nulls + unknown).lt_eq(lit(1_i64))))
}

/// An aggregate takes the values as columns of its input.
fn aggregated(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    if !exprs.any(has_subquery) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let schema = Arc::clone(aggregate.input.schema());
    let mut computed: Vec<Expr> = Vec::new();
    let names = NamePreserver::new_for_projection();
    let mut by_columns = |expr: Expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_down(|part| match part {
            Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                let column = format!("subquery {}", computed.len());
                computed.push(as_values(part, &schema)?.data.alias(&column));
                Ok(Transformed::yes(col(format!("\"{column}\""))))
            }
            other => Ok(Transformed::no(other)),
        });
        Ok(name.restore(rewritten.data()?))
    };
    let groups = aggregate.group_expr.into_iter().map(&mut by_columns);
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let calls = aggregate.aggr_expr.into_iter().map(&mut by_columns);
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let kept = schema.columns().into_iter().map(Expr::from);
    let input = LogicalPlanBuilder::from(aggregate.input)
        .project(kept.chain(computed).collect::<Vec<_>>())?
        .build()?;
    let aggregate = Aggregate::try_new(Arc::new(input), groups, calls)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// The expression with values in the place of its subqueries.
fn as_values(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| match part {
        Expr::InSubquery(subquery) => {
            let InSubquery {
                expr,
                subquery,
                negated,
            } = subquery;
            let is_in = membership(*expr, Operator::Eq, &subquery, schema)?;
            Ok(Transformed::yes(if negated { !is_in } else { is_in }))
        }
        Expr::SetComparison(comparison) => {
            let (value, rows) = (*comparison.expr, &comparison.subquery);
            let known = match (comparison.quantifier, comparison.op.negate()) {
                // What holds for all fails for none.
                (SetQuantifier::All, Some(fails)) => !membership(value, fails, rows, schema)?,
                _ => membership(value, comparison.op, rows, schema)?,
            };
            Ok(Transformed::yes(known))
        }
        Expr::Exists(exists) => {
            let rows = rows(LogicalPlanBuilder::from(exists.subquery.subquery))?;
            Ok(Transformed::yes(match exists.negated {
                true => rows.eq(lit(0_i64)),
                false => rows.gt(lit(0_i64)),
            }))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// The column of a subquery whose values are compared.
const VALUE: &str = "value";

/// How many rows a subquery has; a scalar subquery.
fn rows(plan: LogicalPlanBuilder) -> Result<Expr> {
    let none: [Expr; 0] = [];
    let plan = plan.aggregate(none, [count(lit(1_i64))])?.build()?;
    // Without rows DataFusion's join of a correlated subquery may have no count.
    Ok(coalesce(vec![
        Expr::ScalarSubquery(of_plan(plan)),
        lit(0_i64),
    ]))
}

/// 0 if there are no values, 1 if none of them is NULL, else 2.
fn nulls_among(values: LogicalPlanBuilder) -> Result<Expr> {
    let none: [Expr; 0] = [];
    let counts = [
        count(lit(1_i64)).alias("rows"),
        count(col(VALUE)).alias("known"),
    ];
    let state = when(col("rows").eq(lit(0_i64)), lit(0_i64))
        .when(col("rows").eq(col("known")), lit(1_i64))
        .otherwise(lit(2_i64))?;
    let plan = values.aggregate(none, counts)?.project([state])?.build()?;
    Ok(Expr::ScalarSubquery(of_plan(plan)))
}

/// `value op ANY (subquery)`.
fn membership(value: Expr, op: Operator, subquery: &Subquery, schema: &DFSchema) -> Result<Expr> {
    let compared = Expr::BinaryExpr(BinaryExpr {
        left: Box::new(outer(value.clone(), schema)?),
        op,
        right: Box::new(col(VALUE)),
    });
    let matching = rows(values(subquery)?.filter(compared)?)?;
    // Without rows DataFusion's join of a correlated subquery may have no state.
    let nulls = coalesce(vec![nulls_among(values(subquery)?)?, lit(0_i64)]);
    when(matching.gt(lit(0_i64)), lit(true))
        .when(nulls.clone().eq(lit(0_i64)), lit(false))
        .when(
            value.is_null().or(nulls.eq(lit(2_i64))),
            lit(ScalarValue::Boolean(None)),
        )
        .otherwise(lit(false))
}

/// The rows of a subquery of one column, which is called [`VALUE`].
fn values(subquery: &Subquery) -> Result<LogicalPlanBuilder> {
    let plan = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery));
    let column = plan.schema().columns().swap_remove(0);
    plan.project([Expr::Column(column).alias(VALUE)])
}

/// An expression of the outer row, as the subquery sees it.
fn outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|part| match part {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(
                Arc::clone(field),
                column,
            )))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn of_plan(plan: LogicalPlan) -> Subquery {
    Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: Spans::new(),
    }
}
