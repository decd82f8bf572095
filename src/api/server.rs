//! The gRPC server: every service, and the limits before them.
//!
//! Decides how the service starts to listen to its callers and how it stops: no new calls, streams end, calls under way are answered.

use super::connections::Incoming;
use super::guard::GuardLayer;
use super::turned_away::TurnedAway;
use super::{Api, Limits};
use crate::access::Access;
use crate::drivers::Drivers;
use crate::engine::Engine;
use crate::engine::ports::Clock;
use crate::tls::Tls;
use crate::wire::{DESCRIPTORS, proto};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::admin_service_server::AdminServiceServer;
use proto::alarm_service_server::AlarmServiceServer;
use proto::driver_service_server::DriverServiceServer;
use proto::gateway_service_server::{GatewayService, GatewayServiceServer};
use proto::plan_service_server::PlanServiceServer;
use proto::session_service_server::SessionServiceServer;
use proto::site_service_server::SiteServiceServer;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::Server;
use tonic_health::server::{HealthReporter, health_reporter};

/// What health calls the sites: it is well while every site runs. The service as a whole is well without them, since the others run.
const SITES_HEALTH: &str = "laddplan.sites";

/// Only its protos are shown by reflection: the journal is our own.
const PUBLIC_PACKAGE: &str = "laddplan.v1";

/// Why the server did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
    #[error("reflection could not be built")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Where callers come in.
pub struct Port {
    pub listener: TcpListener,
    /// Without it all is spoken in clear.
    pub tls: Option<Tls>,
}

/// What the server serves.
pub struct Services<G> {
    pub engine: Engine,
    pub access: Access,
    pub drivers: Drivers,
    pub clock: Arc<dyn Clock>,
    pub gateways: G,
    /// Whether callers may ask what services there are.
    pub reflection: bool,
}

/// A service with the limits that every service has.
macro_rules! limited {
    ($service:expr, $limits:expr) => {
        $service
            .max_decoding_message_size($limits.max_request_bytes)
            .max_encoding_message_size($limits.max_response_bytes)
            .accept_compressed(Gzip)
            .send_compressed(Gzip)
    };
}

/// Serves until `shutdown` is done, then until every call is answered or the grace is over.
pub async fn serve<G: GatewayService>(
    port: Port,
    services: Services<G>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let limits = Arc::new(limits);
    let (stop, mut stopping) = watch::channel(false);
    let stopped_sites = services.engine.stopped_sites();
    let api = Api {
        engine: services.engine,
        access: services.access.clone(),
        drivers: services.drivers,
        clock: Arc::clone(&services.clock),
        limits: Arc::clone(&limits),
        stopping: stopping.clone(),
        streams: Arc::new(Semaphore::new(limits.max_long_calls)),
    };
    let (health, health_service) = health_reporter();
    set_serving::<G>(&health).await;
    let guard = GuardLayer::new(Arc::clone(&limits), services.access, services.clock);
    let telling = guard.clone().tell_of_lack();
    let router = builder(&limits)
        .layer(guard)
        .add_service(limited!(SiteServiceServer::new(api.clone()), limits))
        .add_service(limited!(SessionServiceServer::new(api.clone()), limits))
        .add_service(limited!(PlanServiceServer::new(api.clone()), limits))
        .add_service(limited!(AlarmServiceServer::new(api.clone()), limits))
        .add_service(limited!(DriverServiceServer::new(api.clone()), limits))
        .add_service(limited!(AdminServiceServer::new(api), limits))
        .add_service(limited!(GatewayServiceServer::new(services.gateways), limits))
        .add_service(health_service)
        .add_optional_service(services.reflection.then(|| reflection().build_v1()).transpose()?)
        .add_optional_service(services.reflection.then(|| reflection().build_v1alpha()).transpose()?);
    let shutdown = async {
        shutdown.await;
        set_not_serving::<G>(&health).await;
        stop.send_replace(true);
    };
    let turned_away = Arc::new(TurnedAway::default());
    let incoming = Incoming::new(port.listener, port.tls, &limits, Arc::clone(&turned_away));
    let mut serving = pin!(router.serve_with_incoming_shutdown(incoming, shutdown));
    tokio::select! {
        // What health says of the sites is right before the first call.
        biased;
        () = tell_of_sites(&health, stopped_sites) => {}
        served = &mut serving => return Ok(served?),
        never = telling => match never {},
        never = turned_away.tell() => match never {},
        // The sender is above, so this is its word.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    match timeout(limits.shutdown_grace, serving).await {
        Ok(served) => served?,
        Err(_) => tracing::warn!("calls were still under way when the grace was over"),
    }
    Ok(())
}

/// How many calls of a connection are at work is limited by the guard, which tells urgent ones from others; tonic does not.
///
/// tonic can also cut connections some time after their age, but then never tells them to go away first: so their age alone is set,
/// and what may keep one open longer, a stream, has limits of its own.
fn builder(limits: &Limits) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.max_streams_per_connection)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .http2_max_header_list_size(limits.max_header_bytes)
        .max_connection_age(limits.max_connection_age)
}

async fn set_serving<G: GatewayService>(health: &HealthReporter) {
    health.set_serving::<SiteServiceServer<Api>>().await;
    health.set_serving::<SessionServiceServer<Api>>().await;
    health.set_serving::<PlanServiceServer<Api>>().await;
    health.set_serving::<AlarmServiceServer<Api>>().await;
    health.set_serving::<DriverServiceServer<Api>>().await;
    health.set_serving::<AdminServiceServer<Api>>().await;
    health.set_serving::<GatewayServiceServer<G>>().await;
}

async fn set_not_serving<G: GatewayService>(health: &HealthReporter) {
    use tonic_health::ServingStatus::NotServing;
    // The empty name is the server as a whole.
    health.set_service_status("", NotServing).await;
    health.set_service_status(SITES_HEALTH, NotServing).await;
    health.set_not_serving::<SiteServiceServer<Api>>().await;
    health.set_not_serving::<SessionServiceServer<Api>>().await;
    health.set_not_serving::<PlanServiceServer<Api>>().await;
    health.set_not_serving::<AlarmServiceServer<Api>>().await;
    health.set_not_serving::<DriverServiceServer<Api>>().await;
    health.set_not_serving::<AdminServiceServer<Api>>().await;
    health.set_not_serving::<GatewayServiceServer<G>>().await;
}

/// Goes on for ever.
async fn tell_of_sites<K, V>(health: &HealthReporter, mut stopped: watch::Receiver<BTreeMap<K, V>>) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    loop {
        let all_run = stopped.borrow_and_update().is_empty();
        let status = if all_run { Serving } else { NotServing };
        health.set_service_status(SITES_HEALTH, status).await;
        if stopped.changed().await.is_err() {
            // No site can stop any more.
            std::future::pending().await
        }
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_file_descriptor_set(public_descriptors())
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Our public protos and what they import.
fn public_descriptors() -> FileDescriptorSet {
    let mut descriptors = FileDescriptorSet::decode(DESCRIPTORS).expect("the build made the descriptors");
    descriptors.file.retain(|file| {
        let package = file.package();
        package == PUBLIC_PACKAGE || !package.starts_with("laddplan.")
    });
    descriptors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_shows_the_api_and_not_the_journal() {
        let names: Vec<String> = public_descriptors()
            .file
            .iter()
            .map(|file| file.name().to_owned())
            .collect();
        assert!(names.contains(&"laddplan/v1/site.proto".to_owned()), "{names:?}");
        assert!(
            names.contains(&"google/protobuf/timestamp.proto".to_owned()),
            "{names:?}"
        );
        assert!(!names.iter().any(|name| name.contains("journal")), "{names:?}");
        reflection().build_v1().unwrap();
    }
}
