//! Connections of a desk: TLS, deadlines and limits.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, http::Request as HttpRequest};
use client::eprintln_quietly;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::ServiceExt as _;
use wire::TlsServer;

use crate::desk::proxy_header::read_proxy_header;
use documents::locked;

/// Maximum number of connections.
const MOST: usize = 1024;
/// Maximum number of connections of one address. Many people can share one address.
const MOST_OF_ONE: usize = 64;
/// Time limits for the header of a proxy, for the TLS handshake, and for the head of a request.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, because of missing descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Address of the browser at the other end of a connection.
#[derive(Clone)]
pub struct BrowserAddress(pub IpAddr);

/// Serves the pages forever. A connection from one of the `proxies` begins with a header of the PROXY protocol, which
/// contains the address of the browser.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<TlsServer>,
    pages: Router,
    proxies: Arc<[IpAddr]>,
) {
    let (room, peers) = (
        Arc::new(Semaphore::new(MOST)),
        Arc::new(ConnectionCounts::default()),
    );
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE);
    loop {
        let Ok((mut stream, peer)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            continue;
        };
        let (tls, pages, builder) = (tls.clone(), pages.clone(), builder.clone());
        let (peers, proxies) = (peers.clone(), proxies.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut peer = peer.ip().to_canonical();
            if proxies.contains(&peer) {
                let header = timeout(DEADLINE, read_proxy_header(&mut stream)).await;
                match header.unwrap_or(Err("the whole header did not come within 10 seconds")) {
                    Ok(browser) => peer = browser.unwrap_or(peer).to_canonical(),
                    Err(why) => {
                        return eprintln_quietly(&format!(
                            "closed a connection from the proxy {peer}: {why}; let the proxy send it (haproxy: send-proxy-v2), or \
                             start the desk without --proxy-from {peer}"
                        ));
                    }
                }
            }
            let Some(_counted) = peers.enter(peer) else {
                return;
            };
            let Ok(Ok(stream)) = timeout(DEADLINE, tls.accept(stream)).await else {
                return;
            };
            let service = service_fn(move |request: HttpRequest<Incoming>| {
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(BrowserAddress(peer));
                pages.clone().oneshot(request)
            });
            // A browser that ends the connection is no error of the desk.
            let _ended = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Returns one address for all addresses of an IPv6 /64 network, which one client usually controls.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Number of connections of each address.
#[derive(Default)]
struct ConnectionCounts(Mutex<HashMap<IpAddr, usize>>);

/// A connection that is counted until this value is dropped.
struct CountedConnection(Arc<ConnectionCounts>, IpAddr);

impl ConnectionCounts {
    fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<CountedConnection> {
        let mut all = locked(&self.0);
        let peer = network(peer);
        let count = all.entry(peer).or_default();
        (*count < MOST_OF_ONE).then(|| {
            *count += 1;
            CountedConnection(self.clone(), peer)
        })
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut all = locked(&self.0.0);
        match all.get_mut(&self.1) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(all.remove(&self.1)),
        }
    }
}

/// Time in which an address gets one more attempt.
const EACH: Duration = Duration::from_secs(1);
/// Number of attempts that an address can make at once.
const BURST: u32 = 60;
/// Maximum number of addresses. Further addresses share one limit.
const MOST_ADDRESSES: usize = 65_536;

/// Limit for attempts to log in or to make a passkey, by address. An entry has the time at which the address can make
/// `BURST` attempts again.
#[derive(Default)]
pub struct AttemptLimits(Mutex<HashMap<Option<IpAddr>, Instant>>);

impl AttemptLimits {
    /// Counts an attempt. Returns false if the address has made too many.
    pub fn take(&self, peer: IpAddr, now: Instant) -> bool {
        let mut all = locked(&self.0);
        if all.len() >= MOST_ADDRESSES {
            all.retain(|_, full| *full > now);
        }
        let place = Some(network(peer))
            .filter(|peer| all.len() < MOST_ADDRESSES || all.contains_key(&Some(*peer)));
        let full = all.entry(place).or_insert(now);
        let then = (*full).max(now) + EACH;
        let permitted = then <= now + EACH * BURST;
        if permitted {
            *full = then;
        }
        permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_makes_a_burst_of_attempts_and_then_one_each_second() {
        let (limits, began) = (AttemptLimits::default(), Instant::now());
        let one = address("2001:db8::1");
        assert!((0..BURST).all(|_| limits.take(one, began)));
        assert!(
            !limits.take(address("2001:db8::ffff"), began),
            "the same network"
        );
        assert!(
            limits.take(address("2001:db8:0:1::1"), began)
                && limits.take(address("192.0.2.1"), began)
        );
        assert!(limits.take(one, began + EACH) && !limits.take(one, began + EACH));
    }

    #[test]
    fn an_address_has_a_limited_number_of_connections() {
        let counts = Arc::new(ConnectionCounts::default());
        let mut held: Vec<_> = (0..MOST_OF_ONE)
            .map(|_| counts.enter(address("192.0.2.1")).expect("a place"))
            .collect();
        assert!(
            counts.enter(address("::ffff:192.0.2.1")).is_none()
                && counts.enter(address("192.0.2.2")).is_some()
        );
        held.pop();
        assert!(counts.enter(address("192.0.2.1")).is_some());
        held.clear();
        assert!(counts.0.lock().expect("a lock").is_empty());
    }
}
