//! A predecessor: makes rows and barriers, queues them by channel, switches subscales with the
//! fence rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scaling::{
    Assignment, ChannelId, Epoch, ExecutorId, KeyGroup, Rules, Subscale, confirm_position,
};

use crate::message::{Data, Row};

/// Where a predecessor was at a barrier.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) position: usize,
    /// Rows made in front of it.
    pub(crate) rows: BTreeMap<(KeyGroup, u16), u32>,
}

pub(crate) struct Predecessor {
    pub(crate) id: ExecutorId,
    /// All rows it will ever make.
    script: Vec<(KeyGroup, u16)>,
    inputs: u16,
    pub(crate) cut: Cut,
    pub(crate) routing: Assignment,
    /// Barriers it has been told to send and has not.
    pub(crate) due: VecDeque<Epoch>,
    pub(crate) unsent: BTreeMap<ChannelId, VecDeque<Data>>,
    /// Channels that have their last barrier.
    closing: BTreeSet<ChannelId>,
}

impl Predecessor {
    pub(crate) fn new(
        id: ExecutorId,
        script: Vec<(KeyGroup, u16)>,
        inputs: u16,
        cut: Cut,
        routing: Assignment,
    ) -> Self {
        let (due, unsent, closing) = Default::default();
        Predecessor {
            id,
            script,
            inputs,
            cut,
            routing,
            due,
            unsent,
            closing,
        }
    }

    pub(crate) fn exhausted(&self) -> bool {
        self.cut.position == self.script.len()
    }

    /// Whether it has rows to make before this share of all of them is made.
    pub(crate) fn rows_up_to(&self, (made, of): (usize, usize)) -> bool {
        self.cut.position < (self.script.len() * made).div_ceil(of)
    }

    pub(crate) fn unsent_messages(&self) -> usize {
        self.unsent.values().map(VecDeque::len).sum()
    }

    pub(crate) fn channels_to(&self, to: ExecutorId) -> impl Iterator<Item = ChannelId> + use<> {
        let from = self.id;
        (0..self.inputs).map(move |input| ChannelId { from, to, input })
    }

    pub(crate) fn open(&mut self, to: ExecutorId) {
        for channel in self.channels_to(to) {
            self.unsent.insert(channel, VecDeque::new());
        }
    }

    pub(crate) fn close(&mut self, to: ExecutorId) {
        self.closing.extend(self.channels_to(to));
    }

    pub(crate) fn make_rows(&mut self, count: usize) {
        let mut batches: BTreeMap<ChannelId, Vec<Row>> = BTreeMap::new();
        for (key_group, input) in self
            .script
            .iter()
            .skip(self.cut.position)
            .take(count)
            .copied()
        {
            self.cut.position += 1;
            let made = self.cut.rows.entry((key_group, input)).or_default();
            let channel = ChannelId {
                from: self.id,
                to: self.routing.owner(key_group),
                input,
            };
            batches.entry(channel).or_default().push(Row {
                key_group,
                predecessor: self.id,
                input,
                number: *made,
            });
            *made += 1;
        }
        for (channel, rows) in batches {
            self.queue(channel).push_back(Data::Batch(rows));
        }
    }

    pub(crate) fn make_barrier(&mut self, epoch: Epoch) {
        for (channel, queue) in &mut self.unsent {
            if !self.closing.contains(channel) {
                queue.push_back(Data::Barrier(epoch));
            }
        }
    }

    /// Takes the next message of a channel; a closing channel goes with its last one.
    pub(crate) fn take(&mut self, channel: ChannelId) -> Data {
        let message = self.queue(channel).pop_front().unwrap();
        if self.unsent[&channel].is_empty() && self.closing.remove(&channel) {
            self.unsent.remove(&channel);
        }
        message
    }

    /// Routes a subscale to its new owner from here on.
    pub(crate) fn route(&mut self, subscale: &Subscale) {
        for key_group in &subscale.key_groups {
            self.routing.set_owner(key_group, subscale.new_owner);
        }
    }

    /// Routes a subscale to its new owner, takes unsent rows back; true if it split a queue behind
    /// a barrier.
    pub(crate) fn switch(&mut self, subscale: &Subscale, rules: Rules) -> bool {
        let mut fenced = false;
        self.route(subscale);
        for channel in self.channels_to(subscale.old_owner) {
            let queue = self.queue(channel);
            let is_barrier = |m: &Data| matches!(m, Data::Barrier(_));
            let position = confirm_position(queue.iter(), |m| {
                is_barrier(m) && rules.confirm_behind_barriers
            });
            fenced |= queue.iter().any(is_barrier);
            let behind = queue.split_off(position);
            queue.push_back(Data::Confirm(subscale.id));
            let mut moved = Vec::new();
            for message in behind {
                match message {
                    Data::Batch(rows) => {
                        let (moving, staying): (Vec<_>, Vec<_>) = rows
                            .into_iter()
                            .partition(|row| subscale.key_groups.contains(row.key_group));
                        moved.extend((!moving.is_empty()).then_some(Data::Batch(moving)));
                        queue.extend((!staying.is_empty()).then_some(Data::Batch(staying)));
                    }
                    other => queue.push_back(other),
                }
            }
            self.queue(channel.ending_at(subscale.new_owner))
                .extend(moved);
        }
        fenced
    }

    fn queue(&mut self, channel: ChannelId) -> &mut VecDeque<Data> {
        self.unsent
            .get_mut(&channel)
            .unwrap_or_else(|| panic!("no channel {channel}"))
    }
}
