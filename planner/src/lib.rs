//! SQL to plans: statements, names and types, batch plans, and the dataflow plans of continuous
//! views.
//!
//! ```text
//!   SQL text ──parse──► Statement ─┬─ query ──batch::Session──► DataFusion plan ──► rows
//!                                  ├─ view query ──stream──► Dataflow (for the executor)
//!                                  └─ CREATE TABLE ──table──► TableDefinition ──► Dataflow
//! ```
//!
//! The planner sees tables through the [`Catalog`] trait, and names no other crate of the
//! workspace. Errors say what kind of fault they are; SQLSTATEs are the server's.

mod asof_join;
pub mod batch;
mod bind;
pub mod catalog;
mod checked_integers;
pub mod complexity;
pub mod dataflow;
mod distinct_statistics;
pub mod error;
mod evaluation;
pub mod explain;
mod expression_rule;
mod float_rule;
mod functions;
mod ignored;
mod in_subqueries;
mod integer_literals;
mod join_conditions;
mod lateral;
mod lateral_limit;
pub mod measures;
pub mod named_types;
pub mod names;
mod number_aggregates;
mod origins;
pub mod parse;
mod query_memory;
mod record_stars;
mod set_operations;
mod sort_subqueries;
pub mod source;
pub mod sql_function;
pub mod stream;
pub mod table;
mod temporal_join;
pub mod types;
pub mod values;
mod values_subqueries;
pub mod watermarks;
mod window_tables;

pub use batch::{BatchPlan, PlanNode, Session, Settings};
pub use catalog::{
    Catalog, NexmarkSource, Relation, RelationId, RelationKind, StoredColumns, WatermarkDefinition,
};
pub use dataflow::Dataflow;
pub use error::{Error, Result};
pub use origins::Origin;
pub use parse::{Emit, Parsed, Statement, parse};
pub use query_memory::QueryMemory;
pub use sql_function::SqlFunction;
pub use stream::{ViewPlan, columns_read, plan_view, view_columns};
pub use table::{TableDefinition, plan_index, plan_rows, plan_table};
