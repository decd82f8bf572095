//! Small sites and commands for tests.

use crate::domain::conversion::{Load, Phase, Rate, RateUnit, Wiring};
use crate::domain::driver::DriverPolicy;
use crate::domain::ids::*;
use crate::domain::limits::{Capacity, FixedLimits, NodeLimit};
use crate::domain::profile::*;
use crate::domain::session::MeterSample;
use crate::domain::site::*;
use crate::domain::timeline::Timeline;
use crate::rollout::{TailWish, Target, Wish};
use crate::units::{DeciAmps, Instant, Seconds, Volts, Watts};

pub fn at(secs: i64) -> Instant {
    Instant::from_unix_secs(1_000_000 + secs)
}

pub fn evse_id(number: usize) -> EvseId {
    EvseId::parse(&format!("e{number}")).unwrap()
}

pub fn gateway_id() -> GatewayId {
    GatewayId::parse("gw").unwrap()
}

pub fn session_id(number: usize) -> SessionId {
    SessionId::parse(&format!("s{number}")).unwrap()
}

pub fn connector_id() -> ConnectorId {
    ConnectorId::parse("1").unwrap()
}

/// An EVSE on L1 of up to 32 A that does nothing by default.
pub fn evse(number: usize) -> Evse {
    Evse {
        id: evse_id(number),
        controllable: true,
        metered: false,
        connectors: vec![Connector {
            id: connector_id(),
            wiring: Wiring::Star(vec![Phase::L1]),
            volt: Volts::from_volts(230),
            minimum: Rate::new(60),
            maximum: Rate::new(320),
            default: Some(Rate::ZERO),
            steps: Steps::Multiple(Rate::new(1)),
            max_profile_periods: 24,
        }],
    }
}

/// One node, a station for each EVSE, a lease of 900 s, clocks within 5 s, answers believed.
pub fn spec(evses: Vec<Evse>) -> SiteSpec {
    let node = NodeId::parse("grid").unwrap();
    SiteSpec {
        tenant: TenantId::parse("cpo").unwrap(),
        id: SiteId::parse("depot").unwrap(),
        time_zone: "UTC".to_owned(),
        currency: "EUR".to_owned(),
        mode: Mode::Control,
        lease: Seconds::from_secs(900),
        clock_skew: Seconds::from_secs(5),
        reserve_permille: 0,
        slot: Seconds::from_mins(5),
        trust_unmetered: true,
        fairness: Fairness::MaxMin,
        demand_charge_micros_per_kw: None,
        peak_so_far: Watts::ZERO,
        gateway: Some(gateway_id()),
        drivers: DriverPolicy::default(),
        stations: evses
            .into_iter()
            .enumerate()
            .map(|(index, evse)| Station {
                id: StationId::parse(&format!("st{index}")).unwrap(),
                node: node.clone(),
                limit: NodeLimit::default(),
                evses: vec![evse],
            })
            .collect(),
        nodes: vec![Node {
            id: node,
            parent: None,
            limit: NodeLimit::default(),
            fixed: FixedLimits::default(),
            base_load_line: DeciAmps::ZERO,
            base_load_total: Watts::ZERO,
            meter: Default::default(),
        }],
    }
}

pub fn site(spec: SiteSpec) -> Site {
    Site::new(spec).unwrap()
}

/// `deciamps` in each line of the grid connection, nothing limited below it.
pub fn room_of(site: &Site, deciamps: i64) -> Vec<Timeline<Capacity>> {
    let mut available = vec![Timeline::constant(Capacity::UNLIMITED); site.places().len()];
    available[0] = Timeline::constant(amperes(deciamps));
    available
}

pub fn amperes(deciamps: i64) -> Capacity {
    Capacity {
        line: [Some(DeciAmps::from_deciamps(deciamps)); 3],
        ..Capacity::UNLIMITED
    }
}

pub fn rates(points: &[(i64, i64)]) -> Timeline<Rate> {
    Timeline::from_points(points.iter().map(|(secs, rate)| (at(*secs), Rate::new(*rate))))
}

pub fn target(number: usize, plan: &[(i64, i64)]) -> Target {
    Target {
        evse: evse_id(number),
        session: session_id(number),
        connector: connector_id(),
        wish: Wish::Follow {
            rates: rates(plan),
            tail: TailWish::Zero,
        },
    }
}

/// A profile of `rate` from `sent` for a lease of 900 s, then `tail`.
pub fn set(number: usize, revision: u64, sent: i64, rate: i64, tail: i64) -> ProfileCommand {
    let profile = ChargingProfile::cut(
        RateUnit::DeciAmpere,
        &Timeline::constant(Rate::new(rate)),
        at(sent),
        at(sent + 900),
        Rate::new(tail),
    );
    command(number, revision, sent, Instruction::Set(profile))
}

pub fn command(number: usize, revision: u64, sent: i64, instruction: Instruction) -> ProfileCommand {
    ProfileCommand {
        evse: evse_id(number),
        session: session_id(number),
        connector: connector_id(),
        revision: Revision::new(revision),
        attempt: 1,
        sent_at: at(sent),
        cause: Cause::Change,
        instruction,
    }
}

pub fn retry(command: &ProfileCommand, attempt: u32, sent: i64) -> ProfileCommand {
    ProfileCommand {
        attempt,
        sent_at: at(sent),
        cause: Cause::Retry,
        ..command.clone()
    }
}

pub fn rejected() -> Answer {
    Answer::Rejected {
        reason: "no".to_owned(),
    }
}

pub fn drawing(number: usize, secs: i64, deciamps: i64) -> MeterSample {
    MeterSample {
        evse: evse_id(number),
        at: at(secs),
        session_energy: None,
        power: None,
        currents: Some([DeciAmps::from_deciamps(deciamps), DeciAmps::ZERO, DeciAmps::ZERO]),
    }
}

/// The current in L1 at the grid connection that has to be left free at `secs`.
pub fn line_1(worst: &Timeline<Load>, secs: i64) -> i64 {
    worst.at(at(secs)).line_currents()[0].deciamps()
}
