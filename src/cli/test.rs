//! The `test` command: runs the tests of Gruntwork runbooks.

use std::path::{Path, PathBuf};

use serde_json::json;

use client::{CommandFailure, CommandResult, Exit, PrintableText, Terminal, fail_usage};
use reading::{FileProblem, Registry, gruntwork};
use workbench::{
    HostSandbox, LocalRules, LocalSecrets, Project, RuleArgs, RunbookTests, RunbookWalk,
    SandboxArgs, Signals, TestResult, TestedRunbook,
};

/// Name of the file with the tests, beside the page.
const TESTS: &str = "runbook_test.yml";
/// Name of the page in a directory.
const PAGE: &str = "runbook.mdx";

/// Run the tests of a Gruntwork runbook: its file runbook_test.yml
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign test books/web -y                       all tests of books/web/runbook.mdx
  countersign test books/web/runbook.mdx --test name  one test
  countersign test books/web -y --junit report.xml    also as JUnit XML

Each test runs in the sandbox, in a session and an empty directory of its own, under the same policy and options as \
countersign run. The program prints the output of the steps, then the report. A test is skipped, with the reasons, if \
it runs a part that this program does not run, for example <Template> or <AwsAuth>. The settings \
timeout and parallelizable have no effect: each step has its own limit of time. No receipt is written.

Exit codes: 0 all tests passed; 1 a test failed; 2 no test failed, but a test was skipped, or wrong usage.")]
pub struct Args {
    /// Directories with runbook.mdx and runbook_test.yml, or pages beside their runbook_test.yml
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Run only the test with this name
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Write the report to this file as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// One line of the report.
struct TestLine {
    page: String,
    name: String,
    result: TestResult,
}

/// Runs the tests.
///
/// # Errors
/// Returns an error if a file is invalid, or if no test can run.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let project = args.rules.project()?;
    let read: Vec<(String, String, TestedRunbook)> = args
        .paths
        .iter()
        .map(|path| read(path, &project))
        .collect::<Result<_, _>>()?;
    if let Some(name) = &args.test
        && !read
            .iter()
            .any(|(_, _, tested)| tested.tests.tests.iter().any(|test| test.name == *name))
    {
        return fail_usage(format!(
            "no test has the name {}",
            PrintableText::quoted(name)
        ));
    }
    let hold = HostSandbox::prepare(args.sandbox.wanted(false), terminal)?;
    let signals = Signals::listen(hold.scratch())?;
    let mut lines = Vec::new();
    for (shown, name, tested) in &read {
        let rules = LocalRules::find(&args.rules, &project, name)?;
        let all = tested.tests.tests.iter();
        for test in all.filter(|test| args.test.as_ref().is_none_or(|name| *name == test.name)) {
            let secrets = LocalSecrets::default();
            let walk = RunbookWalk::new(secrets, None, &project, &rules, &hold, &signals, terminal);
            lines.push(TestLine {
                page: shown.clone(),
                name: test.name.clone(),
                result: tested.run(test, walk),
            });
        }
    }
    report(&lines, terminal)?;
    if let Some(file) = &args.junit {
        std::fs::write(file, junit(&lines)).map_err(|error| {
            CommandFailure::unreachable(format!("can't write {}: {error}", file.display()))
        })?;
    }
    let has = |wanted: fn(&TestResult) -> bool| lines.iter().any(|line| wanted(&line.result));
    Ok(match signals.caught() {
        Some(signal) => Exit::Signal(signal),
        None if has(|result| matches!(result, TestResult::Failed(_))) => Exit::Step(1),
        None if has(|result| matches!(result, TestResult::Skipped(_))) => Exit::Step(2),
        None => Exit::Done,
    })
}

/// Reads a page and its tests.
fn read(path: &Path, project: &Project) -> CommandResult<(String, String, TestedRunbook)> {
    let page = if path.is_dir() {
        path.join(PAGE)
    } else {
        path.to_owned()
    };
    let shown = page.to_string_lossy().into_owned();
    if page.extension().is_none_or(|extension| extension != "mdx") {
        return fail_usage(format!(
            "{} is no Gruntwork runbook: name a file that ends in .mdx, or its directory",
            PrintableText::text(&shown)
        ));
    }
    let real = project
        .cwd
        .join(&page)
        .canonicalize()
        .map_err(CommandFailure::unable("read", &page))?;
    let of_tests = page.with_file_name(TESTS);
    let text = std::fs::read_to_string(project.cwd.join(&of_tests))
        .map_err(CommandFailure::unable("read", &of_tests))?;
    let name = project.runbook(&real)?;
    let steps = Registry::of_file(&real, name.trim_start_matches('/'), &shown)?;
    let shown_tests = of_tests.to_string_lossy();
    let tests =
        RunbookTests::read(&text).map_err(|flaws| FileProblem::of_flaws(&of_tests, flaws))?;
    let page_text =
        std::fs::read_to_string(&real).map_err(CommandFailure::unable("read", &page))?;
    let tested = TestedRunbook {
        steps: steps.steps,
        others: gruntwork::other_blocks(&page_text),
        tests,
    };
    tested.check_names().map_err(|message| {
        CommandFailure::usage(format!("{shown_tests}: {}", PrintableText::text(&message)))
    })?;
    Ok((shown, name, tested))
}

fn report(lines: &[TestLine], terminal: &Terminal) -> CommandResult<()> {
    for TestLine { page, name, result } in lines {
        let (word, reasons) = parts(result);
        if terminal.json {
            terminal
                .object(json!({"type": "test", "page": page, "test": name, "result": word, "reasons": reasons}))?;
            continue;
        }
        terminal.line(PrintableText::text(&format!("{word}  {page}: {name}")))?;
        for reason in reasons {
            terminal.line(format!("        {}", PrintableText::text(reason)))?;
        }
    }
    if !terminal.json {
        let [passed, failed, skipped] = counts(lines);
        terminal.line(format!(
            "tests: {}: {passed} passed, {failed} failed, {skipped} skipped",
            lines.len()
        ))?;
    }
    Ok(())
}

/// Returns the numbers of tests that passed, failed and were skipped.
fn counts(lines: &[TestLine]) -> [usize; 3] {
    ["passed", "failed", "skipped"].map(|wanted| {
        let results = lines.iter().map(|line| parts(&line.result).0);
        results.filter(|word| *word == wanted).count()
    })
}

fn parts(result: &TestResult) -> (&'static str, &[String]) {
    match result {
        TestResult::Passed => ("passed", &[]),
        TestResult::Failed(reasons) => ("failed", reasons),
        TestResult::Skipped(reasons) => ("skipped", reasons),
    }
}

/// Returns the report as JUnit XML.
fn junit(lines: &[TestLine]) -> String {
    let [_, failed, skipped] = counts(lines);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"countersign test\" tests=\"{}\" \
         failures=\"{failed}\" skipped=\"{skipped}\">\n",
        lines.len()
    );
    for TestLine { page, name, result } in lines {
        xml += &format!(
            "<testcase classname=\"{}\" name=\"{}\">",
            escaped(page),
            escaped(name)
        );
        let element = match result {
            TestResult::Passed => None,
            TestResult::Failed(_) => Some("failure"),
            TestResult::Skipped(_) => Some("skipped"),
        };
        if let Some(element) = element {
            let message = escaped(&parts(result).1.join("; "));
            xml += &format!("<{element} message=\"{message}\"/>");
        }
        xml += "</testcase>\n";
    }
    xml += "</testsuite>\n</testsuites>\n";
    xml
}

/// Returns a text for an attribute of XML. Characters that XML does not allow are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' => escaped += "&#10;",
            '\t' => escaped += "&#9;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
