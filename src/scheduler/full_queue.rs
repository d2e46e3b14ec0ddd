//! [`FullQueue`]: a queue that takes nothing more.

use super::QueueLimit;
use crate::engine::Priority;

/// A queue without room for any job, unless one of a lower class gives way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullQueue {
    /// Which limit is met.
    pub(super) limit: QueueLimit,
    /// The lowest class that waits; `None` if nothing waits.
    pub(super) lowest: Option<Priority>,
}

impl FullQueue {
    /// Whether it takes no job of this class.
    pub fn keeps_out(&self, priority: Priority) -> bool {
        self.lowest.is_none_or(|lowest| priority >= lowest)
    }
}
