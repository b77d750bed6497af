//! Schemas of users' relations, and names as statements write them.
//!
//! A name without a schema means the first relation of that name along the search path; a new
//! relation goes into the first schema of the path that exists.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalog::{OWNER, SCHEMA};

/// A schema that a user has created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its oid.
    pub id: u32,
    /// Its name.
    pub name: String,
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

/// The schemas that a value of `search_path` names; `"$user"` is the owner's.
#[must_use]
pub fn search_path(setting: &str) -> Vec<String> {
    let mut schemas = Vec::new();
    for part in setting.split(',').map(str::trim) {
        let name = match part.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.to_lowercase(),
        };
        let name = if name == "$user" {
            OWNER.to_owned()
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
        assert_eq!(search_path("\"$user\", public"), ["root", "public"]);
        assert_eq!(search_path("A, \"B c\" ,a,"), ["a", "B c"]);
        assert!(search_path("").is_empty());
    }
}
