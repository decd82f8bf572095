//! What every client command needs: where the service is, for whom to speak, and how a refusal is told.
//!
//! Decides timeouts and sizes of calls, and which status is the caller's mistake. Nothing is said in clear to another machine. Never repeats a call: with `--request-id` the
//! caller can, safely.

use super::failure::Failure;
use super::input;
use super::output::Form;
use crate::config::{CA_VARIABLE, DEFAULT_LISTEN, SERVER_VARIABLE, TENANT_VARIABLE, TOKEN_VARIABLE};
use crate::wire::bearer::{Bearer, Calls};
use crate::wire::proto;
use crate::wire::proto::admin_service_client::AdminServiceClient;
use crate::wire::proto::alarm_service_client::AlarmServiceClient;
use crate::wire::proto::driver_service_client::DriverServiceClient;
use crate::wire::proto::plan_service_client::PlanServiceClient;
use crate::wire::proto::session_service_client::SessionServiceClient;
use crate::wire::proto::site_service_client::SiteServiceClient;
use clap::Args;
use http::Uri;
use http::uri::Scheme;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_types::StatusExt;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer taken, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// A token has less than a hundred.
const MAX_TOKEN_FILE_BYTES: u64 = 4_096;
/// Items asked for at once, and how many times before a list is taken to be endless.
const PAGE_SIZE: i32 = 100;
const MAX_PAGES: usize = 10_000;
/// Largest file of roots, in bytes.
const MAX_CA_BYTES: u64 = 1 << 20;

#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Whose sites these are. The token's tenant, if not given.
    #[arg(long, env = TENANT_VARIABLE, default_value = "", hide_default_value = true)]
    pub tenant: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// A file with the token that lets calls in. The variable LADDPLAN_TOKEN, if not given: a token in the arguments would be seen by
    /// everyone on this machine.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the service listens: an https URL, or on this machine an http one.
    #[arg(long, env = SERVER_VARIABLE, default_value_t = format!("http://{DEFAULT_LISTEN}"))]
    server: String,
    /// Roots that the service's certificate is to lead to, in PEM, instead of those that this machine trusts.
    #[arg(long, value_name = "FILE", env = CA_VARIABLE)]
    ca: Option<PathBuf>,
    /// Print answers as JSON.
    #[arg(long)]
    json: bool,
}

/// For the commands that change something.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// Names the call: the same id with the same contents does nothing twice. A random one if not given.
    #[arg(long)]
    request_id: Option<String>,
}

impl RequestArgs {
    pub fn meta(&self) -> Option<proto::RequestMeta> {
        let made = || uuid::Uuid::new_v4().to_string();
        Some(proto::RequestMeta {
            request_id: self.request_id.clone().unwrap_or_else(made),
        })
    }
}

/// A connection to the service.
pub struct Client {
    calls: Calls,
    pub form: Form,
}

impl Client {
    pub fn sites(&self) -> SiteServiceClient<Calls> {
        SiteServiceClient::new(self.calls.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub fn sessions(&self) -> SessionServiceClient<Calls> {
        SessionServiceClient::new(self.calls.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub fn alarms(&self) -> AlarmServiceClient<Calls> {
        AlarmServiceClient::new(self.calls.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub fn drivers(&self) -> DriverServiceClient<Calls> {
        DriverServiceClient::new(self.calls.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub fn admin(&self) -> AdminServiceClient<Calls> {
        AdminServiceClient::new(self.calls.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub fn plans(&self) -> PlanServiceClient<Calls> {
        PlanServiceClient::new(self.calls.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

impl ConnectionArgs {
    fn bearer(&self) -> Result<Bearer, Failure> {
        let (place, text) = match &self.token_file {
            Some(file) => (
                format!("--token-file {}", file.display()),
                input::text_up_to(file, MAX_TOKEN_FILE_BYTES)?,
            ),
            None => {
                let text = std::env::var(TOKEN_VARIABLE).map_err(|_| {
                    Failure::BadInput(format!(
                        "a token is needed: in the variable {TOKEN_VARIABLE}, or with --token-file; \"laddplan serve\" shows the first one \
                         when it starts for the first time"
                    ))
                })?;
                (TOKEN_VARIABLE.to_owned(), text)
            }
        };
        Bearer::new(text.trim()).ok_or_else(|| Failure::BadInput(format!("{place}: is not a token")))
    }
}

/// Connects, and runs `call` to its end.
pub fn with_client(args: &ClientArgs, call: impl AsyncFnOnce(Client) -> Result<(), Failure>) -> Result<(), Failure> {
    with_connection(&args.connection, call)
}

/// The same for commands that are not about one tenant.
pub fn with_connection(
    args: &ConnectionArgs,
    call: impl AsyncFnOnce(Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bearer = args.bearer()?;
    let endpoint = endpoint(&args.server, args.ca.as_deref())?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let channel = endpoint.connect().await.map_err(|error| {
            let why = anyhow::Error::from(error);
            Failure::Internal(format!("no service answers at {}: {why:#}", args.server))
        })?;
        let form = Form::of(args.json);
        let calls = bearer.over(channel);
        call(Client { calls, form }).await
    })
}

fn endpoint(server: &str, ca: Option<&Path>) -> Result<Endpoint, Failure> {
    let no_url = || {
        let like = format!("https://laddplan.example:50051 or http://{DEFAULT_LISTEN}");
        Failure::BadInput(format!("--server: {server} is not a URL such as {like}"))
    };
    let url: Uri = server.parse().map_err(|_| no_url())?;
    let host = url.host().ok_or_else(no_url)?;
    if url.scheme() == Some(&Scheme::HTTP) {
        if !is_this_machine(host) {
            let text = format!("--server: {server} is another machine, where nothing is said in clear: use https");
            return Err(Failure::BadInput(text));
        }
        return Ok(Endpoint::from(url));
    }
    if url.scheme() != Some(&Scheme::HTTPS) {
        return Err(no_url());
    }
    // The machine's own roots, since its operator keeps them: a list that is built in would grow old with the program.
    let tls = match ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(roots(ca)?),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let endpoint = Endpoint::from(url).tls_config(tls);
    endpoint.map_err(|error| Failure::Internal(format!("no TLS: {:#}", anyhow::Error::from(error))))
}

/// Names of others may lead here too, but who answers for them decides that each time anew.
fn is_this_machine(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address {
        Some(address) => address.to_canonical().is_loopback(),
        None => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A file without a root would let nobody be trusted, and say only that.
fn roots(path: &Path) -> Result<Certificate, Failure> {
    let text = input::text_up_to(path, MAX_CA_BYTES)?;
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    if found.is_ok_and(|found| !found.is_empty()) {
        Ok(Certificate::from_pem(text))
    } else {
        Err(Failure::BadInput(format!(
            "--ca: {} holds no certificates in PEM",
            path.display()
        )))
    }
}

/// A refusal of the service, each fault on a line.
pub fn refused(status: tonic::Status) -> Failure {
    let violations = status.get_details_bad_request().map(|details| details.field_violations);
    let lines: Vec<String> = violations
        .unwrap_or_default()
        .into_iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    let text = if lines.is_empty() {
        format!("{}: {}", status.code().description(), status.message())
    } else {
        lines.join("\n")
    };
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated => Failure::BadInput(text),
        _ => Failure::Internal(text),
    }
}

/// Every item of a list, page by page. `page` answers with a page's items and the token of the next page.
pub async fn every_page<T>(
    page: impl AsyncFn(proto::PageRequest) -> Result<(Vec<T>, String), Failure>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut token = String::new();
    for _ in 0..MAX_PAGES {
        let request = proto::PageRequest {
            page_size: PAGE_SIZE,
            page_token: token,
        };
        let (more, next) = page(request).await?;
        items.extend(more);
        if next.is_empty() {
            return Ok(items);
        }
        token = next;
    }
    Err(Failure::Internal(format!(
        "the list did not end after {MAX_PAGES} pages"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn each_fault_of_a_refused_request_is_a_line() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation(
            "site.nodes[1].parent_id",
            "is unknown; got x, allowed: a node of the site",
        );
        details.add_bad_request_violation("site.time_zone", "is unknown; got Mars, allowed: an IANA name");
        let status = tonic::Status::with_error_details(Code::InvalidArgument, "2 faults", details);
        let failure = refused(status);
        assert!(matches!(failure, Failure::BadInput(_)));
        assert_eq!(
            failure.to_string(),
            "site.nodes[1].parent_id: is unknown; got x, allowed: a node of the site\n\
             site.time_zone: is unknown; got Mars, allowed: an IANA name"
        );
    }

    #[test]
    fn nothing_is_said_in_clear_to_another_machine() {
        for server in [
            "http://192.168.1.5:50051",
            "http://[::ffff:192.168.1.5]:50051",
            "http://laddplan.example:50051",
            "http://localhost.example:50051",
            "http://127.0.0.1@laddplan.example",
            "http://0.0.0.0:50051",
            "http://127.1:50051",
        ] {
            let Err(Failure::BadInput(text)) = endpoint(server, None) else {
                panic!("{server} is taken");
            };
            assert!(text.ends_with("use https"), "{text}");
        }
        for server in [
            "http://127.0.0.1:50051",
            "http://127.8.8.8:1",
            "http://[::1]:50051",
            "http://[::ffff:127.0.0.1]:1",
            "http://localhost:50051",
        ] {
            assert!(endpoint(server, None).is_ok(), "{server}");
        }
        for server in [
            "",
            "not a url",
            "127.0.0.1:50051",
            "ftp://127.0.0.1",
            "/path",
            "http://",
        ] {
            assert!(matches!(endpoint(server, None), Err(Failure::BadInput(_))), "{server}");
        }
    }

    #[test]
    fn only_the_callers_mistakes_are_bad_input() {
        for (code, is_mistake) in [
            (Code::NotFound, true),
            (Code::AlreadyExists, true),
            (Code::ResourceExhausted, false),
            (Code::Unavailable, false),
            (Code::DeadlineExceeded, false),
            (Code::Internal, false),
        ] {
            let failure = refused(tonic::Status::new(code, "why"));
            assert_eq!(matches!(failure, Failure::BadInput(_)), is_mistake, "{code:?}");
            assert!(failure.to_string().ends_with(": why"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_last_page() {
        let items = every_page(async |page: proto::PageRequest| {
            Ok(match page.page_token.as_str() {
                "" => (vec![1, 2], "second".to_owned()),
                "second" => (vec![3], String::new()),
                other => panic!("{other}"),
            })
        });
        assert_eq!(items.await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_list_without_end_is_given_up() {
        let items = every_page(async |_| Ok((vec![()], "again".to_owned())));
        assert!(matches!(items.await, Err(Failure::Internal(_))));
    }
}
