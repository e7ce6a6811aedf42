//! The `registry import` command reports if the runbooks of other systems run, and which policy they need.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::registry::import_policy::ImportPolicy;
use crate::policy::applied_rule::AppliedRule;
use crate::policy::required_permissions::is_read;
use crate::registry::imported::{ImportedBlock, ImportedFile, read_imported};
use crate::registry::registry_error::RegistryError;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::{Terminal, write_new};

/// Report for each block of runbooks of other systems if the block runs, and write the policy that the blocks need
///
/// Reads Gruntwork runbooks (*.mdx), Rundown runbooks (*.runbook.md) and Markdown with runnable fences (*.md), and
/// changes none of them. The policy has one override for each runbook, with the programs that its scripts name. Its
/// comments say what a person must decide: network, secrets and paths. Read the overrides, then copy them into the
/// policy of the boundary.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign registry import ../handbook                     # the report, then the policy
  countersign registry import ../handbook -o imported.yaml    # the report; the policy goes to a new file")]
pub(super) struct Args {
    /// The directory with the runbooks
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Write the policy to this new file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The answer for one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockAnswer {
    AsIs,
    Remark,
    Refused,
}

/// Line of the report.
struct ReportLine {
    answer: BlockAnswer,
    /// Reference of the step, or the file if the block can't be read.
    block: String,
    file: String,
    line: usize,
    column: usize,
    messages: Vec<String>,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let (files, errors) = read_imported(&args.directory);
    if let (true, Some(error)) = (files.is_empty(), errors.first()) {
        return Err(CommandFailure::usage(error.to_string()));
    }
    let mut policy = ImportPolicy::new()?;
    let mut lines: Vec<ReportLine> = errors.iter().map(ReportLine::of_path).collect();
    for file in &files {
        lines.extend(file.errors.iter().map(|error| {
            let messages = vec![error.message.clone()];
            ReportLine::new(
                BlockAnswer::Refused,
                &file.file,
                &file.file,
                (error.place.line, error.place.column),
                messages,
            )
        }));
        lines.extend(file.blocks.iter().map(|block| report(file, block, &policy)));
        lines.extend(file.remarks.iter().map(|remark| {
            let messages = vec![remark.message.clone()];
            ReportLine::new(
                BlockAnswer::Remark,
                &file.file,
                &file.file,
                (remark.place.line, remark.place.column),
                messages,
            )
        }));
        policy.add(file);
    }
    let fragment = policy.text()?;
    if let Some(path) = &args.output {
        write_new(path, fragment.as_bytes(), terminal)?;
    }
    let blocks = |answer| lines.iter().filter(|line| line.answer == answer && line.block != line.file).count();
    let unread = lines.iter().filter(|line| line.answer == BlockAnswer::Refused && line.block == line.file).count();
    let counts = [blocks(BlockAnswer::AsIs), blocks(BlockAnswer::Remark), blocks(BlockAnswer::Refused), unread];
    if terminal.json {
        let lines: Vec<Value> = lines.iter().map(ReportLine::json).collect();
        terminal.object(&json!({
            "files": files.len(), "as_is": counts[0], "with_remark": counts[1], "refused": counts[2],
            "errors_of_files": counts[3], "report": lines, "policy": fragment,
        }))?;
        return Ok(Exit::Done);
    }
    for line in lines.iter().flat_map(ReportLine::text) {
        terminal.line(PrintableText::text(&line).as_str())?;
    }
    let [as_is, remark, refused, unread] = counts;
    terminal.line(&format!(
        "{} runbooks: {as_is} blocks run as is, {remark} run with a remark, {refused} are refused; {unread} errors in \
         files that can't be read",
        files.len()
    ))?;
    if args.output.is_none() {
        terminal.line("")?;
        terminal.put(fragment.as_bytes())?;
    }
    Ok(Exit::Done)
}

fn report(file: &ImportedFile, block: &ImportedBlock, policy: &ImportPolicy) -> ReportLine {
    let step = &block.definition;
    let place = (block.place.line, block.place.column);
    let line = |answer, messages| ReportLine::new(answer, step.reference.as_str(), &file.file, place, messages);
    if let Some(refused) = &block.refused {
        return line(BlockAnswer::Refused, vec![refused.clone()]);
    }
    let secrets = step.needed_secrets();
    if !secrets.is_empty() {
        let message = format!(
            "the block needs {}, and this version gives no secrets to a run: remove the sign-in or the variable from \
             the block, or run the block by hand",
            secrets.join(", ")
        );
        return line(BlockAnswer::Refused, vec![message]);
    }
    let decision = policy.decide(step);
    if let Some(stop) = &decision.not_understood {
        let message = format!(
            "line {} of the script can't be parsed, so policy denies the script: {}: rewrite this line",
            stop.place.line, stop.message
        );
        return line(BlockAnswer::Refused, vec![message]);
    }
    let mut messages: Vec<String> = block.remarks.iter().map(|remark| remark.message.clone()).collect();
    let (mut unknown, mut any) = (Vec::new(), false);
    for decided in &decision.decided {
        if matches!(decided.rule, AppliedRule::OnlyListed | AppliedRule::Unknown { .. }) {
            unknown.extend(decided.place.map(|place| place.line.to_string()));
            any = true;
        }
    }
    if any {
        unknown.dedup();
        messages.push(format!(
            "the programs in line {} of the script are known only when it runs: add them to `allow` of its override",
            unknown.join(", ")
        ));
    }
    if !is_read(&step.interpreter) && step.interpreter != "zsh" {
        messages.push(format!(
            "policy can't read a script of {}: add the programs that it starts to `allow` of its override",
            step.interpreter
        ));
    }
    line(if messages.is_empty() { BlockAnswer::AsIs } else { BlockAnswer::Remark }, messages)
}

impl ReportLine {
    fn new(answer: BlockAnswer, block: &str, file: &str, place: (usize, usize), messages: Vec<String>) -> Self {
        let (line, column) = place;
        Self { answer, block: block.to_owned(), file: file.to_owned(), line, column, messages }
    }

    fn of_path(error: &RegistryError) -> Self {
        let messages = vec![error.message.clone()];
        Self::new(BlockAnswer::Refused, &error.file, &error.file, (error.line, error.column), messages)
    }

    fn text(&self) -> Vec<String> {
        let Self { block, file, line, column, messages, .. } = self;
        let words = match self.answer {
            BlockAnswer::AsIs => return vec![format!("{file}:{line}:{column}: {block} runs as is")],
            BlockAnswer::Remark if block == file => "remark",
            BlockAnswer::Remark => "runs with a remark",
            BlockAnswer::Refused => "refused",
        };
        let name = if block == file { String::new() } else { format!("{block} ") };
        messages.iter().map(|message| format!("{file}:{line}:{column}: {name}{words}: {message}")).collect()
    }

    fn json(&self) -> Value {
        let answer = match self.answer {
            BlockAnswer::AsIs => "as-is",
            BlockAnswer::Remark => "remark",
            BlockAnswer::Refused => "refused",
        };
        let step = (self.block != self.file).then_some(&self.block);
        json!({
            "answer": answer, "step": step, "file": self.file, "line": self.line, "column": self.column,
            "messages": self.messages,
        })
    }
}
