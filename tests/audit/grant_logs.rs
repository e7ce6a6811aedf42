//! Logs with grants. Both auditors judge each log, and find defects at the same entries.

use std::collections::BTreeSet;

use super::history_entries::{Case, as_expected, found, kept_of, resumed};
use super::log_mutation::{Told, alike};
use crate::fuzz_corpus::Random;
use crate::history::grants::{
    Edit, Granted, OSCAR, OTHER, PLAIN, ROBOT, ROBOT_2, Use, authorize, grant, permit_grants, run,
};
use crate::history::{ALICE, Approved, BOB, CAROL, Log, MALLORY, Place, key, reference, t};
use documents::{sha256, to_canonical};
use serde_json::{Value, json};
use verdict::AuditEvent;

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

/// A log in which a roster, policy or step changes after the grant and before its use.
fn resealed(
    change: fn(&mut Log),
    people: &'static [&'static str],
    groups: &'static [&'static str],
) -> Log {
    let mut log = log();
    let granted = grant(&mut log, &[ALICE, BOB], |_| {});
    change(&mut log);
    log.roster(&[ALICE, BOB, CAROL]);
    log.reseal(5, |_| {});
    let approved = authorize(&mut log, &granted, &PLAIN);
    let place = log.consume_but(10, &[&approved], |of| {
        (of["spent"][0]["grant"], of["spent"][0]["use"]) = (json!(granted.digest), json!(1));
    });
    log.receipt_but(place, &approved, |of| {
        of["decision"]["approvers"] = json!(people);
        of["decision"]["groups"] = json!(groups);
        of["decision"]["excluded"] = json!(["agent", "carol", "rita", "robot"]);
    });
    log
}

pub(super) fn digest_of(granted: &Granted) -> [u8; 32] {
    documents::unhex32(&granted.digest[7..]).expect("a digest")
}

/// The entries of grants.
fn entries() -> Vec<Case> {
    const NO: &[&str] = &["grant"];
    let lone = |signers: &[u8], edit: Edit| {
        let mut log = log();
        grant(&mut log, signers, edit);
        log
    };
    let swapped = |swap: fn(&mut Vec<Value>)| {
        let mut log = log();
        grant(&mut log, &[ALICE, BOB], |_| {});
        let mut envelope: Value = serde_json::from_slice(log.entries.last().unwrap()).unwrap();
        swap(envelope["signatures"].as_array_mut().unwrap());
        *log.entries.last_mut().unwrap() = to_canonical(&envelope);
        log
    };
    vec![
        ("a grant that is not used", &[], lone(&[ALICE, BOB], |_| {})),
        (
            "a grant that one person signed",
            &[],
            lone(&[ALICE], |_| {}),
        ),
        ("a grant that nobody signed", NO, lone(&[], |_| {})),
        (
            "a grant that a stranger signed too",
            NO,
            lone(&[ALICE, BOB, MALLORY], |_| {}),
        ),
        (
            "a grant that an operator signed too",
            NO,
            lone(&[ALICE, BOB, OSCAR], |_| {}),
        ),
        ("signatures out of order", NO, swapped(|all| all.reverse())),
        (
            "a signature twice",
            NO,
            swapped(|all| all.push(all[1].clone())),
        ),
        (
            "a signature of another payload",
            NO,
            swapped(|all| {
                let other = all[1]["sig"].clone();
                all[0]["sig"] = other;
            }),
        ),
        (
            "another epoch",
            NO,
            lone(&[ALICE, BOB], |of| {
                of["boundary"]["epoch"] = json!("ab".repeat(16))
            }),
        ),
        (
            "another boundary",
            NO,
            lone(&[ALICE, BOB], |of| of["boundary"]["name"] = json!("other")),
        ),
        (
            "a grantee without that key",
            NO,
            lone(&[ALICE, BOB], |of| {
                of["grantee"]["key"] = json!(key(OTHER).keyid())
            }),
        ),
        (
            "a token as the grantee",
            NO,
            lone(&[ALICE, BOB], |of| of["grantee"]["name"] = json!("agent")),
        ),
        (
            "a default in a schema",
            NO,
            lone(&[ALICE, BOB], |of| {
                of["steps"][0]["params"]["properties"]["force"] =
                    json!({"type": "boolean", "default": false});
            }),
        ),
        (
            "a secret in a schema",
            NO,
            lone(&[ALICE, BOB], |of| {
                of["steps"][0]["params"]["properties"]["host"] =
                    json!({"type": "string", "x-secret": true});
            }),
        ),
        (
            "an unknown keyword",
            NO,
            lone(&[ALICE, BOB], |of| {
                of["steps"][0]["params"]["properties"]["host"] =
                    json!({"type": "string", "format": "hostname"});
            }),
        ),
        (
            "a pattern that is not anchored",
            NO,
            lone(&[ALICE, BOB], |of| {
                of["steps"][0]["params"]["properties"]["host"] =
                    json!({"type": "string", "pattern": "^web"});
            }),
        ),
        (
            "the same grant twice",
            NO,
            after(|log, _| log.entries.push(log.entries[1].clone())),
        ),
        (
            "two grants with one id",
            NO,
            after(|log, granted| {
                let id = granted.predicate["grant"].clone();
                grant(log, &[ALICE, BOB], |of| of["grant"] = id);
            }),
        ),
    ]
}

/// Single uses.
pub(super) fn uses() -> Vec<Case> {
    const NO: &[&str] = &["grant"];
    let params = |edit: Edit| {
        once(Use {
            authorization: edit,
            ..PLAIN
        })
    };
    let dashed =
        log_with(|_, step| step["params"]["properties"]["host"] = json!({"type": "string"}));
    let any = |mut log: Log| {
        let granted = grant(&mut log, &[ALICE, BOB], |of| {
            of["steps"][0]["params"]["properties"]["host"] = json!({"type": "string"});
        });
        run(
            &mut log,
            &granted,
            &Use {
                authorization: |of| of["params"]["host"] = json!("any value: ;"),
                ..PLAIN
            },
        );
        log
    };
    vec![
        ("a use", &[], once(PLAIN)),
        ("a use with any value", &[], any(dashed)),
        (
            "the last second",
            &[],
            once(Use {
                at: 86_399,
                authorization: |of| of["expires_at"] = json!(t(86_400)),
                ..PLAIN
            }),
        ),
        (
            "a use at the end of the grant",
            &["grant", "window"],
            once(Use {
                at: 86_400,
                authorization: |of| of["expires_at"] = json!(t(86_400)),
                ..PLAIN
            }),
        ),
        (
            "an authorization that ends later",
            NO,
            once(Use {
                at: 86_399,
                ..PLAIN
            }),
        ),
        (
            "a use before the grant begins",
            NO,
            used(|of| of["not_before"] = json!(t(11)), PLAIN),
        ),
        (
            "another value",
            NO,
            params(|of| of["params"]["host"] = json!("web-4")),
        ),
        (
            "a value that the step does not permit",
            &["grant", "parameters"],
            params(|of| of["params"]["host"] = json!("WEB")),
        ),
        (
            "a text instead of a boolean",
            &["grant", "parameters"],
            params(|of| of["params"]["force"] = json!("false")),
        ),
        (
            "a default that the grant excludes",
            NO,
            params(|of| of["params"]["force"] = json!(true)),
        ),
        (
            "a missing parameter",
            &["grant", "parameters"],
            params(|of| of["params"] = json!({"host": "web-1"})),
        ),
        (
            "a look-alike",
            &["grant", "parameters"],
            params(|of| of["params"]["host"] = json!("w\u{0435}b-1")),
        ),
        (
            "a longer value",
            &["grant", "parameters"],
            params(|of| of["params"]["host"] = json!("web-1\n")),
        ),
        (
            "another key of the grantee",
            NO,
            once(Use {
                signer: ROBOT_2,
                ..PLAIN
            }),
        ),
        (
            "the key of another proposer",
            &["approval-signatures"],
            once(Use {
                signer: OTHER,
                ..PLAIN
            }),
        ),
        (
            "the key of an approver",
            &["approval-signatures"],
            once(Use {
                signer: ALICE,
                ..PLAIN
            }),
        ),
        (
            "another proposer",
            NO,
            once(Use {
                signer: OTHER,
                authorization: |of| of["proposer"] = json!("other"),
                receipt: |of| of["decision"]["excluded"] = json!(["agent", "carol", "other"]),
                ..PLAIN
            }),
        ),
        (
            "another grant in the authorization",
            &["consumption", "grant"],
            once(Use {
                authorization: |of| of["grant"] = json!(reference(b"x")),
                ..PLAIN
            }),
        ),
        (
            "no grant in the consumption",
            &["consumption"],
            once(Use {
                item: |item| {
                    item.as_object_mut().unwrap().remove("grant");
                    item.as_object_mut().unwrap().remove("use");
                },
                ..PLAIN
            }),
        ),
        (
            "a permission that nobody granted",
            NO,
            params(|of| {
                of["permissions"] = json!([{"type": "run", "what": "rm", "why": "unlisted"}]);
            }),
        ),
        (
            "another sandbox",
            &["grant", "sandbox"],
            params(|of| of["sandbox"]["limits"]["wall_ms"] = json!(1)),
        ),
        (
            "a receipt with other approvers",
            &["decision"],
            once(Use {
                receipt: |of| of["decision"]["approvers"] = json!(["alice"]),
                ..PLAIN
            }),
        ),
        (
            "a receipt that leaves out the proposer of the grant",
            &["decision"],
            once(Use {
                receipt: |of| of["decision"]["excluded"] = json!(["rita", "robot"]),
                ..PLAIN
            }),
        ),
        ("a use that an approver hands in", &["excluded"], {
            let mut log = Log::with(|sealed| {
                sealed.policy["default"]["standing"] = json!({"max_uses": 10, "max_days": 7});
                let line = |seed: u8| key(seed).line().to_owned();
                sealed.roster["proposers"] = json!({
                    "courier": {"owners": ["alice"], "keys": [line(OTHER)]},
                    "robot": {"owners": ["rita"], "keys": [line(ROBOT)]},
                });
                sealed.steps[0]["params"]["properties"]["force"] =
                    json!({"type": "boolean", "default": false});
            });
            let granted = grant(&mut log, &[ALICE, BOB], |_| {});
            run(
                &mut log,
                &granted,
                &Use {
                    receipt: |of| {
                        of["decision"]["handed_in_by"] = json!("courier");
                        of["decision"]["excluded"] =
                            json!(["agent", "alice", "carol", "courier", "rita", "robot"]);
                    },
                    ..PLAIN
                },
            );
            log
        }),
        ("the grant comes after the consumption", NO, {
            let mut log = log();
            let mut other = log.clone();
            let granted = grant(&mut other, &[ALICE, BOB], |_| {});
            run(&mut log, &granted, &PLAIN);
            log.entries.push(other.entries[1].clone());
            log
        }),
        ("the grant comes between consumption and receipt", NO, {
            let mut log = log();
            let mut other = log.clone();
            let granted = grant(&mut other, &[ALICE, BOB], |_| {});
            let approved = authorize(&mut log, &granted, &PLAIN);
            let place = log.consume_but(10, &[&approved], |of| {
                (of["spent"][0]["grant"], of["spent"][0]["use"]) =
                    (json!(granted.digest), json!(1));
            });
            log.entries.push(other.entries[1].clone());
            log.receipt_but(place, &approved, |of| {
                of["decision"]["approvers"] = json!(["alice", "bob"]);
                of["decision"]["groups"] = json!(["ops", "security"]);
                of["decision"]["excluded"] = json!(["agent", "carol", "rita", "robot"]);
            });
            log
        }),
    ]
}

/// The people who signed a grant, and policies of grants.
pub(super) fn people() -> Vec<Case> {
    let signed = |signers: &[u8]| {
        let mut log = log_with(|policy, _| {
            policy["default"]["approvals"] = json!({"required": 2, "from": ["ops", "security"]})
        });
        let granted = grant(&mut log, signers, |_| {});
        run(&mut log, &granted, &PLAIN);
        log
    };
    let policy = |edit: fn(&mut Value, &mut Value)| {
        let mut log = log_with(edit);
        let granted = grant(&mut log, &[ALICE, BOB], |_| {});
        run(&mut log, &granted, &PLAIN);
        log
    };
    const BOTH: &[&str] = &["alice", "bob"];
    const ALL: &[&str] = &["ops", "security"];
    vec![
        (
            "two signatures where two are required",
            &[],
            signed(&[ALICE, BOB]),
        ),
        (
            "one signature where two are required",
            &["quorum"],
            signed(&[ALICE]),
        ),
        (
            "an owner of the proposer signed too",
            &["excluded"],
            signed(&[ALICE, BOB, CAROL]),
        ),
        (
            "policy without standing",
            &["grant"],
            policy(|policy, _| {
                drop(
                    policy["default"]
                        .as_object_mut()
                        .unwrap()
                        .remove("standing"),
                )
            }),
        ),
        (
            "policy with fewer uses",
            &["grant"],
            policy(|policy, _| policy["default"]["standing"]["max_uses"] = json!(2)),
        ),
        (
            "policy with exactly the time",
            &[],
            policy(|policy, _| policy["default"]["standing"]["max_days"] = json!(1)),
        ),
        (
            "a step with a plan",
            &["grant", "step"],
            policy(|_, step| step["plan"] = json!({"step": "two:go", "max_age_s": 60})),
        ),
        (
            "a grant without a parameter of the step",
            &["grant", "parameters"],
            policy(|_, step| {
                step["params"]["properties"]["more"] = json!({"type": "string", "default": "x"});
            }),
        ),
        (
            "the policy is stricter now",
            &["grant"],
            resealed(
                |log| log.sealed.policy["default"]["standing"]["max_uses"] = json!(1),
                BOTH,
                ALL,
            ),
        ),
        (
            "the policy is wider now",
            &[],
            resealed(
                |log| log.sealed.policy["default"]["standing"]["max_uses"] = json!(100),
                BOTH,
                ALL,
            ),
        ),
        (
            "the step has changed",
            &["grant"],
            resealed(
                |log| log.sealed.steps[0]["title"] = json!("Another"),
                BOTH,
                ALL,
            ),
        ),
        (
            "an approver is gone, and one suffices",
            &[],
            resealed(
                |log| {
                    drop(
                        log.sealed.roster["approvers"]
                            .as_object_mut()
                            .unwrap()
                            .remove("bob"),
                    )
                },
                &["alice"],
                &["ops"],
            ),
        ),
        (
            "an approver is gone, and two are needed",
            &["quorum"],
            resealed(
                |log| {
                    log.sealed.policy["default"]["approvals"]["required"] = json!(2);
                    log.sealed.roster["approvers"]
                        .as_object_mut()
                        .unwrap()
                        .remove("bob");
                },
                &["alice"],
                &["ops"],
            ),
        ),
        (
            "an approver owns the grantee now",
            &["excluded"],
            resealed(
                |log| log.sealed.roster["proposers"]["robot"]["owners"] = json!(["alice", "rita"]),
                BOTH,
                ALL,
            ),
        ),
        (
            "the grantee is gone",
            &["approval-signatures"],
            resealed(
                |log| {
                    drop(
                        log.sealed.roster["proposers"]
                            .as_object_mut()
                            .unwrap()
                            .remove("robot"),
                    )
                },
                BOTH,
                ALL,
            ),
        ),
        ("a seal with a new epoch", &["boundary", "grant"], {
            let mut log = log();
            let granted = grant(&mut log, &[ALICE, BOB], |_| {});
            log.reseal(5, |seal| seal["epoch"] = json!("e1".repeat(16)));
            run(
                &mut log,
                &granted,
                &Use {
                    authorization: |of| of["boundary"]["epoch"] = json!("e0".repeat(16)),
                    ..PLAIN
                },
            );
            log
        }),
    ]
}

/// Several uses, and revocations.
pub(super) fn series() -> Vec<Case> {
    const NO: &[&str] = &["grant-use"];
    let numbers = |numbers: &'static [u64]| {
        after(|log, granted| {
            for (at, number) in (0..).zip(numbers) {
                run(
                    log,
                    granted,
                    &Use {
                        number: *number,
                        at: 10 + at,
                        ..PLAIN
                    },
                );
            }
        })
    };
    let rate = |times: &'static [i64]| {
        let mut log = log();
        let granted = grant(&mut log, &[ALICE, BOB], |of| {
            of["rate"] = json!({"uses": 2, "seconds": 60})
        });
        for (number, at) in (1..).zip(times) {
            run(
                &mut log,
                &granted,
                &Use {
                    number,
                    at: *at,
                    ..PLAIN
                },
            );
        }
        log
    };
    let sessions = |kind: &'static str, ids: &'static [u8]| {
        let mut log = log_with(|policy, step| {
            policy["default"]["standing"]["session"] = json!("fresh");
            step["session"] = json!("read");
        });
        let granted = grant(&mut log, &[ALICE, BOB], |of| of["session"] = json!(kind));
        for (number, id) in (1..).zip(ids) {
            let at = 10 + i64::try_from(number).unwrap();
            let authorization: Edit = match id {
                1 => {
                    |of| of["session"] = json!({"id": "ses_01a00000-0000-7000-8000-000000000001", "state": reference(b"1")})
                }
                _ => {
                    |of| of["session"] = json!({"id": "ses_01a00000-0000-7000-8000-000000000002", "state": reference(b"1")})
                }
            };
            let receipt: Edit =
                |of| of["session"] = json!({"before": reference(b"1"), "after": reference(b"1")});
            run(
                &mut log,
                &granted,
                &Use {
                    number,
                    at,
                    authorization,
                    receipt,
                    ..PLAIN
                },
            );
        }
        log
    };
    let revoked = |by: u8, use_after: bool| {
        after(|log, granted| {
            run(log, granted, &PLAIN);
            log.revoke(("grant", digest_of(granted)), by);
            if use_after {
                run(
                    log,
                    granted,
                    &Use {
                        number: 2,
                        at: 11,
                        ..PLAIN
                    },
                );
            }
        })
    };
    let key_revoked = |seed: u8| {
        after(|log, granted| {
            log.revoke(("key", key(seed).keyid().to_bytes()), OSCAR);
            run(log, granted, &PLAIN);
        })
    };
    vec![
        ("three uses", &[], numbers(&[1, 2, 3])),
        ("a use too many", NO, numbers(&[1, 2, 3, 4])),
        ("a gap", NO, numbers(&[1, 3])),
        ("a number twice", NO, numbers(&[1, 1])),
        ("the second number first", NO, numbers(&[2, 1])),
        (
            "two uses in one consumption",
            &[],
            after(|log, granted| {
                let both: Vec<Approved> = (0..2).map(|_| authorize(log, granted, &PLAIN)).collect();
                let place = log.consume_but(10, &both.iter().collect::<Vec<_>>(), |of| {
                    for (number, item) in (1..).zip(of["spent"].as_array_mut().unwrap()) {
                        (item["grant"], item["use"]) = (json!(granted.digest), json!(number));
                    }
                });
                for (item, approved) in (0..).zip(&both) {
                    log.receipt_but(Place { item, ..place }, approved, |of| {
                        of["decision"]["approvers"] = json!(["alice", "bob"]);
                        of["decision"]["groups"] = json!(["ops", "security"]);
                        of["decision"]["excluded"] = json!(["agent", "carol", "rita", "robot"]);
                    });
                }
            }),
        ),
        ("uses at the rate", &[], rate(&[10, 11, 70])),
        ("uses faster than the rate", NO, rate(&[10, 11, 69])),
        (
            "a use while the grant pauses",
            NO,
            after(|log, granted| {
                let unknown: Edit = |of| {
                    of["outcome"] = json!({"status": "unknown"});
                    of["finished_at"] = of["started_at"].clone();
                };
                run(
                    log,
                    granted,
                    &Use {
                        receipt: unknown,
                        ..PLAIN
                    },
                );
                run(
                    log,
                    granted,
                    &Use {
                        number: 2,
                        at: 11,
                        ..PLAIN
                    },
                );
            }),
        ),
        ("new sessions", &[], sessions("fresh", &[1, 2])),
        (
            "a session for the second time",
            NO,
            sessions("fresh", &[1, 1]),
        ),
        (
            "a session without permission",
            &["grant"],
            sessions("none", &[1]),
        ),
        ("an operator ends the grant", &[], revoked(OSCAR, false)),
        (
            "an approver of the step ends the grant",
            &[],
            revoked(ALICE, false),
        ),
        (
            "an approver who is excluded ends the grant",
            &[],
            revoked(CAROL, false),
        ),
        ("the grantee ends the grant", &[], revoked(ROBOT, false)),
        (
            "the grantee ends the grant with another key",
            &[],
            revoked(ROBOT_2, false),
        ),
        (
            "another proposer ends the grant",
            &["revocation"],
            revoked(OTHER, false),
        ),
        (
            "the boundary ends the grant",
            &["revocation"],
            revoked(crate::history::BOUNDARY, false),
        ),
        (
            "a use after the end of the grant",
            &["revoked"],
            revoked(OSCAR, true),
        ),
        (
            "a use after a revocation without effect",
            &["revocation"],
            revoked(OTHER, true),
        ),
        (
            "the grant is revoked twice",
            &["revocation"],
            after(|log, granted| {
                log.revoke(("grant", digest_of(granted)), OSCAR);
                log.revoke(("grant", digest_of(granted)), ALICE);
            }),
        ),
        (
            "a revocation of a grant that the log does not have",
            &["revocation"],
            after(|log, _| log.revoke(("grant", sha256(b"x")), OSCAR)),
        ),
        (
            "the key of the grantee is revoked",
            &["revoked"],
            key_revoked(ROBOT),
        ),
        (
            "another key of the grantee is revoked",
            &[],
            key_revoked(ROBOT_2),
        ),
        (
            "the key of an approver is revoked, and one suffices",
            &["decision"],
            key_revoked(BOB),
        ),
        (
            "the token of the proposer is revoked",
            &[],
            after(|log, granted| {
                log.revoke(("token", sha256(b"agent")), OSCAR);
                run(log, granted, &PLAIN);
            }),
        ),
        (
            "a use during a freeze",
            &["revoked"],
            after(|log, granted| {
                let epoch = sha256(log.epoch.as_bytes());
                log.revoke(("epoch", epoch), ALICE);
                run(log, granted, &PLAIN);
            }),
        ),
        ("a grant of another group", &["revocation"], {
            let mut log = Log::with(|sealed| {
                sealed.policy["default"]["approvals"] = json!({"required": 1, "from": ["ops"]});
                sealed.policy["default"]["standing"] = json!({"max_uses": 10, "max_days": 7});
                sealed.roster["proposers"] =
                    json!({"robot": {"owners": [], "keys": [key(ROBOT).line()]}});
                sealed.steps[0]["params"]["properties"]["force"] =
                    json!({"type": "boolean", "default": false});
            });
            let granted = grant(&mut log, &[ALICE], |_| {});
            log.revoke(("grant", digest_of(&granted)), BOB);
            log
        }),
    ]
}

/// Grants of two steps.
pub(super) fn steps() -> Vec<Case> {
    let two = |edit: Edit, change: fn(&mut Log)| {
        let mut log = log();
        let other = log.sealed.steps[2].clone();
        let second = json!({
            "ref": "db:migrate", "digest": reference(&to_canonical(&other)), "permissions": [],
            "params": {"type": "object", "properties": {"host": {"type": "string"}}},
            "sandbox": log.sandbox["db:migrate"],
        });
        let granted = grant(&mut log, &[ALICE, BOB], |of| {
            of["steps"].as_array_mut().unwrap().insert(0, second);
            edit(of);
        });
        change(&mut log);
        run(&mut log, &granted, &PLAIN);
        log
    };
    vec![
        ("a grant of two steps", &[], two(|_| {}, |_| {})),
        (
            "another step of the grant has another definition",
            &["grant"],
            two(
                |of| of["steps"][0]["digest"] = json!(reference(b"x")),
                |_| {},
            ),
        ),
        (
            "another step of the grant is not sealed",
            &["grant"],
            two(|of| of["steps"][0]["ref"] = json!("db:other"), |_| {}),
        ),
        (
            "another step of the grant has another sandbox",
            &["grant"],
            two(
                |of| of["steps"][0]["sandbox"]["limits"]["wall_ms"] = json!(1),
                |_| {},
            ),
        ),
        (
            "another step of the grant has an unnamed parameter",
            &["grant"],
            two(
                |of| of["steps"][0]["params"]["properties"] = json!({}),
                |_| {},
            ),
        ),
    ]
}

/// Seals whose policy names groups for emergencies and unknown ends.
fn policies() -> Vec<Case> {
    let with = |key: &'static str, value: Value| {
        Log::with(|sealed| {
            if key == "settle" {
                sealed.policy[key] = value;
            } else {
                sealed.policy["default"][key] = value;
            }
        })
    };
    let emergency = |from: &str, review: &str| json!({"from": [from], "max_unreviewed": 1, "max_window_s": 60, "review": {"from": [review]}});
    const NO: &[&str] = &["sealed-state"];
    vec![
        (
            "an emergency with groups of the rules",
            &[],
            with("emergency", emergency("ops", "security")),
        ),
        (
            "an emergency with an unknown group",
            NO,
            with("emergency", emergency("nobody", "security")),
        ),
        (
            "a review by a group that no rule names",
            NO,
            with("emergency", emergency("ops", "nobody")),
        ),
        (
            "settle by a group of the rules",
            &[],
            with("settle", json!({"from": ["ops"]})),
        ),
        (
            "settle by a group that no rule names",
            NO,
            with("settle", json!({"from": ["nobody"]})),
        ),
    ]
}

/// The entries with any finding.
fn ours(log: &Log) -> (bool, BTreeSet<u64>) {
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

fn theirs(answer: &Value) -> (bool, BTreeSet<u64>) {
    let findings = answer["findings"].as_array().expect("findings").iter();
    (
        answer["sound"] == json!(true),
        findings.filter_map(|one| one["entry"].as_u64()).collect(),
    )
}

#[test]
fn both_auditors_judge_grants_and_their_uses_alike() {
    let cases = [entries(), uses(), people(), series(), steps(), policies()].concat();
    assert!(cases.len() >= 95, "{}", cases.len());
    let (told, _): (Vec<Told>, Vec<bool>) = as_expected(cases).into_iter().unzip();
    let _ = alike(&told, ours, theirs);
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
    let clean = alike(&told, ours, theirs)
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
        (1, 3, 1, Some(4), None)
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
