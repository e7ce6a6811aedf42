//! Rows of tokens that somebody changed by hand. Only the sealed entry of a token says what opens the token, and what
//! the token permits.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::issuer::SigningKey;
use crate::oidc::admit;
use crate::support::people::{alice, carol, nonce, now, stamp};
use crate::support::tokens::{credential, entry_of_jobs, secret};
use crate::support::{World, assert_says, id_of, said, wait_for};

const ISSUER: &str = "https://issuer.example";

/// A boundary that refuses no call because of the rate.
fn world() -> World {
    World::with(|setup| setup.limits = "calls_per_second = 1000000".to_owned())
}

/// Returns a JWK set with this key.
fn key_set(key: &SigningKey) -> String {
    json!({"keys": [key.jwk("a")]}).to_string()
}

/// Returns an unused ID token with this subject.
fn id_token(key: &SigningKey, audience: &str, sub: &str) -> String {
    let at = now();
    let claims = json!({"iss": ISSUER, "aud": audience, "sub": sub, "iat": at, "exp": at + 300, "jti": nonce()});
    key.sign("a", &claims)
}

fn sql(world: &World, statement: &str, parameters: impl rusqlite::Params) {
    let database = Connection::open(world.database()).expect("store");
    let changed = database.execute(statement, parameters).expect("changed");
    assert_eq!(changed, 1, "{statement}");
}

/// Changes the entry in the row of a token.
fn edit(world: &World, name: &str, change: impl FnOnce(&mut Value)) {
    let database = Connection::open(world.database()).expect("store");
    let query = "SELECT entry FROM token WHERE name = ?1";
    let entry: String = database
        .query_row(query, [name], |row| row.get(0))
        .expect("a row");
    let mut entry: Value = serde_json::from_str(&entry).expect("JSON");
    change(&mut entry);
    let update = "UPDATE token SET entry = ?2 WHERE name = ?1";
    sql(world, update, [name, &entry.to_string()]);
}

/// Returns the entry of a token in the seal in force.
fn sealed(world: &World, name: &str) -> Value {
    let registry = world.wire.get("/v1/registry", &world.agent).ok(200);
    let digest = registry["seal"]["tokens"].as_str().expect("a digest");
    let digest = digest.trim_start_matches("sha256:");
    let tokens = world
        .wire
        .get(&format!("/log/blob/sha256/{digest}"), &world.reader)
        .ok(200);
    let tokens = tokens.as_array().expect("a list");
    let found = tokens.iter().find(|token| token["name"] == name);
    found.expect("a token").clone()
}

#[test]
fn a_row_with_a_changed_secret_or_scope_or_binding_opens_nothing() {
    let mut world = world();
    let (key, new) = (SigningKey::p256(), secret());
    let jobs = json!({"name": "ci", "owners": ["carol"], "scopes": ["read"], "patterns": []});
    let oidc = |sub: &str| json!({"issuer": ISSUER, "claims": {"sub": sub}, "jwks": key_set(&key)});
    let audience = world
        .create_token_of_jobs(&jobs, &oidc("a"))
        .expect("a token");
    let short = json!({"name": "short", "owners": [], "scopes": ["propose"], "patterns": [], "expires_at": stamp(now() + 3)});
    let short = world.create_token(&short).expect("a token");
    world
        .control(&json!({"do": "token-revoke", "name": "courier"}))
        .expect("revoked");
    let before = ["agent", "ci"].map(|name| sealed(&world, name));
    edit(&world, "agent", |entry| {
        entry["scopes"] = json!(["operate", "propose", "read"]);
        entry["owners"] = json!([]);
        entry["credential"] = json!(credential(&new));
    });
    edit(&world, "reader", |entry| {
        entry["scopes"] = json!(["propose", "read"]);
    });
    edit(&world, "ci", |entry| {
        *entry = entry_of_jobs(&jobs, &oidc("b"))
    });
    edit(&world, "short", |entry| {
        drop(
            entry
                .as_object_mut()
                .expect("an object")
                .remove("expires_at"),
        )
    });
    let back = "UPDATE token SET revoked_at = NULL WHERE name = ?1";
    sql(&world, back, ["courier"]);
    wait_for("the token has expired", || {
        world.wire.get("/v1/registry", &short).status == 401
    });
    let holds = |world: &World| {
        for refused in [&new, &short, &world.courier] {
            world
                .wire
                .get("/v1/registry", refused)
                .problem("unauthenticated");
        }
        // The old secret has the sealed scopes and owners.
        world
            .wire
            .get("/metrics", &world.agent)
            .problem("forbidden");
        let wish = World::wish("plain:true", json!({}));
        world
            .wire
            .post("/v1/proposals", &world.reader, &wish)
            .problem("forbidden");
        let proposal = world.propose("plain:true", json!({}));
        world.sign(&proposal, &[&carol()]).problem("self-approval");
        world.sign(&proposal, &[&alice()]).ok(200);
        world.until(id_of(&proposal), "finished");
        admit(world, &id_token(&key, &audience, "b")).refuses("unauthenticated", "`sub`");
        let admitted = admit(world, &id_token(&key, &audience, "a")).ok(200);
        let bearer = admitted["bearer"].as_str().expect("a bearer");
        world.wire.get("/v1/proposals", bearer).ok(200);
    };
    holds(&world);
    world.restart();
    holds(&world);
    // Each new seal takes the entries of the seal before.
    let late = world.token("late", &[], &["read"]);
    world.wire.get("/v1/registry", &late).ok(200);
    let after = ["agent", "ci"].map(|name| sealed(&world, name));
    assert_eq!(after, before);
    holds(&world);
    world.restart();
    holds(&world);
    world.assert_audited();
    world.stop();
    let checked = world
        .program(&["store", "check", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("store check");
    assert_eq!(checked.status.code(), Some(1));
    assert_says(said(&checked), "differs from the last seal");
}

#[test]
fn an_id_token_opens_nothing_with_other_keys_or_authorities_than_those_of_the_seal() {
    let mut world = world();
    let (key, other) = (SigningKey::p256(), SigningKey::p256());
    let jobs = json!({"name": "ci", "owners": ["carol"], "scopes": ["read"], "patterns": []});
    let oidc = json!({"issuer": ISSUER, "claims": {"sub": "a"}, "jwks": key_set(&key)});
    let audience = world.create_token_of_jobs(&jobs, &oidc).expect("a token");
    let sent = |world: &World, key: &SigningKey| admit(world, &id_token(key, &audience, "a"));
    sent(&world, &key).ok(200);
    sent(&world, &other).problem("bad-signature");
    let good = key_set(&key);
    let both = json!({"keys": [key.jwk("a"), other.jwk("b")]}).to_string();
    let set = "UPDATE token SET jwks = ?1, ca = ?2 WHERE name = 'ci'";
    for (number, (jwks, ca)) in [
        (Some(key_set(&other)), None),
        (Some(both), None),
        (None, None),
        (Some(good.clone()), Some("another authority")),
    ]
    .into_iter()
    .enumerate()
    {
        sql(&world, set, (&jwks, ca));
        world.restart();
        for key in [&key, &other] {
            assert_eq!(sent(&world, key).status, 500, "{jwks:?} {ca:?}");
        }
        let words = "the store lacks the files of the issuer that the seal names for the token ci";
        assert_says(world.service_log(), words);
        // A new seal does not take them either.
        let _ = world.token(&format!("late{number}"), &[], &["read"]);
        for key in [&key, &other] {
            assert_eq!(sent(&world, key).status, 500, "{jwks:?} {ca:?}");
        }
    }
    sql(&world, set, (&good, None::<&str>));
    world.restart();
    sent(&world, &key).ok(200);
    sent(&world, &other).problem("bad-signature");
    world.assert_audited();
}
