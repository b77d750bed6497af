//! `a JOIN b FOR SYSTEM_TIME AS OF PROCTIME() ON a.k = b.id`: each row of `a` with the row of `b` as it is when the
//! row of `a` is processed, RisingWave's temporal join.
//!
//! ```text
//!   FOR SYSTEM_TIME AS OF PROCTIME() ──tokens──► a mark on the relation ──names──► a mark on its scan
//!     batch: a join like any other, over one epoch
//!     view:  Node::TemporalJoin
//! ```
//!
//! The mark is `WITH ORDINALITY` behind a relation that is no function, which PostgreSQL's grammar does not have: so
//! the parser's tree has a place for it (`parse`).

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlan, SubqueryAlias, TableScan};
use sqlparser::ast::TableFactor;

use crate::bind::RelationTable;
use crate::error::Error;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Plans the relations that are marked.
#[derive(Debug)]
pub(crate) struct CurrentRows;

impl RelationPlanner for CurrentRows {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match &mut relation {
            TableFactor::Table {
                args: None,
                with_ordinality,
                ..
            } if *with_ordinality => *with_ordinality = false,
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        }
        let plan = marked(context.plan(relation)?)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

/// Marks the scan of a relation.
fn marked(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let input = marked(Arc::unwrap_or_clone(input))?;
            let aliased = SubqueryAlias::try_new(Arc::new(input), alias)?;
            Ok(LogicalPlan::SubqueryAlias(aliased))
        }
        LogicalPlan::TableScan(scan) => with_mark(scan, true)?.ok_or_else(refused),
        _ => Err(refused()),
    }
}

fn refused() -> DataFusionError {
    DataFusionError::External(Box::new(Error::unsupported(
        "FOR SYSTEM_TIME AS OF PROCTIME() of other than tables and materialized views",
        "make a materialized view of it",
    )))
}

/// The scan with or without the mark; `None` if it is not that of a relation.
fn with_mark(scan: TableScan, as_of_now: bool) -> Result<Option<LogicalPlan>> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<RelationTable>() else {
        return Ok(None);
    };
    let source = provider_as_source(Arc::new(table.with_mark(as_of_now)));
    Ok(Some(LogicalPlan::TableScan(TableScan { source, ..scan })))
}

/// The plan without its mark, if it reads a relation that is marked and computes of it row by row.
pub(crate) fn without_mark(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) if is_marked(plan)? => with_mark(scan.clone(), false),
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => {
            let input = plan.inputs()[0];
            without_mark(input)?
                .map(|input| plan.with_new_exprs(plan.expressions(), vec![input]))
                .transpose()
        }
        _ => Ok(None),
    }
}

/// Whether a plan is the scan of a relation that is marked.
pub(crate) fn is_marked(plan: &LogicalPlan) -> Result<bool> {
    let LogicalPlan::TableScan(scan) = plan else {
        return Ok(false);
    };
    let provider = source_as_provider(&scan.source)?;
    let table = provider.downcast_ref::<RelationTable>();
    Ok(table.is_some_and(RelationTable::is_as_of_now))
}

/// Whether a query has a temporal join anywhere.
pub(crate) fn has_mark(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= is_marked(node)?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}
