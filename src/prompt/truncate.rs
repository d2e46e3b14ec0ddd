//! What is done about a prompt that is longer than the engine takes: nothing unless asked, and what is
//! cut is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EncodeOptions, Encoder, Message, PromptError};

/// What to do about a prompt that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Truncation {
    /// Cut nothing: the engine refuses it.
    #[default]
    Error,
    /// Drop the conversation's oldest turns, each time up to the next user's. The system's turn at the
    /// beginning, the last user's and all behind it stay.
    OldestTurns,
    /// Drop tokens behind the first, if that begins every text of the model, else from the first on.
    Left,
    /// Drop tokens at the end. What a model is read at, if the engine appends it, stays behind them.
    Right,
}

impl Truncation {
    /// What requests and options call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::OldestTurns => "oldest_turns",
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|truncation| truncation.name() == name)
    }

    /// Every one.
    pub const ALL: [Self; 4] = [Self::Error, Self::OldestTurns, Self::Left, Self::Right];
}

/// What was cut off a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Truncated {
    /// How.
    pub strategy: Truncation,
    /// Tokens that are missing.
    pub tokens_removed: usize,
    /// Turns that are missing; 0 where only tokens were cut.
    pub turns_removed: usize,
}

/// A prompt's token ids, and what is missing of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids; not empty.
    pub tokens: Vec<u32>,
    /// What was cut, if anything.
    pub truncated: Option<Truncated>,
}

/// How long a prompt may be, and what is done about a longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Most tokens; at least 1.
    pub limit: usize,
    /// What is done.
    pub truncation: Truncation,
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self { tokens, truncated: None }
    }
}

impl Encoder {
    /// As [`Encoder::encode`], cut as `fit` says if it is too long. With [`Truncation::Error`] it is
    /// given whole, however long.
    ///
    /// # Errors
    /// As [`Encoder::encode`], and if it is too long even without its older turns.
    pub fn encode_within(
        &self,
        messages: &[Message],
        options: EncodeOptions,
        fit: Fit,
    ) -> Result<Prompt, PromptError> {
        let tokens = self.encode(messages, options)?;
        if tokens.len() > fit.limit && fit.truncation == Truncation::OldestTurns {
            return self.drop_turns(messages, options, fit.limit, tokens.len());
        }
        Ok(self.cut(tokens, fit))
    }

    /// As [`Encoder::encode_templated`], cut likewise; it has no turns to drop, so
    /// [`Truncation::OldestTurns`] cuts nothing.
    ///
    /// # Errors
    /// As [`Encoder::encode_templated`].
    pub fn encode_templated_within(&self, text: &str, fit: Fit) -> Result<Prompt, PromptError> {
        Ok(self.cut(self.encode_templated(text)?, fit))
    }

    /// Drops as few of the oldest turns as will do.
    fn drop_turns(
        &self,
        messages: &[Message],
        options: EncodeOptions,
        limit: usize,
        whole: usize,
    ) -> Result<Prompt, PromptError> {
        let is_system = |message: &Message| matches!(message.role.as_str(), "system" | "developer");
        let systems = messages.iter().take_while(|message| is_system(message)).count();
        let is_start = |index: &usize| *index > systems && messages[*index].role == "user";
        let starts: Vec<usize> = (0..messages.len()).filter(is_start).collect();
        let encode = |start: usize| {
            let kept: Vec<Message> = messages[..systems].iter().chain(&messages[start..]).cloned().collect();
            self.encode(&kept, options)
        };
        let shortest = match starts.last() {
            Some(&last) => encode(last)?,
            None => return Err(PromptError::TooLong { tokens: whole, limit }),
        };
        if shortest.len() > limit {
            return Err(PromptError::TooLong { tokens: shortest.len(), limit });
        }
        // The fewer turns, the fewer tokens: the first start that fits is found by halving.
        let (mut low, mut high, mut found) = (0, starts.len() - 1, (starts[starts.len() - 1], shortest));
        while low < high {
            let middle = (low + high) / 2;
            let tokens = encode(starts[middle])?;
            if tokens.len() <= limit {
                (high, found) = (middle, (starts[middle], tokens));
            } else {
                low = middle + 1;
            }
        }
        let (start, tokens) = found;
        let truncated = Truncated {
            strategy: Truncation::OldestTurns,
            tokens_removed: whole.saturating_sub(tokens.len()),
            turns_removed: start - systems,
        };
        Ok(Prompt { tokens, truncated: Some(truncated) })
    }

    /// Token ids, cut likewise.
    pub fn cut(&self, mut tokens: Vec<u32>, fit: Fit) -> Prompt {
        let Some(excess) = tokens.len().checked_sub(fit.limit).filter(|excess| *excess > 0) else {
            return tokens.into();
        };
        let dropped = match fit.truncation {
            Truncation::Error | Truncation::OldestTurns => return tokens.into(),
            Truncation::Left => {
                let first = usize::from(fit.limit > 1 && self.begins_with_bos(&tokens));
                first..first + excess
            }
            Truncation::Right => {
                let end = tokens.len() - self.suffix_of(&tokens).min(fit.limit - 1);
                end - excess..end
            }
        };
        tokens.drain(dropped);
        let truncated = Truncated { strategy: fit.truncation, tokens_removed: excess, turns_removed: 0 };
        Prompt { tokens, truncated: Some(truncated) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::llama3;
    use super::*;

    fn message((role, content): (&str, String)) -> Message {
        Message { role: role.into(), content }
    }

    fn conversation() -> impl Strategy<Value = Vec<Message>> {
        let text = "[ a-z]{0,40}";
        let turns = prop::collection::vec((text, text), 0..6);
        (prop::option::of(text), turns, text, prop::option::of(text)).prop_map(
            |(system, turns, prompt, response)| {
                let older = turns
                    .into_iter()
                    .flat_map(|(user, assistant)| [("user", user), ("assistant", assistant)]);
                let system = system.map(|text| ("system", text));
                let last = response.map(|text| ("assistant", text));
                system.into_iter().chain(older).chain([("user", prompt)]).chain(last).map(message).collect()
            },
        )
    }

    fn within(encoder: &Encoder, messages: &[Message], fit: Fit) -> Result<Prompt, PromptError> {
        encoder.encode_within(messages, EncodeOptions::default(), fit)
    }

    proptest! {
        #[test]
        fn nothing_is_cut_unless_asked_or_if_it_fits(messages in conversation(), limit in 1..300usize) {
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
        fn without_its_oldest_turns_a_prompt_is_that_of_the_turns_that_stay(
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
                Ok(Prompt { tokens, truncated: None }) => prop_assert!(tokens == whole && tokens.len() <= limit),
                Ok(Prompt { tokens, truncated: Some(cut) }) => {
                    prop_assert!(tokens.len() <= limit && whole.len() > limit);
                    prop_assert_eq!(&tokens, &without(cut.turns_removed));
                    prop_assert_eq!(cut.tokens_removed, whole.len() - tokens.len());
                    // No more than needed: turns go in pairs of the user's and the assistant's.
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
        fn cut_at_the_left_a_prompt_begins_and_ends_as_the_whole_does(
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
        fn only_cut_at_the_right_a_prompt_loses_its_end(messages in conversation(), limit in 1..300usize) {
            let encoder = llama3();
            let whole = encoder.encode(&messages, EncodeOptions::default()).unwrap();
            let prompt = within(encoder, &messages, Fit { limit, truncation: Truncation::Right }).unwrap();
            prop_assert_eq!(&prompt.tokens, &whole[..whole.len().min(limit)]);
        }
    }
}
