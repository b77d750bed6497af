//! One state of the model, and every step that can follow: predecessors, executors, the channels
//! between them, barriers, scalings, crashes.
//!
//! ```text
//!   steps() ─► every step that could happen now ─► after(step), for each ─► checks ─► the next states
//! ```
//!
//! # Steps that are no steps of their own
//!
//! The world is as that of the simulation, but for interleavings that cannot make a difference.
//! Each is left out where it is sound, and only there:
//!
//! * **Sending.** A message of a regular channel is in one queue from the moment it is made; whether
//!   it has been sent is decided at a switch, for every number of messages that can have been
//!   ([`Regular::sent_at_switch`]). Nothing else can tell, and sending disables nothing.
//! * **Room on a migration channel** is used at once: only the sender adds to a channel, so a
//!   message that has room keeps it, and the new owner is free to read it late.
//! * **`Prepared`** reaches the coordinator at once: its answer depends on that subscale alone, and
//!   is a message that takes any time itself.
//! * **A commit** happens at once and alone: the executor reads nothing until then, what it awaits
//!   no longer matters, and what others do commutes with it. (A crash just before it leaves what a
//!   crash before the step that led to it leaves.)
//! * **The first barrier** of an epoch at an executor is read at once and alone when it is at the
//!   head: it blocks its channel, no more. That it could come after a hand-over which the second
//!   barrier ends is no run lost: then the second barrier may come after it. That needs signals to take no room on a
//!   channel, as in the engine.
//! * **A crash** leaves the checkpoint, the recorded owners and the scalings not yet over
//!   ([`Remains`]), nothing else; the search follows each such remainder once.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use scaling::{Assignment, CoordinatorEvent, Epoch, Event, ExecutorId, Read};

use crate::executor::{Executor, Told, Turn, Turns};
use crate::fingerprint::Shared;
use crate::ledger::{Change, Checkpoint, Ledger};
use crate::message::{
    Bits, Data, EXECUTORS, KEY_GROUPS, PREDECESSORS, Regular, State, Transfer, executor, index,
};
use crate::plan::{Plan, Stage};
use crate::predecessor::Predecessor;
use crate::setting::{AfterCrash, Interleavings, Setting, Topology};
use crate::step::Step;
use crate::watch::{Checked, Violation, Watch, ensure};

/// One state. Parts that a step does not change are shared with the state before it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ground: Rc<Ground>,
    pub(crate) predecessors: [Shared<Predecessor>; PREDECESSORS],
    /// By number; `None` where there is none at present.
    pub(crate) executors: [Option<Shared<Executor>>; EXECUTORS],
    /// By predecessor and executor.
    regular: [[Shared<Regular>; EXECUTORS]; PREDECESSORS],
    /// By old and new owner; `None` where none is open.
    migration: [[Option<Shared<VecDeque<Transfer>>>; EXECUTORS]; EXECUTORS],
    pub(crate) plan: Shared<Plan>,
    pub(crate) ledger: Shared<Ledger>,
    pub(crate) watch: Shared<Watch>,
}

/// What is the same in every state of a search.
pub(crate) struct Ground {
    pub(crate) setting: Setting,
    turns: RefCell<Turns>,
}

impl Ground {
    pub(crate) fn new(setting: Setting) -> Ground {
        Ground {
            setting,
            turns: RefCell::default(),
        }
    }
}

/// What a crash leaves; also what everything begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Remains {
    checkpoint: Checkpoint,
    owners: Assignment,
    /// The first scaling that is not over.
    next: usize,
    cancelled: bool,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.predecessors.hash(hasher);
        self.executors.hash(hasher);
        self.regular.hash(hasher);
        self.migration.hash(hasher);
        self.plan.hash(hasher);
        self.ledger.hash(hasher);
        self.watch.hash(hasher);
    }
}

impl World {
    /// The beginning: nothing made, nothing scaled.
    pub(crate) fn first(ground: &Rc<Ground>) -> Checked<World> {
        let setting = &ground.setting;
        let mut states = [None; KEY_GROUPS];
        states[..setting.owners.len()].fill(Some(State::default()));
        let beginning = Remains {
            checkpoint: Checkpoint {
                cuts: [0; PREDECESSORS],
                states,
                plain: 0,
            },
            owners: Assignment {
                owners: setting.owners.iter().copied().map(executor).collect(),
            },
            next: 0,
            cancelled: false,
        };
        World::start(ground, beginning)
    }

    /// Brings everything up from a checkpoint, under the recorded owners.
    fn start(ground: &Rc<Ground>, remains: Remains) -> Checked<World> {
        let plan = Plan::new(remains.owners, remains.next, remains.cancelled);
        let there = plan.owning();
        let predecessor = |(p, made): (usize, usize)| Predecessor {
            made,
            full: made == ground.setting.batches[p].len(),
            routing: plan.owners.clone(),
            barrier: Epoch(0),
            open: there,
        };
        let cuts = remains.checkpoint.cuts;
        let mut world = World {
            ground: Rc::clone(ground),
            predecessors: std::array::from_fn(|p| Shared::new(predecessor((p, cuts[p])))),
            executors: [const { None }; EXECUTORS],
            regular: Default::default(),
            migration: Default::default(),
            plan: Shared::new(plan),
            ledger: Shared::new(Ledger::new(remains.checkpoint)),
            watch: Shared::new(Watch::default()),
        };
        for e in there.iter() {
            world.add_executor(e)?;
            world.restore(e)?;
        }
        let over = world.plan.over(&ground.setting);
        if ground.setting.topology == Topology::Standing && !over {
            world.begin_scaling()?;
        }
        Ok(world)
    }

    /// Gives a fresh executor the key groups it is recorded to own.
    fn restore(&mut self, e: usize) -> Checked {
        let owned = self.plan.owners.owned_by(executor(e));
        let states = self.ledger.checkpoint.states;
        let Executor {
            migration,
            states: restored,
            ..
        } = self.executor_mut(e)?;
        migration.own(&owned);
        for key_group in &owned {
            let state = states[key_group.index()];
            ensure!(state.is_some(), "I8: {key_group} is in no checkpoint");
            restored[key_group.index()] = state;
        }
        Ok(())
    }

    /// An executor without key groups whose first epoch is the one after the last issued, with its
    /// ends of the regular channels.
    pub(crate) fn add_executor(&mut self, e: usize) -> Checked {
        let (last, setting) = (self.ledger.issued(), &self.ground.setting);
        let mut new = Executor::new(executor(e), last, setting);
        for predecessor in 0..PREDECESSORS {
            let channel = new.channel(predecessor);
            new.turn(Turn::Event(Event::OpenChannel { channel }), setting)?;
        }
        self.executors[e] = Some(Shared::new(new));
        Ok(())
    }

    // What can happen.

    /// Every step that can happen now. A crash is among them unless a step is taken alone.
    pub(crate) fn steps(&self) -> Vec<Step> {
        if self.finished() {
            return vec![Step::Crash];
        }
        if self.ground.setting.interleavings == Interleavings::Different {
            let making = self.batches_to_make();
            if !making.is_empty() {
                return making;
            }
            if let Some(step) = self.step_alone() {
                return vec![step];
            }
        }
        let mut steps = Vec::new();
        for (p, predecessor) in self.predecessors.iter().enumerate() {
            steps.extend((!predecessor.full).then_some(Step::Make {
                predecessor: p,
                batches: 1,
            }));
            steps.extend(self.may_make_barrier(p).then_some(Step::Barrier(p)));
        }
        self.control_steps(&mut steps);
        for (e, executor) in self.executors.iter().enumerate() {
            let Some(executor) = executor else { continue };
            let reads = (0..PREDECESSORS).filter(|p| self.read_of(*p, executor).is_some());
            steps.extend(reads.map(|predecessor| Step::Read {
                predecessor,
                executor: e,
            }));
            steps.extend(executor.can_poll().then_some(Step::Poll(e)));
            steps.extend(self.may_commit(executor).then_some(Step::Commit(e)));
        }
        for (from, to, queue) in self.migration_channels() {
            let reader = self.executors[to].as_ref();
            let from = executor(from);
            let reads = reader.is_some_and(|e| e.migration.may_read_migration(from));
            let step = Step::ReadMigration(from, executor(to));
            steps.extend((reads && !queue.is_empty()).then_some(step));
        }
        steps.push(Step::Crash);
        steps
    }

    /// How many batches a predecessor makes in front of its next barrier: all, if none comes but the
    /// one that ends everything.
    fn batches_to_make(&self) -> Vec<Step> {
        let Some(predecessor) = self.predecessors.iter().position(|p| !p.full) else {
            return Vec::new();
        };
        let (plan, ledger) = (&self.plan, &self.ledger);
        let barriers_come = self.predecessors[predecessor].barrier < ledger.issued()
            || ledger.plain() < self.ground.setting.barriers
            || plan.barrier_to_come(&self.ground.setting);
        let left =
            self.ground.setting.batches[predecessor].len() - self.predecessors[predecessor].made;
        let least = if barriers_come { 0 } else { left };
        let make = |batches| Step::Make {
            predecessor,
            batches,
        };
        (least..=left).map(make).collect()
    }

    /// A step that is taken at once and alone. See the header.
    fn step_alone(&self) -> Option<Step> {
        let executors = || self.executors.iter().flatten();
        let commits = executors().find(|e| self.may_commit(e));
        commits
            .map(|executor| Step::Commit(executor.index()))
            .or_else(|| {
                (0..PREDECESSORS)
                    .find(|p| self.barrier_is_next(*p))
                    .map(Step::Barrier)
            })
            .or_else(|| executors().find_map(|e| self.first_barrier(e)))
    }

    /// Whether a predecessor can do nothing before its next barrier, as it will switch nothing more.
    fn barrier_is_next(&self, p: usize) -> bool {
        let plan = &self.plan;
        let last = self
            .ground
            .setting
            .targets
            .last()
            .copied()
            .unwrap_or_default();
        let routing = &self.predecessors[p].routing;
        let settled = routing
            .owners
            .iter()
            .map(|owner| index(*owner))
            .eq(last.iter().copied());
        (plan.over(&self.ground.setting) || settled) && self.may_make_barrier(p)
    }

    fn may_make_barrier(&self, p: usize) -> bool {
        self.predecessors[p].barrier < self.ledger.issued() || self.may_issue()
    }

    fn may_commit(&self, executor: &Executor) -> bool {
        let retires = |epoch| match self.ledger.brings(epoch) {
            Ok(Change::Close { retired }) => retired.contains(executor.index()),
            _ => false,
        };
        executor
            .committing
            .is_some_and(|epoch| executor.outbox.is_empty() || !retires(epoch))
    }

    /// A barrier at the head of a channel of an executor that has not got it from any.
    fn first_barrier(&self, executor: &Executor) -> Option<Step> {
        let blocked = |p| !executor.migration.may_read(executor.channel(p));
        if (0..PREDECESSORS).any(blocked) || !self.ground.setting.rules.regular_channels_align {
            return None;
        }
        let at_head = |p: &usize| {
            let head = self.regular(*p, executor.id).queue.front();
            matches!(head, Some(Data::Barrier(_))) && self.read_of(*p, executor).is_some()
        };
        let predecessor = (0..PREDECESSORS).find(at_head)?;
        Some(Step::Read {
            predecessor,
            executor: executor.index(),
        })
    }

    fn read_of(&self, predecessor: usize, executor: &Executor) -> Option<Read> {
        let regular = self.regular(predecessor, executor.id);
        executor.read_of(predecessor, regular, &self.ground.setting)
    }

    fn control_steps(&self, steps: &mut Vec<Step>) {
        let (plan, ledger) = (&self.plan, &self.ledger);
        let idle = plan.stage == Stage::Idle && !plan.over(&self.ground.setting);
        let room = ledger.in_flight() < self.ground.setting.in_flight_max;
        steps.extend((idle && room).then_some(Step::BeginScaling));
        let moving = plan.stage == Stage::Moving;
        steps.extend(
            (self.ground.setting.cancel && moving && !plan.cancelled).then_some(Step::Cancel),
        );
        for (subscale, mail) in plan.subscales.iter().zip(&plan.mail) {
            let id = subscale.id;
            steps.extend(mail.prepare_new.then_some(Step::PrepareNew(id)));
            steps.extend(mail.prepare_old.then_some(Step::PrepareOld(id)));
            steps.extend(mail.done.then_some(Step::Done(id)));
            for predecessor in mail.switch.iter() {
                let regular = self.regular(predecessor, subscale.old_owner);
                let Setting {
                    channel_batches_max,
                    rules,
                    ..
                } = self.ground.setting;
                let sent = regular.sent_at_switch(channel_batches_max, rules);
                steps.extend(sent.into_iter().map(|sent| Step::Switch {
                    predecessor,
                    subscale: id,
                    sent,
                }));
            }
        }
    }

    /// A plain epoch may begin: one of those the setting has, or the one that ends the run.
    fn may_issue(&self) -> bool {
        let (plan, ledger) = (&self.plan, &self.ledger);
        let one_of_many = ledger.plain() < self.ground.setting.barriers
            && ledger.in_flight() < self.ground.setting.in_flight_max;
        let last = self.all_made() && plan.over(&self.ground.setting) && ledger.in_flight() == 0;
        one_of_many || last
    }

    fn all_made(&self) -> bool {
        let all = |(p, it): (usize, &Shared<Predecessor>)| {
            it.made == self.ground.setting.batches[p].len()
        };
        self.predecessors.iter().enumerate().all(all)
    }

    /// Whether all rows are made and committed and all scalings over.
    pub(crate) fn finished(&self) -> bool {
        let (plan, ledger) = (&self.plan, &self.ledger);
        let committed = || {
            let made = self.predecessors.iter().map(|p| p.made);
            made.eq(ledger.checkpoint.cuts)
        };
        plan.over(&self.ground.setting) && ledger.in_flight() == 0 && self.all_made() && committed()
    }

    // What then is.

    /// The state after a step that can happen in this one.
    pub(crate) fn after(&self, step: Step) -> Checked<World> {
        let mut world = self.clone();
        match step {
            Step::Make {
                predecessor,
                batches,
            } => world.make_batches(predecessor, batches),
            Step::Barrier(p) => world.make_barrier(p)?,
            Step::BeginScaling => world.begin_scaling()?,
            Step::Cancel => {
                world.plan.change().cancelled = true;
                world.coordinate(CoordinatorEvent::Cancel)?;
            }
            Step::PrepareNew(id) => world.prepare_new(id)?,
            Step::PrepareOld(id) => world.prepare_old(id)?,
            Step::Switch {
                predecessor,
                subscale,
                sent,
            } => world.switch(predecessor, subscale, sent),
            Step::Done(id) => world.done(id)?,
            Step::Read {
                predecessor,
                executor,
            } => world.read(predecessor, executor)?,
            Step::ReadMigration(from, to) => world.read_migration(from, to)?,
            Step::Poll(e) => world.tell(e, Event::Poll)?,
            Step::Commit(e) => world.commit(e)?,
            Step::Crash => return World::start(&self.ground, self.remains()),
        }
        world.use_room()?;
        world.check_owners()?;
        if world.finished() {
            world.check_end()?;
        }
        Ok(world)
    }

    /// What a crash would leave now.
    pub(crate) fn remains(&self) -> Remains {
        let (plan, ledger) = (&self.plan, &self.ledger);
        let target = self.ground.setting.targets.get(plan.next);
        let there = |target: &&[usize]| {
            let owners = plan.owners.owners.iter().map(|owner| index(*owner));
            owners.eq(target.iter().copied())
        };
        let running = plan.stage != Stage::Idle;
        let next = match self.ground.setting.after_crash {
            AfterCrash::Again if running && target.is_some_and(there) => plan.next + 1,
            AfterCrash::Forgotten if running => self.ground.setting.targets.len(),
            _ => plan.next,
        };
        Remains {
            checkpoint: ledger.checkpoint,
            owners: plan.owners.clone(),
            next,
            cancelled: plan.cancelled,
        }
    }

    fn make_batches(&mut self, p: usize, batches: usize) {
        for _ in 0..batches {
            self.make(p);
        }
        let predecessor = self.predecessors[p].change();
        let all = predecessor.made == self.ground.setting.batches[p].len();
        predecessor.full = all || self.ground.setting.interleavings == Interleavings::Different;
    }

    fn make(&mut self, p: usize) {
        let rows = self.ground.setting.batch(p, self.predecessors[p].made);
        let routing = self.predecessors[p].routing.clone();
        self.predecessors[p].change().made += 1;
        let owners: BTreeSet<_> = rows
            .iter()
            .map(|row| routing.owner(row.key_group))
            .collect();
        for owner in owners {
            let to_it = rows
                .iter()
                .filter(|row| routing.owner(row.key_group) == owner);
            let batch = Data::Batch(to_it.copied().collect());
            self.regular_mut(p, owner).queue.push_back(batch);
        }
    }

    pub(crate) fn issue(&mut self, topology: Change) {
        let leaving = self.plan.leaving;
        let live = self.there().iter().filter(|e| !leaving.contains(*e));
        self.ledger.change().issue(live.collect(), topology);
    }

    /// The executors there are.
    pub(crate) fn there(&self) -> Bits {
        let there = |e: &usize| self.executors[*e].is_some();
        (0..EXECUTORS).filter(there).collect()
    }

    fn make_barrier(&mut self, p: usize) -> Checked {
        if self.predecessors[p].barrier == self.ledger.issued() {
            self.issue(Change::Same);
        }
        let predecessor = self.predecessors[p].change();
        predecessor.barrier = predecessor.barrier.next();
        let Predecessor {
            made,
            barrier,
            open,
            ..
        } = *predecessor;
        predecessor.full = made == self.ground.setting.batches[p].len();
        let ledger = &mut self.ledger.change();
        ledger.cut_at(barrier, p, made)?;
        self.predecessors[p].change().open = match ledger.brings(barrier)? {
            Change::Same => open,
            Change::Open { added } => open.iter().chain(added.iter()).collect(),
            Change::Close { retired } => open.iter().filter(|e| !retired.contains(*e)).collect(),
        };
        for e in open.iter() {
            let queue = &mut self.regular_mut(p, executor(e)).queue;
            queue.push_back(Data::Barrier(barrier));
        }
        Ok(())
    }

    /// Reads one message of a regular channel, or the runnable part of one.
    fn read(&mut self, p: usize, e: usize) -> Checked {
        let id = executor(e);
        let reading = match &self.executors[e] {
            Some(executor) => self.read_of(p, executor),
            None => None,
        };
        let message = self.regular_mut(p, id).take();
        let (Some(reading), Some(message)) = (reading, message) else {
            return Err(Violation(format!("{id} has nothing to read")));
        };
        let channel = self.executor(e)?.channel(p);
        match message {
            Data::Barrier(epoch) => self.tell(e, Event::Barrier { channel, epoch }),
            Data::Confirm(subscale) => {
                let subscales = Rc::clone(&self.plan.subscales);
                let of = &subscales[subscale.0 as usize];
                self.watch.change().confirm(p, of)?;
                self.tell(e, Event::Confirm { channel, subscale })
            }
            Data::Batch(mut rows) => {
                if matches!(reading, Read::RunnablePart(_)) {
                    let (runnable, waiting) = self.executor(e)?.runnable_part(p, rows);
                    self.regular_mut(p, id).put_back(Data::Batch(waiting));
                    rows = runnable;
                }
                rows.iter().try_for_each(|row| self.watch.row(row, id))?;
                self.turn(e, Turn::Rows(p, rows))
            }
        }
    }

    fn read_migration(&mut self, from: ExecutorId, to: ExecutorId) -> Checked {
        let queue = self.migration[index(from)][index(to)].as_mut();
        let Some(transfer) = queue.and_then(|queue| queue.change().pop_front()) else {
            return Err(Violation(format!("{to} has nothing to read from {from}")));
        };
        if transfer.subscale().is_some() {
            self.watch.change().transfer(&transfer)?;
        }
        self.turn(index(to), Turn::Transfer(from, transfer))
    }

    fn commit(&mut self, e: usize) -> Checked {
        let committing = self.executor(e)?;
        let (id, epoch) = (committing.id, committing.committing.unwrap_or_default());
        let states: Vec<_> = committing.key_groups().collect();
        let cuts = self.ledger.cuts(epoch)?;
        for (key_group, state) in &states {
            let exact = self.ground.setting.state_at(*key_group, cuts);
            ensure!(
                *state == exact,
                "I9: key group {key_group} at {id} has {state:?} and not {exact:?} in epoch {epoch}"
            );
        }
        let ledger = self.ledger.change();
        ledger.commit(epoch, id, states)?;
        let change = ledger.brings(epoch)?;
        self.turn(e, Turn::Committed(epoch))?;
        match change {
            Change::Same => {}
            Change::Open { .. } => self.open_migration_channels(e)?,
            Change::Close { retired } if retired.contains(e) => self.retire(e)?,
            Change::Close { .. } => self.close_migration_channels(e)?,
        }
        let key_groups = self.ground.setting.owners.len();
        while let Some(change) = self.ledger.change().complete_next(key_groups)? {
            self.epoch_complete(change)?;
        }
        Ok(())
    }

    /// Opens an executor's ends of the migration channels of the scaling that begins.
    pub(crate) fn open_migration_channels(&mut self, e: usize) -> Checked {
        for (from, to) in self.plan.pairs.clone() {
            self.migration[index(from)][index(to)].get_or_insert_default();
            if index(from) == e {
                self.tell(e, Event::OpenMigrationTo { to })?;
            }
            if index(to) == e {
                self.tell(e, Event::OpenMigrationFrom { from })?;
            }
        }
        Ok(())
    }

    fn close_migration_channels(&mut self, e: usize) -> Checked {
        for (from, to) in self.plan.pairs.clone() {
            if index(from) == e {
                self.tell(e, Event::CloseMigrationTo { to })?;
            }
            if index(to) == e {
                self.take_migration_channel(index(from), e)?;
                self.tell(e, Event::CloseMigrationFrom { from })?;
            }
        }
        Ok(())
    }

    fn take_migration_channel(&mut self, from: usize, to: usize) -> Checked {
        let rest = self.migration[from][to].take();
        ensure!(
            rest.is_none_or(|queue| queue.is_empty()),
            "I12: messages behind the last barrier of the migration channel e{from} to e{to}"
        );
        Ok(())
    }

    fn retire(&mut self, e: usize) -> Checked {
        let Some(retired) = self.executors[e].take() else {
            return Err(Violation(format!("e{e} is not there")));
        };
        ensure!(
            retired.key_groups().next().is_none() && !retired.holds_rows(),
            "I12: e{e} retires with state or rows"
        );
        ensure!(
            retired.migration.quiet() && retired.outbox.is_empty(),
            "I12: e{e} retires in an open subscale"
        );
        for predecessor in 0..PREDECESSORS {
            ensure!(
                self.regular(predecessor, retired.id).queue.is_empty(),
                "I12: messages behind the last barrier of p{predecessor} to e{e}"
            );
        }
        (0..EXECUTORS).try_for_each(|from| self.take_migration_channel(from, e))
    }

    pub(crate) fn tell(&mut self, e: usize, event: Event) -> Checked {
        self.turn(e, Turn::Event(event))
    }

    /// Gives an executor something to do and passes on what it tells.
    fn turn(&mut self, e: usize, turn: Turn) -> Checked {
        let Some(before) = self.executors[e].take() else {
            return Err(Violation(format!("e{e} is not there")));
        };
        let ground = Rc::clone(&self.ground);
        let (after, told) = ground
            .turns
            .borrow_mut()
            .after(&before, turn, &ground.setting)?;
        self.executors[e] = Some(after);
        for told in told {
            match told {
                Told::Prepared(subscale) => self.coordinate(CoordinatorEvent::Prepared {
                    subscale,
                    executor: executor(e),
                })?,
                Told::Installed(subscale) => {
                    self.coordinate(CoordinatorEvent::Installed { subscale })?;
                }
                Told::Done(subscale) => {
                    let done = &mut self.plan.change().mail[subscale.0 as usize].done;
                    *done = true;
                }
            }
        }
        Ok(())
    }

    /// Moves what has room to the migration channels.
    fn use_room(&mut self) -> Checked {
        let max = self.ground.setting.migration_messages_max;
        for e in 0..EXECUTORS {
            while let Some(executor) = &self.executors[e] {
                let Some((to, transfer)) = executor.outbox.front() else {
                    break;
                };
                let queue = self.migration[e][index(*to)].as_mut();
                let Some(queue) = queue.filter(|queue| queue.len() < max) else {
                    break;
                };
                queue.change().push_back(transfer.clone());
                self.turn(e, Turn::Sent)?;
            }
        }
        Ok(())
    }

    fn migration_channels(&self) -> impl Iterator<Item = (usize, usize, &VecDeque<Transfer>)> {
        let by_owners = self.migration.iter().enumerate();
        by_owners.flat_map(|(from, channels)| {
            let channels = channels.iter().enumerate();
            channels.filter_map(move |(to, queue)| Some((from, to, &**queue.as_ref()?)))
        })
    }

    /// Everything on the migration channels and in front of them.
    pub(crate) fn transfers(&self) -> impl Iterator<Item = &Transfer> {
        let waiting = self.executors.iter().flatten();
        let waiting = waiting.flat_map(|executor| executor.outbox.iter().map(|(_, t)| t));
        waiting.chain(self.migration_channels().flat_map(|(_, _, queue)| queue))
    }

    // Checks of every state.

    /// I1: every key group at one executor or under way once, and the machines know it.
    fn check_owners(&self) -> Checked {
        let mut found = [0u8; KEY_GROUPS];
        for executor in self.executors.iter().flatten() {
            for key_group in self.ground.setting.key_groups() {
                let (has, id) = (executor.states[key_group.index()].is_some(), executor.id);
                found[key_group.index()] += u8::from(has);
                ensure!(
                    executor.migration.owns(key_group) == has,
                    "I1: {id} and its machine do not agree on having key group {key_group}"
                );
            }
        }
        for transfer in self.transfers() {
            if let Transfer::State { key_group, .. } = transfer {
                found[key_group.index()] += 1;
            }
        }
        for key_group in self.ground.setting.key_groups() {
            let places = found[key_group.index()];
            ensure!(
                places == 1,
                "I1: key group {key_group} is at {places} places"
            );
        }
        Ok(())
    }

    /// At the end nothing is held or under way, and the last checkpoint has every row.
    fn check_end(&self) -> Checked {
        let mut regular = self.regular.iter().flatten();
        ensure!(
            regular.all(|channel| channel.queue.is_empty()) && self.transfers().next().is_none(),
            "I12: messages are under way at the end"
        );
        for executor in self.executors.iter().flatten() {
            let done = executor.migration.quiet() && !executor.holds_rows();
            ensure!(done, "I12: {} is not done at the end", executor.id);
        }
        let checkpoint = &self.ledger.checkpoint;
        for key_group in self.ground.setting.key_groups() {
            let exact = self.ground.setting.state_at(key_group, checkpoint.cuts);
            ensure!(
                checkpoint.states[key_group.index()] == Some(exact),
                "I9: the last checkpoint has not all rows of key group {key_group}"
            );
        }
        Ok(())
    }

    // Parts.

    pub(crate) fn regular(&self, predecessor: usize, to: ExecutorId) -> &Regular {
        &self.regular[predecessor][index(to)]
    }

    pub(crate) fn regular_mut(&mut self, predecessor: usize, to: ExecutorId) -> &mut Regular {
        self.regular[predecessor][index(to)].change()
    }

    pub(crate) fn migration_head(&self, from: ExecutorId, to: ExecutorId) -> Option<&Transfer> {
        self.migration[index(from)][index(to)].as_ref()?.front()
    }

    fn executor(&self, e: usize) -> Checked<&Executor> {
        let executor = self.executors[e].as_deref();
        executor.ok_or_else(|| Violation(format!("e{e} is not there")))
    }

    fn executor_mut(&mut self, e: usize) -> Checked<&mut Executor> {
        let executor = self.executors[e].as_mut().map(Shared::change);
        executor.ok_or_else(|| Violation(format!("e{e} is not there")))
    }
}
