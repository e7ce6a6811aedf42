//! TLS, replicas, and the number of round trips.

use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::{
    Commit, Link, Questions, Replicas, ServerSettings, ServerTable, Store as _, Writes,
    postgres::{
        self, schema,
        tests::{
            server,
            servers::{installation::SERVER_USER, proxy::Proxy},
            start, table,
            unknown_commits::{begin, leaves, open},
        },
    },
};

/// Makes an authority, a certificate for the name `localhost`, and a client certificate for the role `service`.
const CERTIFICATES: &str = "\
    k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' && \
    openssl req -x509 $k -keyout ca.key -out ca.pem -subj /CN=ca -days 2 && \
    openssl req -x509 $k -keyout other.key -out other.pem -subj /CN=other -days 2 && \
    openssl req $k -keyout s.key -out s.csr -subj /CN=localhost && echo subjectAltName=DNS:localhost >ext && \
    openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out s.pem && \
    openssl req $k -keyout c.key -out c.csr -subj /CN=service && \
    openssl x509 -req -in c.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out c.pem && chmod 600 *.key";

/// Time in which a server reads its changed settings, also on a busy machine.
const RELOAD: Duration = Duration::from_secs(1);

#[test]
fn the_certificate_and_the_name_of_the_server_are_checked() {
    if server().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let at = directory.path();
    let made = Command::new("sh")
        .args(["-c", CERTIFICATES])
        .current_dir(at)
        .output()
        .expect("sh");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    if rustix::process::geteuid().is_root() {
        for path in [at, &at.join("s.key")] {
            chown(path, Some(SERVER_USER), Some(SERVER_USER)).expect("owner");
        }
    }
    let server = start(&format!(
        "ssl = on\nssl_cert_file = '{0}/s.pem'\nssl_key_file = '{0}/s.key'\nssl_ca_file = '{0}/ca.pem'",
        at.display()
    ));
    let server = server.expect("server");
    let connect = |role: &str, host: &str, table: ServerTable| {
        let url = format!(
            "postgres://{role}@{host}:{}/countersign?schema=public",
            server.address().port()
        );
        ServerSettings::new(&url, &table).and_then(|settings| Link::open(&settings, ""))
    };
    let with_ca = |name: &str| ServerTable {
        ca: Some(at.join(name)),
        ..table("one")
    };
    let refused = |role: &str, host: &str, table: ServerTable, expected: &str| {
        let message = connect(role, host, table)
            .err()
            .expect("refused")
            .to_string();
        assert!(message.contains(expected), "{message}");
    };
    let encrypted = connect("service", "localhost", with_ca("ca.pem")).expect("connected");
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(
        encrypted
            .value::<bool>("testing", sql, Vec::new())
            .expect("a value")
    );
    refused(
        "service",
        "localhost",
        with_ca("other.pem"),
        "UnknownIssuer",
    );
    refused(
        "service",
        "127.0.0.1",
        with_ca("ca.pem"),
        "not valid for name",
    );
    // Without `ca`, the authorities of the system decide, also on a loopback address.
    let asked = format!(
        "postgres://service@localhost:{}/countersign?sslmode=verify-full",
        server.address().port()
    );
    let refusal =
        ServerSettings::new(&asked, &table("one")).and_then(|settings| Link::open(&settings, ""));
    let message = refusal.err().expect("refused").to_string();
    assert!(message.contains("UnknownIssuer"), "{message}");
    let change_rules = |rules: &str| {
        std::fs::write(
            server.data().join("pg_hba.conf"),
            format!("local all all trust\n{rules}\n"),
        )
        .expect("written");
        server.psql("SELECT pg_reload_conf()");
        std::thread::sleep(RELOAD);
    };
    // From now on, the server asks for a password.
    server.psql("ALTER ROLE service PASSWORD 'secret'");
    change_rules("hostssl all all all scram-sha-256");
    let with_password = |name: &str, password: &str| {
        let file = at.join(name);
        std::fs::write(&file, password).expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("mode");
        ServerTable {
            password_file: Some(file),
            ..with_ca("ca.pem")
        }
    };
    drop(connect("service", "localhost", with_password("right", "secret\n")).expect("connected"));
    refused(
        "service",
        "localhost",
        with_password("wrong", "wrong"),
        "password authentication failed",
    );
    // From now on, the server asks for a client certificate.
    change_rules("hostssl all all all cert");
    let with_pair = |key: &str| {
        let (certificate, key) = (Some(at.join("c.pem")), Some(at.join(key)));
        ServerTable {
            certificate,
            key,
            ..with_ca("ca.pem")
        }
    };
    drop(connect("service", "localhost", with_pair("c.key")).expect("connected"));
    refused(
        "service",
        "localhost",
        with_ca("ca.pem"),
        "connection requires a valid client certificate",
    );
    refused(
        "owner",
        "localhost",
        with_pair("c.key"),
        "certificate authentication failed for user \"owner\"",
    );
    refused(
        "service",
        "localhost",
        with_pair("other.key"),
        "check the files in [postgres]",
    );
}

#[test]
fn a_commit_that_no_replica_confirmed_is_unknown_until_a_later_commit_is_confirmed() {
    if server().is_none() {
        return;
    }
    let server = &start("").expect("server");
    let settings = server.new_schema();
    let mut careful = open(&settings);
    careful.settings.replicas = Replicas::Synchronous;
    let fault = careful
        .begin(0, &Questions::default())
        .expect_err("no replica")
        .to_string();
    assert!(
        fault.contains("`synchronous_standby_names` of the server is empty"),
        "{fault}"
    );
    drop(careful);
    let mut store = open(&settings);
    begin(&mut store, 0);
    server.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
    std::thread::sleep(RELOAD);
    // Somebody cancels each wait for the replica. The server then commits with a warning.
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(100)) {
                server.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
            }
        });
        assert!(matches!(store.commit(&leaves(0, 1)), Commit::Unknown));
        let fault = store.settle().expect_err("not confirmed");
        assert!(
            fault.is_unreachable() && fault.to_string().contains("synchronous replication"),
            "{fault}"
        );
        let (mut said, fresh) = (Vec::new(), server.settings_of("owner", "fresh", "one"));
        let migrated = schema::migrate(&fresh, "service", &mut |line| said.push(line.to_owned()));
        assert!(
            said.len() == 1 && said[0].contains("no replica is connected"),
            "{said:?}"
        );
        assert!(
            migrated
                .expect_err("not confirmed")
                .to_string()
                .contains("was created, but the server reported")
        );
        drop(stop);
    });
    server.psql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()");
    std::thread::sleep(RELOAD);
    assert!(store.settle().expect("settled"));
}

#[test]
fn a_batch_takes_two_round_trips() {
    const DELAY: Duration = Duration::from_millis(100);
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.address());
    let url = format!(
        "{}?schema={}",
        proxy.url("service"),
        server.new_schema().schema
    );
    let settings = ServerSettings::new(&url, &table("one")).expect("settings");
    let (mut store, reads) = postgres::open(settings, None).expect("opened");
    proxy.delay(DELAY);
    // A busy machine adds time, so the fastest of some attempts counts.
    let fastest = |work: &mut dyn FnMut()| {
        let times = (0..5).map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed().as_secs_f64() / DELAY.as_secs_f64()
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let mut size = 0;
    let trips = fastest(&mut || {
        store.begin(size, &Questions::default()).expect("begun");
        // 200 leaves do not fit into one write to the socket.
        let rows = (0..200).map(|_| leaves(0, 1).leaves.remove(0)).collect();
        let batch = Writes {
            first: size,
            leaves: rows,
            ..Writes::default()
        };
        assert!(matches!(store.commit(&batch), Commit::Done(hashes) if hashes.len() == 200));
        size += 200;
    });
    assert!(
        (2.0..3.0).contains(&trips),
        "{trips} round trips for a batch"
    );
    let trips = fastest(&mut || assert!(reads.leaves(0..9).expect("read").len() == 9));
    assert!(
        (1.0..2.0).contains(&trips),
        "{trips} round trips for a read"
    );
}
