//! What can never run is told when it is sealed, and refused before anybody signs.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::poor::poor_host;
use support::{SMALL, World, runbook};

fn notes(world: &World) -> String {
    world.wire.peek("/ready").ok(200)["notes"].to_string()
}

#[test]
fn a_quorum_that_nobody_can_meet_is_told_at_the_seal_and_refused_at_the_proposal() {
    let world = World::with(|setup| {
        let front = format!("approvals: {{required: 2, from: [finance]}}\n{SMALL}");
        setup.runbook("pay.md", runbook(&front, &[("go", ":")]));
    });
    let why = "2 approvals of finance are needed, and at most 1 can come (frank)";
    let told = format!("proposals of pay:go are refused, because nobody can get them approved: {why}");
    assert!(notes(&world).contains(&told), "{}", notes(&world));
    assert!(world.started["notes"].to_string().contains(&told), "serve says it");
    let refused = world.wire.post("/v1/proposals", &world.agent, &World::wish("pay:go", json!({})));
    let problem = refused.problem("quorum-missing");
    assert!(problem["detail"].as_str().unwrap().contains(why), "{problem:#}");
    world.propose("plain:true", json!({}));
}

#[test]
fn a_token_whose_owners_are_missing_for_a_quorum_is_told_when_it_is_made() {
    let mut world = World::new();
    assert!(!notes(&world).contains("refused"), "{}", notes(&world));
    let home = world.path("b");
    let mut make = world.program(&["token", "create", "crowd", "--scope", "propose", "--config"]);
    make.arg(&home).args(["--owner", "alice", "--owner", "bob", "--owner", "dora"]);
    let made = make.output().unwrap();
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let why = "2 approvals of ops, security are needed, and at most 1 can come (carol); alice, bob, dora can't approve";
    assert!(made.status.success() && said.contains("proposals of each:go, two:go by crowd are refused"), "{said}");
    assert!(said.contains(why), "{said}");
    assert!(notes(&world).contains(why) && world.service_log().contains(why), "{}", world.service_log());
    let doctor = world.program(&["doctor"]).arg(&home).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(why));
    let problem = world.wire.post("/v1/proposals", &token, &World::wish("two:go", json!({}))).problem("quorum-missing");
    assert!(problem["detail"].as_str().unwrap().contains(why), "{problem:#}");
    // One approval is enough there, and carol is left.
    world.wire.post("/v1/proposals", &token, &World::wish("plain:true", json!({}))).ok(201);
    // The same where no service runs.
    world.stop();
    let mut make = world.program(&["token", "create", "crowd-2", "--scope", "propose", "--config"]);
    let made = make.arg(&home).args(["--owner", "alice", "--owner", "bob", "--owner", "dora"]).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    // The reason that both tokens have is said once.
    assert!(
        said.contains("proposals of each:go, two:go by crowd and of each:go, two:go by crowd-2 are refused"),
        "{said}"
    );
    assert_eq!(said.matches("can't come together").count(), 1, "{said}");
}

#[test]
fn a_step_that_this_host_can_never_run_is_told_at_the_seal_and_refused_at_the_proposal() {
    let mut world = World::prepared(|setup| {
        setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned();
        setup.runbook("full.md", runbook(SMALL, &[("go proc=full", ":")]));
    });
    if !poor_host(&mut world, "a_step_that_this_host_can_never_run_is_told_at_the_seal_and_refused_at_the_proposal") {
        return;
    }
    world.start();
    world.make_tokens();
    let told = "proposals of full:go are refused, because this host can't run them";
    assert!(notes(&world).contains(told) && notes(&world).contains("namespaces"), "{}", notes(&world));
    let refused = world.wire.post("/v1/proposals", &world.agent, &World::wish("full:go", json!({})));
    let problem = refused.problem("sandbox-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("namespaces"), "{problem:#}");
    world.propose("plain:true", json!({}));
}
