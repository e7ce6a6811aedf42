//! Clients wait while the service stops or restarts.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use crate::support::people::alice;
use crate::support::{SMALL, World, id_of, runbook, wait_for};
use rustix::process::Signal;
use serde_json::json;

fn slow() -> World {
    World::with(|setup| {
        setup.runbook(
            "slow.md",
            runbook(SMALL, &[("go", "echo begun\nsleep 3\necho done")]),
        )
    })
}

/// Starts `countersign wait ID` with the agent's token.
fn waiter(world: &World, id: &str) -> Child {
    let mut command = world.program(&["--url", &world.wire.url, "wait", id]);
    command
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

#[test]
fn after_sigterm_waiting_callers_get_their_receipts_and_new_changes_are_refused() {
    let mut world = slow();
    let proposal = world.propose("slow:go", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    let id = id_of(&proposal).to_owned();
    world.until(&id, "running");
    let waiting = waiter(&world, &id);
    let mut events = world.wire.lines(&id, &world.reader, 0);
    let mut seen = 0;
    wait_for("its output is on its way", || {
        seen += 1;
        events.next().is_some_and(|event| event["type"] == "output")
    });
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            world
                .wire
                .get(&format!("/v1/proposals/{id}?wait=30s"), &world.agent)
                .ok(200)
        });
        world.signal(Signal::TERM);
        wait_for("it drains", || world.wire.peek("/ready").status == 503);
        let refused = world.wire.post(
            "/v1/proposals",
            &world.agent,
            &World::wish("plain:true", json!({})),
        );
        assert_eq!(
            refused.header("retry-after"),
            Some("5"),
            "{}",
            refused.text()
        );
        refused.problem("busy");
        assert_eq!(world.show(&id)["status"], "running", "reading goes on");
        asked.join().expect("no panic")
    });
    assert_eq!(
        (&asked["status"], &asked["outcome"]["status"]),
        (&json!("finished"), &json!("succeeded"))
    );
    let rest: Vec<_> = events.map(|event| event["type"].clone()).collect();
    assert_eq!(rest.last(), Some(&json!("receipt")), "{rest:?}");
    let output = waiting.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "begun\ndone\n");
    assert_eq!(world.ended(), Some(0), "{}", world.service_log());
}

#[test]
fn the_wait_command_continues_after_a_restart_of_the_boundary() {
    let mut world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let id = id_of(&proposal).to_owned();
    let mut command = world.program(&["--url", &world.wire.url, "wait", &id, "--json"]);
    command
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut waiting = command.spawn().expect("it starts");
    // The first event shows that the command has reached the boundary.
    let mut events = BufReader::new(waiting.stdout.take().expect("a pipe"));
    let mut first = String::new();
    events.read_line(&mut first).expect("an event");
    assert!(first.contains("pending"), "{first}");
    world.setup.listen = world
        .wire
        .url
        .strip_prefix("http://")
        .expect("a URL")
        .to_owned();
    world.stop();
    // The command retries for 120 s if the boundary has answered before, and for 15 s if the boundary has never
    // answered.
    let mut talk = BufReader::new(waiting.stderr.take().expect("a pipe"));
    let mut said = String::new();
    talk.read_line(&mut said).expect("words");
    assert!(
        said.contains("the command tries again for up to 120 s"),
        "{said}"
    );
    assert!(waiting.try_wait().expect("a status").is_none(), "it waits");
    world.start();
    world.sign(&proposal, &[&alice()]).ok(200);
    let rest: Vec<String> = events.lines().map(|line| line.expect("UTF-8")).collect();
    assert!(
        rest.last()
            .is_some_and(|line| line.contains("\"finished\"")),
        "{rest:?}"
    );
    assert_eq!(waiting.wait().expect("it ends").code(), Some(0));
}
