//! What this process has used so far.

use std::time::Duration;

use crate::error::{Error, Result};

/// Processor time, in steps of 10 ms.
///
/// # Errors
/// Where there is no `/proc`.
pub(super) fn processor_time() -> Result<Duration> {
    const TICKS_PER_SECOND: u64 = 100;
    let stat = read("/proc/self/stat")?;
    let unknown = |what: &str| Error::Internal(format!("/proc/self/stat: {what}"));
    // proc(5): after the name, which may hold spaces, utime and stime are fields 12 and 13.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| unknown("no name"))?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks
        .map(str::parse::<u64>)
        .sum::<std::result::Result<u64, _>>();
    let ticks = ticks.map_err(|error| unknown(&error.to_string()))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Begins a new peak of resident memory.
pub(super) fn forget_peak_memory() {
    // proc(5): 5 resets it. Where that is not allowed the old peak stays, which is no less.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// The most resident memory since the peak was forgotten, in bytes.
///
/// # Errors
/// Where there is no `/proc`.
pub(super) fn peak_memory() -> Result<u64> {
    let status = read("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let kibibytes =
        kibibytes.ok_or_else(|| Error::Internal("/proc/self/status: no VmHWM".to_owned()))?;
    Ok(kibibytes * 1024)
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::Internal(format!("{path}: {error}")))
}
