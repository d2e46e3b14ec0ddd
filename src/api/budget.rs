//! [`ByteBudget`]: bytes that all requests may hold together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes, of which requests take shares.
#[derive(Clone, Debug)]
pub(super) struct ByteBudget {
    free: Arc<Semaphore>,
    size: usize,
}

/// Bytes that a request holds, until it is dropped.
#[derive(Debug)]
pub(super) struct ByteShare {
    budget: ByteBudget,
    permit: Option<OwnedSemaphorePermit>,
}

impl ByteBudget {
    /// A budget of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(size)), size }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A share that holds nothing yet.
    pub(super) fn share(&self) -> ByteShare {
        ByteShare { budget: self.clone(), permit: None }
    }

    /// Waits until `bytes` are free, in the order of the calls, and takes them. A share that exceeds the budget takes
    /// all of it.
    pub(super) async fn wait_for(&self, bytes: usize) -> ByteShare {
        let bytes = u32::try_from(bytes.min(self.size)).unwrap_or(u32::MAX);
        // The semaphore is never closed, so this cannot fail.
        let permit = self.free.clone().acquire_many_owned(bytes).await.ok();
        ByteShare { budget: self.clone(), permit }
    }
}

impl ByteShare {
    /// The number of bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Grows the share to `bytes`; returns false if they are not free.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.held()).filter(|more| *more > 0) else { return true };
        let Ok(more) = u32::try_from(more) else { return false };
        let Ok(taken) = self.budget.free.clone().try_acquire_many_owned(more) else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(taken),
            None => self.permit = Some(taken),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_come_out_of_one_budget_and_go_back() {
        let budget = ByteBudget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.grow_to(60) && one.grow_to(50) && two.grow_to(40));
        assert!(!two.grow_to(41) && !one.grow_to(61));
        drop(one);
        assert!(two.grow_to(100));
        drop(two);
        let whole = budget.wait_for(1_000).await;
        assert!(!budget.share().grow_to(1));
        drop(whole);
        assert!(budget.share().grow_to(100));
    }
}
