//! Connections of the HTTP interface, with their maximum number, their deadlines and their shutdown.
//!
//! If the maximum number of connections is open, a new connection replaces the connection that is idle for the longest
//! time. So a client that opens connections and sends nothing keeps nobody out.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    body::HttpBody as _,
    http::{Request, StatusCode},
    response::Response,
};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
    time::{Sleep, sleep, timeout},
};

use crate::{Phase, http::problem::problem};
use crossing::refuse;
use documents::{Code, locked};
use store::Metrics;
use wire::{ALERT, EncryptedStream, TlsServer};

/// Time limit for a TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Time limit for the head of a request. The time starts after the previous answer, so this limit also closes idle
/// connections.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time limit for writing an answer to a client that does not read.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// Idle time before the kernel sends TCP keepalive probes.
const TCP_PROBE: Duration = Duration::from_secs(30);
/// Maximum size of the head of a request, in bytes. Hyper allows at most 100 headers.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Size of the read buffer of a connection, in bytes.
const BUFFER_BYTES: usize = 64 << 10;
/// Maximum time in which a client may still send data after the last answer. If the service closes a socket with unread
/// bytes, the kernel resets the connection and the client loses the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;
/// Maximum size, in bytes, of an answer after which a connection counts as idle. Such an answer fits into the buffers
/// of the kernel.
const SHORT: u64 = 64 << 10;
/// Maximum time to wait until an ended idle connection frees its place.
const PLACE_DEADLINE: Duration = Duration::from_secs(1);
/// Maximum number of refused connections that get the answer 503 before they are closed.
const TURNED_AWAY: usize = 64;
/// Minimum time between two log lines about refused connections.
const REPORTS: Duration = Duration::from_secs(60);
/// Pause after a failed accept because of missing descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the future `shutdown` completes, then asks all connections to end and waits for their end.
pub async fn accept<R, F>(
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    reply: R,
    most: usize,
    metrics: &Metrics,
    phase: &watch::Sender<Phase>,
    shutdown: impl Future<Output = ()>,
) -> impl Future<Output = ()>
where
    R: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(most));
    let idle = Arc::<IdleConnections>::default();
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let mut reported: Option<Instant> = None;
    let connections = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .keep_alive(true);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client closed the connection before it was accepted.
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "can't accept connections now");
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let mut place = room.clone().try_acquire_owned().ok();
        if place.is_none() && idle.end_first() {
            place = timeout(PLACE_DEADLINE, room.clone().acquire_owned())
                .await
                .ok()
                .and_then(Result::ok);
        }
        let Some(place) = place else {
            metrics.refused_connection();
            if reported.is_none_or(|at| at.elapsed() >= REPORTS) {
                reported = Some(Instant::now());
                tracing::warn!(
                    most,
                    "refused a connection, because clients hold the maximum number of connections: find these clients \
                     (`ss -tn`) and end them; the metric countersign_connections_refused_total counts all refused \
                     connections"
                );
            }
            // With TLS, an HTTP answer would need a handshake, which costs too much here. An alert costs one write.
            let answer = if tls.is_some() {
                ALERT.to_vec()
            } else {
                no_room().into_bytes()
            };
            match turned_away.clone().try_acquire_owned() {
                Ok(place) => drop(tokio::spawn(async move {
                    turn_away(stream, &answer).await;
                    drop(place);
                })),
                // Close this connection without waiting for its request. If the request arrives later, the client may
                // get a reset instead of the answer.
                Err(_) => drop(
                    stream
                        .into_std()
                        .and_then(|mut stream| stream.write(&answer)),
                ),
            }
            continue;
        };
        let (tls, reply, builder, watcher, phase) = (
            tls.clone(),
            reply.clone(),
            builder.clone(),
            connections.watcher(),
            phase.subscribe(),
        );
        let connection = idle.add();
        tokio::spawn(async move {
            if let Err(error) = prepare(&stream) {
                tracing::debug!(%error, "a connection ended before its first request");
                return;
            }
            let known = connection.clone();
            let reply = move |address: IpAddr, request: Request<Incoming>| {
                known.works();
                let (known, answered) = (known.clone(), reply(address, request));
                async move {
                    let answer = answered.await;
                    // A connection does not count as idle after a longer answer, because the client may still be
                    // receiving the answer.
                    if answer.as_ref().is_ok_and(|answer| {
                        answer
                            .body()
                            .size_hint()
                            .upper()
                            .is_some_and(|most| most <= SHORT)
                    }) {
                        known.is_idle();
                    }
                    answer
                }
            };
            let talk = async {
                match tls {
                    None => converse(stream, peer, reply, builder, watcher, phase).await,
                    Some(tls) => {
                        if let Some(stream) = encrypt(stream, &tls, phase.clone()).await {
                            converse(stream, peer, reply, builder, watcher, phase).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = talk => {}
                () = connection.ended() => tracing::debug!("an idle connection ended, because another one needs its place"),
            }
            drop(place);
        });
    }
    drop(listener);
    phase.send_replace(Phase::Ending);
    connections.shutdown()
}

/// Performs the TLS handshake. Returns `None` if the handshake failed or did not end in time. A client that sends plain
/// HTTP gets an answer in plain HTTP.
async fn encrypt(
    stream: TcpStream,
    tls: &TlsServer,
    mut phase: watch::Receiver<Phase>,
) -> Option<EncryptedStream> {
    let handshake = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        // A ClientHello starts with 0x16, and a method of HTTP with a letter.
        if first[0].is_ascii_alphabetic() {
            turn_away(stream, needs_tls().as_bytes()).await;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client does not use TLS",
            ));
        }
        match tls.accept(stream).await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                // The client may have sent more data, for example a request after the rejected certificate.
                turn_away(stream, &[]).await;
                Err(error)
            }
        }
    };
    let done = tokio::select! {
        done = timeout(HANDSHAKE_DEADLINE, handshake) => done,
        // No request can arrive before the end of the handshake, so a shutdown does not wait for it.
        _ = phase.wait_for(|now| *now >= Phase::Ending) => return None,
    };
    match done {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake did not end in time");
            None
        }
    }
}

async fn converse<S, R, F>(
    stream: S,
    peer: SocketAddr,
    reply: R,
    builder: http1::Builder,
    watcher: Watcher,
    mut phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: Fn(IpAddr, Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let address: IpAddr = peer.ip();
    let service = service_fn(move |request| reply(address, request));
    let conversation = watcher.watch(builder.serve_connection(Patient::new(stream), service));
    tokio::select! {
        ended = conversation => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        },
        _ = phase.wait_for(|now| *now == Phase::Over) => {}
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // The Nagle algorithm would delay the small answers.
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, TCP_PROBE)?;
    Ok(())
}

fn no_room() -> String {
    last_answer(
        Code::Busy,
        "retry-after: 1\r\n",
        "too many connections: try again",
    )
}

fn needs_tls() -> String {
    last_answer(
        Code::Malformed,
        "",
        "this port accepts only TLS: write https:// in the URL",
    )
}

/// Returns a refusal that closes the connection.
fn last_answer(code: Code, headers: &str, detail: &str) -> String {
    let status = StatusCode::from_u16(code.status()).unwrap_or_default();
    // The serialization can't fail, because a problem contains only text and numbers.
    let body = serde_json::to_string(&problem(&refuse(code, detail))).unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{headers}\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn turn_away(mut stream: TcpStream, answer: &[u8]) {
    let told = timeout(Duration::from_secs(1), async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // Read the remaining bytes, because a close with unread bytes resets the connection and the client loses the
        // answer.
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    });
    let _ = told.await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Connection with a deadline for writing. The library hyper only has a deadline for request heads.
struct Patient<S> {
    io: TokioIo<S>,
    /// Deadline of a write, set while the client reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Deadline and byte limit for data that arrives after the last answer.
    lingers: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Patient<S> {
    fn new(stream: S) -> Self {
        Self {
            io: TokioIo::new(stream),
            stalled: None,
            lingers: None,
        }
    }

    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read its answer",
        )))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            // With TLS, the shutdown writes a last message. If the client reads nothing, the kernel has no room for it.
            let written = Pin::new(&mut this.io).poll_shutdown(context);
            ready!(this.within(context, written))?;
        }
        let (end, room) = this
            .lingers
            .get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        let mut scratch = [0; 4096];
        while end.as_mut().poll(context).is_pending() && *room > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(AsyncRead::poll_read(
                Pin::new(this.io.inner_mut()),
                context,
                &mut buffer
            ))?;
            match buffer.filled().len() {
                0 => break,
                length => *room = room.saturating_sub(length),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The number of a connection with a request in progress.
const BUSY: u64 = u64::MAX;

/// The idle connections of a listener, by the order in which they became idle.
#[derive(Default)]
pub struct IdleConnections {
    next: AtomicU64,
    idle: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

/// A connection. It is idle at first.
pub struct Connection {
    all: Arc<IdleConnections>,
    /// Number in the list while the connection is idle, otherwise `BUSY`.
    number: AtomicU64,
    end: Arc<Notify>,
}

impl IdleConnections {
    /// Adds a connection.
    pub fn add(self: &Arc<Self>) -> Arc<Connection> {
        let added = Arc::new(Connection {
            all: self.clone(),
            number: AtomicU64::new(0),
            end: Arc::new(Notify::new()),
        });
        added.is_idle();
        added
    }

    /// Ends the connection that is idle for the longest time. Returns false if no connection is idle.
    pub fn end_first(&self) -> bool {
        let first = locked(&self.idle).pop_first();
        first.inspect(|(_, end)| end.notify_one()).is_some()
    }
}

impl Connection {
    /// Notes that the last answer was sent.
    pub fn is_idle(&self) {
        let number = self.all.next.fetch_add(1, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
        locked(&self.all.idle).insert(number, self.end.clone());
    }

    /// Notes that a request arrived.
    pub fn works(&self) {
        locked(&self.all.idle).remove(&self.number.swap(BUSY, Ordering::Relaxed));
    }

    /// Completes if the connection must give its place to another connection.
    pub async fn ended(&self) {
        loop {
            self.end.notified().await;
            // If a request arrived after `end_first` chose this connection, answer the request and keep the connection.
            if self.number.load(Ordering::Relaxed) != BUSY {
                return;
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.works();
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio::sync::{Notify, oneshot};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    struct Running {
        address: SocketAddr,
        /// A request of `/held` arrived.
        held: Arc<Notify>,
        stop: oneshot::Sender<()>,
        drained: tokio::task::JoinHandle<()>,
    }

    /// Starts a service that answers `/slow` after a short time, `/held` not within a test, and any other path
    /// immediately.
    async fn start(most: usize) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let held = Arc::<Notify>::default();
        let arrived = held.clone();
        let drained = tokio::spawn(async move {
            let (phase, _) = watch::channel(Phase::Serving);
            let reply = move |_, request: Request<Incoming>| {
                let arrived = arrived.clone();
                async move {
                    match request.uri().path() {
                        "/slow" => sleep(Duration::from_millis(200)).await,
                        "/held" => {
                            arrived.notify_one();
                            sleep(2 * PATIENCE).await;
                        }
                        _ => {}
                    }
                    Ok(Response::new(Body::from("done")))
                }
            };
            let stopped = async {
                let _ = stopped.await;
            };
            accept(
                listener,
                None,
                reply,
                most,
                &Metrics::default(),
                &phase,
                stopped,
            )
            .await
            .await;
        });
        Running {
            address,
            held,
            stop,
            drained,
        }
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
    }

    async fn received(stream: &mut TcpStream) -> String {
        let mut bytes = vec![0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut bytes))
            .await
            .expect("in time")
            .expect("read");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_gets_503_until_another_connection_ends() {
        let running = start(1).await;
        let mut first = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut first, "/held").await;
        running.held.notified().await;
        let mut second = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut second, "/").await;
        let refused = received(&mut second).await;
        assert!(
            refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"),
            "{refused}"
        );
        let body = r#"{"type":"/problems/busy","title":"the boundary has no room for this request now","status":503,"detail":"too many connections: try again"}"#;
        assert!(refused.ends_with(body), "{refused}");
        drop((first, second));
        let again = async {
            loop {
                let mut third = TcpStream::connect(running.address)
                    .await
                    .expect("connected");
                ask(&mut third, "/").await;
                if received(&mut third).await.starts_with("HTTP/1.1 200") {
                    break;
                }
            }
        };
        timeout(PATIENCE, again).await.expect("there is room again");
    }

    #[tokio::test]
    async fn a_new_connection_takes_the_place_of_the_one_that_is_idle_for_the_longest_time() {
        let running = start(2).await;
        let mut silent = TcpStream::connect(running.address)
            .await
            .expect("connected");
        let mut answered = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut answered, "/").await;
        assert!(received(&mut answered).await.starts_with("HTTP/1.1 200"));
        let mut new = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut new, "/").await;
        assert!(received(&mut new).await.starts_with("HTTP/1.1 200"));
        assert_eq!(
            received(&mut silent).await,
            "",
            "the silent connection ended"
        );
        ask(&mut answered, "/").await;
        assert!(
            received(&mut answered).await.starts_with("HTTP/1.1 200"),
            "the other one stays"
        );
    }

    #[tokio::test]
    async fn a_flood_of_connections_gets_503() {
        let running = start(1).await;
        let mut busy = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut busy, "/held").await;
        running.held.notified().await;
        let mut held = Vec::new();
        let mut told = 0;
        for _ in 0..TURNED_AWAY + 20 {
            let mut stream = TcpStream::connect(running.address)
                .await
                .expect("connected");
            let mut bytes = vec![0; 4096];
            // A refused connection gets the answer without a request. The busy connection holds the only permit.
            if let Ok(Ok(read)) = timeout(Duration::from_millis(100), stream.read(&mut bytes)).await
            {
                told += usize::from(bytes[..read].starts_with(b"HTTP/1.1 503"));
            }
            held.push(stream);
        }
        assert_eq!(told, TURNED_AWAY + 20);
    }

    #[tokio::test]
    async fn shutdown_finishes_current_requests_and_closes_idle_connections() {
        let running = start(10).await;
        let mut idle = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut idle, "/").await;
        assert!(received(&mut idle).await.starts_with("HTTP/1.1 200"));
        let mut fresh = TcpStream::connect(running.address)
            .await
            .expect("connected");
        let mut busy = TcpStream::connect(running.address)
            .await
            .expect("connected");
        ask(&mut busy, "/slow").await;
        // The request must arrive before the service is stopped.
        sleep(Duration::from_millis(50)).await;
        running.stop.send(()).expect("it runs");
        assert!(received(&mut busy).await.starts_with("HTTP/1.1 200"));
        timeout(PATIENCE, running.drained)
            .await
            .expect("in time")
            .expect("no panic");
        assert_eq!(received(&mut idle).await, "");
        assert_eq!(received(&mut fresh).await, "");
        assert!(
            TcpStream::connect(running.address).await.is_err(),
            "nobody listens any more"
        );
    }
}
