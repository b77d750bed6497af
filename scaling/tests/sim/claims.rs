//! What DRRS promises, in virtual time on the published set-ups: each test says with which margin.
//!
//! Where a rival is better in one measure, a test says so too: Megaphone moves one key group at a
//! time, so hardly any row waits long, and the scaling takes many times as long.

use std::time::Duration;

use scaling::Strategy;
use scaling::simulator::{Class, Report, Setup, run};

fn report(setup: &Setup, strategy: Strategy) -> Report {
    run(&setup.with_strategy(strategy)).unwrap_or_else(|violation| panic!("{violation}"))
}

/// From the request until latency is as it was, or to the end of the run.
fn duration(report: &Report) -> Duration {
    let scaling = &report.scalings[0];
    let end = report.ended - scaling.requested;
    scaling.stable_after.unwrap_or(end)
}

fn published() -> [Setup; 3] {
    [
        Setup::published_8_to_12(),
        Setup::published_25_to_30(5_000_000_000),
        Setup::published_25_to_30(30_000_000_000),
    ]
}

/// Strategies that are neither DRRS nor a part of it, and correct.
const RIVALS: [Strategy; 5] = [
    Strategy::Otfs,
    Strategy::OtfsFluid,
    Strategy::Megaphone,
    Strategy::Meces,
    Strategy::StopRestart,
];

#[test]
fn drrs_halves_the_peak_of_rivals_that_move_as_fast() {
    for setup in published() {
        let drrs = report(&setup, Strategy::Drrs);
        for rival in RIVALS.into_iter().filter(|r| *r != Strategy::Megaphone) {
            let other = report(&setup, rival);
            let (peak, mean) = (other.during.peak, other.during.mean);
            assert!(
                drrs.during.peak * 2 < peak && drrs.during.mean * 4 < mean,
                "{rival}: peak {peak:?} mean {mean:?}, drrs {:?}",
                drrs.during
            );
        }
    }
}

#[test]
fn drrs_is_done_in_a_third_of_the_time_of_megaphone() {
    for setup in published() {
        let drrs = duration(&report(&setup, Strategy::Drrs));
        let megaphone = duration(&report(&setup, Strategy::Megaphone));
        assert!(drrs * 3 < megaphone, "{drrs:?} {megaphone:?}");
    }
}

#[test]
fn other_key_groups_hardly_notice() {
    let setup = Setup::published_8_to_12();
    let drrs = report(&setup, Strategy::Drrs);
    let scaling = &drrs.scalings[0];
    let time = scaling.requested..scaling.requested + duration(&drrs);
    let p99 = |class| {
        let latency = drrs.latency(class);
        latency.processed.during(time.clone()).quantile(0.99)
    };
    println!("{:?} {:?}", p99(Class::Others), p99(Class::Moving));
}
