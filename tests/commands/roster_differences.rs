//! The screen of `roster sign`: every difference from the version before, and nothing else.

use std::collections::BTreeMap;
use std::fs;

use documents::{SecretKey, SshKey};
use serde_json::{Value, json};

use crate::support::people::{Key, bob, canonical, next_roster, roster_version, sha256};
use crate::support::{DRAFT, World, exited, runbook, said};

/// A policy in which order, lists and single values can change.
fn rich_policy() -> Value {
    let overrides: Vec<Value> = (0..12)
        .map(|at| {
            let required = at % 2 + 1;
            // Two neighbours have the same pattern.
            let runbook = format!("team{}/**", at / 2);
            json!({"runbook": runbook, "approvals": {"required": required, "from": ["ops", "security"]},
                   "run": {"allow": [format!("tool{at}"), "git"]}})
        })
        .collect();
    let grants = json!([{"type": "run", "pattern": "jq", "runbook": "team1/**", "scope": "permanent"},
                        {"type": "run", "pattern": "yq", "scope": "permanent"}]);
    json!({"version": 1, "default": {"mode": "prompted", "approvals": {"required": 1, "from": ["ops", "security"]},
           "run": {"allow": ["awk", "cat", "sed"], "deny": ["rm"]}}, "overrides": overrides, "grants": grants})
}

/// Random numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }
}

fn change_policy(random: &mut Random, policy: &mut Value) {
    let number = random.below(9000);
    let overrides = policy["overrides"].as_array_mut().expect("a list");
    let (at, other) = (random.below(overrides.len()), random.below(overrides.len()));
    match random.below(9) {
        0 => {
            if let Some(required) = overrides[at].pointer_mut("/approvals/required") {
                *required = json!(3 - required.as_u64().expect("a number"));
            }
        }
        1 | 2 => {
            let list = overrides[at]
                .pointer_mut("/run/allow")
                .and_then(Value::as_array_mut);
            match list {
                Some(list) if number.is_multiple_of(2) && list.len() > 1 => drop(list.remove(0)),
                Some(list) => list.insert(0, json!(format!("new{number}"))),
                None => {}
            }
        }
        3 => drop(overrides.remove(at)),
        4 => overrides.insert(
            at,
            json!({"runbook": format!("new{number}/**"), "mode": "execute"}),
        ),
        5 => overrides.swap(at, other),
        6 => overrides[at]["runbook"] = json!(format!("other{number}")),
        7 => policy["default"]["mode"] = json!(["execute", "deny"][number % 2]),
        _ => {
            let grant =
                json!({"type": "run", "pattern": format!("granted{number}"), "scope": "permanent"});
            policy["grants"].as_array_mut().expect("a list").push(grant);
        }
    }
}

/// Collects the values of a document as the screen shows them, without the positions of entries.
fn values(value: &Value, path: &str, runbook: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let of = fields
                .get("runbook")
                .map_or(runbook.to_owned(), |of| format!(" (runbook {of})"));
            for (name, value) in fields {
                values(value, &format!("{path}.{name}"), &of, found);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| values(item, &format!("{path}[]"), runbook, found)),
        leaf => found.push(format!(
            "{} = {leaf}{runbook}",
            path.trim_start_matches('.')
        )),
    }
}

/// Returns the lines of a screen, without the breaks of long lines.
fn unwrapped(screen: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in screen.lines() {
        match (line.trim_start().strip_prefix("+ "), lines.last_mut()) {
            (Some(rest), Some(last)) => last.push_str(rest),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Counts the differences on a screen: positive for added values, negative for removed ones.
fn shown_differences(lines: &[String]) -> BTreeMap<String, i64> {
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for line in lines {
        let Some((sign, text)) = line
            .split_once(" | ")
            .filter(|(sign, _)| sign.trim() == "was" || sign.trim() == "now")
        else {
            continue;
        };
        let (path, value) = text.split_once(" = ").expect("a path and a value");
        let path: String = path
            .split('[')
            .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
            .collect::<Vec<_>>()
            .join("[]");
        *found.entry(format!("{path} = {value}")).or_default() +=
            if sign.trim() == "was" { -1 } else { 1 };
    }
    found.retain(|_, count| *count != 0);
    found
}

fn differences_of(old: &Value, new: &Value) -> BTreeMap<String, i64> {
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for (document, step) in [(old, -1), (new, 1)] {
        let mut all = Vec::new();
        values(document, "", "", &mut all);
        all.into_iter()
            .for_each(|value| *found.entry(value).or_default() += step);
    }
    found.retain(|_, count| *count != 0);
    found
}

/// Changes the people, and returns the texts that the screen must have, and the names of the changed people.
fn change_people(random: &mut Random, tables: &mut Value) -> (Vec<String>, Vec<String>) {
    let approvers = &mut tables["approvers"];
    // Without one of these people, every group still has an approver.
    let name = ["alice", "dora", "erin"][random.below(3)].to_owned();
    let key = Key::of("more", 100 + random.below(50) as u8);
    match random.below(6) {
        0 => {
            approvers["grace"] = json!({"groups": ["ops"], "keys": [key.ssh.line()]});
            (
                vec!["approver grace; groups: ops; keys:".to_owned(), key.keyid()],
                vec!["grace".to_owned()],
            )
        }
        1 => {
            let gone = approvers[&name].take();
            approvers.as_object_mut().expect("a table").remove(&name);
            let line = gone["keys"][0].as_str().expect("a key").to_owned();
            (
                vec![format!("removed       approver {name};"), line],
                vec![name],
            )
        }
        2 => {
            approvers[&name]["groups"] = json!(["finance", "ops"]);
            (
                vec![format!("added         approver {name}: groups: finance")],
                vec![name],
            )
        }
        3 => {
            approvers[&name]["valid_before"] = json!("2031-01-01T00:00:00Z");
            (
                vec![
                    format!("approver {name}: valid_before:"),
                    "2031-01-01T00:00:00Z".to_owned(),
                ],
                vec![name],
            )
        }
        4 => {
            approvers[&name]["keys"]
                .as_array_mut()
                .expect("a list")
                .push(json!(key.ssh.line()));
            (
                vec![format!(
                    "added         approver {name}: keys: {}",
                    key.keyid()
                )],
                vec![name],
            )
        }
        _ => {
            tables["threshold"] = json!(3);
            (
                vec!["must sign the next version: 2 to 3".to_owned()],
                Vec::new(),
            )
        }
    }
}

/// Reviews version 2 of the roster, or its draft, with these options.
fn review(world: &World, options: &[&str]) -> String {
    let mut file = world.path("b/boundary/roster.d/2.json");
    if !file.exists() {
        file = world.path(DRAFT);
    }
    let pinned = world.started["roster"].as_str().expect("a digest");
    let mut command = world.program(&[
        "--url",
        "http://127.0.0.1:1",
        "roster",
        "sign",
        "--review",
        "--roster",
        pinned,
    ]);
    let output = command.args(options).arg(file).output().expect("started");
    assert!(output.status.success(), "{options:?}: {}", said(&output));
    said(&output)
}

#[test]
fn every_value_of_200_random_changes_is_on_the_screen_and_no_unchanged_person_is() {
    let old = rich_policy();
    let world = World::with(|setup| setup.policy = old.to_string());
    let first: Value = serde_json::from_slice(
        &fs::read(world.path("b/boundary/roster.d/1.json")).expect("a file"),
    )
    .expect("JSON");
    let path = |name: &str| world.path(name).to_string_lossy().into_owned();
    world.write("old.json", &old.to_string());
    for seed in 1..=200_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut new = old.clone();
        for _ in 0..=random.below(3) {
            change_policy(&mut random, &mut new);
        }
        let (mut texts, mut changed) = (Vec::new(), Vec::new());
        let mut people = json!({});
        let payload = next_roster(&first, |tables| {
            (texts, changed) = change_people(&mut random, tables);
            people = tables["approvers"].clone();
            tables["policy"] = json!(format!("sha256:{}", sha256(&canonical(&new))));
        });
        world.write(
            "b/boundary/roster.d/2.json",
            &roster_version(&payload, &[]).to_string(),
        );
        world.write("new.json", &new.to_string());
        let screen = review(
            &world,
            &[
                "--policy",
                &path("new.json"),
                "--policy-before",
                &path("old.json"),
            ],
        );
        let lines = unwrapped(&screen);
        let expected = differences_of(&old, &new);
        assert_eq!(shown_differences(&lines), expected, "seed {seed}: {screen}");
        let is_shown = lines
            .iter()
            .any(|line| line.starts_with("  was ") || line.starts_with("  now "));
        assert_eq!(
            is_shown,
            old != new,
            "seed {seed}: an order is a difference too\n{screen}"
        );
        let whole = lines.join("\n");
        for text in texts {
            assert!(whole.contains(&text), "seed {seed}: {text}\n{screen}");
        }
        let above = whole.split("== Signatures ==").next().expect("text");
        for (name, person) in people.as_object().expect("a table") {
            if changed.contains(name) {
                continue;
            }
            let key = person["keys"][0].as_str().expect("a key");
            assert!(
                !above.contains(name) && !whole.contains(key),
                "seed {seed}: {name} did not change\n{screen}"
            );
        }
    }
}

/// Makes a boundary with 200 approvers, 25 steps below `deploy`, and a second policy in which one word changed.
fn estate() -> World {
    let policy = |required: u64| {
        let others: String = (0..80)
            .map(|at| format!("  - {{runbook: 'team{at}/**', run: {{allow: [tool{at}]}}}}\n"))
            .collect();
        format!(
            "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {{required: 1, from: [ops]}}\noverrides:\n\
             {others}  - runbook: 'deploy/**'\n    approvals: {{required: {required}, from: [ops]}}\n"
        )
    };
    let names: Vec<String> = (0..25).map(|at| format!("s{at:02}")).collect();
    let steps: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), ":")).collect();
    let world = World::with(|setup| {
        setup.policy = policy(2);
        setup.runbook("deploy/web.md", runbook("", &steps));
        for seed in 50..244_u8 {
            let mut bytes = [77; 32];
            bytes[0] = seed;
            let key =
                SshKey::from_public(SecretKey::from_seed(bytes).public(), "other").expect("a key");
            let line = key.line();
            setup.roster["approvers"][format!("person{seed}")] =
                json!({"groups": ["ops"], "keys": [line]});
        }
    });
    world.write("b/boundary/policy.yaml", &policy(1));
    let config = world.path("b").to_string_lossy().into_owned();
    exited(
        world
            .program(&["roster", "--config", &config, "set"])
            .output()
            .expect("started"),
        0,
    );
    world
}

#[test]
fn one_changed_word_of_policy_is_a_screen_of_40_lines_with_the_steps_whose_verdict_changes() {
    let world = estate();
    let policy = world
        .path("b/boundary/policy.yaml")
        .to_string_lossy()
        .into_owned();
    let pinned = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let draft = world.path(DRAFT);
    let review = |token: &str, options: &[&str]| {
        let mut command = world.program(&[
            "--url",
            &world.wire.url,
            "roster",
            "sign",
            "--review",
            "--roster",
            &pinned,
        ]);
        command
            .args(options)
            .args(["--policy", &policy])
            .arg(&draft)
            .env("COUNTERSIGN_TOKEN", token);
        said(&exited(command.output().expect("started"), 0))
    };
    let screen = review(&world.reader, &[]);
    assert!(
        screen.lines().count() <= 40,
        "{} lines\n{screen}",
        screen.lines().count()
    );
    let lines = unwrapped(&screen);
    for line in [
        "  was       | overrides[80].approvals.required = 2 (runbook \"deploy/**\")",
        "  now       | overrides[80].approvals.required = 1 (runbook \"deploy/**\")",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line}\n{screen}");
    }
    let sentence = lines
        .iter()
        .find(|line| line.contains("The verdict changes for"))
        .expect("a sentence");
    assert!(
        sentence
            .contains("The verdict changes for 25 of 31 steps: deploy/web:s00, deploy/web:s01, "),
        "{sentence}"
    );
    assert!(
        sentence.contains("deploy/web:s19 and 5 more") && !sentence.contains("s20"),
        "{sentence}"
    );
    // A token that may see only some of the steps can't prove the number.
    let few = world.token_for("few", &[], &["read"], &["deploy/web:s0*", "say:*"]);
    let before = format!("{policy}.before");
    world.write("b/boundary/policy.yaml.before", &world.setup.policy);
    let told = review(&few, &["--policy-before", &before]);
    assert!(
        told.contains("the boundary's word") || told.contains("were not counted"),
        "{told}"
    );
    assert!(!told.contains("of 31 steps"), "{told}");
    // `--full` shows the whole policy and the whole version.
    let full = review(&world.reader, &["--full"]);
    for words in [
        "== The version in full ==",
        "person200",
        "| version: 1",
        "overrides[80].approvals.required = 1",
    ] {
        assert!(full.contains(words), "{words}");
    }
    // A rule that no step uses changes no verdict.
    let more = fs::read_to_string(&policy).expect("read").replace(
        "    approvals: {required: 1, from: [ops]}\n",
        "    approvals: {required: 2, from: [ops]}\n    run: {allow: [jq]}\n",
    );
    world.write("b/boundary/policy.yaml", &more);
    let config = world.path("b").to_string_lossy().into_owned();
    exited(
        world
            .program(&["roster", "--config", &config, "set"])
            .output()
            .expect("started"),
        0,
    );
    let told = unwrapped(&review(&world.reader, &[])).join("\n");
    assert!(
        told.contains("overrides[80].run.allow[0] = \"jq\"")
            && told.contains("changes for 0 of 31 steps"),
        "{told}"
    );
}

#[test]
fn a_policy_or_version_that_cannot_be_compared_is_shown_whole_with_the_reason() {
    let world = estate();
    let policy = world
        .path("b/boundary/policy.yaml")
        .to_string_lossy()
        .into_owned();
    let told = unwrapped(&review(&world, &["--policy", &policy])).join("\n");
    for words in [
        "The whole policy is shown, because",
        "--policy-before FILE",
        "team79",
        "required: 1, from: [ops]",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    assert!(!told.contains("person200"), "{told}");
    // Another policy than that of the version before is refused.
    world.write("other.yaml", "version: 1\n");
    let other = world.path("other.yaml").to_string_lossy().into_owned();
    let pinned = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let draft = world.path(DRAFT).to_string_lossy().into_owned();
    let sign = [
        "--url",
        "http://127.0.0.1:1",
        "roster",
        "sign",
        "--review",
        &draft,
        "--policy",
        &policy,
    ];
    let mut refused = world.program(&sign);
    let refused = refused
        .args(["--policy-before", &other, "--roster", &pinned])
        .output()
        .expect("started");
    assert!(
        refused.status.code() == Some(126)
            && said(&refused).contains("version 1 of the roster names"),
        "{refused:?}"
    );
    // Without trust in the version before, a difference from that version proves nothing.
    let strange = format!("sha256:{}", "a".repeat(64));
    let untrusted = world
        .program(&sign)
        .args(["--roster", &strange])
        .output()
        .expect("started");
    assert!(
        untrusted.status.code() == Some(2) && said(&untrusted).contains("person200"),
        "{}",
        said(&untrusted)
    );
}

#[test]
fn roster_sign_and_an_audit_of_a_mirror_use_the_pins_of_the_list_of_boundaries() {
    let world = World::new();
    let first: Value = serde_json::from_slice(
        &fs::read(world.path("b/boundary/roster.d/1.json")).expect("a file"),
    )
    .expect("JSON");
    let payload = next_roster(&first, |tables| tables["threshold"] = json!(1));
    world.write("2.json", &roster_version(&payload, &[]).to_string());
    world.write("1.json", &first.to_string());
    let (mirror, draft) = (world.export("mirror"), world.path("2.json"));
    let digest = format!("sha256:{}", sha256(&payload));
    world.write("bob.pem", bob().secret.to_pkcs8_v1_pem().as_str());
    let key = world.path("bob.pem").to_string_lossy().into_owned();
    let sign = || {
        let mut command = world.program(&[
            "roster", "sign", "--yes", "--expect", &digest, "--key", &key,
        ]);
        command.arg(&draft).output().expect("started")
    };
    let audit = || {
        world
            .program(&["audit"])
            .arg(&mirror)
            .output()
            .expect("started")
    };
    exited(sign(), 2);
    exited(audit(), 2);
    let list = |pins: &[&str]| {
        let one = |(at, pin): (usize, &&str)| {
            format!(
                "[[boundary]]\nname = \"b{at}\"\nurl = \"http://127.0.0.1:1\"\nroster = \"{pin}\"\n"
            )
        };
        let text: String = pins.iter().enumerate().map(one).collect();
        world.write("home/.config/countersign/boundaries.toml", &text);
        use std::os::unix::fs::PermissionsExt as _;
        let file = world.path("home/.config/countersign/boundaries.toml");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("mode");
    };
    let other = format!("sha256:{}", "a".repeat(64));
    list(&[&other]);
    exited(sign(), 2);
    exited(audit(), 2);
    list(&[&other, world.started["roster"].as_str().expect("a digest")]);
    let signed = said(&exited(sign(), 0));
    assert!(
        signed.contains("from boundaries.toml:") && signed.contains("signed by bob"),
        "{signed}"
    );
    exited(audit(), 0);
    // An option has priority, and a chosen boundary has only its own pin.
    exited(
        world
            .program(&["audit", "--roster", &other])
            .arg(&mirror)
            .output()
            .expect("started"),
        2,
    );
    for (boundary, code) in [("b0", 2), ("b1", 0)] {
        let mut review = world.program(&["roster", "sign", "--review", "--boundary", boundary]);
        exited(review.arg(&draft).output().expect("started"), code);
    }
}
