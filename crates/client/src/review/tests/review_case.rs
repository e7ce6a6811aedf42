//! Documents of a review for tests, and helpers for its result.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    Derived, LastRun, LineWeight, RemarkSeverity, ReportedState, ReviewFinding, ReviewSources,
    RosterSource, derive, review::render::decision,
};
use documents::{
    Authorization, BlobDigest, BoundaryRef, Emergency, Envelope, EnvelopeSignature, Genesis,
    Limits, ListedProgram, Nonce, PAYLOAD_TYPE, Permission, PermissionKind, PermissionReason,
    PolicyDigest, Profile, ProgramList, ProposalId, RegistryRoot, RenderedDigest, Roster, STRICT,
    Seal, SealDigest, SealedBoundary, SecretKey, SshKey, StepDefinition, StepDigest, StepReference,
    Timestamp, pae, to_canonical,
};
use reading::{Builtins, CANONICAL, Policy, PolicyProfile, profile_of_step, required_permissions};
use verdict::TrustedRoster;
use wire::ApprovalsView;

pub const NOW: i64 = 1_795_167_600;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn ssh(seed: u8, name: &str) -> SshKey {
    SshKey::from_public(key(seed).public(), name).expect("key")
}

pub fn signature(seed: u8, payload: &[u8]) -> EnvelopeSignature {
    EnvelopeSignature::new(
        ssh(seed, "").keyid(),
        &key(seed).sign(&pae(PAYLOAD_TYPE, payload)),
    )
}

pub fn kubectl() -> Permission {
    Permission {
        kind: PermissionKind::Run,
        what: "kubectl".to_owned(),
        why: PermissionReason::BuiltInDeny,
    }
}

/// Returns a list of these programs, each a name and a path.
pub fn program_list(programs: &[(&str, &str)]) -> Option<ProgramList> {
    let list = programs.iter().map(|(name, path)| ListedProgram {
        name: name.parse().expect("name"),
        path: path.parse().expect("path"),
    });
    let mut list: Vec<_> = list.collect();
    list.sort_by_cached_key(|one| documents::canonical_of(one).expect("canonical"));
    Some(ProgramList::of(list).expect("a list"))
}

/// Documents of a review, before they are hashed and signed.
pub struct ReviewCase {
    pub definition: Value,
    pub policy: Value,
    pub builtins: Vec<u8>,
    /// The list of tokens that the seal names. The sources do not contain it.
    pub tokens: Vec<u8>,
    pub configuration: Value,
    pub reason: String,
    pub params: Value,
    /// Changes the correct statement.
    pub spoil: fn(&mut Authorization),
    /// Function that changes the seal before it is signed.
    pub seal: fn(&mut Seal),
    /// Seed of the key that signs the seal.
    pub sealer: u8,
}

pub fn case() -> ReviewCase {
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
        tokens: b"tokens".to_vec(),
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

/// Returns a case of an emergency, which one person of `ops` approves, and one person of `security` reviews.
pub fn emergency() -> ReviewCase {
    let mut case = case();
    case.policy["default"]["emergency"] = json!({"required": 1, "from": ["ops"], "max_unreviewed": 3, "max_window_s": 3600,
        "review": {"required": 1, "from": ["security"]}});
    case.spoil = |signed| signed.emergency = Some(Emergency::yes());
    case
}

impl ReviewCase {
    /// Returns the permissions and the sandbox that the boundary derives. If the boundary would refuse the step,
    /// returns an empty list and the profile of a run without resources of the host.
    pub fn granted(&self) -> (Vec<Permission>, Profile) {
        let nothing = || {
            (
                Vec::new(),
                Profile::nothing(STRICT.to_vec(), Limits::default()),
            )
        };
        let limits = |which: &str| {
            serde_json::from_value(self.configuration["limits"][which].clone()).expect("limits")
        };
        let require = self.configuration["sandbox"]["require"].clone();
        let require = match self.configuration["sandbox"]["level"].as_str() {
            Some("strict") => STRICT.to_vec(),
            _ => serde_json::from_value(require).expect("layers"),
        };
        let given = PolicyProfile {
            require,
            limits: limits("default"),
            maximum: limits("maximum"),
        };
        let Ok(definition) = serde_json::from_value::<StepDefinition>(self.definition.clone())
        else {
            return nothing();
        };
        let Ok(policy) = Policy::from_sealed(&self.policy) else {
            return nothing();
        };
        let lists = serde_json::from_slice(&self.builtins).expect("JSON");
        let Ok(lists) = Builtins::from_sealed(&lists) else {
            return nothing();
        };
        let ruling = reading::resolve(&policy, &lists, &definition.reference);
        match (
            required_permissions::needs(&ruling, &definition).permissions,
            profile_of_step(&ruling, &definition, &given),
        ) {
            (Ok(asked), Ok(profile)) => (asked, profile),
            _ => nothing(),
        }
    }

    pub fn sources(&self) -> ReviewSources {
        let definition = to_canonical(&self.definition);
        let policy = to_canonical(&self.policy);
        let configuration = to_canonical(&self.configuration);
        let roster = Roster {
            name: "example".into(),
            version: 1,
            threshold: 1,
            previous: None,
            policy: PolicyDigest::of(&policy),
            approvers: serde_json::from_value(json!({
                "alice": {"groups": ["ops"], "keys": [ssh(1, "alice").line()]},
                "bob": {"groups": ["security"], "keys": [ssh(2, "bob").line()]},
            }))
            .expect("approvers"),
            groups: serde_json::from_value(json!({"ops": {}, "security": {}})).expect("groups"),
            proposers: BTreeMap::new(),
            operators: BTreeMap::new(),
            boundaries: serde_json::from_value(
                json!({"prod-eu": {"keys": [ssh(3, "boundary").line()]}}),
            )
            .expect("boundary"),
            witnesses: BTreeMap::new(),
        };
        let roster = roster
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("roster");
        let roster = TrustedRoster::from_payload(&roster).expect("roster");
        let mut seal = Seal {
            boundary: SealedBoundary {
                name: "prod-eu".parse().expect("name"),
                id: None,
            },
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
            tokens: BlobDigest::of(&self.tokens),
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
        let expires_at = Timestamp::from_unix(NOW + 3540);
        let mut signed = Authorization {
            boundary: BoundaryRef {
                name: "prod-eu".parse().expect("name"),
                id,
                epoch: "e0".repeat(16).parse().expect("epoch"),
            },
            proposal: ProposalId::ending(expires_at, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            nonce: Nonce::new(expires_at, [0x42; 16]),
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
            expires_at,
            session: None,
            artifacts: None,
            plan: None,
            grant: None,
            by: None,
            emergency: None,
        };
        (self.spoil)(&mut signed);
        if signed.expires_at != expires_at {
            signed.proposal = ProposalId::ending(signed.expires_at, [0; 10]);
            signed.nonce = Nonce::new(signed.expires_at, [0x42; 16]);
        }
        let programs = signed.sandbox.programs.as_ref();
        ReviewSources {
            programs: programs.map_or_else(Vec::new, |list| list.programs().to_vec()),
            payload: signed
                .into_statement()
                .and_then(|statement| statement.to_payload())
                .expect("payload"),
            definition: Some(definition),
            contents: BTreeMap::new(),
            // Contents of the inputs that a test may name.
            inputs: BTreeMap::from(
                [("app.tar", "app"), ("plan", "plan")]
                    .map(|(name, text)| (name.into(), text.into())),
            ),
            session_runs: None,
            seal: Some(Envelope::new(&seal, vec![signature(self.sealer, &seal)])),
            tokens: None,
            policy: Some(policy),
            builtins: Some(self.builtins.clone()),
            configuration: Some(configuration),
            roster: RosterSource::Trusted(Box::new(roster), "pinned by you".to_owned()),
            signatures: Vec::new(),
            told: Some(ReportedState {
                status: "pending".into(),
                held_up: None,
                approvals: ApprovalsView {
                    approvers: vec!["bob".parse().expect("name")],
                    excluded: vec!["carol".parse().expect("name")],
                    required: 2,
                    ..ApprovalsView::default()
                },
            }),
            last: Some(LastRun {
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
            gone: None,
            unknown_end: None,
            same_runs: Vec::new(),
            job: None,
            asked_last: true,
            mine: Some(ssh(1, "").keyid()),
            missing: Vec::new(),
        }
    }
}

pub fn judged(sources: &ReviewSources) -> Derived {
    derive(sources, Timestamp::from_unix(NOW))
}

pub fn painted(sources: &ReviewSources, width: usize, colour: bool) -> String {
    decision(sources, &judged(sources)).paint(width, colour)
}

/// Returns the decision screen without its digest, because every change of the document changes the digest.
pub fn decided(sources: &ReviewSources) -> String {
    let screen = painted(sources, 400, false);
    screen
        .lines()
        .filter(|line| !line.starts_with("  digest "))
        .collect::<Vec<_>>()
        .join("\n")
}

pub fn remarks(sources: &ReviewSources) -> Vec<(RemarkSeverity, String)> {
    let lines = judged(sources).lines.remarks;
    let severity = |weight| match weight {
        LineWeight::Remark(severity) => severity,
        LineWeight::Always => panic!("a remark without weight"),
    };
    lines
        .into_iter()
        .map(|line| (severity(line.weight), line.text.as_str().to_owned()))
        .collect()
}

pub fn fails(found: &Derived) -> String {
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

/// Returns true if a line has the margin of the script.
pub fn is_script(line: &str) -> bool {
    let number = line.get(2..7).map(str::trim_start).unwrap_or_default();
    line.starts_with("  ")
        && !number.is_empty()
        && number.bytes().all(|c| c.is_ascii_digit())
        && line.get(7..9) == Some(" |")
}

/// Returns the non-empty lines of a section.
pub fn section<'l>(lines: &'l [(String, String)], name: &str) -> Vec<&'l str> {
    lines
        .iter()
        .filter(|(section, line)| section == name && !line.is_empty())
        .map(|(_, line)| line.as_str())
        .collect()
}
