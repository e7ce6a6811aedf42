//! The findings in a script through the library's interface, with one test for each guarantee.

use std::time::{Duration, Instant};

use judgement::shell::commands::{ReadLimit, find_in};
use judgement::shell::found::{FoundKind, ScriptFinding, Shell, UnknownPart};

/// Returns short forms of the findings for bash: `git`, `env>rm` (`env` runs `rm`), `f()`, `PATH=`, `?`.
fn bash(script: &str) -> Vec<String> {
    match find_in(Shell::Bash, script, ReadLimit::Step) {
        Ok(found) => found.iter().map(short).collect(),
        Err(why) => panic!("{script}: {why}"),
    }
}

/// Returns short forms of the findings for bash and for dash.
fn either(script: &str) -> Vec<String> {
    match find_in(Shell::Sh, script, ReadLimit::Step) {
        Ok(found) => found.iter().map(short).collect(),
        Err(why) => panic!("{script}: {why}"),
    }
}

fn short(one: &ScriptFinding) -> String {
    let what = match &one.what {
        FoundKind::Command(name) => name.clone(),
        FoundKind::Function(name) => format!("{name}()"),
        FoundKind::Setting(name) => format!("{name}="),
        FoundKind::HarmlessSetting(name) => format!("{name}~"),
        FoundKind::Unknown(_) => "?".to_owned(),
    };
    one.via.iter().chain([&what]).cloned().collect::<Vec<_>>().join(">")
}

#[track_caller]
fn finds(script: &str, expected: &[&str]) {
    assert_eq!(bash(script), expected, "{script}");
}

#[track_caller]
fn is_unknown(script: &str) {
    let found = bash(script);
    assert!(found.iter().any(|one| one.ends_with('?')), "{script}: {found:?}");
    for one in find_in(Shell::Bash, script, ReadLimit::Step).unwrap() {
        // The message states what happened and what to write instead.
        assert!(!matches!(one.what, FoundKind::Unknown(why) if !why.text.contains(": ")), "{script}: {:?}", one.what);
    }
}

#[track_caller]
fn is_refused(script: &str) {
    let found = find_in(Shell::Bash, script, ReadLimit::Step);
    assert!(found.is_err(), "{script}: {found:?}");
}

#[test]
fn ordinary_shell_constructs_contain_only_their_plain_commands() {
    for script in [
        "if git diff --quiet; then git push; fi",
        "for f in a b *.txt \"$@\"; do git add \"$f\"; done",
        "while git pull; do git push; done > log",
        "git log \"$((1+1))\" $((n * 2)) 2>&1",
        "git log '$(rm x)' '`rm`' \"\\$(rm)\" \\`rm\\`",
        "git apply <<'EOF'\n$(rm x) `rm` ${x:-$(rm)}\nEOF",
        "git apply <<-\"EOF\"\n\t$(rm x)\n\tEOF",
        "git apply <<EOF\n\\$(rm) $NAME ${x:-y} $((1+1)) it's \"quoted\n\nEOF",
        "case \"$x\" in\n  rm|'rm x') git add ;;\n  (*) git branch ;;\nesac",
        "[[ -f rm && \"$x\" == r* ]] && git add",
        "git add # rm; $(rm)\n# rm\ngit branch",
        "git \"add\" \"$x\" \"${x:-rm}\" ${x%%rm*} ${#rm} \"${x[@]}\" -- {a,rm} ~ ?rm",
        "git commit -m 'a; rm x' -m \"b | rm && rm\"",
        "(git add; { git branch; } | git commit) && ! git diff || git fetch &",
        "rm=1 x=rm; git add rm",
        "git log > rm < rm 2> rm",
        "git() { command git push \"$@\"; }",
    ] {
        let found = bash(script);
        let plain = |one: &String| matches!(one.as_str(), "git" | "command" | "command>git");
        assert!(!found.is_empty() && found.iter().all(plain), "{script}: {found:?}");
    }
    for script in
        ["[[ -f a && -d b ]] && git show", "[[ a == b || -f c ]]\ngit show", "arr=(a b); arr[0]=x; echo \"${arr[@]}\""]
    {
        assert!(matches!(either(script).as_slice(), [one] if one == "git" || one == "echo"), "{script}");
    }
}

#[test]
fn commands_are_found_in_every_shell_construct() {
    for script in [
        "rm",
        "a=1 rm",
        "a=(x y) rm",
        ">f rm",
        "{v}>f rm",
        "x | rm",
        "x |& rm",
        "x && rm",
        "x || rm",
        "x & rm",
        "x; rm",
        "x\nrm",
        "! rm",
        "time rm",
        "time -p rm",
        "(rm)",
        "( (rm))",
        "((rm) )",
        "{ rm; }",
        "if rm; then x; fi",
        "if x; then rm; fi",
        "if x; then y; else rm; fi",
        "if x; then y; elif rm; then z; fi",
        "while rm; do x; done",
        "until x; do rm; done",
        "for i in $(rm); do x; done",
        "for i in a; do rm; done",
        "for i; do rm; done",
        "for ((i=$(rm);;)); do x; done",
        "for ((;;)); { rm; }",
        "select i in a; do rm; done",
        "case $(rm) in a) x;; esac",
        "case a in $(rm)) x;; esac",
        "case a in a) rm;; esac",
        "case a in a) x;& b) rm;;& esac",
        "f() { rm; }",
        "f() (rm)",
        "function f { rm; }",
        "function f() if rm; then x; fi",
        "coproc rm",
        "coproc { rm; }",
        "coproc N { rm; }",
        "[[ -n $(rm) ]]",
        "[[ a =~ (b|$(rm)) ]]",
        "[[ a && ( b || `rm` ) ]]",
        "((1 + $(rm)))",
        "x $(rm)",
        "x \"$(rm)\"",
        "x `rm`",
        "x \"`rm`\"",
        "x `x \\`rm\\``",
        "x <(rm)",
        "x >(rm)",
        "x a<(rm)",
        "x $((1+$(rm)))",
        "x ${y:-$(rm)}",
        "x \"${y:-$(rm)}\"",
        "x ${y/a/`rm`}",
        "x ${y:$(rm)}",
        "x ${y[$(rm)]}",
        "x \"${y:-'$(rm)'}\"",
        "x \"${y:-\"$(rm)\"}\"",
        "a=$(rm)",
        "a+=$(rm)",
        "a=(b $(rm))",
        "a=([$(rm)]=x)",
        "a[$(rm)]=x",
        "x > $(rm)",
        "x 2>\"$(rm)\"",
        "x <<< $(rm)",
        "x <<E\n$(rm)\nE\n",
        "x <<E\n`rm`\nE\n",
        "x <<E\n${a:-$(rm)}\nE\n",
        "x <<-E\n\t$((1+$(rm)))\n\tE\n",
        "x <<'A' <<B\n$(y)\nA\n$(rm)\nB\n",
        "x @(a|$(rm))",
        "x {a,$(rm)}",
        "x $'a\\'b'$(rm)",
        "x $\"$(rm)\"",
        "x \\\n  $(rm)",
        "i\\\nf rm; then x; fi",
        "x $(# it's )\nrm)",
        "x $(case a in a) rm;; esac)",
        "x \"$(y <<'E'\nit's )\nE\nrm)\"",
        "if (x) then rm; fi",
        "{ (x) } && rm",
    ] {
        let found = bash(script);
        assert!(found.iter().any(|one| one == "rm"), "{script}: {found:?}");
    }
}

#[test]
fn names_are_found_after_quote_removal() {
    for script in [
        "rm",
        "\\rm",
        "r\\m",
        "'rm'",
        "r''m",
        "\"r\"m",
        "r\"\"m",
        "r\\\nm",
        "\"r\\\nm\"",
        "$'rm'",
        "$'\\x72\\155'",
        "$'r\\u006d'",
        "''rm",
    ] {
        finds(script, &["rm"]);
    }
    finds("/usr/bin/rm x", &["/usr/bin/rm"]);
    finds("./x '../y z'", &["./x"]);
    finds("'if' x; \\time y; \"{\" z", &["if", "time", "time>y", "{"]);
}

#[test]
fn a_command_with_an_unknown_name_is_unknown() {
    for script in [
        "$CMD x",
        "\"$CMD\"",
        "${CMD}x",
        "$(echo rm) x",
        "`echo rm`",
        "{rm,x}",
        "/bin/r?",
        "~/rm",
        "\"\" rm",
        "\"$@\"",
        "x; $y z",
        "eval \"$x\"",
        "eval rm $x",
        "sh -c \"$x\"",
        "sh -c",
        "bash \"$x\" -c rm",
        "sh script.sh",
        "sh < file",
        "x | sh",
        "bash -s",
        ". ./file",
        "source <(x)",
        "trap \"rm $x\" EXIT",
        "alias \"$x\"",
        "alias a='b; c'",
        "alias if=b",
        "alias a='env '",
        "env $x rm",
        "env \"$x\" rm",
        "env -S \"$x\"",
        "env --foo rm",
        "nice -z rm",
        "xargs env",
        "xargs sh -c",
        "xargs $x rm",
        "echo x | xargs -I{} {}",
        "xargs -I{} sh -c 'rm {}'",
        "find . $x",
        "find . -exec $x \\;",
        "find . -exec {} \\;",
        "find . * -exec rm \\;",
        "sudo $x rm",
        "sudo -e f",
        "sudo -s",
        "su",
        "ssh host",
        "ssh $x rm",
        "ssh -F f host rm",
        "ssh host \"$x\"",
        "git $x",
        "git -c \"$x\" y",
        "git \"$x\" y",
        "git clone ext::x",
        "command $x",
        "exec $x",
        "\"$(x)\" y",
        "hash -p \"$x\" y",
        "enable -f x y",
        "fc -s",
        "set -k",
        "export \"$x=1\"",
        "read \"$x\"",
        "printf -v \"$x\" y",
        "x='a[$(rm)]'; echo $((x))",
        "declare 'a[$(rm)]=1'",
        "test -v 'a[$(rm)]'",
        "[[ 'a[$(rm)]' -eq 1 ]]",
        "x=${y@P}",
        "PS4='$(rm)'",
        "BASH_ENV=f x",
        "bash <<E\n$x\nE\n",
        "parallel",
        "parallel :::: f",
        "watch \"$x\"",
        "zsh -c rm",
        "chroot /x",
        "compgen -W '$(rm)'",
        "systemd-run -p ExecStart=x y",
        "busybox $x",
        "flock f $x",
    ] {
        is_unknown(script);
    }
}

#[test]
fn a_construct_that_bash_and_dash_parse_differently_is_refused_with_its_place() {
    for script in [
        "",
        " \n",
        "x '",
        "x \"",
        "x `",
        "x $(",
        "x ${",
        "x $((",
        "(x",
        "{ x",
        "if x",
        "case x in",
        "x )",
        "x ;;",
        "x <<E",
        "x <<E\ny",
        "fi",
        "then x",
        "x & & y",
        "| x",
        "x (y)",
        "f() x",
        "x\r\ny",
        "x\0y",
        "x \u{10FFFE}",
        "x \\",
        "x $[1]",
        "x ${ y; }",
        "x $((y) )",
        "!(x)",
        "x?(y)",
        "a[1 + 1]=2",
        "x \"`y \\\"z\\\"`\"",
        "x `y \\\nz`",
        "x ${y:-<(z)}",
        "x <<$y\n$y\n",
        "x <<E\na\\\nE\nE\n",
        "x <<E \"\n\"\nE\n",
        "x $(y <<E)\nE\n",
        "x \"${y:-it's}\"",
        "((1 + '2'))",
    ] {
        is_refused(script);
    }
    let why = find_in(Shell::Sh, "git a\ngit b )\n", ReadLimit::Step).unwrap_err();
    assert_eq!(why.to_string(), "2:7: `)` has no opening bracket: remove `)`");
    assert!(
        find_in(Shell::Sh, &"x\n".repeat(40_000), ReadLimit::Step).is_err()
            && find_in(Shell::Sh, &"x\n".repeat(40_000), ReadLimit::File).is_ok()
    );
}

#[test]
fn every_wrapper_is_found_with_the_command_that_it_runs() {
    for (script, inside) in [
        ("env rm", "env>rm"),
        ("env -i A=1 -- rm", "?"),
        ("env -iu B A=1 rm", "env>rm"),
        ("env -S 'A=1 rm x'", "env>rm"),
        ("env - rm", "env>rm"),
        ("/usr/bin/env rm", "env>rm"),
        ("xargs rm", "xargs>rm"),
        ("xargs -0 -n1 -P 4 -I{} rm {}", "xargs>rm"),
        ("xargs --max-args=1 rm", "xargs>rm"),
        ("xargs sh -c 'rm \"$1\"' _", "xargs>sh>rm"),
        ("find . -exec rm {} \\;", "find>rm"),
        ("find . -type f -execdir rm {} +", "find>rm"),
        ("find . -ok rm \\; -okdir ls \\;", "find>ls"),
        ("find . -exec a \\; -exec sh -c 'rm' \\;", "find>sh>rm"),
        ("nohup rm", "nohup>rm"),
        ("time -f x rm | y", "?"),
        ("x | time -o f rm", "time>rm"),
        ("timeout -k 5 --signal=9 10 rm", "timeout>rm"),
        ("nice -n 5 rm", "nice>rm"),
        ("nice -5 rm", "nice>rm"),
        ("ionice -c3 rm", "ionice>rm"),
        ("setsid -w rm", "setsid>rm"),
        ("stdbuf -oL rm", "stdbuf>rm"),
        ("sudo rm", "sudo>rm"),
        ("sudo -u a -E B=1 -- rm", "?"),
        ("sudo -nu a B=1 rm", "sudo>rm"),
        ("sudo --user=a rm", "sudo>rm"),
        ("ssh -p 22 a@b rm x", "ssh>rm"),
        ("ssh -o BatchMode=yes -- \"$HOST\" 'x; rm'", "ssh>rm"),
        ("ssh a <<E\nrm\nE\n", "ssh>rm"),
        ("command rm", "command>rm"),
        ("command -p rm", "command>rm"),
        ("builtin eval rm", "builtin>eval>rm"),
        ("exec rm", "exec>rm"),
        ("exec -a x rm", "exec>rm"),
        ("eval rm", "eval>rm"),
        ("eval 'x;' rm", "eval>rm"),
        ("sh -c rm", "sh>rm"),
        ("bash -lc rm", "bash>rm"),
        ("bash -ec rm", "bash>rm"),
        ("bash -o pipefail -c rm", "bash>rm"),
        ("bash --norc -c rm", "bash>rm"),
        ("bash -c -x rm", "bash>rm"),
        ("bash -Oc extglob rm", "bash>rm"),
        ("dash -xc rm", "dash>rm"),
        ("bash -c 'x $(rm)' a b", "bash>rm"),
        ("sh <<E\nrm\nE\n", "sh>rm"),
        ("bash <<< 'rm x'", "bash>rm"),
        ("sudo bash -s <<'E'\nrm\nE\n", "sudo>bash>rm"),
        ("trap 'rm' EXIT", "trap>rm"),
        ("trap -- rm 0 INT", "trap>rm"),
        ("alias a='rm -i'", "alias>rm"),
        ("mapfile -C rm -c 1", "mapfile>rm"),
        ("env nice sudo timeout 5 rm", "env>nice>sudo>timeout>rm"),
        ("sh -c 'sh -c \"sh -c rm\"'", "sh>sh>sh>rm"),
        ("\\sudo rm", "sudo>rm"),
        ("'env' \"rm\"", "env>rm"),
    ] {
        let found = bash(script);
        if inside == "?" {
            // `env` and `sudo` accept `--` only before assignments, and the keyword `time` has no option `-f`. In each
            // case, the parser must find `rm` or report an unknown command.
            assert!(found.iter().any(|one| one.ends_with("rm") || one.ends_with('?')), "{script}: {found:?}");
        } else {
            assert!(found.iter().any(|one| one == inside), "{script}: {found:?}");
        }
    }
}

#[test]
fn a_command_after_an_unknown_command_is_found() {
    for script in [
        "sudo $OPTIONS rm",
        "env $X rm",
        "env \"$X\" rm",
        "timeout \"$T\" rm",
        "timeout $T rm",
        "xargs $X rm",
        "nice -z rm",
        "sudo --odd rm",
        "command $X rm",
        "trap \"rm -f $x\" EXIT",
        "sh -c \"rm $x\"",
        "eval rm \"$x\"",
        "bash <<E\nrm $x\nE\n",
    ] {
        is_unknown(script);
        let found = bash(script);
        assert!(found.iter().any(|one| one.ends_with(">rm")), "{script}: {found:?}");
    }
}

#[test]
fn wrappers_without_a_command_give_no_further_results() {
    for script in [
        "command -v rm",
        "command -v \"$x\"",
        "command -V rm",
        "trap - INT",
        "trap '' INT",
        "trap",
        "trap EXIT",
        "alias",
        "alias a",
        "env",
        "env A=1",
        "export A=1 B",
        "sudo -v",
        "ssh -N host",
        "git log rm",
        "find . -name rm -delete",
        "find \"$dir\" -type f -name '*.o'",
    ] {
        let found = bash(script);
        assert!(found.len() == 1, "{script}: {found:?}");
    }
}

#[test]
fn variable_settings_are_found_at_every_place_in_a_script() {
    for script in [
        "PATH=/x:$PATH",
        "PATH=/x git a",
        "export PATH",
        "export PATH=/x",
        "export \"PATH=/x\"",
        "declare -x PATH=/x",
        "typeset PATH=x",
        "readonly PATH=x",
        "f() { local PATH=x; }",
        "read -r PATH",
        "read a PATH",
        "printf -v PATH x",
        "printf -vPATH x",
        "for PATH in x; do y; done",
        "select PATH in x; do y; done",
        "mapfile PATH",
        "getopts a PATH",
        "x ${PATH:=y}",
        "x ${PATH=y}",
        "x \"${PATH:=y}\"",
        "{PATH}>f",
        "PATH+=:x",
        "PATH[0]=x",
        "PATH=(x)",
        "((PATH=1))",
        "declare -n r=PATH",
        "env PATH=x y",
        "env -i 'PATH=x' y",
        "sudo PATH=x y",
        "env -u PATH y",
        "unset PATH",
        "coproc PATH { x; }",
    ] {
        let found = bash(script);
        assert!(found.iter().any(|one| one.ends_with("PATH=")), "{script}: {found:?}");
    }
    for name in [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "BASH_ENV",
        "ENV",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "PYTHONPATH",
        "NODE_OPTIONS",
        "PERL5LIB",
        "RUBYOPT",
        "BASH_FUNC_x%%",
    ] {
        let found = bash(&format!("env '{name}=x' git a"));
        assert!(found.contains(&format!("env>{name}=")), "{name}: {found:?}");
    }
    finds("A=1 NODE_ENV=production MY_PATH=x node app.js", &["node"]);
}

#[test]
fn functions_count_only_if_they_are_certainly_defined() {
    finds("f() { rm; }; f", &["rm", "f()"]);
    finds("f() { g; }\ng() { rm; }\nf", &["g()", "rm", "f()"]);
    finds("f() { rm; }; (f) | f; x $(f)", &["rm", "f()", "f()", "x", "f()"]);
    for script in [
        "f; f() { rm; }",
        "if x; then f() { rm; }; fi; f",
        "x && f() { rm; }; f",
        "f() { rm; } & f",
        "f() { rm; } | x; f",
        "(f() { rm; }); f",
        "f() { rm; }; unset -f f; f",
        "f() { rm; }; unset f; f",
        "f() { rm; }; command f",
        "f() { rm; }; env f",
        "f() { rm; }; sh -c f",
        "g() { f; }; g; f() { rm; }",
        "trap f EXIT; f() { rm; }",
        "f() { rm; }; . ./x; f",
        "g() { f() { rm; }; }; f",
        "{ f() { rm; }; } < x; f",
        "f() { rm; }; eval 'unset -f f'; f",
    ] {
        let found = bash(script);
        assert!(found.iter().any(|one| one.split('>').next_back() == Some("f")), "{script}: {found:?}");
    }
    // In a POSIX shell, no function replaces a special built-in command such as `eval`.
    assert!(bash("eval() { x; }; eval rm").contains(&"eval>rm".to_owned()));
}

#[test]
fn scripts_are_read_as_bash_and_as_dash() {
    for (script, by) in [
        ("((rm x))", "rm"),
        ("ada &>o rm", "rm"),
        ("[[ a || rm ]]", "rm"),
        ("function f { rm; }", "rm"),
        ("time rm", "time>rm"),
        ("rm <(x)", "rm"),
        ("x |& rm", "rm"),
    ] {
        let found = either(script);
        assert!(found.iter().any(|one| one == by), "{script}: {found:?}");
    }
    assert!(bash("((rm x))").is_empty() && bash("[[ a || rm ]]").is_empty());
    assert_eq!(bash("[[ a || $b ]]"), [""; 0]);
    assert_eq!(either("[[ a || $b ]]"), ["?"]);
    assert_eq!(either("x=(a b); y <<< z; w \"${x[1]}\""), ["y", "w"]);
}

#[test]
fn places_of_findings_are_positions_in_the_script() {
    let at = |script: &str| -> Vec<String> {
        find_in(Shell::Bash, script, ReadLimit::Step)
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", one.place, short(one)))
            .collect()
    };
    assert_eq!(at("é; rm\n\n  x \"$(rm)\" `y`"), ["1:1 é", "1:4 rm", "3:3 x", "3:8 rm", "3:14 y"]);
    assert_eq!(at("sh -c '\nrm x; ls'"), ["1:1 sh", "2:1 sh>rm", "2:7 sh>ls"]);
    assert_eq!(at("sh -c 'sh -c \"x rm\"'"), ["1:1 sh", "1:8 sh>sh", "1:15 sh>sh>x"]);
    // If quotes change the text, the position of a finding is the position of the text.
    assert_eq!(at("x; sh -c 'a '\\''b'\\''; rm'"), ["1:1 x", "1:4 sh", "1:10 sh>a", "1:10 sh>rm"]);
    assert_eq!(at("cat <<E\na $(rm)\nE\nls"), ["1:1 cat", "2:5 rm", "4:1 ls"]);
    let found = find_in(Shell::Sh, "sudo env rm 'a b'", ReadLimit::Step).unwrap();
    assert_eq!(
        (found[2].via.as_slice(), found[2].source.as_str()),
        (["sudo".to_owned(), "env".to_owned()].as_slice(), "rm")
    );
    let long = format!("${{x:-{}}}", "y".repeat(500));
    assert_eq!(find_in(Shell::Sh, &long, ReadLimit::Step).unwrap()[0].source.chars().count(), 200);
}

#[test]
fn scripts_with_exponential_expansion_are_parsed_quickly_with_a_small_stack() {
    let bombs = [
        "(",
        "$(",
        "{ ",
        "`",
        "if ",
        "while ",
        "case x in a) ",
        "((",
        "$((",
        "${x:-",
        "\"${x:-",
        "\"$(",
        "<(",
        "a=(",
        "[[ ( ",
        "f() ",
        "! ",
        "time ",
        "env ",
        "xargs ",
        "eval ",
        "echo @(",
        "x <<E ",
        "\\\n",
        "{a,",
        "[",
        "]",
        "*",
        "a=",
        "$",
        "'\"",
        "sh -c '",
        "eval \"",
        "((x) ",
        "(( $(",
        "`\\`",
        "find . -exec ",
        "f() { f; }; ",
        "x;",
        "x $(y) `z`\n",
        "x <<E\n$(y)\nE\n",
        "\"$x\" ",
        "coproc ",
        "for i in a; do ",
        "function f ",
        "a[",
        "\u{e9}",
        "$'\\x",
        "~",
        "#\n",
        "&&",
        "x && ",
        "alias a='b c' ",
    ];
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for of in bombs {
            let script = of.repeat(65_536 / of.len());
            let began = Instant::now();
            let _ = find_in(Shell::Sh, &script, ReadLimit::Step);
            // The limit is a hundred times the time of a release build, because the test profile is slow and the
            // machine may be busy.
            assert!(began.elapsed() < Duration::from_secs(3), "{of}: {:?}", began.elapsed());
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn scripts_with_many_nested_function_calls_are_parsed_quickly() {
    let calls: String = (0..200).fold(String::new(), |calls, number| calls + &format!("f a{number} b\n"));
    let passes = format!("f() {{\n{}}}\n{calls}", "\"$@\"\n".repeat(9000));
    let nested: String = (0..60)
        .fold(String::new(), |text, n| text + &format!("f{n}() {{ f{} \"$@\"; f{} a \"$@\"; }}\n", n + 1, n + 1));
    for script in [passes, format!("{nested}f0 x\n")] {
        let begun = Instant::now();
        let found = find_in(Shell::Bash, &script, ReadLimit::Step);
        assert!(begun.elapsed() < Duration::from_secs(3), "{} bytes took {:?}", script.len(), begun.elapsed());
        let unknown = |found: &Vec<ScriptFinding>| found.iter().any(|one| matches!(one.what, FoundKind::Unknown(_)));
        assert!(found.as_ref().map_or(true, |found| unknown(found) || script.contains("f60")), "{}", script.len());
    }
}

#[test]
fn every_command_found_for_bash_is_also_found_for_sh() {
    for script in include_str!("by_hand.txt").split("\n%%\n") {
        let (Ok(bash), Ok(either)) =
            (find_in(Shell::Bash, script, ReadLimit::Step), find_in(Shell::Sh, script, ReadLimit::Step))
        else {
            continue;
        };
        for one in bash {
            assert!(either.iter().any(|other| one.what == other.what && one.place == other.place), "{script}: {one:?}");
        }
    }
}

/// Each script runs `rm` or an unknown command. For bash and for `sh`, the parser must find `rm`, report an unknown
/// command, or refuse the script.
#[track_caller]
fn rm_is_never_missed(scripts: &[&str]) {
    for script in scripts {
        for shell in [Shell::Bash, Shell::Sh] {
            let Ok(found) = find_in(shell, script, ReadLimit::Step) else { continue };
            let seen = found.iter().any(|one| match &one.what {
                FoundKind::Command(name) => name.rsplit('/').next() == Some("rm"),
                FoundKind::Unknown(_) => true,
                FoundKind::Function(_) | FoundKind::Setting(_) | FoundKind::HarmlessSetting(_) => false,
            });
            assert!(seen, "{shell:?}: {script}: {found:?}");
        }
    }
}

#[test]
fn a_quoted_function_name_defines_no_function() {
    rm_is_never_missed(&[
        "'rm'() { git; }\nrm x",
        "\\rm() { git; }\nrm x",
        "\"rm\"() { git; }\nrm x",
        "r''m() { git; }\nrm x",
        "$'rm'() { git; }\nrm x",
        "function 'rm' { git; }\nrm x",
        "'env'() { :; }\nenv rm",
        "r\\\nm() { git; }\nrm x",
    ]);
    finds("f-a.b() { git; }\nf-a.b", &["git", "f-a.b()"]);
}

#[test]
fn trap_commands_in_arrays_and_in_default_values_are_found() {
    rm_is_never_missed(&[
        "a=('b[$(rm x)]'); ((a))",
        "a+=('b[$(rm)]'); ((a))",
        "a=([0]='b[$(rm)]'); [[ a -eq 1 ]]",
        "x=${y:-'b[$(rm)]'}; ((x))",
        ": ${x:='a[$(rm)]'}; ((x))",
        ": \"${x:=a[\\$(rm)]}\"; ((x))",
        ": ${x:=a[\\`rm\\`]}; ((x))",
        ": ${x:=\"${y:-a[\\$(rm)]}\"}; ((x))",
    ]);
    finds("x=\"${a[0]} $(git)\"; ((x))", &["git"]);
}

#[test]
fn git_options_that_start_a_program_are_unknown_in_every_form() {
    rm_is_never_missed(&[
        "git rebase -ix 'rm e' HEAD~1",
        "git rebase --exe='rm e' HEAD~1",
        "git rebase --exe 'rm e' HEAD~1",
        "git grep --open='rm e' foo",
        "git grep -nO'rm' foo",
        "git ls-remote --u=rm .",
        "git ls-remote --exec=rm .",
        "git clone -qu rm ./g h",
        "git clone -qurm ./g h",
        "git difftool -yx rm HEAD~1",
        "git clone -ccore.sshCommand=rm x:y h",
        "git clone -qc core.sshCommand=rm x:y h",
        "git clone --confi core.sshCommand=rm x:y h",
        "git clone --temp=d x:y h",
        "git send-email --sendmail-cmd=rm x",
        "git send-email --header-cmd rm x",
        "git daemon --access-hook=rm",
        "git instaweb --httpd=rm",
        "git instaweb -d rm",
        "git init --template=d",
        "git remote-ext o 'rm x'",
        "git ls-remote -o -- --upload-pack=rm .",
        "git fetch -o -- --upload-pack=rm .",
        "git ls-remote \"$x\" -- --upload-pack=rm .",
        "git clone --origin -- -u rm .",
    ]);
    for harmless in [
        "git log --oneline -5",
        "git commit -m 'fix Context::new'",
        "git push -u origin HEAD",
        "git fetch -u origin",
        "git clone -b x --depth 1 https://h/x",
        "git diff --exit-code",
        "git config url.https://h/.insteadOf git@h:",
    ] {
        finds(harmless, &["git"]);
    }
}

#[test]
fn aliases_of_git_are_unknown_if_they_may_run_something() {
    rm_is_never_missed(&[
        "git -c alias.x='grep -Orm foo' x",
        "git -c alias.b=rebase b -x rm HEAD~1",
        "git -c alias.b=grep b -Orm foo",
        "git config alias.b rebase; git b -x rm HEAD~1",
        "git config --global alias.b '!rm x'",
        "git config alias.b '!rm x' --list",
        "git config color.pager rm",
        "git difftool -x rm",
    ]);
}

#[test]
fn git_settings_that_run_or_name_a_program_are_found() {
    rm_is_never_missed(&[
        "git -c protocol.ext.allow=always -c remote.o.url='ext::rm' ls-remote o",
        "git -c url.ext::rm.insteadOf=q: ls-remote q:",
        "git -c remote.o.pushurl=ext::rm push o",
        "git -c gpg.ssh.defaultKeyCommand=rm commit -S",
        "git -c sendemail.sendmailCmd=rm send-email x",
        "git -c sendemail.headerCmd=rm send-email x",
        "git -c imap.tunnel=rm imap-send",
        "git -c 'submodule.x.update=!rm' submodule update",
        "git -c gc.recentObjectsHook=rm gc",
        "git -c instaweb.httpd=rm instaweb",
    ]);
    for place in [
        "git -c core.hooksPath=hk commit",
        "git -c include.path=f status",
        "git -c includeIf.x.path=f status",
        "git -c init.templateDir=d init",
        "git -c core.attributesFile=f diff",
        "git config core.hooksPath hk",
    ] {
        is_unknown(place);
    }
}

#[test]
fn a_function_that_the_script_may_undefine_never_counts_as_certainly_defined() {
    rm_is_never_missed(&[
        "g() { unset -f rm; }\nrm() { :; }\ng\nrm x",
        "trap 'unset -f rm' USR1; rm() { :; }; kill -USR1 $$; rm",
        "g() { unset -f \"$1\"; }\nrm() { :; }\ng rm\nrm x",
    ]);
}

#[test]
fn a_wrapper_is_recognized_if_its_function_was_undefined() {
    rm_is_never_missed(&[
        "env() { :; }\nunset -f env\nenv rm x",
        "git() { :; }; unset -f git; git -c alias.x='!rm' x",
        "u() { unset -f env; }\nenv() { :; }\nu\nenv rm x",
    ]);
}

#[test]
fn an_alias_may_change_the_name_of_a_defined_function() {
    rm_is_never_missed(&[
        "shopt -s expand_aliases\nalias rm=git\nrm() { :; }\nunalias rm\nrm x",
        "alias a=b rm=git\nrm() { :; }\nunalias rm\nrm x",
    ]);
}

#[test]
fn the_handler_for_missing_commands_can_run_without_being_called_by_name() {
    rm_is_never_missed(&["command_not_found_handle() { rm x; }\nnosuch\nrm() { :; }"]);
}

#[test]
fn a_here_document_is_the_input_only_if_no_other_standard_input_is_given() {
    for script in [
        "bash 3<f <<EOF 0>&3\ngit\nEOF",
        "bash <<EOF 0<>f\ngit\nEOF",
        "bash <<EOF 0>f\ngit\nEOF",
        "bash <<EOF <&3\ngit\nEOF",
        "bash <<EOF 00>&3\ngit\nEOF",
    ] {
        is_unknown(script);
    }
    finds("bash <<EOF >f 2>&1\ngit\nEOF", &["bash", "bash>git"]);
}

#[test]
fn a_command_may_consume_the_script_on_standard_input() {
    for script in [
        "bash <<'E'\nr''ead x\n: '\nrm #'\nE",
        "bash <<'E'\nselect x in a; do break; done\n: '\nrm #'\nE",
        "bash <<'E'\nsel\\\nect x in a; do break; done\n: '\nrm #'\nE",
        "bash <<'E'\nhe''ad -c 5\ngit rm\nE",
        "bash <<'E'\ncat\n: '\nrm #'\nE",
    ] {
        is_unknown(script);
    }
    finds("bash <<'E'\ngit add\ngit branch | cat\nE", &["bash", "bash>git", "bash>git", "bash>cat"]);
    finds("sh <<E\nif true; then\n  echo a\nfi\nE", &["sh", "sh>true", "sh>echo"]);
}

#[test]
fn xargs_commands_are_found_with_and_without_a_replacement_string() {
    rm_is_never_missed(&[
        "echo rm | xargs -I{} -L1 env",
        "echo rm | xargs -I% -n 2 env",
        "echo rm | xargs -I% -l env",
        "echo rm | xargs --replace=% --max-args=2 env",
    ]);
}

#[test]
fn patterns_and_values_of_find_never_hide_its_actions() {
    rm_is_never_missed(&[
        "find . -e[a-z]ec rm \\;",
        "find . [!a]exec rm \\;",
        "find . -ex* rm \\;",
        "find . *ok rm \\;",
        "find . -fprintf -exec git -exec rm \\;",
        "find . -newermt -exec -exec rm \\;",
    ]);
    finds("find . -name *.txt -exec git add {} \\;", &["find", "find>git"]);
}

#[test]
fn an_indirect_expansion_may_be_several_words() {
    rm_is_never_missed(&[
        "set -- . rm; x=@; env -C\"${!x}\" git",
        "a=(. rm); declare -n r='a[@]'; env -C\"$r\" git",
        "a=(. rm); declare -n r; r='a[@]'; env -C\"$r\" git",
        "y='$(rm)'; echo \"${y@\\\nP}\"",
    ]);
}

#[test]
fn every_evaluation_of_a_trap_command_is_found() {
    rm_is_never_missed(&[
        "op=-v; test \"$op\" 'a[$(rm)]'",
        "op=-v; [ \"$op\" 'a[$(rm)]' ]",
        "op=-v; printf \"$op\" 'a[$(rm)]' x",
        "sleep 0 & wait -p 'a[$(rm)]' -n",
        "sleep 0 & wait -np'a[$(rm)]'",
        "x='b[$(rm)]'; exec {a[x]}>/dev/null",
        "x='b[$(rm)]'; a=(1 2); echo ${a[@]:x}",
        "x='b[$(rm)]'; a=(1 2); echo ${a[*]:x:1}",
        "y='$(rm)'; x='a[${y@P}]'; ((x))",
        "x='a[${ rm; }]'; ((x))",
        "x='$(rm)'; let \"a[$x]\"",
        "x='$(rm)'; test -v \"a[$x]\"",
        "x='$(rm)'; printf -v \"a[$x]\" 1",
        "x='$(rm)'; read \"a[$x]\" <<< 1",
        "x='$(rm)'; unset \"a[$x]\"",
        "x='$(rm)'; declare \"a[$x]=1\"",
    ]);
}

#[test]
fn a_command_in_a_login_shell_is_reported_as_unknown() {
    for script in [
        "bash -lc git",
        "sh -l -c git",
        "bash --login -c git",
        "exec -l bash -c git",
        "exec -a -bash bash -c git",
        "env --argv0=-sh sh -c git",
    ] {
        is_unknown(script);
    }
}

#[test]
fn variables_that_name_a_program_for_a_tool_are_reported_as_settings() {
    for name in [
        "RUSTC_WRAPPER",
        "RUSTC",
        "RUSTDOC",
        "CARGO_HOME",
        "CARGO_BUILD_RUSTC",
        "CARGO_TARGET_X86_64_RUNNER",
        "GOFLAGS",
        "GOTOOLDIR",
        "GOROOT",
        "GOTOOLCHAIN",
        "GNUMAKEFLAGS",
        "CMAKE_C_COMPILER_LAUNCHER",
        "LUA_INIT_5_4",
        "SVN_SSH",
        "HGEDITOR",
        "OPENSSL_CONF",
        "OPENSSL_ENGINES",
        "KUBECONFIG",
        "KUBECTL_EXTERNAL_DIFF",
        "AWS_CONFIG_FILE",
        "DOCKER_CONFIG",
        "BUNDLE_GEMFILE",
        "VIMINIT",
        "EXINIT",
        "INPUTRC",
        "PARALLEL_HOME",
        "PIP_CONFIG_FILE",
    ] {
        let found = bash(&format!("{name}=x git"));
        assert!(found.contains(&format!("{name}=")), "{name}: {found:?}");
    }
}

#[test]
fn arithmetic_and_references_set_variables_too() {
    for script in
        ["let PATH=7; ls", "a[PATH=7]=1; ls", "[[ PATH=7 -eq 7 ]]; ls", "echo ${x:PATH=7}", "echo ${a[PATH=7]}"]
    {
        let found = bash(script);
        assert!(found.contains(&"PATH=".to_owned()), "{script}: {found:?}");
    }
    for script in ["declare -n r; r=PATH; r=w; ls", "r=PATH; declare -n r; r=w; ls"] {
        is_unknown(script);
    }
}

#[test]
fn programs_that_start_other_programs_hide_no_command() {
    rm_is_never_missed(&[
        "parallel env ::: rm",
        "parallel -I ,, ',, x' ::: rm",
        "parallel env -- rm",
        "ltrace -n 2 rm",
        "ssh -o $'ProxyCommand\\trm' h x",
        "ssh -o '\"ProxyCommand\" rm' h x",
        "ssh -o 'ProxyCommand rm' h x",
        "env -S $'rm\\vx'",
        "env -S $'git\\frm'",
        "sudo -s '$FOO'",
        "chrt -b rm",
        "/lib64/ld-linux-x86-64.so.2 /bin/dash -c rm",
        "/lib/ld-musl-x86_64.so.1 /bin/rm x",
        "coreutils --coreutils-prog=rm x",
        "coreutils --coreutils-prog-shebang=rm x",
        "start-stop-daemon -S -x /bin/rm -- x",
        "start-stop-daemon --start --exec /bin/rm",
        "busybox start-stop-daemon -S -x rm",
        "rsync -e rm a b:",
        "rsync -avze 'rm x' a b:",
        "rsync --rsh=rm a b:",
        "rsync --rsync-path 'rm x' a b:",
        "tar --to-command=rm -xf x",
        "tar --to-com rm -xf x",
        "tar -xf x --checkpoint-action=exec=rm",
        "tar -Irm -xf x",
        "tar -cI rm -f x y",
        "tar cIf rm x y",
        "scp -S rm a b:",
        "scp -o ProxyCommand=rm a b:",
        "sftp -o'ProxyCommand rm' b",
        "sort --compress-program=rm x",
        "man -P rm ls",
        "vim -c '!rm' x",
        "split --filter=rm x",
        "make SHELL=rm",
        "make X='$(shell rm)'",
        "ksh93 -c rm",
        "bash-static -c rm",
        "lksh -c rm",
        "sem rm x",
        "setuidgid x rm",
    ]);
    for harmless in [
        "tar -czf x.tar.gz a",
        "tar xzf x.tgz -C /Incoming",
        "make -j4 all",
        "sort -k2 x",
        "wget -qO- https://h/x",
        "rsync -av a b",
    ] {
        assert_eq!(bash(harmless).len(), 1, "{harmless}");
    }
}

#[test]
fn a_line_continuation_in_an_operator_or_a_name_hides_no_command() {
    rm_is_never_missed(&[
        "[[ a ]\\\n] && rm x && [[ b ]]",
        "[[ a =\\\n~ b ]] && rm x",
        "i\\\nf true; th\\\nen rm x; f\\\ni",
        "cas\\\ne a in a) rm x;\\\n; es\\\nac",
        "whil\\\ne false; d\\\no :; don\\\ne; rm x",
        "true &\\\n& rm x",
        "true |\\\n| rm x",
        "cat <\\\n<E\n$(rm x)\nE",
        "echo $\\\n(rm x)",
        "echo <\\\n(rm x)",
        "r\\\nm x",
        "x=\"a[\\$(rm y)0]\"; [[ $x -e\\\nq 1 ]]",
    ]);
    for sets in ["((PA\\\nTH=5))", "echo $((PA\\\nTH=5))", "for ((PA\\\nTH=5; 0; )); do :; done", "PA\\\nTH=5 git"] {
        assert!(
            find_in(Shell::Bash, sets, ReadLimit::Step)
                .is_ok_and(|found| found.iter().any(|one| one.what == FoundKind::Setting("PATH".to_owned()))),
            "{sets}: {:?}",
            find_in(Shell::Bash, sets, ReadLimit::Step)
        );
    }
}

#[test]
fn arithmetic_that_bash_may_run_as_commands_is_refused() {
    rm_is_never_missed(&[
        "x=$((rm $(case x in x) ;; esac)))",
        "echo \"$((rm $(case x in x) ;; esac)))\"",
        "cat <<E\n$((rm $(case x in x) ;; esac)))\nE",
        "a[$((rm $(case x in x) ;; esac)))]=1",
        "echo $((rm $(case x in (x) ;; esac) ))",
        "echo $((rm $(cat <<X\n)\nX\n)))",
        "echo $(( $(case x in x) echo rm;; esac) ))",
        "echo $(( ${x#(} rm ))",
        "echo $((rm `echo ')'` ))",
        "echo $((rm $(echo \\)) ))",
        "(( $'\\') # $(rm) '))",
        "(( $\"\" # $(rm) ))",
    ]);
    for plain in [
        "echo $(( $(wc -l < f) + 1 ))",
        "echo $(( ($(date +%s) - $(stat -c %Y \"$f\")) / 60 ))",
        "echo $(( $(basename $(pwd) | wc -c) * (2 + 1) ))",
        "(( $(id -u) == 0 )) && (( (1 + 2) > 2 ))",
        "echo $(( ${#x} + ${x:-1} ))",
        "echo $(( `cat f` + 1 ))",
        "(( $((1 + (2 * 3))) > $( (cat f) ) ))",
        "((git add \"$x\"; ); git show \"a\")",
    ] {
        assert!(bash(plain).iter().all(|one| !one.ends_with('?')), "{plain}");
    }
}

#[test]
fn elements_of_an_array_are_evaluated_at_every_declaration() {
    rm_is_never_missed(&[
        "declare -a 'x=($(rm))'",
        "declare -a 'x=(`rm`)'",
        "readonly -a 'x=($(rm))'",
        "export -a 'x=($(rm))'",
        "f() { local -a 'x=($(rm))'; }; f",
        "typeset -A 'x=([a]=$(rm))'",
        "declare -a x+='($(rm))'",
        "a=(); declare 'a=($(rm))'",
        "declare -a x; declare x='($(rm))'",
        "declare x='($(rm))'; declare -a x",
        "a[1]=x; declare a='($(rm))'",
        "read -ra a <<< x; declare a='($(rm))'",
        "mapfile a < x; declare a='($(rm))'",
        "declare PIPESTATUS='($(rm))'",
        "IN='$(rm)'; declare -a arr=\"($IN)\"",
        "v='($(rm))'; declare -a x=\"$v\"",
        "declare -a a; f() { declare -g a=\"$1\"; }; f '($(rm))'",
        "k='$(rm)'; a=([b[$k]]=1)",
        "k='$(rm)'; a=([$k]=1)",
    ]);
    for plain in [
        "declare -a x=(a b); f() { local y=\"$1\"; }",
        "local -a 'x=(a b)'",
        "export MSG=\"(hello $USER)\"",
        "declare x=\"$1\" y='$(rm)'",
        "a=([1]=x [2]=\"$y\")",
    ] {
        assert!(bash(plain).iter().all(|one| !one.ends_with('?')), "{plain}: {:?}", bash(plain));
    }
}

#[test]
fn assignments_that_bash_evaluates_can_run_trap_commands() {
    rm_is_never_missed(&[
        "RANDOM='a[$(rm)]'",
        "OPTIND='a[$(rm)]'",
        "HISTCMD+='a[$(rm)]'",
        "export SRANDOM='a[$(rm)]'",
        "for RANDOM in 'a[$(rm)]'; do :; done",
    ]);
    for sets in [
        "declare -i x=PATH=7",
        "RANDOM=PATH=7",
        "x=PATH=7; declare -i x",
        "printf -v 'a[PATH=7]' x",
        "read 'a[PATH=7]'",
    ] {
        assert!(bash(sets).iter().any(|one| one.ends_with("PATH=")), "{sets}: {:?}", bash(sets));
    }
    assert_eq!(bash("x=PATH=7; RANDOM_=1"), [""; 0]);
}

#[test]
fn a_negated_test_does_not_end_a_command_list_in_dash() {
    for script in [
        "if ! [[ -f a && rm ]]; then :; fi",
        "while ! [[ -f a && rm ]]; do :; done",
        "! [[ a && sh -c rm ]]",
        "[[ a && b ]] && ! [[ a && b ]] && rm",
    ] {
        assert!(either(script).iter().any(|one| one.ends_with("rm")), "{script}: {:?}", either(script));
    }
}

#[test]
fn unusual_names_and_operands_do_not_hide_a_command() {
    rm_is_never_missed(&[
        "alias -x=rm\n[[ -f a || -x ]]",
        "alias -- -x=rm",
        "coproc rm time foo",
        "coproc rm time",
        "sh -c + rm",
        "bash -c + rm",
        "command() { :; }; builtin command rm",
        "mapfile() { :; }; builtin mapfile -c1 -C rm a <<< x",
        "jobs() { :; }; builtin jobs -x rm",
        "git -c alias.x='!env' x rm",
        "git -c alias.x='!nohup' x rm",
        "git -c core.sshCommand=env ls-remote rm:x",
        "git -c diff.external=env diff",
        "git -c core.sshCommand='ssh x; env' ls-remote rm:x",
        "git clone -u env rm:x",
        "mapfile -t -c1 -C timeout a <<< rm",
        "rsync -e env rm:x .",
        "find . -maxdepth 0 -exec echo \"${1:-;}\" -exec rm {} \\;",
        "x='{}'; find . -exec echo \"$x\" + -exec rm {} \\;",
        "touch ';'; find . -exec echo ? -exec rm {} \\;",
        "a=-exec b=rm; find . \"$a\" \"$b\" \\;",
        "touch f; find {f*,-exec,rm} \\;",
        "touch f; printf {-v,'a[$(rm)]',*}",
        "git merge-index rm -a",
        "git config foo.x '!rm'; git config --rename-section foo alias; git x",
        "trap 999 EXIT; rm",
        "ssh-agent rm",
        "install --strip-program=rm -s a b",
        "run-parts rm",
    ]);
    finds("trap 999 EXIT", &["trap", "trap>999"]);
    for plain in [
        "find \"$dir\" -name '*.x' -exec echo {} \\;",
        "find . -name \"$x\" -exec mv {} \"$to\" \\;",
        "find \"$a\" -type f -exec sed -i \"s/$x/y/\" {} +",
        "coproc cat",
        "coproc X { cat; }",
    ] {
        assert!(bash(plain).iter().all(|one| !one.ends_with('?')), "{plain}: {:?}", bash(plain));
    }
    assert!(either("mkdir a+=; a+=/x").contains(&"a+=/x".to_owned()));
    assert!(either("a+=$x").iter().any(|one| one == "?"));
}

#[test]
fn variable_settings_in_unusual_forms_are_found() {
    for script in [
        "n=PATH; unset \"$n\"; ls",
        "unset $v",
        "unset {PATH,y}",
        "unset P*",
        "x='1 PATH=/x'; command export y=$x",
        "builtin export y=$x",
        "\\export y=$x",
        "\"export\" y=$x",
        "export 'y='$x",
        "export y\"=\"$x",
        "readonly 'y='$x",
        "declare -g 'y='$x",
        "export {PATH=/x,f*}; ls",
        "shopt -s nullglob; printf zzz* -v PATH /x",
        "printf ?v PATH /x",
        "f=-v; printf \"$f\" PATH /x",
        "xargs --process-slot-var=PATH ls",
        "TEXTDOMAIN=x",
        "export TEXTDOMAINDIR=x",
    ] {
        let found = bash(script);
        let seen = |one: &String| one.ends_with('=') || one.ends_with('?');
        assert!(found.iter().any(seen), "{script}: {found:?}");
    }
    for plain in ["export y=$x", "unset -f \"$f\"", "printf \"$format\" a b", "printf '%s' PATH"] {
        assert!(bash(plain).iter().all(|one| !one.ends_with(['?', '='])), "{plain}: {:?}", bash(plain));
    }
}

#[test]
fn a_pattern_with_much_backtracking_is_matched_quickly() {
    for script in
        [format!("find -{}q*", "[]".repeat(3000)), format!("find {}", format!("{}q ", "*".repeat(60)).repeat(1000))]
    {
        let begun = Instant::now();
        drop(find_in(Shell::Bash, &script, ReadLimit::Step));
        assert!(begun.elapsed() < Duration::from_secs(5), "{} bytes took {:?}", script.len(), begun.elapsed());
    }
    for hidden in ["find . -exe*", "find . -[e]xec rm", "find . *", "find . -?xecdir rm", "find . [-]ok* rm"] {
        is_unknown(hidden);
    }
    for plain in ["find *.txt -print", "find . -name x*", "find /etc/[a-z]*", "find a?b*"] {
        finds(plain, &["find"]);
    }
}

#[test]
fn code_that_bash_prints_and_parses_again_hides_no_command() {
    rm_is_never_missed(&[
        "x=$( >f ! rm )",
        "echo \"$( 2>f ! rm )\"",
        "cat <( >f ! rm )",
        "a=($( >f ! rm ))",
        "x=$( <<E ! rm\nE\n)",
        "f() { >x ! rm; }; export -f f; bash -c f",
        "x=$( >f coproc rm; wait )",
        "cat <<-E\n\t$(cat <<'X'\n\tX\n\trm\nX\n\t)\n\tE",
        "cat <<-E\n\t`cat <<X\n\tX\n\trm\nX\n\t`\n\tE",
        "rm() { :; }\ng() { rm; }\nexport -f g\nbash -c g",
        "rm() { :; }\ng() { rm; }\ndeclare -fx g\ntimeout 5 bash -c 'g x'",
        "rm() { :; }\nset -a\ng() { rm; }\nbash -c g",
        "bash -k -c 'ls PATH=/x'; rm",
        "jobs -rx rm",
        "zip -qTT rm -T o.zip a",
        "diff3 --diff-program=rm a b c",
        "certbot renew --deploy-hook 'rm x'",
        "sshpass -p x rm",
        "parallel echo ';' rm ::: a",
    ]);
    finds("x=$(coproc true; wait)", &["COPROC", "true", "wait"]);
    finds("f() { coproc true; wait; }", &["COPROC", "true", "wait"]);
    finds("coproc cat", &["cat"]);
    finds("cat <<-E\n\t$(git log)\n\tx\n\tE", &["cat", "git"]);
    for script in ["echo a | xargs -n 10>f rm echo", "nice -n 10>f rm ls", "env -u 10>f rm ls"] {
        let found = either(script);
        assert!(found.iter().any(|one| one.ends_with("rm") || one.ends_with('?')), "{script}: {found:?}");
    }
    for unknown in [
        "bash -k -c 'ls'",
        "bash -ek -c 'ls'",
        "bash -o keyword -c 'ls'",
        "bash -H -o history <<'E'\necho rm\n!!:1\nE",
        "git merge -s zz master",
        "git rebase --strategy=zz",
        "git merge --strat=zz x",
        "git merge --str zz x",
        "git ls-remote zz::x",
        "git clone zz::x",
        "make 'X!=rm'",
    ] {
        is_unknown(unknown);
    }
    for plain in [
        "git merge --no-ff x",
        "git log -S a::b",
        "git revert -s HEAD",
        "git pull -X theirs",
        "bash -eu -o pipefail -c ls",
    ] {
        assert!(bash(plain).iter().all(|one| !one.ends_with('?')), "{plain}: {:?}", bash(plain));
    }
}

#[test]
fn a_setting_whose_name_is_composed_of_parts_is_found() {
    for script in [
        ": \"${BASH_CMDS[ls]:=/x}\"; ls",
        ": ${BASH_ALIASES[ls]='x'}; ls",
        "x ${LD_PRELOAD[0]:=x}",
        "(( ${y-PATH=7} ))",
        "(( ${y:-PATH}=7 ))",
        "(( PA${y-TH}=7 ))",
        "let \"${y:-PATH=7}\"",
        "let PA${y-TH}=7",
        "echo ${x:${y:-PATH=7}}",
        "echo ${a[${x:=PATH=7}]}",
        "echo $(( ${y:=PATH=7} ))",
        "x=PATH; (( ${x}=7 ))",
        "x=PATH; echo $(( $x=7 ))",
        "x=TH; (( PA$x=7 ))",
        "x=PATH; let $x=7",
        "[[ $x=7 -eq 7 ]]",
        "[[ P'A'TH=7 -eq 7 ]]",
        "let P'A'TH=7",
        "echo ${x:P'A'TH=7}",
        "echo ${x:$p=7}",
        "(( ++$x ))",
        "declare -a 'a=([PATH=7]=1)'",
        "v=-v; test \"$v\" 'a[PATH=7]'",
        "o=-p; wait -n \"$o\" PATH",
        "unset 'PATH[0]'",
        "unset -v 'PATH[0]'",
    ] {
        let Ok(found) = find_in(Shell::Bash, script, ReadLimit::Step) else { continue };
        let seen = found.iter().any(|one| matches!(one.what, FoundKind::Setting(_) | FoundKind::Unknown(_)));
        assert!(seen, "{script}: {found:?}");
    }
    assert!(either("#!/bin/sh\ntrap +1 EXIT").contains(&"trap>+1".to_owned()));
    for plain in [
        "(( $a == $b && x <= 3 ))",
        "echo $(( $a + 1 )) $(( x = $y )) $(( $a >= 2 ? 1 : 0 ))",
        "[[ $a -eq 7 && $b == x ]]",
        "echo ${x:$a:2} ${a[$i]} ${x[$i+1]}",
        "(( i++ )); (( total += $n ))",
        "let i=$x+1",
    ] {
        assert!(bash(plain).iter().all(|one| !one.ends_with(['?', '='])), "{plain}: {:?}", bash(plain));
    }
}

/// Bash skips the rest of a line after an error in an expansion or an assignment.
#[test]
fn a_function_definition_after_another_command_on_its_line_is_never_certain() {
    for before in [
        "echo $((1/0));",
        "UID=5;",
        "q=${x:0:-9};",
        "shopt -s failglob; echo *nope*;",
        "for i in 1; do :\ndone;",
        ": \\\n:;",
        "g() { :; }; :;",
        "g() { :; } &",
        "true &&",
    ] {
        let script = format!("{before} rm() {{ :; }}\nrm x");
        let found = bash(&script);
        assert!(found.contains(&"rm".to_owned()), "{script}: {found:?}");
    }
    for script in [
        "cat <<E; rm() { :; }\nE\nrm x",
        "{ rm() { :; }; }\nrm x",
        "{\nUID=5\nrm() { :; }\n}\nrm x",
        "(\nrm() { :; }\n)\nrm x",
    ] {
        assert!(bash(script).contains(&"rm".to_owned()), "{script}: {:?}", bash(script));
    }
    finds("set -e\n\n# what it is for\nf() { :; }\nf", &["set", ":", "f()"]);
    finds("f() { :; }; g() { :; }; f; g", &[":", ":", "f()", "g()"]);
    finds("cat <<E\nx\nE\nf() { :; }\nf", &["cat", ":", "f()"]);
}

#[test]
fn a_function_with_the_name_of_a_wrapper_hides_no_arguments() {
    finds("env() { :; }\nenv rm x", &[":", "env", "env>rm"]);
    finds("f() { timeout 5 rm; }\ntimeout() { :; }\nf", &["timeout", "timeout>rm", ":", "f()"]);
}

#[test]
fn parameters_of_a_function_are_read_from_its_calls() {
    finds("retry() { until \"$@\"; do sleep 1; done; }\nretry kubectl get nodes", &["sleep", "retry()", "kubectl"]);
    finds(
        "retry() {\n  local n=$1\n  shift\n  \"$@\" && return\n}\nretry 5 curl -f x\nretry 3 rm y",
        &["local", "shift", "return", "retry()", "curl", "retry()", "rm"],
    );
    finds(
        "f() { sudo -n -- \"$@\"; }\nf rm x\nf env kill 1",
        &["sudo", "f()", "sudo>rm", "f()", "sudo>env", "sudo>env>kill"],
    );
    finds("run() { echo \"+ $*\"; \"$@\"; }\nwrap() { run \"$@\"; }\nwrap rm x", &["echo", "run()", "wrap()", "rm"]);
    finds("f() { \"$@\"; }\nf f rm", &["f()", "f()", "rm"]);
    finds("f() { shift || true; \"$@\"; }\nf a rm", &["shift", "true", "f()", "rm"]);
    for script in [
        "\"$@\"",
        "f() { \"$@\"; }",
        "f() { \"$@\"; }\nf $x rm",
        "f() { \"$@\"; }\nf \"$x\"",
        "f() { shift; \"$@\"; }\nf",
        "f() { shift 2; \"$@\"; }\nf rm",
        "f() { if x; then shift; fi; \"$@\"; }\nf a rm",
        "f() { while x; do \"$@\"; shift; done; }\nf a rm",
        "f() { true && shift; \"$@\"; }\nf a rm",
        "f() { shift < a; \"$@\"; }\nf a rm",
        "f() { shift \"$n\"; \"$@\"; }\nf a rm",
        "f() { set -- rm; \"$@\"; }\nf a",
        "f() { eval 'set -- rm'; \"$@\"; }\nf a",
        "f() { builtin shift; \"$@\"; }\nf a rm",
        "trap 'set -- rm' USR1\nf() { \"$@\"; }\nf a",
        "shift() { :; }\nf() { shift; \"$@\"; }\nf rm a",
        "alias g=f\nf() { \"$@\"; }\nf a\ng rm",
        "f() { \"$@\"; }\nexport -f f\nf a\nbash -c 'f rm'",
        "command_not_found_handle() { \"$@\"; }\ncommand_not_found_handle a",
        "f() { trap '\"$@\"' EXIT; }\nset -- rm\nf a",
        "mapfile -C f -c 1 < o\nf() { \"$@\"; }\nf a",
    ] {
        is_unknown(script);
    }
}

#[test]
fn the_variable_ifs_is_reported_as_a_setting_except_before_read() {
    finds("while IFS= read -r line; do git add \"$line\"; done < f", &["read", "git"]);
    finds("IFS=, read -ra parts <<< \"$x\"", &["read"]);
    for script in ["read() { rm; }; IFS=, read x", "alias read=rm\nIFS=, read x", "PATH=/x read y"] {
        let found = bash(script);
        assert!(found.iter().any(|one| one.ends_with('=')), "{script}: {found:?}");
    }
}

/// IFS changes the fields of unquoted expansions. Of these, the parser relies only on the fields of numbers.
#[test]
fn a_value_of_path_or_ifs_that_changes_no_command_is_harmless() {
    for script in [
        "PATH=/usr/bin:$PATH",
        "PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin",
        "export PATH=$PATH:/usr/sbin:/sbin",
        "PATH=\"/usr/local/bin:${PATH}\" git a",
        "env PATH=/usr/bin:/bin git a",
        "IFS=,",
        "IFS=$'\\n\\t'; nice -n $# a",
        "old=$IFS; IFS=:; for d in $PATH; do IFS=$old; a \"$d\"; done; [ $# -eq 0 ] || exit $?",
        "IFS=0; git add \"$#\" $x; rc=$?",
        "f() { local IFS=$y; a; }; f $x",
        "for IFS in a b; do a; done",
    ] {
        let found = bash(script);
        assert!(found.iter().any(|one| one.ends_with('~')), "{script}: {found:?}");
        assert!(!found.iter().any(|one| one.ends_with('=')), "{script}: {found:?}");
    }
    for script in [
        "PATH=/x:$PATH",
        "PATH=$PATH:",
        "PATH=",
        "PATH=.:$PATH",
        "PATH='$PATH'",
        "PATH=\\$PATH",
        "PATH=$PATH2",
        "PATH=/usr/bin:$HOME",
        "PATH=/usr/bin/../x",
        "PATH+=:/usr/bin",
        "PATH=${PATH:-/x}",
        "a \"PATH=${PATH:=/usr/bin}\"",
        "read PATH",
        "IFS=0; nice -n $# rm",
        "IFS=-; nice -n $((x)) rm",
        "IFS=$x\nnice -n $? rm",
        "nice -n $$ rm; f() { IFS=$1; }",
        "IFS=$x; eval 'nice -n $? rm'",
        "echo() { \"$@\"; }; IFS=$x; echo $#",
        "IFS=$x; f() { \"$@\"; }; f $# rm",
        "IFS=$x; \"$y\" $#",
        "for IFS in 0; do nice -n $? rm; done",
        "read IFS; nice -n $? rm",
        "f() { local IFS=$1; nice -n $1 rm; }; f $x",
    ] {
        let found = bash(script);
        assert!(found.iter().any(|one| one.ends_with('=')), "{script}: {found:?}");
    }
}

#[test]
fn a_program_path_below_proc_or_dev_is_reported_as_unknown() {
    for script in [
        "/proc/self/exe -c rm",
        "exec /proc/self/exe -c rm",
        "env //proc/./1/exe",
        "/usr/../proc/self/exe",
        "/dev/fd/3",
        "cd /; proc/self/exe -c rm",
        "../../proc/self/exe -c rm",
        "/dev/shm/x",
    ] {
        is_unknown(script);
    }
    finds("./dev/setup.sh; /opt/proc/x; ./proc", &["./dev/setup.sh", "/opt/proc/x", "./proc"]);
}

#[test]
fn texts_that_may_be_joined_and_evaluated_are_reported_as_unknown() {
    for script in [
        "x='a['; x+='$(rm)]'; ((x))",
        "b='a['; x=\"$b\"'$(rm)]'; ((x))",
        "x='a(`rm`)'; x=${x//(/[}; x=${x//)/]}; ((x))",
        "x='$(rm)'; declare -i n; n=\"a[$x]\"",
        "x=\"a[$1]\"; ((x))",
        "x=a; x+=\"[$1]\"; ((x))",
        ": ${x:=a[$1]}; ((x))",
        "y=(\"a[$1]\"); ((y))",
        "x=$(echo \"a[$1]\"); echo $((x))",
        "x='${y@P}'; ((x))",
        "printf -v x 'b[%s]' '$(rm)'; let x",
        "f() { x=$1$2; }\nf 'b[' '$(rm)]'; ((x))",
        "x=$(echo 'b['; git '$(rm)]'); ((x))",
        "echo '$(rm)]' | while read -r y; do x=\"b[$y\"; ((x)); done",
        "echo '$(rm)]' > f; read y < f; x='b['$y; ((x))",
        "{ echo '$(rm)]'; } >> f; read y < f; x='b['$y; ((x))",
        "exec > f; echo '$(rm)]'; read y < f; x='b['$y; ((x))",
        "coproc { echo '$(rm)]'; }; read y <&${COPROC[0]}; x='b['$y; ((x))",
        "echo '$(rm)]'; x=\"b[$_\"; ((x))",
        "f() { echo '$(rm)]'; }\nx=$(f); x='b['$x; ((x))",
        "read y <<'E'\n$(rm)]\nE\nx='b['$y; ((x))",
    ] {
        is_unknown(script);
    }
    for plain in [
        "x='a['; x+='$(rm)]'; echo \"$x\"",
        "awk '{print $(NF-1)}' f; while read -r x; do unset y; done; local z=1; [ $# -lt 1 ]",
        "log() { echo \"[$(date)] $*\"; }; n=$((n+1))",
        "jq -r \".items[$i].name\" f; i=$((i+1))",
        "ls file[0-9]* \"$x\"[ab]; ((i++))",
        "a[$i]=x; echo \"${a[$i]}\"",
        "echo \"Try \\`$0 --help'\" >&2; n=$((n+1))",
        "ssh-keygen -C '$(x)'; curl -d '$(x)' h 2>&1 >/dev/null; ((n++))",
        "cat <<'E'\nrun `make`\nE\n((n++))",
    ] {
        assert!(bash(plain).iter().all(|one| !one.ends_with('?')), "{plain}: {:?}", bash(plain));
    }
}

/// Each case has an unknown command, the correction in the message, and the corrected script.
#[test]
fn every_unknown_command_is_reported_with_a_correction() {
    for (script, says, instead) in [
        ("ssh \"$HOST\" ls", "write `--` before the word", "ssh -- \"$HOST\" ls"),
        ("ssh host -p 22 ls", "before the host", "ssh -p 22 host ls"),
        ("timeout \"$T\" ls", "write `--` before the word", "timeout -- \"$T\" ls"),
        ("ssh -- $HOST ls", "put the word in double quotes", "ssh -- \"$HOST\" ls"),
        ("env \"$X\" ls", "literal name of the command", "env A=\"$X\" ls"),
        ("\"$CMD\" x", "choose a literal name with `case`", "case $CMD in ls) ls ;; esac"),
        ("sh -c \"ls $x\"", "as arguments", "sh -c 'ls -- \"$1\"' _ \"$x\""),
        ("trap \"ls $x\" EXIT", "single quotes", "trap 'ls \"$x\"' EXIT"),
        ("find . $x", "\"./$x\"", "find . \"./$x\""),
        ("bash -lc ls", "leave `-l` out", "bash -c ls"),
        ("git -c \"$x\" status", "as separate commands", "git -c user.name=\"$x\" status"),
        ("zsh -c ls", "`sh -c`", "bash -c ls"),
        ("alias a='b; c'", "define a function", "a() { b; c; }\na"),
        ("unset \"$x\"", "write the name", "unset y"),
        ("set $x", "`set -- \"$x\"`", "set -- \"$x\""),
        ("make SHELL=x", "as separate commands", "make all"),
        ("strace ls", "`timeout`", "timeout 5 ls"),
        ("/proc/self/exe x", "by its name", "bash --version"),
    ] {
        let found = find_in(Shell::Bash, script, ReadLimit::Step).unwrap();
        let said: Vec<&str> = found
            .iter()
            .filter_map(|one| if let FoundKind::Unknown(why) = one.what { Some(why.text) } else { None })
            .collect();
        assert!(said.iter().any(|why| why.contains(says)), "{script}: {said:?}");
        assert!(bash(instead).iter().all(|one| !one.ends_with('?')), "{instead}: {:?}", bash(instead));
    }
}

/// Returns the unknown parts of a script.
fn unknown_parts(script: &str) -> Vec<UnknownPart> {
    let found = find_in(Shell::Bash, script, ReadLimit::Step).unwrap_or_else(|why| panic!("{script}: {why}"));
    let part = |one: &ScriptFinding| if let FoundKind::Unknown(why) = one.what { Some(why.part) } else { None };
    found.iter().filter_map(part).collect()
}

#[test]
fn an_unknown_command_of_the_run_itself_is_an_unknown_program() {
    for script in [
        "\"$CMD\" x",
        "\"$DIR\"/tool",
        "$CMD $ARGS",
        "/usr/bin/gre?",
        "/proc/self/exe x",
        "eval \"$x\"",
        "eval \"git log; $x\"",
        "sh -c \"$x\"",
        "bash ./other.sh",
        "bash \"$FILE\" a",
        "bash -lc ls",
        "source ./env",
        ". \"$FILE\"",
        "git log | sh",
        "trap \"$x\" EXIT",
        "alias a='b; c'",
        "exec \"$CMD\"",
        "command \"$CMD\"",
        "nohup \"$CMD\" &",
        "timeout 5 \"$CMD\"",
        "env \"$X\" ls",
        "git ls-files | xargs \"$CMD\"",
        "git ls-files | xargs -I{} sh -c 'git log {}'",
        "find . -exec \"$CMD\" ';'",
        "x='a[$(id)]'; ((x))",
        "f() { \"$CMD\"; }; f",
    ] {
        let parts = unknown_parts(script);
        assert!(!parts.is_empty() && parts.iter().all(|part| *part == UnknownPart::Programs), "{script}: {parts:?}");
    }
}

#[test]
fn unknown_words_and_unknown_commands_outside_the_run_are_no_unknown_programs() {
    for script in [
        "ssh \"$HOST\" ls",
        "ssh -- \"$HOST\" \"$CMD\"",
        "ssh -- host '$CMD x'",
        "ssh -- host xargs '$CMD'",
        "ssh -- host <<'E'\n$CMD\nE",
        "ssh -- host sh -c \"'$x'\"",
        "env ssh \"$HOST\" ls",
        "sh -c \"ssh $HOST ls\"",
        "eval \"ssh -- host $x\"",
        "sh -c 'ssh \"$1\" ls'",
        "timeout \"$T\" ls",
        "find . $x",
        "git \"$x\"",
        "git -c \"$x\" status",
        "git bisect run \"$CMD\"",
        "rsync -e \"$x\" a b",
        "tar --to-command=\"$x\" -xf a",
        "make SHELL=x",
        "sudo \"$CMD\"",
        "sudo sh -c \"$x\"",
        "su -c \"$x\" joe",
        "busybox \"$APPLET\" x",
        "parallel \"$CMD\" ::: a",
        "systemd-run \"$CMD\"",
        "export \"$NAME\"=1",
        "declare -n a=b",
        "unset \"$x\"",
        "set $x",
        "enable -f ./x.so x",
        "hash -p \"$x\" ls",
    ] {
        let parts = unknown_parts(script);
        assert!(parts.iter().any(|part| *part != UnknownPart::Programs), "{script}: {parts:?}");
    }
}
