//! The time that paces sources: the seam behind which the only real clock of the operators is.

use std::time::Duration;

use tokio::time::Instant;

use crate::world;

/// Tells how much time has passed. A simulation or a test brings its own.
pub trait Clock: Send + Sync {
    /// Time since the clock was started. Never goes back.
    fn now(&self) -> Duration;
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
}
