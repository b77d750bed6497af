//! Scripts: the exact trace of events and actions, in the order things can happen on one executor.

use crate::*;

const ME: ExecutorId = ExecutorId(0);
const PEER: ExecutorId = ExecutorId(1);

fn channel(from: u32) -> ChannelId {
    ChannelId {
        from: ExecutorId(from),
        to: ME,
        input: 0,
    }
}

/// The channel of the same predecessor as the other owner names it.
fn channel_of_peer(from: u32) -> ChannelId {
    channel(from).ending_at(PEER)
}

fn set(numbers: &[u16]) -> KeyGroupSet {
    numbers.iter().copied().map(KeyGroup).collect()
}

fn text(action: &Action) -> String {
    match action {
        Action::Prepared { subscale } => format!("prepared {subscale}"),
        Action::SendState {
            to,
            subscale,
            key_group,
        } => format!("state {key_group} of {subscale} to {to}"),
        Action::SendReroutedConfirm {
            to,
            subscale,
            channel,
        } => format!("confirm {channel} of {subscale} to {to}"),
        Action::SendMigrationBarrier { to, epoch } => format!("barrier {epoch} to {to}"),
        Action::SendSubscaleClosed { to, subscale } => format!("close {subscale} to {to}"),
        Action::SendWanted {
            to,
            subscale,
            key_group,
        } => format!("want {key_group} of {subscale} from {to}"),
        Action::Release {
            key_group,
            channel: Some(channel),
        } => format!("release {key_group} of {channel}"),
        Action::Release {
            key_group,
            channel: None,
        } => format!("release {key_group}"),
        Action::Commit { epoch } => format!("commit {epoch}"),
        Action::Installed { subscale } => format!("installed {subscale}"),
        Action::Done { subscale } => format!("done {subscale}"),
    }
}

/// A machine with what a script says to it.
struct Script {
    machine: Migration,
}

impl Script {
    /// Executor 0 after epoch 4, with channels from 8 and 9 and migration channels to and from
    /// executor 1, owning `owned`.
    fn new(release: Release, owned: &[u16]) -> Script {
        let mut script = Script {
            machine: Migration::new(ME, Epoch(4), release, Rules::default()),
        };
        script.machine.own(&set(owned));
        for event in [
            Event::OpenChannel {
                channel: channel(8),
            },
            Event::OpenChannel {
                channel: channel(9),
            },
            Event::OpenMigrationTo { to: PEER },
            Event::OpenMigrationFrom { from: PEER },
        ] {
            assert_eq!(script.step(event), "");
        }
        script
    }

    fn step(&mut self, event: Event) -> String {
        self.try_step(event).expect("the script is a correct run")
    }

    fn try_step(&mut self, event: Event) -> Result<String, ProtocolError> {
        let mut actions = Vec::new();
        self.machine.step(event, &mut actions)?;
        Ok(actions.iter().map(text).collect::<Vec<_>>().join(", "))
    }

    fn verdict(&self, from: u32, key_group: u16) -> Verdict {
        self.machine
            .verdict(channel(from), KeyGroup(key_group))
            .expect("the script is a correct run")
    }
}

fn prepare_old(subscale: u64, key_groups: &[u16]) -> Event {
    Event::PrepareOld {
        subscale: SubscaleId(subscale),
        new_owner: PEER,
        key_groups: set(key_groups),
        mechanism: Mechanism::default(),
    }
}

fn prepare_new(subscale: u64, key_groups: &[u16]) -> Event {
    Event::PrepareNew {
        subscale: SubscaleId(subscale),
        old_owner: PEER,
        key_groups: set(key_groups),
        mechanism: Mechanism::default(),
    }
}

fn confirm(from: u32, subscale: u64) -> Event {
    Event::Confirm {
        channel: channel(from),
        subscale: SubscaleId(subscale),
    }
}

fn barrier(from: u32, epoch: u64) -> Event {
    Event::Barrier {
        channel: channel(from),
        epoch: Epoch(epoch),
    }
}

fn installed(subscale: u64, key_group: u16) -> Event {
    Event::StateInstalled {
        from: PEER,
        subscale: SubscaleId(subscale),
        key_group: KeyGroup(key_group),
    }
}

fn rerouted_confirm(from: u32, subscale: u64) -> Event {
    Event::ReroutedConfirm {
        from: PEER,
        subscale: SubscaleId(subscale),
        channel: channel_of_peer(from),
    }
}

fn closed(subscale: u64) -> Event {
    Event::SubscaleClosed {
        from: PEER,
        subscale: SubscaleId(subscale),
    }
}

fn migration_barrier(epoch: u64) -> Event {
    Event::MigrationBarrier {
        from: PEER,
        epoch: Epoch(epoch),
    }
}

fn committed(epoch: u64) -> Event {
    Event::Committed {
        epoch: Epoch(epoch),
    }
}

#[test]
fn an_old_owner_hands_over_piece_by_piece_and_reroutes() {
    let mut s = Script::new(Release::Ordered, &[1, 2, 3]);
    assert!(s.machine.quiet());
    assert_eq!(s.step(Event::Poll), "");
    assert_eq!(s.step(prepare_old(7, &[1, 2])), "");
    assert!(!s.machine.quiet() && s.machine.may_hand_over());
    assert_eq!(s.verdict(8, 1), Verdict::Process);
    assert_eq!(s.step(Event::Poll), "prepared s7, state 1 of s7 to e1");
    assert!(!s.machine.owns(KeyGroup(1)) && s.machine.owns(KeyGroup(2)));
    assert_eq!(
        s.verdict(8, 1),
        Verdict::Reroute {
            to: PEER,
            subscale: SubscaleId(7)
        }
    );
    assert_eq!(s.verdict(8, 2), Verdict::Process);
    assert_eq!(s.step(confirm(8, 7)), "confirm e8>e0.0 of s7 to e1");
    assert_eq!(s.step(Event::Poll), "state 2 of s7 to e1");
    assert!(!s.machine.may_hand_over());
    assert_eq!(s.step(Event::Poll), "");
    assert_eq!(
        s.verdict(9, 2),
        Verdict::Reroute {
            to: PEER,
            subscale: SubscaleId(7)
        }
    );
    assert_eq!(
        s.step(confirm(9, 7)),
        "confirm e9>e0.0 of s7 to e1, close s7 to e1"
    );
    assert!(s.machine.quiet());
    assert!(s.machine.verdict(channel(8), KeyGroup(1)).is_err());
    assert_eq!(s.verdict(8, 3), Verdict::Process);
}

fn wanted(subscale: u64, key_group: u16) -> Event {
    Event::Wanted {
        subscale: SubscaleId(subscale),
        key_group: KeyGroup(key_group),
    }
}

fn early(key_group: u16) -> Event {
    Event::Early {
        key_group: KeyGroup(key_group),
    }
}

/// `event`, which prepares an owner, with another strategy.
fn by(strategy: Strategy, mut event: Event) -> Event {
    if let Event::PrepareOld { mechanism, .. } | Event::PrepareNew { mechanism, .. } = &mut event {
        *mechanism = strategy.mechanism().expect("the strategy is a protocol");
    }
    event
}

#[test]
fn what_rows_wait_for_leaves_first() {
    let mut s = Script::new(Release::Ordered, &[1, 2, 3, 4]);
    s.step(prepare_old(7, &[1, 2]));
    s.step(prepare_old(8, &[3, 4]));
    s.step(confirm(8, 7));
    for event in [wanted(8, 4), wanted(8, 4), wanted(7, 2), wanted(9, 1)] {
        assert_eq!(s.step(event), "");
    }
    assert_eq!(s.step(Event::Poll), "prepared s7, state 2 of s7 to e1");
    assert_eq!(s.step(wanted(7, 2)), "");
    assert_eq!(s.step(Event::Poll), "prepared s8, state 4 of s8 to e1");
    assert_eq!(s.step(Event::Poll), "state 1 of s7 to e1");
    assert_eq!(s.step(Event::Poll), "state 3 of s8 to e1");
    assert!(!s.machine.may_hand_over());
}

#[test]
fn a_new_owner_asks_once_for_what_rows_wait_for() {
    let mut s = Script::new(Release::Ordered, &[3]);
    s.step(prepare_new(7, &[1, 2]));
    assert_eq!(s.step(early(2)), "want 2 of s7 from e1");
    assert_eq!(s.step(early(2)), "");
    assert_eq!(s.step(early(3)), "");
    assert_eq!(s.step(early(1)), "want 1 of s7 from e1");
    let mut fixed = Script::new(Release::Ordered, &[]);
    fixed.step(by(Strategy::DrrsRerouting, prepare_new(7, &[1])));
    assert_eq!(fixed.step(early(1)), "");
}

#[test]
fn a_barrier_that_signals_has_confirmed_every_channel() {
    let mut old = Script::new(Release::Ordered, &[1, 2, 3]);
    assert_eq!(
        old.step(by(Strategy::OtfsFluid, prepare_old(7, &[1, 2]))),
        ""
    );
    assert!(old.machine.verdict(channel(8), KeyGroup(1)).is_err());
    assert_eq!(old.step(Event::Poll), "state 1 of s7 to e1");
    old.step(barrier(8, 5));
    assert_eq!(
        old.step(barrier(9, 5)),
        "state 2 of s7 to e1, close s7 to e1, barrier 5 to e1"
    );
    let mut new = Script::new(Release::Ordered, &[]);
    assert_eq!(
        new.step(by(Strategy::OtfsFluid, prepare_new(7, &[1, 2]))),
        ""
    );
    assert_eq!(new.machine.on_early(), Early::Stop);
    assert_eq!(new.verdict(8, 1), Verdict::Hold);
    assert_eq!(
        new.step(installed(7, 1)),
        "release 1 of e8>e0.0, release 1 of e9>e0.0"
    );
    assert_eq!(new.verdict(8, 1), Verdict::Process);
    new.step(installed(7, 2));
    assert_eq!(new.step(closed(7)), "done s7");
    assert_eq!(new.machine.on_early(), Early::Hold);
}

#[test]
fn a_barrier_signals_only_between_epochs() {
    let mut s = Script::new(Release::Ordered, &[1]);
    s.step(barrier(8, 5));
    let event = by(Strategy::Otfs, prepare_old(7, &[1]));
    assert!(s.try_step(event).is_err());
    assert_eq!(s.step(prepare_old(7, &[1])), "");
}

#[test]
fn all_at_once_leaves_in_one_step() {
    let mut s = Script::new(Release::Commutative, &[1, 2]);
    s.step(by(Strategy::Otfs, prepare_old(7, &[1, 2])));
    let all = "state 1 of s7 to e1, state 2 of s7 to e1, close s7 to e1";
    assert_eq!(s.step(Event::Poll), all);
}

#[test]
fn unbound_runs_rows_without_their_state() {
    let mut s = Script::new(Release::Commutative, &[]);
    s.step(by(Strategy::Unbound, prepare_new(7, &[1])));
    assert_eq!(s.verdict(8, 1), Verdict::Process);
}

#[test]
fn an_ordered_new_owner_waits_for_state_and_confirm() {
    let mut s = Script::new(Release::Ordered, &[]);
    assert_eq!(s.step(prepare_new(7, &[1, 2])), "prepared s7");
    assert_eq!(s.verdict(8, 1), Verdict::Hold);
    assert!(
        s.machine
            .check_rerouted(PEER, SubscaleId(7), KeyGroup(1))
            .is_err()
    );
    assert_eq!(s.step(installed(7, 1)), "");
    assert!(
        s.machine
            .check_rerouted(PEER, SubscaleId(7), KeyGroup(1))
            .is_ok()
    );
    assert_eq!(s.verdict(8, 1), Verdict::Hold);
    assert_eq!(s.step(rerouted_confirm(8, 7)), "release 1 of e8>e0.0");
    assert_eq!(
        (s.verdict(8, 1), s.verdict(9, 1), s.verdict(8, 2)),
        (Verdict::Process, Verdict::Hold, Verdict::Hold)
    );
    assert_eq!(
        s.step(installed(7, 2)),
        "release 2 of e8>e0.0, installed s7"
    );
    assert_eq!(
        s.step(rerouted_confirm(9, 7)),
        "release 1 of e9>e0.0, release 2 of e9>e0.0"
    );
    assert!(!s.machine.quiet());
    assert_eq!(s.step(closed(7)), "done s7");
    assert!(s.machine.quiet() && s.machine.owns(KeyGroup(1)) && s.machine.owns(KeyGroup(2)));
}

#[test]
fn confirms_may_all_come_before_the_state() {
    let mut s = Script::new(Release::Ordered, &[]);
    s.step(prepare_new(7, &[1]));
    assert_eq!(s.step(rerouted_confirm(9, 7)), "");
    assert_eq!(s.step(rerouted_confirm(8, 7)), "");
    assert_eq!(s.verdict(8, 1), Verdict::Hold);
    assert_eq!(
        s.step(installed(7, 1)),
        "release 1 of e8>e0.0, release 1 of e9>e0.0, installed s7"
    );
    assert_eq!(s.step(closed(7)), "done s7");
}

#[test]
fn a_commutative_new_owner_waits_for_state_only() {
    let mut s = Script::new(Release::Commutative, &[]);
    s.step(prepare_new(7, &[1, 2]));
    assert_eq!(s.verdict(8, 1), Verdict::Hold);
    assert_eq!(s.step(installed(7, 1)), "release 1");
    assert_eq!(
        (s.verdict(8, 1), s.verdict(9, 1), s.verdict(9, 2)),
        (Verdict::Process, Verdict::Process, Verdict::Hold)
    );
    assert_eq!(s.step(rerouted_confirm(8, 7)), "");
    assert_eq!(s.step(installed(7, 2)), "release 2, installed s7");
    assert_eq!(s.step(rerouted_confirm(9, 7)), "");
    assert_eq!(s.step(closed(7)), "done s7");
}

#[test]
fn a_barrier_makes_the_old_owner_hand_over_what_is_confirmed() {
    let mut s = Script::new(Release::Ordered, &[1, 2, 3, 4]);
    s.step(prepare_old(7, &[1, 2]));
    s.step(prepare_old(8, &[3, 4]));
    assert_eq!(s.step(confirm(8, 8)), "confirm e8>e0.0 of s8 to e1");
    assert_eq!(s.step(barrier(8, 5)), "");
    assert!(!s.machine.may_read(channel(8)) && s.machine.may_read(channel(9)));
    assert_eq!(
        s.step(barrier(9, 5)),
        "prepared s8, state 3 of s8 to e1, state 4 of s8 to e1, barrier 5 to e1"
    );
    assert_eq!(s.step(Event::Poll), "");
    assert_eq!(s.step(migration_barrier(5)), "commit 5");
    assert_eq!(s.step(Event::Poll), "");
    assert_eq!(s.step(committed(5)), "");
    assert_eq!(s.machine.last_epoch(), Epoch(5));
    assert!(s.machine.may_read(channel(8)) && s.machine.may_read_migration(PEER));
    assert_eq!(s.step(Event::Poll), "prepared s7, state 1 of s7 to e1");
    assert_eq!(
        s.step(confirm(9, 8)),
        "confirm e9>e0.0 of s8 to e1, close s8 to e1"
    );
}

#[test]
fn a_subscale_that_has_begun_is_handed_over_first() {
    let mut s = Script::new(Release::Ordered, &[1, 2, 3]);
    s.step(prepare_old(8, &[2, 3]));
    assert_eq!(s.step(Event::Poll), "prepared s8, state 2 of s8 to e1");
    s.step(prepare_old(7, &[1]));
    assert_eq!(s.step(Event::Poll), "state 3 of s8 to e1");
    assert_eq!(s.step(Event::Poll), "prepared s7, state 1 of s7 to e1");
}

#[test]
fn a_confirmed_subscale_is_handed_over_first() {
    let mut s = Script::new(Release::Ordered, &[1, 2, 3]);
    s.step(prepare_old(7, &[1]));
    s.step(prepare_old(8, &[2, 3]));
    s.step(confirm(9, 8));
    assert_eq!(s.step(Event::Poll), "prepared s8, state 2 of s8 to e1");
    assert_eq!(s.step(Event::Poll), "state 3 of s8 to e1");
    assert_eq!(s.step(Event::Poll), "prepared s7, state 1 of s7 to e1");
}

#[test]
fn in_a_ring_the_barrier_goes_on_before_the_other_one_comes() {
    let mut s = Script::new(Release::Ordered, &[1]);
    s.step(prepare_old(7, &[1]));
    s.step(prepare_new(8, &[2]));
    s.step(confirm(8, 7));
    assert_eq!(s.step(barrier(8, 5)), "");
    assert_eq!(
        s.step(barrier(9, 5)),
        "prepared s7, state 1 of s7 to e1, barrier 5 to e1"
    );
    assert_eq!(s.step(installed(8, 2)), "installed s8");
    assert_eq!(s.step(rerouted_confirm(8, 8)), "release 2 of e8>e0.0");
    assert_eq!(s.step(migration_barrier(5)), "commit 5");
    assert!(!s.machine.may_read_migration(PEER));
}

#[test]
fn an_old_owner_prepared_between_barrier_and_commit_keeps_its_state() {
    let mut s = Script::new(Release::Ordered, &[1]);
    s.step(barrier(8, 5));
    assert_eq!(s.step(barrier(9, 5)), "barrier 5 to e1");
    assert_eq!(s.step(prepare_old(7, &[1])), "");
    assert!(!s.machine.may_hand_over());
    assert_eq!(s.step(Event::Poll), "");
    assert_eq!(s.step(migration_barrier(5)), "commit 5");
    assert_eq!(s.step(Event::Poll), "");
    assert_eq!(s.step(committed(5)), "");
    assert_eq!(s.step(Event::Poll), "prepared s7, state 1 of s7 to e1");
}

#[test]
fn a_new_owner_prepared_behind_the_barrier_of_the_old_one_reads_the_state_after_its_commit() {
    let mut s = Script::new(Release::Ordered, &[]);
    assert_eq!(s.step(migration_barrier(5)), "");
    assert!(!s.machine.may_read_migration(PEER));
    assert_eq!(s.step(prepare_new(7, &[1])), "prepared s7");
    assert_eq!(s.step(barrier(9, 5)), "");
    assert_eq!(s.step(barrier(8, 5)), "barrier 5 to e1, commit 5");
    assert_eq!(s.step(committed(5)), "");
    assert!(s.machine.may_read_migration(PEER));
    assert_eq!(s.step(installed(7, 1)), "installed s7");
}

#[test]
fn a_new_owner_past_its_barrier_installs_state_of_the_epoch_under_way() {
    let mut s = Script::new(Release::Commutative, &[]);
    s.step(barrier(8, 5));
    assert_eq!(s.step(barrier(9, 5)), "barrier 5 to e1");
    assert_eq!(s.step(prepare_new(7, &[1])), "prepared s7");
    assert_eq!(s.step(installed(7, 1)), "release 1, installed s7");
    assert!(
        s.machine
            .check_rerouted(PEER, SubscaleId(7), KeyGroup(1))
            .is_ok()
    );
    assert_eq!(s.step(migration_barrier(5)), "commit 5");
    assert!(s.machine.owns(KeyGroup(1)));
}

#[test]
fn a_second_subscale_of_the_pair_opens_while_a_barrier_is_aligned() {
    let mut s = Script::new(Release::Ordered, &[1, 2]);
    s.step(prepare_old(7, &[1]));
    s.step(barrier(8, 5));
    assert_eq!(s.step(prepare_old(8, &[2])), "");
    assert_eq!(s.step(confirm(9, 7)), "confirm e9>e0.0 of s7 to e1");
    assert_eq!(
        s.step(barrier(9, 5)),
        "prepared s7, state 1 of s7 to e1, barrier 5 to e1"
    );
    assert_eq!(s.step(migration_barrier(5)), "commit 5");
    assert_eq!(s.step(committed(5)), "");
    assert_eq!(s.step(confirm(9, 8)), "confirm e9>e0.0 of s8 to e1");
    assert_eq!(s.step(confirm(8, 8)), "confirm e8>e0.0 of s8 to e1");
    assert_eq!(
        s.step(Event::Poll),
        "prepared s8, state 2 of s8 to e1, close s8 to e1"
    );
}

#[test]
fn without_a_scaling_it_is_plain_alignment() {
    let mut s = Script::new(Release::Ordered, &[1]);
    s.step(Event::CloseMigrationTo { to: PEER });
    s.step(Event::CloseMigrationFrom { from: PEER });
    for epoch in 5..8 {
        assert_eq!(s.step(barrier(9, epoch)), "");
        assert_eq!(s.step(barrier(8, epoch)), format!("commit {epoch}"));
        assert_eq!(s.step(committed(epoch)), "");
        assert!(s.machine.quiet());
    }
}

#[test]
fn a_key_group_goes_and_comes_back() {
    let mut s = Script::new(Release::Commutative, &[1]);
    s.step(prepare_old(7, &[1]));
    s.step(Event::Poll);
    s.step(confirm(8, 7));
    assert!(s.try_step(prepare_new(8, &[1])).is_err());
    s.step(confirm(9, 7));
    assert_eq!(s.step(prepare_new(8, &[1])), "prepared s8");
    assert_eq!(s.step(installed(8, 1)), "release 1, installed s8");
    assert!(
        s.try_step(prepare_old(9, &[1])).is_err(),
        "it is still arriving"
    );
    s.step(rerouted_confirm(8, 8));
    s.step(rerouted_confirm(9, 8));
    assert_eq!(s.step(closed(8)), "done s8");
    assert_eq!(s.step(prepare_old(9, &[1])), "");
}

#[test]
fn rows_that_should_not_be_here_are_errors() {
    let mut s = Script::new(Release::Ordered, &[1, 2]);
    s.step(prepare_old(7, &[1, 2]));
    s.step(Event::Poll);
    s.step(confirm(8, 7));
    for key_group in [1, 2] {
        assert_eq!(
            s.machine.verdict(channel(8), KeyGroup(key_group)),
            Err(ProtocolError::BehindConfirm {
                channel: channel(8),
                key_group: KeyGroup(key_group),
                subscale: SubscaleId(7)
            })
        );
    }
    assert_eq!(
        s.machine.verdict(channel(9), KeyGroup(60)),
        Err(ProtocolError::NotOwned {
            channel: channel(9),
            key_group: KeyGroup(60)
        })
    );
}

#[test]
fn messages_that_do_not_fit_are_errors() {
    let start = || {
        let mut s = Script::new(Release::Ordered, &[1, 2]);
        s.step(prepare_old(7, &[1]));
        s.step(prepare_new(8, &[5]));
        s.step(confirm(8, 7));
        s.step(rerouted_confirm(8, 8));
        s.step(installed(8, 5));
        s
    };
    let stranger = ExecutorId(5);
    for event in [
        confirm(8, 7),
        confirm(9, 8),
        confirm(5, 7),
        installed(8, 5),
        installed(8, 6),
        installed(7, 1),
        Event::StateInstalled {
            from: stranger,
            subscale: SubscaleId(8),
            key_group: KeyGroup(5),
        },
        rerouted_confirm(8, 8),
        rerouted_confirm(9, 7),
        closed(7),
        prepare_old(7, &[2]),
        prepare_new(7, &[9]),
        prepare_old(9, &[]),
        prepare_old(9, &[1, 2]),
        prepare_old(9, &[5]),
        prepare_new(9, &[2]),
        Event::PrepareOld {
            subscale: SubscaleId(9),
            new_owner: stranger,
            key_groups: set(&[2]),
            mechanism: Mechanism::default(),
        },
        Event::PrepareNew {
            subscale: SubscaleId(9),
            old_owner: stranger,
            key_groups: set(&[9]),
            mechanism: Mechanism::default(),
        },
        barrier(8, 4),
        barrier(8, 6),
        barrier(5, 5),
        migration_barrier(6),
        Event::MigrationBarrier {
            from: stranger,
            epoch: Epoch(5),
        },
        committed(5),
        Event::OpenChannel {
            channel: channel(10),
        },
        Event::CloseChannel {
            channel: channel(8),
        },
        Event::CloseMigrationTo { to: PEER },
        Event::CloseMigrationFrom { from: PEER },
        Event::OpenMigrationTo { to: PEER },
        Event::OpenMigrationTo { to: ME },
        Event::CloseMigrationTo { to: stranger },
    ] {
        let error = start().try_step(event.clone());
        assert!(error.is_err(), "{event:?} led to {error:?}");
    }
    let mut s = start();
    s.step(closed(8));
    assert!(s.try_step(closed(8)).is_err());
}

#[test]
fn the_topology_changes_between_epochs_only() {
    let mut s = Script::new(Release::Ordered, &[]);
    s.step(barrier(8, 5));
    assert!(s.try_step(barrier(8, 5)).is_err());
    assert!(
        s.try_step(Event::OpenChannel {
            channel: channel(10)
        })
        .is_err()
    );
    s.step(barrier(9, 5));
    s.step(migration_barrier(5));
    assert!(
        s.try_step(Event::OpenMigrationFrom {
            from: ExecutorId(2)
        })
        .is_err()
    );
    s.step(committed(5));
    assert_eq!(
        s.step(Event::OpenMigrationFrom {
            from: ExecutorId(2)
        }),
        ""
    );
    assert_eq!(
        s.step(Event::OpenChannel {
            channel: channel(10)
        }),
        ""
    );
    assert_eq!(
        s.step(Event::CloseChannel {
            channel: channel(8)
        }),
        ""
    );
    assert!(!s.machine.may_read(channel(8)) && s.machine.may_read(channel(10)));
    assert!(
        s.try_step(Event::OpenChannel {
            channel: channel_of_peer(11)
        })
        .is_err()
    );
}
