//! What `CREATE TABLE` has beyond PostgreSQL's: `APPEND ONLY`, and what becomes of rows whose
//! primary key exists. Both are RisingWave's, and stand at the end.

use sqlparser::parser::Parser;

use super::streaming::{Fault, Result, take};
use crate::error::Error;

/// `[APPEND ONLY] [ON CONFLICT policy]` behind a `CREATE TABLE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableExtras {
    /// Whether rows are never updated or deleted.
    pub append_only: bool,
    /// What becomes of a row whose primary key exists; an error if absent.
    pub on_conflict: Option<ConflictPolicy>,
}

/// What becomes of a row whose primary key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictPolicy {
    /// `DO NOTHING`, or `IGNORE`: the row that exists stays.
    Ignore,
    /// `DO UPDATE FULL`, or `OVERWRITE`: the new row takes its place.
    Overwrite,
}

/// Reads them, if they are there.
pub(super) fn table_extras(parser: &mut Parser<'_>) -> Result<TableExtras> {
    let append_only = take(parser, &["APPEND", "ONLY"]);
    let on_conflict = if take(parser, &["ON", "CONFLICT"]) {
        Some(policy(parser)?)
    } else {
        None
    };
    if append_only && on_conflict == Some(ConflictPolicy::Overwrite) {
        return Err(Fault::Ours(Error::InvalidDefinition {
            message: "an append-only table cannot overwrite rows".to_owned(),
        }));
    }
    Ok(TableExtras {
        append_only,
        on_conflict,
    })
}

fn policy(parser: &mut Parser<'_>) -> Result<ConflictPolicy> {
    if take(parser, &["DO", "NOTHING"]) || take(parser, &["IGNORE"]) {
        Ok(ConflictPolicy::Ignore)
    } else if take(parser, &["DO", "UPDATE", "FULL"]) || take(parser, &["OVERWRITE"]) {
        Ok(ConflictPolicy::Overwrite)
    } else if take(parser, &["DO", "UPDATE", "IF", "NOT", "NULL"]) {
        Err(Fault::Ours(Error::unsupported(
            "ON CONFLICT DO UPDATE IF NOT NULL",
            "use DO UPDATE FULL, or INSERT … ON CONFLICT (key) DO UPDATE SET …",
        )))
    } else {
        let expected = "DO NOTHING or DO UPDATE FULL";
        Ok(parser.expected_ref(expected, parser.peek_token_ref())?)
    }
}
