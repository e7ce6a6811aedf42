//! Standing grants of a world: drafts, signatures, uses and their end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::people::{
    CHALLENGE, Key, alice, envelope, nonce_until, now, revocation, robot, unix_of,
};
use super::wire::Reply;
use super::{World, id_of};

/// Permits grants of up to 20 uses.
pub const POLICY: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops, security]}\n  \
                      standing: {max_uses: 20, max_days: 7}\noverrides:\n  - {runbook: two, approvals: {required: 2, from: [ops]}, standing: {max_uses: 2, max_days: 1}}\n";

/// Returns the bearer of a person or a proposer who answered a challenge.
pub fn bearer(world: &World, key: &Key) -> String {
    let challenge = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": key.keyid()}))
        .ok(200);
    let text = challenge["challenge"].as_str().expect("a challenge");
    let answer = json!({"challenge": text, "signature": key.sign_as(CHALLENGE, text.as_bytes())});
    let admitted = world
        .wire
        .post("/v1/challenges/answer", "", &answer)
        .ok(200);
    admitted["bearer"].as_str().expect("a bearer").to_owned()
}

/// The terms of a grant for robot: `say:echo` with a text of small letters.
pub fn terms() -> Value {
    json!({
        "grantee": {"name": "robot", "key": robot().keyid()},
        "steps": [{"step": "say:echo", "params": {"type": "object", "properties": {"text": {"type": "string", "pattern": "^[a-z]{1,8}$"}}, "required": ["text"]}}],
        "max_uses": 10, "reason": "each night", "expires_in_s": 86_400,
    })
}

pub fn draft(world: &World, terms: &Value) -> Reply {
    world
        .wire
        .post("/v1/grants", &world.agent, &json!({"draft": terms}))
}

pub fn payload(view: &Value) -> Vec<u8> {
    STANDARD
        .decode(view["payload"].as_str().expect("a payload"))
        .expect("base64")
}

pub fn sign(world: &World, view: &Value, keys: &[&Key]) -> Reply {
    let payload = payload(view);
    let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&payload)).collect();
    world.wire.post(
        &format!("/v1/grants/{}/signatures", id_of(view)),
        "",
        &json!({"signatures": signatures}),
    )
}

/// Returns a grant in force.
pub fn granted(world: &World, terms: &Value) -> Value {
    let view = draft(world, terms).ok(201);
    assert_eq!(view["status"], "pending", "{view:#}");
    let signed = sign(world, &view, &[&alice()]).ok(200);
    assert_eq!(signed["status"], "active", "{signed:#}");
    signed
}

/// Returns the body of a use whose window ends in one hour, or with the grant.
pub fn wish(grant: &Value, step: &str, params: Value) -> Value {
    let end = unix_of(grant["grant"]["expires_at"].as_str().expect("a time")).min(now() + 3600);
    json!({"step": step, "params": params, "reason": "night", "grant": grant["id"], "nonce": nonce_until(end)})
}

/// Proposes a use and signs it with the key of the grantee.
pub fn try_use(world: &World, bearer: &str, wish: &Value) -> Reply {
    let proposed = world.wire.post("/v1/proposals", bearer, wish);
    if ![200, 201].contains(&proposed.status) {
        return proposed;
    }
    world.sign(&proposed.json(), &[&robot()])
}

pub fn used(world: &World, bearer: &str, grant: &Value, text: &str) -> Value {
    let view = try_use(
        world,
        bearer,
        &wish(grant, "say:echo", json!({"text": text})),
    )
    .ok(200);
    world.until(id_of(&view), "finished")
}

pub fn end(world: &World, grant: &Value, key: &Key) -> Reply {
    let digest = grant["digest"]
        .as_str()
        .expect("a digest")
        .trim_start_matches("sha256:")
        .to_owned();
    let payload = revocation(&world.boundary(), "grant", &digest);
    world
        .wire
        .post("/v1/revocations", "", &envelope(&payload, &[key]))
}

/// Starts the boundary again, so that it dies at this point.
pub fn arm(world: &mut World, point: &str) {
    world.stop();
    world.setup.env("COUNTERSIGN_FAULT", point.to_owned());
    world.start();
}

pub fn start_after_the_kill(world: &mut World, point: &str) {
    assert_eq!(world.ended(), None, "{point}");
    world
        .setup
        .env
        .retain(|(name, _)| name != "COUNTERSIGN_FAULT");
    world.start();
}

/// Runs a command with the key of a person or a proposer.
pub fn as_holder(world: &World, key: &Key, words: &[&str]) -> std::process::Output {
    let file = format!("{}.pem", key.name);
    world.write(&file, key.secret.to_pkcs8_v1_pem().as_str());
    let roster = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let mut command = world.program(&["--url", &world.wire.url]);
    command.args(words).arg("--key").arg(world.path(&file));
    if !["freeze", "list", "propose", "review-run", "revoke"]
        .iter()
        .any(|word| words.contains(word))
    {
        command.args(["--roster", &roster]);
    }
    command.output().expect("it starts")
}
