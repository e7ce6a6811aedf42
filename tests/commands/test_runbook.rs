//! `countersign test` through the real binary.

use crate::terminal::{Person, Ran};

const POLICY: &str = "version: 1\ndefault: {mode: execute}\n";

const PAGE: &str = r#"# Page

<Inputs id="project">
```yaml
variables:
  - name: Name
  - name: Tries
    type: int
    default: 2
```
</Inputs>

<Command id="make-it" inputsId="project" command={`
mkdir made; printf 'name=%s' {{ .inputs.Name }} > made/it.txt
printf 'generated' > "$GENERATED_FILES/g.txt"
export LEVEL="$MODE-1"
echo "key-id=12-{{ .inputs.Name }}" >> "$RUNBOOK_OUTPUT"
`} />

<Check id="use" command={`
printf 'use %s %s\n' {{ .outputs.make-it.key-id }} "$LEVEL"
`} />

<Check id="warns" command="exit 2" />

<Check id="fails" command="exit 3" />
"#;

const STEPS: &str = "[{block: make-it}, {block: use}]";

fn person(tests: &str) -> Person {
    let person = Person::new();
    person.write("policy.yaml", POLICY);
    person.write("book/runbook.mdx", PAGE);
    person.write(
        "book/runbook_test.yml",
        &format!("version: 1\ntests:\n{tests}"),
    );
    person
}

fn test(person: &Person, arguments: &[&str]) -> Ran {
    let mut command = person.command(&["test", "book", "--sandbox", "--policy", "policy.yaml"]);
    Ran::of(command.args(arguments).output().expect("started"))
}

#[test]
fn steps_inputs_outputs_and_assertions_of_a_test_are_checked() {
    let person = person(&format!(
        "  - name: all
    env: {{MODE: dry}}
    inputs: {{project.Name: \"a b\"}}
    steps:
      - {{block: use, expect: blocked, missing_outputs: [outputs.make_it.key_id]}}
      - block: make-it
        outputs: [key-id]
        assertions:
          - {{type: output_equals, output: key-id, value: 12-a b}}
      - {{block: use}}
      - {{block: warns, expect: warn}}
      - {{block: fails, expect: fail}}
    assertions:
      - {{type: file_exists, path: ./made/it.txt}}
      - {{type: file_equals, path: made/it.txt, value: name=a b}}
      - {{type: file_matches, path: made/it.txt, pattern: \"^name=[a-z ]+$\"}}
      - {{type: file_not_contains, path: made/it.txt, contains: zzz}}
      - {{type: file_contains, path: generated/g.txt, contains: generated}}
      - {{type: dir_exists, path: made/}}
      - {{type: dir_not_exists, path: other}}
      - {{type: file_not_exists, path: made/other.txt}}
      - {{type: output_matches, block: make-it, output: key-id, pattern: \"^12-\"}}
      - {{type: script, command: \"test -d made && test $LEVEL = dry-1\"}}
    cleanup:
      - command: printf cleaned
  - name: second
    inputs:
      project.Name: x
    steps: {STEPS}
    assertions:
      - {{type: output_matches, block: make-it, output: key-id, pattern: \"^12-x$\"}}
"
    ));
    let ran = test(&person, &["--junit", "report.xml"]).ended(0);
    assert!(
        ran.out.contains("use 12-a b dry-1\n"),
        "{}\n{}",
        ran.out,
        ran.err
    );
    assert!(ran.out.contains("cleaned"), "{}", ran.out);
    let report = "passed  book/runbook.mdx: all\npassed  book/runbook.mdx: second\ntests: 2: 2 passed, 0 failed, 0 skipped\n";
    assert!(ran.out.ends_with(report), "{}", ran.out);
    let xml = std::fs::read_to_string(person.path("work/report.xml")).expect("the report");
    assert!(
        xml.contains("tests=\"2\" failures=\"0\" skipped=\"0\""),
        "{xml}"
    );
    assert!(!person.path("work/made").exists() && !person.path("work/book/made").exists());
    let ran = test(&person, &["--test", "second"]).ended(0);
    assert!(
        ran.out
            .ends_with("tests: 1: 1 passed, 0 failed, 0 skipped\n"),
        "{}",
        ran.out
    );
}

#[test]
fn each_difference_fails_the_test() {
    for (steps, assertion, words) in [
        (
            "[{block: fails}]",
            "",
            "step fails: expected success, but it ended with exit code 3",
        ),
        (
            "[{block: warns}]",
            "",
            "step warns: expected success, but it ended with exit code 2",
        ),
        ("[{block: warns, expect: fail}]", "", "expected fail"),
        ("[{block: use}]", "", "outputs_make_it_key_id"),
        (
            "[{block: make-it, expect: fail}]",
            "",
            "expected fail, but it ended with exit code 0",
        ),
        (
            "[{block: make-it}, {block: use, expect: blocked}]",
            "",
            "no output is missing",
        ),
        (
            "[{block: use, expect: blocked, missing_outputs: [outputs.other.x]}]",
            "",
            "the output outputs.other.x is not missing",
        ),
        (
            "[{block: make-it, outputs: [other]}]",
            "",
            "the output other of make-it does not exist",
        ),
        (
            STEPS,
            "{type: file_exists, path: none}",
            "none: nothing has this path",
        ),
        (
            STEPS,
            "{type: file_exists, path: made}",
            "made: it is a directory",
        ),
        (
            STEPS,
            "{type: file_not_exists, path: made/it.txt}",
            "it exists",
        ),
        (
            STEPS,
            "{type: dir_exists, path: made/it.txt}",
            "it is a file",
        ),
        (
            STEPS,
            "{type: dir_not_exists, path: made}",
            "it is a directory",
        ),
        (
            STEPS,
            "{type: file_contains, path: made/it.txt, contains: z}",
            "it does not contain \"z\"",
        ),
        (
            STEPS,
            "{type: file_not_contains, path: made/it.txt, contains: name}",
            "it contains \"name\"",
        ),
        (
            STEPS,
            "{type: file_matches, path: made/it.txt, pattern: ^z}",
            "it does not match ^z",
        ),
        (
            STEPS,
            "{type: file_equals, path: made/it.txt, value: name}",
            "it is not \"name\"",
        ),
        (
            STEPS,
            "{type: output_equals, block: make-it, output: key-id, value: x}",
            "is \"12-a\", not \"x\"",
        ),
        (
            STEPS,
            "{type: output_matches, block: make-it, output: key-id, pattern: x}",
            "which does not match x",
        ),
        (
            STEPS,
            "{type: script, command: exit 4}",
            "ended with exit code 4",
        ),
        (STEPS, "{type: script, command: rm -rf made}", "is denied"),
    ] {
        let assertions = if assertion.is_empty() {
            String::new()
        } else {
            format!("    assertions: [{assertion}]\n")
        };
        let person = person(&format!(
            "  - name: one\n    inputs: {{p.Name: a}}\n    steps: {steps}\n{assertions}"
        ));
        let ran = test(&person, &["--junit", "report.xml"]).ended(1);
        assert!(
            ran.out.contains("failed  book/runbook.mdx: one") && ran.out.contains(words),
            "{words}: {}{}",
            ran.out,
            ran.err
        );
        let xml = std::fs::read_to_string(person.path("work/report.xml")).expect("the report");
        assert!(
            xml.contains("failures=\"1\"") && xml.contains("<failure message=\""),
            "{xml}"
        );
    }
}

#[test]
fn a_test_that_needs_other_parts_is_skipped_with_the_reason() {
    let steps = format!("    steps: {STEPS}\n");
    for (test_text, words) in [
        (
            format!("{steps}    assertions: [{{type: files_generated, block: t}}]\n"),
            "files_generated",
        ),
        (
            format!("{steps}    inputs: {{p.Name: {{fuzz: {{type: string}}}}}}\n"),
            "`fuzz` of the input Name",
        ),
        (
            format!("{steps}    env: {{LD_PRELOAD: x}}\n"),
            "the variable LD_PRELOAD",
        ),
        (
            format!("{steps}    cleanup: [{{path: x.sh}}]\n"),
            "`cleanup` with `path`",
        ),
        (
            "    steps: [{block: make-it, expect: config_error}]\n".to_owned(),
            "config_error",
        ),
        (
            "    steps: [{block: make-it, env_prefix: X_}]\n".to_owned(),
            "env_prefix",
        ),
        (
            "    steps: [{block: t}]\n".to_owned(),
            "does not run <Template id=\"t\">",
        ),
        (
            "    steps:\n".to_owned(),
            "does not run <Template id=\"t\">",
        ),
        ("    steps: [{block: signed}]\n".to_owned(), "secret"),
        (
            format!("{steps}    assertions: [{{type: file_exists, path: ../x}}]\n"),
            "\"../x\"",
        ),
    ] {
        let person = person(&format!("  - name: one\n{test_text}"));
        let more = "\n<Template id=\"t\" path=\"t\" />\n\n<AwsAuth id=\"aws\" />\n\n<Command id=\"signed\" awsAuthId=\"aws\" command=\"true\" />\n";
        person.write("book/runbook.mdx", &format!("{PAGE}{more}"));
        person.write("book/t/boilerplate.yml", "variables: []\n");
        let ran = test(&person, &["--junit", "report.xml"]).ended(2);
        assert!(
            ran.out.contains("skipped  book/runbook.mdx: one") && ran.out.contains(words),
            "{words}: {}{}",
            ran.out,
            ran.err
        );
        assert!(!ran.out.contains("use 12"), "nothing ran: {}", ran.out);
        let xml = std::fs::read_to_string(person.path("work/report.xml")).expect("the report");
        assert!(
            xml.contains("skipped=\"1\"") && xml.contains("<skipped message=\""),
            "{xml}"
        );
    }
}

#[test]
fn a_test_that_runs_no_step_passes_and_a_failed_cleanup_fails_no_test() {
    let person = person(
        "  - name: signed out
    env: {GITHUB_TOKEN: \"\"}
    steps: [{block: aws, expect: skip, env_prefix: X_}, {block: signed, expect: skip}, {block: t, expect: skip}]
    assertions: [{type: file_not_exists, path: made}]
  - name: cleaned
    steps: [{block: warns, expect: warn}]
    cleanup: [{command: rm -rf made}, {command: exit 3}]
",
    );
    let more = "\n<Template id=\"t\" path=\"t\" />\n\n<AwsAuth id=\"aws\" />\n\n<Command id=\"signed\" awsAuthId=\"aws\" command=\"true\" />\n";
    person.write("book/runbook.mdx", &format!("{PAGE}{more}"));
    let ran = test(&person, &[]).ended(0);
    assert!(
        ran.out
            .ends_with("tests: 2: 2 passed, 0 failed, 0 skipped\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains("note: cleanup of cleaned: no part of") && ran.err.contains("exit code 3"),
        "{}",
        ran.err
    );
    // A page without blocks has nothing to run.
    person.write("book/runbook.mdx", "# Text\n");
    person.write(
        "book/runbook_test.yml",
        "version: 1\ntests:\n  - {name: text, steps: }\n",
    );
    assert!(
        test(&person, &[])
            .ended(0)
            .out
            .ends_with("1 passed, 0 failed, 0 skipped\n")
    );
}

#[test]
fn errors_in_the_file_of_tests_are_reported_with_their_places() {
    for (tests, words) in [
        (
            "  - name: a\n    step: []\n",
            "book/runbook_test.yml:4:5: unknown key in a test",
        ),
        ("  - steps: []\n", "a test has no `name`"),
        ("  - {name: a}\n  - {name: a}\n", "two tests have the name"),
        (
            "  - {name: a, steps: [{block: none}]}\n",
            "names the block \"none\"",
        ),
        (
            "  - {name: a, steps: [{block: use, expect: sucess}]}\n",
            "did you mean \"success\"",
        ),
        (
            "  - {name: a, assertions: [{type: file_exist, path: x}]}\n",
            "did you mean \"file_exists\"",
        ),
        (
            "  - {name: a, assertions: [{type: file_exists, path: x, value: y}]}\n",
            "unknown key in the assertion",
        ),
        (
            "  - {name: a, assertions: [{type: file_matches, path: x, pattern: \"(\"}]}\n",
            "is not valid",
        ),
        ("  []\n", "the file has no test"),
    ] {
        let person = person(tests);
        let ran = test(&person, &[]).ended(2);
        assert!(
            ran.err.contains(words) && ran.out.is_empty(),
            "{words}: {}",
            ran.err
        );
    }
    let person = person("  - {name: a}\n");
    assert!(
        test(&person, &["--test", "b"])
            .ended(2)
            .err
            .contains("no test has the name")
    );
    std::fs::remove_file(person.path("work/book/runbook_test.yml")).expect("removed");
    assert!(
        test(&person, &[])
            .ended(2)
            .err
            .contains("can't read book/runbook_test.yml")
    );
}
