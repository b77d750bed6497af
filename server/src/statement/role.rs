//! CREATE, ALTER and DROP of roles, membership, and who the session acts as. Rules: PostgreSQL 15's
//! manual.

use planner::parse::{RoleName, RoleOption, RoleStatement};
use storage::CatalogChange;

use crate::access::password::Verifier;
use crate::access::privilege::{Acl, Class};
use crate::access::role::{Membership, Role};
use crate::access::{database_change, remove_role_change, role_change};
use crate::catalog::{
    Catalog, Entry, SharedCatalog, update_change, update_schema_change, with_new_id,
};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::session::{Session, lock};
use crate::statement::Outcome;

impl Session {
    pub(crate) async fn role_statement(&mut self, statement: &RoleStatement) -> Result<Outcome> {
        match statement {
            RoleStatement::SetRole(name) => return self.set_role(name.as_deref()),
            RoleStatement::SetSession(name) => return self.set_session_user(name.as_deref()),
            _ => {}
        }
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        match statement {
            RoleStatement::Create {
                name,
                if_not_exists,
                options,
            } => self.create_role(name, *if_not_exists, options).await,
            RoleStatement::Alter { name, options } => self.alter_role(name, options).await,
            RoleStatement::Rename { name, new } => self.rename_role(name, new).await,
            RoleStatement::Drop { names, if_exists } => self.drop_roles(names, *if_exists).await,
            RoleStatement::Grant { roles, to, admin } => {
                for of in roles {
                    self.check_admin(of)?;
                    for member in to {
                        self.add_member(of, member, *admin).await?;
                    }
                }
                Outcome::done("GRANT ROLE")
            }
            RoleStatement::Revoke {
                roles,
                from,
                admin_only,
            } => {
                for of in roles {
                    self.check_admin(of)?;
                    for member in from {
                        self.remove_member(of, member, *admin_only).await?;
                    }
                }
                Outcome::done("REVOKE ROLE")
            }
            RoleStatement::Reassign { from, to } => self.reassign(from, to).await,
            RoleStatement::DropOwned { roles, cascade } => self.drop_owned(roles, *cascade).await,
            RoleStatement::SetRole(_) | RoleStatement::SetSession(_) => Outcome::done("SET"),
        }
    }

    fn set_role(&mut self, name: Option<&str>) -> Result<Outcome> {
        let catalog = self.shared.catalog.read();
        let role = match name.filter(|name| *name != "none") {
            None => None,
            Some(name) => Some(asked_role(&catalog, name)?),
        };
        if let Some(role) = role {
            let user = lock(&self.settings).session_user().id;
            if !catalog.access.is_member(user, role.id) {
                return Err(Error::privilege(format!(
                    "permission denied to set role \"{}\"",
                    role.name
                )));
            }
        }
        let reports = lock(&self.settings).set_role(role.map(Role::identity));
        self.report_settings(reports);
        Outcome::done("SET")
    }

    fn set_session_user(&mut self, name: Option<&str>) -> Result<Outcome> {
        let catalog = self.shared.catalog.read();
        let user = match name.filter(|name| *name != "default") {
            None => None,
            Some(name) => Some(asked_role(&catalog, name)?),
        };
        if let Some(user) = user {
            // What counts is who has logged in.
            let authenticated = lock(&self.settings).authenticated_user().id;
            if authenticated != user.id && !catalog.access.is_superuser(authenticated) {
                return Err(Error::privilege(
                    "permission denied to set session authorization",
                ));
            }
        }
        let reports = lock(&self.settings).set_session_user(user.map(Role::identity));
        self.report_settings(reports);
        Outcome::done("SET")
    }

    async fn create_role(
        &mut self,
        name: &RoleName,
        if_not_exists: bool,
        options: &[RoleOption],
    ) -> Result<Outcome> {
        let name = new_role_name(name)?;
        self.check_role_options(options)?;
        if !self.may_create_roles() {
            return Err(Error::privilege("permission denied to create role"));
        }
        if self
            .shared
            .catalog
            .read()
            .access
            .role_named(&name)
            .is_some()
        {
            let exists = Error::DuplicateRole { name };
            if !if_not_exists {
                return Err(exists);
            }
            self.client
                .notice(&Notice::Progress(format!("{exists}, skipping")));
            return Outcome::done("CREATE ROLE");
        }
        let mut role = Role::new(self.shared.catalog.take_id(), name);
        self.apply(&mut role, options)?;
        let mut joined = Vec::new();
        for option in options {
            let RoleOption::InRoles(roles) = option else {
                continue;
            };
            for of in roles {
                self.check_admin(of)?;
                joined.push(self.membership(of, false)?);
            }
        }
        role.memberships = joined;
        let change = with_new_id(role_change(&role)?, role.id);
        let created = RoleName::Named(role.name.clone());
        self.write_catalog(change).await?;
        self.shared.catalog.change_access(|access| access.put(role));
        self.add_members(&created, options).await?;
        Outcome::done("CREATE ROLE")
    }

    async fn alter_role(&mut self, name: &RoleName, options: &[RoleOption]) -> Result<Outcome> {
        let mut role = self.own_role(name)?;
        self.check_role_options(options)?;
        // Anyone may change the own password, and nothing else.
        let is_own_password =
            role.id == self.role() && options.iter().all(|o| matches!(o, RoleOption::Password(_)));
        if role.superuser {
            self.check_superuser(
                "must be superuser to alter superuser roles or change superuser attribute",
            )?;
        } else if !is_own_password && !self.may_create_roles() {
            return Err(Error::privilege("permission denied"));
        }
        self.apply(&mut role, options)?;
        self.put_role(role).await?;
        self.add_members(name, options).await?;
        Outcome::done("ALTER ROLE")
    }

    async fn rename_role(&mut self, name: &RoleName, new: &RoleName) -> Result<Outcome> {
        let mut role = self.own_role(name)?;
        let new = new_role_name(new)?;
        let session = lock(&self.settings).session_user().id;
        let current = self.role();
        for (own, what) in [(session, "session"), (current, "current")] {
            if own == role.id {
                return Err(Error::OwnRole {
                    message: format!("{what} user cannot be renamed"),
                });
            }
        }
        if self.shared.catalog.read().access.role_named(&new).is_some() {
            return Err(Error::DuplicateRole { name: new });
        }
        if role.superuser {
            self.check_superuser("must be superuser to rename superusers")?;
        } else if !self.may_create_roles() {
            return Err(Error::privilege("permission denied to rename role"));
        }
        role.name = new;
        self.put_role(role).await?;
        Outcome::done("ALTER ROLE")
    }

    async fn drop_roles(&mut self, names: &[RoleName], if_exists: bool) -> Result<Outcome> {
        if !self.may_create_roles() {
            return Err(Error::privilege("permission denied to drop role"));
        }
        let mut dropped = Vec::new();
        for name in names {
            match self.named_role(name) {
                Ok(role) => dropped.push(role),
                Err(Error::UndefinedRole { name }) if if_exists => {
                    self.client
                        .notice(&Notice::DoesNotExist { kind: "role", name });
                }
                Err(error) => return Err(error),
            }
        }
        let catalog = self.shared.catalog.read();
        let session = lock(&self.settings).session_user().id;
        let current = self.role();
        for role in &dropped {
            for (own, what) in [(current, "current"), (session, "session")] {
                if own == role.id {
                    return Err(Error::OwnRole {
                        message: format!("{what} user cannot be dropped"),
                    });
                }
            }
            if role.superuser {
                self.check_superuser("must be superuser to drop superusers")?;
            }
            if role.is_predefined() {
                return Err(Error::RoleInUse {
                    name: role.name.clone(),
                    detail: "It is required by the database system.".to_owned(),
                });
            }
            let uses = uses(&self.shared.catalog, role.id);
            if !uses.is_empty() {
                return Err(Error::RoleInUse {
                    name: role.name.clone(),
                    detail: uses.join("\n"),
                });
            }
        }
        for role in dropped {
            let mut change = remove_role_change(role.id);
            let mut left = Vec::new();
            for member in catalog.access.roles() {
                if member.memberships.iter().any(|m| m.role == role.id) {
                    let mut member = member.clone();
                    member.memberships.retain(|m| m.role != role.id);
                    change.puts.extend(role_change(&member)?.puts);
                    left.push(member);
                }
            }
            self.write_catalog(change).await?;
            self.shared.catalog.change_access(|access| {
                access.remove(role.id);
                left.into_iter().for_each(|member| access.put(member));
            });
        }
        Outcome::done("DROP ROLE")
    }

    /// The members that the options of a role name.
    async fn add_members(&mut self, of: &RoleName, options: &[RoleOption]) -> Result<()> {
        for option in options {
            let (members, admin) = match option {
                RoleOption::Members(members) => (members, false),
                RoleOption::Admins(members) => (members, true),
                _ => continue,
            };
            for member in members {
                self.add_member(of, member, admin).await?;
            }
        }
        Ok(())
    }

    async fn add_member(&mut self, of: &RoleName, member: &RoleName, admin: bool) -> Result<()> {
        let membership = self.membership(of, admin)?;
        let mut role = self.named_role(member)?;
        let catalog = self.shared.catalog.read();
        if catalog.access.is_listed_member(membership.role, role.id) {
            return Err(Error::InvalidGrant {
                message: format!(
                    "role \"{}\" is a member of role \"{}\"",
                    catalog.access.name_of(membership.role),
                    role.name
                ),
            });
        }
        match role
            .memberships
            .iter_mut()
            .find(|m| m.role == membership.role)
        {
            Some(known) if known.admin || !admin => {
                let text = format!(
                    "role \"{}\" is already a member of role \"{}\"",
                    role.name,
                    catalog.access.name_of(membership.role)
                );
                self.client.notice(&Notice::Progress(text));
                return Ok(());
            }
            Some(known) => known.admin = true,
            None => role.memberships.push(membership),
        }
        self.put_role(role).await
    }

    async fn remove_member(
        &mut self,
        of: &RoleName,
        member: &RoleName,
        admin_only: bool,
    ) -> Result<()> {
        let of = self.named_role(of)?;
        let mut role = self.named_role(member)?;
        let Some(at) = role.memberships.iter().position(|m| m.role == of.id) else {
            self.client.notice(&Notice::Warning(format!(
                "role \"{}\" is not a member of role \"{}\"",
                role.name, of.name
            )));
            return Ok(());
        };
        match admin_only {
            true => role.memberships[at].admin = false,
            false => drop(role.memberships.remove(at)),
        }
        self.put_role(role).await
    }

    /// REASSIGN OWNED: all that some roles own becomes another's.
    async fn reassign(&mut self, from: &[RoleName], to: &RoleName) -> Result<Outcome> {
        let catalog = self.shared.catalog.read();
        let new = self.new_owner(to)?;
        for old in from {
            let old = self.new_owner(old)?;
            let mut change = CatalogChange::default();
            let owned = catalog.objects().filter(|entry| entry.owner == old);
            let entries: Vec<Entry> = owned.map(|entry| with_owner(entry, new)).collect();
            for entry in &entries {
                change.puts.extend(update_change(entry)?.puts);
            }
            let mut schemas = Vec::new();
            for schema in catalog.namespaces().filter(|schema| schema.owner == old) {
                let mut schema = schema.clone();
                schema.acl = schema.acl.map(|acl| acl.with_owner(old, new));
                schema.owner = new;
                change.puts.extend(update_schema_change(&schema)?.puts);
                schemas.push(schema);
            }
            let mut databases = Vec::new();
            for database in catalog.access.databases.values() {
                if database.owner == old {
                    let database = database.clone().with_owner(new);
                    change.puts.extend(database_change(&database)?.puts);
                    databases.push(database);
                }
            }
            self.write_catalog(change).await?;
            let shared = &self.shared.catalog;
            entries.into_iter().for_each(|entry| shared.put(entry));
            schemas
                .into_iter()
                .for_each(|schema| shared.put_schema(schema));
            databases
                .into_iter()
                .for_each(|database| shared.put_database(database));
        }
        Outcome::done("REASSIGN OWNED")
    }

    async fn put_role(&mut self, role: Role) -> Result<()> {
        self.write_catalog(role_change(&role)?).await?;
        self.shared.catalog.change_access(|access| access.put(role));
        Ok(())
    }

    fn named_role(&self, name: &RoleName) -> Result<Role> {
        let id = self.role_id(name)?;
        let catalog = self.shared.catalog.read();
        let role = catalog.access.role(id).cloned();
        role.ok_or_else(|| Error::UndefinedRole {
            name: catalog.access.name_of(id),
        })
    }

    /// A role that is not predefined.
    fn own_role(&self, name: &RoleName) -> Result<Role> {
        let role = self.named_role(name)?;
        match role.is_predefined() {
            true => Err(Error::ReservedRole { name: role.name }),
            false => Ok(role),
        }
    }

    fn membership(&self, of: &RoleName, admin: bool) -> Result<Membership> {
        Ok(Membership {
            role: self.role_id(of)?,
            grantor: self.role(),
            admin,
        })
    }

    fn may_create_roles(&self) -> bool {
        let catalog = self.shared.catalog.read();
        let role = catalog.access.role(self.role());
        role.is_some_and(|role| role.superuser || role.create_role)
    }

    /// Whether the session's role may add members to a role.
    fn check_admin(&self, of: &RoleName) -> Result<()> {
        let of = self.named_role(of)?;
        if of.superuser {
            return self.check_superuser("must be superuser to alter superusers");
        }
        let catalog = self.shared.catalog.read();
        if self.may_create_roles() || catalog.access.is_admin(self.role(), of.id) {
            return Ok(());
        }
        Err(Error::privilege(format!(
            "must have admin option on role \"{}\"",
            of.name
        )))
    }

    /// Some rights are given by superusers alone.
    fn check_role_options(&self, options: &[RoleOption]) -> Result<()> {
        for option in options {
            match option {
                RoleOption::Superuser(true) => {
                    self.check_superuser("must be superuser to create superusers")?;
                }
                RoleOption::Replication(true) => {
                    self.check_superuser("must be superuser to create replication users")?;
                }
                RoleOption::BypassRls(true) => {
                    self.check_superuser("must be superuser to create bypassrls users")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, role: &mut Role, options: &[RoleOption]) -> Result<()> {
        for option in options {
            match option {
                RoleOption::Superuser(on) => role.superuser = *on,
                RoleOption::CreateDb(on) => role.create_db = *on,
                RoleOption::CreateRole(on) => role.create_role = *on,
                RoleOption::Inherit(on) => role.inherit = *on,
                RoleOption::Login(on) => role.login = *on,
                RoleOption::Replication(on) => role.replication = *on,
                RoleOption::BypassRls(on) => role.bypass_rls = *on,
                RoleOption::ConnectionLimit(limit) => {
                    role.connections_max = u32::try_from(*limit).ok();
                }
                RoleOption::Password(None) => role.verifier = None,
                RoleOption::Password(Some(text)) => role.verifier = self.verifier(text)?,
                RoleOption::ValidUntil(text) => role.valid_until = self.end_of_validity(text)?,
                RoleOption::InRoles(_) | RoleOption::Members(_) | RoleOption::Admins(_) => {}
            }
        }
        Ok(())
    }

    fn verifier(&mut self, text: &str) -> Result<Option<String>> {
        let verifier = Verifier::new(text)?;
        if verifier.is_of_empty() {
            let notice = "empty string is not a valid password, clearing password";
            self.client.notice(&Notice::Progress(notice.to_owned()));
            return Ok(None);
        }
        Ok(Some(verifier.to_string()))
    }

    /// Microseconds since 1970; `None`: for ever.
    fn end_of_validity(&self, text: &str) -> Result<Option<i64>> {
        if text.trim().eq_ignore_ascii_case("infinity") {
            return Ok(None);
        }
        planner::values::datetime::parse_timestamptz(text, self.style().zone)
            .map(Some)
            .map_err(Error::from)
    }
}

/// A role that SET names.
fn asked_role<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a Role> {
    let role = catalog.access.role_named(name);
    role.ok_or_else(|| Error::InvalidValue {
        message: format!("role \"{name}\" does not exist"),
        hint: None,
    })
}

/// The name of a new role.
fn new_role_name(name: &RoleName) -> Result<String> {
    let reserved = |name: &str| Error::ReservedRole {
        name: name.to_owned(),
    };
    match name {
        RoleName::Named(name) if name == "none" || name == "public" || name.starts_with("pg_") => {
            Err(reserved(name))
        }
        RoleName::Named(name) => Ok(name.clone()),
        RoleName::Public => Err(reserved("public")),
        RoleName::Current | RoleName::Session => Err(Error::Syntax {
            message: "CURRENT_USER and SESSION_USER cannot be used as a role name here".to_owned(),
        }),
    }
}

/// The same relation under another owner.
pub(crate) fn with_owner(entry: &Entry, owner: u32) -> Entry {
    Entry {
        acl: entry
            .acl
            .as_ref()
            .map(|acl| acl.with_owner(entry.owner, owner)),
        owner,
        ..entry.clone()
    }
}

/// What depends on a role, in PostgreSQL's words: what is in other databases is only counted.
fn uses(shared: &SharedCatalog, role: u32) -> Vec<String> {
    let here = shared.read();
    let mut uses = uses_within(&here, role);
    for database in here.access.databases.values() {
        if database.owner == role {
            uses.push(format!("owner of database {}", database.name));
        }
        let acl = database.acl.as_ref();
        if acl.is_some_and(|acl| acl.names_role(role, database.owner)) {
            uses.push(format!("privileges for database {}", database.name));
        }
        if database.id == here.database().id {
            continue;
        }
        let there = shared.of_database(database.id).read();
        let count = uses_within(&there, role).len();
        if count > 0 {
            let objects = if count == 1 { "object" } else { "objects" };
            uses.push(format!("{count} {objects} in database {}", database.name));
        }
    }
    uses
}

/// What depends on a role within a database.
fn uses_within(catalog: &Catalog, role: u32) -> Vec<String> {
    let mut uses = Vec::new();
    let mut look = |owner: u32, acl: Option<&Acl>, what: String| {
        if owner == role {
            uses.push(format!("owner of {what}"));
        }
        if acl.is_some_and(|acl| acl.names_role(role, owner)) {
            uses.push(format!("privileges for {what}"));
        }
    };
    for schema in catalog.namespaces() {
        let name = format!("schema {}", schema.name);
        look(schema.owner, schema.acl.as_ref(), name);
    }
    for entry in catalog.objects() {
        let name = format!("{} {}", entry.kind_name(), entry.name);
        look(entry.owner, entry.acl.as_ref(), name);
    }
    let defaults = catalog.access.defaults.iter();
    for default in defaults.filter(|d| d.database == catalog.database().id) {
        let class = match default.class {
            Class::Table => "relations",
            Class::Sequence => "sequences",
            Class::Schema | Class::Database => "schemas",
        };
        let owner = catalog.access.name_of(default.role);
        let mut schemas = catalog.namespaces();
        let schema = schemas.find(|schema| default.schema == Some(schema.id));
        let within = schema.map_or_else(String::new, |s| format!(" in schema {}", s.name));
        let what = format!("default privileges on new {class} belonging to role {owner}{within}");
        look(default.role, Some(&default.acl), what);
    }
    uses
}
