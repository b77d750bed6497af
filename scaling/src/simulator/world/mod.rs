//! The simulated fragment: predecessors, executors, channels, barriers, crashes, in virtual time.
//!
//! Here: start and end, input, links, the control path. Barriers are in `barriers`, what is checked
//! of all together in `checks`.

mod barriers;
mod checks;

use std::collections::VecDeque;

use crate::simulator::agenda::{Agenda, Due, Nanos};
use crate::simulator::check::{Broken, Checked, Monitor, Violation, ensure};
use crate::simulator::control::{ControlPath, Node};
use crate::simulator::epochs::{Epochs, Topology};
use crate::simulator::executor::{Executor, Outside, Pausing};
use crate::simulator::measures::{Measures, Pause};
use crate::simulator::message::{Control, Data};
use crate::simulator::net::Net;
use crate::simulator::plan::{self, Scalings};
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
}
