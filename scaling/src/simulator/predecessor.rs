//! A predecessor: takes rows from its source, queues them by channel, makes barriers, switches
//! subscales with the fence rule.
//!
//! ```text
//!   source: rows exist ─ room for unsent rows? ─► unsent queues, one a channel ─ credit, link ─► executors
//! ```
//!
//! Rows exist whether anyone takes them or not: what the source keeps is a backlog.

use std::collections::VecDeque;

use crate::simulator::message::{Data, Rows, count};
use crate::simulator::net::Link;
use crate::simulator::settings::{Settings, index_of, predecessor_id};
use crate::{Assignment, ChannelId, Epoch, ExecutorId, Rules, Subscale, confirm_position};

/// Where a predecessor was at a barrier.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Rows made in front of it.
    pub(super) position: u64,
    portion: u64,
    /// The same by key group.
    pub(super) made: Vec<u32>,
}

impl Cut {
    pub(super) fn start(key_groups: u16) -> Cut {
        Cut {
            position: 0,
            portion: 0,
            made: vec![0; usize::from(key_groups)],
        }
    }
}

#[derive(Debug, Default)]
struct Channel {
    unsent: VecDeque<Data>,
    /// Whether it waits for its turn on the link.
    in_turn: bool,
    /// Whether it has its last barrier.
    closing: bool,
}

pub(super) struct Predecessor {
    index: usize,
    pub(super) id: ExecutorId,
    pub(super) cut: Cut,
    pub(super) routing: Assignment,
    pub(super) link: Link,
    /// By executor.
    channels: Vec<Option<Channel>>,
    /// Executors whose channels have something to send and perhaps credit.
    turns: VecDeque<usize>,
    unsent_rows: u64,
    /// The last portion that exists.
    portions: u64,
    stopped: bool,
}

impl Predecessor {
    pub(super) fn new(
        index: usize,
        cut: Cut,
        routing: Assignment,
        settings: &Settings,
    ) -> Predecessor {
        Predecessor {
            index,
            id: predecessor_id(index),
            portions: cut.portion,
            cut,
            routing,
            link: Link::default(),
            channels: (0..settings.executors_max).map(|_| None).collect(),
            turns: VecDeque::new(),
            unsent_rows: 0,
            stopped: false,
        }
    }

    pub(super) fn channel_to(&self, to: ExecutorId) -> ChannelId {
        ChannelId {
            from: self.id,
            to,
            input: 0,
        }
    }

    pub(super) fn open(&mut self, to: ExecutorId) {
        self.channels[index_of(to)] = Some(Channel::default());
    }

    pub(super) fn close(&mut self, to: ExecutorId) {
        let channel = &mut self.channels[index_of(to)];
        if let Some(open) = channel {
            open.closing = true;
            if open.unsent.is_empty() {
                *channel = None;
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether all rows there will ever be have been made.
    pub(super) fn exhausted(&self, settings: &Settings) -> bool {
        self.cut.position == settings.rows_with(settings.last_portion())
    }

    /// Another portion of rows exists, the `portion`-th.
    pub(super) fn comes_to_exist(&mut self, portion: u64) {
        self.portions = portion;
    }

    /// Whether it would take input if it had room for more unsent rows.
    pub(super) fn wants_room(&self, settings: &Settings) -> bool {
        !self.stopped && self.cut.position < settings.rows_with(self.portions)
    }

    /// Whether a good deal of room for unsent rows has come back.
    pub(super) fn has_room(&self, settings: &Settings) -> bool {
        self.unsent_rows <= settings.setup.unsent_rows_max / 2
    }

    /// Takes rows that exist from the source into the unsent queues, as far as there is room.
    pub(super) fn make_rows(&mut self, settings: &Settings) {
        if self.stopped {
            return;
        }
        let existing = settings.rows_with(self.portions);
        while self.cut.position < existing && self.unsent_rows < settings.setup.unsent_rows_max {
            while settings.rows_with(self.cut.portion) <= self.cut.position {
                self.cut.portion += 1;
            }
            let key_group = settings.key_group_of(self.index, self.cut.position);
            let made = &mut self.cut.made[key_group.index()];
            let row = Rows {
                key_group,
                count: 1,
                portion: u32::try_from(self.cut.portion).expect("a run of a few billion portions"),
                first: *made,
            };
            *made += 1;
            self.cut.position += 1;
            let to = index_of(self.routing.owner(key_group));
            self.append(to, row, settings.setup.message_rows_max);
        }
    }

    fn append(&mut self, to: usize, row: Rows, message_rows_max: u32) {
        self.unsent_rows += u64::from(row.count);
        let channel = open(&mut self.channels, to);
        match channel.unsent.back_mut() {
            // Buffers fill up while they wait: fewer, larger messages under load.
            Some(Data::Batch(rows)) if count(rows) < u64::from(message_rows_max) => {
                match rows.last_mut() {
                    Some(last) if joins(last, &row) => last.count += row.count,
                    _ => rows.push(row),
                }
            }
            _ => channel.unsent.push_back(Data::Batch(vec![row])),
        }
        self.take_turn(to);
    }

    pub(super) fn make_barrier(&mut self, epoch: Epoch) {
        for to in 0..self.channels.len() {
            if let Some(channel) = &mut self.channels[to]
                && !channel.closing
            {
                channel.unsent.push_back(Data::Barrier(epoch));
                self.take_turn(to);
            }
        }
    }

    /// Lets a channel that has something to send wait for its turn on the link.
    pub(super) fn take_turn(&mut self, to: usize) {
        if let Some(channel) = &mut self.channels[to]
            && !channel.in_turn
            && !channel.unsent.is_empty()
        {
            channel.in_turn = true;
            self.turns.push_back(to);
        }
    }

    /// The next message to send and where to, channels with credit in turn.
    pub(super) fn next_to_send(
        &mut self,
        has_credit: impl Fn(usize) -> bool,
    ) -> Option<(usize, Data)> {
        while let Some(to) = self.turns.pop_front() {
            let Some(channel) = &mut self.channels[to] else {
                continue;
            };
            channel.in_turn = false;
            if !has_credit(to) {
                continue;
            }
            let Some(message) = channel.unsent.pop_front() else {
                continue;
            };
            self.unsent_rows -= message.rows();
            if channel.closing && channel.unsent.is_empty() {
                self.channels[to] = None;
            }
            self.take_turn(to);
            return Some((to, message));
        }
        None
    }

    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Routes a subscale to its new owner from here on.
    pub(super) fn route(&mut self, subscale: &Subscale) {
        for key_group in &subscale.key_groups {
            self.routing.set_owner(key_group, subscale.new_owner);
        }
    }

    /// Routes a subscale to its new owner and takes unsent rows back; returns how many.
    pub(super) fn switch(&mut self, subscale: &Subscale, rules: Rules) -> u64 {
        self.route(subscale);
        let (old, new) = (index_of(subscale.old_owner), index_of(subscale.new_owner));
        let queue = &mut open(&mut self.channels, old).unsent;
        let position = confirm_position(queue.iter(), |m| {
            matches!(m, Data::Barrier(_)) && rules.confirm_behind_barriers
        });
        let behind = queue.split_off(position);
        queue.push_back(Data::Confirm(subscale.id));
        let mut moved = Vec::new();
        for message in behind {
            let Data::Batch(rows) = message else {
                queue.push_back(message);
                continue;
            };
            let moves = |rows: &Rows| subscale.key_groups.contains(rows.key_group);
            let (moving, staying): (Vec<_>, Vec<_>) = rows.into_iter().partition(moves);
            moved.extend((!moving.is_empty()).then_some(Data::Batch(moving)));
            queue.extend((!staying.is_empty()).then_some(Data::Batch(staying)));
        }
        let taken_back = moved.iter().map(Data::rows).sum();
        open(&mut self.channels, new).unsent.extend(moved);
        self.take_turn(old);
        self.take_turn(new);
        taken_back
    }
}

fn open(channels: &mut [Option<Channel>], to: usize) -> &mut Channel {
    channels[to]
        .as_mut()
        .unwrap_or_else(|| panic!("no channel to executor {to}"))
}

/// Whether a row can be counted with the one before it: the same key group, portion and run of
/// numbers.
fn joins(last: &Rows, row: &Rows) -> bool {
    last.key_group == row.key_group
        && last.portion == row.portion
        && last.first + last.count == row.first
}
