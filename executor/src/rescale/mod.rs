//! A change of who owns a job's key groups, as the conductor sees it.
//!
//! ```text
//!   Opening ─ barrier adds executors and channels ─► Moving ─ all subscales done ─► Closing ─► end
//!              (nobody waits)                         (barriers keep flowing)     barrier removes
//!
//!   stop_restart:  Stopping ─ a durable barrier ─► everything starts again with the new parallelism
//! ```
//!
//! All fragments of the job that have inputs move side by side. Who may move when is decided by
//! [`scaling::Coordinator`], what goes where by `plan`; this file keeps the books. A rescale can be
//! ended early at any time: what is not open is dropped, what is open runs to its end, and the last
//! barrier ends the executors that then own nothing.

mod plan;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scaling::{
    Coordinator, CoordinatorAction, CoordinatorEvent, Division, ExecutorId, KeyGroup, Mechanism,
    PAUSE_DEFAULT, Pace, Steps, Subscale, SubscaleId,
};
use storage::CatalogChange;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::Result;
use crate::executor::{Collected, HandOver, MoveFigures};
use crate::job::Jobs;
use crate::message::{FragmentKey, Topology};
use crate::world;

pub(crate) use plan::{Measured, expected_division, plan};
pub use report::{
    Placing, RESCALES_KEPT, RescaleOptions, RescalePlan, RescaleProgress, RescaleState,
    RescaleSummary, RescaleTarget, SubscaleState, SubscaleStatus,
};

/// What the catalog says of the job once it has so many executors.
pub type CatalogOfParallelism = Box<dyn Fn(usize) -> CatalogChange + Send>;

/// What a statement asks for.
pub(crate) struct RescaleRequest {
    pub(crate) job: u32,
    pub(crate) options: RescaleOptions,
    pub(crate) catalog: CatalogOfParallelism,
    pub(crate) progress: mpsc::UnboundedSender<RescaleProgress>,
    pub(crate) reply: oneshot::Sender<Result<RescaleSummary>>,
}

/// Where a running rescale stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Moving,
    Closing,
    /// Of `stop_restart`: the barrier is issued after which nothing runs.
    Stopping,
}

/// A running rescale.
pub(crate) struct Rescale {
    pub(crate) job: u32,
    pub(crate) phase: Phase,
    pub(crate) catalog: CatalogOfParallelism,
    pub(crate) reply: oneshot::Sender<Result<RescaleSummary>>,
    pub(crate) summary: RescaleSummary,
    pub(crate) statuses: BTreeMap<SubscaleId, SubscaleStatus>,
    /// Executors to start once the opening barrier is through.
    pub(crate) added: Vec<(FragmentKey, ExecutorId)>,
    mechanism: Mechanism,
    started: Instant,
    removed: BTreeMap<FragmentKey, BTreeSet<ExecutorId>>,
    /// What is opened, and what is left of the planned ones.
    subscales: BTreeMap<SubscaleId, (FragmentKey, Subscale)>,
    /// Bytes of the key groups that move, as planned.
    sizes: BTreeMap<(ExecutorId, KeyGroup), u64>,
    /// The id of the first piece that is cut off.
    first_piece: SubscaleId,
    pace: Pace,
    opened: BTreeMap<SubscaleId, Instant>,
    migrations: BTreeSet<(ExecutorId, ExecutorId)>,
    coordinator: Option<Coordinator>,
    progress: mpsc::UnboundedSender<RescaleProgress>,
    done: RescaleProgress,
    /// How it ends if it is ended early.
    ends_early: Option<RescaleState>,
    dependency_sum: Duration,
    hand_overs: u32,
}

/// A summary before anything has happened.
pub(crate) fn asked(
    id: u64,
    job: u32,
    options: &RescaleOptions,
    parallelism: usize,
) -> RescaleSummary {
    RescaleSummary {
        id,
        job,
        by: options.by.clone(),
        strategy: options.strategy,
        asked: world::wall_clock(),
        state: RescaleState::Queued,
        from: parallelism,
        to: match options.target {
            RescaleTarget::Parallelism(parallelism) => parallelism,
            RescaleTarget::MoveKeyGroup { .. } | RescaleTarget::Rebalance => parallelism,
        },
        subscales: 0,
        key_groups: 0,
        moved_after: None,
        duration: None,
        moved: MoveFigures::default(),
        barrier_max: Duration::ZERO,
        pause_max: Duration::ZERO,
        propagation: Duration::ZERO,
        dependency: Duration::ZERO,
    }
}

impl Rescale {
    /// Plans the change: new executors are placed, without key groups, and the moves divided.
    /// `topology` is what the opening barrier carries.
    ///
    /// # Errors
    /// With the reply's end, if the target does not exist.
    pub(crate) fn open(
        request: RescaleRequest,
        summary: RescaleSummary,
        asked: Instant,
        jobs: &mut Jobs,
        measured: &Measured<'_>,
        next_subscale: &mut u64,
        topology: &mut Topology,
    ) -> Result<Rescale, (crate::Error, oneshot::Sender<Result<RescaleSummary>>)> {
        let RescaleRequest {
            job,
            options,
            catalog,
            progress,
            reply,
        } = request;
        let mechanism = options.strategy.mechanism();
        let pause = options.max_pause.unwrap_or(PAUSE_DEFAULT);
        let mut rescale = Rescale {
            job,
            phase: Phase::Stopping,
            catalog,
            reply,
            done: RescaleProgress {
                id: summary.id,
                ..RescaleProgress::default()
            },
            summary,
            statuses: BTreeMap::new(),
            added: Vec::new(),
            mechanism: mechanism.unwrap_or_default(),
            started: asked,
            removed: BTreeMap::new(),
            subscales: BTreeMap::new(),
            sizes: BTreeMap::new(),
            first_piece: SubscaleId(0),
            pace: Pace::new(pause, measured.speed),
            opened: BTreeMap::new(),
            migrations: BTreeSet::new(),
            coordinator: None,
            progress,
            ends_early: None,
            dependency_sum: Duration::ZERO,
            hand_overs: 0,
        };
        rescale.summary.state = RescaleState::Opening;
        let Some(mechanism) = mechanism else {
            return Ok(rescale);
        };
        rescale.phase = Phase::Opening;
        let division = mechanism.division(Division::WHOLE);
        let plans = match plan(job, &options, &division, jobs, measured, next_subscale) {
            Ok(plans) => plans,
            Err(error) => return Err((error, rescale.reply)),
        };
        for fragment in plans {
            let added = fragment
                .added
                .iter()
                .map(|&executor| (fragment.key, executor));
            rescale.added.extend(added);
            rescale.removed.insert(fragment.key, fragment.removed);
            for (subscale, _) in fragment.subscales {
                for key_group in &subscale.key_groups {
                    let at = (subscale.old_owner, key_group);
                    let bytes = measured.state_bytes(at.0, at.1);
                    rescale.sizes.insert(at, bytes);
                }
                rescale.expect(fragment.key, subscale);
            }
        }
        // A key group alone is the smallest piece.
        rescale.first_piece = SubscaleId(*next_subscale);
        *next_subscale += rescale.sizes.len() as u64;
        rescale.summary.key_groups = rescale.done.key_groups;
        rescale.announce(jobs, topology);
        Ok(rescale)
    }

    fn expect(&mut self, key: FragmentKey, subscale: Subscale) {
        self.migrations
            .insert((subscale.old_owner, subscale.new_owner));
        self.done.key_groups += subscale.key_groups.len();
        self.add(key, subscale);
    }

    fn add(&mut self, key: FragmentKey, subscale: Subscale) {
        self.done.subscales += 1;
        self.summary.subscales += 1;
        let status = SubscaleStatus {
            rescale: self.summary.id,
            id: subscale.id,
            fragment: key.fragment,
            old_owner: subscale.old_owner,
            new_owner: subscale.new_owner,
            key_groups: subscale.key_groups.clone(),
            bytes: self.bytes(&subscale),
            state: SubscaleState::Waiting,
            opened_after: None,
            took: None,
            pause_max: Duration::ZERO,
        };
        self.statuses.insert(subscale.id, status);
        self.subscales.insert(subscale.id, (key, subscale));
    }

    /// What a subscale was planned to be in bytes.
    fn bytes(&self, subscale: &Subscale) -> u64 {
        let key_groups = subscale.key_groups.iter();
        let sizes = key_groups.filter_map(|g| self.sizes.get(&(subscale.old_owner, g)));
        sizes.sum()
    }

    /// Enters a piece that was cut off of a planned subscale.
    fn cut(&mut self, piece: &Subscale) {
        let is_whole = |planned: &Subscale| {
            planned.old_owner == piece.old_owner
                && planned.new_owner == piece.new_owner
                && piece
                    .key_groups
                    .iter()
                    .all(|g| planned.key_groups.contains(g))
        };
        let found = self.subscales.values_mut().find(|(_, of)| is_whole(of));
        let (key, planned) = found.expect("the coordinator cuts what it was given");
        for key_group in &piece.key_groups {
            planned.key_groups.remove(key_group);
        }
        let (key, rest) = (*key, planned.clone());
        let bytes = self.bytes(&rest);
        if let Some(status) = self.statuses.get_mut(&rest.id) {
            (status.key_groups, status.bytes) = (rest.key_groups, bytes);
        }
        self.add(key, piece.clone());
    }

    fn announce(&self, jobs: &Jobs, topology: &mut Topology) {
        let new: BTreeSet<_> = self.added.iter().map(|(_, executor)| *executor).collect();
        for key in self.removed.keys() {
            let added: BTreeSet<_> = self
                .added
                .iter()
                .filter(|(of, _)| of == key)
                .map(|(_, e)| *e)
                .collect();
            jobs.announce(*key, &added, &new, topology);
        }
        for &(from, to) in &self.migrations {
            topology.of(from).open_migrations_to.push(to);
            if !new.contains(&to) {
                topology.of(to).open_migrations_from.push(from);
            }
        }
    }

    /// Old owners that will send state to a new executor.
    pub(crate) fn migrations_to(&self, executor: ExecutorId) -> Vec<ExecutorId> {
        let pairs = self.migrations.iter().filter(|(_, to)| *to == executor);
        pairs.map(|(from, _)| *from).collect()
    }

    /// Starts moving, the opening barrier being through.
    pub(crate) fn start(&mut self, jobs: &Jobs) -> Result<Vec<CoordinatorAction>> {
        self.phase = Phase::Moving;
        self.summary.state = RescaleState::Moving;
        let with_predecessors =
            |(key, subscale): &(FragmentKey, Subscale)| (subscale.clone(), jobs.predecessors(*key));
        let subscales = self.subscales.values().map(with_predecessors).collect();
        let mut coordinator = Coordinator::new(subscales)
            .with_mechanism(self.mechanism)
            .with_key_groups_held(&jobs.key_groups_held(self.job));
        if self.mechanism.steps == Steps::Subscales {
            let size = |subscale: &Subscale, g| self.sizes[&(subscale.old_owner, g)];
            coordinator = coordinator.cut_when_opened(&size, self.first_piece);
        }
        let coordinator = self.coordinator.insert(coordinator);
        coordinator.set_division(self.pace.division());
        let mut actions = Vec::new();
        if self.ends_early.is_some() {
            coordinator.step(CoordinatorEvent::Cancel, &mut actions)?;
        }
        coordinator.step(CoordinatorEvent::Start, &mut actions)?;
        Ok(actions)
    }

    /// Ends it early. Whether it was not too late for that.
    pub(crate) fn end_early(
        &mut self,
        state: RescaleState,
    ) -> Result<Option<Vec<CoordinatorAction>>> {
        if self.ends_early.is_some() || !matches!(self.phase, Phase::Opening | Phase::Moving) {
            return Ok(None);
        }
        self.ends_early = Some(state);
        let mut actions = Vec::new();
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.step(CoordinatorEvent::Cancel, &mut actions)?;
        }
        Ok(Some(actions))
    }

    /// Feeds the coordinator.
    pub(crate) fn step(&mut self, event: CoordinatorEvent) -> Result<Vec<CoordinatorAction>> {
        let coordinator = self
            .coordinator
            .as_mut()
            .expect("only a started rescale is fed");
        coordinator.set_division(self.pace.division());
        let mut actions = Vec::new();
        coordinator.step(event, &mut actions)?;
        Ok(actions)
    }

    /// Whether a subscale is part of it.
    pub(crate) fn has(&self, subscale: SubscaleId) -> bool {
        self.subscales.contains_key(&subscale)
    }

    /// How subscales are opened and what happens to rows meanwhile.
    pub(crate) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The fragment whose key groups a subscale moves.
    pub(crate) fn fragment(&self, subscale: SubscaleId) -> FragmentKey {
        self.subscales[&subscale].0
    }

    /// Notes that a subscale is being opened.
    pub(crate) fn subscale_opened(&mut self, opened: &Subscale) {
        let subscale = opened.id;
        if !self.has(subscale) {
            self.cut(opened);
        }
        let now = world::now();
        self.opened.insert(subscale, now);
        let started = self.started;
        if let Some(status) = self.statuses.get_mut(&subscale) {
            status.state = SubscaleState::Moving;
            status.opened_after = Some(now - started);
        }
    }

    /// Notes how the key groups of a subscale came over.
    pub(crate) fn hand_overs(&mut self, subscale: SubscaleId, seen: &[HandOver]) {
        let Some(&opened) = self.opened.get(&subscale) else {
            return;
        };
        if let Some(first) = seen.iter().map(|hand_over| hand_over.sent).min() {
            self.summary.propagation += first - opened;
        }
        let pauses = seen.iter().map(|seen| seen.installed - seen.sent);
        let pause_max = pauses.max().unwrap_or_default();
        self.summary.pause_max = self.summary.pause_max.max(pause_max);
        for hand_over in seen {
            self.dependency_sum += hand_over.installed - opened;
            self.hand_overs += 1;
        }
        self.summary.dependency = self.dependency_sum / self.hand_overs.max(1);
        let bytes = seen.iter().map(|hand_over| hand_over.bytes).sum();
        self.pace.moved(seen.len(), bytes, span(seen));
        self.summary.moved.key_groups += seen.len() as u64;
        self.summary.moved.state_bytes += bytes;
        if let Some(status) = self.statuses.get_mut(&subscale) {
            status.bytes = bytes;
            status.pause_max = pause_max;
        }
    }

    /// Enters a finished subscale into the assignment and tells the user.
    pub(crate) fn subscale_done(&mut self, subscale: &Subscale, jobs: &mut Jobs) {
        let key = self.fragment(subscale.id);
        let job = jobs
            .get_mut(self.job)
            .expect("a job is not dropped while it is rescaled");
        let assignment = &mut job.placements[key.fragment].assignment;
        for key_group in subscale.key_groups.iter() {
            assignment.set_owner(key_group, subscale.new_owner);
        }
        let now = world::now();
        if let (Some(status), Some(opened)) = (
            self.statuses.get_mut(&subscale.id),
            self.opened.get(&subscale.id),
        ) {
            status.state = SubscaleState::Done;
            status.took = Some(now - *opened);
        }
        self.done.subscales_done += 1;
        self.done.key_groups_done += subscale.key_groups.len();
        // The statement's client may have gone; the rescale goes on.
        let _ = self.progress.send(self.done);
    }

    /// Adds what an executor or a barrier reported.
    pub(crate) fn take_figures<'a>(
        &mut self,
        barrier: Duration,
        collected: impl Iterator<Item = &'a Collected>,
    ) {
        self.summary.barrier_max = self.summary.barrier_max.max(barrier);
        let moved = &mut self.summary.moved;
        let (key_groups, state_bytes) = (moved.key_groups, moved.state_bytes);
        for part in collected {
            moved.add(&part.moved);
            self.pace.barrier_waited(part.moved.barrier_wait_max);
        }
        // Counted as they arrive: an old owner that ends with the rescale may not report them.
        (moved.key_groups, moved.state_bytes) = (key_groups, state_bytes);
        let waited = self.summary.moved.barrier_wait_max;
        self.summary.pause_max = self.summary.pause_max.max(waited);
    }

    /// Ends the move: `topology` is what the closing barrier carries. Executors without key groups
    /// end with it, unless the target has them.
    pub(crate) fn close(&mut self, jobs: &mut Jobs, topology: &mut Topology) {
        self.phase = Phase::Closing;
        self.summary.state = RescaleState::Closing;
        self.summary.moved_after = Some(world::now() - self.started);
        for &(from, to) in &self.migrations {
            topology.of(from).close_migrations_to.push(to);
            topology.of(to).close_migrations_from.push(from);
        }
        if self.ends_early.is_some() {
            self.keep_owners(jobs);
        }
        let gone: BTreeSet<_> = self.removed.values().flatten().copied().collect();
        for (key, removed) in &self.removed {
            jobs.retire(*key, removed, &gone, topology);
        }
        let job = jobs
            .get_mut(self.job)
            .expect("a job is not dropped while it is rescaled");
        let mut parallelism = 1;
        for (key, removed) in &self.removed {
            let executors = &mut job.placements[key.fragment].executors;
            executors.retain(|executor| !removed.contains(executor));
            parallelism = parallelism.max(executors.len());
        }
        if self.ends_early.is_some() {
            self.summary.to = parallelism;
        }
        job.spec.parallelism = self.summary.to;
    }

    /// Of a rescale that ends early, those executors go that own nothing.
    fn keep_owners(&mut self, jobs: &Jobs) {
        let job = jobs
            .get(self.job)
            .expect("a job is not dropped while it is rescaled");
        for (key, removed) in &mut self.removed {
            let placement = &job.placements[key.fragment];
            let owning: BTreeSet<_> = placement.assignment.executors().into_iter().collect();
            let executors = placement.executors.iter().copied();
            *removed = executors.filter(|e| !owning.contains(e)).collect();
        }
    }

    /// Executors that end with the closing barrier.
    pub(crate) fn retired(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        self.removed.values().flatten().copied()
    }

    /// Migration channels of this rescale.
    pub(crate) fn migrations(&self) -> impl Iterator<Item = (ExecutorId, ExecutorId)> + '_ {
        self.migrations.iter().copied()
    }

    /// It is over, and durable.
    pub(crate) fn finish(&mut self) {
        self.summary.duration = Some(world::now() - self.started);
        self.summary.state = self.ends_early.clone().unwrap_or(RescaleState::Completed);
    }
}

/// From the first key group that left to the last that came.
pub(crate) fn span(seen: &[HandOver]) -> Duration {
    let first = seen.iter().map(|hand_over| hand_over.sent).min();
    let last = seen.iter().map(|hand_over| hand_over.installed).max();
    match (first, last) {
        (Some(first), Some(last)) => last - first,
        _ => Duration::ZERO,
    }
}
