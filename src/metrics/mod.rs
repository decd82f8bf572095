//! Figures for Prometheus: an HTTP endpoint of its own that answers `GET /metrics` in the text format 0.0.4.
//!
//! Decides what is exported, under which names and labels, and how much a scraper may ask. Exports no name of a person, a driver or a
//! session. Changes nothing.

mod text;

use crate::dispatch::Streams;
use crate::engine::Engine;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Sites whose figures are exported, by tenant and id; `laddplan_sites_left_out` counts the rest.
pub const MAX_EXPORTED_SITES: usize = 1_000;
/// Scrapers connected at once; one more waits.
const MAX_CONNECTIONS: usize = 8;
/// From the start of a connection, or of a next request on it, to the end of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is cut after this, whatever it is at.
const LONGEST_CONNECTION: Duration = Duration::from_secs(300);
const PATH: &str = "/metrics";

/// Whose figures are exported.
#[derive(Clone)]
pub struct Sources {
    pub engine: Engine,
    pub streams: Streams,
}

/// Answers scrapers until `stopping` turns true.
pub async fn serve(listener: TcpListener, sources: Sources, mut stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let room = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, room)
        };
        let (accepted, room) = tokio::select! {
            // The sender is gone only with the service.
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let sources = sources.clone();
                let stopping = stopping.clone();
                tokio::spawn(async move {
                    talk(stream, sources, stopping).await;
                    drop(room);
                });
            }
            // A connection that broke before it was taken, or too many open files: the next may be well.
            Err(error) => {
                tracing::warn!(%error, "a scraper could not be let in");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn talk(stream: TcpStream, sources: Sources, mut stopping: watch::Receiver<bool>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let sources = sources.clone();
        async move { Ok::<_, Infallible>(respond(&request, &sources).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        // How a scraper's connection ends says nothing.
        _ = timeout(LONGEST_CONNECTION, connection) => {}
    }
}

async fn respond(request: &Request<Incoming>, sources: &Sources) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "there is only /metrics\n".to_owned());
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let figures = sources.engine.figures(MAX_EXPORTED_SITES).await;
    match text::write(figures, &sources.streams) {
        Ok(text) => {
            let mut response = plain(StatusCode::OK, text);
            let kind = HeaderValue::from_static(text::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(error) => {
            tracing::error!(%error, "the figures could not be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the log says why\n".to_owned())
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
