//! Values of one type for a column of another: PostgreSQL's assignment casts.
//!
//! Numbers fit numbers if they are in range, fractions are rounded; every type fits text; dates
//! and times fit each other where PostgreSQL has an assignment cast. Text fits other types only
//! if it was a literal ([`TextInput::Parse`]).

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field};
use planner::values::ValueError;
use planner::values::cast::cast;
use planner::values::input::parse_column;
use planner::values::map::maps_of;
use planner::values::record::{Record, struct_of};
use planner::values::types::SqlType;

use crate::error::{Error, Result};
use crate::wire::encode::Style;

/// What text may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextInput {
    /// It is a literal: read it as the column's type.
    Parse,
    /// It is a value of type text.
    Refuse,
}

/// Values for column `name` of type `target`.
///
/// # Errors
/// A value that does not fit, or [`Error::TypeMismatch`] if no value could.
pub fn assign(
    values: &ArrayRef,
    name: &str,
    target: &SqlType,
    text: TextInput,
    zone: Tz,
) -> Result<ArrayRef> {
    let source = SqlType::of(values.data_type());
    let mismatch = || Error::TypeMismatch {
        message: format!(
            "column \"{name}\" is of type {} but expression is of type {}",
            target.base_name(),
            source.base_name()
        ),
        hint: Some("You will need to rewrite or cast the expression.".to_owned()),
    };
    if *values.data_type() == DataType::Null {
        return Ok(new_null_array(&target.arrow(), values.len()));
    }
    if target.is_text() {
        let texts = if source.is_text() {
            plain_texts(values)?
        } else {
            shown_texts(values, zone)?
        };
        return parse_column(&texts, target, zone).map_err(|bad| bad.error.into());
    }
    if source.is_text() {
        return match text {
            TextInput::Parse => {
                parse_column(&plain_texts(values)?, target, zone).map_err(|bad| bad.error.into())
            }
            TextInput::Refuse => Err(mismatch()),
        };
    }
    if *values.data_type() == target.arrow() {
        return Ok(Arc::clone(values));
    }
    if let (SqlType::Record(from), SqlType::Record(to)) = (&source, target) {
        if from.named.is_some() && to.named.is_some() && from.oid() != to.oid() {
            return Err(mismatch());
        }
        return assign_fields(values, name, from, to, zone);
    }
    if let (SqlType::Array(_), SqlType::Array(to)) = (&source, target)
        && to.is_structured()
        && let Some(lists) = values.as_list_opt::<i32>()
    {
        let items = assign(lists.values(), name, to, text, zone)?;
        let field = Arc::new(Field::new("item", items.data_type().clone(), true));
        let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
        return Ok(Arc::new(ListArray::new(field, offsets, items, nulls)));
    }
    if let (SqlType::Map(..), SqlType::Map(key, value)) = (&source, target)
        && let Some(maps) = values.as_map_opt()
    {
        let keys = assign(maps.keys(), name, key, text, zone)?;
        let values = assign(maps.values(), name, value, text, zone)?;
        return Ok(maps_of(
            &keys,
            &values,
            maps.offsets(),
            maps.nulls().cloned(),
        )?);
    }
    let (given, wanted) = (source.dimensions(), target.dimensions());
    if given > 0 && wanted > 0 && given != wanted {
        return Err(Error::not_supported(format!(
            "an array of {given} dimensions in column \"{name}\" of arrays of {wanted} is not supported"
        )));
    }
    if !has_assignment_cast(&source, target) {
        return Err(mismatch());
    }
    Ok(cast(values, &target.arrow(), zone)?)
}

/// Composite values field by field. What a ROW holds as text may be a literal.
fn assign_fields(
    values: &ArrayRef,
    name: &str,
    from: &Record,
    to: &Record,
    zone: Tz,
) -> Result<ArrayRef> {
    let (given, wanted) = (from.fields.len(), to.fields.len());
    if given != wanted {
        return Err(Error::from(ValueError::Fields {
            from: from.name().to_owned(),
            to: to.name().to_owned(),
            too_many: given > wanted,
        }));
    }
    let text = match from.named {
        Some(_) => TextInput::Refuse,
        None => TextInput::Parse,
    };
    let structs = values.as_struct();
    let columns = structs.columns().iter().zip(to.types());
    let columns = columns.map(|(values, target)| assign(values, name, target, text, zone));
    let columns = columns.collect::<Result<_>>()?;
    Ok(struct_of(to, columns, structs.nulls().cloned()))
}

/// Values as an Arrow type that a plan asks for; text is read.
///
/// # Errors
/// A value that does not fit.
pub fn to_arrow(values: &ArrayRef, wanted: &DataType, zone: Tz) -> Result<ArrayRef> {
    let target = SqlType::of(wanted);
    let assigned = assign(values, "?column?", &target, TextInput::Parse, zone)?;
    if assigned.data_type() == wanted {
        return Ok(assigned);
    }
    Ok(cast_with_options(&assigned, wanted, &checked())?)
}

fn is_number(sql_type: &SqlType) -> bool {
    use SqlType as T;
    matches!(
        sql_type,
        T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Float8 | T::Numeric(_) | T::Oid
    )
}

fn has_assignment_cast(source: &SqlType, target: &SqlType) -> bool {
    use SqlType as T;
    match (source, target) {
        _ if is_number(source) && is_number(target) => true,
        (T::Date, T::Timestamp | T::Timestamptz) => true,
        (T::Timestamp, T::Date | T::Time | T::Timestamptz) => true,
        (T::Timestamptz, T::Date | T::Time | T::Timestamp) => true,
        (T::Array(a), T::Array(b)) => a == b || has_assignment_cast(a, b),
        // The same SQL type in another Arrow form.
        _ => std::mem::discriminant(source) == std::mem::discriminant(target),
    }
}

fn checked() -> CastOptions<'static> {
    CastOptions {
        safe: false,
        ..CastOptions::default()
    }
}

fn plain_texts(values: &ArrayRef) -> Result<StringArray> {
    let texts = cast_with_options(values, &DataType::Utf8, &checked())?;
    Ok(texts.as_string::<i32>().clone())
}

/// Values as they are printed.
fn shown_texts(values: &ArrayRef, zone: Tz) -> Result<StringArray> {
    Ok(planner::values::text::column_texts(values, Style { zone })?
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{Int16Type, Int32Type};

    fn utc() -> Tz {
        "UTC".parse().unwrap()
    }

    fn assigned(values: ArrayRef, target: SqlType) -> Result<ArrayRef> {
        assign(&values, "a", &target, TextInput::Refuse, utc())
    }

    #[test]
    fn numbers_are_rounded_and_checked() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.5, -1.5]));
        let ints = assigned(Arc::clone(&floats), SqlType::Int4).unwrap();
        assert_eq!(ints.as_primitive::<Int32Type>().values(), &[2, -2]);
        let numeric = assigned(floats, SqlType::Numeric(Some((5, 1)))).unwrap();
        let back = assigned(numeric, SqlType::Int2).unwrap();
        assert_eq!(back.as_primitive::<Int16Type>().values(), &[3, -2]);
        let big: ArrayRef = Arc::new(Int64Array::from(vec![40_000]));
        assert_eq!(
            assigned(Arc::clone(&big), SqlType::Int2)
                .unwrap_err()
                .to_string(),
            "smallint out of range"
        );
        assert!(matches!(
            assigned(big, SqlType::Numeric(Some((4, 0)))),
            Err(Error::Planner(planner::Error::Value(
                ValueError::NumericOverflow { .. }
            )))
        ));
    }

    #[test]
    fn text_is_read_only_if_it_was_a_literal() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["7"]));
        assert!(matches!(
            assigned(Arc::clone(&texts), SqlType::Int4),
            Err(Error::TypeMismatch { .. })
        ));
        let read = assign(&texts, "a", &SqlType::Int4, TextInput::Parse, utc()).unwrap();
        assert_eq!(read.as_primitive::<Int32Type>().value(0), 7);
        let shown = assigned(Arc::new(Int64Array::from(vec![7])), SqlType::Text).unwrap();
        assert_eq!(shown.as_string::<i32>().value(0), "7");
    }

    #[test]
    fn local_times_become_instants_in_the_session_zone() {
        let local: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]));
        let zone: Tz = "Asia/Kolkata".parse().unwrap();
        let instant = assign(&local, "a", &SqlType::Timestamptz, TextInput::Refuse, zone).unwrap();
        let micros = instant
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
            .value(0);
        assert_eq!(micros, -19_800_000_000);
        let back = assign(&instant, "a", &SqlType::Timestamp, TextInput::Refuse, zone).unwrap();
        assert_eq!(
            back.as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                .value(0),
            0
        );
    }
}
