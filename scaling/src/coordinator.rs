//! One scaling from the outside: which subscale is opened when, and in which order its parts are
//! told.
//!
//! ```text
//!   Waiting ─► PrepareNew ─ new owner Prepared ─► PrepareOld ─ old owner Prepared ─┐
//!      done ◄─ Done ─ Switch to each predecessor ◄───────────────────────────────────┘
//! ```
//!
//! * The new owner is told first, so that it expects every key group the old owner may send; the
//!   old owner second; the predecessors last, so that no row and no confirm barrier meets an owner
//!   that does not know of the subscale, and not before the state is on its way. This is what the paper's trigger barrier does by racing
//!   ahead of the rows, without the race (drrs.md 8.1).
//! * At most `limit` subscales are open at an executor, counting both roles: what is open is what a
//!   barrier may wait for. One whose state is installed is not counted: it waits for nothing but
//!   confirm barriers, which may be behind a backlog and hold nothing up.
//! * *Min-hold* order (drrs.md 4.3): serve the executor that holds the fewest key groups first, so
//!   that new executors take load early; among the pairs it can open now, the one with most
//!   subscales left; ties by id. Event-driven: the next is opened the moment one is done.
//! * A planned subscale may be cut when it is opened ([`Coordinator::cut_when_opened`]): as many of
//!   its first key groups as the division has room for *then* are opened, under a new id, and the
//!   rest goes on waiting. So subscales can follow the speed that the earlier ones have shown.
//! * Signalled by a barrier ([`crate::Signal::Barrier`]), a subscale needs no preparing: all that
//!   may be opened now goes out with the next barrier, and is then moving.
//! * Cancel drops what is still waiting; what is open runs to its end, which is cheaper than
//!   undoing it. The next plan starts from the owners as they then are.
//!
//! All fragments of a job go into one coordinator: executors are told apart by their ids, so the
//! subscales of different fragments do not hinder each other. Not here: opening and closing
//! channels, which are topology barriers before `Start` and after `Finished`.

use std::collections::BTreeMap;

use crate::{
    Division, ExecutorId, KeyGroup, Mechanism, ProtocolError, Rules, Signal, Subscale, SubscaleId,
};

/// Open subscales an executor takes part in at a time, unless configured otherwise.
pub const OPEN_SUBSCALES_MAX: usize = 2;

/// What the coordinator is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CoordinatorEvent {
    /// All channels the plan needs are open, at every executor.
    Start,
    /// An owner knows of the subscale ([`crate::Action::Prepared`]).
    Prepared {
        /// The subscale.
        subscale: SubscaleId,
        /// The owner that says so.
        executor: ExecutorId,
    },
    /// The new owner has all the state ([`crate::Action::Installed`]).
    Installed {
        /// The subscale.
        subscale: SubscaleId,
    },
    /// The new owner has all there is to have ([`crate::Action::Done`]).
    Done {
        /// The subscale.
        subscale: SubscaleId,
    },
    /// Open nothing more.
    Cancel,
}

/// What must now be sent, or is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CoordinatorAction {
    /// Send [`crate::Event::PrepareNew`].
    PrepareNew {
        /// The new owner.
        to: ExecutorId,
        /// What will move.
        subscale: Subscale,
    },
    /// Send [`crate::Event::PrepareOld`].
    PrepareOld {
        /// The old owner.
        to: ExecutorId,
        /// What will move.
        subscale: Subscale,
    },
    /// Tell a predecessor to route the key groups to the new owner, and to put a confirm barrier on
    /// each of its channels to the old owner ([`crate::confirm_position`]).
    Switch {
        /// The predecessor.
        predecessor: ExecutorId,
        /// What moves.
        subscale: Subscale,
    },
    /// Let the next barrier carry it: each predecessor routes these subscales to their new owners
    /// right behind the barrier, and their owners are prepared right after committing it.
    SwitchAtBarrier {
        /// What moves, each with the predecessors of its fragment.
        subscales: Vec<(Subscale, Vec<ExecutorId>)>,
    },
    /// The key groups have arrived for good; the owner map may record it.
    SubscaleDone {
        /// What has moved.
        subscale: Subscale,
    },
    /// Nothing is open and nothing will be. Comes exactly once, last.
    Finished,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Waiting,
    Preparing {
        new_prepared: bool,
        old_prepared: bool,
    },
    Moving,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    subscale: Subscale,
    predecessors: Vec<ExecutorId>,
    /// Bytes of its key groups, where they are known.
    sizes: BTreeMap<KeyGroup, u64>,
    phase: Phase,
    /// All state is at the new owner. An old owner need not wait for the predecessors to send it,
    /// so this may be known before its Prepared is.
    installed: bool,
}

impl Pending {
    fn waiting(subscale: Subscale, predecessors: Vec<ExecutorId>) -> Pending {
        Pending {
            subscale,
            predecessors,
            sizes: BTreeMap::new(),
            phase: Phase::Waiting,
            installed: false,
        }
    }

    /// Whether a barrier may have to wait for it.
    fn is_open(&self) -> bool {
        match self.phase {
            Phase::Waiting => false,
            Phase::Preparing { .. } => true,
            Phase::Moving => !self.installed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Progress {
    Created,
    Running,
    Finished,
}

/// Drives the subscales of one scaling. See the header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    signal: Signal,
    // Open subscales, per executor and in all.
    open_max: (usize, usize),
    rules: Rules,
    progress: Progress,
    pending: BTreeMap<SubscaleId, Pending>,
    /// What an opened subscale may be, and the id of the next piece that is cut off.
    division: Division,
    next_piece: SubscaleId,
    // Key groups by executor, with those of opened subscales counted as moved.
    held: BTreeMap<ExecutorId, i64>,
}

impl Coordinator {
    /// A coordinator of these subscales, each with the predecessors of its fragment, that opens
    /// them as DRRS does. An executor is taken to hold just the key groups that are to leave it,
    /// until [`Coordinator::with_key_groups_held`] says more.
    ///
    /// # Panics
    /// If two subscales have one id: the plan is ours.
    #[must_use]
    pub fn new(subscales: Vec<(Subscale, Vec<ExecutorId>)>) -> Coordinator {
        let (mut pending, mut held) = (BTreeMap::new(), BTreeMap::new());
        for (subscale, predecessors) in subscales {
            *held.entry(subscale.old_owner).or_default() += key_groups(&subscale);
            let id = subscale.id;
            let doubled = pending.insert(id, Pending::waiting(subscale, predecessors));
            assert!(doubled.is_none(), "subscale {id} is in the plan twice");
        }
        Coordinator {
            signal: Signal::Priority,
            open_max: Mechanism::default().open_max(),
            rules: Rules::default(),
            progress: Progress::Created,
            pending,
            division: Division::WHOLE,
            next_piece: SubscaleId(u64::MAX),
            held,
        }
    }

    /// The same coordinator, cutting subscales when it opens them: `sizes` tells the bytes of a key
    /// group, and pieces get ids from `first_piece` on, at most one a key group of the plan.
    #[must_use]
    pub fn cut_when_opened(
        mut self,
        sizes: &dyn Fn(&Subscale, KeyGroup) -> u64,
        first_piece: SubscaleId,
    ) -> Coordinator {
        for pending in self.pending.values_mut() {
            let subscale = &pending.subscale;
            let key_groups = subscale.key_groups.iter();
            pending.sizes = key_groups.map(|g| (g, sizes(subscale, g))).collect();
        }
        self.next_piece = first_piece;
        self
    }

    /// What subscales opened from now on may be, if they are cut.
    pub fn set_division(&mut self, division: Division) {
        self.division = division;
    }

    /// The same coordinator, ordering by how many key groups each executor holds in truth before
    /// the scaling.
    #[must_use]
    pub fn with_key_groups_held(self, held: &BTreeMap<ExecutorId, usize>) -> Coordinator {
        let held = held
            .iter()
            .map(|(executor, count)| (*executor, i64::try_from(*count).unwrap_or(i64::MAX)))
            .collect();
        Coordinator { held, ..self }
    }

    /// The same coordinator, opening subscales as another mechanism does.
    #[must_use]
    pub fn with_mechanism(self, mechanism: Mechanism) -> Coordinator {
        Coordinator {
            signal: mechanism.signal,
            open_max: mechanism.open_max(),
            ..self
        }
    }

    /// The same coordinator with at most so many subscales open at an executor.
    ///
    /// # Panics
    /// If `limit` is 0: no subscale could ever be opened.
    #[must_use]
    pub fn with_open_max(self, limit: usize) -> Coordinator {
        assert!(limit > 0, "with a limit of 0 no subscale can be opened");
        Coordinator {
            open_max: (limit, self.open_max.1),
            ..self
        }
    }

    /// The same coordinator under other rules.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Coordinator {
        Coordinator { rules, ..self }
    }

    /// Subscales not yet done.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.pending.len()
    }

    /// Takes one event and appends what it leads to.
    ///
    /// # Errors
    /// [`ProtocolError`] if the event does not fit; nothing was changed then.
    pub fn step(
        &mut self,
        event: CoordinatorEvent,
        actions: &mut Vec<CoordinatorAction>,
    ) -> Result<(), ProtocolError> {
        match (event, &self.progress) {
            (CoordinatorEvent::Start, Progress::Created) => self.progress = Progress::Running,
            (CoordinatorEvent::Start, _) => {
                return Err(ProtocolError::Coordinator { what: "start" });
            }
            (CoordinatorEvent::Prepared { subscale, executor }, _) => {
                self.prepared(subscale, executor, actions)?
            }
            (CoordinatorEvent::Installed { subscale }, _) => self.installed(subscale)?,
            (CoordinatorEvent::Done { subscale }, _) => self.done(subscale, actions)?,
            // Harmless at any time, after the end too: the user cannot know that it has come.
            (CoordinatorEvent::Cancel, _) => self
                .pending
                .retain(|_, p| !matches!(p.phase, Phase::Waiting)),
        }
        self.go_on(actions);
        Ok(())
    }

    fn prepared(
        &mut self,
        id: SubscaleId,
        executor: ExecutorId,
        actions: &mut Vec<CoordinatorAction>,
    ) -> Result<(), ProtocolError> {
        let error = ProtocolError::Subscale {
            subscale: id,
            what: "an owner that is prepared",
        };
        let Some(Pending {
            subscale,
            predecessors,
            phase,
            ..
        }) = self.pending.get_mut(&id)
        else {
            return Err(error);
        };
        let Phase::Preparing {
            new_prepared,
            old_prepared,
        } = phase
        else {
            return Err(error);
        };
        let old_asked = *new_prepared || !self.rules.new_owner_prepared_first;
        if executor == subscale.new_owner && !*new_prepared {
            *new_prepared = true;
            if self.rules.new_owner_prepared_first {
                actions.push(CoordinatorAction::PrepareOld {
                    to: subscale.old_owner,
                    subscale: subscale.clone(),
                });
            }
        } else if executor == subscale.old_owner && old_asked && !*old_prepared {
            *old_prepared = true;
        } else {
            return Err(error);
        }
        if *new_prepared && *old_prepared {
            *phase = Phase::Moving;
            if self.rules.prepare_before_switch {
                switch(subscale, predecessors, actions);
            }
        }
        Ok(())
    }

    fn installed(&mut self, id: SubscaleId) -> Result<(), ProtocolError> {
        match self.pending.get_mut(&id) {
            Some(Pending {
                phase: Phase::Waiting,
                ..
            }) => Err(ProtocolError::Subscale {
                subscale: id,
                what: "its state",
            }),
            Some(pending) => {
                pending.installed = true;
                Ok(())
            }
            // It may come behind Done.
            None => Ok(()),
        }
    }

    fn done(
        &mut self,
        id: SubscaleId,
        actions: &mut Vec<CoordinatorAction>,
    ) -> Result<(), ProtocolError> {
        match self.pending.get(&id) {
            Some(Pending {
                phase: Phase::Moving,
                ..
            }) => {}
            _ => {
                return Err(ProtocolError::Subscale {
                    subscale: id,
                    what: "its end",
                });
            }
        }
        if let Some(Pending { subscale, .. }) = self.pending.remove(&id) {
            actions.push(CoordinatorAction::SubscaleDone { subscale });
        }
        Ok(())
    }

    fn go_on(&mut self, actions: &mut Vec<CoordinatorAction>) {
        if self.progress != Progress::Running {
            return;
        }
        let mut at_barrier = Vec::new();
        while let Some(id) = self.next_to_open() {
            let id = self.cut(id);
            match self.signal {
                Signal::Priority => self.prepare(id, actions),
                Signal::Barrier => at_barrier.extend(self.open_at_barrier(id)),
            }
        }
        if !at_barrier.is_empty() {
            actions.push(CoordinatorAction::SwitchAtBarrier {
                subscales: at_barrier,
            });
        }
        if self.pending.is_empty() {
            self.progress = Progress::Finished;
            actions.push(CoordinatorAction::Finished);
        }
    }

    /// The waiting subscale that min-hold order opens next, if the limit lets any be opened.
    fn next_to_open(&self) -> Option<SubscaleId> {
        let (per_executor, in_all) = self.open_max;
        if self.open().count() >= in_all {
            return None;
        }
        let mut waiting: BTreeMap<(ExecutorId, ExecutorId), (usize, SubscaleId)> = BTreeMap::new();
        for Pending { subscale, .. } in self
            .pending
            .values()
            .filter(|p| matches!(p.phase, Phase::Waiting))
        {
            let pair = (subscale.old_owner, subscale.new_owner);
            if self.open_at(pair.0) < per_executor && self.open_at(pair.1) < per_executor {
                waiting.entry(pair).or_insert((0, subscale.id)).0 += self.subscales_of(subscale);
            }
        }
        let held =
            |executor: ExecutorId| (self.held.get(&executor).copied().unwrap_or(0), executor);
        let served = waiting
            .keys()
            .flat_map(|(old, new)| [*old, *new])
            .min_by_key(|executor| held(*executor))?;
        waiting
            .iter()
            .filter(|((old, new), _)| *old == served || *new == served)
            .min_by_key(|(pair, (left, _))| (std::cmp::Reverse(*left), **pair))
            .map(|(_, (_, first))| *first)
    }

    /// How many a waiting one is, as the division is now.
    fn subscales_of(&self, subscale: &Subscale) -> usize {
        let most = self.division.key_groups_max.max(1);
        subscale.key_groups.len().div_ceil(most)
    }

    /// Cuts off of a waiting subscale what may be opened now. What is left waits on under its id.
    fn cut(&mut self, id: SubscaleId) -> SubscaleId {
        let Some(pending) = self.pending.get_mut(&id) else {
            return id;
        };
        let fitting = self.division.fitting(pending.sizes.values().copied());
        if fitting >= pending.sizes.len() {
            return id;
        }
        let rest = pending.sizes.keys().nth(fitting).copied();
        let rest = rest.map(|first| pending.sizes.split_off(&first));
        let piece = std::mem::replace(&mut pending.sizes, rest.unwrap_or_default());
        let opened = Subscale {
            id: self.next_piece,
            key_groups: piece.keys().copied().collect(),
            ..pending.subscale.clone()
        };
        for key_group in &opened.key_groups {
            pending.subscale.key_groups.remove(key_group);
        }
        let predecessors = pending.predecessors.clone();
        let id = opened.id;
        self.next_piece = SubscaleId(id.0 + 1);
        self.pending
            .insert(id, Pending::waiting(opened, predecessors));
        id
    }

    fn open(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values().filter(|pending| pending.is_open())
    }

    fn open_at(&self, executor: ExecutorId) -> usize {
        self.open()
            .filter(|p| p.subscale.old_owner == executor || p.subscale.new_owner == executor)
            .count()
    }

    fn open_at_barrier(&mut self, id: SubscaleId) -> Option<(Subscale, Vec<ExecutorId>)> {
        let pending = self.pending.get_mut(&id)?;
        pending.phase = Phase::Moving;
        let (subscale, predecessors) = (pending.subscale.clone(), pending.predecessors.clone());
        self.count_as_moved(&subscale);
        Some((subscale, predecessors))
    }

    fn count_as_moved(&mut self, subscale: &Subscale) {
        *self.held.entry(subscale.old_owner).or_default() -= key_groups(subscale);
        *self.held.entry(subscale.new_owner).or_default() += key_groups(subscale);
    }

    fn prepare(&mut self, id: SubscaleId, actions: &mut Vec<CoordinatorAction>) {
        let Some(Pending {
            subscale,
            predecessors,
            phase,
            ..
        }) = self.pending.get_mut(&id)
        else {
            return;
        };
        *phase = Phase::Preparing {
            new_prepared: false,
            old_prepared: false,
        };
        let subscale = subscale.clone();
        actions.push(CoordinatorAction::PrepareNew {
            to: subscale.new_owner,
            subscale: subscale.clone(),
        });
        if !self.rules.new_owner_prepared_first {
            actions.push(CoordinatorAction::PrepareOld {
                to: subscale.old_owner,
                subscale: subscale.clone(),
            });
        }
        if !self.rules.prepare_before_switch {
            switch(&subscale, predecessors, actions);
        }
        self.count_as_moved(&subscale);
    }
}

fn key_groups(subscale: &Subscale) -> i64 {
    i64::try_from(subscale.key_groups.len()).expect("at most 65536 key groups")
}

fn switch(subscale: &Subscale, predecessors: &[ExecutorId], actions: &mut Vec<CoordinatorAction>) {
    let to_each = |predecessor: &ExecutorId| CoordinatorAction::Switch {
        predecessor: *predecessor,
        subscale: subscale.clone(),
    };
    actions.extend(predecessors.iter().map(to_each));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Assignment, Division, KeyGroup, divide};

    fn subscale(id: u64, old_owner: u32, new_owner: u32, key_groups: &[u16]) -> Subscale {
        let key_groups = key_groups.iter().copied().map(KeyGroup).collect();
        Subscale {
            id: SubscaleId(id),
            old_owner: ExecutorId(old_owner),
            new_owner: ExecutorId(new_owner),
            key_groups,
        }
    }

    fn coordinator(subscales: &[Subscale], limit: usize) -> Coordinator {
        let predecessors = vec![ExecutorId(8), ExecutorId(9)];
        Coordinator::new(
            subscales
                .iter()
                .map(|s| (s.clone(), predecessors.clone()))
                .collect(),
        )
        .with_open_max(limit)
    }

    fn step(coordinator: &mut Coordinator, event: CoordinatorEvent) -> Vec<String> {
        let mut actions = Vec::new();
        coordinator
            .step(event, &mut actions)
            .expect("the script is a correct run");
        actions
            .iter()
            .map(|action| match action {
                CoordinatorAction::PrepareNew { to, subscale } => {
                    format!("new {} at {to}", subscale.id)
                }
                CoordinatorAction::PrepareOld { to, subscale } => {
                    format!("old {} at {to}", subscale.id)
                }
                CoordinatorAction::Switch {
                    predecessor,
                    subscale,
                } => format!("switch {} at {predecessor}", subscale.id),
                CoordinatorAction::SwitchAtBarrier { subscales } => {
                    let ids: Vec<_> = subscales.iter().map(|(s, _)| s.id.to_string()).collect();
                    format!("barrier {}", ids.join(" "))
                }
                CoordinatorAction::SubscaleDone { subscale } => format!("{} done", subscale.id),
                CoordinatorAction::Finished => "finished".to_owned(),
            })
            .collect()
    }

    fn prepared(id: u64, executor: u32) -> CoordinatorEvent {
        CoordinatorEvent::Prepared {
            subscale: SubscaleId(id),
            executor: ExecutorId(executor),
        }
    }

    fn done(id: u64) -> CoordinatorEvent {
        CoordinatorEvent::Done {
            subscale: SubscaleId(id),
        }
    }

    #[test]
    fn tells_new_owner_then_old_owner_then_predecessors() {
        let mut c = coordinator(&[subscale(1, 0, 2, &[0])], 2);
        assert_eq!(step(&mut c, CoordinatorEvent::Start), ["new s1 at e2"]);
        assert_eq!(step(&mut c, prepared(1, 2)), ["old s1 at e0"]);
        assert_eq!(
            step(&mut c, prepared(1, 0)),
            ["switch s1 at e8", "switch s1 at e9"]
        );
        assert_eq!(step(&mut c, done(1)), ["s1 done", "finished"]);
        assert_eq!(c.remaining(), 0);
    }

    #[test]
    fn opens_at_most_so_many_at_an_executor() {
        let all = [
            subscale(1, 0, 2, &[0]),
            subscale(2, 0, 2, &[1]),
            subscale(3, 0, 3, &[2]),
            subscale(4, 1, 3, &[3]),
        ];
        let mut c = coordinator(&all, 2);
        assert_eq!(
            step(&mut c, CoordinatorEvent::Start),
            ["new s1 at e2", "new s3 at e3", "new s4 at e3"]
        );
        for (id, old_owner, new_owner) in [(1, 0, 2), (3, 0, 3), (4, 1, 3)] {
            step(&mut c, prepared(id, new_owner));
            step(&mut c, prepared(id, old_owner));
        }
        assert_eq!(step(&mut c, done(4)), ["s4 done"]);
        assert_eq!(step(&mut c, done(1)), ["s1 done", "new s2 at e2"]);
    }

    #[test]
    fn cancel_lets_open_ones_end() {
        let mut c = coordinator(&[subscale(1, 0, 2, &[0]), subscale(2, 0, 2, &[1])], 1);
        step(&mut c, CoordinatorEvent::Start);
        assert_eq!(step(&mut c, CoordinatorEvent::Cancel), [""; 0]);
        step(&mut c, prepared(1, 2));
        step(&mut c, prepared(1, 0));
        assert_eq!(step(&mut c, done(1)), ["s1 done", "finished"]);
        assert_eq!(step(&mut c, CoordinatorEvent::Cancel), [""; 0]);
    }

    #[test]
    fn installed_state_makes_room_before_confirm_barriers_come() {
        let all = [subscale(1, 0, 2, &[0]), subscale(2, 0, 2, &[1])];
        let mut c = coordinator(&all, 1);
        assert_eq!(step(&mut c, CoordinatorEvent::Start), ["new s1 at e2"]);
        let installed = |id| CoordinatorEvent::Installed {
            subscale: SubscaleId(id),
        };
        step(&mut c, prepared(1, 2));
        assert_eq!(step(&mut c, installed(1)), [""; 0]);
        let opened = step(&mut c, prepared(1, 0));
        assert_eq!(
            opened,
            ["switch s1 at e8", "switch s1 at e9", "new s2 at e2"]
        );
        assert_eq!(step(&mut c, done(1)), ["s1 done"]);
        assert_eq!(step(&mut c, installed(1)), [""; 0]);
        assert_eq!(c.remaining(), 1);
    }

    #[test]
    fn a_barrier_carries_all_that_may_be_opened() {
        let all = [subscale(1, 0, 2, &[0]), subscale(2, 1, 2, &[1])];
        let mechanism = |strategy: crate::Strategy| strategy.mechanism().unwrap();
        let mut c = coordinator(&all, 2).with_mechanism(mechanism(crate::Strategy::Otfs));
        assert_eq!(step(&mut c, CoordinatorEvent::Start), ["barrier s1 s2"]);
        assert_eq!(step(&mut c, done(2)), ["s2 done"]);
        assert_eq!(step(&mut c, done(1)), ["s1 done", "finished"]);
        let mut c = coordinator(&all, 2).with_mechanism(mechanism(crate::Strategy::Megaphone));
        assert_eq!(step(&mut c, CoordinatorEvent::Start), ["barrier s1"]);
        assert_eq!(step(&mut c, done(1)), ["s1 done", "barrier s2"]);
        assert_eq!(step(&mut c, done(2)), ["s2 done", "finished"]);
    }

    #[test]
    fn a_subscale_is_cut_as_the_division_is_when_it_is_opened() {
        let all = [subscale(1, 0, 2, &[0, 1, 2, 3, 4, 5])];
        let mut c = coordinator(&all, 1)
            .cut_when_opened(&|_, key_group| u64::from(key_group.0), SubscaleId(10));
        c.set_division(Division {
            bytes_max: 100,
            key_groups_max: 2,
        });
        assert_eq!(step(&mut c, CoordinatorEvent::Start), ["new s10 at e2"]);
        assert_eq!(
            c.pending[&SubscaleId(10)].subscale.to_string(),
            "s10 e0>e2:0-1"
        );
        assert_eq!(
            c.pending[&SubscaleId(1)].subscale.to_string(),
            "s1 e0>e2:2-5"
        );
        c.set_division(Division {
            bytes_max: 8,
            key_groups_max: 9,
        });
        step(&mut c, prepared(10, 2));
        step(&mut c, prepared(10, 0));
        let opened = step(&mut c, done(10));
        assert_eq!(opened, ["s10 done", "new s11 at e2"]);
        assert_eq!(
            c.pending[&SubscaleId(11)].subscale.to_string(),
            "s11 e0>e2:2-3"
        );
        step(&mut c, prepared(11, 2));
        step(&mut c, prepared(11, 0));
        c.set_division(Division::WHOLE);
        assert_eq!(step(&mut c, done(11)), ["s11 done", "new s1 at e2"]);
        step(&mut c, prepared(1, 2));
        step(&mut c, prepared(1, 0));
        assert_eq!(step(&mut c, done(1)), ["s1 done", "finished"]);
    }

    #[test]
    fn nothing_to_do_is_finished_at_once() {
        assert_eq!(
            step(&mut coordinator(&[], 2), CoordinatorEvent::Start),
            ["finished"]
        );
        let mut cancelled = coordinator(&[subscale(1, 0, 2, &[0])], 2);
        assert_eq!(step(&mut cancelled, CoordinatorEvent::Cancel), [""; 0]);
        assert_eq!(step(&mut cancelled, CoordinatorEvent::Start), ["finished"]);
    }

    #[test]
    fn events_that_do_not_fit_are_errors() {
        let mut c = coordinator(&[subscale(1, 0, 2, &[0])], 2);
        assert!(c.step(prepared(1, 2), &mut Vec::new()).is_err());
        step(&mut c, CoordinatorEvent::Start);
        for event in [
            CoordinatorEvent::Start,
            prepared(1, 0),
            prepared(1, 5),
            prepared(2, 0),
            done(1),
            done(2),
        ] {
            assert!(c.step(event.clone(), &mut Vec::new()).is_err(), "{event:?}");
        }
        step(&mut c, prepared(1, 2));
        assert!(c.step(prepared(1, 2), &mut Vec::new()).is_err());
        step(&mut c, prepared(1, 0));
        assert!(c.step(prepared(1, 0), &mut Vec::new()).is_err());
    }

    /// drrs.md 4.3: 128 key groups, ranges, 8 -> 12 executors, one subscale opened a round, each
    /// lasting 3 rounds.
    #[test]
    fn opens_in_the_published_min_hold_order() {
        let executors = |count: u32| (0..count).map(ExecutorId).collect::<Vec<_>>();
        let old = Assignment::ranges(&executors(8), 128);
        let moves = old.moves(&Assignment::ranges(&executors(12), 128));
        let division = Division {
            bytes_max: u64::MAX,
            key_groups_max: 128,
        };
        let held = old
            .executors()
            .into_iter()
            .map(|e| (e, old.owned_by(e).len()))
            .collect();
        let mut c = coordinator(&divide(&moves, &|_| 1, &division, SubscaleId(0)), 2)
            .with_key_groups_held(&held);
        let mut open = std::collections::VecDeque::new();
        let mut order = Vec::new();
        while let Some(id) = c.next_to_open() {
            let subscale = &c.pending[&id].subscale;
            order.push(format!(
                "{}>{}:{}",
                subscale.old_owner.0,
                subscale.new_owner.0,
                subscale.key_groups.len()
            ));
            c.prepare(id, &mut Vec::new());
            open.push_back(id);
            if open.len() == 3 {
                c.pending.remove(&open.pop_front().unwrap());
            }
        }
        let published = "5>8:10 6>9:11 6>10:5 7>11:10 4>6:11 2>4:5 7>10:6 4>7:5 3>4:6 5>7:6 3>5:10 2>3:11 1>2:10 0>1:5";
        assert_eq!(order.join(" "), published);
    }
}
