//! Rescales: several at a time, of jobs that do not read each other.
//!
//! ```text
//!   statement ─► queue ─ nothing in its way ─► opening barrier ─► subscales ─► closing barrier ─► checkpoint
//!                  │                               │
//!                  └── a later statement about the same job, CANCEL RESCALE or DROP ends it early
//! ```
//!
//! A rescale changes the channels into the jobs that read its job, and those must not change while
//! key groups move there; so jobs that read each other take turns.

use std::sync::PoisonError;

use scaling::{CoordinatorAction, CoordinatorEvent, ExecutorId, Signal, Subscale, SubscaleId};
use storage::crash_point;
use tokio::sync::oneshot;

use super::{AskedRescale, Carried, Conductor, Persisting, Queued};
use crate::engine::{ExecutorStatus, KeyGroupStatus, Observation};
use crate::error::{Error, Result};
use crate::executor::HandOver;
use crate::job::{Jobs, is_root};
use crate::message::{Control, Topology};
use crate::rescale::{
    Measured, Phase, RESCALES_KEPT, Rescale, RescaleOptions, RescalePlan, RescaleRequest,
    RescaleState, RescaleSummary, RescaleTarget, SubscaleState, SubscaleStatus, asked,
    expected_division, plan, span,
};
use crate::world;
use crate::writer::TableWriter;

/// A rescale that is over.
pub(super) struct PastRescale {
    pub(super) summary: RescaleSummary,
    subscales: Vec<SubscaleStatus>,
}

impl From<&RescaleSummary> for PastRescale {
    /// One of which only the summary is known.
    fn from(summary: &RescaleSummary) -> PastRescale {
        PastRescale {
            summary: summary.clone(),
            subscales: Vec::new(),
        }
    }
}

impl Conductor {
    /// Checks a statement and gives it its number. An earlier one about the same job ends early.
    pub(super) fn on_rescale(&mut self, request: RescaleRequest) {
        if let Err(error) = self.check_runs(request.job) {
            let _ = request.reply.send(Err(error));
            return;
        }
        let Some(job) = self.jobs.get(request.job) else {
            let error = Error::UnknownJob { job: request.job };
            let _ = request.reply.send(Err(error));
            return;
        };
        if !self.shared.options.scalable {
            let reason = "the engine was opened without the means to rescale".to_owned();
            let _ = request.reply.send(Err(Error::Plan { reason }));
            return;
        }
        let max = usize::from(self.jobs.key_groups());
        if let RescaleTarget::Parallelism(asked) = request.options.target
            && !(1..=max).contains(&asked)
        {
            let _ = request.reply.send(Err(Error::Parallelism { asked, max }));
            return;
        }
        let id = self.next_rescale;
        self.next_rescale += 1;
        crash_point!("rescale.asked");
        let summary = asked(id, request.job, &request.options, job.spec.parallelism);
        self.end_rescales_of(request.job, &RescaleState::Superseded);
        self.queue.push_back(Queued::Rescale(Box::new(AskedRescale {
            request,
            summary,
            since: world::now(),
        })));
    }

    /// Ends what is queued and what runs for a job.
    pub(super) fn end_rescales_of(&mut self, job: u32, state: &RescaleState) {
        for id in self.rescales_of(job) {
            self.end_rescale(id, state);
        }
    }

    fn rescales_of(&self, job: u32) -> Vec<u64> {
        let queued = self.queue.iter().filter_map(|command| match command {
            Queued::Rescale(asked) if asked.request.job == job => Some(asked.summary.id),
            _ => None,
        });
        let running = self.rescales.iter().filter(|(_, r)| r.job == job);
        queued.chain(running.map(|(id, _)| *id)).collect()
    }

    /// Ends a rescale early. Whether it was there and not almost over.
    pub(super) fn end_rescale(&mut self, id: u64, state: &RescaleState) -> bool {
        let is_it =
            |queued: &Queued| matches!(queued, Queued::Rescale(asked) if asked.summary.id == id);
        if let Some(position) = self.queue.iter().position(is_it)
            && let Some(Queued::Rescale(asked)) = self.queue.remove(position)
        {
            let AskedRescale {
                request,
                mut summary,
                ..
            } = *asked;
            summary.state = state.clone();
            summary.to = summary.from;
            self.remember(summary.clone(), Vec::new());
            let _ = request.reply.send(Ok(summary));
            return true;
        }
        let Some(rescale) = self.rescales.get_mut(&id) else {
            return false;
        };
        match rescale.end_early(state.clone()) {
            Ok(Some(actions)) => {
                self.carry_out(id, actions);
                crash_point!("rescale.ended_early");
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "a rescale could not be ended early");
                false
            }
        }
    }

    /// Begins a rescale, nothing being in its way.
    pub(super) fn begin_rescale(&mut self, asked: AskedRescale) {
        let AskedRescale {
            request,
            mut summary,
            since,
        } = asked;
        let job = request.job;
        let Some(placed) = self.jobs.get(job) else {
            let _ = request.reply.send(Err(Error::UnknownJob { job }));
            return;
        };
        summary.from = placed.spec.parallelism;
        let id = summary.id;
        let measured = Measured {
            state_sizes: &self.state_sizes,
            loads: &self.loads,
            speed: self.speed,
        };
        let opened = Rescale::open(
            request,
            summary,
            since,
            &mut self.jobs,
            &measured,
            &mut self.next_subscale,
            &mut self.topology,
        );
        match opened {
            Ok(rescale) => {
                let phase = rescale.phase;
                self.rescales.insert(id, rescale);
                self.carried.push(Carried::Rescale(id, phase));
                crash_point!("rescale.begun");
            }
            Err((error, reply)) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Carries on with a rescale whose barrier has just ended.
    pub(super) fn continue_rescale(
        &mut self,
        id: u64,
        phase: Phase,
        persisting: &mut Persisting,
    ) -> Result<()> {
        let Some(mut rescale) = self.rescales.remove(&id) else {
            return Ok(());
        };
        match phase {
            Phase::Opening => {
                for (key, executor) in rescale.added.clone() {
                    let parts = self.parts(key, executor, rescale.migrations_to(executor))?;
                    self.spawn(parts)?;
                }
                crash_point!("rescale.opened");
                let actions = rescale.start(&self.jobs);
                self.rescales.insert(id, rescale);
                self.carry_out(id, actions?);
            }
            Phase::Moving => {
                self.rescales.insert(id, rescale);
            }
            Phase::Closing => {
                for executor in rescale.retired() {
                    self.tasks.remove(&executor);
                    self.network.remove(executor);
                    self.loads.remove(&executor);
                }
                for (from, to) in rescale.migrations() {
                    self.network.remove_migration(from, to);
                }
                crash_point!("rescale.closed");
                persisting.rescales.push(rescale);
            }
            Phase::Stopping => {
                // Nothing is published until everything runs again.
                self.stopping = true;
                persisting.rescales.push(rescale);
            }
        }
        Ok(())
    }

    /// Does what a rescale's coordinator asks for.
    pub(super) fn carry_out(&mut self, id: u64, actions: Vec<CoordinatorAction>) {
        let Some(rescale) = self.rescales.get_mut(&id) else {
            return;
        };
        let mechanism = rescale.mechanism();
        for action in actions {
            match action {
                CoordinatorAction::PrepareNew { to, subscale } => {
                    rescale.subscale_opened(&subscale);
                    let lane = self.network.control_sender(to);
                    lane.push(Control::PrepareNew(subscale, mechanism));
                }
                CoordinatorAction::PrepareOld { to, subscale } => {
                    let lane = self.network.control_sender(to);
                    lane.push(Control::PrepareOld(subscale, mechanism));
                }
                CoordinatorAction::Switch {
                    predecessor,
                    subscale,
                } => {
                    crash_point!("rescale.switching");
                    let fragment = rescale.fragment(subscale.id);
                    let lane = self.network.control_sender(predecessor);
                    lane.push(Control::Switch { fragment, subscale });
                }
                CoordinatorAction::SwitchAtBarrier { subscales } => {
                    crash_point!("rescale.switching");
                    debug_assert_eq!(mechanism.signal, Signal::Barrier);
                    for (subscale, predecessors) in subscales {
                        rescale.subscale_opened(&subscale);
                        switch_at_barrier(rescale, &subscale, predecessors, &mut self.topology);
                    }
                    self.carried.push(Carried::Rescale(id, Phase::Moving));
                }
                CoordinatorAction::SubscaleDone { subscale } => {
                    rescale.subscale_done(&subscale, &mut self.jobs);
                    crash_point!("rescale.subscale_done");
                }
                CoordinatorAction::Finished => {
                    crash_point!("rescale.moved");
                    rescale.close(&mut self.jobs, &mut self.topology);
                    self.carried.push(Carried::Rescale(id, Phase::Closing));
                }
            }
        }
    }

    pub(super) fn on_subscale(&mut self, id: SubscaleId, event: CoordinatorEvent) -> Result<()> {
        let found = self.rescales.iter_mut().find(|(_, r)| r.has(id));
        let Some((&rescale, running)) = found else {
            return Err(Error::Plan {
                reason: "a subscale without a rescale".to_owned(),
            });
        };
        let actions = running.step(event)?;
        self.carry_out(rescale, actions);
        Ok(())
    }

    /// Notes how the key groups of a subscale, all of which are there, came over.
    pub(super) fn on_hand_overs(&mut self, id: SubscaleId, seen: &[HandOver]) {
        let bytes = seen.iter().map(|hand_over| hand_over.bytes).sum();
        self.speed.learn(seen.len(), bytes, span(seen));
        if let Some(rescale) = self.rescales.values_mut().find(|r| r.has(id)) {
            rescale.hand_overs(id, seen);
        }
    }

    /// Answers a rescale that is over.
    pub(super) fn finish_rescale(&mut self, mut rescale: Rescale, outcome: Result<()>) {
        rescale.finish();
        let Rescale {
            reply,
            mut summary,
            statuses,
            ..
        } = rescale;
        if outcome.is_err() {
            summary.state = RescaleState::Failed;
        }
        self.remember(summary.clone(), statuses.into_values().collect());
        let _ = reply.send(outcome.map(|()| summary));
        crash_point!("rescale.answered");
    }

    /// Ends the running rescales because the jobs failed.
    pub(super) fn fail_rescales(&mut self, failed: impl Fn() -> Error) {
        for rescale in std::mem::take(&mut self.rescales).into_values() {
            self.fail_rescale(rescale, failed());
        }
    }

    /// Ends a rescale whose job failed: that will start again as it was before.
    pub(super) fn fail_rescale(&mut self, rescale: Rescale, error: Error) {
        if let Some(job) = self.jobs.get_mut(rescale.job) {
            job.spec.parallelism = rescale.summary.from;
        }
        self.finish_rescale(rescale, Err(error));
    }

    pub(super) fn remember(&mut self, summary: RescaleSummary, subscales: Vec<SubscaleStatus>) {
        if self.history.len() == RESCALES_KEPT {
            self.history.pop_front();
        }
        self.history.push_back(PastRescale { summary, subscales });
    }

    /// What a rescale would do, from what is measured now.
    pub(super) fn explain(&self, job: u32, options: &RescaleOptions) -> Result<RescalePlan> {
        self.check_runs(job)?;
        let from = self
            .jobs
            .get(job)
            .ok_or(Error::UnknownJob { job })?
            .spec
            .parallelism;
        let mechanism = options.strategy.mechanism().unwrap_or_default();
        let measured = Measured {
            state_sizes: &self.state_sizes,
            loads: &self.loads,
            speed: self.speed,
        };
        // The plan is made in a copy: nothing of it happens.
        let mut jobs: Jobs = self.jobs.clone();
        let division = mechanism.division(expected_division(options, &self.speed));
        let plans = plan(job, options, &division, &mut jobs, &measured, &mut 1)?;
        let summary = asked(0, job, options, from);
        let (mut bytes, mut key_groups, mut pause) = (0, 0, std::time::Duration::ZERO);
        let mut subscales = Vec::new();
        for fragment in plans {
            for (subscale, of_subscale) in fragment.subscales {
                let count = subscale.key_groups.len();
                (bytes, key_groups) = (bytes + of_subscale, key_groups + count);
                let took = self.speed.time(count, of_subscale);
                pause = pause.max(took);
                subscales.push(planned(fragment.key.fragment, subscale, of_subscale, took));
            }
        }
        Ok(RescalePlan {
            from,
            to: summary.to,
            strategy: options.strategy,
            subscales,
            bytes,
            // A barrier opens, one closes.
            duration: self.barrier_mean * 2 + self.speed.time(key_groups, bytes),
            pause,
        })
    }

    /// What is known of executors, key groups and rescales.
    pub(super) fn observe(&self) -> Observation {
        let (mut executors, mut key_groups) = (Vec::new(), Vec::new());
        let mut lateness = Vec::new();
        for (key, fragment, placement) in self.jobs.iter().flat_map(crate::job::Job::fragments) {
            for &executor in &placement.executors {
                let of_executor = self.lateness.get(&executor).into_iter().flatten();
                lateness.extend(of_executor.map(|lateness| (key.job, lateness.clone())));
                let load = self.loads.get(&executor).cloned().unwrap_or_default();
                let (busy, backpressured, suspended) = load.shares();
                executors.push(ExecutorStatus {
                    job: key.job,
                    fragment: key.fragment,
                    is_root: is_root(fragment),
                    executor,
                    key_groups: placement.assignment.owned_by(executor).len(),
                    busy,
                    backpressured,
                    suspended,
                    row_rate: load.row_rate(),
                });
            }
            for (key_group, owner) in placement.assignment.iter() {
                let load = self.loads.get(&owner).map(|load| load.key_group(key_group));
                let load = load.unwrap_or_default();
                let size = self.state_sizes.get(&(owner, key_group));
                let size = size.copied().unwrap_or_default();
                key_groups.push(KeyGroupStatus {
                    job: key.job,
                    fragment: key.fragment,
                    key_group,
                    owner,
                    rows: size.rows,
                    bytes: size.bytes,
                    evicted_bytes: size.evicted_bytes,
                    busy: load.busy,
                    row_rate: load.rows,
                });
            }
        }
        let queued = self.queue.iter().filter_map(|command| match command {
            Queued::Rescale(asked) => Some(asked.summary.clone()),
            _ => None,
        });
        let past = self.history.iter();
        let running = self.rescales.values();
        let rescales = past
            .clone()
            .map(|past| past.summary.clone())
            .chain(running.clone().map(|rescale| rescale.summary.clone()))
            .chain(queued)
            .collect();
        let subscales = past
            .flat_map(|past| past.subscales.iter().cloned())
            .chain(running.flat_map(|rescale| rescale.statuses.values().cloned()))
            .collect();
        let queued_by_writers: u64 = {
            let writers = self.shared.writers.lock();
            let writers = writers.unwrap_or_else(PoisonError::into_inner);
            writers.values().map(TableWriter::queued_bytes).sum()
        };
        Observation {
            state_bytes: self.shared.memory.resident(),
            queued_bytes: self.network.queued_bytes() + queued_by_writers,
            lateness,
            executors,
            key_groups,
            rescales,
            subscales,
            barriers: self.barriers(),
        }
    }

    /// What a running operation shows of a job.
    pub(super) fn rescale_of(&self, job: u32) -> Option<&Rescale> {
        self.rescales.values().find(|rescale| rescale.job == job)
    }

    /// After the checkpoint of a `stop_restart`: everything starts again, the jobs with their new
    /// parallelism.
    pub(super) async fn restart_rescaled(&mut self, rescales: &mut [Rescale]) -> Result<()> {
        if !rescales
            .iter()
            .any(|rescale| rescale.phase == Phase::Stopping)
        {
            return Ok(());
        }
        self.end_all();
        let mut specs = self.all_specs();
        for rescale in rescales.iter() {
            for spec in specs.iter_mut().filter(|spec| spec.id == rescale.job) {
                spec.parallelism = rescale.summary.to;
            }
        }
        self.in_flight = None;
        self.stopping = false;
        self.jobs = Jobs::new(self.shared.options.key_groups);
        self.start(specs).await
    }

    /// The queued operation that can begin now, if any. Rescales pass each other unless their jobs
    /// are connected; creating and dropping jobs waits for all that was asked before.
    pub(super) fn next_to_begin(&mut self) -> Option<Queued> {
        if self.operation.is_some() || self.shutdown.is_some() || self.stopping {
            return None;
        }
        let mut position = 0;
        loop {
            let begins = match self.queue.get(position)? {
                Queued::Rescale(asked) => {
                    let mut earlier = self.queue.iter().take(position);
                    self.may_begin(asked) && !earlier.any(|other| self.hinders(other, asked))
                }
                Queued::Create { .. } | Queued::Drop { .. } | Queued::Widen(_) => {
                    if position > 0 || !self.rescales.is_empty() {
                        return None;
                    }
                    true
                }
            };
            if begins {
                return self.queue.remove(position);
            }
            position += 1;
        }
    }

    fn may_begin(&self, asked: &AskedRescale) -> bool {
        // Nothing of a backfill is durable: it cannot be stopped and started again.
        let stops = asked.summary.strategy.mechanism().is_none();
        let in_the_way = |other: &Rescale| {
            let connected = self.jobs.are_connected(asked.request.job, other.job);
            stops || connected || other.phase == Phase::Stopping
        };
        (!stops || self.backfills.is_empty()) && !self.rescales.values().any(in_the_way)
    }

    fn hinders(&self, earlier: &Queued, asked: &AskedRescale) -> bool {
        match earlier {
            Queued::Rescale(other) => {
                let (a, b) = (other.request.job, asked.request.job);
                self.jobs.are_connected(a, b)
            }
            Queued::Create { .. } | Queued::Drop { .. } | Queued::Widen(_) => true,
        }
    }

    /// The command of `CANCEL RESCALE`.
    pub(super) fn on_cancel(&mut self, id: u64, reply: oneshot::Sender<Result<()>>) {
        let ended = self.end_rescale(id, &RescaleState::Cancelled);
        let outcome = if ended {
            Ok(())
        } else {
            Err(Error::UnknownRescale { id })
        };
        let _ = reply.send(outcome);
    }
}

fn switch_at_barrier(
    rescale: &Rescale,
    subscale: &Subscale,
    predecessors: Vec<ExecutorId>,
    topology: &mut Topology,
) {
    let (fragment, mechanism) = (rescale.fragment(subscale.id), rescale.mechanism());
    for predecessor in predecessors {
        let change = topology.of(predecessor);
        change.switch.push((fragment, subscale.clone()));
    }
    let new = topology.of(subscale.new_owner);
    new.prepare_new.push((subscale.clone(), mechanism));
    let old = topology.of(subscale.old_owner);
    old.prepare_old.push((subscale.clone(), mechanism));
}

fn planned(
    fragment: usize,
    subscale: Subscale,
    bytes: u64,
    took: std::time::Duration,
) -> SubscaleStatus {
    SubscaleStatus {
        rescale: 0,
        id: subscale.id,
        fragment,
        old_owner: subscale.old_owner,
        new_owner: subscale.new_owner,
        key_groups: subscale.key_groups,
        bytes,
        state: SubscaleState::Waiting,
        opened_after: None,
        took: Some(took),
        pause_max: took,
    }
}
