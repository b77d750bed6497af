//! The memory that batch queries share.

use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::error::Result;

/// What sorting, grouping and joining of all queries together may take. A query that asks for more ends
/// with an error; nothing goes to a disk. Clones share the same memory.
#[derive(Clone, Debug)]
pub struct QueryMemory(Arc<RuntimeEnv>);

impl QueryMemory {
    /// So many bytes.
    ///
    /// # Errors
    /// If DataFusion refuses.
    pub fn new(bytes: usize) -> Result<Self> {
        let no_disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
            .with_disk_manager_builder(no_disk);
        Ok(Self(runtime.build_arc()?))
    }

    /// Bytes that queries take now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.memory_pool.reserved()
    }

    pub(crate) fn runtime(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.0)
    }
}
