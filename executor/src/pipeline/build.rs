//! From the nodes of a plan to operators and the state tables that they ask for.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use planner::dataflow::{Node, Watermark};
use storage::{NullEquality, StateTable, TableSchema};

use super::Context;
use super::layout::Kind;
use crate::error::Result;
use crate::operator::Operator;
use crate::operators::{
    AggPlan, Backlog, Dml, Filter, HashAgg, HashJoin, JoinPlan, LocalAgg, Materialize, Project,
    Recompute, RecomputePlan, Scan, ScanPlan, TemporalFilter, TemporalJoin, TemporalJoinPlan,
    Unnest, Values, WatermarkFilter,
};
use crate::sources::Nexmark;

/// The state tables of a node; their ids are yet to be set.
pub(super) fn table_schemas(node: &Node, inputs: &[SchemaRef]) -> Result<Vec<TableSchema>> {
    Ok(match node {
        Node::Input { .. }
        | Node::Union { .. }
        | Node::Filter { .. }
        | Node::Project { .. }
        | Node::Unnest { .. }
        | Node::LocalAgg { .. } => Vec::new(),
        Node::TemporalFilter { column, .. } => TemporalFilter::table_schemas(&inputs[0], *column),
        Node::WatermarkFilter { .. } => vec![WatermarkFilter::table_schema()],
        Node::HashAgg {
            group_by,
            calls,
            forgets,
            append_only,
            partial_of,
            ..
        } => {
            let plan = AggPlan {
                group_by,
                calls,
                forgets: *forgets,
                append_only: *append_only,
                partial_of: partial_of.as_ref(),
            };
            HashAgg::table_schemas(plan, &inputs[0])?
        }
        Node::HashJoin {
            kind,
            left_keys,
            right_keys,
            forgets,
            ..
        } => HashJoin::table_schemas(
            *kind,
            [&inputs[0], &inputs[1]],
            [left_keys, right_keys],
            forgets,
        )?,
        Node::TemporalJoin { right_keys, .. } => {
            TemporalJoin::table_schemas([&inputs[0], &inputs[1]], right_keys)
        }
        Node::Recompute {
            keys,
            forgets,
            schema,
            ..
        } => Recompute::table_schemas(inputs, keys, *forgets, schema),
        Node::Materialize { key, .. } => Materialize::table_schemas(&inputs[0], key),
        Node::Dml { watermark, .. } => Dml::table_schemas(watermark.is_some()),
        Node::Nexmark { .. } => Nexmark::table_schemas(),
        Node::Values { .. } => Values::table_schemas(),
    })
}

/// The operator of a node, with its state tables.
pub(super) fn operator(
    kind: &Kind<'_>,
    inputs: &[SchemaRef],
    tables: Vec<StateTable>,
    context: &Context,
) -> Result<Box<dyn Operator>> {
    const ONE: &str = "the operator asked for one state table";
    let mut tables = tables;
    let node = match kind {
        Kind::Node(node) => node,
        Kind::Scan(input) => {
            let [progress, passed] =
                <[StateTable; 2]>::try_from(tables).expect("a scan asked for two tables");
            let pinned = context.snapshots.get(*input).cloned().flatten();
            let left = context.backlogs.get(&progress.schema().id).cloned();
            let plan = ScanPlan {
                width: inputs[0].fields().len(),
                backlog: left.or_else(|| pinned.map(Backlog::from)),
                resumable: context.resumable,
                backfilling: Arc::clone(&context.backfilling),
                throttle: Arc::clone(&context.throttle),
            };
            return Ok(Box::new(Scan::new(plan, progress, passed)?));
        }
    };
    let errors = context.errors.clone();
    Ok(match node {
        Node::Input { .. } | Node::Union { .. } => {
            unreachable!("an input leads straight to its parent")
        }
        Node::Filter { predicate, .. } => Box::new(Filter::new(Arc::clone(predicate), errors)),
        Node::TemporalFilter {
            column,
            side,
            bound,
            ..
        } => Box::new(TemporalFilter::new(
            *column,
            *side,
            bound.clone(),
            tables.pop().expect(ONE),
        )),
        Node::WatermarkFilter { watermark, .. } => Box::new(WatermarkFilter::of_rows(
            watermark.clone(),
            &inputs[0],
            context.key_groups,
            errors,
            tables.pop().expect(ONE),
        )),
        Node::Project { exprs, schema, .. } => {
            Box::new(Project::new(exprs.clone(), Arc::clone(schema), errors))
        }
        Node::Unnest {
            columns, schema, ..
        } => Box::new(Unnest::new(columns.clone(), Arc::clone(schema))),
        Node::HashAgg {
            group_by,
            calls,
            forgets,
            append_only,
            partial_of,
            schema,
            ..
        } => {
            let plan = AggPlan {
                group_by,
                calls,
                forgets: *forgets,
                append_only: *append_only,
                partial_of: partial_of.as_ref(),
            };
            let schema = Arc::clone(schema);
            Box::new(HashAgg::new(plan, &inputs[0], schema, errors, tables)?)
        }
        Node::LocalAgg {
            group_by,
            calls,
            append_only,
            schema,
            ..
        } => {
            let plan = AggPlan {
                group_by,
                calls,
                forgets: None,
                append_only: *append_only,
                partial_of: None,
            };
            Box::new(LocalAgg::new(plan, &inputs[0], Arc::clone(schema))?)
        }
        Node::HashJoin {
            kind,
            left_keys,
            right_keys,
            nulls_match,
            residual,
            forgets,
            schema,
            ..
        } => {
            let plan = JoinPlan {
                kind: *kind,
                keys: [left_keys.clone(), right_keys.clone()],
                nulls: nulls(*nulls_match),
                residual: residual.clone(),
                forgets: *forgets,
                inputs: [Arc::clone(&inputs[0]), Arc::clone(&inputs[1])],
                schema: Arc::clone(schema),
            };
            Box::new(HashJoin::new(plan, errors, two_sides(tables)))
        }
        Node::TemporalJoin {
            keeps_all,
            left_keys,
            right_keys,
            nulls_match,
            residual,
            schema,
            ..
        } => {
            let plan = TemporalJoinPlan {
                keeps_all: *keeps_all,
                keys: [left_keys.clone(), right_keys.clone()],
                nulls: nulls(*nulls_match),
                residual: residual.clone(),
                right: Arc::clone(&inputs[1]),
                schema: Arc::clone(schema),
            };
            let backfilling = Arc::clone(&context.backfilling);
            Box::new(TemporalJoin::new(
                plan,
                errors,
                backfilling,
                two_sides(tables),
            ))
        }
        Node::Recompute {
            keys,
            hashed_by,
            forgets,
            evaluation,
            schema,
            ..
        } => {
            let plan = RecomputePlan {
                keys: keys.clone(),
                hashed_by: hashed_by.clone(),
                forgets: *forgets,
                key_groups: context.key_groups,
                schema: Arc::clone(schema),
            };
            Box::new(Recompute::new(plan, evaluation.start()?, tables))
        }
        Node::Materialize { .. } => Box::new(Materialize::new(
            Arc::clone(&context.backfilling),
            tables.pop().expect(ONE),
        )),
        Node::Dml { watermark, schema } => {
            let filter = |watermark: &Watermark| {
                let state = tables.pop().expect("a watermark asked for one state table");
                let watermark = watermark.clone();
                WatermarkFilter::of_writes(watermark, schema, context.key_groups, errors, state)
            };
            let filter = watermark.as_ref().map(filter);
            Box::new(Dml::new(
                context.key_groups,
                tables.pop().expect(ONE),
                filter,
            ))
        }
        Node::Nexmark {
            options,
            table,
            schema,
        } => Box::new(Nexmark::new(
            options,
            *table,
            Arc::clone(schema),
            context.key_groups,
            Arc::clone(&context.clock),
            context.nexmark_events.clone(),
            tables.pop().expect(ONE),
        )?),
        Node::Values { batch } => Box::new(Values::new(
            batch.clone(),
            context.key_groups,
            tables.pop().expect(ONE),
        )),
    })
}

fn two_sides(tables: Vec<StateTable>) -> [StateTable; 2] {
    <[StateTable; 2]>::try_from(tables).expect("a join asked for two tables")
}

fn nulls(match_each_other: bool) -> NullEquality {
    match match_each_other {
        true => NullEquality::NullEqualsNull,
        false => NullEquality::NullEqualsNothing,
    }
}
