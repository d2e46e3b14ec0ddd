//! Request bodies, up to a limit.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};

use super::ApiError;

/// Longest time that a body over the limit is read on for: a client that is still sending when the
/// connection closes sees that, and not the answer.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Room made at once on a client's word for its body's length.
const TRUSTED_LENGTH: u64 = 64 << 10;

/// Reads a body of at most `limit` bytes, for no longer than `time`.
///
/// # Errors
/// It is larger or later, or breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
) -> Result<Vec<u8>, ApiError> {
    match tokio::time::timeout(time, read_all(headers, body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::SlowBody(time)),
    }
}

async fn read_all(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        // Who asks for leave to send is answered before sending anything.
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(ApiError::TooLarge(limit));
    }
    let mut bytes = Vec::with_capacity(announced.min(TRUSTED_LENGTH) as usize);
    while let Some(data) = next(&mut body).await {
        let data = data.map_err(|_| ApiError::Unreadable)?;
        if bytes.len() + data.len() > limit {
            discard(body).await;
            return Err(ApiError::TooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    // A frame that holds no data holds trailers, which end the body and mean nothing to us.
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn discard(mut body: Body) {
    let all = async { while let Some(Ok(_)) = next(&mut body).await {} };
    let _ = tokio::time::timeout(DISCARD_TIME, all).await;
}
