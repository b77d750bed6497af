//! What the operators of a fragment do: their rows, their time, their state.
//!
//! ```text
//!   pipeline ── OperatorLoad, with each barrier ──► conductor ─┬─ rows, summed by job and fragment
//!                                                              └─ OperatorAverage, by executor
//! ```
//!
//! Rows are counted since the job was started, whichever executors it had; rates, shares and sizes
//! are those of the executors that it has.

use std::time::Duration;

use storage::StateSize;

use super::Decayed;

/// Rows that came and went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows that an operator was given.
    pub input: u64,
    /// Rows that it emitted.
    pub output: u64,
}

impl RowCounts {
    /// Adds other rows.
    pub(crate) fn add(&mut self, other: RowCounts) {
        self.input += other.input;
        self.output += other.output;
    }
}

/// What an operator did since the last report, on one executor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OperatorLoad {
    pub(crate) rows: RowCounts,
    pub(crate) busy: Duration,
    /// Its state tables, in their order, as of this report.
    pub(crate) tables: Vec<StateSize>,
}

/// The averages of an operator on one executor.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperatorAverage {
    input: Decayed,
    output: Decayed,
    busy: Decayed,
    tables: Vec<StateSize>,
}

impl OperatorAverage {
    /// Adds what was done in the last `seconds`.
    pub(crate) fn add(&mut self, load: OperatorLoad, seconds: f64) {
        self.input.add(load.rows.input as f64, seconds);
        self.output.add(load.rows.output as f64, seconds);
        self.busy.add(load.busy.as_secs_f64(), seconds);
        self.tables = load.tables;
    }
}

/// What an operator does, on all executors of its fragment together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OperatorStatus {
    /// Rows since the job was started.
    pub rows: RowCounts,
    /// Rows given to it a second, an average of some seconds.
    pub input_rate: f64,
    /// Rows emitted a second, likewise.
    pub output_rate: f64,
    /// Share of the time that it works: the mean over executors, from 0 to 1.
    pub busy: f64,
    /// The same, of the executor that has most.
    pub busy_max: f64,
    /// Its state tables.
    pub tables: Vec<TableStatus>,
}

/// What a state table has, on all executors of its fragment together, as of the last epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableStatus {
    /// How much it is.
    pub size: StateSize,
    /// Bytes in memory on the executor that has most.
    pub bytes_max: u64,
}

/// The operators of a fragment, from the rows that they had and the averages of its executors.
pub(crate) fn statuses(
    rows: &[RowCounts],
    executors: &[&[OperatorAverage]],
) -> Vec<OperatorStatus> {
    let of_operator = |(at, &rows): (usize, &RowCounts)| {
        let averages = executors.iter().filter_map(|operators| operators.get(at));
        let averages: Vec<&OperatorAverage> = averages.collect();
        let sum = |of: fn(&OperatorAverage) -> f64| averages.iter().map(|a| of(a)).sum::<f64>();
        // It works for as long as it does before the time that passes is known.
        let share = |average: &OperatorAverage| average.busy.rate().min(1.0);
        OperatorStatus {
            rows,
            input_rate: sum(|average| average.input.rate()),
            output_rate: sum(|average| average.output.rate()),
            busy: averages.iter().map(|a| share(a)).sum::<f64>() / averages.len().max(1) as f64,
            busy_max: averages.iter().map(|a| share(a)).fold(0.0, f64::max),
            tables: tables(&averages),
        }
    };
    rows.iter().enumerate().map(of_operator).collect()
}

fn tables(averages: &[&OperatorAverage]) -> Vec<TableStatus> {
    let count = averages.iter().map(|average| average.tables.len()).max();
    let mut statuses = vec![TableStatus::default(); count.unwrap_or(0)];
    for average in averages {
        for (status, size) in statuses.iter_mut().zip(&average.tables) {
            status.size.add(size);
            status.bytes_max = status.bytes_max.max(size.bytes);
        }
    }
    statuses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(input: u64, output: u64, busy: u64, bytes: u64) -> OperatorLoad {
        OperatorLoad {
            rows: RowCounts { input, output },
            busy: Duration::from_millis(busy),
            tables: vec![StateSize {
                rows: output,
                bytes,
                evicted_bytes: 0,
            }],
        }
    }

    #[test]
    fn executors_add_up() {
        let (mut one, mut other) = (OperatorAverage::default(), OperatorAverage::default());
        one.add(load(300, 30, 600, 1000), 1.0);
        other.add(load(100, 10, 200, 500), 1.0);
        // Another executor had rows, and is gone.
        let rows = [RowCounts {
            input: 1000,
            output: 100,
        }];
        let executors: [&[OperatorAverage]; 3] = [&[one], &[other], &[]];
        let seen = statuses(&rows, &executors);
        let expected = OperatorStatus {
            rows: rows[0],
            input_rate: 400.0,
            output_rate: 40.0,
            busy: 0.4,
            busy_max: 0.6,
            tables: vec![TableStatus {
                size: StateSize {
                    rows: 40,
                    bytes: 1500,
                    evicted_bytes: 0,
                },
                bytes_max: 1000,
            }],
        };
        assert_eq!(seen, [expected]);
    }

    #[test]
    fn an_operator_is_busy_at_most_all_the_time() {
        let mut average = OperatorAverage::default();
        average.add(load(1, 1, 2000, 0), 1.0);
        let seen = statuses(&[RowCounts::default()], &[&[average]]);
        assert_eq!((seen[0].busy, seen[0].busy_max), (1.0, 1.0));
    }

    #[test]
    fn a_fragment_that_has_not_reported_has_done_nothing() {
        let seen = statuses(&[RowCounts::default()], &[]);
        assert_eq!(seen, [OperatorStatus::default()]);
    }
}
