//! Tests of the bundle check. The tests verify golden bundles, and bundles with one edited document that is signed
//! again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::audit::fixture::{FixtureStage, HistoryCase, read_by_another_version};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/golden")
}

fn trust(named: &str) -> RosterTrust {
    named
        .parse()
        .map_or_else(|_| RosterTrust::Roster(std::fs::read(golden().join(named)).expect(named)), RosterTrust::Digest)
}

fn report(file: &str, roster: &str) -> BundleReport {
    let bundle = std::fs::read(golden().join(file)).expect(file);
    verify(&bundle, &trust(roster), VerifyOptions::default()).expect("a trusted roster")
}

#[test]
fn a_document_with_a_later_feature_fails_its_check_and_the_feature_is_named() {
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let runner =
        json!({"name": "web-3", "keyid": "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8", "report": digest});
    for (stage, name, part, check) in [
        (FixtureStage::Authorization, "emergency", json!(true), CheckName::AuthorizationDocument),
        (FixtureStage::Authorization, "target", json!({"runner": "web-3"}), CheckName::AuthorizationDocument),
        (FixtureStage::Receipt, "runner", runner, CheckName::ReceiptDocument),
    ] {
        let case = HistoryCase::new().edit(stage, move |document| document["predicate"][name] = part.clone());
        let report = case.report(VerifyOptions::default());
        assert!(!report.verified);
        let failed: Vec<_> = report.failed().map(|check| (check.name, check.detail.clone())).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0].0, check);
        assert!(failed[0].1.starts_with(&format!("later-feature /predicate/{name}: ")), "{failed:?}");
    }
    let broken = HistoryCase::new()
        .edit(FixtureStage::Authorization, |document| document["predicate"]["emergency"] = json!(false));
    let report = broken.report(VerifyOptions::default());
    assert!(report.failed().all(|check| !check.detail.starts_with("later-feature")), "{:?}", report.checks);
}

#[test]
fn a_step_with_a_later_feature_is_never_verified() {
    let report = HistoryCase::new().edit(FixtureStage::Bundle, |bundle| bundle["step"]["runs_on"] = json!(["web"]));
    let report = report.report(VerifyOptions::default());
    let step = report.checks.iter().find(|check| check.name == CheckName::Step).expect("the check");
    assert_eq!(step.finding, CheckFinding::Failed);
    assert!(step.detail.starts_with("later-feature /step/runs_on: "), "{}", step.detail);
    assert!(!report.verified);
}

#[test]
fn every_valid_golden_bundle_is_verified() {
    for (file, roster) in [
        ("valid/bundle.json", "valid/roster.json"),
        ("valid/bundle-sshsig.json", "valid/roster.json"),
        ("valid/bundle-sk.json", "valid/roster-sk.json"),
        ("valid/bundle-roster-2.json", "valid/roster.json"),
        ("valid/bundle-session.json", "valid/roster.json"),
        ("valid/bundle-artifacts.json", "valid/roster.json"),
        ("valid/bundle-files.json", "valid/roster.json"),
        ("valid/bundle-outputs.json", "valid/roster.json"),
        ("valid/bundle-plan.json", "valid/roster.json"),
    ] {
        let report = report(file, roster);
        assert!(report.verified, "{file}: {:#?}", report.checks);
    }
}

#[test]
fn the_report_says_which_contents_are_not_checked() {
    for (file, check, words) in [
        ("valid/bundle-session.json", CheckName::Consumption, "only the boundary knows the salt"),
        ("valid/bundle-files.json", CheckName::ReceiptSubjects, "whose contents are not checked"),
    ] {
        let report = report(file, "valid/roster.json");
        let detail = report.checks.iter().find(|one| one.name == check).map(|one| one.detail.as_str());
        assert!(detail.is_some_and(|detail| detail.contains(words)), "{file}: {detail:?}");
    }
    let says = |file: &str| report(file, "valid/roster.json").boundary_says.join("\n");
    assert!(says("valid/bundle-session.json").contains("the content of the session's state: not checked"));
    assert!(says("valid/bundle-artifacts.json").contains("the contents of the artifacts: not checked"));
    let plain = says("valid/bundle.json");
    assert!(!plain.contains("session") && !plain.contains("artifacts"), "{plain}");
}

#[test]
fn every_refused_golden_bundle_fails_at_the_expected_check() {
    let index = std::fs::read(golden().join("refused/index.json")).expect("index");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("index");
    assert!(index.len() > 50, "{}", index.len());
    let mut wrong = Vec::new();
    for entry in index {
        let text = |field: &str| entry[field].as_str().expect(field);
        let report = report(text("file"), text("roster"));
        assert!(!report.verified, "{}", text("file"));
        let mut failed: Vec<_> = report.failed().map(|check| check.name.word()).collect();
        let mut expected = vec![text("expect")];
        expected.extend(entry["also"].as_array().expect("also").iter().filter_map(Value::as_str));
        failed.sort_unstable();
        expected.sort_unstable();
        if failed != expected {
            wrong.push(format!(
                "{}: expected {expected:?}, got {:?}",
                text("file"),
                report.failed().collect::<Vec<_>>()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn failed_checks(report: &BundleReport) -> Vec<&'static str> {
    report.failed().map(|check| check.name.word()).collect()
}

/// Edits one document of a crossing, signs all later documents again, and returns the names of the failed checks.
fn refused(stage: FixtureStage, edit: impl Fn(&mut Value) + 'static) -> Vec<&'static str> {
    let case = HistoryCase::new().edit(stage, edit);
    let report = case.report(VerifyOptions::default());
    assert!(!report.verified, "{:#?}", report.checks);
    failed_checks(&report)
}

fn open(stage: FixtureStage, edit: impl Fn(&mut Value) + 'static) -> (bool, Vec<&'static str>) {
    let report = HistoryCase::new().edit(stage, edit).report(VerifyOptions::default());
    assert!(failed_checks(&report).is_empty(), "{:#?}", report.checks);
    let open = report.checks.iter().filter(|check| check.finding == CheckFinding::NotChecked);
    (report.verified, open.map(|check| check.name.word()).collect())
}

#[test]
fn the_bundle_of_an_unedited_crossing_is_verified() {
    let report = HistoryCase::new().report(VerifyOptions::default());
    assert!(report.verified, "{:#?}", report.checks);
    assert_eq!(report.finding(CheckName::SealInForce), CheckFinding::NotChecked);
    assert_eq!(report.finding(CheckName::KeysStillRostered), CheckFinding::Established);
    let facts = report.facts.expect("facts");
    let approved = facts.approved.expect("approved");
    assert_eq!((approved.step.as_str(), approved.proposer.as_str()), ("nginx:restart", "ci-agent"));
    assert!(facts.approvers.iter().all(|approver| approver.keyid.is_some() && !approver.groups.is_empty()));
}

#[test]
fn a_document_with_an_unknown_field_or_a_wrong_type_is_refused() {
    let spoil = |document: &mut Value| document["predicate"]["surprise"] = json!(1);
    assert_eq!(refused(FixtureStage::Seal, spoil), ["seal-document"]);
    assert_eq!(refused(FixtureStage::Consumption, spoil), ["consumption-document"]);
    assert_eq!(refused(FixtureStage::Receipt, spoil), ["receipt-document"]);
    assert_eq!(refused(FixtureStage::Authorization, spoil), ["authorization-document"]);
    assert_eq!(
        refused(FixtureStage::Authorization, |document| document["predicate"]["grant"] = json!("grt_x")),
        ["authorization-document"]
    );
    assert_eq!(refused(FixtureStage::Roster, spoil), ["roster-chain"]);
    assert_eq!(refused(FixtureStage::Bundle, |bundle| bundle["surprise"] = json!(1)), ["bundle"]);
    assert_eq!(refused(FixtureStage::Bundle, |bundle| bundle["mediaType"] = json!("application/json")), ["bundle"]);
}

#[test]
fn each_document_of_the_boundary_has_exactly_one_signature_by_its_key() {
    for (part, check) in
        [("receipt", "receipt-signature"), ("consumption", "consumption-signature"), ("seal", "seal-signature")]
    {
        let failed = refused(FixtureStage::Bundle, move |bundle| {
            let one = bundle[part]["signatures"][0].clone();
            bundle[part]["signatures"] = json!([one.clone(), one]);
        });
        assert!(failed.contains(&check), "{part}: {failed:?}");
        let failed = refused(FixtureStage::Bundle, move |bundle| bundle[part]["signatures"] = json!([]));
        assert!(failed.contains(&check), "{part}: {failed:?}");
    }
    let failed = refused(FixtureStage::Receipt, |receipt| {
        receipt["predicate"]["boundary"]["keyid"] = json!("SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8");
    });
    assert_eq!(failed, ["receipt-signature"], "another key than the receipt says");
}

#[test]
fn a_proof_that_does_not_lead_to_the_checkpoint_is_refused() {
    for part in ["receipt", "consumption", "seal"] {
        let failed = refused(FixtureStage::Bundle, move |bundle| {
            let text = bundle["proofs"][part].as_str().expect("proof").to_owned();
            let (head, rest) = text.split_once("\n\n").expect("proof");
            let mut lines: Vec<_> = head.lines().collect();
            lines.pop();
            bundle["proofs"][part] = json!(format!("{}\n\n{rest}", lines.join("\n")));
        });
        assert_eq!(failed, [format!("{part}-included")]);
    }
}

#[test]
fn an_unknown_checkpoint_signature_is_ignored_but_an_invalid_signature_of_a_known_key_is_refused() {
    let add = |line: &'static str| {
        move |bundle: &mut Value| {
            for part in ["receipt", "consumption", "seal"] {
                let text = format!("{}{line}\n", bundle["proofs"][part].as_str().expect("proof"));
                bundle["proofs"][part] = json!(text);
            }
        }
    };
    let stranger = "— witness.example/w AAAAAAAAAAAA";
    assert!(HistoryCase::new().edit(FixtureStage::Bundle, add(stranger)).report(VerifyOptions::default()).verified);
    let report = HistoryCase::new()
        .edit(FixtureStage::Bundle, |bundle| {
            for part in ["receipt", "consumption", "seal"] {
                let text = bundle["proofs"][part].as_str().expect("proof").to_owned();
                let mut line = text.lines().last().expect("signature").to_owned();
                let flipped = if line.ends_with("A==") { 'B' } else { 'A' };
                line.replace_range(line.len() - 20..line.len() - 19, &flipped.to_string());
                bundle["proofs"][part] = json!(format!("{text}{line}\n"));
            }
        })
        .report(VerifyOptions::default());
    assert_eq!(failed_checks(&report), ["checkpoint"]);
}

#[test]
fn documents_that_name_another_boundary_or_seal_or_policy_or_roster_are_refused() {
    let other = format!("sha256:{}", "0".repeat(64));
    let id = other.clone();
    assert_eq!(
        refused(FixtureStage::Receipt, move |receipt| receipt["predicate"]["boundary"]["id"] = json!(id)),
        ["boundary"]
    );
    assert_eq!(
        refused(FixtureStage::Receipt, |receipt| receipt["predicate"]["boundary"]["name"] = json!("prod-us")),
        ["boundary"]
    );
    assert_eq!(
        refused(FixtureStage::Authorization, |signed| signed["predicate"]["boundary"]["epoch"] = json!("0".repeat(32))),
        ["boundary"]
    );
    for (stage, field) in [(FixtureStage::Receipt, "seal"), (FixtureStage::Consumption, "seal")] {
        let seal = other.clone();
        assert_eq!(refused(stage, move |document| document["predicate"][field] = json!(seal)), ["seal"]);
    }
    let policy = other.clone();
    assert_eq!(
        refused(FixtureStage::Receipt, move |receipt| receipt["predicate"]["decision"]["policy"] = json!(policy)),
        ["seal"]
    );
    let policy = other.clone();
    assert_eq!(
        refused(FixtureStage::Roster, move |roster| roster["predicate"]["policy"] = json!(policy)),
        ["seal"],
        "a roster of another policy"
    );
    assert_eq!(refused(FixtureStage::Bundle, |bundle| bundle["builtins"] = json!({"version": 2})), ["seal"]);
    let versions = other.clone();
    assert_eq!(refused(FixtureStage::Seal, move |seal| seal["predicate"]["roster"] = json!(other)), ["roster-in-seal"]);
    assert_eq!(
        refused(FixtureStage::Seal, move |seal| seal["predicate"]["rosters"] = json!(versions)),
        ["roster-in-seal"],
        "version 1 has no signatures to name"
    );
}

#[test]
fn a_receipt_is_refused_if_its_decision_differs_from_the_decision_of_the_verifier() {
    let decision = |field: &'static str, value: Value| {
        refused(FixtureStage::Receipt, move |receipt| receipt["predicate"]["decision"][field] = value.clone())
    };
    assert_eq!(decision("approvers", json!(["alice"])), ["quorum"]);
    assert_eq!(decision("approvers", json!(["alice", "bob", "carol"])), ["quorum"]);
    assert_eq!(decision("groups", json!(["ops"])), ["quorum"]);
    assert_eq!(decision("excluded", json!(["carol"])), ["excluded"], "the proposer is left out");
    assert_eq!(decision("excluded", json!(["alice", "ci-agent"])), ["excluded"], "alice signed");
    assert_eq!(decision("handed_in_by", json!("courier")), ["excluded"]);
    assert_eq!(
        refused(FixtureStage::Policy, |policy| policy["overrides"][0]["approvals"]["required"] = json!(2)),
        ["quorum"]
    );
    assert_eq!(
        refused(FixtureStage::Policy, |policy| policy["overrides"][0]["approvals"]["required"] = json!(0)),
        ["quorum"]
    );
    assert_eq!(
        refused(FixtureStage::Policy, |policy| policy["version"] = json!(3)),
        ["quorum"],
        "a policy that can't be read"
    );
    for run in [json!({"allow": ["systemctl"]}), json!({"allow": ["printf"], "deny": ["printf"]})] {
        assert_eq!(
            refused(FixtureStage::Policy, move |policy| policy["default"]["run"] = run.clone()),
            ["permissions"]
        );
    }
    let owned = refused(FixtureStage::Roster, |roster| {
        roster["predicate"]["proposer"] = json!([{"name": "ci-agent", "owners": ["alice"], "keys": []}]);
    });
    assert_eq!(owned, ["excluded"], "the roster itself says that alice owns the proposer");
}

#[test]
fn a_receipt_with_a_signature_that_does_not_count_is_refused() {
    let policy = |policy: &mut Value| policy["overrides"] = json!([]);
    let report = HistoryCase::new().edit(FixtureStage::Policy, policy).report(VerifyOptions::default());
    assert_eq!(failed_checks(&report), ["authorization-signatures"], "bob is in no group that a rule names now");
    let report = HistoryCase::new()
        .edit(FixtureStage::Receipt, |receipt| {
            let signatures = receipt["predicate"]["authorization"]["signatures"].as_array_mut().expect("signatures");
            signatures.reverse();
        })
        .report(VerifyOptions::default());
    assert_eq!(failed_checks(&report), ["authorization-signatures"], "out of order");
    let report = HistoryCase::new()
        .edit(FixtureStage::Receipt, |receipt| receipt["predicate"]["authorization"]["signatures"] = json!([]))
        .report(VerifyOptions::default());
    assert_eq!(failed_checks(&report), ["quorum"], "no approver signed");
}

#[test]
fn a_consumption_of_another_authorization_is_refused() {
    let spent = |field: &'static str, value: Value| {
        refused(FixtureStage::Consumption, move |consumption| {
            consumption["predicate"]["spent"][0][field] = value.clone()
        })
    };
    assert_eq!(spent("nonce", json!("QUFBQUFBQUFBQUFBQUFBQUE")), ["consumption"]);
    assert_eq!(spent("expires_at", json!("2026-11-20T10:31:00Z")), ["consumption"]);
    assert_eq!(
        refused(FixtureStage::Receipt, |receipt| receipt["predicate"]["consumption"]["item"] = json!(1)),
        ["consumption"]
    );
    assert_eq!(
        refused(FixtureStage::Receipt, |receipt| receipt["predicate"]["consumption"]["index"] = json!(2)),
        ["consumption"]
    );
}

#[test]
fn a_receipt_with_contradictory_times_or_outcome_is_refused() {
    let receipt = |field: &'static str, value: Value| {
        refused(FixtureStage::Receipt, move |receipt| receipt["predicate"][field] = value.clone())
    };
    assert_eq!(receipt("started_at", json!("2026-11-20T09:39:59Z")), ["outcome"], "before the nonce was spent");
    assert_eq!(receipt("outcome", json!({"status": "unknown"})), ["outcome"], "unknown has one time");
    assert_eq!(receipt("outcome", json!({"status": "killed"})), ["outcome"], "killed without a limit");
    assert_eq!(
        refused(FixtureStage::Consumption, |consumption| consumption["predicate"]["at"] =
            json!("2026-11-20T08:59:59Z")),
        ["log-order", "window"]
    );
    let later = VerifyOptions { at: "2026-11-20T09:38:00Z".parse().ok(), ..VerifyOptions::default() };
    assert_eq!(failed_checks(&HistoryCase::new().report(later)), ["window"], "a receipt of the future");
    let now = VerifyOptions { at: "2026-11-20T09:40:01Z".parse().ok(), ..VerifyOptions::default() };
    assert!(HistoryCase::new().report(now).verified);
}

#[test]
fn subjects_that_contradict_the_receipt_are_refused() {
    let empty = |receipt: &mut Value| {
        receipt["predicate"]["output"]["stderr"]["recorded"] = json!(3);
        receipt["predicate"]["output"]["stderr"]["bytes"] = json!(3);
    };
    assert_eq!(refused(FixtureStage::Receipt, empty), ["receipt-subjects"]);
    assert_eq!(
        refused(FixtureStage::Receipt, |receipt| receipt["predicate"]["files"]["count"] = json!(1)),
        ["receipt-subjects"]
    );
    let other = |receipt: &mut Value| receipt["subject"][0]["digest"]["sha256"] = json!("0".repeat(64));
    assert_eq!(refused(FixtureStage::ReceiptSubjects, other), ["receipt-subjects"]);
}

#[test]
fn a_check_that_needs_more_data_than_a_bundle_has_is_not_checked() {
    let (verified, left) = open(FixtureStage::Receipt, |receipt| {
        receipt["predicate"]["outcome"] = json!({"status": "not_started"});
        receipt["predicate"]["sandbox"]["layers"] = json!([]);
    });
    assert!(verified && left.contains(&"sandbox"), "{left:?}");
    let report = read_by_another_version().report(VerifyOptions::default());
    assert!(
        report.verified && report.finding(CheckName::Permissions) == CheckFinding::NotChecked,
        "{:?}",
        report.checks
    );
    // A policy without an allow list denies the step, even if the program version that decided finds no commands in the
    // script.
    let report = read_by_another_version()
        .edit(FixtureStage::Policy, |policy| {
            *policy = json!({"version": 1, "default": {"mode": "deny", "approvals": policy["default"]["approvals"]}});
        })
        .report(VerifyOptions::default());
    assert_eq!(report.finding(CheckName::Permissions), CheckFinding::Failed, "{:?}", report.checks);
    // The rules of a list of programs do not depend on the script either.
    let report = read_by_another_version()
        .edit(FixtureStage::Policy, |policy| {
            policy["version"] = json!(2);
            policy["default"]["sandbox"] = json!({"programs": {"mode": "listed"}});
        })
        .report(VerifyOptions::default());
    let check = report.checks.iter().find(|check| check.name == CheckName::Permissions).expect("the check");
    assert_eq!(check.finding, CheckFinding::Failed, "{check:?}");
    assert!(check.detail.contains("has no list of programs"), "{check:?}");
    let (verified, left) = open(FixtureStage::Roster, |roster| {
        roster["predicate"]["witness"] =
            json!([{"name": "w.example", "vkey": "w.example+00000000+BAAA", "url": "https://w.example"}]);
    });
    assert!(verified && left.contains(&"witnesses"), "{left:?}");
    let report = HistoryCase::new()
        .edit(FixtureStage::Roster, |roster| roster["predicate"]["threshold"] = json!(0))
        .report(VerifyOptions::default());
    assert!(report.warnings.iter().any(|warning| warning.contains("unguarded")), "{:?}", report.warnings);
}

#[test]
fn the_report_names_each_key_of_the_roster_that_this_version_cannot_verify() {
    let foreign = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
    let report = HistoryCase::new()
        .edit(FixtureStage::Roster, move |roster| {
            roster["predicate"]["approver"][0]["keys"].as_array_mut().expect("keys").push(json!(foreign));
        })
        .report(VerifyOptions::default());
    assert!(report.verified, "{:#?}", report.checks);
    let named = |warning: &&String| warning.contains("approver alice") && warning.contains("ecdsa-sha2-nistp256");
    assert_eq!(report.warnings.iter().filter(named).count(), 1, "{:?}", report.warnings);
    assert_eq!(HistoryCase::new().report(VerifyOptions::default()).warnings, [""; 0]);
}

#[test]
fn keys_missing_from_a_newer_trusted_roster_are_not_checked() {
    let case = HistoryCase::new();
    let newer = case.next_roster(|roster| {
        roster["predicate"]["approver"].as_array_mut().expect("approvers").remove(0);
    });
    let report = case.report_with(&RosterTrust::Roster(newer), VerifyOptions::default());
    assert!(report.verified, "{:#?}", report.checks);
    assert_eq!(report.finding(CheckName::KeysStillRostered), CheckFinding::NotChecked);
    let same = case.next_roster(|_| {});
    let report = case.report_with(&RosterTrust::Roster(same), VerifyOptions::default());
    assert_eq!(report.finding(CheckName::KeysStillRostered), CheckFinding::Established);
}

#[test]
fn without_a_trusted_roster_nothing_is_verified_and_the_error_gives_the_roster_digest() {
    let bundle = std::fs::read(golden().join("valid/bundle.json")).expect("bundle");
    for trust in [
        RosterTrust::Nothing,
        RosterTrust::Roster(b"{}".to_vec()),
        RosterTrust::Roster(Vec::new()),
        RosterTrust::Roster(bundle.clone()),
    ] {
        let error = verify(&bundle, &trust, VerifyOptions::default()).expect_err("no trust");
        let first = error.first_roster.expect("the digest seen").to_string();
        assert_eq!(first, "sha256:3c3a59f0a4e86bc91127e3c5fd8ac783f9a80a41f03fa7f3cfe0a486ebc45039");
    }
    assert!(verify(b"", &RosterTrust::Nothing, VerifyOptions::default()).is_err());
    let pinned = RosterTrust::Digest(RosterDigest::of(b"another"));
    assert_eq!(failed_checks(&verify(&bundle, &pinned, VerifyOptions::default()).expect("report")), ["roster-chain"]);
}

#[test]
fn a_malformed_bundle_causes_no_panic() {
    let bundle = std::fs::read(golden().join("valid/bundle.json")).expect("bundle");
    let roster = trust("valid/roster.json");
    for length in (0..bundle.len()).step_by(487) {
        let report = verify(&bundle[..length], &roster, VerifyOptions::default()).expect("report");
        assert_eq!(failed_checks(&report), ["bundle"]);
        assert_eq!(report.checks.len(), CheckName::ALL.len());
    }
    for garbage in [&b"\xff\xfe"[..], b"null", b"[]", b"{\"mediaType\":1}", &[b'['; 5000]] {
        assert_eq!(failed_checks(&verify(garbage, &roster, VerifyOptions::default()).expect("report")), ["bundle"]);
    }
    let large = vec![b' '; crate::record::bundle::MAX_BUNDLE_BYTES + 1];
    assert_eq!(failed_checks(&verify(&large, &roster, VerifyOptions::default()).expect("report")), ["bundle"]);
}

#[test]
fn a_bundle_with_a_flipped_bit_is_refused() {
    let bundle = std::fs::read(golden().join("valid/bundle.json")).expect("bundle");
    let roster = trust("valid/roster.json");
    let whole: Value = serde_json::from_slice(&bundle).expect("json");
    let mut tried = 0;
    for at in (0..bundle.len()).step_by(61) {
        let mut flipped = bundle.clone();
        flipped[at] ^= 1 << (at % 7);
        // A bundle file need not be canonical, so white space between values may differ.
        if serde_json::from_slice::<Value>(&flipped).is_ok_and(|value| value == whole) {
            continue;
        }
        tried += 1;
        let report = verify(&flipped, &roster, VerifyOptions::default()).expect("report");
        assert!(
            !report.verified,
            "byte {at} flipped: {:?}",
            String::from_utf8_lossy(&flipped[at.saturating_sub(20)..at + 1])
        );
    }
    assert!(tried > 150, "{tried}");
}

fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), all)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

#[test]
fn a_bundle_with_any_changed_value_is_refused() {
    let bundle = std::fs::read(golden().join("valid/bundle.json")).expect("bundle");
    let bundle: Value = serde_json::from_slice(&bundle).expect("json");
    let roster = trust("valid/roster.json");
    let mut places = Vec::new();
    pointers(&bundle, "", &mut places);
    let all = [Value::Null, json!([]), json!({}), json!("\u{0}é\u{202e}"), json!(9_007_199_254_740_991_u64), json!(-1)];
    for (at, place) in places.iter().enumerate() {
        for odd in [&all[at % 6], &all[(at + 3) % 6]] {
            let mut edited = bundle.clone();
            let value = edited.pointer_mut(place).expect("place");
            if value == odd {
                continue;
            }
            *value = odd.clone();
            let report =
                verify(&serde_json::to_vec(&edited).expect("json"), &roster, VerifyOptions::default()).expect("report");
            assert!(!report.verified, "{place} = {odd}");
        }
    }
}

#[test]
fn unusual_values_signed_by_the_boundary_cause_no_panic() {
    for (stage, document) in [
        (FixtureStage::Receipt, &include_bytes!("../../../tests/conformance/golden/valid/payload/receipt.json")[..]),
        (FixtureStage::Seal, include_bytes!("../../../tests/conformance/golden/valid/payload/seal.json")),
        (FixtureStage::Consumption, include_bytes!("../../../tests/conformance/golden/valid/payload/consumption.json")),
        (
            FixtureStage::Authorization,
            include_bytes!("../../../tests/conformance/golden/valid/payload/authorization.json"),
        ),
    ] {
        let document: Value = serde_json::from_slice(document).expect("json");
        let mut places = Vec::new();
        pointers(&document["predicate"], "", &mut places);
        for (at, place) in places.into_iter().enumerate().skip(1) {
            // The fixture parses `/spent`, so an edit must not break this field.
            if place.starts_with("/spent") {
                continue;
            }
            let odd =
                [json!(9_007_199_254_740_991_u64), json!([""]), json!("\u{0}"), json!({"": null})][at % 4].clone();
            let edit = move |document: &mut Value| {
                if let Some(value) = document["predicate"].pointer_mut(&place) {
                    *value = odd.clone();
                }
            };
            let report = HistoryCase::new().edit(stage, edit).report(VerifyOptions::default());
            assert_eq!(report.checks.len(), CheckName::ALL.len());
        }
    }
}
