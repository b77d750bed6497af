//! A role that wants to do something: the one place where rights are asked.
//!
//! A superuser may do everything. Everybody else needs a privilege of the object's list, for itself
//! or a role whose rights it has; or must have the rights of the object's owner.

use crate::access::Access;
use crate::access::privilege::{Acl, Class, Privileges};
use crate::access::role::{READ_ALL_DATA, WRITE_ALL_DATA};
use crate::catalog::{Catalog, Entry};
use crate::error::{Error, Result};
use crate::pg_catalog;

/// What rights are asked about.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    /// What privileges it has.
    pub class: Class,
    /// As messages name its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Who owns it.
    pub owner: u32,
    /// Who may do what; `None`: as nothing was granted.
    pub acl: Option<&'a Acl>,
}

impl Object<'_> {
    /// Who may do what.
    #[must_use]
    pub fn rights(&self) -> Acl {
        match self.acl {
            Some(acl) => acl.clone(),
            None => Acl::initial(self.class, self.owner),
        }
    }

    /// "permission denied for table t"
    #[must_use]
    pub fn denied(&self) -> Error {
        denied(self.kind, self.name)
    }
}

/// "permission denied for {kind} {name}"
#[must_use]
pub fn denied(kind: &str, name: &str) -> Error {
    Error::privilege(format!("permission denied for {kind} {name}"))
}

/// What the predefined roles may do with all objects of a class.
fn predefined(class: Class, is_held: impl Fn(u32) -> bool) -> Privileges {
    let reads = match class {
        Class::Table | Class::Sequence => Privileges::SELECT,
        Class::Schema => Privileges::USAGE,
        Class::Database => Privileges::NONE,
    };
    let writes = match class {
        Class::Table => Privileges::INSERT | Privileges::UPDATE | Privileges::DELETE,
        Class::Sequence => Privileges::UPDATE,
        Class::Schema => Privileges::USAGE,
        Class::Database => Privileges::NONE,
    };
    let mut held = Privileges::NONE;
    for (role, what) in [(READ_ALL_DATA, reads), (WRITE_ALL_DATA, writes)] {
        if is_held(role) {
            held = held | what;
        }
    }
    held
}

/// A role over one state of the catalog.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The role.
    pub role: u32,
}

impl<'a> Actor<'a> {
    fn access(&self) -> &'a Access {
        &self.catalog.access
    }

    /// Whether it may do everything.
    #[must_use]
    pub fn is_superuser(&self) -> bool {
        self.access().is_superuser(self.role)
    }

    /// Whether it has the rights of another role.
    #[must_use]
    pub fn has_rights_of(&self, role: u32) -> bool {
        self.access().has_rights_of(self.role, role)
    }

    /// Those of an object's privileges that it has.
    #[must_use]
    pub fn privileges(&self, object: &Object<'_>) -> Privileges {
        if self.is_superuser() {
            return object.class.all();
        }
        let inherited = self.access().inherited(self.role);
        let listed = object.rights().privileges(|role| inherited.contains(&role));
        listed | predefined(object.class, |role| inherited.contains(&role))
    }

    /// Those of an object's privileges that it may pass on.
    #[must_use]
    pub fn grantable(&self, object: &Object<'_>) -> Privileges {
        if self.has_rights_of(object.owner) {
            return object.class.all();
        }
        let inherited = self.access().inherited(self.role);
        object.rights().grantable(|role| inherited.contains(&role))
    }

    /// Checks that it has these privileges on a relation.
    ///
    /// # Errors
    /// 42501.
    pub fn check(&self, entry: &Entry, wanted: Privileges) -> Result<()> {
        let object = entry.object();
        match self.privileges(&object).has(wanted) {
            true => Ok(()),
            false => Err(object.denied()),
        }
    }

    /// Checks that it owns a relation.
    ///
    /// # Errors
    /// 42501.
    pub fn check_owner(&self, entry: &Entry) -> Result<()> {
        self.check_owner_of(&entry.object())
    }

    /// Checks that it owns an object.
    ///
    /// # Errors
    /// 42501.
    pub fn check_owner_of(&self, object: &Object<'_>) -> Result<()> {
        if self.has_rights_of(object.owner) {
            return Ok(());
        }
        Err(Error::privilege(format!(
            "must be owner of {} {}",
            object.kind, object.name
        )))
    }

    /// Checks that it may drop a relation: its owner may, and that of its schema.
    ///
    /// # Errors
    /// 42501.
    pub fn check_drop(&self, entry: &Entry) -> Result<()> {
        let schema = self.catalog.schema(&entry.schema_name);
        match schema.is_some_and(|schema| self.has_rights_of(schema.owner)) {
            true => Ok(()),
            false => self.check_owner(entry),
        }
    }

    /// Whether it has privileges on a schema; the server's own are open to all.
    #[must_use]
    pub fn may_in_schema(&self, name: &str, wanted: Privileges) -> bool {
        match self.catalog.schema(name) {
            Some(schema) => self.privileges(&schema.object()).has(wanted),
            None => !pg_catalog::is_schema(name) || wanted == Privileges::USAGE,
        }
    }

    /// Checks its privileges on a schema.
    ///
    /// # Errors
    /// 42501.
    pub fn check_schema(&self, name: &str, wanted: Privileges) -> Result<()> {
        match self.may_in_schema(name, wanted) {
            true => Ok(()),
            false => Err(denied("schema", name)),
        }
    }

    /// Checks its privileges on the database.
    ///
    /// # Errors
    /// 42501.
    pub fn check_database(&self, wanted: Privileges) -> Result<()> {
        let object = self.catalog.database_object();
        match self.privileges(&object).has(wanted) {
            true => Ok(()),
            false => Err(object.denied()),
        }
    }

    /// Checks that it may give something to another role: act as it.
    ///
    /// # Errors
    /// 42501.
    pub fn check_member(&self, role: u32) -> Result<()> {
        if self.access().is_member(self.role, role) {
            return Ok(());
        }
        Err(Error::privilege(format!(
            "must be member of role \"{}\"",
            self.access().name_of(role)
        )))
    }

    /// Checks that it may take numbers from a sequence, or set it.
    ///
    /// # Errors
    /// 42501.
    pub fn check_any(&self, entry: &Entry, wanted: &[Privileges]) -> Result<()> {
        let object = entry.object();
        let held = self.privileges(&object);
        match wanted.iter().any(|one| held.has(*one)) {
            true => Ok(()),
            false => Err(object.denied()),
        }
    }
}

impl Entry {
    /// For questions about rights.
    #[must_use]
    pub fn object(&self) -> Object<'_> {
        Object {
            class: self.kind.class(),
            kind: self.kind_name(),
            name: &self.name,
            owner: self.owner,
            acl: self.acl.as_ref(),
        }
    }
}

impl Catalog {
    /// The database, for questions about rights.
    #[must_use]
    pub fn database_object(&self) -> Object<'_> {
        self.database().object()
    }
}
