//! Settings, servers and schemas that are refused.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::{
    Link, Replicas, ServerSettings, ServerTable, StoreFault, StoreResult,
    postgres::{
        self, durability, reads, schema,
        tests::{server, start, table, tamper},
    },
};

fn message<T>(result: StoreResult<T>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(StoreFault::Unusable { message } | StoreFault::Unreachable { message }) => message,
        Err(fault) => panic!("{fault:?}"),
    }
}

#[test]
fn an_unsafe_or_unknown_database_url_is_refused() {
    let cases = [
        (
            "postgres://service:secret@localhost/boundary",
            "contains a password",
        ),
        (
            "postgres://service@db-1/boundary?sslmode=disable",
            "switches TLS",
        ),
        (
            "postgres://service@db-1/boundary?sslmode=prefer",
            "switches TLS",
        ),
        (
            "postgres://service@localhost/boundary?target=x",
            "parameter `target`",
        ),
        (
            "postgres://service@localhost/boundary?schema=A-B",
            "schema name",
        ),
        ("postgres://service@localhost", "no database name"),
        ("postgres://localhost/boundary", "no user"),
        ("postgres:///boundary?user=x", "parameter `user`"),
        ("mysql://service@localhost/boundary", "cannot be read"),
        (
            "postgres://service@%2Fvar%2Frun,db-1/boundary",
            "only one kind",
        ),
        (
            "postgres://service@%2Fvar%2Frun/boundary?sslmode=verify-full",
            "a Unix socket has no TLS",
        ),
        (
            "postgres://service@localhost/boundary?sslmode=yes",
            "parameter `sslmode`, or a value of it",
        ),
    ];
    for (url, expected) in cases {
        let found = message(ServerSettings::new(url, &table("one")));
        assert!(found.contains(expected), "{url}: {found}");
    }
    let half = ServerTable {
        certificate: Some(PathBuf::from("/nowhere")),
        ..table("one")
    };
    assert!(
        message(ServerSettings::new(
            "postgres://service@db-1/boundary",
            &half
        ))
        .contains("only one of")
    );
    let gone = ServerTable {
        password_file: Some(PathBuf::from("/nowhere")),
        ..table("one")
    };
    assert!(
        message(ServerSettings::new(
            "postgres://service@localhost/boundary",
            &gone
        ))
        .contains("`password_file`")
    );
    let open = tempfile::NamedTempFile::new().expect("file");
    std::fs::set_permissions(open.path(), Permissions::from_mode(0o644)).expect("mode");
    let readable = ServerTable {
        password_file: Some(open.path().to_owned()),
        ..table("one")
    };
    let found = message(ServerSettings::new(
        "postgres://service@localhost/boundary",
        &readable,
    ));
    assert!(found.contains("run: chmod 600"), "{found}");
    let two = ServerSettings::new(
        "postgres://service@db-1:5433,db-2/boundary?schema=other",
        &table("one"),
    )
    .expect("settings");
    assert!(two.tls.is_some() && two.schema == "other" && two.place() == "boundary at db-1,db-2");
    let near = ServerSettings::new("postgres://service@127.0.0.1/boundary", &table("one"))
        .expect("settings");
    assert!(near.tls.is_none() && near.schema == "countersign");
    for (mode, encrypted) in [
        ("require", true),
        ("verify-ca", true),
        ("verify-full", true),
        ("prefer", false),
    ] {
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            let url = format!("postgres://service@{host}/boundary?sslmode={mode}");
            let settings = ServerSettings::new(&url, &table("one")).expect("settings");
            assert_eq!(settings.tls.is_some(), encrypted, "{url}");
        }
    }
}

#[test]
fn a_schema_that_somebody_changed_by_hand_is_refused() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    drop(postgres::open(settings.clone(), None).expect("opened"));
    let cases = [
        (
            "ALTER TABLE token DROP COLUMN revoked_at",
            "ALTER TABLE token ADD COLUMN revoked_at bigint",
            "revoked_at is missing",
        ),
        (
            "ALTER TABLE token ADD COLUMN more text",
            "ALTER TABLE token DROP COLUMN more",
            "token.more was added by hand",
        ),
        (
            "DROP INDEX proposal_due",
            "CREATE INDEX proposal_due ON proposal (expires_at) WHERE status BETWEEN 2 AND 3",
            "proposal_due is missing",
        ),
        (
            "CREATE INDEX more ON leaf (at)",
            "DROP INDEX more",
            "index more was added by hand",
        ),
        (
            "ALTER TABLE token ALTER COLUMN entry DROP NOT NULL",
            "ALTER TABLE token ALTER COLUMN entry SET NOT NULL",
            "token.entry has another definition",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON nonce FOR EACH ROW EXECUTE FUNCTION f()",
            "DROP TRIGGER t ON nonce",
            "trigger t was added by hand",
        ),
        (
            "ALTER TABLE leaf SET UNLOGGED",
            "ALTER TABLE leaf SET LOGGED",
            "is no ordinary table",
        ),
        (
            "ALTER TABLE leaf ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE leaf DISABLE ROW LEVEL SECURITY",
            "row security",
        ),
        (
            "CREATE RULE r AS ON INSERT TO nonce DO INSTEAD NOTHING",
            "DROP RULE r ON nonce",
            "has the rule `r`",
        ),
        (
            "GRANT UPDATE ON leaf TO service",
            "REVOKE UPDATE ON leaf FROM service",
            "has the right UPDATE",
        ),
        (
            "GRANT TRUNCATE ON batch TO service",
            "REVOKE TRUNCATE ON batch FROM service",
            "has the right TRUNCATE",
        ),
        (
            "ALTER TABLE node OWNER TO service",
            "ALTER TABLE node OWNER TO owner",
            "belongs to the role `service`",
        ),
        (
            "UPDATE meta SET schema = 1",
            "UPDATE meta SET schema = 2",
            "made before 1.0",
        ),
        (
            "UPDATE meta SET schema = 99",
            "UPDATE meta SET schema = 2",
            "has the number 99",
        ),
        (
            "CREATE TABLE kid () INHERITS (leaf)",
            "DROP TABLE kid",
            "no ordinary table",
        ),
    ];
    for (change, back, expected) in cases {
        tamper(&settings, change);
        let found = message(postgres::open(settings.clone(), None));
        assert!(found.contains(expected), "{change}: {found}");
        tamper(&settings, back);
    }
    drop(postgres::open(settings, None).expect("opened after all changes were undone"));
}

#[test]
fn an_empty_schema_and_a_wrong_role_are_refused_with_the_next_step() {
    let Some(server) = server() else { return };
    let empty = server.settings_of("service", "nothing_here", "one");
    let found = message(postgres::open(empty, None));
    assert!(
        found.contains("countersign store migrate 'postgres://OWNER@")
            && found.contains("?schema=nothing_here' --service-role service"),
        "{found}"
    );
    let settings = server.new_schema();
    let again = server.settings_of("owner", &settings.schema, "one");
    assert!(
        message(schema::migrate(&again, "service", &mut |_| {})).contains("already has tables")
    );
    let fresh = server.settings_of("owner", "fresh", "one");
    assert!(
        message(schema::migrate(&fresh, "nobody_here", &mut |_| {}))
            .contains("createuser nobody_here")
    );
    assert!(message(postgres::open(again, None)).contains("belongs to the role `owner`"));
    let found = message(postgres::open(
        server.settings_of("super", &settings.schema, "one"),
        None,
    ));
    assert!(found.contains("superuser `super`"), "{found}");
    let mut synchronous = settings;
    synchronous.replicas = Replicas::Synchronous;
    assert!(message(postgres::open(synchronous, None)).contains("no synchronous replica"));
}

#[test]
fn a_database_with_another_encoding_and_a_server_that_loses_commits_are_refused() {
    let Some(server) = server() else { return };
    server.psql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
    let ascii = ServerSettings::new(
        &format!("postgres://service@{}/ascii", server.address()),
        &table("one"),
    );
    assert!(
        message(postgres::open(ascii.expect("settings"), None))
            .contains("has the encoding SQL_ASCII")
    );
    for (setting, expected) in [
        ("full_page_writes = off", "has `full_page_writes` off"),
        ("fsync = off", "has `fsync` off"),
    ] {
        let other = start(setting).expect("a second server");
        let found = message(postgres::open(
            other.settings_of("service", "any", "one"),
            None,
        ));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_pooler_that_gives_two_connections_the_same_server_process_is_refused() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let [one, other] = [(), ()].map(|()| Link::open(&settings, "").expect("link"));
    durability::check_locks(&one, &other, 5).expect("two processes");
    assert!(message(durability::check_locks(&one, &one, 6)).contains("connection pooler"));
    // The locks of the first check are free again.
    durability::check_locks(&other, &one, 5).expect("two processes");
}

#[test]
fn a_standby_is_refused() {
    if server().is_none() {
        return;
    }
    let standby = start("").expect("server");
    standby.stop();
    std::fs::write(standby.data().join("standby.signal"), "").expect("written");
    standby.start_again();
    let settings = standby.settings_of("super", "any", "one");
    assert!(
        message(postgres::open(settings.clone(), None))
            .contains("is a standby, which takes no writes")
    );
    let fault = reads::readers(settings).seals().expect_err("a standby");
    assert!(
        fault.is_unreachable() && fault.to_string().contains("is a standby"),
        "{fault}"
    );
}
