//! The modes of a transaction: READ ONLY, and its isolation level.
//!
//! | mode | what the statements of a block read |
//! |---|---|
//! | READ COMMITTED (and READ UNCOMMITTED) | each the last epoch, with the block's own changes |
//! | READ ONLY | all of them the epoch that the first one read |
//! | REPEATABLE READ, SERIALIZABLE | the same; such a block cannot write |
//!
//! The modes are settings (`transaction_read_only`, `transaction_isolation`) that a block sets when
//! it begins and gives back when it ends.

use planner::parse::{DatabaseStatement, GrantAction, RoleStatement, Statement};
use sqlparser::ast;
use sqlparser::ast::{TransactionAccessMode, TransactionIsolationLevel, TransactionMode};

use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::session::{Session, lock};
use crate::settings::MODES;

impl Session {
    /// SET TRANSACTION, or SET SESSION CHARACTERISTICS AS TRANSACTION.
    pub(crate) fn set_modes(&mut self, modes: &[TransactionMode], of_session: bool) -> Result<()> {
        if !of_session && !self.transaction.is_open() {
            self.client.notice(&Notice::ModeOutsideBlock);
            return Ok(());
        }
        for mode in modes {
            let (name, value) = setting_of(mode)?;
            if of_session {
                lock(&self.settings).set(&format!("default_{name}"), value)?;
                continue;
            }
            let is_same = self.settings().get(name)? == value;
            if self.transaction.has_begun_work() && !is_same && value != "on" {
                return Err(match mode {
                    TransactionMode::IsolationLevel(_) => Error::TooLateForMode {
                        statement: "SET TRANSACTION ISOLATION LEVEL",
                        done: "called",
                    },
                    TransactionMode::AccessMode(_) => Error::TooLateForMode {
                        statement: "transaction read-write mode",
                        done: "set",
                    },
                });
            }
            lock(&self.settings).set(name, value)?;
        }
        Ok(())
    }

    /// The modes of the block that has ended are no longer those of the session.
    pub(crate) fn drop_modes(&mut self) {
        for name in MODES {
            // Neither is fixed, so both can be reset; and clients do not follow them.
            drop(lock(&self.settings).reset(name));
        }
    }

    /// Refuses a statement that the modes do not allow.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or that a block that reads one epoch cannot write (0A000).
    pub(crate) fn check_modes(&self, statement: &Statement) -> Result<()> {
        let Some(statement) = changing(statement) else {
            return Ok(());
        };
        let settings = lock(&self.settings);
        if settings.is_read_only() {
            return Err(Error::ReadOnly { statement });
        }
        if settings.reads_one_epoch() && self.transaction.is_open() {
            return Err(Error::unsupported(
                format!(
                    "{statement} in a transaction of isolation level repeatable read or serializable is not supported"
                ),
                "Use READ COMMITTED; a READ ONLY transaction reads one epoch throughout.",
            ));
        }
        Ok(())
    }
}

/// The setting that a mode is, and its value.
fn setting_of(mode: &TransactionMode) -> Result<(&'static str, &'static str)> {
    Ok(match mode {
        TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => {
            ("transaction_read_only", "on")
        }
        TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => {
            ("transaction_read_only", "off")
        }
        TransactionMode::IsolationLevel(level) => {
            let level = match level {
                TransactionIsolationLevel::ReadUncommitted => "read uncommitted",
                TransactionIsolationLevel::ReadCommitted => "read committed",
                TransactionIsolationLevel::RepeatableRead => "repeatable read",
                TransactionIsolationLevel::Serializable => "serializable",
                TransactionIsolationLevel::Snapshot => {
                    return Err(Error::not_supported(
                        "isolation level snapshot is not supported",
                    ));
                }
            };
            ("transaction_isolation", level)
        }
    })
}

/// What a statement is called that changes data or the catalog.
fn changing(statement: &Statement) -> Option<&'static str> {
    Some(match statement {
        Statement::Pg(statement) => match &**statement {
            ast::Statement::Query(query) => match query.locks.first()?.lock_type {
                ast::LockType::Share => "SELECT FOR SHARE",
                ast::LockType::Update => "SELECT FOR UPDATE",
            },
            ast::Statement::Insert(_) => "INSERT",
            ast::Statement::Update(_) => "UPDATE",
            ast::Statement::Delete(_) => "DELETE",
            ast::Statement::Truncate(_) => "TRUNCATE TABLE",
            ast::Statement::Copy { to: false, .. } => "COPY FROM",
            ast::Statement::CreateTable(_) => "CREATE TABLE",
            ast::Statement::CreateView(view) if view.materialized => "CREATE MATERIALIZED VIEW",
            ast::Statement::CreateView(_) => "CREATE VIEW",
            ast::Statement::CreateSequence { .. } => "CREATE SEQUENCE",
            ast::Statement::Comment { .. } => "COMMENT",
            ast::Statement::Drop { .. } => "DROP",
            _ => return None,
        },
        Statement::CreateTable { .. } => "CREATE TABLE",
        Statement::CreateSource { .. } => "CREATE SOURCE",
        Statement::CreateSink(_) => "CREATE SINK",
        Statement::DropRelations { .. } => "DROP",
        Statement::AlterRelation(_)
        | Statement::AlterScaling(_)
        | Statement::AlterOwner(_)
        | Statement::DefaultPrivileges(_) => "ALTER",
        Statement::Database(statement) => match statement {
            DatabaseStatement::Create { .. } => "CREATE DATABASE",
            DatabaseStatement::Rename { .. } => "ALTER DATABASE",
            DatabaseStatement::Drop { .. } => "DROP DATABASE",
        },
        Statement::Grant(grant) => match grant.granted.action {
            GrantAction::Grant { .. } => "GRANT",
            GrantAction::Revoke { .. } => "REVOKE",
        },
        Statement::Role(role) => match role {
            RoleStatement::Create { .. } => "CREATE ROLE",
            RoleStatement::Alter { .. } | RoleStatement::Rename { .. } => "ALTER ROLE",
            RoleStatement::Drop { .. } => "DROP ROLE",
            RoleStatement::Grant { .. } => "GRANT ROLE",
            RoleStatement::Revoke { .. } => "REVOKE ROLE",
            RoleStatement::Reassign { .. } => "REASSIGN OWNED",
            RoleStatement::DropOwned { .. } => "DROP OWNED",
            RoleStatement::SetRole(_) | RoleStatement::SetSession(_) => return None,
        },
        _ => return None,
    })
}
