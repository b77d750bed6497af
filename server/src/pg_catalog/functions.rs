//! PostgreSQL's functions about catalog, session and server.
//!
//! A function that reads the catalog reads that of the moment it is called.

use std::sync::{Arc, Mutex};

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::AsyncScalarUDF;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::access::actor::Actor;
use crate::access::privilege::Privileges;
use crate::access::role::SIGNAL_BACKEND;
use crate::catalog::{Catalog, Entry};
use crate::error::Error;
use crate::interrupt::Handle;
use crate::pg_catalog::function::{
    Arg, Returned, arg, external, immutable, make, oid_arg, stable, text_list,
};
use crate::pg_catalog::procedures;
use crate::pg_catalog::relations::{
    created_index_definition, index_definition, key_columns, quoted, view_definition,
};
use crate::pg_catalog::server_tables::UTF8;
use crate::pg_catalog::sleep::Sleep;
use crate::pg_catalog::type_functions;
use crate::pg_catalog::{
    CONSTRAINT_OID, INDEX_OID, RULE_OID, SCHEMA as PG_CATALOG, SCHEMAS, find, tables,
};
use crate::server::Shared;
use crate::session::lock;
use crate::settings::Settings;
use crate::temporary_schema::is_temporary;
use planner::names::quoted_literal;
use planner::values::input::split_array;
use planner::values::types::SqlType;

/// Casts to and from the reg* types become calls of these; see `rewrite.rs`.
pub(crate) const REGCLASS_IN: &str = "pg_regclass_in";
/// A relation's name of its oid.
pub(crate) const REGCLASS_OUT: &str = "pg_regclass_out";
/// A schema's name of its oid.
pub(crate) const REGNAMESPACE_OUT: &str = "pg_regnamespace_out";

/// The options of a foreign table as psql prints them.
pub(crate) const OPTION_TEXTS: &str = "pg_option_texts";

/// Functions of their arguments alone.
pub(crate) fn pure() -> Vec<ScalarUDF> {
    use DataType::{Int32, Utf8};
    vec![
        immutable("pg_encoding_to_char", Utf8, |args| {
            arg(args, 0)
                .map(|n| if n == "6" { "UTF8" } else { "" })
                .into()
        }),
        immutable("pg_char_to_encoding", Int32, |_| 6i64.into()),
        immutable("pg_size_pretty", Utf8, |args| {
            arg(args, 0)
                .and_then(|n| n.parse::<f64>().ok())
                .map(|n| size_pretty(n as i64))
                .into()
        }),
        ScalarUDF::from(TypeOf::new()),
    ]
}

/// PostgreSQL's `pg_size_pretty`: the largest unit of which there are fewer than 10240.
pub(crate) fn size_pretty(bytes: i64) -> String {
    if bytes.abs() < 10 * 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    for unit in ["kB", "MB", "GB", "TB"] {
        if value.abs().round() < 10_240.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.0} PB")
}

/// `pg_typeof(any)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl TypeOf {
    fn new() -> TypeOf {
        TypeOf {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = match args.args.first().map(ColumnarValue::data_type) {
            None | Some(DataType::Null) => "unknown".to_owned(),
            Some(data_type) => SqlType::of(&data_type).base_name(),
        };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))))
    }
}

/// Functions that know catalog, session and server.
pub(crate) fn of_session(
    shared: &Arc<Shared>,
    settings: &Arc<Mutex<Settings>>,
    process_id: u32,
) -> Vec<ScalarUDF> {
    let mut functions = about_catalog(shared, settings);
    functions.extend(type_functions::of_session(shared, settings));
    functions.extend(about_session(settings, process_id));
    functions.extend(about_others(shared, settings));
    functions.extend(constants());
    functions
}

/// The catalog as a session names what is in it.
#[derive(Default)]
pub(crate) struct Scope {
    catalog: Arc<Catalog>,
    path: Vec<String>,
}

impl Scope {
    /// The catalog of now.
    pub(crate) fn of(shared: &Shared, settings: &Mutex<Settings>) -> Scope {
        let catalog = shared.catalog.read();
        let settings = lock(settings);
        let (mut path, role) = (settings.search_path(), settings.current_user().id);
        let actor = Actor {
            catalog: &catalog,
            role,
        };
        path.retain(|schema| actor.may_in_schema(schema, Privileges::USAGE));
        Scope { catalog, path }
    }

    /// The object of users that a name means.
    pub(crate) fn named(&self, schema: Option<&str>, name: &str) -> Option<&Arc<Entry>> {
        match schema {
            Some(schema) => self.find(schema, name),
            None => self.path.iter().find_map(|schema| self.find(schema, name)),
        }
    }

    /// The schema of the session's temporary relations, if there are any.
    fn temporary_schema(&self) -> Option<&String> {
        let mut path = self.path.iter();
        path.find(|schema| is_temporary(schema) && self.schema_oid(schema).is_some())
    }
}

impl std::ops::Deref for Scope {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

fn about_catalog(shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> Vec<ScalarUDF> {
    use DataType::{Boolean, UInt32, Utf8};
    // Each function reads the catalog of the moment it is called.
    let with = |body: fn(&Scope, &[Arg<'_>]) -> Returned| {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        move |args: &[Arg<'_>]| body(&Scope::of(&shared, &settings), args)
    };
    let checked = |body: fn(&Scope, &[Arg<'_>]) -> Result<Returned>| {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        move |args: &[Arg<'_>]| body(&Scope::of(&shared, &settings), args)
    };
    vec![
        stable(
            "pg_get_viewdef",
            Utf8,
            with(|catalog, args| {
                named(catalog, arg(args, 0))
                    .and_then(|e| view_definition(catalog, &e))
                    .into()
            }),
        ),
        stable("pg_get_indexdef", Utf8, with(index_text)),
        stable(
            "pg_get_constraintdef",
            Utf8,
            with(|catalog, args| {
                let entry = oid_arg(args, 0)
                    .and_then(|oid| catalog.by_id(oid.wrapping_sub(CONSTRAINT_OID)));
                entry
                    .map(|entry| format!("PRIMARY KEY ({})", key_columns(entry)))
                    .into()
            }),
        ),
        stable(
            "pg_get_ruledef",
            Utf8,
            with(|catalog, args| {
                let entry =
                    oid_arg(args, 0).and_then(|oid| catalog.by_id(oid.wrapping_sub(RULE_OID)));
                entry
                .and_then(|entry| {
                    let definition = view_definition(catalog, entry)?;
                    Some(format!(
                        "CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {}.{} DO INSTEAD {definition}",
                        quoted(&entry.schema_name),
                        quoted(&entry.name)
                    ))
                })
                .into()
            }),
        ),
        stable(
            "to_regclass",
            UInt32,
            with(|catalog, args| arg(args, 0).and_then(|n| relation_oid(catalog, n)).into()),
        ),
        make(
            REGCLASS_IN,
            UInt32,
            Volatility::Stable,
            checked(|catalog, args| {
                let Some(name) = arg(args, 0) else {
                    return Ok(Returned::Null);
                };
                match relation_oid(catalog, name) {
                    Some(oid) => Ok(oid.into()),
                    None => Err(external(Error::UndefinedRelation {
                        name: name.to_owned(),
                    })),
                }
            }),
        ),
        stable(
            "obj_description",
            Utf8,
            with(|catalog, args| {
                let entry = oid_arg(args, 0).and_then(|oid| catalog.by_id(oid));
                entry.and_then(|entry| entry.comment.clone()).into()
            }),
        ),
        stable(
            "col_description",
            Utf8,
            with(|catalog, args| {
                let entry = oid_arg(args, 0).and_then(|oid| catalog.by_id(oid));
                let column = oid_arg(args, 1).and_then(|number| number.checked_sub(1));
                entry
                    .zip(column)
                    .and_then(|(entry, at)| entry.columns.get(at as usize)?.comment.clone())
                    .into()
            }),
        ),
        stable(
            "current_schema",
            Utf8,
            with(|scope, _| current_schemas(scope).into_iter().next().into()),
        ),
        stable(
            "current_schemas",
            text_list(),
            with(|scope, args| {
                let mut schemas = current_schemas(scope);
                if arg(args, 0) == Some("true") {
                    schemas.insert(0, PG_CATALOG.to_owned());
                    schemas.splice(0..0, scope.temporary_schema().cloned());
                }
                Returned::Texts(schemas)
            }),
        ),
        stable(
            REGNAMESPACE_OUT,
            Utf8,
            with(|scope, args| {
                oid_arg(args, 0)
                    .map(|oid| {
                        let mut schemas = SCHEMAS.into_iter().chain(scope.schemas());
                        let found = schemas.find(|(_, schema_oid)| *schema_oid == oid);
                        found.map_or_else(|| oid.to_string(), |(name, _)| name.to_owned())
                    })
                    .into()
            }),
        ),
        stable(
            "pg_get_function_result",
            Utf8,
            with(|catalog, args| {
                let oid = oid_arg(args, 0);
                oid.and_then(|oid| procedures::result(catalog, oid)).into()
            }),
        ),
        stable("pg_get_function_arguments", Utf8, with(function_arguments)),
        stable(
            "pg_get_function_identity_arguments",
            Utf8,
            with(function_arguments),
        ),
        stable("current_database", Utf8, with(database_name)),
        stable("current_catalog", Utf8, with(database_name)),
        stable(
            "pg_my_temp_schema",
            UInt32,
            with(|scope, _| {
                let schema = scope.temporary_schema();
                let oid = schema.and_then(|schema| scope.schema_oid(schema));
                i64::from(oid.unwrap_or_default()).into()
            }),
        ),
        stable(
            "pg_is_other_temp_schema",
            Boolean,
            with(|scope, args| {
                let own = scope.temporary_schema();
                oid_arg(args, 0)
                    .map(|oid| {
                        let mut schemas = scope.schemas();
                        schemas.any(|(name, schema_oid)| {
                            schema_oid == oid
                                && is_temporary(name)
                                && own.is_none_or(|own| own != name)
                        })
                    })
                    .into()
            }),
        ),
        // Visible is what needs no schema in front of its name.
        stable(
            "pg_table_is_visible",
            Boolean,
            with(|scope, args| oid_arg(args, 0).map(|oid| is_visible(scope, oid)).into()),
        ),
        stable(
            REGCLASS_OUT,
            Utf8,
            with(|catalog, args| {
                oid_arg(args, 0)
                    .map(|oid| relation_name(catalog, oid))
                    .into()
            }),
        ),
    ]
}

fn database_name(scope: &Scope, _: &[Arg<'_>]) -> Returned {
    scope.database().name.as_str().into()
}

/// The schemas of the search path that exist.
fn current_schemas(scope: &Scope) -> Vec<String> {
    // That of temporary relations is in front without being named.
    let exists = |name: &&String| scope.schema_oid(name).is_some() && !is_temporary(name);
    scope.path.iter().filter(exists).cloned().collect()
}

fn is_visible(scope: &Scope, oid: u32) -> bool {
    let named = [oid, oid.wrapping_sub(INDEX_OID)];
    let Some(entry) = named.iter().find_map(|oid| scope.by_id(*oid)) else {
        return !tables().any(|(schema, t)| t.oid == oid && schema != PG_CATALOG);
    };
    let mut path = scope.path.iter();
    path.find_map(|schema| scope.find(schema, &entry.name))
        .is_some_and(|first| first.id == entry.id)
}

fn index_text(catalog: &Scope, args: &[Arg<'_>]) -> Returned {
    let oid = oid_arg(args, 0).unwrap_or_default();
    let number = arg(args, 1).and_then(|n| n.parse::<usize>().ok());
    if let Some(entry) = catalog.by_id(oid) {
        return match number {
            None | Some(0) => created_index_definition(catalog, entry).into(),
            Some(number) => entry
                .columns
                .get(number - 1)
                .map_or_else(String::new, |column| quoted(&column.name))
                .into(),
        };
    }
    let Some(entry) = catalog.by_id(oid.wrapping_sub(INDEX_OID)) else {
        return Returned::Null;
    };
    // With a column number: that column's definition.
    match number {
        None | Some(0) => index_definition(entry).into(),
        Some(number) => entry
            .primary_key
            .get(number - 1)
            .map_or_else(String::new, |&c| quoted(&entry.columns[c].name))
            .into(),
    }
}

/// A relation by oid or by name.
fn function_arguments(catalog: &Scope, args: &[Arg<'_>]) -> Returned {
    let oid = oid_arg(args, 0);
    oid.and_then(|oid| procedures::arguments(catalog, oid))
        .into()
}

fn named(catalog: &Scope, text: Arg<'_>) -> Option<Arc<Entry>> {
    let text = text?;
    let oid = text
        .parse::<u32>()
        .ok()
        .or_else(|| relation_oid(catalog, text).map(|oid| oid as u32))?;
    catalog.by_id(oid).cloned()
}

/// The oid of a name as `regclass` reads it: with or without schema, quoted or not.
pub(crate) fn relation_oid(catalog: &Scope, text: &str) -> Option<i64> {
    if let Ok(oid) = text.trim().parse::<u32>() {
        return Some(i64::from(oid));
    }
    let parts = name_parts(text)?;
    let (schema, name) = match &parts[..] {
        [name] => (None, name),
        [schema, name] | [_, schema, name] => (Some(schema.as_str()), name),
        _ => return None,
    };
    let system = |schema: &str| find(schema, name).map(|table| table.oid);
    let user = |schema: &str| {
        let by_name = catalog.find(schema, name).map(|entry| entry.id);
        by_name.or_else(|| {
            let mut owners = catalog.entries().filter(|e| e.schema_name == schema);
            let owner =
                owners.find(|e| !e.primary_key.is_empty() && e.primary_key_name() == *name)?;
            Some(owner.id + INDEX_OID)
        })
    };
    let oid = match schema {
        None => system(PG_CATALOG).or_else(|| catalog.path.iter().find_map(|schema| user(schema))),
        Some(schema) => user(schema).or_else(|| system(schema)),
    };
    oid.map(i64::from)
}

/// Splits `a."B".c`, folding what is not quoted.
pub(crate) fn name_parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => loop {
                match chars.next()? {
                    '"' if chars.peek() == Some(&'"') => part.extend(chars.next()),
                    '"' => break,
                    c => part.push(c),
                }
            },
            '.' => parts.push(std::mem::take(&mut part)),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

/// A relation's name as `regclass` prints it.
fn relation_name(catalog: &Catalog, oid: u32) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    if let Some(entry) = catalog.by_id(oid) {
        return quoted(&entry.name);
    }
    if let Some(entry) = catalog.by_id(oid.wrapping_sub(INDEX_OID)) {
        return quoted(&entry.primary_key_name());
    }
    match tables().find(|(_, table)| table.oid == oid) {
        Some((schema, table)) if schema == PG_CATALOG => table.name.to_owned(),
        Some((schema, table)) => format!("{schema}.{}", table.name),
        None => oid.to_string(),
    }
}

fn about_session(settings: &Arc<Mutex<Settings>>, process_id: u32) -> Vec<ScalarUDF> {
    use DataType::{Int32, Utf8};
    let (reads, writes) = (Arc::clone(settings), Arc::clone(settings));
    vec![
        make("current_setting", Utf8, Volatility::Stable, move |args| {
            let Some(name) = arg(args, 0) else {
                return Ok(Returned::Null);
            };
            let missing_ok = arg(args, 1).is_some_and(|text| text == "true");
            match lock(&reads).get(name) {
                Ok(value) => Ok(value.into()),
                Err(_) if missing_ok => Ok(Returned::Null),
                Err(error) => Err(external(error)),
            }
        }),
        // Volatile: it must run once, when the statement runs.
        make("set_config", Utf8, Volatility::Volatile, move |args| {
            let (Some(name), Some(value)) = (arg(args, 0), arg(args, 1)) else {
                return Ok(Returned::Null);
            };
            lock(&writes).set(name, value).map_err(external)?;
            Ok(value.into())
        }),
        stable("pg_backend_pid", Int32, move |_| {
            i64::from(process_id).into()
        }),
    ]
}

/// Functions that reach other sessions. Volatile: they must run once, when the statement runs.
fn about_others(shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> Vec<ScalarUDF> {
    let reaching = |name, act: fn(&Handle), what: &'static str| {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        make(name, DataType::Boolean, Volatility::Volatile, move |args| {
            let process_id = arg(args, 0).and_then(|id| id.parse().ok());
            let Some(process_id) = process_id else {
                return Ok(Returned::Null);
            };
            if let Some(user) = shared.sessions.user_of(process_id) {
                let role = lock(&settings).current_user().id;
                check_reach(&shared.catalog.read(), role, user, what).map_err(external)?;
            }
            Ok(shared.sessions.reach(process_id, act).into())
        })
    };
    vec![
        reaching(
            "pg_cancel_backend",
            Handle::cancel,
            "query is being canceled",
        ),
        reaching(
            "pg_terminate_backend",
            Handle::terminate,
            "process is being terminated",
        ),
        AsyncScalarUDF::new(Arc::new(Sleep::new())).into_scalar_udf(),
    ]
}

/// A role reaches the sessions of roles whose rights it has; those of superusers only as one.
fn check_reach(
    catalog: &Catalog,
    role: u32,
    user: u32,
    what: &str,
) -> std::result::Result<(), Error> {
    let actor = Actor { catalog, role };
    if catalog.access.is_superuser(user) && !actor.is_superuser() {
        return Err(Error::privilege(format!(
            "must be a superuser: the {what} of a superuser"
        )));
    }
    let is_signaller = catalog.access.inherited(role).contains(&SIGNAL_BACKEND);
    if is_signaller || actor.has_rights_of(user) {
        return Ok(());
    }
    Err(Error::privilege(format!(
        "must be a member of the role whose {what}"
    )))
}

/// Functions whose answer is the same for everyone, whatever is asked.
fn constants() -> Vec<ScalarUDF> {
    use DataType::{Boolean, Int64, Utf8};
    let mut functions = vec![
        stable("version", Utf8, |_| {
            format!(
                "PostgreSQL {} (Tidewater {})",
                crate::settings::SERVER_VERSION,
                env!("CARGO_PKG_VERSION")
            )
            .into()
        }),
        // What pg_node_tree columns hold is the text already.
        stable("pg_get_expr", Utf8, |args| arg(args, 0).into()),
        stable("pg_tablespace_location", Utf8, |_| "".into()),
        stable("getdatabaseencoding", Utf8, |_| "UTF8".into()),
        stable("pg_char_to_encoding", Int64, |args| {
            let is_ours = |name: &str| name.eq_ignore_ascii_case("utf8");
            arg(args, 0)
                .map(|name| if is_ours(name) { i64::from(UTF8) } else { -1 })
                .into()
        }),
        stable("txid_current", Int64, |_| 0i64.into()),
        stable("pg_is_in_recovery", Boolean, |_| false.into()),
        // There are no advisory locks; asyncpg gives them all back when it resets a session.
        stable("pg_advisory_unlock_all", Utf8, |_| "".into()),
        stable(OPTION_TEXTS, text_list(), |args| {
            let mut items = Vec::new();
            let options = arg(args, 0)
                .and_then(|text| split_array(text, &mut items))
                .map(|()| items);
            let printed = |option: Option<String>| {
                let option = option.unwrap_or_default();
                let (name, value) = option.split_once('=').unwrap_or((&option, ""));
                format!("{} {}", quoted(name), quoted_literal(value))
            };
            options.map_or(Returned::Null, |items| {
                Returned::Texts(items.into_iter().map(printed).collect())
            })
        }),
    ];
    for name in [
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_collation_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_relation_is_publishable",
    ] {
        functions.push(stable(name, Boolean, |args| {
            arg(args, 0).map(|_| true).into()
        }));
    }
    for name in [
        "has_function_privilege",
        "has_type_privilege",
        "has_tablespace_privilege",
        "has_language_privilege",
        "has_foreign_data_wrapper_privilege",
        "has_server_privilege",
    ] {
        functions.push(stable(name, Boolean, |_| true.into()));
    }
    for name in [
        "pg_relation_size",
        "pg_table_size",
        "pg_total_relation_size",
        "pg_indexes_size",
        "pg_database_size",
    ] {
        functions.push(stable(name, Int64, |_| 0i64.into()));
    }
    for name in [
        "shobj_description",
        "pg_get_triggerdef",
        "pg_get_functiondef",
        "pg_get_function_sqlbody",
        "pg_get_statisticsobjdef_columns",
        "pg_get_statisticsobjdef",
        "pg_get_partkeydef",
        "inet_server_addr",
        "inet_client_addr",
    ] {
        functions.push(stable(name, Utf8, |_| Returned::Null));
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_if_they_must() {
        assert_eq!(quoted("flights"), "flights");
        assert_eq!(quoted("Flights"), "\"Flights\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("select"), "\"select\"");
        assert_eq!(quoted_literal("it's"), "'it''s'");
    }

    #[test]
    fn regclass_reads_quoted_and_qualified_names() {
        assert_eq!(name_parts("public.\"A b\"").unwrap(), ["public", "A b"]);
        assert_eq!(name_parts("PG_Class").unwrap(), ["pg_class"]);
        assert!(name_parts("a..b").is_none());
        let nothing = Scope {
            catalog: Arc::default(),
            path: crate::namespace::default_path(),
        };
        assert_eq!(relation_oid(&nothing, "pg_catalog.pg_class"), Some(1259));
        assert_eq!(relation_oid(&nothing, "nothing"), None);
    }

    #[test]
    fn sizes() {
        assert_eq!(size_pretty(10_239), "10239 bytes");
        assert_eq!(size_pretty(10_240), "10 kB");
        assert_eq!(size_pretty(20 << 20), "20 MB");
    }
}
