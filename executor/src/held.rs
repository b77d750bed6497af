//! Rows that wait at a new owner for the state of their key group.
//!
//! Rows of one key group and channel keep their order. How much may be held is decided by
//! [`scaling::Scheduler`].

use std::collections::{BTreeMap, VecDeque};

use scaling::{ChannelId, Held, KeyGroup};

use crate::change::ChangeBatch;

/// The held rows of one executor.
#[derive(Debug, Default)]
pub(crate) struct HeldRows {
    by_key_group: BTreeMap<KeyGroup, VecDeque<(ChannelId, ChangeBatch)>>,
    amount: Held,
}

impl HeldRows {
    /// Adds rows behind those of the same key groups.
    pub(crate) fn hold(&mut self, channel: ChannelId, batch: &ChangeBatch) {
        for (index, run) in batch.runs().iter().enumerate() {
            let rows = batch.slice_runs(&[index]);
            self.amount.rows += rows.num_rows() as u64;
            self.amount.bytes += rows.bytes() as u64;
            self.by_key_group
                .entry(run.key_group)
                .or_default()
                .push_back((channel, rows));
        }
    }

    /// Takes out the rows of a key group: of one channel, or of all of them.
    pub(crate) fn release(
        &mut self,
        key_group: KeyGroup,
        channel: Option<ChannelId>,
    ) -> Vec<(ChannelId, ChangeBatch)> {
        let Some(held) = self.by_key_group.remove(&key_group) else {
            return Vec::new();
        };
        let (released, kept): (VecDeque<_>, VecDeque<_>) = held
            .into_iter()
            .partition(|(from, _)| channel.is_none_or(|channel| channel == *from));
        if !kept.is_empty() {
            self.by_key_group.insert(key_group, kept);
        }
        for (_, batch) in &released {
            self.amount.rows -= batch.num_rows() as u64;
            self.amount.bytes -= batch.bytes() as u64;
        }
        released.into()
    }

    /// How much is held.
    pub(crate) fn amount(&self) -> Held {
        self.amount
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key_group.is_empty()
    }
}
