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
//! Not here: what becomes of the rows of regular channels (`reading`), who moves what (`rescale`),
//! how a batch is routed (`dispatch`).

mod reading;
mod report;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use scaling::{
    Action, ChannelId, Early, Epoch, Event, ExecutorId, HoldLimit, KeyGroup, KeyGroupSet,
    Mechanism, Migration, Rules, Scheduler, Subscale, SubscaleId,
};
use storage::{StateSize, crash_point};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::channel::{Inbox, Network, Receiver, Sender};
use crate::dispatch::Dispatcher;
use crate::engine::BatchObserver;
use crate::error::{Error, Result};
use crate::faults::{FaultSite, FaultStep, Faults};
use crate::gate::Gate;
use crate::held::HeldRows;
use crate::load::{Meter, Wait};
use crate::message::{Control, FragmentKey, Message, MigrationMessage, Topology, TopologyChange};
use crate::operator::{Barrier, Output, Watermarks};
use crate::pipeline::Pipeline;
use crate::throttle::Throttle;
use crate::world;

use reading::Reading;
pub use report::MoveFigures;
pub(crate) use report::{Collected, HandOver, Report};

/// Time after which other tasks of the thread get their turn: under a backlog every executor has
/// work, and a signal waits for a turn of each at every hop.
const TURN: Duration = Duration::from_millis(1);
/// Moving state may take so many times the time of rows that wait meanwhile.
const MOVING_SHARE: u32 = 2;
/// How often a source that paces itself, or a backfill that is slowed down, looks at the clock.
const SOURCE_PERIOD: Duration = Duration::from_millis(5);

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
    pub(crate) gate: Arc<Gate>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) migration: Migration,
    pub(crate) reports: UnboundedSender<Report>,
    pub(crate) fragment: FragmentKey,
    pub(crate) observer: Option<BatchObserver>,
    pub(crate) scalable: bool,
}

enum Step {
    Worked,
    Waits(Wait),
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
    /// When each key group on its way here left, by subscale.
    hand_overs: BTreeMap<SubscaleId, Vec<HandOver>>,
    /// Key groups that rows run in without their state.
    unbound: KeyGroupSet,
    barrier: Option<(Barrier, Arc<Topology>)>,
    /// What came with the barrier, by channel.
    watermarks: BTreeMap<ChannelId, Arc<Watermarks>>,
    /// Since when the barrier waits for migration channels alone.
    fenced: Option<Instant>,
    pipeline: Pipeline,
    paced: bool,
    gate: Arc<Gate>,
    throttle: Arc<Throttle>,
    faults: Arc<Faults>,
    dispatcher: Dispatcher,
    out: Output,
    moved: MoveFigures,
    meter: Meter,
    /// Time that rows are owed, because moving state has taken more of it.
    owed: Duration,
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
            watermarks: BTreeMap::new(),
            fenced: None,
            pipeline: parts.pipeline,
            paced: parts.paced,
            gate: parts.gate,
            throttle: parts.throttle,
            faults: parts.faults,
            dispatcher: parts.dispatcher,
            out: Output::new(),
            moved: MoveFigures::default(),
            meter: Meter::new(),
            owed: Duration::ZERO,
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
                    let by_the_clock = self.paced || self.throttle.limit().is_some();
                    if by_the_clock || !self.gate.is_open() {
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
            let worked = self.read_any()? | self.poll()?;
            self.dispatch();
            return Ok(match (self.stopped, worked) {
                (true, _) => Step::Stopped,
                (false, true) => Step::Worked,
                (false, false) => Step::Waits(Wait::Idle),
            });
        }
        // Migration channels are read even when our own are full: reading them sends nothing
        // on a migration channel, so a ring of moves cannot wait for itself.
        let mut worked = self.owed.is_zero() && self.moves(Self::read_migration)?;
        let mut wait = Wait::Idle;
        if self.migrations_to.values().any(Sender::full) {
            wait = Wait::Backpressured;
            self.owed = Duration::ZERO;
        } else {
            match self.read_rows()? {
                Reading::Handled => worked = true,
                Reading::Suspended => wait = Wait::Suspended,
                Reading::Nothing => {}
            }
            if self.stopped {
                return Ok(Step::Stopped);
            }
            worked |= self.owed.is_zero() && self.moves(Self::hand_over)?;
        }
        worked |= self.poll()?;
        self.dispatch();
        Ok(if self.stopped {
            Step::Stopped
        } else if worked {
            Step::Worked
        } else {
            Step::Waits(wait)
        })
    }

    /// Moves state, which may take long: rows that wait are owed time for it.
    fn moves(&mut self, part: fn(&mut Self) -> Result<bool>) -> Result<bool> {
        let began = world::now();
        let worked = part(self)?;
        if worked {
            self.owed += (world::now() - began) / MOVING_SHARE;
        }
        Ok(worked)
    }

    /// Reads a channel, and takes the time off what rows are owed; if there are none, nothing is.
    fn read_rows(&mut self) -> Result<Reading> {
        if self.owed.is_zero() {
            return self.read_channel();
        }
        let began = world::now();
        let reading = self.read_channel()?;
        self.owed = match reading {
            Reading::Handled => self.owed.saturating_sub(world::now() - began),
            Reading::Suspended | Reading::Nothing => Duration::ZERO,
        };
        Ok(reading)
    }

    /// Lets the pipeline bring rows of its own.
    fn poll(&mut self) -> Result<bool> {
        let any = self.gate.is_open() && self.pipeline.poll(&mut self.out)?;
        if any {
            self.pipeline.relieve()?;
            crash_point!("create.backfilling");
            self.may_fail(FaultStep::Polled)?;
        }
        Ok(any)
    }

    /// Fails if a test wants it to, here.
    fn may_fail(&self, step: FaultStep) -> Result<()> {
        let FragmentKey { job, fragment } = self.fragment;
        self.faults.meet(FaultSite {
            job,
            fragment,
            step,
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
                crash_point!("predecessor.switched");
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
        crash_point!("new_owner.prepared");
        Ok(())
    }

    fn prepare_old(&mut self, subscale: Subscale, mechanism: Mechanism) -> Result<()> {
        self.advance(Event::PrepareOld {
            subscale: subscale.id,
            new_owner: subscale.new_owner,
            key_groups: subscale.key_groups,
            mechanism,
        })?;
        crash_point!("old_owner.prepared");
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
                crash_point!("new_owner.state_received");
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
                self.may_fail(FaultStep::StateInstalled)?;
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
                self.may_fail(FaultStep::StateSent)?;
                self.moved.key_groups += 1;
                self.moved.state_bytes += tables.iter().map(|t| t.bytes() as u64).sum::<u64>();
                self.migrations_to[&to].push(MigrationMessage::State {
                    subscale,
                    key_group,
                    tables,
                    sent: world::now(),
                });
                crash_point!("old_owner.state_queued");
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
                crash_point!("old_owner.confirm_sent");
            }
            Action::SendMigrationBarrier { to, epoch } => {
                self.migrations_to[&to].push(MigrationMessage::Barrier(epoch));
                crash_point!("old_owner.barrier_sent");
            }
            Action::SendSubscaleClosed { to, subscale } => {
                self.migrations_to[&to].push(MigrationMessage::Closed(subscale));
                crash_point!("old_owner.closed");
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
                    executor: self.id,
                    subscale,
                    hand_overs,
                });
                crash_point!("new_owner.installed");
            }
            Action::Done { subscale } => self.report(Report::Done {
                executor: self.id,
                subscale,
            }),
        }
        Ok(())
    }

    fn report(&self, report: Report) {
        // When the conductor is gone this executor is about to be ended too.
        let _ = self.reports.send(report);
    }

    /// Ends the epoch: operators, state tables, barrier, report, topology, in this order.
    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        crash_point!("epoch.aligned");
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
        let change = topology.changes.get(&self.id);
        if let Some(widening) = change.and_then(|change| change.widen.as_ref()) {
            let fragment = &widening.dataflow.fragments[self.fragment.fragment];
            self.pipeline
                .widen(fragment, self.fragment.job, &widening.values)?;
            crash_point!("widen.appended");
        }
        let durable = barrier.durable;
        self.may_fail(FaultStep::Barrier { durable })?;
        let inputs = self.take_watermarks();
        let (pipeline, out) = (&mut self.pipeline, &mut self.out);
        let watermarks = match pipeline.may_wait() {
            true => world::blocking(|| pipeline.on_barrier(&barrier, &inputs, out))?,
            false => pipeline.on_barrier(&barrier, &inputs, out)?,
        };
        self.dispatch();
        let load = self.meter.take();
        self.moved.suspended += load.times.suspended;
        let mut collected = Collected {
            executor: self.id,
            fragment: self.fragment,
            epoch,
            deltas: Vec::new(),
            snapshots: Vec::new(),
            backfill_remaining: self.pipeline.backfill_remaining(),
            write_applied: self.pipeline.last_write()?,
            watermarks: self.pipeline.is_visible().then(|| watermarks.clone()),
            lateness: self.pipeline.lateness()?,
            state_sizes: BTreeMap::new(),
            changed_bytes: 0,
            moved: std::mem::take(&mut self.moved),
            load,
            operators: Vec::new(),
        };
        let mut changed = KeyGroupSet::new();
        for table in self.pipeline.tables() {
            let committed = table.commit(barrier.durable)?;
            collected.deltas.extend(committed.deltas);
            collected.snapshots.extend(committed.snapshots);
            collected.changed_bytes += committed.changed_bytes;
            changed.extend(&committed.key_groups);
        }
        self.pipeline.relieve()?;
        collected.operators = self.pipeline.take_load();
        if barrier.durable {
            collected.state_sizes = self.state_sizes(&changed);
        }
        crash_point!("epoch.committed");
        self.may_fail(FaultStep::Committed { durable })?;
        self.dispatcher
            .broadcast(barrier, &topology, &Arc::new(watermarks));
        crash_point!("epoch.forwarded");
        self.report(Report::Collected(Box::new(collected)));
        crash_point!("epoch.reported");
        self.advance(Event::Committed { epoch })?;
        if let Some(change) = change {
            self.apply(change)?;
            crash_point!("executor.changed");
        }
        Ok(())
    }

    /// What is promised about the inputs, all channels of each having delivered the barrier.
    fn take_watermarks(&mut self) -> Vec<Watermarks> {
        let watermarks = std::mem::take(&mut self.watermarks);
        let of = |input: usize| {
            let channels = watermarks.iter();
            let of_input = channels.filter(|(channel, _)| usize::from(channel.input) == input);
            let least = Watermarks::least(of_input.map(|(_, watermarks)| watermarks.as_ref()));
            least.unwrap_or_default()
        };
        (0..self.pipeline.inputs()).map(of).collect()
    }

    /// How much state key groups have.
    fn state_sizes(&mut self, key_groups: &KeyGroupSet) -> BTreeMap<KeyGroup, StateSize> {
        let tables = self.pipeline.tables();
        let size = |key_group| {
            let mut size = StateSize::default();
            for table in &tables {
                size.add(&table.size_of(key_group));
            }
            (key_group, size)
        };
        key_groups.iter().map(size).collect()
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
