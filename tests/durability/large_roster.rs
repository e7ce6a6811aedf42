//! A roster of 200 people with many versions: seals, runs, bundles, audits and a restored backup. `scripts/large-roster`
//! plays 1,100 versions.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use documents::{SecretKey, SshKey, sha256};
use serde_json::{Value, json};

use crate::passkey::{HOST, LINE, blob, line_of};
use crate::second;
use crate::store_care::{must, store};
use crate::support::people::{self, Key, alice, bob, boundary_key};
use crate::support::{
    KilledAtEnd, SMALL, World, assert_says, exited, id_of, runbook, said, wait_for,
};

/// Number of approvers in version 1.
const PEOPLE: usize = 200;
/// Number of versions after version 1 in a plain test run.
const COUNT: usize = 110;
/// Number of files that the large run leaves.
const FILES: usize = 950;
const PYTHON: &str = "python3, or COUNTERSIGN_PYTHON, runs";

/// The newest version of the roster of a boundary.
struct Rosters {
    tables: Value,
    /// The digest of each version from version 1 on.
    digests: Vec<String>,
    /// Two approvers who stay in the roster and sign every version.
    signers: [Key; 2],
}

impl Rosters {
    /// Reads version 1.
    fn of(world: &World) -> Self {
        let first = fs::read(version_file(world, 1)).unwrap();
        let first = serde_json::from_slice(&first).unwrap();
        Self {
            tables: people::predicate_of(&first),
            digests: vec![digest_of(&people::payload_of(&first))],
            signers: [alice(), bob()],
        }
    }

    /// Returns the digest that pins version 1.
    fn pinned(&self) -> &str {
        &self.digests[0]
    }

    /// Writes the file of the next version: the newest version with an edit, signed.
    fn add(&mut self, world: &World, edit: impl FnOnce(&mut Value)) {
        let number = self.digests.len() + 1;
        edit(&mut self.tables);
        self.tables["version"] = json!(number);
        self.tables["previous"] = json!(self.digests.last());
        let payload = people::roster_statement(&self.tables);
        self.digests.push(digest_of(&payload));
        let version = people::roster_version(&payload, &[&self.signers[0], &self.signers[1]]);
        let file = format!("b/boundary/roster.d/{number}.json");
        world.write(&file, &version.to_string());
    }

    /// Puts all versions in force, and returns the answer of the command.
    fn seal(&self, world: &World) -> Value {
        let mut command = world.boundary_command(&["seal", "--json", "--config"]);
        let sealed = must(command.arg(world.path("b")).output().unwrap());
        assert_eq!(sealed["changed"], json!(true), "{sealed:#}");
        let version = json!(self.digests.len());
        let is_in_force = || world.wire.peek("/ready").ok(200)["roster"]["version"] == version;
        wait_for(&format!("version {version}: {sealed:#}"), is_in_force);
        sealed
    }

    /// Adds ten changes of the policy for each change of a person, with a seal after 55 changes. The last version of each seal names the
    /// policy of the boundary's file, because a seal puts only such a version in force. Returns the answer of the last seal.
    fn change(&mut self, world: &World) -> Value {
        let own = self.tables["policy"].clone();
        let others = [2, 3].map(|required| {
            let approvals = json!({"required": required, "from": ["ops", "security"]});
            let policy = json!({"version": 1, "extends": "none", "default": {"mode": "execute", "approvals": approvals}});
            json!(digest_of(&people::canonical(&policy)))
        });
        let mut sealed = Value::Null;
        for change in 0..changes() {
            let person = change / 11;
            self.add(world, |tables| {
                let number = change - person;
                if change % 11 == 10 {
                    change_person(tables, person);
                } else if number % 2 == 1 {
                    tables["policy"] = own.clone();
                } else {
                    tables["policy"] = others[number / 2 % 2].clone();
                }
            });
            if change % 55 == 54 {
                sealed = self.seal(world);
            }
        }
        sealed
    }
}

/// Changes the groups or the keys of a person, or removes the person. No other change is about this person.
fn change_person(tables: &mut Value, number: usize) {
    let name = name_of(number);
    let approvers = &mut tables["approvers"];
    match number % 4 {
        0 => approvers[&name]["groups"] = json!(["ops", "security"]),
        1 => keys_of(&mut approvers[&name]).push(json!(ssh_line(&format!("second {name}")))),
        2 => drop(keys_of(&mut approvers[&name]).remove(0)),
        _ => remove_person(tables, number),
    }
}

fn remove_person(tables: &mut Value, number: usize) {
    let approvers = tables["approvers"].as_object_mut().unwrap();
    let removed = approvers.remove(&name_of(number));
    assert!(removed.is_some(), "person {number} is in the roster");
}

fn name_of(number: usize) -> String {
    format!("person{number:03}")
}

fn keys_of(approver: &mut Value) -> &mut Vec<Value> {
    approver["keys"].as_array_mut().unwrap()
}

/// Returns the number of versions after version 1, a multiple of 55.
fn changes() -> usize {
    std::env::var("COUNTERSIGN_COUNT").map_or(COUNT, |count| count.parse().unwrap())
}

/// Returns the line of an SSH key whose seed is the hash of a text.
fn ssh_line(text: &str) -> String {
    let secret = SecretKey::from_seed(sha256(text.as_bytes()));
    let key = SshKey::from_public(secret.public(), "person");
    key.unwrap().line().to_owned()
}

/// Returns the line of a passkey. Nobody has its private key, because only its form is read.
fn passkey_line(name: &str) -> String {
    let half = sha256(format!("passkey of {name}").as_bytes());
    let point = [&[4_u8][..], &half, &half].concat();
    line_of(&blob(LINE, "nistp256", &point, HOST))
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", people::sha256(bytes))
}

fn version_file(world: &World, number: usize) -> PathBuf {
    world.path(&format!("b/boundary/roster.d/{number}.json"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A boundary whose version 1 has 200 approvers, each with an SSH key and a passkey.
fn boundary() -> World {
    let mut world = World::prepared(|setup| {
        let files = format!(
            "cd \"$COUNTERSIGN_OUTPUT\"; for i in $(seq {FILES}); do echo \"$i\" > \"file-$i\"; done"
        );
        let apply = ("apply plan=plan plan-max-age=1h", &*files);
        setup.runbook("p.md", runbook(SMALL, &[("plan", "echo files"), apply]));
    });
    world.edit_draft(|draft| {
        let approvers = draft["approvers"].as_object_mut().unwrap();
        for number in 0..PEOPLE - approvers.len() {
            let name = name_of(number);
            let keys = json!([ssh_line(&name)]);
            approvers.insert(name, json!({"groups": ["ops"], "keys": keys}));
        }
        for (name, approver) in approvers.iter_mut() {
            keys_of(approver).push(json!(passkey_line(name)));
        }
        assert_eq!(approvers.len(), PEOPLE);
    });
    world.start();
    world.make_tokens();
    world
}

/// Runs the plan, and then the step that applies the plan and leaves the files.
fn apply(world: &World) -> Value {
    let planned = world.run("p:plan", json!({}), &[&alice()]);
    let mut wish = World::wish("p:apply", json!({}));
    wish["plan"] = planned["receipt"].clone();
    let proposal = world.wire.post("/v1/proposals", &world.agent, &wish);
    let proposal = proposal.ok(201);
    world.sign(&proposal, &[&alice()]).ok(200);
    let applied = world.until(id_of(&proposal), "finished");
    assert_eq!(applied["outcome"]["status"], "succeeded", "{applied:#}");
    applied
}

/// Asserts the sizes in the bundle of the large run, and that its plan has no second chain. Returns the file of the bundle.
fn keep_bundle(world: &World, applied: &Value) -> PathBuf {
    let bytes = world.bundle(applied);
    let bundle: Value = serde_json::from_slice(&bytes).unwrap();
    let size = |part: &str| bundle[part].to_string().len();
    let (roster, manifest) = (size("roster"), size("manifest"));
    let whole = bytes.len();
    let sizes = format!("{whole} bytes: roster {roster}, manifest {manifest}");
    println!("the bundle has {sizes}");
    assert!(roster < 1 << 20, "{sizes}");
    assert!(whole < (1 << 20) + manifest, "{sizes}");
    let count = |part: &str| bundle[part].as_array().map(Vec::len);
    assert_eq!(count("roster"), Some(changes() + 1), "{sizes}");
    assert_eq!(count("manifest"), Some(FILES), "{sizes}");
    assert_eq!(bundle["plan"]["roster"], json!(changes() + 1), "{sizes}");
    let path = world.path("run.bundle.json");
    fs::write(&path, bytes).unwrap();
    path
}

/// Asserts that a version of a bundle is the version that the approvers signed.
fn assert_shown(world: &World, bundle: &Path, rosters: &Rosters) {
    let number = changes() / 2;
    let shown = number.to_string();
    let words = ["roster", "show", "--json", "--version", &shown, "--bundle"];
    let shown = world.program(&words).arg(bundle).output().unwrap();
    let shown: Value = serde_json::from_slice(&exited(shown, 0).stdout).unwrap();
    let digest = digest_of(&people::payload_of(&shown));
    assert_eq!(digest, rosters.digests[number - 1], "{shown:#}");
}

/// Asserts who can verify a bundle whose chain begins with a later version.
fn assert_later_chain(world: &World, applied: &Value) {
    let id = applied["receipt"].as_str().unwrap();
    let begins = changes();
    let path = format!("/v1/receipts/{id}/bundle?from_roster={begins}");
    let reply = world.wire.get(&path, &world.reader);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let bundle = world.path("later.bundle.json");
    fs::write(&bundle, reply.body).unwrap();
    let [first, later] = [1, begins].map(|number| version_file(world, number));
    let ours = |option: &str, roster: &Path| {
        let mut command = world.program(&["verify", option, "--roster", text(roster)]);
        command.arg(&bundle).output().unwrap()
    };
    let theirs = |roster: &Path| {
        let words = ["verify", text(&bundle), "--roster", text(roster)];
        second::python().args(words).output().expect(PYTHON)
    };
    let warning = format!("keys removed before version {begins} of the roster: not checked");
    assert_says(said(&exited(ours("--json", &later), 0)), &warning);
    assert_says(said(&exited(theirs(&later), 0)), &warning);
    let missing = format!("versions 2 to {} of the roster are missing", begins - 1);
    let without_breaks = |output| said(&output).replace("\n              + ", "");
    let undecided = without_breaks(exited(ours("--quiet", &first), 2));
    assert_says(&undecided, "not decided");
    assert_says(&undecided, &missing);
    assert_says(without_breaks(exited(theirs(&first), 2)), &missing);
}

/// Asserts that the bundle of a run is verified with version 1 pinned.
fn assert_verified(world: &World, finished: &Value, rosters: &Rosters) {
    let (code, report) = world.verify_pinned(&world.bundle(finished), rosters.pinned());
    assert_eq!(code, 0, "{report:#}");
}

/// Audits the log with version 1 pinned. The second verifier audits an export with this name.
fn audit(world: &World, rosters: &Rosters, name: &str, theirs: &mut SecondVerifier) {
    let url = &world.wire.url;
    let words = ["audit", url, "--url", url, "--roster", rosters.pinned()];
    let mut command = world.program(&words);
    command.env("COUNTERSIGN_TOKEN", &world.reader);
    let audited = said(&exited(command.output().unwrap(), 0));
    assert_says(audited, "every entry is correct");
    let mirror = world.export(name);
    theirs.start(world, "audit", &mirror, rosters);
}

/// A run of the second verifier beside the test. Only one run at a time, because each run needs much memory.
#[derive(Default)]
struct SecondVerifier(Option<(KilledAtEnd, PathBuf)>);

impl SecondVerifier {
    /// Verifies a bundle or audits an export, with version 1 pinned.
    fn start(&mut self, world: &World, word: &str, place: &Path, rosters: &Rosters) {
        self.finish();
        let path = world.path("second.txt");
        let file = File::create(&path).unwrap();
        let mut command = second::python();
        command.args([word, text(place), "--roster", rosters.pinned()]);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().expect(PYTHON);
        self.0 = Some((KilledAtEnd(child), path));
    }

    /// Waits until the run ends, and asserts that nothing failed.
    fn finish(&mut self) {
        if let Some((mut child, path)) = self.0.take() {
            let ended = child.wait().unwrap();
            assert!(ended.success(), "{}", fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn a_large_roster_with_many_versions_is_sealed_run_verified_audited_and_restored() {
    let mut world = boundary();
    let mut rosters = Rosters::of(&world);
    let mut theirs = SecondVerifier::default();
    let sealed = rosters.change(&world);
    // From some 500 versions on, more than 80 % of the bundle of the step that applies a plan are used.
    if changes() >= 1100 {
        assert_says(sealed["bounds"].to_string(), "p:apply");
    }
    let applied = apply(&world);
    let bundle = keep_bundle(&world, &applied);
    theirs.start(&world, "verify", &bundle, &rosters);
    assert_verified(&world, &applied, &rosters);
    assert_shown(&world, &bundle, &rosters);
    assert_later_chain(&world, &applied);

    // A person goes, and the boundary gets a second key and uses it.
    let next_key = Key::of("boundary", 41);
    let keys = json!([boundary_key().ssh.line(), next_key.ssh.line()]);
    rosters.add(&world, |tables| remove_person(tables, 150));
    rosters.add(&world, |tables| tables["boundaries"]["prod"]["keys"] = keys);
    rosters.seal(&world);
    world.stop();
    let pem = next_key.secret.to_pkcs8_v1_pem();
    world.write("b/boundary/key.pem", pem.as_str());
    world.start();
    let rotated = world.run("plain:true", json!({}), &[&alice()]);
    let receipt = world.receipt(&rotated);
    assert_eq!(receipt["boundary"]["keyid"], json!(next_key.keyid()));
    assert_verified(&world, &rotated, &rosters);
    audit(&world, &rosters, "mirror", &mut theirs);

    // A backup is restored into a new log, which has the whole chain in its first seal.
    let old = world.started["id"].clone();
    let backup = world.path("backup");
    must(store(&world, &["backup", text(&backup)]));
    world.stop();
    fs::remove_file(world.database()).unwrap();
    let words = ["restore", text(&backup), "--keep-tokens", "all"];
    let restored = must(store(&world, &words));
    assert_eq!(restored["follows"], old, "{restored:#}");
    world.start();
    rosters.add(&world, |tables| remove_person(tables, 151));
    rosters.seal(&world);
    let after = world.run("plain:true", json!({}), &[&bob()]);
    assert_verified(&world, &after, &rosters);
    // The old run is still verified.
    assert_verified(&world, &applied, &rosters);
    audit(&world, &rosters, "restored", &mut theirs);
    let last = world.path("restored.bundle.json");
    fs::write(&last, world.bundle(&after)).unwrap();
    theirs.start(&world, "verify", &last, &rosters);
    theirs.finish();
}
