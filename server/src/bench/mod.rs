//! `tidewater bench`: the real engine, measured in its own process.
//!
//! ```text
//!   workload ─ rows on schedule ─► engine (checkpoints on) ─► view
//!                                    │ every batch handled, every epoch published
//!                                    ▼
//!                                 recorder ─► JSON, Markdown, SVG
//! ```
//!
//! `rescale` measures what changing the parallelism costs, `nexmark` what keeping views costs, `guard`
//! whether that has become more.
//! Every strategy does the same work in one run, so that ratios mean something on a noisy machine.

mod cost;
mod database;
pub mod guard;
pub mod nexmark;
mod plot;
mod process;
mod recorder;
mod report;
pub mod rescale;
mod run;
mod simulation;
mod workload;

pub use guard::{GuardBench, bench_guard};
pub use nexmark::{NexmarkBench, bench_nexmark};
pub use rescale::{RescaleBench, bench_rescale};
