//! What statements do. A file a kind of statement; this one chooses.

pub mod alter;
pub mod alter_table;
pub mod cancel_jobs;
pub mod coerce;
pub mod comment;
pub mod copy;
pub(crate) mod copy_binary;
pub mod copy_format;
pub mod create_index;
pub mod create_table;
pub mod cursor;
pub mod database;
pub mod ddl;
pub mod dml;
pub mod drop;
pub mod drop_owned;
pub mod explain;
pub mod explain_job;
pub mod explain_scaling;
pub mod function;
pub mod generated;
pub mod grant;
pub mod insert;
pub(crate) mod lookup;
mod lookup_range;
pub mod prepare;
pub mod query;
pub mod refresh;
pub mod rename;
pub mod replace_view;
pub mod returning;
pub mod rights;
pub mod role;
pub(crate) mod row_locks;
pub mod rows;
pub mod scaling_options;
pub mod schema;
pub mod sequence;
pub mod set;
pub mod show;
pub mod sink;
pub mod subscribe;
pub mod transaction_mode;
pub mod types;
pub mod upsert;
pub mod verify;
pub mod write;

use std::sync::Arc;
use std::time::SystemTime;

use planner::parse::{RoleStatement, Statement, TableExtras};
use planner::{Emit, Parsed};
use sqlparser::ast;

use crate::activity;
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::session::{Parameters, Session};
use crate::statement::copy::{CopyIn, CopyOut};
use crate::statement::rows::Rows;

/// What a statement answers.
pub enum Outcome {
    /// Only its command tag.
    Done(String),
    /// Rows, then a command tag.
    Rows(Rows),
    /// It wants rows from the client.
    CopyIn(Box<CopyIn>),
    /// It sends rows outside of the usual messages.
    CopyOut(Box<CopyOut>),
}

impl Outcome {
    fn done(tag: &str) -> Result<Outcome> {
        Ok(Outcome::Done(tag.to_owned()))
    }
}

impl Session {
    /// Runs a statement up to its first answer.
    ///
    /// # Errors
    /// The statement's error; nothing of a failed statement has happened.
    pub(crate) async fn execute(
        &mut self,
        parsed: &Parsed,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let settings = self.settings();
        self.interrupt.begin(settings.statement_timeout());
        self.client.wanted = settings.wanted_messages();
        activity::lock(&self.activity).begin(&parsed.text);
        if self.transaction.is_failed() && !ends_block(&parsed.statement) {
            return Err(Error::TransactionFailed);
        }
        if parsed.emit == Emit::OnWindowClose && !makes_view(&parsed.statement) {
            return Err(Error::unsupported(
                "EMIT ON WINDOW CLOSE of a statement that makes no materialized view is not supported",
                "Leave it out: a SELECT gives the rows that there are.",
            ));
        }
        self.check_modes(&parsed.statement)?;
        if is_definition(&parsed.statement) {
            let user = self.settings().session_user().name.clone();
            tracing::info!(target: "audit", user, pid = self.process_id, "{}", parsed.text);
        }
        match &parsed.statement {
            Statement::Pg(statement) => self.execute_pg(parsed, statement, parameters).await,
            Statement::CreateTable { table, extras } => {
                self.create_table(parsed, table, *extras).await
            }
            Statement::CreateSource {
                name,
                if_not_exists,
                columns,
                options,
            } => {
                self.create_source(parsed, name, *if_not_exists, columns, options)
                    .await
            }
            Statement::CreateSink(create) => self.create_sink(parsed, create).await,
            Statement::DropRelations {
                kind,
                names,
                if_exists,
                cascade,
            } => {
                self.drop_relations(*kind, names, *if_exists, *cascade)
                    .await
            }
            Statement::AlterRelation(alter) => self.alter_relation(alter).await,
            Statement::AlterScaling(alter) => self.alter_scaling(alter).await,
            Statement::Role(role) => self.role_statement(role).await,
            Statement::Database(statement) => self.database_statement(statement).await,
            Statement::Grant(grant) => self.grant(grant).await,
            Statement::DefaultPrivileges(alter) => self.alter_default_privileges(alter).await,
            Statement::AlterOwner(alter) => self.alter_owner(alter).await,
            Statement::ExplainAlterScaling { alter, options } => {
                self.explain_scaling(alter, options).await
            }
            Statement::CancelRescale { id } => self.cancel_rescale(*id).await,
            Statement::CancelJobs { ids } => self.cancel_jobs(ids).await,
            Statement::ExplainJob { kind, name } => self.explain_job(*kind, name).await,
            Statement::Flush => self.flush_statement().await,
            Statement::Wait => self.wait().await,
            Statement::Refresh { name } => self.refresh(name).await,
            Statement::Declare(declare) => self.declare(parsed, declare, parameters).await,
            Statement::Fetch(fetch) => self.fetch(fetch).await,
            Statement::CloseCursor { name } => self.close_cursor(name.as_ref()),
            Statement::Prepare(prepare) => self.prepare_statement(parsed, prepare).await,
            Statement::Execute(execute) => self.execute_prepared(execute).await,
            Statement::Subscribe(subscribe) => Ok(Outcome::Rows(self.subscribe(subscribe).await?)),
            Statement::CopySubscribe { subscribe, copy } => {
                self.copy_subscribe(subscribe, copy).await
            }
            Statement::Verify { name } => self.verify(name).await,
            Statement::Show(what) => self.show(what).await,
            Statement::ShowCreate { kind, name } => self.show_create(*kind, name),
            Statement::Describe { name } => self.describe_relation(name),
            Statement::ExplainCreateMaterializedView { view, options } => {
                self.explain_view(view, parsed.emit, options).await
            }
            Statement::ExplainQuery { query, options } => {
                self.explain_query(query, options, parameters).await
            }
        }
    }

    async fn execute_pg(
        &mut self,
        parsed: &Parsed,
        statement: &ast::Statement,
        parameters: Parameters,
    ) -> Result<Outcome> {
        match statement {
            ast::Statement::Query(query) => {
                Ok(Outcome::Rows(self.select(query, parameters).await?))
            }
            ast::Statement::Insert(insert) => self.insert(insert, parameters).await,
            ast::Statement::Update(update) => self.update(update, parameters).await,
            ast::Statement::Delete(delete) => self.delete(delete, parameters).await,
            ast::Statement::Truncate(truncate) => self.truncate(truncate).await,
            ast::Statement::Copy {
                source,
                to,
                target,
                options,
                legacy_options,
                ..
            } => {
                self.copy(source, *to, target, options, legacy_options)
                    .await
            }
            ast::Statement::CreateTable(table) => {
                let extras = TableExtras::default();
                self.create_table(parsed, table, extras).await
            }
            ast::Statement::CreateIndex(create) => self.create_index(parsed, create).await,
            ast::Statement::AlterTable(alter) => self.alter_table(alter).await,
            ast::Statement::CreateView(view) => self.create_view(parsed, view).await,
            ast::Statement::CreateSequence { .. } => {
                self.create_sequence(&parsed.text, statement).await
            }
            ast::Statement::Comment {
                object_type,
                object_name,
                comment,
                ..
            } => {
                self.comment(*object_type, object_name, comment.as_deref())
                    .await
            }
            ast::Statement::CreateSchema {
                schema_name,
                if_not_exists,
                ..
            } => self.create_schema(schema_name, *if_not_exists).await,
            ast::Statement::CreateFunction(create) => self.create_function(parsed, create).await,
            ast::Statement::DropFunction(drop) => self.drop_functions(drop).await,
            ast::Statement::CreateType {
                name,
                representation,
            } => {
                self.create_type(parsed, name, representation.as_ref())
                    .await
            }
            ast::Statement::Drop {
                object_type: ast::ObjectType::Type,
                names,
                if_exists,
                cascade,
                ..
            } => self.drop_types(names, *if_exists, *cascade).await,
            ast::Statement::Drop {
                object_type: ast::ObjectType::Schema,
                names,
                if_exists,
                cascade,
                ..
            } => self.drop_schemas(names, *if_exists, *cascade).await,
            ast::Statement::Drop {
                object_type,
                names,
                if_exists,
                cascade,
                ..
            } => {
                let kind = ddl::dropped_kind(object_type)?;
                self.drop_relations(kind, names, *if_exists, *cascade).await
            }
            ast::Statement::StartTransaction { modes, .. } => self.begin(modes),
            ast::Statement::Commit { chain, .. } => self.commit(*chain).await,
            ast::Statement::Rollback { chain, savepoint } => {
                self.roll_back(*chain, savepoint.as_ref()).await
            }
            ast::Statement::Savepoint { name } => {
                let settings = self.settings();
                self.transaction
                    .savepoint(planner::names::identifier(name), settings)?;
                Outcome::done("SAVEPOINT")
            }
            ast::Statement::ReleaseSavepoint { name } => {
                self.transaction
                    .release(&planner::names::identifier(name))?;
                Outcome::done("RELEASE")
            }
            ast::Statement::Set(set) => self.set(set),
            ast::Statement::Reset(reset) => self.reset(&reset.reset),
            ast::Statement::Deallocate { name, .. } => {
                let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
                let name = planner::names::identifier(name);
                self.deallocate(if all { None } else { Some(&name) })?;
                Outcome::done(if all { "DEALLOCATE ALL" } else { "DEALLOCATE" })
            }
            ast::Statement::Discard { object_type } => self.discard(object_type).await,
            // Nobody listens: there is no LISTEN.
            ast::Statement::UNLISTEN { .. } => Outcome::done("UNLISTEN"),
            other => Err(Error::not_supported(format!(
                "{} is not supported",
                statement_name(other)
            ))),
        }
    }

    fn begin(&mut self, modes: &[ast::TransactionMode]) -> Result<Outcome> {
        if self.transaction.is_open() {
            self.client.notice(&Notice::InTransaction);
        } else {
            let settings = self.settings();
            self.transaction.begin(settings);
            activity::lock(&self.activity).transaction_at = Some(SystemTime::now());
        }
        self.set_modes(modes, false)?;
        Outcome::done("BEGIN")
    }

    /// Writes what the block kept. A block that failed is rolled back instead, as in PostgreSQL.
    async fn commit(&mut self, chain: bool) -> Result<Outcome> {
        if self.transaction.is_failed() {
            return self.roll_back(chain, None).await;
        }
        if !self.transaction.is_open() {
            self.client.notice(&Notice::NoTransaction);
            return Outcome::done("COMMIT");
        }
        let (writes, keys, guards) = self.transaction.commit();
        self.block_ended();
        let written = self.write_all(writes).await;
        self.release_keys(&written, keys);
        drop(guards);
        self.end_portals(written.is_ok());
        let dropped = self.drop_at_block_end().await;
        if let Err(error) = written {
            tracing::warn!(%error, "a transaction may not have been written");
            return Err(error);
        }
        dropped?;
        if chain {
            self.begin(&[])?;
        }
        Outcome::done("COMMIT")
    }

    async fn roll_back(&mut self, chain: bool, savepoint: Option<&ast::Ident>) -> Result<Outcome> {
        let settings = match savepoint {
            Some(name) => {
                let name = planner::names::identifier(name);
                Some(self.transaction.roll_back_to(&name, &self.shared.keys)?)
            }
            None => {
                let settings = self.transaction.roll_back(&self.shared.keys);
                self.block_ended();
                self.end_portals(false);
                if settings.is_none() {
                    self.client.notice(&Notice::NoTransaction);
                }
                settings
            }
        };
        if let Some(settings) = settings {
            self.restore_settings(settings);
        }
        if savepoint.is_none() {
            self.drop_at_block_end().await?;
        }
        if chain && savepoint.is_none() {
            self.begin(&[])?;
        }
        Outcome::done("ROLLBACK")
    }

    fn block_ended(&mut self) {
        self.drop_modes();
        activity::lock(&self.activity).transaction_at = None;
    }

    async fn flush_statement(&mut self) -> Result<Outcome> {
        self.settle().await?;
        Outcome::done("FLUSH")
    }

    /// Waits until all that was written is in all views, and what sinks make of it in all tables.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if self.transaction.holds_any() {
            // A sink may wait for what the block holds.
            self.has_unseen_writes = true;
            return self.see_own_writes().await;
        }
        let shared = Arc::clone(&self.shared);
        let settled = async move { crate::sink::settle(&shared).await };
        self.interrupt.clone().guard(settled).await?;
        self.has_unseen_writes = false;
        Ok(())
    }
}

/// `SELECT * FROM name`, made from a parsed pattern.
pub(crate) fn select_all(name: ast::ObjectName) -> Result<ast::Query> {
    let mut statements = planner::parse("SELECT * FROM t")?;
    let Some(Statement::Pg(statement)) = statements.pop().map(|parsed| parsed.statement) else {
        return Err(Error::Internal("the pattern is no statement".to_owned()));
    };
    let ast::Statement::Query(mut query) = *statement else {
        return Err(Error::Internal("the pattern is no query".to_owned()));
    };
    if let ast::SetExpr::Select(select) = &mut *query.body
        && let Some(ast::TableFactor::Table { name: pattern, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        *pattern = name;
    }
    Ok(*query)
}

/// Whether a statement makes a view, or explains how.
fn makes_view(statement: &Statement) -> bool {
    match statement {
        Statement::Pg(statement) => matches!(**statement, ast::Statement::CreateView(_)),
        Statement::ExplainCreateMaterializedView { .. } => true,
        _ => false,
    }
}

/// Whether a statement changes the catalog.
fn is_definition(statement: &Statement) -> bool {
    match statement {
        Statement::Pg(pg) => matches!(
            **pg,
            ast::Statement::CreateTable(_)
                | ast::Statement::CreateView(_)
                | ast::Statement::CreateSequence { .. }
                | ast::Statement::Comment { .. }
                | ast::Statement::Drop { .. }
                | ast::Statement::AlterTable { .. }
                | ast::Statement::CreateIndex(_)
                | ast::Statement::CreateSchema { .. }
                | ast::Statement::CreateFunction(_)
                | ast::Statement::CreateType { .. }
                | ast::Statement::DropFunction(_)
        ),
        Statement::CreateTable { .. }
        | Statement::CreateSource { .. }
        | Statement::CreateSink(_)
        | Statement::DropRelations { .. }
        | Statement::AlterRelation(_)
        | Statement::AlterScaling(_)
        | Statement::Database(_)
        | Statement::Grant(_)
        | Statement::DefaultPrivileges(_)
        | Statement::AlterOwner(_) => true,
        Statement::Role(role) => !matches!(
            role,
            RoleStatement::SetRole(_) | RoleStatement::SetSession(_)
        ),
        _ => false,
    }
}

/// Whether a failed block still takes this statement.
fn ends_block(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Pg(pg) if matches!(**pg, ast::Statement::Commit { .. } | ast::Statement::Rollback { .. })
    )
}

/// The key words that a statement starts with.
fn statement_name(statement: &ast::Statement) -> String {
    let text = statement.to_string();
    let words: Vec<&str> = text
        .split_whitespace()
        .take(2)
        .take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()))
        .collect();
    if words.is_empty() {
        "this statement".to_owned()
    } else {
        words.join(" ")
    }
}
