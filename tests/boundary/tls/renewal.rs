//! Certificates that change while the service runs.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::certified::{HERE, Pair};
use crate::support::wire::Wire;
use crate::support::{World, said, said_at_exit, wait_for};
use crate::tls::{TLS, certificates, curl, is_up, notes, port, prepared, put, s_client, serving};

/// Returns the served certificate as PEM, without line ends.
fn served(world: &World) -> String {
    let text = said(&s_client(world, &["-showcerts"]));
    let certificate = text
        .split("-----BEGIN CERTIFICATE-----")
        .nth(1)
        .unwrap_or_else(|| panic!("{text}"));
    certificate
        .split("-----END")
        .next()
        .expect("a certificate")
        .split_whitespace()
        .collect()
}

fn body(pair: &Pair) -> String {
    pair.certificate
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect()
}

fn hang_up(world: &World) {
    world.signal(Signal::HUP);
}

#[test]
fn a_new_pair_that_cannot_be_used_leaves_the_old_pair_in_force() {
    let (world, authority) = serving();
    let first = served(&world);
    let doctor = || {
        world
            .program(&["doctor"])
            .arg(world.path("b"))
            .output()
            .expect("doctor")
    };
    let key = world.path("b/tls/key.pem");
    for case in certificates::unusable(&authority) {
        put(&world, &case.pair);
        if let Some(mode) = case.key_mode {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("set");
        }
        hang_up(&world);
        wait_for(&format!("/ready reports: {}", case.name), || {
            let notes = notes(&world, &authority);
            notes.contains("continues with the old certificate")
                && case.words.iter().all(|words| notes.contains(words))
        });
        assert_eq!(served(&world), first, "{}", case.name);
        assert!(is_up(&world, &authority), "{}", case.name);
        std::fs::remove_file(&key).expect("removed");
    }
    hang_up(&world);
    wait_for("/ready reports the missing key", || {
        notes(&world, &authority).contains("key.pem: the file can't be read")
    });
    assert!(
        world
            .service_log()
            .contains("continues with the old certificate"),
        "{}",
        world.service_log()
    );
    said_at_exit(doctor(), 1, "FIX   service");
    // The note ends if the old files are back, and also if a new pair is taken.
    let second = authority.issue("second", "ca", HERE);
    put(&world, &second);
    hang_up(&world);
    wait_for("the new pair is in force", || {
        served(&world) == body(&second)
    });
    wait_for("the note ends", || {
        !notes(&world, &authority).contains("continues with the old")
    });
    assert!(is_up(&world, &authority));
}

#[test]
fn the_metrics_state_the_expiry_and_a_renewal_that_cannot_be_taken() {
    let (mut world, authority) = prepared(&format!("{TLS}[metrics]\nlisten = \"127.0.0.1:0\"\n"));
    world.start();
    let metrics = world.started["metrics"]
        .as_str()
        .expect("a URL")
        .trim_end_matches("/metrics")
        .to_owned();
    let value = |name: &str| {
        let text = Wire::new(&metrics).peek("/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("countersign_certificate_{name} ")));
        line.map(str::to_owned)
    };
    // The end of the certificate, as openssl and date state it.
    let script = "date -u -d \"$(openssl x509 -enddate -noout -in \"$0\" | cut -d= -f2)\" +%s";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(world.path("b/tls/cert.pem"))
        .output();
    let end = String::from_utf8(output.expect("openssl").stdout)
        .expect("UTF-8")
        .trim()
        .to_owned();
    wait_for("the expiry is in the metrics", || {
        value("expiry_timestamp_seconds") == Some(end.clone())
    });
    assert_eq!(value("reload_failed").as_deref(), Some("0"));
    world.write("b/tls/cert.pem", "nonsense");
    hang_up(&world);
    wait_for("the metrics state the failure", || {
        value("reload_failed").as_deref() == Some("1")
    });
    assert_eq!(value("expiry_timestamp_seconds"), Some(end));
    put(&world, &authority.issue("good", "ca", HERE));
    hang_up(&world);
    wait_for("the failure ends", || {
        value("reload_failed").as_deref() == Some("0")
    });
}

#[test]
fn a_renewal_by_a_new_link_is_taken_without_a_signal() {
    let (mut world, authority) = prepared(TLS);
    let archive = |number: u32, pair: &Pair| {
        world.write(&format!("b/archive/cert{number}.pem"), &pair.certificate);
        world.write(&format!("b/archive/key{number}.pem"), &pair.key);
    };
    // As certbot does: the names in one directory are links to numbered files in another directory.
    let tls = world.path("b/tls");
    let link = |directory: &str, number: u32| {
        for name in ["cert", "key"] {
            let at = tls.join(format!("{name}.pem"));
            let _ = std::fs::remove_file(&at);
            symlink(format!("../{directory}/{name}{number}.pem"), at).expect("a link");
        }
    };
    archive(1, &authority.issue("one", "ca", HERE));
    link("archive", 1);
    let second = authority.issue("two", "ca", HERE);
    archive(2, &second);
    let third = authority.issue("three", "ca", HERE);
    for (number, pair) in [(2, &second), (3, &third)] {
        world.write(&format!("b/elsewhere/cert{number}.pem"), &pair.certificate);
        world.write(&format!("b/elsewhere/key{number}.pem"), &pair.key);
    }
    world.start();
    link("archive", 2);
    wait_for("the second pair is in force", || {
        served(&world) == body(&second)
    });
    assert!(!notes(&world, &authority).contains("continues with the old"));
    // The sandbox hides the directory of the key that the link named at the start. A key elsewhere needs a restart, also
    // a copy of the same key.
    link("elsewhere", 2);
    hang_up(&world);
    wait_for("the copy is reported", || {
        notes(&world, &authority).contains("restart the service")
    });
    link("archive", 2);
    hang_up(&world);
    wait_for("the note ends", || {
        !notes(&world, &authority).contains("restart the service")
    });
    link("elsewhere", 3);
    hang_up(&world);
    wait_for("the third pair is refused", || {
        notes(&world, &authority).contains("restart the service")
    });
    assert_eq!(served(&world), body(&second));
    // The same bytes in another place are visible to runs too.
    link("archive", 2);
    wait_for("the note ends", || {
        !notes(&world, &authority).contains("restart the service")
    });
    world.write("b/elsewhere/cert2.pem", &second.certificate);
    world.write("b/elsewhere/key2.pem", &second.key);
    link("elsewhere", 2);
    wait_for("the other place of the key is refused", || {
        notes(&world, &authority).contains("restart the service")
    });
    link("elsewhere", 3);
    world.restart();
    assert_eq!(served(&world), body(&third));
}

#[test]
fn a_certificate_that_expires_while_it_is_served_is_reported() {
    let (world, authority) = serving();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    let mut seconds = 6;
    // On a slow host the certificate may expire before the service takes it, so the next certificate is valid longer.
    let taken = || {
        world
            .service_log()
            .matches("took a new certificate")
            .count()
            > 0
    };
    while !taken() {
        let end = stamp(now + seconds);
        put(
            &world,
            &authority.issue_for("short", "ca", HERE, ("20240101000000Z", &end)),
        );
        hang_up(&world);
        wait_for("the service looks at the files", || {
            taken() || notes(&world, &authority).contains("expired at")
        });
        seconds += 6;
    }
    wait_for("/ready reports the expiry", || {
        notes(&world, &authority)
            .contains("clients refuse the certificate of the service: the certificate expired at")
    });
    let (code, text) = curl(&world, &authority, &[], "/health");
    assert!(code == Some(60) && text.contains("expired"), "{text}");
    assert!(
        world
            .service_log()
            .contains("clients refuse the certificate"),
        "{}",
        world.service_log()
    );
    put(&world, &authority.issue("long", "ca", HERE));
    hang_up(&world);
    wait_for("a new certificate is in force", || {
        is_up(&world, &authority)
    });
    wait_for("the note ends", || {
        !notes(&world, &authority).contains("expired")
    });
}

/// Returns a time in the form of openssl.
fn stamp(unix: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{unix}"), "+%Y%m%d%H%M%SZ"])
        .output();
    String::from_utf8(output.expect("date").stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

/// 64 clients of Python. Each client sends requests on a connection that it keeps, and after each request one request on
/// a new connection. The program prints a line for each new certificate, and then the failures.
const CLIENTS: &str = r#"
import hashlib, http.client, json, os, ssl, sys, threading
port, ca, stop = int(sys.argv[1]), sys.argv[2], sys.argv[3]
seen, failures, lock = set(), [], threading.Lock()
all_connected = threading.Barrier(64, action=lambda: print('all', flush=True))
def connect():
    # A context of its own has no session of an earlier connection.
    return http.client.HTTPSConnection('localhost', port, timeout=20, context=ssl.create_default_context(cafile=ca))
def ask(connection):
    connection.request('GET', '/health')
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200 and b'up' in body, (answer.status, body)
    return hashlib.sha256(connection.sock.getpeercert(True)).hexdigest()
def client():
    try:
        kept = connect()
        own = ask(kept)
        all_connected.wait(60)
        while not os.path.exists(stop):
            assert ask(kept) == own
            fresh = connect()
            certificate = ask(fresh)
            fresh.close()
            with lock:
                if certificate not in seen:
                    seen.add(certificate)
                    print('new', flush=True)
    except Exception as error:
        failures.append(repr(error))
threads = [threading.Thread(target=client) for _ in range(64)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps({'failures': failures, 'seen': len(seen)}))
"#;

#[test]
fn no_request_of_64_clients_fails_while_the_certificate_changes() {
    let (world, authority) = serving();
    let stop = world.path("stop");
    let mut clients = world.command("python3");
    clients
        .args(["-c", CLIENTS, &port(&world).to_string()])
        .arg(authority.path("ca.pem"))
        .arg(&stop);
    let mut clients = clients
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut lines = BufReader::new(clients.stdout.take().expect("a pipe"))
        .lines()
        .map(|line| line.expect("a line"));
    assert_eq!(
        lines.next().as_deref(),
        Some("all"),
        "each client has a connection that it keeps"
    );
    assert_eq!(
        lines.next().as_deref(),
        Some("new"),
        "the first certificate"
    );
    let renewals = 4;
    for number in 0..renewals {
        put(
            &world,
            &authority.issue(&format!("renewal{number}"), "ca", HERE),
        );
        hang_up(&world);
        // The pair is incomplete between the two writes, and the old pair stays in force.
        assert_eq!(
            lines.next().as_deref(),
            Some("new"),
            "a client saw the new certificate"
        );
    }
    std::fs::write(&stop, "").expect("written");
    let last = lines.last().expect("a line");
    let found: serde_json::Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(
        found,
        serde_json::json!({"failures": [], "seen": renewals + 1})
    );
    clients.wait().expect("ended");
}

#[test]
fn a_pair_is_complete_only_with_both_files() {
    let (world, authority) = serving();
    let second = authority.issue("second", "ca", HERE);
    let first: String = served(&world);
    world.write("b/tls/cert.pem", &second.certificate);
    hang_up(&world);
    wait_for("/ready reports the old key", || {
        notes(&world, &authority).contains("the key does not belong")
    });
    assert_eq!(served(&world), first);
    world.write("b/tls/key.pem", &second.key);
    wait_for("the pair is in force without a signal", || {
        served(&world) == body(&second)
    });
    wait_for("the note ends", || {
        !notes(&world, &authority).contains("continues with the old")
    });
}

#[test]
fn a_link_in_place_of_the_key_is_allowed_and_the_private_set_contains_its_target() {
    let (mut world, authority) = prepared(TLS);
    let pair = authority.issue("linked", "ca", HERE);
    world.write("b/tls/cert.pem", &pair.certificate);
    world.write("b/runbooks/keys/key.pem", &pair.key);
    std::fs::remove_file(world.path("b/tls/key.pem")).expect("removed");
    symlink(
        world.path("b/runbooks/keys/key.pem"),
        world.path("b/tls/key.pem"),
    )
    .expect("a link");
    let text = world.try_start().expect_err("a key that runs can read");
    assert!(
        text.contains("tls/key.pem: this path is private, but is in the runbook directory"),
        "{text}"
    );
}

#[test]
fn doctor_production_reports_a_certificate_that_ends_soon() {
    let (world, authority) = prepared(TLS);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    let doctor = || {
        said(
            &world
                .program(&["doctor", "--production"])
                .arg(world.path("b"))
                .output()
                .expect("doctor"),
        )
    };
    assert!(
        doctor().contains("ok     the certificate is valid until 2099"),
        "{}",
        doctor()
    );
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).expect("read");
    let hosts = "hosts = [\"localhost:7433\", \"127.0.0.1\", \"box.lan:7433\", \"[::1]:7433\"]\n";
    world.write("b/countersign.toml", &format!("{hosts}{config}"));
    for (host, is_named) in [
        ("localhost:7433", true),
        ("127.0.0.1", true),
        ("box.lan:7433", false),
        ("[::1]:7433", false),
    ] {
        let says = format!("FIX    the certificate is not for {host}, so");
        assert_eq!(doctor().contains(&says), !is_named, "{host}: {}", doctor());
    }
    world.write("b/countersign.toml", &config);
    put(
        &world,
        &authority.issue_for(
            "soon",
            "ca",
            HERE,
            ("20240101000000Z", &stamp(now + 10 * 86_400)),
        ),
    );
    assert!(
        doctor().contains("FIX    the certificate is valid until"),
        "{}",
        doctor()
    );
    // Some CAs issue certificates for a day.
    put(
        &world,
        &authority.issue_for(
            "day",
            "ca",
            HERE,
            (&stamp(now - 3600), &stamp(now + 82_800)),
        ),
    );
    assert!(
        doctor().contains("ok     the certificate is valid until"),
        "{}",
        doctor()
    );
    put(
        &world,
        &authority.issue_for(
            "expired",
            "ca",
            HERE,
            ("20200101000000Z", "20200201000000Z"),
        ),
    );
    assert!(
        doctor().contains("the certificate expired at 2020-02-01"),
        "{}",
        doctor()
    );
    let without = std::fs::read_to_string(world.path("b/countersign.toml"))
        .expect("read")
        .replace(TLS, "");
    world.write(
        "b/countersign.toml",
        &format!("listen = \"0.0.0.0:1\"\ninsecure_behind_proxy = true\n{without}"),
    );
    assert!(
        doctor().contains("FIX    other machines can reach 0.0.0.0:1 without TLS"),
        "{}",
        doctor()
    );
}
