//! The scalings of a world: topology barrier, coordinator, topology barrier, one after the other;
//! and the control plane, on which every message takes its own time.

use std::rc::Rc;

use scaling::{
    Assignment, Coordinator, CoordinatorAction, CoordinatorEvent, Division, Early, Event,
    ExecutorId, Mechanism, Order, Signal, Steps, Subscale, SubscaleId, divide,
};

use crate::ledger::Change;
use crate::message::{Bits, PREDECESSORS, Transfer, executor, index};
use crate::setting::{Setting, Topology};
use crate::watch::{Checked, Violation, ensure};
use crate::world::World;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Idle,
    Opening,
    Moving,
    Closing,
}

/// DRRS, its key groups handed over in their order: wishes change nothing but the order.
const MECHANISM: Mechanism = Mechanism {
    signal: Signal::Priority,
    steps: Steps::Subscales,
    early: Early::Hold,
    order: Order::Lexicographic,
};

/// Which messages about a subscale are under way on the control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mail {
    pub(crate) prepare_new: bool,
    pub(crate) prepare_old: bool,
    /// The predecessors that are told to switch.
    pub(crate) switch: Bits,
    pub(crate) done: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Plan {
    /// The scaling that is under way or the next one, an index into [`Setting::targets`].
    pub(crate) next: usize,
    pub(crate) stage: Stage,
    coordinator: Option<Coordinator>,
    pub(crate) cancelled: bool,
    pub(crate) subscales: Rc<Vec<Subscale>>,
    /// By subscale.
    pub(crate) mail: Vec<Mail>,
    /// Old and new owners: each pair has a migration channel.
    pub(crate) pairs: Vec<(ExecutorId, ExecutorId)>,
    /// Recorded owners: what a restart goes by.
    pub(crate) owners: Assignment,
    /// Executors that retire with a barrier already issued: they take no part in later ones.
    pub(crate) leaving: Bits,
    /// A change of topology for which no barrier is free yet.
    closing: Option<Change>,
}

impl Plan {
    /// The plan from the first scaling that is not over.
    pub(crate) fn new(owners: Assignment, next: usize, cancelled: bool) -> Plan {
        Plan {
            next,
            stage: Stage::Idle,
            coordinator: None,
            cancelled,
            subscales: Rc::default(),
            mail: Vec::new(),
            pairs: Vec::new(),
            owners,
            leaving: Bits::default(),
            closing: None,
        }
    }

    pub(crate) fn over(&self, setting: &Setting) -> bool {
        self.stage == Stage::Idle && self.next == setting.targets.len()
    }

    /// Whether a barrier that changes the topology is still to be issued.
    pub(crate) fn barrier_to_come(&self, setting: &Setting) -> bool {
        let closing = self.stage == Stage::Closing && self.closing.is_none();
        let scalings_left = setting.targets.len() - self.next - usize::from(closing);
        setting.topology == Topology::ByBarrier && scalings_left > 0
    }

    pub(crate) fn subscale(&self, id: SubscaleId) -> &Subscale {
        &self.subscales[id.0 as usize]
    }

    /// The scaling is over.
    fn end(&mut self) {
        *self = Plan::new(self.owners.clone(), self.next + 1, self.cancelled);
    }

    /// The executors that own something.
    pub(crate) fn owning(&self) -> Bits {
        self.owners.executors().into_iter().map(index).collect()
    }
}

impl World {
    pub(crate) fn begin_scaling(&mut self) -> Checked {
        let ground = Rc::clone(&self.ground);
        let setting = &ground.setting;
        let plan = self.plan.change();
        let target = Assignment {
            owners: setting.targets[plan.next]
                .iter()
                .copied()
                .map(executor)
                .collect(),
        };
        let moves = plan.owners.moves(&target);
        let division = Division {
            bytes_max: u64::MAX,
            key_groups_max: setting.subscale_key_groups_max,
        };
        let subscales = divide(&moves, &|_| 1, &division, SubscaleId(0));
        let predecessors: Vec<_> = (0..PREDECESSORS).map(executor).collect();
        let with_predecessors = subscales
            .iter()
            .map(|s| (s.clone(), predecessors.clone()))
            .collect();
        let coordinator =
            Coordinator::new(with_predecessors).with_open_max(setting.open_subscales_max);
        plan.coordinator = Some(coordinator.with_rules(setting.rules));
        plan.mail = vec![Mail::default(); subscales.len()];
        plan.subscales = Rc::new(subscales);
        plan.pairs = moves.into_keys().collect();
        plan.stage = Stage::Opening;
        self.watch.change().scaling(self.plan.mail.len());

        let there = self.there();
        let wanted = target.executors().into_iter().map(index);
        let added: Bits = wanted.filter(|e| !there.contains(*e)).collect();
        if setting.topology == Topology::ByBarrier {
            self.issue(Change::Open { added });
        }
        for new in added.iter() {
            self.add_executor(new)?;
            self.open_migration_channels(new)?;
        }
        if setting.topology == Topology::Standing {
            let all = self.there();
            self.predecessors
                .iter_mut()
                .for_each(|p| p.change().open = all);
            for old in there.iter() {
                self.open_migration_channels(old)?;
            }
            return self.start_moves();
        }
        Ok(())
    }

    /// All channels are open.
    fn start_moves(&mut self) -> Checked {
        self.plan.change().stage = Stage::Moving;
        self.coordinate(CoordinatorEvent::Start)
    }

    /// Tells the coordinator something and carries out what follows.
    pub(crate) fn coordinate(&mut self, event: CoordinatorEvent) -> Checked {
        let plan = &mut self.plan.change();
        let Some(coordinator) = &mut plan.coordinator else {
            return Err(Violation(format!("{event:?} without a scaling")));
        };
        let mut actions = Vec::new();
        coordinator.step(event, &mut actions)?;
        for action in actions {
            let mail = &mut self.plan.change().mail;
            match action {
                CoordinatorAction::PrepareNew { subscale, .. } => {
                    mail[subscale.id.0 as usize].prepare_new = true
                }
                CoordinatorAction::PrepareOld { subscale, .. } => {
                    mail[subscale.id.0 as usize].prepare_old = true
                }
                CoordinatorAction::Switch {
                    predecessor,
                    subscale,
                } => {
                    let told = mail[subscale.id.0 as usize]
                        .switch
                        .insert(index(predecessor));
                    ensure!(told, "{subscale} is switched twice");
                }
                CoordinatorAction::SwitchAtBarrier { .. } => {
                    return Err(Violation("DRRS needs no barrier to switch".to_owned()));
                }
                CoordinatorAction::SubscaleDone { subscale } => self.subscale_done(&subscale)?,
                CoordinatorAction::Finished => self.moves_finished()?,
            }
        }
        Ok(())
    }

    pub(crate) fn prepare_new(&mut self, id: SubscaleId) -> Checked {
        self.plan.change().mail[id.0 as usize].prepare_new = false;
        let Subscale {
            old_owner,
            new_owner,
            key_groups,
            ..
        } = self.plan.subscale(id).clone();
        let event = Event::PrepareNew {
            subscale: id,
            old_owner,
            key_groups,
            mechanism: MECHANISM,
        };
        self.tell(index(new_owner), event)
    }

    pub(crate) fn prepare_old(&mut self, id: SubscaleId) -> Checked {
        self.plan.change().mail[id.0 as usize].prepare_old = false;
        let Subscale {
            old_owner,
            new_owner,
            key_groups,
            ..
        } = self.plan.subscale(id).clone();
        let event = Event::PrepareOld {
            subscale: id,
            new_owner,
            key_groups,
            mechanism: MECHANISM,
        };
        self.tell(index(old_owner), event)
    }

    /// A predecessor is told to switch when so many messages to the old owner have been sent.
    pub(crate) fn switch(&mut self, predecessor: usize, id: SubscaleId, sent: usize) {
        self.plan.change().mail[id.0 as usize]
            .switch
            .remove(predecessor);
        let subscales = Rc::clone(&self.plan.subscales);
        let subscale = &subscales[id.0 as usize];
        self.watch.change().switched(predecessor, subscale);
        let routing = &mut self.predecessors[predecessor].change().routing;
        for key_group in &subscale.key_groups {
            routing.set_owner(key_group, subscale.new_owner);
        }
        let rules = self.ground.setting.rules;
        let old = self.regular_mut(predecessor, subscale.old_owner);
        let moved = old.switch(subscale, sent, rules);
        let new = self.regular_mut(predecessor, subscale.new_owner);
        new.queue.extend(moved);
    }

    pub(crate) fn done(&mut self, id: SubscaleId) -> Checked {
        self.plan.change().mail[id.0 as usize].done = false;
        self.coordinate(CoordinatorEvent::Done { subscale: id })
    }

    fn subscale_done(&mut self, subscale: &Subscale) -> Checked {
        let of_it = |transfer: &Transfer| transfer.subscale() == Some(subscale.id);
        let under_way = self.transfers().any(of_it);
        ensure!(
            !under_way,
            "I12: {subscale} is done, messages are under way"
        );
        for key_group in &subscale.key_groups {
            let new_owner = self.executors[index(subscale.new_owner)].as_ref();
            let has_it = new_owner.is_some_and(|e| e.states[key_group.index()].is_some());
            ensure!(has_it, "I12: {subscale} is done without {key_group}");
            let to_it = |routing: &Assignment| routing.owner(key_group) == subscale.new_owner;
            ensure!(
                self.predecessors.iter().all(|p| to_it(&p.routing)),
                "I12: {subscale} is done, a predecessor routes {key_group} elsewhere"
            );
        }
        let plan = &mut self.plan.change();
        for key_group in &subscale.key_groups {
            plan.owners.set_owner(key_group, subscale.new_owner);
        }
        Ok(())
    }

    fn moves_finished(&mut self) -> Checked {
        for executor in self.executors.iter().flatten() {
            ensure!(
                executor.migration.quiet() && !executor.holds_rows(),
                "I12: {} is not done with the scaling",
                executor.id
            );
        }
        for predecessor in &self.predecessors {
            ensure!(
                predecessor.routing == self.plan.owners,
                "I12: a predecessor routes otherwise than the owners are"
            );
        }
        let there = self.there();
        let standing = self.ground.setting.topology == Topology::Standing;
        let plan = &mut self.plan.change();
        if standing {
            plan.end();
            return Ok(());
        }
        let owning = plan.owning();
        let retired: Bits = there.iter().filter(|e| !owning.contains(*e)).collect();
        plan.stage = Stage::Closing;
        plan.closing = Some(Change::Close { retired });
        self.close_when_free();
        Ok(())
    }

    /// Issues the last barrier of the scaling, when there is room for one.
    fn close_when_free(&mut self) {
        if self.ledger.in_flight() >= self.ground.setting.in_flight_max {
            return;
        }
        let closing = self.plan.change().closing.take();
        if let Some(topology @ Change::Close { retired }) = closing {
            self.issue(topology);
            self.plan.change().leaving = retired;
        }
    }

    /// An epoch is complete: if it was the topology barrier waited for, the scaling goes on.
    pub(crate) fn epoch_complete(&mut self, topology: Change) -> Checked {
        let plan = &mut self.plan.change();
        match (&plan.stage, topology) {
            (Stage::Opening, Change::Open { .. }) => {
                self.start_moves()?;
            }
            (Stage::Closing, Change::Close { .. }) => {
                plan.end();
            }
            _ => {}
        }
        self.close_when_free();
        Ok(())
    }
}
