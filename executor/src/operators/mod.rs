//! The operators, one a file. What they have in common: [`crate::operator::Operator`].
//!
//! | file | keeps | emits |
//! | --- | --- | --- |
//! | `project`, `filter`, `unnest` | nothing | at once |
//! | `hash_agg` | a row per group, values of min and max | at the barrier |
//! | `hash_join` | the rows of both sides | pairs at once, rows without a match at the barrier |
//! | `recompute` | its input and its output | at the barrier |
//! | `materialize` | the view's rows | at once |
//! | `scan` | how far a backfill is, and what it has passed on of it | at once, and when polled |
//! | `dml` | the last write applied | at once |
//! | `temporal_filter` | rows ahead of a time | at the barrier |
//! | `temporal_join` | the rows of the right side, and of the epoch | at the barrier |
//! | `watermark_filter` | the watermark | at once |
//! | `values` | whether it has emitted | when polled |
//!
//! A union has no operator: its inputs lead into the same parent (`pipeline`). Sources:
//! [`crate::sources`].

mod changed;
mod expression;

pub mod dml;
pub mod filter;
pub mod hash_agg;
pub mod hash_join;
pub mod materialize;
mod passed;
pub mod progress;
pub mod project;
pub mod recompute;
mod row_errors;
pub mod scan;
pub mod temporal_filter;
pub mod temporal_join;
pub mod unnest;
pub mod values;
pub mod watermark_filter;

#[cfg(test)]
pub(crate) mod testing;

pub use dml::Dml;
pub use filter::Filter;
pub use hash_agg::{AggPlan, HashAgg, LocalAgg};
pub use hash_join::{HashJoin, JoinPlan};
pub use materialize::Materialize;
pub use passed::Backlog;
pub(crate) use passed::ScanTables;
pub use project::Project;
pub use recompute::{Recompute, RecomputePlan};
pub use row_errors::{RowError, RowErrors};
pub use scan::{Scan, ScanPlan};
pub use temporal_filter::TemporalFilter;
pub use temporal_join::{TemporalJoin, TemporalJoinPlan};
pub use unnest::Unnest;
pub use values::Values;
pub use watermark_filter::{Lateness, WatermarkFilter};
