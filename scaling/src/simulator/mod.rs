//! A discrete-event simulation of one keyed fragment: the machines of this crate in virtual time.
//!
//! ```text
//!   sources ─► predecessors ═══════ regular channels ═══════► executors ─► committed epochs
//!              unsent queues         link, delay, credit       Migration, Scheduler
//!                  ▲                                              ║  ▲
//!                  ║ Switch, barriers                             ║  ║ migration channels, same link
//!              conductor: Coordinator ◄═ control path, lossy ═════╝  ╚═ state, re-routed rows
//! ```
//!
//! Time goes from event to event ([`Setup`] says how long each thing takes), so minutes of hundreds
//! of executors pass in seconds, and one set-up is one run, to the last event. All ways to scale
//! ([`crate::Strategy`]) run over the same links under the same barriers, and every row is measured
//! ([`Report`]). With [`Setup::checks`] the invariants are checked all along; `check.rs` lists them.
//!
//! What is left out: operators and their output, watermarks, more than one input, processors shared
//! by executors, links into an executor. A message is sent whole, so a small one may wait for a
//! large one on the same link. Rows of a message take effect together when it is read, and count as
//! processed one after the other from then on.
//!
//! Not here: the simulation of the same machines that takes random steps without time, which finds
//! more interleavings (`tests/sim`).

mod agenda;
mod check;
mod control;
mod epochs;
mod executor;
mod histogram;
mod measures;
mod message;
mod net;
mod plan;
mod predecessor;
mod random;
mod report;
mod settings;
mod setup;
mod skew;
mod world;

pub use check::Violation;
pub use histogram::Histogram;
pub use report::{Class, Latency, Report, ScalingReport, Series, Summary};
pub use setup::{Plan, Scaling, Setup};

/// Runs a set-up until all rows it makes are committed.
///
/// # Errors
/// [`Violation`] if an invariant does not hold, or the run comes to a state in which nothing can
/// happen any more. Where checks are off only those are found that the machines find themselves.
///
/// # Panics
/// If the set-up is none that could run: nobody to do the work, limits or rates of 0.
pub fn run(setup: &Setup) -> Result<Report, Violation> {
    world::World::new(setup).run()
}

#[cfg(test)]
mod tests;
