//! Steps that can never run: the seal reports these steps, and the boundary refuses their proposals before any
//! signature.

use crate::support::poor::poor_host;
use crate::support::{SMALL, World, runbook, wait_for};
use serde_json::{Value, json};

/// Runs `doctor` for this world and returns the lines that report a problem.
fn to_fix(world: &World) -> Vec<String> {
    let doctor = world
        .program(&["doctor"])
        .arg(world.path("b"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let lines: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("FIX "))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        doctor.status.code(),
        Some(i32::from(!lines.is_empty())),
        "{text}"
    );
    lines
}

fn notes(world: &World) -> String {
    world.wire.peek("/ready").ok(200)["notes"].to_string()
}

#[test]
fn an_impossible_quorum_is_reported_at_the_seal_and_refused_at_the_proposal() {
    let world = World::with(|setup| {
        let front = format!("approvals: {{required: 2, from: [finance]}}\n{SMALL}");
        setup.runbook("pay.md", runbook(&front, &[("go", ":")]));
    });
    let why = "2 approvals of finance are needed, but at most 1 can approve (frank)";
    let told =
        format!("proposals of pay:go are refused, because nobody can get them approved: {why}");
    assert!(notes(&world).contains(&told), "{}", notes(&world));
    assert!(
        world.started["notes"].to_string().contains(&told),
        "serve says it"
    );
    assert!(
        to_fix(&world).iter().any(|line| line.contains(&told)),
        "{:?}",
        to_fix(&world)
    );
    let refused = world.wire.post(
        "/v1/proposals",
        &world.agent,
        &World::wish("pay:go", json!({})),
    );
    refused.refuses("quorum-missing", why);
    world.propose("plain:true", json!({}));
}

#[test]
fn a_new_token_whose_owners_are_needed_for_a_quorum_is_reported() {
    let mut world = World::new();
    assert!(!notes(&world).contains("refused"), "{}", notes(&world));
    let home = world.path("b");
    let mut make = world.program(&["token", "create", "crowd", "--scope", "propose", "--config"]);
    make.arg(&home)
        .args(["--owner", "alice", "--owner", "bob", "--owner", "dora"]);
    let made = make.output().unwrap();
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let why = "2 approvals of ops, security are needed, but at most 1 can approve (carol); alice, bob, dora can't approve";
    assert!(
        made.status.success() && said.contains("proposals of each:go, two:go by crowd are refused"),
        "{said}"
    );
    assert!(said.contains(why), "{said}");
    assert!(
        notes(&world).contains(why) && world.service_log().contains(why),
        "{}",
        world.service_log()
    );
    assert!(
        to_fix(&world).iter().any(|line| line.contains(why)),
        "{:?}",
        to_fix(&world)
    );
    world
        .wire
        .post("/v1/proposals", &token, &World::wish("two:go", json!({})))
        .refuses("quorum-missing", why);
    // The step `plain:true` needs one approval, and carol can give the approval.
    world
        .wire
        .post(
            "/v1/proposals",
            &token,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
    // The command reports the same if no service is running.
    world.stop();
    let mut make = world.program(&[
        "token", "create", "crowd-2", "--scope", "propose", "--config",
    ]);
    let made = make
        .arg(&home)
        .args(["--owner", "alice", "--owner", "bob", "--owner", "dora"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    // The command prints the common reason of both tokens once.
    assert!(
        said.contains(
            "proposals of each:go, two:go by crowd and of each:go, two:go by crowd-2 are refused"
        ),
        "{said}"
    );
    assert_eq!(said.matches("no quorum is possible").count(), 1, "{said}");
}

#[test]
fn a_step_that_this_host_can_never_run_is_reported_at_the_seal_and_refused_at_the_proposal() {
    let mut world = World::prepared(|setup| {
        setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned();
        setup.runbook("full.md", runbook(SMALL, &[("go proc=full", ":")]));
    });
    if !poor_host(
        &mut world,
        "a_step_that_this_host_can_never_run_is_reported_at_the_seal_and_refused_at_the_proposal",
    ) {
        return;
    }
    world.start();
    world.make_tokens();
    let told = "proposals of full:go are refused: ";
    assert!(
        notes(&world).contains(told) && notes(&world).contains("namespaces"),
        "{}",
        notes(&world)
    );
    let refused = world.wire.post(
        "/v1/proposals",
        &world.agent,
        &World::wish("full:go", json!({})),
    );
    refused.refuses("sandbox-unavailable", "namespaces");
    world.propose("plain:true", json!({}));
    assert!(
        to_fix(&world).iter().any(|line| line.contains(told)),
        "{:?}",
        to_fix(&world)
    );
    // The list of steps marks only `full:go`.
    let mut list = world.program(&["--url", &world.wire.url, "registry", "list"]);
    let list = list
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let marked: Vec<&str> = list
        .lines()
        .filter(|line| line.ends_with("can't run it"))
        .collect();
    assert!(
        list.lines().next().unwrap().ends_with("THIS HOST"),
        "{list}"
    );
    assert!(
        marked.len() == 1 && marked[0].starts_with("full:go "),
        "{list}"
    );
    let view = world.wire.get("/v1/registry", &world.reader).ok(200);
    let marked = view["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["unavailable"].is_string());
    assert_eq!(
        marked
            .map(|step| step["ref"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["full:go"]
    );
}

#[test]
fn a_failed_reseal_is_reported_until_a_reseal_succeeds() {
    let world = World::new();
    let failed = || {
        to_fix(&world)
            .into_iter()
            .filter(|line| line.contains("the last reseal failed"))
            .count()
    };
    assert_eq!(failed(), 0);
    world.write(
        "b/runbooks/bad.md",
        "---\ncountersign: 1\ntitle: x\n---\n```bash {#a colour=red}\n:\n```\n",
    );
    world.signal(rustix::process::Signal::HUP);
    wait_for("the reseal fails", || {
        notes(&world).contains("the last reseal failed")
    });
    assert_eq!(failed(), 1, "{:?}", to_fix(&world));
    let doctor = world
        .program(&["--json", "doctor"])
        .arg(world.path("b"))
        .output()
        .unwrap();
    let lines: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let holds = |words: &str| {
        let line = lines["lines"]
            .as_array()
            .unwrap()
            .iter()
            .find(|line| line["says"].to_string().contains(words));
        line.unwrap_or_else(|| panic!("{words}: {lines:#}"))["result"].clone()
    };
    assert_eq!(
        (holds("the last reseal failed"), holds("serves seal")),
        (json!("fix"), json!("ok"))
    );
    std::fs::remove_file(world.path("b/runbooks/bad.md")).unwrap();
    world.signal(rustix::process::Signal::HUP);
    wait_for("the next reseal succeeds", || {
        !notes(&world).contains("the last reseal failed")
    });
    assert_eq!(failed(), 0, "{:?}", to_fix(&world));
}
