//! What being able to rescale costs while nothing is rescaled.
//!
//! The same rows go through the same view twice in turn: in an engine as it is, and in one whose
//! executors take the next message of any channel, without record scheduling, verdicts, hand-overs
//! and measuring of loads ([`EngineOptions::scalable`]). What both have: alignment of barriers, rows
//! sorted by key group, one partition of state a key group. Rows are written as fast as they are
//! taken, and processor time is counted beside the clock: it does not depend on who else uses the
//! machine.

use std::time::{Duration, Instant};

use executor::EngineOptions;
use serde::Serialize;

use super::database::Database;
use super::process::processor_time;
use super::workload::{Keys, Workload};
use crate::error::Result;

/// Statements that are under way at a time.
const CONCURRENT: usize = 8;

/// How many rows to write, in statements of which size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rows: u64,
    pub(super) rows_of_statement: u64,
}

/// Large and small statements.
pub(super) const LOADS: [Load; 2] = [
    Load {
        rows: 1_000_000,
        rows_of_statement: 10_000,
    },
    Load {
        rows: 200_000,
        rows_of_statement: 200,
    },
];

/// One way through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    clock: Duration,
    processor: Duration,
}

/// Medians of both ways, and their ratios.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cost {
    pub(super) rows: u64,
    pub(super) rows_of_statement: u64,
    /// Rows a second of the clock.
    pub(super) throughput: f64,
    pub(super) throughput_bypassed: f64,
    /// Processor time of a row, microseconds.
    pub(super) processor: f64,
    pub(super) processor_bypassed: f64,
    /// Median of the ratios of neighbouring runs, with the machinery to without.
    pub(super) throughput_ratio: f64,
    pub(super) processor_ratio: f64,
}

/// Writes the rows through a fresh engine.
pub(super) async fn spend(
    workload: &Workload,
    parallelism: usize,
    load: Load,
    scalable: bool,
) -> Result<Spent> {
    let options = EngineOptions {
        scalable,
        ..EngineOptions::default()
    };
    let mut database = Database::open(options).await?;
    let table = database.create(workload.table, 1).await?;
    database.create(workload.view, parallelism).await?;
    let mut keys = Keys::new(workload.keys, workload.skew, 1);
    let mut statements = Vec::new();
    let mut next = 0;
    while next < load.rows {
        let drawn: Vec<u64> = (0..load.rows_of_statement).map(|_| keys.next()).collect();
        let created = vec![1; drawn.len()];
        statements.push(workload.rows(&drawn, &created, next));
        next += load.rows_of_statement;
    }
    let (clock, processor) = (Instant::now(), processor_time()?);
    while !statements.is_empty() {
        let group = statements.split_off(statements.len().saturating_sub(CONCURRENT));
        let inserts = group.into_iter().map(|rows| database.insert(table, rows));
        futures::future::try_join_all(inserts).await?;
    }
    database.engine.flush().await?;
    let spent = Spent {
        clock: clock.elapsed(),
        processor: processor_time()? - processor,
    };
    database.close().await?;
    Ok(spent)
}

/// Sums up neighbouring runs, each pair with the machinery first.
pub(super) fn cost(load: Load, pairs: &[(Spent, Spent)]) -> Cost {
    let rows = load.rows as f64;
    let of = |value: &dyn Fn(&(Spent, Spent)) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let throughput = |spent: &Spent| rows / spent.clock.as_secs_f64();
    let processor = |spent: &Spent| spent.processor.as_secs_f64() * 1e6 / rows;
    Cost {
        rows: load.rows,
        rows_of_statement: load.rows_of_statement,
        throughput: of(&|(with, _)| throughput(with)),
        throughput_bypassed: of(&|(_, without)| throughput(without)),
        processor: of(&|(with, _)| processor(with)),
        processor_bypassed: of(&|(_, without)| processor(without)),
        throughput_ratio: of(&|(with, without)| throughput(with) / throughput(without)),
        processor_ratio: of(&|(with, without)| processor(with) / processor(without)),
    }
}
