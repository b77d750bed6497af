//! How much a lane may hold: what its receiver reads in a stated time.
//!
//! ```text
//!   a message came behind `ahead` bytes and was read after `waited`
//!       ─► the lane drains ahead / waited bytes a second
//!       ─► its credit becomes what it drains in QUEUEING
//! ```
//!
//! A barrier waits behind all rows in front of it at every hop. With a fixed credit in bytes that
//! is short on a fast lane and long on a slow one, above all under a backlog, when every lane is
//! full; a rescale, which needs barriers to open and to close, would then take as long as they do.
//! This is what buffer debloating does in Flink. A lane that is hardly used says nothing of its
//! speed and keeps its credit, so that it can take a burst.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long what a lane holds may take to be read.
const QUEUEING: Duration = Duration::from_millis(4);
/// The least credit, in bytes of rows: a few batches, so that sender and receiver can overlap.
pub(crate) const CREDIT_MIN: u64 = 32 << 10;
/// The most, and what a new lane has: some ten default batches of 1,024 narrow rows.
pub(crate) const CREDIT_MAX: u64 = 1 << 20;
/// A new measurement counts for one in so many.
const MEMORY: u64 = 4;

/// A lane's credit in bytes.
#[derive(Debug)]
pub(crate) struct Credit(AtomicU64);

impl Credit {
    pub(crate) fn new() -> Credit {
        Credit(AtomicU64::new(CREDIT_MAX))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns from a message that was read: bytes that were in the lane once it was sent, itself
    /// included, and the time until it was read.
    pub(crate) fn learn(&self, ahead: u64, waited: Duration) {
        if ahead < CREDIT_MIN {
            return;
        }
        let drained = ahead as f64 / waited.as_secs_f64().max(1e-9);
        let fits = (drained * QUEUEING.as_secs_f64()).min(CREDIT_MAX as f64) as u64;
        let credit = (self.bytes() * (MEMORY - 1) + fits) / MEMORY;
        self.0.store(credit.max(CREDIT_MIN), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_what_drains_in_time() {
        let credit = Credit::new();
        // 50 MB/s: 200 KB in 4 ms.
        for _ in 0..50 {
            credit.learn(1 << 20, Duration::from_secs_f64((1 << 20) as f64 / 50e6));
        }
        assert!((190_000..210_000).contains(&credit.bytes()), "{credit:?}");
        for _ in 0..50 {
            credit.learn(100_000, Duration::from_secs(1));
        }
        assert_eq!(credit.bytes(), CREDIT_MIN);
        for _ in 0..50 {
            credit.learn(CREDIT_MIN, Duration::from_micros(10));
        }
        assert!(credit.bytes() > CREDIT_MAX * 9 / 10);
    }

    #[test]
    fn a_lane_that_is_hardly_used_keeps_its_credit() {
        let credit = Credit::new();
        credit.learn(1000, Duration::from_secs(1));
        assert_eq!(credit.bytes(), CREDIT_MAX);
    }
}
