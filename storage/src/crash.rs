//! Named crash points: places where a test ends the process to see what a restart finds.
//!
//! A point is written `crash_point!("checkpoint.written")` and costs nothing in release builds,
//! where it is compiled out. With `TIDEWATER_CRASH_AT=checkpoint.written:3` in the environment, the
//! third time that any thread reaches the point the process aborts, as a `kill -9` would end it.
//! With `TIDEWATER_CRASH_LOG=file`, each time a point is reached its name is a line of the file.
//!
//! All points of the server stand here, in one table, whatever crate they are in: a point that is
//! not in it does not compile, and one that no test reaches fails `make crash`. What a crash may tear
//! apart has a point before it and one after it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms a point: `name` or `name:nth`, counted from one.
pub const VARIABLE: &str = "TIDEWATER_CRASH_AT";
/// The environment variable that names the file where points that are reached are noted.
pub const LOG_VARIABLE: &str = "TIDEWATER_CRASH_LOG";

/// The points of this crate, in the order in which a server reaches them; those of a table
/// (`checkpoint.table` to `checkpoint.mark_removed`) only with large checkpoints.
pub const STORAGE_POINTS: &[&str] = &[
    "storage.open.directory",
    "storage.open.database",
    "storage.open.created",
    "storage.open.witness",
    "storage.open.done",
    "wal.append.before",
    "wal.append.after",
    "catalog.write.before",
    "catalog.write.after",
    "checkpoint.begun",
    "checkpoint.before",
    "checkpoint.table_finished",
    "checkpoint.table",
    "checkpoint.incoming",
    "checkpoint.taking_in",
    "checkpoint.taken_in",
    "checkpoint.mark_removed",
    "checkpoint.written",
    "checkpoint.witness_unsynced",
    "checkpoint.witnessed",
];

/// Every point of the server.
pub const POINTS: &[&[&str]] = &[
    STORAGE_POINTS,
    &["compaction.begun", "compaction.ended"],
    // A start.
    &[
        "recovery.catalog_read",
        "recovery.planned",
        "recovery.placed",
        "recovery.loaded",
        "recovery.started",
        "recovery.replayed",
        "recovery.opened",
        "recovery.listening",
    ],
    // Writes of one table, and of several.
    &[
        "write.grouped",
        "write.logged",
        "write.sent",
        "transaction.locked",
        "transaction.logged",
        "transaction.sent",
    ],
    // An epoch, at the conductor and in executors.
    &[
        "epoch.injecting",
        "epoch.injected",
        "epoch.aligned",
        "epoch.committed",
        "epoch.forwarded",
        "epoch.reported",
        "epoch.collected",
        "epoch.published",
        "epoch.flushed",
        "checkpoint.handed_over",
        "checkpoint.answered",
    ],
    // DDL.
    &[
        "create.begun",
        "create.opened",
        "create.started",
        "create.backfilling",
        "create.backfilled",
        "create.whole",
        "create.known",
        "drop.begun",
        "drop.stopped",
        "drop.forgotten",
        "drop.known",
        "widen.begun",
        "widen.appended",
        "widen.done",
        "drop_column.cleared",
        "drop_column.flushed",
        "sequence.reserving",
        "sequence.reserved",
    ],
    // A rescale, at the conductor.
    &[
        "rescale.asked",
        "rescale.begun",
        "rescale.opened",
        "rescale.switching",
        "rescale.subscale_done",
        "rescale.moved",
        "rescale.ended_early",
        "rescale.closed",
        "rescale.answered",
    ],
    // A rescale, in executors.
    &[
        "predecessor.switched",
        "new_owner.prepared",
        "new_owner.state_received",
        "new_owner.state_installed",
        "new_owner.installed",
        "old_owner.prepared",
        "old_owner.state_sent",
        "old_owner.state_queued",
        "old_owner.confirm_sent",
        "old_owner.barrier_sent",
        "old_owner.closed",
        "executor.changed",
    ],
    &["shutdown.asked", "shutdown.persisted"],
];

/// Whether a point is in the table.
#[must_use]
pub const fn is_registered(name: &str) -> bool {
    let mut group = 0;
    while group < POINTS.len() {
        let mut at = 0;
        while at < POINTS[group].len() {
            if equal(POINTS[group][at].as_bytes(), name.as_bytes()) {
                return true;
            }
            at += 1;
        }
        group += 1;
    }
    false
}

/// As `==`, which cannot be evaluated at compile time.
pub(crate) const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Ends the process here if the environment says so (see [`crate::crash`]).
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        const {
            assert!($crate::crash::is_registered($name), "not in the table");
        }
        if cfg!(debug_assertions) {
            $crate::crash::reach($name);
        }
    };
}

/// What the environment asks for.
struct Asked {
    armed: Option<Armed>,
    log: Option<File>,
}

/// The armed point and how often it is yet to be passed.
struct Armed {
    name: String,
    left: AtomicU64,
}

fn asked() -> &'static Asked {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    ASKED.get_or_init(|| Asked {
        armed: std::env::var(VARIABLE).ok().and_then(|v| parse(&v)),
        log: std::env::var_os(LOG_VARIABLE).and_then(|path| {
            let mut options = OpenOptions::new();
            options.create(true).append(true).open(path).ok()
        }),
    })
}

/// Whether points are armed or noted. RocksDB's buffers are small then, so that a short run of a
/// test has table files, flushes and compactions, too.
#[must_use]
pub fn is_tested() -> bool {
    let asked = asked();
    cfg!(debug_assertions) && (asked.armed.is_some() || asked.log.is_some())
}

/// Aborts the process if this is the armed point, for the armed time. Use [`crash_point!`].
pub fn reach(name: &str) {
    let asked = asked();
    if let Some(mut log) = asked.log.as_ref() {
        // One write each, so that lines of several threads do not mix.
        let _ = log.write_all(format!("{name}\n").as_bytes());
    }
    if let Some(armed) = &asked.armed
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

    #[test]
    fn each_point_stands_once_in_the_table() {
        let mut all: Vec<&str> = POINTS.concat();
        assert!(all.len() >= 60, "{} points", all.len());
        all.sort_unstable();
        let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
        assert!(is_registered("wal.append.before") && !is_registered("wal.append"));
    }
}
