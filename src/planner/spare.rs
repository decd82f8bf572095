//! What is left when everyone has what he needs goes to cars that would take more.
//!
//! Decides the rates of sessions whose need is met. They get nothing that anyone else could use, and never a new peak.

use super::draft::Draft;
use crate::domain::conversion::Rate;
use std::borrow::Cow;

/// `draft`, with what it leaves given away slot by slot: first everyone's minimum, then as much as fits.
pub(super) fn filled<'d, 'p>(draft: &'d Draft<'p>) -> Cow<'d, Draft<'p>> {
    let problem = draft.problem;
    let spare: Vec<usize> = (0..problem.session_count())
        .filter(|session| problem.is_spare(*session))
        .collect();
    if spare.is_empty() {
        return Cow::Borrowed(draft);
    }
    let mut filled = draft.clone();
    filled.peak_allowed = filled.peak_without_cost();
    for slot in 0..problem.slots {
        let rates: [fn(&Draft<'p>, usize) -> Rate; 2] = [
            |draft, session| draft.problem.session(session).choice.minimum,
            |draft, session| draft.problem.session(session).choice.maximum,
        ];
        for most in rates {
            for session in spare.iter().filter(|session| problem.is_live(**session, slot)) {
                let most = most(&filled, *session);
                filled.raise(*session, slot, most);
            }
        }
    }
    Cow::Owned(filled)
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;
    use crate::domain::session::Tier;
    use crate::domain::snapshot::{DemandCharge, Snapshot};
    use crate::units::Watts;

    /// One car that charges at 10 A, and `spare` ones that have what they need.
    fn site_of_20_amperes(spare: usize) -> Snapshot {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_l1(), 10);
        for _ in 0..spare {
            let car = car(&mut snapshot, on_l1(), 10);
            snapshot.sessions[car].tier = Tier::SPARE;
            snapshot.sessions[car].need = None;
        }
        snapshot
    }

    fn amperes_of(snapshot: &Snapshot) -> Vec<i64> {
        let problem = Problem::new(snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(100));
        let filled = filled(&draft);
        (0..problem.session_count())
            .map(|session| filled.rate(session, 0).value() / 10)
            .collect()
    }

    #[test]
    fn they_get_what_is_left_and_each_his_minimum_first() {
        assert_eq!(amperes_of(&site_of_20_amperes(1)), [10, 10]);
        let mut snapshot = site_of_20_amperes(2);
        snapshot.nodes[0].available = vec![amperes(24)];
        assert_eq!(amperes_of(&snapshot), [10, 8, 6]);
    }

    #[test]
    fn they_never_make_a_new_peak() {
        let mut snapshot = site_of_20_amperes(1);
        snapshot.demand_charge = Some(DemandCharge {
            micros_per_kw: 1,
            peak_so_far: Watts::from_watts(17 * 230),
            expected_base: vec![Watts::ZERO],
        });
        assert_eq!(amperes_of(&snapshot), [10, 7]);
    }

    #[test]
    fn they_take_nothing_from_anyone_who_needs_it() {
        let mut snapshot = site_of_20_amperes(1);
        snapshot.sessions[0].need = Some(crate::units::WattSeconds::from_watt_hours(40 * 230));
        let plan = super::super::plan(&snapshot, crate::domain::plan::Budget { iterations: 400 });
        let rates = plan.schedules.iter().map(|schedule| schedule.rates[0].value());
        assert_eq!(rates.collect::<Vec<_>>(), [200, 0]);
    }
}
