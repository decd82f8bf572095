//! Inputs made of other inputs: all of them where there is no fuzzer, and beside its own where there is one.
//!
//! Decides how a seed is changed: a message by its fields, a text by its words and numbers, anything by its bytes. The same dice
//! make the same inputs.
#![allow(dead_code, reason = "the test and each target use a part of it")]

use crate::fuzzing::api::Call;
use crate::fuzzing::journal::Part;
use laddplan::wire::DESCRIPTORS;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, ReflectMessage, Value};
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("our own"));

const MOST_CHANGES: usize = 4;
/// A list that is doubled again and again ends here.
const MOST_BYTES: usize = 16_384;
/// Where bounds, widths and signs lie.
const NUMBERS: [i64; 20] = [
    0,
    1,
    -1,
    2,
    3,
    10,
    59,
    60,
    255,
    256,
    1_439,
    3_600,
    65_535,
    1_000_001,
    1_790_000_000,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MAX / 3_600 + 1,
    i64::MIN,
];
const TEXTS: [&str; 10] = [
    "",
    " ",
    "a",
    "é",
    "\u{202e}",
    "Europe/Oslo",
    "9999-12-31T23:59:59-23:59",
    "\"\\\n",
    "NaN",
    "1e309",
];
const WORDS: [&str; 16] = [
    "null",
    "true",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "\"",
    ",",
    ":",
    "=",
    "\n",
    "\0",
    "-0.0",
    "1e-400",
    "18446744073709551616",
];

/// Numbers from a seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to `below`.
    fn roll(&mut self, below: usize) -> usize {
        (self.next() % below.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

pub fn mutated(target: &str, seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.pick(seeds).clone();
    for _ in 0..=dice.roll(MOST_CHANGES) {
        let whole_bytes = dice.roll(8) == 0;
        match message_in(target, &input) {
            _ if whole_bytes => change_bytes(&mut input, seeds, dice),
            Some((begin, name)) => change_message(&mut input, begin, name, dice),
            None => match String::from_utf8(input) {
                Ok(text) => input = changed_text(text, dice).into_bytes(),
                Err(error) => {
                    input = error.into_bytes();
                    change_bytes(&mut input, seeds, dice);
                }
            },
        }
        input.truncate(MOST_BYTES);
    }
    input
}

/// As a fuzzer asks for it: the first `size` bytes are an input, and all of `data` is room for another. Returns its size.
pub fn change_in_place(target: &str, data: &mut [u8], size: usize, seed: u32) -> usize {
    let input = mutated(target, &[data[..size].to_vec()], &mut Dice::new(seed.into()));
    let size = input.len().min(data.len());
    data[..size].copy_from_slice(&input[..size]);
    size
}

/// Where in an input a message begins, and which.
fn message_in(target: &str, input: &[u8]) -> Option<(usize, &'static str)> {
    let first = usize::from(*input.first()?);
    match target {
        "planted" => Some((0, "laddplan.v1.StartSessionRequest")),
        "api" => {
            let name = match Call::ALL[first % Call::ALL.len()] {
                Call::PutSite => "laddplan.v1.PutSiteRequest",
                Call::SetGridLimit => "laddplan.v1.SetGridLimitRequest",
                Call::SetPrices => "laddplan.v1.SetPricesRequest",
                Call::SetForecast => "laddplan.v1.SetForecastRequest",
                Call::StartSession => "laddplan.v1.StartSessionRequest",
                Call::UpdateSession => "laddplan.v1.UpdateSessionRequest",
                Call::OverrideSession => "laddplan.v1.OverrideSessionRequest",
                Call::ReportMeter => "laddplan.v1.ReportMeterRequest",
                Call::Plan => "laddplan.v1.PlanRequest",
                Call::PutTenant => "laddplan.v1.PutTenantRequest",
                Call::CreateToken => "laddplan.v1.CreateTokenRequest",
                Call::ReportNodeMeter => "laddplan.v1.ReportNodeMeterRequest",
            };
            Some((1, name))
        }
        "journal" => match Part::ALL[first % Part::ALL.len()] {
            Part::Entry => Some((1, "laddplan.journal.v1.Entry")),
            Part::EndedSession => Some((1, "laddplan.journal.v1.EndedSession")),
            Part::Snapshot => Some((1, "laddplan.journal.v1.Snapshot")),
            Part::Damaged | Part::Record | Part::Key => None,
        },
        _ => None,
    }
}

fn change_message(input: &mut Vec<u8>, begin: usize, name: &str, dice: &mut Dice) {
    let descriptor = POOL.get_message_by_name(name).expect("a message of ours");
    let Ok(mut message) = DynamicMessage::decode(descriptor, &input[begin.min(input.len())..]) else {
        return;
    };
    change_fields(&mut message, dice);
    input.truncate(begin);
    input.extend(message.encode_to_vec());
}

fn change_fields(message: &mut DynamicMessage, dice: &mut Dice) {
    let fields: Vec<_> = message.descriptor().fields().collect();
    if fields.is_empty() {
        return;
    }
    let field = dice.pick(&fields).clone();
    if message.has_field(&field) && dice.roll(6) == 0 {
        message.clear_field(&field);
        return;
    }
    let kind = field.kind();
    match message.get_field_mut(&field) {
        Value::List(items) => change_list(items, &kind, dice),
        value => change_value(value, &kind, dice),
    }
}

fn change_list(items: &mut Vec<Value>, kind: &Kind, dice: &mut Dice) {
    let index = dice.roll(items.len());
    match dice.roll(6) {
        0 if !items.is_empty() => drop(items.remove(index)),
        1 if !items.is_empty() => items.insert(index, items[index].clone()),
        2 => items.reverse(),
        3 => {
            let mut item = Value::default_value(kind);
            change_value(&mut item, kind, dice);
            items.push(item);
        }
        _ => {
            if let Some(item) = items.get_mut(index) {
                change_value(item, kind, dice);
            }
        }
    }
}

fn change_value(value: &mut Value, kind: &Kind, dice: &mut Dice) {
    let number = match dice.roll(3) {
        0 => dice.roll(100) as i64,
        _ => *dice.pick(&NUMBERS),
    };
    match value {
        Value::Message(inner) => change_fields(inner, dice),
        Value::Bool(value) => *value = !*value,
        Value::I32(value) => *value = number as i32,
        Value::I64(value) => {
            *value = if dice.roll(4) == 0 {
                value.saturating_add(number)
            } else {
                number
            }
        }
        Value::U32(value) => *value = number as u32,
        Value::U64(value) => *value = number as u64,
        Value::F64(value) => *value = number as f64 / 10.0,
        Value::F32(value) => *value = number as f32 / 10.0,
        Value::EnumNumber(value) => *value = (number % 12) as i32,
        Value::String(text) => match dice.roll(3) {
            0 => *text = (*dice.pick(&TEXTS)).to_owned(),
            1 => text.push_str(dice.pick::<&str>(&TEXTS)),
            _ => *text = "x".repeat(dice.roll(300)),
        },
        Value::Bytes(bytes) => *bytes = vec![7; dice.roll(40)].into(),
        Value::List(_) | Value::Map(_) => *value = Value::default_value(kind),
    }
}

fn changed_text(text: String, dice: &mut Dice) -> String {
    let words = split_words(&text);
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    if words.is_empty() {
        return (*dice.pick(&WORDS)).to_owned();
    }
    let index = dice.roll(words.len());
    let numbers: Vec<usize> = (0..words.len())
        .filter(|index| words[*index].bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    match dice.roll(7) {
        0 => drop(words.remove(index)),
        1 => words.insert(index, (*dice.pick(&WORDS)).to_owned()),
        2 => words.insert(index, (*dice.pick(&TEXTS)).to_owned()),
        3 => {
            let end = (index + 1 + dice.roll(12)).min(words.len());
            let part = words[index..end].to_vec();
            words.splice(index..index, part);
        }
        4 => {
            let other = dice.roll(words.len());
            words.swap(index, other);
        }
        _ if numbers.is_empty() => words[index] = dice.pick(&NUMBERS).to_string(),
        _ => words[*dice.pick(&numbers)] = dice.pick(&NUMBERS).to_string(),
    }
    words.concat()
}

/// Runs of letters and digits, and every other character by itself.
fn split_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c: char| c.is_alphanumeric() != first.is_alphanumeric());
        let end = if first.is_alphanumeric() {
            run.unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}

fn change_bytes(input: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let place = dice.roll(input.len());
    match dice.roll(5) {
        0 => input.truncate(place),
        1 if !input.is_empty() => input[place] ^= 1 << dice.roll(8),
        2 if !input.is_empty() => input[place] = dice.roll(256) as u8,
        3 if !input.is_empty() => drop(input.remove(place)),
        _ => {
            let other = dice.pick(seeds);
            let from = dice.roll(other.len());
            input.truncate(place);
            input.extend(&other[from..]);
        }
    }
}
