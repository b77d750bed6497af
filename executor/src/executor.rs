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
    Action, ChannelId, Early, Epoch, Event, ExecutorId, HeadState, HoldLimit, KeyGroup,
    KeyGroupSet, Mechanism, Migration, Read, Rules, Scheduler, Subscale, SubscaleId, Verdict,
};
use storage::{PartitionSnapshot, StateDelta, crash_point};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::change::ChangeBatch;
use crate::channel::{Inbox, Network, Receiver, Sender};
use crate::dispatch::Dispatcher;
use crate::engine::{BatchObserver, HandledBatch};
use crate::error::{Error, Result};
use crate::held::HeldRows;
use crate::load::{Load, Meter, Wait};
use crate::message::{Control, FragmentKey, Message, MigrationMessage, Topology, TopologyChange};
use crate::operator::{Barrier, Output};
use crate::pipeline::Pipeline;
use crate::world;

/// Time after which other tasks of the thread get their turn: under a backlog every executor has
/// work, and a signal waits for a turn of each at every hop.
const TURN: Duration = Duration::from_millis(1);
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
    /// As new owner, it has all state of a subscale.
    Installed {
        subscale: SubscaleId,
        hand_overs: Vec<HandOver>,
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
    /// Rows and bytes of state by key group, over all tables; only at a durable barrier.
    pub(crate) state_sizes: Vec<(KeyGroup, u64, u64)>,
    /// What moving cost since the last report.
    pub(crate) moved: MoveFigures,
    /// Where the time went since the last report.
    pub(crate) load: Load,
}

/// The way of one key group to its new owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) bytes: u64,
    /// When it left the old owner; its rows wait from here on.
    pub(crate) sent: Instant,
    /// When they went on.
    pub(crate) installed: Instant,
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
    /// Time executors had input and could take none of it, summed over executors.
    pub suspended: Duration,
    /// The longest time a barrier waited at one executor for state under way to it.
    pub barrier_wait_max: Duration,
}

impl MoveFigures {
    /// Adds the figures of another executor or period.
    pub fn add(&mut self, other: &MoveFigures) {
        self.key_groups += other.key_groups;
        self.state_bytes += other.state_bytes;
        self.rows_rerouted += other.rows_rerouted;
        self.rows_held += other.rows_held;
        self.rows_taken_back += other.rows_taken_back;
        self.suspended += other.suspended;
        self.barrier_wait_max = self.barrier_wait_max.max(other.barrier_wait_max);
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
    pub(crate) fragment: FragmentKey,
    pub(crate) observer: Option<BatchObserver>,
    pub(crate) scalable: bool,
}

/// Whether rows may be held.
#[derive(Clone, Copy)]
enum Room {
    Left,
    None,
}

enum Step {
    Worked,
    Waits(Wait),
    Stopped,
}

/// What reading the regular channels came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// A message was handled.
    Handled,
    /// There is input, and a move keeps this executor from taking any of it.
    Suspended,
    /// There is nothing that may be read now.
    Nothing,
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
    /// When each key group on its way here left, by subscale.
    hand_overs: BTreeMap<SubscaleId, Vec<HandOver>>,
    /// Key groups that rows run in without their state.
    unbound: KeyGroupSet,
    barrier: Option<(Barrier, Arc<Topology>)>,
    /// Since when the barrier waits for migration channels alone.
    fenced: Option<Instant>,
    pipeline: Pipeline,
    paced: bool,
    dispatcher: Dispatcher,
    out: Output,
    moved: MoveFigures,
    meter: Meter,
    fragment: FragmentKey,
    observer: Option<BatchObserver>,
    scalable: bool,
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
            hand_overs: BTreeMap::new(),
            unbound: KeyGroupSet::new(),
            barrier: None,
            fenced: None,
            pipeline: parts.pipeline,
            paced: parts.paced,
            dispatcher: parts.dispatcher,
            out: Output::new(),
            moved: MoveFigures::default(),
            meter: Meter::new(),
            fragment: parts.fragment,
            observer: parts.observer,
            scalable: parts.scalable,
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
        let mut turn = Duration::ZERO;
        loop {
            while let Some(control) = self.control.pop() {
                self.on_control(control)?;
            }
            match self.step()? {
                Step::Stopped => return Ok(()),
                Step::Worked => {
                    turn += self.meter.worked();
                    if turn >= TURN {
                        turn = Duration::ZERO;
                        tokio::task::yield_now().await;
                        self.meter.yielded();
                    }
                }
                Step::Waits(why) => {
                    if self.paced {
                        self.inbox.wait_at_most(SOURCE_PERIOD).await;
                    } else {
                        self.inbox.wait().await;
                    }
                    self.meter.waited(why);
                    turn = Duration::ZERO;
                }
            }
        }
    }

    /// Handles at most one message of each kind.
    fn step(&mut self) -> Result<Step> {
        if self.dispatcher.full() {
            if !self.scalable {
                return Ok(Step::Waits(Wait::Backpressured));
            }
            // A key group that leaves makes no output.
            return Ok(match self.hand_over()? {
                true => Step::Worked,
                false => Step::Waits(Wait::Backpressured),
            });
        }
        if !self.scalable {
            let worked = self.read_any()? | self.pipeline.poll(&mut self.out)?;
            self.dispatch();
            return Ok(match (self.stopped, worked) {
                (true, _) => Step::Stopped,
                (false, true) => Step::Worked,
                (false, false) => Step::Waits(Wait::Idle),
            });
        }
        // Migration channels are read even when our own are full: reading them sends nothing
        // on a migration channel, so a ring of moves cannot wait for itself.
        let mut worked = self.read_migration()?;
        let mut wait = Wait::Idle;
        if self.migrations_to.values().any(Sender::full) {
            wait = Wait::Backpressured;
        } else {
            match self.read_channel()? {
                Reading::Handled => worked = true,
                Reading::Suspended => wait = Wait::Suspended,
                Reading::Nothing => {}
            }
            if self.stopped {
                return Ok(Step::Stopped);
            }
            worked |= self.hand_over()?;
        }
        worked |= self.pipeline.poll(&mut self.out)?;
        self.dispatch();
        Ok(if self.stopped {
            Step::Stopped
        } else if worked {
            Step::Worked
        } else {
            Step::Waits(wait)
        })
    }

    /// Hands a key group over if one is to leave and what has left before is sent: its rows can be
    /// handled here as long as it would only wait for the link.
    fn hand_over(&mut self) -> Result<bool> {
        let ready =
            self.migration.may_hand_over() && self.migrations_to.values().all(Sender::is_dry);
        if ready {
            self.advance(Event::Poll)?;
        }
        Ok(ready)
    }

    fn dispatch(&mut self) {
        for batch in self.out.drain() {
            self.dispatcher.dispatch(&batch);
        }
    }

    fn on_control(&mut self, control: Control) -> Result<()> {
        match control {
            Control::PrepareNew(subscale, mechanism) => self.prepare_new(subscale, mechanism)?,
            Control::PrepareOld(subscale, mechanism) => self.prepare_old(subscale, mechanism)?,
            Control::Wanted {
                subscale,
                key_group,
            } => {
                self.advance(Event::Wanted {
                    subscale,
                    key_group,
                })?;
            }
            Control::Switch { fragment, subscale } => {
                self.moved.rows_taken_back += self.dispatcher.switch(fragment, &subscale);
            }
        }
        Ok(())
    }

    fn prepare_new(&mut self, subscale: Subscale, mechanism: Mechanism) -> Result<()> {
        if mechanism.early == Early::Run {
            for key_group in &subscale.key_groups {
                self.unbound.insert(key_group);
                for table in self.pipeline.tables() {
                    table.open(key_group);
                }
            }
        }
        self.advance(Event::PrepareNew {
            subscale: subscale.id,
            old_owner: subscale.old_owner,
            key_groups: subscale.key_groups,
            mechanism,
        })?;
        Ok(())
    }

    fn prepare_old(&mut self, subscale: Subscale, mechanism: Mechanism) -> Result<()> {
        self.advance(Event::PrepareOld {
            subscale: subscale.id,
            new_owner: subscale.new_owner,
            key_groups: subscale.key_groups,
            mechanism,
        })?;
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
                sent,
            } => {
                let bytes = tables.iter().map(|table| table.bytes() as u64).sum();
                let unbound = self.unbound.remove(key_group);
                for (table, state) in self.pipeline.tables().into_iter().zip(tables) {
                    if unbound {
                        // What ran without the state is overwritten by it.
                        table.extract(key_group)?;
                    }
                    table.install(key_group, state)?;
                }
                crash_point!("new_owner.state_installed");
                let installed = world::now();
                self.hand_overs.entry(subscale).or_default().push(HandOver {
                    bytes,
                    sent,
                    installed,
                });
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
                self.process(channel, batch)?;
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
    fn read_channel(&mut self) -> Result<Reading> {
        let heads: Vec<_> = self
            .channels
            .keys()
            .filter(|&&channel| self.migration.may_read(channel))
            .map(|&channel| (channel, self.head(channel)))
            .collect();
        let early = self.migration.on_early();
        let (channel, room) = match self.scheduler.next(&heads, self.held.amount(), early) {
            Some(Read::Head(channel)) => (channel, Room::Left),
            Some(Read::RunnablePart(channel)) => (channel, Room::None),
            None => return self.nothing_read(&heads),
        };
        let message = self.channels[&channel]
            .pop()
            .expect("a head that was seen is there");
        if let Message::Batch(batch) = message {
            self.on_batch(channel, batch, room)?;
        } else {
            self.on_message(channel, message)?;
        }
        Ok(Reading::Handled)
    }

    /// Takes the next message of any channel.
    fn read_any(&mut self) -> Result<bool> {
        let mut channels = self.channels.iter();
        let Some((&channel, receiver)) =
            channels.find(|(channel, lane)| !lane.is_empty() && self.migration.may_read(**channel))
        else {
            return Ok(false);
        };
        if let Some(message) = receiver.pop() {
            self.on_message(channel, message)?;
        }
        Ok(true)
    }

    /// Handles a message, rows as if nothing moved.
    fn on_message(&mut self, channel: ChannelId, message: Message) -> Result<()> {
        match message {
            Message::Batch(batch) => self.run_rows(channel, batch)?,
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
                if self.barrier.is_some() && self.migration.is_fenced() {
                    self.fenced = Some(world::now());
                }
            }
        }
        Ok(())
    }

    /// No channel is to be read now. If a row that is too early is why, its old owner is told.
    fn nothing_read(&mut self, heads: &[(ChannelId, HeadState)]) -> Result<Reading> {
        let blocked = heads.iter().find(|(_, head)| *head == HeadState::Blocked);
        let Some((channel, _)) = blocked else {
            return Ok(Reading::Nothing);
        };
        let waiting = self.channels[channel].peek(|message| match message {
            Message::Batch(batch) => batch.runs().iter().map(|run| run.key_group).collect(),
            _ => Vec::new(),
        });
        for key_group in waiting.unwrap_or_default() {
            self.advance(Event::Early { key_group })?;
        }
        Ok(Reading::Suspended)
    }

    /// Processes rows whose state is here.
    fn process(&mut self, channel: ChannelId, batch: ChangeBatch) -> Result<()> {
        self.meter.handles(&batch);
        let observed = self.observer.is_some().then(|| batch.clone());
        self.run_rows(channel, batch)?;
        if let (Some(observe), Some(batch)) = (&self.observer, &observed) {
            observe(HandledBatch {
                job: self.fragment.job,
                fragment: self.fragment.fragment,
                epoch: self.migration.last_epoch().next(),
                batch,
            });
        }
        Ok(())
    }

    fn run_rows(&mut self, channel: ChannelId, batch: ChangeBatch) -> Result<()> {
        self.pipeline
            .on_batch(usize::from(channel.input), batch, &mut self.out)?;
        self.dispatch();
        Ok(())
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
            return self.process(channel, batch);
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
                (PROCESS, _) => self.process(channel, part)?,
                (HOLD, room) => {
                    for run in part.runs().iter() {
                        let key_group = run.key_group;
                        self.advance(Event::Early { key_group })?;
                    }
                    match room {
                        Room::None => self.channels[&channel].put_back(Message::Batch(part)),
                        Room::Left => {
                            self.moved.rows_held += part.num_rows() as u64;
                            self.held.hold(channel, &part);
                        }
                    }
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
                    sent: world::now(),
                });
            }
            Action::SendWanted {
                to,
                subscale,
                key_group,
            } => {
                let lane = self.network.control_sender(to);
                lane.push(Control::Wanted {
                    subscale,
                    key_group,
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
                    self.process(channel, batch)?;
                }
            }
            Action::Commit { epoch } => self.commit(epoch)?,
            Action::Installed { subscale } => {
                let hand_overs = self.hand_overs.remove(&subscale).unwrap_or_default();
                self.report(Report::Installed {
                    subscale,
                    hand_overs,
                });
            }
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
        if let Some(since) = self.fenced.take() {
            let waited = world::now() - since;
            self.moved.barrier_wait_max = self.moved.barrier_wait_max.max(waited);
        }
        self.pipeline.on_barrier(&barrier, &mut self.out)?;
        self.dispatch();
        let load = self.meter.take();
        self.moved.suspended += load.times.suspended;
        let mut collected = Collected {
            executor: self.id,
            epoch,
            deltas: Vec::new(),
            snapshots: Vec::new(),
            backfill_remaining: self.pipeline.backfill_remaining(),
            write_applied: self.pipeline.last_write()?,
            state_sizes: Vec::new(),
            moved: std::mem::take(&mut self.moved),
            load,
        };
        for table in self.pipeline.tables() {
            let committed = table.commit(barrier.durable)?;
            collected.deltas.extend(committed.deltas);
            collected.snapshots.extend(committed.snapshots);
        }
        if barrier.durable {
            collected.state_sizes = self.state_sizes();
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

    fn state_sizes(&mut self) -> Vec<(KeyGroup, u64, u64)> {
        let mut sizes: BTreeMap<KeyGroup, (u64, u64)> = BTreeMap::new();
        for table in self.pipeline.tables() {
            for key_group in table.owned().iter() {
                let (rows, bytes) = sizes.entry(key_group).or_default();
                *rows += table.rows(key_group);
                *bytes += table.bytes(key_group);
            }
        }
        let flat = |(key_group, (rows, bytes))| (key_group, rows, bytes);
        sizes.into_iter().map(flat).collect()
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
        for (fragment, subscale) in &change.switch {
            self.dispatcher.route(*fragment, subscale);
        }
        for (subscale, mechanism) in &change.prepare_new {
            self.prepare_new(subscale.clone(), *mechanism)?;
        }
        for (subscale, mechanism) in &change.prepare_old {
            self.prepare_old(subscale.clone(), *mechanism)?;
        }
        if change.end_backfill {
            self.pipeline.end_backfill();
        }
        self.stopped |= change.stop;
        Ok(())
    }
}
