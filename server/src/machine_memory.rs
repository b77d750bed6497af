//! How much memory there is for this process: the machine's, or less if its control group has a limit.

use std::fs;
use std::path::Path;

/// What is assumed where the system does not say.
const UNKNOWN: u64 = 8 << 30;

/// Bytes of memory.
pub(crate) fn machine_memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo");
    let machine = machine.ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(limits_of_group);
    limits.chain(machine).min().unwrap_or(UNKNOWN)
}

/// The total of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes: u64 = line?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

/// The limits of a line of `/proc/self/cgroup`, of the groups above it, too: `0::/a/b`, or in the older
/// version `4:memory:/a/b`. A container may see its own group as the root.
fn limits_of_group(line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (root, file) = match parts.next() {
        Some("") => ("/sys/fs/cgroup", "memory.max"),
        Some("memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let group = Path::new(parts.next().unwrap_or("/").trim_start_matches('/'));
    let folders = group.ancestors().map(|group| Path::new(root).join(group));
    let limit = |folder: std::path::PathBuf| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        // Without a limit it is "max", or as good as infinite.
        text.trim().parse().ok()
    };
    folders.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_in_kilobytes() {
        let text = "MemTotal:       24689764 kB\nMemFree:         1000 kB\n";
        assert_eq!(total(text), Some(24_689_764 << 10));
        assert_eq!(total("MemFree: 1 kB"), None);
        assert!(machine_memory() > 64 << 20);
    }
}
