//! The checker bites: with one rule switched off, some seed fails, and in the way the rule is there
//! to prevent.

use scaling::{Mechanism, Release, Rules};

use crate::runs::seed;
use crate::scenario::{Scenario, Target};
use crate::world::run;

const SEEDS_MAX: u64 = 1000;

/// Runs seeds without a rule until one breaks `invariant`.
fn caught(switch_off: impl Fn(&mut Rules), invariant: &str) {
    caught_in(switch_off, |_| {}, invariant);
}

fn caught_in(switch_off: impl Fn(&mut Rules), adjust: impl Fn(&mut Scenario), invariant: &str) {
    let mut rules = Rules::default();
    switch_off(&mut rules);
    assert_ne!(rules, Rules::default());
    let caught = (0..SEEDS_MAX).any(|index| {
        let mut scenario = Scenario::from_seed(seed(index));
        adjust(&mut scenario);
        run(&scenario, rules, false)
            .result
            .is_err_and(|violation| violation.0.contains(invariant))
    });
    assert!(caught, "no seed noticed that {rules:?} breaks {invariant}");
}

fn ordered_ring(scenario: &mut Scenario) {
    scenario.executors = 3;
    scenario.targets = vec![Target::Shuffle(3)];
    scenario.key_groups = 12;
    scenario.hold_limit_rows = 1;
    scenario.release = Release::Ordered;
    scenario.mechanism = Mechanism::default();
}

#[test]
fn confirm_behind_barriers() {
    caught(|r| r.confirm_behind_barriers = false, "I9");
}

#[test]
fn prepare_before_switch() {
    caught(
        |r| r.prepare_before_switch = false,
        "does not lead to its owner",
    );
}

#[test]
fn new_owner_prepared_first() {
    caught(
        |r| r.new_owner_prepared_first = false,
        "not in the state needed for state",
    );
}

#[test]
fn regular_channels_align() {
    caught(|r| r.regular_channels_align = false, "I9");
}

#[test]
fn migration_channels_align() {
    caught(|r| r.migration_channels_align = false, "I8");
}

#[test]
fn migration_barriers() {
    caught(|r| r.migration_barriers = false, "I8");
}

#[test]
fn hand_over_before_barrier() {
    caught(|r| r.hand_over_before_barrier = false, "I9");
}

#[test]
fn no_hand_over_before_commit() {
    caught(|r| r.no_hand_over_before_commit = false, "I7");
}

#[test]
fn row_waits_for_state() {
    caught(|r| r.row_waits_for_state = false, "I2");
}

#[test]
fn row_waits_for_confirm() {
    caught(|r| r.row_waits_for_confirm = false, "I3");
}

#[test]
fn close_after_confirms() {
    caught(
        |r| r.close_after_confirms = false,
        "does not lead to its owner",
    );
}

#[test]
fn done_after_confirms() {
    caught(|r| r.done_after_confirms = false, "I12");
}

#[test]
fn pause_channel_only() {
    caught_in(|r| r.pause_channel_only = false, ordered_ring, "deadlock");
}
