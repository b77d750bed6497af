//! Where the columns of a result come from: the column of a relation that each one is, if it is one
//! and not computed.
//!
//! Arrow knows fewer types than SQL: `varchar(10)` and `text` are the same to a plan. Clients ask
//! for the type of a result's column, and for its table; both are those of the column that it is.
//! As in PostgreSQL that holds through subqueries, joins, sorting and grouping.

use datafusion::common::{Column, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use crate::bind::RelationTable;
use crate::catalog::RelationId;

/// A column of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The relation.
    pub relation: RelationId,
    /// Its column, counted from 0.
    pub column: usize,
}

/// The origins of a plan's columns, in their order.
pub(crate) fn origins(plan: &LogicalPlan) -> Vec<Option<Origin>> {
    (0..plan.schema().fields().len())
        .map(|column| origin(plan, column))
        .collect()
}

fn origin(plan: &LogicalPlan, at: usize) -> Option<Origin> {
    match plan {
        LogicalPlan::Projection(node) => of_expression(node.expr.get(at)?, &node.input),
        LogicalPlan::Filter(node) => origin(&node.input, at),
        LogicalPlan::Sort(node) => origin(&node.input, at),
        LogicalPlan::Limit(node) => origin(&node.input, at),
        LogicalPlan::Repartition(node) => origin(&node.input, at),
        LogicalPlan::SubqueryAlias(node) => origin(&node.input, at),
        LogicalPlan::Distinct(Distinct::All(input)) => origin(input, at),
        LogicalPlan::Distinct(Distinct::On(node)) => {
            of_expression(node.select_expr.get(at)?, &node.input)
        }
        LogicalPlan::Aggregate(node) => match node.group_expr.get(at)? {
            Expr::GroupingSet(_) => None,
            expr => of_expression(expr, &node.input),
        },
        // The columns of its input come first.
        LogicalPlan::Window(node) if at < node.input.schema().fields().len() => {
            origin(&node.input, at)
        }
        LogicalPlan::Join(node) => {
            let left = node.left.schema().fields().len();
            match node.join_type {
                JoinType::RightSemi | JoinType::RightAnti => origin(&node.right, at),
                _ if at < left => origin(&node.left, at),
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    origin(&node.right, at - left)
                }
                _ => None,
            }
        }
        LogicalPlan::TableScan(scan) => {
            let column = match &scan.projection {
                Some(columns) => *columns.get(at)?,
                None => at,
            };
            if let Some(plan) = scan.source.get_logical_plan() {
                return origin(&plan, column);
            }
            let provider = source_as_provider(&scan.source).ok()?;
            let table = provider.downcast_ref::<RelationTable>()?;
            Some(Origin {
                relation: table.relation.id,
                column,
            })
        }
        _ => None,
    }
}

fn of_expression(expr: &Expr, input: &LogicalPlan) -> Option<Origin> {
    match expr {
        Expr::Alias(alias) => of_expression(&alias.expr, input),
        Expr::Column(column) => origin(input, index_of(input, column)?),
        _ => None,
    }
}

fn index_of(plan: &LogicalPlan, column: &Column) -> Option<usize> {
    plan.schema().index_of_column(column).ok()
}
