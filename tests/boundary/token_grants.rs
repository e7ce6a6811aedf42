//! Grants to a token: anyone who presents the token can use the grant, and the boundary signs each use.

use serde_json::{Value, json};

use crate::oidc;
use crate::support::grants::{POLICY, as_holder, bearer, draft, granted, sign, terms, wish};
use crate::support::nodes::{node, start};
use crate::support::people::{alice, carol, robot};
use crate::support::postgres::cluster::Cluster;
use crate::support::wire::Reply;
use crate::support::{World, bytes_of, id_of, said};

/// Returns the sealed entry of a token.
fn token(world: &World, name: &str) -> Value {
    let listed = world
        .program(&["token", "list", "--json", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("it starts");
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let mut listed = listed.into_iter();
    listed
        .find(|token| token["name"] == name)
        .expect("the token")
}

/// Returns the terms of a grant to this token.
pub(crate) fn to_token(name: &str) -> Value {
    let mut terms = terms();
    terms["grantee"] = json!({ "token": name });
    terms
}

/// Returns the terms of a grant to the token of the CI jobs, for the step that deploys a commit.
pub(crate) fn to_jobs() -> Value {
    let mut terms = to_token("ci");
    let commit = json!({"type": "string", "pattern": "^[0-9a-f]{40}$"});
    terms["steps"] = json!([{"step": "deploy:web", "params": {
        "type": "object", "properties": {"commit": commit}, "required": ["commit"]}}]);
    terms
}

fn use_as(world: &World, bearer: &str, grant: &Value, text: &str) -> Reply {
    let wish = wish(grant, "say:echo", json!({"text": text}));
    world.wire.post("/v1/proposals", bearer, &wish)
}

fn world() -> World {
    World::with(|setup| setup.policy = POLICY.to_owned())
}

/// Uses a grant of the token `agent` before and after a restart.
fn use_before_and_after_a_restart(world: &mut World) {
    let grant = granted(world, &to_token("agent"));
    let view = use_as(world, &world.agent, &grant, "one").ok(201);
    let finished = world.until(id_of(&view), "finished");
    assert_eq!(world.output(&finished, "stdout"), "one\n");
    let signed: Value = serde_json::from_slice(&bytes_of(&finished)).expect("JSON");
    assert_eq!(signed["predicate"]["by"], json!({"token": "agent"}));
    assert_eq!(
        finished["approvals"]["excluded"],
        json!(["agent", "carol"]),
        "{finished:#}"
    );
    let bundle = world.bundle(&finished);
    let said: Value = serde_json::from_slice(&bundle).expect("JSON");
    let boundary = said["receipt"]["signatures"][0]["keyid"].clone();
    assert_eq!(
        said["authorization"]["signatures"][0]["keyid"], boundary,
        "the boundary signed"
    );
    world.assert_verified(&finished);
    world.restart();
    let again = use_as(world, &world.agent, &grant, "two").ok(201);
    world.until(id_of(&again), "finished");
    world.assert_audited();
}

#[test]
fn a_token_uses_its_grant_without_a_key_and_each_document_says_that_the_boundary_signed() {
    use_before_and_after_a_restart(&mut world());
}

#[test]
fn a_token_uses_its_grant_with_postgresql_too() {
    let Some(server) = Cluster::start("a grant to a token", "") else {
        return;
    };
    let mut one = node(&server, "one", |setup| setup.policy = POLICY.to_owned());
    server.migrate(&one);
    start(&mut one);
    use_before_and_after_a_restart(&mut one);
}

#[test]
fn only_who_presents_the_token_of_the_grant_uses_it() {
    let world = world();
    let grant = granted(&world, &to_token("agent"));
    let other = world.token("other", &["dora"], &["propose"]);
    let robot_bearer = bearer(&world, &robot());
    for bearer in [&other, &robot_bearer] {
        let refused = use_as(&world, bearer, &grant, "no");
        assert_eq!(
            refused.problem("not-granted")["errors"][0]["pointer"],
            "/grant"
        );
    }
    let view = use_as(&world, &world.agent, &grant, "yes").ok(201);
    world.until(id_of(&view), "finished");
    // The owner of the token can't sign a grant to it.
    let view = draft(&world, &to_token("agent")).ok(201);
    sign(&world, &view, &[&carol()]).problem("self-approval");
    world.assert_audited();
}

#[test]
fn a_grant_to_a_token_ends_with_the_token_and_names_its_credential() {
    let world = world();
    draft(&world, &to_token("nobody")).problem("unknown-signer");
    let mut both = to_token("agent");
    both["grantee"]["name"] = json!("robot");
    draft(&world, &both).problem("malformed");
    let grant = granted(&world, &to_token("agent"));
    world
        .control(&json!({"do": "token-revoke", "name": "agent"}))
        .ok();
    let refused = use_as(&world, &world.agent, &grant, "no");
    refused.problem("unauthenticated");
    let shown = world
        .wire
        .get(&format!("/v1/grants/{}", id_of(&grant)), &world.reader)
        .ok(200);
    assert_eq!(shown["status"], "unusable", "{shown:#}");
    world.assert_audited();
}

#[test]
fn a_gate_takes_the_use_of_a_token_only_if_it_is_asked_to() {
    let world = world();
    let grant = granted(&world, &to_token("agent"));
    let view = use_as(&world, &world.agent, &grant, "one").ok(201);
    let finished = world.until(id_of(&view), "finished");
    world.write(
        "one.bundle.json",
        &String::from_utf8(world.bundle(&finished)).expect("JSON"),
    );
    let roster = world.started["roster"].as_str().expect("a digest");
    let boundary = world.started["id"].as_str().expect("an id");
    let gate = |more: &[&str]| {
        let mut gate = world.program(&["gate"]);
        gate.arg(world.path("one.bundle.json"))
            .args(["--step", "say:echo", "--any-digest", "--any-params"])
            .args([
                "--roster",
                roster,
                "--max-age",
                "1d",
                "--boundary",
                boundary,
            ])
            .args(["--allow-unchecked", "keys-still-rostered"])
            .args(["--allow-unchecked", "seal-in-force"])
            .args(["--allow-unchecked", "revocations"])
            .args(["--allow-unchecked", "witnesses"])
            .args(more);
        said(&gate.output().expect("it starts"))
    };
    let closed = gate(&["--allow-grant"]);
    assert!(closed.contains("--allow-token-grant"), "{closed}");
    let open = gate(&["--allow-grant", "--allow-token-grant"]);
    assert!(open.contains("gate          open"), "{open}");
}

#[test]
fn the_screen_of_a_grant_to_a_token_says_who_may_use_it() {
    let world = world();
    let view = draft(&world, &to_token("agent")).ok(201);
    let shown = as_holder(&world, &alice(), &["review", id_of(&view)]);
    let text = said(&shown);
    for words in [
        "anyone who has the token \"agent\" (owner carol) may run WITHOUT ASKING",
        "each use is the word of the boundary: no key signs it",
        token(&world, "agent")["credential"].as_str().expect("text"),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_job_without_a_secret_uses_a_grant_and_the_authorization_names_its_id_token() {
    let Some((world, issuer)) = oidc::world_with(|setup| setup.policy = POLICY.to_owned()) else {
        return;
    };
    let audience = oidc::ci(&world, &issuer);
    let grant = granted(&world, &to_jobs());
    let shown = said(&as_holder(&world, &alice(), &["review", id_of(&grant)]));
    for words in [
        "each CI job that opens the token \"ci\"",
        &issuer.url,
        "repository_id is 1234",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let id_token = issuer.id_token(&audience, &json!({"jti": "job-7"}));
    let bearer = oidc::bearer(&world, &id_token);
    let wish = wish(&grant, "deploy:web", json!({"commit": oidc::COMMIT}));
    let view = world.wire.post("/v1/proposals", &bearer, &wish).ok(201);
    let finished = world.until(id_of(&view), "finished");
    let signed: Value = serde_json::from_slice(&bytes_of(&finished)).expect("JSON");
    assert_eq!(
        signed["predicate"]["by"],
        json!({"token": "ci", "jti": "job-7"})
    );
    world.assert_verified(&finished);
    world.assert_audited();
}
