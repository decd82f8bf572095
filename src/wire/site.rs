//! Sites, grid limits, prices and forecasts.
//!
//! Decides what is missing or has no meaning in such a message, and fills in the defaults that its comments promise. Whether a
//! well-formed site is a valid one is decided by [`crate::domain::site::Site::new`].

use super::common::{
    bounded, narrow, node_limit, node_limit_message, one_of, optional_id, rate, rate_message, read, required,
    required_timestamp, timestamp, timestamp_message,
};
use super::driver::{driver_policy, driver_policy_message};
use super::proto;
use crate::domain::bounds::{
    MAX_CONNECTORS_PER_EVSE, MAX_EVSES_PER_SITE, MAX_FORECAST_POINTS, MAX_LISTED_RATES, MAX_MICROS_PER_KWH,
    MAX_NODES_PER_SITE, MAX_POWER_WATTS, MAX_PRICE_POINTS, MAX_TURNS_RATIO_PERMILLE,
};
use crate::domain::conversion::{Phase, PhasePair, Rate, RateUnit, Wiring};
use crate::domain::event::ForecastKind;
use crate::domain::ids::{ConnectorId, EvseId, GatewayId, GridLimitId, NodeId, SiteId, StationId, TenantId};
use crate::domain::limits::{FixedLimits, GridLimit, LimitSource, LimitWindow, PrimaryLimit};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::site::{Connector, Evse, Fairness, Mode, Node, Site, SiteSpec, Station, Steps, check_node_limit};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, Volts, Watts};
use prost_types::Timestamp;

const DEFAULT_LEASE_SECONDS: i32 = 900;
const DEFAULT_CLOCK_SKEW_SECONDS: i32 = 10;
const DEFAULT_RESERVE_PERMILLE: i32 = 30;
const DEFAULT_SLOT_SECONDS: i32 = 900;
const DEFAULT_EFFICIENCY_PERCENT: i32 = 92;
const DEFAULT_PROFILE_PERIODS: i32 = 24;
const LAST_MINUTE_OF_DAY: i64 = 1439;
const WEEKDAYS: [proto::Weekday; 7] = [
    proto::Weekday::Monday,
    proto::Weekday::Tuesday,
    proto::Weekday::Wednesday,
    proto::Weekday::Thursday,
    proto::Weekday::Friday,
    proto::Weekday::Saturday,
    proto::Weekday::Sunday,
];

pub fn site_spec(tenant: &TenantId, site: &proto::Site) -> Result<SiteSpec, Rejection> {
    read(|faults| read_site(faults, tenant, site))
}

/// A valid site, or every fault of its shape and of its rules at once.
pub fn valid_site_spec(tenant: &TenantId, site: &proto::Site) -> Result<SiteSpec, Rejection> {
    read(|faults| {
        let spec = read_site(faults, tenant, site)?;
        // A list that lost an item which cannot be read would break rules that the whole one keeps.
        if spec.nodes.len() == site.nodes.len() && spec.stations.len() == site.stations.len() {
            faults.part("", Site::new(spec.clone()));
        }
        Some(spec)
    })
}

fn read_site(faults: &mut Faults, tenant: &TenantId, site: &proto::Site) -> Option<SiteSpec> {
    let id = faults.field("id", SiteId::parse(&site.id));
    faults.require(
        site.time_zone.parse::<chrono_tz::Tz>().is_ok(),
        "time_zone",
        "is not a known time zone",
        &site.time_zone,
        "an IANA name, such as Europe/Stockholm",
    );
    let mode = faults.field("mode", mode(site.mode));
    let clock_skew = site.clock_skew_seconds.unwrap_or(DEFAULT_CLOCK_SKEW_SECONDS);
    let reserve = site.reserve_permille.unwrap_or(DEFAULT_RESERVE_PERMILLE);
    let reserve_permille = narrow(faults, "reserve_permille", "‰", reserve, 0..=500);
    let fairness = faults.field("fairness", fairness(site.fairness));
    let gateway = optional_id(faults, "gateway_id", &site.gateway_id, GatewayId::parse);
    let drivers = faults.part("drivers", driver_policy(site.drivers.as_ref()));
    let nodes = bounded(faults, "nodes", &site.nodes, MAX_NODES_PER_SITE, node);
    // Each has an EVSE.
    let stations = bounded(faults, "stations", &site.stations, MAX_EVSES_PER_SITE, station);
    Some(SiteSpec {
        tenant: tenant.clone(),
        id: id?,
        time_zone: site.time_zone.clone(),
        currency: site.currency.clone(),
        mode: mode?,
        lease: Seconds::from_secs(or_default(site.lease_seconds, DEFAULT_LEASE_SECONDS).into()),
        clock_skew: Seconds::from_secs(clock_skew.into()),
        reserve_permille: reserve_permille?,
        slot: Seconds::from_secs(or_default(site.slot_seconds, DEFAULT_SLOT_SECONDS).into()),
        trust_unmetered: site.trust_unmetered,
        fairness: fairness?,
        demand_charge_micros_per_kw: site.demand_charge_micros_per_kw,
        peak_so_far: Watts::from_watts(site.peak_so_far_watt),
        gateway,
        drivers: drivers?,
        nodes,
        stations,
    })
}

pub fn site_message(spec: &SiteSpec) -> proto::Site {
    proto::Site {
        id: spec.id.to_string(),
        time_zone: spec.time_zone.clone(),
        currency: spec.currency.clone(),
        mode: mode_message(spec.mode).into(),
        lease_seconds: whole(spec.lease.secs()),
        clock_skew_seconds: Some(whole(spec.clock_skew.secs())),
        reserve_permille: Some(spec.reserve_permille.into()),
        slot_seconds: whole(spec.slot.secs()),
        trust_unmetered: spec.trust_unmetered,
        fairness: fairness_message(spec.fairness).into(),
        demand_charge_micros_per_kw: spec.demand_charge_micros_per_kw,
        peak_so_far_watt: spec.peak_so_far.watts(),
        gateway_id: spec.gateway.as_ref().map(GatewayId::to_string).unwrap_or_default(),
        nodes: spec.nodes.iter().map(node_message).collect(),
        stations: spec.stations.iter().map(station_message).collect(),
        drivers: driver_policy_message(&spec.drivers),
    }
}

const fn or_default(value: i32, default: i32) -> i32 {
    if value == 0 { default } else { value }
}

/// A length of time or a voltage of a valid site, which fits an `i32` many times over.
fn whole(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn mode(number: i32) -> Result<Mode, Rejection> {
    let all = [Mode::Off, Mode::Shadow, Mode::Control];
    one_of(number, &all, mode_message, proto::SiteMode::as_str_name)
}

const fn mode_message(mode: Mode) -> proto::SiteMode {
    match mode {
        Mode::Off => proto::SiteMode::Off,
        Mode::Shadow => proto::SiteMode::Shadow,
        Mode::Control => proto::SiteMode::Control,
    }
}

fn fairness(number: i32) -> Result<Fairness, Rejection> {
    if number == proto::Fairness::Unspecified as i32 {
        return Ok(Fairness::MaxMin);
    }
    let all = [
        Fairness::MaxMin,
        Fairness::Proportional,
        Fairness::FirstCome,
        Fairness::LeastLaxity,
        Fairness::None,
    ];
    one_of(number, &all, fairness_message, proto::Fairness::as_str_name)
}

const fn fairness_message(fairness: Fairness) -> proto::Fairness {
    match fairness {
        Fairness::MaxMin => proto::Fairness::MaxMin,
        Fairness::Proportional => proto::Fairness::Proportional,
        Fairness::FirstCome => proto::Fairness::FirstCome,
        Fairness::LeastLaxity => proto::Fairness::LeastLaxity,
        Fairness::None => proto::Fairness::None,
    }
}

fn node(message: &proto::Node) -> Result<Node, Rejection> {
    read(|faults| {
        let id = faults.field("id", NodeId::parse(&message.id));
        let parent = optional_id(faults, "parent_id", &message.parent_id, NodeId::parse);
        let fixed = FixedLimits {
            unbalance: message.unbalance_deciampere.map(DeciAmps::from_deciamps),
            primary: primary(faults, message),
        };
        Some(Node {
            id: id?,
            parent,
            limit: node_limit(message.limit.as_ref()),
            fixed,
            base_load_line: DeciAmps::from_deciamps(message.base_load_line_deciampere),
            base_load_total: Watts::from_watts(message.base_load_total_watt),
            meter: super::meter::node_meter(faults, message)?,
        })
    })
}

/// Its values are checked with the site; here only that both or neither are there.
fn primary(faults: &mut Faults, message: &proto::Node) -> Option<PrimaryLimit> {
    const RATIO: &str = "turns_ratio_permille";
    match (message.primary_line_deciampere, message.turns_ratio_permille) {
        (Some(line), Some(ratio)) => Some(PrimaryLimit {
            line: DeciAmps::from_deciamps(line),
            turns_ratio_permille: narrow(faults, RATIO, "‰", ratio, 1..=MAX_TURNS_RATIO_PERMILLE)?,
        }),
        (Some(_), None) => {
            faults.add(RATIO, "is required with primary_line_deciampere", "", "1 to 1000000 ‰");
            None
        }
        (None, Some(ratio)) => {
            let got = format!("{ratio} ‰");
            faults.add(
                RATIO,
                "stands alone",
                got,
                "primary_line_deciampere with it, or neither",
            );
            None
        }
        (None, None) => None,
    }
}

fn node_message(node: &Node) -> proto::Node {
    let (metered, overload_curve) = super::meter::node_meter_message(&node.meter);
    proto::Node {
        id: node.id.to_string(),
        parent_id: node.parent.as_ref().map(NodeId::to_string).unwrap_or_default(),
        limit: Some(node_limit_message(&node.limit)),
        base_load_line_deciampere: node.base_load_line.deciamps(),
        base_load_total_watt: node.base_load_total.watts(),
        unbalance_deciampere: node.fixed.unbalance.map(DeciAmps::deciamps),
        primary_line_deciampere: node.fixed.primary.map(|primary| primary.line.deciamps()),
        turns_ratio_permille: node.fixed.primary.map(|primary| primary.turns_ratio_permille as i32),
        metered,
        overload_curve,
    }
}

fn station(message: &proto::Station) -> Result<Station, Rejection> {
    read(|faults| {
        let id = faults.field("id", StationId::parse(&message.id));
        let node = faults.field("node_id", NodeId::parse(&message.node_id));
        let evses = bounded(faults, "evses", &message.evses, MAX_EVSES_PER_SITE, evse);
        Some(Station {
            id: id?,
            node: node?,
            limit: node_limit(message.limit.as_ref()),
            evses,
        })
    })
}

fn station_message(station: &Station) -> proto::Station {
    proto::Station {
        id: station.id.to_string(),
        node_id: station.node.to_string(),
        limit: Some(node_limit_message(&station.limit)),
        evses: station.evses.iter().map(evse_message).collect(),
    }
}

fn evse(message: &proto::Evse) -> Result<Evse, Rejection> {
    read(|faults| {
        let id = faults.field("id", EvseId::parse(&message.id));
        let most = MAX_CONNECTORS_PER_EVSE;
        let connectors = bounded(faults, "connectors", &message.connectors, most, connector);
        Some(Evse {
            id: id?,
            controllable: !message.uncontrollable,
            metered: message.metered,
            connectors,
        })
    })
}

fn evse_message(evse: &Evse) -> proto::Evse {
    proto::Evse {
        id: evse.id.to_string(),
        uncontrollable: !evse.controllable,
        metered: evse.metered,
        connectors: evse.connectors.iter().map(connector_message).collect(),
    }
}

fn connector(message: &proto::Connector) -> Result<Connector, Rejection> {
    read(|faults| {
        let id = faults.field("id", ConnectorId::parse(&message.id));
        let periods = or_default(message.max_profile_periods, DEFAULT_PROFILE_PERIODS);
        let max_profile_periods = narrow(faults, "max_profile_periods", "periods", periods, 2..=1_000);
        // Without a wiring nobody knows the unit, so the rates cannot be read.
        let wiring = wiring(faults, message)?;
        let unit = unit_of(&wiring);
        let allowed = format!("a rate in {unit}");
        let minimum = required(faults, "minimum", message.minimum.as_ref(), &allowed)
            .and_then(|minimum| faults.part("minimum", rate(minimum, unit)));
        let maximum = required(faults, "maximum", message.maximum.as_ref(), &allowed)
            .and_then(|maximum| faults.part("maximum", rate(maximum, unit)));
        let default = message
            .default_rate
            .as_ref()
            .and_then(|default| faults.part("default_rate", rate(default, unit)));
        let steps = steps(faults, message, unit);
        Some(Connector {
            id: id?,
            wiring,
            volt: Volts::from_volts(message.nominal_volt.into()),
            minimum: minimum?,
            maximum: maximum?,
            default,
            steps: steps?,
            max_profile_periods: max_profile_periods?,
        })
    })
}

fn steps(faults: &mut Faults, message: &proto::Connector, unit: RateUnit) -> Option<Steps> {
    match (&message.step, message.allowed_rates.as_slice()) {
        (None, []) => Some(Steps::Multiple(Rate::new(1))),
        (Some(step), []) => faults.part("step", rate(step, unit)).map(Steps::Multiple),
        (None, listed) => {
            let read = |listed: &proto::Rate| rate(listed, unit);
            Some(Steps::Listed(bounded(
                faults,
                "allowed_rates",
                listed,
                MAX_LISTED_RATES,
                read,
            )))
        }
        (Some(_), [..]) => {
            faults.add(
                "step",
                "stands beside allowed_rates",
                "both",
                "step or allowed_rates, not both",
            );
            None
        }
    }
}

fn wiring(faults: &mut Faults, message: &proto::Connector) -> Option<Wiring> {
    use proto::connector::Wiring as Arm;
    match &message.wiring {
        Some(Arm::Star(star)) => {
            let most = Phase::ALL.len();
            let phases: Vec<Phase> = bounded(faults, "star.phases", &star.phases, most, |number| phase(*number));
            (phases.len() == star.phases.len()).then_some(Wiring::Star(phases))
        }
        Some(Arm::StarUnknown(star)) => {
            let phases = narrow(faults, "star_unknown.phase_count", "phases", star.phase_count, 1..=3)?;
            Some(Wiring::StarUnknown { phases })
        }
        Some(Arm::Delta(delta)) => faults.field("delta.pair", pair(delta.pair)).map(Wiring::Delta),
        Some(Arm::Dc(dc)) => {
            let percent = or_default(dc.efficiency_percent, DEFAULT_EFFICIENCY_PERCENT);
            let efficiency_percent = narrow(faults, "dc.efficiency_percent", "%", percent, 50..=100)?;
            Some(Wiring::Dc {
                efficiency_percent,
                standby: Watts::from_watts(dc.standby_watt),
            })
        }
        None => {
            faults.add("wiring", "is required", "", "one of star, star_unknown, delta, dc");
            None
        }
    }
}

const fn unit_of(wiring: &Wiring) -> RateUnit {
    match wiring {
        Wiring::Star(_) | Wiring::StarUnknown { .. } | Wiring::Delta(_) => RateUnit::DeciAmpere,
        Wiring::Dc { .. } => RateUnit::Watt,
    }
}

fn phase(number: i32) -> Result<Phase, Rejection> {
    one_of(number, &Phase::ALL, phase_message, proto::Phase::as_str_name)
}

const fn phase_message(phase: Phase) -> proto::Phase {
    match phase {
        Phase::L1 => proto::Phase::L1,
        Phase::L2 => proto::Phase::L2,
        Phase::L3 => proto::Phase::L3,
    }
}

fn pair(number: i32) -> Result<PhasePair, Rejection> {
    one_of(number, &PhasePair::ALL, pair_message, proto::PhasePair::as_str_name)
}

const fn pair_message(pair: PhasePair) -> proto::PhasePair {
    match pair {
        PhasePair::L1L2 => proto::PhasePair::L1L2,
        PhasePair::L2L3 => proto::PhasePair::L2L3,
        PhasePair::L3L1 => proto::PhasePair::L3L1,
    }
}

fn connector_message(connector: &Connector) -> proto::Connector {
    let unit = unit_of(&connector.wiring);
    let (step, allowed_rates) = match &connector.steps {
        Steps::Multiple(step) => (Some(rate_message(*step, unit)), Vec::new()),
        Steps::Listed(listed) => (None, listed.iter().map(|rate| rate_message(*rate, unit)).collect()),
    };
    proto::Connector {
        id: connector.id.to_string(),
        wiring: Some(wiring_message(&connector.wiring)),
        nominal_volt: whole(connector.volt.volts()),
        minimum: Some(rate_message(connector.minimum, unit)),
        maximum: Some(rate_message(connector.maximum, unit)),
        default_rate: connector.default.map(|default| rate_message(default, unit)),
        step,
        allowed_rates,
        max_profile_periods: connector.max_profile_periods.into(),
    }
}

fn wiring_message(wiring: &Wiring) -> proto::connector::Wiring {
    use proto::connector::Wiring as Arm;
    match wiring {
        Wiring::Star(phases) => Arm::Star(proto::StarWiring {
            phases: phases.iter().map(|phase| phase_message(*phase).into()).collect(),
        }),
        Wiring::StarUnknown { phases } => Arm::StarUnknown(proto::StarUnknownWiring {
            phase_count: (*phases).into(),
        }),
        Wiring::Delta(pair) => Arm::Delta(proto::DeltaWiring {
            pair: pair_message(*pair).into(),
        }),
        Wiring::Dc {
            efficiency_percent,
            standby,
        } => Arm::Dc(proto::DcWiring {
            efficiency_percent: (*efficiency_percent).into(),
            standby_watt: standby.watts(),
        }),
    }
}

/// A limit with all its faults; whether the site has its node is for the caller to say.
pub fn grid_limit(message: &proto::GridLimit) -> Result<GridLimit, Rejection> {
    read(|faults| {
        let id = faults.field("id", GridLimitId::parse(&message.id));
        let node = faults.field("node_id", NodeId::parse(&message.node_id));
        let source = faults.field("source", source(message.source));
        let limit = node_limit(message.limit.as_ref());
        faults.part("", check_node_limit(&limit));
        let when = window(faults, message);
        Some(GridLimit {
            id: id?,
            node: node?,
            source: source?,
            limit,
            when: when?,
        })
    })
}

/// As [`grid_limit`], held against the nodes of the site as well, where that is known.
pub fn valid_grid_limit(message: &proto::GridLimit, site: Option<&Site>) -> Result<GridLimit, Rejection> {
    let node = NodeId::parse(&message.node_id);
    let unknown = site
        .zip(node.ok())
        .and_then(|(site, node)| site.named_node(&node).err());
    match (grid_limit(message), unknown) {
        (limit, None) => limit,
        (Ok(_), Some(fault)) => Err(fault),
        (Err(fault), Some(more)) => Err(fault.and(more)),
    }
}

pub fn grid_limit_message(limit: &GridLimit) -> proto::GridLimit {
    use proto::grid_limit::When;
    proto::GridLimit {
        id: limit.id.to_string(),
        node_id: limit.node.to_string(),
        source: source_message(limit.source).into(),
        limit: Some(node_limit_message(&limit.limit)),
        when: Some(match &limit.when {
            LimitWindow::Once { from, until } => When::Once(proto::OnceWindow {
                from: Some(timestamp_message(*from)),
                until: until.map(timestamp_message),
            }),
            LimitWindow::Weekly {
                days,
                from_minute_of_day,
                until_minute_of_day,
            } => When::Weekly(proto::WeeklyWindow {
                days: WEEKDAYS
                    .iter()
                    .zip(days)
                    .filter(|(_, chosen)| **chosen)
                    .map(|(day, _)| (*day).into())
                    .collect(),
                from_minute_of_day: (*from_minute_of_day).into(),
                until_minute_of_day: (*until_minute_of_day).into(),
            }),
        }),
    }
}

fn source(number: i32) -> Result<LimitSource, Rejection> {
    let all = [
        LimitSource::Installation,
        LimitSource::SiteManager,
        LimitSource::Dso,
        LimitSource::TariffGuard,
    ];
    one_of(number, &all, source_message, proto::LimitSource::as_str_name)
}

const fn source_message(source: LimitSource) -> proto::LimitSource {
    match source {
        LimitSource::Installation => proto::LimitSource::Installation,
        LimitSource::SiteManager => proto::LimitSource::SiteManager,
        LimitSource::Dso => proto::LimitSource::Dso,
        LimitSource::TariffGuard => proto::LimitSource::TariffGuard,
    }
}

fn window(faults: &mut Faults, message: &proto::GridLimit) -> Option<LimitWindow> {
    use proto::grid_limit::When;
    match &message.when {
        Some(When::Once(once)) => faults.part("once", once_window(once)),
        Some(When::Weekly(weekly)) => faults.part("weekly", weekly_window(weekly)),
        None => {
            faults.add("when", "is required", "", "once or weekly");
            None
        }
    }
}

fn once_window(message: &proto::OnceWindow) -> Result<LimitWindow, Rejection> {
    read(|faults| {
        let from = required_timestamp(faults, "from", message.from.as_ref());
        let until = message
            .until
            .as_ref()
            .and_then(|until| faults.part("until", timestamp(until)));
        if let (Some(from), Some(until)) = (from, until) {
            faults.require(
                from < until,
                "until",
                "is not after the start",
                until,
                format_args!("after {from}"),
            );
        }
        Some(LimitWindow::Once { from: from?, until })
    })
}

fn weekly_window(message: &proto::WeeklyWindow) -> Result<LimitWindow, Rejection> {
    read(|faults| {
        let mut days = [false; 7];
        let listed = bounded(faults, "days", &message.days, WEEKDAYS.len(), |number| {
            one_of(*number, &WEEKDAYS, |day| day, proto::Weekday::as_str_name)
        });
        for day in listed {
            days[day as usize - 1] = true;
        }
        faults.require(
            !message.days.is_empty(),
            "days",
            "is empty",
            "no day",
            "one day of the week or more",
        );
        let mut minute = |field, value| narrow(faults, field, "min", value, 0..=LAST_MINUTE_OF_DAY);
        let from_minute_of_day = minute("from_minute_of_day", message.from_minute_of_day);
        let until_minute_of_day = minute("until_minute_of_day", message.until_minute_of_day);
        Some(LimitWindow::Weekly {
            days,
            from_minute_of_day: from_minute_of_day?,
            until_minute_of_day: until_minute_of_day?,
        })
    })
}

/// Faults are told as `[2].micros_per_kwh`; nest them under the name of the list.
pub fn prices(messages: &[proto::PricePoint]) -> Result<Timeline<MicrosPerKwh>, Rejection> {
    let points = messages.iter().map(|point| (point.from.as_ref(), point.micros_per_kwh));
    let bounds = PointBounds {
        most_points: MAX_PRICE_POINTS,
        field: "micros_per_kwh",
        unit: "µ/kWh",
        values: -MAX_MICROS_PER_KWH..=MAX_MICROS_PER_KWH,
    };
    Ok(timeline(points, &bounds)?.map(|value| MicrosPerKwh::from_micros_per_kwh(*value)))
}

pub fn price_messages(prices: &Timeline<MicrosPerKwh>) -> Vec<proto::PricePoint> {
    prices
        .points()
        .iter()
        .map(|(from, price)| proto::PricePoint {
            from: Some(timestamp_message(*from)),
            micros_per_kwh: price.micros_per_kwh(),
        })
        .collect()
}

pub fn forecast(messages: &[proto::ForecastPoint]) -> Result<Timeline<Watts>, Rejection> {
    let points = messages.iter().map(|point| (point.from.as_ref(), point.power_watt));
    let bounds = PointBounds {
        most_points: MAX_FORECAST_POINTS,
        field: "power_watt",
        unit: "W",
        values: 0..=MAX_POWER_WATTS,
    };
    Ok(timeline(points, &bounds)?.map(|value| Watts::from_watts(*value)))
}

pub fn forecast_messages(power: &Timeline<Watts>) -> Vec<proto::ForecastPoint> {
    power
        .points()
        .iter()
        .map(|(from, power)| proto::ForecastPoint {
            from: Some(timestamp_message(*from)),
            power_watt: power.watts(),
        })
        .collect()
}

pub fn forecast_kind(number: i32) -> Result<ForecastKind, Rejection> {
    let all = [ForecastKind::BaseLoad, ForecastKind::Solar];
    one_of(number, &all, forecast_kind_message, proto::ForecastKind::as_str_name)
}

pub const fn forecast_kind_message(kind: ForecastKind) -> proto::ForecastKind {
    match kind {
        ForecastKind::BaseLoad => proto::ForecastKind::BaseLoad,
        ForecastKind::Solar => proto::ForecastKind::Solar,
    }
}

struct PointBounds {
    most_points: usize,
    field: &'static str,
    unit: &'static str,
    values: std::ops::RangeInclusive<i64>,
}

fn timeline<'message>(
    messages: impl ExactSizeIterator<Item = (Option<&'message Timestamp>, i64)>,
    bounds: &PointBounds,
) -> Result<Timeline<i64>, Rejection> {
    read(|faults| {
        let count = messages.len();
        if !(1..=bounds.most_points).contains(&count) {
            let allowed = format_args!("1 to {}", bounds.most_points);
            faults.add("", "has a wrong number of points", count, allowed);
            return None;
        }
        let mut points: Vec<(Instant, i64)> = Vec::with_capacity(count);
        for (index, (from, value)) in messages.enumerate() {
            faults.within(
                format!("[{index}].{}", bounds.field),
                bounds.unit,
                value,
                bounds.values.clone(),
            );
            let field = format!("[{index}].from");
            let Some(from) = required_timestamp(faults, &field, from) else {
                continue;
            };
            if let Some((previous, _)) = points.last()
                && from <= *previous
            {
                faults.add(
                    field,
                    "is not after the point before",
                    from,
                    format_args!("after {previous}"),
                );
                continue;
            }
            points.push((from, value));
        }
        (!points.is_empty()).then(|| Timeline::from_points(points))
    })
}
