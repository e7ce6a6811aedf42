//! Logs that use a nonce or a proposal twice, at any distance. Both auditors find the second use, also if the first use was
//! read by an earlier audit.

use std::collections::BTreeSet;

use super::history_entries::{kept_of, resumed_audit, resumed_auditor};
use super::log_mutation::{Told, answers};
use crate::history::{ALICE, Approved, BOB, Log};
use serde_json::{Value, json};
use verdict::{AuditEvent, FindingKind};

const DAY: i64 = 86_400;

/// A log with one run at 10 s.
fn begun() -> (Log, Approved) {
    let mut log = Log::new();
    let first = log.run("nginx:restart", 10, &[ALICE]);
    log.run("nginx:restart", 20, &[BOB]);
    (log, first)
}

/// Runs another authorization at `at` with `field` of `first`.
fn with_old(log: &mut Log, first: &Approved, field: &str, at: i64) {
    let old = first.predicate[field].clone();
    let again = log.approved_but("nginx:restart", at, &[BOB], |predicate| {
        predicate[field] = old
    });
    let place = log.consume(at, &[&again]);
    log.receipt(place, &again);
}

/// Each log with the entries of its second uses.
fn logs() -> Vec<(Told, BTreeSet<u64>)> {
    let mut logs = Vec::new();
    let mut add = |id: String, log: Log, entries: &[u64]| {
        logs.push((Told { id, log }, entries.iter().copied().collect()))
    };
    for (name, at) in [
        ("within the window", 60),
        ("after a day", 2 * DAY),
        ("after a year", 365 * DAY),
    ] {
        let (mut log, first) = begun();
        let place = log.consume(at, &[&first]);
        log.receipt(place, &first);
        add(format!("the same authorization {name}"), log, &[8]);

        let (mut log, first) = begun();
        with_old(&mut log, &first, "nonce", at);
        add(
            format!("another authorization with an old nonce {name}"),
            log,
            &[8],
        );

        let (mut log, first) = begun();
        with_old(&mut log, &first, "proposal", at);
        add(
            format!("another authorization with an old proposal {name}"),
            log,
            &[8],
        );

        let (mut log, first) = begun();
        let (old, new) = (
            first.predicate["nonce"].clone(),
            log.approved("nginx:restart", at, &[ALICE]),
        );
        let second = log.approved_but("nginx:restart", at, &[BOB], |predicate| {
            predicate["nonce"] = old
        });
        let place = log.consume(at, &[&new, &second]);
        log.receipt(place, &new);
        log.receipt(crate::history::Place { item: 1, ..place }, &second);
        add(format!("an old nonce in the second item {name}"), log, &[9]);

        let (mut log, first) = begun();
        for again in [at, at + 2 * DAY] {
            with_old(&mut log, &first, "nonce", again);
        }
        add(format!("a nonce three times, {name}"), log, &[8, 11]);

        let (mut log, first) = begun();
        for again in [at, at + 2 * DAY] {
            with_old(&mut log, &first, "proposal", again);
        }
        add(format!("a proposal three times, {name}"), log, &[8, 11]);

        // The second use of the nonce is the first use of a proposal that a third run uses again.
        let (mut log, first) = begun();
        let nonce = first.predicate["nonce"].clone();
        let second = log.approved_but("nginx:restart", at, &[BOB], |predicate| {
            predicate["nonce"] = nonce
        });
        let place = log.consume(at, &[&second]);
        log.receipt(place, &second);
        with_old(&mut log, &second, "proposal", at + 2 * DAY);
        add(
            format!("an old nonce and then its proposal, {name}"),
            log,
            &[8, 11],
        );
    }
    logs
}

/// The entries that an audit names for a second use.
fn second_uses(said: &[AuditEvent]) -> BTreeSet<u64> {
    let found: Vec<u64> = said
        .iter()
        .filter_map(|one| match one {
            AuditEvent::Finding(finding) if finding.what == FindingKind::DoubleUse => finding.entry,
            _ => None,
        })
        .collect();
    let entries: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(
        found.len(),
        entries.len(),
        "each second use is reported once: {said:#?}"
    );
    entries
}

#[test]
fn a_second_use_of_a_nonce_or_a_proposal_is_found_at_any_distance() {
    for (Told { id, log }, expected) in logs() {
        let (said, summary) = log.audit();
        assert!(
            !summary.clean && second_uses(&said) == expected,
            "{id}: {said:#?}"
        );
        let details = said.iter().filter_map(|one| match one {
            AuditEvent::Finding(finding) if finding.what == FindingKind::DoubleUse => {
                Some(finding.detail.as_str())
            }
            _ => None,
        });
        let of_old = |detail: &&str| {
            detail.contains("was already spent by item 0 of entry 2")
                || detail.contains("an earlier consumption used the proposal")
        };
        assert!(
            id.starts_with("one nonce in two") || details.into_iter().all(|detail| of_old(&detail)),
            "{id}: {said:#?}"
        );
    }
}

#[test]
fn a_second_use_is_found_if_an_earlier_audit_has_read_the_first_use() {
    for (Told { id, log }, expected) in logs() {
        let mut borders = 0;
        for size in 3..log.entries.len() {
            let mut before = log.clone();
            before.entries.truncate(size);
            if !before.audit().1.clean {
                break;
            }
            borders += 1;
            let (said, summary) = resumed_audit(&log, &kept_of(&before));
            assert!(
                !summary.clean && second_uses(&said) == expected,
                "{id} after {size}: {said:#?}"
            );
        }
        assert!(borders >= 2, "{id}");
    }
}

#[test]
fn the_second_auditor_finds_each_second_use() {
    let (told, expected): (Vec<Told>, Vec<_>) = logs().into_iter().unzip();
    for ((one, answer), expected) in told.iter().zip(answers(&told)).zip(expected) {
        let findings = answer["findings"].as_array().expect("findings");
        let replays = findings
            .iter()
            .filter(|finding| finding["what"] == "replay");
        let entries: BTreeSet<u64> = replays
            .filter_map(|finding| finding["entry"].as_u64())
            .collect();
        assert_eq!(
            (answer["sound"] == false, entries),
            (true, expected),
            "{}: {answer:#}",
            one.id
        );
    }
}

#[test]
fn an_entry_that_spends_one_nonce_twice_is_found_by_both_auditors() {
    let (mut log, _) = begun();
    let one = log.approved("nginx:restart", 60, &[ALICE]);
    let nonce = one.predicate["nonce"].clone();
    let two = log.approved_but("nginx:restart", 60, &[BOB], |predicate| {
        predicate["nonce"] = nonce
    });
    log.consume(60, &[&one, &two]);
    let (said, summary) = log.audit();
    assert!(
        matches!(&said[said.len() - 1..], [AuditEvent::Finding(finding)] if finding.entry == Some(9)),
        "{said:#?}"
    );
    assert!(!summary.clean);
    let [answer] = &answers(&[Told {
        id: String::new(),
        log,
    }])[..] else {
        panic!("one answer")
    };
    assert_eq!(
        (&answer["sound"], &answer["findings"][0]["entry"]),
        (&json!(false), &json!(9)),
        "{answer:#}"
    );
}

#[test]
fn a_receipt_that_is_sent_again_is_found_by_both_auditors() {
    for at in [60, 40 * DAY] {
        let (mut log, first) = begun();
        log.run("nginx:restart", at, &[ALICE]);
        let before = log.clone();
        log.receipt(
            crate::history::Place {
                index: 2,
                item: 0,
                at: 10,
            },
            &first,
        );
        let [whole, resumed] =
            [log.audit().0, resumed_audit(&log, &kept_of(&before)).0].map(|said| {
                let whats: Vec<_> = said
                    .iter()
                    .filter_map(|one| {
                        if let AuditEvent::Finding(finding) = one {
                            Some((finding.what, finding.entry))
                        } else {
                            None
                        }
                    })
                    .collect();
                whats
            });
        // Without an earlier audit, the audit has forgotten the run after a day.
        let what = if at == 60 {
            FindingKind::SecondReceipt
        } else {
            FindingKind::NoConsumption
        };
        assert_eq!(
            (whole, resumed),
            (
                vec![(what, Some(10))],
                vec![(FindingKind::SecondReceipt, Some(10))]
            )
        );
        let told = [Told {
            id: String::new(),
            log,
        }];
        let [answer] = &answers(&told)[..] else {
            panic!("one answer")
        };
        let found = &answer["findings"];
        assert_eq!(
            (&found[0]["entry"], &found[0]["what"], &found[1]),
            (&json!(10), &json!("receipt"), &Value::Null),
            "{found:#}"
        );
    }
}

#[test]
fn equal_short_hashes_of_different_values_are_no_finding() {
    let (mut log, _) = begun();
    let mut kept = kept_of(&log);
    let known: BTreeSet<u64> = kept.used.iter().copied().collect();
    log.run("nginx:restart", 60, &[ALICE]);
    let new: Vec<u64> = kept_of(&log)
        .used
        .into_iter()
        .filter(|hash| !known.contains(hash))
        .collect();
    assert_eq!((known.len(), new.len()), (4, 2));
    // As if values of the earlier audit had the short hashes of the new nonce and of the new proposal.
    kept.used[..2].copy_from_slice(&new);
    let (said, summary) = resumed_audit(&log, &kept);
    assert!(summary.clean && second_uses(&said).is_empty(), "{said:#?}");
}

#[test]
fn an_audit_without_the_values_of_the_earlier_audit_gives_no_result() {
    let (mut log, _) = begun();
    let kept = kept_of(&log);
    log.run("nginx:restart", 60, &[ALICE]);
    for used in [&[][..], &kept.used[1..]] {
        let (mut auditor, _) = resumed_auditor(&log, &kept);
        auditor.compare_used_values(used);
        assert!(auditor.finish(&log.head(), &log).is_err(), "{}", used.len());
    }
}
