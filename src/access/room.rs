//! What a tenant may take of the service, so that none starves another.
//!
//! Decides how many calls a tenant may make each second and how many it may have under way. What may lower what a site draws is
//! counted apart, with the same figures, so that a tenant that asks too much keeps its cuts.

use crate::domain::access::Quota;
use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many seconds' worth of calls may come at once.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The kinds of calls that do not keep each other waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// May lower what a site draws.
    Urgent,
    Ordinary,
}

/// What all tenants share, of which one takes a part at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub calls: usize,
    pub urgent_calls: usize,
    /// Watchers and meter streams.
    pub long_calls: usize,
    pub gateway_streams: usize,
}

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

struct Rates<C: Clock> {
    ordinary: Limiter<C>,
    urgent: Limiter<C>,
}

impl<C: Clock + Clone> Rates<C> {
    fn new(calls_per_second: u32, clock: &C) -> Self {
        let each = NonZeroU32::new(calls_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = each.saturating_mul(BURST_SECONDS);
        let quota = governor::Quota::per_second(each).allow_burst(burst);
        Self {
            ordinary: RateLimiter::direct_with_clock(quota, clock.clone()),
            urgent: RateLimiter::direct_with_clock(quota, clock.clone()),
        }
    }
}

/// The room of one tenant.
pub struct TenantRoom<C: Clock = DefaultClock> {
    clock: C,
    rates: RwLock<(u32, Arc<Rates<C>>)>,
    calls: Arc<Semaphore>,
    urgent_calls: Arc<Semaphore>,
    long_calls: Arc<Semaphore>,
    gateway_streams: Arc<Semaphore>,
    plans: RwLock<(u32, Arc<Semaphore>)>,
    /// Held while a site of this tenant is made or gets larger.
    pub growing: Arc<tokio::sync::Mutex<()>>,
}

impl TenantRoom {
    pub fn new(quota: &Quota, shares: &Shares) -> Self {
        Self::with_clock(quota, shares, DefaultClock::default())
    }
}

impl<C: Clock + Clone> TenantRoom<C> {
    fn with_clock(quota: &Quota, shares: &Shares, clock: C) -> Self {
        let semaphore = |places: usize| Arc::new(Semaphore::new(places));
        Self {
            rates: RwLock::new((
                quota.calls_per_second,
                Arc::new(Rates::new(quota.calls_per_second, &clock)),
            )),
            clock,
            calls: semaphore(shares.calls),
            urgent_calls: semaphore(shares.urgent_calls),
            long_calls: semaphore(shares.long_calls),
            gateway_streams: semaphore(shares.gateway_streams),
            plans: RwLock::new((quota.plans_at_once, semaphore(quota.plans_at_once as usize))),
            growing: Arc::default(),
        }
    }

    /// What is under way goes on as it was admitted.
    pub fn set_quota(&self, quota: &Quota) {
        let mut rates = self.rates.write().unwrap_or_else(PoisonError::into_inner);
        if rates.0 != quota.calls_per_second {
            *rates = (
                quota.calls_per_second,
                Arc::new(Rates::new(quota.calls_per_second, &self.clock)),
            );
        }
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        if plans.0 != quota.plans_at_once {
            *plans = (
                quota.plans_at_once,
                Arc::new(Semaphore::new(quota.plans_at_once as usize)),
            );
        }
    }

    fn rates(&self) -> Arc<Rates<C>> {
        Arc::clone(&self.rates.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Counts a call. Where it is one too many, how long until there is room for one.
    pub fn count(&self, kind: CallKind) -> Result<(), Duration> {
        let rates = self.rates();
        let limiter = match kind {
            CallKind::Urgent => &rates.urgent,
            CallKind::Ordinary => &rates.ordinary,
        };
        limiter
            .check()
            .map_err(|too_many| too_many.wait_time_from(self.clock.now()))
    }

    /// A place among the calls of this tenant that are under way.
    pub fn enter(&self, kind: CallKind) -> Option<OwnedSemaphorePermit> {
        let places = match kind {
            CallKind::Urgent => &self.urgent_calls,
            CallKind::Ordinary => &self.calls,
        };
        Arc::clone(places).try_acquire_owned().ok()
    }

    /// A place for a watcher or a meter stream.
    pub fn enter_long(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.long_calls).try_acquire_owned().ok()
    }

    pub fn enter_gateway(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.gateway_streams).try_acquire_owned().ok()
    }

    /// A place for a stateless plan, searched or waiting.
    pub fn enter_plan(&self) -> Option<OwnedSemaphorePermit> {
        let plans = Arc::clone(&self.plans.read().unwrap_or_else(PoisonError::into_inner).1);
        plans.try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    const SHARES: Shares = Shares {
        calls: 2,
        urgent_calls: 1,
        long_calls: 1,
        gateway_streams: 1,
    };

    fn room(calls_per_second: u32) -> (TenantRoom<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let quota = Quota {
            calls_per_second,
            plans_at_once: 1,
            ..Quota::DEFAULT
        };
        (TenantRoom::with_clock(&quota, &SHARES, clock.clone()), clock)
    }

    /// How many calls are let in until one is not.
    fn let_in(room: &TenantRoom<FakeRelativeClock>, kind: CallKind) -> usize {
        (0..1_000).take_while(|_| room.count(kind).is_ok()).count()
    }

    #[test]
    fn calls_come_at_their_rate_and_two_seconds_of_them_at_once() {
        let (room, clock) = room(5);
        assert_eq!(let_in(&room, CallKind::Ordinary), 10);
        assert_eq!(room.count(CallKind::Ordinary), Err(Duration::from_millis(200)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(let_in(&room, CallKind::Ordinary), 5);
    }

    #[test]
    fn what_may_lower_what_a_site_draws_is_counted_apart() {
        let (room, _) = room(5);
        let_in(&room, CallKind::Ordinary);
        assert_eq!(let_in(&room, CallKind::Urgent), 10);
        let calls = [
            CallKind::Ordinary,
            CallKind::Ordinary,
            CallKind::Ordinary,
            CallKind::Urgent,
        ];
        let places = calls.map(|kind| room.enter(kind));
        assert_eq!(places.map(|place| place.is_some()), [true, true, false, true]);
    }

    #[test]
    fn a_new_quota_holds_from_now_on() {
        let (room, _) = room(5);
        let_in(&room, CallKind::Ordinary);
        room.set_quota(&Quota {
            calls_per_second: 50,
            plans_at_once: 2,
            ..Quota::DEFAULT
        });
        assert_eq!(let_in(&room, CallKind::Ordinary), 100);
        let plans = [room.enter_plan(), room.enter_plan(), room.enter_plan()];
        assert_eq!(plans.map(|place| place.is_some()), [true, true, false]);
    }

    #[test]
    fn a_place_is_free_again_when_it_is_given_back() {
        let (room, _) = room(5);
        let long = room.enter_long().unwrap();
        assert!(room.enter_long().is_none());
        drop(long);
        assert!(room.enter_long().is_some());
        let gateway = room.enter_gateway().unwrap();
        assert!(room.enter_gateway().is_none());
        drop(gateway);
        assert!(room.enter_gateway().is_some());
    }
}
