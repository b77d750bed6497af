use std::time::Duration;

use super::*;
use crate::{Release, Strategy};

fn report(setup: &Setup) -> Report {
    run(setup).unwrap_or_else(|violation| panic!("{}: {violation}", setup.strategy))
}

fn all(change: impl Fn(&mut Setup)) -> Vec<Report> {
    let reports = Strategy::ALL.map(|strategy| {
        let mut setup = Setup::small().with_strategy(strategy);
        change(&mut setup);
        report(&setup)
    });
    reports.into()
}

fn scaling(seconds: u64, executors: usize, plan: Plan) -> Scaling {
    Scaling {
        at: Duration::from_secs(seconds),
        executors,
        plan,
    }
}

#[test]
fn every_correct_strategy_ends_with_the_rows_of_the_unscaled_run() {
    let unscaled = report(&Setup::small().unscaled());
    assert_eq!(unscaled.rows.iter().sum::<u64>(), 4_500);
    for scaled in all(|_| {}) {
        let strategy = scaled.strategy;
        assert_eq!(
            scaled.rows == unscaled.rows,
            strategy.is_correct(),
            "{strategy}"
        );
        let [scaling] = scaled.scalings.as_slice() else {
            panic!("{strategy}: one scaling was asked for");
        };
        assert!(scaling.moved_after <= scaling.closed_after, "{strategy}");
        assert!(scaling.stable_after.is_some(), "{strategy}");
        assert!(scaling.bytes_moved >= 5 << 20, "{strategy}: {scaling:?}");
        assert!(scaling.key_groups == 5, "{strategy}");
    }
}

#[test]
fn every_row_is_measured_twice() {
    for report in all(|setup| setup.strategy = Strategy::Otfs) {
        let time = Duration::ZERO..report.ended + Duration::from_secs(1);
        assert_eq!(report.processed(time.clone()).count(), 4_500);
        assert_eq!(report.committed(time.clone()).count(), 4_500);
        let [moving, others] = [Class::Moving, Class::Others]
            .map(|class| report.latency(class).processed.during(time.clone()).count());
        assert!(moving > 1_000 && others > 2_000 && moving + others == 4_500);
        assert!(report.committed(time.clone()).mean() > report.processed(time).mean());
    }
}

#[test]
fn out_and_in_again() {
    for report in all(|setup| {
        setup.scalings = vec![
            scaling(1, 4, Plan::Ranges),
            scaling(2, 1, Plan::LeastMove),
            scaling(2, 3, Plan::Shuffle),
        ];
    }) {
        assert_eq!(report.scalings.len(), 3);
        assert!(report.scalings.iter().all(|s| s.closed_after.is_some()));
    }
}

#[test]
fn a_crash_loses_a_scaling_and_no_row() {
    for report in all(|setup| {
        setup.state_bytes = 1 << 30;
        setup.crashes = vec![Duration::from_millis(1_500)];
        setup.scalings[0].plan = Plan::Ranges;
    }) {
        assert_eq!(report.scalings[0].closed_after, None, "{}", report.strategy);
        let rows: u64 = report.rows.iter().sum();
        assert!(rows == 4_500 || !report.strategy.is_correct());
    }
}

#[test]
fn losses_delay_the_control_path_only() {
    let sure = all(|_| {});
    for (lossy, sure) in all(|setup| setup.control_loss = 0.3).iter().zip(sure) {
        assert!(lossy.rows == sure.rows || !sure.strategy.is_correct());
        let slower = |moved: &Report| moved.scalings[0].closed_after;
        assert!(slower(lossy) > slower(&sure), "{}", sure.strategy);
    }
}

#[test]
fn a_backlog_is_worked_off() {
    for report in all(|setup| setup.backlog = Duration::from_secs(2)) {
        assert!(report.rows.iter().sum::<u64>() >= 7_000);
        assert!(report.during.peak > Duration::from_secs(1));
        assert!(report.after.peak < report.during.peak);
    }
}

#[test]
fn state_grows_with_rows() {
    let moved = |bytes_per_row| {
        let mut setup = Setup::small();
        setup.state_bytes = 0;
        setup.state_bytes_per_row = bytes_per_row;
        report(&setup).scalings[0].bytes_moved
    };
    assert_eq!(moved(0), 0);
    let grown = moved(100);
    assert!((30_000..70_000).contains(&grown), "{grown}");
}

#[test]
fn ordered_release_keeps_order() {
    for strategy in [Strategy::Drrs, Strategy::Otfs, Strategy::Megaphone] {
        let setup = Setup {
            release: Release::Ordered,
            zipf_exponent: 1.0,
            rows_per_second: 1_900,
            ..Setup::small().with_strategy(strategy)
        };
        assert!(report(&setup).scalings[0].closed_after.is_some());
    }
}

#[test]
fn a_seed_is_a_run() {
    let first = report(&Setup::small());
    assert_eq!(first, report(&Setup::small()));
    let other = Setup {
        seed: 2,
        ..Setup::small()
    };
    assert_ne!(first.trace_hash, report(&other).trace_hash);
}

/// Waiting of a saturated queue with regular arrivals stays short; beyond capacity it grows with
/// the excess.
#[test]
fn latency_is_that_of_a_queue() {
    let peak = |rows_per_second| {
        let setup = Setup {
            rows_per_second,
            ..Setup::small().unscaled()
        };
        report(&setup).before.peak
    };
    assert!(peak(1_000) < Duration::from_millis(20));
    // 3 seconds of 2,500 rows take two executors 3.75 s.
    let excess = peak(2_500).as_secs_f64();
    assert!((0.6..1.1).contains(&excess), "{excess}");
}
