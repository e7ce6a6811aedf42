//! The shared state of all requests, and the settings of the HTTP interface.
//!
//! The log lines of a request have two ids: an id of the service, and the trace id of the W3C header `traceparent`.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{body::Bytes, http::HeaderMap};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{Boundary, Hosts, Rates, http::limit::RateLimiter};
use crossing::{RequestResult, refuse};
use documents::{Code, Name, hex, locked};
use wire::{Ready, TlsServer};

/// Settings of the HTTP interface.
pub struct HttpConfig {
    /// Host names that clients may use besides the loopback names, in the form `host` (any port) or `host:port`.
    pub allowed_hosts: Vec<String>,
    /// Maximum number of open connections. A connection above the maximum gets status 503.
    pub max_connections: usize,
    /// Rate limits of callers.
    pub rates: Rates,
    /// Maximum time that current requests may take at shutdown.
    pub drain: Duration,
    /// Certificate of the service. Without a certificate, the service speaks plain HTTP.
    pub tls: Option<Arc<TlsServer>>,
    /// True if agents can use the Model Context Protocol at the path `/mcp`.
    pub mcp: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            max_connections: 2048,
            rates: Rates::default(),
            drain: Duration::from_secs(30),
            tls: None,
            mcp: false,
        }
    }
}

/// Phase of the service between its start and its end.
#[derive(PartialEq, PartialOrd)]
pub enum Phase {
    /// The service accepts all requests.
    Serving,
    /// Runs in progress continue. The service accepts only read requests.
    Draining,
    /// The service answers the requests that wait for a change, and ends event streams.
    Ending,
    Over,
}

pub struct App {
    pub boundary: Boundary,
    pub hosts: Hosts,
    pub limits: RateLimiter,
    phase: watch::Receiver<Phase>,
    /// The OpenAPI document as JSON.
    pub description: Bytes,
    /// Permits for requests that wait for a change. The number of waiting requests and of event streams is limited, so
    /// that connections remain free for signatures.
    pub waits: Arc<Semaphore>,
    most_waits: usize,
    /// Permits for event streams (at most [`MOST_WATCHERS`]).
    pub watchers: Arc<Semaphore>,
    pub most_watchers: usize,
    /// Number of event streams of each caller.
    pub streams: Mutex<HashMap<Option<Name>, Arc<()>>>,
    /// Permits for calls that change something (in total [`MOST_WORK`]).
    work: Arc<Semaphore>,
    /// Start of the current second, the number of health reports made in this second, and the newest report.
    reports: Mutex<Option<(Instant, u32, Ready)>>,
}

/// Maximum number of event streams. With fewer than 2,000 connections, the maximum is half of the connections.
pub const MOST_WATCHERS: usize = 1000;
/// Number of work permits, which is larger than the possible number of connections. At shutdown, the service takes all
/// permits to wait for the end of all calls.
pub const MOST_WORK: u32 = 1 << 20;
/// Maximum number of health reports that are made in one second.
const MOST_REPORTS: u32 = 10;

impl App {
    pub fn new(
        boundary: Boundary,
        bound: SocketAddr,
        config: &HttpConfig,
        phase: watch::Receiver<Phase>,
        description: Bytes,
    ) -> Self {
        let (most_waits, most_watchers) = (
            config.max_connections / 4,
            MOST_WATCHERS.min(config.max_connections / 2),
        );
        Self {
            boundary,
            hosts: Hosts::new(bound, config.tls.is_some(), &config.allowed_hosts),
            limits: RateLimiter::new(config.rates, Instant::now()),
            phase,
            description,
            waits: Arc::new(Semaphore::new(most_waits)),
            most_waits,
            watchers: Arc::new(Semaphore::new(most_watchers)),
            most_watchers,
            streams: Mutex::default(),
            work: Arc::new(Semaphore::new(MOST_WORK as usize)),
            reports: Mutex::default(),
        }
    }

    /// Returns the health report. Callers are not charged for it, so callers that ask very often get a report that is
    /// at most one second old.
    pub fn ready(&self) -> Ready {
        let mut reports = locked(&self.reports);
        let (began, made) = match &*reports {
            Some((began, made, newest)) if began.elapsed() < Duration::from_secs(1) => {
                if *made >= MOST_REPORTS {
                    return newest.clone();
                }
                (*began, *made)
            }
            _ => (Instant::now(), 0),
        };
        let report = self.boundary.health.ready();
        *reports = Some((began, made + 1, report.clone()));
        report
    }

    /// Waits until the service has reached `phase`.
    pub async fn phase(&self, phase: Phase) {
        let mut at = self.phase.clone();
        // An error means that `serve` has returned, which is after the last phase.
        let _ = at.wait_for(|now| *now >= phase).await;
    }

    /// Starts work that continues even if its client disconnects. The shutdown waits for this work.
    pub fn work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> RequestResult<JoinHandle<T>> {
        let counted = self.work.clone().try_acquire_owned();
        let counted =
            counted.map_err(|_| refuse(Code::Busy, "too many calls are in progress: try again"))?;
        // The future of a crossing has several kilobytes. Box it first, because each later step would copy it.
        let work = Box::pin(work).in_current_span();
        Ok(tokio::spawn(async move {
            let done = work.await;
            drop(counted);
            done
        }))
    }

    /// Returns true if the service accepts new calls that change something.
    pub fn takes_changes(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Returns true if a request waits for events or changes.
    pub fn is_waited_for(&self) -> bool {
        self.waits.available_permits() < self.most_waits
            || self.watchers.available_permits() < self.most_watchers
    }

    /// Waits until all calls that change something have ended.
    pub async fn finished(&self) {
        let _ = self.work.acquire_many(MOST_WORK).await;
    }
}

#[derive(Clone, Copy)]
pub struct PeerAddress(pub(super) IpAddr);

/// Data of a request for its log line.
#[derive(Clone)]
pub struct RequestSummary {
    pub path: &'static str,
    pub principal: Option<Name>,
}

/// Name of the header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// Returns the span for the log lines of one request. If the format of the log shows no spans, the span is disabled.
pub fn request_span(headers: &HeaderMap) -> Span {
    // The span has the level of errors, so that a filter for errors keeps the ids.
    let span = tracing::error_span!(
        "request",
        request_id = Empty,
        trace_id = Empty,
        proposal = Empty,
        step = Empty
    );
    if !span.is_disabled() {
        let mut random = [0_u8; 8];
        // The id only serves to find the log lines of a request. Without randomness, the id consists of zeros.
        let _ = getrandom::fill(&mut random);
        span.record("request_id", format!("req_{}", hex(&random)));
        if let Some(trace_id) = trace_id(headers) {
            span.record("trace_id", trace_id);
        }
    }
    span
}

/// Returns the trace id of a well-formed `traceparent` header of version 00 (W3C Trace Context, section 3.2). Every
/// other header is ignored, because a log line must not contain arbitrary text of a client.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let mut fields = value.to_str().ok()?.split('-');
    let is_hex = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|c| c != b'0');
    let (version, trace, parent, flags) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    let valid = version == "00"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
        && fields.next().is_none();
    valid.then_some(trace)
}

#[cfg(test)]
mod trace_tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_of_version_00_has_a_trace_id() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(TRACEPARENT, HeaderValue::from_static(value));
            });
            trace_id(&headers).map(str::to_owned)
        };
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(&[good]).as_deref(), Some(TRACE));
        assert_eq!(
            of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"]).as_deref(),
            Some(TRACE)
        );
        for bad in [
            &[][..],
            &[good, good],
            &[""],
            &["00"],
            &["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
            &[" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e473\"-00f067aa0ba902b7-01"],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
