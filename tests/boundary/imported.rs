//! Runbooks of other systems at a boundary: Gruntwork, Rundown and runnable fences.

use crate::support::host::not_run;
use crate::support::people::alice;
use crate::support::wire::pointers;
use crate::support::{POLICY, World, has, id_of};
use serde_json::{Value, json};

const GREET: &str = r##"# Greet

<Inputs id="who">
```yaml
variables:
  - name: Name
    type: string
    description: Who is greeted
  - name: Loud
    type: bool
    default: false
```
</Inputs>

<Inputs id="login">
```yaml
variables:
  - name: Password
    sensitive: true
```
</Inputs>

<Command id="greet" path="greet.sh" inputsId="who" title="Greet somebody" />

<Command id="deploy" awsAuthId="aws" command="echo deploy" />
<AwsAuth id="aws" />

<Command id="login" inputsId="login" command='wc -c <<< "$PARAM_PASSWORD"' />
"##;
const SCRIPT: &str = "#!/bin/bash\nset -- {{ .inputs.Name }}\necho \"$#: hello {{ .inputs.Name }}{{ if .inputs.Loud }}!{{ end }}\"\ncat <<EOF\n{{ .inputs.Name }}\nEOF\n";
const STEPS: &str =
    "# Build\n\n## 1. Compile\n- PASS: CONTINUE\n- FAIL: STOP\n\n```bash\necho compiled\n```\n";
const NOTES: &str = "# Notes\n\n```runnable python {#sum}\nprint(1 + 2)\n```\n";

fn world() -> World {
    World::with(|setup| {
        setup.runbook("greet.mdx", GREET);
        setup.runbook("greet.sh", SCRIPT);
        setup.runbook("build.runbook.md", STEPS);
        setup.runbook("notes.md", NOTES);
    })
}

#[test]
fn promise_6_a_template_runs_with_the_signed_values_and_its_receipt_verifies() {
    let world = world();
    for (name, loud) in [("Ada", true), ("it's $(id) `id` \"x\" *\n; exit 3", false)] {
        let finished = world.run(
            "greet:greet",
            json!({"Name": name, "Loud": loud}),
            &[&alice()],
        );
        let end = if loud { "!" } else { "" };
        assert_eq!(
            world.output(&finished, "stdout"),
            format!("1: hello {name}{end}\n{name}\n"),
            "{finished:#}"
        );
        world.assert_verified(&finished);
        let step: Value = world
            .wire
            .get("/v1/steps/greet:greet", &world.reader)
            .ok(200);
        let template = crate::support::people::sha256(
            step["definition"]["source"]
                .as_str()
                .expect("text")
                .as_bytes(),
        );
        let signed = crate::support::people::predicate_of(&world.authorization_of(&finished));
        assert_eq!(signed["step"]["digest"], step["digest"]);
        assert!(
            !signed["rendered"]
                .as_str()
                .expect("a digest")
                .contains(&template),
            "the script is filled in"
        );
    }
    world.assert_audited();
}

#[test]
fn a_value_that_has_no_place_in_the_script_is_refused_before_anybody_signs() {
    let world = world();
    for name in ["-rf", "two\nEOF\nlines", "a\u{0}b"] {
        let wish = World::wish("greet:greet", json!({"Name": name}));
        let problem = world
            .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
            .problem("invalid-params");
        assert_eq!(
            pointers(&problem),
            ["/params/Name"],
            "{name:?}: {problem:#}"
        );
    }
}

#[test]
fn a_step_that_needs_a_secret_without_configuration_is_registered_and_its_proposals_name_the_secret()
 {
    let world = world();
    let wish = World::wish("greet:deploy", json!({}));
    let problem = world
        .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
        .problem("sandbox-unavailable");
    let detail = problem["detail"].as_str().expect("text");
    assert!(
        detail.starts_with(
            "greet:deploy needs the secret aws.AWS_ACCESS_KEY_ID, which this boundary"
        ),
        "{detail}"
    );
    assert!(
        world
            .wire
            .get("/v1/registry", &world.reader)
            .ok(200)
            .to_string()
            .contains("greet:deploy")
    );
}

#[test]
fn a_step_with_a_secret_parameter_is_refused_and_no_answer_or_file_contains_the_text_of_the_parameter()
 {
    let world = world();
    let canary = "hunter2-is-not-stored";
    for value in [
        json!(canary),
        json!({"secret": format!("{canary}!")}),
        json!({"secret": "db", "more": canary}),
    ] {
        let wish = World::wish("greet:login", json!({"Password": value}));
        let problem = world
            .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
            .problem("invalid-params");
        assert!(!problem.to_string().contains(canary), "{problem:#}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(
            detail.starts_with("/Password: the parameter is secret: give the name of a secret"),
            "{detail}"
        );
    }
    let found = std::process::Command::new("grep")
        .args(["-raF", canary])
        .arg(world.path("."))
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn steps_of_rundown_and_of_runnable_fences_run_at_a_boundary() {
    let world = world();
    for (step, output) in [("build:1", "compiled\n"), ("notes:sum", "3\n")] {
        let finished = world.run(step, json!({}), &[&alice()]);
        assert_eq!(world.output(&finished, "stdout"), output, "{finished:#}");
        world.assert_verified(&finished);
    }
    world.assert_audited();
}

#[test]
fn the_review_of_a_template_shows_the_script_that_runs() {
    let world = world();
    let proposal = world.propose("greet:greet", json!({"Name": "Ada's"}));
    let output = world
        .as_alice(&["review", id_of(&proposal)])
        .output()
        .expect("review");
    let shown = crate::support::said(&output);
    for words in [
        "set -- 'Ada'\\''s'",
        "a filled-in template",
        "from a page of Gruntwork",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(
        !shown.contains("NOT TO BE SIGNED") && !shown.contains("{{"),
        "{shown}"
    );
    let full = world
        .as_alice(&["review", "--full", id_of(&proposal)])
        .output()
        .expect("review");
    let full = crate::support::said(&full);
    assert!(
        full.contains("set -- {{ .inputs.Name }}") && full.contains("set -- 'Ada'\\''s'"),
        "{full}"
    );
}

#[test]
fn policy_verify_and_audit_judge_the_filled_in_script_and_not_the_other_branches_of_its_template() {
    let page = "<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: Who\n    type: bool\n```\n</Inputs>\n\n\
                <Command id=\"a\" inputsId=\"in\" path=\"a.sh\" />\n";
    let world = World::with(|setup| {
        setup.policy = POLICY.replace("mode: execute", "mode: prompted\n  run: {deny: [rm]}");
        setup.runbook("page.mdx", page);
        setup.runbook(
            "a.sh",
            "{{ if .inputs.Who }}id -u{{ else }}rm -f x{{ end }}\n",
        );
    });
    let wish = World::wish("page:a", json!({"Who": false}));
    world
        .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
        .problem("policy-denied");
    let finished = world.run("page:a", json!({"Who": true}), &[&alice()]);
    let signed = crate::support::people::predicate_of(&world.authorization_of(&finished));
    assert!(
        signed["permissions"].to_string().contains("\"id\""),
        "{signed:#}"
    );
    world.assert_verified(&finished);
    world.assert_audited();
}

#[test]
fn a_missing_interpreter_is_reported_and_refused_before_the_nonce_is_spent() {
    const NAME: &str = "a_missing_interpreter_is_reported_and_refused_before_the_nonce_is_spent";
    let Some(missing) = ["zsh", "ruby", "go", "node"]
        .into_iter()
        .find(|program| !has(program))
    else {
        return not_run(NAME, "this host has every interpreter");
    };
    let world = World::with(|setup| {
        setup.runbook("tool.mdx", "<Command id=\"tool\" path=\"tool.sh\" />\n");
        setup.runbook("tool.sh", format!("#!/usr/bin/env {missing}\n1\n"));
    });
    let why = format!("no interpreter {missing} is in");
    let notes = world.wire.peek("/ready").json()["notes"].to_string();
    assert!(
        notes.contains(&why) || notes.contains(&format!("no program {missing}")),
        "{notes}"
    );
    assert!(notes.contains("tool:tool"), "{notes}");
    let wish = World::wish("tool:tool", json!({}));
    let reply = world.unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish));
    reply.refuses("sandbox-unavailable", missing);
}

#[test]
fn a_block_of_each_format_reaches_the_network_that_it_declares_and_policy_allows() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.expect("a connection"), b"reached\n");
        }
    });
    let script = format!("if exec 3<>/dev/tcp/127.0.0.1/{port}; then cat <&3; else echo alone; fi");
    let allowed = "{network: host, limits: {wall_ms: 20000}}";
    let world = World::with(|setup| {
        setup.policy = format!(
            "{POLICY}overrides:\n  - {{runbook: page, sandbox: {allowed}}}\n  - {{runbook: flow, sandbox: {allowed}}}\n  \
             - {{runbook: fences, sandbox: {allowed}}}\n"
        );
        setup.runbook("page.sh", format!("{script}\n"));
        setup.runbook(
            "page.mdx",
            "<Command id=\"with\" path=\"page.sh\" network=\"host\" programs=\"cat\" memory=\"128MiB\" />\n\n\
             <Command id=\"without\" path=\"page.sh\" />\n",
        );
        setup.runbook(
            "flow.runbook.md",
            format!(
                "## 1. With\n\n```bash {{network=host programs=cat timeout=15s}}\n{script}\n```\n\n## 2. Without\n\n```bash\n\
                 {script}\n```\n"
            ),
        );
        setup.runbook(
            "fences.md",
            format!(
                "```runnable bash {{#with network=host programs=cat}}\n{script}\n```\n\n```runnable bash {{#without}}\n\
                 {script}\n```\n"
            ),
        );
    });
    for (with, without) in [
        ("page:with", "page:without"),
        ("flow:1", "flow:2"),
        ("fences:with", "fences:without"),
    ] {
        let finished = world.run(with, json!({}), &[&alice()]);
        assert_eq!(
            world.output(&finished, "stdout"),
            "reached\n",
            "{with}: {finished:#}"
        );
        world.assert_verified(&finished);
        let finished = world.run(without, json!({}), &[&alice()]);
        assert_eq!(
            world.output(&finished, "stdout"),
            "alone\n",
            "{without}: {finished:#}"
        );
    }
    let step: Value = world.wire.get("/v1/steps/flow:1", &world.reader).ok(200);
    assert_eq!(
        step["definition"]["sandbox"]["limits"]["wall_ms"], 15_000,
        "{step:#}"
    );
    assert_eq!(step["definition"]["programs"], json!(["cat"]), "{step:#}");
    world.assert_audited();
}
