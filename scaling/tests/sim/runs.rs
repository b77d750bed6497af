//! Runs with all rules on: many seeds, and the situations section 8.8 of drrs.md names.

use std::panic::{AssertUnwindSafe, catch_unwind};

use scaling::{Mechanism, Release, Rules, Strategy};

use crate::check::Coverage;
use crate::random::Random;
use crate::scenario::{Scenario, Target};
use crate::world::run;

const SEEDS_DEFAULT: u64 = 2000;

/// The `index`-th seed.
pub(crate) fn seed(index: u64) -> u64 {
    Random::new(index).next()
}

/// How many seeds to try.
pub(crate) fn seeds() -> u64 {
    number("SEEDS").unwrap_or(SEEDS_DEFAULT)
}

/// A number in the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs a scenario; on a failure prints how to see it again, and returns why.
fn check(scenario: &Scenario, words: bool, coverage: &mut Coverage) -> Result<(), String> {
    let (seed, mut steps) = (scenario.seed, 0);
    let result = catch_unwind(AssertUnwindSafe(|| run(scenario, Rules::default(), words)));
    let result = result.map_err(|_| "panic".to_owned()).and_then(|outcome| {
        steps = outcome.steps;
        coverage.add(&outcome.coverage);
        outcome.result.map_err(|violation| violation.0)
    });
    if let Err(reason) = &result {
        say(&format!(
            "FAILED sim seed={seed:#x} step={steps}: make sim SEED={seed:#x}"
        ));
        eprintln!("{reason}\n{scenario:?}");
    }
    result.map(|_| ())
}

#[expect(
    clippy::print_stdout,
    reason = "the counts are what the command is run for"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Runs `count` seeds, their scenarios adjusted, and fails if any fails. With `SEED` set just that
/// one; then there is no coverage to speak of.
fn all_pass(count: u64, adjust: impl Fn(&mut Scenario)) -> Option<Coverage> {
    let replayed = number("SEED");
    let seeds = replayed.map_or_else(|| (0..count).map(seed).collect(), |seed| vec![seed]);
    let (mut failed, mut coverage) = (0, Coverage::default());
    for seed in &seeds {
        let mut scenario = Scenario::from_seed(*seed);
        adjust(&mut scenario);
        failed += usize::from(check(&scenario, replayed.is_some(), &mut coverage).is_err());
    }
    say(&format!("{} passed, {failed} failed", seeds.len() - failed));
    assert!(failed == 0, "{failed} of {} seeds failed", seeds.len());
    replayed.is_none().then_some(coverage)
}

/// Seeds that failed once: a wish for a key group reached an executor that was gone.
const ONCE_FAILED: [u64; 2] = [0xb39f_1503_5f32_c2e9, 0x00f0_bbd9_2d2f_78e2];

#[test]
fn seeds_that_failed_once_hold() {
    for seed in ONCE_FAILED {
        let scenario = Scenario::from_seed(seed);
        let outcome = check(&scenario, false, &mut Coverage::default());
        assert_eq!(outcome, Ok(()));
    }
}

#[test]
fn every_seed_holds() {
    let seeds = seeds();
    let Some(coverage) = all_pass(seeds, |_| {}) else {
        return;
    };
    if seeds < SEEDS_DEFAULT {
        return;
    }
    for situation in [
        "row held",
        "rows re-routed",
        "runnable part of a head at the hold limit",
        "prepare between barrier and commit",
        "migration barrier before alignment",
        "state handed over before a barrier",
        "switch with an unsent barrier",
        "ring of moves",
        "executor retired",
        "cancel",
        "switch at a barrier",
        "key group wanted",
        "crash",
        "crash during a scaling",
        "subscale done",
        "scaling finished",
    ] {
        assert!(
            coverage.count(situation) > 20,
            "hardly any run came through: {situation}"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |index| run(&Scenario::from_seed(seed(index)), Rules::default(), false).trace_hash;
    let first: Vec<_> = (0..50).map(trace).collect();
    let second: Vec<_> = (0..50).map(trace).collect();
    assert_eq!(first, second);
    let different: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(
        different.len(),
        first.len(),
        "different seeds are different runs"
    );
}

fn from_to(scenario: &mut Scenario, executors: usize, target: Target) {
    scenario.executors = executors;
    scenario.targets = vec![target];
    scenario.key_groups = 12;
}

#[test]
fn two_to_three() {
    all_pass(100, |s| from_to(s, 2, Target::LeastMove(3)));
}

#[test]
fn three_to_five() {
    all_pass(100, |s| from_to(s, 3, Target::Ranges(5)));
}

#[test]
fn from_one_and_to_one() {
    all_pass(100, |s| from_to(s, 1, Target::LeastMove(4)));
    all_pass(100, |s| from_to(s, 4, Target::LeastMove(1)));
}

#[test]
fn more_executors_than_key_groups() {
    all_pass(100, |s| {
        from_to(s, 2, Target::LeastMove(5));
        s.key_groups = 3;
    });
}

#[test]
fn rings_with_a_hold_limit_of_one_row() {
    let coverage = all_pass(200, |s| {
        from_to(s, 3, Target::Shuffle(3));
        s.hold_limit_rows = 1;
        s.migration_messages_max = 1;
        s.release = Release::Ordered;
        s.mechanism = Mechanism::default();
    });
    if let Some(coverage) = coverage {
        assert!(coverage.count("ring of moves") > 100);
        assert!(coverage.count("runnable part of a head at the hold limit") > 20);
    }
}

#[test]
fn every_correct_strategy_holds() {
    for mechanism in Strategy::ALL
        .into_iter()
        .filter(|strategy| strategy.is_correct())
        .filter_map(Strategy::mechanism)
    {
        all_pass(100, |s| {
            s.mechanism = mechanism;
            s.release = Release::Commutative;
        });
    }
}

#[test]
fn joins_read_two_inputs() {
    all_pass(100, |s| {
        from_to(s, 2, Target::Shuffle(4));
        s.inputs = 2;
    });
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    for at in (5..2000).step_by(17) {
        all_pass(3, |s| {
            from_to(s, 2, Target::Shuffle(3));
            s.targets.push(Target::LeastMove(4));
            s.crashes_at = vec![at];
        });
    }
}
