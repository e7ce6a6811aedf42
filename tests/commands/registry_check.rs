//! What `registry check` reports about runbooks of each format, through the real binary.

use crate::terminal::Person;

/// Returns what `registry check` reports about these files, without the line about the lock.
fn checked(person: &Person) -> Vec<String> {
    let output = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    text.lines()
        .filter(|line| !line.starts_with("no lock"))
        .map(str::to_owned)
        .collect()
}

/// Checks that a file gives exactly these lines, each of which begins as stated, and then the sum.
#[track_caller]
fn reports(files: &[(&str, &str)], expected: &[&str]) {
    let person = Person::new();
    files
        .iter()
        .for_each(|(name, text)| person.write(&format!("books/{name}"), text));
    let found = checked(&person);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, words) in found.iter().zip(expected) {
        assert!(line.starts_with(words), "{words}: {found:#?}");
    }
}

const UNREAD: &str = "the parser can't read the script, so every policy denies it";

#[test]
fn all_errors_of_a_file_are_reported_at_once_at_their_lines() {
    let own = "---\ncountersign: 1\nparams: {n: {type: integer}, m: {type: text}}\n---\n```bash {#a timeout=1 \
               params=n}\ntrue\n```\n\n```bash {#b}\ntrue\n```\n\n```bash {#b}\ntrue\n```\n";
    let expected = [
        "error: a.md:3:40: unknown type: \"text\"",
        "error: a.md:5:21: \"1\" is not valid",
        "error: a.md:13:11: the step a:b already exists at 9:11",
        "3 errors",
    ];
    reports(&[("a.md", own)], &expected);
    // The second block of an id is checked, too. Ids that differ only in capital letters are one name.
    let twice = "---\ncountersign: 1\n---\n```bash {#b}\ntrue\n```\n\n```bash {#b}\nif\n```\n\n```bash {#B}\ntrue\n```\n";
    let expected = [
        "error: a.md:8:11: the step a:b already exists at 4:11: change",
        &format!("error: a.md:10:1: {UNREAD}"),
        "error: a.md:12:11: the step a:B already exists at a.md:4:11 as a:b: change",
        "3 errors",
    ];
    reports(&[("a.md", twice)], &expected);
    let runnable = "```runnable bash\ntrue\n```\n```runnable bash {#1}\nfi\n```\n";
    let expected = [
        "error: a.md:4:20: the step a:1 already exists at 1:1",
        &format!("error: a.md:5:3: {UNREAD}"),
        "2 errors",
    ];
    reports(&[("a.md", runnable)], &expected);
    let scripts = "---\ncountersign: 1\nparams: {name: {type: string}}\n---\n```bash {#a}\n# $PARAM_M\necho \"$PARAM_NAM\"\nif \
                   then\n```\n\n```sh {#b}\necho ${PARAM_M} ${PARAM_N-} ${PARAM_O:-x}; PARAM_P=1; echo $PARAM_P\n```\n\n```python \
                   {#c}\nprint('$PARAM_X', ')\n```\n\n```bash {#d timeout=0s}\nfi\n```\n";
    let expected = [
        "error: a.md:7:8: no parameter gives $PARAM_NAM (did you mean $PARAM_NAME?): declare the parameter",
        &format!("error: a.md:9:1: {UNREAD}: an `if` is not closed"),
        "error: a.md:12:8: no parameter gives $PARAM_M",
        "error: a.md:19:21: \"0s\" is zero",
        &format!("error: a.md:20:3: {UNREAD}"),
        "5 errors",
    ];
    reports(&[("a.md", scripts)], &expected);
    let mdx = "{unknown}\n\n<Command id=\"a\" command=\"echo {{ .inputs.X }}; echo $PARAM_Y\" />\n\n<Check id=\"b\" path=\"b.sh\" />\n";
    let expected = [
        &format!("error: b.sh:2:3: {UNREAD}"),
        "error: page.mdx:1:2: an expression must be a text",
        "error: page.mdx:3:17: line 1, column 29 of the script: no parameter gives $PARAM_Y",
        "error: page.mdx:3:17: line 1, column 6 of the script: the step has no variable `X`",
        "4 errors",
    ];
    reports(
        &[("page.mdx", mdx), ("b.sh", "#!/bin/bash\nfi\n")],
        &expected,
    );
    // The text of the functions of Gruntwork, which the reader adds, changes no place.
    let logs = "<Check id=\"b\" path=\"b.sh\" />\n";
    let expected = [
        "error: b.sh:1:22: no parameter gives $PARAM_X",
        &format!("error: b.sh:2:3: {UNREAD}"),
        "2 errors",
    ];
    reports(
        &[
            ("page.mdx", logs),
            ("b.sh", "log_info a;     cat $PARAM_X\nfi\n"),
        ],
        &expected,
    );
}

#[test]
fn files_fences_tags_and_words_that_have_no_effect_are_named() {
    let sample = "---\ncountersign: 1\ntitle: C\n---\n# A\n\n```bash {#ok}\necho a\n```\n\n    hello\n\n```file python u.py\n```\n";
    reports(
        &[("a.md", sample)],
        &[
            "remark: a.md:13:1: in a file with `countersign: 1`, a block has no effect: ```file",
            "sound: 1 step",
        ],
    );
    reports(
        &[(
            "n.md",
            "~~~runnable bash\ntrue\n~~~\n\n1. x\n\n        ```\n",
        )],
        &["sound: 1 step"],
    );
    let near = "```Runnable bash\ntrue\n```\n\n```runnablefoo bash\ntrue\n```\n";
    let expected = [
        "remark: n.md:1:1: the block begins with \"Runnable\", so it is no step: write ```runnable and a language",
        "remark: n.md:5:1: the block begins with \"runnablefoo\"",
        "sound: 0 steps",
    ];
    reports(&[("n.md", near)], &expected);
    let marked = "\u{feff}```runnable bash\ntrue\n```\n\n```runnable bash\ntrue\n```\n";
    reports(
        &[("n.md", marked)],
        &[
            "error: n.md:1:1: the file begins with a byte order mark",
            "1 error",
        ],
    );
    reports(
        &[("n.md", "\u{feff}Text\n\n```runnable bash\ntrue\n```\n")],
        &["sound: 1 step"],
    );
    let rundown = "\u{feff}---\nname: a\n---\n## 1. A\n\n```sh\ntrue\n```\n";
    reports(
        &[("a.runbook.md", rundown)],
        &[
            "error: a.runbook.md:1:1: the file begins with a byte order mark",
            "1 error",
        ],
    );
    let names = [
        ("A.MDX", ""),
        ("b.markdown", ""),
        ("c.runbook.MD", ""),
        ("d.txt", ""),
    ];
    let not_read = |name: &str| {
        format!("remark: {name}:1:1: the file is not read: a runbook has a name that ends in .md,")
    };
    let expected = [
        &not_read("A.MDX")[..],
        &not_read("b.markdown"),
        &not_read("c.runbook.MD"),
        "sound: 0 steps",
    ];
    reports(&names, &expected);
    let tags = "<Commands id=\"a\" command=\"true\" />\n\n<ui.Command id=\"b\" path=\"x\" />\n\n<Checklist id=\"c\" command=\"x\" \
                />\n\n<Command id=\"d\" command=\"true\" />\n";
    let line = "remark: a.mdx:1:1: elements that are no steps: <Commands>, <ui.Command>; write <Command> or <Check> (lines 1, 3)";
    reports(&[("a.mdx", tags)], &[line, "sound: 1 step"]);
    let lower = "<command id=\"a\" command=\"true\" />\n";
    reports(
        &[("a.mdx", lower)],
        &[
            "remark: a.mdx:1:1: elements that are no steps: <command>",
            "sound: 0 steps",
        ],
    );
    reports(
        &[("a.mdx", "A <command> of <b that is no MDX\n")],
        &["sound: 0 steps"],
    );
}

#[test]
fn commands_scenarios_and_fractions_of_rundown_are_read_or_named() {
    let text = "---\nname: a\nversion: 1.2\nscenarios:\n  one: {commands: [rd pass]}\n---\n## 1. A\n\n```bash\nrd echo --result \
                pass\nif rd prompt 'x'; then echo rd; fi\n```\n\n## 2. B\n\n```bash\ntrue && rundown echo x\n```\n";
    let expected = [
        "remark: a.runbook.md:4:1: `scenarios` has no effect",
        "remark: a.runbook.md:10:1: commands of the program Rundown, which no step has: `rd echo`, `rd prompt`, `rundown echo`; \
         write the command itself, for example `true` or `false` instead of `rd echo`, or a block ```prompt (lines 10, 11, 17)",
        "sound: 2 steps",
    ];
    reports(&[("a.runbook.md", text)], &expected);
}

#[test]
fn a_missing_child_runbook_is_an_error() {
    let child = "## 1. A\n\n```sh\ntrue\n```\n";
    let parent = "## 1. A\n- child.runbook.md\n- ../child.runbook.md\n- sub/child.runbook.md\n- none.runbook.md\n- \
                  ../../x.runbook.md\n- /etc/x.runbook.md\n- ../sub/parent.runbook.md\n";
    let expected = [
        "error: sub/parent.runbook.md:5:3: there is no runbook \"none.runbook.md\": correct the path",
        "error: sub/parent.runbook.md:6:3: the runbook \"../../x.runbook.md\" is outside of the project",
        "error: sub/parent.runbook.md:7:3: the runbook \"/etc/x.runbook.md\" is outside of the project",
        "error: sub/parent.runbook.md:8:3: \"../sub/parent.runbook.md\" is this file itself",
        "4 errors",
    ];
    reports(
        &[
            ("sub/parent.runbook.md", parent),
            ("child.runbook.md", child),
            ("sub/child.runbook.md", child),
        ],
        &expected,
    );
}

#[test]
fn each_format_takes_files_of_its_directory() {
    let person = Person::new();
    person.write("books/lib.sh", "hello() { echo \"hello $1\"; }\n");
    person.write(
        "books/a.runbook.md",
        "## 1. A\n\n```bash {files=lib.sh}\n. ./lib.sh; hello rundown\n```\n",
    );
    person.write(
        "books/a.mdx",
        "<Command id=\"a\" command=\". ./lib.sh; hello gruntwork\" files=\"lib.sh\" />\n",
    );
    // Runnable fences promise the files of the page in the directory for temporary files, too.
    let fences = "```runnable bash {#a files=lib.sh}\n. /tmp/lib.sh; hello \"$(cat \"$TMPDIR\"/d/data.txt)\"; cat /tmp/data.txt \
                  data.txt\n```\n\n```file text data.txt\nx\n```\n\n```file text d/data.txt\nfences\n```\n";
    person.write("books/a.md", fences);
    for (step, expected) in [
        ("books/a.runbook.md", "hello rundown\n"),
        ("books/a.mdx", "hello gruntwork\n"),
        ("books/a.md", "hello fences\nx\nx\n"),
    ] {
        let ran = person.run(&[step, "--allow-all"]).ended(0);
        assert_eq!(ran.out, expected, "{step}: {}", ran.err);
    }
    let twice = fences.replace("files=lib.sh", "files=\"lib.sh, data.txt\"");
    person.write("books/data.txt", "y");
    person.write("books/a.md", &twice);
    let ran = person.run(&["books/a.md"]).ended(2);
    assert!(
        ran.err
            .contains("books/a.md:1:1: \"data.txt\" is a file of the page and in `files`"),
        "{}",
        ran.err
    );
    person.write(
        "books/a.mdx",
        "<Command id=\"a\" command=\"true\" files=\"../x\" />\n",
    );
    let ran = person.run(&["books/a.mdx"]).ended(2);
    assert!(
        ran.err
            .contains("\"../x\" is not a path inside of the runbook's directory"),
        "{}",
        ran.err
    );
}

#[test]
fn the_functions_of_gruntwork_print_their_level_and_time() {
    let person = Person::new();
    person.write("policy.yaml", "version: 1\ndefault: {mode: execute}\n");
    let block = |id: &str, shebang: &str| {
        format!(
            "<Command id=\"{id}\" command={{`{shebang}\nset -eu\nlog_info a  b\nlog_warn c\nlog_error d\nlog_debug e\nDEBUG=true\n\
             log_debug f\n`}} />\n\n"
        )
    };
    person.write(
        "page.mdx",
        &(block("bash", "#!/bin/bash") + &block("sh", "#!/bin/sh")),
    );
    let ran = person
        .run(&["page.mdx", "--policy", "policy.yaml"])
        .ended(0);
    let expected = ["[INFO]  a b", "[WARN]  c", "[ERROR] d", "[DEBUG] f"].repeat(2);
    for (line, expected) in ran.out.lines().zip(&expected) {
        let (time, rest) = line.split_once("] ").expect("a time");
        assert_eq!(
            (rest, time.len(), time.ends_with('Z')),
            (*expected, 21, true),
            "{}",
            ran.out
        );
    }
    assert_eq!(ran.out.lines().count(), 8, "{}{}", ran.out, ran.err);
    let shown = person
        .command(&["registry", "show", "page:bash", "--dir", "."])
        .output()
        .expect("runs");
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("log_info() { "),
        "reviewers see the functions"
    );
}
