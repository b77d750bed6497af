//! What is refused before the optimizer sees the plan: expressions whose value is not a function
//! of their row, and those that there is no operator for.
//!
//! Nodes without an operator are refused where plans are built, since the optimizer can turn some
//! of them (an outer join below a strict filter) into others.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};

use crate::error::{Error, Result};

/// Checks every expression of a plan.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        let refused = match node {
            // The optimizer would make an aggregate of it.
            LogicalPlan::Distinct(Distinct::On(_)) => Some(distinct_on()),
            // Its working table would look like a constant.
            LogicalPlan::RecursiveQuery(_) => Some(recursion()),
            _ => None,
        };
        if let Some(error) = refused {
            return Err(DataFusionError::External(Box::new(error)));
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| match check_expr(part) {
                Ok(()) => Ok(TreeNodeRecursion::Continue),
                Err(error) => Err(DataFusionError::External(Box::new(error))),
            })
        })
    })?;
    Ok(())
}

fn check_expr(expr: &Expr) -> Result<()> {
    match expr {
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
        Expr::Exists(_) => Err(subquery("EXISTS (subquery)")),
        Expr::InSubquery(_) => Err(subquery("IN (subquery)")),
        Expr::SetComparison(_) => Err(subquery("a comparison with ANY or ALL (subquery)")),
        Expr::ScalarSubquery(_) => Err(subquery("a scalar subquery")),
        Expr::OuterReferenceColumn(..) => Err(subquery("a correlated subquery")),
        Expr::WindowFunction(_) => Err(window()),
        Expr::Unnest(_) => Err(Error::unsupported(
            "unnest in a materialized view",
            "store one row per element",
        )),
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

/// The refusal of `DISTINCT ON`.
pub(super) fn distinct_on() -> Error {
    Error::unsupported(
        "DISTINCT ON in a materialized view",
        "use GROUP BY with min or max",
    )
}

/// The refusal of recursive queries.
pub(super) fn recursion() -> Error {
    Error::unsupported(
        "WITH RECURSIVE in a materialized view",
        "unroll the recursion into views over views",
    )
}

/// The refusal of window functions.
pub(super) fn window() -> Error {
    Error::unsupported(
        "a window function in a materialized view",
        "use GROUP BY, or apply the window function in a SELECT over the view",
    )
}
