//! `ORDER BY` of types whose columns are not in PostgreSQL's order: `jsonb`, which is held as text,
//! intervals, which are held as months, days and time, and composite types and arrays, which hold such
//! values and NULLs. They are sorted by keys.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ExprSchemable, LogicalPlan, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::call;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The function whose results are in the order of a type's values, if the values are not.
pub(crate) fn key_function(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::LargeUtf8 => Some("pg_json_order"),
        DataType::Interval(_) => Some("pg_interval_span"),
        DataType::Struct(_) | DataType::List(_) => Some("pg_record_order"),
        _ => None,
    }
}

/// Sorts by keys. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct SortKeys;

impl AnalyzerRule for SortKeys {
    fn name(&self) -> &'static str {
        "sort_keys"
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
    let keyed = |by: SortExpr| {
        let data_type = by.expr.get_type(schema).ok();
        match data_type.as_ref().and_then(key_function) {
            Some(key) => SortExpr {
                expr: call(key, vec![by.expr]),
                ..by
            },
            None => by,
        }
    };
    sort.expr = sort.expr.into_iter().map(keyed).collect();
    Ok(Transformed::yes(LogicalPlan::Sort(sort)))
}
