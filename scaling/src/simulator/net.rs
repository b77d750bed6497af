//! The receiving ends of all channels: what has been sent and not yet read, with the time of its
//! arrival.
//!
//! ```text
//!   unsent at the sender ─ credit? link free? ─► sent ─ delay ─► arrived ─► read ─► credit for the sender
//! ```
//!
//! All channels of a sender share its link: one message after the other, each as long as its bytes
//! take. What the link has begun to send cannot be taken back.

use std::collections::{BTreeMap, VecDeque};

use crate::simulator::agenda::Nanos;
use crate::simulator::message::{Data, Transfer};
use crate::simulator::settings::{Settings, index_of};
use crate::{ExecutorId, HeadState};

/// The receiving end of a regular channel.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// With the time of arrival.
    pub(super) queue: VecDeque<(Nanos, Data)>,
    /// Rows sent and not yet read.
    pub(super) rows: u64,
    /// What the head is to the executor's machine, as of this many changes of the machine.
    pub(super) head: Option<(u64, HeadState)>,
}

/// The receiving end of a migration channel, with the time of arrival.
pub(super) type Incoming = VecDeque<(Nanos, Transfer)>;

/// All channels.
#[derive(Debug)]
pub(super) struct Net {
    /// By executor, then by predecessor.
    pub(super) regular: Vec<Vec<Input>>,
    /// By new owner, then by old owner.
    pub(super) migration: BTreeMap<(ExecutorId, ExecutorId), Incoming>,
    /// Predecessors that may have credit again.
    pub(super) credit: Vec<(usize, usize)>,
    /// Old owners whose migration channels may have credit again.
    pub(super) migration_credit: Vec<usize>,
}

impl Net {
    pub(super) fn new(settings: &Settings) -> Net {
        let inputs = || {
            (0..settings.setup.predecessors)
                .map(|_| Input::default())
                .collect()
        };
        Net {
            regular: (0..settings.executors_max).map(|_| inputs()).collect(),
            migration: BTreeMap::new(),
            credit: Vec::new(),
            migration_credit: Vec::new(),
        }
    }

    /// Takes the head of a regular channel.
    pub(super) fn take(&mut self, executor: usize, predecessor: usize) -> Option<Data> {
        let input = &mut self.regular[executor][predecessor];
        let (_, data) = input.queue.pop_front()?;
        input.head = None;
        input.rows -= data.rows();
        self.credit.push((predecessor, executor));
        Some(data)
    }

    /// Puts a part of a head back that could not be run.
    pub(super) fn put_back(&mut self, executor: usize, predecessor: usize, at: Nanos, data: Data) {
        let input = &mut self.regular[executor][predecessor];
        input.rows += data.rows();
        input.queue.push_front((at, data));
    }

    /// Takes the head of a migration channel that has arrived by now.
    pub(super) fn take_migration(
        &mut self,
        to: ExecutorId,
        from: ExecutorId,
        now: Nanos,
    ) -> Option<Transfer> {
        let incoming = self.migration.get_mut(&(to, from))?;
        if incoming.front()?.0 > now {
            return None;
        }
        self.migration_credit.push(index_of(from));
        incoming.pop_front().map(|(_, transfer)| transfer)
    }
}

/// The sending side's link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// When it has sent all it has begun.
    free_at: Nanos,
    /// When it was told to look again.
    looks_at: Nanos,
}

/// What a link takes on before it is free: half a millisecond, some 64 KiB at 1 Gbit/s, as network
/// cards do. A message in front of it can still be taken back.
const AHEAD: Nanos = 500_000;

impl Link {
    /// Whether it begins another message now.
    pub(super) fn takes_more(&self, now: Nanos) -> bool {
        self.free_at <= now + AHEAD
    }

    pub(super) fn free(&self, now: Nanos) -> bool {
        self.free_at <= now
    }

    /// Begins a message; returns its arrival.
    pub(super) fn send(&mut self, bytes: u64, now: Nanos, settings: &Settings) -> Nanos {
        self.free_at = self.free_at.max(now) + settings.sending(bytes);
        self.free_at + settings.link_delay
    }

    /// When to look again whether it takes more, if nobody does so already.
    pub(super) fn look_again(&mut self, now: Nanos) -> Option<Nanos> {
        if self.looks_at > now {
            return None;
        }
        self.looks_at = self.free_at.saturating_sub(AHEAD).max(now + 1);
        Some(self.looks_at)
    }

    /// When it is free, if that is to come and nobody looks then already.
    pub(super) fn look_when_free(&mut self, now: Nanos) -> Option<Nanos> {
        if self.free_at <= now || self.looks_at == self.free_at {
            return None;
        }
        self.looks_at = self.free_at;
        Some(self.free_at)
    }
}
