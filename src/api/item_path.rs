//! [`ItemPath`]: where in a request the text comes from that a model is given.

/// The fields of a request that hold one conversation or text, so that an error about it can name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ItemPath {
    /// The field of the text, or of the list of its messages.
    messages: String,
    /// The message that a field of its own holds, if one does, and that field: the response to a prompt.
    response: Option<(usize, String)>,
}

impl ItemPath {
    /// A text or a list of messages in one field.
    pub(super) fn field(path: impl Into<String>) -> Self {
        Self { messages: path.into(), response: None }
    }

    /// A response in the field `response` after `count` messages in the field `prompt`.
    pub(super) fn response(prompt: impl Into<String>, count: usize, response: impl Into<String>) -> Self {
        Self { messages: prompt.into(), response: Some((count, response.into())) }
    }

    /// The field to name for what is wrong with the whole text: of a prompt and its response, the response.
    pub(super) fn whole(&self) -> &str {
        self.response.as_ref().map_or(&self.messages, |(_, response)| response)
    }

    /// The field of a message.
    pub(super) fn message(&self, index: usize) -> String {
        match &self.response {
            Some((at, response)) if *at == index => response.clone(),
            _ => format!("{}[{index}]", self.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_the_message_after_its_prompt() {
        let path = ItemPath::response("messages", 2, "responses[3]");
        assert_eq!((path.message(1).as_str(), path.message(2).as_str()), ("messages[1]", "responses[3]"));
        assert_eq!(path.whole(), "responses[3]");
        let conversation = ItemPath::field("conversations[4]");
        assert_eq!(conversation.message(0), "conversations[4][0]");
        assert_eq!(conversation.whole(), "conversations[4]");
    }
}
