//! What the service wrote down about the day, read from its store after it has stopped.
//!
//! Decides which of the demo's figures the journal answers for: plans, profiles, sessions. If a session that was acknowledged is not
//! there, the day has failed.

use crate::domain::event::Event;
use crate::domain::ids::SiteKey;
use crate::domain::profile::Cause;
use crate::engine::ports::Store;
use crate::simulate::day::Day;
use crate::simulate::report::Service;
use crate::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use anyhow::{Context, ensure};
use std::path::Path;
use std::time::Duration;

/// Entries read at once.
const PAGE: usize = 1_000;

/// Counts what is in the journal of the day's site.
pub async fn read(folder: &Path, day: &Day) -> anyhow::Result<Service> {
    let store = SledStore::open(folder, DEFAULT_CACHE_BYTES).context("the store after the day")?;
    let key = SiteKey {
        tenant: day.site.spec().tenant.clone(),
        site: day.site.spec().id.clone(),
    };
    let mut service = Service::default();
    let (mut started, mut ended) = (0, 0);
    loop {
        let entries = store.read(&key, service.journal_entries, PAGE).await?;
        let Some(last) = entries.last() else { break };
        service.journal_entries = last.sequence;
        for entry in &entries {
            match &entry.event {
                Event::SessionStarted(_) => started += 1,
                Event::SessionEnded { .. } => ended += 1,
                Event::PlanMade(plan) => service.solves.push(Duration::from_micros(plan.solve_micros)),
                Event::CommandsIssued(commands) => {
                    for command in commands {
                        count(&mut service, command.cause);
                    }
                }
                _ => {}
            }
        }
    }
    let all = day.sessions.len();
    let gone = day
        .sessions
        .iter()
        .filter(|session| session.departure <= day.end)
        .count();
    ensure!(
        (started, ended) == (all, gone),
        "the journal knows {started} sessions begun and {ended} ended, not {all} and {gone}"
    );
    store.all_was_read();
    service.solves.sort_unstable();
    Ok(service)
}

fn count(service: &mut Service, cause: Cause) {
    match cause {
        Cause::Change => service.changes += 1,
        Cause::Renewal => service.renewals += 1,
        Cause::Retry => service.retries += 1,
    }
}
