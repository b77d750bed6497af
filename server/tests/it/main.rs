//! The server as its clients see it: started in this process, spoken to over sockets.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod access;
mod background;
mod catalogs;
mod client_statements;
mod copy;
mod data_changes;
mod databases;
mod definitions;
mod extended;
mod failures;
mod harness;
mod hostile;
mod login;
mod memory;
mod restart;
mod row_errors;
mod scaling;
mod session_control;
mod sinks;
mod subscriptions;
mod temporary;
mod tls;
mod transactions;
mod types;
mod views;
