//! A proxy between a program and a PostgreSQL server. It counts round trips, delays bytes and cuts connections.
//!
//! A *flight* is what a client sends before it sees an answer, so the number of flights is the number of round trips.
//! The proxy counts from the first statement of a connection.
//!
//! If a client sends a flight in several parts, an answer to the first part may reach the client before the last part
//! is sent. Then the proxy counts two flights. With a delay of some milliseconds, the proxy counts one.
//!
//! TLS hides the messages. In a connection with TLS, each change of direction counts, also during the login, and the
//! proxy finds no COMMIT.

use std::fs::Permissions;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::flights::Progress;
use super::{DATABASE, until};

/// Where a flight is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The flight does not reach the server. Of a flight with a COMMIT, nothing from the COMMIT on reaches the server.
    Before,
    /// The flight reaches the server, but no answer reaches the client. The connection closes after the answer, or
    /// after half a second without an answer, for example because a COMMIT waits for a replica.
    After,
}

/// The next cut. The flights of all connections count, from the order of the cut on.
enum Cut {
    /// The nth flight, or the nth flight with a COMMIT.
    Nth { with_commit: bool, n: u64, side: Side },
    /// One of `mean` flights. `state` is the state of the random generator.
    Random { state: u64, mean: u64 },
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    refuses: AtomicBool,
    listens: AtomicBool,
    swallows: AtomicBool,
    /// Nanoseconds in each direction.
    delay: AtomicU64,
    cut: Mutex<Option<Cut>>,
    cuts: AtomicU64,
    /// The address of the server, for new connections.
    server: Mutex<Option<SocketAddr>>,
    /// The files of a connection are closed when both directions have ended. Its numbers stay.
    connections: Mutex<Vec<(Weak<Connection>, Numbers)>>,
}

type Numbers = Arc<Mutex<Progress>>;

/// Drop closes all connections.
pub struct Proxy {
    shared: Arc<Shared>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Port(u16),
    Socket(PathBuf),
}

/// A client and its connection to the server.
struct Connection {
    client: UnixStream,
    server: UnixStream,
    progress: Numbers,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        Self::run(server, Place::Port(port))
    }

    /// Starts a proxy on a Unix socket for port 5432 in this directory.
    pub fn start_unix(server: SocketAddr, directory: &Path) -> Self {
        Self::run(server, Place::Socket(directory.join(".s.PGSQL.5432")))
    }

    fn run(server: SocketAddr, place: Place) -> Self {
        let shared = Arc::new(Shared { server: Mutex::new(Some(server)), ..Shared::default() });
        let proxy = Self { shared: shared.clone(), place: place.clone() };
        thread::spawn(move || {
            let mut accept = None;
            while !shared.ended.load(SeqCst) {
                if shared.refuses.load(SeqCst) {
                    accept = None;
                } else if accept.is_none() {
                    accept = listen(&place).ok();
                }
                shared.listens.store(accept.is_some(), SeqCst);
                match accept.as_ref().map(|accept| accept()) {
                    Some(Ok(client)) => shared.connect(client),
                    _ => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        proxy.refuse(false);
        proxy
    }

    pub fn url(&self, role: &str) -> String {
        match &self.place {
            Place::Port(port) => format!("postgres://{role}@127.0.0.1:{port}/{DATABASE}"),
            Place::Socket(path) => {
                let directory = path.parent().expect("a directory").display().to_string();
                format!("postgres://{role}@{}:5432/{DATABASE}", directory.replace('/', "%2F"))
            }
        }
    }

    /// Returns the number of round trips since the last `reset`.
    pub fn round_trips(&self) -> u64 {
        self.round_trips_by_connection().iter().sum()
    }

    /// Returns the round trips of each connection since the last `reset`, in the order of the connections.
    pub fn round_trips_by_connection(&self) -> Vec<u64> {
        self.numbers().iter().map(|one| one.lock().expect("the lock").flights).collect()
    }

    /// Sets all numbers of round trips to 0.
    pub fn reset(&self) {
        self.numbers().iter().for_each(|one| one.lock().expect("the lock").flights = 0);
    }

    /// Delays the bytes of each direction by half of this time.
    pub fn delay_round_trips(&self, by: Duration) {
        self.shared.delay.store(by.as_nanos() as u64 / 2, SeqCst);
    }

    /// Cuts the nth flight from now on before it reaches the server.
    pub fn cut_before_flight(&self, n: u64) {
        self.order(Cut::Nth { with_commit: false, n, side: Side::Before });
    }

    /// Cuts the nth flight from now on after it has reached the server.
    pub fn cut_after_flight(&self, n: u64) {
        self.order(Cut::Nth { with_commit: false, n, side: Side::After });
    }

    /// Cuts the nth flight with a COMMIT from now on.
    pub fn cut_at_commit(&self, side: Side, n: u64) {
        self.order(Cut::Nth { with_commit: true, n, side });
    }

    /// Cuts one of `mean` flights, on a random side, until `no_cut`.
    pub fn cut_at_random(&self, seed: u64, mean: u64) {
        // The state 0 would give only 0.
        self.order(Cut::Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, mean });
    }

    fn order(&self, cut: Cut) {
        assert!(!matches!(cut, Cut::Nth { n: 0, .. } | Cut::Random { mean: 0, .. }), "flights count from 1");
        *self.shared.cut.lock().expect("the lock") = Some(cut);
    }

    pub fn no_cut(&self) {
        *self.shared.cut.lock().expect("the lock") = None;
    }

    /// Returns the number of connections that a flight cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(SeqCst)
    }

    /// Closes all connections now.
    pub fn cut_all(&self) {
        let connections = self.shared.connections.lock().expect("the lock");
        connections.iter().filter_map(|(one, _)| one.upgrade()).for_each(|one| one.close());
    }

    /// Leads to another server from now on. All connections close.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().expect("the lock") = Some(server);
        self.cut_all();
    }

    /// With `true`, accepts connections, but passes no byte on. `false` ends this, and closes all connections, because
    /// their bytes are lost.
    pub fn black_hole(&self, on: bool) {
        self.shared.swallows.store(on, SeqCst);
        if !on {
            self.cut_all();
        }
    }

    /// With `true`, new connections are refused until `false`. Other connections stay.
    pub fn refuse(&self, on: bool) {
        self.shared.refuses.store(on, SeqCst);
        until("the proxy changed what it refuses", || self.shared.listens.load(SeqCst) != on);
    }

    fn numbers(&self) -> Vec<Numbers> {
        self.shared.connections.lock().expect("the lock").iter().map(|(_, numbers)| numbers.clone()).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.cut_all();
    }
}

type Accept = Box<dyn Fn() -> io::Result<UnixStream> + Send>;

/// Returns a function that accepts a connection, or fails if there is none.
fn listen(place: &Place) -> io::Result<Accept> {
    match place {
        Place::Port(port) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?;
            listener.set_nonblocking(true)?;
            Ok(Box::new(move || listener.accept().and_then(|(stream, _)| plain(stream))))
        }
        Place::Socket(path) => {
            let _ = std::fs::remove_file(path);
            let listener = UnixListener::bind(path)?;
            // Other users may connect too, as to the socket of PostgreSQL.
            std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
            listener.set_nonblocking(true)?;
            Ok(Box::new(move || listener.accept().map(|(stream, _)| stream)))
        }
    }
}

/// Returns the stream with the type that a Unix socket has, because the calls of both are the same.
fn plain(stream: TcpStream) -> io::Result<UnixStream> {
    stream.set_nodelay(true)?;
    Ok(UnixStream::from(OwnedFd::from(stream)))
}

impl Shared {
    fn connect(self: &Arc<Self>, client: UnixStream) {
        let server = *self.server.lock().expect("the lock");
        // Without a server, the client loses its connection.
        let Some(Ok(server)) = server.map(|server| TcpStream::connect(server).and_then(plain)) else { return };
        let progress = Numbers::default();
        let one = Arc::new(Connection { client, server, progress: progress.clone() });
        self.connections.lock().expect("the lock").push((Arc::downgrade(&one), progress));
        for to_server in [true, false] {
            let (shared, one) = (self.clone(), one.clone());
            thread::spawn(move || shared.pass(&one, to_server));
        }
        if self.ended.load(SeqCst) {
            one.close();
        }
    }

    /// Passes the bytes of one direction on. A second thread writes, so that a delay does not reduce the throughput.
    fn pass(&self, one: &Arc<Connection>, to_server: bool) {
        let (queue, delayed) = channel::<(Instant, Vec<u8>, bool)>();
        let other = one.clone();
        thread::spawn(move || {
            for (due, bytes, answers) in delayed {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if answers {
                    other.progress.lock().expect("the lock").answered = true;
                }
                let mut to = if to_server { &other.server } else { &other.client };
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            other.close();
        });
        let mut from = if to_server { &one.client } else { &one.server };
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..length];
            if self.swallows.load(SeqCst) {
                continue;
            }
            let delay = Duration::from_nanos(self.delay.load(SeqCst));
            let mut progress = one.progress.lock().expect("the lock");
            let mut answers = false;
            if to_server {
                let (flight, commit) = progress.client_sent(bytes);
                match self.cut_now(flight, commit) {
                    Some(Side::Before) => {
                        one.close();
                        break;
                    }
                    Some(Side::After) => {
                        progress.cut = true;
                        let one = one.clone();
                        thread::spawn(move || one.close_after_answer(delay));
                    }
                    None => {}
                }
            } else {
                answers = progress.server_sent(bytes);
                if progress.cut {
                    continue;
                }
            }
            drop(progress);
            let _ = queue.send((Instant::now() + delay, bytes.to_vec(), answers));
        }
    }

    /// Returns the side on which these bytes are cut.
    fn cut_now(&self, begins_flight: bool, begins_commit: bool) -> Option<Side> {
        let mut order = self.cut.lock().expect("the lock");
        let side = match order.as_mut()? {
            Cut::Nth { with_commit, n, side } => {
                *n -= u64::from(if *with_commit { begins_commit } else { begins_flight });
                let side = (*n == 0).then_some(*side)?;
                *order = None;
                side
            }
            Cut::Random { state, mean } => {
                if !begins_flight {
                    return None;
                }
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                let side = if *state >> 63 == 0 { Side::Before } else { Side::After };
                ((*state >> 8) % *mean == 0).then_some(side)?
            }
        };
        self.cuts.fetch_add(1, SeqCst);
        Some(side)
    }
}

impl Connection {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Closes the connection when the server has answered, or half a second after it got the last bytes of the client.
    /// The client may send the rest of its flight for 20 ms after an answer.
    fn close_after_answer(&self, delay: Duration) {
        loop {
            thread::sleep(Duration::from_millis(2));
            let progress = self.progress.lock().expect("the lock");
            let silent = progress.last_bytes.map(|at| at.elapsed()).unwrap_or_default();
            let enough = Duration::from_millis(if progress.is_answered() { 20 } else { 500 });
            if silent > delay + enough {
                return self.close();
            }
        }
    }
}
