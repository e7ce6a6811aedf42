//! The list of programs of a run: derived from the sealed state, signed by approvers, enforced by the kernel, and stated
//! in the receipt.

use crate::mcp::Server;
use crate::support::people::{self, alice, envelope};
use crate::support::poor::poor_host;
use crate::support::{SMALL, World, assert_says, bytes_of, id_of, not_run, runbook, said};
use serde_json::{Value, json};

/// Executes listed programs only. The mode asks for no permission, except for unknown commands.
const POLICY: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n  \
                      sandbox: {programs: {mode: listed, allow: [cat, no-such-tool]}}\noverrides:\n  - {runbook: free, sandbox: {programs: {mode: any}}}\n";

/// Starts `date`, but no reader of the script can know this.
const HIDDEN: &str = "word=$(printf 'da%s' te)\n\"$word\" +ran%%\n";

fn listing() -> World {
    World::with(|setup| {
        setup.policy = POLICY.to_owned();
        let steps = [
            ("hidden", HIDDEN),
            ("declared programs=date", HIDDEN),
            (
                "ignored",
                "word=$(printf 'da%s' te)\n\"$word\" +ran || printf 'went on\\n'",
            ),
            (
                "own programs=\"{work}/**\"",
                "printf '#!/bin/bash\\necho built\\n' > tool\nchmod +x tool\n./tool",
            ),
            (
                "foreign",
                "printf '#!/bin/bash\\necho built\\n' > tool\nchmod +x tool\n./tool",
            ),
            ("plain", "printf 'a\\n' | cat"),
            ("path programs=/usr/bin/date", "/usr/bin/date +ran%%"),
            ("database", "psql --version"),
            (
                "script programs=ldd",
                "ldd --version > /dev/null && printf 'ran\\n'",
            ),
        ];
        setup.runbook("list.md", runbook(SMALL, &steps));
        setup.runbook(
            "free.md",
            runbook(
                SMALL,
                &[("hidden", HIDDEN), ("declared programs=cat", HIDDEN)],
            ),
        );
    })
}

/// Returns the predicate that people sign, with the list of programs in place of its digest.
fn predicate(proposal: &Value) -> Value {
    let mut statement: Value = serde_json::from_slice(&bytes_of(proposal)).expect("a statement");
    let sandbox = &mut statement["predicate"]["sandbox"];
    if let Some(named) = sandbox.get_mut("programs") {
        let list = people::canonical(&proposal["programs"]);
        assert_eq!(*named, json!(format!("sha256:{}", people::sha256(&list))));
        *named = proposal["programs"].clone();
    }
    statement["predicate"].clone()
}

fn names(sandbox: &Value) -> Vec<&str> {
    sandbox["programs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("text"))
        .collect()
}

fn run(world: &World, step: &str) -> (Value, Value) {
    let proposal = world.propose(step, json!({}));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let finished = world.until(id_of(&proposal), "finished");
    (predicate(&finished), finished)
}

#[test]
fn a_program_that_the_list_does_not_name_is_not_executed() {
    let world = listing();
    let (signed, finished) = run(&world, "list:hidden");
    assert_eq!(names(&signed["sandbox"]), ["bash", "cat", "printf"]);
    assert!(
        signed["sandbox"]["require"]
            .as_array()
            .expect("layers")
            .contains(&json!("programs"))
    );
    let receipt = world.receipt(&finished);
    assert_eq!(
        receipt["outcome"],
        json!({"status": "failed", "exit_code": 126}),
        "{receipt:#}"
    );
    assert_eq!(world.output(&finished, "stdout"), "");
    assert!(
        receipt["sandbox"]["layers"]
            .as_array()
            .expect("layers")
            .contains(&json!("programs"))
    );
    assert_eq!(
        (&receipt["programs"]["mode"], &receipt["programs"]["listed"]),
        (&json!("listed"), &json!(3))
    );
    world.assert_verified(&finished);
    // With the mode `any`, the same script starts the program.
    let (signed, finished) = run(&world, "free:hidden");
    assert_eq!(signed["sandbox"].get("programs"), None);
    assert_eq!(world.output(&finished, "stdout"), "ran%\n");
    assert_eq!(world.receipt(&finished).get("programs"), None);
    world.assert_verified(&finished);
    world.assert_audited();
}

#[test]
fn verify_and_audit_show_the_programs_of_a_receipt() {
    let world = listing();
    let (_, finished) = run(&world, "list:hidden");
    let programs = &world.receipt(&finished)["programs"];
    let (_, report) = world.verify(&world.bundle(&finished));
    assert_eq!(
        &report["report"]["facts"]["programs"], programs,
        "{report:#}"
    );
    assert_says(
        report["report"]["boundary_says"].to_string(),
        "which programs the run started and the list refused",
    );

    let roster = world.started["roster"].as_str().expect("a digest");
    let bundle = world.path("run.bundle.json");
    std::fs::write(&bundle, world.bundle(&finished)).expect("written");
    let done = world
        .program(&["verify", "--roster", roster])
        .arg(&bundle)
        .output()
        .expect("verify");
    let screen = String::from_utf8_lossy(&done.stdout)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let named = |key: &str| match &programs[key]["paths"] {
        Value::Array(paths) if paths.is_empty() => "none".to_owned(),
        Value::Array(paths) => {
            let words = |one: &Value| {
                format!(
                    "{} ({})",
                    one["path"].as_str().expect("a path"),
                    one["count"]
                )
            };
            paths.iter().map(words).collect::<Vec<_>>().join(", ")
        }
        _ => "not recorded".to_owned(),
    };
    let line = format!(
        "programs 3 listed; started {}; refused {}",
        named("started"),
        named("refused")
    );
    assert!(screen.contains(&line), "{line}: {screen}");

    // A run without a list states no programs.
    run(&world, "free:hidden");
    let mut audit = world.program(&[
        "audit",
        &world.wire.url,
        "--url",
        &world.wire.url,
        "--roster",
        roster,
        "--json",
    ]);
    let done = audit
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .expect("audit");
    let lines = String::from_utf8_lossy(&done.stdout);
    let decisions: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|line| line["type"] == "decision")
        .collect();
    let shown: Vec<_> = decisions.iter().map(|line| line.get("programs")).collect();
    assert_eq!(shown, [Some(programs), None], "{lines}");
}

#[test]
fn psql_of_debian_is_a_wrapper_whose_list_has_the_program_that_it_starts() {
    if !std::path::Path::new("/usr/share/postgresql-common/pg_wrapper").exists() {
        not_run("psql of Debian", "this host has no wrapper of psql");
        return;
    }
    let world = listing();
    let (_, finished) = run(&world, "list:database");
    assert!(
        world
            .output(&finished, "stdout")
            .starts_with("psql (PostgreSQL)"),
        "{finished:#}"
    );
    assert_eq!(finished.get("refused"), None);
    world.assert_verified(&finished);
}

/// A success is never shown alone if the list refused a program: in the API, on the command line, over MCP and by the
/// verifier. The outcome of the receipt stays `succeeded`.
#[test]
fn a_success_with_a_refused_program_names_the_program_and_what_to_add() {
    let world = listing();
    let (_, finished) = run(&world, "list:ignored");
    assert_eq!(world.output(&finished, "stdout"), "went on\n");
    assert_eq!(
        world.receipt(&finished)["outcome"],
        json!({"status": "succeeded", "exit_code": 0})
    );
    let path = world.receipt(&finished)["programs"]["refused"]["paths"][0]["path"].clone();
    let Some(path) = path.as_str() else {
        not_run(
            "a success with a refused program",
            "this host records no refused program",
        );
        return;
    };
    let refused = json!([{"name": path, "add": "programs=date"}]);
    let id = id_of(&finished);
    assert_eq!(world.until(id, "finished")["refused"], refused);
    let words = format!("succeeded, exit code 0; refused: {path} (add programs=date to the block)");
    for command in [&["wait", id][..], &["proposals"]] {
        let mut command_line = world.program(command);
        command_line
            .args(["--url", &world.wire.url])
            .env("COUNTERSIGN_TOKEN", &world.agent);
        let done = command_line.output().expect("runs");
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            done.status.success() && said.contains("refused: /"),
            "{command:?}: {said}"
        );
        assert!(command[0] != "wait" || said.contains(&words), "{said}");
    }
    let mut server = Server::opened(&world, &world.wire.url);
    for answer in [
        server.call("wait", json!({"id": id})),
        server.call("get_receipt", json!({"id": id})),
    ] {
        assert_eq!(answer["outcome"]["refused"], refused, "{answer:#}");
    }
    let roster = world.started["roster"].as_str().expect("a digest");
    let boundary = world.started["boundary"]
        .as_str()
        .or(world.started["id"].as_str())
        .expect("an id");
    let bundle = world.path("run.bundle.json");
    std::fs::write(&bundle, world.bundle(&finished)).expect("written");
    let verified = world
        .program(&["verify", "--roster", roster])
        .arg(&bundle)
        .output()
        .expect("verify");
    let screen = String::from_utf8_lossy(&verified.stdout)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(screen.contains(&words), "{screen}");
    let gate = |more: &[&str], bundle: &std::path::Path, step: &str| {
        let mut command = world.program(&[
            "gate",
            "--roster",
            roster,
            "--boundary",
            boundary,
            "--step",
            step,
        ]);
        let done = command
            .args(["--any-digest", "--no-params"])
            .args(more)
            .arg(bundle)
            .output()
            .expect("gate");
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    assert_eq!(gate(&[], &bundle, "list:ignored").0, Some(0));
    let (code, said) = gate(&["--no-refused"], &bundle, "list:ignored");
    assert!(
        code == Some(1) && said.contains("SHUT, not met: refused"),
        "{said}"
    );
    // A run whose list refused nothing passes.
    let (_, finished) = run(&world, "list:plain");
    assert_eq!(
        world.until(id_of(&finished), "finished").get("refused"),
        None
    );
    std::fs::write(&bundle, world.bundle(&finished)).expect("written");
    assert_eq!(gate(&["--no-refused"], &bundle, "list:plain").0, Some(0));
}

#[test]
fn a_step_can_declare_programs_that_its_script_does_not_name() {
    let world = listing();
    let (signed, finished) = run(&world, "list:declared");
    assert_eq!(names(&signed["sandbox"]), ["bash", "cat", "date", "printf"]);
    assert_eq!(world.output(&finished, "stdout"), "ran%\n");
    world.assert_verified(&finished);
    // A step that declares programs has a list, even if policy allows any program.
    let (signed, finished) = run(&world, "free:declared");
    assert_eq!(names(&signed["sandbox"]), ["bash", "cat", "printf"]);
    assert_eq!(world.receipt(&finished)["outcome"]["exit_code"], 126);
    world.assert_audited();
}

#[test]
fn every_name_in_a_list_follows_from_the_sealed_state_also_for_paths_and_scripts() {
    let world = listing();
    let (signed, finished) = run(&world, "list:path");
    assert_eq!(names(&signed["sandbox"]), ["bash", "cat", "date"]);
    assert_eq!(world.output(&finished, "stdout"), "ran%\n");
    world.assert_verified(&finished);
    // `ldd` is a shell script.
    let (signed, finished) = run(&world, "list:script");
    let mut listed = names(&signed["sandbox"]);
    listed.dedup();
    assert_eq!(listed, ["bash", "cat", "ldd", "printf"]);
    assert_eq!(world.output(&finished, "stdout"), "ran\n");
    world.assert_verified(&finished);
    world.assert_audited();
}

#[test]
fn a_file_that_a_step_writes_is_executed_only_if_the_list_has_the_work_directory() {
    let world = listing();
    let (signed, finished) = run(&world, "list:own");
    assert!(names(&signed["sandbox"]).contains(&"{work}/**"));
    assert_eq!(world.output(&finished, "stdout"), "built\n");
    world.assert_verified(&finished);
    let (_, finished) = run(&world, "list:foreign");
    assert_eq!(world.receipt(&finished)["outcome"]["exit_code"], 126);
    world.assert_audited();
}

#[test]
fn a_signed_list_that_differs_from_the_derived_list_spends_no_nonce() {
    let world = listing();
    let step = world
        .wire
        .get("/v1/steps/list:plain", &world.reader)
        .ok(200);
    assert_eq!(names(&step), ["bash", "cat", "printf"]);
    let list = step["programs"].as_array().expect("a list").clone();
    let digest = |list: Vec<Value>| {
        json!(format!(
            "sha256:{}",
            people::sha256(&people::canonical(&json!(list)))
        ))
    };
    let attempt = |code: &str, change: &dyn Fn(&mut Value)| {
        let mut predicate = world.authorization("list:plain", json!({}));
        change(&mut predicate["sandbox"]);
        world.unchanged(|| {
            world
                .submit(&envelope(&people::authorization(&predicate), &[&alice()]))
                .problem(code)
        })
    };
    attempt("context-changed", &|sandbox| {
        let mut more = list.clone();
        more.insert(2, json!({"name": "date", "path": "/usr/bin/date"}));
        sandbox["programs"] = digest(more);
    });
    attempt("context-changed", &|sandbox| {
        let mut fewer = list.clone();
        fewer.remove(1);
        sandbox["programs"] = digest(fewer);
    });
    attempt("context-changed", &|sandbox| {
        let map = sandbox.as_object_mut().expect("a map");
        map.remove("programs");
        map["require"]
            .as_array_mut()
            .expect("layers")
            .retain(|layer| layer != "programs");
    });
    attempt("malformed", &|sandbox| {
        drop(sandbox.as_object_mut().expect("a map").remove("programs"))
    });
    attempt("malformed", &|sandbox| sandbox["programs"] = json!(list));
    // The name has another file on this host than in the signed list.
    let problem = attempt("context-changed", &|sandbox| {
        let mut other = list.clone();
        other[1]["path"] = json!("/usr/bin/date");
        sandbox["programs"] = digest(other);
    });
    let detail = problem["detail"].as_str().expect("words");
    assert!(
        detail.contains("differs from the signed sandbox in programs"),
        "{detail}"
    );
}

#[test]
fn store_check_names_a_list_of_programs_that_is_missing_or_is_another_list() {
    let mut world = listing();
    let (ran, _) = run(&world, "list:plain");
    let waits = id_of(&world.propose("list:own", json!({}))).to_owned();
    let waits = world
        .wire
        .get(&format!("/v1/proposals/{waits}"), &world.reader)
        .ok(200);
    world.stop();
    let check = || {
        let mut check = world.program(&["store", "check", "--config"]);
        let config = world.path("b/countersign.toml");
        said(&check.arg(config).output().expect("it starts"))
    };
    let sound = check();
    assert!(!sound.contains("list of programs"), "{sound}");
    let store = rusqlite::Connection::open(world.database()).expect("a store");
    let change = |sql: &str| assert_eq!(store.execute(sql, []).expect("changed"), 1, "{sql}");
    change("UPDATE payload SET programs = x'5b5d' WHERE programs IS NOT NULL");
    let other = check();
    assert!(
        other.contains("the list of programs is not the list that the payload names"),
        "{other}"
    );
    // Only the list of the run is a blob.
    let [ran, waits] = [&ran["sandbox"]["programs"], &waits["programs"]]
        .map(|list| people::sha256(&people::canonical(list)));
    let delete = |digest: &str| format!("DELETE FROM blob WHERE digest = x'{digest}'");
    assert_eq!(store.execute(&delete(&waits), []), Ok(0));
    change(&delete(&ran));
    let missing = check();
    let words = format!("the blob of the list of programs of this entry, sha256:{ran}, is missing");
    assert!(missing.contains(&words), "{missing}");
}

#[test]
fn a_missing_declared_program_is_refused_with_its_place_before_anybody_signs() {
    let mut world = World::prepared(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook(
            "list.md",
            runbook(SMALL, &[("a programs=no-such-tool", "true")]),
        );
    });
    let refused = world
        .try_start()
        .expect_err("a program that this host does not have");
    assert!(
        refused.contains("no-such-tool") && refused.contains("list.md:7"),
        "{refused}"
    );
}

#[test]
fn a_host_without_namespaces_refuses_the_proposal_before_anybody_signs() {
    let mut world = World::prepared(|setup| {
        setup.policy = POLICY.to_owned();
        setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned();
        setup.runbook(
            "list.md",
            runbook(SMALL, &[("plain", "printf 'a\\n' | cat")]),
        );
        setup.runbook(
            "free.md",
            runbook(SMALL, &[("plain", "printf 'a\\n' | cat")]),
        );
    });
    if !poor_host(
        &mut world,
        "a_host_without_namespaces_refuses_the_proposal_before_anybody_signs",
    ) {
        return;
    }
    world.start();
    world.make_tokens();
    let reply = world.wire.post(
        "/v1/proposals",
        &world.agent,
        &World::wish("list:plain", json!({})),
    );
    reply.refuses("sandbox-unavailable", "required layer programs");
    let (_, finished) = run(&world, "free:plain");
    assert_eq!(world.output(&finished, "stdout"), "a\n");
}

#[test]
fn a_denied_program_is_in_no_list() {
    let world = World::with(|setup| {
        setup.policy = POLICY.replace("mode: execute", "mode: execute\n  run: {deny: [cat, ssh]}");
        setup.runbook(
            "list.md",
            runbook(SMALL, &[("plain", "printf a"), ("git", "git --version")]),
        );
    });
    let (signed, _) = run(&world, "list:plain");
    assert_eq!(names(&signed["sandbox"]), ["bash", "printf"]);
    let (signed, _) = run(&world, "list:git");
    assert!(
        names(&signed["sandbox"]).contains(&"git") && !names(&signed["sandbox"]).contains(&"ssh"),
        "{signed:#}"
    );
}

#[test]
fn a_star_in_a_script_adds_no_program_and_a_link_to_a_denied_program_is_left_out() {
    let shell = std::fs::canonicalize("/usr/bin/sh").expect("every host has sh");
    let shell = shell
        .file_name()
        .expect("a name")
        .to_str()
        .expect("text")
        .to_owned();
    let world = World::with(|setup| {
        setup.policy = POLICY.replace(
            "mode: execute",
            &format!("mode: execute\n  run: {{deny: [date, \"{shell}\"]}}"),
        );
        let steps = [
            (
                "star",
                "'/usr/bin/dat*' || true\nword=date\n\"$word\" +ran%%\n",
            ),
            ("link", "awk 'BEGIN { print 1 }' || sh -c 'printf x'"),
            ("script", "zgrep x /dev/null || true"),
        ];
        setup.runbook("list.md", runbook(SMALL, &steps));
    });
    let (signed, finished) = run(&world, "list:star");
    assert_eq!(
        names(&signed["sandbox"]),
        ["bash", "cat", "true"],
        "{signed:#}"
    );
    assert_eq!(world.output(&finished, "stdout"), "");
    world.assert_verified(&finished);
    let (signed, _) = run(&world, "list:link");
    let files: Vec<&str> = signed["sandbox"]["programs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["path"].as_str().expect("text"))
        .collect();
    assert!(
        !files
            .iter()
            .any(|path| path.ends_with(&format!("/{shell}")))
            || shell == "bash",
        "{files:?}"
    );
    // The first line of zgrep names sh, so zgrep can't start.
    let (signed, _) = run(&world, "list:script");
    assert!(
        !names(&signed["sandbox"]).contains(&"zgrep") || shell == "bash",
        "{signed:#}"
    );
    world.assert_audited();
}
