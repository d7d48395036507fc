//! The memory that queries share.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::error::{Code, SqlError};

/// What DataFusion calls the memory of a join without equalities (`a JOIN b ON a.x < b.y`).
const NESTED_LOOP_JOIN: &str = "NestedLoopJoinLoad";

/// A pool with a limit. It differs from DataFusion's in what it says to a join without equalities: such a
/// join answers a want of memory by starting anew in another way, which gives wrong rows for LEFT joins
/// and panics over inputs that can be read but once
/// (<https://github.com/apache/datafusion/issues/22641>, <https://github.com/apache/datafusion/issues/24676>).
/// Told by an error that it does not know, it fails instead.
#[derive(Debug)]
pub(crate) struct QueryPool {
    inner: Arc<dyn MemoryPool>,
}

impl QueryPool {
    /// A pool of so many bytes; shared fairly among those that can spill, when there is a place to.
    pub(crate) fn new(bytes_max: usize, spills: bool) -> Self {
        // Without a place to spill to, a fair share is only a smaller one.
        let inner: Arc<dyn MemoryPool> = match spills {
            true => Arc::new(FairSpillPool::new(bytes_max)),
            false => Arc::new(GreedyMemoryPool::new(bytes_max)),
        };
        Self { inner }
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "queries"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let grown = self.inner.try_grow(reservation, additional);
        match reservation.consumer().name().starts_with(NESTED_LOOP_JOIN) {
            true => grown.map_err(|_| too_large_a_join(reservation.size())),
            false => grown,
        }
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

fn too_large_a_join(held_bytes: usize) -> DataFusionError {
    let message = format!(
        "the query needs more memory than it may have: a join without equalities holds {} MiB already",
        held_bytes >> 20
    );
    SqlError::new(Code::ResourcesExceeded, message)
        .hint("join on equal columns (ON a.x = b.x), or make the smaller side smaller first")
        .into()
}
