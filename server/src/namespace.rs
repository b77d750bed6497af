//! Schemas of users' relations, and names as statements write them.
//!
//! A name without a schema means the first relation of that name along the search path; a new
//! relation goes into the first schema of the path that exists.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::access::actor::Object;
use crate::access::database::{dev_id, is_dev};
use crate::access::privilege::{Acl, Class, PUBLIC, Privileges};
use crate::access::role::ROOT_ID;
use crate::catalog::SCHEMA;
use crate::pg_catalog::PUBLIC_OID;

/// A schema of users' relations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its oid.
    pub id: u32,
    /// Its database.
    #[serde(default = "dev_id", skip_serializing_if = "is_dev")]
    pub database: u32,
    /// Its name.
    pub name: String,
    /// Who owns it.
    #[serde(default = "root")]
    pub owner: u32,
    /// Who may do what in it; `None`: as nothing was granted.
    #[serde(default)]
    pub acl: Option<Acl>,
}

fn root() -> u32 {
    ROOT_ID
}

impl Namespace {
    /// The schema that is always there, owned by who owns the database. As in PostgreSQL everyone may name what is in it, and only
    /// its owner may create something.
    #[must_use]
    pub fn public(database: u32, owner: u32) -> Namespace {
        let mut acl = Acl::initial(Class::Schema, owner);
        acl.grant(PUBLIC, owner, Privileges::USAGE, Privileges::NONE);
        Namespace {
            id: PUBLIC_OID,
            database,
            name: SCHEMA.to_owned(),
            owner,
            acl: Some(acl),
        }
    }

    /// For questions about rights.
    #[must_use]
    pub fn object(&self) -> Object<'_> {
        Object {
            class: Class::Schema,
            kind: Class::Schema.name(),
            name: &self.name,
            owner: self.owner,
            acl: self.acl.as_ref(),
        }
    }
}

/// A name as a statement writes it, with the schemas that it is looked for in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The schema, if it is written.
    pub schema: Option<String>,
    /// The name within the schema.
    pub local: String,
    /// The search path of the session.
    pub path: Vec<String>,
}

impl Name {
    /// The schemas that it may be in, in order.
    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        let path = match self.schema {
            Some(_) => &[][..],
            None => &self.path,
        };
        self.schema.iter().chain(path).map(String::as_str)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.local),
            None => f.write_str(&self.local),
        }
    }
}

/// The schemas that a value of `search_path` names; `"$user"` is that of the user's name.
#[must_use]
pub fn search_path(setting: &str, user: &str) -> Vec<String> {
    let mut schemas = Vec::new();
    for part in setting.split(',').map(str::trim) {
        let name = match part.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.to_lowercase(),
        };
        let name = if name == "$user" {
            user.to_owned()
        } else {
            name
        };
        if !name.is_empty() && !schemas.contains(&name) {
            schemas.push(name);
        }
    }
    schemas
}

/// The search path of who has said nothing.
#[must_use]
pub fn default_path() -> Vec<String> {
    vec![SCHEMA.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_is_a_list_of_names() {
        assert_eq!(search_path("\"$user\", public", "ann"), ["ann", "public"]);
        assert_eq!(search_path("A, \"B c\" ,a,", "ann"), ["a", "B c"]);
        assert!(search_path("", "ann").is_empty());
    }
}
