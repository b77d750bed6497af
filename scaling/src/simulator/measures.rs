//! What is measured while a run goes on, and the report made of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::simulator::agenda::Nanos;
use crate::simulator::histogram::Histogram;
use crate::simulator::message::Rows;
use crate::simulator::report::{Class, Latency, Report, ScalingReport, Series};
use crate::simulator::settings::{Settings, nanos};
use crate::{Epoch, KeyGroup, SubscaleId};

/// Why an executor does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// There is input; what is missing for it is state or a barrier of a migration channel.
    Scaling,
    /// There is input, behind a barrier.
    Alignment,
    /// There are only rows set aside.
    Holding,
}

/// Latency is stable again below the earlier peak times this (drrs.md 7.2).
const STABLE_FACTOR: f64 = 1.2;

/// Rows of one epoch that are processed and not committed, by class, by portion and predecessor.
#[derive(Debug, Default)]
struct Uncommitted {
    first: u64,
    counts: VecDeque<[u32; 2]>,
}

/// How the state of a subscale moved, from the first key group that left to the last that came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MovedState {
    pub(super) key_groups: usize,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    first_left: Nanos,
}

/// See the header.
pub(super) struct Measures {
    bucket: Nanos,
    predecessors: u64,
    /// By key group: its class.
    classes: Vec<usize>,
    processed: [Vec<Histogram>; 2],
    committed: [Vec<Histogram>; 2],
    uncommitted: BTreeMap<Epoch, Uncommitted>,
    /// When each subscale was prepared or signalled.
    prepared: BTreeMap<SubscaleId, Nanos>,
    /// What has left for a new owner, by subscale.
    moved: BTreeMap<SubscaleId, MovedState>,
    /// When each key group under way left.
    left: BTreeMap<KeyGroup, Nanos>,
    /// Over all key groups installed by the scaling: time since preparing, since the request, and
    /// how many they are.
    installed: (Nanos, Nanos, u64),
    scalings: Vec<ScalingReport>,
    /// When each barrier was issued, and how long it took.
    barriers: Vec<(Nanos, Nanos)>,
    alignment: Nanos,
}

impl Measures {
    pub(super) fn new(settings: &Settings) -> Measures {
        Measures {
            bucket: settings.bucket,
            predecessors: settings.setup.predecessors as u64,
            classes: settings
                .moving
                .iter()
                .map(|moves| usize::from(!moves))
                .collect(),
            processed: Default::default(),
            committed: Default::default(),
            uncommitted: BTreeMap::new(),
            prepared: BTreeMap::new(),
            moved: BTreeMap::new(),
            left: BTreeMap::new(),
            installed: (0, 0, 0),
            scalings: Vec::new(),
            barriers: Vec::new(),
            alignment: 0,
        }
    }

    // Rows.

    pub(super) fn processed(&mut self, key_group: KeyGroup, created: Nanos, at: Nanos) {
        let series = &mut self.processed[self.classes[key_group.index()]];
        add(series, self.bucket, created, at, 1);
    }

    pub(super) fn uncommitted(&mut self, epoch: Epoch, predecessor: usize, rows: &Rows) {
        let place = u64::from(rows.portion) * self.predecessors + predecessor as u64;
        let uncommitted = self.uncommitted.entry(epoch).or_default();
        if uncommitted.counts.is_empty() {
            uncommitted.first = place;
        }
        while place < uncommitted.first {
            uncommitted.first -= 1;
            uncommitted.counts.push_front([0; 2]);
        }
        let index = (place - uncommitted.first) as usize;
        if index >= uncommitted.counts.len() {
            uncommitted.counts.resize(index + 1, [0; 2]);
        }
        uncommitted.counts[index][self.classes[rows.key_group.index()]] += rows.count;
    }

    /// An epoch is complete.
    pub(super) fn committed(
        &mut self,
        epoch: Epoch,
        issued: Nanos,
        at: Nanos,
        settings: &Settings,
    ) {
        self.barriers.push((issued, at - issued));
        let Some(Uncommitted { first, counts }) = self.uncommitted.remove(&epoch) else {
            return;
        };
        for (place, counts) in (first..).zip(counts) {
            let predecessor = (place % self.predecessors) as usize;
            let created = settings.portion_at(predecessor, place / self.predecessors);
            for (series, count) in self.committed.iter_mut().zip(counts) {
                if count > 0 {
                    add(series, self.bucket, created, at, count);
                }
            }
        }
    }

    /// Epochs that were not complete are made again.
    pub(super) fn crashed(&mut self) {
        self.uncommitted.clear();
        self.prepared.clear();
        self.moved.clear();
        self.left.clear();
    }

    // The scaling under way.

    pub(super) fn requested(&mut self, at: Nanos, key_groups: usize) {
        self.installed = (0, 0, 0);
        self.scalings.push(ScalingReport {
            requested: Duration::from_nanos(at),
            key_groups,
            ..ScalingReport::default()
        });
    }

    fn scaling(&mut self) -> Option<&mut ScalingReport> {
        self.scalings.last_mut()
    }

    /// A subscale is prepared or signalled.
    pub(super) fn prepared(&mut self, subscale: SubscaleId, at: Nanos) {
        self.prepared.insert(subscale, at);
        self.begun(at);
        if let Some(scaling) = self.scaling() {
            scaling.subscales += 1;
        }
    }

    pub(super) fn begun(&mut self, at: Nanos) {
        if let Some(scaling) = self.scaling() {
            let after = Duration::from_nanos(at) - scaling.requested;
            scaling.prepared_after.get_or_insert(after);
        }
    }

    /// The old owner of a subscale may hand over from now on.
    pub(super) fn may_hand_over(&mut self, subscale: SubscaleId, at: Nanos) {
        let prepared = self.prepared.get(&subscale).copied();
        if let (Some(prepared), Some(scaling)) = (prepared, self.scaling()) {
            scaling.propagation += Duration::from_nanos(at - prepared);
        }
    }

    /// A key group leaves its old owner.
    pub(super) fn left(
        &mut self,
        subscale: SubscaleId,
        key_group: KeyGroup,
        bytes: u64,
        at: Nanos,
    ) {
        self.left.insert(key_group, at);
        let moved = self.moved.entry(subscale).or_default();
        if moved.key_groups == 0 {
            moved.first_left = at;
        }
        moved.key_groups += 1;
        moved.bytes += bytes;
        if let Some(scaling) = self.scaling() {
            scaling.bytes_moved += bytes;
        }
    }

    /// How the state of a subscale moved, all of it being there.
    pub(super) fn moved_in(&self, subscale: SubscaleId) -> Option<MovedState> {
        self.moved.get(&subscale).copied()
    }

    pub(super) fn installed(&mut self, subscale: SubscaleId, key_group: KeyGroup, at: Nanos) {
        if let Some(moved) = self.moved.get_mut(&subscale) {
            moved.took = Duration::from_nanos(at - moved.first_left);
        }
        let under_way = self.left.remove(&key_group).map_or(0, |left| at - left);
        if let Some(scaling) = self.scaling() {
            scaling.pause_max = scaling.pause_max.max(Duration::from_nanos(under_way));
        }
        let (Some(prepared), Some(scaling)) =
            (self.prepared.get(&subscale), self.scalings.last_mut())
        else {
            return;
        };
        let (since_prepared, since_requested, count) = &mut self.installed;
        *since_prepared += at - prepared;
        *since_requested += at - nanos(scaling.requested);
        *count += 1;
        scaling.dependency = Duration::from_nanos(*since_prepared / *count);
        scaling.installed_after = Duration::from_nanos(*since_requested / *count);
    }

    /// The last key group of the scaling has arrived for good.
    pub(super) fn all_moved(&mut self, at: Nanos) {
        if let Some(scaling) = self.scaling() {
            scaling.moved_after = Some(Duration::from_nanos(at) - scaling.requested);
        }
    }

    pub(super) fn closed(&mut self, at: Nanos) {
        if let Some(scaling) = self.scaling() {
            scaling.closed_after = Some(Duration::from_nanos(at) - scaling.requested);
        }
    }

    pub(super) fn moved(&mut self, bytes: u64) {
        if let Some(scaling) = self.scaling() {
            scaling.bytes_moved += bytes;
        }
    }

    pub(super) fn rerouted(&mut self, rows: u64) {
        if let Some(scaling) = self.scaling() {
            scaling.rows_rerouted += rows;
        }
    }

    pub(super) fn held(&mut self, rows: u64) {
        if let Some(scaling) = self.scaling() {
            scaling.rows_held += rows;
        }
    }

    pub(super) fn taken_back(&mut self, rows: u64) {
        if let Some(scaling) = self.scaling() {
            scaling.rows_taken_back += rows;
        }
    }

    pub(super) fn paused(&mut self, pause: Pause, lasted: Nanos) {
        match pause {
            Pause::Alignment => self.alignment += lasted,
            Pause::Scaling => {
                if let Some(scaling) = self.scaling() {
                    scaling.suspension += Duration::from_nanos(lasted);
                }
            }
            Pause::Holding => {
                if let Some(scaling) = self.scaling() {
                    scaling.holding += Duration::from_nanos(lasted);
                }
            }
        }
    }

    // The report.

    pub(super) fn report(
        mut self,
        settings: &Settings,
        ended: Nanos,
        rows: Vec<u64>,
        events: u64,
        trace_hash: u64,
    ) -> Report {
        let setup = &settings.setup;
        let ended = Duration::from_nanos(ended);
        let [moving, others] = [Class::Moving, Class::Others].map(|class| Latency {
            processed: self.series(&mut |m| &mut m.processed[class as usize]),
            committed: self.series(&mut |m| &mut m.committed[class as usize]),
        });
        let mut report = Report {
            strategy: setup.strategy,
            ended,
            events,
            trace_hash,
            rows,
            epochs: self.barriers.len() as u64,
            moving,
            others,
            before: Default::default(),
            during: Default::default(),
            after: Default::default(),
            scalings: std::mem::take(&mut self.scalings),
            barrier_delay_before: Duration::ZERO,
            alignment: Duration::from_nanos(self.alignment),
        };
        let request = report.scalings.first().map_or(ended, |s| s.requested);
        report.before = report.summary(setup.warm_up.min(request)..request);
        report.barrier_delay_before = self.longest_barrier(Duration::ZERO, request);
        for index in 0..report.scalings.len() {
            self.finish_scaling(&mut report, index, setup.stable_for);
        }
        let last = report.scalings.last();
        let stable = last.map_or(ended, |s| s.stable_after.map_or(ended, |t| s.requested + t));
        report.during = report.summary(request..stable);
        report.after = report.summary(stable..ended);
        report
    }

    fn series(&mut self, of: &mut dyn FnMut(&mut Measures) -> &mut Vec<Histogram>) -> Series {
        Series {
            bucket: Duration::from_nanos(self.bucket),
            buckets: std::mem::take(of(self)),
        }
    }

    fn longest_barrier(&self, from: Duration, to: Duration) -> Duration {
        let (from, to) = (nanos(from), nanos(to));
        let overlap = |(issued, took): &&(Nanos, Nanos)| issued + took > from && *issued < to;
        let longest = self.barriers.iter().filter(overlap).map(|(_, took)| *took);
        Duration::from_nanos(longest.max().unwrap_or(0))
    }

    fn finish_scaling(&self, report: &mut Report, index: usize, stable_for: Duration) {
        let scaling = &report.scalings[index];
        let requested = scaling.requested;
        let until = requested + scaling.closed_after.unwrap_or(report.ended);
        let longest = self.longest_barrier(requested, until);
        let stable = scaling.moved_after.and_then(|moved| {
            let limit = report.before.peak.mul_f64(STABLE_FACTOR);
            stable_from(report, requested + moved, limit, stable_for)
        });
        let scaling = &mut report.scalings[index];
        scaling.barrier_delay_max = longest;
        scaling.stable_after = stable.map(|at| at.max(requested) - requested);
    }
}

fn add(series: &mut Vec<Histogram>, bucket: Nanos, created: Nanos, at: Nanos, count: u32) {
    let index = (at / bucket) as usize;
    if index >= series.len() {
        series.resize_with(index + 1, Default::default);
    }
    series[index].add(at.saturating_sub(created), count);
}

/// The start of the first bucket after `moved` that begins so long a time without a latency above
/// the limit.
fn stable_from(
    report: &Report,
    moved: Duration,
    limit: Duration,
    stable_for: Duration,
) -> Option<Duration> {
    let bucket = report.moving.processed.bucket;
    let mut from = bucket * u32::try_from(moved.as_nanos().div_ceil(bucket.as_nanos())).ok()?;
    let mut end = from;
    while end < report.ended {
        let slowest = report.processed(end..end + bucket).max();
        end += bucket;
        if slowest >= limit {
            from = end;
        } else if end - from >= stable_for {
            return Some(from);
        }
    }
    None
}
