//! The simulated fragment: predecessors, executors, channels, barriers, crashes, in virtual time.

use std::collections::{BTreeSet, VecDeque};

use crate::simulator::agenda::{Agenda, Due, Nanos};
use crate::simulator::check::{Broken, Checked, Monitor, Violation, ensure};
use crate::simulator::control::{ControlPath, Node};
use crate::simulator::epochs::{Epochs, Topology};
use crate::simulator::executor::{Executor, Outside, Pausing};
use crate::simulator::measures::{Measures, Pause};
use crate::simulator::message::{Control, Data};
use crate::simulator::net::Net;
use crate::simulator::plan::{self, Scalings, prepare_new, prepare_old};
use crate::simulator::predecessor::{Cut, Predecessor};
use crate::simulator::report::Report;
use crate::simulator::settings::{SIGNAL_BYTES, Settings, executor_id, index_of, nanos};
use crate::simulator::setup::Setup;
use crate::{Assignment, Epoch, Event, ExecutorId, Subscale};

pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) agenda: Agenda,
    control: ControlPath,
    pub(super) net: Net,
    pub(super) predecessors: Vec<Predecessor>,
    pub(super) executors: Vec<Option<Executor>>,
    pub(super) owners: Assignment,
    pub(super) epochs: Epochs,
    /// Changes of topology that wait for room for a barrier.
    changes: VecDeque<Topology>,
    /// Whether a plain barrier waits for room.
    barrier_due: bool,
    pub(super) scalings: Scalings,
    pub(super) measures: Measures,
    monitor: Option<Monitor>,
    crashes: VecDeque<Nanos>,
    /// What everything starts with next, while nothing runs.
    next_owners: Option<Assignment>,
}

impl World {
    pub(super) fn new(setup: &Setup) -> World {
        let executors: Vec<_> = (0..setup.executors).map(executor_id).collect();
        let owners = Assignment::ranges(&executors, setup.key_groups);
        let settings = Settings::new(setup, plan::moving(setup, owners.clone()));
        let cuts = (0..setup.predecessors).map(|_| Cut::start(setup.key_groups));
        World {
            agenda: Agenda::new(settings.executors_max),
            control: ControlPath::new(&settings),
            net: Net::new(&settings),
            predecessors: Vec::new(),
            executors: Vec::new(),
            owners: owners.clone(),
            epochs: Epochs::new(cuts.collect(), setup.key_groups),
            changes: VecDeque::new(),
            barrier_due: false,
            scalings: Scalings::new(setup),
            measures: Measures::new(&settings),
            monitor: None,
            crashes: setup.crashes.iter().copied().map(nanos).collect(),
            next_owners: Some(owners),
            settings,
        }
    }

    /// Runs to the end of the input.
    pub(super) fn run(mut self) -> Result<Report, Violation> {
        match self.run_to_end() {
            Ok(()) => {
                let rows = self.epochs.states().map(|state| state.rows).collect();
                let (ended, events) = (self.agenda.now(), self.agenda.events());
                let hash = self.agenda.trace_hash();
                Ok(self
                    .measures
                    .report(&self.settings, ended, rows, events, hash))
            }
            Err(Broken(what)) => Err(Violation {
                seed: self.settings.setup.seed,
                at: std::time::Duration::from_nanos(self.agenda.now()),
                what,
            }),
        }
    }

    fn run_to_end(&mut self) -> Checked {
        self.scalings.crash();
        self.start()?;
        while !self.finished() {
            let due = self.agenda.next();
            ensure!(due.is_some(), "deadlock");
            match due {
                Some(Due::Executor(index)) => self.run_executor(index as usize)?,
                Some(Due::Source(index)) => self.source(index as usize),
                Some(Due::PredecessorLink(index)) => self.send_rows(index as usize),
                Some(Due::ExecutorLink(index)) => {
                    self.send_transfers(index as usize);
                    self.agenda.wake(index, self.agenda.now());
                }
                Some(Due::Control { link, number }) => self.control(link, number)?,
                Some(Due::Barrier) => self.barrier_due()?,
                Some(Due::Scaling) => self.request_scaling()?,
                Some(Due::Crash) => self.crash(),
                Some(Due::Restart) => self.start()?,
                None => {}
            }
        }
        self.check_result()
    }

    fn finished(&self) -> bool {
        self.next_owners.is_none()
            && self.scalings.over()
            && self.predecessors.iter().enumerate().all(|(index, p)| {
                p.exhausted(&self.settings)
                    && self.epochs.cut(self.epochs.complete(), index).position == p.cut.position
            })
    }

    // Start, end, start again.

    /// Brings everything up from the last complete epoch, under any assignment.
    fn start(&mut self) -> Checked {
        let Some(owners) = self.next_owners.take() else {
            return Ok(());
        };
        let last = self.epochs.restart();
        self.net = Net::new(&self.settings);
        self.monitor = (self.settings.setup.checks).then(|| Monitor::new(&owners.owners));
        self.predecessors = (0..self.settings.setup.predecessors)
            .map(|index| {
                let cut = self.epochs.cut(last, index).clone();
                Predecessor::new(index, cut, owners.clone(), &self.settings)
            })
            .collect();
        self.executors = (0..self.settings.executors_max).map(|_| None).collect();
        let states: Vec<_> = self.epochs.states().cloned().collect();
        for id in owners.executors() {
            for predecessor in &mut self.predecessors {
                predecessor.open(id);
            }
            let mut executor = self.executor(id, last)?;
            executor.migration.own(&owners.owned_by(id));
            for key_group in &owners.owned_by(id) {
                executor.states[key_group.index()] = Some(states[key_group.index()].clone());
            }
            self.executors[index_of(id)] = Some(executor);
        }
        self.owners = owners;
        self.put_dates();
        self.is_up()
    }

    /// What comes by itself: rows, barriers, scalings.
    fn put_dates(&mut self) {
        let now = self.agenda.now();
        for index in 0..self.predecessors.len() {
            let offset = self.settings.portion_at(index, 0);
            let existing = now.saturating_sub(offset) / self.settings.portion;
            self.predecessors[index].comes_to_exist(existing.min(self.settings.last_portion()));
            let next = self.settings.portion_at(index, existing);
            self.agenda.put(next.max(now), Due::Source(index as u32));
        }
        let interval = nanos(self.settings.setup.barrier_interval);
        self.agenda.put(now + interval, Due::Barrier);
        if let Some(at) = self.scalings.next_at() {
            self.agenda.put(at.max(now), Due::Scaling);
        }
        if let Some(at) = self.crashes.front() {
            self.agenda.put((*at).max(now), Due::Crash);
        }
    }

    /// Everything fails. It comes up at any executors with any assignment.
    fn crash(&mut self) {
        self.crashes.pop_front();
        self.measures.crashed();
        self.scalings.crash();
        let seed = self.settings.setup.seed ^ self.agenda.now();
        let most = self.settings.executors_max as u64;
        let count = 1 + crate::simulator::random::nth(seed, 1) % most;
        let executors: Vec<_> = (0..count as usize).map(executor_id).collect();
        let owners = plan::shuffle(seed, &executors, self.settings.setup.key_groups);
        self.down(owners, 0);
    }

    /// Ends everything behind a last barrier and starts with another assignment: state goes
    /// through storage.
    pub(super) fn start_anew(&mut self, owners: Assignment) {
        let rows: Vec<_> = self.epochs.states().map(|state| state.rows).collect();
        let bytes = self.settings.key_groups();
        let bytes = bytes.map(|g| self.settings.state_bytes(g, rows[g.index()]));
        self.measures.moved(bytes.sum());
        let executors = self.present().count() as u64;
        let takes = self.down(owners, self.settings.storing(&self.owners, &rows));
        self.measures.paused(Pause::Scaling, takes * executors);
    }

    /// Nothing runs until, `after` so much time, restart and reading are over; returns how long
    /// that is.
    fn down(&mut self, owners: Assignment, after: Nanos) -> Nanos {
        let rows: Vec<_> = self.epochs.states().map(|state| state.rows).collect();
        let reading = self.settings.storing(&owners, &rows);
        let restart = nanos(self.settings.setup.restart);
        let takes = after + restart + reading;
        self.agenda.clear();
        self.control.clear();
        self.changes.clear();
        self.barrier_due = false;
        self.predecessors.clear();
        self.executors.iter_mut().for_each(|e| *e = None);
        self.next_owners = Some(owners);
        self.agenda.put(self.agenda.now() + takes, Due::Restart);
        if let Some(at) = self.crashes.front() {
            self.agenda.put((*at).max(self.agenda.now()), Due::Crash);
        }
        takes
    }

    /// An executor without key groups whose first epoch is the one after `last`, with its ends of
    /// the regular channels.
    fn executor(&mut self, id: ExecutorId, last: Epoch) -> Checked<Executor> {
        let mut executor = Executor::new(id, last, &self.settings);
        for predecessor in 0..self.predecessors.len() {
            let channel = self.predecessors[predecessor].channel_to(id);
            let event = Event::OpenChannel { channel };
            executor.step(event, &mut self.outside())?;
        }
        Ok(executor)
    }

    fn outside(&mut self) -> Outside<'_> {
        Outside {
            settings: &self.settings,
            agenda: &mut self.agenda,
            control: &mut self.control,
            net: &mut self.net,
            measures: &mut self.measures,
            monitor: self.monitor.as_mut(),
        }
    }

    /// Executors there are, without those that retire.
    pub(super) fn present(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        self.executors
            .iter()
            .flatten()
            .map(|executor| executor.id)
            .filter(|id| !self.scalings.is_leaving(*id))
    }

    // Predecessors.

    fn source(&mut self, index: usize) {
        let now = self.agenda.now();
        let offset = self.settings.portion_at(index, 0);
        let portion = (now - offset) / self.settings.portion;
        self.predecessors[index].comes_to_exist(portion);
        self.predecessors[index].make_rows(&self.settings);
        if portion < self.settings.last_portion() {
            let next = self.settings.portion_at(index, portion + 1);
            self.agenda.put(next, Due::Source(index as u32));
        }
        self.send_rows(index);
    }

    /// Sends what the link of a predecessor takes and credit allows.
    fn send_rows(&mut self, index: usize) {
        let now = self.agenda.now();
        let settings = &self.settings;
        let Some(predecessor) = self.predecessors.get_mut(index) else {
            return;
        };
        loop {
            if predecessor.has_turns() && !predecessor.link.takes_more(now) {
                if let Some(at) = predecessor.link.look_again(now) {
                    self.agenda.put(at, Due::PredecessorLink(index as u32));
                }
                return;
            }
            let inputs = &self.net.regular;
            let has_credit = |to: usize| inputs[to][index].rows < settings.setup.channel_rows_max;
            let Some((to, data)) = predecessor.next_to_send(has_credit) else {
                if predecessor.wants_room(settings) && predecessor.has_room(settings) {
                    predecessor.make_rows(settings);
                    continue;
                }
                return;
            };
            let bytes = match &data {
                Data::Batch(_) => data.rows() * settings.setup.row_bytes,
                Data::Barrier(_) | Data::Confirm(_) => SIGNAL_BYTES,
            };
            let arrival = predecessor.link.send(bytes, now, settings);
            let input = &mut self.net.regular[to][index];
            input.rows += data.rows();
            input.queue.push_back((arrival, data));
            self.agenda.wake(to as u32, arrival);
        }
    }

    // Executors.

    fn run_executor(&mut self, index: usize) -> Checked {
        loop {
            let Some(mut executor) = self.executors[index].take() else {
                return Ok(());
            };
            let pausing = executor.run(&mut self.outside());
            self.executors[index] = Some(executor);
            self.give_credit(index);
            match pausing? {
                Pausing::Busy(nanos) => {
                    self.agenda.occupy(index as u32, nanos);
                    return Ok(());
                }
                Pausing::Idle => return Ok(()),
                Pausing::Commits(epoch) => self.commit(index, epoch)?,
            }
        }
    }

    /// Lets those send on whose messages an executor has read, and sends its own.
    fn give_credit(&mut self, index: usize) {
        while let Some((predecessor, to)) = self.net.credit.pop() {
            self.predecessors[predecessor].take_turn(to);
            self.send_rows(predecessor);
        }
        while let Some(from) = self.net.migration_credit.pop() {
            self.send_transfers(from);
        }
        self.send_transfers(index);
    }

    /// Sends what the link of an executor takes and credit allows.
    fn send_transfers(&mut self, index: usize) {
        let now = self.agenda.now();
        let settings = &self.settings;
        let Some(executor) = &mut self.executors[index] else {
            return;
        };
        let (id, waited) = (executor.id, !executor.outgoing.is_empty());
        while executor.link.takes_more(now) {
            let migration = &self.net.migration;
            let has_credit = |to: ExecutorId| {
                let incoming = migration.get(&(to, id));
                incoming.is_some_and(|i| i.len() < settings.setup.migration_messages_max)
            };
            let Some((to, transfer)) = executor.next_to_send(has_credit) else {
                break;
            };
            let bytes = Executor::bytes(&transfer, settings);
            let arrival = executor.link.send(bytes, now, settings);
            if let Some(incoming) = self.net.migration.get_mut(&(to, id)) {
                incoming.push_back((arrival, transfer));
            }
            self.agenda.wake(to.0, arrival);
        }
        if waited && executor.outgoing.is_empty() {
            self.agenda.wake(id.0, now);
        }
        if executor.needs_link()
            && let Some(at) = executor.link.look_when_free(now)
        {
            self.agenda.put(at, Due::ExecutorLink(id.0));
        }
    }

    fn at(&mut self, id: ExecutorId, event: Event) -> Checked {
        let index = index_of(id);
        let Some(mut executor) = self.executors[index].take() else {
            return Err(Broken(format!("{event:?} for {id}, which is not there")));
        };
        let stepped = executor.step(event, &mut self.outside());
        self.executors[index] = Some(executor);
        stepped
    }

    // The control path.

    pub(super) fn tell(&mut self, to: Node, message: Control) {
        self.control
            .send(Node::Conductor, to, message, &mut self.agenda);
    }

    fn control(&mut self, link: u32, number: u32) -> Checked {
        let (from, to, messages) = self.control.arrive(link, number);
        for message in messages {
            match (to, message) {
                (Node::Executor(index), Control::Event(event)) => {
                    self.tell_executor(index, event)?
                }
                (Node::Predecessor(index), Control::Switch(subscale)) => {
                    self.switch(index, &subscale)
                }
                (Node::Predecessor(index), Control::Barrier(epoch)) => {
                    self.make_barrier(index, epoch)
                }
                (Node::Predecessor(index), Control::Stop) => self.predecessors[index].stop(),
                (Node::Conductor, Control::Coordinator(event)) => self.coordinate(event)?,
                (Node::Conductor, Control::Committed(epoch)) => self.heard(epoch, from)?,
                (to, message) => return Err(Broken(format!("{message:?} came to {to:?}"))),
            }
        }
        Ok(())
    }

    fn tell_executor(&mut self, index: usize, event: Event) -> Checked {
        match &mut self.executors[index] {
            Some(executor) => executor.events.push_back(event),
            // A wish may come late, when its receiver has given all away and is gone.
            None => ensure!(
                matches!(event, Event::Wanted { .. }),
                "{event:?} for executor {index}, which is not there"
            ),
        }
        self.agenda.wake(index as u32, self.agenda.now());
        Ok(())
    }

    fn switch(&mut self, index: usize, subscale: &Subscale) {
        let predecessor = &mut self.predecessors[index];
        if let Some(monitor) = &mut self.monitor {
            monitor.switched(predecessor.id, subscale);
        }
        let taken_back = predecessor.switch(subscale, self.settings.setup.rules);
        self.measures.taken_back(taken_back);
        self.send_rows(index);
    }

    // Epochs.

    /// It is time for a barrier. Where there is no room for one the next is due an interval after
    /// this one has been issued.
    fn barrier_due(&mut self) -> Checked {
        self.barrier_due = true;
        self.issue_what_is_due()
    }

    /// Lets a barrier change the topology, as soon as there is room for one.
    pub(super) fn change(&mut self, topology: Topology) -> Checked {
        self.changes.push_back(topology);
        self.issue_what_is_due()
    }

    fn issue_what_is_due(&mut self) -> Checked {
        while self.epochs.under_way() < self.settings.setup.barriers_under_way_max {
            if let Some(topology) = self.changes.pop_front() {
                self.issue(topology)?;
            } else if std::mem::take(&mut self.barrier_due) {
                let interval = nanos(self.settings.setup.barrier_interval);
                self.agenda.put(self.agenda.now() + interval, Due::Barrier);
                self.issue(Topology::Same)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn issue(&mut self, topology: Topology) -> Checked {
        let participants: BTreeSet<_> = self.present().collect();
        let now = self.agenda.now();
        let epoch = self.epochs.issue(participants, topology.clone(), now);
        for index in 0..self.predecessors.len() {
            self.tell(Node::Predecessor(index), Control::Barrier(epoch));
        }
        match topology {
            Topology::Open { added, pairs } => {
                for id in added {
                    let executor = self.executor(id, epoch)?;
                    self.executors[index_of(id)] = Some(executor);
                    self.open_migration_channels(id, &pairs)?;
                }
            }
            Topology::Close { retired, .. } => {
                self.scalings.leave(&retired);
                for id in retired {
                    if let Some(executor) = &mut self.executors[index_of(id)] {
                        executor.last_epoch = Some(epoch);
                    }
                }
            }
            Topology::Same | Topology::Switch(_) | Topology::Stop => {}
        }
        Ok(())
    }

    fn make_barrier(&mut self, index: usize, epoch: Epoch) {
        let predecessor = &mut self.predecessors[index];
        predecessor.make_barrier(epoch);
        self.epochs.cut_at(epoch, index, predecessor.cut.clone());
        match self.epochs.topology(epoch) {
            Topology::Same | Topology::Stop => {}
            Topology::Switch(subscales) => {
                for subscale in subscales {
                    predecessor.route(subscale);
                    if let Some(monitor) = &mut self.monitor {
                        monitor.switched(predecessor.id, subscale);
                    }
                }
            }
            Topology::Open { added, .. } => added.iter().for_each(|to| predecessor.open(*to)),
            Topology::Close { retired, .. } => retired.iter().for_each(|to| predecessor.close(*to)),
        }
        self.send_rows(index);
    }

    fn commit(&mut self, index: usize, epoch: Epoch) -> Checked {
        let Some(mut executor) = self.executors[index].take() else {
            return Ok(());
        };
        if self.settings.setup.checks {
            self.check_commit(&executor, epoch)?;
        }
        let id = executor.id;
        self.epochs.commit(epoch, id, &executor.states)?;
        let mut outside = self.outside();
        executor.committed(epoch, &mut outside)?;
        executor.tell(Node::Conductor, Control::Committed(epoch), &mut outside);
        self.executors[index] = Some(executor);
        match self.epochs.topology(epoch).clone() {
            Topology::Same | Topology::Stop => Ok(()),
            Topology::Switch(subscales) => self.prepare_owner(id, subscales),
            Topology::Open { pairs, .. } => self.open_migration_channels(id, &pairs),
            Topology::Close { retired, .. } if retired.contains(&id) => self.retire(id),
            Topology::Close { pairs, .. } => self.close_migration_channels(id, &pairs),
        }
    }

    /// The conductor hears that an executor has committed an epoch.
    fn heard(&mut self, epoch: Epoch, from: Node) -> Checked {
        if let Node::Executor(index) = from {
            self.epochs.heard(epoch, executor_id(index));
        }
        while self.epochs.complete_next()? {
            let complete = self.epochs.complete();
            let (issued, now) = (self.epochs.issued_at(complete), self.agenda.now());
            self.measures
                .committed(complete, issued, now, &self.settings);
            let topology = self.epochs.topology(complete).clone();
            self.topology_changed(&topology)?;
        }
        if self.next_owners.is_some() {
            return Ok(());
        }
        self.issue_what_is_due()
    }

    /// Tells an executor that has committed the barrier of these subscales what it gives and gets.
    fn prepare_owner(&mut self, id: ExecutorId, subscales: Vec<Subscale>) -> Checked {
        let mechanism = self.settings.setup.strategy.mechanism().unwrap_or_default();
        for subscale in subscales {
            if id == subscale.new_owner {
                self.at(id, prepare_new(subscale, mechanism))?;
            } else if id == subscale.old_owner {
                self.at(id, prepare_old(subscale, mechanism))?;
            }
        }
        Ok(())
    }

    fn open_migration_channels(
        &mut self,
        id: ExecutorId,
        pairs: &BTreeSet<(ExecutorId, ExecutorId)>,
    ) -> Checked {
        for (from, to) in pairs.iter().copied() {
            self.net.migration.entry((to, from)).or_default();
            if from == id {
                self.at(id, Event::OpenMigrationTo { to })?;
            }
            if to == id {
                self.at(id, Event::OpenMigrationFrom { from })?;
                if let Some(executor) = &mut self.executors[index_of(id)] {
                    executor.incoming.push(from);
                }
            }
        }
        Ok(())
    }

    fn close_migration_channels(
        &mut self,
        id: ExecutorId,
        pairs: &BTreeSet<(ExecutorId, ExecutorId)>,
    ) -> Checked {
        for (from, to) in pairs.iter().copied() {
            if from == id {
                self.at(id, Event::CloseMigrationTo { to })?;
            }
            if to == id {
                let rest = self.net.migration.remove(&(to, from)).unwrap_or_default();
                ensure!(
                    rest.is_empty(),
                    "I12: messages behind the last barrier of a migration channel"
                );
                self.at(id, Event::CloseMigrationFrom { from })?;
                if let Some(executor) = &mut self.executors[index_of(id)] {
                    executor.incoming.retain(|other| *other != from);
                }
            }
        }
        Ok(())
    }

    fn retire(&mut self, id: ExecutorId) -> Checked {
        let executor = self.executors[index_of(id)].take();
        let left = executor.is_some_and(|executor| {
            executor.states.iter().flatten().next().is_some()
                || executor.holds_rows()
                || !executor.migration.quiet()
        });
        ensure!(!left, "I12: {id} retires with state, rows or a subscale");
        for input in &mut self.net.regular[index_of(id)] {
            ensure!(
                input.queue.is_empty(),
                "I12: messages behind the last barrier of a channel to {id}"
            );
        }
        self.net.migration.retain(|(to, _), _| *to != id);
        Ok(())
    }

    // Checks.

    /// I9: an executor commits exactly the rows in front of the barrier. I1: it has what it
    /// believes to have.
    fn check_commit(&self, executor: &Executor, epoch: Epoch) -> Checked {
        let Some(monitor) = &self.monitor else {
            return Ok(());
        };
        for key_group in self.settings.key_groups() {
            let (id, state) = (executor.id, &executor.states[key_group.index()]);
            ensure!(
                executor.migration.owns(key_group) == state.is_some()
                    && (monitor.place(key_group) == Some(id)) == state.is_some(),
                "I1: {id} and its machine differ about {key_group}"
            );
            let Some(state) = state else { continue };
            if !self.settings.setup.strategy.is_correct() {
                continue;
            }
            for predecessor in 0..self.predecessors.len() {
                let made = self.epochs.cut(epoch, predecessor).made[key_group.index()];
                let seen = state.seen.get(predecessor).cloned().unwrap_or_default();
                ensure!(
                    seen.is_first(made),
                    "I9: {key_group} at {id} has {seen:?} of {made} rows of predecessor {predecessor} in {epoch}"
                );
            }
        }
        Ok(())
    }

    /// I12: nothing of a subscale that is done is under way, and everybody routes it to its owner.
    pub(super) fn check_done(&self, subscale: &Subscale) -> Checked {
        let Some(monitor) = &self.monitor else {
            return Ok(());
        };
        let sent = self.net.migration.values().flatten().map(|(_, t)| t);
        let unsent = self.executors.iter().flatten();
        let unsent = unsent.flat_map(|executor| executor.outgoing.values().flatten());
        ensure!(
            !sent
                .chain(unsent)
                .any(|t| t.subscale() == Some(subscale.id)),
            "I12: {subscale} is done, messages are under way"
        );
        for key_group in &subscale.key_groups {
            ensure!(
                monitor.place(key_group) == Some(subscale.new_owner),
                "I12: {subscale} is done without {key_group}"
            );
            let routed = |p: &Predecessor| p.routing.owner(key_group) == subscale.new_owner;
            ensure!(
                self.predecessors.iter().all(routed),
                "I12: {subscale} is done, a predecessor routes {key_group} elsewhere"
            );
        }
        Ok(())
    }

    /// I12: a scaling that is done leaves nothing held, and one routing.
    pub(super) fn check_finished(&self) -> Checked {
        for executor in self.executors.iter().flatten() {
            ensure!(
                executor.migration.quiet() && !executor.holds_rows(),
                "I12: {} is not done with the scaling",
                executor.id
            );
        }
        for predecessor in &self.predecessors {
            ensure!(
                predecessor.routing == self.owners,
                "I12: {} routes otherwise than the owners are",
                predecessor.id
            );
        }
        Ok(())
    }

    /// The final state has seen every row once.
    fn check_result(&self) -> Checked {
        if !self.settings.setup.checks || !self.settings.setup.strategy.is_correct() {
            return Ok(());
        }
        let found: Vec<_> = self.epochs.states().map(|state| state.rows).collect();
        ensure!(
            found == self.settings.rows_in_all(),
            "the final result differs from that of the unscaled run"
        );
        Ok(())
    }
}
