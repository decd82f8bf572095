//! A charging site as it is built: the tree of nodes, the stations on it, their EVSEs and connectors.
//!
//! Decides which sites are valid. A [`Site`] can only be made from a [`SiteSpec`] that passed every rule, so the rest of the
//! crate may index its tree without checking again.

use super::bounds::*;
use super::conversion::{Conversion, Load, Phase, Rate, RateUnit, Wiring};
use super::driver::DriverPolicy;
use super::ids::{ConnectorId, EvseId, GatewayId, NodeId, SiteId, StationId, TenantId};
use super::limits::{Capacity, FixedLimits, NodeLimit};
use super::overload::NodeMeter;
use super::rejection::{Faults, Rejection};
use crate::units::{DeciAmps, Seconds, Volts, Watts};
use std::collections::{HashMap, HashSet};

/// What laddplan does at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Records, but plans nothing.
    Off,
    /// Plans, logs and explains, but sends nothing: how every CPO starts.
    Shadow,
    /// Plans and sends profiles.
    Control,
}

/// Which energy within a tier counts as fair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fairness {
    /// The smallest share of the need that anyone gets is as large as can be.
    #[default]
    MaxMin,
    /// Everyone gets the same energy, as far as he needs it. Where cars load the supply alike, no other division has a greater
    /// product of energies, which is what is called proportionally fair.
    Proportional,
    /// Whoever came first is served first.
    FirstCome,
    /// Whoever could wait least is served first.
    LeastLaxity,
    /// No rule beyond the most energy in total.
    None,
}

/// A site as the caller describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSpec {
    pub tenant: TenantId,
    pub id: SiteId,
    /// IANA name. Weekly limits are in this zone.
    pub time_zone: String,
    /// ISO 4217.
    pub currency: String,
    pub mode: Mode,
    /// How long an emitted profile holds before its tail.
    pub lease: Seconds,
    /// Clocks of charging stations may be this wrong, and cars this slow to follow; both count into every envelope.
    pub clock_skew: Seconds,
    /// Kept free at the grid connection, in thousandths of its limit.
    pub reserve_permille: u16,
    /// Length of a planning slot.
    pub slot: Seconds,
    /// Whether an accepted answer is believed where no meter shows obedience.
    pub trust_unmetered: bool,
    pub fairness: Fairness,
    /// Power charge on the highest load of the billing period, in millionths of the currency per kW.
    pub demand_charge_micros_per_kw: Option<i64>,
    /// The highest load of the billing period so far, before this service watched.
    pub peak_so_far: Watts,
    /// The gateway that applies our profiles. Needed in mode control.
    pub gateway: Option<GatewayId>,
    /// Who may draw power.
    pub drivers: DriverPolicy,
    pub nodes: Vec<Node>,
    pub stations: Vec<Station>,
}

/// A point of the supply with a limit: grid connection, transformer, feeder, panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// Absent for the grid connection, and only there.
    pub parent: Option<NodeId>,
    pub limit: NodeLimit,
    pub fixed: FixedLimits,
    /// The most that everything else below this node, but below no node under it, can draw. Counts against this node and all above.
    pub base_load_line: DeciAmps,
    pub base_load_total: Watts,
    pub meter: NodeMeter,
}

/// A box with one or more EVSEs, and possibly a limit of its own that they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    pub id: StationId,
    pub node: NodeId,
    pub limit: NodeLimit,
    pub evses: Vec<Evse>,
}

/// The unit that charges one car at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evse {
    pub id: EvseId,
    /// Whether profiles can be sent to it. If not, its maximum is always reserved.
    pub controllable: bool,
    /// Whether what the car draws is metered and reported.
    pub metered: bool,
    pub connectors: Vec<Connector>,
}

/// A plug or cable; only one of an EVSE's is in use at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    pub id: ConnectorId,
    pub wiring: Wiring,
    /// Line-to-neutral for star and DC, line-to-line for delta.
    pub volt: Volts,
    /// The least rate above zero; 6 A for AC by IEC 61851.
    pub minimum: Rate,
    pub maximum: Rate,
    /// What it does without a profile of ours, as commissioned. `None` is unknown and counts as the maximum.
    pub default: Option<Rate>,
    pub steps: Steps,
    /// How many periods a profile may have at this station.
    pub max_profile_periods: u16,
}

/// Which rates from minimum to maximum a connector can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Every multiple of this; never finer than 1 dA or 1 W.
    Multiple(Rate),
    /// Just these, ascending; zero is always allowed and not listed.
    Listed(Vec<Rate>),
}

/// What the planner may choose from at one connector: zero, or steps from minimum to maximum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateChoice {
    pub minimum: Rate,
    pub maximum: Rate,
    pub steps: Steps,
}

impl RateChoice {
    /// The greatest allowed rate that is at most `rate`; zero if none is.
    pub fn floor(&self, rate: Rate) -> Rate {
        let capped = rate.min(self.maximum);
        let stepped = match &self.steps {
            Steps::Multiple(step) => Rate::new(capped.value() - capped.value().rem_euclid(step.value())),
            Steps::Listed(listed) => listed[..listed.partition_point(|allowed| *allowed <= capped)]
                .last()
                .copied()
                .unwrap_or(Rate::ZERO),
        };
        if stepped >= self.minimum { stepped } else { Rate::ZERO }
    }

    /// The least allowed rate that is above `rate`, if there is one.
    pub fn above(&self, rate: Rate) -> Option<Rate> {
        let wanted = Rate::new(rate.value() + 1).max(self.minimum);
        let stepped = match &self.steps {
            Steps::Multiple(step) => {
                Rate::new((wanted.value() + step.value() - 1).div_euclid(step.value()) * step.value())
            }
            Steps::Listed(listed) => *listed.get(listed.partition_point(|allowed| *allowed < wanted))?,
        };
        (stepped <= self.maximum).then_some(stepped)
    }

    pub fn allows(&self, rate: Rate) -> bool {
        rate.is_zero() || self.floor(rate) == rate
    }
}

impl Connector {
    pub fn conversion(&self) -> Conversion {
        Conversion::new(&self.wiring, self.volt)
    }

    /// What its rates are counted in.
    pub fn unit(&self) -> RateUnit {
        self.wiring.unit()
    }

    pub fn choice(&self) -> RateChoice {
        RateChoice {
            minimum: self.minimum,
            maximum: self.maximum,
            steps: self.steps.clone(),
        }
    }

    /// What it may follow without a profile of ours.
    pub fn default_or_maximum(&self) -> Rate {
        self.default.unwrap_or(self.maximum)
    }
}

impl Evse {
    pub fn connector(&self, id: &ConnectorId) -> Option<&Connector> {
        self.connectors.iter().find(|connector| connector.id == *id)
    }

    /// The most it can draw, whatever connector is used.
    pub fn maximum_load(&self) -> Load {
        self.connectors
            .iter()
            .map(|connector| connector.conversion().load(connector.maximum))
            .fold(Load::ZERO, Load::max)
    }

    /// The most it draws when it follows no profile of ours, whatever connector is used.
    pub fn default_load(&self) -> Load {
        if !self.controllable {
            return self.maximum_load();
        }
        self.connectors
            .iter()
            .map(|connector| connector.conversion().load(connector.default_or_maximum()))
            .fold(Load::ZERO, Load::max)
    }

    /// The most it draws at the minimum of any of its connectors.
    pub fn minimum_load(&self) -> Load {
        let loads = self
            .connectors
            .iter()
            .map(|connector| connector.conversion().load(connector.minimum));
        loads.fold(Load::ZERO, Load::max)
    }
}

/// A valid site, with its tree made ready to walk.
///
/// The tree's *places* are the nodes, parents before children, followed by one for each station, so that a station's own limit is
/// a limit like any other. Place 0 is the grid connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    spec: SiteSpec,
    places: Vec<Place>,
    evses: HashMap<EvseId, EvsePosition>,
}

/// A node or station of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node's id, or the station's.
    pub id: NodeId,
    pub parent: Option<usize>,
    pub limit: NodeLimit,
    pub fixed: FixedLimits,
    pub base_load_line: DeciAmps,
    pub base_load_total: Watts,
}

impl Place {
    /// What it may carry as built, base load included.
    pub fn capacity(&self) -> Capacity {
        Capacity::from(self.limit).with_fixed(&self.fixed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EvsePosition {
    station: usize,
    evse: usize,
    place: usize,
}

impl Site {
    /// Checks every rule and reports every fault.
    pub fn new(spec: SiteSpec) -> Result<Self, Rejection> {
        let mut faults = Faults::default();
        check_settings(&spec, &mut faults);
        let order = check_tree(&spec, &mut faults);
        check_stations(&spec, &mut faults);
        if !faults.is_empty() {
            return Err(faults.into_rejection());
        }
        Ok(Self::index(spec, &order))
    }

    fn index(mut spec: SiteSpec, order: &[usize]) -> Self {
        let mut nodes: Vec<Option<Node>> = spec.nodes.into_iter().map(Some).collect();
        spec.nodes = order
            .iter()
            .map(|index| nodes[*index].take().expect("each node stands once in the order"))
            .collect();
        let place_of: HashMap<NodeId, usize> = spec
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| (node.id.clone(), place))
            .collect();
        let mut places: Vec<Place> = spec
            .nodes
            .iter()
            .map(|node| Place {
                id: node.id.clone(),
                parent: node.parent.as_ref().map(|parent| place_of[parent]),
                limit: node.limit,
                fixed: node.fixed,
                base_load_line: node.base_load_line,
                base_load_total: node.base_load_total,
            })
            .collect();
        let mut evses = HashMap::new();
        for (station_index, station) in spec.stations.iter().enumerate() {
            let place = places.len();
            places.push(Place {
                id: NodeId::parse(station.id.as_str()).expect("a station's id is an id"),
                parent: Some(place_of[&station.node]),
                limit: station.limit,
                fixed: FixedLimits::default(),
                base_load_line: DeciAmps::ZERO,
                base_load_total: Watts::ZERO,
            });
            for (evse_index, evse) in station.evses.iter().enumerate() {
                evses.insert(
                    evse.id.clone(),
                    EvsePosition {
                        station: station_index,
                        evse: evse_index,
                        place,
                    },
                );
            }
        }
        Self { spec, places, evses }
    }

    pub fn spec(&self) -> &SiteSpec {
        &self.spec
    }

    /// Nodes, parents before children, then stations. Place 0 is the grid connection.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    pub fn place_of_node(&self, node: &NodeId) -> Option<usize> {
        self.spec.nodes.iter().position(|candidate| candidate.id == *node)
    }

    /// The place of a node that a caller names.
    pub fn named_node(&self, node: &NodeId) -> Result<usize, Rejection> {
        let unknown = || {
            Rejection::one(
                "node_id",
                "names no node of the site",
                node,
                format_args!("a node of site {}", self.spec.id),
            )
        };
        self.place_of_node(node).ok_or_else(unknown)
    }

    /// The station's place, under which the EVSE hangs.
    pub fn place_of_evse(&self, evse: &EvseId) -> Option<usize> {
        self.evses.get(evse).map(|position| position.place)
    }

    pub fn evse(&self, id: &EvseId) -> Option<&Evse> {
        self.evses
            .get(id)
            .map(|position| &self.spec.stations[position.station].evses[position.evse])
    }

    /// Every EVSE with its place, in the order of the description.
    pub fn evses(&self) -> impl Iterator<Item = (usize, &Evse)> {
        let first_station = self.spec.nodes.len();
        self.spec
            .stations
            .iter()
            .enumerate()
            .flat_map(move |(index, station)| station.evses.iter().map(move |evse| (first_station + index, evse)))
    }

    /// `place` and every place above it, up to the grid connection.
    pub fn path_to_root(&self, place: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(place), |place| self.places[*place].parent)
    }
}

const ALLOWED_LEASE: std::ops::RangeInclusive<i64> = 60..=86_400;
const ALLOWED_SLOT: std::ops::RangeInclusive<i64> = 60..=3_600;
const ALLOWED_SKEW: std::ops::RangeInclusive<i64> = 0..=300;
const MAX_TREE_DEPTH: usize = 32;

fn check_settings(spec: &SiteSpec, faults: &mut Faults) {
    faults.require(
        spec.currency.len() == 3 && spec.currency.bytes().all(|byte| byte.is_ascii_uppercase()),
        "currency",
        "is not an ISO 4217 code",
        &spec.currency,
        "three capital letters, such as EUR",
    );
    faults.within("lease_seconds", "s", spec.lease.secs(), ALLOWED_LEASE);
    faults.within("clock_skew_seconds", "s", spec.clock_skew.secs(), ALLOWED_SKEW);
    faults.within("reserve_permille", "‰", i64::from(spec.reserve_permille), 0..=500);
    if faults
        .within("slot_seconds", "s", spec.slot.secs(), ALLOWED_SLOT)
        .is_some()
    {
        faults.require(
            3_600 % spec.slot.secs() == 0,
            "slot_seconds",
            "does not divide an hour",
            spec.slot,
            "60, 300, 600, 900, 1800, 3600 or another divisor of 3600 s",
        );
    }
    faults.within("peak_so_far_watt", "W", spec.peak_so_far.watts(), 0..=MAX_POWER_WATTS);
    if let Some(charge) = spec.demand_charge_micros_per_kw {
        faults.within("demand_charge_micros_per_kw", "µ/kW", charge, 0..=MAX_MICROS_PER_KW);
    }
    faults.part("drivers", spec.drivers.check());
    if spec.mode == Mode::Control {
        faults.require(
            spec.gateway.is_some(),
            "gateway_id",
            "is required in mode control",
            "",
            "the id of the gateway that applies profiles",
        );
    }
}

/// Checks the nodes and returns their indices, parents before children.
fn check_tree(spec: &SiteSpec, faults: &mut Faults) -> Vec<usize> {
    if spec.nodes.is_empty() || spec.nodes.len() > MAX_NODES_PER_SITE {
        faults.add(
            "nodes",
            "has a wrong number of nodes",
            spec.nodes.len(),
            format_args!("1 to {MAX_NODES_PER_SITE}"),
        );
        return Vec::new();
    }
    let mut index_of: HashMap<&NodeId, usize> = HashMap::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        if index_of.insert(&node.id, index).is_some() {
            faults.add(
                format!("nodes[{index}].id"),
                "is used twice",
                &node.id,
                "an id that no other node or station of the site has",
            );
        }
        check_limit(&format!("nodes[{index}].limit"), &node.limit, faults);
        check_fixed(&format!("nodes[{index}]"), &node.fixed, faults);
        faults.within(
            format!("nodes[{index}].base_load_line_deciampere"),
            "dA",
            node.base_load_line.deciamps(),
            0..=MAX_CURRENT_DECIAMPS,
        );
        faults.within(
            format!("nodes[{index}].base_load_total_watt"),
            "W",
            node.base_load_total.watts(),
            0..=MAX_POWER_WATTS,
        );
    }
    let roots: Vec<usize> = (0..spec.nodes.len())
        .filter(|index| spec.nodes[*index].parent.is_none())
        .collect();
    match roots.as_slice() {
        [] => faults.add(
            "nodes",
            "has no root",
            "every node has a parent_id",
            "one node without parent_id: the grid connection",
        ),
        [_] => {}
        [_, others @ ..] => {
            for index in others {
                faults.add(
                    format!("nodes[{index}].parent_id"),
                    "makes a second root",
                    "",
                    format_args!("one root only; {} is one already", spec.nodes[roots[0]].id),
                );
            }
        }
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spec.nodes.len()];
    for (index, node) in spec.nodes.iter().enumerate() {
        if let Some(parent) = &node.parent {
            match index_of.get(parent) {
                Some(parent) => children[*parent].push(index),
                None => faults.add(
                    format!("nodes[{index}].parent_id"),
                    "names no node of the site",
                    parent,
                    "the id of a node in this request",
                ),
            }
        }
    }
    let mut order = roots;
    let mut depth_ends = order.len();
    let mut depth = 1;
    let mut next = 0;
    while next < order.len() {
        if next == depth_ends {
            depth += 1;
            depth_ends = order.len();
        }
        order.extend(&children[order[next]]);
        next += 1;
    }
    faults.require(
        depth <= MAX_TREE_DEPTH,
        "nodes",
        "is too deep",
        depth,
        format_args!("{MAX_TREE_DEPTH} levels"),
    );
    let mut reached = vec![false; spec.nodes.len()];
    for index in &order {
        reached[*index] = true;
    }
    for (index, node) in spec.nodes.iter().enumerate() {
        if !reached[index] && node.parent.as_ref().is_some_and(|parent| index_of.contains_key(parent)) {
            faults.add(
                format!("nodes[{index}].parent_id"),
                "is part of a cycle or hangs below one",
                node.parent.as_ref().map_or("", NodeId::as_str),
                "a tree that leads to the root",
            );
        }
    }
    order
}

fn check_stations(spec: &SiteSpec, faults: &mut Faults) {
    let node_ids: HashSet<&NodeId> = spec.nodes.iter().map(|node| &node.id).collect();
    let mut place_ids: HashMap<&str, ()> = spec.nodes.iter().map(|node| (node.id.as_str(), ())).collect();
    let mut evse_ids: HashMap<&EvseId, ()> = HashMap::new();
    let evse_count: usize = spec.stations.iter().map(|station| station.evses.len()).sum();
    faults.require(
        evse_count <= MAX_EVSES_PER_SITE,
        "stations",
        "have too many EVSEs",
        evse_count,
        format_args!("{MAX_EVSES_PER_SITE} per site"),
    );
    for (index, station) in spec.stations.iter().enumerate() {
        let field = format!("stations[{index}]");
        if !node_ids.contains(&station.node) {
            faults.add(
                format!("{field}.node_id"),
                "names no node of the site",
                &station.node,
                "the id of a node in this request",
            );
        }
        if place_ids.insert(station.id.as_str(), ()).is_some() {
            faults.add(
                format!("{field}.id"),
                "is used twice",
                &station.id,
                "an id that no other node or station of the site has",
            );
        }
        check_limit(&format!("{field}.limit"), &station.limit, faults);
        faults.require(
            !station.evses.is_empty(),
            format!("{field}.evses"),
            "is empty",
            0,
            "one EVSE or more",
        );
        for (evse_index, evse) in station.evses.iter().enumerate() {
            let field = format!("{field}.evses[{evse_index}]");
            if evse_ids.insert(&evse.id, ()).is_some() {
                faults.add(
                    format!("{field}.id"),
                    "is used twice",
                    &evse.id,
                    "an id that no other EVSE of the site has",
                );
            }
            faults.require(
                (1..=MAX_CONNECTORS_PER_EVSE).contains(&evse.connectors.len()),
                format!("{field}.connectors"),
                "has a wrong number of connectors",
                evse.connectors.len(),
                format_args!("1 to {MAX_CONNECTORS_PER_EVSE}"),
            );
            for (connector_index, connector) in evse.connectors.iter().enumerate() {
                let field = format!("{field}.connectors[{connector_index}]");
                if evse.connectors[..connector_index]
                    .iter()
                    .any(|other| other.id == connector.id)
                {
                    faults.add(
                        format!("{field}.id"),
                        "is used twice",
                        &connector.id,
                        "an id that no other connector of the EVSE has",
                    );
                }
                check_connector(&field, connector, faults);
            }
        }
    }
}

fn check_limit(field: &str, limit: &NodeLimit, faults: &mut Faults) {
    if let Some(line) = limit.line {
        faults.within(
            format!("{field}.line_deciampere"),
            "dA",
            line.deciamps(),
            0..=MAX_CURRENT_DECIAMPS,
        );
    }
    if let Some(total) = limit.total {
        faults.within(format!("{field}.total_watt"), "W", total.watts(), 0..=MAX_POWER_WATTS);
    }
}

fn check_fixed(field: &str, fixed: &FixedLimits, faults: &mut Faults) {
    let mut current = |name: &str, value: DeciAmps| {
        faults.within(
            format!("{field}.{name}"),
            "dA",
            value.deciamps(),
            0..=MAX_CURRENT_DECIAMPS,
        );
    };
    if let Some(unbalance) = fixed.unbalance {
        current("unbalance_deciampere", unbalance);
    }
    if let Some(primary) = fixed.primary {
        current("primary_line_deciampere", primary.line);
        faults.within(
            format!("{field}.turns_ratio_permille"),
            "‰",
            i64::from(primary.turns_ratio_permille),
            1..=MAX_TURNS_RATIO_PERMILLE,
        );
    }
}

/// The faults of a limit that arrives by itself.
pub fn check_node_limit(limit: &NodeLimit) -> Result<(), Rejection> {
    let mut faults = Faults::default();
    check_limit("limit", limit, &mut faults);
    faults.require(
        limit.line.is_some() || limit.total.is_some(),
        "limit",
        "limits nothing",
        "neither line_deciampere nor total_watt",
        "at least one of them; zero is legal",
    );
    faults.finish(())
}

fn check_connector(field: &str, connector: &Connector, faults: &mut Faults) {
    faults.within(
        format!("{field}.nominal_volt"),
        "V",
        connector.volt.volts(),
        MIN_VOLTS..=MAX_VOLTS,
    );
    let unit = match &connector.wiring {
        Wiring::Dc {
            efficiency_percent,
            standby,
        } => {
            faults.within(
                format!("{field}.dc.efficiency_percent"),
                "%",
                i64::from(*efficiency_percent),
                50..=100,
            );
            faults.within(format!("{field}.dc.standby_watt"), "W", standby.watts(), 0..=100_000);
            RateUnit::Watt
        }
        Wiring::Star(phases) => {
            let mut sorted: Vec<Phase> = phases.clone();
            sorted.sort_unstable();
            sorted.dedup();
            faults.require(
                !phases.is_empty() && sorted.len() == phases.len(),
                format!("{field}.star.phases"),
                "is not a wiring",
                format_args!("{phases:?}"),
                "one to three of L1, L2, L3, none twice",
            );
            RateUnit::DeciAmpere
        }
        Wiring::StarUnknown { phases } => {
            faults.within(
                format!("{field}.star_unknown.phase_count"),
                "phases",
                i64::from(*phases),
                1..=3,
            );
            RateUnit::DeciAmpere
        }
        Wiring::Delta(_) => RateUnit::DeciAmpere,
    };
    let (most, least_minimum) = match unit {
        RateUnit::DeciAmpere => (MAX_CONNECTOR_DECIAMPS, 60),
        RateUnit::Watt => (MAX_CONNECTOR_WATTS, 1),
    };
    let name = match unit {
        RateUnit::DeciAmpere => "current_deciampere",
        RateUnit::Watt => "power_watt",
    };
    let unit = unit.to_string();
    let maximum = faults.within(
        format!("{field}.maximum.{name}"),
        &unit,
        connector.maximum.value(),
        1..=most,
    );
    // Between 0 and 6 A means nothing to a car (IEC 61851-1).
    let minimum = faults.within(
        format!("{field}.minimum.{name}"),
        &unit,
        connector.minimum.value(),
        least_minimum..=most,
    );
    if let (Some(minimum), Some(maximum)) = (minimum, maximum) {
        faults.require(
            minimum <= maximum,
            format!("{field}.minimum.{name}"),
            "is above the maximum",
            format_args!("{minimum} {unit}"),
            format_args!("at most {maximum} {unit}"),
        );
        if let Some(default) = connector.default {
            let default = default.value();
            faults.require(
                default == 0 || (minimum..=maximum).contains(&default),
                format!("{field}.default_rate.{name}"),
                "is neither zero nor between minimum and maximum",
                format_args!("{default} {unit}"),
                format_args!("0, or {minimum} to {maximum} {unit}"),
            );
        }
    }
    match &connector.steps {
        Steps::Multiple(step) => {
            faults.require(
                (1..=connector.maximum.value()).contains(&step.value()),
                format!("{field}.step.{name}"),
                "is out of range",
                format_args!("{step} {unit}"),
                format_args!("1 {unit} to the maximum"),
            );
        }
        Steps::Listed(rates) => {
            let ascending = rates.windows(2).all(|pair| pair[0] < pair[1]);
            let inside = rates
                .iter()
                .all(|rate| (connector.minimum..=connector.maximum).contains(rate));
            faults.require(
                !rates.is_empty() && rates.len() <= MAX_LISTED_RATES && ascending && inside,
                format!("{field}.allowed_rates"),
                "is not a list of rates",
                format_args!("{} rates", rates.len()),
                format_args!(
                    "1 to {MAX_LISTED_RATES} rates from minimum to maximum, ascending; zero is always allowed and not listed"
                ),
            );
        }
    }
    faults.within(
        format!("{field}.max_profile_periods"),
        "periods",
        i64::from(connector.max_profile_periods),
        2..=1_000,
    );
}
