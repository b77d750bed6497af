//! Event time in a planned view: what watermarks let operators forget, and `EMIT ON WINDOW CLOSE`.
//!
//! ```text
//!   HashAgg: group by (window_start, k)          EmitOnWindowClose: window_start
//!     Input                                ──►     HashAgg: group by (window_start, k), forgets …
//!                                                    Input
//! ```
//!
//! It goes through the finished fragments, upstream first: which columns have a watermark is known
//! only when what they come from is.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::dataflow::{Bound, Dataflow, Expiry, Input, JoinKind, Node, Side, Upstream};
use crate::error::{Error, Result};
use crate::parse::Emit;
use crate::watermarks::columns;

/// Finds the watermarks of a dataflow, and has operators make use of them.
///
/// # Errors
/// [`Error::Unsupported`] if rows are to be emitted when their window closes, and nothing says when
/// that is.
pub(super) fn annotate(dataflow: &mut Dataflow, emit: Emit) -> Result<()> {
    let mut outputs: Vec<Vec<usize>> = Vec::new();
    let mut windows = Windows { emit, closed: 0 };
    let mut joins = false;
    for fragment in &mut dataflow.fragments {
        for input in &mut fragment.inputs {
            if let Upstream::Fragment(upstream) = input.from {
                input.watermarks.clone_from(&outputs[upstream]);
            }
        }
        windows.visit(&mut fragment.root, &fragment.inputs)?;
        joins |= has_join(&fragment.root);
        let output = columns(&fragment.root, &fragment.inputs);
        outputs.push(output.into_iter().collect());
    }
    if emit == Emit::OnWindowClose {
        if windows.closed == 0 {
            let last = dataflow.fragments.last_mut();
            let last = last.expect("a dataflow has a fragment");
            let held = hold_back(&mut last.root, &last.inputs);
            let held = held.ok_or_else(not_executable)?;
            outputs.pop();
            outputs.push(vec![held]);
        }
        let last = dataflow.fragments.last();
        dataflow.emitted_by = last.and_then(|last| emitted_by(&last.root));
        // Rows of relations that change cannot have watermarks, but they can be joined.
        dataflow.append_only = !joins;
    }
    dataflow.watermarks = outputs.pop().unwrap_or_default();
    Ok(())
}

struct Windows {
    emit: Emit,
    /// Aggregations whose groups are emitted when they are closed.
    closed: usize,
}

impl Windows {
    /// Children first.
    fn visit(&mut self, node: &mut Node, inputs: &[Input]) -> Result<()> {
        for child in node.children_mut() {
            self.visit(child, inputs)?;
        }
        let on_close = self.emit == Emit::OnWindowClose;
        let of = |child: &Node| columns(child, inputs);
        let closing = match node {
            Node::HashAgg {
                input,
                group_by,
                calls,
                forgets,
                ..
            } => {
                let timed = of(input);
                *forgets = group_by.iter().position(|column| timed.contains(column));
                if !on_close || calls.is_empty() {
                    return Ok(());
                }
                forgets.ok_or_else(no_window)?
            }
            Node::HashJoin {
                kind,
                left,
                right,
                left_keys,
                right_keys,
                residual,
                forgets,
                ..
            } => {
                if on_close && *kind != JoinKind::Inner {
                    return Err(not_executable());
                }
                let timed = [of(left), of(right)];
                let width = left.schema().fields().len();
                let keys = left_keys.iter().copied().zip(right_keys.iter().copied());
                *forgets = expiries(keys, residual.as_ref(), width, &timed);
                return Ok(());
            }
            Node::Recompute {
                inputs: children,
                keys,
                key_columns,
                forgets,
                ..
            } => {
                let timed = of(&children[0]);
                let passed = |column: &usize| children.len() == 1 && timed.contains(column);
                *forgets = keys[0].iter().position(passed);
                if !on_close {
                    return Ok(());
                }
                let closing = forgets.and_then(|at| key_columns[at]);
                closing.ok_or_else(not_executable)?
            }
            Node::TemporalFilter {
                side: Side::Ahead, ..
            } if on_close => return Err(not_executable()),
            _ => return Ok(()),
        };
        self.closed += 1;
        hold(node, closing);
        Ok(())
    }
}

/// Holds rows back until the watermark of a column has passed them.
fn hold(node: &mut Node, column: usize) {
    let nothing = Node::Union {
        inputs: Vec::new(),
        schema: node.schema(),
    };
    let input = Box::new(std::mem::replace(node, nothing));
    *node = Node::TemporalFilter {
        input,
        column,
        side: Side::Passed,
        bound: Bound::Watermark,
    };
}

/// Holds the rows of a view back; by which column, if one has a watermark.
fn hold_back(root: &mut Node, inputs: &[Input]) -> Option<usize> {
    let Node::Materialize { input, .. } = root else {
        return None;
    };
    let column = columns(input, inputs).into_iter().next()?;
    hold(input, column);
    Some(column)
}

/// The column of an operator's output that says when its rows came, if they came from the last rows
/// that were held back and it has not been computed with since.
fn emitted_by(node: &Node) -> Option<usize> {
    match node {
        Node::TemporalFilter {
            column,
            bound: Bound::Watermark,
            ..
        } => Some(*column),
        Node::Materialize { input, .. } | Node::Filter { input, .. } => emitted_by(input),
        Node::Project { input, exprs, .. } => {
            let from = emitted_by(input)?;
            exprs.iter().position(|expr| {
                let column = expr.downcast_ref::<Column>();
                column.is_some_and(|column| column.index() == from)
            })
        }
        _ => None,
    }
}

fn has_join(node: &Node) -> bool {
    matches!(node, Node::HashJoin { .. }) || node.children().into_iter().any(has_join)
}

/// When the rows of each side of a join can have no more matches: by a key, or by how far apart in
/// time they may be.
fn expiries(
    keys: impl Iterator<Item = (usize, usize)>,
    residual: Option<&Arc<dyn PhysicalExpr>>,
    width: usize,
    timed: &[BTreeSet<usize>; 2],
) -> [Option<Expiry>; 2] {
    let mut found = [None, None];
    let mut add = |side: usize, expiry: Expiry| {
        let both = timed[side].contains(&expiry.column) && timed[1 - side].contains(&expiry.other);
        if both && found[side].is_none() {
            found[side] = Some(expiry);
        }
    };
    for (left, right) in keys {
        for (side, column, other) in [(0, left, right), (1, right, left)] {
            let micros = 0;
            add(
                side,
                Expiry {
                    column,
                    other,
                    micros,
                },
            );
        }
    }
    let conditions = residual.map(split_conjunction).unwrap_or_default();
    for (late, early) in conditions.into_iter().filter_map(at_least) {
        // A row as late as `late` says needs one that is no later than `early`: once these are
        // too late for it, and all that come will be, it is of no more use.
        let micros = early.micros - late.micros;
        let (side, column) = side_of(late.column, width);
        let (other_side, other) = side_of(early.column, width);
        if side != other_side {
            add(
                side,
                Expiry {
                    column,
                    other,
                    micros,
                },
            );
        }
    }
    found
}

fn side_of(column: usize, width: usize) -> (usize, usize) {
    match column.checked_sub(width) {
        None => (0, column),
        Some(column) => (1, column),
    }
}

/// A column, and what is added to it.
#[derive(Clone, Copy)]
struct Shifted {
    column: usize,
    micros: i64,
}

/// `late >= early`, of a comparison of two shifted columns.
fn at_least(condition: &Arc<dyn PhysicalExpr>) -> Option<(Shifted, Shifted)> {
    let comparison = condition.downcast_ref::<BinaryExpr>()?;
    let left = shifted(comparison.left())?;
    let right = shifted(comparison.right())?;
    match comparison.op() {
        Operator::Gt | Operator::GtEq => Some((left, right)),
        Operator::Lt | Operator::LtEq => Some((right, left)),
        _ => None,
    }
}

/// A column plus or minus an interval of a fixed length.
fn shifted(expr: &Arc<dyn PhysicalExpr>) -> Option<Shifted> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(Shifted {
            column: column.index(),
            micros: 0,
        });
    }
    let (value, interval, sign) = match expr.downcast_ref::<BinaryExpr>() {
        Some(sum) => match sum.op() {
            Operator::Plus => (sum.left(), sum.right(), 1),
            Operator::Minus => (sum.left(), sum.right(), -1),
            _ => return None,
        },
        None => {
            let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
            match (function.name(), function.args()) {
                ("pg_add", [value, interval]) => (value, interval, 1),
                ("pg_subtract", [value, interval]) => (value, interval, -1),
                _ => return None,
            }
        }
    };
    let from = shifted(value)?;
    let by = match interval.downcast_ref::<Literal>()?.value() {
        ScalarValue::IntervalMonthDayNano(Some(by)) if by.months == 0 && by.days == 0 => {
            by.nanoseconds / 1000
        }
        _ => return None,
    };
    Some(Shifted {
        micros: from.micros.checked_add(sign * by)?,
        ..from
    })
}

fn no_window() -> Error {
    Error::unsupported(
        "Emit-On-Window-Close mode without a watermark column in GROUP BY",
        "group by a watermark column, such as the window_start of TUMBLE over a table with WATERMARK FOR",
    )
}

fn not_executable() -> Error {
    Error::unsupported(
        "this query in Emit-On-Window-Close mode",
        "define a watermark column in the source or table, and group by it",
    )
}
