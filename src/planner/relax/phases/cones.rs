//! Limits on what two lines carry together, or against each other, as cones.
//!
//! Decides which sums of phasors are limited, so that they are within their limits wherever [`Load::line_currents`] and
//! [`Load::line_differences`] are. With `x` and `y` the currents of the pairs that meet in a line, it carries √(x² + xy + y²). With `x`
//! the current of a pair and `y` and `z` those of the others, its lines carry √(4x² + y² + z² + 2xy + 2xz − yz) against each other.
//! That `z` may stop needs no cone of its own: the sum grows by it only if y > 2x + z, and is then below √3 y, while the lines of `y`
//! carry 2y and more. Where only lines are loaded, the sum of two of them counts.

use super::super::super::problem::Problem;
use super::conductors::Conductors;
use super::limits::limit_in_parts;
use crate::domain::conversion::{Load, Phase, PhasePair};
use crate::solver::phases::Cone;
use crate::units::DeciAmps;

/// `carried`: by watched node, then slot, what is drawn there however the search ends.
pub(super) fn of(problem: &Problem, conductors: Conductors, carried: &[Load]) -> Vec<Cone> {
    let mut cones = Vec::new();
    for node in 0..problem.watched_count() {
        let most: Load = problem
            .all_below(node)
            .iter()
            .map(|index| most_of(problem, *index))
            .sum();
        let mut add = |form: Form, limit: &dyn Fn(usize) -> Option<DeciAmps>, load: &dyn Fn(&Load) -> DeciAmps| {
            let can_bind = |slot: usize| limit(slot).is_some_and(|limit| load(&most) > limit);
            if !(0..problem.slots).any(can_bind) {
                return;
            }
            let left = |slot: usize| {
                let carried = load(&carried[node * problem.slots + slot]);
                limit_in_parts(limit(slot).map(|limit| (limit - carried).deciamps()))
            };
            let by_slot: Vec<i64> = (0..problem.slots).map(left).collect();
            cones.push(form.cone(node + 1, by_slot));
        };
        if conductors == Conductors::Pairs {
            for line in Phase::ALL {
                add(
                    Form::together(PhasePair::meeting_in(line).map(PhasePair::index), 1),
                    &|slot| problem.capacity(node, slot).line[line.index()],
                    &|load| load.line_currents()[line.index()],
                );
            }
        }
        for pair in PhasePair::ALL {
            let form = match conductors {
                Conductors::Lines => Form::together(pair.lines().map(Phase::index), 2),
                Conductors::Pairs => Form::against(pair.index()),
            };
            add(
                form,
                &|slot| Some(problem.capacity(node, slot).difference?[pair.index()]),
                &|load| load.line_differences()[pair.index()],
            );
        }
    }
    cones
}

fn most_of(problem: &Problem, index: usize) -> Load {
    let session = problem.session(index);
    session.load(session.choice.maximum)
}

/// The square of a sum of phasors: see [`Cone`].
#[derive(Clone, Copy)]
struct Form {
    squares: [i64; 3],
    products: [i64; 3],
}

impl Form {
    /// Of two conductors alone.
    fn together([one, other]: [usize; 2], product: i64) -> Self {
        let mut form = Self {
            squares: [0; 3],
            products: [0; 3],
        };
        (form.squares[one], form.squares[other]) = (1, 1);
        form.products[place(one, other)] = product;
        form
    }

    /// Of the lines of a pair against each other.
    fn against(pair: usize) -> Self {
        let mut form = Self {
            squares: [1; 3],
            products: [2; 3],
        };
        form.squares[pair] = 4;
        form.products[place((pair + 1) % 3, (pair + 2) % 3)] = -1;
        form
    }

    fn cone(self, node: usize, by_slot: Vec<i64>) -> Cone {
        Cone {
            node,
            squares: self.squares,
            products: self.products,
            scale: 1,
            by_slot,
        }
    }
}

/// Where the product of two conductors stands.
fn place(one: usize, other: usize) -> usize {
    one + other - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{delta_line_current, delta_line_difference};

    fn value(form: Form, loads: [i64; 3]) -> i64 {
        let squares: i64 = (0..3).map(|at| form.squares[at] * loads[at].pow(2)).sum();
        let pairs = [(0, 1), (0, 2), (1, 2)].into_iter();
        squares
            + pairs
                .map(|(one, other)| form.products[place(one, other)] * loads[one] * loads[other])
                .sum::<i64>()
    }

    /// Rounded up, as currents are.
    fn root(square: i64) -> i64 {
        let root = square.isqrt();
        root + i64::from(root * root < square)
    }

    fn all_loads() -> impl Iterator<Item = [i64; 3]> {
        let some = || (0..2_000).step_by(190);
        some().flat_map(move |x| some().flat_map(move |y| some().map(move |z| [x, y, z])))
    }

    #[test]
    fn together_they_are_the_current_of_a_line() {
        for loads in all_loads() {
            for line in Phase::ALL {
                let pairs = PhasePair::meeting_in(line).map(PhasePair::index);
                let [x, y] = pairs.map(|pair| DeciAmps::from_deciamps(loads[pair]));
                let found = root(value(Form::together(pairs, 1), loads));
                assert_eq!(found, delta_line_current(x, y).deciamps(), "{loads:?}");
            }
        }
    }

    #[test]
    fn the_greatest_of_three_differences_is_that_of_all_cars() {
        for loads in all_loads() {
            let [x, y, z] = loads.map(DeciAmps::from_deciamps);
            let rule = [(x, y, z), (y, z, x), (z, x, y)].map(|(x, y, z)| delta_line_difference(x, y, z).deciamps());
            let found = [0, 1, 2].map(|pair| root(value(Form::against(pair), loads)));
            assert!(found.iter().zip(rule).all(|(found, rule)| *found <= rule), "{loads:?}");
            assert_eq!(found.into_iter().max(), rule.into_iter().max(), "{loads:?}");
        }
    }
}
