//! Parse: what types a statement's parameters and results have, without running it.
//!
//! A parameter's type is what the client says; else what the statement's plan finds for it; a
//! parameter that is a whole value of INSERT or SET has its column's type; else it is text.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use planner::Parsed;
use planner::parse::{CursorBody, Statement};
use sqlparser::ast;
use sqlparser::ast::Query;

use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::pg_catalog;
use crate::session::Session;
use crate::session::portal::Prepared;
use crate::statement::cancel_jobs::CANCEL_COLUMNS;
use crate::statement::dml::{Assigned, Finding};
use crate::statement::explain::EXPLAIN_COLUMNS;
use crate::statement::insert::{insert_name, parameter_columns, parameter_index, target_columns};
use crate::statement::returning::Returning;
use crate::statement::row_locks::without_locks;
use crate::statement::show::{DESCRIBE_COLUMNS, SHOW_CREATE_COLUMNS, show_columns};
use crate::statement::upsert::{Clause, conflict_query};
use crate::statement::verify::verify_columns;
use planner::types::declared_type;
use planner::values::types::SqlType;

/// What is known of the parameters so far; `$1` first.
#[derive(Default)]
struct Types {
    known: Vec<Option<SqlType>>,
}

impl Types {
    fn set(&mut self, at: usize, sql_type: Option<SqlType>) {
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        // A client knows one oid for arrays of any dimensions.
        let says_more = |known: &SqlType, new: &SqlType| {
            known.dimensions() > 0 && known.oid() == new.oid() && new.dimensions() > 1
        };
        match (&self.known[at], &sql_type) {
            (Some(known), Some(new)) if says_more(known, new) => self.known[at] = sql_type,
            (Some(_), _) => {}
            (None, _) => self.known[at] = sql_type,
        }
    }
}

impl Session {
    /// Plans a statement as far as its types.
    ///
    /// # Errors
    /// What planning finds; an oid that we do not have.
    pub(crate) async fn prepare(
        &mut self,
        statement: Option<Parsed>,
        oids: &[u32],
    ) -> Result<Prepared> {
        let mut types = Types::default();
        for (at, oid) in oids.iter().enumerate() {
            let sql_type = match oid {
                // Unspecified, or of type unknown.
                0 | 705 => None,
                oid => {
                    let known = self.shared.catalog.read().type_of_oid(*oid);
                    Some(known.ok_or_else(|| Error::UndefinedType {
                        name: format!("with OID {oid}"),
                    })?)
                }
            };
            types.set(at, sql_type);
        }
        let failed = self.transaction.is_failed();
        let columns = match &statement {
            Some(parsed) if !failed => self.infer(parsed, &mut types).await?,
            Some(Parsed {
                statement: Statement::Pg(pg),
                ..
            }) if matches!(
                **pg,
                ast::Statement::Commit { .. } | ast::Statement::Rollback { .. }
            ) =>
            {
                None
            }
            Some(_) => return Err(Error::TransactionFailed),
            None => None,
        };
        let parameter_types = types
            .known
            .into_iter()
            .map(|known| known.unwrap_or(SqlType::Text))
            .collect();
        Ok(Prepared {
            statement,
            parameter_types,
            columns,
        })
    }

    /// Fills in the types of parameters and gives the columns of the result.
    async fn infer(&mut self, parsed: &Parsed, types: &mut Types) -> Result<Option<SchemaRef>> {
        match &parsed.statement {
            Statement::Pg(statement) => self.infer_pg(statement, types).await,
            Statement::Show(what) => Ok(Some(text_columns(&show_columns(what)?))),
            Statement::ShowCreate { .. } => Ok(Some(text_columns(&SHOW_CREATE_COLUMNS))),
            Statement::Describe { .. } => Ok(Some(text_columns(&DESCRIBE_COLUMNS))),
            Statement::ExplainQuery { query, .. } => {
                self.infer_query(query, types).await?;
                Ok(Some(text_columns(&EXPLAIN_COLUMNS)))
            }
            Statement::ExplainCreateMaterializedView { .. }
            | Statement::ExplainAlterScaling { .. } => Ok(Some(text_columns(&EXPLAIN_COLUMNS))),
            Statement::Declare(declare) => {
                if let CursorBody::Query(query) = &declare.body {
                    self.infer_query(query, types).await?;
                }
                Ok(None)
            }
            Statement::Fetch(fetch) if fetch.returns_rows => {
                let name = planner::names::identifier(&fetch.cursor);
                match self.portals.get(&name) {
                    Some(portal) => Ok(portal.prepared.columns.clone()),
                    None => Err(Error::UndefinedCursor { name }),
                }
            }
            Statement::Execute(execute) => {
                let name = planner::names::identifier(&execute.name);
                Ok(self.statement(&name)?.columns.clone())
            }
            Statement::Subscribe(subscribe) => Ok(Some(self.subscribe_columns(subscribe).await?)),
            Statement::Verify { .. } => Ok(Some(verify_columns())),
            Statement::CancelJobs { .. } => Ok(Some(text_columns(&CANCEL_COLUMNS))),
            Statement::ExplainJob { .. } => Ok(Some(text_columns(&EXPLAIN_COLUMNS))),
            Statement::CopySubscribe { .. }
            | Statement::Fetch(_)
            | Statement::CloseCursor { .. }
            | Statement::Prepare(_)
            | Statement::CreateTable { .. }
            | Statement::CreateSource { .. }
            | Statement::CreateSink(_)
            | Statement::DropRelations { .. }
            | Statement::AlterRelation(_)
            | Statement::AlterScaling(_)
            | Statement::Role(_)
            | Statement::Database(_)
            | Statement::Grant(_)
            | Statement::DefaultPrivileges(_)
            | Statement::AlterOwner(_)
            | Statement::CancelRescale { .. }
            | Statement::Flush
            | Statement::Wait
            | Statement::Refresh { .. } => Ok(None),
        }
    }

    async fn infer_pg(
        &mut self,
        statement: &ast::Statement,
        types: &mut Types,
    ) -> Result<Option<SchemaRef>> {
        match statement {
            ast::Statement::Query(query) => self.infer_query(query, types).await.map(Some),
            ast::Statement::Insert(insert) => {
                let entry = self.insert_target(insert)?;
                let targets = target_columns(&entry, insert)?;
                if let Some(query) = &insert.source {
                    match parameter_columns(query, &targets) {
                        Some(uses) => {
                            for (at, column) in uses {
                                types
                                    .set(at, Some(parameter_type(&entry.columns[column].sql_type)));
                            }
                        }
                        None => drop(self.infer_query(query, types).await?),
                    }
                }
                let clause = Clause::of_insert(insert, &entry)?;
                let found = clause
                    .map(|clause| conflict_query(&entry, &clause))
                    .transpose()?;
                if let Some((query, assigned)) = found.flatten() {
                    assigned_types(&entry, &assigned, types);
                    let view = self.view_of_conflicts(&entry)?;
                    let session = self.planner_over(view);
                    self.infer_query_over(session, &query, types).await?;
                }
                let table = insert_name(&entry, insert);
                let returning = insert.returning.as_ref().map(|items| Returning {
                    items,
                    table: &table,
                    reads_others: false,
                });
                self.infer_returning(&entry, returning, types).await
            }
            ast::Statement::Update(update) => {
                let finding = self.update_finding(update)?;
                assigned_types(&finding.entry, &finding.assigned, types);
                self.infer_finding(&finding, types).await?;
                let returning = finding.returning(update.returning.as_ref());
                self.infer_returning(&finding.entry, returning, types).await
            }
            ast::Statement::Delete(delete) => {
                let finding = self.delete_finding(delete)?;
                self.infer_finding(&finding, types).await?;
                let returning = finding.returning(delete.returning.as_ref());
                self.infer_returning(&finding.entry, returning, types).await
            }
            _ => Ok(None),
        }
    }

    /// The columns of a RETURNING clause, if there is one.
    async fn infer_returning(
        &mut self,
        entry: &Entry,
        returning: Option<Returning<'_>>,
        types: &mut Types,
    ) -> Result<Option<SchemaRef>> {
        let Some(returning) = returning else {
            return Ok(None);
        };
        let none = RecordBatch::new_empty(entry.schema());
        let (query, session) = self.returning_query(entry, returning, &none)?;
        self.infer_query_over(session, &query, types)
            .await
            .map(Some)
    }

    /// The query that finds the rows to change: the right to read them is not asked again.
    async fn infer_finding(&mut self, finding: &Finding, types: &mut Types) -> Result<SchemaRef> {
        let view = self.present_view().changing(finding.entry.id);
        let session = self.planner_over(view);
        self.infer_query_over(session, &finding.query, types).await
    }

    async fn infer_query(&mut self, query: &Query, types: &mut Types) -> Result<SchemaRef> {
        if let Some(lookup) = self.as_lookup(query) {
            for (at, sql_type) in lookup.parameter_types() {
                types.set(at, Some(sql_type));
            }
            return Ok(Arc::clone(lookup.schema()));
        }
        let session = self.reading_planner();
        self.infer_query_over(session, query, types).await
    }

    async fn infer_query_over(
        &mut self,
        session: planner::Session,
        query: &Query,
        types: &mut Types,
    ) -> Result<SchemaRef> {
        let query = &without_locks(query);
        let mut plain = query.clone();
        pg_catalog::rewrite::rewrite(&mut plain);
        self.resolve_types(&mut plain)?;
        cast_parameters(&plain, types);
        let known = types
            .known
            .iter()
            .map(|known| known.as_ref().map(SqlType::arrow))
            .collect();
        let (plan, session) = self.plan_typed(query, session, known, Vec::new()).await?;
        let found = plan.parameter_types()?;
        for (at, data_type) in found.iter().enumerate() {
            types.set(at, data_type.as_ref().map(SqlType::of));
        }
        if found.is_empty() {
            return Ok(Arc::clone(plan.schema()));
        }
        // The result's types may follow from the parameters: plan once more with NULLs of them.
        let values = types.known[..found.len()]
            .iter()
            .map(|known| {
                let data_type = known.as_ref().map_or(DataType::Utf8, SqlType::arrow);
                Ok(datafusion::scalar::ScalarValue::try_from(&data_type)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let (bound, _) = self.plan_batch(query, session, values).await?;
        Ok(Arc::clone(bound.schema()))
    }
}

/// `$1::int` says what `$1` is.
fn cast_parameters(query: &Query, types: &mut Types) {
    let visited = ast::visit_expressions(query, |expr| {
        if let ast::Expr::Cast {
            expr, data_type, ..
        } = expr
            && let ast::Expr::Value(value) = expr.as_ref()
            && let ast::Value::Placeholder(name) = &value.value
            && let (Some(at), Ok(arrow)) =
                (parameter_index(name), planner::types::arrow_type(data_type))
        {
            types.set(at, Some(declared_type(data_type, &arrow)));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    debug_assert!(visited.is_continue(), "the visitor never breaks");
}

/// Parameters that are whole values of SET have their columns' types.
fn assigned_types(entry: &Entry, assigned: &[Assigned], types: &mut Types) {
    for set in assigned {
        if let Some(at) = set.parameter {
            let column = &entry.columns[set.column];
            types.set(at, Some(parameter_type(&column.sql_type)));
        }
    }
}

/// Clients send values without length or precision; the column checks them.
fn parameter_type(column: &SqlType) -> SqlType {
    match column {
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Char(_) => SqlType::Text,
        SqlType::Numeric(_) => column.clone(),
        other => other.clone(),
    }
}

fn text_columns(names: &[&str]) -> SchemaRef {
    let fields: Vec<Field> = names
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, true))
        .collect();
    Arc::new(Schema::new(fields))
}
