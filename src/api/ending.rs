//! A stream of answers that ends with the access of whoever opened it.
//!
//! Decides that a revoked token stops what it began: a watcher or a gateway learns nothing more from then on.

use crate::access::{Access, Caller};
use crate::engine::ports::Clock;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

/// Returns once `caller` would not be let in any more.
pub(super) async fn access_ends(access: Access, caller: Arc<Caller>, clock: Arc<dyn Clock>) {
    let mut changes = access.changes();
    while access.holds(&caller, clock.now()) {
        if changes.changed().await.is_err() {
            // Nothing can end any more.
            std::future::pending::<()>().await;
        }
    }
}

pub(super) fn ended() -> Status {
    Status::unauthenticated("the token's access ended")
}

/// The body of an answer, until `ends` is done.
pub(super) struct Ending {
    body: Body,
    ends: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Ending {
    pub(super) fn wrap(body: Body, ends: impl Future<Output = ()> + Send + 'static) -> Body {
        Body::new(Self {
            body,
            ends: Some(Box::pin(ends)),
        })
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(ends) = &mut self.ends else {
            // The last frame was told.
            return Poll::Ready(None);
        };
        if ends.as_mut().poll(context).is_pending() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        self.ends = None;
        // Whoever writes into it learns that nobody reads any more.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        let told = ended().add_header(&mut trailers);
        Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ends.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
