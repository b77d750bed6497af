//! The seams to the world outside: time and tasks.
//!
//! Everything in this crate that needs the clock or a task asks here, so that a simulation can
//! pause time (tokio's test clock) and see every task. `clippy.toml` forbids other ways.

use std::any::Any;
use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Now, on the clock that tests can pause.
#[expect(clippy::disallowed_methods, reason = "the seam")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day, for people.
#[expect(clippy::disallowed_methods, reason = "the seam")]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Starts a task.
#[expect(clippy::disallowed_methods, reason = "the seam")]
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future)
}

/// Runs work that waits for a disk on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "the seam")]
pub(crate) fn spawn_blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    tokio::task::spawn_blocking(work)
}

/// Runs work that may wait for a disk where it is called; other tasks of the thread go on elsewhere.
pub(crate) fn blocking<R>(work: impl FnOnce() -> R) -> R {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // There is no other thread.
        _ => work(),
    }
}

/// Waits.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "panic without a message".to_owned(),
    }
}
