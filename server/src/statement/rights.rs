//! What statements ask before they do something: has the session's role the right to?

use std::ops::ControlFlow;

use planner::parse::RoleName;
use sqlparser::ast::{Expr, Visit, visit_expressions};

use crate::access::actor::Actor;
use crate::access::privilege::Privileges;
use crate::catalog::{Catalog, Entry};
use crate::error::{Error, Result};
use crate::session::{Session, lock};

impl Session {
    /// The role that the session acts as.
    pub(crate) fn role(&self) -> u32 {
        lock(&self.settings).current_user().id
    }

    /// That role over a state of the catalog.
    pub(crate) fn actor<'a>(&self, catalog: &'a Catalog) -> Actor<'a> {
        let role = self.role();
        Actor { catalog, role }
    }

    /// Checks a privilege on a relation.
    ///
    /// # Errors
    /// 42501.
    pub(crate) fn check_privilege(&self, entry: &Entry, wanted: Privileges) -> Result<()> {
        self.actor(&self.shared.catalog.read()).check(entry, wanted)
    }

    /// Checks that a relation is the role's own, and complete: that it may be altered.
    ///
    /// # Errors
    /// 42501, [`Error::BeingCreated`].
    pub(crate) fn check_owner(&self, entry: &Entry) -> Result<()> {
        if entry.creating {
            return Err(Error::BeingCreated {
                name: entry.name.clone(),
            });
        }
        self.actor(&self.shared.catalog.read()).check_owner(entry)
    }

    /// Checks that the role may do everything.
    ///
    /// # Errors
    /// 42501, with these words.
    pub(crate) fn check_superuser(&self, otherwise: &str) -> Result<()> {
        match self.actor(&self.shared.catalog.read()).is_superuser() {
            true => Ok(()),
            false => Err(Error::privilege(otherwise)),
        }
    }

    /// The oid of a role that a statement names.
    ///
    /// # Errors
    /// [`Error::UndefinedRole`]; `PUBLIC`, which is none.
    pub(crate) fn role_id(&self, name: &RoleName) -> Result<u32> {
        let undefined = |name: &str| Error::UndefinedRole {
            name: name.to_owned(),
        };
        match name {
            RoleName::Current => Ok(self.role()),
            RoleName::Session => Ok(lock(&self.settings).session_user().id),
            RoleName::Public => Err(undefined("public")),
            RoleName::Named(name) => {
                let catalog = self.shared.catalog.read();
                let role = catalog.access.role_named(name);
                role.map(|role| role.id).ok_or_else(|| undefined(name))
            }
        }
    }

    /// The role that gets something: one that the session could act as.
    ///
    /// # Errors
    /// [`Error::UndefinedRole`], 42501.
    pub(crate) fn new_owner(&self, name: &RoleName) -> Result<u32> {
        let owner = self.role_id(name)?;
        let catalog = self.shared.catalog.read();
        self.actor(&catalog).check_member(owner)?;
        Ok(owner)
    }
}

/// Whether any expression of a statement's part names a column.
pub(crate) fn reads_columns(part: &impl Visit) -> bool {
    let column = |expr: &Expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    visit_expressions(part, column).is_break()
}
