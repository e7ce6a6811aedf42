//! Tests of `verify`, `audit` and the auditor's pages with several versions of a roster: which versions count, which
//! bundles are not decided, and which fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use documents::to_canonical;
use serde_json::{Value, json};

use super::auditor_pages::{Pages, program};
use super::grant_bundles::bundle;
use super::whole_logs::written;
use crate::history::{ALICE, BOB, Log, part, sign};
use crate::second::{Case, ours, python, theirs};
use crate::support::{exited, said, said_at_exit};

/// A log whose runs were decided under three versions of the roster, with a bundle for each run.
struct Versions {
    log: Log,
    folder: tempfile::TempDir,
    bundles: Vec<Value>,
}

impl Versions {
    fn new() -> Self {
        let mut log = Log::new();
        let mut bundles = Vec::new();
        for at in 0..3 {
            if at > 0 {
                log.roster(&[ALICE, BOB]);
                log.reseal(at * 100, |_| {});
            }
            log.run("two:go", at * 100 + 10, &[ALICE, BOB]);
            bundles.push(bundle(&log));
        }
        // One more version, which only the auditor has.
        log.roster(&[ALICE, BOB]);
        Self {
            log,
            folder: tempfile::tempdir().expect("a directory"),
            bundles,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(&path, to_canonical(value)).expect("written");
        path.to_str().expect("text").to_owned()
    }

    /// Writes the bundle of the run under this version into the directory `bundles`.
    fn bundle(&self, version: usize) -> String {
        self.write(
            &format!("bundles/run-{version}.json"),
            &self.bundles[version - 1],
        )
    }

    /// Writes the file of a roster version.
    fn roster(&self, version: usize) -> String {
        self.write(
            &format!("rosters/{version}.json"),
            &json!(self.log.rosters[version - 1]),
        )
    }

    /// Returns the envelope of another roster with the number of this version. Its signers approve nothing.
    fn other_roster(&self, version: usize, signers: &[u8], edit: impl FnOnce(&mut Value)) -> Value {
        use base64::Engine as _;
        let payload = base64::engine::general_purpose::STANDARD
            .decode(&self.log.rosters[version - 1].payload);
        let mut statement: Value = serde_json::from_slice(&payload.expect("base64")).expect("JSON");
        statement["predicate"]["groups"]["changed"] = json!({});
        edit(&mut statement["predicate"]);
        let subject = documents::sha256(&to_canonical(&statement["predicate"]));
        statement["subject"][0]["digest"]["sha256"] = json!(documents::hex(&subject).to_string());
        json!(sign(&to_canonical(&statement), signers))
    }

    fn bundles(&self) -> String {
        self.path("bundles").to_str().expect("text").to_owned()
    }
}

fn verify(place: &str, rosters: &[&str]) -> Output {
    let mut command = program(&["verify", place, "--quiet"]);
    for roster in rosters {
        command.args(["--roster", roster]);
    }
    command.output().expect("verify")
}

#[test]
fn a_newer_roster_verifies_older_bundles_with_the_versions_of_another_bundle() {
    let world = Versions::new();
    let newest = world.roster(4);
    let old = world.bundle(1);
    let alone = verify(&old, &[&newest]);
    said_at_exit(alone, 2, "not decided  ");
    let words = said(&verify(&old, &[&newest]));
    assert!(
        words.contains("versions 2 to 3 of the roster are missing")
            && words.contains("0 of 1 verified, 1 not decided")
    );
    // Both verifiers leave the check open, and nothing failed.
    let case = Case {
        id: "missing".to_owned(),
        bundle: to_canonical(&world.bundles[0]),
        roster: to_canonical(&json!(world.log.rosters[3])),
    };
    let second = theirs(std::slice::from_ref(&case))
        .remove(0)
        .expect("a roster");
    let first = ours(&case).expect("a roster");
    assert!(
        first.differences(&second).is_empty() && first.failed().is_empty() && !first.verified,
        "{first:?} {second:?}"
    );
    // The bundle of the run under version 3 has versions 1 to 3, and version 4 names the digest of version 3.
    world.bundle(3);
    world.bundle(2);
    said_at_exit(verify(&world.bundles(), &[&newest]), 0, "3 of 3 verified");
    // The digest of a version that a bundle contains is enough.
    said_at_exit(
        verify(&world.bundles(), &[&world.log.roster_digest(3).to_string()]),
        0,
        "3 of 3 verified",
    );
    // The files in the other order, and the standard input as the bundle with the versions.
    let input = fs::File::open(world.path("bundles/run-3.json")).expect("a file");
    let mut command = program(&["verify", "--quiet", &old, "-", "--roster", &newest]);
    said_at_exit(
        command.stdin(input).output().expect("verify"),
        0,
        "2 of 2 verified",
    );
}

#[test]
fn several_rosters_and_a_directory_of_versions_are_trusted_together() {
    let world = Versions::new();
    let rosters: Vec<String> = (1..=4).map(|version| world.roster(version)).collect();
    world.bundle(1);
    let directory = world.path("rosters").to_str().expect("text").to_owned();
    for given in [
        vec![&*directory],
        vec![&*rosters[3], &*rosters[2], &*rosters[1]],
        vec![&*rosters[1]],
    ] {
        said_at_exit(verify(&world.bundles(), &given), 0, "1 of 1 verified");
    }
    // Without version 2, versions 3 and 4 decide nothing about the bundle of version 1.
    said_at_exit(
        verify(&world.bundles(), &[&rosters[3], &rosters[2]]),
        2,
        "version 2 of the roster is missing",
    );
    let log = written(&world.log);
    let audit = |rosters: &[&str]| {
        let mut command = program(&["audit", log.path().to_str().expect("text")]);
        rosters.iter().for_each(|roster| {
            command.args(["--roster", roster]);
        });
        command.output().expect("audit")
    };
    for given in [
        vec![&*directory],
        vec![&*rosters[3]],
        vec![&*rosters[0], &*rosters[3]],
    ] {
        said_at_exit(audit(&given), 0, "every entry is correct");
    }
    let mut command = program(&["console", "--audit", log.path().to_str().expect("text")]);
    command.args(["--roster", &rosters[3], "--roster", &rosters[0]]);
    let pages = Pages(crate::support::pages::Pages::start(command));
    assert!(pages.get("/").body.contains("every entry is correct"));
}

#[test]
fn two_different_rosters_of_one_version_are_an_error_that_names_both() {
    let world = Versions::new();
    world.bundle(1);
    let (second, third) = (world.roster(2), world.roster(3));
    let other = world.write(
        "other/2.json",
        &world.other_roster(2, &[ALICE, BOB], |_| {}),
    );
    for rosters in [[&*second, &*other], [&*other, &*second], [&*third, &*other]] {
        let words = said(&exited(verify(&world.bundles(), &rosters), 2));
        let flat = words.replace("\n              + ", "");
        assert!(
            rosters.iter().all(|roster| flat.contains(roster)),
            "{words}"
        );
    }
    fs::copy(&other, world.path("rosters/2-other.json")).expect("copied");
    let directory = world.path("rosters").to_str().expect("text").to_owned();
    said_at_exit(
        verify(&world.bundles(), &[&directory]),
        2,
        "two different rosters of version 2",
    );
    let log = written(&world.log);
    for command in [
        ["audit", log.path().to_str().expect("text")],
        ["console", "--audit"],
    ] {
        let mut command = program(&command);
        if command.get_args().any(|word| word == "--audit") {
            command.arg(world.bundles());
        }
        said_at_exit(
            command
                .args(["--roster", &directory])
                .output()
                .expect("run"),
            2,
            "two different rosters of version 2",
        );
    }
}

#[test]
fn a_bundle_with_a_roster_that_the_boundary_made_alone_fails_and_gives_no_other_bundle_trust() {
    let world = Versions::new();
    let (first, third) = (world.roster(1), world.roster(3));
    world.bundle(1);
    // Nobody but the boundary signed the version: once it follows version 1, once it also claims to be the version
    // before the trusted one, and once the whole chain is new.
    let second = world.other_roster(2, &[], |_| {});
    let again = world.other_roster(1, &[], |_| {});
    let reference = |version: &Value| {
        let envelope = serde_json::from_value(version.clone()).expect("an envelope");
        let payload = verdict::payload_of(&envelope, documents::Base64::Strict);
        documents::RosterDigest::of(&payload.expect("a payload")).to_string()
    };
    let after = world.other_roster(2, &[], |tables| {
        tables["previous"] = json!(reference(&again))
    });
    let own = json!(world.log.rosters[0]);
    for (name, rosters, why) in [
        ("follows", [own, second], "roster-chain"),
        ("whole", [again, after], "roster-chain"),
    ] {
        let mut forged = world.bundles[1].clone();
        let rosters = rosters.map(|one| serde_json::from_value(one).expect("an envelope"));
        forged["roster"] = json!(part(&rosters, 0));
        let path = world.write("bundles/forged.json", &forged);
        for given in [vec![&*third], vec![&*first], vec![&*first, &*third]] {
            let all = said(&verify(&world.bundles(), &given));
            let flat = all.replace("\n              + ", "");
            let line = flat
                .lines()
                .find(|line| line.contains("forged.json"))
                .unwrap_or_else(|| panic!("{name}: {all}"));
            assert!(
                line.contains("NOT VERIFIED") && line.contains(why),
                "{name}: {all}"
            );
            let good = flat
                .lines()
                .find(|line| line.contains("run-1.json"))
                .expect("a line");
            // The forged version 2 is no version 2, so only version 1 itself decides the good bundle.
            let word = if given.contains(&&*first) {
                "verified"
            } else {
                "not decided"
            };
            assert!(good.trim_start().starts_with(word), "{name}: {all}");
        }
        let words = said(
            &program(&["verify", &path, "--roster", &third])
                .output()
                .expect("verify"),
        );
        let flat = words.replace("\n              + ", "");
        assert!(
            flat.contains("the bundle has another version 2 of the roster"),
            "{name}: {words}"
        );
        assert!(!words.contains("neither is a later version"), "{words}");
    }
}

#[test]
fn the_auditors_page_shows_bundles_without_a_roster_version_as_not_decided_with_one_banner() {
    let world = Versions::new();
    let newest = world.roster(4);
    world.bundle(1);
    fs::copy(
        world.path("bundles/run-1.json"),
        world.path("bundles/again.json"),
    )
    .expect("copied");
    let pages = Pages::open(Path::new(&world.bundles()), Some(&newest));
    let page = pages.get("/").body;
    assert_eq!(
        page.matches("data-verdict=\"undecided\"").count(),
        2,
        "{page}"
    );
    assert_eq!(
        page.matches("2 rows are not decided: versions 2 to 3 of the roster are missing")
            .count(),
        1,
        "{page}"
    );
    assert!(page.contains("0 of 2 verified, 2 not decided"), "{page}");
    for wrong in [
        "NOT VERIFIED",
        "data-verdict=\"fails\"",
        "neither is a later",
    ] {
        assert!(!page.contains(wrong), "{wrong}: {page}");
    }
    assert!(
        pages
            .get("/row/0")
            .body
            .contains("verdict       not decided")
    );
    // A bundle that has the missing versions is added and decides itself, and the other bundles of the same upload.
    let files = [
        ("first.json", to_canonical(&world.bundles[0])),
        ("third.json", to_canonical(&world.bundles[2])),
    ];
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, &bytes[..]))
        .collect();
    assert_eq!(pages.upload(&pages.form(), &files).status, 303);
    assert_eq!(
        pages
            .get("/")
            .body
            .matches("data-verdict=\"holds\"")
            .count(),
        2
    );
}

#[test]
fn a_log_with_another_roster_of_a_known_version_fails_by_name() {
    let world = Versions::new();
    let first = world.roster(1);
    let other = world.write(
        "other/3.json",
        &world.other_roster(3, &[ALICE, BOB], |tables| tables["groups"]["x"] = json!({})),
    );
    let log = written(&world.log);
    let audit = |rosters: &[&str]| {
        let mut command = program(&["audit", log.path().to_str().expect("text")]);
        rosters.iter().for_each(|roster| {
            command.args(["--roster", roster]);
        });
        command.output().expect("audit")
    };
    said_at_exit(
        audit(&[&first, &other]),
        1,
        "the log has another version 3 of the roster",
    );
    said_at_exit(
        audit(&[&other]),
        1,
        "the log has another version 3 of the roster",
    );
}

#[test]
fn another_file_in_place_of_a_bundle_is_named_with_the_command_to_use() {
    let world = Versions::new();
    let whole = &world.bundles[0];
    let receipt = &whole["receipt"];
    use base64::Engine as _;
    let payload = receipt["payload"].as_str().expect("a payload");
    let payload = base64::engine::general_purpose::STANDARD
        .decode(payload)
        .expect("base64");
    let answer = json!({
        "id": "rcp_1", "index": 3, "envelope": receipt, "authorization": whole["authorization"],
    });
    let statement: Value = serde_json::from_slice(&payload).expect("JSON");
    let packed = world.path("bundle.json");
    fs::write(&packed, to_canonical(whole)).expect("written");
    let gzip = Command::new("gzip")
        .arg("-k")
        .arg(&packed)
        .stdin(Stdio::null())
        .status()
        .expect("gzip");
    assert!(gzip.success());
    let packed = format!("{}.gz", packed.to_str().expect("text"));
    let text = |name: &str, text: &str| {
        fs::write(world.path(name), text).expect("written");
        world.path(name).to_str().expect("text").to_owned()
    };
    for (file, words) in [
        (
            world.write("answer.json", &answer),
            "a receipt without its bundle: get the bundle with `countersign wait prp_",
        ),
        (
            world.write("envelope.json", receipt),
            "a receipt without its bundle: get the bundle with `countersign wait ID",
        ),
        (
            world.write("payload.json", &statement),
            "a receipt without its bundle",
        ),
        (
            world.roster(1),
            "a roster and no bundle: give a roster with --roster",
        ),
        (
            world.write("all.json", &json!(world.log.rosters)),
            "a roster and no bundle",
        ),
        (
            world.write("seal.json", &whole["seal"]),
            "a document of the kind seal and no bundle",
        ),
        (
            world.write("other.json", &json!({"jobs": []})),
            "other.json is no bundle: get the bundle of a run with",
        ),
        (text("empty", ""), "empty is no bundle: get the bundle"),
        (
            text("page.html", "<html>\n"),
            "page.html is no bundle: get the bundle",
        ),
        (
            packed,
            "compressed (gzip) and no bundle: unpack the file with `gunzip`",
        ),
    ] {
        let output = exited(
            program(&["verify", &file, "--roster", &world.roster(1)])
                .output()
                .expect("verify"),
            1,
        );
        let said = said(&output).replace("\n              + ", "");
        assert!(said.contains(words), "{file}: {said}");
        assert!(
            said.lines().count() < 5 && !said.contains("expected one of"),
            "{said}"
        );
    }
}

#[test]
fn verify_takes_a_directory_and_quiet_prints_one_line_for_each_bundle() {
    let world = Versions::new();
    let roster = world.roster(3);
    (1..=3).for_each(|version| drop(world.bundle(version)));
    world.write("bundles/deep/roster.json", &json!(world.log.rosters[0]));
    fs::write(world.path("bundles/cut.bundle.json"), "{").expect("written");
    let quiet = exited(verify(&world.bundles(), &[&roster]), 1);
    let text = said(&quiet);
    assert!(
        text.contains("3 of 4 verified") && !text.contains("== Checks =="),
        "{text}"
    );
    assert!(
        text.contains("other file   deep/roster.json: ") && text.contains("a roster and no bundle"),
        "{text}"
    );
    assert!(text.lines().count() < 16, "{text}");
    let loud = said(
        &program(&["verify", &world.bundles(), "--roster", &roster])
            .output()
            .expect("verify"),
    );
    assert_eq!(loud.matches("== Checks ==").count(), 4, "{loud}");
    let single = said(&exited(verify(&world.bundle(3), &[&roster]), 0));
    assert!(single.contains("1 of 1 verified"), "{single}");
    // A directory without a bundle, and a copy of a log.
    fs::create_dir(world.path("empty")).expect("made");
    said_at_exit(
        verify(world.path("empty").to_str().expect("text"), &[&roster]),
        2,
        "has no bundle",
    );
    let log = written(&world.log);
    said_at_exit(
        verify(log.path().to_str().expect("text"), &[&roster]),
        2,
        "run `countersign audit ",
    );
}

#[test]
fn both_auditors_find_a_seal_without_the_list_of_its_new_versions_although_they_are_trusted() {
    let mut log = Log::new();
    log.sealed.roster["groups"]["new"] = json!({});
    log.roster(&[ALICE, BOB]);
    log.reseal(40, |seal| {
        drop(seal.as_object_mut().expect("an object").remove("rosters"))
    });
    let (folder, place) = (tempfile::tempdir().expect("a directory"), written(&log));
    let trusted = folder.path().join("2.json");
    fs::write(&trusted, to_canonical(&json!(log.rosters[1]))).expect("written");
    let words = ["audit", place.path().to_str().expect("text"), "--roster"];
    let ours = program(&words).arg(&trusted).output().expect("audit");
    said_at_exit(
        ours,
        1,
        "puts version 2 of the roster in force, but names no",
    );
    let theirs = python().args(words).arg(&trusted).output();
    let theirs = theirs.expect("python3, or COUNTERSIGN_PYTHON, runs");
    said_at_exit(theirs, 1, "a seal names the versions of its roster");
}

#[test]
fn the_second_verifier_finds_a_key_that_returns_in_the_versions_that_it_has() {
    let world = Versions::new();
    let mut log = world.log.clone();
    let approvers = |log: &mut Log| std::mem::take(&mut log.sealed.roster["approvers"]);
    let all = approvers(&mut log);
    let mut fewer = all.clone();
    fewer.as_object_mut().expect("a table").remove("carol");
    log.rosters.pop();
    for people in [fewer, all] {
        log.sealed.roster["approvers"] = people;
        log.roster(&[ALICE, BOB]);
    }
    // Version 3, of the bundle, has the key of carol, version 4 lacks it, and version 5 has it again.
    let bundle = world.bundle(3);
    let known = &log.rosters[3..];
    let array = world.write("array.json", &json!(known));
    let theirs = python()
        .args(["verify", &bundle, "--roster", &array])
        .output();
    let theirs = theirs.expect("python3, or COUNTERSIGN_PYTHON, runs");
    said_at_exit(theirs, 1, "is back in version 5");
}

#[test]
fn both_verifiers_say_the_same_about_versions_that_a_bundle_or_the_verifier_lacks() {
    let world = Versions::new();
    let late = |first: usize| {
        let mut bundle = world.bundles[2].clone();
        bundle["roster"] = json!(part(&world.log.rosters[..3], first - 1));
        world.write(&format!("late-{first}.json"), &bundle)
    };
    let digest = |version: usize| world.log.roster_digest(version).to_string();
    let [whole, from_2, from_3] = [1, 2, 3].map(late);
    let early = world.bundle(1);
    let removed = |version: usize| {
        let words = format!("keys removed before version {version} of the roster: not checked");
        (0, json!([words]), None)
    };
    let sound = || (0, json!([]), None);
    let lacks = |words: &'static str| (2, json!([]), Some(words));
    for (bundle, roster, (code, warnings, missing)) in [
        (&whole, digest(1), sound()),
        (&whole, digest(3), sound()),
        (&from_2, digest(2), removed(2)),
        (&from_2, digest(3), removed(2)),
        (&from_2, world.roster(3), removed(2)),
        (&from_3, digest(3), removed(3)),
        (&from_3, world.roster(4), removed(3)),
        (&from_2, world.roster(1), sound()),
        (
            &from_3,
            world.roster(1),
            lacks("version 2 of the roster is missing"),
        ),
        (
            &from_3,
            digest(1),
            lacks("versions 1 to 2 of the roster are missing"),
        ),
        (
            &early,
            world.roster(4),
            lacks("versions 2 to 3 of the roster are missing"),
        ),
    ] {
        let words = ["verify", &**bundle, "--roster", &*roster];
        let id = format!("{bundle} {roster}");
        let ours = exited(
            program(&words).arg("--json").output().expect("verify"),
            code,
        );
        let theirs = python().args(words).output();
        let theirs = exited(theirs.expect("python3, or COUNTERSIGN_PYTHON, runs"), code);
        let [ours, theirs] = [&ours, &theirs].map(|output| {
            let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            value["report"].clone()
        });
        assert_eq!(ours["warnings"], warnings, "{id}");
        assert_eq!(theirs["warnings"], warnings, "{id}");
        assert_eq!(theirs["undecided"], json!(missing), "{id}");
        let words = said(&verify(bundle, &[&*roster]));
        let flat = words.replace("\n              + ", "");
        assert!(
            flat.contains(missing.unwrap_or("1 of 1 verified")),
            "{id}: {words}"
        );
    }
    // A bundle with a failed check is refused, also if versions are missing.
    let mut broken = world.bundles[0].clone();
    broken["receipt"]["payload"] = json!("e30=");
    let broken = world.write("broken.json", &broken);
    let newest = world.roster(4);
    let words = ["verify", &*broken, "--roster", &*newest];
    exited(program(&words).output().expect("verify"), 1);
    let theirs = python().args(words).output();
    exited(theirs.expect("python3, or COUNTERSIGN_PYTHON, runs"), 1);
}
