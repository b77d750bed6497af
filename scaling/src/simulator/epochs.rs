//! The ledger of epochs: who commits each, where the predecessors were, what was committed, which
//! topology it brings.

use std::collections::{BTreeMap, BTreeSet};

use crate::simulator::agenda::Nanos;
use crate::simulator::check::{Checked, ensure};
use crate::simulator::message::State;
use crate::simulator::predecessor::Cut;
use crate::{Epoch, ExecutorId, Subscale};

/// What a barrier changes.
#[derive(Clone, Debug)]
pub(super) enum Topology {
    Same,
    /// Executors are added, migration channels open.
    Open {
        added: Vec<ExecutorId>,
        pairs: BTreeSet<(ExecutorId, ExecutorId)>,
    },
    /// Subscales are signalled by it.
    Switch(Vec<Subscale>),
    /// Executors retire, migration channels close.
    Close {
        retired: BTreeSet<ExecutorId>,
        pairs: BTreeSet<(ExecutorId, ExecutorId)>,
    },
    /// It is the last one before everything starts anew.
    Stop,
}

struct Record {
    issued: Nanos,
    /// Executors that have not committed it.
    uncommitted: BTreeSet<ExecutorId>,
    /// Executors the conductor has not heard of.
    unheard: BTreeSet<ExecutorId>,
    /// By predecessor.
    cuts: Vec<Option<Cut>>,
    /// By key group.
    states: Vec<Option<State>>,
    topology: Topology,
}

pub(super) struct Epochs {
    records: BTreeMap<Epoch, Record>,
    complete: Epoch,
}

impl Epochs {
    pub(super) fn new(cuts: Vec<Cut>, key_groups: u16) -> Epochs {
        let start = Record {
            issued: 0,
            uncommitted: BTreeSet::new(),
            unheard: BTreeSet::new(),
            cuts: cuts.into_iter().map(Some).collect(),
            states: vec![Some(State::default()); usize::from(key_groups)],
            topology: Topology::Same,
        };
        Epochs {
            records: BTreeMap::from([(Epoch(0), start)]),
            complete: Epoch(0),
        }
    }

    /// Forgets what is not complete, as a crash does; returns the epoch to start from.
    pub(super) fn restart(&mut self) -> Epoch {
        self.records.retain(|epoch, _| *epoch <= self.complete);
        self.complete
    }

    pub(super) fn issue(
        &mut self,
        participants: BTreeSet<ExecutorId>,
        topology: Topology,
        issued: Nanos,
    ) -> Epoch {
        let epoch = self.issued().next();
        let start = &self.records[&self.complete];
        let record = Record {
            issued,
            uncommitted: participants.clone(),
            unheard: participants,
            cuts: vec![None; start.cuts.len()],
            states: vec![None; start.states.len()],
            topology,
        };
        self.records.insert(epoch, record);
        epoch
    }

    pub(super) fn issued(&self) -> Epoch {
        *self
            .records
            .keys()
            .next_back()
            .expect("the last complete epoch is always there")
    }

    pub(super) fn complete(&self) -> Epoch {
        self.complete
    }

    pub(super) fn under_way(&self) -> u64 {
        self.issued().0 - self.complete.0
    }

    fn record(&mut self, epoch: Epoch) -> &mut Record {
        self.records
            .get_mut(&epoch)
            .expect("an epoch is kept until it is complete")
    }

    pub(super) fn topology(&self, epoch: Epoch) -> &Topology {
        &self.records[&epoch].topology
    }

    pub(super) fn issued_at(&self, epoch: Epoch) -> Nanos {
        self.records[&epoch].issued
    }

    pub(super) fn cut_at(&mut self, epoch: Epoch, predecessor: usize, cut: Cut) {
        self.record(epoch).cuts[predecessor] = Some(cut);
    }

    /// Where a predecessor was at a barrier that it has made.
    pub(super) fn cut(&self, epoch: Epoch, predecessor: usize) -> &Cut {
        self.records[&epoch].cuts[predecessor]
            .as_ref()
            .expect("no executor has a barrier that a predecessor has not made")
    }

    /// The state of every key group at the last complete epoch.
    pub(super) fn states(&self) -> impl Iterator<Item = &State> {
        self.records[&self.complete].states.iter().flatten()
    }

    pub(super) fn commit(
        &mut self,
        epoch: Epoch,
        executor: ExecutorId,
        states: &[Option<State>],
    ) -> Checked {
        let record = self.record(epoch);
        ensure!(
            record.uncommitted.remove(&executor),
            "{executor} commits {epoch}, which is not its to commit"
        );
        for (key_group, (committed, state)) in record.states.iter_mut().zip(states).enumerate() {
            if let Some(state) = state {
                let doubled = committed.replace(state.clone());
                ensure!(
                    doubled.is_none(),
                    "I8: {key_group} is committed twice in {epoch}"
                );
            }
        }
        Ok(())
    }

    pub(super) fn heard(&mut self, epoch: Epoch, executor: ExecutorId) {
        self.record(epoch).unheard.remove(&executor);
    }

    /// Declares the next epoch complete if the conductor has heard of all.
    pub(super) fn complete_next(&mut self) -> Checked<bool> {
        let next = self.complete.next();
        match self.records.get(&next) {
            Some(record) if record.unheard.is_empty() => {
                let missing = record.states.iter().position(Option::is_none);
                ensure!(
                    missing.is_none(),
                    "I8: key group {missing:?} is missing in {next}"
                );
                self.records.remove(&self.complete);
                self.complete = next;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
