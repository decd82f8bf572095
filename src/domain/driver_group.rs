//! Groups of drivers: how their cars are planned where nobody says anything else.
//!
//! Decides which values of a group have a meaning, and what they fill in. Who belongs to a group is listed with his token; whether a
//! group is let in is the site's policy ([`super::driver`]).

use super::bounds::{MAX_ENERGY_WATT_HOURS, MAX_STAY};
use super::ids::GroupId;
use super::rejection::{Faults, Rejection};
use super::session::{SessionSpec, Stated, Tier};
use crate::units::{Seconds, WattSeconds};

/// Longest name of a group, in characters.
pub const MAX_GROUP_NAME_CHARS: usize = 100;
/// Longest stay of a group's cars: an hour less than a session may last, since a car may arrive a little ahead of our clock.
pub const MAX_GROUP_STAY: Seconds = Seconds::from_secs(MAX_STAY.secs() - 3_600);
/// What the drivers of a group are planned by, where a caller says nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverGroup {
    pub id: GroupId,
    /// In words.
    pub name: String,
    pub tier: Option<Tier>,
    /// How long its cars stay.
    pub stay: Option<Seconds>,
    /// What its cars need.
    pub need: Option<WattSeconds>,
    /// What its cars are promised.
    pub guaranteed: Option<WattSeconds>,
}

impl DriverGroup {
    /// Checks that the values have a meaning.
    pub fn check(&self) -> Result<(), Rejection> {
        let mut faults = Faults::default();
        let length = self.name.chars().count();
        faults.require(
            length <= MAX_GROUP_NAME_CHARS && !self.name.chars().any(char::is_control),
            "name",
            "is too long or has control characters",
            format_args!("{length} characters"),
            format_args!("up to {MAX_GROUP_NAME_CHARS} characters without control characters"),
        );
        if let Some(stay) = self.stay {
            faults.within("stay_seconds", "s", stay.secs(), 60..=MAX_GROUP_STAY.secs());
        }
        let need = self.need.map(WattSeconds::floor_watt_hours);
        if let Some(need) = need {
            faults.within("need_watt_hour", "Wh", need, 1..=MAX_ENERGY_WATT_HOURS);
        }
        if let Some(guaranteed) = self.guaranteed {
            let most = need.unwrap_or(MAX_ENERGY_WATT_HOURS);
            faults.within("guaranteed_watt_hour", "Wh", guaranteed.floor_watt_hours(), 0..=most);
        }
        faults.finish(())
    }

    /// Fills in what nobody said of a session. `said_tier`, and the same of what is promised: whether somebody did.
    pub fn fill_in(&self, spec: &mut SessionSpec, said_tier: bool, said_guaranteed: bool) {
        if let Some(tier) = self.tier.filter(|_| !said_tier) {
            spec.tier = tier;
        }
        if let (Stated::Unknown, Some(stay)) = (spec.departure, self.stay) {
            spec.departure = Stated::Estimated(spec.arrival + stay);
        }
        if let (Stated::Unknown, Some(need)) = (spec.need, self.need) {
            // Who is promised more needs more.
            spec.need = Stated::Estimated(need.max(spec.guaranteed));
        }
        if let Some(guaranteed) = self.guaranteed.filter(|_| !said_guaranteed) {
            let most = spec.need.value().unwrap_or(guaranteed);
            spec.guaranteed = guaranteed.min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{EvseId, SessionId};
    use crate::units::Instant;

    const NOW: Instant = Instant::from_unix_secs(1_700_000_000);

    fn group(name: &str) -> GroupId {
        GroupId::parse(name).unwrap()
    }

    #[test]
    fn groups_without_a_meaning_are_refused() {
        let mut pool = DriverGroup {
            id: group("pool"),
            name: "Car pool".to_owned(),
            tier: None,
            stay: Some(Seconds::from_hours(9)),
            need: Some(WattSeconds::from_watt_hours(10_000)),
            guaranteed: Some(WattSeconds::from_watt_hours(10_001)),
        };
        assert!(pool.check().is_err(), "more is promised than needed");
        pool.guaranteed = None;
        pool.check().unwrap();
        pool.stay = Some(MAX_GROUP_STAY + Seconds::from_secs(1));
        assert!(pool.check().is_err());
    }

    #[test]
    fn a_group_fills_in_only_what_nobody_said_and_what_holds_together() {
        let pool = DriverGroup {
            id: group("pool"),
            name: String::new(),
            tier: Some(Tier::from_caller(2).unwrap()),
            stay: Some(Seconds::from_hours(9)),
            need: Some(WattSeconds::from_watt_hours(12_000)),
            guaranteed: Some(WattSeconds::from_watt_hours(3_000)),
        };
        let said = SessionSpec {
            id: SessionId::parse("session-1").unwrap(),
            evse: EvseId::parse("evse-1").unwrap(),
            connector: None,
            arrival: NOW,
            departure: Stated::Unknown,
            need: Stated::Unknown,
            guaranteed: WattSeconds::ZERO,
            interruptible: true,
            tier: Tier::NORMAL,
            group: None,
            driver: None,
            car: Default::default(),
            ocpi: None,
        };
        let mut nothing_said = said.clone();
        pool.fill_in(&mut nothing_said, false, false);
        assert_eq!(nothing_said.tier.number(), 2);
        assert_eq!(nothing_said.departure, Stated::Estimated(NOW + Seconds::from_hours(9)));
        assert_eq!(
            nothing_said.need,
            Stated::Estimated(WattSeconds::from_watt_hours(12_000))
        );
        assert_eq!(nothing_said.guaranteed, WattSeconds::from_watt_hours(3_000));

        let mut promised = said.clone();
        promised.guaranteed = WattSeconds::from_watt_hours(20_000);
        pool.fill_in(&mut promised, true, true);
        assert_eq!(
            (promised.tier, promised.guaranteed),
            (Tier::NORMAL, WattSeconds::from_watt_hours(20_000))
        );
        assert_eq!(
            promised.need.value(),
            Some(promised.guaranteed),
            "who is promised more needs more"
        );

        let mut modest = said;
        modest.need = Stated::Given(WattSeconds::from_watt_hours(1_000));
        pool.fill_in(&mut modest, false, false);
        assert_eq!(
            modest.guaranteed,
            WattSeconds::from_watt_hours(1_000),
            "nobody is promised more than he needs"
        );
    }
}
