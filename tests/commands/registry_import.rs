//! `registry import`: the report about runbooks of other systems, and the policy that they need.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{PROGRAM, said};

const PAGE: &str = "# Deploy\n\n<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: Host\n    type: string\n```\n</Inputs>\n\n\
    <Command id=\"fetch\" command=\"curl -sf https://a.example/x | jq .\" />\n\n\
    <Command id=\"copy\" inputsId=\"in\" command=\"dig {{ .inputs.Host }} > /var/log/names\" />\n\n\
    <Check id=\"told\" colour=\"red\" command={'test -n \"$API_TOKEN\"'} />\n\n\
    <Command id=\"odd\" command=\"$RUNNER --all\" />\n\n\
    <Command id=\"names\" command=\"cat x | tr '{{`{{.Names}}`}}' y\" />\n";
const BROKEN: &str = "<Command id=\"a\" command=\"true\" />\n\n<Command command=\"true\" />\n";
const INPUTS: &str = "<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: N\n    type: odd\n```\n</Inputs>\n\n\
    <Command id=\"x\" inputsId=\"in\" command=\"true\" />\n\n<Command id=\"y\" inputsId=\"in\" command=\"true\" />\n\n\
    <Command id=\"z\" command=\"true\" />\n";
const SIGN_IN: &str =
    "<AwsAuth id=\"aws\" />\n\n<Command id=\"who\" awsAuthId=\"aws\" command=\"aws sts get-caller-identity\" />\n";
const RUNDOWN: &str = "# Release\n\n## 1. Build\n\n```bash\nmake all\n```\n";
const FENCES: &str = "# Notes\n\n```runnable python\nprint(1)\n```\n\n```runnable bash {#check}\n# see <pid>/cmdline\ngit status\n```\n\n\
    ```runnable golang {#tool}\npackage main\n```\n";
const OWN: &str = "---\ncountersign: 1\n---\n```bash {#a}\nxz --version\n```\n";

fn folder() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(home.path().join("books/deploy")).expect("directories");
    for (name, text) in [
        ("deploy/web.mdx", PAGE),
        ("broken.mdx", BROKEN),
        ("signed-in.mdx", SIGN_IN),
        ("release.runbook.md", RUNDOWN),
        ("fences.md", FENCES),
        ("inputs.mdx", INPUTS),
        ("own.md", OWN),
        ("README.md", "# Prose\n"),
    ] {
        fs::write(home.path().join("books").join(name), text).expect("a file");
    }
    home
}

fn run(home: &Path, words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).current_dir(home).env("HOME", home).output().expect("runs")
}

#[test]
fn each_block_is_reported_and_the_policy_names_its_programs() {
    let home = folder();
    let output = run(home.path(), &["registry", "import", "books", "-o", "imported.yaml", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let answer = |step: &str| {
        let line = told["report"].as_array().expect("lines").iter().find(|line| line["step"] == step);
        let line = line.unwrap_or_else(|| panic!("{step}: {told:#}"));
        format!("{}: {}", line["answer"].as_str().expect("a word"), line["messages"])
    };
    for (step, words) in [
        ("deploy/web:fetch", "remark: [\"curl can need the network, which the block does not declare"),
        ("deploy/web:copy", "remark: [\"dig can need the network"),
        ("deploy/web:names", "as-is: []"),
        ("deploy/web:told", "as-is: []"),
        ("broken:a", "refused: [\"this block has no error, but no block of the file can be sealed"),
        ("inputs:x", "refused: [\"the block has an error, which this report names"),
        ("inputs:y", "refused: [\"the block has an error"),
        ("inputs:z", "refused: [\"this block has no error"),
        ("deploy/web:odd", "remark: [\"the programs in line 1 of the script are known only when the script runs"),
        ("release:1", "as-is: []"),
        ("fences:1", "remark: [\"policy can't read a script of python"),
        ("fences:check", "remark: [\"git can need the network"),
        ("fences:tool", "remark: [\"go builds a program in the work directory"),
        ("signed-in:who", "remark: [\"the block needs the secret aws.AWS_ACCESS_KEY_ID"),
    ] {
        assert!(answer(step).starts_with(words), "{step}: {}", answer(step));
    }
    let broken = told["report"].as_array().expect("lines").iter().find(|line| line["file"] == "broken.mdx");
    let broken = broken.expect("a line");
    assert_eq!((&broken["answer"], &broken["line"]), (&json!("refused"), &json!(3)), "{broken}");
    assert!(broken["messages"].to_string().contains("add id="), "{broken}");
    assert_eq!(
        [&told["files"], &told["as_is"], &told["with_remark"], &told["refused"], &told["errors_of_files"]],
        [6, 3, 7, 4, 2]
    );

    let policy = fs::read_to_string(home.path().join("imported.yaml")).expect("a file");
    assert_eq!(told["policy"], policy);
    for words in [
        "network: copy, fetch can need it. Write network=\"a.example:443\" into the tag",
        "      programs: {mode: listed}\n      # network: {allow: [\"a.example:443\"]}\n      # write: [\"/var/log\"]\n      # workdir: in-place\n",
        "secrets: the blocks name API_TOKEN",
        "\"/var/log/names\"",
        "network: who can need it. Write network=\"HOST:PORT\" into the tag",
        "network: check can need it. Write network=HOST:PORT into the braces of the block",
        "AWS_SECRET_ACCESS_KEY",
    ] {
        assert!(policy.contains(words), "{words}\n{policy}");
    }
    assert!(!policy.contains("xz") && !policy.contains("/cmdline"), "{policy}");
    let remarks: Vec<&Value> =
        told["report"].as_array().expect("lines").iter().filter(|line| line["step"].is_null()).collect();
    let of_page = remarks.iter().filter(|line| line["file"] == "deploy/web.mdx" && line["answer"] == "remark").count();
    assert_eq!(of_page, 1, "one remark for each kind and page: {remarks:#?}");
    let again = run(home.path(), &["registry", "import", "books", "-o", "imported.yaml"]);
    assert!(!again.status.success(), "an existing file is not replaced: {}", said(&again));
}

#[test]
fn the_policy_of_an_import_is_accepted_and_allows_programs_only_after_a_person_decided() {
    let home = folder();
    let report = run(home.path(), &["registry", "import", "books"]);
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    let (lines, policy) = report.split_once("\n\n").expect("the report, then the policy");
    assert!(lines.contains("broken.mdx:3:1: refused: <Command> has no id"), "{lines}");
    assert!(lines.ends_with("2 errors of files"), "{lines}");
    fs::write(home.path().join("imported.yaml"), policy).expect("written");
    for (runbook, wanted) in [
        ("deploy/web", &["curl", "dig", "jq"][..]),
        ("release", &["make"]),
        ("fences", &["git"]),
        ("signed-in", &["aws"]),
        ("own", &[]),
    ] {
        for (policy, allows) in [(policy.to_owned(), false), (policy.replace("# run:", "run:"), true)] {
            fs::write(home.path().join("imported.yaml"), policy).expect("written");
            let words = ["policy", "show", "--policy", "imported.yaml", "--runbook", runbook];
            let output = run(home.path(), &words);
            assert!(output.status.success(), "{}", said(&output));
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            let rule = |name: &str| {
                let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                let starts = ["run", "allow", name];
                shown
                    .lines()
                    .any(|line| words(line).get(..3).is_some_and(|found| found == starts) && line.contains("overrides"))
            };
            assert!(wanted.iter().all(|name| rule(name) == allows), "{runbook}, {allows}: {shown}");
            assert!(!shown.contains("xz"), "{shown}");
        }
    }
}

#[test]
fn a_folder_that_does_not_exist_or_has_no_runbook_is_reported() {
    let home = tempfile::tempdir().expect("a directory");
    let missing = run(home.path(), &["registry", "import", "nowhere"]);
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    let empty = run(home.path(), &["registry", "import", "."]);
    assert!(empty.status.success() && said(&empty).contains("0 runbooks: "), "{}", said(&empty));
    assert!(said(&empty).contains("overrides: []"), "{}", said(&empty));
}
