//! A proxy between a program and a PostgreSQL server. It cuts connections, and can lead to another server.
//!
//! A *flight* is what a client sends before it sees an answer. Connections must not use TLS.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::DATABASE;
use super::flights::Progress;

/// Where a flight is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The flight does not reach the server. Of a flight with a COMMIT, nothing from the COMMIT on reaches the server.
    Before,
    /// The flight reaches the server, but no answer reaches the client. The connection closes 100 ms after the last bytes
    /// of the client.
    After,
}

/// The next cut. The flights of all connections count, from the order of the cut on.
enum Cut {
    /// The nth flight with a COMMIT.
    Nth { n: u64, side: Side },
    /// One of `mean` flights. `state` is the state of the random generator.
    Random { state: u64, mean: u64 },
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    swallows: AtomicBool,
    cut: Mutex<Option<Cut>>,
    /// The address of the server, for new connections.
    server: Mutex<Option<SocketAddr>>,
    /// Delay of the first bytes of each answer of the server, in microseconds.
    delay: AtomicU64,
    /// The files of a connection are closed when both directions have ended.
    connections: Mutex<Vec<Weak<Connection>>>,
    /// What the client of each connection sent, also of closed connections.
    sent: Mutex<Vec<Sent>>,
}

/// What a client sent over one connection after its login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub flights: u64,
    /// The number of flights with a COMMIT.
    pub commits: u64,
}

/// Drop closes all connections.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

/// A client and its connection to the server.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    progress: Mutex<Progress>,
    /// The place in `sent`.
    number: usize,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("a listener");
        let shared = Arc::new(Shared {
            server: Mutex::new(Some(server)),
            ..Shared::default()
        });
        let proxy = Self {
            shared: shared.clone(),
            port,
        };
        thread::spawn(move || {
            while !shared.ended.load(SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => shared.connect(client),
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        proxy
    }

    pub fn url(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Cuts the nth flight with a COMMIT from now on.
    pub fn cut_at_commit(&self, side: Side, n: u64) {
        self.order(Cut::Nth { n, side });
    }

    /// Cuts one of `mean` flights, on a random side, until `no_cut`.
    pub fn cut_at_random(&self, seed: u64, mean: u64) {
        // The state 0 would give only 0.
        self.order(Cut::Random {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            mean,
        });
    }

    /// Returns what the client of each connection sent so far, in the order of the connections.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().expect("the lock").clone()
    }

    fn order(&self, cut: Cut) {
        assert!(
            !matches!(cut, Cut::Nth { n: 0, .. } | Cut::Random { mean: 0, .. }),
            "flights count from 1"
        );
        *self.shared.cut.lock().expect("the lock") = Some(cut);
    }

    pub fn no_cut(&self) {
        *self.shared.cut.lock().expect("the lock") = None;
    }

    /// Closes all connections now.
    pub fn cut_all(&self) {
        let connections = self.shared.connections.lock().expect("the lock");
        connections
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|one| one.close());
    }

    /// Leads to another server from now on. All connections close.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().expect("the lock") = Some(server);
        self.cut_all();
    }

    /// Delays each answer of the server from now on, so that a round trip takes this much longer.
    pub fn delay(&self, time: Duration) {
        self.shared.delay.store(
            u64::try_from(time.as_micros()).expect("a short time"),
            SeqCst,
        );
    }

    /// With `true`, accepts connections, but passes no byte on. `false` ends this, and closes all connections, because
    /// their bytes are lost.
    pub fn black_hole(&self, on: bool) {
        self.shared.swallows.store(on, SeqCst);
        if !on {
            self.cut_all();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.cut_all();
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let server = *self.server.lock().expect("the lock");
        // Without a server, the client loses its connection.
        let Some(Ok(server)) = server.map(TcpStream::connect) else {
            return;
        };
        for stream in [&client, &server] {
            stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_nodelay(true))
                .expect("a connection");
        }
        let number = {
            let mut sent = self.sent.lock().expect("the lock");
            sent.push(Sent::default());
            sent.len() - 1
        };
        let one = Arc::new(Connection {
            client,
            server,
            progress: Mutex::default(),
            number,
        });
        self.connections
            .lock()
            .expect("the lock")
            .push(Arc::downgrade(&one));
        for to_server in [true, false] {
            let (shared, one) = (self.clone(), one.clone());
            thread::spawn(move || shared.pass(&one, to_server));
        }
        if self.ended.load(SeqCst) {
            one.close();
        }
    }

    /// Passes the bytes of one direction on.
    fn pass(&self, one: &Arc<Connection>, to_server: bool) {
        let (mut from, mut to) = if to_server {
            (&one.client, &one.server)
        } else {
            (&one.server, &one.client)
        };
        let mut buffer = vec![0; 1 << 20];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = &buffer[..length];
            if self.swallows.load(SeqCst) {
                continue;
            }
            if !to_server && std::mem::take(&mut one.progress.lock().expect("the lock").asked) {
                thread::sleep(Duration::from_micros(self.delay.load(SeqCst)));
            }
            let mut progress = one.progress.lock().expect("the lock");
            if to_server {
                let (flight, commit) = progress.client_sent(bytes);
                let sent = &mut self.sent.lock().expect("the lock")[one.number];
                sent.flights += u64::from(flight);
                sent.commits += u64::from(commit);
                match self.cut_now(flight, commit) {
                    Some(Side::Before) => break,
                    Some(Side::After) => {
                        progress.cut = true;
                        let one = one.clone();
                        thread::spawn(move || one.close_when_silent());
                    }
                    None => {}
                }
            } else {
                progress.server_sent(bytes);
                if progress.cut {
                    continue;
                }
            }
            drop(progress);
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        one.close();
    }

    /// Returns the side on which these bytes are cut.
    fn cut_now(&self, begins_flight: bool, begins_commit: bool) -> Option<Side> {
        let mut order = self.cut.lock().expect("the lock");
        match order.as_mut()? {
            Cut::Nth { n, side } => {
                *n -= u64::from(begins_commit);
                let side = (*n == 0).then_some(*side)?;
                *order = None;
                Some(side)
            }
            Cut::Random { state, mean } => {
                if !begins_flight {
                    return None;
                }
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                let side = if *state >> 63 == 0 {
                    Side::Before
                } else {
                    Side::After
                };
                ((*state >> 8) % *mean == 0).then_some(side)
            }
        }
    }
}

impl Connection {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Closes the connection 100 ms after the last bytes of the client. The server executes what it got, also if a COMMIT
    /// waits for a replica.
    fn close_when_silent(&self) {
        let silent =
            |last: Option<Instant>| last.is_none_or(|at| at.elapsed() > Duration::from_millis(100));
        while !silent(self.progress.lock().expect("the lock").last_bytes) {
            thread::sleep(Duration::from_millis(2));
        }
        self.close();
    }
}
