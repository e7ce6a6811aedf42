use super::*;
use std::{sync::atomic::AtomicBool, time::Instant};

/// The number of questions about `turns.test`.
static TURNS: AtomicUsize = AtomicUsize::new(0);
/// True from the second question about `rebound.test` on.
static REBOUND: AtomicBool = AtomicBool::new(false);
const SLOW: Duration = Duration::from_millis(300);

/// Resolves `p8080.test:80` to port 8080 of this host, and some other names to fixed addresses.
fn lab(name: &str, port_asked: u16) -> io::Result<Vec<SocketAddr>> {
    let at = |text: &str| Ok(vec![text.parse().map_err(io::Error::other)?]);
    let port = name
        .strip_prefix('p')
        .and_then(|rest| rest.strip_suffix(".test")?.parse::<u16>().ok());
    if let Some(port) = port {
        return at(&format!("127.0.0.1:{port}"));
    }
    match name {
        "slow.test" => {
            std::thread::sleep(SLOW);
            at(&format!("127.0.0.1:{port_asked}"))
        }
        "rebound.test" if REBOUND.swap(true, Ordering::SeqCst) => at("10.0.0.1:80"),
        "rebound.test" => at("192.0.2.1:80"),
        "private.test" => at("10.0.0.1:80"),
        "here.test" => at(&format!("127.0.0.1:{port_asked}")),
        "mixed.test" => Ok([at("1.1.1.1:80")?, at("169.254.169.254:80")?].concat()),
        "mapped.test" => at("[::ffff:10.0.0.1]:80"),
        "mapped.here.test" => at("[::ffff:127.0.0.2]:80"),
        "turns.test" => at(&format!(
            "10.0.{}.7:{port_asked}",
            TURNS.fetch_add(1, Ordering::SeqCst)
        )),
        "empty.test" => Ok(vec![]),
        "many.test" => Ok((1..18)
            .map(|n| SocketAddr::from(([1, 1, 1, n], 80)))
            .collect()),
        "sixteen.test" => {
            // Only the last of the sixteen addresses accepts a connection.
            let last: SocketAddr = format!("127.0.0.1:{port_asked}")
                .parse()
                .map_err(io::Error::other)?;
            Ok((1..16)
                .map(|n| SocketAddr::from(([127, 0, 1, n], last.port())))
                .chain([last])
                .collect())
        }
        number if number.parse::<IpAddr>().is_ok() => at(&format!("{number}:{port_asked}")),
        _ => Err(io::Error::other("no such name")),
    }
}

/// A relay with listeners on this host. This module resolves its names. The loopback counts as another host, unless the test
/// says otherwise.
struct Bench {
    relay: Relay,
    ports: Vec<u16>,
}

fn allowed(host: &str) -> AllowedHost {
    AllowedHost {
        host: host.to_owned(),
        private: false,
        localhost: host.contains(".test:") && host.starts_with(['p', 's']),
    }
}

fn bench_of(hosts: Vec<AllowedHost>) -> Bench {
    let listeners: Vec<TcpListener> = hosts
        .iter()
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener"))
        .collect();
    let ports = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect();
    let resolve = Resolve {
        resolve: lab,
        is_own: |_| false,
        unreachable: [].into(),
    };
    Bench {
        relay: Relay::serve(listeners, hosts, resolve).expect("serves"),
        ports,
    }
}

fn bench(hosts: &[&str]) -> Bench {
    bench_of(hosts.iter().map(|host| allowed(host)).collect())
}

impl Bench {
    fn connect(&self, at: usize) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", self.ports[at])).expect("connects");
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a deadline");
        client
    }

    /// Sends a text and the end of the stream, and returns the answer, or the error.
    fn ask(&self, at: usize, text: &str) -> Result<String, io::ErrorKind> {
        let mut client = self.connect(at);
        let mut answer = String::new();
        client
            .write_all(text.as_bytes())
            .map_err(|error| error.kind())?;
        client
            .shutdown(Shutdown::Write)
            .map_err(|error| error.kind())?;
        client
            .read_to_string(&mut answer)
            .map_err(|error| error.kind())?;
        Ok(answer)
    }
}

/// Starts a server in a process of its own, because the relay refuses listeners of its own process. The server answers each
/// connection with the bytes that it received.
struct Server {
    child: std::process::Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let echo = "import socket, threading\n\
                    s = socket.create_server(('127.0.0.1', 0), backlog=200)\n\
                    print(s.getsockname()[1], flush=True)\n\
                    def serve(c):\n    \
                        while True:\n        \
                            got = c.recv(65536)\n        \
                            if not got: break\n        \
                            c.sendall(got)\n    \
                        c.close()\n\
                    while True:\n    \
                        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n";
        Self::run(echo)
    }

    /// Starts a program that prints its port.
    fn run(program: &str) -> Self {
        let mut child = std::process::Command::new("python3")
            .args(["-c", program])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let mut output = io::BufReader::new(child.stdout.take().expect("a pipe"));
        io::BufRead::read_line(&mut output, &mut line).expect("a line");
        Self {
            child,
            port: line.trim().parse().expect("a port"),
        }
    }

    fn name(&self) -> String {
        format!("p{}.test:80", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contacts(reached: &[usize], refused: &[(usize, HostRefusal)]) -> NetworkContacts {
    NetworkContacts {
        reached: reached.iter().copied().collect(),
        refused: refused.iter().copied().collect(),
    }
}

#[test]
fn a_connection_to_an_allowed_host_carries_both_directions_and_is_recorded() {
    let server = Server::start();
    let bench = bench(&["private.test:80", &server.name()]);
    let large = "x".repeat(3 << 20);
    for text in ["hello", &large] {
        let mut client = bench.connect(1);
        let mut reading = client.try_clone().expect("a clone");
        let read = std::thread::spawn(move || {
            let mut answer = String::new();
            reading.read_to_string(&mut answer).map(|_| answer)
        });
        client.write_all(text.as_bytes()).expect("written");
        client.shutdown(Shutdown::Write).expect("the end");
        assert_eq!(read.join().expect("no panic").expect("read"), text);
    }
    assert_eq!(bench.relay.finish(), contacts(&[1], &[]));
}

#[test]
fn each_refused_host_is_reset_and_recorded_with_its_reason() {
    use HostRefusal::{Localhost, Never, Private, Unreachable, Unresolved};
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound")
        .port();
    let unreachable = format!("p{free}.test:80");
    let cases = [
        ("private.test:80", Private),
        ("mixed.test:80", Never),
        ("mapped.test:80", Never),
        ("empty.test:80", Unresolved),
        ("many.test:80", Unresolved),
        ("gone.test:80", Unresolved),
        ("127.0.0.1:80", Localhost),
        (unreachable.as_str(), Unreachable),
        ("10.0.0.1:80", Private),
    ];
    let bench = bench(&cases.map(|(host, _)| host));
    for (at, (host, _)) in cases.iter().enumerate() {
        // A client may first see the reset when it writes.
        assert!(bench.ask(at, "x").is_err(), "{host}");
    }
    let found = bench.relay.finish();
    assert_eq!(
        found,
        contacts(
            &[],
            &cases
                .iter()
                .enumerate()
                .map(|(at, (_, why))| (at, *why))
                .collect::<Vec<_>>()
        )
    );
    let listed = found.refused_hosts();
    assert_eq!(listed.len(), 8, "a receipt has the first eight");
    assert_eq!(listed[1], RefusedHost { at: 1, why: Never });
}

#[test]
fn the_word_private_allows_private_addresses_of_its_own_host_only() {
    let private = |host: &str| AllowedHost {
        private: true,
        ..allowed(host)
    };
    let resolve = Resolve {
        resolve: lab,
        is_own: |_| false,
        unreachable: [].into(),
    };
    assert!(resolve.checked(&private("private.test:80")).is_ok());
    assert_eq!(
        resolve.checked(&allowed("private.test:80")),
        Err(HostRefusal::Private)
    );
    assert_eq!(
        resolve.checked(&private("mixed.test:80")),
        Err(HostRefusal::Never)
    );
    assert_eq!(
        resolve.checked(&private("mapped.test:80")),
        Err(HostRefusal::Never)
    );
    assert_eq!(
        resolve.checked(&private("127.0.0.1:80")),
        Err(HostRefusal::Localhost)
    );
    // Each connection resolves and judges the name again, and uses the very addresses that were judged.
    assert_eq!(
        resolve.checked(&allowed("rebound.test:80")),
        Err(HostRefusal::Never),
        "an address of examples"
    );
    assert_eq!(
        resolve.checked(&allowed("rebound.test:80")),
        Err(HostRefusal::Private),
        "a name that moved inside"
    );
    let own = Resolve {
        is_own: |_| true,
        ..resolve
    };
    assert_eq!(
        own.checked(&private("10.0.0.1:80")),
        Err(HostRefusal::Localhost)
    );
}

#[test]
fn services_of_the_boundary_are_refused_by_address_and_port() {
    let server = Server::start();
    let local = |host: &str| AllowedHost {
        localhost: true,
        ..allowed(host)
    };
    let checked = |unreachable: &[(&str, u16)], host: &str| {
        let unreachable = unreachable
            .iter()
            .map(|(name, port)| ((*name).to_owned(), *port))
            .collect();
        Resolve {
            resolve: lab,
            is_own,
            unreachable,
        }
        .checked(&local(host))
        .map(drop)
    };
    let number = format!("127.0.0.1:{}", server.port);
    assert_eq!(checked(&[], &number), Ok(()));
    assert_eq!(
        checked(&[("127.0.0.1", server.port)], &number),
        Err(HostRefusal::Boundary)
    );
    assert_eq!(
        checked(
            &[("gone.test", server.port), ("here.test", server.port)],
            &number
        ),
        Err(HostRefusal::Boundary)
    );
    assert_eq!(
        checked(&[("127.0.0.1", 1), ("203.0.113.1", server.port)], &number),
        Ok(())
    );
    for same in ["127.0.0.2", "127.0.0.3", "mapped.here.test"] {
        let service = [(same, server.port)];
        assert_eq!(
            checked(&service, &number),
            Err(HostRefusal::Boundary),
            "{same}: it can listen at all addresses of this host"
        );
    }
}

/// The DNS server answers each question about the name of the service with another address.
#[test]
fn a_service_of_the_boundary_is_refused_by_name_if_its_addresses_change() {
    let checked = |unreachable: &[&str], host: &str| {
        let unreachable = unreachable
            .iter()
            .map(|name| ((*name).to_owned(), 5432))
            .collect();
        let host = AllowedHost {
            private: true,
            ..allowed(host)
        };
        Resolve {
            resolve: lab,
            is_own: |_| false,
            unreachable,
        }
        .checked(&host)
        .map(drop)
    };
    assert_eq!(checked(&["other.test"], "turns.test:5432"), Ok(()));
    for name in ["turns.test", "Turns.Test."] {
        assert_eq!(
            checked(&[name], "turns.test:5432"),
            Err(HostRefusal::Boundary),
            "{name}"
        );
        assert_eq!(
            checked(&[name], "turns.test:5433"),
            Ok(()),
            "another port is another service"
        );
    }
    assert_eq!(
        checked(&["mapped.test"], "10.0.0.1:5432"),
        Err(HostRefusal::Boundary),
        "the same address in another form"
    );
}

#[test]
fn a_listener_of_the_service_itself_is_never_reached() {
    for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(bound) else {
            continue;
        };
        let host = format!("p{}.test:80", listener.local_addr().expect("bound").port());
        let bench = bench(&[&host]);
        assert!(bench.ask(0, "x").is_err(), "{bound}");
        assert_eq!(
            bench.relay.finish(),
            contacts(&[], &[(0, HostRefusal::Boundary)]),
            "{bound}"
        );
    }
}

#[test]
fn a_host_that_was_unreachable_for_a_time_is_not_listed_as_refused() {
    use HostRefusal::{Limit, Private, Unreachable, Unresolved};
    let of = |reached: &[usize], refused: &[(usize, HostRefusal)]| {
        contacts(reached, refused).refused_hosts()
    };
    assert_eq!(of(&[0, 1], &[(0, Unreachable), (1, Unresolved)]), []);
    assert_eq!(of(&[1], &[(0, Unreachable), (1, Private)]).len(), 2);
    let mut found = NetworkContacts::default();
    for (at, why) in [
        (0, Unreachable),
        (0, Private),
        (0, Unresolved),
        (1, Limit),
        (1, Unreachable),
    ] {
        found.refuse(at, why);
    }
    assert_eq!(found, contacts(&[], &[(0, Private), (1, Limit)]));
}

#[test]
fn the_sixteenth_address_of_a_host_is_used_if_the_others_accept_no_connection() {
    let server = Server::start();
    let bench = bench(&[&format!("sixteen.test:{}", server.port)]);
    assert_eq!(bench.ask(0, "x"), Ok("x".to_owned()));
    assert_eq!(bench.relay.finish(), contacts(&[0], &[]));
}

#[test]
fn the_end_of_a_run_closes_its_connections_and_their_number_at_one_time_is_limited() {
    let server = Server::start();
    let bench = bench(&[&server.name()]);
    let mut open = Vec::new();
    for _ in 0..MOST_AT_ONCE {
        let mut client = bench.connect(0);
        client.write_all(b"x").expect("written");
        client.read_exact(&mut [0]).expect("an answer");
        open.push(client);
    }
    assert!(bench.ask(0, "x").is_err());
    let begun = Instant::now();
    let ports = bench.ports.clone();
    assert_eq!(
        bench.relay.finish(),
        contacts(&[0], &[(0, HostRefusal::Limit)])
    );
    for mut client in open {
        assert!(!matches!(client.read(&mut [0; 8]), Ok(1..)));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        TcpStream::connect(("127.0.0.1", ports[0])).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn many_connections_one_after_the_other_reach_the_host_until_the_limit_of_a_run() {
    let server = Server::start();
    let bench = bench(&[&server.name()]);
    for at in 0..300 {
        assert_eq!(bench.ask(0, "x"), Ok("x".to_owned()), "{at}");
        // The relay may still count a connection whose answer has arrived.
        while bench.relay.shared.at_once.load(Ordering::SeqCst) > MOST_AT_ONCE / 2 {
            std::thread::yield_now();
        }
    }
    assert_eq!(bench.relay.finish(), contacts(&[0], &[]));
}

/// A step writes to a host and exits at once.
#[test]
fn bytes_that_a_run_wrote_before_its_end_arrive_and_nothing_is_sent_after_the_receipt() {
    let mut listener = std::process::Command::new("python3")
        .args(["-c", "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\n\
                      c = s.accept()[0]\nall = b''\nwhile True:\n    got = c.recv(65536)\n    if not got: break\n    all += got\n\
                      print(len(all), flush=True)"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut output = io::BufReader::new(listener.stdout.take().expect("a pipe"));
    let mut line = || {
        let mut line = String::new();
        io::BufRead::read_line(&mut output, &mut line).expect("a line");
        line.trim().to_owned()
    };
    let bench = bench(&[&format!("p{}.test:80", line()), "slow.test:9"]);
    let mut client = bench.connect(0);
    client.write_all(&[b'x'; 100_000]).expect("written");
    drop(client);
    assert_eq!(bench.relay.finish(), contacts(&[0], &[]));
    assert_eq!(line(), "100000");
    assert!(listener.wait().expect("ended").success());
}

/// A firewall can drop packets, as a server with a full queue does.
#[test]
fn a_host_that_had_not_answered_at_the_end_of_the_run_is_told_as_unreachable() {
    let full = "import socket, time\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen(0)\n\
                c = [socket.socket() for _ in range(3)]\nfor one in c:\n    one.setblocking(False)\n    \
                    one.connect_ex(s.getsockname())\nprint(s.getsockname()[1], flush=True)\ntime.sleep(60)\n";
    let server = Server::run(full);
    let bench = bench(&[&server.name()]);
    drop(bench.connect(0));
    let begun = Instant::now();
    assert_eq!(
        bench.relay.finish(),
        contacts(&[], &[(0, HostRefusal::Unreachable)])
    );
    assert!(begun.elapsed() < CONNECT);
}

#[test]
fn a_connection_that_is_resolved_after_the_end_of_the_run_sends_nothing() {
    let server = Server::start();
    let bench = bench(&[&format!("slow.test:{}", server.port)]);
    let mut client = bench.connect(0);
    client.write_all(b"secret").expect("written");
    let shared = bench.relay.shared.clone();
    while Arc::strong_count(&shared) < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Without `finish`, no time is left for bytes of the run.
    drop(bench.relay);
    while shared.at_once.load(Ordering::SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(locked(&shared.state).contacts.reached, BTreeSet::new());
    let far = TcpStream::connect(("127.0.0.1", server.port)).expect("connects");
    assert!(!admit(&shared, 7, Arc::new(far), 0), "the state is closed");
}

#[test]
fn a_run_cannot_send_more_than_its_byte_limit() {
    let server = Server::start();
    let bench = bench(&[&server.name()]);
    bench
        .relay
        .shared
        .bytes
        .store(MOST_BYTES - 20, Ordering::SeqCst);
    assert_eq!(bench.ask(0, "0123456789"), Ok("0123456789".to_owned()));
    assert!(bench.ask(0, "x").is_err());
    assert_eq!(
        bench.relay.finish(),
        contacts(&[0], &[(0, HostRefusal::Limit)])
    );
}
