//! A refusal as a gRPC status: the one place where that is decided.
//!
//! Decides code, words and details. A status fits in the 8 KiB of headers that gRPC clients accept, however much is wrong.

use crate::domain::rejection::{Fault, Rejection};
use crate::engine::Refusal;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// Advice to callers who were refused for lack of room.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Characters outside ASCII take three bytes for each of their own when the message travels.
const MAX_MESSAGE_BYTES: usize = 1_024;
/// Travels in base 64, four bytes for three.
const MAX_DETAIL_BYTES: usize = 3_072;

pub fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Rejected(rejection) => rejected(rejection),
        Refusal::NotFound { .. } => Status::not_found(refusal.to_string()),
        Refusal::RequestReused(_) | Refusal::Done(_) => Status::already_exists(refusal.to_string()),
        Refusal::NotNow(_) => Status::failed_precondition(refusal.to_string()),
        Refusal::Busy { what } => exhausted(what),
        Refusal::Unavailable(_) => Status::unavailable(refusal.to_string()),
    }
}

/// There is no room for more of `what` now; there may be some soon. Programs find `what` as the subject of a quota failure.
pub fn exhausted(what: &str) -> Status {
    full(what, format!("too many {what} at once"), RETRY_DELAY)
}

/// `what` comes faster than it may; there is room for one more after `wait`.
pub fn too_fast(what: &str, wait: Duration) -> Status {
    full(what, format!("too many {what}"), wait)
}

fn full(what: &str, message: String, wait: Duration) -> Status {
    let mut details = ErrorDetails::with_quota_failure_violation(what, "is full");
    details.set_retry_info(Some(wait));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// Every fault as a field violation, as far as they fit.
pub fn rejected(rejection: &Rejection) -> Status {
    let faults = rejection.faults();
    let mut violations = Vec::new();
    let mut bytes = 0;
    for fault in faults {
        let violation = violation(fault);
        bytes += violation.field.len() + violation.description.len();
        if bytes > MAX_DETAIL_BYTES && !violations.is_empty() {
            break;
        }
        violations.push(violation);
    }
    let details = ErrorDetails::with_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, message(faults), details)
}

fn violation(fault: &Fault) -> FieldViolation {
    let description = format!("{}; got {}, allowed: {}", fault.rule, fault.got, fault.allowed);
    FieldViolation::new(&fault.field, description)
}

/// One line for each fault, as far as they fit, and how many were left out.
fn message(faults: &[Fault]) -> String {
    let mut text = String::new();
    for (index, fault) in faults.iter().enumerate() {
        let line = fault.to_string();
        if index > 0 && text.len() + line.len() > MAX_MESSAGE_BYTES {
            text.push_str(&format!("\nand {} more", faults.len() - index));
            break;
        }
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RequestId;
    use crate::domain::rejection::{Faults, MAX_FAULTS};

    #[test]
    fn each_refusal_has_its_code() {
        let cases = [
            (
                Refusal::from(Rejection::one("a", "is b", "c", "d")),
                Code::InvalidArgument,
            ),
            (
                Refusal::NotFound {
                    what: "site",
                    id: "x".to_owned(),
                },
                Code::NotFound,
            ),
            (
                Refusal::RequestReused(RequestId::parse("r").unwrap()),
                Code::AlreadyExists,
            ),
            (Refusal::Busy { what: "plans" }, Code::ResourceExhausted),
            (Refusal::Done("shown".to_owned()), Code::AlreadyExists),
            (Refusal::NotNow("later".to_owned()), Code::FailedPrecondition),
            (Refusal::Unavailable("gone".to_owned()), Code::Unavailable),
        ];
        for (refusal, code) in cases {
            assert_eq!(status(&refusal).code(), code, "{refusal}");
        }
    }

    #[test]
    fn a_rejection_carries_each_fault_as_a_field_violation() {
        let rejection = Rejection::one("site.nodes[2].parent_id", "names no node", "n9", "a node of the site");
        let status = rejected(&rejection);
        assert_eq!(
            status.message(),
            "site.nodes[2].parent_id: names no node; got n9, allowed: a node of the site"
        );
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "site.nodes[2].parent_id");
        assert_eq!(
            violations[0].description,
            "names no node; got n9, allowed: a node of the site"
        );
    }

    #[test]
    fn a_caller_without_room_is_told_what_is_full_and_when_to_come_back() {
        let status = status(&Refusal::Busy { what: "plans" });
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(RETRY_DELAY));
        assert_eq!(status.message(), "too many plans at once");
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "plans");
    }

    #[test]
    fn the_worst_rejection_fits_in_the_headers_of_a_client() {
        let mut faults = Faults::default();
        for index in 0..MAX_FAULTS {
            let field = format!("site.stations[{index}].evses[3].connectors[1].minimum.current_deciampere");
            faults.add(field, "is not allowed", "‰".repeat(200), "60 to 5000 dA");
        }
        let headers = rejected(&faults.into_rejection())
            .into_http::<()>()
            .into_parts()
            .0
            .headers;
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        assert!(bytes < 8_192, "{bytes} bytes of headers");
    }
}
