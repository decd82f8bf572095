//! What of a limit can be had in whole steps.
//!
//! Decides how far below its limit a line stays whatever the plan: where all who load it go in steps of 1 A, it carries whole amperes. The rest
//! is of no use to anyone, a relaxation that counted on it would wish for what no plan can give, and a bound would be too high by
//! it. At a site with 40 A for each line that is more than a percent.

use crate::domain::conversion::{Load, PerRate};
use crate::domain::limits::Capacity;
use crate::domain::site::Steps;
use crate::domain::snapshot::SnapshotSession;
use crate::units::DeciAmps;

/// By line: a step of which all currents that sessions add below a node are whole multiples; 0 where they add none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WholeSteps([i64; 3]);

impl WholeSteps {
    /// By watched node. `paths`: by session, the watched nodes above it.
    pub(super) fn of(sessions: &[SnapshotSession], paths: &[Vec<usize>], watched: usize) -> Vec<Self> {
        let mut steps = vec![Self([0; 3]); watched];
        for (session, path) in sessions.iter().zip(paths) {
            let Self(added) = Self::of_one(session);
            for watched in path {
                for (common, step) in steps[*watched].0.iter_mut().zip(added) {
                    *common = greatest_divisor(*common, step);
                }
            }
        }
        steps
    }

    fn of_one(session: &SnapshotSession) -> Self {
        let conversion = &session.conversion;
        if conversion.has_delta() || !session.default.is_zero() {
            return Self([1; 3]);
        }
        Self(conversion.star.map(|per_rate| match &session.choice.steps {
            _ if per_rate == PerRate::NONE => 0,
            Steps::Multiple(step) if per_rate == PerRate::ONE => step.value(),
            _ => 1,
        }))
    }

    /// `available` without what is no whole step beyond `least`, which is carried with every session at rate zero.
    pub(super) fn within(self, available: &Capacity, least: &Load) -> Capacity {
        let least = least.line_currents();
        let mut within = *available;
        for (line, limit) in within.line.iter_mut().enumerate() {
            *limit = limit.map(|limit| {
                let left = (limit - least[line]).deciamps();
                let rest = if left > 0 { left % self.0[line].max(1) } else { 0 };
                limit - DeciAmps::from_deciamps(rest)
            });
        }
        within
    }
}

fn greatest_divisor(a: i64, b: i64) -> i64 {
    if a == 0 { b } else { greatest_divisor(b % a, a) }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;
    use crate::domain::conversion::Rate;
    use crate::domain::plan::Budget;
    use crate::domain::snapshot::Snapshot;
    use crate::units::WattSeconds;

    /// A site with 19.9 A on each line.
    fn not_quite_twenty() -> Snapshot {
        let mut snapshot = site(vec![amperes(20)]);
        snapshot.nodes[0].available[0].line = [Some(DeciAmps::from_deciamps(199)); 3];
        snapshot
    }

    /// What is left of the limits, in tenths of an ampere.
    fn lines(snapshot: &Snapshot) -> [i64; 3] {
        let limits = Problem::new(snapshot).capacity(0, 0).line;
        limits.map(|limit| limit.map_or(i64::MAX, DeciAmps::deciamps))
    }

    #[test]
    fn a_line_carries_whole_amperes_where_all_go_in_steps_of_one() {
        let mut snapshot = not_quite_twenty();
        car(&mut snapshot, on_l1(), 40);
        car(&mut snapshot, on_three_phases(), 40);
        assert_eq!(lines(&snapshot), [190; 3]);
    }

    #[test]
    fn steps_that_differ_have_a_smaller_one_in_common() {
        let mut snapshot = not_quite_twenty();
        for step in [10, 25] {
            let car = car(&mut snapshot, on_l1(), 40);
            snapshot.sessions[car].choice.steps = Steps::Multiple(Rate::new(step));
        }
        assert_eq!(lines(&snapshot), [195, 199, 199]);
    }

    #[test]
    fn where_nothing_is_known_of_a_current_the_limit_stays() {
        let mut snapshot = not_quite_twenty();
        car(&mut snapshot, on_l1(), 40);
        let other = car(&mut snapshot, on_l1(), 40);
        snapshot.sessions[other].default = Rate::new(60);
        assert_eq!(lines(&snapshot), [199; 3]);
        snapshot.sessions[other].default = Rate::ZERO;
        snapshot.sessions[other].choice.steps = Steps::Listed(vec![Rate::new(63)]);
        assert_eq!(lines(&snapshot), [199; 3]);
    }

    #[test]
    fn no_bound_counts_on_parts_of_a_step() {
        let mut snapshot = not_quite_twenty();
        car(&mut snapshot, on_l1(), 40);
        car(&mut snapshot, on_three_phases(), 3 * 13);
        let plan = super::super::plan(&snapshot, Budget { iterations: 1_000 });
        // 13 A and 6 A; beside the 0.9 A that are left it is proven to a thousandth.
        let ampere_hours = |amperes: i64| WattSeconds::from_watt_hours(amperes * 230);
        assert_eq!(plan.stats.delivered, ampere_hours(3 * 13 + 6));
        let bound = plan.stats.relaxed_delivered.expect("a bound");
        assert!(bound - plan.stats.delivered < WattSeconds::from_watt_hours(230 / 2));
    }
}
