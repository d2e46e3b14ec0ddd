//! What a row brings besides its conversations.

use serde_json::Value;

use crate::prompt::TemplateVariables;

/// What a row brings besides its conversations; it overrides what the run has.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowOptions<'a> {
    /// Variables for the chat template.
    pub(super) variables: &'a TemplateVariables,
    /// Questions that its conversations are judged by.
    pub(super) rubric: Option<&'a Value>,
    /// What a good response does, for a model that was trained with principles.
    pub(super) principle: Option<&'a str>,
}

impl<'a> RowOptions<'a> {
    /// Those of a row with these variables alone.
    pub(super) fn variables(variables: &'a TemplateVariables) -> Self {
        Self { variables, rubric: None, principle: None }
    }
}
