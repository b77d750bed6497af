//! Tests of the crate from outside: state tables against a model, stored bytes, crashes.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod checkpoints;
mod crashes;
mod golden;
mod key_reads;
mod kv_contract;
mod model;
mod rows;
mod tables;
