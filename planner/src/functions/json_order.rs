//! `ORDER BY` of `jsonb`: by a key that has PostgreSQL's order, since columns hold text.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ExprSchemable, LogicalPlan, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::call;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Sorts by the keys of `jsonb` values. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct JsonOrder;

impl AnalyzerRule for JsonOrder {
    fn name(&self) -> &'static str {
        "json_order"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(by_keys).data()
    }
}

fn by_keys(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Sort(mut sort) = plan else {
        return Ok(Transformed::no(plan));
    };
    let schema = sort.input.schema();
    let key = |sort_by: SortExpr| match sort_by.expr.get_type(schema) {
        Ok(DataType::LargeUtf8) => SortExpr {
            expr: call("pg_json_order", vec![sort_by.expr]),
            ..sort_by
        },
        _ => sort_by,
    };
    sort.expr = sort.expr.into_iter().map(key).collect();
    Ok(Transformed::yes(LogicalPlan::Sort(sort)))
}
