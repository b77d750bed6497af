//! What DRRS promises, in virtual time on the published set-ups, and with which margin.
//!
//! Two things it does not promise. Megaphone moves one key group at a time, so hardly any row waits
//! long; its price is a scaling that takes many times as long. And everything at once is the
//! shortest way to move state where the links are all that takes time; its price is latency, and
//! the time until that has recovered.

use std::time::Duration;

use scaling::Strategy;
use scaling::simulator::{Class, Plan, Report, Setup, run};

/// The set-up with less time before and behind the scaling, so that a test is short.
fn short(setup: Setup) -> Setup {
    let mut setup = Setup {
        input_ends: Duration::from_secs(70),
        stable_for: Duration::from_secs(10),
        ..setup
    };
    setup.scalings[0].at = Duration::from_secs(20);
    setup
}

fn report(setup: &Setup, strategy: Strategy) -> Report {
    run(&setup.with_strategy(strategy)).unwrap_or_else(|violation| panic!("{violation}"))
}

/// From the request until latency is as it was, or to the end of the run.
fn duration(report: &Report) -> Duration {
    let scaling = &report.scalings[0];
    let end = report.ended - scaling.requested;
    scaling.stable_after.unwrap_or(end)
}

/// Rivals that move everything at once: twice the peak, four times the mean, and not stable
/// earlier, within two buckets and a fifth.
fn beats_those_that_move_together(setup: &Setup, drrs: &Report) {
    for rival in [Strategy::Otfs, Strategy::OtfsFluid, Strategy::Meces] {
        let other = report(setup, rival);
        let (ours, theirs) = (&drrs.during, &other.during);
        assert!(
            ours.peak * 2 < theirs.peak && ours.mean * 4 < theirs.mean,
            "{rival}: {theirs:?}, drrs: {ours:?}"
        );
        let (ours, theirs) = (duration(drrs), duration(&other));
        assert!(
            ours <= theirs.mul_f64(1.2) + setup.bucket * 2,
            "{rival}: {theirs:?}, drrs: {ours:?}"
        );
    }
}

/// Stopping: twice the peak, five times the mean, and stable later.
fn beats_stopping(setup: &Setup, drrs: &Report) {
    let other = report(setup, Strategy::StopRestart);
    assert!(drrs.during.peak * 2 < other.during.peak);
    assert!(drrs.during.mean * 5 < other.during.mean);
    assert!(duration(drrs) < duration(&other));
}

/// Megaphone: stable in less than half of its time. Its own peak is lower.
fn beats_one_by_one(setup: &Setup, drrs: &Report) {
    let other = report(setup, Strategy::Megaphone);
    assert!(
        duration(drrs) * 2 < duration(&other),
        "megaphone {:?}, drrs {:?}",
        duration(&other),
        duration(drrs)
    );
    assert!(drrs.during.peak < other.during.peak * 5);
}

fn holds(setup: Setup) {
    let setup = short(setup);
    let drrs = report(&setup, Strategy::Drrs);
    beats_those_that_move_together(&setup, &drrs);
    beats_stopping(&setup, &drrs);
    beats_one_by_one(&setup, &drrs);
}

#[test]
fn from_8_to_12() {
    holds(Setup::published_8_to_12());
}

#[test]
fn from_25_to_30_with_5_gigabytes() {
    holds(Setup::published_25_to_30(5_000_000_000));
}

#[test]
fn from_25_to_30_with_30_gigabytes() {
    holds(Setup::published_25_to_30(30_000_000_000));
}

/// Where few key groups move, the 99th percentile of the others is within 20 ms of what it would
/// have been.
#[test]
fn other_key_groups_hardly_notice() {
    let mut setup = short(Setup::published_8_to_12());
    setup.scalings[0].plan = Plan::LeastMove;
    let scaled = report(&setup, Strategy::Drrs);
    let time = setup.scalings[0].at..setup.scalings[0].at + duration(&scaled);
    let p99 = |report: &Report, class| {
        let latency = report.latency(class).processed.during(time.clone());
        latency.quantile(0.99)
    };
    let with = p99(&scaled, Class::Others);
    let without = p99(&report(&setup.unscaled(), Strategy::Drrs), Class::Others);
    assert!(
        with < without + Duration::from_millis(20),
        "{with:?} {without:?}"
    );
    let otfs = p99(&report(&setup, Strategy::Otfs), Class::Moving);
    assert!(p99(&scaled, Class::Moving) * 2 < otfs, "{otfs:?}");
}

/// A hundred executors more, within two seconds and without anybody waiting longer than one.
#[test]
fn from_100_to_200() {
    let mut setup = short(Setup::beyond_100_to_200());
    setup.input_ends = Duration::from_secs(8);
    setup.warm_up = Duration::from_secs(2);
    setup.stable_for = Duration::from_secs(2);
    setup.scalings[0].at = Duration::from_secs(4);
    let drrs = report(&setup, Strategy::Drrs);
    assert!(duration(&drrs) <= Duration::from_secs(2));
    assert!(drrs.during.peak < Duration::from_secs(1));
}
