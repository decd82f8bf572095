//! A site, sessions, limits and every event, with no field at its default value: for tests that must notice a field that is dropped.

use crate::domain::commissioning::{CheckStep, EvseCheck, Finding, Running, StepResult};
use crate::domain::conversion::{Phase, PhasePair, Rate, RateUnit, Wiring};
use crate::domain::driver::{Admits, Authorisation, Driver, DriverPolicy, Listing, Offline, Whitelist};
use crate::domain::event::{Event, ForecastKind, Recorded, RequestStamp};
use crate::domain::ids::{
    ConnectorId, EvseId, GatewayId, GridLimitId, GroupId, NodeId, PersonRef, RequestId, SessionId, SiteId, StationId,
    TenantId, TokenId,
};
use crate::domain::limits::{FixedLimits, GridLimit, LimitSource, LimitWindow, NodeLimit, PrimaryLimit};
use crate::domain::overload::{NodeMeter, NodeReading, OverloadCurve, OverloadPoint};
use crate::domain::plan::{Budget, Note, NumberedPlan, Outcome, Plan, PlanStats, Provenance, Schedule};
use crate::domain::profile::{Answer, Cause, ChargingProfile, Instruction, ProfileCommand, Revision};
use crate::domain::session::{Car, Ended, MeterSample, OcpiSession, Override, Session, SessionSpec, Stated, Tier};
use crate::domain::site::{Connector, Evse, Fairness, Mode, Node, SiteSpec, Station, Steps};
use crate::domain::snapshot::SlotGrid;
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, MicrosPerKwh, MoneyMicros, Seconds, Volts, WattSeconds, Watts};

macro_rules! ids {
    ($($function:ident: $id:ident),*) => {
        $(pub fn $function(text: &str) -> $id {
            $id::parse(text).expect("samples have valid ids")
        })*
    };
}

ids!(request_id: RequestId, tenant: TenantId, site_id: SiteId, node_id: NodeId, station_id: StationId, evse_id: EvseId, connector_id: ConnectorId,
    session_id: SessionId, gateway_id: GatewayId, grid_limit_id: GridLimitId, group_id: GroupId, person: PersonRef);

pub fn at(unix_secs: i64) -> Instant {
    Instant::from_unix_secs(unix_secs)
}

/// Every kind of wiring and steps; also valid as a whole.
pub fn site() -> SiteSpec {
    SiteSpec {
        tenant: tenant("cpo-1"),
        id: site_id("depot"),
        time_zone: "Europe/Stockholm".to_owned(),
        currency: "SEK".to_owned(),
        mode: Mode::Control,
        lease: Seconds::from_secs(600),
        clock_skew: Seconds::from_secs(7),
        reserve_permille: 45,
        slot: Seconds::from_secs(300),
        trust_unmetered: true,
        fairness: Fairness::None,
        demand_charge_micros_per_kw: Some(81_250_000),
        peak_so_far: Watts::from_watts(41_000),
        gateway: Some(gateway_id("gw-1")),
        drivers: DriverPolicy {
            admits: Admits::Authorised {
                offline: Offline::Listed,
                remember: Seconds::from_hours(1),
            },
            limit_otherwise: Watts::from_watts(4_200),
        },
        nodes: vec![
            Node {
                id: node_id("grid"),
                parent: None,
                limit: NodeLimit {
                    line: Some(DeciAmps::from_deciamps(4_000)),
                    total: Some(Watts::from_watts(250_000)),
                },
                fixed: FixedLimits {
                    unbalance: Some(DeciAmps::from_deciamps(200)),
                    primary: Some(PrimaryLimit {
                        line: DeciAmps::from_deciamps(1_805),
                        turns_ratio_permille: 4_000,
                    }),
                },
                base_load_line: DeciAmps::from_deciamps(300),
                base_load_total: Watts::from_watts(19_000),
                meter: NodeMeter {
                    is_there: true,
                    curve: OverloadCurve::new(vec![point(125, 7_200), point(160, 30)]).expect("is a curve"),
                },
            },
            Node {
                id: node_id("panel"),
                parent: Some(node_id("grid")),
                limit: NodeLimit {
                    line: Some(DeciAmps::from_deciamps(0)),
                    total: None,
                },
                fixed: FixedLimits {
                    unbalance: Some(DeciAmps::from_deciamps(0)),
                    primary: None,
                },
                base_load_line: DeciAmps::from_deciamps(1),
                base_load_total: Watts::from_watts(2),
                meter: NodeMeter::default(),
            },
        ],
        stations: vec![Station {
            id: station_id("station-1"),
            node: node_id("panel"),
            limit: NodeLimit {
                line: None,
                total: Some(Watts::from_watts(60_000)),
            },
            evses: vec![
                evse("evse-1", false, true, vec![star(), star_unknown()]),
                evse("evse-2", true, false, vec![delta(), dc()]),
            ],
        }],
    }
}

fn point(percent: u16, secs: i64) -> OverloadPoint {
    OverloadPoint {
        percent,
        tolerated: Seconds::from_secs(secs),
    }
}

fn evse(id: &str, controllable: bool, metered: bool, connectors: Vec<Connector>) -> Evse {
    Evse {
        id: evse_id(id),
        controllable,
        metered,
        connectors,
    }
}

fn star() -> Connector {
    Connector {
        id: connector_id("1"),
        wiring: Wiring::Star(vec![Phase::L2, Phase::L3, Phase::L1]),
        volt: Volts::from_volts(230),
        minimum: Rate::new(60),
        maximum: Rate::new(320),
        default: Some(Rate::new(0)),
        steps: Steps::Multiple(Rate::new(10)),
        max_profile_periods: 12,
    }
}

fn star_unknown() -> Connector {
    Connector {
        id: connector_id("2"),
        wiring: Wiring::StarUnknown { phases: 2 },
        default: None,
        steps: Steps::Listed(vec![Rate::new(80), Rate::new(160)]),
        ..star()
    }
}

fn delta() -> Connector {
    Connector {
        id: connector_id("3"),
        wiring: Wiring::Delta(PhasePair::L3L1),
        volt: Volts::from_volts(208),
        ..star()
    }
}

fn dc() -> Connector {
    Connector {
        id: connector_id("4"),
        wiring: Wiring::Dc {
            efficiency_percent: 95,
            standby: Watts::from_watts(150),
        },
        minimum: Rate::new(5_000),
        maximum: Rate::new(50_000),
        default: Some(Rate::new(50_000)),
        steps: Steps::Multiple(Rate::new(100)),
        ..star()
    }
}

pub fn driver() -> Driver {
    Driver {
        person: person("person-1"),
        listing: Some(Listing {
            valid: true,
            until: Some(at(1_700_090_000)),
            whitelist: Whitelist::AllowedOffline,
            group: Some(group_id("pool")),
        }),
        answer: Some(Authorisation::NoCredit),
    }
}

/// Other policies than that of [`site`].
fn admits(admits: Admits) -> SiteSpec {
    let mut site = site();
    site.drivers.admits = admits;
    site
}

/// Energies are not whole watt-hours.
pub fn session() -> SessionSpec {
    SessionSpec {
        id: session_id("session-1"),
        evse: evse_id("evse-2"),
        connector: Some(connector_id("4")),
        arrival: at(1_700_000_000),
        departure: Stated::Estimated(at(1_700_030_000)),
        need: Stated::Estimated(WattSeconds::from_watt_seconds(72_000_001)),
        guaranteed: WattSeconds::from_watt_seconds(36_003_599),
        interruptible: false,
        tier: Tier::from_caller(3).expect("3 is a tier"),
        group: Some(group_id("pool")),
        driver: Some(driver()),
        car: Car {
            phases: Some(2),
            maximum: Some(Rate::new(11_000)),
            minimum: Some(Rate::new(1_400)),
            unit: Some(RateUnit::Watt),
        },
        ocpi: Some(OcpiSession {
            peer: "peer".to_owned(),
            country_code: "SE".to_owned(),
            party_id: "ABC".to_owned(),
            session_id: "ocpi-1".to_owned(),
        }),
    }
}

/// A session of which nothing is known that may be unknown.
pub fn bare_session() -> SessionSpec {
    SessionSpec {
        connector: None,
        departure: Stated::Unknown,
        need: Stated::Unknown,
        guaranteed: WattSeconds::ZERO,
        interruptible: true,
        tier: Tier::NORMAL,
        group: None,
        driver: None,
        car: Car::default(),
        ocpi: None,
        ..session()
    }
}

pub fn once_limit() -> GridLimit {
    GridLimit {
        id: grid_limit_id("limit-1"),
        node: node_id("panel"),
        source: LimitSource::Dso,
        limit: NodeLimit {
            line: Some(DeciAmps::from_deciamps(0)),
            total: Some(Watts::from_watts(5_000)),
        },
        when: LimitWindow::Once {
            from: at(1_700_000_000),
            until: Some(at(1_700_003_600)),
        },
    }
}

pub fn weekly_limit() -> GridLimit {
    GridLimit {
        source: LimitSource::TariffGuard,
        when: LimitWindow::Weekly {
            days: [true, false, true, false, false, false, true],
            from_minute_of_day: 1_020,
            until_minute_of_day: 60,
        },
        ..once_limit()
    }
}

/// A value that changes twice.
pub fn steps<T: Clone + PartialEq>(values: [T; 3]) -> Timeline<T> {
    let starts = [1_700_000_000, 1_700_003_600, 1_700_007_200].map(at);
    Timeline::from_points(starts.into_iter().zip(values))
}

pub fn sample() -> MeterSample {
    MeterSample {
        evse: evse_id("evse-1"),
        at: at(1_700_000_060),
        session_energy: Some(WattSeconds::from_watt_seconds(7_199)),
        power: Some(Watts::from_watts(0)),
        currents: Some([101, 0, -1].map(DeciAmps::from_deciamps)),
    }
}

fn bare_sample() -> MeterSample {
    MeterSample {
        session_energy: None,
        power: None,
        currents: None,
        ..sample()
    }
}

pub fn ended_session() -> Session {
    Session {
        spec: session(),
        connector: connector_id("4"),
        delivered: WattSeconds::from_watt_seconds(71_999_999),
        last_sample: Some(sample()),
        idle_since: Some(Instant::from_unix_secs(1_700_000_123)),
        overridden: Override::Boost,
        ended: Some(Ended {
            at: at(1_700_020_000),
            reason: "the car left".to_owned(),
        }),
    }
}

fn plan() -> NumberedPlan {
    let session = session_id("session-1");
    let missing = WattSeconds::from_watt_seconds(12_345);
    let reason = "why".to_owned();
    NumberedPlan {
        provenance: Provenance {
            number: 12,
            parent: Some(11),
            journal_sequence: 345,
            made_at: at(1_700_000_100),
            budget: Budget { iterations: 2_000 },
            build: "0.1.0".to_owned(),
            watchdog_fallback: true,
        },
        plan: Plan {
            grid: SlotGrid::new(at(1_700_000_100), Seconds::from_secs(900), 5),
            schedules: vec![Schedule {
                session: session.clone(),
                evse: evse_id("evse-1"),
                rates: [160, 160, 0, 60, 60].map(Rate::new).to_vec(),
            }],
            notes: vec![
                Note::Unserved {
                    session: session.clone(),
                    missing,
                },
                Note::GuaranteeBroken {
                    session: session.clone(),
                    missing,
                },
                Note::Interrupted {
                    session: session.clone(),
                },
                Note::NodeOverloaded {
                    node: "panel".to_owned(),
                    from: at(1_700_000_200),
                },
                Note::SearchStopped {
                    stage: "energy".to_owned(),
                    reason: reason.clone(),
                },
                Note::Withheld { session, reason },
            ],
            stats: PlanStats {
                outcome: Outcome::SolverFailed,
                delivered: WattSeconds::from_watt_seconds(1),
                unserved: WattSeconds::from_watt_seconds(2),
                energy_cost: MoneyMicros::from_micros(-3),
                demand_cost: MoneyMicros::from_micros(4),
                peak: Watts::from_watts(5),
                relaxed_delivered: Some(WattSeconds::from_watt_seconds(6)),
                relaxed_cost: Some(MoneyMicros::from_micros(-7)),
                proven: true,
                iterations: 8,
            },
        },
        solve_micros: 9,
    }
}

/// What a plan is where nothing was searched and nothing came before.
fn first_plan() -> NumberedPlan {
    let mut first = plan();
    first.provenance.parent = None;
    first.plan.stats.relaxed_delivered = None;
    first.plan.stats.relaxed_cost = None;
    first.plan.schedules[0].rates.clear();
    first
}

fn command(instruction: Instruction) -> ProfileCommand {
    ProfileCommand {
        evse: evse_id("evse-1"),
        session: session_id("session-1"),
        connector: connector_id("1"),
        revision: Revision::new(77),
        attempt: 2,
        sent_at: at(1_700_000_101),
        cause: Cause::Retry,
        instruction,
    }
}

fn profile() -> ChargingProfile {
    ChargingProfile::from_parts(
        RateUnit::Watt,
        steps([11_000, 0, 6_000].map(Rate::new)),
        at(1_700_007_300),
    )
}

fn check_under_way() -> EvseCheck {
    EvseCheck {
        evse: evse_id("evse-1"),
        session: Some(session_id("session-1")),
        begun_at: at(1_700_000_010),
        results: vec![StepResult {
            step: CheckStep::TakesPower,
            finding: Finding::Passed,
            at: at(1_700_000_030),
            what: "allowed 32.0 A, it took 31.5 A".to_owned(),
        }],
        running: Some(Running {
            step: CheckStep::FollowsLower,
            since: at(1_700_000_030),
            revision_before: Revision::new(77),
            followed_since: Some(at(1_700_000_033)),
        }),
        ended_at: None,
        aborted: None,
        drawn: Some(sample()),
    }
}

fn answered(answer: Answer) -> Event {
    Event::CommandAnswered {
        evse: evse_id("evse-1"),
        revision: Revision::new(77),
        attempt: 3,
        answer,
    }
}

/// Every kind of event, with every field set in one and every field that may be absent absent in another.
pub fn events() -> Vec<Event> {
    let session_without_unit = SessionSpec {
        car: Car {
            unit: None,
            ..session().car
        },
        departure: Stated::Given(at(1_700_030_001)),
        need: Stated::Given(WattSeconds::from_watt_seconds(1)),
        ..session()
    };
    let on_its_way = Event::CommandOnItsWay {
        evse: evse_id("evse-1"),
        revision: Revision::new(7),
    };
    let active = |revision| Event::ActiveProfileReported {
        evse: evse_id("evse-1"),
        revision,
    };
    vec![
        Event::SitePut(Box::new(site())),
        Event::SitePut(Box::new(admits(Admits::Listed))),
        Event::SitePut(Box::new(admits(Admits::Groups([group_id("pool")].into())))),
        Event::SitePut(Box::new(SiteSpec {
            drivers: DriverPolicy::default(),
            ..site()
        })),
        Event::SiteDeleted,
        Event::SiteStopped { stopped: true },
        Event::GridLimitSet(once_limit()),
        Event::GridLimitSet(weekly_limit()),
        Event::GridLimitRemoved(grid_limit_id("limit-1")),
        Event::PricesSet(steps([5, -7, 0].map(MicrosPerKwh::from_micros_per_kwh))),
        Event::PricesSet(Timeline::constant(MicrosPerKwh::from_micros_per_kwh(1))),
        Event::ForecastSet {
            kind: ForecastKind::Solar,
            power: steps([5, 0, 9].map(Watts::from_watts)),
        },
        Event::SessionStarted(Box::new(session())),
        Event::SessionStarted(Box::new(bare_session())),
        Event::SessionUpdated(Box::new(session_without_unit)),
        Event::SessionOverridden {
            session: session_id("session-1"),
            overridden: Override::HandBack,
        },
        Event::DriverKnown {
            session: session_id("session-1"),
            driver: driver(),
        },
        Event::DriverKnown {
            session: session_id("session-1"),
            driver: Driver::unknown(person("person-2")),
        },
        Event::SessionEnded {
            session: session_id("session-1"),
            at: at(1_700_020_000),
            reason: "the car left".to_owned(),
        },
        Event::Metered(vec![sample(), bare_sample()]),
        Event::NodesMetered(vec![
            NodeReading {
                node: node_id("grid"),
                at: at(1_700_000_050),
                currents: Some([615, 0, -7].map(DeciAmps::from_deciamps)),
                power: Some(Watts::from_watts(-1)),
            },
            NodeReading {
                node: node_id("panel"),
                at: at(1_700_000_051),
                currents: None,
                power: None,
            },
        ]),
        Event::EvseCheckAsked {
            evse: evse_id("evse-1"),
            wanted: true,
        },
        Event::EvseCheckWentOn(Box::new(check_under_way())),
        Event::EvseCheckWentOn(Box::new(EvseCheck {
            evse: evse_id("evse-2"),
            session: None,
            running: None,
            ended_at: Some(at(1_700_000_300)),
            aborted: Some("an operator ended it".to_owned()),
            drawn: None,
            ..check_under_way()
        })),
        Event::PlanMade(Box::new(plan())),
        Event::PlanMade(Box::new(first_plan())),
        Event::CommandsIssued(vec![command(Instruction::Set(profile())), command(Instruction::Clear)]),
        answered(Answer::Forwarded),
        answered(Answer::Accepted),
        answered(Answer::Rejected {
            reason: "unknown session".to_owned(),
        }),
        active(Some(Revision::new(77))),
        active(Some(Revision::NONE)),
        active(None),
        on_its_way,
        Event::GatewayConnected {
            gateway: gateway_id("gw-1"),
            fences: true,
        },
        Event::GatewayDisconnected {
            gateway: gateway_id("gw-1"),
        },
        Event::JournalRestored,
    ]
}

/// A journal of every event; every other entry was caused by a call.
pub fn journal() -> Vec<Recorded> {
    let stamp = RequestStamp {
        id: request_id("request-1"),
        body_hash: std::array::from_fn(|index| index as u8 + 1),
        by: Some(TokenId::parse("token-1").expect("is an id")),
    };
    let warnings = vec!["below the base load".to_owned(), String::new()];
    events()
        .into_iter()
        .zip(1..)
        .map(|(event, sequence)| Recorded {
            sequence,
            at: at(1_700_000_000 + sequence as i64),
            event,
            request: (sequence % 2 == 1).then(|| (stamp.clone(), warnings.clone())),
        })
        .collect()
}
