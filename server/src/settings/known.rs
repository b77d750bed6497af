//! The table of all settings: names, defaults, and what values they take.

use crate::settings::SERVER_VERSION;

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
    /// One that keeps views correct.
    RescaleStrategy,
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
        "Sets the application name to be reported in statistics.",
    ),
    known(
        "backslash_quote",
        "safe_encoding",
        Rule::Any,
        "Accepted for compatibility.",
    ),
    known(
        "block_size",
        "8192",
        Rule::Fixed,
        "Shows the size of a disk block.",
    ),
    known(
        "bytea_output",
        "hex",
        Rule::OneOf(&["hex"]),
        "Sets the output format for bytea.",
    ),
    known(
        "check_function_bodies",
        "on",
        Rule::Bool,
        "Accepted for compatibility.",
    ),
    reported(
        "client_encoding",
        "UTF8",
        Rule::Encoding,
        "Sets the client's character set encoding.",
    ),
    known(
        "client_min_messages",
        "notice",
        Rule::OneOf(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error",
        ]),
        "Sets the message levels that are sent to the client.",
    ),
    known(
        "cursor_tuple_fraction",
        "0.1",
        Rule::Any,
        "Accepted for compatibility.",
    ),
    reported(
        "DateStyle",
        "ISO, MDY",
        Rule::DateStyle,
        "Sets the display format for date and time values.",
    ),
    known(
        "default_table_access_method",
        "heap",
        Rule::Any,
        "Accepted for compatibility.",
    ),
    known(
        "default_tablespace",
        "",
        Rule::Any,
        "Accepted for compatibility.",
    ),
    known(
        "default_transaction_isolation",
        "read committed",
        ISOLATION,
        "Sets the transaction isolation level of each new transaction.",
    ),
    known(
        "default_transaction_read_only",
        "off",
        Rule::Bool,
        "Sets the default read-only status of new transactions.",
    ),
    known(
        "extra_float_digits",
        "1",
        Rule::Integer { min: -15, max: 3 },
        "Floats are always printed in their shortest precise form.",
    ),
    known(
        "idle_in_transaction_session_timeout",
        "0",
        Rule::Milliseconds,
        "Sets the maximum allowed idle time between queries, when in a transaction.",
    ),
    known(
        "idle_session_timeout",
        "0",
        Rule::Milliseconds,
        "Sets the maximum allowed idle time between queries, when not in a transaction.",
    ),
    known(
        "integer_datetimes",
        "on",
        Rule::Fixed,
        "Shows whether datetimes are integer based.",
    ),
    reported(
        "IntervalStyle",
        "postgres",
        Rule::OneOf(&["postgres"]),
        "Sets the display format for interval values.",
    ),
    reported(
        "is_superuser",
        "on",
        Rule::Fixed,
        "Shows whether the current user is a superuser.",
    ),
    known("jit", "off", Rule::Bool, "Accepted for compatibility."),
    known(
        "lc_collate",
        "C",
        Rule::Fixed,
        "Shows the collation order locale.",
    ),
    known(
        "lc_ctype",
        "C",
        Rule::Fixed,
        "Shows the character classification and case conversion locale.",
    ),
    known("lc_messages", "C", Rule::Any, "Accepted for compatibility."),
    known("lc_monetary", "C", Rule::Any, "Accepted for compatibility."),
    known("lc_numeric", "C", Rule::Any, "Accepted for compatibility."),
    known("lc_time", "C", Rule::Any, "Accepted for compatibility."),
    known(
        "lock_timeout",
        "0",
        Rule::Milliseconds,
        "Sets the longest wait for a table that another transaction writes.",
    ),
    known(
        "max_identifier_length",
        "63",
        Rule::Fixed,
        "Shows the maximum identifier length.",
    ),
    known(
        "max_index_keys",
        "32",
        Rule::Fixed,
        "Shows the maximum number of index keys.",
    ),
    known(
        "password_encryption",
        "scram-sha-256",
        Rule::OneOf(&["scram-sha-256"]),
        "Chooses the algorithm for encrypting passwords.",
    ),
    known(
        "quote_all_identifiers",
        "off",
        Rule::Bool,
        "Accepted for compatibility.",
    ),
    known(
        "rescale_strategy",
        "drrs",
        Rule::RescaleStrategy,
        "Sets how key groups move when a statement does not say.",
    ),
    known(
        "role",
        "none",
        Rule::Fixed,
        "Shows the current role, if SET ROLE has changed it.",
    ),
    known(
        "row_security",
        "on",
        Rule::Bool,
        "Accepted for compatibility.",
    ),
    known(
        "search_path",
        "\"$user\", public",
        Rule::Any,
        "Schemas that names without one are looked for in.",
    ),
    reported(
        "server_encoding",
        "UTF8",
        Rule::Fixed,
        "Shows the server's character set encoding.",
    ),
    reported(
        "server_version",
        SERVER_VERSION,
        Rule::Fixed,
        "Shows the version of PostgreSQL that we behave like.",
    ),
    known(
        "server_version_num",
        "150000",
        Rule::Fixed,
        "Shows the same as an integer.",
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
        "Causes '...' strings to treat backslashes literally.",
    ),
    known(
        "statement_timeout",
        "0",
        Rule::Milliseconds,
        "Sets the maximum allowed duration of any statement.",
    ),
    known(
        "streaming_parallelism",
        "default",
        Rule::Parallelism,
        "Sets the parallelism of tables and materialized views that are created.",
    ),
    known(
        "synchronize_seqscans",
        "on",
        Rule::Bool,
        "Accepted for compatibility.",
    ),
    known(
        "synchronous_commit",
        "on",
        Rule::OneOf(&["on", "local", "remote_write", "remote_apply"]),
        "Writes are durable when they are acknowledged.",
    ),
    reported(
        "TimeZone",
        "UTC",
        Rule::Zone,
        "Sets the time zone for displaying and interpreting time stamps.",
    ),
    known(
        "transaction_isolation",
        "read committed",
        ISOLATION,
        "Sets the current transaction's isolation level.",
    ),
    known(
        "transaction_read_only",
        "off",
        Rule::Bool,
        "Sets the current transaction's read-only status.",
    ),
    known(
        "xmloption",
        "content",
        Rule::Any,
        "Accepted for compatibility.",
    ),
];
