//! Patterns of a policy file that can match nothing.
//!
//! Policy compares a pattern with the name or path of a program, the name of a variable, a path of the host, or the
//! path of a runbook. If no such name matches an alternative of a pattern, the rule has no effect, so the pattern is an
//! error. If these checks refuse a character, the author can write `?` instead, because a wildcard matches every
//! character.

use crate::{
    ListSide, PatternError,
    policy::{
        host_access,
        lists::VARIABLE,
        patterns::{PatternPart, alternatives},
    },
};
use documents::{OWN_PROGRAMS, PermissionKind, StepRef};

/// Names that policy can compare with a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// Names of programs, without a directory.
    Programs,
    /// Paths of programs.
    ProgramPaths,
    Variables,
    /// Paths of the host.
    Paths,
    /// Paths of runbooks below their directory.
    Runbooks,
}

/// Checks that a pattern of a list or of a grant can match a name.
///
/// # Errors
/// Returns an error with what to write instead.
pub fn check_listed(kind: PermissionKind, side: ListSide, text: &str) -> Result<(), PatternError> {
    let names = match kind {
        PermissionKind::Run if text.contains('/') => Names::ProgramPaths,
        PermissionKind::Run => Names::Programs,
        PermissionKind::Read | PermissionKind::Write => Names::Paths,
        PermissionKind::Env => Names::Variables,
    };
    check(names, text).map_err(|part| PatternError::new(text, advice(names, side, text, part)))
}

/// Checks that a pattern of `runbook` can match the path of a runbook.
///
/// # Errors
/// Returns an error with what to write instead.
pub fn check_runbook(text: &str) -> Result<(), PatternError> {
    let names = Names::Runbooks;
    check(names, text)
        .map_err(|part| PatternError::new(text, advice(names, ListSide::Allow, text, part)))
}

/// Checks that a program of `sandbox.programs` can exist.
///
/// # Errors
/// Returns an error with what to write instead.
pub fn check_program(text: &str) -> Result<(), String> {
    crate::check_written_program(text)?;
    if text == OWN_PROGRAMS {
        return Ok(());
    }
    let names = if text.starts_with('/') {
        Names::ProgramPaths
    } else {
        Names::Programs
    };
    let tokens: Vec<PatternPart> = text.trim_start_matches('/').chars().map(literal).collect();
    let part = match example(names, &tokens) {
        Ok(name) if is_possible(names, &name) => return Ok(()),
        Ok(_) => None,
        Err(part) => Some(part),
    };
    Err(format!(
        "{text:?}: {}",
        advice(names, ListSide::Allow, text, part)
    ))
}

/// Checks a pattern of `sandbox.deny`.
///
/// # Errors
/// Returns an error with what to write instead.
pub fn check_deny(text: &str) -> Result<(), String> {
    host_access::check_deny(text)?;
    check_listed(PermissionKind::Read, ListSide::Deny, text).map_err(|error| error.to_string())
}

/// Checks that each alternative of a pattern matches a name. The error is the first part of the pattern that no name
/// contains, or `None` if no whole name is possible.
fn check(names: Names, text: &str) -> Result<(), Option<String>> {
    if names == Names::Paths && ["/", "{repo}", "{tmp}"].contains(&text) {
        return Ok(());
    }
    // `[` and `.` alone are names of commands, and not syntax of patterns.
    let alternatives = match text {
        "[" | "." => vec![text.chars().map(literal).collect()],
        _ => {
            let rest = below_base(text);
            alternatives(rest.strip_prefix("./").unwrap_or(rest)).map_err(|_| None)?
        }
    };
    for tokens in &alternatives {
        let name = example(names, tokens).map_err(Some)?;
        if !is_possible(names, &name) {
            return Err(None);
        }
    }
    Ok(())
}

fn literal(c: char) -> PatternPart {
    if c == '/' {
        PatternPart::Slash
    } else {
        PatternPart::Literal(c)
    }
}

/// Returns the pattern without `/`, `./`, `{repo}/` or `{tmp}/` at its beginning.
fn below_base(text: &str) -> &str {
    ["{repo}", "{tmp}", ".", ""]
        .iter()
        .find_map(|base| text.strip_prefix(base)?.strip_prefix('/'))
        .unwrap_or(text)
}

/// Returns a name that the alternative matches. The error is the first part of the alternative that no name contains.
fn example(names: Names, tokens: &[PatternPart]) -> Result<String, String> {
    let mut name = String::new();
    for (at, token) in tokens.iter().enumerate() {
        // A segment of dots alone is no name.
        let is_dots = name
            .rsplit('/')
            .next()
            .is_none_or(|segment| segment.chars().all(|c| c == '.'));
        let may = |c: char| may_have(names, c, at == 0);
        match token {
            PatternPart::Slash => name.push('/'),
            // The shell expands a variable before policy sees a path.
            PatternPart::Literal('$')
                if names == Names::Paths
                    && matches!(tokens.get(at + 1), Some(PatternPart::Literal(c)) if c.is_ascii_alphabetic() || *c == '_') =>
            {
                return Err("$".to_owned());
            }
            PatternPart::Literal(c) if may(*c) => name.push(*c),
            PatternPart::Literal(c) => return Err(c.to_string()),
            PatternPart::Star if is_dots => name.push('a'),
            PatternPart::Star => {}
            PatternPart::Any => name.push('a'),
            PatternPart::Class(ranges, negated) => {
                name.push(member(ranges, *negated, may).ok_or("[...]")?)
            }
        }
    }
    Ok(name)
}

/// Returns a character of a class that a name may have, if possible not the dot. A deny list ignores letter case, so
/// neither case of a character may be in a negated class.
fn member(ranges: &[(char, char)], negated: bool, may: impl Fn(char) -> bool) -> Option<char> {
    let has = |c: char| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
    let is_in = |c: char| {
        if negated {
            !has(c.to_ascii_lowercase()) && !has(c.to_ascii_uppercase())
        } else {
            has(c)
        }
    };
    let ends = ranges.iter().flat_map(|(low, high)| [*low, *high]);
    let all = ('a'..='z').chain('!'..='~').chain('à'..='ö').chain(ends);
    let found: Vec<char> = all.filter(|c| *c != '/' && may(*c) && is_in(*c)).collect();
    found.iter().find(|c| **c != '.').or(found.first()).copied()
}

/// Returns true if a name can have this character, which is the first one of the name if `first` is true.
fn may_have(names: Names, c: char, first: bool) -> bool {
    match names {
        Names::Paths => c != '\0',
        Names::Programs => is_of_program(c) && c != '=' && !(first && c == '-'),
        Names::ProgramPaths => is_of_program(c),
        // Bash exports a function in the variable `BASH_FUNC_name%%`, and older versions in `BASH_FUNC_name()`.
        Names::Variables => {
            c.is_ascii_alphabetic()
                || c == '_'
                || !first && (c.is_ascii_digit() || "%()".contains(c))
        }
        Names::Runbooks => c.is_ascii_alphanumeric() || "._-".contains(c),
    }
}

/// Returns true for a character of a program's name. A blank ends the name, and the other refused characters are
/// special in a shell.
fn is_of_program(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || "$`'\"\\;&|<>()".contains(c))
}

fn is_possible(names: Names, name: &str) -> bool {
    match names {
        Names::Programs => !["", ".."].contains(&name),
        Names::ProgramPaths => name
            .split('/')
            .all(|segment| !["", ".", ".."].contains(&segment)),
        Names::Variables => true,
        Names::Paths => name
            .split('/')
            .all(|segment| ![".", ".."].contains(&segment)),
        Names::Runbooks => format!("{name}:a").parse::<StepRef>().is_ok(),
    }
}

/// Returns the message about a pattern with a part that no name has.
fn advice(names: Names, side: ListSide, text: &str, part: Option<String>) -> String {
    let part = part.unwrap_or_default();
    let first = text.split_whitespace().next().unwrap_or_default();
    let has_blank = !part.is_empty() && part.trim().is_empty();
    match names {
        Names::Programs | Names::ProgramPaths if has_blank && check(names, first).is_ok() && first != text => {
            let instead = match side {
                ListSide::Allow => format!("to allow every call of the program, write {first}"),
                ListSide::Deny => {
                    format!(
                        "to deny every call of the program, write {first}; to deny one use of it, give the step no network or no files"
                    )
                }
            };
            format!(
                "a pattern names a program, not its arguments, so this one matches no program: {instead}; for a blank in a path, write ?"
            )
        }
        Names::Programs | Names::ProgramPaths if part == "-" => {
            "a pattern names a program, not an option, so this one matches no program: write the name of the program"
                .to_owned()
        }
        Names::Programs | Names::ProgramPaths if part.is_empty() => {
            "a pattern that matches only a directory matches no program: write the name of the program".to_owned()
        }
        Names::Programs | Names::ProgramPaths => format!(
            "no name of a program has {}, so the pattern matches no program: write only the name of the program, or ? in \
             place of this character",
            shown(&part)
        ),
        Names::Variables => format!(
            "the name of a variable has letters, digits and _, and begins with no digit, so the pattern matches no \
             variable: remove {}, or write ? in its place",
            shown(&part)
        ),
        Names::Runbooks if part == ":" => {
            let path = text.split(':').next().unwrap_or_default();
            format!("a pattern of `runbook` names a runbook, not a step: write {path}")
        }
        Names::Runbooks if part.is_empty() => {
            "no runbook has this path: a path has at most 253 bytes, and no segment `.` or `..`".to_owned()
        }
        Names::Runbooks => format!(
            "the path of a runbook has letters, digits and . _ -, so the pattern matches no runbook: remove {}, or write \
             ? in its place",
            shown(&part)
        ),
        Names::Paths if part == "$" => VARIABLE.to_owned(),
        Names::Paths => "no path has this name: write a name with other characters than dots".to_owned(),
    }
}

fn shown(part: &str) -> String {
    match part {
        "[...]" => "this class".to_owned(),
        blank if blank.trim().is_empty() => "the blank".to_owned(),
        other if other.chars().any(char::is_control) => format!("`{}`", other.escape_debug()),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Builtins, CaseSensitivity, LeadingDots, ListedPattern, PathVariables, Pattern, PatternList,
        RuleOrigin,
    };

    #[test]
    fn a_pattern_that_can_match_no_name_is_refused_with_what_to_write() {
        let (run, read, write, env) = (
            PermissionKind::Run,
            PermissionKind::Read,
            PermissionKind::Write,
            PermissionKind::Env,
        );
        let (allow, deny) = (ListSide::Allow, ListSide::Deny);
        for (kind, side, text, words) in [
            (run, deny, "git push", "write git;"),
            (run, deny, "git push --force*", "write git;"),
            (run, allow, "git\tpush", "write git;"),
            (
                run,
                allow,
                "git push",
                "to allow every call of the program, write git;",
            ),
            (run, deny, "/usr/bin/git push", "write /usr/bin/git;"),
            (run, deny, "rm -rf /tmp/*", "write rm;"),
            (run, deny, "git push origin/main", "write git;"),
            (run, allow, "{repo}/tool --force", "write {repo}/tool;"),
            (run, deny, "{git push,rm}", "the blank"),
            (run, deny, "git\\ push", "the blank"),
            (run, deny, "git[ ]push", "this class"),
            (run, deny, " ", "the blank"),
            (run, deny, "DEBUG=1", "`=`"),
            (run, deny, "DEBUG=1 git", "`=`"),
            (run, deny, "$CMD", "`$`"),
            (run, deny, "$HOME/bin/*", "`$`"),
            (run, deny, "'rm'", "`'`"),
            (run, deny, "rm;", "`;`"),
            (run, deny, "`rm`", "``"),
            (run, deny, "--force", "not an option"),
            (run, deny, "-rf", "not an option"),
            (run, deny, "/", "directory"),
            (run, allow, "/", "directory"),
            (run, deny, "[.][.]", "directory"),
            (run, deny, "/opt/[.]/x", "directory"),
            (env, deny, "A B", "the blank"),
            (env, deny, "$TOKEN", "`$`"),
            (env, deny, "TOKEN=x", "`=`"),
            (env, deny, "AWS-*", "`-`"),
            (env, allow, "1A", "`1`"),
            (env, allow, ".", "`.`"),
            (env, deny, "[0-9]*", "this class"),
            (env, deny, "{PATH,A-B}", "`-`"),
            (env, deny, "[^a-z_]*", "this class"),
            (read, deny, "/home/$USER/.ssh/**", "not expanded"),
            (write, allow, "{tmp}/$NAME", "not expanded"),
            (read, deny, "/a\0", "dots"),
            (read, deny, "/a/[.]/b", "dots"),
        ] {
            let error = check_listed(kind, side, text).expect_err(text);
            assert!(error.message.contains(words), "{text}: {error}");
        }
        for (text, words) in [
            ("deploy/web:restart", "not a step: write deploy/web"),
            ("**/web:*", "write **/web"),
            ("deploy web/**", "the blank"),
            ("deploy/wéb", "`é`"),
            ("deploy/[.]", "no segment"),
            ("deploy/[ :]", "this class"),
            (&"a".repeat(300), "253 bytes"),
        ] {
            let error = check_runbook(text).expect_err(text);
            assert!(error.message.contains(words), "{text}: {error}");
        }
        for text in [
            "git push",
            "-x",
            "A=1",
            "$X",
            "a;b",
            "a|b",
            "/usr/bin/",
            "/usr//bin/x",
            "/a/../b",
            "/",
            "..",
            ".",
        ] {
            assert!(check_program(text).is_err(), "{text}");
        }
        for text in [
            "jq",
            "g++",
            "/usr/bin/python3.11",
            OWN_PROGRAMS,
            "x]",
            "a,b",
            "a}",
        ] {
            assert_eq!(check_program(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_can_match_a_name_is_accepted() {
        for (kind, texts) in [
            (
                PermissionKind::Run,
                &[
                    "git", "[", ".", "*", "**", "mkfs*", "g++", "a,b", "git?push", "[^a]*",
                    "{rm,dd}",
                ][..],
            ),
            (
                PermissionKind::Run,
                &[
                    "/opt/a=b/x",
                    "**/*",
                    "/opt/My?App/bin/*",
                    "/opt/-x",
                    "/usr/bin/é",
                    "/./x",
                    "a/[$a]",
                ],
            ),
            (
                PermissionKind::Env,
                &[
                    "PATH",
                    "LC_*",
                    "*_TOKEN",
                    "BASH_FUNC_*%%",
                    "?X",
                    "_",
                    "[0-9A]*",
                    "*",
                    "?1",
                ],
            ),
            (
                PermissionKind::Read,
                &[
                    "/",
                    "{repo}",
                    "{repo}/**",
                    "/srv/a b/c",
                    "/x/Foo$*",
                    "/x/[$]HOME",
                    "**/.env",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(check_listed(kind, ListSide::Deny, text), Ok(()), "{text}");
            }
        }
        for text in [
            "**",
            "deploy/**",
            "deploy/*.runbook.md",
            "a.b-c_D/{x,y}",
            ".hidden/*",
            "[a:]",
        ] {
            assert_eq!(check_runbook(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn each_pattern_of_the_built_in_lists_can_match_a_name() {
        for kind in PermissionKind::ALL {
            let lists = Builtins::current().lists.of(kind);
            for (side, list) in [
                (ListSide::Allow, &lists.allow),
                (ListSide::Deny, &lists.deny),
            ] {
                for entry in list.entries() {
                    assert_eq!(check_listed(kind, side, entry.listed.text()), Ok(()));
                }
            }
        }
    }

    /// Returns every possible name of at most three characters of a small alphabet.
    fn short_names(names: Names) -> Vec<String> {
        let letters: Vec<char> = "aAb1_-.=%é/$ ".chars().collect();
        let mut all = vec![String::new()];
        for _ in 0..3 {
            let longer = all
                .iter()
                .flat_map(|name| letters.iter().map(move |c| format!("{name}{c}")));
            all.extend(longer.collect::<Vec<_>>());
        }
        all.sort();
        all.dedup();
        let is_name = |name: &String| {
            let has = name
                .chars()
                .enumerate()
                .all(|(at, c)| c == '/' || may_have(names, c, at == 0));
            let is_path = matches!(names, Names::ProgramPaths | Names::Paths | Names::Runbooks);
            has && is_possible(names, name)
                && (is_path || !name.contains('/'))
                && !name.split('/').any(str::is_empty)
        };
        all.retain(is_name);
        all
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
        /// An accepted pattern has an example that the lists find. No alternative of a refused pattern, except the
        /// possible ones, matches a short name; the patterns are so short that a longer name can't be the only one.
        #[test]
        fn exactly_the_patterns_that_match_no_name_are_refused(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "a", "A", "1", "_", "-", ".", "=", "$", " ", "*", "?", "[a1]", "[^a]", "[ =]", "[.]", "[^A-Za-z_]", "/",
            ]), 1..4),
            at in 0_usize..5,
            denies in proptest::bool::ANY,
        ) {
            let pattern = parts.concat();
            let (names, kind) = [
                (Names::Programs, PermissionKind::Run),
                (Names::ProgramPaths, PermissionKind::Run),
                (Names::Variables, PermissionKind::Env),
                (Names::Paths, PermissionKind::Read),
                (Names::Runbooks, PermissionKind::Run),
            ][at];
            let side = if denies { ListSide::Deny } else { ListSide::Allow };
            let is_path = matches!(names, Names::ProgramPaths | Names::Paths);
            let pattern = if is_path { format!("/{pattern}") } else { pattern };
            let place = |name: &str| if is_path { format!("/{name}") } else { name.to_owned() };
            let finds: Box<dyn Fn(&str) -> bool> = if names == Names::Runbooks {
                let Ok(glob) = Pattern::parse_with(&pattern, LeadingDots::Any, CaseSensitivity::Counts) else { return Ok(()) };
                Box::new(move |name| glob.matches(name))
            } else {
                if names == Names::Programs && pattern.contains('/') {
                    return Ok(());
                }
                let Ok(listed) = ListedPattern::parse(kind, side, &pattern) else { return Ok(()) };
                let mut list = PatternList::new(side);
                list.add(listed, RuleOrigin::Default);
                let places = PathVariables::new("/repo", "/tmp");
                Box::new(move |name| match (names, side) {
                    (Names::Programs | Names::ProgramPaths, ListSide::Deny) => list.find_denied(name, places.as_ref()).is_some(),
                    (Names::ProgramPaths | Names::Paths, _) => list.find_path(name, places.as_ref()).is_some(),
                    _ => list.find_name(name).is_some(),
                })
            };
            let checked = if names == Names::Runbooks { check_runbook(&pattern) } else { check_listed(kind, side, &pattern) };
            match checked {
                Ok(()) => {
                    let tokens = if pattern == "." {
                        vec![literal('.')]
                    } else {
                        let rest = below_base(&pattern);
                        alternatives(rest.strip_prefix("./").unwrap_or(rest)).expect("read").remove(0)
                    };
                    let name = place(&example(names, &tokens).expect("an example"));
                    proptest::prop_assert!(finds(&name), "{} {}", pattern, name);
                }
                Err(error) => {
                    let found = short_names(names).into_iter().find(|name| finds(&place(name)));
                    // A `$` before a letter begins a variable, which no pattern can name.
                    let is_variable = names == Names::Paths && error.message == VARIABLE;
                    proptest::prop_assert!(found.is_none() || is_variable, "{} {:?} {}", pattern, found, error);
                }
            }
        }
    }
}
