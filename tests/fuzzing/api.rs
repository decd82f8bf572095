//! A call of a back end: bytes, the message, the domain, and then what the service would do with it.
//!
//! The first byte chooses the call, the rest is the message as it comes over gRPC. What is accepted is written again and read back,
//! and a plan is made with it, which the check of plans must pass.

use super::{Verdict, check_rejection, ocpi};
use laddplan::access::claimed;
use laddplan::domain::bounds::{MAX_EVSES_PER_SITE, MAX_NODES_PER_SITE};
use laddplan::domain::ids::TenantId;
use laddplan::domain::overload::{Gauge, OverloadCurve, Terms};
use laddplan::domain::plan::Budget;
use laddplan::domain::rejection::{Faults, Rejection};
use laddplan::domain::session::{Override, Session, SessionSpec, Stated};
use laddplan::domain::site::{Site, SiteSpec};
use laddplan::engine::once;
use laddplan::engine::view::{OnceRequest, OnceSession};
use laddplan::units::{Instant, Seconds, WattSeconds};
use laddplan::wire::access;
use laddplan::wire::json::{Layout, from_json, to_json};
use laddplan::wire::meter::{meter_samples, node_readings};
use laddplan::wire::plan::{once_request, plan_response};
use laddplan::wire::proto;
use laddplan::wire::session::{session_override, session_override_message, session_spec, session_spec_message};
use laddplan::wire::site::{
    forecast, forecast_kind, forecast_kind_message, forecast_messages, grid_limit, grid_limit_message, price_messages,
    prices, site_message, site_spec, valid_grid_limit, valid_site_spec,
};
use prost::{Message, Name};
use std::fmt::Debug;
use std::sync::LazyLock;

const EXAMPLE: &str = include_str!("../../examples/plan_request.json");
/// Above these a problem is read and not planned, so that an input takes milliseconds.
const MOST_PLACES: usize = 12;
const MOST_EVSES: usize = 8;
const MOST_SLOTS: usize = 24;
const MOST_LIMITS: usize = 8;
const MOST_ITERATIONS: u32 = 40;

/// What is known when a call comes in.
pub struct Known {
    pub tenant: TenantId,
    pub request: proto::PlanRequest,
    pub problem: OnceRequest,
    pub site: Site,
    pub now: Instant,
}

pub static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let tenant = TenantId::parse("cpo").expect("is an id");
    let request: proto::PlanRequest = from_json(EXAMPLE).expect("the example is a request");
    let mut problem = once_request(&tenant, &request).expect("the example is valid");
    problem.slot_count = Some(8);
    problem.budget = Budget { iterations: 0 };
    let site = Site::new(problem.site.clone()).expect("the example is valid");
    Known {
        now: problem.now,
        tenant,
        request,
        problem,
        site,
    }
});

/// The call that a first byte chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    PutSite,
    SetGridLimit,
    SetPrices,
    SetForecast,
    StartSession,
    UpdateSession,
    OverrideSession,
    ReportMeter,
    Plan,
    ReportNodeMeter,
    PutTenant,
    CreateToken,
}

impl Call {
    pub const ALL: [Self; 12] = [
        Self::PutSite,
        Self::SetGridLimit,
        Self::SetPrices,
        Self::SetForecast,
        Self::StartSession,
        Self::UpdateSession,
        Self::OverrideSession,
        Self::ReportMeter,
        Self::Plan,
        Self::ReportNodeMeter,
        Self::PutTenant,
        Self::CreateToken,
    ];

    /// An input of this call.
    pub fn input(self, message: &impl Message) -> Vec<u8> {
        let mut input = vec![self as u8];
        input.extend(message.encode_to_vec());
        input
    }
}

pub fn run(data: &[u8]) -> Verdict {
    let Some((first, body)) = data.split_first() else {
        return Verdict::Refused;
    };
    let done = match Call::ALL[usize::from(*first) % Call::ALL.len()] {
        Call::PutSite => decoded(body, put_site),
        Call::SetGridLimit => decoded(body, set_grid_limit),
        Call::SetPrices => decoded(body, set_prices),
        Call::SetForecast => decoded(body, set_forecast),
        Call::StartSession => decoded(body, start_session),
        Call::UpdateSession => decoded(body, update_session),
        Call::OverrideSession => decoded(body, override_session),
        Call::ReportMeter => decoded(body, report_meter),
        Call::Plan => decoded(body, |request| plan(&request)),
        Call::PutTenant => decoded(body, put_tenant),
        Call::CreateToken => decoded(body, create_token),
        Call::ReportNodeMeter => decoded(body, report_node_meter),
    };
    match done {
        None => Verdict::Refused,
        Some(Ok(())) => Verdict::Used,
        Some(Err(rejection)) => {
            check_rejection(&rejection);
            Verdict::Refused
        }
    }
}

type Done = Result<(), Rejection>;

/// `None` where the bytes are no such message.
fn decoded<M: Message + Default + PartialEq + Debug>(body: &[u8], call: impl FnOnce(M) -> Done) -> Option<Done> {
    let message = M::decode(body).ok()?;
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    Some(call(message))
}

fn same_as_json<M: Message + Name + Default + PartialEq + Debug>(message: &M) {
    let json = to_json(message, Layout::Line).expect("what was accepted can be said in JSON");
    assert_eq!(&from_json::<M>(&json).expect("our own JSON"), message);
}

fn put_site(message: proto::PutSiteRequest) -> Done {
    let Some(site) = &message.site else { return Ok(()) };
    let spec = valid_site_spec(&KNOWN.tenant, site).map_err(|fault| fault.under("site"))?;
    use_site(&spec);
    Ok(())
}

pub fn use_site(spec: &SiteSpec) {
    let site = Site::new(spec.clone()).expect("a valid description is a site");
    let written = site_message(spec);
    assert_eq!(site_spec(&spec.tenant, &written).as_ref(), Ok(spec));
    same_as_json(&written);
    assert_eq!(Site::new(site.spec().clone()).as_ref(), Ok(&site));
    assert!(site.spec().nodes.len() <= MAX_NODES_PER_SITE && site.evses().count() <= MAX_EVSES_PER_SITE);
    for (place, evse) in site.evses() {
        assert_eq!(site.path_to_root(place).last(), Some(0));
        assert_eq!(site.place_of_evse(&evse.id), Some(place));
        assert!(evse.default_load().total <= evse.maximum_load().total);
    }
    if is_small(&site) {
        let cars = site.evses().take(3).map(|(_, evse)| SessionSpec {
            evse: evse.id.clone(),
            connector: Some(evse.connectors[0].id.clone()),
            ..car(&format!("at-{}", &evse.id.as_str()[..evse.id.as_str().len().min(40)]))
        });
        plan_problem(&OnceRequest {
            site: spec.clone(),
            sessions: cars.map(wish).collect(),
            grid_limits: Vec::new(),
            ..KNOWN.problem.clone()
        })
        .expect("cars fit into any site");
    }
}

fn is_small(site: &Site) -> bool {
    site.places().len() <= MOST_PLACES && site.evses().count() <= MOST_EVSES
}

/// A car that is there for two hours and needs 10 kWh.
fn car(id: &str) -> SessionSpec {
    let example = &KNOWN.problem.sessions[0].spec;
    SessionSpec {
        id: laddplan::domain::ids::SessionId::parse(id).expect("is an id"),
        arrival: KNOWN.now,
        departure: Stated::Given(KNOWN.now + Seconds::from_hours(2)),
        need: Stated::Given(WattSeconds::from_watt_hours(10_000)),
        guaranteed: WattSeconds::ZERO,
        car: Default::default(),
        ..example.clone()
    }
}

fn wish(spec: SessionSpec) -> OnceSession {
    OnceSession {
        spec,
        delivered: WattSeconds::ZERO,
        overridden: Override::None,
    }
}

fn set_grid_limit(message: proto::SetGridLimitRequest) -> Done {
    let Some(told) = &message.grid_limit else { return Ok(()) };
    let limit = valid_grid_limit(told, Some(&KNOWN.site)).map_err(|fault| fault.under("grid_limit"))?;
    let written = grid_limit_message(&limit);
    assert_eq!(grid_limit(&written).as_ref(), Ok(&limit));
    same_as_json(&written);
    plan_problem(&OnceRequest {
        grid_limits: vec![limit],
        ..KNOWN.problem.clone()
    })
    .expect("a limit of the site's own node");
    Ok(())
}

fn set_prices(message: proto::SetPricesRequest) -> Done {
    let read = prices(&message.prices).map_err(|fault| fault.under("prices"))?;
    assert_eq!(prices(&price_messages(&read)).as_ref(), Ok(&read));
    plan_problem(&OnceRequest {
        prices: Some(read),
        ..KNOWN.problem.clone()
    })
}

fn set_forecast(message: proto::SetForecastRequest) -> Done {
    let kind = forecast_kind(message.kind).map_err(|fault| fault.under("kind"))?;
    assert_eq!(forecast_kind(forecast_kind_message(kind).into()), Ok(kind));
    let read = forecast(&message.points).map_err(|fault| fault.under("points"))?;
    assert_eq!(forecast(&forecast_messages(&read)).as_ref(), Ok(&read));
    plan_problem(&OnceRequest {
        base_load: Some(read.clone()),
        solar: Some(read),
        ..KNOWN.problem.clone()
    })
}

fn read_session(message: Option<&proto::SessionSpec>) -> Result<SessionSpec, Rejection> {
    let empty = proto::SessionSpec::default();
    let spec = session_spec(message.unwrap_or(&empty), None)?;
    let written = session_spec_message(&spec);
    assert_eq!(session_spec(&written, None).as_ref(), Ok(&spec));
    same_as_json(&written);
    Ok(spec)
}

fn start_session(message: proto::StartSessionRequest) -> Done {
    let read = || Session::start(read_session(message.session.as_ref())?, &KNOWN.site, KNOWN.now);
    let session = read().map_err(|fault: Rejection| fault.under("session"))?;
    assert!(session.spec.guaranteed >= WattSeconds::ZERO);
    plan_problem(&OnceRequest {
        sessions: vec![wish(session.spec)],
        ..KNOWN.problem.clone()
    })
    .expect("a session that may start may be planned");
    Ok(())
}

fn update_session(message: proto::UpdateSessionRequest) -> Done {
    let read = || {
        let spec = read_session(message.session.as_ref())?;
        let there = &KNOWN.problem.sessions[0].spec;
        let there = Session::start(there.clone(), &KNOWN.site, there.arrival)?;
        let updated = there.update(spec, &KNOWN.site, KNOWN.now)?;
        assert_eq!(
            (&updated.spec.id, &updated.spec.evse),
            (&there.spec.id, &there.spec.evse)
        );
        Ok(())
    };
    read().map_err(|fault: Rejection| fault.under("session"))
}

fn override_session(message: proto::OverrideSessionRequest) -> Done {
    let overridden = session_override(message.session_override).map_err(|fault| fault.under("session_override"))?;
    assert_eq!(
        session_override(session_override_message(overridden).into()),
        Ok(overridden)
    );
    let mut problem = KNOWN.problem.clone();
    problem.sessions[0].overridden = overridden;
    plan_problem(&problem)
}

fn put_tenant(message: proto::PutTenantRequest) -> Done {
    let tenant = access::tenant(message.tenant.as_ref(), KNOWN.now)?;
    let again = access::tenant(Some(&access::tenant_message(&tenant)), KNOWN.now);
    assert_eq!(again, Ok(tenant));
    Ok(())
}

fn create_token(message: proto::CreateTokenRequest) -> Done {
    let read_grant = |scopes: &[i32], sites: &[String], gateways: &[String]| {
        let mut faults = Faults::default();
        let grant = access::grant(&mut faults, scopes, sites, gateways)(Some(KNOWN.tenant.clone()));
        faults.finish(grant)
    };
    let grant = read_grant(&message.scopes, &message.site_ids, &message.gateway_ids)?;
    grant.check()?;
    let (scopes, sites, gateways) = access::grant_messages(&grant);
    assert_eq!(read_grant(&scopes, &sites, &gateways), Ok(grant));
    // Whatever stands there, it reads as the text of a token or it does not.
    if let Some(token) = claimed(&message.name) {
        assert!(message.name.contains(token.as_str()));
    }
    Ok(())
}

fn report_meter(message: proto::ReportMeterRequest) -> Done {
    let samples = meter_samples(&message.readings, KNOWN.now)?;
    let there = &KNOWN.problem.sessions[0].spec;
    let mut session = Session::start(there.clone(), &KNOWN.site, there.arrival)?;
    for sample in &samples {
        let before = session.delivered;
        session.metered(sample, None, laddplan::domain::conversion::Rate::new(60));
        assert!(session.delivered >= before, "a car gives nothing back");
    }
    Ok(())
}

fn report_node_meter(message: proto::ReportNodeMeterRequest) -> Done {
    let readings = node_readings(&message.readings, KNOWN.now)?;
    let curve = OverloadCurve::default();
    let terms = Terms::new(&curve, Seconds::from_secs(10));
    let mut gauge = Gauge::default();
    for reading in readings {
        let Some([current, ..]) = reading.currents else {
            continue;
        };
        if gauge.last.is_none_or(|(last, _)| last < reading.at) {
            gauge.read(reading.at, current.deciamps(), Some(630), &terms);
        }
        assert!((0..=1_000).contains(&gauge.used_permille()));
        let is_used_up = gauge.used_permille() == 1_000;
        assert!(
            !(is_used_up && gauge.is_above()) || gauge.sheds_from(&terms).is_some(),
            "what is used up is shed for: {gauge:?}"
        );
    }
    Ok(())
}

/// A whole problem: read, and planned if it is small.
pub fn plan(message: &proto::PlanRequest) -> Done {
    let mut problem = once_request(&KNOWN.tenant, message)?;
    let site = Site::new(problem.site.clone()).expect("a valid description is a site");
    if !is_small(&site) || problem.grid_limits.len() > MOST_LIMITS {
        return Ok(());
    }
    problem.slot_count = problem
        .slot_count
        .or(Some(MOST_SLOTS))
        .map(|count| count.min(MOST_SLOTS));
    problem.budget.iterations = problem.budget.iterations.min(MOST_ITERATIONS);
    plan_problem(&problem)
}

fn plan_problem(problem: &OnceRequest) -> Done {
    let view = once::plan(problem)?;
    assert!(view.verified, "the check refuses the plan");
    let response = plan_response(&view);
    assert_eq!(
        proto::PlanResponse::decode(response.encode_to_vec().as_slice()).as_ref(),
        Ok(&response)
    );
    for session in &response.sessions {
        let profile = session.charging_profile.as_ref().expect("each session has a profile");
        ocpi::check_ours(profile);
    }
    Ok(())
}
