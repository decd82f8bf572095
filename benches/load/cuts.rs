//! Cuts of what sites may draw, on times that are fixed beforehand, and how long it takes until all of a site's gateway was told less.
//!
//! Decides when a cut is kept: by what the site's EVSEs were told, they draw together no more than the cut allows. Its time runs from
//! when the cut was due. A cut that is refused is asked for again, as an operator would, and its time runs on.

use crate::gateways::Board;
use crate::yard::{TENANT, connect, grid_limit, meta, site_id};
use laddplan::wire::bearer::Calls;
use laddplan::wire::proto;
use proto::site_service_client::SiteServiceClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::Code;

/// From one cut to the next, over all sites.
const EVERY: Duration = Duration::from_millis(200);
/// From a site's cut until it is lifted.
const HELD: Duration = Duration::from_secs(2);
/// A cut that is not kept by then counts as this long.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// After a refusal.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What became of the cuts.
#[derive(Debug, Default)]
pub struct Outcome {
    pub times: Vec<Duration>,
    /// Not kept in time.
    pub missed: usize,
    /// Answers that told to come back later.
    pub refusals: usize,
    /// Not cut, since the site did not draw more than the cut allows.
    pub idle: usize,
}

/// Who cuts which sites to what.
pub struct Cuts {
    pub sites: std::ops::Range<usize>,
    pub from_amperes: i64,
    pub to_amperes: i64,
}

impl Cuts {
    /// Cuts one site after the other, each `EVERY`, for `length`.
    #[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
    pub async fn run(self, address: &str, board: Arc<Board>, length: Duration) -> Outcome {
        let channel = connect(address).await;
        let refusals = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let mut cuts = JoinSet::new();
        let turns = self.sites.clone().cycle();
        let count = length.div_duration_f64(EVERY) as u32;
        for (turn, site) in turns.enumerate().take(usize::try_from(count).unwrap_or(0)) {
            let due = begun + EVERY * u32::try_from(turn).unwrap_or(u32::MAX);
            tokio::time::sleep_until(due.into()).await;
            let one = OneCut {
                channel: channel.clone(),
                board: Arc::clone(&board),
                refusals: Arc::clone(&refusals),
                site,
                from_amperes: self.from_amperes,
                to_amperes: self.to_amperes,
            };
            cuts.spawn(one.cut_and_lift(due));
        }
        let mut outcome = Outcome::default();
        for end in cuts.join_all().await {
            match end {
                End::Kept(time) => outcome.times.push(time),
                End::Missed => {
                    outcome.missed += 1;
                    outcome.times.push(PATIENCE);
                }
                End::Idle => outcome.idle += 1,
            }
        }
        outcome.refusals = refusals.load(Ordering::Relaxed);
        outcome
    }
}

enum End {
    Kept(Duration),
    Missed,
    Idle,
}

struct OneCut {
    channel: Calls,
    board: Arc<Board>,
    refusals: Arc<AtomicUsize>,
    site: usize,
    from_amperes: i64,
    to_amperes: i64,
}

impl OneCut {
    async fn cut_and_lift(self, due: Instant) -> End {
        let mut ceiling = self.board.sites[self.site].subscribe();
        let allowed = self.to_amperes * 10;
        if ceiling.borrow().deciamperes <= allowed {
            return End::Idle;
        }
        self.limit(self.to_amperes).await;
        let kept = ceiling.wait_for(|ceiling| ceiling.deciamperes <= allowed);
        let end = match tokio::time::timeout_at((due + PATIENCE).into(), kept).await {
            Ok(kept) => End::Kept(kept.expect("the board stays").since.saturating_duration_since(due)),
            Err(_) => End::Missed,
        };
        tokio::time::sleep_until((due + HELD).into()).await;
        self.limit(self.from_amperes).await;
        end
    }

    /// Asks until it is taken.
    #[expect(clippy::disallowed_methods, reason = "who was refused comes back after a while")]
    async fn limit(&self, amperes: i64) {
        let request = proto::SetGridLimitRequest {
            meta: meta(),
            tenant_id: TENANT.to_owned(),
            site_id: site_id(self.site),
            grid_limit: grid_limit("cut", amperes),
        };
        loop {
            let answer = SiteServiceClient::new(self.channel.clone())
                .set_grid_limit(request.clone())
                .await;
            match answer {
                Ok(_) => return,
                Err(status) if status.code() == Code::ResourceExhausted => {
                    self.refusals.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                Err(status) => panic!("a cut failed: {status}"),
            }
        }
    }
}
