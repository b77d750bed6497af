//! `SELECT (c).*`: all fields of a composite value.
//!
//! ```text
//!   SELECT (c).*  ──plan──► SELECT (c) AS "fields 0": its type has fields a, b
//!                 ──────►   SELECT (c).a, (c).b
//! ```
//!
//! The fields are known when the query has been planned once; so it is planned with each such item as
//! the value itself, and then with the fields in its place.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Fields};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::{
    AccessExpr, Expr, Ident, Query, Select, SelectItem, SetExpr, Visit, VisitMut, Visitor,
    VisitorMut,
};

use crate::error::{Error, Result};
use crate::values::types::SqlType;

/// Whether a query has such an item anywhere.
pub(crate) fn has_any(query: &Query) -> bool {
    query.visit(&mut Finder).is_break()
}

/// Writes the fields out. `plan` plans a query.
///
/// # Errors
/// Those of the query; [`Error::NotComposite`] for a value of another type.
pub(crate) fn expand(
    query: &mut Query,
    plan: impl FnOnce(&Query) -> Result<LogicalPlan>,
) -> Result<()> {
    let mut probe = query.clone();
    let mut count = 0;
    for_each_item(&mut probe, &mut |expr| {
        count += 1;
        vec![SelectItem::ExprWithAlias {
            expr: Expr::Nested(Box::new(expr)),
            alias: Ident::with_quote('"', probe_name(count - 1)),
        }]
    });
    let types = types_of_probes(&plan(&probe)?, count)?;
    let mut at = 0;
    let mut fault = None;
    for_each_item(query, &mut |expr| {
        let data_type = types.get(&probe_name(at));
        at += 1;
        match data_type {
            Some(DataType::Struct(fields)) => fields_of(&expr, fields),
            other => {
                fault = Some(SqlType::of(other.unwrap_or(&DataType::Null)).base_name());
                Vec::new()
            }
        }
    });
    match fault {
        Some(type_name) => Err(Error::NotComposite {
            field: "*".to_owned(),
            type_name,
        }),
        None => Ok(()),
    }
}

fn probe_name(at: usize) -> String {
    format!("fields {at}")
}

fn fields_of(expr: &Expr, fields: &Fields) -> Vec<SelectItem> {
    let item = |name: &String| {
        let name = Ident::with_quote('"', name);
        SelectItem::ExprWithAlias {
            expr: Expr::CompoundFieldAccess {
                root: Box::new(Expr::Nested(Box::new(expr.clone()))),
                access_chain: vec![AccessExpr::Dot(Expr::Identifier(name.clone()))],
            },
            alias: name,
        }
    };
    fields.iter().map(|field| item(field.name())).collect()
}

/// The types of the columns of a plan that have a probe's name.
fn types_of_probes(plan: &LogicalPlan, count: usize) -> Result<BTreeMap<String, DataType>> {
    let names: Vec<String> = (0..count).map(probe_name).collect();
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        for field in node.schema().fields() {
            if names.contains(field.name()) {
                types.insert(field.name().clone(), field.data_type().clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(types)
}

/// The value of an item `(value).*`.
fn of_all_fields(item: &SelectItem) -> Option<Expr> {
    let SelectItem::UnnamedExpr(Expr::CompoundFieldAccess { root, access_chain }) = item else {
        return None;
    };
    let (last, chain) = access_chain.split_last()?;
    match last {
        AccessExpr::Dot(Expr::Identifier(star)) if star.value == "*" => {}
        _ => return None,
    }
    Some(match chain {
        [] => root.as_ref().clone(),
        chain => Expr::CompoundFieldAccess {
            root: root.clone(),
            access_chain: chain.to_vec(),
        },
    })
}

/// The selects of a query, without those of its subqueries.
fn selects<'a>(body: &'a SetExpr, found: &mut Vec<&'a Select>) {
    match body {
        SetExpr::Select(select) => found.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left, found);
            selects(right, found);
        }
        _ => {}
    }
}

struct Finder;

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let mut found = Vec::new();
        selects(&query.body, &mut found);
        let mut items = found.iter().flat_map(|select| &select.projection);
        match items.any(|item| of_all_fields(item).is_some()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Puts other items in the place of each `(expr).*`, in one and the same order every time.
fn for_each_item(query: &mut Query, replace: &mut dyn FnMut(Expr) -> Vec<SelectItem>) {
    let visited = query.visit(&mut Replacer { replace });
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

struct Replacer<'a> {
    replace: &'a mut dyn FnMut(Expr) -> Vec<SelectItem>,
}

impl Replacer<'_> {
    fn body(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in std::mem::take(&mut select.projection) {
                    match of_all_fields(&item) {
                        Some(value) => select.projection.extend((self.replace)(value)),
                        None => select.projection.push(item),
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            _ => {}
        }
    }
}

impl VisitorMut for Replacer<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.body(&mut query.body);
        ControlFlow::Continue(())
    }
}
