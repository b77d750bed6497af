//! The seeded simulation of the protocol: the machines of this crate under random interleavings.
//!
//! ```text
//!   SEEDS=n cargo test -p scaling --test sim -- --nocapture     n seeds (default 2000)
//!   SEED=0x… cargo test -p scaling --test sim -- --nocapture    one seed, its trace in words
//! ```
//!
//! A world (`world.rs`) of predecessors, executors, bounded channels and a coordinator makes one
//! random step after the other; what must hold is checked at every step (`check.rs`). The same seed
//! is the same run, to the last action.

#![expect(
    clippy::unwrap_used,
    reason = "a test panics where its own bookkeeping is broken"
)]

mod check;
mod choice;
mod epochs;
mod executor;
mod message;
mod plan;
mod predecessor;
mod random;
mod rules;
mod runs;
mod scenario;
mod trace;
mod world;
