//! A role, as it is stored.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Oid of the first role, which is there from the beginning.
pub const ROOT_ID: u32 = 10;

/// Its name, until it is renamed.
pub const ROOT: &str = "root";

/// Membership in another role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The other role.
    pub role: u32,
    /// Who added it.
    pub grantor: u32,
    /// Whether it may add others.
    pub admin: bool,
}

/// A role: a user, or a group of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its oid.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Whether it may do everything.
    pub superuser: bool,
    /// Whether it has the privileges of the roles that it is a member of.
    pub inherit: bool,
    /// Whether it may create roles.
    pub create_role: bool,
    /// Whether it may create databases.
    pub create_db: bool,
    /// Whether a session can start as it.
    pub login: bool,
    /// Kept for clients: there is no replication.
    pub replication: bool,
    /// Kept for clients: there are no row policies.
    pub bypass_rls: bool,
    /// Most sessions at once; `None`: any number.
    pub connections_max: Option<u32>,
    /// What its password is checked by (`password.rs`).
    pub verifier: Option<String>,
    /// When its password ends, in microseconds since 1970.
    pub valid_until: Option<i64>,
    /// Roles that it is a member of.
    pub memberships: Vec<Membership>,
}

/// Reads all tables, views and sequences.
pub const READ_ALL_DATA: u32 = 6181;
/// Writes all tables.
pub const WRITE_ALL_DATA: u32 = 6182;
/// Sees what all sessions do.
pub const READ_ALL_STATS: u32 = 3375;
/// Cancels and ends the sessions of others.
pub const SIGNAL_BACKEND: u32 = 4200;
/// Those that look at the server.
const READ_ALL_SETTINGS: u32 = 3374;
const STAT_SCAN_TABLES: u32 = 3377;
const MONITOR: u32 = 3373;

impl Role {
    /// The roles that are always there to be members of, as in PostgreSQL.
    pub fn predefined() -> impl Iterator<Item = Role> {
        let roles = [
            (READ_ALL_DATA, "pg_read_all_data", &[][..]),
            (WRITE_ALL_DATA, "pg_write_all_data", &[]),
            (READ_ALL_SETTINGS, "pg_read_all_settings", &[]),
            (READ_ALL_STATS, "pg_read_all_stats", &[]),
            (STAT_SCAN_TABLES, "pg_stat_scan_tables", &[]),
            (
                MONITOR,
                "pg_monitor",
                &[READ_ALL_SETTINGS, READ_ALL_STATS, STAT_SCAN_TABLES],
            ),
            (SIGNAL_BACKEND, "pg_signal_backend", &[]),
        ];
        roles.into_iter().map(|(id, name, of)| {
            let membership = |role: &u32| Membership {
                role: *role,
                grantor: ROOT_ID,
                admin: false,
            };
            Role {
                memberships: of.iter().map(membership).collect(),
                ..Role::new(id, name.to_owned())
            }
        })
    }

    /// Whether it is one of those.
    #[must_use]
    pub fn is_predefined(&self) -> bool {
        self.name.starts_with("pg_")
    }

    /// A role that may do nothing.
    #[must_use]
    pub fn new(id: u32, name: String) -> Role {
        Role {
            id,
            name,
            superuser: false,
            inherit: true,
            create_role: false,
            create_db: false,
            login: false,
            replication: false,
            bypass_rls: false,
            connections_max: None,
            verifier: None,
            valid_until: None,
            memberships: Vec::new(),
        }
    }

    /// The role of a new database.
    #[must_use]
    pub fn root() -> Role {
        Role {
            superuser: true,
            create_role: true,
            create_db: true,
            login: true,
            replication: true,
            bypass_rls: true,
            ..Role::new(ROOT_ID, ROOT.to_owned())
        }
    }

    /// Who a session is that acts as it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            id: self.id,
            name: self.name.clone(),
            superuser: self.superuser,
        }
    }
}

// A verifier is a secret: whoever has it can guess passwords without asking us.
impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Who a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The role.
    pub id: u32,
    /// Its name when the session took it.
    pub name: String,
    /// Whether it was a superuser then; what may be done is asked of the catalog.
    pub superuser: bool,
}
