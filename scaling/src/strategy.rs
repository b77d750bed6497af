//! The ways to change who owns a key group: DRRS, its parts alone, and the mechanisms it is
//! compared with (drrs.md 6), as combinations of a few choices.
//!
//! ```text
//!   strategy              signal     steps      a row too early   state goes
//!   drrs                  priority   subscales  is held           key group by key group, wanted first
//!   drrs_rerouting        priority   together   stops the reader  key group by key group
//!   drrs_scheduling       barrier    together   is held           key group by key group
//!   drrs_subscales        barrier    subscales  stops the reader  key group by key group
//!   otfs                  barrier    together   stops the reader  all in one piece
//!   otfs_fluid            barrier    together   stops the reader  key group by key group
//!   megaphone             barrier    one by one stops the reader  key group by key group
//!   meces                 barrier    together   stops the reader  wanted first
//!   unbound               priority   together   runs: wrong       key group by key group
//!   stop_restart          not a protocol: everything stops, and starts again from a checkpoint
//! ```
//!
//! One engine, one set of machines: a strategy is data in the messages that open a subscale. What
//! the rivals keep from the engine are its strict epochs: barriers travel on migration channels
//! here as they do for DRRS, so a state in transit delays the barrier behind it.
//!
//! Three simplifications, each in the rival's favour or neutral. The *barrier* that signals is the
//! next epoch's, issued at once: aligned signals that are not barriers would block each other.
//! Megaphone's queue in front of a blocked reader is the channel itself. Meces fetches whole key
//! groups; its bins are more key groups here. Its way of fetching a bin *back* is left out, because
//! the barrier has emptied the old way before the state leaves.

use std::fmt;
use std::str::FromStr;

use crate::{Division, OPEN_SUBSCALES_MAX};

/// How executors learn that a subscale begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Ahead of all rows: owners are prepared, predecessors take unsent rows back and put confirm
    /// barriers in their place, the old owner re-routes what still reaches it.
    Priority,
    /// Behind all rows: with a barrier, which every executor aligns as always. Nothing is
    /// re-routed, and nothing moves before the barrier has passed.
    Barrier,
}

/// What is signalled at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Steps {
    /// Everything that moves between two executors is one subscale, and all are opened at once.
    Together,
    /// Subscales of bounded size, a few at a time at each executor.
    Subscales,
    /// One key group after the other, each when the former has arrived.
    OneByOne,
}

/// What a new owner does with a row whose state is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Early {
    /// Sets it aside and goes on: record scheduling.
    Hold,
    /// Reads nothing more until the state is there.
    Stop,
    /// Runs it on whatever state there is. Wrong; the bound that nothing correct can beat.
    Run,
}

/// In which order an old owner hands the key groups of a subscale over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// By number, between two messages each.
    Lexicographic,
    /// Those first that rows wait for, in the order in which they began to wait.
    Wanted,
    /// All in one go.
    Whole,
}

/// The choices that make up a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mechanism {
    /// How a subscale begins.
    pub signal: Signal,
    /// What begins together.
    pub steps: Steps,
    /// What happens to rows that are too early.
    pub early: Early,
    /// Which state goes first.
    pub order: Order,
}

impl Default for Mechanism {
    /// That of [`Strategy::Drrs`].
    fn default() -> Mechanism {
        Mechanism {
            signal: Signal::Priority,
            steps: Steps::Subscales,
            early: Early::Hold,
            order: Order::Wanted,
        }
    }
}

impl Mechanism {
    /// How the moves are divided, `budget` being what one subscale may be.
    #[must_use]
    pub fn division(&self, budget: Division) -> Division {
        match self.steps {
            Steps::Subscales => budget,
            Steps::Together => Division::WHOLE,
            Steps::OneByOne => Division {
                key_groups_max: 1,
                ..Division::WHOLE
            },
        }
    }

    /// Subscales that may be open at one executor, and in all.
    #[must_use]
    pub fn open_max(&self) -> (usize, usize) {
        match self.steps {
            Steps::Subscales => (OPEN_SUBSCALES_MAX, usize::MAX),
            Steps::Together => (usize::MAX, usize::MAX),
            Steps::OneByOne => (usize::MAX, 1),
        }
    }
}

/// A way to change the parallelism of a running job. See the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// All three mechanisms of DRRS.
    #[default]
    Drrs,
    /// Decoupling and re-routing alone.
    DrrsRerouting,
    /// Record scheduling alone.
    DrrsScheduling,
    /// Subscale division alone.
    DrrsSubscales,
    /// Generalised on-the-fly scaling, all state at once.
    Otfs,
    /// The same, key group by key group.
    OtfsFluid,
    /// Megaphone: a signal for each key group, one after the other.
    Megaphone,
    /// Meces: state is fetched when a row needs it.
    Meces,
    /// Stop, checkpoint, restart with the other parallelism.
    StopRestart,
    /// No waiting at all, and wrong results: for measuring only.
    Unbound,
}

impl Strategy {
    /// All strategies, DRRS first.
    pub const ALL: [Strategy; 10] = [
        Strategy::Drrs,
        Strategy::DrrsRerouting,
        Strategy::DrrsScheduling,
        Strategy::DrrsSubscales,
        Strategy::Otfs,
        Strategy::OtfsFluid,
        Strategy::Megaphone,
        Strategy::Meces,
        Strategy::StopRestart,
        Strategy::Unbound,
    ];

    /// Its name in SQL and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Drrs => "drrs",
            Strategy::DrrsRerouting => "drrs_rerouting",
            Strategy::DrrsScheduling => "drrs_scheduling",
            Strategy::DrrsSubscales => "drrs_subscales",
            Strategy::Otfs => "otfs",
            Strategy::OtfsFluid => "otfs_fluid",
            Strategy::Megaphone => "megaphone",
            Strategy::Meces => "meces",
            Strategy::StopRestart => "stop_restart",
            Strategy::Unbound => "unbound",
        }
    }

    /// Whether views stay correct under it.
    #[must_use]
    pub fn is_correct(self) -> bool {
        self != Strategy::Unbound
    }

    /// What it is made of; `None` for the one that is no protocol.
    #[must_use]
    pub fn mechanism(self) -> Option<Mechanism> {
        let (signal, steps, early, order) = match self {
            Strategy::Drrs => (
                Signal::Priority,
                Steps::Subscales,
                Early::Hold,
                Order::Wanted,
            ),
            Strategy::DrrsRerouting => (
                Signal::Priority,
                Steps::Together,
                Early::Stop,
                Order::Lexicographic,
            ),
            Strategy::DrrsScheduling => (
                Signal::Barrier,
                Steps::Together,
                Early::Hold,
                Order::Lexicographic,
            ),
            Strategy::DrrsSubscales => (
                Signal::Barrier,
                Steps::Subscales,
                Early::Stop,
                Order::Lexicographic,
            ),
            Strategy::Otfs => (Signal::Barrier, Steps::Together, Early::Stop, Order::Whole),
            Strategy::OtfsFluid => (
                Signal::Barrier,
                Steps::Together,
                Early::Stop,
                Order::Lexicographic,
            ),
            Strategy::Megaphone => (
                Signal::Barrier,
                Steps::OneByOne,
                Early::Stop,
                Order::Lexicographic,
            ),
            Strategy::Meces => (Signal::Barrier, Steps::Together, Early::Stop, Order::Wanted),
            Strategy::Unbound => (
                Signal::Priority,
                Steps::Together,
                Early::Run,
                Order::Lexicographic,
            ),
            Strategy::StopRestart => return None,
        };
        Some(Mechanism {
            signal,
            steps,
            early,
            order,
        })
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no strategy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rescale strategy \"{0}\"")]
pub struct UnknownStrategy(pub String);

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Strategy, UnknownStrategy> {
        Strategy::ALL
            .into_iter()
            .find(|strategy| strategy.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownStrategy(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name().parse(), Ok(strategy));
        }
        assert_eq!("DRRS".parse(), Ok(Strategy::Drrs));
        assert!("flink".parse::<Strategy>().is_err());
    }

    #[test]
    fn drrs_is_the_default() {
        assert_eq!(Strategy::default().mechanism(), Some(Mechanism::default()));
        assert!(
            Strategy::ALL
                .iter()
                .all(|s| s.is_correct() == (*s != Strategy::Unbound))
        );
    }
}
