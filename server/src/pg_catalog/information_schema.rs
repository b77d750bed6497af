//! The SQL standard's views of the catalog.

use crate::access::actor::Object;
use crate::access::privilege::{AclItem, PUBLIC};
use crate::access::role::ROOT_ID;
use crate::catalog::{Catalog, Kind};
use crate::pg_catalog::relations::{deparsed, view_definition};
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, row};
use crate::pg_catalog::types::other_name;
use crate::pg_catalog::{self, INFORMATION_SCHEMA, SCHEMA as PG_CATALOG, SCHEMAS};
use crate::temporary_schema::is_temporary;
use planner::values::record::Record;
use planner::values::types::{SCALARS, SqlType};

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 13_101,
        name: "schemata",
        columns: &[
            ("catalog_name", T::Text), ("schema_name", T::Text), ("schema_owner", T::Text),
            ("default_character_set_name", T::Text), ("sql_path", T::Text),
        ],
        rows: |s| {
            SCHEMAS
                .into_iter()
                .map(|(name, _)| (name, ROOT_ID))
                .chain(s.catalog.namespaces().map(|schema| (schema.name.as_str(), schema.owner)))
                .map(|(name, owner)| row![s.catalog.database().name.clone(), name, s.catalog.access.name_of(owner), NULL, NULL])
                .collect()
        },
    },
    SystemTable {
        oid: 13_102,
        name: "tables",
        columns: &[
            ("table_catalog", T::Text), ("table_schema", T::Text), ("table_name", T::Text), ("table_type", T::Text),
            ("self_referencing_column_name", T::Text), ("reference_generation", T::Text),
            ("user_defined_type_catalog", T::Text), ("user_defined_type_schema", T::Text),
            ("user_defined_type_name", T::Text), ("is_insertable_into", T::Text), ("is_typed", T::Text),
            ("commit_action", T::Text),
        ],
        rows: tables,
    },
    SystemTable {
        oid: 13_103,
        name: "columns",
        columns: &[
            ("table_catalog", T::Text), ("table_schema", T::Text), ("table_name", T::Text), ("column_name", T::Text),
            ("ordinal_position", T::Int4), ("column_default", T::Text), ("is_nullable", T::Text),
            ("data_type", T::Text), ("character_maximum_length", T::Int4), ("character_octet_length", T::Int4),
            ("numeric_precision", T::Int4), ("numeric_precision_radix", T::Int4), ("numeric_scale", T::Int4),
            ("datetime_precision", T::Int4), ("udt_catalog", T::Text), ("udt_schema", T::Text), ("udt_name", T::Text),
            ("is_identity", T::Text), ("is_generated", T::Text), ("is_updatable", T::Text),
        ],
        rows: columns,
    },
    SystemTable {
        oid: 13_104,
        name: "views",
        columns: &[
            ("table_catalog", T::Text), ("table_schema", T::Text), ("table_name", T::Text),
            ("view_definition", T::Text), ("check_option", T::Text), ("is_updatable", T::Text),
        ],
        rows: |s| {
            s.catalog
                .relations()
                .filter(|e| e.kind == Kind::View)
                .map(|e| row![s.catalog.database().name.clone(), e.schema_name.clone(), e.name.clone(), view_definition(s.catalog, e), "NONE", "NO"])
                .collect()
        },
    },
    SystemTable {
        oid: 13_105,
        name: "table_constraints",
        columns: &[
            ("constraint_catalog", T::Text), ("constraint_schema", T::Text), ("constraint_name", T::Text),
            ("table_catalog", T::Text), ("table_schema", T::Text), ("table_name", T::Text),
            ("constraint_type", T::Text), ("is_deferrable", T::Text), ("initially_deferred", T::Text),
            ("enforced", T::Text),
        ],
        rows: |s| {
            s.catalog
                .relations()
                .filter(|e| !e.primary_key.is_empty())
                .map(|e| {
                    row![
                        s.catalog.database().name.clone(), e.schema_name.clone(), e.primary_key_name(),
                        s.catalog.database().name.clone(), e.schema_name.clone(),
                        e.name.clone(), "PRIMARY KEY", "NO",
                        "NO", "YES",
                    ]
                })
                .collect()
        },
    },
    SystemTable {
        oid: 13_106,
        name: "key_column_usage",
        columns: &[
            ("constraint_catalog", T::Text), ("constraint_schema", T::Text), ("constraint_name", T::Text),
            ("table_catalog", T::Text), ("table_schema", T::Text), ("table_name", T::Text), ("column_name", T::Text),
            ("ordinal_position", T::Int4), ("position_in_unique_constraint", T::Int4),
        ],
        rows: key_columns,
    },
    SystemTable {
        oid: 13_107,
        name: "table_privileges",
        columns: PRIVILEGE_COLUMNS,
        rows: |s| table_privileges(s, true),
    },
    SystemTable {
        oid: 13_108,
        name: "role_table_grants",
        columns: PRIVILEGE_COLUMNS,
        rows: |s| table_privileges(s, false),
    },
    SystemTable {
        oid: 13_109,
        name: "enabled_roles",
        columns: &[("role_name", T::Text)],
        rows: |s| {
            let access = &s.catalog.access;
            let enabled = access.roles().filter(|role| is_enabled(s, role.id));
            enabled.map(|role| row![role.name.clone()]).collect()
        },
    },
    SystemTable {
        oid: 13_110,
        name: "applicable_roles",
        columns: &[("grantee", T::Text), ("role_name", T::Text), ("is_grantable", T::Text)],
        rows: |s| {
            let access = &s.catalog.access;
            let members = access.roles().filter(|role| is_enabled(s, role.id));
            let all = members.flat_map(|role| role.memberships.iter().map(move |of| (role, of)));
            all.map(|(role, of)| row![role.name.clone(), access.name_of(of.role), yes(of.admin)]).collect()
        },
    },
];

#[rustfmt::skip] // As above.
const PRIVILEGE_COLUMNS: &[(&str, T)] = &[
    ("grantor", T::Text), ("grantee", T::Text), ("table_catalog", T::Text), ("table_schema", T::Text),
    ("table_name", T::Text), ("privilege_type", T::Text), ("is_grantable", T::Text), ("with_hierarchy", T::Text),
];

fn yes(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

/// Whether a role is the reader, or one that the reader is a member of.
fn is_enabled(source: &Source<'_>, role: u32) -> bool {
    let reader = source.context.role;
    reader.is_none_or(|reader| source.catalog.access.is_member(reader, role))
}

/// Privileges on relations that the reader gave or has; with `public`, those of everyone too.
fn table_privileges(source: &Source<'_>, public: bool) -> Vec<Vec<Value>> {
    let access = &source.catalog.access;
    let mut rows = Vec::new();
    for entry in source.catalog.relations() {
        // As in PostgreSQL, what the standard does not know is left out.
        if !matches!(entry.kind, Kind::Table | Kind::View | Kind::Source { .. }) {
            continue;
        }
        let object: Object<'_> = entry.object();
        let is_shown = |item: &&AclItem| match item.grantee {
            PUBLIC => public || is_enabled(source, item.grantor),
            grantee => is_enabled(source, grantee) || is_enabled(source, item.grantor),
        };
        for item in object.rights().items().filter(is_shown) {
            let grantee = match item.grantee {
                PUBLIC => "PUBLIC".to_owned(),
                grantee => access.name_of(grantee),
            };
            // The owner may always pass a privilege on.
            let all = item.privileges & object.class.all();
            for name in all.names() {
                let grantable = item.grantee == entry.owner
                    || item.grantable.names().any(|known| known == name);
                rows.push(row![
                    access.name_of(item.grantor),
                    grantee.clone(),
                    source.catalog.database().name.clone(),
                    entry.schema_name.clone(),
                    entry.name.clone(),
                    name,
                    yes(grantable),
                    yes(name == "SELECT"),
                ]);
            }
        }
    }
    rows
}

fn tables(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in source.catalog.relations() {
        if is_temporary(&entry.schema_name) && !source.context.path.contains(&entry.schema_name) {
            continue; // Another session's.
        }
        // Materialized views are not in the standard; PostgreSQL leaves them out.
        let (table_type, insertable) = match entry.kind {
            Kind::Table if is_temporary(&entry.schema_name) => ("LOCAL TEMPORARY", "YES"),
            Kind::Table => ("BASE TABLE", "YES"),
            Kind::View => ("VIEW", "NO"),
            Kind::Source { .. } => ("FOREIGN", "NO"),
            Kind::MaterializedView
            | Kind::Sequence(_)
            | Kind::Index(_)
            | Kind::Sink(_)
            | Kind::Function(_)
            | Kind::Type(_) => {
                continue;
            }
        };
        rows.push(row![
            source.catalog.database().name.clone(),
            entry.schema_name.clone(),
            entry.name.clone(),
            table_type,
            NULL,
            NULL,
            NULL,
            NULL,
            NULL,
            insertable,
            "NO",
            NULL
        ]);
    }
    rows.extend(crate::pg_catalog::tables().map(|(schema, table)| {
        let table_type = if schema == INFORMATION_SCHEMA {
            "VIEW"
        } else {
            "BASE TABLE"
        };
        row![
            source.catalog.database().name.clone(),
            schema,
            table.name,
            table_type,
            NULL,
            NULL,
            NULL,
            NULL,
            NULL,
            "NO",
            "NO",
            NULL
        ]
    }));
    rows
}

fn columns(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in source
        .catalog
        .relations()
        .filter(|e| !matches!(e.kind, Kind::MaterializedView | Kind::Index(_)))
    {
        for (at, column) in entry.columns.iter().enumerate() {
            rows.push(column_row(
                source.catalog,
                &entry.schema_name,
                &entry.name,
                at,
                column,
            ));
        }
    }
    for (schema, table) in crate::pg_catalog::tables() {
        for (at, field) in table.schema().fields().iter().enumerate() {
            let sql_type = SqlType::of(field.data_type());
            let column = crate::catalog::Column::new(field.name(), sql_type);
            rows.push(column_row(source.catalog, schema, table.name, at, &column));
        }
    }
    rows
}

fn column_row(
    catalog: &Catalog,
    schema: &str,
    table: &str,
    at: usize,
    column: &crate::catalog::Column,
) -> Vec<Value> {
    let database = catalog.database().name.as_str();
    let sql_type = &column.sql_type;
    let length = match sql_type {
        SqlType::Varchar(length) => *length,
        SqlType::Char(length) => Some(*length),
        _ => None,
    };
    let (precision, radix, scale) = match sql_type {
        SqlType::Int2 => (Some(16), Some(2), Some(0)),
        SqlType::Int4 => (Some(32), Some(2), Some(0)),
        SqlType::Int8 => (Some(64), Some(2), Some(0)),
        SqlType::Float4 => (Some(24), Some(2), None),
        SqlType::Float8 => (Some(53), Some(2), None),
        SqlType::Numeric(Some((precision, scale))) => (
            Some(i32::from(*precision)),
            Some(10),
            Some(i32::from(*scale)),
        ),
        SqlType::Numeric(None) => (None, Some(10), None),
        _ => (None, None, None),
    };
    let datetime = match sql_type {
        SqlType::Date => Some(0),
        SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => Some(6),
        _ => None,
    };
    let data_type = match sql_type {
        SqlType::Array(_) => "ARRAY".to_owned(),
        SqlType::Record(Record { named: Some(_), .. }) => "USER-DEFINED".to_owned(),
        other => other.base_name(),
    };
    let (udt_schema, udt) = match sql_type {
        SqlType::Array(_) => {
            let (schema, name) = type_name(catalog, sql_type.element());
            (schema, format!("_{name}"))
        }
        other => type_name(catalog, other),
    };
    let updatable = if pg_catalog::is_schema(schema) {
        "NO"
    } else {
        "YES"
    };
    row![
        database,
        schema,
        table,
        column.name.clone(),
        at + 1,
        column
            .default
            .as_ref()
            .filter(|_| column.identity.is_none())
            .map(|default| deparsed(default, &column.sql_type)),
        if column.not_null { "NO" } else { "YES" },
        data_type,
        length,
        length.map(|l| l * 4),
        precision,
        radix,
        scale,
        datetime,
        database,
        udt_schema,
        udt,
        if column.identity.is_some() {
            "YES"
        } else {
            "NO"
        },
        if column.generated.is_some() {
            "ALWAYS"
        } else {
            "NEVER"
        },
        updatable,
    ]
}

/// Schema and `typname` of a type that is no array.
fn type_name(catalog: &Catalog, sql_type: &SqlType) -> (String, String) {
    let oid = sql_type.oid();
    if let Some(entry) = catalog.types().find(|entry| entry.id == oid) {
        return (entry.schema_name.clone(), entry.name.clone());
    }
    let mut scalars = SCALARS.iter();
    let known = scalars.find(|(_, row)| row.oid == oid);
    let name = match known {
        Some((_, row)) => row.name,
        None => other_name(oid).unwrap_or("text"),
    };
    (PG_CATALOG.to_owned(), name.to_owned())
}

fn key_columns(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in source.catalog.relations() {
        for (at, &key) in entry.primary_key.iter().enumerate() {
            rows.push(row![
                source.catalog.database().name.clone(),
                entry.schema_name.clone(),
                entry.primary_key_name(),
                source.catalog.database().name.clone(),
                entry.schema_name.clone(),
                entry.name.clone(),
                entry.columns[key].name.clone(),
                at + 1,
                NULL,
            ]);
        }
    }
    rows
}
