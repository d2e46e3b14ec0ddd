//! KV blocks as counted references that free themselves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::BlockId;

/// In order, so that the lowest are taken first: memory that was never used stays unused as long as possible.
type FreeList = Mutex<BTreeSet<BlockId>>;

/// A reference to a KV block. The block returns to its pool when the last reference is dropped.
#[derive(Clone, Debug)]
pub(super) struct Block(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    id: BlockId,
    free: Arc<FreeList>,
}

impl Block {
    pub(super) fn id(&self) -> BlockId {
        self.0.id
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        lock(&self.free).insert(self.id);
    }
}

/// The blocks of an engine's cache.
#[derive(Debug)]
pub(super) struct BlockPool {
    free: Arc<FreeList>,
}

impl BlockPool {
    pub(super) fn new(blocks: usize) -> Self {
        Self { free: Arc::new(Mutex::new((0..blocks as BlockId).collect())) }
    }

    /// Number of blocks that nothing refers to.
    pub(super) fn free(&self) -> usize {
        lock(&self.free).len()
    }

    /// Takes `count` blocks, or none if there are fewer.
    pub(super) fn take(&self, count: usize) -> Option<Vec<Block>> {
        let mut free = lock(&self.free);
        if free.len() < count {
            return None;
        }
        let lowest = std::iter::from_fn(|| free.pop_first()).take(count);
        Some(lowest.map(|id| Block(Arc::new(Owned { id, free: self.free.clone() }))).collect())
    }
}

fn lock(free: &FreeList) -> MutexGuard<'_, BTreeSet<BlockId>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_free_again_when_its_last_reference_goes() {
        let pool = BlockPool::new(2);
        let blocks = pool.take(2).unwrap();
        let other = blocks[1].clone();
        assert!(pool.take(1).is_none());
        drop(blocks);
        assert_eq!(pool.free(), 1);
        drop(other);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn the_lowest_blocks_are_taken_first() {
        let pool = BlockPool::new(9);
        let ids = |blocks: &[Block]| blocks.iter().map(Block::id).collect::<Vec<_>>();
        let (first, second) = (pool.take(3).unwrap(), pool.take(2).unwrap());
        assert_eq!((ids(&first), ids(&second)), (vec![0, 1, 2], vec![3, 4]));
        drop(first);
        assert_eq!(ids(&pool.take(4).unwrap()), [0, 1, 2, 5]);
    }
}
