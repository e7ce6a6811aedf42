//! Reads `runbook_test.yml`, the tests of a Gruntwork runbook.
//!
//! Unknown keys are errors. A test with parts that this program can't test is skipped, with the reason.

use regex::Regex;
use serde_json::Value;

use documents::RelativePath;
use reading::{TextPlace, YamlFlaw, YamlKind, YamlNode, yaml};

/// Tests of a runbook.
pub struct RunbookTests {
    /// Tests in file order.
    pub tests: Vec<TestCase>,
    /// Directory of the files that a step writes to `$GENERATED_FILES`, for assertions.
    pub output_path: String,
}

/// One test.
pub struct TestCase {
    /// Name of the test.
    pub name: String,
    /// Variables of all steps.
    pub env: Vec<(String, String)>,
    /// Parameters with their values. If a name occurs twice, the last value counts, as in Gruntwork.
    pub inputs: Vec<(String, Value)>,
    /// Steps, or none if the test runs all steps of the page.
    pub steps: Vec<TestStep>,
    /// Assertions after the last step.
    pub assertions: Vec<TestAssertion>,
    /// Commands after the test.
    pub cleanup: Vec<String>,
    /// Parts that this program can't test. If there is one, the test is skipped.
    pub unsupported: Vec<String>,
}

/// Step of a test.
pub struct TestStep {
    /// Id of the block.
    pub block: String,
    /// Expected end.
    pub expect: ExpectedStatus,
    /// Outputs that the block must write.
    pub outputs: Vec<String>,
    /// Outputs that must be missing for a blocked block, as `outputs.block.key`.
    pub missing_outputs: Vec<String>,
    /// Assertions after the step.
    pub assertions: Vec<TestAssertion>,
}

documents::words! {
/// Expected end of a step.
    pub enum ExpectedStatus {
        /// Exit code 0.
        Success = "success",
        /// Any other exit code except 2, or a signal.
        Fail = "fail",
        /// Exit code 2.
        Warn = "warn",
        /// An output of another block is missing, so the step does not run.
        Blocked = "blocked",
        /// The step does not run.
        Skip = "skip",
    }
}

/// Assertion of a test.
pub enum TestAssertion {
    /// About a file or directory below the working directory.
    File(RelativePath, FileCheck),
    /// About an output of a block.
    Output {
        /// Id of the block, or `None` for the block of the step.
        block: Option<String>,
        /// Key of the output.
        output: String,
        /// The check.
        check: OutputCheck,
    },
    /// A script of bash whose exit code must be 0.
    Script(String),
}

/// Check of a path.
pub enum FileCheck {
    /// A regular file exists.
    Exists,
    /// Nothing exists.
    Absent,
    /// A directory exists.
    IsDirectory,
    /// No directory exists.
    NoDirectory,
    /// The content contains the text.
    Contains(String),
    /// The content does not contain the text.
    ContainsNot(String),
    /// The content matches the expression.
    Matches(Regex),
    /// The content is the text.
    Equals(String),
}

/// Check of an output.
pub enum OutputCheck {
    /// The output exists and is not empty.
    Exists,
    /// The output is the text.
    Equals(String),
    /// The output matches the expression.
    Matches(Regex),
}

const STEP_KEYS: [&str; 7] = [
    "block",
    "expect",
    "outputs",
    "missing_outputs",
    "error_contains",
    "env_prefix",
    "assertions",
];
const TEST_KEYS: [&str; 7] = [
    "name",
    "description",
    "env",
    "inputs",
    "steps",
    "assertions",
    "cleanup",
];
const SETTINGS: [&str; 5] = [
    "use_temp_working_dir",
    "working_dir",
    "output_path",
    "timeout",
    "parallelizable",
];
const STATUSES: [&str; 6] = ["success", "fail", "warn", "blocked", "skip", "config_error"];
const ASSERTIONS: [&str; 13] = [
    "file_exists",
    "file_not_exists",
    "file_contains",
    "file_not_contains",
    "file_matches",
    "file_equals",
    "dir_exists",
    "dir_not_exists",
    "output_equals",
    "output_matches",
    "output_exists",
    "files_generated",
    "script",
];

impl RunbookTests {
    /// Reads the tests.
    ///
    /// # Errors
    /// Returns every flaw of the file.
    pub fn read(text: &str) -> Result<Self, Vec<YamlFlaw>> {
        let root = yaml::parse_with_fractions(text, 1).map_err(|flaw| vec![flaw])?;
        let mut reader = TestReader {
            flaws: Vec::new(),
            unsupported: Vec::new(),
        };
        let tests = reader.file(&root);
        if reader.flaws.is_empty() {
            Ok(tests)
        } else {
            Err(reader.flaws)
        }
    }
}

struct TestReader {
    flaws: Vec<YamlFlaw>,
    /// Unsupported parts of the current test.
    unsupported: Vec<String>,
}

impl TestReader {
    fn file(&mut self, root: &YamlNode) -> RunbookTests {
        root.closed_map(
            "the file",
            &["version", "settings", "tests"],
            &mut self.flaws,
        );
        if !matches!(
            root.value("version").map(|version| &version.kind),
            Some(YamlKind::Integer(1))
        ) {
            self.flaw(root.place, "the file has no `version: 1`: add this line");
        }
        let (output_path, unsupported) = self.settings(root.value("settings"));
        let tests: Vec<TestCase> = self
            .items(root, "tests")
            .iter()
            .map(|test| self.test(test, &unsupported))
            .collect();
        if tests.is_empty() {
            self.flaw(root.place, "the file has no test: add one to `tests`");
        }
        for (at, test) in tests.iter().enumerate() {
            if tests[..at].iter().any(|other| other.name == test.name) {
                let message = format!("two tests have the name {:?}: change one", test.name);
                self.flaw(root.place, message);
            }
        }
        RunbookTests { tests, output_path }
    }

    fn settings(&mut self, settings: Option<&YamlNode>) -> (String, Option<String>) {
        let mut output_path = "generated".to_owned();
        let Some(settings) = settings.filter(|settings| settings.kind != YamlKind::Null) else {
            return (output_path, None);
        };
        settings.closed_map("`settings`", &SETTINGS, &mut self.flaws);
        if let Some(path) = settings.value("output_path") {
            output_path = path
                .text("`output_path`", &mut self.flaws)
                .unwrap_or_default()
                .trim_matches('/')
                .to_owned();
        }
        let own = settings.value("use_temp_working_dir").map(|own| &own.kind);
        let unsupported = (own == Some(&YamlKind::Boolean(false))).then(|| {
            "`use_temp_working_dir: false`: a test always runs in a directory of its own".to_owned()
        });
        (output_path, unsupported)
    }

    fn test(&mut self, test: &YamlNode, unsupported: &Option<String>) -> TestCase {
        test.closed_map("a test", &TEST_KEYS, &mut self.flaws);
        self.unsupported = unsupported.iter().cloned().collect();
        let name = self.text(test, "name", "a test");
        let env = self.map(test, "env").iter().map(|(key, value)| {
            let text = value
                .text("a variable", &mut self.flaws)
                .unwrap_or_default();
            (key.name.clone(), text.to_owned())
        });
        let env = env.collect();
        let inputs = self.map(test, "inputs").iter().map(|(key, value)| {
            // Gruntwork puts the inputs of all blocks into one map.
            let name = key
                .name
                .rsplit_once('.')
                .map_or(key.name.as_str(), |(_, name)| name);
            if value.value("fuzz").is_some() && value.entries().len() == 1 {
                self.unsupported
                    .push(format!("`fuzz` of the input {name}: write a value"));
            }
            (name.to_owned(), value.to_json())
        });
        let inputs = inputs.collect();
        let steps = self
            .items(test, "steps")
            .iter()
            .map(|step| self.step(step))
            .collect();
        let assertions = self.assertions(test);
        let cleanup = self
            .items(test, "cleanup")
            .iter()
            .filter_map(|action| self.cleanup(action))
            .collect();
        TestCase {
            name,
            env,
            inputs,
            steps,
            assertions,
            cleanup,
            unsupported: std::mem::take(&mut self.unsupported),
        }
    }

    fn step(&mut self, step: &YamlNode) -> TestStep {
        step.closed_map("a step", &STEP_KEYS, &mut self.flaws);
        let block = self.text(step, "block", "a step");
        let is_skipped = step
            .value("expect")
            .is_some_and(|status| status.kind == YamlKind::Text("skip".to_owned()));
        for name in ["error_contains", "env_prefix"] {
            if !is_skipped && step.value(name).is_some() {
                self.unsupported
                    .push(format!("`{name}` of the step {block}"));
            }
        }
        let status = step.value("expect");
        let status = status.and_then(|status| status.text("`expect`", &mut self.flaws));
        let status = status.unwrap_or("success");
        let known = ExpectedStatus::ALL
            .into_iter()
            .find(|known| known.word() == status);
        if status == "config_error" {
            self.unsupported.push(format!(
                "`expect: config_error` of the step {block}: an error in a block is an error of the whole page"
            ));
        } else if known.is_none() {
            let message = yaml::unknown("status", status, &STATUSES);
            self.flaw(step.place, message);
        }
        let expect = known.unwrap_or(ExpectedStatus::Skip);
        let outputs = self.texts(step, "outputs");
        let missing_outputs = self.texts(step, "missing_outputs");
        TestStep {
            block,
            expect,
            outputs,
            missing_outputs,
            assertions: self.assertions(step),
        }
    }

    fn assertions(&mut self, above: &YamlNode) -> Vec<TestAssertion> {
        self.items(above, "assertions")
            .iter()
            .filter_map(|assertion| self.assertion(assertion))
            .collect()
    }

    fn assertion(&mut self, assertion: &YamlNode) -> Option<TestAssertion> {
        let kind = self.text(assertion, "type", "an assertion");
        let keys: &[&str] = match kind.as_str() {
            "file_exists" | "file_not_exists" | "dir_exists" | "dir_not_exists" => {
                &["type", "path"]
            }
            "file_contains" | "file_not_contains" => &["type", "path", "contains"],
            "file_matches" => &["type", "path", "pattern"],
            "file_equals" => &["type", "path", "value"],
            "output_exists" => &["type", "block", "output"],
            "output_equals" => &["type", "block", "output", "value"],
            "output_matches" => &["type", "block", "output", "pattern"],
            "script" => &["type", "command"],
            "files_generated" => {
                self.unsupported
                    .push("the assertion `files_generated`: no <Template> runs".to_owned());
                return None;
            }
            other => {
                let message = yaml::unknown("type of assertion", other, &ASSERTIONS);
                self.flaw(assertion.place, message);
                return None;
            }
        };
        assertion.closed_map("the assertion", keys, &mut self.flaws);
        if kind == "script" {
            return Some(TestAssertion::Script(self.text(
                assertion,
                "command",
                "an assertion",
            )));
        }
        if let Some(check) = kind.strip_prefix("output_") {
            let check = match check {
                "equals" => OutputCheck::Equals(self.text(assertion, "value", "an assertion")),
                "matches" => OutputCheck::Matches(self.pattern(assertion)?),
                _ => OutputCheck::Exists,
            };
            let block = assertion
                .value("block")
                .and_then(|block| block.text("`block`", &mut self.flaws));
            let output = self.text(assertion, "output", "an assertion");
            return Some(TestAssertion::Output {
                block: block.map(str::to_owned),
                output,
                check,
            });
        }
        let check = match kind.as_str() {
            "file_exists" => FileCheck::Exists,
            "file_not_exists" => FileCheck::Absent,
            "dir_exists" => FileCheck::IsDirectory,
            "dir_not_exists" => FileCheck::NoDirectory,
            "file_contains" => {
                FileCheck::Contains(self.text(assertion, "contains", "an assertion"))
            }
            "file_not_contains" => {
                FileCheck::ContainsNot(self.text(assertion, "contains", "an assertion"))
            }
            "file_matches" => FileCheck::Matches(self.pattern(assertion)?),
            _ => FileCheck::Equals(self.text(assertion, "value", "an assertion")),
        };
        let path = self.text(assertion, "path", "an assertion");
        let plain = path.trim_start_matches("./").trim_end_matches('/');
        match plain.parse::<RelativePath>() {
            Ok(path) => Some(TestAssertion::File(path, check)),
            Err(_) => {
                self.unsupported.push(format!(
                    "the assertion about {path:?}, which is no path below the work directory"
                ));
                None
            }
        }
    }

    fn flaw(&mut self, place: TextPlace, message: impl Into<String>) {
        self.flaws.push(YamlFlaw::new(place, message));
    }

    fn pattern(&mut self, assertion: &YamlNode) -> Option<Regex> {
        let pattern = self.text(assertion, "pattern", "an assertion");
        let read = Regex::new(&pattern);
        read.map_err(|error| {
            self.flaw(
                assertion.place,
                format!("the pattern {pattern:?} is not valid: {error}"),
            );
        })
        .ok()
    }

    fn cleanup(&mut self, action: &YamlNode) -> Option<String> {
        action.closed_map("a cleanup action", &["command", "path"], &mut self.flaws);
        if action.value("path").is_some() {
            self.unsupported
                .push("`cleanup` with `path`: write the command".to_owned());
            return None;
        }
        Some(self.text(action, "command", "a cleanup action"))
    }

    /// Returns the items of a list, which may be absent or empty.
    fn items<'a>(&mut self, above: &'a YamlNode, name: &str) -> &'a [YamlNode] {
        match above.value(name) {
            None => &[],
            Some(list) if list.kind == YamlKind::Null => &[],
            Some(list) => list
                .list(&format!("`{name}`"), &mut self.flaws)
                .unwrap_or_default(),
        }
    }

    fn map<'a>(&mut self, above: &'a YamlNode, name: &str) -> &'a [(yaml::Key, YamlNode)] {
        let Some(map) = above.value(name).filter(|map| map.kind != YamlKind::Null) else {
            return &[];
        };
        if !matches!(map.kind, YamlKind::Map(_)) {
            self.flaw(map.place, format!("`{name}` must be a map"));
        }
        map.entries()
    }

    fn texts(&mut self, above: &YamlNode, name: &str) -> Vec<String> {
        let items = self.items(above, name).iter();
        items
            .filter_map(|item| item.text(&format!("an item of `{name}`"), &mut self.flaws))
            .map(str::to_owned)
            .collect()
    }

    /// Returns a required text.
    fn text(&mut self, above: &YamlNode, name: &str, what: &str) -> String {
        let Some(value) = above.value(name) else {
            self.flaw(above.place, format!("{what} has no `{name}`: add it"));
            return String::new();
        };
        value
            .text(&format!("`{name}`"), &mut self.flaws)
            .unwrap_or_default()
            .to_owned()
    }
}
