//! The day that is played: one real workplace day, its site as it is built, and what energy costs there.
//!
//! Decides how the carried data is read. Reads nothing at run time: the data is part of the program.

use crate::domain::conversion::{PhasePair, Rate, Wiring};
use crate::domain::ids::{ConnectorId, EvseId, GatewayId, NodeId, SiteId, StationId, TenantId};
use crate::domain::limits::NodeLimit;
use crate::domain::site::{Connector, Evse, Fairness, Mode, Node, Site, SiteSpec, Station, Steps};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, Volts, WattSeconds, Watts};
use anyhow::{Context, ensure};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde::Deserialize;

const SESSIONS: &str = include_str!("data/jpl_2019-11-20.csv");
const NETWORK: &str = include_str!("data/jpl_network.json");
const TARIFF: &str = include_str!("data/sce_tou_ev_4.json");
const DATE: NaiveDate = NaiveDate::from_ymd_opt(2019, 11, 20).expect("is a date");

/// What the site may draw from the grid. The data has no limit above the two transformers (195 kVA together), so this one is ours:
/// six tenths of the 251 kW that the cars would draw if nobody held them back. It binds all morning, and yet leaves room for every
/// kilowatt-hour that the cars took that day.
const GRID_LIMIT: Watts = Watts::from_watts(150_000);
/// The site manager's cut, announced to nobody: half of it for two hours.
const CUT_LIMIT: Watts = Watts::from_watts(75_000);
const CUT_FROM_HOUR: i64 = 12;
const CUT_UNTIL_HOUR: i64 = 14;
/// The day is played from the hour before the first car, 03:00 local time, for 24 hours: the last car leaves at 02:12.
const FIRST_HOUR: i64 = 3;

pub const TENANT: &str = "demo";
pub const GATEWAY: &str = "demo-gateway";
pub const GRID_CONNECTION: &str = "grid";

/// A session as it really was, and what the driver said beforehand.
#[derive(Clone, Debug)]
pub struct DaySession {
    pub id: String,
    /// Index into [`Day::evses`].
    pub evse: usize,
    pub arrival: Instant,
    /// When the car really left.
    pub departure: Instant,
    /// What the car really took.
    pub energy: WattSeconds,
    /// What the driver asked for.
    pub requested: Option<WattSeconds>,
    /// When the driver said to leave.
    pub requested_departure: Option<Instant>,
}

/// A lower limit on the grid connection, from one instant to another.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub from: Instant,
    pub until: Instant,
    pub limit: Watts,
}

/// Everything that is given about the day.
#[derive(Clone, Debug)]
pub struct Day {
    pub date: NaiveDate,
    pub zone: Tz,
    pub start: Instant,
    pub end: Instant,
    pub site: Site,
    /// In the order of the site's description.
    pub evses: Vec<DayEvse>,
    /// By arrival.
    pub sessions: Vec<DaySession>,
    pub volt: Volts,
    pub grid_limit: Watts,
    pub cut: Cut,
    pub prices: Timeline<MicrosPerKwh>,
    pub tariff_name: String,
    /// On the highest quarter-hour of the month.
    pub demand_micros_per_kw: i64,
}

/// An EVSE with its place in the supply.
#[derive(Clone, Debug)]
pub struct DayEvse {
    pub id: EvseId,
    /// Index into the site's places.
    pub place: usize,
    pub pair: PhasePair,
    /// The panel it hangs under, for people.
    pub panel: String,
}

impl Day {
    /// The day carried with the program.
    pub fn carried() -> anyhow::Result<Self> {
        Self::read(SESSIONS, NETWORK, TARIFF).context("the day carried with the program")
    }

    fn read(sessions: &str, network: &str, tariff: &str) -> anyhow::Result<Self> {
        let network: NetworkFile = serde_json::from_str(network).context("network")?;
        let tariff: TariffFile = serde_json::from_str(tariff).context("tariff")?;
        let zone: Tz = network.time_zone.parse().context("time zone")?;
        let demand_micros_per_kw = micros(tariff.demand_usd_per_kw_month);
        let site = Site::new(network.site_spec(&tariff, demand_micros_per_kw)?)?;
        let evses = network.day_evses(&site)?;
        let sessions = read_sessions(sessions, &evses)?;
        let start = local_hour(zone, DATE, FIRST_HOUR)?;
        Ok(Self {
            date: DATE,
            zone,
            start,
            end: start + Seconds::from_hours(24),
            evses,
            sessions,
            volt: Volts::from_volts(network.evse_volts),
            grid_limit: GRID_LIMIT,
            cut: Cut {
                from: local_hour(zone, DATE, CUT_FROM_HOUR)?,
                until: local_hour(zone, DATE, CUT_UNTIL_HOUR)?,
                limit: CUT_LIMIT,
            },
            prices: tariff.prices(zone)?,
            tariff_name: format!("{} ({})", tariff.name, tariff.season),
            demand_micros_per_kw,
            site,
        })
    }

    /// Hours and minutes of an instant in the site's own time.
    pub fn clock_time(&self, at: Instant) -> String {
        match self.zone.timestamp_opt(at.unix_secs(), 0).single() {
            Some(local) => local.format("%H:%M").to_string(),
            None => at.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct NetworkFile {
    site: String,
    time_zone: String,
    evse_volts: i64,
    pilot_amps: Vec<i64>,
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
    limit_a: f64,
}

#[derive(Deserialize)]
struct EvseRow {
    id: String,
    lines: String,
    group: String,
}

impl TransformerRow {
    /// What each secondary line may carry so that neither winding is overloaded. A primary line carries the difference of two
    /// secondary lines over the turns ratio: for currents that add to zero that is twice the larger one at most.
    fn line_limit(&self) -> DeciAmps {
        floor_deciamps(
            self.secondary_line_limit_a
                .min(self.primary_line_limit_a * self.turns_ratio / 2.0),
        )
    }
}

impl NetworkFile {
    fn site_spec(&self, tariff: &TariffFile, demand_micros_per_kw: i64) -> anyhow::Result<SiteSpec> {
        Ok(SiteSpec {
            tenant: TenantId::parse(TENANT)?,
            id: SiteId::parse(&self.site)?,
            time_zone: self.time_zone.clone(),
            currency: tariff.currency.clone(),
            mode: Mode::Control,
            lease: Seconds::from_mins(15),
            clock_skew: Seconds::from_secs(10),
            reserve_permille: 30,
            slot: Seconds::from_mins(15),
            trust_unmetered: false,
            fairness: Fairness::MaxMin,
            demand_charge_micros_per_kw: Some(demand_micros_per_kw),
            peak_so_far: Watts::ZERO,
            gateway: Some(GatewayId::parse(GATEWAY)?),
            nodes: self.nodes()?,
            stations: self
                .evses
                .iter()
                .map(|row| self.station(row))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Grid connection, then transformers, then the panels that have a limit of their own.
    fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let mut nodes = vec![node(
            GRID_CONNECTION,
            None,
            NodeLimit {
                line: None,
                total: Some(GRID_LIMIT),
            },
        )?];
        for transformer in &self.transformers {
            nodes.push(node(
                &transformer.id,
                Some(GRID_CONNECTION),
                line_limit(transformer.line_limit()),
            )?);
        }
        for panel in &self.line_limits {
            let transformer = self.transformer_of(&panel.group)?;
            nodes.push(node(
                &panel.group,
                Some(&transformer.id),
                line_limit(floor_deciamps(panel.limit_a)),
            )?);
        }
        Ok(nodes)
    }

    fn transformer_of(&self, group: &str) -> anyhow::Result<&TransformerRow> {
        self.transformers
            .iter()
            .find(|transformer| transformer.groups.iter().any(|member| member == group))
            .with_context(|| format!("no transformer feeds {group}"))
    }

    fn station(&self, row: &EvseRow) -> anyhow::Result<Station> {
        let has_panel = self.line_limits.iter().any(|panel| panel.group == row.group);
        let node = if has_panel {
            &row.group
        } else {
            &self.transformer_of(&row.group)?.id
        };
        let pilots: Vec<Rate> = self
            .pilot_amps
            .iter()
            .filter(|amps| **amps > 0)
            .map(|amps| Rate::new(amps * 10))
            .collect();
        let (Some(minimum), Some(maximum)) = (pilots.first().copied(), pilots.last().copied()) else {
            anyhow::bail!("an EVSE has no pilot steps");
        };
        Ok(Station {
            id: StationId::parse(&row.id)?,
            node: NodeId::parse(node)?,
            limit: NodeLimit::default(),
            evses: vec![Evse {
                id: EvseId::parse(&row.id)?,
                controllable: true,
                metered: true,
                connectors: vec![Connector {
                    id: ConnectorId::parse("1")?,
                    wiring: Wiring::Delta(row.pair()?),
                    volt: Volts::from_volts(self.evse_volts),
                    minimum,
                    maximum,
                    default: Some(Rate::ZERO),
                    steps: Steps::Listed(pilots),
                    max_profile_periods: 24,
                }],
            }],
        })
    }

    fn day_evses(&self, site: &Site) -> anyhow::Result<Vec<DayEvse>> {
        self.evses
            .iter()
            .map(|row| {
                let id = EvseId::parse(&row.id)?;
                Ok(DayEvse {
                    place: site.place_of_evse(&id).context("every EVSE has a place")?,
                    id,
                    pair: row.pair()?,
                    panel: row.group.clone(),
                })
            })
            .collect()
    }
}

impl EvseRow {
    fn pair(&self) -> anyhow::Result<PhasePair> {
        match self.lines.as_str() {
            "AB" => Ok(PhasePair::L1L2),
            "BC" => Ok(PhasePair::L2L3),
            "CA" => Ok(PhasePair::L3L1),
            other => anyhow::bail!("{} lies between unknown lines {other}", self.id),
        }
    }
}

#[derive(Deserialize)]
struct TariffFile {
    name: String,
    currency: String,
    season: String,
    demand_usd_per_kw_month: f64,
    start_hours: Vec<i64>,
    usd_per_kwh: Vec<f64>,
}

impl TariffFile {
    /// For the day and the one after, so that a plan made in the evening sees the morning.
    fn prices(&self, zone: Tz) -> anyhow::Result<Timeline<MicrosPerKwh>> {
        let next = DATE.succ_opt().context("the day has a next")?;
        let mut points = Vec::new();
        for date in [DATE, next] {
            for (hour, usd) in self.start_hours.iter().zip(&self.usd_per_kwh) {
                points.push((
                    local_hour(zone, date, *hour)?,
                    MicrosPerKwh::from_micros_per_kwh(micros(*usd)),
                ));
            }
        }
        Ok(Timeline::from_points(points))
    }
}

fn read_sessions(csv: &str, evses: &[DayEvse]) -> anyhow::Result<Vec<DaySession>> {
    let mut sessions = Vec::new();
    for (number, line) in csv.lines().enumerate().skip(1) {
        sessions.push(read_session(line, evses).with_context(|| format!("sessions, line {}", number + 1))?);
    }
    sessions.sort_by_key(|session| session.arrival);
    Ok(sessions)
}

fn read_session(line: &str, evses: &[DayEvse]) -> anyhow::Result<DaySession> {
    let fields: Vec<&str> = line.split(',').collect();
    let [id, evse, arrival, departure, energy, requested, requested_departure] = fields.as_slice() else {
        anyhow::bail!("has {} fields, not 7", fields.len());
    };
    let arrival = instant(arrival)?;
    let departure = instant(departure)?;
    ensure!(arrival < departure, "leaves before it arrives");
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(DaySession {
        id: (*id).to_owned(),
        evse: evses
            .iter()
            .position(|candidate| candidate.id.as_str() == *evse)
            .with_context(|| format!("no EVSE {evse}"))?,
        arrival,
        departure,
        energy: kilowatt_hours(energy)?,
        requested: given(requested).map(|text| kilowatt_hours(&text)).transpose()?,
        requested_departure: given(requested_departure).map(|text| instant(&text)).transpose()?,
    })
}

fn instant(text: &str) -> anyhow::Result<Instant> {
    let time = DateTime::parse_from_rfc3339(text).with_context(|| format!("{text} is no time"))?;
    Ok(Instant::from_unix_secs(time.timestamp()))
}

fn kilowatt_hours(text: &str) -> anyhow::Result<WattSeconds> {
    let kilowatt_hours: f64 = text.parse().with_context(|| format!("{text} is no number"))?;
    ensure!((0.0..10_000.0).contains(&kilowatt_hours), "{text} kWh is out of range");
    Ok(WattSeconds::from_watt_seconds((kilowatt_hours * 3.6e6).round() as i64))
}

fn local_hour(zone: Tz, date: NaiveDate, hour: i64) -> anyhow::Result<Instant> {
    let local = date.and_time(NaiveTime::MIN) + TimeDelta::hours(hour);
    let time = zone
        .from_local_datetime(&local)
        .single()
        .context("an hour that the clock shows once")?;
    Ok(Instant::from_unix_secs(time.timestamp()))
}

fn micros(amount: f64) -> i64 {
    (amount * 1e6).round() as i64
}

fn floor_deciamps(amps: f64) -> DeciAmps {
    DeciAmps::from_deciamps((amps * 10.0).floor() as i64)
}

fn line_limit(line: DeciAmps) -> NodeLimit {
    NodeLimit {
        line: Some(line),
        total: None,
    }
}

fn node(id: &str, parent: Option<&str>, limit: NodeLimit) -> anyhow::Result<Node> {
    Ok(Node {
        id: NodeId::parse(id)?,
        parent: parent.map(NodeId::parse).transpose()?,
        limit,
        base_load_line: DeciAmps::ZERO,
        base_load_total: Watts::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_day_is_the_one_the_attribution_names() {
        let day = Day::carried().unwrap();
        assert_eq!(day.sessions.len(), 79);
        assert_eq!(day.evses.len(), 52);
        let energy: WattSeconds = day.sessions.iter().map(|session| session.energy).sum();
        assert_eq!(energy.floor_watt_hours(), 1_365_149);
        assert!(
            day.sessions
                .iter()
                .all(|session| session.arrival > day.start && session.departure < day.end)
        );
    }

    #[test]
    fn no_two_cars_are_at_one_evse_at_a_time() {
        let day = Day::carried().unwrap();
        for (index, later) in day.sessions.iter().enumerate() {
            for earlier in &day.sessions[..index] {
                assert!(
                    earlier.evse != later.evse || earlier.departure < later.arrival,
                    "{} and {}",
                    earlier.id,
                    later.id
                );
            }
        }
    }

    #[test]
    fn prices_follow_the_clock_of_the_site() {
        let day = Day::carried().unwrap();
        let at = |text: &str| day.prices.at(instant(text).unwrap()).micros_per_kwh();
        // 11:59:59 and 12:00 in Los Angeles, where it is eight hours earlier.
        assert_eq!(at("2019-11-20T19:59:59Z"), 74_920);
        assert_eq!(at("2019-11-20T20:00:00Z"), 86_900);
        assert_eq!(day.clock_time(day.cut.from), "12:00");
    }

    #[test]
    fn a_transformer_is_held_on_both_sides() {
        let day = Day::carried().unwrap();
        let limit = |id: &str| {
            let place = day.site.place_of_node(&NodeId::parse(id).unwrap()).unwrap();
            day.site.places()[place].limit.line.map(DeciAmps::deciamps)
        };
        // 54.15 A × 4 / 2 is less than the 125 A of the secondary; 180.51 A × 4 / 2 less than its 416.67 A.
        assert_eq!(limit("t_floor1"), Some(1083));
        assert_eq!(limit("t_floor34"), Some(3610));
        assert_eq!(limit("sp1"), Some(1000));
        assert_eq!(limit(GRID_CONNECTION), None);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = Day::read("header\nonly,three,fields", NETWORK, TARIFF).unwrap_err();
        assert_eq!(format!("{error:#}"), "sessions, line 2: has 3 fields, not 7");
    }
}
