//! Mutants of every document of the golden crossing. All documents that follow from a mutant are made and signed again.
//!
//! The attacker has the boundary's key and the keys of the signers, so only the content of a document can reveal a
//! mutant, never its signature. Separate mutants test an old signature over changed bytes.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{
    Checkpoint, ENGINE, Envelope, Hash, TlogProof, hex, merkle, patch_between, to_canonical,
};
use serde_json::{Map, Value, json};

use crate::golden::{self, Mutant, reference};
use crate::second::Case;

/// The kinds of documents in a bundle. Each kind comes after the kinds that it names.
pub const KINDS: [&str; 6] = [
    "roster",
    "roster-2",
    "seal",
    "authorization",
    "consumption",
    "receipt",
];

/// The golden crossing with one defect.
#[derive(Default)]
pub struct Story {
    /// Whether the crossing uses two versions of the roster. Alice and bob sign the second version.
    pub two_rosters: bool,
    /// A replacement for the payload of one kind.
    pub payload: Option<(&'static str, Vec<u8>)>,
    /// A replacement for the envelope of one kind. The envelope can hold any payload.
    pub envelope: Option<(&'static str, Value)>,
    /// A replacement for the step, the policy or the builtins. The seal names the replacement.
    pub sealed: Option<(&'static str, Value)>,
    /// Whether the authorization names the digest of the replaced step, so that the digests agree.
    pub approved: bool,
    /// The script whose digest the authorization names, if the step is a template.
    pub script: Option<String>,
    /// A replacement for the parameter `host`.
    pub host: Option<&'static str>,
    /// A replacement for the text of the checkpoint before it is signed.
    pub body: Option<String>,
    /// Whether the crossing is the golden crossing with a list of programs.
    pub listed: bool,
    /// A replacement for all versions of the roster in the bundle. The payload of `roster-2` is the last of them.
    pub rosters: Option<Vec<Value>>,
}

impl Story {
    /// The bundle, and the digest of the first roster version to trust.
    pub fn tell(&self, id: String) -> Case {
        let payload = |kind: &str| original(self.listed, kind);
        let mut bundle = value(if self.listed {
            "bundle-programs.json"
        } else {
            "bundle.json"
        })
        .clone();
        let roster = self.bytes("roster", payload("roster"));
        let mut rosters = vec![self.wrap("roster", &roster, &[])];
        let mut last = roster.clone();
        if self.two_rosters {
            last = self.bytes("roster-2", second_roster(&roster));
            rosters.push(match &self.envelope {
                Some(("roster-2", element)) => element.clone(),
                _ => difference(&roster, &last),
            });
        }
        if let Some(all) = &self.rosters {
            rosters.clone_from(all);
        }
        let mut seal = payload("seal");
        if self.approved {
            // A missing permission under a seal of another parser is no failure.
            seal["predicate"]["engine"] = json!(ENGINE);
        }
        seal["predicate"]["roster"] = json!(reference(&last));
        if self.two_rosters {
            seal["predicate"]["rosters"] = json!(reference(&to_canonical(&json!(rosters))));
        }
        seal["predicate"]["policy"] = json!(reference(&to_canonical(&bundle["policy"])));
        if let Some((name, value)) = &self.sealed {
            bundle[*name] = value.clone();
            if *name == "step" {
                reseal(&mut seal, &mut bundle);
            } else {
                seal["predicate"][*name] = json!(reference(&to_canonical(value)));
            }
        }
        let seal = self.bytes("seal", seal);
        let boundary = reference(&seal);
        let mut authorization = payload("authorization");
        authorization["predicate"]["boundary"]["id"] = json!(boundary);
        if let Some(host) = self.host {
            authorization["predicate"]["params"]["host"] = json!(host);
            golden::repair_twins("authorization", &mut authorization);
        }
        if let Some(script) = &self.script {
            authorization["predicate"]["rendered"] = json!(reference(script.as_bytes()));
        }
        if self.approved {
            authorization["predicate"]["step"]["digest"] =
                json!(reference(&to_canonical(&bundle["step"])));
            golden::repair_twins("authorization", &mut authorization);
        }
        let authorization = self.bytes("authorization", authorization);
        let signed = self.wrap("authorization", &authorization, &["alice", "bob"]);
        let entry = json!({
            "digest": reference(&authorization), "index": 1, "leaf": leaf_reference(&signed),
        });
        let consumption = self.bytes(
            "consumption",
            consumption(payload("consumption"), &boundary, &authorization, &entry),
        );
        let consumption = self.wrap("consumption", &consumption, &["boundary"]);
        let policy = reference(&to_canonical(&bundle["policy"]));
        let stated = receipt(payload("receipt"), &boundary, &entry, &consumption, &policy);
        let receipt = self.bytes("receipt", stated);
        let receipt = self.wrap("receipt", &receipt, &["boundary"]);
        let seal = self.wrap("seal", &seal, &["boundary"]);

        let others = ["refusal", "denial"].map(|kind| value(&format!("envelope/{kind}.json")));
        let leaves = [&seal, &signed, &consumption, others[0], &receipt, others[1]]
            .map(|entry| merkle::leaf_hash(&to_canonical(entry)));
        let note = self.note(&format!("prod-eu/{}", &boundary[7..23]), &leaves);
        let proof = |index| TlogProof {
            index,
            hashes: golden::path(&leaves, index),
            checkpoint: note.clone(),
        };
        bundle["proofs"] = json!({
            "seal": proof(0).to_string(), "authorization": proof(1).to_string(), "consumption": proof(2).to_string(),
            "receipt": proof(4).to_string(),
        });
        for (place, made) in [
            ("seal", seal),
            ("authorization", signed),
            ("consumption", consumption),
            ("receipt", receipt),
        ] {
            bundle[place] = made;
        }
        bundle["roster"] = json!(rosters);
        Case {
            id,
            bundle: to_canonical(&bundle),
            roster: reference(&roster).into_bytes(),
        }
    }

    fn bytes(&self, kind: &str, value: Value) -> Vec<u8> {
        match &self.payload {
            Some((changed, bytes)) if *changed == kind => bytes.clone(),
            _ => to_canonical(&value),
        }
    }

    fn wrap(&self, kind: &str, payload: &[u8], names: &[&str]) -> Value {
        match &self.envelope {
            Some((changed, value)) if *changed == kind => value.clone(),
            _ => serde_json::to_value(golden::envelope(payload, names)).expect("an envelope"),
        }
    }

    fn note(&self, origin: &str, leaves: &[Hash]) -> String {
        let body = Checkpoint {
            origin: origin.to_owned(),
            size: leaves.len() as u64,
            root: merkle::root(leaves),
        }
        .body();
        signed_note(self.body.as_ref().unwrap_or(&body), origin)
    }
}

/// Any text as a note with the boundary's signature under this name.
pub fn signed_note(text: &str, origin: &str) -> String {
    let key = golden::secret("boundary");
    let mut line = documents::key_hash(origin, &key.public()).to_vec();
    line.extend_from_slice(&key.sign(text.as_bytes()));
    format!("{text}\n\u{2014} {origin} {}\n", STANDARD.encode(line))
}

/// A golden file. Each file is read only once.
fn value(path: &str) -> &'static Value {
    static READ: Mutex<BTreeMap<String, &'static Value>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().expect("nobody panicked");
    read.entry(path.to_owned())
        .or_insert_with(|| Box::leak(Box::new(golden::value(path))))
}

/// The payload of the golden crossing, or of the golden crossing with a list of programs.
fn original(listed: bool, kind: &str) -> Value {
    value(&format!(
        "{}payload/{kind}.json",
        if listed { "programs/" } else { "" }
    ))
    .clone()
}

/// The predicate of a version without the fields that follow from its place, or nothing if the payload has no tables.
fn content(payload: &[u8]) -> Map<String, Value> {
    let mut value: Value = serde_json::from_slice(payload).unwrap_or_default();
    let content = value.get_mut("predicate").and_then(Value::as_object_mut);
    let mut content = content.map(std::mem::take).unwrap_or_default();
    content.remove("version");
    content.remove("previous");
    content
}

/// The element of the second version in a bundle.
fn difference(first: &[u8], second: &[u8]) -> Value {
    let patch = patch_between(&content(first), &content(second));
    let signed = golden::envelope(second, &["alice", "bob"]);
    json!({"patch": patch, "signatures": signed.signatures})
}

/// The second version of a roster, with another group and with the digest of the first version.
pub fn second_roster(first: &[u8]) -> Value {
    let mut value = original(false, "roster");
    value["predicate"]["groups"]["second"] = json!({});
    value["predicate"]["previous"] = json!(reference(first));
    value["predicate"]["version"] = json!(2);
    golden::repair_twins("roster", &mut value);
    value
}

/// The leaf hash of an envelope, as documents name it.
fn leaf_reference(envelope: &Value) -> String {
    format!(
        "sha256:{}",
        hex(&merkle::leaf_hash(&to_canonical(envelope)))
    )
}

fn consumption(mut value: Value, boundary: &str, authorization: &[u8], entry: &Value) -> Value {
    value["predicate"]["seal"] = json!(boundary);
    let item = &mut value["predicate"]["spent"][0];
    item["authorization"] = entry.clone();
    let stated: Value = serde_json::from_slice(authorization).unwrap_or_default();
    for field in ["nonce", "expires_at"] {
        if stated["predicate"][field].is_string() {
            item[field] = stated["predicate"][field].clone();
        }
    }
    golden::repair_twins("consumption", &mut value);
    value
}

fn receipt(
    mut value: Value,
    boundary: &str,
    entry: &Value,
    consumption: &Value,
    policy: &str,
) -> Value {
    let stated = &mut value["predicate"];
    stated["authorization"] = entry.clone();
    stated["consumption"]["leaf"] = json!(leaf_reference(consumption));
    stated["boundary"]["id"] = json!(boundary);
    stated["seal"] = json!(boundary);
    stated["decision"]["policy"] = json!(policy);
    golden::repair_twins("receipt", &mut value);
    value
}

/// Seals the changed step and one other step: sets the registry in the seal, and the proof in the bundle.
fn reseal(seal: &mut Value, bundle: &mut Value) {
    let other = json!({"digest": "sha256:15ffa975c431b9e0a7602e217ee512178615eec96b65e6f4d55db92a6baf21ac", "ref": "deploy/web:status"});
    let digest = reference(&to_canonical(&bundle["step"]));
    let leaves = [
        other,
        json!({"digest": digest, "ref": bundle["step"]["ref"]}),
    ];
    let hashes = leaves
        .each_ref()
        .map(|leaf| merkle::leaf_hash(&to_canonical(leaf)));
    seal["predicate"]["registry"] = json!(reference(&to_canonical(&json!(leaves))));
    seal["predicate"]["registry_root"] = json!(format!("sha256:{}", hex(&merkle::root(&hashes))));
    golden::repair_twins("seal", seal);
    bundle["step_proof"] = json!({"index": 1, "size": 2, "hashes": [hex(&hashes[0])]});
}

/// All mutants of the golden documents.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        payloads(kind, &mut cases);
        envelopes(kind, &mut cases);
    }
    for name in ["step", "policy", "builtins"] {
        for mutant in changes(&golden::value("bundle.json")[name]) {
            let story = Story {
                sealed: Some((name, mutant.value.clone())),
                ..Story::default()
            };
            cases.push(story.tell(format!("sealed {name}{} {}", mutant.pointer, mutant.what)));
        }
    }
    steps(&mut cases);
    facts(&mut cases);
    programs(&mut cases);
    checkpoints(&mut cases);
    bundles(&mut cases);
    cases
}

fn golden_payload(kind: &str) -> Value {
    if kind == "roster-2" {
        second_roster(&golden::bytes("payload/roster.json"))
    } else {
        golden::payload(kind)
    }
}

/// Mutants of the payload of one kind, with and without repaired subjects.
fn payloads(kind: &'static str, cases: &mut Vec<Case>) {
    let original = golden_payload(kind);
    let base = if kind == "roster-2" { "roster" } else { kind };
    let story = |bytes: Vec<u8>| Story {
        two_rosters: kind == "roster-2",
        payload: Some((kind, bytes)),
        ..Story::default()
    };
    for mutant in changes(&original) {
        let name = format!("{kind}{} {}", mutant.pointer, mutant.what);
        let mut repaired = mutant.value.clone();
        golden::repair_twins(base, &mut repaired);
        if repaired != original && repaired != mutant.value {
            cases.push(story(to_canonical(&repaired)).tell(format!("{name}, twins repaired")));
        }
        cases.push(story(to_canonical(&mutant.value)).tell(name));
    }
    for pointer in golden::places(&original) {
        let value = original.pointer(&pointer).unwrap();
        if let Some(text) = golden::member_twice(&original, &pointer, value) {
            cases.push(story(text).tell(format!("{kind}{pointer} twice")));
        }
    }
}

/// Well-formed new values of each field of a step, which approvers sign. The signed script stays the same.
pub const STEP_VALUES: &[(&str, &[&str])] = &[
    (
        "approvals",
        &[
            r#"{"from":[],"required":1}"#,
            r#"{"from":["ops"],"required":2}"#,
            r#"{"each":true,"from":["ops","security"],"required":1}"#,
        ],
    ),
    ("check", &["true"]),
    ("exclusive", &[r#""nginx""#]),
    (
        "files",
        &[
            r#"[{"bytes":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","executable":true,"path":"a/b"}]"#,
        ],
    ),
    (
        "format",
        &[r#""gruntwork""#, r#""rundown""#, r#""runnable""#],
    ),
    ("interpreter", &[r#""sh""#, r#""python3""#, r#""ruby""#]),
    (
        "outputs",
        &[r#"[{"name":"id","schema":{"type":"string"}}]"#],
    ),
    (
        "params",
        &[
            r#"{"properties":{},"type":"object"}"#,
            r#"{"properties":{"drain":{"type":"boolean"},"host":{"pattern":"^[\\w-]+$","type":"string"}},"type":"object"}"#,
            r#"{"properties":{"drain":{"type":"boolean"},"host":{"pattern":"^\\d+$","type":"string"}},"type":"object"}"#,
        ],
    ),
    ("plan", &[r#"{"max_age_s":600,"step":"nginx:plan"}"#]),
    ("programs", &[r#"["jq"]"#]),
    ("ref", &[r#""nginx:stop""#]),
    (
        "sandbox",
        &[r#"{"proc":"full"}"#, r#"{"limits":{"wall_ms":1}}"#],
    ),
    ("secrets", &[r#"[{"as":"file","name":"db"}]"#]),
    ("session", &[r#""read""#, r#""write""#]),
    ("source", &[r#""true\n""#, r#""printf '%s' {{ .host }}\n""#]),
    ("template", &[r#""gruntwork""#]),
    ("title", &[r#""Another title""#]),
];

/// Sources of templates, each with the script for the golden parameters, if there is one.
const TEMPLATES: &[(&str, &str, Option<&str>)] = &[
    (
        "bash",
        "printf '%s' {{ .host }}\n",
        Some("printf '%s' 'web-3'\n"),
    ),
    (
        "sh",
        "{{ if .drain }}printf {{ .host }}{{ end }}\n",
        Some("printf 'web-3'\n"),
    ),
    (
        "python",
        "print({{ .host }}, {{ .drain }})\n",
        Some("print(\"web-3\", True)\n"),
    ),
    ("node", "f('{{ .host }}')\n", Some("f('web-3')\n")),
    ("go", "f({{ .drain }})\n", Some("f(true)\n")),
    ("bash", "printf \\{{ .host }}\n", None),
    ("bash", "printf {{ .nobody }}\n", None),
];

/// Mutants of the step that approvers sign.
fn steps(cases: &mut Vec<Case>) {
    let original = golden::value("bundle.json")["step"].clone();
    let mut push = |id: String, step: &Value, script: Option<&str>| {
        let sealed = Some(("step", step.clone()));
        let story = Story {
            sealed,
            approved: true,
            script: script.map(str::to_owned),
            ..Story::default()
        };
        cases.push(story.tell(id));
    };
    for (field, values) in STEP_VALUES {
        for (at, value) in values.iter().enumerate() {
            let mut step = original.clone();
            step[*field] = serde_json::from_str(value).expect("JSON");
            push(format!("step {field} value {at}"), &step, None);
        }
    }
    for (at, (interpreter, source, script)) in TEMPLATES.iter().enumerate() {
        let mut step = original.clone();
        for (field, value) in [
            ("interpreter", *interpreter),
            ("source", *source),
            ("template", "gruntwork"),
        ] {
            step[field] = json!(value);
        }
        push(
            format!("template {at} under its source"),
            &step,
            Some(source),
        );
        push(
            format!("template {at} under another script"),
            &step,
            Some("printf 'web-4'\n"),
        );
        push(
            format!("template {at} as it is rendered"),
            &step,
            Some(script.unwrap_or_default()),
        );
    }
}

/// A sandbox with all facts that a receipt can state.
const ALL_FACTS: &str = include_str!("../vectors/receipt-sandbox.json");

/// Mutants of facts that the golden receipt does not contain.
fn facts(cases: &mut Vec<Case>) {
    let mut original = golden_payload("receipt");
    original["predicate"]["sandbox"] = serde_json::from_str(ALL_FACTS).expect("JSON");
    let story = |value: &Value| Story {
        payload: Some(("receipt", to_canonical(value))),
        ..Story::default()
    };
    cases.push(story(&original).tell("all facts as they are".to_owned()));
    for mutant in changes(&original)
        .iter()
        .filter(|mutant| mutant.pointer.starts_with("/predicate/sandbox/"))
    {
        let place = mutant.pointer.trim_start_matches("/predicate/sandbox");
        cases.push(story(&mutant.value).tell(format!("all facts{place} {}", mutant.what)));
    }
}

/// Mutants of the list of programs: in the authorization, in the receipt, and in the sealed closures.
fn programs(cases: &mut Vec<Case>) {
    for (kind, places) in [
        (
            "authorization",
            &[
                "/predicate/sandbox/programs",
                "/predicate/sandbox/require/5",
            ][..],
        ),
        (
            "receipt",
            &[
                "/predicate/programs",
                "/predicate/sandbox/layers",
                "/predicate/sandbox/missing",
            ],
        ),
    ] {
        for mutant in changes(&original(true, kind)) {
            if places.iter().any(|place| mutant.pointer.starts_with(place)) {
                let payload = Some((kind, to_canonical(&mutant.value)));
                let story = Story {
                    listed: true,
                    payload,
                    ..Story::default()
                };
                cases.push(story.tell(format!("listed {kind}{} {}", mutant.pointer, mutant.what)));
            }
        }
    }
    for mutant in changes(&value("bundle-programs.json")["builtins"]) {
        if mutant.pointer.starts_with("/closures") || mutant.pointer.starts_with("/version") {
            let story = Story {
                listed: true,
                sealed: Some(("builtins", mutant.value.clone())),
                ..Story::default()
            };
            cases.push(story.tell(format!("listed builtins{} {}", mutant.pointer, mutant.what)));
        }
    }
}

/// Mutants of the envelope of one kind, and its old signatures over a changed payload.
fn envelopes(kind: &'static str, cases: &mut Vec<Case>) {
    let payload = to_canonical(&golden_payload(kind));
    let first = golden::bytes("payload/roster.json");
    let original = if kind == "roster-2" {
        difference(&first, &payload)
    } else {
        let envelope = golden::envelope(&payload, golden::signers(kind));
        serde_json::to_value(envelope).expect("an envelope")
    };
    let story = |value: Value| Story {
        two_rosters: kind == "roster-2",
        envelope: Some((kind, value)),
        ..Story::default()
    };
    for mutant in changes(&original) {
        cases.push(
            story(mutant.value.clone())
                .tell(format!("{kind} envelope{} {}", mutant.pointer, mutant.what)),
        );
    }
    if kind == "roster" {
        return;
    }
    for mutant in changes(&golden_payload(kind))
        .into_iter()
        .filter(|mutant| mutant.what == FLIPPED)
    {
        let mut envelope = original.clone();
        let changed = to_canonical(&mutant.value);
        if kind == "roster-2" {
            envelope["patch"] = difference(&first, &changed)["patch"].take();
        } else {
            envelope["payload"] = json!(Envelope::new(&changed, Vec::new()).payload);
        }
        let changed = Story {
            payload: Some((kind, to_canonical(&mutant.value))),
            ..story(envelope)
        };
        cases.push(changed.tell(format!(
            "{kind}{} flipped under the old signatures",
            mutant.pointer
        )));
    }
}

/// Mutants of the lines of the checkpoint, signed again.
fn checkpoints(cases: &mut Vec<Case>) {
    let text = String::from_utf8(golden::bytes("log/checkpoint")).expect("text");
    let body: Vec<&str> = text.lines().take(3).collect();
    for (what, lines) in line_changes(&body) {
        let story = Story {
            body: Some(lines.join("\n") + "\n"),
            ..Story::default()
        };
        cases.push(story.tell(format!("checkpoint {what}")));
    }
}

/// Mutants of the unsigned parts of the bundle, and of the lines of its proofs.
fn bundles(cases: &mut Vec<Case>) {
    // The trusted roster, and the parts that the first bundle does not have.
    for (file, roster, parts) in [
        ("bundle.json", "roster.json", &[""][..]),
        ("bundle-roster-2.json", "roster.json", &["/roster"]),
        ("bundle-plan.json", "roster.json", &["/plan"]),
        (
            "bundle-programs.json",
            "roster-programs.json",
            &["/programs"],
        ),
        (
            "bundle-token-grant.json",
            "roster-token-grant.json",
            &["/grant", "/proofs/grant", "/authorization"],
        ),
    ] {
        let original = golden::value(file);
        let roster = golden::value(roster);
        let roster = STANDARD.decode(roster["payload"].as_str().expect("a payload"));
        let roster = reference(&roster.expect("base64")).into_bytes();
        let mut push = |id: String, value: &Value| {
            cases.push(Case {
                id: format!("{file}{id}"),
                bundle: to_canonical(value),
                roster: roster.clone(),
            });
        };
        for mutant in changes(&original) {
            if parts.iter().any(|part| mutant.pointer.starts_with(part)) {
                push(format!("{} {}", mutant.pointer, mutant.what), &mutant.value);
            }
        }
        if file != "bundle.json" {
            continue;
        }
        for name in ["seal", "authorization", "consumption", "receipt"] {
            let text = original["proofs"][name].as_str().expect("text");
            let lines: Vec<&str> = text.lines().collect();
            for (what, changed) in line_changes(&lines) {
                // A change of one proof makes the checkpoints of the proofs differ. The mutants below change all
                // four proofs.
                let mut alone = original.clone();
                alone["proofs"][name] = json!(changed.join("\n") + "\n");
                push(format!("/proofs/{name} {what}"), &alone);
            }
        }
        let blank = original["proofs"]["seal"]
            .as_str()
            .unwrap()
            .find("\n\n")
            .unwrap();
        let note = original["proofs"]["seal"].as_str().unwrap()[blank + 2..].to_owned();
        for (what, changed) in line_changes(&note.lines().collect::<Vec<_>>()) {
            let mut everywhere = original.clone();
            for name in ["seal", "authorization", "consumption", "receipt"] {
                let text = original["proofs"][name].as_str().unwrap();
                everywhere["proofs"][name] =
                    json!(text.replace(&note, &(changed.join("\n") + "\n")));
            }
            push(format!("/proofs/* checkpoint {what}"), &everywhere);
        }
    }
}

/// Flips, drops, doubles and swaps lines.
fn line_changes<'l>(lines: &[&'l str]) -> Vec<(String, Vec<Cow<'l, str>>)> {
    let all = || {
        lines
            .iter()
            .map(|line| Cow::Borrowed(*line))
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for at in 0..lines.len() {
        let mut flipped = all();
        flipped[at] = flip_text(lines[at]).into();
        found.push((format!("line {at} flipped"), flipped));
        let mut dropped = all();
        dropped.remove(at);
        found.push((format!("line {at} dropped"), dropped));
        let mut doubled = all();
        doubled.insert(at, lines[at].into());
        found.push((format!("line {at} doubled"), doubled));
        if at + 1 < lines.len() && lines[at] != lines[at + 1] {
            let mut swapped = all();
            swapped.swap(at, at + 1);
            found.push((format!("line {at} swapped with the next"), swapped));
        }
    }
    found
}

/// The mutants of `golden::mutants`, and each string and number flipped to another value of the same form.
pub fn changes(document: &Value) -> Vec<Mutant> {
    let mut found = golden::mutants(document);
    for pointer in golden::places(document) {
        let mut value = document.clone();
        let place = value.pointer_mut(&pointer).unwrap();
        match place {
            Value::String(text) => *text = flip_text(text),
            Value::Number(number) => *place = json!(number.as_i64().unwrap() + 1),
            // The mutant `emptied` already changes these values.
            _ => continue,
        }
        found.push(Mutant {
            pointer,
            what: FLIPPED,
            value,
        });
    }
    found
}

/// The name of a change that keeps the form of the value.
pub const FLIPPED: &str = "flipped";

/// A different text of the same form: it changes one hex digit, base64 letter, digit of a time, or letter.
pub fn flip_text(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    // Avoid the end of the text: the last base64 letter has unused bits, and the last letter of a time is its zone.
    let at = if letters.len() >= 8 {
        letters.len() - 6
    } else {
        letters.len().saturating_sub(1)
    };
    match letters.get_mut(at) {
        Some(letter) => {
            *letter = match *letter {
                '0' => '1',
                'a' => 'b',
                'A' => 'B',
                digit if digit.is_ascii_digit() => '0',
                small if small.is_ascii_lowercase() => 'a',
                capital if capital.is_ascii_uppercase() => 'A',
                _ => 'x',
            };
        }
        None => letters.push('x'),
    }
    letters.into_iter().collect()
}
