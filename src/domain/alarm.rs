//! An alarm: something at a site that an operator should know of, since when, and what to do about it.
//!
//! Decides the closed list of kinds, how grave each is, and the words in which it is told. Never decides whether one holds: that is
//! the engine's.

use super::ids::{EvseId, GatewayId, NodeId, SiteKey};
use crate::units::{Instant, Seconds};
use std::fmt;

/// Alarms of one site that hold at once; of more, those of the graver and earlier kinds are kept.
pub const MAX_ACTIVE_ALARMS: usize = 500;
/// Alarms of one site that are over and still listed; the oldest are forgotten first.
pub const MAX_CLEARED_ALARMS: usize = 500;
/// EVSEs that one alarm names; it says how many more there are.
pub const MAX_NAMED_EVSES: usize = 10;

/// What is the matter. In the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// The site's journal cannot be read.
    JournalDamaged,
    /// The site's task panicked.
    SiteBroke,
    /// The store failed the site, or another process owns its journal.
    StoreLost,
    /// After a cut, decreases had not left within a second (INV-2).
    DecreasesUnsent,
    /// What EVSEs may be following is more than a place may carry (INV-2).
    AboveAvailable,
    /// A limit is below what cannot be shed.
    LimitCannotBeMet,
    /// The gateway of a site in mode control is gone, or was never heard of.
    GatewaySilent,
    /// A meter shows more than a place bears, and everyone below is lowered for it.
    OverloadMeasured,
    /// An EVSE draws more than it can have been told.
    EvseDisobeys,
    /// A meter's readings contradict each other, or what is known of its EVSE.
    MeterDisagrees,
    /// The meter of a node says nothing, so that what is really drawn there is not guarded.
    NodeMeterSilent,
}

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// In working hours: figures cannot be relied on, limits can.
    Warning,
    /// Now: a limit is, or may soon be, exceeded, or the site is not controlled.
    Critical,
}

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Site,
    Gateway(GatewayId),
    /// A node, or a station as a place of the supply.
    Node(NodeId),
    Evse(EvseId),
}

/// Something that holds at a site at one moment, before it is known whether it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: AlarmKind,
    pub subject: Subject,
    /// The facts, as a phrase: how much, of what.
    pub what: String,
    /// EVSEs that contribute, those that matter most first; at most [`MAX_NAMED_EVSES`].
    pub evses: Vec<EvseId>,
    /// When it is over at the latest without anybody's doing, as far as that is known.
    pub until: Option<Instant>,
}

/// A condition that lasted, from when it began until it was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Counts the alarms of a site, from 1; 0 where its journal cannot say.
    pub number: u64,
    pub kind: AlarmKind,
    pub subject: Subject,
    pub since: Instant,
    /// Since when it does not hold any more, while nobody knows yet whether it comes back.
    pub gone_since: Option<Instant>,
    /// When it counted as over.
    pub cleared_at: Option<Instant>,
    /// How often it came, with less than the settling time between.
    pub times: u32,
    pub what: String,
    pub evses: Vec<EvseId>,
    pub until: Option<Instant>,
}

/// An alarm and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteAlarm {
    pub key: SiteKey,
    pub alarm: Alarm,
}

impl AlarmKind {
    pub const ALL: [Self; 11] = [
        Self::JournalDamaged,
        Self::SiteBroke,
        Self::StoreLost,
        Self::DecreasesUnsent,
        Self::AboveAvailable,
        Self::LimitCannotBeMet,
        Self::GatewaySilent,
        Self::OverloadMeasured,
        Self::EvseDisobeys,
        Self::MeterDisagrees,
        Self::NodeMeterSilent,
    ];

    /// As it is named in metrics and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JournalDamaged => "journal_damaged",
            Self::SiteBroke => "site_broke",
            Self::StoreLost => "store_lost",
            Self::DecreasesUnsent => "decreases_unsent",
            Self::AboveAvailable => "above_available",
            Self::LimitCannotBeMet => "limit_cannot_be_met",
            Self::GatewaySilent => "gateway_silent",
            Self::OverloadMeasured => "overload_measured",
            Self::EvseDisobeys => "evse_disobeys",
            Self::MeterDisagrees => "meter_disagrees",
            Self::NodeMeterSilent => "node_meter_silent",
        }
    }

    pub const fn severity(self) -> Severity {
        match self {
            Self::MeterDisagrees | Self::NodeMeterSilent => Severity::Warning,
            _ => Severity::Critical,
        }
    }

    /// A condition is an alarm once it has lasted this long: what ordinary work makes good by itself is none.
    pub const fn patience(self) -> Seconds {
        match self {
            // After a cut decreases have a second to leave (INV-2).
            Self::DecreasesUnsent => Seconds::from_secs(1),
            // Stations answer within seconds, and a gateway that lost its connection is back within seconds.
            Self::AboveAvailable | Self::GatewaySilent => Seconds::from_secs(30),
            // So that one that is described speaks first.
            Self::NodeMeterSilent => Seconds::from_mins(1),
            _ => Seconds::ZERO,
        }
    }

    /// What it means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::JournalDamaged => {
                "The site's journal cannot be read, so the site is stopped: nothing is sent, and its EVSEs fall back as their leases end."
            }
            Self::SiteBroke => {
                "The program broke while it served this site, so the site is stopped: nothing is sent, and its EVSEs fall back as their leases end."
            }
            Self::StoreLost => {
                "The store failed this site, so the site is stopped: nothing is sent, and its EVSEs fall back as their leases end."
            }
            Self::DecreasesUnsent => {
                "Less is available than EVSEs were told they may draw, and a second later they have not been told to take less."
            }
            Self::AboveAvailable => "EVSEs may still be following more than this place may carry.",
            Self::LimitCannotBeMet => {
                "What cannot be shed here is more than the limit leaves, even if every EVSE is told to stop."
            }
            Self::GatewaySilent => {
                "The gateway is not connected: no EVSE can be told anything, and each falls back when its lease ends."
            }
            Self::OverloadMeasured => {
                "A meter shows more than this place may carry, for nearly as long as its fuse bears it; everyone below is lowered to what he does without a profile until it has been at or below the limit for a while."
            }
            Self::EvseDisobeys => {
                "The EVSE draws more than anything it can have been told; its maximum is taken from the others until it is seen obeying."
            }
            Self::MeterDisagrees => {
                "What this meter says cannot all be true; limits do not rest on it, but energy figures and obedience do."
            }
            Self::NodeMeterSilent => {
                "Nothing comes from the meter of this place: limits are kept by what EVSEs are told, but what others draw there is not guarded."
            }
        }
    }

    /// What to do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::JournalDamaged => {
                "Stop the service, restore the journal from an export (laddplan journal restore), and start again."
            }
            Self::SiteBroke => {
                "Keep the log, which says where it broke, and start the service again; an entry that breaks it twice is left out."
            }
            Self::StoreLost => {
                "See that the disk has room and that no other process has the data folder open, then start the service again."
            }
            Self::DecreasesUnsent => {
                "See that the gateway is connected and the machine is not overloaded; until then lower the EVSEs at the stations."
            }
            Self::AboveAvailable => {
                "Wait until the given time, or lower the named EVSEs at the stations; if it comes often, choose a shorter lease."
            }
            Self::LimitCannotBeMet => {
                "Raise the limit, lower the base load, or commission lower defaults at the stations; everything that can be shed is shed."
            }
            Self::GatewaySilent => "See that the gateway runs and reaches this service.",
            Self::OverloadMeasured => {
                "Find what draws there beside charging, and raise the base load to its most; see whether stations below obey. While the meter is silent, report two readings by hand (laddplan site meter)."
            }
            Self::EvseDisobeys => {
                "Check the station: whether it applies profiles, whether its meter is its own, and whether its wiring is as described."
            }
            Self::MeterDisagrees => {
                "Check that the meter belongs to this EVSE, that sessions are reported in time, and the units of its readings."
            }
            Self::NodeMeterSilent => "See that the meter and its way to this service work.",
        }
    }
}

impl Alarm {
    pub fn is_active(&self) -> bool {
        self.cleared_at.is_none()
    }

    /// When it was last known to hold: now, while it does.
    pub fn last_seen(&self, now: Instant) -> Instant {
        self.gone_since.unwrap_or(now)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.write_str("site"),
            Self::Gateway(id) => write!(f, "gateway {id}"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::Evse(id) => write!(f, "EVSE {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_says_what_to_do() {
        let names: BTreeSet<&str> = AlarmKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), AlarmKind::ALL.len());
        for kind in AlarmKind::ALL {
            for sentence in [kind.meaning(), kind.advice()] {
                assert!(sentence.ends_with('.'), "{kind:?}: {sentence}");
            }
        }
        assert!(AlarmKind::ALL.is_sorted(), "they are listed in their order");
    }
}
