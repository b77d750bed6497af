//! Subqueries in `JOIN … ON`: of an inner join, its condition may as well stand in `WHERE`, where DataFusion plans them.
//!
//! ```text
//!   a JOIN b ON a.x = b.x AND EXISTS (…)   ──►   a JOIN b ON a.x = b.x WHERE EXISTS (…)
//! ```
//!
//! That holds as long as no later join keeps rows that are without a partner among these.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Join, JoinConstraint, JoinOperator, Query, Select, Visit, VisitMut,
    Visitor, VisitorMut,
};

/// Moves conditions with subqueries.
pub(crate) fn lift(query: &mut Query) {
    let visited = query.visit(&mut Lifter);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

struct Lifter;

impl VisitorMut for Lifter {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut lifted = Vec::new();
        for item in &mut select.from {
            let first = item.joins.iter().rposition(|join| !keeps_the_front(join));
            for join in item.joins.iter_mut().skip(first.unwrap_or(0)) {
                lifted.extend(taken(&mut join.join_operator));
            }
        }
        for condition in lifted {
            let condition = Expr::Nested(Box::new(condition));
            select.selection = Some(match select.selection.take() {
                None => condition,
                Some(other) => both(Expr::Nested(Box::new(other)), condition),
            });
        }
        ControlFlow::Continue(())
    }
}

/// Whether a join gives no rows but those made of what stands in front of it.
fn keeps_the_front(join: &Join) -> bool {
    matches!(
        join.join_operator,
        JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::CrossJoin(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
    )
}

/// Takes the parts of an inner join's condition that have subqueries.
fn taken(operator: &mut JoinOperator) -> Vec<Expr> {
    let (JoinOperator::Join(JoinConstraint::On(condition))
    | JoinOperator::Inner(JoinConstraint::On(condition))) = operator
    else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    split(condition.clone(), &mut parts);
    let (lifted, kept): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(has_subquery);
    if !lifted.is_empty() {
        match kept.into_iter().reduce(both) {
            Some(rest) => *condition = rest,
            None => *operator = JoinOperator::CrossJoin(JoinConstraint::None),
        }
    }
    lifted
}

fn split(condition: Expr, parts: &mut Vec<Expr>) {
    match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(*left, parts);
            split(*right, parts);
        }
        Expr::Nested(inner) if is_and(&inner) => split(*inner, parts),
        other => parts.push(other),
    }
}

fn is_and(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp {
            op: BinaryOperator::And,
            ..
        }
    )
}

fn both(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

/// Whether there is a query within an expression.
pub(crate) fn has_subquery(expr: &Expr) -> bool {
    expr.visit(&mut Subqueries).is_break()
}

/// Stops at a subquery.
struct Subqueries;

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}
