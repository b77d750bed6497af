//! `kill -9` of the real server at every crash point, under load and while views are rescaled.
//!
//! ```text
//!   a run: { before, after } of a step × { first, second, last } time
//!
//!   server, one point armed ─► load: writes, transactions, DDL, rescales ─► it ends itself there
//!   server again ─► every table and view is what a model outside says ─► the next run goes on with it
//! ```
//!
//! The model knows what was acknowledged. What was under way may have happened, as a whole, or not.
//! The table of points is `storage::crash::POINTS`. How often each of them is reached is counted
//! first; one that is never reached fails the run. The last time is that count, and less where a
//! run has fewer, as the number of epochs depends on the machine.
//!
//! `SEED=n` draws other statements, and another share for the quick test.

#![allow(clippy::print_stdout, reason = "the figures of the run")]

mod load;
mod model;
mod power;
mod runs;

use runs::{Run, count, plan, play};

/// How many runs the quick test has.
const SHARE: usize = 14;

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// All points are reached, and the server is killed at some of them: each seed takes others.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_crash_points() {
    let seed = seed();
    let all = plan(&count(seed).await);
    let every = all.len().div_ceil(SHARE);
    let share = all.into_iter().skip(seed as usize % every).step_by(every);
    play(share.collect(), seed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: make crash"]
async fn every_crash_point() {
    let seed = seed();
    let mut all: Vec<Run> = plan(&count(seed).await);
    if let Ok(only) = std::env::var("ONLY") {
        all.retain(|run| run.point.contains(&only));
    }
    play(all, seed).await;
}
