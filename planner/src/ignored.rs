//! What DataFusion reads over without a word, though it changes a query: it is refused here.

use std::ops::ControlFlow;

use sqlparser::ast::{Query, TableFactor, Visit, Visitor};

use crate::error::{Error, Result};

/// Refuses `TABLESAMPLE`, and locks within a query: those of a whole `SELECT` are taken before it is planned.
pub(crate) fn refuse(query: &Query) -> Result<()> {
    match query.visit(&mut Refusal) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Refusal;

impl Visitor for Refusal {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        match query.locks.first() {
            None => ControlFlow::Continue(()),
            Some(lock) => ControlFlow::Break(Error::unsupported(
                format!("FOR {} in this place", lock.lock_type),
                "write it at the end of a SELECT of its own, within the transaction",
            )),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Error> {
        match table {
            TableFactor::Table {
                sample: Some(_), ..
            }
            | TableFactor::Derived {
                sample: Some(_), ..
            } => ControlFlow::Break(Error::unsupported(
                "TABLESAMPLE",
                "use WHERE random() < 0.1 in a SELECT",
            )),
            _ => ControlFlow::Continue(()),
        }
    }
}
