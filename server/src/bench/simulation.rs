//! The same strategies in virtual time, at the published scale and beyond it.
//!
//! The simulator drives the protocol's machines over links, queues and service times that are
//! stated (`scaling::simulator`); its figures do not depend on this machine.

use std::time::Duration;

use scaling::simulator::{Class, Report, Series, Setup, run};
use scaling::{PAUSE_DEFAULT, Strategy};

use super::recorder::{Bucket, TimeLine};
use super::report::Figures;
use crate::error::{Error, Result};

/// A simulated set-up.
pub(super) struct Simulated {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    setup: fn() -> Setup,
}

/// What is simulated: the published set-ups, one of them with a backlog, and one beyond.
pub(super) const SIMULATED: [Simulated; 6] = [
    Simulated {
        name: "8-to-12",
        what: "8 executors to 12, 128 key groups, 1 GiB, links of 1 Gbit/s",
        setup: Setup::published_8_to_12,
    },
    Simulated {
        name: "8-to-12-backlog",
        what: "the same with a minute of backlog, and queues of some 30 ms",
        setup: || Setup {
            channel_rows_max: 4,
            unsent_rows_max: 8,
            backlog: Duration::from_secs(60),
            input_ends: Duration::from_secs(240),
            ..Setup::published_8_to_12()
        },
    },
    Simulated {
        name: "25-to-30-5gb",
        what: "25 executors to 30, 256 key groups, Zipf 1.5, 5 GB",
        setup: || Setup::published_25_to_30(5_000_000_000),
    },
    Simulated {
        name: "25-to-30-15gb",
        what: "25 executors to 30, 256 key groups, Zipf 1.5, 15 GB",
        setup: || Setup::published_25_to_30(15_000_000_000),
    },
    Simulated {
        name: "25-to-30-30gb",
        what: "25 executors to 30, 256 key groups, Zipf 1.5, 30 GB",
        setup: || Setup::published_25_to_30(30_000_000_000),
    },
    Simulated {
        name: "100-to-200",
        what: "100 executors to 200, 1,024 key groups, 20 GiB, links of 10 Gbit/s",
        setup: Setup::beyond_100_to_200,
    },
];

/// What was measured of one strategy.
pub(super) struct SimulatedRun {
    pub(super) figures: Figures,
    pub(super) line: TimeLine,
    /// Begin and end of the scaling, on the time line.
    pub(super) rescaled: (Duration, Duration),
}

impl Simulated {
    /// Runs one strategy; `None` does not scale.
    pub(super) async fn run(
        &self,
        strategy: Option<Strategy>,
        max_pause: Option<Duration>,
    ) -> Result<SimulatedRun> {
        let setup = Setup {
            max_pause: max_pause.unwrap_or(PAUSE_DEFAULT),
            ..(self.setup)()
        };
        let scaled = match strategy {
            Some(strategy) => setup.with_strategy(strategy),
            None => setup.unscaled(),
        };
        let report = tokio::task::spawn_blocking(move || run(&scaled)).await;
        let report = report
            .map_err(|error| Error::Internal(error.to_string()))?
            .map_err(|violation| Error::Internal(violation.to_string()))?;
        Ok(self.measured(&setup, strategy, &report))
    }

    fn measured(&self, setup: &Setup, strategy: Option<Strategy>, report: &Report) -> SimulatedRun {
        let scaling = report.scalings.first().cloned().unwrap_or_default();
        let begin = setup.scalings[0].at;
        let moved = scaling.moved_after.unwrap_or_default();
        let stable = scaling.stable_after;
        let end = stable.map_or(report.ended, |after| begin + after);
        let line = TimeLine {
            bucket: setup.bucket,
            handled: [
                buckets(&report.moving.processed),
                buckets(&report.others.processed),
            ],
            visible: both(&report.moving.committed, &report.others.committed),
        };
        let of = |class| report.latency(class).processed.during(begin..end);
        let (moving, others) = (of(Class::Moving), of(Class::Others));
        let visible = report.committed(begin..end);
        let before = report.committed(setup.warm_up..begin);
        let (bytes, pause) = (scaling.bytes_moved as f64, millis(scaling.pause_max));
        let figures = Figures {
            workload: self.name,
            transport: "simulated".to_owned(),
            backlog_seconds: setup.backlog.as_secs(),
            strategy: strategy.map_or("none", Strategy::name),
            repetitions: 1,
            correct: usize::from(strategy.is_none_or(Strategy::is_correct)),
            moving_peak: millis(moving.max()),
            moving_p99: millis(moving.quantile(0.99)),
            moving_mean: millis(moving.mean()),
            others_peak: millis(others.max()),
            others_p99: millis(others.quantile(0.99)),
            others_mean: millis(others.mean()),
            before_p99: millis(report.before.p99),
            before_peak: millis(report.before.peak),
            before_mean: millis(report.before.mean),
            visible_peak: millis(visible.max()),
            visible_mean: millis(visible.mean()),
            visible_peak_before: millis(before.max()),
            moved: millis(moved),
            durable: millis(scaling.closed_after.unwrap_or_default()),
            stable: stable.map(millis),
            pause,
            pause_kept: usize::from(scaling.pause_max <= setup.max_pause),
            barrier_max: millis(scaling.barrier_delay_max),
            silence_max: millis(scaling.barrier_delay_max),
            suspended: millis(scaling.suspension),
            propagation: millis(scaling.propagation),
            dependency: millis(scaling.dependency),
            state_bytes: bytes,
            key_groups: scaling.key_groups as f64,
            rows_rerouted: scaling.rows_rerouted as f64,
            rows_held: scaling.rows_held as f64,
            throughput_before: report.before.throughput,
            throughput_during: report.during.throughput,
        };
        SimulatedRun {
            figures,
            line,
            rescaled: (begin, begin + moved),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn buckets(series: &Series) -> Vec<Bucket> {
    let bucket = |latency: &scaling::simulator::Histogram| {
        let mean = latency.mean().as_micros() as u64;
        Bucket {
            rows: latency.count(),
            sum: mean * latency.count(),
            max: latency.max().as_micros() as u64,
        }
    };
    series.buckets.iter().map(bucket).collect()
}

fn both(one: &Series, other: &Series) -> Vec<Bucket> {
    let (one, other) = (buckets(one), buckets(other));
    let length = one.len().max(other.len());
    let at = |line: &[Bucket], index: usize| line.get(index).copied().unwrap_or_default();
    let sum = |index| {
        let mut sum = at(&one, index);
        let more = at(&other, index);
        sum.add(more.rows, more.sum, more.max);
        sum
    };
    (0..length).map(sum).collect()
}
