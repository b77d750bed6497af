//! `tidewater bench nexmark`: what keeping the NEXMark queries up to date costs, beside what
//! computing them once costs.
//!
//! ```text
//!   events in memory ─┬─► engine, parallelism 1 and 2, checkpoints on ─► view     maintain
//!                     ├─► DataFusion, once                                        batch
//!                     └─► a loop by hand, once, for some queries                  limit
//! ```
//!
//! The figure that does not depend on who else uses the machine is processor time.

mod batch;
mod limit;
pub(super) mod maintain;
pub(super) mod queries;
mod report;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use executor::sources::NexmarkEvents;

use self::batch::compute;
use self::maintain::{Checkpoints, Maintained, Pace, maintain};
use self::queries::{QUERIES, Query};
use self::report::{Figures, Runs, markdown, plot};
use super::process::processor_time;
use crate::error::{Error, Result};

/// Seconds of the run that measures freshness.
const PACED_SECONDS: f64 = 5.0;

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct NexmarkBench {
    /// Queries, separated by commas [default: all of them]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    queries: Vec<String>,
    /// Events of all kinds
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    events: u64,
    /// Repetitions, of which medians are taken
    #[arg(long, default_value_t = 1, value_name = "N")]
    repetitions: usize,
    /// Directory for nexmark.json, nexmark.md and nexmark.svg
    #[arg(long, default_value = "bench-results", value_name = "DIR")]
    out: PathBuf,
}

impl NexmarkBench {
    fn chosen(&self) -> Result<Vec<Query>> {
        if self.queries.is_empty() {
            return Ok(QUERIES.to_vec());
        }
        let named = |name: &String| {
            Query::named(name).ok_or_else(|| Error::InvalidValue {
                message: format!("there is no query \"{name}\""),
                hint: Some("Queries are q0 to q22.".to_owned()),
            })
        };
        self.queries.iter().map(named).collect()
    }
}

/// Runs the benchmark and writes its results.
///
/// # Errors
/// For unknown names, and if a run fails or a file cannot be written.
pub async fn bench_nexmark(bench: &NexmarkBench) -> Result<()> {
    let queries = bench.chosen()?;
    let cannot_write = |path: &PathBuf, source| Error::Io {
        what: format!("cannot write {}", path.display()),
        source,
    };
    std::fs::create_dir_all(&bench.out).map_err(|error| cannot_write(&bench.out, error))?;
    say(&format!("generating {} events", bench.events));
    let count = bench.events;
    let events = tokio::task::spawn_blocking(move || NexmarkEvents::generate(count)).await;
    let events = events.map_err(|error| Error::Internal(error.to_string()))??;
    let events = Arc::new(events);
    let mut all = Vec::new();
    for (done, query) in (1..).zip(&queries) {
        let figures = measure(bench, *query, &events).await?;
        say(&format!("[{done}/{}] {}", queries.len(), figures.line()));
        all.push(figures);
    }
    let text = markdown(&super::rescale::command_line(), bench.events, &all);
    let json = serde_json::to_string_pretty(&all);
    let json = json.map_err(|error| Error::Internal(error.to_string()))?;
    for (name, content) in [("nexmark.json", &json), ("nexmark.md", &text)] {
        let path = bench.out.join(name);
        std::fs::write(&path, content).map_err(|error| cannot_write(&path, error))?;
    }
    plot(&bench.out.join("nexmark.svg"), &all)?;
    say(&text);
    Ok(())
}

/// One query, every way in turn, so that a slow minute of the machine hits all of them.
async fn measure(
    bench: &NexmarkBench,
    query: Query,
    events: &Arc<NexmarkEvents>,
) -> Result<Figures> {
    let mut runs = Runs::default();
    let run = |parallelism, checkpoints| {
        maintain(
            query,
            events,
            bench.events,
            parallelism,
            Pace::Free,
            checkpoints,
        )
    };
    for _ in 0..bench.repetitions.max(1) {
        runs.one.push(run(1, Checkpoints::On).await?);
        runs.two.push(run(2, Checkpoints::On).await?);
        runs.unkept.push(run(1, Checkpoints::Off).await?);
        runs.once.push(compute(query, events, 1).await?);
        runs.by_hand.extend(limit(query, events).await?);
    }
    let rate = rate_of(&runs.two, bench.events).max(rate_of(&runs.one, bench.events)) / 2.0;
    let paced = bench.events.min((rate * PACED_SECONDS) as u64);
    let pace = Pace::EventsPerSecond(rate);
    let fresh = maintain(query, events, paced, 2, pace, Checkpoints::On).await?;
    Ok(Figures::new(query, bench.events, &runs, &fresh.freshness))
}

/// The highest of the runs' rates, events a second.
fn rate_of(runs: &[Maintained], events: u64) -> f64 {
    let rates = runs
        .iter()
        .map(|run| events as f64 / run.clock.as_secs_f64());
    rates.fold(0.0, f64::max)
}

/// Seconds of a loop by hand, if there is one.
async fn limit(query: Query, events: &Arc<NexmarkEvents>) -> Result<Option<f64>> {
    let events = Arc::clone(events);
    let run = tokio::task::spawn_blocking(move || {
        let (began, processor) = (Instant::now(), processor_time()?);
        let answered = limit::answer(query.name, &events).is_some();
        // The clock where the steps of processor time are too coarse.
        let spent = (processor_time()? - processor).min(began.elapsed());
        let seconds = match spent.as_millis() {
            0..200 => began.elapsed(),
            _ => spent,
        };
        Ok(answered.then_some(seconds.as_secs_f64()))
    });
    run.await
        .map_err(|error| Error::Internal(error.to_string()))?
}

fn say(line: &str) {
    // Nobody may be reading.
    drop(writeln!(std::io::stdout(), "{line}"));
}
