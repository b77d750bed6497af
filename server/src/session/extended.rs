//! The extended protocol: Parse, Bind, Describe, Execute, Close, Flush.
//!
//! A prepared statement keeps its syntax tree and the types it was planned with; each Execute
//! plans again, over the catalog of that moment. A portal keeps what is left of its result
//! between two Executes with a row limit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use planner::Parsed;

use crate::big_stack;
use crate::error::{Error, Result};
use crate::session::{Parameters, Session};
use crate::statement::Outcome;
use crate::statement::query::Rows;
use crate::wire::encode::{RowEncoder, describe, spread_formats};
use crate::wire::frame::{Format, Message, Target};
use crate::wire::parameter;
use planner::values::types::SqlType;

/// A prepared statement.
#[derive(Debug)]
pub struct Prepared {
    /// `None` for an empty text.
    pub(crate) statement: Option<Parsed>,
    pub(crate) parameter_types: Vec<SqlType>,
    /// Columns of its result; `None` if it returns no rows.
    pub(crate) columns: Option<SchemaRef>,
}

/// A prepared statement with its parameters.
pub struct Portal {
    prepared: Arc<Prepared>,
    parameters: Parameters,
    formats: Vec<Format>,
    progress: Progress,
}

/// How far a portal is.
enum Progress {
    New,
    /// Rows are left: the rest of a batch, and the stream behind it.
    Suspended {
        rows: Rows,
        batch: Option<(RecordBatch, usize)>,
    },
    Done,
}

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
        let mut statements = big_stack::run(move |_| Ok(planner::parse(&sql)?)).await?;
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
        self.portals.insert(
            portal,
            Portal {
                prepared,
                parameters,
                formats,
                progress: Progress::New,
            },
        );
        self.client.outbox.bind_complete();
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Arc<Prepared>> {
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
        let Some(statement) = &prepared.statement else {
            self.client.outbox.empty_query();
            return Ok(());
        };
        let timeout = self.settings().statement_timeout();
        let (rows, batch) = match progress {
            Progress::Suspended { rows, batch } => {
                self.interrupt.begin(timeout);
                (rows, batch)
            }
            Progress::Done if prepared.columns.is_none() => {
                return Err(Error::Bind(format!("portal \"{name}\" cannot be run")));
            }
            Progress::Done => {
                self.client.outbox.complete("SELECT 0");
                return Ok(());
            }
            Progress::New => match self.execute(statement, parameters).await? {
                Outcome::Done(tag) => {
                    self.client.outbox.complete(&tag);
                    return Ok(());
                }
                Outcome::CopyIn(copy) => {
                    let tag = self.copy_in(*copy).await?;
                    self.client.outbox.complete(&tag);
                    return Ok(());
                }
                Outcome::CopyOut(copy) => {
                    let tag = self.copy_out(*copy).await?;
                    self.client.outbox.complete(&tag);
                    return Ok(());
                }
                Outcome::Rows(rows) => (rows, None),
            },
        };
        if let Some(planned) = &prepared.columns
            && describe(planned, &[]) != describe(&rows.schema, &[])
        {
            return Err(Error::not_supported(
                "cached plan must not change result type",
            ));
        }
        let suspended = self.send_rows(rows, batch, &formats, rows_max).await?;
        if let (Some(progress), Some(portal)) = (suspended, self.portals.get_mut(name)) {
            portal.progress = progress;
        }
        Ok(())
    }

    /// Sends up to `rows_max` rows; gives where to go on, if rows may be left.
    async fn send_rows(
        &mut self,
        mut rows: Rows,
        mut batch: Option<(RecordBatch, usize)>,
        formats: &[Format],
        rows_max: usize,
    ) -> Result<Option<Progress>> {
        let mut sent = 0;
        let mut left = if rows_max == 0 { usize::MAX } else { rows_max };
        let mut scratch = String::new();
        let interrupt = self.interrupt.clone();
        loop {
            let (current, from) = match batch.take() {
                Some(rest) => rest,
                None => match interrupt.guard(rows.next()).await? {
                    Some(next) => (next, 0),
                    None => break,
                },
            };
            let to = current.num_rows().min(from.saturating_add(left));
            let encoder = RowEncoder::new(&current, formats, self.style())?;
            for row in from..to {
                encoder.write_row(row, &mut scratch, &mut self.client.outbox);
                interrupt.guard(self.client.flush_if_full()).await?;
            }
            left -= to - from;
            sent += to - from;
            if left == 0 {
                self.client.outbox.portal_suspended();
                let batch = (to < current.num_rows()).then_some((current, to));
                return Ok(Some(Progress::Suspended { rows, batch }));
            }
        }
        self.client.outbox.complete(&rows.tag(sent));
        Ok(None)
    }

    /// Forgets one prepared statement, or all.
    ///
    /// # Errors
    /// [`Error::UndefinedStatement`].
    pub(crate) fn deallocate(&mut self, name: Option<&str>) -> Result<()> {
        match name {
            None => self.prepared.clear(),
            Some(name) => {
                if self.prepared.remove(name).is_none() {
                    return Err(Error::UndefinedStatement {
                        name: name.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}
