//! The draft of a policy for runbooks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use client::{CommandFailure, CommandResult, value_words::counted};
use documents::{AllowedHost, DeclaredNetwork, Format, StepDefinition, check_host, joined};
use reading::{
    Policy, ProgramOrigin, RegisteredStep, Registry, check_program, decide_at_boundary, is_read,
    named_origins, rule_entry, with_needed_word,
};
use sandbox::is_builtin;
use workbench::uses_network;

/// What the blocks of one runbook seem to need.
#[derive(Default)]
struct RunbookNeeds {
    programs: BTreeSet<String>,
    /// Ids of the blocks that can need the network.
    reaching: BTreeSet<String>,
    /// Hosts with ports that the blocks name, or [`HOST_NETWORK`].
    hosts: BTreeSet<String>,
    secrets: BTreeSet<String>,
    /// Paths that the blocks write outside of their work directory.
    paths: BTreeSet<String>,
    /// Interpreters whose scripts policy can't read.
    unread: BTreeSet<String>,
}

impl RunbookNeeds {
    /// Returns what a person must decide, with the text that a block declares.
    fn decisions(&self, format: Format) -> Vec<String> {
        let join = |words: &BTreeSet<String>| joined(words, ", ");
        let attribute = |name: &str, value: &str| match format {
            Format::Gruntwork => format!("{name}=\"{value}\" into the tag"),
            Format::Rundown => format!("{{{name}={value}}} behind the language of the block"),
            _ => format!("{name}={value} into the braces of the block"),
        };
        let mut decisions = Vec::new();
        if !self.reaching.is_empty() {
            decisions.push(format!(
                "network: {} can need it. Write {}, and remove the # before `network` below",
                join(&self.reaching),
                attribute(
                    "network",
                    &self.network().unwrap_or_else(|| UNKNOWN_HOST.to_owned())
                )
            ));
        }
        if !self.paths.is_empty() {
            decisions.push(format!(
                "paths: the blocks write {} outside of their work directory. Write {}, workdir=in-place too, and remove \
                 the # before `write` and `workdir` below",
                                quoted(&self.paths),
                attribute("write", &join(&self.directories()))
            ));
        }
        if !self.secrets.is_empty() {
            decisions.push(format!(
                "secrets: the blocks name {}. Configure each secret with its steps in [secrets] of countersign.toml",
                join(&self.secrets)
            ));
        }
        if !self.unread.is_empty() {
            decisions.push(format!(
                "programs: policy can't read {} scripts. If they start programs, write {}",
                join(&self.unread),
                attribute("programs", "NAME")
            ));
        }
        if !self.programs.is_empty() {
            decisions.push(
                "questions: for each program that the policy does not list, approvers answer a question when they sign. \
                 To end these questions, remove the # before `run` below"
                    .to_owned(),
            );
        }
        decisions
    }

    /// Returns the lines below `sandbox` that a person must allow.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.reaching.is_empty() {
            let entry = |host: &String| {
                rule_entry(&with_needed_word(AllowedHost {
                    host: host.clone(),
                    ..AllowedHost::default()
                }))
            };
            let hosts = joined(self.hosts.iter().map(entry), ", ");
            lines.push(match self.network().as_deref() {
                Some(HOST_NETWORK) => "network: host".to_owned(),
                Some(_) => format!("network: {{allow: [{hosts}]}}"),
                None => format!("network: {{allow: [{UNKNOWN_HOST:?}]}}"),
            });
        }
        if !self.paths.is_empty() {
            lines.push(format!("write: [{}]", quoted(&self.directories())));
            lines.push("workdir: in-place".to_owned());
        }
        lines
    }

    /// Returns the value of `network=`, or `None` if no block names a host.
    fn network(&self) -> Option<String> {
        if self.hosts.contains(HOST_NETWORK) {
            return Some(HOST_NETWORK.to_owned());
        }
        (!self.hosts.is_empty()).then(|| joined(&self.hosts, ","))
    }

    fn directories(&self) -> BTreeSet<String> {
        let above = |path: &String| match path.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => above.to_owned(),
            _ => path.clone(),
        };
        self.paths.iter().map(above).collect()
    }
}

/// Returns the text of a policy with one override for each runbook. An override allows nothing until a person decides.
///
/// # Errors
/// Returns an error if the reader of policies refuses the text, for example because it is too large.
pub fn text(files: &Registry) -> CommandResult<String> {
    let policy = Policy::load(LISTED).map_err(|errors| broken(&errors))?;
    let mut runbooks: BTreeMap<&str, Vec<&RegisteredStep>> = BTreeMap::new();
    for step in files.steps() {
        runbooks
            .entry(step.definition.reference.path())
            .or_default()
            .push(step);
    }
    let mut overrides = String::new();
    for (path, steps) in runbooks {
        add(&mut overrides, path, &steps, &policy);
    }
    let has_overrides = overrides.contains("  - runbook: ");
    let key = if has_overrides {
        "overrides:\n"
    } else {
        "overrides: []\n"
    };
    let text = format!("{HEAD}version: 1\n{key}{overrides}");
    Policy::load(&text).map_err(|errors| broken(&errors))?;
    Ok(text)
}

/// Adds the override of a runbook.
fn add(text: &mut String, path: &str, steps: &[&RegisteredStep], policy: &Policy) {
    let needs = needs(steps, policy);
    let blocks = counted(steps.len(), "block");
    // Writing to a string never fails.
    let _ = writeln!(text, "  # {}: {blocks}", path.escape_debug());
    let format = steps
        .first()
        .map_or(Format::Markdown, |step| step.definition.format);
    for decision in needs.decisions(format) {
        let _ = writeln!(text, "  # Decide {decision}.");
    }
    let lines = needs.lines();
    if !needs.programs.is_empty() || !lines.is_empty() {
        let _ = writeln!(text, "  - runbook: {path:?}");
        if !needs.programs.is_empty() {
            let names = quoted(&needs.programs);
            let _ = writeln!(text, "    # run: {{allow: [{names}]}}");
        }
        let _ = writeln!(text, "    sandbox:\n      programs: {{mode: listed}}");
        for line in lines {
            let _ = writeln!(text, "      # {line}");
        }
    }
}

fn quoted(words: &BTreeSet<String>) -> String {
    joined(words.iter().map(|word| format!("{word:?}")), ", ")
}

fn needs(steps: &[&RegisteredStep], policy: &Policy) -> RunbookNeeds {
    let mut needs = RunbookNeeds::default();
    for step in steps {
        let step = step.sample();
        let programs = programs(&step, policy);
        let declared = step.sandbox.network.as_ref();
        if declared.is_some() || programs.iter().any(|name| uses_network(name)) {
            needs.reaching.insert(step.reference.step().to_owned());
            match declared {
                Some(DeclaredNetwork::Allow(hosts)) => needs.hosts.extend(hosts.iter().cloned()),
                Some(DeclaredNetwork::Host) => drop(needs.hosts.insert(HOST_NETWORK.to_owned())),
                Some(DeclaredNetwork::None) | None => needs.hosts.extend(named_hosts(&step.source)),
            }
        }
        needs.programs.extend(programs);
        needs.secrets.extend(
            step.secrets
                .iter()
                .map(|secret| secret.name.as_str().to_owned()),
        );
        needs
            .secrets
            .extend(secret_names(&step.source).map(str::to_owned));
        needs.paths.extend(written_paths(&step.source));
        if !is_read(&step.interpreter) {
            needs.unread.insert(step.interpreter.clone());
        }
    }
    needs
}

/// Returns the programs that a script names, without its interpreter.
fn programs(step: &StepDefinition, policy: &Policy) -> Vec<String> {
    let ruling = policy.ruling(&step.reference);
    let decision = decide_at_boundary(&ruling, step);
    let declared = step.programs.as_deref().unwrap_or_default();
    // The first line of a script starts its interpreter, which is in each list already.
    let source = match step.source.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => rest,
        _ => &step.source,
    };
    let found = named_origins(&ruling, &step.interpreter, declared, source, &decision);
    let named = found
        .into_iter()
        .filter(|(_, origin)| !matches!(origin, ProgramOrigin::Interpreter));
    let named = named.map(|(name, _)| name.as_str().to_owned());
    named
        .filter(|name| {
            check_program(name).is_ok()
                && name.is_ascii()
                && (!is_builtin(name) || ALSO_PROGRAMS.contains(&name.as_str()))
        })
        .collect()
}

pub fn broken(errors: &[impl std::fmt::Display]) -> CommandFailure {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    CommandFailure::unreachable(format!(
        "the policy for these runbooks is no valid policy ({first}): check fewer runbooks at a time"
    ))
}

/// Returns the hosts of the URLs in a script, each with its port.
fn named_hosts(source: &str) -> impl Iterator<Item = String> + '_ {
    let urls = [("https://", "443"), ("http://", "80")]
        .into_iter()
        .flat_map(move |(scheme, port)| {
            source
                .match_indices(scheme)
                .map(move |(at, _)| (&source[at + scheme.len()..], port))
        });
    urls.filter_map(|(rest, port)| {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !".-:@_".contains(c))
            .unwrap_or(rest.len());
        let authority = &rest[..end];
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let (name, port) = host.split_once(':').unwrap_or((host, port));
        let address = format!("{name}:{port}");
        ((name.contains('.') || name == "localhost") && check_host(&address).is_ok())
            .then_some(address)
    })
}

/// Returns the names in a script that look like the name of a variable with a secret.
fn secret_names(source: &str) -> impl Iterator<Item = &str> {
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_name = |word: &&str| {
        word.len() > 3
            && word
                .bytes()
                .all(|c| c == b'_' || c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    words
        .filter(is_name)
        .filter(|word| SECRET_WORDS.iter().any(|part| word.contains(part)))
}

/// Returns the absolute paths behind `>` in a script, without devices and `/tmp`, which each run has of its own.
fn written_paths(source: &str) -> impl Iterator<Item = String> {
    let lines = source
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let targets = lines
        .flat_map(|line| line.split('>').skip(1))
        .map(|after| after.trim_start_matches(['|', ' ', '"', '\'']));
    let paths = targets.filter(|after| after.starts_with('/')).map(|after| {
        after
            .split(|c: char| c.is_whitespace() || c.is_control() || "\"';|&)<>`".contains(c))
            .next()
            .unwrap_or_default()
    });
    paths
        .filter(|path| path.len() > 1 && !path.starts_with("/dev/") && !path.starts_with("/tmp/"))
        .map(str::to_owned)
}

/// Value of `network` for the network of the host.
const HOST_NETWORK: &str = "host";
/// Place of a host that no script names.
const UNKNOWN_HOST: &str = "HOST:PORT";
/// Policy under which a run may execute only listed programs.
pub const LISTED: &str =
    "version: 1\ndefault: {mode: prompted, sandbox: {programs: {mode: listed}}}\n";
/// First lines of the file.
const HEAD: &str = "# Overrides for runbooks, from `countersign registry check --write-policy`.\n\
                    # Read each line, decide what the comments ask, and copy the overrides into the policy of the boundary.\n";
/// Parts of the names of variables that usually contain a secret.
const SECRET_WORDS: [&str; 8] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "API_KEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
];
/// Builtins of bash that are also programs of an ordinary host.
const ALSO_PROGRAMS: [&str; 8] = [
    "[", "echo", "false", "kill", "printf", "pwd", "test", "true",
];
