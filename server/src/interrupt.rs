//! What may stop a running statement: its client's cancel request, a timeout, the shutdown.
//!
//! A statement is stopped only where it waits inside [`Interrupt::guard`]. Changes that must not
//! be half done (writes of one statement, catalog changes) run outside of it.

use std::future::Future;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Result};

/// The other end of a session's cancel requests.
pub type CancelSender = watch::Sender<u64>;

/// One session's view of what may stop it.
#[derive(Debug, Clone)]
pub struct Interrupt {
    cancel: watch::Receiver<u64>,
    shutdown: watch::Receiver<bool>,
    deadline: Option<Instant>,
}

impl Interrupt {
    /// A session that `shutdown` ends, and the sender that cancels its statements.
    #[must_use]
    pub fn new(shutdown: watch::Receiver<bool>) -> (CancelSender, Interrupt) {
        let (sender, cancel) = watch::channel(0);
        (
            sender,
            Interrupt {
                cancel,
                shutdown,
                deadline: None,
            },
        )
    }

    /// Starts a statement: cancel requests that came before were for an earlier one.
    pub fn begin(&mut self, timeout: Option<std::time::Duration>) {
        self.cancel.mark_unchanged();
        self.deadline = timeout.map(|timeout| Instant::now() + timeout);
    }

    /// Waits for `work` unless something stops it, which drops it where it stands.
    ///
    /// # Errors
    /// What `work` gives; [`Error::Cancelled`], [`Error::StatementTimeout`], [`Error::ShuttingDown`].
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (mut cancel, mut shutdown) = (self.cancel.clone(), self.shutdown.clone());
        tokio::select! {
            biased;
            result = work => result,
            _ = cancel.changed() => Err(Error::Cancelled),
            _ = shutdown.wait_for(|down| *down) => Err(Error::ShuttingDown),
            () = until(self.deadline) => Err(Error::StatementTimeout),
        }
    }

    /// Looks for a cancel request without waiting, for work that is always ready.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        // An error means that the sender is gone, with the session.
        match self.cancel.has_changed() {
            Ok(true) => Err(Error::Cancelled),
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// Waits for `work`, which is no statement, unless the server goes down.
    ///
    /// # Errors
    /// What `work` gives, or [`Error::ShuttingDown`].
    pub async fn until_shutdown<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => Err(Error::ShuttingDown),
            result = work => result,
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stops_only_what_runs_now() {
        let (_down, shutdown) = watch::channel(false);
        let (cancel, mut interrupt) = Interrupt::new(shutdown);
        cancel.send_modify(|n| *n += 1);
        interrupt.begin(None);
        assert_eq!(interrupt.guard(async { Ok(1) }).await.unwrap(), 1);
        cancel.send_modify(|n| *n += 1);
        let stopped: Result<()> = interrupt.guard(std::future::pending()).await;
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }

    #[tokio::test]
    async fn shutdown_stops_everything() {
        let (down, shutdown) = watch::channel(false);
        let (_cancel, mut interrupt) = Interrupt::new(shutdown);
        interrupt.begin(None);
        down.send(true).unwrap();
        let stopped: Result<()> = interrupt.guard(std::future::pending()).await;
        assert!(matches!(stopped, Err(Error::ShuttingDown)));
    }
}
