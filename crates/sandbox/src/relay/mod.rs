//! The relay, through which a run reaches only the hosts of its list.
//!
//! A run with a list has a network namespace without interfaces to the outside. Its first process sends a listener for
//! each host of the list to the service. The relay accepts the connections of the run in the service, and identifies
//! the host by the listener. The relay resolves the name of the host, checks every address of the name, connects to a
//! checked address, and copies the bytes in both directions. The relay does not inspect the bytes. If a host of the
//! list also serves other names, the run can reach them too.

mod own_addresses;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags};

use crate::relay::own_addresses::{is_own, listens_on};
use documents::{AllowedHost, HostRefusal, MAX_REFUSED_HOSTS, RefusedHost, check_reach, locked};

/// Maximum number of simultaneous connections of a run, because each uses threads and descriptors of the service.
const MOST_AT_ONCE: usize = 32;
const MOST_CONNECTIONS: usize = 10_000;
/// Maximum number of bytes that a run may transfer, in both directions together.
const MOST_BYTES: u64 = 1 << 30;
const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
/// Maximum time without data in both directions. A query of a database can take long before its first byte.
const SILENCE: Duration = Duration::from_secs(3600);
/// Time after the end of the run in which the relay passes on the bytes that the run has written.
const REST: Duration = Duration::from_secs(1);
/// Maximum number of addresses of a host.
const MOST_ADDRESSES: usize = 16;
const BUFFER: usize = 64 << 10;

/// The relay of one run. Dropping the relay closes all connections.
pub struct Relay {
    shared: Arc<Shared>,
    stop: Option<io::PipeWriter>,
    accepting: Option<JoinHandle<()>>,
}

/// The hosts of the list to which a run connected, and the hosts to which it got no connection, each by its index in
/// the list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkContacts {
    /// Hosts with a connection.
    pub reached: BTreeSet<usize>,
    refused: BTreeMap<usize, HostRefusal>,
}

impl NetworkContacts {
    /// Returns the refused hosts for the receipt. A host that was unreachable only for a time is left out.
    pub fn refused_hosts(&self) -> Vec<RefusedHost> {
        let is_lasting =
            |(at, why): &(&usize, &HostRefusal)| !why.is_passing() || !self.reached.contains(at);
        let lasting = self
            .refused
            .iter()
            .filter(is_lasting)
            .take(MAX_REFUSED_HOSTS);
        lasting
            .map(|(at, why)| RefusedHost {
                at: *at as u64,
                why: *why,
            })
            .collect()
    }

    fn refuse(&mut self, at: usize, why: HostRefusal) {
        let known = self.refused.entry(at).or_insert(why);
        if known.is_passing() {
            *known = why;
        }
    }
}

struct Shared {
    hosts: Vec<AllowedHost>,
    resolve: Resolve,
    state: Mutex<State>,
    /// Notified when a connection has passed on all bytes of the run.
    changed: Condvar,
    at_once: AtomicUsize,
    bytes: AtomicU64,
}

/// Contacts for the receipt, and the open connections by their numbers. A host is recorded before the first byte is
/// sent to it. After `closed` is set, the relay sends nothing.
#[derive(Debug, Default)]
struct State {
    contacts: NetworkContacts,
    open: BTreeMap<usize, OpenConnection>,
    closed: bool,
}

#[derive(Debug)]
struct OpenConnection {
    /// The index of the host in the list.
    at: usize,
    /// The socket of the run, then the socket to the host, so that the relay can close both.
    streams: Vec<Arc<TcpStream>>,
    /// True if all bytes of the run were passed on.
    sent: bool,
}

/// Permit for one connection of a run, released when its last clone is dropped.
struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Functions that resolve host names and find addresses of this host.
pub struct Resolve {
    resolve: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    is_own: fn(IpAddr) -> bool,
    /// Services that no run may reach, each with its port.
    unreachable: Arc<[(String, u16)]>,
}

impl Resolve {
    /// Uses the resolver of this host.
    pub fn system(unreachable: Arc<[(String, u16)]>) -> Self {
        let resolve = |name: &str, port: u16| {
            // An IPv6 address has brackets only in a text with a port, so remove the brackets.
            let found = (name.trim_matches(['[', ']']), port).to_socket_addrs()?;
            Ok(found.collect())
        };
        Self {
            resolve,
            is_own,
            unreachable,
        }
    }

    /// Returns the addresses of a host if the run may reach all of them. One refused address refuses the host, because the
    /// DNS server chooses the order of the addresses.
    fn checked(&self, host: &AllowedHost) -> Result<Vec<SocketAddr>, HostRefusal> {
        let (name, port) = host.host.rsplit_once(':').unwrap_or_default();
        let port = port.parse().map_err(|_| HostRefusal::Unresolved)?;
        let addresses = (self.resolve)(name, port).map_err(|_| HostRefusal::Unresolved)?;
        if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
            return Err(HostRefusal::Unresolved);
        }
        let mut forbidden: Vec<IpAddr> = Vec::new();
        for (service, _) in self.unreachable.iter().filter(|(_, at)| *at == port) {
            // Compare the names too, because a DNS server can answer each question with other addresses.
            if service.trim_end_matches('.').eq_ignore_ascii_case(name) {
                return Err(HostRefusal::Boundary);
            }
            let found = (self.resolve)(service, port).unwrap_or_default();
            forbidden.extend(found.iter().map(|address| address.ip().to_canonical()));
        }
        let is_here = |address: &IpAddr| address.is_loopback() || (self.is_own)(*address);
        // A service of this host can listen at all addresses of the host.
        let is_beside = forbidden.iter().any(is_here);
        for address in &addresses {
            let ip = address.ip();
            check_reach(host, ip, (self.is_own)(ip))?;
            if forbidden.contains(&ip)
                || (is_here(&ip) && (is_beside || listens_on(address.port())))
            {
                return Err(HostRefusal::Boundary);
            }
        }
        Ok(addresses)
    }
}

impl Relay {
    /// Serves the connections of `listeners`, one for each host in `hosts`, until the relay is dropped.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub fn serve(
        listeners: Vec<TcpListener>,
        hosts: Vec<AllowedHost>,
        resolve: Resolve,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            hosts,
            resolve,
            state: Mutex::default(),
            changed: Condvar::new(),
            at_once: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        listeners
            .iter()
            .try_for_each(|listener| listener.set_nonblocking(true))?;
        let (stopped, stop) = io::pipe()?;
        let serving = shared.clone();
        let accepting = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || accept(&listeners, &stopped, &serving))?;
        Ok(Self {
            shared,
            stop: Some(stop),
            accepting: Some(accepting),
        })
    }

    /// Passes on what the processes of the ended run have written, closes all connections, and returns the contacts.
    pub fn finish(mut self) -> NetworkContacts {
        self.stop_accepting();
        let sending = |state: &mut State| state.open.values().any(|connection| !connection.sent);
        let waited =
            self.shared
                .changed
                .wait_timeout_while(locked(&self.shared.state), REST, sending);
        drop(waited);
        self.end();
        let State { contacts, open, .. } = &mut *locked(&self.shared.state);
        // A firewall that drops packets can delay a connection until after the end of the run.
        open.values()
            .filter(|one| one.streams.len() == 1)
            .for_each(|one| contacts.refuse(one.at, HostRefusal::Unreachable));
        contacts.clone()
    }

    /// Accepts the connections that already wait at the listeners, and then closes the listeners.
    fn stop_accepting(&mut self) {
        drop(self.stop.take());
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }

    fn end(&mut self) {
        self.stop_accepting();
        // Set `closed` first, under the lock. A connection that is not recorded by then is never used.
        let mut state = locked(&self.shared.state);
        state.closed = true;
        for connection in state.open.values() {
            for stream in &connection.streams {
                if connection.sent {
                    let _ = stream.shutdown(Shutdown::Both);
                } else {
                    reset(stream);
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn refuse(&self, at: usize, why: HostRefusal) {
        locked(&self.state).contacts.refuse(at, why);
    }

    fn set_sent(&self, number: usize) {
        if let Some(connection) = locked(&self.state).open.get_mut(&number) {
            connection.sent = true;
        }
        self.changed.notify_all();
    }

    fn forget(&self, number: usize) {
        locked(&self.state).open.remove(&number);
        self.changed.notify_all();
    }

    fn spend(&self, bytes: usize, at: usize) -> io::Result<()> {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        if before.saturating_add(bytes as u64) > MOST_BYTES {
            self.refuse(at, HostRefusal::Limit);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }
}

/// Closes a connection with a reset, so that the other side sees an error instead of a normal end (connect(2)).
fn reset(stream: &TcpStream) {
    let _ = rustix::net::connect_unspec(stream);
}

/// Accepts connections until the writing end of the pipe `stopped` is closed. Does not wait for open connections.
fn accept(listeners: &[TcpListener], stopped: &io::PipeReader, shared: &Arc<Shared>) {
    let mut number = 0;
    loop {
        let mut poll = vec![PollFd::new(stopped, PollFlags::IN)];
        poll.extend(
            listeners
                .iter()
                .map(|listener| PollFd::new(listener, PollFlags::IN)),
        );
        if rustix::event::poll(&mut poll, None).is_err_and(|error| error != rustix::io::Errno::INTR)
        {
            return;
        }
        let ready: Vec<bool> = poll.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (at, listener) in listeners
            .iter()
            .enumerate()
            .filter(|(at, _)| ready[0] || ready[at + 1])
        {
            loop {
                match listener.accept() {
                    Ok((client, _)) => begin(client, at, number, shared),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The service may have no free descriptors. Sleep, so that a run can't cause a busy loop.
                    Err(_) => {
                        std::thread::sleep(Duration::from_millis(50));
                        break;
                    }
                }
                number += 1;
                if number == MOST_CONNECTIONS {
                    return shared.refuse(at, HostRefusal::Limit);
                }
            }
        }
        if ready[0] {
            return;
        }
    }
}

/// Serves a connection in a thread of its own.
fn begin(client: TcpStream, at: usize, number: usize, shared: &Arc<Shared>) {
    let before = shared.at_once.fetch_add(1, Ordering::SeqCst);
    let slot = Arc::new(Slot(shared.clone()));
    if before >= MOST_AT_ONCE {
        shared.refuse(at, HostRefusal::Limit);
        return reset(&client);
    }
    let _ = client.set_nonblocking(false);
    let client = Arc::new(client);
    locked(&shared.state).open.insert(
        number,
        OpenConnection {
            at,
            streams: vec![client.clone()],
            sent: false,
        },
    );
    let started = std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || {
            if serve(&client, at, number, &slot).is_none() {
                reset(&client);
            }
            slot.0.forget(number);
        });
    // If no thread can be started, the connection is closed and its slot released.
    if started.is_err() {
        shared.forget(number);
    }
}

/// Connects to the host and copies the bytes. Returns `None` if the run got no connection.
fn serve(client: &TcpStream, at: usize, number: usize, slot: &Arc<Slot>) -> Option<()> {
    let shared = &slot.0;
    let server = Arc::new(
        connect(at, slot)
            .map_err(|why| shared.refuse(at, why))
            .ok()?,
    );
    // The run may have ended while this thread connected, and its receipt may be written without this host. In this
    // case, end the connection.
    if !admit(shared, number, server.clone(), at) {
        return None;
    }
    if pass(client, &server, at, number, shared).is_err() {
        reset(&server);
        return None;
    }
    Some(())
}

/// Registers the socket to a host, and records the host as contacted. Returns false if the run has ended.
fn admit(shared: &Shared, number: usize, server: Arc<TcpStream>, at: usize) -> bool {
    let mut state = locked(&shared.state);
    if state.closed {
        return false;
    }
    state.contacts.reached.insert(at);
    if let Some(connection) = state.open.get_mut(&number) {
        connection.streams.push(server);
    }
    true
}

/// Connects to a host after a check of all its addresses.
fn connect(at: usize, slot: &Arc<Slot>) -> Result<TcpStream, HostRefusal> {
    let (to, from) = mpsc::channel();
    // The system's resolver has no timeout. A pending resolution occupies the slot of its connection.
    let held = slot.clone();
    let resolving = std::thread::Builder::new()
        .name("resolver".into())
        .spawn(move || {
            let _ = to.send(held.0.resolve.checked(&held.0.hosts[at]));
        });
    resolving.map_err(|_| HostRefusal::Limit)?;
    let addresses = from
        .recv_timeout(RESOLVE)
        .map_err(|_| HostRefusal::Unresolved)??;
    for address in addresses {
        if locked(&slot.0.state).closed {
            break;
        }
        if let Ok(stream) = TcpStream::connect_timeout(&address, CONNECT) {
            return Ok(stream);
        }
    }
    Err(HostRefusal::Unreachable)
}

/// Copies data in both directions until both sides have ended, the timeout expires, or the byte limit of the run is
/// reached.
fn pass(
    client: &TcpStream,
    server: &TcpStream,
    at: usize,
    number: usize,
    shared: &Shared,
) -> io::Result<()> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
    }
    let moved = AtomicU64::new(0);
    let copy =
        |from: &TcpStream, to: &TcpStream| copy(from, to, &moved, |bytes| shared.spend(bytes, at));
    std::thread::scope(|scope| {
        let up = std::thread::Builder::new()
            .name("relay".into())
            .spawn_scoped(scope, || {
                let done = copy(client, server);
                match &done {
                    // The server may have closed its receiving side, and may still send an answer.
                    Err(error) if is_closed(error.kind()) => drop(client.shutdown(Shutdown::Read)),
                    Err(_) => [client, server].into_iter().for_each(reset),
                    Ok(()) => drop(server.shutdown(Shutdown::Write)),
                }
                shared.set_sent(number);
            })?;
        let down = copy(server, client);
        match &down {
            Err(_) => [client, server].into_iter().for_each(reset),
            Ok(()) => drop(client.shutdown(Shutdown::Write)),
        }
        let _ = up.join();
        down
    })
}

fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Copies data in one direction. `moved` counts the bytes of both directions.
fn copy(
    mut from: &TcpStream,
    mut to: &TcpStream,
    moved: &AtomicU64,
    spend: impl Fn(usize) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut seen = moved.load(Ordering::SeqCst);
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The other direction may have had data meanwhile.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && moved.load(Ordering::SeqCst) > seen =>
            {
                seen = moved.load(Ordering::SeqCst);
                continue;
            }
            Err(error) => return Err(error),
        };
        spend(length)?;
        to.write_all(&buffer[..length])?;
        moved.fetch_add(length as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
