//! Recorded runbooks of Gruntwork and Rundown through the pages of `countersign open`. `scripts/peers` runs these tests.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::opened_notebook::OpenedNotebook;
use crate::support::host::not_run;

/// Returns the recorded cases of this file and the clone of the project, or tells that the test can't run.
fn recorded(test: &str, file: &str, project: &str) -> Option<(Value, PathBuf)> {
    let cases = std::env::var("COUNTERSIGN_CASES").unwrap_or_default();
    let cases = cases
        .split(':')
        .find_map(|folder| std::fs::read(format!("{folder}/{file}")).ok());
    let clone = std::env::var("COUNTERSIGN_PEERS")
        .ok()
        .map(|peers| Path::new(&peers).join(project));
    match (cases, clone.filter(|clone| clone.is_dir())) {
        (Some(cases), Some(clone)) => Some((serde_json::from_slice(&cases).expect("JSON"), clone)),
        _ => {
            not_run(
                test,
                "COUNTERSIGN_CASES or COUNTERSIGN_PEERS is not set: scripts/peers runs this test",
            );
            None
        }
    }
}

/// Returns the numbers of the steps on a page, by their names.
fn numbers(page: &str) -> BTreeMap<String, usize> {
    let sections = page.split("<section class=\"step\" id=\"step-0-").skip(1);
    let named = sections.filter_map(|section| {
        let number = section.split('"').next()?.parse().ok()?;
        Some((
            section
                .split("aria-label=\"")
                .nth(1)?
                .split('"')
                .next()?
                .to_owned(),
            number,
        ))
    });
    named.collect()
}

#[test]
fn recorded_runbooks_of_gruntwork_end_on_pages_as_recorded() {
    const NAME: &str = "recorded_runbooks_of_gruntwork_end_on_pages_as_recorded";
    let Some((cases, clone)) = recorded(NAME, "gruntwork-runbooks.json", "runbooks") else {
        return;
    };
    let fixtures = cases["fixtures"].as_array().expect("fixtures").iter();
    // The other two runbooks have blocks that are errors here: two blocks with one id, and a missing script.
    let names = [
        "runbook-execution-model",
        "block-outputs",
        "script-logging",
        "homepage-demo",
    ];
    let is_sound = |fixture: &&Value| {
        names.iter().any(|name| {
            fixture["dir"]
                .as_str()
                .is_some_and(|dir| dir.ends_with(name))
        })
    };
    let (mut runbooks, mut blocks) = (0, 0);
    for fixture in fixtures.filter(is_sound) {
        let home = tempfile::tempdir().expect("a directory");
        let from = clone.join(fixture["dir"].as_str().expect("a directory"));
        assert!(
            Command::new("cp")
                .arg("-r")
                .arg(from.join("."))
                .arg(home.path())
                .status()
                .expect("cp")
                .success()
        );
        let notebook = OpenedNotebook::start(home, "runbook.mdx", &["-y"]);
        let page = notebook.get("/page/0/").body;
        let numbers = numbers(&page);
        for block in fixture["blocks"].as_array().expect("blocks") {
            let id = block["id"].as_str().expect("an id");
            let number = *numbers
                .get(id)
                .unwrap_or_else(|| panic!("no {id} in {numbers:?}"));
            let values = block["inputs_used"].as_object().into_iter().flatten();
            let form: String = values
                .map(|(name, value)| {
                    format!(
                        "&p.{name}={}",
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    )
                })
                .collect();
            assert_eq!(
                notebook.send(&format!("/page/0/run/{number}"), &form),
                303,
                "{id}"
            );
            let state = match block["outcome"].as_str() {
                Some("success") => "passed",
                Some("warn") => "warned",
                _ => "failed",
            };
            let step = ended(&notebook, number);
            assert!(
                step.contains(&format!("data-state=\"{state}\"")),
                "{id} is not {state}: {step}"
            );
            assert!(
                step.contains(&format!("exit code {}", block["exit_code"])),
                "{id}: {step}"
            );
            for (key, value) in block["outputs"].as_object().into_iter().flatten() {
                let value = value.as_str().expect("text").replace('"', "&quot;");
                assert!(
                    step.contains(&format!("output {key} = {value}")),
                    "{id}: {key}: {step}"
                );
            }
            if let Some(directory) = block["cwd_after"].as_str() {
                let panel = notebook.block("session");
                assert!(
                    panel.contains(&format!("directory: {directory}")),
                    "{id}: {panel}"
                );
            }
            for name in block["env_added"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                assert!(notebook.block("session").contains(name), "{id}: {name}");
            }
            blocks += 1;
        }
        runbooks += 1;
    }
    assert_eq!((runbooks, blocks), (4, 20));
}

/// Waits until the step has ended.
fn ended(notebook: &OpenedNotebook, number: usize) -> String {
    let begun = Instant::now();
    loop {
        let step = notebook.step(number);
        if !step.contains("data-state=\"running\"") && !step.contains("data-state=\"ready\"") {
            return step;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{step}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn recorded_runbooks_of_rundown_walk_on_pages_as_recorded() {
    const NAME: &str = "recorded_runbooks_of_rundown_walk_on_pages_as_recorded";
    let Some((cases, clone)) = recorded(NAME, "rundown-runbooks.json", "rundown") else {
        return;
    };
    let cases = cases.as_array().expect("cases");
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let home = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))
            .expect("permissions");
        let text = std::fs::read_to_string(clone.join(case["path"].as_str().expect("a path")))
            .expect("a runbook");
        // The records come from runs in which a person answered for each unit, so a command that only prints text stands
        // for each simulated command.
        let text = text.lines().map(|line| {
            if line.trim_start().starts_with("rd echo") {
                "echo simulated"
            } else {
                line
            }
        });
        let text = text.collect::<Vec<_>>().join("\n") + "\n";
        std::fs::write(home.path().join("case.runbook.md"), text).expect("a file");
        let notebook = OpenedNotebook::start(home, "case.runbook.md", &["-y"]);
        assert_eq!(notebook.send("/page/0/walk", ""), 303, "{name}");
        let begun = Instant::now();
        let walk = loop {
            let walk = notebook.block("workflow-0");
            if walk.contains("class=\"question\"") {
                notebook.answer("workflow-0", "y");
            } else if !walk.contains("data-state=\"running\" aria-label=\"The whole workflow\"") {
                break walk;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{name}: {walk}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let visited: Vec<&str> = walk
            .split("<p class=\"unit\">")
            .skip(1)
            .filter_map(|unit| unit.split([' ', '<']).next())
            .collect();
        let recorded: Vec<&str> = case["path_all_pass"]
            .as_array()
            .expect("a path")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(visited, recorded, "{name}: {walk}");
        let end = if case["outcome"] == "COMPLETE" {
            "the workflow is complete"
        } else {
            "the workflow has stopped"
        };
        assert!(walk.contains(end), "{name}: {walk}");
    }
    assert_eq!(cases.len(), 6);
}
