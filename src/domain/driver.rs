//! Who draws power: drivers' tokens, and the policy of a site.
//!
//! Decides whether a driver may draw power at a site ([`DriverPolicy::verdict`]), from what was known of his token and nothing else:
//! the same facts give the same answer for ever. What a token says of a person stays in [`DriverToken`], which no journal holds;
//! a session carries a [`Driver`]: a random reference, and facts that name nobody.
//!
//! Tokens are as in OCPI 2.2.1 and 2.3.0, `mod_tokens`: unique by type and uid, which is compared without case.

use super::bounds::MAX_POWER_WATTS;
use super::ids::{GroupId, PersonRef};
use super::rejection::{Faults, Rejection};
use crate::units::{Instant, Seconds, Watts};
use std::collections::BTreeSet;
use std::fmt;

/// Longest uid and contract id, in bytes: OCPI's CiString(36).
pub const MAX_UID_BYTES: usize = 36;
/// Tokens that one call may list.
pub const MAX_TOKENS_PER_CALL: usize = 1_000;
/// Groups that one site lets in.
pub const MAX_ADMITTED_GROUPS: usize = 100;
/// An answer is not used again for later sessions after this.
pub const MAX_REMEMBER_ANSWER: Seconds = Seconds::from_hours(24 * 30);

/// What a driver shows. OCPI's `TokenType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    Rfid,
    AppUser,
    /// A payment card, or whatever else is known for one session only.
    AdHocUser,
    /// The contract in a car, of ISO 15118.
    Emaid,
    Other,
}

impl TokenKind {
    pub const ALL: [Self; 5] = [Self::Rfid, Self::AppUser, Self::AdHocUser, Self::Emaid, Self::Other];

    /// As OCPI writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfid => "RFID",
            Self::AppUser => "APP_USER",
            Self::AdHocUser => "AD_HOC_USER",
            Self::Emaid => "EMAID",
            Self::Other => "OTHER",
        }
    }

    pub fn parse(name: &str) -> Result<Self, Rejection> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        let all = || Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| Rejection::one("type", "is not a type of token", name, all()))
    }
}

/// A text by which a person is known. It is shown to nobody by accident: neither `Debug` nor a fault tells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Personal(String);

impl Personal {
    /// Accepts 1 to 36 printable ASCII characters.
    pub fn parse(field: &str, text: &str) -> Result<Self, Rejection> {
        let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !text.is_empty() && text.len() <= MAX_UID_BYTES && printable {
            return Ok(Self(text.to_owned()));
        }
        let got = match text.len() {
            0 => "nothing".to_owned(),
            bytes => format!("{bytes} bytes"),
        };
        let allowed = format!("1 to {MAX_UID_BYTES} printable ASCII characters");
        Err(Rejection::one(field, "is not an OCPI CiString(36)", got, allowed))
    }

    pub fn show(&self) -> &str {
        &self.0
    }

    /// What it is compared by.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(personal)")
    }
}

/// Names a token of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName {
    pub kind: TokenKind,
    pub uid: Personal,
}

/// Whether a token may be believed without asking whoever issued it. OCPI's `WhitelistType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whitelist {
    /// Its issuer is never asked.
    Always,
    /// It may be believed, and its issuer may be asked.
    Allowed,
    /// Its issuer is asked; where he does not answer, it is believed.
    AllowedOffline,
    /// Only its issuer's answer counts.
    Never,
}

impl Whitelist {
    pub const ALL: [Self; 4] = [Self::Always, Self::Allowed, Self::AllowedOffline, Self::Never];

    /// As OCPI writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "ALWAYS",
            Self::Allowed => "ALLOWED",
            Self::AllowedOffline => "ALLOWED_OFFLINE",
            Self::Never => "NEVER",
        }
    }

    pub fn parse(name: &str) -> Result<Self, Rejection> {
        let found = Self::ALL.into_iter().find(|whitelist| whitelist.name() == name);
        let all = || Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| Rejection::one("whitelist", "is not a whitelist type", name, all()))
    }
}

/// What is listed of a token, without whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Not set: it is blocked.
    pub valid: bool,
    /// It has expired from then on.
    pub until: Option<Instant>,
    pub whitelist: Whitelist,
    pub group: Option<GroupId>,
}

impl Listing {
    fn verdict(&self, now: Instant) -> Verdict {
        match self.until {
            _ if !self.valid => Err(NotAdmitted::Blocked),
            Some(until) if until <= now => Err(NotAdmitted::Expired),
            _ => Ok(()),
        }
    }
}

/// A token as a tenant lists it. Personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverToken {
    pub name: TokenName,
    pub contract_id: Option<Personal>,
    pub listing: Listing,
    /// When its issuer changed it last. What is older than what is listed changes nothing.
    pub updated_at: Instant,
}

/// What whoever issued a token answered for one session. OCPI's `AllowedType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authorisation {
    Allowed,
    Blocked,
    Expired,
    NoCredit,
    NotAllowed,
    /// Nobody answered in time, or nobody was there to be asked.
    Unanswered,
}

impl Authorisation {
    pub const ALL: [Self; 6] = [
        Self::Allowed,
        Self::Blocked,
        Self::Expired,
        Self::NoCredit,
        Self::NotAllowed,
        Self::Unanswered,
    ];

    /// As OCPI writes it, as far as it does.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "ALLOWED",
            Self::Blocked => "BLOCKED",
            Self::Expired => "EXPIRED",
            Self::NoCredit => "NO_CREDIT",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::Unanswered => "UNANSWERED",
        }
    }

    pub fn parse(name: &str) -> Result<Self, Rejection> {
        let found = Self::ALL.into_iter().find(|answer| answer.name() == name);
        let all = || Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| Rejection::one("allowed", "is not an answer", name, all()))
    }
}

/// The driver of a session, as the journal knows him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Random; stands for his token. What it stands for can be erased.
    pub person: PersonRef,
    /// What his tenant lists of the token; `None` where it lists none.
    pub listing: Option<Listing>,
    /// What its issuer answered; `None` where he has not been asked, or has not answered yet.
    pub answer: Option<Authorisation>,
}

impl Driver {
    /// One of whom nothing is known.
    pub const fn unknown(person: PersonRef) -> Self {
        Self {
            person,
            listing: None,
            answer: None,
        }
    }

    /// Whether the issuer of his token is to be asked, by its listing.
    fn is_to_be_asked(&self, now: Instant) -> bool {
        match &self.listing {
            Some(listing) => listing.verdict(now).is_ok() && listing.whitelist != Whitelist::Always,
            None => true,
        }
    }
}

/// Who may draw power.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Admits {
    /// Everybody, also without a token.
    #[default]
    Everybody,
    /// Whoever has a token that is listed, valid and not expired.
    Listed,
    /// Those of them that belong to one of these groups.
    Groups(BTreeSet<GroupId>),
    /// Whoever has a token that its issuer allows when he is asked.
    Authorised {
        offline: Offline,
        /// An answer holds for sessions that begin so soon after it.
        remember: Seconds,
    },
}

/// Who may draw power while the issuer of his token does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Offline {
    #[default]
    Nobody,
    /// Whoever has a token that is listed and may be believed offline.
    Listed,
    /// Everybody with a token, but those whose token is listed as blocked or expired.
    Everybody,
}

/// Who may draw power at a site, and what the others get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverPolicy {
    pub admits: Admits,
    /// The most that a session may draw whose driver is not admitted. Zero, or less than its connector's minimum: nothing.
    pub limit_otherwise: Watts,
}

/// Why a driver is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotAdmitted {
    NoToken,
    /// The token is not listed.
    Unknown,
    Blocked,
    Expired,
    /// The token belongs to none of the site's groups.
    NotInGroup,
    NoCredit,
    NotAllowed,
    /// The issuer of the token is being asked.
    Awaited,
    /// The issuer of the token did not answer.
    Unanswered,
}

pub type Verdict = Result<(), NotAdmitted>;

impl DriverPolicy {
    /// Checks that the values have a meaning.
    pub fn check(&self) -> Result<(), Rejection> {
        let mut faults = Faults::default();
        let limit = self.limit_otherwise.watts();
        faults.within("limit_otherwise_watt", "W", limit, 0..=MAX_POWER_WATTS);
        match &self.admits {
            Admits::Everybody | Admits::Listed => {}
            Admits::Groups(groups) => faults.require(
                (1..=MAX_ADMITTED_GROUPS).contains(&groups.len()),
                "group_ids",
                "has a wrong length",
                groups.len(),
                format_args!("1 to {MAX_ADMITTED_GROUPS} groups"),
            ),
            Admits::Authorised { remember, .. } => {
                let most = MAX_REMEMBER_ANSWER.secs();
                faults.within("remember_seconds", "s", remember.secs(), 0..=most);
            }
        }
        faults.finish(())
    }

    /// Whether `driver` may draw power at `now`; `None` is a session without a token.
    pub fn verdict(&self, driver: Option<&Driver>, now: Instant) -> Verdict {
        if self.admits == Admits::Everybody {
            return Ok(());
        }
        let driver = driver.ok_or(NotAdmitted::NoToken)?;
        let listed = || driver.listing.as_ref().ok_or(NotAdmitted::Unknown);
        match &self.admits {
            Admits::Everybody => Ok(()),
            Admits::Listed => listed()?.verdict(now),
            Admits::Groups(groups) => {
                let listing = listed()?;
                listing.verdict(now)?;
                let is_in = listing.group.as_ref().is_some_and(|group| groups.contains(group));
                if is_in { Ok(()) } else { Err(NotAdmitted::NotInGroup) }
            }
            Admits::Authorised { offline, .. } => {
                if let Some(listing) = &driver.listing {
                    listing.verdict(now)?;
                }
                match driver.answer {
                    _ if !driver.is_to_be_asked(now) => Ok(()),
                    Some(answer) => by_answer(answer, *offline, driver),
                    None => Err(NotAdmitted::Awaited),
                }
            }
        }
    }

    /// Whether the issuer of the driver's token is to be asked about him.
    pub fn asks(&self, driver: &Driver, now: Instant) -> bool {
        let asks = matches!(self.admits, Admits::Authorised { .. });
        asks && matches!(driver.answer, None | Some(Authorisation::Unanswered)) && driver.is_to_be_asked(now)
    }

    /// When time alone next changes the verdict, after `now`.
    pub fn changes_at(&self, driver: Option<&Driver>, now: Instant) -> Option<Instant> {
        let until = driver.and_then(|driver| driver.listing.as_ref()?.until)?;
        let matters = self.admits != Admits::Everybody && until > now;
        matters.then_some(until)
    }
}

fn by_answer(answer: Authorisation, offline: Offline, driver: &Driver) -> Verdict {
    match answer {
        Authorisation::Allowed => Ok(()),
        Authorisation::Blocked => Err(NotAdmitted::Blocked),
        Authorisation::Expired => Err(NotAdmitted::Expired),
        Authorisation::NoCredit => Err(NotAdmitted::NoCredit),
        Authorisation::NotAllowed => Err(NotAdmitted::NotAllowed),
        Authorisation::Unanswered => {
            let may_be_believed = driver
                .listing
                .as_ref()
                .is_some_and(|listing| listing.whitelist != Whitelist::Never);
            match offline {
                Offline::Everybody => Ok(()),
                Offline::Listed if may_be_believed => Ok(()),
                Offline::Listed | Offline::Nobody => Err(NotAdmitted::Unanswered),
            }
        }
    }
}

#[cfg(test)]
mod tests;
