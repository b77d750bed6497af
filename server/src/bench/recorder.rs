//! What rows went through: when each was handled, and when its epoch became visible.
//!
//! Latency is measured on real rows, by class: rows of key groups that move, and the others
//! (drrs.md section 0, D12). A row's time starts when it was due, not when it could be written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use executor::HandledBatch;
use hdrhistogram::Histogram;
use scaling::{Epoch, KeyGroupSet};

/// Width of a bucket of the time line.
const BUCKET: Duration = Duration::from_millis(50);
/// How late a row may be when the stream begins.
const LATE_MAX: Duration = Duration::from_secs(3600);
/// The longest latency that is told apart: five minutes.
const LATENCY_MAX_MICROS: u64 = 300_000_000;

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Moving = 0,
    Others = 1,
}

/// Latencies of one bucket of the time line, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    pub(super) rows: u64,
    pub(super) sum: u64,
    pub(super) max: u64,
}

impl Bucket {
    pub(super) fn add(&mut self, rows: u64, sum: u64, max: u64) {
        self.rows += rows;
        self.sum += sum;
        self.max = self.max.max(max);
    }
}

/// Latencies from the time a row was due.
#[derive(Clone, Debug)]
pub(super) struct TimeLine {
    /// Width of a bucket.
    pub(super) bucket: Duration,
    /// By when the rows were handled.
    pub(super) handled: [Vec<Bucket>; 2],
    /// By when their epochs became visible.
    pub(super) visible: Vec<Bucket>,
}

impl TimeLine {
    /// Since when, at or after `from`, no row took longer than `limit`.
    pub(super) fn stable_since(&self, from: Duration, limit: Duration) -> Option<Duration> {
        let limit = limit.as_micros() as u64;
        let first = (from.as_micros() / self.bucket.as_micros()) as usize;
        let length = self.handled.iter().map(Vec::len).max().unwrap_or(0);
        let slow = |index: usize| {
            let buckets = self.handled.iter().filter_map(|line| line.get(index));
            buckets.map(|bucket| bucket.max).max().unwrap_or(0) > limit
        };
        match (first..length).rev().find(|index| slow(*index)) {
            None => Some(from),
            Some(last) if last + 1 < length => Some(self.bucket * (last as u32 + 1)),
            Some(_) => None,
        }
    }
}

/// The part of an epoch that is not visible yet.
#[derive(Default)]
struct Pending {
    rows: u64,
    created_sum: i64,
    created_min: i64,
}

struct State {
    moving: KeyGroupSet,
    line: TimeLine,
    /// Of rows handled in the phase under way.
    phase: [Histogram<u64>; 2],
    visible_phase: Histogram<u64>,
    pending: BTreeMap<Epoch, Pending>,
    last_visible: Option<Duration>,
    silence_max: Duration,
    rows: u64,
}

/// Latencies of one phase of a run.
#[derive(Clone, Debug)]
pub(super) struct PhaseLatency {
    pub(super) handled: [Histogram<u64>; 2],
    pub(super) visible: Histogram<u64>,
    /// The longest time between two epochs.
    pub(super) silence_max: Duration,
    /// Rows handled.
    pub(super) rows: u64,
}

/// Sees every batch of one job's fragments and every epoch.
pub(super) struct Recorder {
    start: Instant,
    state: Mutex<State>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_MICROS, 3).expect("the bounds are valid")
}

impl Recorder {
    pub(super) fn new() -> Arc<Recorder> {
        Arc::new(Recorder {
            start: Instant::now(),
            state: Mutex::new(State {
                moving: KeyGroupSet::new(),
                line: TimeLine {
                    bucket: BUCKET,
                    handled: Default::default(),
                    visible: Vec::new(),
                },
                phase: [histogram(), histogram()],
                visible_phase: histogram(),
                pending: BTreeMap::new(),
                last_visible: None,
                silence_max: Duration::ZERO,
                rows: 0,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, as rows have it in `created`: never 0, and late rows have one too.
    pub(super) fn now(&self) -> Duration {
        LATE_MAX + self.start.elapsed()
    }

    /// The time, as the time line has it.
    pub(super) fn on_line(&self) -> Duration {
        self.start.elapsed()
    }

    /// Names the key groups that will move.
    pub(super) fn will_move(&self, key_groups: KeyGroupSet) {
        self.lock().moving = key_groups;
    }

    /// Takes a batch; rows without a creation time (0) were loaded beforehand.
    pub(super) fn handled(&self, seen: &HandledBatch<'_>) {
        let columns = seen.batch.columns();
        let schema = columns.schema();
        let is_created = |name: &str| name == "created" || name.ends_with(".created");
        let Some(index) = schema.fields().iter().position(|f| is_created(f.name())) else {
            return;
        };
        let Some(created) = columns.column(index).as_primitive_opt::<Int64Type>() else {
            return;
        };
        let now = self.now();
        let micros = now.as_micros() as i64;
        let mut state = self.lock();
        let state = &mut *state;
        for run in seen.batch.runs().iter() {
            let class = if state.moving.contains(run.key_group) {
                Class::Moving
            } else {
                Class::Others
            };
            let (mut rows, mut sum, mut max) = (0, 0, 0);
            let pending = state.pending.entry(seen.epoch).or_default();
            for created in &created.values()[run.rows.clone()] {
                if *created <= 0 {
                    continue;
                }
                let latency = (micros - created).max(1) as u64;
                state.phase[class as usize].saturating_record(latency);
                (rows, sum, max) = (rows + 1, sum + latency, max.max(latency));
                if pending.rows == 0 || *created < pending.created_min {
                    pending.created_min = *created;
                }
                pending.rows += 1;
                pending.created_sum += created;
            }
            if rows > 0 {
                state.rows += rows;
                bucket(&mut state.line.handled[class as usize], now).add(rows, sum, max);
            }
        }
    }

    /// Takes an epoch that has just become visible.
    pub(super) fn visible(&self, epoch: Epoch) {
        let now = self.now();
        let micros = now.as_micros() as i64;
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(last) = state.last_visible.replace(now) {
            state.silence_max = state.silence_max.max(now - last);
        }
        let later = state.pending.split_off(&epoch.next());
        for pending in std::mem::replace(&mut state.pending, later).into_values() {
            if pending.rows == 0 {
                continue;
            }
            let max = (micros - pending.created_min).max(1) as u64;
            let sum = micros * pending.rows as i64 - pending.created_sum;
            bucket(&mut state.line.visible, now).add(pending.rows, sum.max(0) as u64, max);
            let mean = sum.max(0) as u64 / pending.rows;
            state
                .visible_phase
                .saturating_record_n(mean.max(1), pending.rows);
            state.visible_phase.saturating_record(max);
        }
    }

    /// Ends a phase and begins the next.
    pub(super) fn end_phase(&self) -> PhaseLatency {
        let mut state = self.lock();
        PhaseLatency {
            handled: std::mem::replace(&mut state.phase, [histogram(), histogram()]),
            visible: std::mem::replace(&mut state.visible_phase, histogram()),
            silence_max: std::mem::take(&mut state.silence_max),
            rows: std::mem::take(&mut state.rows),
        }
    }

    /// Everything by time.
    pub(super) fn time_line(&self) -> TimeLine {
        self.lock().line.clone()
    }
}

fn bucket(line: &mut Vec<Bucket>, at: Duration) -> &mut Bucket {
    let index = ((at - LATE_MAX).as_micros() / BUCKET.as_micros()) as usize;
    if index >= line.len() {
        line.resize(index + 1, Bucket::default());
    }
    &mut line[index]
}
