//! The ledger of epochs: who commits each, where the predecessors were, what was committed, which
//! topology it brings.

use std::collections::{BTreeMap, BTreeSet};

use scaling::{Epoch, ExecutorId, KeyGroup, KeyGroupSet, Subscale};

use crate::check::{Checked, ensure};
use crate::message::State;
use crate::predecessor::{Cut, Predecessor};

/// What a barrier changes.
#[derive(Clone, Debug)]
pub(crate) enum Topology {
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
}

impl Topology {
    pub(crate) fn retires(&self, executor: ExecutorId) -> bool {
        matches!(self, Topology::Close { retired, .. } if retired.contains(&executor))
    }
}

struct Record {
    waiting_for: BTreeSet<ExecutorId>,
    cuts: BTreeMap<ExecutorId, Cut>,
    states: BTreeMap<KeyGroup, State>,
    topology: Topology,
}

pub(crate) struct Epochs {
    records: BTreeMap<Epoch, Record>,
    complete: Epoch,
    plain: usize,
}

impl Epochs {
    pub(crate) fn new(
        states: BTreeMap<KeyGroup, State>,
        cuts: BTreeMap<ExecutorId, Cut>,
    ) -> Epochs {
        let start = Record {
            waiting_for: BTreeSet::new(),
            cuts,
            states,
            topology: Topology::Same,
        };
        Epochs {
            records: BTreeMap::from([(Epoch(0), start)]),
            complete: Epoch(0),
            plain: 0,
        }
    }

    /// Forgets what is not complete, as a crash does; returns the epoch to start from.
    pub(crate) fn restart(&mut self) -> Epoch {
        self.records.retain(|epoch, _| *epoch <= self.complete);
        self.complete
    }

    pub(crate) fn issue(
        &mut self,
        participants: BTreeSet<ExecutorId>,
        topology: Topology,
    ) -> Epoch {
        let epoch = self.issued().next();
        self.plain += usize::from(matches!(topology, Topology::Same));
        let record = Record {
            waiting_for: participants,
            cuts: BTreeMap::new(),
            states: BTreeMap::new(),
            topology,
        };
        self.records.insert(epoch, record);
        epoch
    }

    pub(crate) fn issued(&self) -> Epoch {
        *self.records.keys().next_back().unwrap()
    }

    pub(crate) fn complete(&self) -> Epoch {
        self.complete
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.issued().0 - self.complete.0
    }

    pub(crate) fn settled(&self) -> bool {
        self.in_flight() == 0
    }

    /// Epochs without a change of topology so far.
    pub(crate) fn plain(&self) -> usize {
        self.plain
    }

    pub(crate) fn topology(&self, epoch: Epoch) -> &Topology {
        &self.records[&epoch].topology
    }

    pub(crate) fn cut_at(&mut self, epoch: Epoch, predecessor: ExecutorId, cut: Cut) {
        self.records
            .get_mut(&epoch)
            .unwrap()
            .cuts
            .insert(predecessor, cut);
    }

    pub(crate) fn cut(&self, epoch: Epoch, predecessor: ExecutorId) -> &Cut {
        &self.records[&epoch].cuts[&predecessor]
    }

    pub(crate) fn states(&self, epoch: Epoch) -> &BTreeMap<KeyGroup, State> {
        &self.records[&epoch].states
    }

    pub(crate) fn states_of(
        &self,
        epoch: Epoch,
        key_groups: &KeyGroupSet,
    ) -> BTreeMap<KeyGroup, State> {
        key_groups
            .iter()
            .map(|key_group| (key_group, self.states(epoch)[&key_group].clone()))
            .collect()
    }

    /// Whether the last complete epoch has every row that was made.
    pub(crate) fn holds_all(&self, predecessors: &BTreeMap<ExecutorId, Predecessor>) -> bool {
        predecessors.iter().all(|(id, predecessor)| {
            self.cut(self.complete, *id).position == predecessor.cut.position
        })
    }

    pub(crate) fn commit(
        &mut self,
        epoch: Epoch,
        executor: ExecutorId,
        states: &BTreeMap<KeyGroup, State>,
    ) -> Checked {
        let record = self.records.get_mut(&epoch).unwrap();
        ensure!(
            record.waiting_for.remove(&executor),
            "{executor} commits {epoch}, which is not its to commit"
        );
        for (key_group, state) in states {
            let doubled = record.states.insert(*key_group, state.clone());
            ensure!(
                doubled.is_none(),
                "I8: {key_group} is committed twice in {epoch}"
            );
        }
        Ok(())
    }

    /// Declares the next epoch complete if all have committed it.
    pub(crate) fn complete_next(&mut self, key_groups: u16) -> Checked<bool> {
        let next = self.complete.next();
        match self.records.get(&next) {
            Some(record) if record.waiting_for.is_empty() => {
                ensure!(
                    record.states.len() == usize::from(key_groups),
                    "I8: key groups missing in {next}"
                );
                self.complete = next;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
