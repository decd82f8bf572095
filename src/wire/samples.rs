//! A site, a session and limits in which no field has its default value, for tests that must notice a field that is dropped.

use crate::domain::conversion::{Phase, PhasePair, Rate, RateUnit, Wiring};
use crate::domain::ids::{
    ConnectorId, EvseId, GatewayId, GridLimitId, GroupId, NodeId, PersonRef, SessionId, SiteId, StationId, TenantId,
};
use crate::domain::limits::{GridLimit, LimitSource, LimitWindow, NodeLimit};
use crate::domain::session::{Car, OcpiSession, SessionSpec, Stated, Tier};
use crate::domain::site::{Connector, Evse, Fairness, Mode, Node, SiteSpec, Station, Steps};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds, Volts, WattSeconds, Watts};

macro_rules! ids {
    ($($function:ident: $id:ident),*) => {
        $(pub fn $function(text: &str) -> $id {
            $id::parse(text).expect("samples have valid ids")
        })*
    };
}

ids!(tenant: TenantId, site_id: SiteId, node_id: NodeId, station_id: StationId, evse_id: EvseId, connector_id: ConnectorId,
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
        nodes: vec![
            Node {
                id: node_id("grid"),
                parent: None,
                limit: NodeLimit {
                    line: Some(DeciAmps::from_deciamps(4_000)),
                    total: Some(Watts::from_watts(250_000)),
                },
                base_load_line: DeciAmps::from_deciamps(300),
                base_load_total: Watts::from_watts(19_000),
            },
            Node {
                id: node_id("panel"),
                parent: Some(node_id("grid")),
                limit: NodeLimit {
                    line: Some(DeciAmps::from_deciamps(0)),
                    total: None,
                },
                base_load_line: DeciAmps::from_deciamps(1),
                base_load_total: Watts::from_watts(2),
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
        driver: Some(person("person-1")),
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
