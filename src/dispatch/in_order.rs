//! Work under way whose results are wanted in the order in which it was begun.
//!
//! Decides nothing about the work. Each piece is polled the first time in that order too, so that pieces that queue for the same
//! thing queue in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

enum Piece<T> {
    Running(Pin<Box<dyn Future<Output = T> + Send>>),
    Done(T),
}

/// A queue of work; the caller bounds its length.
pub(super) struct InOrder<T> {
    pieces: VecDeque<Piece<T>>,
}

impl<T: Unpin> InOrder<T> {
    pub(super) fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn push(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.pieces.push_back(Piece::Running(Box::pin(work)));
    }

    /// The next result; `None` if there is no work. May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Polls every piece each time: there are few, and any of them may have woken us.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        for piece in &mut self.pieces {
            if let Piece::Running(work) = piece
                && let Poll::Ready(result) = work.as_mut().poll(context)
            {
                *piece = Piece::Done(result);
            }
        }
        match self.pieces.pop_front() {
            None => Poll::Ready(None),
            Some(Piece::Done(result)) => Poll::Ready(Some(result)),
            Some(running) => {
                self.pieces.push_front(running);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn results_come_in_the_order_of_the_work() {
        let mut work = InOrder::new();
        let (finish_first, first) = oneshot::channel();
        work.push(async move { first.await.unwrap() });
        work.push(async { 2 });
        // The second is done, but waits for the first.
        assert!(
            poll_fn(|context| Poll::Ready(work.poll_next(context)))
                .await
                .is_pending()
        );
        finish_first.send(1).unwrap();
        assert_eq!(work.next().await, Some(1));
        assert_eq!(work.next().await, Some(2));
        assert_eq!(work.next().await, None);
    }

    #[tokio::test]
    async fn work_begins_in_order() {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let mut work = InOrder::new();
        for number in 0..10 {
            let begun = Arc::clone(&begun);
            work.push(async move {
                begun.lock().unwrap().push(number);
                tokio::task::yield_now().await;
            });
        }
        while work.next().await.is_some() {}
        assert_eq!(*begun.lock().unwrap(), (0..10).collect::<Vec<_>>());
    }
}
