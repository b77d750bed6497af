//! One query as a view: all events through the whole engine, as fast as it takes them or at a rate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use executor::EngineOptions;
use executor::sources::NexmarkEvents;
use hdrhistogram::Histogram;
use scaling::Epoch;

use super::queries::Query;
use crate::bench::database::{Database, POLL};
use crate::bench::process::{forget_peak_memory, peak_memory, processor_time};
use crate::error::{Error, Result};

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// A row's latency is taken at so many points between an epoch's first and its last row.
const POINTS: u32 = 20;
/// The longest latency that is told apart: five minutes.
const LATENCY_MAX_MICROS: u64 = 300_000_000;

/// How fast events come.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) enum Pace {
    /// As fast as they are taken.
    Free,
    /// So many a second.
    EventsPerSecond(f64),
}

/// Whether state becomes durable on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkpoints {
    /// As often as by default.
    On,
    /// Only when the view is created and at the end.
    Off,
}

/// What keeping a view took.
#[derive(Clone, Debug)]
pub(super) struct Maintained {
    /// From the creation of the view until all events were visible in it.
    pub(super) clock: Duration,
    /// The same, until they were durable too.
    pub(super) processor: Duration,
    /// The most resident memory beyond what was there before.
    pub(super) memory: u64,
    pub(super) state_bytes: u64,
    pub(super) rows: u64,
    /// From the time an event was due until its epoch was visible, microseconds.
    pub(super) freshness: Histogram<u64>,
}

type Published = Arc<Mutex<BTreeMap<Epoch, Instant>>>;

/// Runs a query over the first `count` events.
///
/// # Errors
/// If it cannot be planned or fails.
pub(super) async fn maintain(
    query: Query,
    events: &Arc<NexmarkEvents>,
    count: u64,
    parallelism: usize,
    pace: Pace,
    checkpoints: Checkpoints,
) -> Result<Maintained> {
    events.reset();
    let published = Published::default();
    let seen = Arc::clone(&published);
    let defaults = EngineOptions::default();
    let (checkpoint_interval, checkpoint_bytes) = match checkpoints {
        Checkpoints::On => (defaults.checkpoint_interval, defaults.checkpoint_bytes),
        Checkpoints::Off => (NEVER, usize::MAX),
    };
    let options = EngineOptions {
        checkpoint_interval,
        checkpoint_bytes,
        nexmark_events: Some(Arc::clone(events)),
        observer: Some(Arc::new(move |snapshot| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(snapshot.epoch, Instant::now());
        })),
        ..defaults
    };
    let mut database = Database::open(options).await?;
    create_inputs(&mut database, count, pace).await?;

    forget_peak_memory();
    let (memory, began, processor) = (peak_memory()?, Instant::now(), processor_time()?);
    let view = create_view(&mut database, query, parallelism).await?;
    let epoch = catch_up(&database, events).await?;
    let clock = began.elapsed();
    let memory = peak_memory()?.saturating_sub(memory);
    if checkpoints == Checkpoints::On {
        // State is measured when it is kept.
        database.kept(epoch).await;
    }
    let observed = database.engine.observe().await?;
    let snapshot = database.engine.snapshot();
    let rows = snapshot.tables.get(&view).map_or(0, |table| table.rows());
    database.close().await?;
    let published = published.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Maintained {
        clock,
        processor: processor_time()? - processor,
        memory,
        state_bytes: observed.key_groups.iter().map(|group| group.bytes).sum(),
        rows,
        freshness: freshness(events, &published),
    })
}

/// Creates the view, and gives its number.
pub(in crate::bench) async fn create_view(
    database: &mut Database,
    query: Query,
    parallelism: usize,
) -> Result<u32> {
    let view = format!("CREATE MATERIALIZED VIEW v AS {}", query.sql);
    database.create(&view, parallelism).await
}

/// All events are visible in the view when it returns, as of the epoch that it gives.
pub(in crate::bench) async fn catch_up(
    database: &Database,
    events: &NexmarkEvents,
) -> Result<Epoch> {
    while !events.all_taken() {
        tokio::time::sleep(POLL).await;
    }
    Ok(database.engine.flush().await?)
}

/// The sources, and the side table of q13.
pub(in crate::bench) async fn create_inputs(
    database: &mut Database,
    count: u64,
    pace: Pace,
) -> Result<()> {
    let gap = match pace {
        Pace::Free => 0,
        Pace::EventsPerSecond(rate) => (1e9 / rate).ceil() as u64,
    };
    for table in ["person", "auction", "bid"] {
        let sql = format!(
            "CREATE SOURCE {table} WITH (connector = 'nexmark', nexmark.table.type = '{table}', \
             nexmark.event.num = {count}, nexmark.min.event.gap.in.ns = {gap})"
        );
        database.create(&sql, 1).await?;
    }
    let side = database
        .create("CREATE TABLE side (key bigint, value text)", 1)
        .await?;
    database.insert(side, side_rows()?).await?;
    database.engine.flush().await?;
    Ok(())
}

/// The side table of q13.
pub(super) fn side_rows() -> Result<RecordBatch> {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let values = (0..100).map(|key| format!("v{key}"));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    RecordBatch::try_from_iter_with_nullable([("key", keys, true), ("value", values, true)])
        .map_err(|error| Error::Internal(error.to_string()))
}

/// Events of an epoch were due evenly between its first and its last.
fn freshness(events: &NexmarkEvents, published: &BTreeMap<Epoch, Instant>) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, LATENCY_MAX_MICROS, 3).expect("the bounds are valid");
    for part in events.taken_parts() {
        let Some(visible) = published.get(&part.epoch) else {
            continue;
        };
        let span = part.last_due.saturating_duration_since(part.first_due);
        for point in 0..POINTS {
            let due = part.first_due + span * point / POINTS;
            let micros = visible.saturating_duration_since(due).as_micros() as u64;
            let rows = part.rows.div_ceil(u64::from(POINTS));
            histogram.saturating_record_n(micros.max(1), rows);
        }
    }
    histogram
}
