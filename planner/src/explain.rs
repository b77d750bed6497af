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

/// What is known of a running dataflow, to be shown with its plan. Operators are numbered within
/// their fragment, each in front of those that it reads from; tables within their operator.
pub trait Figures {
    /// Lines behind the head of a fragment.
    fn of_fragment(&self, fragment: usize) -> Vec<String>;
    /// What an operator does.
    fn of_operator(&self, fragment: usize, operator: usize) -> Option<String>;
    /// What a state table has.
    fn of_table(&self, fragment: usize, operator: usize, table: usize) -> Option<String>;
}

/// A dataflow that does not run.
struct Plan;

impl Figures for Plan {
    fn of_fragment(&self, _fragment: usize) -> Vec<String> {
        Vec::new()
    }

    fn of_operator(&self, _fragment: usize, _operator: usize) -> Option<String> {
        None
    }

    fn of_table(&self, _fragment: usize, _operator: usize, _table: usize) -> Option<String> {
        None
    }
}

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
    lines.extend(explain_with(dataflow, names, &Plan));
    lines
}

/// As [`explain`], without its first line, and with the figures of a running dataflow.
#[must_use]
pub fn explain_with(dataflow: &Dataflow, names: Names<'_>, figures: &dyn Figures) -> Vec<String> {
    let fragments = dataflow.fragments.iter().enumerate();
    fragments
        .flat_map(|(at, fragment)| explain_fragment(at, fragment, names, figures))
        .collect()
}

fn explain_fragment(
    at: usize,
    fragment: &Fragment,
    names: Names<'_>,
    figures: &dyn Figures,
) -> Vec<String> {
    let tasks = if fragment.inputs.is_empty() {
        ", one executor"
    } else {
        ""
    };
    let mut lines = vec![format!("fragment {at}{tasks}")];
    let of_fragment = figures.of_fragment(at).into_iter();
    lines.extend(of_fragment.map(|line| format!("  {line}")));
    for (at, input) in fragment.inputs.iter().enumerate() {
        lines.push(format!("  input {at}: {}", input_line(input, names)));
    }
    let mut nodes = Vec::new();
    in_order(&fragment.root, 1, &mut nodes);
    for (number, (depth, node)) in nodes.iter().enumerate() {
        let figures = figures.of_operator(at, number);
        let figures = figures.map_or_else(String::new, |figures| format!("  ({figures})"));
        lines.push(format!(
            "{}{}{figures}",
            "  ".repeat(*depth),
            operator(node)
        ));
    }
    let watermarks: Vec<usize> = columns(&fragment.root, &fragment.inputs)
        .into_iter()
        .collect();
    if !watermarks.is_empty() {
        let watermarks = list(&fragment.root.schema(), &watermarks);
        lines.push(format!("  watermarks: {watermarks}"));
    }
    for (number, (_, node)) in nodes.iter().enumerate() {
        for (table, text) in state_tables(node).into_iter().enumerate() {
            let figures = figures.of_table(at, number, table);
            let figures = figures.map_or_else(String::new, |figures| format!(": {figures}"));
            lines.push(format!("  state: {text}{figures}"));
        }
    }
    lines
}

/// The operators of a fragment with their depth, each in front of those that it reads from.
fn in_order<'a>(node: &'a Node, depth: usize, nodes: &mut Vec<(usize, &'a Node)>) {
    nodes.push((depth, node));
    for child in node.children() {
        in_order(child, depth + 1, nodes);
    }
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

/// The tables that an operator keeps rows in, in their order.
fn state_tables(node: &Node) -> Vec<String> {
    let all = |schema: &Schema| (0..schema.fields().len()).collect::<Vec<usize>>();
    match node {
        Node::Materialize { input, key } => {
            let schema = input.schema();
            let rows = all(&schema);
            let key = if key.is_empty() { &rows } else { key };
            let (rows, key) = (list(&schema, &rows), list(&schema, key));
            vec![format!("Materialize rows {rows}, key {key}")]
        }
        Node::TemporalFilter { input, column, .. } => {
            let schema = input.schema();
            let rows = list(&schema, &all(&schema));
            let column = schema.field(*column).name();
            vec![format!("TemporalFilter rows {rows}, ordered by {column}")]
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
            let rows = partial_of.clone().unwrap_or_else(|| input.schema());
            agg_tables(&rows, group_by, calls, *append_only, window)
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
            let mut tables = Vec::new();
            for ((side, node, keys), expiry) in sides.into_iter().zip(forgets) {
                let schema = node.schema();
                let (rows, key) = (list(&schema, &all(&schema)), list(&schema, keys));
                let forgotten = forgotten(&schema, expiry.map(|expiry| expiry.column));
                tables.push(format!("HashJoin {side} rows {rows}, key {key}{forgotten}"));
            }
            tables
        }
        Node::TemporalJoin {
            left,
            right,
            right_keys,
            ..
        } => {
            let (left, right) = (left.schema(), right.schema());
            let waiting = list(&left, &all(&left));
            let (rows, key) = (list(&right, &all(&right)), list(&right, right_keys));
            vec![
                format!("TemporalJoin left rows of the epoch {waiting}"),
                format!("TemporalJoin right rows {rows}, key {key}"),
            ]
        }
        Node::Recompute {
            inputs,
            keys,
            forgets,
            schema,
            ..
        } => {
            let of_input = |(input, key): (&Node, &Vec<usize>)| {
                let schema = input.schema();
                let forgotten = forgotten(&schema, forgets.map(|at| key[at]));
                let (rows, key) = (list(&schema, &all(&schema)), list(&schema, key));
                format!("Recompute rows {rows}, key {key}{forgotten}")
            };
            let mut tables: Vec<String> = inputs.iter().zip(keys).map(of_input).collect();
            let results = list(schema, &all(schema));
            let input = inputs[0].schema();
            let forgotten = forgotten(&input, forgets.map(|at| keys[0][at]));
            let key = list(&input, &keys[0]);
            tables.push(format!("Recompute results {results}, key {key}{forgotten}"));
            tables
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
        | Node::Values { .. } => Vec::new(),
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

/// One row a group with additive measures; for least and greatest values the last ones emitted, and
/// all values of the group.
fn agg_tables(
    schema: &Schema,
    group_by: &[usize],
    calls: &[AggCall],
    append_only: bool,
    window: Option<usize>,
) -> Vec<String> {
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
    let mut tables = vec![format!(
        "HashAgg groups {groups}, measures ({}){}",
        measures.join(", "),
        forgotten(schema, window)
    )];
    let values = calls.iter().filter(is_value);
    let values: Vec<String> = values.map(|call| call_text(call, schema)).collect();
    if !values.is_empty() {
        let emitted = values.join(", ");
        tables.push(format!("HashAgg last {emitted}, key {groups}"));
    }
    let of_call = |call| format!("HashAgg values of {call}, key {groups}");
    tables.extend(values.iter().map(of_call));
    tables
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
