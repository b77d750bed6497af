//! Refuses to compare, group and sort maps, and what holds maps: they have no such operators.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use crate::types::check_operator;

const EQUALITY: &str = "an equality";
const ORDERING: &str = "an ordering";

/// Refuses such plans. To be run before type coercion, which would word it otherwise.
#[derive(Debug)]
pub(crate) struct MapComparisons;

impl AnalyzerRule for MapComparisons {
    fn name(&self) -> &'static str {
        "map_comparisons"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            check_node(node)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

fn check_node(node: &LogicalPlan) -> Result<()> {
    let schema = merge_schema(&node.inputs());
    match node {
        LogicalPlan::Sort(sort) => check_sort(&sort.expr, &schema)?,
        LogicalPlan::Aggregate(aggregate) => check(&aggregate.group_expr, &schema, EQUALITY)?,
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let fields = input.schema().fields().iter();
            fields
                .map(|field| field.data_type())
                .try_for_each(|data_type| refuse(data_type, EQUALITY))?;
        }
        LogicalPlan::Distinct(Distinct::On(on)) => check(&on.on_expr, &schema, EQUALITY)?,
        LogicalPlan::Join(join) => {
            for (left, right) in &join.on {
                check([left, right], &schema, EQUALITY)?;
            }
        }
        _ => {}
    }
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            check_part(part, &schema)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn check_part(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::BinaryExpr(binary) if binary.op.supports_propagation() => {
            check([&*binary.left, &*binary.right], schema, EQUALITY)
        }
        Expr::InList(list) => check([&*list.expr], schema, EQUALITY),
        Expr::InSubquery(subquery) => check([&*subquery.expr], schema, EQUALITY),
        Expr::Between(between) => check([&*between.expr], schema, ORDERING),
        Expr::Case(case) => check(case.expr.as_deref(), schema, EQUALITY),
        Expr::ScalarFunction(call) => {
            let compares = [
                "pg_record_order",
                "pg_any",
                "pg_all",
                "nullif",
                "greatest",
                "least",
            ];
            match compares.contains(&call.name()) {
                true => check(&call.args, schema, EQUALITY),
                false => Ok(()),
            }
        }
        Expr::AggregateFunction(call) => {
            let compares = ["min", "max"].contains(&call.func.name());
            if compares || call.params.distinct {
                check(&call.params.args, schema, EQUALITY)?;
            }
            check_sort(&call.params.order_by, schema)
        }
        Expr::WindowFunction(call) => {
            let WindowFunctionParams {
                partition_by,
                order_by,
                ..
            } = &call.params;
            check(partition_by, schema, EQUALITY)?;
            check_sort(order_by, schema)
        }
        _ => Ok(()),
    }
}

fn check_sort(by: &[SortExpr], schema: &DFSchema) -> Result<()> {
    check(by.iter().map(|by| &by.expr), schema, ORDERING)
}

fn check<'a>(
    exprs: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
    operator: &'static str,
) -> Result<()> {
    let known = exprs
        .into_iter()
        .filter_map(|expr| expr.get_type(schema).ok());
    known
        .into_iter()
        .try_for_each(|data_type| refuse(&data_type, operator))
}

fn refuse(data_type: &DataType, operator: &'static str) -> Result<()> {
    let checked = check_operator(data_type, operator);
    checked.map_err(|error| DataFusionError::External(Box::new(error)))
}
