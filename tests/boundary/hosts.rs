//! Hosts of a list with words about their addresses: from policy to the review, the run, the receipt and the last lines.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::mcp_answers::opened;
use crate::support::people::alice;
use crate::support::{POLICY, SMALL, World, assert_says, bytes_of, exited, id_of, runbook, said};
use serde_json::{Value, json};

/// A server that greets each connection, in a process of its own, because no run reaches a listener of the boundary.
struct Greeter {
    process: Child,
    port: String,
}

impl Greeter {
    fn start() -> Self {
        let script = "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\n\
                      while True:\n    c = s.accept()[0]\n    c.sendall(b'hello\\n')\n    c.close()\n";
        let mut process = Command::new("python3")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("a pipe"))
            .read_line(&mut port)
            .expect("a line");
        Self {
            process,
            port: port.trim().to_owned(),
        }
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn as_agent(world: &World, words: &[&str]) -> Output {
    let mut command = world.program(&["--url", &world.wire.url]);
    command
        .args(words)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("the program")
}

#[test]
fn words_of_policy_about_a_host_are_signed_and_a_refused_host_is_named_to_each_reader() {
    let greeter = Greeter::start();
    let local = format!("localhost:{}", greeter.port);
    let world = World::with(|setup| {
        let script = format!(
            "exec 3<>/dev/tcp/localhost/{0}\ncat <&3\n(exec 3<>/dev/tcp/db.invalid/5432 && cat <&3) 2>/dev/null\n\
             (exec 3<>/dev/tcp/127.0.0.2/{0} && cat <&3) 2>/dev/null\n(exec 3<>/dev/tcp/10.255.255.253/1)\ntrue\n",
            greeter.port
        );
        let declares = format!("go network={local},db.invalid:5432,10.255.255.254:1");
        setup.runbook("host.md", runbook(SMALL, &[(&declares, &script)]));
        setup.policy = format!(
            "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{network: {{allow: [{{host: \"{local}\", localhost: true}}, \
             {{host: \"db.invalid:5432\", private: true}}, {{host: \"10.255.255.254:1\", private: true}}]}}}}}}\n"
        );
    });
    let proposal = world.propose("host:go", json!({}));
    let signed: Value = serde_json::from_slice(&bytes_of(&proposal)).expect("a statement");
    assert_eq!(
        signed["predicate"]["sandbox"]["network"],
        json!({
            "mode": "allow", "hosts": ["10.255.255.254:1", "db.invalid:5432", local],
            "private": ["10.255.255.254:1", "db.invalid:5432"], "localhost": [local],
        })
    );
    let review = said(&exited(
        world
            .as_alice(&["review", id_of(&proposal)])
            .output()
            .expect("it starts"),
        0,
    ));
    // The screen breaks long lines.
    let review = review
        .split_whitespace()
        .filter(|word| *word != "+")
        .collect::<Vec<_>>()
        .join(" ");
    assert_says(&review, "\"db.invalid:5432\" (may be inside your network)");
    assert_says(
        &review,
        &format!("\"{local}\" (may be the host of the boundary itself)"),
    );
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(world.output(&finished, "stdout"), "hello\n");
    let receipt = world.receipt(&finished);
    assert_eq!(receipt["sandbox"]["contacted"], json!([local]));
    assert_eq!(
        receipt["sandbox"]["refused_hosts"],
        json!([{"at": 1, "why": "unresolved"}])
    );
    assert!(receipt["sandbox"].get("turned_away").is_none(), "{receipt}");
    let line = "refused  db.invalid:5432: the host of the boundary finds no address for the name";
    for words in ["wait", "output"] {
        let text = said(&exited(as_agent(&world, &[words, id_of(&proposal)]), 0));
        assert_says(&text, line);
        // The kernel refuses a host that is not in the list, and the receipt does not have it.
        assert_says(&text, "Network is unreachable");
        assert_says(
            &text,
            "the run reaches only the hosts and ports that `network=` or --net names",
        );
    }
    let answer = opened(&world, &world.wire.url, None)
        .call("wait", json!({"id": id_of(&proposal), "wait_s": 0}));
    assert_says(answer["refused_hosts"][0].as_str().expect("a line"), line);
    world.assert_verified(&finished);
    let bundle = world.path("run.bundle.json");
    std::fs::write(&bundle, world.bundle(&finished)).expect("written");
    let gate = |more: &[&str]| {
        let roster = world.started["roster"].as_str().expect("a digest");
        let boundary = world.started["id"].as_str().expect("an id");
        let mut command = world.program(&[
            "gate",
            "--roster",
            roster,
            "--boundary",
            boundary,
            "--step",
            "host:go",
        ]);
        let done = command
            .args(["--any-digest", "--no-params"])
            .args(more)
            .arg(&bundle)
            .output()
            .expect("gate");
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    assert_eq!(gate(&[]).0, Some(0));
    let (code, shown) = gate(&["--no-refused"]);
    assert!(
        code == Some(1) && shown.contains("SHUT, not met: refused"),
        "{shown}"
    );
    world.assert_audited();
    let roster = world.started["roster"].as_str().expect("a digest");
    let mut audit = world.program(&[
        "--json",
        "audit",
        &world.wire.url,
        "--url",
        &world.wire.url,
        "--roster",
        roster,
    ]);
    let audit = exited(
        audit
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("audit"),
        0,
    );
    let lines = String::from_utf8_lossy(&audit.stdout).into_owned();
    let all = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let decision = all
        .into_iter()
        .find(|one| one["type"] == "decision")
        .expect("a decision");
    assert_says(decision["refused_hosts"][0].as_str().expect("a line"), line);
}

#[test]
fn a_number_needs_the_word_of_its_kind_and_all_missing_entries_are_printed_at_once() {
    let policy = format!(
        "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{network: {{allow: [\"10.1.2.3:5432\", \"localhost:80\", \"8.8.8.8:53\", \
         {{host: \"other.internal:22\", private: true}}]}}}}}}\n"
    );
    let mut world = World::prepared(|setup| {
        let declares = "go network=10.1.2.3:5432,api.example.com:443,localhost:80,8.8.8.8:53";
        setup.runbook(
            "host.md",
            runbook(
                SMALL,
                &[
                    (declares, "true"),
                    ("other network=other.internal:22", "true"),
                ],
            ),
        );
        setup.policy.clone_from(&policy);
    });
    let why = world
        .try_start()
        .expect_err("it does not serve")
        .replace("\\\"", "\"");
    assert_says(
        &why,
        "the step declares network=10.1.2.3:5432,api.example.com:443,localhost:80, and no policy override",
    );
    // The entry replaces the list of the earlier override, so it also has the hosts that are not missing.
    let entry = why
        .split_once("`- ")
        .and_then(|(_, rest)| rest.split_once('`'))
        .expect("an entry")
        .0;
    assert_eq!(
        entry,
        "{runbook: \"host\", sandbox: {network: {allow: [{host: \"other.internal:22\", private: true}, \
         {host: \"10.1.2.3:5432\", private: true}, \"8.8.8.8:53\", \"api.example.com:443\", \
         {host: \"localhost:80\", localhost: true}]}}}"
    );
    world.write("b/boundary/policy.yaml", &format!("{policy}  - {entry}\n"));
    world
        .try_start()
        .expect("the policy with the printed entry is enough");
}
