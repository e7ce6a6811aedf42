//! Logs with grants and their uses.

use documents::to_canonical;
use serde_json::{Value, json};

use super::{Approved, Log, Place, Sealed, key, reference, sign, t};

/// The key of the grantee, and a second key.
pub const ROBOT: u8 = 8;
pub const ROBOT_2: u8 = 9;
/// The key of another proposer.
pub const OTHER: u8 = 10;
/// The key of an operator.
pub const OSCAR: u8 = 7;

pub type Edit = fn(&mut Value);

/// Permits grants for the step `nginx:restart`.
pub fn permit_grants(sealed: &mut Sealed) {
    let line = |seed: u8| key(seed).line().to_owned();
    sealed.policy["default"]["standing"] = json!({"max_uses": 10, "max_days": 7});
    sealed.roster["operators"] = json!({"oscar": {"keys": [line(OSCAR)]}});
    sealed.roster["proposers"] = json!({
        "other": {"owners": [], "keys": [line(OTHER)]},
        "robot": {"owners": ["rita"], "keys": [line(ROBOT), line(ROBOT_2)]},
    });
    sealed.steps[0]["params"]["properties"]["force"] = json!({"type": "boolean", "default": false});
}

/// A grant in a log.
#[derive(Clone)]
pub struct Granted {
    pub digest: String,
    pub predicate: Value,
}

/// Adds a grant for the step `nginx:restart`, which these people sign.
pub fn grant(log: &mut Log, signers: &[u8], edit: impl FnOnce(&mut Value)) -> Granted {
    let definition = log.sealed.steps[0].clone();
    let mut predicate = json!({
        "boundary": log.boundary(),
        "grant": format!("grt_01a00000-0000-7000-8000-{:012x}", log.size()),
        "grantee": {"name": "robot", "key": key(ROBOT).keyid()},
        "steps": [{
            "ref": "nginx:restart", "digest": reference(&to_canonical(&definition)), "permissions": [],
            "params": {"type": "object", "required": ["force", "host"], "properties": {
                "force": {"type": "boolean", "enum": [false]},
                "host": {"type": "string", "enum": ["web-1", "web-2", "web-3"]},
            }},
            "sandbox": log.sandbox["nginx:restart"],
        }],
        "max_uses": 3, "session": "none", "artifacts": [], "proposer": "agent", "reason": "nightly restarts",
        "issued_at": t(0), "not_before": t(0), "expires_at": t(86_400),
    });
    edit(&mut predicate);
    let subjects = predicate["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| json!({"name": step["ref"], "digest": {"sha256": step["digest"].as_str().unwrap()[7..]}}));
    let payload = to_canonical(&json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://countersign.dev/grant/v1",
        "predicate": predicate, "subject": subjects.collect::<Vec<_>>(),
    }));
    log.entries.push(to_canonical(
        &serde_json::to_value(sign(&payload, signers)).unwrap(),
    ));
    Granted {
        digest: reference(&payload),
        predicate,
    }
}

/// A use of a grant, and what a test edits.
pub struct Use {
    pub number: u64,
    pub at: i64,
    pub signer: u8,
    pub authorization: Edit,
    pub item: Edit,
    pub receipt: Edit,
}

pub const PLAIN: Use = Use {
    number: 1,
    at: 10,
    signer: ROBOT,
    authorization: |_| {},
    item: |_| {},
    receipt: |_| {},
};

pub fn authorize(
    log: &mut Log,
    granted: &Granted,
    used: &Use,
    edit: &dyn Fn(&mut Value),
) -> Approved {
    log.approved_but("nginx:restart", used.at, &[used.signer], |of| {
        of["proposer"] = json!("robot");
        of["grant"] = json!(granted.digest);
        of["params"] = json!({"force": false, "host": "web-1"});
        edit(of);
    })
}

/// Adds the consumption and the receipt of a use.
pub fn run(log: &mut Log, granted: &Granted, used: &Use) {
    let begun = begin(log, granted, used, &used.authorization, &used.item);
    end(log, &begun, &used.receipt);
}

/// Adds the consumption of a use. A test edits the authorization, and its item of the consumption.
pub fn begin(
    log: &mut Log,
    granted: &Granted,
    used: &Use,
    authorization: &dyn Fn(&mut Value),
    item: &dyn Fn(&mut Value),
) -> (Place, Approved) {
    let approved = authorize(log, granted, used, authorization);
    let place = log.consume_but(used.at, &[&approved], |of| {
        let spent = &mut of["spent"][0];
        (spent["grant"], spent["use"]) = (json!(granted.digest), json!(used.number));
        if approved.predicate.get("session").is_some() {
            spent["session"] = approved.predicate["session"].clone();
        }
        item(spent);
    });
    (place, approved)
}

/// Adds the receipt of a use, which a test edits.
pub fn end(log: &mut Log, (place, approved): &(Place, Approved), edit: &dyn Fn(&mut Value)) {
    log.receipt_but(*place, approved, |of| {
        of["decision"]["approvers"] = json!(["alice", "bob"]);
        of["decision"]["groups"] = json!(["ops", "security"]);
        // The token `agent` proposes each grant. It may also be the grantee.
        of["decision"]["excluded"] = match approved.predicate["proposer"].as_str() {
            Some("agent") => json!(["agent", "carol"]),
            _ => json!(["agent", "carol", "rita", "robot"]),
        };
        edit(of);
    });
}
