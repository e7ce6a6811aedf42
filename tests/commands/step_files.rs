//! `countersign run` gives a step its files, and no file stays in the directory of the person.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::terminal::Person;

const POLICY: &str = "version: 1\ndefault:\n  run: {allow: [cat, printf, stat]}\n";
const PAGE: &str = "# Sums\n\n```file python utils.py\ndef double(x):\n    return 2 * x\n```\n\n\
                    ```runnable python {#sum}\nimport utils\nprint(utils.double(21))\n```\n";

fn person() -> Person {
    let person = Person::new();
    person.write("policy.yaml", POLICY);
    person.write("notes.md", PAGE);
    person.write("data.txt", "sealed\n");
    person.write("tool", "#!/bin/bash\nprintf 'the tool ran\\n'\n");
    fs::set_permissions(person.path("work/tool"), fs::Permissions::from_mode(0o755))
        .expect("executable");
    person.runbook(
        "a.md",
        "",
        &[(
            "one files=\"data.txt,tool\"",
            "cat data.txt\n./tool\nstat -c '%A %n' data.txt tool",
        )],
    );
    person
}

fn names(person: &Person) -> BTreeSet<String> {
    let entries = fs::read_dir(person.path("work")).expect("a directory");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn a_run_at_a_terminal_gets_the_files_of_its_step_and_leaves_none_behind() {
    let person = person();
    let before = names(&person);
    let output = "sealed\nthe tool ran\n-r--r--r-- data.txt\n-r-xr-xr-x tool\n";
    for options in [&[][..], &["--no-sandbox"]] {
        let arguments = [&["-y", "--policy", "policy.yaml"], options].concat();
        let run = |runbook: &str| match options {
            [] => person.run(&[&[runbook], &arguments[..]].concat()),
            _ => person.run_plain(&[&[runbook], &arguments[..]].concat()),
        };
        assert_eq!(run("notes.md:sum").ended(0).out, "42\n", "{options:?}");
        assert_eq!(run("a.md").ended(0).out, output, "{options:?}");
        assert_eq!(names(&person), before, "{options:?}");
    }
}

#[test]
fn a_run_in_a_directory_of_the_person_is_refused_because_the_files_would_remain() {
    let person = person();
    let before = names(&person);
    // If only policy lets the step write, the step works in an overlay.
    person.write(
        "policy.yaml",
        &POLICY.replace("  run:", "  write: {allow: [\"{repo}/**\"]}\n  run:"),
    );
    let ran = person
        .run(&["a.md", "-y", "--policy", "policy.yaml"])
        .ended(0);
    assert!(
        ran.err.contains("works in an overlay of")
            && ran.err.contains("because the step has files"),
        "{}",
        ran.err
    );
    let ran = person.run(&[
        "a.md",
        "-y",
        "--policy",
        "policy.yaml",
        "--allow-write",
        ".",
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(126), ""), "{}", ran.err);
    assert!(
        ran.err
            .contains("the step has files, and this run works in"),
        "{}",
        ran.err
    );
    assert_eq!(names(&person), before);
}
