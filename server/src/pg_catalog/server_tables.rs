//! Tables about the server: databases, roles, schemas, settings, sessions.

use crate::access::privilege::Acl;
use crate::access::role::{READ_ALL_STATS, ROOT_ID};
use crate::activity::Activity;
use crate::pg_catalog::SCHEMAS;
use crate::pg_catalog::relations::NEXMARK_SERVER;
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, row};
use crate::settings::{self, SettingRow};

/// Oid of the default tablespace.
const TABLESPACE_OID: u32 = 1663;
/// PostgreSQL's number of UTF8.
pub(crate) const UTF8: i32 = 6;

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 2615,
        name: "pg_namespace",
        columns: &[("oid", T::Oid), ("nspname", T::Text), ("nspowner", T::Oid), ("nspacl", T::Texts)],
        rows: |s| {
            let ours = SCHEMAS.into_iter().map(|(name, oid)| {
                let acl = vec![format!("{root}=UC/{root}", root = root(s)), format!("=U/{}", root(s))];
                row![oid, name, ROOT_ID, acl]
            });
            let users = s.catalog.namespaces().map(|schema| {
                row![schema.id, schema.name.clone(), schema.owner, s.acl(schema.acl.as_ref())]
            });
            ours.chain(users).collect()
        },
    },
    SystemTable {
        oid: 1262,
        name: "pg_database",
        columns: &[
            ("oid", T::Oid), ("datname", T::Text), ("datdba", T::Oid), ("encoding", T::Int4),
            ("datlocprovider", T::Text), ("datistemplate", T::Bool), ("datallowconn", T::Bool),
            ("datconnlimit", T::Int4), ("datfrozenxid", T::Int8), ("datminmxid", T::Int8), ("dattablespace", T::Oid),
            ("datcollate", T::Text), ("datctype", T::Text), ("daticulocale", T::Text), ("datcollversion", T::Text),
            ("datacl", T::Texts),
        ],
        rows: |s| {
            let databases = s.catalog.access.databases.values();
            databases
                .map(|database| {
                    row![
                        database.id, database.name.clone(), database.owner, UTF8, "c", false, true, -1, 0, 1,
                        TABLESPACE_OID, "C", "C", NULL, NULL, s.acl(database.acl.as_ref()),
                    ]
                })
                .collect()
        },
    },
    SystemTable {
        oid: 12_012,
        name: "pg_settings",
        columns: &[
            ("name", T::Text), ("setting", T::Text), ("unit", T::Text), ("category", T::Text),
            ("short_desc", T::Text), ("extra_desc", T::Text), ("context", T::Text), ("vartype", T::Text),
            ("source", T::Text), ("min_val", T::Text), ("max_val", T::Text), ("enumvals", T::Texts),
            ("boot_val", T::Text), ("reset_val", T::Text), ("sourcefile", T::Text), ("sourceline", T::Int4),
            ("pending_restart", T::Bool),
        ],
        rows: settings,
    },
    SystemTable {
        oid: 1213,
        name: "pg_tablespace",
        columns: &[
            ("oid", T::Oid), ("spcname", T::Text), ("spcowner", T::Oid), ("spcacl", T::Texts), ("spcoptions", T::Texts),
        ],
        rows: |_| {
            vec![
                row![TABLESPACE_OID, "pg_default", ROOT_ID, NULL, NULL],
                row![TABLESPACE_OID + 1, "pg_global", ROOT_ID, NULL, NULL],
            ]
        },
    },
    SystemTable {
        oid: 1417,
        name: "pg_foreign_server",
        columns: &[
            ("oid", T::Oid), ("srvname", T::Text), ("srvowner", T::Oid), ("srvfdw", T::Oid), ("srvtype", T::Text),
            ("srvversion", T::Text), ("srvacl", T::Texts), ("srvoptions", T::Texts),
        ],
        rows: |_| vec![row![NEXMARK_SERVER, "nexmark", ROOT_ID, NEXMARK_SERVER + 1, NULL, NULL, NULL, NULL]],
    },
    SystemTable {
        oid: 2328,
        name: "pg_foreign_data_wrapper",
        columns: &[
            ("oid", T::Oid), ("fdwname", T::Text), ("fdwowner", T::Oid), ("fdwhandler", T::Oid),
            ("fdwvalidator", T::Oid), ("fdwacl", T::Texts), ("fdwoptions", T::Texts),
        ],
        rows: |_| vec![row![NEXMARK_SERVER + 1, "nexmark", ROOT_ID, 0, 0, NULL, NULL]],
    },
    SystemTable {
        oid: 12_014,
        name: "pg_cursors",
        columns: &[
            ("name", T::Text), ("statement", T::Text), ("is_holdable", T::Bool), ("is_binary", T::Bool),
            ("is_scrollable", T::Bool), ("creation_time", T::Timestamptz),
        ],
        rows: |s| {
            let cursors = s.context.cursors.iter();
            cursors.map(|c| row![c.name.clone(), c.statement.clone(), c.is_holdable, false, false, NULL]).collect()
        },
    },
    SystemTable {
        oid: 12_015,
        name: "pg_prepared_statements",
        columns: &[
            ("name", T::Text), ("statement", T::Text), ("prepare_time", T::Timestamptz), ("parameter_types", T::Texts),
            ("from_sql", T::Bool), ("generic_plans", T::Int8), ("custom_plans", T::Int8),
        ],
        rows: |s| {
            let prepared = s.context.prepared.iter();
            prepared
                .map(|p| {
                    let from_sql = p.statement.get(..7).is_some_and(|verb| verb.eq_ignore_ascii_case("prepare"));
                    row![p.name.clone(), p.statement.clone(), NULL, p.parameter_types.clone(), from_sql, 0i64, 0i64]
                })
                .collect()
        },
    },
    SystemTable {
        oid: 12_013,
        name: "pg_stat_activity",
        columns: &[
            ("datid", T::Oid), ("datname", T::Text), ("pid", T::Int4), ("leader_pid", T::Int4), ("usesysid", T::Oid),
            ("usename", T::Text), ("application_name", T::Text), ("client_addr", T::Text), ("client_hostname", T::Text),
            ("client_port", T::Int4), ("backend_start", T::Timestamptz), ("xact_start", T::Timestamptz),
            ("query_start", T::Timestamptz), ("state_change", T::Timestamptz), ("wait_event_type", T::Text),
            ("wait_event", T::Text), ("state", T::Text), ("backend_xid", T::Int8), ("backend_xmin", T::Int8),
            ("query_id", T::Int8), ("query", T::Text), ("backend_type", T::Text),
        ],
        rows: |s| {
            s.context
                .activity
                .iter()
                .map(|session| {
                    let user = s.catalog.access.name_of(session.user_id);
                    let database = s.catalog.access.databases.get(&session.database).map(|d| d.name.clone());
                    if !s.may_watch(session) {
                        let mut row = row![session.database, database, session.process_id, NULL, session.user_id, user];
                        row.resize(20, NULL);
                        row.extend(row!["<insufficient privilege>", NULL]);
                        return row;
                    }
                    let waits = session.state != "active";
                    row![
                        session.database, database, session.process_id, NULL, session.user_id, user,
                        session.application_name.clone(), session.client.ip().to_string(), NULL,
                        i64::from(session.client.port()), session.connected_at, session.transaction_at,
                        session.query_at, session.state_at, waits.then_some("Client"),
                        waits.then_some("ClientRead"), session.state, NULL, NULL, NULL, session.query.clone(),
                        "client backend",
                    ]
                })
                .collect()
        },
    },
    SystemTable {
        oid: 12_016,
        name: "pg_stat_ssl",
        columns: &[
            ("pid", T::Int4), ("ssl", T::Bool), ("version", T::Text), ("cipher", T::Text), ("bits", T::Int4),
            ("client_dn", T::Text), ("client_serial", T::Int8), ("issuer_dn", T::Text),
        ],
        rows: |s| {
            let watched = s.context.activity.iter();
            watched
                .map(|session| {
                    let known = session.encryption.as_ref().filter(|_| s.may_watch(session));
                    row![
                        session.process_id, session.encryption.is_some(), known.map(|e| e.version.clone()),
                        known.map(|e| e.cipher.clone()), known.map(|e| e.bits), NULL, NULL, NULL,
                    ]
                })
                .collect()
        },
    },
];

fn root(source: &Source<'_>) -> String {
    source.catalog.access.name_of(ROOT_ID)
}

impl Source<'_> {
    /// A list of privileges as it is shown.
    pub(crate) fn acl(&self, acl: Option<&Acl>) -> Value {
        let access = &self.catalog.access;
        acl.map(|acl| acl.texts(|role| quoted_in_acl(&access.name_of(role))))
            .into()
    }

    /// Whether the reader may see what a session does.
    fn may_watch(&self, session: &Activity) -> bool {
        let access = &self.catalog.access;
        let reader = self.context.role;
        reader.is_none_or(|reader| {
            access.has_rights_of(reader, session.user_id)
                || access.inherited(reader).contains(&READ_ALL_STATS)
        })
    }
}

/// A role's name in a list of privileges: quoted unless it is of letters, digits and `_`.
fn quoted_in_acl(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn settings(source: &Source<'_>) -> Vec<Vec<Value>> {
    source.context.settings.iter().map(setting_row).collect()
}

fn setting_row(setting: &SettingRow) -> Vec<Value> {
    let domain = &setting.domain;
    let origin = if setting.value == setting.default {
        "default"
    } else {
        "session"
    };
    // A number in the setting's unit, where SHOW chooses one.
    let shown = |value: &str| match domain.unit {
        Some(_) => settings::milliseconds(value).map_or(value.to_owned(), |ms| ms.to_string()),
        None => value.to_owned(),
    };
    let choices: Vec<String> = domain.choices.iter().map(|&c| c.to_owned()).collect();
    row![
        setting.name,
        shown(&setting.value),
        domain.unit,
        "Tidewater",
        setting.description,
        NULL,
        if domain.is_fixed { "internal" } else { "user" },
        domain.kind,
        origin,
        domain.range.map(|(min, _)| min.to_string()),
        domain.range.map(|(_, max)| max.to_string()),
        (!choices.is_empty()).then_some(choices),
        shown(&setting.default),
        shown(&setting.default),
        NULL,
        NULL,
        false,
    ]
}
