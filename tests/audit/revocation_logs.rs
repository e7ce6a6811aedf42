//! Logs with revocations. Both auditors judge each log, and find the same uses of revoked subjects.

use std::collections::BTreeSet;

use super::history_entries::{Case, as_expected, cases_of, found, kept_of, resumed};
use super::log_mutation::{Told, alike, answers_trusting};
use crate::fuzz_corpus::Random;
use crate::history::script::FOREIGN;
use crate::history::{ALICE, Approved, BOB, BOUNDARY, BOUNDARY_2, CAROL, Log, Sealed, key, token};
use documents::sha256;
use serde_json::{Value, json};
use verdict::{AuditEvent, Auditor, Expected, LogEntry, Pinned, rosters_in};

/// A second key of alice.
const ALICE_2: u8 = 11;
/// The key of an operator.
const OSCAR: u8 = 7;
/// The key of a proposer, who owns the token `shared`.
const ROBOT: u8 = 8;

type Subject = (&'static str, [u8; 32]);

/// People and tokens whose keys and rights the logs revoke.
fn people(sealed: &mut Sealed) {
    let line = |seed: u8| key(seed).line().to_owned();
    sealed.roster["approvers"]["alice"]["keys"] = json!([line(ALICE), line(ALICE_2), FOREIGN]);
    sealed.roster["operators"] = json!({"oscar": {"keys": [line(OSCAR)]}});
    sealed.roster["proposers"] = json!({"robot": {"owners": [], "keys": [line(ROBOT)]}});
    sealed.roster["boundaries"]["prod"]["keys"] = json!([line(BOUNDARY), line(BOUNDARY_2)]);
    sealed.tokens = json!([
        token("agent", &["carol"], "0a"),
        token("free", &[], "0b"),
        token("shared", &["bob", "robot"], "0c"),
    ]);
}

fn log() -> Log {
    Log::with(people)
}

fn of_key(seed: u8) -> Subject {
    ("key", key(seed).keyid().to_bytes())
}

fn of_token(name: &str) -> Subject {
    ("token", sha256(name.as_bytes()))
}

fn of_epoch(log: &Log) -> Subject {
    ("epoch", sha256(log.epoch.as_bytes()))
}

fn freeze(log: &mut Log, by: u8) {
    let subject = of_epoch(log);
    log.revoke(subject, by);
}

fn thaw(log: &mut Log, at: i64) {
    log.reseal(at, |seal| seal["epoch"] = json!("e1".repeat(16)));
}

fn consume_and_end(log: &mut Log, at: i64, approved: &Approved) {
    let place = log.consume(at, &[approved]);
    log.receipt(place, approved);
}

const SECTIONS: [&str; 5] = ["rights", "forms", "keys", "tokens and epochs", "rosters"];

/// A revocation with the signature of another revocation.
fn signature_of_another() -> Case {
    let (mut log, mut other) = (log(), log());
    log.revoke(of_token("agent"), OSCAR);
    other.revoke(of_token("free"), OSCAR);
    let read = |log: &Log| serde_json::from_slice::<Value>(log.entries.last().unwrap()).unwrap();
    let (mut envelope, from) = (read(&log), read(&other));
    envelope["signatures"] = from["signatures"].clone();
    *log.entries.last_mut().unwrap() = documents::to_canonical(&envelope);
    (
        "the signature is of another revocation",
        &["revocation"],
        log,
    )
}

/// The entries with a finding `revocation` or `revoked`.
type Uses = BTreeSet<(String, u64)>;

fn ours(log: &Log) -> (bool, Uses) {
    let (said, summary) = log.audit();
    let of = |one: &AuditEvent| match one {
        AuditEvent::Finding(finding) => Some((finding.what.word().to_owned(), finding.entry?)),
        _ => None,
    };
    (
        summary.clean,
        said.iter()
            .filter_map(of)
            .filter(|(what, _)| is_use(what))
            .collect(),
    )
}

fn theirs(answer: &Value) -> (bool, Uses) {
    let findings = answer["findings"].as_array().expect("findings").iter();
    let of = |one: &Value| Some((one["what"].as_str()?.to_owned(), one["entry"].as_u64()?));
    (
        answer["sound"] == json!(true),
        findings
            .filter_map(of)
            .filter(|(what, _)| is_use(what))
            .collect(),
    )
}

fn is_use(what: &str) -> bool {
    ["revocation", "revoked"].contains(&what)
}

/// Compares both auditors, and returns how many logs have no defect.
fn compare(told: &[Told]) -> usize {
    alike(told, ours, theirs)
        .iter()
        .filter(|(clean, _)| *clean)
        .count()
}

#[test]
fn both_auditors_judge_revocations_and_uses_of_revoked_subjects_alike() {
    let text = include_str!("logs/revocations.txt");
    let mut cases = SECTIONS.map(|one| cases_of(text, one, people)).concat();
    cases.push(signature_of_another());
    let (told, sound): (Vec<Told>, Vec<bool>) = as_expected(cases).into_iter().unzip();
    assert!(told.len() >= 65, "{}", told.len());
    assert_eq!(compare(&told), sound.iter().filter(|sound| **sound).count());
}

/// A log of random entries. Most revocations have a signer with the right to revoke.
fn random_log(random: &mut Random) -> Log {
    let mut log = log();
    let keys = [
        ALICE, BOB, CAROL, OSCAR, ROBOT, BOUNDARY, BOUNDARY_2, ALICE_2,
    ];
    let mut waiting: Vec<Approved> = Vec::new();
    for at in (10..).step_by(10).take(4 + random.below(6)) {
        let signer = if random.below(4) > 0 {
            OSCAR
        } else {
            keys[random.below(keys.len())]
        };
        let approvers: &[u8] = [&[ALICE][..], &[BOB], &[ALICE, BOB]][random.below(3)];
        let token = ["agent", "free"][random.below(2)];
        let approved = log.approved_but("nginx:restart", at, approvers, |of| {
            of["proposer"] = json!(token)
        });
        match random.below(11) {
            0..3 => consume_and_end(&mut log, at, &approved),
            3 => waiting.push(approved),
            4 => match waiting.pop() {
                Some(earlier) => consume_and_end(&mut log, at, &earlier),
                None => log.deny(&approved, [ALICE, BOB][random.below(2)]),
            },
            5 => {
                let subject = keys[random.below(keys.len())];
                log.revoke(
                    of_key(subject),
                    if random.below(2) == 0 {
                        subject
                    } else {
                        signer
                    },
                );
            }
            6 => log.revoke(
                of_token(["agent", "free", "shared"][random.below(3)]),
                signer,
            ),
            7 => freeze(&mut log, signer),
            8 => {
                let epoch = if random.below(3) == 0 {
                    log.epoch.clone()
                } else {
                    format!("{at:032x}")
                };
                waiting.clear();
                log.reseal(at, |seal| seal["epoch"] = json!(epoch));
            }
            9 => {
                log.roster([&[ALICE, BOB][..], &[BOB, CAROL], &[ALICE_2, CAROL]][random.below(3)]);
                log.reseal(at, |_| {});
                waiting.clear();
            }
            _ => {
                log.key = if log.key == BOUNDARY {
                    BOUNDARY_2
                } else {
                    BOUNDARY
                }
            }
        }
    }
    log
}

#[test]
fn both_auditors_judge_random_logs_with_revocations_alike() {
    let logs = (0..300).map(|round| {
        let log = random_log(&mut Random::new("revocations", round));
        Told {
            id: format!("round {round}"),
            log,
        }
    });
    let told: Vec<Told> = logs.collect();
    let uses: Uses = told.iter().flat_map(|one| ours(&one.log).1).collect();
    assert!(
        uses.iter().any(|(what, _)| what == "revocation")
            && uses.iter().any(|(what, _)| what == "revoked")
    );
    let clean = compare(&told);
    assert!((50..250).contains(&clean), "{clean} of 300 have no defect");
}

#[test]
fn the_signatures_of_a_trusted_roster_version_are_not_judged() {
    let mut log = log();
    log.revoke(of_key(ALICE), OSCAR);
    log.roster(&[ALICE, BOB]);
    log.reseal(10, |_| {});
    assert_eq!(found(&log), ["revoked"], "version 1 is trusted");
    let versions = rosters_in(&log.entries, &log).unwrap().unwrap();
    let mut auditor = Auditor::new(
        Pinned::Digest(log.roster_digest(2)),
        &versions,
        Expected::default(),
    )
    .unwrap();
    let mut said: Vec<AuditEvent> = log
        .entries
        .iter()
        .flat_map(|entry| auditor.entry(&LogEntry::of(entry.clone()), &log).unwrap())
        .collect();
    said.retain(|event| matches!(event, AuditEvent::Finding(_)));
    assert!(said.is_empty(), "{said:#?}");
    let second = answers_trusting(
        &[Told {
            id: "version 2".to_owned(),
            log,
        }],
        2,
    );
    assert_eq!(theirs(&second[0]), (true, Uses::new()), "{}", second[0]);
}

#[test]
fn a_resumed_audit_knows_the_revoked_subjects() {
    let mut log = log();
    log.revoke(of_key(ALICE), ALICE);
    log.revoke(of_token("free"), OSCAR);
    let kept = kept_of(&log);
    assert_eq!(kept.counts.revocations, 2);
    let go_on = |change: fn(&mut Log)| {
        let mut log = log.clone();
        change(&mut log);
        resumed(&log, &kept)
    };
    assert!(go_on(|log| drop(log.run("nginx:restart", 10, &[BOB]))).is_empty());
    assert_eq!(
        go_on(|log| drop(log.run("nginx:restart", 10, &[ALICE]))),
        ["quorum", "revoked"]
    );
    assert_eq!(
        go_on(|log| log.revoke(of_key(ALICE), OSCAR)),
        ["revocation"]
    );
    let by_free = |log: &mut Log| {
        let approved = log.approved_but("nginx:restart", 10, &[BOB], |of| {
            of["proposer"] = json!("free")
        });
        consume_and_end(log, 10, &approved);
    };
    assert_eq!(go_on(by_free), ["revoked"]);
}

#[test]
fn the_summary_warns_about_revoked_keys_in_the_roster_and_about_a_freeze() {
    let warnings = |log: &Log| log.audit().1.warnings.join("\n");
    let mut log = log();
    log.revoke(of_key(CAROL), OSCAR);
    freeze(&mut log, OSCAR);
    let said = warnings(&log);
    assert!(
        said.contains(&format!(
            "entry 1 revoked the key {} of approver carol",
            key(CAROL).keyid()
        )),
        "{said}"
    );
    assert!(
        said.contains("entry 2 revoked the epoch in force"),
        "{said}"
    );
    log.sealed.roster["approvers"]
        .as_object_mut()
        .unwrap()
        .remove("carol");
    log.roster(&[ALICE, BOB]);
    thaw(&mut log, 10);
    let said = warnings(&log);
    assert!(
        log.audit().1.clean && !said.contains(" revoked the "),
        "{said}"
    );
}
