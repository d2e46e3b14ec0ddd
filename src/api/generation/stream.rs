//! Answers as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;

use super::wire::{Answer, Usage};
use crate::api::answer::unix_time;
use crate::api::error::Body as ErrorBody;
use crate::api::{ApiError, App};
use crate::serving::{Choice, Delta, Ending};

/// What all chunks of a stream have in common.
pub(super) struct Heading {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) model: String,
    pub(super) prompt_tokens: usize,
    pub(super) include_usage: bool,
    pub(super) arrived: Instant,
}

/// Streams `choices` as they come; `chunk` makes the chunk's choices of what came of one. Dropping the
/// answer cancels what is not there yet.
///
/// # Errors
/// What came first was a refusal. Later ones are events of their own, which end the stream.
pub(super) async fn answer<C, F>(
    app: Arc<App>,
    heading: Heading,
    choices: Vec<Choice>,
    mut chunk: F,
) -> Result<Response, ApiError>
where
    C: Serialize + Send + 'static,
    F: FnMut(&App, usize, Delta) -> Vec<C> + Send + 'static,
{
    let created = unix_time();
    let mut deltas = stream::select_all(choices.into_iter().map(deltas));
    let first = match deltas.next().await {
        Some((_, Err(error))) => return Err(error),
        first => first,
    };
    let deltas = stream::iter(first).chain(deltas);
    // With this the stream ends, whatever is left of the sequences.
    let mut endings = Some(Vec::<Ending>::new());
    let events = deltas.map(Some).chain(stream::iter([None])).map(move |next| {
        let Some(known) = &mut endings else { return String::new() };
        let event = |choices, usage: Option<Option<Usage>>| {
            let Heading { id, object, model, .. } = &heading;
            event(&Answer { id, object, created, model, choices, usage })
        };
        match next {
            Some((index, Ok(delta))) => {
                known.extend(delta.ending);
                let usage = heading.include_usage.then_some(None);
                chunk(&app, index, delta).into_iter().map(|choice| event(vec![choice], usage)).collect()
            }
            Some((_, Err(error))) => {
                endings = None;
                failed(&app, error)
            }
            None => {
                let usage = Usage::new(heading.prompt_tokens, known);
                if let Ok(generator) = app.generator() {
                    generator.answered(heading.prompt_tokens, known, heading.arrived);
                }
                let last = heading.include_usage.then(|| event(Vec::<C>::new(), Some(Some(usage))));
                last.unwrap_or_default() + "data: [DONE]\n\n"
            }
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    let events = events.filter(|event| std::future::ready(!event.is_empty()));
    Ok((headers, Body::from_stream(events.map(Ok::<_, Infallible>))).into_response())
}

fn deltas(choice: Choice) -> BoxStream<'static, (usize, Result<Delta, ApiError>)> {
    stream::unfold(choice, async |mut choice| {
        let delta = choice.next().await?.map_err(ApiError::from);
        Some(((choice.index, delta), choice))
    })
    .boxed()
}

fn event(value: &impl Serialize) -> String {
    // Writing our own types to a string cannot fail.
    format!("data: {}\n\n", serde_json::to_string(value).unwrap_or_default())
}

/// Tells of a failure after the answer was begun: its status is out already.
fn failed(app: &App, error: ApiError) -> String {
    let class = error.class();
    app.metrics.failed(class.code);
    tracing::warn!(code = class.code, "a streamed answer broke off: {error}");
    event(&ErrorBody { error: class.into() })
}
