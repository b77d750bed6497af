//! What may stop a running statement: its client's cancel request, a timeout, the shutdown.
//!
//! A statement is stopped only where it waits inside [`Interrupt::guard`]. Changes that must not
//! be half done (writes of one statement, catalog changes) run outside of it.

use std::future::Future;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Result};

/// What others may do to a session.
#[derive(Debug)]
pub struct Handle {
    cancel: watch::Sender<u64>,
    end: watch::Sender<bool>,
}

impl Handle {
    /// Cancels the statement that it runs.
    pub fn cancel(&self) {
        self.cancel.send_modify(|count| *count += 1);
    }

    /// Ends the session.
    pub fn terminate(&self) {
        self.end.send_replace(true);
    }
}

/// One session's view of what may stop it.
#[derive(Debug, Clone)]
pub struct Interrupt {
    cancel: watch::Receiver<u64>,
    shutdown: watch::Receiver<bool>,
    end: watch::Receiver<bool>,
    deadline: Option<Instant>,
}

impl Interrupt {
    /// A session that `shutdown` ends, and its handle for others.
    #[must_use]
    pub fn new(shutdown: watch::Receiver<bool>) -> (Handle, Interrupt) {
        let (cancels, cancel) = watch::channel(0);
        let (ends, end) = watch::channel(false);
        let handle = Handle {
            cancel: cancels,
            end: ends,
        };
        let interrupt = Interrupt {
            cancel,
            shutdown,
            end,
            deadline: None,
        };
        (handle, interrupt)
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
        let mut cancel = self.cancel.clone();
        tokio::select! {
            biased;
            result = work => result,
            _ = cancel.changed() => Err(Error::Cancelled),
            () = self.ended() => Err(Error::ShuttingDown),
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

    /// Waits for `work`, which is no statement, unless the session is to end.
    ///
    /// # Errors
    /// What `work` gives, or [`Error::ShuttingDown`].
    pub async fn until_shutdown<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.ended() => Err(Error::ShuttingDown),
            result = work => result,
        }
    }

    /// Waits until the server goes down, or this session is ended.
    async fn ended(&self) {
        let (mut shutdown, mut end) = (self.shutdown.clone(), self.end.clone());
        tokio::select! {
            _ = shutdown.wait_for(|down| *down) => {}
            Ok(_) = end.wait_for(|end| *end) => {}
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
        let (handle, mut interrupt) = Interrupt::new(shutdown);
        handle.cancel();
        interrupt.begin(None);
        assert_eq!(interrupt.guard(async { Ok(1) }).await.unwrap(), 1);
        handle.cancel();
        let stopped: Result<()> = interrupt.guard(std::future::pending()).await;
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }

    #[tokio::test]
    async fn one_session_is_ended() {
        let (_down, shutdown) = watch::channel(false);
        let (handle, interrupt) = Interrupt::new(shutdown);
        handle.terminate();
        let stopped: Result<()> = interrupt.until_shutdown(std::future::pending()).await;
        assert!(matches!(stopped, Err(Error::ShuttingDown)));
    }

    #[tokio::test]
    async fn shutdown_stops_everything() {
        let (down, shutdown) = watch::channel(false);
        let (_handle, mut interrupt) = Interrupt::new(shutdown);
        interrupt.begin(None);
        down.send(true).unwrap();
        let stopped: Result<()> = interrupt.guard(std::future::pending()).await;
        assert!(matches!(stopped, Err(Error::ShuttingDown)));
    }
}
