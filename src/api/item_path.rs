//! [`ItemPath`]: which fields of a request a model's input comes from.

use crate::prompt::Message;

/// The fields of a request that hold one conversation or text, so that an error about it can name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ItemPath {
    /// The field of the text, of the list of its messages, or of the prompt before a response.
    field: String,
    response: Option<ResponsePath>,
}

/// A response in a field of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ResponsePath {
    field: String,
    /// How many messages of the prompt are before it; `None` if the prompt is one text.
    messages: Option<usize>,
    /// Whether the prompt has more bytes.
    is_shorter: bool,
}

impl ItemPath {
    /// A text or a list of messages in one field.
    pub(super) fn field(path: impl Into<String>) -> Self {
        Self { field: path.into(), response: None }
    }

    /// A response in the field `response` after `count` messages in the field `prompt`.
    pub(super) fn response(prompt: impl Into<String>, count: usize, response: impl Into<String>) -> Self {
        let response = ResponsePath { field: response.into(), messages: Some(count), is_shorter: false };
        Self { field: prompt.into(), response: Some(response) }
    }

    /// A pair of texts: one in the field `prompt`, the other in the field `response`.
    pub(super) fn pair(prompt: impl Into<String>, response: impl Into<String>) -> Self {
        let response = ResponsePath { field: response.into(), messages: None, is_shorter: false };
        Self { field: prompt.into(), response: Some(response) }
    }

    /// Records how many bytes the prompt and the response have, for [`ItemPath::longer`].
    pub(super) fn with_bytes(mut self, prompt: usize, response: usize) -> Self {
        if let Some(path) = &mut self.response {
            path.is_shorter = prompt > response;
        }
        self
    }

    /// The path of these messages. The last one is the response, if the response is in a field of its own.
    pub(super) fn with_messages(self, messages: &[Message]) -> Self {
        let Some((last, before)) = messages.split_last() else { return self };
        self.with_bytes(Message::total_bytes(before), last.content.len())
    }

    /// The field to name for what is wrong with the whole text: of a prompt and its response, the response.
    pub(super) fn whole(&self) -> &str {
        self.response.as_ref().map_or(&self.field, |response| &response.field)
    }

    /// The field to name for how the text starts: of a prompt and its response, the prompt.
    pub(super) fn start(&self) -> &str {
        &self.field
    }

    /// The field to name if the text is too long: of a prompt and its response, the longer one.
    pub(super) fn longer(&self) -> &str {
        match &self.response {
            Some(response) if !response.is_shorter => &response.field,
            _ => &self.field,
        }
    }

    /// The field of a message.
    pub(super) fn message(&self, index: usize) -> String {
        match &self.response {
            Some(ResponsePath { field, messages, .. }) if index >= messages.unwrap_or(1) => field.clone(),
            Some(ResponsePath { messages: None, .. }) => self.field.clone(),
            _ => format!("{}[{index}]", self.field),
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
        let pair = ItemPath::pair("query", "documents[1]");
        assert_eq!((pair.message(0).as_str(), pair.message(1).as_str()), ("query", "documents[1]"));
    }

    #[test]
    fn the_longer_part_is_named_if_they_are_too_long_together() {
        let pair = ItemPath::pair("query", "documents[1]");
        assert_eq!(pair.clone().with_bytes(9, 2).longer(), "query");
        assert_eq!(pair.with_bytes(2, 9).longer(), "documents[1]");
        let messages = ["a long", "question", "no"].map(|text| Message::new("user", text));
        let path = ItemPath::response("messages", 2, "responses[3]").with_messages(&messages);
        assert_eq!((path.longer(), path.whole()), ("messages", "responses[3]"));
        assert_eq!(ItemPath::field("input").with_messages(&messages).longer(), "input");
    }
}
