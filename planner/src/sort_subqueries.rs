//! Subqueries in `ORDER BY`: computed as columns in front of the sort, since DataFusion has no others.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Sort, SortExpr};
use datafusion::optimizer::AnalyzerRule;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The rule. To be run before type coercion.
#[derive(Debug)]
pub(crate) struct SortSubqueries;

impl AnalyzerRule for SortSubqueries {
    fn name(&self) -> &'static str {
        "sort_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Sort(sort) if sort.expr.iter().any(|key| has_subquery(&key.expr)) => {
                Ok(Transformed::yes(by_columns(sort)?))
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
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)
        ))
    };
    expr.exists(is_subquery).unwrap_or(false)
}

fn by_columns(sort: Sort) -> Result<LogicalPlan> {
    let columns = sort.input.schema().columns();
    let columns: Vec<Expr> = columns.into_iter().map(Expr::from).collect();
    let (mut keys, mut computed) = (Vec::new(), Vec::new());
    for (at, key) in sort.expr.into_iter().enumerate() {
        if !has_subquery(&key.expr) {
            keys.push(key);
            continue;
        }
        let name = format!("sort key {at}");
        computed.push(key.expr.alias(&name));
        let column = Expr::Column(Column::from_name(name));
        keys.push(SortExpr::new(column, key.asc, key.nulls_first));
    }
    let input = match Arc::unwrap_or_clone(sort.input) {
        // It may read what is not selected.
        LogicalPlan::Projection(projection)
            if computed
                .iter()
                .all(|expr| reads(expr, projection.input.schema())) =>
        {
            let exprs = projection.expr.into_iter().chain(computed);
            LogicalPlanBuilder::from(projection.input).project(exprs.collect::<Vec<_>>())?
        }
        other => {
            let exprs = columns.iter().cloned().chain(computed);
            LogicalPlanBuilder::from(other).project(exprs.collect::<Vec<_>>())?
        }
    };
    input
        .sort_with_limit(keys, sort.fetch)?
        .project(columns)?
        .build()
}

/// Whether all that an expression's subqueries read of the rows around them is there.
fn reads(expr: &Expr, schema: &DFSchema) -> bool {
    let is_missing = |part: &Expr| {
        let outer = match part {
            Expr::ScalarSubquery(query) => &query.outer_ref_columns,
            Expr::Exists(exists) => &exists.subquery.outer_ref_columns,
            Expr::InSubquery(within) => &within.subquery.outer_ref_columns,
            Expr::Column(column) => return Ok(!schema.has_column(column)),
            _ => return Ok(false),
        };
        Ok(outer.iter().any(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => !schema.has_column(column),
            _ => false,
        }))
    };
    !expr.exists(is_missing).unwrap_or(true)
}
