//! The seeded simulation of the protocol: the machines of this crate under random interleavings.
//!
//! ```text
//!   SEEDS=n cargo test -p scaling --release --test sim -- --nocapture     n seeds (default 2000)
//!   SEED=0x… cargo test -p scaling --release --test sim -- --nocapture    one seed, its trace in words
//! ```
//!
//! There are two kinds of runs. A world (`world.rs`) of predecessors, executors, bounded channels
//! and a coordinator makes one random step after the other; what must hold is checked at every step
//! (`check.rs`). And random set-ups run in virtual time (`timed.rs`, `claims.rs`), by the simulator
//! of the crate. The same seed is the same run of each kind, to the last action.

#![expect(
    clippy::unwrap_used,
    reason = "a test panics where its own bookkeeping is broken"
)]

mod check;
mod choice;
mod claims;
mod epochs;
mod executor;
mod message;
mod plan;
mod predecessor;
mod random;
mod rules;
mod runs;
mod scenario;
mod timed;
mod trace;
mod world;
