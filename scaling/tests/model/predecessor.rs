//! A predecessor: how far it has got, and where it sends rows. What it has made and nobody has read
//! is in [`crate::message::Regular`].

use scaling::{Assignment, Epoch};

use crate::message::Bits;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Predecessor {
    /// Batches made.
    pub(crate) made: usize,
    /// Whether all batches in front of the next barrier are made.
    pub(crate) full: bool,
    pub(crate) routing: Assignment,
    /// The last barrier made.
    pub(crate) barrier: Epoch,
    /// The executors it has channels to.
    pub(crate) open: Bits,
}
