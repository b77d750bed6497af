//! Privileges, and lists of who holds which: PostgreSQL's `aclitem[]`.
//!
//! A list belongs to one object. Who passed a privilege on is kept, so that it can be taken back
//! with all that hangs on it. The owner may always pass privileges on; that is not in the list.

use std::ops::{BitAnd, BitOr, Not};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The grantee that is everyone.
pub const PUBLIC: u32 = 0;

/// A set of privileges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Privileges(u16);

impl Privileges {
    /// Nothing.
    pub const NONE: Privileges = Privileges(0);
    /// `INSERT`
    pub const INSERT: Privileges = Privileges(1);
    /// `SELECT`
    pub const SELECT: Privileges = Privileges(1 << 1);
    /// `UPDATE`
    pub const UPDATE: Privileges = Privileges(1 << 2);
    /// `DELETE`
    pub const DELETE: Privileges = Privileges(1 << 3);
    /// `TRUNCATE`
    pub const TRUNCATE: Privileges = Privileges(1 << 4);
    /// `REFERENCES`
    pub const REFERENCES: Privileges = Privileges(1 << 5);
    /// `TRIGGER`
    pub const TRIGGER: Privileges = Privileges(1 << 6);
    /// `USAGE`
    pub const USAGE: Privileges = Privileges(1 << 8);
    /// `CREATE`
    pub const CREATE: Privileges = Privileges(1 << 9);
    /// `TEMPORARY`
    pub const TEMPORARY: Privileges = Privileges(1 << 10);
    /// `CONNECT`
    pub const CONNECT: Privileges = Privileges(1 << 11);

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Privileges::NONE
    }

    /// Whether all of these are in it.
    #[must_use]
    pub fn has(self, all: Privileges) -> bool {
        self & all == all
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Privileges) -> Privileges {
        self & !other
    }

    /// The privilege of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Privileges> {
        let name = if name.eq_ignore_ascii_case("temp") {
            "TEMPORARY"
        } else {
            name
        };
        let mut all = ALL.into_iter();
        all.find(|(_, _, known)| known.eq_ignore_ascii_case(name))
            .map(|(privilege, _, _)| privilege)
    }

    /// Names of the privileges in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let held = ALL.into_iter().filter(move |(p, _, _)| self.has(*p));
        held.map(|(_, _, name)| name)
    }
}

impl BitOr for Privileges {
    type Output = Privileges;

    fn bitor(self, other: Privileges) -> Privileges {
        Privileges(self.0 | other.0)
    }
}

impl BitAnd for Privileges {
    type Output = Privileges;

    fn bitand(self, other: Privileges) -> Privileges {
        Privileges(self.0 & other.0)
    }
}

impl Not for Privileges {
    type Output = Privileges;

    fn not(self) -> Privileges {
        Privileges(!self.0)
    }
}

/// Each privilege with its letter and its name, in the order that lists print them in.
const ALL: [(Privileges, char, &str); 11] = [
    (Privileges::INSERT, 'a', "INSERT"),
    (Privileges::SELECT, 'r', "SELECT"),
    (Privileges::UPDATE, 'w', "UPDATE"),
    (Privileges::DELETE, 'd', "DELETE"),
    (Privileges::TRUNCATE, 'D', "TRUNCATE"),
    (Privileges::REFERENCES, 'x', "REFERENCES"),
    (Privileges::TRIGGER, 't', "TRIGGER"),
    (Privileges::USAGE, 'U', "USAGE"),
    (Privileges::CREATE, 'C', "CREATE"),
    (Privileges::TEMPORARY, 'T', "TEMPORARY"),
    (Privileges::CONNECT, 'c', "CONNECT"),
];

/// What objects have the same privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Tables, views, materialized views, sources and indexes.
    Table,
    /// Sequences.
    Sequence,
    /// Schemas.
    Schema,
    /// The database.
    Database,
}

impl Class {
    /// All privileges that there are on such an object.
    #[must_use]
    pub fn all(self) -> Privileges {
        use Privileges as P;
        match self {
            Class::Table => {
                let rows = P::SELECT | P::INSERT | P::UPDATE | P::DELETE | P::TRUNCATE;
                rows | P::REFERENCES | P::TRIGGER
            }
            Class::Sequence => P::SELECT | P::UPDATE | P::USAGE,
            Class::Schema => P::USAGE | P::CREATE,
            Class::Database => P::CREATE | P::TEMPORARY | P::CONNECT,
        }
    }

    /// As messages name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::Table => "table",
            Class::Sequence => "sequence",
            Class::Schema => "schema",
            Class::Database => "database",
        }
    }
}

/// What one role was given by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclItem {
    /// Who has it; [`PUBLIC`]: everyone.
    pub grantee: u32,
    /// Who gave it.
    pub grantor: u32,
    /// What.
    pub privileges: Privileges,
    /// What of it may be passed on.
    pub grantable: Privileges,
}

/// Who has which privileges on an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acl(Vec<AclItem>);

impl Acl {
    /// The list of an object that nothing was granted on.
    #[must_use]
    pub fn initial(class: Class, owner: u32) -> Acl {
        let mut acl = Acl::default();
        if class == Class::Database {
            let everyone = Privileges::CONNECT | Privileges::TEMPORARY;
            acl.grant(PUBLIC, owner, everyone, Privileges::NONE);
        }
        acl.grant(owner, owner, class.all(), Privileges::NONE);
        acl
    }

    /// Its items.
    pub fn items(&self) -> impl Iterator<Item = &AclItem> {
        self.0.iter()
    }

    /// Privileges of those that `is_held` says, and of everyone.
    pub fn privileges(&self, is_held: impl Fn(u32) -> bool) -> Privileges {
        let held = self
            .0
            .iter()
            .filter(|item| item.grantee == PUBLIC || is_held(item.grantee));
        held.fold(Privileges::NONE, |all, item| all | item.privileges)
    }

    /// Privileges that those that `is_held` says may pass on.
    pub fn grantable(&self, is_held: impl Fn(u32) -> bool) -> Privileges {
        let held = self.0.iter().filter(|item| is_held(item.grantee));
        held.fold(Privileges::NONE, |all, item| all | item.grantable)
    }

    /// Adds privileges, some of them to be passed on.
    pub fn grant(
        &mut self,
        grantee: u32,
        grantor: u32,
        privileges: Privileges,
        grantable: Privileges,
    ) {
        let of = |item: &&mut AclItem| item.grantee == grantee && item.grantor == grantor;
        match self.0.iter_mut().find(of) {
            Some(item) => {
                item.privileges = item.privileges | privileges;
                item.grantable = item.grantable | grantable;
            }
            None => self.0.push(AclItem {
                grantee,
                grantor,
                privileges,
                grantable,
            }),
        }
    }

    /// Takes back what `grantor` gave; with `option_only` no more than the right to pass it on.
    ///
    /// # Errors
    /// [`Error::DependentPrivileges`] if it was passed on, without `cascade`.
    pub fn revoke(
        &mut self,
        owner: u32,
        (grantee, grantor): (u32, u32),
        privileges: Privileges,
        option_only: bool,
        cascade: bool,
    ) -> Result<()> {
        let of = |item: &&mut AclItem| item.grantee == grantee && item.grantor == grantor;
        let Some(item) = self.0.iter_mut().find(of) else {
            return Ok(());
        };
        let lost = item.grantable & privileges;
        item.grantable = item.grantable.without(privileges);
        if !option_only {
            item.privileges = item.privileges.without(privileges);
        }
        self.0.retain(|item| !item.privileges.is_empty());
        if grantee == owner {
            return Ok(());
        }
        // Another grantor may have given the same.
        let lost = lost.without(self.grantable(|role| role == grantee));
        let passed_on =
            |item: &&AclItem| item.grantor == grantee && !(item.privileges & lost).is_empty();
        while let Some(item) = self.0.iter().find(passed_on).cloned() {
            if !cascade {
                return Err(Error::DependentPrivileges);
            }
            self.revoke(owner, (item.grantee, grantee), lost, false, true)?;
        }
        Ok(())
    }

    /// The same for another owner.
    #[must_use]
    pub fn with_owner(&self, old: u32, new: u32) -> Acl {
        let renamed = |role| if role == old { new } else { role };
        let mut acl = Acl::default();
        for item in &self.0 {
            let (grantee, grantor) = (renamed(item.grantee), renamed(item.grantor));
            acl.grant(grantee, grantor, item.privileges, item.grantable);
        }
        acl
    }

    /// Whether a role is in it, besides as the owner.
    #[must_use]
    pub fn names_role(&self, role: u32, owner: u32) -> bool {
        role != owner
            && self
                .0
                .iter()
                .any(|item| item.grantee == role || item.grantor == role)
    }

    /// The same without what a role was granted, and what it granted.
    #[must_use]
    pub fn without_role(&self, role: u32) -> Acl {
        let items = self.0.iter();
        let others = items.filter(|item| item.grantee != role && item.grantor != role);
        Acl(others.cloned().collect())
    }

    /// As `aclitem[]` prints it.
    pub fn texts(&self, name: impl Fn(u32) -> String) -> Vec<String> {
        let text = |item: &AclItem| {
            let mut text = match item.grantee {
                PUBLIC => String::new(),
                role => name(role),
            };
            text.push('=');
            for (privilege, letter, _) in ALL {
                if item.privileges.has(privilege) {
                    text.push(letter);
                    if item.grantable.has(privilege) {
                        text.push('*');
                    }
                }
            }
            text.push('/');
            text.push_str(&name(item.grantor));
            text
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: u32 = 10;
    const A: u32 = 11;
    const B: u32 = 12;

    fn shown(acl: &Acl) -> Vec<String> {
        acl.texts(|role| format!("r{role}"))
    }

    #[test]
    fn lists_print_as_postgresql_prints_them() {
        let mut acl = Acl::initial(Class::Table, OWNER);
        acl.grant(
            A,
            OWNER,
            Privileges::SELECT | Privileges::INSERT,
            Privileges::SELECT,
        );
        acl.grant(PUBLIC, OWNER, Privileges::SELECT, Privileges::NONE);
        assert_eq!(shown(&acl), ["r10=arwdDxt/r10", "r11=ar*/r10", "=r/r10"]);
        let database = Acl::initial(Class::Database, OWNER);
        assert_eq!(shown(&database), ["=Tc/r10", "r10=CTc/r10"]);
    }

    #[test]
    fn what_was_passed_on_goes_with_cascade_only() {
        let read = Privileges::SELECT;
        let mut acl = Acl::initial(Class::Table, OWNER);
        acl.grant(A, OWNER, read, read);
        acl.grant(B, A, read, Privileges::NONE);
        let kept = acl.clone();
        let refused = acl.revoke(OWNER, (A, OWNER), read, false, false);
        assert!(matches!(refused, Err(Error::DependentPrivileges)));
        let mut acl = kept;
        acl.revoke(OWNER, (A, OWNER), read, true, true).unwrap();
        assert_eq!(shown(&acl), ["r10=arwdDxt/r10", "r11=r/r10"]);
    }

    #[test]
    fn a_new_owner_takes_the_place_of_the_old_one() {
        let mut acl = Acl::initial(Class::Sequence, OWNER);
        acl.grant(A, OWNER, Privileges::USAGE, Privileges::NONE);
        assert_eq!(shown(&acl.with_owner(OWNER, A)), ["r11=rwU/r11"]);
    }
}
