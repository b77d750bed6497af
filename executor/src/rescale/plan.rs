//! Planning a rescale: who shall own what, in which pieces, and what that may cost.
//!
//! Costs come from what was measured: bytes of state at the last checkpoint, and the speed of the
//! hand-overs so far ([`HandOverSpeed`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scaling::{
    Assignment, Division, ExecutorId, KeyGroup, Mechanism, OPEN_SUBSCALES_MAX, Subscale,
    SubscaleId, divide,
};

use super::report::{RescaleOptions, RescaleTarget};
use crate::error::{Error, Result};
use crate::executor::HandOver;
use crate::job::{Jobs, is_root};
use crate::load::LoadAverage;
use crate::message::FragmentKey;

/// How a fragment's moves are divided unless the user gives a `max_pause`. A barrier waits for
/// what is open, so a subscale stays small: copying 4 MiB in memory takes a few milliseconds.
const DIVISION: Division = Division {
    bytes_max: 4 << 20,
    key_groups_max: 16,
};

/// What is known of the running jobs when a rescale is planned.
pub(crate) struct Measured<'a> {
    /// Bytes of state, as of the last checkpoint.
    pub(crate) state_bytes: &'a BTreeMap<(ExecutorId, KeyGroup), u64>,
    /// How busy executors and key groups are.
    pub(crate) loads: &'a BTreeMap<ExecutorId, LoadAverage>,
    /// How fast state moves.
    pub(crate) speed: HandOverSpeed,
}

/// How fast hand-overs are: a fixed part and bytes a second, both averages of those seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandOverSpeed {
    fixed: f64,
    bytes_per_second: f64,
}

impl Default for HandOverSpeed {
    /// Before anything was measured: 50 µs, and 250 MB/s.
    fn default() -> HandOverSpeed {
        HandOverSpeed {
            fixed: 50e-6,
            bytes_per_second: 250e6,
        }
    }
}

impl HandOverSpeed {
    /// Below this a hand-over tells of the fixed part, above it of the speed.
    const LARGE: u64 = 64 << 10;
    /// The weight of a new measurement.
    const NEW: f64 = 0.1;

    /// Learns from a hand-over.
    pub(crate) fn learn(&mut self, seen: &HandOver) {
        let seconds = (seen.installed - seen.sent).as_secs_f64();
        if seen.bytes < Self::LARGE {
            self.fixed += Self::NEW * (seconds - self.fixed);
        } else {
            let speed = seen.bytes as f64 / (seconds - self.fixed).max(1e-6);
            self.bytes_per_second += Self::NEW * (speed - self.bytes_per_second);
        }
    }

    /// How long so many key groups with so many bytes take.
    pub(crate) fn time(&self, key_groups: usize, bytes: u64) -> Duration {
        let seconds = self.fixed * key_groups as f64 + bytes as f64 / self.bytes_per_second;
        Duration::from_secs_f64(seconds.max(0.0))
    }

    /// What one subscale may be so that all that is open at an executor moves within `pause`.
    fn division(&self, pause: Duration) -> Division {
        let seconds = pause.as_secs_f64() / OPEN_SUBSCALES_MAX as f64;
        let key_groups = seconds / 2.0 / self.fixed.max(1e-9);
        Division {
            bytes_max: (seconds / 2.0 * self.bytes_per_second) as u64,
            key_groups_max: (key_groups as usize).clamp(1, DIVISION.key_groups_max),
        }
    }
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

/// Plans the fragments of a job that have inputs. New executors are placed, without key groups;
/// those that go stay placed until the rescale closes.
///
/// # Errors
/// [`Error::UnknownExecutor`], [`Error::UnknownKeyGroup`].
pub(crate) fn plan(
    job: u32,
    options: &RescaleOptions,
    mechanism: Mechanism,
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
    let budget = options
        .max_pause
        .map_or(DIVISION, |pause| measured.speed.division(pause));
    let division = mechanism.division(budget);
    let mut plans = Vec::new();
    for (key, mut executors, assignment) in scaled {
        let (mut added, mut removed) = (Vec::new(), BTreeSet::new());
        let target = match options.target {
            RescaleTarget::Parallelism(parallelism) => {
                added = jobs.allocate(parallelism.saturating_sub(executors.len()));
                executors.extend(&added);
                removed = executors[parallelism..].iter().copied().collect();
                assignment.least_move(&executors[..parallelism])
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
            let known = measured.state_bytes.get(&(owner, key_group));
            known.copied().unwrap_or(0)
        };
        let moves = assignment.moves(&target);
        let divided = divide(&moves, &bytes, &division, SubscaleId(*next_subscale));
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
    of(&|owner, key_group| {
        let bytes = measured.state_bytes.get(&(owner, key_group));
        1.0 + bytes.copied().unwrap_or(0) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    #[test]
    fn speed_is_learnt_from_hand_overs() {
        let mut speed = HandOverSpeed::default();
        let sent = world::now();
        let seen = |bytes: u64, micros: u64| HandOver {
            bytes,
            sent,
            installed: sent + Duration::from_micros(micros),
        };
        for _ in 0..200 {
            speed.learn(&seen(100, 10));
            speed.learn(&seen(1 << 20, 10 + 1000));
        }
        let expected = speed.time(10, 10 << 20).as_secs_f64();
        assert!((expected - 0.0101).abs() < 0.001, "{expected}");
        let division = speed.division(Duration::from_millis(40));
        assert!(
            (9 << 20..12 << 20).contains(&division.bytes_max),
            "{division:?}"
        );
    }
}
