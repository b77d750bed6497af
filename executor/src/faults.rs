//! Faults of executors, for tests: at each named step of an executor a test may let it fail, with
//! an error or a panic.
//!
//! As crash points (`storage::crash`) they are compiled out in release builds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;

/// What an executor is about to do, or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultStep {
    /// It is to handle rows of a channel.
    Rows,
    /// It has brought rows of its own: a backfill's, or a source's.
    Polled,
    /// It is to end an epoch.
    Barrier {
        /// Whether a checkpoint is taken there.
        durable: bool,
    },
    /// It has ended an epoch, and has told nobody.
    Committed {
        /// Whether a checkpoint is taken there.
        durable: bool,
    },
    /// As old owner, it has taken a key group's state out of its tables.
    StateSent,
    /// As new owner, it has put a key group's state into its tables.
    StateInstalled,
}

/// A place where an executor may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultSite {
    /// Its job.
    pub job: u32,
    /// Its fragment of the job.
    pub fragment: usize,
    /// The step.
    pub step: FaultStep,
}

/// Decides whether an executor fails: by an error, or by panicking itself.
pub type FaultInjector = Arc<dyn Fn(FaultSite) -> Result<()> + Send + Sync>;

/// The faults of one engine.
#[derive(Default)]
pub(crate) struct Faults {
    injector: Mutex<Option<FaultInjector>>,
}

impl Faults {
    pub(crate) fn inject(&self, injector: Option<FaultInjector>) {
        *self.injector.lock().unwrap_or_else(PoisonError::into_inner) = injector;
    }

    /// Fails if a test wants it to.
    pub(crate) fn meet(&self, site: FaultSite) -> Result<()> {
        if !cfg!(debug_assertions) {
            return Ok(());
        }
        let injector = self.injector.lock();
        let injector = injector.unwrap_or_else(PoisonError::into_inner).clone();
        injector.map_or(Ok(()), |decide| decide(site))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}
