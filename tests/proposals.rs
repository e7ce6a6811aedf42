//! What a proposal is named by, how often it is made, and how long it is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use support::people::{self, Key, alice, envelope};
use support::{World, bytes_of, id_of};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A command of an approver, with the key and the roster that the approver trusts, in this directory.
fn as_approver(world: &World, key: &Key, directory: &Path, command: &str, arguments: &[&str]) -> Output {
    let file = format!("home/{}.pem", key.name);
    world.write(&file, key.secret.to_pkcs8_v1_pem().as_str());
    let mut program = world.program(&["--url", &world.wire.url, command]);
    program.args(["--roster", world.started["roster"].as_str().unwrap(), "--key"]).arg(world.path(&file));
    program.args(arguments).current_dir(directory).output().expect(command)
}

/// A command of the agent.
fn as_agent(world: &World, arguments: &[&str]) -> Output {
    let mut program = world.program(&["--url", &world.wire.url]);
    program.args(arguments).env("COUNTERSIGN_TOKEN", &world.agent).output().expect("the program")
}

/// A statement of the agent with this id, signed by alice.
fn signed_as(world: &World, step: &str, id: &str) -> Value {
    let mut predicate = world.authorization(step, json!({}));
    predicate["proposal"] = json!(id);
    envelope(&people::authorization(&predicate), &[&alice()])
}

/// An id with this ending that no other test has.
fn id_ending(ending: &str) -> String {
    let id = people::proposal_id();
    format!("{}{ending}", &id[..id.len() - ending.len()])
}

// ---- what a proposal is named by

#[test]
fn a_file_in_the_working_directory_is_never_taken_for_an_id() {
    let world = World::new();
    let (meant, planted) = (world.propose("plain:true", json!({})), world.propose("plain:fail", json!({})));
    let directory = world.path("checkout");
    std::fs::create_dir(&directory).unwrap();
    let ending = &id_of(&meant)[id_of(&meant).len() - 6..];
    for name in [id_of(&meant), ending] {
        std::fs::write(directory.join(name), envelope(&bytes_of(&planted), &[]).to_string()).unwrap();
    }
    for name in [id_of(&meant), ending] {
        let review = as_approver(&world, &alice(), &directory, "review", &["--json", name]);
        let shown: Value = serde_json::from_slice(&review.stdout).unwrap_or_else(|_| panic!("{}", said(&review)));
        assert_eq!(shown["digest"], meant["digest"], "{name}");
    }
    let denied = as_approver(&world, &alice(), &directory, "deny", &["--yes", ending]);
    assert!(denied.status.success(), "{}", said(&denied));
    assert_eq!(world.show(id_of(&meant))["status"], "denied");
    assert_eq!(world.show(id_of(&planted))["status"], "pending");
    // A file is named with its directory.
    let file = format!("./{ending}");
    let review = as_approver(&world, &alice(), &directory, "review", &["--json", &file]);
    let shown: Value = serde_json::from_slice(&review.stdout).unwrap_or_else(|_| panic!("{}", said(&review)));
    assert_eq!(shown["digest"], planted["digest"]);
}

#[test]
fn an_approver_names_an_open_proposal_by_its_ending_whatever_else_ends_so() {
    let world = World::new();
    let open = world.propose("plain:true", json!({}));
    let ending = &id_of(&open)[id_of(&open).len() - 6..];
    // Whoever makes statements by themselves chooses their ids. This one is newer and over.
    world.submit(&signed_as(&world, "plain:true", &id_ending(ending))).ok(200);
    let here = world.path("");
    let review = as_approver(&world, &alice(), &here, "review", &["--json", ending]);
    let shown: Value = serde_json::from_slice(&review.stdout).unwrap_or_else(|_| panic!("{}", said(&review)));
    assert_eq!(shown["digest"], open["digest"]);
    // Who follows runs may mean either: both are listed, none is taken.
    let wait = as_agent(&world, &["wait", ending]);
    assert_eq!(wait.status.code(), Some(2), "{}", said(&wait));
    assert!(
        said(&wait).contains("2 proposals could be meant") && said(&wait).contains(id_of(&open)),
        "{}",
        said(&wait)
    );
    let denied = as_approver(&world, &alice(), &here, "deny", &["--yes", ending]);
    assert!(denied.status.success(), "{}", said(&denied));
    assert_eq!(world.show(id_of(&open))["status"], "denied");
    // Now none of them is open.
    let again = as_approver(&world, &alice(), &here, "deny", &["--yes", ending]);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).contains("no open proposal ends with"), "{}", said(&again));
    for short in [&ending[1..], "4f2a", "xyz123", "plan"] {
        let refused = as_approver(&world, &alice(), &here, "review", &[short]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains("at least 6 of its last digits"), "{}", said(&refused));
    }
}

#[test]
fn two_open_proposals_of_one_ending_are_listed_and_none_is_taken() {
    let world = World::new();
    let ids = [id_ending("00004f2a9c"), id_ending("11114f2a9c")];
    let calls: Vec<_> = (ids.iter())
        .map(|id| {
            let (wire, agent, signed) = (world.wire.clone(), world.agent.clone(), signed_as(&world, "plain:wait", id));
            std::thread::spawn(move || wire.post("/v1/authorizations", &agent, &signed).ok(200))
        })
        .collect();
    ids.iter().for_each(|id| {
        support::wait_for("it runs", || world.wire.get(&format!("/v1/proposals/{id}"), &world.reader).status == 200);
    });
    let here = world.path("");
    for command in ["review", "approve", "deny"] {
        let refused = as_approver(&world, &alice(), &here, command, &["4F2A9C"]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(ids.iter().all(|id| said(&refused).contains(id)), "{}", said(&refused));
    }
    for id in &ids {
        assert_eq!(world.show(id)["status"], "running");
        let denied = as_approver(&world, &alice(), &here, "deny", &["--yes", &id[id.len() - 10..]]);
        assert!(denied.status.success(), "{}", said(&denied));
    }
    for call in calls {
        call.join().unwrap();
    }
}

#[test]
fn a_boundary_looks_endings_up_among_what_is_open_and_what_the_caller_may_see() {
    let world = World::new();
    let mine = world.propose("plain:true", json!({}));
    let over = world.propose("plain:fail", json!({}));
    world.deny(&over, &alice()).ok(200);
    let other = world.wire.post("/v1/proposals", &world.courier, &World::wish("plain:true", json!({}))).ok(201);
    let found = |query: &str, token: &str| -> Vec<String> {
        let page = world.wire.get(&format!("/v1/proposals?{query}"), token).ok(200);
        page["proposals"].as_array().unwrap().iter().map(|one| id_of(one).to_owned()).collect()
    };
    let end = |proposal: &Value| id_of(proposal)[id_of(proposal).len() - 12..].to_owned();
    assert_eq!(found("status=open", &world.reader), [id_of(&other), id_of(&mine)]);
    assert_eq!(found(&format!("id_ends={}", end(&over)), &world.reader), [id_of(&over)]);
    assert!(found(&format!("id_ends={}&status=open", end(&over)), &world.reader).is_empty());
    assert_eq!(found(&format!("id_ends={}&status=open", end(&mine)), &world.agent), [id_of(&mine)]);
    assert!(found(&format!("id_ends={}", end(&other)), &world.agent).is_empty(), "another proposer's");
    for bad in ["4f2a9", "4F2A9C", "prp_4f2a9c", "4f2a9c%25", ""] {
        world.wire.get(&format!("/v1/proposals?id_ends={bad}"), &world.reader).problem("malformed");
    }
}
