//! Tests of the crate from outside: state tables against a model, stored bytes, crashes.

mod checkpoints;
mod golden;
mod kv_contract;
mod model;
mod rows;
mod tables;
