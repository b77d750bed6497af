//! How much state there is: of a key group, a table, or several.

/// Rows and memory of state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Distinct rows, with those whose deletion is not durable yet and those on disk alone.
    pub rows: u64,
    /// In memory, about.
    pub bytes: u64,
    /// What the rows that are on disk alone took in memory.
    pub evicted_bytes: u64,
}

impl StateSize {
    /// Adds other state.
    pub fn add(&mut self, other: &StateSize) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.evicted_bytes += other.evicted_bytes;
    }

    /// Takes away what was added.
    pub(crate) fn subtract(&mut self, other: &StateSize) {
        self.rows -= other.rows;
        self.bytes -= other.bytes;
        self.evicted_bytes -= other.evicted_bytes;
    }
}
