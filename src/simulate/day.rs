//! The day that is played: real sessions, their site as it is built, and what energy costs there.
//!
//! Decides how the data is read, which hours are played and what the grid connection may carry. Files are read by others: here they
//! are text. The day carried with the program is read the same way as any other.

mod sessions;
mod supply;
mod tariff;

use crate::domain::ids::EvseId;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::{Instant, MicrosPerKwh, Seconds, WattSeconds, Watts};
use anyhow::{Context, ensure};
use chrono::{NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use supply::Supply;
pub use supply::{GATEWAY, GRID_CONNECTION, LEAST_PILOT, TENANT, Unmapped, Wires};

const SESSIONS: &str = include_str!("data/jpl_2019-11-20.csv");
const NETWORK: &str = include_str!("data/jpl_network.json");
const TARIFF: &str = include_str!("data/sce_tou_ev_4.json");
const DATE: NaiveDate = NaiveDate::from_ymd_opt(2019, 11, 20).expect("is a date");
const SITE: &str = "jpl";

/// What the carried site may draw from the grid: the usual limit of [`super::baseline`].
const GRID_LIMIT: Watts = Watts::from_watts(150_000);
/// The site manager's cut, announced to nobody: half of it for two hours.
const CUT_PERCENT: i64 = 50;
const CUT_FROM_HOUR: i64 = 12;
const CUT_LENGTH: Seconds = Seconds::from_hours(2);
/// From the first arrival no more than this is played.
const LONGEST: Seconds = Seconds::from_hours(48);

/// Where a day is read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Sessions as CSV with a header; which columns it must have is said in the README.
    pub sessions: String,
    /// The local day on which the cars arrive.
    pub date: NaiveDate,
    pub supply: SupplySource,
    /// What the grid connection may carry.
    pub grid_limit: Watts,
}

impl Source {
    /// The day carried with the program.
    pub fn carried() -> Self {
        Self {
            sessions: SESSIONS.to_owned(),
            date: DATE,
            supply: SupplySource::Network {
                json: NETWORK.to_owned(),
                site: SITE.to_owned(),
            },
            grid_limit: GRID_LIMIT,
        }
    }
}

/// How the site is built.
#[derive(Clone, Debug)]
pub enum SupplySource {
    /// A site of a network file, as JSON.
    Network { json: String, site: String },
    /// Nothing is known but the sessions.
    Unmapped(Unmapped),
}

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
    /// The most the car takes, where the data says.
    pub maximum: Option<Watts>,
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
    /// Sessions of the day that cannot be played, counted by reason.
    pub left_out: Vec<(String, usize)>,
    pub grid_limit: Watts,
    pub cut: Cut,
    pub prices: Timeline<MicrosPerKwh>,
    pub tariff_name: String,
    /// On the highest quarter-hour of the month.
    pub demand_micros_per_kw: i64,
    /// Carried with the program, not read from the caller's files.
    pub is_carried: bool,
}

/// An EVSE with its place in the supply.
#[derive(Clone, Debug)]
pub struct DayEvse {
    pub id: EvseId,
    /// Index into the site's places.
    pub place: usize,
    pub wires: Wires,
    /// The panel it hangs under, for people.
    pub panel: String,
}

impl Day {
    /// The day carried with the program.
    pub fn carried() -> anyhow::Result<Self> {
        let day = Self::read(&Source::carried()).context("the day carried with the program")?;
        Ok(Self {
            is_carried: true,
            ..day
        })
    }

    /// Any other day, or why it cannot be played.
    pub fn read(source: &Source) -> anyhow::Result<Self> {
        let grid_limit = source.grid_limit;
        let tariff = tariff::Tariff::read(TARIFF)?;
        let zone = supply::zone(&source.supply)?;
        let midnight = local_hour(zone, source.date, 0)?;
        let next_midnight = local_hour(zone, source.date.succ_opt().context("the date has no next day")?, 0)?;
        let rows = sessions::read(&source.sessions, midnight..next_midnight)?;
        let supply = Supply::read(&source.supply, &rows, grid_limit, &tariff)?;
        let (sessions, left_out) = sessions::at(rows, &supply.evses);
        ensure!(
            !sessions.is_empty(),
            "no session that can be played arrives on {} ({zone})",
            source.date
        );
        let hour = Seconds::from_hours(1);
        let start = sessions[0].arrival.floor_to(hour);
        let last = sessions.iter().map(|session| session.departure).max().unwrap_or(start);
        let end = (last.floor_to(hour) + hour).min(start + LONGEST);
        let noon = local_hour(zone, source.date, CUT_FROM_HOUR)?;
        // A garage fills in the evening: then the cut is on the day after, if that is played, else in the middle of it all.
        let cut_from = [noon, noon + Seconds::from_hours(24)]
            .into_iter()
            .find(|from| *from > start && *from + CUT_LENGTH < end)
            .unwrap_or_else(|| (start + Seconds::from_secs((end - start).secs() / 2)).floor_to(Seconds::from_mins(15)));
        Ok(Self {
            date: source.date,
            zone,
            start,
            end,
            evses: supply.evses,
            sessions,
            left_out,
            grid_limit,
            cut: Cut {
                from: cut_from,
                until: cut_from + CUT_LENGTH,
                limit: Watts::from_watts(grid_limit.watts() * CUT_PERCENT / 100),
            },
            prices: tariff.prices(zone, source.date)?,
            tariff_name: tariff.title(),
            demand_micros_per_kw: tariff.demand_micros_per_kw(),
            site: supply.site,
            is_carried: false,
        })
    }

    /// Hours and minutes of an instant in the site's own time.
    pub fn clock_time(&self, at: Instant) -> String {
        match self.zone.timestamp_opt(at.unix_secs(), 0).single() {
            Some(local) => local.format("%H:%M").to_string(),
            None => at.to_string(),
        }
    }

    /// The panels of the site, in the order of its description.
    pub fn panels(&self) -> Vec<&str> {
        let mut panels: Vec<&str> = Vec::new();
        for evse in &self.evses {
            if !panels.contains(&evse.panel.as_str()) {
                panels.push(&evse.panel);
            }
        }
        panels
    }
}

/// The first instant at which the clocks of `zone` show this hour; the hour after it where they skip it.
fn local_hour(zone: Tz, date: NaiveDate, hour: i64) -> anyhow::Result<Instant> {
    let local = date.and_time(NaiveTime::MIN) + TimeDelta::hours(hour);
    let time = zone
        .from_local_datetime(&local)
        .earliest()
        .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest())
        .context("an hour that the clocks never show")?;
    Ok(Instant::from_unix_secs(time.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::NodeId;
    use crate::units::DeciAmps;

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
        let instant =
            |text: &str| Instant::from_unix_secs(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp());
        let at = |text: &str| day.prices.at(instant(text)).micros_per_kwh();
        // 11:59:59 and 12:00 in Los Angeles, where it is eight hours earlier.
        assert_eq!(at("2019-11-20T19:59:59Z"), 74_920);
        assert_eq!(at("2019-11-20T20:00:00Z"), 86_900);
        assert_eq!(day.clock_time(day.cut.from), "12:00");
    }

    #[test]
    fn a_transformer_is_held_on_both_sides() {
        let day = Day::carried().unwrap();
        let limits = |id: &str| {
            let place = day.site.place_of_node(&NodeId::parse(id).unwrap()).unwrap();
            let capacity = day.site.places()[place].capacity();
            let secondary = capacity.line[0].map(DeciAmps::deciamps);
            (secondary, capacity.difference.map(|[first, ..]| first.deciamps()))
        };
        // 54.1 A and 180.5 A, times 4.
        assert_eq!(limits("t_floor1"), (Some(1250), Some(2164)));
        assert_eq!(limits("t_floor34"), (Some(4166), Some(7220)));
        assert_eq!(limits("sp1"), (Some(1000), None));
        assert_eq!(limits(GRID_CONNECTION), (None, None));
    }

    const LINES: &str = "session_id,evse_id,arrival,departure,energy_kwh,max_power_kw,requested_kwh,requested_departure\n\
        a 1,GARAGE-1,2024-01-15T16:00:00Z,2024-01-16T06:00:00Z,20.5,7.4,,\n\
        b,GARAGE-2,2024-01-15T17:30:00Z,2024-01-16T05:00:00Z,8,11,30,2024-01-15T17:00:00Z\n";

    fn garage(lines: &str) -> Source {
        Source {
            sessions: lines.to_owned(),
            date: NaiveDate::from_ymd_opt(2024, 1, 15).unwrap(),
            supply: SupplySource::Unmapped(Unmapped {
                time_zone: "Europe/Oslo".to_owned(),
                volt: crate::units::Volts::from_volts(230),
                phases: 3,
            }),
            grid_limit: Watts::from_watts(12_000),
        }
    }

    #[test]
    fn a_day_of_which_only_sessions_are_known_is_played_under_one_limit() {
        let day = Day::read(&garage(LINES)).unwrap();
        assert_eq!(day.site.places()[0].limit.total, Some(day.grid_limit));
        // 7.4 kW and 11 kW on three phases of 230 V, in whole amperes.
        let maxima: Vec<i64> = day.evses.iter().map(|evse| evse.wires.maximum.deciamps()).collect();
        assert_eq!(maxima, [100, 150]);
        assert_eq!(day.sessions[0].id, "a_1");
        // A driver who says to leave before he came has said nothing.
        assert_eq!(day.sessions[1].requested_departure, None);
        assert_eq!([day.start, day.end].map(|at| day.clock_time(at)), ["17:00", "08:00"]);
        // Nobody is there at noon, so the cut is in the middle of the night.
        assert!(day.cut.from > day.start && day.cut.until < day.end);
    }

    #[test]
    fn sessions_that_cannot_be_played_are_counted_by_reason() {
        let more = "c,GARAGE-1,2024-01-15T18:00:00Z,2024-01-15T19:00:00Z,1,,,\n\
            d,GARAGE-3,2024-01-15T18:00:00Z,2024-01-15T17:00:00Z,1,,,\n\
            b,GARAGE-3,2024-01-15T18:00:00Z,2024-01-15T19:00:00Z,1,,,\n\
            e,GARAGE-3,2024-01-16T18:00:00Z,2024-01-16T19:00:00Z,1,,,\n";
        let day = Day::read(&garage(&(LINES.to_owned() + more))).unwrap();
        assert_eq!(day.sessions.len(), 2);
        let reasons: Vec<&str> = day.left_out.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "its EVSE is still taken when it arrives",
                "leaves before it arrives",
                "has the id of another"
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_place() {
        let fault = |source: &Source| format!("{:#}", Day::read(source).unwrap_err());
        let with = |from: &str, to: &str| fault(&garage(&LINES.replace(from, to)));
        assert_eq!(
            with("20.5", "NaN"),
            "sessions, a 1 at GARAGE-1: energy_kwh is \"NaN\", not a number from 0 to 10000"
        );
        assert_eq!(
            with("2024-01-15T17:30:00Z", "yesterday"),
            "sessions, b at GARAGE-2: arrival is \"yesterday\", not a time such as 2019-11-20T15:04:05Z"
        );
        assert_eq!(
            with(",11,", ",1100,"),
            "EVSE GARAGE-2 takes 15942 dA, more than any AC connector: give its --volts and --phases"
        );
        assert!(
            with("evse_id", "plug").contains("missing field `evse_id`"),
            "{}",
            with("evse_id", "plug")
        );
        let other = Source {
            supply: SupplySource::Network {
                json: NETWORK.to_owned(),
                site: "caltech".to_owned(),
            },
            ..garage(LINES)
        };
        assert_eq!(fault(&other), "network: no site \"caltech\" among jpl");
        let network = |from: &str, to: &str| {
            let source = Source::carried();
            let SupplySource::Network { json, site } = source.supply.clone() else {
                panic!("the carried day has a network");
            };
            assert!(json.contains(from), "{from}");
            let json = json.replacen(from, to, 1);
            let supply = SupplySource::Network { json, site };
            fault(&Source { supply, ..source })
        };
        let most = i64::MAX;
        assert_eq!(
            network("\"evse_volts\": 208", &format!("\"evse_volts\": {most}")),
            format!("network: evse_volts is {most}, not 100 to 1000")
        );
        assert_eq!(
            network("31, 32]", &format!("31, {most}]")),
            format!("network: a pilot of {most} A, not 0 to 500 A")
        );
        assert_eq!(
            network("\"limit_a\": 100", "\"limit_a\": -1e300").split(" of ").next(),
            Some("network: a limit")
        );
        let another_day = Source {
            date: DATE,
            ..garage(LINES)
        };
        assert_eq!(
            fault(&another_day),
            "no session that can be played arrives on 2019-11-20 (Europe/Oslo)"
        );
    }
}
