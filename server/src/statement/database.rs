//! CREATE, ALTER and DROP DATABASE. Rules: PostgreSQL manual.
//!
//! A database is an entry of its own and a catalog without relations: it costs a row. Its relations
//! are jobs of the one engine, so all databases have the same epochs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use planner::names::identifier;
use planner::parse::{DatabaseStatement, RoleName};
use storage::CatalogChange;

use crate::access::database::{DEV_ID, Database};
use crate::access::{database_change, remove_database_change};
use crate::catalog::{Catalog, delete_change, delete_schema_change, with_new_id};
use crate::error::{Error, Result};
use crate::interrupt::Handle;
use crate::notice::Notice;
use crate::server::with_jobs;
use crate::session::Session;
use crate::statement::Outcome;

/// How long DROP DATABASE … (FORCE) waits for the sessions that it ends, and between two looks.
const FORCE_TIME_MAX: Duration = Duration::from_secs(5);
const FORCE_PAUSE: Duration = Duration::from_millis(5);

impl Session {
    pub(crate) async fn database_statement(
        &mut self,
        statement: &DatabaseStatement,
    ) -> Result<Outcome> {
        let verb = match statement {
            DatabaseStatement::Create { .. } => "CREATE DATABASE",
            DatabaseStatement::Rename { .. } => "ALTER DATABASE",
            DatabaseStatement::Drop { .. } => "DROP DATABASE",
        };
        if self.transaction.is_open() && verb != "ALTER DATABASE" {
            return Err(Error::ActiveTransaction { statement: verb });
        }
        let _ddl = self.lock_ddl().await?;
        match statement {
            DatabaseStatement::Create {
                name,
                if_not_exists,
                options,
            } => {
                let name = identifier(name);
                self.create_database(name, *if_not_exists, options).await?;
            }
            DatabaseStatement::Rename { name, to } => {
                self.check_ddl()?;
                self.rename_database(&identifier(name), identifier(to))
                    .await?;
            }
            DatabaseStatement::Drop {
                name,
                if_exists,
                force,
            } => {
                let name = identifier(name);
                self.drop_database(&name, *if_exists, *force).await?;
            }
        }
        Outcome::done(verb)
    }

    async fn create_database(
        &mut self,
        name: String,
        if_not_exists: bool,
        options: &[(String, String)],
    ) -> Result<()> {
        let owner = self.owner_of_new(options)?;
        let catalog = self.shared.catalog.read();
        self.check_creates_databases("permission denied to create database")?;
        if catalog.access.database_named(&name).is_some() {
            let exists = Error::DatabaseExists { name };
            if !if_not_exists {
                return Err(exists);
            }
            let text = format!("{exists}, skipping");
            self.client.notice(&Notice::Progress(text));
            return Ok(());
        }
        let database = Database {
            id: self.shared.catalog.take_id(),
            name,
            owner,
            acl: None,
        };
        let change = with_new_id(database_change(&database)?, database.id);
        self.write_catalog(change).await?;
        self.shared.catalog.put_database(database);
        Ok(())
    }

    /// Who shall own a new database; its other options change nothing, or are refused.
    fn owner_of_new(&self, options: &[(String, String)]) -> Result<u32> {
        let mut owner = self.role();
        for (option, value) in options {
            let is_any_of = |allowed: &[&str]| {
                let mut allowed = allowed.iter();
                allowed.any(|allowed| allowed.eq_ignore_ascii_case(value))
            };
            let is_as_ours = match option.as_str() {
                "owner" => {
                    owner = self.new_owner(&RoleName::Named(value.clone()))?;
                    true
                }
                "template" => is_any_of(&["template0", "template1", "default"]),
                "encoding" => is_any_of(&["UTF8", "UTF-8", "6", "default"]),
                "lc_collate" | "lc_ctype" | "locale" => {
                    is_any_of(&["C", "C.UTF-8", "POSIX", "default"])
                }
                "tablespace" => is_any_of(&["pg_default", "default"]),
                "connection limit" => value == "-1",
                "is_template" => is_any_of(&["false", "off", "0"]),
                "allow_connections" => is_any_of(&["true", "on", "1"]),
                _ => {
                    return Err(Error::Syntax {
                        message: format!("option \"{option}\" not recognized"),
                    });
                }
            };
            if !is_as_ours {
                return Err(Error::unsupported(
                    format!(
                        "{} {value} of a database is not supported",
                        option.to_uppercase()
                    ),
                    "Leave it out: a database is empty, and its encoding is UTF8, its locale C.",
                ));
            }
        }
        Ok(owner)
    }

    fn check_creates_databases(&self, otherwise: &str) -> Result<()> {
        let catalog = self.shared.catalog.read();
        let role = catalog.access.role(self.role());
        match role.is_some_and(|role| role.superuser || role.create_db) {
            true => Ok(()),
            false => Err(Error::privilege(otherwise)),
        }
    }

    async fn rename_database(&mut self, name: &str, to: String) -> Result<()> {
        let catalog = self.shared.catalog.read();
        let database = self.existing_database(name)?;
        let actor = self.actor(&catalog);
        actor.check_owner_of(&database.object())?;
        self.check_creates_databases("permission denied to rename database")?;
        if catalog.access.database_named(&to).is_some() {
            return Err(Error::DatabaseExists { name: to });
        }
        if database.id == catalog.database().id {
            return Err(Error::not_supported("current database cannot be renamed"));
        }
        if database.id == DEV_ID {
            return Err(always_there("renaming"));
        }
        self.check_unused(&database)?;
        let database = Database {
            name: to,
            ..database
        };
        self.write_catalog(database_change(&database)?).await?;
        self.shared.catalog.put_database(database);
        Ok(())
    }

    async fn drop_database(&mut self, name: &str, if_exists: bool, force: bool) -> Result<()> {
        let catalog = self.shared.catalog.read();
        let database = match self.existing_database(name) {
            Ok(database) => database,
            Err(Error::UndefinedDatabase { name }) if if_exists => {
                let kind = "database";
                self.client.notice(&Notice::DoesNotExist { kind, name });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let actor = self.actor(&catalog);
        actor.check_owner_of(&database.object())?;
        if database.id == catalog.database().id {
            return Err(Error::DatabaseInUse {
                message: "cannot drop the currently open database".to_owned(),
                detail: None,
            });
        }
        if database.id == DEV_ID {
            return Err(always_there("dropping"));
        }
        // Out of sight first: whoever logs in looks again when it is on the list of sessions.
        let Some(dropped) = self.shared.catalog.take_database(database.id) else {
            return Err(Error::UndefinedDatabase {
                name: name.to_owned(),
            });
        };
        let gone = match self.leave_alone(&database, force).await {
            Ok(()) => self.remove_database(&database, &dropped).await,
            Err(error) => Err(error),
        };
        if let Err(error) = gone {
            self.shared.catalog.put_back(database, dropped);
            return Err(error);
        }
        Ok(())
    }

    /// Makes sure that no session is in a database, by ending them if `force` says so.
    async fn leave_alone(&mut self, database: &Database, force: bool) -> Result<()> {
        if force {
            let sessions = &self.shared.sessions;
            for process_id in sessions.within(database.id) {
                sessions.reach(process_id, Handle::terminate);
            }
            let ended = async {
                while !sessions.within(database.id).is_empty() {
                    tokio::time::sleep(FORCE_PAUSE).await;
                }
            };
            // Those that are left are told of below.
            let _in_time = tokio::time::timeout(FORCE_TIME_MAX, ended).await;
        }
        self.check_unused(database)
    }

    fn check_unused(&self, database: &Database) -> Result<()> {
        let sessions = self.shared.sessions.within(database.id).len();
        let detail = match sessions {
            0 => return Ok(()),
            1 => "There is 1 other session using the database.".to_owned(),
            _ => format!("There are {sessions} other sessions using the database."),
        };
        Err(Error::DatabaseInUse {
            message: format!(
                "database \"{}\" is being accessed by other users",
                database.name
            ),
            detail: Some(detail),
        })
    }

    async fn remove_database(&mut self, database: &Database, dropped: &Catalog) -> Result<()> {
        let ids: BTreeSet<u32> = dropped.ids().collect();
        let mut access = self.shared.catalog.read().access.clone();
        access.defaults.retain(|d| d.database != database.id);
        let mut change = delete_change(&ids);
        for schema in dropped.namespaces() {
            change.deletes.extend(delete_schema_change(schema).deletes);
        }
        let CatalogChange { puts, .. } = access.defaults_change()?;
        change.puts.extend(puts);
        let gone = remove_database_change(database.id);
        change.deletes.extend(gone.deletes);
        let jobs = with_jobs(dropped, &ids);
        if jobs.is_empty() {
            self.write_catalog(change).await?;
        } else {
            self.shared.engine.drop_jobs(jobs, change).await?;
        }
        let defaults = access.defaults;
        let catalog = &self.shared.catalog;
        catalog.change_access(|access| access.defaults = defaults);
        for id in ids {
            self.shared.keys.remove(id);
            self.shared.locks.remove(id);
        }
        Ok(())
    }

    /// The database of this name.
    ///
    /// # Errors
    /// [`Error::UndefinedDatabase`].
    pub(crate) fn existing_database(&self, name: &str) -> Result<Database> {
        let catalog: Arc<Catalog> = self.shared.catalog.read();
        let database = catalog.access.database_named(name).cloned();
        database.ok_or_else(|| Error::UndefinedDatabase {
            name: name.to_owned(),
        })
    }
}

fn always_there(what: &str) -> Error {
    Error::unsupported(
        format!("{what} database \"dev\" is not supported"),
        "It is always there: drop what is in it.",
    )
}
