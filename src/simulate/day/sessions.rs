//! Sessions from a CSV file: one line each, columns by the names in its header, times in UTC.
//!
//! Decides which sessions of the day can be played. A file that cannot be read is an error that names the line; a session that makes
//! no sense beside the others is left out and counted.

use super::{DayEvse, DaySession};
use crate::units::{Instant, WattSeconds, Watts};
use anyhow::{Context, bail, ensure};
use chrono::DateTime;
use serde::Deserialize;
use std::collections::HashSet;
use std::ops::Range;

/// Sessions of one day.
const MAX_SESSIONS: usize = 2_000;

/// A line of the file, as it is there.
#[derive(Debug, Deserialize)]
struct Line {
    session_id: String,
    evse_id: String,
    arrival: String,
    departure: String,
    energy_kwh: String,
    #[serde(default)]
    requested_kwh: String,
    #[serde(default)]
    requested_departure: String,
    #[serde(default)]
    max_power_kw: String,
}

/// A session before its EVSE is looked up.
#[derive(Clone, Debug)]
pub struct Row {
    pub evse: String,
    pub session: DaySession,
}

/// The sessions that arrive during `day`, by arrival. Only their lines are read closely.
pub fn read(csv: &str, day: Range<Instant>) -> anyhow::Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(csv.as_bytes());
    let mut rows = Vec::new();
    for line in reader.deserialize::<Line>() {
        let line = line.context("sessions")?;
        let row =
            read_line(&line, &day).with_context(|| format!("sessions, {} at {}", line.session_id, line.evse_id))?;
        rows.extend(row);
        ensure!(
            rows.len() <= MAX_SESSIONS,
            "sessions: more than {MAX_SESSIONS} arrive on one day"
        );
    }
    rows.sort_by_key(|row| row.session.arrival);
    Ok(rows)
}

fn read_line(line: &Line, day: &Range<Instant>) -> anyhow::Result<Option<Row>> {
    let arrival = instant("arrival", &line.arrival)?;
    if !day.contains(&arrival) {
        return Ok(None);
    }
    let requested_departure = optional(&line.requested_departure, |text| instant("requested_departure", text))?;
    let requested = optional(&line.requested_kwh, |text| energy("requested_kwh", text))?;
    Ok(Some(Row {
        evse: line.evse_id.clone(),
        session: DaySession {
            id: as_id(&line.session_id),
            evse: 0,
            arrival,
            departure: instant("departure", &line.departure)?,
            energy: energy("energy_kwh", &line.energy_kwh)?,
            // What drivers type in may make no sense; then they said nothing.
            requested: requested.filter(|requested| *requested > WattSeconds::ZERO),
            requested_departure: requested_departure.filter(|departure| *departure > arrival),
            maximum: optional(&line.max_power_kw, |text| power("max_power_kw", text))?,
        },
    }))
}

/// Those that can be played at these EVSEs, and the others counted by reason.
pub fn at(rows: Vec<Row>, evses: &[DayEvse]) -> (Vec<DaySession>, Vec<(String, usize)>) {
    let mut played: Vec<DaySession> = Vec::new();
    let mut left_out: Vec<(String, usize)> = Vec::new();
    let mut ids = HashSet::new();
    for row in rows {
        match fault(&row, evses, &played, &ids) {
            Ok(evse) => {
                ids.insert(row.session.id.clone());
                played.push(DaySession { evse, ..row.session });
            }
            Err(reason) => match left_out.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => left_out.push((reason.to_owned(), 1)),
            },
        }
    }
    (played, left_out)
}

/// The EVSE of a session, or why it cannot be played after those in `played`.
fn fault(row: &Row, evses: &[DayEvse], played: &[DaySession], ids: &HashSet<String>) -> Result<usize, &'static str> {
    let session = &row.session;
    if session.departure <= session.arrival {
        return Err("leaves before it arrives");
    }
    if ids.contains(&session.id) {
        return Err("has the id of another");
    }
    let evse = evses
        .iter()
        .position(|evse| evse.id.as_str() == row.evse)
        .ok_or("its EVSE is not part of the site")?;
    if played
        .iter()
        .any(|before| before.evse == evse && before.departure >= session.arrival)
    {
        return Err("its EVSE is still taken when it arrives");
    }
    Ok(evse)
}

/// Ids may not hold spaces, nor be long.
fn as_id(text: &str) -> String {
    let graphic = |char: char| if char.is_ascii_graphic() { char } else { '_' };
    text.chars()
        .map(graphic)
        .take(crate::domain::ids::MAX_ID_BYTES)
        .collect()
}

fn optional<T>(text: &str, read: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    (!text.is_empty()).then(|| read(text)).transpose()
}

fn instant(column: &str, text: &str) -> anyhow::Result<Instant> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(Instant::from_unix_secs(time.timestamp())),
        Err(_) => bail!("{column} is {text:?}, not a time such as 2019-11-20T15:04:05Z"),
    }
}

fn energy(column: &str, text: &str) -> anyhow::Result<WattSeconds> {
    let kilowatt_hours = number(column, text, 10_000.0)?;
    Ok(WattSeconds::from_watt_seconds((kilowatt_hours * 3.6e6).round() as i64))
}

fn power(column: &str, text: &str) -> anyhow::Result<Watts> {
    Ok(Watts::from_watts((number(column, text, 4_000.0)? * 1e3).round() as i64))
}

fn number(column: &str, text: &str, most: f64) -> anyhow::Result<f64> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=most).contains(&number) => Ok(number),
        _ => bail!("{column} is {text:?}, not a number from 0 to {most}"),
    }
}
