//! What a run measured.
//!
//! Latency is that of rows, never of markers (drrs.md 7.3): from the moment a row exists to the end
//! of its processing, and to the moment its epoch is complete at the conductor. It is counted where
//! it ends, in buckets of equal width; a row that is processed again after a crash counts again.

use std::ops::Range;
use std::time::Duration;

use crate::Strategy;
use crate::simulator::histogram::Histogram;

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Of key groups that some scaling of the run moves.
    Moving,
    /// Of all others.
    Others,
}

/// A latency over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Width of a bucket.
    pub bucket: Duration,
    /// What ended in each bucket, from the start of the run.
    pub buckets: Vec<Histogram>,
}

impl Series {
    /// All that ended in a time, which is widened to whole buckets.
    #[must_use]
    pub fn during(&self, time: Range<Duration>) -> Histogram {
        let (first, end) = (self.place(time.start), self.place_after(time.end));
        let mut sum = Histogram::default();
        let end = end.min(self.buckets.len());
        for bucket in self.buckets.get(first..end).unwrap_or_default() {
            sum.merge(bucket);
        }
        sum
    }

    fn place(&self, time: Duration) -> usize {
        (time.as_nanos() / self.bucket.as_nanos().max(1)) as usize
    }

    fn place_after(&self, time: Duration) -> usize {
        (time.as_nanos().div_ceil(self.bucket.as_nanos().max(1))) as usize
    }
}

/// Both latencies of one class of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// From existing to processed.
    pub processed: Series,
    /// From existing to committed everywhere.
    pub committed: Series,
}

/// Latency of rows in one part of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many rows.
    pub rows: u64,
    /// Rows in a second.
    pub throughput: f64,
    /// Longest latency.
    pub peak: Duration,
    /// 99 of 100 rows were not slower; within 3 per cent.
    pub p99: Duration,
    /// Half of the rows were not slower; within 3 per cent.
    pub p50: Duration,
    /// Mean latency.
    pub mean: Duration,
}

/// One scaling, its times counted from the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScalingReport {
    /// When it was asked for.
    pub requested: Duration,
    /// Until the first subscale was prepared or signalled, or the sources were stopped.
    pub prepared_after: Option<Duration>,
    /// Until the last key group had arrived for good: the publication's end of the operation.
    pub moved_after: Option<Duration>,
    /// Until migration channels were closed and executors had retired.
    pub closed_after: Option<Duration>,
    /// Until the first bucket behind the last hand-over from which on latency stayed below 1.2
    /// times its earlier peak for as long as the set-up asks (drrs.md 7.2).
    pub stable_after: Option<Duration>,
    /// Key groups that were to move.
    pub key_groups: usize,
    /// In how many pieces.
    pub subscales: usize,
    /// State that crossed migration channels or, for a restart, storage.
    pub bytes_moved: u64,
    /// Rows that came to the old owner behind the state.
    pub rows_rerouted: u64,
    /// Rows set aside.
    pub rows_held: u64,
    /// Unsent rows that predecessors took back.
    pub rows_taken_back: u64,
    /// Over all executors: there was input, and state or a migration channel's barrier was missing
    /// for reading any of it; with everything stopped, that time for each executor.
    pub suspension: Duration,
    /// Over all executors: nothing to do but rows set aside.
    pub holding: Duration,
    /// Over all subscales: from preparing or signalling one until its old owner may hand over.
    pub propagation: Duration,
    /// Mean over key groups: from preparing or signalling its subscale until it is installed.
    pub dependency: Duration,
    /// Mean over key groups: from the request until it is installed.
    pub installed_after: Duration,
    /// The longest time a key group was on its way, its rows waiting.
    pub pause_max: Duration,
    /// The longest time from issuing a barrier to its end, while key groups moved.
    pub barrier_delay_max: Duration,
}

/// What a run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How key groups changed their owner.
    pub strategy: Strategy,
    /// When the last row was committed.
    pub ended: Duration,
    /// Events of the run.
    pub events: u64,
    /// Equal only if all of them were.
    pub trace_hash: u64,
    /// Rows in the final state, by key group.
    pub rows: Vec<u64>,
    /// Complete epochs.
    pub epochs: u64,
    /// Latency of rows whose key group some scaling moves.
    pub moving: Latency,
    /// Latency of all other rows.
    pub others: Latency,
    /// From the end of the warm-up to the first request, or to the end.
    pub before: Summary,
    /// From the first request until the last scaling is stable, or to the end.
    pub during: Summary,
    /// From then on.
    pub after: Summary,
    /// In order of their requests.
    pub scalings: Vec<ScalingReport>,
    /// The longest time from issuing a barrier to its end, before the first request.
    pub barrier_delay_before: Duration,
    /// Over all executors and the whole run: there was input, all of it behind a barrier that had
    /// not come on every channel.
    pub alignment: Duration,
}

impl Report {
    /// The latency of one class.
    #[must_use]
    pub fn latency(&self, class: Class) -> &Latency {
        match class {
            Class::Moving => &self.moving,
            Class::Others => &self.others,
        }
    }

    /// Latency to processing of all rows in a time, which is widened to whole buckets.
    #[must_use]
    pub fn processed(&self, time: Range<Duration>) -> Histogram {
        let mut all = self.moving.processed.during(time.clone());
        all.merge(&self.others.processed.during(time));
        all
    }

    /// Latency to commit of all rows in a time, which is widened to whole buckets.
    #[must_use]
    pub fn committed(&self, time: Range<Duration>) -> Histogram {
        let mut all = self.moving.committed.during(time.clone());
        all.merge(&self.others.committed.during(time));
        all
    }

    pub(super) fn summary(&self, time: Range<Duration>) -> Summary {
        let latency = self.processed(time.clone());
        let seconds = time.end.saturating_sub(time.start).as_secs_f64();
        Summary {
            rows: latency.count(),
            throughput: latency.count() as f64 / seconds.max(f64::MIN_POSITIVE),
            peak: latency.max(),
            p99: latency.quantile(0.99),
            p50: latency.quantile(0.5),
            mean: latency.mean(),
        }
    }
}
