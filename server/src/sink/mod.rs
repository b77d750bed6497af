//! Sinks: the changes of a query flow into a table.
//!
//! ```text
//!   the sink's job: a materialized view that nobody reads ──┐
//!                                                            ├─► what is new ─► one write ─┬─► the table
//!   what has been delivered: rows of their own ─────────────┘                             └─► delivered
//! ```
//!
//! A task a sink looks at each visible epoch, and writes what differs from the one before. With it, in
//! the same write, it notes what it has delivered: so after a crash, however it fell, what is left to
//! deliver is the view without what was delivered, and every change gets to the table once. What
//! executors do, and where key groups are, has no part in it.
//!
//! A table with a primary key has a row replaced or removed by its key, whoever wrote it; so sinks
//! and statements that write the same key overwrite each other, the last one wins.

mod delivery;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use executor::JobSpec;
use planner::TableDefinition;
use planner::table::ColumnDefinition;
use scaling::Epoch;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::catalog::{Entry, Kind};
use crate::error::Result;
use crate::server::Shared;
use delivery::Delivery;

/// Pause before a delivery that failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What a sink writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// The table.
    pub table: u32,
    /// The job that keeps what was delivered.
    pub delivered: u32,
    /// Whether rows that go stay in the table.
    pub only_adds: bool,
}

/// How far the sinks are.
#[derive(Debug, Default)]
pub struct Sinks {
    running: Mutex<BTreeMap<u32, watch::Receiver<Epoch>>>,
    /// Writes that sinks made.
    writes: AtomicU64,
}

impl Sinks {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, watch::Receiver<Epoch>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The job that keeps what a sink has delivered.
///
/// # Errors
/// None for the columns of a table.
pub fn delivered_job(entry: &Entry, sink: &Sink) -> Result<JobSpec> {
    let schema = entry.schema();
    let column = |field: &Arc<arrow::datatypes::Field>| {
        ColumnDefinition::plain(field.name().clone(), field.data_type().clone())
    };
    let definition = TableDefinition {
        columns: schema.fields().iter().map(column).collect(),
        primary_key: Vec::new(),
        watermark: None,
    };
    Ok(JobSpec {
        id: sink.delivered,
        name: format!("{} (delivered)", entry.name),
        dataflow: planner::plan_table(&definition)?,
        parallelism: entry.parallelism,
        backfill_rate_limit: None,
        resumable: false,
    })
}

/// Starts the deliveries of all sinks of a database.
pub(crate) fn start_all(shared: &Arc<Shared>) {
    let catalog = shared.catalog.read();
    for entry in catalog.entries() {
        if matches!(entry.kind, Kind::Sink(_)) {
            start(shared, entry.id);
        }
    }
}

/// Starts the delivery of a sink; it ends with the sink, or with the engine.
pub(crate) fn start(shared: &Arc<Shared>, id: u32) {
    let (sender, reached) = watch::channel(Epoch(0));
    shared.sinks.lock().insert(id, reached);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        run(&shared, id, sender).await;
        shared.sinks.lock().remove(&id);
    });
}

async fn run(shared: &Arc<Shared>, id: u32, reached: watch::Sender<Epoch>) {
    let mut epochs = shared.engine.epochs();
    let mut delivery = Delivery::new(id);
    loop {
        let snapshot = Arc::clone(&epochs.borrow_and_update());
        let is_there = shared.catalog.read().by_id(id).is_some();
        if !is_there {
            return;
        }
        match delivery.deliver(shared, &snapshot).await {
            Ok(wrote) => {
                shared
                    .sinks
                    .writes
                    .fetch_add(u64::from(wrote), Ordering::SeqCst);
                reached.send_replace(snapshot.epoch);
                if epochs.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, id, "a sink tries again what it has to deliver");
                tokio::time::sleep(PAUSE).await;
                if epochs.has_changed().is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits until everything that was written before is in all views, and through sinks in all tables.
///
/// # Errors
/// If the engine has stopped.
pub(crate) async fn settle(shared: &Shared) -> Result<()> {
    loop {
        let writes = shared.sinks.writes.load(Ordering::SeqCst);
        let epoch = shared.engine.flush().await?;
        let running: Vec<_> = shared.sinks.lock().values().cloned().collect();
        for mut sink in running {
            // One that has ended has nothing to deliver.
            let _ended = sink.wait_for(|reached| *reached >= epoch).await;
        }
        if shared.sinks.writes.load(Ordering::SeqCst) == writes {
            return Ok(());
        }
    }
}
