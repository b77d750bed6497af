//! The time that paces sources, and that of epochs: the seam behind which the only real clock of the
//! operators is.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::world;

/// Tells how much time has passed. A simulation or a test brings its own.
pub trait Clock: Send + Sync {
    /// Time since the clock was started. Never goes back.
    fn now(&self) -> Duration;

    /// The time of day, in microseconds since 1970: what `now()` is in views. If it goes back they
    /// wait for it.
    fn time_of_day(&self) -> i64;
}

/// The process's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: world::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        world::now() - self.start
    }

    fn time_of_day(&self) -> i64 {
        let since = world::wall_clock().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_micros().try_into().unwrap_or(i64::MAX))
    }
}
