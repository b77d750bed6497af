//! A change of a job's parallelism, as the conductor sees it.
//!
//! ```text
//!   Opening ─ barrier adds executors and channels ─► Moving ─ all subscales done ─► Closing ─► end
//!              (nobody waits)                         (barriers keep flowing)     barrier removes
//! ```
//!
//! All fragments of the job that have inputs move side by side. Who may move when is decided by
//! [`scaling::Coordinator`]; this file computes the plan and keeps the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scaling::{
    Assignment, Coordinator, CoordinatorAction, Division, ExecutorId, KeyGroup, OPEN_SUBSCALES_MAX,
    Subscale, SubscaleId, divide,
};
use storage::CatalogChange;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::Result;
use crate::executor::MoveFigures;
use crate::job::{Jobs, is_root};
use crate::message::{FragmentKey, Topology};

/// How a fragment's moves are divided. A barrier waits for what is open, so a subscale stays
/// small: copying 4 MiB in memory takes a few milliseconds.
const DIVISION: Division = Division {
    bytes_max: 4 << 20,
    key_groups_max: 16,
};

/// How far a change of parallelism has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RescaleProgress {
    /// Subscales that are done.
    pub subscales_done: usize,
    /// Subscales in all.
    pub subscales: usize,
    /// Key groups that have moved.
    pub key_groups_done: usize,
    /// Key groups that move in all.
    pub key_groups: usize,
}

/// What a change of parallelism did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescaleSummary {
    /// Parallelism before.
    pub from: usize,
    /// Parallelism after.
    pub to: usize,
    /// Subscales in all.
    pub subscales: usize,
    /// From the statement to the end of the last hand-over, and of the barrier after it.
    pub duration: Duration,
    /// What moved, over all executors.
    pub moved: MoveFigures,
    /// The longest time from a barrier's start to its end meanwhile.
    pub barrier_max: Duration,
}

/// Where a change of parallelism stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Moving,
    Closing,
}

/// A running change of parallelism.
pub(crate) struct Rescale {
    pub(crate) job: u32,
    pub(crate) phase: Phase,
    pub(crate) catalog: CatalogChange,
    pub(crate) reply: oneshot::Sender<Result<RescaleSummary>>,
    pub(crate) summary: RescaleSummary,
    pub(crate) started: Instant,
    /// Executors to start once the opening barrier is through.
    pub(crate) added: Vec<(FragmentKey, ExecutorId)>,
    removed: BTreeMap<FragmentKey, BTreeSet<ExecutorId>>,
    subscales: BTreeMap<SubscaleId, (FragmentKey, Subscale)>,
    migrations: BTreeSet<(ExecutorId, ExecutorId)>,
    coordinator: Option<Coordinator>,
    progress: mpsc::UnboundedSender<RescaleProgress>,
    done: RescaleProgress,
}

impl Rescale {
    /// Plans the change: new executors are placed, without key groups, and the moves divided.
    /// `topology` is what the opening barrier carries.
    pub(crate) fn plan(
        request: RescaleRequest,
        jobs: &mut Jobs,
        state_bytes: &BTreeMap<(ExecutorId, KeyGroup), u64>,
        next_subscale: &mut u64,
        now: Instant,
        topology: &mut Topology,
    ) -> Rescale {
        let RescaleRequest {
            job,
            parallelism,
            catalog,
            progress,
            reply,
        } = request;
        let from = jobs
            .get(job)
            .expect("the conductor has checked the job")
            .spec
            .parallelism;
        let mut rescale = Rescale {
            job,
            phase: Phase::Opening,
            catalog,
            reply,
            summary: RescaleSummary {
                from,
                to: parallelism,
                subscales: 0,
                duration: Duration::ZERO,
                moved: MoveFigures::default(),
                barrier_max: Duration::ZERO,
            },
            started: now,
            added: Vec::new(),
            removed: BTreeMap::new(),
            subscales: BTreeMap::new(),
            migrations: BTreeSet::new(),
            coordinator: None,
            progress,
            done: RescaleProgress {
                subscales_done: 0,
                subscales: 0,
                key_groups_done: 0,
                key_groups: 0,
            },
        };
        let targets = rescale.place(jobs, parallelism);
        for (key, target) in targets {
            rescale.divide(key, &target, jobs, state_bytes, next_subscale);
        }
        rescale.announce(jobs, topology);
        rescale
    }

    /// Adds executors to every fragment that scales, and computes who shall own what.
    fn place(&mut self, jobs: &mut Jobs, parallelism: usize) -> Vec<(FragmentKey, Assignment)> {
        let job = jobs.get(self.job).expect("checked");
        let scaled: Vec<_> = job
            .fragments()
            .filter(|(_, fragment, _)| !is_root(fragment))
            .map(|(key, _, placement)| (key, placement.executors.clone()))
            .collect();
        let mut targets = Vec::new();
        for (key, mut executors) in scaled {
            let added = jobs.allocate(parallelism.saturating_sub(executors.len()));
            self.added
                .extend(added.iter().map(|&executor| (key, executor)));
            executors.extend(added);
            let kept = &executors[..parallelism];
            let placement = &mut jobs.get_mut(self.job).expect("checked").placements[key.fragment];
            targets.push((key, placement.assignment.least_move(kept)));
            self.removed
                .insert(key, executors[parallelism..].iter().copied().collect());
            placement.executors = executors;
        }
        targets
    }

    fn divide(
        &mut self,
        key: FragmentKey,
        target: &Assignment,
        jobs: &Jobs,
        state_bytes: &BTreeMap<(ExecutorId, KeyGroup), u64>,
        next_subscale: &mut u64,
    ) {
        let placement = &jobs.get(self.job).expect("checked").placements[key.fragment];
        let moves = placement.assignment.moves(target);
        self.migrations.extend(moves.keys().copied());
        let bytes = |key_group: KeyGroup| {
            let owner = placement.assignment.owner(key_group);
            state_bytes.get(&(owner, key_group)).copied().unwrap_or(0)
        };
        let subscales = divide(&moves, &bytes, &DIVISION, SubscaleId(*next_subscale));
        *next_subscale += subscales.len() as u64;
        for subscale in subscales {
            self.done.subscales += 1;
            self.done.key_groups += subscale.key_groups.len();
            self.subscales.insert(subscale.id, (key, subscale));
        }
        self.summary.subscales = self.done.subscales;
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
    pub(crate) fn start(
        &mut self,
        jobs: &Jobs,
        actions: &mut Vec<CoordinatorAction>,
    ) -> Result<()> {
        self.phase = Phase::Moving;
        let with_predecessors =
            |(key, subscale): &(FragmentKey, Subscale)| (subscale.clone(), jobs.predecessors(*key));
        let subscales = self.subscales.values().map(with_predecessors).collect();
        let coordinator = Coordinator::new(subscales, OPEN_SUBSCALES_MAX)
            .with_key_groups_held(&jobs.key_groups_held(self.job));
        let coordinator = self.coordinator.insert(coordinator);
        coordinator.step(scaling::CoordinatorEvent::Start, actions)?;
        Ok(())
    }

    /// Feeds the coordinator.
    pub(crate) fn step(
        &mut self,
        event: scaling::CoordinatorEvent,
        actions: &mut Vec<CoordinatorAction>,
    ) -> Result<()> {
        let coordinator = self
            .coordinator
            .as_mut()
            .expect("only a started rescale is fed");
        coordinator.step(event, actions)?;
        Ok(())
    }

    /// The fragment whose key groups a subscale moves.
    pub(crate) fn fragment(&self, subscale: SubscaleId) -> FragmentKey {
        self.subscales[&subscale].0
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
        self.done.subscales_done += 1;
        self.done.key_groups_done += subscale.key_groups.len();
        // The statement's client may have gone; the rescale goes on.
        let _ = self.progress.send(self.done);
    }

    /// Ends the move: `topology` is what the closing barrier carries.
    pub(crate) fn close(&mut self, jobs: &mut Jobs, topology: &mut Topology) {
        self.phase = Phase::Closing;
        for &(from, to) in &self.migrations {
            topology.of(from).close_migrations_to.push(to);
            topology.of(to).close_migrations_from.push(from);
        }
        let gone: BTreeSet<_> = self.removed.values().flatten().copied().collect();
        for (key, removed) in &self.removed {
            jobs.retire(*key, removed, &gone, topology);
        }
        let job = jobs
            .get_mut(self.job)
            .expect("a job is not dropped while it is rescaled");
        for (key, removed) in &self.removed {
            job.placements[key.fragment]
                .executors
                .retain(|executor| !removed.contains(executor));
        }
        job.spec.parallelism = self.summary.to;
    }

    /// Executors that end with the closing barrier.
    pub(crate) fn retired(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        self.removed.values().flatten().copied()
    }

    /// Migration channels of this rescale.
    pub(crate) fn migrations(&self) -> impl Iterator<Item = (ExecutorId, ExecutorId)> + '_ {
        self.migrations.iter().copied()
    }
}

/// What a statement asks for.
pub(crate) struct RescaleRequest {
    pub(crate) job: u32,
    pub(crate) parallelism: usize,
    pub(crate) catalog: CatalogChange,
    pub(crate) progress: mpsc::UnboundedSender<RescaleProgress>,
    pub(crate) reply: oneshot::Sender<Result<RescaleSummary>>,
}
