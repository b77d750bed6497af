//! Alignment of barriers at one executor, over its regular channels and its incoming migration
//! channels.
//!
//! ```text
//!   Reading ─ barrier n on every regular channel ─► Fenced
//!      ▲                                              │ barrier n on every migration channel
//!      └───────────── committed ──────────────── Committing
//! ```
//!
//! A channel that delivered barrier `n` is blocked until the commit of `n`; so more barriers may be
//! under way in a channel, but at most one is aligned at a time. The step to `Fenced` depends on
//! regular channels only.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ChannelId, Epoch, ExecutorId, ProtocolError, Rules};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Reading,
    Fenced,
    Committing,
}

/// Whether a channel has delivered the barrier that is being aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Delivered {
    No,
    Yes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Alignment {
    me: ExecutorId,
    rules: Rules,
    committed: Epoch,
    phase: Phase,
    channels: BTreeMap<ChannelId, Delivered>,
    incoming: BTreeMap<ExecutorId, Delivered>,
    outgoing: BTreeSet<ExecutorId>,
}

impl Alignment {
    pub(crate) fn new(me: ExecutorId, committed: Epoch, rules: Rules) -> Alignment {
        Alignment {
            me,
            rules,
            committed,
            phase: Phase::Reading,
            channels: BTreeMap::new(),
            incoming: BTreeMap::new(),
            outgoing: BTreeSet::new(),
        }
    }

    pub(crate) fn committed(&self) -> Epoch {
        self.committed
    }

    /// Whether no barrier has been sent on that is not committed yet.
    pub(crate) fn reading(&self) -> bool {
        self.phase == Phase::Reading
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.channels.keys().copied()
    }

    pub(crate) fn outgoing(&self) -> &BTreeSet<ExecutorId> {
        &self.outgoing
    }

    pub(crate) fn may_read(&self, channel: ChannelId) -> bool {
        match self.channels.get(&channel) {
            Some(Delivered::No) => true,
            Some(Delivered::Yes) => !self.rules.regular_channels_align,
            None => false,
        }
    }

    pub(crate) fn may_read_migration(&self, from: ExecutorId) -> bool {
        match self.incoming.get(&from) {
            Some(Delivered::No) => true,
            Some(Delivered::Yes) => !self.rules.migration_channels_align,
            None => false,
        }
    }

    pub(crate) fn has_outgoing(&self, to: ExecutorId) -> bool {
        self.outgoing.contains(&to)
    }

    pub(crate) fn has_incoming(&self, from: ExecutorId) -> bool {
        self.incoming.contains_key(&from)
    }

    pub(crate) fn open_channel(&mut self, channel: ChannelId) -> Result<(), ProtocolError> {
        self.between_epochs()?;
        if channel.to != self.me || self.channels.contains_key(&channel) {
            return Err(ProtocolError::Channel {
                channel,
                what: "opening it",
            });
        }
        self.channels.insert(channel, Delivered::No);
        Ok(())
    }

    pub(crate) fn close_channel(&mut self, channel: ChannelId) -> Result<(), ProtocolError> {
        self.between_epochs()?;
        match self.channels.remove(&channel) {
            Some(_) => Ok(()),
            None => Err(ProtocolError::Channel {
                channel,
                what: "closing it",
            }),
        }
    }

    pub(crate) fn open_migration_to(&mut self, to: ExecutorId) -> Result<(), ProtocolError> {
        self.between_epochs()?;
        let opened = to != self.me && self.outgoing.insert(to);
        self.check(opened, to, "opening it")
    }

    pub(crate) fn open_migration_from(&mut self, from: ExecutorId) -> Result<(), ProtocolError> {
        self.between_epochs()?;
        let opened = from != self.me && self.incoming.insert(from, Delivered::No).is_none();
        self.check(opened, from, "opening it")
    }

    pub(crate) fn close_migration_to(&mut self, to: ExecutorId) -> Result<(), ProtocolError> {
        self.between_epochs()?;
        let closed = self.outgoing.remove(&to);
        self.check(closed, to, "closing it")
    }

    pub(crate) fn close_migration_from(&mut self, from: ExecutorId) -> Result<(), ProtocolError> {
        self.between_epochs()?;
        let closed = self.incoming.remove(&from).is_some();
        self.check(closed, from, "closing it")
    }

    /// Takes a barrier from a regular channel; true if it was the last one, and the executor is
    /// fenced now.
    pub(crate) fn barrier(
        &mut self,
        channel: ChannelId,
        epoch: Epoch,
    ) -> Result<bool, ProtocolError> {
        self.expect_next(epoch, "a barrier")?;
        match self.channels.get_mut(&channel) {
            Some(delivered @ Delivered::No) => *delivered = Delivered::Yes,
            _ => {
                return Err(ProtocolError::Channel {
                    channel,
                    what: "a barrier",
                });
            }
        }
        let aligned = self
            .channels
            .values()
            .all(|delivered| *delivered == Delivered::Yes);
        if aligned {
            self.phase = Phase::Fenced;
        }
        Ok(aligned)
    }

    pub(crate) fn migration_barrier(
        &mut self,
        from: ExecutorId,
        epoch: Epoch,
    ) -> Result<(), ProtocolError> {
        self.expect_next(epoch, "a barrier of a migration channel")?;
        match self.incoming.get_mut(&from) {
            Some(delivered @ Delivered::No) => {
                *delivered = Delivered::Yes;
                Ok(())
            }
            _ => self.check(false, from, "a barrier"),
        }
    }

    /// The epoch to commit, once: when the executor is fenced and no migration channel owes the
    /// barrier.
    pub(crate) fn try_commit(&mut self) -> Option<Epoch> {
        let owed =
            self.rules.migration_barriers && self.incoming.values().any(|d| *d == Delivered::No);
        if self.phase != Phase::Fenced || owed {
            return None;
        }
        self.phase = Phase::Committing;
        Some(self.committed.next())
    }

    pub(crate) fn commit(&mut self, epoch: Epoch) -> Result<(), ProtocolError> {
        self.expect_next(epoch, "a commit")?;
        if self.phase != Phase::Committing {
            return Err(ProtocolError::Topology {
                reason: "a commit nobody asked for",
            });
        }
        self.committed = epoch;
        self.phase = Phase::Reading;
        self.channels
            .values_mut()
            .for_each(|delivered| *delivered = Delivered::No);
        self.incoming
            .values_mut()
            .for_each(|delivered| *delivered = Delivered::No);
        Ok(())
    }

    pub(crate) fn between_epochs(&self) -> Result<(), ProtocolError> {
        let taken = self
            .channels
            .values()
            .chain(self.incoming.values())
            .any(|d| *d == Delivered::Yes);
        if self.phase != Phase::Reading || taken {
            return Err(ProtocolError::Topology {
                reason: "a barrier is being aligned",
            });
        }
        Ok(())
    }

    fn expect_next(&self, found: Epoch, what: &'static str) -> Result<(), ProtocolError> {
        let expected = self.committed.next();
        if found == expected {
            Ok(())
        } else {
            Err(ProtocolError::Epoch {
                expected,
                found,
                what,
            })
        }
    }

    fn check(
        &self,
        holds: bool,
        peer: ExecutorId,
        what: &'static str,
    ) -> Result<(), ProtocolError> {
        if holds {
            Ok(())
        } else {
            Err(ProtocolError::MigrationChannel {
                me: self.me,
                peer,
                what,
            })
        }
    }
}
