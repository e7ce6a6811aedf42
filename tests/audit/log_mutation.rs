//! Logs with one changed entry, signed again by the signer of that kind under a new checkpoint. Both auditors find the
//! change, or `FREE` states why no auditor can.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{
    ENGINE, Envelope, MAX_PROGRAMS, MAX_PROGRAMS_BYTES, canonical_of, hex, merge, sha256,
    to_canonical,
};
use serde_json::{Value, json};
use verdict::{AuditEvent, LogEntry};

use crate::history::{
    self, ALICE, Approved, BOB, BOUNDARY, BOUNDARY_2, CAROL, Log, MALLORY, key, reference, sign,
};

use crate::mutants;

use crate::second;

/// Changes that no log can reveal, by the prefix `<kind>/<pointer> <change>`, with the reason.
const FREE: &[(&str, &str)] = &[
    (
        "receipt/predicate/boundary/version",
        "the program's version: the boundary's word",
    ),
    (
        "receipt/predicate/duration_ms",
        "how long it took: the boundary's word",
    ),
    (
        "receipt/predicate/finished_at flipped",
        "when it ended: the boundary's word, after the start",
    ),
    (
        "receipt/predicate/output/stdout/redactions flipped",
        "how often a secret was masked: the boundary's word",
    ),
    (
        "receipt/predicate/output/stderr/redactions flipped",
        "how often a secret was masked: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/caps",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/contacted",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/fs",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/kill",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/landlock",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/left",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/limits",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/net",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/ns",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/seccomp",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/sandbox/refused_hosts",
        "a fact beyond the layers: the boundary's word",
    ),
    (
        "receipt/predicate/usage/",
        "what it used up: the boundary's word",
    ),
    ("denial/predicate/reason", "the approver's words"),
    (
        "denial/subject/0/digest/sha256 flipped",
        "a denial of something else, which an approver signed",
    ),
    (
        "refusal/predicate/boundary dropped",
        "the first published example of the format has none",
    ),
    (
        "refusal/predicate/principal",
        "who sent it: the boundary's word",
    ),
    (
        "refusal/subject/0/digest/sha256 flipped",
        "what was handed in: the boundary's word",
    ),
    (
        "authorization and all after it/predicate/expires_at flipped",
        "a window that the spending still lies in",
    ),
    (
        "authorization and all after it/predicate/nonce flipped",
        "another nonce, spent once all the same",
    ),
    (
        "authorization and all after it/predicate/params/host flipped",
        "parameters of the schema: the approvers' to say",
    ),
    (
        "authorization and all after it/predicate/proposal flipped",
        "an id that is made by whoever makes the statement",
    ),
    (
        "authorization and all after it/predicate/reason",
        "the proposer's words",
    ),
    (
        "seal and all after it/predicate/engine",
        "the program's name: the boundary's word",
    ),
    (
        "seal and all after it/predicate/epoch flipped",
        "a new epoch: every seal may begin one",
    ),
    (
        "entry 3 after the next",
        "a denial of something else before the receipt",
    ),
    ("entry 4 after the next", "a refusal before the denial"),
    (
        "entry 4 twice, at the end",
        "the same denial again says nothing new",
    ),
    (
        "entry 1 twice, at the end",
        "a consumption that names it may follow; a person with an earlier head sees that the end was cut",
    ),
    (
        "entry 7 twice, at the end",
        "a consumption that names it may follow; a person with an earlier head sees that the end was cut",
    ),
    (
        "entry 9 left out",
        "a run whose end has not been seen yet; a cut end shows to whoever kept a head",
    ),
];

/// A log with one lie, and the name of the lie.
pub(super) struct Told {
    pub(super) id: String,
    pub(super) log: Log,
}

/// The entries of the honest log: kind, index and signers.
const ENTRIES: [(&str, usize, &[u8]); 6] = [
    ("authorization", 1, &[ALICE, BOB]),
    ("consumption", 2, &[BOUNDARY]),
    ("receipt", 3, &[BOUNDARY]),
    ("denial", 4, &[BOB]),
    ("refusal", 5, &[BOUNDARY]),
    ("seal", 6, &[BOUNDARY]),
];

type Edit<'e> = &'e dyn Fn(&mut Value);

/// An honest log except for one edited predicate. All later entries are built on the edited predicate.
fn tell(kind: &str, edit: Edit<'_>) -> Log {
    let but = |wanted: &str, value: &mut Value| {
        if kind == wanted {
            edit(value);
        }
    };
    let mut log = Log::new();
    let run = |log: &mut Log, at: i64, kind: &str| {
        let approved: Approved = log.approved_but("two:go", at, &[ALICE, BOB], |value| {
            but(&format!("{kind}authorization"), value)
        });
        let place = log.consume_but(at, &[&approved], |value| {
            but(&format!("{kind}consumption"), value)
        });
        log.receipt_but(place, &approved, |value| {
            but(&format!("{kind}receipt"), value)
        });
    };
    run(&mut log, 10, "");
    let denied = log.approved("nginx:restart", 25, &[ALICE]);
    log.deny_but(&denied, BOB, |value| but("denial", value));
    log.refuse(30, |value| but("refusal", value));
    log.reseal(40, |value| but("seal", value));
    run(&mut log, 50, "last ");
    log
}

fn honest() -> Log {
    tell("", &|_| {})
}

fn payload_of(entry: &[u8]) -> Value {
    let envelope: Envelope = serde_json::from_slice(entry).expect("an envelope");
    serde_json::from_slice(&STANDARD.decode(envelope.payload).expect("base64")).expect("JSON")
}

fn told() -> Vec<Told> {
    let honest = honest();
    let mut found = Vec::new();
    for (kind, at, signers) in ENTRIES {
        let original = payload_of(&honest.entries[at]);
        for mutant in mutants::changes(&original) {
            let mut log = honest.clone();
            let payload = to_canonical(&mutant.value);
            log.entries[at] = sign(&payload, signers).to_canonical().unwrap_or_default();
            found.push(Told {
                id: format!("{kind}{} {}", mutant.pointer, mutant.what),
                log,
            });
        }
        let envelope: Value = serde_json::from_slice(&honest.entries[at]).expect("JSON");
        for mutant in mutants::changes(&envelope) {
            let mut log = honest.clone();
            log.entries[at] = to_canonical(&mutant.value);
            found.push(Told {
                id: format!("{kind} envelope{} {}", mutant.pointer, mutant.what),
                log,
            });
        }
    }
    // Here all later entries follow from the change. Only changes that keep the type are possible, because the builder
    // needs the value.
    for kind in ["authorization", "consumption", "seal"] {
        let caught = std::cell::RefCell::new(Value::Null);
        let _ = tell(kind, &|value| *caught.borrow_mut() = value.clone());
        let original = json!({"predicate": caught.into_inner()});
        for mutant in mutants::changes(&original) {
            if !mutant.pointer.starts_with("/predicate/")
                || ![mutants::FLIPPED, "emptied"].contains(&mutant.what)
            {
                continue;
            }
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                tell(kind, &|value| *value = mutant.value["predicate"].clone())
            }));
            if let Ok(log) = made {
                found.push(Told {
                    id: format!("{kind} and all after it{} {}", mutant.pointer, mutant.what),
                    log,
                });
            }
        }
    }
    structure(&honest, &mut found);
    found
}

/// Removes, duplicates and moves entries.
fn structure(honest: &Log, found: &mut Vec<Told>) {
    for at in 0..honest.entries.len() {
        let mut push = |what: &str, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut log = honest.clone();
            change(&mut log.entries);
            found.push(Told {
                id: format!("entry {at} {what}"),
                log,
            });
        };
        push("left out", &|entries| drop(entries.remove(at)));
        push("twice", &|entries| entries.insert(at, entries[at].clone()));
        push("twice, at the end", &|entries| {
            entries.push(entries[at].clone())
        });
        if at + 1 < honest.entries.len() {
            push("after the next", &|entries| entries.swap(at, at + 1));
        }
    }
    for digest in honest.blobs.keys() {
        let mut log = honest.clone();
        log.blobs.remove(digest);
        found.push(Told {
            id: format!("blob {} left out", hex(digest)),
            log,
        });
        let mut log = honest.clone();
        log.blobs.get_mut(digest).expect("it is there").push(b' ');
        found.push(Told {
            id: format!("blob {} longer", hex(digest)),
            log,
        });
    }
}

/// Whether an auditor finds no defect, and its findings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) clean: bool,
    pub(super) words: BTreeSet<String>,
}

pub(super) fn ours(log: &Log) -> Found {
    let Some(versions) = verdict::rosters_in(&log.entries[..1], log).expect("readable") else {
        return Found {
            clean: false,
            words: ["no genesis seal".to_owned()].into(),
        };
    };
    let trusted = verdict::Pinned::Digest(log.roster_digest(1));
    let Ok(mut auditor) = verdict::Auditor::new(trusted, &versions, Default::default()) else {
        return Found {
            clean: false,
            words: ["no trust".to_owned()].into(),
        };
    };
    let mut said = Vec::new();
    for entry in &log.entries {
        said.extend(
            auditor
                .entry(&LogEntry::of(entry.clone()), log)
                .expect("readable"),
        );
    }
    let (last, summary) = auditor.finish(&log.head(), log).expect("readable");
    said.extend(last);
    let words = said.iter().filter_map(|one| match one {
        AuditEvent::Finding(finding) if !finding.differs => Some(format!(
            "{}@{:?}: {}",
            finding.what.word(),
            finding.entry,
            finding.detail
        )),
        _ => None,
    });
    Found {
        clean: summary.clean,
        words: words.collect(),
    }
}

/// The second auditor's answer for each log.
pub(super) fn answers(told: &[Told]) -> Vec<Value> {
    answers_trusting(told, 1)
}

/// The second auditor's answer for each log, if it trusts this version of the roster.
pub(super) fn answers_trusting(told: &[Told], version: usize) -> Vec<Value> {
    let lines = told.iter().map(|one| {
        let blobs: BTreeMap<String, String> =
            one.log.blobs.iter().map(|(digest, blob)| (hex(digest).to_string(), STANDARD.encode(blob))).collect();
        let entries: Vec<String> = one.log.entries.iter().map(|entry| STANDARD.encode(entry)).collect();
        let roster = one.log.roster_digest(version).to_string();
        json!({"id": one.id, "entries": entries, "blobs": blobs, "checkpoint": one.log.head(), "roster": roster})
    });
    let answers = second::batch(lines);
    assert_eq!(answers.len(), told.len(), "an answer for each");
    answers
}

/// Asserts that both auditors say the same about each log. Returns what they say.
pub(super) fn alike<T: PartialEq + std::fmt::Debug>(
    told: &[Told],
    ours: impl Fn(&Log) -> T,
    theirs: impl Fn(&Value) -> T,
) -> Vec<T> {
    let (mut faults, mut same) = (Vec::new(), Vec::new());
    for (one, answer) in told.iter().zip(answers(told)) {
        let (first, second) = (ours(&one.log), theirs(&answer));
        if first != second {
            faults.push(format!(
                "{}: ours {first:?}, theirs {second:?}: {}",
                one.id, answer["findings"]
            ));
        }
        same.push(first);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    same
}

pub(super) fn theirs(told: &[Told]) -> Vec<Found> {
    let read = |answer: &Value| Found {
        clean: answer["sound"].as_bool().unwrap_or_default(),
        words: (answer["findings"].as_array().into_iter().flatten())
            .map(|one| {
                format!(
                    "{}@{}: {}",
                    one["what"].as_str().unwrap_or_default(),
                    one["entry"],
                    one["detail"]
                )
            })
            .collect(),
    };
    answers(told).iter().map(read).collect()
}

/// Honest and dishonest logs under two roster versions, each with the expected result: true if both auditors find no
/// defect.
fn under_two_rosters() -> Vec<(Told, bool)> {
    let second = |signers: &[u8]| {
        let mut log = honest();
        log.sealed.roster["approvers"]["alice"]["groups"] = json!([]);
        log.roster(signers);
        log.reseal(70, |_| {});
        log
    };
    let rotated = |by_old: bool| {
        let mut log = honest();
        let running = log.approved("nginx:restart", 65, &[ALICE]);
        let place = log.consume(65, &[&running]);
        let under = log.seal.clone();
        log.sealed.roster["boundaries"]["prod"]["keys"] = json!([key(BOUNDARY_2).line()]);
        let before = reference(&to_canonical(&log.sealed.policy));
        log.roster(&[ALICE, BOB]);
        if !by_old {
            log.key = BOUNDARY_2;
        }
        log.reseal(70, |_| {});
        log.receipt_but(place, &running, |receipt| {
            receipt["seal"] = json!(under);
            receipt["decision"]["policy"] = json!(before);
        });
        log
    };
    let mut found = Vec::new();
    let mut push = |id: &str, clean: bool, log: Log| {
        found.push((
            Told {
                id: id.to_owned(),
                log,
            },
            clean,
        ))
    };
    push("both thresholds", true, second(&[ALICE, BOB]));
    push("one signature", false, second(&[ALICE]));
    push("no signature", false, second(&[]));
    push("a stranger besides", false, second(&[ALICE, BOB, MALLORY]));
    let mut log = second(&[ALICE, BOB]);
    log.run("nginx:restart", 80, &[BOB]);
    push("who is left approves", true, log.clone());
    log.run("nginx:restart", 81, &[ALICE]);
    push("who is no longer in a group approves", false, log);
    let mut log = second(&[ALICE, BOB]);
    log.rosters.truncate(1);
    log.reseal(90, |_| {});
    push("version 1 comes back", false, log);
    let both = second(&[ALICE, BOB]);
    for digest in both.blobs.keys() {
        let mut log = both.clone();
        log.blobs.remove(digest);
        push(
            &format!("under two rosters, blob {} left out", hex(digest)),
            false,
            log,
        );
    }
    let with_versions = |mut log: Log, versions: Vec<u8>| {
        let name = reference(&versions);
        log.blobs.insert(sha256(&versions), versions);
        log.reseal(90, |seal| seal["rosters"] = json!(name));
        log
    };
    let versions =
        |rosters: &[Envelope]| canonical_of(&history::part(rosters, 0)).expect("canonical");
    let by_others = |signers: &[u8]| {
        let mut rosters = both.rosters.clone();
        rosters[1] = sign(
            &STANDARD.decode(&rosters[1].payload).expect("base64"),
            signers,
        );
        with_versions(both.clone(), versions(&rosters))
    };
    push(
        "a later seal names versions again, signed by others of its people",
        false,
        by_others(&[ALICE, CAROL]),
    );
    push(
        "a later seal names versions that a stranger signed",
        false,
        by_others(&[MALLORY]),
    );
    let longer = [versions(&both.rosters), b" ".to_vec()].concat();
    push(
        "a later seal names versions that are not canonical",
        false,
        with_versions(both.clone(), longer),
    );
    let mut fork = honest();
    fork.sealed.roster["threshold"] = json!(1);
    fork.roster(&[ALICE, BOB]);
    fork.reseal(70, |_| {});
    let mut log = both.clone();
    (log.rosters, log.sealed) = (fork.rosters, fork.sealed);
    log.reseal(90, |_| {});
    push("another version 2 with the same signatures", false, log);
    let mut unsigned = both.rosters.clone();
    unsigned[1].signatures.clear();
    push(
        "a later seal names the versions again",
        false,
        with_versions(both.clone(), versions(&both.rosters)),
    );
    push(
        "a later seal names unsigned versions",
        false,
        with_versions(both.clone(), versions(&unsigned)),
    );
    push(
        "a later seal names version 1 alone",
        false,
        with_versions(both.clone(), versions(&both.rosters[..1])),
    );
    push(
        "a later seal names no versions",
        false,
        with_versions(both.clone(), b"[]".to_vec()),
    );
    push(
        "a seal names versions of version 1",
        false,
        with_versions(honest(), versions(&both.rosters[..1])),
    );
    for (id, of) in [("version 1", honest()), ("version 2", both.clone())] {
        let mut log = of;
        log.reseal(90, |seal| seal["rosters"] = json!(reference(b"nothing")));
        push(&format!("versions that are nowhere, {id}"), false, log);
    }
    let mut log = both;
    log.reseal(90, |seal| {
        drop(seal.as_object_mut().expect("an object").remove("rosters"))
    });
    push(
        "a later seal leaves out the versions that are known",
        false,
        log,
    );
    push("the boundary's key changes", true, rotated(false));
    push("the old key seals the new roster", false, rotated(true));
    let mut log = rotated(false);
    log.key = BOUNDARY;
    log.run("nginx:restart", 80, &[BOB]);
    log.key = BOUNDARY_2;
    push("the old key signs on", false, log);
    let mut log = honest();
    let (one, two) = (
        log.approved("nginx:restart", 60, &[BOB]),
        log.approved("nginx:restart", 60, &[ALICE]),
    );
    let place = log.consume(60, &[&one, &two]);
    log.receipt(history::Place { item: 1, ..place }, &two);
    push("one leaf for two runs, one still open", true, log.clone());
    log.receipt(history::Place { item: 1, ..place }, &one);
    push("a receipt for another item", false, log);
    let mut log = honest();
    let run = log.run("nginx:restart", 60, &[BOB]);
    log.consume(61, &[&run]);
    push("spent twice", false, log);
    let mut log = honest();
    let denied = log.approved("nginx:restart", 60, &[BOB]);
    log.deny(&denied, ALICE);
    let place = log.consume(61, &[&denied]);
    log.receipt(place, &denied);
    push("run under a denial", false, log);
    let mut log = honest();
    let run = log.run("nginx:restart", 60, &[BOB]);
    log.deny(&run, ALICE);
    push("denied after the run", true, log);
    let mut log = honest();
    log.run("nginx:restart", 60, &[CAROL]);
    push("the owner of the token approves", false, log);
    let mut log = honest();
    log.run("two:go", 60, &[BOB]);
    push("one of two", false, log);
    let mut log = honest();
    let late = log.approved("nginx:restart", 60, &[BOB]);
    let place = log.consume(60 + 3600, &[&late]);
    log.receipt(place, &late);
    push("spent at its expiry", false, log);
    found
}

#[test]
fn both_auditors_give_the_same_result_for_valid_and_invalid_roster_chains() {
    agree(under_two_rosters());
}

/// A log whose second seal names versions 2 and 3. Version 3 is this patch, and alice and bob signed the payload that
/// follows from the patch.
fn with_patch(patch: Value) -> Log {
    let mut log = honest();
    log.sealed.roster["groups"]["second"] = json!({});
    log.roster(&[ALICE, BOB]);
    let tables = log.sealed.roster.as_object_mut().expect("tables");
    merge(tables, patch.as_object().expect("a patch"));
    log.roster(&[ALICE, BOB]);
    let mut versions = json!(history::part(&log.rosters, 1));
    versions[1]["patch"] = patch;
    let versions = log.blob(to_canonical(&versions));
    let keys = json!([key(BOUNDARY).keyid()]);
    log.reseal(70, |seal| {
        seal["rosters"] = json!(versions);
        seal["keys"] = keys;
    });
    log
}

#[test]
fn both_auditors_find_a_signed_version_whose_patch_is_not_the_only_one() {
    let long = json!({"keys": (0..280).map(|number: u32| {
        let blob = [&b"\0\0\0\x01x"[..], &number.to_be_bytes()].concat();
        format!("x {} {}", STANDARD.encode(blob), "c".repeat(950))
    }).collect::<Vec<_>>()});
    let sound = [
        ("another group", json!({"groups": {"third": {}}})),
        ("a group less", json!({"groups": {"second": null}})),
        ("nothing changed", json!({})),
    ];
    let group = json!({"third": {}});
    let wrong = [
        (
            "a value that stays",
            json!({"groups": group, "name": "people"}),
        ),
        ("an object that stays", json!({"groups": {"second": {}}})),
        (
            "an object without effect",
            json!({"groups": group, "operators": {}}),
        ),
        ("null for no key", json!({"groups": group, "nobody": null})),
        (
            "null in a new object",
            json!({"groups": {"third": {"presence": null}}}),
        ),
        (
            "null in an array",
            json!({"approvers": {"carol": {"keys": [null]}}}),
        ),
        ("its own version", json!({"groups": group, "version": 3})),
        (
            "its own previous",
            json!({"groups": group, "previous": reference(b"another")}),
        ),
        ("another name", json!({"groups": group, "name": "others"})),
        (
            "a payload over the maximum size",
            json!({"operators": {"many": long}}),
        ),
    ];
    let told = |(id, patch): (&str, Value)| Told {
        id: id.to_owned(),
        log: with_patch(patch),
    };
    agree(sound.map(|one| (told(one), true)).into());
    let (wrong, found) = (wrong.map(told), |found: &Found| {
        let of_roster = found.words.iter().any(|word| word.starts_with("roster"));
        !found.clean && of_roster
    });
    for (one, second) in wrong.iter().zip(theirs(&wrong)) {
        let first = ours(&one.log);
        assert!(
            found(&first) && found(&second),
            "{}: {first:?} {second:?}",
            one.id
        );
    }
}

#[test]
fn both_auditors_find_reused_tokens_and_overlapping_runs_and_missing_receipts() {
    agree(liars());
}

/// An authorization with this list of programs, which is a blob of the log. The edit sees the list in the sandbox.
fn approved_with(log: &mut Log, list: Value, edit: impl FnOnce(&mut Value)) -> Approved {
    let mut blob = None;
    let approved = log.approved_but("nginx:restart", 10, &[ALICE], |predicate| {
        predicate["sandbox"]["programs"] = list;
        edit(&mut predicate["sandbox"]);
        if let Some(list) = predicate["sandbox"].get_mut("programs") {
            let bytes = to_canonical(list);
            *list = json!(reference(&bytes));
            blob = Some(bytes);
        }
    });
    blob.map(|bytes| log.blob(bytes));
    approved
}

/// A log with one run under a list of programs. The edits change the signed sandbox and the receipt.
fn listed(sandbox: impl FnOnce(&mut Value), receipt: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::with(|sealed| {
        sealed.policy["default"]["run"] = json!({"deny": ["nc"]});
        sealed.policy["default"]["sandbox"] =
            json!({"programs": {"allow": ["cat"], "mode": "listed"}});
        let closure = json!({"source": "restart(8)", "starts": ["nc", "ssh"]});
        sealed.builtins = json!({"closures": {"restart": closure}, "version": 1});
        sealed.steps[0]["programs"] = json!(["jq"]);
    });
    // A missing permission under a seal of another parser is no failure.
    log.reseal(5, |seal| seal["engine"] = json!(ENGINE));
    let program = |name: &str| json!({"name": name, "path": format!("/usr/bin/{name}")});
    let list = ["bash", "cat", "jq", "restart", "ssh"].map(program);
    let approved = approved_with(&mut log, json!(list), sandbox);
    let place = log.consume(10, &[&approved]);
    log.receipt_but(place, &approved, |predicate| {
        predicate["sandbox"]["layers"]
            .as_array_mut()
            .expect("layers")
            .insert(5, json!("programs"));
        predicate["programs"] = json!({"listed": 5, "mode": "listed"});
        receipt(predicate);
    });
    log
}

fn list_of(sandbox: &mut Value) -> &mut Vec<Value> {
    sandbox["programs"].as_array_mut().expect("a list")
}

fn without(value: &mut Value, field: &str) {
    value.as_object_mut().expect("an object").remove(field);
}

#[test]
fn both_auditors_find_a_wrong_list_of_programs() {
    let mut cases = Vec::new();
    let mut push = |id: &str, clean: bool, log: Log| {
        cases.push((
            Told {
                id: id.to_owned(),
                log,
            },
            clean,
        ))
    };
    let kept = |_: &mut Value| {};
    let states =
        |count: usize| move |receipt: &mut Value| receipt["programs"]["listed"] = json!(count);
    push("the list of the policy", true, listed(kept, kept));
    let another_path = |sandbox: &mut Value| list_of(sandbox)[1]["path"] = json!("/bin/cat");
    push("another path", true, listed(another_path, kept));
    push(
        "without an optional program",
        true,
        listed(|sandbox| drop(list_of(sandbox).pop()), states(4)),
    );
    push(
        "without the interpreter",
        false,
        listed(|sandbox| drop(list_of(sandbox).remove(0)), states(4)),
    );
    push(
        "without a declared program",
        false,
        listed(|sandbox| drop(list_of(sandbox).remove(2)), states(4)),
    );
    let denied = json!({"name": "nc", "path": "/usr/bin/nc"});
    push(
        "with a denied program",
        false,
        listed(move |sandbox| list_of(sandbox).insert(3, denied), states(6)),
    );
    push(
        "the receipt states another count",
        false,
        listed(kept, states(4)),
    );
    push(
        "the receipt states no list",
        false,
        listed(kept, |receipt| without(receipt, "programs")),
    );
    let no_layer = |value: &mut Value| {
        value
            .as_array_mut()
            .expect("layers")
            .retain(|layer| layer != "programs")
    };
    push(
        "the layer was not enforced",
        false,
        listed(kept, move |receipt| {
            no_layer(&mut receipt["sandbox"]["layers"])
        }),
    );
    push(
        "the layer is not required",
        false,
        listed(move |sandbox| no_layer(&mut sandbox["require"]), kept),
    );
    let no_list = move |sandbox: &mut Value| {
        without(sandbox, "programs");
        no_layer(&mut sandbox["require"]);
    };
    push(
        "no list",
        false,
        listed(no_list, |receipt| without(receipt, "programs")),
    );
    let mut log = Log::new();
    let list = json!([{"name": "bash", "path": "/usr/bin/bash"}]);
    let approved = approved_with(&mut log, list, |_| {});
    let place = log.consume(10, &[&approved]);
    log.receipt_but(place, &approved, |receipt| {
        receipt["programs"] = json!({"listed": 1, "mode": "listed"})
    });
    push("a list that nothing asks for", false, log);
    let honest = listed(kept, kept);
    let blob = honest
        .blobs
        .iter()
        .find(|(_, blob)| blob.starts_with(b"[{\"name\":\"bash\""));
    let (digest, list) = blob.expect("the list of programs");
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let (mut log, mut list) = (honest.clone(), list.clone());
        change(&mut list);
        log.blobs.insert(*digest, list);
        log
    };
    push(
        "the same list with a space",
        false,
        changed(&|list| list.insert(1, b' ')),
    );
    push(
        "another list under its name",
        false,
        changed(&|list| list[10] = b'd'),
    );
    push(
        "an empty list under its name",
        false,
        changed(&|list| list.splice(.., *b"[]").for_each(drop)),
    );
    let mut log = honest.clone();
    log.blobs.remove(digest);
    push("the list is missing", false, log);
    agree(cases);

    // Only the auditor that parses the script knows that nothing names this program.
    let date = json!({"name": "date", "path": "/usr/bin/date"});
    let surplus = listed(move |sandbox| list_of(sandbox).insert(2, date), states(6));
    let found = ours(&surplus);
    assert!(
        !found.clean
            && found
                .words
                .iter()
                .any(|word| word.contains("has date, but neither")),
        "{found:?}"
    );
}

#[test]
fn both_auditors_find_a_list_with_one_program_or_one_byte_too_many() {
    let filled = |count: usize, bytes: usize| {
        let fill = move |sandbox: &mut Value| {
            let list = list_of(sandbox);
            list.truncate(4);
            list.extend(
                (4..count)
                    .map(|number| json!({"name": "ssh", "path": format!("/usr/bin/{number:05}")})),
            );
            let mut room = bytes.saturating_sub(to_canonical(&json!(list)).len());
            for program in &mut list[4..] {
                let more = room.min(200);
                room -= more;
                let path = program["path"].as_str().expect("a path");
                program["path"] = json!(format!("{path}{}", "s".repeat(more)));
            }
        };
        listed(fill, |receipt: &mut Value| {
            receipt["programs"]["listed"] = json!(count.min(MAX_PROGRAMS))
        })
    };
    let told = |id: String, log: Log| Told { id, log };
    let sound = [(MAX_PROGRAMS, 0), (3_000, MAX_PROGRAMS_BYTES)];
    agree(
        sound
            .map(|(count, bytes)| {
                let id = format!("{count} programs, {bytes} bytes");
                (told(id, filled(count, bytes)), true)
            })
            .into(),
    );
    let wrong = [(MAX_PROGRAMS + 1, 0), (3_000, MAX_PROGRAMS_BYTES + 1)].map(|(count, bytes)| {
        told(
            format!("{count} programs, {bytes} bytes"),
            filled(count, bytes),
        )
    });
    for (one, second) in wrong.iter().zip(theirs(&wrong)) {
        let first = ours(&one.log);
        // Entry 2 is the authorization. Its list is the only defect.
        let at_entry =
            |found: &Found, place: &str| found.words.iter().any(|word| word.contains(place));
        let both = at_entry(&first, "@Some(2): ") && at_entry(&second, "@2: ");
        assert!(both, "{}: {first:?} {second:?}", one.id);
    }
}

#[test]
fn both_auditors_compare_the_signed_script_with_the_script_that_a_template_gives() {
    let ran = |source: &str, script: &str| {
        let mut log = Log::with(|sealed| {
            sealed.steps[0]["template"] = json!("gruntwork");
            sealed.steps[0]["source"] = json!(source);
        });
        let signed =
            |predicate: &mut Value| predicate["rendered"] = json!(reference(script.as_bytes()));
        let approved = log.approved_but("nginx:restart", 10, &[ALICE], signed);
        let place = log.consume(10, &[&approved]);
        log.receipt(place, &approved);
        log
    };
    let source = "printf '%s' {{ .host }}\n";
    let cases = [
        (
            "the script of the template",
            true,
            ran(source, "printf '%s' 'web-3'\n"),
        ),
        ("the template itself", false, ran(source, source)),
        (
            "another script",
            false,
            ran(source, "printf '%s' 'web-4'\n"),
        ),
        (
            "a place without a value",
            false,
            ran("printf \\{{ .host }}\n", "printf \\web-3\n"),
        ),
    ];
    agree(
        cases
            .map(|(id, clean, log)| {
                (
                    Told {
                        id: id.to_owned(),
                        log,
                    },
                    clean,
                )
            })
            .into(),
    );
}

/// Compares the results of both auditors with the expected results: true if a log has no defect.
pub(super) fn agree(cases: Vec<(Told, bool)>) {
    let (told, expected): (Vec<Told>, Vec<bool>) = cases.into_iter().unzip();
    let second = theirs(&told);
    let mut faults = Vec::new();
    for ((one, expected), second) in told.iter().zip(expected).zip(&second) {
        let first = ours(&one.log);
        if (first.clean, second.clean) != (expected, expected) {
            faults.push(format!(
                "{}: ours {:?}, theirs {:?}",
                one.id, first.words, second.words
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Logs that an attacker with the boundary's key can write, each with the expected result: true if both auditors find
/// no defect.
fn liars() -> Vec<(Told, bool)> {
    let mut found = Vec::new();
    let mut push = |id: &str, clean: bool, log: Log| {
        found.push((
            Told {
                id: id.to_owned(),
                log,
            },
            clean,
        ))
    };
    // Runs with the same exclusive name.
    let exclusive = |second: i64, receipt_first: bool| {
        let mut log = Log::new();
        let one = log.approved("db:migrate", 10, &[ALICE]);
        let first = log.consume(10, &[&one]);
        if receipt_first {
            log.receipt(first, &one);
        }
        let two = log.approved("db:migrate", 11, &[BOB]);
        let place = log.consume(second, &[&two]);
        if !receipt_first {
            log.receipt(first, &one);
        }
        log.receipt(place, &two);
        log
    };
    push(
        "two of one exclusive name, one after the other",
        true,
        exclusive(11, true),
    );
    push(
        "two of one exclusive name at once",
        false,
        exclusive(11, false),
    );
    let mut log = Log::new();
    let both = [
        log.approved("db:migrate", 10, &[ALICE]),
        log.approved("db:migrate", 10, &[BOB]),
    ];
    let place = log.consume(10, &[&both[0], &both[1]]);
    log.receipt(place, &both[0]);
    log.receipt(history::Place { item: 1, ..place }, &both[1]);
    push("two of one exclusive name in one leaf", false, log);
    // A run without a receipt.
    let withheld = |later: i64| {
        let mut log = Log::new();
        let run = log.approved("nginx:restart", 10, &[ALICE]);
        log.consume(10, &[&run]);
        log.refuse(later, |_| {});
        log
    };
    push(
        "a run that may still go on",
        true,
        withheld(10 + 86_400 + 300),
    );
    push(
        "a run that can't go on any more",
        false,
        withheld(10 + 86_400 + 301),
    );
    // Old epochs and old tokens that are used again.
    let mut log = honest();
    let first = std::mem::replace(&mut log.epoch, "e1".repeat(16));
    log.reseal(70, |_| {});
    push("another epoch", true, log.clone());
    log.epoch = first;
    log.reseal(71, |_| {});
    push("an epoch that was replaced", false, log);
    let tokens = honest().sealed.tokens.as_array().expect("tokens").clone();
    let without_first = |log: &mut Log| log.sealed.tokens = tokens[1..].iter().cloned().collect();
    let mut log = honest();
    without_first(&mut log);
    log.reseal(70, |_| {});
    push("a token is revoked", true, log.clone());
    let mut under = log.clone();
    under.run("nginx:restart", 71, &[BOB]);
    push("what a revoked token proposed runs", false, under);
    log.sealed.tokens = tokens.iter().cloned().collect();
    log.reseal(72, |_| {});
    push("a token that was gone", false, log);
    let mut log = honest();
    log.sealed.tokens[0]["owners"] = json!([]);
    log.reseal(70, |_| {});
    push("a token changes its owners", false, log);
    let mut log = honest();
    log.sealed.tokens = json!([
        tokens[0],
        history::token("alice", &[], "0d"),
        tokens[1],
        tokens[2]
    ]);
    log.sealed
        .tokens
        .as_array_mut()
        .expect("tokens")
        .sort_by_key(to_canonical);
    log.reseal(70, |_| {});
    push("a token with an approver's name", false, log);
    // The credentials of tokens.
    let sealed = |change: &dyn Fn(&mut Value)| {
        let mut log = Log::with(|sealed| {
            change(&mut sealed.tokens);
            sealed
                .tokens
                .as_array_mut()
                .expect("tokens")
                .sort_by_key(to_canonical);
        });
        log.run("nginx:restart", 10, &[BOB]);
        log
    };
    let keys = reference(b"keys");
    let oidc = json!({"issuer": "https://issuer.example", "claims": {"sub": "a"}, "bind": {"text": "b"}, "jwks": keys});
    let bound = |tokens: &mut Value, oidc: &Value| {
        tokens[1]["credential"] = json!(reference(&to_canonical(oidc)));
        tokens[1]["oidc"] = oidc.clone();
    };
    push(
        "a token of jobs",
        true,
        sealed(&|tokens| bound(tokens, &oidc)),
    );
    let other = reference(b"other");
    push(
        "a token of jobs with another credential",
        false,
        sealed(&|tokens| {
            bound(tokens, &oidc);
            tokens[1]["credential"] = json!(other);
        }),
    );
    let fields = [
        ("issuer", json!("https://other.example")),
        ("claims", json!({"sub": "b"})),
        ("bind", json!({"text": "c"})),
        ("bind", json!({})),
        ("jwks", json!(other)),
        ("jwks", Value::Null),
        ("ca", json!(other)),
        ("secret", json!("a")),
    ];
    for (field, value) in fields {
        // With the credential of the old binding, or without a binding of this form.
        let mut log = sealed(&|tokens| {
            bound(tokens, &oidc);
            tokens[1]["oidc"][field] = value.clone();
        });
        push(
            &format!("a token of jobs with another {field}: {value}"),
            false,
            log,
        );
        if value == json!({}) || value.is_null() || field == "secret" {
            log = sealed(&|tokens| {
                let mut oidc = oidc.clone();
                oidc[field] = value.clone();
                bound(tokens, &oidc);
            });
            let id = format!("a token of jobs with the form {field}: {value}");
            push(&id, false, log);
        }
    }
    push(
        "two tokens with one credential",
        false,
        sealed(&|tokens| tokens[1]["credential"] = tokens[0]["credential"].clone()),
    );
    push(
        "two tokens with one binding",
        false,
        sealed(&|tokens| {
            bound(tokens, &oidc);
            tokens[2]["credential"] = tokens[1]["credential"].clone();
            tokens[2]["oidc"] = tokens[1]["oidc"].clone();
        }),
    );
    push(
        "a token without a credential",
        false,
        sealed(&|tokens| {
            drop(
                tokens[1]
                    .as_object_mut()
                    .expect("an object")
                    .remove("credential"),
            )
        }),
    );
    let mut log = honest();
    log.sealed.tokens[0]["credential"] = json!(format!("sha256:{}", "09".repeat(32)));
    log.reseal(70, |_| {});
    push("a token changes its credential", false, log);
    let mut log = honest();
    log.sealed.tokens[0]["expires_at"] = json!(history::t(100));
    let ends = log.sealed.tokens.clone();
    let mut log = Log::with(|sealed| sealed.tokens = ends);
    log.run("nginx:restart", 99, &[BOB]);
    push("a token in its last second", true, log.clone());
    log.run("nginx:restart", 100, &[BOB]);
    push("a token that has ended", false, log);
    // The proposer and the excluded approvers.
    let handed_in = |proposer: &'static str, by: &'static str, step: &str, excluded: &[&str]| {
        let mut log = honest();
        let signers = &[ALICE, BOB][..if step == "two:go" { 2 } else { 1 }];
        let run = log.approved_but(step, 60, signers, |value| {
            value["proposer"] = json!(proposer)
        });
        let place = log.consume_but(60, &[&run], |value| {
            value["spent"][0]["handed_in_by"] = json!(by)
        });
        log.receipt_but(place, &run, |receipt| {
            receipt["decision"]["handed_in_by"] = json!(by);
            receipt["decision"]["excluded"] = json!(excluded);
        });
        log
    };
    let both = ["agent", "carol", "narrow"];
    push(
        "handed in by another token",
        true,
        handed_in("agent", "narrow", "two:go", &both),
    );
    push(
        "proposed by another token",
        true,
        handed_in("narrow", "agent", "two:go", &both),
    );
    push(
        "by a token for other steps",
        false,
        handed_in("agent", "narrow", "nginx:restart", &both),
    );
    push(
        "proposed by a token for other steps",
        false,
        handed_in("narrow", "agent", "nginx:restart", &both),
    );
    let both = ["agent", "carol", "reader"];
    push(
        "by a token that only reads",
        false,
        handed_in("agent", "reader", "two:go", &both),
    );
    push(
        "proposed by a token that only reads",
        false,
        handed_in("reader", "agent", "two:go", &both),
    );
    push(
        "by an approver",
        false,
        handed_in("agent", "bob", "two:go", &["agent", "bob", "carol"]),
    );
    push(
        "one more excluded than follows",
        false,
        handed_in(
            "agent",
            "agent",
            "nginx:restart",
            &["agent", "carol", "dora"],
        ),
    );
    // One proposal with two runs.
    let mut log = honest();
    let first = log.run("nginx:restart", 60, &[ALICE]);
    let id = first.predicate["proposal"].clone();
    let second = log.approved_but("nginx:restart", 61, &[BOB], |value| value["proposal"] = id);
    let place = log.consume(61, &[&second]);
    log.receipt(place, &second);
    push("one proposal in two receipts", false, log);
    // The sandbox that follows from the step, the policy and the configuration.
    let usual = Log::new().sandbox;
    let told = |sealed: &dyn Fn(&mut history::Sealed), signed: &dyn Fn(&mut Value)| {
        let mut log = Log::with(|all| sealed(all));
        // If the configuration gives no sandbox for the step, use the usual sandbox.
        log.sandbox
            .entry("nginx:restart".to_owned())
            .or_insert_with(|| usual["nginx:restart"].clone());
        let run = log.approved_but("nginx:restart", 10, &[ALICE], |value| {
            signed(&mut value["sandbox"])
        });
        let place = log.consume(10, &[&run]);
        log.receipt(place, &run);
        log
    };
    let wall = |ms: u64| move |sandbox: &mut Value| sandbox["limits"]["wall_ms"] = json!(ms);
    let policy = |sandbox: Value| {
        move |sealed: &mut history::Sealed| sealed.policy["default"]["sandbox"] = sandbox.clone()
    };
    let as_it_is = |_: &mut Value| {};
    push(
        "a limit by policy",
        true,
        told(
            &policy(json!({"limits": {"wall_ms": 7}, "proc": "full"})),
            &as_it_is,
        ),
    );
    push(
        "a limit by policy, signed otherwise",
        false,
        told(&policy(json!({"limits": {"wall_ms": 7}})), &wall(300_000)),
    );
    push(
        "a proc by policy, signed otherwise",
        false,
        told(&policy(json!({"proc": "full"})), &|sandbox| {
            sandbox["proc"] = json!("minimal");
        }),
    );
    let declared = |sandbox: Value| {
        move |sealed: &mut history::Sealed| sealed.steps[0]["sandbox"] = sandbox.clone()
    };
    push(
        "a limit of the step",
        true,
        told(&declared(json!({"limits": {"wall_ms": 9}})), &as_it_is),
    );
    push(
        "a limit of the step, signed otherwise",
        false,
        told(&declared(json!({"limits": {"wall_ms": 9}})), &wall(8)),
    );
    push(
        "a path that nothing allows",
        false,
        told(&|_| {}, &|sandbox| sandbox["read"] = json!(["/etc/shadow"])),
    );
    push(
        "a network that nothing allows",
        false,
        told(&|_| {}, &|sandbox| {
            sandbox["network"]["mode"] = json!("host")
        }),
    );
    push(
        "no layers",
        false,
        told(&|_| {}, &|sandbox| sandbox["require"] = json!([])),
    );
    let configured = |configuration: Value| {
        move |sealed: &mut history::Sealed| sealed.configuration = configuration.clone()
    };
    let held = usual["nginx:restart"].clone();
    let held = |more: &'static dyn Fn(&mut Value)| {
        let held = held.clone();
        move |sandbox: &mut Value| {
            *sandbox = held.clone();
            more(sandbox);
        }
    };
    for (id, of) in [
        (
            "no limits",
            json!({"limits": {}, "sandbox": {"level": "strict"}}),
        ),
        (
            "no default",
            json!({"limits": {"maximum": {}}, "sandbox": {"level": "strict", "require": ["network"]}}),
        ),
    ] {
        push(
            &format!("a configuration with {id}"),
            true,
            told(&configured(of.clone()), &held(&|_| {})),
        );
        push(
            &format!("a configuration with {id}, any limit"),
            true,
            told(
                &configured(of.clone()),
                &held(&|sandbox| sandbox["limits"]["wall_ms"] = json!(1)),
            ),
        );
        push(
            &format!("a configuration with {id}, the host's network"),
            false,
            told(
                &configured(of.clone()),
                &held(&|sandbox| sandbox["network"]["mode"] = json!("host")),
            ),
        );
        push(
            &format!("a configuration with {id}, a layer of its level too few"),
            false,
            told(
                &configured(of),
                &held(&|sandbox| sandbox["require"] = json!(["capabilities"])),
            ),
        );
    }
    push(
        "a configuration of another shape",
        false,
        told(
            &configured(json!({"of": "a later version"})),
            &held(&|_| {}),
        ),
    );
    // The sealed layers of the level `strict`, which can be fewer than today.
    let four = json!(["capabilities", "landlock", "namespaces", "network"]);
    let require = |layers: Value| move |sandbox: &mut Value| sandbox["require"] = layers.clone();
    let strict = |layers: Value| {
        move |sealed: &mut history::Sealed| {
            sealed.configuration["sandbox"]["require"] = layers.clone()
        }
    };
    push(
        "strict of four layers",
        true,
        told(&strict(four.clone()), &require(four.clone())),
    );
    push(
        "strict of four layers, none signed",
        false,
        told(&strict(four.clone()), &require(json!([]))),
    );
    push(
        "strict of no layers, none signed",
        false,
        told(&strict(json!([])), &require(json!([]))),
    );
    push(
        "strict of now, four signed",
        false,
        told(&|_| {}, &require(four)),
    );
    // A step declares sandbox permissions, and the policy allows them.
    let of_host = |step: Value, rule: Value| {
        move |sealed: &mut history::Sealed| {
            sealed.steps[0]["sandbox"] = step.clone();
            let rules = sealed.policy["overrides"]
                .as_array_mut()
                .expect("overrides");
            rules.push(json!({"runbook": "nginx*", "sandbox": rule.clone()}));
        }
    };
    let reads = of_host(
        json!({"read": ["/srv/app"], "deny": ["**/.env"]}),
        json!({"read": ["/srv"], "deny": ["**/*.pem"]}),
    );
    push("a path that policy allows", true, told(&reads, &as_it_is));
    push(
        "without what is denied below it",
        false,
        told(&reads, &|sandbox| sandbox["deny"] = json!([])),
    );
    for (step, rule) in [
        (
            json!({"write": ["/srv/app"], "workdir": "in-place"}),
            json!({"write": ["/srv"], "workdir": "in-place"}),
        ),
        (
            json!({"write": ["/srv/app"], "workdir": "copy"}),
            json!({"read": ["/srv/app"]}),
        ),
        (
            json!({"network": {"allow": ["a.example:443"]}}),
            json!({"network": {"allow": ["a.example:443", "b.example:80"]}}),
        ),
        (json!({"network": "host"}), json!({"network": "host"})),
        (
            json!({"sockets": ["/run/x.sock"]}),
            json!({"sockets": ["/run/x.sock"]}),
        ),
        (json!({"run_as": "web"}), json!({"run_as": "web"})),
        (
            json!({"off_reason": "it needs the host's packages"}),
            json!({"may_be_off": true}),
        ),
    ] {
        push(
            &format!("{step} by {rule}"),
            true,
            told(&of_host(step.clone(), rule), &as_it_is),
        );
        push(
            &format!("{step} by nothing"),
            false,
            told(&of_host(step, json!({"proc": "minimal"})), &as_it_is),
        );
    }
    // A step asks for more than the maximum.
    let mut log = honest();
    log.sealed.steps[0]["sandbox"] = json!({"limits": {"wall_ms": 300_001}});
    log.reseal(70, |_| {});
    push("a step asks for more than the maximum", false, log);
    // A pattern that needs exponential time in a backtracking matcher.
    let slow = |value: String| {
        let mut log = Log::with(|sealed| {
            sealed.steps[0]["params"]["properties"]["host"] =
                json!({"pattern": "^(?:a|a)*b$", "type": "string"});
        });
        let run = log.approved_but("nginx:restart", 10, &[ALICE], |all| {
            all["params"]["host"] = json!(value)
        });
        let place = log.consume(10, &[&run]);
        log.receipt(place, &run);
        log
    };
    push("a slow pattern that fits", true, slow("aab".to_owned()));
    push(
        "a slow pattern that does not fit",
        false,
        slow(format!("{}c", "a".repeat(64))),
    );
    found
}

#[test]
fn both_auditors_name_every_roster_version_without_required_signatures() {
    let mut log = Log::with(|sealed| sealed.roster["threshold"] = json!(0));
    log.roster(&[]);
    log.reseal(10, |_| {});
    log.sealed.roster["threshold"] = json!(2);
    log.roster(&[ALICE, BOB]);
    log.reseal(20, |_| {});
    let (said, summary) = log.audit();
    assert!(summary.clean, "{said:#?}");
    let warned = |version: u64| {
        summary
            .warnings
            .iter()
            .any(|one| one.contains(&format!("version {version} of the roster is unguarded")))
    };
    assert_eq!(
        [1, 2, 3].map(warned),
        [true, true, false],
        "{:#?}",
        summary.warnings
    );
    let second = answers(&[Told {
        id: "unguarded".to_owned(),
        log,
    }]);
    assert_eq!(
        (&second[0]["sound"], &second[0]["unguarded"]),
        (&json!(true), &json!([1, 2])),
        "{}",
        second[0]
    );
    let guarded = answers(&[Told {
        id: "guarded".to_owned(),
        log: honest(),
    }]);
    assert_eq!(guarded[0]["unguarded"], json!([]));
}

#[test]
fn both_auditors_report_decisions_that_the_sealed_state_leaves_open() {
    let mut log = Log::with(|sealed| {
        sealed.configuration = json!({"limits": {}, "sandbox": {"level": "strict"}});
        sealed.policy["default"]["run"] = json!({"allow": ["printf"]});
    });
    log.sandbox = Log::new().sandbox;
    log.run("nginx:restart", 10, &[ALICE]);
    log.run("two:go", 11, &[ALICE, BOB]);
    let (said, summary) = log.audit();
    assert!(summary.clean, "{said:#?}");
    let open: Vec<_> = summary
        .not_checked
        .iter()
        .map(|one| (one.what.word(), one.decisions))
        .collect();
    assert_eq!(open, [("sandbox", 2)]);
    let lines = said.iter().filter_map(|one| {
        if let AuditEvent::Decision(line) = one {
            Some(line)
        } else {
            None
        }
    });
    assert_eq!(
        lines.map(|line| line.unchecked.len()).collect::<Vec<_>>(),
        [1, 1]
    );
    // The second auditor does not parse scripts.
    let second = &answers(&[Told {
        id: "open".to_owned(),
        log,
    }])[0];
    assert_eq!(second["sound"], json!(true), "{second}");
    let open = second["not_checked"].as_array().expect("a list").iter();
    let open: Vec<_> = open
        .map(|one| (one["what"].clone(), one["decisions"].clone()))
        .collect();
    assert_eq!(
        open,
        [
            (json!("permissions"), json!(2)),
            (json!("sandbox"), json!(2))
        ]
    );
}

#[test]
fn both_auditors_find_every_change_of_every_entry() {
    let honest = [Told {
        id: "honest".to_owned(),
        log: honest(),
    }];
    assert_eq!(
        ours(&honest[0].log),
        theirs(&honest)[0],
        "nothing is found in an honest log"
    );
    assert!(ours(&honest[0].log).clean);
    // The builder panics if a change leaves it no usable value. Hide the messages of these panics.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let told = told();
    std::panic::set_hook(hook);
    assert!(told.len() > 1000, "{}", told.len());
    let second = theirs(&told);
    let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
    for (one, second) in told.iter().zip(&second) {
        let first = ours(&one.log);
        if first.clean != second.clean {
            faults.push(format!(
                "{}: ours {:?}, theirs {:?}",
                one.id, first.words, second.words
            ));
        } else if first.clean {
            match FREE.iter().find(|(free, _)| one.id.starts_with(free)) {
                Some((free, _)) => drop(used.insert(*free)),
                None => faults.push(format!("{}: clean", one.id)),
            }
        }
    }
    for (free, _) in FREE {
        if !used.contains(free) {
            faults.push(format!("{free}: found now, take it off the list"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        told.len(),
        faults.join("\n")
    );
}
