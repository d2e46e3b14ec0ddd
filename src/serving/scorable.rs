//! [`Scorable`]: what is scored as one.

use std::sync::Arc;

use crate::prompt::{Prompt, Truncated};
use crate::reward::Head;

/// A conversation or text as it is scored: its token ids, or, if the model judges, those of each question about it.
#[derive(Clone, Debug)]
pub struct Scorable {
    prompts: Arc<[Arc<[u32]>]>,
    truncated: Option<Truncated>,
    /// The head of a rubric, if the request brought one.
    rubric: Option<Arc<Head>>,
    /// Index of the last token of each step of the only prompt, if the encoder knows them.
    step_ends: Option<Arc<[usize]>>,
}

impl Scorable {
    /// The questions about one conversation, in the order of the head's.
    pub(super) fn questions(prompts: Vec<Arc<[u32]>>, rubric: Option<Arc<Head>>) -> Self {
        Self { prompts: prompts.into(), truncated: None, rubric, step_ends: None }
    }

    /// Token ids of each prompt; only judges have several.
    pub fn prompts(&self) -> &[Arc<[u32]>] {
        &self.prompts
    }

    /// What was cut off, if anything.
    pub fn truncated(&self) -> Option<Truncated> {
        self.truncated
    }

    /// The same text; `truncated` says what was cut off.
    pub(crate) fn with_truncated(self, truncated: Option<Truncated>) -> Self {
        Self { truncated, ..self }
    }

    /// The head of a rubric, if the request brought one.
    pub(crate) fn rubric(&self) -> Option<&Arc<Head>> {
        self.rubric.as_ref()
    }

    /// Index of the last token of each step, if the encoder knows them.
    pub(super) fn step_ends(&self) -> Option<&Arc<[usize]>> {
        self.step_ends.as_ref()
    }

    /// Token ids of all prompts together.
    pub(super) fn len(&self) -> usize {
        self.prompts.iter().map(|tokens| tokens.len()).sum()
    }
}

impl From<Prompt> for Scorable {
    fn from(Prompt { tokens, truncated, step_ends }: Prompt) -> Self {
        let step_ends = step_ends.map(Arc::from);
        Self { prompts: [tokens.into()].into(), truncated, rubric: None, step_ends }
    }
}
