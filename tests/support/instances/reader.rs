//! Reads files of the schemas "evsched-1" and "evsched-3p-1", told apart by what their nodes limit.
//!
//! Decides how decimal numbers become integers: watts or milliamperes, and these times slots. The schemas keep powers to 0.1 kW,
//! energies to 0.01 kWh or 0.01 A x slot and limits to 0.1 A, so this is exact for them; what is finer is rounded towards what is safe,
//! and counted.

use super::{Instance, Limit, Node, Session, Unit};
use serde::Deserialize;
use std::fmt::{self, Display};

/// Why a file is no instance: which field, and what is wrong with it.
#[derive(Debug)]
pub struct Fault {
    pub field: String,
    pub problem: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// A file as it is written.
#[derive(Deserialize)]
pub struct File {
    #[serde(default)]
    name: String,
    slots: usize,
    slot_hours: f64,
    volts: Option<f64>,
    price_per_kwh: Vec<f64>,
    #[serde(default)]
    demand_charge_per_kw: f64,
    unserved_penalty_per_kwh: f64,
    nodes: Vec<FileNode>,
    sessions: Vec<FileSession>,
}

#[derive(Deserialize)]
struct FileNode {
    id: usize,
    parent: i64,
    limit_kw: Option<FileLimit>,
    limit_a: Option<[FileLimit; 3]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileLimit {
    Always(f64),
    BySlot(Vec<f64>),
}

#[derive(Deserialize)]
struct FileSession {
    node: usize,
    arrival: usize,
    departure: usize,
    energy_kwh: f64,
    phases: Option<Vec<usize>>,
    max_kw: Option<f64>,
    max_a: Option<f64>,
    #[serde(default)]
    min_kw: f64,
    #[serde(default)]
    min_a: f64,
}

/// An instance, and how many of its file's numbers were finer than its units.
pub struct Read {
    pub instance: Instance,
    pub rounded: usize,
}

impl File {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| Fault {
            field: error.path().to_string(),
            problem: error.inner().to_string(),
        })
    }
}

/// Reads a file that is known to be right.
pub fn read(path: &str) -> Instance {
    let text = std::fs::read_to_string(path).expect("the instance can be read");
    let file = File::parse(&text).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    let read = convert(&file).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    assert_eq!(read.rounded, 0, "{path} is on the grid of its schema");
    read.instance
}

/// A file as integers, its nodes ordered so that parents come before children.
pub fn convert(file: &File) -> Result<Read, Fault> {
    let unit = unit_of(file)?;
    let slot_seconds = (file.slot_hours * 3_600.0).round();
    check((1.0..=86_400.0).contains(&slot_seconds), "slot_hours", || {
        "a slot lasts from a second to a day".to_owned()
    })?;
    check(file.slots > 0, "slots", || "there is at least one".to_owned())?;
    check(file.price_per_kwh.len() == file.slots, "price_per_kwh", || {
        format!("{} prices for {} slots", file.price_per_kwh.len(), file.slots)
    })?;
    let mut converter = Converter {
        file,
        unit,
        slot_seconds: slot_seconds as i64,
        place: places(file)?,
        rounded: 0,
    };
    Ok(Read {
        instance: converter.instance()?,
        rounded: converter.rounded,
    })
}

fn unit_of(file: &File) -> Result<Unit, Fault> {
    if file.nodes.iter().all(|node| node.limit_kw.is_some()) {
        return Ok(Unit::Watt);
    }
    let volts = file.volts.unwrap_or(230.0);
    check(
        volts.fract() == 0.0 && (1.0..=1_000.0).contains(&volts),
        "volts",
        || format!("{volts} is not a whole number of volts up to 1000"),
    )?;
    Ok(Unit::MilliampPerPhase { volts: volts as i64 })
}

/// By index in the file: the place of a node in an order in which parents come first.
fn places(file: &File) -> Result<Vec<usize>, Fault> {
    let nodes = &file.nodes;
    let mut order: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut children = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        check(node.id == index, &format!("nodes[{index}].id"), || {
            format!("{} is not the node's index", node.id)
        })?;
        match usize::try_from(node.parent) {
            Err(_) => order.push(index),
            Ok(parent) if parent < nodes.len() => children[parent].push(index),
            Ok(parent) => check(false, &format!("nodes[{index}].parent"), || {
                format!("there is no node {parent}")
            })?,
        }
    }
    check(order.len() == 1, "nodes", || {
        format!("{} nodes have parent -1, one is the root", order.len())
    })?;
    let mut next = 0;
    while let Some(node) = order.get(next) {
        order.extend(&children[*node]);
        next += 1;
    }
    check(order.len() == nodes.len(), "nodes", || {
        "some do not hang on the root".to_owned()
    })?;
    let mut place = vec![0; nodes.len()];
    for (at, index) in order.iter().enumerate() {
        place[*index] = at;
    }
    Ok(place)
}

struct Converter<'a> {
    file: &'a File,
    unit: Unit,
    slot_seconds: i64,
    place: Vec<usize>,
    rounded: usize,
}

impl Converter<'_> {
    fn instance(&mut self) -> Result<Instance, Fault> {
        let file = self.file;
        let prices = (file.price_per_kwh.iter().enumerate())
            .map(|(slot, price)| self.whole(*price * 1e6, || format!("price_per_kwh[{slot}]")))
            .collect::<Result<_, _>>()?;
        let demand_charge = self.not_negative(file.demand_charge_per_kw, 1e6, || "demand_charge_per_kw".to_owned())?;
        let penalty = self.not_negative(file.unserved_penalty_per_kwh, 1e6, || {
            "unserved_penalty_per_kwh".to_owned()
        })?;
        let mut by_place: Vec<usize> = (0..file.nodes.len()).collect();
        by_place.sort_by_key(|index| self.place[*index]);
        let nodes = by_place
            .iter()
            .map(|index| self.node(*index))
            .collect::<Result<_, _>>()?;
        let sessions = (0..file.sessions.len())
            .map(|index| self.session(index))
            .collect::<Result<_, _>>()?;
        Ok(Instance {
            name: file.name.clone(),
            unit: self.unit,
            parts: 1,
            slot_seconds: self.slot_seconds,
            lengths: vec![1; file.slots],
            prices,
            demand_charge,
            penalty,
            nodes,
            sessions,
        })
    }

    fn node(&mut self, index: usize) -> Result<Node, Fault> {
        let node = &self.file.nodes[index];
        let limits = match (self.unit, &node.limit_kw, &node.limit_a) {
            (Unit::Watt, Some(limit), _) => vec![self.limit(limit, || format!("nodes[{index}].limit_kw"))?],
            (Unit::MilliampPerPhase { .. }, _, Some(limits)) => (limits.iter().enumerate())
                .map(|(line, limit)| self.limit(limit, || format!("nodes[{index}].limit_a[{line}]")))
                .collect::<Result<_, _>>()?,
            _ => return Err(missing(format!("nodes[{index}].limit_a"))),
        };
        Ok(Node {
            parent: usize::try_from(node.parent).ok().map(|parent| self.place[parent]),
            limits,
        })
    }

    fn limit(&mut self, limit: &FileLimit, field: impl Fn() -> String) -> Result<Limit, Fault> {
        match limit {
            FileLimit::Always(limit) => Ok(Limit::Always(self.whole(*limit * 1e3, field)?)),
            FileLimit::BySlot(limits) => {
                check(limits.len() == self.file.slots, &field(), || {
                    format!("{} limits for {} slots", limits.len(), self.file.slots)
                })?;
                let limits = (limits.iter().enumerate())
                    .map(|(slot, limit)| self.whole(*limit * 1e3, || format!("{}[{slot}]", field())))
                    .collect::<Result<_, _>>()?;
                Ok(Limit::BySlot(limits))
            }
        }
    }

    fn session(&mut self, index: usize) -> Result<Session, Fault> {
        let session = &self.file.sessions[index];
        let field = |name: &str| format!("sessions[{index}].{name}");
        check(session.node < self.place.len(), &field("node"), || {
            format!("there is no node {}", session.node)
        })?;
        check(session.departure <= self.file.slots, &field("departure"), || {
            format!("{} is after the last of {} slots", session.departure, self.file.slots)
        })?;
        check(session.arrival <= session.departure, &field("arrival"), || {
            format!("{} is after the departure {}", session.arrival, session.departure)
        })?;
        let (lines, most, least, names) = match self.unit {
            Unit::Watt => (vec![0], session.max_kw, session.min_kw, ["max_kw", "min_kw"]),
            Unit::MilliampPerPhase { .. } => {
                let lines = lines(session, index)?;
                (lines, session.max_a, session.min_a, ["max_a", "min_a"])
            }
        };
        let most = most.ok_or_else(|| missing(field(names[0])))?;
        // What a rate of one gives in a slot of length one, in kWh.
        let kwh = match self.unit {
            Unit::Watt => 1.0,
            Unit::MilliampPerPhase { volts } => volts as f64 / 1e3 * lines.len() as f64,
        } * self.slot_seconds as f64
            / 3.6e6;
        Ok(Session {
            node: self.place[session.node],
            arrival: session.arrival,
            departure: session.departure,
            lines,
            most: self.not_negative(most, 1e3, || field(names[0]))?,
            least: self.not_negative(least, 1e3, || field(names[1]))?,
            energy: self.not_negative(session.energy_kwh, 1.0 / kwh, || field("energy_kwh"))?,
        })
    }

    fn not_negative(&mut self, value: f64, scale: f64, field: impl Fn() -> String) -> Result<i64, Fault> {
        check(value >= 0.0, &field(), || format!("{value} is negative"))?;
        self.whole(value * scale, field)
    }

    /// The greatest integer that is not above `value`, or only by what decimals as floats are off.
    fn whole(&mut self, value: f64, field: impl Fn() -> String) -> Result<i64, Fault> {
        const GREATEST: f64 = 1e15;
        const DECIMAL: f64 = 0.06;
        check(value.abs() <= GREATEST, &field(), || {
            format!("{value:e} of its unit is out of range")
        })?;
        let nearest = value.round();
        if (value - nearest).abs() <= DECIMAL {
            return Ok(nearest as i64);
        }
        self.rounded += 1;
        Ok(value.floor() as i64)
    }
}

/// The conductors of a session, from 0.
fn lines(session: &FileSession, index: usize) -> Result<Vec<usize>, Fault> {
    let field = || format!("sessions[{index}].phases");
    let phases = session.phases.as_ref().ok_or_else(|| missing(field()))?;
    let is_valid = matches!(phases[..], [1] | [2] | [3] | [1, 2, 3]);
    check(is_valid, &field(), || {
        format!("{phases:?} is none of [1], [2], [3], [1, 2, 3]")
    })?;
    Ok(phases.iter().map(|phase| phase - 1).collect())
}

fn missing(field: String) -> Fault {
    Fault {
        field,
        problem: "is missing".to_owned(),
    }
}

fn check(holds: bool, field: &str, problem: impl Fn() -> String) -> Result<(), Fault> {
    if holds {
        return Ok(());
    }
    Err(Fault {
        field: field.to_owned(),
        problem: problem(),
    })
}
