//! The policy that imported runbooks need, as text for a person to read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::policy::builtins::Builtins;
use crate::policy::decide::{DecisionPlace, Flags, PolicyDecision};
use crate::policy::file::Policy;
use crate::policy::program_names::{ProgramOrigin, named_origins};
use crate::policy::required_permissions::{decide_step, is_read};
use crate::policy::ruling::{Ruling, resolve};
use crate::record::declared::check_program;
use crate::record::program_list::MAX_PROGRAMS;
use crate::record::step_definition::StepDefinition;
use crate::registry::imported::ImportedFile;
use crate::terminal::exit::{CommandFailure, Exit};

/// The overrides of imported runbooks.
pub(super) struct ImportPolicy {
    policy: Policy,
    overrides: String,
}

impl ImportPolicy {
    pub(super) fn new() -> Result<Self, CommandFailure> {
        let policy = Policy::load(LISTED).map_err(|errors| broken(&errors))?;
        Ok(Self { policy, overrides: String::new() })
    }

    /// Decides the commands of a step under a policy with closed lists of programs.
    pub(super) fn decide(&self, step: &StepDefinition) -> PolicyDecision {
        let step = StepDefinition { source: readable_source(&step.source), ..step.clone() };
        decide_step(&self.ruling(&step), &step, DecisionPlace::Boundary, &Flags::default())
    }

    fn ruling(&self, step: &StepDefinition) -> Ruling {
        resolve(&self.policy, Builtins::current(), &step.reference)
    }

    /// Adds the override of a runbook. A runbook without a readable block needs none yet.
    pub(super) fn add(&mut self, file: &ImportedFile) {
        let Some(first) = file.blocks.first() else { return };
        let (mut programs, mut secrets, mut paths, mut unread) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for step in file.blocks.iter().map(|block| &block.definition) {
            let source = readable_source(&step.source);
            programs.extend(self.programs(step, &source));
            secrets.extend(step.secrets.iter().map(|secret| secret.name.as_str().to_owned()));
            secrets.extend(secret_names(&step.source).map(str::to_owned));
            paths.extend(written_paths(&source));
            if !is_read(&step.interpreter) {
                unread.insert(step.interpreter.as_str());
            }
        }
        let reaching: Vec<&str> =
            programs.iter().map(String::as_str).filter(|name| NETWORK.contains(&base_of(name))).collect();
        let mut decisions = Vec::new();
        if !reaching.is_empty() {
            decisions.push(format!(
                "network: {} can need it. A block gets it with network: {{allow: [\"HOST:PORT\"]}} below `sandbox`, and \
                 network=HOST:PORT in its fence",
                reaching.join(", ")
            ));
        }
        if !secrets.is_empty() {
            let names: Vec<&str> = secrets.iter().map(String::as_str).collect();
            decisions.push(format!("secrets: the blocks name {}. No run gets them", names.join(", ")));
        }
        if !paths.is_empty() {
            let paths: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
            decisions.push(format!(
                "paths: the blocks write {} outside of their work directory. A block gets a tree with `write` and \
                 `workdir` below `sandbox`",
                paths.join(", ")
            ));
        }
        if !unread.is_empty() {
            let unread: Vec<&str> = unread.into_iter().collect();
            decisions.push(format!("programs: policy can't read {} scripts. Add what they start", unread.join(", ")));
        }
        if programs.len() > MAX_PROGRAMS {
            let more = programs.len() - MAX_PROGRAMS;
            decisions.push(format!("programs: {more} more programs do not fit into one list. Split the runbook"));
        }
        let count = file.blocks.len();
        let blocks = if count == 1 { "block" } else { "blocks" };
        let text = &mut self.overrides;
        // Writing to a string never fails.
        let _ = writeln!(text, "  # {}: {count} {blocks}", file.file.escape_debug());
        for decision in decisions {
            let _ = writeln!(text, "  # Decide {decision}.");
        }
        if !programs.is_empty() {
            let names: Vec<String> = programs.iter().take(MAX_PROGRAMS).map(|name| format!("{name:?}")).collect();
            let path = first.definition.reference.path();
            let _ =
                writeln!(text, "  - runbook: {path:?}\n    sandbox: {{programs: {{allow: [{}]}}}}", names.join(", "));
        }
    }

    /// Returns the programs that a script names, without its interpreter.
    fn programs(&self, step: &StepDefinition, source: &str) -> Vec<String> {
        let (decision, declared) = (self.decide(step), step.programs.as_deref().unwrap_or_default());
        // The first line of a script starts its interpreter, which is in each list already.
        let source =
            if source.starts_with("#!") { source.split_once('\n').map_or("", |(_, rest)| rest) } else { source };
        let found = named_origins(&self.ruling(step), &step.interpreter, declared, source, &decision);
        let named = found.into_iter().filter(|(_, origin)| !matches!(origin, ProgramOrigin::Interpreter));
        let named = named.map(|(name, _)| name.as_str().to_owned());
        named
            .filter(|name| check_program(name).is_ok() && name.is_ascii() && !BUILTINS.contains(&name.as_str()))
            .collect()
    }

    /// Returns the policy file.
    ///
    /// # Errors
    /// Returns an error if the reader of policies refuses the text, for example because it is too large.
    pub(super) fn text(&self) -> Result<String, CommandFailure> {
        let has_overrides = self.overrides.contains("\n  - ") || self.overrides.starts_with("  - ");
        let key = if has_overrides { "overrides:\n" } else { "overrides: []\n" };
        let text = format!("{HEAD}version: 2\n{key}{}", self.overrides);
        Policy::load(&text).map_err(|errors| broken(&errors))?;
        Ok(text)
    }
}

fn broken(errors: &[impl std::fmt::Display]) -> CommandFailure {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    CommandFailure::new(
        Exit::Unreachable,
        format!("the policy for these runbooks is no valid policy ({first}): import fewer runbooks at a time"),
    )
}

/// Returns a script in which words take the place of the template's placeholders, so that the shell parser can read the
/// script. Control actions such as `{{ if … }}` are removed.
fn readable_source(source: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(source.len()), source);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, behind)) = after.split_once("}}") else { break };
        text.push_str(before);
        let word = action.trim_matches(['-', ' ']).split([' ', '\n']).next().unwrap_or_default();
        if !CONTROL.contains(&word) && !word.starts_with("/*") {
            text.push_str("placeholder");
        }
        rest = behind;
    }
    text.push_str(rest);
    text
}

/// Returns the names in a script that look like the name of a variable with a secret.
fn secret_names(source: &str) -> impl Iterator<Item = &str> {
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_name =
        |word: &&str| word.len() > 3 && word.bytes().all(|c| c == b'_' || c.is_ascii_uppercase() || c.is_ascii_digit());
    words.filter(is_name).filter(|word| SECRET_WORDS.iter().any(|part| word.contains(part)))
}

/// Returns the absolute paths behind `>` in a script, without devices and `/tmp`, which each run has of its own.
fn written_paths(source: &str) -> impl Iterator<Item = String> {
    let targets = source.split('>').skip(1).map(|after| after.trim_start_matches(['|', ' ', '"', '\'']));
    let paths = targets.filter(|after| after.starts_with('/')).map(|after| {
        after
            .split(|c: char| c.is_whitespace() || c.is_control() || "\"';|&)<>`".contains(c))
            .next()
            .unwrap_or_default()
    });
    paths.filter(|path| path.len() > 1 && !path.starts_with("/dev/") && !path.starts_with("/tmp/")).map(str::to_owned)
}

fn base_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Policy under which a run may execute only listed programs.
const LISTED: &str = "version: 2\ndefault: {mode: prompted, sandbox: {programs: {mode: listed}}}\n";
/// First lines of the file.
const HEAD: &str = "# Overrides for imported runbooks, from `countersign registry import`.\n\
                    # Read each line, decide what the comments ask, and copy the overrides into the policy of the boundary.\n";
/// First words of template actions that leave no text.
const CONTROL: [&str; 9] = ["if", "else", "end", "range", "with", "define", "block", "break", "continue"];
/// Parts of the names of variables that usually contain a secret.
const SECRET_WORDS: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"];
/// Builtins of bash that are no programs on an ordinary host.
const BUILTINS: [&str; 44] = [
    ".",
    ":",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "cd",
    "command",
    "compgen",
    "complete",
    "continue",
    "declare",
    "dirs",
    "disown",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "fg",
    "getopts",
    "hash",
    "history",
    "jobs",
    "let",
    "local",
    "mapfile",
    "popd",
    "pushd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "source",
    "times",
    "trap",
    "ulimit",
    "umask",
    "unset",
];
/// Programs that usually connect to another host or to a service of this host.
const NETWORK: [&str; 41] = [
    "ansible",
    "ansible-playbook",
    "apt",
    "apt-get",
    "aws",
    "az",
    "brew",
    "cargo",
    "curl",
    "dig",
    "docker",
    "gcloud",
    "gh",
    "git",
    "glab",
    "go",
    "gsutil",
    "helm",
    "host",
    "kubectl",
    "mysql",
    "nc",
    "npm",
    "npx",
    "nslookup",
    "ping",
    "pip",
    "pip3",
    "pnpm",
    "podman",
    "psql",
    "redis-cli",
    "rsync",
    "scp",
    "sftp",
    "ssh",
    "terraform",
    "terragrunt",
    "tofu",
    "wget",
    "yarn",
];
