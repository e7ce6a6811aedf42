//! Tests of the bundle check. The tests verify golden bundles, and bundles with one edited document that is signed
//! again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::audit::tests::fixture::{FixtureStage, HistoryCase, read_by_another_version};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/golden")
}

fn trust(named: &str) -> RosterTrust {
    named.parse().map_or_else(
        |_| RosterTrust::Roster(std::fs::read(golden().join(named)).expect(named)),
        RosterTrust::Digest,
    )
}

fn report(file: &str, roster: &str) -> BundleReport {
    let bundle = std::fs::read(golden().join(file)).expect(file);
    verify(&bundle, &trust(roster), VerifyOptions::default()).expect("a trusted roster")
}

#[test]
fn the_report_says_which_contents_are_not_checked() {
    for (file, check, words) in [
        (
            "valid/bundle-session.json",
            CheckName::Consumption,
            "only the boundary knows the salt",
        ),
        (
            "valid/bundle-files.json",
            CheckName::ReceiptSubjects,
            "whose contents are not checked",
        ),
    ] {
        let report = report(file, "valid/roster.json");
        let detail = report
            .checks
            .iter()
            .find(|one| one.name == check)
            .map(|one| one.detail.as_str());
        assert!(
            detail.is_some_and(|detail| detail.contains(words)),
            "{file}: {detail:?}"
        );
    }
    let says = |file: &str| report(file, "valid/roster.json").boundary_says.join("\n");
    assert!(
        says("valid/bundle-session.json")
            .contains("the content of the session's state: not checked")
    );
    assert!(
        says("valid/bundle-artifacts.json").contains("the contents of the artifacts: not checked")
    );
    let plain = says("valid/bundle.json");
    assert!(
        !plain.contains("session") && !plain.contains("artifacts"),
        "{plain}"
    );
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
    let report = HistoryCase::new()
        .edit(stage, edit)
        .report(VerifyOptions::default());
    assert!(failed_checks(&report).is_empty(), "{:#?}", report.checks);
    let open = report
        .checks
        .iter()
        .filter(|check| check.finding == CheckFinding::NotChecked);
    (
        report.verified,
        open.map(|check| check.name.word()).collect(),
    )
}

#[test]
fn the_bundle_of_an_unedited_crossing_is_verified() {
    let report = HistoryCase::new().report(VerifyOptions::default());
    assert!(report.verified, "{:#?}", report.checks);
    for name in [CheckName::SealInForce, CheckName::Revocations] {
        assert_eq!(report.finding(name), CheckFinding::NotChecked, "{name}");
    }
    assert_eq!(
        report.finding(CheckName::KeysStillRostered),
        CheckFinding::Established
    );
    let facts = report.facts.expect("facts");
    let approved = facts.approved.expect("approved");
    assert_eq!(
        (approved.step.as_str(), approved.proposer.as_str()),
        ("nginx:restart", "ci-agent")
    );
    assert!(
        facts
            .approvers
            .iter()
            .all(|approver| approver.keyid.is_some() && !approver.groups.is_empty())
    );
}

#[test]
fn the_owners_of_a_proposer_in_the_roster_are_excluded() {
    let failed = refused(FixtureStage::Roster, |roster| {
        roster["predicate"]["proposers"]["ci-agent"] = json!({"owners": ["alice"], "keys": []});
    });
    assert_eq!(
        failed,
        ["excluded"],
        "the roster itself says that alice owns the proposer"
    );
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
    assert_eq!(
        report.finding(CheckName::Permissions),
        CheckFinding::Failed,
        "{:?}",
        report.checks
    );
    // The rules of a list of programs do not depend on the script either.
    let report = read_by_another_version()
        .edit(FixtureStage::Policy, |policy| {
            policy["default"]["sandbox"] = json!({"programs": {"mode": "listed"}});
        })
        .report(VerifyOptions::default());
    let check = report
        .checks
        .iter()
        .find(|check| check.name == CheckName::Permissions)
        .expect("the check");
    assert_eq!(check.finding, CheckFinding::Failed, "{check:?}");
    assert!(
        check.detail.contains("has no list of programs"),
        "{check:?}"
    );
    let (verified, left) = open(FixtureStage::Roster, |roster| {
        roster["predicate"]["witnesses"] =
            json!({"w.example": {"vkey": "w.example+00000000+BAAA", "url": "https://w.example"}});
    });
    assert!(verified && left.contains(&"witnesses"), "{left:?}");
    let report = HistoryCase::new()
        .edit(FixtureStage::Roster, |roster| {
            roster["predicate"]["threshold"] = json!(0)
        })
        .report(VerifyOptions::default());
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("unguarded")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn the_report_names_each_key_of_the_roster_that_this_version_cannot_verify() {
    let foreign = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
    let report = HistoryCase::new()
        .edit(FixtureStage::Roster, move |roster| {
            roster["predicate"]["approvers"]["alice"]["keys"]
                .as_array_mut()
                .expect("keys")
                .push(json!(foreign));
        })
        .report(VerifyOptions::default());
    assert!(report.verified, "{:#?}", report.checks);
    let named = |warning: &&String| {
        warning.contains("approver alice") && warning.contains("ecdsa-sha2-nistp256")
    };
    assert_eq!(
        report.warnings.iter().filter(named).count(),
        1,
        "{:?}",
        report.warnings
    );
    assert_eq!(
        HistoryCase::new().report(VerifyOptions::default()).warnings,
        [""; 0]
    );
}

#[test]
fn keys_missing_from_a_newer_trusted_roster_are_not_checked() {
    let case = HistoryCase::new();
    let newer = case.next_roster(|roster| {
        roster["predicate"]["approvers"]
            .as_object_mut()
            .expect("approvers")
            .remove("alice");
    });
    let report = case.report_with(&RosterTrust::Roster(newer), VerifyOptions::default());
    assert!(report.verified, "{:#?}", report.checks);
    assert_eq!(
        report.finding(CheckName::KeysStillRostered),
        CheckFinding::NotChecked
    );
    let same = case.next_roster(|_| {});
    let report = case.report_with(&RosterTrust::Roster(same), VerifyOptions::default());
    assert_eq!(
        report.finding(CheckName::KeysStillRostered),
        CheckFinding::Established
    );
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
        assert_eq!(
            first,
            "sha256:5f3ee154ebe1e83da8bafb4990c708f1f01b3eec6827c2d1c7403a2dee158a80"
        );
    }
    assert!(verify(b"", &RosterTrust::Nothing, VerifyOptions::default()).is_err());
    let pinned = RosterTrust::Digest(RosterDigest::of(b"another"));
    assert_eq!(
        failed_checks(&verify(&bundle, &pinned, VerifyOptions::default()).expect("report")),
        ["roster-chain"]
    );
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
    for garbage in [
        &b"\xff\xfe"[..],
        b"null",
        b"[]",
        b"{\"mediaType\":1}",
        &[b'['; 5000],
    ] {
        assert_eq!(
            failed_checks(&verify(garbage, &roster, VerifyOptions::default()).expect("report")),
            ["bundle"]
        );
    }
    let large = vec![b' '; documents::MAX_BUNDLE_BYTES + 1];
    assert_eq!(
        failed_checks(&verify(&large, &roster, VerifyOptions::default()).expect("report")),
        ["bundle"]
    );
}

fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), all)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

#[test]
fn unusual_values_signed_by_the_boundary_cause_no_panic() {
    for (stage, document) in [
        (
            FixtureStage::Receipt,
            &include_bytes!("../../../../../tests/conformance/golden/valid/payload/receipt.json")[..],
        ),
        (
            FixtureStage::Seal,
            include_bytes!("../../../../../tests/conformance/golden/valid/payload/seal.json"),
        ),
        (
            FixtureStage::Consumption,
            include_bytes!(
                "../../../../../tests/conformance/golden/valid/payload/consumption.json"
            ),
        ),
        (
            FixtureStage::Authorization,
            include_bytes!(
                "../../../../../tests/conformance/golden/valid/payload/authorization.json"
            ),
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
            let odd = [
                json!(9_007_199_254_740_991_u64),
                json!([""]),
                json!("\u{0}"),
                json!({"": null}),
            ][at % 4]
                .clone();
            let edit = move |document: &mut Value| {
                if let Some(value) = document["predicate"].pointer_mut(&place) {
                    *value = odd.clone();
                }
            };
            let report = HistoryCase::new()
                .edit(stage, edit)
                .report(VerifyOptions::default());
            assert_eq!(report.checks.len(), CheckName::ALL.len());
        }
    }
}
