//! Durable rows and the state of operators: everything that outlives a message.
//!
//! ```text
//!   operator ──add/lookup──► StateTable ── one Partition a key group (Arrow chunks + hash index)
//!                               │ commit                │ extract / install
//!                               ▼                       ▼
//!                  StateDelta, PartitionSnapshot    PartitionState ──► migration channel
//!                               │
//!                               ▼
//!                     Storage::checkpoint ──► Kv (RocksDB; in memory for tests)
//! ```
//!
//! Invariants: a row's identity is the whole row; a partition maps distinct rows to measures,
//! which only ever change by addition; a checkpoint is one atomic, synced write; a row in memory that no
//! checkpoint has yet never leaves it.
//! Not here: who owns a key group (`scaling`), when to commit (`executor`), SQL of any kind.

pub mod canary;
pub mod crash;
pub mod error;
pub mod hash;
pub mod key_read;
pub mod kv;
pub mod layout;
pub mod measures;
pub mod memory_kv;
mod order_index;
pub mod partition_state;
pub mod rocks_kv;
pub mod schema;
pub mod snapshot;
pub mod snapshot_changes;
pub mod sorted_rows;
pub mod state_memory;
pub mod state_size;
pub mod state_table;
pub mod storage;

mod cells;
mod chunk;
mod digest;
mod gather;
mod key_index;
mod partition;
mod rows;
mod witness;

pub use crate::error::{Error, Result};
pub use crate::hash::{hash_rows, key_group};
pub use crate::key_read::{Direction, KeyRead};
pub use crate::measures::{FloatSum, MeasureColumn, MeasureType, Measures};
pub use crate::partition::Evicted;
pub use crate::partition_state::PartitionState;
pub use crate::schema::{Run, TableId, TableSchema};
pub use crate::snapshot::{DatabaseSnapshot, PartitionSnapshot, TableSnapshot};
pub use crate::snapshot_changes::RowChanges;
pub use crate::sorted_rows::{KeyOrder, KeyRange, Next};
pub use crate::state_memory::StateMemory;
pub use crate::state_size::StateSize;
pub use crate::state_table::{
    Changed, Committed, Matches, NullEquality, RowRef, StateDelta, StateTable,
};
pub use crate::storage::{CatalogChange, Checkpoint, Storage};
