//! Policy decisions about a step, before the program asks the person.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use crate::{
    ChosenStep, Project, Question, Runbook,
    local::{
        grant_options::{GrantArgs, literal},
        prompt::Occurrence,
    },
};
use client::{CommandFailure, CommandResult, PrintableText, Terminal};
use documents::{MAX_PERMISSIONS, Permission, PermissionKind, PermissionReason, PolicyDigest};
use reading::{
    AppliedRule, Builtins, Decided, DecisionPlace, DefaultAnswers, Flags, MAX_SHOWN, Policy,
    PolicyDecision, PolicyVerdict, RuleOrigin, Ruling, RunbookPath, decide_env, decide_path,
    decide_step, resolve_path,
};

/// Options that choose the policy and grant permissions.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Policy")]
pub struct RuleArgs {
    /// Policy file. The default is the nearest file upward: countersign.policy.yaml, .rundownrc, .rundownrc.json,
    /// .rundownrc.yaml, .rundownrc.yml or package.json. Without one, the built-in lists apply
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Directory of the runbooks, as under `runbooks` of a boundary: overrides are compared with the path of a runbook
    /// below this directory. The default is the repository
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(flatten)]
    grants: GrantArgs,
    /// Ask no questions: deny each permission that needs a question
    #[arg(long)]
    non_interactive: bool,
}

impl RuleArgs {
    /// Returns true if the options disable the policy.
    pub const fn allows_all(&self) -> bool {
        self.grants.allows_all()
    }

    /// Returns the directories for the rules of the policy.
    ///
    /// # Errors
    /// Returns an error if a directory cannot be read.
    pub fn project(&self) -> CommandResult<Project> {
        Project::with_root(self.root.as_deref())
    }
}

/// Policy and the person's options for one runbook.
#[derive(Debug)]
pub struct LocalRules {
    args: RuleArgs,
    policy: Policy,
    /// Description of the place of the policy.
    from: String,
    /// Digest of the policy that the search in parent directories found when the command started.
    found: Option<PolicyDigest>,
    /// Paths outside the current directory that the command line permits, without symbolic links.
    elsewhere: [Vec<PathBuf>; 2],
    flags: Flags,
    runbook: RunbookPath,
    /// True if a person answers elsewhere than at this terminal.
    asked_elsewhere: bool,
}

impl LocalRules {
    /// Loads the policy and the options. An invalid policy file is an error, and no other file is used instead.
    ///
    /// # Errors
    /// Returns all errors in the policy file, or an error about an option that is not a valid pattern.
    pub fn find(args: &RuleArgs, project: &Project, runbook: &Runbook) -> CommandResult<Self> {
        Self::of_name(args, project, &runbook.name)
    }

    /// Loads the policy and the options for the runbook with this name, whose file may have errors.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn of_name(args: &RuleArgs, project: &Project, runbook: &str) -> CommandResult<Self> {
        let (policy, from) = if args.grants.allows_all() {
            // With `--allow-all`, no policy file is read.
            (Policy::untouched(), "no policy (--allow-all)".to_owned())
        } else {
            let found = project.policy(args.policy.as_deref())?;
            let from = found.file.map_or("the built-in policy".to_owned(), |file| {
                format!("policy {}", file.display())
            });
            (found.policy, from)
        };
        let (flags, elsewhere) = args.grants.flags(project)?;
        Ok(Self {
            args: args.clone(),
            policy,
            from,
            found: upward(project),
            elsewhere,
            flags,
            runbook: RunbookPath::of_file(runbook),
            asked_elsewhere: false,
        })
    }

    /// Returns the same rules for a person who answers elsewhere than at this terminal.
    pub fn asked_elsewhere(self) -> Self {
        Self {
            asked_elsewhere: true,
            ..self
        }
    }

    /// Returns the policy rules for the runbook.
    pub fn ruling(&self) -> Ruling {
        resolve_path(&self.policy, Builtins::current(), &self.runbook)
    }

    /// Returns the path of the runbook that policy compares with its overrides.
    pub fn compared_path(&self) -> &str {
        self.runbook.shown()
    }

    /// Decides about every command and variable of a step. Returns the decision, and the unanswered questions in the
    /// order of the script.
    ///
    /// # Errors
    /// Returns an error if the policy denies a command or a variable. The error names the place in the script and the
    /// policy rule.
    pub fn decide(
        &self,
        ruling: &Ruling,
        chosen: &ChosenStep,
    ) -> CommandResult<(PolicyDecision, Vec<Question>)> {
        let definition = &chosen.step.definition;
        let decision = decide_step(ruling, definition, DecisionPlace::Terminal, &self.flags);
        let refused = |why: String| {
            CommandFailure::refused(format!(
                "no part of {} was run: {why}",
                definition.reference
            ))
        };
        let place = |one: &Decided| {
            one.place.map_or_else(
                || chosen.place(),
                |place| chosen.place_in_script(place.line, place.column),
            )
        };
        if decision.verdict == PolicyVerdict::Deny {
            if let Some(not) = &decision.not_understood {
                let place = chosen.place_in_script(not.place.line, not.place.column);
                return Err(refused(format!(
                    "{}: policy denies a script that it does not understand: {}",
                    PrintableText::text(&place),
                    PrintableText::text(&not.message)
                )));
            }
            let denied: Vec<String> = decision
                .decided
                .iter()
                .filter(|one| one.verdict == PolicyVerdict::Deny)
                .map(|one| {
                    let noun = if one.kind == PermissionKind::Env {
                        "variable"
                    } else {
                        "command"
                    };
                    let via = if one.via.is_empty() {
                        String::new()
                    } else {
                        format!(", run by {}", one.via.join(", "))
                    };
                    format!(
                        "{}: {noun} \"{}\"{via} is denied ({})",
                        place(one),
                        one.what,
                        one.rule
                    )
                })
                .collect();
            let more = denied.len().saturating_sub(MAX_SHOWN);
            let more = if more > 0 {
                format!("; and {more} more")
            } else {
                String::new()
            };
            let shown: Vec<String> = denied.into_iter().take(MAX_SHOWN).collect();
            let advice = built_in_advice(&decision);
            return Err(refused(format!(
                "{}{more}{advice}",
                PrintableText::text(&shown.join("; "))
            )));
        }
        let mut questions: Vec<Question> = Vec::new();
        for one in &decision.decided {
            let PolicyVerdict::Ask(why) = one.verdict else {
                continue;
            };
            let occurrence = Occurrence {
                at: place(one),
                via: one.via.clone(),
            };
            let asked = Permission {
                kind: one.kind,
                what: one.what.clone(),
                why,
            };
            match questions
                .iter_mut()
                .find(|question| question.asked == asked)
            {
                Some(question) => question.places.push(occurrence),
                None => questions.push(Question {
                    asked,
                    places: vec![occurrence],
                    for_secrets: false,
                }),
            }
            if questions.len() > MAX_PERMISSIONS {
                return Err(refused(format!(
                    "policy would ask more than {MAX_PERMISSIONS} questions: allow the step's commands in the \
                     policy, or split the step"
                )));
            }
        }
        Ok((decision, questions))
    }

    /// Returns true if the options disable the policy.
    pub const fn allows_all(&self) -> bool {
        self.args.grants.allows_all()
    }

    /// Returns true if the options deny everything that no list allows.
    pub const fn denies_all(&self) -> bool {
        self.args.grants.deny_all
    }

    /// Returns the commands that the option `--allow-run` allows.
    pub fn allowed_programs(&self) -> impl Iterator<Item = String> {
        let grants = self.args.grants.grants().into_iter();
        grants
            .filter(|(kind, _, _)| *kind == PermissionKind::Run)
            .flat_map(|(_, _, patterns)| patterns)
    }

    /// Decides whether a step may get the variable.
    pub fn variable(&self, ruling: &Ruling, name: &str) -> Decided {
        decide_env(ruling, name, DecisionPlace::Terminal, &self.flags)
    }

    /// Returns true if a step may access the path of the host.
    pub fn allows_path(&self, ruling: &Ruling, kind: PermissionKind, real: &str) -> bool {
        decide_path(ruling, kind, real, DecisionPlace::Terminal, &self.flags).verdict
            == PolicyVerdict::Allow
    }

    /// Returns the patterns of all paths that no step may read, and of all paths that no step may write. There is one
    /// list, because a mask in the sandbox prevents both reading and writing.
    pub fn denied_paths(&self, ruling: &Ruling) -> Vec<String> {
        if self.args.grants.allows_all() {
            return Vec::new();
        }
        let lists = [&ruling.written, &ruling.built_in];
        let kinds = [PermissionKind::Read, PermissionKind::Write];
        let denied = lists
            .into_iter()
            .flat_map(|lists| kinds.map(|kind| &lists.of(kind).deny));
        let mut patterns: Vec<String> = denied
            .flat_map(|list| list.entries())
            .filter_map(|entry| self.whole(entry.listed.text()))
            .collect();
        patterns.sort();
        patterns.dedup();
        patterns
    }

    /// Replaces `{repo}` or `{tmp}` at the start of a pattern with the escaped path.
    fn whole(&self, pattern: &str) -> Option<String> {
        let places = self.flags.places.as_ref();
        match (
            pattern.strip_prefix("{repo}"),
            pattern.strip_prefix("{tmp}"),
        ) {
            (Some(rest), _) => places.map(|places| format!("{}{rest}", literal(places.repo()))),
            (_, Some(rest)) => places.map(|places| format!("{}{rest}", literal(places.tmp()))),
            _ => Some(pattern.to_owned()),
        }
    }

    /// Returns the paths outside the current directory that the command line permits: first the paths to read, then
    /// the paths to write.
    pub fn elsewhere(&self) -> (&[PathBuf], &[PathBuf]) {
        (&self.elsewhere[0], &self.elsewhere[1])
    }

    /// Returns true if the command line names paths that the step may write.
    pub const fn keeps_writes(&self) -> bool {
        !self.args.grants.allow_write.is_empty()
    }

    /// Returns true if the search in parent directories now finds another policy than when the command started. A step
    /// may have written the new policy.
    pub fn was_changed(&self, project: &Project) -> bool {
        upward(project) != self.found
    }

    /// Returns the default answers to questions, from the options and the kind of terminal.
    pub fn answers(&self) -> DefaultAnswers {
        let nobody = if self.args.non_interactive {
            Some("with --non-interactive, everything that needs a question is denied")
        } else if self.asked_elsewhere
            || (std::io::stdin().is_terminal() && std::io::stderr().is_terminal())
        {
            None
        } else {
            Some("there is no terminal for questions")
        };
        DefaultAnswers {
            yes: self.args.grants.yes,
            nobody,
        }
    }

    /// Prints a warning if `--allow-all` disables the policy.
    pub fn say_what_is_off(&self, terminal: &Terminal) {
        if self.args.grants.allows_all() {
            terminal.say(
                "WARNING: --allow-all: NO POLICY. The program asks nothing and denies nothing",
            );
        }
    }

    /// Returns the digest of the policy.
    pub const fn digest(&self) -> PolicyDigest {
        self.policy.digest()
    }

    /// Returns the description of the policy's source.
    pub fn from(&self) -> &str {
        &self.from
    }
}

/// Returns the options that allow the commands that only a built-in list denies, or no text if another rule denies too.
fn built_in_advice(decision: &PolicyDecision) -> String {
    let mut flags: Vec<String> = Vec::new();
    for one in decision
        .decided
        .iter()
        .filter(|one| one.verdict == PolicyVerdict::Deny)
    {
        let asked = Permission {
            kind: one.kind,
            what: one.what.clone(),
            why: PermissionReason::BuiltInDeny,
        };
        match (
            &one.rule,
            Question {
                asked,
                places: Vec::new(),
                for_secrets: false,
            }
            .flag(),
        ) {
            (
                AppliedRule::Listed {
                    origin: RuleOrigin::BuiltIn,
                    ..
                },
                Some(flag),
            ) if !flags.contains(&flag) => {
                flags.push(flag);
            }
            (
                AppliedRule::Listed {
                    origin: RuleOrigin::BuiltIn,
                    ..
                },
                Some(_),
            ) => {}
            _ => return String::new(),
        }
    }
    format!("; to allow this for one call, add {}", flags.join(" "))
}

/// Returns the digest of the policy that a command without `--policy` would use, or `None` if that policy is
/// unreadable.
fn upward(project: &Project) -> Option<PolicyDigest> {
    project.policy(None).ok().map(|found| found.policy.digest())
}
