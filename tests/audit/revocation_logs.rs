//! Logs with revocations. Both auditors judge each log, and find the same uses of revoked subjects.

use std::collections::BTreeSet;

use super::history_entries::{Case, as_expected, found, kept_of, resumed};
use super::log_mutation::{Told, alike, answers_trusting};
use crate::fuzz_corpus::Random;
use crate::history::{ALICE, Approved, BOB, BOUNDARY, BOUNDARY_2, CAROL, Log, MALLORY, key, t};
use documents::sha256;
use serde_json::{Value, json};
use verdict::{AuditEvent, Auditor, Expected, LogEntry, Pinned, rosters_in};

/// A second key of alice.
const ALICE_2: u8 = 11;
/// The key of an operator.
const OSCAR: u8 = 7;
/// The key of a proposer, who owns the token `shared`.
const ROBOT: u8 = 8;
/// A key of a type that no auditor of this version verifies.
const FOREIGN: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

type Subject = (&'static str, [u8; 32]);
fn log() -> Log {
    let line = |seed: u8| key(seed).line().to_owned();
    Log::with(|sealed| {
        sealed.roster["approvers"]["alice"]["keys"] = json!([line(ALICE), line(ALICE_2), FOREIGN]);
        sealed.roster["operators"] = json!({"oscar": {"keys": [line(OSCAR)]}});
        sealed.roster["proposers"] = json!({"robot": {"owners": [], "keys": [line(ROBOT)]}});
        sealed.roster["boundaries"]["prod-eu"]["keys"] = json!([line(BOUNDARY), line(BOUNDARY_2)]);
        let token = |name: &str, owners: Value| json!({"name": name, "owners": owners, "patterns": [], "scopes": ["propose"]});
        sealed.tokens = json!([
            token("agent", json!(["carol"])),
            token("free", json!([])),
            token("shared", json!(["bob", "robot"])),
        ]);
    })
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

/// Makes the log of a case from the usual log.
fn with(change: impl FnOnce(&mut Log)) -> Log {
    let mut log = log();
    change(&mut log);
    log
}

/// A log with one revocation.
fn one(subject: Subject, by: u8) -> Log {
    with(|log| log.revoke(subject, by))
}

/// A log with one edited revocation of the token `agent` by the operator.
fn edited(by: &[u8], edit: impl FnOnce(&mut Value)) -> Log {
    with(|log| log.revoke_but(of_token("agent"), by, edit))
}

fn consume_and_end(log: &mut Log, at: i64, approved: &Approved) {
    let place = log.consume(at, &[approved]);
    log.receipt(place, approved);
}

/// Who can revoke what.
fn rights() -> Vec<Case> {
    const NO: &[&str] = &["revocation"];
    let foreign = documents::ForeignKey::parse(FOREIGN)
        .expect("a foreign key")
        .keyid()
        .to_bytes();
    let twice = |first: u8, second: u8| {
        with(|log| {
            log.revoke(of_key(CAROL), first);
            log.revoke(of_key(CAROL), second);
        })
    };
    let after_alice = |subject: Subject, by: u8, first: Subject| {
        with(|log| {
            log.revoke(first, OSCAR);
            log.revoke(subject, by);
        })
    };
    let mut cases: Vec<Case> = vec![
        (
            "an approver revokes the key that signs",
            &[],
            one(of_key(CAROL), CAROL),
        ),
        (
            "a proposer revokes the key that signs",
            &[],
            one(of_key(ROBOT), ROBOT),
        ),
        (
            "an operator revokes the key that signs",
            &[],
            one(of_key(OSCAR), OSCAR),
        ),
        (
            "a boundary revokes the key that signs",
            &[],
            one(of_key(BOUNDARY_2), BOUNDARY_2),
        ),
        (
            "an operator revokes a key of an approver",
            &[],
            one(of_key(ALICE), OSCAR),
        ),
        (
            "an operator revokes a key of a proposer",
            &[],
            one(of_key(ROBOT), OSCAR),
        ),
        (
            "an operator revokes a key of the boundary",
            &[],
            one(of_key(BOUNDARY_2), OSCAR),
        ),
        (
            "an operator revokes a foreign key",
            &[],
            one(("key", foreign), OSCAR),
        ),
        (
            "an approver revokes the key of another person",
            NO,
            one(of_key(BOB), ALICE),
        ),
        (
            "an approver revokes a key with another key",
            NO,
            one(of_key(ALICE_2), ALICE),
        ),
        (
            "an approver revokes a foreign key",
            NO,
            one(("key", foreign), ALICE),
        ),
        (
            "a boundary revokes the key of an approver",
            NO,
            one(of_key(ALICE), BOUNDARY),
        ),
        (
            "a boundary revokes a key with another key",
            NO,
            one(of_key(BOUNDARY_2), BOUNDARY),
        ),
        (
            "a stranger revokes a key",
            NO,
            one(of_key(MALLORY), MALLORY),
        ),
        (
            "an operator revokes the key of a stranger",
            NO,
            one(of_key(MALLORY), OSCAR),
        ),
        (
            "a key is revoked twice by its holder",
            NO,
            twice(CAROL, CAROL),
        ),
        (
            "a key is revoked by an operator and by its holder",
            NO,
            twice(OSCAR, CAROL),
        ),
        (
            "a key is revoked twice by an operator",
            NO,
            twice(OSCAR, OSCAR),
        ),
        (
            "a revoked key revokes a token",
            NO,
            after_alice(of_token("agent"), CAROL, of_key(CAROL)),
        ),
        (
            "a revoked key of an operator revokes a key",
            NO,
            after_alice(of_key(ALICE), OSCAR, of_key(OSCAR)),
        ),
        (
            "another key of the person still signs",
            &[],
            after_alice(of_key(ALICE_2), ALICE_2, of_key(ALICE)),
        ),
        (
            "an operator revokes a token",
            &[],
            one(of_token("agent"), OSCAR),
        ),
        (
            "an approver who owns the token revokes it",
            &[],
            one(of_token("agent"), CAROL),
        ),
        (
            "a proposer who owns the token revokes it",
            &[],
            one(of_token("shared"), ROBOT),
        ),
        (
            "an approver who does not own the token revokes it",
            NO,
            one(of_token("agent"), ALICE),
        ),
        (
            "an approver revokes a token without owners",
            NO,
            one(of_token("free"), ALICE),
        ),
        (
            "a boundary revokes a token",
            NO,
            one(of_token("agent"), BOUNDARY),
        ),
        (
            "an operator revokes a token that does not exist",
            NO,
            one(of_token("ghost"), OSCAR),
        ),
        (
            "a token is revoked twice",
            NO,
            after_alice(of_token("agent"), CAROL, of_token("agent")),
        ),
        ("an approver freezes", &[], with(|log| freeze(log, ALICE))),
        ("an operator freezes", &[], with(|log| freeze(log, OSCAR))),
        ("a proposer freezes", NO, with(|log| freeze(log, ROBOT))),
        ("a boundary freezes", NO, with(|log| freeze(log, BOUNDARY))),
        ("a stranger freezes", NO, with(|log| freeze(log, MALLORY))),
        (
            "an operator revokes a grant",
            NO,
            one(("grant", [7; 32]), OSCAR),
        ),
        (
            "an approver revokes a grant",
            NO,
            one(("grant", [7; 32]), ALICE),
        ),
    ];
    let mut ended =
        Log::with(|sealed| sealed.roster["approvers"]["alice"]["valid_before"] = json!(t(5)));
    ended.refuse(30, |_| {});
    freeze(&mut ended, ALICE);
    cases.push((
        "an approver freezes after the end of the validity",
        &[],
        ended,
    ));
    let frozen = |again: fn(&mut Log)| {
        with(|log| {
            freeze(log, ALICE);
            again(log);
        })
    };
    cases.extend::<[Case; 4]>([
        (
            "an epoch is revoked twice",
            NO,
            frozen(|log| freeze(log, OSCAR)),
        ),
        (
            "two epochs are revoked, one after the other",
            &[],
            frozen(|log| {
                thaw(log, 20);
                freeze(log, ALICE);
            }),
        ),
        (
            "a revocation during a freeze",
            &[],
            frozen(|log| log.revoke(of_key(BOB), BOB)),
        ),
        (
            "a freeze is replayed in the next epoch",
            NO,
            frozen(|log| {
                thaw(log, 20);
                log.entries.push(log.entries[1].clone());
            }),
        ),
    ]);
    cases
}

/// Revocations with a wrong form, and subjects that a seal adds or removes.
fn forms() -> Vec<Case> {
    const NO: &[&str] = &["revocation"];
    let subject = |value: Value| edited(&[OSCAR], |statement| statement["subject"] = value);
    let place = |field: &str, value: Value| {
        edited(&[OSCAR], |of| of["predicate"]["boundary"][field] = value)
    };
    let digest = |byte: &str| json!({"sha256": byte.repeat(32)});
    let resealed = |change: fn(&mut Log), subject: Subject| {
        with(|log| {
            change(log);
            log.reseal(20, |_| {});
            log.revoke(subject, OSCAR);
        })
    };
    vec![
        ("two people sign", NO, edited(&[CAROL, OSCAR], |_| {})),
        ("nobody signs", NO, edited(&[], |_| {})),
        (
            "the signature is of another revocation",
            NO,
            with(|log| {
                let mut other = log.clone();
                log.revoke(of_token("agent"), OSCAR);
                other.revoke(of_token("free"), OSCAR);
                let read = |log: &Log| {
                    serde_json::from_slice::<Value>(log.entries.last().unwrap()).unwrap()
                };
                let (mut envelope, from) = (read(log), read(&other));
                envelope["signatures"] = from["signatures"].clone();
                *log.entries.last_mut().unwrap() = documents::to_canonical(&envelope);
            }),
        ),
        (
            "of a boundary with another name",
            NO,
            place("name", json!("other")),
        ),
        (
            "of a boundary with another id",
            NO,
            place("id", json!(format!("sha256:{}", "ab".repeat(32)))),
        ),
        (
            "of another epoch",
            NO,
            place("epoch", json!("ab".repeat(16))),
        ),
        ("no subject", NO, subject(json!([]))),
        (
            "two subjects",
            NO,
            subject(
                json!([{"name": "key", "digest": digest("ab")}, {"name": "token", "digest": digest("ab")}]),
            ),
        ),
        (
            "an unknown subject",
            NO,
            subject(json!([{"name": "roster", "digest": digest("ab")}])),
        ),
        (
            "the digest of another epoch",
            NO,
            subject(json!([{"name": "epoch", "digest": digest("ab")}])),
        ),
        (
            "a digest that is too short",
            NO,
            subject(json!([{"name": "key", "digest": {"sha256": "ab"}}])),
        ),
        (
            "an unknown field",
            NO,
            edited(&[OSCAR], |of| of["predicate"]["until"] = json!(t(5))),
        ),
        (
            "a token that a seal added",
            &[],
            resealed(
                |log| {
                    log.sealed.tokens.as_array_mut().unwrap().push(
                        json!({"name": "zeta", "owners": [], "patterns": [], "scopes": ["read"]}),
                    )
                },
                of_token("zeta"),
            ),
        ),
        (
            "a token that a seal removed",
            NO,
            resealed(
                |log| drop(log.sealed.tokens.as_array_mut().unwrap().remove(0)),
                of_token("agent"),
            ),
        ),
        (
            "a key that a roster added",
            &[],
            resealed(
                |log| {
                    log.sealed.roster["approvers"]["bob"]["keys"] =
                        json!([key(BOB).line(), key(12).line()]);
                    log.roster(&[ALICE, BOB]);
                },
                of_key(12),
            ),
        ),
        (
            "a key that a roster removed",
            NO,
            resealed(
                |log| {
                    log.sealed.roster["approvers"]["carol"]["keys"] = json!([key(12).line()]);
                    log.roster(&[ALICE, BOB]);
                },
                of_key(CAROL),
            ),
        ),
    ]
}

/// Uses of keys of approvers and of the boundary.
fn keys() -> Vec<Case> {
    let revoked = |seed: u8, then: fn(&mut Log)| {
        with(|log| {
            log.revoke(of_key(seed), OSCAR);
            then(log);
        })
    };
    let around = |consume_first: bool| {
        with(|log| {
            let approved = log.approved("nginx:restart", 10, &[ALICE]);
            let place = if consume_first {
                Some(log.consume(10, &[&approved]))
            } else {
                None
            };
            log.revoke(of_key(ALICE), ALICE);
            let place = place.unwrap_or_else(|| log.consume(11, &[&approved]));
            log.receipt(place, &approved);
        })
    };
    let denied = |deny_first: bool, then_run: bool| {
        with(|log| {
            let approved = log.approved("nginx:restart", 10, &[ALICE]);
            if deny_first {
                log.deny(&approved, BOB);
            }
            log.revoke(of_key(BOB), BOB);
            if !deny_first {
                log.deny(&approved, BOB);
            }
            if then_run {
                consume_and_end(log, 11, &approved);
            }
        })
    };
    let by_free = |signers: &'static [u8]| {
        with(|log| {
            log.revoke(of_key(CAROL), CAROL);
            let approved =
                log.approved_but("two:go", 10, signers, |of| of["proposer"] = json!("free"));
            consume_and_end(log, 10, &approved);
        })
    };
    vec![
        (
            "a run before the revocation",
            &[],
            with(|log| {
                log.run("nginx:restart", 10, &[ALICE]);
                log.revoke(of_key(ALICE), ALICE);
            }),
        ),
        (
            "a run that is consumed before the revocation, and ends after it",
            &[],
            around(true),
        ),
        (
            "a run that is signed before the revocation, and consumed after it",
            &["quorum", "revoked"],
            around(false),
        ),
        (
            "a run that another key of the person signed",
            &[],
            revoked(ALICE_2, |log| drop(log.run("nginx:restart", 10, &[ALICE]))),
        ),
        (
            "a run that another person signed",
            &[],
            revoked(ALICE, |log| drop(log.run("nginx:restart", 10, &[BOB]))),
        ),
        (
            "one of two required signatures",
            &["quorum", "revoked"],
            revoked(ALICE, |log| drop(log.run("two:go", 10, &[ALICE, BOB]))),
        ),
        (
            "one signature more than required",
            &["decision", "revoked"],
            by_free(&[ALICE, BOB, CAROL]),
        ),
        (
            "both required signatures by keys that are not revoked",
            &[],
            by_free(&[ALICE, BOB]),
        ),
        (
            "a run in a later epoch",
            &["quorum", "revoked"],
            revoked(ALICE, |log| {
                thaw(log, 20);
                log.run("nginx:restart", 30, &[ALICE]);
            }),
        ),
        ("a denial before the revocation", &[], denied(true, false)),
        (
            "a denial before the revocation, and the run after it",
            &["denied"],
            denied(true, true),
        ),
        (
            "a denial after the revocation",
            &["revoked"],
            denied(false, false),
        ),
        (
            "a denial after the revocation has no effect",
            &["revoked"],
            denied(false, true),
        ),
        (
            "a run after the key of another proposer was revoked",
            &[],
            revoked(ROBOT, |log| drop(log.run("nginx:restart", 10, &[ALICE]))),
        ),
        (
            "a seal by a revoked key",
            &["revoked"],
            revoked(BOUNDARY, |log| log.reseal(10, |_| {})),
        ),
        (
            "a consumption and a receipt by a revoked key",
            &["revoked"],
            revoked(BOUNDARY, |log| drop(log.run("nginx:restart", 10, &[ALICE]))),
        ),
        (
            "a receipt by a revoked key",
            &["revoked"],
            with(|log| {
                let approved = log.approved("nginx:restart", 10, &[ALICE]);
                let place = log.consume(10, &[&approved]);
                log.revoke(of_key(BOUNDARY), OSCAR);
                log.receipt(place, &approved);
            }),
        ),
        (
            "a refusal by a revoked key",
            &["revoked"],
            revoked(BOUNDARY, |log| log.refuse(10, |_| {})),
        ),
        (
            "a checkpoint by a revoked key",
            &[],
            revoked(BOUNDARY, |_| {}),
        ),
        (
            "everything later by the other key of the boundary",
            &[],
            revoked(BOUNDARY, |log| {
                log.key = BOUNDARY_2;
                log.run("nginx:restart", 10, &[ALICE]);
                log.refuse(20, |_| {});
                log.reseal(30, |_| {});
                log.run("two:go", 40, &[ALICE, BOB]);
            }),
        ),
    ]
}

/// Uses of tokens and of epochs.
fn tokens_and_epochs() -> Vec<Case> {
    let around = |subject: fn(&Log) -> Subject, consume_first: bool| {
        with(|log| {
            let approved = log.approved("nginx:restart", 10, &[ALICE]);
            let place = if consume_first {
                Some(log.consume(10, &[&approved]))
            } else {
                None
            };
            log.revoke(subject(log), OSCAR);
            let place = place.unwrap_or_else(|| log.consume(11, &[&approved]));
            log.receipt(place, &approved);
        })
    };
    let agent = |_: &Log| of_token("agent");
    let parties = |proposer: &'static str, submitter: &'static str| {
        with(|log| {
            log.revoke(of_token("agent"), OSCAR);
            let approved = log.approved_but("nginx:restart", 10, &[ALICE], |of| {
                of["proposer"] = json!(proposer)
            });
            let place = log.consume(10, &[&approved]);
            log.receipt_but(place, &approved, |receipt| {
                receipt["decision"]["handed_in_by"] = json!(submitter);
                receipt["decision"]["excluded"] = json!(["agent", "carol", "free"]);
            });
        })
    };
    let frozen = |then: fn(&mut Log)| {
        with(|log| {
            freeze(log, ALICE);
            then(log);
        })
    };
    vec![
        (
            "a token's run that is consumed before the revocation",
            &[],
            around(agent, true),
        ),
        (
            "a token's run that is consumed after the revocation",
            &["revoked"],
            around(agent, false),
        ),
        (
            "a revoked token hands in the run of another token",
            &[],
            parties("free", "agent"),
        ),
        (
            "another token hands in the run of a revoked token",
            &["revoked"],
            parties("agent", "free"),
        ),
        (
            "the run of another token",
            &[],
            with(|log| {
                log.revoke(of_token("free"), OSCAR);
                log.run("nginx:restart", 10, &[ALICE]);
            }),
        ),
        (
            "a revoked token in a later epoch",
            &["revoked"],
            with(|log| {
                log.revoke(of_token("agent"), CAROL);
                thaw(log, 20);
                log.run("nginx:restart", 30, &[ALICE]);
            }),
        ),
        (
            "a nonce that is consumed before the freeze",
            &[],
            around(of_epoch, true),
        ),
        (
            "a nonce that is consumed during the freeze",
            &["revoked"],
            around(of_epoch, false),
        ),
        (
            "denials and refusals during the freeze",
            &[],
            frozen(|log| {
                let approved = log.approved("nginx:restart", 10, &[ALICE]);
                log.deny(&approved, BOB);
                log.refuse(20, |_| {});
            }),
        ),
        (
            "a seal of the same epoch does not end the freeze",
            &["revoked"],
            frozen(|log| {
                log.reseal(10, |_| {});
                log.run("nginx:restart", 20, &[ALICE]);
            }),
        ),
        (
            "a seal of a new epoch ends the freeze",
            &[],
            frozen(|log| {
                thaw(log, 10);
                log.run("nginx:restart", 20, &[ALICE]);
            }),
        ),
    ]
}

/// Roster versions that revoked keys signed.
fn rosters() -> Vec<Case> {
    let versions = |revoke_at: usize, signers: &'static [&'static [u8]], sealed_together: bool| {
        with(|log| {
            for (at, by) in signers.iter().enumerate() {
                if at == revoke_at {
                    log.revoke(of_key(ALICE), OSCAR);
                }
                log.roster(by);
                if !sealed_together || at + 1 == signers.len() {
                    log.reseal(10 + i64::try_from(at).unwrap(), |_| {});
                }
            }
        })
    };
    const BOTH: &[u8] = &[ALICE, BOB];
    vec![
        (
            "a version that needs the signature of a revoked key",
            &["revoked"],
            versions(0, &[BOTH], false),
        ),
        (
            "a version with enough other signatures",
            &[],
            versions(0, &[&[ALICE, BOB, CAROL]], false),
        ),
        (
            "a version that the other people signed",
            &[],
            versions(0, &[&[BOB, CAROL]], false),
        ),
        (
            "a version that was sealed before the revocation",
            &[],
            versions(1, &[BOTH, &[BOB, CAROL]], false),
        ),
        (
            "one of two versions that one seal puts into force",
            &["revoked"],
            versions(0, &[BOTH, &[BOB, CAROL]], true),
        ),
        (
            "a second seal with the same version",
            &[],
            with(|log| {
                log.roster(BOTH);
                log.reseal(10, |_| {});
                log.revoke(of_key(ALICE), OSCAR);
                log.reseal(20, |_| {});
            }),
        ),
        ("a version after an unguarded version", &[], {
            let mut log = Log::with(|sealed| {
                sealed.roster["threshold"] = json!(0);
                sealed.roster["operators"] = json!({"oscar": {"keys": [key(OSCAR).line()]}});
            });
            log.revoke(of_key(ALICE), OSCAR);
            log.roster(&[]);
            log.reseal(10, |_| {});
            log
        }),
    ]
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
    let cases = [rights(), forms(), keys(), tokens_and_epochs(), rosters()].concat();
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
    let last = LogEntry::of(log.entries.last().unwrap().clone());
    let versions = rosters_in(&last, &log).unwrap().unwrap();
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
