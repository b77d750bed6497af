//! Sources: operators that produce rows of their own, and the clock that paces them.

mod clock;
pub mod events;
pub mod nexmark;

pub use clock::{Clock, SystemClock};
pub use events::NexmarkEvents;
pub use nexmark::Nexmark;
