//! Emergencies and runs with an unknown end, and reviews of them.

use serde_json::{Value, json};

use super::people::{self, Key, alice, envelope, sha256, statement};
use super::wire::Reply;
use super::{World, id_of};

/// Two people must sign a run, but one of `ops` is enough in an emergency.
pub const POLICY: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 2, from: [ops, security]}\n  \
                      emergency: {required: 1, from: [ops], max_unreviewed: 2, max_window_s: 600, review: {required: 1, from: [ops, security]}}\n";

pub fn emergency(world: &World, step: &str, params: Value) -> Reply {
    let wish = json!({"step": step, "params": params, "reason": "fire", "emergency": true});
    world.wire.post("/v1/proposals", &world.agent, &wish)
}

/// Runs an emergency that alice signed.
pub fn ran(world: &World, text: &str) -> Value {
    let view = emergency(world, "say:echo", json!({"text": text})).ok(201);
    let _ = world.sign(&view, &[&alice()]).ok(200);
    world.until(id_of(&view), "finished")
}

/// Returns the payload of a review of the run.
pub fn review_of(
    world: &World,
    finished: &Value,
    verdict: &str,
    observed: Option<&str>,
) -> Vec<u8> {
    let id = finished["receipt"].as_str().expect("a receipt");
    let view = world
        .wire
        .get(&format!("/v1/receipts/{id}"), &world.reader)
        .ok(200);
    let receipt = &view["envelope"];
    let signed = people::predicate_of(&view["authorization"]);
    let mut predicate =
        json!({"boundary": signed["boundary"], "verdict": verdict, "reason": "seen"});
    if let Some(observed) = observed {
        predicate["observed"] = json!(observed);
    }
    let digest = sha256(&people::payload_of(receipt));
    statement(
        "review",
        &json!([{"name": "receipt", "digest": {"sha256": digest}}]),
        &predicate,
    )
}

pub fn send(world: &World, finished: &Value, review: &Value) -> Reply {
    let id = finished["receipt"].as_str().expect("a receipt");
    world
        .wire
        .post(&format!("/v1/receipts/{id}/reviews"), "", review)
}

pub fn reviewed(
    world: &World,
    finished: &Value,
    key: &Key,
    verdict: &str,
    observed: Option<&str>,
) -> Reply {
    send(
        world,
        finished,
        &envelope(&review_of(world, finished, verdict, observed), &[key]),
    )
}

/// Kills the boundary during a run, and starts it again.
pub fn lost(world: &mut World, keys: &[&Key]) -> Value {
    let view = world.propose("plain:wait", json!({}));
    let _ = world.sign(&view, keys).ok(200);
    let _ = world.until(id_of(&view), "running");
    world.kill9();
    world.start();
    world.until(id_of(&view), "finished")
}
