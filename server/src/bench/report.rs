//! What a benchmark says: JSON for programs, Markdown for people.

use std::fmt::Write as _;
use std::time::Duration;

use scaling::PAUSE_DEFAULT;
use serde::Serialize;

use super::cost::Cost;
use super::recorder::PhaseLatency;
use super::run::{RunResult, RunSetup};

/// One strategy on one workload: medians over the repetitions. Times are milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) workload: &'static str,
    pub(super) transport: String,
    pub(super) backlog_seconds: u64,
    pub(super) strategy: &'static str,
    pub(super) repetitions: usize,
    /// Runs whose view had every row exactly once.
    pub(super) correct: usize,
    /// Rows of key groups that move, from when they were due until handled, during the rescale.
    pub(super) moving_peak: f64,
    pub(super) moving_p99: f64,
    pub(super) moving_mean: f64,
    /// The same of all other rows.
    pub(super) others_peak: f64,
    pub(super) others_p99: f64,
    pub(super) others_mean: f64,
    /// All rows, before the rescale.
    pub(super) before_p99: f64,
    pub(super) before_peak: f64,
    pub(super) before_mean: f64,
    /// Until the epoch of a row is visible, during the rescale.
    pub(super) visible_peak: f64,
    pub(super) visible_mean: f64,
    pub(super) visible_peak_before: f64,
    /// From the statement to the last hand-over, to the checkpoint after it, to calm latencies.
    pub(super) moved: f64,
    pub(super) durable: f64,
    /// `None` if they were not calm by the end.
    pub(super) stable: Option<f64>,
    /// The longest time a key group, or a barrier, waited for state.
    pub(super) pause: f64,
    /// Runs that kept to the pause they were given, or to the default.
    pub(super) pause_kept: usize,
    pub(super) barrier_max: f64,
    pub(super) silence_max: f64,
    pub(super) suspended: f64,
    pub(super) propagation: f64,
    pub(super) dependency: f64,
    pub(super) state_bytes: f64,
    pub(super) key_groups: f64,
    pub(super) rows_rerouted: f64,
    pub(super) rows_held: f64,
    /// Rows handled a second, before and during.
    pub(super) throughput_before: f64,
    pub(super) throughput_during: f64,
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn all(phase: &PhaseLatency) -> hdrhistogram::Histogram<u64> {
    let mut all = phase.handled[0].clone();
    all.add(&phase.handled[1]).expect("histograms of one shape");
    all
}

/// The median, if more than half of the runs were calm again.
fn stable(runs: &[RunResult]) -> Option<f64> {
    let after = |run: &RunResult| run.stable_after.map_or(f64::INFINITY, millis);
    Some(median(runs.iter().map(after).collect())).filter(|after| after.is_finite())
}

/// Sums up the repetitions of one set-up.
pub(super) fn figures(setup: &RunSetup, runs: &[RunResult]) -> Figures {
    let of = |value: &dyn Fn(&RunResult) -> f64| median(runs.iter().map(value).collect());
    let micros = |value: u64| value as f64 / 1e3;
    let summary = |value: &dyn Fn(&executor::RescaleSummary) -> f64| {
        of(&|run| run.summary.as_ref().map_or(0.0, value))
    };
    let transport = match setup.link {
        Some(rate) => format!("wire {} MB/s", rate / 1_000_000),
        None => "memory".to_owned(),
    };
    Figures {
        workload: setup.workload.name,
        transport,
        backlog_seconds: setup.backlog.as_secs(),
        strategy: setup.strategy.map_or("none", |strategy| strategy.name()),
        repetitions: runs.len(),
        correct: runs.iter().filter(|run| run.correct).count(),
        moving_peak: of(&|run| micros(run.during.handled[0].max())),
        moving_p99: of(&|run| micros(run.during.handled[0].value_at_quantile(0.99))),
        moving_mean: of(&|run| run.during.handled[0].mean() / 1e3),
        others_peak: of(&|run| micros(run.during.handled[1].max())),
        others_p99: of(&|run| micros(run.during.handled[1].value_at_quantile(0.99))),
        others_mean: of(&|run| run.during.handled[1].mean() / 1e3),
        before_p99: of(&|run| micros(all(&run.before).value_at_quantile(0.99))),
        before_peak: of(&|run| micros(all(&run.before).max())),
        before_mean: of(&|run| all(&run.before).mean() / 1e3),
        visible_peak: of(&|run| micros(run.during.visible.max())),
        visible_mean: of(&|run| run.during.visible.mean() / 1e3),
        visible_peak_before: of(&|run| micros(run.before.visible.max())),
        moved: summary(&|s| millis(s.moved_after.or(s.duration).unwrap_or_default())),
        durable: summary(&|s| millis(s.duration.unwrap_or_default())),
        stable: stable(runs),
        pause: summary(&|s| millis(s.pause_max)),
        pause_kept: {
            let budget = setup.max_pause.unwrap_or(PAUSE_DEFAULT);
            let kept =
                |run: &&RunResult| run.summary.as_ref().is_none_or(|s| s.pause_max <= budget);
            runs.iter().filter(kept).count()
        },
        barrier_max: summary(&|s| millis(s.barrier_max)),
        silence_max: of(&|run| millis(run.during.silence_max)),
        suspended: summary(&|s| millis(s.moved.suspended)),
        propagation: summary(&|s| millis(s.propagation)),
        dependency: summary(&|s| millis(s.dependency)),
        state_bytes: summary(&|s| s.moved.state_bytes as f64),
        key_groups: summary(&|s| s.key_groups as f64),
        rows_rerouted: summary(&|s| s.moved.rows_rerouted as f64),
        rows_held: summary(&|s| s.moved.rows_held as f64),
        throughput_before: of(&|run| run.before.rows as f64 / setup.phase.as_secs_f64()),
        throughput_during: of(&|run| run.during.rows as f64 / run.measured.as_secs_f64().max(1e-3)),
    }
}

/// The table of all figures, and how DRRS compares with the others of its workload.
pub(super) fn markdown(command: &str, all: &[Figures], cost: &[Cost]) -> String {
    let mut text = String::new();
    writeln!(text, "# Rescaling, by strategy\n\n`{command}`\n").expect("a string takes it");
    text.push_str("Milliseconds, medians. *moving*: rows of key groups that move; *others*: all other rows; both from when a row was due until it was handled, during the rescale, a second at least. *kept*: runs whose pause was within max_pause, or 20 ms. *visible*: until its epoch could be read.\n");
    let mut group = String::new();
    for figures in all {
        let of = format!(
            "{}, {}, backlog {} s",
            figures.workload, figures.transport, figures.backlog_seconds
        );
        if of != group {
            write!(
                text,
                "\n## {of}\n\n| strategy | moving peak | p99 | mean | others peak | p99 | mean | visible peak | moved after | stable after | pause | kept | barrier | suspended | held | re-routed | MB moved | right |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
            )
            .expect("a string takes it");
            group = of;
        }
        let f = figures;
        writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {} | {:.1} | {}/{} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} | {}/{} |",
            f.strategy,
            f.moving_peak,
            f.moving_p99,
            f.moving_mean,
            f.others_peak,
            f.others_p99,
            f.others_mean,
            f.visible_peak,
            f.moved,
            f.stable.map_or_else(|| "-".to_owned(), |after| format!("{after:.0}")),
            f.pause,
            f.pause_kept,
            f.repetitions,
            f.barrier_max,
            f.suspended,
            f.rows_held,
            f.rows_rerouted,
            f.state_bytes / 1e6,
            f.correct,
            f.repetitions,
        )
        .expect("a string takes it");
    }
    if !cost.is_empty() {
        text.push_str(&cost_table(cost));
    }
    text
}

fn cost_table(cost: &[Cost]) -> String {
    let mut text = String::from(
        "\n## While nothing is rescaled\n\nRows a second, and microseconds of processor time a row; ratios are medians of neighbouring runs.\n\n| rows a statement | rows/s | bypassed | ratio | µs a row | bypassed | ratio |\n|---|---|---|---|---|---|---|\n",
    );
    for c in cost {
        writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.3} | {:.2} | {:.2} | {:.3} |",
            c.rows_of_statement,
            c.throughput,
            c.throughput_bypassed,
            c.throughput_ratio,
            c.processor,
            c.processor_bypassed,
            c.processor_ratio,
        )
        .expect("a string takes it");
    }
    text
}
