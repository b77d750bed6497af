//! The scalings of a run: topology barrier, coordinator, topology barrier, one scaling after the
//! other.

use std::collections::{BTreeSet, VecDeque};

use scaling::{
    Assignment, Coordinator, CoordinatorAction, CoordinatorEvent, Division, Event, ExecutorId,
    Steps, Subscale, SubscaleId, divide,
};

use crate::check::{Checked, ensure};
use crate::epochs::Topology;
use crate::message::Control;
use crate::scenario::Target;
use crate::world::World;

enum Stage {
    Idle,
    Opening(Coordinator),
    Moving(Coordinator),
    Closing,
}

pub(crate) struct Plan {
    targets: VecDeque<Target>,
    scalings: usize,
    started: usize,
    stage: Stage,
    /// Executors that retire with a barrier already issued: they take no part in later ones.
    leaving: BTreeSet<ExecutorId>,
    pairs: BTreeSet<(ExecutorId, ExecutorId)>,
    wanted: BTreeSet<ExecutorId>,
    subscales: u64,
}

impl Plan {
    pub(crate) fn new(targets: Vec<Target>) -> Plan {
        let (leaving, pairs, wanted) = Default::default();
        Plan {
            scalings: targets.len(),
            started: 0,
            targets: targets.into(),
            stage: Stage::Idle,
            leaving,
            pairs,
            wanted,
            subscales: 0,
        }
    }

    pub(crate) fn may_begin(&self) -> bool {
        matches!(self.stage, Stage::Idle) && !self.targets.is_empty()
    }

    pub(crate) fn over(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.targets.is_empty()
    }

    /// How much of the input may be made by now, as a fraction: some of it is kept for each
    /// scaling.
    pub(crate) fn share_of_rows(&self) -> (usize, usize) {
        if self.over() {
            (1, 1)
        } else {
            (self.started + 1, self.scalings + 2)
        }
    }

    pub(crate) fn running(&self) -> bool {
        matches!(self.stage, Stage::Moving(_))
    }

    /// The scaling under way is lost; the next one starts from the owners as they are.
    pub(crate) fn crash(&mut self) {
        self.stage = Stage::Idle;
        self.leaving.clear();
    }

    /// Of these executors, those that take part in a new epoch.
    pub(crate) fn live<'a>(
        &self,
        executors: impl Iterator<Item = &'a ExecutorId>,
    ) -> BTreeSet<ExecutorId> {
        executors
            .filter(|id| !self.leaving.contains(id))
            .copied()
            .collect()
    }
}

impl World {
    pub(crate) fn begin_scaling(&mut self) -> Checked {
        let target = self.plan.targets.pop_front().unwrap();
        let (wanted, assignment) = self.resolve(target);
        let moves = self.owners.moves(&assignment);
        let mechanism = self.scenario.mechanism;
        let division = mechanism.division(Division {
            bytes_max: u64::MAX,
            key_groups_max: self.scenario.subscale_key_groups_max,
        });
        let subscales = divide(&moves, &|_| 1, &division, SubscaleId(self.plan.subscales));
        self.plan.subscales += subscales.len() as u64;
        let predecessors: Vec<_> = self.predecessors.keys().copied().collect();
        let with_predecessors: Vec<(Subscale, _)> = subscales
            .into_iter()
            .map(|s| (s, predecessors.clone()))
            .collect();
        let mut coordinator = Coordinator::new(with_predecessors)
            .with_mechanism(mechanism)
            .with_rules(self.rules);
        if mechanism.steps == Steps::Subscales {
            coordinator = coordinator.with_open_max(self.scenario.open_subscales_max);
        }

        self.plan.pairs = moves.into_keys().collect();
        if self
            .plan
            .pairs
            .iter()
            .any(|(from, to)| self.plan.pairs.contains(&(*to, *from)))
        {
            self.coverage.saw("ring of moves");
        }
        let added: Vec<_> = wanted
            .iter()
            .filter(|id| !self.executors.contains_key(id))
            .copied()
            .collect();
        let pairs = self.plan.pairs.clone();
        self.plan.wanted = wanted;
        self.plan.stage = Stage::Opening(coordinator);
        self.issue(Topology::Open {
            added: added.clone(),
            pairs: pairs.clone(),
        });
        for id in added {
            self.add_executor(id, self.epochs.issued());
            self.open_migration_channels(id, &pairs)?;
        }
        Ok(())
    }

    fn resolve(&mut self, target: Target) -> (BTreeSet<ExecutorId>, Assignment) {
        let (Target::LeastMove(count) | Target::Ranges(count) | Target::Shuffle(count)) = target;
        let wanted: Vec<_> = (0..count as u32).map(ExecutorId).collect();
        let assignment = match target {
            Target::LeastMove(_) => self.owners.least_move(&wanted),
            Target::Ranges(_) => Assignment::ranges(&wanted, self.scenario.key_groups),
            Target::Shuffle(_) => Assignment {
                owners: self
                    .owners
                    .owners
                    .iter()
                    .map(|_| self.random.pick(&wanted))
                    .collect(),
            },
        };
        (wanted.into_iter().collect(), assignment)
    }

    /// Tells the coordinator something and carries out what follows.
    pub(crate) fn coordinate(&mut self, event: CoordinatorEvent) -> Checked {
        let Stage::Moving(coordinator) = &mut self.plan.stage else {
            let may_be_late = matches!(
                event,
                CoordinatorEvent::Cancel | CoordinatorEvent::Installed { .. }
            );
            ensure!(may_be_late, "{event:?} without a scaling");
            return Ok(());
        };
        let mut actions = Vec::new();
        coordinator.step(event, &mut actions)?;
        for action in actions {
            self.trace.record(&action);
            match action {
                CoordinatorAction::PrepareNew {
                    to,
                    subscale:
                        Subscale {
                            id: subscale,
                            old_owner,
                            key_groups,
                            ..
                        },
                } => {
                    let event = Event::PrepareNew {
                        subscale,
                        old_owner,
                        key_groups,
                        mechanism: self.scenario.mechanism,
                    };
                    self.net.control.push(Control::ToExecutor(to, event));
                }
                CoordinatorAction::PrepareOld {
                    to,
                    subscale:
                        Subscale {
                            id: subscale,
                            new_owner,
                            key_groups,
                            ..
                        },
                } => {
                    let event = Event::PrepareOld {
                        subscale,
                        new_owner,
                        key_groups,
                        mechanism: self.scenario.mechanism,
                    };
                    self.net.control.push(Control::ToExecutor(to, event));
                }
                CoordinatorAction::Switch {
                    predecessor,
                    subscale,
                } => {
                    self.net
                        .control
                        .push(Control::Switch(predecessor, subscale));
                }
                CoordinatorAction::SwitchAtBarrier { subscales } => {
                    self.coverage.saw("switch at a barrier");
                    let subscales = subscales.into_iter().map(|(s, _)| s).collect();
                    self.issue(Topology::Switch(subscales));
                }
                CoordinatorAction::SubscaleDone { subscale } => self.subscale_done(&subscale)?,
                CoordinatorAction::Finished => self.finish_moves()?,
            }
        }
        Ok(())
    }

    fn subscale_done(&mut self, subscale: &Subscale) -> Checked {
        self.coverage.saw("subscale done");
        let mut under_way = self.net.migration.values().flatten().chain(
            self.executors
                .values()
                .flat_map(|e| e.outbox().map(|(_, t)| t)),
        );
        ensure!(
            !under_way.any(|t| t.subscale() == Some(subscale.id)),
            "I12: {subscale} is done, messages are under way"
        );
        for key_group in &subscale.key_groups {
            self.owners.set_owner(key_group, subscale.new_owner);
            let has_it = self.executors[&subscale.new_owner]
                .states
                .contains_key(&key_group);
            ensure!(has_it, "I12: {subscale} is done without {key_group}");
            let routed = self
                .predecessors
                .values()
                .all(|p| p.routing.owner(key_group) == subscale.new_owner);
            ensure!(
                routed,
                "I12: {subscale} is done, a predecessor routes {key_group} elsewhere"
            );
        }
        Ok(())
    }

    fn finish_moves(&mut self) -> Checked {
        for (id, executor) in &self.executors {
            ensure!(
                executor.migration.quiet() && !executor.holds_rows(),
                "I12: {id} is not done with the scaling"
            );
        }
        for predecessor in self.predecessors.values() {
            ensure!(
                predecessor.routing == self.owners,
                "I12: {} routes otherwise than the owners are",
                predecessor.id
            );
        }
        self.coverage.saw("scaling finished");
        let owning: BTreeSet<_> = self.owners.executors().into_iter().collect();
        let retired: BTreeSet<_> = self
            .executors
            .keys()
            .filter(|id| !owning.contains(id) && !self.plan.wanted.contains(id))
            .copied()
            .collect();
        self.plan.stage = Stage::Closing;
        self.issue(Topology::Close {
            retired: retired.clone(),
            pairs: self.plan.pairs.clone(),
        });
        self.plan.leaving = retired;
        Ok(())
    }

    /// An epoch is complete: if it was the topology barrier waited for, the scaling goes on.
    pub(crate) fn epoch_complete(&mut self) -> Checked {
        let topology = self.epochs.topology(self.epochs.complete()).clone();
        match (
            std::mem::replace(&mut self.plan.stage, Stage::Idle),
            topology,
        ) {
            (Stage::Opening(coordinator), Topology::Open { .. }) => {
                self.plan.stage = Stage::Moving(coordinator);
                self.plan.started += 1;
                self.coordinate(CoordinatorEvent::Start)
            }
            (Stage::Closing, Topology::Close { .. }) => {
                self.plan.leaving.clear();
                Ok(())
            }
            (stage, _) => {
                self.plan.stage = stage;
                Ok(())
            }
        }
    }
}
