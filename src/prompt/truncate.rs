//! Truncation of prompts that are longer than the engine takes: only on request, and the result says
//! what is missing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EncodeOptions, Encoder, Message, PromptError};

/// Bytes of the smallest text that is refused by its size. Smaller ones are encoded, which is soon done and tells
/// the client how many tokens they have.
const SMALLEST_REFUSED: usize = 64 << 10;

/// What to do about a prompt that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Truncation {
    /// Cut nothing, and let the engine refuse the prompt.
    #[default]
    Error,
    /// Drop the conversation's oldest turns, each time up to the next user turn. System turns at the
    /// start, the last user turn and everything after it stay.
    OldestTurns,
    /// Drop tokens at the start, but keep a BOS token.
    Left,
    /// Drop tokens at the end, but keep the suffix that the engine appends: its last token is where the
    /// score is read.
    Right,
}

impl Truncation {
    /// Name in requests and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::OldestTurns => "oldest_turns",
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    /// The inverse of [`Truncation::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|truncation| truncation.name() == name)
    }

    /// Every strategy.
    pub const ALL: [Self; 4] = [Self::Error, Self::OldestTurns, Self::Left, Self::Right];
}

/// What was cut off a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Truncated {
    /// How it was cut.
    pub strategy: Truncation,
    /// Number of tokens removed.
    pub tokens_removed: usize,
    /// Number of turns removed; 0 if only tokens were cut.
    pub turns_removed: usize,
}

/// A prompt's token ids, and what was cut off them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids; not empty.
    pub tokens: Vec<u32>,
    /// What was cut off, if anything.
    pub truncated: Option<Truncated>,
    /// Index of the last token of each step, if steps are encoded one by one.
    pub step_ends: Option<Vec<usize>>,
}

/// How long a prompt may be, and what to do with a longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Maximum number of tokens; at least 1.
    pub limit: usize,
    /// What to do with a longer prompt.
    pub truncation: Truncation,
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self { tokens, truncated: None, step_ends: None }
    }
}

impl Encoder {
    /// Like [`Encoder::encode`], and truncates the prompt to `fit`. With [`Truncation::Error`] it returns
    /// the whole prompt, unless its size shows already that it is too long.
    ///
    /// # Errors
    /// As for [`Encoder::encode`], [`PromptError::TooLong`] if the prompt is too long even without its older
    /// turns, and [`PromptError::TooManyBytes`].
    pub fn encode_within(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        fit: Fit,
    ) -> Result<Prompt, PromptError> {
        self.refuse_by_size(messages, options, fit)?;
        let prompt = self.encode_whole(messages, options)?;
        if prompt.tokens.len() > fit.limit && fit.truncation == Truncation::OldestTurns {
            return self.drop_turns(messages, options, fit.limit, prompt.tokens.len());
        }
        Ok(self.cut_prompt(prompt, fit))
    }

    /// Refuses a conversation that is too long however its text is encoded, before it is: encoding takes much time
    /// and memory. Only the rendered text counts, because a template may leave out parts of a conversation.
    pub(super) fn refuse_by_size(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        fit: Fit,
    ) -> Result<(), PromptError> {
        let bytes =
            Message::total_bytes(messages) + options.variables.map_or(0, super::TemplateVariables::size);
        if fit.truncation == Truncation::Error
            && bytes >= SMALLEST_REFUSED
            && self.tokenizer.fewest_tokens(bytes) > fit.limit
        {
            self.check_size(&self.render(messages, options)?, fit)?;
        }
        Ok(())
    }

    /// Refuses a rendered text that has too many bytes for the tokens that it may have.
    ///
    /// # Errors
    /// [`PromptError::TooManyBytes`].
    pub(crate) fn check_size(&self, text: &str, fit: Fit) -> Result<(), PromptError> {
        let (bytes, limit) = (text.len(), fit.limit);
        if bytes < SMALLEST_REFUSED || fit.truncation != Truncation::Error {
            return Ok(());
        }
        let tokens = self.tokenizer.fewest_tokens(bytes);
        if tokens > limit {
            return Err(PromptError::TooManyBytes { bytes, tokens, limit });
        }
        Ok(())
    }

    /// Drops as few of the oldest turns as possible. `whole` is the number of tokens of all of them.
    fn drop_turns(
        &self,
        messages: &[Message],
        options: EncodeOptions<'_>,
        limit: usize,
        whole: usize,
    ) -> Result<Prompt, PromptError> {
        let systems = messages
            .iter()
            .take_while(|message| matches!(message.role.as_str(), "system" | "developer"))
            .count();
        // The turns that the conversation may start with, after its system turns.
        let starts: Vec<usize> =
            (systems + 1..messages.len()).filter(|index| messages[*index].role == "user").collect();
        let encode = |start: usize| {
            let kept: Vec<Message> = messages[..systems].iter().chain(&messages[start..]).cloned().collect();
            self.encode_whole(&kept, options)
        };
        let Some(&last) = starts.last() else {
            return Err(PromptError::TooLong { tokens: whole, limit });
        };
        let shortest = encode(last)?;
        if shortest.tokens.len() > limit {
            return Err(PromptError::TooLong { tokens: shortest.tokens.len(), limit });
        }
        // The fewer turns, the fewer tokens, so a binary search finds the first start that fits.
        let (mut low, mut high, mut found) = (0, starts.len() - 1, (last, shortest));
        while low < high {
            let middle = (low + high) / 2;
            let prompt = encode(starts[middle])?;
            if prompt.tokens.len() <= limit {
                (high, found) = (middle, (starts[middle], prompt));
            } else {
                low = middle + 1;
            }
        }
        let (start, prompt) = found;
        let truncated = Truncated {
            strategy: Truncation::OldestTurns,
            tokens_removed: whole.saturating_sub(prompt.tokens.len()),
            turns_removed: start - systems,
        };
        Ok(Prompt { truncated: Some(truncated), ..prompt })
    }

    /// Truncates token ids to `fit`; [`Truncation::OldestTurns`] cuts nothing.
    pub fn cut(&self, tokens: Vec<u32>, fit: Fit) -> Prompt {
        self.cut_prompt(tokens.into(), fit)
    }

    fn cut_prompt(&self, mut prompt: Prompt, fit: Fit) -> Prompt {
        let tokens = &mut prompt.tokens;
        let Some(excess) = tokens.len().checked_sub(fit.limit).filter(|excess| *excess > 0) else {
            return prompt;
        };
        let dropped = match fit.truncation {
            Truncation::Error | Truncation::OldestTurns => return prompt,
            Truncation::Left => {
                let first = usize::from(fit.limit > 1 && self.starts_with_bos(tokens));
                first..first + excess
            }
            Truncation::Right => {
                let end = tokens.len() - self.suffix_len(tokens).min(fit.limit - 1);
                end - excess..end
            }
        };
        tokens.drain(dropped.clone());
        if let Some(ends) = &mut prompt.step_ends {
            ends.retain(|end| !dropped.contains(end));
            for end in ends.iter_mut().filter(|end| **end >= dropped.end) {
                *end -= excess;
            }
        }
        prompt.truncated =
            Some(Truncated { strategy: fit.truncation, tokens_removed: excess, turns_removed: 0 });
        prompt
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::llama3;
    use super::*;

    fn message(role: &str, content: String) -> Message {
        Message::new(role, content)
    }

    fn conversation() -> impl Strategy<Value = Vec<Message>> {
        let text = "[ a-z]{0,40}";
        let turns = prop::collection::vec((text, text), 0..6);
        (prop::option::of(text), turns, text, prop::option::of(text)).prop_map(
            |(system, turns, prompt, response)| {
                let mut messages = Vec::new();
                messages.extend(system.map(|text| message("system", text)));
                for (user, assistant) in turns {
                    messages.extend([message("user", user), message("assistant", assistant)]);
                }
                messages.push(message("user", prompt));
                messages.extend(response.map(|text| message("assistant", text)));
                messages
            },
        )
    }

    fn within(encoder: &Encoder, messages: &[Message], fit: Fit) -> Result<Prompt, PromptError> {
        encoder.encode_within(messages, EncodeOptions::default(), fit)
    }

    proptest! {
        #[test]
        fn nothing_is_cut_unless_requested_and_needed(messages in conversation(), limit in 1..300usize) {
            let encoder = llama3();
            let whole = encoder.encode(&messages, EncodeOptions::default()).unwrap();
            let fit = Fit { limit, truncation: Truncation::Error };
            prop_assert_eq!(within(encoder, &messages, fit).unwrap(), Prompt::from(whole.clone()));
            for truncation in [Truncation::OldestTurns, Truncation::Left, Truncation::Right] {
                let fit = Fit { limit: whole.len(), truncation };
                prop_assert_eq!(within(encoder, &messages, fit).unwrap().truncated, None);
            }
        }

        #[test]
        fn dropping_the_oldest_turns_gives_the_prompt_of_the_remaining_ones(
            messages in conversation(), limit in 1..300usize,
        ) {
            let encoder = llama3();
            let options = EncodeOptions::default();
            let whole = encoder.encode(&messages, options).unwrap();
            let systems = usize::from(messages[0].role == "system");
            let last_user = messages.iter().rposition(|message| message.role == "user").unwrap();
            let without = |count: usize| {
                let kept: Vec<_> = messages[..systems].iter().chain(&messages[systems + count..]).cloned().collect();
                encoder.encode(&kept, options).unwrap()
            };
            match within(encoder, &messages, Fit { limit, truncation: Truncation::OldestTurns }) {
                Ok(Prompt { tokens, truncated: None, .. }) => prop_assert!(tokens == whole && tokens.len() <= limit),
                Ok(Prompt { tokens, truncated: Some(cut), .. }) => {
                    prop_assert!(tokens.len() <= limit && whole.len() > limit);
                    prop_assert_eq!(&tokens, &without(cut.turns_removed));
                    prop_assert_eq!(cut.tokens_removed, whole.len() - tokens.len());
                    // No more than needed: turns are dropped in pairs of a user's and an assistant's.
                    prop_assert!(cut.turns_removed >= 2 && without(cut.turns_removed - 2).len() > limit);
                    prop_assert!(systems + cut.turns_removed <= last_user);
                }
                Err(PromptError::TooLong { tokens, .. }) => {
                    prop_assert!(tokens > limit);
                    prop_assert_eq!(tokens, without(last_user - systems).len());
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn a_prompt_cut_at_the_left_keeps_its_first_token_and_its_end(
            messages in conversation(), limit in 2..300usize,
        ) {
            let encoder = llama3();
            let whole = encoder.encode(&messages, EncodeOptions::default()).unwrap();
            let prompt = within(encoder, &messages, Fit { limit, truncation: Truncation::Left }).unwrap();
            prop_assert_eq!(prompt.tokens.len(), whole.len().min(limit));
            prop_assert_eq!(prompt.tokens[0], whole[0]);
            prop_assert!(whole.ends_with(&prompt.tokens[1..]));
            prop_assert_eq!(prompt.truncated.map_or(0, |cut| cut.tokens_removed), whole.len() - prompt.tokens.len());
        }

        #[test]
        fn a_prompt_cut_at_the_right_keeps_its_start(messages in conversation(), limit in 1..300usize) {
            let encoder = llama3();
            let whole = encoder.encode(&messages, EncodeOptions::default()).unwrap();
            let prompt = within(encoder, &messages, Fit { limit, truncation: Truncation::Right }).unwrap();
            prop_assert_eq!(&prompt.tokens, &whole[..whole.len().min(limit)]);
        }
    }
}
