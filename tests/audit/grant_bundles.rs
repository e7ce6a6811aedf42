//! Bundles of runs under a grant. Both verifiers judge each bundle, check by check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{AgeLimit, GateRequirements, SandboxRequirement, decide_gate};
use documents::{TlogProof, hex, merkle, to_canonical};
use reading::Registry;
use serde_json::{Value, json};
use verdict::{BundleReport, MAY_BE_OPEN, RosterTrust, VerifyOptions, verify};

use super::grant_logs::{log, of_text, once, used};
use super::history_entries::Case as LogCase;
use crate::golden;
use crate::history::grants::{PLAIN, Use, grant, run};
use crate::history::{ALICE, BOB, Log, part, reference};
use crate::second::{Case, ours, theirs};

fn payload(entry: &[u8]) -> (String, Value) {
    let envelope: Value = serde_json::from_slice(entry).expect("JSON");
    let bytes = STANDARD
        .decode(envelope["payload"].as_str().expect("a payload"))
        .expect("base64");
    (
        reference(&bytes),
        serde_json::from_slice(&bytes).expect("JSON"),
    )
}

/// The place of the last entry of this kind for which `is_it` returns true.
fn place(log: &Log, kind: &str, is_it: impl Fn(&str, &Value) -> bool) -> Option<usize> {
    log.entries.iter().rposition(|entry| {
        let (digest, statement) = payload(entry);
        statement["predicateType"] == format!("https://countersign.dev/{kind}/v1")
            && is_it(&digest, &statement)
    })
}

/// The bundle of the last run of a log, with the grant of the run or any other grant.
pub(super) fn bundle(log: &Log) -> Value {
    let receipt = place(log, "receipt", |_, _| true).expect("a receipt");
    let stated = payload(&log.entries[receipt]).1["predicate"].clone();
    let seal = place(log, "seal", |digest, _| stated["seal"] == digest).expect("a seal");
    let number = |index: &Value| usize::try_from(index.as_u64().expect("an index")).expect("small");
    let consumption = number(&stated["consumption"]["index"]);
    let authorization = number(&stated["authorization"]["index"]);
    let signed = payload(&log.entries[authorization]).1;
    let wanted = &signed["predicate"]["grant"];
    let grant = place(log, "grant", |digest, _| wanted == digest)
        .or_else(|| place(log, "grant", |_, _| true));
    let leaves: Vec<_> = log
        .entries
        .iter()
        .map(|entry| merkle::leaf_hash(entry))
        .collect();
    let proof = |at: usize| {
        let index = at as u64;
        TlogProof {
            index,
            hashes: golden::path(&leaves, index),
            checkpoint: log.head(),
        }
        .to_string()
    };
    let entry = |at: usize| serde_json::from_slice::<Value>(&log.entries[at]).expect("JSON");
    let definitions = log
        .sealed
        .steps
        .iter()
        .map(|step| serde_json::from_value(step.clone()).expect("a step"));
    let registry = Registry::from_definitions(definitions).expect("a registry");
    let ran = &signed["predicate"]["step"]["ref"];
    let index = registry
        .steps()
        .position(|step| *ran == step.definition.reference.as_str())
        .expect("the step");
    let of_step = registry.proof_at(index).expect("a proof");
    let mut bundle = json!({
        "mediaType": "application/vnd.countersign.bundle.v1+json",
        "receipt": entry(receipt), "authorization": entry(authorization), "consumption": entry(consumption), "seal": entry(seal),
        "step": log.sealed.steps.iter().find(|step| step["ref"] == *ran).expect("the step"),
        "step_proof": {
            "index": of_step.index, "size": of_step.size,
            "hashes": of_step.hashes.iter().map(|hash| hex(hash).to_string()).collect::<Vec<_>>(),
        },
        "policy": log.sealed.policy, "builtins": log.sealed.builtins, "roster": part(&log.rosters, 0),
        "proofs": {
            "receipt": proof(receipt), "authorization": proof(authorization), "consumption": proof(consumption),
            "seal": proof(seal),
        },
    });
    if let Some(grant) = grant.filter(|_| wanted.is_string()) {
        bundle["grant"] = entry(grant);
        bundle["proofs"]["grant"] = json!(proof(grant));
    }
    bundle
}

pub(super) fn case(id: &str, log: &Log, bundle: &Value) -> Case {
    Case {
        id: id.to_owned(),
        bundle: to_canonical(bundle),
        roster: log.roster_digest(1).to_string().into_bytes(),
    }
}

/// A bundle of the usual use, which a test edits.
fn edited(id: &str, edit: impl FnOnce(&mut Value, &Log)) -> Case {
    let log = once(PLAIN);
    let mut bundle = bundle(&log);
    edit(&mut bundle, &log);
    case(id, &log, &bundle)
}

/// The failed checks of our verifier.
pub(super) fn compare(cases: &[Case]) -> Vec<Vec<String>> {
    let mut faults = Vec::new();
    let mut failed = Vec::new();
    for (case, second) in cases.iter().zip(theirs(cases)) {
        let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
        let differences = first.differences(&second);
        if !differences.is_empty() {
            faults.push(format!(
                "{}: {} (ours failed {:?})",
                case.id,
                differences.join("; "),
                first.failed()
            ));
        }
        failed.push(first.failed().into_iter().map(str::to_owned).collect());
        assert_eq!(
            first.verified,
            first.failed().is_empty(),
            "{}: {first:?}",
            case.id
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    failed
}

#[test]
fn both_verifiers_judge_the_runs_of_granted_logs_alike() {
    let logs: Vec<LogCase> = [
        of_text("uses"),
        of_text("people"),
        of_text("series"),
        of_text("steps"),
    ]
    .concat();
    let with_run = logs
        .iter()
        .filter(|(_, _, log)| place(log, "receipt", |_, _| true).is_some());
    let cases: Vec<Case> = with_run
        .map(|(id, _, log)| case(id, log, &bundle(log)))
        .collect();
    assert!(cases.len() >= 70, "{}", cases.len());
    let failed = compare(&cases);
    let of = |id: &str| {
        let at = cases
            .iter()
            .position(|case| case.id == id)
            .unwrap_or_else(|| panic!("{id}"));
        failed[at].iter().map(String::as_str).collect::<Vec<_>>()
    };
    let covers: &[&str] = &["grant-covers"];
    for (id, expected) in [
        ("a use", &[][..]),
        ("a use with any value", &[]),
        ("three uses", &[]),
        ("a grant of two steps", &[]),
        // Only the whole log shows these.
        ("a gap", &[]),
        ("uses faster than the rate", &[]),
        ("a use while the grant pauses", &[]),
        ("a session for the second time", &[]),
        ("a use after the end of the grant", &[]),
        ("the key of the grantee is revoked", &[]),
        ("another step of the grant has another sandbox", &[]),
        ("a use at the end of the grant", &["window", "grant-covers"]),
        ("an authorization that ends later", covers),
        ("a use before the grant begins", covers),
        ("another value", covers),
        (
            "a value that the step does not permit",
            &["parameters", "grant-covers"],
        ),
        ("a default that the grant excludes", covers),
        ("another key of the grantee", covers),
        ("another proposer", &["excluded", "grant-covers"]),
        ("a permission that nobody granted", covers),
        ("another sandbox", covers),
        (
            "another grant in the authorization",
            &["consumption", "grant-covers"],
        ),
        (
            "no grant in the consumption",
            &["consumption", "grant-covers"],
        ),
        ("the key of another proposer", &["authorization-signatures"]),
        ("the key of an approver", &["authorization-signatures"]),
        ("a receipt with other approvers", &["quorum"]),
        (
            "a receipt that leaves out the proposer of the grant",
            &["excluded"],
        ),
        ("a use that an approver hands in", &["excluded"]),
        ("the grant comes after the consumption", &["grant-included"]),
        (
            "the grant comes between consumption and receipt",
            &["grant-included"],
        ),
        ("one signature where two are required", &["quorum"]),
        ("an owner of the proposer signed too", &["excluded"]),
        ("policy without standing", covers),
        ("policy with fewer uses", covers),
        (
            "a grant without a parameter of the step",
            &["parameters", "grant-covers"],
        ),
        ("the policy is stricter now", covers),
        ("an approver is gone, and one suffices", &[]),
        ("an approver is gone, and two are needed", &["quorum"]),
        ("an approver owns the grantee now", &["excluded"]),
        ("the grantee is gone", &["authorization-signatures"]),
        ("a use too many", covers),
        ("a session without permission", covers),
    ] {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(of(id), expected, "{id}");
    }
}

#[test]
fn broken_grants_in_bundles_are_refused_at_the_named_check() {
    let other = |edit: fn(&mut Value)| {
        let mut log = log();
        grant(&mut log, &[ALICE, BOB], edit);
        let entry: Value =
            serde_json::from_slice(log.entries.last().expect("a grant")).expect("JSON");
        entry
    };
    let cases = [
        ("unchanged", "", edited("unchanged", |_, _| {})),
        (
            "no grant",
            "grant-document",
            edited("no grant", |bundle, _| {
                bundle.as_object_mut().expect("a bundle").remove("grant");
                bundle["proofs"]
                    .as_object_mut()
                    .expect("proofs")
                    .remove("grant");
            }),
        ),
        (
            "no proof of the grant",
            "bundle",
            edited("no proof of the grant", |bundle, _| {
                bundle["proofs"]
                    .as_object_mut()
                    .expect("proofs")
                    .remove("grant");
            }),
        ),
        (
            "a proof without a grant",
            "bundle",
            edited("a proof without a grant", |bundle, _| {
                bundle.as_object_mut().expect("a bundle").remove("grant");
            }),
        ),
        (
            "a grant that is null",
            "bundle",
            edited("a grant that is null", |bundle, _| {
                bundle["grant"] = Value::Null
            }),
        ),
        (
            "a proof of another checkpoint",
            "bundle",
            edited("a proof of another checkpoint", |bundle, log| {
                let text = bundle["proofs"]["grant"]
                    .as_str()
                    .expect("a proof")
                    .replace(&log.head(), &log.head_by(ALICE));
                bundle["proofs"]["grant"] = json!(text);
            }),
        ),
        (
            "no proof at all",
            "bundle",
            edited("no proof at all", |bundle, _| {
                bundle["proofs"]["grant"] = json!("proof")
            }),
        ),
        (
            "the proof of the seal",
            "grant-included",
            edited("the proof of the seal", |bundle, _| {
                bundle["proofs"]["grant"] = bundle["proofs"]["seal"].clone();
            }),
        ),
        (
            "no signatures",
            "bundle",
            edited("no signatures", |bundle, _| {
                bundle["grant"]["signatures"] = json!([])
            }),
        ),
        (
            "signatures out of order",
            "bundle",
            edited("signatures out of order", |bundle, _| {
                bundle["grant"]["signatures"]
                    .as_array_mut()
                    .expect("signatures")
                    .reverse();
            }),
        ),
        (
            "a signature twice",
            "bundle",
            edited("a signature twice", |bundle, _| {
                let first = bundle["grant"]["signatures"][0].clone();
                bundle["grant"]["signatures"]
                    .as_array_mut()
                    .expect("signatures")
                    .insert(0, first);
            }),
        ),
        (
            "a broken signature",
            "grant-signatures",
            edited("a broken signature", |bundle, _| {
                let other = bundle["grant"]["signatures"][1]["sig"].clone();
                bundle["grant"]["signatures"][0]["sig"] = other;
            }),
        ),
        (
            "a signature less than in the log",
            "grant-included",
            edited("a signature less than in the log", |bundle, _| {
                bundle["grant"]["signatures"]
                    .as_array_mut()
                    .expect("signatures")
                    .pop();
            }),
        ),
        (
            "another grant",
            "grant-covers",
            edited("another grant", |bundle, _| {
                bundle["grant"] = other(|of| of["max_uses"] = json!(9));
            }),
        ),
        (
            "a default in a schema",
            "grant-document",
            edited("a default in a schema", |bundle, _| {
                bundle["grant"] = other(|of| {
                    of["steps"][0]["params"]["properties"]["host"]["default"] = json!("web-1")
                });
            }),
        ),
        (
            "a secret in a schema",
            "grant-document",
            edited("a secret in a schema", |bundle, _| {
                bundle["grant"] = other(|of| {
                    of["steps"][0]["params"]["properties"]["host"] =
                        json!({"type": "string", "x-secret": true});
                });
            }),
        ),
        (
            "a keyword that is unknown",
            "bundle",
            edited("a keyword that is unknown", |bundle, _| {
                bundle["grant"] = other(|of| {
                    of["steps"][0]["params"]["properties"]["host"]["format"] = json!("host")
                });
            }),
        ),
        (
            "a schema of a list without items",
            "grant-document",
            edited("a schema of a list without items", |bundle, _| {
                bundle["grant"] = other(|of| {
                    of["steps"][0]["params"]["properties"]["host"] = json!({"type": "array"})
                });
            }),
        ),
        (
            "a name of a parameter with a space",
            "grant-document",
            edited("a name of a parameter with a space", |bundle, _| {
                bundle["grant"] = other(|of| {
                    of["steps"][0]["params"]["properties"]["a b"] = json!({"type": "string"})
                });
            }),
        ),
        (
            "a denial as the grant",
            "bundle",
            edited("a denial as the grant", |bundle, _| {
                bundle["grant"] = golden::value("envelope/denial.json");
            }),
        ),
        ("a grant beside an ordinary run", "grant-document", {
            let mut log = log();
            grant(&mut log, &[ALICE, BOB], |_| {});
            let granted = bundle(&{
                let mut log = log.clone();
                log.run("two:go", 10, &[ALICE, BOB]);
                log
            });
            log.run("two:go", 10, &[ALICE, BOB]);
            let mut bundle = granted;
            let leaves: Vec<_> = log
                .entries
                .iter()
                .map(|entry| merkle::leaf_hash(entry))
                .collect();
            let proof = TlogProof {
                index: 1,
                hashes: golden::path(&leaves, 1),
                checkpoint: log.head(),
            };
            bundle["grant"] = serde_json::from_slice(&log.entries[1]).expect("JSON");
            bundle["proofs"]["grant"] = json!(proof.to_string());
            case("a grant beside an ordinary run", &log, &bundle)
        }),
    ];
    let (names, cases): (Vec<_>, Vec<Case>) = cases
        .into_iter()
        .map(|(id, name, case)| ((id, name), case))
        .unzip();
    for ((id, name), failed) in names.into_iter().zip(compare(&cases)) {
        match name {
            "" => assert!(failed.is_empty(), "{id}: {failed:?}"),
            name => assert!(
                failed.iter().any(|one| one == name),
                "{id}: expected {name}, got {failed:?}"
            ),
        }
    }
}

fn report(log: &Log) -> BundleReport {
    let bundle = to_canonical(&bundle(log));
    verify(
        &bundle,
        &RosterTrust::Digest(log.roster_digest(1)),
        VerifyOptions::default(),
    )
    .expect("trust")
}

#[test]
fn the_report_names_the_grant_and_what_only_the_log_shows() {
    let mut log = log();
    let granted = grant(&mut log, &[ALICE, BOB], |_| {});
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
    let report = report(&log);
    assert!(report.verified, "{report:?}");
    let approved = report
        .facts
        .as_ref()
        .and_then(|facts| facts.approved.as_ref())
        .expect("facts");
    let used = approved.grant.as_ref().expect("a grant");
    assert_eq!(
        (used.use_number, used.max_uses, used.signatures),
        (Some(2), 3, 2)
    );
    assert!(
        report
            .boundary_says
            .iter()
            .any(|line| line.starts_with("the number of the use"))
    );
    let covers = report
        .checks
        .iter()
        .find(|check| check.name.word() == "grant-covers")
        .expect("a check");
    assert!(covers.detail.contains("use 2 of 3"), "{}", covers.detail);
}

#[test]
fn the_windows_of_grants_are_half_open_in_a_bundle_too() {
    let at = |seconds: i64| {
        used(
            |_| {},
            Use {
                at: seconds,
                authorization: |of| of["expires_at"] = json!(crate::history::t(86_400)),
                ..PLAIN
            },
        )
    };
    assert!(report(&at(86_399)).verified);
    assert!(!report(&at(86_400)).verified);
}

#[test]
fn the_gate_refuses_a_run_under_a_grant_unless_the_user_allows_it() {
    let report = report(&once(PLAIN));
    let facts = report.facts.as_ref().expect("facts");
    let approved = facts.approved.as_ref().expect("an authorization");
    let demands = |granted: bool| GateRequirements {
        boundary: facts.boundary.id,
        step: approved.step.clone(),
        digest: Some(approved.digest),
        params: None,
        warned: false,
        refused: true,
        sandbox: SandboxRequirement::Something,
        age: AgeLimit::Any,
        unchecked: MAY_BE_OPEN.into_iter().collect(),
        granted,
        by_token: false,
        emergency: false,
        unguarded: false,
    };
    let unmet = |granted: bool| -> Vec<String> {
        let gate = decide_gate(&report, &demands(granted), facts.finished_at);
        assert_eq!(gate.passed, gate.unmet().next().is_none());
        gate.unmet()
            .map(|one| format!("{}: {}", one.name, one.detail))
            .collect()
    };
    assert_eq!(unmet(true), [""; 0]);
    let refused = unmet(false);
    assert!(
        refused.len() == 1
            && refused[0].starts_with("grant: ")
            && refused[0].contains("--allow-grant"),
        "{refused:?}"
    );
}

#[test]
fn the_boundary_signs_the_use_of_a_token_with_raw_bytes_only() {
    let mut bundle = golden::value("bundle-token-grant.json");
    let signed = &bundle["authorization"]["payload"];
    let signed = STANDARD.decode(signed.as_str().expect("a payload"));
    let longer = golden::sshsig("boundary", &signed.expect("base64"));
    bundle["authorization"]["signatures"][0]["sig"] = json!(STANDARD.encode(longer));
    let case = Case {
        id: "a longer signature".to_owned(),
        bundle: to_canonical(&bundle),
        roster: golden::bytes("roster-token-grant.json"),
    };
    let failed = compare(&[case]).remove(0);
    let check = "authorization-signatures".to_owned();
    assert!(failed.contains(&check), "{failed:?}");
}
