//! What the benchmark says: JSON for programs, Markdown and a picture for people.

use std::fmt::Write as _;
use std::path::Path;

use hdrhistogram::Histogram;
use plotters::prelude::*;
use serde::Serialize;

use super::batch::Computed;
use super::maintain::Maintained;
use super::queries::Query;
use crate::error::{Error, Result};

/// All runs of one query.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// As a view, at parallelism 1 and 2.
    pub(super) one: Vec<Maintained>,
    pub(super) two: Vec<Maintained>,
    /// At parallelism 1 without checkpoints.
    pub(super) unkept: Vec<Maintained>,
    /// Computed once by DataFusion.
    pub(super) once: Vec<Computed>,
    /// Seconds of a loop by hand.
    pub(super) by_hand: Vec<f64>,
}

/// One query: medians over the repetitions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    query: &'static str,
    what: &'static str,
    /// Events a second, at parallelism 1 and 2.
    rate: [f64; 2],
    /// The rate at parallelism 1 over that without checkpoints.
    rate_kept: f64,
    /// Processor seconds of a million events, at parallelism 1 and 2.
    processor: [f64; 2],
    /// The same of DataFusion, computing the answer once.
    processor_batch: f64,
    /// The same of a loop by hand.
    processor_limit: Option<f64>,
    /// Seconds at parallelism 1 over DataFusion's with one task.
    clock_over_batch: f64,
    memory_megabytes: f64,
    state_megabytes: f64,
    /// Milliseconds from an event's time until it is visible, at half of the highest rate.
    fresh_p50: f64,
    fresh_p99: f64,
    /// Rows of the view, and whether they are as many as the answer's.
    rows: u64,
    same_rows: bool,
}

impl Figures {
    pub(super) fn new(
        query: Query,
        events: u64,
        runs: &Runs,
        freshness: &Histogram<u64>,
    ) -> Figures {
        let Runs {
            one,
            two,
            unkept,
            once,
            by_hand,
        } = runs;
        let millions = events as f64 / 1e6;
        let of = |runs: &[Maintained], value: &dyn Fn(&Maintained) -> f64| {
            median(runs.iter().map(value).collect()).unwrap_or(0.0)
        };
        let rate = |runs: &[Maintained]| of(runs, &|run| events as f64 / run.clock.as_secs_f64());
        let processor =
            |runs: &[Maintained]| of(runs, &|run| run.processor.as_secs_f64() / millions);
        let batch = |value: &dyn Fn(&Computed) -> f64| {
            median(once.iter().map(value).collect()).unwrap_or(0.0)
        };
        let clock_batch = batch(&|run| run.clock.as_secs_f64());
        let rows = one.first().map_or(0, |run| run.rows);
        let millis = |quantile: f64| freshness.value_at_quantile(quantile) as f64 / 1e3;
        Figures {
            query: query.name,
            what: query.what,
            rate: [rate(one), rate(two)],
            rate_kept: rate(one) / rate(unkept),
            processor: [processor(one), processor(two)],
            processor_batch: batch(&|run| run.processor.as_secs_f64() / millions),
            processor_limit: median(by_hand.iter().map(|seconds| seconds / millions).collect()),
            clock_over_batch: of(one, &|run| run.clock.as_secs_f64()) / clock_batch,
            memory_megabytes: of(one, &|run| run.memory as f64 / 1e6),
            state_megabytes: of(one, &|run| run.state_bytes as f64 / 1e6),
            fresh_p50: millis(0.5),
            fresh_p99: millis(0.99),
            rows,
            same_rows: once.iter().all(|run| run.rows == rows)
                && two.iter().all(|run| run.rows == rows),
        }
    }

    /// One line, while the benchmark runs.
    pub(super) fn line(&self) -> String {
        format!(
            "{:<4} {:<32} {:>9.0} events/s, {:.2} CPU s a million (computed once: {:.2}), fresh after {:.0} ms (p99){}",
            self.query,
            self.what,
            self.rate[0],
            self.processor[0],
            self.processor_batch,
            self.fresh_p99,
            if self.same_rows { "" } else { "; ROWS DIFFER" },
        )
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The table, with the command that made it.
pub(super) fn markdown(command: &str, events: u64, all: &[Figures]) -> String {
    let mut text = format!(
        "`{command}`\n\n{events} events in memory. *CPU*: processor seconds of a million events, checkpoints \
         and the last one included, at parallelism 1 and 2; *once*: DataFusion computing the answer once, with \
         one task; *by hand*: one loop. *kept*: the rate at parallelism 1 over that without checkpoints. *fresh*: milliseconds from an event's time until it is visible, at half \
         of the highest rate.\n\n\
         | query | events/s, 1 | 2 | ratio | kept | CPU, 1 | 2 | once | CPU/once | time/once | by hand | CPU/by hand | state MB | memory MB | fresh p50 | p99 | rows | as once |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for figures in all {
        let [one, two] = figures.rate;
        let [cpu_one, cpu_two] = figures.processor;
        let by_hand = figures.processor_limit;
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} {} | {one:.0} | {two:.0} | {:.2} | {:.2} | {cpu_one:.2} | {cpu_two:.2} | {:.2} | {:.1} | {:.1} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {} |",
            figures.query,
            figures.what,
            two / one,
            figures.rate_kept,
            figures.processor_batch,
            cpu_one / figures.processor_batch,
            figures.clock_over_batch,
            or_dash(by_hand.map(|seconds| format!("{seconds:.3}"))),
            or_dash(by_hand.map(|seconds| format!("{:.1}", cpu_one / seconds))),
            figures.state_megabytes,
            figures.memory_megabytes,
            figures.fresh_p50,
            figures.fresh_p99,
            figures.rows,
            if figures.same_rows { "yes" } else { "NO" },
        );
    }
    text
}

/// Processor time by query: kept, computed once, by hand.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn plot(path: &Path, all: &[Figures]) -> Result<()> {
    draw(path, all).map_err(|error| Error::Internal(error.to_string()))
}

fn draw(path: &Path, all: &[Figures]) -> std::result::Result<(), Box<dyn std::error::Error>> {
    const LEAST: f64 = 0.001;
    let root = SVGBackend::new(path, (1100, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let most = all.iter().map(|figures| figures.processor[0]);
    let most = most.fold(1.0, f64::max) * 1.5;
    let names: Vec<&str> = all.iter().map(|figures| figures.query).collect();
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "CPU seconds of a million events. Blue: kept up to date, grey: computed once by DataFusion, red: a loop by hand",
            ("sans-serif", 16),
        )
        .margin(6)
        .x_label_area_size(24)
        .y_label_area_size(55)
        .build_cartesian_2d(0.0..all.len() as f64, (LEAST..most).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(all.len() * 2 + 1)
        .x_label_formatter(&|at| match (at.fract() - 0.5).abs() < 0.01 {
            true => names
                .get(*at as usize)
                .copied()
                .unwrap_or_default()
                .to_owned(),
            false => String::new(),
        })
        .draw()?;
    for (index, figures) in all.iter().enumerate() {
        let bars = [
            (Some(figures.processor[0]), RGBColor(30, 100, 200)),
            (Some(figures.processor_batch), RGBColor(150, 150, 150)),
            (figures.processor_limit, RGBColor(200, 30, 30)),
        ];
        for (place, (height, colour)) in bars.into_iter().enumerate() {
            let left = index as f64 + 0.12 + 0.26 * place as f64;
            if let Some(height) = height {
                let corners = [(left, LEAST), (left + 0.24, height.max(LEAST))];
                chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            }
        }
    }
    root.present()?;
    Ok(())
}
