//! Logs with grants. Both auditors judge each log, and find defects at the same entries.

use std::collections::BTreeSet;

use super::history_entries::{
    Case, as_expected, cases_of, entries_found, entries_told, found, kept_of, resumed,
};
use super::log_mutation::{Told, alike};
use crate::fuzz_corpus::Random;
use crate::history::grants::{
    Edit, Granted, OSCAR, OTHER, PLAIN, ROBOT, ROBOT_2, Use, authorize, begin, end, grant,
    permit_grants, run,
};
use crate::history::script::play;
use crate::history::{ALICE, BOB, CAROL, Log, MALLORY, Place, key, t};
use documents::to_canonical;
use serde_json::{Value, json};

pub(super) fn log() -> Log {
    log_with(|_, _| {})
}

/// A log whose policy permits grants, with an edited policy and an edited step `nginx:restart`.
fn log_with(edit: fn(&mut Value, &mut Value)) -> Log {
    Log::with(|sealed| {
        permit_grants(sealed);
        edit(&mut sealed.policy, &mut sealed.steps[0]);
    })
}

/// A log with the usual grant and one use.
pub(super) fn used(grant_edit: Edit, use_: Use) -> Log {
    let mut log = log();
    let granted = grant(&mut log, &[ALICE, BOB], grant_edit);
    run(&mut log, &granted, &use_);
    log
}

pub(super) fn once(use_: Use) -> Log {
    used(|_| {}, use_)
}

/// A log with the usual grant, to which a test adds entries.
fn after(change: impl FnOnce(&mut Log, &Granted)) -> Log {
    let mut log = log();
    let granted = grant(&mut log, &[ALICE, BOB], |_| {});
    change(&mut log, &granted);
    log
}

pub(super) fn digest_of(granted: &Granted) -> [u8; 32] {
    documents::unhex32(&granted.digest[7..]).expect("a digest")
}

/// The logs of a section of `logs/grants.txt`.
pub(super) fn of_text(section: &str) -> Vec<Case> {
    let text = include_str!("logs/grants.txt");
    cases_of(text, section, permit_grants)
}

/// Grants whose signatures are changed after they were made.
fn changed_signatures() -> Vec<Case> {
    let changed = |change: fn(&mut Vec<Value>)| {
        let mut log = after(|_, _| {});
        let mut envelope: Value = serde_json::from_slice(log.entries.last().unwrap()).unwrap();
        change(envelope["signatures"].as_array_mut().unwrap());
        *log.entries.last_mut().unwrap() = to_canonical(&envelope);
        log
    };
    const NO: &[&str] = &["grant"];
    vec![
        ("signatures out of order", NO, changed(|all| all.reverse())),
        (
            "a signature twice",
            NO,
            changed(|all| all.push(all[1].clone())),
        ),
        (
            "a signature of another payload",
            NO,
            changed(|all| {
                let other = all[1]["sig"].clone();
                all[0]["sig"] = other;
            }),
        ),
    ]
}

/// Two uses in one consumption.
fn two_uses_at_once() -> Vec<Case> {
    let log = after(|log, granted| {
        let both = [(); 2].map(|()| authorize(log, granted, &PLAIN, &|_| {}));
        let place = log.consume_but(10, &both.each_ref(), |of| {
            for (number, item) in (1..).zip(of["spent"].as_array_mut().unwrap()) {
                (item["grant"], item["use"]) = (json!(granted.digest), json!(number));
            }
        });
        for (item, approved) in (0..).zip(both) {
            end(log, &(Place { item, ..place }, approved), &|_| {});
        }
    });
    vec![("two uses in one consumption", &[], log)]
}

const SECTIONS: [&str; 7] = [
    "entries", "uses", "people", "series", "tokens", "steps", "policies",
];

#[test]
fn both_auditors_judge_grants_and_their_uses_alike() {
    let cases = SECTIONS.map(of_text).concat();
    let cases = [cases, changed_signatures(), two_uses_at_once()].concat();
    assert!(cases.len() >= 160, "{}", cases.len());
    let (told, _): (Vec<Told>, Vec<bool>) = as_expected(cases).into_iter().unzip();
    let _ = alike(&told, entries_found, entries_told);
}

/// A log with two grants, uses with random defects, revocations and seals.
fn random_log(random: &mut Random) -> Log {
    let mut log = log_with(|policy, _| policy["default"]["approvals"]["required"] = json!(2));
    let mut grants: Vec<(Granted, u64)> = Vec::new();
    let edits: [Edit; 6] = [
        |of| of["max_uses"] = json!(9),
        |of| of["rate"] = json!({"uses": 1, "seconds": 5}),
        |of| of["not_before"] = json!(t(8)),
        |of| of["expires_at"] = json!(t(40)),
        |of| {
            of["steps"][0]["params"]["properties"]["host"] =
                json!({"type": "string", "pattern": "^web-[0-9]$"})
        },
        |of| of["grantee"] = json!({"name": "other", "key": key(OTHER).keyid()}),
    ];
    let signers: [&[u8]; 4] = [&[ALICE, BOB], &[ALICE], &[BOB, CAROL], &[ALICE, MALLORY]];
    let values: [Edit; 5] = [
        |_| {},
        |_| {},
        |of| of["params"]["host"] = json!("web-7"),
        |of| of["params"]["force"] = json!(true),
        |of| of["proposer"] = json!("other"),
    ];
    let receipts: [Edit; 4] = [
        |_| {},
        |_| {},
        |of| of["decision"]["approvers"] = json!(["alice"]),
        |of| {
            of["outcome"] = json!({"status": "unknown"});
            of["finished_at"] = of["started_at"].clone();
        },
    ];
    // Mostly the first choice, which has no defect.
    let mostly = |random: &mut Random, most: usize| {
        if random.below(6) > 0 {
            0
        } else {
            random.below(most)
        }
    };
    for round in 0..6_i64 {
        let at = 10 + 3 * round;
        match random.below(9) {
            0 | 1 => {
                let edit = edits[mostly(random, edits.len())];
                let granted = grant(&mut log, signers[mostly(random, signers.len())], edit);
                grants.push((granted, 0));
            }
            2 => log.revoke(
                (
                    "key",
                    key([ROBOT_2, ALICE, BOB, ROBOT][mostly(random, 4)])
                        .keyid()
                        .to_bytes(),
                ),
                OSCAR,
            ),
            3 => {
                if let Some((granted, _)) = grants.last() {
                    log.revoke(
                        ("grant", digest_of(granted)),
                        [ALICE, ROBOT, OTHER, OSCAR][mostly(random, 4)],
                    );
                }
            }
            4 => {
                let uses = [100, 3, 1][mostly(random, 3)];
                log.sealed.policy["default"]["standing"]["max_uses"] = json!(uses);
                log.roster(&[ALICE, BOB, CAROL]);
                log.reseal(at, |_| {});
            }
            _ => {
                if grants.is_empty() {
                    grants.push((grant(&mut log, &[ALICE, BOB], |_| {}), 0));
                }
                let last = random.below(grants.len());
                grants[last].1 += u64::from(random.below(20) > 0);
                let (granted, number) = grants[last].clone();
                let used = Use {
                    number: number.max(1),
                    at,
                    signer: [ROBOT, OTHER, ALICE][mostly(random, 3)],
                    authorization: values[mostly(random, values.len())],
                    item: |_| {},
                    receipt: receipts[mostly(random, receipts.len())],
                };
                run(&mut log, &granted, &used);
            }
        }
    }
    log
}

#[test]
fn both_auditors_judge_random_logs_with_grants_alike() {
    let told: Vec<Told> = (0..300)
        .map(|round| Told {
            id: format!("round {round}"),
            log: random_log(&mut Random::new("grants", round)),
        })
        .collect();
    let clean = alike(&told, entries_found, entries_told)
        .iter()
        .filter(|(clean, _)| *clean)
        .count();
    let kinds: BTreeSet<&str> = told.iter().flat_map(|one| found(&one.log)).collect();
    for kind in [
        "grant",
        "grant-use",
        "quorum",
        "excluded",
        "revoked",
        "revocation",
        "decision",
    ] {
        assert!(
            kinds.contains(kind),
            "no log has the finding {kind}: {kinds:?}"
        );
    }
    assert!((10..200).contains(&clean), "{clean} of 300 have no defect");
}

#[test]
fn a_resumed_audit_knows_the_grants_and_their_uses() {
    let mut log = log();
    let granted = grant(&mut log, &[ALICE, BOB], |of| {
        of["rate"] = json!({"uses": 2, "seconds": 60})
    });
    run(&mut log, &granted, &PLAIN);
    run(
        &mut log,
        &granted,
        &Use {
            number: 2,
            at: 11,
            ..PLAIN
        },
    );
    let kept = kept_of(&log);
    assert_eq!(
        (
            kept.counts.grants,
            kept.runs.grants.len(),
            kept.runs.grants[0].used
        ),
        (1, 1, 2)
    );
    let go_on = |change: &dyn Fn(&mut Log)| {
        let mut log = log.clone();
        change(&mut log);
        resumed(&log, &kept)
    };
    let at = |number: u64, at: i64| {
        go_on(&|log| {
            run(
                log,
                &granted,
                &Use {
                    number,
                    at,
                    ..PLAIN
                },
            )
        })
    };
    assert!(at(3, 71).is_empty());
    assert_eq!(at(3, 69), ["grant-use"], "faster than the rate");
    assert_eq!(at(2, 71), ["grant-use"], "a number twice");
    assert_eq!(
        go_on(&|log| log.entries.push(log.entries[1].clone())),
        ["grant"],
        "the grant again"
    );
    assert!(go_on(&|log| log.revoke(("grant", digest_of(&granted)), ROBOT)).is_empty());
}

#[test]
fn both_auditors_keep_a_grant_until_a_day_after_its_end_and_longer_while_a_run_is_open() {
    const END: i64 = 86_400;
    const PAST: i64 = 2 * END;
    fn later(number: u64, at: i64) -> Use {
        Use {
            number,
            at,
            ..PLAIN
        }
    }
    fn go_on(log: &mut Log, at: i64) {
        let approved = log.approved_but("nginx:restart", at, &[ALICE, BOB], |of| {
            of["params"] = json!({"force": false, "host": "web-1"})
        });
        let place = log.consume(at, &[&approved]);
        log.receipt(place, &approved);
    }
    let used_after = |at: i64| {
        after(|log, granted| {
            run(log, granted, &PLAIN);
            // An audit drops grants once an hour. When it does so makes no difference.
            go_on(log, at - 10);
            go_on(log, at);
            run(log, granted, &later(2, at + 1));
        })
    };
    let revoked_after = |at: i64| {
        after(|log, granted| {
            run(log, granted, &PLAIN);
            go_on(log, at - 10);
            go_on(log, at);
            log.revoke(("grant", digest_of(granted)), ROBOT);
        })
    };
    let cases: Vec<Case> = vec![
        ("a use after the end", &["grant"], used_after(END)),
        ("a use a day after the end", &["grant"], used_after(PAST)),
        (
            "the receipt comes later",
            &[],
            after(|log, granted| {
                let begun = begin(log, granted, &PLAIN, &|_| {}, &|_| {});
                go_on(log, PAST);
                end(log, &begun, &|_| {});
            }),
        ),
        ("revoked on the last day", &[], revoked_after(PAST - 1)),
        ("revoked later", &["revocation"], revoked_after(PAST)),
    ];
    let (told, _): (Vec<Told>, Vec<bool>) = as_expected(cases).into_iter().unzip();
    let _ = alike(&told, entries_found, entries_told);
    let kept = |change: &dyn Fn(&mut Log, &Granted)| {
        let log = after(|log, granted| change(log, granted));
        kept_of(&log).runs.grants.len()
    };
    let once = |log: &mut Log, granted: &Granted, until: i64| {
        run(log, granted, &PLAIN);
        go_on(log, until);
    };
    assert_eq!(kept(&|log, granted| once(log, granted, PAST - 1)), 1);
    assert_eq!(kept(&|log, granted| once(log, granted, PAST)), 0);
}

#[test]
fn a_resumed_audit_knows_the_token_of_a_grant() {
    let begin = "grant to agent; use";
    let kept = kept_of(&play(permit_grants, begin));
    let go_on = |more: &str| resumed(&play(permit_grants, &format!("{begin}; {more}")), &kept);
    assert!(go_on("use").is_empty());
    for (more, what) in [
        ("use 1", "grant-use"),
        ("use a:-by", "approval-signatures"),
        ("use by robot", "approval-signatures"),
        ("use by robot a:proposer=robot a:-by", "grant"),
        ("revoke token agent by oscar; use", "revoked"),
        ("set -tokens.agent; seal; use", "proposer"),
    ] {
        assert_eq!(go_on(more), [what], "{more}");
    }
}

#[test]
fn the_summary_says_that_a_grant_ends_with_its_token() {
    let line = |ops: &str| {
        let summary = play(permit_grants, ops).audit().1;
        summary.grants.into_iter().next().expect("a grant")
    };
    let used = line("grant to agent; use");
    assert_eq!((used.grantee.as_str(), used.uses), ("the token agent", 1));
    assert_eq!(used.unusable, None);
    for ops in [
        "grant to agent; set -tokens.agent; seal",
        "grant to agent; revoke token agent by oscar",
    ] {
        let unusable = line(ops).unusable;
        let says = unusable
            .as_ref()
            .is_some_and(|why| why.contains("token agent"));
        assert!(says, "{ops}: {unusable:?}");
    }
}

#[test]
fn the_summary_lists_each_grant_with_its_uses() {
    let log = after(|log, granted| {
        run(log, granted, &PLAIN);
        log.revoke(("grant", digest_of(granted)), OSCAR);
    });
    let summary = log.audit().1;
    let [line] = &summary.grants[..] else {
        panic!("{:?}", summary.grants)
    };
    assert_eq!(
        (
            line.uses,
            line.max_uses,
            line.entry,
            line.revoked,
            line.paused
        ),
        (1, 3, 1, Some(5), None)
    );
    assert_eq!(
        (line.grantee.as_str(), line.proposer.as_str()),
        ("robot", "agent")
    );
    assert_eq!(line.last.map(|last| last.to_string()), Some(t(10)));
    // A grant that the last seal makes useless says why.
    let unusable = |change: fn(&mut Log)| {
        after(|log, _| change(log)).audit().1.grants[0]
            .unusable
            .clone()
    };
    assert_eq!(unusable(|_| {}), None);
    let thawed = unusable(|log| log.reseal(5, |seal| seal["epoch"] = json!("e1".repeat(16))));
    assert!(
        thawed.as_ref().is_some_and(|why| why.contains("epoch")),
        "{thawed:?}"
    );
}
