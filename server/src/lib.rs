//! The server: clients on one side, the engine on the other.
//!
//! ```text
//!   socket ─► wire::frame ─► session ─► statement ─┬─ query ─► planner, DataFusion, a snapshot
//!      ▲                        │                  ├─ dml, copy ─► engine.write
//!      └── wire::backend ◄──────┘                  └─ ddl, alter ─► engine, catalog
//! ```
//!
//! Start reading at [`server::Server`], then `session`. Nothing below this crate knows of
//! clients, SQLSTATE or text protocol; inside it SQLSTATEs are in `sqlstate.rs` alone.

pub mod access;
pub mod activity;
pub mod adaptive;
mod background;
pub mod bench;
pub mod big_stack;
pub mod catalog;
pub mod catalog_view;
pub mod client;
pub mod config;
mod definition;
pub mod error;
pub mod feed;
pub mod index_read;
pub mod interrupt;
pub mod key_set;
pub mod layout;
pub mod listener;
mod machine_memory;
pub mod namespace;
pub mod notice;
pub mod options;
pub mod pg_catalog;
pub mod rescale;
pub mod sequence;
pub mod server;
pub mod session;
pub mod settings;
pub mod sink;
pub mod snapshot_table;
pub mod sqlstate;
pub mod statement;
pub mod table_locks;
mod temporary_schema;
mod temporary_view;
pub mod tide;
pub mod tls;
pub mod wire;

pub use config::Config;
pub use error::{Error, Result};
pub use server::Server;
