//! A client that a generator creates from `openapi.json` proposes, approves and verifies a run.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::people::alice;
use crate::support::{SMALL, World, not_run, runbook};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

#[test]
fn a_client_generated_from_openapi_can_propose_and_approve_and_verify_a_run() {
    let Some(python) = std::env::var_os("COUNTERSIGN_PYTHON") else {
        return not_run(
            "a_client_generated_from_openapi_can_propose_and_approve_and_verify_a_run",
            "COUNTERSIGN_PYTHON names no Python that has openapi-python-client; scripts/test sets it",
        );
    };
    let world = World::with(|setup| {
        // The generated client must percent-encode the slash in the reference of the step.
        let text = format!("params:\n  text: {{type: string}}\n{SMALL}");
        setup.runbook(
            "team/say.md",
            runbook(&text, &[("echo", "printf '%s\\n' \"$PARAM_TEXT\"")]),
        );
    });
    let directory = world.path("generated");
    std::fs::create_dir(&directory).unwrap();
    let facts = json!({
        "url": world.wire.url,
        "agent": world.agent,
        "reader": world.reader,
        "step": "team/say:echo",
        "slow": "plain:wait",
        "keyid": alice().keyid(),
        // The seed of `people::alice`.
        "seed": STANDARD.encode([1; 32]),
    });
    let root = env!("CARGO_MANIFEST_DIR");
    let mut program = Command::new(python)
        .arg(format!("{root}/tests/tools/generated_client.py"))
        .arg(format!("{root}/openapi.json"))
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python");
    program
        .stdin
        .take()
        .unwrap()
        .write_all(facts.to_string().as_bytes())
        .unwrap();
    let output = program.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
}

#[test]
fn openapi_describes_every_enum_and_operation_and_path_parameter() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        let choices = schema["oneOf"].as_array().into_iter().flatten();
        assert!(
            choices
                .into_iter()
                .all(|choice| choice.get("const").is_none()),
            "{name} is a choice of constants"
        );
    }
    let status = &description["components"]["schemas"]["ProposalStatus"];
    assert_eq!(status["enum"].as_array().unwrap().len(), 8);
    assert!(
        status["description"]
            .as_str()
            .unwrap()
            .contains("- `denied`: An approver denied the proposal."),
        "{status}"
    );
    for (path, item) in description["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let said = |value: &Value| {
                value["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 5)
            };
            assert!(said(operation), "{path}");
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(parameters.iter().all(said), "{path}: {parameters:?}");
            // The names in braces in the path are exactly the path parameters of the operation.
            let named: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let listed: Vec<&str> = parameters
                .iter()
                .filter(|one| one["in"] == "path")
                .filter_map(|one| one["name"].as_str())
                .collect();
            assert_eq!(named, listed, "{path}");
        }
    }
}
