//! Drivers' tokens and groups, and the policies of sites, as messages.
//!
//! Decides how they are read and written, and what zero and absent mean; what is valid is decided in [`crate::domain::driver`]. Never
//! puts whose a token is into a message of the journal.

use super::common::{bounded, one_of, optional_id, read, required, required_timestamp, timestamp, timestamp_message};
use super::{journal_proto as journal, proto};
use crate::domain::bounds::MAX_ENERGY_WATT_HOURS;
use crate::domain::driver::{
    Admits, Authorisation, Driver, DriverPolicy, DriverToken, Listing, MAX_ADMITTED_GROUPS, NotAdmitted, Offline,
    Personal, TokenKind, TokenName, Whitelist,
};
use crate::domain::driver_group::DriverGroup;
use crate::domain::ids::{GroupId, PersonRef};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::Tier;
use crate::units::{Instant, Seconds, WattSeconds, Watts};

// --- Tokens -----------------------------------------------------------------------------------------------------------------------

const fn kind_message(kind: TokenKind) -> proto::DriverTokenType {
    match kind {
        TokenKind::Rfid => proto::DriverTokenType::Rfid,
        TokenKind::AppUser => proto::DriverTokenType::AppUser,
        TokenKind::AdHocUser => proto::DriverTokenType::AdHocUser,
        TokenKind::Emaid => proto::DriverTokenType::Emaid,
        TokenKind::Other => proto::DriverTokenType::Other,
    }
}

const fn whitelist_message(whitelist: Whitelist) -> proto::Whitelist {
    match whitelist {
        Whitelist::Always => proto::Whitelist::Always,
        Whitelist::Allowed => proto::Whitelist::Allowed,
        Whitelist::AllowedOffline => proto::Whitelist::AllowedOffline,
        Whitelist::Never => proto::Whitelist::Never,
    }
}

fn whitelist(number: i32) -> Result<Whitelist, Rejection> {
    if number == proto::Whitelist::Unspecified as i32 {
        return Ok(Whitelist::Allowed);
    }
    one_of(
        number,
        &Whitelist::ALL,
        whitelist_message,
        proto::Whitelist::as_str_name,
    )
}

pub fn token_name(message: &proto::DriverTokenName) -> Result<TokenName, Rejection> {
    read(|faults| {
        let kind = one_of(
            message.r#type,
            &TokenKind::ALL,
            kind_message,
            proto::DriverTokenType::as_str_name,
        );
        let kind = faults.field("type", kind);
        let uid = faults.field("uid", Personal::parse("uid", &message.uid));
        Some(TokenName { kind: kind?, uid: uid? })
    })
}

pub fn token_name_message(name: &TokenName) -> proto::DriverTokenName {
    proto::DriverTokenName {
        r#type: kind_message(name.kind).into(),
        uid: name.uid.show().to_owned(),
    }
}

/// A token as its issuer changed it `now`, unless he says when.
pub fn driver_token(message: &proto::DriverToken, now: Instant) -> Result<DriverToken, Rejection> {
    read(|faults| {
        let name = required(faults, "name", message.name.as_ref(), "a type and a uid");
        let name = name.and_then(|name| faults.part("name", token_name(name)));
        let contract_id = match message.contract_id.as_str() {
            "" => None,
            id => faults.field("contract_id", Personal::parse("contract_id", id)),
        };
        let until = message.valid_until.as_ref();
        let until = until.and_then(|until| faults.part("valid_until", timestamp(until)));
        let whitelist = faults.field("whitelist", whitelist(message.whitelist));
        let group = optional_id(faults, "group_id", &message.group_id, GroupId::parse);
        let updated_at = match &message.updated_at {
            None => Some(now),
            at => required_timestamp(faults, "updated_at", at.as_ref()),
        };
        if let Some(at) = updated_at {
            // One from the future would make every later change look old.
            faults.require(
                at <= now + MAX_AHEAD,
                "updated_at",
                "is ahead of the service's clock",
                at,
                format_args!("up to {}, as unix seconds", now + MAX_AHEAD),
            );
        }
        Some(DriverToken {
            name: name?,
            contract_id,
            listing: Listing {
                valid: message.valid,
                until,
                whitelist: whitelist?,
                group,
            },
            updated_at: updated_at?,
        })
    })
}

/// An issuer's clock may be a little ahead of ours.
const MAX_AHEAD: Seconds = Seconds::from_mins(5);

pub fn driver_token_message(token: &DriverToken) -> proto::DriverToken {
    let listing = &token.listing;
    proto::DriverToken {
        name: Some(token_name_message(&token.name)),
        contract_id: token
            .contract_id
            .as_ref()
            .map(|id| id.show().to_owned())
            .unwrap_or_default(),
        valid: listing.valid,
        valid_until: listing.until.map(timestamp_message),
        whitelist: whitelist_message(listing.whitelist).into(),
        group_id: listing.group.as_ref().map(GroupId::to_string).unwrap_or_default(),
        updated_at: Some(timestamp_message(token.updated_at)),
    }
}

// --- Groups -----------------------------------------------------------------------------------------------------------------------

pub fn driver_group(message: &proto::DriverGroup) -> Result<DriverGroup, Rejection> {
    read(|faults| {
        let id = faults.field("id", GroupId::parse(&message.id));
        let tier = match message.tier {
            0 => None,
            number => faults.field("tier", Tier::from_caller(number.into())),
        };
        let mut energy = |field, watt_hours: i64| match watt_hours {
            0 => None,
            // Bounded here already, because watt-hours far outside would not fit as watt-seconds.
            given => faults
                .within(field, "Wh", given, 1..=MAX_ENERGY_WATT_HOURS)
                .map(WattSeconds::from_watt_hours),
        };
        let need = energy("need_watt_hour", message.need_watt_hour);
        let guaranteed = energy("guaranteed_watt_hour", message.guaranteed_watt_hour);
        let stay = (message.stay_seconds != 0).then(|| Seconds::from_secs(message.stay_seconds));
        let group = DriverGroup {
            id: id?,
            name: message.name.clone(),
            tier,
            stay,
            need,
            guaranteed,
        };
        if faults.is_empty() {
            faults.part("", group.check());
        }
        Some(group)
    })
}

pub fn driver_group_message(group: &DriverGroup) -> proto::DriverGroup {
    let energy = |energy: Option<WattSeconds>| energy.map_or(0, WattSeconds::floor_watt_hours);
    proto::DriverGroup {
        id: group.id.to_string(),
        name: group.name.clone(),
        tier: group.tier.map_or(0, |tier| tier.number().into()),
        stay_seconds: group.stay.map_or(0, Seconds::secs),
        need_watt_hour: energy(group.need),
        guaranteed_watt_hour: energy(group.guaranteed),
    }
}

// --- Policies ---------------------------------------------------------------------------------------------------------------------

const fn offline_message(offline: Offline) -> proto::OfflineRule {
    match offline {
        Offline::Nobody => proto::OfflineRule::Nobody,
        Offline::Listed => proto::OfflineRule::Listed,
        Offline::Everybody => proto::OfflineRule::Everybody,
    }
}

fn offline(number: i32) -> Result<Offline, Rejection> {
    if number == proto::OfflineRule::Unspecified as i32 {
        return Ok(Offline::Nobody);
    }
    let all = [Offline::Nobody, Offline::Listed, Offline::Everybody];
    one_of(number, &all, offline_message, proto::OfflineRule::as_str_name)
}

/// Absent is everybody. Its values are checked with the site.
pub fn driver_policy(message: Option<&proto::DriverPolicy>) -> Result<DriverPolicy, Rejection> {
    use proto::driver_policy::Admits as Arm;
    let Some(message) = message else {
        return Ok(DriverPolicy::default());
    };
    read(|faults| {
        let admits = match &message.admits {
            None => {
                let allowed = "listed, groups or authorized; no policy at all admits everybody";
                faults.add("admits", "is required", "", allowed);
                return None;
            }
            Some(Arm::Listed(_)) => Admits::Listed,
            Some(Arm::Groups(groups)) => {
                let ids = bounded(
                    faults,
                    "groups.group_ids",
                    &groups.group_ids,
                    MAX_ADMITTED_GROUPS,
                    |id| GroupId::parse(id),
                );
                Admits::Groups(ids.into_iter().collect())
            }
            Some(Arm::Authorized(asked)) => Admits::Authorised {
                offline: faults.field("authorized.offline", offline(asked.offline))?,
                remember: Seconds::from_secs(asked.remember_seconds),
            },
        };
        Some(DriverPolicy {
            admits,
            limit_otherwise: Watts::from_watts(message.limit_otherwise_watt),
        })
    })
}

/// `None` for everybody.
pub fn driver_policy_message(policy: &DriverPolicy) -> Option<proto::DriverPolicy> {
    use proto::driver_policy::Admits as Arm;
    let admits = match &policy.admits {
        Admits::Everybody => return None,
        Admits::Listed => Arm::Listed(proto::AdmitListed {}),
        Admits::Groups(groups) => Arm::Groups(proto::AdmitGroups {
            group_ids: groups.iter().map(GroupId::to_string).collect(),
        }),
        Admits::Authorised { offline, remember } => Arm::Authorized(proto::AdmitAuthorized {
            offline: offline_message(*offline).into(),
            remember_seconds: remember.secs(),
        }),
    };
    Some(proto::DriverPolicy {
        admits: Some(admits),
        limit_otherwise_watt: policy.limit_otherwise.watts(),
    })
}

pub const fn not_admitted_message(why: NotAdmitted) -> proto::NotAdmitted {
    match why {
        NotAdmitted::NoToken => proto::NotAdmitted::NoToken,
        NotAdmitted::Unknown => proto::NotAdmitted::Unknown,
        NotAdmitted::Blocked => proto::NotAdmitted::Blocked,
        NotAdmitted::Expired => proto::NotAdmitted::Expired,
        NotAdmitted::NotInGroup => proto::NotAdmitted::NotInGroup,
        NotAdmitted::NoCredit => proto::NotAdmitted::NoCredit,
        NotAdmitted::NotAllowed => proto::NotAdmitted::NotAllowed,
        NotAdmitted::Awaited => proto::NotAdmitted::Awaited,
        NotAdmitted::Unanswered => proto::NotAdmitted::Unanswered,
    }
}

// --- Answers ----------------------------------------------------------------------------------------------------------------------

const fn authorisation_message(answer: Authorisation) -> proto::Authorization {
    match answer {
        Authorisation::Allowed => proto::Authorization::Allowed,
        Authorisation::Blocked => proto::Authorization::Blocked,
        Authorisation::Expired => proto::Authorization::Expired,
        Authorisation::NoCredit => proto::Authorization::NoCredit,
        Authorisation::NotAllowed => proto::Authorization::NotAllowed,
        Authorisation::Unanswered => proto::Authorization::Unanswered,
    }
}

fn authorisation(number: i32, all: &[Authorisation]) -> Result<Authorisation, Rejection> {
    one_of(number, all, authorisation_message, proto::Authorization::as_str_name)
}

/// What somebody who was asked may say.
pub fn given_authorisation(number: i32) -> Result<Authorisation, Rejection> {
    let answers: Vec<Authorisation> = Authorisation::ALL
        .into_iter()
        .filter(|answer| *answer != Authorisation::Unanswered)
        .collect();
    authorisation(number, &answers)
}

// --- The journal ------------------------------------------------------------------------------------------------------------------

pub fn driver_message(driver: &Driver) -> journal::Driver {
    journal::Driver {
        reference: driver.person.to_string(),
        listing: driver.listing.as_ref().map(|listing| journal::Listing {
            valid: listing.valid,
            until_unix_seconds: listing.until.map(Instant::unix_secs),
            whitelist: whitelist_message(listing.whitelist).into(),
            group_id: listing.group.as_ref().map(GroupId::to_string).unwrap_or_default(),
        }),
        answer: driver
            .answer
            .map_or(proto::Authorization::Unspecified, authorisation_message)
            .into(),
    }
}

pub fn driver(message: &journal::Driver) -> Result<Driver, Rejection> {
    read(|faults| {
        let person = faults.field("reference", PersonRef::parse(&message.reference));
        let listing = message.listing.as_ref();
        let listing = listing.and_then(|listing| faults.part("listing", read_listing(listing)));
        let answer = match message.answer {
            0 => None,
            number => faults.field("answer", authorisation(number, &Authorisation::ALL)),
        };
        Some(Driver {
            person: person?,
            listing,
            answer,
        })
    })
}

fn read_listing(message: &journal::Listing) -> Result<Listing, Rejection> {
    let mut faults = Faults::default();
    let whitelist = faults.field("whitelist", whitelist(message.whitelist));
    let group = optional_id(&mut faults, "group_id", &message.group_id, GroupId::parse);
    match whitelist {
        Some(whitelist) => faults.finish(Listing {
            valid: message.valid,
            until: message.until_unix_seconds.map(Instant::from_unix_secs),
            whitelist,
            group,
        }),
        None => Err(faults.into_rejection()),
    }
}
