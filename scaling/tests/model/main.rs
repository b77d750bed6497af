//! The protocol's machines in *every* order: an exhaustive search of small worlds.
//!
//! ```text
//!   make model                                 the worlds below, all of their states
//!   cargo test -p scaling --test model         the smaller ones, and every rule switched off
//! ```
//!
//! A world has two predecessors, owners that give and get one key group each (`hand over`), two key
//! groups in one subscale (`together`), two owners that swap theirs (`ring`), bounded channels, a few rows and one or two barriers, and can crash in
//! every state, starting again from the last whole checkpoint. What is checked in every state is
//! what the random simulation checks (`tests/sim/check.rs`); a state without a step that is not the
//! end is a deadlock.
//!
//! | world | states | time |
//! | --- | --- | --- |
//! | hand over, 2 barriers, all interleavings | 0.5 M | 3 s |
//! | hand over, executors come and go by barriers | 0.02 M | 1 s |
//! | ring, 1 barrier, all interleavings | 0.7 M | 5 s |
//! | ring, 2 barriers | 1.0 M | 6 s |
//! | together, 2 barriers, all interleavings | 1.1 M | 9 s |
//!
//! Measured with `make model` on two cores. Not in it: strategies other than DRRS, wishes for key
//! groups (they change only the order), losses on the control path; the messages to the coordinator
//! that an owner is prepared or has installed arrive at once.

mod executor;
mod fingerprint;
mod ledger;
mod message;
mod plan;
mod predecessor;
mod search;
mod setting;
mod step;
mod watch;
mod world;

use scaling::{Release, Rules};
use setting::{AfterCrash, Interleavings, Setting, Topology};

/// One key group goes from one executor to another; both predecessors make two batches of it.
fn hand_over() -> Setting {
    Setting {
        name: "hand over",
        batches: [&[&[0], &[0]], &[&[0], &[0]]],
        owners: &[0],
        targets: &[&[1]],
        release: Release::Ordered,
        hold_limit_rows: 1,
        channel_batches_max: 1,
        migration_messages_max: 1,
        subscale_key_groups_max: 1,
        open_subscales_max: 2,
        barriers: 1,
        in_flight_max: 1,
        cancel: false,
        topology: Topology::Standing,
        interleavings: Interleavings::All,
        after_crash: AfterCrash::Forgotten,
        rules: Rules::default(),
    }
}

/// Two key groups go together, and rows are of the one that goes last: a barrier may come when
/// half of a subscale has left.
fn together() -> Setting {
    Setting {
        name: "together",
        batches: [&[&[1]], &[&[1]]],
        owners: &[0, 0],
        targets: &[&[1, 1]],
        subscale_key_groups_max: 2,
        ..hand_over()
    }
}

/// Two executors swap a key group each.
fn ring() -> Setting {
    Setting {
        name: "ring",
        batches: [&[&[0]], &[&[1]]],
        owners: &[0, 1],
        targets: &[&[1, 0]],
        interleavings: Interleavings::Different,
        ..hand_over()
    }
}

/// Searches a world and fails with the shortest way to a violation.
fn holds(setting: &Setting) -> usize {
    match search::search(setting) {
        Ok(explored) => {
            assert!(explored.ends > 0, "no run of {} ends", setting.name);
            assert!(explored.restarts > 1, "{} hardly crashes", setting.name);
            explored.states
        }
        Err(found) => panic!("{}\n{}", found.trace.join("\n"), found.violation),
    }
}

#[test]
fn small_worlds_hold() {
    holds(&hand_over());
    let by_barrier = Topology::ByBarrier;
    holds(&Setting {
        batches: [&[&[0]], &[&[0]]],
        topology: by_barrier,
        interleavings: Interleavings::Different,
        after_crash: AfterCrash::Again,
        ..hand_over()
    });
}

#[test]
#[ignore = "a minute and a gigabyte: make model"]
fn every_state_holds() {
    let two_barriers = |setting: Setting| Setting {
        barriers: 2,
        ..setting
    };
    let one_batch = || Setting {
        batches: [&[&[0]], &[&[0]]],
        ..hand_over()
    };
    let worlds = [
        two_barriers(one_batch()),
        two_barriers(hand_over()),
        Setting {
            topology: Topology::ByBarrier,
            interleavings: Interleavings::Different,
            ..one_batch()
        },
        Setting {
            interleavings: Interleavings::All,
            ..ring()
        },
        two_barriers(ring()),
        two_barriers(Setting {
            batches: [&[&[1], &[0]], &[&[1], &[0]]],
            ..together()
        }),
    ];
    let states: usize = worlds.iter().map(holds).sum();
    assert!(states >= 3_000_000, "{states} states are few");
}

#[expect(
    clippy::print_stdout,
    reason = "what was found is what the test is run for"
)]
fn say(line: &str) {
    println!("{line}");
}

/// Switches one rule off and says how the shortest run that breaks goes.
fn is_missed(name: &str, switch_off: impl Fn(&mut Rules)) {
    for setting in [hand_over(), together(), ring()] {
        let mut setting = setting;
        switch_off(&mut setting.rules);
        assert_ne!(setting.rules, Rules::default());
        if let Err(found) = search::search(&setting) {
            let steps = found.trace.len();
            say(&format!(
                "{name}: {} in {steps} steps, {} states",
                found.violation, found.states
            ));
            return;
        }
    }
    panic!("nothing breaks without {name}");
}

#[test]
fn every_rule_is_missed() {
    is_missed("confirm_behind_barriers", |r| {
        r.confirm_behind_barriers = false
    });
    is_missed("prepare_before_switch", |r| r.prepare_before_switch = false);
    is_missed("new_owner_prepared_first", |r| {
        r.new_owner_prepared_first = false
    });
    is_missed("regular_channels_align", |r| {
        r.regular_channels_align = false
    });
    is_missed("migration_channels_align", |r| {
        r.migration_channels_align = false
    });
    is_missed("migration_barriers", |r| r.migration_barriers = false);
    is_missed("hand_over_before_barrier", |r| {
        r.hand_over_before_barrier = false
    });
    is_missed("no_hand_over_before_commit", |r| {
        r.no_hand_over_before_commit = false
    });
    is_missed("row_waits_for_state", |r| r.row_waits_for_state = false);
    is_missed("row_waits_for_confirm", |r| r.row_waits_for_confirm = false);
    is_missed("close_after_confirms", |r| r.close_after_confirms = false);
    is_missed("done_after_confirms", |r| r.done_after_confirms = false);
    is_missed("pause_channel_only", |r| r.pause_channel_only = false);
}
