//! The permissions that a step needs at a boundary, in the form that approvers sign.
//!
//! The permissions depend only on the sealed policy, the sealed lists and the sealed step definition. So approvers,
//! boundary and auditors derive the same permissions from the same seal.

use crate::{
    AppliedRule, Decided, DecisionPlace, Flags, ListSide, Mode, NotUnderstood, PolicyDecision,
    PolicyVerdict, ProgramNames, ReadLimit, Ruling, Shell, TRUSTED, TextPlace, decide_command,
    decide_script, is_listed, named_in,
    policy::{decide::decide_unknown, lists::AllPermissionLists, program_names::program_of},
    shebang, with_closures, worst,
};
use documents::{
    MAX_PERMISSION_BYTES, MAX_PERMISSIONS, OWN_PROGRAMS, Permission, PermissionKind, Program,
    StepDefinition, canonical, joined,
};

/// Reason why policy denies the step. No signature can change this denial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyDenied {
    /// The kind of the reason.
    pub ground: DenialGround,
    message: String,
}

/// Kind of the reason for a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialGround {
    /// Policy denies commands, paths or variables of the step, or the script is not understood.
    Content,
    /// The mode is `deny` and no list allows a command.
    Mode,
    /// The permissions do not fit into an authorization.
    Size,
}

/// What a step needs: permissions of its approvers, and programs of its host.
#[derive(Clone)]
pub struct StepNeeds {
    /// The permissions that the signatures must grant, or the reason why policy denies the step.
    pub permissions: Result<Vec<Permission>, PolicyDenied>,
    /// The programs that a run may execute, or `None` if a run may execute every program.
    pub programs: Option<ProgramNames>,
}

/// Derives the needs of a step. The script is parsed once.
pub fn needs(ruling: &Ruling, step: &StepDefinition) -> StepNeeds {
    let decision = decide_at_boundary(ruling, step);
    let named = || named_in(ruling, step, &decision);
    let programs = is_listed(ruling, step).then(|| with_closures(ruling, step, &named()));
    let names_programs = is_listed(ruling, step) && !ruling.programs.is_empty();
    StepNeeds {
        permissions: permissions_of(ruling, decision, names_programs),
        programs,
    }
}

/// Returns the permissions that the signatures of an authorization must grant for this step. The permissions are sorted
/// like the arrays in documents, and contain no duplicates.
///
/// A script for bash, sh or dash needs permissions for its commands. A script for another interpreter only needs a
/// permission for the interpreter, because the parser can't read the script. A script for zsh is parsed as an sh
/// script, and needs permissions for both its commands and the interpreter.
///
/// `names_programs` is true if `sandbox.programs` of the policy allows programs.
///
/// # Errors
/// Returns an error if policy denies the step, or if the permissions do not fit into an authorization.
fn permissions_of(
    ruling: &Ruling,
    decision: PolicyDecision,
    names_programs: bool,
) -> Result<Vec<Permission>, PolicyDenied> {
    let denied = |ground, message| Err(PolicyDenied { ground, message });
    let allowed =
        |lists: &AllPermissionLists| !lists.of(PermissionKind::Run).allow.entries().is_empty();
    let is_empty = !names_programs && !allowed(&ruling.written) && !allowed(&ruling.built_in);
    if ruling.mode.value == Mode::Deny && is_empty {
        let message = format!(
            "policy denies every step here, and no signature can allow one: the mode is deny ({}), and no list or grant \
             allows a command; in the policy, allow the commands of the step",
            ruling.mode.origin
        );
        return denied(DenialGround::Mode, message);
    }
    if let Some(NotUnderstood { place, message, .. }) = decision.not_understood {
        let message = format!(
            "policy denies this script, because the program can't parse it, and no signature can allow it: {place}: \
             {message}"
        );
        return denied(DenialGround::Content, message);
    }
    let at =
        |place: Option<TextPlace>| place.map_or_else(String::new, |place| format!(" at {place}"));
    let mut asked: Vec<Permission> = Vec::new();
    let mut things: Vec<(PermissionKind, String, Option<TextPlace>, AppliedRule)> = Vec::new();
    for Decided {
        kind,
        what,
        place,
        verdict,
        rule,
        ..
    } in decision.decided
    {
        match verdict {
            PolicyVerdict::Allow => {}
            PolicyVerdict::Deny => {
                if !things
                    .iter()
                    .any(|(of, thing, ..)| (*of, thing) == (kind, &what))
                {
                    things.push((kind, what, place, rule));
                }
            }
            PolicyVerdict::Ask(_) if what.len() > MAX_PERMISSION_BYTES => {
                let name: String = what.chars().take(64).collect();
                let message = format!(
                    "the name {name:?}...{} is longer than the {MAX_PERMISSION_BYTES} bytes of a permission: use a \
                     shorter path, or allow this name in the policy",
                    at(place)
                );
                return denied(DenialGround::Size, message);
            }
            PolicyVerdict::Ask(why) => asked.push(Permission { kind, what, why }),
        }
    }
    if !things.is_empty() {
        let more = match things.len().saturating_sub(MAX_SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let text = |(kind, what, place, rule): &(PermissionKind, String, _, AppliedRule)| {
            format!("{kind} {what:?}{} ({rule})", at(*place))
        };
        let shown = things.iter().take(MAX_SHOWN).map(text);
        let message = format!(
            "policy denies what this step does, and no signature can allow it: {}{more}; remove this from the step, or \
             change the policy",
            joined(shown, "; ")
        );
        return denied(DenialGround::Content, message);
    }
    // A permission with only text fields always has a canonical form.
    asked.sort_by_cached_key(|one| canonical::canonical_of(one).unwrap_or_default());
    asked.dedup();
    if asked.len() > MAX_PERMISSIONS {
        let message = format!(
            "policy would ask for {} permissions, but at most {MAX_PERMISSIONS} can be signed: allow commands of the \
             step in the policy, or split the step",
            asked.len()
        );
        return denied(DenialGround::Size, message);
    }
    Ok(asked)
}

/// Decides the commands of a step as a boundary does.
pub fn decide_at_boundary(ruling: &Ruling, step: &StepDefinition) -> PolicyDecision {
    decide_step(ruling, step, DecisionPlace::Boundary, &Flags::default())
}

/// Decides the commands of a step as described at [`permissions_of`]. A program that the step declares is decided like
/// a command of the script.
pub fn decide_step(
    ruling: &Ruling,
    step: &StepDefinition,
    at: DecisionPlace,
    flags: &Flags,
) -> PolicyDecision {
    let at = at.with_list(is_listed(ruling, step));
    let mut decision = decide_source(
        ruling,
        &step.interpreter,
        &step.source,
        ReadLimit::Step,
        at,
        flags,
    );
    // A definition that does not come from a runbook may name one interpreter in its field and another in the first
    // line of the script.
    if step.source.starts_with("#!") && plain_interpreter(&step.source) != Some(&step.interpreter) {
        decision.add_first(decide_unknown(ruling, &step.source, SHEBANG, at, flags));
    }
    let declared = step
        .programs
        .iter()
        .flatten()
        .map(Program::as_str)
        .filter(|name| *name != OWN_PROGRAMS);
    if step.programs.is_some() && decision.not_understood.is_none() {
        decision
            .decided
            .extend(declared.map(|name| decide_command(ruling, name, at, flags)));
        decision.verdict = worst(&decision.decided);
    }
    decision
}

/// Returns the interpreter that the first line of a file names, by default bash, and the decision for the file. A
/// shebang that cannot be parsed may run any program, so the decision contains an unknown command.
pub fn decide_file(
    ruling: &Ruling,
    source: &str,
    size: ReadLimit,
    at: DecisionPlace,
    flags: &Flags,
) -> (String, PolicyDecision) {
    let name = if source.starts_with("#!") {
        plain_interpreter(&without_settings(source)).map(str::to_owned)
    } else {
        Some("bash".to_owned())
    };
    let interpreter = name.clone().unwrap_or_else(|| "bash".to_owned());
    let mut decision = decide_source(ruling, &interpreter, source, size, at, flags);
    if name.is_none() {
        decision.add_first(decide_unknown(ruling, source, SHEBANG, at, flags));
    }
    (interpreter, decision)
}

/// Returns the first line of a script without the shell options that do not change its commands, for example `-eu` in
/// `#!/bin/sh -eu`.
fn without_settings(source: &str) -> String {
    let line = source.lines().next().unwrap_or_default();
    let plain = line
        .trim_end()
        .rsplit_once(" -")
        .filter(|(program, letters)| {
            let shell = ["/bash", "/sh", "/dash"]
                .iter()
                .any(|shell| program.trim_end().ends_with(shell));
            shell && !letters.is_empty() && letters.bytes().all(|letter| b"efuvx".contains(&letter))
        });
    plain.map_or(line, |(program, _)| program).to_owned()
}

/// Returns the interpreter in the first line of a script, or `None` if it has options or is outside the program
/// directories of the system.
fn plain_interpreter(source: &str) -> Option<&str> {
    let (directory, name, has_options) = shebang(source)?;
    let plain = TRUSTED.contains(&directory) && !name.contains('/') && !has_options;
    plain.then_some(name)
}

/// Decides the commands of the script `source`, which `interpreter` runs.
pub fn decide_source(
    ruling: &Ruling,
    interpreter: &str,
    source: &str,
    size: ReadLimit,
    at: DecisionPlace,
    flags: &Flags,
) -> PolicyDecision {
    let zsh = (interpreter == "zsh").then_some(Shell::Sh);
    let mut decision = match Shell::of(interpreter).or(zsh) {
        Some(shell) => decide_script(shell, ruling, source, size, at, flags),
        None => PolicyDecision {
            verdict: PolicyVerdict::Allow,
            decided: Vec::new(),
            not_understood: None,
        },
    };
    if !is_read(interpreter) && decision.not_understood.is_none() {
        decision.add_first(decide_interpreter(ruling, interpreter, at, flags));
    }
    decision
}

/// Decides the interpreter of a step by its name. If a list denies the program that the sandbox starts for this name
/// (`python3` for `python`), the interpreter is denied too.
fn decide_interpreter(
    ruling: &Ruling,
    interpreter: &str,
    at: DecisionPlace,
    flags: &Flags,
) -> Decided {
    let named = decide_command(ruling, interpreter, at, flags);
    let Some(program) = program_of(interpreter).filter(|program| program.as_str() != interpreter)
    else {
        return named;
    };
    let started = decide_command(ruling, program.as_str(), at, flags);
    match started.rule {
        AppliedRule::Listed {
            side: ListSide::Deny,
            ..
        } => started,
        _ => named,
    }
}

/// Returns true if the parser can read the commands in a script for this interpreter.
pub fn is_read(interpreter: &str) -> bool {
    Shell::of(interpreter).is_some()
}

const SHEBANG: &str = "the first line of the script (`#!`) names another program than the step's interpreter: name the \
                       interpreter there, or remove the line";
/// Maximum number of denied commands, paths and variables in a message.
pub const MAX_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builtins, Policy, resolve};
    use documents::{Approvals, DeclaredSandbox, Format, SessionUse, Template, check_sorted};

    fn step(interpreter: &str, source: &str) -> StepDefinition {
        StepDefinition {
            reference: "db/drop:x".parse().expect("a ref"),
            title: "t".to_owned(),
            format: Format::Markdown,
            interpreter: interpreter.to_owned(),
            source: source.to_owned(),
            files: Vec::new(),
            params: Default::default(),
            template: Template::None,
            sandbox: DeclaredSandbox::default(),
            approvals: Approvals::unspecified(),
            secrets: Vec::new(),
            outputs: Vec::new(),
            session: SessionUse::None,
            exclusive: None,
            plan: None,
            check: false,
            programs: None,
        }
    }

    fn ruling(policy: &str) -> Ruling {
        let policy = Policy::load(&format!("version: 1\n{policy}")).expect("a policy");
        resolve(
            &policy,
            Builtins::current(),
            &"db/drop:x".parse().expect("a ref"),
        )
    }

    fn asked(policy: &str, interpreter: &str, source: &str) -> Result<Vec<String>, PolicyDenied> {
        let permissions = needs(&ruling(policy), &step(interpreter, source)).permissions?;
        check_sorted("/permissions", &permissions).expect("sorted and unique");
        Ok(permissions
            .iter()
            .map(|one| format!("{} {} {}", one.kind, one.what, one.why))
            .collect())
    }

    #[test]
    fn permissions_are_sorted_and_unique() {
        let script = "zed; systemctl stop x\nrm -rf y; rm z\n$CMD a\ngit status; /opt/tool; systemctl start x\nPATH=/x:$PATH\n";
        let questions = asked("", "bash", script).expect("questions");
        assert_eq!(
            questions,
            [
                "env PATH unknown",
                "run $CMD@3 unknown",
                "run /opt/tool unlisted",
                "run rm built-in-deny",
                "run systemctl unlisted",
                "run zed unlisted",
            ]
        );
        assert_eq!(asked("", "bash", "git status && npm test\n"), Ok(vec![]));
        assert_eq!(
            asked("default: {mode: execute}", "sh", "zed; rm x\n"),
            Ok(vec!["run rm built-in-deny".to_owned()])
        );
    }

    #[test]
    fn a_denial_in_the_policy_file_is_final_and_causes_no_question() {
        for policy in [
            "default: {run: {deny: [rm]}}",
            "default: {mode: execute, run: {deny: [\"r?\"], allow: [rm]}}",
            "overrides: [{runbook: \"db/**\", run: {deny: [rm]}}]",
            "default: {run: {deny: [rm]}}\ngrants: [{type: run, pattern: rm, scope: permanent}]",
            "default: {mode: deny}",
        ] {
            let error = asked(
                policy,
                "bash",
                "git status\nif zed; then env /bin/rm x; fi\n",
            )
            .expect_err(policy);
            assert_eq!(error.ground, DenialGround::Content, "{error}");
            for words in ["no signature can allow", "run \"/bin/rm\" at 2:"] {
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }

    #[test]
    fn a_script_that_is_not_understood_is_denied() {
        for source in [
            "git log 'x\n",
            "if true; then git status\n",
            "# nothing\n",
            "\n",
        ] {
            assert!(
                asked("default: {mode: execute}", "bash", source)
                    .is_err_and(|error| error.to_string().contains("can't parse it")),
                "{source}"
            );
        }
    }

    #[test]
    fn a_step_with_another_interpreter_needs_the_permission_for_the_interpreter_itself() {
        assert_eq!(
            asked("", "python3", "import os; os.system('rm x')\n"),
            Ok(vec![]),
            "the built-in lists allow it"
        );
        assert_eq!(
            asked("", "perl", "unlink 'x'\n"),
            Ok(vec!["run perl unlisted".to_owned()])
        );
        assert!(asked("default: {run: {deny: [\"python*\"]}}", "python3", "1\n").is_err());
        assert!(
            asked("default: {run: {deny: [python3]}}", "python", "1\n").is_err(),
            "the sandbox starts python3"
        );
        assert_eq!(
            asked(
                "default: {mode: deny, run: {allow: [python]}}",
                "python",
                "1\n"
            ),
            Ok(vec![])
        );
        assert_eq!(
            asked("", "zsh", "git status; jq .\n"),
            Ok(vec![
                "run jq unlisted".to_owned(),
                "run zsh unlisted".to_owned()
            ]),
            "what reads as sh may be something else in zsh"
        );
        assert_eq!(
            asked("", "bash", "#!/usr/bin/env bash\ngit status\n"),
            Ok(vec![])
        );
        assert_eq!(
            asked("", "bash", "#!/usr/bin/python3\ngit status\n"),
            Ok(vec!["run #!/usr/bin/python3@1 unknown".to_owned()])
        );
    }

    /// Returns the needs of a bash step under a policy.
    fn needs_of(policy: &str, source: &str, programs: Option<&[&str]>) -> StepNeeds {
        let policy = Policy::load(&format!("version: 1\n{policy}")).expect("a policy");
        let mut step = step("bash", source);
        step.programs = programs.map(|names| {
            names
                .iter()
                .map(|name| name.parse().expect("a program"))
                .collect()
        });
        needs(
            &resolve(&policy, Builtins::current(), &step.reference),
            &step,
        )
    }

    #[test]
    fn an_unknown_command_is_asked_about_only_if_every_program_can_start() {
        let what = |needs: &StepNeeds| -> Vec<String> {
            needs
                .permissions
                .as_ref()
                .expect("allowed")
                .iter()
                .map(|one| one.what.clone())
                .collect()
        };
        let script = "\"$CMD\" x\nssh \"$HOST\" git\n";
        let unknown = ["\"$CMD\"@1", "\"$HOST\"@2"];
        for (policy, programs, expected) in [
            ("default: {}", None, [&unknown[..], &["ssh"]].concat()),
            (
                "default: {sandbox: {programs: {mode: any}}}",
                None,
                [&unknown[..], &["ssh"]].concat(),
            ),
            (
                "default: {sandbox: {programs: {mode: listed}}}",
                None,
                [&unknown[1..], &["ssh"]].concat(),
            ),
            (
                "default: {}",
                Some(&["ssh"][..]),
                [&unknown[1..], &["ssh"]].concat(),
            ),
            (
                "default: {sandbox: {programs: {mode: listed, allow: [ssh]}}}",
                None,
                unknown[1..].to_vec(),
            ),
        ] {
            let mut found = what(&needs_of(policy, script, programs));
            found.sort();
            assert_eq!(found, expected, "{policy} {programs:?}");
        }
        let mut off = step("bash", script);
        off.sandbox.off_reason = Some("x".to_owned());
        let policy = Policy::load("version: 1\ndefault: {sandbox: {programs: {mode: listed}}}")
            .expect("a policy");
        let needs = needs(&resolve(&policy, Builtins::current(), &off.reference), &off);
        assert!(
            needs.programs.is_none() && what(&needs).contains(&unknown[0].to_owned()),
            "without a sandbox"
        );
    }

    #[test]
    fn a_program_that_the_policy_file_denies_is_never_in_the_list() {
        let listed = |deny: &str, source: &str, programs: Option<&[&str]>| {
            let policy = format!(
                "default: {{run: {{deny: [{deny}]}}, sandbox: {{programs: {{mode: listed, allow: [awk, rm, /usr/bin/ssh]}}}}}}"
            );
            needs_of(&policy, source, programs)
        };
        let names = |needs: &StepNeeds| -> Vec<String> {
            let names = needs.programs.as_ref().expect("a list");
            names
                .required
                .iter()
                .chain(&names.optional)
                .map(ToString::to_string)
                .collect()
        };
        let plain = names(&listed("nothing", "git fetch; \"$CMD\"\n", None));
        for name in [
            "git",
            "awk",
            "rm",
            "ssh",
            "/usr/bin/ssh",
            "gpg",
            "sh",
            "/usr/lib/git-core/git",
        ] {
            assert!(plain.contains(&name.to_owned()), "{name}: {plain:?}");
        }
        // The programs come from policy and from the closure of git.
        for deny in [
            "rm, ssh, gpg",
            "\"RM\", \"s[s]h\", \"g?g\"",
            "/usr/bin/rm, /usr/bin/ssh, /bin/gpg",
        ] {
            let found = names(&listed(deny, "git fetch; \"$CMD\"\n", None));
            for name in ["rm", "ssh", "/usr/bin/ssh", "gpg"] {
                assert!(!found.contains(&name.to_owned()), "{deny}: {found:?}");
            }
            assert!(
                found.contains(&"awk".to_owned()) && !found.iter().any(|name| name.contains('$')),
                "{found:?}"
            );
        }
        // A script or a declaration with a denied program is refused.
        assert!(listed("rm", "rm x\n", None).permissions.is_err());
        assert!(
            listed("rm", "git fetch\n", Some(&["rm"]))
                .permissions
                .is_err()
        );
        // The interpreter of the step stays in the list.
        assert!(names(&listed("bash", "git fetch\n", None)).contains(&"bash".to_owned()));
    }

    #[test]
    fn a_closed_policy_may_allow_programs_only_by_its_list() {
        let needs = |allow: &str| {
            let policy = format!(
                "extends: none\ndefault: {{mode: deny, sandbox: {{programs: {{mode: listed{allow}}}}}}}"
            );
            needs_of(&policy, "git fetch\n", None).permissions
        };
        assert_eq!(needs(", allow: [git]"), Ok(vec![]));
        assert_eq!(
            needs("").map_err(|denied| denied.ground),
            Err(DenialGround::Mode)
        );
    }

    #[test]
    fn too_many_permissions_for_an_authorization_are_an_error_with_a_correction() {
        let many = |count: usize| (0..count).map(|n| format!("tool{n}\n")).collect::<String>();
        assert_eq!(
            asked("", "bash", &many(64)).map(|asked| asked.len()),
            Ok(64)
        );
        let error = asked("", "bash", &many(65)).expect_err("too many");
        assert_eq!(error.ground, DenialGround::Size);
        for words in ["65 permissions", "split the step"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(
            asked("", "bash", &"a".repeat(128)).map(|asked| asked.len()),
            Ok(1)
        );
        let error = asked("", "bash", &"a".repeat(129)).expect_err("too long");
        assert!(error.to_string().contains("128 bytes"), "{error}");
        let unknown = asked("", "bash", &format!("\"$X{}\"\n", "é".repeat(90))).expect("cut");
        assert!(
            unknown[0].ends_with("@1:1 unknown") && unknown[0].len() <= 128 + "run  unknown".len(),
            "{unknown:?}"
        );
    }
}
