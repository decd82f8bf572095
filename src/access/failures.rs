//! Failed sign-ins, counted by address.
//!
//! Decides when an address has failed too often: from then on its failures are refused without a word in the log, until a minute has
//! passed. A valid token is let in all the same, since others may share the address; a secret of 256 bits is not found by trying.

use crate::units::{Instant, Seconds};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Failures of one address within [`WINDOW`] that are told one by one.
pub const MAX_FAILURES: u32 = 20;
const WINDOW: Seconds = Seconds::from_mins(1);
/// Addresses that are counted one by one; what comes from others beyond that is counted as one.
const MAX_ADDRESSES: usize = 10_000;

#[derive(Debug, Default)]
pub struct Failures {
    counts: Mutex<HashMap<IpAddr, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    failures: u32,
}

impl Failures {
    /// Counts a failure. Whether it was one too many.
    pub fn count(&self, address: IpAddr, now: Instant) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = network(address);
        if counts.len() >= MAX_ADDRESSES && !counts.contains_key(&place) {
            counts.retain(|_, count| is_fresh(count, now));
            if counts.len() >= MAX_ADDRESSES {
                // Stands for all that find no place of their own.
                place = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let count = counts.entry(place).or_insert(Count {
            since: now,
            failures: 0,
        });
        if !is_fresh(count, now) {
            *count = Count {
                since: now,
                failures: 0,
            };
        }
        count.failures = count.failures.saturating_add(1);
        count.failures > MAX_FAILURES
    }
}

/// The clock may step back, too.
fn is_fresh(count: &Count, now: Instant) -> bool {
    count.since <= now && now < count.since + WINDOW
}

/// What counts as one address: all of an IPv6 network of 64 bits, since whoever has one of its addresses has them all, and IPv4 in either
/// notation.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_unix_secs(seconds)
    }

    /// How many failures of an address are told.
    fn told(failures: &Failures, address: &str, now: Instant) -> usize {
        let address: IpAddr = address.parse().unwrap();
        (0..100).filter(|_| !failures.count(address, now)).count()
    }

    #[test]
    fn an_address_that_fails_too_often_is_refused_for_a_minute_and_others_are_not() {
        let failures = Failures::default();
        assert_eq!(told(&failures, "192.0.2.1", at(0)), 20);
        assert_eq!(told(&failures, "192.0.2.1", at(59)), 0);
        assert_eq!(told(&failures, "192.0.2.2", at(59)), 20);
        assert_eq!(told(&failures, "192.0.2.1", at(60)), 20);
    }

    #[test]
    fn the_addresses_of_one_network_count_together_and_notations_of_one_address_too() {
        let failures = Failures::default();
        assert_eq!(told(&failures, "2001:db8::1", at(0)), 20);
        assert_eq!(told(&failures, "2001:db8::2", at(0)), 0);
        assert_eq!(told(&failures, "2001:db8:0:1::1", at(0)), 20);
        assert_eq!(told(&failures, "192.0.2.1", at(0)), 20);
        assert_eq!(told(&failures, "::ffff:192.0.2.1", at(0)), 0);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_lock_an_address_out() {
        let failures = Failures::default();
        assert_eq!(told(&failures, "192.0.2.1", at(1_000)), 20);
        assert_eq!(told(&failures, "192.0.2.1", at(0)), 20);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failures = Failures::default();
        for index in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 100 {
            failures.count(IpAddr::from(index.to_be_bytes()), at(0));
        }
        assert!(failures.counts.lock().unwrap().len() <= MAX_ADDRESSES + 1);
        assert_eq!(told(&failures, "203.0.113.9", at(1)), 0, "the rest counts as one");
        assert_eq!(
            told(&failures, "203.0.113.9", at(60)),
            20,
            "those of a minute ago are forgotten"
        );
    }
}
