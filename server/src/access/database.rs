//! A database: schemas, relations and functions of its own, in the one server.
//!
//! Roles belong to all databases; so do the engine, and what it does.

use serde::{Deserialize, Serialize};

use crate::access::actor::Object;
use crate::access::privilege::{Acl, Class};
use crate::access::role::ROOT_ID;

/// The oid of the database that is always there.
pub const DEV_ID: u32 = 5;

/// Its name.
pub const DEV: &str = "dev";

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its oid.
    #[serde(default = "dev_id")]
    pub id: u32,
    /// Its name.
    #[serde(default = "dev")]
    pub name: String,
    /// Who owns it.
    pub owner: u32,
    /// Who may do what; `None`: as nothing was granted.
    pub acl: Option<Acl>,
}

impl Database {
    /// The database that is always there.
    #[must_use]
    pub fn dev() -> Database {
        Database {
            id: DEV_ID,
            name: dev(),
            owner: ROOT_ID,
            acl: None,
        }
    }

    /// For questions about rights.
    #[must_use]
    pub fn object(&self) -> Object<'_> {
        Object {
            class: Class::Database,
            kind: Class::Database.name(),
            name: &self.name,
            owner: self.owner,
            acl: self.acl.as_ref(),
        }
    }

    /// The same, given to another role.
    #[must_use]
    pub fn with_owner(self, owner: u32) -> Database {
        Database {
            acl: self.acl.map(|acl| acl.with_owner(self.owner, owner)),
            owner,
            ..self
        }
    }
}

/// The database of what was stored when there was one.
pub(crate) fn dev_id() -> u32 {
    DEV_ID
}

/// Whether a database is that one: then it is not written down.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) fn is_dev(id: &u32) -> bool {
    *id == DEV_ID
}

fn dev() -> String {
    DEV.to_owned()
}
