//! How many connections each address of clients has open.
//!
//! Decides how many one address may have; which addresses count as one is decided by [`network`].

use crate::access::network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections by address. An address without one is not remembered.
#[derive(Debug)]
pub(super) struct Addresses {
    open: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

impl Addresses {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            max,
        })
    }

    /// A place for one more connection from `address`, unless it has as many as it may.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place {
            addresses: Arc::clone(self),
            address,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code panics while it holds the counts.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(addresses: &Arc<Addresses>, texts: &[&str]) -> Vec<Option<Place>> {
        let place = |text: &&str| addresses.place(text.parse().unwrap());
        texts.iter().map(place).collect()
    }

    #[test]
    fn a_network_of_64_bits_and_both_notations_of_an_address_count_as_one() {
        for (same, other) in [
            (["192.0.2.1", "::ffff:192.0.2.1"], "192.0.2.2"),
            (["2001:db8:0:1::1", "2001:db8:0:1:ffff::2"], "2001:db8:0:2::1"),
        ] {
            let addresses = Addresses::new(1);
            let taken = places(&addresses, &[same[0], same[1], other]);
            assert_eq!(
                taken.iter().map(Option::is_some).collect::<Vec<_>>(),
                [true, false, true]
            );
        }
    }

    #[test]
    fn a_place_is_given_back_and_an_address_without_connections_forgotten() {
        let addresses = Addresses::new(2);
        let mut taken = places(&addresses, &["192.0.2.1"; 3]);
        assert!(taken.pop().unwrap().is_none());
        taken.pop();
        taken.push(addresses.place("192.0.2.1".parse().unwrap()));
        assert!(taken.iter().all(Option::is_some));
        drop(taken);
        assert!(addresses.open().is_empty());
    }
}
