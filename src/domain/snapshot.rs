//! Everything a plan depends on, at one instant: what is available where, who needs what, what energy costs.
//!
//! Decides what planner and verify may know. Dense and index-based; made by the engine, read by both, changed by nobody.

use super::conversion::{Conversion, Load, PerRate, Rate};
use super::ids::{EvseId, NodeId, SessionId};
use super::limits::Capacity;
use super::session::Tier;
use super::site::{Fairness, RateChoice};
use crate::units::{Instant, MicrosPerKwh, Seconds, WattSeconds, Watts};

/// The slots of a plan: the first begins now, the others at multiples of the slot length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotGrid {
    start: Instant,
    length: Seconds,
    count: usize,
}

impl SlotGrid {
    /// `count` slots of `length` from `start`; the first is what is left of the slot that `start` lies in.
    ///
    /// # Panics
    /// If there is no slot or it has no length.
    pub fn new(start: Instant, length: Seconds, count: usize) -> Self {
        assert!(count > 0 && length > Seconds::ZERO, "a plan has slots");
        Self { start, length, count }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn start(&self) -> Instant {
        self.start
    }

    pub fn length(&self) -> Seconds {
        self.length
    }

    pub fn begin(&self, slot: usize) -> Instant {
        if slot == 0 {
            self.start
        } else {
            self.start.floor_to(self.length) + Seconds::from_secs(self.length.secs() * slot as i64)
        }
    }

    pub fn end(&self, slot: usize) -> Instant {
        self.begin(slot + 1)
    }

    pub fn seconds(&self, slot: usize) -> Seconds {
        self.end(slot) - self.begin(slot)
    }

    /// How many slots lie wholly before `instant`.
    pub fn slots_before(&self, instant: Instant) -> usize {
        (0..self.count).take_while(|slot| self.end(*slot) <= instant).count()
    }
}

/// A node or station with what is left of its limits, slot by slot, for the sessions below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotNode {
    pub id: NodeId,
    /// Index of the parent, always smaller than this node's own; `None` for the grid connection, which is index 0.
    pub parent: Option<usize>,
    /// One per slot: the least that is available at any moment of it. May be negative.
    pub available: Vec<Capacity>,
}

/// A session that may be given power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSession {
    pub id: SessionId,
    pub evse: EvseId,
    /// Index of the place its EVSE hangs under.
    pub node: usize,
    /// For the car that is there.
    pub conversion: Conversion,
    /// What the EVSE draws without a profile. It has been counted into nothing: a session loads its nodes with
    /// [`SnapshotSession::load`], which is never below it.
    pub default: Rate,
    pub choice: RateChoice,
    /// When the car came, or will come.
    pub arrival: Instant,
    /// Slots in which it may charge: `first_slot..end_slot`.
    pub first_slot: usize,
    pub end_slot: usize,
    /// Energy still wanted; `None` is unknown: served until the car stops, as if it wanted all it can take.
    pub need: Option<WattSeconds>,
    /// Energy still promised; never more than the need.
    pub guaranteed: WattSeconds,
    pub interruptible: bool,
    pub tier: Tier,
    /// Expected watts for one unit of rate.
    pub power: PerRate,
    /// The rate it is allowed at this moment.
    pub current: Rate,
    /// What the plan in force gives it in the first slots, as far as a lease reaches; empty where none does. A new plan that keeps
    /// to it is easier on everyone.
    pub planned: Vec<Rate>,
}

impl SnapshotSession {
    /// What the session counts for at `rate`: never less than its EVSE's default, for this car and for any that comes next.
    pub fn load(&self, rate: Rate) -> Load {
        let load = self.conversion.load(rate.max(self.default));
        if self.default.is_zero() {
            return load;
        }
        load.max(self.conversion.load_of_any_car(self.default))
    }

    /// Energy expected from `rate` over `length`.
    pub fn energy(&self, rate: Rate, length: Seconds) -> WattSeconds {
        Watts::from_watts(self.power.floor(rate)).over(length)
    }

    pub fn slots(&self) -> std::ops::Range<usize> {
        self.first_slot..self.end_slot
    }
}

/// The power charge of the billing period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandCharge {
    /// In millionths of the currency per kW.
    pub micros_per_kw: i64,
    /// The highest load so far; only what lies above it costs.
    pub peak_so_far: Watts,
    /// What the rest of the site is expected to draw, one per slot; negative where it feeds in.
    pub expected_base: Vec<Watts>,
}

/// The facts at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub grid: SlotGrid,
    /// Parents before children; index 0 is the grid connection.
    pub nodes: Vec<SnapshotNode>,
    pub sessions: Vec<SnapshotSession>,
    /// One per slot.
    pub prices: Vec<MicrosPerKwh>,
    pub demand_charge: Option<DemandCharge>,
    pub fairness: Fairness,
}

impl Snapshot {
    pub fn now(&self) -> Instant {
        self.grid.start()
    }

    /// `node` and every node above it, up to the grid connection.
    pub fn path_to_root(&self, node: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(node), |node| self.nodes[*node].parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{Phase, Wiring};
    use crate::domain::site::Steps;
    use crate::units::{DeciAmps, Volts};

    #[test]
    fn what_an_evse_draws_by_itself_counts_for_the_next_car_too() {
        let conversion = Conversion::new(&Wiring::Star(Phase::ALL.to_vec()), Volts::from_volts(230)).for_car(Some(3));
        let session = SnapshotSession {
            id: SessionId::parse("s").unwrap(),
            evse: EvseId::parse("e").unwrap(),
            node: 0,
            power: conversion.nominal_power(None),
            conversion,
            default: Rate::new(60),
            choice: RateChoice {
                minimum: Rate::new(60),
                maximum: Rate::new(320),
                steps: Steps::Multiple(Rate::new(1)),
            },
            arrival: Instant::from_unix_secs(0),
            first_slot: 0,
            end_slot: 1,
            need: None,
            guaranteed: WattSeconds::ZERO,
            interruptible: true,
            tier: Tier::NORMAL,
            current: Rate::ZERO,
            planned: Vec::new(),
        };
        for (rate, star) in [(0, 60), (160, 160)] {
            let load = session.load(Rate::new(rate));
            assert_eq!(
                (load.star[0], load.uneven[0]),
                (DeciAmps::from_deciamps(star), DeciAmps::from_deciamps(60))
            );
        }
    }
}
