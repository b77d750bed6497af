//! An executor of the simulated fragment: the edge of [`Migration`]. It decides nothing.

use std::collections::{BTreeMap, VecDeque};

use scaling::{
    Action, ChannelId, CoordinatorEvent, Epoch, Event, ExecutorId, HeadState, Held, HoldLimit,
    KeyGroup, Migration, Read, Release, Rules, Scheduler, Verdict,
};

use crate::check::{Checked, Coverage, Monitor, Violation, ensure};
use crate::message::{Control, Data, Net, Row, State, Transfer};
use crate::scenario::Scenario;
use crate::trace::Trace;

/// What an executor reaches outside of itself.
pub(crate) struct Outside<'a> {
    pub(crate) net: &'a mut Net,
    pub(crate) monitor: &'a mut Monitor,
    pub(crate) coverage: &'a mut Coverage,
    pub(crate) trace: &'a mut Trace,
}

pub(crate) struct Executor {
    id: ExecutorId,
    release: Release,
    migration_messages_max: usize,
    pub(crate) migration: Migration,
    scheduler: Scheduler,
    pub(crate) states: BTreeMap<KeyGroup, State>,
    held: BTreeMap<(KeyGroup, ChannelId), VecDeque<Row>>,
    held_rows: u64,
    /// What waits for room on the migration channels.
    outbox: VecDeque<(ExecutorId, Transfer)>,
    pub(crate) committing: Option<Epoch>,
    barrier_sent: bool,
}

impl Executor {
    pub(crate) fn new(
        id: ExecutorId,
        last_epoch: Epoch,
        scenario: &Scenario,
        rules: Rules,
    ) -> Executor {
        let limit = HoldLimit {
            rows: scenario.hold_limit_rows,
            bytes: u64::MAX,
        };
        Executor {
            id,
            release: scenario.release,
            migration_messages_max: scenario.migration_messages_max,
            migration: Migration::new(id, last_epoch, scenario.release, rules),
            scheduler: Scheduler::new(limit, rules),
            states: BTreeMap::new(),
            held: BTreeMap::new(),
            held_rows: 0,
            outbox: VecDeque::new(),
            committing: None,
            barrier_sent: false,
        }
    }

    pub(crate) fn holds_rows(&self) -> bool {
        self.held_rows > 0
    }

    pub(crate) fn outbox(&self) -> impl Iterator<Item = &(ExecutorId, Transfer)> {
        self.outbox.iter()
    }

    /// Whether the first message that waits for room has it now.
    pub(crate) fn can_flush(&self, net: &Net) -> bool {
        self.outbox.front().is_some_and(|(to, _)| {
            net.migration[&(self.id, *to)].len() < self.migration_messages_max
        })
    }

    pub(crate) fn flush(&mut self, net: &mut Net) {
        if let Some((to, transfer)) = self.outbox.pop_front() {
            net.migration
                .get_mut(&(self.id, to))
                .unwrap()
                .push_back(transfer);
        }
    }

    pub(crate) fn can_poll(&self) -> bool {
        self.outbox.is_empty() && self.migration.may_hand_over()
    }

    pub(crate) fn can_read(&self, net: &Net) -> bool {
        self.outbox.is_empty()
            && self
                .scheduler
                .clone()
                .next(
                    &self.heads(net, &|_| true),
                    self.held(),
                    self.migration.on_early(),
                )
                .is_some()
    }

    pub(crate) fn step(&mut self, event: Event, outside: &mut Outside<'_>) -> Checked {
        let mut actions = Vec::new();
        if matches!(event, Event::PrepareNew { .. } | Event::PrepareOld { .. }) && self.barrier_sent
        {
            outside.coverage.saw("prepare between barrier and commit");
        }
        let before_commit = matches!(event, Event::Barrier { .. });
        self.migration.step(event, &mut actions)?;
        for action in actions {
            outside.trace.record(&action);
            if before_commit && matches!(action, Action::SendState { .. }) {
                outside.coverage.saw("state handed over before a barrier");
            }
            self.carry_out(action, outside)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, action: Action, outside: &mut Outside<'_>) -> Checked {
        match action {
            Action::Prepared { subscale } => {
                let event = CoordinatorEvent::Prepared {
                    subscale,
                    executor: self.id,
                };
                outside.net.control.push(Control::ToCoordinator(event));
            }
            Action::SendState {
                to,
                subscale,
                key_group,
            } => {
                let state = self.extract(key_group)?;
                self.outbox.push_back((
                    to,
                    Transfer::State {
                        subscale,
                        key_group,
                        state,
                    },
                ));
            }
            Action::SendReroutedConfirm {
                to,
                subscale,
                channel,
            } => {
                self.outbox
                    .push_back((to, Transfer::Confirm { subscale, channel }));
            }
            Action::SendMigrationBarrier { to, epoch } => {
                self.barrier_sent = true;
                self.outbox.push_back((to, Transfer::Barrier(epoch)));
            }
            Action::SendSubscaleClosed { to, subscale } => {
                self.outbox.push_back((to, Transfer::Closed(subscale)))
            }
            Action::SendWanted {
                to,
                subscale,
                key_group,
            } => {
                outside.coverage.saw("key group wanted");
                let event = Event::Wanted {
                    subscale,
                    key_group,
                };
                outside.net.control.push(Control::ToExecutor(to, event));
            }
            Action::Release { key_group, channel } => self.release(key_group, channel)?,
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
                outside.net.control.push(Control::ToCoordinator(event));
            }
            Action::Done { subscale } => {
                let event = CoordinatorEvent::Done { subscale };
                outside.net.control.push(Control::ToCoordinator(event));
            }
        }
        Ok(())
    }

    fn extract(&mut self, key_group: KeyGroup) -> Checked<State> {
        let id = self.id;
        ensure!(
            !self.barrier_sent,
            "I7: {key_group} extracted at {id} between barrier and commit"
        );
        let state = self.states.remove(&key_group);
        state.ok_or_else(|| Violation(format!("I1: {id} sends {key_group} without having it")))
    }

    pub(crate) fn committed(&mut self, epoch: Epoch, outside: &mut Outside<'_>) -> Checked {
        self.committing = None;
        self.barrier_sent = false;
        self.step(Event::Committed { epoch }, outside)
    }

    /// Reads one message of the regular channels that are `visible` at this moment.
    pub(crate) fn read(
        &mut self,
        visible: &dyn Fn(ChannelId) -> bool,
        outside: &mut Outside<'_>,
    ) -> Checked {
        let heads = self.heads(outside.net, visible);
        let held = self.held();
        match self.scheduler.next(&heads, held, self.migration.on_early()) {
            Some(Read::Head(channel)) => {
                let message = outside
                    .net
                    .regular
                    .get_mut(&channel)
                    .and_then(VecDeque::pop_front)
                    .unwrap();
                self.message(channel, message, outside)
            }
            Some(Read::RunnablePart(channel)) => {
                outside
                    .coverage
                    .saw("runnable part of a head at the hold limit");
                let Some(Data::Batch(rows)) = outside
                    .net
                    .regular
                    .get_mut(&channel)
                    .and_then(VecDeque::pop_front)
                else {
                    panic!("only batches are mixed");
                };
                let waits = |row: &Row| self.verdict(channel, row) == Some(Verdict::Hold);
                let (waiting, runnable): (Vec<_>, Vec<_>) = rows.into_iter().partition(waits);
                for row in &waiting {
                    let key_group = row.key_group;
                    self.step(Event::Early { key_group }, outside)?;
                }
                outside
                    .net
                    .regular
                    .get_mut(&channel)
                    .unwrap()
                    .push_front(Data::Batch(waiting));
                self.rows(channel, runnable, outside)
            }
            None => Ok(()),
        }
    }

    fn message(&mut self, channel: ChannelId, message: Data, outside: &mut Outside<'_>) -> Checked {
        match message {
            Data::Batch(rows) => self.rows(channel, rows, outside),
            Data::Barrier(epoch) => self.step(Event::Barrier { channel, epoch }, outside),
            Data::Confirm(subscale) => {
                outside.monitor.confirm(subscale, channel)?;
                self.step(Event::Confirm { channel, subscale }, outside)
            }
        }
    }

    fn rows(&mut self, channel: ChannelId, rows: Vec<Row>, outside: &mut Outside<'_>) -> Checked {
        let mut rerouted: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        for row in rows {
            outside.monitor.row(channel, &row)?;
            match self.migration.verdict(channel, row.key_group)? {
                Verdict::Process => {
                    let older = self
                        .held
                        .get(&(row.key_group, channel))
                        .is_some_and(|rows| !rows.is_empty());
                    ensure!(!older, "I3: {row:?} would overtake a held row");
                    self.apply(row)?;
                }
                Verdict::Hold => {
                    outside.coverage.saw("row held");
                    self.held_rows += 1;
                    let key_group = row.key_group;
                    self.step(Event::Early { key_group }, outside)?;
                    self.held
                        .entry((row.key_group, channel))
                        .or_default()
                        .push_back(row);
                }
                Verdict::Reroute { to, subscale } => {
                    rerouted.entry((to, subscale)).or_default().push(row)
                }
            }
        }
        for ((to, subscale), rows) in rerouted {
            outside.coverage.saw("rows re-routed");
            self.outbox.push_back((
                to,
                Transfer::Rows {
                    subscale,
                    channel,
                    rows,
                },
            ));
        }
        Ok(())
    }

    /// Reads one message of the migration channel from `from`.
    pub(crate) fn read_migration(
        &mut self,
        from: ExecutorId,
        outside: &mut Outside<'_>,
    ) -> Checked {
        let Some(transfer) = outside
            .net
            .migration
            .get_mut(&(from, self.id))
            .and_then(VecDeque::pop_front)
        else {
            return Ok(());
        };
        outside.monitor.transfer(&transfer)?;
        match transfer {
            Transfer::State {
                subscale,
                key_group,
                state,
            } => {
                ensure!(
                    self.states.insert(key_group, state).is_none(),
                    "I1: two states of {key_group} at {}",
                    self.id
                );
                self.step(
                    Event::StateInstalled {
                        from,
                        subscale,
                        key_group,
                    },
                    outside,
                )
            }
            Transfer::Rows { subscale, rows, .. } => {
                for row in rows {
                    self.migration
                        .check_rerouted(from, subscale, row.key_group)?;
                    self.apply(row)?;
                }
                Ok(())
            }
            Transfer::Confirm { subscale, channel } => self.step(
                Event::ReroutedConfirm {
                    from,
                    subscale,
                    channel,
                },
                outside,
            ),
            Transfer::Barrier(epoch) => {
                if !self.barrier_sent {
                    outside.coverage.saw("migration barrier before alignment");
                }
                self.step(Event::MigrationBarrier { from, epoch }, outside)
            }
            Transfer::Closed(subscale) => {
                self.step(Event::SubscaleClosed { from, subscale }, outside)
            }
        }
    }

    fn release(&mut self, key_group: KeyGroup, channel: Option<ChannelId>) -> Checked {
        let of: Vec<_> = self
            .held
            .keys()
            .filter(|(g, c)| *g == key_group && channel.is_none_or(|only| *c == only))
            .copied()
            .collect();
        for key in of {
            for row in self.held.remove(&key).unwrap_or_default() {
                self.held_rows -= 1;
                self.apply(row)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, row: Row) -> Checked {
        let state = self.states.get_mut(&row.key_group);
        ensure!(
            state.is_some(),
            "I2: {row:?} runs at {} without state",
            self.id
        );
        let seen = state
            .unwrap()
            .0
            .entry((row.predecessor, row.input))
            .or_default();
        let in_order = seen.is_first(row.number);
        ensure!(seen.insert(row.number), "I3: {row:?} runs twice");
        ensure!(
            in_order || self.release == Release::Commutative,
            "I3: {row:?} runs out of order at {}",
            self.id
        );
        Ok(())
    }

    fn heads(&self, net: &Net, visible: &dyn Fn(ChannelId) -> bool) -> Vec<(ChannelId, HeadState)> {
        let mine = net
            .regular
            .iter()
            .filter(|(channel, _)| channel.to == self.id);
        let readable =
            mine.filter(|(channel, _)| self.migration.may_read(**channel) && visible(**channel));
        readable
            .map(|(channel, queue)| (*channel, self.head(*channel, queue.front())))
            .collect()
    }

    fn head(&self, channel: ChannelId, message: Option<&Data>) -> HeadState {
        let Some(Data::Batch(rows)) = message else {
            return if message.is_some() {
                HeadState::Control
            } else {
                HeadState::Empty
            };
        };
        let waiting = rows
            .iter()
            .filter(|row| self.verdict(channel, row) == Some(Verdict::Hold))
            .count();
        match waiting {
            0 => HeadState::Runnable,
            all if all == rows.len() => HeadState::Blocked,
            _ => HeadState::Mixed,
        }
    }

    /// `None` where the row is an error, which reading it will report.
    fn verdict(&self, channel: ChannelId, row: &Row) -> Option<Verdict> {
        self.migration.verdict(channel, row.key_group).ok()
    }

    fn held(&self) -> Held {
        Held {
            rows: self.held_rows,
            bytes: 0,
        }
    }
}
