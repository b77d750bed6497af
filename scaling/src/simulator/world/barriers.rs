//! Barriers of the simulated fragment: issuing them, what they change, committing epochs.

use std::collections::BTreeSet;

use super::World;
use crate::simulator::agenda::Due;
use crate::simulator::check::{Checked, ensure};
use crate::simulator::control::Node;
use crate::simulator::epochs::Topology;
use crate::simulator::message::Control;
use crate::simulator::plan::{prepare_new, prepare_old};
use crate::simulator::settings::{executor_id, index_of, nanos};
use crate::{Epoch, Event, ExecutorId, Subscale};

impl World {
    /// It is time for a barrier. Where there is no room for one the next is due an interval after
    /// this one has been issued.
    pub(super) fn barrier_due(&mut self) -> Checked {
        self.barrier_due = true;
        self.issue_what_is_due()
    }

    /// Lets a barrier change the topology, as soon as there is room for one.
    pub(in crate::simulator) fn change(&mut self, topology: Topology) -> Checked {
        self.changes.push_back(topology);
        self.issue_what_is_due()
    }

    pub(super) fn issue_what_is_due(&mut self) -> Checked {
        while self.epochs.under_way() < self.settings.setup.barriers_under_way_max {
            if let Some(topology) = self.changes.pop_front() {
                self.issue(topology)?;
            } else if std::mem::take(&mut self.barrier_due) {
                let interval = nanos(self.settings.setup.barrier_interval);
                self.agenda.put(self.agenda.now() + interval, Due::Barrier);
                self.issue(Topology::Same)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn issue(&mut self, topology: Topology) -> Checked {
        let participants: BTreeSet<_> = self.present().collect();
        let now = self.agenda.now();
        let epoch = self.epochs.issue(participants, topology.clone(), now);
        for index in 0..self.predecessors.len() {
            self.tell(Node::Predecessor(index), Control::Barrier(epoch));
        }
        match topology {
            Topology::Open { added, pairs } => {
                for id in added {
                    let executor = self.executor(id, epoch)?;
                    self.executors[index_of(id)] = Some(executor);
                    self.open_migration_channels(id, &pairs)?;
                }
            }
            Topology::Close { retired, .. } => {
                self.scalings.leave(&retired);
                for id in retired {
                    if let Some(executor) = &mut self.executors[index_of(id)] {
                        executor.last_epoch = Some(epoch);
                    }
                }
            }
            Topology::Same | Topology::Switch(_) | Topology::Stop => {}
        }
        Ok(())
    }

    pub(super) fn make_barrier(&mut self, index: usize, epoch: Epoch) {
        let predecessor = &mut self.predecessors[index];
        predecessor.make_barrier(epoch);
        self.epochs.cut_at(epoch, index, predecessor.cut.clone());
        match self.epochs.topology(epoch) {
            Topology::Same | Topology::Stop => {}
            Topology::Switch(subscales) => {
                for subscale in subscales {
                    predecessor.route(subscale);
                    if let Some(monitor) = &mut self.monitor {
                        monitor.switched(predecessor.id, subscale);
                    }
                }
            }
            Topology::Open { added, .. } => added.iter().for_each(|to| predecessor.open(*to)),
            Topology::Close { retired, .. } => retired.iter().for_each(|to| predecessor.close(*to)),
        }
        self.send_rows(index);
    }

    pub(super) fn commit(&mut self, index: usize, epoch: Epoch) -> Checked {
        let Some(mut executor) = self.executors[index].take() else {
            return Ok(());
        };
        if self.settings.setup.checks {
            self.check_commit(&executor, epoch)?;
        }
        let id = executor.id;
        self.epochs.commit(epoch, id, &executor.states)?;
        let mut outside = self.outside();
        executor.committed(epoch, &mut outside)?;
        executor.tell(Node::Conductor, Control::Committed(epoch), &mut outside);
        self.executors[index] = Some(executor);
        match self.epochs.topology(epoch).clone() {
            Topology::Same | Topology::Stop => Ok(()),
            Topology::Switch(subscales) => self.prepare_owner(id, subscales),
            Topology::Open { pairs, .. } => self.open_migration_channels(id, &pairs),
            Topology::Close { retired, .. } if retired.contains(&id) => self.retire(id),
            Topology::Close { pairs, .. } => self.close_migration_channels(id, &pairs),
        }
    }

    /// The conductor hears that an executor has committed an epoch.
    pub(super) fn heard(&mut self, epoch: Epoch, from: Node) -> Checked {
        if let Node::Executor(index) = from {
            self.epochs.heard(epoch, executor_id(index));
        }
        while self.epochs.complete_next()? {
            let complete = self.epochs.complete();
            let (issued, now) = (self.epochs.issued_at(complete), self.agenda.now());
            self.measures
                .committed(complete, issued, now, &self.settings);
            let topology = self.epochs.topology(complete).clone();
            self.topology_changed(&topology)?;
        }
        if self.next_owners.is_some() {
            return Ok(());
        }
        self.issue_what_is_due()
    }

    /// Tells an executor that has committed the barrier of these subscales what it gives and gets.
    pub(super) fn prepare_owner(&mut self, id: ExecutorId, subscales: Vec<Subscale>) -> Checked {
        let mechanism = self.settings.setup.strategy.mechanism().unwrap_or_default();
        for subscale in subscales {
            if id == subscale.new_owner {
                self.at(id, prepare_new(subscale, mechanism))?;
            } else if id == subscale.old_owner {
                self.at(id, prepare_old(subscale, mechanism))?;
            }
        }
        Ok(())
    }

    pub(super) fn open_migration_channels(
        &mut self,
        id: ExecutorId,
        pairs: &BTreeSet<(ExecutorId, ExecutorId)>,
    ) -> Checked {
        for (from, to) in pairs.iter().copied() {
            self.net.migration.entry((to, from)).or_default();
            if from == id {
                self.at(id, Event::OpenMigrationTo { to })?;
            }
            if to == id {
                self.at(id, Event::OpenMigrationFrom { from })?;
                if let Some(executor) = &mut self.executors[index_of(id)] {
                    executor.incoming.push(from);
                }
            }
        }
        Ok(())
    }

    pub(super) fn close_migration_channels(
        &mut self,
        id: ExecutorId,
        pairs: &BTreeSet<(ExecutorId, ExecutorId)>,
    ) -> Checked {
        for (from, to) in pairs.iter().copied() {
            if from == id {
                self.at(id, Event::CloseMigrationTo { to })?;
            }
            if to == id {
                let rest = self.net.migration.remove(&(to, from)).unwrap_or_default();
                ensure!(
                    rest.is_empty(),
                    "I12: messages behind the last barrier of a migration channel"
                );
                self.at(id, Event::CloseMigrationFrom { from })?;
                if let Some(executor) = &mut self.executors[index_of(id)] {
                    executor.incoming.retain(|other| *other != from);
                }
            }
        }
        Ok(())
    }

    pub(super) fn retire(&mut self, id: ExecutorId) -> Checked {
        let executor = self.executors[index_of(id)].take();
        let left = executor.is_some_and(|executor| {
            executor.states.iter().flatten().next().is_some()
                || executor.holds_rows()
                || !executor.migration.quiet()
        });
        ensure!(!left, "I12: {id} retires with state, rows or a subscale");
        for input in &mut self.net.regular[index_of(id)] {
            ensure!(
                input.queue.is_empty(),
                "I12: messages behind the last barrier of a channel to {id}"
            );
        }
        self.net.migration.retain(|(to, _), _| *to != id);
        Ok(())
    }
}
