//! Logs with emergencies, unknown ends and reviews. Both auditors judge each log, and find the same defects and states.

use std::collections::BTreeSet;

use super::history_entries::{kept_of, resumed_audit};
use super::log_mutation::{Told, answers};
use crate::fuzz_corpus::Random;
use crate::history::grants::{Edit, OSCAR, PLAIN, Use, grant, permit_grants, run};
use crate::history::script::{lines, newest, outcome, play};
use crate::history::{ALICE, Approved, BOB, CAROL, Log, Place, Sealed, key};
use documents::to_canonical;
use serde_json::{Value, json};
use verdict::{AuditEvent, RunReviewState, Summary};

/// The keys of an approver of the group `security`, and of an approver of both groups.
pub(super) const DAVE: u8 = 20;
pub(super) const ERIN: u8 = 21;

/// Permits emergencies and grants. A run needs a signature of each group.
fn permit_all(sealed: &mut Sealed) {
    permit_grants(sealed);
    let default = &mut sealed.policy["default"];
    default["approvals"] = json!({"from": ["ops", "security"], "each": true});
    default["emergency"] = json!({"from": ["ops"], "max_unreviewed": 1, "max_window_s": 3600, "review": {"from": ["security"]}});
    let approvers = &mut sealed.roster["approvers"];
    for (name, seed, groups) in [
        ("dave", DAVE, json!(["security"])),
        ("erin", ERIN, json!(["ops", "security"])),
    ] {
        approvers[name] = json!({"groups": groups, "keys": [key(seed).line()]});
    }
}

pub(super) fn log_with(edit: impl FnOnce(&mut Sealed)) -> Log {
    Log::with(|sealed| {
        permit_all(sealed);
        edit(sealed);
    })
}

/// Adds the consumption of a run of `nginx:restart`.
pub(super) fn begin(log: &mut Log, at: i64, by: &[u8], emergency: bool) -> (Place, Approved) {
    let approved = approve(log, at, by, emergency);
    (log.consume(at, &[&approved]), approved)
}

fn approve(log: &mut Log, at: i64, by: &[u8], emergency: bool) -> Approved {
    log.approved_but("nginx:restart", at, by, |of| {
        of["params"]["force"] = json!(false);
        if emergency {
            of["emergency"] = json!(true);
        }
    })
}

/// Adds the receipt of a run, and returns the digest of its payload.
pub(super) fn end(
    log: &mut Log,
    (place, approved): &(Place, Approved),
    status: &str,
    edit: fn(&mut Value),
) -> String {
    log.receipt_but(*place, approved, |of| {
        outcome(of, status);
        edit(of);
    });
    newest(log)
}

/// Adds an emergency, and returns the digest of its receipt.
pub(super) fn emergency(log: &mut Log, at: i64, by: &[u8]) -> String {
    let begun = begin(log, at, by, true);
    end(log, &begun, "succeeded", |_| {})
}

pub(super) fn observe(log: &mut Log, receipt: &str, by: u8, word: &str) {
    log.review_but(receipt, &[by], |of| {
        of["predicate"]["observed"] = json!(word)
    });
}

/// A log, the expected findings `KIND@ENTRY` of our auditor, and the expected state of each run: the entry of its receipt,
/// `open` or `closed` for an emergency, and `unsettled`, `disputed` or `settled` for an unknown end.
#[derive(Clone)]
struct Case {
    id: &'static str,
    findings: String,
    states: &'static str,
    log: Log,
}

const UNKNOWN: Edit = |receipt| outcome(receipt, "unknown");

const SECTIONS: [&str; 6] = [
    "single reviews",
    "many reviews",
    "limits",
    "signatures",
    "changes",
    "grants",
];

fn cases() -> Vec<Case> {
    let of_text = SECTIONS.iter().flat_map(|section| {
        lines(include_str!("logs/reviews.txt"), section)
            .into_iter()
            .map(|line| Case {
                id: line.id,
                findings: line.findings.join(", "),
                states: line.states,
                log: play(permit_all, &line.ops),
            })
    });
    let mut cases: Vec<Case> = of_text.collect();
    // A review with the signature of another payload, and the review of a consumption.
    let mut log = log_with(|_| {});
    let run = emergency(&mut log, 10, &[ERIN]);
    log.review_but(&run, &[BOB], |_| {});
    let mut envelope: Value = serde_json::from_slice(&log.entries.pop().unwrap()).unwrap();
    let mut other = log.clone();
    other.review_but(&run, &[BOB], |of| {
        of["predicate"]["reason"] = json!("other")
    });
    let signed: Value = serde_json::from_slice(other.entries.last().unwrap()).unwrap();
    envelope["payload"] = signed["payload"].clone();
    log.entries.push(to_canonical(&envelope));
    let mut of_consumption = log_with(|_| {});
    let begun = begin(&mut of_consumption, 10, &[ERIN], true);
    let consumption = newest(&of_consumption);
    end(&mut of_consumption, &begun, "succeeded", |_| {});
    of_consumption.review_but(&consumption, &[BOB], |_| {});
    let mut twice = log_with(|_| {});
    let run = emergency(&mut twice, 10, &[ERIN]);
    twice.review_but(&run, &[BOB], |of| {
        of["subject"] = json!([of["subject"][0], of["subject"][0]])
    });
    for (id, log) in [
        ("the same subject twice", twice),
        ("a signature of another payload", log),
        ("the consumption as the receipt", of_consumption),
    ] {
        cases.push(Case {
            id,
            findings: "review@4".to_owned(),
            states: "3 open",
            log,
        });
    }
    cases
}

/// The findings `KIND@ENTRY` of one auditor, and the runs that still need a review.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    is_sound: bool,
    findings: Vec<String>,
    states: String,
}

impl Verdict {
    /// The entries with findings, and the findings about reviews: the other kinds have different names in the two auditors.
    fn comparable(&self) -> (bool, BTreeSet<&str>, Vec<&String>, String) {
        let entries = self
            .findings
            .iter()
            .filter_map(|one| Some(one.split_once('@')?.1))
            .collect();
        let mut reviews: Vec<_> = self
            .findings
            .iter()
            .filter(|one| one.starts_with("review") || one.starts_with("emergency"))
            .collect();
        reviews.sort_unstable();
        (self.is_sound, entries, reviews, needing(&self.states))
    }
}

/// Only the runs and the words of a list of states that still need a review.
fn needing(states: &str) -> String {
    let open = states
        .split(", ")
        .map(|one| one.replace(" closed", "").replace(" settled", ""));
    open.filter(|one| one.contains(' '))
        .collect::<Vec<_>>()
        .join(", ")
}

fn ours((said, summary): (Vec<AuditEvent>, Summary)) -> Verdict {
    let finding = |one: &AuditEvent| match one {
        AuditEvent::Finding(one) => Some(format!("{}@{}", one.what.word(), one.entry?)),
        _ => None,
    };
    let state = |run: &RunReviewState| {
        let end = match (run.unsettled, run.disputed) {
            (_, true) => " disputed",
            (true, false) => " unsettled",
            (false, false) => "",
        };
        format!(
            "{}{}{end}",
            run.entry,
            if run.emergency { " open" } else { "" }
        )
    };
    Verdict {
        is_sound: summary.clean,
        findings: said.iter().filter_map(finding).collect(),
        states: summary
            .reviews
            .iter()
            .map(state)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn theirs(answer: &Value) -> Verdict {
    let list = |name: &str| answer[name].as_array().expect("a list").clone();
    let mut states = list("reviews");
    states.sort_by_key(|run| run["entry"].as_u64());
    let state = |run: &Value| {
        let words = [&run["emergency"], &run["end"]]
            .into_iter()
            .filter_map(Value::as_str);
        words.fold(run["entry"].to_string(), |line, word| line + " " + word)
    };
    Verdict {
        is_sound: answer["sound"] == json!(true),
        findings: list("findings")
            .iter()
            .map(|one| {
                format!(
                    "{}@{}",
                    one["what"].as_str().unwrap_or_default(),
                    one["entry"]
                )
            })
            .collect(),
        states: states.iter().map(state).collect::<Vec<_>>().join(", "),
    }
}

/// Compares both auditors, and returns their verdicts.
fn compare(told: &[Told]) -> Vec<(Verdict, Verdict)> {
    let both: Vec<_> = told
        .iter()
        .zip(answers(told))
        .map(|(one, answer)| (ours(one.log.audit()), theirs(&answer)))
        .collect();
    let differ = told
        .iter()
        .zip(&both)
        .filter(|(_, (first, second))| first.comparable() != second.comparable());
    let faults: Vec<_> = differ
        .map(|(one, (first, second))| format!("{}: ours {first:?}, theirs {second:?}", one.id))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    both
}

#[test]
fn both_auditors_judge_reviews_and_emergencies_alike() {
    let cases = cases();
    assert!(cases.len() >= 110, "{}", cases.len());
    let told: Vec<Told> = cases
        .iter()
        .map(|one| Told {
            id: one.id.to_owned(),
            log: one.log.clone(),
        })
        .collect();
    let mut wrong = Vec::new();
    for (case, (first, second)) in cases.iter().zip(compare(&told)) {
        let findings = first.findings.join(", ");
        if (&findings, second.states.as_str()) != (&case.findings, case.states) {
            wrong.push(format!(
                "{}: found {findings:?}, states {:?}",
                case.id, second.states
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A log with random emergencies, unknown ends, reviews, uses of a grant, revocations and seals.
fn random_log(random: &mut Random) -> Log {
    let most = 1 + random.below(2);
    let settle =
        [Value::Null, json!({"from": ["security"], "required": 2})][random.below(2)].clone();
    let required = 1 + random.below(2);
    let mut log = log_with(|sealed| {
        let rule = &mut sealed.policy["default"]["emergency"];
        rule["max_unreviewed"] = json!(most);
        rule["review"] = json!({"from": ["ops", "security"], "required": required});
        if !settle.is_null() {
            sealed.policy["settle"] = settle;
        }
    });
    let granted = grant(&mut log, &[ALICE, BOB], |of| of["max_uses"] = json!(9));
    let (mut receipts, mut uses) = (Vec::new(), 0);
    let mut flying: Vec<(Place, Approved)> = Vec::new();
    let mut before = log.boundary();
    for at in (10..).step_by(10).take(4 + random.below(8)) {
        match random.below(14) {
            0 | 1 => receipts.push(emergency(
                &mut log,
                at,
                [&[ALICE][..], &[ERIN], &[BOB]][random.below(7) % 3],
            )),
            2 | 3 => receipts.push({
                let begun = begin(&mut log, at, &[ALICE, BOB], false);
                end(&mut log, &begun, "unknown", |_| {})
            }),
            4 => flying.push(begin(&mut log, at, &[ALICE], true)),
            5 => {
                if !flying.is_empty() {
                    let begun = flying.remove(random.below(flying.len()));
                    receipts.push(end(
                        &mut log,
                        &begun,
                        ["succeeded", "unknown"][random.below(2)],
                        |_| {},
                    ));
                }
            }
            6 => {
                uses += 1;
                let receipt: Edit = if random.below(2) == 0 {
                    UNKNOWN
                } else {
                    |_| {}
                };
                run(
                    &mut log,
                    &granted,
                    &Use {
                        number: uses,
                        at,
                        receipt,
                        ..PLAIN
                    },
                );
                receipts.push(newest(&log));
            }
            7 if random.below(3) == 0 => log.revoke(
                ("key", key([BOB, DAVE][random.below(2)]).keyid().to_bytes()),
                OSCAR,
            ),
            8 if random.below(3) == 0 && flying.is_empty() => {
                before = log.boundary();
                let epoch = format!("{at:032x}");
                log.reseal(at, |seal| seal["epoch"] = json!(epoch));
            }
            _ => {
                let chosen = receipts.len().saturating_sub(1 + random.below(2));
                let Some(run) = receipts.get(chosen) else {
                    continue;
                };
                let by = [ALICE, BOB, DAVE, ERIN, ERIN, CAROL, OSCAR][random.below(7)];
                let words = [Value::Null, json!("failed"), json!("partly")];
                let observed = words[random.below(3)].clone();
                let boundary = if random.below(2) == 0 {
                    before.clone()
                } else {
                    log.boundary()
                };
                log.review_but(run, &[by], |of| {
                    of["predicate"]["boundary"] = boundary;
                    if !observed.is_null() {
                        of["predicate"]["observed"] = observed;
                    }
                });
            }
        }
    }
    log
}

#[test]
fn both_auditors_judge_random_logs_with_reviews_alike() {
    let told: Vec<Told> = (0..300)
        .map(|round| Told {
            id: format!("round {round}"),
            log: random_log(&mut Random::new("reviews", round)),
        })
        .collect();
    let both = compare(&told);
    let seen = |word: &str| {
        both.iter()
            .filter(|(first, second)| {
                first.findings.iter().any(|one| one.starts_with(word))
                    || second.states.contains(word)
            })
            .count()
    };
    for word in [
        "review",
        "emergency",
        "grant-use",
        "quorum",
        "open",
        "closed",
        "unsettled",
        "disputed",
        " settled",
    ] {
        assert!(seen(word) >= 5, "{word}: {}", seen(word));
    }
    let clean = both.iter().filter(|(first, _)| first.is_sound).count();
    assert!((20..280).contains(&clean), "{clean} of 300 have no defect");
}

#[test]
fn an_audit_that_resumes_finds_the_same_as_an_audit_of_the_whole_log() {
    let mut compared = 0;
    for case in cases() {
        // A receipt for a run of the earlier audit is judged at the end.
        let sorted = |mut verdict: Verdict| {
            verdict.findings.sort();
            verdict
        };
        let whole = sorted(ours(case.log.audit()));
        let mut begun = case.log.clone();
        for size in (1..case.log.entries.len()).rev() {
            begun.entries.truncate(size);
            if ours(begun.audit()).is_sound {
                let resumed = sorted(ours(resumed_audit(&case.log, &kept_of(&begun))));
                assert_eq!(resumed, whole, "{} after {size}", case.id);
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn a_settled_run_is_disputed_from_a_later_different_observation_on() {
    let said = |ops: &str| {
        let log = play(permit_all, &format!("begin alice; end 0 unknown; {ops}"));
        let kept = serde_json::to_value(&kept_of(&log).runs.reviewed).unwrap();
        kept.as_object().unwrap().values().next().unwrap()["unknown"].clone()
    };
    const FAILED: &str = "observe 0 alice failed";
    const PARTLY: &str = "observe 0 alice partly";
    const DAVE_PARTLY: &str = "observe 0 dave partly";
    let all = |ops: &[&str]| said(&ops.join("; "));
    assert_eq!(
        all(&[FAILED]),
        json!({"settled": [4, "failed"], "disputed": false})
    );
    assert_eq!(all(&[FAILED, DAVE_PARTLY]), json!({"disputed": true}));
    assert_eq!(
        all(&[FAILED, DAVE_PARTLY, PARTLY]),
        json!({"settled": [6, "partly"], "disputed": false})
    );
    assert_eq!(
        all(&[FAILED, PARTLY]),
        json!({"settled": [5, "partly"], "disputed": false})
    );
}
