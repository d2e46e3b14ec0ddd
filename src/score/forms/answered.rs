//! Responses with the turns before them.

use serde_json::Value;

use super::super::ConversationError;
use super::super::conversation::{
    Conversation, looks_printed, parse_messages, parse_printed_messages, parse_python_messages, transposed,
    turn,
};
use super::super::dialogue::parse_dialogue;
use super::found::Candidate;
use super::view::{Prompt, RowView};

/// Fields of an object that hold a response.
const FIELDS: [&str; 7] = ["response", "text", "content", "answer", "message", "completion", "output"];

impl RowView<'_> {
    /// The response in `column` with its prompt.
    pub(super) fn candidate(&self, prompt: &Prompt, column: &str) -> Candidate {
        match self.value(column) {
            Ok(value) => self.answered(prompt, value, column),
            Err(error) => Candidate { turns: Err(error), response: Value::Null },
        }
    }

    /// A response with its prompt. `column` is for errors. Messages that do not start with the assistant contain
    /// their prompt.
    pub(super) fn answered(&self, prompt: &Prompt, value: Value, column: &str) -> Candidate {
        let mut null = None;
        let inner = FIELDS.into_iter().find_map(|field| match &value {
            Value::Object(fields) if !fields.contains_key("role") => {
                let inner = fields.get(field)?;
                if inner.is_null() {
                    null.get_or_insert(field);
                    return None;
                }
                Some(inner)
            }
            _ => None,
        });
        if let (None, Some(field)) = (inner, null) {
            let turns = Err(ConversationError::Missing(format!("{column}.{field}")));
            return Candidate { turns, response: Value::Null };
        }
        let response = inner.cloned().unwrap_or(value);
        let turns = self.turns_of(prompt, &response, column).and_then(|turns| match turns.as_slice() {
            [] => Err(ConversationError::Empty(column.to_owned())),
            [first, _, ..] if first.role != "assistant" => {
                self.finish(turns, prompt.system.as_deref(), column)
            }
            _ if prompt.turns.is_empty() => Err(ConversationError::NoPrompt(column.to_owned())),
            _ if prompt.is_answered() => Err(ConversationError::Answered(column.to_owned())),
            _ => self.finish([prompt.turns.as_slice(), &turns].concat(), prompt.system.as_deref(), column),
        });
        Candidate { turns, response }
    }

    /// The turns of a response: one, unless it is a list of messages, or a text that must be more than one.
    fn turns_of(
        &self,
        prompt: &Prompt,
        response: &Value,
        column: &str,
    ) -> Result<Conversation, ConversationError> {
        let turns = match response {
            Value::Array(list) => parse_messages(list),
            Value::Object(_) => match transposed(response) {
                Some(messages) => parse_messages(&messages),
                None => parse_messages(std::slice::from_ref(response)),
            },
            Value::String(text) => match printed_turns(prompt, text) {
                Some(turns) => Some(turns),
                None if looks_printed(text) && parse_printed_messages(text).is_none() => None,
                None if prompt.turns.is_empty() => {
                    parse_dialogue(text).or_else(|| Some(vec![turn("assistant", text)]))
                }
                None => Some(vec![turn("assistant", text)]),
            },
            _ => None,
        };
        turns.ok_or_else(|| ConversationError::from_turns(response, column))
    }

    /// Fails responses that would be compared although their prompts differ.
    pub(super) fn check_same_prompt(&self, prompt: &Prompt, candidates: &mut [Candidate]) {
        let own = candidates.iter().map(|candidate| {
            let turns = candidate.turns.as_ref().ok()?;
            let starts = if turns.first()?.role == "system" { &turns[1..] } else { turns };
            Some(!turns.starts_with(&prompt.turns) && !starts.starts_with(&prompt.turns))
        });
        let own: Vec<Option<bool>> = own.collect();
        if prompt.turns.is_empty() || !(own.contains(&Some(true)) && own.contains(&Some(false))) {
            return;
        }
        for (candidate, own) in candidates.iter_mut().zip(own) {
            if own == Some(true) {
                candidate.turns = Err(ConversationError::OtherPrompt);
            }
        }
    }

    /// Puts the system prompt first, and checks that the last turn is a response.
    pub(super) fn finish(
        &self,
        mut turns: Conversation,
        system: Option<&str>,
        column: &str,
    ) -> Result<Conversation, ConversationError> {
        if let Some(system) = system {
            match turns.first() {
                Some(first) if first.role == "system" && first.content != system => {
                    return Err(ConversationError::TwoSystems(column.to_owned()));
                }
                Some(first) if first.role == "system" => {}
                _ => turns.insert(0, turn("system", system)),
            }
        }
        match turns.last() {
            None => Err(ConversationError::Empty(column.to_owned())),
            Some(last) if !self.options.allow_unanswered && is_question(&last.role) => {
                Err(ConversationError::Unanswered { column: column.to_owned(), role: last.role.clone() })
            }
            Some(_) => Ok(turns),
        }
    }

    /// The steps of a response, each followed by the token at which the model scores it, or by an empty line if they are
    /// only shown.
    pub(super) fn steps(
        &self,
        prompt: &Prompt,
        steps: &[String],
        column: &str,
    ) -> Result<Candidate, ConversationError> {
        if self.options.shows_steps {
            return Ok(self.answered(prompt, Value::String(steps.join("\n\n")), column));
        }
        let token =
            self.options.step_token.as_deref().ok_or_else(|| ConversationError::Steps(column.to_owned()))?;
        let mut text = String::new();
        for (index, step) in steps.iter().enumerate() {
            if step.contains(token) {
                let (column, token) = (column.to_owned(), token.to_owned());
                return Err(ConversationError::StepHoldsEnd { column, step: index + 1, token });
            }
            text.push_str(step);
            text.push_str(token);
        }
        Ok(self.answered(prompt, Value::String(text), column))
    }
}

/// Messages in the text of a response. JSON of messages may well be what the response says, so it is a text
/// unless it repeats the prompt, there is no prompt, or the prompt is written in the same way.
fn printed_turns(prompt: &Prompt, text: &str) -> Option<Conversation> {
    if let Some(turns) = parse_python_messages(text) {
        return Some(turns);
    }
    let turns = parse_printed_messages(text)?;
    let repeats = turns.len() > prompt.turns.len() && turns.starts_with(&prompt.turns);
    (repeats || prompt.printed).then_some(turns)
}

/// Whether a turn of this role waits for a response.
fn is_question(role: &str) -> bool {
    ["user", "system", "developer", "tool"].contains(&role)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{answered, error, found, layout, row};
    use super::super::{ColumnNames, FormArgs, RowLayout};

    #[test]
    fn a_prompt_that_is_answered_already_takes_no_second_response() {
        let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
        for value in [
            json!({"messages": chat, "response": "b"}),
            json!({"prompt": chat, "response": "b"}),
            json!({"prompt": chat, "responses": ["b", "c"]}),
            json!({"messages": chat, "chosen": "b", "rejected": "c"}),
            json!({"prompt": "Human: q\n\nAssistant: a", "response": "b"}),
        ] {
            let reason = error(&value);
            assert!(reason.contains("second turn of the assistant"), "{value}: {reason}");
        }
        assert_eq!(found(&json!({"prompt": "Human: q\n\nAssistant:", "response": "a"})), [answered("a")]);
    }

    #[test]
    fn responses_to_different_prompts_are_not_compared() {
        let own = |question: &str, answer: &str| json!([{"role": "user", "content": question}, {"role": "assistant", "content": answer}]);
        for value in [
            json!({"prompt": "q", "chosen": own("r", "a"), "rejected": "b"}),
            json!({"prompt": "q", "chosen": "a", "rejected": own("r", "b")}),
            json!({"prompt": "q", "responses": ["a", own("r", "b")]}),
            json!({"prompt": "q", "system": "s", "chosen": own("r", "a"), "rejected": "b"}),
            json!({"instruction": "q", "chosen_response": own("r", "a"), "rejected_response": "b"}),
        ] {
            assert!(error(&value).contains("its prompt differs"), "{value}");
        }
        let same = json!({"prompt": "q", "chosen": own("q", "a"), "rejected": "b"});
        assert_eq!(found(&same), [answered("a"), answered("b")]);
        let both = json!({"prompt": "cut", "chosen": own("q", "a"), "rejected": own("q", "b")});
        assert_eq!(found(&both), [answered("a"), answered("b")]);
    }

    #[test]
    fn questions_and_answers_and_objects_of_lists_are_conversations() {
        for value in [
            json!({"conversation": [{"input": "q", "output": "a"}], "source": "s"}),
            json!({"messages": {"role": ["user", "assistant"], "content": ["q", "a"]}}),
            json!({"prompt": {"role": ["user"], "content": ["q"]}, "completion": {"role": ["assistant"], "content": ["a"]}}),
            json!({"custom_id": "x", "body": {"model": "m", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}}),
            json!({"prompt": "q", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]}),
            json!({"prompt": "q", "completions": [{"completion": "a"}]}),
        ] {
            assert_eq!(found(&value), [answered("a")], "{value}");
        }
        let options = row(&json!({"question": "q", "choices": ["x", "y"], "answer": "a"}));
        assert!(layout(&options).to_string().ends_with("(form response)"));
    }

    #[test]
    fn one_response_may_be_compared_with_many_and_a_list_of_texts_is_several() {
        let many = json!({"prompt": "q", "chosen": "a", "rejected": ["b", "c"]});
        assert_eq!(found(&many), ["a", "b", "c"].map(answered));
        for column in ["output", "response"] {
            let value = json!({"prompt": "q", column: ["a", "b"]});
            assert_eq!(found(&value), [answered("a"), answered("b")], "{value}");
        }
        let solution = json!({"problem": "q", "solution": "a", "answer": ["7"]});
        assert_eq!(found(&solution), [answered("a")]);
        let reason = error(&json!({"prompt": ["q", "a", "r"], "chosen": "a", "rejected": "b"}));
        assert!(reason.starts_with("`prompt` is a list of texts"), "{reason}");
    }

    #[test]
    fn two_columns_for_one_role_are_refused() {
        let columns = ["prompt=a", "prompt=b"].map(|name| name.parse().unwrap()).to_vec();
        let names = ColumnNames { columns, ..ColumnNames::default() };
        let value = row(&json!({"a": "q", "b": "q", "response": "a"}));
        let error = RowLayout::detect(&value, &FormArgs { names, ..FormArgs::default() }).unwrap_err();
        assert!(error.to_string().contains("several columns for the prompt (a, b)"), "{error}");
    }
}
