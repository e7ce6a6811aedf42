//! The `registry import` command reports if the runbooks of other systems run, and which policy they need.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::network_programs::uses_network;
use crate::cli::registry::from_files::import_policy::ImportPolicy;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::printable_text::PrintableText;
use client::terminal::streams::{Terminal, write_new};
use documents::record::declared::DeclaredNetwork;
use documents::yaml::YamlFlaw;
use judgement::policy::applied_rule::AppliedRule;
use judgement::policy::required_permissions::is_read;
use judgement::registry::imported::{ImportedBlock, ImportedFile, read_imported};
use judgement::registry::registry_error::RegistryError;
use judgement::registry::step_place::ScriptOrigin;

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
pub(crate) struct Args {
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
    let mut lines: Vec<ReportLine> =
        errors.iter().map(|error| ReportLine::of_error(BlockAnswer::Refused, error)).collect();
    for file in &files {
        lines.extend(lines_of(file, &policy));
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
        "{} runbooks: {as_is} blocks run as is, {remark} run with a remark, {refused} are refused; {unread} errors of \
         files",
        files.len()
    ))?;
    if args.output.is_none() {
        terminal.line("")?;
        terminal.put(fragment.as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Returns the lines about a file: its errors, its blocks in the order of the file, and its remarks.
fn lines_of(file: &ImportedFile, policy: &ImportPolicy) -> Vec<ReportLine> {
    let of_file =
        |answer, flaw: &YamlFlaw| ReportLine::of_error(answer, &RegistryError::of_flaw(&file.file, flaw.clone()));
    let mut lines: Vec<ReportLine> = file.errors.iter().map(|error| of_file(BlockAnswer::Refused, error)).collect();
    let mut blocks: Vec<ReportLine> = file.blocks.iter().map(|block| report(file, block, policy)).collect();
    for (step, place) in &file.unread {
        let messages = vec!["the block has an error, which this report names".to_owned()];
        blocks.push(ReportLine::new(BlockAnswer::Refused, step, &file.file, (place.line, place.column), messages));
    }
    blocks.sort_by_key(|line| (line.line, line.column));
    lines.extend(blocks);
    lines.extend(file.remarks.iter().map(|remark| of_file(BlockAnswer::Remark, remark)));
    lines
}

fn report(file: &ImportedFile, block: &ImportedBlock, policy: &ImportPolicy) -> ReportLine {
    let step = &block.definition;
    let place = (block.place.line, block.place.column);
    let line = |answer, messages| ReportLine::new(answer, step.reference.as_str(), &file.file, place, messages);
    if !block.refused.is_empty() {
        let is_of_page = |error: &RegistryError| error.file == file.file;
        let message = |error: &RegistryError| if is_of_page(error) { error.message.clone() } else { error.to_string() };
        return line(BlockAnswer::Refused, block.refused.iter().map(message).collect());
    }
    let decision = policy.decide(step);
    if let Some(stop) = &decision.not_understood {
        let message = format!(
            "{} can't be parsed, so policy denies the script: {}: rewrite this line",
            line_of_script(block, stop.place.line),
            stop.message
        );
        return line(BlockAnswer::Refused, vec![message]);
    }
    if !file.errors.is_empty() {
        let message = "this block has no error, but no block of the file can be sealed before the errors of the file are \
                       corrected";
        return line(BlockAnswer::Refused, vec![message.to_owned()]);
    }
    let mut messages: Vec<String> = block.remarks.iter().map(|remark| remark.message.clone()).collect();
    let secrets = step.needed_secrets();
    if !secrets.is_empty() {
        let names = secrets.join(", ");
        messages.push(format!("the block needs {names}: configure them for the step in [secrets] of countersign.toml"));
    }
    if step.interpreter == "go"
        && step.programs.as_ref().is_none_or(|all| all.iter().all(|one| !one.as_str().contains('*')))
    {
        messages.push(
            "go builds a program in the work directory and starts it: if policy has a list of programs, write \
             programs=\"{work}/**\" into the braces of the block"
                .to_owned(),
        );
    }
    let (mut unknown, mut any) = (Vec::new(), false);
    for decided in &decision.decided {
        if matches!(decided.rule, AppliedRule::OnlyListed | AppliedRule::Unknown { .. }) {
            unknown.extend(decided.place.map(|place| line_of_script(block, place.line)));
            any = true;
        }
    }
    if any {
        unknown.dedup();
        messages.push(format!(
            "the programs in {} are known only when the script runs: name them with `programs=` in the block",
            unknown.join(", ")
        ));
    }
    if !is_read(&step.interpreter) && step.interpreter != "zsh" {
        messages.push(format!(
            "policy can't read a script of {}: name the programs that it starts with `programs=` in the block",
            step.interpreter
        ));
    }
    let declares = !matches!(step.sandbox.network, None | Some(DeclaredNetwork::None));
    let reaching: BTreeSet<&str> =
        decision.decided.iter().map(|one| one.what.as_str()).filter(|name| !declares && uses_network(name)).collect();
    if !reaching.is_empty() {
        let reaching: Vec<&str> = reaching.into_iter().collect();
        messages.push(format!(
            "{} can need the network, which the block does not declare: the comments of the policy say what to write",
            reaching.join(", ")
        ));
    }
    line(if messages.is_empty() { BlockAnswer::AsIs } else { BlockAnswer::Remark }, messages)
}

/// Names a line of a script, with its file if the script is in a file of its own.
fn line_of_script(block: &ImportedBlock, line: usize) -> String {
    match &block.script {
        ScriptOrigin::File(file) => format!("line {line} of {}", file.path),
        _ => format!("line {line} of the script"),
    }
}

impl ReportLine {
    fn new(answer: BlockAnswer, block: &str, file: &str, place: (usize, usize), messages: Vec<String>) -> Self {
        let (line, column) = place;
        Self { answer, block: block.to_owned(), file: file.to_owned(), line, column, messages }
    }

    fn of_error(answer: BlockAnswer, error: &RegistryError) -> Self {
        let messages = vec![error.message.clone()];
        Self::new(answer, &error.file, &error.file, (error.line, error.column), messages)
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
