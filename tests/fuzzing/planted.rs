//! A bug that is there on purpose: whether the fuzzer still finds one.
//!
//! Nothing of the service is wrong here. The "bug" is a panic on calls that start a session which is valid and odd in five ways that
//! have nothing to do with each other. Each alone is rare, and only a search that keeps an input for having come one step further
//! finds all five: blind changes of the same seed do not, which `tests/fuzz_seeds.rs` shows.

use super::Verdict;
use super::api::KNOWN;
use laddplan::domain::session::Session;
use laddplan::wire::proto;
use laddplan::wire::session::session_spec;
use prost::Message;

/// The steps to the bug, of which an input takes as many as it can.
pub const STEPS: usize = 5;

/// # Panics
/// If the input takes every step.
pub fn run(data: &[u8]) -> Verdict {
    let taken = steps(data);
    assert!(taken != Some(STEPS), "the planted bug is found");
    if taken.is_some() {
        Verdict::Used
    } else {
        Verdict::Refused
    }
}

/// One step after the other. `None` where the session is not valid.
pub fn steps(data: &[u8]) -> Option<usize> {
    let message = proto::StartSessionRequest::decode(data).ok()?;
    let session = message.session.unwrap_or_default();
    let spec = session_spec(&session, None).ok()?;
    Session::start(spec, &KNOWN.site, KNOWN.now).ok()?;
    Some(if session.tier >= 7 { urgent(&session) } else { 0 })
}

// Each step is a function of its own: a fuzzer sees it entered, whatever an optimiser makes of the branches.

#[inline(never)]
fn urgent(session: &proto::SessionSpec) -> usize {
    let need = session.need_watt_hour.unwrap_or(0);
    if need % 16 == 5 { odd_need(session) } else { 1 }
}

#[inline(never)]
fn odd_need(session: &proto::SessionSpec) -> usize {
    let is_odd = session.guaranteed_watt_hour % 8 == 3;
    if is_odd { odd_guarantee(session) } else { 2 }
}

#[inline(never)]
fn odd_guarantee(session: &proto::SessionSpec) -> usize {
    if session.group_id.len() >= 24 {
        long_group(session)
    } else {
        3
    }
}

#[inline(never)]
fn long_group(session: &proto::SessionSpec) -> usize {
    let phases = session.car.as_ref().map_or(0, |car| car.phase_count);
    if phases == 3 { STEPS } else { 4 }
}
