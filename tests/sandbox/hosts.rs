//! Runs that reach the hosts of their list, beside another host of the test.

use std::net::TcpListener;
use std::time::Duration;

use crate::neighbour::Neighbour;
use crate::runs::{Bench, err, out, plan, profile};
use crate::support::assert_says;
use documents::{Enforcement, HostRefusal, Level, Network, NetworkMode, Profile};
use sandbox::CancelFlag;

fn texts(list: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = list.iter().map(|&text| text.to_owned()).collect();
    texts.sort();
    texts
}

pub(super) fn with_hosts(hosts: &[&str], private: &[&str], localhost: &[&str]) -> Profile {
    let mut profile = profile();
    profile.network = Network {
        mode: NetworkMode::Allow,
        hosts: texts(hosts),
        private: texts(private),
        localhost: texts(localhost),
    };
    profile.check("").expect("a sound profile");
    profile
}

fn refused<'h>(facts: &Enforcement, hosts: &'h [String]) -> Vec<(&'h str, HostRefusal)> {
    let refused = facts.refused_hosts.iter().flatten();
    refused
        .map(|one| {
            (
                hosts[usize::try_from(one.at).expect("small")].as_str(),
                one.why,
            )
        })
        .collect()
}

/// Asks each host for its page, and prints the answer or the exit code of curl.
fn ask(hosts: &[&str]) -> String {
    let ask = |host: &&str| {
        format!("curl -sS -m 8 http://{host}/ 2>/dev/null || echo \"{host}: none\"\n")
    };
    hosts.iter().map(ask).collect()
}

#[test]
fn a_run_reaches_only_the_hosts_of_its_list_by_name_and_by_number() {
    let Some(mut world) =
        Neighbour::enter("hosts::a_run_reaches_only_the_hosts_of_its_list_by_name_and_by_number")
    else {
        return;
    };
    world.web(8080, false);
    Neighbour::names(&[
        "93.184.216.34 api.example other.example",
        "10.77.0.2 db.internal closed.internal",
        "fd77::2 six.internal",
        "169.254.169.254 meta.internal",
        "10.77.0.2 mixed.internal",
        "169.254.169.254 mixed.internal",
        "127.0.0.1 own.internal",
        "10.77.0.1 me.internal",
    ]);
    // The web server of this process is the boundary's own port.
    let own = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let own = format!("localhost:{}", own.local_addr().expect("bound").port());
    let hosts = [
        "api.example:80",
        "db.internal:80",
        "closed.internal:80",
        "six.internal:80",
        "meta.internal:80",
        "mixed.internal:80",
        "own.internal:8080",
        "me.internal:8080",
        "gone.internal:80",
        "localhost:8080",
        &own,
        "10.77.0.2:80",
        "10.77.0.3:80",
        "[fd77::2]:80",
        "[2a00:1450::77]:80",
        "93.184.216.34:80",
    ];
    let private = [
        "db.internal:80",
        "six.internal:80",
        "meta.internal:80",
        "mixed.internal:80",
        "me.internal:8080",
        "10.77.0.2:80",
        "[fd77::2]:80",
    ];
    let profile = with_hosts(
        &hosts,
        &private,
        &["localhost:8080", "own.internal:8080", &own],
    );
    let script = ask(&hosts)
        + &ask(&[
            "other.example",
            "10.77.0.4",
            "db.internal:8080",
            "127.77.0.200",
            "169.254.169.254",
        ])
        + "env | grep -i proxy\n\
           grep -c 127.77.0 /etc/hosts\n\
           python3 -c 'import socket; socket.getaddrinfo(\"other.example\", 80)' 2>/dev/null && echo resolved\n\
           python3 - <<'END'\nimport socket\nfor options in [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,)]:\n    s = socket.socket()\n    \
           for one in options: s.setsockopt(socket.SOL_SOCKET, one, 1)\n    try:\n        s.bind(('127.0.0.1', 8080)); s.listen(); print('taken over')\n    \
           except OSError as error: print(error.strerror)\nEND\n";
    let bench = Bench::strict();
    let mut report = bench.run_with(&profile, plan("bash", &script));
    let said = out(&mut report);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "api.example at 93.184.216.34",
            "db.internal at 10.77.0.2",
            "closed.internal:80: none",
            "six.internal at fd77::2",
            "meta.internal:80: none",
            "mixed.internal:80: none",
            "own.internal:8080 at 127.0.0.1",
            "me.internal:8080: none",
            "gone.internal:80: none",
            "localhost:8080 at 127.0.0.1",
            &format!("{own}: none"),
            "10.77.0.2 at 10.77.0.2",
            "10.77.0.3:80: none",
            "[fd77::2] at fd77::2",
            "[2a00:1450::77] at 2a00:1450::77",
            "93.184.216.34 at 93.184.216.34",
            "other.example: none",
            "10.77.0.4: none",
            "db.internal:8080: none",
            "127.77.0.200: none",
            "169.254.169.254: none",
            // Each name of the list has one line, and `localhost` keeps its own.
            "9",
            "Address already in use",
            "Address already in use",
            "Address already in use",
        ],
        "{}",
        err(&mut report)
    );
    let facts = report.enforcement;
    assert_eq!(
        (facts.net, facts.level),
        (Some(NetworkMode::Allow), Level::Strict)
    );
    let reached = [
        "10.77.0.2:80",
        "93.184.216.34:80",
        "[2a00:1450::77]:80",
        "[fd77::2]:80",
        "api.example:80",
        "db.internal:80",
        "localhost:8080",
        "own.internal:8080",
        "six.internal:80",
    ];
    assert_eq!(facts.contacted, Some(texts(&reached)));
    let mut expected = vec![
        ("10.77.0.3:80", HostRefusal::Private),
        ("closed.internal:80", HostRefusal::Private),
        ("gone.internal:80", HostRefusal::Unresolved),
        (own.as_str(), HostRefusal::Boundary),
        ("me.internal:8080", HostRefusal::Localhost),
        ("meta.internal:80", HostRefusal::Never),
        ("mixed.internal:80", HostRefusal::Never),
    ];
    expected.sort_unstable_by_key(|(host, _)| *host);
    assert_eq!(refused(&facts, &profile.network.hosts), expected);
}

/// `scripts/unit-tests` plays this test under the settings of the systemd unit, which allow no netlink socket.
#[test]
fn a_list_of_names_and_numbers_works_without_netlink() {
    let mut server = std::process::Command::new("python3")
        .args([
            "-c",
            "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\n\
                      while True:\n    c = s.accept()[0]\n    c.sendall(b'hello\\n')\n    c.close()\n",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = String::new();
    let mut output = std::io::BufReader::new(server.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    let port = line.trim();
    let (name, number) = (format!("localhost:{port}"), format!("127.0.0.2:{port}"));
    // The same number with another port has the same address in the run.
    let hosts = [
        name.as_str(),
        &number,
        "10.77.9.9:80",
        "10.77.9.9:82",
        "192.168.255.255:443",
        "[fd77::9]:80",
        "[fd77::9]:82",
        "db.invalid:80",
        "db.invalid:82",
    ];
    let profile = with_hosts(&hosts, &[], &[&name]);
    let script = format!(
        "import socket\nfor at in ('localhost', {port}), ('127.0.0.2', {port}), ('10.77.9.9', 80), ('192.168.255.255', 443), \
         ('fd77::9', 80), ('db.invalid', 80), ('10.77.9.8', 80), ('10.77.9.9', 81):\n    try:\n        \
         s = socket.create_connection(at, timeout=15)\n        print(at[0], s.recv(100).decode().strip())\n    except OSError as error:\n        print(at[0], type(error).__name__)\n"
    );
    let bench = Bench::strict();
    let mut report = bench.run_with(&profile, plan("python", &script));
    let _ = server.kill();
    let _ = server.wait();
    let said = out(&mut report);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "localhost hello",
            "127.0.0.2 ConnectionResetError",
            "10.77.9.9 ConnectionResetError",
            "192.168.255.255 ConnectionResetError",
            "fd77::9 ConnectionResetError",
            "db.invalid ConnectionResetError",
            // Only the listed number itself belongs to the run, and only with its port.
            "10.77.9.8 OSError",
            "10.77.9.9 ConnectionRefusedError",
        ],
        "{}",
        err(&mut report)
    );
    let expected = [
        ("10.77.9.9:80", HostRefusal::Private),
        (number.as_str(), HostRefusal::Localhost),
        ("192.168.255.255:443", HostRefusal::Private),
        ("[fd77::9]:80", HostRefusal::Private),
        ("db.invalid:80", HostRefusal::Unresolved),
    ];
    assert_eq!(
        refused(&report.enforcement, &profile.network.hosts),
        expected
    );
}

/// The name is public when the run begins, and private when the run connects again.
#[test]
fn a_name_that_moves_inside_during_a_run_is_refused() {
    let Some(_world) = Neighbour::enter("hosts::a_name_that_moves_inside_during_a_run_is_refused")
    else {
        return;
    };
    Neighbour::names(&["93.184.216.34 moves.example"]);
    let profile = with_hosts(
        &["moves.example:80", "ready.example:80"],
        &["ready.example:80"],
        &[],
    );
    let script = "curl -sS http://moves.example/\nuntil curl -s http://ready.example/; do :; done\n\
                  curl -s http://moves.example/ || echo refused\n";
    let bench = Bench::strict();
    let prepared = bench.sandbox.check(&profile).expect("can be held");
    let mut moved = false;
    let mut report = bench.sandbox.run(
        prepared,
        plan("bash", script),
        &mut |_| {
            if !std::mem::replace(&mut moved, true) {
                Neighbour::names(&["10.77.0.2 moves.example ready.example"]);
            }
        },
        &CancelFlag::new().expect("a flag"),
    );
    assert_eq!(
        out(&mut report),
        "moves.example at 93.184.216.34\nready.example at 10.77.0.2\nrefused\n"
    );
    assert_eq!(
        refused(&report.enforcement, &profile.network.hosts),
        [("moves.example:80", HostRefusal::Private)]
    );
}

#[test]
fn a_list_of_64_hosts_and_a_thousand_connections_are_served_and_a_killed_run_leaves_no_connection()
{
    let Some(world) = Neighbour::enter(
        "hosts::a_list_of_64_hosts_and_a_thousand_connections_are_served_and_a_killed_run_leaves_no_connection",
    ) else {
        return;
    };
    let names: Vec<String> = (0..62).map(|at| format!("h{at}.internal")).collect();
    Neighbour::names(&[&format!("10.77.0.2 {}", names.join(" "))]);
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}:80")).collect();
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.extend(["10.77.0.3:80", "[fd77::2]:80"]);
    let profile = with_hosts(&hosts, &hosts, &[]);
    let script = format!(
        "{}python3 - <<'END'\nimport http.client\nfor at in range(1000):\n    c = http.client.HTTPConnection(f'h{{at % 62}}.internal')\n    \
         c.request('GET', '/')\n    assert c.getresponse().status == 200\n    c.close()\nprint('all')\nEND\n",
        ask(&["h0.internal", "h61.internal", "10.77.0.3", "[fd77::2]"])
    );
    let bench = Bench::strict();
    let mut report = bench.run_with(&profile, plan("bash", &script));
    let said = out(&mut report);
    assert_eq!(
        said,
        "h0.internal at 10.77.0.2\nh61.internal at 10.77.0.2\n10.77.0.3 at 10.77.0.3\n[fd77::2] at fd77::2\nall\n",
        "{}",
        err(&mut report)
    );
    assert_eq!(
        report.enforcement.contacted.map(|hosts| hosts.len()),
        Some(64)
    );
    let mut short = profile;
    short.limits.wall_ms = 1500;
    let open = "import socket, time\nall = [socket.create_connection(('h0.internal', 80)) for _ in range(20)]\n\
                print('open', flush=True)\ntime.sleep(60)\n";
    let mut report = bench.run_with(&short, plan("python", open));
    assert_eq!(out(&mut report), "open\n");
    assert!(report.duration_ms < 10_000, "{} ms", report.duration_ms);
    let count = || {
        let found = world
            .there("sh")
            .args(["-c", "ss -Htn state established | wc -l"])
            .output()
            .expect("ss");
        String::from_utf8_lossy(&found.stdout).trim().to_owned()
    };
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while count() != "0" && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(count(), "0", "the other host has open connections");
}

/// Connects to a host one after the other, then 40 times at once, and to a refused host as often. Prints how many connections
/// carried a byte.
const CONNECT: &str = r"
import socket, sys
def reach(name, held):
    try:
        s = socket.create_connection((name, 81), timeout=20)
        s.sendall(b'x')
        held.append(s)
        return s.recv(1) == b'x'
    except OSError:
        return False
one_by_one = 0
for at in range(int(sys.argv[1])):
    held = []
    one_by_one += reach('db.internal', held)
    reach('closed.internal', held)
    for s in held: s.close()
held = []
print(one_by_one, sum(reach('db.internal', held) for at in range(40)), sum(reach('closed.internal', held) for at in range(40)))
";

/// `COUNTERSIGN_CONNECTIONS` sets the number of connections of each run, with which the limit of 10,000 can be reached.
#[test]
fn many_connections_leave_no_descriptor_no_thread_and_no_memory_and_each_refusal_is_told_once() {
    let Some(mut world) = Neighbour::enter(
        "hosts::many_connections_leave_no_descriptor_no_thread_and_no_memory_and_each_refusal_is_told_once",
    ) else {
        return;
    };
    let echo = "import socket, threading\ns = socket.create_server(('10.77.0.2', 81), backlog=500)\n\
                def serve(c):\n    while got := c.recv(4096): c.sendall(got)\n    c.close()\n\
                while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n";
    let mut server = world.there("python3");
    world.start(server.args(["-c", echo]));
    world.wait_for_port("10.77.0.2", 81);
    Neighbour::names(&["10.77.0.2 db.internal closed.internal"]);
    let hosts = ["db.internal:81", "closed.internal:81"];
    let mut profile = with_hosts(&hosts, &["db.internal:81"], &[]);
    profile.limits.wall_ms = 600_000;
    let count = std::env::var("COUNTERSIGN_CONNECTIONS")
        .map_or(150, |count| count.parse().expect("a number"));
    let bench = Bench::strict();
    let held = || {
        let entries = |directory| std::fs::read_dir(directory).expect("/proc").count();
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        (
            entries("/proc/self/fd"),
            entries("/proc/self/task"),
            memory.expect("a number").parse::<u64>().expect("kB"),
        )
    };
    let mut before = None;
    for _ in 0..3 {
        let mut report = bench.run_with(
            &profile,
            plan(
                "python",
                &CONNECT.replace("int(sys.argv[1])", &count.to_string()),
            ),
        );
        let (said, why) = (out(&mut report), err(&mut report));
        assert_eq!(
            report.enforcement.contacted,
            Some(texts(&["db.internal:81"]))
        );
        let told = refused(&report.enforcement, &profile.network.hosts);
        assert_eq!(told[0], ("closed.internal:81", HostRefusal::Private));
        // From here on, the limit of all connections of a run is reached.
        if count < 4900 {
            assert_eq!(said, format!("{count} 32 0\n"), "{why}");
            assert_eq!(told[1..], [("db.internal:81", HostRefusal::Limit)]);
        }
        let (files, threads, memory) = *before.get_or_insert_with(held);
        crate::support::wait_for("the end of all connections", || {
            let now = held();
            now.0 <= files && now.1 <= threads && now.2 < memory + (16 << 10)
        });
    }
}

#[test]
fn a_run_in_the_network_of_the_host_resolves_names_as_the_host_does() {
    let Some(_world) =
        Neighbour::enter("hosts::a_run_in_the_network_of_the_host_resolves_names_as_the_host_does")
    else {
        return;
    };
    Neighbour::names(&["10.77.0.2 db.internal"]);
    let mut host = profile();
    host.require
        .retain(|layer| *layer != documents::Layer::Network);
    host.network = Network {
        mode: NetworkMode::Host,
        ..Network::NONE
    };
    let script = "getent hosts db.internal | tr -s ' '\ncurl -sS http://db.internal/\ncat /etc/resolv.conf\n\
                  grep hosts: /etc/nsswitch.conf\ngetent hosts countersign >/dev/null && echo own\n";
    let bench = Bench::strict();
    let mut report = bench.run_with(&host, plan("bash", script));
    let said = out(&mut report);
    assert_says(
        &said,
        "10.77.0.2 db.internal\ndb.internal at 10.77.0.2\nnameserver 127.0.0.1\n",
    );
    let switch = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let line = switch
        .lines()
        .find(|line| line.starts_with("hosts:"))
        .unwrap_or("hosts: files dns")
        .to_owned();
    assert_says(&said, &line);
    assert_says(&said, "own");
    // A run without a network sees none of this.
    let mut report = bench.run_with(&profile(), plan("bash", script));
    let said = out(&mut report);
    assert!(
        !said.contains("10.77.0.2")
            && !said.contains("nameserver")
            && said.contains("hosts: files\n"),
        "{said}"
    );
}
