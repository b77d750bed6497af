//! Canaries: guards that a test takes away, to see that another test finds it.
//!
//! A guard is written `if !canary!("wal.synced") { … }`. In release builds that is always false. In
//! others, `TIDEWATER_CANARY=wal.synced` in the environment of a server takes the guard away.
//! `make canary` does so with one after the other, and the test that claims to watch it must fail.

use std::sync::OnceLock;

use crate::crash::equal;

/// The environment variable that takes a guard away.
pub const VARIABLE: &str = "TIDEWATER_CANARY";

/// All guards, each with the test that must fail without it.
pub const CANARIES: &[(&str, &str)] = &[
    // Whether writes are synced before they are acknowledged.
    ("wal.synced", "acknowledged_rows_outlast_the_power"),
    ("checkpoint.synced", "acknowledged_rows_outlast_the_power"),
    // Whether the directory of a table file is, before the mark that commits it.
    (
        "table.directory_synced",
        "large_checkpoints_outlast_the_power",
    ),
    // Whether writes are logged, and read back.
    ("write.logged", "a_share_of_the_crash_points"),
    ("recovery.replayed", "a_share_of_the_crash_points"),
    // What a start compares.
    (
        "witness.compared",
        "an_older_copy_of_the_database_is_refused",
    ),
    ("format.compared", "another_format_is_refused_untouched"),
    // What a frame may declare.
    ("frame.bounded", "declared_lengths_take_no_memory"),
    ("startup.timed", "half_open_connections_end"),
];

/// Whether a guard is in the table.
#[must_use]
pub const fn is_registered(name: &str) -> bool {
    let mut at = 0;
    while at < CANARIES.len() {
        if equal(CANARIES[at].0.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether this guard is taken away (see [`crate::canary`]).
#[macro_export]
macro_rules! canary {
    ($name:literal) => {{
        const {
            assert!($crate::canary::is_registered($name), "not in the table");
        }
        cfg!(debug_assertions) && $crate::canary::is_taken_away($name)
    }};
}

/// Whether the environment takes this guard away. Use [`canary!`].
#[must_use]
pub fn is_taken_away(name: &str) -> bool {
    static TAKEN: OnceLock<Option<String>> = OnceLock::new();
    let taken = TAKEN.get_or_init(|| std::env::var(VARIABLE).ok());
    taken.as_deref() == Some(name)
}
