//! New instances with the shapes of real sites: a day of workplace, depot and public charging under a grid connection that is shared
//! with a building.
//!
//! Decides the distributions; quantiles stand in tables, and all arithmetic is in integers, so that a seed gives the same instance on every
//! machine. Ten cars share a panel, five panels a feeder, all feeders the grid connection.

use super::random::Random;
use super::{Instance, Limit, Node, Session, Unit};

const CARS_PER_PANEL: usize = 10;
const PANELS_PER_FEEDER: usize = 5;
const DAY_MINUTES: i64 = 24 * 60;
const VOLTS: i64 = 230;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// "evsched-1": one limit on total power at each node.
    Power,
    /// "evsched-3p-1": limits on each conductor, one- and three-phase cars.
    Phases,
}

/// How much of what its cars could draw together the grid connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    Normal,
    /// Nearly everything can be served still.
    Tight,
    /// About a fifth cannot be served.
    Scarce,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub schema: Schema,
    pub sessions: usize,
    /// Of the day.
    pub slots: usize,
    pub supply: Supply,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Workplace,
    Depot,
    Public,
}

/// A way to charge: a current on one or three phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connector {
    OnePhase16,
    OnePhase32,
    ThreePhase16,
    ThreePhase32,
    Dc,
}

pub fn generate(shape: &Shape) -> Instance {
    assert!(
        shape.sessions > 0 && shape.slots > 0 && DAY_MINUTES * 60 % shape.slots as i64 == 0,
        "a day of whole slots"
    );
    let mut random = Random::new(shape.seed);
    let panels = shape.sessions.div_ceil(CARS_PER_PANEL);
    let feeders = panels.div_ceil(PANELS_PER_FEEDER);
    let mut site = Site {
        shape,
        slot_seconds: DAY_MINUTES * 60 / shape.slots as i64,
        feeders,
        wirings: (0..panels).map(|_| Wiring::draw(&mut random)).collect(),
    };
    let sessions = site.sessions(&mut random);
    let nodes = site.nodes(&sessions, &mut random);
    let hourly: Vec<i64> = PRICES.iter().map(|price| price * random.between(85, 115)).collect();
    Instance {
        name: name(shape),
        unit: site.unit(),
        parts: 1,
        slot_seconds: site.slot_seconds,
        lengths: vec![1; shape.slots],
        prices: (0..shape.slots)
            .map(|slot| hourly[(site.minute(slot) / 60) as usize])
            .collect(),
        demand_charge: 500_000,
        penalty: 10_000_000,
        nodes,
        sessions,
    }
}

fn name(shape: &Shape) -> String {
    let schema = match shape.schema {
        Schema::Power => "ev",
        Schema::Phases => "p3",
    };
    let supply = match shape.supply {
        Supply::Normal => "",
        Supply::Tight => "_tight",
        Supply::Scarce => "_scarce",
    };
    format!("{schema}_{}x{}{supply}_seed{}", shape.sessions, shape.slots, shape.seed)
}

/// Ten-thousandths per kWh by hour, before their noise in percent.
const PRICES: [i64; 24] = [
    1_450, 1_380, 1_260, 1_060, 1_000, 890, 1_020, 1_460, 1_690, 1_440, 890, 480, 300, 350, 590, 1_060, 1_490, 2_190,
    2_940, 3_270, 3_150, 2_450, 1_910, 1_620,
];

/// Percent of the grid connection that the building draws, every two hours.
const BUILDING: [i64; 12] = [2, 5, 5, 6, 16, 31, 44, 45, 35, 34, 27, 8];

struct Site<'a> {
    shape: &'a Shape,
    slot_seconds: i64,
    feeders: usize,
    /// By panel.
    wirings: Vec<Wiring>,
}

/// How the one-phase connectors of a panel are wired.
#[derive(Clone, Copy)]
enum Wiring {
    Rotated,
    /// All on one conductor.
    Alike(usize),
}

impl Wiring {
    fn draw(random: &mut Random) -> Self {
        if random.chance(60) {
            return Self::Rotated;
        }
        Self::Alike(random.pick(&[(0, 70), (1, 15), (2, 15)]))
    }

    fn line(self, position: usize) -> usize {
        match self {
            Self::Rotated => position % 3,
            Self::Alike(line) => line,
        }
    }
}

impl Connector {
    fn draw(place: Place, random: &mut Random) -> Self {
        use Connector::*;
        random.pick(match place {
            Place::Workplace => &[
                (OnePhase32, 41),
                (ThreePhase16, 34),
                (OnePhase16, 15),
                (ThreePhase32, 10),
            ],
            Place::Depot => &[(ThreePhase16, 45), (OnePhase32, 34), (ThreePhase32, 21)],
            Place::Public => &[(ThreePhase16, 41), (ThreePhase32, 39), (Dc, 20)],
        })
    }

    /// The most and the least power, in W.
    fn watts(self) -> (i64, i64) {
        match self {
            Self::OnePhase16 => (3_700, 1_400),
            Self::OnePhase32 => (7_400, 1_400),
            Self::ThreePhase16 => (11_000, 4_100),
            Self::ThreePhase32 => (22_000, 4_100),
            Self::Dc => (50_000, 5_000),
        }
    }

    /// The most current on each phase, in mA.
    fn milliamps(self) -> i64 {
        match self {
            Self::OnePhase16 | Self::ThreePhase16 => 16_000,
            Self::OnePhase32 | Self::ThreePhase32 => 32_000,
            Self::Dc => 72_000,
        }
    }
}

impl Site<'_> {
    fn unit(&self) -> Unit {
        match self.shape.schema {
            Schema::Power => Unit::Watt,
            Schema::Phases => Unit::MilliampPerPhase { volts: VOLTS },
        }
    }

    /// Of the day, where a slot begins.
    fn minute(&self, slot: usize) -> i64 {
        slot as i64 * self.slot_seconds / 60
    }

    fn sessions(&mut self, random: &mut Random) -> Vec<Session> {
        // Cars come to the connectors of all panels in any order.
        let mut positions: Vec<usize> = (0..self.shape.sessions).collect();
        random.shuffle(&mut positions);
        positions
            .into_iter()
            .map(|position| self.session(position, random))
            .collect()
    }

    fn session(&self, position: usize, random: &mut Random) -> Session {
        let place = random.pick(&[(Place::Workplace, 50), (Place::Depot, 30), (Place::Public, 20)]);
        let connector = Connector::draw(place, random);
        let (arrival, departure) = self.stay(place, random);
        let panel = position / CARS_PER_PANEL;
        let mut session = Session {
            node: 1 + self.feeders + panel,
            arrival,
            departure,
            lines: vec![0],
            most: connector.watts().0,
            least: connector.watts().1,
            energy: 0,
        };
        if self.shape.schema == Schema::Phases {
            let is_wired_for_one = matches!(connector, Connector::OnePhase16 | Connector::OnePhase32);
            let is_one_phase = is_wired_for_one || connector != Connector::Dc && random.chance(15);
            session.lines = match is_one_phase {
                true => vec![self.wirings[panel].line(position % CARS_PER_PANEL)],
                false => vec![0, 1, 2],
            };
            (session.most, session.least) = (connector.milliamps(), 6_000);
        }
        session.energy = self.energy(place, &session, random);
        session
    }

    /// From arrival to departure, at least one slot long.
    fn stay(&self, place: Place, random: &mut Random) -> (usize, usize) {
        const WORK_ARRIVAL: [i64; 7] = [300, 430, 480, 525, 565, 605, 700];
        const WORK_STAY: [i64; 7] = [150, 310, 400, 460, 520, 600, 780];
        const NIGHT_DEPARTURE: [i64; 5] = [240, 310, 370, 430, 510];
        const EVENING_ARRIVAL: [i64; 5] = [1_090, 1_130, 1_170, 1_230, 1_340];
        const VISIT: [i64; 5] = [30, 70, 120, 190, 300];
        let (from, until) = match place {
            Place::Workplace => {
                let from = random.quantile(&WORK_ARRIVAL);
                (from, from + random.quantile(&WORK_STAY))
            }
            // The night is cut in two by midnight.
            Place::Depot if random.chance(50) => (0, random.quantile(&NIGHT_DEPARTURE)),
            Place::Depot => (random.quantile(&EVENING_ARRIVAL), DAY_MINUTES),
            Place::Public => {
                let from = random.between(390, 1_270);
                (from, from + random.quantile(&VISIT))
            }
        };
        let slots = self.shape.slots as i64;
        let arrival = (from * slots / DAY_MINUTES).min(slots - 1);
        let departure = (until * slots / DAY_MINUTES).clamp(arrival + 1, slots);
        (arrival as usize, departure as usize)
    }

    /// What is asked for: on a grid of 0.01 kWh or 0.01 A x slot, and at most 92 % of what the stay allows.
    fn energy(&self, place: Place, session: &Session, random: &mut Random) -> i64 {
        const DAY: [i64; 11] = [200, 620, 780, 960, 1_130, 1_330, 1_580, 1_900, 2_330, 3_050, 6_800];
        const NIGHT: [i64; 6] = [700, 1_750, 2_500, 3_200, 4_200, 7_500];
        // In 0.01 kWh.
        let asked = match place {
            Place::Depot => random.quantile(&NIGHT),
            Place::Workplace | Place::Public => random.quantile(&DAY),
        };
        let milliwatt_seconds_of = |energy: i64| match self.shape.schema {
            Schema::Power => energy * 1_000 * self.slot_seconds,
            Schema::Phases => energy * VOLTS * session.lines.len() as i64 * self.slot_seconds,
        };
        let asked = asked * 36_000_000;
        let possible = milliwatt_seconds_of(session.most * session.stay().len() as i64) * 92 / 100;
        let grid = match self.shape.schema {
            Schema::Power => 36_000_000,
            Schema::Phases => milliwatt_seconds_of(10),
        };
        asked.min(possible) / grid * grid / milliwatt_seconds_of(1)
    }

    /// The grid connection, then the feeders, then the panels.
    fn nodes(&self, sessions: &[Session], random: &mut Random) -> Vec<Node> {
        let panels = self.wirings.len();
        let lines = self.unit().lines();
        let first_panel = 1 + self.feeders;
        let mut connected = vec![vec![0; lines]; first_panel + panels];
        let mut largest = vec![0; first_panel + panels];
        for session in sessions {
            let feeder = 1 + (session.node - first_panel) / PANELS_PER_FEEDER;
            for node in [session.node, feeder, 0] {
                session
                    .lines
                    .iter()
                    .for_each(|line| connected[node][*line] += session.most);
                largest[node] = session.most.max(largest[node]);
            }
        }
        let mean = |node: usize| connected[node].iter().sum::<i64>() / lines as i64;
        let mut below = |node: usize, percent: (i64, i64)| {
            let share = random.between(percent.0 * 10, percent.1 * 10);
            on_grid((mean(node) * share / 1_000).max(largest[node]))
        };
        let feeder_limits: Vec<i64> = (1..first_panel).map(|node| below(node, (35, 50))).collect();
        let panel_limits: Vec<i64> = (first_panel..first_panel + panels)
            .map(|node| below(node, (40, 60)))
            .collect();
        let of_feeders = feeder_limits.into_iter().map(|limit| (0, limit));
        let of_panels =
            (panel_limits.into_iter().enumerate()).map(|(panel, limit)| (1 + panel / PANELS_PER_FEEDER, limit));
        let mut nodes = vec![self.root(mean(0), random)];
        nodes.extend(of_feeders.chain(of_panels).map(|(parent, limit)| Node {
            parent: Some(parent),
            limits: vec![Limit::Always(limit); lines],
        }));
        nodes
    }

    /// What the grid connection carries, less what the building draws from it.
    fn root(&self, connected: i64, random: &mut Random) -> Node {
        let per_mille = match (self.shape.schema, self.shape.supply) {
            (Schema::Power, Supply::Normal) => 310,
            (Schema::Power, Supply::Tight) => 125,
            (Schema::Power, Supply::Scarce) => 68,
            (Schema::Phases, Supply::Normal) => 340,
            (Schema::Phases, Supply::Tight) => 200,
            (Schema::Phases, Supply::Scarce) => 75,
        };
        let carries = connected * per_mille / 1_000;
        let limits = (0..self.unit().lines()).map(|_| {
            let uneven = random.between(90, 110);
            let by_slot = (0..self.shape.slots).map(|slot| {
                let (hours, minutes) = (self.minute(slot) / 120, self.minute(slot) % 120);
                let (now, next) = (BUILDING[hours as usize], BUILDING[(hours as usize + 1) % 12]);
                // In percent of percent: interpolated, uneven between conductors, and noise.
                let building = (now * (120 - minutes) + next * minutes) * uneven / 120;
                on_grid(carries * (10_000 - building - random.between(0, 300)) / 10_000)
            });
            Limit::BySlot(by_slot.collect())
        });
        Node {
            parent: None,
            limits: limits.collect(),
        }
    }
}

/// In tenths of a kW or A.
fn on_grid(limit: i64) -> i64 {
    limit / 100 * 100
}
