//! The scalings of a run at the conductor: topology barrier, coordinator, topology barrier; or
//! stop, barrier, restart.
//!
//! ```text
//!   Idle ─ request ─► Opening ─ barrier complete ─► Moving ─ Finished ─► Closing ─ complete ─► Idle
//!     └── request, stop_restart ─► Stopping ─ complete ─► Restarting ─ written and read ─► Idle
//! ```

use std::collections::{BTreeSet, VecDeque};

use crate::simulator::agenda::Due;
use crate::simulator::check::{Checked, ensure};
use crate::simulator::control::Node;
use crate::simulator::epochs::Topology;
use crate::simulator::message::Control;
use crate::simulator::random::Random;
use crate::simulator::settings::{executor_id, index_of, nanos};
use crate::simulator::setup::{Plan, Scaling, Setup};
use crate::simulator::world::World;
use crate::{
    Assignment, Coordinator, CoordinatorAction, CoordinatorEvent, Division, Event, ExecutorId,
    HandOverSpeed, KeyGroupSet, Mechanism, Pace, Steps, Subscale, SubscaleId, divide,
};

#[derive(Debug)]
enum Stage {
    Idle,
    Opening(Coordinator),
    Moving(Coordinator),
    Closing,
    Stopping(Assignment),
    /// Nothing runs, on purpose.
    Restarting,
    /// Nothing runs, because everything failed or has not begun.
    Down,
}

pub(super) struct Scalings {
    /// Not yet asked for.
    to_come: VecDeque<Scaling>,
    /// Asked for and not yet begun.
    waiting: VecDeque<Scaling>,
    begun: usize,
    stage: Stage,
    /// Executors that retire with a barrier already issued: they take no part in later ones.
    leaving: BTreeSet<ExecutorId>,
    pairs: BTreeSet<(ExecutorId, ExecutorId)>,
    wanted: BTreeSet<ExecutorId>,
    subscales: u64,
    pace: Pace,
}

impl Scalings {
    pub(super) fn new(setup: &Setup) -> Scalings {
        Scalings {
            to_come: setup.scalings.iter().copied().collect(),
            waiting: VecDeque::new(),
            begun: 0,
            stage: Stage::Idle,
            leaving: BTreeSet::new(),
            pairs: BTreeSet::new(),
            wanted: BTreeSet::new(),
            subscales: 0,
            pace: Pace::new(setup.max_pause, HandOverSpeed::default()),
        }
    }

    pub(super) fn over(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.waiting.is_empty() && self.to_come.is_empty()
    }

    /// When the next scaling is asked for.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.to_come.front().map(|scaling| nanos(scaling.at))
    }

    /// The scaling under way is lost; the next one starts from the owners as they are.
    pub(super) fn crash(&mut self) {
        self.stage = Stage::Down;
        self.leaving.clear();
    }

    pub(super) fn is_leaving(&self, executor: ExecutorId) -> bool {
        self.leaving.contains(&executor)
    }

    pub(super) fn leave(&mut self, retired: &BTreeSet<ExecutorId>) {
        self.leaving.clone_from(retired);
    }
}

/// Where a scaling goes, `number` being how many went before it.
pub(super) fn target(
    scaling: &Scaling,
    owners: &Assignment,
    number: usize,
    setup: &Setup,
) -> Assignment {
    let wanted: Vec<_> = (0..scaling.executors).map(executor_id).collect();
    match scaling.plan {
        Plan::LeastMove => owners.least_move(&wanted),
        Plan::Ranges => Assignment::ranges(&wanted, setup.key_groups),
        Plan::Shuffle => shuffle(setup.seed ^ (number as u64 + 1), &wanted, setup.key_groups),
    }
}

/// Every key group at any of these executors.
pub(super) fn shuffle(seed: u64, executors: &[ExecutorId], key_groups: u16) -> Assignment {
    let mut random = Random::new(seed);
    Assignment {
        owners: (0..key_groups)
            .map(|_| executors[random.below(executors.len())])
            .collect(),
    }
}

/// By key group, whether some scaling of the set-up moves it, if nothing crashes.
pub(super) fn moving(setup: &Setup, mut owners: Assignment) -> Vec<bool> {
    let mut moving = vec![false; usize::from(setup.key_groups)];
    for (number, scaling) in setup.scalings.iter().enumerate() {
        let next = target(scaling, &owners, number, setup);
        for key_group in owners.moves(&next).values().flat_map(KeyGroupSet::iter) {
            moving[key_group.index()] = true;
        }
        owners = next;
    }
    moving
}

impl World {
    /// The user asks for the next scaling.
    pub(super) fn request_scaling(&mut self) -> Checked {
        let now = self.agenda.now();
        while self.scalings.next_at().is_some_and(|at| at <= now) {
            let scaling = self.scalings.to_come.pop_front();
            self.scalings.waiting.extend(scaling);
        }
        if let Some(at) = self.scalings.next_at() {
            self.agenda.put(at, Due::Scaling);
        }
        // A new target supersedes the one that is being gone to (drrs.md, D10).
        if let Stage::Moving(_) = self.scalings.stage {
            self.coordinate(CoordinatorEvent::Cancel)?;
        }
        self.begin_scaling()
    }

    /// Begins the next scaling that was asked for, if none is under way.
    pub(super) fn begin_scaling(&mut self) -> Checked {
        if !matches!(self.scalings.stage, Stage::Idle) {
            return Ok(());
        }
        let Some(scaling) = self.scalings.waiting.pop_front() else {
            return Ok(());
        };
        let number = self.scalings.begun;
        let assignment = target(&scaling, &self.owners, number, &self.settings.setup);
        self.scalings.begun += 1;
        self.scalings.wanted = (0..scaling.executors).map(executor_id).collect();
        match self.settings.setup.strategy.mechanism() {
            Some(mechanism) => self.open(&assignment, mechanism),
            None => self.stop(assignment),
        }
    }

    fn open(&mut self, assignment: &Assignment, mechanism: Mechanism) -> Checked {
        let moves = self.owners.moves(assignment);
        let planned = divide(
            &moves,
            &|_| 0,
            &mechanism.division(Division::WHOLE),
            SubscaleId(self.scalings.subscales),
        );
        let first_piece = self.scalings.subscales + planned.len() as u64;
        let key_groups = moves.values().map(KeyGroupSet::len).sum::<usize>();
        let now = self.agenda.now();
        self.measures.requested(now, key_groups);
        // A key group alone is the smallest piece.
        self.scalings.subscales = first_piece + key_groups as u64;
        let predecessors: Vec<_> = self.predecessors.iter().map(|p| p.id).collect();
        let of_all = |subscale| (subscale, predecessors.clone());
        let held = self
            .present()
            .map(|id| (id, self.owners.owned_by(id).len()));
        let mut coordinator = Coordinator::new(planned.into_iter().map(of_all).collect())
            .with_mechanism(mechanism)
            .with_rules(self.settings.setup.rules)
            .with_key_groups_held(&held.collect());
        if mechanism.steps == Steps::Subscales {
            let rows: Vec<_> = self.epochs.states().map(|state| state.rows).collect();
            let bytes =
                |_: &Subscale, g: crate::KeyGroup| self.settings.state_bytes(g, rows[g.index()]);
            coordinator = coordinator
                .with_open_max(self.settings.setup.open_subscales_max)
                .cut_when_opened(&bytes, SubscaleId(first_piece));
        }
        self.scalings.pairs = moves.into_keys().collect();
        self.scalings.stage = Stage::Opening(coordinator);
        let added = self.scalings.wanted.iter().copied();
        let added = added.filter(|id| self.executors[index_of(*id)].is_none());
        let topology = Topology::Open {
            added: added.collect(),
            pairs: self.scalings.pairs.clone(),
        };
        self.change(topology)
    }

    /// Stops the sources on purpose; everything starts anew behind one more barrier.
    fn stop(&mut self, assignment: Assignment) -> Checked {
        let now = self.agenda.now();
        let moves = self.owners.moves(&assignment);
        let key_groups = moves.values().map(KeyGroupSet::len).sum();
        self.measures.requested(now, key_groups);
        self.measures.begun(now);
        self.scalings.stage = Stage::Stopping(assignment);
        for index in 0..self.predecessors.len() {
            self.tell(Node::Predecessor(index), Control::Stop);
        }
        self.change(Topology::Stop)
    }

    /// Tells the coordinator something and carries out what follows.
    pub(super) fn coordinate(&mut self, event: CoordinatorEvent) -> Checked {
        if let CoordinatorEvent::Installed { subscale } = event
            && let Some(moved) = self.measures.moved_in(subscale)
        {
            self.scalings
                .pace
                .moved(moved.key_groups, moved.bytes, moved.took);
        }
        let division = self.division();
        let Stage::Moving(coordinator) = &mut self.scalings.stage else {
            return Err(crate::simulator::check::Broken(format!(
                "{event:?} without a scaling"
            )));
        };
        let mut actions = Vec::new();
        coordinator.set_division(division);
        coordinator.step(event, &mut actions)?;
        let mechanism = self.settings.setup.strategy.mechanism();
        let mechanism = mechanism.unwrap_or_default();
        for action in actions {
            match action {
                CoordinatorAction::PrepareNew { to, subscale } => {
                    self.prepared(&subscale);
                    let event = prepare_new(subscale, mechanism);
                    self.tell(Node::Executor(index_of(to)), Control::Event(event));
                }
                CoordinatorAction::PrepareOld { to, subscale } => {
                    let event = prepare_old(subscale, mechanism);
                    self.tell(Node::Executor(index_of(to)), Control::Event(event));
                }
                CoordinatorAction::Switch {
                    predecessor,
                    subscale,
                } => {
                    let to = Node::Predecessor(index_of(predecessor));
                    self.tell(to, Control::Switch(subscale));
                }
                CoordinatorAction::SwitchAtBarrier { subscales } => {
                    let subscales: Vec<_> = subscales.into_iter().map(|(s, _)| s).collect();
                    subscales
                        .iter()
                        .for_each(|subscale| self.prepared(subscale));
                    self.change(Topology::Switch(subscales))?;
                }
                CoordinatorAction::SubscaleDone { subscale } => {
                    for key_group in &subscale.key_groups {
                        self.owners.set_owner(key_group, subscale.new_owner);
                    }
                    self.check_done(&subscale)?;
                }
                CoordinatorAction::Finished => self.close()?,
            }
        }
        Ok(())
    }

    /// What the next subscale may be.
    fn division(&self) -> Division {
        let by_pace = self.scalings.pace.division();
        let most = self.settings.setup.subscale_key_groups_max;
        Division {
            key_groups_max: by_pace.key_groups_max.min(most),
            ..by_pace
        }
    }

    fn prepared(&mut self, subscale: &Subscale) {
        let now = self.agenda.now();
        self.measures.prepared(subscale.id, now);
    }

    /// Everything has moved: what is not needed any more goes with another barrier.
    fn close(&mut self) -> Checked {
        self.check_finished()?;
        self.measures.all_moved(self.agenda.now());
        let owning: BTreeSet<_> = self.owners.executors().into_iter().collect();
        let retired = self
            .present()
            .filter(|id| !owning.contains(id) && !self.scalings.wanted.contains(id))
            .collect();
        self.scalings.stage = Stage::Closing;
        let pairs = self.scalings.pairs.clone();
        self.change(Topology::Close { retired, pairs })
    }

    /// An epoch is complete: if it was the topology barrier waited for, the scaling goes on.
    pub(super) fn topology_changed(&mut self, topology: &Topology) -> Checked {
        match (
            std::mem::replace(&mut self.scalings.stage, Stage::Idle),
            topology,
        ) {
            (Stage::Opening(coordinator), Topology::Open { .. }) => {
                self.scalings.stage = Stage::Moving(coordinator);
                self.coordinate(CoordinatorEvent::Start)
            }
            (Stage::Closing, Topology::Close { .. }) => {
                self.measures.closed(self.agenda.now());
                self.scalings.leaving.clear();
                self.begin_scaling()
            }
            (Stage::Stopping(assignment), Topology::Stop) => {
                self.scalings.stage = Stage::Restarting;
                self.start_anew(assignment);
                Ok(())
            }
            (stage, _) => {
                self.scalings.stage = stage;
                Ok(())
            }
        }
    }

    /// Everything runs again.
    pub(super) fn is_up(&mut self) -> Checked {
        let stage = std::mem::replace(&mut self.scalings.stage, Stage::Idle);
        if let Stage::Restarting = stage {
            self.measures.all_moved(self.agenda.now());
            self.measures.closed(self.agenda.now());
        } else {
            ensure!(matches!(stage, Stage::Down), "started while {stage:?}");
        }
        self.begin_scaling()
    }
}

/// What the new owner of a subscale is told.
pub(super) fn prepare_new(subscale: Subscale, mechanism: Mechanism) -> Event {
    Event::PrepareNew {
        subscale: subscale.id,
        old_owner: subscale.old_owner,
        key_groups: subscale.key_groups,
        mechanism,
    }
}

/// What the old owner of a subscale is told.
pub(super) fn prepare_old(subscale: Subscale, mechanism: Mechanism) -> Event {
    Event::PrepareOld {
        subscale: subscale.id,
        new_owner: subscale.new_owner,
        key_groups: subscale.key_groups,
        mechanism,
    }
}
