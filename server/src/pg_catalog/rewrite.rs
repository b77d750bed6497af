//! PostgreSQL's syntax that DataFusion does not take, in terms of syntax that it takes. On the
//! syntax tree, in one pass; queries of users over their own tables pass through unchanged, except
//! for prefixes `pg_catalog.` and the like that mean the same without.
//!
//! | written | becomes |
//! |---|---|
//! | `a OPERATOR(pg_catalog.~) b` | `a ~ b` |
//! | `a COLLATE c` | `a` |
//! | `pg_catalog.f(x)`, `x::pg_catalog.t` | `f(x)`, `x::t` |
//! | `'t'::regclass`, `oid::regclass` | a function that looks up, one that prints |
//! | `ARRAY(SELECT x … ORDER BY 1)` | `(SELECT array_agg(x ORDER BY x) …)`, empty instead of NULL |
//! | a scalar sub-select over system tables | the same with `max(…)`: it has one row at most |
//! | the same over pg_collation | NULL: no column has a collation of its own |
//! | `information_schema._pg_expandarray(a)`, `(…).n`, `(result.keys).x` | `unnest(a)`, `unnest` of their numbers, `result.keys` |
//! | `CASE WHEN t.typtype = 'd' THEN (SELECT …) END` | NULL: there are no domains, and no composite types |
//! | `json_build_object(…)` and its kin | `jsonb_build_object(…)` |
//! | `polroles = '{0}'` | `polroles IS NULL`: there are no policies |
//! | a sub-select in the select list over a table that is always empty | NULL |
//! | `x \|\| ARRAY(SELECT … FROM unnest(y))`, as psql asks for TOAST options | `x` |

mod absent;
mod subquery;

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::pg_catalog::functions::{OPTION_TEXTS, REGCLASS_IN, REGCLASS_OUT, REGNAMESPACE_OUT};
use crate::pg_catalog::rewrite::absent::{drop_absent_types, drop_empty_lookups};
use crate::pg_catalog::rewrite::subquery::{count_existing, only_item, single_row};
use crate::pg_catalog::role_functions::{REGROLE_IN, REGROLE_OUT};
use crate::pg_catalog::type_functions::{REGTYPE_IN, REGTYPE_OUT};
use crate::pg_catalog::{INFORMATION_SCHEMA, SCHEMA, find};
use planner::names::expression_name;

/// Rewrites a query or an expression in place.
pub fn rewrite<T: VisitMut>(node: &mut T) {
    let visited = node.visit(&mut Rewriter::default());
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

#[derive(Default)]
struct Rewriter {
    /// What the outputs of the queries around are called, before their expressions change.
    names: Vec<Vec<String>>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let named = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => expression_name(expr),
            _ => String::new(),
        };
        let select = first_select(&mut query.body);
        let names = select.map(|select| select.projection.iter().map(named).collect());
        self.names.push(names.unwrap_or_default());
        if let SetExpr::Select(select) = &mut *query.body {
            drop_empty_lookups(select);
            count_existing(select);
        }
        for_each_select(&mut query.body, &mut drop_empty_lookups);
        ControlFlow::Continue(())
    }

    /// An output keeps its name, whatever its expression has become.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let names = self.names.pop().unwrap_or_default();
        if let Some(select) = first_select(&mut query.body) {
            for (item, name) in select.projection.iter_mut().zip(names) {
                if let SelectItem::UnnamedExpr(expr) = item
                    && name != "?column?"
                    && expression_name(expr) != name
                {
                    let expr = std::mem::replace(expr, Expr::value(Value::Null));
                    let alias = Ident::with_quote('"', name);
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, .. } => strip_schema(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // Before its parts are rewritten, while an ARRAY sub-select still looks like one.
        if let Expr::BinaryOp {
            left,
            op: BinaryOperator::StringConcat,
            right,
        } = expr
            && array_query(right).is_some_and(reads_a_function)
        {
            *expr = std::mem::replace(left, Expr::value(Value::Null));
        }
        drop_absent_types(expr);
        if let Some(expanded) = expand_array(expr) {
            *expr = expanded;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let taken = std::mem::replace(expr, Expr::value(Value::Null));
        *expr = rewritten(taken);
        ControlFlow::Continue(())
    }
}

fn rewritten(expr: Expr) -> Expr {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::PGCustomBinaryOperator(parts),
            right,
        } => {
            let op = plain_operator(parts);
            Expr::BinaryOp { left, op, right }
        }
        Expr::Collate { expr, .. } => *expr,
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq | BinaryOperator::NotEq,
            ..
        } if is_policy_roles(&left) => Expr::IsNull(left),
        Expr::Cast {
            kind,
            expr,
            data_type,
            array,
            format,
        } => match reg_cast(&expr, &data_type) {
            Some(function) => call(function, *expr),
            None if is_oid(&data_type) && is_call_of(&expr, REGCLASS_OUT) => {
                called(*expr, REGCLASS_IN)
            }
            None => Expr::Cast {
                kind,
                expr,
                data_type: plain_type(data_type),
                array,
                format,
            },
        },
        Expr::Function(mut function) => {
            strip_schema(&mut function.name);
            rename_json(&mut function.name);
            if let Some(options) = options_argument(&function) {
                return call(OPTION_TEXTS, options);
            }
            match array_subquery(&mut function) {
                Some(query) => call("pg_collected", Expr::Subquery(query)),
                None => Expr::Function(function),
            }
        }
        Expr::Subquery(query) => single_row(query),
        other => other,
    }
}

/// The select that names the columns of a query: of a set operation, the first one.
fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn plain_operator(parts: Vec<String>) -> BinaryOperator {
    match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("||") => BinaryOperator::StringConcat,
        _ => BinaryOperator::PGCustomBinaryOperator(parts),
    }
}

/// Removes `pg_catalog.` in front of a name.
fn strip_schema(name: &mut ObjectName) {
    if let [schema, _] = &name.0[..]
        && schema
            .as_ident()
            .is_some_and(|ident| ident.value == SCHEMA || ident.value == INFORMATION_SCHEMA)
    {
        name.0.remove(0);
    }
}

/// `json` is `jsonb` here, and so are the functions that build it.
fn rename_json(name: &mut ObjectName) {
    let jsonb = match last_word(name).as_deref() {
        Some("json_build_object") => "jsonb_build_object",
        Some("json_build_array") => "jsonb_build_array",
        Some("json_agg") => "jsonb_agg",
        Some("json_object_agg") => "jsonb_object_agg",
        _ => return,
    };
    *name = ObjectName::from(vec![Ident::new(jsonb)]);
}

/// The argument of `information_schema._pg_expandarray(argument)`.
fn expanded_array(expr: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = without_parentheses(expr) else {
        return None;
    };
    if last_word(&function.name).as_deref() != Some("_pg_expandarray") {
        return None;
    }
    match &function.args {
        FunctionArguments::List(list) => match &list.args[..] {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument),
            _ => None,
        },
        _ => None,
    }
}

fn without_parentheses(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => without_parentheses(inner),
        other => other,
    }
}

/// `_pg_expandarray` gives records of an element, `x`, and its number, `n`; of the record, only `x`
/// is ever asked for by a query around it.
fn expand_array(expr: &Expr) -> Option<Expr> {
    if let Some(array) = expanded_array(expr) {
        return Some(call("unnest", array.clone()));
    }
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return None;
    };
    let [AccessExpr::Dot(Expr::Identifier(field))] = &access_chain[..] else {
        return None;
    };
    if let Some(array) = expanded_array(root) {
        return match field.value.as_str() {
            "x" => Some(call("unnest", array.clone())),
            _ => {
                let last = call("cardinality", array.clone());
                let numbers = call_with("generate_series", vec![number("1"), last]);
                Some(call("unnest", numbers))
            }
        };
    }
    // `(result.KEYS).x`, where KEYS are the elements.
    match without_parentheses(root) {
        column @ Expr::CompoundIdentifier(_) if field.value == "x" => Some(column.clone()),
        _ => None,
    }
}

fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.to_owned(), false))
}

/// The function that stands for a cast to one of the reg* types.
fn reg_cast(expr: &Expr, data_type: &DataType) -> Option<&'static str> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => last_word(name)?,
        _ => return None,
    };
    let is_text =
        matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    match (name.as_str(), is_text) {
        ("regclass", true) => Some(REGCLASS_IN),
        ("regclass", false) => Some(REGCLASS_OUT),
        ("regtype", true) => Some(REGTYPE_IN),
        ("regtype", false) => Some(REGTYPE_OUT),
        ("regnamespace", false) => Some(REGNAMESPACE_OUT),
        ("regrole", true) => Some(REGROLE_IN),
        ("regrole", false) => Some(REGROLE_OUT),
        _ => None,
    }
}

/// Whether a name is within a schema of the server's own.
fn is_of_system(name: &ObjectName) -> bool {
    let schema = name.0.iter().rev().nth(1).and_then(|part| part.as_ident());
    schema.is_some_and(|schema| super::is_schema(&schema.value.to_lowercase()))
}

fn is_oid(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Custom(name, _) if last_word(name).as_deref() == Some("oid"))
}

fn is_call_of(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Function(function) if last_word(&function.name).as_deref() == Some(name))
}

/// The same call of another function.
fn called(expr: Expr, name: &str) -> Expr {
    match expr {
        Expr::Function(call) => function(name, call.args),
        other => other,
    }
}

fn last_word(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.to_lowercase())
}

/// `pg_catalog.int2` as `int2`, the reg* types that are left as text, also inside of arrays.
fn plain_type(data_type: DataType) -> DataType {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, size)) => DataType::Array(
            ArrayElemTypeDef::SquareBracket(Box::new(plain_type(*element)), size),
        ),
        DataType::Custom(name, modifiers) => match last_word(&name).as_deref() {
            Some("oid") => DataType::Custom(ObjectName::from(vec![Ident::new("oid")]), Vec::new()),
            Some("xid") => DataType::BigInt(None),
            Some(
                "regtype" | "regproc" | "regprocedure" | "regrole" | "regnamespace" | "name"
                | "char" | "bpchar" | "pg_node_tree",
            ) => DataType::Text,
            Some(word) if is_of_system(&name) => {
                // One word of the tree, read as a type.
                let parsed = Parser::new(&PostgreSqlDialect {})
                    .try_with_sql(word)
                    .and_then(|mut parser| parser.parse_data_type());
                parsed.unwrap_or(DataType::Custom(name, modifiers))
            }
            _ => DataType::Custom(name, modifiers),
        },
        other => other,
    }
}

fn call(name: &str, argument: Expr) -> Expr {
    call_with(name, vec![argument])
}

fn call_with(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
        .collect();
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args,
        clauses: Vec::new(),
    };
    function(name, FunctionArguments::List(list))
}

fn function(name: &str, args: FunctionArguments) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Whether this is the column `pg_policy.polroles`, which psql compares with `'{0}'`. No text is
/// read as an array here, and there are no policies: any condition on it will do.
fn is_policy_roles(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(name) => name.value == "polroles",
        Expr::CompoundIdentifier(names) => {
            names.last().is_some_and(|name| name.value == "polroles")
        }
        _ => false,
    }
}

/// The query of `ARRAY(SELECT …)`.
fn array_query(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::Function(function) if last_word(&function.name).as_deref() == Some("array") => {
            match &function.args {
                FunctionArguments::Subquery(query) => Some(query),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The argument of `ARRAY(SELECT … FROM pg_options_to_table(argument))`, by which psql prints the
/// options of foreign tables.
fn options_argument(function: &Function) -> Option<Expr> {
    if last_word(&function.name).as_deref() != Some("array") {
        return None;
    }
    let FunctionArguments::Subquery(query) = &function.args else {
        return None;
    };
    let SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let (name, args) = match &select.from.first()?.relation {
        TableFactor::Table {
            name,
            args: Some(args),
            ..
        } => (name, &args.args),
        TableFactor::Function { name, args, .. } => (name, args),
        _ => return None,
    };
    match (last_word(name)?.as_str(), &args[..]) {
        ("pg_options_to_table", [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))]) => {
            Some(argument.clone())
        }
        _ => None,
    }
}

/// Takes the query out of `ARRAY(SELECT …)` and makes it collect its rows.
fn array_subquery(function: &mut Function) -> Option<Box<Query>> {
    if last_word(&function.name).as_deref() != Some("array") {
        return None;
    }
    let FunctionArguments::Subquery(query) = &mut function.args else {
        return None;
    };
    let mut query = query.clone();
    let order = query.order_by.take();
    if let SetExpr::Select(select) = &mut *query.body
        && let Some(item) = only_item(select)
    {
        let sorted = order.is_some_and(|order| matches!(order.kind, OrderByKind::Expressions(_)));
        *item = collected(item.clone(), sorted);
    }
    Some(query)
}

fn collected(item: Expr, sorted: bool) -> Expr {
    let clauses = if sorted {
        let order = OrderByExpr {
            expr: item.clone(),
            options: sqlparser::ast::OrderByOptions {
                asc: None,
                nulls_first: None,
            },
            with_fill: None,
        };
        vec![FunctionArgumentClause::OrderBy(vec![order])]
    } else {
        Vec::new()
    };
    let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(item))];
    function(
        "array_agg",
        FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses,
        }),
    )
}

fn reads_system_tables(table: &TableWithJoins) -> bool {
    factors(table).all(|factor| system_table(factor).is_some())
}

fn reads_a_function(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else {
        return false;
    };
    let is_function = |factor: &TableFactor| {
        matches!(
            factor,
            TableFactor::Function { .. }
                | TableFactor::UNNEST { .. }
                | TableFactor::Table { args: Some(_), .. }
        )
    };
    select.from.iter().flat_map(factors).any(is_function)
}

fn factors(table: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
}

/// The system table that a factor names.
fn system_table(factor: &TableFactor) -> Option<&'static crate::pg_catalog::table::SystemTable> {
    let TableFactor::Table {
        name, args: None, ..
    } = factor
    else {
        return None;
    };
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|i| i.value.to_lowercase())
        .collect();
    match &parts[..] {
        [name] => find(SCHEMA, name),
        [schema, name] | [_, schema, name] => find(schema, name),
        _ => None,
    }
}

fn for_each_select(body: &mut SetExpr, change: &mut dyn FnMut(&mut Select)) {
    match body {
        SetExpr::Select(select) => change(select),
        SetExpr::SetOperation { left, right, .. } => {
            for_each_select(left, change);
            for_each_select(right, change);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten_text(sql: &str) -> String {
        let mut statements = planner::parse(sql).unwrap();
        let Some(planner::Statement::Pg(mut statement)) =
            statements.pop().map(|parsed| parsed.statement)
        else {
            panic!("not a query: {sql}")
        };
        rewrite(&mut *statement);
        statement.to_string()
    }

    #[test]
    fn prefixes_operators_and_collations_go() {
        assert_eq!(
            rewritten_text(
                "SELECT pg_catalog.f(a) FROM t WHERE a OPERATOR(pg_catalog.~) '^x$' COLLATE pg_catalog.default"
            ),
            "SELECT f(a) FROM t WHERE a ~ '^x$'"
        );
        assert_eq!(
            rewritten_text("SELECT a::pg_catalog.text"),
            "SELECT a::TEXT"
        );
    }

    #[test]
    fn reg_casts_become_functions() {
        assert_eq!(
            rewritten_text("SELECT 't'::regclass::oid"),
            "SELECT pg_regclass_in('t')::oid AS \"oid\""
        );
        assert_eq!(
            rewritten_text("SELECT c.oid::pg_catalog.regclass FROM t c"),
            "SELECT pg_regclass_out(c.oid) AS \"oid\" FROM t c"
        );
    }

    #[test]
    fn arrays_of_sub_selects_are_collected() {
        assert_eq!(
            rewritten_text(
                "SELECT ARRAY(SELECT rolname FROM pg_roles WHERE oid = x ORDER BY 1) FROM t"
            ),
            "SELECT pg_collected((SELECT array_agg(rolname ORDER BY rolname) FROM pg_roles WHERE oid = x)) AS \"array\" FROM t"
        );
    }

    #[test]
    fn scalar_sub_selects_over_system_tables_are_aggregates() {
        assert_eq!(
            rewritten_text(
                "SELECT (SELECT d.adbin FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND a.atthasdef) FROM pg_attribute a"
            ),
            "SELECT CASE WHEN a.atthasdef THEN (SELECT max(d.adbin) FROM pg_attrdef d WHERE d.adrelid = a.attrelid) END \
             AS \"adbin\" FROM pg_attribute a"
        );
    }

    #[test]
    fn queries_of_users_stay_as_they_are() {
        for sql in [
            "SELECT (SELECT a FROM t WHERE t.b = u.b) FROM u",
            "SELECT a || b FROM t WHERE a IN (SELECT 1)",
            "SELECT a FROM t WHERE a = '{0}' AND b <> '{1,2}'",
        ] {
            assert_eq!(rewritten_text(sql), sql);
        }
    }
}
