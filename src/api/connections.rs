//! What every connection passes first.
//!
//! Decides how many there may be, and that one which says nothing is closed soon: it would hold its place for nothing.

use super::Limits;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// The preface that every HTTP/2 client sends first.
const PREFACE_BYTES: usize = 24;
/// After a failed accept, which would only fail again at once: most often there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections as they come. One beyond the limit is closed at once.
pub(super) struct Incoming {
    listener: TcpListener,
    room: Arc<Semaphore>,
    max_in_flight: usize,
    handshake_timeout: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    /// Told once each time the limit is reached.
    full: bool,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, limits: &Limits) -> Self {
        Self {
            listener,
            room: Arc::new(Semaphore::new(limits.max_connections)),
            max_in_flight: limits.max_in_flight_per_connection,
            handshake_timeout: limits.handshake_timeout,
            pause: None,
            full: false,
        }
    }

    fn admit(&mut self, stream: TcpStream) -> io::Result<Option<Connection>> {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!("too many connections: new ones are closed");
            }
            return Ok(None);
        };
        self.full = false;
        stream.set_nodelay(true)?;
        Ok(Some(Connection {
            stream,
            room: RoomOfConnection(Arc::new(Semaphore::new(self.max_in_flight))),
            handshake: Some(Handshake {
                missing: PREFACE_BYTES,
                deadline: after(self.handshake_timeout),
            }),
            _room: room,
        }))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a deadline beside what it limits, and a pause after an error"
)]
fn after(time: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep(time))
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let accepted = ready!(self.listener.poll_accept(context));
            match accepted.and_then(|(stream, _)| self.admit(stream)) {
                Ok(Some(connection)) => return Poll::Ready(Some(Ok(connection))),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    self.pause = Some(after(PAUSE));
                }
            }
        }
    }
}

struct Handshake {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

/// A connection that keeps its place until it is closed.
pub(super) struct Connection {
    stream: TcpStream,
    room: RoomOfConnection,
    handshake: Option<Handshake>,
    _room: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(handshake) = &mut self.handshake else {
            return read;
        };
        handshake.missing = handshake.missing.saturating_sub(buffer.filled().len() - before);
        if handshake.missing == 0 {
            self.handshake = None;
            return read;
        }
        if read.is_pending() && handshake.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Room for the calls of one connection; goes with each of them to the guard.
#[derive(Clone, Debug)]
pub(super) struct RoomOfConnection(pub(super) Arc<Semaphore>);

impl Connected for Connection {
    type ConnectInfo = RoomOfConnection;

    fn connect_info(&self) -> RoomOfConnection {
        self.room.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_stream::StreamExt;

    async fn incoming(limits: &Limits) -> (Incoming, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Incoming::new(listener, limits), address)
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_closed_until_there_is_room() {
        let limits = Limits {
            max_connections: 1,
            ..Limits::default()
        };
        let (mut incoming, address) = incoming(&limits).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let kept = incoming.next().await.unwrap().unwrap();

        let mut second = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = incoming.next() => panic!("there is no room"),
            read = second.read(&mut byte) => assert_eq!(read.unwrap(), 0),
        }

        drop(kept);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(incoming.next().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_does_not_say_the_whole_preface_in_time_is_closed() {
        let limits = Limits {
            handshake_timeout: Duration::ZERO,
            ..Limits::default()
        };
        let (mut incoming, address) = incoming(&limits).await;
        for (said, closed) in [(0, true), (PREFACE_BYTES - 1, true), (PREFACE_BYTES, false)] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let mut connection = incoming.next().await.unwrap().unwrap();
            if said > 0 {
                client.write_all(&vec![b'x'; said]).await.unwrap();
                connection.stream.readable().await.unwrap();
                assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), said);
            }
            if closed {
                let error = connection.read(&mut [0; 64]).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut, "after {said} bytes");
            } else {
                client.shutdown().await.unwrap();
                assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 0);
            }
        }
    }
}
