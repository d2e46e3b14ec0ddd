//! [`LoopState`]: how far a loop is.

use super::value::Value;

/// A loop that runs.
pub(super) struct LoopState {
    pub(super) id: u64,
    /// Index among the program's loops.
    pub(super) index: usize,
    /// The scope that the loop is in.
    pub(super) scope: usize,
    /// Loops around this one that are the same recursive loop.
    pub(super) depth: usize,
    /// Items that the loop's condition has not seen, last first.
    pub(super) source: Vec<Value>,
    /// Number of items in all, if there is no condition.
    pub(super) length: Option<usize>,
    /// The next items, if something asked for them; last first.
    pub(super) ahead: Vec<Value>,
    /// Items so far.
    pub(super) count: usize,
    pub(super) current: Option<Value>,
    pub(super) previous: Option<Value>,
    pub(super) changed: Option<Vec<Value>>,
}
