//! Logs with emergencies, unknown ends and reviews. Both auditors judge each log, and find the same defects and states.

use std::collections::BTreeSet;

use super::history_entries::{kept_of, resumed_audit};
use super::log_mutation::{Told, answers};
use crate::fuzz_corpus::Random;
use crate::history::grants::{self, Edit, OSCAR, PLAIN, ROBOT, Use, grant, permit_grants, run};
use crate::history::{
    ALICE, Approved, BOB, BOUNDARY, CAROL, Log, MALLORY, Place, Sealed, key, reference, t,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::to_canonical;
use serde_json::{Value, json};
use verdict::{AuditEvent, RunReviewState, Summary};

/// The keys of an approver of the group `security`, and of an approver of both groups.
pub(super) const DAVE: u8 = 20;
pub(super) const ERIN: u8 = 21;

/// A log whose policy permits emergencies and grants. A run needs a signature of each group.
pub(super) fn log_with(edit: impl FnOnce(&mut Sealed)) -> Log {
    Log::with(|sealed| {
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

fn outcome(receipt: &mut Value, status: &str) {
    receipt["outcome"] = json!({"status": status});
    if status == "succeeded" {
        receipt["outcome"]["exit_code"] = json!(0);
    }
    receipt["finished_at"] = receipt["started_at"].clone();
}

/// The digest of the payload of the newest entry.
fn newest(log: &Log) -> String {
    let envelope: Value = serde_json::from_slice(log.entries.last().unwrap()).unwrap();
    reference(
        &STANDARD
            .decode(envelope["payload"].as_str().unwrap())
            .unwrap(),
    )
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
        let names = [
            (ALICE, "alice"),
            (BOB, "bob"),
            (CAROL, "carol"),
            (DAVE, "dave"),
            (ERIN, "erin"),
        ];
        let mut people: Vec<_> = names
            .iter()
            .filter(|(seed, _)| approved.signers.contains(seed))
            .map(|(_, name)| *name)
            .collect();
        people.sort_unstable();
        let has = |seeds: &[u8]| seeds.iter().any(|seed| approved.signers.contains(seed));
        let in_emergency = approved.predicate.get("emergency").is_some();
        of["decision"]["approvers"] = json!(people);
        of["decision"]["groups"] = match (
            has(&[ALICE, CAROL, ERIN]),
            has(&[BOB, CAROL, DAVE, ERIN]) && !in_emergency,
        ) {
            (true, true) => json!(["ops", "security"]),
            (true, false) => json!(["ops"]),
            (false, _) => json!(["security"]),
        };
        edit(of);
    });
    newest(log)
}

/// Adds an emergency, and returns the digest of its receipt.
pub(super) fn emergency(log: &mut Log, at: i64, by: &[u8]) -> String {
    let begun = begin(log, at, by, true);
    end(log, &begun, "succeeded", |_| {})
}

/// What a test adds to a log, ten seconds after the entry before. A run, a receipt and a review name an earlier run or receipt
/// by its number from 0 on.
#[derive(Clone, Copy)]
enum Op {
    /// An emergency that one person signs.
    Emergency(u8),
    /// A usual run with this end.
    Usual(&'static str),
    /// The consumption of an emergency.
    Begin(u8),
    /// The receipt of a run, with this end.
    End(usize, &'static str),
    /// A review of the run with this receipt.
    Review(usize, u8),
    /// A review that states the observed end.
    Observe(usize, u8, &'static str),
    /// The revocation of a key.
    Revoke(u8),
    Refuse,
    /// A seal over an edited roster or policy.
    Seal(fn(&mut Sealed)),
}
use Op::{Begin, Emergency, End, Observe, Refuse, Review, Revoke, Seal, Usual};

/// Adds entries to a log. Returns the digests of the receipts.
fn add(log: &mut Log, ops: &[Op]) -> Vec<String> {
    let (mut begun, mut receipts) = (Vec::new(), Vec::new());
    for (at, op) in (10..).step_by(10).zip(ops) {
        match *op {
            Emergency(by) => {
                begun.push(begin(log, at, &[by], true));
                receipts.push(end(log, begun.last().unwrap(), "succeeded", |_| {}));
            }
            Usual(status) => {
                begun.push(begin(log, at, &[ALICE, BOB], false));
                receipts.push(end(log, begun.last().unwrap(), status, |_| {}));
            }
            Begin(by) => begun.push(begin(log, at, &[by], true)),
            End(run, status) => receipts.push(end(log, &begun[run], status, |_| {})),
            Review(run, by) => log.review_but(&receipts[run], &[by], |_| {}),
            Observe(run, by, word) => observe(log, &receipts[run], by, word),
            Revoke(by) => log.revoke(("key", key(by).keyid().to_bytes()), OSCAR),
            Refuse => log.refuse(at, |_| {}),
            Seal(edit) => {
                edit(&mut log.sealed);
                log.roster(&[ALICE, BOB, CAROL]);
                log.reseal(at, |_| {});
            }
        }
    }
    receipts
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
    findings: &'static str,
    states: &'static str,
    log: Log,
}

type Text = &'static str;

fn case(id: Text, findings: Text, states: Text, ops: &[Op]) -> Case {
    sealed(id, findings, states, |_| {}, ops)
}

fn sealed(
    id: Text,
    findings: Text,
    states: Text,
    edit: impl FnOnce(&mut Sealed),
    ops: &[Op],
) -> Case {
    let mut log = log_with(edit);
    add(&mut log, ops);
    Case {
        id,
        findings,
        states,
        log,
    }
}

fn built(id: Text, findings: Text, states: Text, build: impl FnOnce(&mut Log)) -> Case {
    let mut log = log_with(|_| {});
    build(&mut log);
    Case {
        id,
        findings,
        states,
        log,
    }
}

fn of_emergency(sealed: &mut Sealed) -> &mut Value {
    &mut sealed.policy["default"]["emergency"]
}

fn bob(sealed: &mut Sealed) -> &mut Value {
    &mut sealed.roster["approvers"]["bob"]
}

/// One review of an emergency that `erin` signed.
fn single_reviews() -> Vec<Case> {
    let by = |id, findings, states, by: &'static [u8], edit: fn(&mut Value)| {
        built(id, findings, states, |log| {
            let run = emergency(log, 10, &[ERIN]);
            log.review_but(&run, by, edit);
        })
    };
    let right = |id, states, seed, edit| by(id, "", states, seed, edit);
    let wrong_by = |id, seeds| by(id, "review@3", "2 open", seeds, |_| {});
    let wrong = |id, edit| by(id, "review@3", "2 open", &[BOB], edit);
    vec![
        right("closed", "2 closed", &[BOB], |_| {}),
        right("closed by a rejection", "2 closed", &[BOB], |of| {
            of["predicate"]["verdict"] = json!("rejected")
        }),
        right("an observed end has no effect", "2 closed", &[BOB], |of| {
            of["predicate"]["observed"] = json!("partly")
        }),
        right("the approver of the run", "2 open", &[ERIN], |_| {}),
        right(
            "a person of no group for reviews",
            "2 open",
            &[ALICE],
            |_| {},
        ),
        wrong_by("an excluded person", &[CAROL]),
        wrong_by("an operator", &[OSCAR]),
        wrong_by("a proposer", &[ROBOT]),
        wrong_by("the boundary", &[BOUNDARY]),
        wrong_by("a stranger", &[MALLORY]),
        wrong_by("two signatures", &[BOB, DAVE]),
        wrong_by("the same signature twice", &[BOB, BOB]),
        wrong_by("no signature", &[]),
        wrong("another epoch", |of| {
            of["predicate"]["boundary"]["epoch"] = json!("ab".repeat(16))
        }),
        wrong("another boundary", |of| {
            of["predicate"]["boundary"]["name"] = json!("other")
        }),
        wrong("another log", |of| {
            of["predicate"]["boundary"]["id"] = json!(reference(b"x"))
        }),
        wrong("an unknown verdict", |of| {
            of["predicate"]["verdict"] = json!("maybe")
        }),
        wrong("an unknown end", |of| {
            of["predicate"]["observed"] = json!("perhaps")
        }),
        wrong("an end that is null", |of| {
            of["predicate"]["observed"] = Value::Null
        }),
        wrong("no reason", |of| {
            drop(of["predicate"].as_object_mut().unwrap().remove("reason"))
        }),
        wrong("a reason that is too long", |of| {
            of["predicate"]["reason"] = json!("x".repeat(8 << 10))
        }),
        wrong("an unknown field", |of| {
            of["predicate"]["more"] = json!(reference(b"x"))
        }),
        wrong("another subject", |of| {
            of["subject"][0]["name"] = json!("authorization")
        }),
        wrong("two subjects", |of| {
            of["subject"] = json!([of["subject"][0], of["subject"][0]])
        }),
        wrong("another receipt", |of| {
            of["subject"][0]["digest"]["sha256"] = json!("0".repeat(64))
        }),
        built(
            "a signature of another payload",
            "review@3",
            "2 open",
            |log| {
                let run = emergency(log, 10, &[ERIN]);
                log.review_but(&run, &[BOB], |of| {
                    of["predicate"]["reason"] = json!("other")
                });
                let mut other: Value = serde_json::from_slice(&log.entries.pop().unwrap()).unwrap();
                log.review_but(&run, &[BOB], |_| {});
                let right: Value = serde_json::from_slice(&log.entries.pop().unwrap()).unwrap();
                other["signatures"] = right["signatures"].clone();
                log.entries.push(to_canonical(&other));
            },
        ),
        built(
            "the consumption as the receipt",
            "review@3",
            "2 open",
            |log| {
                let begun = begin(log, 10, &[ERIN], true);
                let consumption = newest(log);
                end(log, &begun, "succeeded", |_| {});
                log.review_but(&consumption, &[BOB], |_| {});
            },
        ),
        built("a review before the receipt", "review@2", "3 open", |log| {
            let begun = begin(log, 10, &[ERIN], true);
            let run = end(&mut log.clone(), &begun, "succeeded", |_| {});
            log.review_but(&run, &[BOB], |_| {});
            end(log, &begun, "succeeded", |_| {});
        }),
        built(
            "a receipt that excludes nobody",
            "decision@2",
            "2 closed",
            |log| {
                let begun = begin(log, 10, &[ERIN], true);
                let run = end(log, &begun, "succeeded", |of| {
                    of["decision"]["excluded"] = json!(["agent"])
                });
                log.review_but(&run, &[CAROL], |_| {});
            },
        ),
        case(
            "a review of a usual run",
            "review@3",
            "",
            &[Usual("succeeded"), Review(0, BOB)],
        ),
        case(
            "a revoked key",
            "review@4",
            "2 open",
            &[Emergency(ERIN), Revoke(BOB), Review(0, BOB)],
        ),
        case(
            "a key revoked after the review",
            "",
            "2 closed",
            &[Emergency(ERIN), Review(0, BOB), Revoke(BOB)],
        ),
    ]
}

/// Several reviews of one run.
fn many_reviews() -> Vec<Case> {
    let two = |id, states, ops| {
        let edit = |of: &mut Sealed| {
            of_emergency(of)["review"] = json!({"required": 2, "from": ["ops", "security"]})
        };
        sealed(id, "", states, edit, ops)
    };
    // An unknown end, which two people of `security` settle.
    let settle = |id, states, ops: &[Op]| {
        let edit =
            |of: &mut Sealed| of.policy["settle"] = json!({"from": ["security"], "required": 2});
        sealed(id, "", states, edit, &[&[Usual("unknown")], ops].concat())
    };
    let one_settles = |id, states, ops: &[Op]| {
        let edit = |of: &mut Sealed| of.policy["settle"] = json!({"from": ["security"]});
        sealed(id, "", states, edit, &[&[Usual("unknown")], ops].concat())
    };
    // No rule `settle`.
    let any = |id, findings, states, ops: &[Op]| {
        case(id, findings, states, &[&[Usual("unknown")], ops].concat())
    };
    let both = |id, findings, states, ops: &[Op]| {
        case(
            id,
            findings,
            states,
            &[&[Begin(ALICE), End(0, "unknown")], ops].concat(),
        )
    };
    let (bob, dave, erin) = (
        Observe(0, BOB, "failed"),
        Observe(0, DAVE, "partly"),
        Observe(0, ERIN, "partly"),
    );
    let alice = Observe(0, ALICE, "failed");
    vec![
        case(
            "a closed run",
            "review@4",
            "2 closed",
            &[Emergency(ALICE), Review(0, BOB), Review(0, DAVE)],
        ),
        two(
            "one person twice",
            "2 open",
            &[Emergency(ALICE), Review(0, BOB), Review(0, BOB)],
        ),
        two(
            "the approver and one more",
            "2 open",
            &[Emergency(ALICE), Review(0, BOB), Review(0, ALICE)],
        ),
        two(
            "settled, then another word",
            "2 open disputed",
            &[Begin(ALICE), End(0, "unknown"), alice, dave],
        ),
        two(
            "two people",
            "2 closed",
            &[Emergency(ALICE), Review(0, BOB), Review(0, ERIN)],
        ),
        any("no review", "", "2 unsettled", &[]),
        any(
            "a review without an observed end",
            "",
            "2 unsettled",
            &[Review(0, DAVE)],
        ),
        any(
            "an approver settles",
            "",
            "2 settled",
            &[Observe(0, ALICE, "not_started")],
        ),
        any(
            "an excluded person can't settle",
            "review@3",
            "2 unsettled",
            &[Observe(0, CAROL, "failed")],
        ),
        any(
            "settled, then a different observation",
            "",
            "2 disputed",
            &[alice, dave],
        ),
        any(
            "settled, then the same observation",
            "review@4",
            "2 settled",
            &[alice, bob],
        ),
        any(
            "settled, then no observation",
            "review@4",
            "2 settled",
            &[alice, Review(0, DAVE)],
        ),
        any(
            "settled again when all agree",
            "",
            "2 settled",
            &[alice, dave, Observe(0, ALICE, "partly")],
        ),
        any(
            "disputed while two of three agree",
            "",
            "2 disputed",
            &[alice, dave, erin],
        ),
        any(
            "a person corrects the own observation",
            "",
            "2 settled",
            &[alice, Observe(0, ALICE, "partly")],
        ),
        any(
            "the other person has left",
            "",
            "2 settled",
            &[alice, dave, Seal(without_dave), alice],
        ),
        any(
            "the key of the other person is revoked",
            "",
            "2 settled",
            &[alice, dave, Revoke(DAVE), alice],
        ),
        any(
            "a roster alone settles nothing",
            "",
            "2 disputed",
            &[alice, dave, Seal(without_dave)],
        ),
        any(
            "a revocation alone settles nothing",
            "",
            "2 disputed",
            &[alice, dave, Revoke(DAVE)],
        ),
        any(
            "a settlement outlives the key",
            "",
            "2 settled",
            &[alice, Revoke(ALICE)],
        ),
        one_settles("no person of settle", "2 unsettled", &[alice]),
        one_settles(
            "no person of settle can dispute",
            "2 settled",
            &[alice, dave],
        ),
        sealed(
            "a person outside of settle disputes nothing",
            "review@4",
            "2 settled",
            |of| of.policy["settle"] = json!({"from": ["security"]}),
            &[Usual("unknown"), dave, alice],
        ),
        settle("one of two", "2 unsettled", &[bob, bob]),
        settle("disputed", "2 disputed", &[bob, dave]),
        settle("a majority", "2 disputed", &[bob, dave, erin]),
        settle(
            "a person withdraws the word",
            "2 settled",
            &[bob, dave, erin, Review(0, BOB)],
        ),
        settle(
            "a person changes the word",
            "2 settled",
            &[bob, dave, Observe(0, BOB, "partly")],
        ),
        settle(
            "a person withdraws the only word",
            "2 unsettled",
            &[bob, Review(0, BOB), dave],
        ),
        settle(
            "a revoked key says nothing any more",
            "2 unsettled",
            &[dave, Revoke(DAVE), erin],
        ),
        settle(
            "a settled run needs two people again",
            "2 unsettled",
            &[dave, erin, Revoke(DAVE), Observe(0, ERIN, "failed")],
        ),
        both(
            "closed and settled by one review",
            "",
            "2 closed settled",
            &[bob],
        ),
        both("settled, and still open", "", "2 open settled", &[alice]),
        both(
            "closed later, with another word",
            "",
            "2 closed disputed",
            &[alice, dave],
        ),
        both(
            "closed is final, settled is not",
            "",
            "2 closed disputed",
            &[bob, dave],
        ),
        case(
            "closed and unsettled",
            "",
            "2 closed unsettled",
            &[Begin(ALICE), End(0, "unknown"), Review(0, BOB)],
        ),
    ]
}

fn without_dave(sealed: &mut Sealed) {
    let approvers = sealed.roster["approvers"].as_object_mut();
    approvers.unwrap().remove("dave");
}

/// The limit of emergencies without a review.
fn limits() -> Vec<Case> {
    const E: Op = Emergency(ALICE);
    let in_flight = |id, findings, states, ends: &[usize]| {
        let ends = ends.iter().map(|run| End(*run, "succeeded"));
        case(
            id,
            findings,
            states,
            &[Begin(ALICE); 3]
                .into_iter()
                .chain(ends)
                .collect::<Vec<_>>(),
        )
    };
    let most = |most: u64| move |of: &mut Sealed| of_emergency(of)["max_unreviewed"] = json!(most);
    const MOST_1: Op = Seal(|of| of_emergency(of)["max_unreviewed"] = json!(1));
    const MOST_2: Op = Seal(|of| of_emergency(of)["max_unreviewed"] = json!(2));
    let unknown = [Begin(ALICE), End(0, "unknown")];
    vec![
        case("two", "emergency@4", "2 open, 4 open", &[E, E]),
        sealed(
            "the third of two",
            "emergency@6",
            "2 open, 4 open, 6 open",
            most(2),
            &[E, E, E],
        ),
        case(
            "the first is closed",
            "",
            "2 closed, 5 open",
            &[E, Review(0, BOB), E],
        ),
        // The boundary's key does not suffice to close an emergency.
        case(
            "a review by the boundary",
            "review@3, emergency@5",
            "2 open, 5 open",
            &[E, Review(0, BOUNDARY), E],
        ),
        case(
            "a review by an excluded person",
            "review@3, emergency@5",
            "2 open, 5 open",
            &[E, Review(0, CAROL), E],
        ),
        case(
            "a review that does not count",
            "emergency@5",
            "2 open, 5 open",
            &[E, Review(0, ALICE), E],
        ),
        case(
            "closed before the receipt of the second",
            "emergency@5",
            "2 closed, 5 open",
            &[E, Begin(ALICE), Review(0, BOB), End(1, "succeeded")],
        ),
        case(
            "a review after the run is closed",
            "",
            "2 closed settled, 6 open",
            &[
                Begin(ALICE),
                End(0, "unknown"),
                Review(0, BOB),
                Begin(ALICE),
                Observe(0, DAVE, "failed"),
                End(1, "succeeded"),
            ],
        ),
        in_flight("no receipt", "", "", &[]),
        in_flight("the first receipt", "", "4 open", &[0]),
        in_flight("the last receipt", "", "4 open", &[2]),
        in_flight(
            "receipts in order",
            "emergency@5, emergency@6",
            "4 open, 5 open, 6 open",
            &[0, 1, 2],
        ),
        in_flight(
            "receipts in reverse",
            "emergency@5, emergency@6",
            "4 open, 5 open, 6 open",
            &[2, 1, 0],
        ),
        in_flight(
            "the first receipt last",
            "emergency@5, emergency@6",
            "4 open, 5 open, 6 open",
            &[1, 2, 0],
        ),
        built(
            "two items of one consumption",
            "emergency@3",
            "2 open, 3 open",
            |log| {
                let both: Vec<_> = (0..2).map(|_| approve(log, 10, &[ALICE], true)).collect();
                let place = log.consume(10, &both.iter().collect::<Vec<_>>());
                for (item, approved) in (0..).zip(both) {
                    end(
                        log,
                        &(Place { item, ..place }, approved),
                        "succeeded",
                        |_| {},
                    );
                }
            },
        ),
        case(
            "a usual run beside an emergency",
            "",
            "2 open",
            &[E, Usual("succeeded")],
        ),
        case(
            "an unknown end beside an emergency",
            "",
            "2 unsettled, 4 open",
            &[Usual("unknown"), E],
        ),
        case(
            "settled is not closed",
            "emergency@5",
            "2 open settled, 5 open",
            &[unknown[0], unknown[1], Observe(0, ALICE, "failed"), E],
        ),
        case(
            "a run that did not start",
            "emergency@4",
            "2 open, 4 open",
            &[Begin(ALICE), End(0, "not_started"), E],
        ),
        sealed(
            "the later rule permits more",
            "",
            "2 open, 5 open",
            most(1),
            &[E, MOST_2, E],
        ),
        sealed(
            "the later rule permits less",
            "emergency@5",
            "2 open, 5 open",
            most(2),
            &[E, MOST_1, E],
        ),
    ]
}

/// The signatures of an emergency, and receipts that the holder of the boundary's key made up.
fn signatures() -> Vec<Case> {
    let signed = |id, findings, states, by: &[u8], edit: fn(&mut Sealed)| {
        let mut log = log_with(edit);
        emergency(&mut log, 10, by);
        Case {
            id,
            findings,
            states,
            log,
        }
    };
    let two_of_any: fn(&mut Sealed) = |of| {
        of_emergency(of)["from"] = json!(["security"]);
        of.steps[0]["approvals"] = json!({"from": [], "required": 2});
    };
    let no_rule = |of: &mut Sealed| {
        drop(
            of.policy["default"]
                .as_object_mut()
                .unwrap()
                .remove("emergency"),
        )
    };
    const STRANGER: Op = Emergency(MALLORY);
    const SIGNED: &str = "approval-signatures@2";
    vec![
        signed(
            "a person of no group for emergencies",
            SIGNED,
            "2 open",
            &[BOB],
            |_| {},
        ),
        signed("the groups of emergencies", "", "2 open", &[BOB], |of| {
            of_emergency(of)["from"] = json!(["security"])
        }),
        signed(
            "two of the groups of the emergency",
            "",
            "2 open",
            &[BOB, DAVE],
            two_of_any,
        ),
        signed(
            "one, but the step needs two",
            "quorum@2",
            "2 open",
            &[BOB],
            two_of_any,
        ),
        signed(
            "the step wants another group",
            "quorum@2",
            "2 open",
            &[ALICE],
            |of| {
                of.steps[0]["approvals"] = json!({"from": ["security"], "required": 1});
            },
        ),
        signed("a long window", "quorum@2", "2 open", &[ALICE], |of| {
            of_emergency(of)["max_window_s"] = json!(3599)
        }),
        sealed(
            "policy without emergencies",
            "quorum@2",
            "2 closed",
            no_rule,
            &[Emergency(ALICE), Review(0, ERIN)],
        ),
        built(
            "a usual run with the signatures of an emergency",
            "quorum@2",
            "",
            |log| {
                let begun = begin(log, 10, &[ALICE], false);
                end(log, &begun, "succeeded", |_| {});
            },
        ),
        built("an emergency that is false", SIGNED, "", |log| {
            let approved = log.approved_but("nginx:restart", 10, &[ALICE], |of| {
                of["emergency"] = json!(false)
            });
            let place = log.consume(10, &[&approved]);
            log.receipt(place, &approved);
        }),
        case(
            "the signature of a stranger",
            SIGNED,
            "2 closed",
            &[STRANGER, Review(0, BOB)],
        ),
        case(
            "the limit after such a run",
            "approval-signatures@2, emergency@4",
            "2 open, 4 open",
            &[STRANGER, Emergency(ALICE)],
        ),
        case(
            "a second receipt",
            "second-receipt@3, review@5",
            "2 closed",
            &[
                Emergency(ALICE),
                End(0, "unknown"),
                Review(0, BOB),
                Review(1, BOB),
            ],
        ),
    ]
}

/// Reviews after a change of the roster, of the policy or of the epoch, and the time of a review.
fn changes() -> Vec<Case> {
    const WRONG: &str = "review@4";
    let then = |id, findings, states, by: u8, edit: fn(&mut Sealed)| {
        case(
            id,
            findings,
            states,
            &[Emergency(ALICE), Seal(edit), Review(0, by)],
        )
    };
    let until = |id, findings, states, end: i64, op: Op| {
        let edit = |of: &mut Sealed| bob(of)["valid_before"] = json!(t(end));
        sealed(
            id,
            findings,
            states,
            edit,
            &[Emergency(ALICE), op, Review(0, BOB)],
        )
    };
    let epoch = |id, findings, states, old: bool| {
        built(id, findings, states, |log| {
            let run = emergency(log, 10, &[ALICE]);
            let before = log.boundary();
            log.reseal(50, |seal| seal["epoch"] = json!("e1".repeat(16)));
            let named = if old { before } else { log.boundary() };
            log.review_but(&run, &[BOB], |of| of["predicate"]["boundary"] = named);
        })
    };
    vec![
        then("the key is valid still", "", "2 closed", BOB, |of| {
            bob(of)["valid_before"] = json!(t(21))
        }),
        then("the key is valid no longer", WRONG, "2 open", BOB, |of| {
            bob(of)["valid_before"] = json!(t(20))
        }),
        then("the key is not valid yet", WRONG, "2 open", BOB, |of| {
            bob(of)["valid_after"] = json!(t(21))
        }),
        then("presence", WRONG, "2 open", BOB, |of| {
            of.roster["groups"]["security"]["presence"] = json!("required")
        }),
        then("the reviewer is gone", WRONG, "2 open", BOB, |of| {
            of.roster["approvers"]
                .as_object_mut()
                .unwrap()
                .remove("bob");
        }),
        then("the reviewer has another group", "", "2 open", BOB, |of| {
            bob(of)["groups"] = json!(["ops"])
        }),
        then("the reviewer is new", "", "2 closed", 22, |of| {
            let line = key(22).line().to_owned();
            of.roster["approvers"]["frank"] = json!({"groups": ["security"], "keys": [line]});
        }),
        then("other rules now", "", "2 closed", BOB, |of| {
            of.policy["default"]["approvals"] = json!({"from": ["ops"]});
            of_emergency(of)["review"] = json!({"from": ["ops"]});
        }),
        until(
            "a refusal before the end of the key",
            "",
            "2 closed",
            21,
            Refuse,
        ),
        until(
            "a refusal at the end of the key",
            WRONG,
            "2 open",
            20,
            Refuse,
        ),
        until(
            "a consumption at the end of the key",
            WRONG,
            "2 open",
            20,
            Begin(ALICE),
        ),
        built(
            "a receipt states no time for reviews",
            "",
            "3 closed",
            |log| {
                add(log, &[Seal(|of| bob(of)["valid_before"] = json!(t(100)))]);
                let begun = begin(log, 20, &[ALICE], true);
                let run = end(log, &begun, "succeeded", |of| {
                    of["finished_at"] = json!(t(200))
                });
                log.review_but(&run, &[BOB], |_| {});
            },
        ),
        epoch("the epoch in force", WRONG, "2 open", false),
        epoch("the epoch of the run", "", "2 closed", true),
    ]
}

/// Grants that pause.
fn grants() -> Vec<Case> {
    let paused = |id, findings, states, required: u64, said: &[(u8, &str)]| {
        let settle = json!({"from": ["ops", "security"], "required": required});
        let mut log = log_with(|of| of.policy["settle"] = settle);
        let granted = grant(&mut log, &[ALICE, BOB], |_| {});
        run(
            &mut log,
            &granted,
            &Use {
                receipt: UNKNOWN,
                ..PLAIN
            },
        );
        let receipt = newest(&log);
        said.iter()
            .for_each(|(by, word)| observe(&mut log, &receipt, *by, word));
        run(
            &mut log,
            &granted,
            &Use {
                number: 2,
                at: 20,
                ..PLAIN
            },
        );
        Case {
            id,
            findings,
            states,
            log,
        }
    };
    // The first use and its unknown end, then another use.
    let first = |id, findings, states, first: Use| {
        built(id, findings, states, |log| {
            let granted = grant(log, &[ALICE, BOB], |_| {});
            run(log, &granted, &first);
            let receipt = newest(log);
            observe(log, &receipt, BOB, "failed");
            run(
                log,
                &granted,
                &Use {
                    number: 2,
                    at: 20,
                    ..PLAIN
                },
            );
        })
    };
    let two = |id, findings, states, settled: &[usize]| {
        built(id, findings, states, |log| {
            let granted = grant(log, &[ALICE, BOB], |_| {});
            let uses = [1, 2].map(|number| Use {
                number,
                receipt: UNKNOWN,
                ..PLAIN
            });
            let begun = uses.each_ref().map(|one| grants::begin(log, &granted, one));
            let receipts = [0, 1].map(|one: usize| {
                grants::end(log, &begun[one], &uses[one]);
                newest(log)
            });
            settled
                .iter()
                .for_each(|one| observe(log, &receipts[*one], BOB, "failed"));
            run(
                log,
                &granted,
                &Use {
                    number: 3,
                    at: 20,
                    ..PLAIN
                },
            );
        })
    };
    let stranger = Use {
        signer: MALLORY,
        receipt: UNKNOWN,
        ..PLAIN
    };
    let other = Use {
        authorization: |of| of["grant"] = json!(reference(b"x")),
        receipt: UNKNOWN,
        ..PLAIN
    };
    vec![
        // The log has no settlement, whatever the boundary knows.
        paused(
            "a use while the grant pauses",
            "grant-use@4",
            "3 unsettled",
            1,
            &[],
        ),
        paused(
            "a use after the settlement",
            "",
            "3 settled",
            1,
            &[(BOB, "failed")],
        ),
        paused(
            "an excluded person",
            "review@4, grant-use@5",
            "3 unsettled",
            1,
            &[(CAROL, "failed")],
        ),
        paused(
            "a dispute",
            "grant-use@6",
            "3 disputed",
            2,
            &[(ALICE, "failed"), (BOB, "partly")],
        ),
        paused(
            "a use after a dispute",
            "grant-use@6",
            "3 disputed",
            1,
            &[(ALICE, "failed"), (BOB, "partly")],
        ),
        paused(
            "a use after an agreement",
            "",
            "3 settled",
            1,
            &[(ALICE, "failed"), (BOB, "partly"), (ALICE, "partly")],
        ),
        built(
            "a use between settlement and dispute stays valid",
            "grant-use@8",
            "3 settled",
            |log| {
                let granted = grant(log, &[ALICE, BOB], |of| of["max_uses"] = json!(9));
                run(
                    log,
                    &granted,
                    &Use {
                        receipt: UNKNOWN,
                        ..PLAIN
                    },
                );
                let receipt = newest(log);
                observe(log, &receipt, BOB, "failed");
                run(
                    log,
                    &granted,
                    &Use {
                        number: 2,
                        at: 20,
                        ..PLAIN
                    },
                );
                observe(log, &receipt, ALICE, "partly");
                run(
                    log,
                    &granted,
                    &Use {
                        number: 3,
                        at: 30,
                        ..PLAIN
                    },
                );
                observe(log, &receipt, ALICE, "failed");
                run(
                    log,
                    &granted,
                    &Use {
                        number: 4,
                        at: 40,
                        ..PLAIN
                    },
                );
            },
        ),
        two(
            "one of two is settled",
            "grant-use@7",
            "4 unsettled, 5 settled",
            &[1],
        ),
        two(
            "two of two are settled",
            "",
            "4 settled, 5 settled",
            &[0, 1],
        ),
        first(
            "the signature of a stranger",
            "approval-signatures@3",
            "3 settled",
            stranger,
        ),
        first(
            "the authorization names another grant",
            "consumption@3, grant@3",
            "3 settled",
            other,
        ),
        built(
            "another run with an unknown end",
            "",
            "3 unsettled",
            |log| {
                let granted = grant(log, &[ALICE, BOB], |_| {});
                add(log, &[Usual("unknown")]);
                run(log, &granted, &PLAIN);
            },
        ),
        built(
            "an emergency under a grant",
            "approval-signatures@3",
            "",
            |log| {
                let granted = grant(log, &[ALICE, BOB], |_| {});
                run(
                    log,
                    &granted,
                    &Use {
                        authorization: |of| of["emergency"] = json!(true),
                        ..PLAIN
                    },
                );
            },
        ),
        built(
            "a second receipt with an unknown end",
            "second-receipt@4, review@7",
            "",
            |log| {
                let granted = grant(log, &[ALICE, BOB], |_| {});
                let begun = grants::begin(log, &granted, &PLAIN);
                grants::end(log, &begun, &PLAIN);
                grants::end(
                    log,
                    &begun,
                    &Use {
                        receipt: UNKNOWN,
                        ..PLAIN
                    },
                );
                let second = newest(log);
                run(
                    log,
                    &granted,
                    &Use {
                        number: 2,
                        at: 20,
                        ..PLAIN
                    },
                );
                observe(log, &second, BOB, "failed");
            },
        ),
    ]
}

const UNKNOWN: Edit = |receipt| outcome(receipt, "unknown");

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

fn cases() -> Vec<Case> {
    [
        single_reviews(),
        many_reviews(),
        limits(),
        signatures(),
        changes(),
        grants(),
    ]
    .concat()
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
        if (findings.as_str(), second.states.as_str()) != (case.findings, case.states) {
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
    let words = ["failed", "partly"];
    let [failed, partly] = words.map(|word| Observe(0, ALICE, word));
    let said = |ops: &[Op]| {
        let mut log = log_with(|_| {});
        add(
            &mut log,
            &[&[Begin(ALICE), End(0, "unknown")], ops].concat(),
        );
        let kept = serde_json::to_value(&kept_of(&log).runs.reviewed).unwrap();
        kept.as_object().unwrap().values().next().unwrap()["unknown"].clone()
    };
    assert_eq!(
        said(&[failed]),
        json!({"settled": [3, "failed"], "disputed": false})
    );
    assert_eq!(
        said(&[failed, Observe(0, DAVE, "partly")]),
        json!({"disputed": true})
    );
    let agreed = said(&[failed, Observe(0, DAVE, "partly"), partly]);
    assert_eq!(agreed, json!({"settled": [5, "partly"], "disputed": false}));
    assert_eq!(
        said(&[failed, partly]),
        json!({"settled": [4, "partly"], "disputed": false})
    );
}
