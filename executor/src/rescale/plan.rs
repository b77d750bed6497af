//! Planning a rescale: who shall own what, in which pieces, and what that may cost.
//!
//! Costs come from what was measured: bytes of state at the last checkpoint, and the speed of the
//! hand-overs so far ([`HandOverSpeed`]). The pieces of a strategy that has subscales are expected
//! ones: in truth they are cut when they are opened, as the speed then is ([`scaling::Pace`]).

use std::collections::{BTreeMap, BTreeSet};

use scaling::{
    Assignment, Division, ExecutorId, HandOverSpeed, KeyGroup, PAUSE_DEFAULT, Subscale, SubscaleId,
    divide,
};
use storage::StateSize;

use super::report::{Placing, RescaleOptions, RescaleTarget};
use crate::error::{Error, Result};
use crate::job::{Jobs, is_root};
use crate::load::LoadAverage;
use crate::message::FragmentKey;

/// What is known of the running jobs when a rescale is planned.
pub(crate) struct Measured<'a> {
    /// How much state there is, as of the last checkpoint.
    pub(crate) state_sizes: &'a BTreeMap<(ExecutorId, KeyGroup), StateSize>,
    /// How busy executors and key groups are.
    pub(crate) loads: &'a BTreeMap<ExecutorId, LoadAverage>,
    /// How fast state moves.
    pub(crate) speed: HandOverSpeed,
}

impl Measured<'_> {
    /// Bytes of a key group's state that are handed over: those in memory.
    pub(crate) fn state_bytes(&self, owner: ExecutorId, key_group: KeyGroup) -> u64 {
        let size = self.state_sizes.get(&(owner, key_group));
        size.map_or(0, |size| size.bytes)
    }
}

/// How the subscales of a job with this speed are expected to be.
pub(crate) fn expected_division(options: &RescaleOptions, speed: &HandOverSpeed) -> Division {
    speed.division(options.max_pause.unwrap_or(PAUSE_DEFAULT))
}

/// One fragment's part of a rescale.
#[derive(Debug)]
pub(crate) struct FragmentPlan {
    pub(crate) key: FragmentKey,
    pub(crate) added: Vec<ExecutorId>,
    pub(crate) removed: BTreeSet<ExecutorId>,
    /// With the bytes of their state.
    pub(crate) subscales: Vec<(Subscale, u64)>,
}

/// Plans the fragments of a job that have inputs, in pieces of this size. New executors are placed, without key groups;
/// those that go stay placed until the rescale closes.
///
/// # Errors
/// [`Error::UnknownExecutor`], [`Error::UnknownKeyGroup`].
pub(crate) fn plan(
    job: u32,
    options: &RescaleOptions,
    division: &Division,
    jobs: &mut Jobs,
    measured: &Measured<'_>,
    next_subscale: &mut u64,
) -> Result<Vec<FragmentPlan>> {
    let placed = jobs.get(job).ok_or(Error::UnknownJob { job })?;
    let scaled: Vec<_> = placed
        .fragments()
        .filter(|(_, fragment, _)| !is_root(fragment))
        .map(|(key, _, placement)| {
            (
                key,
                placement.executors.clone(),
                placement.assignment.clone(),
            )
        })
        .collect();
    check_target(&options.target, &scaled)?;
    let mut plans = Vec::new();
    for (key, mut executors, assignment) in scaled {
        let (mut added, mut removed) = (Vec::new(), BTreeSet::new());
        let target = match options.target {
            RescaleTarget::Parallelism(parallelism) => {
                added = jobs.allocate(parallelism.saturating_sub(executors.len()));
                executors.extend(&added);
                removed = executors[parallelism..].iter().copied().collect();
                let wanted = &executors[..parallelism];
                match options.placing {
                    Placing::LeastMove => assignment.least_move(wanted),
                    Placing::Ranges => Assignment::ranges(wanted, jobs.key_groups()),
                }
            }
            RescaleTarget::MoveKeyGroup {
                key_group,
                executor,
            } => {
                let mut target = assignment.clone();
                if executors.contains(&executor) {
                    target.set_owner(key_group, executor);
                }
                target
            }
            RescaleTarget::Rebalance => {
                assignment.rebalance(&executors, &weights(&assignment, measured))
            }
        };
        let bytes = |key_group: KeyGroup| {
            let owner = assignment.owner(key_group);
            measured.state_bytes(owner, key_group)
        };
        let moves = assignment.moves(&target);
        let divided = divide(&moves, &bytes, division, SubscaleId(*next_subscale));
        *next_subscale += divided.len() as u64;
        let with_bytes = |subscale: Subscale| {
            let bytes = subscale.key_groups.iter().map(bytes).sum();
            (subscale, bytes)
        };
        let placement = &mut jobs.get_mut(job).expect("just found").placements[key.fragment];
        placement.executors = executors;
        plans.push(FragmentPlan {
            key,
            added,
            removed,
            subscales: divided.into_iter().map(with_bytes).collect(),
        });
    }
    Ok(plans)
}

fn check_target(
    target: &RescaleTarget,
    scaled: &[(FragmentKey, Vec<ExecutorId>, Assignment)],
) -> Result<()> {
    let RescaleTarget::MoveKeyGroup {
        key_group,
        executor,
    } = *target
    else {
        return Ok(());
    };
    if !scaled
        .iter()
        .any(|(_, executors, _)| executors.contains(&executor))
    {
        return Err(Error::UnknownExecutor { executor });
    }
    let key_groups = scaled
        .iter()
        .map(|(_, _, assignment)| assignment.owners.len());
    if key_groups
        .max()
        .is_none_or(|count| key_group.index() >= count)
    {
        return Err(Error::UnknownKeyGroup { key_group });
    }
    Ok(())
}

/// What each key group weighs: its busy time if any is known, else its bytes.
fn weights(assignment: &Assignment, measured: &Measured<'_>) -> Vec<f64> {
    let of = |weigh: &dyn Fn(ExecutorId, KeyGroup) -> f64| {
        let weights = assignment
            .iter()
            .map(|(key_group, owner)| weigh(owner, key_group));
        weights.collect::<Vec<_>>()
    };
    let busy = of(&|owner, key_group| {
        let load = measured.loads.get(&owner);
        load.map_or(0.0, |load| load.key_group(key_group).busy)
    });
    if busy.iter().sum::<f64>() > 1e-4 {
        return busy;
    }
    of(&|owner, key_group| 1.0 + measured.state_bytes(owner, key_group) as f64)
}
