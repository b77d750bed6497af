//! Names: identifiers as PostgreSQL folds them, and output columns as PostgreSQL calls them.
//!
//! DataFusion names an output after its expression (`count(*)`, `t.a + Int32(1)`) and refuses two
//! outputs of one name. PostgreSQL calls them `count` and `?column?`, and a query may have as many
//! of one name as it likes. So a query is planned with `alias_outputs` applied to its syntax
//! tree, which makes PostgreSQL's names known to outer queries, and the result's schema gets its
//! names from [`output_names`].

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, CastKind, DataType, Expr, Ident, OrderByKind, Query, Select,
    SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TrimWhereField, Value,
    VisitMut, VisitorMut,
};
use sqlparser::keywords::{
    ALL_KEYWORDS, Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS,
};

/// An identifier as the catalog knows it: in lower case unless it was quoted.
#[must_use]
pub fn identifier(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The same columns, all nullable and without metadata.
#[must_use]
pub fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The output names of a query, one for each column of its plan.
///
/// Columns of a `*` have the names of the plan; the others are named after the syntax tree.
#[must_use]
pub fn output_names(query: &Query, planned: &DFSchema) -> Vec<String> {
    let fallback: Vec<String> = planned
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let Some(select) = leftmost_select(&query.body) else {
        return values_names(&query.body, fallback);
    };
    let items = &select.projection;
    let stars = items.iter().filter(|item| is_star(item)).count();
    let explicit = items.len() - stars;
    if stars == 1 && explicit <= fallback.len() {
        let width = fallback.len() - explicit;
        return names_around_star(items, &fallback, width);
    }
    if stars == 0 && explicit == fallback.len() {
        return items.iter().map(item_name).collect();
    }
    // Several stars: only their columns carry a relation, unless there is something to compute.
    let is_computed = |at: usize| planned.qualified_field(at).0.is_none();
    let computed: Vec<usize> = (0..fallback.len()).filter(|at| is_computed(*at)).collect();
    let named: Vec<&SelectItem> = items
        .iter()
        .filter(|item| !is_star(item) && !is_column(item))
        .collect();
    let mut names = fallback;
    if computed.len() == named.len() {
        for (at, item) in computed.into_iter().zip(named) {
            names[at] = item_name(item);
        }
    }
    names
}

fn names_around_star(items: &[SelectItem], planned: &[String], width: usize) -> Vec<String> {
    let mut names = Vec::with_capacity(planned.len());
    for item in items {
        if is_star(item) {
            let from = names.len();
            names.extend_from_slice(&planned[from..from + width]);
        } else {
            names.push(item_name(item));
        }
    }
    names
}

fn values_names(body: &SetExpr, fallback: Vec<String>) -> Vec<String> {
    match body {
        SetExpr::Values(_) => (1..=fallback.len())
            .map(|at| format!("column{at}"))
            .collect(),
        _ => fallback,
    }
}

/// The select list that names the columns of a query: of a set operation, the first one.
fn leftmost_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => leftmost_select(&query.body),
        SetExpr::SetOperation { left, .. } => leftmost_select(left),
        _ => None,
    }
}

fn is_star(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

fn is_column(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_))
    )
}

fn item_name(item: &SelectItem) -> String {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => identifier(alias),
        SelectItem::UnnamedExpr(expr) => expression_name(expr),
        _ => "?column?".to_owned(),
    }
}

/// What PostgreSQL calls the output of an expression without alias (its `FigureColname`).
#[must_use]
pub fn expression_name(expr: &Expr) -> String {
    match strong_name(expr) {
        Some(name) => name,
        None => weak_name(expr).unwrap_or_else(|| "?column?".to_owned()),
    }
}

/// Names that also win when a cast or `CASE` stands around the expression.
fn strong_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(identifier(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(identifier),
        Expr::CompoundFieldAccess { root, access_chain } => access_name(root, access_chain),
        Expr::Function(function) => function.name.0.last()?.as_ident().map(identifier),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => strong_name(inner),
        Expr::Cast { expr, kind, .. } if *kind != CastKind::SafeCast => strong_name(expr),
        Expr::Case { else_result, .. } => strong_name(else_result.as_deref()?),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Overlay { .. } => Some("overlay".to_owned()),
        Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                Some(TrimWhereField::Both) | None => "btrim",
            }
            .to_owned(),
        ),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Tuple(_) => Some("row".to_owned()),
        Expr::Subquery(query) => {
            let select = leftmost_select(&query.body)?;
            select
                .projection
                .first()
                .map(item_name)
                .filter(|name| name != "?column?")
        }
        _ => None,
    }
}

/// Names that give way to a better one inside.
fn weak_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => weak_name(inner),
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Cast { data_type, .. } => type_name(data_type),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Interval(_) => Some("interval".to_owned()),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some("bool".to_owned()),
        _ => None,
    }
}

fn access_name(root: &Expr, chain: &[AccessExpr]) -> Option<String> {
    for access in chain.iter().rev() {
        match access {
            AccessExpr::Dot(field) => return strong_name(field),
            AccessExpr::Subscript(_) => {}
        }
    }
    strong_name(root)
}

/// PostgreSQL's internal name of a type, which names the output of a cast of a constant.
fn type_name(data_type: &DataType) -> Option<String> {
    use sqlparser::ast::TimezoneInfo::{Tz, WithTimeZone};
    Some(
        match data_type {
            DataType::Boolean | DataType::Bool => "bool",
            DataType::SmallInt(_) | DataType::Int2(_) => "int2",
            DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
            DataType::BigInt(_) | DataType::Int8(_) => "int8",
            DataType::Real | DataType::Float4 => "float4",
            DataType::DoublePrecision
            | DataType::Float8
            | DataType::Float(_)
            | DataType::Double(_) => "float8",
            DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
            DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar",
            DataType::Char(_) | DataType::Character(_) => "bpchar",
            DataType::Text => "text",
            DataType::Date => "date",
            DataType::Time(..) => "time",
            DataType::Timestamp(_, Tz | WithTimeZone) => "timestamptz",
            DataType::Timestamp(..) => "timestamp",
            DataType::Interval { .. } => "interval",
            DataType::Bytea => "bytea",
            DataType::Regclass => "regclass",
            DataType::JSON => "json",
            DataType::JSONB => "jsonb",
            DataType::Uuid => "uuid",
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
                return type_name(element);
            }
            DataType::Custom(name, _) => {
                let name = identifier(name.0.last()?.as_ident()?);
                let is_struct = name
                    .get(..7)
                    .is_some_and(|n| n.eq_ignore_ascii_case("struct<"));
                let is_map = name
                    .get(..4)
                    .is_some_and(|n| n.eq_ignore_ascii_case("map("));
                return Some(match (is_struct, is_map) {
                    (true, _) => "row".to_owned(),
                    (_, true) => "map".to_owned(),
                    _ => name,
                });
            }
            _ => return None,
        }
        .to_owned(),
    )
}

/// Gives every unnamed computed output PostgreSQL's name, in all queries of the tree, and makes
/// explicit names of one select list distinct. A list with a `*` is left as it is, since what the
/// star covers is not known here.
pub(crate) fn alias_outputs(query: &mut Query) {
    let _ = query.visit(&mut Aliases {
        beside_stars: false,
    });
}

/// As `alias_outputs`, and makes columns written beside a `*` distinct from those of the star.
/// For queries that DataFusion refuses otherwise.
pub(crate) fn alias_beside_stars(query: &mut Query) {
    let _ = query.visit(&mut Aliases { beside_stars: true });
}

struct Aliases {
    beside_stars: bool,
}

impl VisitorMut for Aliases {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        order_by_position(query);
        self.alias_body(&mut query.body);
        ControlFlow::Continue(())
    }

    /// The one column of a function in `FROM` is called as the function is, or as its alias.
    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: Some(_),
                ..
            } => {
                let function = name.0.last().and_then(|part| part.as_ident());
                if let Some(function) = function
                    && SERIES.contains(&identifier(function).as_str())
                {
                    name_column(alias, function);
                }
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_ordinality: false,
                ..
            } if array_exprs.len() == 1 => name_column(alias, &Ident::new("unnest")),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Names the one column of a function as its alias, or as the function.
fn name_column(alias: &mut Option<TableAlias>, function: &Ident) {
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: function.clone(),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        let name = alias.name.clone();
        alias.columns = vec![TableAliasColumnDef {
            name,
            data_type: None,
        }];
    }
}

/// `SELECT DISTINCT f(a) … ORDER BY f(a)`: DataFusion does not find `f(a)` once it has an alias,
/// so the order refers to its position.
fn order_by_position(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return;
    };
    let has_star = select.projection.iter().any(is_star);
    let (Some(order), true) = (&mut query.order_by, select.distinct.is_some() && !has_star) else {
        return;
    };
    let OrderByKind::Expressions(exprs) = &mut order.kind else {
        return;
    };
    for order in exprs {
        let same = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => *expr == order.expr,
            _ => false,
        };
        let is_plain = matches!(
            order.expr,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_)
        );
        let position = select
            .projection
            .iter()
            .position(same)
            .filter(|_| !is_plain);
        if let Some(position) = position {
            let number = Value::Number((position + 1).to_string(), false);
            order.expr = Expr::Value(number.into());
        }
    }
}

/// Table functions of one column.
const SERIES: &[&str] = &["generate_series", "range"];

impl Aliases {
    fn alias_body(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.alias_list(&mut select.projection),
            SetExpr::SetOperation { left, right, .. } => {
                self.alias_body(left);
                self.alias_body(right);
            }
            // Visited as a query of its own.
            _ => {}
        }
    }

    fn alias_list(&self, items: &mut [SelectItem]) {
        let has_star = items.iter().any(is_star);
        if has_star && !self.beside_stars {
            return;
        }
        let mut taken = BTreeSet::new();
        for item in items.iter_mut().filter(|item| !is_star(item)) {
            let name = item_name(item);
            let mut alias = name.clone();
            let mut number = 0;
            if has_star {
                number = 1;
                alias = format!("{name}:1");
            }
            while !taken.insert(alias.clone()) {
                number += 1;
                alias = format!("{name}:{number}");
            }
            set_alias(item, &alias);
        }
    }
}

fn set_alias(item: &mut SelectItem, alias: &str) {
    let quoted = Ident::with_quote('"', alias);
    match item {
        SelectItem::ExprWithAlias { alias: old, .. } if identifier(old) == alias => {}
        SelectItem::ExprWithAlias { alias: old, .. } => *old = quoted,
        SelectItem::UnnamedExpr(expr) => {
            let is_plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            if is_plain && expression_name(expr) == alias {
                return;
            }
            let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
            *item = SelectItem::ExprWithAlias {
                expr,
                alias: quoted,
            };
        }
        _ => {}
    }
}

/// A name as SQL writes it: in quotes if it needs them.
#[must_use]
pub fn quoted_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(name);
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A text as SQL writes it.
#[must_use]
pub fn quoted_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn is_reserved(name: &str) -> bool {
    let upper = name.to_uppercase();
    let is = |keyword: &Keyword| {
        ALL_KEYWORDS
            .get(*keyword as usize - 1)
            .is_some_and(|word| *word == upper)
    };
    RESERVED_FOR_COLUMN_ALIAS.iter().any(is) || RESERVED_FOR_TABLE_ALIAS.iter().any(is)
}
