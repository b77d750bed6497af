//! DECLARE, FETCH, MOVE, CLOSE; PREPARE, EXECUTE, DEALLOCATE; DISCARD.
//!
//! A cursor is a portal and a prepared statement is one of the protocol's, so each can be used by
//! both ways. Cursors go forward only. Rows of a query are of the epoch at which the cursor was
//! declared; a held cursor keeps that epoch's rows in memory until it is closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use planner::Parsed;
use planner::names::identifier;
use planner::parse::{CursorBody, Declare, Direction, Execute, Fetch, Prepare};
use sqlparser::ast;
use sqlparser::ast::Ident;
use tokio::time::Instant;

use crate::big_stack;
use crate::error::{Error, Result};
use crate::pg_catalog;
use crate::session::portal::{Lifetime, Portal, Prepared, Progress};
use crate::session::{Parameters, Session};
use crate::statement::Outcome;
use crate::statement::coerce::{TextInput, assign};
use crate::statement::dml::is_literal;
use crate::statement::rows::Rows;
use planner::values::types::SqlType;

/// Rows of a FETCH: so many are passed over, then so many taken.
#[derive(Debug, PartialEq, Eq)]
enum Steps {
    Forward {
        skipped: u64,
        taken: u64,
    },
    /// The row that was read last, again.
    Present,
    /// All that are left, and only the last one of them.
    Last,
}

/// How long a FETCH waits for rows of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until there is one; then for none.
    FirstRow,
    /// Until then.
    Until(Instant),
}

impl Session {
    pub(crate) async fn declare(
        &mut self,
        parsed: &Parsed,
        declare: &Declare,
        parameters: Parameters,
    ) -> Result<Outcome> {
        if declare.scroll || declare.binary {
            let what = if declare.scroll { "SCROLL" } else { "BINARY" };
            return Err(Error::unsupported(
                format!("a {what} cursor is not supported"),
                "Declare it without the word; cursors go forward and give text.",
            ));
        }
        if !declare.hold && !self.transaction.is_open() {
            return Err(Error::NoTransaction {
                statement: "DECLARE CURSOR",
            });
        }
        let name = identifier(&declare.name);
        if self.portals.contains_key(&name) {
            return Err(Error::DuplicatePortal { name });
        }
        let rows = match &declare.body {
            CursorBody::Query(query) => self.select(query, parameters).await?,
            CursorBody::Subscribe(subscribe) => self.subscribe(subscribe).await?,
        };
        let prepared = Prepared {
            statement: Some(parsed.clone()),
            parameter_types: Vec::new(),
            columns: Some(Arc::clone(&rows.schema)),
        };
        let mut portal = Portal::new(Arc::new(prepared), Vec::new(), Vec::new());
        portal.progress = Progress::Open(rows.tagged("FETCH"));
        portal.lifetime = match (declare.hold, self.transaction.is_open()) {
            (false, _) => Lifetime::Transaction,
            (true, true) => Lifetime::Commit,
            (true, false) => Lifetime::Session,
        };
        self.portals.insert(name, portal);
        Outcome::done("DECLARE CURSOR")
    }

    pub(crate) async fn fetch(&mut self, fetch: &Fetch) -> Result<Outcome> {
        let patience = patience(&fetch.options)?;
        let name = identifier(&fetch.cursor);
        // Taken out while it is read; a failed one is not put back.
        let mut portal = self
            .portals
            .remove(&name)
            .ok_or_else(|| Error::UndefinedCursor { name: name.clone() })?;
        let steps = match steps(fetch.direction, portal.position) {
            Ok(steps) => steps,
            Err(error) => {
                self.portals.insert(name, portal);
                return Err(error);
            }
        };
        self.run_portal(&name, &mut portal).await?;
        let columns = portal.prepared.columns.clone();
        let schema = columns.ok_or_else(|| cannot_be_run(&name))?;
        let batches = self.take(&mut portal, &steps, patience).await?;
        self.portals.insert(name, portal);
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if !fetch.returns_rows {
            return Ok(Outcome::Done(format!("MOVE {count}")));
        }
        Ok(Outcome::Rows(Rows::of_batches(schema, batches, "FETCH")))
    }

    /// Starts a portal that Bind made and nothing was read from.
    async fn run_portal(&mut self, name: &str, portal: &mut Portal) -> Result<()> {
        if !matches!(portal.progress, Progress::New) {
            return Ok(());
        }
        let prepared = Arc::clone(&portal.prepared);
        let statement = prepared.statement.as_ref();
        let is_query = prepared.columns.is_some();
        let statement = statement
            .filter(|_| is_query)
            .ok_or_else(|| cannot_be_run(name))?;
        // What is behind a FETCH is no FETCH itself, so this goes one step deep.
        let run = Box::pin(self.execute(statement, portal.parameters.clone()));
        match run.await? {
            Outcome::Rows(rows) => portal.progress = Progress::Open(rows),
            _ => return Err(cannot_be_run(name)),
        }
        Ok(())
    }

    async fn take(
        &mut self,
        portal: &mut Portal,
        steps: &Steps,
        patience: Patience,
    ) -> Result<Vec<RecordBatch>> {
        match *steps {
            Steps::Present => Ok(portal.present.iter().cloned().collect()),
            Steps::Forward { skipped, taken } => {
                let passed = self.advance(portal, skipped, patience).await?;
                let passed: usize = passed.iter().map(RecordBatch::num_rows).sum();
                if (passed as u64) < skipped {
                    return Ok(Vec::new());
                }
                self.advance(portal, taken, patience).await
            }
            Steps::Last => {
                let all = self.advance(portal, u64::MAX, patience).await?;
                let last = all.last().map(|batch| batch.slice(batch.num_rows() - 1, 1));
                portal.present.clone_from(&last);
                Ok(last.into_iter().collect())
            }
        }
    }

    /// Reads up to `count` rows.
    async fn advance(
        &mut self,
        portal: &mut Portal,
        count: u64,
        patience: Patience,
    ) -> Result<Vec<RecordBatch>> {
        let Progress::Open(rows) = &mut portal.progress else {
            portal.present = None;
            return Ok(Vec::new());
        };
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut left = count;
        while left > 0 {
            let batch = match self
                .batch_in_time(rows, patience, batches.is_empty())
                .await?
            {
                InTime::Batch(batch) => batch,
                InTime::NotYet => break,
                InTime::End => {
                    portal.progress = Progress::Done;
                    break;
                }
            };
            let taken = batch
                .num_rows()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            rows.put_back(&batch, taken);
            left -= taken as u64;
            batches.push(batch.slice(0, taken));
        }
        portal.position += count - left;
        let at_end = matches!(portal.progress, Progress::Done);
        portal.present = match batches.last() {
            Some(batch) if !at_end => Some(batch.slice(batch.num_rows() - 1, 1)),
            None if count == 0 => portal.present.take(),
            _ => None,
        };
        Ok(batches)
    }

    async fn batch_in_time(
        &mut self,
        rows: &mut Rows,
        patience: Patience,
        is_first: bool,
    ) -> Result<InTime> {
        let next = match patience {
            _ if !rows.is_live() => Some(self.next_batch(rows).await),
            Patience::FirstRow if is_first => Some(self.next_batch(rows).await),
            Patience::FirstRow => rows.next().now_or_never(),
            Patience::Until(deadline) => {
                let next = self.next_batch(rows);
                tokio::time::timeout_at(deadline, next).await.ok()
            }
        };
        Ok(match next.transpose()? {
            None => InTime::NotYet,
            Some(None) => InTime::End,
            Some(Some(batch)) => InTime::Batch(batch),
        })
    }

    pub(crate) fn close_cursor(&mut self, name: Option<&Ident>) -> Result<Outcome> {
        let Some(name) = name.map(identifier) else {
            self.portals.clear();
            return Outcome::done("CLOSE CURSOR ALL");
        };
        match self.portals.remove(&name) {
            Some(_) => Outcome::done("CLOSE CURSOR"),
            None => Err(Error::UndefinedCursor { name }),
        }
    }

    pub(crate) async fn prepare_statement(
        &mut self,
        parsed: &Parsed,
        prepare: &Prepare,
    ) -> Result<Outcome> {
        let name = identifier(&prepare.name);
        if self.prepared.contains_key(&name) {
            return Err(Error::DuplicateStatement { name });
        }
        let mut oids = Vec::with_capacity(prepare.types.len());
        for data_type in &prepare.types {
            let data_type = self.resolved_type(data_type)?;
            oids.push(SqlType::of(&planner::types::arrow_type(&data_type)?).oid());
        }
        let inner = parsed.with_statement((*prepare.statement).clone());
        let prepared = self.prepare(Some(inner), &oids).await?;
        self.prepared.insert(name, Arc::new(prepared));
        Outcome::done("PREPARE")
    }

    pub(crate) async fn execute_prepared(&mut self, execute: &Execute) -> Result<Outcome> {
        let name = identifier(&execute.name);
        let prepared = self.statement(&name)?;
        let types = &prepared.parameter_types;
        if execute.values.len() != types.len() {
            return Err(Error::ParameterCount {
                statement: name,
                expected: types.len(),
                given: execute.values.len(),
            });
        }
        let mut parameters = Vec::with_capacity(types.len());
        for (at, (value, sql_type)) in execute.values.iter().zip(types).enumerate() {
            parameters.push(self.parameter_value(at, value, sql_type).await?);
        }
        match &prepared.statement {
            // Only statements that are no EXECUTE can be prepared.
            Some(statement) => Box::pin(self.execute(statement, parameters)).await,
            None => Outcome::done("EXECUTE"),
        }
    }

    /// The value of a parameter that EXECUTE gives as an expression.
    async fn parameter_value(
        &mut self,
        at: usize,
        value: &ast::Expr,
        sql_type: &SqlType,
    ) -> Result<ScalarValue> {
        let text = if is_literal(value) {
            TextInput::Parse
        } else {
            TextInput::Refuse
        };
        let session = self.planner();
        let (mut expr, wanted, zone) = (value.clone(), sql_type.clone(), self.style().zone);
        big_stack::run(move |_| {
            pg_catalog::rewrite::rewrite(&mut expr);
            let values = session.evaluate(&expr, &wanted.arrow(), 1)?;
            let name = format!("${}", at + 1);
            let fitting = assign(&values, &name, &wanted, text, zone)?;
            Ok(ScalarValue::try_from_array(&fitting, 0)?)
        })
        .await
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

    pub(crate) async fn discard(&mut self, what: &ast::DiscardObject) -> Result<Outcome> {
        if matches!(
            what,
            ast::DiscardObject::ALL | ast::DiscardObject::SEQUENCES
        ) {
            let mut numbers = self.last_numbers.lock();
            numbers
                .as_mut()
                .unwrap_or_else(|poisoned| poisoned.get_mut())
                .clear();
        }
        let drops = matches!(what, ast::DiscardObject::ALL | ast::DiscardObject::TEMP);
        let in_block = self.transaction.is_open() && matches!(what, ast::DiscardObject::ALL);
        if drops
            && !in_block
            && let Some(schema) = self.temporary.take()
        {
            schema.end().await?;
        }
        if !matches!(what, ast::DiscardObject::ALL) {
            return Outcome::done(&format!("DISCARD {what}"));
        }
        if self.transaction.is_open() {
            return Err(Error::ActiveTransaction {
                statement: "DISCARD ALL",
            });
        }
        self.portals.clear();
        self.deallocate(None)?;
        let identity = crate::session::lock(&self.settings).set_session_user(None);
        self.report_settings(identity);
        let reports = crate::session::lock(&self.settings).reset_all();
        self.report_settings(reports);
        Outcome::done("DISCARD ALL")
    }
}

/// What came of waiting for a batch.
enum InTime {
    Batch(RecordBatch),
    NotYet,
    End,
}

fn cannot_be_run(name: &str) -> Error {
    Error::Bind(format!("portal \"{name}\" cannot be run"))
}

fn steps(direction: Direction, position: u64) -> Result<Steps> {
    let nth_ahead = |n: u64| Steps::Forward {
        skipped: n - 1,
        taken: 1,
    };
    let forward = |taken| Steps::Forward { skipped: 0, taken };
    Ok(match direction {
        Direction::Forward(0) | Direction::Relative(0) => Steps::Present,
        Direction::Forward(count) => forward(count),
        Direction::ForwardAll => forward(u64::MAX),
        Direction::Last => Steps::Last,
        Direction::Backward => return Err(Error::ForwardOnly),
        Direction::Relative(n) => nth_ahead(u64::try_from(n).map_err(|_| Error::ForwardOnly)?),
        Direction::Absolute(n) => match u64::try_from(n).map(|n| n.checked_sub(position)) {
            Ok(Some(0)) => Steps::Present,
            Ok(Some(ahead)) => nth_ahead(ahead),
            Ok(None) | Err(_) => return Err(Error::ForwardOnly),
        },
    })
}

/// `WITH (timeout = …)`: an interval such as `'1s'`, or a number of seconds.
fn patience(options: &BTreeMap<String, String>) -> Result<Patience> {
    let Some(text) = options.get("timeout") else {
        return match options.keys().next() {
            None => Ok(Patience::FirstRow),
            Some(other) => Err(unknown_option("FETCH", other)),
        };
    };
    if let Some(other) = options.keys().find(|key| *key != "timeout") {
        return Err(unknown_option("FETCH", other));
    }
    match duration(text) {
        Some(duration) => Ok(Patience::Until(Instant::now() + duration)),
        None => Err(Error::InvalidValue {
            message: format!("invalid value for option \"timeout\": \"{text}\""),
            hint: Some("Write it as '500ms', '10s' or '2min'.".to_owned()),
        }),
    }
}

pub(crate) fn unknown_option(statement: &str, name: &str) -> Error {
    Error::InvalidValue {
        message: format!("unrecognized {statement} option \"{name}\""),
        hint: None,
    }
}

/// A number with a unit, seconds without one.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    let unit = match text[at..].trim() {
        "ms" | "milliseconds" | "millisecond" => 0.001,
        "" | "s" | "second" | "seconds" => 1.0,
        "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(skipped: u64, taken: u64) -> Steps {
        Steps::Forward { skipped, taken }
    }

    #[test]
    fn directions_become_steps_ahead() {
        assert_eq!(steps(Direction::Forward(3), 7).unwrap(), forward(0, 3));
        assert_eq!(steps(Direction::Absolute(9), 7).unwrap(), forward(1, 1));
        assert_eq!(steps(Direction::Absolute(7), 7).unwrap(), Steps::Present);
        assert_eq!(steps(Direction::Relative(2), 7).unwrap(), forward(1, 1));
        for back in [
            Direction::Absolute(6),
            Direction::Absolute(-1),
            Direction::Relative(-1),
            Direction::Backward,
        ] {
            assert!(matches!(steps(back, 7), Err(Error::ForwardOnly)));
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1.5 s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("2"), Some(Duration::from_secs(2)));
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("1 fortnight"), None);
    }
}
