//! An executor of the fragment in virtual time: the edge of [`Migration`]. It decides nothing.
//!
//! ```text
//!   run ─► control messages ─► commit ─► migration channels ─► hand over ─► regular channels ─► idle
//!    ▲         at any of these: work that takes time? busy until then, and round again           │
//!    └──────────────────────────────────── something arrives ───────────────────────────────────┘
//! ```
//!
//! Rows count as processed one after the other, each after its service time. A key group is handed
//! over when the link is free, so that the next one can be the one most wanted by then. What becomes
//! of rows is in `rows`.

mod rows;

use std::collections::{BTreeMap, VecDeque};

use crate::simulator::agenda::{Agenda, Nanos};
use crate::simulator::check::{Checked, Monitor, ensure};
use crate::simulator::control::{ControlPath, Node};
use crate::simulator::measures::{Measures, Pause};
use crate::simulator::message::{Control, Rows, State, Transfer, count};
use crate::simulator::net::{Link, Net};
use crate::simulator::settings::{SIGNAL_BYTES, Settings, index_of};
use crate::{
    Action, ChannelId, CoordinatorEvent, Epoch, Event, ExecutorId, HeadState, KeyGroup, Migration,
    Scheduler, SubscaleId,
};

/// What an executor reaches outside of itself.
pub(super) struct Outside<'a> {
    pub(super) settings: &'a Settings,
    pub(super) agenda: &'a mut Agenda,
    pub(super) control: &'a mut ControlPath,
    pub(super) net: &'a mut Net,
    pub(super) measures: &'a mut Measures,
    /// If the run is checked.
    pub(super) monitor: Option<&'a mut Monitor>,
}

/// How a run of the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pausing {
    /// It works for so long.
    Busy(Nanos),
    /// An epoch is to be committed, which is not the executor's business alone.
    Commits(Epoch),
    /// There is nothing it may do.
    Idle,
}

pub(super) struct Executor {
    index: usize,
    pub(super) id: ExecutorId,
    pub(super) migration: Migration,
    scheduler: Scheduler,
    /// By key group.
    pub(super) states: Vec<Option<State>>,
    /// By key group and predecessor.
    held: BTreeMap<(KeyGroup, ExecutorId), VecDeque<Rows>>,
    held_rows: u64,
    /// Control messages that came while it worked.
    pub(super) events: VecDeque<Event>,
    /// Migration channels that come from there.
    pub(super) incoming: Vec<ExecutorId>,
    /// What waits for the link or for credit.
    pub(super) outgoing: BTreeMap<ExecutorId, VecDeque<Transfer>>,
    outgoing_rows: u64,
    /// The last one that had its turn on the link.
    last_served: Option<ExecutorId>,
    pub(super) link: Link,
    committing: Option<Epoch>,
    /// The epoch with which it retires.
    pub(super) last_epoch: Option<Epoch>,
    /// By predecessor: whether the channel may be read. As of the last change of the alignment.
    readable: Vec<bool>,
    realigned: bool,
    barrier_sent: bool,
    /// Counts what may have changed the verdict on a row.
    changes: u64,
    heads: Vec<(ChannelId, HeadState)>,
    /// Time that what it did since the last pause takes.
    work: Nanos,
    paused: Option<(Nanos, Pause)>,
}

impl Executor {
    pub(super) fn new(id: ExecutorId, last_epoch: Epoch, settings: &Settings) -> Executor {
        let setup = &settings.setup;
        Executor {
            index: index_of(id),
            id,
            migration: Migration::new(id, last_epoch, setup.release, setup.rules),
            scheduler: Scheduler::new(setup.hold_limit, setup.rules),
            states: vec![None; usize::from(setup.key_groups)],
            held: BTreeMap::new(),
            held_rows: 0,
            events: VecDeque::new(),
            incoming: Vec::new(),
            outgoing: BTreeMap::new(),
            outgoing_rows: 0,
            last_served: None,
            link: Link::default(),
            committing: None,
            last_epoch: None,
            readable: vec![false; setup.predecessors],
            realigned: true,
            barrier_sent: false,
            changes: 0,
            heads: Vec::new(),
            work: 0,
            paused: None,
        }
    }

    pub(super) fn holds_rows(&self) -> bool {
        self.held_rows > 0
    }

    /// Goes on until it works, commits, or finds nothing to do.
    pub(super) fn run(&mut self, outside: &mut Outside<'_>) -> Checked<Pausing> {
        if let Some((since, pause)) = self.paused.take() {
            let lasted = outside.agenda.now() - since;
            outside.measures.paused(pause, lasted);
        }
        loop {
            if self.work > 0 {
                return Ok(Pausing::Busy(std::mem::take(&mut self.work)));
            }
            if let Some(event) = self.events.pop_front() {
                self.step(event, outside)?;
            } else if let Some(epoch) = self.may_commit() {
                return Ok(Pausing::Commits(epoch));
            } else if self.read_migration(outside)? {
            } else if self.may_hand_over(outside.agenda.now()) {
                self.step(Event::Poll, outside)?;
            } else if !self.read(outside)? {
                return Ok(Pausing::Idle);
            }
        }
    }

    pub(super) fn step(&mut self, event: Event, outside: &mut Outside<'_>) -> Checked {
        match &event {
            Event::Early { .. } | Event::Wanted { .. } => {}
            Event::PrepareOld { subscale, .. } => {
                outside
                    .measures
                    .may_hand_over(*subscale, outside.agenda.now());
                self.changes += 1;
            }
            Event::Barrier { .. }
            | Event::Committed { .. }
            | Event::OpenChannel { .. }
            | Event::CloseChannel { .. } => {
                self.realigned = true;
                self.changes += 1;
            }
            _ => self.changes += 1,
        }
        let mut actions = Vec::new();
        self.migration.step(event, &mut actions)?;
        actions
            .into_iter()
            .try_for_each(|action| self.carry_out(action, outside))
    }

    fn carry_out(&mut self, action: Action, outside: &mut Outside<'_>) -> Checked {
        match action {
            Action::Prepared { subscale } => {
                let event = CoordinatorEvent::Prepared {
                    subscale,
                    executor: self.id,
                };
                self.tell(Node::Conductor, Control::Coordinator(event), outside);
            }
            Action::SendState {
                to,
                subscale,
                key_group,
            } => {
                let state = self.extract(subscale, key_group, outside)?;
                self.send(
                    to,
                    Transfer::State {
                        subscale,
                        key_group,
                        state,
                    },
                );
            }
            Action::SendReroutedConfirm {
                to,
                subscale,
                channel,
            } => self.send(to, Transfer::Confirm { subscale, channel }),
            Action::SendMigrationBarrier { to, epoch } => {
                self.barrier_sent = true;
                self.send(to, Transfer::Barrier(epoch));
            }
            Action::SendSubscaleClosed { to, subscale } => {
                self.send(to, Transfer::Closed(subscale))
            }
            Action::SendWanted {
                to,
                subscale,
                key_group,
            } => {
                let event = Event::Wanted {
                    subscale,
                    key_group,
                };
                self.tell(Node::Executor(index_of(to)), Control::Event(event), outside);
            }
            Action::Release { key_group, channel } => self.release(key_group, channel, outside)?,
            Action::Commit { epoch } => {
                ensure!(
                    self.held_rows == 0,
                    "I9: {} rows held at {} in the commit of {epoch}",
                    self.held_rows,
                    self.id
                );
                self.committing = Some(epoch);
            }
            Action::Installed { subscale } => {
                let event = CoordinatorEvent::Installed { subscale };
                self.tell(Node::Conductor, Control::Coordinator(event), outside);
            }
            Action::Done { subscale } => {
                let event = CoordinatorEvent::Done { subscale };
                self.tell(Node::Conductor, Control::Coordinator(event), outside);
            }
        }
        Ok(())
    }

    pub(super) fn tell(&self, to: Node, message: Control, outside: &mut Outside<'_>) {
        outside
            .control
            .send(Node::Executor(self.index), to, message, outside.agenda);
    }

    // Barriers.

    /// The epoch to commit now. One that retires has sent everything before.
    fn may_commit(&self) -> Option<Epoch> {
        self.committing
            .filter(|epoch| self.last_epoch != Some(*epoch) || self.outgoing.is_empty())
    }

    pub(super) fn committed(&mut self, epoch: Epoch, outside: &mut Outside<'_>) -> Checked {
        self.committing = None;
        self.barrier_sent = false;
        self.step(Event::Committed { epoch }, outside)
    }

    // State.

    fn extract(
        &mut self,
        subscale: SubscaleId,
        key_group: KeyGroup,
        outside: &mut Outside<'_>,
    ) -> Checked<State> {
        ensure!(
            !self.barrier_sent,
            "I7: {key_group} extracted at {} between barrier and commit",
            self.id
        );
        if let Some(monitor) = &mut outside.monitor {
            monitor.extracted(key_group, self.id)?;
        }
        let state = self.states[key_group.index()].take();
        ensure!(
            state.is_some(),
            "I1: {} sends {key_group} without having it",
            self.id
        );
        let state = state.unwrap_or_default();
        let bytes = outside.settings.state_bytes(key_group, state.rows);
        let now = outside.agenda.now();
        outside.measures.left(subscale, key_group, bytes, now);
        self.work += outside.settings.copying(bytes);
        Ok(state)
    }

    fn install(&mut self, key_group: KeyGroup, state: State, outside: &mut Outside<'_>) -> Checked {
        if let Some(monitor) = &mut outside.monitor {
            monitor.installed(key_group, self.id)?;
        }
        let bytes = outside.settings.state_bytes(key_group, state.rows);
        self.work += outside.settings.copying(bytes);
        self.states[key_group.index()] = Some(state);
        Ok(())
    }

    fn may_hand_over(&self, now: Nanos) -> bool {
        self.outgoing.is_empty() && self.link.free(now) && self.migration.may_hand_over()
    }

    // The link.

    fn send(&mut self, to: ExecutorId, transfer: Transfer) {
        self.outgoing_rows += transfer.rows();
        self.outgoing.entry(to).or_default().push_back(transfer);
    }

    /// The next message to send and where to, new owners with credit in turn.
    pub(super) fn next_to_send(
        &mut self,
        has_credit: impl Fn(ExecutorId) -> bool,
    ) -> Option<(ExecutorId, Transfer)> {
        let to = self
            .outgoing
            .keys()
            .copied()
            .filter(|to| has_credit(*to))
            .min_by_key(|to| (self.last_served.is_some_and(|last| *to <= last), *to))?;
        let queue = self.outgoing.get_mut(&to)?;
        let transfer = queue.pop_front()?;
        if queue.is_empty() {
            self.outgoing.remove(&to);
        }
        self.last_served = Some(to);
        self.outgoing_rows -= transfer.rows();
        Some((to, transfer))
    }

    /// Whether it waits for the link to become free.
    pub(super) fn needs_link(&self) -> bool {
        !self.outgoing.is_empty() || !self.migration.quiet()
    }

    pub(super) fn bytes(transfer: &Transfer, settings: &Settings) -> u64 {
        match transfer {
            Transfer::State {
                key_group, state, ..
            } => SIGNAL_BYTES + settings.state_bytes(*key_group, state.rows),
            Transfer::Rows { rows, .. } => SIGNAL_BYTES + count(rows) * settings.setup.row_bytes,
            Transfer::Confirm { .. } | Transfer::Barrier(_) | Transfer::Closed(_) => SIGNAL_BYTES,
        }
    }

    // Migration channels.

    /// Reads one message of the migration channels; false if there is none.
    fn read_migration(&mut self, outside: &mut Outside<'_>) -> Checked<bool> {
        for place in 0..self.incoming.len() {
            let from = self.incoming[place];
            if !self.migration.may_read_migration(from) {
                continue;
            }
            let now = outside.agenda.now();
            if let Some(transfer) = outside.net.take_migration(self.id, from, now) {
                self.transfer(from, transfer, outside)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn transfer(
        &mut self,
        from: ExecutorId,
        transfer: Transfer,
        outside: &mut Outside<'_>,
    ) -> Checked {
        if let Some(monitor) = &mut outside.monitor {
            monitor.transfer(&transfer)?;
        }
        match transfer {
            Transfer::State {
                subscale,
                key_group,
                state,
            } => {
                self.install(key_group, state, outside)?;
                let at = outside.agenda.now() + self.work;
                outside.measures.installed(subscale, key_group, at);
                self.step(
                    Event::StateInstalled {
                        from,
                        subscale,
                        key_group,
                    },
                    outside,
                )
            }
            Transfer::Rows {
                subscale,
                channel,
                rows,
            } => rows.into_iter().try_for_each(|rows| {
                self.migration
                    .check_rerouted(from, subscale, rows.key_group)?;
                self.apply(channel.from, rows, outside)
            }),
            Transfer::Confirm { subscale, channel } => self.step(
                Event::ReroutedConfirm {
                    from,
                    subscale,
                    channel,
                },
                outside,
            ),
            Transfer::Barrier(epoch) => self.step(Event::MigrationBarrier { from, epoch }, outside),
            Transfer::Closed(subscale) => {
                self.step(Event::SubscaleClosed { from, subscale }, outside)
            }
        }
    }
}
