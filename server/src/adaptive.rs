//! `SET PARALLELISM = ADAPTIVE`: once a second, what is measured becomes a rescale where needed.
//!
//! ```text
//!   observation, catalog ─► Autoscaler::tick ─► decisions ─► rescale ─► outcome, in tide.scaling_decisions
//!                               │ one AdaptivePolicy a relation
//! ```
//!
//! What to do is decided by [`scaling::AdaptivePolicy`]; here its inputs are gathered. An executor
//! does not say which reader it waits for, so the predecessors of a fragment are taken to be all
//! fragments before it in its job, and everything that the job reads.
//! A statement that moves key groups meanwhile comes first: nothing is decided until it is over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use executor::{ExecutorStatus, Observation, RescaleOptions};
use scaling::{AdaptiveBounds, AdaptivePolicy, Decision, FragmentDemand};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::catalog::{Adaptivity, Catalog, Entry};
use crate::rescale::rescale;
use crate::server::Shared;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Decisions that are remembered.
const DECISIONS_MAX: usize = 1000;

/// Who asks for the rescales, in `tide.rescales`.
const STARTED_BY: &str = "adaptive";

/// What became of a decision that is being carried out.
const RUNNING: &str = "running";

/// A decision, and what became of it.
#[derive(Debug, Clone)]
pub struct ScalingDecision {
    /// When it was made.
    pub at: SystemTime,
    /// About which relation.
    pub relation: String,
    /// What was decided.
    pub decision: Decision,
    /// `running`, then the state in which its rescale ended, or the error.
    pub outcome: String,
}

/// The last decisions of all adaptive relations.
#[derive(Debug, Default)]
pub struct Decisions {
    made: Mutex<VecDeque<(u64, ScalingDecision)>>,
}

impl Decisions {
    /// All that are remembered, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<ScalingDecision> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().map(|(_, decision)| decision.clone()).collect()
    }

    /// Adds one; returns its number.
    fn add(&self, decision: ScalingDecision) -> u64 {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let number = made.back().map_or(0, |(last, _)| last + 1);
        if made.len() == DECISIONS_MAX {
            made.pop_front();
        }
        made.push_back((number, decision));
        number
    }

    fn end(&self, number: u64, outcome: String) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, decision)) = made.iter_mut().find(|(other, _)| *other == number) {
            decision.outcome = outcome;
        }
    }
}

/// Looks at the adaptive relations until `stop` turns true. `alive` is dropped with it.
pub async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>, _alive: mpsc::Sender<()>) {
    let mut autoscalers = BTreeMap::<u32, Autoscaler>::new();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let databases = shared.catalog.databases();
        autoscalers.retain(|database, _| databases.contains(database));
        let is_adaptive = |shared: &Arc<Shared>| {
            let catalog = shared.catalog.read();
            catalog.entries().any(|entry| entry.adaptivity.is_some())
        };
        let of_databases = databases
            .iter()
            .map(|database| shared.of_database(*database));
        let adaptive: Vec<Arc<Shared>> = of_databases.filter(is_adaptive).collect();
        if adaptive.is_empty() {
            continue;
        }
        // An engine that has stopped is about to be shut down.
        let Ok(observation) = shared.engine.observe().await else {
            continue;
        };
        for shared in adaptive {
            let catalog = shared.catalog.read();
            let autoscaler = autoscalers.entry(catalog.database().id).or_default();
            for (relation, decision) in autoscaler.tick(started.elapsed(), &catalog, &observation) {
                carry_out(&shared, &relation, decision);
            }
        }
    }
}

/// Starts the rescale of a decision, and notes how it ends.
fn carry_out(shared: &Arc<Shared>, relation: &Entry, decision: Decision) {
    tracing::info!(relation = relation.name, "{decision}");
    let options = RescaleOptions {
        by: STARTED_BY.to_owned(),
        ..RescaleOptions::to_parallelism(decision.to)
    };
    let number = shared.decisions.add(ScalingDecision {
        at: SystemTime::now(),
        relation: relation.name.clone(),
        decision,
        outcome: RUNNING.to_owned(),
    });
    let (shared, id) = (Arc::clone(shared), relation.id);
    tokio::spawn(async move {
        // Nobody waits for its progress: tide.rescales shows it.
        let (progress, _) = mpsc::unbounded_channel();
        let outcome = match rescale(Arc::clone(&shared), id, options, progress).await {
            Ok(summary) => summary.state.name().to_owned(),
            Err(error) => error.to_string(),
        };
        shared.decisions.end(number, outcome);
    });
}

/// The policies of the adaptive relations.
#[derive(Debug, Default)]
struct Autoscaler {
    watched: BTreeMap<u32, Watched>,
}

#[derive(Debug)]
struct Watched {
    adaptivity: Adaptivity,
    policy: AdaptivePolicy,
    /// The last rescale that the policy knows of.
    rescaled: Option<u64>,
}

impl Autoscaler {
    /// Which relations shall have another parallelism. `now` is the time since any fixed moment;
    /// calls are about a second apart.
    fn tick(
        &mut self,
        now: Duration,
        catalog: &Catalog,
        observation: &Observation,
    ) -> Vec<(Arc<Entry>, Decision)> {
        let adaptive = |id: &u32| catalog.by_id(*id).is_some_and(|e| e.adaptivity.is_some());
        self.watched.retain(|id, _| adaptive(id));
        let mut decided = Vec::new();
        for entry in catalog.entries() {
            let Some(adaptivity) = entry.adaptivity else {
                continue;
            };
            let watched = self.watched(entry.id, adaptivity);
            if let Some(decision) = watched.decide(now, entry, observation) {
                decided.push((Arc::clone(entry), decision));
            }
        }
        decided
    }

    /// Other bounds are another policy.
    fn watched(&mut self, id: u32, adaptivity: Adaptivity) -> &mut Watched {
        let new = Watched {
            adaptivity,
            policy: AdaptivePolicy::new(AdaptiveBounds {
                min: adaptivity.min,
                max: adaptivity.max,
                target_utilization: adaptivity.target_utilization,
            }),
            rescaled: None,
        };
        let known = self.watched.remove(&id);
        let kept = known.filter(|known| known.adaptivity == adaptivity);
        self.watched.entry(id).or_insert(kept.unwrap_or(new))
    }
}

impl Watched {
    fn decide(
        &mut self,
        now: Duration,
        entry: &Entry,
        observation: &Observation,
    ) -> Option<Decision> {
        let rescales = observation.rescales.iter();
        let mut of_relation = rescales.filter(|rescale| rescale.job == entry.id);
        if of_relation.clone().any(|rescale| !rescale.state.is_over()) {
            return None;
        }
        let last = of_relation.by_ref().map(|rescale| rescale.id).max();
        if last > self.rescaled {
            self.rescaled = last;
            self.policy.rescaled(now);
        }
        let (parallelism, demands) = measured(entry, &observation.executors);
        if demands.is_empty() {
            return None; // It has failed, and does not run now.
        }
        self.policy.decide(now, parallelism, &demands)
    }
}

/// The parallelism of a relation, and the demand on each fragment that can be scaled.
fn measured(entry: &Entry, executors: &[ExecutorStatus]) -> (usize, Vec<FragmentDemand>) {
    let mut fragments: BTreeMap<usize, (usize, f64)> = BTreeMap::new();
    for status in executors {
        if status.job == entry.id && !status.is_root {
            let (count, busy) = fragments.entry(status.fragment).or_default();
            *count += 1;
            *busy += status.busy;
        }
    }
    let parallelism = fragments.values().map(|(count, _)| *count).max();
    let demand = |(fragment, (_, busy)): (&usize, &(usize, f64))| FragmentDemand {
        busy: *busy,
        backpressured: backpressure_on(entry, *fragment, executors),
    };
    (
        parallelism.unwrap_or(1),
        fragments.iter().map(demand).collect(),
    )
}

/// The largest share of the time that a predecessor of a fragment waited for room.
fn backpressure_on(entry: &Entry, fragment: usize, executors: &[ExecutorStatus]) -> f64 {
    let is_before = |status: &&ExecutorStatus| {
        if status.job == entry.id {
            status.fragment < fragment
        } else {
            entry.dependencies.contains(&status.job)
        }
    };
    executors
        .iter()
        .filter(is_before)
        .map(|status| status.backpressured)
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use executor::{MoveFigures, RescaleState, RescaleSummary};
    use scaling::{ExecutorId, Strategy};

    use super::*;
    use crate::catalog::SharedCatalog;
    use crate::catalog::tests::entry;

    const TABLE: u32 = 1;
    const VIEW: u32 = 2;

    /// A view of two fragments that reads a table.
    fn catalog(min: usize, max: usize) -> Arc<Catalog> {
        let shared = SharedCatalog::default();
        shared.put(entry(TABLE, "t", &[]));
        shared.put(entry(VIEW, "v", &[TABLE]));
        let adaptivity = Adaptivity {
            min,
            max,
            target_utilization: 0.7,
        };
        shared.set_adaptivity(VIEW, Some(adaptivity));
        shared.read()
    }

    fn status(job: u32, fragment: usize, id: u32, busy: f64, backpressured: f64) -> ExecutorStatus {
        ExecutorStatus {
            job,
            fragment,
            is_root: job == TABLE,
            executor: ExecutorId(id),
            key_groups: 1,
            busy,
            backpressured,
            suspended: 0.0,
            row_rate: 0.0,
        }
    }

    /// Two executors a fragment; the second fragment is the busier one.
    fn observation(busy: f64, backpressured: f64) -> Observation {
        let executors = vec![
            status(TABLE, 0, 1, 0.1, backpressured),
            status(VIEW, 0, 2, 0.1, 0.0),
            status(VIEW, 0, 3, 0.1, 0.0),
            status(VIEW, 1, 4, busy, 0.9),
            status(VIEW, 1, 5, busy, 0.9),
        ];
        Observation {
            state_bytes: 0,
            queued_bytes: 0,
            barriers: Vec::new(),
            lateness: Vec::new(),
            executors,
            key_groups: Vec::new(),
            rescales: Vec::new(),
            subscales: Vec::new(),
        }
    }

    fn rescaled(id: u64, state: RescaleState) -> RescaleSummary {
        RescaleSummary {
            id,
            job: VIEW,
            by: String::new(),
            strategy: Strategy::Drrs,
            asked: SystemTime::UNIX_EPOCH,
            state,
            from: 1,
            to: 2,
            subscales: 0,
            key_groups: 0,
            moved_after: None,
            duration: None,
            moved: MoveFigures::default(),
            barrier_max: Duration::ZERO,
            pause_max: Duration::ZERO,
            propagation: Duration::ZERO,
            dependency: Duration::ZERO,
        }
    }

    /// What the ticks of these seconds decide.
    fn decided(
        autoscaler: &mut Autoscaler,
        seconds: std::ops::Range<u64>,
        catalog: &Catalog,
        observation: &Observation,
    ) -> Vec<(u64, usize)> {
        let mut decided = Vec::new();
        for second in seconds {
            let decisions = autoscaler.tick(Duration::from_secs(second), catalog, observation);
            decided.extend(decisions.iter().map(|(_, decision)| (second, decision.to)));
        }
        decided
    }

    #[test]
    fn demand_counts_what_predecessors_hold_back() {
        let mut autoscaler = Autoscaler::default();
        let (catalog, calm) = (catalog(1, 16), observation(0.6, 0.0));
        assert_eq!(decided(&mut autoscaler, 0..5, &catalog, &calm), []);
        // The same work done, and as much again waits in the table: 2.4 executors' worth. What the
        // last fragment itself waits for is the readers' matter.
        let held_back = observation(0.6, 0.5);
        assert_eq!(
            decided(&mut autoscaler, 5..8, &catalog, &held_back),
            [(7, 4)]
        );
    }

    #[test]
    fn bounds_hold_and_new_bounds_start_anew() {
        let mut autoscaler = Autoscaler::default();
        let busy = observation(0.95, 0.9);
        assert_eq!(
            decided(&mut autoscaler, 0..3, &catalog(1, 3), &busy),
            [(2, 3)]
        );
        assert_eq!(decided(&mut autoscaler, 3..5, &catalog(1, 5), &busy), []);
        assert_eq!(
            decided(&mut autoscaler, 5..6, &catalog(1, 5), &busy),
            [(5, 5)]
        );
    }

    #[test]
    fn nothing_is_decided_during_a_rescale_and_shortly_after() {
        let mut autoscaler = Autoscaler::default();
        let catalog = catalog(1, 4);
        let mut busy = observation(0.95, 0.9);
        busy.rescales.push(rescaled(7, RescaleState::Moving));
        assert_eq!(decided(&mut autoscaler, 0..5, &catalog, &busy), []);
        busy.rescales[0].state = RescaleState::Cancelled;
        assert_eq!(decided(&mut autoscaler, 5..16, &catalog, &busy), [(15, 4)]);
    }

    #[test]
    fn decisions_are_remembered_up_to_a_bound() {
        let decisions = Decisions::default();
        let decision = ScalingDecision {
            at: SystemTime::UNIX_EPOCH,
            relation: "v".into(),
            decision: Decision {
                from: 1,
                to: 2,
                needed: 2,
                demand: 1.2,
                utilization: 0.9,
            },
            outcome: RUNNING.into(),
        };
        let first = decisions.add(decision.clone());
        for _ in 0..DECISIONS_MAX {
            decisions.add(decision.clone());
        }
        decisions.end(first, "completed".into());
        decisions.end(first + 1, "cancelled".into());
        let all = decisions.all();
        assert_eq!(all.len(), DECISIONS_MAX);
        assert_eq!(all[0].outcome, "cancelled");
        assert!(all[1..].iter().all(|made| made.outcome == RUNNING));
    }
}
