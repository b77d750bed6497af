//! Portals: statements with their parameters, and how far their rows were read. Bind makes them,
//! and DECLARE, which calls them cursors; Execute and FETCH read any of them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use planner::Parsed;

use crate::session::Parameters;
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
