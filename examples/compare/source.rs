//! Where instances come from: a file, or a few words about one to generate.

use crate::instances::Instance;
use crate::instances::generator::{self, Schema, Shape, Supply};
use crate::instances::reader::{self, File};

pub fn read(source: &str) -> Result<Instance, String> {
    if let Some(shape) = shape(source) {
        return Ok(generator::generate(&shape));
    }
    let text = std::fs::read_to_string(source).map_err(|error| format!("{source}: {error}"))?;
    let file = File::parse(&text).map_err(|fault| format!("{source}: {fault}"))?;
    Ok(reader::convert(&file)
        .map_err(|fault| format!("{source}: {fault}"))?
        .instance)
}

/// `power:1000x96:normal:7`.
fn shape(source: &str) -> Option<Shape> {
    let words: Vec<&str> = source.split(':').collect();
    let [schema, size, supply, seed] = words[..] else {
        return None;
    };
    let (sessions, slots) = size.split_once('x')?;
    Some(Shape {
        schema: match schema {
            "power" => Schema::Power,
            "phases" => Schema::Phases,
            _ => return None,
        },
        sessions: sessions.parse().ok().filter(|sessions| *sessions > 0)?,
        slots: slots
            .parse()
            .ok()
            .filter(|slots| [24, 48, 96, 144, 288].contains(slots))?,
        supply: match supply {
            "normal" => Supply::Normal,
            "tight" => Supply::Tight,
            "scarce" => Supply::Scarce,
            _ => return None,
        },
        seed: seed.parse().ok()?,
    })
}
