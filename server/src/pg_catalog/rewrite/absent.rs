//! What a query looks up of things that do not exist here: domains, composite types, foreign keys,
//! and rows of tables that are always empty. It is NULL, and is not asked.

use std::ops::ControlFlow;

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Ident, ObjectName, Query, Select,
    SelectItem, Value, visit_expressions_mut,
};

use super::subquery::conjuncts;
use super::{array_query, system_table};

/// `CASE WHEN t.typtype = 'd' THEN (SELECT …) END`, and the same with `'c'`: there are no domains and
/// no composite types, so what would be looked up of them is NULL.
pub(super) fn drop_absent_types(expr: &mut Expr) {
    let Expr::Case { conditions, .. } = expr else {
        return;
    };
    for when in conditions {
        if let (true, Expr::Subquery(query)) = (is_absent_type(&when.condition), &when.result) {
            when.result = typed_null(query);
        }
    }
}

fn is_absent_type(condition: &Expr) -> bool {
    let Expr::BinaryOp {
        left,
        op: BinaryOperator::Eq,
        right,
    } = condition
    else {
        return false;
    };
    let is_typtype = matches!(&**left, Expr::CompoundIdentifier(names)
        if names.last().is_some_and(|name| name.value == "typtype"));
    is_typtype
        && matches!(&**right, Expr::Value(value)
            if matches!(&value.value, Value::SingleQuotedString(kind) if kind == "d" || kind == "c"))
}

/// A select that has no rows for certain: what its select list looks up is never asked.
pub(super) fn drop_empty_lookups(select: &mut Select) {
    let reads_nothing = select
        .from
        .iter()
        .any(|from| system_table(&from.relation).is_some_and(|table| table.is_always_empty()));
    if !reads_nothing && !wants_foreign_keys(select) {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let visited = visit_expressions_mut(expr, |part| {
                if array_query(part).is_some() {
                    *part = cast_null(array_of(DataType::Text));
                } else if let Expr::Subquery(query) = part {
                    *part = match query.to_string().contains("array_agg") {
                        true => typed_null(query),
                        false => Expr::value(Value::Null),
                    };
                }
                ControlFlow::<()>::Continue(())
            });
            debug_assert!(visited.is_continue(), "the visitor never breaks");
        }
    }
}

/// `WHERE fk.contype = 'f'`: there are no foreign keys.
fn wants_foreign_keys(select: &Select) -> bool {
    let is_foreign = |part: &Expr| {
        matches!(part, Expr::BinaryOp { left, op: BinaryOperator::Eq, right }
        if matches!(&**left, Expr::CompoundIdentifier(names) if names.last().is_some_and(|name| name.value == "contype"))
        && matches!(&**right, Expr::Value(value) if matches!(&value.value, Value::SingleQuotedString(kind) if kind == "f")))
    };
    let mut parts = Vec::new();
    conjuncts(
        select.selection.clone().unwrap_or(Expr::value(Value::Null)),
        &mut parts,
    );
    parts.iter().any(is_foreign)
}

/// NULL of the type that such a query has: an oid, or an array of oids or of names.
fn typed_null(query: &Query) -> Expr {
    let oid = DataType::Custom(ObjectName::from(vec![Ident::new("oid")]), Vec::new());
    let text = query.to_string();
    let data_type = match text.contains("array_agg") {
        true if text.contains("attname") => array_of(DataType::Text),
        true => array_of(oid),
        false => oid,
    };
    cast_null(data_type)
}

fn array_of(element: DataType) -> DataType {
    DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(element), None))
}

fn cast_null(data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type,
        array: false,
        format: None,
    }
}
