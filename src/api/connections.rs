//! What every connection passes first.
//!
//! Decides how many there may be, in all and from one address; that one which says nothing is closed soon, since it would hold its place
//! for nothing; and, where the port speaks TLS, that its handshake is good. Handshakes are taken beside each other, so that a slow client
//! holds up no other. Decides nothing about calls.

use super::Limits;
use super::addresses::{Addresses, Place};
use super::turned_away::{Full, TurnedAway};
use crate::tls::{GatewayIdentity, Tls, speaks_http_2};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// The preface that every HTTP/2 client sends first.
const PREFACE_BYTES: usize = 24;
/// After a failed accept, which would only fail again at once: most often there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Over when some time is.
type Deadline = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where connections come from, and the time that they are given. Tests have an outside of their own.
pub(super) trait Outside: Unpin {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, SocketAddr)>>;

    fn after(&self, time: Duration) -> Deadline;
}

impl Outside for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accepted = TcpListener::poll_accept(self, context);
        accepted.map(|accepted| {
            let (stream, address) = accepted?;
            stream.set_nodelay(true)?;
            Ok((stream, address))
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a deadline beside what it limits, and a pause after an error"
    )]
    fn after(&self, time: Duration) -> Deadline {
        Box::pin(sleep(time))
    }
}

/// Connections as they are ready for calls. One beyond a limit is closed at once.
pub(super) struct Incoming<O: Outside> {
    outside: O,
    /// Without it all is spoken in clear.
    tls: Option<Tls>,
    room: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    room_for_handshakes: Arc<Semaphore>,
    /// Ends with nothing where a handshake failed. All are given up when this is dropped.
    handshakes: JoinSet<Option<Connection<O::Stream>>>,
    max_in_flight: usize,
    handshake_timeout: Duration,
    pause: Option<Deadline>,
    turned_away: Arc<TurnedAway>,
}

impl<O: Outside> Incoming<O> {
    pub(super) fn new(outside: O, tls: Option<Tls>, limits: &Limits, turned_away: Arc<TurnedAway>) -> Self {
        Self {
            outside,
            tls,
            room: Arc::new(Semaphore::new(limits.max_connections)),
            addresses: Addresses::new(limits.max_connections_per_address),
            room_for_handshakes: Arc::new(Semaphore::new(limits.max_handshakes)),
            handshakes: JoinSet::new(),
            max_in_flight: limits.max_in_flight_per_connection,
            handshake_timeout: limits.handshake_timeout,
            pause: None,
            turned_away,
        }
    }

    /// What a connection from `address` needs to come in, or what there is too little of.
    fn admit(&self, address: SocketAddr) -> Result<Entrance, Full> {
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_owned().ok();
        let place = take(&self.room).ok_or(Full::Connections)?;
        let of_address = self.addresses.place(address.ip()).ok_or(Full::ConnectionsOfAddress)?;
        let handshake = take(&self.room_for_handshakes).ok_or(Full::Handshakes)?;
        Ok(Entrance {
            peer: Peer {
                room: Arc::new(Semaphore::new(self.max_in_flight)),
                address,
                gateway: None,
            },
            handshake: Handshake {
                missing: PREFACE_BYTES,
                deadline: self.outside.after(self.handshake_timeout),
                _place: handshake,
            },
            places: (place, of_address),
        })
    }

    /// The connection, if it is ready for calls now.
    fn begin(&mut self, stream: O::Stream, address: SocketAddr) -> Option<Connection<O::Stream>> {
        let entrance = match self.admit(address) {
            Ok(entrance) => entrance,
            Err(full) => {
                self.turned_away.no_room(full, address);
                return None;
            }
        };
        let Some(tls) = self.tls.clone() else {
            return Some(entrance.open(Transport::Clear(stream)));
        };
        let turned_away = Arc::clone(&self.turned_away);
        self.handshakes.spawn(async move {
            let shaken = shake_hands(&tls, stream, entrance).await;
            shaken.map_err(|why| turned_away.handshake_failed(address, &why)).ok()
        });
        None
    }

    /// The next connection whose handshake is done.
    fn poll_handshakes(&mut self, context: &mut Context<'_>) -> Poll<Connection<O::Stream>> {
        while let Poll::Ready(Some(done)) = self.handshakes.poll_join_next(context) {
            match done {
                Ok(Some(connection)) => return Poll::Ready(connection),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a handshake broke"),
            }
        }
        Poll::Pending
    }
}

impl<O: Outside> Stream for Incoming<O> {
    type Item = io::Result<Connection<O::Stream>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // Again after each new one, so that all of them wake this.
            if let Poll::Ready(connection) = self.poll_handshakes(context) {
                return Poll::Ready(Some(Ok(connection)));
            }
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match self.outside.poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((stream, address))) => {
                    if let Some(connection) = self.begin(stream, address) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "connection not accepted");
                    self.pause = Some(self.outside.after(PAUSE));
                }
            }
        }
    }
}

/// Takes the TLS handshake, within the time of the whole.
async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    stream: S,
    mut entrance: Entrance,
) -> io::Result<Connection<S>> {
    let stream = tokio::select! {
        biased;
        shaken = tls.acceptor().accept(stream) => shaken?,
        () = &mut entrance.handshake.deadline => return Err(io::ErrorKind::TimedOut.into()),
    };
    if !speaks_http_2(&stream) {
        return Err(io::Error::other("the client does not offer HTTP/2"));
    }
    match tls.identity(&stream) {
        None => {}
        Some(Ok(gateway)) => entrance.peer.gateway = Some(gateway),
        Some(Err(why)) => {
            let address = entrance.peer.address;
            tracing::info!(%address, %why, "a client certificate names no gateway");
        }
    }
    Ok(entrance.open(Transport::Tls(Box::new(stream))))
}

/// From the start of a connection to the end of its preface.
struct Handshake {
    missing: usize,
    deadline: Deadline,
    _place: OwnedSemaphorePermit,
}

type Places = (OwnedSemaphorePermit, Place);

/// A connection on its way in.
struct Entrance {
    peer: Peer,
    handshake: Handshake,
    places: Places,
}

impl Entrance {
    fn open<S>(self, transport: Transport<S>) -> Connection<S> {
        Connection {
            transport,
            peer: self.peer,
            stage: Stage::Preface(self.handshake),
            _places: self.places,
        }
    }
}

enum Transport<S> {
    Clear(S),
    Tls(Box<TlsStream<S>>),
}

enum Stage {
    Preface(Handshake),
    TooLate,
    Open,
}

/// A connection that keeps its places until it is closed.
pub(super) struct Connection<S> {
    transport: Transport<S>,
    peer: Peer,
    stage: Stage,
    _places: Places,
}

/// Calls a method of whatever carries the bytes.
macro_rules! carried {
    ($connection:expr, $stream:ident => $call:expr) => {
        match &mut $connection.transport {
            Transport::Clear(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Transport::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = carried!(self, stream => stream.poll_read(context, buffer));
        match &mut self.stage {
            Stage::Open => return read,
            Stage::TooLate => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Stage::Preface(handshake) => {
                handshake.missing = handshake.missing.saturating_sub(buffer.filled().len() - before);
                if handshake.missing == 0 {
                    self.stage = Stage::Open;
                } else if read.is_pending() && handshake.deadline.as_mut().poll(context).is_ready() {
                    self.stage = Stage::TooLate;
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        carried!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(self, stream => stream.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Clear(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// What is known of a connection; goes with each of its calls, as an extension of the request.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Room for the calls of this connection.
    pub(super) room: Arc<Semaphore>,
    /// Where it comes from.
    pub(super) address: SocketAddr,
    /// Which gateway it is, by a certificate that was verified. Nothing where it showed none, or one that names no gateway.
    pub(super) gateway: Option<GatewayIdentity>,
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

#[cfg(test)]
mod tests;
