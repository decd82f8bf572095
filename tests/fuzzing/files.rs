//! Files that a user hands over: sessions and a network for the demo, messages in JSON, an export of journals.
//!
//! The first byte chooses the kind; where there are two files, a NUL divides them. A day that can be read can be played: its cars,
//! EVSEs and places fit together. A message that can be read is written and read back equal, then used as if it had been sent. An
//! export that can be restored is exported as it was read.

use super::{Verdict, api, check_rejection};
use chrono::NaiveDate;
use laddplan::simulate::day::{Day, Source, SupplySource, Unmapped};
use laddplan::store::export::{ExportError, export, restore};
use laddplan::store::memory::MemoryStore;
use laddplan::units::{Volts, Watts};
use laddplan::wire::json::{Layout, from_json, to_json};
use laddplan::wire::proto;
use laddplan::wire::site::{prices, valid_site_spec};
use prost::{Message, Name};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::task::{Context, Poll, Waker};

const DATE: NaiveDate = NaiveDate::from_ymd_opt(2019, 11, 20).expect("is a date");
/// The site that is looked for in a network.
pub const SITE: &str = "jpl";
/// Longest line of a complaint about a file.
const MAX_COMPLAINT_CHARS: usize = 2_000;

/// The file that a first byte chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// Sessions alone.
    Sessions,
    /// A network, then sessions.
    Network,
    PlanRequest,
    Site,
    Prices,
    Export,
}

impl File {
    const ALL: [Self; 6] = [
        Self::Sessions,
        Self::Network,
        Self::PlanRequest,
        Self::Site,
        Self::Prices,
        Self::Export,
    ];

    /// An input of this kind. Its first byte is printable.
    pub fn input(self, text: &str) -> Vec<u8> {
        let first = (b'a'..=b'z').find(|byte| Self::ALL[usize::from(*byte) % Self::ALL.len()] == self);
        let mut input = vec![first.expect("there are enough letters")];
        input.extend(text.as_bytes());
        input
    }
}

pub fn run(data: &[u8]) -> Verdict {
    let Some((first, text)) = data.split_first() else {
        return Verdict::Refused;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return Verdict::Refused;
    };
    let used = match File::ALL[usize::from(*first) % File::ALL.len()] {
        File::Sessions => day(text, unmapped(*first)),
        File::Network => {
            let (network, sessions) = text.split_once('\0').unwrap_or((text, ""));
            let supply = SupplySource::Network {
                json: network.to_owned(),
                site: SITE.to_owned(),
            };
            day(sessions, supply)
        }
        File::PlanRequest => json(text, |request| api::plan(&request)),
        File::Site => json(text, |site: proto::Site| {
            api::use_site(&valid_site_spec(&api::KNOWN.tenant, &site)?);
            Ok(())
        }),
        File::Prices => json(text, |request: proto::SetPricesRequest| {
            prices(&request.prices).map(drop).map_err(|fault| fault.under("prices"))
        }),
        File::Export => restored(text),
    };
    if used { Verdict::Used } else { Verdict::Refused }
}

/// What the command line may say of a site without a network.
fn unmapped(choice: u8) -> SupplySource {
    SupplySource::Unmapped(Unmapped {
        time_zone: "America/Los_Angeles".to_owned(),
        volt: Volts::from_volts([100, 208, 230, 1_000][usize::from(choice / 8) % 4]),
        phases: choice / 64 + 1,
    })
}

fn day(sessions: &str, supply: SupplySource) -> bool {
    let source = Source {
        sessions: sessions.to_owned(),
        date: DATE,
        supply,
        grid_limit: Watts::from_watts(50_000),
    };
    let day = match Day::read(&source) {
        Ok(day) => day,
        Err(error) => {
            check_complaint(&format!("{error:#}"));
            return false;
        }
    };
    assert!(day.start < day.end && day.cut.from < day.cut.until);
    assert!(day.sessions.is_sorted_by_key(|session| session.arrival));
    assert_eq!(day.evses.len(), day.site.evses().count());
    for evse in &day.evses {
        assert_eq!(day.site.place_of_evse(&evse.id), Some(evse.place));
        assert!(evse.wires.power(evse.wires.maximum) > Watts::ZERO);
    }
    for session in &day.sessions {
        assert!(session.arrival >= day.start && session.departure > session.arrival);
        assert!(session.evse < day.evses.len());
    }
    api::use_site(day.site.spec());
    true
}

fn check_complaint(complaint: &str) {
    let chars = complaint.chars().count();
    assert!(
        !complaint.is_empty() && chars <= MAX_COMPLAINT_CHARS,
        "{chars} characters"
    );
}

fn json<M: Message + Name + Default + PartialEq + Debug>(
    text: &str,
    call: impl FnOnce(M) -> Result<(), laddplan::domain::rejection::Rejection>,
) -> bool {
    let message: M = match from_json(text) {
        Ok(message) => message,
        Err(error) => {
            check_complaint(&error.to_string());
            return false;
        }
    };
    let written = to_json(&message, Layout::Pretty).expect("what was JSON can be JSON");
    assert_eq!(from_json::<M>(&written).expect("our own JSON"), message, "{written}");
    match call(message) {
        Ok(()) => true,
        Err(rejection) => {
            check_rejection(&rejection);
            false
        }
    }
}

fn restored(text: &str) -> bool {
    let store = MemoryStore::default();
    let counts = match ready(restore(&store, &mut text.as_bytes())) {
        Ok(counts) => counts,
        Err(error) => {
            check_complaint(&error.to_string());
            return false;
        }
    };
    let mut lines = Vec::new();
    // Each journal that is restored says so at its end.
    let marks = match ready(export(&store, &mut lines)) {
        Ok(told) => {
            assert_eq!(told.damaged, Vec::<String>::new());
            assert_eq!(told.counts.ended_sessions, counts.ended_sessions);
            told.counts.entries - counts.entries
        }
        // An entry may hold a time that JSON cannot say only if it was not read from JSON.
        Err(ExportError::Json(error)) => panic!("{error}"),
        Err(error) => panic!("a store in memory: {error}"),
    };
    let again = MemoryStore::default();
    ready(restore(&again, &mut lines.as_slice())).expect("our own export");
    let mut lines_again = Vec::new();
    let told = ready(export(&again, &mut lines_again)).expect("as before");
    assert_eq!(told.counts.entries, counts.entries + 2 * marks);
    let all: BTreeSet<&[u8]> = lines_again.split(|byte| *byte == b'\n').collect();
    let end = br#"{"end""#;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(end)) {
        assert!(all.contains(line), "{}", String::from_utf8_lossy(line));
    }
    true
}

/// A future of the store in memory is ready at once.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing in memory has to be waited for"),
    }
}
