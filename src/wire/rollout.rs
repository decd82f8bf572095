//! The roll-out as it is shown.
//!
//! Decides the words of reasons on the wire. What they are is decided by the roll-out.

use super::commissioning::check_message;
use super::common::timestamp_message;
use super::proto;
use crate::domain::commissioning::EvseCheck;
use crate::domain::conversion::Load;
use crate::domain::ids::SessionId;
use crate::domain::limits::Capacity;
use crate::domain::profile::Cause;
use crate::engine::view::{
    AttemptAnswer, AttemptStatus, EvseStatus, Hold, NodeMeterStatus, PlaceStatus, Reason, RevisionStatus, Trust,
};
use crate::units::{DeciAmps, Instant, Watts};

pub fn place_message(place: &PlaceStatus) -> proto::PlaceRoom {
    proto::PlaceRoom {
        node_id: place.id.to_string(),
        parent_id: place.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        available: Some(capacity_message(&place.available)),
        worst_case: Some(load_message(&place.worst)),
        headroom: Some(capacity_message(&place.headroom)),
        least_headroom: Some(capacity_message(&place.least_headroom)),
        meter: place.meter.as_ref().map(meter_message),
    }
}

fn meter_message(meter: &NodeMeterStatus) -> proto::PlaceMeter {
    let [l1, l2, l3] = meter.lines.map(|line| line.map(DeciAmps::deciamps));
    proto::PlaceMeter {
        at: Some(timestamp_message(meter.at)),
        l1_deciampere: l1,
        l2_deciampere: l2,
        l3_deciampere: l3,
        total_watt: meter.total.map(Watts::watts),
        overload_used_permille: i32::try_from(meter.used_permille).unwrap_or(i32::MAX),
        sheds_since: meter.sheds_since.map(timestamp_message),
    }
}

pub fn evse_message(status: &EvseStatus, session: Option<&SessionId>, check: Option<&EvseCheck>) -> proto::EvseRollout {
    proto::EvseRollout {
        evse_id: status.evse.to_string(),
        left_site: !status.in_site,
        session_id: session.map(ToString::to_string).unwrap_or_default(),
        trust: trust_message(status.trust).into(),
        reserved: Some(load_message(&status.reserved)),
        allowed: Some(load_message(&status.allowed)),
        unused_watt: status.unused().watts(),
        reasons: status.reasons.iter().map(reason_message).collect(),
        revisions: status.revisions.iter().map(revision_message).collect(),
        open_attempts: i32::try_from(status.open_attempts()).unwrap_or(i32::MAX),
        check: check.map(check_message),
    }
}

fn capacity_message(capacity: &Capacity) -> proto::PlaceCapacity {
    let least = |lines: Option<[DeciAmps; 3]>| {
        let lines = lines.into_iter().flatten();
        lines.min().map(DeciAmps::deciamps)
    };
    let [l1, l2, l3] = capacity.line.map(|line| line.map(DeciAmps::deciamps));
    proto::PlaceCapacity {
        l1_deciampere: l1,
        l2_deciampere: l2,
        l3_deciampere: l3,
        total_watt: capacity.total.map(Watts::watts),
        unbalance_deciampere: least(capacity.unbalance),
        difference_deciampere: least(capacity.difference),
    }
}

fn load_message(load: &Load) -> proto::PlaceLoad {
    let [l1, l2, l3] = load.line_currents().map(DeciAmps::deciamps);
    proto::PlaceLoad {
        l1_deciampere: l1,
        l2_deciampere: l2,
        l3_deciampere: l3,
        total_watt: load.total.watts(),
    }
}

fn trust_message(trust: Trust) -> proto::Trust {
    match trust {
        Trust::Unknown => proto::Trust::Unknown,
        Trust::Obeys => proto::Trust::Obeys,
        Trust::Disobeys => proto::Trust::Disobeys,
    }
}

fn reason_message(reason: &Reason) -> proto::ReservationReason {
    use proto::reservation_reason::Reason as Arm;
    let arm = match reason {
        Reason::NotControllable => Arm::NotControllable(true),
        Reason::Disobeys => Arm::Disobeys(true),
        Reason::Default => Arm::DefaultCounts(true),
        Reason::UnknownUntil(until) => Arm::UnknownUntil(timestamp_message(*until)),
        Reason::TailInDoubt => Arm::TailInDoubt(true),
        Reason::Revision(revision, _) => Arm::Revision(revision.number().cast_signed()),
    };
    proto::ReservationReason { reason: Some(arm) }
}

fn hold_message(hold: Hold) -> (proto::RevisionHold, Option<Instant>) {
    match hold {
        Hold::InForce => (proto::RevisionHold::InForce, None),
        Hold::Unanswered => (proto::RevisionHold::Unanswered, None),
        Hold::RefusedUntil(until) => (proto::RevisionHold::Refused, Some(until)),
        Hold::NewerUnanswered(_) => (proto::RevisionHold::NewerUnanswered, None),
        Hold::SettlesAt(until) => (proto::RevisionHold::Settles, Some(until)),
        Hold::MayComeLate => (proto::RevisionHold::MayComeLate, None),
        Hold::WaitsForMeter => (proto::RevisionHold::WaitsForMeter, None),
        Hold::WaitsForLease => (proto::RevisionHold::WaitsForLease, None),
        Hold::Tail => (proto::RevisionHold::Tail, None),
    }
}

fn revision_message(status: &RevisionStatus) -> proto::RevisionStatus {
    let (hold, hold_until) = status.hold.map(hold_message).unwrap_or_default();
    let cause = match status.cause {
        Cause::Change => proto::CommandCause::Change,
        Cause::Renewal => proto::CommandCause::Renewal,
        Cause::Retry => proto::CommandCause::Retry,
    };
    proto::RevisionStatus {
        revision: status.revision.number().cast_signed(),
        session_id: status.session.to_string(),
        cause: cause.into(),
        lease_end: status.lease_end.map(timestamp_message),
        load: Some(load_message(&status.load)),
        hold: hold.into(),
        hold_until: hold_until.map(timestamp_message),
        attempts: status.attempts.iter().map(attempt_message).collect(),
    }
}

fn attempt_message(status: &AttemptStatus) -> proto::AttemptStatus {
    let answer = match status.answer {
        AttemptAnswer::None => proto::AttemptAnswer::Unspecified,
        AttemptAnswer::Forwarded => proto::AttemptAnswer::Forwarded,
        AttemptAnswer::Accepted => proto::AttemptAnswer::Accepted,
        AttemptAnswer::Rejected => proto::AttemptAnswer::Rejected,
        AttemptAnswer::Contradicted => proto::AttemptAnswer::Contradicted,
    };
    proto::AttemptStatus {
        attempt: i32::try_from(status.attempt).unwrap_or(i32::MAX),
        sent_at: Some(timestamp_message(status.sent_at)),
        answer: answer.into(),
    }
}
