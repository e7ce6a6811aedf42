//! Later versions of the roster through the real binary: draft, sign, accept at a start, and every version that is not
//! accepted.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use crate::passkey::PasskeyPair;
use crate::support::people::{
    self, Key, alice, bob, boundary_key, carol, dora, foreign_line, mallory, next_roster, oscar,
    roster_version, sha256,
};
use crate::support::{
    self, DRAFT, SMALL, World, assert_says, bytes_of, exited, grants, id_of, runbook, said,
    said_at_exit,
};
use serde_json::{Value, json};

use crate::second;

/// An approver's key that is not in the first roster.
fn grace() -> Key {
    Key::of("grace", 40)
}

/// The next key of the boundary.
fn second_key() -> Key {
    Key::of("boundary", 41)
}

/// Operations of the tests on a world's roster.
pub(crate) trait Rosters {
    fn version(&self, version: u64) -> PathBuf;
    fn envelope_of(&self, version: u64) -> Value;
    fn to_sign(&self, version: u64) -> PathBuf;
    fn put_version(&self, version: u64, envelope: &Value);
    fn tool(&self, arguments: &[&str]) -> Output;
    fn must(&self, arguments: &[&str]) -> String;
    fn pem(&self, key: &Key) -> PathBuf;
    fn sign_version(&self, version: u64, key: &Key, pinned: &str) -> Output;
    fn ready(&self) -> Value;
    fn notes(&self) -> String;
    fn in_force(&self) -> u64;
    fn pinned(&self, version: u64) -> String;
}

impl Rosters for World {
    fn version(&self, version: u64) -> PathBuf {
        self.path(&format!("b/boundary/roster.d/{version}.json"))
    }

    /// Returns a version, without signatures if it is only a draft.
    fn envelope_of(&self, version: u64) -> Value {
        let read = |path| serde_json::from_slice::<Value>(&fs::read(path).expect("a file"));
        if self.version(version).exists() {
            return read(self.version(version)).expect("an envelope");
        }
        let draft = read(self.path(DRAFT)).expect("a draft");
        assert_eq!(draft["version"], version);
        people::wrap(&people::roster_statement(&draft), vec![])
    }

    /// Returns the file to sign: that of the version, or the draft.
    fn to_sign(&self, version: u64) -> PathBuf {
        let file = self.version(version);
        if file.exists() {
            file
        } else {
            self.path(DRAFT)
        }
    }

    fn put_version(&self, version: u64, envelope: &Value) {
        self.write(
            &format!("b/boundary/roster.d/{version}.json"),
            &envelope.to_string(),
        );
    }

    /// Runs `countersign roster …` on the boundary's host.
    fn tool(&self, arguments: &[&str]) -> Output {
        let config = self.path("b").to_string_lossy().into_owned();
        self.program(&["roster", "--config", &config])
            .args(arguments)
            .output()
            .expect("started")
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    fn pem(&self, key: &Key) -> PathBuf {
        let name = format!("{}.pem", key.name);
        self.write(&name, key.secret.to_pkcs8_v1_pem().as_str());
        self.path(&name)
    }

    /// Signs a version as an approver that has pinned this roster.
    fn sign_version(&self, version: u64, key: &Key, pinned: &str) -> Output {
        let payload = people::payload_of(&self.envelope_of(version));
        let digest = format!("sha256:{}", sha256(&payload));
        let mut command = self.program(&[
            "roster", "sign", "--roster", pinned, "--yes", "--expect", &digest, "--key",
        ]);
        command
            .arg(self.pem(key))
            .arg(self.to_sign(version))
            .output()
            .expect("started")
    }

    fn ready(&self) -> Value {
        self.wire.peek("/ready").ok(200)
    }

    fn notes(&self) -> String {
        self.ready()["notes"].to_string()
    }

    /// Returns the version of the roster in force.
    fn in_force(&self) -> u64 {
        self.ready()["roster"]["version"]
            .as_u64()
            .expect("a number")
    }

    /// Returns the digest that pins a version.
    fn pinned(&self, version: u64) -> String {
        format!(
            "sha256:{}",
            sha256(&people::payload_of(&self.envelope_of(version)))
        )
    }
}

/// Asserts that this program's verifier and the independent verifier agree about the bundles, with each version pinned.
#[track_caller]
fn assert_both_verifiers_agree(world: &World, runs: &[&Value], versions: u64) {
    let mut cases = Vec::new();
    for (at, finished) in runs.iter().enumerate() {
        for version in 1..=versions {
            let file = fs::read(world.version(version)).expect("a version");
            for (form, roster) in [
                ("digest", world.pinned(version).into_bytes()),
                ("file", file),
            ] {
                let id = format!("run {at}, version {version} as a {form}");
                cases.push(second::Case {
                    id,
                    bundle: world.bundle(finished),
                    roster,
                });
            }
        }
    }
    for (case, theirs) in cases.iter().zip(second::theirs(&cases)) {
        let ours = second::ours(case).expect("a roster");
        let differences = ours.differences(&theirs.expect("a roster"));
        assert!(differences.is_empty(), "{}: {differences:?}", case.id);
    }
}

/// Asserts that an audit with each of these pins accepts the whole log.
#[track_caller]
fn assert_audited(world: &World, pinned: &[String]) {
    world.check_history();
    let url = world.started["url"].as_str().expect("a URL").to_owned();
    for pinned in pinned {
        let mut command = world.program(&["audit", &url, "--url", &url, "--roster", pinned]);
        let output = command
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("started");
        assert_eq!(output.status.code(), Some(0), "{pinned}: {}", said(&output));
        let finding: Vec<_> = said(&output)
            .lines()
            .filter(|line| line.contains("verdict"))
            .map(str::to_owned)
            .collect();
        assert!(
            finding
                .iter()
                .any(|line| line.contains("every entry is correct")),
            "{finding:?}"
        );
    }
    // The independent auditor also accepts an export. With a later version, that auditor needs the file instead of the
    // digest.
    let mirror = tempfile::tempdir().expect("a directory");
    let copied = world
        .program(&["log", "export", "--url", &url])
        .arg(mirror.path())
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .expect("started");
    assert!(copied.status.success(), "{}", said(&copied));
    for pinned in pinned.iter().take(1) {
        let audited = second::python()
            .arg("audit")
            .arg(mirror.path())
            .args(["--roster", pinned])
            .output();
        let audited = audited.expect("python3, or COUNTERSIGN_PYTHON, runs");
        assert!(audited.status.success(), "{pinned}: {}", said(&audited));
    }
}

fn approver(key: &Key) -> Value {
    json!({"groups": ["ops"], "keys": [key.ssh.line()]})
}

fn without(tables: &mut Value, table: &str, name: &str) {
    let entries = tables[table].as_object_mut();
    entries.expect("a table").remove(name);
}

#[test]
fn an_added_approver_counts_only_after_enough_signatures_and_a_restart() {
    let mut world = World::new();
    world.write("grace.pub", &format!("{}\n", grace().ssh.line()));
    let key = world.path("grace.pub").to_string_lossy().into_owned();
    let drafted = world.must(&["add", "approver", "grace", "--key", &key, "--group", "ops"]);
    assert!(
        drafted.contains("added approver grace")
            && drafted.contains("0 of 2 approvers of version 1"),
        "{drafted}"
    );
    let expected = next_roster(&world.envelope_of(1), |tables| {
        tables["approvers"]["grace"] = approver(&grace())
    });
    assert_eq!(world.envelope_of(2), roster_version(&expected, &[]));
    let pinned = world.pinned(1);
    let seal = world.seal();

    // With no signature or with one of two signatures, the sealed roster stays in force, and the notes name the missing
    // approvers.
    world.restart();
    assert_eq!(
        (world.in_force(), world.seal()),
        (1, seal),
        "{}",
        world.notes()
    );
    assert!(
        world
            .notes()
            .contains("0 of 2 approvers of version 1 signed, 2 more of alice, bob,"),
        "{}",
        world.notes()
    );
    said_at_exit(
        world.sign_version(2, &alice(), &pinned),
        0,
        "1 of 2 approvers of version 1 signed (alice), 1 more",
    );
    let shown = world.must(&["show"]);
    assert!(
        shown.contains(
            "version 2 of the roster is drafted: 1 of 2 approvers of version 1 signed (alice)"
        ),
        "{shown}"
    );
    assert!(
        shown.contains("roster people, version 1;"),
        "what is in force: {shown}"
    );
    let home = world.path("b").to_string_lossy().into_owned();
    let doctor = said(&world.program(&["doctor", &home]).output().expect("started"));
    assert!(
        doctor.contains("next roster") && doctor.contains("1 more of bob, carol"),
        "{doctor}"
    );
    world.restart();
    assert_eq!((world.in_force(), world.seal()), (1, seal));
    let notes = world.notes();
    assert!(
        notes.contains("1 of 2 approvers of version 1 signed (alice), 1 more of bob, carol,"),
        "{notes}"
    );
    assert!(
        notes.contains("1 of 2 approvers of version 2") && notes.contains("roster sign"),
        "{notes}"
    );
    assert!(
        world.started["notes"].to_string().contains("1 more of bob"),
        "serve says it too"
    );
    let offered = world.propose("plain:true", json!({}));
    world
        .unchanged(|| world.sign(&offered, &[&grace()]))
        .problem("unknown-signer");
    // A new seal of runbooks and tokens keeps the roster in force.
    world.write(
        "b/runbooks/more.md",
        &support::runbook(support::SMALL, &[("go", ":")]),
    );
    world.reseal(seal + 1);
    assert_eq!(world.in_force(), 1);

    let signed = world.sign_version(2, &bob(), &pinned);
    assert!(
        said(&signed).contains("signatures are complete"),
        "{}",
        said(&signed)
    );
    assert!(
        world
            .must(&["show"])
            .contains("version 2 is signed: run `countersign seal` to put it in force")
    );
    let waits = "version 2 of the roster has enough signatures: run `countersign seal`";
    support::wait_for("ready tells what waits", || world.notes().contains(waits));
    assert!(
        !world.notes().contains("1 more of"),
        "nobody's signature is missing any more: {}",
        world.notes()
    );
    let doctor = said(&world.program(&["doctor", &home]).output().expect("started"));
    assert!(doctor.contains(waits), "{doctor}");
    // The boundary accepts a version only at a start. A reseal while the service runs seals only the runbooks.
    world.write(
        "b/runbooks/more.md",
        &support::runbook(support::SMALL, &[("go", "true")]),
    );
    world.reseal(seal + 2);
    assert_eq!(world.in_force(), 1);
    world.restart();
    assert_eq!(
        (world.in_force(), world.seal()),
        (2, seal + 3),
        "{}",
        world.notes()
    );
    assert_eq!(world.ready()["notes"], json!([]), "nothing is left to say");
    let signed = world.sign(&offered, &[&grace()]);
    assert_eq!(signed.status, 200, "{}", signed.text());
    let finished = world.until(id_of(&offered), "finished");
    assert_eq!(
        world.receipt(&finished)["decision"]["approvers"],
        json!(["grace"])
    );

    // With version 1 pinned, the signatures lead to version 2. With version 2 pinned, no earlier signature is
    // necessary.
    let bundle = world.bundle(&finished);
    let brought: Value = serde_json::from_slice(&bundle).expect("JSON");
    assert_eq!(brought["roster"][0], world.envelope_of(1));
    assert_eq!(
        brought["roster"][1]["signatures"],
        world.envelope_of(2)["signatures"]
    );
    let later = world.path("later.bundle.json");
    let mut wait = world.program(&["wait", id_of(&finished), "--from-roster", "2", "--bundle"]);
    wait.arg(&later).args(["--url", &world.wire.url]);
    wait.env("COUNTERSIGN_TOKEN", &world.agent);
    exited(wait.output().expect("wait"), 0);
    let later = fs::read(&later).expect("a bundle");
    let short: Value = serde_json::from_slice(&later).expect("JSON");
    assert_eq!(short["roster"], json!([world.envelope_of(2)]));
    assert_eq!(world.verify_pinned(&later, &world.pinned(2)).0, 0);
    assert_eq!(world.verify_pinned(&later, &pinned).0, 2, "not decided");
    for pinned in [pinned, world.pinned(2)] {
        let (code, report) = world.verify_pinned(&bundle, &pinned);
        assert_eq!(
            (code, &report["report"]["verified"]),
            (0, &json!(true)),
            "{report:#}"
        );
        assert_eq!(report["report"]["facts"]["roster"]["version"], 2);
    }
    // A bundle is verified with the signatures that it has. What the log has is the audit's.
    let mut others = brought.clone();
    let payload = people::payload_of(&world.envelope_of(2));
    others["roster"][1]["signatures"] =
        roster_version(&payload, &[&alice(), &carol()])["signatures"].clone();
    let (code, report) = world.verify_pinned(others.to_string().as_bytes(), &world.pinned(1));
    assert_eq!(code, 0, "{report:#}");
    others["roster"][1]["signatures"]
        .as_array_mut()
        .expect("signatures")
        .pop();
    let (code, report) = world.verify_pinned(others.to_string().as_bytes(), &world.pinned(1));
    assert_eq!(code, 1);
    let checks = report["report"]["checks"].as_array().expect("checks");
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check["finding"] == "failed")
        .map(|check| &check["name"])
        .collect();
    assert_eq!(failed, ["roster-chain"], "{report:#}");
    let shown = world.must(&["show"]);
    assert!(
        shown.starts_with("roster people, version 2; the next version needs 2 of 7"),
        "{shown}"
    );
    world.check_history();
}

#[test]
fn signatures_of_several_people_are_merged_and_invalid_signatures_are_dropped() {
    let world = World::new();
    world.must(&["remove", "approver", "frank"]);
    let pinned = world.pinned(1);
    let file = world.version(2).to_string_lossy().into_owned();
    // Each approver signs a copy on a separate machine.
    let draft = world.envelope_of(2).to_string();
    let digest = world.pinned(2);
    for key in [alice(), bob()] {
        let place = format!("from-{}", key.name);
        world.write(
            &format!("{place}/1.json"),
            &world.envelope_of(1).to_string(),
        );
        world.write(&format!("{place}/2.json"), &draft);
        let path = world.path(&place);
        let mut command = world.program(&[
            "roster", "sign", "2.json", "--roster", &pinned, "--yes", "--expect", &digest,
        ]);
        exited(
            command
                .arg("--key")
                .arg(world.pem(&key))
                .current_dir(path)
                .output()
                .expect("started"),
            0,
        );
    }
    let mut strange: Value = serde_json::from_str(&draft).expect("JSON");
    let payload = people::payload_of(&strange);
    strange["signatures"] = json!([mallory().sign(&payload), carol().sign(b"something else")]);
    world.write("strange.json", &strange.to_string());
    let paths = ["from-alice/2.json", "from-bob/2.json", "strange.json"]
        .map(|name| world.path(name).to_string_lossy().into_owned());
    let source = world.path(DRAFT).to_string_lossy().into_owned();
    let merged = world.must(&["merge", &source, &paths[0], &paths[2]]);
    assert!(
        merged.contains("left out") && merged.contains("1 more of bob, carol"),
        "{merged}"
    );
    let signatures = |version| {
        world.envelope_of(version)["signatures"]
            .as_array()
            .expect("a list")
            .len()
    };
    assert_eq!(signatures(2), 1);
    let other = next_roster(&world.envelope_of(1), |tables| {
        tables["threshold"] = json!(1)
    });
    world.write(
        "other.json",
        &roster_version(&other, &[&alice()]).to_string(),
    );
    let other = world.path("other.json").to_string_lossy().into_owned();
    let refused = world.tool(&["merge", &file, &other]);
    assert!(
        !refused.status.success() && said(&refused).contains("only for its own version"),
        "{}",
        said(&refused)
    );

    // A changed draft leaves the signed version as it is, and cannot be signed beside it.
    assert_says(
        world.must(&["remove", "approver", "dora"]),
        "2.json has another content and 1 signatures",
    );
    let draft = world.path(DRAFT).to_string_lossy().into_owned();
    let refused = world.tool(&["sign", &draft, "--review", "--roster", &pinned]);
    assert!(
        !refused.status.success() && said(&refused).contains("which discards its signatures"),
        "{}",
        said(&refused)
    );
    assert_eq!(signatures(2), 1);
    assert!(
        world
            .must(&["merge", &file, &paths[1]])
            .contains("signatures are complete")
    );
    assert_eq!(signatures(2), 2);

    // The next draft follows a completely signed version, even before the boundary accepts that version. The earlier draft is
    // stale now, and its change is not in version 2.
    let stale = fs::read(world.path(DRAFT)).expect("a draft");
    let refused = world.tool(&["set"]);
    assert!(
        !refused.status.success()
            && said(&refused).contains("write `\"version\": 3` to keep its changes"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::read(world.path(DRAFT)).expect("a draft"), stale);
    world.edit_draft(|draft| draft["version"] = json!(3));
    assert_says(world.must(&["set"]), "removed approver dora");
    assert_eq!((signatures(2), signatures(3)), (2, 0));
    assert!(
        world.sign_version(3, &alice(), &pinned).status.success(),
        "trust in version 1 leads to version 2"
    );
    world.must(&["remove", "approver", "erin"]);
    assert_eq!(signatures(3), 1, "the signed file stays");
    fs::remove_file(world.version(3)).expect("removed");
    exited(world.sign_version(3, &alice(), &pinned), 0);
    assert_eq!(
        people::statement_of(&world.envelope_of(3))["predicate"]["approvers"].get("erin"),
        None
    );
}

#[test]
fn signing_a_roster_shows_every_change_and_refuses_a_version_without_a_trusted_predecessor() {
    let world = World::new();
    world.write(
        "b/boundary/policy.yaml",
        &support::POLICY.replace("required: 1", "required: 2"),
    );
    world.must(&["set", "threshold", "0"]);
    world.must(&["remove", "approver", "bob"]);
    let (file, pinned) = (
        world.path(DRAFT).to_string_lossy().into_owned(),
        world.pinned(1),
    );
    let policy = world
        .path("b/boundary/policy.yaml")
        .to_string_lossy()
        .into_owned();
    let shown = world.must(&[
        "sign", &file, "--review", "--full", "--roster", &pinned, "--policy", &policy,
    ]);
    for words in [
        "removed       approver bob; groups: security; keys:",
        "changed       the number of approvers who must sign the next version: 2 to 0",
        "== UNGUARDED ==",
        "CHANGED to    sha256:",
        "| version: 1",
        "approvers.alice.groups[0] = \"ops\"",
        "0 of 2 approvers of version 1 signed",
        &world.pinned(2),
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(
        world
            .must(&["sign", &file, "--review", "--roster", &pinned])
            .contains("The policy itself is not shown")
    );
    // The program refuses to sign without trust in the previous version, with another digest, with the key of a
    // stranger, and with `--yes` without a digest.
    let digest = world.pinned(2);
    let attempt = |arguments: &[&str], key: &Key| {
        let mut command = world.program(&["roster", "sign", &file, "--yes"]);
        let output = command
            .args(arguments)
            .arg("--key")
            .arg(world.pem(key))
            .output()
            .expect("started");
        assert_eq!(
            world.envelope_of(2)["signatures"],
            json!([]),
            "{}",
            said(&output)
        );
        (output.status.code().expect("a code"), said(&output))
    };
    let (code, text) = attempt(&["--expect", &digest], &alice());
    assert!(
        code == 2
            && text.contains("you trust no roster that this version follows")
            && text.contains(&pinned),
        "{text}"
    );
    let other = format!("sha256:{}", "a".repeat(64));
    assert_eq!(
        attempt(&["--expect", &digest, "--roster", &other], &alice()).0,
        2
    );
    assert_eq!(
        attempt(&["--expect", &digest, "--roster", &digest], &alice()).0,
        2,
        "itself is not what it follows"
    );
    assert_eq!(
        attempt(&["--expect", &other, "--roster", &pinned], &alice()).0,
        126
    );
    let (code, text) = attempt(&["--expect", &digest, "--roster", &pinned], &mallory());
    assert!(code == 126 && text.contains("no approver's key"), "{text}");
    assert_eq!(
        attempt(&["--roster", &pinned], &alice()).0,
        2,
        "--yes needs --expect"
    );
    let (code, _) = attempt(
        &["--expect", &digest, "--roster", &pinned, "--policy", &file],
        &alice(),
    );
    assert_ne!(code, 0, "another policy than the one that is named");
    let first = world.tool(&[
        "sign",
        &world.version(1).to_string_lossy(),
        "--roster",
        &pinned,
    ]);
    assert!(
        said(&first).contains("version 1 of a roster, which has no signatures"),
        "{}",
        said(&first)
    );
}

#[test]
fn another_roster_version_with_the_number_of_a_trusted_version_cannot_be_signed() {
    let world = World::new();
    let first = world.envelope_of(1);
    let taken = roster_version(
        &next_roster(&first, |tables| without(tables, "approvers", "dora")),
        &[&alice(), &bob()],
    );
    let third = roster_version(
        &next_roster(&taken, |tables| without(tables, "approvers", "frank")),
        &[&alice(), &bob()],
    );
    let beside = roster_version(
        &next_roster(&first, |tables| without(tables, "approvers", "frank")),
        &[],
    );
    let digest = format!("sha256:{}", sha256(&people::payload_of(&beside)));
    let trust = |name: &str, roster: &Value| {
        world.write(
            &format!("home/.config/countersign/{name}"),
            &roster.to_string(),
        )
    };
    let sign = || {
        world.write("other/1.json", &first.to_string());
        world.write("other/2.json", &beside.to_string());
        let mut command = world.program(&["roster", "sign", "--yes", "--expect", &digest, "--key"]);
        let output = command
            .arg(world.pem(&alice()))
            .arg(world.path("other/2.json"))
            .output()
            .expect("started");
        (output.status.code().expect("a code"), said(&output))
    };
    // The result does not depend on the order of the trusted rosters, and is the same if a version between them is
    // missing.
    for (newer, version) in [(&taken, 2), (&third, 3)] {
        for (name, other) in [
            ("roster.json", "rosters/a.json"),
            ("rosters/a.json", "roster.json"),
        ] {
            trust(name, &first);
            trust(other, newer);
            let (code, text) = sign();
            assert!(
                code == 2 && text.contains(&format!("is version {version} already")),
                "{text}"
            );
        }
    }
    fs::remove_file(world.path("home/.config/countersign/rosters/a.json")).expect("removed");
    trust("roster.json", &first);
    let (code, text) = sign();
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_policy_that_asks_for_less_ends_the_open_proposals_that_nobody_could_sign() {
    let mut world = World::with(|setup| {
        setup.policy = countersign::policy(1);
        setup.runbook("x.md", runbook(SMALL, &[("go", "curl -V")]));
    });
    let pending = world.propose("x:go", json!({}));
    let pinned = world.pinned(1);
    let rule = "overrides: [{runbook: x, run: {allow: [curl]}}]\n";
    world.write(
        "b/boundary/policy.yaml",
        &format!("{}{rule}", world.setup.policy),
    );
    world.must(&["set"]);
    for key in [&alice(), &bob()] {
        exited(world.sign_version(2, key, &pinned), 0);
    }
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let refusal = world.until(id_of(&pending), "refused")["refusal"].clone();
    assert_eq!(refusal["code"], "context-changed", "{refusal:#}");
    assert!(
        refusal["detail"]
            .as_str()
            .expect("words")
            .contains("no longer asks for \"curl\""),
        "{refusal:#}"
    );
}

#[test]
#[cfg(debug_assertions)]
fn a_lost_run_of_a_grant_is_closed_although_a_signer_of_the_grant_left_the_roster() {
    let mut world = World::with(|setup| setup.policy = grants::POLICY.to_owned());
    let view = grants::draft(&world, &grants::terms()).ok(201);
    let grant = grants::sign(&world, &view, &[&alice(), &dora()]).ok(200);
    assert_eq!(grant["status"], "active", "{grant:#}");
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    let point = "after-consume-commit";
    grants::arm(&mut world, point);
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let wish = grants::wish(&grant, "say:echo", json!({"text": "once"}));
    let bearer = grants::bearer(&world, &people::robot());
    let proposed = world.wire.post("/v1/proposals", &bearer, &wish).ok(201);
    let _ = world.try_sign(&proposed, &[&people::robot()]);
    grants::start_after_the_kill(&mut world, point);
    let finished = world.until(id_of(&proposed), "finished");
    assert_eq!(finished["outcome"]["status"], "unknown", "{finished:#}");
    assert_eq!(
        world.receipt(&finished)["decision"]["approvers"],
        json!(["alice"])
    );
    world.assert_verified(&finished);
}

#[test]
fn the_earlier_signature_of_a_removed_approver_no_longer_counts() {
    let mut world = World::new();
    let pending = world.propose("two:go", json!({}));
    assert_eq!(
        world.sign(&pending, &[&dora()]).ok(200)["approvals"]["have"],
        1
    );
    let held = world.propose("two:go", json!({"text": "other"}));
    assert_eq!(
        world.sign(&held, &[&dora(), &alice()]).status,
        200,
        "met by who is rostered now: it runs"
    );
    world.until(id_of(&held), "finished");
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let view = world.show(id_of(&pending));
    assert_eq!(
        (&view["status"], &view["approvals"]["have"]),
        (&json!("pending"), &json!(0)),
        "{view:#}"
    );
    world
        .unchanged(|| world.sign(&pending, &[&dora()]))
        .problem("unknown-signer");
    assert_eq!(
        world.sign(&pending, &[&alice()]).ok(200)["approvals"]["have"],
        1
    );
    assert_eq!(world.sign(&pending, &[&bob()]).status, 200);
    let finished = world.until(id_of(&pending), "finished");
    let receipt = world.receipt(&finished);
    assert_eq!(receipt["decision"]["approvers"], json!(["alice", "bob"]));
    assert_eq!(
        world.authorization_of(&finished)["signatures"]
            .as_array()
            .expect("a list")
            .len(),
        2,
        "dora's is not logged"
    );
    world.assert_verified(&finished);
    // The boundary refuses a complete envelope that contains a signature of dora.
    let whole = people::authorization(&world.authorization("two:go", json!({"text": "third"})));
    world
        .unchanged(|| world.submit(&roster_version(&whole, &[&dora(), &bob()])))
        .problem("unknown-signer");
    assert_audited(&world, &[world.pinned(1)]);
}

/// Sets the key file in `countersign.toml`.
fn set_key(world: &World, name: &str) {
    let text = fs::read_to_string(world.path("b/countersign.toml")).expect("read");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("key = "))
        .map(|line| format!("{line}\n"))
        .collect();
    world.write(
        "b/countersign.toml",
        &format!("key = \"boundary/{name}\"\n{text}"),
    );
}

#[test]
fn receipts_of_an_old_and_a_new_boundary_key_verify_with_both_rosters() {
    let mut world = World::new();
    let old = world.run("plain:true", json!({}), &[&alice()]);
    let origin = world
        .wire
        .peek("/log/checkpoint")
        .text()
        .lines()
        .next()
        .expect("an origin")
        .to_owned();
    world.write(
        "b/boundary/key-2.pem",
        second_key().secret.to_pkcs8_v1_pem().as_str(),
    );
    world.write("key-2.pub", &format!("{}\n", second_key().ssh.line()));
    let public = world.path("key-2.pub").to_string_lossy().into_owned();
    world.must(&["add", "boundary", "prod", "--key", &public]);
    world.must(&[
        "remove",
        "boundary",
        "prod",
        "--key",
        &boundary_key().keyid(),
    ]);
    let pinned = world.pinned(1);
    assert!(world.sign_version(2, &alice(), &pinned).status.success());

    // The service does not start with the new key while version 2 lacks a signature, and the error names the missing
    // approver.
    world.stop();
    set_key(&world, "key-2.pem");
    let why = world
        .try_start()
        .expect_err("the key is in no sealed roster");
    assert!(
        why.contains("not in the sealed roster") && why.contains("1 more of bob"),
        "{why}"
    );
    // Version 2 is signed, but the configuration still names the old key, so the old seal stays in force.
    assert!(world.sign_version(2, &bob(), &pinned).status.success());
    set_key(&world, "key.pem");
    world.start();
    assert_eq!(world.in_force(), 1);
    assert!(
        world
            .notes()
            .contains("under `key`, name the file of a key of the roster"),
        "{}",
        world.notes()
    );
    let between = world.run("plain:true", json!({}), &[&alice()]);
    world.stop();

    set_key(&world, "key-2.pem");
    world.start();
    assert_eq!(
        (world.in_force(), world.ready()["notes"].clone()),
        (2, json!([]))
    );
    let note = world.wire.peek("/log/checkpoint").text();
    assert_eq!(
        note.lines().next(),
        Some(origin.as_str()),
        "the log goes on under its name"
    );
    let new = world.run("plain:true", json!({}), &[&alice()]);
    let (_, seal) = world
        .log()
        .into_iter()
        .rfind(|(kind, _)| kind == "seal")
        .expect("a seal");
    assert_eq!(seal["predicate"]["keys"], json!([second_key().keyid()]));
    let versions = [pinned, world.pinned(2)];
    let files = ["1", "2"].map(|version| {
        world
            .version(version.parse().expect("a number"))
            .to_string_lossy()
            .into_owned()
    });
    let seen = |world: &World, finished: &Value, key: &Key| {
        let bundle = world.bundle(finished);
        assert_eq!(
            world.receipt(finished)["boundary"]["keyid"],
            json!(key.keyid())
        );
        for pinned in files.iter().chain([&versions[0]]) {
            let (code, report) = world.verify_pinned(&bundle, pinned);
            assert_eq!(
                (code, &report["report"]["verified"]),
                (0, &json!(true)),
                "{pinned}: {report:#}"
            );
        }
        let asked = world
            .wire
            .post_bytes("/v1/receipts/verify", &world.reader, &bundle)
            .ok(200);
        assert_eq!(asked["verified"], json!(true), "{asked:#}");
    };
    seen(&world, &old, &boundary_key());
    seen(&world, &between, &boundary_key());
    seen(&world, &new, &second_key());
    // The newest roster does not contain the old key, so the verifier leaves this check to the log and reports
    // `not-checked`.
    let (_, report) = world.verify_pinned(&world.bundle(&old), &files[1]);
    let checks = report["report"]["checks"].as_array().expect("checks");
    let still = checks
        .iter()
        .find(|check| check["name"] == "keys-still-rostered")
        .expect("the check");
    assert_eq!(still["finding"], "not-checked", "{still:#}");
    // The results are the same after a crash and with more entries in the log.
    world.kill9();
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
    seen(&world, &old, &boundary_key());
    seen(&world, &new, &second_key());
    assert_both_verifiers_agree(&world, &[&old, &new], 2);
    assert_audited(&world, &files);
    assert_audited(&world, &versions);
    // The service does not start with the old key.
    world.stop();
    set_key(&world, "key.pem");
    assert_says(
        world.try_start().expect_err("dropped"),
        "not in the sealed roster",
    );
}

#[test]
fn a_signed_roster_is_in_force_after_a_seal_without_a_restart() {
    let world = World::new();
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        tables["approvers"]["alice"]["groups"] = json!(["ops", "security"])
    });
    world.put_version(2, &roster_version(&v2, &[&alice()]));
    let seal = || {
        world
            .program(&["seal", "--config"])
            .arg(world.path("b"))
            .output()
            .expect("seal")
    };
    let incomplete = said(&seal());
    assert!(
        incomplete.contains("not sealed: version 2") && incomplete.contains("1 more of"),
        "{incomplete}"
    );
    assert!(
        incomplete.contains(" is in force as before"),
        "{incomplete}"
    );
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    support::wait_for("ready tells what waits", || {
        world.notes().contains("enough signatures")
    });
    assert!(said(&seal()).contains("is now in force"));
    // The service looks for new versions only once a second, but tells nothing about a version that is in force.
    let ready = world.ready();
    assert!(
        ready["roster"]["version"] == 2
            && !ready["notes"].to_string().contains("enough signatures"),
        "{ready:#}"
    );
    world.run("two:go", json!({}), &[&alice(), &bob()]);
    assert_audited(&world, &[world.pinned(1)]);
    // The service has looked for new versions again.
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        !world.notes().contains("enough signatures"),
        "{}",
        world.notes()
    );
}

#[test]
fn a_key_that_can_not_be_verified_is_reported_when_it_is_added_and_when_the_roster_is_signed() {
    let world = World::new();
    world.write("phone.pub", &foreign_line("phone.example"));
    let key = world.path("phone.pub").to_string_lossy().into_owned();
    let drafted = world.must(&["add", "approver", "alice", "--key", &key]);
    let review = world.tool(&["sign", &world.path(DRAFT).to_string_lossy(), "--review"]);
    let shown = said(&review).replace("\n                + ", "");
    for text in [&drafted, &shown] {
        for part in [
            "warning",
            "SHA256:",
            "of approver alice",
            "the application \"phone.example\"",
            "its signatures do not count",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let own = alice_too().line_in(&world);
    world.must(&[
        "sign",
        &world.path(DRAFT).to_string_lossy(),
        "--review",
        "--roster",
        &world.pinned(1),
    ]);
    assert!(
        world
            .must(&["add", "approver", "alice", "--key", &own])
            .contains("warning"),
        "the draft still has the key"
    );
}

#[test]
fn a_passkey_is_named_with_its_host_when_it_is_added_shown_and_signed() {
    let world = World::new();
    world.write("phone.pub", &PasskeyPair::of(1).line());
    let key = world.path("phone.pub").to_string_lossy().into_owned();
    let drafted = world.must(&["add", "approver", "alice", "--key", &key]);
    assert!(
        drafted.contains("never for a roster, a grant or a review"),
        "{drafted}"
    );
    let file = world.path(DRAFT).to_string_lossy().into_owned();
    let shown =
        [&["sign", &file, "--review"][..], &["show", &file]].map(|words| said(&world.tool(words)));
    for text in [
        drafted,
        shown[0].replace("\n                + ", ""),
        shown[1].clone(),
    ] {
        assert!(
            text.contains("passkey of desk.example") && text.contains(&PasskeyPair::of(1).keyid()),
            "{text}"
        );
    }
}

#[test]
fn both_auditors_report_a_key_that_they_cannot_verify() {
    let foreign = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
    let mut world = World::new();
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        tables["approvers"]["alice"]["keys"]
            .as_array_mut()
            .expect("keys")
            .push(json!(foreign));
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.stop();
    world.start();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let copy = world.export("copy");
    let pinned = world.pinned(1);
    let output = world
        .program(&["audit", "--json", "--roster", &pinned])
        .arg(&copy)
        .output()
        .expect("audit");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        said(&output).matches("ecdsa-sha2-nistp256").count(),
        1,
        "{}",
        said(&output)
    );
    let audited = second::python()
        .arg("audit")
        .arg(&copy)
        .args(["--roster", &pinned])
        .output()
        .expect("python runs");
    let report: Value = serde_json::from_slice(&audited.stdout).expect("JSON");
    assert_eq!(
        (&report["sound"], &report["foreign"][0]["key"]),
        (&json!(true), &json!(foreign)),
        "{report:#}"
    );
}

#[test]
fn a_new_key_waits_until_the_old_key_has_closed_its_open_runs() {
    let mut world = World::new();
    world.write(
        "b/boundary/key-2.pem",
        second_key().secret.to_pkcs8_v1_pem().as_str(),
    );
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        tables["boundaries"]["prod"]["keys"] = json!([second_key().ssh.line()])
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let running = world.propose("plain:wait", json!({}));
    assert_eq!(world.sign(&running, &[&alice()]).status, 200);
    world.until(id_of(&running), "running");
    world.kill9();
    set_key(&world, "key-2.pem");
    let why = world.try_start().expect_err("a run without a receipt");
    assert!(
        why.contains("the receipts of 1 open runs") && why.contains("with the previous key"),
        "{why}"
    );
    set_key(&world, "key.pem");
    world.start();
    assert_eq!(world.show(id_of(&running))["outcome"]["status"], "unknown");
    // The store has no checkpoint over these receipts, as after a crash directly after their commit. Only the previous
    // key can still sign such a checkpoint.
    world.kill9();
    rusqlite::Connection::open(world.database())
        .unwrap()
        .execute("DELETE FROM checkpoint", [])
        .unwrap();
    set_key(&world, "key-2.pem");
    assert_says(
        world
            .try_start()
            .expect_err("receipts without a checkpoint"),
        "a checkpoint over the receipt",
    );
    set_key(&world, "key.pem");
    world.start();
    world.stop();
    set_key(&world, "key-2.pem");
    world.start();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let first = world.pinned(1);
    let unknown = world.show(id_of(&running));
    for one in [&finished, &unknown] {
        let (code, report) = world.verify_pinned(&world.bundle(one), &first);
        assert_eq!(code, 0, "{report:#}");
    }
    world.check_history();
}

#[test]
fn an_edited_policy_is_in_force_only_after_a_signed_roster_names_it() {
    let mut world = World::new();
    let policy = support::POLICY.replace("required: 1", "required: 2");
    world.stop();
    world.write("b/boundary/policy.yaml", &policy);
    world.start();
    assert_eq!(world.in_force(), 1);
    assert!(
        world.notes().contains("the policy file is") && world.notes().contains("roster set"),
        "{}",
        world.notes()
    );
    assert_eq!(
        world.propose("plain:true", json!({}))["approvals"]["required"],
        1
    );
    assert_says(world.must(&["set"]), "changed the policy");
    let pinned = world.pinned(1);
    assert!(world.sign_version(2, &alice(), &pinned).status.success());
    assert!(world.sign_version(2, &bob(), &pinned).status.success());
    // The policy changes after the signatures: the signed policy is no longer on disk, and the policy on disk is not
    // signed.
    world.stop();
    world.write(
        "b/boundary/policy.yaml",
        &policy.replace("execute", "prompted"),
    );
    world.start();
    assert_eq!(world.in_force(), 1);
    assert!(
        world
            .notes()
            .contains("is signed and not in force: the version names the policy"),
        "{}",
        world.notes()
    );
    world.stop();
    world.write("b/boundary/policy.yaml", &policy);
    world.start();
    assert_eq!(world.in_force(), 2);
    assert_eq!(
        world.propose("plain:fail", json!({}))["approvals"]["required"],
        2
    );
    assert_eq!(world.ready()["notes"], json!([]));
}

#[test]
fn several_roster_versions_are_accepted_together_if_the_chain_is_complete() {
    let mut world = World::new();
    let v2 = roster_version(
        &next_roster(&world.envelope_of(1), |tables| {
            tables["approvers"]["grace"] = approver(&grace());
        }),
        &[&alice(), &bob()],
    );
    // Only the approvers of version 2, including grace, may sign version 3.
    let v3 = roster_version(
        &next_roster(&v2, |tables| without(tables, "approvers", "dora")),
        &[&grace(), &carol()],
    );
    let v4 = roster_version(
        &next_roster(&v3, |tables| tables["threshold"] = json!(3)),
        &[&grace(), &alice(), &bob()],
    );
    world.put_version(2, &v2);
    world.put_version(4, &v4);
    world.restart();
    assert_eq!(world.in_force(), 2);
    assert!(
        world
            .notes()
            .contains("version 4 of the roster is not in force")
            && world
                .notes()
                .contains("3.json of an earlier version is missing"),
        "{}",
        world.notes()
    );
    let seal = world.seal();
    world.put_version(3, &v3);
    world.restart();
    assert_eq!(
        (world.in_force(), world.seal()),
        (4, seal + 1),
        "{}",
        world.notes()
    );
    let finished = world.run("plain:true", json!({}), &[&grace()]);
    for version in 1..=4 {
        let (code, report) = world.verify_pinned(&world.bundle(&finished), &world.pinned(version));
        assert_eq!(code, 0, "version {version}: {report:#}");
    }
    // The store contains the sealed versions, so the roster stays in force without the files.
    fs::remove_dir_all(world.path("b/boundary/roster.d")).expect("removed");
    world.restart();
    assert_eq!(world.in_force(), 4);
    assert_eq!(world.envelope_of(3), v3, "kept for the tools again");
    world.assert_verified(&world.run("plain:true", json!({}), &[&grace()]));
}

#[test]
fn forged_or_replaced_roster_versions_leave_the_sealed_roster_in_force() {
    let mut world = World::new();
    let v1 = world.envelope_of(1);
    let same = |_: &mut Value| {};
    let v2 = next_roster(&v1, same);
    let taken_over = next_roster(&v1, |tables| {
        tables["approvers"] = json!({"mallory": approver(&mallory())});
        tables["threshold"] = json!(1);
    });
    let mut flipped = roster_version(&v2, &[&alice(), &bob()]);
    flipped["signatures"][0]["sig"] = flipped["signatures"][1]["sig"].clone();
    let mut other_bytes = roster_version(&v2, &[&alice(), &bob()]);
    other_bytes["payload"] = roster_version(
        &next_roster(&v1, |tables| tables["threshold"] = json!(1)),
        &[],
    )["payload"]
        .clone();
    let wrong_previous = next_roster(&v1, |tables| {
        tables["previous"] = json!(format!("sha256:{}", "0".repeat(64)))
    });
    let version_5 = next_roster(&v1, |tables| tables["version"] = json!(5));
    let first_again = {
        let mut tables = people::predicate_of(&v1);
        tables["approvers"] = json!({"mallory": approver(&mallory())});
        tables["threshold"] = json!(1);
        people::roster_statement(&tables)
    };
    let unguarded = next_roster(&v1, |tables| tables["threshold"] = json!(0));
    let twice = { people::wrap(&v2, vec![alice().sign(&v2), alice().sign(&v2)]) };
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "signed by its own people alone",
            roster_version(&taken_over, &[&mallory()]).to_string(),
            "0 of 2 approvers of version 1",
        ),
        (
            "signed by a stranger besides",
            roster_version(&v2, &[&alice(), &bob(), &mallory()]).to_string(),
            "belongs to no approver",
        ),
        (
            "signed by operator and boundary",
            roster_version(&v2, &[&oscar(), &boundary_key()]).to_string(),
            "belongs to no approver",
        ),
        (
            "signed by one person with two keys",
            roster_version(&v2, &[&carol(), &support::people::carol_too()]).to_string(),
            "already signed with another key",
        ),
        (
            "one signature twice",
            twice.to_string(),
            "out of order, or a key signed twice",
        ),
        (
            "a signature of something else",
            flipped.to_string(),
            "does not count",
        ),
        (
            "another payload below the signatures",
            other_bytes.to_string(),
            "does not count",
        ),
        (
            "of another roster before",
            roster_version(&wrong_previous, &[&alice(), &bob()]).to_string(),
            "does not follow the version before",
        ),
        (
            "of another number",
            roster_version(&version_5, &[&alice(), &bob()]).to_string(),
            "expected version 2 of the roster, found version 5",
        ),
        (
            "another version 1",
            roster_version(&first_again, &[]).to_string(),
            "expected version 2 of the roster, found version 1",
        ),
        (
            "unguarded, and not signed",
            roster_version(&unguarded, &[]).to_string(),
            "0 of 2 approvers of version 1",
        ),
        (
            "cut",
            roster_version(&v2, &[&alice(), &bob()]).to_string()[..400].to_owned(),
            "no envelope",
        ),
        ("empty", String::new(), "no envelope"),
        (
            "no roster",
            roster_version(
                &people::denial(&world.boundary(), b"x", "no"),
                &[&alice(), &bob()],
            )
            .to_string(),
            "roster",
        ),
    ];
    let seal = world.seal();
    for (what, text, words) in &cases {
        world.stop();
        world.write("b/boundary/roster.d/2.json", text);
        world.start();
        assert_eq!((world.in_force(), world.seal()), (1, seal), "{what}");
        assert!(world.notes().contains(words), "{what}: {}", world.notes());
    }
    // The service does not read a version file that other users can write.
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(world.version(2), mode).expect("set");
    world.restart();
    assert_eq!(world.in_force(), 1);
    assert!(
        world.notes().contains("other users can write this path"),
        "{}",
        world.notes()
    );
    // Two documents of version 2 have enough signatures. The sealed document stays in force.
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    fs::set_permissions(
        world.version(2),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("set");
    world.restart();
    assert_eq!(world.in_force(), 2);
    let sealed = world.started["roster"].clone();
    let fork = next_roster(&v1, |tables| without(tables, "approvers", "dora"));
    world.put_version(2, &roster_version(&fork, &[&alice(), &bob(), &carol()]));
    world.put_version(1, &roster_version(&first_again, &[]));
    world.restart();
    assert_eq!((world.in_force(), &world.started["roster"]), (2, &sealed));
    assert!(
        world.notes().contains("but the sealed version 2 is")
            && world.notes().contains("but the sealed version 1 is"),
        "{}",
        world.notes()
    );
    world.assert_verified(&world.run("plain:true", json!({}), &[&alice()]));
}

#[test]
fn a_key_that_was_removed_from_the_roster_cannot_be_added_again() {
    let mut world = World::new();
    world.must(&["remove", "approver", "dora"]);
    let pinned = world.pinned(1);
    for key in [alice(), bob()] {
        assert!(world.sign_version(2, &key, &pinned).status.success());
    }
    world.restart();
    assert_eq!(world.in_force(), 2);
    let v2 = world.envelope_of(2);
    let line = dora().ssh.line().to_owned();
    for (table, name, back) in [
        ("approvers", "dora", approver(&dora())),
        ("approvers", "another", approver(&dora())),
        ("operators", "another", json!({"keys": [line]})),
    ] {
        let v3 = next_roster(&v2, |tables| tables[table][name] = back);
        world.put_version(3, &roster_version(&v3, &[&alice(), &bob(), &carol()]));
        world.restart();
        assert_eq!(world.in_force(), 2);
        assert_says(
            world.notes(),
            "a key that was removed after version 1; a removed key can't return",
        );
    }
    // The command also refuses to write such a draft.
    fs::remove_file(world.version(3)).expect("removed");
    let back = world.tool(&["add", "approver", "dora", "--key", &line, "--group", "ops"]);
    assert!(
        !back.status.success() && said(&back).contains("can't return"),
        "{}",
        said(&back)
    );
}

#[test]
fn a_version_that_contradicts_the_runbooks_is_not_accepted() {
    let mut world = World::new();
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "groups", "security");
        for (_, person) in tables["approvers"].as_object_mut().expect("a table") {
            person["groups"]
                .as_array_mut()
                .expect("a list")
                .retain(|group| group != "security");
        }
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.restart();
    assert_eq!(world.in_force(), 1);
    let notes = world.notes();
    assert!(
        notes.contains("signed and not in force")
            && notes.contains("the roster has no group security"),
        "{notes}"
    );
    world.assert_verified(&world.run("plain:true", json!({}), &[&alice()]));
}

#[test]
fn every_command_reports_an_unguarded_roster() {
    let mut world = World::new();
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        tables["threshold"] = json!(0)
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.restart();
    assert_eq!(world.ready()["roster"]["guarded"], json!(false));
    assert!(
        world
            .notes()
            .contains("the roster is unguarded (threshold 0)"),
        "{}",
        world.notes()
    );
    assert!(world.must(&["show"]).contains("UNGUARDED"));
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let first = world.pinned(1);
    let (code, report) = world.verify_pinned(&world.bundle(&finished), &first);
    assert_eq!(
        (code, &report["report"]["facts"]["roster"]["guarded"]),
        (0, &json!(false))
    );
    assert!(
        report["report"]["warnings"]
            .to_string()
            .contains("version 2 of the roster is unguarded"),
        "{report:#}"
    );
    // From version 3 on, mallory alone controls the roster. A verifier that pinned version 1 gets a warning.
    let v3 = next_roster(&world.envelope_of(2), |tables| {
        tables["approvers"] =
            json!({"mallory": {"groups": ["ops", "security"], "keys": [mallory().ssh.line()]}});
        tables["threshold"] = json!(1);
    });
    world.put_version(3, &roster_version(&v3, &[&mallory()]));
    world.restart();
    assert_eq!(world.in_force(), 3, "{}", world.notes());
    let finished = world.run("plain:true", json!({}), &[&mallory()]);
    fs::write(world.path("run.json"), world.bundle(&finished)).expect("written");
    let run = world.path("run.json").to_string_lossy().into_owned();
    let shown = world
        .program(&["verify", &run, "--roster", &first])
        .output()
        .expect("started");
    assert!(
        said(&shown).contains("version 2 of the roster is unguarded"),
        "{}",
        said(&shown)
    );
}

/// A world whose roster in force is version 2, which is unguarded.
fn unguarded_world() -> World {
    let mut world = World::new();
    put_second(
        &world,
        |tables| tables["threshold"] = json!(0),
        &[&alice(), &bob()],
    );
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    world
}

#[test]
fn a_draft_of_an_unguarded_roster_becomes_a_version_only_by_set_with_a_change() {
    let mut world = unguarded_world();
    let drafted = world.must(&["set"]);
    assert!(
        drafted.contains("the draft has no change yet: edit ")
            && !drafted.contains("signatures are complete"),
        "{drafted}"
    );
    let needs_nobody =
        "the draft of version 3 of the roster needs no signature: `countersign roster set`";
    world.restart();
    assert!(!world.notes().contains(needs_nobody), "{}", world.notes());
    // A start does not seal the edited draft.
    world.edit_draft(|draft| without(draft, "approvers", "dora"));
    world.restart();
    assert_eq!(world.in_force(), 2);
    assert!(world.notes().contains(needs_nobody), "{}", world.notes());
    assert!(!world.version(3).exists());
    let made = world.must(&["set"]);
    assert!(
        made.contains("removed approver dora") && made.contains("signatures are complete"),
        "{made}"
    );
    world.restart();
    assert_eq!(world.in_force(), 3, "{}", world.notes());
    assert_eq!(
        people::predicate_of(&world.envelope_of(3))["approvers"].get("dora"),
        None
    );
    // A new policy is a change too.
    world.write(
        "b/boundary/policy.yaml",
        &support::POLICY.replace("required: 1", "required: 2"),
    );
    assert_says(world.must(&["set"]), "changed the policy");
    assert!(world.version(4).exists());
}

#[test]
fn a_draft_that_needs_no_signature_replaces_no_version_file() {
    let world = unguarded_world();
    world.must(&["set", "threshold", "2"]);
    exited(world.sign_version(3, &alice(), &world.pinned(1)), 0);
    let read = |path: PathBuf| fs::read_to_string(path).expect("a file");
    let signed = read(world.version(3));
    assert_says(world.must(&["set", "threshold", "0"]), "no change yet");
    let draft = read(world.path(DRAFT));
    let refused = world.tool(&["remove", "approver", "dora"]);
    assert!(
        !refused.status.success()
            && said(&refused).contains("3.json has another content and 1 signatures"),
        "{}",
        said(&refused)
    );
    assert_eq!(
        (read(world.version(3)), read(world.path(DRAFT))),
        (signed, draft)
    );
    // The file has the content of the draft, and a signature that does not count.
    let next = next_roster(&world.envelope_of(2), |tables| {
        without(tables, "approvers", "dora")
    });
    world.put_version(3, &roster_version(&next, &[&mallory()]));
    let there = read(world.version(3));
    assert_says(world.must(&["remove", "approver", "dora"]), "roster merge ");
    assert_eq!(read(world.version(3)), there);
    fs::remove_file(world.version(3)).expect("removed");
    assert_says(world.must(&["set"]), "signatures are complete");
    assert_eq!(world.envelope_of(3), roster_version(&next, &[]));
}

#[test]
fn a_draft_of_a_later_version_than_the_next_is_refused() {
    let world = World::new();
    world.must(&["set", "threshold", "1"]);
    world.edit_draft(|draft| draft["version"] = json!(5));
    let draft = fs::read(world.path(DRAFT)).expect("a draft");
    let refused = world.tool(&["remove", "approver", "dora"]);
    assert!(
        !refused.status.success()
            && said(&refused).contains("the draft is version 5, but the next version is 2"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::read(world.path(DRAFT)).expect("a draft"), draft);
}

#[test]
fn a_crash_before_the_first_draft_is_removed_changes_nothing() {
    let mut world = World::prepared(|_| {});
    let draft = fs::read_to_string(world.path(DRAFT)).expect("a draft");
    world.start();
    assert!(world.version(1).exists() && !world.path(DRAFT).exists());
    world.kill9();
    world.write(DRAFT, &draft);
    world.start();
    assert_eq!(
        (world.in_force(), world.ready()["notes"].clone()),
        (1, json!([]))
    );
    assert_says(
        world.must(&["remove", "approver", "dora"]),
        "draft of version 2",
    );
    let second = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    });
    assert_eq!(world.envelope_of(2), roster_version(&second, &[]));
}

#[test]
fn a_start_with_an_unlisted_key_names_the_command_that_adds_the_key() {
    let mut world = World::prepared(|_| {});
    world.write(
        "b/boundary/key.pem",
        second_key().secret.to_pkcs8_v1_pem().as_str(),
    );
    let why = world.try_start().expect_err("the roster has another key");
    // A key file has no comment.
    let line = second_key()
        .ssh
        .line()
        .trim_end_matches(" boundary")
        .to_owned();
    let words = format!("add it with `countersign roster add boundary prod --key '{line}'`");
    assert!(why.contains("roster.d") && why.contains(&words), "{why}");
    world.must(&["add", "boundary", "prod", "--key", &line]);
    world.start();
}

#[test]
fn doctor_and_registry_check_compare_the_runbooks_with_the_draft() {
    let world = World::new();
    let front = format!("approvals: {{required: 1, from: [dba]}}\n{SMALL}");
    world.write("b/runbooks/db.md", &runbook(&front, &[("go", ":")]));
    let check = |code| {
        let mut check = world.program(&["registry", "check", "--config"]);
        let check = check.arg(world.path("b")).arg(world.path("b/runbooks"));
        said(&exited(check.output().expect("started"), code))
    };
    assert_says(check(1), "no group dba");
    let line = grace().ssh.line().to_owned();
    let drafted = world.must(&["add", "approver", "grace", "--key", &line, "--group", "dba"]);
    assert!(drafted.contains("0 of 2 approvers"), "{drafted}");
    let checked = check(0);
    assert!(!checked.contains("dba"), "{checked}");
    let doctor = world.program(&["doctor"]).arg(world.path("b")).output();
    let doctor = said(&doctor.expect("started"));
    let access: Vec<_> = doctor
        .lines()
        .filter(|line| line.contains("FIX") && line.contains(" access "))
        .collect();
    assert!(access.is_empty(), "{access:?}");
}

#[test]
fn a_person_who_pinned_version_1_can_sign_under_its_later_versions() {
    let mut world = World::new();
    let approve = |world: &World, id: &str, digest: &str, pinned: &str, key: &Key| {
        let url = world.started["url"].as_str().expect("a URL").to_owned();
        let arguments = [
            "approve", id, "--url", &url, "--roster", pinned, "--yes", "--expect", digest, "--key",
        ];
        let output = world
            .program(&arguments)
            .arg(world.pem(key))
            .output()
            .expect("started");
        (output.status.code().expect("a code"), said(&output))
    };
    let v1 = world.pinned(1);
    let first = world.envelope_of(1);
    let other =
        |edit: &dyn Fn(&mut Value)| roster_version(&next_roster(&first, edit), &[&alice(), &bob()]);
    let v2 = other(&|tables| without(tables, "approvers", "dora"));
    // The approver trusts version 2, but the boundary has version 1: the boundary was set back or is not updated yet.
    // The program does not sign.
    world.write("v2.json", &v2.to_string());
    let newer = world.path("v2.json").to_string_lossy().into_owned();
    let offered = world.propose("two:go", json!({}));
    let (code, text) = approve(
        &world,
        id_of(&offered),
        offered["digest"].as_str().expect("a digest"),
        &newer,
        &alice(),
    );
    assert!(code == 126 && text.contains("(version 2)"), "{text}");
    world.put_version(2, &v2);
    world.restart();
    assert_eq!(world.in_force(), 2);
    let removed = world
        .program(&["inbox", "--url", &world.wire.url, "--key"])
        .arg(world.pem(&dora()))
        .output();
    let removed = said(&removed.expect("started"));
    let words = format!(
        "the key {} is in no role of roster version 2; version 2 removed it",
        dora().keyid()
    );
    assert!(
        removed.contains(&words) && removed.contains("dora.pem"),
        "{removed}"
    );
    let digest = offered["digest"].as_str().expect("a digest");
    let fork = other(&|tables| without(tables, "approvers", "frank"));
    world.write("fork.json", &fork.to_string());
    let fork = world.path("fork.json").to_string_lossy().into_owned();
    let (code, text) = approve(&world, id_of(&offered), digest, &fork, &alice());
    assert!(code == 126, "{text}");
    let (code, text) = approve(&world, id_of(&offered), digest, &v1, &alice());
    let joined = text.replace("\n            + ", "");
    assert!(
        code == 0 && joined.contains("version 2, followed from 1"),
        "{text}"
    );
    let (code, text) = approve(&world, id_of(&offered), digest, &newer, &bob());
    assert!(code == 0, "{text}");
    let finished = world.until(id_of(&offered), "finished");
    assert_eq!(
        people::sha256(&bytes_of(&finished)),
        digest["sha256:".len()..]
    );
}

#[test]
fn a_crash_during_a_roster_change_leaves_the_old_or_the_new_roster_version() {
    let mut world = World::new();
    let mut before = world.envelope_of(1);
    for version in 2..8_u64 {
        let next = roster_version(
            &next_roster(&before, |tables| {
                tables["groups"][format!("group-{version}")] = json!({})
            }),
            &[&alice(), &bob()],
        );
        world.put_version(version, &next);
        before = next;
        world.stop();
        // SIGKILL arrives at different times of the start: before, during and after the commit of the seal.
        let mut child = world.program(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        let child = child
            .arg(world.path("b"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = child.spawn().expect("serve");
        std::thread::sleep(Duration::from_millis(version * 25 - 40));
        child.kill().expect("killed");
        child.wait().expect("ended");
        world.start();
        assert_eq!(world.in_force(), version, "{}", world.notes());
    }
    let seals: Vec<Value> = world
        .log()
        .into_iter()
        .filter(|(kind, _)| kind == "seal")
        .map(|(_, seal)| seal["predicate"].clone())
        .collect();
    for (at, seal) in seals.iter().enumerate() {
        assert_eq!(seal["number"], json!(at), "no seal twice, none left out");
    }
    let mut rosters: Vec<&str> = seals
        .iter()
        .map(|seal| seal["roster"].as_str().expect("a digest"))
        .collect();
    rosters.dedup();
    assert_eq!(rosters.len(), 7, "each version was sealed once, in order");
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let (code, report) = world.verify_pinned(&world.bundle(&finished), &world.pinned(1));
    assert_eq!(code, 0, "{report:#}");
    assert_audited(&world, &[world.pinned(1), world.pinned(7)]);
}

#[test]
fn versions_that_would_not_fit_into_a_bundle_are_not_accepted() {
    const CROWD: u32 = 600;
    let names = [1, 2, 3].map(|at| format!("{}{at}", "group-".repeat(10)));
    let crowd: serde_json::Map<String, Value> = (0..CROWD)
        .map(|at| {
            let mut seed = [200; 32];
            seed[..4].copy_from_slice(&at.to_be_bytes());
            let public = documents::SecretKey::from_seed(seed).public();
            let key = documents::SshKey::from_public(public, "").expect("a key");
            let entry = json!({"groups": [], "keys": [key.line()]});
            (format!("p{at}"), entry)
        })
        .collect();
    let mut world = World::new();
    let mut before = world.envelope_of(1);
    let mut versions = Vec::new();
    let mut bytes = 0;
    while bytes < 4 << 20 {
        let groups = match versions.len() % 2 {
            0 => json!(names),
            _ => json!([]),
        };
        let payload = next_roster(&before, |tables| {
            let people = tables["approvers"].as_object_mut().expect("a table");
            if versions.is_empty() {
                people.extend(crowd.clone());
                for name in &names {
                    tables["groups"][name] = json!({});
                }
            }
            let people = tables["approvers"].as_object_mut().expect("a table");
            for name in crowd.keys() {
                people[name]["groups"] = groups.clone();
            }
        });
        assert!(payload.len() <= 256 << 10, "{}", payload.len());
        before = roster_version(&payload, &[&alice(), &bob()]);
        bytes += crowd.len() * (r#""p100":{"groups":},"#.len() + groups.to_string().len());
        world.put_version(versions.len() as u64 + 2, &before);
        versions.push(before.clone());
    }
    world.restart();
    // All versions are signed, but a bundle under the last version could be too large, so no receipt could be verified.
    let last = versions.len() as u64 + 1;
    let notes = world.notes();
    let in_force = world.in_force();
    assert!(in_force > 10 && in_force < last, "{in_force}: {notes}");
    let refused = format!("version {last} of the roster is signed and not in force: a bundle of ");
    assert!(
        notes.contains(&refused) && notes.contains("bundles_from_roster"),
        "{notes}"
    );
    let soon = "a later seal may be refused: a bundle of ";
    assert!(notes.contains(soon), "{notes}");
    let mut seal = world.program(&["seal", "--config"]);
    let sealed = seal.arg(world.path("b")).output().expect("seal");
    assert_says(said(&sealed), soon);
    let metrics = world.wire.get("/metrics", &world.reader).samples();
    let used = metrics["countersign_seal_bound_percent{bound=\"bundle\"}"];
    assert!((80.0..=100.0).contains(&used), "{used}");
    // A running service reports its notes itself, so `doctor` notes them while no service runs.
    world.stop();
    let doctor = world.program(&["doctor"]).arg(world.path("b")).output();
    // `doctor` breaks long lines.
    let doctor = said(&doctor.expect("doctor"));
    let words: Vec<&str> = doctor.split_whitespace().collect();
    assert_says(words.join(" "), soon.trim_end());
    world.start();
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let bundle = world.bundle(&finished);
    assert!(bundle.len() <= 4 << 20, "{}", bundle.len());
    let (code, report) = world.verify_pinned(&bundle, &world.pinned(1));
    assert_eq!(code, 0, "{report:#}");
    // Bundles that begin later let the last version come into force.
    let config = fs::read_to_string(world.path("b/countersign.toml")).expect("read");
    world.write(
        "b/countersign.toml",
        &format!("bundles_from_roster = {in_force}\n{config}"),
    );
    world.restart();
    assert_eq!(world.in_force(), last, "{}", world.notes());
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let bundle = world.bundle(&finished);
    assert!(bundle.len() < 2 << 20, "{}", bundle.len());
    for (pinned, code) in [(in_force, 0), (last, 0), (1, 2)] {
        let (said, report) = world.verify_pinned(&bundle, &world.pinned(pinned));
        assert_eq!(said, code, "{report:#}");
    }
}

#[test]
fn a_person_cannot_have_the_name_of_a_token() {
    let mut world = World::new();
    for name in ["agent", "reader"] {
        let v2 = next_roster(&world.envelope_of(1), |tables| {
            tables["approvers"][name] = approver(&grace());
        });
        world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
        world.restart();
        assert_eq!(world.in_force(), 1);
        assert!(
            world.notes().contains(&format!(
                "the same name as the approver {name} of the roster"
            )),
            "{}",
            world.notes()
        );
        // In the second round, the token is revoked. Its name is still not available, because the log contains
        // proposals under the name.
        world
            .control(&json!({"do": "token-revoke", "name": "reader"}))
            .ok();
    }
}

#[test]
fn a_new_boundary_may_begin_with_a_later_version() {
    let mut world = World::prepared(|_| {});
    let shown = world.tool(&["--json", "show"]);
    let v1: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    // Version 2 is missing before version 3, beside the draft of version 1 and beside its file.
    let third = next_roster(&roster_version(&next_roster(&v1, |_| {}), &[]), |_| {});
    world.put_version(3, &roster_version(&third, &[&alice(), &bob()]));
    let draft = fs::read_to_string(world.path(DRAFT)).expect("a draft");
    for has_file in [false, true] {
        if has_file {
            fs::remove_file(world.path(DRAFT)).expect("removed");
            world.put_version(1, &v1);
        }
        assert_says(
            world.try_start().expect_err("a gap"),
            "begins with version 3 of a roster needs all versions, signed",
        );
    }
    fs::remove_file(world.version(3)).expect("removed");
    world.write(DRAFT, &draft);
    assert_says(
        world.try_start().expect_err("version 1 twice"),
        "this draft and 1.json are both version 1",
    );
    fs::remove_file(world.version(1)).expect("removed");
    world.edit_draft(|draft| {
        draft["version"] = json!(2);
        draft["previous"] = draft["policy"].clone();
    });
    assert_says(
        world
            .try_start()
            .expect_err("version 1 and the signatures are missing"),
        "needs all versions, signed",
    );
    fs::remove_file(world.path(DRAFT)).expect("removed");
    world.put_version(1, &v1);
    let v2 = next_roster(&v1, |_| {});
    world.put_version(2, &roster_version(&v2, &[&alice()]));
    assert_says(
        world.try_start().expect_err("one signature is missing"),
        "needs all versions, signed",
    );
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.start();
    world.make_tokens();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    assert_eq!(
        world.log()[0].1["predicate"]["roster"],
        json!(world.pinned(2))
    );
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    for version in [1, 2] {
        let (code, report) = world.verify_pinned(&world.bundle(&finished), &world.pinned(version));
        assert_eq!(code, 0, "{report:#}");
    }
}

#[test]
fn a_boundary_key_can_be_replaced_with_three_starts() {
    let mut world = World::new();
    world.write(
        "b/boundary/key-2.pem",
        second_key().secret.to_pkcs8_v1_pem().as_str(),
    );
    let lines = |keys: &[&Key]| json!(keys.iter().map(|key| key.ssh.line()).collect::<Vec<_>>());
    let mut runs = vec![world.run("plain:true", json!({}), &[&alice()])];
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        tables["boundaries"]["prod"]["keys"] = lines(&[&boundary_key(), &second_key()])
    });
    let v2 = roster_version(&v2, &[&alice(), &bob()]);
    world.put_version(2, &v2);
    // Each restart follows SIGKILL, so the service must continue from the state on disk.
    world.kill9();
    world.start();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    runs.push(world.run("plain:true", json!({}), &[&alice()]));
    let running = world.propose("plain:wait", json!({}));
    assert_eq!(world.sign(&running, &[&alice()]).status, 200);
    world.until(id_of(&running), "running");
    world.kill9();
    // The roster of this seal contains both keys, so the new key may sign the receipt of a run under the old key.
    set_key(&world, "key-2.pem");
    world.start();
    let unknown = world.show(id_of(&running));
    assert_eq!(unknown["outcome"]["status"], "unknown");
    assert_eq!(
        world.receipt(&unknown)["boundary"]["keyid"],
        json!(second_key().keyid())
    );
    runs.push(unknown);
    let v3 = next_roster(&v2, |tables| {
        tables["boundaries"]["prod"]["keys"] = lines(&[&second_key()])
    });
    world.put_version(3, &roster_version(&v3, &[&alice(), &bob()]));
    world.kill9();
    world.start();
    assert_eq!(world.in_force(), 3, "{}", world.notes());
    runs.push(world.run("plain:true", json!({}), &[&alice()]));
    for finished in &runs {
        for version in 1..=3 {
            let file = world.version(version).to_string_lossy().into_owned();
            // A verifier cannot connect a file of version 3 alone with version 1, and the older bundles contain only
            // earlier versions.
            let pinned = if version < 3 { file } else { world.pinned(1) };
            let (code, report) = world.verify_pinned(&world.bundle(finished), &pinned);
            assert_eq!(code, 0, "{pinned}: {report:#}");
        }
    }
    assert_both_verifiers_agree(&world, &runs.iter().collect::<Vec<_>>(), 3);
    assert_audited(&world, &[world.pinned(1), world.pinned(2), world.pinned(3)]);
}

#[test]
fn an_ssh_key_signs_a_roster_through_ssh_keygen() {
    if !support::has("ssh-keygen") {
        support::not_run(
            "an_ssh_key_signs_a_roster_through_ssh_keygen",
            "there is no ssh-keygen",
        );
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("id_ed25519");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "sam", "-f"])
        .arg(&key)
        .status();
    assert!(made.expect("ssh-keygen").success());
    let line = fs::read_to_string(key.with_extension("pub")).expect("a public key");
    let mut world = World::with(|setup| {
        setup.roster["approvers"]["sam"] = json!({"groups": ["ops"], "keys": [line.trim()]});
    });
    world.must(&["remove", "approver", "frank"]);
    let pinned = world.pinned(1);
    assert!(world.sign_version(2, &alice(), &pinned).status.success());
    let digest = world.pinned(2);
    let mut command = world.program(&[
        "roster", "sign", "--roster", &pinned, "--yes", "--expect", &digest, "--key",
    ]);
    said_at_exit(
        command
            .arg(&key)
            .arg(world.version(2))
            .output()
            .expect("started"),
        0,
        "signatures are complete",
    );
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    assert_eq!(world.verify_pinned(&world.bundle(&finished), &pinned).0, 0);
}

#[test]
fn an_unreadable_roster_version_does_not_prevent_a_start() {
    let mut world = World::new();
    let v2 = next_roster(&world.envelope_of(1), |_| {});
    let signed = roster_version(&v2, &[&alice(), &bob()]);
    let place = world.version(2);
    let seal = world.seal();
    let start = |world: &mut World, what: &str| {
        world.restart();
        assert_eq!((world.in_force(), world.seal()), (1, seal), "{what}");
        assert!(
            world.notes().contains("2.json"),
            "{what}: {}",
            world.notes()
        );
    };
    fs::create_dir(&place).expect("a directory");
    start(&mut world, "a directory");
    fs::remove_dir(&place).expect("removed");
    let made = std::process::Command::new("mkfifo")
        .arg(&place)
        .status()
        .expect("mkfifo");
    assert!(made.success());
    start(&mut world, "a fifo");
    fs::remove_file(&place).expect("removed");
    fs::write(&place, vec![b' '; 3 << 20]).expect("written");
    start(&mut world, "blanks of 3 MiB");
    fs::write(&place, [0xff, 0xfe, 0]).expect("written");
    start(&mut world, "no UTF-8");
    fs::remove_file(&place).expect("removed");
    std::os::unix::fs::symlink(world.path("nowhere"), &place).expect("a link");
    start(&mut world, "a link to nothing");
    fs::remove_file(&place).expect("removed");
    // A regular file has the path of the directory, so the service can neither store nor find a version.
    let directory = world.path("b/boundary/roster.d");
    fs::remove_dir_all(&directory).expect("removed");
    fs::write(&directory, "x").expect("written");
    world.restart();
    assert_eq!(world.in_force(), 1);
    assert!(world.notes().contains("roster.d"), "{}", world.notes());
    fs::remove_file(&directory).expect("removed");
    world.put_version(2, &signed);
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
}

#[test]
fn a_waiting_run_that_a_removed_approver_approved_is_refused() {
    let mut world = World::with(|setup| setup.limits = "runs = 1".to_owned());
    let running = world.propose("plain:wait", json!({}));
    assert_eq!(world.sign(&running, &[&alice()]).status, 200);
    world.until(id_of(&running), "running");
    let approved = world.propose("two:go", json!({}));
    assert_eq!(world.sign(&approved, &[&dora(), &bob()]).status, 200);
    world.until(id_of(&approved), "approved");
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.kill9();
    world.start();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let refused = world.until(id_of(&approved), "refused");
    assert_eq!(refused["refusal"]["code"], "quorum-missing", "{refused:#}");
    assert_eq!(world.count("consumption"), 1, "its nonce is not spent");
    assert_audited(&world, &[world.pinned(1)]);
}

/// A world whose roster needs only one signature for the next version.
fn world_of_one() -> World {
    let mut world = World::prepared(|_| {});
    world.edit_draft(|draft| draft["threshold"] = json!(1));
    world.start();
    world.make_tokens();
    world
}

/// The next key of alice.
fn alice_too() -> Key {
    Key::of("alice-2", 42)
}

impl Key {
    /// Writes the public key to a file and returns the path for `roster add`.
    fn line_in(&self, world: &World) -> String {
        let name = format!("{}.pub", self.name);
        world.write(&name, &format!("{}\n", self.ssh.line()));
        world.path(&name).to_string_lossy().into_owned()
    }
}

#[test]
fn one_approver_replaces_the_key_and_signs_with_both_keys() {
    let mut world = world_of_one();
    let pinned = world.pinned(1);
    world.must(&[
        "add",
        "approver",
        "alice",
        "--key",
        &alice_too().line_in(&world),
    ]);
    world.must(&["remove", "approver", "alice", "--key", &alice().keyid()]);
    let signed = said(&world.sign_version(2, &alice(), &pinned));
    assert!(
        signed.contains("0 of 1 approvers of version 2 signed, 1 more of alice"),
        "{signed}"
    );
    let again = said(&world.sign_version(2, &alice(), &pinned));
    assert!(
        again.contains("signed this version already") && !again.contains("signatures are complete"),
        "{again}"
    );
    assert_says(
        said(&world.sign_version(2, &alice_too(), &pinned)),
        "signatures are complete",
    );
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let finished = world.run("plain:true", json!({}), &[&alice_too()]);
    assert_both_verifiers_agree(&world, &[&finished], 2);
    assert_audited(&world, &[pinned, world.pinned(2)]);
}

#[test]
fn a_person_with_an_old_key_and_a_new_one_signs_in_any_order() {
    let mut world = world_of_one();
    let pinned = world.pinned(1);
    world.must(&[
        "add",
        "approver",
        "alice",
        "--key",
        &alice_too().line_in(&world),
    ]);
    let draft = world.envelope_of(2);
    let signers = |envelope: &Value| -> Vec<Value> {
        let signatures = envelope["signatures"].as_array().expect("a list");
        signatures
            .iter()
            .map(|signature| signature["keyid"].clone())
            .collect()
    };
    // The old key counts for version 1 and version 2, the new key only for version 2.
    let both = roster_version(&people::payload_of(&draft), &[&alice(), &alice_too()]);
    world.put_version(2, &both);
    world.restart();
    let notes = world.notes();
    assert!(
        notes.contains("does not count") && notes.contains("roster merge"),
        "refused, and the way out: {notes}"
    );
    assert!(
        world
            .must(&["merge", &world.version(2).to_string_lossy()])
            .contains("signatures are complete")
    );
    for keys in [[alice(), alice_too()], [alice_too(), alice()]] {
        world.put_version(2, &draft);
        for key in &keys {
            exited(world.sign_version(2, key, &pinned), 0);
        }
        assert_eq!(
            signers(&world.envelope_of(2)),
            [alice().keyid()],
            "what does not count is left out"
        );
        assert!(world.must(&["show"]).contains("version 2 is signed"));
        // The two signatures are in two copies, and `merge` combines the copies.
        let payload = people::payload_of(&draft);
        world.write(
            "other.json",
            &roster_version(&payload, &[&keys[1]]).to_string(),
        );
        world.put_version(2, &roster_version(&payload, &[&keys[0]]));
        let [file, other] = [world.version(2), world.path("other.json")]
            .map(|path| path.to_string_lossy().into_owned());
        let merged = world.must(&["merge", &file, &other]);
        assert!(
            merged.contains("signatures are complete") && merged.contains("left out"),
            "{merged}"
        );
        assert_eq!(signers(&world.envelope_of(2)), [alice().keyid()]);
    }
    // A draft of the same statement is signed together with the signatures of the version's file.
    world.put_version(2, &roster_version(&people::payload_of(&draft), &[&bob()]));
    let draft = world.path(DRAFT).to_string_lossy().into_owned();
    let review = world.must(&["sign", &draft, "--review", "--roster", &pinned]);
    assert!(
        review.contains("1 of 1 approvers of version 1 signed (bob)"),
        "{review}"
    );
}

#[test]
fn a_roster_version_that_is_not_accepted_does_not_block_earlier_versions() {
    let mut world = World::new();
    let lines = |keys: &[&Key]| json!(keys.iter().map(|key| key.ssh.line()).collect::<Vec<_>>());
    let signed = |payload: &[u8]| roster_version(payload, &[&alice(), &bob()]);
    let v2 = signed(&next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    }));
    let v3 = signed(&next_roster(&v2, |tables| {
        tables["boundaries"]["prod"]["keys"] = lines(&[&second_key()])
    }));
    world.put_version(2, &v2);
    world.put_version(3, &v3);
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let notes = world.notes();
    assert!(
        notes.contains("version 3 of the roster is signed and not in force: the roster gives the boundary prod other")
    );
    assert!(!notes.contains("version 2 of the roster"), "{notes}");
    let offered = world.propose("two:go", json!({}));
    world
        .unchanged(|| world.sign(&offered, &[&dora()]))
        .problem("unknown-signer");

    // Versions 3 and 4 each need another boundary key. A start with the key of version 3 accepts no later version.
    let third = Key::of("boundary", 43);
    let v4 = signed(&next_roster(&v3, |tables| {
        tables["boundaries"]["prod"]["keys"] = lines(&[&third])
    }));
    world.put_version(4, &v4);
    for (name, key, version) in [("key-2.pem", second_key(), 3), ("key-3.pem", third, 4)] {
        world.write(
            &format!("b/boundary/{name}"),
            key.secret.to_pkcs8_v1_pem().as_str(),
        );
        world.stop();
        set_key(&world, name);
        world.start();
        assert_eq!(world.in_force(), version, "{}", world.notes());
    }
    assert_audited(&world, &[world.pinned(1)]);
}

#[test]
fn offline_token_commands_do_not_accept_waiting_roster_versions() {
    let mut world = World::new();
    let seal = world.seal();
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    world.write(
        "b/runbooks/more.md",
        &support::runbook(support::SMALL, &[("go", ":")]),
    );
    world.stop();
    let config = world.path("b").to_string_lossy().into_owned();
    let token = |arguments: &[&str]| {
        let output = world
            .program(&["token", "--config", &config])
            .args(arguments)
            .output()
            .expect("started");
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let listed = token(&["list"]);
    assert!(
        listed.contains("agent") && listed.contains("courier"),
        "{listed}"
    );
    fs::rename(world.version(2), world.path("2.json")).expect("moved");
    let more = world.path("b/runbooks/more.md");
    fs::rename(&more, world.path("more.md")).expect("moved");
    world.start();
    assert_eq!(
        (world.in_force(), world.seal()),
        (1, seal),
        "to list puts nothing in force: {}",
        world.notes()
    );
    // A token command seals only tokens.
    world.stop();
    fs::rename(world.path("2.json"), world.version(2)).expect("moved");
    fs::rename(world.path("more.md"), &more).expect("moved");
    let token = |arguments: &[&str]| {
        let output = world
            .program(&["token", "--config", &config])
            .args(arguments)
            .output()
            .expect("started");
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    token(&["revoke", "courier"]);
    token(&["create", "other", "--owner", "bob"]);
    world.start();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    let seals: Vec<Value> = world
        .log()
        .into_iter()
        .filter(|(kind, _)| kind == "seal")
        .map(|(_, seal)| seal["predicate"].clone())
        .collect();
    let of_tokens = &seals[seal as usize..];
    for (at, after) in of_tokens[1..3].iter().enumerate() {
        for same in ["roster", "policy", "registry"] {
            assert_eq!(after[same], of_tokens[0][same], "{same} of seal {at} on");
        }
        assert_ne!(after["tokens"], of_tokens[at]["tokens"]);
    }
    assert_eq!(of_tokens.len(), 4, "one each, and one of the start");
    assert_ne!(of_tokens[3]["roster"], of_tokens[0]["roster"]);
    assert_audited(&world, &[world.pinned(1)]);
}

#[test]
fn the_token_list_command_creates_no_log() {
    let world = World::prepared(|_| {});
    let config = world.path("b").to_string_lossy().into_owned();
    exited(
        world
            .program(&["token", "list", "--config", &config])
            .output()
            .expect("started"),
        0,
    );
    assert!(
        !world.version(1).exists() && !world.database().exists(),
        "version 1 is sealed by a start"
    );
}

#[test]
fn the_token_list_command_reports_a_lost_store() {
    let mut world = World::new();
    world.stop();
    fs::remove_file(world.database()).expect("removed");
    let config = world.path("b").to_string_lossy().into_owned();
    let listed = world
        .program(&["token", "list", "--config", &config])
        .output()
        .expect("started");
    assert!(
        !listed.status.success() && said(&listed).contains("countersign.db"),
        "{}",
        said(&listed)
    );
    assert!(!world.database().exists());
}

#[test]
fn an_unfinished_roster_edit_does_not_prevent_a_restart() {
    let mut world = World::new();
    let seal = world.seal();
    world.must(&["set", "threshold", "1"]);
    let files = ["b/boundary/policy.yaml", DRAFT];
    let texts = files.map(|file| fs::read_to_string(world.path(file)).expect("read"));
    let mode = |world: &World, file: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(world.path(file), fs::Permissions::from_mode(mode)).expect("set");
    };
    for (file, text) in files.iter().zip(&texts) {
        world.write(file, &format!("{text}\n[[["));
        world.restart();
        assert_eq!((world.in_force(), world.seal()), (1, seal));
        let name = file.rsplit('/').next().expect("a name");
        let notes = world.notes();
        assert!(
            notes.contains(name)
                && (*file == DRAFT || notes.contains("the sealed state stays in force")),
            "{notes}"
        );
        world.write(file, text);
        mode(&world, file, 0o664);
        world.restart();
        assert!(world.notes().contains("chmod go-w"), "{}", world.notes());
        mode(&world, file, 0o600);
        fs::remove_file(world.path(file)).expect("removed");
        world.restart();
        // The next version needs the policy, but no draft.
        for notes in [world.notes(), world.started["notes"].to_string()] {
            assert_eq!(notes.contains(name), *file != DRAFT, "{notes}");
        }
    }
    // The boundary needs neither file to accept version 2, because the version names the sealed policy.
    let v2 = next_roster(&world.envelope_of(1), |tables| {
        without(tables, "approvers", "dora")
    });
    world.put_version(2, &roster_version(&v2, &[&alice(), &bob()]));
    let home = world.path("b").to_string_lossy().into_owned();
    let doctor = world.program(&["doctor", &home]).output().expect("started");
    assert!(
        !doctor.status.success() && said(&doctor).contains("policy.yaml"),
        "{}",
        said(&doctor)
    );
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    // The first start of a log needs both files.
    let mut fresh = World::prepared(|_| {});
    fresh.write("b/boundary/policy.yaml", "[[[");
    fresh.write(DRAFT, "[[[");
    let why = fresh.try_start().expect_err("nothing to seal");
    assert!(
        why.contains("policy.yaml") && why.contains("next.json"),
        "{why}"
    );
    // After a crash with an empty store, a start also needs both files.
    fs::write(fresh.database(), "").expect("written");
    mode(&fresh, "b/boundary/countersign.db", 0o600);
    let why = fresh.try_start().expect_err("nothing to seal");
    assert!(
        why.contains("policy.yaml") && why.contains("next.json"),
        "{why}"
    );
}

#[test]
fn a_file_that_is_no_roster_version_is_moved_away_and_drafted_again() {
    let world = World::new();
    world.write("b/boundary/roster.d/2.json", "{\"payload\":");
    let refused = world.tool(&["remove", "approver", "dora"]);
    assert!(
        !refused.status.success() && said(&refused).contains("move the file away"),
        "{}",
        said(&refused)
    );
    assert!(!world.path(DRAFT).exists());
    fs::rename(world.version(2), world.path("2.json")).expect("moved");
    world.must(&["remove", "approver", "dora"]);
    exited(world.sign_version(2, &alice(), &world.pinned(1)), 0);
    assert!(world.version(2).exists());
}

#[test]
fn a_service_can_read_roster_versions_that_root_has_written() {
    use std::os::unix::fs::PermissionsExt as _;
    // The service's umask denies access by other users, but these files contain only public keys and signatures.
    let world = World::new();
    let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(
        (
            mode(world.path("b/boundary/roster.d")),
            mode(world.version(1))
        ),
        (0o755, 0o644)
    );
}

/// Puts version 2 of the roster beside the boundary: version 1 with a change, and with these signatures.
fn put_second(world: &World, change: impl Fn(&mut Value), signers: &[&Key]) {
    let first = world.envelope_of(1);
    let mut tables = people::predicate_of(&first);
    tables["version"] = json!(2);
    tables["previous"] = json!(world.pinned(1));
    change(&mut tables);
    world.put_version(
        2,
        &roster_version(&people::roster_statement(&tables), signers),
    );
}

#[test]
fn bundles_of_one_call_complete_each_others_versions_in_any_order() {
    let mut world = World::new();
    let early = world.run("plain:true", json!({}), &[&alice()]);
    let early = world.bundle(&early);
    for version in 2..=3 {
        let next = next_roster(&world.envelope_of(version - 1), |_| {});
        world.put_version(version, &roster_version(&next, &[&alice(), &bob()]));
        world.restart();
        assert_eq!(world.in_force(), version, "{}", world.notes());
    }
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let whole = world.bundle(&finished);
    let id = finished["receipt"].as_str().expect("a receipt");
    let path = format!("/v1/receipts/{id}/bundle?from_roster=3");
    let late = world.wire.get(&path, &world.reader).ok(200).to_string();
    world.write("late.json", &late);
    fs::write(world.path("whole.json"), whole).expect("written");
    fs::write(world.path("early.json"), early).expect("written");
    let third = world.pinned(3);
    let verified = |bundles: &[&str]| {
        let mut command = world.program(&["verify", "--roster", &third]);
        command.args(bundles.iter().map(|bundle| world.path(bundle)));
        command.output().expect("verify")
    };
    // The late bundle has version 3 alone, which does not lead to version 1.
    exited(verified(&["late.json", "early.json"]), 2);
    for order in [
        ["late.json", "whole.json", "early.json"],
        ["early.json", "late.json", "whole.json"],
        ["whole.json", "early.json", "late.json"],
    ] {
        exited(verified(&order), 0);
    }
}

#[test]
fn an_export_with_an_old_pin_keeps_which_blobs_have_the_versions_of_the_roster() {
    let mut world = World::new();
    let mirror = world.path("mirror");
    let export = |world: &World| {
        let mut command = world.program(&["log", "export", "--roster", &world.pinned(1)]);
        command.args(["--url", &world.wire.url]).arg(&mirror);
        command.env("COUNTERSIGN_TOKEN", &world.reader);
        exited(command.output().expect("export"), 0);
    };
    let size = |world: &World| world.log_size();
    let kept = || -> Value {
        let file = fs::read(mirror.join("rosters.json")).expect("kept");
        serde_json::from_slice(&file).expect("JSON")
    };
    for version in 2..=3 {
        let next = next_roster(&world.envelope_of(version - 1), |_| {});
        world.put_version(version, &roster_version(&next, &[&alice(), &bob()]));
        world.restart();
        export(&world);
    }
    // The copy ended with version 2 before the last export.
    let (first, sealed) = (kept(), size(&world));
    assert_eq!(first["parts"].as_array().map(Vec::len), Some(2), "{first}");
    world.run("plain:true", json!({}), &[&alice()]);
    export(&world);
    let second = kept();
    assert_eq!(second["entries"], json!(sealed), "{second}");
    assert_eq!(
        second["parts"].as_array().map(Vec::len),
        Some(3),
        "{second}"
    );
    // Nothing rests on the file.
    let wrong = json!({"entries": sealed, "parts": [first["parts"][1]]});
    let ahead = json!({"entries": sealed + 1_000, "parts": second["parts"]});
    for text in [wrong.to_string(), ahead.to_string(), "[]".to_owned()] {
        fs::write(mirror.join("rosters.json"), text).expect("written");
        world.run("plain:true", json!({}), &[&alice()]);
        export(&world);
        assert_eq!(kept()["parts"], second["parts"]);
    }
    let place = mirror.to_string_lossy().into_owned();
    let mut audit = world.program(&["audit", &place, "--roster", &world.pinned(1)]);
    exited(audit.output().expect("audit"), 0);
}

fn revoke_key(world: &World, key: &Key, signer: &Key) {
    let payload = people::key_revocation(&world.boundary(), key);
    world
        .wire
        .post("/v1/revocations", "", &roster_version(&payload, &[signer]))
        .ok(200);
}

#[test]
fn a_version_that_reaches_its_threshold_only_with_a_revoked_key_is_not_put_in_force() {
    let mut world = World::new();
    let unchanged = |_: &mut Value| {};
    put_second(&world, unchanged, &[&alice(), &bob()]);
    revoke_key(&world, &alice(), &oscar());
    world.restart();
    assert!(
        world.in_force() == 1 && world.notes().contains("a key that signed it is revoked"),
        "{}",
        world.notes()
    );
    // The signature of another person completes the version.
    put_second(&world, unchanged, &[&alice(), &bob(), &dora()]);
    world.restart();
    assert_eq!(world.in_force(), 2, "{}", world.notes());
    world.assert_audited();
}

#[test]
fn a_service_with_a_revoked_key_does_not_start_and_its_next_key_goes_on_with_the_log() {
    let mut world = World::new();
    let keys = json!([boundary_key().ssh.line(), second_key().ssh.line()]);
    put_second(
        &world,
        |tables| tables["boundaries"]["prod"]["keys"] = keys.clone(),
        &[&alice(), &bob()],
    );
    world.restart();
    let payload = people::key_revocation(&world.boundary(), &boundary_key());
    let own = world.wire.post(
        "/v1/revocations",
        "",
        &roster_version(&payload, &[&oscar()]),
    );
    own.problem("wrong-state");
    world.stop();
    world.write(
        "b/boundary/key.pem",
        second_key().secret.to_pkcs8_v1_pem().as_str(),
    );
    world.start();
    revoke_key(&world, &boundary_key(), &oscar());
    world.run("plain:true", json!({}), &[&alice()]);
    world.assert_audited();
    world.stop();
    world.write(
        "b/boundary/key.pem",
        boundary_key().secret.to_pkcs8_v1_pem().as_str(),
    );
    assert_says(
        world.try_start().expect_err("the key is revoked"),
        "is revoked: under `key`",
    );
}
