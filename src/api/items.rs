//! The items of a request that are scored together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::error::ApiError;
use super::item_path::ItemPath;
use super::messages::check_last_turn;
use crate::config::ServerSettings;
use crate::prompt::{EncodeOptions, Message, Truncated, Truncation};
use crate::reward::Head;
use crate::scheduler::Rejection;
use crate::serving::{LengthPolicy, Scheduling, Scorable, Scored, Scorer, ServingError};

/// Maximum number of items of one request that are with the scheduler at once, so that a long list leaves room for others.
const MAX_IN_FLIGHT: usize = 1024;
/// Number of items to submit before yielding to other requests on the same thread.
const AT_ONCE: usize = 32;
/// Longest wait before an item is offered to a full queue again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The rubric of a request or of one of its conversations.
#[derive(Clone, Debug)]
pub(super) struct Rubric {
    /// The field that it is in.
    pub(super) path: String,
    pub(super) head: Arc<Head>,
}

/// A conversation or text to score.
pub(super) struct Item {
    /// Where it is in the request.
    path: ItemPath,
    text: Scorable,
    /// Whether scores are wanted at each of its tokens.
    each_token: bool,
}

impl Item {
    /// The item at `path`, which the scorer has encoded.
    ///
    /// # Errors
    /// The scorer could not encode it.
    pub(super) fn new(path: ItemPath, text: Result<Scorable, ServingError>) -> Result<Self, ApiError> {
        match text {
            Ok(text) => Ok(Self { path, text, each_token: false }),
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
        (options, length): (EncodeOptions<'_>, LengthPolicy),
        settings: &ServerSettings,
    ) -> Result<Self, ApiError> {
        let path = path.with_messages(messages);
        check_last_turn(messages, &path, settings)?;
        Self::new(path, scorer.encode_with(messages, options, length))
    }

    /// A conversation with the questions of a rubric.
    ///
    /// # Errors
    /// As [`Item::conversation`].
    pub(super) fn rubric(
        scorer: &Scorer,
        messages: &[Message],
        path: ItemPath,
        (options, rubric): (EncodeOptions<'_>, &Rubric),
        settings: &ServerSettings,
    ) -> Result<Self, ApiError> {
        let path = path.with_messages(messages);
        check_last_turn(messages, &path, settings)?;
        match scorer.encode_rubric(messages, options, &rubric.head) {
            Err(error @ ServingError::TooLongToAsk { question, mostly_question: true, .. }) => {
                let path = ItemPath::field(format!("{}[{question}].ask", rubric.path));
                Err(ApiError::on_item(error, &path))
            }
            text => Self::new(path, text),
        }
    }

    /// Records how many tokens were cut off the item's texts before it was encoded.
    pub(super) fn after_cut(mut self, tokens: usize) -> Self {
        let cut = Truncated { strategy: Truncation::Right, tokens_removed: 0, turns_removed: 0 };
        if tokens > 0 {
            let mut truncated = self.text.truncated().unwrap_or(cut);
            truncated.tokens_removed += tokens;
            self.text = self.text.with_truncated(Some(truncated));
        }
        self
    }

    /// Requests scores at each of the item's tokens too.
    pub(super) fn at_each_token(self) -> Self {
        Self { each_token: true, ..self }
    }

    /// Checks that the item can be scored, before others are.
    ///
    /// # Errors
    /// It is too long, or lacks the tokens at which the model is read.
    pub(super) fn check(&self, scorer: &Scorer) -> Result<(), ApiError> {
        scorer.check(&self.text).map_err(|error| ApiError::on_item(error, &self.path))
    }

    /// Scores the item.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub(super) async fn score(self, scorer: &Scorer, scheduling: Scheduling) -> Result<Scored, ApiError> {
        let Self { path, text, each_token } = self;
        match scorer.submit(&text, each_token, scheduling) {
            Ok(scored) => scored.await.map_err(|error| ApiError::on_item(error, &path)),
            Err(error) => Err(ApiError::on_item(error, &path)),
        }
    }

    /// Hands the item to the scheduler at once; the future resolves to its scores.
    fn submit<'a>(
        &self,
        scorer: &'a Scorer,
        scheduling: Scheduling,
    ) -> Result<impl Future<Output = Result<Scored, ServingError>> + use<'a>, ServingError> {
        scorer.submit(&self.text, self.each_token, scheduling)
    }
}

/// Scores of items, in their order; an item that could not be encoded keeps its error.
///
/// A list may be longer than the queue. As many items as fit are with the scheduler at once, so that what they
/// share is computed once, and the others follow as those are answered. Only if the queue has no room for even
/// one of them is that an error.
pub(super) async fn score_all(
    scorer: &Scorer,
    items: impl IntoIterator<Item = Result<Item, ApiError>>,
    scheduling: Scheduling,
) -> Vec<Result<Scored, ApiError>> {
    let (mut results, mut waiting) = (Vec::new(), VecDeque::new());
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Ok(item) => {
                waiting.push_back((index, item));
                results.push(None);
            }
            Err(error) => results.push(Some(Err(error))),
        }
    }
    let (mut running, mut window, mut any_scored) = (FuturesUnordered::new(), MAX_IN_FLIGHT, false);
    let mut handed_over = 0usize;
    loop {
        while running.len() < window
            && let Some((index, item)) = waiting.pop_front()
        {
            let submitted = item.submit(scorer, scheduling);
            handed_over += 1;
            if handed_over.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
            running.push(async move {
                let scored = match submitted {
                    Ok(scored) => scored.await,
                    Err(error) => Err(error),
                };
                (index, item, scored)
            });
        }
        let Some((index, item, scored)) = running.next().await else { break };
        match scored {
            Ok(scored) => {
                (any_scored, window) = (true, (window + 1).min(MAX_IN_FLIGHT));
                results[index] = Some(Ok(scored));
            }
            Err(ServingError::Rejected(Rejection::QueueFull { retry_after, .. }))
                if any_scored || !running.is_empty() =>
            {
                window = running.len().max(1);
                if running.is_empty() {
                    tokio::time::sleep(retry_after.min(LONGEST_WAIT)).await;
                }
                waiting.push_front((index, item));
            }
            Err(error) => results[index] = Some(Err(ApiError::on_item(error, &item.path))),
        }
    }
    let unanswered = || Err(ApiError::internal("an item was not scored"));
    results.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect()
}
