//! Arrays: subscripts, slices, comparisons with all elements, and functions of elements.
//!
//! Arrays start at 1; other lower bounds, which PostgreSQL has, are not kept.

use std::cmp::Ordering;

use crate::functions::datum::Datum;
use crate::functions::function::{Call, Function, Param, Returns, array_of, function};
use crate::functions::patterns;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Bool, Int4, Text};

use Param::{AnyArray, AnyElement, Of};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("pg_subscript").on(
            [AnyArray, Of(Int4)],
            Returns::By(|args| element_of(args.arg_fields[0].data_type())),
            |_, a| {
                Ok(at(a[0].elements(), a[1].int())
                    .cloned()
                    .unwrap_or(Datum::Null))
            },
        ),
        function("pg_slice").on(
            [AnyArray, Of(Int4), Of(Int4)],
            Returns::SameAs(0),
            |_, a| {
                let first = usize::try_from(a[1].int().max(1) - 1).unwrap_or(0);
                let count = usize::try_from(a[2].int())
                    .unwrap_or(0)
                    .saturating_sub(first);
                Ok(Datum::Array(
                    a[0].elements()
                        .iter()
                        .skip(first)
                        .take(count)
                        .cloned()
                        .collect(),
                ))
            },
        ),
        function("pg_any")
            .on([Of(Text), AnyElement, AnyArray], Bool, |_, a| {
                quantified(a, true)
            })
            .sees_nulls(),
        function("pg_all")
            .on([Of(Text), AnyElement, AnyArray], Bool, |_, a| {
                quantified(a, false)
            })
            .sees_nulls(),
        function("pg_array_overlap").on([AnyArray, AnyArray], Bool, |_, a| {
            let (left, right) = (flat(&a[0]), flat(&a[1]));
            Ok(Datum::Bool(left.iter().any(|item| holds(&right, item))))
        }),
        function("pg_array_contains").on([AnyArray, AnyArray], Bool, |_, a| {
            let (left, right) = (flat(&a[0]), flat(&a[1]));
            Ok(Datum::Bool(right.iter().all(|item| holds(&left, item))))
        }),
        function("array_append")
            .on([AnyArray, AnyElement], Returns::SameAs(0), |_, a| {
                let mut elements = or_empty(&a[0]);
                elements.push(a[1].clone());
                Ok(Datum::Array(elements))
            })
            .sees_nulls(),
        function("array_prepend")
            .on([AnyElement, AnyArray], Returns::SameAs(1), |_, a| {
                let mut elements = or_empty(&a[1]);
                elements.insert(0, a[0].clone());
                Ok(Datum::Array(elements))
            })
            .sees_nulls(),
        function("array_cat")
            .on(
                [AnyArray, AnyArray],
                Returns::By(|args| {
                    deeper(
                        args.arg_fields[0].data_type(),
                        args.arg_fields[1].data_type(),
                    )
                }),
                |_, a| Ok(concatenated(a)),
            )
            .sees_nulls(),
        function("array_length").on([AnyArray, Of(Int4)], Int4, |_, a| {
            Ok(length(&a[0], a[1].int()))
        }),
        function("array_upper").on([AnyArray, Of(Int4)], Int4, |_, a| {
            Ok(length(&a[0], a[1].int()))
        }),
        function("array_lower").on([AnyArray, Of(Int4)], Int4, |_, a| {
            Ok(match length(&a[0], a[1].int()) {
                Datum::Int(_) => Datum::Int(1),
                _ => Datum::Null,
            })
        }),
        function("array_ndims").on([AnyArray], Int4, |_, a| {
            let lengths = lengths(&a[0]);
            Ok(if lengths.is_empty() {
                Datum::Null
            } else {
                size(lengths.len())
            })
        }),
        function("array_dims").on([AnyArray], Text, |_, a| {
            let shown: String = lengths(&a[0])
                .iter()
                .map(|length| format!("[1:{length}]"))
                .collect();
            Ok(if shown.is_empty() {
                Datum::Null
            } else {
                Datum::text(shown)
            })
        }),
        function("cardinality").on([AnyArray], Int4, |_, a| Ok(size(flat(&a[0]).len()))),
        function("array_position")
            .on([AnyArray, AnyElement, Of(Int4)], Int4, |_, a| {
                if a[0].is_null() || a.get(2).is_some_and(Datum::is_null) {
                    return Ok(Datum::Null);
                }
                let start = usize::try_from(a.get(2).map_or(1, Datum::int).max(1) - 1).unwrap_or(0);
                let mut elements = a[0].elements().iter().enumerate().skip(start);
                let found = elements.find(|(_, item)| item.order(&a[1]).is_eq());
                Ok(found.map_or(Datum::Null, |(at, _)| size(at + 1)))
            })
            .optional(1)
            .sees_nulls(),
        function("array_positions")
            .on([AnyArray, AnyElement], array_of(Int4), |_, a| {
                if a[0].is_null() {
                    return Ok(Datum::Null);
                }
                let elements = a[0].elements().iter().enumerate();
                let found = elements.filter(|(_, item)| item.order(&a[1]).is_eq());
                Ok(Datum::Array(found.map(|(at, _)| size(at + 1)).collect()))
            })
            .sees_nulls(),
        function("array_remove")
            .on([AnyArray, AnyElement], Returns::SameAs(0), |_, a| {
                if a[0].is_null() {
                    return Ok(Datum::Null);
                }
                let kept = a[0]
                    .elements()
                    .iter()
                    .filter(|item| item.order(&a[1]).is_ne());
                Ok(Datum::Array(kept.cloned().collect()))
            })
            .sees_nulls(),
        function("array_replace")
            .on(
                [AnyArray, AnyElement, AnyElement],
                Returns::SameAs(0),
                |_, a| {
                    if a[0].is_null() {
                        return Ok(Datum::Null);
                    }
                    let replaced = a[0].elements().iter().map(|item| {
                        if item.order(&a[1]).is_eq() {
                            a[2].clone()
                        } else {
                            item.clone()
                        }
                    });
                    Ok(Datum::Array(replaced.collect()))
                },
            )
            .sees_nulls(),
        function("array_fill")
            .on(
                [Param::Any, Of(array_of(Int4))],
                Returns::ArrayOf(0),
                |_, a| fill(a),
            )
            .sees_nulls(),
        function("trim_array").on([AnyArray, Of(Int4)], Returns::SameAs(0), |_, a| {
            let elements = a[0].elements();
            let dropped = usize::try_from(a[1].int())
                .ok()
                .filter(|n| *n <= elements.len());
            let dropped = dropped.ok_or_else(|| {
                let message = format!(
                    "number of elements to trim must be between 0 and {}",
                    elements.len()
                );
                ValueError::refused(Fault::Array, message)
            })?;
            Ok(Datum::Array(elements[..elements.len() - dropped].to_vec()))
        }),
        function("array_to_string")
            .on([AnyArray, Of(Text), Of(Text)], Text, |call, a| {
                Ok(joined(call, a))
            })
            .optional(1)
            .sees_nulls(),
        function("pg_subscripts").on([AnyArray, Of(Int4)], array_of(Int4), |_, a| {
            Ok(match length(&a[0], a[1].int()) {
                Datum::Int(length) => Datum::Array((1..=length).map(Datum::Int).collect()),
                _ => Datum::Array(Vec::new()),
            })
        }),
    ]
}

fn size<'a>(count: usize) -> Datum<'a> {
    Datum::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn element_of(array: &arrow::datatypes::DataType) -> arrow::datatypes::DataType {
    use arrow::datatypes::DataType as T;
    match array {
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => item.data_type().clone(),
        _ => T::Utf8,
    }
}

fn depth(data_type: &arrow::datatypes::DataType) -> usize {
    use arrow::datatypes::DataType as T;
    match data_type {
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            1 + depth(item.data_type())
        }
        _ => 0,
    }
}

fn deeper(
    a: &arrow::datatypes::DataType,
    b: &arrow::datatypes::DataType,
) -> arrow::datatypes::DataType {
    if depth(b) > depth(a) {
        b.clone()
    } else {
        a.clone()
    }
}

fn at<'b, 'a>(elements: &'b [Datum<'a>], position: i64) -> Option<&'b Datum<'a>> {
    elements.get(usize::try_from(position).ok()?.checked_sub(1)?)
}

fn or_empty<'a>(array: &Datum<'a>) -> Vec<Datum<'a>> {
    match array {
        Datum::Array(elements) => elements.clone(),
        _ => Vec::new(),
    }
}

/// The elements of all dimensions.
fn flat<'b, 'a>(array: &'b Datum<'a>) -> Vec<&'b Datum<'a>> {
    array
        .elements()
        .iter()
        .flat_map(|item| match item {
            Datum::Array(_) => flat(item),
            item => vec![item],
        })
        .collect()
}

/// Whether an element that is not NULL is among others.
fn holds(elements: &[&Datum<'_>], item: &Datum<'_>) -> bool {
    !item.is_null() && elements.iter().any(|other| other.order(item).is_eq())
}

/// The length of each dimension.
fn lengths(array: &Datum<'_>) -> Vec<usize> {
    match array {
        Datum::Array(elements) if !elements.is_empty() => {
            let mut all = vec![elements.len()];
            all.extend(elements.first().map(lengths).unwrap_or_default());
            all
        }
        _ => Vec::new(),
    }
}

fn length<'a>(array: &Datum<'_>, dimension: i64) -> Datum<'a> {
    let at = usize::try_from(dimension)
        .ok()
        .and_then(|at| at.checked_sub(1));
    let length = at.and_then(|at| lengths(array).get(at).copied());
    length.map_or(Datum::Null, size)
}

/// One array behind another; an array of fewer dimensions is one element of the other.
fn concatenated<'a>(args: &[Datum<'a>]) -> Datum<'a> {
    let (left, right) = match (&args[0], &args[1]) {
        (Datum::Null, other) | (other, Datum::Null) => return other.clone(),
        (left, right) => (left, right),
    };
    let (dimensions, others) = (lengths(left).len(), lengths(right).len());
    let part = |array: &Datum<'a>, own: usize, other: usize| {
        if own > 0 && own < other {
            vec![array.clone()]
        } else {
            array.elements().to_vec()
        }
    };
    let mut elements = part(left, dimensions, others);
    elements.extend(part(right, others, dimensions));
    Datum::Array(elements)
}

fn fill<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    if args[1].is_null() {
        let message = "dimension array or low bound array cannot be null";
        return Err(ValueError::refused(Fault::Null, message));
    }
    let [length] = args[1].elements() else {
        let message = "array_fill of more than one dimension is not supported";
        return Err(ValueError::refused(Fault::Unsupported, message));
    };
    const LENGTH_MAX: i64 = 1 << 27;
    if !(0..=LENGTH_MAX).contains(&length.int()) {
        return Err(ValueError::refused(
            Fault::Limit,
            "array size exceeds the maximum allowed",
        ));
    }
    Ok(Datum::Array(
        (0..length.int()).map(|_| args[0].clone()).collect(),
    ))
}

fn joined<'a>(call: &Call, args: &[Datum<'a>]) -> Datum<'a> {
    if args[0].is_null() || args[1].is_null() {
        return Datum::Null;
    }
    let null = args.get(2).and_then(|null| null.shown(call.zone));
    let elements = flat(&args[0]);
    let shown = elements
        .iter()
        .filter_map(|item| item.shown(call.zone).or_else(|| null.clone()));
    Datum::text(shown.collect::<Vec<_>>().join(args[1].str()))
}

/// `x op ANY (array)`, `x op ALL (array)`: NULL if an element that is NULL could decide.
fn quantified<'a>(args: &[Datum<'a>], any: bool) -> Result<Datum<'a>> {
    if args[2].is_null() {
        return Ok(Datum::Null);
    }
    let mut unknown = false;
    for item in flat(&args[2]) {
        match compared(args[0].str(), &args[1], item)? {
            None => unknown = true,
            Some(holds) if holds == any => return Ok(Datum::Bool(any)),
            Some(_) => {}
        }
    }
    Ok(if unknown {
        Datum::Null
    } else {
        Datum::Bool(!any)
    })
}

fn compared(op: &str, left: &Datum<'_>, right: &Datum<'_>) -> Result<Option<bool>> {
    if left.is_null() || right.is_null() {
        return Ok(None);
    }
    let order = |wanted: fn(Ordering) -> bool| Ok(Some(wanted(left.order(right))));
    match op {
        "=" => order(Ordering::is_eq),
        "<>" | "!=" => order(Ordering::is_ne),
        "<" => order(Ordering::is_lt),
        "<=" => order(Ordering::is_le),
        ">" => order(Ordering::is_gt),
        ">=" => order(Ordering::is_ge),
        "~" | "~*" | "!~" | "!~*" => {
            let flags = if op.ends_with('*') { "i" } else { "" };
            let found = patterns::matches(left.str(), right.str(), flags)?;
            Ok(Some(found != op.starts_with('!')))
        }
        "~~" | "~~*" | "!~~" | "!~~*" => {
            let found = patterns::is_like(left.str(), right.str(), op.ends_with('*'))?;
            Ok(Some(found != op.starts_with('!')))
        }
        other => {
            let message = format!("operator {other} with ANY or ALL is not supported");
            Err(ValueError::refused(Fault::Unsupported, message))
        }
    }
}
