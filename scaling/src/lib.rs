//! Who owns which key group, and how that changes while rows keep flowing: the DRRS protocol
//! (Decoupling and Re-routing, Record Scheduling, subScale division) as pure state machines.
//!
//! ```text
//!   ALTER … SET PARALLELISM ─► Assignment::least_move ─► moves ─► divide ─► subscales
//!                                                                             │
//!                          Pace ─► ┌──────────── Coordinator ◄───────────────┘
//!                       PrepareNew, PrepareOld      │ Switch
//!                                   ▼               ▼
//!        executors (Migration, Scheduler)      predecessors (confirm_position)
//! ```
//!
//! Nothing here does I/O, reads a clock, rolls dice, waits, locks or logs; maps are ordered. A
//! machine takes an event and appends the actions its *edge* must carry out, in that order. The
//! engine's edge is the executor crate. Two others drive these same machines: [`simulator`] in
//! virtual time, and the random steps of `tests/sim`.
//!
//! Start reading at [`migration`]: its header has the rules and why they hold.

pub mod adaptive;
pub mod assignment;
pub mod coordinator;
pub mod error;
pub mod fence;
pub mod id;
pub mod key_group;
pub mod message;
pub mod migration;
pub mod pace;
pub mod rules;
pub mod schedule;
pub mod simulator;
pub mod strategy;
pub mod subscale;

mod alignment;

pub use adaptive::{AdaptiveBounds, AdaptivePolicy, Decision, FragmentDemand};
pub use assignment::Assignment;
pub use coordinator::{Coordinator, CoordinatorAction, CoordinatorEvent, OPEN_SUBSCALES_MAX};
pub use error::ProtocolError;
pub use fence::confirm_position;
pub use id::{ChannelId, Epoch, ExecutorId, SubscaleId};
pub use key_group::{KEY_GROUPS_DEFAULT, KeyGroup, KeyGroupSet};
pub use message::{Action, Event, Release, Verdict};
pub use migration::Migration;
pub use pace::{HandOverSpeed, PAUSE_DEFAULT, Pace};
pub use rules::Rules;
pub use schedule::{HeadState, Held, HoldLimit, Read, Scheduler};
pub use strategy::{Early, Mechanism, Order, Signal, Steps, Strategy, UnknownStrategy};
pub use subscale::{Division, Subscale, divide};
