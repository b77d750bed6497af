//! `WITH … INSERT`, `WITH … UPDATE` and `WITH … DELETE`: the named queries are put where they are read.

use std::ops::ControlFlow;

use sqlparser::ast;
use sqlparser::ast::{Ident, Query, SetExpr, TableAlias, TableFactor, VisitMut, VisitorMut, With};

use super::streaming::{Fault, Result};
use crate::error::Error;
use crate::names::identifier;

/// The statement itself: a change that stands behind `WITH` as if it stood alone.
pub(super) fn unwrapped(mut query: Box<Query>) -> Result<ast::Statement> {
    let is_change = matches!(
        *query.body,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_)
    );
    if !is_change {
        return Ok(ast::Statement::Query(query));
    }
    let named = match query.with.take() {
        Some(with) => named_queries(with)?,
        None => Vec::new(),
    };
    let (SetExpr::Insert(mut change) | SetExpr::Update(mut change) | SetExpr::Delete(mut change)) =
        *query.body
    else {
        unreachable!("it is a change");
    };
    put(&mut change, &named);
    Ok(change)
}

/// A query with a name.
struct Named {
    alias: TableAlias,
    query: Box<Query>,
}

/// The queries, those that read earlier ones with these in their place.
fn named_queries(with: With) -> Result<Vec<Named>> {
    if with.recursive {
        return Err(refused(
            "WITH RECURSIVE in front of INSERT, UPDATE or DELETE",
            "write INSERT INTO t WITH RECURSIVE … SELECT",
        ));
    }
    let mut named: Vec<Named> = Vec::with_capacity(with.cte_tables.len());
    for cte in with.cte_tables {
        if !matches!(
            *cte.query.body,
            SetExpr::Select(_)
                | SetExpr::Query(_)
                | SetExpr::SetOperation { .. }
                | SetExpr::Values(_)
        ) {
            return Err(refused(
                "a WITH query that changes rows",
                "run it before, as a statement of its own",
            ));
        }
        let mut query = cte.query;
        put(&mut query, &named);
        named.push(Named {
            alias: cte.alias,
            query,
        });
    }
    Ok(named)
}

fn refused(what: &str, hint: &str) -> Fault {
    Fault::Ours(Error::unsupported(what, hint))
}

/// Puts queries in the place of their names, but not of the table that is changed.
fn put<T: Changed>(node: &mut T, named: &[Named]) {
    let target = node.take_target();
    let mut places = Places {
        named,
        hidden: Vec::new(),
    };
    let visited = node.visit(&mut places);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
    if let Some(target) = target {
        node.put_target(target);
    }
}

/// What may have a table that is changed.
trait Changed: VisitMut {
    fn take_target(&mut self) -> Option<Target> {
        None
    }

    fn put_target(&mut self, _target: Target) {}
}

enum Target {
    Update(Box<ast::TableWithJoins>),
    Delete(ast::FromTable),
}

impl Changed for Box<Query> {}

impl Changed for ast::Statement {
    fn take_target(&mut self) -> Option<Target> {
        match self {
            ast::Statement::Update(update) => Some(Target::Update(Box::new(update.table.clone()))),
            ast::Statement::Delete(delete) => Some(Target::Delete(delete.from.clone())),
            _ => None,
        }
    }

    fn put_target(&mut self, target: Target) {
        match (self, target) {
            (ast::Statement::Update(update), Target::Update(table)) => update.table = *table,
            (ast::Statement::Delete(delete), Target::Delete(from)) => delete.from = from,
            _ => {}
        }
    }
}

struct Places<'a> {
    named: &'a [Named],
    /// Names that queries around have given anew.
    hidden: Vec<Vec<String>>,
}

impl VisitorMut for Places<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let own = query.with.iter().flat_map(|with| &with.cte_tables);
        let own = own.map(|cte| identifier(&cte.alias.name));
        self.hidden.push(own.collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.hidden.pop();
        ControlFlow::Continue(())
    }

    // Afterwards, so that what is put there is not looked at.
    fn post_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = table
        else {
            return ControlFlow::Continue(());
        };
        let [part] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let Some(wanted) = part.as_ident().map(identifier) else {
            return ControlFlow::Continue(());
        };
        let is_hidden = self.hidden.iter().flatten().any(|name| *name == wanted);
        let mut queries = self.named.iter();
        let found = queries.find(|named| identifier(&named.alias.name) == wanted);
        if let Some(found) = found.filter(|_| !is_hidden) {
            let mut alias = alias.take().unwrap_or_else(|| TableAlias {
                explicit: true,
                name: Ident::with_quote('"', wanted),
                columns: Vec::new(),
                at: None,
            });
            if alias.columns.is_empty() {
                alias.columns.clone_from(&found.alias.columns);
            }
            *table = TableFactor::Derived {
                lateral: false,
                subquery: found.query.clone(),
                alias: Some(alias),
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }
}
