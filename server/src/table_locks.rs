//! Who may write a table now.
//!
//! INSERT and COPY share a table; UPDATE and DELETE have it alone, from reading the rows they
//! change until their changes are on the way, or until COMMIT. Readers take no lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::{Error, Result};

/// Longest wait of a session that has locks of its own already: two such sessions could wait for
/// each other for ever.
const WAIT_WHILE_HOLDING_MAX: Duration = Duration::from_secs(5);

/// A held lock; dropping it lets others in.
#[derive(Debug)]
pub enum Guard {
    /// Others may insert too.
    Shared(#[allow(dead_code, reason = "held for its drop")] OwnedRwLockReadGuard<()>),
    /// Nobody else writes.
    Exclusive(#[allow(dead_code, reason = "held for its drop")] OwnedRwLockWriteGuard<()>),
}

impl Guard {
    /// How it holds its table.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Guard::Shared(_) => Mode::Shared,
            Guard::Exclusive(_) => Mode::Exclusive,
        }
    }
}

/// How a statement needs a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To add rows.
    Shared,
    /// To change rows.
    Exclusive,
}

/// The locks of all tables.
#[derive(Debug, Default)]
pub struct TableLocks {
    tables: Mutex<BTreeMap<u32, Arc<RwLock<()>>>>,
}

impl TableLocks {
    /// Waits for a table, at most `timeout`.
    ///
    /// # Errors
    /// [`Error::LockTimeout`].
    pub async fn lock(
        &self,
        table: u32,
        mode: Mode,
        timeout: Option<Duration>,
        holds_others: bool,
    ) -> Result<Guard> {
        let lock = Arc::clone(
            self.tables
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(table)
                .or_default(),
        );
        let wait = async {
            match mode {
                Mode::Shared => Guard::Shared(lock.read_owned().await),
                Mode::Exclusive => Guard::Exclusive(lock.write_owned().await),
            }
        };
        let limit = match (timeout, holds_others) {
            (Some(timeout), false) => Some(timeout),
            (None, false) => None,
            (timeout, true) => Some(
                timeout
                    .unwrap_or(WAIT_WHILE_HOLDING_MAX)
                    .min(WAIT_WHILE_HOLDING_MAX),
            ),
        };
        match limit {
            Some(limit) => tokio::time::timeout(limit, wait)
                .await
                .map_err(|_| Error::LockTimeout),
            None => Ok(wait.await),
        }
    }

    /// Forgets a table that was dropped.
    pub fn remove(&self, table: u32) {
        self.tables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&table);
    }
}
