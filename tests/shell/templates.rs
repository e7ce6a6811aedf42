//! Templates: how values are written, and which places are refused.

use documents::Parameter;
use reading::{ScriptTemplate, TemplateFlaw};
use serde_json::{Value, json};

use super::script_lists::{pairs, scripts};

/// The parameters of a step with the only parameter `x`.
fn declared(x: Value) -> Parameter {
    serde_json::from_value(json!({"type": "object", "properties": {"x": x}})).expect("declared")
}

fn rendered(language: &str, source: &str, params: &Value) -> Result<String, String> {
    let template = ScriptTemplate::parse(source, language).map_err(|flaws| flaws[0].to_string())?;
    template.render(params).map_err(|error| error.to_string())
}

fn flaws(language: &str, source: &str) -> Vec<TemplateFlaw> {
    ScriptTemplate::parse(source, language)
        .err()
        .unwrap_or_default()
}

#[test]
fn an_unknown_action_is_a_flaw_with_its_place() {
    let flaw = &flaws("bash", "echo ü\necho ü {{ .x | upper }}")[0];
    assert_eq!(
        (flaw.place.line, flaw.place.column, flaw.offset),
        (2, 8, 16)
    );
    assert!(
        flaw.message.contains("compute other values in the script"),
        "{}",
        flaw.message
    );
}

#[test]
fn placeholders_in_evaluated_places_are_flaws() {
    for place in [
        "{{ .x }}",
        "\"{{ .x }}\" a",
        "pre{{ .x }} a",
        "sudo {{ .x }}",
        "env {{ .x }} a",
        "env A=b {{ .x }}",
        "nohup {{ .x }}",
        "timeout 5 {{ .x }}",
        "eval {{ .x }}",
        "eval \"echo {{ .x }}\"",
        "sh -c {{ .x }}",
        "sh -c 'echo {{ .x }}'",
        "bash -c \"echo '{{ .x }}'\"",
        "sudo bash -c \"echo {{ .x }}\"",
        "trap 'echo {{ .x }}' EXIT",
        ". {{ .x }}",
        "source {{ .x }}/a",
        "alias a='echo {{ .x }}'",
        "echo {{ .x }} | sh",
        "echo {{ .x }} | tee a | bash -s",
        "echo {{ .x }} | sudo bash",
        "cat <<E | sh\n{{ .x }}\nE\n",
        "sh <<E\necho {{ .x }}\nE\n",
        "bash <<< {{ .x }}",
        "python3 <<'E'\nprint({{ .x }})\nE\n",
        "python3 - <<E\n{{ .x }}\nE\n",
        "{ echo {{ .x }}; } | sh",
        "{ sh; } <<E\n{{ .x }}\nE\n",
        "f() { sh; }; echo {{ .x }} | f",
        "f() { sh; }; g() { f; }; echo {{ .x }} | g",
        "find . -exec sh -c 'echo {{ .x }}' \\;",
        "ssh host {{ .x }}",
        "ssh {{ .x }} ls",
        "su -c 'ls {{ .x }}' a",
        "awk '{print {{ .x }}}'",
        "awk -v a={{ .x }} '{print a}'",
        "sed 's/a/{{ .x }}/'",
        "sed -e {{ .x }}",
        "jq '.{{ .x }}' a",
        "python3 -c 'print(\"{{ .x }}\")'",
        "node -e '{{ .x }}'",
        "perl -e '{{ .x }}'",
        "ruby -e '{{ .x }}'",
        "bash {{ .x }}",
        "python3 {{ .x }}",
        "kubectl exec a -- sh -c 'ls {{ .x }}'",
        "whatever a -- sh -c 'ls {{ .x }}'",
        "docker run a bash -c \"ls {{ .x }}\"",
        "xargs {{ .x }}",
        "echo {{ .x }} | xargs ls",
        "git {{ .x }}",
        "tar --to-command={{ .x }} -xf a",
        "rsync -e 'ssh -i {{ .x }}' a b",
        "rsync -e {{ .x }} a b",
        "rsync --rsh={{ .x }} a b",
        "f() { rsync \"$@\"; }; f -e {{ .x }} a b",
        "tar cIf {{ .x }} a",
        "git -c core.sshCommand={{ .x }} fetch",
        "git bisect run ls {{ .x }}",
        "git submodule foreach 'ls {{ .x }}'",
        "git config alias.a {{ .x }}",
        "git rebase -x {{ .x }} a",
        "strace {{ .x }}",
        "flock a {{ .x }}",
        "env valgrind {{ .x }}",
        "doas -u a {{ .x }}",
        "chroot a {{ .x }}",
        &format!("strace {} {{{{ .x }}}}", "a".repeat(300)),
        "rsync -e ssh --rsync-path={{ .x }} a b",
        "rsync --rsh=ssh -e {{ .x }} a b",
        "git rebase -x ls -x {{ .x }} a",
        "git difftool -x {{ .x }}",
        "git lfs {{ .x }}",
        "git merge-index {{ .x }} -a",
        "git config alias.a {{ .x }} --list",
        "git config color.pager {{ .x }}",
        "chroot a <<E\nls {{ .x }}\nE\n",
        "script a <<< {{ .x }}",
        "busybox sh <<< {{ .x }}",
        "jobs -x rsync -e ssh {{ .x }} a",
        &format!("nsenter -t 1 <<E\n{}\n{{{{ .x }}}}\nE\n", "a ".repeat(300)),
        "\"$C\" {{ .x }}",
        "$(echo {{ .x }})",
        "echo {{ .x }} | \"$SHELL\"",
        "{{ .x }}=1",
        "X{{ .x }}=1",
        "export {{ .x }}",
        "export {{ .x }}=1",
        "declare -i a={{ .x }}",
        "declare -a a={{ .x }}",
        "unset {{ .x }}",
        "read {{ .x }}",
        "let {{ .x }}",
        "printf -v {{ .x }} a",
        "printf {{ .x }}",
        "printf \"{{ .x }}\\n\" a",
        "test -v {{ .x }}",
        "[ -v {{ .x }} ]",
        "[[ -v {{ .x }} ]]",
        "[ {{ .x }} ]",
        "[ {{ .x }} = a -o b = c ]",
        "[ a {{ .x }} b ]",
        "a[{{ .x }}]=1",
        "for {{ .x }} in a; do ls; done",
        "mapfile {{ .x }}",
        "PATH={{ .x }}:$PATH",
        "export PATH={{ .x }}",
        "BASH_ENV={{ .x }} ls",
        "env LD_PRELOAD={{ .x }} ls",
        "cat <<{{ .x }}\na\n{{ .x }}\n",
        "echo a >&{{ .x }}",
        "echo \\{{ .x }}",
        "echo \"\\{{ .x }}\"",
        "echo \"${{ .x }}\"",
        "echo ${{ .x }}",
        "echo $'a{{ .x }}'",
        "echo \"$A{{ .x }}\"",
        "echo `echo {{ .x }}`",
        "f{{ .x }}() { ls; }",
        "psql -c 'select {{ .x }}'",
        "sqlite3 a {{ .x }}",
        "gcloud compute ssh a --command {{ .x }}",
        "gcloud compute ssh a --command='{{ .x }}'",
        "coproc sh; echo {{ .x }} >&${COPROC[1]}",
        "echo {{ .x }} > >(sh)",
        "echo {{ .x }} | tee >(sh)",
        "bash <(echo {{ .x }})",
        ". <(echo {{ .x }})",
        "sh -c \"$(echo {{ .x }})\"",
        "bash < <(echo {{ .x }})",
        "watch {{ .x }}",
        "set -o {{ .x }}",
        "make SHELL={{ .x }}",
        "command {{ .x }}",
        "exec {{ .x }}",
        "builtin {{ .x }}",
        "busybox sh -c {{ .x }}",
        "env -S {{ .x }}",
        "if {{ .x }}; then ls; fi",
        "#!/bin/{{ .x }}\nls",
        "alias e=eval\ne {{ .x }}",
        "set -H; echo \"{{ .x }}\"",
        "set -o histexpand; echo \"{{ .x }}\"",
        "f() { eval \"$1\"; }; f {{ .x }}",
        "f() { sh -c \"$1\"; }; g() { f \"$@\"; }; g {{ .x }}",
        "printf 'a%n' {{ .x }}",
        "f() { a=$(awk \"$1\"); }; f {{ .x }}",
        "printf \"$A\" {{ .x }}",
    ] {
        let found = flaws("bash", place);
        assert!(!found.is_empty(), "{place}");
        assert!(
            found.iter().all(|flaw| flaw.message.contains(':')),
            "{place}: {found:?}"
        );
    }
}

#[test]
fn ordinary_places_are_accepted() {
    for place in scripts("ordinary_places_are_accepted") {
        let found = flaws("bash", place);
        assert!(found.is_empty(), "{place}: {found:?}");
        assert!(rendered("bash", place, &json!({"x": 5})).is_ok(), "{place}");
    }
}

#[test]
fn a_value_is_refused_if_it_starts_a_program_beside_a_program_that_the_script_starts() {
    let schema = declared(json!({"type": "string", "x-leading-dash": true}));
    for (source, value) in
        pairs("a_value_is_refused_if_it_starts_a_program_beside_a_program_that_the_script_starts")
    {
        let template = ScriptTemplate::parse(source, "bash")
            .expect(source)
            .check(source, &schema)
            .expect(source);
        assert!(
            template.render(&json!({"x": value})).is_err(),
            "{source} {value}"
        );
        assert!(template.render(&json!({"x": "-v"})).is_ok(), "{source}");
    }
    let other = format!("strace {}; echo {{{{ .x }}}}", "a".repeat(300));
    assert!(flaws("bash", &other).is_empty());
}

#[test]
fn values_that_do_not_fit_their_place_are_refused_with_their_parameter() {
    for (source, value) in
        pairs("values_that_do_not_fit_their_place_are_refused_with_their_parameter")
    {
        let error = rendered("bash", source, &json!({"x": value, "y": "ok"})).expect_err(source);
        assert!(error.starts_with("/x: "), "{source} {value:?}: {error}");
    }
    assert!(
        rendered("bash", "ls {{ .x }}", &json!({}))
            .expect_err("missing")
            .starts_with("/x: the value is missing")
    );
    assert!(
        rendered("bash", "ls {{ .x }}", &json!({"x": ["a"]}))
            .expect_err("a list")
            .starts_with("/x: ")
    );
    assert!(
        rendered("bash", "kill {{ .x }}", &json!({"x": -1}))
            .expect_err("negative")
            .starts_with("/x: ")
    );
}

#[test]
fn a_line_of_which_dash_loses_a_byte_is_refused_for_sh_only() {
    for source in [
        "cat <<EOF\n{{ .x }}\nEOF\n",
        "cat <<'E-F'\n{{ .x }}\nE-F\n",
        "cat <<-E\n\tE{{ .x }}\nE\n",
        "y=`cat <<'EO'\nE{{ .x }}\nEO\n`\n",
    ] {
        let params = json!({"x": if source.contains("E{{") { "é" } else { "Eé" }});
        assert!(
            rendered("sh", source, &params)
                .expect_err(source)
                .starts_with("/x: dash would lose a byte"),
            "{source}"
        );
        assert!(rendered("bash", source, &params).is_ok(), "{source}");
    }
    assert!(rendered("sh", "cat <<EOF\n{{ .x }}\nEOF\n", &json!({"x": "é Eé"})).is_ok());
}

#[test]
fn a_schema_allows_dashes_and_arithmetic_needs_numbers() {
    let check = |source: &str, x: Value| {
        ScriptTemplate::parse(source, "bash")
            .unwrap()
            .check(source, &declared(x))
    };
    let dash = check(
        "ls {{ .x }}",
        json!({"type": "string", "x-leading-dash": true}),
    )
    .unwrap();
    assert_eq!(dash.render(&json!({"x": "-l"})).as_deref(), Ok("ls '-l'"));
    let sed = check(
        "sed a {{ .x }}",
        json!({"type": "string", "x-leading-dash": true}),
    )
    .unwrap();
    assert!(sed.render(&json!({"x": "-e1"})).is_err());
    for source in [
        "echo $(( {{ .x }} ))",
        "[[ a -eq {{ .x }} ]]",
        "[ a -lt {{ .x }} ]",
        "echo \"${a:-{{ .x }}}\"",
    ] {
        for good in [
            json!({"type": "integer"}),
            json!({"type": "string", "enum": ["1", "22"]}),
            json!({"type": "string", "pattern": "^[0-9]{1,5}$"}),
        ] {
            assert!(check(source, good).is_ok(), "{source}");
        }
        for bad in [
            json!({"type": "string"}),
            json!({"type": "string", "enum": ["1", "a"]}),
            json!({"type": "string", "pattern": "^[a-z]+$"}),
        ] {
            assert!(
                check(source, bad).expect_err(source)[0]
                    .message
                    .contains("arithmetic"),
                "{source}"
            );
        }
    }
    let missing = ScriptTemplate::parse("ls {{ .y }}", "bash")
        .unwrap()
        .check("ls {{ .y }}", &declared(json!({"type": "string"})))
        .expect_err("no y");
    assert!(missing[0].message.contains("the step has no variable `y`"));
    let secret = declared(json!({"type": "string", "x-secret": true}));
    for source in ["echo {{ .x }}", "echo {{ if eq .x \"y\" }}z{{ end }}"] {
        let found = ScriptTemplate::parse(source, "bash")
            .expect(source)
            .check(source, &secret)
            .expect_err(source);
        assert!(
            found[0].message.contains("`x` is secret")
                && found[0].message.contains("\"$(cat \"$PARAM_X\")\""),
            "{found:?}"
        );
    }
}

#[test]
fn a_place_of_another_language_that_can_not_hold_every_value_is_a_flaw() {
    for (language, source) in
        pairs("a_place_of_another_language_that_can_not_hold_every_value_is_a_flaw")
    {
        let found = flaws(language, source);
        assert!(
            !found.is_empty() && found[0].message.contains(':'),
            "{language} {source}: {found:?}"
        );
    }
}

#[test]
fn a_template_with_too_many_placeholders_for_its_length_is_refused_at_once() {
    let lines = |count: usize| {
        format!(
            "{}# {}",
            "echo {{ .a }}\n".repeat(count),
            "comment ".repeat(count)
        )
    };
    assert!(ScriptTemplate::parse(&lines(100), "bash").is_ok());
    let flaws = ScriptTemplate::parse(&lines(2500), "bash").unwrap_err();
    assert!(
        flaws[0]
            .message
            .contains("too many placeholders and conditions for its length"),
        "{flaws:?}"
    );
    let words = format!("f() {{ foo {}; }}\nf {{{{ .a }}}}\n", "$b ".repeat(300));
    let flaws = ScriptTemplate::parse(&words, "bash").unwrap_err();
    assert!(
        flaws[0].message.contains("evaluates an argument as code"),
        "{flaws:?}"
    );
}

#[test]
fn a_name_that_runs_text_is_found_without_a_call_and_behind_other_names() {
    for (language, source) in
        pairs("a_name_that_runs_text_is_found_without_a_call_and_behind_other_names")
    {
        assert!(!flaws(language, source).is_empty(), "{language}: {source}");
    }
    assert!(flaws("bash", "command ls {{ .x }}").is_empty());
    assert!(flaws("node", "console.log(process.env.HOME, {{ .x }})").is_empty());
}

#[test]
fn promise_6_no_value_becomes_code_or_the_name_of_a_program_in_a_command_that_runs_its_arguments() {
    for source in scripts(
        "promise_6_no_value_becomes_code_or_the_name_of_a_program_in_a_command_that_runs_its_arguments",
    ) {
        assert!(ScriptTemplate::parse(source, "bash").is_err(), "{source}");
    }
    for source in scripts(
        "promise_6_no_value_becomes_code_or_the_name_of_a_program_in_a_command_that_runs_its_arguments/2",
    ) {
        assert!(ScriptTemplate::parse(source, "bash").is_ok(), "{source}");
    }
}
