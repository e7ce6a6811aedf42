//! People with keys from fixed seeds, and statements and envelopes that a test writes itself.
//!
//! This module does not call the writers under test. The module implements canonical JSON, PAE and DSSE again, from
//! their specifications, so that a test can also write documents that the product never writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use documents::{SecretKey, SshKey, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Payload type of every statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Payload type of a challenge.
pub const CHALLENGE: &str = "application/vnd.countersign.challenge.v1";

/// A key pair of a person.
pub struct Key {
    pub name: &'static str,
    pub secret: SecretKey,
    pub ssh: SshKey,
}

impl Key {
    /// Returns the key of this seed.
    pub fn of(name: &'static str, seed: u8) -> Self {
        let secret = SecretKey::from_seed([seed; 32]);
        let ssh = SshKey::from_public(secret.public(), name).expect("a key");
        Self { name, secret, ssh }
    }

    pub fn keyid(&self) -> String {
        self.ssh.keyid().as_str().to_owned()
    }

    /// Returns `{keyid, sig}` over a payload of this type.
    pub fn sign_as(&self, payload_type: &str, payload: &[u8]) -> Value {
        json!({"keyid": self.keyid(), "sig": STANDARD.encode(self.secret.sign(&pae(payload_type, payload)))})
    }

    /// Returns `{keyid, sig}` over a statement.
    pub fn sign(&self, payload: &[u8]) -> Value {
        self.sign_as(IN_TOTO, payload)
    }
}

pub fn alice() -> Key {
    Key::of("alice", 1)
}
pub fn bob() -> Key {
    Key::of("bob", 2)
}
/// Owner of the agent's token.
pub fn carol() -> Key {
    Key::of("carol", 3)
}
/// Carol's other key.
pub fn carol_too() -> Key {
    Key::of("carol", 4)
}
/// A second approver of `ops`.
pub fn dora() -> Key {
    Key::of("dora", 5)
}
/// A person in a group that no rule names.
pub fn frank() -> Key {
    Key::of("frank", 6)
}
/// A person whose membership ended.
pub fn erin() -> Key {
    Key::of("erin", 7)
}
/// A rostered proposer, owned by bob.
pub fn robot() -> Key {
    Key::of("robot", 8)
}
pub fn oscar() -> Key {
    Key::of("oscar", 9)
}
/// A person outside the roster.
pub fn mallory() -> Key {
    Key::of("mallory", 66)
}
/// The line of a key whose type no version of the program can verify: an ECDSA security key for this application.
pub fn foreign_line(application: &str) -> String {
    let kind = "sk-ecdsa-sha2-nistp256@openssh.com";
    let mut blob = Vec::new();
    for part in [
        kind.as_bytes(),
        b"nistp256",
        &[7; 65],
        application.as_bytes(),
    ] {
        blob.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
        blob.extend_from_slice(part);
    }
    format!("{kind} {}", STANDARD.encode(blob))
}
/// The boundary's own key.
pub fn boundary_key() -> Key {
    Key::of("boundary", 99)
}

/// DSSE v1: returns the bytes that a signature covers.
pub fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Returns canonical JSON: sorted keys, no blanks and ASCII only, like Python's `json.dumps(sort_keys, ensure_ascii)`.
pub fn canonical(value: &Value) -> Vec<u8> {
    // The map of `serde_json` is sorted by bytes.
    let text = serde_json::to_string(value).expect("JSON");
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii.into_bytes()
}

/// Returns SHA-256 as lower-case hex without a prefix.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns a roster with a witness that does not answer. The verifier key has the form of C2SP signed-note.
pub fn unreachable_witness(name: &str) -> Value {
    let key = [&[4_u8][..], alice().ssh.public().as_bytes()].concat();
    let id = &sha256(&[name.as_bytes(), b"\n", &key].concat())[..8];
    let vkey = format!("{name}+{id}+{}", STANDARD.encode(key));
    json!({"witnesses": {name: {"vkey": vkey, "url": "http://127.0.0.1:1"}}})
}

/// Returns the payload of a roster with this predicate.
pub fn roster_statement(predicate: &Value) -> Vec<u8> {
    let subject = json!([{"name": "roster", "digest": {"sha256": sha256(&canonical(predicate))}}]);
    statement("roster", &subject, predicate)
}

/// Returns the payload of a statement with the given subjects.
pub fn statement(kind: &str, subject: &Value, predicate: &Value) -> Vec<u8> {
    canonical(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": format!("https://countersign.dev/{kind}/v1"),
        "predicate": predicate,
        "subject": subject,
    }))
}

/// Returns the payload of an authorization, with the subjects that its predicate requires.
pub fn authorization(predicate: &Value) -> Vec<u8> {
    let step = &predicate["step"];
    let digest = step["digest"]
        .as_str()
        .expect("a digest")
        .trim_start_matches("sha256:");
    let mut subjects = vec![
        json!({"name": step["ref"], "digest": {"sha256": digest}}),
        json!({"name": "params", "digest": {"sha256": sha256(&canonical(&predicate["params"]))}}),
    ];
    for artifact in predicate["artifacts"].as_array().into_iter().flatten() {
        let name = format!("artifact/{}", artifact["name"].as_str().expect("a name"));
        let digest = artifact["digest"]
            .as_str()
            .expect("a digest")
            .trim_start_matches("sha256:");
        subjects.push(json!({"name": name, "digest": {"sha256": digest}}));
    }
    statement("authorization", &json!(subjects), predicate)
}

/// Returns the payload of a denial of the authorization with this payload.
pub fn denial(boundary: &Value, authorization: &[u8], reason: &str) -> Vec<u8> {
    let subject = json!([{"name": "authorization", "digest": {"sha256": sha256(authorization)}}]);
    statement(
        "denial",
        &subject,
        &json!({"boundary": boundary, "reason": reason}),
    )
}

/// Returns the payload of a revocation of the subject of this kind. `digest` is hexadecimal.
pub fn revocation(boundary: &Value, kind: &str, digest: &str) -> Vec<u8> {
    let subject = json!([{"name": kind, "digest": {"sha256": digest}}]);
    statement(
        "revocation",
        &subject,
        &json!({"boundary": boundary, "reason": "a test"}),
    )
}

/// Returns the payload of a revocation of a key.
pub fn key_revocation(boundary: &Value, key: &Key) -> Vec<u8> {
    let id = STANDARD_NO_PAD
        .decode(key.keyid().trim_start_matches("SHA256:"))
        .expect("base64");
    let digest: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    revocation(boundary, "key", &digest)
}

/// Returns a DSSE envelope with a signature of each person.
pub fn envelope(payload: &[u8], signers: &[&Key]) -> Value {
    wrap(
        payload,
        signers.iter().map(|key| key.sign(payload)).collect(),
    )
}

/// Returns a DSSE envelope with these signatures.
pub fn wrap(payload: &[u8], signatures: Vec<Value>) -> Value {
    json!({"payloadType": IN_TOTO, "payload": STANDARD.encode(payload), "signatures": signatures})
}

/// Returns the payload bytes of an envelope.
pub fn payload_of(envelope: &Value) -> Vec<u8> {
    STANDARD
        .decode(envelope["payload"].as_str().expect("a payload"))
        .expect("base64")
}

/// Returns the statement in an envelope.
pub fn statement_of(envelope: &Value) -> Value {
    serde_json::from_slice(&payload_of(envelope)).expect("a statement")
}

/// Returns the predicate of the statement in an envelope.
pub fn predicate_of(envelope: &Value) -> Value {
    statement_of(envelope)["predicate"].take()
}

pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs() as i64
}

/// Returns a time in the form of the documents.
pub fn stamp(unix: i64) -> String {
    Timestamp::from_unix(unix).to_string()
}

/// Returns the seconds since 1970 of a time in the form of the documents.
pub fn unix_of(stamp: &str) -> i64 {
    stamp.parse::<Timestamp>().expect("a time").unix()
}

fn count() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Returns an unused id of a proposal whose window ends in one hour.
pub fn proposal_id() -> String {
    proposal_id_until(now() + 3600)
}

/// Returns an unused id of a proposal whose window ends at this time.
pub fn proposal_id_until(end_unix: i64) -> String {
    let hex = format!("{:012x}", end_unix * 1000);
    format!(
        "prp_{}-{}-7000-8000-{:012x}",
        &hex[..8],
        &hex[8..12],
        count() << 20 | u64::from(std::process::id())
    )
}

/// Returns the end in the id of a proposal or of a session, in seconds since 1970.
pub fn end_of(id: &str) -> i64 {
    let digits = id[4..].replace('-', "");
    i64::from_str_radix(&digits[..12], 16).expect("hexadecimal digits") / 1000
}

/// Returns an unused nonce that ends in one hour.
pub fn nonce() -> String {
    nonce_until(now() + 3600)
}

/// Returns an unused nonce with this end.
pub fn nonce_until(end_unix: i64) -> String {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&end_unix.to_be_bytes());
    bytes[8..16].copy_from_slice(&count().to_be_bytes());
    bytes[16..20].copy_from_slice(&std::process::id().to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Gives the predicate of an authorization an unused nonce and an unused id of a proposal. Both end at its
/// `expires_at`.
pub fn renew(predicate: &mut Value) {
    let expires_at = predicate["expires_at"].as_str().expect("a time");
    let end = unix_of(expires_at);
    predicate["nonce"] = json!(nonce_until(end));
    predicate["proposal"] = json!(proposal_id_until(end));
}

/// Moves the end of the window in the predicate of an authorization, with an unused nonce and an unused id of a
/// proposal.
pub fn end_at(predicate: &mut Value, end_unix: i64) {
    predicate["expires_at"] = json!(stamp(end_unix));
    renew(predicate);
}

/// Wraps the payload in an envelope whose signatures are sorted by key id.
pub fn roster_version(payload: &[u8], signers: &[&Key]) -> Value {
    let mut signatures: Vec<Value> = signers.iter().map(|key| key.sign(payload)).collect();
    signatures.sort_by_key(|signature| signature["keyid"].as_str().expect("a key id").to_owned());
    wrap(payload, signatures)
}

/// Returns the version after `before` with an edit.
pub fn next_roster(before: &Value, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let payload = payload_of(before);
    let mut tables = statement_of(before)["predicate"].take();
    tables["version"] = json!(tables["version"].as_u64().expect("a number") + 1);
    tables["previous"] = json!(format!("sha256:{}", sha256(&payload)));
    edit(&mut tables);
    roster_statement(&tables)
}
