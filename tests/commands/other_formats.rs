//! What a first user of runbooks of other systems meets: places of errors, messages, questions of policy.

use serde_json::Value;

use crate::terminal::Person;

const INPUTS: &str = "<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: Service\n  - name: Tries\n    type: int\n    default: 2\n  \
    - name: Hosts\n    type: list\n    default: [a]\n  - name: Flag\n    default: -x\n    validations:\n      - type: regex\n        \
    regex: \"^-[a-z]+$\"\n```\n</Inputs>\n\n";

/// Writes a page with one block, whose script is in its own file. The tag of the block is in line 19.
fn page_with_script(person: &Person, script: &str) {
    let tag = "<Command id=\"restart\" inputsId=\"in\"\n  path=\"./scripts/x.sh\" />\n";
    person.write("books/web/page.mdx", &format!("{INPUTS}{tag}"));
    person.write("books/web/scripts/x.sh", script);
}

/// Returns what `registry check` reports about the page of [`page_with_script`].
fn listed(person: &Person) -> String {
    let output = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn an_error_in_a_script_file_has_its_place_in_this_file_and_names_the_page() {
    let person = Person::new();
    let used_by = "(used by \"restart\" at books/web/page.mdx:20:3)";
    for (script, place, words) in [
        (
            "#!/bin/bash\n\n\n\n\necho a; {{ .inputs.Service }} -v\n",
            "6:9",
            "a parameter can't decide which command",
        ),
        (
            "#!/bin/bash\n\n\n\n\necho \"{{ .Names }}\"\n",
            "6:7",
            "no variable `Names`",
        ),
        (
            "#!/bin/bash\n\n\n\n\necho a\r\n",
            "6:7",
            "Windows line endings",
        ),
        (
            "#!/bin/bash -e\necho a\n",
            "1:1",
            "remove the options, and write `set -e`",
        ),
        (
            "#!/usr/bin/python3 -u\nprint(1)\n",
            "1:1",
            "options in a shebang have no effect: remove the options (used by",
        ),
    ] {
        page_with_script(&person, script);
        let told = listed(&person);
        assert!(
            told.contains(&format!("web/scripts/x.sh:{place}: ")),
            "{script:?}: {told}"
        );
        assert!(
            told.contains(words) && told.contains(&used_by.replace("books/", "")),
            "{script:?}: {told}"
        );
        let ran = person
            .run(&["books/web/page.mdx:restart", "-p", "Service=a"])
            .ended(2);
        assert!(
            ran.err
                .contains(&format!("books/web/scripts/x.sh:{place}: ")),
            "{script:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(used_by), "{script:?}: {}", ran.err);
    }
    page_with_script(&person, "#!/bin/bash\n\n\n\n\nif true; then; fi \"\n");
    let ran = person
        .run(&["books/web/page.mdx:restart", "-p", "Service=a"])
        .ended(126);
    assert!(ran.err.contains("books/web/scripts/x.sh:6:"), "{}", ran.err);
    assert!(ran.err.contains(used_by), "{}", ran.err);
    page_with_script(&person, "#!/bin/bash\n\n\n\n\nshred x\n");
    let ran = person
        .run(&["books/web/page.mdx:restart", "-p", "Service=a"])
        .ended(126);
    assert!(
        ran.err.contains("books/web/scripts/x.sh:6:1 (used by"),
        "{}",
        ran.err
    );
    let inline = "# Page\n\n<Command id=\"a\"\n  command={`\ntrue\nshred x\n`} />\n";
    person.write("inline.mdx", inline);
    let ran = person.run(&["inline.mdx"]).ended(126);
    assert!(
        ran.err.contains("inline.mdx:6:1: "),
        "the script begins at its attribute: {}",
        ran.err
    );
}

#[test]
fn a_page_whose_script_file_has_an_error_gives_no_step_to_a_boundary_that_skips_files() {
    let person = Person::new();
    page_with_script(&person, "{{ .Names }}\n");
    let page = format!(
        "{INPUTS}<Command id=\"restart\" path=\"scripts/x.sh\" />\n\n<Command id=\"b\" command=\"true\" />\n"
    );
    person.write("books/web/page.mdx", &page);
    person.write("books/good.mdx", "<Command id=\"a\" command=\"true\" />\n");
    let output = person
        .command(&["registry", "check", "books", "--json"])
        .output()
        .expect("runs");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&told["sound"], &told["steps"]),
        (&false.into(), &1.into()),
        "{told:#}"
    );
    assert_eq!(told["errors"][0]["file"], "web/scripts/x.sh", "{told:#}");
}

#[test]
fn policy_reads_the_scripts_of_every_format() {
    let person = Person::new();
    page_with_script(
        &person,
        "#!/bin/bash\necho a\n{{ if eq .Service \"x\" }}\nrm a\n{{ else }}\nseq {{ .Tries }}\n{{ end }}\nsort b\n",
    );
    person.write(
        "books/deploy.runbook.md",
        "## 1. Build\n\n```bash\nseq 3\n```\n",
    );
    person.write(
        "books/notes.md",
        "# Notes\n\n```runnable bash {#sort}\nseq 3\n```\n\n```runnable python\nprint(1)\n```\n",
    );
    person.write("books/prose.md", "# Prose\n");
    let told = |words: &[&str]| {
        let output = person.command(words).output().expect("runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = told(&["policy", "explain", "books/web/page.mdx"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("page:restart in ./scripts/x.sh (bash): DENIED"),
        "{text}"
    );
    // Each command is listed once, with its line in the template.
    for row in [
        "x.sh:4:1  run rm",
        "x.sh:6:1  run seq",
        "x.sh:8:1  run sort",
    ] {
        assert_eq!(text.matches(row).count(), 1, "{row}: {text}");
    }
    person.write("strict.yaml", "version: 1\ndefault: {run: {deny: [rm]}}\n");
    for books in ["books", "books/web/page.mdx"] {
        let (code, text) = told(&["registry", "check", books, "--policy", "strict.yaml"]);
        assert!(
            code == Some(1) && text.contains("run rm") && text.contains("DENIED"),
            "{text}"
        );
    }
    let (_, text) = told(&["policy", "explain", "books/deploy.runbook.md"]);
    assert!(
        text.contains("deploy:1 (bash): would ask")
            && text.contains("deploy.runbook.md:4:1  run seq"),
        "{text}"
    );
    let (_, text) = told(&["policy", "explain", "books/notes.md"]);
    assert!(
        text.contains("notes:sort (bash): would ask") && text.contains("notes:2 (python)"),
        "{text}"
    );
    let (code, text) = told(&["policy", "explain", "books/prose.md"]);
    assert!(
        code == Some(2) && text.contains("contains no step: add the front matter"),
        "{text}"
    );
    person.write(
        "books/bad.runbook.md",
        "## 1. A\n\n```sh promt\ntrue\n```\n",
    );
    let (code, text) = told(&["policy", "explain", "books/bad.runbook.md"]);
    assert!(
        code == Some(2) && text.contains("books/bad.runbook.md:3:4: "),
        "{text}"
    );
}

#[test]
fn each_refused_place_of_a_template_says_what_to_write_instead() {
    let person = Person::new();
    for (script, words) in [
        ("{{ .Service }} -v\n", "case \"$PARAM_SERVICE\" in"),
        (
            "ssh {{ .Service }} uptime\n",
            "ssh -- \"$PARAM_SERVICE\" uptime",
        ),
        (
            "bash -c \"echo {{ .Service }}\"\n",
            "or read this variable inside the code",
        ),
        (
            "awk -v n={{ .Service }} 'BEGIN { print n }'\n",
            "PARAM_SERVICE",
        ),
        ("printf {{ .Service }}\n", "printf '%s'"),
        (
            "echo \"x\" | bash -s; eval {{ .Service }}\n",
            "PARAM_SERVICE",
        ),
        ("echo $'{{ .Service }}'\n", "$PARAM_SERVICE"),
        (
            "echo {{ upper .Service }}\n",
            "(`PARAM_NAME`); if another program reads this text, write {{`{{upper .Service}}`}}",
        ),
        (
            "docker ps --format \"{{.Names}}\"\n",
            "if another program reads this text, write {{`{{.Names}}`}}",
        ),
        (
            "docker inspect -f '{{json .State}}'\n",
            "write {{`{{json .State}}`}}",
        ),
        (
            "echo {{ .Hosts }}\n",
            "write {{ range .inputs.Hosts }} {{ . }}{{ end }}, or read the JSON in the variable `PARAM_HOSTS`",
        ),
    ] {
        page_with_script(&person, &format!("#!/bin/bash\n{script}"));
        let told = listed(&person);
        assert!(
            told.contains("x.sh:2:") && told.contains(words),
            "{script}: {told}"
        );
    }
}

#[test]
fn the_advised_corrections_of_templates_and_values_work() {
    let person = Person::new();
    let script = "#!/bin/bash\nprintf '%s\\n' '{{`{{.Names}}`}}' \"{{`{{json .State}}`}}\" {{ .Flag }}\n\
                  for n in{{ range .Hosts }} {{ . }}{{ end }}; do echo \"host $n\"; done\necho $(( {{ .Tries }} + 1 ))\n";
    page_with_script(&person, script);
    let page = "books/web/page.mdx:restart";
    let ran = person
        .run(&[
            page,
            "-p",
            "Service=a",
            "-p",
            "Flag=-v",
            "-p",
            "Hosts=[\"b\",\"c\"]",
        ])
        .ended(0);
    assert_eq!(
        ran.out,
        "{{.Names}}\n{{json .State}}\n-v\nhost b\nhost c\n3\n"
    );
    let ran = person.run(&[page, "-p", "Service=-v"]).ended(2);
    assert!(
        ran.err
            .contains("a Gruntwork page with an enum or a `regex` that begins with ^-"),
        "{}",
        ran.err
    );
    let ran = person
        .run(&[page, "-p", "Service=a", "-p", "Tries=007"])
        .ended(2);
    assert!(
        ran.err.contains(
            "an integer without zeros at its beginning, because other programs read 010 as 8"
        ),
        "{}",
        ran.err
    );
    let ran = person
        .run(&[page, "-p", "Service=a", "-p", "Tries=x"])
        .ended(2);
    assert!(ran.err.contains("an integer, like 3 or -3"), "{}", ran.err);
}

#[test]
fn a_directory_instead_of_a_runbook_is_answered_with_its_runbooks() {
    let person = Person::new();
    person.write("books/a.mdx", "x");
    person.write("books/b.runbook.md", "x");
    person.write("books/c.txt", "x");
    let ran = person.run(&["books"]).ended(2);
    assert!(
        ran.err.contains(
            "books is a directory: name one of its files: books/a.mdx, books/b.runbook.md"
        ),
        "{}",
        ran.err
    );
    person.write("empty/c.txt", "x");
    let ran = person.run(&["empty"]).ended(2);
    assert!(
        ran.err
            .contains("without a file that ends in .md, .runbook.md or .mdx"),
        "{}",
        ran.err
    );
}

#[test]
fn run_shows_the_remarks_of_the_file_once_for_each_kind() {
    let person = Person::new();
    let block = |id: &str| {
        format!("<Command id=\"{id}\" command=\"echo {id}\" successMessage=\"y\" />\n\n")
    };
    person.write("page.mdx", &format!("{}{}", block("a"), block("b")));
    let ran = person.run(&["page.mdx", "-y"]);
    let remark = "remark: page.mdx:1:1: attributes without effect: successMessage (lines 1, 3)";
    assert_eq!(ran.err.matches(remark).count(), 1, "{}", ran.err);
    let ran = person.run(&["page.mdx:a", "-y"]).ended(0);
    assert!(
        ran.err.contains("remark: page.mdx: 1 about this file")
            && !ran.err.contains("successMessage"),
        "{}",
        ran.err
    );
    person.write(
        "a.runbook.md",
        "## 1. A\n\n```bash\necho {{ x }}\n```\n\n## 2. B\n\n```bash\necho {{ y }}\n```\n",
    );
    let ran = person.run(&["a.runbook.md", "-y"]).ended(0);
    assert_eq!(
        ran.err
            .matches("text that is not replaced in a script: `{{`; ")
            .count(),
        1,
        "{}",
        ran.err
    );
    assert!(ran.err.contains("(lines 4, 10)"), "{}", ran.err);
}

#[test]
fn the_prompts_name_the_meaning_of_each_key() {
    let person = Person::new();
    person.write(
        "a.runbook.md",
        "## 1. A\n\nAsk.\n\n## 2. B\n\n```bash\nseq 1\n```\n",
    );
    let mut terminal = person.at_terminal(&["a.runbook.md"]);
    terminal.wait_for("did 1 pass? [y/n] ").types("y\n");
    terminal
        .wait_for("allow it? [o = once, s = session, a = all, d = deny, n = deny all] ")
        .types("o\n");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_pattern_with_an_ending_matches_the_path_of_a_reference_and_is_explained_otherwise() {
    let person = Person::new();
    let policy = "version: 1\noverrides:\n  - runbook: \"deploy/*.runbook.md\"\n    mode: deny\n";
    person.write("p.yaml", policy);
    let shown = |runbook: &str| {
        let words = ["policy", "show", "--policy", "p.yaml", runbook];
        let output = person.command(&words).output().expect("runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for matched in ["deploy/web", "deploy/web.runbook.md", "./deploy/web"] {
        assert!(shown(matched).contains("deny, "), "{}", shown(matched));
        assert!(
            !shown(matched).contains("does not match"),
            "{}",
            shown(matched)
        );
    }
    let other = shown("deploy/web.mdx");
    assert!(
        other.contains("the override \"deploy/*.runbook.md\" does not match this runbook"),
        "{other}"
    );
    assert!(
        !shown("other/web").contains("does not match"),
        "{}",
        shown("other/web")
    );
}

#[test]
fn doctor_names_the_steps_whose_network_policy_does_not_allow() {
    let person = Person::new();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/keys/alice.pub");
    let approver = format!("alice={key}");
    let init = [
        "init",
        "b",
        "--name",
        "prod",
        "--yes",
        "--approver",
        &approver,
    ];
    let init = person.command(&init).output().expect("runs");
    assert!(
        init.status.success(),
        "{}",
        String::from_utf8_lossy(&init.stderr)
    );
    let told = || {
        let output = person.command(&["doctor", "b"]).output().expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = "<Command id=\"plain\" command=\"curl https://a.example/\" />\n\n<Command id=\"declared\" \
                command=\"curl https://a.example/\" network=\"a.example:443\" />\n";
    person.write("b/runbooks/page.mdx", page);
    let lines = told();
    assert!(
        lines.contains(
            "steps without network start programs that usually need the network: page:plain; "
        ),
        "{lines}"
    );
    let refused = lines
        .lines()
        .find(|line| line.contains("page:declared"))
        .unwrap_or_default();
    assert!(refused.starts_with("FIX   access"), "{lines}");
    assert!(
        refused.contains("page.mdx:3:10: ")
            && refused.contains("network: {allow: [\"a.example:443\"]}"),
        "{lines}"
    );
    let policy = person.path("work/b/boundary/policy.yaml");
    let text = std::fs::read_to_string(&policy).expect("a policy");
    let allow =
        "overrides:\n  - runbook: page\n    sandbox: {network: {allow: [\"a.example:443\"]}}\n";
    std::fs::write(&policy, format!("{}{allow}", text)).expect("written");
    let literal = "<Command id=\"literal\" command=\"echo '{{`{{.Names}}`}}'\" />\n";
    person.write("b/runbooks/literal.mdx", literal);
    let lines = told();
    assert!(
        !lines.contains("Names"),
        "policy reads the filled-in script: {lines}"
    );
    assert!(
        !lines.contains("page:declared") && lines.contains("page:plain"),
        "{lines}"
    );
}

#[test]
fn a_command_that_only_a_built_in_list_denies_is_refused_with_the_option_that_allows_it() {
    let person = Person::new();
    person.runbook("a.md", "title: A", &[("a", "rm -f x; seq 1; rm -f y")]);
    let ran = person.run(&["a.md"]).ended(126);
    assert!(
        ran.err
            .trim_end()
            .ends_with("; to allow this for one call, add --allow-run rm"),
        "{}",
        ran.err
    );
    person.run(&["a.md", "-y", "--allow-run", "rm"]).ended(0);
    person.write(
        "countersign.policy.yaml",
        "version: 1\ndefault: {run: {deny: [seq]}}\n",
    );
    let ran = person.run(&["a.md"]).ended(126);
    assert!(
        ran.err.contains("\"seq\" is denied") && !ran.err.contains("to allow this"),
        "{}",
        ran.err
    );
}
