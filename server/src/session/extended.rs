//! The extended protocol: Parse, Bind, Describe, Execute, Close, Flush.
//!
//! A prepared statement keeps its syntax tree and the types it was planned with; each Execute
//! plans again, over the catalog of that moment. A portal keeps what is left of its result
//! between two Executes with a row limit. SQL's PREPARE and DECLARE share names and objects
//! (`statement/cursor.rs`).

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;

use crate::big_stack;
use crate::error::{Error, Result};
use crate::session::portal::{Portal, Prepared, Progress};
use crate::session::{Parameters, Session};
use crate::statement::Outcome;
use crate::statement::rows::Rows;
use crate::wire::encode::{RowEncoder, describe, spread_formats};
use crate::wire::frame::{Format, Message, Target};
use crate::wire::parameter;
use planner::values::types::SqlType;

impl Session {
    /// Answers one message of the extended protocol.
    ///
    /// # Errors
    /// The statement's error: the caller reports it and skips to Sync.
    pub(crate) async fn extended(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Parse {
                name,
                sql,
                parameter_oids,
            } => self.parse(name, sql, &parameter_oids).await,
            Message::Bind {
                portal,
                statement,
                parameter_formats,
                parameters,
                result_formats,
            } => self.bind(
                portal,
                &statement,
                &parameter_formats,
                &parameters,
                &result_formats,
            ),
            Message::Describe(Target::Statement, name) => self.describe_statement(&name),
            Message::Describe(Target::Portal, name) => self.describe_portal(&name),
            Message::Execute { portal, rows_max } => self.execute_portal(&portal, rows_max).await,
            Message::Close(target, name) => {
                match target {
                    Target::Statement => drop(self.prepared.remove(&name)),
                    Target::Portal => drop(self.portals.remove(&name)),
                }
                self.client.outbox.close_complete();
                Ok(())
            }
            Message::Flush => self.client.flush().await,
            other => Err(Error::Protocol(format!("unexpected message {other:?}"))),
        }
    }

    async fn parse(&mut self, name: String, sql: String, oids: &[u32]) -> Result<()> {
        if !name.is_empty() && self.prepared.contains_key(&name) {
            return Err(Error::DuplicateStatement { name });
        }
        // A cancel request that came before was for an earlier statement.
        let timeout = self.settings().statement_timeout();
        self.interrupt.begin(timeout);
        self.text.clone_from(&sql);
        let mut statements = big_stack::parse(sql).await?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement".to_owned();
            return Err(Error::Syntax { message });
        }
        let prepared = self.prepare(statements.pop(), oids).await?;
        self.prepared.insert(name, Arc::new(prepared));
        self.client.outbox.parse_complete();
        Ok(())
    }

    fn bind(
        &mut self,
        portal: String,
        statement: &str,
        parameter_formats: &[Format],
        values: &[Option<Bytes>],
        result_formats: &[Format],
    ) -> Result<()> {
        let prepared = self.statement(statement)?;
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(Error::DuplicatePortal { name: portal });
        }
        let expected = prepared.parameter_types.len();
        if values.len() != expected {
            return Err(Error::Bind(format!(
                "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {expected}",
                values.len()
            )));
        }
        let spread = spread_formats(parameter_formats, values.len()).ok_or_else(|| {
            Error::Bind(format!(
                "bind message has {} parameter formats but {expected} parameters",
                parameter_formats.len()
            ))
        })?;
        let zone = self.style().zone;
        let parameters = values
            .iter()
            .zip(spread)
            .zip(&prepared.parameter_types)
            .map(|((value, format), sql_type)| {
                let column = parameter::decode(value.as_ref(), format, sql_type, zone)?;
                Ok(ScalarValue::try_from_array(&column, 0)?)
            })
            .collect::<Result<Parameters>>()?;
        let width = prepared
            .columns
            .as_ref()
            .map_or(0, |columns| columns.fields().len());
        let formats = match spread_formats(result_formats, width) {
            Some(formats) => formats,
            None if width == 0 => Vec::new(),
            None => {
                let message = format!(
                    "bind message has {} result formats but query has {width} columns",
                    result_formats.len()
                );
                return Err(Error::Bind(message));
            }
        };
        self.portals
            .insert(portal, Portal::new(prepared, parameters, formats));
        self.client.outbox.bind_complete();
        Ok(())
    }

    /// A prepared statement.
    ///
    /// # Errors
    /// [`Error::UndefinedStatement`].
    pub(crate) fn statement(&self, name: &str) -> Result<Arc<Prepared>> {
        self.prepared
            .get(name)
            .cloned()
            .ok_or_else(|| Error::UndefinedStatement {
                name: name.to_owned(),
            })
    }

    fn describe_statement(&mut self, name: &str) -> Result<()> {
        let prepared = self.statement(name)?;
        let oids: Vec<u32> = prepared.parameter_types.iter().map(SqlType::oid).collect();
        self.client.outbox.parameter_description(&oids);
        self.describe_columns(prepared.columns.as_ref(), &[]);
        Ok(())
    }

    fn describe_portal(&mut self, name: &str) -> Result<()> {
        let portal = self
            .portals
            .get(name)
            .ok_or_else(|| Error::UndefinedPortal {
                name: name.to_owned(),
            })?;
        let (prepared, formats) = (Arc::clone(&portal.prepared), portal.formats.clone());
        self.describe_columns(prepared.columns.as_ref(), &formats);
        Ok(())
    }

    fn describe_columns(&mut self, columns: Option<&SchemaRef>, formats: &[Format]) {
        match columns {
            Some(schema) => self
                .client
                .outbox
                .row_description(describe(schema, formats)),
            None => self.client.outbox.no_data(),
        }
    }

    async fn execute_portal(&mut self, name: &str, rows_max: usize) -> Result<()> {
        let portal = self
            .portals
            .get_mut(name)
            .ok_or_else(|| Error::UndefinedPortal {
                name: name.to_owned(),
            })?;
        let prepared = Arc::clone(&portal.prepared);
        let (parameters, formats) = (portal.parameters.clone(), portal.formats.clone());
        let progress = std::mem::replace(&mut portal.progress, Progress::Done);
        self.text = prepared.text();
        let Some(statement) = &prepared.statement else {
            self.client.outbox.empty_query();
            return Ok(());
        };
        let mut rows = match progress {
            Progress::Open(rows) => {
                let timeout = self.settings().statement_timeout();
                self.interrupt.begin(timeout);
                rows
            }
            Progress::Done if prepared.columns.is_none() => {
                return Err(Error::Bind(format!("portal \"{name}\" cannot be run")));
            }
            Progress::Done => {
                self.client.outbox.complete("SELECT 0");
                return Ok(());
            }
            Progress::New => match self.execute(statement, parameters).await? {
                Outcome::Rows(rows) => rows,
                other => return self.answer(other).await,
            },
        };
        if let Some(planned) = &prepared.columns
            && *planned != rows.schema
            && describe(planned, &[]) != describe(&rows.schema, &[])
        {
            return Err(Error::not_supported(
                "cached plan must not change result type",
            ));
        }
        let sent = self.send_rows(&mut rows, &formats, rows_max).await?;
        // The statement may have been what ends its portal.
        let Some(portal) = self.portals.get_mut(name) else {
            return Ok(());
        };
        portal.position += sent as u64;
        if rows_max > 0 && sent == rows_max {
            portal.progress = Progress::Open(rows);
        }
        Ok(())
    }

    /// Sends up to `rows_max` rows, all if that is 0, and how it ended; gives how many were sent.
    /// As many as allowed: there may be more.
    pub(crate) async fn send_rows(
        &mut self,
        rows: &mut Rows,
        formats: &[Format],
        rows_max: usize,
    ) -> Result<usize> {
        let limit = if rows_max == 0 { usize::MAX } else { rows_max };
        let mut sent = 0;
        let mut scratch = String::new();
        let interrupt = self.interrupt.clone();
        while sent < limit {
            let Some(batch) = self.next_batch(rows).await? else {
                self.client.outbox.complete(&rows.tag(sent));
                return Ok(sent);
            };
            let count = batch.num_rows().min(limit - sent);
            let encoder = RowEncoder::new(&batch, formats, self.style())?;
            for row in 0..count {
                encoder.write_row(row, &mut scratch, &mut self.client.outbox);
                interrupt.guard(self.client.flush_if_full()).await?;
            }
            rows.put_back(&batch, count);
            sent += count;
        }
        self.client.outbox.portal_suspended();
        Ok(sent)
    }
}
