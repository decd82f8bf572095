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

/// One step after the other, each in a branch of its own, which is what a fuzzer sees. `None` where the session is not valid.
pub fn steps(data: &[u8]) -> Option<usize> {
    let message = proto::StartSessionRequest::decode(data).ok()?;
    let session = message.session.unwrap_or_default();
    let spec = session_spec(&session, None).ok()?;
    Session::start(spec, &KNOWN.site, KNOWN.now).ok()?;
    if session.tier < 7 {
        return Some(0);
    }
    let need = session.need_watt_hour.unwrap_or(0);
    if need % 16 != 5 {
        return Some(1);
    }
    if session.guaranteed_watt_hour * 2 <= need {
        return Some(2);
    }
    if session.group_id.len() < 24 {
        return Some(3);
    }
    if session.car.unwrap_or_default().phase_count != 3 {
        return Some(4);
    }
    Some(STEPS)
}
