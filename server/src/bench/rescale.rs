//! `tidewater bench rescale`: every strategy on the same work, in one run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use scaling::Strategy;
use serde::Serialize;

use super::cost::{self, Cost, cost};
use super::plot::{Panel, latency_over_time};
use super::report::{Figures, figures, markdown};
use super::run::{RunResult, RunSetup, run};
use super::simulation::{SIMULATED, Simulated};
use super::workload::{WORKLOADS, Workload};
use crate::error::{Error, Result};

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct RescaleBench {
    /// Workloads, separated by commas; "simulation" is the sweep in virtual time, "cost" what being
    /// able to rescale costs while nothing is rescaled [default: all of them]
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
    fn workloads(&self) -> Result<Vec<Part>> {
        let all = || {
            let workloads = WORKLOADS.iter().map(|workload| workload.name);
            workloads.chain(["simulation", "cost"])
        };
        let named = |name: &str| {
            Ok(match (name, Workload::named(name)) {
                ("simulation", _) => Part::Simulation,
                ("cost", _) => Part::Cost,
                (_, Some(mut workload)) => {
                    workload.keys = self.keys.unwrap_or(workload.keys);
                    Part::Workload(workload)
                }
                (_, None) => {
                    return Err(Error::InvalidValue {
                        message: format!("there is no workload \"{name}\""),
                        hint: Some(format!(
                            "Workloads are {}.",
                            all().collect::<Vec<_>>().join(", ")
                        )),
                    });
                }
            })
        };
        if self.workloads.is_empty() {
            return all().map(named).collect();
        }
        self.workloads.iter().map(|name| named(name)).collect()
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

/// A part of the benchmark.
enum Part {
    Workload(Workload),
    Simulation,
    Cost,
}

/// What was measured so far.
#[derive(Default, Serialize)]
struct Results {
    rescales: Vec<Figures>,
    cost: Vec<Cost>,
}

/// Runs the benchmark and writes its results.
///
/// # Errors
/// For unknown names, and if a run fails or a file cannot be written.
pub async fn bench_rescale(bench: &RescaleBench) -> Result<()> {
    let (parts, strategies) = (bench.workloads()?, bench.strategies()?);
    std::fs::create_dir_all(&bench.out).map_err(|e| cannot_write(&bench.out, e))?;
    let mut results = Results::default();
    for part in parts {
        match part {
            Part::Workload(workload) => {
                let measured = measure(bench, workload, &strategies).await?;
                results.rescales.extend(measured);
            }
            Part::Simulation => {
                for simulated in &SIMULATED {
                    let measured = simulate(bench, simulated, &strategies).await?;
                    results.rescales.extend(measured);
                }
            }
            Part::Cost => results.cost = measure_cost(bench).await?,
        }
    }
    let text = markdown(&command_line(), &results.rescales, &results.cost);
    write(&bench.out.join("rescale.json"), &json(&results)?)?;
    write(&bench.out.join("rescale.md"), &text)?;
    say(&text);
    Ok(())
}

/// Every strategy on one workload.
async fn measure(
    bench: &RescaleBench,
    workload: Workload,
    strategies: &[Option<Strategy>],
) -> Result<Vec<Figures>> {
    say(&format!("{}: {}", workload.name, workload.what));
    let (mut done, total) = (0, strategies.len() * bench.repetitions);
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
    let (mut all, mut panels) = (Vec::new(), Vec::new());
    for (strategy, results) in strategies.iter().zip(results) {
        all.push(figures(&bench.setup(workload, *strategy, 0), &results));
        if let Some(last) = results.into_iter().next_back() {
            panels.push(Panel {
                title: title(*strategy),
                line: last.line,
                rescaled: last.rescaled,
            });
        }
    }
    plot(bench, workload.name, "50 ms", &panels)?;
    Ok(all)
}

/// Every strategy on one simulated set-up.
async fn simulate(
    bench: &RescaleBench,
    simulated: &Simulated,
    strategies: &[Option<Strategy>],
) -> Result<Vec<Figures>> {
    say(&format!("simulated {}: {}", simulated.name, simulated.what));
    let (mut all, mut panels) = (Vec::new(), Vec::new());
    for (done, strategy) in (1..).zip(strategies) {
        let max_pause = bench.max_pause.map(Duration::from_millis);
        let run = simulated.run(*strategy, max_pause).await?;
        say(&format!(
            "[{done}/{}] {:<16} moved after {:>8.0} ms, moving rows at most {:>8.0} ms, others {:>8.0} ms",
            strategies.len(),
            title(*strategy),
            run.figures.moved,
            run.figures.moving_peak,
            run.figures.others_peak,
        ));
        all.push(run.figures);
        panels.push(Panel {
            title: title(*strategy),
            line: run.line,
            rescaled: run.rescaled,
        });
    }
    plot(
        bench,
        &format!("simulated-{}", simulated.name),
        "500 ms",
        &panels,
    )?;
    Ok(all)
}

/// What being able to rescale costs while nothing is rescaled.
async fn measure_cost(bench: &RescaleBench) -> Result<Vec<Cost>> {
    say("cost: the same rows with the machinery of scaling and without");
    let workload = Workload {
        padding: 0,
        ..WORKLOADS[0]
    };
    let mut all = Vec::new();
    for load in cost::LOADS {
        let mut pairs = Vec::new();
        for repetition in 0..bench.repetitions {
            let spend = |scalable| cost::spend(&workload, bench.from, load, scalable);
            // Who is first has a colder machine: in turn.
            let pair = if repetition % 2 == 0 {
                let with = spend(true).await?;
                (with, spend(false).await?)
            } else {
                let without = spend(false).await?;
                (spend(true).await?, without)
            };
            pairs.push(pair);
            let so_far = cost(load, &pairs);
            say(&format!(
                "[{}/{}] statements of {}: throughput {:.3} of that without, processor time {:.3}",
                repetition + 1,
                bench.repetitions,
                load.rows_of_statement,
                so_far.throughput_ratio,
                so_far.processor_ratio
            ));
        }
        all.push(cost(load, &pairs));
    }
    Ok(all)
}

fn title(strategy: Option<Strategy>) -> String {
    strategy.map_or("no rescale", Strategy::name).to_owned()
}

fn plot(bench: &RescaleBench, name: &str, bucket: &str, panels: &[Panel]) -> Result<()> {
    let path = bench.out.join(format!("rescale-{name}.svg"));
    let caption = format!(
        "{name}: latency, highest in {bucket}. Red: key groups that move, blue: others, grey: visible"
    );
    latency_over_time(&path, &caption, panels)
}

fn progress(done: usize, total: usize, setup: &RunSetup, result: &RunResult) {
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

pub(super) fn command_line() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("tidewater {}", arguments.join(" "))
}

fn json(results: &Results) -> Result<String> {
    serde_json::to_string_pretty(results).map_err(|error| Error::Internal(error.to_string()))
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
