//! A disk that may fill up, fail and lose power, for a server whose storage does not know.
//!
//! ```text
//!   server ─► RocksDB, our files ─► write, fsync ─► disk.c (preloaded) ─► the real disk
//!                                                     └─► a shadow: what has been synced
//! ```
//!
//! Power loss is the end of the server with the shadow put in the place of its files: what was not
//! synced is gone. A disk may also have written some of it: then files have a part of their tails,
//! the last sector with anything in it, and some names are there that were not synced.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use rand::Rng;
use rand::rngs::StdRng;
use tempfile::TempDir;

const SOURCE: &str = include_str!("disk.c");
/// What a disk writes at once.
const SECTOR: usize = 512;

/// What a test switches on and off while a server runs.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// No space is left.
    Full,
    /// Writes fail.
    FailingWrites,
    /// Syncs fail.
    FailingSyncs,
}

impl Trouble {
    fn file(self) -> &'static str {
        match self {
            Trouble::Full => "full",
            Trouble::FailingWrites => "failing_writes",
            Trouble::FailingSyncs => "failing_syncs",
        }
    }
}

/// What is left of bytes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Dropped,
    /// Parts of it, the last of them torn.
    Torn,
}

/// The disk of one server.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A disk in order; `None`, with a word, if there is no C compiler to make it.
    ///
    /// # Panics
    /// If the source does not compile.
    #[must_use]
    #[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
    pub fn new() -> Option<Disk> {
        let folder = TempDir::with_prefix("tidewater-disk-").expect("a temporary folder");
        let source = folder.path().join("disk.c");
        fs::write(&source, SOURCE).expect("a file of our own");
        let compiled = Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-O1",
                "-Wall",
                "-Werror",
                "-Wno-format-truncation",
            ])
            .arg("-o")
            .arg(folder.path().join("disk.so"))
            .arg(&source)
            .arg("-ldl")
            .output();
        let Ok(compiled) = compiled else {
            println!("skipped: there is no C compiler");
            return None;
        };
        let words = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{words}");
        for part in ["control", "shadow/files", "shadow/dirs"] {
            fs::create_dir_all(folder.path().join(part)).expect("a folder of our own");
        }
        Some(Disk { folder })
    }

    /// The environment of a server whose data is in this directory, on this disk. With a shadow the
    /// disk can lose power.
    #[must_use]
    pub fn variables(&self, root: &Path, with_shadow: bool) -> Vec<(&'static str, String)> {
        let path = |part: &str| self.folder.path().join(part).display().to_string();
        let mut variables = vec![
            ("LD_PRELOAD", path("disk.so")),
            ("DISK_ROOT", root.display().to_string()),
            ("DISK_CONTROL", path("control")),
        ];
        if with_shadow {
            variables.push(("DISK_SHADOW", path("shadow")));
        }
        variables
    }

    /// Switches a trouble on.
    ///
    /// # Panics
    /// If the switch cannot be made.
    pub fn begin(&self, trouble: Trouble) {
        fs::write(self.switch(trouble), "").expect("a file of our own");
    }

    /// Switches it off again.
    ///
    /// # Panics
    /// If it was not on.
    pub fn end(&self, trouble: Trouble) {
        fs::remove_file(self.switch(trouble)).expect("a file of our own");
    }

    fn switch(&self, trouble: Trouble) -> PathBuf {
        self.folder.path().join("control").join(trouble.file())
    }

    /// Takes what is in a directory for synced.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn settle(&self, root: &Path) {
        let shadow = self.folder.path().join("shadow");
        for part in ["files", "dirs"] {
            fs::remove_dir_all(shadow.join(part)).expect("a folder of our own");
            fs::create_dir(shadow.join(part)).expect("a folder of our own");
        }
        self.settle_directory(root, "root".to_owned());
    }

    fn settle_directory(&self, path: &Path, kept: String) {
        let shadow = self.folder.path().join("shadow");
        let mut listing = String::new();
        for (name, id) in entries(path) {
            let from = path.join(&name);
            listing += &format!("{id}\t{name}\n");
            if from.is_dir() {
                self.settle_directory(&from, format!("{kept}%{name}"));
            } else {
                fs::copy(&from, shadow.join("files").join(id)).expect("a copy");
            }
        }
        fs::write(shadow.join("dirs").join(kept), listing).expect("a file of our own");
    }

    /// The server having ended, puts in the place of its files what the disk has of them.
    ///
    /// # Panics
    /// If files cannot be read or written.
    pub fn lose_power(&self, root: &Path, unsynced: Unsynced, random: &mut StdRng) {
        let after = root.with_extension("after");
        self.restore(root, &after, "root".to_owned(), unsynced, random);
        fs::remove_dir_all(root).expect("our own folder");
        fs::rename(&after, root).expect("our own folder");
        self.settle(root);
    }

    fn restore(
        &self,
        from: &Path,
        to: &Path,
        kept: String,
        unsynced: Unsynced,
        random: &mut StdRng,
    ) {
        let shadow = self.folder.path().join("shadow");
        fs::create_dir(to).expect("a new folder");
        let listing = fs::read_to_string(shadow.join("dirs").join(&kept)).unwrap_or_default();
        let of_line = |line: &str| {
            let (id, name) = line.split_once('\t').expect("two words");
            (name.to_owned(), id.to_owned())
        };
        let mut names: BTreeMap<String, String> = listing.lines().map(of_line).collect();
        let now = entries(from);
        if unsynced == Unsynced::Torn {
            for (name, id) in &now {
                if !names.contains_key(name) && random.random_bool(0.5) {
                    names.insert(name.clone(), id.clone());
                }
            }
        }
        for (name, id) in names {
            if from.join(&name).is_dir() {
                let kept = format!("{kept}%{name}");
                self.restore(&from.join(&name), &to.join(&name), kept, unsynced, random);
                continue;
            }
            let mut bytes = fs::read(shadow.join("files").join(&id)).unwrap_or_default();
            let current = now.iter().find(|(_, of)| **of == id);
            if unsynced == Unsynced::Torn
                && let Some((name, _)) = current
            {
                let whole = fs::read(from.join(name)).expect("a file of the server");
                tear(&mut bytes, &whole, random);
            }
            fs::write(to.join(&name), bytes).expect("a new file");
        }
    }
}

/// Adds a part of what was written behind the synced bytes, and spoils its last sector.
fn tear(synced: &mut Vec<u8>, whole: &[u8], random: &mut StdRng) {
    let Some(tail) = whole.get(synced.len()..).filter(|tail| !tail.is_empty()) else {
        return;
    };
    let written = random.random_range(0..=tail.len());
    synced.extend_from_slice(&tail[..written]);
    let spoilt = random.random_range(0..=written.min(SECTOR));
    let from = synced.len() - spoilt;
    match random.random_range(0..3) {
        0 => synced[from..].fill(0),
        1 => random.fill(&mut synced[from..]),
        _ => {}
    }
}

/// The names in a directory with the ids that `disk.c` gives them.
fn entries(path: &Path) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let entry = entry.expect("our own folder");
        let facts = entry.metadata().expect("our own file");
        // Where the file system does not know when a file was made, numbers must do.
        let born = facts.created().unwrap_or(UNIX_EPOCH);
        let born = born.duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{}-{}-{}", facts.ino(), born.as_secs(), born.subsec_nanos());
        names.insert(entry.file_name().to_string_lossy().into_owned(), id);
    }
    names
}
