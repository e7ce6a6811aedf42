//! Authorizations at each maximum of the format, and beyond each of them, over HTTP.

use serde_json::{Value, json};

use crate::second::{Case, ours, python, theirs};
use crate::support::people::{self, Key, canonical, envelope, wrap};
use crate::support::wire::pointers;
use crate::support::{SMALL, World, exited, id_of, runbook};

const MAX_PAYLOAD: usize = 25_600;
const MAX_PARAMS: usize = 16_384;
const MAX_PERMISSIONS: usize = 64;
const MAX_PERMISSION: usize = 128;

/// Asserts that both verifiers establish the bundle of this run, and that both auditors find nothing in the whole log.
#[track_caller]
pub(crate) fn assert_established(world: &World, finished: &[Value]) {
    let pinned = world.started["roster"].as_str().expect("a digest");
    let case = |run: &Value| Case {
        id: id_of(run).to_owned(),
        bundle: world.bundle(run),
        roster: pinned.as_bytes().to_vec(),
    };
    let cases: Vec<Case> = finished.iter().map(case).collect();
    for (case, second) in cases.iter().zip(theirs(&cases)) {
        let (first, second) = (ours(case).expect("a roster"), second.expect("a roster"));
        assert!(first.verified && second.verified, "{first:?} {second:?}");
        let differences = first.differences(&second);
        assert!(differences.is_empty(), "{}: {differences:?}", case.id);
    }
    world.assert_audited();
    let audited = python()
        .arg("audit")
        .arg(world.export("exported"))
        .args(["--roster", pinned])
        .output();
    exited(audited.expect("python3, or COUNTERSIGN_PYTHON, runs"), 0);
}

fn people() -> Vec<Key> {
    let key = |seed: u8| Key::of(format!("p{seed}").leak(), seed);
    (100..117).map(key).collect()
}

/// A boundary with 17 more approvers, and with a step whose parameters can be as large as an authorization permits.
fn world() -> World {
    World::with(|setup| {
        for key in &people() {
            setup.roster["approvers"][key.name] =
                json!({"groups": ["ops"], "keys": [key.ssh.line()]});
        }
        let params: String = ["a", "b", "c", "d", "e"]
            .map(|name| format!("  {name}: {{type: string, maxLength: 4000}}\n"))
            .concat();
        let front = format!("params:\n{params}{SMALL}");
        setup.runbook(
            "wide.md",
            runbook(&front, &[("go", "printf '%s' \"$PARAM_E\"")]),
        );
    })
}

/// Returns parameters of this number of bytes.
fn params(bytes: usize) -> Value {
    let mut params = json!({"a": "", "b": "", "c": "", "d": "", "e": ""});
    let mut room = bytes - canonical(&params).len();
    for (_, text) in params.as_object_mut().expect("an object") {
        let length = room.min(4000);
        *text = json!("x".repeat(length));
        room -= length;
    }
    assert_eq!(room, 0);
    params
}

fn permission(at: usize, length: usize) -> Value {
    json!({"type": "run", "what": format!("{at:02}{}", "p".repeat(length - 2)), "why": "unlisted"})
}

/// Fills an authorization with permissions up to the maximum of the payload. Returns the number of permissions.
fn fill(predicate: &mut Value) -> usize {
    let room = |predicate: &Value| MAX_PAYLOAD.checked_sub(people::authorization(predicate).len());
    let mut permissions = Vec::new();
    while permissions.len() < MAX_PERMISSIONS {
        permissions.push(permission(permissions.len(), 2));
        predicate["permissions"] = json!(permissions);
        if room(predicate).is_none() {
            permissions.pop();
            break;
        }
    }
    predicate["permissions"] = json!(permissions);
    let mut left = room(predicate).expect("it fits");
    for (at, one) in permissions.iter_mut().enumerate() {
        let length = (2 + left).min(MAX_PERMISSION);
        left -= length - 2;
        *one = permission(at, length);
    }
    predicate["permissions"] = json!(permissions);
    assert_eq!(room(predicate), Some(0));
    permissions.len()
}

/// Returns authorizations of 25,600 bytes with parameters of 16,384 bytes: one with 64 permissions, and one with a
/// reason of 6,144 bytes. The reasons of both have 1,024 characters.
fn largest(world: &World) -> [Value; 2] {
    ["r", "\u{e9}"].map(|letter| {
        let mut predicate = world.authorization("wide:go", params(MAX_PARAMS));
        predicate["reason"] = json!(letter.repeat(1024));
        let permissions = fill(&mut predicate);
        assert_eq!(
            permissions == MAX_PERMISSIONS,
            letter == "r",
            "{permissions}"
        );
        predicate
    })
}

/// Returns an envelope with a signature of each of these people.
fn signed(predicate: &Value, people: &[Key]) -> Value {
    let signers: Vec<&Key> = people.iter().collect();
    envelope(&people::authorization(predicate), &signers)
}

#[test]
fn an_authorization_at_each_maximum_runs_and_both_verifiers_and_auditors_accept_it() {
    let world = world();
    let people = people();
    let finished = largest(&world).map(|predicate| {
        let envelope = signed(&predicate, &people[..16]);
        assert_eq!(people::payload_of(&envelope).len(), MAX_PAYLOAD);
        let bundle = world.submit(&envelope).ok(200);
        let kept = bundle["authorization"]["signatures"].as_array();
        assert_eq!(kept.map(Vec::len), Some(16));
        let id = predicate["proposal"].as_str().expect("an id");
        world.until(id, "finished")
    });
    assert_established(&world, &finished);
}

#[test]
fn an_authorization_beyond_any_maximum_is_refused_at_its_place_and_spends_nothing() {
    let world = world();
    let people = people();
    let [many, wordy] = largest(&world);
    let mut few = wordy.clone();
    few["permissions"] = json!([]);
    few["reason"] = json!("because");
    let change = |field: &str, value: Value| {
        let mut predicate = few.clone();
        predicate[field] = value;
        predicate
    };
    let wide = |at: usize| permission(at, 2);
    let artifact = |at: usize, bytes: u64| json!({"name": format!("f{at:02}"), "digest": format!("sha256:{}", "0".repeat(64)), "bytes": bytes});
    let files = |number| (0..number).map(|at| artifact(at, 1)).collect::<Vec<_>>();
    let mut whole = many.clone();
    let last = whole["permissions"][63]["what"].as_str().expect("a text");
    whole["permissions"][63]["what"] = json!(format!("{last}x"));
    let mut longer_params = few.clone();
    longer_params["params"] = params(MAX_PARAMS + 1);
    let sixty_five: Vec<Value> = (0..65).map(wide).collect();
    let mut sixty_five = change("permissions", json!(sixty_five));
    sixty_five["params"] = params(100);
    let large = "too-large";
    let refused = [
        (whole, large, ""),
        (longer_params, large, "/predicate/params"),
        (
            change("reason", json!("r".repeat(1025))),
            large,
            "/predicate/reason",
        ),
        // Each of these characters has 12 bytes in canonical JSON.
        (
            change("reason", json!("\u{1f600}".repeat(513))),
            large,
            "/predicate/reason",
        ),
        (sixty_five, large, "/predicate/permissions"),
        (
            change(
                "permissions",
                json!([permission(0, 128), permission(1, 129)]),
            ),
            large,
            "/predicate/permissions/1/what",
        ),
        (
            change("artifacts", json!(files(17))),
            "malformed",
            "/predicate/artifacts",
        ),
        (
            change(
                "artifacts",
                json!([artifact(0, (64 << 20) - 1), artifact(1, 2)]),
            ),
            "malformed",
            "/predicate/artifacts",
        ),
        (
            change("artifacts", json!([artifact(0, (64 << 20) + 1)])),
            "malformed",
            "/predicate/artifacts/0/bytes",
        ),
    ];
    for (predicate, code, place) in refused {
        let reply = world.unchanged(|| world.submit(&signed(&predicate, &people[..1])));
        let problem = reply.problem(code);
        assert_eq!(pointers(&problem), [place], "{problem:#}");
    }
    let payload = people::authorization(&few);
    let mut padded: Vec<Value> = people[..16].iter().map(|key| key.sign(&payload)).collect();
    let sizes = [vec![511; 15], vec![8192 - 15 * 511 + 1]].concat();
    for (signature, size) in padded.iter_mut().zip(sizes) {
        signature["sig"] = json!(base64_of(size));
    }
    for too_many in [signed(&few, &people), wrap(&payload, padded)] {
        let problem = world.unchanged(|| world.submit(&too_many)).problem(large);
        assert_eq!(pointers(&problem), ["/signatures"], "{problem:#}");
    }
    assert_eq!(world.count("consumption"), 0);
    // None of the refusals spent the nonce.
    let _ = world.submit(&signed(&few, &people[..1])).ok(200);
}

fn base64_of(bytes: usize) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(vec![0; bytes])
}
