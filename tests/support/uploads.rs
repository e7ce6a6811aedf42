//! Uploaded files, and proposals with further fields.

use serde_json::{Value, json};

use super::World;
use super::people::sha256;
use super::wire::Reply;

pub fn proposed(world: &World, step: &str, more: Value) -> Reply {
    let mut wish = World::wish(step, json!({}));
    wish.as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    world.wire.post("/v1/proposals", &world.agent, &wish)
}

/// Uploads a file, and returns its digest and the answer.
pub fn upload(world: &World, token: &str, bytes: &[u8]) -> (String, Reply) {
    let digest = format!("sha256:{}", sha256(bytes));
    let bearer = format!("Bearer {token}");
    let headers = [
        ("content-type", "application/octet-stream"),
        ("authorization", bearer.as_str()),
    ];
    let reply = world.wire.call(
        "PUT",
        &format!("/v1/artifacts/{digest}"),
        &headers,
        Some(bytes),
    );
    (digest, reply)
}
