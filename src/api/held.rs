//! Responses that hold a share of a budget of bytes until they are sent, or their client is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::budget::ByteShare;

/// Largest piece of a response, in bytes, that is given to the connection at once. It asks for the next one when the client
/// has taken most of what came before.
const PIECE: usize = 64 << 10;

/// A share that a response holds.
#[derive(Clone)]
struct Held(#[expect(dead_code, reason = "it counts as long as it is there")] Arc<ByteShare>);

/// Notes that a response holds `share`.
pub(super) fn hold(mut response: Response, share: ByteShare) -> Response {
    response.extensions_mut().insert(Held(Arc::new(share)));
    response
}

/// Ties the share that a response holds to its body. For after all layers that replace the body.
pub(super) async fn until_sent(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Held>() {
        Some(held) => response.map(|body| Body::new(HeldBody { body, rest: Bytes::new(), _held: held })),
        None => response,
    }
}

/// A body in pieces.
struct HeldBody {
    body: Body,
    /// What came from the body and was not given on.
    rest: Bytes,
    _held: Held,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::budget::ByteBudget;

    #[tokio::test]
    async fn a_share_is_held_until_the_last_piece_is_taken() {
        let budget = ByteBudget::new(100);
        let share = budget.wait_for(100).await;
        let bytes: Vec<u8> = (0..3 * PIECE + 5).map(|index| index as u8).collect();
        let response = hold(Response::new(Body::from(bytes.clone())), share);
        let mut body = until_sent(response).await.into_body();
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut taken = Vec::new();
        for piece in [PIECE, PIECE, PIECE, 5] {
            assert!(!budget.share().grow_to(1));
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            let data = frame.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data.len(), piece);
            taken.extend_from_slice(&data);
        }
        assert!(body.is_end_stream());
        assert_eq!(taken, bytes);
        drop(body);
        assert!(budget.share().grow_to(100));
    }
}
