//! Each test writes a log with one defect and names the findings of the audit. The writer of the log has the key of the
//! boundary.

use std::collections::BTreeSet;

use super::log_mutation::{Told, alike};
use crate::history::script::{Line, lines, play};
use crate::history::{ALICE, BOB, BOUNDARY, CAROL, Log, MALLORY, Sealed, T0, reference, t};
use base64::Engine as _;
use documents::{Note, SecretKey, Timestamp, WitnessKey, canonical_of, to_canonical};
use serde_json::{Value, json};
use verdict::{
    AuditEvent, Auditor, EntryVerdict, Expected, FindingKind, LogEntry, Pinned, SavedAudit,
    SeenHead, Summary, rosters_in,
};

/// The kinds of all findings.
pub(super) fn words(said: &[AuditEvent]) -> impl Iterator<Item = &'static str> {
    said.iter().filter_map(|one| match one {
        AuditEvent::Finding(finding) => Some(finding.what.word()),
        _ => None,
    })
}

/// The kinds of the findings, each kind once, without differences between program versions.
pub(super) fn found(log: &Log) -> Vec<&'static str> {
    let (said, summary) = log.audit();
    let failures: BTreeSet<&str> = said
        .iter()
        .filter_map(|one| match one {
            AuditEvent::Finding(finding) if !finding.differs => Some(finding.what.word()),
            _ => None,
        })
        .collect();
    assert_eq!(summary.clean, failures.is_empty(), "{said:#?}");
    failures.into_iter().collect()
}

/// A name, the kinds of the findings, and the log.
pub(super) type Case = (&'static str, &'static [&'static str], Log);

/// The logs of a section of a text.
pub(super) fn cases_of(text: &'static str, section: &str, base: fn(&mut Sealed)) -> Vec<Case> {
    let case = |line: Line| -> Case { (line.id, line.findings.leak(), play(base, &line.ops)) };
    lines(text, section).into_iter().map(case).collect()
}

/// Asserts that our auditor finds what each case names. Returns the logs, each with true if it has no defect.
pub(super) fn as_expected(cases: Vec<Case>) -> Vec<(Told, bool)> {
    let mut wrong = Vec::new();
    for (id, expected, log) in &cases {
        let findings = found(log);
        if findings != *expected {
            wrong.push(format!(
                "{id}: expected {expected:?}, got {findings:?}: {:?}",
                log.audit().0
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    cases
        .into_iter()
        .map(|(id, expected, log)| {
            (
                Told {
                    id: id.to_owned(),
                    log,
                },
                expected.is_empty(),
            )
        })
        .collect()
}

fn verdicts(log: &Log) -> Vec<EntryVerdict> {
    let (said, _) = log.audit();
    said.iter()
        .filter_map(|one| {
            if let AuditEvent::Decision(line) = one {
                Some(line.verdict)
            } else {
                None
            }
        })
        .collect()
}

/// A log with a run by one approver, a run by two approvers, a denial and a refusal.
fn usual() -> Log {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    log.run("two:go", 20, &[ALICE, BOB]);
    let denied = log.approved("nginx:restart", 25, &[ALICE]);
    log.deny(&denied, BOB);
    log.refuse(30, |_| {});
    log
}

#[test]
fn an_audit_of_a_correct_log_finds_no_failure_and_confirms_every_decision() {
    let mut log = usual();
    let (one, two) = (
        log.approved("nginx:restart", 40, &[BOB]),
        log.approved("nginx:restart", 40, &[ALICE]),
    );
    let place = log.consume(40, &[&one, &two]);
    let mut other = place;
    other.item = 1;
    log.receipt(other, &two);
    log.receipt_but(place, &one, |receipt| {
        receipt["outcome"] = json!({"status": "unknown"});
        receipt["started_at"] = json!(t(50));
        receipt["finished_at"] = json!(t(50));
    });
    let (said, summary) = log.audit();
    assert!(summary.clean, "{said:#?}");
    assert_eq!(
        (summary.counts.stand, summary.counts.spent, summary.entries),
        (4, 4, log.size())
    );
    let lines: Vec<_> = said
        .iter()
        .filter_map(|one| {
            if let AuditEvent::Decision(line) = one {
                Some(line)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        lines[1]
            .approvers
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
        ["alice", "bob"]
    );
    assert_eq!(
        (lines[1].consumption, lines[1].entry, lines[1].seal),
        (5, 6, 0)
    );
    assert_eq!(lines[0].params.to_string(), r#"{"host":"web-3"}"#);
    assert_eq!(
        lines[0].params_digest.to_string(),
        reference(br#"{"host":"web-3"}"#)
    );
}

#[test]
fn a_run_in_progress_is_reported_as_open_and_not_as_a_failure() {
    let mut log = usual();
    let running = log.approved("nginx:restart", 40, &[ALICE]);
    log.consume(40, &[&running]);
    let (_, summary) = log.audit();
    assert!(summary.clean);
    assert_eq!(summary.open.len(), 1);
    // The window of a day and the maximum duration of a run are over, so the run cannot still be open.
    log.run("nginx:restart", 2 * 86_400, &[ALICE]);
    assert_eq!(found(&log), ["no-receipt"]);
}

#[test]
fn a_run_that_must_have_ended_by_the_clock_of_the_auditor_causes_a_warning() {
    let mut log = usual();
    let running = log.approved("nginx:restart", 40, &[ALICE]);
    log.consume(40, &[&running]);
    let warned = |after: i64| {
        let now = Some(Timestamp::from_unix(T0 + after));
        let (_, summary) = log.audit_with(Expected {
            now,
            ..Expected::default()
        });
        assert!(summary.clean, "the copy may be old");
        summary
            .warnings
            .iter()
            .find(|warning| warning.contains("withheld"))
            .cloned()
    };
    assert_eq!(warned(60), None);
    let warning = warned(3 * 86_400).expect("a warning");
    assert!(
        warning.starts_with("1 run(s)") && warning.contains("2 day(s) ago"),
        "{warning}"
    );
}

/// A checkpoint of the first `size` entries. The witnesses in `by`, as `(name, seed)`, cosign the checkpoint at `at`.
/// Without witnesses, `at` is the time when the auditor saw the checkpoint.
fn seen(log: &Log, size: usize, at: i64, by: &[(&str, u8)]) -> SeenHead {
    let note = Note::parse(&log.head_of(BOUNDARY, size)).unwrap();
    let cosigned = by.iter().fold(note.clone(), |all, (name, seed)| {
        let secret = SecretKey::from_seed([*seed; 32]);
        let witness = WitnessKey::new(name, secret.public());
        let line = witness.cosign(&note, (T0 + at).unsigned_abs(), |text| {
            Ok::<_, std::convert::Infallible>(secret.sign(text))
        });
        all.with(line.unwrap()).unwrap()
    });
    let mut seen = SeenHead::parse(&cosigned.to_string(), "the state of your last audit").unwrap();
    seen.at = by.is_empty().then(|| Timestamp::from_unix(T0 + at));
    seen
}

#[test]
fn entries_are_reported_if_they_are_dated_before_a_checkpoint_that_does_not_contain_them() {
    let witnesses = [("w.example/1", 21), ("w.example/2", 22)];
    let mut log = Log::with(|sealed| {
        for (name, seed) in witnesses {
            let key = WitnessKey::new(name, SecretKey::from_seed([seed; 32]).public());
            sealed.roster["witnesses"][name] =
                json!({"vkey": key.vkey(), "url": "http://127.0.0.1:1"});
        }
    });
    log.run("nginx:restart", 10, &[ALICE]);
    let before = log.entries.len();
    // An attacker with the boundary's key uses an approval after its window, and dates the entry within the window.
    log.run("nginx:restart", 3000, &[ALICE]);
    let told = |at: i64, by: &[(&str, u8)], demanded: u64| {
        let heads = vec![seen(&log, before, at, by)];
        let (said, summary) = log.audit_with(Expected {
            heads,
            witnesses: demanded,
            ..Expected::default()
        });
        let whats: BTreeSet<_> = words(&said).collect();
        let told = summary
            .warnings
            .iter()
            .any(|one| one.contains("entry 5 is dated 2027-01-15T08:50:00Z"));
        (
            told,
            whats
                .into_iter()
                .filter(|what| *what != "witnesses")
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(told(3000 + 600, &[], 0), (false, vec![]), "clocks differ");
    assert_eq!(
        told(3000 + 601, &[], 0),
        (true, vec![]),
        "the copy may have been old then"
    );
    assert_eq!(
        told(9000, &witnesses[..1], 0),
        (true, vec![]),
        "one witness whom nobody asked for"
    );
    assert_eq!(
        told(9000, &witnesses[..1], 1),
        (false, vec!["time"]),
        "who asks for one believes one"
    );
    assert_eq!(
        told(9000, &witnesses[..1], 2),
        (true, vec![]),
        "and one of two is not enough"
    );
    assert_eq!(told(9000, &witnesses, 2), (false, vec!["time"]));
    assert_eq!(told(3500, &witnesses, 2), (false, vec![]));
    assert_eq!(
        told(9000, &[("w.example/1", 66)], 1),
        (false, vec![]),
        "a stranger's word is nobody's"
    );
}

#[test]
fn an_audit_state_stores_its_time_and_a_log_from_the_future_causes_a_warning() {
    let log = usual();
    let now = |after: i64| Some(Timestamp::from_unix(T0 + after));
    let mut auditor = log.auditor(Expected {
        now: now(700),
        ..Expected::default()
    });
    for entry in &log.entries {
        auditor.entry(&LogEntry::of(entry.clone()), &log).unwrap();
    }
    auditor.finish(&log.head(), &log).unwrap();
    assert_eq!(auditor.keep(&log.head()).expect("it holds").seen, now(700));
    let warned = |after: i64| {
        let (_, summary) = log.audit_with(Expected {
            now: now(after),
            ..Expected::default()
        });
        summary
            .warnings
            .iter()
            .any(|one| one.contains("one of the two times is wrong"))
    };
    assert!(!warned(30 - 600) && warned(30 - 601));
}

#[test]
fn a_run_without_a_receipt_is_reported_with_its_latest_end_time() {
    let mut log = usual();
    let running = log.approved("nginx:restart", 40, &[ALICE]);
    log.consume(40, &[&running]);
    let (_, summary) = log.audit();
    let until = format!("may continue until {}", t(40 + 300));
    assert!(
        summary.warnings.iter().any(|one| one.contains(&until)),
        "{:#?}",
        summary.warnings
    );
}

#[test]
fn a_deleted_or_inserted_or_moved_entry_changes_the_root_hash() {
    let log = usual();
    let head = log.head();
    let audit = |log: &Log| {
        let mut auditor = log.auditor(Expected::default());
        let mut whats = BTreeSet::new();
        let mut take = |said: Vec<AuditEvent>| {
            whats.extend(said.iter().filter_map(|one| {
                if let AuditEvent::Finding(finding) = one {
                    Some(finding.what)
                } else {
                    None
                }
            }));
        };
        for entry in &log.entries {
            take(auditor.entry(&LogEntry::of(entry.clone()), log).unwrap());
        }
        take(auditor.finish(&head, log).unwrap().0);
        whats
    };
    for at in 1..log.entries.len() {
        let mut without = log.clone();
        without.entries.remove(at);
        assert!(
            audit(&without).contains(&FindingKind::Root),
            "entry {at} deleted"
        );
        let mut twice = log.clone();
        twice.entries.insert(at, log.entries[at].clone());
        assert!(
            audit(&twice).contains(&FindingKind::Root),
            "entry {at} twice"
        );
        let mut moved = log.clone();
        moved.entries.swap(at, (at % (log.entries.len() - 1)) + 1);
        assert!(
            audit(&moved).contains(&FindingKind::Root),
            "entry {at} moved"
        );
        let mut changed = log.clone();
        let middle = changed.entries[at].len() / 2;
        changed.entries[at][middle] ^= 1;
        assert!(
            audit(&changed).contains(&FindingKind::Root),
            "entry {at} changed"
        );
    }
}

#[test]
fn a_nonce_or_authorization_that_is_spent_twice_is_found() {
    let mut log = usual();
    let first = log.run("nginx:restart", 40, &[ALICE]);
    let nonce = first.predicate["nonce"].clone();
    let second = log.approved_but("nginx:restart", 45, &[BOB], |predicate| {
        predicate["nonce"] = nonce
    });
    let place = log.consume(50, &[&second]);
    log.receipt(place, &second);
    assert_eq!(
        found(&log),
        ["double-use"],
        "another authorization with the same nonce"
    );
}

#[test]
fn the_auditor_stores_only_the_digest_of_a_denial_and_only_during_its_epoch() {
    assert_eq!(size_of::<documents::AuthorizationDigest>(), 32);
    let mut log = usual();
    let denied: Vec<_> = (0..20)
        .map(|_| log.approved("nginx:restart", 40, &[ALICE]))
        .collect();
    denied.iter().for_each(|one| log.deny(one, BOB));
    let remembered = |log: &Log| {
        let mut auditor = log.auditor(Expected::default());
        for entry in &log.entries {
            auditor.entry(&LogEntry::of(entry.clone()), log).unwrap();
        }
        assert!(auditor.finish(&log.head(), log).unwrap().1.clean);
        auditor.keep(&log.head()).expect("it holds").denials.len()
    };
    assert_eq!(remembered(&log), 21);
    // The auditor keeps its denials across a seal of the same epoch.
    log.reseal(400_000, |_| {});
    assert_eq!(remembered(&log), 21);
    let mut ran = log.clone();
    let place = ran.consume(400_001, &[&denied[0]]);
    ran.receipt(place, &denied[0]);
    assert_eq!(found(&ran), ["denied", "window"]);
    // A new epoch makes every earlier authorization void, so the auditor can drop the denials.
    log.reseal(400_010, |seal| seal["epoch"] = json!("e1".repeat(16)));
    assert_eq!(remembered(&log), 0);
    let place = log.consume(400_011, &[&denied[0]]);
    log.receipt(place, &denied[0]);
    assert_eq!(found(&log), ["boundary", "window"]);
}

/// The entries in which our auditor finds anything.
pub(super) fn entries_found(log: &Log) -> (bool, BTreeSet<u64>) {
    let (said, summary) = log.audit();
    let entry = |one: &AuditEvent| {
        if let AuditEvent::Finding(finding) = one {
            finding.entry
        } else {
            None
        }
    };
    (summary.clean, said.iter().filter_map(entry).collect())
}

/// The entries in which the other auditor finds anything.
pub(super) fn entries_told(answer: &serde_json::Value) -> (bool, BTreeSet<u64>) {
    let findings = answer["findings"].as_array().expect("findings").iter();
    (
        answer["sound"] == json!(true),
        findings.filter_map(|one| one["entry"].as_u64()).collect(),
    )
}

/// The logs of a section of `logs/plain.txt`: both auditors find defects at the same entries.
fn plain(section: &str) {
    let cases = cases_of(include_str!("logs/plain.txt"), section, |_| {});
    let (told, _): (Vec<Told>, Vec<bool>) = as_expected(cases).into_iter().unzip();
    let _ = alike(&told, entries_found, entries_told);
}

#[test]
fn malformed_denials_and_refusals_in_a_log_are_reported() {
    plain("denials and refusals");
}

#[test]
fn an_audit_repeats_each_decision_with_the_state_before_the_decision() {
    plain("decisions");
}

#[test]
fn a_signed_authorization_must_equal_the_authorization_from_the_state() {
    plain("authorizations");
}

#[test]
fn approvers_count_only_within_their_time_and_tokens_only_until_they_end() {
    plain("rules");
}

#[test]
fn a_chain_of_seals_with_a_gap_or_a_fork_or_a_repeated_seal_is_reported() {
    plain("seals");
    let mut log = usual();
    log.reseal(40, |seal| seal["policy"] = seal["builtins"].clone());
    assert_eq!(found(&log), ["roster-chain", "sealed-state"]);
}

#[test]
fn an_expired_nonce_cannot_be_spent_again_even_after_it_was_pruned() {
    plain("nonces");
}

#[test]
fn a_run_is_checked_only_with_the_seal_in_force() {
    let mut log = usual();
    let before = log.seal.clone();
    log.sealed.policy["default"]["approvals"]["required"] = json!(2);
    log.roster(&[ALICE, BOB]);
    log.reseal(35, |_| {});
    let mut stale = log.clone();
    let approved = stale.approved("nginx:restart", 40, &[ALICE]);
    let place = stale.consume_but(41, &[&approved], |consumption| {
        consumption["seal"] = json!(before)
    });
    stale.receipt_but(place, &approved, |receipt| receipt["seal"] = json!(before));
    assert_eq!(
        found(&stale),
        ["quorum", "seal-in-force"],
        "under the rules of an earlier seal"
    );
    log.run("nginx:restart", 50, &[ALICE, BOB]);
    assert!(found(&log).is_empty());
}

#[test]
fn a_newer_roster_can_be_the_trusted_roster() {
    let mut log = usual();
    for at in [40, 50] {
        log.roster(&[ALICE, BOB]);
        log.reseal(at, |_| {});
    }
    log.run("nginx:restart", 60, &[ALICE]);
    let first = rosters_in(&log.entries[..1], &log).unwrap().unwrap();
    let pinned = Pinned::Digest(log.roster_digest(3));
    assert!(
        Auditor::new(pinned.clone(), &first, Expected::default()).is_err(),
        "nothing leads there yet"
    );
    let last = rosters_in(&log.entries, &log).unwrap().unwrap();
    let mut auditor = Auditor::new(pinned, &last, Expected::default()).expect("connected");
    for entry in &log.entries {
        assert!(
            auditor
                .entry(&LogEntry::of(entry.clone()), &log)
                .unwrap()
                .iter()
                .all(|said| !matches!(said, AuditEvent::Finding(_)))
        );
    }
    assert!(auditor.finish(&log.head(), &log).unwrap().1.clean);
}

#[test]
fn unreadable_built_in_lists_never_remove_a_required_permission() {
    for lists in [
        json!(["x"]),
        json!({}),
        json!({"version": 2}),
        json!({"version": 1, "more": []}),
    ] {
        let mut log = usual();
        log.sealed.builtins = lists.clone();
        log.reseal(40, |_| {});
        log.run("nginx:restart", 41, &[ALICE]);
        assert_eq!(found(&log), ["sealed-state"], "{lists}");
        assert_eq!(
            verdicts(&log).last(),
            Some(&EntryVerdict::Undecided),
            "what ran under it: {lists}"
        );
        // The writer of the seal chooses the engine's name, so a run under such a seal must cause a finding.
        let mut log = usual();
        log.sealed.builtins = lists.clone();
        log.reseal(40, |seal| seal["engine"] = json!(OTHER));
        assert!(
            found(&log).is_empty(),
            "another version may read them: {lists}"
        );
        log.run("nginx:restart", 41, &[ALICE]);
        assert_eq!(found(&log), ["sealed-state"], "{lists}");
    }
}

const OTHER: &str = "countersign 9.9.9";

/// The usual log, and a run under a seal that names this engine.
fn run_under(engine: &str, edit: &dyn Fn(&mut serde_json::Value)) -> Log {
    let mut log = usual();
    log.reseal(40, |seal| seal["engine"] = json!(engine));
    let approved = log.approved_but("nginx:restart", 41, &[ALICE], edit);
    let place = log.consume(42, &[&approved]);
    log.receipt(place, &approved);
    log
}

#[test]
fn a_decision_that_another_program_version_made_differently_is_no_failure() {
    let limits = |of: &mut serde_json::Value| of["sandbox"]["limits"]["wall_ms"] = json!(1);
    assert_eq!(
        found(&run_under(
            concat!("countersign ", env!("CARGO_PKG_VERSION")),
            &limits
        )),
        ["sandbox"]
    );
    let log = run_under(OTHER, &limits);
    assert!(found(&log).is_empty());
    assert_eq!(verdicts(&log).last(), Some(&EntryVerdict::Differs));
    let (_, summary) = log.audit();
    assert_eq!((summary.differences, summary.counts.differ), (1, 1));
    assert_eq!(summary.engines, [OTHER]);
    let (said, summary) = log.audit_with(Expected {
        no_differences: true,
        ..Expected::default()
    });
    assert!(
        !summary.clean && summary.engines.is_empty(),
        "nothing is excused: {said:#?}"
    );
    assert_eq!(summary.counts.fail, 1);
    // The rules for signatures, quorum, windows and nonces are the same in every version.
    let mut log = usual();
    log.reseal(40, |seal| seal["engine"] = json!(OTHER));
    log.run("two:go", 41, &[ALICE]);
    assert_eq!(found(&log), ["quorum"]);
}

#[test]
fn a_missing_required_layer_is_a_failure_under_every_program_version() {
    let none = run_under(OTHER, &|of| of["sandbox"]["require"] = json!([]));
    assert_eq!(found(&none), ["sandbox"]);
    assert_eq!(verdicts(&none).last(), Some(&EntryVerdict::Fails));
    let fewer = run_under(OTHER, &|of| {
        of["sandbox"]["require"] = json!(["capabilities"])
    });
    assert_eq!(found(&fewer), ["sandbox"]);
    let params = run_under(OTHER, &|of| {
        of["params"] = json!({"host": "a name with blanks"})
    });
    assert_eq!(found(&params), ["parameters"]);
    let surplus = run_under(OTHER, &|of| {
        of["params"] = json!({"host": "web-3", "more": "x"})
    });
    assert_eq!(found(&surplus), ["parameters"]);
}

#[test]
fn runs_under_an_unreadable_seal_of_another_version_are_undecided() {
    let strange = |engine: &str| {
        let mut log = usual();
        let known = std::mem::replace(
            &mut log.sealed.configuration,
            json!({"of": "a later version"}),
        );
        log.reseal(40, |seal| seal["engine"] = json!(engine));
        log.sealed.configuration = known;
        log
    };
    assert_eq!(
        found(&strange(concat!("countersign ", env!("CARGO_PKG_VERSION")))),
        ["sealed-state"]
    );
    let mut log = strange(OTHER);
    assert!(found(&log).is_empty());
    assert_eq!(log.audit().1.differences, 1);
    assert!(
        !log.audit_with(Expected {
            no_differences: true,
            ..Expected::default()
        })
        .1
        .clean
    );
    // The writer of the seal chose the engine's name, so a run under this seal must cause a finding.
    let mut ran = log.clone();
    ran.run("two:go", 50, &[]);
    ran.run("two:go", 51, &[]);
    assert_eq!(found(&ran), ["sealed-state"]);
    assert_eq!(ran.audit().1.failures, 1, "said once");
    let mut hidden = log.clone();
    let approved = hidden.approved("two:go", 50, &[]);
    hidden.consume(50, &[&approved]);
    assert_eq!(
        found(&hidden),
        ["sealed-state"],
        "not by withholding the receipt either"
    );
    assert_eq!(
        verdicts(&ran)[2..],
        [EntryVerdict::Undecided, EntryVerdict::Undecided]
    );
    // A later seal must not hide changed tokens either.
    let mut changed = log.clone();
    changed.sealed.tokens[0]["owners"] = json!([]);
    changed.reseal(60, |_| {});
    assert_eq!(found(&changed), ["tokens"]);
    log.reseal(60, |_| {});
    log.run("nginx:restart", 61, &[ALICE]);
    assert!(found(&log).is_empty());
    // A missing or different document is a failure under every program version.
    let mut missing = usual();
    missing.reseal(40, |seal| {
        seal["engine"] = json!(OTHER);
        seal["configuration"] = json!(reference(b"other"));
    });
    assert_eq!(found(&missing), ["sealed-state"]);
}

#[test]
fn the_documents_that_a_seal_names_have_a_maximum_size() {
    let mut log = usual();
    log.sealed.builtins = json!({"version": 1, "lists": "x".repeat(5 << 20)});
    log.reseal(40, |_| {});
    assert_eq!(found(&log), ["sealed-state"]);
}

#[test]
fn sealed_tokens_are_sorted_and_unique() {
    let mut twice = Log::with(|sealed| {
        let mut other = sealed.tokens[0].clone();
        other["owners"] = json!([]);
        sealed.tokens.as_array_mut().unwrap().insert(0, other);
    });
    twice.run("nginx:restart", 10, &[CAROL]);
    assert!(found(&twice).contains(&"tokens"));
    let swapped = Log::with(|sealed| sealed.tokens.as_array_mut().unwrap().swap(0, 1));
    assert_eq!(found(&swapped), ["tokens"]);
}

#[test]
fn each_sealed_token_has_a_credential_of_its_own_which_is_the_digest_of_its_binding() {
    // All three tokens stay in their order: the credential is the first field that differs.
    let with = |change: &dyn Fn(&mut Value)| Log::with(|sealed| change(&mut sealed.tokens));
    let oidc = json!({"issuer": "https://issuer.example", "claims": {"sub": "a"}});
    let bound = |tokens: &mut Value, credential: String| {
        tokens[2]["credential"] = json!(credential);
        tokens[2]["oidc"] = oidc.clone();
    };
    let own = reference(&to_canonical(&oidc));
    assert!(found(&with(&|tokens| bound(tokens, own.clone()))).is_empty());
    assert_eq!(
        found(&with(&|tokens| bound(tokens, reference(b"other")))),
        ["tokens"]
    );
    assert_eq!(
        found(&with(
            &|tokens| tokens[1]["credential"] = tokens[0]["credential"].clone()
        )),
        ["tokens"]
    );
    for missing in [
        with(&|tokens| drop(tokens[0].as_object_mut().unwrap().remove("credential"))),
        with(&|tokens| tokens[0]["oidc"] = Value::Null),
        with(&|tokens| tokens[0]["credential"] = json!("0a".repeat(32))),
    ] {
        assert_eq!(found(&missing), ["sealed-state"]);
    }
    let mut changed = usual();
    changed.sealed.tokens[0]["credential"] = json!(format!("sha256:{}", "09".repeat(32)));
    changed.reseal(60, |_| {});
    assert_eq!(found(&changed), ["tokens"]);
}

#[test]
fn a_log_that_follows_another_log_names_that_log() {
    let old = usual();
    let mut log = Log::new();
    log.entries.clear();
    log.epoch = "ab".repeat(16);
    log.reseal(0, |seal| {
        seal["genesis"] = json!({"follows": {"id": old.id, "checkpoint": old.head()}})
    });
    log.run("nginx:restart", 10, &[ALICE]);
    let (said, summary) = log.audit();
    assert!(summary.clean, "{said:#?}");
    assert!(
        matches!(&summary.warnings[..], [one] if one.contains(&old.id) && one.contains("has 9 entries")),
        "{summary:#?}"
    );
    assert_eq!(
        summary.follows.as_ref().map(|follows| &follows.checkpoint),
        Some(&old.head())
    );
    assert_eq!(
        kept_of(&log).follows,
        summary.follows,
        "and says so when the audit goes on"
    );
}

#[test]
fn two_runs_of_one_proposal_are_found_even_if_the_first_receipt_is_late() {
    for first_at_once in [true, false] {
        let mut log = usual();
        let one = log.approved("nginx:restart", 40, &[ALICE]);
        let id = one.predicate["proposal"].clone();
        let two = log.approved_but("nginx:restart", 41, &[BOB], |predicate| {
            predicate["proposal"] = id
        });
        let first = log.consume(42, &[&one]);
        if first_at_once {
            log.receipt(first, &one);
            log.run("nginx:restart", 3000, &[ALICE]);
        }
        let kept = kept_of(&log);
        let second = log.consume(3001, &[&two]);
        if !first_at_once {
            log.receipt(first, &one);
        }
        log.receipt(second, &two);
        assert_eq!(found(&log), ["double-use"], "{first_at_once}");
        // The same finding if the second run comes in a later audit.
        assert_eq!(resumed(&log, &kept), ["double-use"], "{first_at_once}");
    }
}

/// The stored state of an audit.
pub(super) fn kept_of(log: &Log) -> SavedAudit {
    let mut auditor = log.auditor(Expected::default());
    for entry in &log.entries {
        auditor.entry(&LogEntry::of(entry.clone()), log).unwrap();
    }
    let head = log.head();
    assert!(auditor.finish(&head, log).unwrap().1.clean);
    let text = serde_json::to_vec(&auditor.keep(&head).expect("everything held")).unwrap();
    serde_json::from_slice(&text).expect("read back")
}

/// An audit that continues from a saved state.
pub(super) fn resumed_audit(log: &Log, kept: &SavedAudit) -> (Vec<AuditEvent>, Summary) {
    let before = &log.entries[..usize::try_from(kept.size).unwrap()];
    let versions = rosters_in(before, log).unwrap().unwrap();
    let pinned = Pinned::Digest(log.roster_digest(1));
    let mut auditor =
        Auditor::resume(pinned, &versions, Expected::default(), kept, log).expect("usable");
    let mut said = Vec::new();
    for entry in &log.entries[usize::try_from(kept.size).unwrap()..] {
        said.extend(auditor.entry(&LogEntry::of(entry.clone()), log).unwrap());
    }
    let (last, summary) = auditor.finish(&log.head(), log).unwrap();
    said.extend(last);
    (said, summary)
}

/// The findings of an audit that continues from a saved state.
pub(super) fn resumed(log: &Log, kept: &SavedAudit) -> Vec<&'static str> {
    let (said, _) = resumed_audit(log, kept);
    let whats: BTreeSet<_> = words(&said).collect();
    whats.into_iter().collect()
}

#[test]
fn entry_kinds_of_later_versions_and_random_bytes_are_reported() {
    let mut log = usual();
    log.push("grant", &json!({}));
    assert_eq!(found(&log), ["grant"], "a broken one");
    // The roster of this log has no such approvers.
    for name in ["grant", "review"] {
        let mut log = usual();
        let path = format!(
            "{}/tests/conformance/golden/documents/valid/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let payload = std::fs::read(path).unwrap();
        let signature =
            json!({"keyid": "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8", "sig": "AAAA"});
        let envelope = json!({
            "payload": base64::engine::general_purpose::STANDARD.encode(payload),
            "payloadType": "application/vnd.in-toto+json", "signatures": [signature],
        });
        log.entries.push(canonical_of(&envelope).unwrap());
        assert_eq!(found(&log), [name]);
    }
    let mut log = usual();
    log.push("unheard-of", &json!({}));
    assert_eq!(found(&log), ["unknown-kind"]);
    for garbage in [
        &b""[..],
        b"{}",
        b"null",
        br#"{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}"#,
    ] {
        let mut log = usual();
        log.entries.push(garbage.to_vec());
        let found = found(&log);
        assert!(found == ["entry"] || found == ["unknown-kind"], "{found:?}");
    }
    let mut log = usual();
    let last = String::from_utf8(log.entries.pop().unwrap()).unwrap();
    log.entries.push(last.replacen(',', ", ", 1).into_bytes());
    assert_eq!(found(&log), ["entry"], "a blank that no canonical form has");
    // Without the genesis seal the audit cannot check any entry, and reports this once.
    let mut log = usual();
    log.entries.insert(0, log.entries[1].clone());
    let mut auditor = Auditor::new(
        Pinned::Digest(log.roster_digest(1)),
        &rosters_in(&log.entries[1..2], &log).unwrap().unwrap(),
        Expected::default(),
    )
    .unwrap();
    let said: Vec<AuditEvent> = log.entries[..1]
        .iter()
        .flat_map(|entry| auditor.entry(&LogEntry::of(entry.clone()), &log).unwrap())
        .collect();
    assert!(
        matches!(&said[..], [AuditEvent::Finding(finding)] if finding.what == FindingKind::SealChain),
        "{said:?}"
    );
}

#[test]
fn a_stored_checkpoint_reveals_a_fork_and_a_shortened_log() {
    let log = usual();
    let seen = |note: &str| Expected {
        heads: vec![SeenHead::parse(note, "a friend").unwrap()],
        ..Expected::default()
    };
    let whats = |log: &Log, expected: Expected| {
        let (said, _) = log.audit_with(expected);
        words(&said).collect::<Vec<_>>()
    };
    for size in 1..=log.entries.len() {
        assert!(
            whats(&log, seen(&log.head_of(BOUNDARY, size))).is_empty(),
            "{size}"
        );
    }
    let mut fork = usual();
    fork.entries.truncate(5);
    fork.run("nginx:restart", 50, &[BOB]);
    assert_eq!(whats(&log, seen(&fork.head())), ["fork"]);
    let mut cut = log.clone();
    cut.entries.truncate(5);
    assert_eq!(whats(&cut, seen(&log.head())), ["cut"]);
    assert_eq!(
        whats(&log, seen(&fork.head_by(MALLORY))),
        ["checkpoint"],
        "a head of nobody is no evidence"
    );
}

#[test]
fn stored_heads_in_any_order_are_each_compared_with_their_entry() {
    let log = usual();
    let mut fork = usual();
    fork.entries.truncate(5);
    fork.run("nginx:restart", 50, &[BOB]);
    let all = log.entries.len();
    let right = (1..=all)
        .rev()
        .chain(1..=all)
        .map(|size| seen(&log, size, 0, &[]));
    let wrong = [fork.entries.len(), fork.entries.len() - 1].map(|size| seen(&fork, size, 0, &[]));
    let mut heads: Vec<SeenHead> = right.chain(wrong).collect();
    heads.rotate_left(all / 2);
    let (said, summary) = log.audit_with(Expected {
        heads,
        ..Expected::default()
    });
    let forks = said.iter().filter(
        |one| matches!(one, AuditEvent::Finding(finding) if finding.what == FindingKind::Fork),
    );
    assert_eq!(
        (
            forks.count(),
            said.iter()
                .filter(|one| matches!(one, AuditEvent::Finding(_)))
                .count()
        ),
        (2, 2),
        "{said:#?}"
    );
    assert!(
        !summary.warnings.iter().any(|one| one.contains("is dated")),
        "{:#?}",
        summary.warnings
    );
    // A head of the future is paired with the next entry that states its time, which a receipt does not do.
    let heads = vec![
        seen(&log, 4, 0, &[]),
        seen(&log, 2, 9000, &[]),
        seen(&log, 3, 0, &[]),
    ];
    let (_, summary) = log.audit_with(Expected {
        heads,
        ..Expected::default()
    });
    let dated: Vec<_> = summary
        .warnings
        .iter()
        .filter(|one| one.contains("is dated"))
        .collect();
    assert!(
        dated.len() == 1 && dated[0].contains("entry 2 is dated"),
        "{dated:#?}"
    );
}

#[test]
fn an_interrupted_audit_can_be_continued() {
    let mut log = usual();
    let running = log.approved("nginx:restart", 35, &[ALICE]);
    let place = log.consume(35, &[&running]);
    let spent = log.run("db:migrate", 36, &[ALICE]);
    let denied = log.approved("nginx:restart", 36, &[ALICE]);
    log.deny(&denied, BOB);
    let kept = kept_of(&log);
    let go_on = |log: &Log| (resumed(log, &kept), resumed_audit(log, &kept).1);
    let mut more = log.clone();
    more.receipt(place, &running);
    more.run("two:go", 60, &[ALICE, BOB]);
    let (found, summary) = go_on(&more);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(
        (summary.from, summary.counts.stand, summary.open.len()),
        (kept.size, 5, 0)
    );
    assert_eq!(
        summary.counts,
        more.audit().1.counts,
        "as if it had been read at once"
    );
    // The continued audit still knows spent nonces, denials and the last time.
    let mut again = more.clone();
    let twice = again.consume(61, &[&spent]);
    again.receipt(twice, &spent);
    assert_eq!(go_on(&again).0, ["double-use"]);
    let mut under = more.clone();
    let place = under.consume(61, &[&denied]);
    under.receipt(place, &denied);
    assert_eq!(go_on(&under).0, ["denied"]);
    let mut back = log.clone();
    back.run("nginx:restart", 20, &[ALICE]);
    assert_eq!(go_on(&back).0, ["time"]);
    // A different history of the same length has a different root hash.
    let mut fork = log.clone();
    fork.entries[1] = fork.entries[3].clone();
    fork.run("nginx:restart", 60, &[ALICE]);
    assert_eq!(go_on(&fork).0, ["root"]);
}

#[test]
fn a_failed_audit_cannot_be_continued() {
    let mut log = usual();
    log.run("two:go", 40, &[ALICE]);
    let mut auditor = log.auditor(Expected::default());
    for entry in &log.entries {
        auditor.entry(&LogEntry::of(entry.clone()), &log).unwrap();
    }
    let head = log.head();
    auditor.finish(&head, &log).unwrap();
    assert!(auditor.keep(&head).is_none());
}
