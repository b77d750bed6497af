//! Latency over time, one panel a strategy, the rescale marked.

use std::path::Path;
use std::time::Duration;

use plotters::prelude::*;

use super::recorder::{Bucket, TimeLine};
use crate::error::{Error, Result};

/// One panel: the time line of one run.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) line: TimeLine,
    /// Begin and end of the rescale.
    pub(super) rescaled: (Duration, Duration),
}

const WIDTH: u32 = 1100;
const PANEL_HEIGHT: u32 = 150;
/// Shown on both sides of the rescale: so many buckets.
const MARGIN_BUCKETS: u32 = 40;

/// Writes one SVG with a panel for each strategy, all to the same scale.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn latency_over_time(path: &Path, caption: &str, panels: &[Panel]) -> Result<()> {
    draw(path, caption, panels).map_err(|error| Error::Internal(error.to_string()))
}

fn draw(
    path: &Path,
    caption: &str,
    panels: &[Panel],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let height = PANEL_HEIGHT * panels.len() as u32 + 40;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(caption, ("sans-serif", 18))?;
    let bucket = panels.first().map(|panel| panel.line.bucket);
    let margin = (bucket.unwrap_or_default() * MARGIN_BUCKETS).as_secs_f64();
    let longest = panels.iter().map(|p| p.rescaled.1 - p.rescaled.0).max();
    let until = longest.unwrap_or_default().as_secs_f64() + margin;
    let peak = panels
        .iter()
        .flat_map(|panel| panel.line.handled.iter().chain([&panel.line.visible]))
        .flat_map(|line| line.iter().map(|bucket| bucket.max))
        .max();
    let peak = (peak.unwrap_or(1000) as f64 / 1e3).max(10.0);
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let begin = panel.rescaled.0.as_secs_f64();
        let mut chart = ChartBuilder::on(area)
            .caption(&panel.title, ("sans-serif", 13))
            .margin(4)
            .x_label_area_size(18)
            .y_label_area_size(55)
            .build_cartesian_2d(-margin..until, (0.1..peak).log_scale())?;
        chart
            .configure_mesh()
            .y_desc("ms")
            .x_labels(12)
            .y_labels(5)
            .light_line_style(WHITE)
            .draw()?;
        let end = (panel.rescaled.1 - panel.rescaled.0).as_secs_f64();
        let shade = RGBColor(255, 200, 0).mix(0.25).filled();
        chart.draw_series([Rectangle::new([(0.0, 0.1), (end, peak)], shade)])?;
        let points = |line: &[Bucket]| {
            let point = |(index, bucket): (usize, &Bucket)| {
                let at = (panel.line.bucket * index as u32).as_secs_f64() - begin;
                (at, (bucket.max as f64 / 1e3).max(0.1))
            };
            let seen = line
                .iter()
                .enumerate()
                .filter(|(_, bucket)| bucket.rows > 0);
            let shown = |(at, _): &(f64, f64)| (-margin..until).contains(at);
            seen.map(point).filter(shown).collect::<Vec<_>>()
        };
        let lines = [
            (points(&panel.line.visible), RGBColor(150, 150, 150)),
            (points(&panel.line.handled[1]), RGBColor(30, 100, 200)),
            (points(&panel.line.handled[0]), RGBColor(200, 30, 30)),
        ];
        for (points, colour) in lines {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(1)))?;
        }
    }
    root.present()?;
    Ok(())
}
