//! What a run is about: sizes, limits, scalings and faults, all drawn from the seed.

use scaling::{Early, ExecutorId, Mechanism, Release, Signal, Strategy};

use crate::random::Random;

/// Where a scaling goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// So many executors, as few moves as possible.
    LeastMove(usize),
    /// So many executors, contiguous ranges.
    Ranges(usize),
    /// Every key group to any of so many executors: rings of moves.
    Shuffle(usize),
}

/// One run's settings.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) predecessors: usize,
    /// One that makes no rows, only barriers.
    pub(crate) idle_predecessor: Option<ExecutorId>,
    pub(crate) inputs: u16,
    pub(crate) key_groups: u16,
    pub(crate) rows_per_predecessor: usize,
    pub(crate) batch_rows_max: usize,
    pub(crate) executors: usize,
    pub(crate) targets: Vec<Target>,
    pub(crate) mechanism: Mechanism,
    pub(crate) release: Release,
    pub(crate) hold_limit_rows: u64,
    pub(crate) channel_messages_max: usize,
    pub(crate) migration_messages_max: usize,
    pub(crate) unsent_messages_max: usize,
    pub(crate) subscale_key_groups_max: usize,
    pub(crate) open_subscales_max: usize,
    pub(crate) epochs: usize,
    pub(crate) epochs_in_flight_max: u64,
    pub(crate) cancel: bool,
    pub(crate) crashes_at: Vec<u64>,
}

impl Scenario {
    pub(crate) fn from_seed(seed: u64) -> Scenario {
        let r = &mut Random::new(seed);
        let targets = (0..r.pick(&[1, 1, 1, 2, 2, 3]))
            .map(|_| target(r))
            .collect();
        let crashes = r.pick(&[0, 0, 0, 1, 1, 2]);
        let mechanism = mechanism(r);
        // Stopping whole executors for a confirm barrier deadlocks in rings ([`scaling::schedule`]):
        // who stops needs the state alone.
        let stops_for_confirm =
            mechanism.early == Early::Stop && mechanism.signal == Signal::Priority;
        let releases: &[_] = if stops_for_confirm {
            &[Release::Commutative]
        } else {
            &[Release::Ordered, Release::Commutative]
        };
        Scenario {
            seed,
            predecessors: r.between(1, 3),
            idle_predecessor: r.chance(15).then_some(ExecutorId(101)),
            inputs: r.pick(&[1, 1, 2]),
            key_groups: u16::try_from(r.between(1, 12)).unwrap(),
            rows_per_predecessor: r.between(20, 300),
            batch_rows_max: r.between(1, 5),
            executors: r.between(1, 4),
            targets,
            mechanism,
            release: r.pick(releases),
            hold_limit_rows: r.pick(&[1, 1, 3, 1000]),
            channel_messages_max: r.between(1, 4),
            migration_messages_max: r.between(1, 4),
            unsent_messages_max: r.between(2, 30),
            subscale_key_groups_max: r.between(1, 4),
            open_subscales_max: r.between(1, 3),
            epochs: r.between(2, 12),
            epochs_in_flight_max: r.between(1, 4) as u64,
            cancel: r.chance(15),
            crashes_at: (0..crashes).map(|_| r.between(10, 3000) as u64).collect(),
        }
    }
}

/// DRRS in every other run, else one of the correct strategies.
fn mechanism(r: &mut Random) -> Mechanism {
    if r.chance(50) {
        return Mechanism::default();
    }
    let correct = Strategy::ALL.into_iter().filter(|s| s.is_correct());
    let mechanisms: Vec<_> = correct.filter_map(Strategy::mechanism).collect();
    r.pick(&mechanisms)
}

fn target(r: &mut Random) -> Target {
    let executors = r.between(1, 5);
    r.pick(&[
        Target::LeastMove(executors),
        Target::LeastMove(executors),
        Target::Ranges(executors),
        Target::Shuffle(executors),
        Target::Shuffle(executors),
    ])
}
