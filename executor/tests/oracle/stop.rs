//! Executors that stand still for as long as a test wants.

use std::sync::{Condvar, Mutex};

/// Keeps the executors that handle rows from going on.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    goes_on: Condvar,
}

impl Stop {
    pub(crate) fn set(&self, stopped: bool) {
        *self.stopped.lock().unwrap() = stopped;
        self.goes_on.notify_all();
    }

    pub(crate) fn wait(&self) {
        // Whoever else this thread had to run goes on elsewhere.
        tokio::task::block_in_place(|| {
            let stopped = self.stopped.lock().unwrap();
            let goes_on = self.goes_on.wait_while(stopped, |stopped| *stopped);
            drop(goes_on.unwrap());
        });
    }
}
