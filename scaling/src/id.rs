//! The names protocol and data path share: epochs, executors, channels, subscales.
//!
//! All of them are plain ordered numbers, so that every map over them has one order and every trace
//! one text.

use std::fmt;

/// What lies between two barriers, numbered upward. Barrier `n` ends epoch `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One parallel task of a fragment. Unique among all fragments of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutorId(pub u32);

impl fmt::Display for ExecutorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// A regular channel: the ordered link from a predecessor to an executor of the next fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The predecessor that writes.
    pub from: ExecutorId,
    /// The executor that reads.
    pub to: ExecutorId,
    /// Index of the receiving fragment's input. A predecessor that feeds both sides of a join has
    /// two channels.
    pub input: u16,
}

impl ChannelId {
    /// The channel of the same predecessor and input that ends at `to`.
    #[must_use]
    pub fn ending_at(self, to: ExecutorId) -> ChannelId {
        ChannelId { to, ..self }
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}.{}", self.from, self.to, self.input)
    }
}

/// One subscale. Unique among the subscales that are open at a time, of all fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscaleId(pub u64);

impl fmt::Display for SubscaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_short_names() {
        let channel = ChannelId {
            from: ExecutorId(3),
            to: ExecutorId(1),
            input: 0,
        };
        assert_eq!(
            format!("{channel} {} {}", SubscaleId(4), Epoch(7).next()),
            "e3>e1.0 s4 8"
        );
        assert_eq!(channel.ending_at(ExecutorId(2)).to_string(), "e3>e2.0");
    }
}
