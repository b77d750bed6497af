//! A [`Kv`] in memory that can crash, for tests.
//!
//! ```text
//!   write(Unsynced) ──► pending ──┐ crash: a prefix of it, drawn from the seed, survives
//!   write(Synced) ───────────────►└──► durable
//!   get, scan: durable with all of pending applied
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::hash::mix;
use crate::kv::{ColumnFamily, Durability, Kv, Operation, Visit, WriteSet};
use crate::layout::KeyPrefix;

type Families = BTreeMap<(ColumnFamily, Vec<u8>), Vec<u8>>;

/// Keys and values in memory, of which a crash keeps what was synced.
#[derive(Debug, Default)]
pub struct MemoryKv {
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    /// What reads see.
    visible: Families,
    /// What a crash keeps for certain.
    durable: Families,
    /// Writes since the last sync, oldest first.
    pending: Vec<WriteSet>,
}

impl MemoryKv {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses some of the writes that were not synced: a suffix whose length the seed decides.
    pub fn crash(&self, seed: u64) {
        let mut halves = self.lock();
        let pending = std::mem::take(&mut halves.pending);
        let kept = (mix(seed) % (pending.len() as u64 + 1)) as usize;
        for writes in &pending[..kept] {
            apply(&mut halves.durable, writes);
        }
        halves.visible = halves.durable.clone();
    }

    /// Number of write sets that a crash may lose.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// The halves; a panic of another test thread leaves them whole, so poison is ignored.
    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kv for MemoryKv {
    fn get(&self, family: ColumnFamily, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let halves = self.lock();
        Ok(halves.visible.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: ColumnFamily, prefix: &[u8], visit: Visit<'_>) -> Result<()> {
        let rows: Vec<_> = self
            .lock()
            .visible
            .range((family, prefix.to_vec())..)
            .take_while(|((of, key), _)| *of == family && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in &rows {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn scan_rows(&self, prefixes: &[KeyPrefix], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for prefix in prefixes {
            self.scan(ColumnFamily::State, prefix, &mut |key, value| {
                visit(key, value);
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    fn write(&self, writes: WriteSet, durability: Durability) -> Result<()> {
        let mut halves = self.lock();
        apply(&mut halves.visible, &writes);
        halves.pending.push(writes);
        if durability == Durability::Synced {
            for writes in std::mem::take(&mut halves.pending) {
                apply(&mut halves.durable, &writes);
            }
        }
        Ok(())
    }
}

fn apply(families: &mut Families, writes: &WriteSet) {
    for operation in writes.operations() {
        match operation {
            Operation::Put { family, key, value } => {
                families.insert((family, key.to_vec()), value.to_vec());
            }
            Operation::Delete { family, key } => {
                families.remove(&(family, key.to_vec()));
            }
            Operation::DeleteRange { family, start, end } => {
                let range = (family, start.to_vec())..(family, end.to_vec());
                let gone: Vec<_> = families.range(range).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    families.remove(&key);
                }
            }
        }
    }
}
