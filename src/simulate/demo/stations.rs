//! The charging stations behind the demo's gateway: what each of them follows, and what it refuses.
//!
//! Decides as a station does: a profile belongs to a session and goes with it, an older revision never replaces a newer one, and
//! without a profile there is no charging, as these stations are commissioned. Knows nothing of plans.

use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds};
use crate::wire::proto;
use chrono::DateTime;
use proto::profile_command::Instruction;

/// One station with one EVSE.
#[derive(Clone, Debug, Default)]
pub struct Station {
    session: Option<String>,
    /// Highest revision applied; kept for good.
    applied: i64,
    ceiling: Option<Timeline<DeciAmps>>,
}

/// Why a station does not follow a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub String);

impl Station {
    pub fn plug_in(&mut self, session: &str) {
        self.session = Some(session.to_owned());
    }

    /// The session ends, and its profile with it.
    pub fn unplug(&mut self) {
        self.session = None;
        self.ceiling = None;
    }

    pub fn applied(&self) -> i64 {
        self.applied
    }

    /// The ceiling at `at`; zero without a profile.
    pub fn pilot(&self, at: Instant) -> DeciAmps {
        self.ceiling.as_ref().map_or(DeciAmps::ZERO, |ceiling| *ceiling.at(at))
    }

    pub fn apply(&mut self, command: &proto::ProfileCommand) -> Result<(), Rejected> {
        if self.session.as_deref() != Some(command.session_id.as_str()) {
            return Err(Rejected(format!("session {} is not here", command.session_id)));
        }
        if command.revision == self.applied {
            return Ok(());
        }
        if command.revision < self.applied {
            return Err(Rejected(format!("revision {} is applied already", self.applied)));
        }
        self.ceiling = match &command.instruction {
            Some(Instruction::SetChargingProfile(profile)) => Some(read(profile)?),
            Some(Instruction::ClearChargingProfile(_)) => None,
            None => return Err(Rejected("the command has no instruction".to_owned())),
        };
        self.applied = command.revision;
        Ok(())
    }
}

fn read(profile: &proto::ChargingProfile) -> Result<Timeline<DeciAmps>, Rejected> {
    let rejected = |why: &str| Rejected(format!("the profile {why}"));
    if profile.charging_rate_unit != "A" {
        return Err(rejected("is not in amperes"));
    }
    let start = DateTime::parse_from_rfc3339(&profile.start_date_time)
        .map_err(|_| rejected("has no start that can be read"))?
        .timestamp();
    let mut points: Vec<(Instant, DeciAmps)> = Vec::new();
    for period in &profile.charging_profile_period {
        let (Some(after), Some(limit)) = (period.start_period, period.limit) else {
            return Err(rejected("has a period without start or limit"));
        };
        let at = Instant::from_unix_secs(start) + Seconds::from_secs(i64::from(after));
        let in_order = points.last().map_or(after == 0, |(last, _)| *last < at);
        if !in_order {
            return Err(rejected("has periods that do not begin at 0 and increase"));
        }
        points.push((at, DeciAmps::from_deciamps((limit * 10.0).round() as i64)));
    }
    if points.is_empty() {
        return Err(rejected("has no periods"));
    }
    Ok(Timeline::from_points(points))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(periods: &[(i32, f64)]) -> proto::ChargingProfile {
        proto::ChargingProfile {
            start_date_time: "1970-01-01T00:01:40Z".to_owned(),
            charging_rate_unit: "A".to_owned(),
            min_charging_rate: None,
            charging_profile_period: periods
                .iter()
                .map(|(start, limit)| proto::ChargingProfilePeriod {
                    start_period: Some(*start),
                    limit: Some(*limit),
                })
                .collect(),
        }
    }

    fn command(session: &str, revision: i64, periods: &[(i32, f64)]) -> proto::ProfileCommand {
        proto::ProfileCommand {
            session_id: session.to_owned(),
            revision,
            instruction: Some(Instruction::SetChargingProfile(profile(periods))),
            ..Default::default()
        }
    }

    fn pilot(station: &Station, secs: i64) -> i64 {
        station.pilot(Instant::from_unix_secs(secs)).deciamps()
    }

    #[test]
    fn a_profile_holds_by_its_own_clock_and_its_last_period_for_ever() {
        let mut station = Station::default();
        station.plug_in("s");
        station
            .apply(&command("s", 1, &[(0, 16.0), (60, 10.3), (900, 0.0)]))
            .unwrap();
        let pilots = [0, 100, 159, 160, 999, 1000, 1_000_000].map(|secs| pilot(&station, secs));
        assert_eq!(pilots, [160, 160, 160, 103, 103, 0, 0]);
    }

    #[test]
    fn an_overtaken_command_changes_nothing() {
        let mut station = Station::default();
        station.plug_in("s");
        station.apply(&command("s", 5, &[(0, 6.0)])).unwrap();
        let overtaken = station.apply(&command("s", 4, &[(0, 32.0)]));
        assert_eq!(overtaken, Err(Rejected("revision 5 is applied already".to_owned())));
        // The same once more is no news, and it is followed.
        assert_eq!(station.apply(&command("s", 5, &[(0, 6.0)])), Ok(()));
        assert_eq!(pilot(&station, 100), 60);
    }

    #[test]
    fn a_profile_goes_with_its_session_and_cannot_come_after_it() {
        let mut station = Station::default();
        station.plug_in("one");
        station.apply(&command("one", 1, &[(0, 16.0)])).unwrap();
        station.unplug();
        assert_eq!(pilot(&station, 100), 0);
        assert!(station.apply(&command("one", 2, &[(0, 16.0)])).is_err());
        station.plug_in("two");
        assert!(station.apply(&command("one", 2, &[(0, 16.0)])).is_err());
        assert_eq!(pilot(&station, 100), 0);
        assert_eq!(station.applied(), 1);
    }

    #[test]
    fn a_cleared_profile_leaves_the_default() {
        let mut station = Station::default();
        station.plug_in("s");
        station.apply(&command("s", 1, &[(0, 16.0)])).unwrap();
        let clear = proto::ProfileCommand {
            session_id: "s".to_owned(),
            revision: 2,
            instruction: Some(Instruction::ClearChargingProfile(proto::ClearProfile {})),
            ..Default::default()
        };
        station.apply(&clear).unwrap();
        assert_eq!(pilot(&station, 100), 0);
    }

    #[test]
    fn a_profile_that_is_not_one_is_rejected_and_the_old_one_stays() {
        let mut station = Station::default();
        station.plug_in("s");
        station.apply(&command("s", 1, &[(0, 16.0)])).unwrap();
        for periods in [
            &[][..],
            &[(1, 6.0)],
            &[(0, 6.0), (0, 7.0)],
            &[(0, 6.0), (9, 7.0), (8, 7.0)],
        ] {
            assert!(station.apply(&command("s", 2, periods)).is_err(), "{periods:?}");
        }
        let mut watts = command("s", 2, &[]);
        watts.instruction = Some(Instruction::SetChargingProfile(proto::ChargingProfile {
            charging_rate_unit: "W".to_owned(),
            ..profile(&[(0, 6.0)])
        }));
        assert!(station.apply(&watts).is_err());
        assert_eq!((pilot(&station, 100), station.applied()), (160, 1));
    }
}
