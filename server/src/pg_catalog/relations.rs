//! Tables about relations: pg_class, pg_attribute and what hangs on them.

use crate::access::role::ROOT_ID;
use crate::catalog::{Catalog, Column, Entry, Identity, Kind};
use crate::definition::query_text;
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, no_rows, row};
use crate::pg_catalog::{
    CONSTRAINT_OID, DEFAULT_OID, INDEX_OID, INFORMATION_SCHEMA, PG_CATALOG_OID, PUBLIC_OID,
    RULE_OID, oid_of_schema, tables,
};
use crate::temporary_schema::is_temporary;
pub(crate) use planner::names::quoted_identifier as quoted;
use planner::values::types::{SCALARS, SqlType};

/// Oid of access method heap.
const HEAP: u32 = 2;
/// Oid of access method btree.
const BTREE: u32 = 403;
/// Oids above it are of views.
const FIRST_VIEW: u32 = 12_000;
/// Columns that a sequence has as a relation.
const SEQUENCE_COLUMNS: usize = 3;
/// Oid of the default collation.
pub(crate) const DEFAULT_COLLATION: u32 = 100;
/// Oid of the foreign server that sources belong to.
pub(crate) const NEXMARK_SERVER: u32 = 16_000;

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 1259,
        name: "pg_class",
        columns: &[
            ("oid", T::Oid), ("relname", T::Text), ("relnamespace", T::Oid), ("reltype", T::Oid),
            ("reloftype", T::Oid), ("relowner", T::Oid), ("relam", T::Oid), ("relfilenode", T::Oid),
            ("reltablespace", T::Oid), ("relpages", T::Int4), ("reltuples", T::Float4), ("relallvisible", T::Int4),
            ("reltoastrelid", T::Oid), ("relhasindex", T::Bool), ("relisshared", T::Bool),
            ("relpersistence", T::Text), ("relkind", T::Text), ("relnatts", T::Int2), ("relchecks", T::Int2),
            ("relhasrules", T::Bool), ("relhastriggers", T::Bool), ("relhassubclass", T::Bool),
            ("relrowsecurity", T::Bool), ("relforcerowsecurity", T::Bool), ("relispopulated", T::Bool),
            ("relreplident", T::Text), ("relispartition", T::Bool), ("relrewrite", T::Oid),
            ("relfrozenxid", T::Int8), ("relminmxid", T::Int8), ("relacl", T::Texts), ("reloptions", T::Texts),
            ("relpartbound", T::Text),
        ],
        rows: classes,
    },
    SystemTable {
        oid: 1249,
        name: "pg_attribute",
        columns: &[
            ("attrelid", T::Oid), ("attname", T::Text), ("atttypid", T::Oid), ("attstattarget", T::Int4),
            ("attlen", T::Int2), ("attnum", T::Int2), ("attndims", T::Int4), ("attcacheoff", T::Int4),
            ("atttypmod", T::Int4), ("attbyval", T::Bool), ("attalign", T::Text), ("attstorage", T::Text),
            ("attcompression", T::Text), ("attnotnull", T::Bool), ("atthasdef", T::Bool), ("atthasmissing", T::Bool),
            ("attidentity", T::Text), ("attgenerated", T::Text), ("attisdropped", T::Bool), ("attislocal", T::Bool),
            ("attinhcount", T::Int4), ("attcollation", T::Oid), ("attacl", T::Texts), ("attoptions", T::Texts),
            ("attfdwoptions", T::Texts), ("attmissingval", T::Text),
        ],
        rows: attributes,
    },
    SystemTable {
        oid: 2604,
        name: "pg_attrdef",
        columns: &[("oid", T::Oid), ("adrelid", T::Oid), ("adnum", T::Int2), ("adbin", T::Text)],
        rows: defaults,
    },
    SystemTable {
        oid: 2610,
        name: "pg_index",
        columns: &[
            ("indexrelid", T::Oid), ("indrelid", T::Oid), ("indnatts", T::Int2), ("indnkeyatts", T::Int2),
            ("indisunique", T::Bool), ("indnullsnotdistinct", T::Bool), ("indisprimary", T::Bool),
            ("indisexclusion", T::Bool), ("indimmediate", T::Bool), ("indisclustered", T::Bool),
            ("indisvalid", T::Bool), ("indcheckxmin", T::Bool), ("indisready", T::Bool), ("indislive", T::Bool),
            ("indisreplident", T::Bool), ("indkey", T::Int2s), ("indcollation", T::Oids), ("indclass", T::Oids),
            ("indoption", T::Int2s), ("indexprs", T::Text), ("indpred", T::Text),
        ],
        rows: indexes,
    },
    SystemTable {
        oid: 2606,
        name: "pg_constraint",
        columns: &[
            ("oid", T::Oid), ("conname", T::Text), ("connamespace", T::Oid), ("contype", T::Text),
            ("condeferrable", T::Bool), ("condeferred", T::Bool), ("convalidated", T::Bool), ("conrelid", T::Oid),
            ("contypid", T::Oid), ("conindid", T::Oid), ("conparentid", T::Oid), ("confrelid", T::Oid),
            ("confupdtype", T::Text), ("confdeltype", T::Text), ("confmatchtype", T::Text), ("conislocal", T::Bool),
            ("coninhcount", T::Int4), ("connoinherit", T::Bool), ("conkey", T::Int2s), ("confkey", T::Int2s),
            ("conpfeqop", T::Oids), ("conppeqop", T::Oids), ("conffeqop", T::Oids), ("confdelsetcols", T::Int2s),
            ("conexclop", T::Oids), ("conbin", T::Text), ("tableoid", T::Oid),
        ],
        rows: constraints,
    },
    SystemTable {
        oid: 2618,
        name: "pg_rewrite",
        columns: &[
            ("oid", T::Oid), ("rulename", T::Text), ("ev_class", T::Oid), ("ev_type", T::Text),
            ("ev_enabled", T::Text), ("is_instead", T::Bool), ("ev_qual", T::Text), ("ev_action", T::Text),
            ("tableoid", T::Oid),
        ],
        rows: rules,
    },
    SystemTable {
        oid: 2608,
        name: "pg_depend",
        columns: &[
            ("classid", T::Oid), ("objid", T::Oid), ("objsubid", T::Int4), ("refclassid", T::Oid),
            ("refobjid", T::Oid), ("refobjsubid", T::Int4), ("deptype", T::Text),
        ],
        rows: dependencies,
    },
    SystemTable {
        oid: 12_001,
        name: "pg_tables",
        columns: &[
            ("schemaname", T::Text), ("tablename", T::Text), ("tableowner", T::Text), ("tablespace", T::Text),
            ("hasindexes", T::Bool), ("hasrules", T::Bool), ("hastriggers", T::Bool), ("rowsecurity", T::Bool),
        ],
        rows: |s| {
            of_kind(s, |kind| *kind == Kind::Table)
                .map(|e| row![e.schema_name.clone(), e.name.clone(), s.catalog.access.name_of(e.owner), NULL, !e.primary_key.is_empty(), false, false, false])
                .collect()
        },
    },
    SystemTable {
        oid: 12_002,
        name: "pg_views",
        columns: &[("schemaname", T::Text), ("viewname", T::Text), ("viewowner", T::Text), ("definition", T::Text)],
        rows: |s| {
            of_kind(s, |kind| *kind == Kind::View)
                .map(|e| row![e.schema_name.clone(), e.name.clone(), s.catalog.access.name_of(e.owner), view_definition(s.catalog, e)])
                .collect()
        },
    },
    SystemTable {
        oid: 12_003,
        name: "pg_matviews",
        columns: &[
            ("schemaname", T::Text), ("matviewname", T::Text), ("matviewowner", T::Text), ("tablespace", T::Text),
            ("hasindexes", T::Bool), ("ispopulated", T::Bool), ("definition", T::Text),
        ],
        rows: |s| {
            of_kind(s, |kind| *kind == Kind::MaterializedView)
                .map(|e| row![e.schema_name.clone(), e.name.clone(), s.catalog.access.name_of(e.owner), NULL, false, !e.creating, view_definition(s.catalog, e)])
                .collect()
        },
    },
    SystemTable {
        oid: 12_004,
        name: "pg_indexes",
        columns: &[
            ("schemaname", T::Text), ("tablename", T::Text), ("indexname", T::Text), ("tablespace", T::Text),
            ("indexdef", T::Text),
        ],
        rows: |s| {
            let of_key = with_key(s)
                .map(|e| row![e.schema_name.clone(), e.name.clone(), e.primary_key_name(), NULL, index_definition(e)]);
            let created = of_kind(s, |kind| matches!(kind, Kind::Index(_))).filter_map(|e| {
                let (of, _) = indexed_columns(s.catalog, e)?;
                let definition = created_index_definition(s.catalog, e);
                Some(row![e.schema_name.clone(), of.name.clone(), e.name.clone(), NULL, definition])
            });
            of_key.chain(created).collect()
        },
    },
    SystemTable {
        oid: 3118,
        name: "pg_foreign_table",
        columns: &[("ftrelid", T::Oid), ("ftserver", T::Oid), ("ftoptions", T::Texts)],
        rows: |s| {
            s.catalog
                .relations()
                .filter_map(|e| match &e.kind {
                    Kind::Source { options } => {
                        let options: Vec<String> = options.iter().map(|(k, v)| format!("{k}={v}")).collect();
                        Some(row![e.id, NEXMARK_SERVER, options])
                    }
                    _ => None,
                })
                .collect()
        },
    },
    SystemTable {
        oid: 2609,
        name: "pg_description",
        columns: &[
            ("objoid", T::Oid), ("classoid", T::Oid), ("objsubid", T::Int4), ("description", T::Text),
        ],
        rows: descriptions,
    },
    SystemTable {
        oid: 2224,
        name: "pg_sequence",
        columns: &[
            ("seqrelid", T::Oid), ("seqtypid", T::Oid), ("seqstart", T::Int8), ("seqincrement", T::Int8),
            ("seqmax", T::Int8), ("seqmin", T::Int8), ("seqcache", T::Int8), ("seqcycle", T::Bool),
        ],
        rows: |s| {
            s.catalog
                .relations()
                .filter_map(|e| match &e.kind {
                    Kind::Sequence(seq) => Some(row![
                        e.id, seq.sql_type.oid(), seq.start, seq.increment, seq.max, seq.min, 1i64, false,
                    ]),
                    _ => None,
                })
                .collect()
        },
    },
    SystemTable {
        oid: 2611,
        name: "pg_inherits",
        columns: &[
            ("inhrelid", T::Oid), ("inhparent", T::Oid), ("inhseqno", T::Int4), ("inhdetachpending", T::Bool),
        ],
        rows: no_rows,
    },
];

fn of_kind<'a>(source: &'a Source<'_>, is: fn(&Kind) -> bool) -> impl Iterator<Item = &'a Entry> {
    source
        .catalog
        .relations()
        .map(AsRef::as_ref)
        .filter(move |entry: &&Entry| is(&entry.kind))
}

fn with_key<'a>(source: &'a Source<'_>) -> impl Iterator<Item = &'a Entry> {
    of_kind(source, |kind| *kind == Kind::Table).filter(|entry| !entry.primary_key.is_empty())
}

/// A view's query as `pg_get_viewdef` prints it: behind a blank, with a semicolon.
pub(crate) fn view_definition(catalog: &Catalog, entry: &Entry) -> Option<String> {
    let text = query_text(catalog, entry)?;
    Some(format!(" {};", text.trim().trim_end_matches(';')))
}

/// A primary key's index as `pg_get_indexdef` prints it.
pub(crate) fn index_definition(entry: &Entry) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        quoted(&entry.primary_key_name()),
        quoted(&entry.schema_name),
        quoted(&entry.name),
        key_columns(entry)
    )
}

/// The columns of a primary key, for messages.
pub(crate) fn key_columns(entry: &Entry) -> String {
    let names: Vec<String> = entry
        .primary_key
        .iter()
        .map(|&c| quoted(&entry.columns[c].name))
        .collect();
    names.join(", ")
}

struct Class<'a> {
    oid: u32,
    name: &'a str,
    namespace: u32,
    access_method: u32,
    kind: &'static str,
    columns: usize,
    rows: i64,
    has_index: bool,
    has_rules: bool,
    owner: u32,
    acl: Value,
    is_temporary: bool,
    is_populated: bool,
}

impl Class<'_> {
    fn row(&self) -> Vec<Value> {
        let is_type = self.kind == "c";
        let replica_identity =
            if matches!(self.kind, "r" | "m") && self.oid >= crate::catalog::FIRST_ID {
                "d"
            } else {
                "n"
            };
        row![
            self.oid,
            self.name,
            self.namespace,
            if is_type { self.oid } else { 0 },
            0,
            self.owner,
            self.access_method,
            if is_type { 0 } else { self.oid },
            0,
            i32::from(self.kind == "i"),
            self.rows,
            0,
            0,
            self.has_index,
            false,
            if self.is_temporary { "t" } else { "p" },
            self.kind,
            self.columns,
            0,
            self.has_rules,
            false,
            false,
            false,
            false,
            self.is_populated,
            replica_identity,
            false,
            0,
            0,
            1,
            self.acl.clone(),
            NULL,
            NULL,
        ]
    }
}

/// `relkind` of a relation.
pub(crate) fn relkind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Table => "r",
        Kind::Source { .. } => "f",
        Kind::View => "v",
        Kind::MaterializedView => "m",
        Kind::Sequence(_) => "S",
        Kind::Index(_) => "i",
        Kind::Type(_) => "c",
        Kind::Sink(_) | Kind::Function(_) => "",
    }
}

/// The oid of a relation's schema.
pub(crate) fn namespace(source: &Source<'_>, entry: &Entry) -> u32 {
    source
        .catalog
        .schema_oid(&entry.schema_name)
        .unwrap_or(PUBLIC_OID)
}

fn classes(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in source.catalog.relations().chain(source.catalog.types()) {
        let count = source
            .snapshot
            .and_then(|s| s.tables.get(&entry.id))
            .map_or(-1, |table| table.rows() as i64);
        let has_key = !entry.primary_key.is_empty();
        let class = Class {
            oid: entry.id,
            name: &entry.name,
            namespace: namespace(source, entry),
            access_method: match entry.kind {
                Kind::Index(_) => BTREE,
                _ if entry.kind.has_job() => HEAP,
                _ => 0,
            },
            kind: relkind(&entry.kind),
            columns: match entry.kind {
                Kind::Sequence(_) => SEQUENCE_COLUMNS,
                _ => entry.columns.len(),
            },
            rows: count,
            has_index: has_key || source.catalog.indexes_of(entry.id).next().is_some(),
            has_rules: matches!(entry.kind, Kind::View | Kind::MaterializedView),
            owner: entry.owner,
            acl: source.acl(entry.acl.as_ref()),
            is_temporary: is_temporary(&entry.schema_name),
            is_populated: !entry.creating,
        };
        rows.push(class.row());
        if has_key {
            let index = Class {
                oid: entry.id + INDEX_OID,
                name: &entry.primary_key_name(),
                access_method: BTREE,
                kind: "i",
                columns: entry.primary_key.len(),
                has_index: false,
                has_rules: false,
                acl: NULL,
                ..class
            };
            rows.push(index.row());
        }
    }
    for (schema, table) in tables() {
        // What PostgreSQL has as views over its catalogs has its oid above those.
        let is_view = schema == INFORMATION_SCHEMA || table.oid > FIRST_VIEW;
        let class = Class {
            oid: table.oid,
            name: table.name,
            namespace: oid_of_schema(schema).unwrap_or(PG_CATALOG_OID),
            access_method: if is_view { 0 } else { HEAP },
            kind: if is_view { "v" } else { "r" },
            columns: table.columns.len(),
            rows: -1,
            has_index: false,
            has_rules: is_view,
            owner: ROOT_ID,
            acl: NULL,
            is_temporary: false,
            is_populated: true,
        };
        rows.push(class.row());
    }
    rows
}

fn attribute(relation: u32, number: usize, column: &Column) -> Vec<Value> {
    let sql_type = &column.sql_type;
    let dimensions = sql_type.dimensions();
    let row = SCALARS
        .iter()
        .find(|(_, row)| row.oid == sql_type.oid())
        .map(|(_, row)| row);
    let (align, storage) = match (row, sql_type) {
        (Some(row), _) => (row.align, row.storage),
        (None, SqlType::Record(_) | SqlType::Map(..)) => ("d", "x"),
        (None, _) => ("i", "x"),
    };
    let by_value = (1..=8).contains(&sql_type.value_bytes());
    let collation = if sql_type.is_text() {
        DEFAULT_COLLATION
    } else {
        0
    };
    row![
        relation,
        column.name.clone(),
        sql_type.oid(),
        -1,
        sql_type.value_bytes(),
        number,
        dimensions,
        -1,
        sql_type.modifier(),
        by_value,
        align,
        storage,
        "",
        column.not_null,
        shown_default(column).is_some(),
        false,
        match column.identity {
            Some(Identity::Always) => "a",
            Some(Identity::ByDefault) => "d",
            None => "",
        },
        if column.generated.is_some() { "s" } else { "" },
        false,
        true,
        0,
        collation,
        NULL,
        NULL,
        NULL,
        NULL,
    ]
}

fn attributes(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in source.catalog.relations().chain(source.catalog.types()) {
        for (at, column) in entry.columns.iter().enumerate() {
            rows.push(attribute(entry.id, at + 1, column));
        }
        for (at, &key) in entry.primary_key.iter().enumerate() {
            let column = &entry.columns[key];
            let column = Column::new(&column.name, column.sql_type.clone());
            rows.push(attribute(entry.id + INDEX_OID, at + 1, &column));
        }
    }
    for (_, table) in tables() {
        for (at, field) in table.schema().fields().iter().enumerate() {
            let column = Column::new(field.name(), SqlType::of(field.data_type()));
            rows.push(attribute(table.oid, at + 1, &column));
        }
    }
    rows
}

/// What a column's definition shows as its default, or as what it is generated from.
fn shown_default(column: &Column) -> Option<&String> {
    let default = column.default.as_ref();
    let default = default.filter(|_| column.identity.is_none());
    column.generated.as_ref().or(default)
}

/// A default as PostgreSQL prints it: a literal in quotes has its column's type.
pub(crate) fn deparsed(default: &str, sql_type: &SqlType) -> String {
    let quotes = default.matches('\'').count();
    let is_literal = quotes == 2 && default.starts_with('\'') && default.ends_with('\'');
    match (is_literal, sql_type) {
        (false, _) => default.to_owned(),
        (true, SqlType::Char(_)) => format!("{default}::bpchar"),
        (true, sql_type) => format!("{default}::{}", sql_type.base_name()),
    }
}

fn defaults(source: &Source<'_>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for entry in source.catalog.relations() {
        for (at, column) in entry.columns.iter().enumerate() {
            if let Some(default) = shown_default(column) {
                let oid = DEFAULT_OID
                    .wrapping_add(entry.id.wrapping_mul(64))
                    .wrapping_add(at as u32);
                rows.push(row![
                    oid,
                    entry.id,
                    at + 1,
                    deparsed(default, &column.sql_type)
                ]);
            }
        }
    }
    rows
}

fn descriptions(source: &Source<'_>) -> Vec<Vec<Value>> {
    let class = 1259;
    let mut rows = Vec::new();
    for entry in source.catalog.relations() {
        let of_relation = entry.comment.iter().map(|comment| (0, comment));
        let columns = entry.columns.iter().enumerate();
        let of_columns = columns.filter_map(|(at, c)| Some((at + 1, c.comment.as_ref()?)));
        for (number, comment) in of_relation.chain(of_columns) {
            rows.push(row![entry.id, class, number, comment.clone()]);
        }
    }
    rows
}

fn key_numbers(entry: &Entry) -> Vec<i64> {
    entry
        .primary_key
        .iter()
        .map(|&column| column as i64 + 1)
        .collect()
}

fn indexes(source: &Source<'_>) -> Vec<Vec<Value>> {
    let of_key = with_key(source)
        .map(|entry| index_row(entry.id + INDEX_OID, entry.id, true, key_numbers(entry)));
    let created = of_kind(source, |kind| matches!(kind, Kind::Index(_))).filter_map(|entry| {
        let (relation, columns) = indexed_columns(source.catalog, entry)?;
        let numbers = columns.iter().map(|&column| column as i64 + 1).collect();
        Some(index_row(entry.id, relation.id, false, numbers))
    });
    of_key.chain(created).collect()
}

fn index_row(index: u32, relation: u32, is_primary: bool, columns: Vec<i64>) -> Vec<Value> {
    let count = columns.len();
    let zeros = vec![0i64; count];
    row![
        index,
        relation,
        count,
        count,
        is_primary,
        false,
        is_primary,
        false,
        true,
        false,
        true,
        false,
        true,
        true,
        false,
        columns,
        zeros.clone(),
        zeros.clone(),
        zeros,
        NULL,
        NULL,
    ]
}

/// What a created index is of, and its columns there.
fn indexed_columns<'a>(catalog: &'a Catalog, entry: &Entry) -> Option<(&'a Entry, Vec<usize>)> {
    let Kind::Index(index) = &entry.kind else {
        return None;
    };
    let relation = catalog.by_id(index.relation)?;
    let column_at = |place: &usize| match relation.places() {
        Some(places) => places.iter().position(|at| at == place),
        None => Some(*place),
    };
    let columns = index.places.iter().filter_map(column_at);
    Some((relation, columns.collect()))
}

/// A created index as `pg_get_indexdef` prints it.
pub(crate) fn created_index_definition(catalog: &Catalog, entry: &Entry) -> Option<String> {
    let (relation, columns) = indexed_columns(catalog, entry)?;
    let names = columns.iter().map(|&at| quoted(&relation.columns[at].name));
    Some(format!(
        "CREATE INDEX {} ON {}.{} USING btree ({})",
        quoted(&entry.name),
        quoted(&relation.schema_name),
        quoted(&relation.name),
        names.collect::<Vec<_>>().join(", ")
    ))
}

/// The columns of a created index, for messages.
pub(crate) fn column_list(entry: &Entry) -> String {
    let names = entry.columns.iter().map(|column| quoted(&column.name));
    names.collect::<Vec<_>>().join(", ")
}

fn constraints(source: &Source<'_>) -> Vec<Vec<Value>> {
    with_key(source)
        .map(|entry| {
            row![
                entry.id + CONSTRAINT_OID,
                entry.primary_key_name(),
                namespace(source, entry),
                "p",
                false,
                false,
                true,
                entry.id,
                0,
                entry.id + INDEX_OID,
                0,
                0,
                " ",
                " ",
                " ",
                true,
                0,
                true,
                key_numbers(entry),
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                2606,
            ]
        })
        .collect()
}

fn rules(source: &Source<'_>) -> Vec<Vec<Value>> {
    of_kind(source, |kind| {
        matches!(kind, Kind::View | Kind::MaterializedView)
    })
    .map(|entry| {
        row![
            entry.id + RULE_OID,
            "_RETURN",
            entry.id,
            "1",
            "O",
            true,
            "<>",
            view_definition(source.catalog, entry),
            2618
        ]
    })
    .collect()
}

/// A view's rule depends on what the view reads; so do clients find dependencies of views.
fn dependencies(source: &Source<'_>) -> Vec<Vec<Value>> {
    let (class, rewrite) = (1259, 2618);
    let mut rows = Vec::new();
    for entry in source.catalog.relations() {
        if let Kind::Sequence(sequence) = &entry.kind
            && let Some((table, column)) = sequence.owner
        {
            let owner = source.catalog.by_id(table);
            let is_identity = owner.is_some_and(|table| table.columns[column].identity.is_some());
            let kind = if is_identity { "i" } else { "a" };
            rows.push(row![class, entry.id, 0, class, table, column + 1, kind]);
        }
        if matches!(entry.kind, Kind::View | Kind::MaterializedView) {
            rows.push(row![
                rewrite,
                entry.id + RULE_OID,
                0,
                class,
                entry.id,
                0,
                "i"
            ]);
            for read in &entry.dependencies {
                rows.push(row![rewrite, entry.id + RULE_OID, 0, class, *read, 0, "n"]);
            }
        }
        if !entry.primary_key.is_empty() {
            rows.push(row![
                class,
                entry.id + INDEX_OID,
                0,
                2606,
                entry.id + CONSTRAINT_OID,
                0,
                "i"
            ]);
            rows.push(row![
                2606,
                entry.id + CONSTRAINT_OID,
                0,
                class,
                entry.id,
                0,
                "a"
            ]);
        }
    }
    rows
}
