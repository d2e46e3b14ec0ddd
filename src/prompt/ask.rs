//! The prompts of judges: a question about a conversation, put by the model's own chat template, up to where the
//! answer starts.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Map;

use super::quotation::Quotation;
use super::{EncodeOptions, Encoder, Fit, Message, PromptError, TemplateVariables, Truncation};
use crate::manifest::judge::{Question, QuestionError, QuestionLayout};

/// The variable by which templates let a model think before it answers. A judge's answer is read at once.
const THINKING: &str = "enable_thinking";
/// The text of the messages on which the form of a prompt is tried.
const SAMPLE: &str = "a";

impl Encoder {
    /// Token ids of a question about a conversation. What the questions about one conversation share comes first.
    ///
    /// # Errors
    /// As for [`Encoder::encode`], and [`PromptError::TooManyBytes`].
    pub fn encode_question(
        &self,
        messages: &[Message],
        (layout, ask): (QuestionLayout, &str),
        variables: Option<&TemplateVariables>,
        fit: Fit,
    ) -> Result<Vec<u32>, PromptError> {
        if messages.is_empty() {
            return Err(PromptError::NoMessages);
        }
        self.encode_turns(&with_question(messages, layout, ask), variables, fit)
    }

    /// Token ids of turns that end with a question, up to where its answer starts.
    pub(super) fn encode_turns(
        &self,
        turns: &[Message],
        variables: Option<&TemplateVariables>,
        fit: Fit,
    ) -> Result<Vec<u32>, PromptError> {
        let variables = self.without_thinking(variables);
        let options = answering(&variables, true);
        self.refuse_by_size(turns, options, fit)?;
        self.encode_rendered(turns, options)
    }

    /// A request's variables, and that the model does not think unless they say otherwise.
    pub(super) fn without_thinking<'a>(
        &self,
        given: Option<&'a TemplateVariables>,
    ) -> Cow<'a, TemplateVariables> {
        let given = given.map_or(Cow::Owned(TemplateVariables::default()), Cow::Borrowed);
        if !self.reads_variable(THINKING) || self.variables().has(THINKING) || given.has(THINKING) {
            return given;
        }
        let off = Map::from_iter([(THINKING.to_owned(), false.into())]);
        match TemplateVariables::new(off) {
            Ok(off) => Cow::Owned(given.over(&off).into_owned()),
            Err(_) => given,
        }
    }

    fn token_text(&self, token: u32) -> String {
        self.vocabulary().decode(&[token])
    }
}

/// Finds the tokens of answers: each is the one that follows the prompt, with the white space that the template puts
/// before an answer.
pub struct AnswerTokens<'e> {
    encoder: &'e Encoder,
    layout: QuestionLayout,
    /// Maximum number of tokens of a prompt.
    limit: usize,
    /// A prompt up to where its answer starts.
    text: String,
    ids: Vec<u32>,
    /// The tokens that were found already, by the answer's text.
    found: HashMap<String, u32>,
}

impl<'e> AnswerTokens<'e> {
    /// The tokens that a model with this encoder answers with. Its engine takes prompts of up to `limit` tokens.
    ///
    /// # Errors
    /// The chat template cannot put a question.
    pub fn new(encoder: &'e Encoder, layout: QuestionLayout, limit: usize) -> Result<Self, QuestionError> {
        let variables = encoder.without_thinking(None);
        let options = answering(&variables, true);
        let template = |error: PromptError| QuestionError::Template(error.to_string());
        let text = encoder.render(&sample(layout), options).map_err(template)?;
        let ids = encoder.encode_text(&text).map_err(template)?;
        Ok(Self { encoder, layout, limit, text, ids, found: HashMap::new() })
    }

    /// Checks a question, and finds the tokens of its answers.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn resolve(&mut self, question: &mut Question) -> Result<(), QuestionError> {
        question.check()?;
        self.check_length(&question.ask)?;
        for index in 0..question.answers.len() {
            let text = &question.answers[index].text;
            let token = match self.found.get(text) {
                Some(token) => *token,
                None => self.token(text).map_err(|error| of_default(question, error))?,
            };
            self.found.insert(text.clone(), token);
            let (before, answer) = question.answers.split_at_mut(index);
            if let Some(first) = before.iter().find(|other| other.token == Some(token)) {
                return Err(QuestionError::SharedToken {
                    first: first.text.clone(),
                    second: answer[0].text.clone(),
                    token: self.encoder.token_text(token),
                });
            }
            answer[0].token = Some(token);
        }
        Ok(())
    }

    /// Refuses a question that leaves no room for a conversation.
    fn check_length(&self, ask: &str) -> Result<(), QuestionError> {
        let limit = self.limit;
        // A token has a byte at least, so that most questions need not be tokenized here.
        if self.text.len() + ask.len() <= limit {
            return Ok(());
        }
        let fit = Fit { limit, truncation: Truncation::Error };
        let tokens = match self.encoder.encode_question(&answered(), (self.layout, ask), None, fit) {
            Ok(tokens) => tokens.len(),
            Err(PromptError::TooManyBytes { tokens, .. }) => tokens,
            Err(error) => return Err(QuestionError::Template(error.to_string())),
        };
        if tokens > limit { Err(QuestionError::TooLong { tokens, limit }) } else { Ok(()) }
    }

    /// The token of an answer.
    fn token(&self, answer: &str) -> Result<u32, QuestionError> {
        let (encoder, space) = (self.encoder, self.space_before(answer));
        let template = |error: PromptError| QuestionError::Template(error.to_string());
        let ids = encoder.encode_text(&format!("{}{space}{answer}", self.text)).map_err(template)?;
        let common = ids.iter().zip(&self.ids).take_while(|(a, b)| a == b).count();
        match &ids[common..] {
            &[token] if common == self.ids.len() && encoder.tokenizer.is_control(token) => {
                Err(QuestionError::ControlToken(answer.to_owned()))
            }
            &[token] if common == self.ids.len() => Ok(token),
            tokens => {
                let tokens = tokens.iter().map(|token| encoder.token_text(*token)).collect();
                Err(QuestionError::SeveralTokens { answer: answer.to_owned(), tokens })
            }
        }
    }

    /// The white space that the template writes before an assistant's text, unless the answer has its own.
    fn space_before(&self, answer: &str) -> String {
        let encoder = self.encoder;
        let own = answer.starts_with(char::is_whitespace);
        let mut turns = sample(self.layout);
        turns.push(Message::new("assistant", answer));
        let variables = encoder.without_thinking(None);
        let options = answering(&variables, false);
        let Some(whole) = encoder.render(&turns, options).ok().filter(|_| !own) else { return String::new() };
        let rest = whole.strip_prefix(&self.text).unwrap_or_default();
        let text = rest.trim_start();
        if text.starts_with(answer) { rest[..rest.len() - text.len()].to_owned() } else { String::new() }
    }
}

/// The error about an answer of a question, which may have named no answers.
fn of_default(question: &Question, error: QuestionError) -> QuestionError {
    match error {
        QuestionError::SeveralTokens { answer, tokens } if question.has_default_answers() => {
            QuestionError::DefaultOfSeveralTokens { answer, tokens }
        }
        error => error,
    }
}

/// Options for a prompt with these variables, which ends where an answer starts if `add_generation_prompt` says so.
pub(super) fn answering(variables: &TemplateVariables, add_generation_prompt: bool) -> EncodeOptions<'_> {
    EncodeOptions { add_generation_prompt, variables: Some(variables), ..EncodeOptions::default() }
}

/// The shortest conversation that is asked about.
fn answered() -> [Message; 2] {
    ["user", "assistant"].map(|role| Message::new(role, SAMPLE))
}

fn sample(layout: QuestionLayout) -> Vec<Message> {
    with_question(&answered(), layout, SAMPLE)
}

/// The turns by which a question about a conversation is put.
fn with_question(messages: &[Message], layout: QuestionLayout, ask: &str) -> Vec<Message> {
    match layout {
        QuestionLayout::Append => [messages, &[Message::new("user", ask)]].concat(),
        QuestionLayout::Quote => vec![Message::new("user", Quotation::new(messages).ask(ask))],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::llama3;
    use super::*;
    use crate::manifest::PromptSpec;

    fn resolve(
        encoder: &Encoder,
        layout: QuestionLayout,
        question: &mut Question,
    ) -> Result<(), QuestionError> {
        AnswerTokens::new(encoder, layout, 1000)?.resolve(question)
    }

    const FIT: Fit = Fit { limit: 1000, truncation: Truncation::Error };

    fn conversation(answer: &str) -> Vec<Message> {
        vec![Message::new("user", "Where is Paris?"), Message::new("assistant", answer)]
    }

    #[test]
    fn a_question_follows_the_conversation_or_quotes_it() {
        let encoder = llama3();
        for layout in [QuestionLayout::Append, QuestionLayout::Quote] {
            let ids =
                |ask| encoder.encode_question(&conversation("In France."), (layout, ask), None, FIT).unwrap();
            let (first, second) = (ids("Is it true?"), ids("How long is it?"));
            let shared = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
            let text = encoder.vocabulary().decode(&first[..shared]);
            assert!(text.contains("In France."), "{layout:?}: {text}");
            let end = encoder.vocabulary().decode(&first);
            assert!(end.ends_with("<|start_header_id|>assistant<|end_header_id|>\n\n"), "{end}");
            assert!(end.contains("Is it true?<|eot_id|>"), "{end}");
        }
        let quoted = encoder
            .encode_question(&conversation("Hi"), (QuestionLayout::Quote, "Polite?"), None, FIT)
            .unwrap();
        let quoted = encoder.vocabulary().decode(&quoted);
        assert!(quoted.contains("<assistant>\nHi\n</assistant>\n</conversation>\n\nPolite?"), "{quoted}");
    }

    #[test]
    fn answers_of_several_tokens_or_of_one_token_are_refused_with_the_tokens() {
        let encoder = llama3();
        let refused = |answers: &[&str]| {
            let mut question = Question::yes_or_no("Is it?");
            for (answer, text) in question.answers.iter_mut().zip(answers) {
                answer.text = (*text).to_owned();
            }
            resolve(encoder, QuestionLayout::Append, &mut question).unwrap_err().to_string()
        };
        let error = refused(&["0", "certainly not"]);
        assert!(
            error.contains("\"certainly not\", which is not one token") && error.contains(", \""),
            "{error}"
        );
        let mut digits = Question::yes_or_no("How much?");
        (digits.answers[0].text, digits.answers[1].text) = ("1".into(), "0".into());
        resolve(encoder, QuestionLayout::Quote, &mut digits).unwrap();
        let tokens: Vec<u32> = digits.answers.iter().filter_map(|answer| answer.token).collect();
        assert_eq!(encoder.vocabulary().decode(&tokens), "10");
    }

    #[test]
    fn the_space_that_a_template_puts_before_an_answer_is_part_of_its_token() {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/mistral-tiny");
        let special_tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special_tokens =
            special_tokens.map(|(name, token)| (name.to_owned(), token.to_owned())).into_iter().collect();
        let encoder =
            Encoder::open(&checkpoint, &PromptSpec { special_tokens, ..PromptSpec::default() }).unwrap();
        let mut question = Question::yes_or_no("Which?");
        (question.answers[0].text, question.answers[1].text) = ("a".into(), "b".into());
        resolve(&encoder, QuestionLayout::Append, &mut question).unwrap();
        let token = question.answers[0].token.unwrap();
        assert_eq!(encoder.vocabulary().name(token), Some("▁a"));
        question.answers[1].text = " a".into();
        let error = resolve(&encoder, QuestionLayout::Append, &mut question).unwrap_err().to_string();
        assert!(error.contains("\"a\" and \" a\", which start with the same token, \" a\""), "{error}");
    }

    #[test]
    fn a_question_that_leaves_no_room_for_a_conversation_is_refused() {
        let encoder = llama3();
        let mut question = Question::yes_or_no("Is it so, and why, and since when? ".repeat(20));
        (question.answers[0].text, question.answers[1].text) = ("1".into(), "0".into());
        for layout in [QuestionLayout::Append, QuestionLayout::Quote] {
            let messages = conversation("In France.");
            let whole = encoder.encode_question(&messages, (layout, &question.ask), None, FIT).unwrap().len();
            AnswerTokens::new(encoder, layout, whole).unwrap().resolve(&mut question).unwrap();
            let error = AnswerTokens::new(encoder, layout, 100).unwrap().resolve(&mut question).unwrap_err();
            assert!(matches!(error, QuestionError::TooLong { limit: 100, .. }), "{error}");
        }
    }
}
