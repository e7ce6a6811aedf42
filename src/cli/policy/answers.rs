//! What policy answers about the scripts of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::{CommandFailure, PrintableText, read_bounded};
use reading::{
    Builtins, DecisionPlace, Flags, ReadLimit, RegisteredStep, Registry, Ruling, RunbookPath,
    decide_file, is_listed_by_policy, resolve_path,
};
use workbench::{
    FoundPolicy, JudgedScript, Project, ScriptAnswer, how_to_write_a_step, problems, real_program,
};

/// Option that names the policy.
#[derive(Debug, clap::Args)]
pub struct PolicyOptions {
    /// The policy file. The default is the nearest file upward: countersign.policy.yaml, .rundownrc, .rundownrc.json,
    /// .rundownrc.yaml, .rundownrc.yml or package.json. Without one, the built-in lists apply
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

pub struct PolicyAtHand {
    pub found: FoundPolicy,
    pub ruling: Ruling,
    pub project: Project,
    runbook: RunbookPath,
}

impl PolicyOptions {
    /// Reads the policy for the runbook that `name` names, or for the runbook `file` of `project`.
    pub(super) fn hold(
        &self,
        project: Project,
        name: Option<&str>,
        file: Option<&Path>,
    ) -> Result<PolicyAtHand, CommandFailure> {
        let found = project.policy(self.policy.as_deref())?;
        let runbook = match (name, file) {
            (Some(name), _) => RunbookPath::of_name(name),
            (None, file) => RunbookPath::of_file(
                &file
                    .map(|file| project.runbook(file))
                    .transpose()?
                    .unwrap_or_default(),
            ),
        };
        let ruling = resolve_path(&found.policy, Builtins::current(), &runbook);
        Ok(PolicyAtHand {
            found,
            ruling,
            project,
            runbook,
        })
    }
}

impl PolicyAtHand {
    /// Returns the names and values above the answers: the policy, and if it has overrides, the path that it compared with
    /// them, and each override that matched.
    pub fn heading(&self) -> Vec<(&'static str, String)> {
        let (policy, path) = (&self.found.policy, &self.runbook);
        let found = policy.overrides().zip(policy.override_lines()).enumerate();
        let met: Vec<_> = found
            .filter(|(_, ((pattern, ..), _))| path.is_met_by(pattern))
            .collect();
        let origin = match &self.found.file {
            Some(file) => file.display().to_string(),
            None => "none found: the built-in lists apply, and policy asks about everything else"
                .to_owned(),
        };
        let mut lines = vec![("policy", origin)];
        match policy.override_lines().len() {
            0 => {}
            all => lines.push((
                "path",
                format!(
                    "{}, matched by {} of {all} overrides",
                    path.shown(),
                    met.len()
                ),
            )),
        }
        let met = met.into_iter().map(|(at, ((_, rule, _), line))| {
            format!("line {line}, overrides[{at}] ({})", rule.runbook)
        });
        lines.extend(met.map(|line| ("override", line)));
        lines
    }

    /// Returns the path of the runbook that policy compares with its overrides.
    pub fn path(&self) -> &str {
        self.runbook.shown()
    }

    /// Returns a note for each override whose pattern does not match the runbook because of its ending.
    pub fn other_endings(&self) -> Vec<String> {
        let overrides = self.found.policy.overrides();
        let differs = overrides.filter(|(pattern, _, _)| self.runbook.differs_in_ending(pattern));
        let note = |name: &str| {
            format!(
                "the override {name:?} does not match this runbook, because its pattern ends in another format: write the \
                 pattern without the ending"
            )
        };
        differs.map(|(_, rule, _)| note(&rule.runbook)).collect()
    }

    /// Decides about every script of the file.
    pub fn answer(
        &self,
        file: &Path,
        at: DecisionPlace,
    ) -> Result<Vec<ScriptAnswer>, CommandFailure> {
        let real =
            (at == DecisionPlace::Terminal).then_some(real_program as fn(&str) -> Option<String>);
        let flags = Flags {
            places: self.project.places(),
            real,
            ..Flags::default()
        };
        let stdin = file == Path::new("-");
        let shown = if stdin {
            "the standard input".to_owned()
        } else {
            file.display().to_string()
        };
        let ending = file.extension().and_then(|ending| ending.to_str());
        if let Some("yaml" | "yml") = ending {
            return Err(CommandFailure::usage(format!(
                "{} is no script: name a script or a runbook; `countersign policy show --policy {}` shows the rules of a policy",
                PrintableText::text(&shown).as_str(),
                PrintableText::text(&shown)
            )));
        }
        if matches!(ending, Some("md" | "mdx")) {
            return Ok(steps_of(file)?
                .iter()
                .map(|step| ScriptAnswer::of_step(&self.ruling, step, at, &flags))
                .collect());
        }
        let text = read_bounded(file, MAX_BYTES)?;
        let text = String::from_utf8(text).map_err(|_| {
            CommandFailure::usage(format!(
                "{} is not UTF-8: name a script or a runbook",
                file.display()
            ))
        })?;
        let listed = is_listed_by_policy(&self.ruling);
        let (interpreter, decision) = decide_file(
            &self.ruling,
            &text,
            ReadLimit::File,
            at.with_list(listed),
            &flags,
        );
        let script = JudgedScript {
            name: shown.clone(),
            interpreter,
            source: &text,
            declared: &[],
            listed,
            off: false,
        };
        Ok(vec![ScriptAnswer::new(
            &self.ruling,
            script,
            decision,
            at,
            shown,
        )])
    }
}

/// Reads the steps of a runbook of any format. There is at least one.
pub fn steps_of(file: &Path) -> Result<Vec<Arc<RegisteredStep>>, CommandFailure> {
    let shown = file.display().to_string();
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let found = Registry::of_file(file, name, &shown).map_err(problems)?;
    if found.steps.is_empty() {
        return Err(CommandFailure::usage(format!(
            "{} contains no step: {}",
            PrintableText::text(&shown).as_str(),
            how_to_write_a_step(name)
        )));
    }
    Ok(found.steps)
}

/// Returns true if the program executes its arguments or its input. A rule that allows such a program allows
/// everything.
pub fn is_interpreter(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or_default();
    let plain = base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&plain)
}

/// Programs that execute their arguments or their input, without version numbers.
const INTERPRETERS: [&str; 47] = [
    "awk",
    "ansible",
    "ansible-playbook",
    "bash",
    "bun",
    "busybox",
    "cargo",
    "cmake",
    "cscript",
    "csh",
    "dash",
    "deno",
    "ed",
    "emacs",
    "env",
    "eval",
    "exec",
    "find",
    "fish",
    "gawk",
    "gdb",
    "go",
    "groovy",
    "java",
    "julia",
    "ksh",
    "lua",
    "make",
    "mawk",
    "ninja",
    "node",
    "nodejs",
    "npm",
    "npx",
    "parallel",
    "perl",
    "php",
    "pnpm",
    "python",
    "ruby",
    "sh",
    "source",
    "tclsh",
    "vim",
    "xargs",
    "yarn",
    "zsh",
];
/// Maximum size of a script file, in bytes.
const MAX_BYTES: usize = 1 << 20;
