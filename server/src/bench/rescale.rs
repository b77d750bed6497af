//! `tidewater bench rescale`: every strategy on the same work, in one run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use scaling::Strategy;

use super::plot::{Panel, latency_over_time};
use super::report::{Figures, figures, markdown};
use super::run::{RunSetup, run};
use super::workload::{WORKLOADS, Workload};
use crate::error::{Error, Result};

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct RescaleBench {
    /// Workloads, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    workloads: Vec<String>,
    /// Strategies, separated by commas; "none" runs without a rescale [default: all, and none]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    strategies: Vec<String>,
    /// Repetitions, of which medians are taken
    #[arg(long, default_value_t = 5, value_name = "N")]
    repetitions: usize,
    /// Executors before
    #[arg(long, default_value_t = 2, value_name = "N")]
    from: usize,
    /// Executors after
    #[arg(long, default_value_t = 4, value_name = "N")]
    to: usize,
    /// Rows a second
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    rate: u64,
    /// Keys that are loaded beforehand [default: the workload's]
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Encode every row and state and send them over loopback sockets, this many MB/s an executor
    #[arg(long, value_name = "MB/S", num_args = 0..=1, default_missing_value = "50")]
    wire: Option<u64>,
    /// Seconds of input that are late already when the stream begins
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    backlog: u64,
    /// Seconds measured before and after the rescale
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    phase: u64,
    /// The longest pause to keep to, in milliseconds
    #[arg(long, value_name = "MS")]
    max_pause: Option<u64>,
    /// Directory for rescale.json, rescale.md and the plots
    #[arg(long, default_value = "bench-results", value_name = "DIR")]
    out: PathBuf,
}

impl RescaleBench {
    fn workloads(&self) -> Result<Vec<Workload>> {
        let mut chosen = if self.workloads.is_empty() {
            WORKLOADS.to_vec()
        } else {
            let named = |name: &String| {
                let known: Vec<_> = WORKLOADS.iter().map(|w| w.name).collect();
                Workload::named(name).ok_or_else(|| Error::InvalidValue {
                    message: format!("there is no workload \"{name}\""),
                    hint: Some(format!("Workloads are {}.", known.join(", "))),
                })
            };
            self.workloads.iter().map(named).collect::<Result<_>>()?
        };
        for workload in &mut chosen {
            workload.keys = self.keys.unwrap_or(workload.keys);
        }
        Ok(chosen)
    }

    fn strategies(&self) -> Result<Vec<Option<Strategy>>> {
        if self.strategies.is_empty() {
            let all = Strategy::ALL.into_iter().map(Some);
            return Ok([None].into_iter().chain(all).collect());
        }
        let named = |name: &String| match name.as_str() {
            "none" => Ok(None),
            name => name.parse().map(Some).map_err(|error| Error::InvalidValue {
                message: format!("{error}"),
                hint: Some(format!(
                    "Strategies are {}.",
                    Strategy::ALL.map(Strategy::name).join(", ")
                )),
            }),
        };
        self.strategies.iter().map(named).collect()
    }

    fn setup(&self, workload: Workload, strategy: Option<Strategy>, seed: u64) -> RunSetup {
        RunSetup {
            workload,
            strategy,
            from: self.from,
            to: self.to,
            rate: self.rate,
            link: self.wire.map(|megabytes| megabytes * 1_000_000),
            backlog: Duration::from_secs(self.backlog),
            phase: Duration::from_secs(self.phase),
            max_pause: self.max_pause.map(Duration::from_millis),
            seed,
        }
    }
}

/// Runs the benchmark and writes its results.
///
/// # Errors
/// For unknown names, and if a run fails or a file cannot be written.
pub async fn bench_rescale(bench: &RescaleBench) -> Result<()> {
    let (workloads, strategies) = (bench.workloads()?, bench.strategies()?);
    std::fs::create_dir_all(&bench.out).map_err(|e| cannot_write(&bench.out, e))?;
    let total = workloads.len() * strategies.len() * bench.repetitions;
    let (mut done, mut all) = (0, Vec::new());
    for workload in workloads {
        let mut panels = Vec::new();
        say(&format!("{}: {}", workload.name, workload.what));
        let mut results: Vec<_> = strategies.iter().map(|_| Vec::new()).collect();
        // Repetition by repetition, so that a slow minute of the machine hits all strategies.
        for repetition in 0..bench.repetitions {
            for (strategy, results) in strategies.iter().zip(&mut results) {
                let setup = bench.setup(workload, *strategy, repetition as u64);
                let result = run(&setup).await?;
                done += 1;
                progress(done, total, &setup, &result);
                results.push(result);
            }
        }
        for (strategy, results) in strategies.iter().zip(results) {
            let setup = bench.setup(workload, *strategy, 0);
            all.push(figures(&setup, &results));
            if let Some(last) = results.into_iter().next_back() {
                panels.push(Panel {
                    title: strategy.map_or("no rescale", Strategy::name).to_owned(),
                    line: last.line,
                    rescaled: last.rescaled,
                });
            }
        }
        let path = bench.out.join(format!("rescale-{}.svg", workload.name));
        let caption = format!(
            "{}: latency, highest in 50 ms. Red: key groups that move, blue: others, grey: visible",
            workload.name
        );
        latency_over_time(&path, &caption, &panels)?;
    }
    let text = markdown(&command_line(), &all);
    write(&bench.out.join("rescale.json"), &json(&all)?)?;
    write(&bench.out.join("rescale.md"), &text)?;
    say(&text);
    Ok(())
}

fn progress(done: usize, total: usize, setup: &RunSetup, result: &super::run::RunResult) {
    let strategy = setup.strategy.map_or("none", Strategy::name);
    let moved = result
        .summary
        .as_ref()
        .and_then(|summary| summary.moved_after);
    say(&format!(
        "[{done}/{total}] {strategy:<16} moved after {:>8.1?}, moving rows at most {:>8.1} ms, others {:>8.1} ms{}",
        moved.unwrap_or_default(),
        result.during.handled[0].max() as f64 / 1e3,
        result.during.handled[1].max() as f64 / 1e3,
        if result.correct { "" } else { "; ROWS DIFFER" },
    ));
}

fn command_line() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("tidewater {}", arguments.join(" "))
}

fn json(all: &[Figures]) -> Result<String> {
    serde_json::to_string_pretty(all).map_err(|error| Error::Internal(error.to_string()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|source| cannot_write(path, source))
}

fn cannot_write(path: &Path, source: std::io::Error) -> Error {
    Error::Io {
        what: format!("cannot write {}", path.display()),
        source,
    }
}

fn say(line: &str) {
    // Nobody may be reading.
    drop(writeln!(std::io::stdout(), "{line}"));
}
