//! Runs recursive work on threads with a big stack.
//!
//! `sqlparser` and DataFusion parse, clone, plan and drop trees recursively. The planner bounds
//! how deep a statement may be; this stack is sized for that bound (`reliability.md`, section 5).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Stack of each thread. Only what is touched takes memory.
const STACK_BYTES: usize = 256 << 20;

/// Longest text that is parsed on the stack of a session.
const SHORT_TEXT_BYTES: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// Runs `work` on a big stack and returns its result. Inside, the caller's runtime is entered, so
/// that `Handle::current()` works.
///
/// # Errors
/// What `work` returns; [`Error::Internal`] if it panics.
pub async fn run<T, F>(work: F) -> Result<T>
where
    F: FnOnce(&Handle) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    let handle = Handle::current();
    let (done, outcome) = oneshot::channel();
    let job: Work = Box::new(move || {
        let _runtime = handle.enter();
        let result = catch_unwind(AssertUnwindSafe(|| work(&handle)));
        let result =
            result.unwrap_or_else(|panic| Err(Error::Internal(panic_message(panic.as_ref()))));
        // The session may have stopped waiting: cancelled, or its client is gone.
        drop(done.send(result));
    });
    queue()
        .send(job)
        .map_err(|_| Error::Internal("planning threads have ended".to_owned()))?;
    outcome
        .await
        .map_err(|_| Error::Internal("planning was abandoned".to_owned()))?
}

/// Parses a text. A short one is parsed where it is: its tree cannot be deep, and to hand it to
/// another thread takes longer.
///
/// # Errors
/// The parser's.
pub async fn parse(sql: String) -> Result<Vec<planner::Parsed>> {
    if sql.len() <= SHORT_TEXT_BYTES {
        return Ok(planner::parse(&sql)?);
    }
    run(move |_| Ok(planner::parse(&sql)?)).await
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("no message"))
}

/// The queue of the threads, which are started with its first use and live as long as the process.
fn queue() -> &'static mpsc::Sender<Work> {
    static QUEUE: OnceLock<mpsc::Sender<Work>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Work>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .max(2);
        for index in 0..threads {
            let receiver = Arc::clone(&receiver);
            let spawned = std::thread::Builder::new()
                .name(format!("plan-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    loop {
                        let next = receiver
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .recv();
                        match next {
                            Ok(work) => work(),
                            Err(mpsc::RecvError) => return,
                        }
                    }
                });
            if let Err(error) = spawned {
                tracing::error!(%error, "cannot start a planning thread");
            }
        }
        sender
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn recursion_fits_and_panics_are_contained() {
        fn depth(n: u64) -> u64 {
            let frame = [n; 64];
            if n == 0 {
                0
            } else {
                std::hint::black_box(&frame)[0].min(1) + depth(n - 1)
            }
        }
        assert_eq!(run(|_| Ok(depth(100_000))).await.unwrap(), 100_000);
        let failed: Result<()> = run(|_| panic!("boom")).await;
        assert!(failed.unwrap_err().to_string().contains("boom"));
    }
}
