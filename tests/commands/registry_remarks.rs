//! Remarks about blocks that look like steps, and about scripts that work at a terminal but not in a step, through the
//! real binary.

use crate::terminal::Person;

const FRONT: &str = "---\ncountersign: 1\n---\n";
const GOOD: &str = "```bash {#good}\nprintf 'x\\n'\n```\n";
const NO_STEP: &str = "the block looks like a step and is none, because";

/// Returns the remarks about one file as `LINE:COLUMN: MESSAGE`, and the last line of the report.
fn remarks_of(name: &str, text: &str) -> (Vec<String>, String) {
    let person = Person::new();
    person.write(&format!("books/{name}"), text);
    let output = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let own = format!("remark: {name}:");
    let remarks = said
        .lines()
        .filter_map(|line| line.strip_prefix(&own))
        .map(str::to_owned)
        .collect();
    (remarks, said.lines().last().unwrap_or_default().to_owned())
}

/// Checks the remarks about a file: each begins with the place, and contains the words.
#[track_caller]
fn remarks(text: &str, expected: &[(&str, &str)]) {
    let (found, verdict) = remarks_of("a.md", text);
    assert!(
        verdict.starts_with("sound: "),
        "a remark is no error: {verdict}\n{text}"
    );
    assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
    for (line, (place, words)) in found.iter().zip(expected) {
        assert!(
            line.starts_with(place) && line.contains(words),
            "{place} {words}: {found:#?}"
        );
    }
}

/// Checks the remarks about a script, which begins in line 5 of the file.
#[track_caller]
fn about_script(script: &str, expected: &[(&str, &str)]) {
    remarks(&format!("{FRONT}```bash {{#a}}\n{script}\n```\n"), expected);
}

#[test]
fn a_title_that_a_comment_ends_has_a_remark() {
    let title = |title: &str| {
        format!("---\ncountersign: 1\ntitle: {title}\n---\n```bash {{#a}}\ntrue\n```\n")
    };
    let words = "` #` begins a comment, so the title is only \"Update\": put it in quotes";
    remarks(&title("Update #2 (28 steps)"), &[("3:8: ", words)]);
    for whole in [
        "'Update #2 (28 steps)'",
        "\"Update #2\"",
        "\"Update\" # a note",
        "Update#2",
        "Update",
    ] {
        remarks(&title(whole), &[]);
    }
}

#[test]
fn a_hidden_character_of_a_fence_is_escaped_once_in_the_message() {
    let person = Person::new();
    person.write(
        "books/a.md",
        &format!("{FRONT}```bash \\x\u{200b}y {{#a}}\ntrue\n```\n"),
    );
    let output = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(r#"a.md:4:4: "bash \\x\u{200b}y" is more than one word"#),
        "{said}"
    );
}

#[test]
fn a_fence_in_the_form_of_another_program_is_no_step_and_has_a_remark() {
    for (info, write) in [
        ("{.bash #h}", "write ```bash {#NAME}"),
        ("{#h .sh .numberLines}", "is none"),
        ("bash { name=deploy }", "write ```bash {#NAME}"),
        (
            "sh {\"id\":\"01HF7\",\"name\":\"deploy\"}",
            "write ```sh {#NAME}",
        ),
        ("bash #deploy", "write ```bash {#NAME}"),
        ("{: #deploy .bash}", "is none"),
        ("{bash}", "write ```bash {#NAME}"),
        ("bash id=deploy", "write ```bash {#NAME}"),
        ("bash timeout=60s", "write ```bash {#NAME}"),
    ] {
        let text = format!("{FRONT}{GOOD}\n```{info}\nprintf 'h\\n'\n```\n");
        let (found, verdict) = remarks_of("a.md", &text);
        // A fence whose braces have an id in the own form is a step, or an error.
        if !verdict.starts_with("sound: 1 step") {
            assert!(!verdict.starts_with("sound"), "{info}: {found:?} {verdict}");
            continue;
        }
        assert!(
            found.len() == 1 && found[0].starts_with("8:1: ") && found[0].contains(NO_STEP),
            "{info}: {found:#?}"
        );
        assert!(found[0].contains(write), "{info}: {found:#?}");
    }
    // kramdown has the attributes in a line of its own.
    remarks(
        &format!("{FRONT}{GOOD}\n```bash\nprintf 'h\\n'\n```\n{{: #deploy}}\n"),
        &[("8:1: ", "write ```bash {#NAME}")],
    );
}

#[test]
fn a_fence_for_readers_has_no_remark() {
    for info in [
        "bash",
        "js {1,3-4}",
        "toml {linenos=true}",
        "bash {.line-numbers}",
        "bash title=\"x\"",
        "json",
        "",
        "md {.c}",
    ] {
        remarks(&format!("{FRONT}{GOOD}\n```{info}\nx\n```\n"), &[]);
    }
    // Somebody shows how to write a step.
    remarks(&format!("{FRONT}{GOOD}\n````markdown\n{GOOD}````\n"), &[]);
    remarks(&format!("{FRONT}{GOOD}\n````\n{GOOD}````\n"), &[]);
    remarks(
        &format!("{FRONT}{GOOD}\n<!--\n{GOOD}-->\n\n<pre>\n{GOOD}</pre>\n"),
        &[],
    );
}

#[test]
fn a_hidden_fence_of_a_step_has_a_remark_at_its_line() {
    let block = "```bash {#hidden}\nprintf 'h\\n'\n```\n";
    let indented: String = block.lines().map(|line| format!("    {line}\n")).collect();
    remarks(
        &format!("{FRONT}{GOOD}\n{indented}"),
        &[("8:5: ", "the fence is indented")],
    );
    remarks(
        &format!("{FRONT}{GOOD}\nText:\n{indented}"),
        &[("9:5: ", "the fence is indented")],
    );
    let tight = format!("{FRONT}{GOOD}\n<details>\n<summary>More</summary>\n{block}</details>\n");
    remarks(&tight, &[("10:1: ", "an HTML element contains this fence")]);
    let loose =
        format!("{FRONT}{GOOD}\n<details>\n<summary>More</summary>\n\n{block}\n</details>\n");
    let (found, verdict) = remarks_of("a.md", &loose);
    assert_eq!(
        (found.len(), verdict.as_str()),
        (0, "sound: 2 steps"),
        "{found:#?}"
    );
    let swallowed = format!("{FRONT}{GOOD}\n```\ntext\n{block}");
    let (found, _) = remarks_of("a.md", &swallowed);
    assert!(
        found[0].starts_with("10:1: ")
            && found[0].contains("the block in line 8 contains this fence"),
        "{found:#?}"
    );
    let runnable = "```runnable bash\ntrue\n```\n\n    ```runnable bash\n    true\n    ```\n";
    remarks(runnable, &[("5:5: ", "the fence is indented")]);
}

#[test]
fn front_matter_that_is_not_read_has_a_remark() {
    for (front, line) in [
        ("\n---\ncountersign: 1\n---\n", 3),
        ("# Title\n\n---\ncountersign: 1\n---\n", 4),
        ("<!-- note -->\n---\ncountersign: 1\n---\n", 3),
        (" ---\ncountersign: 1\n---\n", 2),
        ("---\n  countersign: 1\n---\n", 2),
        ("---\nCountersign: 1\n---\n", 2),
        ("+++\ncountersign = 1\n+++\n", 2),
        ("<!--\ncountersign: 1\n-->\n", 2),
        ("{\n\"countersign\": 1\n}\n", 2),
    ] {
        let (found, verdict) = remarks_of("a.md", &format!("{front}{GOOD}"));
        assert_eq!(verdict, "sound: 0 steps", "{front}");
        assert!(
            found.len() == 1
                && found[0].starts_with(&format!("{line}:1: this looks like front matter")),
            "{front}: {found:#?}"
        );
    }
    remarks(
        &format!("# Title\n\n{GOOD}"),
        &[("3:1: ", "the file has no front matter `countersign: 1`")],
    );
    remarks(
        &format!("---\ntitle: x\n---\n{GOOD}"),
        &[("4:1: ", "no front matter")],
    );
    // Prose, and a page that explains front matter.
    remarks("# Title\n\n```bash\nx\n```\n", &[]);
    remarks("# Title\n\n```yaml\ncountersign: 1\n```\n", &[]);
}

#[test]
fn unknown_keys_of_the_front_matter_are_remarks_unless_they_resemble_a_setting() {
    let page = |front: &str| format!("---\ncountersign: 1\n{front}---\n{GOOD}");
    let keys = "tags: [a]\nseverity: P0\nowner: x\ncreated: 2026-01-08\nauthor: y\ndescription: d\nlast_reviewed: z\nversion: 1.2\ndraft: yes\n";
    let (found, verdict) = remarks_of("a.md", &page(keys));
    assert_eq!(
        (found.len(), verdict.as_str()),
        (9, "sound: 1 step"),
        "{found:#?}"
    );
    assert!(
        found[0]
            .starts_with("3:1: nobody reads \"tags\" in the front matter: write it below `meta:`"),
        "{found:#?}"
    );
    remarks(
        &page(
            "meta:\n  tags: [a]\n  created: 2026-01-08\n  approvals: {required: 9}\n  timeout: 1s\n",
        ),
        &[],
    );
    for key in [
        "aprovals",
        "approval",
        "approvers",
        "approved",
        "quorum",
        "signatures",
        "groups",
        "group",
        "timeout",
        "timout",
        "secrets",
        "network",
        "programs",
        "run-as",
        "run_as",
        "sandbox",
        "reason",
        "mode",
        "deny",
        "grants",
        "required",
        "from",
        "param",
        "titel",
        "default",
        "session",
        "exclusive",
        "memory",
        "files",
        "metas",
    ] {
        let (found, verdict) = remarks_of("a.md", &page(&format!("{key}: 1\n")));
        assert_eq!(
            (found.len(), verdict.as_str()),
            (0, "1 error"),
            "{key}: {found:#?}"
        );
    }
    let person = Person::new();
    person.write("books/a.md", &page("quorum: 2\n"));
    let said = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("\"quorum\"; it is a word of a block or of policy") && !said.contains("mean"),
        "{said}"
    );
    let (_, verdict) = remarks_of("a.md", &page("defaults: {timeout: yes}\n"));
    assert_eq!(
        verdict, "1 error",
        "a value that the program reads stays strict"
    );
    let (_, verdict) = remarks_of("a.md", &page("meta: text\n"));
    assert_eq!(verdict, "1 error");
}

#[test]
fn meta_and_unknown_keys_change_no_digest() {
    let digest = |front: &str| {
        let person = Person::new();
        person.write(
            "books/a.md",
            &format!("---\ncountersign: 1\ntitle: T\n{front}---\n{GOOD}"),
        );
        let output = person
            .command(&["registry", "list", "--dir", "books", "--json"])
            .output()
            .expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let plain = digest("");
    assert!(plain.contains("sha256:"), "{plain}");
    assert_eq!(
        plain,
        digest("meta: {tags: [a], owner: x, nested: {approvals: 1}}\n")
    );
    assert_eq!(plain, digest("tags: [a]\n"));
}

#[test]
fn prompts_have_a_remark_where_no_program_has_such_a_name() {
    about_script(
        "$ printf 'one\\n'",
        &[("5:1: ", "\"$\" looks like a prompt")],
    );
    about_script(
        "$ printf 'one' \\\n> more",
        &[("5:1: ", "and \"> \" in the lines below")],
    );
    for prompt in [
        "%",
        "~ $",
        "user@host:~$",
        "root@web-1:/etc#",
        "[root@web",
        "bash-5.1$",
        "sh-5.1$",
        "❯",
    ] {
        about_script(
            &format!("true\n{prompt} ls -l"),
            &[("6:1: ", "looks like a prompt")],
        );
    }
    for line in [
        "mysql> select 1;",
        "PS C:\\Windows> dir",
        "MariaDB [db]> select 1;",
        "sqlite> .tables",
    ] {
        about_script(
            &format!("true\n{line}"),
            &[("6:1: ", "looks like the prompt of another program")],
        );
    }
    about_script("mysql > out.txt < in.sql", &[]);
    about_script(
        "# apt update\n# apt upgrade",
        &[("5:1: ", "every line is a comment")],
    );
    about_script("# A comment\nprintf 'x\\n' # another", &[]);
    about_script("cat <<'END'\n$ ls\n> x\n# y\nEND", &[]);
    about_script("printf '%s\\n' \"$ \" '%'", &[]);
    about_script("> out.txt\nprintf 'x\\n' >> out.txt", &[]);
    // The parser can't read output as a script. The error explains the prompt.
    let person = Person::new();
    person.write(
        "books/a.md",
        &format!("{FRONT}```bash {{#a}}\n$ ls\na (1) b\n```\n"),
    );
    let said = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("error: a.md:6:")
            && said.contains("\"$ ls\" looks like a command after a prompt"),
        "{said}"
    );
}

#[test]
fn placeholders_have_a_remark_with_the_parameter_to_declare() {
    about_script(
        "kubectl get pods <pod-name> -n web",
        &[(
            "5:19: ",
            "declare a parameter \"pod_name\", and write \"$PARAM_POD_NAME\"",
        )],
    );
    // The log stores each parameter.
    about_script(
        "export TOKEN=YOUR_TOKEN",
        &[("5:", "name it under secrets= of the block")],
    );
    about_script(
        "export API_KEY=CHANGEME",
        &[("5:", "name it under secrets= of the block")],
    );
    about_script(
        "kubectl exec -it pod -- bash",
        &[("5:", "give the command at the end (kubectl: after --)")],
    );
    for script in [
        "curl https://<host>/x",
        "ssh \"<user>\" id",
        "kubectl -n \"<namespace>\" get pods",
        "kubectl get {{pod}} -o yaml",
        "gcloud --project=your-project-id list",
        "aws --profile YOUR_PROFILE s3 ls",
        "curl -H token:CHANGEME x",
        "cp [source_file] /srv",
    ] {
        about_script(script, &[("5:", "looks like a placeholder")]);
    }
    for script in [
        "sort <in >out",
        "tr a b <in>out",
        "tr a b <in>/dev/null",
        "cat < in > out",
        "grep '<title>' f",
        "echo '<name>'",
        "docker ps --format '{{.Names}}'",
        "wc -l <<< \"<x>\"",
        "sed 's/<a>//' f",
        "printf '%s\\n' YOUR_NAME",
        "ls [abc] [A-Za-z] log[0-9]",
        "tr [lower] [upper] < f",
    ] {
        about_script(script, &[]);
    }
    // At the end of a line, the shell reports a syntax error. The error explains the placeholder.
    let person = Person::new();
    person.write(
        "books/a.md",
        &format!("{FRONT}```bash {{#a}}\nkubectl get pods -n <namespace>\n```\n"),
    );
    let said = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("error: a.md:5:")
            && said.contains("\"<namespace>\" looks like a placeholder"),
        "{said}"
    );
}

#[test]
fn commands_that_need_a_terminal_have_a_remark() {
    for script in [
        "docker exec -it db bash",
        "docker run --rm -v /a:/b -ti image sh",
        "kubectl exec -it pod -- sh",
        "podman exec -u root --tty c sh",
        "vim /etc/hosts",
        "nano x",
        "psql -W -h db",
        "psql --password",
        "mysql -u root -p",
        "crontab -e",
        "kubectl edit cm x",
        "git rebase -i HEAD~2",
        "git commit -a",
        "tmux new -s work",
        "top",
        "visudo",
        "timeout 5 htop",
        "env A=1 vi x",
        "select x in a b; do break; done",
        "read -p 'Continue? ' yn",
        "read -rp 'Name: ' name",
        "read answer",
        "f() { read -p 'Sure? ' x; }\nf",
        "bash -c 'docker exec -it db sh'",
    ] {
        let (found, _) = remarks_of("a.md", &format!("{FRONT}```bash {{#a}}\n{script}\n```\n"));
        assert!(
            found.len() == 1 && found[0].contains("terminal"),
            "{script}: {found:#?}"
        );
    }
    for script in [
        "docker exec db psql -t -c 'select 1'",
        "git commit -qam 'words'",
        "git commit --amend --no-edit",
        "tmux new -d -s work",
        "docker run image cmd -it",
        "docker build -t image .",
        "kubectl exec pod -- tool -t",
        "kubectl get pods -o wide",
        "psql -h db -c 'select 1'",
        "mysql -psecret",
        "mysql --password=\"$X\"",
        "crontab -l",
        "while read -r line; do printf '%s\\n' \"$line\"; done < f",
        "printf 'a' | read -r x",
        "read -r x <<< y",
        "read -r x < f",
        "printf 'a\\nb\\n' | while read -r x; do :; done",
        "f() { read -r x; }\nprintf 'a\\n' | f",
        "read -u 3 x 3< f",
        "top -b -n 1 >/dev/null || vim -es x",
        "printf 'vim\\n'",
        "command -v vim",
        "select_x=1",
    ] {
        let (found, _) = remarks_of(
            "a.md",
            &format!("{FRONT}```bash {{#a proc=full}}\n{script}\n```\n"),
        );
        assert_eq!(found, [""; 0], "{script}");
    }
}

#[test]
fn ssh_without_a_command_has_a_remark_because_the_lines_below_run_here() {
    for script in [
        "ssh web-1",
        "ssh -p 22 -i key deploy@web-1\nsystemctl restart web",
    ] {
        about_script(script, &[("5:1: ", "the lines below run on this host")]);
    }
    for script in [
        "ssh web-1 uptime",
        "ssh -p 22 web-1 -- id",
        "ssh web-1 < in.sh",
        "ssh web-1 <<END\nid\nEND",
        "printf 'id' | ssh -T web-1",
        "ssh -N -L 1:a:2 web-1 &",
        "ssh -V",
    ] {
        about_script(script, &[]);
    }
}

#[test]
fn commands_for_root_commands_that_never_end_and_commands_that_read_proc_have_a_remark() {
    about_script(
        "sudo systemctl restart nginx\nsudo id",
        &[("5:1: ", "`sudo` gains no rights in a step")],
    );
    about_script("id && doas ls", &[("5:7: ", "`doas` gains no rights")]);
    about_script("ssh -- web sudo systemctl restart nginx", &[]);
    about_script("command -v sudo", &[]);
    for script in [
        "tail -f /var/log/x",
        "tail -n 5 -F x",
        "tail -100f x",
        "kubectl logs -f pod",
        "kubectl logs pod --follow",
        "watch -n 1 ls",
        "docker logs -f db",
        "docker compose logs -f",
        "journalctl -fu nginx",
        "kubectl get pods -w",
        "kubectl port-forward pod 80",
        "sleep infinity",
        "ping host",
        "tail -f x | grep error",
        "bash -c 'tail -f x'",
        "dmesg -w",
        "yes",
    ] {
        let (found, _) = remarks_of("a.md", &format!("{FRONT}```bash {{#a}}\n{script}\n```\n"));
        assert!(
            found.len() == 1 && found[0].contains("never ends"),
            "{script}: {found:#?}"
        );
    }
    for script in [
        "timeout 10 tail -f x",
        "tail -f x | head -n 1",
        "tail -f x &\nkill $!",
        "tail -n 5 x",
        "kubectl logs pod",
        "ping -c 3 host",
        "tail -f x | grep -m 1 ready",
        "yes | head",
        "docker logs db",
        "journalctl -u nginx",
        "kubectl rollout status -w x",
        "sleep 5",
    ] {
        about_script(script, &[]);
    }
    about_script("free -m", &[("5:1: ", "write proc=full in the block")]);
    remarks(
        &format!("{FRONT}```bash {{#a proc=full}}\nfree -m\nuptime\n```\n"),
        &[],
    );
}

#[test]
fn a_secret_parameter_as_a_plain_argument_has_a_remark() {
    let page = |script: &str| {
        format!(
            "---\ncountersign: 1\nparams: {{pw: {{type: string, x-secret: true}}, host: {{type: string}}}}\n---\n```bash {{#a}}\n{script}\n```\n"
        )
    };
    let words = "$PARAM_PW is the path of the file with the secret: if mysql needs the value, write \"$(cat \"$PARAM_PW\")\"";
    remarks(
        &page("mysql --host \"$PARAM_HOST\" \"$PARAM_PW\""),
        &[("6:28: ", words)],
    );
    remarks(
        &page("tool --token=\"$PARAM_PW\""),
        &[("6:", "is the path of the file")],
    );
    for script in [
        "cat \"$PARAM_PW\"",
        "mysql --password=\"$(cat \"$PARAM_PW\")\"",
        "curl --key \"$PARAM_PW\" x",
        "curl -d @\"$PARAM_PW\" x",
        "tool --password-file=\"$PARAM_PW\"",
        "tool < \"$PARAM_PW\"",
        "tool \"$PARAM_HOST\"",
    ] {
        remarks(&page(script), &[]);
    }
    // The error about a placeholder in a template advises the same.
    let person = Person::new();
    let inputs = "<Inputs id=\"i\">\n```yaml\nvariables:\n  - name: MasterPassword\n    sensitive: true\n```\n</Inputs>\n\n";
    person.write(
        "books/a.mdx",
        &format!("{inputs}<Command id=\"a\" inputsId=\"i\" command=\"echo {{{{ .inputs.MasterPassword }}}}\" />\n"),
    );
    let said = person
        .command(&["registry", "check", "books"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("write \"$(cat \"$PARAM_MASTERPASSWORD\")\" in the script"),
        "{said}"
    );
}

#[test]
fn run_shows_the_remarks_of_the_steps_that_it_runs() {
    let person = Person::new();
    person.write(
        "a.md",
        &format!("{FRONT}```bash {{#a}}\nsleep 0 || sudo id\n```\n\n```bash {{#b}}\nsleep 0 || tail -f x\n```\n"),
    );
    let whole = person.run(&["a.md", "-y"]);
    assert!(
        whole.err.contains("remark: a.md:5:12: `sudo`")
            && whole.err.contains("remark: a.md:9:12: `tail -f`"),
        "{}",
        whole.err
    );
    let one = person.run(&["a.md:b", "-y"]);
    assert!(
        !one.err.contains("`sudo`") && one.err.contains("remark: a.md:9:12: `tail -f`"),
        "{}",
        one.err
    );
}

#[test]
fn a_missing_parameter_is_named_with_the_option_that_gives_it() {
    let person = Person::new();
    let params = "params: {who: {type: string}, times: {type: integer}}\n";
    person.write(
        "a.md",
        &format!(
            "---\ncountersign: 1\n{params}---\n```bash {{#a}}\nprintf '%s\\n' \"$PARAM_WHO\"\n```\n"
        ),
    );
    for command in [["run", "a.md:a"], ["try", "a.md"]] {
        let output = person.command(&command).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("write -p times=... -p who=..."),
            "{command:?}: {said}"
        );
    }
}

#[test]
fn a_secret_that_is_a_json_object_is_named_before_the_run() {
    let person = Person::new();
    person.write(
        "a.md",
        &format!("{FRONT}```bash {{#a secrets=db}}\ntrue\n```\n"),
    );
    let note =
        "note: the secret db is a JSON object, and a value in it is masked in output only if";
    for (value, is_told) in [
        ("{\"user\":\"u\",\"pass\":\"hunter22\"}", true),
        ("[\"hunter22\"]", false),
        ("hunter22 {", false),
    ] {
        let mut command = person.command(&["run", "a.md:a", "-y", "--secret", "db=env:DB"]);
        let said = command.env("DB", value).output().expect("runs");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.contains(note), is_told, "{said}");
        assert!(!said.contains("hunter22"), "{said}");
    }
}
