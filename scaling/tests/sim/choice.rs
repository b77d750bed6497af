//! What can happen next, and how likely: some kinds of steps and some executors are slow in some
//! runs.

use scaling::{ChannelId, ExecutorId};

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Choice {
    MakeRows(ExecutorId),
    MakeBarrier(ExecutorId),
    Send(ChannelId),
    Read(ExecutorId),
    ReadMigration(ExecutorId, ExecutorId),
    Flush(ExecutorId),
    Poll(ExecutorId),
    Commit(ExecutorId),
    /// Delivers the control message at this index to its receiver.
    Control(usize, ExecutorId),
    Issue,
    BeginScaling,
    Cancel,
}

const KINDS: usize = 12;
const SPEEDS: usize = 8;

/// How fast each kind of step, each executor and each channel is in one run.
pub(crate) struct Weights {
    kinds: [u64; KINDS],
    executors: [u64; SPEEDS],
    /// One bit a slow channel, see [`Weights::visible`].
    slow_channels: u64,
}

impl Weights {
    pub(crate) fn new(random: &mut Random) -> Weights {
        let mut weights = Weights {
            kinds: [0; KINDS],
            executors: [0; SPEEDS],
            slow_channels: 0,
        };
        weights
            .kinds
            .iter_mut()
            .for_each(|weight| *weight = random.pick(&[40, 40, 40, 2]));
        weights
            .executors
            .iter_mut()
            .for_each(|weight| *weight = random.pick(&[20, 20, 20, 1]));
        if random.chance(50) {
            // Moving state is slow, as it is where there is much of it.
            [4, 5, 6]
                .iter()
                .for_each(|kind| weights.kinds[*kind] = random.pick(&[1, 2, 10]));
        }
        weights.slow_channels = random.next() & random.next();
        weights
    }

    /// Which channels have something to show at this moment: a slow one in one of 16 cases, another
    /// in every second.
    pub(crate) fn visible(&self, random: &mut Random) -> impl Fn(ChannelId) -> bool + use<> {
        let (often, rarely) = (
            random.next(),
            random.next() & random.next() & random.next() & random.next(),
        );
        let shown = often & !self.slow_channels | rarely & self.slow_channels;
        move |channel| {
            let bit = channel.from.0 * 2 + u32::from(channel.input) + channel.to.0 * 16;
            shown >> (bit % u64::BITS) & 1 == 1
        }
    }

    pub(crate) fn pick(&self, choices: Vec<Choice>, random: &mut Random) -> Choice {
        let total: u64 = choices.iter().map(|choice| self.weight(*choice)).sum();
        let mut drawn = random.next() % total;
        for choice in &choices {
            let weight = self.weight(*choice);
            if drawn < weight {
                return *choice;
            }
            drawn -= weight;
        }
        unreachable!("the number drawn is below the sum of the weights")
    }

    fn weight(&self, choice: Choice) -> u64 {
        let of = |executor: ExecutorId| self.executors[executor.0 as usize % SPEEDS];
        match choice {
            Choice::MakeRows(id) => self.kinds[0] * of(id),
            Choice::MakeBarrier(id) => self.kinds[1] * of(id),
            Choice::Send(channel) => self.kinds[2] * of(channel.from),
            Choice::Read(id) => self.kinds[3] * of(id),
            Choice::ReadMigration(_, to) => self.kinds[4] * of(to),
            Choice::Flush(id) => self.kinds[5] * of(id),
            Choice::Poll(id) => self.kinds[6] * of(id),
            Choice::Commit(id) => self.kinds[7] * of(id),
            Choice::Control(_, to) => self.kinds[8] * of(to),
            Choice::Issue => self.kinds[9] * 4,
            Choice::BeginScaling => self.kinds[10] * 4,
            Choice::Cancel => self.kinds[11] / 2,
        }
    }
}
