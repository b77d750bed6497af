//! Executors that stand still for as long as a test wants.

use std::sync::{Arc, Condvar, Mutex};

use executor::{Engine, EngineOptions};
use storage::Storage;
use storage::memory_kv::MemoryKv;

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

/// An engine in memory whose executors stand still when told.
pub(crate) async fn engine_with_stop() -> (Engine, Arc<Stop>) {
    let stop = Arc::new(Stop::default());
    let of_executors = Arc::clone(&stop);
    let storage = Arc::new(Storage::open(Arc::new(MemoryKv::new())).unwrap());
    let options = EngineOptions {
        batch_observer: Some(Arc::new(move |_| of_executors.wait())),
        ..EngineOptions::default()
    };
    let engine = Engine::open(storage, Vec::new(), options).await.unwrap();
    (engine, stop)
}
