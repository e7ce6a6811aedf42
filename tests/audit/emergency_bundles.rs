//! Bundles of emergencies. Both verifiers judge each bundle, check by check.

use serde_json::{Value, json};

use super::grant_bundles::{bundle, case, compare};
use super::review_logs::{DAVE, begin, emergency, end, log_with};
use crate::history::grants::{Edit, PLAIN, Use, grant, run};
use crate::history::{ALICE, BOB, CAROL, Log, Sealed};
use crate::second::{Case, ours};

/// The check that fails, and the checks that are not made, beside those that only the whole log can decide.
type Verdict = (Option<&'static str>, &'static [&'static str]);

const VALID: Verdict = (None, &[]);
/// The rules of the run can't be applied: `quorum` (a). The signatures can't be counted then.
const RULES: Verdict = (
    Some("quorum"),
    &[
        "authorization-signatures",
        "excluded",
        "keys-still-rostered",
        "permissions",
    ],
);
/// The signatures do not meet the rules, or the receipt names others: `quorum` (b).
const COUNT: Verdict = (Some("quorum"), &["keys-still-rostered"]);
const SIGNER: Verdict = (
    Some("authorization-signatures"),
    &["excluded", "keys-still-rostered", "quorum"],
);
const EXCLUDED: Verdict = (Some("excluded"), &["keys-still-rostered", "quorum"]);
#[rustfmt::skip]
const DOCUMENT: Verdict = (Some("authorization-document"), &[
    "authorization-included", "authorization-signatures", "boundary", "consumption", "excluded", "grant-covers",
    "grant-document", "grant-included", "grant-signatures", "keys-still-rostered", "log-order", "parameters", "permissions",
    "plan", "quorum", "sandbox", "step", "window",
]);

fn of(id: &str, verdict: Verdict, log: &Log) -> (Case, Verdict) {
    (case(id, log, &bundle(log)), verdict)
}

/// The bundle of an emergency under an edited policy, roster or step.
fn sealed(id: &str, verdict: Verdict, by: &[u8], edit: fn(&mut Sealed)) -> (Case, Verdict) {
    let mut log = log_with(edit);
    emergency(&mut log, 10, by);
    of(id, verdict, &log)
}

/// The bundle of an emergency with an edited authorization and an edited receipt.
fn edited(id: &str, verdict: Verdict, authorization: Edit, receipt: Edit) -> (Case, Verdict) {
    let mut log = log_with(|_| {});
    let approved = log.approved_but("nginx:restart", 10, &[ALICE], |of| {
        of["params"]["force"] = json!(false);
        of["emergency"] = json!(true);
        authorization(of);
    });
    let place = log.consume(10, &[&approved]);
    end(&mut log, &(place, approved), "succeeded", receipt);
    of(id, verdict, &log)
}

fn rule(sealed: &mut Sealed) -> &mut Value {
    &mut sealed.policy["default"]["emergency"]
}

#[test]
fn both_verifiers_judge_the_bundles_of_emergencies_alike() {
    const SAME: Edit = |_| {};
    let of_two: fn(&mut Sealed) = |of| {
        rule(of)["from"] = json!(["security"]);
        of.steps[0]["approvals"] = json!({"from": [], "required": 2});
    };
    let all = vec![
        sealed("an emergency", VALID, &[ALICE], |_| {}),
        sealed("a longer window than the longest", RULES, &[ALICE], |of| {
            rule(of)["max_window_s"] = json!(3599)
        }),
        sealed("no rule in policy", RULES, &[ALICE], |of| {
            of.policy["default"]
                .as_object_mut()
                .unwrap()
                .remove("emergency");
        }),
        sealed("an override has the rule", VALID, &[ALICE], |of| {
            let rule = of.policy["default"]
                .as_object_mut()
                .unwrap()
                .remove("emergency");
            of.policy["overrides"]
                .as_array_mut()
                .unwrap()
                .push(json!({"runbook": "nginx*", "emergency": rule}));
        }),
        sealed("too few signatures", COUNT, &[ALICE], |of| {
            rule(of)["required"] = json!(2)
        }),
        sealed("the rule of the step is not met", COUNT, &[ALICE], |of| {
            of.steps[0]["approvals"] = json!({"from": ["security"], "required": 1});
        }),
        sealed(
            "the rule of the step names no group and is not met",
            COUNT,
            &[BOB],
            of_two,
        ),
        sealed(
            "the rule of the step names no group and is met",
            VALID,
            &[BOB, DAVE],
            of_two,
        ),
        sealed(
            "a signature of no group for emergencies",
            SIGNER,
            &[BOB],
            |_| {},
        ),
        sealed(
            "one more signature of no group for emergencies",
            SIGNER,
            &[ALICE, BOB],
            |_| {},
        ),
        sealed("an excluded person", EXCLUDED, &[CAROL], |_| {}),
        edited(
            "the receipt names groups of the usual rule",
            COUNT,
            SAME,
            |of| {
                of["decision"]["groups"] = json!(["ops", "security"]);
            },
        ),
        edited("the receipt names another approver", COUNT, SAME, |of| {
            of["decision"]["approvers"] = json!(["alice", "bob"]);
        }),
        edited("an unknown end", (None, &["sandbox"]), SAME, |of| {
            of["outcome"] = json!({"status": "unknown"})
        }),
        edited(
            "an emergency that is false",
            DOCUMENT,
            |of| of["emergency"] = json!(false),
            SAME,
        ),
        edited(
            "an emergency that is a text",
            DOCUMENT,
            |of| of["emergency"] = json!("true"),
            SAME,
        ),
        edited(
            "an emergency that is null",
            DOCUMENT,
            |of| of["emergency"] = Value::Null,
            SAME,
        ),
        {
            let mut log = log_with(|_| {});
            let begun = begin(&mut log, 10, &[ALICE], false);
            end(&mut log, &begun, "succeeded", |_| {});
            of(
                "a usual run with the signatures of an emergency",
                COUNT,
                &log,
            )
        },
        {
            let mut log = log_with(|_| {});
            let granted = grant(&mut log, &[ALICE, BOB], |_| {});
            run(
                &mut log,
                &granted,
                &Use {
                    authorization: |of| of["emergency"] = json!(true),
                    ..PLAIN
                },
            );
            of("together with a grant", DOCUMENT, &log)
        },
    ];
    let (cases, verdicts): (Vec<Case>, Vec<Verdict>) = all.into_iter().unzip();
    let mut wrong = Vec::new();
    for ((case, (expected, open)), failed) in cases.iter().zip(verdicts).zip(compare(&cases)) {
        let findings = ours(case).expect("trust").findings;
        let mut not_made: Vec<_> = findings
            .iter()
            .filter(|(_, word)| *word == "not-checked")
            .map(|(name, _)| name.as_str())
            .collect();
        not_made.retain(|name| !["revocations", "seal-in-force"].contains(name));
        if failed != Vec::from_iter(expected) || not_made != open {
            wrong.push(format!(
                "{}: failed {failed:?}, not made {not_made:?}",
                case.id
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
