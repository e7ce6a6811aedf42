//! The service under systemd: its messages, its watchdog and the socket that systemd passes.
//!
//! No systemd runs here. A socket of the test receives the messages, and the test applies the rules of systemd to them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::people::{alice, nonce};
use crate::support::shim::shim;
use crate::support::{World, has, id_of, not_run, runbook, said, wait_for};

/// Time in which a message must arrive on a busy host.
const DEADLINE: Duration = Duration::from_secs(30);
/// Interval of the watchdog in these tests.
const INTERVAL: Duration = Duration::from_secs(4);

/// The socket of systemd.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).expect("a socket"))
    }

    /// Returns the next message, or `None` after the time `most`.
    fn next(&self, most: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.0.set_read_timeout(Some(most)).expect("a deadline");
        let length = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).expect("UTF-8"))
    }

    /// Returns all messages up to the first message with this line.
    #[track_caller]
    fn until(&self, line: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let message = self
                .next(DEADLINE)
                .unwrap_or_else(|| panic!("no {line} after {seen:?}"));
            let found = message.lines().any(|other| other == line);
            seen.push(message);
            if found {
                return seen;
            }
        }
    }

    /// Waits until the watchdog of systemd acts: until no message of the watchdog has arrived for one interval.
    #[track_caller]
    fn until_the_watchdog_acts(&self) {
        let begun = Instant::now();
        let mut last = Instant::now();
        while last.elapsed() < INTERVAL {
            assert!(
                begun.elapsed() < DEADLINE,
                "the service still reports that it works"
            );
            if self
                .next(INTERVAL - last.elapsed())
                .is_some_and(|message| message.contains("WATCHDOG=1"))
            {
                last = Instant::now();
            }
        }
    }

    /// Receives `count` messages of the watchdog, each within one interval after the message before.
    #[track_caller]
    fn beats(&self, count: usize) {
        let (mut seen, mut last) = (0, Instant::now());
        while seen < count {
            let left = INTERVAL.checked_sub(last.elapsed());
            let message = left.and_then(|left| self.next(left.max(Duration::from_millis(1))));
            match message {
                Some(message) if message.contains("WATCHDOG=1") => {
                    seen += 1;
                    last = Instant::now();
                }
                Some(_) => {}
                None => {
                    panic!("the watchdog would restart a service that works, after {seen} messages")
                }
            }
        }
    }
}

/// A world whose service has a service manager, and the service manager.
fn managed(change: impl FnOnce(&mut World)) -> (World, Manager) {
    let mut world = World::prepared(|_| {});
    let socket = world.path("notify");
    let manager = Manager::at(&socket);
    world.setup.env("NOTIFY_SOCKET", socket.to_str().unwrap());
    change(&mut world);
    world.start();
    world.make_tokens();
    (world, manager)
}

fn has_line(messages: &[String], line: &str) -> bool {
    messages
        .iter()
        .flat_map(|message| message.lines())
        .any(|other| other == line)
}

#[test]
fn systemd_learns_when_the_service_is_ready_reloads_and_ends() {
    let (mut world, manager) = managed(|_| {});
    let before = manager.until("READY=1");
    assert_eq!(
        before[0], "EXTEND_TIMEOUT_USEC=60000000",
        "the service asks for time before it opens the store"
    );
    assert!(
        before
            .last()
            .unwrap()
            .contains(&format!("\nSTATUS=serving prod on {}", world.wire.url)),
        "{before:?}"
    );
    assert!(
        has_line(&before, "STATUS=writing the receipts of interrupted runs"),
        "{before:?}"
    );
    TcpStream::connect(world.wire.address()).expect("the socket is open before READY");

    let seal = world.seal();
    let plain = runbook("", &[("true", ":"), ("more", "echo more")]);
    world.write("b/runbooks/plain.md", &plain);
    world.signal(Signal::HUP);
    let reloading = manager.until("RELOADING=1");
    let time = reloading
        .last()
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let time: i64 = time.expect("a time").parse().expect("a number");
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    assert!(time > 0 && time / 1_000_000 <= now.tv_sec, "{time}");
    manager.until("READY=1");
    assert_eq!(world.seal(), seal + 1, "READY follows the new seal");

    // Runbooks with an error leave the old seal in force, and the service remains ready.
    world.write(
        "b/runbooks/plain.md",
        "---\ncountersign: 1\n---\n```bash {#a #b}\n```\n",
    );
    world.signal(Signal::HUP);
    manager.until("RELOADING=1");
    manager.until("READY=1");

    world.signal(Signal::TERM);
    manager.until("STOPPING=1");
    assert_eq!(world.ended(), Some(0));
}

#[test]
fn the_service_asks_for_more_time_while_runs_end() {
    let (mut world, manager) = managed(|_| {});
    let proposal = world.propose("plain:wait", json!({}));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    world.until(id_of(&proposal), "running");
    world.signal(Signal::TERM);
    manager.until("STOPPING=1");
    manager.until("EXTEND_TIMEOUT_USEC=60000000");
    world.kill9();
}

#[test]
fn an_abstract_socket_of_systemd_gets_the_messages() {
    let mut world = World::prepared(|_| {});
    let name = format!("countersign-test-{}", std::process::id());
    let manager =
        Manager(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    world.setup.env("NOTIFY_SOCKET", format!("@{name}"));
    world.start();
    manager.until("READY=1");
    world.stop();
    manager.until("STOPPING=1");
}

#[test]
fn an_unusable_socket_of_systemd_costs_one_log_line() {
    let mut world = World::prepared(|_| {});
    let gone = world.path("gone");
    drop(Manager::at(&gone));
    let file = world.path("b/countersign.toml");
    let stuffed = world.path("stuffed");
    let full = Manager::at(&stuffed);
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"x", &stuffed).is_ok() {}
    let long = format!("/{}", "x".repeat(4000));
    let missing = world.path("missing").display().to_string();
    let text = |path: &Path| path.display().to_string();
    let values = [
        text(&gone),
        text(&file),
        text(&stuffed),
        missing,
        long,
        "relative".to_owned(),
        "@".to_owned(),
    ];
    for value in values {
        world.setup.env = vec![
            ("NOTIFY_SOCKET".to_owned(), value.clone()),
            ("WATCHDOG_USEC".to_owned(), "100000".to_owned()),
        ];
        let before = world.service_log().len();
        world.start();
        assert_eq!(world.wire.peek("/ready").status, 200, "{value}");
        world.signal(Signal::HUP);
        world.stop();
        let log = world.service_log()[before..].to_owned();
        assert_eq!(log.matches("NOTIFY_SOCKET").count(), 1, "{value}: {log}");
    }
    drop(full);
    // Without the variable, and with an empty variable, the log has no line about systemd.
    for env in [vec![], vec![("NOTIFY_SOCKET".to_owned(), String::new())]] {
        world.setup.env = env;
        let before = world.service_log().len();
        world.start();
        world.stop();
        assert!(!world.service_log()[before..].contains("NOTIFY_SOCKET"));
    }
}

#[test]
fn invalid_intervals_of_the_watchdog_do_no_harm() {
    for (microseconds, beats) in [
        ("0", false),
        ("-1", false),
        ("x", false),
        ("", false),
        ("1", true),
    ] {
        let (mut world, manager) = managed(|world| world.setup.env("WATCHDOG_USEC", microseconds));
        manager.until("READY=1");
        if beats {
            manager.until("WATCHDOG=1");
        }
        world.signal(Signal::TERM);
        let rest = manager.until("STOPPING=1");
        assert!(
            beats || !has_line(&rest, "WATCHDOG=1"),
            "{microseconds}: {rest:?}"
        );
        // The queue of the socket must have room for the last messages of a service with a short interval.
        drop(manager);
        assert_eq!(world.ended(), Some(0));
    }
    // The interval is for another process.
    let (mut world, manager) = managed(|world| {
        world.setup.env("WATCHDOG_USEC", "20000");
        world.setup.env("WATCHDOG_PID", "1");
    });
    world.stop();
    assert!(!has_line(&manager.until("STOPPING=1"), "WATCHDOG=1"));
}

/// Issue 37: the service ended, because the move failed.
#[test]
fn a_disk_that_is_full_when_the_write_ahead_log_is_moved_does_not_end_the_service() {
    let Some(shim) =
        shim("a_disk_that_is_full_when_the_write_ahead_log_is_moved_does_not_end_the_service")
    else {
        return;
    };
    let mut world = World::prepared(|setup| {
        setup.limits =
            "calls_per_second = 1000000\npending = 100000\npending_per_proposer = 100000\n"
                .to_owned();
        setup.runbook(
            "long.md",
            runbook("params:\n  text: {type: string}", &[("go", ":")]),
        );
    });
    let full = world.path("full");
    world.setup.env("LD_PRELOAD", shim);
    world.setup.env("SHIM_FULL", full.to_str().unwrap());
    world.start();
    world.make_tokens();
    let propose = || {
        let mut wish = World::wish("long:go", json!({"text": "x".repeat(15_000)}));
        wish["nonce"] = json!(nonce());
        world.wire.post("/v1/proposals", &world.agent, &wish)
    };
    let size = || std::fs::metadata(world.database()).unwrap().len();
    while size() < 20 << 20 {
        propose().ok(201);
    }
    // The file grows while pages are moved. The writer stores this proposal when the move is over.
    propose().ok(201);
    // The next commits write over the pages that were moved, so that no file grows until the next move.
    std::fs::write(&full, "").unwrap();
    let (before, mut kept) = (size(), 0);
    let refused = loop {
        let reply = propose();
        if reply.status != 201 {
            break reply;
        }
        kept += 1;
    };
    refused.problem("busy");
    assert!(
        kept > 100 && size() == before,
        "{kept} proposals were kept, and the database has {} bytes",
        size()
    );
    std::fs::remove_file(&full).unwrap();
    wait_for("the pages are moved later", || {
        propose().ok(201);
        size() > before
    });
    world.stop();
    super::store_care::assert_sound(&world, &[]);
}

#[test]
fn recovery_on_a_full_disk_asks_systemd_for_more_time() {
    let Some(shim) = shim("recovery_on_a_full_disk_asks_systemd_for_more_time") else {
        return;
    };
    let (mut world, manager) = managed(|world| world.setup.env("LD_PRELOAD", shim));
    let proposal = world.propose("plain:wait", json!({}));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    world.until(id_of(&proposal), "running");
    world.kill9();
    let full = world.path("full");
    std::fs::write(&full, "").unwrap();
    world.setup.env("SHIM_FULL", full.to_str().unwrap());
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    world.setup.listen = address.to_string();
    let mut revoke = world.program(&["token", "revoke", "agent", "--config"]);
    revoke.arg(world.path("b"));
    manager.until("READY=1");
    let started = std::thread::scope(|scope| {
        let starting = scope.spawn(|| world.try_start());
        manager.until("STATUS=writing the receipts of interrupted runs");
        let more = manager.until("EXTEND_TIMEOUT_USEC=60000000");
        assert!(!has_line(&more, "READY=1"), "{more:?}");
        // A request that the service would execute later, when its client no longer waits, is refused at once.
        let refused = revoke.output().unwrap();
        assert!(
            !refused.status.success() && said(&refused).contains("in use by process"),
            "{}",
            said(&refused)
        );
        assert!(std::net::TcpStream::connect(address).is_err());
        std::fs::remove_file(&full).unwrap();
        starting.join().unwrap()
    });
    started.expect("the service starts after the disk has space again");
    manager.until("READY=1");
    assert_eq!(world.started["recovered"], json!(1));
}

#[test]
fn a_run_gets_nothing_that_systemd_passed_to_the_service() {
    let name = "a_run_gets_nothing_that_systemd_passed_to_the_service";
    if !has("python3") {
        return not_run(name, "there is no python3 here");
    }
    let (world, _manager) = managed(|world| {
        let text = "env\nfor file in /proc/self/fd/*; do readlink \"$file\"; done";
        world.write(
            "b/runbooks/open.md",
            &runbook(
                "defaults: {timeout: 20s, memory: 64MiB, processes: 20}",
                &[("all", text)],
            ),
        );
        world.setup.env("WATCHDOG_USEC", "30000000");
        passed(world, "tcp 127.0.0.1", 1);
    });
    let output = world.output(&world.run("open:all", json!({}), &[&alice()]), "stdout");
    assert!(output.contains("HOME="), "{output}");
    for word in ["NOTIFY", "WATCHDOG", "LISTEN", "socket:"] {
        assert!(!output.contains(word), "{word} in {output}");
    }
    // The helper, which starts the runs, has no copy of the listener either.
    // The service closes the passed descriptor after it made its own copy, so the kernel's table names the socket.
    let port = world.started["url"]
        .as_str()
        .and_then(|url| url.rsplit(':').next()?.parse::<u16>().ok())
        .expect("a port");
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("sockets");
    let row = sockets
        .lines()
        .find(|row| row.contains(&format!("0100007F:{port:04X} 00000000:0000 0A")));
    let inode = row
        .and_then(|row| row.split_whitespace().nth(9))
        .expect("the listener");
    let listener = std::path::PathBuf::from(format!("socket:[{inode}]"));
    let holds = |files: &std::path::Path| {
        let files = std::fs::read_dir(files).expect("descriptors").flatten();
        files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|file| file == listener)
    };
    assert!(
        holds(std::path::Path::new(&format!("/proc/{}/fd", world.pid()))),
        "the service has the listener"
    );
    let children = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            status
                .contains(&format!("\nPPid:\t{}\n", world.pid()))
                .then(|| entry.path())
        });
    let mut looked = 0;
    for child in children {
        looked += 1;
        assert!(!holds(&child.join("fd")), "a child has the listener");
    }
    assert!(looked > 0, "the service has a helper");
}

// The watchdog

fn watched(name: &str) -> Option<(World, Manager)> {
    let shim = shim(name)?;
    let (world, manager) = managed(|world| {
        world.setup.env("LD_PRELOAD", shim);
        let stuck = world.path("stuck-");
        world.setup.env("SHIM_STUCK", stuck.to_str().unwrap());
        world
            .setup
            .env("WATCHDOG_USEC", INTERVAL.as_micros().to_string());
    });
    manager.until("READY=1");
    manager.beats(1);
    Some((world, manager))
}

#[test]
fn the_watchdog_notices_a_writer_that_hangs_in_fsync() {
    let Some((mut world, manager)) = watched("the_watchdog_notices_a_writer_that_hangs_in_fsync")
    else {
        return;
    };
    let proposal = world.propose("plain:true", json!({}));
    std::fs::write(world.path("stuck-fsync"), "").unwrap();
    // This write waits for the sync, so the answer does not arrive.
    let mut stream = TcpStream::connect(world.wire.address()).unwrap();
    let body = World::wish("plain:true", json!({})).to_string();
    write!(
        stream,
        "POST /v1/proposals HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        world.wire.address(),
        world.agent,
        body.len()
    )
    .unwrap();
    manager.until_the_watchdog_acts();
    assert_eq!(
        world.wire.peek("/health").status,
        200,
        "the event loop still works"
    );
    // systemd ends the service with SIGABRT and starts it again.
    world.signal(Signal::ABORT);
    assert_eq!(world.ended(), None);
    std::fs::remove_file(world.path("stuck-fsync")).unwrap();
    world.start();
    manager.until("READY=1");
    manager.beats(1);
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    world.until(id_of(&proposal), "finished");
    world.check_history();
}

#[test]
fn the_watchdog_notices_a_busy_event_loop() {
    // Most of the time passes until the watchdog acts, so the three services run at the same time.
    std::thread::scope(|scope| {
        for call in ["epoll_wait", "accept4", "recv"] {
            scope.spawn(move || busy_in(call));
        }
    });
}

fn busy_in(call: &str) {
    let Some((world, manager)) = watched("the_watchdog_notices_a_busy_event_loop") else {
        return;
    };
    std::fs::write(world.path(&format!("stuck-{call}")), "").unwrap();
    // Each connection keeps one more thread busy, until no thread of the event loop is left.
    let connections = 4 * std::thread::available_parallelism().unwrap().get();
    let open: Vec<TcpStream> = (0..connections)
        .map(|_| {
            let mut stream = TcpStream::connect(world.wire.address()).unwrap();
            write!(
                stream,
                "GET /health HTTP/1.1\r\nhost: {}\r\n\r\n",
                world.wire.address()
            )
            .unwrap();
            stream
        })
        .collect();
    manager.until_the_watchdog_acts();
    std::fs::remove_file(world.path(&format!("stuck-{call}"))).unwrap();
    for mut stream in open {
        let mut byte = [0];
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{call}: a service that goes on answers all requests"
        );
    }
    manager.until("WATCHDOG=1");
    manager.beats(2);
}

#[test]
fn the_watchdog_notices_a_stopped_process() {
    let Some((world, manager)) = watched("the_watchdog_notices_a_stopped_process") else {
        return;
    };
    world.signal(Signal::STOP);
    manager.until_the_watchdog_acts();
    world.signal(Signal::CONT);
    manager.until("WATCHDOG=1");
}

/// The variable `COUNTERSIGN_BACKUP_MB` makes a larger store.
#[test]
fn the_watchdog_does_not_act_during_a_backup_under_load() {
    let Some((mut world, manager)) =
        watched("the_watchdog_does_not_act_during_a_backup_under_load")
    else {
        return;
    };
    world.stop();
    let megabytes: u64 =
        std::env::var("COUNTERSIGN_BACKUP_MB").map_or(64, |text| text.parse().expect("a number"));
    let rows = "INSERT INTO blob SELECT randomblob(32), randomblob(1 << 20) FROM generated";
    let generated = format!(
        "WITH RECURSIVE generated(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM generated LIMIT {megabytes})"
    );
    let store = rusqlite::Connection::open(world.database()).unwrap();
    store.execute_batch(&format!("{generated} {rows}")).unwrap();
    drop(store);
    world.start();
    manager.until("STOPPING=1");
    manager.until("READY=1");
    let begun = Instant::now();
    let mut copy = world.program(&["store", "backup", "--config"]);
    let copy = copy
        .arg(world.path("b"))
        .arg(world.path("backup"))
        .stdout(std::process::Stdio::null());
    let mut copy = copy.spawn().unwrap();
    let mut longest = Duration::ZERO;
    let ended = std::sync::atomic::AtomicBool::new(false);
    let runs = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut runs = 0;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                world.run("plain:true", json!({}), &[&alice()]);
                runs += 1;
            }
            runs
        });
        let (mut is_over, mut last) = (false, Instant::now());
        while !is_over {
            is_over = copy.try_wait().unwrap().is_some();
            manager.beats(1);
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(copy.wait().unwrap().success());
    println!(
        "a backup of {megabytes} MB and {runs} runs in {:?}; at most {longest:?} between two messages of the watchdog, \
         which are due every {:?}",
        begun.elapsed(),
        INTERVAL / 2
    );
    manager.beats(2);
}

// Socket activation

/// Starts the service through a program that opens `count` sockets and passes them as systemd does. `what` is `tcp
/// ADDRESS`, `tcp6 ADDRESS`, `udp`, `unix`, `connected` (no listener) or `file`.
fn passed(world: &mut World, what: &str, count: usize) {
    const LAUNCHER: &str = r#"
import os, socket, sys
what, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
made = []
for number in range(count):
    if what in ('tcp', 'bound', 'tcp6'):
        s = socket.socket(socket.AF_INET6 if what == 'tcp6' else socket.AF_INET)
        s.bind((address, 0))
        if what != 'bound': s.listen()
    elif what == 'udp':
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0))
    elif what == 'unix':
        s = socket.socket(socket.AF_UNIX); s.bind('\0passed-%d' % os.getpid()); s.listen()
    else:
        s = open('/etc/passwd')
    made.append(os.dup(s.fileno()))
made = [os.dup2(fd, 60 + at) for at, fd in enumerate(made)]
for at, fd in enumerate(made):
    os.dup2(fd, 3 + at, inheritable=True)
    os.set_inheritable(fd, False)
os.environ['LISTEN_FDS'] = os.environ.get('SAY_FDS', str(count))
os.environ['LISTEN_PID'] = os.environ.get('SAY_PID', str(os.getpid()))
os.execv(sys.argv[4], sys.argv[4:])
"#;
    let (what, address) = what.split_once(' ').unwrap_or((what, "-"));
    let words = ["python3", "-c", LAUNCHER, what, address, &count.to_string()];
    world.setup.before = words.map(str::to_owned).to_vec();
}

#[test]
fn the_service_uses_the_socket_that_systemd_passes() {
    const NAME: &str = "the_service_uses_the_socket_that_systemd_passes";
    if !has("python3") {
        return not_run(NAME, "there is no python3 here");
    }
    for what in ["tcp 127.0.0.1", "tcp6 ::1"] {
        let mut world = World::prepared(|_| {});
        passed(&mut world, what, 1);
        // The port of `listen` is in use, which does not matter.
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        world.setup.listen = other.local_addr().unwrap().to_string();
        if let Err(error) = world.try_start() {
            if what == "tcp6 ::1" && error.contains("Cannot assign requested address") {
                not_run(NAME, "this host has no IPv6");
                continue;
            }
            panic!("{what}: {error}");
        }
        assert_ne!(world.wire.address(), world.setup.listen);
        assert!(
            world.started["notes"].to_string().contains("is not used"),
            "{}",
            world.started["notes"]
        );
        world.make_tokens();
        world.run("plain:true", json!({}), &[&alice()]);
        world.stop();
    }
}

#[test]
fn the_service_uses_the_socket_of_systemd_socket_activate() {
    const NAME: &str = "the_service_uses_the_socket_of_systemd_socket_activate";
    if !has("systemd-socket-activate") {
        return not_run(NAME, "there is no systemd-socket-activate here");
    }
    let mut world = World::prepared(|_| {});
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    world.setup.before = ["systemd-socket-activate", "-l", &free.to_string()]
        .map(str::to_owned)
        .to_vec();
    std::thread::scope(|scope| {
        // The first connection starts the service, which then answers the request.
        let first = scope.spawn(|| {
            let mut stream = None;
            wait_for("systemd listens", || {
                stream = TcpStream::connect(free).ok();
                stream.is_some()
            });
            let mut stream = stream.unwrap();
            write!(
                stream,
                "GET /health HTTP/1.1\r\nhost: {free}\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        world.start();
        assert_eq!(world.wire.address(), free.to_string());
        let answer = first.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
    world.stop();
}

#[test]
fn a_socket_that_does_not_fit_is_refused_at_the_start() {
    if !has("python3") {
        return not_run(
            "a_socket_that_does_not_fit_is_refused_at_the_start",
            "there is no python3 here",
        );
    }
    let tcp = "is not a listening TCP socket";
    for (what, count, env, message) in [
        ("udp", 1, None, tcp),
        ("unix", 1, None, tcp),
        ("file", 1, None, tcp),
        ("bound 127.0.0.1", 1, None, tcp),
        ("tcp 127.0.0.1", 2, None, "systemd passed 2 sockets"),
        ("tcp 0.0.0.0", 1, None, "is not a loopback address"),
        ("tcp 127.0.0.1", 1, Some(("SAY_FDS", "40")), "LISTEN_FDS"),
        (
            "tcp 127.0.0.1",
            1,
            Some(("SAY_FDS", "4294967295")),
            "LISTEN_FDS",
        ),
        ("tcp 127.0.0.1", 1, Some(("SAY_FDS", "-1")), "LISTEN_FDS"),
        ("tcp 127.0.0.1", 1, Some(("SAY_FDS", "one")), "LISTEN_FDS"),
        ("tcp 127.0.0.1", 1, Some(("SAY_PID", "x")), "LISTEN_FDS"),
    ] {
        let mut world = World::prepared(|_| {});
        passed(&mut world, what, count);
        world
            .setup
            .env
            .extend(env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let refused = world.try_start().expect_err("a refusal");
        assert!(refused.contains(message), "{what}, {env:?}: {refused}");
        assert!(
            !world.database().exists(),
            "{what}: the start has changed something"
        );
    }
}

/// A program between systemd and the service may have kept the variables (sd_listen_fds(3)).
#[test]
fn sockets_for_another_process_are_ignored() {
    if !has("python3") {
        return not_run(
            "sockets_for_another_process_are_ignored",
            "there is no python3 here",
        );
    }
    for (name, value) in [("SAY_PID", "1"), ("SAY_FDS", "0")] {
        let mut world = World::prepared(|_| {});
        passed(&mut world, "tcp 127.0.0.1", 1);
        world.setup.env(name, value);
        world.start();
        assert!(!world.started["notes"].to_string().contains("is not used"));
        world.stop();
    }
}
