//! Approved runs that cannot start: each client gets the reason.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::support::people::{self, alice};
use crate::support::{POLICY, SMALL, World, id_of, runbook, said, wait_for};
use serde_json::{Value, json};

/// Runs a command as alice, with the roster of this world, and returns the output.
fn as_alice(world: &World, words: &[&str]) -> String {
    said(&world.as_alice(words).output().expect("it starts"))
}

#[test]
fn the_reason_why_an_approved_run_waits_is_shown_until_it_runs() {
    let dir = tempfile::Builder::new()
        .prefix("countersign-tree-")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("mode");
    let tree = dir.path().canonicalize().expect("real").join("in");
    fs::create_dir(&tree).expect("a directory");
    let path = tree.display().to_string();
    let world = World::with(|setup| {
        setup.runbook(
            "host.md",
            runbook(SMALL, &[(&format!("go read={path}"), "echo ran")]),
        );
        setup.policy =
            format!("{POLICY}overrides:\n  - {{runbook: host, sandbox: {{read: [\"{path}\"]}}}}\n");
    });
    let proposal = world.propose("host:go", json!({}));
    let id = id_of(&proposal);
    assert!(proposal.get("held_up").is_none(), "{proposal:#}");
    // The directory that the step needs is removed after the seal.
    fs::remove_dir(&tree).expect("removed");
    let digest = proposal["digest"].as_str().expect("a digest");
    let approved = as_alice(&world, &["approve", id, "--yes", "--expect", digest]);
    let told =
        |text: &str| text.contains("can't start yet (sandbox-unavailable)") && text.contains(&path);
    assert!(
        approved.contains("is approved") && told(&approved),
        "{approved}"
    );
    let view = world.show(id);
    assert_eq!(
        (&view["status"], &view["held_up"]["code"]),
        (&json!("approved"), &json!("sandbox-unavailable"))
    );
    assert!(
        view["held_up"]["detail"]
            .as_str()
            .expect("words")
            .contains(&path),
        "{view:#}"
    );
    assert!(
        view.get("refusal").is_none(),
        "nothing is refused for good: {view:#}"
    );
    // The list, the event stream, the review and the inbox also show the reason.
    let list = world
        .wire
        .get("/v1/proposals?status=approved", &world.reader)
        .ok(200);
    assert_eq!(list["proposals"][0]["held_up"], view["held_up"]);
    let events: Vec<Value> = world.wire.lines(id, &world.reader, 0).take(4).collect();
    assert_eq!(
        (&events[3]["type"], &events[3]["code"]),
        (&json!("held-up"), &view["held_up"]["code"]),
        "{events:?}"
    );
    assert_eq!(
        events[3]["id"], events[2]["id"],
        "it moves no number of what is durable"
    );
    let review = as_alice(&world, &["review", id]);
    assert!(
        review.contains("held up") && review.contains("sandbox-unavailable"),
        "{review}"
    );
    let inbox = as_alice(&world, &["inbox"]);
    assert!(
        told(&inbox) && inbox.contains("nothing waits for your signature"),
        "{inbox}"
    );
    // The service log contains exactly one warning.
    let warned = |log: &str| {
        log.lines()
            .filter(|line| line.contains("WARN") && line.contains(id))
            .count()
    };
    assert_eq!(warned(&world.service_log()), 1, "{}", world.service_log());
    // The command `wait` prints each reason once and then the output of the run.
    let mut waiting = world.program(&["--url", &world.wire.url, "wait", id]);
    waiting
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut waiting = waiting.spawn().expect("it starts");
    let mut lines = BufReader::new(waiting.stderr.take().expect("a pipe"))
        .lines()
        .map(|line| line.expect("UTF-8"));
    let first = lines.next().expect("a line");
    std::os::unix::fs::symlink("/etc", &tree).expect("a link");
    let second = lines.next().expect("a line");
    assert!(
        told(&first) && told(&second) && first != second,
        "{first}\n{second}"
    );
    assert_eq!(warned(&world.service_log()), 1, "{}", world.service_log());
    fs::remove_file(&tree).expect("removed");
    fs::create_dir(&tree).expect("a directory");
    let rest: Vec<String> = lines.collect();
    let ended = waiting.wait_with_output().expect("it ends");
    assert_eq!(
        (ended.status.code(), said(&ended).as_str()),
        (Some(0), "ran\n"),
        "{rest:?}"
    );
    assert!(!rest.concat().contains("start yet"), "{rest:?}");
    assert!(world.show(id).get("held_up").is_none());
    // A later event stream contains only the stored events.
    assert!(
        world
            .wire
            .lines(id, &world.reader, 0)
            .all(|event| event["type"] != "held-up")
    );
    world.assert_verified(&world.until(id, "finished"));
}

/// A world with a limit of one run. Returns the running proposal, and an approved proposal that waits for the first
/// run.
fn one_waits_for_another() -> (World, Value, Value) {
    let world = World::with(|setup| setup.limits = "runs = 1".to_owned());
    let [running, waiting] =
        ["plain:wait", "plain:true"].map(|step| world.propose(step, json!({})));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    world.sign(&waiting, &[&alice()]).ok(200);
    wait_for("it is held up", || {
        world.show(id_of(&waiting))["held_up"]["code"] == "busy"
    });
    (world, running, waiting)
}

fn cancel(world: &World, running: &Value) {
    let path = format!("/v1/proposals/{}/cancellation", id_of(running));
    world.wire.post(&path, &world.agent, &json!({})).ok(200);
}

#[test]
fn an_approved_run_that_waits_for_free_capacity_shows_this_reason() {
    let (world, running, waiting) = one_waits_for_another();
    cancel(&world, &running);
    assert!(
        world
            .until(id_of(&waiting), "finished")
            .get("held_up")
            .is_none()
    );
}

#[test]
fn an_approved_run_that_could_not_start_shows_no_outdated_reason_and_runs_later() {
    let (world, running, waiting) = one_waits_for_another();
    let id = id_of(&waiting);
    // The limit now permits the run, but the boundary cannot determine the free space of the disk.
    let (outputs, gone) = (
        world.path("b/boundary/outputs"),
        world.path("b/boundary/gone"),
    );
    fs::rename(&outputs, &gone).expect("moved");
    cancel(&world, &running);
    world.until(id_of(&running), "finished");
    wait_for("the crossing breaks", || {
        world
            .service_log()
            .lines()
            .any(|line| line.contains(id) && line.contains("the crossing broke"))
    });
    let view = world.show(id);
    assert_eq!(
        (&view["status"], view.get("held_up")),
        (&json!("approved"), None),
        "{view:#}"
    );
    fs::rename(&gone, &outputs).expect("moved back");
    assert_eq!(
        world.until(id, "finished")["outcome"]["status"],
        "succeeded"
    );
}

/// A world whose service starts under this `ulimit`.
fn limited(limit: &str) -> World {
    World::prepared(|setup| {
        setup.runbook("slow.md", runbook(SMALL, &[("go", "sleep 1; seq 100")]));
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        setup.before = ["sh", "-c", &script].map(str::to_owned).to_vec();
    })
}

#[test]
fn a_run_over_the_limit_of_open_files_waits_and_its_nonce_is_not_spent() {
    let mut world = limited("-n 64");
    world.start();
    world.make_tokens();
    let another = |_| {
        let mut wish = World::wish("slow:go", json!({}));
        wish["nonce"] = json!(people::nonce());
        world
            .wire
            .post("/v1/proposals", &world.agent, &wish)
            .ok(201)
    };
    let proposals: Vec<Value> = (0..8).map(another).collect();
    for proposal in &proposals {
        world.sign(proposal, &[&alice()]).ok(200);
    }
    for proposal in &proposals {
        assert_eq!(
            world.until(id_of(proposal), "finished")["outcome"]["status"],
            "succeeded"
        );
    }
    // If the limit of open files is too low for one run, the service does not start.
    let said = limited("-n 32").try_start().expect_err("too few");
    assert!(
        said.contains("at most 32 files") && said.contains("LimitNOFILE"),
        "{said}"
    );
}

#[test]
fn output_that_cannot_be_stored_is_truncated_and_the_service_log_states_the_reason() {
    let world = World::with(|setup| {
        setup.runbook(
            "much.md",
            runbook(
                SMALL,
                &[("go", "sleep 1; head -c 4000000 /dev/zero | tr '\\0' x")],
            ),
        );
    });
    let proposal = world.propose("much:go", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "running");
    fs::rename(
        world.path("b/boundary/outputs"),
        world.path("b/boundary/gone"),
    )
    .expect("moved");
    let finished = world.until(id_of(&proposal), "finished");
    let stdout = &world.receipt(&finished)["output"]["stdout"];
    assert_eq!(
        (&stdout["truncated"], &stdout["bytes"]),
        (&json!(true), &json!(4_000_000)),
        "{stdout}"
    );
    let log = world.service_log();
    assert!(
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("could not be recorded")),
        "{log}"
    );
}
