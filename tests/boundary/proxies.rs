//! The boundary behind nginx, haproxy and apache of Debian, with the files of `examples/proxies`. `scripts/proxies` plays more
//! requests and longer waits.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::certified::Certificates;
use crate::support::nodes;
use crate::support::people::alice;
use crate::support::postgres::cluster::Cluster;
use crate::support::{KilledAtEnd, World, bytes_of, id_of, not_run, said, wait_for};

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound")
        .port()
}

/// A proxy with its file of `examples/proxies` in front of a boundary.
pub(crate) struct Proxy {
    name: &'static str,
    pub(crate) port: u16,
    process: KilledAtEnd,
    directory: tempfile::TempDir,
}

const MODULES: [&str; 9] = [
    "mpm_event",
    "authz_core",
    "ssl",
    "socache_shmcb",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "lbmethod_byrequests",
    "slotmem_shm",
];

impl Drop for Proxy {
    /// Asks the proxy to end, because apache leaves its workers behind if it is killed.
    fn drop(&mut self) {
        let child = &mut self.process.0;
        let pid = rustix::process::Pid::from_child(child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..100 {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Proxy {
    /// Starts the proxy with this file of `examples/proxies`, before these two nodes. `timeout` takes the place of its 60 s.
    pub(crate) fn start(name: &'static str, program: &str, nodes: [&str; 2], timeout: u64) -> Self {
        let made = Certificates::shared().expect("openssl");
        let directory = tempfile::Builder::new()
            .prefix("countersign-proxy-")
            .tempdir()
            .expect("a directory");
        let (at, port) = (
            directory.path().to_str().expect("UTF-8").to_owned(),
            free_port(),
        );
        for (from, to) in [
            ("server.pem", "fullchain.pem"),
            ("server.key", "privkey.pem"),
        ] {
            fs::write(directory.path().join(to), made.read(from)).expect("written");
        }
        let both = made.read("server.pem") + &made.read("server.key");
        fs::write(directory.path().join("both.pem"), both).expect("written");
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/proxies")
            .join(match name {
                "nginx" | "apache" => format!("{name}.conf"),
                _ => format!("{name}.cfg"),
            });
        let example = fs::read_to_string(&example).expect("the example");
        let mut text = example.replace("/etc/boundary", &at);
        for (page, here) in [
            ("127.0.0.1:7433", nodes[0].to_owned()),
            ("127.0.0.1:7434", nodes[1].to_owned()),
            ("127.0.0.1:8443", nodes[0].to_owned()),
            ("listen 443", format!("listen 127.0.0.1:{port}")),
            ("bind :443", format!("bind 127.0.0.1:{port}")),
            ("Listen 443", format!("Listen 127.0.0.1:{port}")),
            ("*:443", format!("127.0.0.1:{port}")),
            ("60s", format!("{timeout}s")),
            ("ProxyTimeout 60", format!("ProxyTimeout {timeout}")),
        ] {
            text = text.replace(page, &here);
        }
        let file = directory.path().join("conf");
        let mut command = Command::new(program);
        match name {
            "nginx" => {
                let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
                    .concat();
                let user = if rustix::process::geteuid().is_root() {
                    "user root;\n"
                } else {
                    ""
                };
                text = format!(
                    "{user}daemon off;\npid {at}/pid;\nerror_log {at}/log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
                );
                command.args(["-p", &at, "-c"]).arg(&file);
            }
            "haproxy" | "desk" => {
                command.args(["-db", "-f"]).arg(&file);
            }
            _ => {
                let modules: String = MODULES
                    .map(|module| {
                        format!(
                            "LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n"
                        )
                    })
                    .concat();
                text = format!(
                    "{modules}ServerRoot {at}\nServerName localhost\nPidFile {at}/pid\nErrorLog {at}/log\nDefaultRuntimeDir {at}\n\
                     Mutex file:{at} default\nUser www-data\nGroup www-data\n{text}"
                );
                command.args(["-DFOREGROUND", "-f"]).arg(&file);
            }
        }
        fs::write(&file, &text).expect("written");
        let log = fs::File::create(directory.path().join("out")).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a copy"))
            .stderr(log);
        let mut process = KilledAtEnd(command.spawn().expect("the proxy"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let words = fs::read_to_string(directory.path().join("out")).unwrap_or_default();
            assert!(
                process.try_wait().expect("a process").is_none() && Instant::now() < deadline,
                "{text}\n{name}: {words}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            name,
            port,
            process,
            directory,
        }
    }

    /// A command of the client through the proxy.
    fn client(&self, world: &World, token: &str, words: &[&str]) -> Command {
        let mut command = world.program(words);
        command.args([
            "--url",
            &format!("https://localhost:{}", self.port),
            "--cacert",
        ]);
        command
            .arg(Certificates::shared().expect("openssl").path("ca.pem"))
            .env("COUNTERSIGN_TOKEN", token);
        command
    }

    /// Sends a request that ends the connection, and returns the answer.
    fn ask(&self, request: &str) -> String {
        let (line, head) = request.split_once("\r\n").unwrap_or((request, ""));
        let text = format!("{line}\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n");
        self.raw(text.as_bytes(), Duration::from_secs(20))
    }

    /// Sends bytes over a new connection. Returns what comes back before the end of the connection, or within this time.
    fn raw(&self, bytes: &[u8], most: Duration) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-quiet",
            "-connect",
            &format!("127.0.0.1:{}", self.port),
        ]);
        let mut child = openssl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let mut input = child.stdin.take().expect("a pipe");
        let _ = input.write_all(bytes).and_then(|()| input.flush());
        let mut output = child.stdout.take().expect("a pipe");
        let reading = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = output.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let deadline = Instant::now() + most;
        while Instant::now() < deadline && !reading.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        end(&mut child);
        reading.join().expect("read")
    }

    fn is_up(&self) -> bool {
        self.ask("GET /version HTTP/1.1").contains("\"version\"")
    }

    pub(crate) fn words(&self) -> String {
        ["out", "log"]
            .map(|name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default())
            .concat()
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns the path of a proxy, or `None` after a report if this host has none.
pub(crate) fn installed(test: &str, program: &str) -> Option<String> {
    let found = ["/usr/sbin", "/usr/bin"]
        .map(|at| format!("{at}/{program}"))
        .into_iter()
        .find(|p| Path::new(p).exists());
    if found.is_none() {
        not_run(test, &format!("{program} is not installed"));
    }
    found
}

/// Plays `test` with each proxy of this host and its path.
fn with_each(test: &str, play: impl Fn(&'static str, &str)) {
    if Certificates::shared().is_none() {
        return;
    }
    for (name, program) in [
        ("nginx", "nginx"),
        ("haproxy", "haproxy"),
        ("apache", "apache2"),
    ] {
        if let Some(path) = installed(test, program) {
            play(name, &path);
        }
    }
}

/// Plays `test` behind each proxy of this host.
fn behind_each(test: &str, timeout: u64, play: impl Fn(&mut World, &Proxy)) {
    with_each(test, |name, path| {
        let port = free_port();
        let mut world = World::prepared(|setup| {
            setup.listen = format!("127.0.0.1:{port}");
            setup.config = "hosts = [\"localhost\", \"boundary.example\"]\n".to_owned();
            setup.limits = "calls_per_second = 200\n".to_owned();
        });
        world.start();
        world.make_tokens();
        let closed = format!("127.0.0.1:{}", free_port());
        let proxy = Proxy::start(name, path, [world.wire.address(), &closed], timeout);
        wait_for(&format!("{name} finds the boundary"), || proxy.is_up());
        play(&mut world, &proxy);
    });
}

fn done(output: Output, proxy: &Proxy) -> String {
    let text = said(&output);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}: {text}\n{}",
        proxy.name,
        proxy.words()
    );
    text
}

#[test]
fn a_run_is_proposed_waited_for_and_read_through_each_proxy_also_over_a_restart() {
    let (timeout, waited) = (
        number("COUNTERSIGN_PROXY_TIMEOUT", 2),
        number("COUNTERSIGN_PROXY_WAIT", 6),
    );
    behind_each("behind proxies", timeout, |world, proxy| {
        let big = vec![b'x'; 40 << 20];
        fs::write(world.path("big"), &big).expect("written");
        let artifact = format!("big={}", world.path("big").display());
        let words = [
            "propose",
            "plain:true",
            "--reason",
            "r",
            "--artifact",
            &artifact,
            "--json",
        ];
        done(
            proxy
                .client(world, &world.agent, &words)
                .output()
                .expect("it starts"),
            proxy,
        );
        let proposal = world.propose("plain:true", json!({}));
        let id = id_of(&proposal);
        let mut wait = proxy.client(world, &world.reader, &["wait", id]);
        let mut wait = wait
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("wait");
        let restart_at = Instant::now() + Duration::from_secs(waited / 2);
        let until = Instant::now() + Duration::from_secs(waited);
        let mut restarted = false;
        while Instant::now() < until {
            if !restarted && Instant::now() > restart_at {
                world.restart();
                restarted = true;
            }
            assert!(
                wait.try_wait().expect("a process").is_none(),
                "{}: {:?}",
                proxy.name,
                wait.wait_with_output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
        done(wait.wait_with_output().expect("it ends"), proxy);
        done(
            proxy
                .client(world, &world.reader, &["output", id])
                .output()
                .expect("it starts"),
            proxy,
        );
        let events = ["/v1/proposals/", id, "/events"].concat();
        let answer = proxy.ask(&format!(
            "GET {events} HTTP/1.1\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n",
            world.reader
        ));
        assert!(
            answer.contains("event: ") && answer.contains("finished"),
            "{}: {answer}",
            proxy.name
        );
    });
}

#[test]
fn a_client_goes_on_behind_each_proxy_when_the_active_node_is_stopped_while_it_waits() {
    with_each("two nodes behind proxies", |name, path| {
        let Some(server) = Cluster::start("two nodes behind proxies", "") else {
            return;
        };
        let node = |node: &str| {
            World::prepared(|setup| {
                setup.listen = format!("127.0.0.1:{}", server.free_port());
                let hosts = "hosts = [\"localhost\", \"boundary.example\"]\n".to_owned();
                setup.config = hosts + &server.config(&server.socket_url("service"), node);
            })
        };
        let (mut one, two) = (node("one"), node("two"));
        server.migrate(&one);
        nodes::start(&mut one);
        let addresses = [one.setup.listen.clone(), two.setup.listen.clone()];
        let proxy = Proxy::start(name, path, [&addresses[0], &addresses[1]], 2);
        let standby = nodes::standby(two);
        wait_for(&format!("{name} finds the active node"), || proxy.is_up());
        let mut propose = proxy.client(
            &one,
            &one.agent,
            &["propose", "plain:true", "--reason", "r", "--json"],
        );
        let proposed: Value =
            serde_json::from_str(&done(propose.output().expect("it starts"), &proxy))
                .expect("JSON");
        let id = id_of(&proposed);
        let mut wait = proxy.client(&one, &one.reader, &["wait", id]);
        let mut wait = wait
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("wait");
        std::thread::sleep(Duration::from_secs(1));
        one.stop();
        let mut two = standby.join().expect("the standby");
        nodes::same_tokens(&one, &mut two);
        wait_for(&format!("{name} finds the other node"), || proxy.is_up());
        assert!(
            wait.try_wait().expect("a process").is_none(),
            "{name}: {:?}",
            wait.wait_with_output()
        );
        let proposal = two.show(id);
        let body = json!({"signatures": [alice().sign(&bytes_of(&proposal))]}).to_string();
        let answer = proxy.raw(
            format!(
                "POST /v1/proposals/{id}/signatures HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
                 application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
            Duration::from_secs(20),
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
        done(wait.wait_with_output().expect("it ends"), &proxy);
        done(
            proxy
                .client(&two, &two.reader, &["output", id])
                .output()
                .expect("it starts"),
            &proxy,
        );
        two.assert_verified(&two.until(id, "finished"));
        two.assert_audited();
    });
}

#[test]
fn a_flood_of_strangers_stops_neither_people_nor_health_checks_behind_each_proxy() {
    behind_each("a flood behind proxies", 60, |world, proxy| {
        // haproxy takes a node out after three checks that fail, one each 2 s.
        let until = Instant::now() + Duration::from_secs(8);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while Instant::now() < until {
                        let many = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
                        proxy.raw(many.as_bytes(), Duration::from_secs(1));
                    }
                });
            }
            let mut limited = false;
            while Instant::now() < until {
                let list = proxy
                    .client(world, &world.reader, &["registry", "list"])
                    .output()
                    .expect("it starts");
                done(list, proxy);
                let ready = proxy.ask("GET /ready HTTP/1.1");
                assert!(ready.starts_with("HTTP/1.1 200"), "{}: {ready}", proxy.name);
                limited |= proxy
                    .ask("GET /version HTTP/1.1")
                    .starts_with("HTTP/1.1 429");
            }
            assert!(limited, "{}: the strangers were never limited", proxy.name);
        });
    });
}

/// Requests that a proxy and a server can read differently. `HIDDEN` is a request inside of the body of another one.
fn smuggling_cases(seed: u64, count: usize) -> Vec<Vec<u8>> {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\nX: ";
    let chunked = "Transfer-Encoding";
    let encodings = [
        format!("{chunked}: chunked"),
        format!("{chunked}:chunked"),
        format!("{chunked}:\tchunked"),
        format!("{chunked}: chunked, identity"),
        format!("{chunked}: identity, chunked"),
        format!("{chunked}: xchunked"),
        format!("{chunked}: Chunked"),
        format!("{chunked}: gzip, chunked"),
        format!("{chunked}: \"chunked\""),
        format!("{chunked} : chunked"),
        format!(" {chunked}: chunked"),
        format!("{chunked}\t: chunked"),
        "Transfer_Encoding: chunked".to_owned(),
        format!("{chunked}:\r\n chunked"),
        format!("X: y\n{chunked}: chunked"),
        format!("{chunked}: chunked\r\n{chunked}: identity"),
        format!("{chunked}: identity\r\n{chunked}: chunked"),
        format!("{chunked}: chunked\x0b"),
    ];
    let of = |head: &str, body: &str| {
        format!("POST /version HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{body}").into_bytes()
    };
    let mut cases = Vec::new();
    for encoding in &encodings {
        let body = format!("0\r\n\r\n{HIDDEN}");
        cases.push(of(
            &format!("Content-Length: {}\r\n{encoding}", body.len()),
            &body,
        ));
        let body = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
        cases.push(of(&format!("{encoding}\r\nContent-Length: 4"), &body));
    }
    for length in [
        "0\r\nContent-Length: {n}",
        "{n}\r\nContent-Length: 0",
        "0, {n}",
        "+0",
        "0x0",
        "-1",
        "0\r\n 0",
        "{n} ",
        "00",
        "0;",
    ] {
        cases.push(of(
            &format!(
                "Content-Length: {}",
                length.replace("{n}", &HIDDEN.len().to_string())
            ),
            HIDDEN,
        ));
    }
    for chunk in [
        "0;a=b\n\r\n",
        "0;\r\r\n",
        "00000000000000000000\r\n\r\n",
        "0 \r\n\r\n",
        "-0\r\n\r\n",
        "10000000000000000\r\n",
        "0\n\n",
    ] {
        cases.push(of(
            &format!("{chunked}: chunked"),
            &format!("{chunk}{HIDDEN}"),
        ));
    }
    for line in [
        "GET http://other.example/hidden HTTP/1.1",
        "GET //hidden HTTP/1.1",
        "GET /version /hidden HTTP/1.1",
        "GET /version HTTP/1.0",
    ] {
        cases.push(
            format!("{line}\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n{HIDDEN}").into_bytes(),
        );
    }
    assert!(cases.len() >= 40, "{}", cases.len());
    // Further cases are changed copies of these: a byte is removed, doubled or replaced.
    let fixed = cases.len();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % most as u64) as usize
    };
    while cases.len() < fixed + count {
        let mut case = cases[random(fixed)].clone();
        let at = random(case.len());
        match random(3) {
            0 => drop(case.remove(at)),
            1 => case.insert(at, case[at]),
            _ => case[at] = b" \t\r\n:;,\0"[random(8)],
        }
        cases.push(case);
    }
    cases
}

#[test]
fn no_request_hides_in_another_one_behind_each_proxy() {
    let cases = smuggling_cases(
        number("COUNTERSIGN_SEED", 1),
        number("COUNTERSIGN_COUNT", 0) as usize,
    );
    behind_each("request smuggling", 60, |_, proxy| {
        for case in &cases {
            let shown = String::from_utf8_lossy(case).into_owned();
            proxy.raw(case, Duration::from_millis(300));
            // A hidden request would be answered to the next caller whose request takes the same connection.
            let next = proxy.ask("GET /version HTTP/1.1");
            assert!(
                next.contains("\"version\""),
                "{}: {shown:?} was followed by {next}",
                proxy.name
            );
        }
    });
}
