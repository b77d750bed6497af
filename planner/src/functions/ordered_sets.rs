//! Ordered-set aggregates: `percentile_disc`, `percentile_cont` and `mode`, of any type that has an order, and of
//! arrays of fractions.
//!
//! ```text
//!   percentile_disc(f) WITHIN GROUP (ORDER BY x DESC) FILTER (WHERE p)
//!     ──►  pg_percentile_disc(f, array_agg(x) FILTER (WHERE x IS NOT NULL AND p), true)
//! ```
//!
//! The functions sort by PostgreSQL's order of values, so the array need not be in any.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::ReturnFieldArgs;
use sqlparser::ast;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    Value,
};

use crate::functions::datum::Datum;
use crate::functions::function::{Function, Param, Returns, array_of, function};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Bool, Float8};

use Param::{AnyArray, Of};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let fractions = || Of(array_of(Float8));
    vec![
        function("pg_percentile_disc")
            .on(
                [Of(Float8), AnyArray, Of(Bool)],
                Returns::By(element_type),
                |_, a| {
                    let values = sorted(a[1].elements(), a[2].bool());
                    discrete(&values, a[0].float())
                },
            )
            .on(
                [fractions(), AnyArray, Of(Bool)],
                Returns::By(elements_type),
                |_, a| {
                    let values = sorted(a[1].elements(), a[2].bool());
                    for_each(a[0].elements(), |fraction| discrete(&values, fraction))
                },
            ),
        function("pg_percentile_cont")
            .on(
                [Of(Float8), Of(array_of(Float8)), Of(Bool)],
                Float8,
                |_, a| {
                    let values = sorted(a[1].elements(), a[2].bool());
                    continuous(&values, a[0].float())
                },
            )
            .on(
                [fractions(), Of(array_of(Float8)), Of(Bool)],
                array_of(Float8),
                |_, a| {
                    let values = sorted(a[1].elements(), a[2].bool());
                    for_each(a[0].elements(), |fraction| continuous(&values, fraction))
                },
            ),
        function("pg_mode").on(
            [AnyArray, Of(Bool)],
            Returns::By(first_element_type),
            |_, a| Ok(most_frequent(&sorted(a[0].elements(), a[1].bool()))),
        ),
    ]
}

/// A call of an ordered-set aggregate as a function of all values; `None` if it is no such call.
pub(super) fn over_all_values(call: &ast::Function) -> Option<Expr> {
    let maker = match super::syntax::last_word(&call.name)?.as_str() {
        "percentile_disc" => "pg_percentile_disc",
        "percentile_cont" => "pg_percentile_cont",
        "mode" => "pg_mode",
        _ => return None,
    };
    let ([order], FunctionArguments::List(list), None) =
        (call.within_group.as_slice(), &call.args, &call.over)
    else {
        return None;
    };
    let mut args = super::syntax::values_of(&list.args)?;
    let is_there = Expr::IsNotNull(Box::new(order.expr.clone()));
    let filter = match &call.filter {
        Some(filter) => super::syntax::binary(
            is_there,
            ast::BinaryOperator::And,
            Expr::Nested(filter.clone()),
        ),
        None => is_there,
    };
    args.push(Expr::Function(ast::Function {
        name: ObjectName::from(vec![Ident::new("array_agg")]),
        args: FunctionArguments::List(FunctionArgumentList {
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(
                order.expr.clone(),
            ))],
            ..list.clone()
        }),
        filter: Some(Box::new(filter)),
        within_group: Vec::new(),
        ..call.clone()
    }));
    let descends = order.options.asc == Some(false);
    args.push(Expr::value(Value::Boolean(descends)));
    Some(super::syntax::call(maker, args))
}

fn sorted<'a>(values: &[Datum<'a>], descends: bool) -> Vec<Datum<'a>> {
    let mut values = values.to_vec();
    values.sort_by(|a, b| match descends {
        true => b.order(a),
        false => a.order(b),
    });
    values
}

fn for_each<'a>(
    fractions: &[Datum<'_>],
    percentile: impl Fn(f64) -> Result<Datum<'a>>,
) -> Result<Datum<'a>> {
    let values = fractions.iter().map(|fraction| match fraction {
        Datum::Null => Ok(Datum::Null),
        fraction => percentile(fraction.float()),
    });
    Ok(Datum::Array(values.collect::<Result<_>>()?))
}

/// The first value with at least this share of all values up to it.
fn discrete<'a>(values: &[Datum<'a>], fraction: f64) -> Result<Datum<'a>> {
    check(fraction)?;
    let place = (fraction * values.len() as f64).ceil() as usize;
    let found = values.get(place.saturating_sub(1));
    Ok(found.cloned().unwrap_or(Datum::Null))
}

/// What lies at this share of the way from the first to the last value.
fn continuous<'a>(values: &[Datum<'a>], fraction: f64) -> Result<Datum<'a>> {
    check(fraction)?;
    let Some(last) = values.len().checked_sub(1) else {
        return Ok(Datum::Null);
    };
    let place = fraction * last as f64;
    let (below, above) = (place.floor(), place.ceil());
    let (low, high) = (
        values[below as usize].float(),
        values[above as usize].float(),
    );
    let between = match below == above {
        true => low,
        false => low + (high - low) * (place - below),
    };
    Ok(Datum::Float(between))
}

fn check(fraction: f64) -> Result<()> {
    match (0.0..=1.0).contains(&fraction) {
        true => Ok(()),
        false => Err(ValueError::refused(
            Fault::OutOfRange,
            format!(
                "percentile value {} is not between 0 and 1",
                shown(fraction)
            ),
        )),
    }
}

fn shown(fraction: f64) -> String {
    let mut text = String::new();
    crate::values::numeric::write_float8(fraction, &mut text);
    text
}

/// The most frequent value; of several, the first.
fn most_frequent<'a>(values: &[Datum<'a>]) -> Datum<'a> {
    let runs = values.chunk_by(|a, b| a.order(b) == Ordering::Equal);
    let longest = runs.reduce(|best, run| if run.len() > best.len() { run } else { best });
    longest.map_or(Datum::Null, |run| run[0].clone())
}

fn first_element_type(args: &ReturnFieldArgs<'_>) -> DataType {
    element_of(args.arg_fields[0].data_type())
}

fn element_type(args: &ReturnFieldArgs<'_>) -> DataType {
    element_of(args.arg_fields[1].data_type())
}

fn element_of(array: &DataType) -> DataType {
    match array {
        DataType::List(item) => item.data_type().clone(),
        _ => DataType::Utf8,
    }
}

fn elements_type(args: &ReturnFieldArgs<'_>) -> DataType {
    DataType::List(std::sync::Arc::new(Field::new(
        "item",
        element_type(args),
        true,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Vec<Datum<'static>> {
        values.iter().copied().map(Datum::Float).collect()
    }

    fn float(found: Result<Datum<'_>>) -> f64 {
        found.unwrap().float()
    }

    #[test]
    fn a_discrete_percentile_is_one_of_the_values() {
        let values = floats(&[1.0, 2.0, 3.0, 4.0]);
        let expected = [(0.0, 1.0), (0.25, 1.0), (0.26, 2.0), (0.5, 2.0), (1.0, 4.0)];
        for (fraction, value) in expected {
            assert_eq!(float(discrete(&values, fraction)), value, "{fraction}");
        }
        assert!(discrete(&[], 0.5).unwrap().is_null());
    }

    #[test]
    fn a_continuous_percentile_lies_between_values() {
        let values = floats(&[1.0, 2.0, 4.0]);
        for (fraction, value) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(float(continuous(&values, fraction)), value, "{fraction}");
        }
        assert!(continuous(&values, 1.5).is_err());
        assert!(continuous(&values, f64::NAN).is_err());
    }

    #[test]
    fn of_equally_frequent_values_the_first_is_the_mode() {
        let mode = |values: &[f64]| most_frequent(&floats(values)).float();
        assert_eq!(mode(&[1.0, 2.0, 2.0, 3.0, 3.0]), 2.0);
        assert_eq!(mode(&[3.0, 3.0, 2.0, 2.0, 1.0]), 3.0);
        assert!(most_frequent(&[]).is_null());
    }
}
