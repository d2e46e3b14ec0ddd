//! Limits of a request: the size of its body, the time to receive it, the number of items, and the bytes of all
//! conversations together.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};

use crate::api::body_bytes::BodyBytes;
use crate::api::budget::{ByteBudget, ByteShare};
use crate::api::error::ApiError;
use crate::api::expanded::reserve_expanded;
use crate::config::ServerSettings;

/// How long to keep reading a body that is over the limit: a client that is still sending when the connection closes
/// would not see the response.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Bytes of every body that are not counted, so that large bodies never keep small ones out; the number of
/// connections bounds these.
const FREE_BYTES: usize = 64 << 10;
/// Bytes that count for every prompt of a list besides its text: the template's tokens, its place in the request, its scores
/// and what is answered about it take up to four times as much.
const ITEM_BYTES: usize = 640;
/// Limit on a request's bytes with the prompt counted once for each response, as a multiple of the largest body: it
/// bounds the cost of encoding.
const LARGEST_EXPANSION: usize = 4;

/// Reads a body, which takes its share of `budget`.
///
/// # Errors
/// It is larger or takes longer than the settings allow, it breaks off, or the budget has no room for it.
pub(in crate::api) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    settings: &ServerSettings,
    budget: &ByteBudget,
) -> Result<(BodyBytes, ByteShare), ApiError> {
    let time = settings.body_timeout.0;
    match tokio::time::timeout(time, read_all(headers, body, settings.max_body_bytes, budget)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::SlowBody(time)),
    }
}

async fn read_all(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    budget: &ByteBudget,
) -> Result<(BodyBytes, ByteShare), ApiError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        // A client that waits for `100 Continue` has sent nothing yet.
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(ApiError::TooLarge(limit));
    }
    let mut share = budget.share();
    let mut bytes = BodyBytes::default();
    while let Some(data) = next(&mut body).await {
        let data = data.map_err(|_| ApiError::UnreadableBody)?;
        if bytes.len() + data.len() > limit {
            discard(body).await;
            return Err(ApiError::TooLarge(limit));
        }
        if !share.grow_to((bytes.len() + data.len()).saturating_sub(FREE_BYTES)) {
            // Before its share, which another body takes at once.
            drop(bytes);
            drop(share);
            discard(body).await;
            return Err(ApiError::TooManyBytes(budget.size()));
        }
        bytes.extend(&data);
    }
    Ok((bytes, share))
}

async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    // A frame without data holds trailers, which end the body and are ignored.
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn discard(mut body: Body) {
    let all = async { while let Some(Ok(_)) = next(&mut body).await {} };
    let _ = tokio::time::timeout(DISCARD_TIME, all).await;
}

/// Checks the number of items in the list `field`.
///
/// # Errors
/// The list is empty or longer than `max_request_items`.
pub(in crate::api) fn check_count(
    field: &str,
    count: usize,
    settings: &ServerSettings,
) -> Result<(), ApiError> {
    let most = settings.max_request_items;
    if count == 0 {
        return Err(ApiError::invalid(field, "is empty: send at least one"));
    }
    if count > most {
        let reason =
            format!("has {count} items and this server takes {most} in a call: send them in several");
        return Err(ApiError::invalid(field, reason));
    }
    Ok(())
}

/// Checks the number of questions that a request asks by `field`; `questions` says what they are.
///
/// # Errors
/// There are more than `max_request_items`.
pub(in crate::api) fn check_questions(
    field: &str,
    (count, questions): (usize, &str),
    settings: &ServerSettings,
) -> Result<(), ApiError> {
    let most = settings.max_request_items;
    if count <= most {
        return Ok(());
    }
    let reason =
        format!("comes to {count} {questions}, and this server takes {most} in a call: send them in several");
    Err(ApiError::invalid(field, reason))
}

/// Waits until the requests in flight have room for `count` prompts, whatever their texts are.
pub(in crate::api) fn reserve_items(count: usize) {
    reserve_expanded(count * ITEM_BYTES);
}

/// Checks the bytes of the responses in the list `field`, whose lengths are given, with a prompt of `prompt` bytes before
/// each, and waits until the requests in flight have room for them.
///
/// # Errors
/// They are more than the server takes.
pub(in crate::api) fn check_and_reserve(
    field: &str,
    prompt: usize,
    responses: impl ExactSizeIterator<Item = usize>,
    settings: &ServerSettings,
) -> Result<(), ApiError> {
    let size = prompt * responses.len() + responses.sum::<usize>();
    let most = LARGEST_EXPANSION * settings.max_body_bytes;
    if size <= most {
        reserve_expanded(size);
        return Ok(());
    }
    let reason = format!(
        "come to {size} bytes with the prompt before each, more than the {most} this server takes: send fewer in a \
         call"
    );
    Err(ApiError::invalid(field, reason))
}
