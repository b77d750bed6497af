//! What must hold in every run: invariants I1 to I9 and I12 of drrs.md 8.8, watched as messages
//! pass. I10 is about watermarks and I11 about the order of outputs, which a run has none of.
//!
//! | | invariant | where |
//! | --- | --- | --- |
//! | I1 | a key group is at one executor, or under way on one migration channel | [`Monitor::extracted`], [`Monitor::installed`] |
//! | I2 | no row runs where the state of its key group is not | `Executor::apply` |
//! | I3 | rows of one predecessor and key group run once, in order if release is ordered | `Executor::apply` |
//! | I4 | on a migration channel: state of g, rows of g, confirm barrier of their channel, closing | [`Monitor::transfer`] |
//! | I5 | one confirm barrier a subscale and channel | [`Monitor::confirm`] |
//! | I6 | behind it no row of the subscale | [`Monitor::rows`] |
//! | I7 | nothing is extracted between barrier and commit | `Executor::extract` |
//! | I8 | the key groups committed in an epoch are all, once | `Epochs` |
//! | I9 | an epoch holds exactly the rows in front of its barrier, and no row is held at its commit | `Executor::carry_out`, `World::check_commit` |
//! | I12 | a scaling that is done leaves nothing held or under way, and one routing | `World::check_done`, `World::check_finished` |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::simulator::message::{Rows, Transfer};
use crate::{ChannelId, ExecutorId, KeyGroup, ProtocolError, Subscale, SubscaleId};

/// An invariant did not hold, or the run came to no end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed:#x}, at {at:?}: {what}")]
pub struct Violation {
    /// Seed of the set-up.
    pub seed: u64,
    /// Virtual time since the start of the run.
    pub at: Duration,
    /// What was found.
    pub what: String,
}

/// What is wrong, as it is found.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl From<ProtocolError> for Broken {
    fn from(error: ProtocolError) -> Broken {
        Broken(format!("protocol error: {error}"))
    }
}

pub(super) type Checked<T = ()> = Result<T, Broken>;

/// Fails the run unless something holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::simulator::check::Broken(format!($($words)+)));
        }
    };
}
pub(super) use ensure;

/// What has passed on the channels so far.
#[derive(Debug)]
pub(super) struct Monitor {
    /// By key group: where its state is, or `None` while it is under way.
    places: Vec<Option<ExecutorId>>,
    installed: BTreeSet<(SubscaleId, KeyGroup)>,
    confirmed: BTreeSet<(SubscaleId, ChannelId)>,
    rerouted: BTreeSet<(SubscaleId, ChannelId)>,
    closed: BTreeSet<SubscaleId>,
    moves: BTreeMap<SubscaleId, Subscale>,
    departed: BTreeSet<(ChannelId, KeyGroup)>,
}

impl Monitor {
    pub(super) fn new(owners: &[ExecutorId]) -> Monitor {
        Monitor {
            places: owners.iter().copied().map(Some).collect(),
            installed: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            rerouted: BTreeSet::new(),
            closed: BTreeSet::new(),
            moves: BTreeMap::new(),
            departed: BTreeSet::new(),
        }
    }

    pub(super) fn extracted(&mut self, key_group: KeyGroup, at: ExecutorId) -> Checked {
        let place = &mut self.places[key_group.index()];
        ensure!(
            *place == Some(at),
            "I1: {key_group} leaves {at} and is at {place:?}"
        );
        *place = None;
        Ok(())
    }

    pub(super) fn installed(&mut self, key_group: KeyGroup, at: ExecutorId) -> Checked {
        let place = &mut self.places[key_group.index()];
        ensure!(
            place.is_none(),
            "I1: {key_group} comes to {at} and is at {place:?}"
        );
        *place = Some(at);
        Ok(())
    }

    /// Where the state of a key group is, if it is not under way.
    pub(super) fn place(&self, key_group: KeyGroup) -> Option<ExecutorId> {
        self.places[key_group.index()]
    }

    /// A predecessor switches a subscale: what it moves may now come over the channel to the new
    /// owner.
    pub(super) fn switched(&mut self, predecessor: ExecutorId, subscale: &Subscale) {
        let back = |c: &ChannelId, g: KeyGroup| {
            c.from == predecessor && c.to == subscale.new_owner && subscale.key_groups.contains(g)
        };
        self.departed
            .retain(|(channel, key_group)| !back(channel, *key_group));
        self.moves.insert(subscale.id, subscale.clone());
    }

    pub(super) fn confirm(&mut self, subscale: SubscaleId, channel: ChannelId) -> Checked {
        ensure!(
            self.confirmed.insert((subscale, channel)),
            "I5: second confirm barrier of {subscale} on {channel}"
        );
        let key_groups = &self.moves[&subscale].key_groups;
        self.departed
            .extend(key_groups.iter().map(|key_group| (channel, key_group)));
        Ok(())
    }

    pub(super) fn rows(&self, channel: ChannelId, rows: &Rows) -> Checked {
        ensure!(
            !self.departed.contains(&(channel, rows.key_group)),
            "I6: {rows:?} on {channel} behind its confirm barrier"
        );
        Ok(())
    }

    pub(super) fn transfer(&mut self, transfer: &Transfer) -> Checked {
        let Some(subscale) = transfer.subscale() else {
            return Ok(());
        };
        ensure!(
            !self.closed.contains(&subscale),
            "I4: {transfer:?} behind the closing of {subscale}"
        );
        match transfer {
            Transfer::State { key_group, .. } => {
                ensure!(
                    self.installed.insert((subscale, *key_group)),
                    "I4: state of {key_group} twice in {subscale}"
                );
            }
            Transfer::Rows { channel, rows, .. } => {
                ensure!(
                    !self.rerouted.contains(&(subscale, *channel)),
                    "I4: rows of {channel} behind its confirm barrier"
                );
                for rows in rows {
                    ensure!(
                        self.installed.contains(&(subscale, rows.key_group)),
                        "I4: {rows:?} in front of their state"
                    );
                }
            }
            Transfer::Confirm { channel, .. } => {
                ensure!(
                    self.rerouted.insert((subscale, *channel)),
                    "I4: confirm barrier of {channel} twice in {subscale}"
                );
            }
            Transfer::Closed(_) => {
                self.closed.insert(subscale);
            }
            Transfer::Barrier(_) => {}
        }
        Ok(())
    }
}
