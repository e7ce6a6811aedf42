//! Tests of the configuration.
use std::path::Path;

use super::*;
use crate::node::toml_tree;
use boundary::SecretSource;
use documents::ConfiguredLimits;

fn read(text: &str) -> Result<Config, Vec<String>> {
    Config::read(Path::new("/c/countersign.toml"), text).map_err(|problems| {
        problems
            .list()
            .iter()
            .map(|problem| format!("{}:{}: {}", problem.line, problem.column, problem.message))
            .collect()
    })
}

#[test]
fn all_errors_of_a_configuration_are_reported_with_their_places() {
    let found = read(concat!(
        "name = \"Big Name\"\nlisten = \"localhost\"\nrunbook = [\"a\"]\ndatabase = \"postgres://db/x\"\n",
        "[limits]\nmemory = \"2TB\"\nruns = 0\ncolour = 1\n[limits.maximum]\ntimeout = \"1m\"\n[sandbox]\nlevel = \"strct\"\n",
        "[tls]\ncert = \"a.pem\"\n[retention]\noutputs = \"soon\"\n"
    ))
    .expect_err("errors");
    let all = found.join("\n");
    for (place, words) in [
        ("1:8: ", "Big Name"),
        ("2:10: ", "is not an address with a port"),
        ("3:1: ", "did you mean \"runbooks\"?"),
        ("4:12: ", "a PostgreSQL database needs the table [postgres]"),
        ("6:10: ", "256MiB"),
        ("7:8: ", "from 1 to"),
        ("8:1: ", "unknown key in [limits]"),
        ("10:11: ", "above its maximum"),
        ("12:9: ", "did you mean \"strict\"?"),
        ("13:1: ", "[tls] has no `certificate`"),
        ("13:1: ", "[tls] has no `key`"),
        ("14:1: ", "unknown key in [tls]"),
        (
            "16:11: ",
            "\"soon\" is no duration up to 100 years: write 90s, 30m, 1h30m, 24h or 7d",
        ),
    ] {
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(place) && line.contains(words)),
            "{place}{words}\n{all}"
        );
    }
    assert_eq!(found.len(), 13, "{all}");
}

#[test]
fn each_secret_has_one_source_and_names_its_steps() {
    let config = read(concat!(
        "name = \"a\"\n[secrets.tls]\ncredential = \"tls-key\"\nsteps = [\"nginx:*\"]\n",
        "[secrets.\"aws.KEY\"]\nenv = \"KEY\"\nsteps = [\"a:b\"]\n",
        "[secrets.db]\nfile = \"s/db\"\nsteps = [\"deploy/**\", \"x:y\"]\n"
    ))
    .expect("a configuration");
    let names: Vec<&str> = config
        .secrets
        .iter()
        .map(|secret| secret.name.as_str())
        .collect();
    assert_eq!(names, ["aws.KEY", "db", "tls"]);
    assert_eq!(
        config.secrets[1].source,
        SecretSource::File("/c/s/db".into())
    );
    assert_eq!(
        config.secrets[2].source,
        SecretSource::Credential("tls-key".to_owned())
    );
    assert_eq!(config.secrets[1].steps, ["deploy/**", "x:y"]);
    for (table, words) in [
        (
            "[secrets.db]\nsteps = [\"a:b\"]",
            "2:10: [secrets.db] needs exactly one of `file`, `env` and `credential`",
        ),
        (
            "[secrets.db]\nfile = \"a\"\nenv = \"B\"\nsteps = [\"a:b\"]",
            "needs exactly one of",
        ),
        ("[secrets.db]\nfile = \"a\"", "names no step"),
        ("[secrets.db]\nfile = \"a\"\nsteps = []", "names no step"),
        ("[secrets.db]\nfile = \"a\"\nsteps = [\"[\"]", "pattern"),
        (
            "[secrets.db]\nfile = \"\"\nsteps = [\"a:b\"]",
            "`file` of [secrets.db] is not a valid",
        ),
        (
            "[secrets.db]\ncredential = \"../a\"\nsteps = [\"a:b\"]",
            "`credential` of [secrets.db] is not a valid",
        ),
        (
            "[secrets.db]\nfiles = \"a\"\nsteps = [\"a:b\"]",
            "did you mean \"file\"?",
        ),
        (
            "[secrets.\"a b\"]\nfile = \"a\"\nsteps = [\"a:b\"]",
            "a secret's name",
        ),
        ("[secrets]\ndb = \"file\"", "[secrets.db]"),
        ("secrets = true", "write [secrets.NAME] for each secret"),
    ] {
        let found = read(&format!("name = \"a\"\n{table}\n")).expect_err(table);
        assert!(
            found.iter().any(|line| line.contains(words)),
            "{table}: {found:?}"
        );
    }
}

#[test]
fn metrics_are_served_on_a_loopback_address_only_and_the_log_has_two_formats() {
    let config = read("name = \"a\"\n").expect("a configuration");
    assert_eq!(
        (config.metrics.listen, config.log.format),
        (None, LogFormat::Text)
    );
    let config =
        read("name = \"a\"\n[metrics]\nlisten = \"[::1]:9464\"\n[log]\nformat = \"json\"\n")
            .expect("read");
    assert_eq!(
        (config.metrics.listen, config.log.format),
        ("[::1]:9464".parse().ok(), LogFormat::Json)
    );
    for (table, words) in [
        (
            "[metrics]\nlisten = \"0.0.0.0:9464\"",
            "3:10: \"0.0.0.0:9464\" is not a loopback address",
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1\"",
            "3:10: \"127.0.0.1\" is not an address with a port",
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1:7433\"",
            "3:10: \"127.0.0.1:7433\" is also the address of the HTTP interface",
        ),
        (
            "[metrics]\nlistens = \"127.0.0.1:1\"",
            "did you mean \"listen\"?",
        ),
        ("[metrics]\nlisten = 9464", "3:10: "),
        ("[log]\nformat = \"jsno\"", "did you mean \"json\"?"),
        ("log = \"json\"", "2:7: "),
    ] {
        let found = read(&format!("name = \"a\"\n{table}\n")).expect_err(table);
        assert!(
            found.iter().any(|line| line.contains(words)),
            "{table}: {found:?}"
        );
    }
}

#[test]
fn relative_paths_start_at_the_directory_of_the_configuration() {
    let config = read("name = \"a\"\ndata = \"d\"\nkey = \"/k.pem\"\nrunbooks = [\"x\", \"/y\"]\n")
        .expect("read");
    assert_eq!(
        config.database,
        Database::File("/c/d/countersign.db".into())
    );
    assert_eq!(config.socket(), Path::new("/c/d/control.sock"));
    assert_eq!(config.key, Path::new("/k.pem"));
    assert_eq!(config.runbooks, [PathBuf::from("/c/x"), "/y".into()]);
}

#[test]
fn a_configuration_with_the_level_off_or_without_a_name_is_refused() {
    assert!(read("name = \"a\"\n[sandbox]\nlevel = \"off\"\n").is_err());
    assert!(
        read("").is_err_and(|found| found.iter().any(|line| line.contains("`name` is missing")))
    );
}

#[test]
fn tls_needs_a_certificate_and_its_key() {
    let of = |table: &str| read(&format!("name = \"a\"\n[tls]\n{table}"));
    assert_eq!(of("").expect("an empty table").tls, None);
    let files = of("certificate = \"c.pem\"\nkey = \"/k.pem\"\n")
        .expect("a pair")
        .tls
        .expect("files");
    assert_eq!(
        (files.certificate, files.key),
        ("/c/c.pem".into(), "/k.pem".into())
    );
    assert_eq!(files.client_ca, None);
    for (table, words) in [
        ("certificate = \"c.pem\"", "2:1: [tls] has no `key`"),
        ("key = \"k.pem\"", "2:1: [tls] has no `certificate`"),
        ("client_ca = \"ca.pem\"", "2:1: [tls] has no `certificate`"),
        (
            "certificate = \"\"\nkey = \"k\"",
            "3:15: `certificate` is not a valid path",
        ),
        ("certificate = \"c\"\nkey = 1", "4:7: "),
        ("certificates = \"c\"", "did you mean \"certificate\"?"),
    ] {
        let found = of(table).expect_err(table);
        assert!(
            found.iter().any(|line| line.contains(words)),
            "{table}: {found:?}"
        );
    }
    assert!(read("name = \"a\"\ntls = true\n").is_err());
    assert!(read("name = \"a\"\ninsecure_behind_proxy = 1\n").is_err());
}

#[test]
fn values_of_a_wrong_type_never_cause_a_panic() {
    for key in Config::KEYS {
        for value in [
            "1",
            "true",
            "\"\"",
            "[]",
            "[1]",
            "{}",
            "{a = 1}",
            "\"\\u0000\"",
        ] {
            let _ = read(&format!("name = \"a\"\n{key} = {value}\n"));
        }
    }
}

#[test]
fn the_template_contains_every_key_and_its_default_value() {
    let path = Path::new("/etc/countersign/countersign.toml");
    let (tree, flaws) = toml_tree::read(&template("prod-1"));
    assert_eq!(flaws, []);
    let limits = tree.value("limits").expect("a table");
    for (table, keys) in [
        (&tree, Config::KEYS),
        (limits, LimitsTable::KEYS),
        (limits, RunLimits::KEYS),
        (limits.value("maximum").expect("a table"), RunLimits::KEYS),
        (tree.value("sandbox").expect("a table"), SandboxTable::KEYS),
        (
            tree.value("retention").expect("a table"),
            RetentionTable::KEYS,
        ),
        (tree.value("log").expect("a table"), LogTable::KEYS),
    ] {
        // A target and a proxy have no default, so their keys are comments.
        for key in keys.iter().filter(|key| !["notify", "proxy"].contains(key)) {
            assert!(table.value(key).is_some(), "{key}");
        }
    }
    let written = Config::read(path, &template("prod-1")).expect("a configuration");
    assert_eq!(
        Config::read(path, "name = \"prod-1\"\n"),
        Ok(written.clone())
    );
    let limits = ConfiguredLimits {
        default: written.limits.of_a_run,
        maximum: written.limits.maximum,
    };
    assert_eq!(limits, ConfiguredLimits::default());
    assert_eq!(written.sandbox.level, Level::Strict);
    assert_eq!(
        written.database,
        Database::File("/etc/countersign/boundary/countersign.db".into())
    );
}
