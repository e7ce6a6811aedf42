//! Decides by policy about the scripts of a file.
//!
//! The `policy explain` command prints every command of a script with the rule that decides about it, and the programs
//! that can start.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, aligned, fail_usage,
    read_bounded, with_header,
};
use documents::Program;
use reading::{
    Builtins, DecisionPlace, Flags, ProgramOrigin, ReadLimit, RegisteredStep, Registry, Ruling,
    RunbookPath, decide_file, is_listed_by_policy, is_read, resolve_path,
};
use workbench::{
    FoundPolicy, HEADS, JudgedScript, Project, ScriptAnswer, heading, how_to_write_a_step,
    not_understood, real_program, to_json, word_of, worst,
};

/// Option that names the policy.
#[derive(clap::Args)]
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
    pub fn hold(
        &self,
        project: Project,
        name: Option<&str>,
        file: Option<&Path>,
    ) -> CommandResult<PolicyAtHand> {
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
    /// Returns the lines above the answers, each with a name and a value: the file of the policy, and each override
    /// that matched. If the policy has overrides, another line has the path that policy compared with the overrides.
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
    pub fn answer(&self, file: &Path, at: DecisionPlace) -> CommandResult<Vec<ScriptAnswer>> {
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
            return fail_usage(format!(
                "{} is no script: name a script or a runbook; `countersign policy show --policy {}` shows the rules of a policy",
                PrintableText::text(&shown),
                PrintableText::text(&shown)
            ));
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

/// Reads the steps of a runbook of any format. The list has at least one step.
pub fn steps_of(file: &Path) -> CommandResult<Vec<Arc<RegisteredStep>>> {
    let shown = file.display().to_string();
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let found = Registry::of_file(file, name, &shown)?;
    if found.steps.is_empty() {
        return fail_usage(format!(
            "{} contains no step: {}",
            PrintableText::text(&shown),
            how_to_write_a_step(name)
        ));
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

/// Show every command of a script: its line, the wrappers through which it runs, and the rule that decides about it. If
/// policy allows only listed programs, also show the list of the script and the origin of each program.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign policy explain deploy.sh
  countersign policy explain runbooks/service.md --runbook deploy/service
  echo 'git log | xargs rm' | countersign policy explain -")]
pub struct Args {
    /// A script, a runbook (*.md, *.mdx), or - for the standard input
    file: PathBuf,
    #[command(flatten)]
    under: PolicyOptions,
    /// The runbook path that selects overrides and grants, such as `deploy/service`. The default is the path of FILE
    /// from the repository's top directory, or from --root
    #[arg(long, value_name = "PATH", conflicts_with = "root")]
    runbook: Option<String>,
    /// Directory of the runbooks, as under `runbooks` of a boundary: overrides are compared with the path of FILE below
    /// this directory. The default is the repository
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Decide like a boundary with approvers, not like a run at the terminal
    #[arg(long)]
    boundary: bool,
}

pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let file = Some(args.file.as_path()).filter(|file| *file != Path::new("-"));
    let held = args.under.hold(
        Project::with_root(args.root.as_deref())?,
        args.runbook.as_deref(),
        file,
    )?;
    let at = if args.boundary {
        DecisionPlace::Boundary
    } else {
        DecisionPlace::Terminal
    };
    let answered = held.answer(&args.file, at)?;
    if terminal.json {
        let scripts: Vec<_> = answered.iter().map(to_json).collect();
        let verdict = worst(answered.iter().map(|one| one.decision.verdict));
        terminal.object(
            json!({"verdict": word_of(verdict), "policy": held.found.file, "path": held.path(), "scripts": scripts}),
        )?;
        return Ok(Exit::Done);
    }
    for (name, value) in held.heading() {
        terminal.line(PrintableText::text(&format!("{name}: {value}")))?;
    }
    for note in held.other_endings() {
        terminal.say(format!("note: {note}"));
    }
    for (at, one) in answered.iter().enumerate() {
        if at > 0 {
            terminal.line("")?;
        }
        terminal.line(heading(one))?;
        if let Some(message) = not_understood(one) {
            terminal.line(format!("  {message}"))?;
            continue;
        }
        if !is_read(&one.interpreter) {
            terminal.line(
                "  policy can't read the commands in scripts of this interpreter, so only the sandbox restricts them",
            )?;
        }
        if one.decision.decided.is_empty() {
            terminal.line("  it starts no command")?;
        } else {
            let decided = one.decision.decided.iter();
            let rows = with_header(HEADS, decided.map(|decided| one.row(decided)));
            terminal.put(aligned(&rows))?;
        }
        if let Some(programs) = &one.programs {
            terminal.line("only these programs can start, if this host has them:")?;
            terminal.put(aligned(&by_origin(programs)))?;
        }
        for name in &one.not_listable {
            terminal.line(format!(
                "no list can contain the program {}, so the program can't start: its name must have at most 128 bytes and \
                 no control characters",
                PrintableText::text(name)
            ))?;
        }
        if let Some(line) = &one.without_list {
            terminal.line(PrintableText::text(line))?;
        }
    }
    let mut with_interpreters = answered
        .iter()
        .filter(|one| {
            one.decision
                .decided
                .iter()
                .any(|one| is_interpreter(&one.what))
        })
        .peekable();
    if with_interpreters.peek().is_some() {
        let limit = if with_interpreters.all(|one| one.programs.is_some()) {
            "The kernel still starts only the programs above."
        } else {
            "The sandbox restricts it."
        };
        terminal.line(format!(
            "\nPolicy can't read what an interpreter runs. {limit}"
        ))?;
    }
    Ok(Exit::Done)
}

/// Returns a table of the programs with one row for each origin, in the order of [`ProgramOrigin::word`].
fn by_origin(programs: &BTreeMap<Program, ProgramOrigin>) -> Vec<[String; 2]> {
    let order = ["interpreter", "step", "script", "policy", "closure"];
    let mut rows: BTreeMap<(Option<usize>, String), Vec<&str>> = BTreeMap::new();
    for (name, origin) in programs {
        let rank = order.iter().position(|word| *word == origin.word());
        rows.entry((rank, origin.to_string()))
            .or_default()
            .push(name.as_str());
    }
    let rows = rows
        .into_iter()
        .map(|((_, origin), names)| [origin, names.join(", ")]);
    with_header(["ORIGIN", "PROGRAMS"], rows)
}
