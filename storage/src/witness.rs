//! The epoch witness: a small file beside the database that knows how far it once was.
//!
//! ```text
//!   0   magic "TWEP"
//!   4   u32 LE, format number
//!   8   slot 0: u64 LE epoch ++ u64 LE XXH3-64 of the 8 bytes before
//!   24  slot 1: the same
//! ```
//!
//! Each checkpoint, once it is synced, writes its epoch to the slot whose turn it is, and syncs;
//! a torn write leaves the other slot. A database that is older than its witness has lost
//! checkpoints that were acknowledged (a restored copy, a lost log), and is refused. The format
//! number stands here too, because opening a database of a newer format would already change it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use scaling::Epoch;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::layout::FORMAT;
use crate::{canary, crash_point};

const MAGIC: &[u8; 4] = b"TWEP";
const HEADER_BYTES: usize = 8;
const SLOT_BYTES: usize = 16;
const FILE_BYTES: usize = HEADER_BYTES + 2 * SLOT_BYTES;

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    path: PathBuf,
    /// The slot that the next epoch goes to.
    slot: usize,
}

impl Witness {
    /// The epoch that the witness last saw, `None` if there is no witness. Changes nothing.
    pub(crate) fn read(path: &Path) -> Result<Option<Epoch>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(path, source)),
        };
        let corrupt = |detail: &str| Error::Corrupt {
            place: path.display().to_string(),
            detail: detail.to_owned(),
        };
        let Some((header, slots)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(corrupt("shorter than its header"));
        };
        if &header[..4] != MAGIC {
            return Err(corrupt("not an epoch witness"));
        }
        let found = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if found != FORMAT && !canary!("format.compared") {
            return Err(Error::Format {
                found,
                supported: FORMAT,
            });
        }
        let epoch = slots.chunks_exact(SLOT_BYTES).filter_map(slot_epoch).max();
        epoch.map(Some).ok_or_else(|| corrupt("no epoch in it"))
    }

    /// Opens the file, or makes it, for a database that is at `epoch`.
    pub(crate) fn open(path: &Path, epoch: Epoch) -> Result<Self> {
        let open = || {
            if Self::read(path)?.is_none() {
                create(path, epoch).map_err(|source| io_error(path, source))?;
            }
            let file = OpenOptions::new().read(true).write(true).open(path);
            file.map_err(|source| io_error(path, source))
        };
        let mut witness = Self {
            file: open()?,
            path: path.to_owned(),
            slot: 0,
        };
        witness.slot = witness.older_slot()?;
        Ok(witness)
    }

    /// The slot that may be overwritten.
    fn older_slot(&self) -> Result<usize> {
        let mut bytes = [0; FILE_BYTES];
        self.file
            .read_exact_at(&mut bytes, 0)
            .map_err(|source| io_error(&self.path, source))?;
        let mut slots = bytes[HEADER_BYTES..]
            .chunks_exact(SLOT_BYTES)
            .map(slot_epoch);
        let (first, second) = (slots.next().flatten(), slots.next().flatten());
        Ok(usize::from(second < first))
    }

    /// Notes that the database has synced an epoch.
    pub(crate) fn write(&mut self, epoch: Epoch) -> Result<()> {
        let offset = HEADER_BYTES + self.slot * SLOT_BYTES;
        let written = self.file.write_all_at(&slot_bytes(epoch), offset as u64);
        crash_point!("checkpoint.witness_unsynced");
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| io_error(&self.path, source))?;
        self.slot = 1 - self.slot;
        Ok(())
    }
}

/// Makes the file under another name first, so that it is never there in part.
fn create(path: &Path, epoch: Epoch) -> io::Result<()> {
    let mut bytes = [0; FILE_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..HEADER_BYTES].copy_from_slice(&FORMAT.to_le_bytes());
    for slot in bytes[HEADER_BYTES..].chunks_exact_mut(SLOT_BYTES) {
        slot.copy_from_slice(&slot_bytes(epoch));
    }
    let new = path.with_extension("new");
    let file = File::create(&new)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    crash_point!("storage.open.witness");
    std::fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}

fn slot_bytes(epoch: Epoch) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    let (number, checksum) = bytes.split_at_mut(8);
    number.copy_from_slice(&epoch.0.to_le_bytes());
    checksum.copy_from_slice(&xxh3_64(number).to_le_bytes());
    bytes
}

fn slot_epoch(slot: &[u8]) -> Option<Epoch> {
    let (number, checksum) = slot.split_first_chunk::<8>()?;
    (checksum == xxh3_64(number).to_le_bytes()).then(|| Epoch(u64::from_le_bytes(*number)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("epoch");
        assert_eq!(Witness::read(&path).unwrap(), None);
        let mut witness = Witness::open(&path, Epoch(4)).unwrap();
        for epoch in 5..8 {
            witness.write(Epoch(epoch)).unwrap();
            assert_eq!(Witness::read(&path).unwrap(), Some(Epoch(epoch)));
        }
        let mut witness = Witness::open(&path, Epoch(7)).unwrap();
        let newest = HEADER_BYTES + (1 - witness.slot) * SLOT_BYTES;
        witness.file.write_all_at(&[1], newest as u64).unwrap();
        assert_eq!(Witness::read(&path).unwrap(), Some(Epoch(6)));
        // The damaged slot is the one to be written next.
        witness = Witness::open(&path, Epoch(7)).unwrap();
        witness.write(Epoch(7)).unwrap();
        assert_eq!(Witness::read(&path).unwrap(), Some(Epoch(7)));
    }

    #[test]
    fn another_format_and_another_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("epoch");
        let witness = Witness::open(&path, Epoch(1)).unwrap();
        witness.file.write_all_at(&[99], 4).unwrap();
        let read = Witness::read(&path);
        assert!(matches!(read, Err(Error::Format { found: 99, .. })));
        witness.file.write_all_at(b"GIF8", 0).unwrap();
        assert!(matches!(Witness::read(&path), Err(Error::Corrupt { .. })));
    }
}
