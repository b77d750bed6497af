//! Named crash points: places where a test ends the process to see what a restart finds.
//!
//! A point is written `crash_point!("checkpoint.written")` and costs nothing in release builds,
//! where it is compiled out. With `TIDEWATER_CRASH_AT=checkpoint.written:3` in the environment, the
//! third time that any thread reaches the point the process aborts, as a `kill -9` would end it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms a point: `name` or `name:nth`, counted from one.
pub const VARIABLE: &str = "TIDEWATER_CRASH_AT";

/// The crash points of this crate, in the order in which a server reaches them; those between
/// `checkpoint.before` and `checkpoint.written` only with checkpoints of a megabyte.
pub const POINTS: &[&str] = &[
    "storage.open.created",
    "wal.append.before",
    "wal.append.after",
    "catalog.write.before",
    "catalog.write.after",
    "checkpoint.before",
    "checkpoint.table",
    "checkpoint.incoming",
    "checkpoint.taken_in",
    "checkpoint.written",
    "checkpoint.witnessed",
];

/// Ends the process here if the environment says so (see [`crate::crash`]).
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        if cfg!(debug_assertions) {
            $crate::crash::reach($name);
        }
    };
}

/// The armed point and how often it is yet to be passed.
struct Armed {
    name: String,
    left: AtomicU64,
}

/// Aborts the process if this is the armed point, for the armed time. Use [`crash_point!`].
pub fn reach(name: &str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| parse(&std::env::var(VARIABLE).ok()?));
    if let Some(armed) = armed
        && armed.name == name
        && armed.left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

fn parse(variable: &str) -> Option<Armed> {
    let (name, nth) = match variable.split_once(':') {
        Some((name, nth)) => (name, nth.parse().ok().filter(|&nth| nth > 0)?),
        None => (variable, 1),
    };
    Some(Armed {
        name: name.to_owned(),
        left: AtomicU64::new(nth),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_a_point_and_a_time() {
        let armed = parse("checkpoint.written:3").unwrap();
        assert_eq!(armed.name, "checkpoint.written");
        assert_eq!(armed.left.load(Ordering::SeqCst), 3);
        assert_eq!(parse("a").unwrap().left.load(Ordering::SeqCst), 1);
        assert!(parse("a:0").is_none());
    }
}
