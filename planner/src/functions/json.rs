//! `jsonb`: operators, and functions that take values apart and make them.

use arrow::datatypes::DataType;

use crate::functions::datum::Datum;
use crate::functions::function::{Call, Function, Param, Returns, array_of, function};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::json::{Json, position_in};
use crate::values::types::SqlType::{Bool, Int4, Jsonb, Text};

use Param::{Any, Of};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    let texts = || Of(array_of(Text));
    let mut functions = vec![
        get("pg_json_get"),
        get_text("pg_json_get_text"),
        get("jsonb_object_field"),
        get_text("jsonb_object_field_text"),
        function("pg_json_path").on([Of(Jsonb), texts()], Jsonb, |_, a| along(a, quoted)),
        function("pg_json_path_text").on([Of(Jsonb), texts()], Text, |_, a| along(a, unquoted)),
        function("jsonb_extract_path")
            .on([Of(Jsonb), Of(Text)], Jsonb, |_, a| through(a, quoted))
            .variadic(),
        function("jsonb_extract_path_text")
            .on([Of(Jsonb), Of(Text)], Text, |_, a| through(a, unquoted))
            .variadic(),
        function("pg_json_contains").on([Jsonb, Jsonb], Bool, |_, a| {
            Ok(Datum::Bool(
                a[0].parsed_json()?.contains(&a[1].parsed_json()?),
            ))
        }),
        function("jsonb_contains").on([Jsonb, Jsonb], Bool, |_, a| {
            Ok(Datum::Bool(
                a[0].parsed_json()?.contains(&a[1].parsed_json()?),
            ))
        }),
        function("jsonb_exists").on([Jsonb, Text], Bool, |_, a| {
            Ok(Datum::Bool(has_key(&a[0].parsed_json()?, a[1].str())))
        }),
        function("jsonb_exists_any").on([Of(Jsonb), texts()], Bool, |_, a| {
            let value = a[0].parsed_json()?;
            Ok(Datum::Bool(keys(&a[1]).any(|key| has_key(&value, key))))
        }),
        function("jsonb_exists_all").on([Of(Jsonb), texts()], Bool, |_, a| {
            let value = a[0].parsed_json()?;
            Ok(Datum::Bool(keys(&a[1]).all(|key| has_key(&value, key))))
        }),
        function("pg_json_concat").on([Jsonb, Jsonb], Jsonb, |_, a| {
            Ok(Datum::json(&concatenated(
                a[0].parsed_json()?,
                a[1].parsed_json()?,
            )))
        }),
        function("pg_json_delete")
            .on([Jsonb, Int4], Jsonb, |_, a| {
                delete_element(a[0].parsed_json()?, a[1].int())
            })
            .on([Jsonb, Text], Jsonb, |_, a| {
                deleted(a[0].parsed_json()?, &[a[1].str()])
            })
            .on([Of(Jsonb), texts()], Jsonb, |_, a| {
                deleted(a[0].parsed_json()?, &keys(&a[1]).collect::<Vec<_>>())
            }),
        function("pg_json_delete_path").on([Of(Jsonb), texts()], Jsonb, |_, a| {
            let path: Vec<&str> = keys(&a[1]).collect();
            let mut value = a[0].parsed_json()?;
            delete_path(&mut value, &path)?;
            Ok(Datum::json(&value))
        }),
        function("jsonb_set")
            .on([Of(Jsonb), texts(), Of(Jsonb), Of(Bool)], Jsonb, |_, a| {
                let create = a.get(3).is_none_or(Datum::bool);
                changed(a, if create { Change::Set } else { Change::Replace })
            })
            .optional(1),
        function("jsonb_insert")
            .on([Of(Jsonb), texts(), Of(Jsonb), Of(Bool)], Jsonb, |_, a| {
                let after = a.get(3).is_some_and(Datum::bool);
                changed(
                    a,
                    if after {
                        Change::InsertAfter
                    } else {
                        Change::InsertBefore
                    },
                )
            })
            .optional(1),
        function("jsonb_strip_nulls").on([Jsonb], Jsonb, |_, a| {
            let mut value = a[0].parsed_json()?;
            strip_nulls(&mut value);
            Ok(Datum::json(&value))
        }),
        function("jsonb_pretty").on([Jsonb], Text, |_, a| {
            Ok(Datum::text(a[0].parsed_json()?.pretty()))
        }),
        function("jsonb_typeof").on([Jsonb], Text, |_, a| {
            Ok(Datum::text(a[0].parsed_json()?.kind()))
        }),
        function("jsonb_array_length").on([Jsonb], Int4, |_, a| {
            let count = elements(a[0].parsed_json()?, "get array length of")?.len();
            Ok(Datum::Int(i64::try_from(count).unwrap_or(i64::MAX)))
        }),
        function("to_jsonb").on([Any], Jsonb, |call, a| Ok(Datum::json(&made(call, &a[0])))),
        function("jsonb_build_array")
            .on([Any], Jsonb, |call, a| {
                Ok(Datum::json(&Json::Array(
                    a.iter().map(|item| made(call, item)).collect(),
                )))
            })
            .variadic()
            .sees_nulls(),
        function("jsonb_build_object")
            .on([Any], Jsonb, build_object)
            .variadic()
            .sees_nulls(),
        function("pg_json_object").on([Param::AnyArray, Param::Any], Jsonb, |call, a| {
            let members = a[0]
                .elements()
                .iter()
                .zip(a[1].elements())
                .map(|(key, value)| {
                    let key = key.shown(call.zone);
                    let key = key.ok_or_else(|| refused("field name must not be null"))?;
                    Ok((key, made(call, value)))
                });
            Ok(Datum::json(&Json::object(members.collect::<Result<_>>()?)))
        }),
        function("jsonb_object")
            .on([texts()], Jsonb, |_, a| object_of_pairs(a[0].elements()))
            .on([texts(), texts()], Jsonb, |_, a| {
                object_of_columns(&a[0], &a[1])
            }),
        // What comparisons and ORDER BY compare; a value is not stored so.
        function("pg_json_order").on([Jsonb], Returns::Type(DataType::Binary), |_, a| {
            let mut key = Vec::new();
            write_order(&a[0].parsed_json()?, &mut key);
            Ok(Datum::bytes(key))
        }),
    ];
    functions.extend(rows());
    functions
}

/// The columns of functions that return rows, as arrays.
fn rows() -> Vec<Function> {
    vec![
        function("pg_json_elements").on([Jsonb], array_of(Jsonb), |_, a| {
            let elements = elements(a[0].parsed_json()?, "extract elements from")?;
            Ok(Datum::Array(elements.iter().map(Datum::json).collect()))
        }),
        function("pg_json_element_texts").on([Jsonb], array_of(Text), |_, a| {
            let elements = elements(a[0].parsed_json()?, "extract elements from")?;
            Ok(Datum::Array(elements.into_iter().map(unquoted).collect()))
        }),
        function("pg_json_keys").on([Jsonb], array_of(Text), |_, a| {
            let members = members(a[0].parsed_json()?)?;
            Ok(Datum::texts(members.into_iter().map(|(key, _)| key)))
        }),
        function("pg_json_values").on([Jsonb], array_of(Jsonb), |_, a| {
            let members = members(a[0].parsed_json()?)?;
            Ok(Datum::Array(
                members
                    .iter()
                    .map(|(_, value)| Datum::json(value))
                    .collect(),
            ))
        }),
        function("pg_json_value_texts").on([Jsonb], array_of(Text), |_, a| {
            let members = members(a[0].parsed_json()?)?;
            Ok(Datum::Array(
                members
                    .into_iter()
                    .map(|(_, value)| unquoted(value))
                    .collect(),
            ))
        }),
    ]
}

/// What is made of a value that was found.
type Make = fn(Json) -> Datum<'static>;

fn unquoted(value: Json) -> Datum<'static> {
    value.into_text().map_or(Datum::Null, Datum::text)
}

fn quoted(value: Json) -> Datum<'static> {
    Datum::json(&value)
}

/// Both ways to take a value apart: by the position of an element, by the key of a member.
fn get(name: &'static str) -> Function {
    function(name)
        .on([Jsonb, Int4], Jsonb, |_, a| Ok(element(a, quoted)))
        .on([Jsonb, Text], Jsonb, |_, a| Ok(member(a, quoted)))
}

fn get_text(name: &'static str) -> Function {
    function(name)
        .on([Jsonb, Int4], Text, |_, a| Ok(element(a, unquoted)))
        .on([Jsonb, Text], Text, |_, a| Ok(member(a, unquoted)))
}

fn element<'a>(args: &[Datum<'a>], make: Make) -> Datum<'a> {
    let value = args[0].parsed_json().ok();
    let found = value.and_then(|value| value.element(args[1].int()).cloned());
    found.map_or(Datum::Null, make)
}

fn member<'a>(args: &[Datum<'a>], make: Make) -> Datum<'a> {
    let value = args[0].parsed_json().ok();
    let found = value.and_then(|value| value.member(args[1].str()).cloned());
    found.map_or(Datum::Null, make)
}

/// The texts of an array that are not NULL.
fn keys<'b>(array: &'b Datum<'_>) -> impl Iterator<Item = &'b str> {
    array
        .elements()
        .iter()
        .filter(|key| !key.is_null())
        .map(Datum::str)
}

fn along<'a>(args: &[Datum<'a>], make: Make) -> Result<Datum<'a>> {
    if args[1].elements().iter().any(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let path: Vec<&str> = keys(&args[1]).collect();
    let value = args[0].parsed_json()?;
    Ok(value.at_path(&path).cloned().map_or(Datum::Null, make))
}

fn through<'a>(args: &[Datum<'a>], make: Make) -> Result<Datum<'a>> {
    let path: Vec<&str> = args[1..].iter().map(Datum::str).collect();
    let value = args[0].parsed_json()?;
    Ok(value.at_path(&path).cloned().map_or(Datum::Null, make))
}

fn has_key(value: &Json, key: &str) -> bool {
    match value {
        Json::Object(_) => value.member(key).is_some(),
        Json::Array(elements) => elements
            .iter()
            .any(|e| matches!(e, Json::Text(text) if text == key)),
        Json::Text(text) => text == key,
        _ => false,
    }
}

fn refused(message: impl Into<String>) -> ValueError {
    ValueError::refused(Fault::Parameter, message)
}

fn elements(value: Json, action: &str) -> Result<Vec<Json>> {
    match value {
        Json::Array(elements) => Ok(elements),
        Json::Object(_) if action.starts_with("get") => {
            Err(refused(format!("cannot {action} a non-array")))
        }
        Json::Object(_) => Err(refused(format!("cannot {action} an object"))),
        _ => Err(refused(format!("cannot {action} a scalar"))),
    }
}

fn members(value: Json) -> Result<Vec<(String, Json)>> {
    match value {
        Json::Object(members) => Ok(members),
        Json::Array(_) => Err(refused("cannot call jsonb_object_keys on an array")),
        _ => Err(refused("cannot call jsonb_object_keys on a scalar")),
    }
}

fn concatenated(left: Json, right: Json) -> Json {
    match (left, right) {
        (Json::Object(mut left), Json::Object(right)) => {
            left.extend(right);
            Json::object(left)
        }
        (left, right) => {
            let listed = |value: Json| match value {
                Json::Array(elements) => elements,
                other => vec![other],
            };
            let mut elements = listed(left);
            elements.extend(listed(right));
            Json::Array(elements)
        }
    }
}

fn delete_element<'a>(mut value: Json, position: i64) -> Result<Datum<'a>> {
    match &mut value {
        Json::Array(elements) => {
            if let Some(at) = position_in(elements.len(), position) {
                elements.remove(at);
            }
            Ok(Datum::json(&value))
        }
        Json::Object(_) => Err(refused("cannot delete from object using integer index")),
        _ => Err(refused("cannot delete from scalar")),
    }
}

fn deleted<'a>(mut value: Json, keys: &[&str]) -> Result<Datum<'a>> {
    match &mut value {
        Json::Object(members) => members.retain(|(key, _)| !keys.contains(&key.as_str())),
        Json::Array(elements) => {
            elements.retain(|e| !matches!(e, Json::Text(text) if keys.contains(&text.as_str())));
        }
        _ => return Err(refused("cannot delete from scalar")),
    }
    Ok(Datum::json(&value))
}

fn array_position(step: &str, at: usize) -> Result<i64> {
    step.trim().parse().map_err(|_| {
        let message = format!(
            "path element at position {} is not an integer: \"{step}\"",
            at + 1
        );
        ValueError::refused(Fault::Text, message)
    })
}

fn delete_path(value: &mut Json, path: &[&str]) -> Result<()> {
    if !matches!(value, Json::Object(_) | Json::Array(_)) {
        return Err(refused("cannot delete path in scalar"));
    }
    let Some((last, parents)) = path.split_last() else {
        return Ok(());
    };
    let Some(parent) = parent_of(value, parents)? else {
        return Ok(());
    };
    match parent {
        Json::Object(members) => members.retain(|(key, _)| key != last),
        Json::Array(elements) => {
            if let Some(at) = position_in(elements.len(), array_position(last, parents.len())?) {
                elements.remove(at);
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a path leads to, to be changed.
fn parent_of<'b>(value: &'b mut Json, path: &[&str]) -> Result<Option<&'b mut Json>> {
    let mut current = value;
    for (at, step) in path.iter().enumerate() {
        current = match current {
            Json::Object(members) => match members.iter_mut().find(|(key, _)| key == step) {
                Some((_, value)) => value,
                None => return Ok(None),
            },
            Json::Array(elements) => match position_in(elements.len(), array_position(step, at)?) {
                Some(at) => &mut elements[at],
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
    }
    Ok(Some(current))
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    /// Replaces a value, or adds it.
    Set,
    Replace,
    InsertBefore,
    InsertAfter,
}

fn changed<'a>(args: &[Datum<'a>], change: Change) -> Result<Datum<'a>> {
    let mut value = args[0].parsed_json()?;
    let new = args[2].parsed_json()?;
    let path: Vec<&str> = keys(&args[1]).collect();
    if !matches!(value, Json::Object(_) | Json::Array(_)) {
        return Err(refused("cannot set path in scalar"));
    }
    if let Some((last, parents)) = path.split_last()
        && let Some(parent) = parent_of(&mut value, parents)?
    {
        match parent {
            Json::Object(members) => change_member(members, last, new, change)?,
            Json::Array(elements) => {
                let position = array_position(last, parents.len())?;
                change_element(elements, position, new, change);
            }
            _ => {}
        }
    }
    Ok(Datum::json(&value))
}

fn change_member(
    members: &mut Vec<(String, Json)>,
    key: &str,
    new: Json,
    change: Change,
) -> Result<()> {
    let found = members.iter_mut().find(|(own, _)| own == key);
    match (found, change) {
        (Some((_, value)), Change::Set | Change::Replace) => *value = new,
        (Some(_), _) => return Err(refused("cannot replace existing key")),
        (None, Change::Replace) => {}
        (None, _) => {
            members.push((key.to_owned(), new));
            let Json::Object(sorted) = Json::object(std::mem::take(members)) else {
                return Ok(());
            };
            *members = sorted;
        }
    }
    Ok(())
}

fn change_element(elements: &mut Vec<Json>, position: i64, new: Json, change: Change) {
    match (position_in(elements.len(), position), change) {
        (Some(at), Change::Set | Change::Replace) => elements[at] = new,
        (Some(at), Change::InsertBefore) => elements.insert(at, new),
        (Some(at), Change::InsertAfter) => elements.insert(at + 1, new),
        (None, Change::Replace) => {}
        // Beyond an end: at that end.
        (None, _) if position < 0 => elements.insert(0, new),
        (None, _) => elements.push(new),
    }
}

fn strip_nulls(value: &mut Json) {
    match value {
        Json::Object(members) => {
            members.retain(|(_, value)| *value != Json::Null);
            members.iter_mut().for_each(|(_, value)| strip_nulls(value));
        }
        Json::Array(elements) => elements.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// A value of another type as `jsonb`.
pub(crate) fn made(call: &Call, value: &Datum<'_>) -> Json {
    match value {
        Datum::Null => Json::Null,
        Datum::Bool(value) => Json::Bool(*value),
        Datum::Int(_) | Datum::Numeric(_) => {
            Json::Number(value.shown(call.zone).unwrap_or_default())
        }
        Datum::Float(_) | Datum::Float4(_) => {
            let shown = value.shown(call.zone).unwrap_or_default();
            // NaN and infinities are texts; exponents are spelled out.
            match Json::parse(&shown) {
                Ok(number @ Json::Number(_)) => number,
                _ => Json::Text(shown),
            }
        }
        Datum::Json(text) => Json::parse(text).unwrap_or(Json::Null),
        Datum::Array(elements) => Json::Array(elements.iter().map(|e| made(call, e)).collect()),
        Datum::Record(fields, values) => {
            let members = fields.iter().zip(values);
            let members = members.map(|(field, value)| (field.name().clone(), made(call, value)));
            Json::object(members.collect())
        }
        Datum::Map(entries) => {
            let shown = |key: &Datum<'_>| key.shown(call.zone).unwrap_or_default();
            let members = entries
                .iter()
                .map(|(key, value)| (shown(key), made(call, value)));
            Json::object(members.collect())
        }
        Datum::Timestamp(_) | Datum::Timestamptz(_) => Json::Text(iso(value, call)),
        other => Json::Text(other.shown(call.zone).unwrap_or_default()),
    }
}

/// ISO 8601: a `T` between date and time, minutes in the offset.
fn iso(value: &Datum<'_>, call: &Call) -> String {
    let shown = value
        .shown(call.zone)
        .unwrap_or_default()
        .replacen(' ', "T", 1);
    let offset = shown.len().checked_sub(3).map_or("", |at| &shown[at..]);
    let hours_only = offset.starts_with(['+', '-']) && matches!(value, Datum::Timestamptz(_));
    if hours_only {
        format!("{shown}:00")
    } else {
        shown
    }
}

fn build_object<'a>(call: &Call, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    if !args.len().is_multiple_of(2) {
        return Err(refused("argument list must have even number of elements"));
    }
    let members = args.chunks(2).enumerate().map(|(at, pair)| {
        let key = pair[0]
            .shown(call.zone)
            .ok_or_else(|| refused(format!("argument {}: key must not be null", at * 2 + 1)))?;
        Ok((key, made(call, &pair[1])))
    });
    let members = members.collect::<Result<Vec<_>>>()?;
    Ok(Datum::json(&Json::object(members)))
}

fn pair(key: &Datum<'_>, value: &Datum<'_>) -> Result<(String, Json)> {
    if key.is_null() {
        return Err(ValueError::refused(
            Fault::Null,
            "null value not allowed for object key",
        ));
    }
    let value = if value.is_null() {
        Json::Null
    } else {
        Json::Text(value.str().to_owned())
    };
    Ok((key.str().to_owned(), value))
}

fn object_of_pairs<'a>(items: &[Datum<'a>]) -> Result<Datum<'a>> {
    if !items.len().is_multiple_of(2) {
        return Err(ValueError::refused(
            Fault::Array,
            "array must have even number of elements",
        ));
    }
    let members = items.chunks(2).map(|items| pair(&items[0], &items[1]));
    Ok(Datum::json(&Json::object(members.collect::<Result<_>>()?)))
}

fn object_of_columns<'a>(keys: &Datum<'a>, values: &Datum<'a>) -> Result<Datum<'a>> {
    let (keys, values) = (keys.elements(), values.elements());
    if keys.len() != values.len() {
        return Err(ValueError::refused(
            Fault::Array,
            "mismatched array dimensions",
        ));
    }
    let members = keys.iter().zip(values).map(|(key, value)| pair(key, value));
    Ok(Datum::json(&Json::object(members.collect::<Result<_>>()?)))
}

/// Bytes in the order of values ([`Json::order`]): equal for equal values.
pub(super) fn write_order(value: &Json, key: &mut Vec<u8>) {
    match value {
        Json::Array(elements) if elements.is_empty() => key.push(0),
        Json::Null => key.push(1),
        Json::Text(text) => {
            key.push(2);
            write_text(text, key);
        }
        Json::Number(number) => {
            key.push(3);
            write_number(number, key);
        }
        Json::Bool(value) => key.extend([4, u8::from(*value)]),
        Json::Array(elements) => {
            key.push(5);
            key.extend((elements.len() as u32).to_be_bytes());
            elements
                .iter()
                .for_each(|element| write_order(element, key));
        }
        Json::Object(members) => {
            key.push(6);
            key.extend((members.len() as u32).to_be_bytes());
            for (name, value) in members {
                key.extend((name.len() as u32).to_be_bytes());
                key.extend(name.as_bytes());
                write_order(value, key);
            }
        }
    }
}

/// A text, ended by what is below every character. JSON's texts hold no NUL.
pub(super) fn write_text(text: &str, key: &mut Vec<u8>) {
    key.extend(text.as_bytes());
    key.push(0);
}

/// Sign, length of the whole part, digits; all turned around for negative numbers.
pub(super) fn write_number(number: &str, key: &mut Vec<u8>) {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let start = key.len();
    key.push(1);
    key.extend((whole.len() as u32).to_be_bytes());
    key.extend(whole.as_bytes());
    key.extend(fraction.trim_end_matches('0').as_bytes());
    key.push(0);
    if negative {
        key[start..].iter_mut().for_each(|byte| *byte = !*byte);
        key[start] = 0;
    }
}
