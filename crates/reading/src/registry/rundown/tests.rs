//! Tests of the reader of Rundown runbooks.

use serde_json::json;

use super::{
    workflow::{Aggregation, FinalAction, TransitionAction, Transitions, UnitLabel, UnitTarget},
    *,
};
use crate::RunbookFiles;

const DEPLOY: &str = "---\nname: deploy\nversion: 1.2.3\ntags:\n  - web\nscenarios:\n  all:\n    commands:\n      - rd pass\n---\n\
# Deploy the web server\nOne paragraph\nof text.\n\n\
## 1. Check\n- PASS: CONTINUE\n- FAIL: RETRY 2 \"the check failed\"\n\nLook at `status` first.\n- one\n- two\n\n```bash\nmake check\n```\n\n\
## 2 Roll out\n- PASS ALL: GOTO 4\n- FAIL ANY: GOTO Rollback\n\n\
### 2.1 First host\n- FAIL CONTINUE\n```sh\nmake one\n```\n### 2.Cleanup\n- YES → COMPLETE Done\n- NO — STOP \"not clean\"\n\nIs the host clean?\n\n\
## 3. Show\n\n```bash prompt\nrm -rf build\n```\n\n\
## 4: Other runbooks\n- smoke.runbook.md\n- load.runbook.md\n\n\
## Rollback. Undo everything\n- PASS: STOP\n\n```shell\n#!/usr/bin/env python3\nprint()\n```\n";

fn workflow(text: &str) -> Workflow {
    read_workflow(text).unwrap_or_else(|flaws| panic!("{text}\n{flaws:?}"))
}

fn errors(text: &str) -> Vec<String> {
    read_workflow(text)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn page(text: &str) -> ReadPage {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("ops")).expect("a directory");
    for child in ["smoke.runbook.md", "load.runbook.md"] {
        std::fs::write(home.path().join(child), "").expect("a file");
    }
    let files = RunbookFiles::new(home.path().join("ops"), None);
    read(&Page {
        name: "ops/web",
        text,
        files: &files,
    })
    .without_flaws()
    .expect("a valid page")
}

/// Transitions of step 1 with these lines.
fn stated(lines: &str) -> Transitions {
    workflow(&format!("## 1. A\n{lines}\n\n## 2. B\n\n## X\n")).steps[0]
        .unit
        .transitions
        .clone()
        .expect("transitions")
}

fn then(action: &TransitionAction) -> (u32, FinalAction) {
    (action.retries, action.then.clone())
}

#[test]
fn the_parts_of_a_runbook_are_read() {
    let found = workflow(DEPLOY);
    assert_eq!(found.title.as_deref(), Some("Deploy the web server"));
    assert_eq!(
        found.description.as_deref(),
        Some("One paragraph\nof text.")
    );
    let labels: Vec<String> = found
        .steps
        .iter()
        .map(|step| step.unit.label.to_string())
        .collect();
    assert_eq!(labels, ["1", "2", "3", "4", "Rollback"]);
    let titles: Vec<&str> = found
        .steps
        .iter()
        .map(|step| step.unit.title.as_str())
        .collect();
    assert_eq!(
        titles,
        [
            "Check",
            "Roll out",
            "Show",
            "Other runbooks",
            "Undo everything"
        ]
    );
    let [check, roll, show, other, rollback] = found.steps.as_slice() else {
        panic!("five steps")
    };
    assert_eq!(check.unit.prompt, "Look at `status` first.\n- one\n- two");
    assert_eq!(
        check
            .unit
            .script
            .as_ref()
            .map(|script| script.source.as_str()),
        Some("make check\n")
    );
    let own: Vec<String> = roll
        .substeps
        .iter()
        .map(|unit| unit.label.substep_text())
        .collect();
    assert_eq!(
        (own.join(" ").as_str(), roll.substeps[1].title.as_str()),
        ("1 Cleanup", "2.Cleanup")
    );
    assert_eq!(roll.substeps[1].prompt, "Is the host clean?");
    assert_eq!(
        (show.unit.shown.as_slice(), &show.unit.script),
        (["rm -rf build\n".to_owned()].as_slice(), &None)
    );
    let runbooks: Vec<&str> = other
        .unit
        .runbooks
        .iter()
        .map(|(_, path)| path.as_str())
        .collect();
    assert_eq!(runbooks, ["smoke.runbook.md", "load.runbook.md"]);
    assert_eq!(
        rollback
            .unit
            .script
            .as_ref()
            .map(|script| script.interpreter.as_str()),
        Some("python3")
    );
}

#[test]
fn each_executable_block_is_a_step_of_the_registry() {
    let found = page(DEPLOY);
    let facts: Vec<_> = found
        .steps
        .iter()
        .map(|step| {
            let one = &step.definition;
            (
                one.reference.as_str(),
                one.interpreter.as_str(),
                one.title.as_str(),
                one.format,
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            ("ops/web:1", "bash", "Check", Format::Rundown),
            ("ops/web:2.1", "sh", "First host", Format::Rundown),
            (
                "ops/web:Rollback",
                "python3",
                "Undo everything",
                Format::Rundown
            ),
        ]
    );
    let line = found.steps[0].place.line;
    assert_eq!(
        DEPLOY.lines().nth(line - 1),
        Some("```bash"),
        "the place of a step is its fence"
    );
    let dynamic = page("## {N}. Item\n### {N}.{n} One\n```bash\necho {n}\n```\n");
    assert_eq!(
        dynamic.steps[0].definition.reference.as_str(),
        "ops/web:N-th.n-th"
    );
    assert_eq!(dynamic.remarks.len(), 1, "{:?}", dynamic.remarks);
    let prose = page("## 1. Ask\nIs it done?\n");
    assert!(prose.steps.is_empty());
}

#[test]
fn transitions_are_read_with_and_without_a_colon() {
    let goto = |step, substep| FinalAction::Goto(UnitTarget { step, substep });
    for (lines, pass, fail) in [
        (
            "- PASS: COMPLETE\n- FAIL: CONTINUE",
            (0, FinalAction::Complete(None)),
            (0, FinalAction::Continue),
        ),
        (
            "- PASS COMPLETE\n- FAIL CONTINUE",
            (0, FinalAction::Complete(None)),
            (0, FinalAction::Continue),
        ),
        (
            "- YES → COMPLETE\n- NO - CONTINUE",
            (0, FinalAction::Complete(None)),
            (0, FinalAction::Continue),
        ),
        (
            "PASS: COMPLETE\nFAIL: CONTINUE",
            (0, FinalAction::Complete(None)),
            (0, FinalAction::Continue),
        ),
        (
            "- PASS: STOP \"two words\"",
            (0, FinalAction::Stop(Some("two words".to_owned()))),
            (0, FinalAction::Stop(None)),
        ),
        (
            "- FAIL: COMPLETE Late",
            (0, FinalAction::Continue),
            (0, FinalAction::Complete(Some("Late".to_owned()))),
        ),
        (
            "- FAIL: RETRY",
            (0, FinalAction::Continue),
            (1, FinalAction::Stop(None)),
        ),
        (
            "- FAIL: RETRY 3",
            (0, FinalAction::Continue),
            (3, FinalAction::Stop(None)),
        ),
        (
            "- FAIL: RETRY 3 \"no\"",
            (0, FinalAction::Continue),
            (3, FinalAction::Stop(Some("no".to_owned()))),
        ),
        (
            "- FAIL: RETRY CONTINUE",
            (0, FinalAction::Continue),
            (1, FinalAction::Continue),
        ),
        (
            "- PASS: RETRY 2 GOTO X",
            (2, goto(UnitLabel::Name("X".to_owned()), None)),
            (0, FinalAction::Stop(None)),
        ),
        (
            "- PASS: GOTO 2",
            (0, goto(UnitLabel::Number(2), None)),
            (0, FinalAction::Stop(None)),
        ),
    ] {
        let found = stated(lines);
        assert_eq!(
            (then(&found.pass), then(&found.fail)),
            (pass, fail),
            "{lines}"
        );
    }
}

#[test]
fn the_result_of_a_step_follows_from_all_or_any() {
    for (lines, expected) in [
        ("- PASS: CONTINUE", Aggregation::AllPass),
        (
            "- PASS ALL: CONTINUE\n- FAIL ANY: STOP",
            Aggregation::AllPass,
        ),
        ("- FAIL ANY STOP", Aggregation::AllPass),
        (
            "- PASS ANY: CONTINUE\n- FAIL ALL: STOP",
            Aggregation::AnyPasses,
        ),
        ("- PASS ANY CONTINUE", Aggregation::AnyPasses),
        ("- FAIL ALL: STOP", Aggregation::AnyPasses),
    ] {
        assert_eq!(stated(lines).aggregation, expected, "{lines}");
    }
}

#[test]
fn words_in_prose_are_no_transitions() {
    let found =
        workflow("## 1. A\nPASSWORD and NOTES are words.\nNO changes are needed.\nPass it on.\n");
    assert_eq!(found.steps[0].unit.prompt.lines().count(), 3);
    assert!(found.steps[0].unit.transitions.is_none());
}

#[test]
fn a_loop_gives_its_variable_to_the_substeps_as_a_parameter() {
    let text = |clause: &str, script: &str| {
        format!("## 1. All\n- FOR {clause}\n\n### 1.1 One\n```bash\n{script}\n```\n")
    };
    let found = page(&text(
        "item IN {{ items }}",
        "echo {{item}} \"a {{ item }}\" 'b {{item}}' # it's {{item}}",
    ));
    let step = &found.steps[0].definition;
    assert_eq!(
        step.source,
        "echo \"${PARAM_ITEM}\" \"a ${PARAM_ITEM}\" 'b '\"${PARAM_ITEM}\"'' # it's {{item}}\n"
    );
    assert_eq!(
        json!(step.params),
        json!({
            "type": "object", "properties": {"item": {"type": "string", "maxLength": 4096, "pattern": "^[^\\[]*(\\[[^$`]*)?$"}},
            "required": ["item"],
        })
    );
    let found = page(&text("i IN 5 TO 2", "echo $PARAM_I"));
    assert_eq!(
        json!(found.steps[0].definition.params)["properties"],
        json!({"i": {"type": "integer", "minimum": 2, "maximum": 5}})
    );
    assert_eq!(
        json!(page(&text("3", "true")).steps[0].definition.params)["properties"],
        json!({})
    );
    for (clause, expected) in [
        ("3", LoopSource::Range { first: 1, last: 3 }),
        ("i IN 3", LoopSource::Range { first: 1, last: 3 }),
        ("4 TO 2", LoopSource::Range { first: 4, last: 2 }),
        (
            "x IN {{items}}",
            LoopSource::List {
                name: "items".to_owned(),
                window: None,
            },
        ),
        (
            "x IN 2 TO 7 OF {{ items }}",
            LoopSource::List {
                name: "items".to_owned(),
                window: Some((2, 7)),
            },
        ),
    ] {
        let found = workflow(&text(clause, "true"));
        assert_eq!(
            found.steps[0]
                .repeat
                .as_ref()
                .map(|repeat| repeat.source.clone()),
            Some(expected),
            "{clause}"
        );
    }
}

#[test]
fn a_loop_variable_is_one_word_in_any_quotes() {
    // Each script prints its words, one a line. Bash reads the value as data.
    let value = "a  b*'\"$(exit 7);`exit 8`";
    for script in [
        "printf '%s\\n' {{x}}",
        "printf '%s\\n' \"{{ x }}\"",
        "printf '%s\\n' ''{{x}}'' # don't {{x}}",
        "printf '%s\\n' '{{x}}'",
        "y=`printf '%s' \"#\"{{x}}`; printf '%s\\n' \"$y\" | tail -c +2",
        "printf '%s\\n' \"$(printf '%s' \"{{x}}\")\"",
        "printf '%s\\n' \"$( (printf '%s' {{x}}) )\"; case {{x}} in (y) ;; esac",
        "y={{x}}; cat <<<{{x}} >/dev/null; printf '%s\\n' \"${y}\"",
    ] {
        let rewritten = loop_clause::replace_variable(script, "x").expect(script);
        let run = std::process::Command::new("bash")
            .args(["-c", &rewritten])
            .env("PARAM_X", value)
            .output();
        let run = run.expect("bash");
        assert_eq!(
            String::from_utf8_lossy(&run.stdout),
            format!("{value}\n"),
            "{script}\n{rewritten}"
        );
        assert!(run.status.success(), "{script}");
    }
}

#[test]
fn every_error_of_a_rundown_runbook_has_its_place() {
    let in_loop = |script: &str| {
        format!("## 1. A\n- FOR x IN {{{{ l }}}}\n\n### 1.1 B\n```bash\n{script}\n```\n")
    };
    let mut wrong = Vec::new();
    for (text, expected) in [
        (String::new(), "1:1: the runbook has no step"),
        (
            "## 1. A\r\n".to_owned(),
            "1:8: the file has Windows line endings",
        ),
        (
            "---\nname: a\n## 1. A\n".to_owned(),
            "1:1: the front matter is not closed",
        ),
        (
            "---\nname: [a\n---\n## 1. A\n".to_owned(),
            "2:7: not readable as YAML",
        ),
        (
            "---\n- a\n---\n## 1. A\n".to_owned(),
            "2:1: the front matter must be a map",
        ),
        (
            "---\ncountersign: 1\n---\n## 1. A\n".to_owned(),
            "2:1: a file that ends in .runbook.md is a Rundown runbook",
        ),
        (
            "---\nname: a\nInputs: [x]\n---\n## 1. A\n".to_owned(),
            "3:1: `Inputs` in the front matter belongs to a newer",
        ),
        ("# 1. A\n".to_owned(), "1:1: an H1 heading can't be a step"),
        ("## 1.\n".to_owned(), "1:1: the step \"1.\" has no title"),
        (
            "## 0. A\n".to_owned(),
            "1:1: 0 can't be the number of a step",
        ),
        ("## 01. A\n".to_owned(), "1:1: 01 can't be the number"),
        ("## ä\n".to_owned(), "1:1: the heading \"ä\" is no step"),
        (
            "## 1. A\n## STOP\n".to_owned(),
            "2:1: STOP is a word of the format",
        ),
        (
            "## 1. A\n## 3. B\n".to_owned(),
            "2:1: the step has the number 3, but 2 follows here",
        ),
        (
            "## X\n## X\n".to_owned(),
            "2:1: the step X is already in line 1",
        ),
        (
            "## {N}. A\n## {N}. B\n".to_owned(),
            "2:1: a runbook can have only one step {N}",
        ),
        (
            "## 1. A\n\n## {N}. B\n".to_owned(),
            "3:1: a runbook can't have numbered steps and a step {N}",
        ),
        (
            "### 1.1 A\n".to_owned(),
            "1:1: the substep is above the first step",
        ),
        (
            "## 1. A\n### Build\n".to_owned(),
            "2:1: the heading \"Build\" is no substep",
        ),
        (
            "## 1. A\n### 1.STOP\n".to_owned(),
            "2:1: STOP is a word of the format",
        ),
        (
            "## 1. A\n### 2.1 B\n".to_owned(),
            "2:1: the substep names the step 2, but belongs to the step 1",
        ),
        (
            "## 1. A\n### 1.1 B\n### 1.1 C\n".to_owned(),
            "3:1: the substep 1.1 is already in line 2",
        ),
        (
            "## 1. A\n### 1.2 B\n".to_owned(),
            "2:1: the substep has the number 2, but 1 follows here",
        ),
        (
            "## 1. A\n### 1.1 B\n### 1.{n} C\n".to_owned(),
            "3:1: a step can't have {n} and other substeps",
        ),
        (
            "## 1. A\n#### B\n".to_owned(),
            "2:1: a heading below ### is not supported",
        ),
        (
            "## 1. A\n```bash\ntrue\n```\n### 1.1 B\n".to_owned(),
            "5:1: a step with substeps can't have a block",
        ),
        (
            "## 1. A\n```bash\ntrue\n```\n```sh\ntrue\n```\n".to_owned(),
            "5:1: a step can have only one block",
        ),
        (
            "## 1. A\n- b.runbook.md\n\n```sh\ntrue\n```\n".to_owned(),
            "4:1: a step can't have a block and runbooks",
        ),
        (
            "## 1. A\n```sh\ntrue\n```\n- b.runbook.md\n".to_owned(),
            "5:3: a step can't have a block and runbooks",
        ),
        (
            "## 1. A\n```sh\ntrue\n```\nText\n".to_owned(),
            "5:1: text can't follow the block",
        ),
        (
            "## 1. A\n```sh\ntrue\n```\n- text\n".to_owned(),
            "5:3: text can't follow the block",
        ),
        (
            "## 1. A\nText\n\n- PASS: STOP\n".to_owned(),
            "4:3: a transition must stand directly below the heading",
        ),
        (
            "## 1. A\n```sh\n\n```\n".to_owned(),
            "2:1: the block is empty",
        ),
        (
            "## 1. A\n```sh\ntrue\n".to_owned(),
            "2:1: the block is not closed",
        ),
        (
            "## 1. A\n```sh promt\ntrue\n```\n".to_owned(),
            "2:4: \"promt\" has no meaning after sh",
        ),
        (
            "## 1. A\n```sh\n#!/bin/fish\n```\n".to_owned(),
            "3:1: unknown interpreter",
        ),
        (
            "## 1. A\n- PASS: CONTINEU\n".to_owned(),
            "2:3: unknown action: \"CONTINEU\"; did you mean \"CONTINUE\"?",
        ),
        (
            "## 1. A\nPASS: CONTINEU\n".to_owned(),
            "2:1: unknown action",
        ),
        (
            "## 1. A\n- PASS continue\n".to_owned(),
            "2:3: unknown action",
        ),
        ("## 1. A\n- PASS:\n".to_owned(), "2:3: PASS has no action"),
        (
            "## 1. A\n- PASS: CONTINUE now\n".to_owned(),
            "2:3: CONTINUE has no message",
        ),
        (
            "## 1. A\n- PASS: STOP two words\n".to_owned(),
            "2:3: the message \"two words\" has more than one word",
        ),
        (
            "## 1. A\n- PASS: STOP \"two\n".to_owned(),
            "2:3: the quotes of the message",
        ),
        (
            "## 1. A\n- PASS: STOP\n- YES: STOP\n".to_owned(),
            "3:3: PASS (or YES) is already in line 2",
        ),
        (
            "## 1. A\n- PASS ALL: STOP\n- FAIL ALL: STOP\n".to_owned(),
            "3:3: ALL and ANY contradict each other",
        ),
        (
            "## 1. A\n- FAIL: RETRY 0\n".to_owned(),
            "2:3: RETRY 0 is not valid",
        ),
        (
            "## 1. A\n- FAIL: RETRY 10001\n".to_owned(),
            "2:3: RETRY 10001 is not valid",
        ),
        (
            "## 1. A\n- FAIL: RETRY 2x\n".to_owned(),
            "2:3: \"2x\" is not valid after RETRY",
        ),
        (
            "## 1. A\n- FAIL: RETRY 2 RETRY 1 STOP\n".to_owned(),
            "2:3: a RETRY can't contain another RETRY",
        ),
        (
            "## 1. A\n- FAIL: GOTO\n".to_owned(),
            "2:3: GOTO has no target",
        ),
        (
            "## 1. A\n- FAIL: GOTO a-b\n".to_owned(),
            "2:3: \"a-b\" is no target of GOTO",
        ),
        (
            "## 1. A\n- FAIL: GOTO 2 or 3\n".to_owned(),
            "2:3: \"2 or 3\" is no target of GOTO",
        ),
        (
            "## 1. A\n- FAIL: GOTO 2\n".to_owned(),
            "2:3: GOTO 2: there is no step 2; write one of 1",
        ),
        (
            "## 1. A\n- FAIL: RETRY 2 GOTO 2\n".to_owned(),
            "2:3: GOTO 2: there is no step 2",
        ),
        (
            "## 1. A\n- FAIL: GOTO 1\n".to_owned(),
            "2:3: GOTO 1 repeats the same step",
        ),
        (
            "## 1. A\n### 1.1 B\n- FAIL: GOTO 1.1\n".to_owned(),
            "3:3: GOTO 1.1 repeats the same step",
        ),
        (
            "## 1. A\n- FAIL: GOTO 2.1\n## 2. B\n".to_owned(),
            "2:3: GOTO 2.1: the step 2 has no such substep",
        ),
        (
            "## 1. A\n- FAIL: GOTO {N}\n".to_owned(),
            "2:3: GOTO {N}: there is no step {N}",
        ),
        (
            "## 1. A\n- FAIL: GOTO NEXT\n".to_owned(),
            "2:3: GOTO NEXT needs a step {N}",
        ),
        (
            "## 1. A\n- FAIL: GOTO NEXT 1\n".to_owned(),
            "2:3: GOTO NEXT 1 names no dynamic step",
        ),
        (
            "## 1. A\n- FAIL: GOTO NEXT {N}\n".to_owned(),
            "2:3: GOTO NEXT {N}: there is no step {N}",
        ),
        (
            "## 1. A\n- PASS: NEXT\n".to_owned(),
            "2:3: NEXT belongs to a newer version of Rundown",
        ),
        (
            "## 1. A\n- PASS: BREAK\n".to_owned(),
            "2:3: BREAK belongs to a newer version",
        ),
        (
            "## 1. A\n- PASS DEFER\n".to_owned(),
            "2:3: DEFER belongs to a newer version",
        ),
        (
            "## 1. A\n- DEFER\n".to_owned(),
            "2:3: DEFER belongs to a newer version",
        ),
        (
            "## 1. A\n- DELEGATE\n".to_owned(),
            "2:3: DELEGATE belongs to a newer version",
        ),
        (
            "## 1. A\n- OUTPUTS\n  - X\n".to_owned(),
            "2:3: OUTPUTS belongs to a newer version",
        ),
        (
            "## 1. A\n- PASS: GOTO 2 AT 3\n## 2. B\n".to_owned(),
            "2:3: GOTO ... AT belongs to a newer version",
        ),
        (
            "## 1. A\n- FOR 3\n".to_owned(),
            "2:3: FOR repeats the substeps of a step, but the step has none",
        ),
        (
            "## 1. A\n- FOR 0\n### 1.1 B\n".to_owned(),
            "2:3: \"0\" can't be the bound of a range",
        ),
        (
            "## 1. A\n- FOR 10001\n### 1.1 B\n".to_owned(),
            "2:3: \"10001\" can't be the bound",
        ),
        (
            "## 1. A\n- FOR 1 TO {{ Max }}\n### 1.1 B\n".to_owned(),
            "2:3: ",
        ),
        (
            "## 1. A\n- FOR x OF y\n### 1.1 B\n".to_owned(),
            "2:3: FOR x OF y is not valid",
        ),
        (
            "## 1. A\n- FOR {{ x }}\n### 1.1 B\n".to_owned(),
            "2:3: a loop over a list needs a variable",
        ),
        (
            "## 1. A\n- FOR 2\n- FOR 3\n### 1.1 B\n".to_owned(),
            "3:3: a step can have only one FOR",
        ),
        (
            "## 1. A\n- PASS: STOP\n- FOR 3\n### 1.1 B\n".to_owned(),
            "3:3: FOR must be the first line",
        ),
        (
            "## 1. A\n### 1.1 B\n- FOR 3\n".to_owned(),
            "3:3: FOR must belong to a step",
        ),
        (
            "## 1. A\n- FOR 3\n  - PASS: STOP\n### 1.1 B\n".to_owned(),
            "3:5: a line below FOR belongs to a newer",
        ),
        (
            "## {N}. A\n- FOR 3\n### {N}.1 B\n".to_owned(),
            "2:3: a step {N} can't have FOR too",
        ),
        (
            "## 1. A\n- FOR 3\n### 1.{n} B\n".to_owned(),
            "2:3: a step with FOR can't have a substep {n}",
        ),
        (
            in_loop("cat <<X\n{{ x }}\nX"),
            "6:1: {{ x }} can't be replaced in a script with a here-document",
        ),
        (
            in_loop("[[ $1 =~ (x<<y) ]]\nssh {{ x }} uptime"),
            "6:1: {{ x }} can't be replaced in a script with a here-document",
        ),
        (
            in_loop("true\necho \"`echo {{x}}`\""),
            "7:1: {{ x }} can't be replaced in a script with a backquote",
        ),
        (
            in_loop("echo \"${a:-{{x}}}\""),
            "6:1: {{ x }} can't be replaced in a script with ${...}",
        ),
        (
            in_loop("echo $'{{x}}'"),
            "6:1: {{ x }} can't be replaced in a script with $'...'",
        ),
        (
            in_loop("echo \\{{x}}"),
            "6:1: {{ x }} can't be replaced in a script with a backslash",
        ),
        (
            in_loop("echo '{{x}}"),
            "6:1: the quotes or parentheses of the script are not closed",
        ),
        (
            in_loop("echo \"$(echo {{x}}"),
            "6:1: the quotes or parentheses of the script are not closed",
        ),
        (
            in_loop("echo $(( {{x}} ))"),
            "6:1: {{ x }} can't be replaced in a script with arithmetic",
        ),
        (
            in_loop("#!/usr/bin/env python3\nprint({{x}})"),
            "6:1: {{ x }} is replaced only in shell scripts",
        ),
    ] {
        let found = errors(&text);
        if !found.iter().any(|error| error.starts_with(expected)) {
            wrong.push(format!(
                "{text:?}\n  expected {expected}\n  found {found:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_errors_of_a_file_are_reported_together() {
    let text = "## 1. A\n- PASS: GO\n- FAIL: GOTO 9\n\n## 3. B\n### Build\n## ä\n- PASS: IGNORED\n";
    let found = errors(text);
    let places: Vec<&str> = found
        .iter()
        .map(|error| error.rsplit_once(": ").map_or("", |(place, _)| &place[..3]))
        .collect();
    assert_eq!(places, ["2:3", "3:3", "5:1", "6:1", "7:1"], "{found:#?}");
}

#[test]
fn a_block_declares_what_it_needs_of_the_host() {
    let found = page("## 1. A\n\n```bash {network=host programs=curl timeout=30m}\ncurl x\n```\n");
    let step = &found.steps[0].definition;
    assert_eq!(step.sandbox.network, Some(documents::DeclaredNetwork::Host));
    assert_eq!(
        step.sandbox
            .limits
            .as_ref()
            .and_then(|limits| limits.wall_ms),
        Some(1_800_000)
    );
    assert_eq!(step.programs.as_ref().map(Vec::len), Some(1));
    for (info, expected) in [
        (
            "bash {title=x}",
            "3:10: unknown attribute of a Rundown block",
        ),
        (
            "bash {sandbox=off reason=x}",
            "3:10: unknown attribute of a Rundown block",
        ),
        (
            "bash {#a network=host}",
            "3:11: the heading gives the id of a Rundown step",
        ),
        ("bash {network=host", "3:"),
        (
            "bash {network=example}",
            "3:18: the address \"example\" has no port",
        ),
        ("bash {write=/srv/a}", "3:4: "),
        ("bash {}", "3:4: the braces contain no need of the step"),
        (
            "bash x {network=host}",
            "3:4: \"x\" has no meaning after bash",
        ),
    ] {
        let text = format!("## 1. A\n\n```{info}\ntrue\n```\n");
        let flaws = errors(&text);
        assert!(
            flaws.iter().any(|flaw| flaw.starts_with(expected)),
            "{info}: {flaws:?}"
        );
    }
    assert!(
        page("## 1. A\n\n```js {1,3-4}\nx\n```\n").steps.is_empty(),
        "a block that is only shown"
    );
}
