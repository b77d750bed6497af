//! What an executor's machine is told and what it asks for: [`Event`], [`Action`], [`Verdict`].
//!
//! The rules that lead from one to the other are in [`crate::migration`].

use crate::{ChannelId, Epoch, ExecutorId, KeyGroup, KeyGroupSet, Mechanism, SubscaleId};

/// When a row that came straight to the new owner may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// With the state of its key group and behind all older rows of its channel: the paper's
    /// implicit alignment, for operators in which order inside an epoch matters.
    Ordered,
    /// With the state of its key group: for operators that add up changes in any order.
    Commutative,
}

/// What can happen. Events of one channel keep their order; channels interleave freely.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Topology, right after a commit: a regular channel is one more input.
    OpenChannel {
        /// The channel, ending here.
        channel: ChannelId,
    },
    /// Topology, right after a commit: a regular channel has delivered its last barrier.
    CloseChannel {
        /// The channel.
        channel: ChannelId,
    },
    /// Topology, right after a commit: state may go to this executor from now on.
    OpenMigrationTo {
        /// The new owner.
        to: ExecutorId,
    },
    /// Topology, right after a commit: state may come from this executor from now on.
    OpenMigrationFrom {
        /// The old owner.
        from: ExecutorId,
    },
    /// Topology, right after a commit: no more state will go there.
    CloseMigrationTo {
        /// The new owner.
        to: ExecutorId,
    },
    /// Topology, right after a commit: no more state will come from there.
    CloseMigrationFrom {
        /// The old owner.
        from: ExecutorId,
    },
    /// From the coordinator: key groups will come here. If the signal is a barrier: right after its
    /// commit.
    PrepareNew {
        /// The subscale.
        subscale: SubscaleId,
        /// Where they come from.
        old_owner: ExecutorId,
        /// What will come.
        key_groups: KeyGroupSet,
        /// How.
        mechanism: Mechanism,
    },
    /// From the coordinator: key groups shall leave. If the signal is a barrier: right after its
    /// commit.
    PrepareOld {
        /// The subscale.
        subscale: SubscaleId,
        /// Where they go.
        new_owner: ExecutorId,
        /// What leaves.
        key_groups: KeyGroupSet,
        /// How.
        mechanism: Mechanism,
    },
    /// A confirm barrier on a regular channel: later rows of the subscale go to the new owner.
    Confirm {
        /// The channel it came on.
        channel: ChannelId,
        /// The subscale.
        subscale: SubscaleId,
    },
    /// A barrier on a regular channel.
    Barrier {
        /// The channel it came on.
        channel: ChannelId,
        /// The epoch it ends.
        epoch: Epoch,
    },
    /// The state of a key group came over a migration channel and is installed.
    StateInstalled {
        /// The old owner.
        from: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
        /// What came.
        key_group: KeyGroup,
    },
    /// A confirm barrier came over a migration channel: no older row of that channel will.
    ReroutedConfirm {
        /// The old owner.
        from: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
        /// The channel on which the old owner got it. Stands for this executor's channel of that
        /// predecessor and input.
        channel: ChannelId,
    },
    /// A barrier on a migration channel.
    MigrationBarrier {
        /// The old owner.
        from: ExecutorId,
        /// The epoch it ends.
        epoch: Epoch,
    },
    /// The old owner will send nothing more of a subscale.
    SubscaleClosed {
        /// The old owner.
        from: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
    },
    /// From the new owner: rows wait for this key group. May come late, when it has left already.
    Wanted {
        /// The subscale.
        subscale: SubscaleId,
        /// What they wait for.
        key_group: KeyGroup,
    },
    /// A row of the key group is too early here: it was held, or stops the channel it heads.
    Early {
        /// Its key group.
        key_group: KeyGroup,
    },
    /// Between two messages: a key group may be handed over now.
    Poll,
    /// What [`Action::Commit`] asked for is done, and the barrier sent on downstream.
    Committed {
        /// The epoch.
        epoch: Epoch,
    },
}

/// What the edge must now do. The actions of one event are carried out in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Tell the coordinator that this owner knows of the subscale and, as old owner, that the first
    /// key group of it leaves.
    Prepared {
        /// The subscale.
        subscale: SubscaleId,
    },
    /// Extract a key group from all state tables and send it, even if it is empty.
    SendState {
        /// The new owner.
        to: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
        /// What to extract.
        key_group: KeyGroup,
    },
    /// Pass a confirm barrier on, behind all rows of that channel re-routed so far.
    SendReroutedConfirm {
        /// The new owner.
        to: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
        /// The channel it came on, as this executor names it.
        channel: ChannelId,
    },
    /// Send a barrier on a migration channel.
    SendMigrationBarrier {
        /// The new owner.
        to: ExecutorId,
        /// The epoch it ends.
        epoch: Epoch,
    },
    /// Tell the new owner that nothing more of the subscale comes.
    SendSubscaleClosed {
        /// The new owner.
        to: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
    },
    /// Tell the old owner, ahead of all rows, that rows wait for a key group.
    SendWanted {
        /// The old owner.
        to: ExecutorId,
        /// The subscale.
        subscale: SubscaleId,
        /// What they wait for.
        key_group: KeyGroup,
    },
    /// Run the held rows of a key group, all of them, in the order they were held.
    Release {
        /// Whose rows.
        key_group: KeyGroup,
        /// Only those that came on this channel; `None` for those of all channels.
        channel: Option<ChannelId>,
    },
    /// Commit the epoch, send its barrier downstream, then report [`Event::Committed`]. No row is
    /// held.
    Commit {
        /// The epoch.
        epoch: Epoch,
    },
    /// Tell the coordinator that this executor, the new owner, has all state of the subscale.
    Installed {
        /// The subscale.
        subscale: SubscaleId,
    },
    /// Tell the coordinator that this executor, the new owner, has everything of the subscale.
    Done {
        /// The subscale.
        subscale: SubscaleId,
    },
}

/// What to do with a row that came on a regular channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Run it.
    Process,
    /// Keep it, in order, until [`Action::Release`].
    Hold,
    /// Send it on the migration channel, with the channel it came on.
    Reroute {
        /// The new owner.
        to: ExecutorId,
        /// The subscale it belongs to.
        subscale: SubscaleId,
    },
}
