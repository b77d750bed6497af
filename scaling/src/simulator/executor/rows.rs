//! The regular channels of a simulated executor: what is read next, and what becomes of rows.

use std::collections::{BTreeMap, VecDeque};

use super::{Executor, Outside};
use crate::simulator::agenda::Nanos;
use crate::simulator::check::{Checked, ensure};
use crate::simulator::measures::Pause;
use crate::simulator::message::{Data, Rows, State, Transfer, count};
use crate::simulator::settings::{Settings, index_of};
use crate::{
    ChannelId, Event, ExecutorId, HeadState, Held, KeyGroup, Migration, Read, Release, Verdict,
};

impl Executor {
    /// Reads one message of the regular channels; false if it may read none, which it notes down.
    pub(super) fn read(&mut self, outside: &mut Outside<'_>) -> Checked<bool> {
        let now = outside.agenda.now();
        self.expect_transfers(outside);
        if self.outgoing_rows >= outside.settings.setup.rerouted_rows_max {
            self.paused = Some((now, Pause::Scaling));
            return Ok(false);
        }
        let input = self.look_at_heads(outside);
        let held = Held {
            rows: self.held_rows,
            bytes: self.held_rows * outside.settings.setup.row_bytes,
        };
        let early = self.migration.on_early();
        match self.scheduler.next(&self.heads, held, early) {
            Some(Read::Head(channel)) => {
                let predecessor = index_of(channel.from);
                if let Some(data) = outside.net.take(self.index, predecessor) {
                    self.message(channel, data, outside)?;
                }
                Ok(true)
            }
            Some(Read::RunnablePart(channel)) => {
                self.runnable_part(channel, outside)?;
                Ok(true)
            }
            None => {
                self.paused = self.why_paused(input).map(|pause| (now, pause));
                self.ask_for_heads(outside)?;
                Ok(false)
            }
        }
    }

    /// Why nothing is read, if there is anything to read. An executor that has every barrier and
    /// waits with the commit does so for migration channels.
    fn why_paused(&self, input: bool) -> Option<Pause> {
        let aligned = !self.readable.contains(&true);
        match input {
            true if aligned || !self.heads.is_empty() => Some(Pause::Scaling),
            true => Some(Pause::Alignment),
            false => self.holds_rows().then_some(Pause::Holding),
        }
    }

    /// Sees to being woken by what has not arrived yet on a migration channel.
    fn expect_transfers(&self, outside: &mut Outside<'_>) {
        let now = outside.agenda.now();
        for from in &self.incoming {
            let incoming = outside.net.migration.get(&(self.id, *from));
            if let Some((arrival, _)) = incoming.and_then(VecDeque::front)
                && *arrival > now
            {
                outside.agenda.wake(self.id.0, *arrival);
            }
        }
    }

    /// Collects the heads of channels that may be read; returns whether there is input at all, and
    /// sees to being woken by what has not arrived yet.
    fn look_at_heads(&mut self, outside: &mut Outside<'_>) -> bool {
        self.look_at_alignment();
        let now = outside.agenda.now();
        let (mut input, mut next) = (false, Nanos::MAX);
        self.heads.clear();
        for (index, channel) in outside.net.regular[self.index].iter_mut().enumerate() {
            let Some((arrival, data)) = channel.queue.front() else {
                continue;
            };
            if *arrival > now {
                next = next.min(*arrival);
                continue;
            }
            input = true;
            if !self.readable[index] {
                continue;
            }
            let id = channel_from(index, self.id);
            let head = match channel.head {
                Some((changes, head)) if changes == self.changes => head,
                _ => {
                    let head = head_state(&self.migration, id, data);
                    channel.head = Some((self.changes, head));
                    head
                }
            };
            self.heads.push((id, head));
        }
        if next < Nanos::MAX {
            outside.agenda.wake(self.id.0, next);
        }
        input
    }

    fn look_at_alignment(&mut self) {
        if std::mem::take(&mut self.realigned) {
            for (index, readable) in self.readable.iter_mut().enumerate() {
                *readable = self.migration.may_read(channel_from(index, self.id));
            }
        }
    }

    fn message(&mut self, channel: ChannelId, data: Data, outside: &mut Outside<'_>) -> Checked {
        match data {
            Data::Batch(rows) => self.rows(channel, rows, outside),
            Data::Barrier(epoch) => self.step(Event::Barrier { channel, epoch }, outside),
            Data::Confirm(subscale) => {
                if let Some(monitor) = &mut outside.monitor {
                    monitor.confirm(subscale, channel)?;
                }
                self.step(Event::Confirm { channel, subscale }, outside)
            }
        }
    }

    fn runnable_part(&mut self, channel: ChannelId, outside: &mut Outside<'_>) -> Checked {
        let (now, predecessor) = (outside.agenda.now(), index_of(channel.from));
        let Some(Data::Batch(rows)) = outside.net.take(self.index, predecessor) else {
            return Ok(());
        };
        let waits = |rows: &Rows| holds(&self.migration, channel, rows);
        let (waiting, runnable): (Vec<_>, Vec<_>) = rows.into_iter().partition(waits);
        self.ask_for(&waiting, outside)?;
        let rest = Data::Batch(waiting);
        outside.net.put_back(self.index, predecessor, now, rest);
        self.rows(channel, runnable, outside)
    }

    /// Tells the machine of rows that stop the channels they head.
    fn ask_for_heads(&mut self, outside: &mut Outside<'_>) -> Checked {
        let mut waiting = Vec::new();
        for (channel, head) in &self.heads {
            let queue = &outside.net.regular[self.index][index_of(channel.from)].queue;
            if let (HeadState::Blocked, Some((_, Data::Batch(rows)))) = (head, queue.front()) {
                waiting.extend_from_slice(rows);
            }
        }
        self.ask_for(&waiting, outside)
    }

    fn ask_for(&mut self, waiting: &[Rows], outside: &mut Outside<'_>) -> Checked {
        waiting.iter().try_for_each(|rows| {
            let key_group = rows.key_group;
            self.step(Event::Early { key_group }, outside)
        })
    }

    fn rows(&mut self, channel: ChannelId, rows: Vec<Rows>, outside: &mut Outside<'_>) -> Checked {
        if let Some(monitor) = &outside.monitor {
            rows.iter()
                .try_for_each(|rows| monitor.rows(channel, rows))?;
        }
        if self.migration.quiet() {
            return rows
                .into_iter()
                .try_for_each(|rows| self.apply(channel.from, rows, outside));
        }
        let mut rerouted: BTreeMap<_, Vec<Rows>> = BTreeMap::new();
        for rows in rows {
            match self.migration.verdict(channel, rows.key_group)? {
                Verdict::Process => {
                    let older = self.held.contains_key(&(rows.key_group, channel.from));
                    ensure!(!older, "I3: {rows:?} would overtake held rows");
                    self.apply(channel.from, rows, outside)?;
                }
                Verdict::Hold => self.hold(channel, rows, outside)?,
                Verdict::Reroute { to, subscale } => {
                    rerouted.entry((to, subscale)).or_default().push(rows)
                }
            }
        }
        for ((to, subscale), rows) in rerouted {
            outside.measures.rerouted(count(&rows));
            self.send(
                to,
                Transfer::Rows {
                    subscale,
                    channel,
                    rows,
                },
            );
        }
        Ok(())
    }

    fn hold(&mut self, channel: ChannelId, rows: Rows, outside: &mut Outside<'_>) -> Checked {
        outside.measures.held(u64::from(rows.count));
        self.held_rows += u64::from(rows.count);
        let key_group = rows.key_group;
        self.step(Event::Early { key_group }, outside)?;
        let held = self.held.entry((key_group, channel.from)).or_default();
        held.push_back(rows);
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        key_group: KeyGroup,
        channel: Option<ChannelId>,
        outside: &mut Outside<'_>,
    ) -> Checked {
        let (first, last) = match channel {
            Some(channel) => (channel.from, channel.from),
            None => (ExecutorId(0), ExecutorId(u32::MAX)),
        };
        let range = (key_group, first)..=(key_group, last);
        let of: Vec<_> = self.held.range(range).map(|(key, _)| *key).collect();
        for key in of {
            for rows in self.held.remove(&key).unwrap_or_default() {
                self.held_rows -= u64::from(rows.count);
                self.apply(key.1, rows, outside)?;
            }
        }
        Ok(())
    }

    /// Runs rows, one after the other.
    pub(super) fn apply(
        &mut self,
        from: ExecutorId,
        rows: Rows,
        outside: &mut Outside<'_>,
    ) -> Checked {
        let (settings, predecessor) = (outside.settings, index_of(from));
        let created = settings.portion_at(predecessor, u64::from(rows.portion));
        for _ in 0..rows.count {
            self.work += settings.service;
            let at = outside.agenda.now() + self.work;
            outside.measures.processed(rows.key_group, created, at);
        }
        let epoch = self.migration.last_epoch().next();
        outside.measures.uncommitted(epoch, predecessor, &rows);
        let unsafe_run = !settings.setup.strategy.is_correct();
        let state = &mut self.states[rows.key_group.index()];
        ensure!(
            state.is_some() || unsafe_run,
            "I2: {rows:?} run at {} without state",
            self.id
        );
        if let Some(state) = state {
            state.rows += u64::from(rows.count);
            if outside.monitor.is_some() {
                note(state, predecessor, &rows, settings)?;
            }
        }
        Ok(())
    }
}

/// I3: rows run once, and in order where that matters.
fn note(state: &mut State, predecessor: usize, rows: &Rows, settings: &Settings) -> Checked {
    let setup = &settings.setup;
    if !setup.strategy.is_correct() {
        return Ok(());
    }
    state.seen.resize_with(setup.predecessors, Default::default);
    let seen = &mut state.seen[predecessor];
    let in_order = seen.is_first(rows.first);
    ensure!(
        seen.insert(rows.first, rows.count),
        "I3: some of {rows:?} of predecessor {predecessor} run twice"
    );
    ensure!(
        in_order || setup.release == Release::Commutative,
        "I3: {rows:?} of predecessor {predecessor} run out of order"
    );
    Ok(())
}

fn channel_from(predecessor: usize, to: ExecutorId) -> ChannelId {
    ChannelId {
        from: crate::simulator::settings::predecessor_id(predecessor),
        to,
        input: 0,
    }
}

fn head_state(migration: &Migration, channel: ChannelId, data: &Data) -> HeadState {
    let Data::Batch(rows) = data else {
        return HeadState::Control;
    };
    if migration.quiet() {
        return HeadState::Runnable;
    }
    let waiting = rows
        .iter()
        .filter(|rows| holds(migration, channel, rows))
        .count();
    match waiting {
        0 => HeadState::Runnable,
        all if all == rows.len() => HeadState::Blocked,
        _ => HeadState::Mixed,
    }
}

/// Whether rows are too early. Rows that should not be here count as runnable: running them reports
/// it.
fn holds(migration: &Migration, channel: ChannelId, rows: &Rows) -> bool {
    matches!(
        migration.verdict(channel, rows.key_group),
        Ok(Verdict::Hold)
    )
}
