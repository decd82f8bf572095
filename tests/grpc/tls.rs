//! The port with TLS, as clients and gateways meet it.

use crate::certificates::{Authority, Folder, Pair};
use crate::service::*;
use crate::support::{MORNING, ManualClock};
use laddplan::engine::ports::Clock;
use laddplan::tls::{self, Files, Keeper, TrustDomain};
use laddplan::wire::bearer::Bearer;
use laddplan::wire::proto;
use laddplan::{api, dispatch};
use proto::connect_request::Message as Up;
use proto::site_service_client::SiteServiceClient;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

struct Secured {
    service: Service,
    folder: Folder,
    gateways: Authority,
    keeper: Keeper,
}

/// A client that trusts `authority` and shows a certificate, if it has one.
fn client(address: SocketAddr, authority: &Authority, shows: Option<&Pair>) -> Endpoint {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    if let Some(pair) = shows {
        config = config.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.tls_config(config).unwrap()
}

async fn start_secured(ours: &Authority) -> Secured {
    start_secured_with(ours, api::Limits::default()).await
}

async fn start_secured_with(ours: &Authority, limits: api::Limits) -> Secured {
    let folder = Folder::new();
    let gateways = Authority::new("gateways");
    folder.put(&ours.server(1));
    let files = Files {
        certificate: folder.path("certificate.pem"),
        key: folder.path("key.pem"),
        client_ca: Some(folder.write("client-ca.pem", &gateways.pem())),
        client_crl: None,
    };
    let clock: Arc<dyn Clock> = ManualClock::at(MORNING);
    let trust_domain = TrustDomain::parse("laddplan").unwrap();
    let (tls, keeper) = tls::open(files, trust_domain, clock).await.unwrap();
    let endpoint = |address| client(address, ours, None);
    let service = start_on(Some(tls), endpoint, limits, dispatch::Limits::default()).await;
    Secured {
        service,
        folder,
        gateways,
        keeper,
    }
}

/// Makes the call that needs nothing but a connection.
async fn is_answered(channel: Result<Channel, Error>) -> bool {
    let Ok(channel) = channel else {
        return false;
    };
    let request = HealthCheckRequest::default();
    HealthClient::new(channel).check(request).await.is_ok()
}

#[tokio::test]
async fn callers_and_gateways_speak_tls_on_one_port() {
    let ours = Authority::new("ours");
    let secured = start_secured(&ours).await;
    let address = secured.service.address;
    secured.service.put_site(site(SITE)).await.unwrap();
    let gateway = secured
        .gateways
        .client(1, &["spiffe://laddplan/tenant/cpo/gateway/gateway"]);
    let channel = client(address, &ours, Some(&gateway)).connect().await.unwrap();
    // Its certificate says who it is, whatever else it brings.
    let bearer = Bearer::new("no token").unwrap();
    let mut stream = Stream::open(bearer.clone().over(channel.clone())).await;
    stream.say(Up::Hello(hello())).await;
    assert!(stream.acknowledged().await.is_empty());
    let mut another = Stream::open(bearer.clone().over(channel.clone())).await;
    let gateway_id = "another".to_owned();
    another
        .say(Up::Hello(proto::GatewayHello { gateway_id, ..hello() }))
        .await;
    assert_eq!(another.end().await.unwrap().message(), "there is no gateway another");
    // For nothing else it stands in for a token.
    let list = proto::ListSitesRequest::default();
    let listed = SiteServiceClient::new(bearer.over(channel)).list_sites(list).await;
    assert_eq!(code(listed), Code::Unauthenticated);

    let stranger = Authority::new("gateways").client(1, &["spiffe://laddplan/tenant/cpo/gateway/gateway"]);
    assert!(!is_answered(client(address, &ours, Some(&stranger)).connect().await).await);
    assert!(!is_answered(client(address, &Authority::new("ours"), None).connect().await).await);
    let in_clear = Endpoint::from_shared(format!("http://{address}")).unwrap();
    assert!(!is_answered(in_clear.connect().await).await);
    assert!(is_answered(client(address, &ours, None).connect().await).await);
    secured.service.stop().await;
}

#[tokio::test]
async fn in_clear_nothing_is_answered() {
    let secured = start_secured(&Authority::new("ours")).await;
    let mut client = TcpStream::connect(secured.service.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It may be reset after its last word.
    let _ = client.read_to_end(&mut answer).await;
    // An alert of TLS at most.
    assert!(
        answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 0x15),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_stream_goes_on_while_new_connections_take_new_certificates() {
    let [ours, next] = ["ours", "next"].map(Authority::new);
    let mut secured = start_secured(&ours).await;
    let address = secured.service.address;
    secured.service.put_site(site(SITE)).await.unwrap();
    let mut stream = secured.service.connect_gateway().await;
    stream.acknowledged().await;

    secured.folder.put(&next.server(2));
    assert!(secured.keeper.reload().await);
    assert!(is_answered(client(address, &next, None).connect().await).await);
    assert!(!is_answered(client(address, &ours, None).connect().await).await);

    secured.folder.write("key.pem", "no key");
    assert!(!secured.keeper.reload().await);
    assert!(is_answered(client(address, &next, None).connect().await).await);

    stream
        .say(Up::Heartbeat(proto::GatewayHeartbeat { clock: Some(at(1)) }))
        .await;
    assert!(stream.acknowledged().await.is_empty());
}

#[tokio::test]
async fn where_gateways_need_a_certificate_a_token_is_not_enough() {
    let ours = Authority::new("ours");
    let limits = api::Limits {
        gateways_need_certificate: true,
        ..api::Limits::default()
    };
    let secured = start_secured_with(&ours, limits).await;
    secured.service.put_site(site(SITE)).await.unwrap();
    let refused = Stream::try_open(secured.service.channel.clone()).await;
    let refused = refused.err().expect("it is refused");
    assert_eq!(refused.message(), "a gateway needs a certificate that names it");
    let gateway = secured
        .gateways
        .client(1, &["spiffe://laddplan/tenant/cpo/gateway/gateway"]);
    let channel = client(secured.service.address, &ours, Some(&gateway))
        .connect()
        .await
        .unwrap();
    let mut stream = Stream::open(Bearer::new("").unwrap().over(channel)).await;
    stream.say(Up::Hello(hello())).await;
    assert!(stream.acknowledged().await.is_empty());
}
