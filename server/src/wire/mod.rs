//! Our values and messages ↔ the bytes of PostgreSQL's protocol 3.0.
//!
//! ```text
//!   client bytes ──► frame ──► Message            parameter, input ──► Arrow
//!   Arrow ──► encode (text | binary) ──► backend ──► client bytes
//! ```
//!
//! Nothing here knows of sessions, statements or tables.

pub mod backend;
pub mod binary;
pub mod column;
pub mod encode;
pub mod frame;
pub mod numeric;
pub mod parameter;
