//! Everything about runbook files that their author should know: errors, remarks, missing programs, and what policy
//! says.
//!
//! The file also contains the conversion of errors in a person's files to a command failure, advice for the author of a
//! step, and the names of programs that usually need the network. These names only lead to advice and decide nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{HEADS, ScriptAnswer, heading};
use boundary::{refused_steps, some_of, without_maximum};
use client::{aligned, value_words::counted, with_header};
use documents::{DeclaredNetwork, OWN_PROGRAMS, Program, StepRef, joined};
use reading::{
    AppliedRule, Decided, DecisionPlace, FileProblem, Flags, InvalidFiles, Locks, Policy,
    PolicyVerdict, RegisteredStep, Registry, RunbookDirectories, is_read, lines_of,
};
use sandbox::program_path;

/// What a check of runbook files found.
pub struct RunbookCheck {
    /// All errors. With an error, no boundary seals the files.
    pub errors: Vec<FileProblem>,
    /// The files without errors, or `None` if a path can't be read at all.
    pub sound_files: Option<Registry>,
    /// What policy says about each step, if a policy judged the steps.
    pub scripts: Vec<ScriptAnswer>,
    /// What the authors should add to the blocks.
    pub advice: Vec<String>,
    /// What was not compared with the files, if the files were compared with a policy.
    pub not_checked: Vec<&'static str>,
}

impl RunbookCheck {
    /// Reads directories of runbooks, or one runbook, whose directory then counts as the directory of runbooks. With
    /// `root`, this directory counts as the directory of runbooks.
    pub fn read(paths: &[PathBuf], root: Option<&Path>, locks: Locks) -> Self {
        let within = root.map(Path::to_owned);
        let strict = RunbookDirectories {
            locks,
            within,
            ..RunbookDirectories::strict(paths.to_vec(), None)
        };
        let (checked, errors) = match strict.load() {
            Ok(registry) => (Some(registry), Vec::new()),
            Err(errors) => (None, errors),
        };
        // If a file has an error, the remarks and the programs of the other files are still reported.
        let sound_files = checked.or_else(|| of_sound_files(paths, root));
        Self {
            errors,
            sound_files,
            scripts: Vec::new(),
            advice: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    /// Asks this policy about each step, as a boundary does. `secrets` is true if the advice names the secrets of the
    /// steps.
    pub fn judge(&mut self, policy: &Policy, secrets: bool) {
        for step in self.sound_files.iter().flat_map(Registry::steps) {
            let ruling = policy.ruling(&step.definition.reference);
            let answer =
                ScriptAnswer::of_step(&ruling, step, DecisionPlace::Boundary, &Flags::default());
            self.advice.extend(advice(step, &answer, secrets));
            self.scripts.push(answer);
        }
    }

    /// Adds each step that no boundary seals under this policy to the errors.
    pub fn refuse(&mut self, policy: &Policy) {
        let Some(files) = &self.sound_files else {
            return;
        };
        let (_, refused) = refused_steps(files, policy, None, &without_maximum(), &[], None);
        self.errors.extend(refused);
        self.note_not_checked(false, false);
    }

    /// Records what was not checked, depending on whether a roster and a configuration were given.
    pub fn note_not_checked(&mut self, has_roster: bool, has_config: bool) {
        let open = [
            (
                !has_roster,
                "groups and people of a roster (--config, --roster)",
            ),
            (!has_config, "limits and secrets of a boundary (--config)"),
            (
                true,
                "paths, users, programs (also of programs=) and sandbox of the boundary's host; its keys, tokens and signed \
                 rosters",
            ),
        ];
        self.not_checked = open
            .into_iter()
            .filter(|(open, _)| *open)
            .map(|(_, what)| what)
            .collect();
    }

    /// Returns the line about what was not compared.
    pub fn not_checked_line(&self) -> Option<String> {
        (!self.not_checked.is_empty())
            .then(|| format!("not checked: {}", self.not_checked.join("; ")))
    }

    /// Returns true if policy refuses a step.
    pub fn is_refused(&self) -> bool {
        self.scripts
            .iter()
            .any(|one| one.decision.verdict == PolicyVerdict::Deny)
    }

    /// Returns a line for each error, each remark and each missing program.
    pub fn lines(&self) -> Vec<String> {
        let named = |what: &str, found: Vec<FileProblem>| {
            lines_of(&found)
                .into_iter()
                .map(|line| format!("{what}: {line}"))
                .collect::<Vec<_>>()
        };
        let mut lines = named("error", self.errors.clone());
        if let Some(files) = &self.sound_files {
            lines.extend(named("remark", files.remarks()));
            lines.extend(missing_lines(files));
        }
        lines
    }

    /// Returns a table for each step that policy does not simply allow.
    pub fn policy_tables(&self) -> String {
        let mut text = String::new();
        for one in self
            .scripts
            .iter()
            .filter(|one| one.decision.verdict != PolicyVerdict::Allow)
        {
            text.push_str(&heading(one));
            text.push('\n');
            let stopped = one
                .decision
                .decided
                .iter()
                .filter(|one| one.verdict != PolicyVerdict::Allow);
            let rows = with_header(HEADS, stopped.map(|decided| one.row(decided)));
            text.push_str(&aligned(&rows));
        }
        text
    }

    /// Returns the last line: the number of errors plus `more`, or without errors the number of steps.
    pub fn verdict(&self, more: usize) -> String {
        // `not_checked` always contains the entry about the host, so only further entries count.
        let sound = if self.not_checked.len() > 1 {
            "sound, as far as checked"
        } else {
            "sound"
        };
        match (
            self.errors.len() + more,
            self.sound_files.iter().flat_map(Registry::steps).count(),
        ) {
            (0, count) => format!("{sound}: {}", counted(count, "step")),
            (count, _) => counted(count, "error"),
        }
    }
}

/// Reads the files without errors. Returns `None` if a path can't be read at all.
pub fn of_sound_files(paths: &[PathBuf], root: Option<&Path>) -> Option<Registry> {
    let (invalid, locks, within) = (
        InvalidFiles::Skipped,
        Locks::Ignored,
        root.map(Path::to_owned),
    );
    RunbookDirectories {
        invalid,
        locks,
        within,
        ..RunbookDirectories::strict(paths.to_vec(), None)
    }
    .load()
    .ok()
}

fn missing_lines(registry: &Registry) -> Vec<String> {
    let line = |(program, steps): (&Program, Vec<&StepRef>)| {
        format!(
            "warning: this host has no program {program}, so a boundary on this host refuses {}: install the program, \
             or remove it from programs=",
            some_of(&steps)
        )
    };
    missing_programs(registry).into_iter().map(line).collect()
}

/// Returns the programs that steps declare and that this host does not have, each with its steps.
pub fn missing_programs(registry: &Registry) -> BTreeMap<&Program, Vec<&StepRef>> {
    let mut missing: BTreeMap<&Program, Vec<&StepRef>> = BTreeMap::new();
    for step in registry.steps().map(|step| &step.definition) {
        for name in step.programs.iter().flatten() {
            if name.as_str() != OWN_PROGRAMS && program_path(name.as_str()).is_none() {
                missing.entry(name).or_default().push(&step.reference);
            }
        }
    }
    missing
}

/// Returns what the author of a step should add, so that a run with a list of programs finds what the script needs.
/// `secrets` is true if no configuration says which secrets the step gets.
pub fn advice(registered: &RegisteredStep, answer: &ScriptAnswer, secrets: bool) -> Vec<String> {
    let step = &registered.definition;
    let mut messages = Vec::new();
    let needed = step.needed_secrets();
    if secrets && !needed.is_empty() {
        let names = needed.join(", ");
        messages.push(format!(
            "the block needs {names}: configure them for the step in [secrets] of countersign.toml"
        ));
    }
    let builds_in_place = |all: &Vec<Program>| all.iter().any(|one| one.as_str().contains('*'));
    if step.interpreter == "go" && !step.programs.as_ref().is_some_and(builds_in_place) {
        messages.push(
            "go builds a program in the work directory and starts it: if policy has a list of programs, write \
             programs=\"{work}/**\" into the braces of the block"
                .to_owned(),
        );
    }
    let is_unknown = |one: &&Decided| {
        matches!(
            one.rule,
            AppliedRule::OnlyListed | AppliedRule::Unknown { .. }
        )
    };
    let unknown: BTreeSet<String> = answer
        .decision
        .decided
        .iter()
        .filter(is_unknown)
        .filter_map(|one| one.place)
        .map(|at| answer.words_of(at))
        .collect();
    if !unknown.is_empty() {
        messages.push(format!(
            "the programs at {} are known only when the script runs: name them with `programs=` in the block",
            joined(unknown, ", ")
        ));
    }
    if !is_read(&step.interpreter) && step.interpreter != "zsh" {
        messages.push(format!(
            "policy can't read a script of {}: name the programs that it starts with `programs=` in the block",
            step.interpreter
        ));
    }
    let declares = !matches!(step.sandbox.network, None | Some(DeclaredNetwork::None));
    let named = answer.decision.decided.iter().map(|one| one.what.as_str());
    let reaching: BTreeSet<&str> = named
        .filter(|name| !declares && uses_network(name))
        .collect();
    if !reaching.is_empty() {
        messages.push(format!(
            "{} can need the network, which the block does not declare: `--write-policy FILE` writes what to declare",
                        joined(reaching, ", ")
        ));
    }
    messages
        .into_iter()
        .map(|message| format!("{}: {message}", step.reference))
        .collect()
}

/// Returns true if the program usually connects to another host or to a service of this host.
pub fn uses_network(program: &str) -> bool {
    let name = program.rsplit('/').next();
    NETWORK.split(' ').any(|known| Some(known) == name)
}

/// Programs that usually connect to another host or to a service of this host, with a blank between them.
const NETWORK: &str = "ansible ansible-playbook apt apt-get aws az brew cargo curl dig docker gcloud gh git glab go gsutil \
    helm host kubectl mysql nc npm npx nslookup ping pip pip3 pnpm podman psql redis-cli rsync scp sftp \
    ssh terraform terragrunt tofu wget yarn";
