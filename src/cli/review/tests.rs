//! Tests of the review: what does not hold is not signed, and nothing hides.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cli::approve;
use crate::cli::review::Review;
use crate::cli::review::derive::{Derived, Finding, LastRun, RosterSource, Sources, Standing, Told, derive};
use crate::cli::review::render::{DEFINITION, SCRIPT, SIGNED, profile_words, render};
use crate::cli::screen::backwards;
use crate::crypto::canonical::to_canonical;
use crate::crypto::digest::{BlobDigest, PolicyDigest, RegistryRoot, RenderedDigest, SealDigest, StepDigest};
use crate::crypto::signature::{PAYLOAD_TYPE, SecretKey, pae};
use crate::crypto::sshsig::SshKey;
use crate::policy::builtins::CANONICAL;
use crate::record::authorization::{
    Authorization, BoundaryRef, Permission, PermissionKind, PermissionReason, StepReference,
};
use crate::record::envelope::{Envelope, EnvelopeSignature};
use crate::record::profile::{Layer, Limits, Proc, Profile, STRICT, Workdir};
use crate::record::roster::Roster;
use crate::record::seal::{Genesis, Seal, SealedBoundary};
use crate::record::validity::Timestamp;
use crate::trust::roster::TrustedRoster;
use crate::trust::signer::{FileSigner, write_secret_key};

const NOW: i64 = 1_795_167_600;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn ssh(seed: u8, name: &str) -> SshKey {
    SshKey::from_public(key(seed).public(), name).expect("key")
}

fn signature(seed: u8, payload: &[u8]) -> EnvelopeSignature {
    EnvelopeSignature::new(ssh(seed, "").keyid(), &key(seed).sign(&pae(PAYLOAD_TYPE, payload)))
}

fn kubectl() -> Permission {
    Permission { kind: PermissionKind::Run, what: "kubectl".to_owned(), why: PermissionReason::BuiltInDeny }
}

/// Everything that a review is made of, before it is hashed and signed.
struct Case {
    definition: Value,
    policy: Value,
    builtins: Vec<u8>,
    configuration: Value,
    reason: String,
    params: Value,
    /// Changes the statement after it was made right.
    spoil: fn(&mut Authorization),
    /// Changes the seal before it is signed.
    seal: fn(&mut Seal),
    /// Who signs the seal.
    sealer: u8,
}

fn case() -> Case {
    Case {
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

impl Case {
    fn sources(&self) -> Sources {
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
            permissions: Vec::new(),
            sandbox: serde_json::from_value(json!({
                "require": ["capabilities", "filesystem", "landlock", "namespaces", "network", "seccomp"], "read": [], "write": [], "deny": [],
                "workdir": "private", "network": {"mode": "none", "hosts": []}, "sockets": [],
                "proc": self.definition["sandbox"].get("proc").cloned().unwrap_or_else(|| "minimal".into()),
                "run_as": "isolated", "limits": Limits::default(),
            }))
            .expect("profile"),
            proposer: "ci-agent".parse().expect("name"),
            reason: self.reason.clone(),
            issued_at: Timestamp::from_unix(NOW - 60),
            not_before: Timestamp::from_unix(NOW - 60),
            expires_at: Timestamp::from_unix(NOW + 3540),
        };
        (self.spoil)(&mut signed);
        Sources {
            payload: signed.into_statement().and_then(|statement| statement.to_payload()).expect("payload"),
            definition: Some(definition),
            seal: Some(Envelope::new(&seal, vec![signature(self.sealer, &seal)])),
            policy: Some(policy),
            builtins: Some(self.builtins.clone()),
            configuration: Some(configuration),
            roster: RosterSource::Trusted(Box::new(roster), "--roster roster.json".to_owned()),
            signatures: Vec::new(),
            told: Some(Told {
                status: "pending".into(),
                held_up: None,
                approvers: vec!["bob".parse().expect("name")],
                missing: vec!["ops".into()],
                excluded: vec!["carol".parse().expect("name")],
                required: 2,
            }),
            last: None,
            missing: Vec::new(),
        }
    }
}

fn judged(sources: &Sources) -> Derived {
    derive(sources, Timestamp::from_unix(NOW))
}

fn painted(sources: &Sources, width: usize, colour: bool) -> String {
    let mine = ssh(1, "").keyid();
    render(sources, &judged(sources), Some(&mine), Timestamp::from_unix(NOW)).paint(width, colour)
}

/// What fails, as one text.
fn fails(found: &Derived) -> String {
    let fails: Vec<_> = found
        .checks
        .iter()
        .filter_map(|check| match &check.finding {
            Finding::Fails(why) => Some(format!("{}: {why}", check.what)),
            _ => None,
        })
        .collect();
    fails.join("\n")
}

#[test]
fn what_this_program_derives_as_signed_is_sound() {
    let found = judged(&case().sources());
    assert_eq!(found.standing, Standing::Sound, "{:#?}", found.checks);
    assert!(found.checks.iter().all(|check| check.finding == Finding::Holds));
}

#[test]
fn any_contradiction_is_unsound_and_named() {
    let spoil = |spoil: fn(&mut Authorization)| Case { spoil, ..case() };
    let seal = |seal: fn(&mut Seal)| Case { seal, ..case() };
    let cases: Vec<(&str, Case)> = vec![
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
        ("the seal is signed", Case { sealer: 1, ..case() }),
        ("the seal is signed", Case { sealer: 9, ..case() }),
        ("the roster in force", seal(|seal| seal.roster = crate::crypto::digest::RosterDigest::of(b"other"))),
        ("the policy in force", seal(|seal| seal.policy = PolicyDigest::of(b"other"))),
        ("the sandbox is", seal(|seal| seal.configuration = BlobDigest::of(b"other"))),
        (
            "policy lets",
            Case {
                policy: json!({"version": 1, "default": {"mode": "deny", "approvals": {"required": 1, "from": ["ops"]}}}),
                ..case()
            },
        ),
        (
            "policy lets",
            Case {
                policy: json!({"version": 1, "default": {
                    "run": {"allow": ["set"], "deny": ["systemctl"]}, "approvals": {"required": 1, "from": ["ops"]},
                }}),
                ..case()
            },
        ),
        (
            "permissions are",
            Case {
                policy: json!({"version": 1, "default": {"run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]}}}),
                ..case()
            },
        ),
        ("permissions are", spoil(|signed| signed.permissions.push(kubectl()))),
        ("permissions are", seal(|seal| seal.builtins = BlobDigest::of(b"other"))),
        (
            // Lists that only the boundary sealed can't take a question away.
            "the boundary's built-in lists are not those of this program",
            Case {
                policy: json!({"version": 1, "default": {"run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]}}}),
                builtins: br#"{"run":{"allow":["systemctl"]},"version":1}"#.to_vec(),
                ..case()
            },
        ),
    ];
    for (at, (what, case)) in cases.iter().enumerate() {
        let sources = case.sources();
        let found = judged(&sources);
        assert_eq!(found.standing, Standing::Unsound, "case {at}, {what}: {:#?}", found.checks);
        assert!(fails(&found).contains(what), "case {at}: expected {what:?}, found {}", fails(&found));
        let screen = painted(&sources, 100, false);
        assert!(screen.starts_with("== Attention =="), "case {at}");
        assert!(screen.contains("NOT TO BE SIGNED"), "case {at}");
    }
}

#[test]
fn what_could_not_be_had_is_not_signed_blindly() {
    let whole = case().sources();
    let without: Vec<fn(&mut Sources)> = vec![
        |sources| sources.definition = None,
        |sources| sources.seal = None,
        |sources| sources.policy = None,
        |sources| sources.builtins = None,
        |sources| sources.configuration = None,
    ];
    for (at, remove) in without.iter().enumerate() {
        let mut sources = whole.clone();
        remove(&mut sources);
        assert_eq!(judged(&sources).standing, Standing::Unsound, "{at}");
    }
    let mut unsigned = whole.clone();
    if let Some(seal) = &mut unsigned.seal {
        seal.signatures.clear();
    }
    assert_eq!(judged(&unsigned).standing, Standing::Unsound);
    let mut garbage = whole;
    garbage.payload = b"{\"predicate\":\x1b[2J}".to_vec();
    let found = judged(&garbage);
    assert_eq!(found.standing, Standing::Unsound);
    assert!(painted(&garbage, 80, false).contains(r"\x1b[2J"));
}

#[test]
fn the_boundarys_own_roster_is_no_trust() {
    let mut sources = case().sources();
    let RosterSource::Trusted(roster, _) = std::mem::take(&mut sources.roster) else { panic!("trusted") };
    sources.roster = RosterSource::BoundarysWord(roster);
    assert_eq!(judged(&sources).standing, Standing::NoTrust);
    assert!(painted(&sources, 100, false).contains("You trust no roster for this boundary"));
    sources.roster = RosterSource::None;
    assert_eq!(judged(&sources).standing, Standing::NoTrust);
    sources.definition = Some(b"{}".to_vec());
    assert_eq!(judged(&sources).standing, Standing::Unsound, "a contradiction is one without trust, too");
}

#[test]
fn signatures_in_a_file_are_verified_here() {
    let mut sources = case().sources();
    let payload = sources.payload.clone();
    sources.told = None;
    sources.signatures = vec![signature(1, &payload), signature(2, b"other"), signature(9, &payload)];
    let found = judged(&sources);
    assert_eq!(found.signers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["alice"]);
    assert_eq!(found.strangers.len(), 2);
    let screen = painted(&sources, 120, false);
    assert!(screen.contains("verified by this program"));
    assert_eq!(screen.matches("a signature in the file does not count").count(), 2);
}

#[test]
fn what_needs_the_host_stands_first_and_red() {
    let mut case = case();
    case.definition["sandbox"] = json!({"proc": "full"});
    let sources = case.sources();
    assert_eq!(judged(&sources).standing, Standing::Sound, "{}", fails(&judged(&sources)));
    let screen = painted(&sources, 100, true);
    let second = screen.lines().nth(1).expect("a line");
    assert!(second.starts_with("\x1b[1;31m  needs the host: it sees the whole of /proc"), "{second:?}");
}

#[test]
fn a_profile_is_said_as_weak_as_it_may_be() {
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
        "without Landlock too all of the host's",
        "processes: 100, without namespaces and a control group only where it has an id of its own",
    ] {
        assert!(said.contains(weaker), "{weaker}: {said}");
    }
    let full = Profile { proc: Proc::Full, ..strict };
    assert!(words(&full).contains("the host's boot command line, partitions"), "{}", words(&full));
}

#[test]
fn what_differs_from_the_last_run_is_shown() {
    let mut sources = case().sources();
    let mut before = case();
    before.definition["source"] = "set -eu\nsystemctl reload nginx\n".into();
    before.definition["interpreter"] = "sh".into();
    let definition = to_canonical(&before.definition);
    sources.last = Some(LastRun {
        receipt: "rcp_019aa0b0-5c00-7000-8000-000000000000".into(),
        finished_at: "2026-11-19T09:00:00Z".into(),
        digest: StepDigest::of(&definition),
        definition: Some(definition),
        params: json!({"host": "web-2"}),
    });
    let screen = painted(&sources, 100, false);
    for expected in [
        "THE DEFINITION IS ANOTHER ONE",
        "  was     2 | systemctl reload nginx",
        "  now     2 | systemctl restart \"nginx@$PARAM_HOST\"",
        "  was       | interpreter = \"sh\"",
        "  now       | interpreter = \"bash\"",
        "  was       | host = \"web-2\"",
        "  now       | host = \"web-3\"",
    ] {
        assert!(screen.contains(expected), "{expected}\n{screen}");
    }
    // A definition that is not the one whose digest is told is not compared with.
    if let Some(last) = &mut sources.last {
        last.definition = Some(b"{}".to_vec());
    }
    assert!(painted(&sources, 100, false).contains("could not be had"));
}

#[test]
fn the_whole_screen_is_as_it_is() {
    insta::assert_snapshot!(painted(&case().sources(), 100, false), @r#"
    == Step ==
      step          nginx:restart
      digest        sha256:2a627a6477ca0ff70119852dd453fd60ff4509e4c3964a3ba0f103c4d5170725
      run by        "bash"

    == Script ==
          1 | set -eu
          2 | systemctl restart "nginx@$PARAM_HOST"
        end = 2 lines, 46 bytes, the last line ends with a newline

    == Parameters ==
        string   host = "web-3"

    == Permissions and sandbox ==
      permissions: none asked, none granted
      required layers: capabilities, filesystem, landlock, namespaces, network, seccomp
      reads of the host: nothing but what an interpreter needs
      writes to the host: nothing
      stays out of reach: no further pattern
      works in: an empty directory of its own, gone afterwards
      network: none
      sockets of the host: none
      sees of /proc: only its own processes
      runs as: an id of its own where the service is root and has ids to give, else the service's
      at most time: 5 min
      at most CPU: 1.000 of one, of each process alone where no control group holds the run
      at most memory: 512 MiB, of each process alone where no control group holds the run
      at most processes: 100, not where it is the host's root and no control group holds the run
      at most a file: 64 MiB, of disk in all: 1 GiB; 64 MiB more in /dev/shm
      at most recorded output: 10 MiB

    == Approvals ==
      policy asks   1 person of each of ops, security, nobody filling two places
      the step asks 1 person of ops, security (any of them)
      status        pending
      so far        bob (the boundary's word)
      still needed  somebody of ops
      can't count   carol
      your key      SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8: alice of ops

    == Time ==
      issued        2026-11-20T09:39:00Z
      not before    2026-11-20T09:39:00Z
      expires       2026-11-20T10:39:00Z (59 min 0 s left)

    == Said by the proposer and the author: nobody checked it ==
      proposer      ci-agent
      reason        "p99 is up"
      title         "Restart nginx"

    == Compared with the last successful run (the boundary's word) ==
      This step has not run with success, or the boundary tells of no such run.

    == Definition, every field ==
        .approvals.from = []
        .approvals.required = 1
        .files = []
        .format = "markdown"
        .interpreter = "bash"
        .outputs = []
        .params.properties.host.type = "string"
        .params.properties.host.x-leading-dash = true
        .params.required[0] = "host"
        .params.type = "object"
        .ref = "nginx:restart"
        .sandbox = {}
        .secrets = []
        .session = "none"
        .source is in full under: Script
        .template = "none"
        .title = "Restart nginx"

    == To be signed, every field ==
        ._type = "https://in-toto.io/Statement/v1"
        .predicate.boundary.epoch = "e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0"
        .predicate.boundary.id = "sha256:c5587716211c3a1db967d34907b378895e71ac178f5917918d644a246853c8f
      + 8"
        .predicate.boundary.name = "prod-eu"
        .predicate.expires_at = "2026-11-20T10:39:00Z"
        .predicate.issued_at = "2026-11-20T09:39:00Z"
        .predicate.nonce = "AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg"
        .predicate.not_before = "2026-11-20T09:39:00Z"
        .predicate.params.host = "web-3"
        .predicate.permissions = []
        .predicate.proposal = "prp_019aa0b0-5c00-7000-8000-000000000001"
        .predicate.proposer = "ci-agent"
        .predicate.reason = "p99 is up"
        .predicate.rendered = "sha256:cd567e2ebaacc2ef190ad4880982b3e970bc2f08ea817bda46608c09a9755779"
        .predicate.sandbox.deny = []
        .predicate.sandbox.limits.cpu_milli = 1000
        .predicate.sandbox.limits.disk_bytes = 1073741824
        .predicate.sandbox.limits.file_bytes = 67108864
        .predicate.sandbox.limits.memory_bytes = 536870912
        .predicate.sandbox.limits.output_bytes = 10485760
        .predicate.sandbox.limits.processes = 100
        .predicate.sandbox.limits.wall_ms = 300000
        .predicate.sandbox.network.hosts = []
        .predicate.sandbox.network.mode = "none"
        .predicate.sandbox.proc = "minimal"
        .predicate.sandbox.read = []
        .predicate.sandbox.require[0] = "capabilities"
        .predicate.sandbox.require[1] = "filesystem"
        .predicate.sandbox.require[2] = "landlock"
        .predicate.sandbox.require[3] = "namespaces"
        .predicate.sandbox.require[4] = "network"
        .predicate.sandbox.require[5] = "seccomp"
        .predicate.sandbox.run_as = "isolated"
        .predicate.sandbox.sockets = []
        .predicate.sandbox.workdir = "private"
        .predicate.sandbox.write = []
        .predicate.step.digest = "sha256:2a627a6477ca0ff70119852dd453fd60ff4509e4c3964a3ba0f103c4d517072
      + 5"
        .predicate.step.ref = "nginx:restart"
        .predicateType = "https://countersign.dev/authorization/v1"
        .subject[0].digest.sha256 = "2a627a6477ca0ff70119852dd453fd60ff4509e4c3964a3ba0f103c4d5170725"
        .subject[0].name = "nginx:restart"
        .subject[1].digest.sha256 = "6f8cd7b5a343d54c554fddb45edb123d94b3a3ab6830b364662158d68097e988"
        .subject[1].name = "params"

    == Checked by this program ==
      holds       the payload is a strict, canonical authorization
      holds       the definition shown has the signed digest
      holds       the parameters fit its schema and are complete
      holds       the script to run has the signed digest
      holds       it can still run: window of validity
      holds       the seal is signed by a rostered key of this boundary
      holds       boundary and epoch are the seal's
      holds       the roster in force is the one you trust
      holds       the policy in force is the one that this roster names
      holds       policy lets this step run
      holds       permissions are what this program derives
      holds       the sandbox is what this program derives

    == Summary ==
      run once      nginx:restart
      at boundary   prod-eu sha256:c5587716211c3a1db967d34907b378895e71ac178f5917918d644a246853c8f8
      for           ci-agent
      proposal      prp_019aa0b0-5c00-7000-8000-000000000001
      until         2026-11-20T10:39:00Z
      trusted by    example version 1, from --roster roster.json
      verdict       all derived by this program agrees with what is to be signed
      digest        sha256:24aa0fa56420cdd199e16398a2889671dd6d768ec633ff30d39adef63a0bbd09
    "#);
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

/// What is in a section, without empty lines.
fn section<'l>(lines: &'l [(String, String)], name: &str) -> Vec<&'l str> {
    lines.iter().filter(|(section, line)| section == name && !line.is_empty()).map(|(_, line)| line.as_str()).collect()
}

// `approve` signs the one buffer that the screen was made from: what is read off the screen is what verifies.
#[test]
fn promise_4_the_bytes_shown_are_the_bytes_signed() {
    let mut case = case();
    case.reason = "one\n\u{202e}two \\ three".to_owned();
    let sources = case.sources();
    let found = judged(&sources);
    let mine = ssh(1, "").keyid();
    let screen = render(&sources, &found, Some(&mine), Timestamp::from_unix(NOW));
    let shown = screen.paint(80, false);
    let review = Review { sources, found, screen, mine: Some(mine) };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key.pem");
    write_secret_key(&file, &key(1)).expect("written");
    let signer = FileSigner::open(&file).expect("a key");
    let signed = approve::sign_reviewed(&review, review.check_sound().expect("sound"), &signer).expect("signed");
    let read = to_canonical(&backwards::document(&section(&backwards::logical(&shown), SIGNED), &[]));
    assert_eq!(signed, signature(1, &read));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // What is printed can be read backwards to the very payload and definition: so two that differ in
    // any signed byte differ on the screen, and no content can pass for another part of it.
    #[test]
    fn promise_4_review_is_injective(
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
        let screen = painted(&sources, width, false);
        prop_assert!(screen.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
        let lines = backwards::logical(&screen);
        prop_assert_eq!(backwards::numbered(&section(&lines, SCRIPT)), source.clone());
        let definition = backwards::document(&section(&lines, DEFINITION), &[(".source", source.into())]);
        prop_assert_eq!(to_canonical(&definition), sources.definition.clone().expect("definition"));
        let payload = backwards::document(&section(&lines, SIGNED), &[]);
        prop_assert_eq!(to_canonical(&payload), sources.payload.clone());
        // Exactly one summary, with the right digest at the very end.
        prop_assert_eq!(screen.lines().filter(|line| *line == "== Summary ==").count(), 1);
        let end = format!("digest        {}", judged(&sources).digest);
        let last = lines.last().expect("a line").1.trim().to_owned();
        prop_assert_eq!(last, end);
    }

    #[test]
    fn colour_is_never_content(source in nasty(), reason in nasty(), width in 60_usize..140) {
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
