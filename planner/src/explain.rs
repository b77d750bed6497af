//! `EXPLAIN CREATE MATERIALIZED VIEW`: a dataflow as indented lines.
//!
//! ```text
//! view (a integer, count bigint), stream key (a), append-only: no
//! fragment 0
//!   input 0: t (a, b), forward
//!   Project: a
//!     Filter: b > 5
//!       Input 0
//! fragment 1
//!   input 0: fragment 0 (a), hash (a)
//!   Materialize: key (a)
//!     HashAgg: group by (a); count(*)
//!       Input 0
//!   state: Materialize rows (a, count), key (a)
//!   state: HashAgg groups (a), measures (rows)
//! ```

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::fmt_sql;

use crate::catalog::RelationId;
use crate::dataflow::{
    AggCall, AggFunction, Bound, Dataflow, Distribution, Fragment, Input, JoinKind, NexmarkTable,
    Node, Side, UnnestColumn, Upstream, Watermark,
};
use crate::types::sql_name;
use crate::watermarks::columns;

/// Names of relations, by number; without one the number is shown.
type Names<'a> = &'a dyn Fn(RelationId) -> Option<String>;

/// A dataflow as indented lines, one fragment after the other: its inputs with their distribution,
/// its operators with the last one first, and its state tables.
#[must_use]
pub fn explain(dataflow: &Dataflow, names: Names<'_>) -> Vec<String> {
    let columns: Vec<String> = dataflow
        .schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), sql_name(field.data_type())))
        .collect();
    let key = match dataflow.stream_key.as_slice() {
        [] => "none (whole row)".to_owned(),
        key => list(&dataflow.schema, key),
    };
    let append_only = if dataflow.append_only { "yes" } else { "no" };
    let mut lines = vec![format!(
        "view ({}), stream key {key}, append-only: {append_only}",
        columns.join(", ")
    )];
    for (at, fragment) in dataflow.fragments.iter().enumerate() {
        explain_fragment(at, fragment, names, &mut lines);
    }
    lines
}

/// As [`explain`], with lines of the caller's behind the head of each fragment.
#[must_use]
pub fn explain_with(
    dataflow: &Dataflow,
    names: Names<'_>,
    of_fragment: &dyn Fn(usize) -> Vec<String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, fragment) in dataflow.fragments.iter().enumerate() {
        let head = lines.len() + 1;
        explain_fragment(at, fragment, names, &mut lines);
        let indented = of_fragment(at).into_iter().map(|line| format!("  {line}"));
        lines.splice(head..head, indented);
    }
    lines
}

fn explain_fragment(at: usize, fragment: &Fragment, names: Names<'_>, lines: &mut Vec<String>) {
    let tasks = if fragment.inputs.is_empty() {
        ", one executor"
    } else {
        ""
    };
    lines.push(format!("fragment {at}{tasks}"));
    for (at, input) in fragment.inputs.iter().enumerate() {
        lines.push(format!("  input {at}: {}", input_line(input, names)));
    }
    operators(&fragment.root, 1, lines);
    let watermarks: Vec<usize> = columns(&fragment.root, &fragment.inputs)
        .into_iter()
        .collect();
    if !watermarks.is_empty() {
        let watermarks = list(&fragment.root.schema(), &watermarks);
        lines.push(format!("  watermarks: {watermarks}"));
    }
    state_tables(&fragment.root, lines);
}

fn input_line(input: &Input, names: Names<'_>) -> String {
    let from = match input.from {
        Upstream::Fragment(fragment) => format!("fragment {fragment}"),
        Upstream::Relation(id) => names(id).unwrap_or_else(|| format!("relation {id}")),
    };
    let all: Vec<usize> = (0..input.schema.fields().len()).collect();
    let columns = list(&input.schema, &all);
    match &input.distribution {
        Distribution::Forward => format!("{from} {columns}, forward"),
        Distribution::Hash(keys) if keys.is_empty() => format!("{from} {columns}, one key group"),
        Distribution::Hash(keys) => format!("{from} {columns}, hash {}", list(&input.schema, keys)),
    }
}

fn operators(node: &Node, depth: usize, lines: &mut Vec<String>) {
    lines.push(format!("{}{}", "  ".repeat(depth), operator(node)));
    for child in node.children() {
        operators(child, depth + 1, lines);
    }
}

fn operator(node: &Node) -> String {
    match node {
        Node::Input { inputs, .. } => {
            let inputs: Vec<String> = inputs.iter().map(usize::to_string).collect();
            format!("Input {}", inputs.join(" + "))
        }
        Node::Filter { input, predicate } => {
            format!("Filter: {}", text(predicate, &input.schema()))
        }
        Node::TemporalFilter {
            input,
            column,
            side,
            bound,
        } => {
            let schema = input.schema();
            let column = schema.field(*column).name();
            match bound {
                Bound::Watermark => format!("EmitOnWindowClose: {column}"),
                Bound::Now { value, inclusive } => {
                    let comparison = match (side, inclusive) {
                        (Side::Ahead, true) => ">",
                        (Side::Ahead, false) => ">=",
                        (Side::Passed, true) => "<=",
                        (Side::Passed, false) => "<",
                    };
                    let bound = fmt_sql(value.as_ref());
                    format!("TemporalFilter: {column} {comparison} {bound}")
                }
            }
        }
        Node::WatermarkFilter { input, watermark } => {
            format!(
                "WatermarkFilter: {}",
                watermark_text(watermark, &input.schema())
            )
        }
        Node::Project {
            input,
            exprs,
            schema,
        } => {
            let columns = input.schema();
            let projected = exprs.iter().zip(schema.fields()).map(|(expr, field)| {
                let text = text(expr, &columns);
                if text == *field.name() {
                    text
                } else {
                    format!("{text} AS {}", field.name())
                }
            });
            format!("Project: {}", projected.collect::<Vec<_>>().join(", "))
        }
        Node::Unnest { input, columns, .. } => {
            let lists = columns.iter().filter_map(|column| match *column {
                UnnestColumn::Kept(_) => None,
                UnnestColumn::Elements(at) => Some(at),
            });
            format!(
                "Unnest: {}",
                list(&input.schema(), &lists.collect::<Vec<_>>())
            )
        }
        Node::HashAgg {
            input,
            group_by,
            calls,
            partial_of,
            ..
        } => {
            let (rows, phase) = match partial_of {
                Some(rows) => (Arc::clone(rows), ", of partial results"),
                None => (input.schema(), ""),
            };
            format!("HashAgg: {}{phase}", agg_text(&rows, group_by, calls))
        }
        Node::LocalAgg {
            input,
            group_by,
            calls,
            ..
        } => format!("LocalAgg: {}", agg_text(&input.schema(), group_by, calls)),
        Node::Union { .. } => "Union".to_owned(),
        Node::HashJoin { .. } => join_text(node),
        Node::TemporalJoin {
            keeps_all,
            left,
            right,
            left_keys,
            right_keys,
            residual,
            ..
        } => {
            let kind = if *keeps_all { " left" } else { "" };
            let (left, right) = (left.schema(), right.schema());
            let keys = [list(&left, left_keys), list(&right, right_keys)];
            let mut text = format!("TemporalJoin{kind}: {} = {}", keys[0], keys[1]);
            if let Some(residual) = residual {
                let fields = left.fields().iter().chain(right.fields()).cloned();
                let pairs = Schema::new(fields.collect::<Vec<_>>());
                text = format!("{text} and {}", self::text(residual, &pairs));
            }
            text
        }
        Node::Recompute {
            inputs,
            keys,
            evaluation,
            ..
        } => match keys[0].as_slice() {
            [] => format!("Recompute: {}, all in one place", evaluation.description()),
            key => {
                let key = list(&inputs[0].schema(), key);
                format!("Recompute: {}, by {key}", evaluation.description())
            }
        },
        Node::Materialize { input, key } if key.is_empty() => {
            let width = input.schema().fields().len();
            format!("Materialize: {width} columns, no key")
        }
        Node::Materialize { input, key } => {
            format!("Materialize: key {}", list(&input.schema(), key))
        }
        Node::Dml {
            watermark: None, ..
        } => "Dml".to_owned(),
        Node::Dml {
            schema,
            watermark: Some(watermark),
        } => format!("Dml: watermark for {}", watermark_text(watermark, schema)),
        Node::Nexmark { table, schema, .. } => {
            let table = match table {
                NexmarkTable::Person => "Person",
                NexmarkTable::Auction => "Auction",
                NexmarkTable::Bid => "Bid",
            };
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            format!("Nexmark: {table} {}", list(schema, &all))
        }
        Node::Values { batch } => format!("Values: {} rows", batch.num_rows()),
    }
}

fn watermark_text(watermark: &Watermark, schema: &Schema) -> String {
    let column = schema.field(watermark.column).name();
    format!("{column} as {}", text(&watermark.value, schema))
}

fn join_text(node: &Node) -> String {
    let Node::HashJoin {
        kind,
        left,
        right,
        left_keys,
        right_keys,
        nulls_match,
        residual,
        forgets: _,
        schema: _,
    } = node
    else {
        return String::new();
    };
    let kind = match kind {
        JoinKind::Inner => "",
        JoinKind::Left => " left",
        JoinKind::Right => " right",
        JoinKind::Full => " full",
        JoinKind::LeftSemi => " semi",
        JoinKind::LeftAnti => " anti",
        JoinKind::LeftMark => " mark",
    };
    let (left, right) = (left.schema(), right.schema());
    let equals = if *nulls_match { "is" } else { "=" };
    let mut text = match left_keys.as_slice() {
        [] => format!("HashJoin{kind}: every pair, in one place"),
        keys => format!(
            "HashJoin{kind}: {} {equals} {}",
            list(&left, keys),
            list(&right, right_keys)
        ),
    };
    if let Some(residual) = residual {
        let fields = left.fields().iter().chain(right.fields()).cloned();
        let pairs = Schema::new(fields.collect::<Vec<_>>());
        text = format!("{text} and {}", self::text(residual, &pairs));
    }
    text
}

/// The tables that the operators of a fragment keep, from the last operator up.
fn state_tables(node: &Node, lines: &mut Vec<String>) {
    match node {
        Node::Materialize { input, key } => {
            let schema = input.schema();
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            let key = if key.is_empty() { &all } else { key };
            let rows = list(&schema, &all);
            lines.push(format!(
                "  state: Materialize rows {rows}, key {}",
                list(&schema, key)
            ));
        }
        Node::TemporalFilter { input, column, .. } => {
            let schema = input.schema();
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            let rows = list(&schema, &all);
            let column = schema.field(*column).name();
            lines.push(format!(
                "  state: TemporalFilter rows {rows}, ordered by {column}"
            ));
        }
        Node::HashAgg {
            input,
            group_by,
            calls,
            forgets,
            append_only,
            partial_of,
            ..
        } => {
            let window = forgets.map(|at| group_by[at]);
            agg_state(
                partial_of.as_ref().unwrap_or(&input.schema()),
                group_by,
                calls,
                *append_only,
                window,
                lines,
            );
        }
        Node::HashJoin {
            left,
            right,
            left_keys,
            right_keys,
            forgets,
            ..
        } => {
            let sides = [("left", left, left_keys), ("right", right, right_keys)];
            for ((side, node, keys), expiry) in sides.into_iter().zip(forgets) {
                let schema = node.schema();
                let all: Vec<usize> = (0..schema.fields().len()).collect();
                let rows = list(&schema, &all);
                lines.push(format!(
                    "  state: HashJoin {side} rows {rows}, key {}{}",
                    list(&schema, keys),
                    forgotten(&schema, expiry.map(|expiry| expiry.column))
                ));
            }
        }
        Node::TemporalJoin {
            left,
            right,
            right_keys,
            ..
        } => {
            let all = |schema: &Schema| (0..schema.fields().len()).collect::<Vec<usize>>();
            let (left, right) = (left.schema(), right.schema());
            let waiting = list(&left, &all(&left));
            lines.push(format!(
                "  state: TemporalJoin left rows of the epoch {waiting}"
            ));
            let (rows, key) = (list(&right, &all(&right)), list(&right, right_keys));
            lines.push(format!(
                "  state: TemporalJoin right rows {rows}, key {key}"
            ));
        }
        Node::Recompute {
            inputs,
            keys,
            forgets,
            schema,
            ..
        } => {
            let (input, key) = (inputs[0].schema(), &keys[0]);
            let all: Vec<usize> = (0..input.fields().len()).collect();
            let rows = list(&input, &all);
            let key = list(&input, key);
            let forgotten = forgotten(&input, forgets.map(|at| keys[0][at]));
            lines.push(format!(
                "  state: Recompute rows {rows}, key {key}{forgotten}"
            ));
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            let results = list(schema, &all);
            lines.push(format!(
                "  state: Recompute results {results}, key {key}{forgotten}"
            ));
        }
        Node::Input { .. }
        | Node::Union { .. }
        | Node::Filter { .. }
        | Node::WatermarkFilter { .. }
        | Node::Project { .. }
        | Node::Unnest { .. }
        | Node::LocalAgg { .. }
        | Node::Dml { .. }
        | Node::Nexmark { .. }
        | Node::Values { .. } => {}
    }
    for child in node.children() {
        state_tables(child, lines);
    }
}

fn agg_text(rows: &Schema, group_by: &[usize], calls: &[AggCall]) -> String {
    let calls: Vec<String> = calls.iter().map(|call| call_text(call, rows)).collect();
    let calls = calls.join(", ");
    match (group_by, calls.is_empty()) {
        ([], _) => calls,
        (keys, true) => format!("distinct {}", list(rows, keys)),
        (keys, false) => format!("group by {}; {calls}", list(rows, keys)),
    }
}

/// One row a group with additive measures; for least and greatest values all values of the group.
fn agg_state(
    schema: &Schema,
    group_by: &[usize],
    calls: &[AggCall],
    append_only: bool,
    window: Option<usize>,
    lines: &mut Vec<String>,
) {
    let is_value = |call: &&AggCall| {
        matches!(call.function, AggFunction::Min | AggFunction::Max)
            && !call.is_greatest(schema, append_only)
    };
    let mut measures = vec!["rows".to_owned()];
    for call in calls
        .iter()
        .filter(|call| !is_value(call) && call.argument.is_some())
    {
        measures.push(call_text(call, schema));
    }
    let groups = list(schema, group_by);
    lines.push(format!(
        "  state: HashAgg groups {groups}, measures ({}){}",
        measures.join(", "),
        forgotten(schema, window)
    ));
    for call in calls.iter().filter(is_value) {
        let call = call_text(call, schema);
        lines.push(format!("  state: HashAgg values of {call}, key {groups}"));
    }
}

/// That rows are forgotten behind a watermark, and by which column.
fn forgotten(schema: &Schema, column: Option<usize>) -> String {
    match column {
        Some(column) => format!(", forgotten by {}", schema.field(column).name()),
        None => String::new(),
    }
}

fn call_text(call: &AggCall, schema: &Schema) -> String {
    let name = match call.function {
        AggFunction::Count => "count",
        AggFunction::Sum => "sum",
        AggFunction::Avg => "avg",
        AggFunction::Min => "min",
        AggFunction::Max => "max",
    };
    match call.argument {
        Some(column) => format!("{name}({})", schema.field(column).name()),
        None => format!("{name}(*)"),
    }
}

fn list(schema: &Schema, columns: &[usize]) -> String {
    let names: Vec<&str> = columns
        .iter()
        .map(|at| schema.field(*at).name().as_str())
        .collect();
    format!("({})", names.join(", "))
}

/// An expression over the columns of a schema. Columns are called as the schema calls them, since
/// an expression may know them by an older name.
fn text(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> String {
    let renamed = Arc::clone(expr).transform_up(|part| {
        Ok(match part.downcast_ref::<Column>() {
            Some(column) => {
                let name = schema.field(column.index()).name();
                Transformed::yes(
                    Arc::new(Column::new(name, column.index())) as Arc<dyn PhysicalExpr>
                )
            }
            None => Transformed::no(part),
        })
    });
    match renamed {
        Ok(renamed) => fmt_sql(renamed.data.as_ref()).to_string(),
        Err(_) => fmt_sql(expr.as_ref()).to_string(),
    }
}
