//! Plays `tests/conformance/problems.json` against the real binary over HTTP. Each problem code has test vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::people::{self, Key, now, stamp};
use crate::support::wire::{Reply, pointers};
use crate::support::{SMALL, World, bytes_of, id_of, runbook};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::Code;
use serde_json::{Value, json};

fn file() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/problems.json");
    serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON")
}

fn vectors(file: &Value) -> &[Value] {
    file["vectors"].as_array().expect("vectors")
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {value}"))
}

/// Each code of the closed list has a vector, or a reason why the vectors do not contain the code.
#[test]
fn every_problem_code_has_a_vector() {
    let file = file();
    let covered: BTreeSet<&str> = vectors(&file)
        .iter()
        .map(|vector| text(vector, "code"))
        .collect();
    let elsewhere: BTreeSet<&str> = file["elsewhere"]
        .as_object()
        .expect("reasons")
        .keys()
        .map(String::as_str)
        .collect();
    for code in Code::ALL.iter().map(|code| code.word()) {
        assert!(
            covered.contains(code) != elsewhere.contains(code),
            "{code}: a vector, or a reason why there is none"
        );
    }
    assert_eq!(
        covered.len() + elsewhere.len(),
        Code::ALL.len(),
        "a code that there is not"
    );
    let ids: BTreeSet<&str> = vectors(&file)
        .iter()
        .map(|vector| text(vector, "id"))
        .collect();
    assert_eq!(ids.len(), vectors(&file).len(), "each vector has one name");
    // The tests that the reasons name exist.
    let sources = [
        include_str!("steps.rs"),
        include_str!("sessions.rs"),
        include_str!("grants.rs"),
        include_str!("reviews.rs"),
        include_str!("../durability/node_failover.rs"),
        include_str!("../durability/node_trouble.rs"),
    ];
    let sources = sources.concat();
    let named = [
        "sandbox-unavailable",
        "session-stale",
        "grant-exhausted",
        "grant-paused",
        "standby",
        "database",
    ];
    for code in named {
        let reason = text(&file["elsewhere"], code);
        let test = reason
            .split_whitespace()
            .find(|word| word.contains('_'))
            .expect("a test's name");
        assert!(sources.contains(&format!("fn {test}()")), "{test}");
    }
}

#[test]
fn each_problem_vector_is_refused_with_its_code_at_its_place() {
    let file = file();
    let mut worlds: BTreeMap<String, World> = BTreeMap::new();
    let mut faults = Vec::new();
    for vector in vectors(&file) {
        let limits = vector["limits"].as_str().unwrap_or_default().to_owned();
        let world = worlds
            .entry(limits.clone())
            .or_insert_with(|| world(&limits));
        if let Err(fault) = play(world, vector) {
            faults.push(format!("{}: {fault}", text(vector, "id")));
        }
    }
    for (limits, world) in &worlds {
        // In a world with other limits, a run can still be in progress, and such a run has no receipt yet.
        if limits.is_empty() {
            world.check_history();
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The boundary that the vectors expect.
fn world(limits: &str) -> World {
    World::with(|setup| {
        setup
            .policy
            .push_str("overrides:\n  - {runbook: \"closed/**\", mode: deny}\n");
        setup.runbook("closed/door.md", runbook(SMALL, &[("open", ":")]));
        // The vectors leave many pending proposals.
        let roomy = "pending_per_proposer = 1000\npending = 1000";
        setup.limits = if limits.is_empty() {
            roomy.to_owned()
        } else {
            limits.to_owned()
        };
    })
}

/// The documents that the steps of a vector have created so far.
#[derive(Default)]
struct Made {
    /// The nonce that `{nonce}` stands for.
    nonce: String,
    proposal: Value,
    statement: Value,
    envelope: Value,
}

fn play(world: &World, vector: &Value) -> Result<(), String> {
    let steps = vector["steps"].as_array().expect("steps");
    let (last, before) = steps.split_last().expect("a step");
    let tokens = Tokens::of(world);
    let mut made = Made {
        nonce: people::nonce(),
        ..Made::default()
    };
    for step in before {
        let reply = act(world, &tokens, step, &mut made)?;
        if let Some(reply) = reply
            && !(200..300).contains(&reply.status)
        {
            return Err(format!("{step} is refused already: {}", reply.text()));
        }
    }
    let reply = world
        .unchanged(|| act(world, &tokens, last, &mut made))?
        .ok_or("the last step asks nothing")?;
    let (code, status) = (
        text(vector, "code"),
        vector["status"].as_u64().expect("a status"),
    );
    let got = reply.json()["type"].as_str().unwrap_or_default().to_owned();
    if got != format!("/problems/{code}") || u64::from(reply.status) != status {
        return Err(format!(
            "expected {code} ({status}), got {} {}",
            reply.status,
            reply.text()
        ));
    }
    let problem = reply.problem(code);
    let places: Vec<&str> = vector["at"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|place| place.as_str().expect("a pointer"))
        .collect();
    if pointers(&problem) != places {
        return Err(format!("expected the places {places:?}, got {problem}"));
    }
    Ok(())
}

/// The secrets of the tokens that the vectors name.
struct Tokens(BTreeMap<&'static str, String>);

impl Tokens {
    fn of(world: &World) -> Self {
        use std::sync::Mutex;
        // A world creates the token `narrow` only once, because a token name is unique.
        static NARROW: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
        let narrow = NARROW
            .lock()
            .expect("nobody panicked")
            .entry(world.wire.address().to_owned())
            .or_insert_with(|| world.token_for("narrow", &[], &["propose"], &["say:*"]))
            .clone();
        let named = [
            ("agent", &world.agent),
            ("reader", &world.reader),
            ("courier", &world.courier),
            ("narrow", &narrow),
        ];
        Self(
            named
                .into_iter()
                .map(|(name, secret)| (name, secret.clone()))
                .collect(),
        )
    }

    fn secret(&self, step: &Value) -> String {
        match (step["secret"].as_str(), step["by"].as_str()) {
            (Some(secret), _) => secret.to_owned(),
            (None, Some(name)) => self
                .0
                .get(name)
                .unwrap_or_else(|| panic!("no token {name}"))
                .clone(),
            (None, None) => String::new(),
        }
    }
}

/// Plays one step of a vector. Returns the answer, or `None` if the step only waits.
fn act(
    world: &World,
    tokens: &Tokens,
    step: &Value,
    made: &mut Made,
) -> Result<Option<Reply>, String> {
    let token = || tokens.secret(step);
    let path = || {
        text(step, "path").replace(
            "{proposal}",
            made.proposal["id"].as_str().unwrap_or_default(),
        )
    };
    let reply = match text(step, "do") {
        "propose" => {
            let mut body = step["body"].clone();
            if body["nonce"] == "{nonce}" {
                body["nonce"] = json!(made.nonce);
            }
            let reply = world.wire.post("/v1/proposals", &token(), &body);
            made.proposal = reply.json();
            reply
        }
        "get" => world.wire.get(&path(), &token()),
        "post" => {
            let body = text(step, "text").repeat(
                step["times"]
                    .as_u64()
                    .unwrap_or(1)
                    .try_into()
                    .expect("a number"),
            );
            world.wire.post_bytes(&path(), &token(), body.as_bytes())
        }
        "sign" => {
            let payload = bytes_of(&made.proposal);
            let over = step["over"]
                .as_str()
                .map_or(payload, |other| other.as_bytes().to_vec());
            let mut signatures: Vec<Value> = names(&step["by"])
                .iter()
                .map(|key| key.sign(&over))
                .collect();
            for (key, signature) in names(&step["by"]).iter().zip(&mut signatures) {
                if step["without_pae"] == true {
                    signature["sig"] = json!(STANDARD.encode(key.secret.sign(&over)));
                }
                if let Some(other) = step["keyid_of"].as_str() {
                    signature["keyid"] = json!(person(other).keyid());
                }
            }
            let path = format!("/v1/proposals/{}/signatures", id_of(&made.proposal));
            world
                .wire
                .post(&path, "", &json!({"signatures": signatures}))
        }
        "deny" => world.deny(&made.proposal, &person(text(step, "by"))),
        "until" => {
            world.until(id_of(&made.proposal), text(step, "status"));
            return Ok(None);
        }
        "authorize" => {
            let predicate = world.authorization(text(step, "step"), step["params"].clone());
            made.statement =
                serde_json::from_slice(&people::authorization(&predicate)).expect("JSON");
            hand_in(world, &token(), step, made)
        }
        "hand_in" => {
            made.statement = serde_json::from_slice(&bytes_of(&made.proposal)).expect("JSON");
            hand_in(world, &token(), step, made)
        }
        "again" if step["signed_by"].is_array() => hand_in(world, &token(), step, made),
        "again" => world.submit_as(&token(), &made.envelope),
        other => return Err(format!("no step {other}")),
    };
    Ok(Some(reply))
}

/// Applies `change`, signs the statement, applies `after_signing` and submits the envelope.
fn hand_in(world: &World, token: &str, step: &Value, made: &mut Made) -> Reply {
    patch(&mut made.statement, &step["change"]);
    let mut changes = step["change"].as_array().into_iter().flatten();
    let moves_end = changes.any(|change| change["path"] == "/predicate/expires_at");
    if moves_end && step["do"] != "again" {
        people::renew(&mut made.statement["predicate"]);
    }
    let payload = people::canonical(&made.statement);
    let signatures = names(&step["signed_by"])
        .iter()
        .map(|key| key.sign(&payload))
        .collect();
    patch(&mut made.statement, &step["after_signing"]);
    if step["after_signing"].is_array() {
        let params = people::canonical(&made.statement["predicate"]["params"]);
        made.statement["subject"][1]["digest"]["sha256"] = json!(people::sha256(&params));
    }
    made.envelope = people::wrap(&people::canonical(&made.statement), signatures);
    patch(&mut made.envelope, &step["envelope"]);
    world.submit_as(token, &made.envelope)
}

/// Applies the operations add, replace and remove of RFC 6902. `seconds_from_now` sets a time relative to now.
fn patch(document: &mut Value, operations: &Value) {
    for operation in operations.as_array().into_iter().flatten() {
        let (parent, member) = text(operation, "path").rsplit_once('/').expect("a place");
        let value = match operation["seconds_from_now"].as_i64() {
            Some(seconds) => json!(stamp(now() + seconds)),
            None => operation["value"].clone(),
        };
        let place = document.pointer_mut(parent).expect("a parent");
        match (text(operation, "op"), place) {
            ("remove", Value::Array(items)) => {
                drop(items.remove(member.parse().expect("an index")))
            }
            ("remove", Value::Object(map)) => drop(map.remove(member).expect("a member")),
            ("replace" | "add", Value::Object(map)) => drop(map.insert(member.to_owned(), value)),
            ("replace", Value::Array(items)) => {
                items[member.parse::<usize>().expect("an index")] = value
            }
            (other, _) => panic!("{other} in {operation}"),
        }
    }
}

fn names(list: &Value) -> Vec<Key> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|name| person(name.as_str().expect("a name")))
        .collect()
}

fn person(name: &str) -> Key {
    match name {
        "alice" => people::alice(),
        "bob" => people::bob(),
        "carol" => people::carol(),
        "carol-2" => people::carol_too(),
        "dora" => people::dora(),
        "erin" => people::erin(),
        "frank" => people::frank(),
        "mallory" => people::mallory(),
        "oscar" => people::oscar(),
        "robot" => people::robot(),
        other => panic!("nobody is called {other}"),
    }
}
