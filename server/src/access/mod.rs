//! Who there is, and who may do what.
//!
//! ```text
//!   start-up ─► authentication (session) ─► Identity ─┐
//!                  ▲ verifiers                         ▼
//!   CREATE ROLE ─► Access ◄── GRANT          Actor: a role over the catalog ─► 42501, or go on
//! ```
//!
//! [`Access`] is a part of the catalog, so a statement sees one state of relations and rights.
//! Every check is a question to an [`Actor`](actor::Actor); it asks the object's owner and list of privileges.
//! Not here: what statements ask (`statement`), and what queries read (`catalog_view.rs`).

pub mod actor;
pub mod database;
pub mod guessing;
pub mod password;
pub mod privilege;
pub mod role;
pub mod scram;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::CatalogChange;

use crate::access::database::{DEV_ID, Database, dev_id};
use crate::access::privilege::{Acl, Class};
use crate::access::role::Role;
use crate::error::{Error, Result};

const ROLE_PREFIX: &str = "role/";
const DATABASE_KEY: &str = "database";
const DEFAULTS_KEY: &str = "default_privileges";

/// `ALTER DEFAULT PRIVILEGES`: what a new object gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultAcl {
    /// Its oid.
    pub id: u32,
    /// In which database.
    #[serde(default = "dev_id")]
    pub database: u32,
    /// Who creates the object.
    pub role: u32,
    /// In which schema; `None`: in any, in place of what an object has anyway.
    pub schema: Option<u32>,
    /// Objects of which kind.
    pub class: Class,
    /// What it gets.
    pub acl: Acl,
}

/// Roles, and rights that belong to no relation or schema.
#[derive(Debug, Clone)]
pub struct Access {
    roles: BTreeMap<u32, Arc<Role>>,
    /// All databases, by oid.
    pub databases: BTreeMap<u32, Database>,
    /// Default privileges.
    pub defaults: Vec<DefaultAcl>,
}

impl Default for Access {
    fn default() -> Access {
        let roles = Role::predefined().chain([Role::root()]);
        Access {
            roles: roles.map(|role| (role.id, Arc::new(role))).collect(),
            databases: BTreeMap::from([(DEV_ID, Database::dev())]),
            defaults: Vec::new(),
        }
    }
}

impl Access {
    /// Takes a durable row, if it is one of these; gives the id that it uses.
    ///
    /// # Errors
    /// If it is not what we write.
    pub fn read_row(&mut self, key: &[u8], value: &[u8]) -> serde_json::Result<Option<u32>> {
        if key.starts_with(ROLE_PREFIX.as_bytes()) {
            let role: Role = serde_json::from_slice(value)?;
            let id = role.id;
            self.put(role);
            return Ok(Some(id));
        }
        if key.starts_with(DATABASE_KEY.as_bytes()) {
            let database: Database = serde_json::from_slice(value)?;
            let id = database.id;
            self.databases.insert(id, database);
            return Ok(Some(id));
        } else if key == DEFAULTS_KEY.as_bytes() {
            self.defaults = serde_json::from_slice(value)?;
            return Ok(self.defaults.iter().map(|default| default.id).max());
        }
        Ok(None)
    }

    /// All roles, by oid.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(AsRef::as_ref)
    }

    /// The role of this oid.
    #[must_use]
    pub fn role(&self, id: u32) -> Option<&Role> {
        self.roles.get(&id).map(AsRef::as_ref)
    }

    /// The role of this name.
    #[must_use]
    pub fn role_named(&self, name: &str) -> Option<&Role> {
        self.roles().find(|role| role.name == name)
    }

    /// A role's name, as PostgreSQL prints oids of roles.
    #[must_use]
    pub fn name_of(&self, id: u32) -> String {
        let role = self.role(id);
        role.map_or_else(|| format!("unknown (OID={id})"), |role| role.name.clone())
    }

    /// The database of this name.
    #[must_use]
    pub fn database_named(&self, name: &str) -> Option<&Database> {
        self.databases.values().find(|d| d.name == name)
    }

    /// Adds a role, or replaces it.
    pub fn put(&mut self, role: Role) {
        self.roles.insert(role.id, Arc::new(role));
    }

    /// Removes a role.
    pub fn remove(&mut self, id: u32) {
        self.roles.remove(&id);
    }

    /// Whether a role may do everything.
    #[must_use]
    pub fn is_superuser(&self, id: u32) -> bool {
        self.role(id).is_some_and(|role| role.superuser)
    }

    /// Whether a role may act as another: itself, one that it is a member of, however far.
    #[must_use]
    pub fn is_member(&self, id: u32, of: u32) -> bool {
        self.is_superuser(id) || self.reached(id, |_| true).contains(&of)
    }

    /// The same, whether it may do everything or not.
    #[must_use]
    pub fn is_listed_member(&self, id: u32, of: u32) -> bool {
        self.reached(id, |_| true).contains(&of)
    }

    /// Whether a role has the privileges of another.
    #[must_use]
    pub fn has_rights_of(&self, id: u32, of: u32) -> bool {
        self.is_superuser(id) || self.inherited(id).contains(&of)
    }

    /// The roles whose privileges a role has; itself among them.
    #[must_use]
    pub fn inherited(&self, id: u32) -> BTreeSet<u32> {
        self.reached(id, |role| role.inherit)
    }

    /// Whether a role may add members to another.
    #[must_use]
    pub fn is_admin(&self, id: u32, of: u32) -> bool {
        let adds = |role: &Role| role.memberships.iter().any(|m| m.role == of && m.admin);
        let reached = self.inherited(id);
        self.is_superuser(id) || reached.iter().filter_map(|id| self.role(*id)).any(adds)
    }

    fn reached(&self, id: u32, through: fn(&Role) -> bool) -> BTreeSet<u32> {
        let (mut reached, mut open) = (BTreeSet::from([id]), vec![id]);
        while let Some(id) = open.pop() {
            let Some(role) = self.role(id).filter(|role| through(role)) else {
                continue;
            };
            for membership in &role.memberships {
                if reached.insert(membership.role) {
                    open.push(membership.role);
                }
            }
        }
        reached
    }

    /// What a new object is granted; `None`: nothing but what every such object has.
    #[must_use]
    pub(crate) fn default_acl(
        &self,
        database: u32,
        owner: u32,
        schema: Option<u32>,
        class: Class,
    ) -> Option<Acl> {
        let of = |schema| {
            let mut all = self.defaults.iter().filter(|d| d.database == database);
            all.find(|d| d.role == owner && d.class == class && d.schema == schema)
        };
        let (general, within) = (of(None), schema.and_then(|schema| of(Some(schema))));
        let mut acl = match (general, within) {
            (None, None) => return None,
            (Some(general), _) => general.acl.clone(),
            (None, Some(_)) => Acl::initial(class, owner),
        };
        for item in within.iter().flat_map(|default| default.acl.items()) {
            acl.grant(item.grantee, item.grantor, item.privileges, item.grantable);
        }
        (acl != Acl::initial(class, owner)).then_some(acl)
    }

    /// Whether somebody who may do everything can log in from anywhere.
    #[must_use]
    pub fn has_guarded_superuser(&self) -> bool {
        self.roles()
            .any(|r| r.superuser && r.login && r.verifier.is_some())
    }

    /// The durable row of default privileges.
    ///
    /// # Errors
    /// As [`role_change`].
    pub fn defaults_change(&self) -> Result<CatalogChange> {
        put(DEFAULTS_KEY.as_bytes().to_vec(), &self.defaults)
    }
}

/// The durable row that adds or replaces a database.
///
/// # Errors
/// As [`role_change`].
pub fn database_change(database: &Database) -> Result<CatalogChange> {
    put(database_key(database.id), database)
}

/// The durable change that removes a database.
#[must_use]
pub fn remove_database_change(id: u32) -> CatalogChange {
    CatalogChange {
        puts: Vec::new(),
        deletes: vec![database_key(id)],
    }
}

/// That of the first one is from when there was one.
fn database_key(id: u32) -> Vec<u8> {
    match id {
        DEV_ID => DATABASE_KEY.as_bytes().to_vec(),
        id => format!("{DATABASE_KEY}/{id:010}").into_bytes(),
    }
}

/// The durable row that adds or replaces a role.
///
/// # Errors
/// If it cannot be written as JSON, which no value of ours does.
pub fn role_change(role: &Role) -> Result<CatalogChange> {
    put(role_key(role.id), role)
}

/// The durable change that removes a role.
#[must_use]
pub fn remove_role_change(id: u32) -> CatalogChange {
    CatalogChange {
        puts: Vec::new(),
        deletes: vec![role_key(id)],
    }
}

fn role_key(id: u32) -> Vec<u8> {
    format!("{ROLE_PREFIX}{id:010}").into_bytes()
}

fn put(key: Vec<u8>, value: &impl Serialize) -> Result<CatalogChange> {
    let value = serde_json::to_vec(value).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(CatalogChange {
        puts: vec![(key, value)],
        deletes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::role::{Membership, ROOT_ID};

    fn access() -> Access {
        let mut access = Access::default();
        for (id, name, member_of, inherit) in [
            (20, "a", 21, true),
            (21, "b", 22, false),
            (22, "c", 0, true),
        ] {
            let memberships = (member_of > 0).then_some(Membership {
                role: member_of,
                grantor: ROOT_ID,
                admin: id == 20,
            });
            access.put(Role {
                inherit,
                memberships: memberships.into_iter().collect(),
                ..Role::new(id, name.to_owned())
            });
        }
        access
    }

    #[test]
    fn privileges_end_where_a_role_does_not_inherit() {
        let access = access();
        assert!(access.is_member(20, 22) && access.has_rights_of(20, 21));
        assert!(!access.has_rights_of(20, 22) && !access.is_member(22, 20));
        assert!(access.has_rights_of(ROOT_ID, 22) && !access.is_listed_member(ROOT_ID, 22));
        assert!(access.is_admin(20, 21) && !access.is_admin(21, 22));
    }

    #[test]
    fn durable_rows_bring_roles_back() {
        let mut rows = role_change(access().role(20).unwrap()).unwrap().puts;
        rows.extend(database_change(&Database::dev()).unwrap().puts);
        let mut read = Access::default();
        for (key, value) in rows {
            read.read_row(&key, &value).unwrap();
        }
        assert_eq!(read.role_named("a"), access().role(20));
        assert!(read.is_superuser(ROOT_ID));
    }
}
