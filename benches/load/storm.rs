//! Every gateway loses its stream at once, and all come back at once, each on a connection of its own.
//!
//! Decides when a storm is over: every gateway has its welcome again. Who finds no room comes back after a while that grows.

use crate::gateways::{Board, Gateway};
use crate::yard::{Yard, bearer, connect};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

/// Connections being made at once when the gateways come for the first time.
const FIRST_AT_ONCE: usize = 200;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Whoever has no welcome by then is missing.
const PATIENCE: Duration = Duration::from_secs(120);

/// All gateways of a yard, connected and answering.
pub struct Fleet {
    board: Arc<Board>,
    storm: watch::Sender<u32>,
    tries_that_failed: Arc<AtomicUsize>,
    /// Ends with the fleet.
    _tasks: JoinSet<()>,
}

/// How a storm was taken.
pub struct Outcome {
    /// Until the last welcome; `None` if one is missing.
    pub absorbed_in: Option<Duration>,
    pub tries_that_failed: usize,
}

impl Fleet {
    /// Brings every gateway to its welcome.
    pub async fn connect(address: &str, yard: &Yard, board: Arc<Board>) -> Self {
        let storm = watch::Sender::new(0);
        let tries_that_failed = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        for number in 0..yard.gateways() {
            let life = Life {
                gateway: Gateway::new(number),
                endpoint: endpoint.clone(),
                board: Arc::clone(&board),
                storm: storm.subscribe(),
                tries_that_failed: Arc::clone(&tries_that_failed),
            };
            tasks.spawn(life.run());
            let welcome = number.saturating_sub(FIRST_AT_ONCE);
            let mut welcomes = board.welcomes.subscribe();
            let enough = welcomes.wait_for(|welcomes| *welcomes >= welcome);
            enough.await.expect("the board stays");
        }
        let mut welcomes = board.welcomes.subscribe();
        let all = welcomes.wait_for(|welcomes| *welcomes >= yard.gateways());
        tokio::time::timeout(PATIENCE, all)
            .await
            .expect("every gateway is welcome")
            .expect("the board stays");
        Self {
            board,
            storm,
            tries_that_failed,
            _tasks: tasks,
        }
    }

    /// Cuts every connection and waits until all are back.
    #[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
    pub async fn storm(&self, yard: &Yard) -> Outcome {
        let before = *self.board.welcomes.borrow();
        let failed_before = self.tries_that_failed.load(Ordering::Relaxed);
        let begun = Instant::now();
        self.storm.send_modify(|storm| *storm += 1);
        let mut welcomes = self.board.welcomes.subscribe();
        let all = welcomes.wait_for(|welcomes| *welcomes >= before + yard.gateways());
        let all = tokio::time::timeout(PATIENCE, all).await;
        Outcome {
            absorbed_in: all.is_ok().then(|| begun.elapsed()),
            tries_that_failed: self.tries_that_failed.load(Ordering::Relaxed) - failed_before,
        }
    }
}

/// One gateway over all its streams.
struct Life {
    gateway: Gateway,
    endpoint: Endpoint,
    board: Arc<Board>,
    storm: watch::Receiver<u32>,
    tries_that_failed: Arc<AtomicUsize>,
}

impl Life {
    #[expect(clippy::disallowed_methods, reason = "who found no room comes back after a while")]
    async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let welcomes_before = *self.board.welcomes.borrow();
            let stay = async {
                let channel = self.endpoint.connect().await.map_err(|_| ())?;
                self.gateway
                    .stay(bearer().over(channel), &self.board)
                    .await
                    .map_err(|_| ())
            };
            tokio::select! {
                ended = stay => {
                    if ended.is_err() {
                        self.tries_that_failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // The connection goes with the stream that is dropped here.
                changed = self.storm.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    wait = FIRST_WAIT;
                    continue;
                }
            }
            if *self.board.welcomes.borrow() > welcomes_before {
                wait = FIRST_WAIT;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// A few gateways that stay, each on a connection of its own.
pub async fn stay(address: &str, yard: &Yard, board: &Arc<Board>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..yard.gateways() {
        let channel = connect(address).await;
        let board = Arc::clone(board);
        tasks.spawn(async move {
            let end = Gateway::new(number).stay(channel, &board).await;
            eprintln!("gateway {number} lost its stream: {end:?}");
        });
    }
    tasks
}
