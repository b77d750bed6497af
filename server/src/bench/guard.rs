//! `tidewater bench guard`: what keeping views costs in instructions, against committed figures.
//!
//! ```text
//!   callgrind ─► tidewater bench guard --run q4       ─► instructions ─┐
//!   callgrind ─► tidewater bench guard --run nothing  ─► instructions ─┴─► their difference, an event
//! ```
//!
//! Instructions are nearly the same from run to run on an idle machine (4 % apart), so a loss of ten percent shows.
//! On a busy one they are up to a quarter more: how much is sent at once follows the time that it takes.
//! The run of nothing opens an engine with the same events and no view: what is left is the view.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use executor::sources::NexmarkEvents;
use executor::{Engine, EngineOptions};

use super::database::Database;
use super::nexmark::maintain::{Pace, catch_up, create_inputs, create_view};
use super::nexmark::queries::Query;
use crate::error::{Error, Result};

/// What is measured: an expression, joins with an aggregation above, windows, many groups.
const GUARDED: [&str; 5] = ["q1", "q4", "q5", "q8", "q17"];
/// The run without a view.
const NOTHING: &str = "nothing";
/// Events of a run.
const EVENTS: u64 = 50_000;
/// The least of so many runs counts, where one alone is too much.
const TRIES: u32 = 3;
/// What a figure may be above the committed one.
const LOSS_MAX: f64 = 1.10;
/// Longer than any run: barriers come when they are asked for, so all runs have the same.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// What to do.
#[derive(Args, Clone, Debug)]
pub struct GuardBench {
    /// The figures to compare with, in JSON: instructions an event, by query
    #[arg(
        long,
        default_value = "server/src/bench/guard.json",
        value_name = "FILE"
    )]
    figures: PathBuf,
    /// Write what is measured as the figures to compare with
    #[arg(long)]
    write: bool,
    /// What callgrind counts: one query, or "nothing"
    #[arg(long, hide = true, value_name = "NAME")]
    run: Option<String>,
}

/// Counts, and compares.
///
/// # Errors
/// If valgrind is missing, a run fails, or a figure is more than 10 % above the committed one.
pub async fn bench_guard(bench: &GuardBench) -> Result<()> {
    if let Some(name) = &bench.run {
        return run(name).await;
    }
    let committed = match bench.write {
        true => BTreeMap::new(),
        false => read(&bench.figures)?,
    };
    let without = instructions(NOTHING)?;
    let (mut measured, mut lost) = (BTreeMap::new(), Vec::new());
    for name in GUARDED {
        let measure = || Ok::<u64, Error>(instructions(name)?.saturating_sub(without) / EVENTS);
        let before = committed.get(name);
        let ratio_of = |figure: u64| before.map(|before| figure as f64 / *before as f64);
        let mut figure = measure()?;
        // Barriers while the view is created come when they come, and only add.
        for _ in 1..TRIES {
            if bench.write || ratio_of(figure).is_some_and(|ratio| ratio > LOSS_MAX) {
                figure = figure.min(measure()?);
            }
        }
        let ratio = ratio_of(figure);
        let compared = ratio.map_or_else(String::new, |ratio| format!(", {ratio:.3} times before"));
        say(&format!(
            "{name:<4} {figure:>6} instructions an event{compared}"
        ));
        if ratio.is_some_and(|ratio| ratio > LOSS_MAX) {
            lost.push(name);
        }
        measured.insert(name, figure);
    }
    if bench.write {
        let text = serde_json::to_string_pretty(&measured);
        let text = text.map_err(|error| Error::Internal(error.to_string()))?;
        return std::fs::write(&bench.figures, text + "\n").map_err(|e| io(bench, "write", e));
    }
    match lost.as_slice() {
        [] => Ok(()),
        lost => Err(Error::Internal(format!(
            "{} cost more than 10 % above {}",
            lost.join(", "),
            bench.figures.display()
        ))),
    }
}

fn read(path: &PathBuf) -> Result<BTreeMap<String, u64>> {
    let what = format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        what: what.clone(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| Error::Configuration(format!("{what}: {error}")))
}

fn io(bench: &GuardBench, verb: &str, source: std::io::Error) -> Error {
    Error::Io {
        what: format!("cannot {verb} {}", bench.figures.display()),
        source,
    }
}

/// What a run of this program takes, by callgrind.
fn instructions(name: &str) -> Result<u64> {
    let failed = |source| Error::Io {
        what: "cannot run valgrind".to_owned(),
        source,
    };
    let program = std::env::current_exe().map_err(failed)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["bench", "guard", "--run", name])
        // One thread, so that nothing depends on who is first.
        .env("TOKIO_WORKER_THREADS", "1")
        .output()
        .map_err(failed)?;
    let told = String::from_utf8_lossy(&output.stderr);
    let count = told.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected : ")?;
        count.trim().parse().ok()
    });
    count
        .filter(|_| output.status.success())
        .ok_or_else(|| Error::Internal(format!("callgrind counted nothing of {name}:\n{told}")))
}

/// All events through a view, in one epoch.
async fn run(name: &str) -> Result<()> {
    let events = tokio::task::spawn_blocking(|| NexmarkEvents::generate(EVENTS)).await;
    let events = events.map_err(|error| Error::Internal(error.to_string()))??;
    let events = Arc::new(events);
    let options = EngineOptions {
        nexmark_events: Some(Arc::clone(&events)),
        barrier_interval: NEVER,
        checkpoint_interval: NEVER,
        ..EngineOptions::default()
    };
    let mut database = Database::open(options).await?;
    let engine = database.engine.clone();
    with_barriers(&engine, create_inputs(&mut database, EVENTS, Pace::Free)).await?;
    if let Some(query) = Query::named(name) {
        with_barriers(&engine, create_view(&mut database, query, 1)).await?;
        catch_up(&database, &events).await?;
    }
    database.close().await
}

/// Does work that waits for barriers, of which none comes by itself: one follows the other.
async fn with_barriers<T>(engine: &Engine, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            flushed = engine.flush() => drop(flushed?),
        }
    }
}

fn say(line: &str) {
    // Nobody may be reading.
    drop(writeln!(std::io::stdout(), "{line}"));
}
