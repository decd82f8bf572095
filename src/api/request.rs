//! What calls share: which request, which page.
//!
//! Decides how these are read. Every reader notes its faults beside those of the rest of the request.

use crate::access::Caller;
use crate::domain::event::{Receipt, RequestStamp};
use crate::domain::ids::RequestId;
use crate::domain::rejection::{Faults, Rejection};
use crate::engine::Refusal;
use crate::wire::common::timestamp_message;
use crate::wire::proto;
use prost::{Message, Name};
use sha2::{Digest, Sha256};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: i64 = 1_000;
/// A page ends before it is larger than this share of the largest response, which leaves room for what is around the items.
const PAGE_BYTES_PERCENT: usize = 90;

/// Names the call, so that a repeat of it is recognised, and says who made it. The hash covers method and body, as decoded.
pub(super) fn stamp<M: Message + Name>(
    faults: &mut Faults,
    caller: &Caller,
    meta: Option<&proto::RequestMeta>,
    message: &M,
) -> Option<RequestStamp> {
    let id = faults.field("meta.request_id", RequestId::parse(request_id(meta)))?;
    // Each method has a request of its own, so the message's name is the method's.
    let mut hasher = Sha256::new();
    hasher.update(M::NAME);
    hasher.update([0]);
    hasher.update(message.encode_to_vec());
    Some(RequestStamp {
        id,
        body_hash: hasher.finalize().into(),
        by: caller.token().cloned(),
    })
}

pub(super) fn request_id(meta: Option<&proto::RequestMeta>) -> &str {
    meta.map_or("", |meta| &meta.request_id)
}

pub(super) fn receipt(receipt: Receipt) -> Option<proto::Receipt> {
    Some(proto::Receipt {
        sequence: receipt.sequence.cast_signed(),
        recorded_at: Some(timestamp_message(receipt.recorded_at)),
        warnings: receipt.warnings,
    })
}

/// Puts the faults of a request's part under its name there.
pub(super) fn under(part: &str, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Rejected(rejection) => rejection.under(part).into(),
        other => other,
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page<Id> {
    /// The last id of the page before.
    pub(super) after: Option<Id>,
    pub(super) size: usize,
}

/// `list` names the list, so that a token of another list is refused.
pub(super) fn page<Id>(
    faults: &mut Faults,
    list: &str,
    message: Option<&proto::PageRequest>,
    parse: impl Fn(&str) -> Result<Id, Rejection>,
) -> Option<Page<Id>> {
    let (size, token) = message.map_or((0, ""), |page| (page.page_size, page.page_token.as_str()));
    let size = match size {
        0 => Some(DEFAULT_PAGE),
        size => faults
            .within("page.page_size", "items", size.into(), 1..=MAX_PAGE)
            .and_then(|size| usize::try_from(size).ok()),
    };
    let after = if token.is_empty() {
        Some(None)
    } else {
        let id = read_token(list, token).and_then(|id| parse(&id).ok());
        let allowed = "next_page_token of the page before, or nothing";
        faults.require(
            id.is_some(),
            "page.page_token",
            "is not a token of this list",
            token,
            allowed,
        );
        id.map(Some)
    };
    Some(Page {
        after: after?,
        size: size?,
    })
}

/// A part of a list, cut where the page is full or the message would grow too large, and the token of the next page.
pub(super) fn cut<T: Message>(
    list: &str,
    items: impl IntoIterator<Item = (String, T)>,
    size: usize,
    max_response_bytes: usize,
) -> (Vec<T>, String) {
    let most_bytes = max_response_bytes / 100 * PAGE_BYTES_PERCENT;
    let mut bytes = 0;
    let mut kept = Vec::new();
    let mut last = String::new();
    for (id, item) in items {
        bytes += item.encoded_len();
        if kept.len() == size || (bytes > most_bytes && !kept.is_empty()) {
            return (kept, token(list, &last));
        }
        kept.push(item);
        last = id;
    }
    (kept, String::new())
}

/// Opaque to callers: the hexadecimal form of the list's name and the last id.
fn token(list: &str, last: &str) -> String {
    format!("{list}/{last}")
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read_token(list: &str, token: &str) -> Option<String> {
    if !token.is_ascii() || !token.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..token.len())
        .step_by(2)
        .map(|index| u8::from_str_radix(&token[index..index + 2], 16).ok())
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    text.strip_prefix(list)?.strip_prefix('/').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, everything_of};
    use crate::domain::ids::{GatewayId, TenantId};

    fn read_page(list: &str, page_size: i32, page_token: &str) -> Result<Page<String>, String> {
        let mut faults = Faults::default();
        let message = proto::PageRequest {
            page_size,
            page_token: page_token.to_owned(),
        };
        page(&mut faults, list, Some(&message), |id| Ok(id.to_owned()))
            .ok_or_else(|| faults.into_rejection().to_string())
    }

    fn start(request_id: &str, site_id: &str) -> proto::StartSessionRequest {
        proto::StartSessionRequest {
            meta: Some(proto::RequestMeta {
                request_id: request_id.to_owned(),
            }),
            site_id: site_id.to_owned(),
            ..Default::default()
        }
    }

    fn caller() -> Caller {
        Caller {
            credential: Credential::Certificate(GatewayId::parse("g").unwrap()),
            grant: everything_of(&TenantId::parse("acme").unwrap()),
            room: None,
        }
    }

    fn stamp_of<M: Message + Name>(meta: Option<&proto::RequestMeta>, message: &M) -> Option<RequestStamp> {
        stamp(&mut Faults::default(), &caller(), meta, message)
    }

    #[test]
    fn the_same_call_has_the_same_stamp_and_another_body_or_method_another() {
        let call = start("r", "a");
        let meta = call.meta.as_ref();
        let update = proto::UpdateSessionRequest {
            meta: call.meta.clone(),
            site_id: "a".to_owned(),
            ..Default::default()
        };
        let first = stamp_of(meta, &call).unwrap();
        assert_eq!(Some(&first), stamp_of(meta, &start("r", "a")).as_ref());
        assert_ne!(first.body_hash, stamp_of(meta, &start("r", "b")).unwrap().body_hash);
        assert_ne!(first.body_hash, stamp_of(meta, &update).unwrap().body_hash);
    }

    #[test]
    fn a_change_without_a_request_id_is_refused() {
        let mut faults = Faults::default();
        assert_eq!(stamp(&mut faults, &caller(), None, &start("", "a")), None);
        let fault = &faults.into_rejection().faults()[0].clone();
        assert_eq!(
            (fault.field.as_str(), fault.rule.as_str()),
            ("meta.request_id", "is required")
        );
    }

    #[test]
    fn the_faults_of_a_part_are_told_by_their_place_in_the_request() {
        let refusal = under("session", Rejection::one("evse_id", "is b", "c", "d").into());
        assert_eq!(refusal.to_string(), "session.evse_id: is b; got c, allowed: d");
    }

    #[test]
    fn a_list_is_read_page_by_page_to_its_end() {
        let items: Vec<String> = (0..7).map(|index| format!("id-{index}")).collect();
        let mut after: Option<String> = None;
        let mut seen = Vec::new();
        loop {
            let rest = items.iter().filter(|id| after.as_ref().is_none_or(|after| *id > after));
            let (page, token) = cut("things", rest.map(|id| (id.clone(), id.clone())), 3, 1_000_000);
            assert!(page.len() <= 3);
            seen.extend(page);
            if token.is_empty() {
                break;
            }
            after = read_page("things", 3, &token).unwrap().after;
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn a_page_ends_before_the_message_is_too_large() {
        let items = (0..10).map(|index| (index.to_string(), "x".repeat(100)));
        let (page, token) = cut("things", items, 1_000, 500);
        assert_eq!(page.len(), 4);
        assert_eq!(read_token("things", &token).as_deref(), Some("3"));
        let (page, _) = cut("things", [("a".to_owned(), "x".repeat(9_000))], 1_000, 500);
        assert_eq!(page.len(), 1, "an item that is too large by itself is not hidden");
    }

    #[test]
    fn a_page_of_another_list_or_size_is_refused() {
        let other = token("others", "id");
        for bad in ["x", "zz", "ab", "é", other.as_str()] {
            assert!(
                read_page("things", 1, bad).unwrap_err().contains("page.page_token"),
                "{bad}"
            );
        }
        assert!(read_page("things", 1_001, "").unwrap_err().contains("page.page_size"));
        assert!(read_page("things", -1, "").unwrap_err().contains("page.page_size"));
        assert_eq!(read_page("things", 0, "").unwrap().size, DEFAULT_PAGE);
    }
}
