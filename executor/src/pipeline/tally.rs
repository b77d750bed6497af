//! Counts what the operators of a pipeline are given, emit, and take of the time: between them, so that
//! none knows of it.
//!
//! The clock is read once a message and once each time an operator has worked, rows are counted
//! once a batch. What passes between two readings is the time of the operator that worked then.

use std::time::Duration;

use tokio::time::Instant;

use super::layout::End;
use crate::load::RowCounts;
use crate::world;

/// What was counted since it was last cleared.
#[derive(Debug)]
pub(super) struct Tally {
    /// Since when the operator works that works now.
    mark: Instant,
    /// Rows by input of the fragment.
    arrived: Vec<u64>,
    stages: Vec<StageTally>,
}

#[derive(Debug, Clone, Default)]
struct StageTally {
    rows: RowCounts,
    busy: Duration,
}

impl Tally {
    pub(super) fn new(inputs: usize, stages: usize) -> Tally {
        Tally {
            mark: world::now(),
            arrived: vec![0; inputs],
            stages: vec![StageTally::default(); stages],
        }
    }

    /// The time up to now was nobody's.
    pub(super) fn begin(&mut self) {
        self.mark = world::now();
    }

    /// Rows came by an input.
    pub(super) fn arrive(&mut self, input: usize, rows: usize) {
        self.arrived[input] += rows as u64;
    }

    /// A stage is given rows.
    pub(super) fn give(&mut self, stage: usize, rows: usize) {
        self.stages[stage].rows.input += rows as u64;
    }

    /// A stage has emitted rows.
    pub(super) fn take(&mut self, stage: usize, rows: usize) {
        self.stages[stage].rows.output += rows as u64;
    }

    /// The time since the last reading was this stage's.
    pub(super) fn worked(&mut self, stage: usize) {
        let now = world::now();
        self.stages[stage].busy += now - self.mark;
        self.mark = now;
    }

    /// Rows of a stage; what comes by an edge goes on as it is.
    pub(super) fn rows(&self, end: End) -> RowCounts {
        match end {
            End::Stage(stage) => self.stages[stage].rows,
            End::Edge(input) => RowCounts {
                input: self.arrived[input],
                output: self.arrived[input],
            },
        }
    }

    /// Time of a stage.
    pub(super) fn busy(&self, stage: usize) -> Duration {
        self.stages[stage].busy
    }

    /// Counts anew.
    pub(super) fn clear(&mut self) {
        self.arrived.fill(0);
        self.stages.fill(StageTally::default());
    }
}
