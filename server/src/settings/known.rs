//! The table of all settings: names, defaults, and what values they take.

use scaling::Strategy;

use crate::settings::{SERVER_VERSION, correct_strategies};

/// The greatest rate limit.
pub(crate) const RATE_LIMIT_MAX: i64 = i32::MAX as i64;

/// A value and how to check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Cannot be changed.
    Fixed,
    Any,
    /// Cut to the length of an identifier.
    Name,
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    /// Whole milliseconds, or a number with unit.
    Milliseconds,
    OneOf(&'static [&'static str]),
    Zone,
    Encoding,
    DateStyle,
    /// 1 … key groups, or "default".
    Parallelism,
    /// Rows a second, or "default"; -1 is that, too.
    RateLimit,
    /// One that keeps views correct.
    RescaleStrategy,
}

impl Rule {
    /// What a setting with this rule and default takes, as `pg_settings` says it.
    pub(crate) fn domain(self, default: &str, key_groups: u16) -> Domain {
        let (kind, range) = match self {
            Rule::Bool => ("bool", None),
            Rule::Fixed if matches!(default, "on" | "off") => ("bool", None),
            Rule::Fixed if default.parse::<i64>().is_ok() => ("integer", None),
            Rule::Integer { min, max } => ("integer", Some((min, max))),
            Rule::Milliseconds => ("integer", Some((0, i64::from(i32::MAX)))),
            Rule::Parallelism => ("integer", Some((1, i64::from(key_groups)))),
            Rule::RateLimit => ("integer", Some((-1, RATE_LIMIT_MAX))),
            Rule::OneOf(_) | Rule::RescaleStrategy => ("enum", None),
            _ => ("string", None),
        };
        let choices = match self {
            Rule::OneOf(choices) => choices.to_vec(),
            Rule::RescaleStrategy => correct_strategies().map(Strategy::name).collect(),
            _ => Vec::new(),
        };
        Domain {
            kind,
            unit: (self == Rule::Milliseconds).then_some("ms"),
            range,
            choices,
            is_fixed: self == Rule::Fixed,
        }
    }
}

/// What values a setting takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// `bool`, `integer`, `enum` or `string`.
    pub kind: &'static str,
    /// What a bare number counts.
    pub unit: Option<&'static str>,
    /// The least and the greatest number.
    pub range: Option<(i64, i64)>,
    /// The values of an `enum`.
    pub choices: Vec<&'static str>,
    /// Whether it cannot be changed.
    pub is_fixed: bool,
}

#[derive(Debug)]
pub(crate) struct Known {
    /// As PostgreSQL writes it.
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) rule: Rule,
    /// Whether changes are reported by ParameterStatus.
    pub(crate) reported: bool,
    pub(crate) description: &'static str,
}

const fn known(
    name: &'static str,
    default: &'static str,
    rule: Rule,
    description: &'static str,
) -> Known {
    Known {
        name,
        default,
        rule,
        reported: false,
        description,
    }
}

const fn reported(
    name: &'static str,
    default: &'static str,
    rule: Rule,
    description: &'static str,
) -> Known {
    Known {
        name,
        default,
        rule,
        reported: true,
        description,
    }
}

/// What clients of PostgreSQL set, and nothing here depends on.
const NO_EFFECT: &str = "Has no effect; clients of PostgreSQL set it.";

const ISOLATION: Rule = Rule::OneOf(&[
    "serializable",
    "repeatable read",
    "read committed",
    "read uncommitted",
]);

pub(crate) static KNOWN: &[Known] = &[
    reported(
        "application_name",
        "",
        Rule::Name,
        "Name of the client's program, as pg_stat_activity shows it.",
    ),
    known(
        "backfill_rate_limit",
        "default",
        Rule::RateLimit,
        "How many existing rows a second a materialized view, index or sink that is created reads, at most; 0 pauses.",
    ),
    known(
        "background_ddl",
        "off",
        Rule::Bool,
        "Whether CREATE MATERIALIZED VIEW returns before the view is complete.",
    ),
    known("backslash_quote", "safe_encoding", Rule::Any, NO_EFFECT),
    known(
        "block_size",
        "8192",
        Rule::Fixed,
        "Size of a disk block in PostgreSQL, which tools ask for.",
    ),
    known(
        "bytea_output",
        "hex",
        Rule::OneOf(&["hex"]),
        "How bytea is printed; always hex.",
    ),
    known("check_function_bodies", "on", Rule::Bool, NO_EFFECT),
    reported(
        "client_encoding",
        "UTF8",
        Rule::Encoding,
        "Encoding of texts between client and server; always UTF8.",
    ),
    known(
        "client_min_messages",
        "notice",
        Rule::OneOf(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error",
        ]),
        "Least severe messages that are sent besides errors.",
    ),
    known("cursor_tuple_fraction", "0.1", Rule::Any, NO_EFFECT),
    reported(
        "DateStyle",
        "ISO, MDY",
        Rule::DateStyle,
        "How dates and times are printed and read; always ISO, MDY.",
    ),
    known("default_table_access_method", "heap", Rule::Any, NO_EFFECT),
    known("default_tablespace", "", Rule::Any, NO_EFFECT),
    known(
        "default_transaction_isolation",
        "read committed",
        ISOLATION,
        "Isolation level of new transactions; above read committed they read one epoch and cannot write.",
    ),
    known(
        "default_transaction_read_only",
        "off",
        Rule::Bool,
        "Whether new transactions may only read.",
    ),
    known(
        "enable_two_phase_agg",
        "on",
        Rule::Bool,
        "Whether aggregations of a new materialized view without GROUP BY have two phases.",
    ),
    known(
        "extra_float_digits",
        "1",
        Rule::Integer { min: -15, max: 3 },
        "Has no effect: floats are always printed in their shortest precise form.",
    ),
    known(
        "force_two_phase_agg",
        "off",
        Rule::Bool,
        "Whether all aggregations of a new materialized view that can have two phases, against skew.",
    ),
    known(
        "idle_in_transaction_session_timeout",
        "0",
        Rule::Milliseconds,
        "Ends a session whose client is silent for so long within a transaction; 0 never does.",
    ),
    known(
        "idle_session_timeout",
        "0",
        Rule::Milliseconds,
        "Ends a session whose client is silent for so long outside of a transaction; 0 never does.",
    ),
    known(
        "integer_datetimes",
        "on",
        Rule::Fixed,
        "Whether times are 64-bit integers; always on.",
    ),
    reported(
        "IntervalStyle",
        "postgres",
        Rule::OneOf(&["postgres"]),
        "How intervals are printed; always postgres.",
    ),
    reported(
        "is_superuser",
        "on",
        Rule::Fixed,
        "Shows whether the current user is a superuser.",
    ),
    known("jit", "off", Rule::Bool, NO_EFFECT),
    known(
        "lc_collate",
        "C",
        Rule::Fixed,
        "Order of texts: by their bytes.",
    ),
    known(
        "lc_ctype",
        "C",
        Rule::Fixed,
        "Locale that decides what letters are.",
    ),
    known("lc_messages", "C", Rule::Any, NO_EFFECT),
    known("lc_monetary", "C", Rule::Any, NO_EFFECT),
    known("lc_numeric", "C", Rule::Any, NO_EFFECT),
    known("lc_time", "C", Rule::Any, NO_EFFECT),
    known(
        "lock_timeout",
        "0",
        Rule::Milliseconds,
        "Longest wait for a table that another transaction writes; 0 waits without end.",
    ),
    known(
        "max_identifier_length",
        "63",
        Rule::Fixed,
        "Longest name in PostgreSQL, in bytes; here longer ones are kept.",
    ),
    known(
        "max_index_keys",
        "32",
        Rule::Fixed,
        "Most columns of an index.",
    ),
    known(
        "password_encryption",
        "scram-sha-256",
        Rule::OneOf(&["scram-sha-256"]),
        "How passwords are kept.",
    ),
    known("quote_all_identifiers", "off", Rule::Bool, NO_EFFECT),
    known(
        "rescale_strategy",
        "drrs",
        Rule::RescaleStrategy,
        "How key groups move when ALTER ... SET PARALLELISM does not say.",
    ),
    known(
        "role",
        "none",
        Rule::Fixed,
        "The current role, if SET ROLE has changed it.",
    ),
    known("row_security", "on", Rule::Bool, NO_EFFECT),
    known(
        "search_path",
        "\"$user\", public",
        Rule::Any,
        "Schemas in which names without a schema are looked for; new relations go into the first.",
    ),
    reported(
        "server_encoding",
        "UTF8",
        Rule::Fixed,
        "Encoding of stored texts; always UTF8.",
    ),
    reported(
        "server_version",
        SERVER_VERSION,
        Rule::Fixed,
        "Version of PostgreSQL that Tidewater behaves like.",
    ),
    known(
        "server_version_num",
        "150000",
        Rule::Fixed,
        "The same as a number.",
    ),
    reported(
        "session_authorization",
        "root",
        Rule::Fixed,
        "Shows the session user name.",
    ),
    reported(
        "standard_conforming_strings",
        "on",
        Rule::OneOf(&["on"]),
        "Whether backslashes in '...' are plain characters; always on.",
    ),
    known(
        "statement_timeout",
        "0",
        Rule::Milliseconds,
        "Longest time that a statement may take; 0 is no limit.",
    ),
    known(
        "streaming_parallelism",
        "default",
        Rule::Parallelism,
        "Executors of each table, materialized view and index that is created.",
    ),
    known("synchronize_seqscans", "on", Rule::Bool, NO_EFFECT),
    known(
        "synchronous_commit",
        "on",
        Rule::OneOf(&["on", "local", "remote_write", "remote_apply"]),
        "Has no effect: writes are on disk when they are acknowledged.",
    ),
    reported(
        "TimeZone",
        "UTC",
        Rule::Zone,
        "Time zone in which time stamps are printed and read.",
    ),
    known(
        "transaction_isolation",
        "read committed",
        ISOLATION,
        "Isolation level of the current transaction.",
    ),
    known(
        "transaction_read_only",
        "off",
        Rule::Bool,
        "Whether the current transaction may only read.",
    ),
    known("xmloption", "content", Rule::Any, NO_EFFECT),
];
