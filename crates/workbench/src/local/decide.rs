//! Policy decisions about a step, before the program asks the person.
//!
//! The file also contains the command line options of `run` that allow or deny permissions in advance, the texts of the
//! questions, and the parser of a typed answer.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{ChosenStep, Project, real_program};
use client::{
    AnswerButton, CommandFailure, CommandResult, LineTone, PrintableText, Screen, Terminal,
    fail_usage,
};
use documents::{
    MAX_PERMISSIONS, Permission, PermissionKind, PermissionReason, PolicyDigest, joined,
};
use reading::{
    AnswerChoice, AppliedRule, Builtins, Decided, DecisionPlace, DefaultAnswers, Flags, Granted,
    MAX_SHOWN, Policy, PolicyDecision, PolicyVerdict, RuleOrigin, Ruling, RunbookPath, decide_env,
    decide_path, decide_step, plural, resolve_path, split_patterns,
};

/// Options that choose the policy and grant permissions.
#[derive(Clone, Args)]
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
    /// Commands that may run, regardless of the policy
    #[arg(long, value_name = "COMMANDS")]
    allow_run: Vec<String>,
    /// Paths that may be read, including everything below them
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    allow_read: Vec<String>,
    /// Paths that may be written, including everything below them
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    pub allow_write: Vec<String>,
    /// Variables that a step may inherit, or set before a command
    #[arg(long, value_name = "NAMES")]
    allow_env: Vec<String>,
    /// Use no policy and no sandbox; the program prints a warning
    #[arg(long)]
    allow_all: bool,
    /// Deny everything that is not explicitly allowed; has priority over --allow-all
    #[arg(long)]
    pub deny_all: bool,
    /// Allow everything that is in no list, without a question; denied and unknown items are not allowed
    #[arg(short, long)]
    yes: bool,
    /// Ask no questions: deny each permission that needs a question
    #[arg(long)]
    non_interactive: bool,
}

impl RuleArgs {
    /// Returns true if the options disable the policy.
    pub fn allows_all(&self) -> bool {
        self.allow_all && !self.deny_all
    }

    /// Prints a warning if the options disable the policy.
    pub fn say_what_is_off(&self, terminal: &Terminal) {
        if self.allows_all() {
            terminal.say(
                "WARNING: --allow-all: NO POLICY. The program asks nothing and denies nothing",
            );
        }
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
pub struct LocalRules {
    /// The person's options.
    pub args: RuleArgs,
    /// The policy.
    pub policy: Policy,
    /// Description of the place of the policy.
    pub from: String,
    /// Digest of the policy that the search in parent directories found when the command started.
    found: Option<PolicyDigest>,
    /// Paths outside the current directory that the command line permits, without symbolic links.
    /// First the paths to read, then the paths to write.
    pub elsewhere: [Vec<PathBuf>; 2],
    flags: Flags,
    /// The path of the runbook that policy compares with its overrides.
    pub runbook: RunbookPath,
    /// True if a person answers elsewhere than at this terminal.
    pub asked_elsewhere: bool,
}

impl LocalRules {
    /// Loads the policy and the options for the runbook with this name, whose file may have errors. An invalid policy
    /// file is an error, and no other file is used instead.
    ///
    /// # Errors
    /// Returns all errors in the policy file, or an error about an option that is not a valid pattern.
    pub fn find(args: &RuleArgs, project: &Project, runbook: &str) -> CommandResult<Self> {
        let (policy, from) = if args.allows_all() {
            // With `--allow-all`, no policy file is read.
            (Policy::untouched(), "no policy (--allow-all)".to_owned())
        } else {
            let found = project.policy(args.policy.as_deref())?;
            let from = found.file.map_or("the built-in policy".to_owned(), |file| {
                format!("policy {}", file.display())
            });
            (found.policy, from)
        };
        let (flags, elsewhere) = args.flags(project)?;
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

    /// Returns the policy rules for the runbook.
    pub fn ruling(&self) -> Ruling {
        resolve_path(&self.policy, Builtins::current(), &self.runbook)
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
            one.place
                .map_or_else(|| chosen.place(), |place| chosen.place_in_script(place))
        };
        if decision.verdict == PolicyVerdict::Deny {
            if let Some(not) = &decision.not_understood {
                let place = chosen.place_in_script(not.place);
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
            let more = match denied.len().saturating_sub(MAX_SHOWN) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            let shown = joined(denied.iter().take(MAX_SHOWN), "; ");
            let advice = built_in_advice(&decision);
            return Err(refused(format!(
                "{}{more}{advice}",
                PrintableText::text(&shown)
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

    /// Returns the commands that the option `--allow-run` allows.
    pub fn allowed_programs(&self) -> impl Iterator<Item = String> {
        self.args
            .allow_run
            .iter()
            .flat_map(|list| split_patterns(list))
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
        if self.args.allows_all() {
            return Vec::new();
        }
        let lists = [&ruling.written, &ruling.built_in];
        let kinds = [PermissionKind::Read, PermissionKind::Write];
        let denied = lists
            .into_iter()
            .flat_map(|lists| kinds.map(|kind| &lists.of(kind).deny));
        let mut patterns: Vec<String> = denied
            .flat_map(reading::lists::PatternList::entries)
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
            yes: self.args.yes,
            nobody,
        }
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
        let question = Question {
            asked,
            places: Vec::new(),
            for_secrets: false,
        };
        let (built_in, rule) = (RuleOrigin::BuiltIn, &one.rule);
        let is_built_in = matches!(rule, AppliedRule::Listed { origin, .. } if *origin == built_in);
        match question.flag().filter(|_| is_built_in) {
            Some(flag) if flags.contains(&flag) => {}
            Some(flag) => flags.push(flag),
            None => return String::new(),
        }
    }
    format!("; to allow this for one call, add {}", flags.join(" "))
}

/// Returns the digest of the policy that a command without `--policy` would use, or `None` if that policy is
/// unreadable.
fn upward(project: &Project) -> Option<PolicyDigest> {
    project.policy(None).ok().map(|found| found.policy.digest())
}

impl RuleArgs {
    /// Returns the granted permissions of each kind, with the option for this kind.
    fn grants(&self) -> [(PermissionKind, &'static str, Vec<String>); 4] {
        let patterns =
            |given: &[String]| given.iter().flat_map(|list| split_patterns(list)).collect();
        [
            (
                PermissionKind::Run,
                "--allow-run",
                patterns(&self.allow_run),
            ),
            (
                PermissionKind::Read,
                "--allow-read",
                self.allow_read.clone(),
            ),
            (
                PermissionKind::Write,
                "--allow-write",
                self.allow_write.clone(),
            ),
            (
                PermissionKind::Env,
                "--allow-env",
                patterns(&self.allow_env),
            ),
        ]
    }

    /// Returns the granted permissions as patterns, and the granted paths outside the current directory: first the
    /// paths to read, then the paths to write.
    ///
    /// # Errors
    /// Returns an error if a value is not a valid pattern, or if a path does not exist.
    fn flags(&self, project: &Project) -> CommandResult<(Flags, [Vec<PathBuf>; 2])> {
        let mut granted = Granted::default();
        let mut elsewhere = [Vec::new(), Vec::new()];
        for (kind, flag, patterns) in self.grants() {
            for pattern in &patterns {
                let pattern = match kind {
                    PermissionKind::Read | PermissionKind::Write => {
                        let real = real_path(project, flag, pattern)?;
                        let text = if real == Path::new("/") {
                            String::new()
                        } else {
                            real.to_string_lossy().into_owned()
                        };
                        if !real.starts_with(&project.cwd) && !project.cwd.starts_with(&real) {
                            elsewhere[usize::from(kind == PermissionKind::Write)].push(real);
                        }
                        format!("{}/**", literal(&text))
                    }
                    PermissionKind::Run | PermissionKind::Env => pattern.clone(),
                };
                granted
                    .grant(kind, &pattern)
                    .map_err(|error| CommandFailure::usage(format!("{flag}: {error}")))?;
            }
        }
        let flags = Flags {
            granted,
            allow_all: self.allow_all,
            deny_all: self.deny_all,
            places: project.places(),
            real: Some(real_program),
        };
        Ok((flags, elsewhere))
    }
}

/// Resolves the symbolic links in a path from the command line. The path must exist.
fn real_path(project: &Project, flag: &str, path: &str) -> CommandResult<PathBuf> {
    let shown = PrintableText::text(path);
    if path.contains(['*', '?', '{']) {
        return fail_usage(format!("{flag} {shown}: name whole paths, not patterns"));
    }
    let real = project.cwd.join(path).canonicalize();
    let real = real.map_err(|error| CommandFailure::usage(format!("{flag} {shown}: {error}")))?;
    match real.to_str() {
        Some(_) => Ok(real),
        None => fail_usage(format!("{flag} {shown}: its real path is not UTF-8")),
    }
}

/// Escapes a path, so that the pattern matches only this path.
pub fn literal(path: &str) -> String {
    let special = |c: char| {
        matches!(
            c,
            '*' | '?' | '[' | ']' | '{' | '}' | '(' | ')' | '!' | '+' | '@' | '\\' | ','
        )
    };
    path.chars().fold(String::new(), |mut text, c| {
        if special(c) {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

/// One question of the policy, with all places in the script that need the permission.
pub struct Question {
    /// Permission that the question is about.
    pub asked: Permission,
    /// Places in the script that need the permission.
    pub places: Vec<Occurrence>,
    /// True if `asked` names variables of the environment, separated by commas, that the step gets as secrets.
    pub for_secrets: bool,
}

/// One place in the script that needs a permission.
pub struct Occurrence {
    /// Place in the form `file:line:column`.
    pub at: String,
    /// Wrapper commands that run the command, outermost first.
    pub via: Vec<String>,
}

/// Returns the letter of an answer, its short name and its meaning.
fn choice_words(
    choice: AnswerChoice,
    kind: PermissionKind,
) -> (&'static str, &'static str, String) {
    let kind = plural(kind);
    let (letter, short, words) = match choice {
        AnswerChoice::Once => ("o", "once", "allow once: in this step"),
        AnswerChoice::Session => (
            "s",
            "session",
            "allow in this session: until this command ends",
        ),
        AnswerChoice::AllOfType => (
            "a",
            "all",
            &*format!("allow all {kind} that no list names in this session"),
        ),
        AnswerChoice::Deny => ("d", "deny", "deny"),
        AnswerChoice::DenyAll => (
            "n",
            "deny all",
            &*format!("deny all {kind} that no list allows in this session"),
        ),
    };
    (letter, short, words.to_owned())
}

impl Question {
    /// Returns the question about variables that a sign-in block at this place gets as secrets.
    pub fn of_secrets(asked: Permission, at: String) -> Self {
        Self {
            asked,
            places: vec![Occurrence {
                at,
                via: Vec::new(),
            }],
            for_secrets: true,
        }
    }

    /// Parses the typed answer. Returns `None` if the text is not one of the offered choices.
    pub fn choice(&self, typed: &str) -> Option<AnswerChoice> {
        let typed = typed.trim().to_ascii_lowercase();
        AnswerChoice::offered(self.asked.why)
            .iter()
            .copied()
            .find(|choice| choice_words(*choice, self.asked.kind).0 == typed)
    }

    /// Returns the question in one line.
    pub fn words(&self) -> String {
        let Permission { kind, what, why } = &self.asked;
        let place = self
            .places
            .first()
            .map_or(String::new(), |place| format!(", {}", place.at));
        format!("{kind} {what} ({why}{place})")
    }

    /// Returns the text of the question for the terminal. In text from the runbook, escapes replace the characters
    /// outside printable ASCII.
    pub fn screen(&self, step: &str) -> Screen {
        let mut screen = Screen::default();
        screen.heading("Policy asks");
        screen.field("step", step);
        screen.field(self.noun(), PrintableText::quoted(&self.asked.what));
        for place in self.places.iter().take(SHOWN_PLACES) {
            let via = if place.via.is_empty() {
                String::new()
            } else {
                format!(", run by {}", place.via.join(", which runs "))
            };
            screen.field("at", format!("{}{via}", place.at));
        }
        if self.places.len() > SHOWN_PLACES {
            screen.say(
                LineTone::Plain,
                &format!("and at {} more places", self.places.len() - SHOWN_PLACES),
            );
        }
        screen.field("because", self.because());
        for AnswerButton { letter, words } in self.buttons() {
            screen.push(LineTone::Plain, format!("    {letter}  "), &words);
        }
        screen
    }

    /// Returns the answers that the question offers.
    pub fn buttons(&self) -> Vec<AnswerButton> {
        let offered = AnswerChoice::offered(self.asked.why).iter();
        let button = |choice: &AnswerChoice| {
            let (letter, _, words) = choice_words(*choice, self.asked.kind);
            AnswerButton { letter, words }
        };
        offered.map(button).collect()
    }

    /// Returns the prompt after which the person types the answer.
    pub fn ask(&self) -> String {
        let choices = AnswerChoice::offered(self.asked.why).iter();
        let choices = choices.map(|choice| {
            let (letter, short, _) = choice_words(*choice, self.asked.kind);
            format!("{letter} = {short}")
        });
        format!("allow it? [{}]", joined(choices, ", "))
    }

    fn because(&self) -> &'static str {
        match (self.asked.why, self.asked.kind) {
            _ if self.for_secrets => "the step gets these variables of your environment as secrets",
            (_, PermissionKind::Env) => {
                "the variable can change which programs later commands start and what these \
                 programs do"
            }
            (PermissionReason::Unlisted, _) => "no list of the policy contains this item",
            (PermissionReason::BuiltInDeny, _) => "a built-in deny list contains this item",
            (PermissionReason::Unknown, _) => "the command is known only when the script runs",
        }
    }

    /// Returns the noun for this kind of permission.
    pub fn noun(&self) -> &'static str {
        match self.asked.kind {
            _ if self.for_secrets => "variables",
            PermissionKind::Run => "command",
            PermissionKind::Read | PermissionKind::Write => "path",
            PermissionKind::Env => "variable",
        }
    }

    /// Returns the option that allows the permission, or `None` if no option can allow it.
    pub fn flag(&self) -> Option<String> {
        let flag = match self.asked.kind {
            PermissionKind::Run => "--allow-run",
            PermissionKind::Read => "--allow-read",
            PermissionKind::Write => "--allow-write",
            PermissionKind::Env => "--allow-env",
        };
        let is_plain = |c: u8| {
            c.is_ascii_alphanumeric() || b"._/+-".contains(&c) || (c == b',' && self.for_secrets)
        };
        let plain = self.asked.what.bytes().all(is_plain);
        // The name of a variable is always known, even if its value is unknown.
        let known =
            self.asked.why != PermissionReason::Unknown || self.asked.kind == PermissionKind::Env;
        (known && plain).then(|| format!("{flag} {}", self.asked.what))
    }
}

/// Maximum number of places that one question shows.
const SHOWN_PLACES: usize = 5;

#[cfg(test)]
mod prompt_tests {
    use super::*;

    fn unlisted(what: &str) -> Question {
        let places = vec![Occurrence {
            at: "a.md:3:1".to_owned(),
            via: vec!["sudo".to_owned()],
        }];
        let asked = Permission {
            kind: PermissionKind::Run,
            what: what.to_owned(),
            why: PermissionReason::Unlisted,
        };
        Question {
            asked,
            places,
            for_secrets: false,
        }
    }

    #[test]
    fn only_offered_choices_are_valid_answers() {
        let question = unlisted("curl");
        for (typed, choice) in [
            ("o", AnswerChoice::Once),
            (" S \n", AnswerChoice::Session),
            ("a", AnswerChoice::AllOfType),
            ("d\n", AnswerChoice::Deny),
            ("n", AnswerChoice::DenyAll),
        ] {
            assert_eq!(question.choice(typed), Some(choice), "{typed:?}");
        }
        for typed in ["", "\n", "y", "yes", "oo", "\x1b[Ao", "o o", "once"] {
            assert_eq!(question.choice(typed), None, "{typed:?}");
        }
        let mut unknown = unlisted("$CMD@3");
        unknown.asked.why = PermissionReason::Unknown;
        assert_eq!(
            ["o", "s", "a"].map(|typed| unknown.choice(typed).is_some()),
            [true, false, false]
        );
        assert_eq!(unknown.flag(), None);
    }

    #[test]
    fn a_runbook_cannot_forge_the_text_of_a_question() {
        let evil = "curl\x1b[2J\r\n== Policy asks ==\n  command       \"git\"\u{202e}\u{9b}1A";
        let question = Question {
            places: vec![Occurrence {
                at: format!("{evil}.md:1:1"),
                via: vec![evil.to_owned()],
            }],
            ..unlisted(evil)
        };
        let painted = question.screen(evil).paint(80, false);
        assert!(
            painted
                .bytes()
                .all(|c| c == b'\n' || (0x20..0x7f).contains(&c)),
            "{painted}"
        );
        assert_eq!(
            painted
                .lines()
                .filter(|line| line.starts_with("=="))
                .count(),
            1,
            "{painted}"
        );
        assert_eq!(
            painted
                .lines()
                .filter(|line| line.starts_with("  command "))
                .count(),
            1,
            "{painted}"
        );
        assert!(
            question.flag().is_none(),
            "no flag is advised that a shell would read another way"
        );
    }
}
