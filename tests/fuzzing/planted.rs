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
    Some(if session.tier >= 3 { late(&session) } else { 0 })
}

// Each step is a function of its own: a fuzzer sees it entered, whatever an optimiser makes of the branches. Each wants another part
// of the seed changed, and `mutation` changes fewer at a time than there are steps.

#[inline(never)]
fn late(session: &proto::SessionSpec) -> usize {
    if session.not_interruptible {
        1
    } else {
        interruptible(session)
    }
}

#[inline(never)]
fn interruptible(session: &proto::SessionSpec) -> usize {
    if session.need_estimated {
        of_guessed_need(session)
    } else {
        2
    }
}

#[inline(never)]
fn of_guessed_need(session: &proto::SessionSpec) -> usize {
    if session.departure_estimated {
        that_leaves_sometime(session)
    } else {
        3
    }
}

#[inline(never)]
fn that_leaves_sometime(session: &proto::SessionSpec) -> usize {
    if session.ocpi.is_none() { STEPS } else { 4 }
}
