//! Connections in clear over real sockets, and with TLS over pipes.

use super::*;
use crate::tls::testing::{Authority, Folder, IN_2026, IN_2031, Pair, StandingClock, client, comes, connect, files};
use crate::tls::{Files, TrustDomain};
use rustls::client::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;

const H2: &[&[u8]] = &[b"h2"];
const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const YARD: &str = "spiffe://laddplan/tenant/acme/gateway/yard";

// --- In clear, over real sockets ---------------------------------------------------------------------------------------------

async fn incoming(limits: &Limits) -> (Incoming<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Incoming::new(listener, None, limits, Arc::default()), address)
}

#[tokio::test]
async fn a_connection_beyond_a_limit_is_closed_until_there_is_room() {
    let one = |set: fn(&mut Limits) -> &mut usize| {
        let mut limits = Limits::default();
        *set(&mut limits) = 1;
        limits
    };
    for limits in [
        one(|limits| &mut limits.max_connections),
        one(|limits| &mut limits.max_connections_per_address),
        one(|limits| &mut limits.max_handshakes),
    ] {
        let (mut incoming, address) = incoming(&limits).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let kept = comes(incoming.next()).await.unwrap().unwrap();

        let mut second = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = incoming.next() => panic!("there is no room: {limits:?}"),
            read = comes(second.read(&mut byte)) => assert_eq!(read.unwrap(), 0),
        }

        drop(kept);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(comes(incoming.next()).await.unwrap().is_ok());
    }
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
        let mut connection = comes(incoming.next()).await.unwrap().unwrap();
        if said > 0 {
            client.write_all(&vec![b'x'; said]).await.unwrap();
            let Transport::Clear(stream) = &connection.transport else {
                panic!("it is in clear");
            };
            stream.readable().await.unwrap();
            assert_eq!(comes(connection.read(&mut [0; 64])).await.unwrap(), said);
        }
        if closed {
            for _ in 0..2 {
                let error = comes(connection.read(&mut [0; 64])).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut, "after {said} bytes");
            }
        } else {
            client.shutdown().await.unwrap();
            assert_eq!(comes(connection.read(&mut [0; 64])).await.unwrap(), 0);
        }
    }
}

// --- With TLS, over pipes, where time passes when a test says so -------------------------------------------------------------

/// Connections that a test makes, and deadlines that are over when it says so.
struct Pipes {
    arriving: mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>,
    deadlines: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Outside for Pipes {
    type Stream = DuplexStream;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(DuplexStream, SocketAddr)>> {
        match self.arriving.poll_recv(context) {
            Poll::Ready(Some(arrived)) => Poll::Ready(Ok(arrived)),
            // Nobody comes any more.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn after(&self, _: Duration) -> Deadline {
        let (over, waiting) = oneshot::channel();
        // A test that is at its end takes no deadlines.
        let _ = self.deadlines.send(over);
        Box::pin(async move {
            if waiting.await.is_err() {
                std::future::pending().await
            }
        })
    }
}

/// The service's certificates, and those who issue them.
struct Setting {
    folder: Folder,
    ours: Authority,
    gateways: Authority,
    clock: Arc<StandingClock>,
    files: Files,
}

impl Setting {
    fn new() -> Self {
        let folder = Folder::new();
        let [ours, gateways] = ["ours", "gateways"].map(Authority::new);
        folder.put(&ours.server(1));
        let files = Files {
            client_ca: Some(folder.write("client-ca.pem", &gateways.pem())),
            ..files(&folder)
        };
        Self {
            folder,
            ours,
            gateways,
            clock: Arc::new(StandingClock::at(IN_2026)),
            files,
        }
    }

    async fn tls(&self) -> Tls {
        let trust_domain = TrustDomain::parse("laddplan").unwrap();
        let opened = crate::tls::open(self.files.clone(), trust_domain, self.clock.clone()).await;
        opened.unwrap().0
    }

    fn client(&self, shows: Option<&Pair>) -> ClientConfig {
        client(&self.ours, shows, H2)
    }
}

struct Door {
    callers: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
    deadlines: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    entered: mpsc::UnboundedReceiver<Connection<DuplexStream>>,
}

impl Door {
    fn new(tls: Tls, limits: &Limits) -> Self {
        let (callers, arriving) = mpsc::unbounded_channel();
        let (deadline, deadlines) = mpsc::unbounded_channel();
        let (enter, entered) = mpsc::unbounded_channel();
        let outside = Pipes {
            arriving,
            deadlines: deadline,
        };
        let mut incoming = Incoming::new(outside, Some(tls), limits, Arc::default());
        tokio::spawn(async move {
            while let Some(connection) = incoming.next().await {
                if enter.send(connection.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            callers,
            deadlines,
            entered,
        }
    }

    /// The client's end of a new connection.
    fn knock(&self, address: &str) -> DuplexStream {
        let (near, far) = duplex(1 << 16);
        let address = SocketAddr::new(address.parse().unwrap(), 4_000);
        self.callers.send((far, address)).unwrap();
        near
    }

    /// What ends the time of the handshake that began last.
    async fn deadline(&mut self) -> oneshot::Sender<()> {
        comes(self.deadlines.recv()).await.unwrap()
    }

    /// Client and connection, after a good handshake.
    async fn enter(
        &mut self,
        config: ClientConfig,
        address: &str,
    ) -> (tokio_rustls::client::TlsStream<DuplexStream>, Connection<DuplexStream>) {
        let client = comes(connect(config, self.knock(address))).await.unwrap();
        (client, comes(self.entered.recv()).await.unwrap())
    }
}

async fn is_closed(client: &mut DuplexStream) {
    assert_eq!(
        comes(client.read(&mut [0])).await.unwrap(),
        0,
        "it is closed without a word"
    );
}

#[tokio::test]
async fn a_connection_knows_where_it_comes_from_and_which_gateway_it_is() {
    let setting = Setting::new();
    let mut door = Door::new(setting.tls().await, &Limits::default());
    let gateway = setting.gateways.client(1, &[YARD]);
    let elsewhere = setting
        .gateways
        .client(2, &["spiffe://elsewhere/tenant/acme/gateway/yard"]);
    for (shows, named) in [
        (Some(&gateway), Some("acme/yard")),
        (Some(&elsewhere), None),
        (None, None),
    ] {
        let (mut client, mut connection) = door.enter(setting.client(shows), "192.0.2.7").await;
        let peer = connection.connect_info();
        assert_eq!(peer.address.to_string(), "192.0.2.7:4000");
        assert_eq!(peer.gateway.map(|gateway| gateway.to_string()).as_deref(), named);
        client.write_all(PREFACE).await.unwrap();
        let mut heard = [0; PREFACE_BYTES];
        comes(connection.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, PREFACE);
        connection.write_all(b"answer").await.unwrap();
        connection.flush().await.unwrap();
        let mut heard = [0; 6];
        comes(client.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"answer");
    }
}

/// What the service says of a handshake. `client` ends with it, if not before.
async fn refusal(tls: &Tls, client: impl AsyncFnOnce(DuplexStream)) -> String {
    let (near, far) = duplex(1 << 16);
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let incoming = Incoming::new(outside, None, &Limits::default(), Arc::default());
    let entrance = incoming.admit(([192, 0, 2, 7], 4_000).into()).unwrap();
    let shaken = async {
        match shake_hands(tls, far, entrance).await {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    comes(async { tokio::join!(shaken, client(near)) }).await.0
}

/// The same of a client that speaks TLS.
async fn refusal_of(tls: &Tls, config: ClientConfig) -> String {
    let client = async |stream| {
        // With TLS 1.3 a client learns only later that it was refused.
        if let Ok(mut stream) = connect(config, stream).await {
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 64]).await;
        }
    };
    refusal(tls, client).await
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_or_for_another_use_is_refused() {
    let setting = Setting::new();
    let tls = setting.tls().await;
    let gateway = setting.gateways.client(1, &[YARD]);
    assert_eq!(refusal_of(&tls, setting.client(Some(&gateway))).await, "none");
    assert_eq!(refusal_of(&tls, setting.client(None)).await, "none");
    // Of the same name, by another key.
    let stranger = Authority::new("gateways").client(1, &[YARD]);
    let unknown = refusal_of(&tls, setting.client(Some(&stranger))).await;
    assert!(
        unknown.contains("BadSignature") || unknown.contains("UnknownIssuer"),
        "{unknown}"
    );
    let as_server = setting.gateways.server(3);
    let other_use = refusal_of(&tls, setting.client(Some(&as_server))).await;
    assert!(other_use.contains("extended key usage"), "{other_use}");
}

#[tokio::test]
async fn a_client_certificate_that_expires_is_refused_from_then_on() {
    let setting = Setting::new();
    let tls = setting.tls().await;
    let gateway = setting.gateways.client(1, &[YARD]);
    assert_eq!(refusal_of(&tls, setting.client(Some(&gateway))).await, "none");
    setting.clock.set(IN_2031);
    let expired = refusal_of(&tls, setting.client(Some(&gateway))).await;
    assert!(expired.contains("certificate expired"), "{expired}");
}

#[tokio::test]
async fn a_client_certificate_that_is_revoked_is_refused_and_others_are_not() {
    let mut setting = Setting::new();
    let [gateway, revoked] = [1, 2].map(|serial| setting.gateways.client(serial, &[YARD]));
    let crl = setting.folder.write("client-crl.pem", &setting.gateways.revoke(2));
    setting.files.client_crl = Some(crl);
    let tls = setting.tls().await;
    assert_eq!(refusal_of(&tls, setting.client(Some(&gateway))).await, "none");
    let revoked = refusal_of(&tls, setting.client(Some(&revoked))).await;
    assert!(revoked.contains("Revoked"), "{revoked}");
}

#[tokio::test]
async fn nothing_but_http_2_within_tls_is_spoken() {
    let setting = Setting::new();
    let tls = setting.tls().await;
    let old = refusal_of(&tls, client(&setting.ours, None, &[b"http/1.1"])).await;
    assert!(old.contains("peer doesn't support any known protocol"), "{old}");
    let silent = refusal_of(&tls, client(&setting.ours, None, &[])).await;
    assert_eq!(silent, "the client does not offer HTTP/2");
    let in_clear = async |mut stream: DuplexStream| {
        stream.write_all(PREFACE).await.unwrap();
        // Whatever is answered.
        let _ = stream.read(&mut [0; 64]).await;
    };
    let in_clear = refusal(&tls, in_clear).await;
    assert!(in_clear.contains("corrupt message"), "{in_clear}");
}

#[tokio::test]
async fn a_session_is_not_taken_up_again_without_its_certificate() {
    let setting = Setting::new();
    let mut door = Door::new(setting.tls().await, &Limits::default());
    let gateway = setting.gateways.client(1, &[YARD]);
    let config = setting.client(Some(&gateway));
    for _ in 0..2 {
        let (mut client, mut connection) = door.enter(config.clone(), "192.0.2.7").await;
        // Tickets would come with the first bytes.
        connection.write_all(b"x").await.unwrap();
        connection.flush().await.unwrap();
        comes(client.read_exact(&mut [0])).await.unwrap();
        let kind = client.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_slow_client_is_cut_at_its_time_and_holds_up_nobody() {
    let setting = Setting::new();
    let mut door = Door::new(setting.tls().await, &Limits::default());
    let mut slow = door.knock("192.0.2.1");
    let over = door.deadline().await;
    // The beginning of a record with a hello of 512 bytes, which comes byte by byte.
    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3] {
        slow.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (_client, _connection) = door.enter(setting.client(None), "192.0.2.1").await;
    slow.write_all(&[0]).await.unwrap();
    over.send(()).unwrap();
    is_closed(&mut slow).await;
}

#[tokio::test]
async fn the_preface_has_the_same_time_as_the_handshake() {
    let setting = Setting::new();
    let mut door = Door::new(setting.tls().await, &Limits::default());
    let (mut client, mut connection) = door.enter(setting.client(None), "192.0.2.1").await;
    let over = door.deadline().await;
    client.write_all(&PREFACE[..PREFACE_BYTES - 1]).await.unwrap();
    over.send(()).unwrap();
    let mut rest = Vec::new();
    let error = comes(connection.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn half_open_connections_have_limited_room() {
    let setting = Setting::new();
    let limits = Limits {
        max_handshakes: 1,
        ..Limits::default()
    };
    let mut door = Door::new(setting.tls().await, &limits);
    let mut silent = door.knock("192.0.2.1");
    let over = door.deadline().await;
    is_closed(&mut door.knock("192.0.2.2")).await;
    over.send(()).unwrap();
    is_closed(&mut silent).await;
    let (mut client, mut connection) = door.enter(setting.client(None), "192.0.2.2").await;
    let _over = door.deadline().await;
    is_closed(&mut door.knock("192.0.2.3")).await;
    client.write_all(PREFACE).await.unwrap();
    comes(connection.read_exact(&mut [0; PREFACE_BYTES])).await.unwrap();
    let (_client, _connection) = door.enter(setting.client(None), "192.0.2.3").await;
}

#[tokio::test]
async fn an_address_has_limited_room_and_takes_none_of_others() {
    let setting = Setting::new();
    let limits = Limits {
        max_connections_per_address: 1,
        ..Limits::default()
    };
    let mut door = Door::new(setting.tls().await, &limits);
    let first = door.enter(setting.client(None), "2001:db8::1").await;
    is_closed(&mut door.knock("2001:db8::2")).await;
    let _other = door.enter(setting.client(None), "2001:db8:0:1::1").await;
    drop(first);
    let _again = door.enter(setting.client(None), "2001:db8::2").await;
}
