//! How long an answer holds, and how news is told.

use super::*;
use crate::domain::driver::{Admits, DriverPolicy, TokenKind};
use crate::units::Seconds;

const NOW: Instant = Instant::from_unix_secs(1_700_000_000);

fn known(answered_at: Instant) -> Known {
    Known {
        person: PersonRef::parse("person-1").unwrap(),
        name: TokenName {
            kind: TokenKind::Rfid,
            uid: Personal::parse("uid", "04A1").unwrap(),
        },
        listing: None,
        answer: Some((Authorisation::Allowed, answered_at)),
    }
}

#[test]
fn an_answer_holds_for_later_sessions_as_long_as_the_site_remembers_it() {
    let site = |remember| DriverPolicy {
        admits: Admits::Authorised {
            offline: Default::default(),
            remember,
        },
        ..DriverPolicy::default()
    };
    let hour = Seconds::from_hours(1);
    let answer = |policy: &DriverPolicy, now| known(NOW).driver(policy, now).answer;
    assert_eq!(answer(&site(hour), NOW), Some(Authorisation::Allowed));
    assert_eq!(answer(&site(hour), NOW + hour), None);
    assert_eq!(answer(&site(Seconds::ZERO), NOW), None, "a site that remembers nothing");
    assert_eq!(answer(&site(hour), NOW - hour), None, "an answer of a time to come");
    assert_eq!(answer(&DriverPolicy::default(), NOW), None, "a site that asks nobody");
}

#[tokio::test]
async fn news_waits_for_whoever_looks_and_is_told_once() {
    let register = crate::store::register::SqliteRegister::in_memory();
    let drivers = Drivers::new(Arc::new(register));
    let site = SiteKey {
        tenant: TenantId::parse("acme").unwrap(),
        site: crate::domain::ids::SiteId::parse("quay").unwrap(),
    };
    for _ in 0..3 {
        drivers.look_at(site.clone());
    }
    assert_eq!(drivers.news().await.sites, [site].into());
    let none = tokio::time::timeout(std::time::Duration::from_millis(1), drivers.news());
    assert!(none.await.is_err());
}
