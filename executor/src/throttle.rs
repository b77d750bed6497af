//! How fast a job may read the rows that existed when it was created: all of its executors together.
//!
//! A bucket fills with the time, up to a tenth of a second's rows; a scan takes what it is about to
//! read out of it. It is looked at once for some thousand rows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::world;

/// Stands for no limit.
const UNLIMITED: u64 = u64::MAX;
/// Part of a second whose rows may come at once.
const BURST: f64 = 0.1;

/// A limit of rows a second, which may change at any time.
#[derive(Debug)]
pub struct Throttle {
    limit: AtomicU64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    rows: f64,
    filled: Instant,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle::new(None)
    }
}

impl Throttle {
    /// A limit of so many rows a second; with 0 there come none.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Throttle {
        Throttle {
            limit: AtomicU64::new(limit.unwrap_or(UNLIMITED)),
            bucket: Mutex::new(Bucket {
                rows: 0.0,
                filled: world::now(),
            }),
        }
    }

    /// Changes the limit; whoever waits looks again after some milliseconds.
    pub(crate) fn set(&self, limit: Option<u64>) {
        self.limit
            .store(limit.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit != UNLIMITED).then_some(limit)
    }

    /// How many rows may be read now, of `wanted`.
    pub(crate) fn take(&self, wanted: usize) -> usize {
        let Some(limit) = self.limit() else {
            return wanted;
        };
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(limit, wanted, world::now())
    }

    /// Puts back what was taken and not read.
    pub(crate) fn give_back(&self, rows: usize) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.rows += rows as f64;
    }
}

impl Bucket {
    fn take(&mut self, limit: u64, wanted: usize, now: Instant) -> usize {
        let seconds = (now - self.filled).as_secs_f64();
        self.filled = now;
        let full = match limit {
            0 => 0.0,
            limit => (limit as f64 * BURST).max(1.0),
        };
        self.rows = (self.rows + seconds * limit as f64).min(full);
        let taken = self.rows.floor().min(wanted as f64);
        self.rows -= taken;
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rows_come_at_the_rate_asked_for() {
        let mut now = world::now();
        let mut bucket = Bucket {
            rows: 0.0,
            filled: now,
        };
        let mut taken = 0;
        for _ in 0..300 {
            now += Duration::from_millis(10);
            taken += bucket.take(1000, 4096, now);
        }
        assert!((2999..=3000).contains(&taken), "{taken}");
        // What was not asked for in time is not made up for.
        now += Duration::from_secs(60);
        assert_eq!(bucket.take(1000, 4096, now), 100);
        assert_eq!(bucket.take(1000, 4096, now), 0);
        // A row a second is not a tenth of a row at a time.
        now += Duration::from_millis(1100);
        assert_eq!(bucket.take(1, 4096, now), 1);
        now += Duration::from_secs(60);
        assert_eq!(bucket.take(0, 4096, now), 0);
    }

    #[test]
    fn a_limit_changes_at_any_time() {
        let throttle = Throttle::new(Some(0));
        assert_eq!(throttle.take(4096), 0);
        throttle.set(None);
        assert_eq!(throttle.take(4096), 4096);
        throttle.set(Some(7));
        assert_eq!(throttle.limit(), Some(7));
    }
}
