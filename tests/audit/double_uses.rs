//! Logs that use a nonce or a proposal twice, at any distance. Both auditors find the second use, also if an earlier
//! audit has read the first use: before the end that the nonce and the id carry, as a second use, and later as a use
//! outside its window. An item that states another nonce than its authorization is found at its consumption.

use std::collections::BTreeSet;

use super::history_entries::{kept_of, resumed_audit};
use super::log_mutation::{Told, answers};
use crate::history::grants::{PLAIN, begin, grant, permit_grants};
use crate::history::{ALICE, Approved, BOB, Log, Place, nonce, predicate_of, reference, t};
use serde_json::{Value, json};
use verdict::{AuditEvent, FindingKind};

const DAY: i64 = 86_400;
/// The end of the first run.
const END: i64 = 3610;

/// A log with one run at 10 s.
fn begun() -> (Log, Approved) {
    let mut log = Log::new();
    let first = log.run("nginx:restart", 10, &[ALICE]);
    log.run("nginx:restart", 20, &[BOB]);
    (log, first)
}

/// Makes another authorization with `field` of `first`, and so with its end.
fn again(log: &mut Log, first: &Approved, field: &str) -> Approved {
    let old = first.predicate[field].clone();
    log.approved_but("nginx:restart", 30, &[BOB], |predicate| {
        predicate[field] = old
    })
}

/// Runs another authorization at `at` with `field` of `first`.
fn with_old(log: &mut Log, first: &Approved, field: &str, at: i64) {
    let again = again(log, first, field);
    let place = log.consume(at, &[&again]);
    log.receipt(place, &again);
}

/// The kinds of findings about consumptions, with their entries.
type Uses = BTreeSet<(&'static str, u64)>;

/// The finding about a second use at this time.
fn kind(at: i64) -> &'static str {
    let kind = if at < END {
        FindingKind::DoubleUse
    } else {
        FindingKind::Window
    };
    kind.word()
}

/// Each log with the entries of its second uses.
fn logs() -> Vec<(Told, Uses)> {
    let mut logs = Vec::new();
    let mut add = |id: String, log: Log, uses: &[(i64, u64)]| {
        let uses = uses.iter().map(|(at, entry)| (kind(*at), *entry));
        logs.push((Told { id, log }, uses.collect()))
    };
    for (name, at, later) in [
        ("within the window", 60, 70),
        ("within the window and after it", 60, 2 * DAY),
        ("just before the end", END - 2, END - 1),
        ("at the end", END - 1, END),
        ("from the end on", END, END + 1),
        ("after a day", 2 * DAY, 4 * DAY),
        ("after a year", 365 * DAY, 367 * DAY),
    ] {
        let (mut log, first) = begun();
        let place = log.consume(at, &[&first]);
        log.receipt(place, &first);
        add(format!("the same authorization {name}"), log, &[(at, 8)]);

        for field in ["nonce", "proposal"] {
            let (mut log, first) = begun();
            with_old(&mut log, &first, field, at);
            add(
                format!("another authorization with an old {field} {name}"),
                log,
                &[(at, 8)],
            );

            let (mut log, first) = begun();
            for time in [at, later] {
                with_old(&mut log, &first, field, time);
            }
            add(
                format!("a {field} three times, {name}"),
                log,
                &[(at, 8), (later, 11)],
            );
        }

        let (mut log, first) = begun();
        let new = log.approved("nginx:restart", at, &[ALICE]);
        let second = again(&mut log, &first, "nonce");
        let place = log.consume(at, &[&new, &second]);
        log.receipt(place, &new);
        log.receipt(Place { item: 1, ..place }, &second);
        add(
            format!("an old nonce in the second item {name}"),
            log,
            &[(at, 9)],
        );

        // The second use of the nonce is the first use of a proposal that a third run uses again.
        let (mut log, first) = begun();
        let second = again(&mut log, &first, "nonce");
        let place = log.consume(at, &[&second]);
        log.receipt(place, &second);
        with_old(&mut log, &second, "proposal", later);
        add(
            format!("an old nonce and then its proposal, {name}"),
            log,
            &[(at, 8), (later, 11)],
        );
    }
    logs
}

/// Returns true if the entry is a consumption.
fn is_consumption(log: &Log, entry: u64) -> bool {
    let entry = &log.entries[usize::try_from(entry).unwrap()];
    predicate_of(entry).get("spent").is_some()
}

/// The findings of an audit about consumptions.
fn second_uses(log: &Log, said: &[AuditEvent]) -> Uses {
    let found: Vec<_> = said
        .iter()
        .filter_map(|one| match one {
            AuditEvent::Finding(finding) => Some((finding.what.word(), finding.entry?)),
            _ => None,
        })
        .filter(|(_, entry)| is_consumption(log, *entry))
        .collect();
    let uses: Uses = found.iter().copied().collect();
    assert_eq!(
        found.len(),
        uses.len(),
        "each second use is reported once: {said:#?}"
    );
    uses
}

#[test]
fn a_second_use_of_a_nonce_or_a_proposal_is_found_at_any_distance() {
    for (Told { id, log }, expected) in logs() {
        let (said, summary) = log.audit();
        assert!(
            !summary.clean && second_uses(&log, &said) == expected,
            "{id}: {said:#?}"
        );
        let mut details = said.iter().filter_map(|one| match one {
            AuditEvent::Finding(finding) if finding.what == FindingKind::DoubleUse => {
                Some(finding.detail.as_str())
            }
            _ => None,
        });
        let of_old = |detail: &str| {
            detail.contains("item 0 of entry ") && detail.contains("has already used")
        };
        assert!(details.all(of_old), "{id}: {said:#?}");
    }
}

/// Asserts that an audit that continues from any earlier entry reports exactly these findings.
#[track_caller]
fn assert_found_after_each_entry(logs: &[(Told, Uses)]) {
    for (Told { id, log }, expected) in logs {
        let mut borders = 0;
        for size in 1..log.entries.len() {
            let mut before = log.clone();
            before.entries.truncate(size);
            let (said, summary) = before.audit();
            if !summary.clean {
                assert!(!second_uses(&before, &said).is_empty(), "{id} at {size}");
                break;
            }
            borders += 1;
            let (said, summary) = resumed_audit(log, &kept_of(&before));
            assert!(
                !summary.clean && second_uses(log, &said) == *expected,
                "{id} after {size}: {said:#?}"
            );
        }
        assert!(borders >= 4, "{id}");
    }
}

/// Asserts that the second auditor reports exactly these findings.
#[track_caller]
fn assert_found_by_the_second_auditor(logs: Vec<(Told, Uses)>) {
    let (told, expected): (Vec<Told>, Vec<_>) = logs.into_iter().unzip();
    for ((one, answer), expected) in told.iter().zip(answers(&told)).zip(expected) {
        let findings = answer["findings"].as_array().expect("findings").iter();
        let uses: BTreeSet<_> = findings
            .filter_map(|finding| Some((finding["what"].as_str()?, finding["entry"].as_u64()?)))
            .filter(|(_, entry)| is_consumption(&one.log, *entry))
            .collect();
        assert_eq!(
            (answer["sound"] == false, uses),
            (true, expected),
            "{}: {answer:#}",
            one.id
        );
    }
}

#[test]
fn a_second_use_is_found_if_an_earlier_audit_has_read_the_first_use() {
    assert_found_after_each_entry(&logs());
}

#[test]
fn the_second_auditor_finds_each_second_use() {
    assert_found_by_the_second_auditor(logs());
}

/// Asserts that both auditors report one consumption of each log: the nonce, the session or the grant (`what`) of its
/// item differs from the authorization.
#[track_caller]
fn assert_differs_at(entry: u64, what: &str, logs: Vec<(String, Log)>) {
    let uses = Uses::from([(FindingKind::Consumption.word(), entry)]);
    let told = |(id, log)| (Told { id, log }, uses.clone());
    let logs: Vec<_> = logs.into_iter().map(told).collect();
    let words = format!("the {what} differs from the authorization");
    for (Told { id, log }, expected) in &logs {
        let (said, summary) = log.audit();
        assert!(
            !summary.clean && second_uses(log, &said) == *expected,
            "{id}: {said:#?}"
        );
        assert!(format!("{said:?}").contains(&words), "{id}: {said:#?}");
    }
    assert_found_after_each_entry(&logs);
    assert_found_by_the_second_auditor(logs);
}

#[test]
fn an_authorization_that_is_spent_twice_under_an_invented_nonce_is_found_at_its_first_consumption()
{
    let spent_twice = |at: i64| {
        let (mut log, _) = begun();
        let twice = log.approved("nginx:restart", 60, &[ALICE]);
        // The invented nonce has ended before the second consumption, and the first run never gets a receipt.
        log.consume_but(60, &[&twice], |consumption| {
            let item = &mut consumption["spent"][0];
            (item["nonce"], item["expires_at"]) = (json!(nonce(61, 99)), json!(t(61)));
        });
        let place = log.consume(at, &[&twice]);
        log.receipt(place, &twice);
        (format!("again at {at}"), log)
    };
    assert_differs_at(8, "nonce", [61, 62].map(spent_twice).into());
}

#[test]
fn an_item_with_another_session_than_its_authorization_is_found_without_a_receipt() {
    let session = |state: &str| json!({"id": "ses_01a327cf-6400-7000-8000-000000000001", "state": reference(state.as_bytes())});
    let without_receipt = |name: &str, signed: Option<Value>, spent: Option<Value>| {
        let (mut log, _) = begun();
        let of = log.approved_but("nginx:restart", 60, &[ALICE], |predicate| {
            predicate
                .as_object_mut()
                .expect("a map")
                .extend(signed.map(|session| ("session".to_owned(), session)));
        });
        log.consume_but(60, &[&of], |consumption| {
            consumption["spent"][0]
                .as_object_mut()
                .expect("a map")
                .extend(spent.map(|session| ("session".to_owned(), session)));
        });
        (name.to_owned(), log)
    };
    let logs = vec![
        without_receipt("another state", Some(session("a")), Some(session("b"))),
        without_receipt("no session in the item", Some(session("a")), None),
        without_receipt("a session only in the item", None, Some(session("a"))),
    ];
    assert_differs_at(8, "session", logs);
}

#[test]
fn an_item_with_another_grant_than_its_authorization_is_found_without_a_receipt() {
    let remove = |of: &mut Value, names: &[&str]| {
        let map = of.as_object_mut().expect("a map");
        names.iter().for_each(|name| drop(map.remove(*name)));
    };
    let without_receipt =
        |name: &str, signed: &dyn Fn(&mut Value), spent: &dyn Fn(&mut Value, &str)| {
            let mut log = Log::with(permit_grants);
            let [granted, other] = [(); 2].map(|()| grant(&mut log, &[ALICE, BOB], |_| {}));
            begin(&mut log, &granted, &PLAIN, signed, &|item| {
                spent(item, &other.digest)
            });
            (name.to_owned(), log)
        };
    let logs = vec![
        without_receipt("another grant", &|_| {}, &|item, other| {
            item["grant"] = json!(other)
        }),
        without_receipt("no grant in the item", &|_| {}, &|item, _| {
            remove(item, &["grant", "use"])
        }),
        without_receipt(
            "a grant only in the item",
            &|of| remove(of, &["grant"]),
            &|_, _| {},
        ),
    ];
    assert_differs_at(4, "grant", logs);
}

#[test]
fn an_entry_that_spends_one_nonce_twice_is_found_by_both_auditors() {
    let (mut log, _) = begun();
    let one = log.approved("nginx:restart", 60, &[ALICE]);
    let two = again(&mut log, &one, "nonce");
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
    for (at, what) in [
        (60, FindingKind::SecondReceipt),
        // The run of the receipt is kept only until its end.
        (40 * DAY, FindingKind::NoConsumption),
    ] {
        let (mut log, first) = begun();
        log.run("nginx:restart", at, &[ALICE]);
        let before = log.clone();
        log.receipt(
            Place {
                index: 2,
                item: 0,
                at: 10,
            },
            &first,
        );
        for said in [log.audit().0, resumed_audit(&log, &kept_of(&before)).0] {
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
            assert_eq!(whats, [(what, Some(10))]);
        }
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
            (&json!(10), &json!(what.word()), &Value::Null),
            "{found:#}"
        );
    }
}

#[test]
fn an_audit_keeps_a_use_only_until_its_end() {
    let used = |log: &Log| {
        let kept = serde_json::to_value(kept_of(log)).unwrap();
        kept["runs"]["used"].as_array().expect("a list").clone()
    };
    let (mut log, first) = begun();
    let kept = used(&log);
    assert_eq!(kept.len(), 2, "{kept:#?}");
    assert_eq!(
        (&kept[0]["nonce"], &kept[0]["proposal"], &kept[0]["place"]),
        (
            &first.predicate["nonce"],
            &first.predicate["proposal"],
            &json!([2, 0])
        )
    );
    log.run("nginx:restart", END - 1, &[ALICE]);
    assert_eq!(used(&log).len(), 3);
    log.run("nginx:restart", END, &[ALICE]);
    assert_eq!(used(&log).len(), 3, "the first use has ended");
    log.run("nginx:restart", 2 * DAY, &[ALICE]);
    assert_eq!(used(&log).len(), 1);
}
