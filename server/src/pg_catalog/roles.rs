//! Tables about roles, and what they are granted by default.

use crate::access::privilege::Class;
use crate::access::role::{Membership, Role};
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, row};

/// What a password looks like to who may not see verifiers.
const HIDDEN: &str = "********";

/// Tables that only superusers read: they hold verifiers.
pub(crate) const SECRET: [&str; 2] = ["pg_authid", "pg_shadow"];

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 1260,
        name: "pg_authid",
        columns: &[
            ("oid", T::Oid), ("rolname", T::Text), ("rolsuper", T::Bool), ("rolinherit", T::Bool),
            ("rolcreaterole", T::Bool), ("rolcreatedb", T::Bool), ("rolcanlogin", T::Bool),
            ("rolreplication", T::Bool), ("rolbypassrls", T::Bool), ("rolconnlimit", T::Int4),
            ("rolpassword", T::Text), ("rolvaliduntil", T::Timestamptz),
        ],
        rows: |s| {
            s.catalog.access.roles()
                .map(|r| row![
                    r.id, r.name.clone(), r.superuser, r.inherit, r.create_role, r.create_db, r.login, r.replication,
                    r.bypass_rls, connection_limit(r), r.verifier.clone(), r.valid_until,
                ])
                .collect()
        },
    },
    SystemTable {
        oid: 12_010,
        name: "pg_roles",
        columns: &[
            ("rolname", T::Text), ("rolsuper", T::Bool), ("rolinherit", T::Bool), ("rolcreaterole", T::Bool),
            ("rolcreatedb", T::Bool), ("rolcanlogin", T::Bool), ("rolreplication", T::Bool),
            ("rolconnlimit", T::Int4), ("rolpassword", T::Text), ("rolvaliduntil", T::Timestamptz),
            ("rolbypassrls", T::Bool), ("rolconfig", T::Texts), ("oid", T::Oid),
        ],
        rows: |s| {
            s.catalog.access.roles()
                .map(|r| row![
                    r.name.clone(), r.superuser, r.inherit, r.create_role, r.create_db, r.login, r.replication,
                    connection_limit(r), HIDDEN, r.valid_until, r.bypass_rls, NULL, r.id,
                ])
                .collect()
        },
    },
    SystemTable {
        oid: 12_011,
        name: "pg_user",
        columns: USER_COLUMNS,
        rows: |s| users(s, |_| HIDDEN.into()),
    },
    SystemTable {
        oid: 12_030,
        name: "pg_shadow",
        columns: USER_COLUMNS,
        rows: |s| users(s, |role| role.verifier.clone().into()),
    },
    SystemTable {
        oid: 12_031,
        name: "pg_group",
        columns: &[("groname", T::Text), ("grosysid", T::Oid), ("grolist", T::Oids)],
        rows: |s| {
            let groups = s.catalog.access.roles().filter(|role| !role.login);
            groups.map(|group| row![group.name.clone(), group.id, members(s, group.id)]).collect()
        },
    },
    SystemTable {
        oid: 1261,
        name: "pg_auth_members",
        columns: &[("roleid", T::Oid), ("member", T::Oid), ("grantor", T::Oid), ("admin_option", T::Bool)],
        rows: |s| {
            let all = s.catalog.access.roles().flat_map(|r| r.memberships.iter().map(move |m| (r.id, m)));
            let mut all: Vec<(u32, &Membership)> = all.collect();
            all.sort_by_key(|(member, of)| (of.role, *member));
            all.into_iter().map(|(member, of)| row![of.role, member, of.grantor, of.admin]).collect()
        },
    },
    SystemTable {
        oid: 826,
        name: "pg_default_acl",
        columns: &[
            ("oid", T::Oid), ("defaclrole", T::Oid), ("defaclnamespace", T::Oid), ("defaclobjtype", T::Text),
            ("defaclacl", T::Texts),
        ],
        rows: |s| {
            let defaults = s.catalog.access.defaults.iter();
            defaults
                .filter(|d| d.database == s.catalog.database().id)
                .map(|d| {
                    let class = match d.class {
                        Class::Table => "r",
                        Class::Sequence => "S",
                        Class::Schema => "n",
                        Class::Database => "d",
                    };
                    row![d.id, d.role, d.schema.unwrap_or_default(), class, s.acl(Some(&d.acl))]
                })
                .collect()
        },
    },
];

#[rustfmt::skip] // As above.
const USER_COLUMNS: &[(&str, T)] = &[
    ("usename", T::Text), ("usesysid", T::Oid), ("usecreatedb", T::Bool), ("usesuper", T::Bool),
    ("userepl", T::Bool), ("usebypassrls", T::Bool), ("passwd", T::Text), ("valuntil", T::Timestamptz),
    ("useconfig", T::Texts),
];

fn users(source: &Source<'_>, password: fn(&Role) -> Value) -> Vec<Vec<Value>> {
    let users = source.catalog.access.roles().filter(|role| role.login);
    let row = |r: &Role| {
        row![
            r.name.clone(),
            r.id,
            r.create_db,
            r.superuser,
            r.replication,
            r.bypass_rls,
            password(r),
            r.valid_until,
            NULL
        ]
    };
    users.map(row).collect()
}

fn members(source: &Source<'_>, of: u32) -> Vec<i64> {
    let is_member = |role: &&Role| role.memberships.iter().any(|m| m.role == of);
    let members = source.catalog.access.roles().filter(is_member);
    members.map(|role| i64::from(role.id)).collect()
}

fn connection_limit(role: &Role) -> i64 {
    role.connections_max.map_or(-1, i64::from)
}
