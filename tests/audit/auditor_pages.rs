//! `countersign console --audit`: the auditor's pages through the real binary and over HTTP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::audit::grant_logs::digest_of;
use crate::audit::review_logs::{DAVE, ERIN, begin, emergency, end, log_with, observe};
use crate::audit::whole_logs::written;
use crate::history::grants::{OSCAR, PLAIN, grant, run};
use crate::history::{ALICE, BOB, Log};
use crate::support::pages::PageReply;
use crate::support::people::alice;
use crate::support::{self, World, assert_says, exited, said};

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/conformance/golden/valid/"
);
const ROSTER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/conformance/golden/valid/roster.json"
);
/// Bundles of the golden documents that `ROSTER` verifies, with different contents of one run.
const BUNDLES: [&str; 4] = [
    "bundle.json",
    "bundle-sshsig.json",
    "bundle-files.json",
    "bundle-session.json",
];
const HOSTILE: &str = "=cmd|'/c calc'!A1<script>document.title='owned'</script><img src=http://192.0.2.1/x>\u{202e}\t\"'&";

pub(super) fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(words)
        .env_remove("COUNTERSIGN_TRUST")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("COUNTERSIGN_KEY")
        .env_remove("COUNTERSIGN_TOKEN");
    command
}

/// The running pages, with a browser that was let in.
pub(super) struct Pages(pub(super) support::pages::Pages);

fn ask(host: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> PageReply {
    let port = host.rsplit(':').next().expect("a port");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("a connection");
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}{length}connection: close\r\n\r\n"
    )
    .expect("sent");
    // A server that refuses a large body may close the connection before the end.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    PageReply {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

impl Pages {
    pub(super) fn open(place: &Path, roster: Option<&str>) -> Self {
        let mut words = vec!["console", "--audit", place.to_str().expect("a path")];
        words.extend(roster.iter().flat_map(|roster| ["--roster", roster]));
        Self(support::pages::Pages::start(program(&words)))
    }

    pub(super) fn get(&self, path: &str) -> PageReply {
        let page = self.0.get(path);
        assert!(
            page.head
                .contains("content-security-policy: default-src 'none'"),
            "{}",
            page.head
        );
        page
    }

    /// Returns the cells of the table of decisions on this page.
    fn rows(&self, path: &str) -> Vec<Vec<String>> {
        let page = self.get(path);
        assert_eq!(page.status, 200, "{}", page.body);
        rows(&page.body, "<table class=\"decisions\">")
    }

    pub(super) fn form(&self) -> (String, String) {
        let page = self.get("/").body;
        let value = |name: &str| {
            let from = page
                .split(&format!("name=\"{name}\" value=\""))
                .nth(1)
                .expect("a hidden field");
            from.split('"').next().expect("a value").to_owned()
        };
        (value("form"), value("seal"))
    }

    pub(super) fn upload(
        &self,
        (number, seal): &(String, String),
        files: &[(&str, &[u8])],
    ) -> PageReply {
        let mut body = Vec::new();
        let mut part = |head: &str, bytes: &[u8]| {
            body.extend_from_slice(
                format!("--b7\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        };
        part("name=\"form\"", number.as_bytes());
        part("name=\"seal\"", seal.as_bytes());
        for (name, bytes) in files {
            part(&format!("name=\"files\"; filename=\"{name}\""), bytes);
        }
        body.extend_from_slice(b"--b7--\r\n");
        let headers = format!(
            "{}content-type: multipart/form-data; boundary=b7\r\n",
            self.0.headers()
        );
        ask(&self.0.host, "POST", "/upload", &headers, &body)
    }
}

/// Returns the cells of the rows below the head of a table.
fn rows(page: &str, table: &str) -> Vec<Vec<String>> {
    let Some((_, rest)) = page.split_once(table) else {
        return Vec::new();
    };
    let body = rest
        .split_once("<tbody>")
        .expect("a body")
        .1
        .split_once("</tbody>")
        .expect("its end")
        .0;
    let text = |cell: &str| {
        let cell = cell.split_once('>').expect("a tag").1;
        let cell = cell.rsplit_once("</t").map_or(cell, |(inside, _)| inside);
        let cell = cell
            .strip_prefix("<a")
            .map_or(cell, |link| link.split_once('>').expect("a link").1);
        let cell = cell.trim_end_matches("</a>");
        [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&amp;", "&"),
        ]
        .iter()
        .fold(cell.to_owned(), |text, (form, c)| text.replace(form, c))
    };
    let cells = |row: &str| {
        let row = row.trim_end().trim_end_matches("</tr>");
        row.replace("<th", "<td")
            .split("<td")
            .skip(1)
            .map(text)
            .collect()
    };
    body.split("<tr>").skip(1).map(cells).collect()
}

/// Cells by the names of their columns.
fn cell<'r>(row: &'r [String], column: &str) -> &'r str {
    let columns = [
        "Step",
        "Parameters",
        "Proposed by",
        "Approved by",
        "Grant",
        "Time",
        "Outcome",
        "Open, reviews",
        "Not checked",
        "Verdict",
        "Evidence",
    ];
    &row[columns
        .iter()
        .position(|name| *name == column)
        .expect("a column")]
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(GOLDEN).join(name)).expect(name)
}

fn trusted(log: &Log) -> String {
    log.roster_digest(1).to_string()
}

/// A log with a verified run, a run whose end nobody saw, a run without a receipt and a denial, all with hostile texts.
fn hostile_log() -> Log {
    let mut log = Log::with(|sealed| {
        sealed.steps[0]["params"] = json!({"properties": {"host": {"type": "string"}}, "required": ["host"], "type": "object"});
    });
    let hostile = |predicate: &mut serde_json::Value| {
        predicate["params"]["host"] = json!(HOSTILE);
        predicate["reason"] = json!(HOSTILE);
    };
    let one = log.approved_but("nginx:restart", 10, &[ALICE], hostile);
    let place = log.consume(10, &[&one]);
    log.receipt(place, &one);
    let unknown = log.approved_but("nginx:restart", 20, &[BOB], hostile);
    let place = log.consume(20, &[&unknown]);
    log.receipt_but(place, &unknown, |receipt| {
        receipt["outcome"] = json!({"status": "unknown"});
        receipt["started_at"] = receipt["finished_at"].clone();
        receipt["duration_ms"] = json!(0);
    });
    log.run("two:go", 30, &[ALICE, BOB]);
    let denied = log.approved("two:go", 40, &[]);
    log.deny_but(&denied, ALICE, |denial| denial["reason"] = json!(HOSTILE));
    let open = log.approved("nginx:restart", 50, &[ALICE]);
    log.consume(50, &[&open]);
    log
}

#[test]
fn two_hundred_bundles_a_broken_bundle_and_other_files_are_one_table() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("2026/november")).unwrap();
    for at in 0..200 {
        let name = format!("2026/november/run-{at:03}.json");
        fs::write(
            folder.path().join(name),
            golden(BUNDLES[at % BUNDLES.len()]),
        )
        .unwrap();
    }
    let whole = golden("bundle.json");
    let mut changed = whole.clone();
    let at = whole
        .windows(13)
        .position(|part| part == b"\"consumption\"")
        .unwrap()
        + 60;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    fs::write(folder.path().join("changed.json"), changed).unwrap();
    fs::write(
        folder.path().join("cut.bundle.json"),
        &whole[..whole.len() / 2],
    )
    .unwrap();
    fs::write(folder.path().join("<b>notes.txt"), "not a bundle").unwrap();
    fs::write(folder.path().join("roster.json"), golden("roster.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.json")).unwrap();
    fs::create_dir(folder.path().join("mirror")).unwrap();
    fs::write(folder.path().join("mirror/checkpoint"), "x").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.path().join("pipe.json"))
            .status()
            .unwrap()
            .success()
    );
    let pages = Pages::open(folder.path(), Some(ROSTER));
    let first = pages.get("/").body;
    assert!(
        first.contains("202 of 202 rows, here rows 1 to 200."),
        "{first}"
    );
    assert!(
        first.contains("200 of 202 verified")
            && first.contains("201 rows belong to the same run rcp_"),
        "{first}"
    );
    assert!(first.contains("5 files are no bundles"), "{first}");
    for (name, why) in [
        (
            "&lt;b&gt;notes.txt",
            "no bundle: the file does not contain a receipt",
        ),
        (
            "roster.json",
            "roster.json is a roster and no bundle: give a roster with --roster",
        ),
        ("link.json", "a link, or no regular file"),
        ("pipe.json", "a link, or no regular file"),
        ("mirror", "a copy of a log"),
    ] {
        assert!(
            first.contains(&format!("<strong>{name}</strong>: {why}")),
            "{name}: {first}"
        );
    }
    let rows = pages.rows("/");
    let failed: Vec<&Vec<String>> = rows
        .iter()
        .filter(|row| cell(row, "Verdict").starts_with("NOT VERIFIED: "))
        .collect();
    assert_eq!(failed.len(), 2, "{rows:?}");
    assert!(
        failed
            .iter()
            .any(|row| cell(row, "Evidence") == "cut.bundle.json"
                && cell(row, "Verdict").contains("bundle: "))
    );
    assert_eq!(cell(failed[0], "Step"), "(not established)");
    assert_eq!(pages.rows("/?page=2").len(), 2);
    assert_eq!(pages.rows("/?verdict=fails").len(), 2);
    assert_eq!(pages.rows("/?page=99").len(), 2, "the last page");
    let good = rows
        .iter()
        .find(|row| cell(row, "Verdict") == "verified")
        .unwrap();
    assert_eq!(
        (cell(good, "Approved by"), cell(good, "Outcome")),
        ("alice, bob", "succeeded, exit code 0"),
        "{good:?}"
    );
    assert!(
        cell(good, "Not checked").contains("seal-in-force"),
        "{good:?}"
    );
    for (query, all) in [
        ("step=nginx:*", true),
        ("step=no:*", false),
        ("person=bob", true),
        ("person=bo", true),
        ("person=eve", false),
    ] {
        assert_eq!(
            !pages.rows(&format!("/?{query}")).is_empty(),
            all,
            "{query}"
        );
    }
    assert!(
        pages.rows("/?until=2000-01-01").is_empty()
            && pages.rows("/?since=2000-01-01&verdict=holds").len() == 200
    );
    let wrong = pages.get("/?since=%3Cscript%3E");
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.body.contains("the filter since can&#39;t be used")
            || wrong.body.contains("the filter since can't be used")
    );
    assert!(!wrong.body.contains("<script>"), "{}", wrong.body);
}

#[test]
fn several_places_are_one_table_with_the_boundary_of_each_row() {
    let (log, all) = (hostile_log(), tempfile::tempdir().unwrap());
    let [mirrors, bundles, empty] = ["mirrors", "bundles", "empty"].map(|name| {
        fs::create_dir(all.path().join(name)).unwrap();
        all.path().join(name).to_str().unwrap().to_owned()
    });
    for name in ["one", "two"] {
        fs::rename(written(&log).path(), Path::new(&mirrors).join(name)).unwrap();
    }
    let world = World::with(|setup| setup.name = "cold".to_owned());
    let bundle = world.bundle(&world.run("plain:true", json!({}), &[&alice()]));
    fs::write(Path::new(&bundles).join("run.json"), bundle).unwrap();
    let cold = world.started["roster"].as_str().unwrap();
    let prod = trusted(&log);
    let words = |places: &[&str]| {
        let words = [
            &["console", "--roster", &prod, "--roster", cold, "--audit"],
            places,
        ]
        .concat();
        program(&words)
    };
    let pages = Pages(support::pages::Pages::start(words(&[&mirrors, &bundles])));
    let page = pages.get("/").body;
    assert!(
        page.contains(">Boundary</th>")
            && page.contains("1 of 1 verified")
            && page.contains("; prod: "),
        "{page}"
    );
    let rows = pages.rows("/");
    let of = |name: &str| rows.iter().filter(|row| row[10] == name).count();
    assert_eq!(
        (of("prod"), of("cold"), rows.len()),
        (10, 1, 11),
        "{rows:?}"
    );
    assert_eq!(
        pages
            .get("/log")
            .body
            .matches("aria-label=\"Result of the audit\"")
            .count(),
        2
    );
    // Each row of a log has the findings of its own log.
    for row in 0..rows.len() {
        let page = pages.get(&format!("/row/{row}")).body;
        let name = if page.contains(">cold<") {
            "== Not checked =="
        } else {
            "== Findings =="
        };
        assert!(page.contains(name), "{row}: {page}");
    }
    assert!(
        pages
            .get("/decisions.csv")
            .body
            .contains("\"Verdict\",\"Boundary\",\"Evidence\"")
    );
    // The table of one place has no such column. A directory of logs means all logs in it.
    let alone = Pages(support::pages::Pages::start(words(&[&mirrors])));
    assert_eq!(alone.rows("/").len(), 10);
    assert!(!alone.get("/").body.contains(">Boundary</th>"));
    // A place in which nothing is found is an error, because the table would look complete without it.
    for (place, why) in [
        (&*empty, "has no bundle"),
        ("/nonexistent", "is no file and no directory"),
    ] {
        let mut console = words(&[&mirrors, place]);
        console.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut refused = support::KilledAtEnd(console.spawn().unwrap());
        support::wait_for("the end of the program", || {
            refused.try_wait().unwrap().is_some()
        });
        let mut said = String::new();
        let error = refused.stderr.as_mut().unwrap();
        error.read_to_string(&mut said).unwrap();
        assert_eq!(
            refused.try_wait().unwrap().unwrap().code(),
            Some(2),
            "{said}"
        );
        assert_says(&said, why);
    }
    // A log that can't be judged is named, and hides no row of the others.
    fs::remove_file(Path::new(&mirrors).join("two/checkpoint")).unwrap();
    let part = Pages(support::pages::Pages::start(words(&[&mirrors, &bundles])));
    let page = part.get("/").body;
    assert!(
        page.contains("Part of the evidence was not judged") && page.contains("mirrors/two: "),
        "{page}"
    );
    assert_eq!(part.rows("/").len(), 6);
}

#[test]
fn a_log_whose_later_entries_are_missing_leaves_no_row_in_the_table() {
    let (short, mut long) = (hostile_log(), Log::new());
    for at in 0..140 {
        long.run("nginx:restart", 10 + at, &[ALICE]);
    }
    let (sound, damaged) = (written(&short), written(&long));
    fs::remove_dir_all(damaged.path().join("tile/entries/001.p")).expect("a second tile");
    let [sound, damaged] = [&sound, &damaged].map(|log| log.path().to_str().expect("text"));
    let rosters = [trusted(&short), trusted(&long)];
    let [one, two] = [&*rosters[0], &*rosters[1]];
    let console = ["console", "--roster", one, "--roster", two, "--audit"];
    let console = program(&[&console[..], &[damaged, sound]].concat());
    let pages = Pages(support::pages::Pages::start(console));
    let page = pages.get("/").body;
    assert!(
        page.contains("Part of the evidence was not judged"),
        "{page}"
    );
    assert_eq!(pages.rows("/").len(), 5);
}

#[test]
fn the_program_says_how_many_bundles_it_has_read() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..65 {
        fs::write(
            folder.path().join(format!("{at}.json")),
            golden("bundle.json"),
        )
        .unwrap();
    }
    let (place, said) = (
        folder.path().to_str().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    let mut console = program(&["console", "--audit", place, "--roster", ROSTER]);
    console.stdout(Stdio::null()).stderr(said.reopen().unwrap());
    let _child = support::KilledAtEnd(console.spawn().unwrap());
    support::wait_for("the progress", || {
        fs::read_to_string(said.path())
            .unwrap()
            .contains("64 of 65 files")
    });
}

#[test]
fn the_page_of_a_bundle_has_the_words_of_verify() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    fs::write(&file, golden("bundle.json")).unwrap();
    let pages = Pages::open(&file, Some(ROSTER));
    let page = pages.get("/row/0").body;
    let shown = page
        .split_once("aria-label=\"All checks\">")
        .unwrap()
        .1
        .split_once("</pre>")
        .unwrap()
        .0;
    let shown = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(shown.to_owned(), |text, (form, c)| text.replace(form, c));
    let printed = program(&["verify", file.to_str().unwrap(), "--roster", ROSTER])
        .output()
        .unwrap();
    assert_eq!(
        shown.trim(),
        String::from_utf8_lossy(&printed.stdout).trim()
    );
    fs::write(&file, golden("bundle-files.json")).unwrap();
    assert_says(
        pages.get("/row/0").body,
        "the file has changed since the table was made",
    );
    fs::remove_file(&file).unwrap();
    assert!(pages.get("/row/0").body.contains("read"));
    assert_eq!(pages.get("/row/1").status, 404);
}

#[test]
fn a_log_export_is_one_table_with_the_open_runs_first() {
    let log = hostile_log();
    let directory = written(&log);
    let pages = Pages::open(directory.path(), Some(&trusted(&log)));
    let rows = pages.rows("/");
    let outcomes: Vec<&str> = rows.iter().map(|row| cell(row, "Outcome")).collect();
    assert_eq!(
        outcomes,
        [
            "no receipt yet",
            "unknown",
            "denied, so nothing ran",
            "succeeded, exit code 0",
            "succeeded, exit code 0"
        ],
        "{rows:?}"
    );
    assert_eq!(
        (cell(&rows[3], "Step"), cell(&rows[3], "Approved by")),
        ("two:go", "alice, bob")
    );
    assert_eq!(
        (cell(&rows[3], "Verdict"), cell(&rows[3], "Parameters")),
        ("stands", r#"{"host":"web-3"}"#)
    );
    assert_says(pages.get("/").body, "Still open: 2 runs");
    assert_eq!(pages.rows("/?outcome=unknown").len(), 1);
    assert_eq!(pages.rows("/?verdict=open").len(), 1);
    assert_eq!(pages.rows("/?person=alice&outcome=denied").len(), 1);
    let whole = pages.get("/log").body;
    let printed = program(&[
        "audit",
        directory.path().to_str().unwrap(),
        "--roster",
        &trusted(&log),
    ])
    .output()
    .unwrap();
    let verdict = said(&printed)
        .lines()
        .find(|line| line.starts_with("  verdict"))
        .expect("a verdict")
        .trim()
        .to_owned();
    assert!(whole.contains(&verdict), "{verdict}: {whole}");
    // Each row has a page with everything that the audit found.
    for row in 0..rows.len() {
        pages
            .get(&format!("/row/{row}"))
            .says(200, "== Findings ==");
    }
}

#[test]
fn grants_are_apart_from_runs_and_runs_state_their_grant_and_their_reviews() {
    let mut log = log_with(|_| {});
    let used = grant(&mut log, &[ALICE, BOB], |_| {});
    let (used_id, other_id) = (
        "grt_01a00000-0000-7000-8000-000000000001",
        "grt_01a00000-0000-7000-8000-000000000005",
    );
    run(&mut log, &used, &PLAIN);
    grant(&mut log, &[ALICE, BOB], |of| of["max_uses"] = json!(5));
    log.revoke(("grant", digest_of(&used)), OSCAR);
    let closed = emergency(&mut log, 20, &[ERIN]);
    log.review_but(&closed, &[BOB], |_| {});
    emergency(&mut log, 30, &[ERIN]);
    let unknown = |log: &mut Log, at, ends: &[(u8, &str)]| {
        let begun = begin(log, at, &[ALICE, BOB], false);
        let receipt = end(log, &begun, "unknown", |_| {});
        ends.iter()
            .for_each(|(by, word)| observe(log, &receipt, *by, word));
    };
    unknown(&mut log, 40, &[(DAVE, "partly")]);
    unknown(&mut log, 50, &[]);
    log.revoke(
        (
            "epoch",
            documents::sha256(log.boundary()["epoch"].as_str().unwrap().as_bytes()),
        ),
        ALICE,
    );
    let directory = written(&log);
    let pages = Pages::open(directory.path(), Some(&trusted(&log)));
    let all = pages.rows("/");
    let open = |row: &[String]| {
        (
            cell(row, "Outcome").to_owned(),
            cell(row, "Open, reviews").to_owned(),
        )
    };
    let words = |row: &Vec<String>| match open(row) {
        (outcome, _) if cell(row, "Step").starts_with('(') => {
            format!("{} | {outcome}", cell(row, "Approved by"))
        }
        (outcome, open) => format!(
            "{} | {} | {outcome} | {open}",
            cell(row, "Approved by"),
            cell(row, "Grant")
        ),
    };
    let shown: Vec<String> = all.iter().map(words).collect();
    let used_words = format!(
        "alice, bob | under standing grant {used_id}, use 1 of 3 | succeeded, exit code 0 | nothing"
    );
    let expected = [
        "alice, bob | none | unknown | not settled",
        "erin (EMERGENCY) | none | succeeded, exit code 0 | EMERGENCY: unreviewed",
        "approver alice revoked | frozen by approver alice",
        "alice, bob | none | unknown | settled as partly by dave",
        "dave reviewed | run accepted by dave, observed: partly",
        "bob reviewed | run accepted by bob",
        "erin (EMERGENCY) | none | succeeded, exit code 0 | EMERGENCY: reviewed by bob",
        &format!("operator oscar revoked | grant {used_id} revoked by operator oscar"),
        &used_words,
    ];
    let sorted = |mut all: Vec<String>| {
        (
            all.drain(2..).collect::<std::collections::BTreeSet<_>>(),
            all,
        )
    };
    assert_eq!(
        sorted(shown.clone()),
        sorted(expected.map(str::to_owned).to_vec()),
        "{shown:#?}"
    );
    for (query, count) in [
        ("open=yes", 2),
        ("open=no", 7),
        ("grant=grt_", 2),
        (&*format!("grant={used_id}&open=no&outcome=succeeded"), 1),
        ("outcome=revoked", 2),
        ("verdict=revoked&person=oscar", 1),
    ] {
        assert_eq!(pages.rows(&format!("/?{query}")).len(), count, "{query}");
    }
    assert_eq!(pages.get("/?open=perhaps").status, 400);
    // The grants are a table of their own, in the words of `countersign audit`.
    let page = pages.get("/").body;
    let grants = rows(&page, "<caption id=\"grants\">");
    let revoked = "revoked by operator oscar at entry 6";
    assert_eq!(grants.len(), 2, "{page}");
    assert_eq!((&*grants[0][0], &*grants[0][4]), (other_id, "0 of 5"));
    assert!(
        grants[0][6].starts_with("can't be used: the epoch "),
        "the log ends frozen: {}",
        grants[0][6]
    );
    assert_eq!(grants[1][..3], [used_id, "robot", "alice, bob"]);
    assert_eq!((&*grants[1][4], &*grants[1][6]), ("1 of 3", revoked));
    let printed = program(&[
        "audit",
        directory.path().to_str().unwrap(),
        "--roster",
        &trusted(&log),
        "--decisions",
    ]);
    let printed = said(&{ printed }.output().unwrap());
    for words in [
        format!("grant         {used_id} for robot, signed by alice, bob "),
        format!(": {revoked}"),
        format!("alice+bob (under standing grant {used_id}, use 1 of 3)"),
        "EMERGENCY: unreviewed".to_owned(),
    ] {
        assert!(printed.contains(&words), "{words}: {printed}");
    }
    let csv = pages.get("/grants.csv").body;
    assert!(
        csv.starts_with("\"Grant\",\"Grantee\",\"Signed by\"") && csv.lines().count() == 3,
        "{csv}"
    );
    for row in 0..all.len() {
        assert_says(pages.get(&format!("/row/{row}")).body, "== Findings ==");
    }
}

#[test]
fn a_log_that_does_not_stand_has_failed_rows_with_their_findings() {
    let mut log = Log::new();
    let good = log.run("nginx:restart", 10, &[ALICE]);
    let place = log.consume(20, &[&good]);
    log.receipt(place, &good);
    log.run("two:go", 30, &[ALICE]);
    let directory = written(&log);
    let pages = Pages::open(directory.path(), Some(&trusted(&log)));
    let failed = pages.rows("/?verdict=fails");
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(
        failed
            .iter()
            .any(|row| cell(row, "Verdict").contains("DOES NOT STAND: quorum")),
        "{failed:?}"
    );
    assert!(
        failed
            .iter()
            .any(|row| cell(row, "Verdict").contains("double-use")),
        "{failed:?}"
    );
    assert!(pages.get("/").body.contains("DOES NOT HOLD"));
    assert!((0..3).any(|row| {
        pages
            .get(&format!("/row/{row}"))
            .body
            .contains("item 0 of entry")
    }));
}

#[test]
fn the_log_of_a_boundary_is_read_with_a_token_and_without_a_key() {
    let world = World::new();
    world.run(
        "two:go",
        json!({"text": "hi"}),
        &[&alice(), &crate::support::people::bob()],
    );
    let roster = world.started["roster"].as_str().unwrap();
    for (token, found) in [(Some(world.reader.as_str()), true), (None, false)] {
        let mut command = world.program(&[
            "console",
            "--audit",
            &world.wire.url,
            "--url",
            &world.wire.url,
        ]);
        command
            .args(["--roster", roster])
            .env_remove("COUNTERSIGN_TOKEN");
        command.envs(token.map(|token| ("COUNTERSIGN_TOKEN", token)));
        let page = Pages(support::pages::Pages::start(command)).get("/").body;
        assert_eq!(page.contains(">two:go</a>"), found, "{page}");
        assert_eq!(
            page.contains("The evidence was not judged"),
            !found,
            "{page}"
        );
    }
}

#[test]
fn hostile_text_in_the_evidence_is_never_markup_and_never_a_formula() {
    let log = hostile_log();
    let directory = written(&log);
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "=1+1.bundle.json",
        "<script>x.bundle.json",
        "\u{202e}gpj.bundle.json",
        "@a\tb.bundle.json",
    ] {
        fs::write(folder.path().join(name), "{}").unwrap();
    }
    fs::write(folder.path().join("+<img src=x onerror=alert(1)>.txt"), "x").unwrap();
    for (place, roster) in [
        (directory.path(), trusted(&log)),
        (folder.path(), ROSTER.to_owned()),
    ] {
        let pages = Pages::open(place, Some(&roster));
        let mut texts: Vec<String> = ["/", "/log", "/?step=%3Cscript%3E%22&person=%22%3E%3Cimg%3E"]
            .map(|path| pages.get(path).body)
            .into();
        texts.extend((0..5).map(|row| pages.get(&format!("/row/{row}")).body));
        for text in &texts {
            assert!(
                !text.contains("<script>") && !text.contains("<img"),
                "{text}"
            );
            assert!(!text.contains(['\u{202e}', '\t']), "{text}");
            assert_eq!(
                text.matches("<script").count(),
                text.matches("<script src=\"/page.js\" defer></script>")
                    .count()
            );
        }
        let csv = pages.get("/decisions.csv");
        assert!(
            csv.head.contains("attachment; filename=\"decisions.csv\""),
            "{}",
            csv.head
        );
        let lines: Vec<&str> = csv.body.trim_end().split("\r\n").collect();
        assert!(
            lines.len() >= 5 && lines[0].starts_with("\"Step\",\"Parameters\""),
            "{}",
            csv.body
        );
        for cell in lines
            .iter()
            .flat_map(|line| line.trim_matches('"').split("\",\""))
        {
            assert!(
                !cell.starts_with(['=', '+', '-', '@', '\t', '\r']),
                "{cell}"
            );
        }
    }
    let pages = Pages::open(folder.path(), Some(ROSTER));
    assert!(
        pages
            .get("/decisions.csv")
            .body
            .contains("\"'=1+1.bundle.json\"")
    );
    assert!(
        pages
            .get("/decisions.csv?verdict=holds")
            .body
            .lines()
            .count()
            == 1
    );
}

#[test]
fn without_the_matching_roster_the_pages_say_what_to_do() {
    let log = hostile_log();
    let directory = written(&log);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.json"), golden("bundle.json")).unwrap();
    let other = format!("sha256:{}", "a".repeat(64));
    for place in [directory.path(), folder.path()] {
        let page = Pages::open(place, None).get("/").body;
        assert!(
            page.contains("You trust no roster") && page.contains("--roster FILE"),
            "{page}"
        );
        assert!(!page.contains("data-verdict=\"holds\""), "{page}");
    }
    let page = Pages::open(directory.path(), Some(&other)).get("/").body;
    assert!(
        page.contains("nothing was audited") && page.contains("The evidence was not judged"),
        "{page}"
    );
    let pages = Pages::open(folder.path(), Some(&trusted(&log)));
    let rows = pages.rows("/");
    assert_eq!(rows.len(), 1);
    assert!(
        !cell(&rows[0], "Verdict").starts_with("verified"),
        "{rows:?}"
    );
    for place in ["/nonexistent/bundle.json", "ftp://127.0.0.1/"] {
        exited(
            program(&["console", "--audit", place, "--roster", ROSTER])
                .output()
                .unwrap(),
            2,
        );
    }
}

#[test]
fn uploaded_bundles_are_verified_on_this_machine_and_one_form_works_once() {
    let folder = tempfile::tempdir().unwrap();
    let pages = Pages::open(folder.path(), Some(ROSTER));
    let form = pages.form();
    let bundle = golden("bundle.json");
    let answer = pages.upload(
        &form,
        &[
            ("run.json", &bundle),
            ("x%22<b>.txt", b"x"),
            ("cut.bundle.json", &bundle[..900]),
        ],
    );
    assert_eq!(answer.status, 303, "{}", answer.body);
    let page = pages.get("/").body;
    assert!(
        page.contains("The last upload added 2 rows. 1 of its files are no bundles."),
        "{page}"
    );
    assert!(
        page.contains("<strong>x&quot;&lt;b&gt;.txt</strong>: no bundle"),
        "{page}"
    );
    let rows = pages.rows("/?verdict=holds");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let checks = pages.get("/row/0").body;
    assert!(
        checks.contains("verdict       verified") && checks.contains("== Not checked =="),
        "{checks}"
    );
    assert!(pages.get("/row/1").body.contains("NOT VERIFIED"));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "an upload leaves no file"
    );
    // The same form, a form of another path, and a form without its seal.
    let again = pages.upload(&form, &[("run.json", &bundle)]);
    assert_eq!(again.status, 409, "{}", again.body);
    let (number, _) = pages.form();
    assert_eq!(
        pages
            .upload(&(number, "0".repeat(64)), &[("run.json", &bundle)])
            .status,
        409
    );
    assert_eq!(pages.rows("/").len(), 2);
    // More bytes than one upload may have.
    let large = vec![b'x'; (64 << 20) + 1];
    let refused = pages.upload(&pages.form(), &[("large.json", &large)]);
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("at most 64 MiB"), "{}", refused.body);
    let many: Vec<(&str, &[u8])> = vec![("a.json", b"x"); 2001];
    assert!(
        pages
            .upload(&pages.form(), &many)
            .body
            .contains("one form can have 2000 files")
    );
    assert_eq!(pages.rows("/").len(), 2);
    assert_eq!(
        pages
            .upload(&pages.form(), &[("again.json", &bundle)])
            .status,
        303,
        "the program still works"
    );
    assert!(
        pages
            .get("/")
            .body
            .contains("2 rows belong to the same run rcp_")
    );
}

#[test]
fn only_the_browser_that_was_let_in_reads_the_table_and_no_route_changes_the_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("run.json");
    fs::write(&file, golden("bundle.json")).unwrap();
    let pages = Pages::open(&file, Some(ROSTER));
    let (host, cookie) = (&pages.0.host, &pages.0.cookie);
    let get = |path: &str, headers: &str| ask(host, "GET", path, headers, b"");
    for path in ["/", "/row/0", "/log", "/decisions.csv"] {
        let without = get(path, &format!("host: {host}\r\n"));
        assert!(
            without.status == 401 && !without.body.contains("rcp_"),
            "{path}: {}",
            without.body
        );
        for other in ["127.0.0.1", "localhost", "evil.example"] {
            let port = host.rsplit(':').next().unwrap();
            let foreign = get(
                path,
                &format!("host: {other}:{port}\r\ncookie: {cookie}\r\n"),
            );
            assert!(
                foreign.status == 421 && !foreign.body.contains("rcp_"),
                "{path}: {}",
                foreign.body
            );
        }
        let own = get(path, &format!("host: {host}\r\ncookie: {cookie}\r\n"));
        for header in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "nosniff",
            "no-store",
        ] {
            assert!(own.head.contains(header), "{path}: {header}: {}", own.head);
        }
    }
    assert_eq!(
        get(&pages.0.link, &format!("host: {host}\r\n")).status,
        403,
        "the address works once"
    );
    let foreign = format!("host: {host}\r\ncookie: {cookie}\r\norigin: http://evil.example\r\n");
    assert_eq!(ask(host, "POST", "/upload", &foreign, b"x").status, 403);
    for path in ["/", "/row/0", "/sign", "/approve", "/fresh"] {
        assert!(
            [404, 405].contains(&ask(host, "POST", path, &pages.0.headers(), b"x").status),
            "{path}"
        );
    }
    assert_eq!(fs::read(&file).unwrap(), golden("bundle.json"));
}
