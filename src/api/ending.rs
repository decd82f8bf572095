//! A stream of answers that ends with the access of whoever opened it.
//!
//! Decides that a revoked token stops what it began: a watcher or a gateway learns nothing more from then on.

use crate::access::{Access, Caller};
use crate::engine::ports::Clock;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
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
///
/// A body is asked for more only while its reader takes what there is, so the end is waited for apart: then the inner body goes, and
/// whoever writes into it learns that nobody reads any more, also where nobody asks.
pub(super) struct Ending {
    body: Arc<Mutex<Option<Body>>>,
    ended: oneshot::Receiver<()>,
    told: bool,
    waiting: JoinHandle<()>,
}

impl Ending {
    pub(super) fn wrap(body: Body, ends: impl Future<Output = ()> + Send + 'static) -> Body {
        let body = Arc::new(Mutex::new(Some(body)));
        let (tell, ended) = oneshot::channel();
        let held = Arc::clone(&body);
        let waiting = tokio::spawn(async move {
            ends.await;
            drop(held.lock().unwrap_or_else(PoisonError::into_inner).take());
            // Fails where the answer is gone already.
            let _ = tell.send(());
        });
        let told = false;
        Body::new(Self {
            body,
            ended,
            told,
            waiting,
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.told {
            return Poll::Ready(None);
        }
        if Pin::new(&mut self.ended).poll(context).is_pending() {
            let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
            return match &mut *body {
                Some(body) => Pin::new(body).poll_frame(context),
                // Its end is told in a moment.
                None => Poll::Pending,
            };
        }
        self.told = true;
        let mut trailers = HeaderMap::new();
        let told = ended().add_header(&mut trailers);
        Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        self.told || body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
