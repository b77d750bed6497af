//! The trace of a run as one number, and in words when a single seed is replayed.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// FNV-1a over everything that happened, in order.
pub(crate) struct Trace {
    hash: u64,
    words: bool,
}

impl Trace {
    pub(crate) fn new(words: bool) -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            words,
        }
    }

    pub(crate) fn record(&mut self, happened: &(impl Hash + Debug)) {
        happened.hash(self);
        if self.words {
            eprintln!("{happened:?}");
        }
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
