//! Runs the tests of a Gruntwork runbook, each in a session and a directory of its own.

use std::{collections::BTreeMap, io::Read as _, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    ChosenStep, RunbookTests, RunbookWalk, WalkSession, WalkStep,
    local::runbook_test::{
        ExpectedStatus, FileCheck, OutputCheck, TestAssertion, TestCase, TestStep,
    },
};
use client::{CommandFailure, CommandResult, PrintableText, fail_usage};
use documents::{DeclaredSandbox, Parameter, RelativePath, StepDefinition, Template, joined};
use reading::{OtherBlock, RegisteredStep, Registry};
use sandbox::is_carried;

/// Maximum size of a file that an assertion reads, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Runbook with its tests.
pub struct TestedRunbook {
    /// Steps in file order.
    pub steps: Vec<Arc<RegisteredStep>>,
    /// Blocks of the page that only Gruntwork runs.
    pub others: Vec<OtherBlock>,
    /// The tests.
    pub tests: RunbookTests,
}

/// Result of a test.
pub enum TestResult {
    /// Every step and assertion was as expected.
    Passed,
    /// The differences.
    Failed(Vec<String>),
    /// The reasons why the test did not run.
    Skipped(Vec<String>),
}

impl TestedRunbook {
    /// Runs one test: the steps work in a directory of their own, and begin with the variables of the test.
    pub fn run(&self, test: &TestCase, mut walk: RunbookWalk<'_>) -> TestResult {
        let steps = match self.planned(test) {
            Ok(steps) => steps,
            Err(reasons) => return TestResult::Skipped(reasons),
        };
        let params: Map<String, Value> = test.inputs.iter().cloned().collect();
        let (signals, terminal) = (walk.signals, walk.terminal);
        walk.private = true;
        walk.carried = Some(WalkSession::of_test(&test.env));
        let mut run = CaseRun {
            runbook: self,
            walk,
            failures: Vec::new(),
            scripts: 0,
        };
        let reached_end = steps
            .iter()
            .all(|planned| signals.caught().is_none() && run.step(planned, &params));
        if reached_end {
            run.assertions(&test.assertions, None);
        }
        for command in &test.cleanup {
            // The directory of the test is discarded anyway. In Gruntwork, a failed cleanup fails no test either.
            if let Err(why) = run.script(command) {
                terminal.say(PrintableText::text(&format!(
                    "note: cleanup of {}: {why}",
                    test.name
                )));
            }
        }
        if signals.caught().is_some() {
            run.failures.push("interrupted".to_owned());
        }
        if !params.is_empty() && !run.failures.is_empty() {
            run.failures
                .push(format!("the inputs were {}", Value::Object(params)));
        }
        if run.failures.is_empty() {
            TestResult::Passed
        } else {
            TestResult::Failed(run.failures)
        }
    }
}

/// Step of a test with its block.
struct PlannedTestStep<'a> {
    block: &'a Arc<RegisteredStep>,
    /// The step, or `None` if the test names no steps.
    step: Option<&'a TestStep>,
}

impl TestedRunbook {
    /// Checks that the page has each block that a test names.
    ///
    /// # Errors
    /// Returns a message about the first block that the page does not have.
    pub fn check_names(&self) -> Result<(), String> {
        let steps = self
            .tests
            .tests
            .iter()
            .flat_map(|test| test.steps.iter().map(move |step| (test, step)));
        for (test, step) in steps {
            if self.block(&step.block).is_none() && self.other(&step.block).is_none() {
                return Err(format!(
                    "the test {:?} names the block {:?}, which the page does not have",
                    test.name, step.block
                ));
            }
        }
        Ok(())
    }

    fn block(&self, id: &str) -> Option<&Arc<RegisteredStep>> {
        self.steps
            .iter()
            .find(|step| step.definition.reference.step() == id)
    }

    fn other(&self, id: &str) -> Option<&OtherBlock> {
        self.others
            .iter()
            .find(|block| block.id.as_deref() == Some(id))
    }

    /// Returns the steps of a test that run.
    ///
    /// # Errors
    /// Returns the reasons why this program can't run the test.
    fn planned<'a>(&'a self, test: &'a TestCase) -> Result<Vec<PlannedTestStep<'a>>, Vec<String>> {
        let mut reasons = test.unsupported.clone();
        let not_run = |block: &OtherBlock| {
            let id = block
                .id
                .as_ref()
                .map(|id| format!(" id={id:?}"))
                .unwrap_or_default();
            format!("this program does not run <{}{id}>", block.component)
        };
        let names = test
            .env
            .iter()
            .filter(|(name, _)| !is_carried(name.as_bytes()) || name == "PATH");
        reasons
            .extend(names.map(|(name, _)| format!("no step can get the variable {name} of `env`")));
        if test.steps.is_empty() {
            reasons.extend(self.others.iter().map(not_run));
        }
        let steps = test
            .steps
            .iter()
            .filter(|step| step.expect != ExpectedStatus::Skip);
        let mut planned: Vec<PlannedTestStep<'_>> = Vec::new();
        for step in steps {
            match (self.block(&step.block), self.other(&step.block)) {
                (Some(block), _) => {
                    let step = Some(step);
                    planned.push(PlannedTestStep { block, step });
                }
                (None, Some(other)) => reasons.push(not_run(other)),
                (None, None) => reasons.push(format!("the page has no block {:?}", step.block)),
            }
        }
        if test.steps.is_empty() {
            planned = self
                .steps
                .iter()
                .map(|block| PlannedTestStep { block, step: None })
                .collect();
        }
        for planned in &planned {
            let needed = planned.block.definition.needed_secrets();
            if !needed.is_empty() {
                let id = planned.block.definition.reference.step();
                reasons.push(format!(
                    "{id} needs {}, and no test gets a secret",
                    needed.join(", ")
                ));
            }
        }
        if reasons.is_empty() {
            Ok(planned)
        } else {
            Err(reasons)
        }
    }
}

/// One run of a test.
struct CaseRun<'a> {
    runbook: &'a TestedRunbook,
    walk: RunbookWalk<'a>,
    failures: Vec<String>,
    /// Number of scripts of assertions and of cleanup.
    scripts: usize,
}

impl CaseRun<'_> {
    /// Runs a step. Returns true if the test goes on.
    fn step(&mut self, planned: &PlannedTestStep<'_>, params: &Map<String, Value>) -> bool {
        let id = planned.block.definition.reference.step();
        let expect = planned
            .step
            .map_or(ExpectedStatus::Success, |step| step.expect);
        let ended = match self.ended(planned, params, expect) {
            Ok(None) => return true,
            Ok(Some(status)) => status,
            Err(failure) => {
                self.failures
                    .push(format!("step {id}: {}", failure.message));
                return false;
            }
        };
        if ended.0 != expect {
            self.failures.push(format!(
                "step {id}: expected {expect}, but it ended with {}",
                ended.1
            ));
            return false;
        }
        let before = self.failures.len();
        if let Some(step) = planned.step {
            for output in &step.outputs {
                self.output(id, output, &OutputCheck::Exists);
            }
            self.assertions(&step.assertions, Some(id));
        }
        self.failures.len() == before
    }

    /// Returns how a step ended, in words too, or `None` if it was blocked as expected.
    fn ended(
        &mut self,
        planned: &PlannedTestStep<'_>,
        params: &Map<String, Value>,
        expect: ExpectedStatus,
    ) -> CommandResult<Option<(ExpectedStatus, String)>> {
        let step = WalkStep::new(planned.block, &[], params)?;
        if expect == ExpectedStatus::Blocked {
            let Some(carried) = &self.walk.carried else {
                return Ok(None);
            };
            let mut missing = step.missing_after(&carried.outputs)?;
            missing.retain(|name| name.starts_with("outputs_"));
            if missing.is_empty() {
                return fail_usage("expected blocked, but no output is missing");
            }
            let mut named = planned.step.iter().flat_map(|step| &step.missing_outputs);
            return match named.find(|name| !missing.contains(&name.replace(['.', '-'], "_"))) {
                Some(name) => fail_usage(format!("the output {name} is not missing")),
                None => Ok(None),
            };
        }
        let exit = self.walk.walk_step(&step)?;
        let code = exit.code();
        let status = match code {
            0 => ExpectedStatus::Success,
            2 => ExpectedStatus::Warn,
            _ => ExpectedStatus::Fail,
        };
        Ok(Some((
            status,
            format!("exit code {code} ({})", exit.word()),
        )))
    }

    fn assertions(&mut self, assertions: &[TestAssertion], step: Option<&str>) {
        for assertion in assertions {
            match assertion {
                TestAssertion::File(path, check) => {
                    if let Err(why) = self.file(path, check) {
                        self.failures.push(format!("{path}: {why}"));
                    }
                }
                TestAssertion::Output {
                    block,
                    output,
                    check,
                } => match block.as_deref().or(step) {
                    Some(block) => self.output(block, output, check),
                    None => self.failures.push(format!(
                        "the assertion about the output {output} names no `block`"
                    )),
                },
                TestAssertion::Script(command) => {
                    if let Err(why) = self.script(command) {
                        self.failures.push(format!("assertion script: {why}"));
                    }
                }
            }
        }
    }

    fn output(&mut self, block: &str, output: &str, check: &OutputCheck) {
        let carried = self.walk.carried.as_ref();
        let value = carried.and_then(|carried| carried.output(block, output));
        let problem = match (value, check) {
            (None | Some(""), OutputCheck::Exists) | (None, _) => Some("does not exist".to_owned()),
            (Some(_), OutputCheck::Exists) => None,
            (Some(value), OutputCheck::Equals(expected)) => {
                (value != expected).then(|| format!("is {value:?}, not {expected:?}"))
            }
            (Some(value), OutputCheck::Matches(pattern)) => (!pattern.is_match(value))
                .then(|| format!("is {value:?}, which does not match {pattern}")),
        };
        if let Some(problem) = problem {
            self.failures
                .push(format!("the output {output} of {block} {problem}"));
        }
    }

    fn file(&self, path: &RelativePath, check: &FileCheck) -> Result<(), String> {
        let found = self.found(path)?;
        let content = match (&found, check) {
            (Found::Nothing, FileCheck::Absent | FileCheck::NoDirectory)
            | (Found::File(_), FileCheck::Exists | FileCheck::NoDirectory)
            | (Found::Directory, FileCheck::IsDirectory) => return Ok(()),
            (Found::File(content), _) => content,
            (Found::Nothing, _) => return Err("nothing has this path".to_owned()),
            (Found::Directory, _) => return Err("it is a directory".to_owned()),
        };
        let text = String::from_utf8_lossy(content);
        let problem = match check {
            FileCheck::Contains(part) if !text.contains(part) => {
                format!("it does not contain {part:?}")
            }
            FileCheck::ContainsNot(part) if text.contains(part) => format!("it contains {part:?}"),
            FileCheck::Matches(pattern) if !pattern.is_match(&text) => {
                format!("it does not match {pattern}")
            }
            FileCheck::Equals(expected) if text != *expected => format!("it is not {expected:?}"),
            FileCheck::Absent => "it exists".to_owned(),
            FileCheck::IsDirectory => "it is a file".to_owned(),
            _ => return Ok(()),
        };
        Err(problem)
    }

    /// Returns what exists at the path: a file of `$GENERATED_FILES`, or an entry of the work directory.
    fn found(&self, path: &RelativePath) -> Result<Found, String> {
        let Some(carried) = &self.walk.carried else {
            return Ok(Found::Nothing);
        };
        let output = path
            .as_str()
            .strip_prefix(self.runbook.tests.output_path.as_str());
        let captured = output
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| carried.files.as_ref()?.get(rest));
        let opened = match (captured, &carried.tree) {
            (Some(file), _) => file.open()?,
            (None, None) => return Ok(Found::Nothing),
            (None, Some(tree)) => match tree.open(path) {
                Ok(file) => file,
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                    ) =>
                {
                    return Ok(Found::Nothing);
                }
                Err(error) => {
                    return Err(format!(
                        "it can't be opened without following links: {error}"
                    ));
                }
            },
        };
        let kind = opened
            .metadata()
            .map_err(|error| error.to_string())?
            .file_type();
        if kind.is_dir() {
            return Ok(Found::Directory);
        }
        if !kind.is_file() {
            return Err("it is no regular file".to_owned());
        }
        let mut content = Vec::new();
        opened
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(|error| error.to_string())?;
        if content.len() as u64 > MAX_FILE_BYTES {
            Err("it is larger than 16 MiB".to_owned())
        } else {
            Ok(Found::File(content))
        }
    }

    /// Runs a script of the test as a step of its own.
    fn script(&mut self, command: &str) -> Result<(), String> {
        self.scripts += 1;
        let chosen = self.script_step(command)?;
        let exit = self.walk.step(&chosen).map_err(|failure| failure.message)?;
        if exit.code() == 0 {
            Ok(())
        } else {
            Err(format!("{command:?} ended with exit code {}", exit.code()))
        }
    }

    fn script_step(&self, command: &str) -> Result<ChosenStep, String> {
        let first = self.runbook.steps.first().ok_or("the page has no step")?;
        let page = first
            .definition
            .reference
            .as_str()
            .rsplit_once(':')
            .map_or("", |(page, _)| page);
        let reference = format!("{page}:test-script-{}", self.scripts);
        let definition = StepDefinition {
            reference: reference
                .parse()
                .map_err(|_| format!("{reference} is no name of a step"))?,
            title: "Script of a test".to_owned(),
            interpreter: "bash".to_owned(),
            source: format!("{command}\n"),
            params: Parameter::object(BTreeMap::new(), Vec::new()).into(),
            template: Template::None,
            secrets: Vec::new(),
            files: Vec::new(),
            sandbox: DeclaredSandbox::default(),
            programs: Default::default(),
            ..(*first.definition).clone()
        };
        let registry =
            Registry::from_definitions([definition]).map_err(|errors| joined(&errors, "; "))?;
        let step = registry
            .steps()
            .next()
            .cloned()
            .ok_or("the script is no step")?;
        WalkStep::new(&step, &[], &Map::new())
            .and_then(|step| step.choose(None))
            .map_err(|failure: CommandFailure| failure.message)
    }
}

/// What exists at a path.
enum Found {
    Nothing,
    Directory,
    File(Vec<u8>),
}
