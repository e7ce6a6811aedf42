//! Attacks on grants to tokens: repeated calls, changed rows, and signed uses that somebody hands in.

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::grants::race;
use crate::oidc;
use crate::support::grants::{
    POLICY, arm, bearer, draft, granted, sign, start_after_the_kill, wish,
};
use crate::support::people::{
    alice, authorization, boundary_key, canonical, carol, envelope, now, predicate_of, renew,
    revocation, robot, sha256, stamp,
};
use crate::support::wire::{Reply, pointers};
use crate::support::{World, bytes_of, id_of, wait_for};
use crate::token_grants::{to_jobs, to_token};

fn world() -> World {
    World::with(|setup| setup.policy = POLICY.to_owned())
}

fn propose(world: &World, bearer: &str, wish: &Value) -> Reply {
    world.wire.post("/v1/proposals", bearer, wish)
}

/// Asserts that the log has this number of consumptions and of receipts.
#[track_caller]
pub(crate) fn assert_spent(world: &World, number: usize) {
    let counts = [world.count("consumption"), world.count("receipt")];
    assert_eq!(counts, [number, number]);
}

/// Makes the boundary die after it has stored the proposal, before it has signed the use. Starts the boundary again,
/// and returns the proposal, which waits.
fn interrupted(world: &mut World, wish: &Value, bearer: impl FnOnce(&World) -> String) -> Value {
    let point = "after-proposal-commit";
    arm(world, point);
    let bearer = bearer(world);
    let unanswered = world.wire.try_post("/v1/proposals", &bearer, wish);
    assert!(unanswered.is_err(), "the boundary has died");
    start_after_the_kill(world, point);
    let waiting = world.list("pending");
    assert_eq!(waiting.len(), 1, "{waiting:#?}");
    world.show(id_of(&waiting[0]))
}

#[test]
fn a_call_is_repeated_only_with_the_id_token_that_made_the_use() {
    let Some((mut world, issuer)) = oidc::world_with(|setup| setup.policy = POLICY.to_owned())
    else {
        return;
    };
    let audience = oidc::ci(&world, &issuer);
    let grant = granted(&world, &to_jobs());
    let job = |world: &World, jti: &str| {
        oidc::bearer(world, &issuer.id_token(&audience, &json!({"jti": jti})))
    };
    let deploy = || wish(&grant, "deploy:web", json!({"commit": oidc::COMMIT}));
    let (first, other, done) = (job(&world, "job-1"), job(&world, "job-2"), deploy());
    let made = propose(&world, &first, &done).ok(201);
    world.until(id_of(&made), "finished");
    let repeated = propose(&world, &first, &done).ok(200);
    assert_eq!(
        (&repeated["id"], &repeated["existing"], &repeated["status"]),
        (&made["id"], &json!(true), &json!("finished"))
    );
    let refused = world.unchanged(|| propose(&world, &other, &done));
    assert_eq!(pointers(&refused.problem("nonce-replayed")), ["/nonce"]);
    assert_spent(&world, 1);
    // A use that waits for the signature of the boundary.
    let started = deploy();
    let waiting = interrupted(&mut world, &started, |world| job(world, "job-3"));
    let other = job(&world, "job-4");
    let refused = world.unchanged(|| propose(&world, &other, &started));
    assert_eq!(pointers(&refused.problem("nonce-replayed")), ["/nonce"]);
    assert_eq!(world.show(id_of(&waiting))["status"], "pending");
    assert_spent(&world, 1);
    // With a nonce of its own, the other job uses the grant.
    let view = propose(&world, &other, &deploy()).ok(201);
    world.until(id_of(&view), "finished");
    assert_spent(&world, 2);
    world.assert_audited();
}

#[test]
fn an_interrupted_call_is_finished_by_the_same_call_and_by_no_key() {
    let mut world = world();
    let grant = granted(&world, &to_token("agent"));
    let wish = wish(&grant, "say:echo", json!({"text": "one"}));
    let agent = world.agent.clone();
    let waiting = interrupted(&mut world, &wish, |_| agent.clone());
    for key in [&robot(), &alice(), &carol()] {
        let refused = world.unchanged(|| world.sign(&waiting, &[key]));
        let problem = refused.problem("not-granted");
        assert_eq!(pointers(&problem), ["/signatures/0/keyid"], "{problem:#}");
    }
    // Another token can't continue the run either.
    let refused = world.unchanged(|| propose(&world, &world.courier, &wish));
    assert_eq!(pointers(&refused.problem("not-granted")), ["/grant"]);
    assert_spent(&world, 0);
    for _ in 0..2 {
        let view = propose(&world, &agent, &wish).ok(200);
        assert_eq!(
            (&view["id"], &view["existing"]),
            (&waiting["id"], &json!(true))
        );
        let finished = world.until(id_of(&view), "finished");
        assert_eq!(world.output(&finished, "stdout"), "one\n");
        assert_spent(&world, 1);
    }
    // The same nonce for another run.
    let mut other = wish.clone();
    other["params"]["text"] = json!("two");
    let refused = world.unchanged(|| propose(&world, &agent, &other));
    assert_eq!(pointers(&refused.problem("nonce-replayed")), ["/nonce"]);
    assert_spent(&world, 1);
    world.assert_audited();
}

#[test]
fn a_use_that_the_boundary_signed_is_taken_only_from_the_call_of_the_token() {
    let world = world();
    let grant = granted(&world, &to_token("agent"));
    let wish = wish(&grant, "say:echo", json!({"text": "one"}));
    let view = propose(&world, &world.agent, &wish).ok(201);
    let finished = world.until(id_of(&view), "finished");
    let bundle: Value = serde_json::from_slice(&world.bundle(&finished)).expect("JSON");
    let used = &bundle["authorization"];
    assert_eq!(predicate_of(used)["by"], json!({"token": "agent"}));
    // Somebody with the key of the boundary signs a use that no call asked for.
    let mut predicate = predicate_of(used);
    renew(&mut predicate);
    let unasked = envelope(&authorization(&predicate), &[&boundary_key()]);
    let robot_bearer = bearer(&world, &robot());
    for bearer in [&world.agent, &world.courier, &robot_bearer] {
        for signed in [used, &unasked] {
            let refused = world.unchanged(|| world.submit_as(bearer, signed));
            refused.problem("not-granted");
            assert_spent(&world, 1);
        }
    }
    world.assert_audited();
}

/// Puts this payload into the row of the proposal that waits. If `also_digests` is true, the digests in the row fit the
/// payload.
fn store(world: &World, payload: &[u8], also_digests: bool) {
    let database = Connection::open(world.database()).expect("store");
    let of_waiting = "(SELECT id FROM proposal WHERE status = 2)";
    let update = format!("UPDATE payload SET data = ?1 WHERE proposal = {of_waiting}");
    let changed = database.execute(&update, [payload]).expect("changed");
    assert_eq!(changed, 1);
    if also_digests {
        let statement: Value = serde_json::from_slice(payload).expect("JSON");
        let params = canonical(&statement["predicate"]["params"]);
        let digests = [payload, &params[..]].map(|bytes| Sha256::digest(bytes).to_vec());
        let update = "UPDATE proposal SET digest = ?1, params_digest = ?2 WHERE status = 2";
        assert_eq!(database.execute(update, digests).expect("changed"), 1);
    }
}

#[test]
fn the_boundary_does_not_sign_a_use_that_somebody_changed_in_the_database() {
    let mut world = world();
    let grant = granted(&world, &to_token("agent"));
    let wish = wish(&grant, "say:echo", json!({"text": "one"}));
    let agent = world.agent.clone();
    let waiting = interrupted(&mut world, &wish, |_| agent.clone());
    let good = bytes_of(&waiting);
    let statement: Value = serde_json::from_slice(&good).expect("JSON");
    let mut changed = statement["predicate"].clone();
    // The grant permits this text too.
    changed["params"]["text"] = json!("two");
    for also_digests in [false, true] {
        store(&world, &authorization(&changed), also_digests);
        for _ in 0..2 {
            let refused = propose(&world, &agent, &wish);
            assert!(refused.status >= 400, "{}", refused.text());
            assert_eq!(world.count("authorization"), 0);
            assert_spent(&world, 0);
        }
        let database = Connection::open(world.database()).expect("store");
        let signatures: i64 = database
            .query_row("SELECT count(*) FROM signature", [], |row| row.get(0))
            .expect("a number");
        assert_eq!(signatures, 0);
    }
    store(&world, &good, true);
    let view = propose(&world, &agent, &wish).ok(200);
    let finished = world.until(id_of(&view), "finished");
    assert_eq!(world.output(&finished, "stdout"), "one\n");
    assert_spent(&world, 1);
    world.assert_audited();
}

#[test]
fn a_token_that_is_made_again_does_not_use_the_grant_of_the_earlier_token() {
    let mut world = world();
    let old = granted(&world, &to_token("agent"));
    world
        .control(&json!({"do": "token-revoke", "name": "agent"}))
        .expect("revoked");
    // The name of a token is never used again.
    let again =
        json!({"name": "agent", "owners": ["carol"], "scopes": ["propose"], "patterns": []});
    world.create_token(&again).expect_err("a used name");
    world.agent = world.token("again", &["carol"], &["propose"]);
    let own = granted(&world, &to_token("again"));
    let echo = |grant: &Value| wish(grant, "say:echo", json!({"text": "one"}));
    let refused = world.unchanged(|| propose(&world, &world.agent, &echo(&old)));
    assert_eq!(pointers(&refused.problem("not-granted")), ["/grant"]);
    assert_spent(&world, 0);
    let view = propose(&world, &world.agent, &echo(&own)).ok(201);
    world.until(id_of(&view), "finished");
    assert_spent(&world, 1);
    world.assert_audited();
}

/// Asserts that the draft of this grant is refused at this place, that nothing is stored, and that the log has no grant
/// and no run.
#[track_caller]
fn assert_no_draft(world: &World, terms: &Value, code: &str, place: &str) {
    let refused = world.unchanged(|| draft(world, terms));
    let problem = refused.problem(code);
    assert_eq!(pointers(&problem), [place], "{terms}: {problem:#}");
    let drafts = world.wire.get("/v1/grants", &world.reader).ok(200);
    assert_eq!(drafts["grants"], json!([]));
    assert_spent(world, 0);
}

/// Makes a token that ends at this time, and returns its secret.
fn token_until(world: &World, name: &str, end: i64) -> String {
    let token = json!({
        "name": name, "owners": ["carol"], "scopes": ["propose"], "patterns": [], "expires_at": stamp(end),
    });
    world.create_token(&token).expect("a token")
}

fn wait_for_end(world: &World, secret: &str) {
    wait_for("the token has ended", || {
        world.wire.get("/v1/registry", secret).status == 401
    });
}

/// The owner of a token revokes the token, which stays in the seal in force.
fn revoke_in_the_log(world: &World, name: &str) {
    let payload = revocation(&world.boundary(), "token", &sha256(name.as_bytes()));
    let signed = envelope(&payload, &[&carol()]);
    world.wire.post("/v1/revocations", "", &signed).ok(200);
}

/// An operator revokes a token, which the next seal leaves out.
fn revoke_on_the_host(world: &World, name: &str) {
    let revoke = json!({"do": "token-revoke", "name": name});
    world.control(&revoke).expect("revoked");
}

#[test]
fn a_draft_for_a_token_that_is_not_valid_is_refused_at_the_name_of_the_token() {
    let mut world = world();
    let short = token_until(&world, "short", now() + 2);
    for name in ["by-owner", "by-operator", "moved"] {
        let _ = world.token(name, &["carol"], &["propose"]);
    }
    revoke_on_the_host(&world, "by-operator");
    revoke_in_the_log(&world, "by-owner");
    // Only the seal says which names are tokens.
    let rename = "UPDATE token SET name = 'renamed', entry = json_set(entry, '$.name', 'renamed') WHERE name = 'moved'";
    let database = Connection::open(world.database()).expect("store");
    assert_eq!(database.execute(rename, ()).expect("changed"), 1);
    wait_for_end(&world, &short);
    for _ in 0..2 {
        for name in ["by-operator", "by-owner", "nobody", "renamed", "short"] {
            let terms = to_token(name);
            assert_no_draft(&world, &terms, "unknown-signer", "/draft/grantee/token");
        }
        let mut both = to_token("agent");
        both["grantee"]["name"] = json!("robot");
        assert_no_draft(&world, &both, "malformed", "/draft/grantee");
        world.restart();
    }
    // The token of the changed row is still a token with its sealed name.
    let _ = draft(&world, &to_token("moved")).ok(201);
    world.assert_audited();
}

#[test]
fn a_draft_that_waits_is_not_signed_after_the_end_of_its_token() {
    let mut world = world();
    let end = now() + 4;
    let short = token_until(&world, "short", end);
    for name in ["by-owner", "by-operator"] {
        let _ = world.token(name, &["carol"], &["propose"]);
    }
    let drafts = ["by-owner", "by-operator", "short"]
        .map(|name| (name, draft(&world, &to_token(name)).ok(201)));
    revoke_in_the_log(&world, "by-owner");
    let signs = |world: &World, view: &Value| world.unchanged(|| sign(world, view, &[&alice()]));
    signs(&world, &drafts[0].1).refuses("revoked", "the token by-owner was revoked");
    revoke_on_the_host(&world, "by-operator");
    wait_for_end(&world, &short);
    for _ in 0..2 {
        for (name, view) in &drafts {
            let refused = signs(&world, view);
            assert!(refused.status >= 400, "{name}: {}", refused.text());
            let shown = format!("/v1/grants/{}", id_of(view));
            let shown = world.wire.get(&shown, &world.reader).ok(200);
            assert_ne!(shown["status"], "active", "{name}: {shown:#}");
            let used = wish(view, "say:echo", json!({"text": "one"}));
            let refused = world.unchanged(|| propose(&world, &world.agent, &used));
            assert_eq!(pointers(&refused.problem("not-granted")), ["/grant"]);
        }
        assert_eq!(world.count("grant"), 0);
        assert_spent(&world, 0);
        world.restart();
    }
    world.assert_audited();
}

#[test]
fn a_grant_ends_with_its_token_and_no_changed_name_gives_it_to_another_token() {
    let mut world = world();
    let names = ["by-owner", "by-operator", "moved"];
    let made = names.map(|name| {
        let secret = world.token(name, &["carol"], &["propose"]);
        (secret, granted(&world, &to_token(name)))
    });
    // The row of another token gets the name of a token with a grant.
    let database = Connection::open(world.database()).expect("store");
    for (name, new) in [("moved", "away"), ("agent", "moved")] {
        let rename = format!(
            "UPDATE token SET name = '{new}', entry = json_set(entry, '$.name', '{new}') WHERE name = '{name}'"
        );
        assert_eq!(database.execute(&rename, ()).expect("changed"), 1);
    }
    drop(database);
    revoke_in_the_log(&world, "by-owner");
    revoke_on_the_host(&world, "by-operator");
    for spent in 0..2 {
        for (secret, grant) in &made {
            let echo = wish(grant, "say:echo", json!({"text": "one"}));
            let refused = world.unchanged(|| propose(&world, &world.agent, &echo));
            let problem = refused.problem("not-granted");
            assert_eq!(pointers(&problem), ["/grant"], "{problem:#}");
            if *secret != made[2].0 {
                let refused = world.unchanged(|| propose(&world, secret, &echo));
                refused.problem("unauthenticated");
            }
        }
        assert_spent(&world, spent);
        let (secret, grant) = &made[2];
        let echo = wish(grant, "say:echo", json!({"text": "one"}));
        let view = propose(&world, secret, &echo).ok(201);
        world.until(id_of(&view), "finished");
        assert_spent(&world, spent + 1);
        world.restart();
    }
    world.assert_audited();
}

#[test]
fn a_deleted_row_gives_another_token_neither_the_name_nor_the_grant_of_a_token() {
    let mut world = world();
    let grant = granted(&world, &to_token("agent"));
    let again =
        json!({"name": "agent", "owners": ["carol"], "scopes": ["propose"], "patterns": []});
    let delete = || {
        let database = Connection::open(world.database()).expect("store");
        let deleted = database.execute("DELETE FROM token WHERE name = 'agent'", ());
        assert_eq!(deleted.expect("deleted"), 1);
    };
    delete();
    world.restart();
    // The seal still has the token, which can be used and revoked without its row.
    world.create_token(&again).expect_err("a sealed name");
    let echo = || wish(&grant, "say:echo", json!({"text": "one"}));
    let view = propose(&world, &world.agent, &echo()).ok(201);
    world.until(id_of(&view), "finished");
    world
        .control(&json!({"do": "token-revoke", "name": "agent"}))
        .expect("revoked");
    // An audit finds the token that returns. It has another credential, so the grant is not for it.
    let other = world.create_token(&again).expect("a token");
    let refused = world.unchanged(|| propose(&world, &other, &echo()));
    assert_eq!(pointers(&refused.problem("not-granted")), ["/grant"]);
    assert_spent(&world, 1);
}

#[test]
fn a_row_that_names_another_grant_is_not_taken_for_the_grant_of_the_call() {
    let mut world = world();
    let mut grants = [1, 2].map(|uses| {
        let mut terms = to_token("agent");
        terms["max_uses"] = json!(uses);
        granted(&world, &terms)
    });
    grants.sort_by_key(|grant| grant["digest"].to_string());
    let database = Connection::open(world.database()).expect("store");
    database
        .execute_batch(
            "DROP INDEX standing_digest; UPDATE standing SET (digest, envelope) = (SELECT digest, envelope FROM standing \
             ORDER BY digest DESC LIMIT 1)",
        )
        .expect("changed");
    drop(database);
    let echo = wish(&grants[0], "say:echo", json!({"text": "one"}));
    let refused = world.unchanged(|| propose(&world, &world.agent, &echo));
    assert_eq!(pointers(&refused.problem("not-granted")), ["/grant"]);
    assert_spent(&world, 0);
    world.stop();
}

#[test]
fn calls_of_a_token_at_the_same_time_get_each_use_once() {
    let world = world();
    let mut terms = to_token("agent");
    terms["max_uses"] = json!(20);
    let grant = granted(&world, &terms);
    let ended = race(&world, 120, &grant, |wish| {
        propose(&world, &world.agent, wish)
    });
    assert_eq!(ended, (20, 100));
    assert_eq!(world.count("receipt"), 20);
    world.assert_audited();
}
