//! The simulated world: predecessors, executors, the channels between them, barriers, scalings,
//! crashes.
//!
//! ```text
//!   choices() ─► every step that could happen now ─► one of them, by weight ─► act() ─► checks ─► again
//! ```
//!
//! Some kinds of steps and some executors are slow in some runs. A run ends when all rows are made,
//! all scalings over and a last epoch is committed; a run in which nothing can happen before that
//! is a deadlock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scaling::{Assignment, CoordinatorEvent, Epoch, Event, ExecutorId, KeyGroup, Rules, Subscale};

use crate::check::{Checked, Coverage, Monitor, Violation, ensure};
use crate::choice::{Choice, Weights};
use crate::epochs::{Epochs, Topology};
use crate::executor::{Executor, Outside};
use crate::message::{Control, Net, State};
use crate::plan::Plan;
use crate::predecessor::{Cut, Predecessor};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// More steps than any run needs.
const STEPS_MAX: u64 = 200_000;

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rules: Rules,
    pub(crate) random: Random,
    weights: Weights,
    scripts: BTreeMap<ExecutorId, Vec<(KeyGroup, u16)>>,
    pub(crate) predecessors: BTreeMap<ExecutorId, Predecessor>,
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    pub(crate) owners: Assignment,
    pub(crate) net: Net,
    pub(crate) epochs: Epochs,
    pub(crate) plan: Plan,
    pub(crate) monitor: Monitor,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    step: u64,
}

/// How a run went.
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    pub(crate) trace_hash: u64,
    pub(crate) coverage: Coverage,
    pub(crate) result: Result<BTreeMap<KeyGroup, State>, Violation>,
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: &Scenario, rules: Rules, words: bool) -> Outcome {
    let mut world = World::new(scenario.clone(), rules, words);
    let result = world.run();
    let trace_hash = std::hash::Hasher::finish(&world.trace);
    Outcome {
        steps: world.step,
        trace_hash,
        coverage: world.coverage,
        result,
    }
}

/// The result of the scenario without any scaling: each key group has seen all rows made for it.
pub(crate) fn unscaled(scenario: &Scenario) -> BTreeMap<KeyGroup, State> {
    let mut result: BTreeMap<_, _> = key_groups(scenario)
        .map(|key_group| (key_group, State::default()))
        .collect();
    for (predecessor, script) in scripts(scenario) {
        let mut made: BTreeMap<(KeyGroup, u16), u32> = BTreeMap::new();
        for of in script {
            let number = made.entry(of).or_default();
            let state = result
                .get_mut(&of.0)
                .expect("scripts name only key groups there are");
            state
                .0
                .entry((predecessor, of.1))
                .or_default()
                .insert(*number);
            *number += 1;
        }
    }
    result
}

fn key_groups(scenario: &Scenario) -> impl Iterator<Item = KeyGroup> + use<> {
    (0..scenario.key_groups).map(KeyGroup)
}

fn scripts(scenario: &Scenario) -> BTreeMap<ExecutorId, Vec<(KeyGroup, u16)>> {
    let random = &mut Random::new(!scenario.seed);
    let mut row = || {
        let key_group = u16::try_from(random.below(usize::from(scenario.key_groups))).unwrap();
        (
            KeyGroup(key_group),
            u16::try_from(random.below(usize::from(scenario.inputs))).unwrap(),
        )
    };
    let ids = (0..scenario.predecessors).map(|number| ExecutorId(100 + number as u32));
    let rows = |id| {
        if scenario.idle_predecessor == Some(id) {
            0
        } else {
            scenario.rows_per_predecessor
        }
    };
    ids.map(|id| (id, (0..rows(id)).map(|_| row()).collect()))
        .collect()
}

impl World {
    fn new(scenario: Scenario, rules: Rules, words: bool) -> World {
        let mut random = Random::new(scenario.seed ^ 0x5ca1_ab1e);
        let executors: Vec<_> = (0..scenario.executors as u32).map(ExecutorId).collect();
        let owners = Assignment::even(&executors, scenario.key_groups);
        let states = key_groups(&scenario)
            .map(|key_group| (key_group, State::default()))
            .collect();
        let scripts = scripts(&scenario);
        let start = Cut {
            position: 0,
            rows: BTreeMap::new(),
        };
        let cuts = scripts.keys().map(|id| (*id, start.clone())).collect();
        let mut world = World {
            rules,
            weights: Weights::new(&mut random),
            random,
            scripts,
            predecessors: BTreeMap::new(),
            executors: BTreeMap::new(),
            owners: owners.clone(),
            net: Net::default(),
            epochs: Epochs::new(states, cuts),
            plan: Plan::new(scenario.targets.clone()),
            monitor: Monitor::default(),
            coverage: Coverage::default(),
            trace: Trace::new(words),
            step: 0,
            scenario,
        };
        world.start(&executors, owners);
        world
    }

    /// Brings everything up from the last complete epoch, under any assignment.
    fn start(&mut self, executors: &[ExecutorId], owners: Assignment) {
        self.net = Net::default();
        self.monitor = Monitor::default();
        let last = self.epochs.restart();
        self.predecessors = BTreeMap::new();
        for (id, script) in &self.scripts {
            let (script, cut) = (script.clone(), self.epochs.cut(last, *id).clone());
            self.predecessors.insert(
                *id,
                Predecessor::new(*id, script, self.scenario.inputs, cut, owners.clone()),
            );
        }
        self.executors = BTreeMap::new();
        for id in executors {
            self.add_executor(*id, last);
            self.predecessors
                .values_mut()
                .for_each(|predecessor| predecessor.open(*id));
            let executor = self.executors.get_mut(id).unwrap();
            executor.migration.own(&owners.owned_by(*id));
            executor.states = self.epochs.states_of(last, &owners.owned_by(*id));
        }
        self.owners = owners;
    }

    /// An executor without key groups whose first epoch is the one after `last`, with its ends of
    /// the regular channels.
    pub(crate) fn add_executor(&mut self, id: ExecutorId, last: Epoch) {
        let mut executor = Executor::new(id, last, &self.scenario, self.rules);
        for predecessor in self.predecessors.values() {
            for channel in predecessor.channels_to(id) {
                self.net.regular.insert(channel, VecDeque::new());
                let opened = executor
                    .migration
                    .step(Event::OpenChannel { channel }, &mut Vec::new());
                opened.expect("a new executor is between epochs");
            }
        }
        self.executors.insert(id, executor);
    }

    fn run(&mut self) -> Result<BTreeMap<KeyGroup, State>, Violation> {
        let mut crashes = self.scenario.crashes_at.clone();
        while !self.finished() {
            self.step += 1;
            ensure!(self.step < STEPS_MAX, "livelock");
            if crashes.contains(&self.step) {
                crashes.retain(|at| *at != self.step);
                self.crash();
            }
            let choices = self.choices();
            ensure!(!choices.is_empty(), "deadlock");
            let choice = self.weights.pick(choices, &mut self.random);
            self.trace.record(&choice);
            self.act(choice)?;
            self.check_owners()?;
        }
        let result = self.epochs.states(self.epochs.complete()).clone();
        ensure!(
            result == unscaled(&self.scenario),
            "the final result differs from that of the unscaled run"
        );
        Ok(result)
    }

    fn rows_exhausted(&self) -> bool {
        self.predecessors.values().all(Predecessor::exhausted)
    }

    fn finished(&self) -> bool {
        self.rows_exhausted()
            && self.plan.over()
            && self.epochs.settled()
            && self.epochs.holds_all(&self.predecessors)
    }

    fn crash(&mut self) {
        self.coverage.saw(if self.plan.running() {
            "crash during a scaling"
        } else {
            "crash"
        });
        let executors: Vec<_> = (0..self.random.between(1, 4) as u32)
            .map(ExecutorId)
            .collect();
        let owners = (0..self.scenario.key_groups)
            .map(|_| self.random.pick(&executors))
            .collect();
        self.plan.crash();
        self.start(&executors, Assignment { owners });
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (id, predecessor) in &self.predecessors {
            let room = predecessor.unsent_messages() < self.scenario.unsent_messages_max;
            let rows_left = predecessor.rows_up_to(self.plan.share_of_rows());
            choices.extend((room && rows_left).then_some(Choice::MakeRows(*id)));
            choices.extend((!predecessor.due.is_empty()).then_some(Choice::MakeBarrier(*id)));
            for (channel, queue) in &predecessor.unsent {
                let room = self.net.regular[channel].len() < self.scenario.channel_messages_max;
                choices.extend((room && !queue.is_empty()).then_some(Choice::Send(*channel)));
            }
        }
        for (id, executor) in &self.executors {
            choices.extend(executor.can_read(&self.net).then_some(Choice::Read(*id)));
            choices.extend(executor.can_flush(&self.net).then_some(Choice::Flush(*id)));
            choices.extend(executor.can_poll().then_some(Choice::Poll(*id)));
            if let Some(epoch) = executor.committing {
                let leaves = self.epochs.topology(epoch).retires(*id);
                choices.extend(
                    (!leaves || executor.outbox().next().is_none()).then_some(Choice::Commit(*id)),
                );
            }
        }
        for ((from, to), queue) in &self.net.migration {
            let readable = self
                .executors
                .get(to)
                .is_some_and(|executor| executor.migration.may_read_migration(*from));
            choices.extend(
                (readable && !queue.is_empty()).then_some(Choice::ReadMigration(*from, *to)),
            );
        }
        let control = self.net.control.iter().enumerate();
        choices.extend(control.map(|(index, message)| Choice::Control(index, message.receiver())));
        choices.extend(self.may_issue().then_some(Choice::Issue));
        choices.extend(self.plan.may_begin().then_some(Choice::BeginScaling));
        choices.extend((self.scenario.cancel && self.plan.running()).then_some(Choice::Cancel));
        choices
    }

    /// A plain epoch may begin: one of those the scenario has, or the one that ends the run.
    fn may_issue(&self) -> bool {
        let one_of_many = self.epochs.plain() < self.scenario.epochs
            && self.epochs.in_flight() < self.scenario.epochs_in_flight_max;
        one_of_many || (self.rows_exhausted() && self.plan.over() && self.epochs.settled())
    }

    fn act(&mut self, choice: Choice) -> Checked {
        match choice {
            Choice::MakeRows(id) => {
                let count = self.random.between(1, self.scenario.batch_rows_max);
                self.predecessors.get_mut(&id).unwrap().make_rows(count);
            }
            Choice::MakeBarrier(id) => self.make_barrier(id),
            Choice::Send(channel) => {
                let message = self
                    .predecessors
                    .get_mut(&channel.from)
                    .unwrap()
                    .take(channel);
                self.net
                    .regular
                    .get_mut(&channel)
                    .unwrap()
                    .push_back(message);
            }
            Choice::Read(id) => return self.read(id),
            Choice::Flush(id) => self.executors.get_mut(&id).unwrap().flush(&mut self.net),
            Choice::Poll(id) => {
                return self.at(id, |executor, outside| executor.step(Event::Poll, outside));
            }
            Choice::Commit(id) => return self.commit(id),
            Choice::ReadMigration(from, to) => {
                return self.at(to, |executor, outside| {
                    executor.read_migration(from, outside)
                });
            }
            Choice::Control(index, _) => {
                let control = self.net.control.swap_remove(index);
                return self.control(control);
            }
            Choice::Issue => self.issue(Topology::Same),
            Choice::BeginScaling => return self.begin_scaling(),
            Choice::Cancel => {
                self.coverage.saw("cancel");
                self.scenario.cancel = false;
                return self.coordinate(CoordinatorEvent::Cancel);
            }
        }
        Ok(())
    }

    fn at(
        &mut self,
        id: ExecutorId,
        act: impl FnOnce(&mut Executor, &mut Outside<'_>) -> Checked,
    ) -> Checked {
        let World {
            executors,
            net,
            monitor,
            coverage,
            trace,
            ..
        } = self;
        act(
            executors.get_mut(&id).unwrap(),
            &mut Outside {
                net,
                monitor,
                coverage,
                trace,
            },
        )
    }

    /// Reads at an executor while some channels look empty, as they do to a task that runs before
    /// their messages arrive.
    fn read(&mut self, id: ExecutorId) -> Checked {
        let visible = self.weights.visible(&mut self.random);
        self.at(id, |executor, outside| executor.read(&visible, outside))
    }

    fn control(&mut self, control: Control) -> Checked {
        self.trace.record(&control);
        match control {
            // A wish may come late, when its receiver has given all away and is gone.
            Control::ToExecutor(id, Event::Wanted { .. }) if !self.executors.contains_key(&id) => {
                Ok(())
            }
            Control::ToExecutor(id, event) => {
                self.at(id, |executor, outside| executor.step(event, outside))
            }
            Control::Switch(id, subscale) => {
                self.monitor.switched(id, &subscale);
                if self
                    .predecessors
                    .get_mut(&id)
                    .unwrap()
                    .switch(&subscale, self.rules)
                {
                    self.coverage.saw("switch with an unsent barrier");
                }
                Ok(())
            }
            Control::ToCoordinator(event) => self.coordinate(event),
        }
    }

    // Epochs.

    pub(crate) fn issue(&mut self, topology: Topology) {
        let participants = self.plan.live(self.executors.keys());
        let epoch = self.epochs.issue(participants, topology);
        self.predecessors
            .values_mut()
            .for_each(|predecessor| predecessor.due.push_back(epoch));
    }

    fn make_barrier(&mut self, id: ExecutorId) {
        let predecessor = self.predecessors.get_mut(&id).unwrap();
        let epoch = predecessor.due.pop_front().unwrap();
        predecessor.make_barrier(epoch);
        self.epochs.cut_at(epoch, id, predecessor.cut.clone());
        match self.epochs.topology(epoch) {
            Topology::Same => {}
            Topology::Switch(subscales) => {
                for subscale in subscales {
                    predecessor.route(subscale);
                    self.monitor.switched(id, subscale);
                }
            }
            Topology::Open { added, .. } => added.iter().for_each(|to| predecessor.open(*to)),
            Topology::Close { retired, .. } => retired.iter().for_each(|to| predecessor.close(*to)),
        }
    }

    fn commit(&mut self, id: ExecutorId) -> Checked {
        let epoch = self.executors[&id].committing.unwrap();
        for (key_group, state) in &self.executors[&id].states {
            for predecessor in self.predecessors.keys() {
                for input in 0..self.scenario.inputs {
                    let made = self
                        .epochs
                        .cut(epoch, *predecessor)
                        .rows
                        .get(&(*key_group, input))
                        .copied();
                    let seen = state
                        .0
                        .get(&(*predecessor, input))
                        .cloned()
                        .unwrap_or_default();
                    let made = made.unwrap_or(0);
                    ensure!(
                        seen.is_first(made),
                        "I9: {key_group} at {id} has {seen:?} of {made} in {epoch}"
                    );
                }
            }
        }
        self.epochs.commit(epoch, id, &self.executors[&id].states)?;
        self.at(id, |executor, outside| executor.committed(epoch, outside))?;
        self.change_topology(id, epoch)?;
        while self.epochs.complete_next(self.scenario.key_groups)? {
            self.epoch_complete()?;
        }
        Ok(())
    }

    fn change_topology(&mut self, id: ExecutorId, epoch: Epoch) -> Checked {
        match self.epochs.topology(epoch).clone() {
            Topology::Same => Ok(()),
            Topology::Switch(subscales) => self.prepare_owner(id, subscales),
            Topology::Open { pairs, .. } => self.open_migration_channels(id, &pairs),
            Topology::Close { retired, .. } if retired.contains(&id) => self.retire(id),
            Topology::Close { pairs, .. } => self.close_migration_channels(id, &pairs),
        }
    }

    /// Tells an executor that has committed the barrier of these subscales what it gives and gets.
    fn prepare_owner(&mut self, id: ExecutorId, subscales: Vec<Subscale>) -> Checked {
        let mechanism = self.scenario.mechanism;
        for subscale in subscales {
            let (old_owner, new_owner) = (subscale.old_owner, subscale.new_owner);
            let (key_groups, subscale) = (subscale.key_groups, subscale.id);
            let event = if id == new_owner {
                Event::PrepareNew {
                    subscale,
                    old_owner,
                    key_groups,
                    mechanism,
                }
            } else if id == old_owner {
                Event::PrepareOld {
                    subscale,
                    new_owner,
                    key_groups,
                    mechanism,
                }
            } else {
                continue;
            };
            self.at(id, |executor, outside| executor.step(event, outside))?;
        }
        Ok(())
    }

    pub(crate) fn open_migration_channels(
        &mut self,
        id: ExecutorId,
        pairs: &BTreeSet<(ExecutorId, ExecutorId)>,
    ) -> Checked {
        for (from, to) in pairs {
            self.net.migration.entry((*from, *to)).or_default();
            if *from == id {
                self.at(id, |executor, outside| {
                    executor.step(Event::OpenMigrationTo { to: *to }, outside)
                })?;
            }
            if *to == id {
                self.at(id, |executor, outside| {
                    executor.step(Event::OpenMigrationFrom { from: *from }, outside)
                })?;
            }
        }
        Ok(())
    }

    fn close_migration_channels(
        &mut self,
        id: ExecutorId,
        pairs: &BTreeSet<(ExecutorId, ExecutorId)>,
    ) -> Checked {
        for (from, to) in pairs {
            if *from == id {
                self.at(id, |executor, outside| {
                    executor.step(Event::CloseMigrationTo { to: *to }, outside)
                })?;
            }
            if *to == id {
                let rest = self.net.migration.remove(&(*from, *to)).unwrap_or_default();
                ensure!(
                    rest.is_empty(),
                    "I12: messages behind the last barrier of a migration channel"
                );
                self.at(id, |executor, outside| {
                    executor.step(Event::CloseMigrationFrom { from: *from }, outside)
                })?;
            }
        }
        Ok(())
    }

    fn retire(&mut self, id: ExecutorId) -> Checked {
        let executor = self.executors.remove(&id).unwrap();
        ensure!(
            executor.states.is_empty() && !executor.holds_rows(),
            "I12: {id} retires with state or rows"
        );
        ensure!(
            executor.migration.quiet(),
            "I12: {id} retires in an open subscale"
        );
        self.coverage.saw("executor retired");
        for predecessor in self.predecessors.values() {
            for channel in predecessor.channels_to(id) {
                let rest = self.net.regular.remove(&channel).unwrap_or_default();
                ensure!(
                    rest.is_empty(),
                    "I12: messages behind the last barrier of {channel}"
                );
            }
        }
        self.net.migration.retain(|(_, to), _| *to != id);
        Ok(())
    }

    // Checks of every step.

    /// I1: every key group at one executor or under way once, and the machines know it.
    fn check_owners(&self) -> Checked {
        let mut found = vec![0u32; usize::from(self.scenario.key_groups)];
        for (id, executor) in &self.executors {
            for key_group in executor.states.keys() {
                found[key_group.index()] += 1;
                ensure!(
                    executor.migration.owns(*key_group),
                    "I1: {id} has {key_group} and does not know it"
                );
            }
            let owned = key_groups(&self.scenario)
                .filter(|key_group| executor.migration.owns(*key_group))
                .count();
            ensure!(
                owned == executor.states.len(),
                "I1: {id} believes to own what it does not have"
            );
            for (_, transfer) in executor.outbox() {
                count_state(transfer, &mut found);
            }
        }
        self.net
            .migration
            .values()
            .flatten()
            .for_each(|transfer| count_state(transfer, &mut found));
        let wrong = found.iter().position(|count| *count != 1);
        ensure!(
            wrong.is_none(),
            "I1: key group {wrong:?} is at other than one place: {found:?}"
        );
        Ok(())
    }
}

fn count_state(transfer: &crate::message::Transfer, found: &mut [u32]) {
    if let crate::message::Transfer::State { key_group, .. } = transfer {
        found[key_group.index()] += 1;
    }
}
