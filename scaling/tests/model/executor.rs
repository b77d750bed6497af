//! An executor of the modelled fragment: the edge of [`Migration`]. It decides nothing.

use std::collections::{BTreeMap, VecDeque};

use scaling::{
    Action, ChannelId, Early, Epoch, Event, ExecutorId, HeadState, Held, HoldLimit, KeyGroup,
    Migration, Read, Release, Scheduler, SubscaleId, Verdict,
};

use crate::fingerprint::{Fingerprint, Shared, fingerprint};
use crate::message::{Data, KEY_GROUPS, Regular, Row, State, Transfer, index};
use crate::setting::Setting;
use crate::watch::{Checked, Violation, ensure};

/// What an executor tells the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Prepared(SubscaleId),
    Installed(SubscaleId),
    Done(SubscaleId),
}

/// What an executor is given to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Turn {
    Event(Event),
    /// Rows a predecessor sent.
    Rows(usize, Vec<Row>),
    /// A message of the migration channel from an old owner.
    Transfer(ExecutorId, Transfer),
    Committed(Epoch),
    /// The first message that waited for room has been sent.
    Sent,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) migration: Migration,
    pub(crate) states: [Option<State>; KEY_GROUPS],
    /// Rows that wait; those of one key group and predecessor in the order they were held.
    held: Vec<Row>,
    /// What waits for room on the migration channels.
    pub(crate) outbox: VecDeque<(ExecutorId, Transfer)>,
    pub(crate) committing: Option<Epoch>,
    barrier_sent: bool,
}

impl Executor {
    /// One without channels and key groups, whose first epoch is the one after `last`.
    pub(crate) fn new(id: ExecutorId, last: Epoch, setting: &Setting) -> Executor {
        Executor {
            id,
            migration: Migration::new(id, last, setting.release, setting.rules),
            states: [None; KEY_GROUPS],
            held: Vec::new(),
            outbox: VecDeque::new(),
            committing: None,
            barrier_sent: false,
        }
    }

    /// The regular channel from a predecessor.
    pub(crate) fn channel(&self, predecessor: usize) -> ChannelId {
        ChannelId {
            from: ExecutorId(100 + predecessor as u32),
            to: self.id,
            input: 0,
        }
    }

    pub(crate) fn holds_rows(&self) -> bool {
        !self.held.is_empty()
    }

    pub(crate) fn key_groups(&self) -> impl Iterator<Item = (KeyGroup, State)> + '_ {
        let numbered = (0..KEY_GROUPS as u16).map(KeyGroup).zip(self.states);
        numbered.filter_map(|(key_group, state)| Some((key_group, state?)))
    }

    pub(crate) fn can_poll(&self) -> bool {
        self.outbox.is_empty() && self.migration.may_hand_over()
    }

    /// What it would do with this channel if no other had anything to read now.
    ///
    /// Messages of the others may be late, so every channel that is not paused can be next; the
    /// order of preference among several heads is no matter of correctness.
    pub(crate) fn read_of(
        &self,
        predecessor: usize,
        regular: &Regular,
        setting: &Setting,
    ) -> Option<Read> {
        let channel = self.channel(predecessor);
        if !self.outbox.is_empty() || !self.migration.may_read(channel) {
            return None;
        }
        let head = self.head(channel, regular.queue.front());
        let held = Held {
            rows: self.held.len() as u64,
            bytes: 0,
        };
        let limit = HoldLimit {
            rows: setting.hold_limit_rows,
            bytes: u64::MAX,
        };
        Scheduler::new(limit, setting.rules).next(&[(channel, head)], held, Early::Hold)
    }

    fn head(&self, channel: ChannelId, message: Option<&Data>) -> HeadState {
        let rows = match message {
            None => return HeadState::Empty,
            Some(Data::Batch(rows)) => rows,
            Some(_) => return HeadState::Control,
        };
        let waiting = rows.iter().filter(|row| self.waits(channel, row)).count();
        match waiting {
            0 => HeadState::Runnable,
            all if all == rows.len() => HeadState::Blocked,
            _ => HeadState::Mixed,
        }
    }

    /// A row that is an error does not wait: reading it reports the error.
    fn waits(&self, channel: ChannelId, row: &Row) -> bool {
        matches!(
            self.migration.verdict(channel, row.key_group),
            Ok(Verdict::Hold)
        )
    }

    /// The rows of a mixed head that can run, and those that must wait.
    pub(crate) fn runnable_part(&self, predecessor: usize, rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
        let channel = self.channel(predecessor);
        rows.into_iter().partition(|row| !self.waits(channel, row))
    }

    pub(crate) fn turn(&mut self, turn: Turn, setting: &Setting) -> Checked<Vec<Told>> {
        match turn {
            Turn::Event(event) => self.step(event, setting),
            Turn::Rows(predecessor, rows) => self.rows(predecessor, rows, setting),
            Turn::Transfer(from, transfer) => self.transfer(from, transfer, setting),
            Turn::Committed(epoch) => {
                self.committing = None;
                self.barrier_sent = false;
                self.step(Event::Committed { epoch }, setting)
            }
            Turn::Sent => {
                self.outbox.pop_front();
                Ok(Vec::new())
            }
        }
    }

    fn step(&mut self, event: Event, setting: &Setting) -> Checked<Vec<Told>> {
        let mut actions = Vec::new();
        self.migration.step(event, &mut actions)?;
        let mut told = Vec::new();
        for action in actions {
            self.carry_out(action, setting, &mut told)?;
        }
        Ok(told)
    }

    fn carry_out(&mut self, action: Action, setting: &Setting, told: &mut Vec<Told>) -> Checked {
        match action {
            Action::Prepared { subscale } => told.push(Told::Prepared(subscale)),
            Action::Installed { subscale } => told.push(Told::Installed(subscale)),
            Action::Done { subscale } => told.push(Told::Done(subscale)),
            Action::SendWanted { .. } => {
                return Err(Violation("a wish in a model without wishes".to_owned()));
            }
            Action::SendState {
                to,
                subscale,
                key_group,
            } => {
                let state = self.extract(key_group)?;
                let transfer = Transfer::State {
                    subscale,
                    key_group,
                    state,
                };
                self.outbox.push_back((to, transfer));
            }
            Action::SendReroutedConfirm {
                to,
                subscale,
                channel,
            } => {
                let predecessor = (channel.from.0 - 100) as usize;
                let transfer = Transfer::Confirm {
                    subscale,
                    predecessor,
                };
                self.outbox.push_back((to, transfer));
            }
            Action::SendMigrationBarrier { to, epoch } => {
                self.barrier_sent = true;
                self.outbox.push_back((to, Transfer::Barrier(epoch)));
            }
            Action::SendSubscaleClosed { to, subscale } => {
                self.outbox.push_back((to, Transfer::Closed(subscale)))
            }
            Action::Release { key_group, channel } => self.release(key_group, channel, setting)?,
            Action::Commit { epoch } => {
                ensure!(
                    self.held.is_empty(),
                    "I9: {} held at {} in the commit of {epoch}",
                    crate::message::names(&self.held),
                    self.id
                );
                self.committing = Some(epoch);
            }
        }
        Ok(())
    }

    fn extract(&mut self, key_group: KeyGroup) -> Checked<State> {
        let id = self.id;
        ensure!(
            !self.barrier_sent,
            "I7: key group {key_group} extracted at {id} between barrier and commit"
        );
        let state = self.states[key_group.index()].take();
        state.ok_or_else(|| Violation(format!("I1: {id} sends {key_group} without having it")))
    }

    /// Takes rows of a regular channel: runs, holds or re-routes each.
    fn rows(
        &mut self,
        predecessor: usize,
        rows: Vec<Row>,
        setting: &Setting,
    ) -> Checked<Vec<Told>> {
        let channel = self.channel(predecessor);
        let mut rerouted: Vec<((ExecutorId, SubscaleId), Vec<Row>)> = Vec::new();
        for row in rows {
            match self.migration.verdict(channel, row.key_group)? {
                Verdict::Process => {
                    let overtakes = self.held.iter().any(|held| same_order(held, &row));
                    ensure!(!overtakes, "I3: {row} would overtake a held row");
                    self.apply(row, setting)?;
                }
                Verdict::Hold => self.hold(row),
                Verdict::Reroute { to, subscale } => {
                    let of = (to, subscale);
                    match rerouted.iter_mut().find(|(other, _)| *other == of) {
                        Some((_, rows)) => rows.push(row),
                        None => rerouted.push((of, vec![row])),
                    }
                }
            }
        }
        for ((to, subscale), rows) in rerouted {
            let transfer = Transfer::Rows {
                subscale,
                predecessor,
                rows,
            };
            self.outbox.push_back((to, transfer));
        }
        Ok(Vec::new())
    }

    /// Takes one message of the migration channel from `from`.
    fn transfer(
        &mut self,
        from: ExecutorId,
        transfer: Transfer,
        setting: &Setting,
    ) -> Checked<Vec<Told>> {
        let event = match transfer {
            Transfer::State {
                subscale,
                key_group,
                state,
            } => {
                let before = self.states[key_group.index()].replace(state);
                ensure!(before.is_none(), "I1: two states of {key_group}");
                Event::StateInstalled {
                    from,
                    subscale,
                    key_group,
                }
            }
            Transfer::Rows { subscale, rows, .. } => {
                for row in rows {
                    self.migration
                        .check_rerouted(from, subscale, row.key_group)?;
                    self.apply(row, setting)?;
                }
                return Ok(Vec::new());
            }
            Transfer::Confirm {
                subscale,
                predecessor,
            } => Event::ReroutedConfirm {
                from,
                subscale,
                channel: self.channel(predecessor).ending_at(from),
            },
            Transfer::Barrier(epoch) => Event::MigrationBarrier { from, epoch },
            Transfer::Closed(subscale) => Event::SubscaleClosed { from, subscale },
        };
        self.step(event, setting)
    }

    /// Keeps a row behind those of its key group and predecessor. The order across them is of no
    /// consequence, so it is always the same.
    fn hold(&mut self, row: Row) {
        let class = |row: &Row| (row.key_group, row.predecessor);
        let behind = self.held.partition_point(|held| class(held) <= class(&row));
        self.held.insert(behind, row);
    }

    fn release(
        &mut self,
        key_group: KeyGroup,
        channel: Option<ChannelId>,
        setting: &Setting,
    ) -> Checked {
        let released = |row: &Row| {
            let came_on = self.channel(row.predecessor);
            row.key_group == key_group && channel.is_none_or(|only| only == came_on)
        };
        let (released, waiting): (Vec<_>, Vec<_>) = self.held.iter().copied().partition(released);
        self.held = waiting;
        released
            .into_iter()
            .try_for_each(|row| self.apply(row, setting))
    }

    fn apply(&mut self, row: Row, setting: &Setting) -> Checked {
        let id = self.id;
        let Some(state) = &mut self.states[row.key_group.index()] else {
            return Err(Violation(format!("I2: {row} runs at {id} without state")));
        };
        let seen = &mut state[row.predecessor];
        let in_order = *seen == setting.older(&row);
        ensure!(seen.insert(row.number), "I3: {row} runs twice");
        ensure!(
            in_order || setting.release == Release::Commutative,
            "I3: {row} runs out of order at {id}"
        );
        Ok(())
    }

    /// The index of the executor in the tables of the model.
    pub(crate) fn index(&self) -> usize {
        index(self.id)
    }
}

/// Whether two rows must run in the order they came in.
fn same_order(a: &Row, b: &Row) -> bool {
    (a.key_group, a.predecessor) == (b.key_group, b.predecessor)
}

/// What executors made of their turns, each computed once: there are many states of the world and
/// few of a single executor in them.
#[derive(Default)]
pub(crate) struct Turns(BTreeMap<Fingerprint, (Shared<Executor>, Vec<Told>)>);

impl Turns {
    /// An executor after its turn, and what it told.
    pub(crate) fn after(
        &mut self,
        before: &Shared<Executor>,
        turn: Turn,
        setting: &Setting,
    ) -> Checked<(Shared<Executor>, Vec<Told>)> {
        let of = fingerprint(&(before, &turn));
        if let Some(known) = self.0.get(&of) {
            return Ok(known.clone());
        }
        let mut after = before.clone();
        let told = after.change().turn(turn, setting)?;
        self.0.insert(of, (after.clone(), told.clone()));
        Ok((after, told))
    }
}
