//! The regular channels of an executor: which message is taken next, and what becomes of its rows.
//!
//! ```text
//!   heads of the channels ─► scheduler ─► message ─► verdict of each key group ─► run, hold, re-route
//! ```

use std::collections::{BTreeMap, BTreeSet};

use scaling::{ChannelId, Event, ExecutorId, HeadState, Read, SubscaleId, Verdict};

use super::Executor;
use crate::change::ChangeBatch;
use crate::engine::HandledBatch;
use crate::error::Result;
use crate::faults::FaultStep;
use crate::message::{Message, MigrationMessage};
use crate::world;

/// Whether rows may be held.
#[derive(Clone, Copy)]
enum Room {
    Left,
    None,
}

/// What reading the regular channels came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A message was handled.
    Handled,
    /// There is input, and a move keeps this executor from taking any of it.
    Suspended,
    /// There is nothing that may be read now.
    Nothing,
}

impl Executor {
    /// Reads the channel that record scheduling chooses, if any may be read.
    pub(super) fn read_channel(&mut self) -> Result<Reading> {
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
    pub(super) fn read_any(&mut self) -> Result<bool> {
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
            Message::Barrier(barrier, topology, watermarks) => {
                self.watermarks.insert(channel, watermarks);
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
    pub(super) fn process(&mut self, channel: ChannelId, batch: ChangeBatch) -> Result<()> {
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
        self.may_fail(FaultStep::Rows)?;
        let (pipeline, out) = (&mut self.pipeline, &mut self.out);
        let input = usize::from(channel.input);
        match pipeline.may_wait() {
            true => world::blocking(|| pipeline.on_batch(input, batch, out))?,
            false => pipeline.on_batch(input, batch, out)?,
        }
        self.dispatch();
        self.pipeline.relieve()
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
}
