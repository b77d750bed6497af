//! Record scheduling: which channel an executor reads next while rows of moving key groups wait
//! (drrs.md 8.4).
//!
//! ```text
//!   head of a channel              order   at the hold limit
//!   runnable in full               first   read
//!   mixed                          second  run its runnable part, leave the rest as the head
//!   control (barrier, confirm …)   third   read
//!   blocked in full                last    paused
//! ```
//!
//! Rows that wait are held beside the channel, so that those behind them go on. What is held has a
//! limit in rows and bytes. At the limit single *channels* pause, never the executor: a held row of
//! channel `u` waits for its state, which needs no room here, and perhaps for a confirm barrier of
//! `u` at the old owner, in front of which there are only rows of subscales that `u` switched
//! earlier; so the wait ends, by induction over `u`'s own order of switching. Pausing whole
//! executors breaks this argument: two executors in a ring of moves then wait for each other's
//! confirm barriers.
//!
//! The limit needs no exception while a barrier is under way, as it would if an epoch could be
//! committed with rows held: the old owner hands over all that rows in front of barrier `n` wait
//! for before it sends on barrier `n` (see [`crate::migration`]), so a row at a paused head never
//! waits for something behind a barrier that this executor holds back itself.
//!
//! Not here: what is held and for whom ([`crate::Migration::verdict`]), alignment
//! ([`crate::Migration::may_read`]; a channel that may not be read is not offered). Migration
//! channels are not scheduled: they are always read first.

use crate::{ChannelId, Early, Rules};

/// What stands at the head of a readable channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeadState {
    /// A batch all of whose rows can run or be re-routed now.
    Runnable,
    /// A batch with rows that can run and rows that must be held.
    Mixed,
    /// A message that is no row: a barrier, a watermark, a confirm barrier.
    Control,
    /// A batch all of whose rows must be held.
    Blocked,
    /// Nothing.
    Empty,
}

/// How much an executor may hold before it pauses channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimit {
    /// Rows.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
}

impl Default for HoldLimit {
    /// 8192 rows or 8 MiB, whichever comes first.
    fn default() -> HoldLimit {
        HoldLimit {
            rows: 8192,
            bytes: 8 << 20,
        }
    }
}

/// How much an executor holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Take the head of this channel: run what is runnable, hold the rest.
    Head(ChannelId),
    /// The hold limit is reached: run the runnable rows of this channel's head and leave the others
    /// as its head.
    RunnablePart(ChannelId),
}

/// Chooses among channels; fair among equals by going round.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limit: HoldLimit,
    rules: Rules,
    last: Option<ChannelId>,
    /// The channel whose head stops the executor, where record scheduling is off.
    stopped_by: Option<ChannelId>,
}

impl Scheduler {
    /// A scheduler with this hold limit.
    #[must_use]
    pub fn new(limit: HoldLimit, rules: Rules) -> Scheduler {
        Scheduler {
            limit,
            rules,
            last: None,
            stopped_by: None,
        }
    }

    /// Which of the channels that may be read is next; `None` if all are empty or paused. More can
    /// only be read after a message arrived or a release made room.
    ///
    /// With [`Early::Stop`] there is no scheduling: channels are read in turn whatever their heads
    /// are, and the first row that must wait stops everything behind it and beside it.
    pub fn next(
        &mut self,
        heads: &[(ChannelId, HeadState)],
        held: Held,
        early: Early,
    ) -> Option<Read> {
        match early {
            Early::Hold | Early::Run => self.next_scheduled(heads, held),
            Early::Stop => self.next_in_turn(heads),
        }
    }

    fn next_in_turn(&mut self, heads: &[(ChannelId, HeadState)]) -> Option<Read> {
        let stopping = heads
            .iter()
            .find(|(channel, head)| Some(*channel) == self.stopped_by && *head != HeadState::Empty);
        let in_turn = heads
            .iter()
            .filter(|(_, head)| *head != HeadState::Empty)
            .min_by_key(|(channel, _)| {
                let again = self.last.is_some_and(|last| *channel <= last);
                (again, *channel)
            });
        let (channel, head) = stopping.or(in_turn).copied()?;
        let waits = matches!(head, HeadState::Blocked | HeadState::Mixed);
        self.stopped_by = waits.then_some(channel);
        match head {
            HeadState::Blocked => None,
            HeadState::Mixed => Some(Read::RunnablePart(channel)),
            HeadState::Runnable | HeadState::Control | HeadState::Empty => {
                self.last = Some(channel);
                Some(Read::Head(channel))
            }
        }
    }

    fn next_scheduled(&mut self, heads: &[(ChannelId, HeadState)], held: Held) -> Option<Read> {
        let full = held.rows >= self.limit.rows || held.bytes >= self.limit.bytes;
        if full && !self.rules.pause_channel_only {
            return None;
        }
        let (channel, head) = heads
            .iter()
            .filter(|(_, head)| *head != HeadState::Empty && !(full && *head == HeadState::Blocked))
            .min_by_key(|(channel, head)| {
                (
                    *head,
                    self.last.is_some_and(|last| *channel <= last),
                    *channel,
                )
            })
            .copied()?;
        self.last = Some(channel);
        if full && head == HeadState::Mixed {
            Some(Read::RunnablePart(channel))
        } else {
            Some(Read::Head(channel))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExecutorId;

    fn channel(from: u32) -> ChannelId {
        ChannelId {
            from: ExecutorId(from),
            to: ExecutorId(9),
            input: 0,
        }
    }

    fn run(scheduler: &mut Scheduler, heads: &[HeadState], rows: u64) -> String {
        let heads: Vec<_> = heads
            .iter()
            .enumerate()
            .map(|(i, h)| (channel(i as u32), *h))
            .collect();
        match scheduler.next(&heads, Held { rows, bytes: 0 }, Early::Hold) {
            Some(Read::Head(channel)) => format!("head {}", channel.from.0),
            Some(Read::RunnablePart(channel)) => format!("part {}", channel.from.0),
            None => "-".into(),
        }
    }

    #[test]
    fn prefers_runnable_then_mixed_then_control_then_blocked() {
        use HeadState::*;
        let mut s = Scheduler::new(HoldLimit { rows: 1, bytes: 1 }, Rules::default());
        assert_eq!(
            run(&mut s, &[Blocked, Control, Mixed, Runnable], 0),
            "head 3"
        );
        assert_eq!(run(&mut s, &[Blocked, Control, Mixed, Empty], 0), "head 2");
        assert_eq!(run(&mut s, &[Blocked, Control, Empty, Empty], 0), "head 1");
        assert_eq!(run(&mut s, &[Blocked, Empty, Empty, Empty], 0), "head 0");
        assert_eq!(run(&mut s, &[Empty], 0), "-");
    }

    #[test]
    fn at_the_limit_pauses_single_channels() {
        use HeadState::*;
        let mut s = Scheduler::new(
            HoldLimit {
                rows: 1,
                bytes: 100,
            },
            Rules::default(),
        );
        assert_eq!(run(&mut s, &[Blocked, Mixed, Control], 1), "part 1");
        assert_eq!(run(&mut s, &[Blocked, Empty, Control], 1), "head 2");
        assert_eq!(run(&mut s, &[Blocked, Empty, Empty], 1), "-");
        assert_eq!(
            s.next(
                &[(channel(0), Blocked)],
                Held {
                    rows: 0,
                    bytes: 100
                },
                Early::Hold
            ),
            None
        );
    }

    #[test]
    fn without_scheduling_the_first_early_row_stops_all_channels() {
        use HeadState::*;
        let mut s = Scheduler::new(HoldLimit::default(), Rules::default());
        let mut next = |heads: &[HeadState]| {
            let heads: Vec<_> = (0..).map(channel).zip(heads.iter().copied()).collect();
            s.next(&heads, Held::default(), Early::Stop)
        };
        assert_eq!(
            next(&[Runnable, Mixed, Runnable]),
            Some(Read::Head(channel(0)))
        );
        let part = Some(Read::RunnablePart(channel(1)));
        assert_eq!(next(&[Runnable, Mixed, Runnable]), part);
        assert_eq!(next(&[Runnable, Blocked, Runnable]), None);
        assert_eq!(next(&[Runnable, Blocked, Control]), None);
        let freed = Some(Read::Head(channel(1)));
        assert_eq!(next(&[Runnable, Runnable, Runnable]), freed);
        assert_eq!(
            next(&[Runnable, Empty, Runnable]),
            Some(Read::Head(channel(2)))
        );
    }

    #[test]
    fn goes_round_among_equals() {
        use HeadState::*;
        let mut s = Scheduler::new(HoldLimit::default(), Rules::default());
        let order: Vec<_> = (0..5)
            .map(|_| run(&mut s, &[Runnable, Runnable, Control, Runnable], 0))
            .collect();
        assert_eq!(order, ["head 0", "head 1", "head 3", "head 0", "head 1"]);
    }
}
