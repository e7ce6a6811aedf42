//! The findings in a script through the library's interface, with one test for each guarantee.

use std::time::{Duration, Instant};

use reading::{FoundKind, ReadLimit, ScriptFinding, Shell, UnknownPart, find_in};

use super::script_lists::{pairs, scripts, triples};

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
    one.via
        .iter()
        .chain([&what])
        .cloned()
        .collect::<Vec<_>>()
        .join(">")
}

#[track_caller]
fn finds(script: &str, expected: &[&str]) {
    assert_eq!(bash(script), expected, "{script}");
}

#[track_caller]
fn is_unknown(script: &str) {
    let found = bash(script);
    assert!(
        found.iter().any(|one| one.ends_with('?')),
        "{script}: {found:?}"
    );
    for one in find_in(Shell::Bash, script, ReadLimit::Step).unwrap() {
        // The message states what happened and what to write instead.
        assert!(
            !matches!(one.what, FoundKind::Unknown(why) if !why.text.contains(": ")),
            "{script}: {:?}",
            one.what
        );
    }
}

#[track_caller]
fn is_refused(script: &str) {
    let found = find_in(Shell::Bash, script, ReadLimit::Step);
    assert!(found.is_err(), "{script}: {found:?}");
}

#[test]
fn ordinary_shell_constructs_contain_only_their_plain_commands() {
    for script in scripts("ordinary_shell_constructs_contain_only_their_plain_commands") {
        let found = bash(script);
        let plain = |one: &String| matches!(one.as_str(), "git" | "command" | "command>git");
        assert!(
            !found.is_empty() && found.iter().all(plain),
            "{script}: {found:?}"
        );
    }
    for script in [
        "[[ -f a && -d b ]] && git show",
        "[[ a == b || -f c ]]\ngit show",
        "arr=(a b); arr[0]=x; echo \"${arr[@]}\"",
    ] {
        assert!(
            matches!(either(script).as_slice(), [one] if one == "git" || one == "echo"),
            "{script}"
        );
    }
}

#[test]
fn commands_are_found_in_every_shell_construct() {
    for script in scripts("commands_are_found_in_every_shell_construct") {
        let found = bash(script);
        assert!(found.iter().any(|one| one == "rm"), "{script}: {found:?}");
    }
}

#[test]
fn names_are_found_after_quote_removal() {
    for script in scripts("names_are_found_after_quote_removal") {
        finds(script, &["rm"]);
    }
    finds("/usr/bin/rm x", &["/usr/bin/rm"]);
    finds("./x '../y z'", &["./x"]);
    finds("'if' x; \\time y; \"{\" z", &["if", "time", "time>y", "{"]);
}

#[test]
fn a_command_with_an_unknown_name_is_unknown() {
    for script in scripts("a_command_with_an_unknown_name_is_unknown") {
        is_unknown(script);
    }
}

#[test]
fn a_construct_that_bash_and_dash_parse_differently_is_refused_with_its_place() {
    for script in
        scripts("a_construct_that_bash_and_dash_parse_differently_is_refused_with_its_place")
    {
        is_refused(script);
    }
    let why = find_in(Shell::Sh, "git a\ngit b )\n", ReadLimit::Step).unwrap_err();
    assert_eq!(
        why.to_string(),
        "2:7: `)` has no opening bracket: remove `)`"
    );
    assert!(
        find_in(Shell::Sh, &"x\n".repeat(40_000), ReadLimit::Step).is_err()
            && find_in(Shell::Sh, &"x\n".repeat(40_000), ReadLimit::File).is_ok()
    );
}

#[test]
fn every_wrapper_is_found_with_the_command_that_it_runs() {
    for (script, inside) in pairs("every_wrapper_is_found_with_the_command_that_it_runs") {
        let found = bash(script);
        if inside == "?" {
            // `env` and `sudo` accept `--` only before assignments, and the keyword `time` has no option `-f`. In each
            // case, the parser must find `rm` or report an unknown command.
            assert!(
                found
                    .iter()
                    .any(|one| one.ends_with("rm") || one.ends_with('?')),
                "{script}: {found:?}"
            );
        } else {
            assert!(found.iter().any(|one| one == inside), "{script}: {found:?}");
        }
    }
}

#[test]
fn a_command_after_an_unknown_command_is_found() {
    for script in scripts("a_command_after_an_unknown_command_is_found") {
        is_unknown(script);
        let found = bash(script);
        assert!(
            found.iter().any(|one| one.ends_with(">rm")),
            "{script}: {found:?}"
        );
    }
}

#[test]
fn wrappers_without_a_command_give_no_further_results() {
    for script in scripts("wrappers_without_a_command_give_no_further_results") {
        let found = bash(script);
        assert!(found.len() == 1, "{script}: {found:?}");
    }
}

#[test]
fn variable_settings_are_found_at_every_place_in_a_script() {
    for script in scripts("variable_settings_are_found_at_every_place_in_a_script") {
        let found = bash(script);
        assert!(
            found.iter().any(|one| one.ends_with("PATH=")),
            "{script}: {found:?}"
        );
    }
    for name in scripts("variable_settings_are_found_at_every_place_in_a_script/2") {
        let found = bash(&format!("env '{name}=x' git a"));
        assert!(found.contains(&format!("env>{name}=")), "{name}: {found:?}");
    }
    finds("A=1 NODE_ENV=production MY_PATH=x node app.js", &["node"]);
}

#[test]
fn functions_count_only_if_they_are_certainly_defined() {
    finds("f() { rm; }; f", &["rm", "f()"]);
    finds("f() { g; }\ng() { rm; }\nf", &["g()", "rm", "f()"]);
    finds(
        "f() { rm; }; (f) | f; x $(f)",
        &["rm", "f()", "f()", "x", "f()"],
    );
    for script in scripts("functions_count_only_if_they_are_certainly_defined") {
        let found = bash(script);
        assert!(
            found
                .iter()
                .any(|one| one.split('>').next_back() == Some("f")),
            "{script}: {found:?}"
        );
    }
    // In a POSIX shell, no function replaces a special built-in command such as `eval`.
    assert!(bash("eval() { x; }; eval rm").contains(&"eval>rm".to_owned()));
}

#[test]
fn scripts_are_read_as_bash_and_as_dash() {
    for (script, by) in pairs("scripts_are_read_as_bash_and_as_dash") {
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
    assert_eq!(
        at("é; rm\n\n  x \"$(rm)\" `y`"),
        ["1:1 é", "1:4 rm", "3:3 x", "3:8 rm", "3:14 y"]
    );
    assert_eq!(
        at("sh -c '\nrm x; ls'"),
        ["1:1 sh", "2:1 sh>rm", "2:7 sh>ls"]
    );
    assert_eq!(
        at("sh -c 'sh -c \"x rm\"'"),
        ["1:1 sh", "1:8 sh>sh", "1:15 sh>sh>x"]
    );
    // If quotes change the text, the position of a finding is the position of the text.
    assert_eq!(
        at("x; sh -c 'a '\\''b'\\''; rm'"),
        ["1:1 x", "1:4 sh", "1:10 sh>a", "1:10 sh>rm"]
    );
    assert_eq!(
        at("cat <<E\na $(rm)\nE\nls"),
        ["1:1 cat", "2:5 rm", "4:1 ls"]
    );
    let found = find_in(Shell::Sh, "sudo env rm 'a b'", ReadLimit::Step).unwrap();
    assert_eq!(
        (found[2].via.as_slice(), found[2].source.as_str()),
        (["sudo".to_owned(), "env".to_owned()].as_slice(), "rm")
    );
    let long = format!("${{x:-{}}}", "y".repeat(500));
    assert_eq!(
        find_in(Shell::Sh, &long, ReadLimit::Step).unwrap()[0]
            .source
            .chars()
            .count(),
        200
    );
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
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            for of in bombs {
                let script = of.repeat(65_536 / of.len());
                let began = Instant::now();
                let _ = find_in(Shell::Sh, &script, ReadLimit::Step);
                // The limit is a hundred times the time of a release build, because the test profile is slow and the
                // machine may be busy.
                assert!(
                    began.elapsed() < Duration::from_secs(3),
                    "{of}: {:?}",
                    began.elapsed()
                );
            }
        });
    thread.unwrap().join().unwrap();
}

#[test]
fn scripts_with_many_nested_function_calls_are_parsed_quickly() {
    let calls: String = (0..200).fold(String::new(), |calls, number| {
        calls + &format!("f a{number} b\n")
    });
    let passes = format!("f() {{\n{}}}\n{calls}", "\"$@\"\n".repeat(9000));
    let nested: String = (0..60).fold(String::new(), |text, n| {
        text + &format!("f{n}() {{ f{} \"$@\"; f{} a \"$@\"; }}\n", n + 1, n + 1)
    });
    for script in [passes, format!("{nested}f0 x\n")] {
        let begun = Instant::now();
        let found = find_in(Shell::Bash, &script, ReadLimit::Step);
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{} bytes took {:?}",
            script.len(),
            begun.elapsed()
        );
        let unknown = |found: &Vec<ScriptFinding>| {
            found
                .iter()
                .any(|one| matches!(one.what, FoundKind::Unknown(_)))
        };
        assert!(
            found
                .as_ref()
                .map_or(true, |found| unknown(found) || script.contains("f60")),
            "{}",
            script.len()
        );
    }
}

#[test]
fn every_command_found_for_bash_is_also_found_for_sh() {
    for script in include_str!("by_hand.txt").split("\n%%\n") {
        let (Ok(bash), Ok(either)) = (
            find_in(Shell::Bash, script, ReadLimit::Step),
            find_in(Shell::Sh, script, ReadLimit::Step),
        ) else {
            continue;
        };
        for one in bash {
            assert!(
                either
                    .iter()
                    .any(|other| one.what == other.what && one.place == other.place),
                "{script}: {one:?}"
            );
        }
    }
}

/// Each script runs `rm` or an unknown command. For bash and for `sh`, the parser must find `rm`, report an unknown
/// command, or refuse the script.
#[track_caller]
fn rm_is_never_missed(scripts: &[&str]) {
    for script in scripts {
        for shell in [Shell::Bash, Shell::Sh] {
            let Ok(found) = find_in(shell, script, ReadLimit::Step) else {
                continue;
            };
            let seen = found.iter().any(|one| match &one.what {
                FoundKind::Command(name) => name.rsplit('/').next() == Some("rm"),
                FoundKind::Unknown(_) => true,
                FoundKind::Function(_) | FoundKind::Setting(_) | FoundKind::HarmlessSetting(_) => {
                    false
                }
            });
            assert!(seen, "{shell:?}: {script}: {found:?}");
        }
    }
}

#[test]
fn a_quoted_function_name_defines_no_function() {
    rm_is_never_missed(&scripts("a_quoted_function_name_defines_no_function"));
    finds("f-a.b() { git; }\nf-a.b", &["git", "f-a.b()"]);
}

#[test]
fn trap_commands_in_arrays_and_in_default_values_are_found() {
    rm_is_never_missed(&scripts(
        "trap_commands_in_arrays_and_in_default_values_are_found",
    ));
    finds("x=\"${a[0]} $(git)\"; ((x))", &["git"]);
}

#[test]
fn git_options_that_start_a_program_are_unknown_in_every_form() {
    rm_is_never_missed(&scripts(
        "git_options_that_start_a_program_are_unknown_in_every_form",
    ));
    for harmless in scripts("git_options_that_start_a_program_are_unknown_in_every_form/2") {
        finds(harmless, &["git"]);
    }
}

#[test]
fn aliases_of_git_are_unknown_if_they_may_run_something() {
    rm_is_never_missed(&scripts(
        "aliases_of_git_are_unknown_if_they_may_run_something",
    ));
}

#[test]
fn git_settings_that_run_or_name_a_program_are_found() {
    rm_is_never_missed(&scripts(
        "git_settings_that_run_or_name_a_program_are_found",
    ));
    for place in scripts("git_settings_that_run_or_name_a_program_are_found/2") {
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
    for script in scripts("a_here_document_is_the_input_only_if_no_other_standard_input_is_given") {
        is_unknown(script);
    }
    finds("bash <<EOF >f 2>&1\ngit\nEOF", &["bash", "bash>git"]);
}

#[test]
fn a_command_may_consume_the_script_on_standard_input() {
    for script in scripts("a_command_may_consume_the_script_on_standard_input") {
        is_unknown(script);
    }
    finds(
        "bash <<'E'\ngit add\ngit branch | cat\nE",
        &["bash", "bash>git", "bash>git", "bash>cat"],
    );
    finds(
        "sh <<E\nif true; then\n  echo a\nfi\nE",
        &["sh", "sh>true", "sh>echo"],
    );
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
    rm_is_never_missed(&scripts(
        "patterns_and_values_of_find_never_hide_its_actions",
    ));
    finds(
        "find . -name *.txt -exec git add {} \\;",
        &["find", "find>git"],
    );
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
    rm_is_never_missed(&scripts("every_evaluation_of_a_trap_command_is_found"));
}

#[test]
fn a_command_in_a_login_shell_is_reported_as_unknown() {
    for script in scripts("a_command_in_a_login_shell_is_reported_as_unknown") {
        is_unknown(script);
    }
}

#[test]
fn variables_that_name_a_program_for_a_tool_are_reported_as_settings() {
    for name in scripts("variables_that_name_a_program_for_a_tool_are_reported_as_settings") {
        let found = bash(&format!("{name}=x git"));
        assert!(found.contains(&format!("{name}=")), "{name}: {found:?}");
    }
}

#[test]
fn arithmetic_and_references_set_variables_too() {
    for script in [
        "let PATH=7; ls",
        "a[PATH=7]=1; ls",
        "[[ PATH=7 -eq 7 ]]; ls",
        "echo ${x:PATH=7}",
        "echo ${a[PATH=7]}",
    ] {
        let found = bash(script);
        assert!(found.contains(&"PATH=".to_owned()), "{script}: {found:?}");
    }
    for script in [
        "declare -n r; r=PATH; r=w; ls",
        "r=PATH; declare -n r; r=w; ls",
    ] {
        is_unknown(script);
    }
}

#[test]
fn programs_that_start_other_programs_hide_no_command() {
    rm_is_never_missed(&scripts(
        "programs_that_start_other_programs_hide_no_command",
    ));
    for harmless in scripts("programs_that_start_other_programs_hide_no_command/2") {
        assert_eq!(bash(harmless).len(), 1, "{harmless}");
    }
}

#[test]
fn a_line_continuation_in_an_operator_or_a_name_hides_no_command() {
    rm_is_never_missed(&scripts(
        "a_line_continuation_in_an_operator_or_a_name_hides_no_command",
    ));
    for sets in [
        "((PA\\\nTH=5))",
        "echo $((PA\\\nTH=5))",
        "for ((PA\\\nTH=5; 0; )); do :; done",
        "PA\\\nTH=5 git",
    ] {
        assert!(
            find_in(Shell::Bash, sets, ReadLimit::Step).is_ok_and(|found| found
                .iter()
                .any(|one| one.what == FoundKind::Setting("PATH".to_owned()))),
            "{sets}: {:?}",
            find_in(Shell::Bash, sets, ReadLimit::Step)
        );
    }
}

#[test]
fn arithmetic_that_bash_may_run_as_commands_is_refused() {
    rm_is_never_missed(&scripts(
        "arithmetic_that_bash_may_run_as_commands_is_refused",
    ));
    for plain in scripts("arithmetic_that_bash_may_run_as_commands_is_refused/2") {
        assert!(bash(plain).iter().all(|one| !one.ends_with('?')), "{plain}");
    }
}

#[test]
fn elements_of_an_array_are_evaluated_at_every_declaration() {
    rm_is_never_missed(&scripts(
        "elements_of_an_array_are_evaluated_at_every_declaration",
    ));
    for plain in scripts("elements_of_an_array_are_evaluated_at_every_declaration/2") {
        assert!(
            bash(plain).iter().all(|one| !one.ends_with('?')),
            "{plain}: {:?}",
            bash(plain)
        );
    }
}

#[test]
fn assignments_that_bash_evaluates_can_run_trap_commands() {
    rm_is_never_missed(&scripts(
        "assignments_that_bash_evaluates_can_run_trap_commands",
    ));
    for sets in scripts("assignments_that_bash_evaluates_can_run_trap_commands/2") {
        assert!(
            bash(sets).iter().any(|one| one.ends_with("PATH=")),
            "{sets}: {:?}",
            bash(sets)
        );
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
        assert!(
            either(script).iter().any(|one| one.ends_with("rm")),
            "{script}: {:?}",
            either(script)
        );
    }
}

#[test]
fn unusual_names_and_operands_do_not_hide_a_command() {
    rm_is_never_missed(&scripts("unusual_names_and_operands_do_not_hide_a_command"));
    finds("trap 999 EXIT", &["trap", "trap>999"]);
    for plain in scripts("unusual_names_and_operands_do_not_hide_a_command/2") {
        assert!(
            bash(plain).iter().all(|one| !one.ends_with('?')),
            "{plain}: {:?}",
            bash(plain)
        );
    }
    assert!(either("mkdir a+=; a+=/x").contains(&"a+=/x".to_owned()));
    assert!(either("a+=$x").iter().any(|one| one == "?"));
}

#[test]
fn variable_settings_in_unusual_forms_are_found() {
    for script in scripts("variable_settings_in_unusual_forms_are_found") {
        let found = bash(script);
        let seen = |one: &String| one.ends_with('=') || one.ends_with('?');
        assert!(found.iter().any(seen), "{script}: {found:?}");
    }
    for plain in [
        "export y=$x",
        "unset -f \"$f\"",
        "printf \"$format\" a b",
        "printf '%s' PATH",
    ] {
        assert!(
            bash(plain).iter().all(|one| !one.ends_with(['?', '='])),
            "{plain}: {:?}",
            bash(plain)
        );
    }
}

#[test]
fn a_pattern_with_much_backtracking_is_matched_quickly() {
    for script in [
        format!("find -{}q*", "[]".repeat(3000)),
        format!("find {}", format!("{}q ", "*".repeat(60)).repeat(1000)),
    ] {
        let begun = Instant::now();
        drop(find_in(Shell::Bash, &script, ReadLimit::Step));
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{} bytes took {:?}",
            script.len(),
            begun.elapsed()
        );
    }
    for hidden in [
        "find . -exe*",
        "find . -[e]xec rm",
        "find . *",
        "find . -?xecdir rm",
        "find . [-]ok* rm",
    ] {
        is_unknown(hidden);
    }
    for plain in [
        "find *.txt -print",
        "find . -name x*",
        "find /etc/[a-z]*",
        "find a?b*",
    ] {
        finds(plain, &["find"]);
    }
}

#[test]
fn code_that_bash_prints_and_parses_again_hides_no_command() {
    rm_is_never_missed(&scripts(
        "code_that_bash_prints_and_parses_again_hides_no_command",
    ));
    finds("x=$(coproc true; wait)", &["COPROC", "true", "wait"]);
    finds("f() { coproc true; wait; }", &["COPROC", "true", "wait"]);
    finds("coproc cat", &["cat"]);
    finds("cat <<-E\n\t$(git log)\n\tx\n\tE", &["cat", "git"]);
    for script in [
        "echo a | xargs -n 10>f rm echo",
        "nice -n 10>f rm ls",
        "env -u 10>f rm ls",
    ] {
        let found = either(script);
        assert!(
            found
                .iter()
                .any(|one| one.ends_with("rm") || one.ends_with('?')),
            "{script}: {found:?}"
        );
    }
    for unknown in scripts("code_that_bash_prints_and_parses_again_hides_no_command/2") {
        is_unknown(unknown);
    }
    for plain in scripts("code_that_bash_prints_and_parses_again_hides_no_command/3") {
        assert!(
            bash(plain).iter().all(|one| !one.ends_with('?')),
            "{plain}: {:?}",
            bash(plain)
        );
    }
}

#[test]
fn a_setting_whose_name_is_composed_of_parts_is_found() {
    for script in scripts("a_setting_whose_name_is_composed_of_parts_is_found") {
        let Ok(found) = find_in(Shell::Bash, script, ReadLimit::Step) else {
            continue;
        };
        let seen = found
            .iter()
            .any(|one| matches!(one.what, FoundKind::Setting(_) | FoundKind::Unknown(_)));
        assert!(seen, "{script}: {found:?}");
    }
    assert!(either("#!/bin/sh\ntrap +1 EXIT").contains(&"trap>+1".to_owned()));
    for plain in scripts("a_setting_whose_name_is_composed_of_parts_is_found/2") {
        assert!(
            bash(plain).iter().all(|one| !one.ends_with(['?', '='])),
            "{plain}: {:?}",
            bash(plain)
        );
    }
}

/// Bash skips the rest of a line after an error in an expansion or an assignment.
#[test]
fn a_function_definition_after_another_command_on_its_line_is_never_certain() {
    for before in
        scripts("a_function_definition_after_another_command_on_its_line_is_never_certain")
    {
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
        assert!(
            bash(script).contains(&"rm".to_owned()),
            "{script}: {:?}",
            bash(script)
        );
    }
    finds(
        "set -e\n\n# what it is for\nf() { :; }\nf",
        &["set", ":", "f()"],
    );
    finds("f() { :; }; g() { :; }; f; g", &[":", ":", "f()", "g()"]);
    finds("cat <<E\nx\nE\nf() { :; }\nf", &["cat", ":", "f()"]);
}

#[test]
fn a_function_with_the_name_of_a_wrapper_hides_no_arguments() {
    finds("env() { :; }\nenv rm x", &[":", "env", "env>rm"]);
    finds(
        "f() { timeout 5 rm; }\ntimeout() { :; }\nf",
        &["timeout", "timeout>rm", ":", "f()"],
    );
}

#[test]
fn parameters_of_a_function_are_read_from_its_calls() {
    finds(
        "retry() { until \"$@\"; do sleep 1; done; }\nretry kubectl get nodes",
        &["sleep", "retry()", "kubectl"],
    );
    finds(
        "retry() {\n  local n=$1\n  shift\n  \"$@\" && return\n}\nretry 5 curl -f x\nretry 3 rm y",
        &[
            "local", "shift", "return", "retry()", "curl", "retry()", "rm",
        ],
    );
    finds(
        "f() { sudo -n -- \"$@\"; }\nf rm x\nf env kill 1",
        &["sudo", "f()", "sudo>rm", "f()", "sudo>env", "sudo>env>kill"],
    );
    finds(
        "run() { echo \"+ $*\"; \"$@\"; }\nwrap() { run \"$@\"; }\nwrap rm x",
        &["echo", "run()", "wrap()", "rm"],
    );
    finds("f() { \"$@\"; }\nf f rm", &["f()", "f()", "rm"]);
    finds(
        "f() { shift || true; \"$@\"; }\nf a rm",
        &["shift", "true", "f()", "rm"],
    );
    for script in scripts("parameters_of_a_function_are_read_from_its_calls") {
        is_unknown(script);
    }
}

#[test]
fn the_variable_ifs_is_reported_as_a_setting_except_before_read() {
    finds(
        "while IFS= read -r line; do git add \"$line\"; done < f",
        &["read", "git"],
    );
    finds("IFS=, read -ra parts <<< \"$x\"", &["read"]);
    for script in [
        "read() { rm; }; IFS=, read x",
        "alias read=rm\nIFS=, read x",
        "PATH=/x read y",
    ] {
        let found = bash(script);
        assert!(
            found.iter().any(|one| one.ends_with('=')),
            "{script}: {found:?}"
        );
    }
}

/// IFS changes the fields of unquoted expansions. Of these, the parser relies only on the fields of numbers.
#[test]
fn a_value_of_path_or_ifs_that_changes_no_command_is_harmless() {
    for script in scripts("a_value_of_path_or_ifs_that_changes_no_command_is_harmless") {
        let found = bash(script);
        assert!(
            found.iter().any(|one| one.ends_with('~')),
            "{script}: {found:?}"
        );
        assert!(
            !found.iter().any(|one| one.ends_with('=')),
            "{script}: {found:?}"
        );
    }
    for script in scripts("a_value_of_path_or_ifs_that_changes_no_command_is_harmless/2") {
        let found = bash(script);
        assert!(
            found.iter().any(|one| one.ends_with('=')),
            "{script}: {found:?}"
        );
    }
}

#[test]
fn a_program_path_below_proc_or_dev_is_reported_as_unknown() {
    for script in scripts("a_program_path_below_proc_or_dev_is_reported_as_unknown") {
        is_unknown(script);
    }
    finds(
        "./dev/setup.sh; /opt/proc/x; ./proc",
        &["./dev/setup.sh", "/opt/proc/x", "./proc"],
    );
}

#[test]
fn texts_that_may_be_joined_and_evaluated_are_reported_as_unknown() {
    for script in scripts("texts_that_may_be_joined_and_evaluated_are_reported_as_unknown") {
        is_unknown(script);
    }
    for plain in scripts("texts_that_may_be_joined_and_evaluated_are_reported_as_unknown/2") {
        assert!(
            bash(plain).iter().all(|one| !one.ends_with('?')),
            "{plain}: {:?}",
            bash(plain)
        );
    }
}

/// Each case has an unknown command, the correction in the message, and the corrected script.
#[test]
fn every_unknown_command_is_reported_with_a_correction() {
    for (script, says, instead) in triples("every_unknown_command_is_reported_with_a_correction") {
        let found = find_in(Shell::Bash, script, ReadLimit::Step).unwrap();
        let said: Vec<&str> = found
            .iter()
            .filter_map(|one| {
                if let FoundKind::Unknown(why) = one.what {
                    Some(why.text)
                } else {
                    None
                }
            })
            .collect();
        assert!(
            said.iter().any(|why| why.contains(says)),
            "{script}: {said:?}"
        );
        assert!(
            bash(instead).iter().all(|one| !one.ends_with('?')),
            "{instead}: {:?}",
            bash(instead)
        );
    }
}

/// Returns the unknown parts of a script.
fn unknown_parts(script: &str) -> Vec<UnknownPart> {
    let found = find_in(Shell::Bash, script, ReadLimit::Step)
        .unwrap_or_else(|why| panic!("{script}: {why}"));
    let part = |one: &ScriptFinding| {
        if let FoundKind::Unknown(why) = one.what {
            Some(why.part)
        } else {
            None
        }
    };
    found.iter().filter_map(part).collect()
}

#[test]
fn an_unknown_command_of_the_run_itself_is_an_unknown_program() {
    for script in scripts("an_unknown_command_of_the_run_itself_is_an_unknown_program") {
        let parts = unknown_parts(script);
        assert!(
            !parts.is_empty() && parts.iter().all(|part| *part == UnknownPart::Programs),
            "{script}: {parts:?}"
        );
    }
}

#[test]
fn unknown_words_and_unknown_commands_outside_the_run_are_no_unknown_programs() {
    for script in
        scripts("unknown_words_and_unknown_commands_outside_the_run_are_no_unknown_programs")
    {
        let parts = unknown_parts(script);
        assert!(
            parts.iter().any(|part| *part != UnknownPart::Programs),
            "{script}: {parts:?}"
        );
    }
}
