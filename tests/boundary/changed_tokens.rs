//! Rows of tokens that somebody changed by hand. Only the sealed entry of a token says what opens the token, and what
//! the token permits.

use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::certified::able;
use crate::issuer::{Issuer, SigningKey};
use crate::oidc::{self, COMMIT, OTHER, admit};
use crate::support::grants::{POLICY, granted, wish};
use crate::support::nodes::{node, start};
use crate::support::people::{alice, carol, nonce, now, stamp};
use crate::support::postgres::cluster::Cluster;
use crate::support::tokens::{credential, entry_of_jobs, secret};
use crate::support::wire::Reply;
use crate::support::{World, assert_says, id_of, merge, said, wait_for};
use crate::token_grant_attacks::assert_spent;
use crate::token_grants::{to_jobs, to_token};

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

/// The rows of tokens, as an administrator of the database changes them.
enum Rows<'s> {
    Sqlite(PathBuf),
    Postgres(&'s Cluster),
}

/// The columns of a row that say what opens a token.
#[derive(Clone)]
struct Row {
    entry: Value,
    jwks: Option<String>,
    ca: Option<String>,
}

impl Row {
    /// Returns the row of a token that ID tokens open as in [`entry_of_jobs`].
    fn of_jobs(token: &Value, oidc: &Value) -> Self {
        let file = |name: &str| oidc.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            entry: entry_of_jobs(token, oidc),
            jwks: file("jwks"),
            ca: file("ca"),
        }
    }
}

impl Rows<'_> {
    /// Returns the row of a token that a secret opens.
    fn of_secret(&self, name: &str) -> Row {
        let text = match self {
            Self::Sqlite(path) => {
                let query = "SELECT entry FROM token WHERE name = ?1";
                let database = Connection::open(path).expect("store");
                let found = database.query_row(query, [name], |row| row.get(0));
                found.expect("a row")
            }
            Self::Postgres(server) => server.psql(&format!(
                "SELECT entry FROM countersign.token WHERE name = '{name}'"
            )),
        };
        Row {
            entry: serde_json::from_str(&text).expect("JSON"),
            jwks: None,
            ca: None,
        }
    }

    fn replace(&self, name: &str, row: &Row) {
        let entry = row.entry.to_string();
        match self {
            Self::Sqlite(path) => {
                let database = Connection::open(path).expect("store");
                let update = "UPDATE token SET entry = ?2, jwks = ?3, ca = ?4 WHERE name = ?1";
                let changed = database.execute(update, (name, &entry, &row.jwks, &row.ca));
                assert_eq!(changed.expect("changed"), 1, "{name}");
            }
            Self::Postgres(server) => {
                let quoted = |text: &str| format!("$row${text}$row$");
                let [jwks, ca] = [&row.jwks, &row.ca]
                    .map(|file| file.as_deref().map_or_else(|| "NULL".to_owned(), quoted));
                let update = format!(
                    "UPDATE countersign.token SET entry = {}, jwks = {jwks}, ca = {ca} WHERE name = '{name}' RETURNING name",
                    quoted(&entry)
                );
                assert_eq!(server.psql(&update), name);
            }
        }
    }
}

/// A token with its grant.
struct Granted {
    name: &'static str,
    grant: Value,
    /// The row that fits the seal.
    row: Row,
}

/// A changed row of a token, and a run that only this row permits.
struct Attack<'t> {
    what: &'static str,
    on: &'t Granted,
    row: Row,
    call: Box<dyn Fn(&World) -> Reply + 't>,
    /// Problem code and words of the refusal, or `None` if the boundary finds that files of the issuer are missing.
    refusal: Option<(&'static str, &'static str)>,
}

/// Asks for a deployment of the commit under the grant, with an ID token of the issuer that has these changed claims.
fn deploy(
    world: &World,
    grant: &Value,
    (issuer, key): (&Issuer, &SigningKey),
    change: &Value,
    commit: &str,
) -> Reply {
    let id = world.boundary()["id"].as_str().expect("an id").to_owned();
    let claims = issuer.claims(&format!("countersign:{id}"), change);
    let admitted = admit(world, &key.sign("rsa", &claims));
    if admitted.status != 200 {
        return admitted;
    }
    let bearer = admitted.json()["bearer"].clone();
    let wish = wish(grant, "deploy:web", json!({"commit": commit}));
    let bearer = bearer.as_str().expect("a bearer");
    world.wire.post("/v1/proposals", bearer, &wish)
}

fn echo(world: &World, bearer: &str, grant: &Value) -> Reply {
    let wish = wish(grant, "say:echo", json!({"text": "one"}));
    world.wire.post("/v1/proposals", bearer, &wish)
}

/// Changes the secret, and each part of the binding, in the rows of two tokens that have grants. Asserts before and
/// after a restart that a changed row starts nothing, and that the secret and the jobs of the seal still use their
/// grants.
fn try_changed_rows(world: &mut World, rows: &Rows, issuer: &Issuer) {
    let jobs =
        json!({"name": "ci", "owners": ["carol"], "scopes": ["propose"], "patterns": ["deploy:*"]});
    let binding = json!({
        "issuer": issuer.url, "claims": {"sub": "a"}, "bind": {"commit": "sha"}, "ca": issuer.authority(),
    });
    world
        .create_token_of_jobs(&jobs, &binding)
        .expect("a token");
    let to = |mut terms: Value| {
        terms["max_uses"] = json!(20);
        granted(world, &terms)
    };
    let agent = Granted {
        name: "agent",
        grant: to(to_token("agent")),
        row: rows.of_secret("agent"),
    };
    let ci = Granted {
        name: "ci",
        grant: to(to_jobs()),
        row: Row::of_jobs(&jobs, &binding),
    };
    let (other, new) = (Issuer::new(), secret());
    let attacks = attacks(&agent, &ci, (&jobs, &binding), (issuer, &other), &new);
    let mut spent = 0;
    for attack in &attacks {
        rows.replace(attack.on.name, &attack.row);
        for _ in 0..2 {
            assert_starts_nothing(world, attack);
            assert_spent(world, spent);
            // The boundary refuses each job if the store lacks the files of the issuer.
            if attack.refusal.is_some() {
                spent += assert_usable(world, &agent, &ci, issuer);
            } else {
                let job = deploy(
                    world,
                    &ci.grant,
                    (issuer, issuer.key()),
                    &json!({"sub": "a"}),
                    COMMIT,
                );
                assert_eq!(job.status, 500, "{}: {}", attack.what, job.text());
            }
            assert_spent(world, spent);
            world.restart();
        }
        rows.replace(attack.on.name, &attack.on.row);
    }
    spent += assert_usable(world, &agent, &ci, issuer);
    assert_spent(world, spent);
    assert_eq!(other.asked(), 0, "nobody asked the other issuer for keys");
    world.assert_audited();
}

/// Uses both grants, and returns the number of uses.
fn assert_usable(world: &World, agent: &Granted, ci: &Granted, issuer: &Issuer) -> usize {
    let uses = [
        echo(world, &world.agent, &agent.grant),
        deploy(
            world,
            &ci.grant,
            (issuer, issuer.key()),
            &json!({"sub": "a"}),
            COMMIT,
        ),
    ];
    for used in &uses {
        world.until(id_of(&used.ok(201)), "finished");
    }
    uses.len()
}

fn assert_starts_nothing(world: &World, attack: &Attack) {
    let refused = world.unchanged(|| (attack.call)(world));
    match attack.refusal {
        Some((code, words)) => refused.refuses(code, words),
        None => assert_eq!(refused.status, 500, "{}: {}", attack.what, refused.text()),
    }
}

/// Returns a change of each part of the rows. Each new entry names the credential that fits its new part.
fn attacks<'t>(
    agent: &'t Granted,
    ci: &'t Granted,
    (jobs, binding): (&Value, &Value),
    (issuer, other): (&'t Issuer, &'t Issuer),
    new: &'t str,
) -> Vec<Attack<'t>> {
    let mut with_secret = agent.row.clone();
    with_secret.entry["credential"] = json!(credential(new));
    let with = |part: &str, value: Value| {
        let mut binding = binding.clone();
        merge(&mut binding, &json!({ part: value }));
        Row::of_jobs(jobs, &binding)
    };
    let job =
        |what, row, by: (&'t Issuer, &'t SigningKey), claims: Value, commit, refusal| Attack {
            what,
            on: ci,
            row,
            call: Box::new(move |world: &World| deploy(world, &ci.grant, by, &claims, commit)),
            refusal,
        };
    let (own, stolen) = ((issuer, issuer.key()), (issuer, other.key()));
    let (good, evil) = (json!({"sub": "a"}), json!({"sub": "a", "evil": OTHER}));
    let keys = json!({"keys": [other.key().jwk("rsa")]}).to_string();
    vec![
        Attack {
            what: "secret",
            on: agent,
            row: with_secret,
            call: Box::new(|world| echo(world, new, &agent.grant)),
            refusal: Some(("unauthenticated", "this token does not exist")),
        },
        job(
            "issuer",
            with("issuer", json!(other.url)),
            (other, other.key()),
            good.clone(),
            COMMIT,
            Some(("unauthenticated", "`iss`")),
        ),
        job(
            "claim",
            with("claims", json!({"sub": "b"})),
            own,
            json!({"sub": "b"}),
            COMMIT,
            Some(("unauthenticated", "`sub`")),
        ),
        job(
            "another parameter in bind",
            with("bind", json!({"commit": "evil"})),
            own,
            evil,
            OTHER,
            Some(("invalid-params", "`sha`")),
        ),
        job(
            "no bind",
            with("bind", Value::Null),
            own,
            good.clone(),
            OTHER,
            Some(("invalid-params", "`sha`")),
        ),
        job(
            "jwks",
            with("jwks", json!(keys)),
            stolen,
            good.clone(),
            COMMIT,
            None,
        ),
        job(
            "ca",
            with("ca", json!(other.authority())),
            stolen,
            good,
            COMMIT,
            None,
        ),
    ]
}

#[test]
fn a_changed_row_of_a_token_starts_nothing_under_its_grant() {
    let Some((mut world, issuer)) = oidc::world_with(|setup| setup.policy = POLICY.to_owned())
    else {
        return;
    };
    let rows = Rows::Sqlite(world.database());
    try_changed_rows(&mut world, &rows, &issuer);
}

#[test]
fn a_changed_row_of_a_token_starts_nothing_under_its_grant_with_postgresql() {
    let test = "changed rows of tokens with grants";
    let (Some(()), Some(server)) = (able(test), Cluster::start(test, "")) else {
        return;
    };
    let issuer = Issuer::new();
    let mut one = node(&server, "one", |setup| {
        oidc::deploys(setup);
        setup.policy = POLICY.to_owned();
    });
    server.migrate(&one);
    start(&mut one);
    try_changed_rows(&mut one, &Rows::Postgres(&server), &issuer);
}
