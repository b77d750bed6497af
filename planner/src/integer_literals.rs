//! The types of whole numbers in queries: `integer` if the number fits, else `bigint`, else
//! `numeric` (PostgreSQL manual, 4.1.2.6 "Numeric Constants").
//!
//! ```text
//!   7 ──mark──► {integer: 7} ──DataFusion──► plan_dictionary_literal ──► Int32(7)
//! ```
//!
//! DataFusion's SQL planner makes every one a `bigint` and asks nobody. It does ask about dictionary
//! literals, which PostgreSQL's dialect does not have. So each whole number of a syntax tree is put
//! into one, and taken out of it as a literal of the right type; all that DataFusion derives from
//! the types of literals is right from the start. Numbers that are no values stay as they are:
//! positions in `ORDER BY` and `GROUP BY`, `LIMIT`, the bounds of window frames.

use std::ops::ControlFlow;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawDictionaryExpr};
use datafusion::logical_expr::{Expr, lit};
use sqlparser::ast;
use sqlparser::ast::{
    DictionaryField, Distinct, GroupByExpr, Ident, LimitClause, NamedWindowExpr, OrderByKind,
    Query, Select, UnaryOperator, Value, VisitMut, VisitorMut, WindowFrameBound, WindowSpec,
    WindowType,
};

/// The key of the dictionaries.
const KEY: &str = "integer";

/// Digits of the `numeric` that every number beyond `bigint` fits that DataFusion reads as a whole.
const UNSIGNED_DIGITS: u8 = 20;

/// Marks the whole numbers of a query or an expression.
pub(crate) fn mark<T: VisitMut>(node: &mut T) {
    let visited = node.visit(&mut Marker);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

struct Marker;

impl VisitorMut for Marker {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Value(value) if is_whole_number(&value.value) => wrap(expr),
            ast::Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: operand,
            } => {
                // The sign belongs to the number: -2147483648 is an integer.
                if let Some(number) = marked(operand) {
                    **operand = number.clone();
                    wrap(expr);
                }
            }
            ast::Expr::Interval(interval) => unmark(&mut interval.value),
            ast::Expr::Function(function) => {
                if let Some(WindowType::WindowSpec(window)) = &mut function.over {
                    unmark_frame(window);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(positions, _) = &mut select.group_by {
            positions.iter_mut().for_each(unmark);
        }
        if let Some(Distinct::On(positions)) = &mut select.distinct {
            positions.iter_mut().for_each(unmark);
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &mut window.1 {
                unmark_frame(window);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(OrderByKind::Expressions(positions)) =
            query.order_by.as_mut().map(|order| &mut order.kind)
        {
            positions
                .iter_mut()
                .for_each(|order| unmark(&mut order.expr));
        }
        match &mut query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(unmark);
                offset.iter_mut().for_each(|o| unmark(&mut o.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                unmark(offset);
                unmark(limit);
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_whole_number(value: &Value) -> bool {
    match value {
        Value::Number(number, _) => number.bytes().all(|b| b.is_ascii_digit() || b == b'_'),
        _ => false,
    }
}

fn wrap(number: &mut ast::Expr) {
    let value = std::mem::replace(number, ast::Expr::Value(Value::Null.into()));
    *number = ast::Expr::Dictionary(vec![DictionaryField {
        key: Ident::new(KEY),
        value: Box::new(value),
    }]);
}

/// The number in a mark, if it has no sign yet.
fn marked(expr: &ast::Expr) -> Option<&ast::Expr> {
    match expr {
        ast::Expr::Nested(inner) => marked(inner),
        ast::Expr::Dictionary(fields) => match &fields[..] {
            [field] => Some(&*field.value).filter(|value| matches!(value, ast::Expr::Value(_))),
            _ => None,
        },
        _ => None,
    }
}

/// Takes the number out of a mark.
fn unmark(expr: &mut ast::Expr) {
    match expr {
        ast::Expr::Nested(inner) => unmark(inner),
        ast::Expr::Dictionary(fields) => {
            if let Some(field) = fields.pop() {
                *expr = *field.value;
            }
        }
        _ => {}
    }
}

fn unmark_frame(window: &mut WindowSpec) {
    let Some(frame) = &mut window.window_frame else {
        return;
    };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        if let WindowFrameBound::Preceding(Some(rows)) | WindowFrameBound::Following(Some(rows)) =
            bound
        {
            unmark(rows);
        }
    }
}

/// Makes literals of marked numbers.
#[derive(Debug)]
pub(crate) struct IntegerLiterals;

impl ExprPlanner for IntegerLiterals {
    fn plan_dictionary_literal(
        &self,
        expr: RawDictionaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>, DataFusionError> {
        match (&expr.keys[..], &expr.values[..]) {
            ([key], [Expr::Literal(number, _)]) if *key == lit(KEY) => {
                Ok(PlannerResult::Planned(lit(typed(number))))
            }
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}

/// A number that DataFusion has read, in the smallest of PostgreSQL's types.
fn typed(number: &ScalarValue) -> ScalarValue {
    match number {
        ScalarValue::Int64(Some(n)) => match i32::try_from(*n) {
            Ok(n) => ScalarValue::Int32(Some(n)),
            Err(_) => number.clone(),
        },
        ScalarValue::UInt64(Some(n)) => {
            ScalarValue::Decimal128(Some(i128::from(*n)), UNSIGNED_DIGITS, 0)
        }
        _ => number.clone(),
    }
}
