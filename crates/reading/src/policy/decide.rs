//! Decisions about the commands, paths and variables of a script.
//!
//! All commands are decided before a person is asked, so a denied command is refused before any question. The first
//! rule that applies decides, in this order: `--allow-all`, grants of the command line, deny lists of the policy file,
//! allow lists of the policy file, the closed list of a boundary, built-in deny lists, built-in allow lists, mode. An
//! unknown command could be a denied command, so only an answer for one run of the command can allow it. Some programs
//! start commands that the parser does not read: if policy denies any command, these commands are denied too. If a run
//! may execute only listed programs, the kernel refuses a denied program, so a boundary asks about an unknown command
//! only if the list does not restrict the command.

use std::collections::BTreeMap;

use crate::{
    AppliedRule, FoundKind, ListEntry, ListSide, ListedPattern, Mode, NotUnderstood, PathVariables,
    PatternError, PatternList, ReadLimit, RuleOrigin, Ruling, ScriptFinding, Shell, TRUSTED,
    TextPlace, UnknownPart, UnknownReason, base_name, commands, is_used_for, normalised,
    policy::lists::AllPermissionLists,
    shell::{programs::uses::STARTER, settings::changes},
};
use documents::{PermissionKind, PermissionReason, Program};

/// Place of the decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DecisionPlace {
    /// A terminal, where a denial by a built-in list is final.
    Terminal,
    /// A boundary, where a denial by a built-in list becomes a question to the approvers. A denial by the policy file
    /// is final in both places.
    Boundary,
    /// A boundary, for a run that may execute only listed programs. An unknown command that can only start a listed
    /// program needs no permission.
    ListedBoundary,
}

impl DecisionPlace {
    /// Returns the place for a run that may execute only listed programs, if `listed` is true.
    pub fn with_list(self, listed: bool) -> Self {
        match self {
            Self::Boundary if listed => Self::ListedBoundary,
            place => place,
        }
    }
}

/// Options of one command line. A boundary has no such options.
#[derive(Default)]
pub struct Flags {
    /// Grants of the options `--allow-run`, `--allow-read`, `--allow-write` and `--allow-env`.
    pub granted: Granted,
    /// True for `--allow-all`, which ignores the policy.
    pub allow_all: bool,
    /// True for `--deny-all`, which denies everything that no list of the policy allows. `--deny-all` takes precedence
    /// over `allow_all` and the mode.
    pub deny_all: bool,
    /// Values of `{repo}` and `{tmp}`. If the value is `None`, patterns with `{repo}` or `{tmp}` match nothing.
    pub places: Option<PathVariables>,
    /// Function that resolves the symbolic links in the absolute path of a program, or returns `None` if the program
    /// does not exist.
    pub real: Option<fn(&str) -> Option<String>>,
}

/// Grants of the command line, as patterns of an allow list.
#[derive(Clone, Default)]
pub struct Granted(AllPermissionLists);

impl Granted {
    /// Grants everything that `pattern` matches. A relative path of a command, for example `./deploy.sh`, matches only
    /// literally.
    ///
    /// # Errors
    /// Returns an error with the problem in the pattern and its correction.
    pub fn grant(&mut self, kind: PermissionKind, pattern: &str) -> Result<(), PatternError> {
        let relative = kind == PermissionKind::Run
            && pattern.contains('/')
            && !pattern.starts_with(['/', '{', '*']);
        let listed = if relative {
            ListedPattern::literal(pattern)
        } else {
            ListedPattern::parse(kind, ListSide::Allow, pattern)?
        };
        self.0
            .add(kind, ListSide::Allow, listed, RuleOrigin::CommandLine);
        Ok(())
    }
}

/// Decision about one command, path or variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyVerdict {
    /// Allowed.
    Allow,
    /// A person must decide: the user at a terminal, or an approver at a boundary.
    Ask(PermissionReason),
    /// Denied.
    Deny,
}

/// A command, path or variable with its decision.
#[derive(PartialEq)]
pub struct Decided {
    /// Kind of the command, path or variable.
    pub kind: PermissionKind,
    /// Name of the command, path or variable, as in a permission. The name of an unknown command is its source text and
    /// its line.
    pub what: String,
    /// Place in the script.
    pub place: Option<TextPlace>,
    /// Wrappers that run the command, the outermost first.
    pub via: Vec<String>,
    /// Verdict about the command, path or variable.
    pub verdict: PolicyVerdict,
    /// Rule that decided.
    pub rule: AppliedRule,
}

/// The decisions about the commands and settings of a script.
pub struct PolicyDecision {
    /// Strictest of all verdicts. The order is deny, ask, allow.
    pub verdict: PolicyVerdict,
    /// Commands and settings in the order of the script, or none if the script is not understood.
    pub decided: Vec<Decided>,
    /// Reason why the script is not understood and therefore denied, or `None` if it is understood.
    pub not_understood: Option<NotUnderstood>,
}

impl PolicyDecision {
    /// Adds a decision about something before the commands. A script that is not understood keeps its verdict.
    pub fn add_first(&mut self, one: Decided) {
        self.decided.insert(0, one);
        if self.not_understood.is_none() {
            self.verdict = worst(&self.decided);
        }
    }
}

/// Decides all commands of a script that the given `shell` runs. A script that is empty or not understood is denied.
pub fn decide_script(
    shell: Shell,
    ruling: &Ruling,
    script: &str,
    size: ReadLimit,
    at: DecisionPlace,
    flags: &Flags,
) -> PolicyDecision {
    let judge = Judge { ruling, at, flags };
    let understood = if is_empty(script) {
        Err(NotUnderstood {
            at: 0,
            place: TextPlace::START,
            message: EMPTY.to_owned(),
        })
    } else {
        commands::find_in(shell, script, size)
    };
    match understood {
        Ok(found) => judge.script(found),
        Err(not_understood) => PolicyDecision {
            verdict: if judge.everything() {
                PolicyVerdict::Allow
            } else {
                PolicyVerdict::Deny
            },
            decided: Vec::new(),
            not_understood: Some(not_understood),
        },
    }
}

/// Decides one command by its name, for example the interpreter of a step.
pub fn decide_command(ruling: &Ruling, name: &str, at: DecisionPlace, flags: &Flags) -> Decided {
    let judged = Judge { ruling, at, flags }.command(name);
    decided(PermissionKind::Run, name.to_owned(), judged)
}

/// Returns a decision about something outside of the script.
fn decided(kind: PermissionKind, what: String, (verdict, rule): Judged) -> Decided {
    Decided {
        kind,
        what,
        place: None,
        via: Vec::new(),
        verdict,
        rule,
    }
}

/// Decides a script whose commands cannot be known before the run.
pub fn decide_unknown(
    ruling: &Ruling,
    source: &str,
    why: &'static str,
    at: DecisionPlace,
    flags: &Flags,
) -> Decided {
    let judged = Judge { ruling, at, flags }.unknown(why);
    let place = TextPlace::START;
    let what = unknown_name(source.lines().next().unwrap_or_default(), place);
    Decided {
        place: Some(place),
        ..decided(PermissionKind::Run, what, judged)
    }
}

/// Decides whether a path may be read or written. The path must be absolute and without symbolic links. Every kind
/// except [`PermissionKind::Write`] is treated as reading.
pub fn decide_path(
    ruling: &Ruling,
    kind: PermissionKind,
    real: &str,
    at: DecisionPlace,
    flags: &Flags,
) -> Decided {
    let kind = if kind == PermissionKind::Write {
        kind
    } else {
        PermissionKind::Read
    };
    let path = normalised(real);
    let find = |list: &PatternList| list.find_path(&path, flags.places.as_ref()).cloned();
    let judged = Judge { ruling, at, flags }.by_lists(kind, &find);
    decided(kind, path, judged)
}

/// Decides whether a run may inherit the variable `name`.
pub fn decide_env(ruling: &Ruling, name: &str, at: DecisionPlace, flags: &Flags) -> Decided {
    let kind = PermissionKind::Env;
    let find = |list: &PatternList| list.find_name(name).cloned();
    let judged = Judge { ruling, at, flags }.by_lists(kind, &find);
    decided(kind, name.to_owned(), judged)
}

/// Returns the strictest verdict.
pub fn worst(decided: &[Decided]) -> PolicyVerdict {
    let rank = |verdict: &PolicyVerdict| match verdict {
        PolicyVerdict::Allow => 0,
        PolicyVerdict::Ask(PermissionReason::Unlisted) => 1,
        PolicyVerdict::Ask(PermissionReason::BuiltInDeny) => 2,
        PolicyVerdict::Ask(PermissionReason::Unknown) => 3,
        PolicyVerdict::Deny => 4,
    };
    decided
        .iter()
        .map(|one| one.verdict)
        .max_by_key(rank)
        .unwrap_or(PolicyVerdict::Allow)
}

/// A verdict with the rule behind it.
type Judged = (PolicyVerdict, AppliedRule);

const ALLOW_ALL: Judged = (PolicyVerdict::Allow, AppliedRule::AllowAll);

struct Judge<'a> {
    ruling: &'a Ruling,
    at: DecisionPlace,
    flags: &'a Flags,
}

impl Judge<'_> {
    fn script(&self, found: Vec<ScriptFinding>) -> PolicyDecision {
        // A script often contains the same name several times, so its decision is cached.
        let mut known: BTreeMap<FoundKind, Judged> = BTreeMap::new();
        let decided: Vec<Decided> = found
            .into_iter()
            .map(
                |ScriptFinding {
                     what,
                     place,
                     via,
                     source,
                 }| {
                    let judged = known
                        .entry(what.clone())
                        .or_insert_with_key(|what| self.judge(what));
                    let (verdict, rule) = judged.clone();
                    let (kind, what) = match what {
                        FoundKind::Command(name) | FoundKind::Function(name) => {
                            (PermissionKind::Run, name)
                        }
                        FoundKind::Setting(name) | FoundKind::HarmlessSetting(name) => {
                            (PermissionKind::Env, name)
                        }
                        FoundKind::Unknown(_) => {
                            (PermissionKind::Run, unknown_name(&source, place))
                        }
                    };
                    Decided {
                        kind,
                        what,
                        place: Some(place),
                        via,
                        verdict,
                        rule,
                    }
                },
            )
            .collect();
        let verdict = worst(&decided);
        PolicyDecision {
            verdict,
            decided,
            not_understood: None,
        }
    }

    fn judge(&self, what: &FoundKind) -> Judged {
        match what {
            FoundKind::Command(name) => self.command(name),
            FoundKind::Function(_) if self.everything() => ALLOW_ALL,
            // If the function is not defined when the script calls it, the shell runs the program with this name.
            FoundKind::Function(name) if self.denies(name) => self.command(name),
            FoundKind::Function(_) => (PolicyVerdict::Allow, AppliedRule::Function),
            FoundKind::HarmlessSetting(name) if self.denied_variable(name).is_none() => {
                (PolicyVerdict::Allow, AppliedRule::Harmless)
            }
            FoundKind::Setting(name) | FoundKind::HarmlessSetting(name) => self.setting(name),
            FoundKind::Unknown(reason) => self.unknown_command(*reason),
        }
    }

    fn everything(&self) -> bool {
        self.flags.allow_all && !self.flags.deny_all
    }

    /// Returns true if a list denies a command with this name.
    fn denies(&self, name: &str) -> bool {
        let places = self.flags.places.as_ref();
        let lists = [&self.ruling.written, &*self.ruling.built_in];
        lists.into_iter().any(|lists| {
            lists
                .of(PermissionKind::Run)
                .deny
                .find_denied(name, places)
                .is_some()
        })
    }

    fn denied_variable(&self, name: &str) -> Option<&ListEntry> {
        let rules = self.ruling.written.of(PermissionKind::Env);
        rules.deny.find_name(name)
    }

    fn command(&self, name: &str) -> Judged {
        let location = CommandLocation::of(name, self.flags.real);
        let places = self.flags.places.as_ref();
        let find = |list: &PatternList| match list.side {
            ListSide::Deny => {
                let real = location
                    .real
                    .as_deref()
                    .and_then(|real| list.find_denied(real, places));
                list.find_denied(name, places).or(real).cloned()
            }
            ListSide::Allow => location.allowed_by(list, name, places).cloned(),
        };
        let (verdict, mut rule) = self.by_lists(PermissionKind::Run, &find);
        let by_policy_file =
            matches!(&rule, AppliedRule::Listed { origin, .. } if *origin != RuleOrigin::BuiltIn);
        if verdict != PolicyVerdict::Allow
            && !by_policy_file
            && let Some(rule) = self.named_program(&location, name)
        {
            return (PolicyVerdict::Allow, rule);
        }
        let is_asked = verdict == PolicyVerdict::Ask(PermissionReason::Unlisted);
        if is_asked && self.at == DecisionPlace::ListedBoundary && is_used_for(name, STARTER) {
            return (PolicyVerdict::Allow, AppliedRule::OnlyListed);
        }
        if let AppliedRule::Unlisted { elsewhere, .. } = &mut rule {
            let base = name.rsplit_once('/').map_or("", |(_, base)| base);
            let listed = |lists: &AllPermissionLists| {
                lists
                    .of(PermissionKind::Run)
                    .allow
                    .find_name(base)
                    .is_some()
            };
            *elsewhere =
                !base.is_empty() && (listed(&self.ruling.written) || listed(&self.ruling.built_in));
        }
        (verdict, rule)
    }

    /// Returns the rule if policy puts the program into every list of programs. Then a question about the program has
    /// no effect, because an unknown command of any step can execute the program.
    fn named_program(&self, location: &CommandLocation, name: &str) -> Option<AppliedRule> {
        if self.at != DecisionPlace::ListedBoundary {
            return None;
        }
        let base = base_name(name);
        let find = |text: &str| {
            self.ruling
                .programs
                .get_key_value(&text.parse::<Program>().ok()?)
        };
        let (name, origin) =
            find(name).or_else(|| if location.trusted { find(base) } else { None })?;
        Some(AppliedRule::NamedProgram {
            name: name.clone(),
            origin: origin.clone(),
        })
    }

    /// Decides a variable that changes later commands, for example `PATH`. An allow list of the policy file permits
    /// only that a run inherits the variable. A script may set the variable only with a grant or an option of the
    /// command line.
    fn setting(&self, name: &str) -> Judged {
        let kind = PermissionKind::Env;
        if self.everything() {
            return ALLOW_ALL;
        }
        if let Some(entry) = self.flags.granted.0.of(kind).allow.find_name(name) {
            return listed(kind, ListSide::Allow, entry.clone());
        }
        if let Some(entry) = self.denied_variable(name) {
            return listed(kind, ListSide::Deny, entry.clone());
        }
        let is_grant = |entry: &&ListEntry| matches!(entry.origin, RuleOrigin::Grant(_));
        let allow = &self.ruling.written.of(kind).allow;
        if let Some(entry) = allow.find_all_names(name).find(is_grant) {
            return listed(kind, ListSide::Allow, entry.clone());
        }
        self.unknown(
            "the variable changes later commands: call programs by their paths instead, or grant the variable (type: \
             env)",
        )
    }

    /// Decides a command that is unknown before the run. Some programs start commands that the parser does not read. If
    /// policy denies any command, or a variable that changes commands, these commands are denied, so that no answer
    /// allows a denied command. No permission is needed if the kernel restricts the command to the list of the run.
    fn unknown_command(&self, reason: UnknownReason) -> Judged {
        let (mut verdict, mut rule) = self.unknown(reason.text);
        if let AppliedRule::Unknown { denied, .. } = &mut rule
            && reason.part == UnknownPart::Started
            && let Some((kind, entry)) = self.final_denial()
        {
            (verdict, *denied) = (PolicyVerdict::Deny, Some((kind, entry.clone())));
        }
        let is_listed =
            self.at == DecisionPlace::ListedBoundary && reason.part == UnknownPart::Programs;
        match verdict {
            PolicyVerdict::Ask(_) if is_listed => (PolicyVerdict::Allow, AppliedRule::OnlyListed),
            verdict => (verdict, rule),
        }
    }

    /// Returns a pattern that denies commands, or variables that change commands, if no answer at this place can change
    /// the denial.
    fn final_denial(&self) -> Option<(PermissionKind, &ListEntry)> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let may_change = |pattern: &str| changes(pattern) || !pattern.chars().all(is_plain);
        let (run, env) = (PermissionKind::Run, PermissionKind::Env);
        let (written, built_in) = (&self.ruling.written, self.ruling.built_in.of(run));
        let command = written.of(run).deny.entries().first();
        let built_in = built_in.deny.entries().first();
        let built_in = built_in.filter(|_| self.at == DecisionPlace::Terminal);
        let mut variables = written.of(env).deny.entries().iter();
        let variable = variables.find(|entry| may_change(entry.listed.text()));
        let command = command.or(built_in).map(|entry| (run, entry));
        command.or_else(|| Some((env, variable?)))
    }

    fn unknown(&self, why: &'static str) -> Judged {
        if self.everything() {
            return ALLOW_ALL;
        }
        let mode = self.ruling.mode.clone();
        let (verdict, deny_all) = if mode.value == Mode::Deny {
            (PolicyVerdict::Deny, false)
        } else {
            self.asked(PermissionReason::Unknown)
        };
        (
            verdict,
            AppliedRule::Unknown {
                why,
                mode,
                denied: None,
                deny_all,
            },
        )
    }

    fn by_lists(
        &self,
        kind: PermissionKind,
        find: &dyn Fn(&PatternList) -> Option<ListEntry>,
    ) -> Judged {
        if self.everything() {
            return ALLOW_ALL;
        }
        let (written, built_in) = (self.ruling.written.of(kind), self.ruling.built_in.of(kind));
        let lists = [
            &self.flags.granted.0.of(kind).allow,
            // No question, signature, `-y` or mode can change a denial by the policy file.
            &written.deny,
            &written.allow,
        ];
        for list in lists {
            if let Some(entry) = find(list) {
                return listed(kind, list.side, entry);
            }
        }
        if let Some(entry) = find(&built_in.deny) {
            let closed = self.ruling.mode.value == Mode::Deny || self.flags.deny_all;
            let (denied, rule) = listed(kind, ListSide::Deny, entry);
            let asks = !closed && self.at != DecisionPlace::Terminal;
            let asked = PolicyVerdict::Ask(PermissionReason::BuiltInDeny);
            return (if asks { asked } else { denied }, rule);
        }
        if let Some(entry) = find(&built_in.allow) {
            return listed(kind, ListSide::Allow, entry);
        }
        let mode = self.ruling.mode.clone();
        let (verdict, deny_all) = match mode.value {
            Mode::Deny => (PolicyVerdict::Deny, false),
            Mode::Execute if !self.flags.deny_all => (PolicyVerdict::Allow, false),
            _ => self.asked(PermissionReason::Unlisted),
        };
        (
            verdict,
            AppliedRule::Unlisted {
                mode,
                elsewhere: false,
                deny_all,
            },
        )
    }

    /// Returns the verdict [`PolicyVerdict::Ask`], or a denial and true if `--deny-all` is set.
    fn asked(&self, why: PermissionReason) -> (PolicyVerdict, bool) {
        if self.flags.deny_all {
            (PolicyVerdict::Deny, true)
        } else {
            (PolicyVerdict::Ask(why), false)
        }
    }
}

/// Location of a command, which decides whether an allow list applies.
struct CommandLocation {
    /// True for a name without a slash, and for a path in a directory that only the system's owner can write.
    trusted: bool,
    /// Path with resolved links, or `None` if the path is unknown.
    real: Option<String>,
}

impl CommandLocation {
    fn of(name: &str, real: Option<fn(&str) -> Option<String>>) -> Self {
        if !name.contains('/') {
            let real =
                |directory: &&str| real.and_then(|real| real(&format!("{directory}/{name}")));
            return Self {
                trusted: true,
                real: TRUSTED.iter().find_map(real),
            };
        }
        if !name.starts_with('/') {
            return Self {
                trusted: false,
                real: None,
            };
        }
        let real = real.and_then(|real| real(name));
        let path = normalised(name);
        let lexical = path
            .rsplit_once('/')
            .is_some_and(|(directory, _)| TRUSTED.contains(&directory));
        let stays = real
            .as_deref()
            .is_none_or(|real| SYSTEM.iter().any(|system| real.starts_with(system)));
        Self {
            trusted: lexical && stays,
            real,
        }
    }

    fn allowed_by<'l>(
        &self,
        list: &'l PatternList,
        name: &str,
        places: Option<&PathVariables>,
    ) -> Option<&'l ListEntry> {
        let Some((_, base)) = name.rsplit_once('/') else {
            return list.find_name(name);
        };
        // A pattern may equal the whole path as the script writes it. If the path contains segments such as `..`, the
        // real path is compared instead.
        let whole = list.find_literal(name).or_else(|| {
            let plain = name.starts_with('/') && normalised(name) == name;
            let path = if plain {
                Some(name)
            } else {
                self.real.as_deref()
            };
            path.and_then(|path| list.find_path(path, places))
        });
        whole.or_else(|| {
            if self.trusted {
                list.find_name(base)
            } else {
                None
            }
        })
    }
}

/// Returns the decision of a list with this entry.
fn listed(kind: PermissionKind, side: ListSide, entry: ListEntry) -> Judged {
    let verdict = match side {
        ListSide::Allow => PolicyVerdict::Allow,
        ListSide::Deny => PolicyVerdict::Deny,
    };
    let rule = AppliedRule::Listed {
        kind,
        side,
        pattern: entry.listed.text().clone(),
        origin: entry.origin,
    };
    (verdict, rule)
}

/// Returns the name of an unknown command in a permission: its source text and line, and also its column if the source
/// text is cut.
fn unknown_name(source: &str, place: TextPlace) -> String {
    let most = documents::MAX_PERMISSION_BYTES;
    let mut line = format!("@{}", place.line);
    if source.len() > most - line.len() {
        // The column distinguishes two long texts with the same beginning.
        line = format!("@{place}");
    }
    let mut end = source.len().min(most - line.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{line}", &source[..end])
}

/// Returns true if the script contains only blanks and comments.
fn is_empty(script: &str) -> bool {
    script
        .lines()
        .all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'))
}

const EMPTY: &str = "the script contains no command: write a command, or remove the script";
/// Directories to which links in the system's program directories may lead.
const SYSTEM: [&str; 7] = [
    "/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/snap/",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builtins, Policy, RunbookPath, resolve_path};

    #[test]
    fn two_unknown_texts_with_the_same_beginning_are_two_questions() {
        let long = "x".repeat(300);
        let place = |column| TextPlace { line: 3, column };
        assert_ne!(
            unknown_name(&long, place(1)),
            unknown_name(&long, place(400))
        );
        assert!(unknown_name(&long, place(400)).len() <= documents::MAX_PERMISSION_BYTES);
        assert_eq!(unknown_name("$x", place(7)), "$x@3");
    }

    fn ruling(policy: &str) -> Ruling {
        let policy = Policy::load(&format!("version: 1\n{policy}")).expect("a policy");
        resolve_path(
            &policy,
            Builtins::current(),
            &RunbookPath::of_file("deploy/app.runbook.md"),
        )
    }

    #[test]
    fn a_link_from_a_system_directory_to_another_directory_is_no_system_program() {
        let flags = Flags {
            real: Some(|name| {
                Some(match name {
                    "/usr/bin/git" => "/home/eve/git".to_owned(),
                    "/usr/bin/node" => "/usr/lib/nodejs/bin/node".to_owned(),
                    "/usr/bin/harmless" => "/usr/bin/rm".to_owned(),
                    other if other.starts_with("/usr/bin/") => other.to_owned(),
                    _ => return None,
                })
            }),
            ..Flags::default()
        };
        let ruling = ruling("default: {run: {allow: [harmless]}}");
        let verdict =
            |name: &str| decide_command(&ruling, name, DecisionPlace::Terminal, &flags).verdict;
        assert_eq!(
            verdict("/usr/bin/git"),
            PolicyVerdict::Ask(PermissionReason::Unlisted)
        );
        assert_eq!(verdict("/usr/bin/node"), PolicyVerdict::Allow);
        assert_eq!(verdict("git"), PolicyVerdict::Allow);
        assert_eq!(
            verdict("/usr/bin/harmless"),
            PolicyVerdict::Allow,
            "a written allow goes before a built-in deny"
        );
        let written = self::ruling("default: {run: {allow: [harmless], deny: [rm]}}");
        assert_eq!(
            decide_command(
                &written,
                "/usr/bin/harmless",
                DecisionPlace::Terminal,
                &flags
            )
            .verdict,
            PolicyVerdict::Deny
        );
        assert_eq!(
            decide_command(&written, "harmless", DecisionPlace::Terminal, &flags).verdict,
            PolicyVerdict::Deny,
            "found in PATH"
        );
    }

    #[test]
    fn a_rule_describes_the_decision_in_words() {
        let said = |policy: &str, name: &str, at: DecisionPlace, flags: &Flags| {
            decide_command(&ruling(policy), name, at, flags)
                .rule
                .to_string()
        };
        let none = Flags::default();
        let closed = Flags {
            deny_all: true,
            ..Flags::default()
        };
        for (policy, name, flags, expected) in [
            ("", "rm", &none, "run.deny \"rm\", built in"),
            (
                "default: {run: {deny: [\"r*\"]}}",
                "rm",
                &none,
                "run.deny \"r*\", default",
            ),
            (
                "overrides: [{runbook: \"deploy/*\", run: {allow: [rm]}}]",
                "rm",
                &none,
                "run.allow \"rm\", overrides[0] (deploy/*)",
            ),
            (
                "grants: [{type: run, pattern: rm, scope: permanent}]",
                "rm",
                &none,
                "run.allow \"rm\", grants[0]",
            ),
            (
                "default: {mode: execute}",
                "jq",
                &none,
                "not listed, mode execute, default",
            ),
            (
                "",
                "./git",
                &none,
                "not listed (a list allows this name, but only in system directories), mode prompted, built in",
            ),
            (
                "",
                "jq",
                &closed,
                "not listed, mode prompted, built in; --deny-all denies it",
            ),
        ] {
            assert_eq!(said(policy, name, DecisionPlace::Terminal, flags), expected);
        }
    }

    #[test]
    fn a_list_of_programs_answers_only_questions_about_unknown_programs() {
        let asked = |policy: &str, script: &str, at: DecisionPlace| -> Vec<String> {
            let policy = Policy::load(&format!("version: 1\n{policy}")).expect("a policy");
            let ruling = resolve_path(
                &policy,
                Builtins::current(),
                &RunbookPath::of_file("deploy/app.runbook.md"),
            );
            let decision = decide_script(
                Shell::Bash,
                &ruling,
                script,
                ReadLimit::Step,
                at,
                &Flags::default(),
            );
            let open = decision
                .decided
                .into_iter()
                .filter(|one| one.verdict != PolicyVerdict::Allow);
            open.map(|one| {
                format!(
                    "{}{}",
                    if one.verdict == PolicyVerdict::Deny {
                        "!"
                    } else {
                        ""
                    },
                    one.what
                )
            })
            .collect()
        };
        let policy = "default: {run: {deny: [dd]}, sandbox: {programs: {mode: listed, allow: [dd, jq, curl, /opt/x/tool]}}}";
        for (script, listed, any) in [
            (
                "\"$CMD\" x; eval \"$y\"",
                &[][..],
                &["\"$CMD\"@1", "eval", "\"$y\"@1"][..],
            ),
            (
                "source ./x; exec \"$CMD\"",
                &[],
                &["source", "./x@1", "exec", "\"$CMD\"@1"],
            ),
            (
                "sudo \"$CMD\"",
                &["sudo", "\"$CMD\"@1"],
                &["sudo", "\"$CMD\"@1"],
            ),
            ("PATH=/x:$PATH", &["PATH"], &["PATH"]),
            (
                "jq .; /usr/bin/jq .; curl x",
                &[],
                &["jq", "/usr/bin/jq", "curl"],
            ),
            (
                "/opt/x/tool; tool; ./jq; /tmp/jq",
                &["tool", "./jq", "/tmp/jq"],
                &["/opt/x/tool", "tool", "./jq", "/tmp/jq"],
            ),
            ("dd if=x", &["!dd"], &["!dd"]),
        ] {
            assert_eq!(
                asked(policy, script, DecisionPlace::ListedBoundary),
                listed,
                "{script}"
            );
            assert_eq!(
                asked(policy, script, DecisionPlace::Boundary),
                any,
                "{script}"
            );
        }
        let closed = "default: {mode: deny, sandbox: {programs: {mode: listed, allow: [jq]}}}";
        assert_eq!(
            asked(closed, "jq .; \"$CMD\"", DecisionPlace::ListedBoundary),
            ["!\"$CMD\"@1"]
        );
        let open = "default: {mode: execute, sandbox: {programs: {mode: listed}}}";
        assert_eq!(
            asked(open, "zed; \"$CMD\"", DecisionPlace::ListedBoundary),
            [""; 0]
        );
    }

    #[test]
    fn the_decision_about_a_command_does_not_depend_on_earlier_commands() {
        let decision = decide_script(
            Shell::Bash,
            &ruling(""),
            "rm a; git add; jq c; rm d",
            ReadLimit::Step,
            DecisionPlace::Terminal,
            &Flags::default(),
        );
        let verdicts: Vec<(&str, PolicyVerdict)> = decision
            .decided
            .iter()
            .map(|one| (&*one.what, one.verdict))
            .collect();
        let asked = PolicyVerdict::Ask(PermissionReason::Unlisted);
        assert_eq!(
            verdicts,
            [
                ("rm", PolicyVerdict::Deny),
                ("git", PolicyVerdict::Allow),
                ("jq", asked),
                ("rm", PolicyVerdict::Deny)
            ]
        );
        assert_eq!(decision.verdict, PolicyVerdict::Deny);
    }

    #[test]
    fn commands_that_a_program_starts_unread_are_denied_if_policy_denies_any_command() {
        use DecisionPlace::{Boundary, ListedBoundary, Terminal};
        for (policy, at, expected) in [
            ("{default: {run: {allow: [strace]}}}", Boundary, None),
            (
                "{default: {run: {allow: [strace]}}}",
                Terminal,
                Some("run.deny \"chmod\", built in"),
            ),
            (
                "{extends: none, default: {run: {allow: [strace]}}}",
                Terminal,
                None,
            ),
            ("{extends: none, default: {mode: execute}}", Terminal, None),
            (
                "{default: {run: {allow: [strace], deny: [dd]}}}",
                Boundary,
                Some("run.deny \"dd\", default"),
            ),
            (
                "{default: {run: {allow: [strace], deny: [dd]}}}",
                ListedBoundary,
                Some("run.deny \"dd\", default"),
            ),
            ("{default: {run: {allow: [strace]}}}", ListedBoundary, None),
            (
                "{extends: none, default: {env: {deny: [PATH]}}}",
                Boundary,
                Some("env.deny \"PATH\", default"),
            ),
            (
                "{extends: none, default: {env: {deny: ['A*']}}}",
                Terminal,
                Some("env.deny \"A*\", default"),
            ),
            (
                "{extends: none, default: {env: {deny: [SECRET]}}}",
                Boundary,
                None,
            ),
        ] {
            let value = policy.replacen('{', "{version: 1, ", 1);
            let policy = Policy::load(&value).expect("a policy");
            let ruling = resolve_path(
                &policy,
                Builtins::current(),
                &RunbookPath::of_file("a.runbook.md"),
            );
            for script in [
                "strace rm x",
                "sh -c \"strace rm $x\"",
                "alias a='strace rm'; a",
            ] {
                let decision = decide_script(
                    Shell::Bash,
                    &ruling,
                    script,
                    ReadLimit::Step,
                    at,
                    &Flags::default(),
                );
                let found = decision
                    .decided
                    .iter()
                    .find(|one| one.rule.to_string().contains("does not read"))
                    .expect(script);
                match expected {
                    Some(rule) => assert!(
                        found.verdict == PolicyVerdict::Deny
                            && found.rule.to_string().ends_with(rule),
                        "{value} {at:?} {script}: {}",
                        found.rule
                    ),
                    None => assert_eq!(
                        found.verdict,
                        PolicyVerdict::Ask(PermissionReason::Unknown),
                        "{value} {at:?} {script}"
                    ),
                }
            }
        }
    }
}
