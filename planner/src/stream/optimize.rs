//! DataFusion's logical optimizer, with the rules that suit a view that never ends.
//!
//! Every rule kept here preserves the result of the query as a multiset on all inputs; then it is
//! also right at every barrier. Left out of DataFusion's default list:
//!
//! | rule | why |
//! | --- | --- |
//! | `EliminateJoin` | makes semi joins of inner joins, which must then wait for the barrier |
//! | `SingleDistinctToGroupBy` | `aggregate` plans any mix of `DISTINCT` itself |
//! | `PushDownLimit`, `EliminateLimit` | a limit is taken where it is written |
//! | `UnionsToFilter`, `ExtractLeafExpressions`, `PushDownLeafProjections` | about the cost of scanning files |

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{EmptyRelation, FetchType, LogicalPlan};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::filter_null_join_keys::FilterNullJoinKeys;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerRule};

use crate::error::Result;

/// Rewrites a coerced and checked plan.
pub(super) fn optimize(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut config = state.config().clone();
    let options = config.options_mut();
    // A scalar subquery is one more input of the view.
    options
        .optimizer
        .enable_physical_uncorrelated_scalar_subquery = false;
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .build();
    let plan = plan.transform_up_with_subqueries(without_rows).data()?;
    Ok(Optimizer::with_rules(rules()).optimize(plan, &state, |_, _| {})?)
}

/// `LIMIT 0`, which DataFusion's sort cannot run, has no rows.
fn without_rows(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let is_empty = match &plan {
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type()?, FetchType::Literal(Some(0)))
        }
        _ => false,
    };
    if !is_empty {
        return Ok(Transformed::no(plan));
    }
    Ok(Transformed::yes(LogicalPlan::EmptyRelation(
        EmptyRelation {
            produce_one_row: false,
            schema: Arc::clone(plan.schema()),
        },
    )))
}

/// In DataFusion's order.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        // Comma joins with equalities in WHERE become equi-joins.
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        // A NULL key never matches: such rows need not be kept as state.
        Arc::new(FilterNullJoinKeys::default()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}
