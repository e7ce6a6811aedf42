//! Builds logs in memory with real keys, entry by entry. A test can also build a log that breaks the rules, because the
//! holder of the boundary's key can sign any entry.
#![allow(dead_code, unreachable_pub, reason = "each user takes a part of it")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

pub mod grants;
pub mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use documents::{
    BlobDigest, Checkpoint, Configuration, ConfiguredLimits, ConfiguredSandbox, Envelope,
    EnvelopeSignature, Level, Limits, PAYLOAD_TYPE, PatchedRoster, RosterDigest, RosterVersion,
    STRICT, SecretKey, SshKey, TilePath, Timestamp, canonical_of, hex, merkle, pae, patch_between,
    sha256, sign_note, to_canonical,
};
use reading::{Builtins, Policy, Registry};
use serde_json::{Value, json};
use verdict::{
    AuditEvent, Auditor, EvidenceFiles, Expected, LogEntry, Pinned, Summary, TrustedRoster,
    Unreadable, rosters_in, steps_in_force,
};

pub const ALICE: u8 = 1;
pub const BOB: u8 = 2;
pub const BOUNDARY: u8 = 3;
pub const CAROL: u8 = 4;
/// A second key for the boundary.
pub const BOUNDARY_2: u8 = 13;
/// A key that is not in the default roster.
pub const MALLORY: u8 = 66;
/// The first seed of keys that are no Ed25519 keys: of the person whose seed is added.
pub const OTHER: u8 = 100;
/// Signs with such a key. A test program that has such keys sets the function.
pub static SIGN_OTHER: OnceLock<fn(u8, &[u8]) -> EnvelopeSignature> = OnceLock::new();

pub const T0: i64 = 1_800_000_000;

/// Formats the time `seconds` after `T0`.
pub fn t(seconds: i64) -> String {
    Timestamp::from_unix(T0 + seconds).to_string()
}

/// Returns a nonce that ends `seconds` after `T0`. Another number makes another nonce.
pub fn nonce(seconds: i64, number: u64) -> String {
    let mut bytes = [7; 24];
    bytes[..8].copy_from_slice(&(T0 + seconds).to_be_bytes());
    bytes[8..16].copy_from_slice(&number.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the id of a proposal that ends `seconds` after `T0`. Another number makes another id.
pub fn proposal_id(seconds: i64, number: u64) -> String {
    let hex = format!("{:012x}", (T0 + seconds) * 1000);
    format!("prp_{}-{}-7000-8000-{number:012x}", &hex[..8], &hex[8..])
}

/// Returns the seconds from `T0` to the end in a nonce.
fn end_of_nonce(nonce: &Value) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(nonce.as_str()?).ok()?;
    let end = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    Some(end - T0)
}

/// Returns the seconds from `T0` to the end in the id of a proposal.
fn end_of_proposal(id: &Value) -> Option<i64> {
    let digits = id.as_str()?.strip_prefix("prp_")?.replace('-', "");
    let end = i64::from_str_radix(digits.get(..12)?, 16).ok()?;
    Some(end / 1000 - T0)
}

pub fn key(seed: u8) -> SshKey {
    SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "").expect("a key")
}

/// Returns the sealed entry of a token that may propose every step. The hexadecimal credential repeats `pair`.
pub fn token(name: &str, owners: &[&str], pair: &str) -> Value {
    json!({
        "name": name, "owners": owners, "patterns": [], "scopes": ["propose"],
        "credential": format!("sha256:{}", pair.repeat(32)),
    })
}

/// Returns the object with this field.
fn with(object: &Value, field: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[field] = value;
    object
}

pub fn reference(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha256(bytes)))
}

pub fn sign(payload: &[u8], seeds: &[u8]) -> Envelope {
    let message = pae(PAYLOAD_TYPE, payload);
    let sign = |seed: &u8| {
        if *seed >= OTHER {
            return SIGN_OTHER.get().expect("a signer")(*seed, &message);
        }
        EnvelopeSignature::new(
            key(*seed).keyid(),
            &SecretKey::from_seed([*seed; 32]).sign(&message),
        )
    };
    let mut signatures: Vec<_> = seeds.iter().map(sign).collect();
    signatures.sort();
    Envelope::new(payload, signatures)
}

fn leaf(payload: &[u8], seeds: &[u8]) -> Vec<u8> {
    sign(payload, seeds).to_canonical().expect("canonical")
}

/// Returns the predicate of the statement in an entry.
pub fn predicate_of(entry: &[u8]) -> Value {
    let envelope: Value = serde_json::from_slice(entry).expect("an envelope");
    let payload = base64::engine::general_purpose::STANDARD
        .decode(envelope["payload"].as_str().expect("a payload"))
        .expect("base64");
    serde_json::from_slice::<Value>(&payload).expect("a statement")["predicate"].take()
}

fn statement(kind: &str, subject: Value, predicate: &Value) -> Vec<u8> {
    to_canonical(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": format!("https://countersign.dev/{kind}/v1"),
        "predicate": predicate,
        "subject": subject,
    }))
}

/// The contents of the next seal.
#[derive(Clone)]
pub struct Sealed {
    pub policy: Value,
    pub builtins: Value,
    pub steps: Vec<Value>,
    pub tokens: Value,
    pub configuration: Value,
    /// The tables of the newest roster version. `Log::roster` sets `policy`, `previous` and `version`.
    pub roster: Value,
}

/// Returns the versions of a roster after the first `sealed` ones, in the form of a bundle.
pub fn part(rosters: &[Envelope], sealed: usize) -> Vec<RosterVersion> {
    let content = |envelope: &Envelope| {
        let payload = base64::engine::general_purpose::STANDARD.decode(&envelope.payload);
        let mut value: Value = serde_json::from_slice(&payload.expect("base64")).expect("JSON");
        let mut content = std::mem::take(value["predicate"].as_object_mut().expect("tables"));
        content.remove("version");
        content.remove("previous");
        content
    };
    let whole = RosterVersion::Whole(rosters[sealed].clone());
    let later = rosters[sealed..].windows(2).map(|pair| {
        RosterVersion::Patched(PatchedRoster {
            patch: patch_between(&content(&pair[0]), &content(&pair[1])),
            signatures: pair[1].signatures.clone(),
        })
    });
    std::iter::once(whole).chain(later).collect()
}

/// A log to which a test adds entries.
#[derive(Clone)]
pub struct Log {
    pub entries: Vec<Vec<u8>>,
    pub blobs: BTreeMap<[u8; 32], Vec<u8>>,
    pub sealed: Sealed,
    /// All versions of the roster, signed.
    pub rosters: Vec<Envelope>,
    /// The number of versions that the seals have so far, and the blob that the last seal names as `rosters`.
    pub named: (usize, Option<String>),
    /// The digest of the genesis seal.
    pub id: String,
    pub epoch: String,
    /// The digest of the seal in force.
    pub seal: String,
    /// The number of the seal in force.
    pub number: u64,
    /// The seed of the boundary's current key.
    pub key: u8,
    /// The sandbox profile of each step.
    pub sandbox: BTreeMap<String, Value>,
    made: u64,
}

/// An authorization, and the seeds of the keys that sign it.
#[derive(Clone)]
pub struct Approved {
    pub payload: Vec<u8>,
    pub predicate: Value,
    pub signers: Vec<u8>,
}

/// The position of a consumption in the log, and its time in seconds after `T0`.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub index: u64,
    pub item: u64,
    pub at: i64,
}

pub fn step(reference: &str, source: &str) -> Value {
    json!({
        "approvals": {"from": [], "required": 1}, "files": [], "format": "markdown", "interpreter": "bash",
        "outputs": [],
        "params": {"properties": {"host": {"pattern": "^[a-z0-9-]{1,32}$", "type": "string"}}, "required": ["host"], "type": "object"},
        "ref": reference, "sandbox": {}, "secrets": [], "session": "none", "source": source, "template": "none",
        "title": "A step",
    })
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// Makes a log with a genesis seal at `T0`.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Sealed)) -> Self {
        let line = |seed: u8| key(seed).line().to_owned();
        let mut exclusive = step("db:migrate", "migrate\n");
        exclusive["exclusive"] = json!("db");
        let limits = ConfiguredLimits {
            default: Limits::default(),
            maximum: Limits::default(),
        };
        let configuration = Configuration {
            limits,
            sandbox: ConfiguredSandbox {
                level: Level::Strict,
                require: STRICT.to_vec(),
            },
        };
        let mut sealed = Sealed {
            policy: json!({
                "version": 1,
                "default": {"mode": "execute", "approvals": {"required": 1, "from": ["ops", "security"]}},
                "overrides": [{"runbook": "two*", "approvals": {"required": 2, "from": ["ops", "security"]}}],
            }),
            builtins: json!({"version": 1}),
            steps: vec![
                step("nginx:restart", "restart\n"),
                step("two:go", "go\n"),
                exclusive,
            ],
            tokens: json!([
                token("agent", &["carol"], "0a"),
                with(&token("narrow", &[], "0b"), "patterns", json!(["two:*"])),
                with(&token("reader", &[], "0c"), "scopes", json!(["read"])),
            ]),
            configuration: serde_json::to_value(configuration).expect("a configuration"),
            roster: json!({
                "name": "people", "version": 1, "threshold": 2, "policy": "",
                "approvers": {
                    "alice": {"groups": ["ops"], "keys": [line(ALICE)]},
                    "bob": {"groups": ["security"], "keys": [line(BOB)]},
                    "carol": {"groups": ["ops", "security"], "keys": [line(CAROL)]},
                },
                "groups": {"ops": {}, "security": {}},
                "proposers": {}, "operators": {},
                "boundaries": {"prod": {"keys": [line(BOUNDARY)]}},
                "witnesses": {},
            }),
        };
        change(&mut sealed);
        let mut log = Self {
            entries: Vec::new(),
            blobs: BTreeMap::new(),
            sealed,
            rosters: Vec::new(),
            named: (0, None),
            id: String::new(),
            epoch: "e0".repeat(16),
            seal: String::new(),
            number: 0,
            key: BOUNDARY,
            sandbox: BTreeMap::new(),
            made: 0,
        };
        log.roster(&[]);
        log.reseal(0, |_| {});
        log
    }

    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn blob(&mut self, bytes: Vec<u8>) -> String {
        let name = reference(&bytes);
        self.blobs.insert(sha256(&bytes), bytes);
        name
    }

    /// Adds the next version of the roster, with these signatures. The version is in force from the next seal on.
    pub fn roster(&mut self, signers: &[u8]) {
        self.sealed.roster["policy"] = json!(reference(&to_canonical(&self.sealed.policy)));
        if let Some(before) = self.rosters.last() {
            let payload = base64::engine::general_purpose::STANDARD
                .decode(&before.payload)
                .expect("base64");
            self.sealed.roster["previous"] = json!(reference(&payload));
            self.sealed.roster["version"] = json!(self.rosters.len() + 1);
        }
        let tables = &self.sealed.roster;
        let subject =
            json!([{"name": "roster", "digest": {"sha256": hex(&sha256(&to_canonical(tables)))}}]);
        let payload = statement("roster", subject, tables);
        self.rosters.push(sign(&payload, signers));
    }

    /// Returns the digest of a roster version. Versions begin with 1.
    pub fn roster_digest(&self, version: usize) -> RosterDigest {
        let payload =
            base64::engine::general_purpose::STANDARD.decode(&self.rosters[version - 1].payload);
        RosterDigest::of(&payload.expect("base64"))
    }

    /// Adds a seal over the contents of `sealed`. The first seal is the genesis seal.
    pub fn reseal(&mut self, at: i64, edit: impl FnOnce(&mut Value)) {
        let sealed = self.sealed.clone();
        let roster = base64::engine::general_purpose::STANDARD
            .decode(&self.rosters.last().unwrap().payload)
            .unwrap();
        let definitions = sealed
            .steps
            .iter()
            .map(|step| serde_json::from_value(step.clone()).expect("a step"));
        let registry = Registry::from_definitions(definitions).expect("a registry");
        for step in registry.steps() {
            self.blob(step.canonical());
        }
        let read = (
            Policy::from_sealed(&sealed.policy).ok(),
            TrustedRoster::from_payload(&roster).ok(),
            serde_json::from_value::<Configuration>(sealed.configuration.clone()).ok(),
        );
        let lists = Builtins::from_sealed(&sealed.builtins).unwrap_or_default();
        if let (Some(policy), Some(roster), Some(configuration)) = &read
            && let Ok(steps) = steps_in_force(&registry, policy, &lists, roster, configuration)
        {
            let profile = |held| serde_json::to_value(held).expect("a profile");
            self.sandbox = steps
                .iter()
                .map(|(name, held)| (name.to_string(), profile(&held.profile)))
                .collect();
        }
        let first = self.entries.is_empty();
        let keys = read.1.map_or_else(Vec::new, |roster| {
            let mut keys: Vec<_> = roster
                .boundary_keys(&"prod".parse().unwrap())
                .iter()
                .map(SshKey::keyid)
                .collect();
            keys.sort();
            keys
        });
        let mut seal = json!({
            "boundary": {"name": "prod"}, "epoch": self.epoch, "at": t(at), "number": if first { 0 } else { self.number + 1 },
            "registry_root": registry.root(), "registry": self.blob(registry.manifest().to_vec()),
            "policy": self.blob(to_canonical(&sealed.policy)), "builtins": self.blob(to_canonical(&sealed.builtins)),
            "roster": self.blob(roster), "tokens": self.blob(to_canonical(&sealed.tokens)),
            "configuration": self.blob(to_canonical(&sealed.configuration)), "keys": keys,
            "engine": concat!("countersign ", env!("CARGO_PKG_VERSION")),
        });
        if self.named.0 < self.rosters.len() {
            let new = canonical_of(&part(&self.rosters, self.named.0)).expect("canonical");
            let name = (self.rosters.len() > 1).then(|| self.blob(new));
            self.named = (self.rosters.len(), name);
        }
        if let Some(name) = &self.named.1 {
            seal["rosters"] = json!(name);
        }
        if first {
            seal["genesis"] = json!("9e".repeat(32));
        } else {
            seal["boundary"]["id"] = json!(self.id);
            seal["previous"] = json!(self.seal);
        }
        edit(&mut seal);
        let root = seal["registry_root"].as_str().unwrap()[7..].to_owned();
        let payload = statement(
            "seal",
            json!([{"name": "registry", "digest": {"sha256": root}}]),
            &seal,
        );
        self.seal = reference(&payload);
        self.number = seal["number"].as_u64().unwrap();
        self.epoch = seal["epoch"].as_str().unwrap().to_owned();
        if first {
            self.id.clone_from(&self.seal);
        }
        self.entries.push(leaf(&payload, &[self.key]));
    }

    pub fn boundary(&self) -> Value {
        json!({"name": "prod", "id": self.id, "epoch": self.epoch})
    }

    /// Makes an authorization with the proposer `agent`, issued at `at` and valid for an hour.
    /// If a test edits only one of `expires_at`, the nonce and the id of the proposal, the others get the same end.
    pub fn approved(&mut self, step: &str, at: i64, signers: &[u8]) -> Approved {
        self.approved_but(step, at, signers, |_| {})
    }

    pub fn approved_but(
        &mut self,
        step: &str,
        at: i64,
        signers: &[u8],
        edit: impl FnOnce(&mut Value),
    ) -> Approved {
        self.made += 1;
        let (made, end) = (self.made, at + 3600);
        let definition = self
            .sealed
            .steps
            .iter()
            .find(|one| one["ref"] == step)
            .expect("a step")
            .clone();
        let mut predicate = json!({
            "boundary": self.boundary(),
            "proposal": proposal_id(end, made),
            "nonce": nonce(end, made),
            "step": {"ref": step, "digest": reference(&to_canonical(&definition))},
            "params": {"host": "web-3"},
            "rendered": reference(definition["source"].as_str().unwrap().as_bytes()),
            "permissions": [], "sandbox": self.sandbox[step], "proposer": "agent", "reason": "p99 latency is up",
            "issued_at": t(at), "not_before": t(at), "expires_at": t(end),
        });
        let before = predicate.clone();
        edit(&mut predicate);
        let is_new = |field: &str| predicate[field] != before[field];
        let (of_time, of_nonce, of_proposal) =
            (is_new("expires_at"), is_new("nonce"), is_new("proposal"));
        let end = match (of_time, of_nonce, of_proposal) {
            (true, _, _) => {
                let time = predicate["expires_at"].as_str().unwrap_or_default();
                time.parse::<Timestamp>().ok().map(|time| time.unix() - T0)
            }
            (false, true, _) => end_of_nonce(&predicate["nonce"]),
            (false, false, true) => end_of_proposal(&predicate["proposal"]),
            (false, false, false) => None,
        };
        if let Some(end) = end {
            if !of_time {
                predicate["expires_at"] = json!(t(end));
            }
            if !of_nonce {
                predicate["nonce"] = json!(nonce(end, made));
            }
            if !of_proposal {
                predicate["proposal"] = json!(proposal_id(end, made));
            }
        }
        let bare = predicate["step"]["digest"].as_str().unwrap()[7..].to_owned();
        let subject = json!([
            {"name": predicate["step"]["ref"], "digest": {"sha256": bare}},
            {"name": "params", "digest": {"sha256": hex(&sha256(&to_canonical(&predicate["params"])))}},
        ]);
        let payload = statement("authorization", subject, &predicate);
        Approved {
            payload,
            predicate,
            signers: signers.to_vec(),
        }
    }

    /// Adds one consumption for all these authorizations.
    pub fn consume(&mut self, at: i64, spent: &[&Approved]) -> Place {
        self.consume_but(at, spent, |_| {})
    }

    pub fn consume_but(
        &mut self,
        at: i64,
        spent: &[&Approved],
        edit: impl FnOnce(&mut Value),
    ) -> Place {
        let items: Vec<_> = spent
            .iter()
            .map(|one| {
                json!({
                    "authorization": self.authorize(one), "nonce": one.predicate["nonce"],
                    "expires_at": one.predicate["expires_at"], "handed_in_by": one.predicate["proposer"],
                })
            })
            .collect();
        self.consumption(at, &items, edit)
    }

    /// Adds the entry of an authorization. Returns what an item of a consumption says of the entry.
    pub fn authorize(&mut self, of: &Approved) -> Value {
        let entry = leaf(&of.payload, &of.signers);
        let hash = hex(&merkle::leaf_hash(&entry));
        self.entries.push(entry);
        json!({"digest": reference(&of.payload), "index": self.size() - 1, "leaf": format!("sha256:{hash}")})
    }

    /// Adds a consumption of these items.
    pub fn consumption(
        &mut self,
        at: i64,
        items: &[Value],
        edit: impl FnOnce(&mut Value),
    ) -> Place {
        let mut predicate = json!({"seal": self.seal, "at": t(at), "spent": items});
        edit(&mut predicate);
        let subjects = predicate["spent"].as_array().unwrap().iter().map(
            |item| json!({"name": "authorization", "digest": {"sha256": item["authorization"]["digest"].as_str().unwrap()[7..]}}),
        );
        let payload = statement("consumption", subjects.collect(), &predicate);
        self.entries.push(leaf(&payload, &[self.key]));
        Place {
            index: self.size() - 1,
            item: 0,
            at,
        }
    }

    /// Adds the receipt of a successful run. The receipt is correct for the current state of the log.
    pub fn receipt(&mut self, place: Place, of: &Approved) {
        self.receipt_but(place, of, |_| {});
    }

    pub fn receipt_but(&mut self, place: Place, of: &Approved, edit: impl FnOnce(&mut Value)) {
        // The seeds of an approver's keys, the name, and whether the approver is in `ops` and in `security`.
        let people = [
            (ALICE, "alice", true, false),
            (BOB, "bob", false, true),
            (CAROL, "carol", true, true),
            (20, "dave", false, true),
            (21, "erin", true, true),
            (MALLORY, "mallory", true, true),
        ];
        let person = |seed: &u8| if *seed >= OTHER { seed - OTHER } else { *seed };
        let signed: BTreeSet<u8> = of.signers.iter().map(person).collect();
        let signed = people.iter().filter(|(seed, ..)| signed.contains(seed));
        let mut approvers: Vec<_> = signed.clone().map(|(_, name, ..)| *name).collect();
        approvers.sort_unstable();
        let in_ops = signed.clone().any(|(_, _, ops, _)| *ops);
        // An emergency needs a person of one group only.
        let is_emergency = in_ops && of.predicate.get("emergency").is_some();
        let in_security = !is_emergency && signed.clone().any(|(.., security)| *security);
        let groups: Vec<_> = [("ops", in_ops), ("security", in_security)]
            .into_iter()
            .filter_map(|(name, is_in)| is_in.then_some(name))
            .collect();
        let proposer = of.predicate["proposer"].as_str().unwrap();
        let mut excluded = vec![proposer];
        if proposer == "agent" {
            excluded.push("carol");
        }
        excluded.sort_unstable();
        let empty = json!({
            "bytes": 0, "recorded": 0, "redactions": 0, "truncated": false, "sha256": reference(b""),
            "blake3": documents::Blake3Digest::of(b""),
        });
        let consumption = &self.entries[usize::try_from(place.index).unwrap()];
        let stated = predicate_of(consumption);
        let item = usize::try_from(place.item).unwrap();
        let mut entry = stated["spent"][item]["authorization"].clone();
        if entry.is_null() {
            entry =
                json!({"digest": reference(&of.payload), "index": 0, "leaf": reference(b"none")});
        }
        let mut predicate = json!({
            "authorization": entry,
            "boundary": {"name": "prod", "id": self.id, "keyid": key(self.key).keyid(), "version": env!("CARGO_PKG_VERSION")},
            "consumption": {"index": place.index, "item": place.item, "leaf": format!("sha256:{}", hex(&merkle::leaf_hash(consumption)))},
            "decision": {
                "approvers": approvers, "groups": groups, "excluded": excluded, "handed_in_by": proposer,
                "policy": reference(&to_canonical(&self.sealed.policy)),
            },
            "duration_ms": 412,
            "files": {"bytes": 0, "count": 0, "manifest": reference(b"[]")},
            "started_at": t(place.at), "finished_at": t(place.at + 1),
            "outcome": {"status": "succeeded", "exit_code": 0},
            "output": {"stdout": empty, "stderr": empty},
            "sandbox": serde_json::from_str::<Value>(include_str!("../vectors/receipt-sandbox.json")).unwrap(),
            "seal": self.seal,
            "usage": {"cpu_ms": 7, "memory_peak_bytes": 3_145_728},
        });
        edit(&mut predicate);
        let authorization = &predicate["authorization"]["digest"];
        let stream = |name: &str| json!({"name": name, "digest": {"sha256": predicate["output"][name]["sha256"].as_str().unwrap()[7..]}});
        let subject = json!([
            {"name": "authorization", "digest": {"sha256": authorization.as_str().unwrap()[7..]}},
            stream("stdout"), stream("stderr"),
            {"name": "files", "digest": {"sha256": predicate["files"]["manifest"].as_str().unwrap()[7..]}},
        ]);
        let payload = statement("receipt", subject, &predicate);
        self.entries.push(leaf(&payload, &[self.key]));
    }

    /// Adds the consumption and the receipt of a run.
    pub fn run(&mut self, step: &str, at: i64, signers: &[u8]) -> Approved {
        let approved = self.approved(step, at, signers);
        let place = self.consume(at, &[&approved]);
        self.receipt(place, &approved);
        approved
    }

    pub fn deny(&mut self, of: &Approved, by: u8) {
        self.deny_but(of, by, |_| {});
    }

    pub fn deny_but(&mut self, of: &Approved, by: u8, edit: impl FnOnce(&mut Value)) {
        let mut predicate = json!({"boundary": self.boundary(), "reason": "no"});
        edit(&mut predicate);
        let subject =
            json!([{"name": "authorization", "digest": {"sha256": hex(&sha256(&of.payload))}}]);
        self.entries
            .push(leaf(&statement("denial", subject, &predicate), &[by]));
    }

    /// Adds the revocation of a subject: its name, and the digest of section 22.3.
    pub fn revoke(&mut self, subject: (&str, [u8; 32]), by: u8) {
        self.revoke_but(subject, &[by], |_| {});
    }

    /// Adds a revocation with an edited statement.
    pub fn revoke_but(
        &mut self,
        (name, digest): (&str, [u8; 32]),
        by: &[u8],
        edit: impl FnOnce(&mut Value),
    ) {
        let subject = json!([{"name": name, "digest": {"sha256": hex(&digest)}}]);
        let predicate = json!({"boundary": self.boundary(), "reason": "stolen"});
        let mut statement =
            serde_json::from_slice(&statement("revocation", subject, &predicate)).expect("JSON");
        edit(&mut statement);
        self.entries.push(leaf(&to_canonical(&statement), by));
    }

    /// Adds the review of a run by the digest of its receipt. A test edits the statement.
    pub fn review_but(&mut self, receipt: &str, by: &[u8], edit: impl FnOnce(&mut Value)) {
        let subject = json!([{"name": "receipt", "digest": {"sha256": receipt[7..]}}]);
        let predicate =
            json!({"boundary": self.boundary(), "verdict": "accepted", "reason": "seen"});
        let mut statement =
            serde_json::from_slice(&statement("review", subject, &predicate)).expect("JSON");
        edit(&mut statement);
        self.entries.push(leaf(&to_canonical(&statement), by));
    }

    pub fn refuse(&mut self, at: i64, edit: impl FnOnce(&mut Value)) {
        let mut predicate = json!({"boundary": {"name": "prod", "id": self.id}, "code": "expired", "principal": "agent", "at": t(at)});
        edit(&mut predicate);
        let subject = json!([{"name": "input", "digest": {"sha256": hex(&sha256(b"input"))}}]);
        self.entries.push(leaf(
            &statement("refusal", subject, &predicate),
            &[self.key],
        ));
    }

    /// Adds a statement of any kind, signed by the boundary.
    pub fn push(&mut self, kind: &str, predicate: &Value) {
        let subject = json!([{"name": "x", "digest": {"sha256": hex(&sha256(b"x"))}}]);
        self.entries
            .push(leaf(&statement(kind, subject, predicate), &[self.key]));
    }

    pub fn origin(&self) -> String {
        format!("prod/{}", &self.id[7..23])
    }

    /// Returns the checkpoint of all current entries.
    pub fn head(&self) -> String {
        self.head_by(self.key)
    }

    pub fn head_by(&self, seed: u8) -> String {
        self.head_of(seed, self.entries.len())
    }

    /// Returns the checkpoint of the first `size` entries.
    pub fn head_of(&self, seed: u8, size: usize) -> String {
        let hashes: Vec<_> = self.entries[..size]
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        let origin = self.origin();
        let body = Checkpoint {
            origin: origin.clone(),
            size: size as u64,
            root: merkle::root(&hashes),
        }
        .body();
        let secret = SecretKey::from_seed([seed; 32]);
        sign_note(&body, &origin, &secret.public(), |text| {
            Ok::<_, std::convert::Infallible>(secret.sign(text))
        })
        .expect("a note")
        .to_string()
    }

    pub fn auditor(&self, expected: Expected) -> Auditor {
        let versions = rosters_in(&self.entries[..1], self)
            .expect("readable")
            .expect("a genesis seal");
        Auditor::new(Pinned::Digest(self.roster_digest(1)), &versions, expected).expect("connected")
    }

    /// Audits the log with version 1 of the roster pinned.
    pub fn audit(&self) -> (Vec<AuditEvent>, Summary) {
        self.audit_with(Expected::default())
    }

    pub fn audit_with(&self, expected: Expected) -> (Vec<AuditEvent>, Summary) {
        let mut auditor = self.auditor(expected);
        let mut said = Vec::new();
        for entry in &self.entries {
            said.extend(
                auditor
                    .entry(&LogEntry::of(entry.clone()), self)
                    .expect("readable"),
            );
        }
        let (last, summary) = auditor.finish(&self.head(), self).expect("readable");
        said.extend(last);
        (said, summary)
    }
}

impl EvidenceFiles for Log {
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.blobs.get(digest.as_bytes()).cloned())
    }

    fn tile(&self, _: &TilePath) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(None)
    }

    fn entries(&self, index: u64, size: u64) -> Result<Vec<Vec<u8>>, Unreadable> {
        let number = |at: u64| usize::try_from(at.min(size)).expect("small");
        Ok(self.entries[number(index * 256)..number(index * 256 + 256)].to_vec())
    }
}
