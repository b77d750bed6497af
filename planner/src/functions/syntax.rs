//! PostgreSQL's syntax for functions, in terms of calls: on the syntax tree, before names are
//! resolved.
//!
//! | written | becomes |
//! |---|---|
//! | `t AT TIME ZONE z` | `timezone(z, t)` |
//! | `INTERVAL '3 4:05' DAY TO MINUTE` | the same interval, in units that DataFusion reads |
//! | `a SIMILAR TO p ESCAPE e` | `pg_similar_to(a, p, e)` |
//! | `a LIKE p ESCAPE e` | `a LIKE pg_like_pattern(p, e)` |
//! | `x::varchar(3)`, `x::char(3)`, `x::timestamp(3)`, `x::numeric` | the cast, and a function that cuts, pads, rounds or keeps the scale |
//! | `x op ANY (array)`, `x op ALL (array)` | `pg_any('op', x, array)`, `pg_all('op', x, array)` |
//! | `a[2:]`, `a[:2]` | `a[2:2147483647]`, `a[1:2]` |
//! | `\|/ x`, `\|\|/ x`, `~ x` | `sqrt(x)`, `cbrt(x)`, `pg_bitwise_not(x)` |
//! | `(a, b) OVERLAPS (c, d)` | `overlaps(a, b, c, d)` |
//! | `(a, b) < (c, d)`, `(a, b) IN ((c, d))`, `(a, b) IN (SELECT …)` | comparisons of the parts (`row_syntax.rs`) |
//! | `ROW(a, b)` | `(a, b)`, and that `pg_row(a, b)` where it is not compared |
//! | `t.a[1]` | `a` of `t`, and its subscript |
//! | `(c).field` | `(c).'field'` |
//! | `MAP {}::map(k, v)` | `'{}'::map(k, v)` |
//! | `date 'today'`, `current_date`, `localtimestamp`, `age(t)` | calls of `now` |
//! | `FETCH FIRST n ROWS ONLY` | `LIMIT n` |
//! | `every(x)` | `bool_and(x)` |
//! | `generate_series(timestamp 'a', 'b', '1 day')` | the same with types of all three |
//! | `jsonb_agg(x)` | `to_jsonb(array_agg(x))` |
//! | `percentile_disc(f) WITHIN GROUP (ORDER BY x)` | a function of all values (`ordered_sets.rs`) |
//! | `trim(LEADING x FROM a)` | `ltrim(a, x)` |
//! | `make_interval(days => 3)` | `make_interval(0, 0, 0, 3, 0, 0, 0)` |
//! | `jsonb_each(x)` and other functions that return rows | `unnest` of functions that return arrays |

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, CharacterLength, DataType,
    DateTimeField, ExactNumberInfo, Expr, Fetch, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Interval, LimitClause, ObjectName,
    Query, SelectItem, SetExpr, Subscript, TableFactor, TimezoneInfo, TrimWhereField,
    UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::functions::ordered_sets::over_all_values;
use crate::functions::row_syntax::{row_in_list, row_in_subquery, rows_compared};
use crate::functions::rows::{ROW_FUNCTIONS, RowFunction};
use crate::names::identifier;
use crate::values::input::DIMENSIONS_MAX;
use crate::values::interval::{parse_interval, with_unit};

/// Rewrites a query or an expression in place.
pub(crate) fn rewrite<T: VisitMut>(node: &mut T) {
    let visited = node.visit(&mut Rewriter);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
    let visited = node.visit(&mut Rows);
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

/// Rows that are no part of a comparison are values.
struct Rows;

impl VisitorMut for Rows {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        ungroup_rows(&mut query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Tuple(values) = expr {
            *expr = call("pg_row", std::mem::take(values));
        }
        ControlFlow::Continue(())
    }
}

/// `GROUP BY (a, b)` as `GROUP BY a, b`.
fn ungroup_rows(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
                let parts = std::mem::take(groups)
                    .into_iter()
                    .flat_map(|group| match group {
                        Expr::Tuple(parts) => parts,
                        other => vec![other],
                    });
                *groups = parts.collect();
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            ungroup_rows(left);
            ungroup_rows(right);
        }
        _ => {}
    }
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_row_functions(&mut query.body);
        limit_by_fetch(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let taken = std::mem::replace(expr, Expr::value(Value::Null));
        *expr = rewritten(taken);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            args: Some(args),
            ..
        } = table
            && last_word(name).as_deref() == Some("generate_series")
        {
            type_series(&mut args.args);
        }
        unnest_rows(table);
        ControlFlow::Continue(())
    }
}

fn rewritten(expr: Expr) -> Expr {
    match expr {
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => call("timezone", vec![*time_zone, *timestamp]),
        Expr::Interval(interval) => plain_interval(interval),
        Expr::SimilarTo { .. } | Expr::Like { .. } | Expr::ILike { .. } => pattern_match(expr),
        Expr::Cast {
            kind,
            expr,
            data_type,
            array,
            format,
        } => fitted(kind, expr, data_type, array, format),
        Expr::TypedString(typed) => {
            let value = Box::new(Expr::Value(typed.value));
            fitted(CastKind::DoubleColon, value, typed.data_type, false, None)
        }
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } if !matches!(*right, Expr::Subquery(_)) => {
            quantified("pg_any", *left, &compare_op, *right)
        }
        Expr::AllOp {
            left,
            compare_op,
            right,
        } if !matches!(*right, Expr::Subquery(_)) => {
            quantified("pg_all", *left, &compare_op, *right)
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let (root, access_chain) = qualified(*root, access_chain);
            Expr::CompoundFieldAccess {
                root: Box::new(root),
                access_chain: access_chain.into_iter().map(closed).collect(),
            }
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } if matches!(*expr, Expr::Interval(_)) => call("pg_negate", vec![*expr]),
        Expr::Trim {
            trim_where,
            trim_what,
            expr,
            trim_characters,
        } => trimmed(trim_where, trim_what, expr, trim_characters),
        Expr::Value(value) => match value.value {
            Value::UnicodeStringLiteral(written) => text(written),
            other => Expr::value(other),
        },
        Expr::UnaryOp { op, expr } => match unary_function(&op) {
            Some(function) => call(function, vec![*expr]),
            None => Expr::UnaryOp { op, expr },
        },
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Overlaps,
            right,
        } => match (*left, *right) {
            (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == 2 && right.len() == 2 => {
                call("overlaps", left.into_iter().chain(right).collect())
            }
            (left, right) => binary(left, BinaryOperator::Overlaps, right),
        },
        Expr::BinaryOp { left, op, right } => match (*left, *right) {
            (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == right.len() => {
                rows_compared(left, op, right)
            }
            (left, right) => binary(left, op, right),
        },
        Expr::InList {
            expr,
            list,
            negated,
        } => match *expr {
            Expr::Tuple(row) => row_in_list(row, list, negated),
            other => Expr::InList {
                expr: Box::new(other),
                list,
                negated,
            },
        },
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => match *expr {
            Expr::Tuple(row) => row_in_subquery(row, subquery, negated),
            other => Expr::InSubquery {
                expr: Box::new(other),
                subquery,
                negated,
            },
        },
        Expr::Identifier(name) if name.quote_style.is_none() => {
            named_time(&name.value).unwrap_or(Expr::Identifier(name))
        }
        Expr::Function(function) => positional(function),
        other => other,
    }
}

/// The column that `t.a[1]` begins with, and what follows it.
fn qualified(root: Expr, mut chain: Vec<AccessExpr>) -> (Expr, Vec<AccessExpr>) {
    let mut name = match root {
        Expr::Identifier(first) => vec![first],
        other => return (other, chain),
    };
    let is_name = |access: &AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
    let names = chain.iter().take_while(|access| is_name(access)).count();
    for access in chain.drain(..names) {
        if let AccessExpr::Dot(Expr::Identifier(part)) = access {
            name.push(part);
        }
    }
    match name.len() {
        1 => (Expr::Identifier(name.remove(0)), chain),
        _ => (Expr::CompoundIdentifier(name), chain),
    }
}

/// `FETCH FIRST n ROWS ONLY` as `LIMIT n`.
fn limit_by_fetch(query: &mut Query) {
    let is_plain = |fetch: &Fetch| !fetch.with_ties && !fetch.percent;
    if !query.fetch.as_ref().is_some_and(is_plain) {
        return;
    }
    let quantity = query.fetch.take().and_then(|fetch| fetch.quantity);
    let offset = match query.limit_clause.take() {
        Some(LimitClause::LimitOffset { offset, .. }) => offset,
        _ => None,
    };
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(quantity.unwrap_or_else(|| number(1))),
        offset,
        limit_by: Vec::new(),
    });
}

/// Literals beside a first time are of its type; the step between times is an interval.
fn type_series(args: &mut [FunctionArg]) {
    let is_literal = |expr: &Expr| matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(first)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(last)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(step)),
    ] = args
    else {
        return;
    };
    let data_type = match first {
        Expr::Cast { data_type, .. } => Some(data_type.clone()),
        Expr::TypedString(typed) => Some(typed.data_type.clone()),
        _ => None,
    };
    if let Some(data_type) = data_type
        && is_literal(last)
    {
        let literal = Box::new(std::mem::replace(last, Expr::value(Value::Null)));
        *last = fitted(CastKind::DoubleColon, literal, data_type, false, None);
    }
    if is_literal(step) {
        let literal = Box::new(std::mem::replace(step, Expr::value(Value::Null)));
        *step = plain_interval(Interval {
            value: literal,
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        });
    }
}

fn pattern_match(expr: Expr) -> Expr {
    match expr {
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => {
            let mut args = vec![*expr, *pattern];
            args.extend(escape_char.map(Expr::Value));
            let similar = call("pg_similar_to", args);
            if negated { not(similar) } else { similar }
        }
        Expr::Like {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: Some(escape),
        } => Expr::Like {
            negated,
            any: false,
            expr,
            pattern: Box::new(call("pg_like_pattern", vec![*pattern, Expr::Value(escape)])),
            escape_char: None,
        },
        Expr::ILike {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: Some(escape),
        } => Expr::ILike {
            negated,
            any: false,
            expr,
            pattern: Box::new(call("pg_like_pattern", vec![*pattern, Expr::Value(escape)])),
            escape_char: None,
        },
        Expr::Like {
            negated: false,
            any: true,
            expr,
            pattern,
            ..
        } => call("pg_any", vec![text("~~"), *expr, *pattern]),
        Expr::ILike {
            negated: false,
            any: true,
            expr,
            pattern,
            ..
        } => call("pg_any", vec![text("~~*"), *expr, *pattern]),
        other => other,
    }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// `localtimestamp`, `localtime` and `current_date`, which look like columns.
fn named_time(name: &str) -> Option<Expr> {
    let data_type = match name.to_lowercase().as_str() {
        "localtimestamp" => DataType::Timestamp(None, TimezoneInfo::None),
        "localtime" => DataType::Time(None, TimezoneInfo::None),
        "current_date" => DataType::Date,
        _ => return None,
    };
    Some(now_as(data_type))
}

/// The current day.
fn today() -> Expr {
    now_as(DataType::Date)
}

fn now_as(data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(call("now", Vec::new())),
        data_type,
        array: false,
        format: None,
    }
}

pub(super) fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(expr),
    }
}

/// `trim(LEADING x FROM a)` as `ltrim(a, x)`.
fn trimmed(
    place: Option<TrimWhereField>,
    what: Option<Box<Expr>>,
    expr: Box<Expr>,
    characters: Option<Vec<Expr>>,
) -> Expr {
    let function = match place {
        None | Some(TrimWhereField::Both) => "btrim",
        Some(TrimWhereField::Leading) => "ltrim",
        Some(TrimWhereField::Trailing) => "rtrim",
    };
    let mut args = vec![*expr];
    args.extend(what.map(|what| *what));
    args.extend(characters.into_iter().flatten());
    call(function, args)
}

fn unary_function(op: &UnaryOperator) -> Option<&'static str> {
    match op {
        UnaryOperator::PGSquareRoot => Some("sqrt"),
        UnaryOperator::PGCubeRoot => Some("cbrt"),
        UnaryOperator::PGAbs => Some("abs"),
        UnaryOperator::BitwiseNot => Some("pg_bitwise_not"),
        _ => None,
    }
}

fn number(value: i64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

fn text(value: impl Into<String>) -> Expr {
    Expr::value(Value::SingleQuotedString(value.into()))
}

/// An interval in months, days and microseconds. One that cannot be read stays a text to be cast,
/// so that the cast says what is wrong.
fn plain_interval(interval: Interval) -> Expr {
    let Expr::Value(value) = &*interval.value else {
        return Expr::Interval(interval);
    };
    let (Value::SingleQuotedString(written) | Value::EscapedStringLiteral(written)) = &value.value
    else {
        return Expr::Interval(interval);
    };
    let name = |field: &Option<DateTimeField>| field.as_ref().map(ToString::to_string);
    let (leading, last) = (name(&interval.leading_field), name(&interval.last_field));
    let written = with_unit(written, leading.as_deref(), last.as_deref());
    match parse_interval(&written) {
        Ok((months, days, micros)) => Expr::Interval(Interval {
            value: Box::new(text(format!(
                "{months} months {days} days {micros} microseconds"
            ))),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }),
        Err(_) => Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(text(written)),
            data_type: DataType::Interval {
                fields: None,
                precision: None,
            },
            array: false,
            format: None,
        },
    }
}

/// Whether it is `MAP {}`, whose type is that of the cast around it.
fn is_empty_map(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else {
        return false;
    };
    let is_empty = matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty());
    is_empty && last_word(&function.name).as_deref() == Some("pg_map")
}

/// A cast, and what the modifier of its type asks for.
fn fitted(
    kind: CastKind,
    expr: Box<Expr>,
    data_type: DataType,
    array: bool,
    format: Option<sqlparser::ast::CastFormat>,
) -> Expr {
    if is_empty_map(&expr) {
        return Expr::Cast {
            kind,
            expr: Box::new(text("{}")),
            data_type,
            array,
            format,
        };
    }
    if let Some(moment) = moment(&expr, &data_type) {
        return Expr::Cast {
            kind,
            expr: Box::new(moment),
            data_type,
            array,
            format,
        };
    }
    let modifier = modifier(&data_type);
    let data_type = with_dimensions(&expr, data_type);
    let expr = match (&data_type, *expr) {
        (
            DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None),
            expr,
        ) if !array => {
            return call("pg_numeric", vec![expr]);
        }
        (DataType::Interval { .. }, Expr::Value(value)) => {
            // As INTERVAL 'text', whose value is known at once.
            return match value.value {
                Value::SingleQuotedString(_) => plain_interval(Interval {
                    value: Box::new(Expr::Value(value)),
                    leading_field: None,
                    leading_precision: None,
                    last_field: None,
                    fractional_seconds_precision: None,
                }),
                other => Expr::Cast {
                    kind,
                    expr: Box::new(Expr::value(other)),
                    data_type,
                    array,
                    format,
                },
            };
        }
        (_, expr) => expr,
    };
    let cast = Expr::Cast {
        kind,
        expr: Box::new(expr),
        data_type,
        array,
        format,
    };
    match modifier {
        Some((function, length)) if !array => call(
            function,
            vec![cast, number(i64::try_from(length).unwrap_or(i64::MAX))],
        ),
        _ => cast,
    }
}

/// What `'now'`, `'today'` and the like mean as a date or time.
fn moment(expr: &Expr, data_type: &DataType) -> Option<Expr> {
    let (Expr::Value(value), DataType::Date | DataType::Timestamp(..) | DataType::Time(..)) =
        (expr, data_type)
    else {
        return None;
    };
    let Value::SingleQuotedString(word) = &value.value else {
        return None;
    };
    let beside = |op: BinaryOperator| Expr::BinaryOp {
        left: Box::new(today()),
        op,
        right: Box::new(number(1)),
    };
    match word.trim().to_lowercase().as_str() {
        "now" => Some(call("now", Vec::new())),
        "today" => Some(today()),
        "tomorrow" => Some(beside(BinaryOperator::Plus)),
        "yesterday" => Some(beside(BinaryOperator::Minus)),
        _ => None,
    }
}

/// The type of an array's text, with as many dimensions as the text has.
fn with_dimensions(expr: &Expr, data_type: DataType) -> DataType {
    let (Expr::Value(value), DataType::Array(_)) = (expr, &data_type) else {
        return data_type;
    };
    let Value::SingleQuotedString(text) = &value.value else {
        return data_type;
    };
    let written = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .take_while(|c| *c == '{')
        .count();
    let mut nested = data_type;
    for _ in 1..written.min(DIMENSIONS_MAX) {
        nested = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(nested), None));
    }
    nested
}

fn modifier(data_type: &DataType) -> Option<(&'static str, u64)> {
    let characters = |length: &Option<CharacterLength>| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        _ => None,
    };
    match data_type {
        DataType::Varchar(length) | DataType::CharacterVarying(length) => {
            Some(("pg_varchar", characters(length)?))
        }
        DataType::Char(length) | DataType::Character(length) => {
            Some(("pg_char", characters(length).unwrap_or(1)))
        }
        DataType::Timestamp(Some(digits), _) | DataType::Time(Some(digits), TimezoneInfo::None) => {
            Some(("pg_timestamp_precision", *digits))
        }
        _ => None,
    }
}

fn quantified(function: &str, left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    call(function, vec![text(op.to_string()), left, right])
}

/// A slice with both bounds; a field by its name as a text.
fn closed(access: AccessExpr) -> AccessExpr {
    match access {
        AccessExpr::Subscript(Subscript::Slice {
            lower_bound,
            upper_bound,
            stride,
        }) => AccessExpr::Subscript(Subscript::Slice {
            lower_bound: Some(lower_bound.unwrap_or_else(|| number(1))),
            upper_bound: Some(upper_bound.unwrap_or_else(|| number(i32::MAX.into()))),
            stride,
        }),
        AccessExpr::Dot(Expr::Identifier(field)) => AccessExpr::Dot(text(identifier(&field))),
        other => other,
    }
}

/// Names of the parameters of `make_interval`, the one function that is called with them.
const INTERVAL_PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

fn positional(mut function: Function) -> Expr {
    let aggregate = json_aggregate(&function).or_else(|| over_all_values(&function));
    if let Some(aggregate) = aggregate {
        return aggregate;
    }
    let name = last_word(&function.name).unwrap_or_default();
    if let Some(time) = named_time(&name) {
        return time;
    }
    if matches!(
        name.as_str(),
        "transaction_timestamp" | "statement_timestamp"
    ) {
        return call("now", Vec::new());
    }
    if name == "row"
        && let FunctionArguments::List(list) = &function.args
        && let Some(values) = values_of(&list.args)
    {
        return Expr::Tuple(values);
    }
    if name == "every" {
        function.name = ObjectName::from(vec![Ident::new("bool_and")]);
    }
    let is_make_interval = name == "make_interval";
    let FunctionArguments::List(list) = &mut function.args else {
        return Expr::Function(function);
    };
    if name == "generate_series" {
        type_series(&mut list.args);
    }
    if name == "age" && list.args.len() == 1 {
        // Counted from midnight of the current day.
        list.args.insert(0, unnamed(today()));
    }
    let named = list.args.iter().any(|arg| {
        matches!(
            arg,
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. }
        )
    });
    if is_make_interval && named {
        let mut parts: Vec<Expr> = INTERVAL_PARTS.iter().map(|_| number(0)).collect();
        for (at, arg) in std::mem::take(&mut list.args).into_iter().enumerate() {
            let (at, value) = match arg {
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(value),
                    ..
                }
                | FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => {
                    let part = INTERVAL_PARTS.iter().position(|part| *part == name.value);
                    (part.unwrap_or(parts.len()), value)
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (at, value),
                _ => continue,
            };
            // A name that is none makes one argument too many, which no overload takes.
            match parts.get_mut(at) {
                Some(part) => *part = value,
                None => parts.push(value),
            }
        }
        list.args = parts.into_iter().map(unnamed).collect();
    }
    Expr::Function(function)
}

/// `jsonb_agg(x)` and `jsonb_object_agg(k, v)`: functions of arrays, which DataFusion aggregates.
fn json_aggregate(function: &Function) -> Option<Expr> {
    let maker = match last_word(&function.name)?.as_str() {
        "jsonb_agg" => "to_jsonb",
        "jsonb_object_agg" => "pg_json_object",
        _ => return None,
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let array_of = |arg: &FunctionArg| {
        let mut array = function.clone();
        array.name = ObjectName::from(vec![Ident::new("array_agg")]);
        array.args = FunctionArguments::List(FunctionArgumentList {
            args: vec![arg.clone()],
            ..list.clone()
        });
        Expr::Function(array)
    };
    Some(call(maker, list.args.iter().map(array_of).collect()))
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

pub(super) fn last_word(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.to_lowercase())
}

/// A call of a function by its name.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(unnamed).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn row_function(name: &ObjectName) -> Option<&'static RowFunction> {
    let name = last_word(name)?;
    ROW_FUNCTIONS.iter().find(|function| function.name == name)
}

pub(super) fn values_of(args: &[FunctionArg]) -> Option<Vec<Expr>> {
    let values = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    values.collect()
}

/// `FROM f(x)` as `FROM unnest(arrays of f's columns)`.
fn unnest_rows(table: &mut TableFactor) {
    let (name, args, alias, with_ordinality) = match table {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } => (&*name, &args.args, alias, *with_ordinality),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => (&*name, &*args, alias, *with_ordinality),
        _ => return,
    };
    let (Some(function), Some(args)) = (row_function(name), values_of(args)) else {
        return;
    };
    if function.arrays == [function.name] {
        // A table function of DataFusion's.
        return;
    }
    let arrays = function
        .arrays
        .iter()
        .map(|array| call(array, args.clone()));
    let array_exprs: Vec<Expr> = arrays.collect();
    let alias = Some(function.alias(alias.take()));
    *table = TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    };
}

/// `SELECT f(x)` as `SELECT unnest(array of f) AS f`, for functions of one column.
fn name_row_functions(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => select.projection.iter_mut().for_each(unnest_item),
        SetExpr::SetOperation { left, right, .. } => {
            name_row_functions(left);
            name_row_functions(right);
        }
        _ => {}
    }
}

fn unnest_item(item: &mut SelectItem) {
    let expr = match item {
        SelectItem::UnnamedExpr(expr) => expr,
        SelectItem::ExprWithAlias { expr, .. } => expr,
        _ => return,
    };
    let Expr::Function(function) = expr else {
        return;
    };
    let (Some(rows), FunctionArguments::List(list)) =
        (row_function(&function.name), &function.args)
    else {
        return;
    };
    let ([array], Some(args)) = (rows.arrays, values_of(&list.args)) else {
        return;
    };
    let unnested = call("unnest", vec![call(array, args)]);
    match item {
        SelectItem::ExprWithAlias { expr, .. } => *expr = unnested,
        _ => {
            *item = SelectItem::ExprWithAlias {
                expr: unnested,
                alias: Ident::new(rows.name),
            }
        }
    }
}
