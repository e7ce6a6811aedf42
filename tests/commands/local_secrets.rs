//! Secrets of `countersign run`, through the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::terminal::{Person, Ran};

const OPEN: &str =
    "version: 1\ndefault: {mode: execute, write: {allow: ['{repo}', '{repo}/**']}}\n";
const CANARY: &str = "canary-8f3a";

/// A person with secrets in the environment and in a file, and a page whose second step looks for what the first step left.
fn person() -> Person {
    let person = Person::new();
    person.write("policy.yaml", OPEN);
    fs::write(person.path("key"), "canary-of-file1\n").expect("written");
    fs::set_permissions(person.path("key"), fs::Permissions::from_mode(0o600)).expect("mode");
    person.write(
        "a.md",
        "---\ncountersign: 1\n---\n```bash {#one secrets=\"db=env:DB, key\"}\nprintf 'one:%s:%s ' \"$DB\" \"$(base64 -w0 < \
         /run/step/secrets/key)\"\nexport COPY=$DB KEPT=1; printf '%s\\n' \"copy=$DB\" n=2 >> \"$RUNBOOK_OUTPUT\"\n```\n\n```bash \
         {#two}\nprintf '%s' \"${DB-none}${COPY-none}$KEPT\"\n```\n",
    );
    person
}

fn run(person: &Person, arguments: &[&str]) -> Ran {
    person.run_with(
        &[arguments, &["--policy", "policy.yaml"]].concat(),
        &[("DB_PW", CANARY), ("SHORT", "abc")],
    )
}

#[test]
fn a_step_gets_the_secrets_of_the_options_and_nothing_stores_their_values() {
    let person = person();
    let key = format!("key=file:{}", person.path("key").display());
    let ran = run(
        &person,
        &["a.md", "--secret", "db=env:DB_PW", "--secret", &key],
    )
    .ended(0);
    assert_eq!(
        ran.out, "one:[secret db]:[secret key] nonenone1",
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("the output copy of one contains a secret"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("the output is incomplete"), "{}", ran.err);
    let found = std::process::Command::new("grep")
        .args(["-rlE", "canary"])
        .arg(person.path("home"))
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // A workflow, too.
    person.write(
        "w.runbook.md",
        "## 1. A\n\n```bash {secrets=\"db=env:DB\"}\nprintf \"$DB\" >&2\n```\n",
    );
    let ran = run(
        &person,
        &["w.runbook.md", "--secret", "db=env:DB_PW", "--json"],
    )
    .ended(0);
    assert!(
        !ran.out.contains(CANARY) && ran.out.contains("[secret db]"),
        "{}",
        ran.out
    );
}

#[test]
fn a_missing_or_wrong_source_of_a_secret_is_named_before_anything_runs() {
    let person = person();
    fs::set_permissions(person.path("key"), fs::Permissions::from_mode(0o644)).expect("mode");
    let key = format!("key=file:{}", person.path("key").display());
    for (given, code, words) in [
        (
            &["db=env:DB_PW"][..],
            2,
            "a:one needs the secret key: add --secret key=env:VARIABLE or --secret key=file:PATH",
        ),
        (&["db=env:DB_PW", &key], 126, "chmod 600"),
        (
            &["db=env:NO_SUCH", "key=env:DB_PW"],
            126,
            "the variable NO_SUCH is not set",
        ),
        (
            &["db=env:SHORT", "key=env:DB_PW"],
            126,
            "the value has 3 bytes",
        ),
        (
            &["db=canary-8f3a"],
            2,
            "--secret db: write db=env:VARIABLE or db=file:PATH",
        ),
        (&["db=value:canary-8f3a"], 2, "--secret db: write"),
        (&["db=env:"], 2, "--secret db: write"),
        (&["1 x=env:A"], 2, "--secret: "),
        (&["db=env:A", "db=env:B"], 2, "--secret db is given twice"),
    ] {
        let options: Vec<&str> = given.iter().flat_map(|one| ["--secret", *one]).collect();
        let ran = run(&person, &[&["a.md"], &options[..]].concat()).ended(code);
        assert!(
            ran.err.contains(words) && ran.out.is_empty(),
            "{given:?}: {ran:?}"
        );
        assert!(!ran.err.contains("canary"), "{}", ran.err);
    }
    // Values are read before the plan of all steps is shown.
    let wrong = [
        "a.md",
        "--secret",
        "db=env:SHORT",
        "--secret",
        "key=env:DB_PW",
    ];
    let ran = run(&person, &wrong).ended(126);
    assert!(
        ran.err
            .starts_with("countersign: --secret db: the value has 3 bytes")
            && !ran.err.contains("one"),
        "{}",
        ran.err
    );
    person.write(
        "w.runbook.md",
        "## 1. A\n\n```bash {secrets=\"db=env:DB\"}\nprintf ran\n```\n",
    );
    let ran = run(&person, &["w.runbook.md"]).ended(2);
    assert!(
        ran.out.is_empty() && ran.err.contains("w:1 needs the secret db"),
        "{ran:?}"
    );
}

const PAGE: &str = "<AwsAuth id=\"aws\" />\n\n<GoogleAuth id=\"g\" />\n\n<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: Password\n    \
sensitive: true\n```\n</Inputs>\n\n<Command id=\"q\" awsAuthId=\"aws\" command=\"printf '%s ' $AWS_ACCESS_KEY_ID \
$AWS_SECRET_ACCESS_KEY $AWS_REGION ${AWS_SESSION_TOKEN-none}\" />\n\n<Command id=\"again\" awsAuthId=\"aws\" command=\"printf again\" \
/>\n\n<Command id=\"gcp\" googleAuthId=\"g\" command=\"base64 -w0 < $GOOGLE_APPLICATION_CREDENTIALS\" />\n\n<Command id=\"pw\" \
inputsId=\"in\" command=\"cat $PARAM_PASSWORD\" />\n";
const SIGNED_IN: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIA-canary"),
    ("AWS_SECRET_ACCESS_KEY", "s-canary-8f3a"),
    ("AWS_REGION", "eu-1"),
];

#[test]
fn a_sign_in_block_takes_its_documented_variables_of_the_environment_after_one_question() {
    let person = Person::new();
    person.write("page.mdx", PAGE);
    person.write(
        "deny.yaml",
        "version: 1\ndefault: {env: {deny: [AWS_SECRET_*]}}\n",
    );
    let run = |arguments: &[&str]| person.run_with(arguments, &SIGNED_IN);
    let ran = run(&["page.mdx:q"]).ended(126);
    assert!(
        ran.err.contains(
            "to allow what is asked here, add --allow-env AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY"
        ),
        "{}",
        ran.err
    );
    // A value that is too short for a mask is no secret of the step. The step gets it only as any other variable.
    let expected = "[secret aws.AWS_ACCESS_KEY_ID] [secret aws.AWS_SECRET_ACCESS_KEY] none ";
    for options in [
        &["--allow-all"][..],
        &["--allow-env", "AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY"],
    ] {
        let ran = run(&[&["page.mdx:q"], options].concat()).ended(0);
        assert_eq!(
            ran.out.replace("eu-1 ", ""),
            expected,
            "{options:?}: {}",
            ran.err
        );
    }
    // A built-in list denies these variables, so -y does not answer the question.
    for (options, words) in [
        (&["-y"][..], "there is no terminal for questions"),
        (&["--non-interactive"], "with --non-interactive"),
        (
            &["--policy", "deny.yaml"],
            "variable AWS_SECRET_ACCESS_KEY is denied (env.deny",
        ),
        (&["--deny-all"], "is denied"),
    ] {
        let ran = run(&[&["page.mdx:q"], options].concat()).ended(126);
        assert!(
            ran.err.contains(words) && ran.out.is_empty(),
            "{options:?}: {ran:?}"
        );
        assert!(!ran.err.contains("canary"), "{}", ran.err);
    }
    let ran = person.run(&["page.mdx:q", "-y"]).ended(2);
    let words = "page:q needs the secret aws.AWS_ACCESS_KEY_ID, aws.AWS_REGION, aws.AWS_SECRET_ACCESS_KEY, \
                 aws.AWS_SESSION_TOKEN: add --secret aws.AWS_ACCESS_KEY_ID=env:VARIABLE or --secret \
                 aws.AWS_ACCESS_KEY_ID=file:PATH, or set the variable AWS_ACCESS_KEY_ID (at least 6 bytes)";
    assert!(ran.err.contains(words), "{}", ran.err);
    // A set variable that is too short for a mask is told in the same words.
    let short = SIGNED_IN.map(|(variable, _)| (variable, "short"));
    let ran = person.run_with(&["page.mdx:q", "-y"], &short).ended(2);
    assert!(
        ran.err.contains(words) && !ran.err.contains("=short"),
        "{}",
        ran.err
    );

    // One answer for the session is enough for all blocks.
    person.write(
        "two.mdx",
        &PAGE
            .split("<Command id=\"gcp\"")
            .next()
            .expect("a page")
            .replace("<GoogleAuth id=\"g\" />", ""),
    );
    let mut terminal = person.at_terminal_with(&["two.mdx"], &SIGNED_IN);
    terminal
        .wait_for("AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY")
        .wait_for("of your environment as secrets")
        .answers("s");
    terminal.wait_for("again");
    let (code, text) = terminal.end();
    assert_eq!(
        (code, text.matches("allow it?").count()),
        (Some(0), 1),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_file_of_google_and_a_sensitive_variable_are_secrets_too() {
    let person = Person::new();
    person.write("page.mdx", PAGE);
    fs::write(person.path("gcp.json"), "{\"canary\": 123}").expect("written");
    fs::set_permissions(person.path("gcp.json"), fs::Permissions::from_mode(0o600)).expect("mode");
    let path = person.path("gcp.json").display().to_string();
    let allowed = ["page.mdx:gcp", "-y", "--allow-env", "GOOGLE_*"];
    let ran = person
        .run_with(&allowed, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)])
        .ended(0);
    assert_eq!(
        ran.out, "[secret g.GOOGLE_APPLICATION_CREDENTIALS]",
        "{}",
        ran.err
    );
    let named = ["page.mdx:pw", "-y", "-p", "Password={\"secret\": \"db\"}"];
    let ran = person
        .run_with(
            &[&named[..], &["--secret", "db=env:DB"]].concat(),
            &[("DB", CANARY)],
        )
        .ended(0);
    assert_eq!(ran.out, "[secret db]", "{}", ran.err);
    assert!(
        person
            .run(&named)
            .ended(2)
            .err
            .contains("page:pw needs the secret db: add --secret db=env:VARIABLE")
    );
    let ran = person
        .run(&["page.mdx:pw", "-y", "-p", &format!("Password={CANARY}")])
        .ended(2);
    assert!(
        ran.err.contains("give the name of a secret") && !ran.err.contains(CANARY),
        "{}",
        ran.err
    );
}
