//! TLS, replicas, and the number of round trips.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::store::batch::{Commit, Questions, Writes};
use crate::store::fault::StoreFault;
use crate::store::postgres::link::Link;
use crate::store::postgres::settings::ServerSettings;
use crate::store::postgres::tests::unknown_commits::{begin, leaves, open};
use crate::store::postgres::tests::{NOBODY, server, start, tamper_at};
use crate::store::postgres::{self, schema};
use crate::store::server::{Replicas, ServerTable};
use crate::store::{Store as _, StoreReads as _};

/// Makes an authority, a certificate for the name `localhost`, and a client certificate for the role `service`.
const CERTIFICATES: &str = "\
    k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' && \
    openssl req -x509 $k -keyout ca.key -out ca.pem -subj /CN=ca -days 2 && \
    openssl req -x509 $k -keyout other.key -out other.pem -subj /CN=other -days 2 && \
    openssl req $k -keyout s.key -out s.csr -subj /CN=localhost && echo subjectAltName=DNS:localhost >ext && \
    openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out s.pem && \
    openssl req $k -keyout c.key -out c.csr -subj /CN=service && \
    openssl x509 -req -in c.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out c.pem && chmod 600 *.key";

/// Time in which a server reads its changed settings, also on a busy machine.
const RELOAD: Duration = Duration::from_secs(1);

#[test]
fn the_certificate_and_the_name_of_the_server_are_checked() {
    if server().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let at = directory.path();
    let made = Command::new("sh").args(["-c", CERTIFICATES]).current_dir(at).output().expect("sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    if rustix::process::geteuid().is_root() {
        for path in [at, &at.join("s.key")] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("owner");
        }
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
    let options = format!(
        "-c listen_addresses=127.0.0.1 -p {port} -c ssl=on -c ssl_cert_file={0}/s.pem -c ssl_key_file={0}/s.key \
         -c ssl_ca_file={0}/ca.pem",
        at.display()
    );
    let server = start("-tls", &options, port).expect("server");
    let connect = |host: &str, ca: &Path, password_file: Option<PathBuf>| {
        let table = ServerTable {
            node: "one".parse().expect("name"),
            password_file,
            ca: Some(ca.to_owned()),
            certificate: None,
            key: None,
            replicas: Replicas::None,
        };
        let settings = ServerSettings::new(&format!("postgres://service@{host}:{port}/boundary?schema=public"), &table);
        Link::open(&settings.expect("settings"), "")
    };
    let encrypted = connect("localhost", &at.join("ca.pem"), None).expect("connected");
    let rows = encrypted.query("testing", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", Vec::new());
    assert!(rows.expect("rows")[0].get::<_, bool>(0));
    for (host, ca, expected) in
        [("localhost", "other.pem", "UnknownIssuer"), ("127.0.0.1", "ca.pem", "not valid for name")]
    {
        let refused = connect(host, &at.join(ca), None).err().expect("refused").to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    // From now on, the server asks for a password.
    let admin = server.settings_of("super", "boundary", "public", "admin");
    let rules = server.directory.join("data/pg_hba.conf");
    tamper_at(&admin, "ALTER ROLE service PASSWORD 'secret'");
    tamper_at(
        &admin,
        &format!(
            "COPY (VALUES ('local all all trust'), ('hostssl all all all scram-sha-256')) TO '{}'",
            rules.display()
        ),
    );
    tamper_at(&admin, "SELECT pg_reload_conf()");
    std::thread::sleep(RELOAD);
    for (number, (password, expected)) in
        [("secret\n", ""), ("wrong", "password authentication failed")].iter().enumerate()
    {
        let file = at.join(format!("password-{number}"));
        std::fs::write(&file, password).expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("mode");
        let connected = connect("localhost", &at.join("ca.pem"), Some(file));
        assert_eq!(connected.is_ok(), expected.is_empty());
        assert!(connected.err().is_none_or(|fault| fault.to_string().contains(expected)));
    }
    // From now on, the server asks for a client certificate.
    tamper_at(
        &admin,
        &format!("COPY (VALUES ('hostssl all all all cert'), ('local all all trust')) TO '{}'", rules.display()),
    );
    tamper_at(&admin, "SELECT pg_reload_conf()");
    std::thread::sleep(RELOAD);
    let certified = |role: &str, pair: Option<(PathBuf, PathBuf)>| {
        let (certificate, key) = pair.unzip();
        let (node, ca) = ("one".parse().expect("name"), Some(at.join("ca.pem")));
        let table = ServerTable { node, password_file: None, ca, certificate, key, replicas: Replicas::None };
        let url = format!("postgres://{role}@localhost:{port}/boundary?schema=public");
        ServerSettings::new(&url, &table)
            .and_then(|settings| Link::open(&settings, ""))
            .err()
            .map(|fault| fault.to_string())
    };
    let pair = || Some((at.join("c.pem"), at.join("c.key")));
    assert_eq!(certified("service", pair()), None);
    for (role, pair, expected) in [
        ("service", None, "connection requires a valid client certificate"),
        ("owner", pair(), "certificate authentication failed for user \"owner\""),
        ("service", Some((at.join("c.pem"), at.join("other.key"))), "check the files in [postgres]"),
    ] {
        let refused = certified(role, pair).expect("refused");
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_commit_that_no_replica_confirmed_is_unknown_until_a_later_commit_is_confirmed() {
    if server().is_none() {
        return;
    }
    let server = start("-sync", "", 5432).expect("server");
    let settings = server.schema();
    let admin = server.settings_of("super", "boundary", &settings.schema, "admin");
    let mut careful = open(&settings);
    careful.settings.replicas = Replicas::Synchronous;
    let fault = careful.begin(0, &Questions::default()).expect_err("no replica").to_string();
    assert!(fault.contains("`synchronous_standby_names` of the server is empty"), "{fault}");
    drop(careful);
    let mut store = open(&settings);
    begin(&mut store, 0);
    tamper_at(&admin, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    tamper_at(&admin, "SELECT pg_reload_conf()");
    std::thread::sleep(RELOAD);
    // Somebody cancels each wait for the replica. The server then commits with a warning.
    let (stop, stopped) = mpsc::channel::<()>();
    let cancelling = {
        let admin = admin.clone();
        std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(100)).is_err() {
                tamper_at(&admin, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
            }
        })
    };
    assert!(matches!(store.commit(&leaves(0, 1)), Commit::Unknown));
    let fault = store.settle().expect_err("not confirmed");
    assert!(
        matches!(&fault, StoreFault::Unreachable { message } if message.contains("synchronous replication")),
        "{fault}"
    );
    let (mut said, fresh) = (Vec::new(), server.settings_of("owner", "boundary", "fresh", "one"));
    let migrated = schema::migrate(&fresh, "service", &mut |line| said.push(line.to_owned()));
    assert!(said.len() == 1 && said[0].contains("no replica is connected"), "{said:?}");
    assert!(migrated.expect_err("not confirmed").to_string().contains("was created, but the server reported"));
    stop.send(()).expect("sent");
    cancelling.join().expect("joined");
    tamper_at(&admin, "ALTER SYSTEM RESET synchronous_standby_names");
    tamper_at(&admin, "SELECT pg_reload_conf()");
    std::thread::sleep(RELOAD);
    assert!(store.settle().expect("settled"));
}

/// Passes on the bytes of one direction, each with the same delay.
fn delayed(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (send, arrived) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (at, bytes) in arrived {
            std::thread::sleep((at + delay).saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let _ = send.send((Instant::now(), buffer[..count].to_vec()));
        }
    });
}

#[test]
fn a_batch_takes_two_round_trips() {
    const DELAY: Duration = Duration::from_millis(50);
    let Some(server) = server() else { return };
    let schema = server.schema().schema;
    let directory = tempfile::tempdir().expect("directory");
    let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("socket");
    let real = server.directory.join(".s.PGSQL.5432");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = UnixStream::connect(&real).expect("server");
            delayed(client.try_clone().expect("socket"), server.try_clone().expect("socket"), DELAY);
            delayed(server, client, DELAY);
        }
    });
    let settings = server.settings_at(directory.path(), "service", "boundary", &schema, "one");
    let (mut store, reads) = postgres::open(settings, None).expect("opened");
    // A busy machine adds time, so the fastest of some attempts counts.
    let fastest = |work: &mut dyn FnMut()| {
        let times = (0..5).map(|_| {
            let begun = Instant::now();
            work();
            // A delay of each direction is half a round trip.
            begun.elapsed().as_secs_f64() / (2.0 * DELAY.as_secs_f64())
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let mut size = 0;
    let trips = fastest(&mut || {
        store.begin(size, &Questions::default()).expect("begun");
        // 200 leaves do not fit into one write to the socket.
        let rows = (0..200).map(|_| leaves(0, 1).leaves.remove(0)).collect();
        let batch = Writes { first: size, leaves: rows, ..Writes::default() };
        assert!(matches!(store.commit(&batch), Commit::Done(hashes) if hashes.len() == 200));
        size += 200;
    });
    assert!((2.0..3.0).contains(&trips), "{trips} round trips for a batch");
    let trips = fastest(&mut || assert!(reads.leaves(0..9).expect("read").len() == 9));
    assert!((1.0..2.0).contains(&trips), "{trips} round trips for a read");
}
