//! The `policy explain` command prints every command of a script with the rule that decides about it, and the programs
//! that can start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{PolicyOptions, is_interpreter};
use client::{CommandFailure, Exit, PrintableText, Terminal, aligned};
use documents::Program;
use reading::{DecisionPlace, ProgramOrigin, is_read};
use workbench::{Project, heading, heads, not_understood, to_json, word_of, worst};

/// Show every command of a script: its line, the wrappers through which it runs, and the rule that decides about it. If
/// policy allows only listed programs, also show the list of the script and the origin of each program.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign policy explain deploy.sh
  countersign policy explain runbooks/service.md --runbook deploy/service
  echo 'git log | xargs rm' | countersign policy explain -")]
pub struct Args {
    /// A script, a runbook (*.md, *.mdx), or - for the standard input
    #[arg(value_name = "FILE")]
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

pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
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
            let rows: Vec<_> = std::iter::once(heads())
                .chain(one.decision.decided.iter().map(|decided| one.row(decided)))
                .collect();
            terminal.put(aligned(&rows).as_bytes())?;
        }
        if let Some(programs) = &one.programs {
            terminal.line("only these programs can start, if this host has them:")?;
            terminal.put(aligned(&by_origin(programs)).as_bytes())?;
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
    std::iter::once(["ORIGIN", "PROGRAMS"].map(str::to_owned))
        .chain(rows)
        .collect()
}
