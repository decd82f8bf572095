//! A random site: a small tree, every kind of wiring, defaults known and unknown, and limits that the defaults fit under.

use super::dice::Dice;
use crate::domain::conversion::{Load, Phase, PhasePair, Rate, Wiring};
use crate::domain::driver::DriverPolicy;
use crate::domain::ids::*;
use crate::domain::limits::{FixedLimits, NodeLimit, PrimaryLimit};
use crate::domain::site::*;
use crate::units::{DeciAmps, Seconds, Volts, Watts};

pub fn evse_id(number: usize) -> EvseId {
    EvseId::parse(&format!("e{number}")).unwrap()
}

pub fn gateway_id(number: usize) -> GatewayId {
    GatewayId::parse(&format!("gateway-{number}")).unwrap()
}

pub fn node_id(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

pub fn site_key() -> SiteKey {
    SiteKey {
        tenant: TenantId::parse("cpo").unwrap(),
        site: SiteId::parse("yard").unwrap(),
    }
}

/// At most `most` EVSEs. Limits are set by [`limit_nodes`].
pub fn random_spec(dice: &mut Dice, most: usize) -> SiteSpec {
    let count = dice.roll(2, 4) as usize;
    let exotic = dice.happens(400);
    let stations: Vec<Station> = (0..count)
        .map(|number| Station {
            id: StationId::parse(&format!("st{number}")).unwrap(),
            node: node_id(if dice.happens(600) { "feeder" } else { "grid" }),
            limit: NodeLimit::default(),
            evses: vec![random_evse(dice, number, exotic)],
        })
        .take(most)
        .collect();
    let node = |id: &str, parent: Option<&str>| Node {
        id: node_id(id),
        parent: parent.map(node_id),
        limit: NodeLimit::default(),
        fixed: FixedLimits::default(),
        base_load_line: DeciAmps::ZERO,
        base_load_total: Watts::ZERO,
        meter: Default::default(),
    };
    let mut spec = SiteSpec {
        tenant: site_key().tenant,
        id: site_key().site,
        time_zone: "UTC".to_owned(),
        currency: "EUR".to_owned(),
        mode: Mode::Control,
        lease: Seconds::from_secs(dice.roll(90, 150)),
        clock_skew: Seconds::from_secs(dice.roll(0, 6)),
        reserve_permille: *dice.pick(&[0, 0, 30, 100]),
        slot: Seconds::from_secs(*dice.pick(&[900, 1800, 3600, 3600])),
        trust_unmetered: dice.happens(800),
        fairness: *dice.pick(&[Fairness::MaxMin, Fairness::None, Fairness::FirstCome]),
        demand_charge_micros_per_kw: None,
        peak_so_far: Watts::ZERO,
        gateway: Some(gateway_id(0)),
        drivers: DriverPolicy::default(),
        nodes: vec![node("grid", None), node("feeder", Some("grid"))],
        stations,
    };
    limit_nodes(&mut spec, dice);
    spec
}

fn random_evse(dice: &mut Dice, number: usize, exotic: bool) -> Evse {
    let connectors = if dice.happens(150) { 2 } else { 1 };
    Evse {
        id: evse_id(number),
        controllable: !dice.happens(40),
        metered: dice.happens(500),
        connectors: (1..=connectors).map(|id| random_connector(dice, id, exotic)).collect(),
    }
}

fn random_connector(dice: &mut Dice, id: usize, exotic: bool) -> Connector {
    let wiring = match dice.roll(0, if exotic { 6 } else { 2 }) {
        0 => Wiring::Star(vec![Phase::L1]),
        1 => Wiring::Star(vec![Phase::L2, Phase::L3, Phase::L1]),
        2 => Wiring::StarUnknown { phases: 1 },
        3 => Wiring::Delta(PhasePair::L1L2),
        4 => Wiring::Delta(PhasePair::L2L3),
        5 => Wiring::Star(vec![Phase::L3, Phase::L1]),
        _ => Wiring::Dc {
            efficiency_percent: 92,
            standby: Watts::from_watts(dice.roll(0, 100)),
        },
    };
    let (minimum, maximum, step) = match wiring {
        Wiring::Dc { .. } => (5_000, 50_000, 500),
        _ => (60, 320, *dice.pick(&[1, 10, 20])),
    };
    let default = match dice.roll(0, 9) {
        0 => None,
        1 | 2 => Some(Rate::new(minimum)),
        _ => Some(Rate::ZERO),
    };
    Connector {
        id: ConnectorId::parse(&id.to_string()).unwrap(),
        wiring,
        volt: Volts::from_volts(230),
        minimum: Rate::new(minimum),
        maximum: Rate::new(maximum),
        default,
        steps: Steps::Multiple(Rate::new(step)),
        max_profile_periods: u16::try_from(dice.roll(3, 12)).expect("it is small"),
    }
}

/// Gives every node a base load and a limit, above what the defaults below it take: that much is always drawn.
pub fn limit_nodes(spec: &mut SiteSpec, dice: &mut Dice) {
    let feeder = |station: &Station| station.node == node_id("feeder");
    let of = |all: bool| -> (Load, i64) {
        let below = spec.stations.iter().filter(|station| all || feeder(station));
        let evses: Vec<&Evse> = below.flat_map(|station| &station.evses).collect();
        let load = evses.iter().map(|evse| evse.default_load()).sum();
        (load, evses.len() as i64)
    };
    let sums = [of(true), of(false)];
    let reserve = i64::from(spec.reserve_permille);
    let mut base_below = (0, 0);
    for index in [1, 0] {
        let (defaults, evses) = sums[index];
        let node = &mut spec.nodes[index];
        let base = if dice.happens(400) { dice.roll(0, 100) } else { 0 };
        node.base_load_line = DeciAmps::from_deciamps(base);
        node.base_load_total = Watts::from_watts(base * 69);
        base_below = (base_below.0 + base, base_below.1 + base * 69);
        let whole = |usable: i64| {
            if index == 0 {
                usable * 1000 / (1000 - reserve) + 2
            } else {
                usable
            }
        };
        let line = defaults
            .line_currents()
            .map(DeciAmps::deciamps)
            .into_iter()
            .max()
            .unwrap_or(0);
        let room = dice.roll(0, 220 * evses.max(1));
        node.limit.line = Some(DeciAmps::from_deciamps(whole(line + base_below.0 + room)));
        node.limit.total = dice.happens(400).then(|| {
            let room = dice.roll(0, 7_000 * evses.max(1));
            Watts::from_watts(whole(defaults.total.watts() + base_below.1 + room))
        });
        node.fixed = FixedLimits::default();
        if dice.happens(250) {
            let uneven = defaults.uneven.map(DeciAmps::deciamps).into_iter().max().unwrap_or(0);
            let most = whole(uneven + dice.roll(0, 150 * evses.max(1)));
            node.fixed.unbalance = Some(DeciAmps::from_deciamps(most));
        }
        if dice.happens(150) {
            let pairs = defaults.line_differences().map(DeciAmps::deciamps);
            let most = pairs.into_iter().max().unwrap_or(0) + 2 * base_below.0 + dice.roll(0, 300 * evses.max(1));
            node.fixed.primary = Some(PrimaryLimit {
                line: DeciAmps::from_deciamps(whole(most) / 2 + 1),
                turns_ratio_permille: 2_000,
            });
        }
    }
}
