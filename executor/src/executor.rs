//! One executor: the loop that drives a fragment's operators over its share of the key groups.
//!
//! ```text
//!   control lane ───────────┐ first, always
//!   migration channels ──┐  ▼
//!   data channels ──► [ verdict ] ─► pipeline of operators ─► dispatcher ─► data lanes
//!                        │  └─ held rows, until their key group's state is here
//!                        └─ re-routed rows ─► migration channel to the new owner
//! ```
//!
//! The loop takes one message at a time and never waits inside: when an output has no credit
//! it takes no input, but still acts on its control lane, so that a move can start however
//! large the backlog is. What to do with a barrier, a key group or a row during a move is
//! decided by [`scaling::Migration`]; this file carries the decisions out, in order.
//!
//! Not here: who moves what (`rescale`), how a batch is routed (`dispatch`).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use scaling::{
    Action, ChannelId, Epoch, Event, ExecutorId, HeadState, HoldLimit, KeyGroup, Migration, Read,
    Rules, Scheduler, Subscale, SubscaleId, Verdict,
};
use storage::{PartitionSnapshot, StateDelta, crash_point};
use tokio::sync::mpsc::UnboundedSender;

use crate::change::ChangeBatch;
use crate::channel::{Inbox, Network, Receiver, Sender};
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
use crate::held::HeldRows;
use crate::message::{Control, Message, MigrationMessage, Topology, TopologyChange};
use crate::operator::{Barrier, Output};
use crate::pipeline::Pipeline;
use crate::world;

/// Messages handled before other tasks of the thread get their turn.
const STEPS_PER_TURN: u32 = 8;
/// How often a source that paces itself looks at the clock.
const SOURCE_PERIOD: Duration = Duration::from_millis(5);

/// What an executor tells the conductor.
#[derive(Debug)]
pub(crate) enum Report {
    /// It has committed an epoch and forwarded its barrier.
    Collected(Box<Collected>),
    /// It has acted on a trigger barrier.
    Prepared {
        executor: ExecutorId,
        subscale: SubscaleId,
    },
    /// As new owner, it has all of a subscale.
    Done { subscale: SubscaleId },
    /// It has ended, and its job with it.
    Failed { executor: ExecutorId, error: Error },
}

/// One executor's part of an epoch.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) executor: ExecutorId,
    pub(crate) epoch: Epoch,
    /// Rows of state changed since the last checkpoint; only at a durable barrier.
    pub(crate) deltas: Vec<StateDelta>,
    /// Visible rows, for each key group that changed.
    pub(crate) snapshots: Vec<(KeyGroup, PartitionSnapshot)>,
    /// Rows of pinned snapshots that are still to come.
    pub(crate) backfill_remaining: u64,
    /// The last write of the table that the epoch holds, at a table's root.
    pub(crate) write_applied: Option<u64>,
    /// Bytes of state by key group; only at a durable barrier.
    pub(crate) state_bytes: Vec<(KeyGroup, u64)>,
    /// What moving cost since the last report.
    pub(crate) moved: MoveFigures,
}

/// What moving key groups cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoveFigures {
    /// Key groups sent, as old owner.
    pub key_groups: u64,
    /// Bytes of state sent.
    pub state_bytes: u64,
    /// Rows passed on to the new owner after the key group had left.
    pub rows_rerouted: u64,
    /// Rows that waited for the state of their key group.
    pub rows_held: u64,
    /// Rows taken back from the lanes of old owners.
    pub rows_taken_back: u64,
}

impl MoveFigures {
    /// Adds the figures of another executor or period.
    pub fn add(&mut self, other: &MoveFigures) {
        self.key_groups += other.key_groups;
        self.state_bytes += other.state_bytes;
        self.rows_rerouted += other.rows_rerouted;
        self.rows_held += other.rows_held;
        self.rows_taken_back += other.rows_taken_back;
    }
}

/// What an executor starts with.
pub(crate) struct ExecutorParts {
    pub(crate) id: ExecutorId,
    pub(crate) network: Arc<Network>,
    pub(crate) channels: Vec<ChannelId>,
    pub(crate) migrations_from: Vec<ExecutorId>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) pipeline: Pipeline,
    /// Whether it generates rows by the clock.
    pub(crate) paced: bool,
    pub(crate) migration: Migration,
    pub(crate) reports: UnboundedSender<Report>,
}

/// Whether rows may be held.
#[derive(Clone, Copy)]
enum Room {
    Left,
    None,
}

enum Step {
    Worked,
    Idle,
    Stopped,
}

/// A fragment's parallel task.
pub(crate) struct Executor {
    id: ExecutorId,
    network: Arc<Network>,
    inbox: Arc<Inbox>,
    control: Receiver<Control>,
    reports: UnboundedSender<Report>,
    channels: BTreeMap<ChannelId, Receiver<Message>>,
    scheduler: Scheduler,
    migrations_from: BTreeMap<ExecutorId, Receiver<MigrationMessage>>,
    migrations_to: BTreeMap<ExecutorId, Sender<MigrationMessage>>,
    migration: Migration,
    held: HeldRows,
    barrier: Option<(Barrier, Arc<Topology>)>,
    pipeline: Pipeline,
    paced: bool,
    dispatcher: Dispatcher,
    out: Output,
    moved: MoveFigures,
    stopped: bool,
}

impl Executor {
    pub(crate) fn new(parts: ExecutorParts) -> Result<Executor> {
        let mut executor = Executor {
            id: parts.id,
            inbox: parts.network.inbox(parts.id),
            control: parts.network.control_receiver(parts.id),
            network: parts.network,
            reports: parts.reports,
            channels: BTreeMap::new(),
            scheduler: Scheduler::new(HoldLimit::default(), Rules::default()),
            migrations_from: BTreeMap::new(),
            migrations_to: BTreeMap::new(),
            migration: parts.migration,
            held: HeldRows::default(),
            barrier: None,
            pipeline: parts.pipeline,
            paced: parts.paced,
            dispatcher: parts.dispatcher,
            out: Output::new(),
            moved: MoveFigures::default(),
            stopped: false,
        };
        executor.apply(&TopologyChange {
            open_channels: parts.channels,
            open_migrations_from: parts.migrations_from,
            ..TopologyChange::default()
        })?;
        Ok(executor)
    }

    /// Runs until a barrier stops it. A panic or an error ends it with a report.
    pub(crate) async fn run(mut self) {
        let outcome = AssertUnwindSafe(self.drive()).catch_unwind().await;
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => Error::Panic {
                message: world::panic_message(panic.as_ref()),
            },
        };
        // When the conductor is gone nobody is left to tell.
        let _ = self.reports.send(Report::Failed {
            executor: self.id,
            error,
        });
    }

    async fn drive(&mut self) -> Result<()> {
        let mut steps = 0;
        loop {
            while let Some(control) = self.control.pop() {
                self.on_control(control)?;
            }
            match self.step()? {
                Step::Stopped => return Ok(()),
                Step::Worked => {
                    steps += 1;
                    if steps % STEPS_PER_TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Step::Idle if self.paced => {
                    self.inbox.wait_at_most(SOURCE_PERIOD).await;
                }
                Step::Idle => self.inbox.wait().await,
            }
        }
    }

    /// Handles at most one message of each kind.
    fn step(&mut self) -> Result<Step> {
        if self.dispatcher.full() {
            return Ok(Step::Idle);
        }
        // Migration channels are read even when our own are full: reading them sends nothing
        // on a migration channel, so a ring of moves cannot wait for itself.
        let mut worked = self.read_migration()?;
        if !self.migrations_to.values().any(Sender::full) {
            worked |= self.read_channel()?;
            if self.stopped {
                return Ok(Step::Stopped);
            }
            if !self.migration.quiet() {
                worked |= self.advance(Event::Poll)?;
            }
        }
        worked |= self.pipeline.poll(&mut self.out)?;
        self.dispatch();
        Ok(if self.stopped {
            Step::Stopped
        } else if worked {
            Step::Worked
        } else {
            Step::Idle
        })
    }

    fn dispatch(&mut self) {
        for batch in self.out.drain() {
            self.dispatcher.dispatch(&batch);
        }
    }

    fn on_control(&mut self, control: Control) -> Result<()> {
        match control {
            Control::PrepareNew(Subscale {
                id: subscale,
                old_owner,
                key_groups,
                ..
            }) => {
                self.advance(Event::PrepareNew {
                    subscale,
                    old_owner,
                    key_groups,
                })?;
            }
            Control::PrepareOld(Subscale {
                id: subscale,
                new_owner,
                key_groups,
                ..
            }) => {
                self.advance(Event::PrepareOld {
                    subscale,
                    new_owner,
                    key_groups,
                })?;
            }
            Control::Switch { fragment, subscale } => {
                self.moved.rows_taken_back += self.dispatcher.switch(fragment, &subscale);
            }
        }
        Ok(())
    }

    fn read_migration(&mut self) -> Result<bool> {
        let mut worked = false;
        let peers: Vec<_> = self.migrations_from.keys().copied().collect();
        for from in peers {
            if !self.migration.may_read_migration(from) {
                continue;
            }
            if let Some(message) = self.migrations_from[&from].pop() {
                worked = true;
                self.on_migration(from, message)?;
            }
        }
        Ok(worked)
    }

    fn on_migration(&mut self, from: ExecutorId, message: MigrationMessage) -> Result<()> {
        let event = match message {
            MigrationMessage::State {
                subscale,
                key_group,
                tables,
            } => {
                for (table, state) in self.pipeline.tables().into_iter().zip(tables) {
                    table.install(key_group, state)?;
                }
                crash_point!("new_owner.state_installed");
                Event::StateInstalled {
                    from,
                    subscale,
                    key_group,
                }
            }
            MigrationMessage::Rerouted {
                subscale,
                channel,
                batch,
            } => {
                for run in batch.runs().iter() {
                    self.migration
                        .check_rerouted(from, subscale, run.key_group)?;
                }
                self.pipeline
                    .on_batch(usize::from(channel.input), batch, &mut self.out)?;
                self.dispatch();
                return Ok(());
            }
            MigrationMessage::Confirm { subscale, channel } => Event::ReroutedConfirm {
                from,
                subscale,
                channel,
            },
            MigrationMessage::Barrier(epoch) => Event::MigrationBarrier { from, epoch },
            MigrationMessage::Closed(subscale) => Event::SubscaleClosed { from, subscale },
        };
        self.advance(event)?;
        Ok(())
    }

    /// Reads the channel that record scheduling chooses, if any may be read.
    fn read_channel(&mut self) -> Result<bool> {
        let heads: Vec<_> = self
            .channels
            .keys()
            .filter(|&&channel| self.migration.may_read(channel))
            .map(|&channel| (channel, self.head(channel)))
            .collect();
        let (channel, room) = match self.scheduler.next(&heads, self.held.amount()) {
            Some(Read::Head(channel)) => (channel, Room::Left),
            Some(Read::RunnablePart(channel)) => (channel, Room::None),
            None => return Ok(false),
        };
        let message = self.channels[&channel]
            .pop()
            .expect("a head that was seen is there");
        match message {
            Message::Batch(batch) => self.on_batch(channel, batch, room)?,
            Message::Write { sequence, batch } => {
                self.pipeline.write(sequence, batch, &mut self.out)?;
                self.dispatch();
            }
            Message::Confirm(subscale) => {
                self.advance(Event::Confirm { channel, subscale })?;
            }
            Message::Barrier(barrier, topology) => {
                self.barrier.get_or_insert((barrier, topology));
                self.advance(Event::Barrier {
                    channel,
                    epoch: barrier.epoch,
                })?;
            }
        }
        Ok(true)
    }

    fn head(&self, channel: ChannelId) -> HeadState {
        let state = |message: &Message| match message {
            Message::Batch(batch) if !self.migration.quiet() => self.batch_head(channel, batch),
            Message::Batch(_) | Message::Write { .. } => HeadState::Runnable,
            Message::Barrier(..) | Message::Confirm(_) => HeadState::Control,
        };
        self.channels[&channel]
            .peek(state)
            .unwrap_or(HeadState::Empty)
    }

    fn batch_head(&self, channel: ChannelId, batch: &ChangeBatch) -> HeadState {
        let runs = batch.runs();
        // A verdict that fails is met again, and reported, when the batch is handled.
        let held = runs
            .iter()
            .filter(|run| {
                matches!(
                    self.migration.verdict(channel, run.key_group),
                    Ok(Verdict::Hold)
                )
            })
            .count();
        match held {
            0 => HeadState::Runnable,
            held if held == runs.len() => HeadState::Blocked,
            _ => HeadState::Mixed,
        }
    }

    /// Processes, re-routes or holds each key group of a batch. Without room to hold, the rows
    /// that would be held go back to the head of their channel.
    fn on_batch(&mut self, channel: ChannelId, batch: ChangeBatch, room: Room) -> Result<()> {
        if self.migration.quiet() {
            self.pipeline
                .on_batch(usize::from(channel.input), batch, &mut self.out)?;
            self.dispatch();
            return Ok(());
        }
        const PROCESS: usize = 0;
        const HOLD: usize = 1;
        let departures: Vec<(ExecutorId, SubscaleId)> = self.departures(channel, &batch)?;
        let mut classes = BTreeMap::new();
        for run in batch.runs().iter() {
            let class = match self.migration.verdict(channel, run.key_group)? {
                Verdict::Process => PROCESS,
                Verdict::Hold => HOLD,
                Verdict::Reroute { to, subscale } => {
                    let found = departures.binary_search(&(to, subscale));
                    2 + found.expect("collected from the same verdicts")
                }
            };
            classes.insert(run.key_group, class);
        }
        let parts = batch.partition(|key_group| classes[&key_group], 2 + departures.len());
        for (class, part) in parts.into_iter().enumerate() {
            let Some(part) = part else { continue };
            match (class, room) {
                (PROCESS, _) => {
                    self.pipeline
                        .on_batch(usize::from(channel.input), part, &mut self.out)?;
                    self.dispatch();
                }
                (HOLD, Room::None) => self.channels[&channel].put_back(Message::Batch(part)),
                (HOLD, Room::Left) => {
                    self.moved.rows_held += part.num_rows() as u64;
                    self.held.hold(channel, &part);
                }
                (departure, _) => {
                    self.moved.rows_rerouted += part.num_rows() as u64;
                    let (to, subscale) = departures[departure - 2];
                    self.migrations_to[&to].push(MigrationMessage::Rerouted {
                        subscale,
                        channel,
                        batch: part,
                    });
                }
            }
        }
        Ok(())
    }

    /// Where rows of a batch are re-routed to, in order, each once.
    fn departures(
        &self,
        channel: ChannelId,
        batch: &ChangeBatch,
    ) -> Result<Vec<(ExecutorId, SubscaleId)>> {
        let mut departures = BTreeSet::new();
        for run in batch.runs().iter() {
            if let Verdict::Reroute { to, subscale } =
                self.migration.verdict(channel, run.key_group)?
            {
                departures.insert((to, subscale));
            }
        }
        Ok(departures.into_iter().collect())
    }

    /// Feeds the protocol and carries out what it asks for. Whether it asked for anything.
    fn advance(&mut self, event: Event) -> Result<bool> {
        let mut actions = Vec::new();
        self.migration.step(event, &mut actions)?;
        let asked = !actions.is_empty();
        for action in actions {
            self.carry_out(action)?;
        }
        Ok(asked)
    }

    fn carry_out(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Prepared { subscale } => {
                self.report(Report::Prepared {
                    executor: self.id,
                    subscale,
                });
            }
            Action::SendState {
                to,
                subscale,
                key_group,
            } => {
                let mut tables = Vec::new();
                for table in self.pipeline.tables() {
                    tables.push(table.extract(key_group)?);
                }
                crash_point!("old_owner.state_sent");
                self.moved.key_groups += 1;
                self.moved.state_bytes += tables.iter().map(|t| t.bytes() as u64).sum::<u64>();
                self.migrations_to[&to].push(MigrationMessage::State {
                    subscale,
                    key_group,
                    tables,
                });
            }
            Action::SendReroutedConfirm {
                to,
                subscale,
                channel,
            } => {
                self.migrations_to[&to].push(MigrationMessage::Confirm { subscale, channel });
            }
            Action::SendMigrationBarrier { to, epoch } => {
                self.migrations_to[&to].push(MigrationMessage::Barrier(epoch));
            }
            Action::SendSubscaleClosed { to, subscale } => {
                self.migrations_to[&to].push(MigrationMessage::Closed(subscale));
            }
            Action::Release { key_group, channel } => {
                for (channel, batch) in self.held.release(key_group, channel) {
                    self.pipeline
                        .on_batch(usize::from(channel.input), batch, &mut self.out)?;
                }
                self.dispatch();
            }
            Action::Commit { epoch } => self.commit(epoch)?,
            Action::Done { subscale } => self.report(Report::Done { subscale }),
        }
        Ok(())
    }

    fn report(&self, report: Report) {
        // When the conductor is gone this executor is about to be ended too.
        let _ = self.reports.send(report);
    }

    /// Ends the epoch: operators, state tables, barrier, report, topology, in this order.
    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let (barrier, topology) = self.barrier.take().expect("a commit follows a barrier");
        assert_eq!(barrier.epoch, epoch, "barriers are committed in order");
        assert!(
            self.held.is_empty(),
            "no row of epoch {epoch} may still wait at its barrier"
        );
        self.pipeline.on_barrier(&barrier, &mut self.out)?;
        self.dispatch();
        let mut collected = Collected {
            executor: self.id,
            epoch,
            deltas: Vec::new(),
            snapshots: Vec::new(),
            backfill_remaining: self.pipeline.backfill_remaining(),
            write_applied: self.pipeline.last_write()?,
            state_bytes: Vec::new(),
            moved: std::mem::take(&mut self.moved),
        };
        for table in self.pipeline.tables() {
            let committed = table.commit(barrier.durable)?;
            collected.deltas.extend(committed.deltas);
            collected.snapshots.extend(committed.snapshots);
            if barrier.durable {
                for key_group in table.owned().iter() {
                    collected
                        .state_bytes
                        .push((key_group, table.bytes(key_group)));
                }
            }
        }
        crash_point!("epoch.committed");
        self.dispatcher.broadcast(barrier, &topology);
        self.report(Report::Collected(Box::new(collected)));
        self.advance(Event::Committed { epoch })?;
        if let Some(change) = topology.changes.get(&self.id) {
            self.apply(change)?;
        }
        Ok(())
    }

    fn apply(&mut self, change: &TopologyChange) -> Result<()> {
        self.dispatcher.apply(change);
        for &channel in &change.open_channels {
            self.channels
                .insert(channel, self.network.receiver(channel));
            self.advance(Event::OpenChannel { channel })?;
        }
        for channel in &change.close_channels {
            self.channels.remove(channel);
            self.advance(Event::CloseChannel { channel: *channel })?;
        }
        for &to in &change.open_migrations_to {
            self.migrations_to
                .insert(to, self.network.migration_sender(self.id, to));
            self.advance(Event::OpenMigrationTo { to })?;
        }
        for &from in &change.open_migrations_from {
            self.migrations_from
                .insert(from, self.network.migration_receiver(from, self.id));
            self.advance(Event::OpenMigrationFrom { from })?;
        }
        for &to in &change.close_migrations_to {
            self.migrations_to.remove(&to);
            self.advance(Event::CloseMigrationTo { to })?;
        }
        for &from in &change.close_migrations_from {
            self.migrations_from.remove(&from);
            self.advance(Event::CloseMigrationFrom { from })?;
        }
        if change.end_backfill {
            self.pipeline.end_backfill();
        }
        self.stopped |= change.stop;
        Ok(())
    }
}
