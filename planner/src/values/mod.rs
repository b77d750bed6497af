//! Values of PostgreSQL's types: their names, and the text that they are read from and printed as.
//!
//! ```text
//!   text ──input──► Arrow column ──column, text──► text
//!                     │    ▲
//!                     └cast┘      one type to another, as PostgreSQL's casts do
//! ```
//!
//! Nothing here knows of queries. The server prints its results by the same functions.

pub mod cast;
pub mod column;
pub mod datetime;
pub mod error;
pub mod input;
pub mod interval;
pub mod json;
pub mod map;
pub mod numeric;
pub mod record;
pub mod temporal;
pub mod text;
pub mod types;

pub use error::{Fault, ValueError};
