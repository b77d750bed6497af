//! What must hold in every run: invariants I1 to I9 and I12 of drrs.md 8.8, watched as messages
//! pass.
//!
//! | | invariant | where |
//! | --- | --- | --- |
//! | I1 | a key group is at one executor, or under way on one migration channel | `World::check_owners`, each step |
//! | I2 | no row runs where the state of its key group is not | `Executor::apply` |
//! | I3 | rows of one predecessor, input and key group run once, in order if release is ordered | `Executor::apply` |
//! | I4 | on a migration channel: state of g, rows of g, confirm barrier of their channel, closing | [`Monitor::transfer`] |
//! | I5 | one confirm barrier a subscale and channel | [`Monitor::confirm`] |
//! | I6 | behind it no row of the subscale | [`Monitor::row`] |
//! | I7 | nothing is extracted between barrier and commit | `Executor::extract` |
//! | I8 | the key groups committed in an epoch are all, once | `World::commit` |
//! | I9 | an epoch holds exactly the rows in front of its barrier, and no row is held at its commit | `World::commit` |
//! | I12 | a scaling that is done leaves nothing held or under way, and one routing | `World::subscale_done`, `World::finish_moves` |

use std::collections::{BTreeMap, BTreeSet};

use scaling::{ChannelId, ExecutorId, KeyGroup, ProtocolError, Subscale, SubscaleId};

use crate::message::{Row, Transfer};

/// Why a run failed.
#[derive(Debug)]
pub(crate) struct Violation(pub(crate) String);

impl From<ProtocolError> for Violation {
    fn from(error: ProtocolError) -> Violation {
        Violation(format!("protocol error: {error}"))
    }
}

/// Fails the run unless something holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::check::Violation(format!($($words)+)));
        }
    };
}
pub(crate) use ensure;

pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// What has passed on the channels so far.
#[derive(Default)]
pub(crate) struct Monitor {
    installed: BTreeSet<(SubscaleId, KeyGroup)>,
    confirmed: BTreeSet<(SubscaleId, ChannelId)>,
    rerouted: BTreeSet<(SubscaleId, ChannelId)>,
    closed: BTreeSet<SubscaleId>,
    moves: BTreeMap<SubscaleId, Subscale>,
    departed: BTreeSet<(ChannelId, KeyGroup)>,
}

impl Monitor {
    /// A predecessor switches a subscale: what it moves may now come over the channels to the new
    /// owner.
    pub(crate) fn switched(&mut self, predecessor: ExecutorId, subscale: &Subscale) {
        let back = |c: &ChannelId, g: KeyGroup| {
            c.from == predecessor && c.to == subscale.new_owner && subscale.key_groups.contains(g)
        };
        self.departed
            .retain(|(channel, key_group)| !back(channel, *key_group));
        self.moves.insert(subscale.id, subscale.clone());
    }

    pub(crate) fn confirm(&mut self, subscale: SubscaleId, channel: ChannelId) -> Checked {
        ensure!(
            self.confirmed.insert((subscale, channel)),
            "I5: second confirm barrier of {subscale} on {channel}"
        );
        let key_groups = &self.moves[&subscale].key_groups;
        self.departed
            .extend(key_groups.iter().map(|key_group| (channel, key_group)));
        Ok(())
    }

    pub(crate) fn row(&self, channel: ChannelId, row: &Row) -> Checked {
        ensure!(
            !self.departed.contains(&(channel, row.key_group)),
            "I6: {row:?} on {channel} behind its confirm barrier"
        );
        Ok(())
    }

    pub(crate) fn transfer(&mut self, transfer: &Transfer) -> Checked {
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
                for row in rows {
                    ensure!(
                        self.installed.contains(&(subscale, row.key_group)),
                        "I4: {row:?} in front of its state"
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

/// How often the runs came through the situations that are hard, so that a test can say that they
/// did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub(crate) fn saw(&mut self, situation: &'static str) {
        *self.0.entry(situation).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Coverage) {
        for (situation, count) in &other.0 {
            *self.0.entry(situation).or_default() += count;
        }
    }

    pub(crate) fn count(&self, situation: &str) -> u64 {
        self.0.get(situation).copied().unwrap_or(0)
    }
}
