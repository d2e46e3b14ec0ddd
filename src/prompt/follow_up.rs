//! How a question follows a conversation that a client has rendered already.
//!
//! The text then is all there is of the conversation, so the question's turn must be the same whatever came before it.
//! That is tried on several conversations: templates that change or leave out earlier turns, as many of models that
//! think do, are found by it.

use super::ask::answering;
use super::{Encoder, Fit, Message, PromptError, TemplateVariables};

/// A text that no template changes, and that is found again in what it renders.
const RESPONSE: &str = "Response0";
const QUESTION: &str = "Question0";

/// What a chat template writes around a further question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// After the text of an assistant's turn.
    end: String,
    /// After that, before the question.
    before: String,
    /// After the question, up to where its answer starts.
    after: String,
}

impl FollowUp {
    /// What the template of an encoder writes; `None` if that depends on the conversation. The model's variables are
    /// `variables`.
    pub(super) fn detect(encoder: &Encoder, variables: &TemplateVariables) -> Option<Self> {
        let turn = |role: &str, text: &str| Message::new(role, text);
        let (user, response) = (turn("user", "Hello"), turn("assistant", RESPONSE));
        let short = vec![user.clone(), response.clone()];
        let long = vec![user.clone(), turn("assistant", "Good day."), user.clone(), response.clone()];
        // Many templates leave out what earlier turns thought.
        let thought = format!("<think>\nHm.\n</think>\n\n{RESPONSE}");
        let thought = vec![user.clone(), turn("assistant", &thought)];
        let follow_up = Self::after(encoder, variables, short)?;
        for messages in [long, thought] {
            if Self::after(encoder, variables, messages)? != follow_up {
                return None;
            }
        }
        // Some templates know no system's turn.
        let with_system = vec![turn("system", "Be kind."), user, response];
        match encoder.render(&with_system, answering(variables, false)) {
            Ok(_) => (Self::after(encoder, variables, with_system)? == follow_up).then_some(follow_up),
            Err(_) => Some(follow_up),
        }
    }

    /// What follows one conversation.
    fn after(encoder: &Encoder, variables: &TemplateVariables, mut messages: Vec<Message>) -> Option<Self> {
        let whole = encoder.render(&messages, answering(variables, false)).ok()?;
        messages.push(Message::new("user", QUESTION));
        let asked = encoder.render(&messages, answering(variables, true)).ok()?;
        let (_, end) = whole.split_once(RESPONSE)?;
        let (before, after) = asked.strip_prefix(&whole)?.split_once(QUESTION)?;
        Some(Self { end: end.to_owned(), before: before.to_owned(), after: after.to_owned() })
    }

    /// The text up to where the answer to a question starts. Clients may leave out the end of the last turn, or the
    /// white space after it.
    fn ask(&self, text: &str, ask: &str) -> String {
        let Self { end, before, after } = self;
        let start = end.trim_end();
        let missing = match (text.ends_with(end.as_str()), text.ends_with(start)) {
            (true, _) => "",
            (false, true) => &end[start.len()..],
            (false, false) => end,
        };
        format!("{text}{missing}{before}{ask}{after}")
    }
}

impl Encoder {
    /// How questions follow conversations that a client has rendered; `None` if the template does not allow it.
    pub fn follow_up(&self) -> Option<FollowUp> {
        FollowUp::detect(self, &self.without_thinking(None))
    }

    /// Token ids of a question after a conversation that the client has rendered.
    ///
    /// # Errors
    /// The text is empty, or [`PromptError::TooManyBytes`].
    pub fn encode_follow_up(
        &self,
        follow_up: &FollowUp,
        text: &str,
        ask: &str,
        fit: Fit,
    ) -> Result<Vec<u32>, PromptError> {
        let text = follow_up.ask(text, ask);
        self.check_size(&text, fit)?;
        self.encode_with_bos(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{encoder, llama3};
    use super::*;
    use crate::manifest::judge::QuestionLayout;
    use crate::prompt::{EncodeOptions, Truncation};

    const FIT: Fit = Fit { limit: 1000, truncation: Truncation::Error };

    #[test]
    fn a_rendered_conversation_gets_the_tokens_of_its_messages() {
        let encoder = llama3();
        let follow_up = encoder.follow_up().unwrap();
        for turns in [
            vec![("user", "Where is Paris?"), ("assistant", "In France.")],
            vec![
                ("system", "Be kind."),
                ("user", "Hi"),
                ("assistant", "Hello.\n\n"),
                ("user", "?"),
                ("assistant", ""),
            ],
        ] {
            let messages: Vec<Message> =
                turns.iter().map(|(role, content)| Message::new(*role, *content)).collect();
            let rendered = encoder.render(&messages, EncodeOptions::default()).unwrap();
            let asked =
                encoder.encode_question(&messages, (QuestionLayout::Append, "Is it?"), None, FIT).unwrap();
            let open = rendered.strip_suffix("<|eot_id|>").unwrap();
            for text in [rendered.as_str(), open, rendered.strip_prefix("<|begin_of_text|>").unwrap()] {
                let ids = encoder.encode_follow_up(&follow_up, text, "Is it?", FIT).unwrap();
                assert_eq!(ids, asked, "{text}");
            }
        }
    }

    #[test]
    fn a_template_that_changes_earlier_turns_is_found() {
        for (assistant, follows) in [
            ("{{ turn.content }}", true),
            // What earlier turns thought is left out.
            ("{{ turn.content if loop.last else turn.content.split('</think>')[-1] }}", false),
            ("{% if loop.last %}<think></think>{% endif %}{{ turn.content }}", false),
            ("{{ loop.index }}. {{ turn.content }}", true),
            ("{{ turn.content }}{% if messages|length > 3 %}<|eom_id|>{% endif %}", false),
        ] {
            let template = format!(
                "{{% for turn in messages %}}<|start_header_id|>{{{{ turn.role }}}}<|end_header_id|>\
                 {{% if turn.role == 'assistant' %}}{assistant}{{% else %}}{{{{ turn.content }}}}{{% endif %}}\
                 <|eot_id|>{{% endfor %}}\
                 {{% if add_generation_prompt %}}<|start_header_id|>assistant<|end_header_id|>{{% endif %}}"
            );
            assert_eq!(encoder(&template).follow_up().is_some(), follows, "{assistant}");
        }
    }
}
