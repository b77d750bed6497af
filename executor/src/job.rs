//! Where the fragments of the running jobs are placed, and the topology that follows from it.
//!
//! A fragment without inputs, the start of a stream, runs as one executor. Every other one
//! runs as many as its job's parallelism; its key groups are assigned to them. Channels are not
//! stored: they follow from the fragments' inputs and the executors of both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use planner::dataflow::{Dataflow, Distribution, Fragment, Node, Upstream};
use scaling::{Assignment, ChannelId, ExecutorId, KeyGroup};
use storage::{TableId, TableSnapshot};

use crate::load::{OperatorLoad, RowCounts};
use crate::message::{EdgeKey, EdgeSpec, FragmentKey, Routing, Topology};
use crate::operators::Backlog;

/// A job to run: a table or a materialized view.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Identifies the job; the id of its relation.
    pub id: u32,
    /// For messages.
    pub name: String,
    /// What it computes.
    pub dataflow: Dataflow,
    /// Executors of each of its fragments that has inputs.
    pub parallelism: usize,
    /// How many rows a second it reads, at most, of those that exist when it is created.
    pub backfill_rate_limit: Option<u64>,
    /// Whether it is being created in a way that goes on where it was when all jobs start again. Until
    /// then it is not complete.
    pub resumable: bool,
}

impl JobSpec {
    /// Jobs whose rows this one reads.
    pub(crate) fn upstream_jobs(&self) -> BTreeSet<u32> {
        let inputs = self
            .dataflow
            .fragments
            .iter()
            .flat_map(|fragment| &fragment.inputs);
        inputs
            .filter_map(|input| match input.from {
                Upstream::Relation(relation) => Some(relation.0),
                Upstream::Fragment(_) => None,
            })
            .collect()
    }

    /// Whether its rows follow from those of other jobs, and can be computed anew at any time: all
    /// but tables, and views of sources, whose rows nobody keeps.
    pub(crate) fn is_derived(&self) -> bool {
        fn brings_rows(node: &Node) -> bool {
            matches!(node, Node::Dml { .. } | Node::Nexmark { .. })
                || node.children().into_iter().any(brings_rows)
        }
        let mut fragments = self.dataflow.fragments.iter();
        !fragments.any(|fragment| brings_rows(&fragment.root))
    }
}

/// The executors of one fragment.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) executors: Vec<ExecutorId>,
    /// Who owns each key group; of a fragment without inputs, its one executor owns all.
    pub(crate) assignment: Assignment,
}

/// A job with its placement.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    pub(crate) placements: Vec<Placement>,
    /// Sends barriers and writes to the roots; never runs.
    pub(crate) outside: ExecutorId,
    /// Upstream rows that existed when the job was created, while they are still being read.
    pub(crate) pinned: BTreeMap<u32, Arc<TableSnapshot>>,
    /// By scan, what is left of a backfill that was taken up again, while it is being read.
    pub(crate) backlogs: BTreeMap<TableId, Backlog>,
    /// By fragment and operator, the rows since the job was started.
    pub(crate) operator_rows: Vec<Vec<RowCounts>>,
}

impl Job {
    /// Jobs whose rows this one reads.
    pub(crate) fn upstream_jobs(&self) -> BTreeSet<u32> {
        self.spec.upstream_jobs()
    }

    /// Index of the fragment that materializes the job's rows.
    pub(crate) fn last_fragment(&self) -> usize {
        self.spec.dataflow.fragments.len() - 1
    }

    /// Notes what the operators of a fragment did on one of its executors.
    pub(crate) fn count(&mut self, fragment: usize, operators: &[OperatorLoad]) {
        let counted = &mut self.operator_rows[fragment];
        counted.resize(operators.len(), RowCounts::default());
        for (counted, load) in counted.iter_mut().zip(operators) {
            counted.add(load.rows);
        }
    }

    pub(crate) fn executors(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        self.placements
            .iter()
            .flat_map(|placement| placement.executors.iter().copied())
    }

    pub(crate) fn fragments(&self) -> impl Iterator<Item = (FragmentKey, &Fragment, &Placement)> {
        let fragments = self
            .spec
            .dataflow
            .fragments
            .iter()
            .zip(&self.placements)
            .enumerate();
        fragments.map(|(fragment, (plan, placement))| {
            (
                FragmentKey {
                    job: self.spec.id,
                    fragment,
                },
                plan,
                placement,
            )
        })
    }
}

/// Whether a fragment starts a stream.
pub(crate) fn is_root(fragment: &Fragment) -> bool {
    fragment.inputs.is_empty()
}

/// All jobs, and the next free executor id.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    jobs: BTreeMap<u32, Job>,
    key_groups: u16,
    next_executor: u32,
}

impl Jobs {
    pub(crate) fn new(key_groups: u16) -> Jobs {
        Jobs {
            jobs: BTreeMap::new(),
            key_groups,
            next_executor: 1,
        }
    }

    pub(crate) fn get(&self, job: u32) -> Option<&Job> {
        self.jobs.get(&job)
    }

    pub(crate) fn get_mut(&mut self, job: u32) -> Option<&mut Job> {
        self.jobs.get_mut(&job)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// The job of each executor.
    pub(crate) fn by_executor(&self) -> BTreeMap<ExecutorId, u32> {
        let of_job = |job: &Job| {
            job.executors()
                .map(|e| (e, job.spec.id))
                .collect::<Vec<_>>()
        };
        self.jobs.values().flat_map(of_job).collect()
    }

    pub(crate) fn remove(&mut self, job: u32) -> Option<Job> {
        self.jobs.remove(&job)
    }

    pub(crate) fn key_groups(&self) -> u16 {
        self.key_groups
    }

    fn next_executor(&mut self) -> ExecutorId {
        let id = ExecutorId(self.next_executor);
        self.next_executor += 1;
        id
    }

    /// New executors.
    pub(crate) fn allocate(&mut self, count: usize) -> Vec<ExecutorId> {
        (0..count).map(|_| self.next_executor()).collect()
    }

    /// Places a job that is not running yet.
    pub(crate) fn place(&mut self, spec: JobSpec) {
        let outside = self.next_executor();
        let mut placements = Vec::new();
        for fragment in &spec.dataflow.fragments {
            let count = if is_root(fragment) {
                1
            } else {
                spec.parallelism
            };
            let executors = self.allocate(count);
            let assignment = Assignment::even(&executors, self.key_groups);
            placements.push(Placement {
                executors,
                assignment,
            });
        }
        let job = Job {
            placements,
            outside,
            pinned: BTreeMap::new(),
            backlogs: BTreeMap::new(),
            operator_rows: vec![Vec::new(); spec.dataflow.fragments.len()],
            spec,
        };
        self.jobs.insert(job.spec.id, job);
    }

    /// The executors that send into an input.
    fn senders(&self, job: &Job, from: Upstream) -> Vec<ExecutorId> {
        match from {
            Upstream::Fragment(fragment) => job.placements[fragment].executors.clone(),
            Upstream::Relation(relation) => {
                self.jobs
                    .get(&relation.0)
                    .map_or_else(Vec::new, |upstream| {
                        upstream.placements[upstream.last_fragment()]
                            .executors
                            .clone()
                    })
            }
        }
    }

    /// The channels into an executor of a fragment.
    pub(crate) fn channels_into(&self, key: FragmentKey, executor: ExecutorId) -> Vec<ChannelId> {
        let job = &self.jobs[&key.job];
        let fragment = &job.spec.dataflow.fragments[key.fragment];
        if is_root(fragment) {
            return vec![ChannelId {
                from: job.outside,
                to: executor,
                input: 0,
            }];
        }
        let mut channels = Vec::new();
        for (input, upstream) in fragment.inputs.iter().enumerate() {
            for from in self.senders(job, upstream.from) {
                channels.push(ChannelId {
                    from,
                    to: executor,
                    input: input as u16,
                });
            }
        }
        channels
    }

    /// The exchanges out of a fragment, in its own job and in the jobs that read it.
    pub(crate) fn edges_from(&self, key: FragmentKey) -> Vec<EdgeSpec> {
        let last = self.jobs[&key.job].last_fragment();
        let mut edges = Vec::new();
        for job in self.jobs.values() {
            for (to, fragment, placement) in job.fragments() {
                for (input, upstream) in fragment.inputs.iter().enumerate() {
                    let sends = match upstream.from {
                        Upstream::Fragment(from) => to.job == key.job && from == key.fragment,
                        Upstream::Relation(from) => from.0 == key.job && key.fragment == last,
                    };
                    if !sends {
                        continue;
                    }
                    let routing = match &upstream.distribution {
                        Distribution::Hash(columns) => Routing::Hash(columns.clone()),
                        Distribution::Forward => Routing::Forward,
                    };
                    let owners = (0..self.key_groups)
                        .map(|key_group| placement.assignment.owner(KeyGroup(key_group)))
                        .collect();
                    let key = EdgeKey {
                        fragment: to,
                        input: input as u16,
                    };
                    let receivers = placement.executors.clone();
                    edges.push(EdgeSpec {
                        key,
                        routing,
                        owners,
                        receivers,
                    });
                }
            }
        }
        edges
    }

    /// How many key groups each executor of a job owns.
    pub(crate) fn key_groups_held(&self, job: u32) -> BTreeMap<ExecutorId, usize> {
        let placements = self.jobs[&job].placements.iter();
        let held = |placement: &Placement| {
            let owned = |&e: &ExecutorId| (e, placement.assignment.owned_by(e).len());
            placement.executors.iter().map(owned).collect::<Vec<_>>()
        };
        placements.flat_map(held).collect()
    }

    /// Whether one of the jobs is the other, or reads it.
    pub(crate) fn are_connected(&self, a: u32, b: u32) -> bool {
        let reads = |a: u32, b: u32| {
            self.jobs
                .get(&a)
                .is_some_and(|job| job.upstream_jobs().contains(&b))
        };
        a == b || reads(a, b) || reads(b, a)
    }

    /// The executors that send into a fragment.
    pub(crate) fn predecessors(&self, key: FragmentKey) -> Vec<ExecutorId> {
        let job = &self.jobs[&key.job];
        let inputs = &job.spec.dataflow.fragments[key.fragment].inputs;
        let senders: BTreeSet<_> = inputs
            .iter()
            .flat_map(|input| self.senders(job, input.from))
            .collect();
        senders.into_iter().collect()
    }

    /// Connects a placed job to the running jobs that it reads.
    pub(crate) fn connect(&self, job: u32, topology: &mut Topology) {
        for upstream in self.jobs[&job].upstream_jobs() {
            let upstream = &self.jobs[&upstream];
            let last = upstream.last_fragment();
            let key = FragmentKey {
                job: upstream.spec.id,
                fragment: last,
            };
            let edges = self.edges_from(key);
            for &sender in &upstream.placements[last].executors {
                let to_job = edges
                    .iter()
                    .filter(|edge| edge.key.fragment.job == job)
                    .cloned();
                topology.of(sender).open_edges.extend(to_job);
            }
        }
    }

    /// Stops jobs and disconnects them from those that go on.
    pub(crate) fn disconnect(&self, dropped: &BTreeSet<u32>, topology: &mut Topology) {
        for job in dropped.iter().filter_map(|job| self.jobs.get(job)) {
            for executor in job.executors() {
                topology.of(executor).stop = true;
            }
            for upstream in job.upstream_jobs().difference(dropped) {
                let upstream = &self.jobs[upstream];
                let last = upstream.last_fragment();
                let key = FragmentKey {
                    job: upstream.spec.id,
                    fragment: last,
                };
                let edges = self.edges_from(key);
                for &sender in &upstream.placements[last].executors {
                    let to_job = edges
                        .iter()
                        .filter(|edge| edge.key.fragment.job == job.spec.id);
                    topology
                        .of(sender)
                        .close_edges
                        .extend(to_job.map(|edge| edge.key));
                }
            }
        }
    }

    /// Jobs that read one of these, directly or not, and are not among them.
    pub(crate) fn dependents(&self, jobs: &BTreeSet<u32>) -> Vec<u32> {
        let mut reached = jobs.clone();
        // Ids grow with creation, so one pass in order reaches everything.
        for job in self.jobs.values() {
            if job
                .upstream_jobs()
                .iter()
                .any(|upstream| reached.contains(upstream))
            {
                reached.insert(job.spec.id);
            }
        }
        reached.difference(jobs).copied().collect()
    }

    /// Tells the executors around a fragment of receivers and senders that were added to it.
    /// The placement already holds them; `added` are not running yet.
    pub(crate) fn announce(
        &self,
        key: FragmentKey,
        added: &BTreeSet<ExecutorId>,
        new: &BTreeSet<ExecutorId>,
        topology: &mut Topology,
    ) {
        let job = &self.jobs[&key.job];
        for (input, upstream) in job.spec.dataflow.fragments[key.fragment]
            .inputs
            .iter()
            .enumerate()
        {
            let edge = EdgeKey {
                fragment: key,
                input: input as u16,
            };
            for sender in self.senders(job, upstream.from) {
                if !new.contains(&sender) {
                    let receivers = added.iter().map(|&receiver| (edge, receiver));
                    topology.of(sender).add_receivers.extend(receivers);
                }
            }
        }
        self.for_each_receiver(key, |receiver, input| {
            if !new.contains(&receiver) {
                let channels = added.iter().map(|&from| ChannelId {
                    from,
                    to: receiver,
                    input,
                });
                topology.of(receiver).open_channels.extend(channels);
            }
        });
    }

    /// Tells the executors around a fragment, and those that leave it, that they leave.
    pub(crate) fn retire(
        &self,
        key: FragmentKey,
        removed: &BTreeSet<ExecutorId>,
        gone: &BTreeSet<ExecutorId>,
        topology: &mut Topology,
    ) {
        let job = &self.jobs[&key.job];
        for (input, upstream) in job.spec.dataflow.fragments[key.fragment]
            .inputs
            .iter()
            .enumerate()
        {
            let edge = EdgeKey {
                fragment: key,
                input: input as u16,
            };
            for sender in self.senders(job, upstream.from) {
                if !gone.contains(&sender) {
                    let receivers = removed.iter().map(|&receiver| (edge, receiver));
                    topology.of(sender).remove_receivers.extend(receivers);
                }
            }
        }
        self.for_each_receiver(key, |receiver, input| {
            if !gone.contains(&receiver) {
                let channels = removed.iter().map(|&from| ChannelId {
                    from,
                    to: receiver,
                    input,
                });
                topology.of(receiver).close_channels.extend(channels);
            }
        });
        for &executor in removed {
            topology.of(executor).stop = true;
        }
    }

    fn for_each_receiver(&self, key: FragmentKey, mut visit: impl FnMut(ExecutorId, u16)) {
        for edge in self.edges_from(key) {
            let to = edge.key.fragment;
            for &receiver in &self.jobs[&to.job].placements[to.fragment].executors {
                visit(receiver, edge.key.input);
            }
        }
    }
}
