//! The programs that a step at a terminal may execute.
//!
//! A step has a list of programs unless policy, an option or this host says otherwise. The list has the programs of the
//! script, the step, the policy and the person, and the programs that these programs start.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};

use crate::{LocalRules, Project, SandboxChoice};
use client::{CommandResult, OWN_DIRECTORIES, PrintableText, fail_refused, is_below, is_writable};
use documents::{
    Format, ISOLATED, ListedProgram, OWN_PROGRAMS, PermissionKind, Profile, Program, ProgramFacts,
    ProgramMode, StepDefinition, first_of, joined,
};
use reading::{
    AppliedRule, Decided, Mode, PolicyDecision, RuleOrigin, Ruling, check_written_program,
    denial_of, is_listed, named_in, with_closures, without_denied,
};
use sandbox::{
    ListError, MAX_INTERPRETERS, Missing, SMALLER_LIST, WantedPrograms, interpreter_of, is_builtin,
    list_of, program_path,
};

/// Maximum number of programs that the line before a run names.
const SHOWN: usize = 12;
/// Directory of the programs that npm installs in a project. A Rundown step finds them first.
pub const NODE_PROGRAMS: &str = "node_modules/.bin";

/// The programs that a step may execute.
pub enum StepPrograms {
    /// Every program that the step can see, with the reason.
    Any(String),
    /// Only the programs of a list.
    Listed(Box<NamedPrograms>),
}

/// The programs that script, step, policy and person name.
pub struct NamedPrograms {
    ruling: Ruling,
    step: StepDefinition,
    /// The names, without the programs that these programs start.
    named: BTreeSet<Program>,
    /// The first program of the project that the script starts.
    own: Option<String>,
    /// Entries of the option `--allow-run` that name one program.
    allowed: Vec<Program>,
}

impl StepPrograms {
    /// Finds the programs of a step. `missing` is the reason why this host can't enforce a list.
    pub fn of(
        rules: &LocalRules,
        ruling: &Ruling,
        step: &StepDefinition,
        decision: &PolicyDecision,
        project: &Project,
        (wanted, missing): (SandboxChoice, Option<&Missing>),
    ) -> Self {
        if let Some(reason) = any_reason(rules, ruling, step, wanted) {
            return Self::Any(reason);
        }
        if let (SandboxChoice::BestEffort, Some(missing)) = (wanted, missing) {
            return Self::Any(not_enforced(&missing.why));
        }
        let mut names = NamedPrograms {
            ruling: ruling.clone(),
            step: step.clone(),
            named: named_in(ruling, step, decision),
            own: None,
            allowed: rules
                .allowed_programs()
                .filter(|name| check_written_program(name).is_ok())
                .filter_map(|name| name.parse().ok())
                .collect(),
        };
        let is_command = |one: &&Decided| {
            one.kind == PermissionKind::Run && !matches!(one.rule, AppliedRule::Unknown { .. })
        };
        for one in decision.decided.iter().filter(is_command) {
            names.add_path(&one.what, project);
            let of_node = format!("{NODE_PROGRAMS}/{}", one.what);
            if step.format == Format::Rundown && project.cwd.join(&of_node).is_file() {
                names.add_path(&of_node, project);
            }
        }
        for pattern in rules.allowed_programs().chain(granted(ruling)) {
            names.add_path(&pattern, project);
            // A pattern such as `git*` names no program. Instead, the list contains the programs of the script that the
            // pattern allows.
            names.named.extend(
                pattern
                    .parse()
                    .ok()
                    .filter(|_| check_written_program(&pattern).is_ok()),
            );
        }
        // `go run` builds a program in the step's own directory and starts it.
        if step.interpreter == "go" {
            names
                .own
                .get_or_insert_with(|| "the program that go builds".to_owned());
        }
        Self::Listed(Box::new(names))
    }

    /// Sets the list of programs in a profile.
    ///
    /// # Errors
    /// Returns an error if this host lacks a program that the step needs, or if no list can contain a program that the
    /// step would see.
    pub fn put(&self, profile: Profile) -> CommandResult<Profile> {
        let Self::Listed(listed) = self else {
            return Ok(profile);
        };
        let refused = |why: String| fail_refused(format!("nothing was run: {why}"));
        let mut names = with_closures(&listed.ruling, &listed.step, &listed.named);
        let mut paths = listed.named.iter().map(Program::as_str);
        let own = listed.own.is_some() || paths.any(|path| is_writable(path, &profile));
        if own && let Ok(own) = OWN_PROGRAMS.parse() {
            names.required.insert(own);
        }
        let elsewhere = |name: &&Program| {
            let path = name.as_str();
            is_below(path, &profile.read)
                && !is_below(path, &profile.write)
                && Path::new(path).exists()
                && !is_visible(name)
        };
        if let Some(name) = names.optional.iter().find(elsewhere) {
            return refused(format!(
                "{} is outside of the system directories, so no list of programs can contain it: to let this step start \
                 every program, say `sandbox: {{programs: {{mode: any}}}}` in the policy",
                PrintableText::text(name.as_str())
            ));
        }
        names
            .optional
            .retain(|name| name.as_str().contains('*') || is_visible(name));
        let list = list_of(&WantedPrograms {
            required: &names.required,
            optional: &names.optional,
            starters: &names.starters,
            is_host_user: profile.run_as != ISOLATED,
        });
        let list = list.and_then(|list| {
            without_denied(&listed.ruling, &listed.step, &names, list).map_err(ListError::Program)
        });
        match list {
            Ok(list) => Ok(profile.with_programs(list)),
            Err(error) => refused(error.advised(SMALLER_LIST).to_string()),
        }
    }

    /// Returns the line about the programs of a run, or `None` for a run without a sandbox, about which another line
    /// warns.
    pub fn words(&self, profile: &Profile) -> Option<String> {
        match self {
            Self::Any(_) if profile.off_reason.is_some() => None,
            Self::Any(why) => Some(format!("programs: every program, because {why}")),
            Self::Listed(names) => Some(format!("programs: {}", names.words(profile))),
        }
    }

    /// Returns a line about the programs of `--allow-run` that the list can't contain.
    pub fn not_added(&self, profile: &Profile) -> Option<String> {
        let Self::Listed(listed) = self else {
            return None;
        };
        let may_be_listed = |name: &str| {
            name == OWN_PROGRAMS
                || is_below(name, &profile.write)
                || is_below(name, OWN_DIRECTORIES)
                || is_builtin(name)
        };
        let none = (BTreeSet::new(), BTreeMap::new());
        let reason = |name: &Program| {
            let required = BTreeSet::from([name.clone()]);
            let is_host_user = profile.run_as != ISOLATED;
            list_of(&WantedPrograms {
                required: &required,
                optional: &none.0,
                starters: &none.1,
                is_host_user,
            })
            .err()
        };
        let names = listed
            .allowed
            .iter()
            .filter(|name| !may_be_listed(name.as_str()));
        let reasons = joined(names.filter_map(reason), "; ");
        let shown = PrintableText::text(&reasons);
        (!reasons.is_empty())
            .then(|| format!("note: --allow-run adds no program to the list: {shown}"))
    }

    /// Returns the whole list for JSON output.
    pub fn json(&self, profile: &Profile) -> Value {
        match self {
            Self::Any(why) => json!({"mode": ProgramMode::Any, "why": why}),
            Self::Listed(_) => json!({"mode": ProgramMode::Listed, "list": profile.listed()}),
        }
    }
}

/// Returns the reason why every program may run, for a host that can't enforce a list.
pub fn not_enforced(why: &str) -> String {
    format!("this host can't enforce a list of programs: {why}")
}

/// Returns the reason why policy, the step or an option lets a step execute every program.
fn any_reason(
    rules: &LocalRules,
    ruling: &Ruling,
    step: &StepDefinition,
    wanted: SandboxChoice,
) -> Option<String> {
    if let SandboxChoice::Off(flag) = wanted {
        return Some(format!(
            "{flag} leaves no sandbox that could enforce a list"
        ));
    }
    if step.sandbox.off_reason.is_some() {
        return Some("the step declares sandbox=off".to_owned());
    }
    if is_listed(ruling, step) {
        return None;
    }
    // The only other value of the mode is `any`.
    if let Some(mode) = &ruling.program_mode {
        return Some(format!(
            "policy says sandbox.programs.mode: any ({})",
            mode.origin
        ));
    }
    if rules.args.allows_all() {
        return Some("of --allow-all".to_owned());
    }
    let executes = ruling.mode.value == Mode::Execute && !rules.args.deny_all;
    executes.then(|| format!("policy says mode: execute ({})", ruling.mode.origin))
}

/// Returns the refused programs that the policy file denies, each with the rule.
pub fn denied_programs(ruling: &Ruling, facts: &ProgramFacts) -> BTreeMap<String, String> {
    let refused = facts
        .refused
        .iter()
        .flat_map(|refused| &refused.paths)
        .map(|one| one.path.to_string());
    let rule = |path: String| {
        let entry = denial_of(ruling, &path)?;
        let words = format!("run.deny \"{}\", {}", entry.listed.text(), entry.origin);
        Some((path, words))
    };
    refused.filter_map(rule).collect()
}

/// Returns the texts of the permanent grants of policy for commands.
fn granted(ruling: &Ruling) -> impl Iterator<Item = String> {
    let allowed = ruling
        .written
        .of(PermissionKind::Run)
        .allow
        .entries()
        .iter();
    allowed
        .filter(|entry| matches!(entry.origin, RuleOrigin::Grant(_)))
        .map(|entry| entry.listed.text().to_string())
}

/// Returns true for the path of a program outside of the system directories, for example `./deploy.sh` or `~/bin/x`.
fn is_path(command: &str) -> bool {
    command.contains('/') && !command.contains(['*', '?', '{']) && program_path(command).is_none()
}

impl NamedPrograms {
    /// Adds the programs behind a path that the script names, if the path is in the project: the interpreter of a
    /// script, or the target of a link into the system directories. The run can execute other files of the project only
    /// with `{work}/**`.
    fn add_path(&mut self, command: &str, project: &Project) {
        if !is_path(command) {
            return;
        }
        let relative = command.strip_prefix("./").unwrap_or(command);
        if self
            .step
            .files
            .iter()
            .any(|file| file.executable && file.path == relative)
        {
            return; // A list allows the executable files of the step.
        }
        if !command.starts_with('/') {
            self.own.get_or_insert_with(|| command.to_owned());
        }
        let mut path = project.cwd.join(command);
        for _ in 0..MAX_INTERPRETERS {
            let Ok(real) = path.canonicalize() else {
                return;
            };
            if self.add_system_program(&real) {
                return;
            }
            let Some((interpreter, started)) = interpreter_of(&real) else {
                return;
            };
            self.named.extend(
                started
                    .filter(|word| !word.contains('/'))
                    .and_then(|word| word.parse().ok()),
            );
            path = interpreter;
        }
    }

    /// Adds a program of the system directories. Returns false if the path is no such program.
    fn add_system_program(&mut self, real: &Path) -> bool {
        let Some(text) = real.to_str() else {
            return false;
        };
        let found = program_path(text).is_some();
        self.named
            .extend(found.then(|| text.parse().ok()).flatten());
        found
    }

    fn words(&self, profile: &Profile) -> String {
        let list = profile.listed();
        let files: BTreeSet<&str> = self
            .named
            .iter()
            .map(|name| shown_name(name.as_str()))
            .collect();
        let is_named = |one: &&ListedProgram| files.contains(shown_name(one.name.as_str()));
        let mut shown: Vec<&str> = list
            .iter()
            .filter(is_named)
            .map(|one| shown_name(one.name.as_str()))
            .collect();
        shown.retain(|name| *name != OWN_PROGRAMS);
        shown.sort_unstable();
        shown.dedup();
        let mut words = first_of(&shown, SHOWN);
        let own = list.iter().any(|one| one.name.as_str() == OWN_PROGRAMS);
        let started = list
            .iter()
            .filter(|one| !is_named(one) && one.name.as_str() != OWN_PROGRAMS)
            .count();
        if started > 0 {
            words.push_str(&format!(
                " and {started} that these start (`countersign policy explain` shows them)"
            ));
        }
        if own {
            words.push_str(&format!(
                ", and {OWN_PROGRAMS}: every file in the directories that the step may write"
            ));
        }
        if let Some(own) = &self.own {
            words.push_str(&format!(" (the step starts {own})"));
        }
        if self.step.files.iter().any(|file| file.executable) {
            words.push_str(", and the executable files of the step");
        }
        words.push_str("; nothing else");
        PrintableText::text(&words).to_string()
    }
}

/// Returns the file name of a program in a system directory.
fn shown_name(name: &str) -> &str {
    if name == OWN_PROGRAMS {
        return name;
    }
    name.rsplit_once('/').map_or(name, |(_, file)| file)
}

/// Returns true if every run can see the program. The target of a link must lie in the system directories too.
fn is_visible(name: &Program) -> bool {
    let real = || Path::new(&program_path(name.as_str())?).canonicalize().ok();
    name.as_str() == OWN_PROGRAMS
        || real().is_some_and(|real| real.to_str().and_then(program_path).is_some())
}
