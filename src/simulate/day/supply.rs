//! How the site is built: from a network file, or, where nothing is known, one limit above all EVSEs.
//!
//! Decides what of a real supply becomes nodes, limits and connectors, always to the safe side.

use super::sessions::Row;
use super::tariff::Tariff;
use super::{DayEvse, SupplySource};
use crate::domain::bounds::{MAX_CONNECTOR_DECIAMPS, MAX_CURRENT_DECIAMPS, MAX_VOLTS, MIN_VOLTS};
use crate::domain::conversion::{Phase, PhasePair, Rate, Wiring};
use crate::domain::driver::DriverPolicy;
use crate::domain::ids::{ConnectorId, EvseId, GatewayId, NodeId, SiteId, StationId, TenantId};
use crate::domain::limits::{FixedLimits, NodeLimit, PrimaryLimit};
use crate::domain::site::{Connector, Evse, Fairness, Mode, Node, Site, SiteSpec, Station, Steps};
use crate::units::{DeciAmps, Seconds, Volts, Watts};
use anyhow::{Context, bail, ensure};
use chrono_tz::Tz;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

pub const TENANT: &str = "demo";
pub const GATEWAY: &str = "demo-gateway";
pub const GRID_CONNECTION: &str = "grid";
/// An EVSE of which nothing is known.
const USUAL_MAXIMUM: DeciAmps = DeciAmps::from_deciamps(320);
/// A pilot below this tells a car to pause (IEC 61851-1).
pub const LEAST_PILOT: DeciAmps = DeciAmps::from_deciamps(60);
const WHOLE_AMPERE: Rate = Rate::new(10);

/// What is taken to be there where no network is given.
#[derive(Clone, Debug)]
pub struct Unmapped {
    pub time_zone: String,
    /// Between phase and neutral.
    pub volt: Volts,
    /// On how many phases every EVSE charges, 1 to 3.
    pub phases: u8,
}

/// How an EVSE is connected: where its current flows, and what an ampere of it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wires {
    pub wiring: Wiring,
    pub volt: Volts,
    pub maximum: DeciAmps,
}

impl Wires {
    /// Power of a current on every phase.
    pub fn power(&self, current: DeciAmps) -> Watts {
        Watts::from_watts(current.deciamps() * self.volt.volts() * self.phases() / 10)
    }

    /// The current of a power.
    pub fn current(&self, power: Watts) -> DeciAmps {
        DeciAmps::from_deciamps(power.watts() * 10 / (self.volt.volts() * self.phases()))
    }

    pub fn phases(&self) -> i64 {
        match &self.wiring {
            Wiring::Star(phases) => phases.len() as i64,
            _ => 1,
        }
    }
}

/// The site and its EVSEs.
pub struct Supply {
    pub site: Site,
    pub evses: Vec<DayEvse>,
}

impl Supply {
    /// `rows` are the sessions: where there is no network they say which EVSEs there are.
    pub fn read(source: &SupplySource, rows: &[Row], grid_limit: Watts, tariff: &Tariff) -> anyhow::Result<Self> {
        let built = match source {
            SupplySource::Network { json, site } => Built::from_network(json, site, grid_limit)?,
            SupplySource::Unmapped(unmapped) => Built::from_sessions(unmapped, rows, grid_limit)?,
        };
        let panels: HashMap<String, String> = built.panels.into_iter().collect();
        let spec = SiteSpec {
            tenant: TenantId::parse(TENANT)?,
            id: SiteId::parse(&built.id)?,
            time_zone: built.time_zone,
            currency: tariff.currency.clone(),
            mode: Mode::Control,
            lease: Seconds::from_mins(15),
            clock_skew: Seconds::from_secs(10),
            reserve_permille: 30,
            slot: Seconds::from_mins(15),
            trust_unmetered: false,
            fairness: Fairness::MaxMin,
            demand_charge_micros_per_kw: Some(tariff.demand_micros_per_kw()),
            peak_so_far: Watts::ZERO,
            gateway: Some(GatewayId::parse(GATEWAY)?),
            drivers: DriverPolicy::default(),
            nodes: built.nodes,
            stations: built.stations,
        };
        let site = Site::new(spec)?;
        let evses = site
            .evses()
            .map(|(place, evse)| DayEvse {
                id: evse.id.clone(),
                place,
                wires: wires_of(evse),
                panel: panels.get(evse.id.as_str()).cloned().unwrap_or_default(),
            })
            .collect();
        Ok(Self { site, evses })
    }
}

fn wires_of(evse: &Evse) -> Wires {
    let connector = &evse.connectors[0];
    Wires {
        wiring: connector.wiring.clone(),
        volt: connector.volt,
        maximum: DeciAmps::from_deciamps(connector.maximum.value()),
    }
}

/// The time zone of the site.
pub fn zone(source: &SupplySource) -> anyhow::Result<Tz> {
    let name = match source {
        SupplySource::Network { json, site } => NetworkFile::site(json, site)?.1.time_zone,
        SupplySource::Unmapped(unmapped) => unmapped.time_zone.clone(),
    };
    name.parse()
        .map_err(|_| anyhow::anyhow!("{name:?} is no time zone such as Europe/Stockholm"))
}

/// What a site is described from.
struct Built {
    id: String,
    time_zone: String,
    nodes: Vec<Node>,
    stations: Vec<Station>,
    /// The panel of each EVSE.
    panels: Vec<(String, String)>,
}

impl Built {
    fn from_network(json: &str, site: &str, grid_limit: Watts) -> anyhow::Result<Self> {
        let (types, site) = NetworkFile::site(json, site)?;
        Ok(Self {
            nodes: site.nodes(grid_limit)?,
            stations: site
                .evses
                .iter()
                .map(|row| site.station(row, &types))
                .collect::<anyhow::Result<_>>()?,
            panels: site
                .evses
                .iter()
                .map(|row| (row.id.clone(), row.group.clone()))
                .collect(),
            id: site.site,
            time_zone: site.time_zone,
        })
    }

    fn from_sessions(unmapped: &Unmapped, rows: &[Row], grid_limit: Watts) -> anyhow::Result<Self> {
        ensure!(
            (1..=3).contains(&unmapped.phases),
            "{} phases are not one, two or three",
            unmapped.phases
        );
        let wiring = Wiring::Star(Phase::ALL[..usize::from(unmapped.phases)].to_vec());
        let mut maxima: BTreeMap<&str, Option<Watts>> = BTreeMap::new();
        for row in rows {
            let known = maxima.entry(&row.evse).or_default();
            *known = (*known).max(row.session.maximum);
        }
        let station = |(id, maximum): (&str, Option<Watts>)| {
            let wires = Wires {
                wiring: wiring.clone(),
                volt: unmapped.volt,
                maximum: USUAL_MAXIMUM,
            };
            let current = maximum
                .map_or(USUAL_MAXIMUM, |maximum| wires.current(maximum))
                .max(LEAST_PILOT);
            ensure!(
                current.deciamps() <= MAX_CONNECTOR_DECIAMPS,
                "EVSE {id} takes {current}, more than any AC connector: give its --volts and --phases"
            );
            let whole_amperes = Rate::new(current.deciamps() / 10 * 10);
            station(
                id,
                GRID_CONNECTION,
                connector(
                    wires.wiring,
                    unmapped.volt,
                    whole_amperes,
                    Steps::Multiple(WHOLE_AMPERE),
                )?,
            )
        };
        Ok(Self {
            id: "parking".to_owned(),
            time_zone: unmapped.time_zone.clone(),
            nodes: vec![grid_connection(grid_limit)?],
            panels: maxima.keys().map(|id| ((*id).to_owned(), "all".to_owned())).collect(),
            stations: maxima.into_iter().map(station).collect::<anyhow::Result<_>>()?,
        })
    }
}

fn connector(wiring: Wiring, volt: Volts, maximum: Rate, steps: Steps) -> anyhow::Result<Connector> {
    let minimum = match &steps {
        Steps::Listed(rates) => rates.first().copied().context("an EVSE has no pilot steps")?,
        Steps::Multiple(_) => Rate::new(LEAST_PILOT.deciamps()),
    };
    Ok(Connector {
        id: ConnectorId::parse("1")?,
        wiring,
        volt,
        minimum,
        maximum,
        default: Some(Rate::ZERO),
        steps,
        max_profile_periods: 24,
    })
}

fn station(id: &str, node: &str, connector: Connector) -> anyhow::Result<Station> {
    Ok(Station {
        id: StationId::parse(id)?,
        node: NodeId::parse(node)?,
        limit: NodeLimit::default(),
        evses: vec![Evse {
            id: EvseId::parse(id)?,
            controllable: true,
            metered: true,
            connectors: vec![connector],
        }],
    })
}

fn grid_connection(limit: Watts) -> anyhow::Result<Node> {
    node(GRID_CONNECTION, None, total_limit(limit))
}

fn node(id: &str, parent: Option<&str>, limit: NodeLimit) -> anyhow::Result<Node> {
    Ok(Node {
        id: NodeId::parse(id)?,
        parent: parent.map(NodeId::parse).transpose()?,
        limit,
        fixed: FixedLimits::default(),
        base_load_line: DeciAmps::ZERO,
        base_load_total: Watts::ZERO,
        meter: Default::default(),
    })
}

fn total_limit(limit: Watts) -> NodeLimit {
    NodeLimit {
        line: None,
        total: Some(limit),
    }
}

fn line_limit(line: DeciAmps) -> NodeLimit {
    NodeLimit {
        line: Some(line),
        total: None,
    }
}

#[derive(Deserialize)]
struct NetworkFile {
    evse_types: HashMap<String, EvseType>,
    sites: Vec<SiteRow>,
}

/// Pilots that an EVSE can give: these, or anything between two.
#[derive(Clone, Deserialize)]
struct EvseType {
    pilot_amps: Option<Vec<i64>>,
    pilot_amps_range: Option<[i64; 2]>,
}

#[derive(Deserialize)]
struct SiteRow {
    site: String,
    time_zone: String,
    evse_volts: i64,
    transformers: Vec<TransformerRow>,
    line_limits: Vec<PanelRow>,
    evses: Vec<EvseRow>,
}

#[derive(Deserialize)]
struct TransformerRow {
    id: String,
    groups: Vec<String>,
    secondary_line_limit_a: f64,
    primary_line_limit_a: f64,
    turns_ratio: f64,
}

#[derive(Deserialize)]
struct PanelRow {
    group: String,
    kind: String,
    limit_a: f64,
}

#[derive(Deserialize)]
struct EvseRow {
    id: String,
    lines: String,
    #[serde(rename = "type")]
    kind: String,
    group: String,
}

impl NetworkFile {
    fn site(json: &str, name: &str) -> anyhow::Result<(HashMap<String, EvseType>, SiteRow)> {
        let file: Self = serde_json::from_str(json).context("network")?;
        let known: Vec<String> = file.sites.iter().map(|site| site.site.clone()).collect();
        let site = file
            .sites
            .into_iter()
            .find(|site| site.site == name)
            .with_context(|| format!("network: no site {name:?} among {}", known.join(", ")))?;
        ensure!(
            (MIN_VOLTS..=MAX_VOLTS).contains(&site.evse_volts),
            "network: evse_volts is {}, not {MIN_VOLTS} to {MAX_VOLTS}",
            site.evse_volts
        );
        Ok((file.evse_types, site))
    }
}

impl TransformerRow {
    /// Both sides are limits of the node: EVSEs hang on the secondary, and load the delta primary by the difference of two lines.
    fn node(&self) -> anyhow::Result<Node> {
        let secondary = line_limit(floor_deciamps(self.secondary_line_limit_a)?);
        let primary = PrimaryLimit {
            line: floor_deciamps(self.primary_line_limit_a)?,
            turns_ratio_permille: (self.turns_ratio * 1000.0).floor() as u32,
        };
        Ok(Node {
            fixed: FixedLimits {
                unbalance: None,
                primary: Some(primary),
            },
            ..node(&self.id, Some(GRID_CONNECTION), secondary)?
        })
    }
}

impl SiteRow {
    /// Grid connection, then transformers, then the panels that have a limit of their own.
    fn nodes(&self, grid_limit: Watts) -> anyhow::Result<Vec<Node>> {
        let mut nodes = vec![grid_connection(grid_limit)?];
        for transformer in &self.transformers {
            nodes.push(transformer.node()?);
        }
        for panel in &self.line_limits {
            let transformer = self.transformer_of(&panel.group)?;
            nodes.push(node(&panel.group, Some(&transformer.id), self.panel_limit(panel)?)?);
        }
        Ok(nodes)
    }

    fn panel_limit(&self, panel: &PanelRow) -> anyhow::Result<NodeLimit> {
        let current = floor_deciamps(panel.limit_a)?;
        let members = || self.evses.iter().filter(|evse| evse.group == panel.group);
        let one_pair = members().all(|evse| members().next().is_some_and(|first| first.lines == evse.lines));
        match panel.kind.as_str() {
            "line_amps" => Ok(line_limit(current)),
            // Between the same two lines the sum is what each line carries.
            "sum_of_evse_amps" if one_pair => Ok(line_limit(current)),
            "sum_of_evse_amps" => Ok(total_limit(Watts::from_watts(
                current.deciamps() * self.evse_volts / 10,
            ))),
            other => bail!("network: panel {} has a limit of unknown kind {other:?}", panel.group),
        }
    }

    fn transformer_of(&self, group: &str) -> anyhow::Result<&TransformerRow> {
        self.transformers
            .iter()
            .find(|transformer| transformer.groups.iter().any(|member| member == group))
            .with_context(|| format!("network: no transformer feeds {group}"))
    }

    fn station(&self, row: &EvseRow, types: &HashMap<String, EvseType>) -> anyhow::Result<Station> {
        let has_panel = self.line_limits.iter().any(|panel| panel.group == row.group);
        let node = if has_panel {
            &row.group
        } else {
            &self.transformer_of(&row.group)?.id
        };
        let kind = types
            .get(&row.kind)
            .with_context(|| format!("network: EVSE {} is of unknown type {:?}", row.id, row.kind))?;
        let (steps, maximum) = kind.steps()?;
        let volt = Volts::from_volts(self.evse_volts);
        station(
            &row.id,
            node,
            connector(Wiring::Delta(row.pair()?), volt, maximum, steps)?,
        )
    }
}

impl EvseType {
    fn steps(&self) -> anyhow::Result<(Steps, Rate)> {
        if let Some([_, most]) = self.pilot_amps_range {
            return Ok((Steps::Multiple(Rate::new(1)), pilot(most)?));
        }
        let pilots: Vec<Rate> = (self.pilot_amps.iter().flatten())
            .filter(|amps| **amps > 0)
            .map(|amps| pilot(*amps))
            .collect::<anyhow::Result<_>>()?;
        let most = pilots.last().copied().context("network: an EVSE type has no pilots")?;
        Ok((Steps::Listed(pilots), most))
    }
}

impl EvseRow {
    fn pair(&self) -> anyhow::Result<PhasePair> {
        match self.lines.as_str() {
            "AB" => Ok(PhasePair::L1L2),
            "BC" => Ok(PhasePair::L2L3),
            "CA" => Ok(PhasePair::L3L1),
            other => bail!("network: {} lies between unknown lines {other:?}", self.id),
        }
    }
}

fn pilot(amps: i64) -> anyhow::Result<Rate> {
    const MOST: i64 = MAX_CONNECTOR_DECIAMPS / 10;
    ensure!(
        (0..=MOST).contains(&amps),
        "network: a pilot of {amps} A, not 0 to {MOST} A"
    );
    Ok(Rate::new(amps * 10))
}

fn floor_deciamps(amps: f64) -> anyhow::Result<DeciAmps> {
    const MOST: f64 = MAX_CURRENT_DECIAMPS as f64 / 10.0;
    ensure!(
        (0.0..=MOST).contains(&amps),
        "network: a limit of {amps} A, not 0 to {MOST} A"
    );
    Ok(DeciAmps::from_deciamps((amps * 10.0).floor() as i64))
}
