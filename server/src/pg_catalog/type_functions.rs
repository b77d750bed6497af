//! Functions about types: their names and oids, users' types included.

use std::sync::{Arc, Mutex};

use arrow::datatypes::DataType;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use planner::values::map::{self, MAP_ARRAY_OID, MAP_OID};
use planner::values::types::{SqlType, by_name};

use crate::catalog::Entry;
use crate::error::Error;
use crate::pg_catalog::function::{Arg, Returned, arg, external, make, oid_arg, stable};
use crate::pg_catalog::functions::{Scope, name_parts};
use crate::pg_catalog::relations::quoted;
use crate::pg_catalog::types::{other_name, other_oid};
use crate::server::Shared;
use crate::settings::Settings;

/// A type's oid of its name.
pub(crate) const REGTYPE_IN: &str = "pg_regtype_in";
/// A type's name of its oid.
pub(crate) const REGTYPE_OUT: &str = "pg_regtype_out";

/// Functions that read the catalog of the moment they are called.
pub(crate) fn of_session(shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> Vec<ScalarUDF> {
    use DataType::{UInt32, Utf8};
    let scope = || {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        move || Scope::of(&shared, &settings)
    };
    let (format, to_oid, read, printed) = (scope(), scope(), scope(), scope());
    vec![
        stable("format_type", Utf8, move |args| {
            let formatted = |oid| format_type(&format(), oid, arg(args, 1));
            oid_arg(args, 0).map(formatted).into()
        }),
        stable("to_regtype", UInt32, move |args| {
            let oid = arg(args, 0).and_then(|name| type_oid(&to_oid(), name));
            oid.map(i64::from).into()
        }),
        make(REGTYPE_IN, UInt32, Volatility::Stable, move |args| {
            let Some(name) = arg(args, 0) else {
                return Ok(Returned::Null);
            };
            match type_oid(&read(), name) {
                Some(oid) => Ok(i64::from(oid).into()),
                None => Err(external(Error::UndefinedType {
                    name: name.to_owned(),
                })),
            }
        }),
        stable(REGTYPE_OUT, Utf8, move |args| {
            let formatted = |oid| format_type(&printed(), oid, None);
            oid_arg(args, 0).map(formatted).into()
        }),
    ]
}

/// The oid of a type by its name, with or without schema and brackets.
fn type_oid(scope: &Scope, name: &str) -> Option<u32> {
    let plain = name.trim().trim_start_matches("pg_catalog.");
    let known = by_name(plain).map(|sql_type| sql_type.oid());
    if let Some(oid) = known.or_else(|| other_oid(plain)) {
        return Some(oid);
    }
    let (element, is_array) = match plain.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (plain, false),
    };
    let parts = name_parts(element)?;
    let composite = match &parts[..] {
        [name] => scope.named(None, name)?,
        [.., schema, name] => scope.named(Some(schema), name)?,
        _ => return None,
    };
    let composite = Entry::composite(composite)?;
    Some(match is_array {
        true => SqlType::Array(Box::new(composite)).oid(),
        false => composite.oid(),
    })
}

/// The name of a user's type, or of its arrays: with its schema if it is not found without.
fn users_type(scope: &Scope, oid: u32) -> Option<String> {
    let arrays = |entry: &Entry| {
        let composite = entry.composite()?;
        Some(SqlType::Array(Box::new(composite)).oid())
    };
    let mut types = scope.types();
    let entry = types.find(|entry| entry.id == oid || arrays(entry) == Some(oid))?;
    let found = scope.named(None, &entry.name);
    let name = match found.is_some_and(|found| found.id == entry.id) {
        true => quoted(&entry.name),
        false => format!("{}.{}", quoted(&entry.schema_name), quoted(&entry.name)),
    };
    let brackets = if entry.id == oid { "" } else { "[]" };
    Some(name + brackets)
}

/// `format_type(oid, modifier)`.
fn format_type(scope: &Scope, oid: u32, modifier: Arg<'_>) -> String {
    let modifier: i32 = modifier.and_then(|m| m.parse().ok()).unwrap_or(-1);
    if let Some(name) = users_type(scope, oid) {
        return name;
    }
    match oid {
        MAP_OID => {
            let known = map::of_modifier(modifier);
            return known.map_or_else(|| "map".to_owned(), |known| known.to_string());
        }
        MAP_ARRAY_OID => return "map[]".to_owned(),
        _ => {}
    }
    let known = SqlType::from_oid(oid);
    let Some(sql_type) = known.filter(|t| t.oid() == oid) else {
        return other_name(oid).map_or_else(
            || if oid == 0 { "-" } else { "???" }.to_owned(),
            str::to_owned,
        );
    };
    match (&sql_type, modifier) {
        (_, -1) if matches!(sql_type, SqlType::Char(_)) => "bpchar".to_owned(),
        (SqlType::Char(_), m) => format!("character({})", m - 4),
        (SqlType::Varchar(_), m) if m >= 4 => format!("character varying({})", m - 4),
        (SqlType::Numeric(_), m) if m >= 4 => {
            let bits = m - 4;
            format!("numeric({},{})", bits >> 16, bits & 0x7ff)
        }
        _ => sql_type.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_formatted_with_their_modifiers() {
        let nothing = Scope::default();
        let format_type = |oid, modifier| format_type(&nothing, oid, modifier);
        assert_eq!(format_type(1043, Some("14")), "character varying(10)");
        assert_eq!(format_type(1700, Some("655366")), "numeric(10,2)");
        assert_eq!(format_type(23, Some("-1")), "integer");
        assert_eq!(format_type(1007, None), "integer[]");
        assert_eq!(format_type(19, None), "name");
        assert_eq!(format_type(2249, None), "record");
        assert_eq!(format_type(999_999, None), "???");
    }
}
