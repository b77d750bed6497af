//! Maps: made of keys and values, read, and made of other maps.

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::logical_expr::ReturnFieldArgs;

use crate::functions::datum::Datum;
use crate::functions::function::{Function, Param, Returns, function};
use crate::types::array_type;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::map::{self, map_type};
use crate::values::types::SqlType::{Bool, Int8};

use Param::{AnyKey, AnyMap, AnyValue, List};

type Entry<'a> = (Datum<'a>, Datum<'a>);

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    let mut functions = makers();
    functions.extend(parts());
    functions.extend(changes());
    functions
}

fn makers() -> Vec<Function> {
    vec![
        // `MAP {key: value, …}`
        function("pg_map")
            .on([AnyKey, AnyValue], Returns::By(type_of_pair), |_, a| {
                if a.is_empty() {
                    return Err(ValueError::refused(
                        Fault::Indeterminate,
                        "cannot determine type of empty map: cast it, as in MAP {}::map(varchar, int)",
                    ));
                }
                let entries = a.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                made(entries.collect())
            })
            .pairs()
            .sees_nulls(),
        function("map_from_entries").on([List], Returns::By(type_of_rows), |_, a| {
            made(a[0].elements().iter().map(entry).collect::<Result<_>>()?)
        }),
        function("map_from_key_values").on([List, List], Returns::By(type_of_lists), |_, a| {
            let (keys, values) = (a[0].elements(), a[1].elements());
            if keys.len() != values.len() {
                let message = format!(
                    "a map of {} keys and {} values",
                    keys.len(),
                    values.len()
                );
                return Err(ValueError::refused(Fault::Parameter, message));
            }
            made(keys.iter().cloned().zip(values.iter().cloned()).collect())
        }),
    ]
}

fn parts() -> Vec<Function> {
    vec![
        function("map_access").on([AnyMap, AnyKey], Returns::By(type_of_value), |_, a| {
            let found = find(a[0].entries(), &a[1]);
            Ok(found.map_or(Datum::Null, |(_, value)| value.clone()))
        }),
        function("map_contains").on([AnyMap, AnyKey], Bool, |_, a| {
            Ok(Datum::Bool(find(a[0].entries(), &a[1]).is_some()))
        }),
        function("map_length").on([AnyMap], Int8, |_, a| {
            Ok(Datum::Int(a[0].entries().len() as i64))
        }),
        function("map_keys").on([AnyMap], Returns::By(array_of_keys), |_, a| {
            let keys = a[0].entries().iter().map(|(key, _)| key.clone());
            Ok(Datum::Array(keys.collect()))
        }),
        function("map_values").on([AnyMap], Returns::By(array_of_values), |_, a| {
            let values = a[0].entries().iter().map(|(_, value)| value.clone());
            Ok(Datum::Array(values.collect()))
        }),
        function("map_entries").on([AnyMap], Returns::By(array_of_entries), |call, a| {
            let fields = match item(&call.returns) {
                DataType::Struct(fields) => fields,
                _ => Fields::empty(),
            };
            let entries = a[0].entries().iter().map(|(key, value)| {
                Datum::Record(fields.clone(), vec![key.clone(), value.clone()])
            });
            Ok(Datum::Array(entries.collect()))
        }),
    ]
}

fn changes() -> Vec<Function> {
    vec![
        function("map_cat")
            .on([AnyMap, AnyMap], Returns::SameAs(0), |_, a| {
                Ok(match (&a[0], &a[1]) {
                    (Datum::Map(first), Datum::Map(second)) => {
                        let kept = first.iter().filter(|(key, _)| find(second, key).is_none());
                        Datum::Map(kept.chain(second).cloned().collect())
                    }
                    (Datum::Null, other) | (other, _) => other.clone(),
                })
            })
            .sees_nulls(),
        function("map_insert")
            .on([AnyMap, AnyKey, AnyValue], Returns::SameAs(0), |_, a| {
                let Datum::Map(entries) = &a[0] else {
                    return Ok(Datum::Null);
                };
                let mut entries = without(entries, &a[1]);
                entries.push((a[1].clone(), a[2].clone()));
                Ok(Datum::Map(entries))
            })
            .sees_nulls(),
        function("map_delete")
            .on([AnyMap, AnyKey], Returns::SameAs(0), |_, a| {
                Ok(match &a[0] {
                    Datum::Map(entries) => Datum::Map(without(entries, &a[1])),
                    _ => Datum::Null,
                })
            })
            .sees_nulls(),
    ]
}

/// A map of entries in any order, which are checked where the column is built.
fn made(entries: Vec<Entry<'_>>) -> Result<Datum<'_>> {
    let is_key = |key: &Datum<'_>| matches!(key, Datum::Null | Datum::Text(_) | Datum::Int(_));
    if entries.iter().all(|(key, _)| is_key(key)) {
        return Ok(Datum::Map(entries));
    }
    Err(ValueError::refused(
        Fault::Mismatch,
        "keys of maps are texts or integers",
    ))
}

fn entry<'a>(row: &Datum<'a>) -> Result<Entry<'a>> {
    match row {
        Datum::Record(_, values) if values.len() == 2 => Ok((values[0].clone(), values[1].clone())),
        Datum::Null => Err(ValueError::refused(
            Fault::Null,
            "entries of maps must not be NULL",
        )),
        _ => Err(ValueError::refused(
            Fault::Mismatch,
            "entries of maps are rows of a key and a value",
        )),
    }
}

/// Entries are sorted by their keys.
fn find<'e, 'a>(entries: &'e [Entry<'a>], key: &Datum<'_>) -> Option<&'e Entry<'a>> {
    let at = entries.binary_search_by(|(known, _)| known.order(key));
    at.ok().map(|at| &entries[at])
}

fn without<'a>(entries: &[Entry<'a>], key: &Datum<'_>) -> Vec<Entry<'a>> {
    let others = entries.iter().filter(|(known, _)| known.order(key).is_ne());
    others.cloned().collect()
}

/// What an argument is; NULL without a type is text.
fn argument(args: &ReturnFieldArgs<'_>, at: usize) -> DataType {
    known(args.arg_fields.get(at).map(|field| field.data_type()))
}

fn known(data_type: Option<&DataType>) -> DataType {
    match data_type {
        None | Some(DataType::Null) => DataType::Utf8,
        Some(known) => known.clone(),
    }
}

fn item(list: &DataType) -> DataType {
    match list {
        DataType::List(item) => known(Some(item.data_type())),
        _ => DataType::Utf8,
    }
}

fn type_of_pair(args: &ReturnFieldArgs<'_>) -> DataType {
    map_type(argument(args, 0), argument(args, 1))
}

fn type_of_lists(args: &ReturnFieldArgs<'_>) -> DataType {
    map_type(item(&argument(args, 0)), item(&argument(args, 1)))
}

fn type_of_rows(args: &ReturnFieldArgs<'_>) -> DataType {
    let row = item(&argument(args, 0));
    let field = |at: usize| match &row {
        DataType::Struct(fields) => known(fields.get(at).map(|field| field.data_type())),
        _ => DataType::Utf8,
    };
    map_type(field(0), field(1))
}

/// The types of keys and values of the map that is the first argument.
fn parts_of(args: &ReturnFieldArgs<'_>) -> (DataType, DataType) {
    match map::parts(&argument(args, 0)) {
        Some((key, value)) => (key.clone(), value.clone()),
        None => (DataType::Utf8, DataType::Utf8),
    }
}

fn type_of_value(args: &ReturnFieldArgs<'_>) -> DataType {
    parts_of(args).1
}

fn array_of_keys(args: &ReturnFieldArgs<'_>) -> DataType {
    array_type(parts_of(args).0)
}

fn array_of_values(args: &ReturnFieldArgs<'_>) -> DataType {
    array_type(parts_of(args).1)
}

fn array_of_entries(args: &ReturnFieldArgs<'_>) -> DataType {
    let (key, value) = parts_of(args);
    let fields = [
        Field::new("key", key, true),
        Field::new("value", value, true),
    ];
    array_type(DataType::Struct(Fields::from(fields.to_vec())))
}
