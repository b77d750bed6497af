//! What is checked of the simulated fragment as a whole.

use super::World;
use crate::simulator::check::{Checked, ensure};
use crate::simulator::executor::Executor;
use crate::simulator::predecessor::Predecessor;
use crate::{Epoch, Subscale};

impl World {
    /// I9: an executor commits exactly the rows in front of the barrier. I1: it has what it
    /// believes to have.
    pub(super) fn check_commit(&self, executor: &Executor, epoch: Epoch) -> Checked {
        let Some(monitor) = &self.monitor else {
            return Ok(());
        };
        for key_group in self.settings.key_groups() {
            let (id, state) = (executor.id, &executor.states[key_group.index()]);
            ensure!(
                executor.migration.owns(key_group) == state.is_some()
                    && (monitor.place(key_group) == Some(id)) == state.is_some(),
                "I1: {id} and its machine differ about {key_group}"
            );
            let Some(state) = state else { continue };
            if !self.settings.setup.strategy.is_correct() {
                continue;
            }
            for predecessor in 0..self.predecessors.len() {
                let made = self.epochs.cut(epoch, predecessor).made[key_group.index()];
                let seen = state.seen.get(predecessor).cloned().unwrap_or_default();
                ensure!(
                    seen.is_first(made),
                    "I9: {key_group} at {id} has {seen:?} of {made} rows of predecessor {predecessor} in {epoch}"
                );
            }
        }
        Ok(())
    }

    /// I12: nothing of a subscale that is done is under way, and everybody routes it to its owner.
    pub(in crate::simulator) fn check_done(&self, subscale: &Subscale) -> Checked {
        let Some(monitor) = &self.monitor else {
            return Ok(());
        };
        let sent = self.net.migration.values().flatten().map(|(_, t)| t);
        let unsent = self.executors.iter().flatten();
        let unsent = unsent.flat_map(|executor| executor.outgoing.values().flatten());
        ensure!(
            !sent
                .chain(unsent)
                .any(|t| t.subscale() == Some(subscale.id)),
            "I12: {subscale} is done, messages are under way"
        );
        for key_group in &subscale.key_groups {
            ensure!(
                monitor.place(key_group) == Some(subscale.new_owner),
                "I12: {subscale} is done without {key_group}"
            );
            let routed = |p: &Predecessor| p.routing.owner(key_group) == subscale.new_owner;
            ensure!(
                self.predecessors.iter().all(routed),
                "I12: {subscale} is done, a predecessor routes {key_group} elsewhere"
            );
        }
        Ok(())
    }

    /// I12: a scaling that is done leaves nothing held, and one routing.
    pub(in crate::simulator) fn check_finished(&self) -> Checked {
        for executor in self.executors.iter().flatten() {
            ensure!(
                executor.migration.quiet() && !executor.holds_rows(),
                "I12: {} is not done with the scaling",
                executor.id
            );
        }
        for predecessor in &self.predecessors {
            ensure!(
                predecessor.routing == self.owners,
                "I12: {} routes otherwise than the owners are",
                predecessor.id
            );
        }
        Ok(())
    }

    /// The final state has seen every row once.
    pub(super) fn check_result(&self) -> Checked {
        if !self.settings.setup.checks || !self.settings.setup.strategy.is_correct() {
            return Ok(());
        }
        let found: Vec<_> = self.epochs.states().map(|state| state.rows).collect();
        ensure!(
            found == self.settings.rows_in_all(),
            "the final result differs from that of the unscaled run"
        );
        Ok(())
    }
}
