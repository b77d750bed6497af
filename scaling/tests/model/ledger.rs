//! The ledger of epochs: who commits each, where the predecessors were, what was committed, what
//! each changes. The last complete one is the checkpoint a crash goes back to.

use std::collections::VecDeque;

use scaling::{Epoch, ExecutorId, KeyGroup};

use crate::message::{Bits, KEY_GROUPS, PREDECESSORS, State, index};
use crate::watch::{Checked, Violation, ensure};

/// What a barrier changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    Same,
    /// Executors are added, the migration channels open.
    Open {
        added: Bits,
    },
    /// Executors retire, the migration channels close.
    Close {
        retired: Bits,
    },
}

/// A whole epoch: all there is after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Checkpoint {
    /// Batches each predecessor had made.
    pub(crate) cuts: [usize; PREDECESSORS],
    pub(crate) states: [Option<State>; KEY_GROUPS],
    /// Barriers without a change of topology up to it.
    pub(crate) plain: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    change: Change,
    waiting_for: Bits,
    cuts: [Option<usize>; PREDECESSORS],
    states: [Option<State>; KEY_GROUPS],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    pub(crate) complete: Epoch,
    pub(crate) checkpoint: Checkpoint,
    in_flight: VecDeque<InFlight>,
}

impl Ledger {
    /// Starts from a checkpoint. Epochs are numbered anew: nothing depends on the number itself.
    pub(crate) fn new(checkpoint: Checkpoint) -> Ledger {
        Ledger {
            complete: Epoch(0),
            checkpoint,
            in_flight: VecDeque::new(),
        }
    }

    pub(crate) fn issue(&mut self, participants: Bits, change: Change) {
        self.in_flight.push_back(InFlight {
            change,
            waiting_for: participants,
            cuts: [None; PREDECESSORS],
            states: [None; KEY_GROUPS],
        });
    }

    pub(crate) fn issued(&self) -> Epoch {
        Epoch(self.complete.0 + self.in_flight.len() as u64)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Barriers without a change of topology so far.
    pub(crate) fn plain(&self) -> usize {
        let plain = |epoch: &&InFlight| epoch.change == Change::Same;
        self.checkpoint.plain + self.in_flight.iter().filter(plain).count()
    }

    pub(crate) fn brings(&self, epoch: Epoch) -> Checked<Change> {
        Ok(self.epoch(epoch)?.change)
    }

    /// A predecessor makes the barrier of an epoch behind so many batches.
    pub(crate) fn cut_at(&mut self, epoch: Epoch, predecessor: usize, batches: usize) -> Checked {
        self.epoch_mut(epoch)?.cuts[predecessor] = Some(batches);
        Ok(())
    }

    /// Where the predecessors made the barrier of an epoch.
    pub(crate) fn cuts(&self, epoch: Epoch) -> Checked<[usize; PREDECESSORS]> {
        let mut cuts = [0; PREDECESSORS];
        for (cut, made) in cuts.iter_mut().zip(self.epoch(epoch)?.cuts) {
            let Some(made) = made else {
                return Err(Violation(format!(
                    "I9: {epoch} is committed before a barrier of it is made"
                )));
            };
            *cut = made;
        }
        Ok(cuts)
    }

    pub(crate) fn commit(
        &mut self,
        epoch: Epoch,
        executor: ExecutorId,
        states: Vec<(KeyGroup, State)>,
    ) -> Checked {
        let record = self.epoch_mut(epoch)?;
        ensure!(
            record.waiting_for.remove(index(executor)),
            "{executor} commits {epoch}, which is not its to commit"
        );
        for (key_group, state) in states {
            let doubled = record.states[key_group.index()].replace(state);
            ensure!(
                doubled.is_none(),
                "I8: key group {key_group} is committed twice in {epoch}"
            );
        }
        Ok(())
    }

    /// Declares the next epoch complete if all have committed it, and returns what it brings.
    pub(crate) fn complete_next(&mut self, key_groups: usize) -> Checked<Option<Change>> {
        let whole = |epoch: &InFlight| epoch.waiting_for.is_empty();
        if !self.in_flight.front().is_some_and(whole) {
            return Ok(None);
        }
        let next = self.complete.next();
        let cuts = self.cuts(next)?;
        let Some(InFlight { change, states, .. }) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let missing = states[..key_groups].iter().position(Option::is_none);
        ensure!(
            missing.is_none(),
            "I8: key group {missing:?} is in no checkpoint of {next}"
        );
        self.complete = next;
        self.checkpoint = Checkpoint {
            cuts,
            states,
            plain: self.checkpoint.plain + usize::from(change == Change::Same),
        };
        Ok(Some(change))
    }

    fn epoch(&self, epoch: Epoch) -> Checked<&InFlight> {
        let place = epoch.0.checked_sub(self.complete.0 + 1);
        place
            .and_then(|place| self.in_flight.get(place as usize))
            .ok_or_else(|| not_under_way(epoch))
    }

    fn epoch_mut(&mut self, epoch: Epoch) -> Checked<&mut InFlight> {
        let place = epoch.0.checked_sub(self.complete.0 + 1);
        place
            .and_then(|place| self.in_flight.get_mut(place as usize))
            .ok_or_else(|| not_under_way(epoch))
    }
}

fn not_under_way(epoch: Epoch) -> Violation {
    Violation(format!("epoch {epoch} is not under way"))
}
