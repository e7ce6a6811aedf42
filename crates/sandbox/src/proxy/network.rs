//! The proxy for runs whose network mode is an allow list.
//!
//! Such a run has a network namespace without interfaces to the outside. Its first process opens a listening socket in
//! this namespace and sends it to the service. The service accepts connections and reads proxy requests (CONNECT, or an
//! absolute `http://` target). The proxy connects if the signed profile names the host and the port, and if every
//! address of the host is public.
//!
//! The proxy connects to exactly the address that was checked, and does not inspect the data. If an allowed host also
//! serves other names (domain fronting), a run can reach them too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::proxy::addresses::check_public;
use crate::proxy::request::{self, ProxyTarget, RequestHead};

/// Maximum number of simultaneous connections of a run, because each uses threads and descriptors of the service.
const MOST_AT_ONCE: usize = 32;
const MOST_CONNECTIONS: usize = 10_000;
/// Maximum number of bytes that a run may transfer, in both directions together.
const MOST_BYTES: u64 = 1 << 30;
/// Timeout to read the request head.
const HEAD: Duration = Duration::from_secs(10);
const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
/// Maximum time without data on an open connection.
const SILENCE: Duration = Duration::from_secs(120);
/// Maximum number of addresses of a host name.
const MOST_ADDRESSES: usize = 16;
const BUFFER: usize = 64 << 10;

/// The proxy of one run. Dropping the proxy closes all connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    stop: Option<io::PipeWriter>,
    accepting: Option<JoinHandle<()>>,
}

/// The hosts that a run contacted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkContacts {
    /// Hosts of the allow list to which the proxy connected.
    pub reached: BTreeSet<String>,
    /// Number of refused requests.
    pub refused: u64,
}

#[derive(Debug)]
struct Shared {
    allowed: BTreeSet<String>,
    resolve: Resolve,
    ledger: Mutex<Ledger>,
    /// Both sockets of each open connection, so that the connection can be closed.
    open: Mutex<BTreeMap<usize, Vec<TcpStream>>>,
    at_once: AtomicUsize,
    bytes: AtomicU64,
}

/// Contacts for the receipt. A host is recorded before the first byte is sent to it. After the ledger is closed, the
/// proxy sends nothing.
#[derive(Debug, Default)]
struct Ledger {
    contacts: NetworkContacts,
    closed: bool,
}

/// Permit for one connection of a run, released when its last clone is dropped.
struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Functions that resolve host names and check addresses.
#[derive(Debug, Clone, Copy)]
pub struct Resolve {
    resolve: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    check: fn(SocketAddr) -> Result<(), &'static str>,
}

impl Resolve {
    /// Uses the resolver of this host and allows only public addresses.
    #[must_use]
    pub fn system() -> Self {
        Self { resolve: system, check: public }
    }
}

fn system(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[cfg(debug_assertions)]
    if let Some(armed) = armed::address(name, port) {
        return Ok(vec![armed]);
    }
    (name, port).to_socket_addrs().map(|found| found.take(MOST_ADDRESSES + 1).collect())
}

fn public(address: SocketAddr) -> Result<(), &'static str> {
    #[cfg(debug_assertions)]
    if armed::is_armed(address) {
        return Ok(());
    }
    check_public(address.ip())?;
    if is_own(address.ip()) { Err("this host's") } else { Ok(()) }
}

/// Returns true if `address` belongs to this host. A socket can be bound only to addresses of this host, unless
/// `ip_nonlocal_bind` is set. With this setting, `address` is compared with the source address that the kernel selects.
fn is_own(address: IpAddr) -> bool {
    let (any, family): (IpAddr, &str) = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), "ipv4"),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), "ipv6"),
    };
    if UdpSocket::bind((address, 0)).is_err() {
        return false;
    }
    let anything_goes = std::fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    if anything_goes.is_ok_and(|value| value.trim() == "0") {
        return true;
    }
    // Connecting a UDP socket sends no packet.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

/// Host names that tests redirect to this host. Release builds do not contain this module (`scripts/check-release`
/// tests this rule).
#[cfg(debug_assertions)]
mod armed {
    use std::net::SocketAddr;

    /// Format: `name=127.0.0.1:8080,…`
    const ARMED: &str = "COUNTERSIGN_FAULT_NAMES";

    fn pairs() -> Vec<(String, SocketAddr)> {
        let text = std::env::var(ARMED).unwrap_or_default();
        let pair = |pair: &str| pair.split_once('=').and_then(|(name, to)| Some((name.to_owned(), to.parse().ok()?)));
        text.split(',').filter_map(pair).collect()
    }

    pub(crate) fn address(name: &str, _port: u16) -> Option<SocketAddr> {
        pairs().into_iter().find(|(known, _)| known == name).map(|(_, to)| to)
    }

    pub(crate) fn is_armed(address: SocketAddr) -> bool {
        pairs().iter().any(|(_, to)| *to == address)
    }
}

impl Proxy {
    /// Serves connections of `listener` to the `name:port` pairs in `allowed`, until the proxy is dropped.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub fn serve(listener: TcpListener, allowed: &[String], resolve: Resolve) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            allowed: allowed.iter().cloned().collect(),
            resolve,
            ledger: Mutex::default(),
            open: Mutex::default(),
            at_once: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        listener.set_nonblocking(true)?;
        let (stopped, stop) = io::pipe()?;
        let serving = shared.clone();
        let accepting =
            std::thread::Builder::new().name("proxy".into()).spawn(move || accept(&listener, &stopped, &serving))?;
        Ok(Self { shared, stop: Some(stop), accepting: Some(accepting) })
    }

    /// Closes all connections and returns the hosts that the run contacted.
    #[must_use]
    pub fn finish(mut self) -> NetworkContacts {
        self.end();
        lock(&self.shared.ledger).contacts.clone()
    }

    fn end(&mut self) {
        drop(self.stop.take());
        // Set `closed` first, under the lock. A connection that is not recorded by then is never used.
        lock(&self.shared.ledger).closed = true;
        for streams in lock(&self.shared.open).values() {
            for stream in streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until the writing end of the pipe `stopped` is closed. Open connections are not awaited.
fn accept(listener: &TcpListener, stopped: &io::PipeReader, shared: &Arc<Shared>) {
    for number in 0..MOST_CONNECTIONS {
        let stream = loop {
            let mut poll = [PollFd::new(listener, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            if rustix::event::poll(&mut poll, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
                return;
            }
            if !poll[1].revents().is_empty() {
                return;
            }
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The service may have no free descriptors. Sleep, so that a run can't cause a busy loop.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let before = shared.at_once.fetch_add(1, Ordering::SeqCst);
        let slot = Arc::new(Slot(shared.clone()));
        if before >= MOST_AT_ONCE {
            refuse(stream, 503, &format!("more than {MOST_AT_ONCE} connections at one time"));
            continue;
        }
        // If no thread can be started, the connection is closed and its slot released.
        let _ = std::thread::Builder::new().name("proxy".into()).spawn(move || {
            serve(stream, number, &slot);
            lock(&slot.0.open).remove(&number);
        });
    }
}

fn serve(mut client: TcpStream, number: usize, slot: &Arc<Slot>) {
    let shared = &slot.0;
    let _ = client.set_nonblocking(false);
    let _ = client.set_nodelay(true);
    // Without a clone of the socket, `Proxy::end` could not close the connection, so do not serve it.
    let Ok(clone) = client.try_clone() else { return };
    if !admit(shared, number, clone, None) {
        return;
    }
    let head = match read_head(&mut client) {
        Ok(head) => head,
        Err(why) => return turn_away(client, shared, 400, &why),
    };
    let asked = match request::parse(&head.bytes[..head.length]) {
        Ok(asked) => asked,
        Err(why) => return turn_away(client, shared, 400, why),
    };
    let target = asked.target();
    if !shared.allowed.contains(&target) {
        let why = format!("{target} is not in the approved allow list");
        return turn_away(client, shared, 403, &why);
    }
    let server = match connect(&asked, slot) {
        Ok(server) => server,
        Err((code, why)) => return turn_away(client, shared, code, &format!("{target}: {why}")),
    };
    let _ = server.set_nodelay(true);
    let Ok(clone) = server.try_clone() else { return };
    // The run may have ended, and its receipt may be written.
    if !admit(shared, number, clone, Some(target)) {
        return;
    }
    let _ = pass(client, server, &asked, &head.bytes[head.length..], shared);
}

/// Registers an open stream, and records the host `target` as contacted. Returns false if the run is over.
fn admit(shared: &Shared, number: usize, stream: TcpStream, target: Option<String>) -> bool {
    let mut ledger = lock(&shared.ledger);
    if ledger.closed {
        return false;
    }
    ledger.contacts.reached.extend(target);
    lock(&shared.open).entry(number).or_default().push(stream);
    true
}

/// Connects to the requested host after a check of all addresses of the host. One address that is not public refuses
/// the request, because the DNS server chooses the order of the addresses.
fn connect(asked: &ProxyTarget, slot: &Arc<Slot>) -> Result<TcpStream, (u16, String)> {
    let shared = &slot.0;
    let (to, from) = mpsc::channel();
    let (resolve, name, port) = (shared.resolve.resolve, asked.name.clone(), asked.port);
    // The system's resolver has no timeout. A pending resolution occupies the slot of its connection.
    let held = slot.clone();
    let resolving = std::thread::Builder::new().name("resolver".into()).spawn(move || {
        let _ = to.send(resolve(&name, port));
        drop(held);
    });
    if resolving.is_err() {
        return Err((503, "no thread can be started to resolve the host name".into()));
    }
    let addresses = match from.recv_timeout(RESOLVE) {
        Ok(Ok(addresses)) if addresses.is_empty() => return Err((502, "the host name has no address".into())),
        Ok(Ok(addresses)) if addresses.len() > MOST_ADDRESSES => {
            return Err((502, "the host name has too many addresses".into()));
        }
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err((502, format!("the host name can't be resolved: {error}"))),
        Err(_) => return Err((504, "the host name was not resolved in time".into())),
    };
    for address in &addresses {
        (shared.resolve.check)(*address)
            .map_err(|what| (403, format!("the host name resolves to {}, which is {what}", address.ip())))?;
    }
    let mut last = String::new();
    for address in addresses {
        if lock(&shared.ledger).closed {
            return Err((503, "the run is over".into()));
        }
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err((502, format!("no connection: {last}")))
}

/// Copies data in both directions until one side closes, the timeout expires, or the byte limit of the run is
/// reached.
fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    asked: &ProxyTarget,
    rest: &[u8],
    shared: &Arc<Shared>,
) -> io::Result<()> {
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
    }
    let (mut upstream, mut downstream) = (server.try_clone()?, client.try_clone()?);
    let most = match &asked.forward {
        None => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            u64::MAX
        }
        Some(RequestHead { bytes, body }) => {
            spend(shared, bytes.len())?;
            upstream.write_all(bytes)?;
            *body
        }
    };
    // `rest` arrived together with the request head. Send at most as many bytes as the body has.
    let first = &rest[..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))];
    spend(shared, first.len())?;
    upstream.write_all(first)?;
    let left = most - first.len() as u64;
    let counting = shared.clone();
    let plain = asked.forward.is_some();
    let up = std::thread::Builder::new().name("proxy".into()).spawn(move || {
        let done = copy(&mut client, &mut upstream, left, &counting);
        // After the body of a plain request, the answer of the server follows, so keep the connection open. For a
        // tunnel, pass on the end of the stream.
        if done.is_err() || !plain {
            let _ = upstream.shutdown(if done.is_err() { Shutdown::Both } else { Shutdown::Write });
        }
    })?;
    let down = copy(&mut server, &mut downstream, u64::MAX, shared);
    let _ = downstream.shutdown(if down.is_err() || plain { Shutdown::Both } else { Shutdown::Write });
    let _ = up.join();
    Ok(())
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, mut most: u64, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    while most > 0 {
        let room = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let length = match from.read(&mut buffer[..room]) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        spend(shared, length)?;
        to.write_all(&buffer[..length])?;
        most -= length as u64;
    }
    Ok(())
}

fn spend(shared: &Shared, bytes: usize) -> io::Result<()> {
    let before = shared.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    if before.saturating_add(bytes as u64) > MOST_BYTES {
        return Err(io::Error::other("the run has reached its limit of bytes"));
    }
    Ok(())
}

struct Arrived {
    bytes: Vec<u8>,
    /// Length of the head in bytes, including the empty line at its end.
    length: usize,
}

fn read_head(client: &mut TcpStream) -> Result<Arrived, String> {
    let deadline = Instant::now() + HEAD;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) {
            Some(length) if length <= request::MOST_HEAD => return Ok(Arrived { bytes, length }),
            _ => {}
        }
        if bytes.len() > request::MOST_HEAD {
            return Err(format!("the head of the request is larger than {} bytes", request::MOST_HEAD));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || client.set_read_timeout(Some(left)).is_err() {
            return Err("the request did not arrive in time".into());
        }
        match client.read(&mut piece) {
            Ok(0) => return Err("the request was not finished".into()),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err("the request did not arrive in time".into()),
        }
    }
}

fn turn_away(client: TcpStream, shared: &Shared, code: u16, why: &str) {
    lock(&shared.ledger).contacts.refused += 1;
    refuse(client, code, why);
}

fn refuse(mut client: TcpStream, code: u16, why: &str) {
    let word = match code {
        400 => "Bad Request",
        403 => "Forbidden",
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        _ => "Service Unavailable",
    };
    let body = format!("countersign: {why}\n");
    let _ = client.set_write_timeout(Some(HEAD));
    let _ = client.write_all(
        format!(
            "HTTP/1.1 {code} {word}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let _ = client.shutdown(Shutdown::Write);
    // Closing a socket with unread data sends a reset, and the client would lose the answer. So read the rest first.
    let _ = client.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = client.read(&mut [0; BUFFER]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves `p8080.test` to port 8080 of this host, and some other names to fixed addresses.
    fn lab(name: &str, port_asked: u16) -> io::Result<Vec<SocketAddr>> {
        let address = |text: &str| text.parse().map_err(io::Error::other);
        let port = name.strip_prefix('p').and_then(|rest| rest.strip_suffix(".test")?.parse::<u16>().ok());
        if let Some(port) = port {
            return Ok(vec![address(&format!("127.0.0.1:{port}"))?]);
        }
        match name {
            "slow.test" => {
                std::thread::sleep(SLOW);
                Ok(vec![address(&format!("127.0.0.1:{port_asked}"))?])
            }
            "private.test" => Ok(vec![address("10.0.0.1:80")?]),
            "mixed.test" => Ok(vec![address("1.1.1.1:80")?, address("169.254.169.254:80")?]),
            "empty.test" => Ok(vec![]),
            _ => Err(io::Error::other("no such name")),
        }
    }

    fn lab_check(address: SocketAddr) -> Result<(), &'static str> {
        if address.ip().is_loopback() { Ok(()) } else { check_public(address.ip()) }
    }

    const SLOW: Duration = Duration::from_millis(300);
    const LAB: Resolve = Resolve { resolve: lab, check: lab_check };

    fn proxy(allowed: &[String]) -> (Proxy, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        (Proxy::serve(listener, allowed, LAB).expect("serves"), port)
    }

    /// Starts a server that answers after `most` bytes or at the end of the stream, and sends the received bytes to
    /// the channel.
    fn server(most: usize) -> (String, mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let name = format!("p{}.test:80", listener.local_addr().expect("an address").port());
        let (to, from) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut got = Vec::new();
                let mut piece = [0; 1024];
                while got.len() < most {
                    match stream.read(&mut piece) {
                        Ok(length @ 1..) => got.extend_from_slice(&piece[..length]),
                        _ => break,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nanswer");
                let _ = to.send(got);
            }
        });
        (name, from)
    }

    fn ask(port: u16, text: &str) -> String {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        client.write_all(text.as_bytes()).expect("written");
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn a_tunnel_to_an_allowed_host_carries_both_directions_and_is_recorded() {
        let (name, got) = server(5);
        let (proxy, port) = proxy(std::slice::from_ref(&name));
        let answer = ask(port, &format!("CONNECT {name} HTTP/1.1\r\n\r\nhello"));
        assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n\r\nanswer");
        assert_eq!(got.recv().expect("arrived"), b"hello");
        assert_eq!(proxy.finish(), NetworkContacts { reached: [name].into(), refused: 0 });
    }

    #[test]
    fn a_second_request_on_one_proxy_connection_is_not_forwarded() {
        let (name, got) = server(usize::MAX);
        let (proxy, port) = proxy(std::slice::from_ref(&name));
        let host = name.trim_end_matches(":80").to_owned();
        let asked = format!(
            "POST http://{host}/x HTTP/1.1\r\nHost: evil\r\nContent-Length: 4\r\n\r\nbodyGET http://{host}/y HTTP/1.1\r\nHost: evil\r\n\r\n"
        );
        std::thread::spawn(move || ask(port, &asked));
        // The server reads until the proxy closes the connection.
        std::thread::sleep(Duration::from_millis(200));
        drop(proxy);
        let got = String::from_utf8(got.recv().expect("arrived")).expect("text");
        assert_eq!(
            got,
            format!("POST /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
        );
    }

    #[test]
    fn a_request_head_above_the_size_limit_is_refused() {
        let (name, _got) = server(1);
        let (_proxy, port) = proxy(std::slice::from_ref(&name));
        let request = |length: usize| {
            let bare = format!("CONNECT {name} HTTP/1.1\r\nX: \r\n\r\n");
            bare.replace("X: ", &format!("X: {}", "x".repeat(length - bare.len())))
        };
        let most = request::MOST_HEAD;
        assert!(ask(port, &format!("{}x", request(most))).starts_with("HTTP/1.1 200"));
        for length in [most + 1, most + 4000] {
            assert!(ask(port, &request(length)).contains("head of the request is larger than 16384 bytes"), "{length}");
        }
    }

    #[test]
    fn the_proxy_refuses_and_counts_hosts_that_are_not_allowed_or_not_public() {
        let (name, got) = server(1);
        let allowed = ["private.test:80", "mixed.test:80", "empty.test:80", "gone.test:80", "10.0.0.1:80"];
        let (proxy, port) = proxy(&allowed.map(str::to_owned));
        let direct = name.replace(".test:80", "").replace('p', "127.0.0.1:");
        for (target, code, word) in [
            (name.as_str(), "403", "not in the approved allow list"),
            ("private.test:81", "403", "not in the approved allow list"),
            ("private.test:80", "403", "10.0.0.1, which is private"),
            ("mixed.test:80", "403", "metadata"),
            ("empty.test:80", "502", "no address"),
            ("gone.test:80", "502", "can't be resolved"),
            ("10.0.0.1:80", "400", "not allowed"),
            (&direct, "400", "not allowed"),
            ("localhost:80", "403", "not in the approved allow list"),
        ] {
            let answer = ask(port, &format!("CONNECT {target} HTTP/1.1\r\n\r\n"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(word), "{target}: {answer}");
        }
        assert!(ask(port, "GET / HTTP/1.1\r\n\r\n").contains("not absolute"));
        assert!(ask(port, &"x".repeat(20_000)).contains("larger"));
        assert_eq!(proxy.finish(), NetworkContacts { reached: BTreeSet::new(), refused: 11 });
        assert!(got.try_recv().is_err(), "nothing arrived");
    }

    #[test]
    fn the_end_of_a_run_closes_its_proxy_connections_and_their_number_is_limited() {
        let (name, _got) = server(usize::MAX);
        let (proxy, port) = proxy(std::slice::from_ref(&name));
        let mut open = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
            client.write_all(format!("CONNECT {name} HTTP/1.1\r\n\r\n").as_bytes()).expect("written");
            let mut answer = [0; 39];
            client.read_exact(&mut answer).expect("a tunnel");
            open.push(client);
        }
        assert!(ask(port, &format!("CONNECT {name} HTTP/1.1\r\n\r\n")).starts_with("HTTP/1.1 503"));
        let begun = Instant::now();
        let _ = proxy.finish();
        for mut client in open {
            let _ = client.set_read_timeout(Some(Duration::from_secs(10)));
            assert!(!matches!(client.read(&mut [0; 8]), Ok(1..)));
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody listens any more");
    }

    /// A step sends a request and exits while the proxy resolves the name.
    #[test]
    fn the_proxy_sends_no_data_after_the_receipt_is_written() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let name = format!("slow.test:{}", listener.local_addr().expect("an address").port());
        let (proxy, port) = proxy(std::slice::from_ref(&name));
        let shared = proxy.shared.clone();
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        client.write_all(format!("GET http://{name}/?secret HTTP/1.1\r\n\r\n").as_bytes()).expect("written");
        while Arc::strong_count(&shared) < 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(SLOW / 4);
        assert_eq!(shared.at_once.load(Ordering::SeqCst), 1);
        assert_eq!(proxy.finish(), NetworkContacts::default());
        drop(client);
        // The slot of the connection is occupied until the resolver returns.
        while shared.at_once.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(SLOW / 2);
        let mut got = Vec::new();
        let accepted = listener.accept().map(|(mut stream, _)| stream.read_to_end(&mut got));
        assert!(accepted.is_err() && got.is_empty(), "it was connected to: {}", String::from_utf8_lossy(&got));
        let (near, far) = (TcpListener::bind("127.0.0.1:0").expect("a listener"), "late.test:80".to_owned());
        let stream = TcpStream::connect(near.local_addr().expect("an address")).expect("connects");
        assert!(!admit(&shared, 7, stream, Some(far)), "the ledger of contacts is closed");
        assert_eq!(lock(&shared.ledger).contacts.reached, BTreeSet::new());
    }

    #[test]
    fn the_proxy_detects_addresses_of_this_host() {
        for own in ["127.0.0.1", "127.8.9.10"] {
            assert!(is_own(own.parse().expect("an address")), "{own}");
        }
        for other in ["203.0.113.77", "2001:db8::77"] {
            assert!(!is_own(other.parse().expect("an address")), "{other}");
        }
    }

    #[test]
    fn a_run_cannot_send_more_than_its_byte_limit() {
        let shared = Shared {
            allowed: BTreeSet::new(),
            resolve: LAB,
            ledger: Mutex::default(),
            open: Mutex::default(),
            at_once: AtomicUsize::new(0),
            bytes: AtomicU64::new(MOST_BYTES - 10),
        };
        assert!(spend(&shared, 10).is_ok());
        assert!(spend(&shared, 1).is_err());
    }
}
