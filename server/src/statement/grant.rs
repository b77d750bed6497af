//! GRANT and REVOKE of privileges, ALTER DEFAULT PRIVILEGES, and owners of schemas and the database.
//! Rules: PostgreSQL 15's manual.

use std::sync::Arc;

use planner::names::identifier;
use planner::parse::{
    AlterOwner, DefaultPrivileges, Grant, GrantAction, GrantKind, GrantObjects, Granted, RoleName,
};
use sqlparser::ast::{Ident, ObjectName};

use crate::access::DefaultAcl;
use crate::access::actor::{Actor, Object};
use crate::access::database_change;
use crate::access::privilege::{Acl, Class, PUBLIC, Privileges};
use crate::catalog::{Entry, update_change, update_schema_change, with_new_id};
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::notice::Notice;
use crate::session::Session;
use crate::statement::Outcome;

/// A GRANT or REVOKE whose names are looked up.
struct Wanted {
    /// `None`: all that there are.
    privileges: Option<Vec<String>>,
    action: GrantAction,
    grantees: Vec<u32>,
}

impl Wanted {
    /// The privileges on an object of this class.
    fn privileges(&self, class: Class) -> Result<Privileges> {
        let Some(names) = &self.privileges else {
            return Ok(class.all());
        };
        let mut all = Privileges::NONE;
        for name in names {
            let privilege = Privileges::named(name).ok_or_else(|| Error::Syntax {
                message: format!("unrecognized privilege type \"{name}\""),
            })?;
            if !class.all().has(privilege) {
                return Err(Error::InvalidGrant {
                    message: format!(
                        "invalid privilege type {} for {}",
                        name.to_uppercase(),
                        class.name()
                    ),
                });
            }
            all = all | privilege;
        }
        Ok(all)
    }

    /// Changes a list of privileges.
    fn change(&self, acl: &mut Acl, owner: u32, grantor: u32, what: Privileges) -> Result<()> {
        for &grantee in &self.grantees {
            match self.action {
                GrantAction::Grant { with_option } => {
                    if with_option && grantee == PUBLIC {
                        return Err(Error::InvalidGrant {
                            message: "grant options can only be granted to roles".to_owned(),
                        });
                    }
                    let grantable = if with_option { what } else { Privileges::NONE };
                    acl.grant(grantee, grantor, what, grantable);
                }
                GrantAction::Revoke {
                    option_only,
                    cascade,
                } => acl.revoke(owner, (grantee, grantor), what, option_only, cascade)?,
            }
        }
        Ok(())
    }

    fn tag(&self) -> Result<Outcome> {
        Outcome::done(match self.action {
            GrantAction::Grant { .. } => "GRANT",
            GrantAction::Revoke { .. } => "REVOKE",
        })
    }
}

impl Session {
    pub(crate) async fn grant(&mut self, grant: &Grant) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let wanted = self.wanted(&grant.granted)?;
        match (grant.granted.kind, &grant.objects) {
            (GrantKind::Database, GrantObjects::Named(names)) => {
                for name in names {
                    self.grant_on_database(&local_word(name)?, &wanted).await?;
                }
            }
            (GrantKind::Schema, GrantObjects::Named(names)) => {
                for name in names {
                    let schema = self.existing_schema(&local_word(name)?)?;
                    self.grant_on_schema(schema, &wanted).await?;
                }
            }
            (kind, GrantObjects::Named(names)) => {
                for name in names {
                    let entry = self.granted_relation(kind, name)?;
                    self.grant_on_relation(&entry, &wanted).await?;
                }
            }
            (kind, GrantObjects::AllIn(schemas)) => {
                for entry in self.relations_in(kind, schemas)? {
                    self.grant_on_relation(&entry, &wanted).await?;
                }
            }
        }
        wanted.tag()
    }

    pub(crate) async fn alter_default_privileges(
        &mut self,
        alter: &DefaultPrivileges,
    ) -> Result<Outcome> {
        let shared = Arc::clone(&self.shared);
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let wanted = self.wanted(&alter.granted)?;
        let class = class_of(alter.granted.kind);
        let privileges = wanted.privileges(class)?;
        if class == Class::Schema && !alter.schemas.is_empty() {
            return Err(Error::InvalidGrant {
                message: "cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS"
                    .to_owned(),
            });
        }
        let mut schemas = Vec::new();
        for name in &alter.schemas {
            schemas.push(Some(self.existing_schema(&identifier(name))?.id));
        }
        if schemas.is_empty() {
            schemas.push(None);
        }
        let current = [RoleName::Current];
        let of = match alter.of.is_empty() {
            true => &current[..],
            false => &alter.of[..],
        };
        let mut access = shared.catalog.read().access.clone();
        let database = shared.catalog.read().database().id;
        let mut last_id = None;
        for role in of {
            let role = self.new_owner(role)?;
            for &schema in &schemas {
                let same = |d: &DefaultAcl| {
                    (d.database, d.role, d.schema, d.class) == (database, role, schema, class)
                };
                let initial = match schema {
                    None => Acl::initial(class, role),
                    Some(_) => Acl::default(),
                };
                let at = access.defaults.iter().position(same);
                let mut default = match at {
                    Some(at) => access.defaults.remove(at),
                    None => DefaultAcl {
                        id: *last_id.insert(shared.catalog.take_id()),
                        database,
                        role,
                        schema,
                        class,
                        acl: initial.clone(),
                    },
                };
                wanted.change(&mut default.acl, role, role, privileges)?;
                // What is as without it needs no entry.
                if default.acl != initial {
                    access.defaults.push(default);
                }
            }
        }
        access.defaults.sort_by_key(|default| default.id);
        let mut change = access.defaults_change()?;
        if let Some(id) = last_id {
            change = with_new_id(change, id);
        }
        self.write_catalog(change).await?;
        let defaults = access.defaults;
        shared
            .catalog
            .change_access(|access| access.defaults = defaults);
        Outcome::done("ALTER DEFAULT PRIVILEGES")
    }

    /// `ALTER {SCHEMA | DATABASE} … OWNER TO`
    pub(crate) async fn alter_owner(&mut self, alter: &AlterOwner) -> Result<Outcome> {
        let shared = Arc::clone(&self.shared);
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let name = identifier(&alter.name);
        let catalog = shared.catalog.read();
        let actor = self.actor(&catalog);
        if alter.kind == GrantKind::Database {
            let database = self.existing_database(&name)?;
            actor.check_owner_of(&database.object())?;
            let new = self.new_owner(&alter.owner)?;
            let database = database.with_owner(new);
            self.write_catalog(database_change(&database)?).await?;
            shared.catalog.put_database(database);
            return Outcome::done("ALTER DATABASE");
        }
        let schema = self.existing_schema(&name)?;
        actor.check_owner_of(&schema.object())?;
        let new = self.new_owner(&alter.owner)?;
        actor.check_database(Privileges::CREATE)?;
        let schema = Namespace {
            acl: schema
                .acl
                .as_ref()
                .map(|acl| acl.with_owner(schema.owner, new)),
            owner: new,
            ..schema
        };
        self.write_catalog(update_schema_change(&schema)?).await?;
        shared.catalog.put_schema(schema);
        Outcome::done("ALTER SCHEMA")
    }

    async fn grant_on_database(&mut self, name: &str, wanted: &Wanted) -> Result<()> {
        let mut database = self.existing_database(name)?;
        let Some(acl) = self.changed(&database.object(), wanted)? else {
            return Ok(());
        };
        database.acl = Some(acl);
        self.write_catalog(database_change(&database)?).await?;
        self.shared.catalog.put_database(database);
        Ok(())
    }

    async fn grant_on_schema(&mut self, schema: Namespace, wanted: &Wanted) -> Result<()> {
        if let Some(acl) = self.changed(&schema.object(), wanted)? {
            let schema = Namespace {
                acl: Some(acl),
                ..schema
            };
            self.write_catalog(update_schema_change(&schema)?).await?;
            self.shared.catalog.put_schema(schema);
        }
        Ok(())
    }

    async fn grant_on_relation(&mut self, entry: &Entry, wanted: &Wanted) -> Result<()> {
        if let Some(acl) = self.changed(&entry.object(), wanted)? {
            let entry = Entry {
                acl: Some(acl),
                ..entry.clone()
            };
            self.write_catalog(update_change(&entry)?).await?;
            self.shared.catalog.put(entry);
        }
        Ok(())
    }

    /// An object's list of privileges after a GRANT or REVOKE; `None`, with a warning, if there is
    /// nothing that the role may pass on.
    fn changed(&mut self, object: &Object<'_>, wanted: &Wanted) -> Result<Option<Acl>> {
        let privileges = wanted.privileges(object.class)?;
        let catalog = self.shared.catalog.read();
        let actor = self.actor(&catalog);
        let mut acl = object.rights();
        let (grantor, grantable) = grantor(actor, object, privileges);
        if grantable.is_empty() && actor.privileges(object).is_empty() {
            return Err(object.denied());
        }
        let granted = privileges & grantable;
        let is_whole = granted == privileges || wanted.privileges.is_none();
        if granted.is_empty() || !is_whole {
            let (name, all) = (object.name.to_owned(), granted.is_empty());
            self.client.notice(&match wanted.action {
                GrantAction::Grant { .. } => Notice::NotGranted { name, all },
                GrantAction::Revoke { .. } => Notice::NotRevoked { name, all },
            });
        }
        if granted.is_empty() {
            return Ok(None);
        }
        wanted.change(&mut acl, object.owner, grantor, granted)?;
        Ok(Some(acl))
    }

    fn wanted(&self, granted: &Granted) -> Result<Wanted> {
        let grantee = |name: &RoleName| match name {
            RoleName::Public => Ok(PUBLIC),
            name => self.role_id(name),
        };
        Ok(Wanted {
            privileges: granted.privileges.clone(),
            action: granted.action,
            grantees: granted.roles.iter().map(grantee).collect::<Result<_>>()?,
        })
    }

    fn granted_relation(&self, kind: GrantKind, name: &ObjectName) -> Result<Arc<Entry>> {
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.relation(&name)?;
        if entry.creating {
            return Err(Error::BeingCreated {
                name: entry.name.clone(),
            });
        }
        let class = entry.kind.class();
        if matches!(entry.kind, crate::catalog::Kind::Index(_)) {
            return Err(Error::WrongKind {
                name: entry.name.clone(),
                expected: "table",
                hint: Some("An index is read through its table.".to_owned()),
            });
        }
        // As in PostgreSQL, `ON TABLE` takes a sequence, too.
        if kind == GrantKind::Sequence && class != Class::Sequence {
            return Err(Error::WrongKind {
                name: entry.name.clone(),
                expected: "sequence",
                hint: None,
            });
        }
        Ok(Arc::clone(entry))
    }

    fn relations_in(&self, kind: GrantKind, schemas: &[Ident]) -> Result<Vec<Arc<Entry>>> {
        let catalog = self.shared.catalog.read();
        let mut found = Vec::new();
        for schema in schemas {
            let schema = self.existing_schema(&identifier(schema))?;
            let within = catalog.entries().filter(|e| e.schema_name == schema.name);
            let of_kind = within.filter(|entry| {
                entry.kind.class() == class_of(kind)
                    && !matches!(entry.kind, crate::catalog::Kind::Index(_))
            });
            found.extend(of_kind.cloned());
        }
        Ok(found)
    }

    fn existing_schema(&self, name: &str) -> Result<Namespace> {
        let catalog = self.shared.catalog.read();
        let schema = catalog.schema(name).cloned();
        schema.ok_or_else(|| match crate::pg_catalog::is_schema(name) {
            true => Error::SystemCatalog {
                name: name.to_owned(),
            },
            false => Error::UndefinedSchema {
                name: name.to_owned(),
            },
        })
    }
}

/// Who grants, and what that one may: the owner, if the role has its rights; else one of the roles
/// whose rights it has.
fn grantor(actor: Actor<'_>, object: &Object<'_>, wanted: Privileges) -> (u32, Privileges) {
    if actor.has_rights_of(object.owner) {
        return (object.owner, object.class.all());
    }
    let acl = object.rights();
    let mut best = (
        actor.role,
        acl.grantable(|role| role == actor.role) & wanted,
    );
    for role in actor.catalog.access.inherited(actor.role) {
        let grantable = acl.grantable(|other| other == role) & wanted;
        if grantable.names().count() > best.1.names().count() {
            best = (role, grantable);
        }
    }
    best
}

fn class_of(kind: GrantKind) -> Class {
    match kind {
        GrantKind::Table => Class::Table,
        GrantKind::Sequence => Class::Sequence,
        GrantKind::Schema => Class::Schema,
        GrantKind::Database => Class::Database,
    }
}

fn local_word(name: &ObjectName) -> Result<String> {
    let word = match &name.0[..] {
        [part] => part.as_ident().map(identifier),
        _ => None,
    };
    word.ok_or_else(|| Error::Syntax {
        message: format!("improper name: {name}"),
    })
}
