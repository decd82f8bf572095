//! The program as people and scripts call it: what it prints, and its exit code.

#[path = "support/certificates.rs"]
mod certificates;

use certificates::{Authority, Folder};
use laddplan::engine::ports::Clock;
use laddplan::ocpi::check::{Expectation, check};
use laddplan::wire::json::{Layout, from_json, to_json};
use laddplan::wire::proto;
use laddplan::wire::proto::site_service_server::{SiteService, SiteServiceServer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

const DONE: Option<i32> = Some(0);
const BAD_INPUT: Option<i32> = Some(64);
const INTERNAL: Option<i32> = Some(70);

/// A test that waits for what does not come fails after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program without any setting of the caller's environment.
fn laddplan(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laddplan"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LADDPLAN_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    laddplan(arguments).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ocpi");
    folder.join(name).to_str().unwrap().to_owned()
}

/// Two cars that come home and stay over night.
const GARAGE: &str = "session_id,evse_id,arrival,departure,energy_kwh,max_power_kw\n\
    first,G-1,2024-01-15T16:00:00Z,2024-01-15T21:30:00Z,20,7.4\n\
    second,G-2,2024-01-15T16:30:00Z,2024-01-15T22:00:00Z,12,11\n";

#[test]
fn demo_plays_any_day_of_sessions_and_keeps_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("sessions.csv"), GARAGE).unwrap();
    let output = run(&[
        "demo",
        "--sessions",
        &path("sessions.csv"),
        "--date",
        "2024-01-15",
        "--time-zone",
        "Europe/Oslo",
        "--volts",
        "230",
        "--phases",
        "3",
        "--capacity-kw",
        "12",
        "--data",
        &path("data"),
        "--out",
        &path("report"),
    ]);
    assert_eq!(output.status.code(), DONE, "{}", err(&output));
    assert!(out(&output).contains("2 cars at 2 charging points"), "{}", out(&output));
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path("report/report.json")).unwrap()).unwrap();
    let ours = &report["laddplan"];
    assert_eq!(ours["seconds_above_limit_otherwise"], 0);
    assert_eq!(
        ours["delivered_watt_hour"], 32_000,
        "both cars get all they take: {ours}"
    );
    // The cars alone could draw 18 kW.
    assert!(
        ours["limits"][0]["highest_load_watt"].as_i64().unwrap() <= 12_000,
        "{ours}"
    );
    assert!(std::fs::metadata(path("report/report.html")).unwrap().len() > 0);
}

#[test]
fn demo_says_what_is_wrong_with_the_day_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = folder.path().join("sessions.csv");
    std::fs::write(&sessions, GARAGE.replace(",20,", ",lots,")).unwrap();
    let sessions = sessions.to_str().unwrap();
    for (arguments, complaint) in [
        (
            &["--sessions", sessions, "--date", "2024-01-15"][..],
            "first at G-1: energy_kwh is \"lots\"",
        ),
        (
            &["--sessions", sessions, "--date", "2024-01-16"],
            "no session that can be played arrives on 2024-01-16",
        ),
        (
            &["--sessions", sessions, "--date", "2024-01-15", "--time-zone", "Mars"],
            "\"Mars\" is no time zone",
        ),
        (&["--sessions", "nowhere.csv", "--date", "2024-01-15"], "nowhere.csv"),
        (&["--sessions", sessions], "--date"),
        (&["--sessions", sessions, "--date", "yesterday"], "yesterday"),
    ] {
        let output = laddplan(&[&["demo"][..], arguments].concat())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), BAD_INPUT, "{arguments:?}");
        assert!(err(&output).contains(complaint), "{}", err(&output));
    }
}

#[test]
fn help_and_version_are_no_mistakes_and_a_wrong_word_is() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["session", "override", "--help"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), DONE, "{arguments:?}");
        assert!(!out(&output).is_empty() && err(&output).is_empty(), "{arguments:?}");
    }
    for arguments in [
        &[][..],
        &["serf"],
        &["plan"],
        &["check"],
        &["site", "get", "depot"],
        &["check", "--kind", "Profile", "x"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), BAD_INPUT, "{arguments:?}");
        assert!(out(&output).is_empty() && !err(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_says_what_is_wrong_and_exits_by_it() {
    let right = run(&["check", &golden("right/set_ac_amps_absolute.json")]);
    assert_eq!(right.status.code(), DONE);
    assert!(
        out(&right).ends_with("SetChargingProfile: 0 errors, 1 warning\n"),
        "{}",
        out(&right)
    );

    let wrong = run(&["check", &golden("wrong/negative_limit.json")]);
    assert_eq!(wrong.status.code(), BAD_INPUT);
    assert!(out(&wrong).contains("error    $.charging_profile_period[0].limit: is negative; got -3000.0"));
    assert!(err(&wrong).is_empty());

    let too_many = run(&[
        "check",
        &golden("right/set_dc_watts_absolute.json"),
        "--max-periods",
        "2",
    ]);
    assert_eq!(too_many.status.code(), BAD_INPUT);

    let as_another = run(&[
        "check",
        &golden("right/result_set_accepted.json"),
        "--kind",
        "ChargingProfileResponse",
    ]);
    assert_eq!(as_another.status.code(), BAD_INPUT);
    assert!(out(&as_another).contains("$.timeout: is required"));
}

#[test]
fn check_reads_standard_input_and_answers_machines() {
    let mut child = laddplan(&["check", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = br#"{"result": "MAYBE", "profile": null}"#;
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), BAD_INPUT);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["kind"], "ActiveChargingProfileResult");
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"][0]["path"], "$.result");
    assert_eq!(report["warnings"][0]["path"], "$.profile");
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_of_the_caller() {
    for arguments in [
        &["check", "no/such/file"][..],
        &["plan", "no/such/file"],
        &["serve", "--config", "no/such/file"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), BAD_INPUT, "{arguments:?}");
        assert!(err(&output).starts_with("no/such/file: "), "{}", err(&output));
    }
}

#[test]
fn three_mistakes_in_the_settings_are_three_lines_and_nothing_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("laddplan.toml");
    std::fs::write(&config, "reflexion = true\n[planner]\nsolver_threads = 0\n").unwrap();
    let data = folder.path().join("data");
    let output = laddplan(&["serve", "--config", config.to_str().unwrap(), "--listen", "0.0.0.0:0"])
        .env("LADDPLAN_DATA", &data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), BAD_INPUT);
    let lines: Vec<&str> = err(&output).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("--listen: is reachable from other machines"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("planner.solver_threads: is out of range; got 0"),
        "{lines:?}"
    );
    assert!(lines[2].contains("reflexion: is not a setting"), "{lines:?}");
    assert!(!data.exists());
}

#[test]
fn a_plan_request_that_is_none_is_refused_by_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request.json");
    for (text, complaint) in [
        ("{\"site\": {\"id\": \"x\",}}", "line 1"),
        ("{\"now\": \"yesterday\"}", "line 1"),
        ("{\"slotcount\": 1}", "slotcount"),
        ("{\"budget_iterations\": NaN}", "line 1"),
    ] {
        std::fs::write(&request, text).unwrap();
        let output = run(&["plan", request.to_str().unwrap()]);
        assert_eq!(output.status.code(), BAD_INPUT, "{text}");
        assert!(err(&output).contains(complaint), "{text}: {}", err(&output));
    }
}

#[test]
fn the_printed_example_is_a_request() {
    let output = run(&["plan", "--print-example"]);
    assert_eq!(output.status.code(), DONE);
    let request: proto::PlanRequest = from_json(out(&output)).unwrap();
    assert_eq!(request.sessions.len(), 3);
}

#[test]
fn the_printed_example_is_planned_and_its_profiles_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request.json");
    std::fs::write(&request, run(&["plan", "--print-example"]).stdout).unwrap();
    let request = request.to_str().unwrap();

    let human = run(&["plan", request]);
    assert_eq!(human.status.code(), DONE, "{}", err(&human));
    assert!(
        out(&human).ends_with("every limit kept, checked independently\n"),
        "{}",
        out(&human)
    );

    let machine = run(&["plan", request, "--json"]);
    let plan: proto::PlanResponse = from_json(out(&machine)).unwrap();
    assert_eq!(plan.sessions.len(), 3);
    assert!(plan.stats.unwrap().delivered_watt_hour > 0);
    // What the protos print is the OCPI object, field for field.
    let plan: serde_json::Value = serde_json::from_slice(&machine.stdout).unwrap();
    for session in plan["sessions"].as_array().unwrap() {
        let profile = serde_json::to_string(&session["charging_profile"]).unwrap();
        let report = check(&profile, Expectation::default());
        assert!(report.is_valid() && report.warnings.is_empty(), "{profile}: {report:?}");
    }
}

#[test]
fn a_problem_with_three_faults_is_refused_with_three_lines() {
    let folder = tempfile::tempdir().unwrap();
    let request = folder.path().join("request.json");
    let mut problem: serde_json::Value = serde_json::from_slice(&run(&["plan", "--print-example"]).stdout).unwrap();
    problem["site"]["time_zone"] = "Mars/Olympus".into();
    problem["sessions"][0]["spec"]["need_watt_hour"] = 10_000_000_000_000_i64.into();
    problem["sessions"][1]["delivered_watt_hour"] = (-1).into();
    std::fs::write(&request, problem.to_string()).unwrap();
    let output = run(&["plan", request.to_str().unwrap()]);
    assert_eq!(output.status.code(), BAD_INPUT);
    let fields: Vec<&str> = err(&output)
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(
        fields,
        [
            "site.time_zone",
            "sessions[0].spec.need_watt_hour",
            "sessions[1].delivered_watt_hour"
        ]
    );
}

#[test]
fn a_service_that_is_not_there_is_no_mistake_of_the_caller() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{address}");
    let output = call_with(&server, "laddplan_any", &["site", "list"]);
    assert_eq!(output.status.code(), INTERNAL);
    assert!(
        err(&output).starts_with(&format!("no service answers at {server}")),
        "{}",
        err(&output)
    );

    let output = call_with("not a url", "laddplan_any", &["site", "list"]);
    assert_eq!(output.status.code(), BAD_INPUT);
}

/// Knows two sites of the tenant acme, on two pages, and refuses every new one.
#[derive(Default)]
struct TwoSites {
    /// How often it was asked how far a check is.
    asked: AtomicUsize,
}

fn receipt() -> Option<proto::Receipt> {
    Some(proto::Receipt {
        sequence: 7,
        recorded_at: Some(prost_types::Timestamp {
            seconds: 1_795_362_300,
            nanos: 0,
        }),
        warnings: vec!["the limit is below \u{1b}[2J what cannot be shed".to_owned()],
    })
}

#[tonic::async_trait]
impl SiteService for TwoSites {
    async fn put_site(
        &self,
        request: Request<proto::PutSiteRequest>,
    ) -> Result<Response<proto::PutSiteResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.tenant_id, "acme");
        assert!(!request.meta.unwrap().request_id.is_empty());
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("site.time_zone", "is unknown; got Mars, allowed: an IANA name");
        details.add_bad_request_violation(
            "site.nodes",
            "has no root; got 0 nodes, allowed: one node without parent",
        );
        Err(Status::with_error_details(Code::InvalidArgument, "2 faults", details))
    }

    async fn get_site(
        &self,
        request: Request<proto::GetSiteRequest>,
    ) -> Result<Response<proto::GetSiteResponse>, Status> {
        Err(Status::not_found(format!(
            "there is no site {}",
            request.into_inner().site_id
        )))
    }

    async fn get_rollout(
        &self,
        _: Request<proto::GetRolloutRequest>,
    ) -> Result<Response<proto::GetRolloutResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_sites(
        &self,
        request: Request<proto::ListSitesRequest>,
    ) -> Result<Response<proto::ListSitesResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.tenant_id, "acme");
        let (id, next) = match request.page.unwrap().page_token.as_str() {
            "" => ("depot", "second"),
            "second" => ("harbour", ""),
            _ => return Err(Status::invalid_argument("no such page")),
        };
        let site = proto::Site {
            id: id.to_owned(),
            time_zone: "Europe/Stockholm".to_owned(),
            mode: proto::SiteMode::Control.into(),
            ..Default::default()
        };
        Ok(Response::new(proto::ListSitesResponse {
            sites: vec![site],
            next_page_token: next.to_owned(),
        }))
    }

    async fn stop_site(
        &self,
        request: Request<proto::StopSiteRequest>,
    ) -> Result<Response<proto::StopSiteResponse>, Status> {
        assert!(request.into_inner().stopped);
        Ok(Response::new(proto::StopSiteResponse { receipt: receipt() }))
    }

    async fn delete_site(
        &self,
        _: Request<proto::DeleteSiteRequest>,
    ) -> Result<Response<proto::DeleteSiteResponse>, Status> {
        Err(Status::unavailable("the store is full"))
    }

    async fn set_grid_limit(
        &self,
        _: Request<proto::SetGridLimitRequest>,
    ) -> Result<Response<proto::SetGridLimitResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_grid_limits(
        &self,
        _: Request<proto::ListGridLimitsRequest>,
    ) -> Result<Response<proto::ListGridLimitsResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn remove_grid_limit(
        &self,
        _: Request<proto::RemoveGridLimitRequest>,
    ) -> Result<Response<proto::RemoveGridLimitResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn report_node_meter(
        &self,
        request: Request<proto::ReportNodeMeterRequest>,
    ) -> Result<Response<proto::ReportNodeMeterResponse>, Status> {
        let request = request.into_inner();
        let reading = proto::NodeMeterReading {
            node_id: "grid".to_owned(),
            at: None,
            current_deciampere: vec![615, 600, -3],
            power_watt: Some(-40),
        };
        assert_eq!(request.readings, [reading]);
        Ok(Response::new(proto::ReportNodeMeterResponse {
            recorded: 1,
            dropped: 0,
        }))
    }

    async fn check_evse(
        &self,
        request: Request<proto::CheckEvseRequest>,
    ) -> Result<Response<proto::CheckEvseResponse>, Status> {
        assert_eq!(request.into_inner().evse_id, "left");
        self.asked.store(0, Ordering::SeqCst);
        Ok(Response::new(proto::CheckEvseResponse { receipt: receipt() }))
    }

    async fn abort_evse_check(
        &self,
        _: Request<proto::AbortEvseCheckRequest>,
    ) -> Result<Response<proto::AbortEvseCheckResponse>, Status> {
        Err(Status::not_found("there is no check of EVSE left"))
    }

    async fn get_evse_check(
        &self,
        _: Request<proto::GetEvseCheckRequest>,
    ) -> Result<Response<proto::GetEvseCheckResponse>, Status> {
        let is_over = self.asked.fetch_add(1, Ordering::SeqCst) > 0;
        let result = |step: proto::CheckStep, finding: proto::CheckFinding, what: &str| proto::CheckStepResult {
            step: step.into(),
            finding: finding.into(),
            at: receipt().and_then(|receipt| receipt.recorded_at),
            what: what.to_owned(),
        };
        let mut results = vec![result(
            proto::CheckStep::TakesPower,
            proto::CheckFinding::Passed,
            "allowed 32.0 A, it took 31.5 A",
        )];
        if is_over {
            results.push(result(
                proto::CheckStep::FollowsZero,
                proto::CheckFinding::Failed,
                "allowed 0.0 A, it took 31.5 A",
            ));
        }
        let check = proto::EvseCheck {
            evse_id: "left".to_owned(),
            results,
            ended_at: receipt().and_then(|receipt| receipt.recorded_at).filter(|_| is_over),
            verdict: proto::CheckFinding::Failed.into(),
            ..Default::default()
        };
        Ok(Response::new(proto::GetEvseCheckResponse { check: Some(check) }))
    }

    async fn set_prices(
        &self,
        _: Request<proto::SetPricesRequest>,
    ) -> Result<Response<proto::SetPricesResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn set_forecast(
        &self,
        _: Request<proto::SetForecastRequest>,
    ) -> Result<Response<proto::SetForecastResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

/// Serves [`TwoSites`] until the test process ends, and tells where.
fn two_sites() -> String {
    let (told, address) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            tonic::transport::Server::builder()
                .add_service(SiteServiceServer::new(TwoSites::default()))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
    });
    format!("http://{}", address.recv().unwrap())
}

fn call(server: &str, arguments: &[&str]) -> Output {
    laddplan(arguments)
        .env("LADDPLAN_SERVER", server)
        .env("LADDPLAN_TENANT", "acme")
        .env("LADDPLAN_TOKEN", "laddplan_any")
        .output()
        .unwrap()
}

fn call_with(server: &str, token: &str, arguments: &[&str]) -> Output {
    laddplan(arguments)
        .env("LADDPLAN_SERVER", server)
        .env("LADDPLAN_TOKEN", token)
        .output()
        .unwrap()
}

#[test]
fn clients_tell_what_the_service_said() {
    let server = two_sites();

    let list = call(&server, &["site", "list"]);
    assert_eq!(list.status.code(), DONE, "{}", err(&list));
    assert_eq!(
        out(&list),
        "site     mode     time zone         EVSEs  gateway\n\
         depot    control  Europe/Stockholm      0\n\
         harbour  control  Europe/Stockholm      0\n"
    );
    let list = call(&server, &["site", "list", "--json"]);
    let sites: proto::ListSitesResponse = from_json(out(&list)).unwrap();
    assert_eq!(sites.sites.len(), 2);

    let stop = call(&server, &["site", "stop", "depot"]);
    assert_eq!(stop.status.code(), DONE);
    assert_eq!(
        out(&stop),
        "recorded as entry 7 at 2026-11-22T15:45:00Z\nwarning: the limit is below \\u001b[2J what cannot be shed\n"
    );

    let meter = ["site", "meter", "depot", "grid"];
    let read = ["--amperes", "61.5,60,-0.3", "--watts", "-40"];
    let meter = call(&server, &[&meter[..], &read].concat());
    assert_eq!(
        (meter.status.code(), out(&meter)),
        (DONE, "recorded\n"),
        "{}",
        err(&meter)
    );
    let meter = call(&server, &["site", "meter", "depot", "grid", "--amperes", "61.5"]);
    assert_eq!(meter.status.code(), BAD_INPUT);
    assert!(
        err(&meter).starts_with("--amperes: is not for three lines"),
        "{}",
        err(&meter)
    );

    let check = call(&server, &["site", "check", "depot", "left"]);
    assert_eq!(check.status.code(), BAD_INPUT, "{}", err(&check));
    assert_eq!(
        out(&check),
        "passed    the car takes power: allowed 32.0 A, it took 31.5 A\n\
         FAILED    zero is zero: allowed 0.0 A, it took 31.5 A\n\
         left FAILED, at 2026-11-22T15:45:00Z\n"
    );
    let check = call(&server, &["site", "check", "depot", "left", "--last", "--json"]);
    let told: proto::EvseCheck = from_json(out(&check)).unwrap();
    assert_eq!(told.results.len(), 2);
    let abort = call(&server, &["site", "check", "depot", "left", "--abort"]);
    assert!(
        err(&abort).ends_with("there is no check of EVSE left\n"),
        "{}",
        err(&abort)
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.json");
    std::fs::write(&file, to_json(&sites.sites[0], Layout::Pretty).unwrap()).unwrap();
    let put = call(&server, &["site", "put", file.to_str().unwrap()]);
    assert_eq!(put.status.code(), BAD_INPUT);
    assert_eq!(
        err(&put),
        "site.time_zone: is unknown; got Mars, allowed: an IANA name\n\
         site.nodes: has no root; got 0 nodes, allowed: one node without parent\n"
    );

    let get = call(&server, &["site", "get", "quay"]);
    assert_eq!(get.status.code(), BAD_INPUT);
    assert!(err(&get).ends_with("there is no site quay\n"), "{}", err(&get));

    let delete = call(&server, &["site", "delete", "depot"]);
    assert_eq!(delete.status.code(), INTERNAL);
}

/// The service, on a free port; killed at the latest when the test ends.
struct Service {
    process: Child,
    address: String,
    /// The first token, which administers tenants and tokens.
    administrator: String,
    /// A token of tenant `acme`.
    token: String,
    /// Where it listens for scrapers.
    scrapers: String,
    /// What it logs, from there on.
    log: mpsc::Receiver<serde_json::Value>,
}

impl Service {
    /// Starts on a new folder, with a tenant.
    fn start(data: &Path) -> Self {
        let mut service = Self::start_with(data, "127.0.0.1:0", &[]);
        service.make_tenant(&service.address.clone(), &[]);
        service
    }

    /// The same without a tenant.
    fn start_with(data: &Path, listen: &str, settings: &[(&str, &Path)]) -> Self {
        let first = data.with_extension("token");
        let mut process = laddplan(&["serve", "--listen", listen, "--data", data.to_str().unwrap()])
            .args(["--admin-token-file", first.to_str().unwrap()])
            .env("LADDPLAN_LOG_FORMAT", "json")
            .env("LADDPLAN_METRICS_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (tell, log) = mpsc::channel();
        // Read to its end, so that the service never waits for a reader.
        std::thread::spawn(move || {
            for line in lines {
                // Where nobody listens any more.
                let _ = tell.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        let mut service = Self {
            process,
            address: String::new(),
            administrator: String::new(),
            token: String::new(),
            scrapers: String::new(),
            log,
        };
        service.scrapers = service.logged("scrapers");
        service.address = format!("http://{}", service.logged("address"));
        service.administrator = wait_for(&first);
        service
    }

    /// Makes a tenant with a token, as whoever starts a service would.
    fn make_tenant(&mut self, server: &str, more: &[&str]) {
        let administer = |arguments: &[&str]| call_with(server, &self.administrator, &[arguments, more].concat());
        let put = administer(&["tenant", "put", "acme"]);
        assert_eq!(put.status.code(), DONE, "{}", err(&put));
        let scopes = ["--scope", "site.read", "--scope", "plan.write", "--scope", "limits"];
        let created = administer(&[&["token", "create", "--tenant", "acme"][..], &scopes].concat());
        self.token = out(&created).lines().last().expect("a secret").to_owned();
    }

    fn administer(&self, arguments: &[&str]) -> Output {
        call_with(&self.address, &self.administrator, arguments)
    }

    fn call(&self, arguments: &[&str]) -> Output {
        call_with(&self.address, &self.token, arguments)
    }

    /// The next value of this name that it logs.
    fn logged(&self, name: &str) -> String {
        loop {
            let event = self.log.recv_timeout(PATIENCE).expect("the service logs it");
            if let Some(value) = event[name].as_str() {
                return value.to_owned();
            }
        }
    }
}

/// The first token is written once the service listens.
fn wait_for(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => std::thread::yield_now(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_the_clients_put_in_survives_a_kill_and_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let request: serde_json::Value = serde_json::from_slice(&run(&["plan", "--print-example"]).stdout).unwrap();
    std::fs::write(at("site.json"), request["site"].to_string()).unwrap();
    std::fs::write(at("limit.json"), request["grid_limits"][0].to_string()).unwrap();
    let prices = serde_json::json!({ "prices": request["prices"] });
    std::fs::write(at("prices.json"), prices.to_string()).unwrap();

    let service = Service::start(&folder.path().join("data"));
    for arguments in [
        &["site", "put", &at("site.json")][..],
        &["limit", "set", &at("limit.json"), "--site", "workplace"],
        &["prices", "set", &at("prices.json"), "--site", "workplace"],
        &["site", "stop", "workplace"],
        &["site", "resume", "workplace"],
    ] {
        let output = service.call(arguments);
        assert_eq!(output.status.code(), DONE, "{arguments:?}: {}", err(&output));
        assert!(out(&output).starts_with("recorded as entry "), "{}", out(&output));
    }
    let repeated = ["site", "stop", "workplace", "--request-id", "once"];
    assert_eq!(out(&service.call(&repeated)), out(&service.call(&repeated)));
    let rollout = service.call(&["site", "rollout", "workplace"]);
    assert!(
        out(&rollout).contains("the gateway is NOT connected"),
        "{}",
        out(&rollout)
    );
    let alarms = service.call(&["alarm", "list", "--all", "--json"]);
    assert_eq!(alarms.status.code(), DONE, "{}", err(&alarms));
    let mut scraped = String::new();
    let mut scraper = std::net::TcpStream::connect(&service.scrapers).unwrap();
    scraper.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    scraper.read_to_string(&mut scraped).unwrap();
    assert!(
        scraped.contains("laddplan_gateway_up{tenant=\"acme\",site=\"workplace\"} 0"),
        "{scraped}"
    );
    let locked = run(&["journal", "export", "--data", &at("data")]);
    assert_eq!(locked.status.code(), INTERNAL, "{}", err(&locked));
    drop(service);

    let exported = run(&["journal", "export", "--data", &at("data"), "--out", &at("export")]);
    assert_eq!(exported.status.code(), DONE, "{}", err(&exported));
    let restored = run(&["journal", "restore", &at("export"), "--data", &at("again")]);
    assert_eq!(restored.status.code(), DONE, "{}", err(&restored));
    let over_another = run(&["journal", "restore", &at("export"), "--data", &at("again")]);
    assert_eq!(over_another.status.code(), BAD_INPUT, "{}", err(&over_another));

    let service = Service::start(&folder.path().join("again"));
    assert_eq!(service.logged("unknown_tenant"), "acme", "until it was made again");
    let limits = service.call(&["limit", "list", "--site", "workplace"]);
    assert!(out(&limits).contains("dso-noon"), "{}", out(&limits));
    let site = service.call(&["site", "get", "workplace"]);
    assert!(out(&site).contains("STOPPED"), "{}", out(&site));
}

#[test]
fn tokens_are_made_shown_rotated_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = Service::start(&data);
    let shown = service.call(&["token", "show"]);
    assert!(
        out(&shown).contains("of tenant acme\nscopes: site.read, plan.write, limits"),
        "{}",
        out(&shown)
    );
    assert_eq!(service.call(&["token", "list"]).status.code(), BAD_INPUT);
    let listed = service.administer(&["token", "list", "--tenant", "acme", "--json"]);
    let listed: proto::ListTokensResponse = from_json(out(&listed)).unwrap();
    let id = listed.tokens[0].id.as_str();

    let wrong = service.administer(&["token", "create", "--tenant", "acme", "--scope", "everything"]);
    assert_eq!(wrong.status.code(), BAD_INPUT);
    assert!(err(&wrong).contains("is not a scope"), "{}", err(&wrong));
    let nobody = service.administer(&["token", "create", "--tenant", "nobody", "--scope", "limits"]);
    assert_eq!(
        err(&nobody),
        "Some requested entity was not found: there is no tenant nobody\n"
    );

    let rotated = service.administer(&["token", "rotate", id, "--old-secret-hours", "0"]);
    let secret = out(&rotated).lines().last().unwrap().to_owned();
    assert_eq!(
        service.call(&["site", "list"]).status.code(),
        BAD_INPUT,
        "the old secret ended"
    );
    assert_eq!(
        call_with(&service.address, &secret, &["site", "list"]).status.code(),
        DONE
    );
    assert_eq!(service.administer(&["token", "revoke", id]).status.code(), DONE);
    let refused = call_with(&service.address, &secret, &["site", "list"]);
    assert!(err(&refused).contains("the token was revoked"), "{}", err(&refused));
    let changes = service.administer(&["tenant", "changes", "--tenant", "acme"]);
    assert!(
        out(&changes).contains(&format!("token {id} revoked")),
        "{}",
        out(&changes)
    );

    // What is not given stays.
    let put = |more: &[&str]| service.administer(&[&["tenant", "put", "acme"][..], more].concat());
    put(&["--name", "Acme", "--suspended", "true", "--sites", "7"]);
    let changed = put(&["--evses", "70"]);
    assert!(
        out(&changed).contains("acme    Acme  suspended      7     70"),
        "{}",
        out(&changed)
    );
    let tenant = service.administer(&["tenant", "get", "acme"]);
    assert!(
        out(&tenant).ends_with("has 0 sites, 0 EVSEs, 0 tokens\n"),
        "{}",
        out(&tenant)
    );
    // At the folder of a service that runs nobody makes tokens.
    let meanwhile = run(&["token", "admin", "--data", data.to_str().unwrap()]);
    assert_eq!(meanwhile.status.code(), INTERNAL, "{}", out(&meanwhile));
    drop(service);
    let lost = run(&["token", "admin", "--data", data.to_str().unwrap()]);
    assert_eq!(lost.status.code(), DONE, "{}", err(&lost));
    assert!(out(&lost).contains("export LADDPLAN_TOKEN=laddplan_"), "{}", out(&lost));

    // No secret is in any file of the data folder.
    let told = [
        secret.as_str(),
        out(&lost)
            .split("LADDPLAN_TOKEN=")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap(),
    ];
    for file in files_in(&data) {
        let bytes = std::fs::read(&file).unwrap();
        for secret in told {
            let random = &secret[secret.len() - 64..];
            let found = bytes.windows(random.len()).any(|place| place == random.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
}

fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] })
        .collect()
}

#[test]
fn without_a_token_nothing_is_asked_for() {
    let output = run(&["site", "list"]);
    assert_eq!(output.status.code(), BAD_INPUT);
    assert!(
        err(&output).starts_with("a token is needed: in the variable LADDPLAN_TOKEN"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_service_with_tls_is_called_and_takes_new_certificates_in_place() {
    let folder = Folder::new();
    let [ours, next] = ["ours", "next"].map(Authority::new);
    folder.put(&ours.server(1));
    let ca = folder.write("ca.pem", &ours.pem());
    let (certificate, key) = (folder.path("certificate.pem"), folder.path("key.pem"));
    let settings = [("LADDPLAN_TLS_CERTIFICATE", &*certificate), ("LADDPLAN_TLS_KEY", &*key)];
    // On every address, which only TLS allows.
    let mut service = Service::start_with(&folder.path("data"), "0.0.0.0:0", &settings);
    let port = service.address.rsplit(':').next().unwrap().to_owned();
    let secured = format!("https://127.0.0.1:{port}");
    service.make_tenant(&secured, &["--ca", ca.to_str().unwrap()]);
    let call = |server: &str, arguments: &[&str]| call_with(server, &service.token, arguments);
    let list = |server: &str, ca: &Path| call(server, &["site", "list", "--ca", ca.to_str().unwrap()]);

    let listed = list(&secured, &ca);
    assert_eq!(listed.status.code(), DONE, "{}", err(&listed));
    assert_eq!(list(&format!("https://localhost:{port}"), &ca).status.code(), DONE);
    let by_variable = laddplan(&["site", "list", "--server", &secured])
        .env("LADDPLAN_TOKEN", &service.token)
        .env("LADDPLAN_CA", &ca)
        .output()
        .unwrap();
    assert_eq!(by_variable.status.code(), DONE, "{}", err(&by_variable));
    // The machine's own roots, where no others are named.
    let by_machine = |roots: &Path| {
        let mut command = laddplan(&["site", "list", "--server", &secured]);
        command.env("LADDPLAN_TOKEN", &service.token);
        command.env("SSL_CERT_FILE", roots).output().unwrap()
    };
    assert_eq!(by_machine(&ca).status.code(), DONE);
    let next_ca = folder.write("next-ca.pem", &next.pem());
    let distrusted = by_machine(&next_ca);
    assert_eq!(distrusted.status.code(), INTERNAL);
    assert!(
        err(&distrusted).contains("invalid peer certificate"),
        "{}",
        err(&distrusted)
    );
    let in_clear = call(&format!("http://127.0.0.1:{port}"), &["site", "list"]);
    assert_eq!(in_clear.status.code(), INTERNAL, "{}", err(&in_clear));
    for (server, ca, complaint) in [
        ("http://192.0.2.1:50051", &ca, "use https"),
        (&*secured, &key, "holds no certificates"),
        (&*secured, &folder.path("nowhere.pem"), "nowhere.pem"),
    ] {
        let refused = list(server, ca);
        assert_eq!(refused.status.code(), BAD_INPUT, "{}", err(&refused));
        assert!(err(&refused).contains(complaint), "{}", err(&refused));
    }

    // What did not change is loaded anew only when told to.
    #[cfg(unix)]
    {
        hang_up(&service.process);
        assert_eq!(service.logged("cause"), "told to");
    }
    folder.put(&next.server(2));
    assert_eq!(service.logged("cause"), "the files changed");
    assert_eq!(list(&secured, &next_ca).status.code(), DONE);
    assert_eq!(list(&secured, &ca).status.code(), INTERNAL);
}

#[cfg(unix)]
fn hang_up(process: &Child) {
    let id = process.id().to_string();
    let sent = Command::new("kill").args(["-HUP", &id]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn certificates_that_cannot_be_used_are_told_at_once_and_nothing_is_opened() {
    let folder = Folder::new();
    let certificate = folder.write("certificate.pem", "");
    let data = folder.path("data");
    let output = laddplan(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
        .env("LADDPLAN_TLS_CERTIFICATE", &certificate)
        .env("LADDPLAN_TLS_KEY", folder.path("key.pem"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), BAD_INPUT);
    let lines: Vec<&str> = err(&output).lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("certificate.pem): is empty"), "{lines:?}");
    assert!(lines[1].contains("key.pem): cannot be read"), "{lines:?}");
    assert!(!data.exists());
}

/// Which files hold a text, as it is or in small letters.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let holds = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap().to_ascii_lowercase();
        let text = text.to_ascii_lowercase();
        bytes.windows(text.len()).any(|place| place == text.as_bytes())
    };
    let files = files_in(folder).into_iter().filter(holds);
    files
        .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn who_a_driver_is_stands_in_the_register_alone_and_nowhere_once_he_is_forgotten() {
    const CARD: &str = "04A1B2C3D4E5F6";
    const CONTRACT: &str = "SE-ABC-C4711-X";
    // Each starts a process.
    const LOOKS: usize = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut request: serde_json::Value = serde_json::from_slice(&run(&["plan", "--print-example"]).stdout).unwrap();
    request["site"]["drivers"] = serde_json::json!({ "listed": {} });
    std::fs::write(at("site.json"), request["site"].to_string()).unwrap();
    let evse_id = request["site"]["stations"][0]["evses"][0]["id"].as_str().unwrap();
    let now = laddplan::app::SystemClock.now();
    let session = proto::SessionSpec {
        id: "session-1".to_owned(),
        evse_id: evse_id.to_owned(),
        arrival_time: Some(prost_types::Timestamp {
            seconds: now.unix_secs(),
            nanos: 0,
        }),
        driver_token: Some(proto::DriverTokenName {
            r#type: proto::DriverTokenType::Rfid.into(),
            uid: CARD.to_owned(),
        }),
        ..Default::default()
    };
    std::fs::write(at("session.json"), to_json(&session, Layout::Line).unwrap()).unwrap();
    let data = folder.path().join("data");
    let mut service = Service::start_with(&data, "127.0.0.1:0", &[("LADDPLAN_LOG_FILTER", Path::new("trace"))]);
    service.make_tenant(&service.address.clone(), &[]);
    let scopes = ["--scope", "drivers", "--scope", "site.read"];
    let created = service.administer(&[&["token", "create", "--tenant", "acme"][..], &scopes].concat());
    let officer = out(&created).lines().last().expect("a secret").to_owned();
    let done = |output: Output| {
        assert_eq!(output.status.code(), DONE, "{}", err(&output));
        out(&output).to_owned()
    };
    let officer_says = |arguments: &[&str]| done(call_with(&service.address, &officer, arguments));
    let state = || done(service.call(&["session", "list", "--site", "workplace"]));
    // What comes of a change comes of itself, a little later.
    let state_becomes = |expected: &str| {
        for _ in 0..LOOKS {
            if state().contains(expected) {
                return;
            }
        }
        panic!("not {expected}: {}", state());
    };

    done(service.call(&["site", "put", &at("site.json")]));
    done(service.call(&["session", "start", &at("session.json"), "--site", "workplace"]));
    assert!(state().contains("not admitted: unknown"), "{}", state());
    let put = ["driver", "put", "rfid", CARD, "--contract", CONTRACT, "--group", "pool"];
    assert_eq!(
        officer_says(&put),
        "1 of 1 tokens were new or changed; 0 were older than what is listed\n"
    );
    state_becomes("planned");
    assert!(officer_says(&["driver", "list"]).contains(CARD));
    officer_says(&["driver", "put", "rfid", CARD, "--contract", CONTRACT, "--blocked"]);
    state_becomes("not admitted: blocked");
    let group = officer_says(&["driver", "group", "put", "pool", "--tier", "2"]);
    assert_eq!(group, "group pool is kept\n");
    assert!(officer_says(&["driver", "group", "list"]).contains("pool"));
    assert_eq!(
        officer_says(&["driver", "group", "remove", "pool"]),
        "group pool was removed\n"
    );
    for text in [CARD, CONTRACT] {
        assert_eq!(files_with(&data, text), ["register.sqlite"], "{text}");
    }

    let forgotten = officer_says(&["driver", "forget", "--contract", CONTRACT]);
    assert_eq!(forgotten, "1 tokens forgotten\n");
    state_becomes("not admitted: unknown");
    for text in [CARD, CONTRACT] {
        assert_eq!(files_with(&data, text), [""; 0], "{text}");
    }
    let log: Vec<String> = service.log.try_iter().map(|line| line.to_string()).collect();
    assert!(log.len() > 100, "it logs everything: {} lines", log.len());
    for text in [CARD, CONTRACT] {
        assert!(!log.iter().any(|line| line.contains(text)), "{text} is in the log");
    }
    drop(service);
    done(run(&[
        "journal",
        "export",
        "--data",
        data.to_str().unwrap(),
        "--out",
        &at("export"),
    ]));
    let exported = std::fs::read_to_string(at("export")).unwrap();
    assert!(exported.contains("session-1") && !exported.contains(CARD), "{exported}");
}
