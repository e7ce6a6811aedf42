//! Reads the runbooks of the project Rundown, if `COUNTERSIGN_PEERS` names a folder with a clone of tobyhede/rundown at
//! commit 664cb67 in `rundown`. `scripts/peers` runs these tests.

use std::path::{Path, PathBuf};

use reading::{Page, RunbookFiles, read_workflow, rundown::read, yaml};
use workbench::{NextUnit, WorkflowWalk};

use crate::peers::peer;

fn runbooks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(runbooks(&path));
        } else if path.to_string_lossy().ends_with(".runbook.md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn errors(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a runbook");
    let flaws = read_workflow(&text).err().unwrap_or_default();
    flaws
        .iter()
        .map(|flaw| format!("{}:{flaw}", path.display()))
        .collect()
}

#[test]
fn every_pattern_of_rundown_is_read_and_every_invalid_runbook_is_refused() {
    let Some(folder) = peer(
        "every_pattern_of_rundown_is_read_and_every_invalid_runbook_is_refused",
        "rundown",
    ) else {
        return;
    };
    let valid = runbooks(&folder.join("runbooks/patterns"));
    assert_eq!(valid.len(), 56);
    let refused: Vec<String> = valid.iter().flat_map(|path| errors(path)).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    for path in &valid {
        let text = std::fs::read_to_string(path).expect("a runbook");
        let files = RunbookFiles::new(path.parent().expect("a directory").to_owned(), None);
        let page = match read(&Page {
            name: "a",
            text: &text,
            files: &files,
        })
        .without_flaws()
        {
            Ok(page) => page,
            // One pattern names runbooks that do not exist.
            Err(flaws) => {
                assert!(
                    path.ends_with("composition/runbook-composition.runbook.md"),
                    "{flaws:?}"
                );
                assert!(
                    flaws
                        .iter()
                        .all(|flaw| flaw.message.starts_with("there is no runbook")),
                    "{flaws:?}"
                );
                flaws
                    .iter()
                    .for_each(|flaw| println!("{}:{flaw}", path.display()));
                continue;
            }
        };
        // A command of Rundown itself can't run. A remark says which lines to change.
        let remarks: Vec<String> = page.remarks.iter().map(ToString::to_string).collect();
        for step in &page.steps {
            for (number, _) in step
                .definition
                .source
                .lines()
                .enumerate()
                .filter(|(_, line)| line.starts_with("rd "))
            {
                let line = (step.place.line + number + 1).to_string();
                let names = |remark: &String| {
                    remark
                        .split([':', ' ', ',', '(', ')'])
                        .any(|word| word == line)
                };
                assert!(
                    remarks.iter().any(names),
                    "{}:{line}: {remarks:?}",
                    path.display()
                );
            }
        }
        let workflow = read_workflow(&text).expect("a valid runbook");
        let units = workflow
            .steps
            .iter()
            .flat_map(|step| std::iter::once(&step.unit).chain(&step.substeps));
        assert_eq!(
            page.steps.len(),
            units.filter(|unit| unit.script.is_some()).count(),
            "{}",
            path.display()
        );
        println!(
            "{}: {} steps",
            path.strip_prefix(&folder)
                .expect("a file of the folder")
                .display(),
            page.steps.len()
        );
    }
    let invalid = runbooks(&folder.join("packages/parser/fixtures/conformance/invalid"));
    assert_eq!(invalid.len(), 20);
    for path in invalid {
        let errors = errors(&path);
        assert!(!errors.is_empty(), "{} is read", path.display());
        println!(
            "refused: {}",
            errors[0]
                .strip_prefix(&format!("{}/", folder.display()))
                .expect("the folder")
        );
    }
}

/// Walks through a runbook with these results. Returns the labels of the visited units, and the end if the walk reached
/// it.
fn walk(text: &str, results: &[bool]) -> (Vec<String>, Option<&'static str>) {
    let workflow = read_workflow(text).expect("a valid runbook");
    let (mut walk, mut next) = WorkflowWalk::begin(&workflow, Vec::new());
    let (mut path, mut results) = (Vec::new(), results.iter());
    loop {
        let unit = match next {
            NextUnit::Run(unit) | NextUnit::Ask(unit) => unit,
            NextUnit::Completed(_) => return (path, Some("COMPLETE")),
            NextUnit::Stopped(_) => return (path, Some("STOP")),
        };
        let Some(passed) = results.next() else {
            return (path, None);
        };
        path.push(unit.label);
        next = walk.next(*passed);
    }
}

#[test]
fn recorded_paths_of_rundown_are_walked_in_the_same_way() {
    let Some(folder) = peer(
        "recorded_paths_of_rundown_are_walked_in_the_same_way",
        "rundown",
    ) else {
        return;
    };
    // These paths were recorded with the program of Rundown. Every unit passed.
    for (file, path, outcome) in [
        ("sequential/standard-sequential", "1 2", "COMPLETE"),
        ("navigation/goto-static", "1 3", "COMPLETE"),
        ("named/mixed-static-named-error", "1 2 3", "COMPLETE"),
        (
            "featured/deploy-service",
            "1.1 1.2 1.3 1.4 2 3.1 3.2 3.3 4.1 4.2 4.2 4.2 4.2 5",
            "COMPLETE",
        ),
        ("transition/transition-actions", "1", "STOP"),
        ("tests/code-blocks", "1 2 3", "COMPLETE"),
    ] {
        let text =
            std::fs::read_to_string(folder.join(format!("runbooks/patterns/{file}.runbook.md")));
        let (found, end) = walk(&text.expect("a runbook"), &[true; 100]);
        assert_eq!(
            (found.join(" ").as_str(), end),
            (path, Some(outcome)),
            "{file}"
        );
    }
}

/// Returns the result of a command of a scenario, or `None` if the command is no result.
fn result(command: &str) -> Option<bool> {
    match command.trim() {
        "rd pass" | "rd yes" => Some(true),
        "rd fail" | "rd no" => Some(false),
        _ => None,
    }
}

#[test]
fn scenarios_of_rundown_have_the_stated_outcome() {
    let Some(folder) = peer("scenarios_of_rundown_have_the_stated_outcome", "rundown") else {
        return;
    };
    // This scenario walks a substep with a name after its sibling, against the specification of Rundown.
    const AGAINST: &str = "static-step-mixed-substeps.runbook.md: cleanup-failure-stops:";
    let (mut walked, mut wrong) = (0, Vec::new());
    for file in runbooks(&folder.join("runbooks/patterns")) {
        let text = std::fs::read_to_string(&file).expect("a runbook");
        let Some((front, _)) = text
            .strip_prefix("---\n")
            .and_then(|text| text.split_once("\n---\n"))
        else {
            continue;
        };
        let front = yaml::parse(front, 2).expect("a front matter").to_json();
        for (name, scenario) in front["scenarios"].as_object().into_iter().flatten() {
            let commands: Vec<&str> = scenario["commands"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|one| one.as_str())
                .collect();
            let Some((first, rest)) = commands.split_first() else {
                continue;
            };
            // The other scenarios use other commands, for example `rd goto`.
            let Some(results) = rest
                .iter()
                .map(|command| result(command))
                .collect::<Option<Vec<bool>>>()
            else {
                continue;
            };
            if !first.starts_with("rd run --prompted ") || first.contains("--step") {
                continue;
            }
            walked += 1;
            let (path, end) = walk(&text, &results);
            if end != scenario["result"].as_str() {
                wrong.push(format!("{}: {name}: {path:?} {end:?}", file.display()));
            }
        }
    }
    wrong.retain(|line: &String| !line.contains(AGAINST));
    assert!(
        wrong.is_empty(),
        "{walked} scenarios:\n{}",
        wrong.join("\n")
    );
    assert!(walked >= 76, "only {walked} scenarios found");
}
