//! Random small set-ups of the simulator in virtual time, `scaling::simulator`: every strategy,
//! skew, backlog, loss on the control path, crashes, several scalings.
//!
//! The runs of `runs.rs` take any step at any moment; here time decides, so that links, queues and
//! processors stand in relations that occur.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use scaling::simulator::{Plan, Report, Scaling, Setup, run};
use scaling::{HoldLimit, Release, Rules, Strategy};

use crate::random::Random;
use crate::runs::{number, say, seed, seeds};

fn millis(r: &mut Random, low: usize, high: usize) -> Duration {
    Duration::from_millis(r.between(low, high) as u64)
}

/// What the seed says.
fn setup(seed: u64) -> Setup {
    let r = &mut Random::new(seed ^ 0x71_3ed);
    let executors = r.between(1, 4);
    let service = Duration::from_micros(r.pick(&[100, 500, 1_000, 2_000]));
    // Between idle and beyond what the executors can do.
    let capacity = executors as f64 / service.as_secs_f64();
    let load = r.pick(&[0.2, 0.7, 0.9, 1.3]);
    let rows = r.between(100, 600) as f64;
    let rows_per_second = ((capacity * load) as u64).max(50);
    let input_ends = Duration::from_secs_f64(rows / rows_per_second as f64);
    let part = |percent: usize| input_ends.mul_f64(percent as f64 / 100.0);
    let mut times: Vec<_> = (0..r.pick(&[1, 1, 1, 2, 3]))
        .map(|_| part(r.between(0, 110)))
        .collect();
    times.sort();
    let scalings = times.iter().map(|at| scaling(r, *at)).collect();
    let mut crashes: Vec<_> = (0..r.pick(&[0, 0, 0, 1, 1, 2]))
        .map(|_| part(r.between(0, 130)))
        .collect();
    crashes.sort();
    let strategy = r.pick(&Strategy::ALL);
    let strategy = if r.chance(40) {
        Strategy::Drrs
    } else {
        strategy
    };
    Setup {
        seed,
        key_groups: u16::try_from(r.pick(&[1, 3, 8, 16])).unwrap(),
        predecessors: r.between(1, 4),
        executors,
        release: release(r, strategy),
        rows_per_second,
        zipf_exponent: r.pick(&[0.0, 0.0, 1.0, 1.5]),
        backlog: r.pick(&[Duration::ZERO, Duration::ZERO, part(50)]),
        input_ends,
        portion: millis(r, 1, 20),
        service,
        message_rows_max: r.pick(&[1, 4, 16]),
        hold_limit: HoldLimit {
            rows: r.pick(&[1, 5, 200]),
            bytes: u64::MAX,
        },
        state_bytes: r.pick(&[0, 100_000, 10_000_000]),
        state_zipf_exponent: r.pick(&[0.0, 1.0]),
        state_bytes_per_row: r.pick(&[0, 1_000]),
        link_bytes_per_second: r.pick(&[1_000_000, 10_000_000, 1_000_000_000]),
        link_delay: Duration::from_micros(r.pick(&[0, 100, 5_000])),
        channel_rows_max: r.pick(&[1, 8, 64]),
        unsent_rows_max: r.pick(&[1, 20, 500]),
        migration_messages_max: r.between(1, 4),
        rerouted_rows_max: r.pick(&[1, 20, 500]),
        control_delay: Duration::from_micros(r.pick(&[0, 200, 5_000])),
        control_loss: r.pick(&[0.0, 0.0, 0.1, 0.4]),
        control_retry: millis(r, 1, 20),
        barrier_interval: millis(r, 5, 100),
        barriers_under_way_max: r.between(1, 4) as u64,
        strategy,
        scalings,
        max_pause: millis(r, 0, 50),
        subscale_key_groups_max: r.between(1, 4),
        open_subscales_max: r.between(1, 3),
        crashes,
        restart: millis(r, 0, 50),
        ..Setup::small()
    }
}

fn scaling(r: &mut Random, at: Duration) -> Scaling {
    Scaling {
        at,
        executors: r.between(1, 5),
        plan: r.pick(&[Plan::LeastMove, Plan::Ranges, Plan::Shuffle]),
    }
}

/// Stopping whole executors for a confirm barrier deadlocks in rings: who stops needs the state
/// alone.
fn release(r: &mut Random, strategy: Strategy) -> Release {
    match strategy {
        Strategy::DrrsRerouting | Strategy::Unbound => Release::Commutative,
        _ => r.pick(&[Release::Ordered, Release::Commutative]),
    }
}

/// Runs a set-up; on a failure prints how to see it again.
fn check(setup: &Setup) -> Option<Report> {
    let result = catch_unwind(AssertUnwindSafe(|| run(setup)));
    let reason = match result {
        Ok(Ok(report)) => return Some(report),
        Ok(Err(violation)) => violation.to_string(),
        Err(_) => "panic".to_owned(),
    };
    let seed = setup.seed;
    say(&format!(
        "FAILED sim in virtual time, seed={seed:#x}: make sim SEED={seed:#x}"
    ));
    eprintln!("{reason}\n{setup:#?}");
    None
}

#[test]
fn random_set_ups_hold() {
    let seeds = number("SEED").map_or_else(|| (0..seeds()).map(seed).collect(), |s| vec![s]);
    let (mut failed, mut events) = (0, 0);
    for seed in &seeds {
        match check(&setup(*seed)) {
            Some(report) => events += report.events,
            None => failed += 1,
        }
    }
    say(&format!(
        "sim in virtual time: {} seeds, {events} events, {failed} failed",
        seeds.len()
    ));
    assert_eq!(failed, 0);
}

#[test]
fn the_same_set_up_is_the_same_run() {
    let trace = |index| {
        let report = run(&setup(seed(index))).unwrap();
        (report.trace_hash, report)
    };
    let first: Vec<_> = (0..50).map(trace).collect();
    assert_eq!(first, (0..50).map(trace).collect::<Vec<_>>());
    let different: std::collections::BTreeSet<_> = first.iter().map(|(hash, _)| hash).collect();
    assert_eq!(different.len(), first.len());
}

/// What the random set-ups are there for does happen in them.
#[test]
fn random_set_ups_come_through_what_is_hard() {
    if number("SEED").is_some() {
        return;
    }
    let (mut rerouted, mut held, mut taken_back, mut lost, mut suspended) = (0, 0, 0, 0, 0);
    for report in (0..500).filter_map(|index| check(&setup(seed(index)))) {
        for scaling in &report.scalings {
            rerouted += usize::from(scaling.rows_rerouted > 0);
            held += usize::from(scaling.rows_held > 0);
            taken_back += usize::from(scaling.rows_taken_back > 0);
            lost += usize::from(scaling.closed_after.is_none());
            suspended += usize::from(!scaling.suspension.is_zero());
        }
    }
    let counts = [rerouted, held, taken_back, lost, suspended];
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
}

/// With one rule switched off some seed breaks the invariant it is there for.
#[test]
fn missing_rules_are_noticed_in_virtual_time() {
    let caught = |switch_off: fn(&mut Rules), invariant: &str| {
        let noticed = (0..3000).any(|index| {
            let mut setup = setup(seed(index));
            switch_off(&mut setup.rules);
            run(&setup).is_err_and(|violation| violation.what.contains(invariant))
        });
        assert!(noticed, "no seed noticed a breach of {invariant}");
    };
    caught(|r| r.confirm_behind_barriers = false, "I9");
    caught(|r| r.regular_channels_align = false, "I9");
    caught(|r| r.migration_channels_align = false, "I8");
    caught(|r| r.hand_over_before_barrier = false, "I9");
    caught(|r| r.no_hand_over_before_commit = false, "I7");
    caught(|r| r.row_waits_for_state = false, "I2");
    caught(|r| r.row_waits_for_confirm = false, "I3");
    caught(|r| r.done_after_confirms = false, "I12");
}
