//! Portals: statements with their parameters, and how far their rows were read. Bind makes them,
//! and DECLARE, which calls them cursors; Execute and FETCH read any of them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use planner::Parsed;

use crate::pg_catalog::{CursorRow, PreparedRow};
use crate::session::{Parameters, Session};
use crate::statement::rows::Rows;
use crate::wire::frame::Format;
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
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) parameters: Parameters,
    pub(crate) formats: Vec<Format>,
    pub(crate) progress: Progress,
    pub(crate) lifetime: Lifetime,
    /// Rows that were read.
    pub(crate) position: u64,
    /// The row that was read last, unless the end was met.
    pub(crate) present: Option<RecordBatch>,
}

/// How far a portal is.
pub(crate) enum Progress {
    New,
    /// Rows may be left.
    Open(Rows),
    Done,
}

/// What ends a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// The end of its transaction.
    Transaction,
    /// The same, unless that is a commit: a cursor WITH HOLD whose block is still open.
    Commit,
    /// The end of the session.
    Session,
}

impl Session {
    /// The named portals, as `pg_cursors` shows them.
    pub(crate) fn cursor_rows(&self) -> Vec<CursorRow> {
        let named = self.portals.iter().filter(|(name, _)| !name.is_empty());
        let row = |(name, portal): (&String, &Portal)| CursorRow {
            name: name.clone(),
            statement: portal.prepared.text(),
            is_holdable: portal.lifetime != Lifetime::Transaction,
        };
        named.map(row).collect()
    }

    /// The named prepared statements, as `pg_prepared_statements` shows them.
    pub(crate) fn prepared_rows(&self) -> Vec<PreparedRow> {
        let named = self.prepared.iter().filter(|(name, _)| !name.is_empty());
        let row = |(name, prepared): (&String, &Arc<Prepared>)| PreparedRow {
            name: name.clone(),
            statement: prepared.text(),
            parameter_types: prepared
                .parameter_types
                .iter()
                .map(SqlType::base_name)
                .collect(),
        };
        named.map(row).collect()
    }
}

impl Prepared {
    /// The statement's text.
    pub(crate) fn text(&self) -> String {
        let statement = self.statement.as_ref();
        statement.map_or_else(String::new, |parsed| parsed.text.clone())
    }
}

impl Portal {
    /// A portal that nothing was read from.
    pub(crate) fn new(
        prepared: Arc<Prepared>,
        parameters: Parameters,
        formats: Vec<Format>,
    ) -> Portal {
        Portal {
            prepared,
            parameters,
            formats,
            progress: Progress::New,
            lifetime: Lifetime::Transaction,
            position: 0,
            present: None,
        }
    }

    /// Whether it stays when its transaction ends.
    pub(crate) fn outlives_transaction(&mut self, committed: bool) -> bool {
        match self.lifetime {
            Lifetime::Transaction => false,
            Lifetime::Commit => {
                self.lifetime = Lifetime::Session;
                committed
            }
            Lifetime::Session => true,
        }
    }
}
