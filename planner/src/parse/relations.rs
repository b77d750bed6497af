//! Where a query names relations, so that a name can be replaced in its text.
//!
//! A name that a `WITH` of the query defines is no relation.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, Query, Statement as PgStatement, TableFactor, Visit,
    Visitor,
};

use super::position::Positions;
use super::{Statement, parse};
use crate::names::identifier;

/// A relation as a query names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRelation {
    /// Its schema, if it is written.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Bytes of the whole name in the text.
    pub range: Range<usize>,
    /// Whether columns are qualified by this name: it has no alias, and is no argument.
    pub qualifies: bool,
}

/// The relations that a query names, in the order of the text. None if the text is no query.
#[must_use]
pub fn named_relations(sql: &str) -> Vec<NamedRelation> {
    let Ok(mut parsed) = parse(sql) else {
        return Vec::new();
    };
    let Some(Statement::Pg(statement)) = parsed.pop().map(|parsed| parsed.statement) else {
        return Vec::new();
    };
    let PgStatement::Query(query) = *statement else {
        return Vec::new();
    };
    let mut found = Found {
        positions: Positions::new(sql),
        scopes: Vec::new(),
        relations: Vec::new(),
    };
    let _ = query.visit(&mut found);
    found.relations.sort_by_key(|relation| relation.range.start);
    found.relations
}

struct Found {
    positions: Positions,
    scopes: Vec<Scope>,
    relations: Vec<NamedRelation>,
}

/// The `WITH` of a query that is being looked at.
struct Scope {
    /// Names that it defines, with the queries behind them.
    defined: Vec<(String, *const Query)>,
    is_recursive: bool,
    /// How many of them can be named at this point.
    visible: usize,
}

impl Found {
    fn add(&mut self, parts: &[&Ident], qualifies: bool) {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return;
        };
        let schema = parts.len().checked_sub(2).map(|at| identifier(parts[at]));
        let name = identifier(last);
        let is_defined = schema.is_none()
            && self.scopes.iter().any(|scope| {
                let mut visible = scope.defined[..scope.visible].iter();
                visible.any(|(defined, _)| *defined == name)
            });
        if is_defined {
            return;
        }
        let start = self.positions.byte(first.span.start);
        let end = self.positions.byte(last.span.end);
        self.relations.push(NamedRelation {
            schema,
            name,
            range: start..end,
            qualifies,
        });
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        // Inside of a WITH only what stands before can be named, unless it is recursive.
        if let Some(outer) = self.scopes.last_mut() {
            let mut defined = outer.defined.iter();
            let at = defined.position(|(_, inner)| std::ptr::eq(*inner, query));
            if let Some(at) = at.filter(|_| !outer.is_recursive) {
                outer.visible = at;
            }
        }
        let with = query.with.as_ref();
        let defined: Vec<_> = with.map_or_else(Vec::new, |with| {
            let name = |table: &sqlparser::ast::Cte| {
                let query: *const Query = &*table.query;
                (identifier(&table.alias.name), query)
            };
            with.cte_tables.iter().map(name).collect()
        });
        self.scopes.push(Scope {
            visible: defined.len(),
            is_recursive: with.is_some_and(|with| with.recursive),
            defined,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut() {
            outer.visible = outer.defined.len();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let parts: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
                self.add(&parts, alias.is_none());
            }
            // Of table functions those of time windows take a relation.
            TableFactor::Table {
                args: Some(args), ..
            } => match args.args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))) => {
                    self.add(&[name], false);
                }
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(
                    parts,
                )))) => self.add(&parts.iter().collect::<Vec<_>>(), false),
                _ => {}
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Vec<(&str, bool)> {
        let relations = named_relations(sql);
        let shown = relations.into_iter().map(|r| (&sql[r.range], r.qualifies));
        shown.collect()
    }

    #[test]
    fn relations_are_found_where_they_are_named() {
        assert_eq!(
            names("SELECT t.a FROM t, \"S\".\"T u\" AS x\n JOIN dev.public.v USING (a)"),
            [
                ("t", true),
                ("\"S\".\"T u\"", false),
                ("dev.public.v", true)
            ]
        );
        assert_eq!(
            names("SELECT (SELECT max(a) FROM é.t) FROM (SELECT 1 FROM u)"),
            [("é.t", true), ("u", true)]
        );
        assert_eq!(
            names(
                "SELECT * FROM TUMBLE(bids, ts, '1 s') UNION SELECT * FROM generate_series(1, 2)"
            ),
            [("bids", false)]
        );
    }

    #[test]
    fn what_a_with_defines_is_no_relation() {
        assert_eq!(
            names("WITH t AS (SELECT * FROM t), u AS (SELECT * FROM t) SELECT * FROM t, u, s.u"),
            [("t", true), ("s.u", true)]
        );
        assert_eq!(
            names("WITH RECURSIVE t AS (SELECT 1 UNION SELECT * FROM t) SELECT * FROM t"),
            []
        );
    }
}
