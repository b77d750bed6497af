//! What executors measure of themselves: where their time goes, and which key groups take it.
//!
//! ```text
//!   busy           a message was handled
//!   backpressured  an output had no room
//!   suspended      input was there and none of it could be taken, because of a move
//!   idle           nothing to do
//! ```
//!
//! The meter reads the clock once a message, not once a row, and sums stand in arrays by key group:
//! measuring is done all the time and must cost next to nothing. An executor's sums go to the
//! conductor with each barrier, which keeps [`Decayed`] averages of them: the true rate of DS2
//! (Kalavri et al., OSDI 2018) is rows by *busy* second, so it is known although an executor
//! waits most of the time.
//!
//! Not here: what each operator takes of it (`operators`).

mod operators;

use std::time::Duration;

use scaling::KeyGroup;
use tokio::time::Instant;

use crate::change::ChangeBatch;
use crate::world;

pub(crate) use operators::{OperatorAverage, OperatorLoad, statuses};
pub use operators::{OperatorStatus, RowCounts, TableStatus};

/// Time constant of the averages.
const WINDOW: Duration = Duration::from_secs(5);

/// Why an executor waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Backpressured,
    Suspended,
    Idle,
}

/// Where an executor's time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Handling messages.
    pub busy: Duration,
    /// Waiting for room in an output.
    pub backpressured: Duration,
    /// Waiting with input that could not be taken because of a move.
    pub suspended: Duration,
    /// Waiting for input.
    pub idle: Duration,
}

/// What one key group cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KeyGroupLoad {
    /// Rows handled.
    pub rows: f64,
    /// Seconds of the executor: a message's time is shared out by rows.
    pub busy: f64,
}

/// An executor's measures since its last report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) times: Times,
    pub(crate) rows: u64,
    /// By key group, up to the highest one that had rows.
    pub(crate) key_groups: Vec<KeyGroupLoad>,
}

/// Measures one executor.
#[derive(Debug)]
pub(crate) struct Meter {
    mark: Instant,
    load: Load,
    /// Rows handled since the mark.
    handled: Vec<(KeyGroup, u32)>,
}

impl Meter {
    pub(crate) fn new() -> Meter {
        Meter {
            mark: world::now(),
            load: Load::default(),
            handled: Vec::new(),
        }
    }

    /// Notes rows that are being handled.
    pub(crate) fn handles(&mut self, batch: &ChangeBatch) {
        self.load.rows += batch.num_rows() as u64;
        let runs = batch.runs().iter();
        self.handled
            .extend(runs.map(|run| (run.key_group, run.rows.len() as u32)));
    }

    /// The time since the mark was work; returns it.
    pub(crate) fn worked(&mut self) -> Duration {
        let spent = self.lap();
        self.load.times.busy += spent;
        let rows: u64 = self.handled.iter().map(|(_, rows)| u64::from(*rows)).sum();
        let per_row = spent.as_secs_f64() / rows.max(1) as f64;
        for (key_group, rows) in self.handled.drain(..) {
            let load = at(&mut self.load.key_groups, key_group.index());
            load.rows += f64::from(rows);
            load.busy += per_row * f64::from(rows);
        }
        spent
    }

    /// The time since the mark was waiting.
    pub(crate) fn waited(&mut self, why: Wait) {
        let spent = self.lap();
        let times = &mut self.load.times;
        match why {
            Wait::Backpressured => times.backpressured += spent,
            Wait::Suspended => times.suspended += spent,
            Wait::Idle => times.idle += spent,
        }
    }

    /// The time since the mark was other tasks'.
    pub(crate) fn yielded(&mut self) {
        self.lap();
    }

    fn lap(&mut self) -> Duration {
        let now = world::now();
        let spent = now - self.mark;
        self.mark = now;
        spent
    }

    /// The measures since the last call.
    pub(crate) fn take(&mut self) -> Load {
        std::mem::take(&mut self.load)
    }
}

/// The entry at an index of an array that grows with what is asked for.
fn at<T: Default + Clone>(array: &mut Vec<T>, index: usize) -> &mut T {
    if index >= array.len() {
        array.resize(index + 1, T::default());
    }
    &mut array[index]
}

/// What is left of a sum after so many seconds.
fn kept_after(seconds: f64) -> f64 {
    (-seconds / WINDOW.as_secs_f64()).exp()
}

/// A sum over time in which what is long ago counts less.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decayed {
    sum: f64,
    seconds: f64,
}

impl Decayed {
    /// Adds what came in the last `seconds`.
    pub(crate) fn add(&mut self, amount: f64, seconds: f64) {
        let mut time = Passed::default();
        time.add(seconds);
        self.pass(&time);
        self.sum += amount;
    }

    /// Adds nothing for a time.
    fn pass(&mut self, time: &Passed) {
        self.sum *= time.kept;
        self.seconds = self.seconds * time.kept + time.seconds;
    }

    /// The amount a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.sum / self.seconds
        } else {
            0.0
        }
    }
}

/// Time that sums have not been told of yet: what it leaves of them, and what of itself still
/// counts.
#[derive(Debug, Clone, Copy)]
struct Passed {
    kept: f64,
    seconds: f64,
}

impl Default for Passed {
    fn default() -> Passed {
        Passed {
            kept: 1.0,
            seconds: 0.0,
        }
    }
}

impl Passed {
    fn add(&mut self, seconds: f64) {
        let kept = kept_after(seconds);
        self.kept *= kept;
        self.seconds = self.seconds * kept + seconds;
    }
}

/// The averages of one executor.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadAverage {
    busy: Decayed,
    backpressured: Decayed,
    suspended: Decayed,
    rows: Decayed,
    /// In the order of the plan.
    operators: Vec<OperatorAverage>,
    /// Rows and busy seconds, by key group, as of the last time that any had rows.
    key_groups: Vec<(Decayed, Decayed)>,
    /// Time since then.
    passed: Passed,
}

impl LoadAverage {
    pub(crate) fn add(&mut self, load: &Load, operators: Vec<OperatorLoad>) {
        let Times {
            busy,
            backpressured,
            suspended,
            idle,
        } = load.times;
        let seconds = (busy + backpressured + suspended + idle).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        self.busy.add(busy.as_secs_f64(), seconds);
        self.backpressured.add(backpressured.as_secs_f64(), seconds);
        self.suspended.add(suspended.as_secs_f64(), seconds);
        self.rows.add(load.rows as f64, seconds);
        self.operators
            .resize_with(operators.len(), OperatorAverage::default);
        for (average, load) in self.operators.iter_mut().zip(operators) {
            average.add(load, seconds);
        }
        self.passed.add(seconds);
        let Some(last) = load.key_groups.len().checked_sub(1) else {
            return;
        };
        at(&mut self.key_groups, last);
        let passed = std::mem::take(&mut self.passed);
        for (rows, busy) in &mut self.key_groups {
            rows.pass(&passed);
            busy.pass(&passed);
        }
        for ((rows, busy), load) in self.key_groups.iter_mut().zip(&load.key_groups) {
            rows.sum += load.rows;
            busy.sum += load.busy;
        }
    }

    /// Shares of the time, from 0 to 1: busy, backpressured, suspended.
    pub(crate) fn shares(&self) -> (f64, f64, f64) {
        (
            self.busy.rate(),
            self.backpressured.rate(),
            self.suspended.rate(),
        )
    }

    /// Rows handled a second.
    pub(crate) fn row_rate(&self) -> f64 {
        self.rows.rate()
    }

    /// By operator, in the order of the plan.
    pub(crate) fn operators(&self) -> &[OperatorAverage] {
        &self.operators
    }

    /// Rows and busy seconds of a key group, a second.
    pub(crate) fn key_group(&self, key_group: KeyGroup) -> KeyGroupLoad {
        let Some(&(mut rows, mut busy)) = self.key_groups.get(key_group.index()) else {
            return KeyGroupLoad::default();
        };
        rows.pass(&self.passed);
        busy.pass(&self.passed);
        KeyGroupLoad {
            rows: rows.rate(),
            busy: busy.rate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_forgets() {
        let mut average = Decayed::default();
        assert_eq!(average.rate(), 0.0);
        for _ in 0..100 {
            average.add(10.0, 0.1);
        }
        assert!((average.rate() - 100.0).abs() < 1e-6);
        for _ in 0..500 {
            average.add(0.0, 0.1);
        }
        assert!(average.rate() < 1.0);
    }

    #[test]
    fn a_key_group_that_gets_no_more_rows_cools_down() {
        let second = |rows: f64| {
            let mut load = Load {
                rows: rows as u64,
                ..Load::default()
            };
            load.times.busy = Duration::from_millis(500);
            load.times.idle = Duration::from_millis(500);
            if rows > 0.0 {
                let busy = 0.5;
                *at(&mut load.key_groups, 3) = KeyGroupLoad { rows, busy };
            }
            load
        };
        let mut average = LoadAverage::default();
        average.add(&second(100.0), Vec::new());
        assert_eq!(average.shares().0, 0.5);
        assert_eq!(average.key_group(KeyGroup(3)).rows, 100.0);
        average.add(&second(0.0), Vec::new());
        assert!(average.key_group(KeyGroup(3)).rows < 60.0);
        assert_eq!(average.key_group(KeyGroup(4)).rows, 0.0);
    }
}
