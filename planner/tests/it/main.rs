//! Plans of queries over a small catalog, compared as text; and their results, where the batch
//! engine can tell.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod access;
mod batch;
mod catalog;
mod complexity;
mod interpret;
mod parse;
mod plans;
mod refusals;
mod results;
mod tables;
