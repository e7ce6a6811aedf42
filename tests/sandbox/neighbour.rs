//! A host of the test with another host beside it: network namespaces that a pair of virtual devices connects. The names of
//! both are in a `/etc/hosts` that only the test sees.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::host::not_run;
use crate::support::wait_for;

/// Set in the process that plays the test inside of its namespaces.
const INSIDE: &str = "COUNTERSIGN_TEST_NEIGHBOUR";
/// Addresses of the other host: private ones, one that counts as public, and that of the metadata service of clouds.
const ADDRESSES: [&str; 7] = [
    "10.77.0.2/24",
    "10.77.0.3/24",
    "10.77.0.4/24",
    "93.184.216.34/32",
    "169.254.169.254/32",
    "fd77::2/64",
    "2a00:1450::77/128",
];
/// A web server that names the host of the request and its own address.
const WEB: &str = r"
import http.server, socket, sys
class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        at = self.connection.getsockname()[0].removeprefix('::ffff:')
        host = self.headers.get('Host')
        text = f'{host} at {at}\n'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *all):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 500
Server(('::', int(sys.argv[1])), Web).serve_forever()
";

/// Both hosts. Dropping this value ends the servers.
pub(super) struct Neighbour {
    directory: tempfile::TempDir,
    processes: Vec<Child>,
    /// Process in the network namespace of the other host.
    other: u32,
}

impl Neighbour {
    /// Starts the calling test again inside of new namespaces, and waits for its end. Returns the hosts only in the new
    /// process. `test` is the name of the test with its module.
    pub(super) fn enter(test: &str) -> Option<Self> {
        if std::env::var_os(INSIDE).is_none() {
            let mut unshare = vec!["--mount", "--net"];
            if !rustix::process::geteuid().is_root() {
                unshare.extend(["--user", "--map-root-user"]);
            }
            for program in [
                &["unshare"][..],
                &["ip", "-V"],
                &["nsenter", "--version"],
                &["curl", "--version"],
            ] {
                let arguments = if program.len() == 1 {
                    [&unshare[..], &["true"]].concat()
                } else {
                    program[1..].to_vec()
                };
                let found = Command::new(program[0]).args(arguments).output();
                if !found.is_ok_and(|output| output.status.success()) {
                    not_run(test, &format!("no {} that works here", program[0]));
                    return None;
                }
            }
            let inside = Command::new("unshare")
                .args(unshare)
                .arg(std::env::current_exe().expect("this test"))
                .args(["--exact", test, "--nocapture"])
                .env(INSIDE, "yes")
                .output()
                .expect("unshare");
            let text = [&inside.stdout[..], &inside.stderr].concat();
            assert!(
                inside.status.success(),
                "{}",
                String::from_utf8_lossy(&text)
            );
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let other = Command::new("unshare")
            .args(["--net", "sleep", "3600"])
            .spawn()
            .expect("unshare");
        let mut neighbour = Self {
            directory,
            other: other.id(),
            processes: vec![other],
        };
        let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
        wait_for("the other host", || {
            fs::read_link(format!("/proc/{}/ns/net", neighbour.other))
                .is_ok_and(|found| found != own)
        });
        sh("mount --make-rprivate / && ip link set lo up && ip link add c0 type veth peer name c1");
        sh(&format!("ip link set c1 netns {}", neighbour.other));
        let mut there = "ip link set lo up && ip link set c1 up".to_owned();
        for address in ADDRESSES {
            let _ = write!(
                there,
                " && ip addr add {address} dev c1 {}",
                if address.contains("::") { "nodad" } else { "" }
            );
        }
        neighbour
            .there("sh")
            .args(["-c", &there])
            .status()
            .map(|status| assert!(status.success()))
            .expect("sh");
        sh(
            "ip addr add 10.77.0.1/24 dev c0 && ip addr add fd77::1/64 dev c0 nodad && ip link set c0 up \
            && ip route add 93.184.216.34 dev c0 && ip route add 169.254.169.254 dev c0 && ip route add 2a00:1450::77 dev c0",
        );
        let hosts = neighbour.path("hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n").expect("a file");
        sh(&format!("mount --bind {} /etc/hosts", hosts.display()));
        // Without a name server, other names fail at once.
        fs::write(
            neighbour.path("resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )
        .expect("a file");
        sh(&format!(
            "mount --bind {} \"$(realpath /etc/resolv.conf)\"",
            neighbour.path("resolv.conf").display()
        ));
        neighbour.web(80, true);
        Some(neighbour)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a command for the network namespace of the other host.
    pub(super) fn there(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.other))
            .arg(program);
        command
    }

    /// Starts a process that ends with this value.
    pub(super) fn start(&mut self, command: &mut Command) {
        self.processes
            .push(command.stdin(Stdio::null()).spawn().expect("a process"));
    }

    /// Starts a web server at all addresses of the other host, or of this host.
    pub(super) fn web(&mut self, port: u16, there: bool) {
        let mut command = if there {
            self.there("python3")
        } else {
            Command::new("python3")
        };
        self.start(command.args(["-c", WEB, &port.to_string()]));
        self.wait_for_port(if there { "10.77.0.2" } else { "127.0.0.1" }, port);
    }

    pub(super) fn wait_for_port(&self, address: &str, port: u16) {
        wait_for(&format!("a server at {address}:{port}"), || {
            std::net::TcpStream::connect((address, port)).is_ok()
        });
    }

    /// Replaces the names that this host resolves.
    pub(super) fn names(lines: &[&str]) {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open("/etc/hosts")
            .expect("the hosts");
        file.write_all(format!("127.0.0.1 localhost\n{}\n", lines.join("\n")).as_bytes())
            .expect("written");
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Runs a script of the test, which must succeed.
pub(super) fn sh(script: &str) {
    let done = Command::new("sh")
        .args(["-c", script])
        .output()
        .expect("sh");
    assert!(
        done.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Returns true if the program is on this host.
pub(super) fn has(program: &str) -> bool {
    let paths = std::env::var("PATH").unwrap_or_default();
    paths
        .split(':')
        .chain(["/usr/sbin"])
        .any(|path| Path::new(path).join(program).exists())
}
