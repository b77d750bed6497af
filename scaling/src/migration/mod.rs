//! One executor's part in scaling: the alignment of its barriers and all subscales it is old or new
//! owner of.
//!
//! # Rules
//!
//! | a row reaches | by | it is processed when | until then |
//! | --- | --- | --- | --- |
//! | the old owner | a channel | the state has not been sent | re-route to the new owner |
//! | the new owner | a channel | the state is installed and, if release is ordered, this channel's confirm barrier has come, re-routed | hold |
//! | the new owner | re-routing | always: its state came before it, on the same migration channel | |
//!
//! ```text
//!   old owner   Local ─ PrepareOld ─► Leaving ─ SendState ─► Left ─ all sent, every channel confirmed ─► Elsewhere
//!   new owner   Elsewhere ─ PrepareNew ─► Arriving ─ StateInstalled ─► Arriving, installed ─ Done ─► Local
//! ```
//!
//! * A **migration channel** is the FIFO link from an old to a new owner. There is one per ordered
//!   pair; it is opened at a topology barrier before any subscale of the pair and closed at one
//!   after the last. It carries state, re-routed rows and confirm barriers, the closing of
//!   subscales, and **every barrier**.
//! * **Barrier `n` at an executor**: (1) it comes on every regular channel; (2) the executor hands
//!   over all that is left of each subscale it is old owner of and has a confirm barrier for, then
//!   sends barrier `n` on its migration channels; (3) when barrier `n` has come on all incoming
//!   migration channels too, it commits `n`. A channel that delivered barrier `n` is not read until
//!   then. Between (2) and the commit no key group leaves.
//! * One hand-over between two messages ([`Event::Poll`]), so that a large subscale does not stop
//!   other key groups. Subscales with a confirm barrier first: their rows wait at the new owner.
//! * The old owner says that it is prepared when the first key group leaves, not when it is told of
//!   the subscale: until then its link is busy with others, and if predecessors switched, rows would
//!   wait at the new owner for a state that waits for the link, and a barrier for both.
//! * Every key group of a subscale is sent, also one without state: the new owner learns from it
//!   that there is none.
//! * A key group that is arriving cannot leave before its subscale is done. One that has left can
//!   come back only in a later subscale, which is after this executor forgot that it left: Done
//!   needs SubscaleClosed.
//!
//! * A subscale can be signalled by a barrier instead ([`Signal::Barrier`]): predecessors switch
//!   right behind it, owners are prepared right after committing it. It is then born confirmed on
//!   every channel; nothing is re-routed. All other rules are the same.
//!
//! # Why a checkpoint in the middle is whole
//!
//! Both ends open a migration channel right after committing the same epoch `T`, and it carries
//! every barrier after `T`. So what the old owner sends between its barriers `n-1` and `n` is
//! exactly what the new owner installs between its commits `n-1` and `n`: a key group handed over
//! before barrier `n` is in the new owner's checkpoint `n`, because that one waits for the barrier
//! and reads nothing behind it; one handed over later is in the old owner's, because nothing leaves
//! between the barrier and its commit. It is in one of the two, never in both or none, whatever
//! epoch the two are at when the subscale opens. A protocol that opens a channel per subscale must
//! first agree on an epoch (`SideOpen{after}` in drrs.md 8.5), for the owners may be an epoch
//! apart: then the one end's barrier `n` is missing on the channel, or waits for nobody. Here the
//! channel is older than the subscale, and there is nothing to agree on: preparing is allowed at
//! any moment, in the middle of an alignment too. The cases:
//!
//! * *Old owner past barrier `n`, new owner not* (it may have read barrier `n` from the migration
//!   channel already). Prepare finds every predecessor past its barrier `n`, so confirm barriers
//!   and moved rows lie behind it on all channels, by the fence rule ([`crate::confirm_position`]);
//!   state is sent behind it on the migration channel. All belongs to `n+1` at both ends.
//! * *New owner past barrier `n` on its regular channels, old owner not.* The predecessors are past
//!   it; no row that follows the new assignment is in front of it anywhere. The old owner may still
//!   send state in front of its barrier `n`, and re-route rows of epoch `n`; the new owner has not
//!   committed `n` and installs and runs them as part of it.
//! * *Old owner between barrier `n` and commit.* It prepares but hands over nothing until the
//!   commit; that later state is behind its barrier `n` and not read before the new owner's commit.
//!
//! **Strict epochs**: nothing is held when `n` is committed. A row held at the new owner in front
//! of barrier `n` of channel `u` was routed by a switch in front of `u`'s barrier `n`, so (fence)
//! the confirm barrier lies in front of barrier `n` towards the old owner too. When that one is
//! aligned it has seen this confirm barrier and passed it on, and rule (2) has sent the state: both
//! are in front of barrier `n` on the migration channel. So each end of (3) releases every row, and
//! epoch `n` has every row in front of it.
//!
//! # Why rings cannot deadlock
//!
//! Take any ring of moves, an executor being old and new owner at once. Step (2) waits for regular
//! channels only. Reading a migration channel never adds to what must be sent on one: no message of
//! it makes this machine send, and a re-routed row runs where it arrives, for its key group cannot
//! leave again. So every executor, whatever the others do, gets from (1) to (2), and the barriers
//! sent in (2) complete (3) everywhere.
//!
//! What could delay (1) is a regular channel paused at the hold limit in front of barrier `n`. Its
//! head waits for state, which the old owner hands over at any time except between (2) and its
//! commit, and of `n` it did so in (2); and perhaps for a confirm barrier, which is in front of
//! barrier `n` at the old owner and behind nothing but rows of subscales that the same predecessor
//! switched earlier ([`crate::schedule`]). An old owner that is an epoch ahead has sent both.
//!
//! The edge keeps this true by two habits. It reads migration channels before all others, and goes
//! on reading them while its own messages wait for room on one; only regular channels and `Poll`
//! stop then. And it carries out the actions of a step in order before the next event, releasing
//! held rows completely.
//!
//! # Not here
//!
//! Rows, state and their bytes (`executor/migrate.rs`), which channel to read next
//! ([`crate::Scheduler`]), who opens a subscale when ([`crate::Coordinator`]).

mod new_owner;
mod old_owner;

use std::collections::{BTreeMap, BTreeSet};

use crate::alignment::Alignment;
use crate::migration::new_owner::Arrival;
use crate::migration::old_owner::Departure;
use crate::{
    Action, ChannelId, Early, Epoch, Event, ExecutorId, KeyGroup, KeyGroupSet, Mechanism,
    ProtocolError, Release, Rules, Signal, SubscaleId, Verdict,
};

/// Where a key group is, seen from this executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Elsewhere,
    Local,
    Leaving(SubscaleId),
    Left(SubscaleId),
    Arriving {
        subscale: SubscaleId,
        installed: bool,
    },
}

/// One executor's part in scaling. See the header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Migration {
    me: ExecutorId,
    release: Release,
    rules: Rules,
    alignment: Alignment,
    // By key group; grows to the highest one ever named.
    places: Vec<Place>,
    departures: BTreeMap<SubscaleId, Departure>,
    arrivals: BTreeMap<SubscaleId, Arrival>,
    /// Key groups that are wanted of subscales not open here.
    wanted_ahead: BTreeSet<(SubscaleId, KeyGroup)>,
}

impl Migration {
    /// The machine of an executor that has no channel and owns nothing yet, and whose state is that
    /// of the end of `last_epoch`.
    #[must_use]
    pub fn new(me: ExecutorId, last_epoch: Epoch, release: Release, rules: Rules) -> Migration {
        Migration {
            me,
            release,
            rules,
            alignment: Alignment::new(me, last_epoch, rules),
            places: Vec::new(),
            departures: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            wanted_ahead: BTreeSet::new(),
        }
    }

    /// Gives the executor key groups outside of any subscale: when it starts, fresh or from a
    /// checkpoint.
    ///
    /// # Panics
    /// If one of them is already here or moving.
    pub fn own(&mut self, key_groups: &KeyGroupSet) {
        for key_group in key_groups {
            assert_eq!(
                self.place(key_group),
                Place::Elsewhere,
                "key group {key_group} is already known"
            );
            self.set_place(key_group, Place::Local);
        }
    }

    /// Whether the state of the key group is here now, be it settled, leaving or just installed.
    #[must_use]
    pub fn owns(&self, key_group: KeyGroup) -> bool {
        matches!(
            self.place(key_group),
            Place::Local
                | Place::Leaving(_)
                | Place::Arriving {
                    installed: true,
                    ..
                }
        )
    }

    /// Whether no subscale is open here: then the verdict on every row of an owned key group is
    /// [`Verdict::Process`] and need not be asked for. Constant time.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.departures.is_empty() && self.arrivals.is_empty()
    }

    /// Whether a barrier has come on every regular channel and is not committed yet: it waits for
    /// migration channels, or for the edge.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        !self.alignment.reading()
    }

    /// The last epoch this executor committed.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.alignment.committed()
    }

    /// Whether a regular channel is open and not blocked by alignment.
    #[must_use]
    pub fn may_read(&self, channel: ChannelId) -> bool {
        self.alignment.may_read(channel)
    }

    /// Whether the migration channel from an executor is open and not blocked by alignment.
    #[must_use]
    pub fn may_read_migration(&self, from: ExecutorId) -> bool {
        self.alignment.may_read_migration(from)
    }

    /// Whether [`Event::Poll`] would hand over a key group now, so that an idle edge knows when to
    /// sleep.
    #[must_use]
    pub fn may_hand_over(&self) -> bool {
        self.next_to_hand_over().is_some()
    }

    /// What to do with a row of `key_group` that came on a regular channel. See the table in the
    /// header.
    ///
    /// # Errors
    /// [`ProtocolError::NotOwned`] and [`ProtocolError::BehindConfirm`]: the row should not be
    /// here.
    pub fn verdict(
        &self,
        channel: ChannelId,
        key_group: KeyGroup,
    ) -> Result<Verdict, ProtocolError> {
        match self.place(key_group) {
            Place::Local => Ok(Verdict::Process),
            Place::Leaving(subscale) => {
                self.departure_of_row(channel, key_group, subscale)?;
                Ok(Verdict::Process)
            }
            Place::Left(subscale) => {
                let to = self.departure_of_row(channel, key_group, subscale)?.to;
                Ok(Verdict::Reroute { to, subscale })
            }
            Place::Arriving {
                subscale,
                installed,
            } => {
                let has_state = installed
                    || !self.rules.row_waits_for_state
                    || self
                        .arrivals
                        .get(&subscale)
                        .is_some_and(|a| a.mechanism.early == Early::Run);
                let runs =
                    has_state && !(self.waits_for_confirm() && self.unconfirmed(subscale, channel));
                Ok(if runs {
                    Verdict::Process
                } else {
                    Verdict::Hold
                })
            }
            Place::Elsewhere => Err(ProtocolError::NotOwned { channel, key_group }),
        }
    }

    /// Checks that a re-routed row of `key_group` from an old owner may run; it then runs at once,
    /// whatever is held.
    ///
    /// # Errors
    /// [`ProtocolError::KeyGroup`] if its state has not come from there before it, in the same
    /// subscale.
    pub fn check_rerouted(
        &self,
        from: ExecutorId,
        subscale: SubscaleId,
        key_group: KeyGroup,
    ) -> Result<(), ProtocolError> {
        let comes_from_there = self
            .arrivals
            .get(&subscale)
            .is_some_and(|arrival| arrival.from == from);
        match self.place(key_group) {
            Place::Arriving {
                subscale: of,
                installed: true,
            } if of == subscale && comes_from_there => Ok(()),
            _ => Err(self.misplaced(key_group, "a re-routed row")),
        }
    }

    /// Takes one event and appends what it leads to.
    ///
    /// # Errors
    /// [`ProtocolError`] if the event does not fit. The machine is not to be used after that: the
    /// job restarts.
    pub fn step(&mut self, event: Event, actions: &mut Vec<Action>) -> Result<(), ProtocolError> {
        match event {
            Event::OpenChannel { channel } => self.open_channel(channel),
            Event::CloseChannel { channel } => self.close_channel(channel),
            Event::OpenMigrationTo { to } => self.alignment.open_migration_to(to),
            Event::OpenMigrationFrom { from } => self.alignment.open_migration_from(from),
            Event::CloseMigrationTo { to } => self.close_migration_to(to),
            Event::CloseMigrationFrom { from } => self.close_migration_from(from),
            Event::PrepareNew {
                subscale,
                old_owner,
                key_groups,
                mechanism,
            } => self.prepare_new(subscale, old_owner, key_groups, mechanism, actions),
            Event::PrepareOld {
                subscale,
                new_owner,
                key_groups,
                mechanism,
            } => self.prepare_old(subscale, new_owner, key_groups, mechanism),
            Event::Confirm { channel, subscale } => self.confirm(channel, subscale, actions),
            Event::Barrier { channel, epoch } => self.barrier(channel, epoch, actions),
            Event::StateInstalled {
                from,
                subscale,
                key_group,
            } => self.state_installed(from, subscale, key_group, actions),
            Event::ReroutedConfirm {
                from,
                subscale,
                channel,
            } => self.rerouted_confirm(from, subscale, channel, actions),
            Event::MigrationBarrier { from, epoch } => self.migration_barrier(from, epoch, actions),
            Event::SubscaleClosed { from, subscale } => {
                self.subscale_closed(from, subscale, actions)
            }
            Event::Wanted {
                subscale,
                key_group,
            } => {
                self.wanted(subscale, key_group);
                Ok(())
            }
            Event::Early { key_group } => {
                self.early(key_group, actions);
                Ok(())
            }
            Event::Poll => self.poll(actions),
            Event::Committed { epoch } => self.alignment.commit(epoch),
        }
    }

    // Topology. The channels whose confirm barriers count are those open at Prepare, so they stay
    // while it is open.

    fn open_channel(&mut self, channel: ChannelId) -> Result<(), ProtocolError> {
        self.no_subscale("a subscale is open")?;
        self.alignment.open_channel(channel)
    }

    fn close_channel(&mut self, channel: ChannelId) -> Result<(), ProtocolError> {
        self.no_subscale("a subscale is open")?;
        self.alignment.close_channel(channel)
    }

    fn close_migration_to(&mut self, to: ExecutorId) -> Result<(), ProtocolError> {
        if self.departures.values().any(|departure| departure.to == to) {
            return Err(ProtocolError::Topology {
                reason: "a subscale uses the migration channel",
            });
        }
        self.alignment.close_migration_to(to)
    }

    fn close_migration_from(&mut self, from: ExecutorId) -> Result<(), ProtocolError> {
        if self.arrivals.values().any(|arrival| arrival.from == from) {
            return Err(ProtocolError::Topology {
                reason: "a subscale uses the migration channel",
            });
        }
        self.alignment.close_migration_from(from)
    }

    fn no_subscale(&self, reason: &'static str) -> Result<(), ProtocolError> {
        if self.quiet() {
            Ok(())
        } else {
            Err(ProtocolError::Topology { reason })
        }
    }

    // Opening a subscale.

    fn prepare_new(
        &mut self,
        subscale: SubscaleId,
        from: ExecutorId,
        key_groups: KeyGroupSet,
        mechanism: Mechanism,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        self.check_prepare(subscale, &key_groups, Place::Elsewhere, mechanism)?;
        if !self.alignment.has_incoming(from) {
            return Err(ProtocolError::MigrationChannel {
                me: self.me,
                peer: from,
                what: "a subscale",
            });
        }
        for key_group in &key_groups {
            self.set_place(
                key_group,
                Place::Arriving {
                    subscale,
                    installed: false,
                },
            );
        }
        let awaited = key_groups.clone();
        let unconfirmed = self.to_confirm(mechanism);
        self.arrivals.insert(
            subscale,
            Arrival {
                from,
                key_groups,
                awaited,
                unconfirmed,
                closed: false,
                mechanism,
                asked_for: KeyGroupSet::default(),
            },
        );
        // A barrier that signals has prepared every executor that commits it: nobody asks.
        if mechanism.signal == Signal::Priority {
            actions.push(Action::Prepared { subscale });
        }
        Ok(())
    }

    fn prepare_old(
        &mut self,
        subscale: SubscaleId,
        to: ExecutorId,
        key_groups: KeyGroupSet,
        mechanism: Mechanism,
    ) -> Result<(), ProtocolError> {
        self.check_prepare(subscale, &key_groups, Place::Local, mechanism)?;
        if !self.alignment.has_outgoing(to) {
            return Err(ProtocolError::MigrationChannel {
                me: self.me,
                peer: to,
                what: "a subscale",
            });
        }
        for key_group in &key_groups {
            self.set_place(key_group, Place::Leaving(subscale));
        }
        let unsent = key_groups.clone();
        let unconfirmed = self.to_confirm(mechanism);
        let wanted = self.take_wanted_ahead(subscale);
        self.departures.insert(
            subscale,
            Departure {
                to,
                key_groups,
                unsent,
                unconfirmed,
                any_confirmed: mechanism.signal == Signal::Barrier,
                announced: mechanism.signal == Signal::Barrier,
                order: mechanism.order,
                wanted,
            },
        );
        Ok(())
    }

    /// The channels that still carry rows by the old assignment. Behind the barrier that signals a
    /// subscale there are none.
    fn to_confirm(&self, mechanism: Mechanism) -> BTreeSet<ChannelId> {
        match mechanism.signal {
            Signal::Priority => self.alignment.channels().collect(),
            Signal::Barrier => BTreeSet::new(),
        }
    }

    fn check_prepare(
        &self,
        subscale: SubscaleId,
        key_groups: &KeyGroupSet,
        needed: Place,
        mechanism: Mechanism,
    ) -> Result<(), ProtocolError> {
        if mechanism.signal == Signal::Barrier {
            self.alignment.between_epochs()?;
        }
        if key_groups.is_empty() {
            return Err(ProtocolError::Empty { subscale });
        }
        if self.departures.contains_key(&subscale) || self.arrivals.contains_key(&subscale) {
            return Err(ProtocolError::Subscale {
                subscale,
                what: "opening it",
            });
        }
        match key_groups
            .iter()
            .find(|key_group| self.place(*key_group) != needed)
        {
            Some(key_group) => Err(self.misplaced(key_group, "opening a subscale with it")),
            None => Ok(()),
        }
    }

    // Barriers.

    fn barrier(
        &mut self,
        channel: ChannelId,
        epoch: Epoch,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        if self.alignment.barrier(channel, epoch)? {
            if self.rules.hand_over_before_barrier {
                self.hand_over_confirmed(actions);
            }
            if self.rules.migration_barriers {
                let send = |to: &ExecutorId| Action::SendMigrationBarrier { to: *to, epoch };
                actions.extend(self.alignment.outgoing().iter().map(send));
            }
            self.try_commit(actions);
        }
        Ok(())
    }

    fn migration_barrier(
        &mut self,
        from: ExecutorId,
        epoch: Epoch,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        self.alignment.migration_barrier(from, epoch)?;
        self.try_commit(actions);
        Ok(())
    }

    fn try_commit(&mut self, actions: &mut Vec<Action>) {
        if let Some(epoch) = self.alignment.try_commit() {
            actions.push(Action::Commit { epoch });
        }
    }

    // Look-ups.

    /// What this executor does with rows that are too early, at present.
    #[must_use]
    pub fn on_early(&self) -> Early {
        let stops = |arrival: &Arrival| arrival.mechanism.early == Early::Stop;
        if self.arrivals.values().any(stops) {
            Early::Stop
        } else {
            Early::Hold
        }
    }

    fn waits_for_confirm(&self) -> bool {
        self.release == Release::Ordered && self.rules.row_waits_for_confirm
    }

    fn misplaced(&self, key_group: KeyGroup, what: &'static str) -> ProtocolError {
        ProtocolError::KeyGroup {
            me: self.me,
            key_group,
            what,
        }
    }

    fn place(&self, key_group: KeyGroup) -> Place {
        self.places
            .get(key_group.index())
            .copied()
            .unwrap_or(Place::Elsewhere)
    }

    fn set_place(&mut self, key_group: KeyGroup, place: Place) {
        if key_group.index() >= self.places.len() {
            self.places.resize(key_group.index() + 1, Place::Elsewhere);
        }
        self.places[key_group.index()] = place;
    }
}

#[cfg(test)]
mod tests;
