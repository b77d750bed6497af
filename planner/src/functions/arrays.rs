//! Arrays: subscripts, slices, comparisons with all elements, and functions of elements.
//!
//! Arrays start at 1; other lower bounds, which PostgreSQL has, are not kept.

use std::cmp::Ordering;

use arrow::datatypes::DataType;
use datafusion::logical_expr::ReturnFieldArgs;

use crate::functions::datum::Datum;
use crate::functions::function::{Call, Function, Param, Returns, array_of, function};
use crate::functions::patterns;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Bool, Int4, Int8, Text};

use Param::{AnyArray, AnyElement, Of};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    let mut functions = operators();
    functions.extend(shapes());
    functions.extend(changes());
    functions
}

/// What operators and subscripts become.
fn operators() -> Vec<Function> {
    let text = || Of(Text);
    vec![
        function("pg_subscript")
            .on([AnyArray, Of(Int4)], Returns::By(element_type), subscript)
            .on([AnyArray, Of(Int8)], Returns::By(element_type), subscript),
        function("pg_collected")
            .on([AnyArray], Returns::SameAs(0), |_, a| {
                Ok(match &a[0] {
                    Datum::Null => Datum::Array(Vec::new()),
                    array => array.clone(),
                })
            })
            .sees_nulls(),
        function("pg_slice").on(
            [AnyArray, Of(Int4), Of(Int4)],
            Returns::SameAs(0),
            |_, a| Ok(slice(a)),
        ),
        function("pg_any")
            .on([text(), AnyElement, AnyArray], Bool, |_, a| {
                quantified(a, true)
            })
            .sees_nulls(),
        function("pg_all")
            .on([text(), AnyElement, AnyArray], Bool, |_, a| {
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
    ]
}

/// How long arrays are, and where something is in them.
fn shapes() -> Vec<Function> {
    let length_of = |name| function(name).on([AnyArray, Of(Int4)], Int4, |_, a| Ok(length(a)));
    vec![
        length_of("array_length"),
        length_of("array_upper"),
        function("array_lower").on([AnyArray, Of(Int4)], Int4, |_, a| {
            Ok(if length(a).is_null() {
                Datum::Null
            } else {
                Datum::Int(1)
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
            let lengths = lengths(&a[0]);
            let shown: String = lengths
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
                Ok(position(a))
            })
            .optional(1)
            .sees_nulls(),
        function("array_positions")
            .on([AnyArray, AnyElement], array_of(Int4), |_, a| {
                Ok(positions(a))
            })
            .sees_nulls(),
        function("pg_copies").on([Int8], array_of(Bool), |_, a| {
            let copies = usize::try_from(a[0].int()).unwrap_or(0);
            Ok(Datum::Array(vec![Datum::Bool(true); copies]))
        }),
        function("pg_subscripts").on([AnyArray, Of(Int4)], array_of(Int4), |_, a| {
            let last = match length(a) {
                Datum::Int(length) => length,
                _ => 0,
            };
            Ok(Datum::Array((1..=last).map(Datum::Int).collect()))
        }),
    ]
}

/// Arrays made of others.
fn changes() -> Vec<Function> {
    vec![
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
            .on([AnyArray, AnyArray], Returns::By(deeper_type), |_, a| {
                Ok(concatenated(a))
            })
            .sees_nulls(),
        function("array_remove")
            .on([AnyArray, AnyElement], Returns::SameAs(0), |_, a| {
                let kept = |item: &Datum<'_>| item.order(&a[1]).is_ne();
                Ok(filtered(&a[0], |item| kept(item).then(|| item.clone())))
            })
            .sees_nulls(),
        function("array_replace")
            .on(
                [AnyArray, AnyElement, AnyElement],
                Returns::SameAs(0),
                |_, a| {
                    let same = |item: &Datum<'_>| item.order(&a[1]).is_eq();
                    Ok(filtered(&a[0], |item| {
                        Some(if same(item) {
                            a[2].clone()
                        } else {
                            item.clone()
                        })
                    }))
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
        function("trim_array").on([AnyArray, Of(Int4)], Returns::SameAs(0), |_, a| trimmed(a)),
        function("array_to_string")
            .on([AnyArray, Of(Text), Of(Text)], Text, |call, a| {
                Ok(joined(call, a))
            })
            .optional(1)
            .sees_nulls(),
    ]
}

fn subscript<'a>(_: &Call, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let found = at(args[0].elements(), args[1].int());
    Ok(found.cloned().unwrap_or(Datum::Null))
}

fn slice<'a>(args: &[Datum<'a>]) -> Datum<'a> {
    let first = usize::try_from(args[1].int().max(1) - 1).unwrap_or(0);
    let last = usize::try_from(args[2].int()).unwrap_or(0);
    let elements = args[0].elements().iter().take(last).skip(first);
    Datum::Array(elements.cloned().collect())
}

fn position<'a>(args: &[Datum<'a>]) -> Datum<'a> {
    if args[0].is_null() || args.get(2).is_some_and(Datum::is_null) {
        return Datum::Null;
    }
    let start = args.get(2).map_or(1, Datum::int).max(1) - 1;
    let mut elements = args[0].elements().iter().enumerate();
    let found = elements.find(|(at, item)| *at as i64 >= start && item.order(&args[1]).is_eq());
    found.map_or(Datum::Null, |(at, _)| size(at + 1))
}

fn positions<'a>(args: &[Datum<'a>]) -> Datum<'a> {
    if args[0].is_null() {
        return Datum::Null;
    }
    let elements = args[0].elements().iter().enumerate();
    let found = elements.filter(|(_, item)| item.order(&args[1]).is_eq());
    Datum::Array(found.map(|(at, _)| size(at + 1)).collect())
}

/// The elements that are kept, or what is in their place; NULL for NULL.
fn filtered<'a>(array: &Datum<'a>, keep: impl Fn(&Datum<'a>) -> Option<Datum<'a>>) -> Datum<'a> {
    match array {
        Datum::Array(elements) => Datum::Array(elements.iter().filter_map(keep).collect()),
        _ => Datum::Null,
    }
}

fn trimmed<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let elements = args[0].elements();
    let dropped = usize::try_from(args[1].int()).ok();
    let kept = dropped.and_then(|dropped| elements.len().checked_sub(dropped));
    let kept = kept.ok_or_else(|| {
        let most = elements.len();
        let message = format!("number of elements to trim must be between 0 and {most}");
        ValueError::refused(Fault::Array, message)
    })?;
    Ok(Datum::Array(elements[..kept].to_vec()))
}

fn size<'a>(count: usize) -> Datum<'a> {
    Datum::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn element_type(args: &ReturnFieldArgs<'_>) -> DataType {
    use DataType as T;
    match args.arg_fields[0].data_type() {
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => item.data_type().clone(),
        _ => T::Utf8,
    }
}

fn depth(data_type: &DataType) -> usize {
    use DataType as T;
    match data_type {
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            1 + depth(item.data_type())
        }
        _ => 0,
    }
}

fn deeper_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let (a, b) = (
        args.arg_fields[0].data_type(),
        args.arg_fields[1].data_type(),
    );
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

/// The length of a dimension: the arguments are the array and the dimension.
fn length<'a>(args: &[Datum<'_>]) -> Datum<'a> {
    let at = usize::try_from(args[1].int())
        .ok()
        .and_then(|at| at.checked_sub(1));
    let length = at.and_then(|at| lengths(&args[0]).get(at).copied());
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
    const LENGTH_MAX: i64 = 1 << 24;
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
