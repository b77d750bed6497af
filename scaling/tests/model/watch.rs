//! What must hold in every state: invariants I1 to I9 and I12 of drrs.md 8.8.
//!
//! | | invariant | where |
//! | --- | --- | --- |
//! | I1 | a key group is at one executor, or under way on one migration channel | `World::check_owners`, each state |
//! | I2 | no row runs where the state of its key group is not | `Executor::apply` |
//! | I3 | rows of one predecessor and key group run once, in order if release is ordered | `Executor::apply`, `Executor::rows` |
//! | I4 | on a migration channel: state of g, rows of g, confirm barrier of their channel, closing | [`Watch::transfer`] |
//! | I5 | one confirm barrier a subscale and channel | [`Watch::confirm`] |
//! | I6 | behind it no row of the subscale | [`Watch::row`] |
//! | I7 | nothing is extracted between barrier and commit | `Executor::extract` |
//! | I8 | the key groups committed in an epoch are all, once | `Ledger::commit`, `Ledger::complete` |
//! | I9 | an epoch holds exactly the rows in front of its barrier, and no row is held at its commit | `World::commit`, `Executor::carry_out` |
//! | I12 | a scaling that is done leaves nothing held or under way, and one routing | `World::subscale_done`, `World::moves_finished`, `World::check_end` |
//!
//! I10 is about watermarks and I11 about the order of outputs: the model has neither, as the
//! protocol leaves both to operators that add up changes (drrs.md section 0, D4).

use std::fmt;

use scaling::{ExecutorId, KeyGroup, ProtocolError, Subscale, SubscaleId};

use crate::message::{Bits, EXECUTORS, PREDECESSORS, Row, Transfer, index};

/// Why a state or a step is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ProtocolError> for Violation {
    fn from(error: ProtocolError) -> Violation {
        Violation(format!("protocol error: {error}"))
    }
}

/// Fails the step unless something holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::watch::Violation(format!($($words)+)));
        }
    };
}
pub(crate) use ensure;

pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// What has passed in one subscale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Passed {
    /// Predecessors whose confirm barrier the old owner has read.
    confirmed: Bits,
    /// Key groups whose state the new owner has read.
    installed: Bits,
    /// Predecessors whose confirm barrier the new owner has read.
    rerouted: Bits,
    closed: bool,
}

/// What has passed on the channels since the scaling began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Watch {
    passed: Vec<Passed>,
    /// By predecessor and executor: the key groups whose rows must not come over that channel any
    /// more.
    departed: [[Bits; EXECUTORS]; PREDECESSORS],
}

impl Watch {
    pub(crate) fn scaling(&mut self, subscales: usize) {
        self.passed = vec![Passed::default(); subscales];
    }

    /// A predecessor switches a subscale: what it moves may now come over the channel to the new
    /// owner.
    pub(crate) fn switched(&mut self, predecessor: usize, subscale: &Subscale) {
        let departed = &mut self.departed[predecessor][index(subscale.new_owner)];
        for key_group in &subscale.key_groups {
            departed.remove(key_group.index());
        }
    }

    /// The old owner reads a confirm barrier.
    pub(crate) fn confirm(&mut self, predecessor: usize, subscale: &Subscale) -> Checked {
        ensure!(
            self.passed(subscale.id).confirmed.insert(predecessor),
            "I5: second confirm barrier of {} by p{predecessor}",
            subscale.id
        );
        let departed = &mut self.departed[predecessor][index(subscale.old_owner)];
        for key_group in &subscale.key_groups {
            departed.insert(key_group.index());
        }
        Ok(())
    }

    /// An executor reads a row of a regular channel.
    pub(crate) fn row(&self, row: &Row, at: ExecutorId) -> Checked {
        let departed = self.departed[row.predecessor][index(at)];
        ensure!(
            !departed.contains(row.key_group.index()),
            "I6: {row} at {at} behind its confirm barrier"
        );
        Ok(())
    }

    /// A new owner reads a message of a migration channel.
    pub(crate) fn transfer(&mut self, transfer: &Transfer) -> Checked {
        let Some(subscale) = transfer.subscale() else {
            return Ok(());
        };
        let passed = self.passed(subscale);
        ensure!(
            !passed.closed,
            "I4: {transfer} behind the closing of {subscale}"
        );
        match transfer {
            Transfer::State { key_group, .. } => {
                let first = passed.installed.insert(key_group.index());
                ensure!(first, "I4: {transfer} twice in {subscale}");
            }
            Transfer::Rows {
                predecessor, rows, ..
            } => {
                let confirmed = passed.rerouted.contains(*predecessor);
                ensure!(!confirmed, "I4: {transfer}, behind the confirm barrier");
                let has_state = |g: KeyGroup| passed.installed.contains(g.index());
                let installed = rows.iter().all(|row| has_state(row.key_group));
                ensure!(installed, "I4: {transfer}, in front of its state");
            }
            Transfer::Confirm { predecessor, .. } => {
                let first = passed.rerouted.insert(*predecessor);
                ensure!(first, "I4: {transfer} twice");
            }
            Transfer::Closed(_) => passed.closed = true,
            Transfer::Barrier(_) => {}
        }
        Ok(())
    }

    fn passed(&mut self, subscale: SubscaleId) -> &mut Passed {
        &mut self.passed[subscale.0 as usize]
    }
}
