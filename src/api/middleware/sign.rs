//! Signs responses, if the server has a key for that.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use http::response::Parts;
use hyper::body::{Frame, SizeHint};

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::wire::unix_time;
use crate::signing::{BodyDigest, DIGEST, ENGINE, SIGNATURE_HEADERS, SignedParts, SigningKey, sign_response};

/// Largest body, in bytes, that is hashed between other work of its thread: a tenth of a millisecond.
const MAX_HASHED_IN_PLACE: usize = 128 << 10;

/// Signs every response to a POST that is not an error and not a stream, which has no digest before its end.
pub(in crate::api) async fn sign(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(signer) = app.signer.as_ref().filter(|_| request.method() == Method::POST) else {
        return Ok(next.run(request).await);
    };
    let path = request.uri().path().to_owned();
    let digest = SharedDigest::default();
    let request = request.map(|body| Body::new(HashedBody { body, digest: digest.clone() }));
    let response = next.run(request).await;
    if !response.status().is_success() || is_stream(&response) {
        return Ok(response);
    }
    let Some(request_digest) = digest.finished() else { return Ok(response) };
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(ApiError::internal)?;
    let bodies = [request_digest, digest_of(&app, body.clone()).await?];
    add_signature(&mut parts, &signer.key(), &path, bodies);
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

async fn digest_of(app: &App, body: Bytes) -> Result<BodyDigest, ApiError> {
    if body.len() <= MAX_HASHED_IN_PLACE {
        return Ok(BodyDigest::from_body(&body));
    }
    app.background.spawn(move || BodyDigest::from_body(&body)).await.map_err(ApiError::internal)
}

/// Adds the headers of the signature, if those of the engine are there.
fn add_signature(parts: &mut Parts, key: &SigningKey, path: &str, [request, response]: [BodyDigest; 2]) {
    let header = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (Some(engine), Some(digest)) = (header(ENGINE), header(DIGEST)) else { return };
    let signed =
        SignedParts { status: parts.status.as_u16(), method: Method::POST.as_str(), path, engine, digest };
    let values = sign_response(key, signed, request, response, unix_time());
    for (name, value) in SIGNATURE_HEADERS.into_iter().zip(values) {
        if let Ok(value) = HeaderValue::try_from(value) {
            parts.headers.insert(name, value);
        }
    }
}

/// The digest of a body that is being read.
#[derive(Clone, Default)]
struct SharedDigest(Arc<Mutex<Progress>>);

#[derive(Default)]
struct Progress {
    digest: BodyDigest,
    has_ended: bool,
}

impl SharedDigest {
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The digest, once all of the body was read.
    fn finished(&self) -> Option<BodyDigest> {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.has_ended.then(|| progress.digest.clone())
    }
}

/// A body that is hashed while it is read.
struct HashedBody {
    body: Body,
    digest: SharedDigest,
}

impl HttpBody for HashedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.digest.change(|progress| progress.digest.update(data));
                }
            }
            Poll::Ready(None) => self.digest.change(|progress| progress.has_ended = true),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        // Its end has to be seen.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
