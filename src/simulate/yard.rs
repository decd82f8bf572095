//! The parking yard: which car stands where, and what it takes under the pilot of its EVSE.
//!
//! Decides nothing about power: whoever sets the pilots does. Seconds are played strictly in order.

use super::car::{Car, Draw};
use super::day::Day;
use super::tally::{Figures, Tally};
use crate::units::{DeciAmps, Instant, WattSeconds, Watts};

/// The yard at one moment of the day.
#[derive(Clone, Debug)]
pub struct Yard<'day> {
    day: &'day Day,
    /// By EVSE.
    parked: Vec<Option<Parked>>,
    /// What each EVSE offered, and what its car drew of it, in the last second played.
    offers: Vec<DeciAmps>,
    draws: Vec<Draw>,
    /// By session.
    delivered: Vec<WattSeconds>,
    tally: Tally<'day>,
}

#[derive(Clone, Debug)]
struct Parked {
    session: usize,
    car: Car,
}

impl<'day> Yard<'day> {
    pub fn new(day: &'day Day) -> Self {
        Self {
            day,
            parked: vec![None; day.evses.len()],
            offers: vec![DeciAmps::ZERO; day.evses.len()],
            draws: vec![Draw::default(); day.evses.len()],
            delivered: vec![WattSeconds::ZERO; day.sessions.len()],
            tally: Tally::new(day),
        }
    }

    /// The car of `session` plugs in.
    pub fn plug_in(&mut self, session: usize) {
        let facts = &self.day.sessions[session];
        self.parked[facts.evse] = Some(Parked {
            session,
            car: Car::of(facts, &self.day.evses[facts.evse].wires),
        });
    }

    /// It leaves, with whatever it got.
    pub fn unplug(&mut self, session: usize) {
        let evse = self.day.sessions[session].evse;
        self.parked[evse] = None;
        self.offers[evse] = DeciAmps::ZERO;
        self.draws[evse] = Draw::default();
    }

    pub fn set_grid_limit(&mut self, at: Instant, limit: Watts) {
        self.tally.set_grid_limit(at, limit);
    }

    /// Plays the second that begins at `at`; `pilot` is what an EVSE offers during it.
    pub fn second(&mut self, at: Instant, mut pilot: impl FnMut(usize) -> DeciAmps) {
        for (evse, parked) in self.parked.iter_mut().enumerate() {
            let Some(parked) = parked else { continue };
            let offer = pilot(evse);
            let draw = parked.car.charge_one_second(offer);
            self.offers[evse] = offer;
            self.draws[evse] = draw;
            self.delivered[parked.session] += WattSeconds::from_watt_seconds(draw.power.watts());
        }
        self.tally.second(at, &self.draws);
    }

    /// Sessions that are there, with their EVSEs.
    pub fn sessions(&self) -> impl Iterator<Item = usize> {
        self.parked.iter().flatten().map(|parked| parked.session)
    }

    /// Sessions whose cars still take energy.
    pub fn charging(&self) -> impl Iterator<Item = usize> {
        let hungry = self.parked.iter().flatten().filter(|parked| !parked.car.is_full());
        hungry.map(|parked| parked.session)
    }

    pub fn delivered(&self, session: usize) -> WattSeconds {
        self.delivered[session]
    }

    pub fn offer(&self, evse: usize) -> DeciAmps {
        self.offers[evse]
    }

    pub fn draw(&self, evse: usize) -> Draw {
        self.draws[evse]
    }

    pub fn finish(self) -> Figures {
        self.tally.finish(self.delivered)
    }
}
