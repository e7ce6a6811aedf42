//! Readers of vectors for windows, quorums and rosters.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{
    Approvals, Authorization, Envelope, KeyId, Presence, Roster, RosterVersion, SecretKey, SshKey,
    Statement, Timestamp, VerifiedSignature, sha256,
};
use serde_json::{Value, json};
use verdict::{
    Chain, Pinned, QuorumRules, RosterError, Tokens, TrustedRoster, check_window, count, exclusion,
    quorum::decide,
};

use super::{Outcome, each, expected, same, text};

/// Windows: the times of an authorization and the time of the run.
pub fn windows(file: &Value) -> Vec<Outcome> {
    let golden: Statement<Authorization> =
        Statement::from_payload(&crate::golden::bytes("payload/authorization.json"))
            .expect("the golden authorization");
    each(file, |vector| {
        let time = |field: &str| {
            text(vector, field)?
                .parse::<Timestamp>()
                .map_err(|error| error.to_string())
        };
        let mut signed = golden.predicate.clone();
        (signed.issued_at, signed.not_before, signed.expires_at) =
            (time("issued_at")?, time("not_before")?, time("expires_at")?);
        let got = match check_window(&signed, time("at")?, vector["policy_max_s"].as_i64()) {
            Ok(_) => "within",
            Err(error) => error.code().word(),
        };
        same("result", got, text(vector, "expect")?)
    })
}

/// Quorums: the rules and the signers.
pub fn quorum(file: &Value) -> Vec<Outcome> {
    each(file, one_quorum)
}

fn one_quorum(vector: &Value) -> Result<(), String> {
    let roster = roster_of(vector)?;
    let rule = |value: &Value| -> Result<Option<Approvals>, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    };
    let (policy, step) = (
        rule(&vector["policy"])?,
        rule(&vector["step"])?.ok_or("no rule of the step")?,
    );
    let Ok(rules) = QuorumRules::combine(policy.as_ref(), &step) else {
        return same("result", "no-rule", text(vector, "expect")?);
    };
    let excluded: Vec<_> = vector["excluded"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| {
            name.as_str()
                .unwrap_or_default()
                .parse()
                .map_err(|_| "an excluded name".to_owned())
        })
        .collect::<Result<_, _>>()?;
    let proposer = "the-proposer".parse().map_err(|_| "a name")?;
    let nobody = exclusion::judge(&proposer, &proposer, Tokens::Unknown, &roster)
        .map_err(|error| error.to_string())?;
    let excluded = nobody.with(&excluded);
    let at: Timestamp = text(vector, "at")?.parse().map_err(|_| "a time")?;
    let mut signatures = Vec::new();
    for signed in vector["signed"].as_array().into_iter().flatten() {
        let (plain, security) = keys_of(text(signed, "name")?);
        let presence = match (signed["sk"].as_bool(), signed["touched"].as_bool()) {
            (Some(true), Some(true)) if signed["verified"] == true => Presence::Verified,
            (Some(true), Some(true)) => Presence::Touched,
            (Some(true), _) => Presence::NotTouched,
            _ => Presence::Unknown,
        };
        let keyid = if presence == Presence::Unknown {
            plain.keyid()
        } else {
            security.keyid()
        };
        signatures.push(VerifiedSignature {
            keyid,
            presence,
            sig: Vec::new(),
        });
    }
    // The result depends only on the set of signatures, not on their order or repetitions.
    let orders = [
        signatures.clone(),
        signatures.iter().rev().cloned().collect(),
        {
            let mut twice = signatures.clone();
            twice.rotate_left(usize::from(signatures.len() > 1));
            twice.extend(signatures.iter().cloned());
            twice
        },
    ];
    for signatures in orders {
        let count = count(&signatures, &roster, &excluded, &rules, at);
        if let Some(counted) = vector["counted"].as_array() {
            let mut names: Vec<Value> = count
                .counted()
                .iter()
                .map(|person| json!(person.name))
                .collect();
            names.sort_by_key(ToString::to_string);
            same("counted", &names, counted)?;
        }
        let got = if decide(&rules, &count).is_ok() {
            "met"
        } else {
            "missing"
        };
        same("result", got, text(vector, "expect")?)?;
    }
    Ok(())
}

/// A plain key and a security key of a person in the vectors.
fn keys_of(name: &str) -> (SshKey, SshKey) {
    let public =
        |label: &str| SecretKey::from_seed(sha256(format!("{label} {name}").as_bytes())).public();
    let plain = SshKey::from_public(public("plain"), "").expect("a key");
    let mut blob = Vec::new();
    for part in [
        &b"sk-ssh-ed25519@openssh.com"[..],
        public("security").as_bytes(),
        b"ssh:",
    ] {
        blob.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
        blob.extend_from_slice(part);
    }
    (plain, SshKey::from_blob(&blob, "").expect("a key"))
}

fn roster_of(vector: &Value) -> Result<TrustedRoster, String> {
    let empty = serde_json::Map::new();
    let groups = vector["groups"].as_object().unwrap_or(&empty);
    let people = vector["people"].as_object().unwrap_or(&empty);
    let mut approvers = people.clone();
    for (name, person) in &mut approvers {
        let (plain, security) = keys_of(name);
        person["keys"] = json!([plain.line(), security.line()]);
    }
    let roster: Roster = serde_json::from_value(json!({
        "name": "vectors", "version": 1, "threshold": 0, "policy": format!("sha256:{}", "0".repeat(64)),
        "approvers": approvers, "groups": groups, "proposers": {}, "operators": {}, "boundaries": {}, "witnesses": {},
    }))
    .map_err(|error| error.to_string())?;
    let statement = roster.into_statement().map_err(|error| error.to_string())?;
    let payload = statement.to_payload().map_err(|error| error.to_string())?;
    TrustedRoster::from_payload(&payload).map_err(|error| error.to_string())
}

/// Rosters and chains of rosters.
pub fn rosters(file: &Value) -> Vec<Outcome> {
    each(file, |vector| {
        if vector["versions"].is_array() {
            return chain(vector);
        }
        let mut statement = crate::golden::payload("roster");
        statement["predicate"] = vector["predicate"].clone();
        crate::golden::repair_twins("roster", &mut statement);
        let payload = documents::to_canonical(&statement);
        let happened = match TrustedRoster::from_payload(&payload) {
            Ok(roster) => {
                let ids: BTreeMap<KeyId, ()> = keyids(&statement["predicate"])
                    .into_iter()
                    .map(|id| (id, ()))
                    .collect();
                for id in ids.keys() {
                    if roster.key(id).is_none() {
                        return Err(format!("the key {id} is not found again"));
                    }
                }
                Ok(())
            }
            Err(RosterError::Malformed(error)) => {
                Err(("refuse", error.pointer.clone(), error.to_string()))
            }
            Err(RosterError::Faults(faults)) => {
                let all: Vec<_> = faults
                    .iter()
                    .map(|fault| format!("{}: {}", fault.pointer, fault.message))
                    .collect();
                if faults.len() > 1 {
                    return Err(format!(
                        "one defect, and {} faults: {}",
                        faults.len(),
                        all.join("; ")
                    ));
                }
                Err((
                    "refuse",
                    format!("/predicate{}", faults[0].pointer),
                    all.join("; "),
                ))
            }
        };
        expected(vector, happened)
    })
}

fn keyids(predicate: &Value) -> Vec<KeyId> {
    let tables = ["approvers", "proposers", "operators", "boundaries"];
    let entries = tables
        .iter()
        .flat_map(|table| predicate[*table].as_object().into_iter().flatten());
    let lines = entries.flat_map(|(_, entry)| entry["keys"].as_array().into_iter().flatten());
    lines
        .filter_map(Value::as_str)
        .filter_map(|line| SshKey::parse(line).ok())
        .map(|key| key.keyid())
        .collect()
}

fn chain(vector: &Value) -> Result<(), String> {
    let envelopes: Vec<Envelope> =
        serde_json::from_value(vector["versions"].clone()).map_err(|error| error.to_string())?;
    let versions: Vec<RosterVersion> = envelopes
        .iter()
        .cloned()
        .map(RosterVersion::Whole)
        .collect();
    let trusted = text(vector, "trusted")?.parse().map_err(|_| "a digest")?;
    let happened = match Chain::connect(&Pinned::Digest(trusted), &versions) {
        Ok(chain) => {
            same("versions", chain.last().version(), versions.len() as u64)?;
            let last = STANDARD
                .decode(&envelopes[envelopes.len() - 1].payload)
                .map_err(|error| error.to_string())?;
            same("last", &**chain.last().payload(), &*last)?;
            Ok(())
        }
        Err(error) => Err(("refuse", String::new(), error.to_string())),
    };
    expected(vector, happened)
}
