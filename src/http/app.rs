//! What all requests share, and how the face is run.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::boundary::Boundary;
use crate::crossing::refusal::Stopped;
use crate::http::access::Hosts;
use crate::http::limit::{RateLimiter, Rates};
use crate::http::problem::refuse;
use crate::record::code::Code;
use crate::record::ident::Name;

/// How the face is run.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Names besides loopback under which it may be called: `host` (at any port) or `host:port`.
    pub allowed_hosts: Vec<String>,
    /// Connections at once; one more is told 503.
    pub max_connections: usize,
    /// How often each may call.
    pub rates: Rates,
    /// How long what is in flight may take to end at shutdown.
    pub drain: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            max_connections: 1024,
            rates: Rates::default(),
            drain: Duration::from_secs(30),
        }
    }
}

/// Where the service is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Requests are taken.
    Serving,
    /// What runs is finished; only reading is answered.
    Draining,
    /// Waits answer as things are, streams end.
    Ending,
    /// What is left is cut off.
    Over,
}

/// What all requests share.
pub(super) struct App {
    pub(super) boundary: Boundary,
    pub(super) hosts: Hosts,
    pub(super) limits: RateLimiter,
    phase: watch::Receiver<Phase>,
    /// OpenAPI, as JSON.
    pub(super) description: Bytes,
    /// Room for those who wait for events or changes; the other connections stay free for signatures.
    pub(super) waits: Arc<Semaphore>,
    most_waits: usize,
    /// Calls that change something, each holding one of [`MOST_WORK`].
    work: Arc<Semaphore>,
}

/// More calls that change something than connections can bring: to be waited for, not to limit.
pub(super) const MOST_WORK: u32 = 1 << 20;

impl App {
    pub(super) fn new(
        boundary: Boundary,
        bound: SocketAddr,
        config: &HttpConfig,
        phase: watch::Receiver<Phase>,
        description: Bytes,
    ) -> Self {
        let most_waits = config.max_connections / 4 * 3;
        Self {
            boundary,
            hosts: Hosts::new(bound, &config.allowed_hosts),
            limits: RateLimiter::new(config.rates, Instant::now()),
            phase,
            description,
            waits: Arc::new(Semaphore::new(most_waits)),
            most_waits,
            work: Arc::new(Semaphore::new(MOST_WORK as usize)),
        }
    }

    /// Ready as soon as the service has come to `phase`.
    pub(super) async fn phase(&self, phase: Phase) {
        let mut at = self.phase.clone();
        // An error means that `serve` is gone: that is over as well.
        let _ = at.wait_for(|now| *now >= phase).await;
    }

    /// Starts work that ends also when its caller goes away, and that shutdown waits for.
    pub(super) fn work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, Stopped> {
        let counted = self.work.clone().try_acquire_owned();
        let counted = counted.map_err(|_| refuse(Code::Busy, "too much is under way: try again"))?;
        // A crossing's state is kilobytes: moved once, not into the task, its cell and out again.
        let work = Box::pin(work);
        Ok(tokio::spawn(async move {
            let done = work.await;
            drop(counted);
            done
        }))
    }

    /// Whether new calls may change something.
    pub(super) fn takes_changes(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Whether somebody waits for events or changes.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waits.available_permits() < self.most_waits
    }

    /// Ready when no such work is under way.
    pub(super) async fn finished(&self) {
        let _ = self.work.acquire_many(MOST_WORK).await;
    }
}

/// The peer's address, as the connection tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerAddress(pub(super) IpAddr);

/// What the log line says of a request that had a route.
#[derive(Debug, Clone)]
pub(super) struct RequestSummary {
    pub(super) path: &'static str,
    pub(super) principal: Option<Name>,
}
