//! What one rendering may cost, so that no template can hang the server or exhaust its memory.

use super::fault::Fault;

/// Steps: nodes evaluated and items visited. Real templates need some hundred for each message.
const STEPS: u64 = 10_000_000;
/// Bytes that texts and lists may take in all, whatever the conversation.
const BYTES: u64 = 128 << 20;
/// Bytes more for each byte of the conversation: templates copy it several times.
const BYTES_PER_INPUT_BYTE: u64 = 32;
/// Maximum number of nested evaluations; each of them takes stack.
const DEPTH: usize = 350;

pub(super) struct Budget {
    steps: u64,
    bytes: u64,
    depth: usize,
}

impl Budget {
    /// For a conversation of `input` bytes.
    pub(super) fn new(input: usize) -> Self {
        let bytes = BYTES.saturating_add(BYTES_PER_INPUT_BYTE.saturating_mul(input as u64));
        Self { steps: STEPS, bytes, depth: 0 }
    }

    /// Pays for `count` steps.
    ///
    /// # Errors
    /// [`Fault::TooLong`].
    pub(super) fn steps(&mut self, count: usize) -> Result<(), Fault> {
        self.steps = self.steps.checked_sub(count as u64).ok_or(Fault::TooLong)?;
        Ok(())
    }

    /// Pays for `count` bytes of text.
    ///
    /// # Errors
    /// [`Fault::TooLarge`].
    pub(super) fn bytes(&mut self, count: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.checked_sub(count as u64).ok_or(Fault::TooLarge)?;
        Ok(())
    }

    /// Pays for a list of `count` items.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] or [`Fault::TooLong`].
    pub(super) fn items(&mut self, count: usize) -> Result<(), Fault> {
        self.bytes(count.saturating_mul(8))?;
        self.steps(count)
    }

    /// Enters a nested evaluation; [`Budget::leave`] leaves it.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.steps(1)?;
        self.depth += 1;
        if self.depth > DEPTH {
            Err(Fault::new("macros, loops or expressions are nested too deeply"))
        } else {
            Ok(())
        }
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}
