//! One measurement: a loaded view under a steady stream, rescaled once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use executor::{EngineOptions, Placing, RescaleOptions, RescaleSummary, RescaleTarget};
use scaling::{KeyGroupSet, Strategy};
use storage::CatalogChange;
use tokio::sync::mpsc;

use super::database::Database;
use super::recorder::{PhaseLatency, Recorder, TimeLine};
use super::workload::{Keys, Workload};
use crate::error::{Error, Result};

/// Rows of one insert while loading.
const LOADED_ROWS: u64 = 20_000;
/// Rows of one insert of the stream at most. An insert is in one epoch as a whole, so a barrier
/// waits for all of it.
const STREAMED_ROWS_MAX: u64 = 2_000;
/// How often due rows are written.
const TICK: Duration = Duration::from_millis(4);
/// Time before anything is measured.
const WARM_UP: Duration = Duration::from_millis(1500);
/// The shortest time that counts as "during": the checkpoint interval, so that one checkpoint is in
/// it with a rescale and without.
const DURING_MIN: Duration = Duration::from_secs(1);
/// A run is stable again when rows are below this multiple of the earlier peak (drrs.md 7.2).
const STABLE: f64 = 1.2;

/// What to measure.
#[derive(Clone, Debug)]
pub(super) struct RunSetup {
    pub(super) workload: Workload,
    /// `None` runs without a rescale.
    pub(super) strategy: Option<Strategy>,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Rows a second.
    pub(super) rate: u64,
    /// Bytes a second of an executor's link; `None` hands pointers over.
    pub(super) link: Option<u64>,
    /// Input that is late already when the stream begins.
    pub(super) backlog: Duration,
    /// Length of the phases before and after.
    pub(super) phase: Duration,
    pub(super) max_pause: Option<Duration>,
    pub(super) seed: u64,
}

/// What was measured.
pub(super) struct RunResult {
    pub(super) before: PhaseLatency,
    pub(super) during: PhaseLatency,
    pub(super) line: TimeLine,
    /// Begin and end of the rescale, on the time line.
    pub(super) rescaled: (Duration, Duration),
    /// Length of the phase that counts as "during".
    pub(super) measured: Duration,
    /// From the statement until latencies are as before.
    pub(super) stable_after: Option<Duration>,
    pub(super) summary: Option<RescaleSummary>,
    /// Whether the view has every row that was written, once.
    pub(super) correct: bool,
}

pub(super) async fn run(setup: &RunSetup) -> Result<RunResult> {
    let recorder = Recorder::new();
    let (by_batch, by_epoch) = (Arc::clone(&recorder), Arc::clone(&recorder));
    // The tables' jobs have smaller ids; the view is the last one created.
    let view_id = if setup.workload.other.is_some() { 3 } else { 2 };
    let options = EngineOptions {
        link_bytes_per_second: setup.link,
        observer: Some(Arc::new(move |snapshot| by_epoch.visible(snapshot.epoch))),
        batch_observer: Some(Arc::new(move |seen| {
            if seen.job == view_id {
                by_batch.handled(&seen);
            }
        })),
        ..EngineOptions::default()
    };
    let mut database = Database::open(options).await?;
    let table = load(&mut database, &setup.workload).await?;
    let view = database.create(setup.workload.view, setup.from).await?;
    database.engine.flush().await?;

    let target = RescaleOptions {
        target: RescaleTarget::Parallelism(setup.to),
        placing: Placing::LeastMove,
        strategy: setup.strategy.unwrap_or_default(),
        max_pause: setup.max_pause,
        by: "bench".to_owned(),
    };
    let plan = database
        .engine
        .explain_rescale(view, target.clone())
        .await?;
    let moving: KeyGroupSet = plan
        .subscales
        .iter()
        .flat_map(|subscale| subscale.key_groups.iter())
        .collect();
    recorder.will_move(moving);

    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let stream = stream(&database, table, setup, &recorder, &stop, &written);
    let observe = async {
        let measured = measure(&database, view, setup, target, &recorder).await;
        stop.store(true, Ordering::Relaxed);
        measured
    };
    let (streamed, measured) = tokio::join!(stream, observe);
    streamed?;
    let mut result = measured?;
    let rows = setup.workload.keys * u64::from(setup.workload.other.is_none())
        + written.load(Ordering::Relaxed);
    result.correct = count(&database, view).await? == rows;
    database.close().await?;
    Ok(result)
}

async fn load(database: &mut Database, workload: &Workload) -> Result<u32> {
    let table = database.create(workload.table, 1).await?;
    let other = match workload.other {
        Some(sql) => Some(database.create(sql, 1).await?),
        None => None,
    };
    let mut first = 0;
    while first < workload.keys {
        let keys: Vec<u64> = (first..workload.keys.min(first + LOADED_ROWS)).collect();
        first += keys.len() as u64;
        match other {
            Some(other) => database.insert(other, workload.other_rows(&keys)).await?,
            None => {
                let created = vec![0; keys.len()];
                let rows = workload.rows(&keys, &created, keys[0]);
                database.insert(table, rows).await?;
            }
        }
    }
    database.engine.flush().await?;
    Ok(table)
}

/// Writes rows when they are due, until told to stop.
async fn stream(
    database: &Database,
    table: u32,
    setup: &RunSetup,
    recorder: &Recorder,
    stop: &AtomicBool,
    written: &AtomicU64,
) -> Result<()> {
    let mut keys = Keys::new(setup.workload.keys, setup.workload.skew, setup.seed);
    let origin = recorder.now() - setup.backlog;
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = ((recorder.now() - origin).as_secs_f64() * setup.rate as f64) as u64;
        if due <= next {
            tokio::time::sleep(TICK).await;
            continue;
        }
        let count = (due - next).min(STREAMED_ROWS_MAX);
        let created = |row: u64| {
            let after = Duration::from_secs_f64(row as f64 / setup.rate as f64);
            (origin + after).as_micros() as i64
        };
        let drawn: Vec<u64> = (0..count).map(|_| keys.next()).collect();
        let times: Vec<i64> = (next..next + count).map(created).collect();
        let rows = setup
            .workload
            .rows(&drawn, &times, setup.workload.keys + next);
        database.insert(table, rows).await?;
        next += count;
        written.store(next, Ordering::Relaxed);
        if due - next < setup.rate / 100 {
            tokio::time::sleep(TICK).await;
        }
    }
    Ok(())
}

async fn measure(
    database: &Database,
    view: u32,
    setup: &RunSetup,
    target: RescaleOptions,
    recorder: &Recorder,
) -> Result<RunResult> {
    tokio::time::sleep(WARM_UP).await;
    recorder.end_phase();
    tokio::time::sleep(setup.phase).await;
    let before = recorder.end_phase();
    let begin = recorder.on_line();
    let summary = match setup.strategy {
        Some(_) => {
            let (progress, _unread) = mpsc::unbounded_channel();
            let catalog = Box::new(|_| CatalogChange::default());
            Some(
                database
                    .engine
                    .rescale(view, target, catalog, progress)
                    .await?,
            )
        }
        None => None,
    };
    let end = recorder.on_line();
    // What waited is handled a little later, and belongs to the rescale.
    let peak = Duration::from_micros(before.handled.iter().map(|h| h.max()).max().unwrap_or(0));
    let later = peak.min(Duration::from_millis(500));
    tokio::time::sleep(later.max(DURING_MIN.saturating_sub(end - begin))).await;
    let measured = recorder.on_line() - begin;
    let during = recorder.end_phase();
    tokio::time::sleep(setup.phase).await;
    drop(recorder.end_phase());
    let line = recorder.time_line();
    let stable = line.stable_since(begin, peak.mul_f64(STABLE));
    Ok(RunResult {
        before,
        during,
        stable_after: stable.map(|at| at.saturating_sub(begin)),
        line,
        rescaled: (begin, end),
        measured,
        summary,
        correct: false,
    })
}

/// Rows of the stream that the view has, after all have come through.
async fn count(database: &Database, view: u32) -> Result<u64> {
    database.engine.flush().await?;
    let snapshot = database.engine.snapshot();
    let Some(table) = snapshot.tables.get(&view) else {
        return Err(Error::Internal("the view has no rows".to_owned()));
    };
    let mut total = 0;
    for batch in table.batches(None)? {
        let counted = batch.schema().index_of("n").ok();
        let counts = counted.and_then(|index| batch.column(index).as_primitive_opt::<Int64Type>());
        total += match counts {
            Some(counts) => counts.values().iter().sum::<i64>() as u64,
            None => batch.num_rows() as u64,
        };
    }
    Ok(total)
}
