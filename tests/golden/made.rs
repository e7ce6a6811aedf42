//! Creates the golden documents: one crossing with fixed times, nonces and keys, and changed copies of this crossing.
//!
//! `tests/formats/golden_documents.rs` compares every file below `tests/conformance/golden` with the result of this
//! module.

mod parts;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::crypto::canonical::to_canonical;
use countersign::crypto::digest::{Blake3Digest, hex, sha256};
use countersign::crypto::key_id::KeyId;
use countersign::crypto::merkle::{self, Hash};
use countersign::crypto::note::{self, TlogProof};
use countersign::crypto::signature::{PAYLOAD_TYPE, SecretKey, pae};
use countersign::crypto::ssh_key::SshKey;
use countersign::crypto::sshsig;
use countersign::crypto::tlog_tiles::push_entry;
use countersign::record::checkpoint::Checkpoint;
use countersign::record::envelope::{Envelope, EnvelopeSignature};
use countersign::trust::trusted_roster::TrustedRoster;
use serde_json::{Map, Value, json};
use sha2::Digest as _;

use super::{KEYS, KINDS, envelope, leaf_data, path, reference, repair_twins, secret};

/// The files below `tests/conformance/golden`, by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The release in the golden documents. The documents are frozen: later releases must read the documents without a
/// change.
const RELEASE: &str = "0.2.0";
const EPOCH: &str = "e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0";
const NONCE: &str = "AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg";
const OTHER_NONCE: &str = "gQCJkQCJkQCJkQCJkQCJkQAwFsgqZA";
const OTHER_BOUNDARY: &str = "sha256:043feb4dfa0a93c992972eebca6b978de496ff21e8aae04ca8a63491ba391f6c";
const STDOUT: &[u8] = b"restarting nginx on web-3\n";

/// All files: the valid documents and the refused documents.
pub fn files() -> Files {
    let mut files = Files::new();
    valid(&mut files);
    refused(&mut files);
    files
}

/// The public key of a test person, with the name as its comment.
fn named_key(name: &str) -> SshKey {
    SshKey::from_public(secret(name).public(), name).expect("a key")
}

/// The public key of a security key whose authenticator uses the test key of this name.
fn security_key(name: &str) -> SshKey {
    let mut blob = Vec::new();
    put(&mut blob, b"sk-ssh-ed25519@openssh.com");
    put(&mut blob, secret(name).public().as_bytes());
    put(&mut blob, b"ssh:");
    let line = format!("sk-ssh-ed25519@openssh.com {} {name}", STANDARD.encode(blob));
    SshKey::parse(&line).expect("a security key")
}

/// Appends an SSH string (RFC 4251, section 5).
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// An SSHSIG blob over `message`, as `ssh-keygen -Y sign` creates. With `flags`, the blob is from a security key.
fn sshsig_blob(name: &str, namespace: &[u8], flags: Option<u8>, message: &[u8]) -> Vec<u8> {
    let mut signed = b"SSHSIG".to_vec();
    put(&mut signed, namespace);
    put(&mut signed, b"");
    put(&mut signed, b"sha512");
    put(&mut signed, &sha2::Sha512::digest(message));
    let (key, kind) = match flags {
        None => (named_key(name), &b"ssh-ed25519"[..]),
        Some(_) => (security_key(name), &b"sk-ssh-ed25519@openssh.com"[..]),
    };
    let mut inner = Vec::new();
    put(&mut inner, kind);
    match flags {
        None => put(&mut inner, &secret(name).sign(&signed)),
        Some(flags) => {
            // The counter of the simulated authenticator.
            let tail = [&[flags][..], &7_u32.to_be_bytes()].concat();
            let asserted = [&sha256(b"ssh:")[..], &tail, &sha256(&signed)].concat();
            put(&mut inner, &secret(name).sign(&asserted));
            inner.extend_from_slice(&tail);
        }
    }
    let blob = key.line().split(' ').nth(1).and_then(|text| STANDARD.decode(text).ok()).expect("a key line");
    let mut out = b"SSHSIG".to_vec();
    out.extend_from_slice(&1_u32.to_be_bytes());
    put(&mut out, &blob);
    put(&mut out, namespace);
    put(&mut out, b"");
    put(&mut out, b"sha512");
    put(&mut out, &inner);
    out
}

fn statement(kind: &str, predicate: Value, subjects: &[(&str, &str)]) -> Value {
    let subjects: Vec<Value> =
        subjects.iter().map(|(name, hex)| json!({"digest": {"sha256": hex}, "name": name})).collect();
    let mut value = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicate": predicate,
        "predicateType": format!("https://countersign.dev/{kind}/v1"), "subject": subjects,
    });
    repair_twins(kind, &mut value);
    value
}

fn step() -> Value {
    json!({
        "approvals": {"from": ["ops"], "required": 1}, "files": [], "format": "markdown", "interpreter": "bash",
        "outputs": [], "params": {"properties": {"drain": {"default": true, "type": "boolean"},
            "host": {"pattern": "^[a-z0-9-]{1,32}$", "type": "string"}}, "required": ["host"], "type": "object"},
        "ref": "nginx:restart", "sandbox": {}, "secrets": [], "session": "none",
        "source": "printf 'restarting nginx on %s\\n' \"$PARAM_HOST\"\n", "template": "none", "title": "Restart nginx",
    })
}

fn other_step() -> Value {
    json!({
        "approvals": {"from": ["ops"], "required": 1}, "files": [], "format": "markdown", "interpreter": "bash",
        "outputs": [], "params": {"properties": {}, "required": [], "type": "object"}, "ref": "deploy/web:status",
        "sandbox": {}, "secrets": [], "session": "none", "source": "systemctl status web\n", "template": "none",
        "title": "Status",
    })
}

fn policy() -> Value {
    json!({
        "default": {"approvals": {"from": ["ops"], "required": 1}, "mode": "prompted",
            "run": {"allow": ["printf", "systemctl"]}},
        "overrides": [{"approvals": {"each": true, "from": ["ops", "security"], "required": 1}, "runbook": "nginx*"}],
        "version": 1,
    })
}

fn builtins() -> Value {
    json!({"read": {"deny": ["**/.env", "**/id_*"]}, "run": {"deny": ["rm", "sudo"]}, "version": 1})
}

fn tokens() -> Value {
    json!([{"expires_at": "2027-01-01T00:00:00Z", "name": "ci-agent", "owners": ["carol"], "patterns": ["nginx:*"],
        "scopes": ["propose"]}])
}

fn configuration() -> Value {
    json!({"limits": {}, "sandbox": {"level": "strict"}})
}

fn registry_leaf(step: &Value) -> Value {
    json!({"digest": reference(&to_canonical(step)), "ref": step["ref"]})
}

fn roster_1() -> Value {
    let line = |name: &str| named_key(name).line().to_owned();
    let predicate = json!({
        "approver": [
            {"groups": ["ops"], "keys": [line("alice")], "name": "alice"},
            {"groups": ["security"], "keys": [line("bob")], "name": "bob"},
            {"groups": ["ops", "security"], "keys": [line("carol"), line("dora")], "name": "carol"},
        ],
        "boundary": [{"keys": [line("boundary")], "name": "prod-eu"}],
        "group": [{"name": "ops"}, {"name": "security"}],
        "name": "example",
        "operator": [{"keys": [line("operator")], "name": "oscar"}],
        "policy": reference(&to_canonical(&policy())),
        "proposer": [], "threshold": 2, "version": 1, "witness": [],
    });
    statement("roster", predicate, &[("roster", "")])
}

/// Version 2 of the roster, which adds another boundary.
fn roster_2() -> Value {
    let mut value = roster_1();
    value["predicate"]["previous"] = json!(reference(&to_canonical(&roster_1())));
    value["predicate"]["version"] = json!(2);
    let staging = json!({"keys": [named_key("mallory").line()], "name": "staging"});
    value["predicate"]["boundary"].as_array_mut().expect("boundaries").push(staging);
    repair_twins("roster", &mut value);
    value
}

fn refusal(id: &str) -> Value {
    let predicate = json!({"at": "2026-11-20T09:41:00Z", "boundary": {"id": id, "name": "prod-eu"}, "code": "expired",
        "principal": "ci-agent"});
    let input = "ece337d77fd9e30f94225443c7f38096ed232a2310ae824932feb6e62ac525d6";
    statement("refusal", predicate, &[("input", input)])
}

type Edit<'d> = Option<Box<dyn Fn(&mut Value) + 'd>>;
type Sign<'d> = Option<Box<dyn Fn(&[u8]) -> Envelope + 'd>>;
type Note<'d> = Option<Box<dyn Fn(&str, &[Hash]) -> String + 'd>>;

/// A step that declares programs.
fn step_with_programs() -> Value {
    let mut step = step();
    step["programs"] = json!(["jq", "{work}/**"]);
    step
}

/// A policy of version 2, under which a run may execute only listed programs.
fn policy_with_programs() -> Value {
    let mut policy = policy();
    policy["version"] = json!(2);
    policy["default"]["run"]["deny"] = json!(["nc"]);
    policy["default"]["sandbox"] = json!({"programs": {"allow": ["systemctl"], "mode": "any"}});
    policy["overrides"][0]["sandbox"] = json!({"programs": {"mode": "listed"}});
    policy
}

/// Built-in lists of version 2. The deny list of [`policy_with_programs`] names one program of a closure.
fn builtins_with_closures() -> Value {
    let mut builtins = builtins();
    builtins["version"] = json!(2);
    builtins["closures"] = json!({
        "jq": {"source": "jq(1)", "starts": []},
        "systemctl": {"source": "systemctl(1)", "starts": ["/usr/lib/systemd/systemd-reply-*", "nc", "ssh"]},
    });
    builtins
}

fn listed_programs() -> Value {
    let program = |name: &str| json!({"name": name, "path": format!("/usr/bin/{name}")});
    let own = json!({"name": "{work}/**", "path": "{work}/**"});
    let list: Vec<Value> = ["bash", "jq", "printf", "ssh", "systemctl"].map(program).into_iter().chain([own]).collect();
    json!({"list": list, "mode": "listed"})
}

fn program_facts() -> Value {
    json!({
        "listed": 6, "mode": "listed", "refused": {"more": 0, "paths": [{"count": 1, "path": "/usr/bin/nc"}]},
        "started": {"more": 2, "paths": [{"count": 1, "path": "/usr/bin/bash"}]},
    })
}

/// Adds the layer `programs` to sorted layers.
fn add_layer(layers: &mut Value) {
    layers.as_array_mut().expect("layers").insert(5, json!("programs"));
}

fn sign_programs(authorization: &mut Value) {
    let signed = &mut authorization["predicate"];
    signed["permissions"] = json!([{"type": "run", "what": "jq", "why": "unlisted"}]);
    signed["sandbox"]["programs"] = listed_programs();
    add_layer(&mut signed["sandbox"]["require"]);
}

fn state_programs(receipt: &mut Value) {
    receipt["predicate"]["programs"] = program_facts();
    add_layer(&mut receipt["predicate"]["sandbox"]["layers"]);
}

/// The golden crossing with a list of programs, a policy of version 2 and built-in lists of version 2. The edits change
/// the authorization and the receipt.
fn with_programs<'d>(authorization: impl Fn(&mut Value) + 'd, receipt: impl Fn(&mut Value) + 'd) -> Story<'d> {
    let policy = policy_with_programs();
    let digest = reference(&to_canonical(&policy));
    Story {
        rosters: vec![changed_roster(|roster| roster["policy"] = json!(digest))],
        step: step_with_programs(),
        policy,
        builtins: builtins_with_closures(),
        authorization: on(move |value| {
            sign_programs(value);
            authorization(value);
        }),
        receipt: on(move |value| {
            state_programs(value);
            receipt(value);
        }),
        ..Story::default()
    }
}

/// Changes of the golden crossing. An edit gets the whole statement. The subjects are not updated after an edit, so an
/// edit that must keep the subjects consistent calls `repair_twins`.
struct Story<'d> {
    /// The versions of the roster.
    rosters: Vec<Envelope>,
    step: Value,
    policy: Value,
    builtins: Value,
    seal: Edit<'d>,
    authorization: Edit<'d>,
    consumption: Edit<'d>,
    receipt: Edit<'d>,
    /// A replacement in the bytes of the receipt's payload, for bytes that no JSON value produces.
    receipt_text: Option<(&'d str, &'d str)>,
    sign_seal: Sign<'d>,
    sign_authorization: Sign<'d>,
    sign_receipt: Sign<'d>,
    /// The order of the log entries.
    order: [&'d str; 5],
    /// Envelopes that replace the refusal and the denial in the log.
    others: parts::Others<'d>,
    /// The definitions of the registry, in the order of their references. Otherwise the registry contains
    /// [`other_step`] and the step.
    registry: Option<[Value; 2]>,
    note: Note<'d>,
    /// Whether the registry contains the step. Otherwise the registry contains another digest for the same reference.
    registered: bool,
    /// An edit of the finished bundle.
    bundle: Edit<'d>,
}

impl Default for Story<'_> {
    fn default() -> Self {
        Self {
            rosters: vec![envelope(&to_canonical(&roster_1()), &[])],
            step: step(),
            policy: policy(),
            builtins: builtins(),
            seal: None,
            authorization: None,
            consumption: None,
            receipt: None,
            receipt_text: None,
            sign_seal: None,
            sign_authorization: None,
            sign_receipt: None,
            order: ["seal", "consumption", "refusal", "receipt", "denial"],
            others: parts::Others::new(),
            registry: None,
            note: None,
            registered: true,
            bundle: None,
        }
    }
}

/// All documents of the crossing that a story describes.
struct Told {
    payloads: BTreeMap<&'static str, Vec<u8>>,
    envelopes: BTreeMap<&'static str, Envelope>,
    leaves: Vec<Hash>,
    origin: String,
    note: String,
    proofs: BTreeMap<&'static str, TlogProof>,
    bundle: Value,
}

impl Told {
    /// The content of the bundle file.
    fn file(&self) -> Vec<u8> {
        line(&self.bundle)
    }

    fn text(&self) -> String {
        String::from_utf8(self.file()).expect("text")
    }
}

fn line(value: &Value) -> Vec<u8> {
    [&to_canonical(value)[..], b"\n"].concat()
}

impl Story<'_> {
    fn tell(&self) -> Told {
        let apply = |edit: &Edit<'_>, value: &mut Value| {
            if let Some(edit) = edit {
                edit(value);
            }
        };
        let wrap = |sign: &Sign<'_>, payload: &[u8], names: &[&str]| match sign {
            Some(sign) => sign(payload),
            None => envelope(payload, names),
        };
        let last = self.rosters.last().expect("a roster");
        let roster = STANDARD.decode(&last.payload).expect("base64");
        let steps = self.registry.clone().unwrap_or_else(|| [other_step(), self.step.clone()]);
        let leaves = match self.registered {
            true => steps.iter().map(registry_leaf).collect(),
            false => {
                let other = json!({"digest": reference(b"x"), "ref": "nginx:restart"});
                vec![registry_leaf(&other_step()), other]
            }
        };
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(&to_canonical(leaf))).collect();
        let root = format!("sha256:{}", hex(&merkle::root(&hashes)));
        let mut seal = statement(
            "seal",
            json!({
                "at": "2026-11-20T09:00:00Z", "boundary": {"name": "prod-eu"},
                "builtins": reference(&to_canonical(&self.builtins)),
                "configuration": reference(&to_canonical(&configuration())),
                "engine": format!("countersign {RELEASE}"), "epoch": EPOCH, "genesis": "9e".repeat(32),
                "keys": [named_key("boundary").keyid()], "number": 0, "policy": reference(&to_canonical(&self.policy)),
                "registry": reference(&to_canonical(&json!(leaves))), "registry_root": root,
                "roster": reference(&roster), "tokens": reference(&to_canonical(&tokens())),
            }),
            &[("registry", "")],
        );
        if self.rosters.len() > 1 {
            seal["predicate"]["rosters"] = json!(reference(&to_canonical(&json!(self.rosters))));
        }
        apply(&self.seal, &mut seal);
        let seal = to_canonical(&seal);
        let id = reference(&seal);
        let boundary = json!({"epoch": EPOCH, "id": id, "name": "prod-eu"});

        let mut authorization = authorization(&boundary, &self.step);
        apply(&self.authorization, &mut authorization);
        let authorization_payload = to_canonical(&authorization);
        let digest = reference(&authorization_payload);
        let stated = |field: &str| authorization["predicate"][field].clone();
        let or = |value: Value, other: &str| if value.is_string() { value } else { json!(other) };
        let mut consumption = statement(
            "consumption",
            json!({"at": "2026-11-20T09:40:00Z", "seal": id, "spent": [{
                "authorization": digest, "expires_at": or(stated("expires_at"), "2026-11-20T10:30:00Z"),
                "nonce": or(stated("nonce"), NONCE),
            }]}),
            &[],
        );
        apply(&self.consumption, &mut consumption);
        let consumption = to_canonical(&consumption);
        let spent = envelope(&consumption, &["boundary"]);
        let signed = wrap(&self.sign_authorization, &authorization_payload, &["alice", "bob"]);

        let index = |kind: &str| self.order.iter().position(|entry| *entry == kind).expect("an entry") as u64;
        let mut receipt = receipt(&id, &digest, &signed, index("consumption"), &merkle::leaf_hash(&leaf_data(&spent)));
        receipt["predicate"]["decision"]["policy"] = json!(reference(&to_canonical(&self.policy)));
        apply(&self.receipt, &mut receipt);
        let mut receipt = to_canonical(&receipt);
        if let Some((from, to)) = self.receipt_text {
            let text = String::from_utf8(receipt).expect("text");
            assert!(text.contains(from), "{from}");
            receipt = text.replacen(from, to, 1).into_bytes();
        }
        let denial = statement(
            "denial",
            json!({"boundary": boundary, "reason": "not during the freeze"}),
            &[("authorization", &hex(&sha256(b"another authorization")))],
        );
        let payloads = BTreeMap::from([
            ("roster", roster),
            ("seal", seal),
            ("authorization", authorization_payload),
            ("consumption", consumption),
            ("receipt", receipt),
            ("refusal", to_canonical(&refusal(&id))),
            ("denial", to_canonical(&denial)),
        ]);
        let mut envelopes = BTreeMap::from([
            ("roster", last.clone()),
            ("seal", wrap(&self.sign_seal, &payloads["seal"], &["boundary"])),
            ("authorization", signed),
            ("consumption", spent),
            ("receipt", wrap(&self.sign_receipt, &payloads["receipt"], &["boundary"])),
            ("refusal", envelope(&payloads["refusal"], &["boundary"])),
            ("denial", envelope(&payloads["denial"], &["alice"])),
        ]);
        for (kind, other) in &self.others {
            envelopes.insert(if *kind == "refusal" { "refusal" } else { "denial" }, other.clone());
        }
        let leaves: Vec<Hash> = self.order.iter().map(|kind| merkle::leaf_hash(&leaf_data(&envelopes[kind]))).collect();
        let origin = format!("prod-eu/{}", &id[7..23]);
        let note = match &self.note {
            Some(note) => note(&origin, &leaves),
            None => checkpoint(&origin, &leaves, "boundary"),
        };
        let proofs: BTreeMap<_, _> = ["seal", "consumption", "receipt"]
            .map(|kind| {
                let index = index(kind);
                (kind, TlogProof { index, hashes: path(&leaves, index), checkpoint: note.clone() })
            })
            .into();
        let place = steps.iter().position(|step| step["ref"] == self.step["ref"]).expect("a step") as u64;
        let place = if self.registered { place } else { 0 };
        let siblings: Vec<String> = path(&hashes, place).iter().map(|hash| hex(hash)).collect();
        let mut bundle = json!({
            "builtins": self.builtins, "consumption": envelopes["consumption"],
            "mediaType": "application/vnd.countersign.bundle.v1+json", "policy": self.policy,
            "proofs": proofs.iter().map(|(kind, proof)| ((*kind).to_owned(), json!(proof.to_string()))).collect::<Map<_, _>>(),
            "receipt": envelopes["receipt"], "roster": self.rosters, "seal": envelopes["seal"], "step": self.step,
            "step_proof": {"hashes": siblings, "index": place, "size": 2},
        });
        apply(&self.bundle, &mut bundle);
        Told { payloads, envelopes, leaves, origin, note, proofs, bundle }
    }
}

fn authorization(boundary: &Value, step: &Value) -> Value {
    let predicate = json!({
        "boundary": boundary, "expires_at": "2026-11-20T10:30:00Z", "issued_at": "2026-11-20T09:30:00Z", "nonce": NONCE,
        "not_before": "2026-11-20T09:30:00Z", "params": {"drain": true, "host": "web-3"}, "permissions": [],
        "proposal": "prp_019aa0b0-5c00-7000-8000-000000000001", "proposer": "ci-agent", "reason": "p99 latency up",
        "rendered": reference(step["source"].as_str().expect("a script").as_bytes()),
        "sandbox": {
            "deny": ["**/.env"],
            "limits": {"cpu_milli": 1000, "disk_bytes": 1_073_741_824, "file_bytes": 67_108_864,
                "memory_bytes": 536_870_912, "output_bytes": 10_485_760, "processes": 100, "wall_ms": 300_000},
            "network": {"hosts": [], "mode": "none"}, "proc": "minimal", "read": [], "require": LAYERS,
            "run_as": "isolated", "sockets": [], "workdir": "private", "write": [],
        },
        "step": {"digest": reference(&to_canonical(step)), "ref": step["ref"]},
    });
    statement("authorization", predicate, &[("nginx:restart", ""), ("params", "")])
}

const LAYERS: [&str; 6] = ["capabilities", "filesystem", "landlock", "namespaces", "network", "seccomp"];

fn receipt(id: &str, authorization: &str, signed: &Envelope, index: u64, leaf: &Hash) -> Value {
    let stream = |bytes: &[u8]| {
        json!({"blake3": Blake3Digest::of(bytes), "bytes": bytes.len(), "recorded": bytes.len(), "redactions": 0,
            "sha256": reference(bytes), "truncated": false})
    };
    let predicate = json!({
        "authorization": signed,
        "boundary": {"id": id, "keyid": named_key("boundary").keyid(), "name": "prod-eu", "version": RELEASE},
        "consumption": {"index": index, "item": 0, "leaf": format!("sha256:{}", hex(leaf))},
        "decision": {"approvers": ["alice", "bob"], "excluded": ["carol", "ci-agent"], "groups": ["ops", "security"],
            "handed_in_by": "ci-agent"},
        "duration_ms": 412, "files": {"bytes": 0, "count": 0, "manifest": reference(b"[]")},
        "finished_at": "2026-11-20T09:40:01Z", "outcome": {"exit_code": 0, "status": "succeeded"},
        "output": {"stderr": stream(b""), "stdout": stream(STDOUT)},
        "sandbox": {"layers": LAYERS, "level": "strict", "limits": {"memory": {"by": "cgroup2", "max": 536_870_912}},
            "missing": []},
        "seal": id, "started_at": "2026-11-20T09:40:00Z", "usage": {"cpu_ms": 7, "memory_peak_bytes": 3_145_728},
    });
    statement(
        "receipt",
        predicate,
        &[("authorization", &authorization[7..]), ("stdout", ""), ("stderr", ""), ("files", "")],
    )
}

/// A checkpoint with this origin and these leaves, signed with the key of `name`.
fn checkpoint(origin: &str, leaves: &[Hash], name: &str) -> String {
    let body = Checkpoint { origin: origin.to_owned(), size: leaves.len() as u64, root: merkle::root(leaves) }.body();
    let mut signature = note::key_hash(origin, &secret(name).public()).to_vec();
    signature.extend_from_slice(&secret(name).sign(body.as_bytes()));
    format!("{body}\n\u{2014} {origin} {}\n", STANDARD.encode(signature))
}

/// The golden crossing with two versions of the roster.
fn two_rosters<'d>(second: Envelope) -> Story<'d> {
    Story { rosters: vec![envelope(&to_canonical(&roster_1()), &[]), second], ..Story::default() }
}

fn second_signed_by(names: &[&str]) -> Envelope {
    envelope(&to_canonical(&roster_2()), names)
}

/// Version 1 of the roster, with a change.
fn changed_roster(change: impl Fn(&mut Value)) -> Envelope {
    let mut value = roster_1();
    change(&mut value["predicate"]);
    repair_twins("roster", &mut value);
    envelope(&to_canonical(&value), &[])
}

/// Version 1 of the roster, in which bob has a security key and the group `security` requires `presence`.
fn roster_with_security_key(presence: &str) -> Envelope {
    changed_roster(|roster| {
        roster["approver"][1]["keys"] = json!([security_key("bob").line()]);
        roster["group"][1]["presence"] = json!(presence);
    })
}

/// A roster with keys of unsupported types: an additional key of alice, who signs with her other key, and the only key
/// of frank.
fn roster_with_foreign_keys() -> Envelope {
    let line = |kind: &str, parts: &[&[u8]]| {
        let mut blob = Vec::new();
        put(&mut blob, kind.as_bytes());
        parts.iter().for_each(|part| put(&mut blob, part));
        format!("{kind} {}", STANDARD.encode(blob))
    };
    // A P-256 point has 65 bytes. The content of these points is never checked.
    let point = [&[4][..], &[0x2a; 64]].concat();
    let ecdsa = line("ecdsa-sha2-nistp256", &[b"nistp256", &point]);
    let passkey = line("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &[7; 65], b"ssh:"]);
    changed_roster(|roster| {
        let people = roster["approver"].as_array_mut().expect("people");
        people[0]["keys"].as_array_mut().expect("keys").push(json!(format!("{ecdsa} alice's laptop")));
        people.push(json!({"groups": ["ops"], "keys": [passkey], "name": "frank"}));
    })
}

/// An envelope with a raw signature of alice and this signature of bob.
fn with_bob(payload: &[u8], keyid: KeyId, sig: &[u8]) -> Envelope {
    let mut made = envelope(payload, &["alice"]);
    made.signatures.push(EnvelopeSignature::new(keyid, sig));
    made.signatures.sort();
    made
}

fn bob_by_sshsig(payload: &[u8], namespace: &[u8], more: &[u8]) -> Envelope {
    let blob = sshsig_blob("bob", namespace, None, &pae(PAYLOAD_TYPE, payload));
    with_bob(payload, named_key("bob").keyid(), &[&blob[..], more].concat())
}

fn bob_by_security_key(payload: &[u8], flags: u8) -> Envelope {
    let blob = sshsig_blob("bob", b"countersign", Some(flags), &pae(PAYLOAD_TYPE, payload));
    with_bob(payload, security_key("bob").keyid(), &blob)
}

/// Flags of an authenticator: user present (1), and user present and verified (1 + 4).
const PRESENT: u8 = 1;
const VERIFIED: u8 = 5;

fn valid(files: &mut Files) {
    let golden = Story::default().tell();
    let mut put = |path: &str, bytes: Vec<u8>| drop(files.insert(format!("valid/{path}"), bytes));
    for kind in KINDS {
        let (payload, made) = (&golden.payloads[kind], &golden.envelopes[kind]);
        put(&format!("payload/{kind}.json"), payload.clone());
        put(&format!("pae/{kind}.bin"), pae(PAYLOAD_TYPE, payload));
        put(&format!("envelope/{kind}.json"), leaf_data(made));
        for (at, signature) in made.signatures.iter().enumerate() {
            put(&format!("sig/{kind}-{at}.bin"), STANDARD.decode(&signature.sig).expect("base64"));
        }
    }
    put("roster.json", leaf_data(&golden.envelopes["roster"]));
    put("bundle.json", golden.file());
    let by_sshsig = |payload: &[u8]| bob_by_sshsig(payload, b"countersign", b"");
    put(
        "bundle-sshsig.json",
        Story { sign_authorization: Some(Box::new(by_sshsig)), ..Story::default() }.tell().file(),
    );
    for (name, presence, flags) in [("sk", "required", PRESENT), ("sk-verified", "verified", VERIFIED)] {
        let roster = roster_with_security_key(presence);
        put(&format!("roster-{name}.json"), leaf_data(&roster));
        let sign = move |payload: &[u8]| bob_by_security_key(payload, flags);
        let story = Story { rosters: vec![roster], sign_authorization: Some(Box::new(sign)), ..Story::default() };
        put(&format!("bundle-{name}.json"), story.tell().file());
    }
    put("bundle-roster-2.json", two_rosters(second_signed_by(&["alice", "bob"])).tell().file());
    let foreign = roster_with_foreign_keys();
    put("roster-foreign-keys.json", leaf_data(&foreign));
    put("bundle-foreign-keys.json", Story { rosters: vec![foreign], ..Story::default() }.tell().file());
    let listed = with_programs(|_| {}, |_| {}).tell();
    put("roster-programs.json", leaf_data(&listed.envelopes["roster"]));
    put("bundle-programs.json", listed.file());
    for (kind, payload) in &listed.payloads {
        put(&format!("programs/payload/{kind}.json"), payload.clone());
    }
    parts::valid(files);
    let mut put = |path: &str, bytes: Vec<u8>| drop(files.insert(format!("valid/{path}"), bytes));

    for (name, _) in KEYS {
        let (key, secret) = (named_key(name), secret(name));
        put(&format!("keys/{name}.pub"), format!("{}\n", key.line()).into_bytes());
        put(&format!("keys/{name}.pub.pem"), key.public().to_spki_pem().into_bytes());
        put(&format!("keys/{name}.TEST-ONLY.pem"), secret.to_pkcs8_v1_pem().as_bytes().to_vec());
    }
    let blob = sshsig_blob("bob", b"countersign", None, &pae(PAYLOAD_TYPE, &golden.payloads["authorization"]));
    put("sshsig/authorization.bob.sig", sshsig::armour(&blob).into_bytes());
    let roster = TrustedRoster::from_payload(&golden.payloads["roster"]).expect("the golden roster");
    let signers = roster.allowed_signers();
    let bob = signers.lines().find(|line| line.starts_with("bob ")).expect("bob's line");
    put("sshsig/allowed_signers", format!("{bob}\n").into_bytes());
    put("output/stdout.txt", STDOUT.to_vec());

    put("log/checkpoint", golden.note.clone().into_bytes());
    put("log/tile/0/000.p/5", golden.leaves.concat());
    let mut entries = Vec::new();
    for kind in Story::default().order {
        push_entry(&mut entries, &leaf_data(&golden.envelopes[kind])).expect("small");
    }
    put("log/tile/entries/000.p/5", entries);
    for (kind, proof) in &golden.proofs {
        put(&format!("log/proof/{kind}.tlog-proof"), proof.to_string().into_bytes());
    }
    let registry = json!([registry_leaf(&other_step()), registry_leaf(&step())]);
    let blobs = [&step(), &other_step(), &policy(), &builtins(), &tokens(), &configuration(), &registry, &json!([])];
    for blob in blobs.map(to_canonical).into_iter().chain([golden.payloads["roster"].clone()]) {
        put(&format!("log/blob/sha256/{}", hex(&sha256(&blob))), blob);
    }
    put("facts.json", facts(&golden));
}

fn facts(golden: &Told) -> Vec<u8> {
    let keyids: Map<String, Value> =
        KEYS.iter().map(|(name, _)| ((*name).to_owned(), json!(named_key(name).keyid()))).collect();
    let of = |hash: &Hash| format!("sha256:{}", hex(hash));
    let authorization: Value = serde_json::from_slice(&golden.payloads["authorization"]).expect("JSON");
    let seal: Value = serde_json::from_slice(&golden.payloads["seal"]).expect("JSON");
    let facts = json!({
        "authorization": reference(&golden.payloads["authorization"]), "boundary_id": reference(&golden.payloads["seal"]),
        "keyids": keyids, "leaf_hashes": golden.leaves.iter().map(of).collect::<Vec<_>>(), "origin": golden.origin,
        "params": reference(&to_canonical(&authorization["predicate"]["params"])),
        "registry_root": seal["predicate"]["registry_root"], "root": of(&merkle::root(&golden.leaves)),
        "roster": reference(&golden.payloads["roster"]), "step": reference(&to_canonical(&step())),
        "vkey": note::vkey(&golden.origin, named_key("boundary").public()),
    });
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    serde::Serialize::serialize(&facts, &mut serde_json::Serializer::with_formatter(&mut out, format)).expect("JSON");
    out.push(b'\n');
    out
}

/// The list of the refused documents: the file, the trusted roster, the check that must fail, and other checks that
/// also fail.
struct Refused<'f> {
    files: &'f mut Files,
    index: Vec<String>,
}

const PROGRAMS_ROSTER: &str = "valid/roster-programs.json";

impl Refused<'_> {
    fn push(&mut self, name: &str, expect: &str, also: &[&str], roster: &str, bytes: Vec<u8>) {
        let also = also.iter().map(|check| format!("\"{check}\"")).collect::<Vec<_>>().join(", ");
        self.index.push(format!(
            r#"{{"also": [{also}], "expect": "{expect}", "file": "refused/{name}.json", "roster": "{roster}"}}"#
        ));
        assert!(self.files.insert(format!("refused/{name}.json"), bytes).is_none(), "{name} twice");
    }

    /// Adds a bundle that fails one check, with the golden roster as the trusted roster.
    fn one(&mut self, name: &str, expect: &str, story: &Story<'_>) {
        self.push(name, expect, &[], "valid/roster.json", story.tell().file());
    }

    /// Adds a bundle with the story's own roster as the trusted roster, and writes this roster to a file.
    fn under_own_roster(&mut self, name: &str, expect: &str, story: &Story<'_>) {
        let told = story.tell();
        let path = format!("refused/rosters/{}.json", &hex(&sha256(&told.payloads["roster"]))[..12]);
        self.files.insert(path.clone(), leaf_data(&told.envelopes["roster"]));
        self.push(name, expect, &[], &path, told.file());
    }

    /// Adds a bundle whose roster is invalid, so that the trusted roster is a digest instead of a file.
    fn under_pinned_roster(&mut self, name: &str, expect: &str, story: &Story<'_>) {
        let told = story.tell();
        self.push(name, expect, &[], &reference(&told.payloads["roster"]), told.file());
    }
}

fn on<'d>(edit: impl Fn(&mut Value) + 'd) -> Edit<'d> {
    Some(Box::new(edit))
}

fn authorized<'d>(edit: impl Fn(&mut Value) + 'd) -> Story<'d> {
    Story { authorization: on(edit), ..Story::default() }
}

fn received<'d>(edit: impl Fn(&mut Value) + 'd) -> Story<'d> {
    Story { receipt: on(edit), ..Story::default() }
}

fn bundled<'d>(edit: impl Fn(&mut Value) + 'd) -> Story<'d> {
    Story { bundle: on(edit), ..Story::default() }
}

fn spent<'d>(edit: impl Fn(&mut Value) + 'd) -> Story<'d> {
    Story { consumption: on(edit), ..Story::default() }
}

/// A story in which `sign` creates the envelope of the receipt.
fn receipt_by<'d>(sign: impl Fn(&[u8]) -> Envelope + 'd) -> Story<'d> {
    Story { sign_receipt: Some(Box::new(sign)), ..Story::default() }
}

/// A story in which `sign` creates the envelope of the authorization.
fn approved_by<'d>(sign: impl Fn(&[u8]) -> Envelope + 'd) -> Story<'d> {
    Story { sign_authorization: Some(Box::new(sign)), ..Story::default() }
}

/// An envelope with one signature, which covers `message` instead of the payload.
fn signature_over(payload: &[u8], message: &[u8]) -> Envelope {
    let signature = EnvelopeSignature::new(named_key("boundary").keyid(), &secret("boundary").sign(message));
    Envelope::new(payload, vec![signature])
}

/// A story in which these approvers sign, with the corresponding decision in the receipt.
fn decided<'d>(names: &'d [&'d str], excluded: &'d [&'d str], groups: &'d [&'d str]) -> Story<'d> {
    let decision = move |receipt: &mut Value| {
        let decision = &mut receipt["predicate"]["decision"];
        let mut approvers: Vec<&str> = names.iter().map(|name| if *name == "dora" { "carol" } else { name }).collect();
        approvers.sort_unstable();
        approvers.dedup();
        decision["approvers"] = json!(approvers);
        decision["excluded"] = json!(excluded);
        decision["groups"] = json!(groups);
    };
    Story { receipt: on(decision), ..approved_by(move |payload| envelope(payload, names)) }
}

fn refused(files: &mut Files) {
    let mut list = Refused { files, index: Vec::new() };
    texts(&mut list);
    receipts(&mut list);
    approvals(&mut list);
    windows_and_steps(&mut list);
    records(&mut list);
    logs(&mut list);
    rosters(&mut list);
    programs(&mut list);
    parts::refused(&mut list);
    let index = format!("[\n{}\n]\n", list.index.join(",\n"));
    list.files.insert("refused/index.json".to_owned(), index.into_bytes());
}

/// Defects in the JSON text of the bundle.
fn texts(list: &mut Refused<'_>) {
    let golden = Story::default().tell();
    let with = |from: &str, to: &str| golden.text().replacen(from, to, 1).into_bytes();
    let mut push = |name: &str, bytes: Vec<u8>| list.push(name, "bundle", &[], "valid/roster.json", bytes);
    push("duplicate-key", with(r#""mediaType":"#, r#""mediaType":0,"mediaType":"#));
    push("duplicate-key-escaped", with("{", r#"{"\u0073tep":{},"#));
    push("float-index", with(r#""index":1,"size""#, r#""index":1.0,"size""#));
    let deep = format!(r#""version":1,"x":{}{}}},"proofs""#, "[".repeat(34), "]".repeat(34));
    push("depth-33", with(r#""version":1},"proofs""#, &deep));
}

fn receipts(list: &mut Refused<'_>) {
    let text = |from, to| Story { receipt_text: Some((from, to)), ..Story::default() };
    list.one("receipt-not-canonical", "receipt-document", &text(r#"{"_type":"#, r#"{"_type": "#));
    list.one("receipt-duplicate-key", "receipt-document", &text(r#""predicate":{"#, r#""predicate":0,"predicate":{"#));
    list.one("receipt-float", "receipt-document", &text(r#""duration_ms":412"#, r#""duration_ms":412.0"#));
    let stray = |payload: &[u8]| {
        let mut made = envelope(payload, &["boundary"]);
        // The last letter before `==` has four unused bits.
        let sig = &mut made.signatures[0].sig;
        let at = sig.len() - 3;
        let letter = char::from(sig.as_bytes()[at]);
        let next = char::from(sig.as_bytes()[at] + 1);
        assert!("AQgw".contains(letter), "{letter}");
        sig.replace_range(at..=at, &next.to_string());
        made
    };
    list.one("receipt-base64-trailing-bits", "receipt-document", &receipt_by(stray));
    let swapped = bundled(|bundle| bundle["receipt"] = bundle["consumption"].clone());
    list.one("consumption-as-receipt", "receipt-document", &swapped);
    let denied = |payload: &[u8]| {
        let stated: Value = serde_json::from_slice(payload).expect("JSON");
        let digest = hex(&sha256(payload));
        let predicate = json!({"boundary": stated["predicate"]["boundary"], "reason": "no"});
        let denial = statement("denial", predicate, &[("authorization", &digest)]);
        envelope(&to_canonical(&denial), &["alice", "bob"])
    };
    // The first subject must match the embedded bytes, so that the receipt has no other defect.
    let named = |receipt: &mut Value| {
        let payload = receipt["predicate"]["authorization"]["payload"].as_str().expect("text");
        let digest = hex(&sha256(&STANDARD.decode(payload).expect("base64")));
        receipt["subject"][0]["digest"]["sha256"] = json!(digest);
    };
    let story = Story { receipt: on(named), ..approved_by(denied) };
    list.one("denial-as-authorization", "authorization-document", &story);
    let grant = authorized(|value| value["predicateType"] = json!("https://countersign.dev/grant/v1"));
    list.one("authorization-of-another-kind", "authorization-document", &grant);
    list.one("receipt-signed-by-stranger", "receipt-signature", &receipt_by(|payload| envelope(payload, &["mallory"])));
    let under_another_id = |payload: &[u8]| {
        let mut made = envelope(payload, &["mallory"]);
        made.signatures[0].keyid = named_key("boundary").keyid();
        made
    };
    let name = "receipt-strangers-signature-under-boundary-keyid";
    list.one(name, "receipt-signature", &receipt_by(under_another_id));
    let flipped = bundled(|bundle| {
        let text = STANDARD.decode(bundle["receipt"]["payload"].as_str().expect("text")).expect("base64");
        let text = String::from_utf8(text).expect("text").replace(r#""duration_ms":412"#, r#""duration_ms":413"#);
        bundle["receipt"]["payload"] = json!(STANDARD.encode(text));
    });
    let (check, also) = ("receipt-signature", &["receipt-included"]);
    list.push("receipt-payload-bit-flipped", check, also, "valid/roster.json", flipped.tell().file());
    let without = |payload: &[u8]| signature_over(payload, payload);
    list.one("receipt-signature-over-payload-without-pae", check, &receipt_by(without));
    let note = Story::default().tell().note;
    let body = note.split_once("\n\n").map(|(body, _)| format!("{body}\n")).expect("a note");
    let of_note = |payload: &[u8]| signature_over(payload, body.as_bytes());
    list.one("receipt-carries-checkpoint-signature", check, &receipt_by(of_note));
    let unreduced = |payload: &[u8]| {
        let mut signature = secret("boundary").sign(&pae(PAYLOAD_TYPE, payload));
        add_group_order(&mut signature);
        Envelope::new(payload, vec![EnvelopeSignature::new(named_key("boundary").keyid(), &signature)])
    };
    list.one("receipt-s-not-reduced", check, &receipt_by(unreduced));
    let seal =
        Story { sign_seal: Some(Box::new(|payload: &[u8]| envelope(payload, &["mallory"]))), ..Story::default() };
    list.one("seal-signed-by-stranger", "seal-signature", &seal);
}

/// Adds the group order to the second half of an Ed25519 signature. The second half must be less than the group order,
/// so the result is not a valid signature (RFC 8032).
fn add_group_order(signature: &mut [u8; 64]) {
    // 2^252 + 27742317777372353535851937790883648493, least significant byte first (RFC 8032).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (place, add) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*place) + u16::from(add) + carry;
        *place = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
}

fn approvals(list: &mut Refused<'_>) {
    let (both, ops) = (&["ops", "security"][..], &["ops"][..]);
    let carol = &["carol", "ci-agent"][..];
    list.one("one-approver-of-two", "quorum", &decided(&["alice"], carol, ops));
    list.one("one-person-for-two-groups", "quorum", &decided(&["carol"], &["ci-agent"], both));
    let check = "authorization-signatures";
    list.one("same-approver-twice", check, &decided(&["alice", "carol", "dora"], &["ci-agent"], both));
    list.one("excluded-approver", "excluded", &decided(&["alice", "bob", "carol"], carol, both));
    let by_alice = Story {
        receipt: on(|receipt| receipt["predicate"]["decision"]["excluded"] = json!(["alice"])),
        ..authorized(|value| value["predicate"]["proposer"] = json!("alice"))
    };
    list.one("proposer-approves", "excluded", &by_alice);
    list.one("unknown-signer", check, &decided(&["alice", "bob", "mallory"], carol, both));
    let by_bob_over = |payload: &[u8], other: &Value| {
        let signature = secret("bob").sign(&pae(PAYLOAD_TYPE, &to_canonical(other)));
        with_bob(payload, named_key("bob").keyid(), &signature)
    };
    let another_nonce = |payload: &[u8]| {
        let mut other: Value = serde_json::from_slice(payload).expect("JSON");
        other["predicate"]["nonce"] = json!(OTHER_NONCE);
        by_bob_over(payload, &other)
    };
    list.one("approver-signed-another-nonce", check, &approved_by(another_nonce));
    let a_denial = |payload: &[u8]| {
        let stated: Value = serde_json::from_slice(payload).expect("JSON");
        let predicate = json!({"boundary": stated["predicate"]["boundary"], "reason": "no"});
        by_bob_over(payload, &statement("denial", predicate, &[("authorization", &hex(&sha256(payload)))]))
    };
    list.one("approver-signed-a-denial", check, &approved_by(a_denial));
    list.one("sshsig-other-namespace", check, &approved_by(|payload| bob_by_sshsig(payload, b"git", b"")));
    list.one("sshsig-trailing-byte", check, &approved_by(|payload| bob_by_sshsig(payload, b"countersign", b"\0")));
    for (name, presence, flags) in [
        ("sk-without-user-presence", "required", 0),
        ("sk-verified-without-user-presence", "verified", VERIFIED - PRESENT),
        ("sk-present-and-not-verified", "verified", PRESENT),
    ] {
        let story = approved_by(move |payload| bob_by_security_key(payload, flags));
        list.under_own_roster(name, check, &Story { rosters: vec![roster_with_security_key(presence)], ..story });
    }
    let ended = changed_roster(|roster| roster["approver"][0]["valid_before"] = json!("2026-11-20T09:40:00Z"));
    list.under_own_roster("approver-expired", check, &Story { rosters: vec![ended], ..Story::default() });
}

fn windows_and_steps(list: &mut Refused<'_>) {
    let other = authorized(|value| value["predicate"]["boundary"]["id"] = json!(OTHER_BOUNDARY));
    list.one("authorization-other-boundary-id", "boundary", &other);
    let late = Story {
        receipt: on(|receipt| {
            receipt["predicate"]["started_at"] = json!("2026-11-20T10:30:00Z");
            receipt["predicate"]["finished_at"] = json!("2026-11-20T10:30:01Z");
        }),
        ..spent(|value| value["predicate"]["at"] = json!("2026-11-20T10:30:00Z"))
    };
    list.one("expired", "window", &late);
    let early = authorized(|value| value["predicate"]["not_before"] = json!("2026-11-20T09:40:01Z"));
    list.one("not-yet-valid", "window", &early);
    let long = authorized(|value| value["predicate"]["expires_at"] = json!("2026-11-21T10:30:00Z"));
    list.one("window-25-hours", "window", &long);
    let source = bundled(|bundle| bundle["step"]["source"] = json!("printf 'pwned\\n'\n"));
    list.push("step-source-changed", "step", &["step-in-registry"], "valid/roster.json", source.tell().file());
    list.one("step-not-in-registry", "step-in-registry", &Story { registered: false, ..Story::default() });
    let hash = bundled(|bundle| {
        let text = bundle["step_proof"]["hashes"][0].as_str().expect("hex");
        let last = if text.ends_with('0') { "1" } else { "0" };
        bundle["step_proof"]["hashes"][0] = json!(format!("{}{last}", &text[..63]));
    });
    list.one("step-proof-hash", "step-in-registry", &hash);
    let unlike = authorized(|value| value["predicate"]["params"]["host"] = json!("web-4"));
    list.one("authorization-params-changed-subject-left", "authorization-document", &unlike);
    for (name, host) in [("params-leading-dash", "-oProxyCommand"), ("params-pattern-newline", "web-3\n")] {
        let story = authorized(move |value| {
            value["predicate"]["params"]["host"] = json!(host);
            repair_twins("authorization", value);
        });
        list.one(name, "parameters", &story);
    }
    let unsorted = authorized(|value| {
        value["predicate"]["permissions"] = json!([{"type": "run", "what": "kubectl", "why": "unlisted"},
            {"type": "env", "what": "KUBECONFIG", "why": "unlisted"}]);
    });
    list.one("permissions-unsorted", "authorization-document", &unsorted);
}

fn records(list: &mut Refused<'_>) {
    let layer =
        received(|value| drop(value["predicate"]["sandbox"]["layers"].as_array_mut().expect("layers").remove(2)));
    list.one("sandbox-layer-not-enforced", "sandbox", &layer);
    list.one("policy-swapped", "seal", &bundled(|bundle| bundle["policy"]["default"]["mode"] = json!("execute")));
    let keys = |seal: &mut Value| seal["predicate"]["keys"] = json!([named_key("mallory").keyid()]);
    list.one("seal-keys-not-rostered", "roster-in-seal", &Story { seal: on(keys), ..Story::default() });
    let nonce = spent(|value| value["predicate"]["spent"][0]["nonce"] = json!(OTHER_NONCE));
    list.one("consumption-other-nonce", "consumption", &nonce);
    let other = spent(|value| {
        value["predicate"]["spent"][0]["authorization"] = json!(reference(b"x"));
        repair_twins("consumption", value);
    });
    list.one("consumption-other-authorization", "consumption", &other);
    let leaf = received(|value| value["predicate"]["consumption"]["leaf"] = json!(reference(b"x")));
    list.one("receipt-other-leaf", "consumption", &leaf);
    let exit = received(|value| value["predicate"]["outcome"]["exit_code"] = json!(1));
    list.one("outcome-succeeded-with-exit-1", "outcome", &exit);
    let blake3 = received(|value| {
        let bare = value["predicate"]["output"]["stdout"]["blake3"].as_str().expect("text")[7..].to_owned();
        value["subject"][1]["digest"]["blake3"] = json!(bare);
    });
    list.one("receipt-subject-with-blake3", "receipt-document", &blake3);
}

/// Bundles with a defect in the list of programs.
fn programs(list: &mut Refused<'_>) {
    fn sandbox(value: &mut Value) -> &mut Value {
        &mut value["predicate"]["sandbox"]
    }
    fn entries(value: &mut Value) -> &mut Vec<Value> {
        sandbox(value)["programs"]["list"].as_array_mut().expect("a list")
    }
    fn listed(value: &mut Value, count: usize) {
        value["predicate"]["programs"]["listed"] = json!(count);
    }
    let kept = |_: &mut Value| {};
    let mut one = |name: &str, expect: &str, story: Story<'_>| {
        list.push(&format!("programs-{name}"), expect, &[], PROGRAMS_ROSTER, story.tell().file());
    };
    let document = "authorization-document";
    let removed = |value: &mut Value| drop(sandbox(value).as_object_mut().expect("a map").remove("programs"));
    one("required-without-a-list", document, with_programs(removed, kept));
    one("out-of-order", document, with_programs(|value| entries(value).swap(0, 1), kept));
    let large = |value: &mut Value| {
        let path = |at: usize| json!({"name": format!("{at:03}"), "path": format!("/{at:03}{}", "x".repeat(40))});
        *entries(value) = (0..60).map(path).collect();
    };
    one("over-4096-bytes", document, with_programs(large, kept));
    let name = |value: &mut Value| entries(value)[5]["path"] = json!("/usr/bin/x");
    one("work-directory-as-name-only", document, with_programs(name, kept));
    let path = |value: &mut Value| entries(value)[4]["path"] = json!("{work}/**");
    one("work-directory-as-path-only", document, with_programs(path, kept));

    one("receipt-states-another-count", "sandbox", with_programs(kept, |value| listed(value, 5)));
    let any = |value: &mut Value| value["predicate"]["programs"] = json!({"listed": 0, "mode": "any"});
    one("receipt-states-mode-any", "sandbox", with_programs(kept, any));
    let silent = |value: &mut Value| drop(value["predicate"].as_object_mut().expect("a map").remove("programs"));
    one("receipt-states-nothing", "sandbox", with_programs(kept, silent));
    let unheld = |value: &mut Value| {
        let layers = sandbox(value)["layers"].as_array_mut().expect("layers");
        layers.retain(|layer| layer != "programs");
    };
    one("layer-not-enforced", "sandbox", with_programs(kept, unheld));

    let check = "permissions";
    let dropped =
        |place: usize| with_programs(move |value| drop(entries(value).remove(place)), |value| listed(value, 5));
    one("without-the-interpreter", check, dropped(0));
    one("without-a-declared-program", check, dropped(1));
    one("without-the-declared-work-directory", check, dropped(5));
    let unlisted = |value: &mut Value| {
        removed(value);
        drop(sandbox(value)["require"].as_array_mut().expect("layers").remove(5));
    };
    one("listed-by-policy-without-a-list", check, with_programs(unlisted, silent));
    let unrequired = |value: &mut Value| drop(sandbox(value)["require"].as_array_mut().expect("layers").remove(5));
    one("list-without-the-layer", check, with_programs(unrequired, kept));
    let denied = |value: &mut Value| entries(value).insert(2, json!({"name": "nc", "path": "/usr/bin/nc"}));
    one("denied-by-the-policy-file", check, with_programs(denied, |value| listed(value, 7)));
    let by_path = |value: &mut Value| entries(value).insert(0, json!({"name": "NC", "path": "/opt/NC"}));
    one("denied-in-other-letter-case", check, with_programs(by_path, |value| listed(value, 7)));
    // Only a verifier that parses the script knows that nothing names this program.
    let surplus = |value: &mut Value| entries(value).insert(1, json!({"name": "date", "path": "/usr/bin/date"}));
    one("named-by-nothing", check, with_programs(surplus, |value| listed(value, 7)));
    let last = list.index.last_mut().expect("an entry");
    *last = last.replacen('{', &format!("{{\"engine\": \"countersign {RELEASE}\", "), 1);
    let asked_by_nobody = Story {
        receipt: on(|value| {
            state_programs(value);
            listed(value, 6);
        }),
        ..authorized(sign_programs)
    };
    list.one("programs-list-that-nothing-asks-for", check, &asked_by_nobody);

    let by_policy = |edit: fn(&mut Value)| {
        let mut policy = policy_with_programs();
        edit(&mut policy);
        let digest = reference(&to_canonical(&policy));
        let rosters = vec![changed_roster(|roster| roster["policy"] = json!(digest))];
        Story { policy, rosters, ..with_programs(|_| {}, |_| {}) }
    };
    list.under_own_roster(
        "programs-in-a-policy-of-version-1",
        "quorum",
        &by_policy(|policy| policy["version"] = json!(1)),
    );
    list.under_own_roster("policy-of-version-3", "quorum", &by_policy(|policy| policy["version"] = json!(3)));
    let mode = |policy: &mut Value| policy["default"]["sandbox"]["programs"]["mode"] = json!("none");
    list.under_own_roster("programs-mode-of-another-word", "quorum", &by_policy(mode));
    let sealed = |edit: fn(&mut Value)| {
        let mut builtins = builtins_with_closures();
        edit(&mut builtins);
        Story { builtins, ..with_programs(|_| {}, |_| {}) }.tell().file()
    };
    for (name, edit) in [
        ("builtins-of-version-1-with-closures", (|lists| lists["version"] = json!(1)) as fn(&mut Value)),
        ("builtins-of-version-2-without-closures", |lists| {
            drop(lists.as_object_mut().expect("a map").remove("closures"))
        }),
        ("closure-out-of-order", |lists| lists["closures"]["systemctl"]["starts"] = json!(["ssh", "nc"])),
        ("closure-without-a-source", |lists| lists["closures"]["jq"]["source"] = json!("")),
    ] {
        list.push(name, "quorum", &[], PROGRAMS_ROSTER, sealed(edit));
    }
}

fn logs(list: &mut Refused<'_>) {
    let order = |order| Story { order, ..Story::default() };
    let before = order(["seal", "receipt", "refusal", "consumption", "denial"]);
    list.one("receipt-before-consumption", "log-order", &before);
    let before = Story {
        // The log begins with the consumption instead of the seal.
        ..order(["consumption", "seal", "refusal", "receipt", "denial"])
    };
    list.one("consumption-before-seal", "log-order", &before);
    let hash = bundled(|bundle| {
        let text = bundle["proofs"]["receipt"].as_str().expect("text");
        let lines: Vec<&str> = text.split('\n').collect();
        let mut first = STANDARD.decode(lines[2]).expect("base64");
        first[0] ^= 1;
        bundle["proofs"]["receipt"] = json!(text.replacen(lines[2], &STANDARD.encode(first), 1));
    });
    list.one("receipt-proof-hash", "receipt-included", &hash);
    let extra = bundled(|bundle| {
        let text = bundle["proofs"]["receipt"].as_str().expect("text").replacen("\nindex", "\nextra AAAA\nindex", 1);
        bundle["proofs"]["receipt"] = json!(text);
    });
    list.one("proof-extra-line", "checkpoint", &extra);
    let noted = |note: Note<'static>| Story { note, ..Story::default() };
    let another = noted(Some(Box::new(|_, leaves| checkpoint("prod-eu/0123456789abcdef", leaves, "boundary"))));
    list.one("checkpoint-of-another-log-same-name", "checkpoint", &another);
    let stranger = noted(Some(Box::new(|origin, leaves| checkpoint(origin, leaves, "mallory"))));
    list.one("checkpoint-signed-by-stranger", "checkpoint", &stranger);
    let golden = Story::default().tell();
    let differ = bundled(|bundle| {
        // The same log without the last entry.
        let leaves = &golden.leaves[..4];
        let checkpoint = checkpoint(&golden.origin, leaves, "boundary");
        bundle["proofs"]["receipt"] = json!(TlogProof { index: 3, hashes: path(leaves, 3), checkpoint }.to_string());
    });
    list.one("checkpoints-differ", "checkpoint", &differ);
}

fn rosters(list: &mut Refused<'_>) {
    let check = "roster-chain";
    let alone = |roster: Envelope| Story { rosters: vec![roster], ..Story::default() };
    list.one("roster-not-trusted", check, &alone(changed_roster(|roster| roster["threshold"] = json!(1))));
    let with_key = |line: String| {
        alone(changed_roster(move |roster| {
            roster["approver"][0]["keys"].as_array_mut().expect("keys").push(json!(line))
        }))
    };
    let mut weak = Vec::new();
    put(&mut weak, b"ssh-ed25519");
    // The neutral element is a weak key: anyone can create a valid signature for this key.
    put(&mut weak, &[&[1][..], &[0; 31]].concat());
    let weak = format!("ssh-ed25519 {} alice", STANDARD.encode(weak));
    list.under_pinned_roster("roster-weak-key", check, &with_key(weak));
    list.under_pinned_roster("roster-key-plain-and-sk", check, &with_key(security_key("alice").line().to_owned()));
    list.under_pinned_roster(
        "roster-key-of-a-known-type-mangled",
        check,
        &with_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910".to_owned()),
    );
    let no_blob = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=";
    list.under_pinned_roster("roster-key-of-another-type-without-a-key", check, &with_key(no_blob.to_owned()));
    list.one("roster-2-one-signature", check, &two_rosters(second_signed_by(&["alice"])));
    let mut new_people = roster_2();
    let newcomer = SshKey::from_public(SecretKey::from_seed([8; 32]).public(), "m").expect("a key");
    let people = new_people["predicate"]["approver"].as_array_mut().expect("people");
    *people = vec![json!({"groups": ["ops"], "keys": [newcomer.line()], "name": "mallory"}), people[2].clone()];
    repair_twins("roster", &mut new_people);
    let signed = envelope(&to_canonical(&new_people), &["alice", "bob"]);
    list.one("roster-2-new-people-only", check, &two_rosters(signed));
    let by_staging = Story {
        sign_receipt: Some(Box::new(|payload: &[u8]| envelope(payload, &["mallory"]))),
        ..two_rosters(second_signed_by(&["alice", "bob"]))
    };
    list.one("receipt-signed-by-another-boundary-of-the-roster", "receipt-signature", &by_staging);
}
