//! Who is admitted, by every policy, and what is kept to oneself.

use super::*;
use crate::domain::ids::GroupId;

const NOW: Instant = Instant::from_unix_secs(1_700_000_000);

fn group(name: &str) -> GroupId {
    GroupId::parse(name).unwrap()
}

fn policy(admits: Admits) -> DriverPolicy {
    DriverPolicy {
        admits,
        limit_otherwise: Watts::ZERO,
    }
}

fn driver(listing: Option<Listing>, answer: Option<Authorisation>) -> Driver {
    Driver {
        person: PersonRef::parse("person-1").unwrap(),
        listing,
        answer,
    }
}

fn listed() -> Listing {
    Listing {
        valid: true,
        until: None,
        whitelist: Whitelist::Allowed,
        group: None,
    }
}

fn with(change: impl FnOnce(&mut Listing)) -> Driver {
    let mut listing = listed();
    change(&mut listing);
    driver(Some(listing), None)
}

fn authorised(offline: Offline) -> DriverPolicy {
    policy(Admits::Authorised {
        offline,
        remember: Seconds::ZERO,
    })
}

#[test]
fn an_open_site_asks_nobody_who_he_is() {
    let open = DriverPolicy::default();
    let blocked = with(|listing| listing.valid = false);
    for driver in [None, Some(&blocked), Some(&driver(None, None))] {
        assert_eq!(open.verdict(driver, NOW), Ok(()));
    }
    assert!(!open.asks(&driver(None, None), NOW));
}

#[test]
fn listed_tokens_are_admitted_until_they_are_blocked_or_expire() {
    let policy = policy(Admits::Listed);
    assert_eq!(policy.verdict(None, NOW), Err(NotAdmitted::NoToken));
    assert_eq!(
        policy.verdict(Some(&driver(None, None)), NOW),
        Err(NotAdmitted::Unknown)
    );
    assert_eq!(policy.verdict(Some(&with(|_| {})), NOW), Ok(()));
    let blocked = with(|listing| listing.valid = false);
    assert_eq!(policy.verdict(Some(&blocked), NOW), Err(NotAdmitted::Blocked));
    let until = NOW + Seconds::from_secs(1);
    let expiring = with(|listing| listing.until = Some(until));
    assert_eq!(policy.verdict(Some(&expiring), NOW), Ok(()));
    assert_eq!(policy.verdict(Some(&expiring), until), Err(NotAdmitted::Expired));
    assert_eq!(policy.changes_at(Some(&expiring), NOW), Some(until));
    assert_eq!(policy.changes_at(Some(&expiring), until), None);
    assert_eq!(DriverPolicy::default().changes_at(Some(&expiring), NOW), None);
}

#[test]
fn only_the_groups_of_the_site_are_admitted() {
    let policy = policy(Admits::Groups([group("staff"), group("pool")].into()));
    for (member_of, expected) in [
        (Some("staff"), Ok(())),
        (Some("guests"), Err(NotAdmitted::NotInGroup)),
        (None, Err(NotAdmitted::NotInGroup)),
    ] {
        let driver = with(|listing| listing.group = member_of.map(group));
        assert_eq!(policy.verdict(Some(&driver), NOW), expected, "{member_of:?}");
    }
    let blocked = with(|listing| {
        listing.group = Some(group("staff"));
        listing.valid = false;
    });
    assert_eq!(policy.verdict(Some(&blocked), NOW), Err(NotAdmitted::Blocked));
    assert_eq!(
        policy.verdict(Some(&driver(None, None)), NOW),
        Err(NotAdmitted::Unknown)
    );
}

#[test]
fn whoever_is_asked_decides_but_for_tokens_that_are_never_asked_about() {
    let policy = authorised(Offline::Nobody);
    let unknown = driver(None, None);
    assert!(policy.asks(&unknown, NOW));
    assert_eq!(policy.verdict(Some(&unknown), NOW), Err(NotAdmitted::Awaited));
    for (answer, expected) in [
        (Authorisation::Allowed, Ok(())),
        (Authorisation::Blocked, Err(NotAdmitted::Blocked)),
        (Authorisation::Expired, Err(NotAdmitted::Expired)),
        (Authorisation::NoCredit, Err(NotAdmitted::NoCredit)),
        (Authorisation::NotAllowed, Err(NotAdmitted::NotAllowed)),
        (Authorisation::Unanswered, Err(NotAdmitted::Unanswered)),
    ] {
        let driver = driver(None, Some(answer));
        assert_eq!(policy.verdict(Some(&driver), NOW), expected, "{answer:?}");
        // Nobody is asked twice but for want of an answer.
        assert_eq!(policy.asks(&driver, NOW), answer == Authorisation::Unanswered);
    }
    let always = with(|listing| listing.whitelist = Whitelist::Always);
    assert_eq!(policy.verdict(Some(&always), NOW), Ok(()));
    assert!(!policy.asks(&always, NOW));
    for whitelist in [Whitelist::Allowed, Whitelist::AllowedOffline, Whitelist::Never] {
        let driver = with(|listing| listing.whitelist = whitelist);
        assert!(policy.asks(&driver, NOW), "{whitelist:?}");
    }
    // What is listed as blocked needs no answer.
    let blocked = with(|listing| listing.valid = false);
    assert!(!policy.asks(&blocked, NOW));
    assert_eq!(policy.verdict(Some(&blocked), NOW), Err(NotAdmitted::Blocked));
}

#[test]
fn without_an_answer_the_offline_rule_decides() {
    let unanswered = |listing| driver(listing, Some(Authorisation::Unanswered));
    let listed_as = |whitelist| unanswered(Some(Listing { whitelist, ..listed() }));
    let no = Err(NotAdmitted::Unanswered);
    for (driver, expected) in [
        (unanswered(None), [no, no, Ok(())]),
        (listed_as(Whitelist::Allowed), [no, Ok(()), Ok(())]),
        (listed_as(Whitelist::AllowedOffline), [no, Ok(()), Ok(())]),
        (listed_as(Whitelist::Never), [no, no, Ok(())]),
    ] {
        let rules = [Offline::Nobody, Offline::Listed, Offline::Everybody];
        let verdicts = rules.map(|offline| authorised(offline).verdict(Some(&driver), NOW));
        assert_eq!(verdicts, expected, "{driver:?}");
    }
    let blocked = unanswered(Some(Listing {
        valid: false,
        ..listed()
    }));
    let verdict = authorised(Offline::Everybody).verdict(Some(&blocked), NOW);
    assert_eq!(verdict, Err(NotAdmitted::Blocked));
}

#[test]
fn a_personal_text_is_told_to_nobody_by_accident() {
    let uid = Personal::parse("token.uid", "04A1B2C3").unwrap();
    assert!(!format!("{uid:?}").contains("04A1"));
    let long = "04A1".repeat(10);
    let refused = Personal::parse("token.uid", &long).unwrap_err().to_string();
    assert!(!refused.contains("04A1"), "{refused}");
    assert_eq!(uid.folded(), Personal::parse("token.uid", "04a1b2c3").unwrap().folded());
}

#[test]
fn policies_without_a_meaning_are_refused() {
    for admits in [
        Admits::Groups(BTreeSet::new()),
        Admits::Authorised {
            offline: Offline::Nobody,
            remember: MAX_REMEMBER_ANSWER + Seconds::from_secs(1),
        },
    ] {
        assert!(policy(admits.clone()).check().is_err(), "{admits:?}");
    }
    let negative = DriverPolicy {
        limit_otherwise: Watts::from_watts(-1),
        ..DriverPolicy::default()
    };
    assert!(negative.check().is_err());
}
