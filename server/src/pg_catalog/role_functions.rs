//! PostgreSQL's functions about roles and privileges: who the session is, and who may do what.

use std::sync::{Arc, Mutex};

use arrow::datatypes::DataType;
use datafusion::logical_expr::{ScalarUDF, Volatility};

use crate::access::actor::{Actor, Object};
use crate::access::privilege::{Acl, Class, Privileges};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::pg_catalog::function::{Arg, Returned, arg, external, make, oid_arg, stable, text_list};
use crate::pg_catalog::functions::{Scope, relation_oid};
use crate::pg_catalog::relations::quoted;
use crate::pg_catalog::roles::SECRET;
use crate::pg_catalog::{INDEX_OID, is_schema, tables};
use crate::server::Shared;
use crate::session::lock;
use crate::settings::Settings;

/// A role's oid of its name.
pub(crate) const REGROLE_IN: &str = "pg_regrole_in";
/// A role's name of its oid.
pub(crate) const REGROLE_OUT: &str = "pg_regrole_out";

/// Catalog and session of the moment that a function is called.
struct Asked {
    scope: Scope,
    /// The role that asks.
    role: u32,
}

/// The functions of one session.
pub(crate) fn of_session(shared: &Arc<Shared>, settings: &Arc<Mutex<Settings>>) -> Vec<ScalarUDF> {
    use DataType::{Boolean, UInt32, Utf8};
    let mut functions = Vec::new();
    type Who = fn(&Settings) -> u32;
    let who: [(&str, Who); 4] = [
        ("current_user", |s| s.current_user().id),
        ("current_role", |s| s.current_user().id),
        ("user", |s| s.current_user().id),
        ("session_user", |s| s.session_user().id),
    ];
    for (name, who) in who {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        functions.push(stable(name, Utf8, move |_| {
            let id = who(&lock(&settings));
            shared.catalog.read().access.name_of(id).into()
        }));
    }
    let mut asking = |name, returns, body: fn(&Asked, &[Arg<'_>]) -> Result<Returned>| {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        let body = move |args: &[Arg<'_>]| {
            let asked = Asked {
                scope: Scope::of(&shared, &settings),
                role: lock(&settings).current_user().id,
            };
            body(&asked, args).map_err(external)
        };
        functions.push(make(name, returns, Volatility::Stable, body));
    };
    asking("pg_get_userbyid", Utf8, |asked, args| {
        let name = oid_arg(args, 0).map(|oid| asked.scope.access.name_of(oid));
        Ok(name.into())
    });
    asking(REGROLE_OUT, Utf8, |asked, args| {
        let name = |oid| match asked.scope.access.role(oid) {
            Some(role) => quoted(&role.name),
            None if oid == 0 => "-".to_owned(),
            None => oid.to_string(),
        };
        Ok(oid_arg(args, 0).map(name).into())
    });
    asking(REGROLE_IN, UInt32, |asked, args| match arg(args, 0) {
        None => Ok(Returned::Null),
        Some(name) => Ok(i64::from(asked.role(name)?).into()),
    });
    asking("to_regrole", UInt32, |asked, args| {
        let found = arg(args, 0).and_then(|name| asked.scope.access.role_named(name));
        Ok(found.map(|role| i64::from(role.id)).into())
    });
    asking("acldefault", text_list(), acl_default);
    asking("pg_has_role", Boolean, has_role);
    asking("has_table_privilege", Boolean, |asked, args| {
        asked.answer(args, 1, |asked, args, actor, wanted| {
            asked.on_relation(args[0], actor, wanted)
        })
    });
    asking("has_any_column_privilege", Boolean, |asked, args| {
        asked.answer(args, 1, |asked, args, actor, wanted| {
            asked.on_relation(args[0], actor, wanted)
        })
    });
    asking("has_column_privilege", Boolean, |asked, args| {
        asked.answer(args, 2, |asked, args, actor, wanted| {
            asked.on_relation(args[0], actor, wanted)
        })
    });
    asking("has_sequence_privilege", Boolean, |asked, args| {
        asked.answer(args, 1, |asked, args, actor, wanted| {
            asked.on_relation(args[0], actor, wanted)
        })
    });
    asking("has_schema_privilege", Boolean, |asked, args| {
        asked.answer(args, 1, |asked, args, actor, wanted| {
            asked.on_schema(args[0], actor, wanted)
        })
    });
    asking("has_database_privilege", Boolean, |asked, args| {
        asked.answer(args, 1, |asked, args, actor, wanted| {
            let access = &asked.scope.access;
            let database = match args[0].parse::<u32>() {
                Ok(oid) => access.databases.get(&oid),
                Err(_) => access.database_named(args[0]),
            };
            let database = database.ok_or_else(|| Error::UndefinedDatabase {
                name: args[0].to_owned(),
            })?;
            Ok(Some(wanted.are_held(actor, &database.object())))
        })
    });
    functions
}

/// Privileges of which one is enough, each with whether it must be grantable.
struct Wanted(Vec<(Privileges, bool)>);

impl Wanted {
    fn of(text: &str) -> Result<Wanted> {
        let one = |text: &str| {
            let upper = text.trim().to_uppercase();
            let plain = upper.strip_suffix(" WITH GRANT OPTION");
            let privilege = Privileges::named(plain.unwrap_or(&upper).trim());
            let privilege = privilege.ok_or_else(|| Error::InvalidValue {
                message: format!("unrecognized privilege type: \"{}\"", text.trim()),
                hint: None,
            })?;
            Ok((privilege, plain.is_some()))
        };
        Ok(Wanted(text.split(',').map(one).collect::<Result<_>>()?))
    }

    fn are_held(&self, actor: Actor<'_>, object: &Object<'_>) -> bool {
        let (held, grantable) = (actor.privileges(object), actor.grantable(object));
        let is_held = |(privilege, option): &(Privileges, bool)| match option {
            true => grantable.has(*privilege),
            false => held.has(*privilege),
        };
        self.0.iter().any(is_held)
    }

    fn has(&self, privilege: Privileges) -> bool {
        self.0.contains(&(privilege, false))
    }
}

/// Answers about one object; `None` if there is no such oid.
type Answer = fn(&Asked, &[&str], Actor<'_>, &Wanted) -> Result<Option<bool>>;

impl Asked {
    /// `f([role,] object…, privileges)`, where the object takes `width` arguments.
    fn answer(&self, args: &[Arg<'_>], width: usize, answer: Answer) -> Result<Returned> {
        let Some(args) = args.iter().copied().collect::<Option<Vec<&str>>>() else {
            return Ok(Returned::Null);
        };
        let (role, rest) = match args.len() - width.min(args.len()) {
            1 => (self.role, &args[..]),
            2 => (self.role(args[0])?, &args[1..]),
            _ => return Ok(Returned::Null),
        };
        let wanted = Wanted::of(rest[width])?;
        let catalog: &Catalog = &self.scope;
        Ok(answer(self, &rest[..width], Actor { catalog, role }, &wanted)?.into())
    }

    /// A role by its name or oid.
    fn role(&self, text: &str) -> Result<u32> {
        if text == "public" {
            return Ok(0);
        }
        if let Some(role) = self.scope.access.role_named(text) {
            return Ok(role.id);
        }
        text.parse().map_err(|_| Error::UndefinedRole {
            name: text.to_owned(),
        })
    }

    fn on_relation(&self, text: &str, actor: Actor<'_>, wanted: &Wanted) -> Result<Option<bool>> {
        let oid = relation_oid(&self.scope, text).ok_or_else(|| Error::UndefinedRelation {
            name: text.to_owned(),
        })?;
        let oid = u32::try_from(oid).unwrap_or_default();
        let entry = self.scope.by_id(oid);
        if let Some(entry) = entry.or_else(|| self.scope.by_id(oid.wrapping_sub(INDEX_OID))) {
            return Ok(Some(wanted.are_held(actor, &entry.object())));
        }
        let system = tables().find(|(_, table)| table.oid == oid);
        Ok(system.map(|(_, table)| {
            let is_open = !SECRET.contains(&table.name) || actor.is_superuser();
            is_open && wanted.has(Privileges::SELECT)
        }))
    }

    fn on_schema(&self, text: &str, actor: Actor<'_>, wanted: &Wanted) -> Result<Option<bool>> {
        if is_schema(text) {
            return Ok(Some(wanted.has(Privileges::USAGE) || actor.is_superuser()));
        }
        let oid = text.parse::<u32>().ok();
        let mut schemas = self.scope.namespaces();
        let found = schemas.find(|schema| schema.name == text || Some(schema.id) == oid);
        match (found, oid) {
            (Some(schema), _) => Ok(Some(wanted.are_held(actor, &schema.object()))),
            (None, Some(_)) => Ok(None),
            (None, None) => Err(Error::UndefinedSchema {
                name: text.to_owned(),
            }),
        }
    }
}

/// `pg_has_role([role,] role, 'USAGE' | 'MEMBER' [WITH ADMIN OPTION])`
fn has_role(asked: &Asked, args: &[Arg<'_>]) -> Result<Returned> {
    let Some(args) = args.iter().copied().collect::<Option<Vec<&str>>>() else {
        return Ok(Returned::Null);
    };
    let (role, of, what) = match &args[..] {
        [of, what] => (asked.role, asked.role(of)?, what),
        [role, of, what] => (asked.role(role)?, asked.role(of)?, what),
        _ => return Ok(Returned::Null),
    };
    let access = &asked.scope.access;
    match what.trim().to_uppercase().as_str() {
        "USAGE" => Ok(access.has_rights_of(role, of).into()),
        "MEMBER" => Ok(access.is_member(role, of).into()),
        other if other.ends_with("WITH ADMIN OPTION") || other.ends_with("WITH GRANT OPTION") => {
            Ok(access.is_admin(role, of).into())
        }
        _ => Err(Error::InvalidValue {
            message: format!("unrecognized privilege type: \"{what}\""),
            hint: None,
        }),
    }
}

/// `acldefault(kind, owner)`
fn acl_default(asked: &Asked, args: &[Arg<'_>]) -> Result<Returned> {
    let class = match arg(args, 0) {
        Some("r") => Class::Table,
        Some("s") => Class::Sequence,
        Some("n") => Class::Schema,
        Some("d") => Class::Database,
        _ => return Ok(Returned::Null),
    };
    let acl = oid_arg(args, 1).map(|owner| Acl::initial(class, owner));
    let access = &asked.scope.access;
    Ok(acl.map_or(Returned::Null, |acl| {
        Returned::Texts(acl.texts(|role| access.name_of(role)))
    }))
}
