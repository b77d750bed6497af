//! `pg_proc`: the functions that users made. Those of the server are not there.

use planner::SqlFunction;
use planner::values::types::{SqlType, by_name};

use crate::catalog::{Catalog, Entry};
use crate::pg_catalog::PUBLIC_OID;
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, row};

/// Oid of language `sql`.
const SQL_OID: u32 = 14;

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 1255,
        name: "pg_proc",
        columns: &[
            ("oid", T::Oid), ("proname", T::Text), ("pronamespace", T::Oid), ("proowner", T::Oid), ("prolang", T::Oid),
            ("procost", T::Float4), ("prorows", T::Float4), ("provariadic", T::Oid), ("prosupport", T::Text),
            ("prokind", T::Text), ("prosecdef", T::Bool), ("proleakproof", T::Bool), ("proisstrict", T::Bool),
            ("proretset", T::Bool), ("provolatile", T::Text), ("proparallel", T::Text), ("pronargs", T::Int2),
            ("pronargdefaults", T::Int2), ("prorettype", T::Oid), ("proargtypes", T::Oids), ("proallargtypes", T::Oids),
            ("proargmodes", T::Texts), ("proargnames", T::Texts), ("proargdefaults", T::Text), ("prosrc", T::Text),
            ("probin", T::Text), ("proconfig", T::Texts), ("proacl", T::Texts),
        ],
        rows: |s| {
            let functions = s.catalog.functions();
            functions.filter_map(|entry| Some(procedure(s, entry, entry.function()?))).collect()
        },
    },
];

fn procedure(source: &Source<'_>, entry: &Entry, function: &SqlFunction) -> Vec<Value> {
    let schema = source.catalog.schema_oid(&entry.schema_name);
    let types = function
        .parameters
        .iter()
        .map(|p| i64::from(oid_of(&p.data_type)));
    let names = function
        .parameters
        .iter()
        .map(|p| p.name.clone().unwrap_or_default());
    let has_names = function.parameters.iter().any(|p| p.name.is_some());
    row![
        entry.id,
        function.name.clone(),
        schema.unwrap_or(PUBLIC_OID),
        entry.owner,
        SQL_OID,
        100.0,
        0.0,
        0,
        "-",
        "f",
        false,
        false,
        function.is_strict,
        false,
        function.volatility.to_string(),
        "u",
        function.parameters.len(),
        0,
        oid_of(&function.returns),
        types.collect::<Vec<i64>>(),
        NULL,
        NULL,
        has_names.then(|| names.collect::<Vec<String>>()),
        NULL,
        function.body.clone(),
        NULL,
        NULL,
        NULL,
    ]
}

fn oid_of(written: &str) -> u32 {
    let arrow = planner::sql_function::arrow_type_of(written);
    let named = by_name(written);
    named
        .or_else(|| arrow.ok().map(|arrow| SqlType::of(&arrow)))
        .map_or(0, |sql_type| sql_type.oid())
}

/// The parameters of a function as psql shows them.
pub(crate) fn arguments(catalog: &Catalog, oid: u32) -> Option<String> {
    let function = catalog.by_id(oid)?.function()?;
    let shown = function.parameters.iter().map(|parameter| {
        let data_type = planner::sql_function::type_name(&parameter.data_type);
        match &parameter.name {
            Some(name) => format!("{name} {data_type}"),
            None => data_type,
        }
    });
    Some(shown.collect::<Vec<_>>().join(", "))
}

/// The type of a function's result as psql shows it.
pub(crate) fn result(catalog: &Catalog, oid: u32) -> Option<String> {
    let function = catalog.by_id(oid)?.function()?;
    Some(planner::sql_function::type_name(&function.returns))
}
