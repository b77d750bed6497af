//! What is refused before the optimizer sees the plan: expressions whose value is not a function
//! of their row, and those that there is no operator for. After it: subqueries that are no joins.
//!
//! Nodes without an operator are refused where plans are built, since the optimizer can turn some
//! of them (an outer join below a strict filter) into others.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::temporal;
use crate::error::{Error, Result};
use crate::functions::now::is_now;

/// Checks every expression of a plan.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        // Its working table would look like a constant.
        if let LogicalPlan::RecursiveQuery(_) = node {
            return Err(external(recursion()));
        }
        if let LogicalPlan::Filter(filter) = node {
            temporal::check(&filter.predicate).map_err(external)?;
            return check_expressions(node, check_expr);
        }
        check_expressions(node, |expr| match is_now(expr) {
            true => Err(temporal::refused()),
            false => check_expr(expr),
        })
    })?;
    Ok(())
}

/// Checks that the optimizer made joins of all subqueries in expressions.
pub(super) fn check_decorrelated(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| check_expressions(node, check_no_subquery))?;
    Ok(())
}

fn check_expressions(
    node: &LogicalPlan,
    check: fn(&Expr) -> Result<()>,
) -> std::result::Result<TreeNodeRecursion, DataFusionError> {
    node.apply_expressions(|expr| {
        expr.apply(|part| match check(part) {
            Ok(()) => Ok(TreeNodeRecursion::Continue),
            Err(error) => Err(external(error)),
        })
    })
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn check_no_subquery(expr: &Expr) -> Result<()> {
    match expr {
        Expr::Exists(_) => Err(subquery("this EXISTS (subquery)")),
        Expr::InSubquery(_) => Err(subquery("this IN (subquery)")),
        Expr::SetComparison(_) => Err(subquery("this comparison with ANY or ALL (subquery)")),
        Expr::ScalarSubquery(_) => Err(subquery("this scalar subquery")),
        Expr::OuterReferenceColumn(..) => Err(subquery("this correlated subquery")),
        _ => Ok(()),
    }
}

fn check_expr(expr: &Expr) -> Result<()> {
    match expr {
        now if is_now(now) => Ok(()),
        Expr::ScalarFunction(call) => match call.func.signature().volatility {
            Volatility::Immutable => Ok(()),
            Volatility::Stable => Err(Error::unsupported(
                format!("{}() in a materialized view", call.func.name()),
                "its value changes without a change of the input; use it in a SELECT over the view",
            )),
            Volatility::Volatile => Err(Error::unsupported(
                format!("{}() in a materialized view", call.func.name()),
                "its value differs at each evaluation; store it in a column of the table, as a DEFAULT",
            )),
        },
        // A correlated one has one row for each value of the outer row, or is refused later.
        Expr::ScalarSubquery(query)
            if query.outer_ref_columns.is_empty()
                && query.subquery.max_rows().is_none_or(|rows| rows > 1) =>
        {
            Err(Error::unsupported(
                "a scalar subquery that might have more than one row in a materialized view",
                "use an aggregate such as max, or LIMIT 1",
            ))
        }
        Expr::Placeholder(parameter) => Err(Error::unsupported(
            format!("parameter {} in a materialized view", parameter.id),
            "write the value into the statement",
        )),
        Expr::ScalarVariable(..) => Err(Error::unsupported(
            "a session variable in a materialized view",
            "write the value into the statement",
        )),
        _ => Ok(()),
    }
}

fn subquery(what: &str) -> Error {
    Error::unsupported(
        format!("{what} in a materialized view"),
        "write it as a join, with the subquery in FROM",
    )
}

/// The refusal of recursive queries.
pub(super) fn recursion() -> Error {
    Error::unsupported(
        "WITH RECURSIVE in a materialized view",
        "unroll the recursion into views over views",
    )
}
