//! A connection pooler between the service and PostgreSQL.

use std::net::TcpStream;
use std::process::Stdio;

use crate::support::host::not_run;
use crate::support::nodes::node;
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::until;

const PROGRAM: &str = "/usr/sbin/pgbouncer";

#[test]
fn pgbouncer_is_refused_by_name_in_each_mode() {
    const TEST: &str = "PgBouncer is refused";
    if !std::path::Path::new(PROGRAM).is_file() {
        return not_run(
            TEST,
            "there is no /usr/sbin/pgbouncer here (package pgbouncer)",
        );
    }
    let Some(server) = Cluster::start(TEST, "") else {
        return;
    };
    let mut one = node(&server, "one", |_| {});
    server.migrate(&one);
    let directory = server.socket_directory();
    let (users, file) = (directory.join("users"), directory.join("pgbouncer.ini"));
    std::fs::write(&users, "\"service\" \"\"\n").expect("written");
    // PgBouncer refuses the options of a session, or drops them if it is told to ignore them.
    for (mode, more) in [
        ("transaction", ""),
        ("transaction", "ignore_startup_parameters = options"),
        ("session", ""),
        ("session", "ignore_startup_parameters = options"),
    ] {
        let (port, of_server) = (server.free_port(), server.address().port());
        let settings = format!(
            "[databases]\ncountersign = host={} port={of_server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n{more}\n",
            directory.display(),
            users.display()
        );
        std::fs::write(&file, settings).expect("written");
        let mut pooler = server.client(PROGRAM, "service");
        let mut pooler = pooler
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer");
        until("the pooler listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let url = format!("postgres://service@127.0.0.1:{port}/countersign");
        one.write(
            "b/countersign.toml",
            &format!("name = \"prod\"\n{}", server.config(&url, "one")),
        );
        let started = one.try_start();
        pooler.kill().expect("killed");
        pooler.wait().expect("ended");
        let refused = started.expect_err("refused");
        // Waiting would not help: the URL must change.
        assert!(!refused.contains("not active"), "{mode} {more}: {refused}");
        let names = refused.contains("connection pooler")
            && refused.contains("name the server itself in the URL");
        assert!(names, "{mode} {more}: {refused}");
    }
    assert_eq!(server.psql("SELECT count(*) FROM countersign.leaf"), "0");
}
