//! Scarce energy from those who make less of it, or have much of it, to those who make more of it, or have little.
//!
//! Decides who gives up what he has, where a relaxation did not look at fairness or rounding spoilt it. No class as a whole ends with
//! less than before: energy comes before its division.

use super::draft::Draft;
use super::exchange::Chains;
use super::objective::standing;
use crate::domain::site::Fairness;
use crate::units::WattSeconds;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Whether it is better that the first session gains so much and the second loses so much: by an earlier class, else by energy, else
/// by fairness, where the second must then stand at `floor` or better.
pub(super) fn is_better(draft: &Draft, gains: (usize, WattSeconds), loses: (usize, WattSeconds), floor: i128) -> bool {
    let problem = draft.problem;
    let ((gainer, gained), (loser, lost)) = (gains, loses);
    let left = draft.delivered(loser) - lost;
    if left < problem.session(loser).guaranteed {
        return false;
    }
    if problem.class_of(gainer) != problem.class_of(loser) {
        return problem.class_of(gainer) < problem.class_of(loser);
    }
    if lost != gained || problem.snapshot.fairness == Fairness::None {
        return lost < gained;
    }
    let then = standing(problem, gainer, draft.delivered(gainer) + gained);
    standing(problem, loser, left) >= then.max(floor)
}

/// Evens out what is missing, class by class. Ends, as every step is for the better.
pub(super) fn even_out(chains: &mut Chains) {
    let problem = chains.draft().problem;
    for class in problem.classes.iter().filter(|class| class.need_known) {
        let draft = chains.draft();
        let all = class.members.iter();
        let sum: i128 = all
            .map(|session| standing(problem, *session, draft.delivered(*session)))
            .sum();
        let mean = sum / class.members.len() as i128;
        // First what is above the mean, as what others lack themselves would be passed on and on.
        for floor in [mean, i128::MIN] {
            chains.forget();
            level(chains, &class.members, floor);
        }
    }
}

/// Serves whoever stands worst from those who stand better, above `floor`, until no one can be.
fn level(chains: &mut Chains, members: &[usize], floor: i128) {
    let problem = chains.draft().problem;
    let draft = chains.draft();
    let lacks = |draft: &Draft, session: usize| {
        draft.missing(session) > WattSeconds::ZERO && problem.session(session).interruptible
    };
    let entry =
        |draft: &Draft, session: usize| Reverse((standing(problem, session, draft.delivered(session)), session));
    let mut waiting: BinaryHeap<_> = members
        .iter()
        .copied()
        .filter(|session| lacks(draft, *session))
        .map(|session| entry(draft, session))
        .collect();
    while let Some(Reverse((_, session))) = waiting.pop() {
        if chains.share(session, floor) && lacks(chains.draft(), session) {
            waiting.push(entry(chains.draft(), session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;
    use crate::domain::conversion::Rate;
    use crate::domain::session::Tier;
    use crate::domain::snapshot::Snapshot;
    use crate::units::Instant;

    /// Rates of each car in one hour, evened out from what they have.
    fn evened_out(snapshot: &Snapshot, amperes: &[i64]) -> Vec<i64> {
        let problem = Problem::new(snapshot);
        let mut draft = Draft::new(&problem);
        for (car, amperes) in amperes.iter().enumerate() {
            draft.set(car, 0, Rate::new(amperes * 10));
        }
        even_out(&mut Chains::new(&mut draft));
        (0..problem.session_count())
            .map(|car| in_amperes(draft.rates(car))[0])
            .collect()
    }

    /// An hour of 24 A for cars on L1 with these needs.
    fn short_of_energy(fairness: Fairness, needs: &[i64]) -> Snapshot {
        let mut snapshot = site(vec![amperes(24)]);
        snapshot.fairness = fairness;
        needs.iter().for_each(|need| {
            car(&mut snapshot, on_l1(), *need);
        });
        snapshot
    }

    #[test]
    fn by_share_each_has_the_same_part_of_his_need() {
        let snapshot = short_of_energy(Fairness::MaxMin, &[32, 16]);
        assert_eq!(evened_out(&snapshot, &[8, 16]), [16, 8]);
    }

    #[test]
    fn by_energy_each_has_as_much_as_the_other() {
        let snapshot = short_of_energy(Fairness::Proportional, &[32, 16]);
        assert_eq!(evened_out(&snapshot, &[8, 16]), [12, 12]);
    }

    #[test]
    fn by_arrival_the_first_has_all_he_wants() {
        let mut snapshot = short_of_energy(Fairness::FirstCome, &[16, 18]);
        for (session, arrival) in snapshot.sessions.iter_mut().zip([20, 10]) {
            session.arrival = Instant::from_unix_secs(arrival);
        }
        assert_eq!(evened_out(&snapshot, &[16, 8]), [6, 18]);
    }

    #[test]
    fn whoever_makes_more_of_a_line_has_it() {
        let mut snapshot = site(vec![amperes(24)]);
        snapshot.fairness = Fairness::None;
        car(&mut snapshot, on_three_phases(), 3 * 24);
        car(&mut snapshot, on_l1(), 24);
        // The last 6 A are a minimum, which a step on three phases does not outweigh.
        assert_eq!(evened_out(&snapshot, &[10, 14]), [18, 6]);
    }

    #[test]
    fn where_the_site_does_not_mind_all_stays_as_it_is() {
        let snapshot = short_of_energy(Fairness::None, &[32, 16]);
        assert_eq!(evened_out(&snapshot, &[8, 16]), [8, 16]);
    }

    #[test]
    fn a_later_class_gives_what_it_has() {
        let mut snapshot = short_of_energy(Fairness::MaxMin, &[18, 18]);
        snapshot.sessions[1].tier = Tier::BOOST;
        assert_eq!(evened_out(&snapshot, &[18, 6]), [6, 18]);
    }

    #[test]
    fn what_was_promised_is_not_given_up() {
        let mut snapshot = short_of_energy(Fairness::MaxMin, &[16, 16]);
        snapshot.sessions[0].guaranteed = WattSeconds::from_watt_hours(14 * 230);
        assert_eq!(evened_out(&snapshot, &[16, 8]), [14, 10]);
    }

    #[test]
    fn energy_comes_before_its_division() {
        // An ampere on L1 alone is worth a third of one on three phases.
        let mut snapshot = site(vec![amperes(24)]);
        car(&mut snapshot, on_three_phases(), 3 * 24);
        car(&mut snapshot, on_l1(), 24);
        assert_eq!(evened_out(&snapshot, &[24, 0]), [24, 0]);
    }
}
