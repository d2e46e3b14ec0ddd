//! The items of a request that are scored together.

use futures_util::future::join_all;

use super::error::ApiError;
use super::item_path::ItemPath;
use super::messages::check_last_turn;
use crate::config::ServerSettings;
use crate::prompt::{Message, Prompt};
use crate::serving::{LengthPolicy, Scheduling, Scored, Scorer, ServingError};

/// A conversation or text to score.
pub(super) struct Item {
    /// Where it is in the request.
    path: ItemPath,
    prompt: Prompt,
    /// Whether scores are wanted at each of its tokens.
    each_token: bool,
}

impl Item {
    /// The item at `path`, which the scorer has encoded.
    ///
    /// # Errors
    /// The scorer could not encode it.
    pub(super) fn new(path: ItemPath, prompt: Result<Prompt, ServingError>) -> Result<Self, ApiError> {
        match prompt {
            Ok(prompt) => Ok(Self { path, prompt, each_token: false }),
            Err(error) => Err(ApiError::on_item(error, &path)),
        }
    }

    /// A conversation, which is encoded here.
    ///
    /// # Errors
    /// The server requires that the assistant's turn is the last and it is not, or the scorer cannot encode
    /// the conversation.
    pub(super) fn conversation(
        scorer: &Scorer,
        messages: &[Message],
        path: ItemPath,
        length: LengthPolicy,
        settings: &ServerSettings,
    ) -> Result<Self, ApiError> {
        check_last_turn(messages, &path, settings)?;
        Self::new(path, scorer.encode(messages, length))
    }

    /// The item, with scores at each of its tokens besides.
    pub(super) fn at_each_token(self) -> Self {
        Self { each_token: true, ..self }
    }

    /// Scores the item.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub(super) async fn score(self, scorer: &Scorer, scheduling: Scheduling) -> Result<Scored, ApiError> {
        self.submit(scorer, scheduling)?.await
    }

    /// Hands the item to the scheduler at once; the future resolves to its scores.
    fn submit(
        self,
        scorer: &Scorer,
        scheduling: Scheduling,
    ) -> Result<impl Future<Output = Result<Scored, ApiError>>, ApiError> {
        let Self { path, prompt, each_token } = self;
        match scorer.submit_reading(prompt, each_token, scheduling) {
            Ok(scored) => Ok(async move { scored.await.map_err(|error| ApiError::on_item(error, &path)) }),
            Err(error) => Err(ApiError::on_item(error, &path)),
        }
    }
}

/// Scores of items, in their order; an item that could not be encoded keeps its error. All are with the
/// scheduler before the first is waited for, so that what they share is computed once.
pub(super) async fn score_all(
    scorer: &Scorer,
    items: impl IntoIterator<Item = Result<Item, ApiError>>,
    scheduling: Scheduling,
) -> Vec<Result<Scored, ApiError>> {
    let mut submitted = Vec::new();
    for item in items {
        submitted.push(item.and_then(|item| item.submit(scorer, scheduling)));
    }
    join_all(submitted.into_iter().map(async |submitted| submitted?.await)).await
}
