//! Tables about types, functions and what they are compared by.

use crate::access::role::ROOT_ID;
use crate::pg_catalog::PG_CATALOG_OID;
use crate::pg_catalog::relations::{DEFAULT_COLLATION, namespace};
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, row};
use planner::values::map::{MAP_ARRAY_OID, MAP_OID};
use planner::values::types::{SCALARS, SqlType};

/// Types that clients look up and that we have under another name: oid, name, array oid, category,
/// bytes, alignment.
static OTHERS: &[(u32, &str, u32, &str, i32, &str)] = &[
    (18, "char", 1002, "Z", 1, "c"),
    (19, "name", 1003, "S", 64, "c"),
    (22, "int2vector", 1006, "A", -1, "i"),
    (24, "regproc", 1008, "N", 4, "i"),
    (30, "oidvector", 1013, "A", -1, "i"),
    (194, "pg_node_tree", 0, "Z", -1, "i"),
    (705, "unknown", 0, "X", -2, "c"),
    (1033, "aclitem", 1034, "U", 12, "i"),
    (2205, "regclass", 2210, "N", 4, "i"),
    (2206, "regtype", 2211, "N", 4, "i"),
    (2249, "record", 2287, "P", -1, "d"),
    (2278, "void", 0, "P", 4, "i"),
    (2279, "trigger", 0, "P", 4, "i"),
    (MAP_OID, "map", MAP_ARRAY_OID, "U", -1, "d"),
];

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 1247,
        name: "pg_type",
        columns: &[
            ("oid", T::Oid), ("typname", T::Text), ("typnamespace", T::Oid), ("typowner", T::Oid),
            ("typlen", T::Int2), ("typbyval", T::Bool), ("typtype", T::Text), ("typcategory", T::Text),
            ("typispreferred", T::Bool), ("typisdefined", T::Bool), ("typdelim", T::Text), ("typrelid", T::Oid),
            ("typsubscript", T::Text), ("typelem", T::Oid), ("typarray", T::Oid), ("typinput", T::Text),
            ("typoutput", T::Text), ("typreceive", T::Text), ("typsend", T::Text), ("typmodin", T::Text),
            ("typmodout", T::Text), ("typanalyze", T::Text), ("typalign", T::Text), ("typstorage", T::Text),
            ("typnotnull", T::Bool), ("typbasetype", T::Oid), ("typtypmod", T::Int4), ("typndims", T::Int4),
            ("typcollation", T::Oid), ("typdefaultbin", T::Text), ("typdefault", T::Text), ("typacl", T::Texts),
        ],
        rows: types,
    },
    SystemTable {
        oid: 3456,
        name: "pg_collation",
        columns: &[
            ("oid", T::Oid), ("collname", T::Text), ("collnamespace", T::Oid), ("collowner", T::Oid),
            ("collprovider", T::Text), ("collisdeterministic", T::Bool), ("collencoding", T::Int4),
            ("collcollate", T::Text), ("collctype", T::Text), ("colliculocale", T::Text), ("collversion", T::Text),
        ],
        rows: |_| {
            vec![
                row![DEFAULT_COLLATION, "default", PG_CATALOG_OID, ROOT_ID, "d", true, -1, NULL, NULL, NULL, NULL],
                row![950, "C", PG_CATALOG_OID, ROOT_ID, "c", true, -1, "C", "C", NULL, NULL],
            ]
        },
    },
    SystemTable {
        oid: 2601,
        name: "pg_am",
        columns: &[("oid", T::Oid), ("amname", T::Text), ("amhandler", T::Text), ("amtype", T::Text)],
        rows: |_| {
            vec![row![2, "heap", "heap_tableam_handler", "t"], row![403, "btree", "bthandler", "i"]]
        },
    },
    SystemTable {
        oid: 2612,
        name: "pg_language",
        columns: &[
            ("oid", T::Oid), ("lanname", T::Text), ("lanowner", T::Oid), ("lanispl", T::Bool),
            ("lanpltrusted", T::Bool), ("lanplcallfoid", T::Oid), ("tableoid", T::Oid),
        ],
        rows: |_| {
            vec![
                row![12, "internal", ROOT_ID, false, false, 0, 2612],
                row![14, "sql", ROOT_ID, false, true, 0, 2612],
            ]
        },
    },
];

struct TypeRecord<'a> {
    oid: u32,
    name: &'a str,
    namespace: u32,
    owner: u32,
    /// Oid in `pg_class` of a composite type.
    relation: u32,
    bytes: i32,
    kind: &'a str,
    category: &'a str,
    element: u32,
    array: u32,
    align: &'a str,
    storage: &'a str,
}

impl TypeRecord<'_> {
    fn row(&self) -> Vec<Value> {
        let is_text = matches!(self.category, "S");
        let by_value = (1..=8).contains(&self.bytes);
        let family = match self.kind {
            "c" => "record_",
            _ if self.name.starts_with('_') => "array_",
            _ => self.name,
        };
        let functions = |suffix: &str| format!("{family}{suffix}");
        let subscript = match family {
            "array_" => "array_subscript_handler",
            _ => "-",
        };
        row![
            self.oid,
            self.name,
            self.namespace,
            self.owner,
            self.bytes,
            by_value,
            self.kind,
            self.category,
            false,
            true,
            ",",
            self.relation,
            subscript,
            self.element,
            self.array,
            functions("in"),
            functions("out"),
            functions("recv"),
            functions("send"),
            "-",
            "-",
            "-",
            self.align,
            self.storage,
            false,
            0,
            -1,
            0,
            if is_text { DEFAULT_COLLATION } else { 0 },
            NULL,
            NULL,
            NULL,
        ]
    }
}

/// The row of an array type.
fn array(of: &TypeRecord<'_>) -> Vec<Value> {
    let record = TypeRecord {
        oid: of.array,
        name: &format!("_{}", of.name),
        relation: 0,
        bytes: -1,
        kind: "b",
        category: "A",
        element: of.oid,
        array: 0,
        align: if of.align == "d" { "d" } else { "i" },
        storage: "x",
        ..*of
    };
    record.row()
}

fn types(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for (_, row) in &SCALARS {
        let record = TypeRecord {
            oid: row.oid,
            name: row.name,
            namespace: PG_CATALOG_OID,
            owner: ROOT_ID,
            relation: 0,
            bytes: i32::from(row.value_bytes),
            kind: "b",
            category: row.category,
            element: 0,
            array: row.array_oid,
            align: row.align,
            storage: row.storage,
        };
        rows.push(record.row());
        rows.push(array(&record));
    }
    for &(oid, name, array_oid, category, bytes, align) in OTHERS {
        let element = match name {
            "int2vector" => 21,
            "oidvector" => 26,
            _ => 0,
        };
        let kind = if category == "P" { "p" } else { "b" };
        let record = TypeRecord {
            oid,
            name,
            namespace: PG_CATALOG_OID,
            owner: ROOT_ID,
            relation: 0,
            bytes,
            kind,
            category,
            element,
            array: array_oid,
            align,
            storage: "p",
        };
        rows.push(record.row());
        if array_oid != 0 {
            rows.push(array(&record));
        }
    }
    for entry in source.catalog.types() {
        let Some(SqlType::Record(composite)) = entry.composite() else {
            continue;
        };
        let record = TypeRecord {
            oid: entry.id,
            name: &entry.name,
            namespace: namespace(source, entry),
            owner: entry.owner,
            relation: entry.id,
            bytes: -1,
            kind: "c",
            category: "C",
            element: 0,
            array: composite.array_oid(),
            align: "d",
            storage: "x",
        };
        rows.push(record.row());
        rows.push(array(&record));
    }
    rows
}

/// The oid of a type that is none of ours.
pub(crate) fn other_oid(name: &str) -> Option<u32> {
    let mut others = OTHERS.iter();
    others.find(|other| other.1 == name).map(|other| other.0)
}

/// The name of a type that is none of ours, for `format_type`.
pub(crate) fn other_name(oid: u32) -> Option<&'static str> {
    OTHERS
        .iter()
        .find(|other| other.0 == oid)
        .map(|other| if oid == 18 { "\"char\"" } else { other.1 })
}
