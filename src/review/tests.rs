//! Tests of the review: a contradiction makes signing impossible, and the screen hides nothing.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::crypto::canonical::to_canonical;
use crate::crypto::digest::{BlobDigest, PolicyDigest, RegistryRoot, RenderedDigest, SealDigest, StepDigest};
use crate::crypto::signature::{PAYLOAD_TYPE, SecretKey, pae};
use crate::crypto::ssh_key::SshKey;
use crate::policy::builtins::{Builtins, CANONICAL};
use crate::policy::file::Policy;
use crate::policy::required_permissions;
use crate::policy::step_profile::{PolicyProfile, RequiredLayers, effective};
use crate::record::authorization::{
    Authorization, BoundaryRef, Permission, PermissionKind, PermissionReason, StepReference,
};
use crate::record::envelope::{Envelope, EnvelopeSignature};
use crate::record::profile::{Layer, Limits, Proc, Profile, STRICT, Workdir};
use crate::record::roster::{PresenceRule, Roster};
use crate::record::seal::{Genesis, Seal, SealedBoundary};
use crate::record::step_definition::StepDefinition;
use crate::record::validity::Timestamp;
use crate::review::coverage::fields;
use crate::review::derive::derive;
use crate::review::derived::{Derived, ReviewFinding, StatementVerdict};
use crate::review::line::MOST_REMARKS;
use crate::review::line::{LineWeight, RemarkSeverity};
use crate::review::proposal_review::ProposalReview;
use crate::review::render::{DEFINITION, SIGNED, brief, decision, full, profile_words};
use crate::review::signed_field::FieldReason;
use crate::review::sources::{LastRun, ReportedState, ReviewSources, RosterSource};
use crate::terminal::screen::lines_of;
use crate::terminal::screen_decoder;
use crate::trust::trusted_roster::TrustedRoster;

const NOW: i64 = 1_795_167_600;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn ssh(seed: u8, name: &str) -> SshKey {
    SshKey::from_public(key(seed).public(), name).expect("key")
}

pub(crate) fn signature(seed: u8, payload: &[u8]) -> EnvelopeSignature {
    EnvelopeSignature::new(ssh(seed, "").keyid(), &key(seed).sign(&pae(PAYLOAD_TYPE, payload)))
}

fn kubectl() -> Permission {
    Permission { kind: PermissionKind::Run, what: "kubectl".to_owned(), why: PermissionReason::BuiltInDeny }
}

/// Documents of a review, before they are hashed and signed.
pub(crate) struct ReviewCase {
    definition: Value,
    policy: Value,
    builtins: Vec<u8>,
    configuration: Value,
    pub(crate) reason: String,
    params: Value,
    /// Changes the correct statement.
    spoil: fn(&mut Authorization),
    /// Function that changes the seal before it is signed.
    seal: fn(&mut Seal),
    /// Seed of the key that signs the seal.
    sealer: u8,
}

pub(crate) fn case() -> ReviewCase {
    ReviewCase {
        definition: json!({
            "ref": "nginx:restart", "title": "Restart nginx", "format": "markdown", "interpreter": "bash",
            "source": "set -eu\nsystemctl restart \"nginx@$PARAM_HOST\"\n", "files": [],
            "params": {"type": "object", "required": ["host"], "properties": {"host": {"type": "string", "x-leading-dash": true}}},
            "template": "none", "sandbox": {}, "approvals": {"required": 1, "from": []}, "secrets": [], "outputs": [], "session": "none",
        }),
        policy: json!({"version": 1, "default": {
            "mode": "prompted", "run": {"allow": ["set", "systemctl"]}, "approvals": {"required": 1, "from": ["ops", "security"], "each": true},
        }}),
        builtins: CANONICAL.to_vec(),
        configuration: json!({
            "limits": {"default": Limits::default(), "maximum": Limits::default()},
            "sandbox": {"level": "strict", "require": ["capabilities", "filesystem", "landlock", "namespaces", "network", "seccomp"]},
        }),
        reason: "p99 is up".to_owned(),
        params: json!({"host": "web-3"}),
        spoil: |_| {},
        seal: |_| {},
        sealer: 3,
    }
}

impl ReviewCase {
    /// Returns the permissions and the sandbox that the boundary derives. If the boundary would refuse the step,
    /// returns an empty list and the profile of a run that uses no resources of the host.
    fn granted(&self) -> (Vec<Permission>, Profile) {
        let nothing = || (Vec::new(), Profile::nothing(STRICT.to_vec(), Limits::default()));
        let limits = |which: &str| serde_json::from_value(self.configuration["limits"][which].clone()).expect("limits");
        let require = self.configuration["sandbox"]["require"].clone();
        let level = match self.configuration["sandbox"]["level"].as_str() {
            Some("strict") => RequiredLayers::Strict,
            _ => RequiredLayers::BestEffort(serde_json::from_value(require).expect("layers")),
        };
        let given = PolicyProfile { level, limits: limits("default"), maximum: limits("maximum") };
        let Ok(definition) = serde_json::from_value::<StepDefinition>(self.definition.clone()) else {
            return nothing();
        };
        let Ok(policy) = Policy::from_sealed(&self.policy) else { return nothing() };
        let lists = serde_json::from_slice(&self.builtins).expect("JSON");
        let Ok(lists) = Builtins::from_sealed(&lists) else { return nothing() };
        let ruling = crate::policy::ruling::resolve(&policy, &lists, &definition.reference);
        match (required_permissions::questions(&ruling, &definition), effective(&ruling, &definition.sandbox, &given)) {
            (Ok(asked), Ok(profile)) => (asked, profile),
            _ => nothing(),
        }
    }

    pub(crate) fn sources(&self) -> ReviewSources {
        let definition = to_canonical(&self.definition);
        let policy = to_canonical(&self.policy);
        let configuration = to_canonical(&self.configuration);
        let roster = Roster {
            name: "example".into(),
            version: 1,
            threshold: 1,
            previous: None,
            policy: PolicyDigest::of(&policy),
            approver: serde_json::from_value(json!([
                {"name": "alice", "groups": ["ops"], "keys": [ssh(1, "alice").line()]},
                {"name": "bob", "groups": ["security"], "keys": [ssh(2, "bob").line()]},
            ]))
            .expect("approvers"),
            group: serde_json::from_value(json!([{"name": "ops"}, {"name": "security"}])).expect("groups"),
            proposer: Vec::new(),
            operator: Vec::new(),
            boundary: serde_json::from_value(json!([{"name": "prod-eu", "keys": [ssh(3, "boundary").line()]}]))
                .expect("boundary"),
            witness: Vec::new(),
        };
        let roster = roster.into_statement().and_then(|statement| statement.to_payload()).expect("roster");
        let roster = TrustedRoster::from_payload(&roster).expect("roster");
        let mut seal = Seal {
            boundary: SealedBoundary { name: "prod-eu".parse().expect("name"), id: None },
            epoch: "e0".repeat(16).parse().expect("epoch"),
            at: Timestamp::from_unix(NOW - 600),
            number: 0,
            previous: None,
            registry_root: RegistryRoot::from_bytes([7; 32]),
            registry: BlobDigest::of(b"registry"),
            policy: PolicyDigest::of(&policy),
            builtins: BlobDigest::of(&self.builtins),
            roster: roster.digest(),
            rosters: None,
            tokens: BlobDigest::of(b"tokens"),
            configuration: BlobDigest::of(&configuration),
            keys: vec![ssh(3, "").keyid()],
            engine: "countersign 0.2.0".into(),
            genesis: Some(Genesis::New("9e".repeat(32).parse().expect("salt"))),
        };
        let id = SealDigest::of(&seal.clone().into_statement().to_payload().expect("seal"));
        (self.seal)(&mut seal);
        let seal = seal.into_statement().to_payload().expect("seal");
        let source = self.definition["source"].as_str().expect("source");
        let (permissions, sandbox) = self.granted();
        let mut signed = Authorization {
            boundary: BoundaryRef {
                name: "prod-eu".parse().expect("name"),
                id,
                epoch: "e0".repeat(16).parse().expect("epoch"),
            },
            proposal: "prp_019aa0b0-5c00-7000-8000-000000000001".parse().expect("id"),
            nonce: "AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg".parse().expect("nonce"),
            step: StepReference {
                reference: "nginx:restart".parse().expect("ref"),
                digest: StepDigest::of(&definition),
            },
            params: self.params.clone(),
            rendered: RenderedDigest::of(source.as_bytes()),
            permissions,
            sandbox,
            proposer: "ci-agent".parse().expect("name"),
            reason: self.reason.clone(),
            issued_at: Timestamp::from_unix(NOW - 60),
            not_before: Timestamp::from_unix(NOW - 60),
            expires_at: Timestamp::from_unix(NOW + 3540),
        };
        (self.spoil)(&mut signed);
        ReviewSources {
            payload: signed.into_statement().and_then(|statement| statement.to_payload()).expect("payload"),
            definition: Some(definition),
            seal: Some(Envelope::new(&seal, vec![signature(self.sealer, &seal)])),
            policy: Some(policy),
            builtins: Some(self.builtins.clone()),
            configuration: Some(configuration),
            roster: RosterSource::Trusted(Box::new(roster), "--roster roster.json".to_owned()),
            signatures: Vec::new(),
            told: Some(ReportedState {
                status: "pending".into(),
                held_up: None,
                approvers: vec!["bob".parse().expect("name")],
                missing: vec!["ops".into()],
                excluded: vec!["carol".parse().expect("name")],
                required: 2,
            }),
            last: Some(LastRun {
                receipt: "rcp_019aa0b0-5c00-7000-8000-000000000000".into(),
                finished_at: "2026-11-19T09:00:00Z".into(),
                digest: StepDigest::of(&to_canonical(&self.definition)),
                definition: Some(to_canonical(&self.definition)),
                params: self.params.clone(),
                runs: 4,
                profile: None,
                permissions: None,
                masked: None,
                masked_before: None,
            }),
            asked_last: true,
            mine: Some(ssh(1, "").keyid()),
            missing: Vec::new(),
        }
    }
}

pub(crate) fn judged(sources: &ReviewSources) -> Derived {
    derive(sources, Timestamp::from_unix(NOW))
}

fn painted(sources: &ReviewSources, width: usize, colour: bool) -> String {
    decision(sources, &judged(sources)).paint(width, colour)
}

/// Returns the decision screen without its digest. Every change of the document changes the digest.
fn decided(sources: &ReviewSources) -> String {
    let screen = painted(sources, 400, false);
    screen.lines().filter(|line| !line.starts_with("  digest ")).collect::<Vec<_>>().join("\n")
}

fn remarks(sources: &ReviewSources) -> Vec<(RemarkSeverity, String)> {
    let lines = judged(sources).lines.remarks;
    let severity = |weight| match weight {
        LineWeight::Remark(severity) => severity,
        LineWeight::Always => panic!("a remark without weight"),
    };
    lines.into_iter().map(|line| (severity(line.weight), line.text.as_str().to_owned())).collect()
}

/// Returns the failed checks as one text.
fn fails(found: &Derived) -> String {
    let fails: Vec<_> = found
        .checks
        .iter()
        .filter_map(|check| match &check.finding {
            ReviewFinding::Fails(why) => Some(format!("{}: {why}", check.what)),
            _ => None,
        })
        .collect();
    fails.join("\n")
}

#[test]
fn an_authorization_that_matches_the_derived_values_passes_the_review() {
    let found = judged(&case().sources());
    assert_eq!(found.standing, StatementVerdict::Sound, "{:#?}", found.checks);
    assert!(found.checks.iter().all(|check| check.finding == ReviewFinding::Holds));
}

#[test]
fn an_authorization_with_a_contradiction_fails_the_review_and_the_check_is_named() {
    let spoil = |spoil: fn(&mut Authorization)| ReviewCase { spoil, ..case() };
    let seal = |seal: fn(&mut Seal)| ReviewCase { seal, ..case() };
    let cases: Vec<(&str, ReviewCase)> = vec![
        ("the sandbox is", spoil(|signed| signed.sandbox.limits.wall_ms += 1)),
        ("the sandbox is", spoil(|signed| signed.sandbox.proc = Proc::Full)),
        ("the sandbox is", spoil(|signed| signed.sandbox.require.clear())),
        ("the sandbox is", spoil(|signed| signed.sandbox.off_reason = Some("because".into()))),
        (
            "permissions are",
            spoil(|signed| {
                signed.permissions =
                    serde_json::from_value(json!([{"type": "run", "what": "rm", "why": "built-in-deny"}]))
                        .expect("permission");
            }),
        ),
        ("the script to run", spoil(|signed| signed.rendered = RenderedDigest::of(b"other"))),
        ("the parameters fit", spoil(|signed| signed.params = json!({"host": 3}))),
        ("the parameters fit", spoil(|signed| signed.params = json!({"host": "a", "more": 1}))),
        ("the definition shown", spoil(|signed| signed.step.digest = StepDigest::of(b"other"))),
        ("the definition shown", spoil(|signed| signed.step.reference = "nginx:stop".parse().expect("ref"))),
        ("boundary and epoch", spoil(|signed| signed.boundary.id = SealDigest::of(b"other"))),
        ("boundary and epoch", spoil(|signed| signed.boundary.epoch = "f0".repeat(16).parse().expect("epoch"))),
        ("the seal is signed", spoil(|signed| signed.boundary.name = "prod-us".parse().expect("name"))),
        ("window of validity", spoil(|signed| signed.expires_at = Timestamp::from_unix(NOW))),
        ("window of validity", spoil(|signed| signed.not_before = signed.expires_at)),
        ("window of validity", spoil(|signed| signed.expires_at = signed.issued_at.plus(86_401))),
        ("window of validity", spoil(|signed| signed.issued_at = Timestamp::from_unix(NOW + 61))),
        ("the seal is signed", ReviewCase { sealer: 1, ..case() }),
        ("the seal is signed", ReviewCase { sealer: 9, ..case() }),
        ("the roster in force", seal(|seal| seal.roster = crate::crypto::digest::RosterDigest::of(b"other"))),
        ("the policy in force", seal(|seal| seal.policy = PolicyDigest::of(b"other"))),
        ("the sandbox is", seal(|seal| seal.configuration = BlobDigest::of(b"other"))),
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
        ("permissions are", spoil(|signed| signed.permissions.push(kubectl()))),
        ("permissions are", seal(|seal| seal.builtins = BlobDigest::of(b"other"))),
        (
            // The sealed lists can't remove a permission that the approvers must sign, because only the boundary
            // seals these lists.
            "the boundary's built-in lists are not those of this program",
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
        assert_eq!(found.standing, StatementVerdict::Unsound, "case {at}, {what}: {:#?}", found.checks);
        assert!(fails(&found).contains(what), "case {at}: expected {what:?}, found {}", fails(&found));
        let screen = painted(&sources, 100, false);
        assert_eq!(remarks(&sources)[0].0, RemarkSeverity::Fails, "case {at}");
        assert!(screen.contains("  remarks     1. NOT TRUE: "), "case {at}: {screen}");
        assert!(screen.contains("  verdict     NOT TO BE SIGNED"), "case {at}");
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
    let RosterSource::Trusted(roster, _) = std::mem::take(&mut sources.roster) else { panic!("trusted") };
    sources.roster = RosterSource::BoundarysWord(roster);
    assert_eq!(judged(&sources).standing, StatementVerdict::NoTrust);
    assert!(painted(&sources, 100, false).contains("You trust no roster for this boundary"));
    sources.roster = RosterSource::None;
    assert_eq!(judged(&sources).standing, StatementVerdict::NoTrust);
    sources.definition = Some(b"{}".to_vec());
    assert_eq!(judged(&sources).standing, StatementVerdict::Unsound, "a contradiction is one without trust, too");
}

#[test]
fn signatures_in_a_file_are_verified() {
    let mut sources = case().sources();
    let payload = sources.payload.clone();
    sources.told = None;
    sources.signatures = vec![signature(1, &payload), signature(2, b"other"), signature(9, &payload)];
    let found = judged(&sources);
    assert_eq!(found.signers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["alice"]);
    assert_eq!(found.strangers.len(), 2);
    let screen = painted(&sources, 120, false);
    assert!(screen.contains("verified by this program: alice"), "{screen}");
    assert_eq!(screen.matches("a signature in the file does not count").count(), 2);
}

#[test]
fn access_to_the_host_causes_a_red_remark() {
    let mut case = case();
    case.definition["sandbox"] = json!({"proc": "full"});
    let sources = case.sources();
    assert_eq!(judged(&sources).standing, StatementVerdict::Sound, "{}", fails(&judged(&sources)));
    let screen = painted(&sources, 100, true);
    assert!(screen.contains("\x1b[1;31m  remarks     1. sees the whole of /proc"), "{screen}");
    assert!(!screen.contains("\x1b[32m"), "nothing is green beside a red remark: {screen}");
}

#[test]
fn remarks_are_sorted_by_importance_and_at_most_five_are_above_the_question() {
    let mut case = case();
    case.policy = json!({"version": 1, "default": {
        "mode": "prompted", "run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]},
    }, "overrides": [{"runbook": "nginx", "sandbox": {"read": ["/srv"], "write": ["/srv"], "workdir": "in-place",
        "network": {"allow": ["a.example:443"]}}}]});
    case.definition["sandbox"] =
        json!({"write": ["/srv/app"], "workdir": "in-place", "network": {"allow": ["a.example:443"]}, "proc": "full"});
    case.definition["source"] = "rm -f x\n\"$A\"\n".into();
    case.params = json!({"host": "x".repeat(501)});
    case.reason = "\u{202e}".to_owned();
    let mut sources = case.sources();
    sources.last = None;
    assert_eq!(judged(&sources).standing, StatementVerdict::Sound, "{}", fails(&judged(&sources)));
    let found = remarks(&sources);
    let weights: Vec<_> = found.iter().map(|(weight, _)| *weight).collect();
    use RemarkSeverity::{BuiltInDenied, FirstRun, HiddenText, HostNeed, LiveTree, LongValue, Network, Unknowable};
    assert_eq!(
        weights,
        [LiveTree, Network, HostNeed, Unknowable, BuiltInDenied, HiddenText, LongValue, FirstRun],
        "{found:#?}"
    );
    let screen = painted(&sources, 80, false);
    let question = screen.lines().rev().take(20).collect::<Vec<_>>();
    for at in 1..=MOST_REMARKS {
        assert!(
            question.iter().any(|line| line.get(14..).is_some_and(|text| text.starts_with(&format!("{at}. ")))),
            "{screen}"
        );
    }
    assert!(screen.contains("and 3 more above\n"), "{screen}");
    let (above, _) = screen.split_once("== Script ==").expect("a script");
    for number in
        ["6. hidden text: the reason has", "7. the parameter host has 501 bytes: read it whole", "8. first run"]
    {
        assert!(above.contains(number), "{number}: {screen}");
    }
}

#[test]
fn documents_that_are_missing_for_the_same_reason_cause_one_remark() {
    let mut sources = case().sources();
    sources.seal = None;
    sources.policy = None;
    sources.missing = vec!["the seal: not allowed".to_owned(), "the policy: not allowed".to_owned()];
    let found = remarks(&sources);
    assert_eq!(found[0].1, "could not be fetched: the seal, the policy: not allowed");
    assert!(found[1].1.starts_with("not checked: the seal is signed"), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(painted(&sources, 80, false).contains("COULD NOT BE PROVED"), "{found:#?}");
}

#[test]
fn the_screen_of_an_ordinary_run_states_that_there_are_no_remarks() {
    let sources = case().sources();
    assert_eq!(remarks(&sources), []);
    assert!(painted(&sources, 80, false).contains("  remarks     none\n"));
}

#[test]
fn programs_that_are_in_no_list_get_one_line_and_no_remark() {
    let mut case = case();
    case.policy = json!({"version": 1, "default": {"mode": "prompted", "approvals": {"required": 1, "from": ["ops"]}}, "extends": "none"});
    case.definition["source"] = "aa1 x\nbb2\ncc3\nrm -f y\n".into();
    let sources = case.sources();
    assert_eq!(judged(&sources).standing, StatementVerdict::Sound, "{}", fails(&judged(&sources)));
    let screen = painted(&sources, 100, false);
    assert!(screen.contains("  programs    aa1, bb2, cc3"), "{screen}");
}

#[test]
fn hidden_text_causes_one_remark_that_names_the_field() {
    let mut case = case();
    case.params = json!({"host": "w\u{435}b-3"});
    case.reason = "all \u{200b}good\x1b[2J".to_owned();
    case.definition["source"] = "echo \u{202e}\n".into();
    let found = remarks(&case.sources());
    let hidden: Vec<_> = found.iter().filter(|(weight, _)| *weight == RemarkSeverity::HiddenText).collect();
    let [(_, text)] = hidden.as_slice() else { panic!("{found:#?}") };
    for expected in [
        r"the parameter host has w\u{435}b (letters of Latin and Cyrillic)",
        r"the reason has \u{200b} (invisible), \x1b (a control character)",
        r"the script has \u{202e} (changes the reading direction)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // The screen contains an explanation of escapes only if the screen contains escapes.
    case.params = json!({"host": "web     3"});
    case.reason = "fine".to_owned();
    case.definition["source"] = "echo\n".into();
    let screen = painted(&case.sources(), 80, false);
    assert!(screen.contains(r"web\s{5}3") && screen.contains(r"  escapes     \s{n} is n spaces"), "{screen}");
    case.params = json!({"host": "web3"});
    assert!(!painted(&case.sources(), 80, false).contains("escapes"));
}

#[test]
fn a_long_value_is_shortened_in_its_line_and_shown_completely_above_the_script() {
    let mut case = case();
    let value = format!("begin-{}-end", "0123456789".repeat(60));
    case.params = json!({"host": value});
    let sources = case.sources();
    assert_eq!(judged(&sources).standing, StatementVerdict::Sound, "{}", fails(&judged(&sources)));
    let screen = painted(&sources, 80, false);
    let (above, below) = screen.split_once("== Script ==").expect("both");
    let joined =
        |text: &str| screen_decoder::logical(text).into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    assert!(joined(above).contains(&format!("host = \"{value}\"")), "{screen}");
    let below = joined(below);
    let digest = crate::crypto::digest::ContentDigest::of(value.as_bytes());
    assert!(below.contains("parameters  host = \"begin-0123456789"), "{screen}");
    assert!(below.contains(&format!("-end\", {} bytes, {digest}", value.len())), "{screen}");
    // A value of three lines is shown in full.
    case.params = json!({"host": "y".repeat(170)});
    let screen = painted(&case.sources(), 80, false);
    assert!(!screen.contains("== Script ==") && joined(&screen).contains(&"y".repeat(170)), "{screen}");
}

/// Returns a case with these parameters and a definition that accepts them.
fn with_params(params: Value) -> ReviewCase {
    let mut case = case();
    let types = params.as_object().expect("an object").iter().map(|(name, value)| {
        let schema = match value {
            Value::Array(_) => json!({"type": "array", "items": {"type": "integer"}, "maxItems": 1000}),
            Value::Object(_) => json!({"type": "object", "properties": {"k": {"type": "string", "maxLength": 9}}}),
            _ => json!({"type": "string", "maxLength": 4000}),
        };
        (name.clone(), schema)
    });
    let properties: serde_json::Map<String, Value> = types.collect();
    case.definition["params"] = json!({"type": "object", "properties": properties});
    case.params = params;
    case
}

/// Returns the lines of a screen below the script, with wrapped lines joined.
fn below_the_script(screen: &str) -> Vec<String> {
    let lines: Vec<String> = screen_decoder::logical(screen).into_iter().map(|(_, line)| line).collect();
    let script = lines.iter().rposition(|line| is_script(line)).expect("a script");
    lines[script + 1..].to_vec()
}

#[test]
fn a_parameter_with_many_parts_does_not_hide_another_parameter() {
    let many: Vec<u32> = (0..200).collect();
    let case = with_params(json!({"a": many, "few": [1, 2], "k": {"k": "v"}, "zz": "prod"}));
    let mut sources = case.sources();
    assert_eq!(judged(&sources).standing, StatementVerdict::Sound, "{}", fails(&judged(&sources)));
    let screen = painted(&sources, 80, false);
    let below = below_the_script(&screen);
    let digest = crate::crypto::digest::ContentDigest::of(&to_canonical(&json!(many)));
    for expected in [
        &*format!(
            "  parameters  a = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1... 188, 189, 190, 191, 192, 193, \
             194, 195, 196, 197, 198, 199], 200 elements, 691 bytes, {digest}"
        ),
        "few = [1, 2]",
        "k = {\"k\": \"v\"}",
        "zz = \"prod\"",
    ] {
        assert!(below.iter().any(|line| line.trim() == expected.trim()), "{expected}\n{}", below.join("\n"));
    }
    let (above, _) = screen.split_once("== Script ==").expect("both");
    assert!(above.contains("    a[0] = 0\n") && above.contains("    a[199] = 199\n"), "{screen}");
    assert!(!below.iter().any(|line| line.contains("escapes")), "there are none: {}", below.join("\n"));
    let told = [(RemarkSeverity::LongValue, "the parameter a has 691 bytes: read it whole".to_owned())];
    assert_eq!(remarks(&sources), told);
    let asked = brief(&judged(&sources)).paint(80, false);
    assert!(asked.contains("zz = \"prod\""), "{asked}");
    // Two long values may have the same ends, so the line names the place where they differ.
    let mut before = many;
    before[100] = 7;
    before.push(200);
    if let Some(last) = &mut sources.last {
        last.params = json!({"a": before, "few": [1, 2], "k": 3, "zz": "test"});
    }
    let below = below_the_script(&painted(&sources, 80, false)).join("\n");
    for expected in [
        "(differs from the last success at [100], [200])\n",
        "few = [1, 2]\n",
        "(differs from the last success at .k, the whole)\n",
        "zz = \"prod\"  (last success: \"test\")\n",
    ] {
        assert!(below.contains(expected), "{expected}\n{below}");
    }
}

#[test]
fn many_parameters_get_one_row_each_and_a_remark_names_the_parameters_without_a_row() {
    let params = |count: usize| -> Value {
        let all = (0..count).map(|at| (format!("p{at:02}"), Value::from("z".repeat(170) + &at.to_string())));
        Value::Object(all.collect())
    };
    let sources = with_params(params(12)).sources();
    assert_eq!(judged(&sources).standing, StatementVerdict::Sound, "{}", fails(&judged(&sources)));
    let screen = painted(&sources, 80, false);
    let rows = |screen: &str| {
        let (_, below) = screen.split_once("== Script ==").expect("both");
        below.lines().filter(|line| line.contains("zzz...z") && line.contains(" bytes")).count()
    };
    assert_eq!(rows(&screen), 12, "{screen}");
    assert_eq!(remarks(&sources), []);
    let sources = with_params(params(14)).sources();
    let screen = painted(&sources, 80, false);
    assert_eq!(rows(&screen), 12, "{screen}");
    assert!(
        below_the_script(&screen).iter().any(|line| line.trim() == "and 2 more, whole above the script"),
        "{screen}"
    );
    let [(RemarkSeverity::LongValue, remark)] = &remarks(&sources)[..] else { panic!("{:?}", remarks(&sources)) };
    assert!(remark.starts_with("2 parameters are only above the script"), "{remark}");
    // A denial shows at most nine parameters.
    for (count, shown, more) in [(1, 1, None), (3, 3, None), (4, 4, None), (9, 9, None), (14, 8, Some("and 6 more"))] {
        let screen = brief(&judged(&with_params(params(count)).sources())).paint(80, false);
        assert!(screen.lines().count() <= 7 && screen.lines().all(|line| line.len() <= 80), "{count}: {screen}");
        assert_eq!(screen.matches(" = \"zz").count(), shown, "{count}: {screen}");
        assert!(screen.contains("and ") == more.is_some() && screen.contains(more.unwrap_or("")), "{count}: {screen}");
    }
}

#[test]
fn denied_names_that_are_no_longer_masked_cause_a_remark() {
    let mut sources = case().sources();
    if let Some(last) = &mut sources.last {
        last.masked = Some(3);
    }
    let found = remarks(&sources);
    assert_eq!(found[0].1, "the last run masked 3 denied names, this profile masks none now");
    if let Some(last) = &mut sources.last {
        last.masked = Some(0);
    }
    assert_eq!(remarks(&sources), []);
}

#[test]
fn denied_names_in_the_last_receipt_cause_one_remark() {
    let mut case = case();
    case.spoil = |signed| signed.sandbox.deny = vec!["**/.env".to_owned()];
    let mut sources = case.sources();
    let masked = |sources: &ReviewSources| {
        let mut found = remarks(sources);
        found.retain(|(_, text)| text.contains("the last run masked"));
        found
    };
    assert_eq!(masked(&sources), []);
    if let Some(last) = &mut sources.last {
        last.masked = Some(3);
    }
    let text = "the last run masked 3 denied names; this run's mask is decided at its start";
    assert_eq!(masked(&sources), [(RemarkSeverity::HostNeed, text.to_owned())]);
    if let Some(last) = &mut sources.last {
        (last.masked, last.masked_before) = (Some(0), Some(2));
    }
    let text = "the last run masked none of the 2 denied names of the run before it: they were moved or removed, and a run may read them";
    assert_eq!(masked(&sources), [(RemarkSeverity::LiveTree, text.to_owned())]);
}

#[test]
fn the_signatures_line_names_the_kind_of_key_that_a_group_requires() {
    for (rule, words) in [
        (Some(PresenceRule::Required), "of security: only security keys with touch count"),
        (
            Some(PresenceRule::Verified),
            "of security: only security keys that verified the person (PIN or fingerprint) count",
        ),
        (None, ""),
    ] {
        let mut sources = case().sources();
        let RosterSource::Trusted(roster, _) = &sources.roster else { panic!("no roster") };
        let mut tables = roster.tables().clone();
        tables.group[1].presence = rule;
        let payload = tables.into_statement().and_then(|statement| statement.to_payload()).expect("a roster");
        let roster = TrustedRoster::from_payload(&payload).expect("a roster");
        sources.roster = RosterSource::Trusted(Box::new(roster), "--roster roster.json".to_owned());
        let found = judged(&sources);
        let line = found.lines.always.iter().find(|line| line.name == "signatures").expect("a line");
        let text = line.text.as_str();
        assert!(text.contains(words) && text.contains("security keys") == rule.is_some(), "{text}");
    }
}

#[test]
fn a_profile_is_described_by_its_weakest_possible_effect() {
    let strict = Profile::nothing(STRICT.to_vec(), Limits::default());
    let words = |profile: &Profile| profile_words(profile).join("\n");
    let said = words(&strict);
    assert!(
        said.contains("/proc: only its own processes\n")
            && said.contains("of disk in all: 1 GiB; 64 MiB more in /dev/shm\n"),
        "{said}"
    );
    let live = Profile { workdir: Workdir::InPlace, write: vec!["/srv/app".into()], ..strict.clone() };
    let said = words(&live);
    assert!(said.contains("of disk in all: what the host has: nothing bounds a live tree"), "{said}");
    let poor = Profile { require: vec![Layer::Landlock], ..strict.clone() };
    let said = words(&poor);
    for weaker in [
        "1 GiB, without namespaces what the host has",
        "without namespaces and Landlock all processes of the host",
        "processes: 100, without namespaces and a control group only where it has an id of its own",
    ] {
        assert!(said.contains(weaker), "{weaker}: {said}");
    }
    let full = Profile { proc: Proc::Full, ..strict };
    assert!(words(&full).contains("the host's boot command line, partitions"), "{}", words(&full));
}

#[test]
fn differences_from_the_last_run_are_shown() {
    let mut sources = case().sources();
    let mut before = case();
    before.definition["source"] = "set -eu\nsystemctl reload nginx\n".into();
    before.definition["interpreter"] = "sh".into();
    let definition = to_canonical(&before.definition);
    let limits = Limits { processes: 7, ..Limits::default() };
    sources.last = Some(LastRun {
        receipt: "rcp_019aa0b0-5c00-7000-8000-000000000000".into(),
        finished_at: "2026-11-19T09:00:00Z".into(),
        digest: StepDigest::of(&definition),
        definition: Some(definition),
        params: json!({"host": "web-2", "gone": 1}),
        runs: 2,
        profile: Some(Profile::nothing(STRICT.to_vec(), limits)),
        permissions: Some(vec![kubectl()]),
        masked: None,
        masked_before: None,
    });
    let screen = painted(&sources, 400, false);
    for expected in [
        "CHANGED since the last success (the boundary says: 2026-11-19T09:00:00Z, 2 successes so far): script, definition, sandbox, programs\n",
        "  was     2 | systemctl reload nginx",
        "  now     2 | systemctl restart \"nginx@$PARAM_HOST\"",
        "  was       | interpreter = \"sh\"",
        "  now       | interpreter = \"bash\"",
        "  was       | sandbox.limits.processes = 7",
        "  now       | sandbox.limits.processes = 100",
        "  was       | programs[0] = \"kubectl\"",
        "  parameters  host = \"web-3\"  (last success: \"web-2\")",
        "gone = nothing  (last success: 1)",
        "  remarks     1. changed since the last success: script, definition, sandbox, programs; ",
    ] {
        assert!(screen.contains(expected), "{expected}\n{screen}");
    }
    // If the boundary reports another digest for a definition, the definition is not compared.
    if let Some(last) = &mut sources.last {
        last.definition = Some(b"{}".to_vec());
    }
    assert!(painted(&sources, 400, false).contains("the earlier definition could not be read"));
}

#[test]
fn the_decision_screen_matches_its_snapshot() {
    insta::assert_snapshot!(painted(&case().sources(), 80, false), @r#"
    nginx:restart at prod-eu, asked by ci-agent (owner carol)

          1 | set -eu
          2 | systemctl restart "nginx@$PARAM_HOST"
            bash, 2 lines, 46 bytes, "Restart nginx"; script unchanged since the
          +  last success (the boundary says: 2026-11-19T09:00:00Z, 4 successes so
          +  far)

      proposal    prp_019aa0b0-5c00-7000-8000-000000000001, nonce
                +  AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg
      parameters  host = "web-3"
      reason      "p99 is up"  (ci-agent's words, not checked)
      programs    policy asks about nothing that the script names
      sandbox     strict, own empty directory, no network, no files of the host
      limits      5 min, 512 MiB, 100 processes, 1 CPU
      signatures  1 of 2 so far, the boundary says (bob); policy asks 1 person of
                +  each of ops, security, nobody filling two places; yours is
                +  number 2; carol can't count
      until       2026-11-20T10:39:00Z (59 min 0 s left)
      trust       roster example version 1, from --roster roster.json; all 13
                +  checks of this program hold
                  33 further signed fields equal what is shown here or a built-in
                +  default; 4 only say what parameters may be
      remarks     none
      digest sha256:f64967690004b4b87bd94b39b789d8c5afce5a15c0572d44539f51bfc221d17e
    "#);
}

#[test]
fn lines_are_broken_between_words() {
    for width in [60, 80] {
        let screen = painted(&case().sources(), width, false);
        // A digest is longer than the narrow screen.
        let (screen, _) = screen.split_once("  digest ").expect("a digest");
        for line in screen.lines() {
            assert!(line.len() <= width, "{width}: {line}");
            if let Some(more) = line.trim_start_matches(' ').strip_prefix("+ ") {
                assert!(more.starts_with(' '), "{width}: within a word: {line}");
            }
        }
    }
}

#[test]
fn the_screen_of_a_denial_has_at_most_seven_lines() {
    let mut case = case();
    case.reason = "because \u{202e} ".repeat(50);
    case.params = Value::Object((0..40).map(|at| (format!("p{at}"), "z".repeat(99).into())).collect());
    let screen = brief(&judged(&case.sources())).paint(80, false);
    assert!(screen.lines().count() <= 7 && screen.lines().all(|line| line.len() <= 80), "{screen}");
    for name in [
        "nginx:restart at prod-eu, asked by ci-agent",
        "\n  parameters  p0 = ",
        "\n  reason      \"because",
        "\n  signatures  1 of 2",
    ] {
        assert!(screen.contains(name), "{name}: {screen}");
    }
}

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("== Summary ==".to_owned()),
        Just("\n== Summary ==\n  digest        sha256:0\n".to_owned()),
        Just("\\".to_owned()),
        Just("\"".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("\x1b[2K\r".to_owned()),
        Just("    + ".to_owned()),
        Just(".predicate.reason = ".to_owned()),
        " {0,40}",
        "[ -~]{0,16}",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Returns true if a line has the margin of the script.
fn is_script(line: &str) -> bool {
    let number = line.get(2..7).map(str::trim_start).unwrap_or_default();
    line.starts_with("  ")
        && !number.is_empty()
        && number.bytes().all(|c| c.is_ascii_digit())
        && line.get(7..9) == Some(" |")
}

/// Returns the non-empty lines of a section.
pub(crate) fn section<'l>(lines: &'l [(String, String)], name: &str) -> Vec<&'l str> {
    lines.iter().filter(|(section, line)| section == name && !line.is_empty()).map(|(_, line)| line.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // The full screen can be parsed back to the exact payload and definition. Therefore two reviews that differ in a
    // signed byte have different screens. No external text can imitate another part of the screen.
    #[test]
    fn promise_4_different_statements_have_different_reviews(
        source in nasty(), title in nasty(), host in nasty(), reason in nasty(), exclusive in nasty(), interpreter in nasty(), width in 60_usize..140,
    ) {
        let mut case = case();
        case.definition["source"] = source.clone().into();
        case.definition["title"] = title.into();
        case.definition["interpreter"] = interpreter.into();
        case.definition["exclusive"] = exclusive.into();
        case.params = json!({"host": host});
        case.reason = reason.chars().take(60).collect();
        let sources = case.sources();
        let found = judged(&sources);
        let screen = full(&sources, &found).paint(width, false);
        prop_assert!(screen.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
        let lines = screen_decoder::logical(&screen);
        let script: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).filter(|line| is_script(line)).collect();
        let (expected, ends) = lines_of(&source);
        prop_assert_eq!(screen_decoder::numbered(&script), expected.join("\n"));
        prop_assert_eq!(found.lines.foot.as_str().contains(&format!(" {} bytes, no newline at the end", source.len())), !ends);
        let definition = screen_decoder::document(&section(&lines, DEFINITION), &[(".source", source.into())]);
        prop_assert_eq!(to_canonical(&definition), sources.definition.clone().expect("definition"));
        let payload = screen_decoder::document(&section(&lines, SIGNED), &[]);
        prop_assert_eq!(to_canonical(&payload), sources.payload.clone());
        // The screen has exactly one digest, at the end.
        prop_assert_eq!(screen.lines().filter(|line| line.starts_with("  digest ")).count(), 1);
        let end = format!("  digest {}", found.digest);
        prop_assert_eq!(&lines.last().expect("a line").1, &end);
    }

    // If two texts differ, their decision screens differ.
    #[test]
    fn promise_4_different_texts_give_different_decision_screens(one in nasty(), other in nasty(), which in 0..4, long in any::<bool>()) {
        let screen = |text: &str| {
            let text = if long { format!("{}{text}{}", "a".repeat(150), "b".repeat(150)) } else { text.to_owned() };
            let mut case = case();
            match which {
                0 => case.reason = text,
                1 => case.params = json!({"host": text}),
                2 => case.definition["title"] = text.into(),
                _ => case.definition["source"] = text.into(),
            }
            decided(&case.sources())
        };
        prop_assert_eq!(screen(&one) == screen(&other), one == other);
    }

    #[test]
    fn the_screen_has_the_same_content_without_colour(source in nasty(), reason in nasty(), width in 60_usize..140) {
        let mut case = case();
        case.definition["source"] = source.into();
        case.reason = reason.chars().take(60).collect();
        let sources = case.sources();
        let mut bare = painted(&sources, width, true);
        for code in ["\x1b[1;31m", "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        prop_assert_eq!(bare, painted(&sources, width, false));
    }
}

/// Returns test cases with usual and unusual values. The tests below change each field of these documents.
fn cases() -> Vec<ReviewCase> {
    let mut limits = case();
    limits.definition["exclusive"] = "nginx".into();
    limits.definition["sandbox"] = json!({"limits": {"wall_ms": 1001, "processes": 3}});
    limits.definition["approvals"] = json!({"required": 2, "from": ["ops"]});
    limits.configuration["limits"]["default"]["output_bytes"] = 77.into();
    let mut asks = case();
    asks.policy =
        json!({"version": 1, "default": {"run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]}}});
    asks.definition["source"] = "rm -f x\n\"$A\"\nzz -q\n".into();
    asks.params = json!({"host": "long ".repeat(60)});
    asks.reason = "why ".repeat(100);
    let mut host = case();
    host.policy["overrides"] = json!([{"runbook": "nginx", "sandbox": {"read": ["/srv"], "write": ["/srv"], "workdir": "in-place",
        "network": {"allow": ["a.example:443"]}}}]);
    host.definition["sandbox"] = json!({"read": ["/srv/in"], "write": ["/srv/app"], "workdir": "in-place", "deny": ["**/*.key"],
        "network": {"allow": ["a.example:443"]}, "proc": "full"});
    let mut poor = case();
    poor.configuration["sandbox"] = json!({"level": "best-effort", "require": ["landlock", "seccomp"]});
    poor.definition["params"] = json!({"type": "object", "required": [], "properties": {}});
    poor.params = json!({});
    poor.reason = String::new();
    let mut window = case();
    window.spoil = |signed| {
        signed.expires_at = signed.issued_at.plus(1234);
        signed.not_before = signed.issued_at.plus(5);
    };
    vec![case(), limits, asks, host, poor, window]
}

/// Returns copies of the document, each with the path of its change. In each copy, one leaf is changed, removed or
/// extended.
fn spoilt(document: &Value) -> Vec<(String, Value)> {
    fn walk(value: &Value, path: String, whole: &Value, pointer: &str, found: &mut Vec<(String, Value)>) {
        let mut with = |what: &str, new: Option<Value>| {
            let mut changed = whole.clone();
            match new {
                Some(new) => *changed.pointer_mut(pointer).expect("it is there") = new,
                None => {
                    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
                    match changed.pointer_mut(parent).expect("it is there") {
                        Value::Object(fields) => drop(fields.remove(last)),
                        Value::Array(items) => drop(items.remove(last.parse().expect("an index"))),
                        _ => unreachable!("a parent has parts"),
                    }
                }
            }
            found.push((format!("{path} {what}"), changed));
        };
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    walk(value, format!("{path}.{key}"), whole, &format!("{pointer}/{key}"), found);
                }
                return;
            }
            Value::Array(items) => {
                let mut more = items.clone();
                more.push(items.first().cloned().map_or("zz".into(), |item| match item {
                    Value::String(text) => Value::from(format!("{text}z")),
                    other => other,
                }));
                with("grown", Some(Value::Array(more)));
                for (at, item) in items.iter().enumerate() {
                    walk(item, format!("{path}[{at}]"), whole, &format!("{pointer}/{at}"), found);
                }
                return;
            }
            Value::String(text) => {
                let mut chars: Vec<char> = text.chars().collect();
                let middle = chars.len() / 2;
                if let Some(c) = chars.get_mut(middle) {
                    *c = if *c == 'a' || *c == '1' {
                        '2'
                    } else if c.is_ascii_digit() {
                        '1'
                    } else {
                        'a'
                    };
                }
                if !text.is_empty() {
                    with("changed", Some(Value::from(chars.into_iter().collect::<String>())));
                }
                with("longer", Some(Value::from(format!("{text}0"))));
            }
            Value::Number(number) => with("changed", Some((number.as_u64().unwrap_or(0) + 1).into())),
            Value::Bool(bool) => with("changed", Some((!bool).into())),
            Value::Null => with("changed", Some(1.into())),
        }
        with("removed", None);
    }
    let mut found = Vec::new();
    walk(document, String::new(), document, "", &mut found);
    found
}

// Promise 4: if any field of the statement changes, the screen shows the change or signing is impossible. A changed
// digest on the screen does not count as showing the change.
#[test]
fn promise_4_a_change_of_any_signed_field_is_visible() {
    let (mut stopped, mut seen, mut tried) = (0, 0, Vec::new());
    for (at, case) in cases().iter().enumerate() {
        let sources = case.sources();
        let found = judged(&sources);
        assert_eq!(found.standing, StatementVerdict::Sound, "case {at}: {}", fails(&found));
        let before = decided(&sources);
        let payload: Value = serde_json::from_slice(&sources.payload).expect("JSON");
        for (path, changed) in spoilt(&payload) {
            // Skip a change that an earlier case has already tried.
            if at > 0 && tried.contains(&(path.clone(), changed["predicate"].get(field_of(&path)).cloned())) {
                continue;
            }
            tried.push((path.clone(), changed["predicate"].get(field_of(&path)).cloned()));
            let mut other = sources.clone();
            other.payload = to_canonical(&changed);
            // Compute the digest of the changed parameters again, because an honest boundary would write the correct
            // digest.
            if path.starts_with(".predicate.params") {
                let digest = crate::crypto::digest::ParamsDigest::of(&to_canonical(&changed["predicate"]["params"]));
                let mut changed = changed.clone();
                changed["subject"][1]["digest"]["sha256"] = digest.hex().into();
                other.payload = to_canonical(&changed);
            }
            if judged(&other).standing != StatementVerdict::Sound {
                stopped += 1;
            } else {
                seen += 1;
                assert_ne!(decided(&other), before, "case {at}: {path} changed unseen");
            }
        }
    }
    assert!(stopped > 150 && seen > 10, "{stopped} stopped, {seen} seen");
}

/// Returns the name of the field in a path, for example `reason` for `.predicate.reason changed`.
fn field_of(path: &str) -> &str {
    path.split(['.', ' ', '[']).nth(2).unwrap_or_default()
}

// The digest of the definition is signed. Therefore the screen shows each field of the definition, unless the field
// only restricts the parameters.
#[test]
fn promise_4_a_change_of_any_definition_field_is_visible() {
    let mut seen = 0;
    for (at, case) in cases().iter_mut().enumerate() {
        let before = decided(&case.sources());
        let (definition, granted) = (case.definition.clone(), case.granted());
        for (path, changed) in spoilt(&definition) {
            if path.starts_with(".params") {
                continue;
            }
            case.definition = changed;
            if serde_json::from_value::<StepDefinition>(case.definition.clone()).is_err() {
                continue;
            }
            let sources = case.sources();
            // The sandbox fields of a step affect only the signed sandbox.
            if path.starts_with(".sandbox") && case.granted() == granted {
                continue;
            }
            if judged(&sources).standing == StatementVerdict::Sound {
                seen += 1;
                assert_ne!(decided(&sources), before, "case {at}: {path} changed unseen");
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_signed_field_that_the_screen_does_not_show_prevents_signing() {
    let found = judged(&case().sources());
    let nowhere = |found: &Derived| -> Vec<String> {
        let all = fields(found, &found.lines).into_iter();
        all.filter(|field| field.why == FieldReason::Nowhere).map(|field| field.path).collect()
    };
    assert_eq!(nowhere(&found), [""; 0]);
    let lines: Vec<_> = found.lines.always.iter().filter(|line| !line.shows.is_empty()).cloned().collect();
    assert!(lines.len() > 5, "{lines:?}");
    for line in lines {
        let mut less = found.clone();
        less.lines.always.retain(|other| *other != line);
        // The screen may also leave out the usual sandbox and the usual limits, because they are defaults.
        let default = ["sandbox", "limits"].contains(&line.name);
        assert_eq!(nowhere(&less).is_empty(), default, "{line:?}");
        less.covered(&fields(&less, &less.lines));
        let covered = less.checks.last().expect("a check");
        assert_eq!(matches!(covered.finding, ReviewFinding::Fails(_)), !default, "{covered:?}");
    }
}

#[test]
fn the_review_is_available_as_json() {
    let sources = case().sources();
    let review = ProposalReview { found: judged(&sources), sources };
    let said = review.to_json();
    let names: Vec<_> =
        said["lines"].as_array().expect("lines").iter().map(|line| line["name"].as_str().expect("a name")).collect();
    for name in [
        "heading",
        "script",
        "proposal",
        "parameters",
        "reason",
        "programs",
        "sandbox",
        "limits",
        "signatures",
        "until",
        "trust",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let fields = said["fields"].as_array().expect("fields");
    assert!(fields.len() > 50 && fields.iter().all(|field| field["why"] != "NOT SHOWN"), "{fields:#?}");
    assert_eq!(said["standing"], "sound");
}
