//! Correlated sub-selects over system tables in the shapes that DataFusion can decorrelate.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query,
    Select, SelectItem, SetExpr, TableFactor, Value, visit_expressions, visit_expressions_mut,
};

use super::{call, call_with, factors, last_word, number, reads_system_tables, system_table};

/// A scalar sub-select over system tables has one row at most, which DataFusion cannot know. What
/// its WHERE says of the outer row alone goes into a CASE around it, as DataFusion cannot
/// decorrelate that.
pub(super) fn single_row(mut query: Box<Query>) -> Expr {
    if query.limit_clause.is_some() {
        return Expr::Subquery(query);
    }
    let SetExpr::Select(select) = &mut *query.body else {
        return Expr::Subquery(query);
    };
    let grouped =
        !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    if grouped || select.from.is_empty() || !select.from.iter().all(reads_system_tables) {
        return Expr::Subquery(query);
    }
    let reads_collations = select
        .from
        .iter()
        .flat_map(factors)
        .any(|t| system_table(t).is_some_and(|t| t.name == "pg_collation"));
    if reads_collations {
        // Of a column's own collation: none of ours has one.
        return Expr::value(Value::Null);
    }
    let Some(item) = only_item(select) else {
        return Expr::Subquery(query);
    };
    if is_aggregate(item) {
        return Expr::Subquery(query);
    }
    if let Some(object) = object_of_parts(&query) {
        return object;
    }
    let Some(item) = select_of(&mut query).and_then(only_item) else {
        return Expr::Subquery(query);
    };
    *item = call("max", item.clone());
    let outer = select_of(&mut query).and_then(take_outer_conditions);
    query.order_by = None;
    match outer {
        None => Expr::Subquery(query),
        Some(condition) => Expr::Case {
            case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
            end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: vec![sqlparser::ast::CaseWhen {
                condition,
                result: Expr::Subquery(query),
            }],
            else_result: None,
        },
    }
}

/// `(SELECT jsonb_build_object('a', outer.x, 'b', inner.y) FROM inner …)` as
/// `jsonb_build_object('a', outer.x, 'b', (SELECT inner.y FROM inner …))`: DataFusion cannot
/// decorrelate a select list that names columns of the outer row.
fn object_of_parts(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        &select.projection[..]
    else {
        return None;
    };
    let Expr::Function(object) = item else {
        return None;
    };
    let FunctionArguments::List(list) = &object.args else {
        return None;
    };
    let inner = names_of_tables(select);
    let is_outer = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if is_about_others(expr, &inner));
    if last_word(&object.name).as_deref() != Some("jsonb_build_object")
        || !list.args.iter().any(is_outer)
    {
        return None;
    }
    let parts = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(match expr {
            Expr::Value(_) => expr.clone(),
            _ if is_outer(arg) => expr.clone(),
            inner => {
                let mut part = Box::new(query.clone());
                *select_of(&mut part).and_then(only_item)? = inner.clone();
                single_row(part)
            }
        }),
        _ => None,
    });
    Some(call_with(
        "jsonb_build_object",
        parts.collect::<Option<_>>()?,
    ))
}

/// `EXISTS (SELECT …)` in a select list, which DataFusion does not take, as a count of the rows.
pub(super) fn count_existing(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let visited = visit_expressions_mut(expr, |part| {
                if let Expr::Exists { subquery, negated } = part
                    && let SetExpr::Select(inner) = &mut *subquery.body
                    && inner.from.iter().all(reads_system_tables)
                {
                    let op = match negated {
                        true => BinaryOperator::Eq,
                        false => BinaryOperator::Gt,
                    };
                    inner.projection = vec![SelectItem::UnnamedExpr(call("count", number("1")))];
                    *part = Expr::BinaryOp {
                        left: Box::new(Expr::Subquery(subquery.clone())),
                        op,
                        right: Box::new(number("0")),
                    };
                }
                ControlFlow::<()>::Continue(())
            });
            debug_assert!(visited.is_continue(), "the visitor never breaks");
        }
    }
}

/// Takes the conditions out of WHERE that name no table of the select itself.
fn take_outer_conditions(select: &mut Select) -> Option<Expr> {
    let inner = names_of_tables(select);
    let mut parts = Vec::new();
    conjuncts(select.selection.take()?, &mut parts);
    let (outer, own): (Vec<Expr>, Vec<Expr>) = parts
        .into_iter()
        .partition(|part| is_about_others(part, &inner));
    select.selection = own.into_iter().reduce(and);
    outer.into_iter().reduce(and)
}

/// Whether an expression has columns, and none of these tables.
fn is_about_others(expr: &Expr, tables: &[String]) -> bool {
    let mut others = false;
    let visited = visit_expressions(expr, |part| {
        match part {
            Expr::CompoundIdentifier(names) => {
                let table = names.len().checked_sub(2).map(|at| &names[at].value);
                if table.is_none_or(|table| tables.contains(table)) {
                    return ControlFlow::Break(());
                }
                others = true;
            }
            Expr::Identifier(_) | Expr::Subquery(_) | Expr::Exists { .. } => {
                return ControlFlow::Break(());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    visited.is_continue() && others
}

pub(super) fn conjuncts(expr: Expr, parts: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            conjuncts(*left, parts);
            conjuncts(*right, parts);
        }
        other => parts.push(other),
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

/// The names by which columns of a select's tables are qualified.
fn names_of_tables(select: &Select) -> Vec<String> {
    let factors = select.from.iter().flat_map(factors);
    factors.filter_map(factor_name).collect()
}

/// The name by which a table's columns are qualified.
fn factor_name(factor: &TableFactor) -> Option<String> {
    let TableFactor::Table { name, alias, .. } = factor else {
        return None;
    };
    match alias {
        Some(alias) => Some(alias.name.value.clone()),
        None => last_word(name),
    }
}

fn select_of(query: &mut Query) -> Option<&mut Select> {
    match &mut *query.body {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// The one expression of a select list.
pub(super) fn only_item(select: &mut Select) -> Option<&mut Expr> {
    match &mut select.projection[..] {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    const AGGREGATES: [&str; 8] = [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "string_agg",
        "array_agg",
        "bool_or",
    ];
    match expr {
        Expr::Function(function) => {
            last_word(&function.name).is_some_and(|name| AGGREGATES.contains(&name.as_str()))
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_aggregate(expr),
        Expr::BinaryOp { left, right, .. } => is_aggregate(left) || is_aggregate(right),
        _ => false,
    }
}
