//! Responses as server-sent events.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;

use super::choices::usage;
use crate::api::app::App;
use crate::api::deadline;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::stream_options::StreamOptions;
use crate::api::wire::{Completion, EVENT_STREAM, LAST_EVENT, NullableUsage, Usage, event, unix_time};
use crate::serving::{Choice, Delta, Ending, Generator};

/// What all chunks of a stream have in common.
pub(super) struct Heading {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) model: String,
    pub(super) prompt_tokens: usize,
    pub(super) usage: StreamOptions,
    pub(super) arrived: Instant,
    /// Written into the first chunk, if there.
    pub(super) prompt_token_ids: Option<Vec<u32>>,
    /// Choices of each prompt.
    pub(super) n: usize,
}

/// Writes the choices of chunks in the format of one route.
pub(super) trait ChunkWriter: Send + 'static {
    type Choice: Serialize;

    /// The chunks for the next piece of the choice `index`; each has one choice.
    fn chunks(&mut self, generator: &Generator, index: usize, delta: Delta) -> Vec<Self::Choice>;
}

/// Streams `choices` as they are generated. Dropping the response cancels the rest.
///
/// # Errors
/// The first thing to come was a refusal. A later one is an event, which ends the stream.
pub(super) async fn respond<W: ChunkWriter>(
    app: Arc<App>,
    heading: Heading,
    choices: Vec<Choice>,
    writer: W,
) -> Result<Response, ApiError> {
    let endings = vec![None; choices.len()];
    let mut deltas = stream::select_all(choices.into_iter().enumerate().map(deltas));
    let first = match deltas.next().await {
        Some((_, Err(error))) => return Err(error),
        first => first,
    };
    let deltas = stream::iter(first).chain(deltas);
    let mut events = Events {
        app,
        heading,
        created: unix_time(),
        deadline_source: deadline::source(),
        writer,
        generated: 0,
        endings,
        failed: false,
    };
    let end = stream::iter([None]);
    let texts = deltas.map(Some).chain(end).map(move |next| events.write(next));
    let texts = texts.filter(|text| ready(!text.is_empty()));
    Ok((EVENT_STREAM, Body::from_stream(texts.map(Ok::<_, Infallible>))).into_response())
}

type IndexedDelta = (usize, Result<Delta, ApiError>);

fn deltas((index, choice): (usize, Choice)) -> BoxStream<'static, IndexedDelta> {
    stream::unfold((index, choice), next_delta).boxed()
}

async fn next_delta((index, mut choice): (usize, Choice)) -> Option<(IndexedDelta, (usize, Choice))> {
    let delta = choice.next().await?.map_err(ApiError::without_item);
    Some(((index, delta), (index, choice)))
}

/// Makes the events of one response.
struct Events<W> {
    app: Arc<App>,
    heading: Heading,
    created: u64,
    /// The events are written after the request's future has ended, and with it what it knew of its deadline.
    deadline_source: Option<&'static str>,
    writer: W,
    /// Tokens generated so far, of all choices.
    generated: usize,
    /// How each choice ended; `None` until it has.
    endings: Vec<Option<Ending>>,
    /// Whether a choice has failed; nothing is written after that.
    failed: bool,
}

impl<W: ChunkWriter> Events<W> {
    /// The events for the next piece of a choice, or, for `None`, those at the end.
    fn write(&mut self, next: Option<IndexedDelta>) -> String {
        if self.failed {
            return String::new();
        }
        let written = match next {
            Some((index, delta)) => delta.and_then(|delta| self.chunks(index, delta)),
            None => self.end(),
        };
        written.unwrap_or_else(|error| {
            self.failed = true;
            self.failure(&error)
        })
    }

    fn chunks(&mut self, index: usize, delta: Delta) -> Result<String, ApiError> {
        let before = self.generated;
        self.generated += delta.tokens.len() + usize::from(delta.end_token.is_some());
        if delta.ending.is_some() {
            self.endings[index].clone_from(&delta.ending);
        }
        let choices = self.writer.chunks(self.app.generator()?, index, delta);
        let (last, mut events) = (choices.len().saturating_sub(1), String::new());
        for (at, choice) in choices.into_iter().enumerate() {
            // The last chunk carries the text; those before it only open the message.
            let usage = self.usage_after(if at == last { self.generated } else { before });
            events += &self.chunk(vec![choice], usage);
        }
        Ok(events)
    }

    /// The `usage` field of a chunk before the last, after the given number of generated tokens.
    fn usage_after(&self, generated: usize) -> Option<NullableUsage> {
        let Heading { prompt_tokens, usage, .. } = self.heading;
        let so_far = usage.continuous_usage.then(|| Usage::new(prompt_tokens, generated, None));
        usage.include_usage.then_some(NullableUsage(so_far))
    }

    fn end(&mut self) -> Result<String, ApiError> {
        let Heading { prompt_tokens, usage: wanted, arrived, n, .. } = self.heading;
        let endings: Vec<Ending> = self.endings.drain(..).flatten().collect();
        self.app.generator()?.answered(prompt_tokens, &endings, arrived);
        if !wanted.include_usage {
            return Ok(LAST_EVENT.to_owned());
        }
        let usage = usage(prompt_tokens, &endings, n);
        Ok(self.chunk(Vec::new(), Some(usage.into())) + LAST_EVENT)
    }

    fn chunk(&mut self, choices: Vec<W::Choice>, usage: Option<NullableUsage>) -> String {
        let prompt_token_ids = self.heading.prompt_token_ids.take();
        let Heading { id, object, model, .. } = &self.heading;
        event(&Completion {
            id,
            object,
            created: self.created,
            model,
            choices,
            usage,
            truncated: None,
            score_options: None,
            prompt_logprobs: None,
            prompt_token_ids,
        })
    }

    /// The event of a failure after the response has started, when its status is sent already.
    fn failure(&self, error: &ApiError) -> String {
        let class = deadline::with_source(self.deadline_source, || error.classify());
        self.app.metrics.failed(class.code);
        tracing::warn!(code = class.code, "a stream broke off: {error}");
        event(&ErrorBody { error: class.into() })
    }
}
