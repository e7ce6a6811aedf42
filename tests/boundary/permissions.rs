//! Permissions that policy requires: the boundary writes them into the statement, approvers sign them, and the boundary
//! and the verifier check them again.

use crate::support::people::{alice, envelope, payload_of, predicate_of};
use crate::support::{SMALL, World, bytes_of, id_of, people, runbook};
use serde_json::{Value, json};

/// Allows `printf` and `false`, denies `dd`, and leaves other commands to the built-in lists and to the approvers.
const POLICY: &str = "version: 1\ndefault:\n  mode: prompted\n  run: {allow: [printf, \"false\"], deny: [dd]}\n  approvals: {required: 1, from: [ops]}\n";

fn asking() -> World {
    World::with(|setup| {
        setup.policy = POLICY.to_owned();
        let steps = [
            ("listed", "printf 'done\\n'"),
            (
                "asks",
                "printf '%s\\n' a | sort\nif false; then rm -f x; fi\n\"$NOTHING\" || printf 'over\\n'",
            ),
            (
                "denied",
                "printf x\nif false; then echo | sudo dd if=/dev/null; fi",
            ),
        ];
        setup.runbook("ask.md", runbook(SMALL, &steps));
        setup.runbook(
            "snake.md",
            format!("---\ncountersign: 1\ntitle: Python\n{SMALL}\n---\n\n```python {{#go}}\nprint('hello')\n```\n"),
        );
    })
}

fn asked() -> Value {
    json!([
        {"type": "run", "what": "rm", "why": "built-in-deny"},
        {"type": "run", "what": "\"$NOTHING\"@3", "why": "unknown"},
        {"type": "run", "what": "sort", "why": "unlisted"},
    ])
}

/// Sorts the items by the bytes of their canonical JSON, which is the order in the documents.
fn sorted(mut items: Value) -> Value {
    items
        .as_array_mut()
        .expect("a list")
        .sort_by_key(people::canonical);
    items
}

#[test]
fn a_run_with_required_permissions_is_signed_and_executed_and_verified() {
    let world = asking();
    let proposal = world.propose("ask:asks", json!({}));
    let signed: Value = serde_json::from_slice(&bytes_of(&proposal)).expect("a statement");
    assert_eq!(signed["predicate"]["permissions"], sorted(asked()));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(world.output(&finished, "stdout"), "a\nover\n");
    world.assert_verified(&finished);
    // A command that the policy file allows needs no permission.
    let listed = world.propose("ask:listed", json!({}));
    let signed: Value = serde_json::from_slice(&bytes_of(&listed)).expect("a statement");
    assert_eq!(signed["predicate"]["permissions"], json!([]));
    // The boundary does not parse Python. A Python step needs at most one permission: the interpreter.
    let snake = world.wire.get("/v1/steps/snake:go", &world.reader).ok(200);
    assert_eq!(
        snake["permissions"],
        json!([]),
        "the built-in lists allow python"
    );
    world.assert_audited();
}

#[test]
fn a_step_that_the_policy_file_denies_is_refused_before_any_approver_is_asked() {
    let world = asking();
    let reply = world.wire.post(
        "/v1/proposals",
        &world.agent,
        &World::wish("ask:denied", json!({})),
    );
    let problem = reply.problem("policy-denied");
    let detail = problem["detail"].as_str().expect("words");
    assert!(
        detail.contains("dd") && detail.contains("2:") && detail.contains("default"),
        "{detail}"
    );
    assert_eq!(
        world.wire.get("/v1/proposals", &world.reader).ok(200)["proposals"],
        json!([])
    );
    // The boundary also refuses a statement that was signed offline, even if the statement grants `dd`.
    let mut predicate = world.authorization("ask:denied", json!({}));
    predicate["permissions"] = json!([{"type": "run", "what": "dd", "why": "built-in-deny"}]);
    world
        .submit(&envelope(&people::authorization(&predicate), &[&alice()]))
        .problem("policy-denied");
    let offline = world.path("denied.json");
    let mut propose = world.program(&[
        "propose",
        "ask:denied",
        "--offline",
        "--url",
        &world.wire.url,
        "--proposer",
        "agent",
        "-o",
    ]);
    let done = propose
        .arg(&offline)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("propose");
    assert_eq!(
        done.status.code(),
        Some(126),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(!offline.exists());
}

#[test]
fn r2_a_statement_without_a_required_permission_is_refused_as_context_changed() {
    let world = asking();
    let mut predicate = world.authorization("ask:asks", json!({}));
    for at in 0..3 {
        let mut fewer = sorted(asked());
        fewer.as_array_mut().expect("a list").remove(at);
        predicate["permissions"] = fewer;
        let reply = world.submit(&envelope(&people::authorization(&predicate), &[&alice()]));
        reply.problem("context-changed");
    }
    // A permission with another reason does not fulfil the requirement.
    let mut otherwise = asked();
    otherwise[0]["why"] = json!("unlisted");
    predicate["permissions"] = sorted(otherwise);
    world
        .submit(&envelope(&people::authorization(&predicate), &[&alice()]))
        .problem("context-changed");
    // The refusals spend no nonce, so a statement with all required permissions and one additional permission still
    // runs.
    let mut more = asked();
    more.as_array_mut()
        .expect("a list")
        .push(json!({"type": "run", "what": "zcat", "why": "unlisted"}));
    predicate["permissions"] = sorted(more);
    let bundle = world
        .submit(&envelope(&people::authorization(&predicate), &[&alice()]))
        .ok(200);
    let receipt = predicate_of(&bundle["receipt"]);
    assert_eq!(receipt["outcome"]["status"], "succeeded", "{receipt:#}");
    world.assert_audited();
}

#[test]
fn offline_proposals_contain_the_permissions_that_policy_requires() {
    let world = asking();
    let file = world.path("offline.json");
    let mut propose = world.program(&[
        "propose",
        "ask:asks",
        "--offline",
        "--url",
        &world.wire.url,
        "--proposer",
        "agent",
        "-o",
    ]);
    let done = propose
        .arg(&file)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("propose");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let made: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    let payload = payload_of(&made);
    let statement: Value = serde_json::from_slice(&payload).expect("a statement");
    assert_eq!(statement["predicate"]["permissions"], sorted(asked()));
    let bundle = world.submit(&envelope(&payload, &[&alice()])).ok(200);
    assert_eq!(
        predicate_of(&bundle["receipt"])["outcome"]["status"],
        "succeeded"
    );
}

#[test]
fn a_script_that_no_approver_could_judge_is_refused_at_the_seal() {
    let many: String = (0..65).map(|at| format!("program{at}\n")).collect();
    let mut world = World::prepared(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("many.md", runbook(SMALL, &[("all", &many)]));
    });
    let said = world.try_start().expect_err("nothing could be signed");
    assert!(
        said.contains("many:all") && said.contains("65") && said.contains("64"),
        "{said}"
    );
    let deep = format!("{}printf a{}", "( ".repeat(120), " )".repeat(120));
    let mut world =
        World::prepared(|setup| setup.runbook("deep.md", runbook(SMALL, &[("go", &deep)])));
    let said = world
        .try_start()
        .expect_err("the parser can't read the script");
    assert!(
        said.contains("deep.md") && said.contains("nested deeper than 100 levels"),
        "{said}"
    );
    // With an override that allows the programs, no permission is required.
    let listed =
        format!("{POLICY}overrides: [{{runbook: many, run: {{allow: [\"program*\"]}}}}]\n");
    let world = World::with(|setup| {
        setup.policy = listed;
        setup.runbook("many.md", runbook(SMALL, &[("all", &many)]));
    });
    assert_eq!(
        world.wire.get("/v1/steps/many:all", &world.reader).ok(200)["permissions"],
        json!([])
    );
}

/// The policy file that `init` writes makes `deploy.sh` ask about three programs, and the list has each of them.
#[test]
fn a_deployment_under_the_policy_of_init_is_proposed_with_at_most_four_permissions() {
    let world = World::with(|setup| {
        setup.policy = countersign::policy(1);
        // The step has no parameters, and a registry refuses a script with an undeclared `$PARAM_NAME`.
        let deploy = include_str!("../support/deploy.sh").replace("$PARAM_", "$DEPLOY_");
        let steps = [
            ("all", deploy.as_str()),
            ("unknown", "\"$CMD\" x || printf 'over\\n'; eval \"$TEXT\""),
            ("words", "ssh \"$HOST\" ls"),
        ];
        setup.runbook("deploy.md", runbook(SMALL, &steps));
    });
    let permissions = |proposal: &Value| {
        let signed: Value = serde_json::from_slice(&bytes_of(proposal)).expect("a statement");
        let path = format!("/v1/proposals/{}", id_of(proposal));
        let whole = world.wire.get(&path, &world.agent).ok(200);
        assert!(whole["programs"].is_array(), "{whole:#}");
        signed["predicate"]["permissions"].clone()
    };
    let program = |name: &str| json!({"type": "run", "what": name, "why": "built-in-deny"});
    let all = world.propose("deploy:all", json!({}));
    assert_eq!(
        permissions(&all),
        json!([program("curl"), program("docker"), program("kubectl")])
    );
    let host = json!({"type": "run", "what": "\"$HOST\"@1", "why": "unknown"});
    let words = world.propose("deploy:words", json!({}));
    assert_eq!(permissions(&words), sorted(json!([host, program("ssh")])));
    // The boundary accepts and audits a run without permissions for its unknown commands.
    let proposal = world.propose("deploy:unknown", json!({}));
    assert_eq!(permissions(&proposal), json!([]));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(world.output(&finished, "stdout"), "over\n");
    world.assert_verified(&finished);
    world.assert_audited();
}
