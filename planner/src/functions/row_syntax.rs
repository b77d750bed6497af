//! Comparisons of rows, in terms of comparisons of their parts.

use sqlparser::ast::{BinaryOperator, Expr, Ident, Query, SetExpr, TableFactor, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::functions::syntax::{binary, not};

/// `(a, b) < (c, d)` as `a < c OR a = c AND b < d`; `(a, b) = (c, d)` as `a = c AND b = d`.
pub(super) fn rows_compared(left: Vec<Expr>, op: BinaryOperator, right: Vec<Expr>) -> Expr {
    use BinaryOperator as Op;
    let nested = |expr: Expr| Expr::Nested(Box::new(expr));
    let strict = match op {
        Op::Eq => None,
        Op::NotEq => return not(nested(rows_compared(left, Op::Eq, right))),
        Op::Lt | Op::LtEq => Some(Op::Lt),
        Op::Gt | Op::GtEq => Some(Op::Gt),
        other => return binary(Expr::Tuple(left), other, Expr::Tuple(right)),
    };
    let pairs = left.into_iter().zip(right).rev();
    let compared = pairs.fold(None, |rest: Option<Expr>, (left, right)| {
        let Some(rest) = rest else {
            return Some(binary(left, op.clone(), right));
        };
        let equal = binary(left.clone(), Op::Eq, right.clone());
        let both = nested(binary(equal, Op::And, rest));
        Some(match &strict {
            None => both,
            Some(strict) => nested(binary(binary(left, strict.clone(), right), Op::Or, both)),
        })
    });
    compared.unwrap_or_else(|| Expr::value(Value::Boolean(true)))
}

/// `(a, b) IN ((c, d), …)` as comparisons with each row.
pub(super) fn row_in_list(row: Vec<Expr>, list: Vec<Expr>, negated: bool) -> Expr {
    let is_row = |item: &Expr| matches!(item, Expr::Tuple(items) if items.len() == row.len());
    if !list.iter().all(is_row) {
        return Expr::InList {
            expr: Box::new(Expr::Tuple(row)),
            list,
            negated,
        };
    }
    let equal = list.into_iter().filter_map(|item| match item {
        Expr::Tuple(items) => Some(rows_compared(row.clone(), BinaryOperator::Eq, items)),
        _ => None,
    });
    let any = equal.reduce(|any, equal| binary(any, BinaryOperator::Or, equal));
    let any = Expr::Nested(Box::new(
        any.unwrap_or_else(|| Expr::value(Value::Boolean(false))),
    ));
    if negated { not(any) } else { any }
}

/// `(a, b) IN (SELECT …)` as `EXISTS (SELECT 1 FROM (SELECT …) AS r (x, y) WHERE r.x = a AND r.y = b)`.
/// `NOT IN` asks for no row that might be equal. Both are right where NULL is taken for false.
pub(super) fn row_in_subquery(row: Vec<Expr>, rows: Box<Query>, negated: bool) -> Expr {
    let names: Vec<String> = (1..=row.len()).map(|at| format!("\"part {at}\"")).collect();
    let names = names.join(", ");
    let sql = format!("SELECT 1 FROM (SELECT 1) AS \"rows\" ({names}) WHERE true");
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&sql)
        .and_then(|mut parser| parser.parse_query());
    let mut query = parsed.expect("a query");
    let parts = row.into_iter().enumerate().map(|(at, part)| {
        let name = [
            Ident::with_quote('"', "rows"),
            Ident::with_quote('"', format!("part {}", at + 1)),
        ];
        let found = Expr::CompoundIdentifier(name.to_vec());
        binary(found, BinaryOperator::Eq, part)
    });
    let equal = parts.reduce(|all, part| binary(all, BinaryOperator::And, part));
    let equal = equal.unwrap_or_else(|| Expr::value(Value::Boolean(true)));
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.selection = Some(match negated {
            true => Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(equal)))),
            false => equal,
        });
        if let Some(TableFactor::Derived { subquery, .. }) =
            select.from.first_mut().map(|table| &mut table.relation)
        {
            *subquery = rows;
        }
    }
    Expr::Exists {
        subquery: query,
        negated,
    }
}
