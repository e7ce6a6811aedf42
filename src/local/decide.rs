//! What policy says of a step, before anybody is asked.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use crate::crypto::digest::PolicyDigest;
use crate::local::grant_options::{GrantArgs, literal};
use crate::local::project::Project;
use crate::local::prompt::{Occurrence, Question};
use crate::local::runbook::{ChosenStep, Runbook, at};
use crate::policy::builtins::Builtins;
use crate::policy::decide::{Decided, DecisionPlace, Flags, PolicyVerdict, decide_env, decide_path};
use crate::policy::file::Policy;
use crate::policy::paths::RunbookPath;
use crate::policy::permissions::{MAX_SHOWN, decide_step};
use crate::policy::ruling::{Ruling, resolve_path};
use crate::policy::session::DefaultAnswers;
use crate::record::authorization::{MAX_PERMISSIONS, Permission, PermissionKind};
use crate::record::local_receipt::QuestionAnswer;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::screen::PrintableText;
use crate::terminal::streams::Terminal;

/// What is allowed and denied beforehand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Policy")]
pub struct RuleArgs {
    /// The policy file; else the nearest one upward (.rundownrc, .json, .yaml, .yml, package.json), else the built-in lists
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    grants: GrantArgs,
    /// Deny whatever would be asked; also where there is no terminal
    #[arg(long)]
    non_interactive: bool,
}

impl RuleArgs {
    /// Whether everything is allowed, without policy.
    #[must_use]
    pub const fn allows_all(&self) -> bool {
        self.grants.allows_all()
    }
}

/// Policy, and the person's flags.
#[derive(Debug)]
pub struct LocalRules {
    args: RuleArgs,
    policy: Policy,
    /// Where the policy is from, in words.
    from: String,
    /// What is found upward, before anything runs.
    found: Option<PolicyDigest>,
    /// Paths of the command line outside of the current directory, links resolved.
    elsewhere: [Vec<PathBuf>; 2],
    flags: Flags,
    runbook: RunbookPath,
}

impl LocalRules {
    /// The policy that is meant and the flags. A file that is wrong is never passed over for another one.
    ///
    /// # Errors
    /// Everything wrong with the file, or a flag that is no pattern.
    pub fn find(args: &RuleArgs, project: &Project, runbook: &Runbook) -> Result<Self, CommandFailure> {
        let (policy, from) = if args.grants.allows_all() {
            // Nothing that lies around is read for a decision that is not made.
            (Policy::untouched(), "no policy (--allow-all)".to_owned())
        } else {
            let found = project.policy(args.policy.as_deref())?;
            let from = found.file.map_or("the built-in policy".to_owned(), |file| format!("policy {}", file.display()));
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
            runbook: RunbookPath::of_file(&runbook.name),
        })
    }

    /// What policy says of the runbook.
    pub fn ruling(&self) -> Ruling {
        resolve_path(&self.policy, Builtins::current(), &self.runbook)
    }

    /// Decides everything in a step; what is left is asked, in the order of the script.
    ///
    /// # Errors
    /// When anything is denied: with its place and the rule that says so.
    pub fn decide(&self, ruling: &Ruling, chosen: &ChosenStep, shown: &str) -> Result<Vec<Question>, CommandFailure> {
        let definition = &chosen.step.definition;
        let decision = decide_step(ruling, definition, DecisionPlace::Terminal, &self.flags);
        let refused = |why: String| {
            CommandFailure::new(Exit::Refused, format!("nothing of {} was run: {why}", definition.reference))
        };
        let place = |one: &Decided| {
            one.place.map_or_else(
                || format!("{shown}:{}", chosen.fence_line),
                |place| at(shown, chosen.fence_line, place.line, place.column),
            )
        };
        if decision.verdict == PolicyVerdict::Deny {
            if let Some(not) = &decision.not_understood {
                let place = at(shown, chosen.fence_line, not.place.line, not.place.column);
                return Err(refused(format!(
                    "{}: policy denies a script that it does not understand: {}",
                    PrintableText::text(&place).as_str(),
                    PrintableText::text(&not.message).as_str()
                )));
            }
            let denied: Vec<String> = decision
                .decided
                .iter()
                .filter(|one| one.verdict == PolicyVerdict::Deny)
                .map(|one| {
                    let noun = if one.kind == PermissionKind::Env { "variable" } else { "command" };
                    let via =
                        if one.via.is_empty() { String::new() } else { format!(", run by {}", one.via.join(", ")) };
                    format!("{}: {noun} \"{}\"{via} is denied ({})", place(one), one.what, one.rule)
                })
                .collect();
            let more = denied.len().saturating_sub(MAX_SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let shown: Vec<String> = denied.into_iter().take(MAX_SHOWN).collect();
            return Err(refused(format!("{}{more}", PrintableText::text(&shown.join("; ")).as_str())));
        }
        let mut questions: Vec<Question> = Vec::new();
        for one in &decision.decided {
            let PolicyVerdict::Ask(why) = one.verdict else { continue };
            let occurrence = Occurrence { at: place(one), via: one.via.clone() };
            let asked = Permission { kind: one.kind, what: one.what.clone(), why };
            match questions.iter_mut().find(|question| question.asked == asked) {
                Some(question) => question.places.push(occurrence),
                None => questions.push(Question { asked, places: vec![occurrence] }),
            }
            if questions.len() > MAX_PERMISSIONS {
                return Err(refused(format!(
                    "policy would ask more than {MAX_PERMISSIONS} questions: allow what it runs in the policy, or split it"
                )));
            }
        }
        Ok(questions)
    }

    /// Whether a step inherits this variable.
    pub fn allows_variable(&self, ruling: &Ruling, name: &str) -> bool {
        decide_env(ruling, name, DecisionPlace::Terminal, &self.flags).verdict == PolicyVerdict::Allow
    }

    /// Whether a step may have this path of the host.
    pub fn allows_path(&self, ruling: &Ruling, kind: PermissionKind, real: &str) -> bool {
        decide_path(ruling, kind, real, DecisionPlace::Terminal, &self.flags).verdict == PolicyVerdict::Allow
    }

    /// What no step may read or write, as patterns over whole paths. A mask knows no difference between the two.
    pub fn denied_paths(&self, ruling: &Ruling) -> Vec<String> {
        if self.args.grants.allows_all() {
            return Vec::new();
        }
        let lists = [&ruling.written, &ruling.built_in];
        let kinds = [PermissionKind::Read, PermissionKind::Write];
        let denied = lists.into_iter().flat_map(|lists| kinds.map(|kind| &lists.of(kind).deny));
        let mut patterns: Vec<String> =
            denied.flat_map(|list| list.entries()).filter_map(|entry| self.whole(entry.listed.text())).collect();
        patterns.sort();
        patterns.dedup();
        patterns
    }

    /// A pattern with its place written out, taken literally.
    fn whole(&self, pattern: &str) -> Option<String> {
        let places = self.flags.places.as_ref();
        match (pattern.strip_prefix("{repo}"), pattern.strip_prefix("{tmp}")) {
            (Some(rest), _) => places.map(|places| format!("{}{rest}", literal(places.repo()))),
            (_, Some(rest)) => places.map(|places| format!("{}{rest}", literal(places.tmp()))),
            _ => Some(pattern.to_owned()),
        }
    }

    /// Paths outside of the current directory that the command line gives to a step: to read, and to write.
    pub fn elsewhere(&self) -> (&[PathBuf], &[PathBuf]) {
        (&self.elsewhere[0], &self.elsewhere[1])
    }

    /// Whether the policy of runs to come is another than before: only a person writes policy.
    pub fn was_changed(&self, project: &Project) -> bool {
        upward(project) != self.found
    }

    /// Who answers what is asked.
    pub fn answers(&self) -> DefaultAnswers {
        let nobody = if self.args.non_interactive {
            Some("--non-interactive denies whatever would be asked")
        } else if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            None
        } else {
            Some("there is no terminal to ask at")
        };
        DefaultAnswers { yes: self.args.grants.yes, nobody }
    }

    /// What the command line answered beforehand, as a receipt has it.
    pub fn given_beforehand(&self) -> Vec<QuestionAnswer> {
        let mut given = Vec::new();
        if self.args.grants.allows_all() {
            given.push(QuestionAnswer { question: "policy".to_owned(), answer: "none (--allow-all)".to_owned() });
        }
        for (_, flag, patterns) in self.args.grants.grants() {
            if !patterns.is_empty() {
                given.push(QuestionAnswer { question: flag.to_owned(), answer: patterns.join(",") });
            }
        }
        if self.args.grants.deny_all {
            given.push(QuestionAnswer {
                question: "--deny-all".to_owned(),
                answer: "deny what is not allowed".to_owned(),
            });
        }
        given
    }

    /// Says loudly what is not in force.
    pub fn say_what_is_off(&self, terminal: &Terminal) {
        if self.args.grants.allows_all() {
            terminal.say("WARNING: --allow-all: NO POLICY. Nothing is asked, nothing is denied");
        }
    }

    /// Names the policy.
    pub const fn digest(&self) -> PolicyDigest {
        self.policy.digest()
    }

    /// Where the policy is from, in words.
    pub fn from(&self) -> &str {
        &self.from
    }
}

/// The policy that a run without `--policy` would have, if it can be read.
fn upward(project: &Project) -> Option<PolicyDigest> {
    project.policy(None).ok().map(|found| found.policy.digest())
}
