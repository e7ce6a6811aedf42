//! Runs rendered templates with hostile values in real shells, in Python and in Node.
//!
//! Each value must arrive byte for byte, the number of arguments must not change, and no command in a value may run.
//! `scripts/template-truth` runs more values.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use reading::{FoundKind, ReadLimit, ScriptFinding, ScriptTemplate, Shell, find_in};
use serde_json::Value;

use super::generator::{Form, PROGRAMS, script};
use super::shell_truth::World;
use crate::support::host::not_run;

/// Number of values if no other number is set.
const VALUES: usize = 3_000;

/// A template with what its script prints. Fields end with a NUL character.
struct Piece {
    source: &'static str,
    /// Returns the expected fields for the value.
    expected: fn(&str) -> Vec<String>,
}

/// Pieces for bash and dash. In each, the placeholder is `{{ .v }}`.
const SHELL: &[Piece] = &[
    Piece {
        source: "show {{ .v }}",
        expected: one,
    },
    Piece {
        source: "show pre{{ .v }}post",
        expected: |v| fields(&[format!("pre{v}post")]),
    },
    Piece {
        source: "show a {{ .v }} {{ .v }} b",
        expected: |v| fields(&["a".into(), v.into(), v.into(), "b".into()]),
    },
    Piece {
        source: "show \"{{ .v }}\"",
        expected: one,
    },
    Piece {
        source: "show \"x {{ .v }} y\" z",
        expected: |v| fields(&[format!("x {v} y"), "z".into()]),
    },
    Piece {
        source: "show '{{ .v }}'",
        expected: one,
    },
    Piece {
        source: "show '-{{ .v }}-'",
        expected: |v| fields(&[format!("-{v}-")]),
    },
    Piece {
        source: "show --o={{ .v }}\"{{ .v }}\"'{{ .v }}'",
        expected: |v| fields(&[format!("--o={v}{v}{v}")]),
    },
    Piece {
        source: "V={{ .v }}\nshow \"$V\"",
        expected: one,
    },
    Piece {
        source: "V=\"a{{ .v }}\"; show \"$V\"",
        expected: |v| fields(&[format!("a{v}")]),
    },
    Piece {
        source: "show \"$(printf '%s.' \"{{ .v }}\")\"",
        expected: |v| fields(&[format!("{v}.")]),
    },
    Piece {
        source: "show \"$(printf '%s.' {{ .v }})\"",
        expected: |v| fields(&[format!("{v}.")]),
    },
    Piece {
        source: "V=$(printf '%s.' '{{ .v }}'); show \"$V\"",
        expected: |v| fields(&[format!("{v}.")]),
    },
    Piece {
        source: "case {{ .v }} in {{ .v }}) show yes ;; *) show no ;; esac",
        expected: |_| fields(&["yes".into()]),
    },
    Piece {
        source: "case abc in \"{{ .v }}\") show yes ;; *) show no ;; esac",
        expected: |v| fields(&[if v == "abc" { "yes" } else { "no" }.into()]),
    },
    Piece {
        source: "for w in {{ .v }} two; do show \"$w\"; done",
        expected: |v| [one(v), one("two")].concat(),
    },
    Piece {
        source: "cat <<EOF\nx {{ .v }} y\nEOF\nprintf '\\0'",
        expected: |v| vec![format!("x {v} y\n")],
    },
    Piece {
        source: "cat <<'E-F'\n{{ .v }}\nE-F\nprintf '\\0'",
        expected: |v| vec![format!("{v}\n")],
    },
    Piece {
        source: "show a # {{ .v }}\nshow b",
        expected: |_| [one("a"), one("b")].concat(),
    },
    Piece {
        source: "W=w; show \"${W}\"{{ .v }}",
        expected: |v| fields(&[format!("w{v}")]),
    },
    Piece {
        source: "if [ \"{{ .v }}\" = x ]; then show t; else show f; fi",
        expected: |v| one(if v == "x" { "t" } else { "f" }),
    },
    Piece {
        source: "test -n {{ .v }} && show t || show f",
        expected: |v| one(if v.is_empty() { "f" } else { "t" }),
    },
    Piece {
        source: "{{ if .v }}show {{ .v }}{{ else }}show ''{{ end }}",
        expected: one,
    },
    Piece {
        source: "f() { show \"$@\"; }; f {{ .v }} 2>/dev/null",
        expected: one,
    },
];

/// Pieces only for bash.
const BASH: &[Piece] = &[
    Piece {
        source: "a=(x {{ .v }} \"{{ .v }}\"); show \"${a[@]}\"",
        expected: |v| fields(&["x".into(), v.into(), v.into()]),
    },
    Piece {
        source: "if [[ {{ .v }} == {{ .v }} ]]; then show y; else show n; fi",
        expected: |_| one("y"),
    },
    Piece {
        source: "if [[ \"{{ .v }}\" == x ]]; then show y; else show n; fi",
        expected: |v| one(if v == "x" { "y" } else { "n" }),
    },
    Piece {
        source: "cat <<< {{ .v }}; printf '\\0'",
        expected: |v| vec![format!("{v}\n")],
    },
    Piece {
        source: "export V={{ .v }}; show \"$V\"",
        expected: one,
    },
    Piece {
        source: "cat < <(printf '%s' {{ .v }}); printf '\\0'",
        expected: |v| vec![v.to_owned()],
    },
];

const PYTHON: &[Piece] = &[
    Piece {
        source: "show({{ .v }})",
        expected: |v| vec![v.to_owned()],
    },
    Piece {
        source: "show('a{{ .v }}\\n')",
        expected: |v| vec![format!("a{v}\n")],
    },
    Piece {
        source: "show(\"\"\"{{ .v }}'\n\"\"\") # {{ .c }}",
        expected: |v| vec![format!("{v}'\n")],
    },
    Piece {
        source: "show([{{ .v }}, 'x'][0])",
        expected: |v| vec![v.to_owned()],
    },
];

const NODE: &[Piece] = &[
    Piece {
        source: "show({{ .v }});",
        expected: |v| vec![v.to_owned()],
    },
    Piece {
        source: "show('a{{ .v }}\\n' + `${ {{ .v }} }`); // {{ .c }}",
        expected: |v| vec![format!("a{v}\n{v}")],
    },
    Piece {
        source: "show({a: \"{{ .v }}\"}.a);",
        expected: |v| vec![v.to_owned()],
    },
];

fn fields(arguments: &[String]) -> Vec<String> {
    [&[arguments.len().to_string()], arguments].concat()
}

fn one(value: &str) -> Vec<String> {
    fields(&[value.to_owned()])
}

/// Random numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }
}

const FRAGMENTS: &[&str] = &[
    "$(canary)",
    "`canary`",
    "; canary;",
    "\ncanary\n",
    "&& canary",
    "| canary",
    "& canary &",
    "'; canary; '",
    "\"; canary; \"",
    "$(canary",
    "${V:-$(canary)}",
    "$((a[$(canary)]))",
    "a[$(canary)]",
    "<(canary)",
    ">(canary)",
    "'",
    "\"",
    "\\",
    "\\\\",
    "$",
    "`",
    "${",
    "}",
    "{a,b}",
    "*",
    "?",
    "[a-z]",
    "~",
    "~root",
    "!",
    "!!",
    "!-1",
    "#",
    "%s",
    "%n",
    "%",
    "=",
    "-",
    "--",
    "-rf",
    "(",
    ")",
    "((",
    "))",
    "<<EOF",
    "EOF",
    "\nEOF\n",
    "E-F",
    "\nE-F\ncanary\n",
    "\n",
    "\t",
    "\n\t",
    " ",
    "  ",
    "\\\n",
    "\\n",
    "\\0",
    "\\x41",
    "\\u0041",
    "\\c",
    "$'a'",
    "$\"a\"",
    "abc",
    "x",
    "é",
    "Ё",
    "日本",
    "😀",
    "\u{81}",
    "\u{88}",
    "\u{85}",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffd}",
    "\u{1b}[31m",
    "\u{7}",
    "\u{1}",
    "\u{7f}",
    "\r",
    "\r\n",
    "\0",
    ";;",
    "esac",
    "done",
    "fi",
    "|&",
    ">canary-file",
    "</etc/passwd",
    "&>x",
    "1",
    "0",
    "\"\"\"",
    "'''",
    "${x}",
    "*/",
    "-->",
    "</script>",
    "\\N{DASH}",
    "{{ .v }}",
    "\u{10fffe}",
    "\u{f0000}",
];

fn hostile(random: &mut Random) -> String {
    let mut value = String::new();
    for _ in 0..random.below(5) {
        match random.below(8) {
            0 => value.push(char::from(32 + random.below(95) as u8)),
            1 => value.extend(char::from_u32(random.below(0x3000) as u32)),
            _ => value.push_str(FRAGMENTS[random.below(FRAGMENTS.len())]),
        }
    }
    value
}

/// A rendered script and its expected output.
struct Case {
    script: String,
    expected: Vec<u8>,
    about: String,
}

/// Renders the pieces with random values. Returns the cases and the number of refused values.
fn cases(language: &str, pieces: &[Piece], values: usize, seed: u64) -> (Vec<Case>, usize) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let templates: Vec<ScriptTemplate> = (pieces.iter())
        .map(|piece| {
            let source = if language == "python" {
                format!("\n\n{}", piece.source)
            } else {
                format!("\n\n{}\n", piece.source)
            };
            ScriptTemplate::parse(&source, language)
                .unwrap_or_else(|flaws| panic!("{source}: {flaws:?}"))
        })
        .collect();
    let (mut cases, mut refused) = (Vec::new(), 0);
    for _ in 0..values {
        let at = random.below(pieces.len());
        let value = hostile(&mut random);
        let params: Value = [
            ("v".to_owned(), Value::from(value.clone())),
            ("c".to_owned(), Value::from("c")),
        ]
        .into_iter()
        .collect();
        match templates[at].render(&params) {
            Ok(script) => {
                assert!(!value.contains('\0'), "a NUL character was rendered");
                assert_eq!(
                    templates[at].render(&params).as_ref(),
                    Ok(&script),
                    "the output is not deterministic"
                );
                let mut expected = Vec::new();
                for field in (pieces[at].expected)(&value) {
                    expected.extend_from_slice(field.as_bytes());
                    expected.push(0);
                }
                cases.push(Case {
                    script,
                    expected,
                    about: format!("{language} {} with {value:?}", pieces[at].source),
                });
            }
            Err(error) => {
                refused += 1;
                assert!(
                    !value.chars().all(|c| c.is_ascii_alphanumeric()),
                    "{value:?} in {}: {error}",
                    pieces[at].source
                );
            }
        }
    }
    (cases, refused)
}

/// Directory in which the program `canary` leaves a file.
fn world() -> tempfile::TempDir {
    let world = tempfile::tempdir().expect("a directory");
    let canary = world.path().join("canary");
    std::fs::write(
        &canary,
        format!("#!/bin/sh\n: >> {}/canary-ran\n", world.path().display()),
    )
    .expect("the canary");
    std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o755))
        .expect("an executable canary");
    world
}

/// Runs all cases in one process, and compares the output of each with the expected output.
fn run(program: &str, cases: &[Case], extension: &str, driver: &str) {
    let world = world();
    for (number, case) in cases.iter().enumerate() {
        std::fs::write(
            world.path().join(format!("{number}.{extension}")),
            &case.script,
        )
        .expect("a script");
    }
    let path = format!(
        "{}:{}",
        world.path().display(),
        std::env::var("PATH").expect("PATH")
    );
    std::fs::write(
        world.path().join("driver"),
        driver.replace("COUNT", &cases.len().to_string()),
    )
    .expect("the driver");
    let ended = Command::new(program)
        .arg("driver")
        .current_dir(world.path())
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the interpreter");
    assert!(ended.success(), "{program}: {ended}");
    check_outputs(world.path(), program, cases);
}

fn check_outputs(world: &Path, program: &str, cases: &[Case]) {
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let output = std::fs::read(world.join(format!("{number}.out"))).unwrap_or_default();
        if output != case.expected {
            let (output, expected) = (
                String::from_utf8_lossy(&output),
                String::from_utf8_lossy(&case.expected),
            );
            wrong.push(format!(
                "{program}: {}\nscript: {:?}\noutput: {output:?}\nexpected: {expected:?}",
                case.about, case.script
            ));
        }
    }
    let first: Vec<&str> = wrong.iter().take(8).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} values arrived changed:\n{}",
        wrong.len(),
        cases.len(),
        first.join("\n\n")
    );
    for file in ["canary-ran", "canary-file", "x"] {
        assert!(
            !world.join(file).exists(),
            "{program}: a command or a redirection in a value ran"
        );
    }
}

fn setting() -> (usize, u64) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let count = number("TEMPLATE_TRUTH_VALUES")
        .map_or(VALUES, |count| usize::try_from(count).expect("a number"));
    (count, number("TEMPLATE_TRUTH_SEED").unwrap_or(1))
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|ended| ended.status.success())
}

const SHELL_DRIVER: &str = "show() { printf '%s\\0' \"$#\" \"$@\"; }\ni=0\nwhile [ $i -lt COUNT ]; do\n  ( . ./$i.sh ) > $i.out\n  \
                            i=$((i + 1))\ndone\nexit 0\n";

#[test]
fn promise_6_hostile_values_arrive_unchanged_in_bash_and_dash() {
    let (count, seed) = setting();
    let (both, refused) = cases("sh", SHELL, count, seed);
    run("bash", &both, "sh", SHELL_DRIVER);
    let dash = Command::new("dash")
        .args(["-c", ":"])
        .output()
        .is_ok_and(|ended| ended.status.success());
    if dash {
        run("dash", &both, "sh", SHELL_DRIVER);
    } else {
        not_run(
            "promise_6_hostile_values_arrive_unchanged_in_bash_and_dash",
            "dash is not installed",
        );
    }
    let (bash, more) = cases("bash", BASH, count / 3, seed);
    run("bash", &bash, "sh", SHELL_DRIVER);
    let (all, refused) = (both.len() + bash.len(), refused + more);
    println!("{all} values rendered, {refused} refused");
    assert!(
        refused < all / 2,
        "too many values are refused: {refused}, and {all} rendered"
    );
}

#[test]
fn promise_6_hostile_values_arrive_unchanged_in_python_and_node() {
    const NAME: &str = "promise_6_hostile_values_arrive_unchanged_in_python_and_node";
    let (count, seed) = setting();
    if has("python3") {
        let (cases, refused) = cases("python", PYTHON, count / 2, seed);
        run("python3", &cases, "py", PYTHON_DRIVER);
        println!("python: {} values rendered, {refused} refused", cases.len());
        assert!(refused < cases.len() / 8);
    } else {
        not_run(NAME, "python3 is not installed");
    }
    if has("node") {
        let (cases, refused) = cases("node", NODE, count / 2, seed);
        run("node", &cases, "js", NODE_DRIVER);
        println!("node: {} values rendered, {refused} refused", cases.len());
        assert!(refused < cases.len() / 8);
    } else {
        not_run(NAME, "node is not installed");
    }
}

const PYTHON_DRIVER: &str = "for i in range(COUNT):\n    with open(f'{i}.out', 'wb') as out:\n        def show(text):\n            \
                             out.write(text.encode() + b'\\0')\n        exec(compile(open(f'{i}.py', encoding='utf-8', newline='').read(), \
                             'script', 'exec'), {'show': show})\n";
const NODE_DRIVER: &str = "const fs = require('fs'), vm = require('vm');\nfor (let i = 0; i < COUNT; i++) {\n  let out = '';\n  \
                           vm.runInNewContext(fs.readFileSync(`${i}.js`, 'utf8'), {show: (text) => { out += text + '\\0'; }});\n  \
                           fs.writeFileSync(`${i}.out`, out);\n}\n";

/// Values that run `NAME` if a shell evaluates them, in different quotes.
const ATTACKS: [&str; 14] = [
    "NAME",
    "$(NAME)",
    "`NAME`",
    "; NAME;",
    "a; NAME; b",
    "\nNAME\n",
    "'; NAME; '",
    "\"; NAME; \"",
    "a[$(NAME)]",
    ") NAME (",
    "} ; NAME ; {",
    "x=$(NAME)",
    "/../NAME",
    "\\\";NAME;\\'",
];

#[test]
fn promise_6_no_value_runs_in_a_random_place_of_a_generated_script() {
    let (count, seed) = setting();
    let mut random = Random(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1);
    let (mut scripts, mut names, mut refused) = (Vec::new(), Vec::new(), 0);
    let most = count * 40;
    let mut tried = 0;
    while scripts.len() < count / 8 && tried < most {
        tried += 1;
        let form = if random.below(2) == 0 {
            Form::Everyday
        } else {
            Form::Traps
        };
        let mut source = script(
            seed.wrapping_mul(7_368_787).wrapping_add(tried as u64),
            form,
        );
        let Some(name) = PROGRAMS.iter().find(|name| !source.contains(**name)) else {
            continue;
        };
        let places: Vec<usize> = source.char_indices().map(|(at, _)| at).collect();
        if places.is_empty() || source.contains("{{") {
            continue;
        }
        source.insert_str(places[random.below(places.len())], "{{ .v }}");
        let Ok(template) = ScriptTemplate::parse(&source, "sh") else {
            refused += 1;
            continue;
        };
        let value = ATTACKS[random.below(ATTACKS.len())].replace("NAME", name);
        let params = [("v".to_owned(), Value::from(value))].into_iter().collect();
        let Ok(rendered) = template.render(&params) else {
            continue;
        };
        // The script itself may run the program under a quoted name, for example `a''da`. A script that evaluates its own
        // variables may evaluate the value too.
        let harmless = [("v".to_owned(), Value::from("harmless"))]
            .into_iter()
            .collect();
        let Ok(harmless) = template.render(&harmless) else {
            continue;
        };
        let own = |one: &ScriptFinding| match &one.what {
            FoundKind::Unknown(_) => true,
            FoundKind::Command(found) => found.ends_with(name),
            _ => false,
        };
        if find_in(Shell::Sh, &harmless, ReadLimit::Step).is_ok_and(|found| !found.iter().any(own))
        {
            scripts.push(rendered);
            names.push(*name);
        }
    }
    let world = World::new();
    let outcome = world.run(&scripts, false);
    let ran = (scripts.iter().zip(&names).zip(&outcome))
        .filter(|((_, name), truth)| truth.bash.contains(**name) || truth.dash.contains(**name));
    let ran: Vec<&str> = ran.map(|((script, _), _)| script.as_str()).collect();
    println!(
        "{} scripts ran, {refused} templates were refused",
        scripts.len()
    );
    assert!(
        scripts.len() > count / 50,
        "only {} scripts ran",
        scripts.len()
    );
    let first: Vec<&str> = ran.iter().take(8).copied().collect();
    assert!(
        ran.is_empty(),
        "{} values ran as commands:\n{}",
        ran.len(),
        first.join("\n%%%%\n")
    );
}
