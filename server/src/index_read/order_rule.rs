//! Lets scans read in the order that is asked for, where that spares reading the other rows:
//! `ORDER BY key LIMIT n`, `WHERE key > … ORDER BY key`, `min(key)`, `max(key)`.
//!
//! ```text
//!   Sort: k, fetch=n         Sort: k, fetch=n        DataFusion drops it, as the scan
//!     Projection        ──►    Projection              has the order
//!       Filter                   OrderedScan: filter, fetch=n
//!         TableScan
//! ```
//!
//! It is the first rule: behind it, tasks and exchanges are planned for the scans that there are.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::index_read::index_scan::IndexScan;
use crate::index_read::point_lookup::PointLookupExec;
use crate::index_read::scan_source::ScanSource;
use crate::index_read::table_scan::TableScan;

/// The rule.
#[derive(Debug)]
pub struct OrderedReads;

type Plan = Arc<dyn ExecutionPlan>;

impl PhysicalOptimizerRule for OrderedReads {
    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan> {
        plan.transform_down(|node| {
            let changed = match node.downcast_ref::<SortExec>() {
                Some(sort) => sorted(&node, sort)?,
                None => match node.downcast_ref::<AggregateExec>() {
                    Some(aggregate) => extreme(&node, aggregate)?,
                    None => None,
                },
            };
            Ok(changed.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }

    fn name(&self) -> &str {
        "ordered_reads"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn sorted(node: &Plan, sort: &SortExec) -> Result<Option<Plan>> {
    let Some(input) = in_order(sort.input(), sort.expr(), sort.fetch())? else {
        return Ok(None);
    };
    let input = match sort.fetch() {
        Some(fetch) => first(input, fetch)?,
        None => input,
    };
    over(node, input).map(Some)
}

/// A single `min` or `max` of a column is that of its first row in order, NULL last.
fn extreme(node: &Plan, aggregate: &AggregateExec) -> Result<Option<Plan>> {
    let ([call], [None]) = (aggregate.aggr_expr(), aggregate.filter_expr()) else {
        return Ok(None);
    };
    let descending = match call.fun().name() {
        "min" => false,
        "max" => true,
        _ => return Ok(None),
    };
    let is_first = matches!(
        aggregate.mode(),
        AggregateMode::Partial | AggregateMode::Single
    );
    let [of] = &call.expressions()[..] else {
        return Ok(None);
    };
    if !is_first || !aggregate.group_expr().is_true_no_grouping() {
        return Ok(None);
    }
    let options = SortOptions {
        descending,
        nulls_first: false,
    };
    let order = LexOrdering::new([PhysicalSortExpr::new(Arc::clone(of), options)]);
    let Some(order) = order else {
        return Ok(None);
    };
    let Some(input) = in_order(aggregate.input(), &order, Some(1))? else {
        return Ok(None);
    };
    let limit = GlobalLimitExec::new(first(input, 1)?, 0, Some(1));
    over(node, Arc::new(limit)).map(Some)
}

/// A step over another input.
fn over(step: &Plan, input: Plan) -> Result<Plan> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(step).replace_children(vec![input], options)
}

/// The same plan whose rows come in an order, of which the first `fetch` are wanted, or all.
fn in_order(plan: &Plan, order: &LexOrdering, fetch: Option<usize>) -> Result<Option<Plan>> {
    if let Some(scan) = plan.downcast_ref::<TableScan>() {
        return ordered_scan(scan.source(), order, fetch, scan.source().rows);
    }
    if let Some(scan) = plan.downcast_ref::<IndexScan>() {
        return ordered_scan(scan.source(), order, fetch, scan.rows());
    }
    if let Some(lookup) = plan.downcast_ref::<PointLookupExec>() {
        let (source, lookup) = (lookup.source(), lookup.lookup());
        return match lookup.path.unique {
            true => Ok(None),
            false => ordered_scan(source, order, fetch, lookup.rows()),
        };
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let place = |at: usize| filter.projection().as_ref().map_or(at, |places| places[at]);
        let order = order_below(order, filter.input(), |at| Some(place(at)));
        return match order.map(|order| in_order(filter.input(), &order, fetch)) {
            Some(input) => input?.map(|input| filtered(filter, &input)).transpose(),
            None => Ok(None),
        };
    }
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else {
        return Ok(None);
    };
    let place = |at: usize| {
        let column = projection.expr()[at].expr.downcast_ref::<Column>()?;
        Some(column.index())
    };
    match order_below(order, projection.input(), place) {
        Some(order) => {
            let input = in_order(projection.input(), &order, fetch)?;
            input.map(|input| over(plan, input)).transpose()
        }
        None => Ok(None),
    }
}

/// The filter of a step, asked by the scan below if there is nothing between.
fn filtered(step: &FilterExec, input: &Plan) -> Result<Plan> {
    let Some(scan) = input.downcast_ref::<IndexScan>() else {
        let filter = FilterExec::try_new(Arc::clone(step.predicate()), Arc::clone(input))?;
        return projected(step, Arc::new(filter));
    };
    let scan = scan.clone().with_filter(Arc::clone(step.predicate()));
    projected(step, Arc::new(scan))
}

/// The columns that a filter lets through.
fn projected(step: &FilterExec, input: Plan) -> Result<Plan> {
    let Some(columns) = step.projection() else {
        return Ok(input);
    };
    let schema = input.schema();
    let column = |&at: &usize| {
        let name = schema.field(at).name();
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, at));
        (column, name.clone())
    };
    let columns = columns.iter().map(column);
    Ok(Arc::new(ProjectionExec::try_new(columns, input)?))
}

/// Ends a scan with the last row that is wanted, if all that it gives is.
fn first(plan: Plan, fetch: usize) -> Result<Plan> {
    if let Some(scan) = plan.downcast_ref::<IndexScan>() {
        return Ok(Arc::new(scan.clone().first(Some(fetch))));
    }
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => over(&plan, first(Arc::clone(projection.input()), fetch)?),
        None => Ok(plan),
    }
}

/// A scan in an order, if it reads less than one of so many rows that are sorted then.
fn ordered_scan(
    source: &ScanSource,
    order: &LexOrdering,
    fetch: Option<usize>,
    instead: usize,
) -> Result<Option<Plan>> {
    let scan = match fetch {
        Some(fetch) => source.ordered(order, fetch, instead)?,
        None => source
            .ordered_range(order)?
            .filter(|scan| scan.rows() <= instead),
    };
    Ok(scan.map(|scan| Arc::new(scan) as Plan))
}

/// The order by the columns of an input that the columns of a plan are.
fn order_below(
    order: &LexOrdering,
    input: &Plan,
    place: impl Fn(usize) -> Option<usize>,
) -> Option<LexOrdering> {
    let schema = input.schema();
    let renamed = order.iter().map(|by| {
        let at = place(by.expr.downcast_ref::<Column>()?.index())?;
        let column = Column::new(schema.field(at).name(), at);
        Some(PhysicalSortExpr::new(Arc::new(column), by.options))
    });
    LexOrdering::new(renamed.collect::<Option<Vec<_>>>()?)
}
