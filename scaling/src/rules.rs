//! The rules of the protocol, each with a switch.
//!
//! The engine runs with all of them, which is the default. The simulation switches single ones off
//! to show that each is needed and that the checks would notice: a rule nobody can miss is not a
//! rule.

/// Which rules hold. Every field is `true` by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Predecessor: the confirm barrier is put behind the last unsent barrier
    /// ([`crate::confirm_position`]).
    pub confirm_behind_barriers: bool,
    /// Coordinator: predecessors switch only when both owners are prepared.
    pub prepare_before_switch: bool,
    /// Coordinator: the old owner is prepared only after the new owner, which therefore knows of
    /// every key group that can come to it.
    pub new_owner_prepared_first: bool,
    /// Executor: a regular channel is not read between its barrier and the commit of that epoch.
    pub regular_channels_align: bool,
    /// Executor: a migration channel is not read between its barrier and the commit of that epoch.
    pub migration_channels_align: bool,
    /// Executor: barriers travel on migration channels, and a commit waits for them.
    pub migration_barriers: bool,
    /// Old owner: hands over all that is left of a subscale with a confirm barrier before it sends
    /// on the barrier.
    pub hand_over_before_barrier: bool,
    /// Old owner: no key group leaves between sending on a barrier and committing its epoch.
    pub no_hand_over_before_commit: bool,
    /// New owner: a row waits for the state of its key group.
    pub row_waits_for_state: bool,
    /// New owner, ordered release only: a row waits for the re-routed confirm barrier of its
    /// channel.
    pub row_waits_for_confirm: bool,
    /// Old owner: forgets a subscale only when every channel has confirmed.
    pub close_after_confirms: bool,
    /// New owner: a subscale is done only when every channel has confirmed and the old owner has
    /// closed it.
    pub done_after_confirms: bool,
    /// Record scheduling: at the hold limit a channel with a held head is paused, never the whole
    /// executor.
    pub pause_channel_only: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            confirm_behind_barriers: true,
            prepare_before_switch: true,
            new_owner_prepared_first: true,
            regular_channels_align: true,
            migration_channels_align: true,
            migration_barriers: true,
            hand_over_before_barrier: true,
            no_hand_over_before_commit: true,
            row_waits_for_state: true,
            row_waits_for_confirm: true,
            close_after_confirms: true,
            done_after_confirms: true,
            pause_channel_only: true,
        }
    }
}
