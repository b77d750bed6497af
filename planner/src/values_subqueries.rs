//! Subqueries in `VALUES`: DataFusion computes such rows before it runs any query, so the list becomes a union.
//!
//! ```text
//!   VALUES ((SELECT max(k) FROM t), 1), (2, 3)   ──►   SELECT (SELECT max(k) FROM t) AS column1, 1 AS column2
//!                                                      UNION ALL SELECT 2 AS column1, 3 AS column2
//! ```

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, Values, VisitMut,
    VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::join_conditions::has_subquery;

/// Rewrites a query in place.
pub(crate) fn as_selects(query: &mut Query) {
    let visited = query.visit(&mut Rewriter);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Values(values) = &*query.body
            && values.rows.iter().any(|row| row.iter().any(has_subquery))
            && let Some(union) = union_of(values)
        {
            *query.body = union;
        }
        ControlFlow::Continue(())
    }
}

fn union_of(values: &Values) -> Option<SetExpr> {
    let pattern = pattern()?;
    let rows = values.rows.iter().map(|row| {
        let items = row.iter().enumerate();
        SetExpr::Select(Box::new(Select {
            projection: items.map(|(at, value)| item(at, value)).collect(),
            ..pattern.clone()
        }))
    });
    rows.reduce(|left, right| SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(left),
        right: Box::new(right),
    })
}

/// A `SELECT` without anything.
fn pattern() -> Option<Select> {
    let parser = Parser::new(&PostgreSqlDialect {});
    let query = parser.try_with_sql("SELECT 1").ok()?.parse_query().ok()?;
    match *query.body {
        SetExpr::Select(select) => Some(*select),
        _ => None,
    }
}

fn item(at: usize, value: &Expr) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr: value.clone(),
        alias: Ident::new(format!("column{}", at + 1)),
    }
}
