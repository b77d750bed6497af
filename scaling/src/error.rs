//! What can go wrong in the protocol: a message that no correct run delivers.

use crate::{ChannelId, Epoch, ExecutorId, KeyGroup, SubscaleId};

/// An event that does not fit the state of the machine. Channels keep order and the coordinator
/// keeps the protocol, so each of these is a bug of ours or of the transport; the job fails and
/// restarts from its last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A channel was used that is not open, or opened twice.
    #[error("channel {channel} is not in the state needed for {what}")]
    Channel {
        /// The regular channel.
        channel: ChannelId,
        /// What was attempted.
        what: &'static str,
    },
    /// A migration channel was used that is not open, or opened twice.
    #[error("migration channel between {me} and {peer} is not in the state needed for {what}")]
    MigrationChannel {
        /// The executor whose machine reports it.
        me: ExecutorId,
        /// The other end.
        peer: ExecutorId,
        /// What was attempted.
        what: &'static str,
    },
    /// A barrier or a commit is not the next one.
    #[error("expected epoch {expected}, found {found} in {what}")]
    Epoch {
        /// The epoch that is next.
        expected: Epoch,
        /// The epoch that came.
        found: Epoch,
        /// What brought it.
        what: &'static str,
    },
    /// Channels open and close only right after a commit, regular ones only while no subscale is
    /// open.
    #[error("the topology cannot change now: {reason}")]
    Topology {
        /// Why not.
        reason: &'static str,
    },
    /// A subscale is opened twice, or is not open in the role the message is for.
    #[error("subscale {subscale} is not in the state needed for {what}")]
    Subscale {
        /// The subscale.
        subscale: SubscaleId,
        /// What was attempted.
        what: &'static str,
    },
    /// A key group is not where the message takes it to be.
    #[error("key group {key_group} at {me} is not in the state needed for {what}")]
    KeyGroup {
        /// The executor whose machine reports it.
        me: ExecutorId,
        /// The key group.
        key_group: KeyGroup,
        /// What was attempted.
        what: &'static str,
    },
    /// A row came to an executor that neither owns nor awaits nor re-routes its key group.
    #[error("row of key group {key_group} on channel {channel}, which does not lead to its owner")]
    NotOwned {
        /// The channel the row came on.
        channel: ChannelId,
        /// Its key group.
        key_group: KeyGroup,
    },
    /// A row followed the old assignment behind the confirm barrier that ended it.
    #[error(
        "row of key group {key_group} on channel {channel} behind the confirm barrier of {subscale}"
    )]
    BehindConfirm {
        /// The channel the row came on.
        channel: ChannelId,
        /// Its key group.
        key_group: KeyGroup,
        /// The subscale that moved it.
        subscale: SubscaleId,
    },
    /// A subscale has one end twice, or no key group.
    #[error("subscale {subscale} moves nothing")]
    Empty {
        /// The subscale.
        subscale: SubscaleId,
    },
    /// The coordinator was started twice, or used before its start or after its end.
    #[error("the coordinator is not in the state needed for {what}")]
    Coordinator {
        /// What was attempted.
        what: &'static str,
    },
}
