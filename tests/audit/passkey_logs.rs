//! Logs with signatures of passkeys. Both auditors judge each log.

use documents::{EnvelopeSignature, sha256};
use serde_json::{Value, json};

use super::history_entries::{Case, as_expected};
use super::log_mutation::agree;
use super::review_logs::end;
use crate::history::{ALICE, Approved, BOB, CAROL, Log, OTHER, SIGN_OTHER, key};
use crate::passkey::{PasskeyPair, SYNCED, VERIFIED};

const ALICE_PASSKEY: u8 = OTHER + ALICE;
const BOB_PASSKEY: u8 = OTHER + BOB;
const CAROL_PASSKEY: u8 = OTHER + CAROL;
/// The key of an operator.
const OSCAR: u8 = 7;
/// The passkey of the operator.
const OSCAR_PASSKEY: u8 = OTHER + OSCAR;

/// The passkeys of the people. The passkey of carol may be copied.
fn passkey(seed: u8) -> PasskeyPair {
    match seed {
        ALICE_PASSKEY => PasskeyPair::of(1),
        BOB_PASSKEY => PasskeyPair::of(2),
        CAROL_PASSKEY => PasskeyPair::of(3),
        _ => PasskeyPair::at(1, "operators.example"),
    }
}

fn sign(seed: u8, message: &[u8]) -> EnvelopeSignature {
    let flags = if seed == CAROL_PASSKEY {
        VERIFIED | SYNCED
    } else {
        VERIFIED
    };
    let blob = passkey(seed).sign_but(message, |parts| parts.flags = flags);
    EnvelopeSignature::new(passkey(seed).keyid().parse().expect("a key id"), &blob)
}

fn of_key(seed: u8) -> (&'static str, [u8; 32]) {
    ("key", sha256(&passkey(seed).blob()))
}

fn rule(most: u64, alone: bool, synced: bool) -> Option<Value> {
    Some(json!({"most": most, "alone": alone, "synced": synced}))
}

/// A log whose policy has these passkeys. Every approver has a passkey in addition to an own key.
fn log(passkeys: Option<Value>) -> Log {
    let _first = SIGN_OTHER.set(sign);
    Log::with(|sealed| {
        if let Some(passkeys) = passkeys {
            sealed.policy["passkeys"] = passkeys;
        }
        for (name, seed) in [("alice", ALICE), ("bob", BOB), ("carol", CAROL)] {
            sealed.roster["approvers"][name]["keys"] =
                json!([key(seed).line(), passkey(OTHER + seed).line()]);
        }
        sealed.roster["operators"] =
            json!({"oscar": {"keys": [key(OSCAR).line(), passkey(OSCAR_PASSKEY).line()]}});
        sealed.tokens.as_array_mut().expect("tokens")[0]["owners"] = json!([]);
    })
}

fn run(log: &mut Log, step: &str, at: i64, signers: &[u8]) -> Approved {
    let approved = log.approved(step, at, signers);
    let place = log.consume(at, &[&approved]);
    log.receipt_but(place, &approved, |receipt| {
        receipt["decision"]["excluded"] = json!(["agent"])
    });
    approved
}

fn with(passkeys: Option<Value>, change: impl FnOnce(&mut Log)) -> Log {
    let mut log = log(passkeys);
    change(&mut log);
    log
}

fn runs() -> Vec<Case> {
    let one = |passkeys: Option<Value>, step: &'static str, signers: &'static [u8]| {
        with(passkeys, |log| drop(run(log, step, 10, signers)))
    };
    let usual = || rule(1, false, true);
    vec![
        (
            "an own key and a passkey",
            &[],
            one(usual(), "two:go", &[ALICE, BOB_PASSKEY]),
        ),
        (
            "an own key and a synced passkey",
            &[],
            one(usual(), "two:go", &[ALICE, CAROL_PASSKEY]),
        ),
        (
            "a synced passkey against policy",
            &["approval-signatures"],
            one(rule(1, false, false), "two:go", &[ALICE, CAROL_PASSKEY]),
        ),
        (
            "no passkeys in policy",
            &["approval-signatures"],
            one(None, "two:go", &[ALICE, BOB_PASSKEY]),
        ),
        (
            "a passkey alone for one signature",
            &["quorum"],
            one(usual(), "nginx:restart", &[ALICE_PASSKEY]),
        ),
        (
            "a passkey alone, and policy permits it",
            &[],
            one(rule(1, true, true), "nginx:restart", &[ALICE_PASSKEY]),
        ),
        (
            "two passkeys",
            &["approval-signatures"],
            one(usual(), "two:go", &[ALICE_PASSKEY, BOB_PASSKEY]),
        ),
        (
            "two passkeys alone",
            &["quorum"],
            one(
                rule(2, false, true),
                "two:go",
                &[ALICE_PASSKEY, BOB_PASSKEY],
            ),
        ),
        (
            "two passkeys alone, and policy permits it",
            &[],
            one(rule(2, true, true), "two:go", &[ALICE_PASSKEY, BOB_PASSKEY]),
        ),
        (
            "both keys of one person",
            &["approval-signatures"],
            one(usual(), "nginx:restart", &[ALICE, ALICE_PASSKEY]),
        ),
        (
            "the passkey of an operator",
            &["approval-signatures"],
            one(usual(), "two:go", &[ALICE, OSCAR_PASSKEY]),
        ),
        (
            "a rule without an own key, beside a rule with one",
            &["quorum"],
            with(usual(), |log| {
                log.sealed.steps[0]["approvals"] = json!({"from": ["security"], "required": 1});
                log.reseal(5, |_| {});
                run(log, "nginx:restart", 10, &[ALICE, BOB_PASSKEY]);
            }),
        ),
        (
            "a revoked passkey",
            &["quorum", "revoked"],
            with(usual(), |log| {
                log.revoke(of_key(BOB_PASSKEY), OSCAR);
                run(log, "two:go", 10, &[ALICE, BOB_PASSKEY]);
            }),
        ),
        (
            "a passkey that a roster removed",
            &["approval-signatures"],
            with(usual(), |log| {
                run(log, "two:go", 10, &[ALICE, BOB_PASSKEY]);
                log.sealed.roster["approvers"]["bob"]["keys"] = json!([key(BOB).line()]);
                log.roster(&[ALICE, BOB]);
                log.reseal(20, |_| {});
                run(log, "two:go", 30, &[ALICE, BOB_PASSKEY]);
            }),
        ),
        (
            "a policy that ends the passkeys",
            &["approval-signatures"],
            with(usual(), |log| {
                run(log, "two:go", 10, &[ALICE, BOB_PASSKEY]);
                log.sealed
                    .policy
                    .as_object_mut()
                    .expect("a policy")
                    .remove("passkeys");
                log.roster(&[ALICE, BOB]);
                log.reseal(20, |_| {});
                run(log, "two:go", 30, &[ALICE, BOB_PASSKEY]);
            }),
        ),
        (
            "a policy that begins the passkeys",
            &[],
            with(None, |log| {
                log.sealed.policy["passkeys"] = json!({"most": 1, "alone": false, "synced": true});
                log.roster(&[ALICE, BOB]);
                log.reseal(20, |_| {});
                run(log, "two:go", 30, &[ALICE, BOB_PASSKEY]);
            }),
        ),
    ]
}

fn other_documents() -> Vec<Case> {
    let denied = |passkeys: Option<Value>, by: u8, then_run: bool| {
        with(passkeys, |log| {
            let approved = log.approved("nginx:restart", 10, &[ALICE]);
            log.deny(&approved, by);
            if then_run {
                let place = log.consume(11, &[&approved]);
                log.receipt_but(place, &approved, |receipt| {
                    receipt["decision"]["excluded"] = json!(["agent"])
                });
            }
        })
    };
    let revoked = |passkeys: Option<Value>, subject: (&'static str, [u8; 32]), by: u8| {
        with(passkeys, |log| log.revoke(subject, by))
    };
    let frozen = |passkeys: Option<Value>, by: u8, then_run: bool| {
        with(passkeys, |log| {
            log.revoke(("epoch", sha256(log.epoch.as_bytes())), by);
            if then_run {
                run(log, "nginx:restart", 10, &[ALICE]);
            }
        })
    };
    let usual = || rule(1, false, true);
    const NO: &[&str] = &["revocation"];
    vec![
        ("a denial", &[], denied(usual(), BOB_PASSKEY, false)),
        (
            "a run after the denial",
            &["denied"],
            denied(usual(), BOB_PASSKEY, true),
        ),
        (
            "a denial under a policy without passkeys",
            &["denial"],
            denied(None, BOB_PASSKEY, false),
        ),
        (
            "such a denial has no effect",
            &["denial"],
            denied(None, BOB_PASSKEY, true),
        ),
        (
            "a denial by a synced passkey against policy",
            &["denial"],
            denied(rule(1, false, false), CAROL_PASSKEY, false),
        ),
        (
            "a denial by the passkey of an operator",
            &["denial"],
            denied(usual(), OSCAR_PASSKEY, false),
        ),
        ("a freeze", &[], frozen(usual(), ALICE_PASSKEY, false)),
        (
            "a freeze by an operator",
            &[],
            frozen(usual(), OSCAR_PASSKEY, false),
        ),
        (
            "a run after the freeze",
            &["revoked"],
            frozen(usual(), ALICE_PASSKEY, true),
        ),
        (
            "a freeze under a policy without passkeys",
            NO,
            frozen(None, ALICE_PASSKEY, false),
        ),
        (
            "such a freeze has no effect",
            NO,
            frozen(None, ALICE_PASSKEY, true),
        ),
        (
            "a passkey revokes itself",
            &[],
            revoked(usual(), of_key(BOB_PASSKEY), BOB_PASSKEY),
        ),
        (
            "a passkey of an operator revokes itself",
            &[],
            revoked(usual(), of_key(OSCAR_PASSKEY), OSCAR_PASSKEY),
        ),
        (
            "an operator revokes a passkey",
            &[],
            revoked(None, of_key(BOB_PASSKEY), OSCAR),
        ),
        (
            "a passkey revokes itself without passkeys in policy",
            NO,
            revoked(None, of_key(BOB_PASSKEY), BOB_PASSKEY),
        ),
        (
            "a passkey revokes the own key of the person",
            NO,
            revoked(usual(), ("key", key(BOB).keyid().to_bytes()), BOB_PASSKEY),
        ),
        (
            "an own key revokes the passkey of the person",
            NO,
            revoked(usual(), of_key(BOB_PASSKEY), BOB),
        ),
        (
            "the passkey of an operator revokes another key",
            NO,
            revoked(usual(), of_key(BOB_PASSKEY), OSCAR_PASSKEY),
        ),
        (
            "the passkey of an operator revokes a token",
            NO,
            revoked(usual(), ("token", sha256(b"agent")), OSCAR_PASSKEY),
        ),
        (
            "a passkey revokes itself twice",
            NO,
            with(usual(), |log| {
                log.revoke(of_key(BOB_PASSKEY), BOB_PASSKEY);
                log.revoke(of_key(BOB_PASSKEY), BOB_PASSKEY);
            }),
        ),
        (
            "a passkey signs a roster",
            &["roster-chain"],
            with(usual(), |log| {
                log.sealed.roster["threshold"] = json!(1);
                log.roster(&[ALICE, BOB_PASSKEY]);
                log.reseal(20, |_| {});
            }),
        ),
        (
            "a passkey reviews",
            &["review"],
            with(usual(), |log| {
                let approved = log.approved("nginx:restart", 10, &[ALICE]);
                let run = (log.consume(10, &[&approved]), approved);
                let receipt = end(log, &run, "unknown", |receipt| {
                    receipt["decision"]["excluded"] = json!(["agent"])
                });
                log.review_but(&receipt, &[BOB_PASSKEY], |_| {});
            }),
        ),
    ]
}

#[test]
fn both_auditors_judge_signatures_of_passkeys_alike() {
    agree(as_expected([runs(), other_documents()].concat()));
}
