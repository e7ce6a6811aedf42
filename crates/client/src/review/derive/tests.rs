//! Tests of the checks: a contradiction or a missing document makes signing impossible.

use serde_json::json;

use crate::{
    RemarkSeverity, ReviewFinding, ReviewSources, RosterSource, StatementVerdict,
    review::tests::review_case::{
        NOW, ReviewCase, case, fails, judged, kubectl, painted, remarks, signature,
    },
};
use documents::{
    Authorization, BlobDigest, PolicyDigest, Proc, RenderedDigest, Seal, SealDigest, StepDigest,
    Timestamp,
};

#[test]
fn an_authorization_that_matches_the_derived_values_passes_the_review() {
    let found = judged(&case().sources());
    assert_eq!(
        found.standing,
        StatementVerdict::Sound,
        "{:#?}",
        found.checks
    );
    assert!(
        found
            .checks
            .iter()
            .all(|check| check.finding == ReviewFinding::Holds)
    );
}

#[test]
fn an_authorization_with_a_contradiction_fails_the_review_and_the_check_is_named() {
    let spoil = |spoil: fn(&mut Authorization)| ReviewCase { spoil, ..case() };
    let seal = |seal: fn(&mut Seal)| ReviewCase { seal, ..case() };
    let cases: Vec<(&str, ReviewCase)> = vec![
        (
            "the sandbox is",
            spoil(|signed| signed.sandbox.limits.wall_ms += 1),
        ),
        (
            "the sandbox is",
            spoil(|signed| signed.sandbox.proc = Proc::Full),
        ),
        (
            "the sandbox is",
            spoil(|signed| signed.sandbox.require.clear()),
        ),
        (
            "the sandbox is",
            spoil(|signed| signed.sandbox.off_reason = Some("because".into())),
        ),
        (
            "permissions are",
            spoil(|signed| {
                signed.permissions = serde_json::from_value(
                    json!([{"type": "run", "what": "rm", "why": "built-in-deny"}]),
                )
                .expect("permission");
            }),
        ),
        (
            "the script to run",
            spoil(|signed| signed.rendered = RenderedDigest::of(b"other")),
        ),
        (
            "the parameters are complete",
            spoil(|signed| signed.params = json!({"host": 3})),
        ),
        (
            "the parameters are complete",
            spoil(|signed| signed.params = json!({"host": "a", "more": 1})),
        ),
        (
            "the definition shown",
            spoil(|signed| signed.step.digest = StepDigest::of(b"other")),
        ),
        (
            "the definition shown",
            spoil(|signed| signed.step.reference = "nginx:stop".parse().expect("ref")),
        ),
        (
            "boundary and epoch",
            spoil(|signed| signed.boundary.id = SealDigest::of(b"other")),
        ),
        (
            "boundary and epoch",
            spoil(|signed| signed.boundary.epoch = "f0".repeat(16).parse().expect("epoch")),
        ),
        (
            "the seal is signed",
            spoil(|signed| signed.boundary.name = "prod-us".parse().expect("name")),
        ),
        (
            "window of validity",
            spoil(|signed| signed.expires_at = Timestamp::from_unix(NOW)),
        ),
        (
            "window of validity",
            spoil(|signed| signed.not_before = signed.expires_at),
        ),
        (
            "window of validity",
            spoil(|signed| signed.expires_at = signed.issued_at.plus(86_401)),
        ),
        (
            "window of validity",
            spoil(|signed| signed.issued_at = Timestamp::from_unix(NOW + 61)),
        ),
        (
            "the seal is signed",
            ReviewCase {
                sealer: 1,
                ..case()
            },
        ),
        (
            "the seal is signed",
            ReviewCase {
                sealer: 9,
                ..case()
            },
        ),
        (
            "the roster in force",
            seal(|seal| seal.roster = documents::RosterDigest::of(b"other")),
        ),
        (
            "the policy in force",
            seal(|seal| seal.policy = PolicyDigest::of(b"other")),
        ),
        (
            "the sandbox is",
            seal(|seal| seal.configuration = BlobDigest::of(b"other")),
        ),
        (
            "policy lets",
            ReviewCase {
                policy: json!({"version": 1, "default": {"mode": "deny", "approvals": {"required": 1, "from": ["ops"]}}}),
                ..case()
            },
        ),
        (
            "policy lets",
            ReviewCase {
                policy: json!({"version": 1, "default": {
                    "run": {"allow": ["set"], "deny": ["systemctl"]}, "approvals": {"required": 1, "from": ["ops"]},
                }}),
                ..case()
            },
        ),
        (
            "permissions are",
            ReviewCase {
                spoil: |signed| signed.permissions.clear(),
                policy: json!({"version": 1, "default": {"run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]}}}),
                ..case()
            },
        ),
        (
            "permissions are",
            spoil(|signed| signed.permissions.push(kubectl())),
        ),
        (
            "permissions are",
            seal(|seal| seal.builtins = BlobDigest::of(b"other")),
        ),
        (
            // The sealed lists can't remove a permission that the approvers must sign, because only the boundary
            // seals these lists.
            "the built-in lists of the boundary differ from the lists of this program",
            ReviewCase {
                policy: json!({"version": 1, "default": {"run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]}}}),
                builtins: br#"{"run":{"allow":["systemctl"]},"version":1}"#.to_vec(),
                ..case()
            },
        ),
    ];
    for (at, (what, case)) in cases.iter().enumerate() {
        let sources = case.sources();
        let found = judged(&sources);
        assert_eq!(
            found.standing,
            StatementVerdict::Unsound,
            "case {at}, {what}: {:#?}",
            found.checks
        );
        assert!(
            fails(&found).contains(what),
            "case {at}: expected {what:?}, found {}",
            fails(&found)
        );
        let screen = painted(&sources, 100, false);
        assert_eq!(remarks(&sources)[0].0, RemarkSeverity::Fails, "case {at}");
        assert!(
            screen.contains("  remarks     1. NOT TRUE: "),
            "case {at}: {screen}"
        );
        assert!(
            screen.contains("  verdict     NOT TO BE SIGNED"),
            "case {at}"
        );
    }
}

#[test]
fn an_authorization_with_a_missing_document_fails_the_review() {
    let whole = case().sources();
    let without: Vec<fn(&mut ReviewSources)> = vec![
        |sources| sources.definition = None,
        |sources| sources.seal = None,
        |sources| sources.policy = None,
        |sources| sources.builtins = None,
        |sources| sources.configuration = None,
    ];
    for (at, remove) in without.iter().enumerate() {
        let mut sources = whole.clone();
        remove(&mut sources);
        assert_eq!(judged(&sources).standing, StatementVerdict::Unsound, "{at}");
    }
    let mut unsigned = whole.clone();
    if let Some(seal) = &mut unsigned.seal {
        seal.signatures.clear();
    }
    assert_eq!(judged(&unsigned).standing, StatementVerdict::Unsound);
    let mut garbage = whole;
    garbage.payload = b"{\"predicate\":\x1b[2J}".to_vec();
    let found = judged(&garbage);
    assert_eq!(found.standing, StatementVerdict::Unsound);
    assert!(painted(&garbage, 80, false).contains(r"\u{1b}[2J"));
}

#[test]
fn the_review_does_not_trust_the_roster_that_the_boundary_sends() {
    let mut sources = case().sources();
    let RosterSource::Trusted(roster, _) = std::mem::take(&mut sources.roster) else {
        panic!("trusted")
    };
    sources.roster = RosterSource::BoundarysWord(roster);
    assert_eq!(judged(&sources).standing, StatementVerdict::NoTrust);
    assert!(painted(&sources, 100, false).contains("You trust no roster for this boundary"));
    sources.roster = RosterSource::None;
    assert_eq!(judged(&sources).standing, StatementVerdict::NoTrust);
    sources.definition = Some(b"{}".to_vec());
    assert_eq!(
        judged(&sources).standing,
        StatementVerdict::Unsound,
        "a contradiction is one without trust, too"
    );
}

#[test]
fn signatures_in_a_file_are_verified() {
    let mut sources = case().sources();
    let payload = sources.payload.clone();
    sources.told = None;
    sources.signatures = vec![
        signature(1, &payload),
        signature(2, b"other"),
        signature(9, &payload),
    ];
    let found = judged(&sources);
    assert_eq!(
        found
            .signers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["alice"]
    );
    assert_eq!(found.strangers.len(), 2);
    let screen = painted(&sources, 120, false);
    assert!(
        screen.contains("1 verified by this program (alice)"),
        "{screen}"
    );
    assert_eq!(
        screen
            .matches("a signature in the file does not count")
            .count(),
        2
    );
}
