//! Templates: how values are written, and which places are refused.

use judgement::template::flaw::TemplateFlaw;
use judgement::template::script_template::ScriptTemplate;
use serde_json::{Map, Value, json};

fn map(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

fn rendered(language: &str, source: &str, params: &Value) -> Result<String, String> {
    let template = ScriptTemplate::parse(source, language).map_err(|flaws| flaws[0].to_string())?;
    template.render(map(params)).map_err(|error| error.to_string())
}

fn flaws(language: &str, source: &str) -> Vec<TemplateFlaw> {
    ScriptTemplate::parse(source, language).err().unwrap_or_default()
}

#[test]
fn an_unknown_action_is_a_flaw_with_its_place() {
    let flaw = &flaws("bash", "echo ü\necho ü {{ .x | upper }}")[0];
    assert_eq!((flaw.line, flaw.column, flaw.offset), (2, 8, 16));
    assert!(flaw.message.contains("compute other values in the script"), "{}", flaw.message);
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
        assert!(found.iter().all(|flaw| flaw.message.contains(':')), "{place}: {found:?}");
    }
}

#[test]
fn ordinary_places_are_accepted() {
    for place in [
        "gh repo create {{ .x }}/{{ .x }} --public",
        "gh repo view {{ .x }}/{{ .x }}",
        "rm -rf {{ .x }} && git clone {{ .x }} {{ .x }}",
        "echo 'a {{ .x }}' && exit 0",
        "for i in $(seq 1 {{ .x }}); do echo \"$i: {{ .x }}!\"; done",
        "cd \"${A}/{{ .x }}/{{ .x }}\"",
        "if [ \"$A\" = \"{{ .x }}\" ]; then ls; fi",
        "if [[ -n \"{{ .x }}\" ]]; then ls; fi",
        "[[ $a == {{ .x }} ]]",
        "A=\"arn::{{ .x }}:role/b\"",
        "bash ./deploy.sh {{ .x }}",
        "python3 a.py --name {{ .x }}",
        "python3 -m a {{ .x }}",
        "jq --arg a {{ .x }} '.b' c",
        "echo {{ .x }} | jq '.a'",
        "echo {{ .x }} | sed 's/a/b/'",
        "echo {{ .x }} | python3 -c 'import sys'",
        "printf '%s\\n' {{ .x }}",
        "export A={{ .x }}",
        "local a={{ .x }}",
        "kubectl get pods -n {{ .x }}",
        "sudo rm {{ .x }}",
        "docker run -e A={{ .x }} image",
        "cat <<E > file\n{{ .x }}\nE\n",
        "kubectl apply -f - <<E\na: {{ .x }}\nE\n",
        "aws s3 cp a \"s3://{{ .x }}/\"",
        "f() { echo \"$1\"; }; f {{ .x }}",
        "find {{ .x }} -name a",
        "sed -i 's/a/b/' {{ .x }}",
        "echo $(( {{ .x }} + 1 ))",
        "(( {{ .x }} > 1 )) && ls",
        "[[ $a -eq {{ .x }} ]]",
        "[ \"$a\" -gt {{ .x }} ]",
        "echo \"${a:{{ .x }}}\"",
        "set -- {{ .x }}",
        "a=({{ .x }}); ls \"${a[@]}\"",
        "test -f {{ .x }} && cat {{ .x }}",
        "ls > {{ .x }}",
        "echo ~/{{ .x }}",
        "terraform apply -var \"region={{ .x }}\"",
        "grep -q {{ .x }} file",
        "A=$(aws sts --id \"{{ .x }}\" | jq -r '.A')",
    ] {
        let found = flaws("bash", place);
        assert!(found.is_empty(), "{place}: {found:?}");
        assert!(rendered("bash", place, &json!({"x": 5})).is_ok(), "{place}");
    }
}

#[test]
fn a_value_is_refused_if_it_starts_a_program_beside_a_program_that_the_script_starts() {
    let schema = json!({"properties": {"x": {"type": "string", "x-leading-dash": true}}});
    for (source, value) in [
        ("rsync -e ssh {{ .x }} b:", "--rsync-path=a"),
        ("rsync -e ssh {{ .x }} b:", "-ea"),
        ("tar -I zstd -x {{ .x }}", "--to-command=a"),
        ("git rebase --exec=ls {{ .x }}", "-xa"),
        ("git pull --upload-pack=a {{ .x }}", "ext::a"),
    ] {
        let template = ScriptTemplate::parse(source, "bash").expect(source).check(source, &schema).expect(source);
        assert!(template.render(map(&json!({"x": value}))).is_err(), "{source} {value}");
        assert!(template.render(map(&json!({"x": "-v"}))).is_ok(), "{source}");
    }
    let other = format!("strace {}; echo {{{{ .x }}}}", "a".repeat(300));
    assert!(flaws("bash", &other).is_empty());
}

#[test]
fn values_that_do_not_fit_their_place_are_refused_with_their_parameter() {
    for (source, value) in [
        ("ls {{ .x }}", "-l"),
        ("ls {{ .x }}", "a\u{0}"),
        ("ls {{ .x }}", "a\r"),
        ("ls {{ .x }}", "a\u{7f}"),
        ("ls # {{ .x }}\n", "a\nb"),
        ("cat <<E\n{{ .x }}\nE\n", "E"),
        ("cat <<E\n{{ .x }}\nE\n", "a\nE\nls"),
        ("cat <<'E'\n{{ .x }}\nE\n", "a\nE"),
        ("cat <<-E\n{{ .x }}\nE\n", "a\n\tb"),
        ("cat <<E\nF{{ .x }}\nE\n", "\nE\nls\ncat <<E\n"),
        ("echo $(( {{ .x }} ))", "a[$(ls)]"),
        ("echo $(( {{ .x }} ))", "-1"),
        ("echo $(( {{ .x }} ))", "08"),
        ("[[ 1 -eq {{ .x }} ]]", "a"),
        ("echo $(ls {{ .x }})", "a b"),
        ("echo $(ls {{ .x }})", "*"),
        ("export A={{ .x }}", "(a)"),
        ("A={{ .x }}; echo $((A))", "b[$(ls)]"),
        ("sed 's/a/b/' {{ .x }}", "-e1"),
        ("make {{ .x }}", "SHELL=a"),
        ("make NAME={{ .x }}", "$(shell id)"),
        ("make NAME={{ .x }}", "a; id"),
        ("make NAME={{ .x }}", "`id`"),
        ("make NAME='{{ .x }}'", "a b"),
        ("make -j2 all {{ .x }}", "CC=/usr/bin/id"),
        ("X={{ .x }} make all", "a; id"),
        ("env X={{ .x }} make all", "$(id)"),
        ("n={{ .x }}; echo $((n * 2))", "y=5"),
        ("n={{ .x }}; echo $(( $n + 1 ))", "y++"),
        ("export n={{ .x }}; (( m = --n ))", "--y"),
        ("for n in {{ .x }}; do echo $((n)); done", "PATH=1"),
        ("sudo make NAME={{ .x }}", "${A}"),
    ] {
        let error = rendered("bash", source, &json!({"x": value, "y": "ok"})).expect_err(source);
        assert!(error.starts_with("/x: "), "{source} {value:?}: {error}");
    }
    assert!(rendered("bash", "ls {{ .x }}", &json!({})).expect_err("missing").starts_with("/x: the value is missing"));
    assert!(rendered("bash", "ls {{ .x }}", &json!({"x": ["a"]})).expect_err("a list").starts_with("/x: "));
    assert!(rendered("bash", "kill {{ .x }}", &json!({"x": -1})).expect_err("negative").starts_with("/x: "));
}

#[test]
fn a_line_of_which_dash_loses_a_byte_is_refused_for_sh_only() {
    for source in ["cat <<EOF\n{{ .x }}\nEOF\n", "cat <<'E-F'\n{{ .x }}\nE-F\n", "cat <<-E\n\tE{{ .x }}\nE\n"] {
        let params = json!({"x": if source.contains('\t') { "é" } else { "Eé" }});
        assert!(
            rendered("sh", source, &params).expect_err(source).starts_with("/x: dash would lose a byte"),
            "{source}"
        );
        assert!(rendered("bash", source, &params).is_ok(), "{source}");
    }
    assert!(rendered("sh", "cat <<EOF\n{{ .x }}\nEOF\n", &json!({"x": "é Eé"})).is_ok());
}

#[test]
fn a_schema_allows_dashes_and_arithmetic_needs_numbers() {
    let schema = |x: Value| json!({"type": "object", "properties": {"x": x}});
    let check = |source: &str, x: Value| ScriptTemplate::parse(source, "bash").unwrap().check(source, &schema(x));
    let dash = check("ls {{ .x }}", json!({"type": "string", "x-leading-dash": true})).unwrap();
    assert_eq!(dash.render(map(&json!({"x": "-l"}))).as_deref(), Ok("ls '-l'"));
    let sed = check("sed a {{ .x }}", json!({"type": "string", "x-leading-dash": true})).unwrap();
    assert!(sed.render(map(&json!({"x": "-e1"}))).is_err());
    for source in ["echo $(( {{ .x }} ))", "[[ a -eq {{ .x }} ]]", "[ a -lt {{ .x }} ]", "echo \"${a:-{{ .x }}}\""] {
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
            assert!(check(source, bad).expect_err(source)[0].message.contains("arithmetic"), "{source}");
        }
    }
    let missing = ScriptTemplate::parse("ls {{ .y }}", "bash")
        .unwrap()
        .check("ls {{ .y }}", &schema(json!({})))
        .expect_err("no y");
    assert!(missing[0].message.contains("the step has no variable `y`"));
    let secret = json!({"properties": {"x": {"type": "string", "x-secret": true}}});
    for source in ["echo {{ .x }}", "echo {{ if eq .x \"y\" }}z{{ end }}"] {
        let found = ScriptTemplate::parse(source, "bash").expect(source).check(source, &secret).expect_err(source);
        assert!(found[0].message.contains("`x` is secret") && found[0].message.contains("$PARAM_X "), "{found:?}");
    }
}

#[test]
fn a_place_of_another_language_that_can_not_hold_every_value_is_a_flaw() {
    for (language, source) in [
        ("python", "f'{{ .s }}'"),
        ("python", "x = r'{{ .s }}'"),
        ("python", "x = b'{{ .s }}'"),
        ("python", "x = f{{ .s }}"),
        ("python", "x = a{{ .n }}"),
        ("python", "x = '\\{{ .s }}'"),
        ("python", "x = '\\x4{{ .s }}'"),
        ("python", "x = '\\1{{ .s }}'"),
        ("python", "x = '\\u00{{ .s }}'"),
        ("python", "x = '{{ .s }}' % a"),
        ("python", "x = '{{ .s }}'.format(a)"),
        ("python", "import os\nos.system('ls {{ .s }}')"),
        ("python", "run(['sh', '-c', {{ .s }}])"),
        ("python", "run('a {{ .s }}', shell=True)"),
        ("python", "#!/usr/bin/{{ .s }}"),
        ("python", "x = '{{ .s }}"),
        ("python", "x = f'{a['b']}'; y = {{ .s }}"),
        ("node", "x = `{{ .s }}`"),
        ("node", "x = `${ {{ .s }} `"),
        ("node", "/* {{ .s }} */"),
        ("node", "x = /{{ .s }}/"),
        ("node", "x = a / '{{ .s }}'"),
        ("node", "eval({{ .s }})"),
        ("node", "x = String.raw{{ .s }}"),
        ("node", "a <!-- {{ .s }}"),
        ("node", "require({{ .s }})"),
        ("go", "x := `{{ .s }}`"),
        ("go", "x := '{{ .s }}'"),
        ("go", "// {{ .s }}"),
        ("go", "exec.Command(\"sh\", \"-c\", {{ .s }})"),
        ("ruby", "puts '{{ .s }}'"),
        ("zsh", "echo {{ .s }}"),
        ("perl", "print '{{ .s }}'"),
    ] {
        let found = flaws(language, source);
        assert!(!found.is_empty() && found[0].message.contains(':'), "{language} {source}: {found:?}");
    }
}

#[test]
fn a_template_with_too_many_placeholders_for_its_length_is_refused_at_once() {
    let lines = |count: usize| format!("{}# {}", "echo {{ .a }}\n".repeat(count), "comment ".repeat(count));
    assert!(ScriptTemplate::parse(&lines(100), "bash").is_ok());
    let flaws = ScriptTemplate::parse(&lines(2500), "bash").unwrap_err();
    assert!(flaws[0].message.contains("too many placeholders and conditions for its length"), "{flaws:?}");
    let words = format!("f() {{ foo {}; }}\nf {{{{ .a }}}}\n", "$b ".repeat(300));
    let flaws = ScriptTemplate::parse(&words, "bash").unwrap_err();
    assert!(flaws[0].message.contains("evaluates an argument as code"), "{flaws:?}");
}

#[test]
fn a_name_that_runs_text_is_found_without_a_call_and_behind_other_names() {
    for (language, source) in [
        ("node", "const sh = promisify(require(\"child_process\").exec); sh({{ .x }})"),
        ("node", "[{{ .x }}].map(eval)"),
        ("node", "const o = {\"shell\": true}; f({{ .x }}, o)"),
        ("node", "\"\".constructor.constructor({{ .x }})()"),
        ("node", "spawnSync(\"sh\", [\"-euc\", {{ .x }}])"),
        ("python", "e = eval\ne({{ .x }})\n"),
        ("python", "from os import system as s\ns({{ .x }})\n"),
        ("python", "subprocess.run([\"sh\", \"-euc\", {{ .x }}])\n"),
        ("bash", "command test -v {{ .x }}"),
        ("bash", "builtin declare -i n={{ .x }}"),
        ("bash", "echo a | xargs -I{} echo {} {{ .x }}"),
        ("bash", "awk -f - /dev/null <<< {{ .x }}"),
    ] {
        assert!(!flaws(language, source).is_empty(), "{language}: {source}");
    }
    assert!(flaws("bash", "command ls {{ .x }}").is_empty());
    assert!(flaws("node", "console.log(process.env.HOME, {{ .x }})").is_empty());
}

#[test]
fn promise_6_no_value_becomes_code_or_the_name_of_a_program_in_a_command_that_runs_its_arguments() {
    for source in [
        "docker exec web {{ .x }}",
        "docker exec -it --user app web {{ .x }}",
        "docker run --rm -e A=b image {{ .x }}",
        "docker run --name {{ .x }} image {{ .x }}",
        "docker compose exec -T web {{ .x }}",
        "image() { docker exec web \"$1\"; }\nimage {{ .x }}",
        "podman exec web {{ .x }}",
        "nerdctl exec web {{ .x }}",
        "lxc exec web {{ .x }}",
        "kubectl exec web {{ .x }}",
        "ip netns exec web {{ .x }}",
        "machinectl shell web {{ .x }}",
        "heroku run {{ .x }}",
        "heroku run -r staging {{ .x }}",
        "docker run --no-healthcheck -e A=b image {{ .x }}",
        "firejail --noprofile {{ .x }}",
        "find . | entr -c {{ .x }}",
        "entr {{ .x }}",
        "perf record {{ .x }}",
        "nc -e {{ .x }} web 80",
        "julia {{ .x }}",
        "salt web cmd.run {{ .x }}",
        "aws ssm send-command --parameters {{ .x }}",
        "az vm run-command invoke --scripts {{ .x }}",
        "set -- {{ .x }}; \"$@\"",
        "set -- {{ .x }}; $1",
        "f() { set -- {{ .x }}; eval \"$1\"; }\nf",
        "npx {{ .x }}",
        "npx -y {{ .x }}",
        "go run {{ .x }}",
        "git -c {{ .x }} fetch",
        "git -c {{ .x }}=a fetch",
        "docker run --entrypoint {{ .x }} image",
        "docker run --entrypoint={{ .x }} image",
        "helm template --post-renderer {{ .x }}",
        "kubectl exec pod -- {{ .x }}",
        "gcloud compute ssh vm -- {{ .x }}",
        "ansible all -m shell -a {{ .x }}",
        "socat - {{ .x }}",
        "lftp -e {{ .x }}",
        "yq e {{ .x }} f",
        "echo {{ .x }} | sed -f - f",
        "run() { $1; }\nrun {{ .x }}",
        "retry() { shift; \"$@\"; }\nretry 3 curl {{ .x }}",
        "retry() { timeout 10 \"$@\"; }\nretry awk {{ .x }}",
        "retry() { command \"$@\"; }\nretry awk {{ .x }}",
        "retry() { ( exec \"$@\" ); }\nretry awk {{ .x }}",
        "retry() { xargs \"$@\"; }\nretry awk {{ .x }}",
        "retry() { sudo -u app \"$@\"; }\nretry awk {{ .x }}",
        "start() { sudo -u app \"$1\"; }\nstart {{ .x }}",
        "fetch() { npx \"$1\"; }\nfetch {{ .x }}",
        "image() { docker run --entrypoint \"$1\" image; }\nimage {{ .x }}",
        "retry() { timeout 9 $1; }\nretry {{ .x }}",
        "again() { retry \"$@\"; }\nretry() { command \"$@\"; }\nagain ssh h {{ .x }}",
        "q() { echo \"$1\" | bash; }\nq {{ .x }}",
        "q() { printf '%s' \"$*\" | sudo bash; }\nq {{ .x }}",
        "q() { { cat; echo \"$1\"; } | bash; }\nq {{ .x }}",
        "q() { bash <<E\n$1\nE\n}\nq {{ .x }}",
        "q() { bash <<< \"$1\"; }\nq {{ .x }}",
        "q() { bash < <(echo \"$1\"); }\nq {{ .x }}",
        "q() { . /dev/stdin <<< \"$1\"; }\nq {{ .x }}",
        "q() { xargs -I% bash -c % <<< \"$1\"; }\nq {{ .x }}",
        "q() { cat <<E\n$(eval \"$1\")\nE\n}\nq {{ .x }}",
        "p={{ .x }}; echo \"${p@P}\"",
        "set -x; read -r PS4 <<< {{ .x }}; true",
        "for PS4 in {{ .x }}; do set -x; true; done",
        "command_not_found_handle() { eval \"$2\"; }; nosuchcmd {{ .x }}",
        "read -r BASH_ENV <<< {{ .x }}; export BASH_ENV; bash -c true",
        "run() { xargs ls \"$@\"; }\nrun {{ .x }}",
        "exec <<< {{ .x }}; bash",
        "exec 3<<< {{ .x }}; bash <&3",
        "make -f <(printf 'all:\\n\\t%s\\n' {{ .x }})",
        "make --file=/dev/fd/0 <<< \"all: ; {{ .x }}\"",
        "hash -p /bin/bash foo; foo -c {{ .x }}",
        "gcloud compute ssh vm <<< {{ .x }}",
        "echo {{ .x }} | gcloud compute ssh vm",
    ] {
        assert!(ScriptTemplate::parse(source, "bash").is_err(), "{source}");
    }
    for source in [
        "docker exec {{ .x }} ls",
        "docker exec -u {{ .x }} web ls {{ .x }}",
        "docker run -d -p 80:80 --name {{ .x }} {{ .x }}",
        "docker logs {{ .x }}",
        "docker exec -u app {{ .x }} ls",
        "heroku run -a {{ .x }} rake {{ .x }}",
        "kubectl exec -n {{ .x }} {{ .x }} -- ls {{ .x }}",
        "ip netns exec {{ .x }} ls",
        "poetry run pytest {{ .x }}",
        "set -- {{ .x }}; ls \"$@\"",
        "true # build (for {{ .x }}'s image)",
        "git -c user.name={{ .x }} log",
        "npx prettier {{ .x }}",
        "npm run {{ .x }}",
        "yq e .a {{ .x }}",
        "systemctl status ssh {{ .x }}",
        "cat {{ .x }} | sed s/a/b/",
        "get() { curl \"$1\"; }\nget {{ .x }}",
        "log() { echo \"$(date) $*\" | tee -a log; }\nlog {{ .x }}",
        "restart() { sudo systemctl restart \"$1\"; }\nrestart {{ .x }}",
        "note() { cat >> notes <<E\n$1\nE\n}\nnote {{ .x }}",
    ] {
        assert!(ScriptTemplate::parse(source, "bash").is_ok(), "{source}");
    }
}
