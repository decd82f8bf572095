//! Limits on the length of a sum of phasors, kept exactly: where cars are connected between two lines, or currents are out of phase.
//!
//! Such a limit is a quadratic form of the loads on the three conductors, which here may as well be the three pairs of lines. It is not
//! monotone: a load less on one can make the sum longer. So a plan changes only by amounts that were checked, up and down, and
//! [`Cone::furthest`] finds how far an amount may go, in integers. Floats know the cone as two rows of coefficients, its phasors.

/// A limit on `squares . X^2 + products . (X1 X2, X1 X3, X2 X3) <= scale * limit^2`, where `X` are the loads on the conductors.
#[derive(Debug, Clone)]
pub struct Cone {
    pub node: usize,
    /// The form is positive semidefinite and of rank two at most.
    pub squares: [i64; 3],
    pub products: [i64; 3],
    /// Not 0.
    pub scale: i64,
    /// The limit, by slot.
    pub by_slot: Vec<i64>,
}

impl Cone {
    /// The value of the form, for loads below 2^50.
    fn form(&self, loads: [i64; 3]) -> i128 {
        let [x, y, z] = loads.map(i128::from);
        let [xx, yy, zz] = self.squares.map(i128::from);
        let [xy, xz, yz] = self.products.map(i128::from);
        xx * x * x + yy * y * y + zz * z * z + xy * x * y + xz * x * z + yz * y * z
    }

    /// Whether all rates up to these are within the limit: what pulls apart may be missing.
    pub(super) fn holds_all_up_to(&self, rates: [i64; 3], slot: usize) -> bool {
        let together = Cone {
            products: self.products.map(|product| product.max(0)),
            by_slot: Vec::new(),
            ..*self
        };
        let limit = i128::from(self.by_slot[slot].max(0));
        together.form(rates) <= i128::from(self.scale) * limit * limit
    }

    /// Whether less of any load is never a longer sum.
    pub(super) fn is_monotone(&self) -> bool {
        self.products.iter().all(|product| *product >= 0)
    }

    /// Whether loads over a slot of this length are within the limit.
    pub(super) fn holds(&self, loads: [i64; 3], slot: usize, length: i64) -> bool {
        let limit = i128::from(self.by_slot[slot].max(0)) * i128::from(length);
        self.form(loads) <= i128::from(self.scale) * limit * limit
    }

    /// How many times `direction`, up to `most`, can be added to loads.
    pub(super) fn furthest(&self, loads: [i64; 3], direction: [i64; 3], most: i64, slot: usize, length: i64) -> i64 {
        let holds = |times: i64| self.holds(std::array::from_fn(|k| loads[k] + times * direction[k]), slot, length);
        if most <= 0 || !holds(0) {
            return 0;
        }
        if holds(most) {
            // The loads within the limit are convex: all between are within it too.
            return most;
        }
        let (mut within, mut beyond) = (0, most);
        while beyond - within > 1 {
            let middle = within + (beyond - within) / 2;
            if holds(middle) {
                within = middle;
            } else {
                beyond = middle;
            }
        }
        within
    }

    /// Two rows of coefficients of the loads whose length is at most the limit wherever the form is; equal but for rounding.
    pub(super) fn phasors(&self) -> [[f64; 3]; 2] {
        let scale = self.scale as f64;
        let half = self.products.map(|product| product as f64 / (2.0 * scale));
        let squares = self.squares.map(|square| square as f64 / scale);
        let mut form = [
            [squares[0], half[0], half[1]],
            [half[0], squares[1], half[2]],
            [half[1], half[2], squares[2]],
        ];
        let mut rows = [[0.0; 3]; 2];
        for row in &mut rows {
            // The largest square is split off as one row; what remains has one rank less.
            let pivot = (0..3).fold(0, |best, k| if form[k][k] > form[best][best] { k } else { best });
            if form[pivot][pivot] > 1e-9 {
                let root = form[pivot][pivot].sqrt();
                *row = form[pivot].map(|entry| entry / root);
                for (entries, along) in form.iter_mut().zip(*row) {
                    for (entry, across) in entries.iter_mut().zip(*row) {
                        *entry -= along * across;
                    }
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Numbers;
    use super::*;

    /// The current of one line of a site between lines: two loads at 60 degrees.
    fn cone(limit: i64) -> Cone {
        Cone {
            node: 0,
            squares: [1, 0, 1],
            products: [0, 1, 0],
            scale: 1,
            by_slot: vec![limit],
        }
    }

    #[test]
    fn the_limit_is_met_to_the_last_unit() {
        // 3^2 + 5^2 + 3 x 5 = 7^2.
        assert!(cone(7).holds([3, 9, 5], 0, 1));
        assert!(!cone(7).holds([3, 9, 6], 0, 1));
        assert!(cone(7).holds([6, 9, 10], 0, 2));
        assert_eq!(cone(7).furthest([3, 9, 0], [0, 0, 1], 100, 0, 1), 5);
        assert_eq!(cone(7).furthest([3, 9, 0], [0, 1, 0], 100, 0, 1), 100);
        assert_eq!(cone(7).furthest([8, 0, 0], [-1, 0, 0], 100, 0, 1), 0);
    }

    #[test]
    fn a_load_less_can_be_too_much() {
        let apart = Cone {
            products: [0, -1, 0],
            ..cone(7)
        };
        assert!(apart.holds([8, 0, 5], 0, 1));
        assert_eq!(apart.furthest([8, 0, 5], [0, 0, -1], 5, 0, 1), 2);
    }

    #[test]
    fn phasors_have_the_length_of_the_form() {
        let mut numbers = Numbers::new(5);
        for _ in 0..200 {
            let rows: [[i64; 3]; 2] = std::array::from_fn(|_| std::array::from_fn(|_| numbers.between(-9, 10)));
            let dot = |j: usize, k: usize| rows[0][j] * rows[0][k] + rows[1][j] * rows[1][k];
            let squares = [dot(0, 0), dot(1, 1), dot(2, 2)];
            let products = [2 * dot(0, 1), 2 * dot(0, 2), 2 * dot(1, 2)];
            let cone = Cone {
                node: 0,
                squares,
                products,
                scale: 1,
                by_slot: Vec::new(),
            };
            let loads: [i64; 3] = std::array::from_fn(|_| numbers.between(0, 50));
            let along = |row: &[f64; 3]| row.iter().zip(loads).map(|(c, x)| c * x as f64).sum::<f64>();
            let [re, im] = cone.phasors();
            let length = along(&re).hypot(along(&im));
            assert!((length * length - cone.form(loads) as f64).abs() < 1e-6);
        }
    }
}
