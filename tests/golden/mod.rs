//! The golden documents, their test keys, and documents with one change.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use documents::{
    Checkpoint, Envelope, EnvelopeSignature, Hash, PAYLOAD_TYPE, SecretKey, SshKey, hex, merkle,
    pae, sha256, sign_note, to_canonical,
};
use serde_json::{Value, json};

/// The kinds of golden payloads. A kind refers only to earlier kinds.
pub const KINDS: [&str; 7] = [
    "roster",
    "seal",
    "authorization",
    "consumption",
    "receipt",
    "refusal",
    "denial",
];

/// The seed of a test key consists of 32 copies of this byte.
pub const KEYS: [(&str, u8); 7] = [
    ("alice", 1),
    ("bob", 2),
    ("boundary", 3),
    ("carol", 4),
    ("mallory", 5),
    ("dora", 6),
    ("operator", 7),
];

/// `tests/conformance` of this repository.
pub fn own_vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// A file below `golden/valid`.
pub fn bytes(path: &str) -> Vec<u8> {
    let path = own_vectors().join("golden/valid").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file below `golden/valid`.
pub fn value(path: &str) -> Value {
    serde_json::from_slice(&bytes(path)).expect("JSON")
}

/// A golden payload.
pub fn payload(kind: &str) -> Value {
    value(&format!("payload/{kind}.json"))
}

/// The private key of a test person.
pub fn secret(name: &str) -> SecretKey {
    let (_, seed) = KEYS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a test key");
    SecretKey::from_seed([*seed; 32])
}

/// The public key of a test person.
pub fn key(name: &str) -> SshKey {
    SshKey::from_public(secret(name).public(), "").expect("a key")
}

/// An envelope with sorted signatures of these people.
pub fn envelope(payload: &[u8], names: &[&str]) -> Envelope {
    let message = pae(PAYLOAD_TYPE, payload);
    let mut signatures: Vec<_> = names
        .iter()
        .map(|name| EnvelopeSignature::new(key(name).keyid(), &secret(name).sign(&message)))
        .collect();
    signatures.sort();
    Envelope::new(payload, signatures)
}

/// An SSHSIG blob over the payload, as `ssh-keygen -Y sign -n countersign` creates.
pub fn sshsig(name: &str, payload: &[u8]) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
        out.extend_from_slice(bytes);
    };
    let mut signed = b"SSHSIG".to_vec();
    for part in [
        &b"countersign"[..],
        b"",
        b"sha256",
        &sha256(&pae(PAYLOAD_TYPE, payload)),
    ] {
        text(&mut signed, part);
    }
    let (mut public, mut signature) = (Vec::new(), Vec::new());
    for (out, bytes) in [
        (&mut public, &key(name).public().as_bytes()[..]),
        (&mut signature, &secret(name).sign(&signed)[..]),
    ] {
        text(out, b"ssh-ed25519");
        text(out, bytes);
    }
    let mut out = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [&public[..], b"countersign", b"", b"sha256", &signature] {
        text(&mut out, part);
    }
    out
}

/// The signers of each kind in the golden crossing.
pub fn signers(kind: &str) -> &'static [&'static str] {
    match kind {
        "roster" => &[],
        "authorization" => &["alice", "bob"],
        "denial" => &["alice"],
        _ => &["boundary"],
    }
}

/// `sha256:…` of these bytes.
pub fn reference(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha256(bytes)))
}

/// The leaf data of an envelope.
pub fn leaf_data(envelope: &Envelope) -> Vec<u8> {
    to_canonical(&serde_json::to_value(envelope).expect("an envelope"))
}

/// A checkpoint that is signed with the key of the golden boundary.
pub fn checkpoint(origin: &str, size: u64, root: Hash) -> String {
    let body = Checkpoint {
        origin: origin.to_owned(),
        size,
        root,
    }
    .body();
    let key = secret("boundary");
    sign_note(&body, origin, &key.public(), |text| {
        Ok::<_, std::convert::Infallible>(key.sign(text))
    })
    .expect("a note")
    .to_string()
}

/// The inclusion path of a leaf in the tree of these leaves.
pub fn path(leaves: &[Hash], index: u64) -> Vec<Hash> {
    let subtree = |level: u8, at: u64| {
        let width = 1_usize << level;
        let start = usize::try_from(at).expect("small") * width;
        Ok::<_, std::convert::Infallible>(merkle::root(&leaves[start..start + width]))
    };
    let Ok(path) = merkle::inclusion_path(index, leaves.len() as u64, subtree);
    path.expect("a leaf of the tree")
}

/// Updates the subjects of a statement with the values of the predicate, as far as the predicate contains the values.
pub fn repair_twins(kind: &str, document: &mut Value) {
    let predicate = document["predicate"].clone();
    let digits = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.split_once(':'))
            .map(|(_, hex)| json!(hex))
    };
    let set = |document: &mut Value, at: usize, algorithm: &str, digest: Option<Value>| {
        if let (Some(place), Some(digest)) = (
            document.pointer_mut(&format!("/subject/{at}/digest/{algorithm}")),
            digest,
        ) {
            *place = digest;
        }
    };
    match kind {
        "roster" => set(
            document,
            0,
            "sha256",
            Some(json!(hex(&sha256(&to_canonical(&predicate))))),
        ),
        "seal" => set(document, 0, "sha256", digits(&predicate["registry_root"])),
        "authorization" => {
            set(document, 0, "sha256", digits(&predicate["step"]["digest"]));
            set(
                document,
                1,
                "sha256",
                Some(json!(hex(&sha256(&to_canonical(&predicate["params"]))))),
            );
            if let (Some(place), Value::String(name)) = (
                document.pointer_mut("/subject/0/name"),
                &predicate["step"]["ref"],
            ) {
                *place = json!(name);
            }
        }
        "consumption" => {
            let spent: &[Value] = predicate["spent"].as_array().map_or(&[], Vec::as_slice);
            document["subject"] = spent
                .iter()
                .map(|item| {
                    let digest = digits(&item["authorization"]["digest"]).unwrap_or(Value::Null);
                    json!({"name": "authorization", "digest": {"sha256": digest}})
                })
                .collect();
        }
        "receipt" => {
            let authorization = digits(&predicate["authorization"]["digest"]);
            set(document, 0, "sha256", authorization);
            for (at, stream) in [(1, "stdout"), (2, "stderr")] {
                set(
                    document,
                    at,
                    "sha256",
                    digits(&predicate["output"][stream]["sha256"]),
                );
            }
            set(
                document,
                3,
                "sha256",
                digits(&predicate["files"]["manifest"]),
            );
        }
        _ => {}
    }
}

/// One structural change of a document.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// The changed place.
    pub pointer: String,
    /// The kind of the change.
    pub what: &'static str,
    /// The changed document.
    pub value: Value,
}

/// Returns copies of a document, each with one change: a value removed, set to null or to another type, emptied,
/// doubled, renamed, or swapped with the next value.
pub fn mutants(document: &Value) -> Vec<Mutant> {
    let mut places = Vec::new();
    collect(document, String::new(), &mut places);
    let mut found = Vec::new();
    for pointer in places {
        let mut push = |what: &'static str, change: &dyn Fn(&mut Value)| {
            let mut value = document.clone();
            change(&mut value);
            if value != *document {
                found.push(Mutant {
                    pointer: pointer.clone(),
                    what,
                    value,
                });
            }
        };
        let at =
            |value: &mut Value, pointer: &str| value.pointer_mut(pointer).expect("a place").take();
        push("null", &|value| drop(at(value, &pointer)));
        push("another type", &|value| {
            let place = value.pointer_mut(&pointer).expect("a place");
            *place = match place {
                Value::String(text) => json!([text.clone()]),
                Value::Number(number) => json!(number.to_string()),
                Value::Bool(held) => json!(u64::from(*held)),
                Value::Array(items) => json!({"0": items.clone()}),
                Value::Object(_) => json!([place.clone()]),
                Value::Null => json!(0),
            };
        });
        push("emptied", &|value| {
            let place = value.pointer_mut(&pointer).expect("a place");
            *place = match place {
                Value::String(_) => json!(""),
                Value::Number(_) => json!(0),
                Value::Bool(held) => json!(!*held),
                Value::Array(_) => json!([]),
                _ => json!({}),
            };
        });
        let (parent, step) = pointer.rsplit_once('/').expect("not the root");
        let step = step.replace("~1", "/").replace("~0", "~");
        match document.pointer(parent).expect("a parent") {
            Value::Object(map) => {
                let next = map.keys().skip_while(|key| **key != step).nth(1).cloned();
                push("dropped", &|value| {
                    drop(object(value, parent).remove(&step))
                });
                push("doubled under another name", &|value| {
                    let map = object(value, parent);
                    let copy = map[&step].clone();
                    map.insert(format!("{step}_"), copy);
                });
                push("renamed", &|value| {
                    let map = object(value, parent);
                    let taken = map.remove(&step).expect("a member");
                    map.insert(step.to_uppercase(), taken);
                });
                if let Some(next) = next {
                    push("swapped with the next", &|value| {
                        let map = object(value, parent);
                        let (one, other) = (map[&step].clone(), map[&next].clone());
                        map.insert(step.clone(), other);
                        map.insert(next.clone(), one);
                    });
                }
            }
            Value::Array(items) => {
                let index: usize = step.parse().expect("an index");
                let more = index + 1 < items.len();
                push("dropped", &|value| drop(array(value, parent).remove(index)));
                push("doubled", &|value| {
                    let items = array(value, parent);
                    let copy = items[index].clone();
                    items.insert(index, copy);
                });
                if more {
                    push("swapped with the next", &|value| {
                        array(value, parent).swap(index, index + 1)
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// The canonical text with the member at this pointer twice, the second time with the value `again`. Returns `None` if
/// the pointer names no member of an object.
pub fn member_twice(document: &Value, pointer: &str, again: &Value) -> Option<Vec<u8>> {
    const MARK: &str = "zzTWICEzz";
    let (parent, step) = pointer.rsplit_once('/')?;
    let step = step.replace("~1", "/").replace("~0", "~");
    let mut value = document.clone();
    value
        .pointer_mut(parent)?
        .as_object_mut()?
        .insert(MARK.to_owned(), again.clone());
    let text = String::from_utf8(to_canonical(&value)).expect("canonical JSON is text");
    Some(
        text.replace(&format!("\"{MARK}\""), &Value::from(step).to_string())
            .into_bytes(),
    )
}

/// The pointers of all values below the root.
pub fn places(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(document, String::new(), &mut found);
    found
}

fn collect(value: &Value, pointer: String, places: &mut Vec<String>) {
    let steps: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.replace('~', "~0").replace('/', "~1"), item))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, item)| (at.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (step, item) in steps {
        let below = format!("{pointer}/{step}");
        places.push(below.clone());
        collect(item, below, places);
    }
}

fn object<'v>(value: &'v mut Value, pointer: &str) -> &'v mut serde_json::Map<String, Value> {
    value
        .pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .expect("an object")
}

fn array<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Vec<Value> {
    value
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .expect("an array")
}
